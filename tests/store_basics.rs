//! A store as its callers see it: what is appended is read back, across stops, starts and kills.

mod store_support;

use std::time::Duration;

use rmq::store::{AppendError, DurableError, Everything, OpenError, ReadLimits, ReadStatus};
use store_support::{bodies, open, stepped, sync, threaded, to, try_open};

#[tokio::test]
async fn messages_are_read_in_the_order_they_were_appended() {
    let root = tempfile::tempdir().unwrap();
    let store = open(threaded(root.path()));
    for number in 0..1000 {
        let appended = store
            .append(&to("T", 1, format!("body {number}").as_bytes(), ""))
            .unwrap();
        assert_eq!(appended.queue_offset, number);
    }
    let expected: Vec<String> = (0..1000).map(|number| format!("body {number}")).collect();
    assert_eq!(bodies(&store, "T", 1, 0).await, expected);
    assert_eq!(bodies(&store, "T", 1, 990).await, expected[990..]);
    store.close().unwrap();
}

#[tokio::test]
async fn a_clean_stop_keeps_everything_and_leaves_no_abort_file() {
    let root = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let store = open(threaded(root.path()));
        assert!(store.recovery().clean, "{:?}", store.recovery());
        assert_eq!(store.recovery().cut, None);
        assert!(root.path().join("abort").exists());
        for number in 0..300 {
            store
                .append(&to(
                    "T",
                    0,
                    format!("{round} {number}").as_bytes(),
                    "TAGS\u{1}a\u{2}",
                ))
                .unwrap();
        }
        assert_eq!(bodies(&store, "T", 0, 0).await.len(), (round + 1) * 300);
        store.close().unwrap();
        assert!(!root.path().join("abort").exists());
    }
}

#[tokio::test]
async fn a_kill_loses_nothing_that_was_acknowledged() {
    let root = tempfile::tempdir().unwrap();
    for round in 1..=4 {
        let store = open(threaded(root.path()));
        assert_eq!(store.recovery().clean, round == 1);
        assert_eq!(store.recovery().cut, None);
        assert_eq!(bodies(&store, "T", 0, 0).await.len(), (round - 1) * 500);
        for number in 0..500 {
            store
                .append(&to("T", 0, format!("{round} {number}").as_bytes(), ""))
                .unwrap();
        }
        // Dropped without a word: as by a kill.
        drop(store);
        while root.path().join("lock").exists() {
            match try_open(threaded(root.path())) {
                Err(OpenError::InUse { pid, .. }) => assert_eq!(pid, std::process::id()),
                Err(error) => panic!("{error}"),
                Ok(store) => {
                    assert_eq!(bodies(&store, "T", 0, 0).await.len(), round * 500);
                    break;
                }
            }
            std::thread::yield_now();
        }
    }
}

#[tokio::test]
async fn under_sync_flush_nothing_is_visible_before_it_is_on_disk() {
    let root = tempfile::tempdir().unwrap();
    let store = open(sync(stepped(root.path())));
    let mut arrivals = store.arrivals("T", 0);
    let appended = store.append(&to("T", 0, b"one", "")).unwrap();
    assert!(!store.is_durable(appended.end));
    assert_eq!(
        store.durable(appended.end, Duration::ZERO).await,
        Err(DurableError::Timeout)
    );
    assert_eq!(store.message_at(appended.log_offset).unwrap(), None);
    assert_eq!(store.queue("T", 0).unwrap().end, 0);
    assert_eq!(bodies(&store, "T", 0, 0).await, Vec::<String>::new());

    assert!(store.flush_step());
    store.durable(appended.end, Duration::ZERO).await.unwrap();
    arrivals.changed().await;
    assert_eq!(bodies(&store, "T", 0, 0).await, ["one"]);
    assert!(store.message_at(appended.log_offset).unwrap().is_some());
    store.close().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_sync_serves_all_who_wait() {
    let root = tempfile::tempdir().unwrap();
    let store = open(sync(threaded(root.path())));
    let senders: Vec<_> = (0..32)
        .map(|sender| {
            let store = store.clone();
            tokio::spawn(async move {
                for number in 0..20 {
                    let body = format!("{sender} {number}");
                    let appended = store.append(&to("T", sender, body.as_bytes(), "")).unwrap();
                    store
                        .durable(appended.end, Duration::from_secs(20))
                        .await
                        .unwrap();
                }
            })
        })
        .collect();
    for sender in senders {
        sender.await.unwrap();
    }
    for sender in 0..32 {
        assert_eq!(bodies(&store, "T", sender, 0).await.len(), 20);
    }
    store.close().unwrap();
    let store = open(sync(threaded(root.path())));
    for sender in 0..32 {
        assert_eq!(bodies(&store, "T", sender, 0).await.len(), 20);
    }
    store.close().unwrap();
}

#[tokio::test]
async fn a_waiting_reader_is_woken_by_the_message_it_waits_for() {
    let root = tempfile::tempdir().unwrap();
    let store = open(threaded(root.path()));
    for round in 0..50 {
        let mut arrivals = store.arrivals("T", 0);
        let sender = {
            let store = store.clone();
            tokio::task::spawn_blocking(move || store.append(&to("T", 0, b"x", "")).unwrap())
        };
        while bodies(&store, "T", 0, 0).await.len() < round + 1 {
            arrivals.changed().await;
            // The queue may have come into being just now.
            arrivals = store.arrivals("T", 0);
        }
        sender.await.unwrap();
    }
    store.close().unwrap();
}

#[tokio::test]
async fn reading_leaves_no_trace_and_says_where_to_go_on() {
    let root = tempfile::tempdir().unwrap();
    let store = open(stepped(root.path()));
    let limits = ReadLimits::default();
    let read = store.read("T", 0, 5, &limits, &Everything).await;
    assert_eq!((read.status, read.next_offset), (ReadStatus::NoQueue, 0));
    drop(store.arrivals("T", 0));
    assert_eq!(store.queue("T", 0), None);
    assert_eq!(store.topics(), []);
    assert!(!root.path().join("consumequeue/T").exists());

    store.append(&to("T", 0, b"x", "")).unwrap();
    let read = store.read("T", 0, 1, &limits, &Everything).await;
    assert_eq!((read.status, read.next_offset), (ReadStatus::OverflowOne, 1));
    let read = store.read("T", 0, 7, &limits, &Everything).await;
    assert_eq!((read.status, read.next_offset), (ReadStatus::OverflowBadly, 1));
    assert_eq!(store.topics(), [("T".to_owned(), vec![0])]);
    store.close().unwrap();
}

#[test]
fn a_second_store_on_the_same_folder_is_refused_with_the_holder() {
    let root = tempfile::tempdir().unwrap();
    let store = open(stepped(root.path()));
    match try_open(stepped(root.path())) {
        Err(OpenError::InUse { pid, .. }) => assert_eq!(pid, std::process::id()),
        other => panic!("{:?}", other.err()),
    }
    store.close().unwrap();
    assert_eq!(store.append(&to("T", 0, b"x", "")), Err(AppendError::Closed));
    open(stepped(root.path())).close().unwrap();
}

#[test]
fn another_file_length_than_the_stores_is_refused_naming_both() {
    let root = tempfile::tempdir().unwrap();
    open(stepped(root.path())).close().unwrap();
    let mut options = stepped(root.path());
    options.segment_bytes = Some(128 << 10);
    match try_open(options) {
        Err(OpenError::Length { bytes, expected, .. }) => {
            assert_eq!((bytes, expected), (64 << 10, 128 << 10))
        }
        other => panic!("{:?}", other.err()),
    }
    let mut options = stepped(root.path());
    options.segment_bytes = None;
    open(options).close().unwrap();
}

#[test]
fn what_cannot_be_stored_is_refused_and_leaves_nothing() {
    let root = tempfile::tempdir().unwrap();
    let store = open(stepped(root.path()));
    let long = vec![0; 70 << 10];
    assert!(matches!(
        store.append(&to("T", 0, &long, "")),
        Err(AppendError::TooLarge { .. })
    ));
    assert!(matches!(
        store.append(&to("../T", 0, b"x", "")),
        Err(AppendError::BadTopic(_))
    ));
    let properties = "p".repeat(40_000);
    assert!(matches!(
        store.append(&to("T", 0, b"x", &properties)),
        Err(AppendError::TooLarge { .. })
    ));
    assert_eq!(store.topics(), []);
    assert_eq!(store.watermarks().appended, 0);
    store.close().unwrap();
}

/// Queue offsets of concurrent batches and single messages cover the queue without gap or overlap, each batch together and
/// in its own order.
#[test]
fn offsets_tile_under_concurrent_batches() {
    let root = tempfile::tempdir().unwrap();
    let store = open(threaded(root.path()));
    let senders: Vec<_> = (0..8usize)
        .map(|sender| {
            let store = store.clone();
            std::thread::spawn(move || {
                let mut ranges = Vec::new();
                for round in 0..60 {
                    let bodies: Vec<String> =
                        (0..=(round * 7 + sender) % 32).map(|n| format!("{n}")).collect();
                    let messages: Vec<_> = bodies
                        .iter()
                        .map(|body| to("T", 0, body.as_bytes(), ""))
                        .collect();
                    let appended = store.append_all(&messages).unwrap();
                    let first = appended[0].queue_offset;
                    for (index, one) in appended.iter().enumerate() {
                        assert_eq!(one.queue_offset, first + index as u64);
                    }
                    ranges.push(first..first + appended.len() as u64);
                }
                ranges
            })
        })
        .collect();
    let mut ranges: Vec<_> = senders
        .into_iter()
        .flat_map(|sender| sender.join().unwrap())
        .collect();
    ranges.sort_by_key(|range| range.start);
    let mut next = 0;
    for range in ranges {
        assert_eq!(range.start, next);
        next = range.end;
    }
    assert_eq!(store.queue("T", 0).unwrap().end, next);
    store.close().unwrap();
}
