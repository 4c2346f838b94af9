//! Messages by key, by id, and as entries of their queue.

use rmq::protocol::code::{request, response};
use rmq::protocol::frame::Frame;
use rmq::protocol::message::{java_hash, records};
use rmq::protocol::request::topic::ConsumeQueueBody;

use crate::harness::{Client, TestBroker};
use crate::{asked, refused, subscriber};

fn keyed(keys: &str, unique: &str) -> String {
    format!("KEYS\u{1}{keys}\u{2}UNIQ_KEY\u{1}{unique}\u{2}TAGS\u{1}red\u{2}")
}

fn bodies(answer: &Frame) -> Vec<String> {
    let body = answer.body.contiguous();
    let texts =
        records(&body).map(|record| String::from_utf8_lossy(record.expect("a record").body).into_owned());
    texts.collect()
}

/// Asks until the index, which is built behind the log, has this many.
async fn query(client: &Client, topic: &str, key: &str, unique: &str, expected: usize) -> Frame {
    let fields = [
        ("topic", topic),
        ("key", key),
        ("maxNum", "32"),
        ("beginTimestamp", "0"),
        ("endTimestamp", "9223372036854775807"),
        ("_UNIQUE_KEY_QUERY", unique),
    ];
    loop {
        let answer = client.ask(asked(request::QUERY_MESSAGE, &fields)).await;
        if bodies(&answer).len() >= expected {
            return answer;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn messages_are_found_by_each_key_and_by_their_unique_key() {
    let broker = TestBroker::start().await;
    let client = broker.connect().await;
    client
        .send_tagged("Orders", "one", &keyed("red blue", "ID1"))
        .await;
    client.send_tagged("Orders", "two", &keyed("blue", "ID2")).await;
    assert_eq!(
        bodies(&query(&client, "Orders", "blue", "false", 2).await),
        ["one", "two"]
    );
    assert_eq!(
        bodies(&query(&client, "Orders", "red", "false", 1).await),
        ["one"]
    );
    let found = query(&client, "Orders", "ID2", "true", 1).await;
    assert_eq!(bodies(&found), ["two"]);
    assert!(found.fields.get("indexLastUpdatePhyoffset").is_some());
    let missing = query(&client, "Orders", "green", "false", 0).await;
    assert_eq!(
        refused(&missing),
        (
            response::QUERY_NOT_FOUND,
            "can not find message, maybe time range not correct"
        )
    );
    assert_eq!(missing.fields.get("indexLastUpdateTimestamp"), Some("0"));
}

/// `Aa` and `BB` have the same Java hash, and so do the two topics.
#[tokio::test]
async fn a_key_finds_its_own_messages_only() {
    assert_eq!(java_hash("AaTopic#BB"), java_hash("BBTopic#Aa"));
    let broker = TestBroker::start().await;
    let client = broker.connect().await;
    client.send_tagged("AaTopic", "one", &keyed("BB", "ID1")).await;
    client.send_tagged("BBTopic", "two", &keyed("Aa", "ID2")).await;
    assert_eq!(
        bodies(&query(&client, "BBTopic", "Aa", "false", 1).await),
        ["two"]
    );
    assert_eq!(
        bodies(&query(&client, "AaTopic", "BB", "false", 1).await),
        ["one"]
    );
}

#[tokio::test]
async fn a_message_is_viewed_by_its_place_in_the_log() {
    let broker = TestBroker::start().await;
    let client = broker.connect().await;
    client.send("Orders", "one").await;
    let answer = client
        .ask(asked(request::VIEW_MESSAGE_BY_ID, &[("offset", "0")]))
        .await;
    assert_eq!(
        (answer.code, bodies(&answer)),
        (response::SUCCESS, vec!["one".to_owned()])
    );
    for offset in ["1", "123456789", "-5"] {
        let missing = client
            .ask(asked(request::VIEW_MESSAGE_BY_ID, &[("offset", offset)]))
            .await;
        assert_eq!(missing.code, response::SYSTEM_ERROR, "{offset}");
    }
    let missing = client
        .ask(asked(request::VIEW_MESSAGE_BY_ID, &[("offset", "123456789")]))
        .await;
    assert_eq!(
        refused(&missing).1,
        "can not find message by the offset, 123456789"
    );
}

#[tokio::test]
async fn entries_of_a_queue_are_shown_with_the_groups_wish() {
    let broker = TestBroker::start().await;
    let client = broker.connect().await;
    for body in ["one", "two", "three"] {
        client.send_tagged("Orders", body, &keyed("k", body)).await;
    }
    let fields = [
        ("topic", "Orders"),
        ("queueId", "0"),
        ("index", "1"),
        ("count", "10"),
        ("consumerGroup", "billing"),
    ];
    let shown: ConsumeQueueBody = client.look(request::QUERY_CONSUME_QUEUE, &fields).await;
    assert_eq!(
        (
            shown.min_queue_index,
            shown.max_queue_index,
            shown.queue_data.len()
        ),
        (0, 3, 2)
    );
    assert_eq!(shown.queue_data[0].tags_code, i64::from(java_hash("red")));
    assert_eq!(
        shown.filter_data.as_deref(),
        Some("billing@Orders is not online!")
    );
    client.beat(&subscriber("billing", "Orders", "red")).await;
    let shown: ConsumeQueueBody = client.look(request::QUERY_CONSUME_QUEUE, &fields).await;
    assert_eq!(shown.subscription_data.expect("online").sub_string, "red");
    let fields = [
        ("topic", "NoTopic"),
        ("queueId", "0"),
        ("index", "0"),
        ("count", "10"),
    ];
    let missing = client.ask(asked(request::QUERY_CONSUME_QUEUE, &fields)).await;
    assert_eq!(
        refused(&missing),
        (response::SYSTEM_ERROR, "0@NoTopic is not exist!")
    );
}
