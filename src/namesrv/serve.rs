//! From a request to its answer: one arm each (Apache: `DefaultRequestProcessor`, `ClientRequestProcessor`). Whatever reads
//! or changes the tables answers at once; what has to reach a file answers when it has.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Namesrv;
use super::routes::{Identity, Registration, SILENCE_MAX};
use crate::protocol::code::{request, response};
use crate::protocol::fastjson::BadBody;
use crate::protocol::fields::BadField;
use crate::protocol::frame::Frame;
use crate::protocol::request::body::{DataVersion, KvTable, TopicList};
use crate::protocol::request::namesrv::{
    AddWritePermReply, BrokerHeartbeatRequest, BrokerNameRequest, BrokerRequest, ClusterRequest,
    DataVersionReply, DeleteTopicRequest, KvReply, KvRequest, MemberGroupRequest,
    NAMESPACE_ORDER_TOPIC_CONFIG, NamespaceRequest, PutKvRequest, RegisterBrokerBody, RegisterBrokerReply,
    RegisterBrokerRequest, RouteRequest, WipeWritePermReply, body_crc32,
};
use crate::protocol::request::route::{BrokerMemberGroupBody, TopicRouteData};
use crate::protocol::request::topic::{TopicRequest, perm};
use crate::remoting::{Answer, Peer, Serve};

/// Bits of a topic's `topicSysFlag`.
const UNIT: i32 = 1;
const UNIT_SUBSCRIBED: i32 = 2;

/// A broker may ask for another silence than the default, but not to be remembered for ever.
const SILENCE_ASKED_MAX: Duration = Duration::from_secs(3600);

impl Serve for Namesrv {
    fn serve(self: &Arc<Self>, frame: Frame, peer: &Arc<Peer>) -> Answer {
        match frame.code {
            request::PUT_KV_CONFIG | request::DELETE_KV_CONFIG => self.change_kv(&frame),
            request::UPDATE_NAMESRV_CONFIG => self.change_config(&frame),
            _ => Answer::Now(self.answer(&frame, peer).unwrap_or_else(Frame::from)),
        }
    }

    fn closed(&self, peer: &Arc<Peer>) {
        for gone in self.routes().closed(peer.id()) {
            tracing::info!(
                broker = gone.name,
                id = gone.id,
                address = gone.address,
                "its connection ended, it is gone"
            );
        }
    }
}

/// A request answered with a code and a remark.
struct Refusal {
    code: i32,
    remark: String,
}

impl Refusal {
    fn new(code: i32, remark: impl Into<String>) -> Refusal {
        Refusal {
            code,
            remark: remark.into(),
        }
    }
}

impl From<BadField> for Refusal {
    fn from(error: BadField) -> Refusal {
        Refusal::new(response::SYSTEM_ERROR, error.to_string())
    }
}

impl From<BadBody> for Refusal {
    fn from(error: BadBody) -> Refusal {
        Refusal::new(response::SYSTEM_ERROR, error.to_string())
    }
}

impl From<Refusal> for Frame {
    fn from(refusal: Refusal) -> Frame {
        Frame::refusal(refusal.code, refusal.remark)
    }
}

impl Namesrv {
    fn answer(&self, frame: &Frame, peer: &Peer) -> Result<Frame, Refusal> {
        match frame.code {
            request::REGISTER_BROKER => self.register(frame, peer),
            request::UNREGISTER_BROKER => self.unregister(frame),
            request::BROKER_HEARTBEAT => self.heartbeat(frame),
            request::QUERY_DATA_VERSION => self.data_version(frame),
            request::GET_ROUTEINFO_BY_TOPIC => self.route(frame),
            request::GET_BROKER_CLUSTER_INFO => Ok(success().with_json(&self.routes().clusters())),
            request::GET_BROKER_MEMBER_GROUP => self.members(frame),
            request::GET_ALL_TOPIC_LIST_FROM_NAMESERVER => Ok(topic_list(self.routes().topics())),
            request::GET_TOPICS_BY_CLUSTER => self.topics_of_cluster(frame),
            request::GET_SYSTEM_TOPIC_LIST_FROM_NS => Ok(self.system_topics()),
            request::GET_UNIT_TOPIC_LIST => Ok(self.topics_with_flag(|flag| flag & UNIT != 0)),
            request::GET_HAS_UNIT_SUB_TOPIC_LIST => {
                Ok(self.topics_with_flag(|flag| flag & UNIT_SUBSCRIBED != 0))
            }
            request::GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST => {
                Ok(self.topics_with_flag(|flag| flag & (UNIT | UNIT_SUBSCRIBED) == UNIT_SUBSCRIBED))
            }
            request::DELETE_TOPIC_IN_NAMESRV => self.delete_topic(frame),
            request::REGISTER_TOPIC_IN_NAMESRV => self.put_topic(frame),
            request::WIPE_WRITE_PERM_OF_BROKER => self.wipe_write_permission(frame),
            request::ADD_WRITE_PERM_OF_BROKER => self.add_write_permission(frame),
            request::GET_KV_CONFIG => self.kv_value(frame),
            request::GET_KVLIST_BY_NAMESPACE => self.kv_list(frame),
            request::GET_NAMESRV_CONFIG => Ok(success().with_body(self.settings().text())),
            code => Err(Refusal::new(
                response::REQUEST_CODE_NOT_SUPPORTED,
                format!(" request type {code} not supported"),
            )),
        }
    }

    fn register(&self, frame: &Frame, peer: &Peer) -> Result<Frame, Refusal> {
        let header: RegisterBrokerRequest = frame.header()?;
        let bytes = frame.body.contiguous();
        if header.body_crc32 != 0 && header.body_crc32 != body_crc32(&bytes) {
            return Err(Refusal::new(response::SYSTEM_ERROR, "crc32 not match"));
        }
        let table = RegisterBrokerBody::read(&bytes, frame.version)?.topic_config_serialize_wrapper;
        let registration = Registration {
            ha_address: header.ha_server_addr,
            silence_max: silence(header.heartbeat_timeout_ms),
            acting_master: header.enable_acting_master.unwrap_or(false),
            zone: header.zone_name,
            version: table.data_version,
            topics: table.topic_config_table,
            connection: peer.id(),
            identity: Identity {
                cluster: header.cluster_name,
                name: header.broker_name,
                id: header.broker_id,
                address: header.broker_addr,
            },
        };
        let identity = registration.identity.clone();
        let is_new = self.routes().version(&identity.address).is_none();
        let master = self.routes().register(registration, Instant::now()).map_err(|reason| {
            tracing::warn!(broker = identity.name, address = identity.address, %reason, "a broker was not registered");
            Refusal::new(response::SYSTEM_ERROR, "register broker failed")
        })?;
        if is_new {
            tracing::info!(
                broker = identity.name,
                id = identity.id,
                address = identity.address,
                "a broker registered"
            );
        }
        let reply = RegisterBrokerReply {
            ha_server_addr: master.ha_address,
            master_addr: master.address,
        };
        let answer = Frame::answer_with(response::SUCCESS, &reply);
        Ok(match self.kv.namespace(NAMESPACE_ORDER_TOPIC_CONFIG) {
            Some(table) => answer.with_json(&KvTable { table }),
            None => answer,
        })
    }

    fn unregister(&self, frame: &Frame) -> Result<Frame, Refusal> {
        let header: BrokerRequest = frame.header()?;
        self.routes().unregister(&Identity {
            cluster: header.cluster_name,
            name: header.broker_name,
            id: header.broker_id,
            address: header.broker_addr,
        });
        Ok(success())
    }

    fn heartbeat(&self, frame: &Frame) -> Result<Frame, Refusal> {
        let header: BrokerHeartbeatRequest = frame.header()?;
        self.routes().heard(&header.broker_addr, Instant::now());
        Ok(success())
    }

    fn data_version(&self, frame: &Frame) -> Result<Frame, Refusal> {
        let header: BrokerRequest = frame.header()?;
        let theirs: DataVersion = frame.json()?;
        let mut routes = self.routes();
        routes.heard(&header.broker_addr, Instant::now());
        let ours = routes.version(&header.broker_addr);
        let answer = Frame::answer_with(
            response::SUCCESS,
            &DataVersionReply {
                changed: ours != Some(theirs),
            },
        );
        Ok(match ours {
            Some(ours) => answer.with_json(&ours),
            None => answer,
        })
    }

    fn route(&self, frame: &Frame) -> Result<Frame, Refusal> {
        let header: RouteRequest = frame.header()?;
        match self.routes().route(&header.topic) {
            Some(route) => Ok(success().with_json(&route)),
            None => Err(Refusal::new(
                response::TOPIC_NOT_EXIST,
                format!(
                    "No topic route info in name server for the topic: {}",
                    header.topic
                ),
            )),
        }
    }

    fn members(&self, frame: &Frame) -> Result<Frame, Refusal> {
        let header: MemberGroupRequest = frame.header()?;
        let members = self.routes().members(&header.cluster_name, &header.broker_name);
        Ok(success().with_json(&BrokerMemberGroupBody {
            broker_member_group: Some(members),
        }))
    }

    fn topics_of_cluster(&self, frame: &Frame) -> Result<Frame, Refusal> {
        let header: ClusterRequest = frame.header()?;
        Ok(topic_list(self.routes().topics_of_cluster(&header.cluster)))
    }

    fn system_topics(&self) -> Frame {
        let (topic_list, broker_addr) = self.routes().system_topics();
        success().with_json(&TopicList {
            broker_addr,
            topic_list,
        })
    }

    fn topics_with_flag(&self, has: impl Fn(i32) -> bool) -> Frame {
        topic_list(self.routes().topics_with_flag(has))
    }

    fn delete_topic(&self, frame: &Frame) -> Result<Frame, Refusal> {
        let header: DeleteTopicRequest = frame.header()?;
        let cluster = header.cluster_name.filter(|cluster| !cluster.is_empty());
        self.routes().delete_topic(&header.topic, cluster.as_deref());
        Ok(success())
    }

    fn put_topic(&self, frame: &Frame) -> Result<Frame, Refusal> {
        let header: TopicRequest = frame.header()?;
        let route: TopicRouteData = frame.json()?;
        self.routes().put_topic(&header.topic, route.queue_datas);
        Ok(success())
    }

    fn wipe_write_permission(&self, frame: &Frame) -> Result<Frame, Refusal> {
        let header: BrokerNameRequest = frame.header()?;
        let count = self
            .routes()
            .set_permission(&header.broker_name, |bits| bits & !perm::WRITE);
        Ok(Frame::answer_with(
            response::SUCCESS,
            &WipeWritePermReply {
                wipe_topic_count: count,
            },
        ))
    }

    fn add_write_permission(&self, frame: &Frame) -> Result<Frame, Refusal> {
        let header: BrokerNameRequest = frame.header()?;
        let count = self
            .routes()
            .set_permission(&header.broker_name, |_| perm::READ | perm::WRITE);
        Ok(Frame::answer_with(
            response::SUCCESS,
            &AddWritePermReply {
                add_topic_count: count,
            },
        ))
    }

    fn kv_value(&self, frame: &Frame) -> Result<Frame, Refusal> {
        let KvRequest { namespace, key } = frame.header()?;
        match self.kv.get(&namespace, &key) {
            Some(value) => Ok(Frame::answer_with(
                response::SUCCESS,
                &KvReply { value: Some(value) },
            )),
            None => Err(Refusal::new(
                response::QUERY_NOT_FOUND,
                format!("No config item, Namespace: {namespace} Key: {key}"),
            )),
        }
    }

    fn kv_list(&self, frame: &Frame) -> Result<Frame, Refusal> {
        let NamespaceRequest { namespace } = frame.header()?;
        match self.kv.namespace(&namespace) {
            Some(table) => Ok(success().with_json(&KvTable { table })),
            None => Err(Refusal::new(
                response::QUERY_NOT_FOUND,
                format!("No config item, Namespace: {namespace}"),
            )),
        }
    }

    /// 100 and 102: the table changes at once, the answer comes when its file is written.
    fn change_kv(self: &Arc<Self>, frame: &Frame) -> Answer {
        let changed = match frame.code {
            request::PUT_KV_CONFIG => self.put_kv(frame),
            _ => self.delete_kv(frame),
        };
        if let Err(refusal) = changed {
            return Answer::Now(refusal.into());
        }
        let namesrv = Arc::clone(self);
        Answer::Later(Box::pin(async move { Some(saved(namesrv.kv.save().await)) }))
    }

    fn put_kv(&self, frame: &Frame) -> Result<(), Refusal> {
        let PutKvRequest {
            namespace,
            key,
            value,
        } = frame.header()?;
        self.kv
            .put(&namespace, &key, &value)
            .map_err(|full| Refusal::new(response::SYSTEM_ERROR, full.to_string()))
    }

    fn delete_kv(&self, frame: &Frame) -> Result<(), Refusal> {
        let KvRequest { namespace, key } = frame.header()?;
        self.kv.delete(&namespace, &key);
        Ok(())
    }

    /// 318: all of it or nothing; the answer comes when the file is written.
    fn change_config(self: &Arc<Self>, frame: &Frame) -> Answer {
        let text = String::from_utf8_lossy(&frame.body.contiguous()).into_owned();
        let changed = self
            .settings()
            .change(&text, &["rocketmqHome"], &self.config_path);
        if let Err(bad) = changed {
            return Answer::Now(Frame::refusal(bad.code(), bad.to_string()));
        }
        let namesrv = Arc::clone(self);
        Answer::Later(Box::pin(async move { Some(saved(namesrv.save_config().await)) }))
    }
}

fn success() -> Frame {
    Frame::answer(response::SUCCESS)
}

fn saved(result: std::io::Result<()>) -> Frame {
    match result {
        Ok(()) => success(),
        Err(error) => Frame::refusal(response::SYSTEM_ERROR, format!("changed, but not saved: {error}")),
    }
}

fn topic_list(topics: Vec<String>) -> Frame {
    success().with_json(&TopicList {
        broker_addr: None,
        topic_list: topics,
    })
}

fn silence(asked_ms: Option<i64>) -> Duration {
    let asked = asked_ms
        .and_then(|ms| u64::try_from(ms).ok())
        .filter(|ms| *ms > 0);
    asked.map_or(SILENCE_MAX, |ms| Duration::from_millis(ms).min(SILENCE_ASKED_MAX))
}
