//! Messages that come back, and those that do not any more.

use rmq::protocol::code::{request, response};
use rmq::protocol::fastjson;
use rmq::protocol::frame::Frame;
use rmq::protocol::message::records;
use rmq::protocol::request::body::MessageQueue;
use rmq::protocol::request::client::LockRequestBody;
use rmq::protocol::request::message::QueryMessageRequest;
use rmq::protocol::request::pull::PullRequest;
use rmq::protocol::request::send::{SendBackRequest, SendRequest};

use crate::harness::{Client, Seen, TestBroker, consumer, message, pull};

fn back(seen: &Seen, delay_level: i32, max_reconsume_times: i32) -> SendBackRequest {
    SendBackRequest {
        offset: seen.log_offset as i64,
        group: "readers".into(),
        delay_level,
        origin_msg_id: None,
        origin_topic: Some(seen.topic.clone()),
        unit_mode: false,
        max_reconsume_times: Some(max_reconsume_times),
    }
}

/// Sends a message and pulls it.
async fn received(client: &Client, properties: &str) -> Seen {
    let offset = client.send_tagged("orders", "body", properties).await;
    client.pull("orders", offset).await.messages.remove(0)
}

#[tokio::test]
async fn a_message_sent_back_returns_after_a_growing_delay_until_its_attempts_are_used_up() {
    let broker = TestBroker::start().await;
    let client = broker.connect().await;
    client.beat(&consumer("c", "readers", &["orders"])).await;
    let mut seen = received(&client, "TAGS\u{1}A\u{2}UNIQ_KEY\u{1}U\u{2}DELAY\u{1}0\u{2}").await;
    let first = seen.clone();
    for (attempt, delay_ms) in [(1, 10_000), (2, 30_000), (3, 60_000)] {
        let reply = client
            .request(request::CONSUMER_SEND_MSG_BACK, &back(&seen, 0, 3))
            .await;
        assert_eq!(reply.code, response::SUCCESS, "{:?}", reply.remark);
        assert_eq!(
            client.pull("%RETRY%readers", attempt - 1).await.code,
            response::PULL_NOT_FOUND,
            "not yet"
        );
        broker.clock.advance(delay_ms);
        seen = client
            .await_messages("%RETRY%readers", attempt - 1)
            .await
            .messages
            .remove(0);
        assert_eq!(
            (seen.body.as_str(), i64::from(seen.reconsume_times)),
            ("body", attempt)
        );
        assert_eq!(
            (seen.property("TAGS"), seen.property("UNIQ_KEY")),
            (Some("A"), Some("U"))
        );
        assert_eq!(seen.property("RETRY_TOPIC"), Some("orders"));
    }
    client
        .request(request::CONSUMER_SEND_MSG_BACK, &back(&seen, 0, 3))
        .await;
    let dead = client.pull("%DLQ%readers", 0).await.messages.remove(0);
    let origin = rmq::protocol::message::offset_message_id(broker.running.address, first.log_offset);
    assert_eq!((dead.body.as_str(), dead.reconsume_times), ("body", 4));
    assert_eq!(dead.property("ORIGIN_MESSAGE_ID"), Some(origin.as_str()));
    assert_eq!(
        (dead.property("DLQ_ORIGIN_TOPIC"), dead.property("RETRY_TOPIC")),
        (Some("orders"), Some("orders"))
    );
}

/// A dead letter does not travel through the delay its last retry asked for.
#[tokio::test]
async fn dead_letters_arrive_at_once_with_their_origin() {
    let broker = TestBroker::start().await;
    let client = broker.connect().await;
    client.beat(&consumer("c", "readers", &["orders"])).await;
    let seen = received(&client, "").await;
    for delay_level in [18, -1] {
        let maximum = if delay_level == 18 { 0 } else { 16 };
        let reply = client
            .request(
                request::CONSUMER_SEND_MSG_BACK,
                &back(&seen, delay_level, maximum),
            )
            .await;
        assert_eq!(reply.code, response::SUCCESS);
    }
    let dead = client.pull("%DLQ%readers", 0).await;
    assert_eq!(dead.messages.len(), 2);
    for message in dead.messages {
        assert_eq!((message.body.as_str(), message.reconsume_times), ("body", 1));
        assert_eq!(message.property("RETRY_TOPIC"), Some("orders"));
    }
}

/// The same for a message that its consumer sends to the retry topic itself, with a delay level among its properties.
#[tokio::test]
async fn a_retry_past_its_maximum_is_dead_and_one_at_its_maximum_is_not() {
    let broker = TestBroker::start().await;
    let client = broker.connect().await;
    client.beat(&consumer("c", "readers", &["orders"])).await;
    let retry = |reconsume_times, max_reconsume_times| SendRequest {
        reconsume_times,
        max_reconsume_times,
        properties: "RETRY_TOPIC\u{1}orders\u{2}DELAY\u{1}18\u{2}",
        ..message("%RETRY%readers")
    };
    client
        .send_frame(&retry(2, Some(1)), "past the request's maximum")
        .await;
    client
        .send_frame(&retry(17, None), "past the group's maximum")
        .await;
    client.send_frame(&retry(1, Some(1)), "the last attempt").await;
    let dead = client.pull("%DLQ%readers", 0).await;
    assert_eq!(
        dead.bodies(),
        ["past the request's maximum", "past the group's maximum"]
    );
    assert_eq!(
        client.pull("%RETRY%readers", 0).await.messages.len(),
        0,
        "the last attempt waits for its delay"
    );
    broker.clock.advance(7_200_000);
    assert_eq!(
        client.await_messages("%RETRY%readers", 0).await.bodies(),
        ["the last attempt"]
    );
}

/// An orderly consumer gives a message up while it holds its queue. Another member's lock does not make a retry dead.
#[tokio::test]
async fn only_the_holder_of_a_queue_gives_a_message_up() {
    let broker = TestBroker::start().await;
    let (holder, other) = (broker.connect().await, broker.connect().await);
    holder.beat(&consumer("holder", "readers", &["orders"])).await;
    other.beat(&consumer("other", "readers", &["orders"])).await;
    let body = LockRequestBody {
        client_id: "holder".into(),
        consumer_group: "readers".into(),
        mq_set: vec![MessageQueue::new("orders", "broker-a", 0)],
        only_this_broker: false,
    };
    holder
        .ask(Frame::command(request::LOCK_BATCH_MQ).with_body(fastjson::write(&body)))
        .await;
    holder.send_frame(&message("%RETRY%readers"), "given up").await;
    other
        .send_frame(&message("%RETRY%readers"), "to be tried again")
        .await;
    assert_eq!(other.pull("%DLQ%readers", 0).await.bodies(), ["given up"]);
    assert_eq!(
        other.pull("%RETRY%readers", 0).await.bodies(),
        ["to be tried again"]
    );
}

#[tokio::test]
async fn a_message_that_is_not_there_cannot_be_sent_back() {
    let broker = TestBroker::start().await;
    let client = broker.connect().await;
    let mut seen = received(&client, "").await;
    for log_offset in [7, 99_999_999] {
        seen.log_offset = log_offset;
        let reply = client
            .request(request::CONSUMER_SEND_MSG_BACK, &back(&seen, 0, 16))
            .await;
        assert_eq!(reply.code, response::SYSTEM_ERROR);
        assert_eq!(
            reply.remark,
            Some(format!("look message by offset failed, {log_offset}"))
        );
    }
}

#[tokio::test]
async fn a_compressed_body_and_its_flags_come_back_untouched() {
    let broker = TestBroker::start().await;
    let client = broker.connect().await;
    client.beat(&consumer("c", "readers", &["orders"])).await;
    let sent = SendRequest {
        sys_flag: 0x301,
        flag: 9,
        ..message("orders")
    };
    client.send_frame(&sent, vec![0x78, 0x9c, 1, 2, 3]).await;
    let seen = client.pull("orders", 0).await.messages.remove(0);
    client
        .request(request::CONSUMER_SEND_MSG_BACK, &back(&seen, -1, 16))
        .await;
    let request = PullRequest {
        topic: "%DLQ%readers".into(),
        ..pull("", 0)
    };
    let body = client
        .request(request::PULL_MESSAGE, &request)
        .await
        .body
        .contiguous();
    let record = rmq::protocol::message::RecordView::decode(&body).expect("a record");
    assert_eq!(
        (record.sys_flag, record.flag, record.body),
        (0x301, 9, &[0x78u8, 0x9c, 1, 2, 3][..])
    );
}

/// Every stored copy of an id is found, not only one.
#[tokio::test]
async fn all_copies_of_an_id_are_shown() {
    let broker = TestBroker::start().await;
    let client = broker.connect().await;
    client.beat(&consumer("c", "readers", &["orders"])).await;
    let mut seen = received(&client, "UNIQ_KEY\u{1}U\u{2}").await;
    for attempt in 0..3 {
        client
            .request(request::CONSUMER_SEND_MSG_BACK, &back(&seen, 1, 16))
            .await;
        broker.clock.advance(1_000);
        seen = client
            .await_messages("%RETRY%readers", attempt)
            .await
            .messages
            .remove(0);
    }
    let query = QueryMessageRequest {
        topic: "%RETRY%readers".into(),
        key: "U".into(),
        max_num: 32,
        begin_timestamp: 0,
        end_timestamp: i64::MAX,
        unique_key: true,
        index_type: None,
        last_key: None,
    };
    // The key index is built behind the log.
    let attempts = loop {
        let body = client
            .request(request::QUERY_MESSAGE, &query)
            .await
            .body
            .contiguous();
        let attempts: Vec<i32> = records(&body)
            .map(|record| record.expect("a record").reconsume_times)
            .collect();
        if attempts.len() == 3 {
            break attempts;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(attempts, [1, 2, 3]);
}
