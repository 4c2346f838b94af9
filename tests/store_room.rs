//! A full disk, a failing disk, and what goes: expired segments and deleted topics.

mod store_support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rmq::protocol::message::{self, property};
use rmq::store::{
    AppendError, CleanReason, DiskRatios, DurableError, Everything, KeyKind, NoRoom, ReadLimits, ReadStatus,
    RealDisk, SetClock, Store,
};
use store_support::sim_disk::SimDisk;
use store_support::{bodies, open, open_on, stepped, sync, to};

fn on(disk: &SimDisk, is_sync: bool) -> Arc<Store> {
    let options = stepped(Path::new("/store"));
    let options = if is_sync { sync(options) } else { options };
    open_on(options, Arc::new(disk.clone()), Arc::new(SetClock::at(1000))).unwrap()
}

/// Sends until the disk is full. Returns what was accepted, and the refusal.
fn fill(store: &Store, from: usize) -> (usize, NoRoom) {
    for number in from.. {
        // Two queues, so that either log or queue can be the first to lack room.
        let refused = store
            .append(&to("T", (number % 2) as i32, number.to_string().as_bytes(), ""))
            .err();
        match refused {
            None => {}
            Some(AppendError::NoRoom(no_room)) => return (number, no_room),
            Some(other) => panic!("{other}"),
        }
        store.flush_step();
    }
    unreachable!("a disk fills up")
}

#[tokio::test]
async fn a_full_disk_refuses_writes_and_recovers_by_itself_when_there_is_room_again() {
    for is_sync in [false, true] {
        let disk = SimDisk::new();
        let store = on(&disk, is_sync);
        let mut sent = 0;
        for room in [10_000, 50_000, 100_000] {
            disk.set_free_bytes(room);
            let (accepted, no_room) = fill(&store, sent);
            assert!(no_room.path.starts_with("/store"), "{no_room}");
            assert!(no_room.free_bytes < 4096, "{no_room}");
            assert!(no_room.to_string().contains("bytes free"), "{no_room}");
            assert_eq!(store.no_room(), Some(no_room));
            sent = accepted;
            // Reads go on.
            for queue_id in 0..2 {
                let expected: Vec<String> = (queue_id..sent)
                    .step_by(2)
                    .map(|number| number.to_string())
                    .collect();
                assert_eq!(bodies(&store, "T", queue_id as i32, 0).await, expected);
            }
            assert_eq!(store.failure(), None);
        }
        disk.set_free_bytes(1 << 30);
        store.append(&to("T", 0, b"after", "")).unwrap();
        store.flush_step();
        assert_eq!(
            bodies(&store, "T", 0, 0).await.last().map(String::as_str),
            Some("after")
        );
        assert_eq!(store.no_room(), None);
        store.close().unwrap();
        drop(store);
        assert_eq!(
            bodies(&on(&disk, is_sync), "T", 0, 0)
                .await
                .last()
                .map(String::as_str),
            Some("after")
        );
    }
}

#[tokio::test]
async fn a_configured_share_of_the_disk_ends_writes() {
    let disk = SimDisk::new();
    let mut options = stepped(Path::new("/store"));
    options.disk_ratios = DiskRatios {
        refuse: Some(90),
        ..DiskRatios::default()
    };
    let store = open_on(options, Arc::new(disk.clone()), Arc::new(SetClock::at(1000))).unwrap();
    store.append(&to("T", 0, b"x", "")).unwrap();
    disk.set_free_bytes(1 << 30);
    let (_, no_room) = fill(&store, 0);
    assert!(no_room.cause.contains("90 %"), "{no_room}");
    store.close().unwrap();
}

/// A sync that failed once is not trusted again: no acknowledgement after it, nothing new is visible, reads go on.
#[tokio::test]
async fn a_failed_sync_stops_acknowledgements_and_not_reads() {
    for is_sync in [true, false] {
        let disk = SimDisk::new();
        let store = on(&disk, is_sync);
        store.append(&to("T", 0, b"good", "")).unwrap();
        store.flush_step();
        disk.fail_syncs();
        let lost = store.append(&to("T", 0, b"lost", "")).unwrap();
        store.flush_step();
        assert!(store.failure().expect("it says why").contains("the disk says no"));
        assert!(matches!(
            store.append(&to("T", 0, b"late", "")),
            Err(AppendError::Poisoned(_))
        ));
        if is_sync {
            let waited = store.durable(lost.end, Duration::from_secs(1)).await;
            assert!(matches!(waited, Err(DurableError::Poisoned(_))));
            assert_eq!(bodies(&store, "T", 0, 0).await, ["good"]);
        } else {
            assert_eq!(bodies(&store, "T", 0, 0).await, ["good", "lost"]);
        }
        store.close().unwrap_err();
        assert!(
            rmq::store::Disk::read(&disk, Path::new("/store/abort"))
                .unwrap()
                .is_some()
        );
    }
}

fn fill_segments(store: &Store, topic: &str, count: u64, body: &str) {
    let until = store.watermarks().appended + count * (64 << 10);
    while store.watermarks().appended < until {
        store
            .append(&to(topic, 0, body.repeat(20).as_bytes(), "KEYS\u{1}k\u{2}"))
            .unwrap();
        store.flush_step();
    }
}

/// Age is the store time of a segment's last record; the last segment and unexpired ones stay.
#[tokio::test]
async fn expired_segments_go_with_their_queue_and_index_files() {
    let root = tempfile::tempdir().unwrap();
    let clock = Arc::new(SetClock::at(1_000_000));
    let mut options = stepped(root.path());
    options.retention = Duration::from_secs(3600);
    options.delete_hours = Vec::new();
    let reopen = || open_on(options.clone(), Arc::new(RealDisk), clock.clone()).unwrap();
    let store = reopen();
    fill_segments(&store, "Old", 2, "old message");
    fill_segments(&store, "T", 3, "old message");
    clock.advance(1_800_000);
    fill_segments(&store, "T", 3, "new message");
    assert_eq!(store.clean(CleanReason::Routine).unwrap(), 0);
    clock.advance(1_900_000);
    // Half an hour more and the times must be learnt from the files.
    store.close().unwrap();
    let store = reopen();
    let end = store.queue("T", 0).unwrap().end;
    assert!(store.clean(CleanReason::Routine).unwrap() >= 3);
    let min = store.watermarks().min;
    assert!(min >= 4 * (64 << 10));
    let bounds = store.queue("T", 0).unwrap();
    assert!(bounds.min > 0 && bounds.end == end, "{bounds:?}");
    assert!(store.entry("T", 0, bounds.min).unwrap().log_offset >= min);
    let read = store.read("T", 0, 0, &ReadLimits::default(), &Everything).await;
    assert_eq!(
        (read.status, read.next_offset),
        (ReadStatus::TooSmall, bounds.min)
    );
    // A queue without messages keeps its place.
    let old = store.queue("Old", 0).unwrap();
    assert!(old.min == old.end && old.end > 0, "{old:?}");
    assert!(store.query("Old", "k", 9, 0, i64::MAX, KeyKind::Any).is_empty());
    assert_eq!(store.query("T", "k", 9, 0, i64::MAX, KeyKind::Any).len(), 9);
    assert!(!root.path().join("consumequeue/T/0/00000000000000000000").exists());
    store.close().unwrap();
    let store = reopen();
    assert_eq!(store.queue("T", 0).unwrap(), bounds);
    assert_eq!(store.queue("Old", 0).unwrap(), old);
    assert_eq!(
        store.append(&to("Old", 0, b"x", "")).unwrap().queue_offset,
        old.end
    );
    // All of it expires; the segment that is written to stays.
    clock.advance(10_000_000);
    assert!(store.clean(CleanReason::Asked).unwrap() > 0);
    assert_eq!(
        store.watermarks().appended / (64 << 10) * (64 << 10),
        store.watermarks().min
    );
    assert_eq!(store.clean(CleanReason::Asked).unwrap(), 0);
    store.close().unwrap();
}

/// Unexpired messages go only where that is configured.
#[test]
fn unexpired_segments_stay_unless_forced_deletion_is_configured() {
    let disk = SimDisk::new();
    let clock = Arc::new(SetClock::at(1_000_000));
    let mut options = stepped(Path::new("/store"));
    let store = open_on(options.clone(), Arc::new(disk.clone()), clock.clone()).unwrap();
    fill_segments(&store, "T", 3, "message");
    disk.set_free_bytes(1 << 30);
    assert_eq!(store.clean(CleanReason::Asked).unwrap(), 0);
    store.close().unwrap();
    drop(store);
    options.disk_ratios = DiskRatios {
        clean_forcibly: Some(85),
        ..DiskRatios::default()
    };
    let store = open_on(options, Arc::new(disk.clone()), clock).unwrap();
    assert!(store.clean(CleanReason::Routine).unwrap() > 0);
    store.close().unwrap();
}

/// After a deletion nothing of the topic is left or comes back, and a new topic of that name begins at 0; also after a
/// restart in between, and a kill.
#[tokio::test]
async fn a_deleted_topic_leaves_nothing_and_reading_does_not_bring_it_back() {
    for kill in [false, true] {
        let root = tempfile::tempdir().unwrap();
        let mut keys = String::new();
        message::push_property(&mut keys, property::KEYS, "key");
        let mut store = open(stepped(root.path()));
        for number in 0..100 {
            store.append(&to("Gone", number % 4, b"old", &keys)).unwrap();
            store.append(&to("Stays", 0, b"other", &keys)).unwrap();
        }
        let mut arrivals = store.arrivals("Gone", 0);
        store.delete_topic("Gone").unwrap();
        arrivals.changed().await;
        assert!(!root.path().join("consumequeue/Gone").exists());
        for _ in 0..2 {
            assert_eq!(store.queue("Gone", 0), None);
            let read = store
                .read("Gone", 0, 5, &ReadLimits::default(), &Everything)
                .await;
            assert_eq!(read.status, ReadStatus::NoQueue);
            assert!(
                store
                    .query("Gone", "key", 99, 0, i64::MAX, KeyKind::Any)
                    .is_empty()
            );
            assert_eq!(
                store.query("Stays", "key", 200, 0, i64::MAX, KeyKind::Any).len(),
                100
            );
            assert_eq!(store.topics(), [("Stays".to_owned(), vec![0])]);
            assert!(!root.path().join("consumequeue/Gone").exists());
            if kill {
                drop(store)
            } else {
                store.close().unwrap()
            }
            store = open(stepped(root.path()));
        }
        for number in 0..3u64 {
            let appended = store
                .append(&to("Gone", 0, format!("new {number}").as_bytes(), &keys))
                .unwrap();
            assert_eq!(appended.queue_offset, number);
        }
        if kill {
            drop(store)
        } else {
            store.close().unwrap()
        }
        let store = open(stepped(root.path()));
        assert_eq!(bodies(&store, "Gone", 0, 0).await, ["new 0", "new 1", "new 2"]);
        assert_eq!(store.query("Gone", "key", 99, 0, i64::MAX, KeyKind::Any).len(), 3);
        store.close().unwrap();
    }
}
