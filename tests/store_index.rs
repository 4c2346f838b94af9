//! Finding messages by key and by time.

mod store_support;

use std::sync::Arc;

use rmq::protocol::message::{self, RecordView};
use rmq::store::{Boundary, KeyKind, RealDisk, SetClock, Store};
use store_support::{open, open_on, stepped, to};

fn keys(keys: &str) -> String {
    let mut properties = String::new();
    message::push_property(&mut properties, message::property::KEYS, keys);
    properties
}

fn found(store: &Store, topic: &str, key: &str, max: usize) -> Vec<String> {
    let found = store.query(topic, key, max, 0, i64::MAX, KeyKind::Any);
    let body =
        |bytes: &bytes::Bytes| String::from_utf8_lossy(RecordView::decode(bytes).unwrap().body).into_owned();
    found.iter().map(body).collect()
}

/// Topics and keys whose texts differ and whose hashes agree.
#[test]
fn a_key_finds_its_own_messages_only_and_collisions_do_not_use_up_the_maximum() {
    let root = tempfile::tempdir().unwrap();
    let store = open(stepped(root.path()));
    for round in 0..5 {
        store
            .append(&to(
                "AaTopic",
                0,
                format!("right {round}").as_bytes(),
                &keys("BB"),
            ))
            .unwrap();
        store.append(&to("AaTopic", 0, b"foreign", &keys("Aa"))).unwrap();
        store.append(&to("BBTopic", 0, b"foreign", &keys("Aa"))).unwrap();
        store
            .append(&to("BBTopic", 0, b"foreign", &keys("BB x y")))
            .unwrap();
    }
    assert_eq!(found(&store, "AaTopic", "BB", 2), ["right 3", "right 4"]);
    assert_eq!(found(&store, "AaTopic", "BB", 64).len(), 5);
    assert_eq!(found(&store, "BBTopic", "x", 64).len(), 5);
    assert_eq!(found(&store, "AaTopic", "x", 64).len(), 0);
    store.close().unwrap();
}

/// Many files, all reopened, after a clean stop and after a kill.
#[test]
fn keys_are_found_in_every_file_across_stops_and_kills() {
    let root = tempfile::tempdir().unwrap();
    let mut sent = 0;
    for round in 0..4 {
        let store = open(stepped(root.path()));
        for number in 0..sent {
            assert_eq!(
                found(&store, "T", &format!("k{number}"), 9),
                [format!("body {number}")],
                "round {round}"
            );
        }
        for _ in 0..150 {
            let key = format!("k{sent} all");
            store
                .append(&to("T", sent % 3, format!("body {sent}").as_bytes(), &keys(&key)))
                .unwrap();
            sent += 1;
        }
        assert_eq!(found(&store, "T", "all", 1000).len(), sent as usize);
        if round % 2 == 0 {
            store.checkpoint_step().unwrap();
            drop(store);
        } else {
            store.close().unwrap();
        }
    }
    assert!(std::fs::read_dir(root.path().join("index")).unwrap().count() > 3);
}

/// The time of a message's id can be off by the skew of two clocks; the ends of a range count to the whole second.
#[test]
fn the_ends_of_a_time_range_count_to_the_whole_second() {
    let root = tempfile::tempdir().unwrap();
    let clock = Arc::new(SetClock::at(10_700));
    let store = open_on(stepped(root.path()), Arc::new(RealDisk), clock.clone()).unwrap();
    store.append(&to("T", 0, b"a", &keys("k"))).unwrap();
    clock.set(12_300);
    store.append(&to("T", 0, b"b", &keys("k"))).unwrap();
    let count = |begin, end| store.query("T", "k", 9, begin, end, KeyKind::Any).len();
    assert_eq!(count(10_999, 10_000), 1);
    assert_eq!(count(10_999, 12_000), 2);
    assert_eq!(count(11_000, 12_000), 1);
    assert_eq!(count(13_000, i64::MAX), 0);
    assert_eq!(store.query("T", "k", 9, 0, i64::MAX, KeyKind::Unique).len(), 0);
    store.close().unwrap();
}

#[test]
fn equal_and_missing_times_have_one_answer() {
    let root = tempfile::tempdir().unwrap();
    let clock = Arc::new(SetClock::at(1000));
    let mut options = stepped(root.path());
    // Three entries a file: a run of equal times spans two of them.
    options.queue_segment_bytes = Some(60);
    let store = open_on(options, Arc::new(RealDisk), clock.clone()).unwrap();
    for time in [1000, 1000, 1000, 3000, 3000] {
        clock.set(time);
        store.append(&to("T", 0, b"x", "")).unwrap();
    }
    let at = |time, boundary| store.offset_by_time("T", 0, time, boundary);
    assert_eq!(at(1000, Boundary::Lower), 0);
    assert_eq!(at(1000, Boundary::Upper), 2);
    assert_eq!(at(2000, Boundary::Lower), 3);
    assert_eq!(at(2000, Boundary::Upper), 2);
    assert_eq!(at(3000, Boundary::Lower), 3);
    assert_eq!(at(3000, Boundary::Upper), 4);
    assert_eq!(at(500, Boundary::Lower), 0);
    assert_eq!(at(500, Boundary::Upper), 0);
    // After the last message: the end, so that nothing is read twice.
    assert_eq!(at(3001, Boundary::Lower), 5);
    assert_eq!(at(3001, Boundary::Upper), 4);
    assert_eq!(store.store_time_of("T", 0, 3), Some(3000));
    assert_eq!(store.store_time_of("T", 0, 5), None);
    store.close().unwrap();
}

/// A clock that steps back does not take the store along.
#[test]
fn store_times_never_decrease() {
    let root = tempfile::tempdir().unwrap();
    let clock = Arc::new(SetClock::at(5000));
    let store = open_on(stepped(root.path()), Arc::new(RealDisk), clock.clone()).unwrap();
    assert_eq!(store.append(&to("T", 0, b"x", "")).unwrap().store_timestamp, 5000);
    clock.set(100);
    assert_eq!(store.append(&to("T", 0, b"x", "")).unwrap().store_timestamp, 5000);
    store.close().unwrap();
    let store = open_on(stepped(root.path()), Arc::new(RealDisk), clock).unwrap();
    assert_eq!(store.append(&to("T", 0, b"x", "")).unwrap().store_timestamp, 5000);
    store.close().unwrap();
}
