//! Administration of a running cluster: what is created is listed, what is sent is found, what is reset comes again.

use std::time::Duration;

use rmq::client::{
    Admin, Consumed, ConsumerOptions, Order, OutgoingMessage, Producer, ProducerOptions, PushConsumer,
    ReceivedMessage, StartFrom,
};
use rmq::protocol::code::response;
use rmq::protocol::request::body::MessageQueue;
use rmq::protocol::request::client::ConsumeResult;
use rmq::protocol::request::group::SubscriptionGroupConfig;
use rmq::protocol::request::pull::Boundary;
use rmq::protocol::request::topic::TopicConfig;
use tokio::sync::mpsc;

use crate::cluster::Cluster;

/// Longest wait for something that must happen; a test that reaches it has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// Asks again until the answer is the wanted one.
async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let wait = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait)
        .await
        .unwrap_or_else(|_| panic!("waited in vain until {what}"))
}

async fn send(cluster: &Cluster, topic: &str, count: usize) -> Vec<rmq::client::SendResult> {
    let options = ProducerOptions {
        send_timeout: PATIENCE,
        ..ProducerOptions::new(cluster.client(), "producers")
    };
    let producer = Producer::start(options);
    let mut results = Vec::new();
    for number in 0..count {
        let message = OutgoingMessage::new(topic, format!("m{number}"))
            .key(&format!("key{number}"))
            .tag("x");
        results.push(producer.send(&message).await.expect("sent"));
    }
    producer.close().await;
    results
}

/// A consumer of a topic, and the bodies it was given.
async fn consume(
    cluster: &Cluster,
    topic: &str,
    group: &str,
) -> (PushConsumer, mpsc::UnboundedReceiver<String>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let options = ConsumerOptions {
        start_from: StartFrom::First,
        save_interval: Duration::from_millis(20),
        ..ConsumerOptions::new(cluster.client(), group)
    };
    let handler = move |messages: Vec<ReceivedMessage>| {
        for message in messages {
            let body = String::from_utf8(message.body.to_vec()).expect("text");
            sender.send(body).expect("the test listens");
        }
        async { Consumed::Success }
    };
    let consumer = PushConsumer::start(options, &[(topic, "*")], Order::Concurrent, handler).await;
    (consumer.expect("started"), receiver)
}

async fn take(receiver: &mut mpsc::UnboundedReceiver<String>, count: usize) -> Vec<String> {
    let mut bodies = Vec::new();
    while bodies.len() < count {
        let next = tokio::time::timeout(PATIENCE, receiver.recv()).await;
        bodies.push(next.expect("a message in time").expect("the sender lives"));
    }
    bodies.sort();
    bodies
}

#[tokio::test]
async fn a_topic_is_created_described_changed_and_deleted() {
    let cluster = Cluster::start().await;
    let admin = Admin::new(cluster.client());
    let broker = admin.masters(None).await.expect("brokers").remove(0);
    let topic = cluster.name("topic");
    admin
        .put_topic(&broker.address, &TopicConfig::new(&topic, 3, 2, 6))
        .await
        .expect("created");
    let route = admin
        .route(&topic)
        .await
        .expect("routed as soon as it is created");
    assert_eq!(
        (
            route.queue_datas[0].read_queue_nums,
            route.queue_datas[0].write_queue_nums
        ),
        (3, 2)
    );
    assert!(admin.topics().await.expect("topics").contains(&topic));
    assert!(
        admin
            .topics_of_cluster(&broker.cluster)
            .await
            .expect("topics")
            .contains(&topic)
    );
    assert!(
        admin
            .topic_configs(&broker.address)
            .await
            .expect("topics")
            .topic_config_table
            .contains_key(&topic)
    );
    let mut config = admin
        .topic_config(&broker.address, &topic)
        .await
        .expect("settings");
    config.perm = 4;
    admin.put_topic(&broker.address, &config).await.expect("changed");
    let changed = admin
        .topic_config(&broker.address, &topic)
        .await
        .expect("settings");
    assert_eq!(
        (changed.perm, changed.read_queue_nums, changed.write_queue_nums),
        (4, 3, 2)
    );
    admin
        .delete_topic(&broker.address, &topic)
        .await
        .expect("deleted");
    admin
        .delete_topic_in_names(&topic, Some(&broker.cluster))
        .await
        .expect("forgotten");
    let gone = admin
        .topic_config(&broker.address, &topic)
        .await
        .expect_err("gone");
    assert_eq!(gone.code(), Some(response::TOPIC_NOT_EXIST));
    let gone = admin.route(&topic).await.expect_err("gone");
    assert!(gone.to_string().contains("rmq topic create"), "{gone}");
}

#[tokio::test]
async fn a_group_is_created_described_and_deleted() {
    let cluster = Cluster::start().await;
    let admin = Admin::new(cluster.client());
    let broker = admin.masters(None).await.expect("brokers").remove(0).address;
    let group = cluster.name("group");
    let config = SubscriptionGroupConfig {
        retry_max_times: 3,
        ..SubscriptionGroupConfig::named(&group)
    };
    admin.put_group(&broker, &config).await.expect("created");
    assert_eq!(
        admin
            .group_config(&broker, &group)
            .await
            .expect("settings")
            .retry_max_times,
        3
    );
    let all = admin
        .group_configs(&broker)
        .await
        .expect("groups")
        .subscription_group_table;
    assert_eq!(all[&group].retry_max_times, 3);
    assert!(
        admin
            .consumer_connection(&broker, &group)
            .await
            .expect("asked")
            .is_none()
    );
    admin.delete_group(&broker, &group, true).await.expect("deleted");
    let all = admin
        .group_configs(&broker)
        .await
        .expect("groups")
        .subscription_group_table;
    assert!(!all.contains_key(&group));
}

#[tokio::test]
async fn messages_are_found_by_key_by_id_and_by_place() {
    let cluster = Cluster::start().await;
    let admin = Admin::new(cluster.client());
    let topic = cluster.name("topic");
    let sent = send(&cluster, &topic, 5).await;
    let id = &sent[3].message_ids[0];
    let by_key = until("the key is indexed", async || {
        let found = admin
            .find_by_key(&topic, "key3", 10, 0, i64::MAX)
            .await
            .expect("asked");
        found.messages.into_iter().next()
    });
    let by_key = by_key.await;
    assert_eq!((&by_key.message_id, &by_key.body[..]), (id, &b"m3"[..]));
    let by_id = admin.find_by_unique_key(&topic, id).await.expect("asked");
    assert_eq!(by_id.messages.len(), 1);
    assert_eq!(by_id.messages[0].queue_offset, sent[3].queue_offset);
    let by_place = admin
        .find_by_offset_id(&sent[3].offset_message_ids[0])
        .await
        .expect("found");
    assert_eq!(
        (&by_place.message_id, by_place.queue),
        (id, by_id.messages[0].queue.clone())
    );
    let none = admin
        .find_by_key(&topic, "key99", 10, 0, i64::MAX)
        .await
        .expect("asked");
    assert!(none.messages.is_empty() && none.failures.is_empty());
}

#[tokio::test]
async fn a_running_consumer_is_seen_and_moved() {
    let cluster = Cluster::start().await;
    let admin = Admin::new(cluster.client());
    let (topic, group) = (cluster.name("topic"), cluster.name("group"));
    let sent = send(&cluster, &topic, 8).await;
    let broker = admin.masters(None).await.expect("brokers").remove(0).address;
    let (consumer, mut bodies) = consume(&cluster, &topic, &group).await;
    let first = take(&mut bodies, 8).await;
    until("nothing is left", async || {
        let stats = admin
            .consume_stats(&broker, &group, Some(&topic))
            .await
            .expect("stats");
        let lag: i64 = stats
            .offset_table
            .values()
            .map(|one| one.broker_offset - one.consumer_offset)
            .sum();
        (lag == 0 && stats.offset_table.len() == 4).then_some(())
    })
    .await;
    let members = admin
        .consumer_connection(&broker, &group)
        .await
        .expect("asked")
        .expect("online");
    assert_eq!(members.connection_set[0].client_id, consumer.client_id());
    assert!(members.subscription_table.contains_key(&topic));
    assert!(
        admin
            .groups_of_topic(&broker, &topic)
            .await
            .expect("groups")
            .contains(&group)
    );
    let info = admin
        .running_info(&broker, &group, consumer.client_id(), false)
        .await
        .expect("it answered");
    assert_eq!(
        info.mq_table.keys().filter(|queue| queue.topic == topic).count(),
        4
    );
    let offsets = admin
        .offsets_of_members(&broker, &group, &topic)
        .await
        .expect("it answered");
    assert_eq!(offsets[consumer.client_id()].values().sum::<i64>(), 8);
    let id = &sent[0].offset_message_ids[0];
    let direct = admin
        .consume_directly(&broker, &group, consumer.client_id(), id)
        .await;
    assert_eq!(
        direct.expect("it answered").consume_result,
        ConsumeResult::Success
    );
    assert_eq!(take(&mut bodies, 1).await, ["m0"]);
    let reset = admin
        .reset_offsets(&broker, &group, &topic, 0, None, None)
        .await
        .expect("reset");
    assert_eq!(reset.len(), 4);
    assert!(reset.values().all(|offset| *offset == 0));
    assert_eq!(take(&mut bodies, 8).await, first, "everything came again");
    consumer.close().await;
}

#[tokio::test]
async fn offsets_are_read_saved_and_copied() {
    let cluster = Cluster::start().await;
    let admin = Admin::new(cluster.client());
    let (topic, group, copy) = (cluster.name("topic"), cluster.name("group"), cluster.name("copy"));
    let sent = send(&cluster, &topic, 1).await.remove(0);
    let broker = admin.masters(None).await.expect("brokers").remove(0).address;
    for group in [&group, &copy] {
        admin
            .put_group(&broker, &SubscriptionGroupConfig::named(group))
            .await
            .expect("created");
    }
    let queue = sent.queue;
    assert_eq!(
        admin
            .committed_offset(&broker, &group, &queue)
            .await
            .expect("asked"),
        None
    );
    admin
        .commit_offset(&broker, &group, &queue, 1)
        .await
        .expect("saved");
    assert_eq!(
        admin
            .committed_offset(&broker, &group, &queue)
            .await
            .expect("asked"),
        Some(1)
    );
    admin
        .clone_offsets(&broker, &group, &copy, Some(&topic))
        .await
        .expect("copied");
    assert_eq!(
        admin
            .committed_offset(&broker, &copy, &queue)
            .await
            .expect("asked"),
        Some(1)
    );
    assert_eq!(admin.min_offset(&broker, &queue).await.expect("asked"), 0);
    assert_eq!(admin.max_offset(&broker, &queue).await.expect("asked"), 1);
    assert_eq!(
        admin
            .offset_at(&broker, &queue, 0, Boundary::Lower)
            .await
            .expect("asked"),
        0
    );
    let stats = admin.topic_stats(&broker, &topic).await.expect("stats");
    assert_eq!(stats.offset_table[&queue].max_offset, 1);
    let other = MessageQueue {
        queue_id: (queue.queue_id + 1) % 4,
        ..queue
    };
    assert_eq!(admin.max_offset(&broker, &other).await.expect("asked"), 0);
}

#[tokio::test]
async fn a_broker_tells_how_it_is_and_takes_settings() {
    let cluster = Cluster::start().await;
    let admin = Admin::new(cluster.client());
    let broker = admin.masters(None).await.expect("brokers").remove(0).address;
    let info = admin.runtime_info(&broker).await.expect("info");
    assert!(info.contains_key("putTps") && info.contains_key("bootTimestamp"));
    admin
        .update_broker_config(&broker, "maxMessageSize=1048576\n")
        .await
        .expect("changed");
    let config = admin.broker_config(&broker).await.expect("settings");
    assert!(
        config.lines().any(|line| line == "maxMessageSize=1048576"),
        "{config}"
    );
    let unknown = admin
        .stats(&broker, "TOPIC_PUT_NUMS", "no-such-topic")
        .await
        .expect_err("no such key");
    assert_eq!(unknown.code(), Some(response::SYSTEM_ERROR));
}
