//! Administration of brokers that cannot all be asked.

use rmq::client::{Admin, ClientError, ClientOptions};
use rmq::protocol::code::{request, response};
use rmq::protocol::fastjson;
use rmq::protocol::frame::Frame;
use rmq::protocol::message::offset_message_id;
use rmq::protocol::request::message::{QueryMessageReply, QueryMessageRequest};
use rmq::protocol::request::route::{BrokerData, ClusterInfo};

use crate::server::{Reply, Server, header_of, record};

fn admin(server: &Server) -> Admin {
    Admin::new(ClientOptions::new(&server.address))
}

fn found(records: Vec<bytes::Bytes>) -> Reply {
    let header = QueryMessageReply {
        index_last_update_timestamp: 0,
        index_last_update_phyoffset: 0,
    };
    Reply::answer(Frame::answer_with(response::SUCCESS, &header).with_body(records))
}

#[tokio::test]
async fn what_one_broker_found_is_shown_although_another_could_not_be_asked() {
    let (a, b) = (Server::start().await.topic("T", 1), Server::start().await);
    a.set_brokers(&[("a", &a.address), ("b", &b.address)]);
    a.script(|frame| {
        (frame.code == request::QUERY_MESSAGE)
            .then(|| found(vec![record("T", 0, 0, &[("KEYS", "x k")], "m")]))
    });
    b.script(|frame| {
        let failing = frame.code == request::QUERY_MESSAGE;
        failing.then(|| Reply::answer(Frame::refusal(response::SYSTEM_ERROR, "index damaged")))
    });
    let found = admin(&a)
        .find_by_key("T", "k", 10, 0, i64::MAX)
        .await
        .expect("asked");
    assert_eq!(found.messages.len(), 1);
    assert_eq!(found.messages[0].queue.broker_name, "a");
    assert_eq!(found.failures.len(), 1);
    assert_eq!(found.failures[0].0.name, "b");
    assert!(found.failures[0].1.to_string().contains("index damaged"));
    assert!(!found.capped);
}

#[tokio::test]
async fn a_key_finds_its_own_messages_only() {
    let a = Server::start().await.topic("T", 1);
    a.script(|frame| {
        (frame.code == request::QUERY_MESSAGE).then(|| {
            found(vec![
                record("T", 0, 0, &[("KEYS", "Aa")], "mine"),
                record("T", 0, 1, &[("KEYS", "BB")], "of equal hash"),
            ])
        })
    });
    let found = admin(&a)
        .find_by_key("T", "Aa", 2, 0, i64::MAX)
        .await
        .expect("asked");
    assert_eq!(found.messages.len(), 1);
    assert!(found.capped, "as many came as were asked for");
}

#[tokio::test]
async fn all_copies_of_an_id_are_looked_for_at_all_times() {
    let a = Server::start().await.topic("%RETRY%G", 1);
    a.script(|frame| {
        (frame.code == request::QUERY_MESSAGE).then(|| {
            found(
                (0..3)
                    .map(|offset| record("%RETRY%G", 0, offset, &[("UNIQ_KEY", "ID")], "m"))
                    .collect(),
            )
        })
    });
    let found = admin(&a)
        .find_by_unique_key("%RETRY%G", "ID")
        .await
        .expect("asked");
    let offsets: Vec<u64> = found
        .messages
        .iter()
        .map(|message| message.queue_offset)
        .collect();
    assert_eq!(offsets, [0, 1, 2]);
    let asked: QueryMessageRequest = header_of(&a.requests(request::QUERY_MESSAGE)[0]);
    assert_eq!(
        (asked.begin_timestamp, asked.end_timestamp, asked.unique_key),
        (0, i64::MAX, true)
    );
}

#[tokio::test]
async fn an_offset_id_is_asked_of_the_broker_that_it_names() {
    let (names, broker) = (Server::start().await, Server::start().await);
    broker.script(|frame| {
        (frame.code == request::VIEW_MESSAGE_BY_ID)
            .then(|| Reply::answer(Frame::answer(response::SUCCESS).with_body(record("T", 3, 4, &[], "m"))))
    });
    let id = offset_message_id(broker.address.parse().expect("an address"), 4000);
    let message = admin(&names).find_by_offset_id(&id).await.expect("found");
    assert_eq!((message.queue.queue_id, message.queue_offset), (3, 4));
    broker.script(|frame| {
        (frame.code == request::VIEW_MESSAGE_BY_ID).then(|| {
            Reply::answer(Frame::refusal(
                response::SYSTEM_ERROR,
                "can not find message by the offset",
            ))
        })
    });
    let missing = admin(&names).find_by_offset_id(&id).await.expect_err("not there");
    assert!(matches!(missing, ClientError::MessageNotFound(_)), "{missing}");
    let nonsense = admin(&names).find_by_offset_id("xyz").await.expect_err("no id");
    assert!(matches!(nonsense, ClientError::Setting(_)), "{nonsense}");
}

#[tokio::test]
async fn brokers_come_by_cluster_name_and_id_and_an_unknown_cluster_is_named() {
    let a = Server::start().await;
    a.script(|frame| {
        (frame.code == request::GET_BROKER_CLUSTER_INFO).then(|| {
            let broker = |cluster: &str, name: &str| BrokerData {
                broker_addrs: [(1, format!("{name}-slave:1")), (0, format!("{name}:1"))]
                    .into_iter()
                    .collect(),
                broker_name: name.to_owned(),
                cluster: cluster.to_owned(),
                ..BrokerData::default()
            };
            let info = ClusterInfo {
                broker_addr_table: [("z", "one"), ("a", "one"), ("m", "two")]
                    .into_iter()
                    .map(|(name, cluster)| (name.to_owned(), broker(cluster, name)))
                    .collect(),
                cluster_addr_table: [("one".to_owned(), vec![]), ("two".to_owned(), vec![])]
                    .into_iter()
                    .collect(),
            };
            Reply::answer(Frame::answer(response::SUCCESS).with_body(fastjson::write(&info)))
        })
    });
    let admin = admin(&a);
    let addresses: Vec<String> = admin
        .brokers(None)
        .await
        .expect("asked")
        .into_iter()
        .map(|broker| broker.address)
        .collect();
    assert_eq!(
        addresses,
        ["a:1", "a-slave:1", "z:1", "z-slave:1", "m:1", "m-slave:1"]
    );
    assert_eq!(admin.masters(Some("two")).await.expect("asked").len(), 1);
    let unknown = admin.brokers(Some("three")).await.expect_err("no such cluster");
    assert!(unknown.to_string().contains("three"));
}
