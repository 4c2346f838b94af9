//! Orderly consumers: locks, order and its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rmq::client::{Consumed, ConsumerOptions, Order, PushConsumer, ReceivedMessage};
use rmq::protocol::code::{request, response};
use rmq::protocol::frame::Frame;
use rmq::protocol::request::client::{LockReplyBody, LockRequestBody};
use rmq::protocol::request::pull::PullRequest;
use rmq::protocol::request::send::SendRequest;
use tokio::sync::watch;

use crate::consumer::{AtMostOne, Seen, options};
use crate::server::{Reply, Server, header_of};

async fn in_order(options: ConsumerOptions, seen: &Seen) -> PushConsumer {
    let (noting, one) = (seen.clone(), AtMostOne::default());
    let handler = move |messages: Vec<ReceivedMessage>| {
        one.enter();
        noting.note(&messages);
        let one = one.clone();
        async move {
            tokio::task::yield_now().await;
            one.leave();
            Consumed::Success
        }
    };
    PushConsumer::start(options, &[("T", "*")], Order::Orderly, handler)
        .await
        .expect("started")
}

#[tokio::test]
async fn a_queue_is_consumed_one_after_another_in_its_order() {
    let server = Server::start().await.topic("T", 1);
    let seen = Seen::new();
    let _consumer = in_order(options(&server), &seen).await;
    (0..50).for_each(|number| server.put("T", 0, &[], &format!("m{number:02}")));
    server
        .until("all is done", |server| server.committed("G", "T", 0) == Some(50))
        .await;
    let bodies = seen.all();
    assert!(bodies.is_sorted());
    assert_eq!(bodies.len(), 50);
    assert!(!server.requests(request::LOCK_BATCH_MQ).is_empty());
}

#[tokio::test]
async fn closing_an_orderly_consumer_frees_its_queues_at_once() {
    let server = Server::start().await.topic("T", 2);
    let seen = Seen::new();
    let one = in_order(options(&server), &seen).await;
    server
        .until("it owns the queues", |_| one.progress().len() == 2)
        .await;
    one.close().await;
    let codes = server.codes();
    let [unlock, leave] = [request::UNLOCK_BATCH_MQ, request::UNREGISTER_CLIENT].map(|code| {
        codes
            .iter()
            .rposition(|known| *known == code)
            .expect("it was sent")
    });
    assert!(unlock < leave, "the locks go before the membership");
    let other = in_order(options(&server), &seen).await;
    server
        .until("the other owns them", |_| other.progress().len() == 2)
        .await;
}

#[tokio::test]
async fn a_member_takes_no_queue_before_its_owner_gave_the_lock_back() {
    let server = Server::start().await.topic("T", 2);
    let seen = Seen::new();
    let one = in_order(options(&server), &seen).await;
    server
        .until("it owns the queues", |_| one.progress().len() == 2)
        .await;
    let other = in_order(options(&server), &seen).await;
    server
        .until("each has one", |_| {
            one.progress().len() == 1 && other.progress().len() == 1
        })
        .await;
    assert_ne!(one.progress()[0].queue, other.progress()[0].queue);
}

#[tokio::test]
async fn a_failed_message_holds_up_its_queue_until_it_succeeds() {
    let server = Server::start().await.topic("T", 1);
    (0..3).for_each(|number| server.put("T", 0, &[], &format!("m{number}")));
    let (seen, calls) = (Seen::new(), Arc::new(AtomicUsize::new(0)));
    let noting = seen.clone();
    let handler = move |messages: Vec<ReceivedMessage>| {
        noting.note(&messages);
        let fails = &messages[0].body[..] == b"m1" && calls.fetch_add(1, Ordering::SeqCst) < 3;
        async move { if fails { Consumed::Later } else { Consumed::Success } }
    };
    let _consumer = PushConsumer::start(options(&server), &[("T", "*")], Order::Orderly, handler)
        .await
        .expect("started");
    server
        .until("all is done", |server| server.committed("G", "T", 0) == Some(3))
        .await;
    assert_eq!(seen.all(), ["m0", "m1", "m1", "m1", "m1", "m2"]);
}

#[tokio::test]
async fn orderly_retries_end_and_the_order_behind_them_is_kept() {
    let server = Server::start().await.topic("T", 1);
    (0..3).for_each(|number| server.put("T", 0, &[("KEYS", "k")], &format!("m{number}")));
    let seen = Seen::new();
    let noting = seen.clone();
    let handler = move |messages: Vec<ReceivedMessage>| {
        noting.note(&messages);
        let fails = &messages[0].body[..] == b"m0";
        async move { if fails { Consumed::Later } else { Consumed::Success } }
    };
    let options = ConsumerOptions {
        retries_max: Some(1),
        ..options(&server)
    };
    let _consumer = PushConsumer::start(options, &[("T", "*")], Order::Orderly, handler)
        .await
        .expect("started");
    server
        .until("all is done", |server| server.committed("G", "T", 0) == Some(3))
        .await;
    assert_eq!(seen.all(), ["m0", "m0", "m1", "m2"]);
    let frame = server.requests(request::SEND_MESSAGE_V2).remove(0);
    let send = SendRequest::read(&frame).expect("a send");
    assert_eq!(
        (send.topic, send.reconsume_times, send.max_reconsume_times),
        ("%RETRY%G", 2, Some(1))
    );
    assert!(send.properties.contains("RETRY_TOPIC\u{1}T\u{2}"));
    assert!(send.properties.contains("KEYS\u{1}k\u{2}"));
}

#[tokio::test]
async fn one_by_one_hands_failures_back_and_goes_on_in_order() {
    let server = Server::start().await.topic("T", 1);
    (0..20).for_each(|number| server.put("T", 0, &[], &format!("m{number:02}")));
    let (seen, one) = (Seen::new(), AtMostOne::default());
    let noting = seen.clone();
    let handler = move |messages: Vec<ReceivedMessage>| {
        one.enter();
        noting.note(&messages);
        let one = one.clone();
        async move {
            tokio::task::yield_now().await;
            one.leave();
            if &messages[0].body[..] == b"m07" {
                Consumed::Later
            } else {
                Consumed::Success
            }
        }
    };
    let _consumer = PushConsumer::start(options(&server), &[("T", "*")], Order::OneByOne, handler)
        .await
        .expect("started");
    server
        .until("all is done", |server| server.committed("G", "T", 0) == Some(20))
        .await;
    assert!(seen.all().is_sorted());
    assert_eq!(seen.all().len(), 20);
    assert_eq!(server.requests(request::CONSUMER_SEND_MSG_BACK).len(), 1);
}

/// A queue changes hands without repeats while its old owner is alive, and is not waited for without end when it is not.
#[tokio::test]
async fn one_by_one_waits_for_a_hand_over_but_not_for_the_dead() {
    let server = Server::start().await.topic("T", 2);
    (0..2).for_each(|queue| server.put("T", queue, &[], "m"));
    server.script(|frame| {
        if frame.code != request::LOCK_BATCH_MQ {
            return None;
        }
        let asked: LockRequestBody = frame.json().expect("a lock request");
        let locked = asked
            .mq_set
            .into_iter()
            .filter(|queue| queue.queue_id != 0)
            .collect();
        let answer = Frame::answer(response::SUCCESS).with_json(&LockReplyBody { locked });
        Some(Reply::Answer(Box::new(answer)))
    });
    let options = ConsumerOptions {
        hand_over_wait: Duration::from_millis(100),
        rebalance_pause: Duration::from_millis(10),
        ..options(&server)
    };
    let handler = |_: Vec<ReceivedMessage>| async { Consumed::Success };
    let consumer = PushConsumer::start(options, &[("T", "*")], Order::OneByOne, handler)
        .await
        .expect("started");
    consumer.assigned().await;
    assert_eq!(consumer.progress().len(), 1, "the free queue is started at once");
    assert!(!consumer.is_settled());
    server
        .until("the other one is taken without the lock", |server| {
            server.committed("G", "T", 0) == Some(1)
        })
        .await;
    assert!(
        server.requests(request::LOCK_BATCH_MQ).len() > 2,
        "the lock was asked for again before"
    );
}

#[tokio::test]
async fn what_a_handler_leaves_untouched_is_neither_done_nor_handed_back() {
    for order in [Order::Concurrent, Order::OneByOne, Order::Orderly] {
        let server = Server::start().await.topic("T", 1);
        (0..5).for_each(|number| server.put("T", 0, &[], &format!("m{number}")));
        let seen = Seen::new();
        let noting = seen.clone();
        let handler = move |messages: Vec<ReceivedMessage>| {
            noting.note(&messages);
            async move {
                match &messages[0].body[..] {
                    b"m0" | b"m1" => Consumed::Success,
                    _ => Consumed::Untouched,
                }
            }
        };
        let consumer = PushConsumer::start(options(&server), &[("T", "*")], order, handler)
            .await
            .expect("started");
        server
            .until("the first two are done", |server| {
                server.committed("G", "T", 0) == Some(2)
            })
            .await;
        seen.until("the third was offered", |bodies| {
            bodies.contains(&"m2".to_owned())
        })
        .await;
        consumer.close().await;
        assert_eq!(server.committed("G", "T", 0), Some(2), "{order:?}");
        assert!(
            server.requests(request::CONSUMER_SEND_MSG_BACK).is_empty(),
            "{order:?}"
        );
    }
}

#[tokio::test]
async fn a_long_pause_of_a_handler_neither_moves_nor_reorders_its_queue() {
    let server = Server::start().await.topic("T", 1);
    (0..5).for_each(|number| server.put("T", 0, &[], &format!("m{number}")));
    let (go, gate) = watch::channel(false);
    let (seen, one) = (Seen::new(), AtMostOne::default());
    let noting = seen.clone();
    let handler = move |messages: Vec<ReceivedMessage>| {
        one.enter();
        noting.note(&messages);
        let (one, mut gate) = (one.clone(), gate.clone());
        async move {
            gate.wait_for(|open| *open).await.expect("the test lives");
            one.leave();
            Consumed::Success
        }
    };
    let _consumer = PushConsumer::start(options(&server), &[("T", "*")], Order::Orderly, handler)
        .await
        .expect("started");
    seen.until("the first one is being handled", |bodies| bodies.len() == 1)
        .await;
    let locks = |server: &Server| server.requests(request::LOCK_BATCH_MQ).len();
    let members = |server: &Server| server.requests(request::GET_CONSUMER_LIST_BY_GROUP).len();
    let (locks_before, members_before) = (locks(&server), members(&server));
    server
        .until("many rounds have passed", |server| {
            locks(server) > locks_before + 20 && members(server) > members_before + 10
        })
        .await;
    assert_eq!(seen.all(), ["m0"]);
    go.send(true).expect("the handler waits");
    server
        .until("all is done", |server| server.committed("G", "T", 0) == Some(5))
        .await;
    assert_eq!(seen.all(), ["m0", "m1", "m2", "m3", "m4"]);
    let pulls = server.requests(request::PULL_MESSAGE);
    let offsets = pulls
        .iter()
        .map(header_of::<PullRequest>)
        .map(|pull| pull.queue_offset);
    assert!(
        offsets.eq([0, 5]),
        "it was pulled once and never taken over again"
    );
    assert!(server.requests(request::UNLOCK_BATCH_MQ).is_empty());
}
