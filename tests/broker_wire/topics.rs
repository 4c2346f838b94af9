//! Topics: created unasked, kept, registered with name servers.

use std::sync::Arc;

use rmq::protocol::code::{request, response};
use rmq::protocol::frame::Frame;
use rmq::protocol::request::namesrv::{RegisterBrokerBody, RegisterBrokerRequest};
use rmq::remoting::{Answer, Limits, Peer, Serve, listen};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use crate::harness::{PATIENCE, TestBroker, consumer};

/// A name server that writes down what it is told.
struct NameServer(mpsc::UnboundedSender<Frame>);

impl Serve for NameServer {
    fn serve(self: &Arc<Self>, frame: Frame, _peer: &Arc<Peer>) -> Answer {
        drop(self.0.send(frame));
        let settings = r#"{"table":{"lined-up":"broker-a:4","elsewhere":"broker-b:4"}}"#;
        Answer::Now(Frame::answer(response::SUCCESS).with_body(settings.to_string()))
    }
    fn closed(&self, _peer: &Arc<Peer>) {}
}

struct Running {
    address: String,
    told: mpsc::UnboundedReceiver<Frame>,
    _stop: watch::Sender<bool>,
}

async fn name_server() -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a bound listener").to_string();
    let (sender, told) = mpsc::unbounded_channel();
    let stop = watch::Sender::new(false);
    tokio::spawn(listen(
        listener,
        Arc::new(NameServer(sender)),
        Limits::default(),
        stop.subscribe(),
    ));
    Running {
        address,
        told,
        _stop: stop,
    }
}

impl Running {
    async fn next(&mut self) -> Frame {
        tokio::time::timeout(PATIENCE, self.told.recv())
            .await
            .expect("in time")
            .expect("it runs")
    }

    /// The topics of the next registration.
    async fn registered(&mut self) -> RegisterBrokerBody {
        let frame = self.next().await;
        assert_eq!(frame.code, request::REGISTER_BROKER);
        let header: RegisterBrokerRequest = frame.header().expect("a header");
        assert_eq!(
            (header.broker_name.as_str(), header.cluster_name.as_str()),
            ("broker-a", "DefaultCluster")
        );
        let body = frame.body.contiguous();
        assert_eq!(
            header.body_crc32,
            rmq::protocol::request::namesrv::body_crc32(&body)
        );
        RegisterBrokerBody::read(&body, frame.version).expect("a registration")
    }
}

/// Points a running broker at these name servers.
fn use_name_servers(broker: &TestBroker, servers: &[&Running]) {
    let mut options = (*broker.broker().options()).clone();
    options.name_servers = servers.iter().map(|server| server.address.clone()).collect();
    broker.broker().set_options(options);
}

fn names(body: &RegisterBrokerBody) -> Vec<&str> {
    body.topic_config_serialize_wrapper
        .topic_config_table
        .keys()
        .map(String::as_str)
        .collect()
}

#[tokio::test]
async fn a_topic_made_by_a_send_is_registered_when_the_send_is_answered() {
    let broker = TestBroker::start().await;
    let mut server = name_server().await;
    use_name_servers(&broker, &[&server]);
    let first = server.registered().await;
    assert!(
        names(&first).contains(&"TBW102") && names(&first).len() > 5,
        "a first registration is complete"
    );
    broker.connect().await.send("orders", "x").await;
    let second = server.told.try_recv().expect("already told");
    let body = RegisterBrokerBody::read(&second.body.contiguous(), second.version).expect("a registration");
    let table = &body.topic_config_serialize_wrapper;
    assert_eq!(table.topic_config_table["orders"].write_queue_nums, 4);
    assert_ne!(
        table.data_version,
        first.topic_config_serialize_wrapper.data_version
    );
}

#[tokio::test]
async fn a_removed_name_server_hears_a_goodbye_and_an_added_one_everything() {
    let broker = TestBroker::start().await;
    let (mut old, mut new) = (name_server().await, name_server().await);
    use_name_servers(&broker, &[&old]);
    old.registered().await;
    use_name_servers(&broker, &[&new]);
    new.registered().await;
    assert_eq!(old.next().await.code, request::UNREGISTER_BROKER);
    broker.running.stop().await.expect("a clean stop");
    assert_eq!(new.next().await.code, request::UNREGISTER_BROKER);
}

/// A name server that takes connections and answers nothing holds up neither a heartbeat nor, for long, a send.
#[tokio::test]
async fn a_heartbeat_waits_for_no_name_server() {
    let broker = TestBroker::start().await;
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let mut options = (*broker.broker().options()).clone();
    options.name_servers = vec![silent.local_addr().expect("bound").to_string()];
    broker.broker().set_options(options);
    let client = broker.connect().await;
    let beat = rmq::protocol::fastjson::write(&consumer("c", "g", &["orders"]));
    let reply = client.peer.request(
        Frame::command(request::HEART_BEAT).with_body(beat),
        std::time::Duration::from_secs(5),
    );
    assert_eq!(
        reply.await.expect("an answer although nobody registers").code,
        response::SUCCESS
    );
    client.send("orders", "x").await;
    drop(silent);
}

#[tokio::test]
async fn topics_and_groups_are_there_after_a_restart() {
    let broker = TestBroker::start().await;
    let client = broker.connect().await;
    client.send("orders", "kept").await;
    client.beat(&consumer("c", "readers", &["orders"])).await;
    let config = broker.folder.path().join("store/config");
    let broker = broker
        .restart_after(|| {
            for (file, name) in [
                ("topics.json", "%RETRY%readers"),
                ("subscriptionGroup.json", "readers"),
            ] {
                let text = std::fs::read_to_string(config.join(file)).expect("a file");
                assert!(text.contains(&format!("\"{name}\"")), "{file}");
            }
        })
        .await;
    let client = broker.connect().await;
    assert_eq!(client.pull("orders", 0).await.bodies(), ["kept"]);
}

/// What a send made is saved before the send is answered: a killed broker knows the topic of every message it has.
#[tokio::test]
async fn a_topic_is_saved_before_its_first_message_is_acknowledged() {
    let broker = TestBroker::start().await;
    broker.connect().await.send("orders", "x").await;
    let text =
        std::fs::read_to_string(broker.folder.path().join("store/config/topics.json")).expect("a file");
    assert!(text.contains("\"orders\""));
}

/// The answer to a registration names ordered topics; the broker keeps that with the topic and tells it on.
#[tokio::test]
async fn topics_that_a_name_server_calls_ordered_are() {
    let broker = TestBroker::start().await;
    let mut server = name_server().await;
    broker.connect().await.send("lined-up", "x").await;
    use_name_servers(&broker, &[&server]);
    server.registered().await;
    broker.connect().await.send("another", "x").await;
    let topics = server
        .registered()
        .await
        .topic_config_serialize_wrapper
        .topic_config_table;
    assert!(topics["lined-up"].order && !topics["another"].order);
}
