//! Brokers come and go.

use rmq::protocol::code::request;
use rmq::protocol::frame::Frame;
use rmq::protocol::request::body::DataVersion;
use rmq::protocol::request::namesrv::{BrokerNameRequest, DataVersionReply, RegisterBrokerReply};

use crate::harness::{Broker, Client, start};

const ONE: Broker = Broker {
    name: "a",
    id: 0,
    address: "10.0.0.1:10911",
};
const TWO: Broker = Broker {
    name: "a",
    id: 0,
    address: "10.0.0.2:10911",
};
const SLAVE: Broker = Broker {
    name: "a",
    id: 1,
    address: "10.0.0.3:10911",
};
const OTHER: Broker = Broker {
    name: "b",
    id: 0,
    address: "10.0.0.4:10911",
};

#[tokio::test]
async fn brokers_come_in_the_order_of_their_names_whoever_registered_first() {
    let folder = tempfile::tempdir().unwrap();
    for order in [[&ONE, &OTHER], [&OTHER, &ONE]] {
        let namesrv = start(folder.path()).await;
        let client = Client::to(&namesrv).await;
        for broker in order {
            client.register(broker, &["t", "u"], 1).await;
        }
        assert_eq!(
            client.addresses("t").await,
            ["a@0=10.0.0.1:10911", "b@0=10.0.0.4:10911"]
        );
        namesrv.stop().await;
    }
}

#[tokio::test]
async fn a_broker_goes_with_its_connection() {
    let folder = tempfile::tempdir().unwrap();
    let namesrv = start(folder.path()).await;
    let [first, second, reader] = [
        Client::to(&namesrv).await,
        Client::to(&namesrv).await,
        Client::to(&namesrv).await,
    ];
    first.register(&ONE, &["t", "u"], 1).await;
    second.register(&OTHER, &["t", "v"], 1).await;
    first.0.close();
    while reader.addresses("t").await.len() > 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(reader.addresses("t").await, ["b@0=10.0.0.4:10911"]);
    assert_eq!(reader.route("u").await, None, "a topic goes with its last broker");
    namesrv.stop().await;
}

/// A broker that connected anew is not taken away by the end of its old connection.
#[tokio::test]
async fn the_end_of_an_old_connection_takes_nobody_away() {
    let folder = tempfile::tempdir().unwrap();
    let namesrv = start(folder.path()).await;
    let [old, new] = [Client::to(&namesrv).await, Client::to(&namesrv).await];
    old.register(&ONE, &["t", "u"], 1).await;
    old.register(&OTHER, &["t", "u"], 1).await;
    new.register(&ONE, &["t", "u"], 1).await;
    old.0.close();
    while new.addresses("t").await.len() > 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(new.addresses("t").await, ["a@0=10.0.0.1:10911"]);
    namesrv.stop().await;
}

#[tokio::test]
async fn a_late_goodbye_removes_only_its_sender() {
    let folder = tempfile::tempdir().unwrap();
    let namesrv = start(folder.path()).await;
    let client = Client::to(&namesrv).await;
    client.register(&ONE, &["t", "u"], 1).await;
    client.register(&TWO, &["t", "u"], 1).await;
    client.unregister(&ONE).await;
    assert_eq!(client.addresses("t").await, ["a@0=10.0.0.2:10911"]);
    client.unregister(&TWO).await;
    assert_eq!(client.route("t").await, None);
    namesrv.stop().await;
}

#[tokio::test]
async fn one_address_is_one_broker() {
    let folder = tempfile::tempdir().unwrap();
    let namesrv = start(folder.path()).await;
    let client = Client::to(&namesrv).await;
    client.register(&ONE, &["t", "u"], 1).await;
    let renamed = Broker {
        name: "renamed",
        ..ONE
    };
    client.register(&renamed, &["t", "u"], 1).await;
    assert_eq!(client.addresses("t").await, ["renamed@0=10.0.0.1:10911"]);
    namesrv.stop().await;
}

#[tokio::test]
async fn a_slave_is_told_its_master_and_brings_no_queues() {
    let folder = tempfile::tempdir().unwrap();
    let namesrv = start(folder.path()).await;
    let client = Client::to(&namesrv).await;
    client.register(&ONE, &["t", "u"], 1).await;
    let reply: RegisterBrokerReply = client
        .register(&SLAVE, &["t", "of-the-slave"], 1)
        .await
        .header()
        .unwrap();
    assert_eq!(reply.master_addr.as_deref(), Some("10.0.0.1:10911"));
    assert_eq!(reply.ha_server_addr.as_deref(), Some("10.0.0.1:10912"));
    assert_eq!(
        client.addresses("t").await,
        ["a@0=10.0.0.1:10911", "a@1=10.0.0.3:10911"]
    );
    assert_eq!(client.route("of-the-slave").await, None);
    namesrv.stop().await;
}

#[tokio::test]
async fn a_broker_learns_whether_its_topics_are_known() {
    let folder = tempfile::tempdir().unwrap();
    let namesrv = start(folder.path()).await;
    let client = Client::to(&namesrv).await;
    client.register(&ONE, &["t", "u"], 7).await;
    for (counter, changed) in [(7, false), (8, true)] {
        let version = DataVersion {
            counter,
            ..DataVersion::default()
        };
        let answer = client
            .send(Frame::request(request::QUERY_DATA_VERSION, &ONE.header()).with_json(&version))
            .await;
        assert_eq!(answer.header::<DataVersionReply>().unwrap().changed, changed);
        assert_eq!(answer.json::<DataVersion>().unwrap().counter, 7);
    }
    namesrv.stop().await;
}

#[tokio::test]
async fn write_permission_is_taken_from_a_broker_and_given_back() {
    let folder = tempfile::tempdir().unwrap();
    let namesrv = start(folder.path()).await;
    let client = Client::to(&namesrv).await;
    client.register(&ONE, &["t", "u"], 1).await;
    let named = BrokerNameRequest {
        broker_name: "a".to_owned(),
    };
    for (code, field, perm) in [
        (request::WIPE_WRITE_PERM_OF_BROKER, "wipeTopicCount", 4),
        (request::ADD_WRITE_PERM_OF_BROKER, "addTopicCount", 6),
    ] {
        assert_eq!(client.ask(code, &named).await.fields.get(field), Some("2"));
        assert_eq!(client.route("t").await.unwrap().queue_datas[0].perm, perm);
    }
    namesrv.stop().await;
}
