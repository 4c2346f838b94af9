//! PULL, long polling, and the positions of groups and queues.

use std::time::{Duration, Instant};

use rmq::protocol::code::{request, response};
use rmq::protocol::frame::Frame;
use rmq::protocol::request::client::SubscriptionData;
use rmq::protocol::request::pull::{
    Boundary, PullRequest, QueryOffsetRequest, QueueRequest, SearchOffsetRequest, UpdateOffsetRequest,
    pull_flag,
};

use crate::harness::{BEGIN_MS, Client, PATIENCE, TestBroker, consumer, number, pull};

const SUSPEND: i32 = pull_flag::SUBSCRIPTION | pull_flag::SUSPEND;

fn held(topic: &str, offset: i64) -> PullRequest {
    PullRequest {
        sys_flag: SUSPEND,
        suspend_timeout_ms: 20_000,
        ..pull(topic, offset)
    }
}

fn update(topic: &str, offset: i64) -> UpdateOffsetRequest {
    UpdateOffsetRequest {
        consumer_group: "readers".into(),
        topic: topic.into(),
        queue_id: Some(0),
        commit_offset: Some(offset),
        broker_name: None,
    }
}

fn query(topic: &str, set_zero_if_not_found: Option<bool>) -> QueryOffsetRequest {
    QueryOffsetRequest {
        consumer_group: "readers".into(),
        topic: topic.into(),
        queue_id: 0,
        set_zero_if_not_found,
        broker_name: None,
    }
}

async fn committed(client: &Client, topic: &str) -> i64 {
    number(
        &client
            .request(request::QUERY_CONSUMER_OFFSET, &query(topic, None))
            .await,
        "offset",
    )
}

fn queue(topic: &str) -> QueueRequest {
    QueueRequest {
        topic: topic.into(),
        queue_id: 0,
        broker_name: None,
    }
}

#[tokio::test]
async fn every_place_in_a_queue_has_its_answer() {
    let broker = TestBroker::start().await;
    let client = broker.connect().await;
    for body in ["a", "b", "c"] {
        client.send("orders", body).await;
    }
    let first = client.pull("orders", 0).await;
    assert_eq!(
        (first.code, first.header.next_begin_offset),
        (response::SUCCESS, 3)
    );
    assert_eq!((first.header.min_offset, first.header.max_offset), (0, 3));
    assert_eq!(first.header.suggest_which_broker_id, 0);
    let end = client.pull("orders", 3).await;
    assert_eq!(
        (end.code, end.header.next_begin_offset),
        (response::PULL_NOT_FOUND, 3)
    );
    assert_eq!(client.pull("orders", 4).await.code, response::PULL_OFFSET_MOVED);
    let negative = client.pull("orders", -1).await;
    assert_eq!(
        (negative.code, negative.header.next_begin_offset),
        (response::PULL_OFFSET_MOVED, 0)
    );
    let empty = client
        .pull_frame(&PullRequest {
            queue_id: 1,
            ..pull("orders", 0)
        })
        .await;
    assert_eq!(
        (empty.code, empty.header.next_begin_offset),
        (response::PULL_NOT_FOUND, 0)
    );
    let nowhere = client
        .pull_frame(&PullRequest {
            queue_id: 1,
            ..pull("orders", 9)
        })
        .await;
    assert_eq!(
        (nowhere.code, nowhere.header.next_begin_offset),
        (response::PULL_OFFSET_MOVED, 0)
    );
}

#[tokio::test]
async fn one_answer_holds_at_most_32_messages_and_256_kib_and_always_one() {
    let broker = TestBroker::start().await;
    let client = broker.connect().await;
    for index in 0..40 {
        client.send("orders", &index.to_string()).await;
    }
    let request = PullRequest {
        max_msg_nums: 1000,
        ..pull("orders", 0)
    };
    assert_eq!(client.pull_frame(&request).await.messages.len(), 32);
    assert_eq!(
        client
            .pull_frame(&PullRequest {
                max_msg_nums: 3,
                ..pull("orders", 0)
            })
            .await
            .messages
            .len(),
        3
    );
    for _ in 0..3 {
        client.send("large", &"x".repeat(100 * 1024)).await;
    }
    assert_eq!(client.pull("large", 0).await.messages.len(), 2);
    let small = PullRequest {
        max_msg_bytes: Some(100),
        ..pull("large", 0)
    };
    assert_eq!(client.pull_frame(&small).await.messages.len(), 1);
}

#[tokio::test]
async fn a_pull_is_refused_with_what_forbids_it() {
    let broker = TestBroker::start_with(|setup| setup.options.auto_create_groups = false).await;
    let client = broker.connect().await;
    client.send("orders", "x").await;
    let known = PullRequest {
        consumer_group: "TOOLS_CONSUMER".into(),
        ..pull("orders", 0)
    };
    let refused = [
        (pull("orders", 0), response::SUBSCRIPTION_GROUP_NOT_EXIST),
        (
            PullRequest {
                topic: "unknown".into(),
                ..known.clone()
            },
            response::TOPIC_NOT_EXIST,
        ),
        (
            PullRequest {
                queue_id: 77,
                ..known.clone()
            },
            response::INVALID_PARAMETER,
        ),
        (
            PullRequest {
                queue_id: -1,
                ..known.clone()
            },
            response::INVALID_PARAMETER,
        ),
        (
            PullRequest {
                sys_flag: 0,
                subscription: None,
                ..known.clone()
            },
            response::SUBSCRIPTION_NOT_EXIST,
        ),
        (
            PullRequest {
                subscription: Some("||".into()),
                ..known.clone()
            },
            response::SUBSCRIPTION_PARSE_FAILED,
        ),
        (
            PullRequest {
                expression_type: Some("XPATH".into()),
                ..known.clone()
            },
            response::SUBSCRIPTION_PARSE_FAILED,
        ),
        (
            PullRequest {
                expression_type: Some("SQL92".into()),
                ..known.clone()
            },
            response::SYSTEM_ERROR,
        ),
    ];
    for (pull, code) in refused {
        let reply = client.request(request::PULL_MESSAGE, &pull).await;
        assert_eq!(reply.code, code, "{pull:?}");
        assert!(reply.remark.is_some());
    }
    assert_eq!(client.pull_frame(&known).await.code, response::SUCCESS);
    let lite = client.request(request::LITE_PULL_MESSAGE, &known).await;
    assert_eq!(lite.code, response::SUCCESS);
}

#[tokio::test]
async fn tags_are_filtered_and_the_next_offset_passes_what_does_not_match() {
    let broker = TestBroker::start().await;
    let client = broker.connect().await;
    for (body, tag) in [("1", "A"), ("2", "B"), ("3", "C"), ("4", "A")] {
        client
            .send_tagged("orders", body, &format!("TAGS\u{1}{tag}\u{2}"))
            .await;
    }
    let tagged = |expression: &str| PullRequest {
        subscription: Some(expression.into()),
        ..pull("orders", 0)
    };
    assert_eq!(
        client.pull_frame(&tagged("A || C")).await.bodies(),
        ["1", "3", "4"]
    );
    let none = client.pull_frame(&tagged("D")).await;
    assert_eq!(
        (none.code, none.header.next_begin_offset),
        (response::PULL_RETRY_IMMEDIATELY, 4)
    );
}

/// Tags of equal hash are told apart by the client; to the broker they match, so its answer carries them and the next
/// offset behind them.
#[tokio::test]
async fn a_consumer_whose_tag_only_has_an_equal_hash_makes_progress() {
    let broker = TestBroker::start().await;
    let client = broker.connect().await;
    for _ in 0..3 {
        client.send_tagged("orders", "x", "TAGS\u{1}Aa\u{2}").await;
    }
    let pulled = client
        .pull_frame(&PullRequest {
            subscription: Some("BB".into()),
            ..pull("orders", 0)
        })
        .await;
    assert_eq!(
        (pulled.code, pulled.header.next_begin_offset),
        (response::SUCCESS, 3)
    );
}

#[tokio::test]
async fn a_held_pull_passes_what_does_not_match_and_tells_so_within_the_hold() {
    let broker = TestBroker::start().await;
    let client = broker.connect().await;
    client.send_tagged("orders", "first", "TAGS\u{1}B\u{2}").await;
    let waiting = broker.connect().await;
    let request = PullRequest {
        subscription: Some("A".into()),
        ..held("orders", 1)
    };
    let pulled = tokio::spawn(async move { waiting.pull_frame(&request).await });
    while broker.broker().held_pulls() == 0 {
        tokio::task::yield_now().await;
    }
    client.send_tagged("orders", "second", "TAGS\u{1}B\u{2}").await;
    let pulled = pulled.await.expect("an answer");
    assert_ne!(pulled.code, response::SUCCESS);
    assert_eq!(pulled.header.next_begin_offset, 2);
}

#[tokio::test]
async fn a_held_pull_is_answered_by_the_next_message_also_of_a_queue_that_did_not_exist() {
    let broker = TestBroker::start().await;
    let client = broker.connect().await;
    client.send("orders", "first").await;
    for queue_id in [0, 3] {
        let waiting = broker.connect().await;
        let request = PullRequest {
            queue_id,
            ..held("orders", if queue_id == 0 { 1 } else { 0 })
        };
        let pulled = tokio::spawn(async move { waiting.pull_frame(&request).await });
        while broker.broker().held_pulls() == 0 {
            tokio::task::yield_now().await;
        }
        let sent = rmq::protocol::request::send::SendRequest {
            queue_id,
            ..crate::harness::message("orders")
        };
        client.send_frame(&sent, "awaited").await;
        assert_eq!(pulled.await.expect("an answer").bodies(), ["awaited"]);
        assert_eq!(broker.broker().held_pulls(), 0);
    }
}

/// A message that lands between a pull's look at the queue and its wait must wake it. Each message is sent around the moment
/// at which the pull for it arrives; an overslept one would wait for the end of the hold.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_message_between_look_and_wait_is_not_overslept() {
    const ROUNDS: i64 = 2000;
    let broker = TestBroker::start().await;
    let (sender, reader) = (broker.connect().await, broker.connect().await);
    sender.send("orders", "0").await;
    let (pulling, mut pulls) = tokio::sync::mpsc::unbounded_channel();
    let sends = tokio::spawn(async move {
        while let Some(spins) = pulls.recv().await {
            (0..spins).for_each(|_| std::hint::spin_loop());
            sender.send("orders", "x").await;
        }
    });
    let begin = Instant::now();
    for offset in 1..ROUNDS {
        pulling.send(offset * 37 % 5000).expect("the sender lives");
        let pulled = reader.pull_frame(&held("orders", offset)).await;
        assert_eq!((pulled.code, pulled.messages.len()), (response::SUCCESS, 1));
    }
    drop(pulling);
    sends.await.expect("all sent");
    assert!(
        begin.elapsed() < Duration::from_secs(20),
        "a single overslept message waits out its hold of 20 s"
    );
}

#[tokio::test]
async fn pulls_of_closed_connections_are_held_no_longer() {
    let broker = TestBroker::start().await;
    broker.connect().await.send("orders", "x").await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        let client = broker.connect().await;
        for _ in 0..50 {
            client
                .peer
                .oneway(Frame::request(request::PULL_MESSAGE, &held("orders", 1)))
                .expect("sent");
        }
        clients.push(client);
    }
    while broker.broker().held_pulls() < 1000 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let begin = Instant::now();
    clients.iter().for_each(|client| client.peer.close());
    while broker.broker().held_pulls() > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(
        begin.elapsed() < Duration::from_secs(10),
        "they went with their connections, not at the end of their hold"
    );
}

#[tokio::test]
async fn the_heartbeats_subscription_filters_and_a_newer_pull_is_not_refused() {
    let broker = TestBroker::start().await;
    let client = broker.connect().await;
    client.send_tagged("orders", "1", "TAGS\u{1}A\u{2}").await;
    client.send_tagged("orders", "2", "TAGS\u{1}B\u{2}").await;
    let mut beat = consumer("c1", "readers", &["orders"]);
    beat.consumer_data_set[0].subscription_data_set[0] = SubscriptionData {
        topic: "orders".into(),
        sub_string: "A".into(),
        sub_version: 10,
        ..SubscriptionData::default()
    };
    client.beat(&beat).await;
    let bare = PullRequest {
        sys_flag: 0,
        subscription: None,
        sub_version: 10,
        ..pull("orders", 0)
    };
    assert_eq!(client.pull_frame(&bare).await.bodies(), ["1"]);
    let newer = PullRequest {
        sub_version: 11,
        subscription: Some("B".into()),
        ..bare.clone()
    };
    assert_eq!(
        client.pull_frame(&newer).await.bodies(),
        ["2"],
        "what the newer pull carries counts"
    );
    let newer = PullRequest {
        sub_version: 11,
        ..bare.clone()
    };
    assert_eq!(
        client.pull_frame(&newer).await.bodies(),
        ["1", "2"],
        "nothing may be filtered away"
    );
    // The member's latest heartbeat decides, whatever its number.
    beat.consumer_data_set[0].subscription_data_set[0].sub_string = "B".into();
    beat.consumer_data_set[0].subscription_data_set[0].sub_version = 5;
    client.beat(&beat).await;
    assert_eq!(
        client
            .pull_frame(&PullRequest {
                sub_version: 5,
                ..bare
            })
            .await
            .bodies(),
        ["2"]
    );
}

#[tokio::test]
async fn offsets_are_committed_queried_and_kept_over_a_restart() {
    let broker = TestBroker::start().await;
    let client = broker.connect().await;
    for body in ["a", "b", "c"] {
        client.send("orders", body).await;
    }
    assert_eq!(
        committed(&client, "orders").await,
        0,
        "a queue that still has its first message begins there"
    );
    let strict = client
        .request(request::QUERY_CONSUMER_OFFSET, &query("orders", Some(false)))
        .await;
    assert_eq!(strict.code, response::QUERY_NOT_FOUND);
    let unknown = client
        .request(request::UPDATE_CONSUMER_OFFSET, &update("orders", 2))
        .await;
    assert_eq!(unknown.code, response::SUBSCRIPTION_GROUP_NOT_EXIST);
    let commit = PullRequest {
        sys_flag: pull_flag::SUBSCRIPTION | pull_flag::COMMIT_OFFSET,
        commit_offset: 2,
        ..pull("orders", 2)
    };
    assert_eq!(client.pull_frame(&commit).await.bodies(), ["c"]);
    assert_eq!(committed(&client, "orders").await, 2);
    assert_eq!(
        client
            .request(request::UPDATE_CONSUMER_OFFSET, &update("orders", 3))
            .await
            .code,
        response::SUCCESS
    );
    let beyond = client
        .request(request::UPDATE_CONSUMER_OFFSET, &update("orders", 4))
        .await;
    assert_eq!(beyond.code, response::INVALID_PARAMETER);
    assert_eq!(
        client
            .request(request::UPDATE_CONSUMER_OFFSET, &update("orders", -1))
            .await
            .code,
        response::SUCCESS
    );
    let nowhere = client
        .request(request::UPDATE_CONSUMER_OFFSET, &update("unknown", 0))
        .await;
    assert_eq!(nowhere.code, response::TOPIC_NOT_EXIST);
    let broker = broker.restart().await;
    let client = broker.connect().await;
    assert_eq!(committed(&client, "orders").await, 3);
    let behind = client.pull("orders", 99).await;
    assert_eq!(
        (behind.code, behind.header.next_begin_offset),
        (response::PULL_OFFSET_MOVED, 3)
    );
}

/// A crash before the first saving would take the group back to where it began: the first is saved without the interval.
#[tokio::test]
async fn a_groups_first_commit_in_a_queue_is_saved_at_once() {
    let interval = Duration::from_secs(3600);
    let broker = TestBroker::start_with(move |setup| setup.options.offsets_interval = interval).await;
    let client = broker.connect().await;
    client.send("orders", "a").await;
    client.beat(&consumer("one", "readers", &["orders"])).await;
    let commit = client
        .request(request::UPDATE_CONSUMER_OFFSET, &update("orders", 1))
        .await;
    assert_eq!(commit.code, response::SUCCESS, "{:?}", commit.remark);
    let file = broker.folder.path().join("store/config/consumerOffset.json");
    let saved = async {
        while !std::fs::read_to_string(&file).is_ok_and(|text| text.contains("orders@readers")) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, saved)
        .await
        .expect("the commit is saved long before the interval ends");
}

#[tokio::test]
async fn a_pull_behind_the_end_goes_to_where_its_group_was_not_past_what_came_since() {
    let broker = TestBroker::start().await;
    let client = broker.connect().await;
    client.send("young", "first").await;
    let behind = client.pull("young", 50).await;
    assert_eq!(
        (behind.code, behind.header.next_begin_offset),
        (response::PULL_OFFSET_MOVED, 0)
    );
    let broker = broker.restart().await;
    let client = broker.connect().await;
    client.send("young", "second").await;
    assert_eq!(
        client.pull("young", 50).await.header.next_begin_offset,
        1,
        "the end at the start"
    );
}

#[tokio::test]
async fn a_time_after_the_last_message_means_the_end() {
    let broker = TestBroker::start().await;
    let client = broker.connect().await;
    for index in 0..5 {
        broker.clock.set(BEGIN_MS + index * 1000);
        client.send("orders", "x").await;
    }
    let search = |timestamp| SearchOffsetRequest {
        topic: "orders".into(),
        queue_id: 0,
        timestamp,
        boundary: Boundary::Lower,
        broker_name: None,
    };
    for (timestamp, offset) in [
        (BEGIN_MS - 1, 0),
        (BEGIN_MS, 0),
        (BEGIN_MS + 1, 1),
        (BEGIN_MS + 4000, 4),
        (BEGIN_MS + 4001, 5),
        (i64::MAX, 5),
    ] {
        let reply = client
            .request(request::SEARCH_OFFSET_BY_TIMESTAMP, &search(timestamp))
            .await;
        assert_eq!(number(&reply, "offset"), offset, "{timestamp}");
    }
    assert_eq!(
        number(
            &client.request(request::GET_MAX_OFFSET, &queue("orders")).await,
            "offset"
        ),
        5
    );
    assert_eq!(
        number(
            &client.request(request::GET_MIN_OFFSET, &queue("orders")).await,
            "offset"
        ),
        0
    );
    assert_eq!(
        number(
            &client
                .request(request::GET_EARLIEST_MSG_STORETIME, &queue("orders"))
                .await,
            "timestamp"
        ),
        BEGIN_MS
    );
    assert_eq!(
        number(
            &client
                .request(request::GET_EARLIEST_MSG_STORETIME, &queue("none"))
                .await,
            "timestamp"
        ),
        -1
    );
    assert_eq!(
        number(
            &client.request(request::GET_MAX_OFFSET, &queue("none")).await,
            "offset"
        ),
        0
    );
}

/// Retention took what the group had not read: its next pull says where the queue begins now.
#[tokio::test]
async fn a_group_on_an_expired_queue_is_carried_to_what_is_left() {
    let broker = TestBroker::start_with(|setup| setup.store.segment_bytes = Some(64 << 10)).await;
    let client = broker.connect().await;
    for _ in 0..10 {
        client.send("orders", &"x".repeat(20 << 10)).await;
    }
    broker.clock.advance(100 * 3_600_000);
    // Only what is flushed and indexed expires.
    let min = loop {
        let cleaned = client
            .ask(Frame::command(request::DELETE_EXPIRED_COMMITLOG))
            .await;
        assert_eq!(cleaned.code, response::SUCCESS);
        let bounds = client.request(request::GET_MIN_OFFSET, &queue("orders")).await;
        match number(&bounds, "offset") {
            0 => tokio::task::yield_now().await,
            min => break min,
        }
    };
    let pulled = client.pull("orders", 0).await;
    assert_eq!(
        (pulled.code, pulled.header.next_begin_offset),
        (response::PULL_OFFSET_MOVED, min)
    );
    assert_eq!(client.pull("orders", min).await.messages.len() as i64, 10 - min);
    let new_group = client
        .request(request::QUERY_CONSUMER_OFFSET, &query("orders", None))
        .await;
    assert_eq!(
        new_group.code,
        response::QUERY_NOT_FOUND,
        "where to begin is the client's choice now"
    );
}
