//! Heartbeats, goodbyes, who else is there, queue locks.

use rmq::protocol::code::{request, response};
use rmq::protocol::fastjson;
use rmq::protocol::frame::Frame;
use rmq::protocol::request::body::MessageQueue;
use rmq::protocol::request::client::{
    CheckClientBody, ConsumerGroupRequest, ConsumerIdList, HeartbeatData, LockReplyBody, LockRequestBody,
    MessageModel, SubscriptionData, UnregisterClientRequest,
};

use crate::harness::{Client, TestBroker, consumer, producer};

async fn members(client: &Client, group: &str) -> Vec<String> {
    let header = ConsumerGroupRequest {
        consumer_group: group.into(),
    };
    let reply = client.request(request::GET_CONSUMER_LIST_BY_GROUP, &header).await;
    if reply.code != response::SUCCESS {
        assert_eq!(reply.remark, Some(format!("no consumer for this group, {group}")));
        return Vec::new();
    }
    fastjson::read::<ConsumerIdList>(&reply.body.contiguous())
        .expect("a list")
        .consumer_id_list
}

async fn changed_group(client: &mut Client) -> String {
    let notice = client.notice().await;
    assert_eq!(notice.code, request::NOTIFY_CONSUMER_IDS_CHANGED);
    assert!(notice.is_oneway());
    notice.fields.get("consumerGroup").expect("a group").to_string()
}

async fn lock(client: &Client, client_id: &str, queues: i32) -> usize {
    let body = LockRequestBody {
        client_id: client_id.into(),
        consumer_group: "g".into(),
        mq_set: (0..queues)
            .map(|id| MessageQueue::new("orders", "broker-a", id))
            .collect(),
        only_this_broker: false,
    };
    let reply = client
        .ask(Frame::command(request::LOCK_BATCH_MQ).with_body(fastjson::write(&body)))
        .await;
    fastjson::read::<LockReplyBody>(&reply.body.contiguous())
        .expect("a list")
        .locked
        .len()
}

#[tokio::test]
async fn members_see_each_other_come_and_go() {
    let broker = TestBroker::start().await;
    let (mut one, two) = (broker.connect().await, broker.connect().await);
    assert!(members(&one, "g").await.is_empty());
    let reply = one.beat(&consumer("one", "g", &["orders"])).await;
    assert_eq!(reply.code, response::SUCCESS);
    assert_eq!(reply.fields.get("IS_SUPPORT_HEART_BEAT_V2"), Some("true"));
    assert_eq!(changed_group(&mut one).await, "g", "a new member is told too");
    two.beat(&consumer("two", "g", &["orders"])).await;
    assert_eq!(changed_group(&mut one).await, "g");
    assert_eq!(members(&one, "g").await, ["one", "two"]);
    let goodbye = UnregisterClientRequest {
        client_id: "two".into(),
        producer_group: None,
        consumer_group: Some("g".into()),
    };
    assert_eq!(
        two.request(request::UNREGISTER_CLIENT, &goodbye).await.code,
        response::SUCCESS
    );
    assert_eq!(changed_group(&mut one).await, "g");
    two.beat(&consumer("two", "g", &["orders"])).await;
    assert_eq!(changed_group(&mut one).await, "g");
    two.peer.close();
    assert_eq!(changed_group(&mut one).await, "g");
    assert_eq!(members(&one, "g").await, ["one"]);
}

#[tokio::test]
async fn an_unchanged_heartbeat_and_broadcasting_groups_wake_nobody() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    let mut broadcast = consumer("one", "everyone", &["orders"]);
    broadcast.consumer_data_set[0].message_model = MessageModel::Broadcasting;
    client.beat(&broadcast).await;
    client.beat(&consumer("one", "g", &["orders"])).await;
    client.beat(&consumer("one", "g", &["orders"])).await;
    client.beat(&consumer("one", "h", &["orders"])).await;
    assert_eq!(changed_group(&mut client).await, "g");
    assert_eq!(changed_group(&mut client).await, "h");
}

/// 64 connections send their first heartbeat at once, each for a group of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_first_registrations_all_count() {
    let broker = TestBroker::start().await;
    for round in 0..5 {
        let mut beats = tokio::task::JoinSet::new();
        for index in 0..64 {
            let client = broker.connect().await;
            beats.spawn(async move {
                client
                    .beat(&consumer("c", &format!("g{round}-{index}"), &["orders"]))
                    .await;
                client
                    .beat(&consumer("c", &format!("shared{round}"), &["orders"]))
                    .await;
                client
            });
        }
        let clients = beats.join_all().await;
        for index in 0..64 {
            assert_eq!(members(&clients[0], &format!("g{round}-{index}")).await, ["c"]);
        }
        assert_eq!(
            members(&clients[0], &format!("shared{round}")).await,
            ["c"],
            "64 connections of one client id"
        );
    }
}

#[tokio::test]
async fn each_group_of_a_connection_expires_by_itself() {
    let broker = TestBroker::start().await;
    let client = broker.connect().await;
    let mut both = consumer("c", "a", &["orders", "bills"]);
    both.consumer_data_set
        .extend(consumer("c", "b", &["orders"]).consumer_data_set);
    client.beat(&both).await;
    for _ in 0..3 {
        broker.clock.advance(60_000);
        client.beat(&consumer("c", "a", &["orders"])).await;
        broker.broker().expire(rmq::store::Clock::now_ms(&*broker.clock));
    }
    assert_eq!(members(&client, "a").await, ["c"]);
    assert!(members(&client, "b").await.is_empty());
}

#[tokio::test]
async fn a_second_version_heartbeat_is_asked_for_its_subscriptions_once() {
    let broker = TestBroker::start().await;
    let client = broker.connect().await;
    let full = HeartbeatData {
        heartbeat_fingerprint: 7,
        ..consumer("c", "g", &["orders"])
    };
    let mut bare = full.clone();
    bare.without_sub = true;
    bare.consumer_data_set[0].subscription_data_set.clear();
    let changed = |reply: Frame| {
        reply
            .fields
            .get("IS_SUB_CHANGE")
            .expect("always told")
            .to_string()
    };
    assert_eq!(changed(client.beat(&bare).await), "true");
    assert_eq!(changed(client.beat(&full).await), "true");
    assert_eq!(changed(client.beat(&bare).await), "false");
    assert_eq!(
        changed(client.beat(&consumer("c", "g", &["orders"])).await),
        "true",
        "version 1 always"
    );
}

#[tokio::test]
async fn a_goodbye_frees_the_queues_and_a_broken_connection_does_not() {
    let broker = TestBroker::start().await;
    let (one, two) = (broker.connect().await, broker.connect().await);
    one.beat(&consumer("one", "g", &["orders"])).await;
    assert_eq!(lock(&one, "one", 3).await, 3);
    assert_eq!(lock(&two, "two", 3).await, 0);
    let goodbye = UnregisterClientRequest {
        client_id: "one".into(),
        producer_group: None,
        consumer_group: Some("g".into()),
    };
    one.request(request::UNREGISTER_CLIENT, &goodbye).await;
    assert_eq!(lock(&two, "two", 3).await, 3);
    two.peer.close();
    assert_eq!(lock(&one, "one", 3).await, 0, "the holder may still be working");
    broker.clock.advance(60_001);
    assert_eq!(lock(&one, "one", 3).await, 3);
}

#[tokio::test]
async fn the_retry_topic_of_a_group_is_there_after_its_first_heartbeat() {
    let broker = TestBroker::start().await;
    let client = broker.connect().await;
    client.beat(&consumer("c", "readers", &["orders"])).await;
    assert_eq!(
        client.pull("%RETRY%readers", 0).await.code,
        response::PULL_NOT_FOUND
    );
}

#[tokio::test]
async fn a_consumer_learns_before_it_starts_what_cannot_be_filtered() {
    let broker = TestBroker::start().await;
    let client = broker.connect().await;
    for (kind, code) in [("TAG", response::SUCCESS), ("SQL92", response::SYSTEM_ERROR)] {
        let subscription_data = SubscriptionData {
            expression_type: kind.into(),
            ..SubscriptionData::default()
        };
        let body = CheckClientBody {
            subscription_data,
            ..CheckClientBody::default()
        };
        let reply = client
            .ask(Frame::command(request::CHECK_CLIENT_CONFIG).with_body(fastjson::write(&body)))
            .await;
        assert_eq!(reply.code, code, "{:?}", reply.remark);
    }
}

#[tokio::test]
async fn a_heartbeat_that_cannot_be_read_is_answered() {
    let broker = TestBroker::start().await;
    let client = broker.connect().await;
    let reply = client
        .ask(Frame::command(request::HEART_BEAT).with_body("not json".to_string()))
        .await;
    assert_eq!(reply.code, response::SYSTEM_ERROR);
    assert_eq!(client.beat(&producer("c", "p")).await.code, response::SUCCESS);
}
