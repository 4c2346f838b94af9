//! Progress of groups, and moving them.

use rmq::protocol::code::{request, response};
use rmq::protocol::fastjson;
use rmq::protocol::request::body::MessageQueue;
use rmq::protocol::request::client::{ResetClientOffsetRequest, ResetOffsetBody};
use rmq::protocol::request::group::{BrokerConsumeStats, ConsumeStats, ConsumerOffsetTable, OffsetWrapper};
use rmq::protocol::request::pull::{PullRequest, pull_flag};
use rmq::protocol::request::topic::{ConsumeTimeSpanBody, CorrectionOffsetBody};

use crate::harness::{BEGIN_MS, Client, TestBroker, number, pull};
use crate::{asked, refused, subscriber};

/// A broker whose topic `Orders` has `messages` messages in queue 0, one a second; the group `billing` exists.
async fn with_orders(messages: i64) -> (TestBroker, Client) {
    let broker = TestBroker::start().await;
    let client = broker.connect().await;
    client.create("Orders", 1).await;
    for number in 0..messages {
        broker.clock.set(BEGIN_MS + number * 1000);
        client.send("Orders", &number.to_string()).await;
    }
    client
        .change(request::GET_SUBSCRIPTIONGROUP_CONFIG, &[("group", "billing")])
        .await;
    (broker, client)
}

async fn commit(client: &Client, group: &str, topic: &str, offset: &str) {
    let fields = [
        ("consumerGroup", group),
        ("topic", topic),
        ("queueId", "0"),
        ("commitOffset", offset),
    ];
    client.change(request::UPDATE_CONSUMER_OFFSET, &fields).await;
}

async fn committed(client: &Client, group: &str) -> i64 {
    let fields = [("consumerGroup", group), ("topic", "Orders"), ("queueId", "0")];
    number(
        &client.ask(asked(request::QUERY_CONSUMER_OFFSET, &fields)).await,
        "offset",
    )
}

async fn progress(client: &Client, group: &str) -> OffsetWrapper {
    let stats: ConsumeStats = client
        .look(request::GET_CONSUME_STATS, &[("consumerGroup", group)])
        .await;
    stats
        .offset_table
        .0
        .get(&MessageQueue::new("Orders", "broker-a", 0))
        .expect("a committed queue")
        .clone()
}

/// Resets `billing` in `Orders`, and returns the offset of queue 0.
async fn reset(client: &Client, fields: &[(&str, &str)]) -> i64 {
    let mut all = vec![("topic", "Orders"), ("group", "billing"), ("isForce", "true")];
    all.extend_from_slice(fields);
    let body: ResetOffsetBody = client.look(request::INVOKE_BROKER_TO_RESET_OFFSET, &all).await;
    *body
        .offset_table
        .0
        .get(&MessageQueue::new("Orders", "broker-a", 0))
        .expect("queue 0")
}

#[tokio::test]
async fn progress_shows_the_end_the_committed_offset_and_its_time() {
    let (_broker, client) = with_orders(10).await;
    commit(&client, "billing", "Orders", "4").await;
    let expected = OffsetWrapper {
        broker_offset: 10,
        consumer_offset: 4,
        last_timestamp: BEGIN_MS + 3000,
        pull_offset: 4,
    };
    assert_eq!(progress(&client, "billing").await, expected);
    let all: BrokerConsumeStats = client
        .look(request::GET_BROKER_CONSUME_STATS, &[("isOrder", "false")])
        .await;
    assert_eq!((all.total_diff, all.total_inflight_diff), (6, 0));
    assert!(
        all.consume_stats_list
            .iter()
            .any(|group| group.contains_key("billing"))
    );
    let ordered: BrokerConsumeStats = client
        .look(request::GET_BROKER_CONSUME_STATS, &[("isOrder", "true")])
        .await;
    assert_eq!(ordered.total_diff, 0, "no ordered topic");
}

#[tokio::test]
async fn topics_that_an_online_group_left_are_not_its_progress_unless_asked_for_by_list() {
    let (_broker, client) = with_orders(3).await;
    commit(&client, "billing", "Orders", "1").await;
    client.beat(&subscriber("billing", "Other", "*")).await;
    let stats: ConsumeStats = client
        .look(request::GET_CONSUME_STATS, &[("consumerGroup", "billing")])
        .await;
    assert!(stats.offset_table.0.is_empty());
    let listed = [("consumerGroup", "billing"), ("topicList", "Orders;NoTopic")];
    let stats: ConsumeStats = client.look(request::GET_CONSUME_STATS, &listed).await;
    assert_eq!(stats.offset_table.0.len(), 1);
}

#[tokio::test]
async fn how_far_a_group_is_behind_in_time_is_shown() {
    let (broker, client) = with_orders(10).await;
    commit(&client, "billing", "Orders", "4").await;
    broker.clock.set(BEGIN_MS + 60_000);
    let fields = [("topic", "Orders"), ("group", "billing")];
    let spans: ConsumeTimeSpanBody = client.look(request::QUERY_CONSUME_TIME_SPAN, &fields).await;
    let span = &spans.consume_time_span_set[0];
    let times = (
        span.min_time_stamp,
        span.consume_time_stamp,
        span.max_time_stamp,
        span.delay_time,
    );
    assert_eq!(times, (BEGIN_MS, BEGIN_MS + 3000, BEGIN_MS + 9000, 56_000));
    commit(&client, "billing", "Orders", "10").await;
    let spans: ConsumeTimeSpanBody = client.look(request::QUERY_CONSUME_TIME_SPAN, &fields).await;
    assert_eq!(spans.consume_time_span_set[0].delay_time, 0, "caught up");
}

#[tokio::test]
async fn the_smallest_offset_of_all_groups_is_compared_with_one() {
    let (_broker, client) = with_orders(10).await;
    for (group, offset) in [("billing", "4"), ("mail", "7"), ("audit", "2")] {
        client
            .change(request::GET_SUBSCRIPTIONGROUP_CONFIG, &[("group", group)])
            .await;
        commit(&client, group, "Orders", offset).await;
    }
    let fields = |compare| {
        [
            ("filterGroups", "audit,other"),
            ("compareGroup", compare),
            ("topic", "Orders"),
        ]
    };
    let body: CorrectionOffsetBody = client
        .look(request::QUERY_CORRECTION_OFFSET, &fields("mail"))
        .await;
    assert_eq!(body.correction_offsets[&0], 4);
    let body: CorrectionOffsetBody = client
        .look(request::QUERY_CORRECTION_OFFSET, &fields("audit"))
        .await;
    assert_eq!(
        body.correction_offsets[&0],
        i64::MAX,
        "audit is behind all others"
    );
}

#[tokio::test]
async fn offsets_are_copied_to_another_group() {
    let (_broker, client) = with_orders(10).await;
    commit(&client, "billing", "Orders", "4").await;
    let fields = [
        ("srcGroup", "billing"),
        ("destGroup", "copy"),
        ("topic", "Orders"),
        ("offline", "true"),
    ];
    client.change(request::CLONE_GROUP_OFFSET, &fields).await;
    assert_eq!(committed(&client, "copy").await, 4);
    let all: ConsumerOffsetTable = client.look(request::GET_ALL_CONSUMER_OFFSET, &[]).await;
    assert_eq!(all.offset_table["Orders@copy"][&0], 4);
    assert!(all.group_topic_map.expect("by group").contains_key("copy"));
}

/// A time after the last message means the end, not the last message.
#[tokio::test]
async fn a_reset_finds_times_exactly_and_takes_a_late_one_for_the_end() {
    let (_broker, client) = with_orders(100).await;
    let at = |second: i64| (BEGIN_MS + second * 1000).to_string();
    for (timestamp, expected) in [
        ("0".to_owned(), 0),
        (at(50), 50),
        ((BEGIN_MS + 50_001).to_string(), 51),
        (at(99), 99),
        (at(100), 100),
        ("-1".to_owned(), 100),
        (i64::MAX.to_string(), 100),
    ] {
        assert_eq!(
            reset(
                &client,
                &[("timestamp", &timestamp), ("queueId", "-1"), ("offset", "-1")]
            )
            .await,
            expected,
            "{timestamp}"
        );
        let progress = progress(&client, "billing").await;
        assert_eq!(
            (progress.consumer_offset, progress.broker_offset),
            (expected, 100),
            "offline groups are moved at once"
        );
    }
}

#[tokio::test]
async fn a_reset_to_an_offset_has_to_lie_in_the_queue() {
    let (_broker, client) = with_orders(10).await;
    assert_eq!(
        reset(&client, &[("timestamp", "0"), ("queueId", "0"), ("offset", "7")]).await,
        7
    );
    for (offset, remark) in [
        ("11", "Target offset 11 not in consume queue range [0-10]"),
        ("-2", "Target offset -2 not in consume queue range [0-10]"),
    ] {
        let fields = [
            ("topic", "Orders"),
            ("group", "billing"),
            ("timestamp", "0"),
            ("isForce", "true"),
            ("queueId", "0"),
            ("offset", offset),
        ];
        let answer = client
            .ask(asked(request::INVOKE_BROKER_TO_RESET_OFFSET, &fields))
            .await;
        assert_eq!(refused(&answer), (response::SYSTEM_ERROR, remark));
    }
    assert_eq!(committed(&client, "billing").await, 7);
}

#[tokio::test]
async fn a_reset_of_unknown_topics_and_groups_is_refused() {
    let (_broker, client) = with_orders(1).await;
    for (topic, group, code, remark) in [
        (
            "NoTopic",
            "billing",
            response::TOPIC_NOT_EXIST,
            "Topic NoTopic does not exist",
        ),
        (
            "Orders",
            "nobody",
            response::SUBSCRIPTION_GROUP_NOT_EXIST,
            "Group nobody does not exist",
        ),
    ] {
        let fields = [
            ("topic", topic),
            ("group", group),
            ("timestamp", "0"),
            ("isForce", "true"),
        ];
        let answer = client
            .ask(asked(request::INVOKE_BROKER_TO_RESET_OFFSET, &fields))
            .await;
        assert_eq!(refused(&answer), (code, remark));
    }
}

fn own_pull(offset: i64) -> PullRequest {
    PullRequest {
        consumer_group: "billing".into(),
        ..pull("Orders", offset)
    }
}

#[tokio::test]
async fn a_running_consumer_hears_of_a_reset_with_its_next_pull_and_once() {
    let (_broker, client) = with_orders(100).await;
    commit(&client, "billing", "Orders", "90").await;
    reset(&client, &[("timestamp", "0")]).await;
    commit(&client, "billing", "Orders", "91").await;
    assert_eq!(
        committed(&client, "billing").await,
        0,
        "a commit made before the reset is heard of decides nothing"
    );
    let moved = client.pull_frame(&own_pull(91)).await;
    assert_eq!(
        (moved.code, moved.header.next_begin_offset),
        (response::PULL_OFFSET_MOVED, 0)
    );
    let again = client.pull_frame(&own_pull(0)).await;
    assert_eq!((again.code, again.messages.len()), (response::SUCCESS, 32));
}

#[tokio::test]
async fn a_held_pull_hears_of_a_reset_at_once() {
    let (broker, client) = with_orders(10).await;
    let waiting = PullRequest {
        sys_flag: pull_flag::SUBSCRIPTION | pull_flag::SUSPEND,
        suspend_timeout_ms: 60_000,
        ..own_pull(10)
    };
    let held = tokio::spawn(async move { client.pull_frame(&waiting).await });
    while broker.broker().held_pulls() == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(reset(&broker.connect().await, &[("timestamp", "0")]).await, 0);
    let moved = held.await.expect("an answer");
    assert_eq!(
        (moved.code, moved.header.next_begin_offset),
        (response::PULL_OFFSET_MOVED, 0)
    );
}

/// The old way: the consumers do it themselves.
#[tokio::test]
async fn without_resets_by_the_broker_its_consumers_are_told() {
    let broker = TestBroker::start_with(|setup| setup.options.admin.server_side_reset = false).await;
    let admin = broker.connect().await;
    admin.create("Orders", 1).await;
    for number in 0..10 {
        broker.clock.set(BEGIN_MS + number * 1000);
        admin.send("Orders", &number.to_string()).await;
    }
    let fields = |force| {
        [
            ("topic", "Orders"),
            ("group", "billing"),
            ("timestamp", "1700000003000"),
            ("isForce", force),
        ]
    };
    let mut consumer = broker.connect().await;
    consumer.beat(&subscriber("billing", "Orders", "*")).await;
    let unknown = admin
        .ask(asked(request::INVOKE_BROKER_TO_RESET_OFFSET, &fields("true")))
        .await;
    assert_eq!(
        refused(&unknown),
        (response::SYSTEM_ERROR, "THe consumer group <billing> not exist")
    );
    commit(&admin, "billing", "Orders", "2").await;
    for (force, expected) in [("true", 3), ("false", 2)] {
        let body: ResetOffsetBody = admin
            .look(request::INVOKE_BROKER_TO_RESET_OFFSET, &fields(force))
            .await;
        let told = loop {
            let told = consumer.notice().await;
            if told.code == request::RESET_CONSUMER_CLIENT_OFFSET {
                break told;
            }
        };
        let header: ResetClientOffsetRequest = told.header().expect("its fields");
        assert_eq!(
            (header.topic.as_str(), header.group.as_str()),
            ("Orders", "billing")
        );
        let targets: ResetOffsetBody = fastjson::read(&told.body.contiguous()).expect("its body");
        assert_eq!(targets, body);
        assert_eq!(
            body.offset_table.0[&MessageQueue::new("Orders", "broker-a", 0)],
            expected
        );
        assert_eq!(
            committed(&admin, "billing").await,
            2,
            "the consumer commits, not the broker"
        );
    }
    consumer.peer.close();
    loop {
        let answer = admin
            .ask(asked(request::INVOKE_BROKER_TO_RESET_OFFSET, &fields("true")))
            .await;
        if answer.code == response::CONSUMER_NOT_ONLINE {
            break;
        }
    }
}
