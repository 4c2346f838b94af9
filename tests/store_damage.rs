//! Damage: what a start says about it, what is served around it, and that damage itself never is.

mod store_support;

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rmq::protocol::message::{self, property};
use rmq::store::{Appended, Everything, KeyKind, ReadError, ReadLimits, ReadStatus, Store};
use store_support::{bodies, open, stepped, sync, to};

fn segment(root: &Path, base: u64) -> PathBuf {
    root.join("commitlog").join(format!("{base:020}"))
}

fn overwrite(path: &Path, at: u64, bytes: &[u8]) {
    OpenOptions::new()
        .write(true)
        .open(path)
        .unwrap()
        .write_all_at(bytes, at)
        .unwrap();
}

fn send(store: &Store, topic: &str, number: usize) -> Appended {
    let mut properties = String::new();
    message::push_property(&mut properties, property::KEYS, &format!("k{number}"));
    store
        .append(&to(topic, 0, format!("{number}").as_bytes(), &properties))
        .unwrap()
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

/// Ten messages, a clean stop, damage from the ninth on: the queue ends with the log, also in the index.
#[tokio::test]
async fn queues_and_index_never_point_past_a_log_that_was_cut_after_a_clean_stop() {
    let root = tempfile::tempdir().unwrap();
    let store = open(stepped(root.path()));
    let sent: Vec<Appended> = (0..10).map(|number| send(&store, "T", number)).collect();
    store.close().unwrap();
    let cut = sent[8].log_offset;
    overwrite(&segment(root.path(), 0), cut, &[0xEE; 64]);
    overwrite(&segment(root.path(), 0), sent[9].log_offset, &[0xEE; 64]);

    let store = open(stepped(root.path()));
    let found = store.recovery().cut.clone().expect("the cut is reported");
    assert_eq!(
        (found.path, found.position, found.log_offset),
        (segment(root.path(), 0), cut, cut)
    );
    assert_eq!(found.flushed, Some(sent[9].end));
    assert_eq!(store.queue("T", 0).unwrap().end, 8);
    assert!(store.query("T", "k8", 9, 0, i64::MAX, KeyKind::Any).is_empty());
    assert_eq!(send(&store, "T", 100).queue_offset, 8);
    assert_eq!(send(&store, "T", 101).queue_offset, 9);
    let mut expected = numbers(0..8);
    expected.extend(numbers(100..102));
    assert_eq!(bodies(&store, "T", 0, 0).await, expected);
    for (key, count) in [("k8", 0), ("k9", 0), ("k100", 1), ("k7", 1)] {
        assert_eq!(
            store.query("T", key, 9, 0, i64::MAX, KeyKind::Any).len(),
            count,
            "{key}"
        );
    }
    store.close().unwrap();
    assert_eq!(bodies(&open(stepped(root.path())), "T", 0, 0).await, expected);
}

/// Damage inside what was flushed, with good records behind it, is stepped over and named; nothing is cut.
#[tokio::test]
async fn a_hole_is_named_and_stepped_over_and_nothing_behind_it_is_lost() {
    for kill in [false, true] {
        let root = tempfile::tempdir().unwrap();
        let store = open(stepped(root.path()));
        let sent: Vec<Appended> = (0..50).map(|number| send(&store, "T", number)).collect();
        store.flush_step();
        store.checkpoint_step().unwrap();
        if kill {
            drop(store)
        } else {
            store.close().unwrap()
        }
        overwrite(&segment(root.path(), 0), sent[20].log_offset + 4, &[1; 8]);
        overwrite(&segment(root.path(), 0), sent[21].log_offset + 90, &[1; 8]);

        for _ in 0..2 {
            let store = open(stepped(root.path()));
            let hole = sent[20].log_offset..sent[22].log_offset;
            assert_eq!(store.recovery().holes, std::slice::from_ref(&hole));
            assert_eq!(store.recovery().cut, None);
            assert_eq!(store.queue("T", 0).unwrap().end, 50);
            let mut expected = numbers(0..20);
            expected.extend(numbers(22..50));
            assert_eq!(bodies(&store, "T", 0, 0).await, expected);
            // One answer leads out of the hole.
            let read = store.read("T", 0, 20, &ReadLimits::default(), &Everything).await;
            assert_eq!(
                (read.status, read.next_offset, read.count),
                (ReadStatus::Found, 50, 28)
            );
            store.close().unwrap();
        }
    }
}

/// The middle one of three files is gone.
#[tokio::test]
async fn a_missing_file_is_named_and_stepped_over() {
    let root = tempfile::tempdir().unwrap();
    let store = open(stepped(root.path()));
    let mut sent = Vec::new();
    while store.watermarks().appended < 150 << 10 {
        sent.push(send(&store, "T", sent.len()));
    }
    store.close().unwrap();
    let (from, until) = (64 << 10, 128 << 10);
    std::fs::remove_file(segment(root.path(), from)).unwrap();
    let store = open(stepped(root.path()));
    assert_eq!(store.recovery().holes, std::slice::from_ref(&(from..until)));
    let first_lost = sent.iter().position(|sent| sent.log_offset >= from).unwrap();
    let first_kept = sent.iter().position(|sent| sent.log_offset >= until).unwrap();
    let mut expected = numbers(0..first_lost);
    expected.extend(numbers(first_kept..sent.len()));
    assert_eq!(bodies(&store, "T", 0, 0).await, expected);
    let limits = ReadLimits {
        messages_max: 1,
        ..ReadLimits::default()
    };
    let read = store
        .read("T", 0, first_lost as u64 + 5, &limits, &Everything)
        .await;
    assert_eq!(
        (read.status, read.next_offset),
        (ReadStatus::Found, first_kept as u64 + 1)
    );
    assert_eq!(send(&store, "T", 7).queue_offset, sent.len() as u64);
    store.close().unwrap();
}

/// A torn tail at every byte: the longest whole prefix remains, whatever stands behind it.
#[tokio::test]
async fn a_tail_torn_at_any_byte_leaves_the_longest_whole_prefix() {
    let root = tempfile::tempdir().unwrap();
    let store = open(stepped(root.path()));
    let sent: Vec<Appended> = (0..6).map(|number| send(&store, "T", number)).collect();
    drop(store);
    let pristine = std::fs::read(segment(root.path(), 0)).unwrap();
    let end = sent[5].end;
    for (variant, filler) in [0x00, 0xFF, 0xDA].into_iter().enumerate() {
        for torn_at in (sent[3].log_offset..end).skip(variant).step_by(5) {
            let mut torn = pristine.clone();
            torn[torn_at as usize..end as usize].fill(filler);
            if torn == pristine {
                continue;
            }
            std::fs::write(segment(root.path(), 0), &torn).unwrap();
            std::fs::write(root.path().join("abort"), "1").unwrap();
            std::fs::remove_file(root.path().join("rmq/checkpoint")).unwrap();
            std::fs::remove_file(root.path().join("checkpoint")).unwrap();
            let whole = sent.iter().filter(|sent| sent.end <= torn_at).count();
            let store = open(stepped(root.path()));
            let served = bodies(&store, "T", 0, 0).await;
            assert!(
                served.len() >= whole && served == numbers(0..served.len()),
                "torn at {torn_at}: {served:?}"
            );
            // A filler can be what stood there.
            assert!(served.len() <= whole + 1);
            assert_eq!(send(&store, "T", served.len()).queue_offset, served.len() as u64);
            store.close().unwrap();
        }
    }
}

/// Bits flip in a record that no start looks at any more: it is not served, its neighbours are.
#[tokio::test]
async fn a_damaged_record_is_never_served() {
    let root = tempfile::tempdir().unwrap();
    let mut options = stepped(root.path());
    options.recheck_bytes = 1000;
    let store = open(options.clone());
    let mut sent = Vec::new();
    while store.watermarks().appended < 100 << 10 {
        sent.push(send(&store, "T", sent.len()));
        store.flush_step();
        if sent.len() % 50 == 0 {
            store.checkpoint_step().unwrap();
        }
    }
    store.close().unwrap();
    let body_at = 88;
    overwrite(&segment(root.path(), 0), sent[10].log_offset + body_at, b"#");
    let store = open(options);
    assert_eq!(store.recovery().holes, []);
    let mut expected = numbers(0..10);
    expected.extend(numbers(11..sent.len()));
    assert_eq!(bodies(&store, "T", 0, 0).await, expected);
    assert!(
        matches!(store.message_at(sent[10].log_offset), Err(ReadError::Damaged { log_offset, .. }) if log_offset == sent[10].log_offset)
    );
    // An offset inside a record is no message either.
    assert!(store.message_at(sent[11].log_offset + 1).is_err());
    assert!(store.query("T", "k10", 9, 0, i64::MAX, KeyKind::Any).is_empty());
    assert_eq!(store.query("T", "k11", 9, 0, i64::MAX, KeyKind::Any).len(), 1);
    store.close().unwrap();
}

/// Any single bit of any file: the store opens or says which file it is, and serves nothing that was not sent.
#[tokio::test]
async fn a_flipped_bit_anywhere_serves_no_wrong_body() {
    let pristine = tempfile::tempdir().unwrap();
    let small = |root: &Path| {
        let mut options = stepped(root);
        options.segment_bytes = Some(8 << 10);
        options
    };
    let store = open(small(pristine.path()));
    for number in 0..120 {
        send(&store, "T", number);
    }
    while store.index_step() {}
    store.flush_step();
    store.checkpoint_step().unwrap();
    store.close().unwrap();
    let files: Vec<PathBuf> = files_below(pristine.path());
    let mut random = fastrand::Rng::with_seed(11);
    for _ in 0..60 {
        let root = tempfile::tempdir().unwrap();
        for file in &files {
            let copy = root.path().join(file.strip_prefix(pristine.path()).unwrap());
            std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
            std::fs::copy(file, copy).unwrap();
        }
        let victim = root.path().join(
            random
                .choice(&files)
                .unwrap()
                .strip_prefix(pristine.path())
                .unwrap(),
        );
        let mut bytes = std::fs::read(&victim).unwrap();
        let at = random.usize(0..bytes.len());
        bytes[at] ^= 1 << random.u32(0..8);
        std::fs::write(&victim, bytes).unwrap();
        let Ok(store) = store_support::try_open(small(root.path())) else {
            continue;
        };
        let served = bodies(&store, "T", 0, 0).await;
        assert!(
            served.iter().all(|body| numbers(0..120).contains(body)),
            "{}+{at}: {served:?}",
            victim.display()
        );
        assert!(
            served.len() >= 118 || victim.starts_with(root.path().join("commitlog")),
            "{}+{at}",
            victim.display()
        );
        for number in [0, 60, 119] {
            let found = store.query("T", &format!("k{number}"), 9, 0, i64::MAX, KeyKind::Any);
            assert!(found.len() <= 1);
        }
        let _ = store.close();
    }
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else if File::open(&path).unwrap().metadata().unwrap().len() > 4 {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// Records older than the memory window are read with system calls, on threads where they may wait.
#[tokio::test]
async fn a_cold_reader_gets_the_same_messages() {
    let root = tempfile::tempdir().unwrap();
    for resident_bytes in [Some(0), Some(10 << 10), None] {
        let mut options = sync(stepped(root.path()));
        options.resident_bytes = resident_bytes;
        let store: Arc<Store> = open(options);
        let before = store.queue("T", 0).map_or(0, |bounds| bounds.end as usize);
        for number in before..before + 500 {
            send(&store, "T", number);
        }
        store.flush_step();
        assert_eq!(bodies(&store, "T", 0, 0).await, numbers(0..before + 500));
        store.close().unwrap();
    }
}
