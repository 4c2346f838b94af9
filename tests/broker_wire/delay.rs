//! Messages that are delivered later.

use rmq::protocol::code::response;

use crate::harness::{TestBroker, number};

fn delayed(level: i32) -> String {
    format!("DELAY\u{1}{level}\u{2}TAGS\u{1}A\u{2}")
}

#[tokio::test]
async fn a_delayed_message_lands_in_the_queue_it_was_sent_to() {
    let broker = TestBroker::start().await;
    let client = broker.connect().await;
    let sent = rmq::protocol::request::send::SendRequest {
        queue_id: 2,
        properties: &delayed(2),
        ..crate::harness::message("orders")
    };
    let reply = client.send_frame(&sent, "later").await;
    assert_eq!((reply.code, number(&reply, "queueId")), (response::SUCCESS, 2));
    let queue = |offset| rmq::protocol::request::pull::PullRequest {
        queue_id: 2,
        subscription: Some("A".into()),
        ..crate::harness::pull("orders", offset)
    };
    broker.clock.advance(5_000);
    let mut request = queue(0);
    request.sys_flag |= rmq::protocol::request::pull::pull_flag::SUSPEND;
    request.suspend_timeout_ms = 20_000;
    let pulled = client.pull_frame(&request).await;
    assert_eq!(pulled.bodies(), ["later"]);
    let seen = &pulled.messages[0];
    assert_eq!(
        (seen.queue_id, seen.property("TAGS"), seen.property("REAL_TOPIC")),
        (2, Some("A"), Some("orders"))
    );
}

#[tokio::test]
async fn nothing_is_delivered_before_its_time() {
    let broker = TestBroker::start().await;
    let client = broker.connect().await;
    client.send_tagged("orders", "five seconds", &delayed(2)).await;
    client.send_tagged("orders", "one second", &delayed(1)).await;
    broker.clock.advance(1_000);
    assert_eq!(client.await_messages("orders", 0).await.bodies(), ["one second"]);
    broker.clock.advance(3_999);
    client
        .send_tagged("orders", "again one second", &delayed(1))
        .await;
    broker.clock.advance(1);
    assert_eq!(
        client.await_messages("orders", 1).await.bodies(),
        ["five seconds"]
    );
    broker.clock.advance(999);
    assert_eq!(
        client.await_messages("orders", 2).await.bodies(),
        ["again one second"]
    );
}

#[tokio::test]
async fn delayed_messages_survive_a_restart_and_are_delivered_once() {
    let broker = TestBroker::start().await;
    let client = broker.connect().await;
    client.send_tagged("orders", "delivered", &delayed(1)).await;
    client.send_tagged("orders", "pending", &delayed(3)).await;
    broker.clock.advance(1_000);
    client.await_messages("orders", 0).await;
    let broker = broker.restart().await;
    let client = broker.connect().await;
    broker.clock.advance(9_000);
    assert_eq!(client.await_messages("orders", 1).await.bodies(), ["pending"]);
    assert_eq!(client.pull("orders", 0).await.bodies(), ["delivered", "pending"]);
}

#[tokio::test]
async fn a_level_beyond_the_last_is_the_last() {
    let broker = TestBroker::start().await;
    let client = broker.connect().await;
    client.send_tagged("orders", "two hours", &delayed(99)).await;
    broker.clock.advance(7_199_999);
    client.send_tagged("orders", "now", "").await;
    assert_eq!(client.pull("orders", 0).await.bodies(), ["now"]);
    broker.clock.advance(1);
    assert_eq!(client.await_messages("orders", 1).await.bodies(), ["two hours"]);
}

/// A saved position behind the end of its queue, as a log that lost its end leaves it, neither loses what is parked from
/// then on nor waits for ever.
#[tokio::test]
async fn a_saved_position_behind_the_queue_holds_up_nothing() {
    let broker = TestBroker::start().await;
    let client = broker.connect().await;
    client.send_tagged("orders", "first", &delayed(1)).await;
    broker.clock.advance(1_000);
    client.await_messages("orders", 0).await;
    let file = broker.folder.path().join("store/config/delayOffset.json");
    let broker = broker
        .restart_after(|| std::fs::write(&file, "{\"offsetTable\":{1:500}}").expect("written"))
        .await;
    let client = broker.connect().await;
    client.send_tagged("orders", "second", &delayed(1)).await;
    broker.clock.advance(1_000);
    assert_eq!(client.await_messages("orders", 1).await.bodies(), ["second"]);
}
