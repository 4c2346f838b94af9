//! Consumer groups: create, change, forbid, show, delete.

use std::collections::BTreeSet;

use rmq::protocol::code::{request, response};
use rmq::protocol::fastjson;
use rmq::protocol::frame::Frame;
use rmq::protocol::request::body::{GroupList, TopicList};
use rmq::protocol::request::group::{
    GroupConfigList, GroupForbidden, GroupSubscription, GroupTable, SubscriptionGroupConfig,
};
use rmq::protocol::request::topic::TopicConfig;

use crate::harness::{Client, TestBroker, pull};
use crate::{asked, refused, subscriber};

async fn update(client: &Client, group: &SubscriptionGroupConfig) -> Frame {
    client
        .ask(Frame::command(request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP).with_body(fastjson::write(group)))
        .await
}

#[tokio::test]
async fn a_group_is_created_shown_and_there_after_a_restart() {
    let broker = TestBroker::start().await;
    let wanted = SubscriptionGroupConfig {
        retry_max_times: 3,
        consume_broadcast_enable: false,
        ..SubscriptionGroupConfig::named("billing")
    };
    assert_eq!(
        update(&broker.connect().await, &wanted).await.code,
        response::SUCCESS
    );
    let broker = broker.restart().await;
    let client = broker.connect().await;
    let group: SubscriptionGroupConfig = client
        .look(request::GET_SUBSCRIPTIONGROUP_CONFIG, &[("group", "billing")])
        .await;
    assert_eq!(group, wanted);
    let all: GroupTable = client.look(request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG, &[]).await;
    assert_eq!(all.subscription_group_table.get("billing"), Some(&wanted));
}

#[tokio::test]
async fn a_bad_group_name_is_refused_alone_and_in_a_list() {
    let broker = TestBroker::start().await;
    let client = broker.connect().await;
    let answer = update(&client, &SubscriptionGroupConfig::named("bad/name")).await;
    let remark =
        "The specified group: bad/name, contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$";
    assert_eq!(refused(&answer), (response::INVALID_PARAMETER, remark));
    let list = GroupConfigList {
        group_config_list: vec![
            SubscriptionGroupConfig::named("list-a"),
            SubscriptionGroupConfig::named("bad/name"),
        ],
    };
    let frame =
        Frame::command(request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST).with_body(fastjson::write(&list));
    assert_eq!(client.ask(frame).await.code, response::INVALID_PARAMETER);
    let all: GroupTable = client.look(request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG, &[]).await;
    assert!(
        !all.subscription_group_table.contains_key("list-a"),
        "all of a list or none"
    );
}

#[tokio::test]
async fn a_forbidden_topic_cannot_be_read_by_the_group_until_it_is_allowed_again() {
    let broker = TestBroker::start().await;
    let client = broker.connect().await;
    client.send("Orders", "one").await;
    client.beat(&subscriber("readers", "Orders", "*")).await;
    let mut own = pull("Orders", 0);
    own.sys_flag = 0;
    let forbid = |readable| [("group", "readers"), ("topic", "Orders"), ("readable", readable)];
    let forbidden: GroupForbidden = client
        .look(request::UPDATE_AND_GET_GROUP_FORBIDDEN, &forbid("false"))
        .await;
    assert_eq!(
        forbidden,
        GroupForbidden {
            group: "readers".into(),
            readable: false,
            topic: "Orders".into()
        }
    );
    assert_eq!(
        client.request(request::PULL_MESSAGE, &own).await.code,
        response::NO_PERMISSION
    );
    let all: GroupTable = client.look(request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG, &[]).await;
    assert_eq!(all.forbidden_table["readers"]["Orders"], 4);
    client
        .change(request::UPDATE_AND_GET_GROUP_FORBIDDEN, &forbid("true"))
        .await;
    assert_eq!(
        client.request(request::PULL_MESSAGE, &own).await.code,
        response::SUCCESS
    );
}

#[tokio::test]
async fn the_retry_topic_follows_the_groups_number_of_retry_queues() {
    let broker = TestBroker::start().await;
    let client = broker.connect().await;
    client.beat(&subscriber("billing", "Orders", "*")).await;
    let more = SubscriptionGroupConfig {
        retry_queue_nums: 2,
        ..SubscriptionGroupConfig::named("billing")
    };
    assert_eq!(update(&client, &more).await.code, response::SUCCESS);
    let retry: TopicConfig = client
        .look(request::GET_TOPIC_CONFIG, &[("topic", "%RETRY%billing")])
        .await;
    assert_eq!((retry.read_queue_nums, retry.write_queue_nums), (2, 2));
    assert_eq!(
        update(&client, &SubscriptionGroupConfig::named("billing"))
            .await
            .code,
        response::SUCCESS
    );
    let retry: TopicConfig = client
        .look(request::GET_TOPIC_CONFIG, &[("topic", "%RETRY%billing")])
        .await;
    assert_eq!(
        retry.read_queue_nums, 2,
        "what is in the second queue stays readable"
    );
}

#[tokio::test]
async fn a_deleted_group_keeps_its_offsets_unless_they_go_too() {
    let broker = TestBroker::start().await;
    let client = broker.connect().await;
    client.send("Orders", "one").await;
    for (removal, left) in [
        ("cleanOffset", true),
        ("cleanOffset", false),
        ("removeOffset", false),
    ] {
        client
            .change(request::GET_SUBSCRIPTIONGROUP_CONFIG, &[("group", "billing")])
            .await;
        let commit = [
            ("consumerGroup", "billing"),
            ("topic", "Orders"),
            ("queueId", "0"),
            ("commitOffset", "1"),
        ];
        client.change(request::UPDATE_CONSUMER_OFFSET, &commit).await;
        let clean = if left { "false" } else { "true" };
        client
            .change(
                request::DELETE_SUBSCRIPTIONGROUP,
                &[("groupName", "billing"), (removal, clean)],
            )
            .await;
        let topics: TopicList = client
            .look(request::QUERY_TOPICS_BY_CONSUMER, &[("group", "billing")])
            .await;
        assert_eq!(topics.topic_list.len(), usize::from(left), "{removal}");
        assert_eq!(topics.broker_addr, Some(broker.running.address.to_string()));
    }
    client
        .change(request::DELETE_SUBSCRIPTIONGROUP, &[("groupName", "nobody")])
        .await;
}

#[tokio::test]
async fn what_a_group_wants_of_a_topic_is_shown() {
    let broker = TestBroker::start().await;
    let client = broker.connect().await;
    client.beat(&subscriber("billing", "Orders", "a || b")).await;
    let wanted = [("group", "billing"), ("topic", "Orders")];
    let shown: GroupSubscription = client
        .look(request::QUERY_SUBSCRIPTION_BY_CONSUMER, &wanted)
        .await;
    assert_eq!(shown.subscription_data.expect("online").sub_string, "a || b");
    let other = [("group", "billing"), ("topic", "Other")];
    let shown: GroupSubscription = client.look(request::QUERY_SUBSCRIPTION_BY_CONSUMER, &other).await;
    assert_eq!(shown.subscription_data, None);
}

/// First heartbeats that come at the same moment all count.
#[tokio::test]
async fn concurrent_first_registrations_are_all_listed() {
    const GROUPS: usize = 64;
    let broker = TestBroker::start().await;
    let mut clients = Vec::new();
    for _ in 0..GROUPS {
        clients.push(broker.connect().await);
    }
    for round in 0..10 {
        let topic = format!("Topic{round}");
        let names: Vec<String> = (0..GROUPS)
            .map(|number| format!("group-{round}-{number}"))
            .collect();
        let mut beats = tokio::task::JoinSet::new();
        for (client, name) in clients.iter().zip(&names) {
            let (peer, data) = (client.peer.clone(), subscriber(name, &topic, "*"));
            beats.spawn(async move {
                let frame = Frame::command(request::HEART_BEAT).with_body(fastjson::write(&data));
                peer.request(frame, crate::harness::PATIENCE)
                    .await
                    .expect("an answer")
                    .code
            });
        }
        assert!(
            beats
                .join_all()
                .await
                .iter()
                .all(|code| *code == response::SUCCESS)
        );
        let listed: GroupList = clients[0]
            .look(request::QUERY_TOPIC_CONSUME_BY_WHO, &[("topic", &topic)])
            .await;
        let listed: BTreeSet<String> = listed.group_list.into_iter().collect();
        assert_eq!(listed, names.into_iter().collect());
    }
    let unknown = clients[0]
        .ask(asked(
            request::GET_SUBSCRIPTIONGROUP_CONFIG,
            &[("group", "bad/name")],
        ))
        .await;
    assert_eq!(
        refused(&unknown),
        (response::SUBSCRIPTION_GROUP_NOT_EXIST, "No group in this broker")
    );
}
