//! Consumers whose broker refuses, moves, resets and forgets.

use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rmq::client::{
    ClientOptions, Consumed, ConsumerOptions, Order, PullConsumer, PushConsumer, ReceivedMessage, StartFrom,
};
use rmq::protocol::code::{request, response};
use rmq::protocol::fastjson;
use rmq::protocol::frame::Frame;
use rmq::protocol::request::body::MessageQueue;
use rmq::protocol::request::client::{
    ConsumeDirectlyReply, ConsumeDirectlyRequest, ConsumeResult, ConsumerGroupRequest, ConsumerRunningInfo,
    HeartbeatData, MessageModel, ResetClientOffsetRequest, ResetOffsetBody, RunningInfoRequest,
};
use rmq::protocol::request::pull::{OffsetReply, PullRequest, QueryOffsetRequest, UpdateOffsetRequest};
use tokio::sync::{mpsc, watch};

use crate::server::{PATIENCE, Reply, Server, header_of, pulled_nothing, record};

/// Settings whose intervals are short, so that what happens "at the next round" happens soon.
pub fn options(server: &Server) -> ConsumerOptions {
    let short = Duration::from_millis(20);
    let client = ClientOptions {
        route_interval: Duration::from_millis(50),
        heartbeat_interval: Duration::from_millis(50),
        ..ClientOptions::new(&server.address)
    };
    ConsumerOptions {
        start_from: StartFrom::First,
        rebalance_interval: Duration::from_millis(50),
        rebalance_pause: short,
        save_interval: short,
        pull_pause: short,
        keep_pause: short,
        orderly_pause: short,
        lock_interval: short,
        ..ConsumerOptions::new(client, "G")
    }
}

/// The bodies that a handler was given, in order.
#[derive(Clone)]
pub struct Seen {
    bodies: watch::Sender<Vec<String>>,
}

impl Seen {
    pub fn new() -> Seen {
        Seen {
            bodies: watch::Sender::new(Vec::new()),
        }
    }

    pub fn note(&self, messages: &[ReceivedMessage]) {
        self.bodies
            .send_modify(|bodies| bodies.extend(messages.iter().map(body)));
    }

    pub fn all(&self) -> Vec<String> {
        self.bodies.borrow().clone()
    }

    pub async fn until(&self, what: &str, mut holds: impl FnMut(&[String]) -> bool) {
        let mut bodies = self.bodies.subscribe();
        let wait = bodies.wait_for(|bodies| holds(bodies));
        let held = tokio::time::timeout(PATIENCE, wait).await.is_ok();
        assert!(held, "waited in vain until {what}: {:?}", self.all());
    }
}

fn body(message: &ReceivedMessage) -> String {
    String::from_utf8_lossy(&message.body).into_owned()
}

/// A consumer of topic T that accepts everything.
async fn accepting(options: ConsumerOptions) -> (PushConsumer, Seen) {
    let seen = Seen::new();
    let noting = seen.clone();
    let consumer = PushConsumer::start(options, &[("T", "*")], Order::Concurrent, move |messages| {
        noting.note(&messages);
        async { Consumed::Success }
    });
    (consumer.await.expect("started"), seen)
}

fn queue(id: i32) -> MessageQueue {
    MessageQueue::new("T", "broker-a", id)
}

#[tokio::test]
async fn messages_are_consumed_and_the_offset_behind_them_is_saved() {
    let server = Server::start().await.topic("T", 1);
    (0..3).for_each(|number| server.put("T", 0, &[], &format!("m{number}")));
    let (consumer, seen) = accepting(options(&server)).await;
    server
        .until("the offset is saved", |server| {
            server.committed("G", "T", 0) == Some(3)
        })
        .await;
    assert_eq!(seen.all().len(), 3);
    consumer.close().await;
    assert!(server.members("G").is_empty());
}

#[tokio::test]
async fn two_members_share_five_queues_and_one_takes_over_when_the_other_closes() {
    let server = Server::start().await.topic("T", 5);
    let (one, _) = accepting(options(&server)).await;
    let (other, _) = accepting(options(&server)).await;
    let shares = |one: &PushConsumer, other: &PushConsumer| {
        let mut shares = [one.progress().len(), other.progress().len()];
        shares.sort();
        shares
    };
    server
        .until("the queues are shared", |_| shares(&one, &other) == [2, 3])
        .await;
    other.close().await;
    server
        .until("the queues are taken over", |_| one.progress().len() == 5)
        .await;
}

#[tokio::test]
async fn a_group_on_an_expired_queue_is_carried_to_its_end() {
    let server = Server::start().await.topic("T", 1);
    server.script(|frame| match frame.code {
        request::PULL_MESSAGE if header_of::<PullRequest>(frame).queue_offset == 0 => Some(Reply::answer(
            pulled_nothing(response::PULL_OFFSET_MOVED, 2020, 2020),
        )),
        _ => None,
    });
    let (_consumer, seen) = accepting(options(&server)).await;
    server
        .until("the end is saved", |server| {
            server.committed("G", "T", 0) == Some(2020)
        })
        .await;
    assert!(seen.all().is_empty());
}

#[tokio::test]
async fn a_new_group_starts_at_the_asked_time_on_a_young_topic() {
    let server = Server::start().await.topic("T", 1);
    (0..8).for_each(|number| server.put("T", 0, &[], &format!("m{number}")));
    server.script(|frame| match frame.code {
        request::SEARCH_OFFSET_BY_TIMESTAMP => Some(Reply::answer(Frame::answer_with(
            response::SUCCESS,
            &OffsetReply { offset: 5 },
        ))),
        _ => None,
    });
    let from = StartFrom::Timestamp(1_700_000_000_000);
    let (_consumer, seen) = accepting(ConsumerOptions {
        start_from: from,
        ..options(&server)
    })
    .await;
    seen.until("all from that time on came", |bodies| bodies.len() == 3)
        .await;
    let mut bodies = seen.all();
    bodies.sort();
    assert_eq!(bodies, ["m5", "m6", "m7"]);
}

#[tokio::test]
async fn starting_at_the_last_skips_what_was_there_but_nothing_of_a_topic_born_later() {
    let server = Server::start().await.topic("T", 1);
    server.put("T", 0, &[], "before");
    let (consumer, seen) = accepting(ConsumerOptions {
        start_from: StartFrom::Last,
        ..options(&server)
    })
    .await;
    server
        .until("the end is saved", |server| {
            server.committed("G", "T", 0) == Some(1)
        })
        .await;
    consumer.subscribe("U", "*").await.expect("subscribed");
    let server = server.topic("U", 1);
    server.put("U", 0, &[], "first of U");
    server.put("T", 0, &[], "after");
    seen.until("both came", |bodies| bodies.len() == 2).await;
    assert!(!seen.all().contains(&"before".to_owned()));
}

#[tokio::test]
async fn an_offset_that_could_not_be_asked_is_not_zero() {
    let server = Server::start().await.topic("T", 1);
    server.put("T", 0, &[], "m0");
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    server.script(move |frame| {
        let of_topic = frame.code == request::QUERY_CONSUMER_OFFSET
            && header_of::<QueryOffsetRequest>(frame).topic == "T";
        let failing = of_topic && counted.fetch_add(1, Ordering::SeqCst) < 3;
        failing.then(|| Reply::answer(Frame::refusal(response::SYSTEM_ERROR, "not now")))
    });
    let (_consumer, seen) = accepting(options(&server)).await;
    seen.until("the message came", |bodies| bodies.len() == 1).await;
    let codes: Vec<i32> = server.codes();
    let third = codes
        .iter()
        .enumerate()
        .filter(|(_, code)| **code == request::QUERY_CONSUMER_OFFSET)
        .nth(2);
    let (third, _) = third.expect("it was asked again");
    assert!(asked.load(Ordering::SeqCst) >= 4);
    let of_topic = |frame: &Frame| header_of::<PullRequest>(frame).topic == "T";
    assert!(server.requests(request::PULL_MESSAGE).iter().any(of_topic));
    let early = server_requests_before(&server, third);
    assert!(
        !early
            .iter()
            .any(|frame| frame.code == request::PULL_MESSAGE && of_topic(frame))
    );
    assert!(
        !early
            .iter()
            .any(|frame| frame.code == request::UPDATE_CONSUMER_OFFSET
                && header_of::<UpdateOffsetRequest>(frame).topic == "T")
    );
}

fn server_requests_before(server: &Server, index: usize) -> Vec<Frame> {
    server.all_requests().into_iter().take(index).collect()
}

#[tokio::test]
async fn offsets_follow_although_no_message_matches() {
    let server = Server::start().await.topic("T", 1);
    (0..100).for_each(|_| server.put("T", 0, &[("TAGS", "Aa")], "same hash, other tag"));
    let called = Arc::new(AtomicUsize::new(0));
    let counted = called.clone();
    let _consumer = PushConsumer::start(options(&server), &[("T", "BB")], Order::Concurrent, move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        async { Consumed::Success }
    })
    .await
    .expect("started");
    server
        .until("the offset is saved", |server| {
            server.committed("G", "T", 0) == Some(100)
        })
        .await;
    assert_eq!(called.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn subscribing_again_takes_effect_at_once() {
    let server = Server::start().await.topic("T", 1);
    let seen = Seen::new();
    let noting = seen.clone();
    let handler = move |messages: Vec<ReceivedMessage>| {
        noting.note(&messages);
        async { Consumed::Success }
    };
    let consumer = PushConsumer::start(
        options(&server),
        &[("T", "tag1 || tag2")],
        Order::Concurrent,
        handler,
    );
    let consumer = consumer.await.expect("started");
    let versions = |server: &Server| -> Vec<i64> {
        let pulls = server.requests(request::PULL_MESSAGE);
        let of_topic = pulls
            .iter()
            .map(header_of::<PullRequest>)
            .filter(|pull| pull.topic == "T");
        of_topic.map(|pull| pull.sub_version).collect()
    };
    server
        .until("a pull is held", |server| !versions(server).is_empty())
        .await;
    let before = versions(&server)[0];
    consumer
        .subscribe("T", "tag1||  || tag3 ")
        .await
        .expect("subscribed");
    server
        .until("the held pull is replaced", |server| {
            versions(server).iter().any(|version| *version > before)
        })
        .await;
    let beats = server.requests(request::HEART_BEAT);
    let last: HeartbeatData =
        fastjson::read(&beats.last().expect("a heartbeat").body.contiguous()).expect("a heartbeat");
    let subscriptions = &last.consumer_data_set[0].subscription_data_set;
    let subscription = subscriptions
        .iter()
        .find(|one| one.topic == "T")
        .expect("the topic");
    assert_eq!(subscription.tags_set, ["tag1", "tag3"]);
    assert!(subscription.sub_version > before);
    for tag in ["tag2", "tag3", "tag1"] {
        server.put("T", 0, &[("TAGS", tag)], tag);
    }
    seen.until("what is wanted now came", |bodies| bodies.len() == 2)
        .await;
    server
        .until("the offset is saved", |server| {
            server.committed("G", "T", 0) == Some(3)
        })
        .await;
    let mut bodies = seen.all();
    bodies.sort();
    assert_eq!(bodies, ["tag1", "tag3"]);
}

#[tokio::test]
async fn a_failed_message_goes_back_to_the_broker() {
    let server = Server::start().await.topic("T", 1);
    server.put("T", 0, &[], "bad");
    let _consumer = PushConsumer::start(options(&server), &[("T", "*")], Order::Concurrent, |_| async {
        Consumed::Later
    })
    .await
    .expect("started");
    server
        .until("the offset is saved", |server| {
            server.committed("G", "T", 0) == Some(1)
        })
        .await;
    assert_eq!(server.requests(request::CONSUMER_SEND_MSG_BACK).len(), 1);
}

#[tokio::test]
async fn a_handler_that_panics_has_failed_and_the_consumer_goes_on() {
    let server = Server::start().await.topic("T", 1);
    server.put("T", 0, &[], "bad");
    server.put("T", 0, &[], "good");
    let handler = |messages: Vec<ReceivedMessage>| async move {
        assert_ne!(&messages[0].body[..], b"bad");
        Consumed::Success
    };
    let _consumer = PushConsumer::start(options(&server), &[("T", "*")], Order::Concurrent, handler)
        .await
        .expect("started");
    server
        .until("the offset is saved", |server| {
            server.committed("G", "T", 0) == Some(2)
        })
        .await;
    assert_eq!(server.requests(request::CONSUMER_SEND_MSG_BACK).len(), 1);
}

#[tokio::test]
async fn a_message_that_cannot_be_handed_back_is_kept_and_never_passed() {
    let server = Server::start().await.topic("T", 1);
    (0..3).for_each(|number| server.put("T", 0, &[], &format!("m{number}")));
    server.script(|frame| match frame.code {
        request::CONSUMER_SEND_MSG_BACK => {
            Some(Reply::answer(Frame::refusal(response::SYSTEM_ERROR, "not now")))
        }
        _ => None,
    });
    let seen = Seen::new();
    let noting = seen.clone();
    let handler = move |messages: Vec<ReceivedMessage>| {
        noting.note(&messages);
        let failed = noting.all().iter().filter(|body| *body == "m1").count() < 4;
        let bad = &messages[0].body[..] == b"m1" && failed;
        async move { if bad { Consumed::Later } else { Consumed::Success } }
    };
    let _consumer = PushConsumer::start(options(&server), &[("T", "*")], Order::Concurrent, handler)
        .await
        .expect("started");
    server
        .until("the offset is saved behind it", |server| {
            server.committed("G", "T", 0) == Some(3)
        })
        .await;
    assert_eq!(seen.all().iter().filter(|body| *body == "m1").count(), 4);
    // Until then it never passed the message.
    let commits = server.requests(request::UPDATE_CONSUMER_OFFSET);
    let offsets: Vec<i64> = commits
        .iter()
        .map(header_of::<UpdateOffsetRequest>)
        .filter(|commit| commit.topic == "T")
        .filter_map(|commit| commit.commit_offset)
        .collect();
    assert!(
        offsets.iter().all(|offset| *offset <= 1 || *offset == 3),
        "{offsets:?}"
    );
}

#[tokio::test]
async fn handlers_see_the_original_topic_of_a_retry() {
    let server = Server::start().await.topic("T", 1).topic("%RETRY%G", 1);
    server.put("%RETRY%G", 0, &[("RETRY_TOPIC", "orders")], "known");
    server.put("%RETRY%G", 0, &[], "unknown");
    let (topics, mut seen) = mpsc::unbounded_channel();
    let handler = move |messages: Vec<ReceivedMessage>| {
        let pair = (body(&messages[0]), messages[0].topic.clone());
        topics.send(pair).expect("the test listens");
        async { Consumed::Success }
    };
    let _consumer = PushConsumer::start(options(&server), &[("T", "*")], Order::Concurrent, handler)
        .await
        .expect("started");
    let mut pairs = [
        seen.recv().await.expect("one"),
        seen.recv().await.expect("another"),
    ];
    pairs.sort();
    assert_eq!(pairs[0], ("known".to_owned(), "orders".to_owned()));
    assert_eq!(pairs[1], ("unknown".to_owned(), "%RETRY%G".to_owned()));
}

#[tokio::test]
async fn only_offsets_that_moved_are_saved() {
    let server = Server::start().await.topic("T", 50);
    let (_consumer, _) = accepting(options(&server)).await;
    let commits = |server: &Server, queue_id: i32| {
        let commits = server.requests(request::UPDATE_CONSUMER_OFFSET);
        let of_queue = commits.iter().map(header_of::<UpdateOffsetRequest>);
        of_queue
            .filter(|commit| commit.topic == "T" && commit.queue_id == Some(queue_id))
            .count()
    };
    server
        .until("all queues are saved", |server| {
            (0..50).all(|id| commits(server, id) > 0)
        })
        .await;
    for number in 1..=5 {
        server.put("T", 7, &[], "m");
        server
            .until("the moved one is saved", |server| {
                server.committed("G", "T", 7) == Some(number)
            })
            .await;
    }
    for id in (0..50).filter(|id| *id != 7) {
        assert_eq!(commits(&server, id), 1, "queue {id} did not move");
    }
    assert_eq!(commits(&server, 7), 6);
}

#[tokio::test]
async fn an_unanswered_commit_is_sent_again() {
    let server = Server::start().await.topic("T", 1);
    server.put("T", 0, &[], "m0");
    let commits = Arc::new(AtomicUsize::new(0));
    let counted = commits.clone();
    server.script(move |frame| {
        let first =
            frame.code == request::UPDATE_CONSUMER_OFFSET && counted.fetch_add(1, Ordering::SeqCst) == 0;
        first.then_some(Reply::Silence)
    });
    let mut options = options(&server);
    options.client.request_timeout = Duration::from_millis(200);
    let (_consumer, _) = accepting(options).await;
    server
        .until("the offset is saved", |server| {
            server.committed("G", "T", 0) == Some(1)
        })
        .await;
    assert!(commits.load(Ordering::SeqCst) >= 2);
}

#[tokio::test]
async fn a_broker_that_crashed_learns_again_who_is_there_and_how_far() {
    let server = Server::start().await.topic("T", 2);
    let rarely = |mut options: ConsumerOptions| {
        options.client.heartbeat_interval = Duration::from_secs(3600);
        options.rebalance_interval = Duration::from_secs(3600);
        options
    };
    let (one, seen) = accepting(rarely(options(&server))).await;
    server.put("T", 0, &[], "a");
    server.put("T", 1, &[], "b");
    let all_is_saved = |server: &Server| (0..2).all(|id| server.committed("G", "T", id) == Some(1));
    server.until("both are done", all_is_saved).await;
    server.crash();
    server
        .until("it is a member", |server| {
            server.members("G").contains(one.client_id())
        })
        .await;
    server.until("the offsets are back", all_is_saved).await;
    assert_eq!(seen.all().len(), 2, "nothing came twice");
}

#[tokio::test]
async fn a_notified_member_divides_the_queues_at_once() {
    let server = Server::start().await.topic("T", 1);
    let hours = Duration::from_secs(3600);
    let mut options = options(&server);
    options.rebalance_interval = hours;
    options.client.route_interval = hours;
    options.client.heartbeat_interval = hours;
    let (consumer, _) = accepting(options).await;
    let asked = |server: &Server| server.requests(request::GET_CONSUMER_LIST_BY_GROUP).len();
    server
        .until("the queue is owned", |_| consumer.progress().len() == 1)
        .await;
    server
        .until("it pulls", |server| {
            !server.requests(request::PULL_MESSAGE).is_empty()
        })
        .await;
    let before = asked(&server);
    let header = ConsumerGroupRequest {
        consumer_group: "G".to_owned(),
    };
    for peer in server.peers() {
        peer.oneway(Frame::request(request::NOTIFY_CONSUMER_IDS_CHANGED, &header).oneway())
            .expect("told");
    }
    server
        .until("the members are asked for again", |server| asked(server) > before)
        .await;
}

#[tokio::test]
async fn a_running_consumer_goes_back_to_where_the_broker_resets_it() {
    let server = Server::start().await.topic("T", 1);
    (0..5).for_each(|number| server.put("T", 0, &[], &format!("m{number}")));
    let (_consumer, seen) = accepting(options(&server)).await;
    server
        .until("all is done", |server| server.committed("G", "T", 0) == Some(5))
        .await;
    let header = ResetClientOffsetRequest {
        topic: "T".to_owned(),
        group: "G".to_owned(),
        timestamp: 0,
        is_force: true,
        queue_id: None,
    };
    let body = ResetOffsetBody {
        offset_table: [(queue(0), 3)].into_iter().collect(),
    };
    let frame =
        Frame::request(request::RESET_CONSUMER_CLIENT_OFFSET, &header).with_body(fastjson::write(&body));
    server.peers()[0].oneway(frame.oneway()).expect("told");
    seen.until("the last two came again", |bodies| bodies.len() == 7)
        .await;
    server
        .until("the end is saved again", |server| {
            server.committed("G", "T", 0) == Some(5)
        })
        .await;
    let commits = server.requests(request::UPDATE_CONSUMER_OFFSET);
    assert!(
        commits
            .iter()
            .any(|frame| header_of::<UpdateOffsetRequest>(frame).commit_offset == Some(3))
    );
}

#[tokio::test]
async fn a_consumer_tells_brokers_how_it_is_and_handles_a_message_on_request() {
    let server = Server::start().await.topic("T", 1);
    let (consumer, seen) = accepting(options(&server)).await;
    server
        .until("it pulls", |server| {
            !server.requests(request::PULL_MESSAGE).is_empty()
        })
        .await;
    let peer = server.peers().remove(0);
    let header = RunningInfoRequest {
        consumer_group: "G".to_owned(),
        client_id: consumer.client_id().to_owned(),
        jstack_enable: false,
    };
    let frame = Frame::request(request::GET_CONSUMER_RUNNING_INFO, &header);
    let answer = peer.request(frame, PATIENCE).await.expect("answered");
    let info: ConsumerRunningInfo = fastjson::read(&answer.body.contiguous()).expect("running info");
    assert!(info.mq_table.contains_key(&queue(0)));
    assert_eq!(info.properties["PROP_CONSUMEORDERLY"], "false");

    let header = ConsumeDirectlyRequest {
        consumer_group: "G".to_owned(),
        client_id: None,
        msg_id: None,
        broker_name: Some("broker-a".to_owned()),
        topic: None,
        topic_sys_flag: None,
        group_sys_flag: None,
    };
    let frame = Frame::request(request::CONSUME_MESSAGE_DIRECTLY, &header);
    let answer = peer
        .request(frame.with_body(vec![record("T", 0, 9, &[], "direct")]), PATIENCE)
        .await;
    let reply: ConsumeDirectlyReply =
        fastjson::read(&answer.expect("answered").body.contiguous()).expect("a result");
    assert_eq!(reply.consume_result, ConsumeResult::Success);
    assert_eq!(seen.all(), ["direct"]);

    let unknown = peer
        .request(Frame::command(9999), PATIENCE)
        .await
        .expect("answered");
    assert_eq!(unknown.code, response::REQUEST_CODE_NOT_SUPPORTED);
}

/// Polls a close once: from then on the consumer is closing.
async fn begin(closing: &mut Pin<&mut impl Future<Output = ()>>) {
    tokio::select! {
        biased;
        () = closing => panic!("closed while handlers run"),
        () = std::future::ready(()) => {}
    }
}

#[tokio::test]
async fn closing_waits_for_handlers_saves_what_is_done_and_hands_nothing_back_twice() {
    let server = Server::start().await.topic("T", 1);
    (0..10).for_each(|number| server.put("T", 0, &[], &format!("m{number}")));
    let (go, gate) = watch::channel(false);
    let seen = Seen::new();
    let noting = seen.clone();
    let handler = move |messages: Vec<ReceivedMessage>| {
        noting.note(&messages);
        let mut gate = gate.clone();
        async move {
            gate.wait_for(|open| *open).await.expect("the test lives");
            // The last one fails while the consumer is closing.
            if &messages[0].body[..] == b"m9" {
                Consumed::Later
            } else {
                Consumed::Success
            }
        }
    };
    let options = ConsumerOptions {
        close_wait: PATIENCE,
        ..options(&server)
    };
    let consumer = PushConsumer::start(options, &[("T", "*")], Order::Concurrent, handler)
        .await
        .expect("started");
    seen.until("ten handlers run", |bodies| bodies.len() == 10).await;
    let mut closing = pin!(consumer.close());
    begin(&mut closing).await;
    go.send(true).expect("handlers wait");
    closing.await;
    assert_eq!(server.committed("G", "T", 0), Some(10));
    assert_eq!(server.requests(request::CONSUMER_SEND_MSG_BACK).len(), 1);
    assert_eq!(server.codes().last(), Some(&request::UNREGISTER_CLIENT));
}

#[tokio::test]
async fn closing_leaves_a_failed_message_that_will_be_pulled_again() {
    let server = Server::start().await.topic("T", 1);
    server.put("T", 0, &[], "stuck");
    server.put("T", 0, &[], "fails");
    let (go, gate) = watch::channel(false);
    let seen = Seen::new();
    let noting = seen.clone();
    let handler = move |messages: Vec<ReceivedMessage>| {
        noting.note(&messages);
        let mut gate = gate.clone();
        async move {
            if &messages[0].body[..] == b"stuck" {
                std::future::pending::<()>().await;
            }
            gate.wait_for(|open| *open).await.expect("the test lives");
            Consumed::Later
        }
    };
    let options = ConsumerOptions {
        close_wait: Duration::from_millis(200),
        ..options(&server)
    };
    let consumer = PushConsumer::start(options, &[("T", "*")], Order::Concurrent, handler)
        .await
        .expect("started");
    seen.until("both run", |bodies| bodies.len() == 2).await;
    let mut closing = pin!(consumer.close());
    begin(&mut closing).await;
    go.send(true).expect("handlers wait");
    closing.await;
    assert_eq!(server.committed("G", "T", 0), Some(0));
    assert!(server.requests(request::CONSUMER_SEND_MSG_BACK).is_empty());
}

#[tokio::test]
async fn a_message_whose_handler_takes_too_long_has_one_fate() {
    let server = Server::start().await.topic("T", 1);
    server.put("T", 0, &[], "slow");
    let ended = Arc::new(AtomicUsize::new(0));
    let counted = ended.clone();
    let handler = move |_| {
        let counted = counted.clone();
        async move {
            std::future::pending::<()>().await;
            counted.fetch_add(1, Ordering::SeqCst);
            Consumed::Success
        }
    };
    let options = ConsumerOptions {
        handler_timeout: Duration::from_millis(50),
        ..options(&server)
    };
    let consumer = PushConsumer::start(options, &[("T", "*")], Order::Concurrent, handler)
        .await
        .expect("started");
    server
        .until("it is handed back", |server| {
            server.committed("G", "T", 0) == Some(1)
        })
        .await;
    consumer.close().await;
    assert_eq!(server.requests(request::CONSUMER_SEND_MSG_BACK).len(), 1);
    assert_eq!(ended.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn no_more_is_pulled_than_may_be_unfinished() {
    let server = Server::start().await.topic("T", 1);
    (0..100).for_each(|number| server.put("T", 0, &[], &format!("m{number}")));
    let (go, gate) = watch::channel(false);
    let seen = Seen::new();
    let noting = seen.clone();
    let handler = move |messages: Vec<ReceivedMessage>| {
        noting.note(&messages);
        let mut gate = gate.clone();
        async move {
            gate.wait_for(|open| *open).await.expect("the test lives");
            Consumed::Success
        }
    };
    let options = ConsumerOptions {
        unfinished_messages_max: 8,
        pull_messages_max: 4,
        handlers_max: 100,
        ..options(&server)
    };
    let consumer = PushConsumer::start(options, &[("T", "*")], Order::Concurrent, handler)
        .await
        .expect("started");
    seen.until("it is full", |bodies| bodies.len() == 8).await;
    server
        .until("two more rounds passed", |server| {
            server.requests(request::HEART_BEAT).len() > 4
        })
        .await;
    assert_eq!(consumer.progress()[0].next, 8);
    go.send(true).expect("handlers wait");
    server
        .until("all is done", |server| server.committed("G", "T", 0) == Some(100))
        .await;
}

#[tokio::test]
async fn every_broadcasting_consumer_gets_everything_and_asks_no_broker_for_offsets() {
    let server = Server::start().await.topic("T", 2);
    let dir = tempfile::tempdir().expect("a folder");
    let broadcasting = |name: &str| {
        let mut options = options(&server);
        options.model = MessageModel::Broadcasting;
        options.client.instance_name = Some(name.to_owned());
        options.local_offsets_dir = dir.path().to_owned();
        options
    };
    let (one, seen_by_one) = accepting(broadcasting("one")).await;
    let (_other, seen_by_other) = accepting(broadcasting("other")).await;
    server.put("T", 0, &[], "a");
    server.put("T", 1, &[], "b");
    seen_by_one.until("both came", |bodies| bodies.len() == 2).await;
    seen_by_other.until("both came", |bodies| bodies.len() == 2).await;
    one.close().await;
    server.put("T", 0, &[], "c");
    let (_again, seen_again) = accepting(broadcasting("one")).await;
    seen_again
        .until("it goes on where it was", |bodies| bodies == ["c"])
        .await;
    for code in [
        request::QUERY_CONSUMER_OFFSET,
        request::UPDATE_CONSUMER_OFFSET,
        request::GET_CONSUMER_LIST_BY_GROUP,
        request::CONSUMER_SEND_MSG_BACK,
    ] {
        assert!(server.requests(code).is_empty(), "code {code}");
    }
}

#[tokio::test]
async fn a_broadcasting_consumer_without_a_name_goes_on_where_its_last_run_ended() {
    let server = Server::start().await.topic("T", 1);
    let dir = tempfile::tempdir().expect("a folder");
    let mut options = options(&server);
    options.model = MessageModel::Broadcasting;
    options.local_offsets_dir = dir.path().to_owned();
    server.put("T", 0, &[], "a");
    let (first_run, seen) = accepting(options.clone()).await;
    seen.until("it came", |bodies| bodies == ["a"]).await;
    let client_id = first_run.client_id().to_owned();
    first_run.close().await;
    server.put("T", 0, &[], "b");
    let (second_run, seen) = accepting(options).await;
    seen.until("only what is new comes", |bodies| bodies == ["b"])
        .await;
    assert_ne!(second_run.client_id(), client_id, "brokers tell the two apart");
    second_run.close().await;
    let folders: Vec<_> = std::fs::read_dir(dir.path()).expect("a folder").collect();
    assert_eq!(folders.len(), 1);
}

#[tokio::test]
async fn a_damaged_local_offset_file_does_not_stop_a_broadcasting_consumer() {
    let server = Server::start().await.topic("T", 1);
    server.put("T", 0, &[], "a");
    let dir = tempfile::tempdir().expect("a folder");
    let mut options = options(&server);
    options.model = MessageModel::Broadcasting;
    options.client.instance_name = Some("one".to_owned());
    options.local_offsets_dir = dir.path().to_owned();
    let (consumer, seen) = accepting(options.clone()).await;
    seen.until("it came", |bodies| bodies.len() == 1).await;
    let client_id = consumer.client_id().to_owned();
    consumer.close().await;
    let file = dir.path().join(client_id).join("G").join("offsets.json");
    let text = std::fs::read(&file).expect("the offsets");
    std::fs::write(&file, &text[..text.len() / 2]).expect("cut");
    let _ = std::fs::remove_file(file.with_extension("json.bak"));
    let (_consumer, seen) = accepting(options).await;
    seen.until("the start policy applies", |bodies| bodies == ["a"])
        .await;
    assert!(file.with_extension("json.damaged").exists());
}

#[tokio::test]
async fn a_reader_leaves_no_trace_and_goes_where_it_is_sent() {
    let server = Server::start().await.topic("T", 2);
    (0..3).for_each(|number| server.put("T", 0, &[], &format!("m{number}")));
    server.put("T", 1, &[], "other");
    let mut reader = PullConsumer::new(ClientOptions::new(&server.address), None);
    for queue in reader.queues("T").await.expect("queues") {
        reader.assign(queue, 0);
    }
    let mut bodies = Vec::new();
    while bodies.len() < 4 {
        bodies.extend(reader.poll(PATIENCE).await.expect("read").iter().map(body));
    }
    bodies.sort();
    assert_eq!(bodies, ["m0", "m1", "m2", "other"]);
    reader.seek(&queue(0), 2);
    let again: Vec<String> = reader
        .poll(PATIENCE)
        .await
        .expect("read")
        .iter()
        .map(body)
        .collect();
    assert_eq!(again, ["m2"]);
    assert!(
        reader
            .poll(Duration::from_millis(10))
            .await
            .expect("nothing new")
            .is_empty()
    );
    let codes = server.codes();
    for code in [
        request::HEART_BEAT,
        request::UPDATE_CONSUMER_OFFSET,
        request::UNREGISTER_CLIENT,
    ] {
        assert!(!codes.contains(&code));
    }
    reader.commit(&queue(0), 3).await.expect("saved");
    assert_eq!(reader.committed(&queue(0)).await.expect("asked"), Some(3));
    assert_eq!(reader.committed(&queue(1)).await.expect("asked"), None);
}

/// Handlers of a group share what a lock protects: used to see that no two run where one may.
#[derive(Clone, Default)]
pub struct AtMostOne(Arc<Mutex<bool>>);

impl AtMostOne {
    pub fn enter(&self) {
        let mut inside = self.0.lock().expect("not poisoned");
        assert!(!*inside, "two handlers at a time");
        *inside = true;
    }

    pub fn leave(&self) {
        *self.0.lock().expect("not poisoned") = false;
    }
}
