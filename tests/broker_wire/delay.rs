//! Messages that are delivered later.

use std::sync::Arc;

use rmq::protocol::code::response;
use rmq::protocol::request::pull::{PullRequest, pull_flag};
use rmq::protocol::request::send::SendRequest;

use crate::harness::{FullOnce, TestBroker, message, number, pull};

fn delayed(level: i32) -> String {
    format!("DELAY\u{1}{level}\u{2}TAGS\u{1}A\u{2}")
}

#[tokio::test]
async fn a_delayed_message_lands_in_the_queue_it_was_sent_to() {
    let broker = TestBroker::start().await;
    let client = broker.connect().await;
    let properties = delayed(2);
    let sent = SendRequest {
        queue_id: 2,
        properties: &properties,
        ..message("orders")
    };
    let reply = client.send_frame(&sent, "later").await;
    assert_eq!((reply.code, number(&reply, "queueId")), (response::SUCCESS, 2));
    broker.clock.advance(5_000);
    let request = PullRequest {
        queue_id: 2,
        subscription: Some("A".into()),
        sys_flag: pull_flag::SUBSCRIPTION | pull_flag::SUSPEND,
        suspend_timeout_ms: 20_000,
        ..pull("orders", 0)
    };
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

/// One of the due messages cannot be stored at first, whichever it is: it is tried again, and none is lost or doubled.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_hand_over_is_retried_alone() {
    const QUEUES: i32 = 4;
    for position in 0..i64::from(QUEUES) {
        let disk = Arc::new(FullOnce::after(position, "consumequeue/orders/"));
        let shared = disk.clone();
        let broker = TestBroker::start_with(move |setup| setup.disk = shared.clone()).await;
        let client = broker.connect().await;
        let properties = delayed(1);
        for queue_id in 0..QUEUES {
            let sent = SendRequest {
                queue_id,
                properties: &properties,
                ..message("orders")
            };
            assert_eq!(
                client.send_frame(&sent, queue_id.to_string()).await.code,
                response::SUCCESS
            );
        }
        broker.clock.advance(1_000);
        for queue_id in (0..QUEUES).rev() {
            let request = PullRequest {
                queue_id,
                sys_flag: pull_flag::SUBSCRIPTION | pull_flag::SUSPEND,
                suspend_timeout_ms: 20_000,
                ..pull("orders", 0)
            };
            assert_eq!(client.pull_frame(&request).await.bodies(), [queue_id.to_string()]);
        }
        assert!(disk.has_failed());
        // Whatever is doubled would be there before a later message of the same level.
        client.send_tagged("orders", "later", &properties).await;
        broker.clock.advance(1_000);
        assert_eq!(client.await_messages("orders", 1).await.bodies(), ["later"]);
        for queue_id in 0..QUEUES {
            let pulled = client
                .pull_frame(&PullRequest {
                    queue_id,
                    ..pull("orders", 0)
                })
                .await;
            assert_eq!(pulled.messages.len(), if queue_id == 0 { 2 } else { 1 });
        }
    }
}
