//! Topics: create, change, show, delete.

use std::collections::BTreeMap;

use rmq::protocol::code::{request, response};
use rmq::protocol::fastjson;
use rmq::protocol::frame::Frame;
use rmq::protocol::request::body::{MessageQueue, TopicList};
use rmq::protocol::request::topic::{
    CreateTopicRequest, TopicConfig, TopicConfigList, TopicStatsTable, TopicTable,
};

use crate::harness::{TestBroker, number};
use crate::{asked, new_topic, refused};

#[tokio::test]
async fn a_created_topic_is_there_at_once_and_after_a_restart() {
    let broker = TestBroker::start().await;
    broker.connect().await.create("Orders", 3).await;
    let broker = broker.restart().await;
    let client = broker.connect().await;
    let topic: TopicConfig = client
        .look(request::GET_TOPIC_CONFIG, &[("topic", "Orders")])
        .await;
    assert_eq!(topic, TopicConfig::new("Orders", 3, 3, 6));
    let missing = client
        .ask(asked(request::GET_TOPIC_CONFIG, &[("topic", "NoTopic")]))
        .await;
    assert_eq!(
        refused(&missing),
        (
            response::TOPIC_NOT_EXIST,
            "No topic in this broker. topic: NoTopic"
        )
    );
}

#[tokio::test]
async fn changing_one_thing_keeps_the_attributes() {
    let broker = TestBroker::start().await;
    let client = broker.connect().await;
    let attributes = Some("+message.type=FIFO".to_owned());
    let ordered = CreateTopicRequest {
        attributes,
        ..new_topic("Orders", 16)
    };
    assert_eq!(
        client
            .request(request::UPDATE_AND_CREATE_TOPIC, &ordered)
            .await
            .code,
        response::SUCCESS
    );
    let read_only = CreateTopicRequest {
        perm: 4,
        ..new_topic("Orders", 16)
    };
    assert_eq!(
        client
            .request(request::UPDATE_AND_CREATE_TOPIC, &read_only)
            .await
            .code,
        response::SUCCESS
    );
    let topic: TopicConfig = client
        .look(request::GET_TOPIC_CONFIG, &[("topic", "Orders")])
        .await;
    let attributes = BTreeMap::from([("message.type".to_owned(), "FIFO".to_owned())]);
    assert_eq!(
        topic,
        TopicConfig {
            attributes,
            ..TopicConfig::new("Orders", 16, 16, 4)
        }
    );
}

#[tokio::test]
async fn a_topic_that_cannot_be_is_refused_in_apaches_words() {
    let broker = TestBroker::start().await;
    let client = broker.connect().await;
    let with = |attributes: &str| CreateTopicRequest {
        attributes: Some(attributes.to_owned()),
        ..new_topic("T", 8)
    };
    for (wanted, code, remark) in [
        (
            new_topic("bad*name", 8),
            29,
            "The specified topic: bad*name, contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$",
        ),
        (
            new_topic("TBW102", 8),
            29,
            "The topic[TBW102] is conflict with system topic.",
        ),
        (with("+nosuch=1"), 1, "unsupported key: nosuch"),
        (
            with("+message.type=MIXED"),
            29,
            "MIXED message type is not supported.",
        ),
        (
            new_topic("T", -1),
            29,
            "readQueueNums is -1, expected 0 to 16384.",
        ),
        (
            new_topic("T", 1_000_000),
            29,
            "readQueueNums is 1000000, expected 0 to 16384.",
        ),
        (
            CreateTopicRequest {
                perm: 99,
                ..new_topic("T", 1)
            },
            29,
            "The permission 99 has unknown bits.",
        ),
    ] {
        let answer = client.request(request::UPDATE_AND_CREATE_TOPIC, &wanted).await;
        assert_eq!(refused(&answer), (code, remark));
    }
    let missing = client
        .ask(asked(request::GET_TOPIC_CONFIG, &[("topic", "T")]))
        .await;
    assert_eq!(missing.code, response::TOPIC_NOT_EXIST);
}

#[tokio::test]
async fn a_list_of_topics_is_taken_whole_or_not_at_all() {
    let broker = TestBroker::start().await;
    let client = broker.connect().await;
    let list = |names: &[&str]| {
        let topics = names
            .iter()
            .map(|name| TopicConfig::new(*name, 2, 2, 6))
            .collect();
        let list = TopicConfigList {
            topic_config_list: topics,
        };
        Frame::command(request::UPDATE_AND_CREATE_TOPIC_LIST).with_body(fastjson::write(&list))
    };
    assert_eq!(
        client.ask(list(&["ListA", "bad name"])).await.code,
        response::INVALID_PARAMETER
    );
    assert_eq!(
        client
            .ask(asked(request::GET_TOPIC_CONFIG, &[("topic", "ListA")]))
            .await
            .code,
        response::TOPIC_NOT_EXIST
    );
    assert_eq!(
        client.ask(list(&["ListA", "ListB"])).await.code,
        response::SUCCESS
    );
    let topic: TopicConfig = client
        .look(request::GET_TOPIC_CONFIG, &[("topic", "ListB")])
        .await;
    assert_eq!(topic.write_queue_nums, 2);
}

#[tokio::test]
async fn pages_of_topics_tile_the_table() {
    let broker = TestBroker::start().await;
    let client = broker.connect().await;
    let whole: TopicTable = client.look(request::GET_ALL_TOPIC_CONFIG, &[]).await;
    let mut names: Vec<String> = Vec::new();
    loop {
        let since = names.len().to_string();
        let page = client
            .ask(asked(
                request::GET_ALL_TOPIC_CONFIG,
                &[("topicSeq", &since), ("maxTopicNum", "5")],
            ))
            .await;
        let table: TopicTable = crate::body(&page);
        assert!(table.topic_config_table.len() <= 5);
        names.extend(table.topic_config_table.into_keys());
        if names.len() as i64 >= number(&page, "totalTopicNum") {
            break;
        }
    }
    assert_eq!(names, whole.topic_config_table.into_keys().collect::<Vec<_>>());
}

#[tokio::test]
async fn a_page_begins_anew_when_the_table_changed() {
    let broker = TestBroker::start().await;
    let client = broker.connect().await;
    let first: TopicTable = client
        .look(
            request::GET_ALL_TOPIC_CONFIG,
            &[("topicSeq", "0"), ("maxTopicNum", "2")],
        )
        .await;
    let version = String::from_utf8(fastjson::write(&first.data_version)).expect("JSON");
    let page = |version: String| {
        let fields = [
            ("topicSeq", "2"),
            ("maxTopicNum", "2"),
            ("dataVersion", version.as_str()),
        ];
        asked(request::GET_ALL_TOPIC_CONFIG, &fields)
    };
    let second: TopicTable = crate::body(&client.ask(page(version.clone())).await);
    assert_ne!(first.topic_config_table, second.topic_config_table);
    client.create("A", 1).await;
    let anew: TopicTable = crate::body(&client.ask(page(version)).await);
    assert_eq!(
        anew.topic_config_table.keys().next().map(String::as_str),
        Some("A")
    );
}

#[tokio::test]
async fn the_bounds_and_the_last_write_of_each_queue_are_shown() {
    let broker = TestBroker::start().await;
    let client = broker.connect().await;
    client.create("Orders", 2).await;
    for body in ["one", "two"] {
        client.send("Orders", body).await;
    }
    let stats: TopicStatsTable = client
        .look(request::GET_TOPIC_STATS_INFO, &[("topic", "Orders")])
        .await;
    let queue = |id| {
        stats
            .offset_table
            .0
            .get(&MessageQueue::new("Orders", "broker-a", id))
            .expect("both queues")
    };
    assert_eq!((queue(0).min_offset, queue(0).max_offset), (0, 2));
    assert_eq!(queue(0).last_update_timestamp, crate::harness::BEGIN_MS);
    assert_eq!((queue(1).max_offset, queue(1).last_update_timestamp), (0, 0));
    let missing = client
        .ask(asked(request::GET_TOPIC_STATS_INFO, &[("topic", "NoTopic")]))
        .await;
    assert_eq!(
        refused(&missing),
        (response::TOPIC_NOT_EXIST, "topic[NoTopic] not exist")
    );
}

#[tokio::test]
async fn deleting_is_refused_for_system_topics_and_done_for_unknown_ones() {
    let broker = TestBroker::start().await;
    let client = broker.connect().await;
    let system = client
        .ask(asked(request::DELETE_TOPIC_IN_BROKER, &[("topic", "TBW102")]))
        .await;
    assert_eq!(
        refused(&system),
        (29, "The topic[TBW102] is conflict with system topic.")
    );
    let blank = client
        .ask(asked(request::DELETE_TOPIC_IN_BROKER, &[("topic", " ")]))
        .await;
    assert_eq!(refused(&blank), (29, "The specified topic is blank."));
    client
        .change(request::DELETE_TOPIC_IN_BROKER, &[("topic", "NoTopic")])
        .await;
    let system: TopicList = client.look(request::GET_SYSTEM_TOPIC_LIST_FROM_BROKER, &[]).await;
    assert!(system.topic_list.iter().any(|name| name == "TBW102"));
}

/// Everything about the old topic goes, pending resets included; asking about it creates nothing.
#[tokio::test]
async fn deleting_a_topic_deletes_everything_about_it_and_reading_does_not_bring_it_back() {
    for restart in [false, true] {
        let mut broker = TestBroker::start().await;
        let mut client = broker.connect().await;
        client.create("Orders", 1).await;
        for number in 0..100 {
            client.send("Orders", &number.to_string()).await;
        }
        client
            .change(request::GET_SUBSCRIPTIONGROUP_CONFIG, &[("group", "billing")])
            .await;
        let reset = [
            ("topic", "Orders"),
            ("group", "billing"),
            ("timestamp", "0"),
            ("isForce", "true"),
            ("queueId", "0"),
            ("offset", "50"),
        ];
        client
            .change(request::INVOKE_BROKER_TO_RESET_OFFSET, &reset)
            .await;
        client
            .change(request::DELETE_TOPIC_IN_BROKER, &[("topic", "Orders")])
            .await;
        if restart {
            broker = broker.restart().await;
            client = broker.connect().await;
        }
        let queue = [("topic", "Orders"), ("queueId", "0"), ("timestamp", "5")];
        for code in [
            request::SEARCH_OFFSET_BY_TIMESTAMP,
            request::GET_MAX_OFFSET,
            request::GET_MIN_OFFSET,
            request::GET_EARLIEST_MSG_STORETIME,
            request::GET_TOPIC_STATS_INFO,
            request::QUERY_CONSUME_QUEUE,
        ] {
            client.ask(asked(code, &queue)).await;
        }
        assert!(
            !broker.folder.path().join("store/consumequeue/Orders").exists(),
            "no folder comes from reading"
        );
        let all: TopicTable = client.look(request::GET_ALL_TOPIC_CONFIG, &[]).await;
        assert!(!all.topic_config_table.contains_key("Orders"));
        let groups: rmq::protocol::request::body::GroupList = client
            .look(request::QUERY_TOPIC_CONSUME_BY_WHO, &[("topic", "Orders")])
            .await;
        assert!(groups.group_list.is_empty());
        client.create("Orders", 1).await;
        for body in ["a", "b", "c"] {
            client.send("Orders", body).await;
        }
        let mut pull = crate::harness::pull("Orders", 0);
        pull.consumer_group = "billing".to_owned();
        let pulled = client.pull_frame(&pull).await;
        assert_eq!(
            (pulled.code, pulled.bodies()),
            (response::SUCCESS, vec!["a", "b", "c"]),
            "restart: {restart}"
        );
    }
}

/// Pop retries of group `A` on topic `B` are called as the retry topic of group `A_B`.
#[tokio::test]
async fn pop_retries_go_with_their_topic_and_the_retries_of_other_groups_stay() {
    let broker = TestBroker::start().await;
    let client = broker.connect().await;
    for topic in ["B", "C", "%RETRY%A_B", "%RETRY%A_C"] {
        client.create(topic, 1).await;
    }
    for group in ["A", "A_B"] {
        client
            .change(request::GET_SUBSCRIPTIONGROUP_CONFIG, &[("group", group)])
            .await;
    }
    for topic in ["B", "C"] {
        let commit = [
            ("consumerGroup", "A"),
            ("topic", topic),
            ("queueId", "0"),
            ("commitOffset", "0"),
        ];
        client.change(request::UPDATE_CONSUMER_OFFSET, &commit).await;
        client
            .change(request::DELETE_TOPIC_IN_BROKER, &[("topic", topic)])
            .await;
    }
    let all: TopicTable = client.look(request::GET_ALL_TOPIC_CONFIG, &[]).await;
    let left: Vec<&String> = all
        .topic_config_table
        .keys()
        .filter(|name| name.starts_with("%RETRY%"))
        .collect();
    assert_eq!(left, ["%RETRY%A_B"]);
}
