//! A name server with files of its own, and a connection to it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rmq::namesrv::{self, Namesrv, RunningNamesrv};
use rmq::protocol::code::request;
use rmq::protocol::fields::Header;
use rmq::protocol::frame::Frame;
use rmq::protocol::request::body::DataVersion;
use rmq::protocol::request::namesrv::{
    BrokerRequest, RegisterBrokerBody, RegisterBrokerRequest, RouteRequest,
};
use rmq::protocol::request::route::TopicRouteData;
use rmq::protocol::request::topic::TopicConfig;
use rmq::protocol::settings::{Defaults, Folders, Settings};
use rmq::remoting::{Answer, Peer, Serve, connect};
use tokio::net::TcpListener;

pub const PATIENCE: Duration = Duration::from_secs(20);

/// Starts a name server whose files are in `folder`.
pub async fn start(folder: &Path) -> RunningNamesrv {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let mut settings = Settings::new(namesrv::config::KEYS, Defaults::Own);
    settings.derive("kvConfigPath", folder.join("kvConfig.json").display().to_string());
    settings.derive(
        "configStorePath",
        folder.join("namesrv.properties").display().to_string(),
    );
    let folders = Folders {
        home: folder.to_owned(),
        data: folder.to_owned(),
    };
    Namesrv::start(listener, settings, &folders)
        .await
        .expect("a name server")
}

/// Nobody asks these clients anything.
struct Mute;

impl Serve for Mute {
    fn serve(self: &Arc<Self>, _: Frame, _: &Arc<Peer>) -> Answer {
        Answer::None
    }

    fn closed(&self, _: &Arc<Peer>) {}
}

/// A connection to a name server.
pub struct Client(pub Arc<Peer>);

impl Client {
    pub async fn to(namesrv: &RunningNamesrv) -> Client {
        Client(
            connect(namesrv.address, Arc::new(Mute), PATIENCE)
                .await
                .expect("it listens"),
        )
    }

    pub async fn send(&self, frame: Frame) -> Frame {
        self.0.request(frame, PATIENCE).await.expect("an answer")
    }

    pub async fn ask<'a>(&self, code: i32, header: &impl Header<'a>) -> Frame {
        self.send(Frame::request(code, header)).await
    }

    /// A broker registers with these topics; its version counts what it has registered.
    pub async fn register(&self, broker: &Broker, topics: &[&str], counter: i64) -> Frame {
        let mut body = RegisterBrokerBody::default();
        let table = &mut body.topic_config_serialize_wrapper;
        table.data_version = DataVersion {
            counter,
            ..DataVersion::default()
        };
        table.topic_config_table = topics
            .iter()
            .map(|topic| ((*topic).to_owned(), TopicConfig::new(*topic, 4, 4, 6)))
            .collect();
        let header = RegisterBrokerRequest {
            broker_name: broker.name.to_owned(),
            broker_addr: broker.address.to_owned(),
            cluster_name: "DefaultCluster".to_owned(),
            ha_server_addr: "10.0.0.1:10912".to_owned(),
            broker_id: broker.id,
            heartbeat_timeout_ms: None,
            enable_acting_master: None,
            compressed: false,
            body_crc32: 0,
            zone_name: None,
        };
        let answer = self
            .send(Frame::request(request::REGISTER_BROKER, &header).with_json(&body))
            .await;
        assert_eq!(answer.code, 0, "{:?}", answer.remark);
        answer
    }

    pub async fn unregister(&self, broker: &Broker) {
        let answer = self.ask(request::UNREGISTER_BROKER, &broker.header()).await;
        assert_eq!(answer.code, 0);
    }

    pub async fn route(&self, topic: &str) -> Option<TopicRouteData> {
        let header = RouteRequest {
            topic: topic.to_owned(),
            accept_standard_json_only: false,
        };
        let answer = self.ask(request::GET_ROUTEINFO_BY_TOPIC, &header).await;
        match answer.code {
            0 => Some(answer.json().expect("a route")),
            17 => None,
            code => panic!("{code}: {:?}", answer.remark),
        }
    }

    /// `name@id=address` of every broker that a topic leads to, in the order of the answer.
    pub async fn addresses(&self, topic: &str) -> Vec<String> {
        let route = self.route(topic).await.unwrap_or_default();
        let of_broker = |name: String, addresses: std::collections::BTreeMap<i64, String>| {
            addresses
                .into_iter()
                .map(move |(id, address)| format!("{name}@{id}={address}"))
        };
        route
            .broker_datas
            .into_iter()
            .flat_map(|data| of_broker(data.broker_name, data.broker_addrs))
            .collect()
    }
}

/// A broker as it names itself.
pub struct Broker {
    pub name: &'static str,
    pub id: i64,
    pub address: &'static str,
}

impl Broker {
    pub fn header(&self) -> BrokerRequest {
        BrokerRequest {
            broker_name: self.name.to_owned(),
            broker_addr: self.address.to_owned(),
            cluster_name: "DefaultCluster".to_owned(),
            broker_id: self.id,
        }
    }
}
