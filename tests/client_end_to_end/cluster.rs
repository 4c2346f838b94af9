//! A broker over a temporary store and a name server that knows it, in this process, on free ports.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use rmq::broker::config::Config;
use rmq::broker::config::keys::KEYS;
use rmq::broker::options::BrokerOptions;
use rmq::broker::{Broker, Listeners, RunningBroker, Start};
use rmq::client::ClientOptions;
use rmq::protocol::code::{request, response};
use rmq::protocol::fastjson;
use rmq::protocol::frame::Frame;
use rmq::protocol::request::namesrv::{RegisterBrokerBody, RegisterBrokerRequest, RouteRequest};
use rmq::protocol::request::route::{BrokerData, ClusterInfo, QueueData, TopicRouteData};
use rmq::protocol::request::topic::TopicConfig;
use rmq::protocol::settings::{Defaults, Settings};
use rmq::remoting::{Answer, Limits, Peer, Serve, listen};
use rmq::store::{Clock, RealDisk, StoreOptions, SystemClock};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// Name server and broker. Both end when it is dropped.
pub struct Cluster {
    pub names: String,
    broker: RunningBroker,
    _folder: TempDir,
    _stop: watch::Sender<bool>,
}

impl Cluster {
    /// A broker whose delay levels are this many milliseconds each.
    pub async fn start_with_delays(delay_ms: i64) -> Cluster {
        let (names, stop) = start_names().await;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener");
        let options = BrokerOptions {
            advertised: address.to_string(),
            store_host: address,
            name_servers: vec![names.clone()],
            delay_levels_ms: vec![delay_ms; 18],
            ..BrokerOptions::default()
        };
        let store = StoreOptions {
            root: folder.path().join("store"),
            segment_bytes: Some(64 << 20),
            store_host: address,
            ..StoreOptions::default()
        };
        let start = Start {
            config: Config::new(
                Settings::new(KEYS, Defaults::Own),
                &store.root,
                SystemClock.now_ms(),
            ),
            options,
            store,
            disk: Arc::new(RealDisk),
            clock: Arc::new(SystemClock),
        };
        let listeners = Listeners {
            main: listener,
            fast: None,
        };
        let broker = Broker::start(start, listeners).await.expect("a broker");
        let cluster = Cluster {
            names,
            broker,
            _folder: folder,
            _stop: stop,
        };
        cluster.registered().await;
        cluster
    }

    pub async fn start() -> Cluster {
        Cluster::start_with_delays(20).await
    }

    pub fn client(&self) -> ClientOptions {
        ClientOptions::new(&self.names)
    }

    pub fn broker_address(&self) -> String {
        self.broker.address.to_string()
    }

    /// Waits until the name server has a route to the broker.
    async fn registered(&self) {
        let reader = rmq::client::PullConsumer::new(self.client(), None);
        while reader.queues("TBW102").await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
}

async fn start_names() -> (String, watch::Sender<bool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a bound listener").to_string();
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(listen(
        listener,
        Arc::new(Names::default()),
        Limits::default(),
        stopped,
    ));
    (address, stop)
}

/// The last registration of the one broker.
#[derive(Default)]
struct Names(Mutex<Option<(RegisterBrokerRequest, BTreeMap<String, TopicConfig>)>>);

impl Serve for Names {
    fn serve(self: &Arc<Self>, frame: Frame, _peer: &Arc<Peer>) -> Answer {
        let mut registered = self.0.lock().expect("not poisoned");
        let answer = match (frame.code, &*registered) {
            (request::REGISTER_BROKER, _) => {
                let header = frame.header().expect("a registration");
                let body =
                    RegisterBrokerBody::read(&frame.body.contiguous(), frame.version).expect("a table");
                *registered = Some((header, body.topic_config_serialize_wrapper.topic_config_table));
                Frame::answer(response::SUCCESS)
            }
            (request::GET_ROUTEINFO_BY_TOPIC, Some((broker, topics))) => {
                let asked: RouteRequest = frame.header().expect("a topic");
                match topics.get(&asked.topic) {
                    Some(topic) => answer(&route(broker, topic)),
                    None => Frame::refusal(response::TOPIC_NOT_EXIST, "no route"),
                }
            }
            (request::GET_BROKER_CLUSTER_INFO, Some((broker, _))) => answer(&cluster(broker)),
            _ => Frame::refusal(response::TOPIC_NOT_EXIST, "nobody registered"),
        };
        Answer::Now(answer)
    }

    fn closed(&self, _peer: &Arc<Peer>) {}
}

fn answer(body: &impl serde::Serialize) -> Frame {
    Frame::answer(response::SUCCESS).with_body(fastjson::write(body))
}

fn broker_data(broker: &RegisterBrokerRequest) -> BrokerData {
    BrokerData {
        broker_addrs: [(broker.broker_id, broker.broker_addr.clone())]
            .into_iter()
            .collect(),
        broker_name: broker.broker_name.clone(),
        cluster: broker.cluster_name.clone(),
        ..BrokerData::default()
    }
}

fn route(broker: &RegisterBrokerRequest, topic: &TopicConfig) -> TopicRouteData {
    TopicRouteData {
        broker_datas: vec![broker_data(broker)],
        queue_datas: vec![QueueData {
            broker_name: broker.broker_name.clone(),
            perm: topic.perm,
            read_queue_nums: topic.read_queue_nums,
            topic_sys_flag: topic.topic_sys_flag,
            write_queue_nums: topic.write_queue_nums,
        }],
        ..TopicRouteData::default()
    }
}

fn cluster(broker: &RegisterBrokerRequest) -> ClusterInfo {
    ClusterInfo {
        broker_addr_table: [(broker.broker_name.clone(), broker_data(broker))]
            .into_iter()
            .collect(),
        cluster_addr_table: [(broker.cluster_name.clone(), vec![broker.broker_name.clone()])]
            .into_iter()
            .collect(),
    }
}
