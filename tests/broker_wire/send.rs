//! SEND: what is stored, what is answered, what is refused.

use std::collections::BTreeMap;

use bytes::BytesMut;
use rmq::protocol::code::{request, response};
use rmq::protocol::frame::Frame;
use rmq::protocol::message::{BatchItem, encode_batch_item, parse_offset_message_id};
use rmq::protocol::request::send::SendRequest;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Client, TestBroker, message, number, pull};

fn batch(items: &[(&str, &str)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (text, properties) in items {
        encode_batch_item(
            &BatchItem {
                flag: 0,
                body: text.as_bytes(),
                properties,
            },
            &mut body,
        );
    }
    body
}

async fn send_batch(client: &Client, topic: &str, queue_id: i32, items: &[(&str, &str)]) -> Frame {
    let request = SendRequest {
        batch: true,
        queue_id,
        ..message(topic)
    };
    client
        .ask(request.frame(request::SEND_BATCH_MESSAGE).with_body(batch(items)))
        .await
}

#[tokio::test]
async fn a_message_is_read_back_as_sent_with_what_the_broker_adds() {
    let broker = TestBroker::start().await;
    let client = broker.connect().await;
    let sent = SendRequest {
        flag: 7,
        properties: "KEYS\u{1}k1 k2\u{2}TAGS\u{1}A\u{2}UNIQ_KEY\u{1}U1\u{2}",
        ..message("orders")
    };
    let reply = client.send_frame(&sent, "hello").await;
    assert_eq!(reply.code, response::SUCCESS, "{:?}", reply.remark);
    assert_eq!((number(&reply, "queueId"), number(&reply, "queueOffset")), (0, 0));
    assert_eq!(reply.fields.get("transactionId"), Some("U1"));
    assert_eq!(
        (reply.fields.get("MSG_REGION"), reply.fields.get("TRACE_ON")),
        (Some("DefaultRegion"), Some("true"))
    );

    let pulled = client.pull("orders", 0).await;
    assert_eq!(pulled.bodies(), ["hello"]);
    let seen = &pulled.messages[0];
    let id = parse_offset_message_id(reply.fields.get("msgId").expect("an id")).expect("an offset id");
    assert_eq!(id, (broker.running.address, seen.log_offset));
    for (name, value) in [
        ("KEYS", "k1 k2"),
        ("TAGS", "A"),
        ("UNIQ_KEY", "U1"),
        ("CLUSTER", "DefaultCluster"),
        ("MSG_REGION", "DefaultRegion"),
        ("TRACE_ON", "true"),
    ] {
        assert_eq!(seen.property(name), Some(value), "{name}");
    }
}

#[tokio::test]
async fn both_spellings_and_one_way_sends_are_stored() {
    let broker = TestBroker::start().await;
    let client = broker.connect().await;
    let one = client
        .ask(
            message("orders")
                .frame(request::SEND_MESSAGE)
                .with_body("long names".to_string()),
        )
        .await;
    assert_eq!(one.code, response::SUCCESS);
    client
        .peer
        .oneway(
            message("orders")
                .frame(request::SEND_MESSAGE_V2)
                .with_body("one way".to_string()),
        )
        .expect("sent");
    client.send("orders", "last").await;
    assert_eq!(
        client.pull("orders", 0).await.bodies(),
        ["long names", "one way", "last"]
    );
}

#[tokio::test]
async fn a_message_without_a_key_of_its_own_gets_one() {
    let broker = TestBroker::start().await;
    let client = broker.connect().await;
    let reply = client.send_frame(&message("orders"), "x").await;
    let key = reply.fields.get("transactionId").expect("a key").to_string();
    assert_eq!(key.len(), 32);
    assert_eq!(
        client.pull("orders", 0).await.messages[0].property("UNIQ_KEY"),
        Some(key.as_str())
    );
}

/// The last separator of encoded properties is optional: what the broker appends must not run into the last value.
#[tokio::test]
async fn properties_without_a_last_separator_are_read_back_as_sent() {
    let broker = TestBroker::start().await;
    let client = broker.connect().await;
    client
        .send_tagged("orders", "single", "KEYS\u{1}k\u{2}TAGS\u{1}A")
        .await;
    let reply = send_batch(
        &client,
        "orders",
        0,
        &[
            ("batch", "UNIQ_KEY\u{1}U\u{2}TAGS\u{1}A"),
            ("keyless", "TAGS\u{1}A"),
        ],
    )
    .await;
    assert_eq!(reply.code, response::SUCCESS, "{:?}", reply.remark);
    let mut request = pull("orders", 0);
    request.subscription = Some("A".into());
    let pulled = client.pull_frame(&request).await;
    assert_eq!(pulled.bodies(), ["single", "batch", "keyless"]);
    assert!(
        pulled
            .messages
            .iter()
            .all(|message| message.property("TAGS") == Some("A"))
    );
    assert_eq!(pulled.messages[0].property("KEYS"), Some("k"));
    assert!(pulled.messages[2].property("UNIQ_KEY").is_some());
}

/// What the broker writes into properties is the broker's word, also where a client sends a received message on.
#[tokio::test]
async fn a_message_that_is_sent_on_says_what_this_broker_says() {
    let broker = TestBroker::start().await;
    let client = broker.connect().await;
    client
        .send_tagged(
            "orders",
            "x",
            "CLUSTER\u{1}Elsewhere\u{2}POP_CK\u{1}ck\u{2}TAGS\u{1}A\u{2}",
        )
        .await;
    let seen = &client.pull("orders", 0).await.messages[0];
    assert_eq!(seen.property("CLUSTER"), Some("DefaultCluster"));
    assert_eq!(
        (seen.property("POP_CK"), seen.property("TAGS")),
        (None, Some("A"))
    );
    assert_eq!(seen.properties.matches("CLUSTER").count(), 1);
}

#[tokio::test]
async fn a_batch_is_stored_whole_in_its_order_under_one_id_each() {
    let broker = TestBroker::start().await;
    let client = broker.connect().await;
    client.send("orders", "before").await;
    let items = [
        ("a", "UNIQ_KEY\u{1}1\u{2}"),
        ("b", "UNIQ_KEY\u{1}2\u{2}"),
        ("c", "UNIQ_KEY\u{1}3\u{2}"),
    ];
    let reply = send_batch(&client, "orders", 0, &items).await;
    assert_eq!(
        (reply.code, number(&reply, "queueOffset")),
        (response::SUCCESS, 1)
    );
    let pulled = client.pull("orders", 1).await;
    assert_eq!(pulled.bodies(), ["a", "b", "c"]);
    let ids: Vec<&str> = reply.fields.get("msgId").expect("ids").split(',').collect();
    let offsets: Vec<u64> = ids
        .iter()
        .map(|id| parse_offset_message_id(id).expect("an offset id").1)
        .collect();
    assert_eq!(
        offsets,
        pulled
            .messages
            .iter()
            .map(|message| message.log_offset)
            .collect::<Vec<_>>()
    );
    let keys: Vec<_> = pulled
        .messages
        .iter()
        .map(|message| message.property("UNIQ_KEY"))
        .collect();
    assert_eq!(keys, [Some("1"), Some("2"), Some("3")]);
}

/// 8 connections send batches and single messages to one queue at once: the offsets of all answers cover the queue
/// without gap or overlap, and each batch lies together in its own order.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn offsets_tile_under_concurrent_batches() {
    let broker = TestBroker::start().await;
    let first = broker.connect().await;
    first.send("orders", "first").await;
    let mut senders = tokio::task::JoinSet::new();
    for sender in 0..8usize {
        let client = broker.connect().await;
        senders.spawn(async move {
            let mut ranges = Vec::new();
            for round in 0..20usize {
                let count = 1 + (sender * 7 + round * 5) % 32;
                let texts: Vec<String> = (0..count)
                    .map(|index| format!("{sender}/{round}/{index}"))
                    .collect();
                let items: Vec<(&str, &str)> = texts.iter().map(|text| (text.as_str(), "")).collect();
                let begin = match count {
                    1 => client.send("orders", &texts[0]).await,
                    _ => number(&send_batch(&client, "orders", 0, &items).await, "queueOffset"),
                };
                ranges.push((begin, texts));
            }
            ranges
        });
    }
    let mut expected = BTreeMap::from([(0, "first".to_string())]);
    while let Some(ranges) = senders.join_next().await {
        for (begin, texts) in ranges.expect("a sender") {
            for (offset, text) in (begin..).zip(texts) {
                assert_eq!(
                    expected.insert(offset, text),
                    None,
                    "offset {offset} was given twice"
                );
            }
        }
    }
    let mut stored = BTreeMap::new();
    while stored.len() < expected.len() {
        let pulled = first.pull("orders", stored.len() as i64).await;
        assert_eq!(pulled.code, response::SUCCESS);
        stored.extend(
            pulled
                .messages
                .into_iter()
                .map(|message| (message.queue_offset as i64, message.body)),
        );
    }
    assert_eq!(stored, expected);
}

#[tokio::test]
async fn what_no_topic_takes_is_refused_with_its_code() {
    let broker = TestBroker::start_with(|setup| setup.options.message_bytes_max = 100).await;
    let client = broker.connect().await;
    client.send("orders", "there").await;
    let refused = [
        (
            message("bad topic!"),
            "x".to_string(),
            response::INVALID_PARAMETER,
        ),
        (message(" "), "x".to_string(), response::INVALID_PARAMETER),
        (
            message("SCHEDULE_TOPIC_XXXX"),
            "x".to_string(),
            response::NO_PERMISSION,
        ),
        (
            message("RMQ_SYS_TRANS_HALF_TOPIC"),
            "x".to_string(),
            response::NO_PERMISSION,
        ),
        (
            message("rmq_sys_wheel_timer"),
            "x".to_string(),
            response::NO_PERMISSION,
        ),
        (
            SendRequest {
                default_topic: "orders",
                ..message("unknown")
            },
            "x".to_string(),
            response::TOPIC_NOT_EXIST,
        ),
        (
            SendRequest {
                queue_id: 4,
                ..message("orders")
            },
            "x".to_string(),
            response::INVALID_PARAMETER,
        ),
        (message("orders"), String::new(), response::MESSAGE_ILLEGAL),
        (message("orders"), "x".repeat(101), response::MESSAGE_ILLEGAL),
        (
            SendRequest {
                properties: "TRAN_MSG\u{1}true\u{2}",
                ..message("orders")
            },
            "x".to_string(),
            response::NO_PERMISSION,
        ),
        (
            SendRequest {
                properties: "TIMER_DELAY_SEC\u{1}3\u{2}",
                ..message("orders")
            },
            "x".to_string(),
            response::SYSTEM_ERROR,
        ),
    ];
    for (sent, body, code) in refused {
        let reply = client.send_frame(&sent, body).await;
        assert_eq!(reply.code, code, "{} {:?}", sent.topic, reply.remark);
        assert!(reply.remark.is_some_and(|remark| !remark.is_empty()));
    }
    let half = send_batch(&client, "orders", 0, &[("ok", ""), (&"x".repeat(100), "")]).await;
    assert_eq!(half.code, response::MESSAGE_ILLEGAL);
    assert_eq!(
        client.send("orders", "next").await,
        1,
        "nothing of the refused ones was stored"
    );
}

#[tokio::test]
async fn a_broken_batch_is_refused_whole() {
    let broker = TestBroker::start().await;
    let client = broker.connect().await;
    client.send("orders", "first").await;
    let mut body = batch(&[("a", ""), ("b", "")]);
    body.pop();
    let request = SendRequest {
        batch: true,
        ..message("orders")
    };
    let reply = client
        .ask(request.frame(request::SEND_BATCH_MESSAGE).with_body(body))
        .await;
    assert_eq!(reply.code, response::MESSAGE_ILLEGAL);
    let retry = send_batch(&client, "%RETRY%readers", 0, &[("a", "")]).await;
    assert_eq!(retry.code, response::MESSAGE_ILLEGAL);
    assert_eq!(client.send("orders", "second").await, 1);
}

#[tokio::test]
async fn a_producer_that_leaves_the_queue_to_the_broker_gets_one_of_the_topics() {
    let broker = TestBroker::start().await;
    let client = broker.connect().await;
    for _ in 0..20 {
        let reply = client
            .send_frame(
                &SendRequest {
                    queue_id: -1,
                    ..message("orders")
                },
                "x",
            )
            .await;
        assert!((0..4).contains(&number(&reply, "queueId")));
    }
}

#[tokio::test]
async fn sync_flush_answers_when_the_message_is_on_disk() {
    let broker = TestBroker::start_with(|setup| setup.store.flush = rmq::store::FlushMode::Sync).await;
    let client = broker.connect().await;
    assert_eq!(client.send("orders", "durable").await, 0);
    assert_eq!(
        client
            .send_tagged("orders", "not waited for", "WAIT\u{1}false\u{2}")
            .await,
        1
    );
    assert_eq!(client.await_messages("orders", 0).await.bodies()[0], "durable");
    let broker = broker.restart().await;
    let client = broker.connect().await;
    assert_eq!(
        client.pull("orders", 0).await.bodies(),
        ["durable", "not waited for"]
    );
}

#[tokio::test]
async fn an_unknown_request_is_answered_and_the_connection_stays() {
    let broker = TestBroker::start().await;
    let client = broker.connect().await;
    let reply = client.ask(Frame::command(9999)).await;
    assert_eq!(reply.code, response::REQUEST_CODE_NOT_SUPPORTED);
    assert_eq!(reply.remark.as_deref(), Some(" request type 9999 not supported"));
    client.send("orders", "still here").await;
}

/// More is sent at once on one connection than the buffer before the disk holds: what finds it full waits, and the order
/// of the connection is kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sync_flush_takes_a_burst_in_order() {
    const MESSAGES: i32 = 24;
    let broker = TestBroker::start_with(|setup| {
        setup.store.flush = rmq::store::FlushMode::Sync;
        setup.store.segment_bytes = Some(128 << 20);
    })
    .await;
    broker.connect().await.send("orders", "first").await;
    let stream = TcpStream::connect(broker.running.address)
        .await
        .expect("a connection");
    let (mut answers, mut requests) = stream.into_split();
    let writer = tokio::spawn(async move {
        for opaque in 0..MESSAGES {
            let body = vec![opaque as u8; 3 << 20];
            let mut frame = message("orders").frame(request::SEND_MESSAGE_V2).with_body(body);
            frame.opaque = opaque;
            requests.write_all(&frame.encode()).await.expect("written");
        }
        requests
    });
    let mut offsets = BTreeMap::new();
    let mut read = BytesMut::new();
    while offsets.len() < MESSAGES as usize {
        answers.read_buf(&mut read).await.expect("answers");
        while let Some(len) = Frame::check(&read)
            .expect("frames")
            .filter(|len| *len <= read.len())
        {
            let answer = Frame::decode(read.split_to(len).freeze()).expect("a frame");
            assert_eq!(answer.code, response::SUCCESS, "{:?}", answer.remark);
            offsets.insert(answer.opaque, number(&answer, "queueOffset"));
        }
    }
    drop(writer.await.expect("all written"));
    assert!(
        offsets
            .iter()
            .all(|(opaque, offset)| i64::from(*opaque) + 1 == *offset),
        "{offsets:?}"
    );
}
