//! Messages from a producer through the broker to consumers of every kind.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rmq::client::{
    Consumed, ConsumerOptions, Order, OutgoingMessage, Producer, ProducerOptions, PullConsumer, PushConsumer,
    ReceivedMessage, StartFrom,
};
use rmq::protocol::request::client::MessageModel;
use tokio::sync::mpsc;

use crate::cluster::Cluster;

/// Longest wait for something that must happen; a test that reaches it has failed.
const PATIENCE: Duration = Duration::from_secs(30);

fn producer(cluster: &Cluster) -> Producer {
    // A test machine may be busy: the default of three seconds is for users.
    Producer::start(ProducerOptions {
        send_timeout: PATIENCE,
        ..ProducerOptions::new(cluster.client(), "producers")
    })
}

fn consumer_options(cluster: &Cluster) -> ConsumerOptions {
    let short = Duration::from_millis(50);
    ConsumerOptions {
        start_from: StartFrom::First,
        rebalance_pause: short,
        pull_pause: short,
        orderly_pause: short,
        save_interval: short,
        ..ConsumerOptions::new(cluster.client(), "G")
    }
}

/// Messages as one or several consumers were given them.
struct Deliveries {
    sender: mpsc::UnboundedSender<ReceivedMessage>,
    receiver: mpsc::UnboundedReceiver<ReceivedMessage>,
}

impl Deliveries {
    fn new() -> Deliveries {
        let (sender, receiver) = mpsc::unbounded_channel();
        Deliveries { sender, receiver }
    }

    /// A consumer of topic T whose messages come here.
    async fn consumer(&self, options: ConsumerOptions, tags: &str, order: Order) -> PushConsumer {
        self.consumer_that(options, tags, order, Consumed::Success).await
    }

    async fn consumer_that(
        &self,
        options: ConsumerOptions,
        tags: &str,
        order: Order,
        consumed: Consumed,
    ) -> PushConsumer {
        let sender = self.sender.clone();
        let handler = move |messages: Vec<ReceivedMessage>| {
            messages
                .into_iter()
                .for_each(|message| sender.send(message).expect("the test listens"));
            async move { consumed }
        };
        PushConsumer::start(options, &[("T", tags)], order, handler)
            .await
            .expect("started")
    }

    async fn next(&mut self) -> ReceivedMessage {
        let next = tokio::time::timeout(PATIENCE, self.receiver.recv()).await;
        next.expect("a message in time").expect("the sender lives")
    }

    async fn take(&mut self, count: usize) -> Vec<ReceivedMessage> {
        let mut messages = Vec::new();
        while messages.len() < count {
            messages.push(self.next().await);
        }
        messages
    }
}

fn body(message: &ReceivedMessage) -> String {
    String::from_utf8(message.body.to_vec()).expect("text")
}

fn bodies(messages: &[ReceivedMessage]) -> BTreeSet<String> {
    messages.iter().map(body).collect()
}

fn numbered(count: usize) -> BTreeSet<String> {
    (0..count).map(|number| format!("m{number}")).collect()
}

async fn send_numbered(producer: &Producer, count: usize) {
    for number in 0..count {
        producer
            .send(&OutgoingMessage::new("T", format!("m{number}")))
            .await
            .expect("sent");
    }
}

#[tokio::test]
async fn two_members_share_the_messages_of_a_topic() {
    let cluster = Cluster::start().await;
    let producer = producer(&cluster);
    send_numbered(&producer, 1).await;
    let (mut one, mut other) = (Deliveries::new(), Deliveries::new());
    let first = one
        .consumer(consumer_options(&cluster), "*", Order::Concurrent)
        .await;
    let second = other
        .consumer(consumer_options(&cluster), "*", Order::Concurrent)
        .await;
    let balanced = async {
        while first
            .progress()
            .iter()
            .filter(|one| one.queue.topic == "T")
            .count()
            != 2
            || second
                .progress()
                .iter()
                .filter(|one| one.queue.topic == "T")
                .count()
                != 2
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, balanced)
        .await
        .expect("two queues each");
    let before = one.next().await;
    assert_eq!(body(&before), "m0");
    for number in 0..40 {
        producer
            .send(&OutgoingMessage::new("T", format!("n{number}")))
            .await
            .expect("sent");
    }
    let (left, right) = (one.take(20).await, other.take(20).await);
    let together: BTreeSet<String> = bodies(&left).union(&bodies(&right)).cloned().collect();
    assert_eq!(together.len(), 40, "each message came to one of them");
    first.close().await;
    second.close().await;
}

#[tokio::test]
async fn a_member_goes_on_where_a_closed_one_stopped() {
    let cluster = Cluster::start().await;
    let producer = producer(&cluster);
    send_numbered(&producer, 20).await;
    let mut deliveries = Deliveries::new();
    let one = deliveries
        .consumer(consumer_options(&cluster), "*", Order::Concurrent)
        .await;
    assert_eq!(bodies(&deliveries.take(20).await), numbered(20));
    one.close().await;
    producer
        .send(&OutgoingMessage::new("T", "after"))
        .await
        .expect("sent");
    let other = deliveries
        .consumer(consumer_options(&cluster), "*", Order::Concurrent)
        .await;
    assert_eq!(body(&deliveries.next().await), "after");
    other.close().await;
}

#[tokio::test]
async fn every_broadcasting_consumer_gets_every_message() {
    let cluster = Cluster::start().await;
    let producer = producer(&cluster);
    send_numbered(&producer, 20).await;
    let dir = tempfile::tempdir().expect("a folder");
    let mut both = [Deliveries::new(), Deliveries::new()];
    let mut consumers = Vec::new();
    for (name, deliveries) in ["one", "other"].into_iter().zip(&both) {
        let mut options = ConsumerOptions {
            model: MessageModel::Broadcasting,
            local_offsets_dir: dir.path().to_owned(),
            ..consumer_options(&cluster)
        };
        options.client.instance_name = Some(name.to_owned());
        consumers.push(deliveries.consumer(options, "*", Order::Concurrent).await);
    }
    for deliveries in &mut both {
        assert_eq!(bodies(&deliveries.take(20).await), numbered(20));
    }
}

#[tokio::test]
async fn a_message_that_always_fails_is_retried_and_ends_among_the_dead_letters() {
    let cluster = Cluster::start().await;
    let producer = producer(&cluster);
    let sent = producer
        .send(&OutgoingMessage::new("T", "bad").tag("x").key("k"))
        .await
        .expect("sent");
    let mut deliveries = Deliveries::new();
    let options = ConsumerOptions {
        retries_max: Some(2),
        ..consumer_options(&cluster)
    };
    let consumer = deliveries
        .consumer_that(options, "*", Order::Concurrent, Consumed::Later)
        .await;
    for attempt in 0..=2 {
        let message = deliveries.next().await;
        assert_eq!((message.attempt, message.topic.as_str()), (attempt, "T"));
        assert_eq!(message.message_id, sent.message_ids[0]);
    }
    let mut reader = PullConsumer::new(cluster.client(), None);
    let dead = loop {
        if let Ok(queues) = reader.queues("%DLQ%G").await {
            queues.into_iter().for_each(|queue| reader.assign(queue, 0));
            break reader.poll(PATIENCE).await.expect("read");
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!(body(&dead[0]), "bad");
    assert_eq!(
        (dead[0].tag.as_deref(), dead[0].keys.as_slice()),
        (Some("x"), &["k".to_owned()][..])
    );
    assert_eq!(dead[0].message_id, sent.message_ids[0]);
    consumer.close().await;
}

#[tokio::test]
async fn orderly_members_keep_the_order_of_each_key() {
    let cluster = Cluster::start().await;
    let producer = producer(&cluster);
    let mut deliveries = Deliveries::new();
    let one = deliveries
        .consumer(consumer_options(&cluster), "*", Order::Orderly)
        .await;
    let other = deliveries
        .consumer(consumer_options(&cluster), "*", Order::Orderly)
        .await;
    for number in 0..30 {
        for key in ["a", "b", "c"] {
            let message = OutgoingMessage::new("T", format!("{number:02}")).key(key);
            producer.send_in_order(&message, key).await.expect("sent");
        }
    }
    let mut by_key: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for message in deliveries.take(90).await {
        by_key
            .entry(message.keys[0].clone())
            .or_default()
            .push(body(&message));
    }
    assert_eq!(by_key.len(), 3);
    for (key, bodies) in by_key {
        assert_eq!(bodies.len(), 30);
        assert!(bodies.is_sorted(), "{key}: {bodies:?}");
    }
    one.close().await;
    other.close().await;
}

#[tokio::test]
async fn large_bodies_and_batches_come_as_they_were_sent() {
    let cluster = Cluster::start().await;
    let producer = producer(&cluster);
    let large = "many words, ".repeat(20_000);
    let text = OutgoingMessage::new("T", large.clone())
        .flag(7)
        .property("shop", "Berlin");
    let result = producer.send(&text).await.expect("sent");
    let batch: Vec<_> = (0..3)
        .map(|number| OutgoingMessage::new("T", format!("b{number}")))
        .collect();
    let of_batch = producer.send_batch(&batch).await.expect("sent");
    let mut deliveries = Deliveries::new();
    let consumer = deliveries
        .consumer(consumer_options(&cluster), "*", Order::Concurrent)
        .await;
    let messages: BTreeMap<String, ReceivedMessage> = deliveries
        .take(4)
        .await
        .into_iter()
        .map(|message| (message.message_id.clone(), message))
        .collect();
    let received = &messages[&result.message_ids[0]];
    assert_eq!(body(received), large);
    assert!(
        received.stored_bytes < large.len() / 10,
        "it was stored compressed"
    );
    assert_eq!((received.flag, received.property("shop")), (7, Some("Berlin")));
    for (number, id) in of_batch.message_ids.iter().enumerate() {
        let message = &messages[id];
        assert_eq!(body(message), format!("b{number}"));
        assert_eq!(message.queue_offset, of_batch.queue_offset + number as u64);
        assert_eq!(message.offset_message_id, of_batch.offset_message_ids[number]);
    }
    consumer.close().await;
}

#[tokio::test]
async fn only_messages_of_the_wanted_tags_come() {
    let cluster = Cluster::start().await;
    let producer = producer(&cluster);
    for tag in ["Aa", "BB", "C", "Aa"] {
        producer
            .send(&OutgoingMessage::new("T", tag).tag(tag))
            .await
            .expect("sent");
    }
    let mut deliveries = Deliveries::new();
    let consumer = deliveries
        .consumer(consumer_options(&cluster), "BB || C", Order::Concurrent)
        .await;
    assert_eq!(
        bodies(&deliveries.take(2).await),
        BTreeSet::from(["BB".to_owned(), "C".to_owned()])
    );
    consumer.subscribe("T", "D").await.expect("subscribed");
    for tag in ["C", "D"] {
        producer
            .send(&OutgoingMessage::new("T", tag).tag(tag))
            .await
            .expect("sent");
    }
    assert_eq!(body(&deliveries.next().await), "D");
    consumer.close().await;
}

#[tokio::test]
async fn a_message_arrives_while_its_pull_is_held() {
    let cluster = Cluster::start().await;
    let producer = producer(&cluster);
    send_numbered(&producer, 1).await;
    let mut deliveries = Deliveries::new();
    let options = ConsumerOptions {
        pull_hold: Duration::from_secs(3600),
        ..consumer_options(&cluster)
    };
    let consumer = deliveries.consumer(options, "*", Order::Concurrent).await;
    assert_eq!(body(&deliveries.next().await), "m0");
    for number in 0..20 {
        producer
            .send(&OutgoingMessage::new("T", format!("later{number}")))
            .await
            .expect("sent");
        assert_eq!(body(&deliveries.next().await), format!("later{number}"));
    }
    consumer.close().await;
}

#[tokio::test]
async fn one_way_and_asynchronous_messages_arrive() {
    let cluster = Cluster::start().await;
    let producer = producer(&cluster);
    send_numbered(&producer, 1).await;
    let mut deliveries = Deliveries::new();
    let consumer = deliveries
        .consumer(consumer_options(&cluster), "*", Order::Concurrent)
        .await;
    deliveries.next().await;
    producer
        .send_oneway(&OutgoingMessage::new("T", "one-way"))
        .await
        .expect("told");
    assert_eq!(body(&deliveries.next().await), "one-way");
    let (ends, mut ended) = mpsc::unbounded_channel();
    for number in 0..200 {
        let ends = ends.clone();
        let message = OutgoingMessage::new("T", format!("m{number}"));
        let done = move |result: Result<_, _>| ends.send(result).expect("the test listens");
        producer.send_async(&message, done).await.expect("started");
    }
    assert_eq!(bodies(&deliveries.take(200).await), numbered(200));
    producer.close().await;
    for _ in 0..200 {
        ended.try_recv().expect("an end for each").expect("sent");
    }
    consumer.close().await;
}
