//! Sends that meet hanging, dying and refusing brokers, and name servers that change.

use std::time::Duration;

use rmq::client::{ClientError, ClientOptions, OutgoingMessage, Producer, ProducerOptions, SendFailure};
use rmq::protocol::code::{request, response};
use rmq::protocol::frame::Frame;
use rmq::protocol::message::decode_batch;
use rmq::protocol::request::send::SendRequest;
use tokio::net::TcpListener;

use crate::server::{PATIENCE, Reply, Server};

fn options(server: &Server) -> ProducerOptions {
    ProducerOptions::new(ClientOptions::new(&server.address), "producers")
}

fn message() -> OutgoingMessage {
    OutgoingMessage::new("T", "body")
}

fn is_send(frame: &Frame) -> bool {
    matches!(frame.code, request::SEND_MESSAGE_V2 | request::SEND_BATCH_MESSAGE)
}

/// Three brokers behind one name server, which is the first of them.
async fn three_brokers() -> [Server; 3] {
    let servers = [
        Server::start().await.topic("T", 2),
        Server::start().await,
        Server::start().await,
    ];
    let [a, b, c] = &servers;
    a.set_brokers(&[("a", &a.address), ("b", &b.address), ("c", &c.address)]);
    servers
}

/// Has the producer's next message start at a queue of this broker.
async fn make_it_the_turn_of(producer: &Producer, broker_name: &str) {
    for _ in 0..6 {
        let queues = producer.queues("T").await.expect("a route");
        let result = producer.send(&message()).await.expect("sent");
        let index = queues
            .iter()
            .position(|queue| *queue == result.queue)
            .expect("a queue of the route");
        if queues[(index + 1) % queues.len()].broker_name == broker_name {
            return;
        }
    }
    panic!("it was never the turn of {broker_name}");
}

#[tokio::test]
async fn a_hanging_broker_does_not_keep_a_send_from_another_one() {
    let [a, b, c] = three_brokers().await;
    let producer = Producer::start(ProducerOptions {
        send_timeout: Duration::from_millis(900),
        ..options(&a)
    });
    make_it_the_turn_of(&producer, "b").await;
    b.script(|frame| is_send(frame).then_some(Reply::Silence));
    let result = producer
        .send(&message())
        .await
        .expect("sent through another broker");
    assert_ne!(result.queue.broker_name, "b");
    assert!(
        !b.requests(request::SEND_MESSAGE_V2).is_empty(),
        "it was tried first"
    );
    drop(c);
}

#[tokio::test]
async fn a_broker_that_dies_within_a_request_fails_its_waiters_at_once() {
    let a = Server::start().await.topic("T", 1);
    a.script(|frame| is_send(frame).then_some(Reply::Close));
    let hours = Duration::from_secs(3600);
    let producer = Producer::start(ProducerOptions {
        send_timeout: hours,
        retries: 0,
        ..options(&a)
    });
    let message = message();
    let sending = producer.send(&message);
    let failure = tokio::time::timeout(PATIENCE, sending)
        .await
        .expect("not after hours")
        .expect_err("not sent");
    let ClientError::Send(failure) = failure else {
        panic!("{failure}")
    };
    assert!(matches!(failure.tries[0].error, ClientError::Disconnected { .. }));
    assert!(failure.may_be_stored());
}

#[tokio::test]
async fn an_asynchronous_send_is_tried_elsewhere_when_the_connection_cannot_be_made() {
    let a = Server::start().await.topic("T", 1);
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let closed_address = closed.local_addr().expect("bound").to_string();
    drop(closed);
    a.set_brokers(&[("dead", &closed_address), ("alive", &a.address)]);
    let producer = Producer::start(options(&a));
    let (ends, mut ended) = tokio::sync::mpsc::unbounded_channel();
    for _ in 0..4 {
        let ends = ends.clone();
        let done = move |result: Result<_, _>| ends.send(result).expect("the test listens");
        producer.send_async(&message(), done).await.expect("started");
    }
    drop(ends);
    let mut count = 0;
    while let Some(result) = ended.recv().await {
        let result: rmq::client::SendResult = result.expect("sent through the living one");
        assert_eq!(result.queue.broker_name, "alive");
        count += 1;
    }
    assert_eq!(count, 4, "one end for each send");
}

#[tokio::test]
async fn a_failed_send_says_which_tries_may_have_been_stored() {
    let [a, b, c] = three_brokers().await;
    a.script(|frame| {
        is_send(frame).then(|| Reply::answer(Frame::refusal(response::SERVICE_NOT_AVAILABLE, "disk full")))
    });
    b.script(|frame| is_send(frame).then_some(Reply::Silence));
    c.script(|frame| is_send(frame).then_some(Reply::Silence));
    let producer = Producer::start(ProducerOptions {
        send_timeout: Duration::from_millis(600),
        retries: 4,
        avoid_slow_brokers: false,
        ..options(&a)
    });
    let failure = producer
        .send(&message())
        .await
        .expect_err("nobody acknowledged it");
    let ClientError::Send(SendFailure { tries, .. }) = &failure else {
        panic!("{failure}")
    };
    for one in tries {
        assert_eq!(one.error.may_have_happened(), one.broker_name != "a", "{failure}");
    }
    assert!(
        tries
            .windows(2)
            .all(|pair| pair[0].broker_name != pair[1].broker_name),
        "{failure}"
    );
    assert!(failure.to_string().contains("disk full"));
    assert!(failure.to_string().contains("may be stored"));
}

#[tokio::test]
async fn no_try_starts_without_time_for_its_answer() {
    let a = Server::start().await.topic("T", 1);
    a.script(|frame| is_send(frame).then_some(Reply::Silence));
    let short = Duration::from_millis(200);
    let producer = Producer::start(ProducerOptions {
        send_timeout: short,
        retries: 9,
        ..options(&a)
    });
    let failure = producer
        .send(&message())
        .await
        .expect_err("nobody acknowledged it");
    let ClientError::Send(SendFailure { tries, .. }) = &failure else {
        panic!("{failure}")
    };
    for one in tries {
        match &one.error {
            ClientError::Timeout { timeout, .. } => {
                assert!(*timeout >= Duration::from_millis(1), "{failure}")
            }
            other => panic!("{other}"),
        }
    }
}

#[tokio::test]
async fn a_short_restart_of_the_only_broker_is_survived() {
    let names = Server::start().await.topic("T", 1);
    let before = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = before.local_addr().expect("a bound address").to_string();
    names.set_brokers(&[("b", &address)]);
    let producer = Producer::start(options(&names));
    let restart = async {
        drop(before.accept().await.expect("the first try"));
        drop(before);
        tokio::time::sleep(Duration::from_millis(200)).await;
        Server::start_at(&address).await
    };
    let message = message();
    let (sent, _after) = tokio::join!(producer.send(&message), restart);
    assert_eq!(sent.expect("sent").queue.broker_name, "b");
}

#[tokio::test]
async fn a_refusal_that_no_broker_would_lift_is_final() {
    let [a, b, c] = three_brokers().await;
    for server in [&a, &b, &c] {
        server.script(|frame| {
            is_send(frame).then(|| Reply::answer(Frame::refusal(response::MESSAGE_ILLEGAL, "no")))
        });
    }
    let producer = Producer::start(options(&a));
    let failure = producer.send(&message()).await.expect_err("refused");
    let ClientError::Send(failure) = failure else {
        panic!("{failure}")
    };
    assert_eq!(failure.tries.len(), 1);
    assert!(!failure.may_be_stored());
}

#[tokio::test]
async fn messages_take_the_queues_in_turn() {
    let a = Server::start().await.topic("T", 3);
    let producer = Producer::start(options(&a));
    let mut queues = Vec::new();
    for _ in 0..6 {
        queues.push(producer.send(&message()).await.expect("sent").queue.queue_id);
    }
    assert_eq!(queues[..3], queues[3..]);
    queues.truncate(3);
    queues.sort();
    assert_eq!(queues, [0, 1, 2]);
}

#[tokio::test]
async fn messages_of_one_key_take_one_queue() {
    let a = Server::start().await.topic("T", 5);
    let (one, other) = (Producer::start(options(&a)), Producer::start(options(&a)));
    for key in ["order-1", "order-2", "order-3", "an umlaut ü"] {
        let first = one.send_in_order(&message(), key).await.expect("sent").queue;
        let second = other.send_in_order(&message(), key).await.expect("sent").queue;
        assert_eq!(first, second, "{key}");
    }
}

#[tokio::test]
async fn a_new_topic_is_sent_to_as_the_default_topic_says() {
    let a = Server::start().await.topic("TBW102", 8);
    let producer = Producer::start(options(&a));
    assert_eq!(producer.queues("new").await.expect("the pattern").len(), 4);
    let result = producer
        .send(&OutgoingMessage::new("new", "body"))
        .await
        .expect("sent");
    assert_eq!(result.queue.topic, "new");
    let frame = a.requests(request::SEND_MESSAGE_V2).remove(0);
    let send = SendRequest::read(&frame).expect("a send");
    assert_eq!((send.default_topic, send.default_topic_queue_nums), ("TBW102", 4));
    let a = Server::start().await;
    let producer = Producer::start(options(&a));
    let failure = producer
        .send(&OutgoingMessage::new("new", "body"))
        .await
        .expect_err("no pattern");
    assert!(matches!(failure, ClientError::TopicNotFound(topic) if topic == "new"));
}

#[tokio::test]
async fn a_batch_goes_out_as_one_with_an_id_for_each_message() {
    let a = Server::start().await.topic("T", 1);
    let producer = Producer::start(options(&a));
    let result = producer
        .send_batch(&[message().tag("x"), message(), message()])
        .await
        .expect("sent");
    let frame = a.requests(request::SEND_BATCH_MESSAGE).remove(0);
    assert!(SendRequest::read(&frame).expect("a send").batch);
    let body = frame.body.contiguous();
    let ids: Vec<_> = decode_batch(&body)
        .expect("a batch")
        .iter()
        .map(|item| {
            rmq::protocol::message::property_of(item.properties, "UNIQ_KEY")
                .expect("an id")
                .to_owned()
        })
        .collect();
    assert_eq!(ids, result.message_ids);
    assert_eq!(ids.len(), 3);
}

#[tokio::test]
async fn closing_waits_for_asynchronous_sends_and_says_goodbye() {
    let a = Server::start().await.topic("T", 1);
    let producer = Producer::start(options(&a));
    let (ends, mut ended) = tokio::sync::mpsc::unbounded_channel();
    for _ in 0..20 {
        let ends = ends.clone();
        let done = move |result: Result<_, ClientError>| ends.send(result.is_ok()).expect("the test listens");
        producer.send_async(&message(), done).await.expect("started");
    }
    producer.close().await;
    for _ in 0..20 {
        assert_eq!(ended.try_recv(), Ok(true));
    }
    assert_eq!(a.codes().last(), Some(&request::UNREGISTER_CLIENT));
}

#[tokio::test]
async fn another_name_server_stands_in_for_one_that_is_down() {
    let a = Server::start().await.topic("T", 1);
    let down = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let down_address = down.local_addr().expect("bound").to_string();
    drop(down);
    for _ in 0..4 {
        let names = format!("{down_address};{}", a.address);
        let producer = Producer::start(ProducerOptions::new(ClientOptions::new(&names), "producers"));
        producer.send(&message()).await.expect("routed by the other one");
    }
    let alone = Producer::start(ProducerOptions::new(
        ClientOptions::new(&down_address),
        "producers",
    ));
    let failure = alone.send(&message()).await.expect_err("no name server");
    assert!(
        failure
            .to_string()
            .starts_with(&format!("no name server at {down_address}")),
        "{failure}"
    );
}

#[tokio::test]
async fn a_removed_name_server_is_left_although_it_still_answers() {
    let (old, new) = (
        Server::start().await.topic("T", 1),
        Server::start().await.topic("T", 1).topic("U", 1),
    );
    let producer = Producer::start(options(&old));
    producer.send(&message()).await.expect("sent");
    assert!(!old.requests(request::GET_ROUTEINFO_BY_TOPIC).is_empty());
    producer.set_name_servers(vec![new.address.clone()]);
    let before = old.requests(request::GET_ROUTEINFO_BY_TOPIC).len();
    producer
        .send(&OutgoingMessage::new("U", "body"))
        .await
        .expect("routed by the new one");
    assert_eq!(old.requests(request::GET_ROUTEINFO_BY_TOPIC).len(), before);
    assert_eq!(new.requests(request::GET_ROUTEINFO_BY_TOPIC).len(), 1);
}

#[tokio::test]
async fn brokers_hear_of_a_producer_as_soon_as_it_knows_them() {
    let a = Server::start().await.topic("T", 1);
    let producer = Producer::start(options(&a));
    producer.send(&message()).await.expect("sent");
    a.until("the heartbeat came", |a| {
        !a.requests(request::HEART_BEAT).is_empty()
    })
    .await;
    let beat = a.requests(request::HEART_BEAT).remove(0);
    let text = String::from_utf8(beat.body.contiguous().to_vec()).expect("JSON");
    assert!(text.contains("\"groupName\":\"producers\""), "{text}");
}

#[tokio::test]
async fn a_connection_that_answers_nothing_any_more_is_replaced() {
    let a = Server::start().await.topic("T", 1);
    let options = ProducerOptions {
        send_timeout: Duration::from_millis(300),
        retries: 0,
        ..options(&a)
    };
    let producer = Producer::start(options);
    producer.send(&message()).await.expect("sent");
    let before = a.connections();
    a.script(|frame| is_send(frame).then_some(Reply::Silence));
    for _ in 0..2 {
        producer.send(&message()).await.expect_err("nobody answers");
    }
    a.script(|_| None);
    producer.send(&message()).await.expect("sent on a new connection");
    assert_eq!(a.connections(), before + 1);
}
