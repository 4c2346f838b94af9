//! Crashes on a simulated disk: killed processes and cut power, at every operation and in the middle of it, also while
//! recovering. After each:
//!
//! * what was acknowledged is there, in its place, whole (a power cut may take what was not flushed under ASYNC_FLUSH);
//! * no place ever holds two different messages; what was lost does not come back;
//! * nothing is there that nobody sent, and each queue keeps the order of sending;
//! * what a reader could see under SYNC_FLUSH is still there;
//! * of messages appended together a killed process leaves all or none;
//! * a deleted topic stays deleted.
//!
//! `RMQ_CRASH_SEED=n` replays one run of the random test, `RMQ_CRASH_RUNS=n` makes it longer.

mod store_support;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use rmq::protocol::message::{self, RecordView};
use rmq::store::{CleanReason, Everything, KeyKind, OpenError, ReadLimits, SetClock, Store, StoreOptions};
use store_support::sim_disk::{SimDisk, Unsynced};
use store_support::{open_on, stepped, sync, to};

const QUEUES: [(&str, i32); 4] = [("A", 0), ("A", 1), ("B", 0), ("C", 0)];

fn root() -> PathBuf {
    PathBuf::from("/store")
}

fn options(is_sync: bool) -> StoreOptions {
    let options = StoreOptions {
        segment_bytes: Some(4096),
        queue_segment_bytes: Some(200),
        index_slots: 7,
        index_entries: 40,
        log_step_bytes: 4096,
        log_ahead_bytes: 4096,
        queue_step_bytes: 100,
        index_step_bytes: 200,
        recheck_bytes: 3000,
        retention: std::time::Duration::ZERO,
        delete_hours: Vec::new(),
        ..stepped(&root())
    };
    if is_sync { sync(options) } else { options }
}

/// What we know of a message that was handed to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Handed over, no answer: may be there or not.
    Unknown,
    /// A killed process leaves it.
    Written,
    /// It is on disk, or could be read under SYNC_FLUSH.
    Durable,
    /// It was not there after a crash: it must not come back.
    Lost,
    /// Its topic was deleted.
    Deleted,
    /// Retention, or a deletion that was cut short, may have removed it.
    Removed,
}

#[derive(Debug)]
struct Sent {
    queue: (&'static str, i32),
    body: String,
    batch: Option<usize>,
    /// Once known.
    place: Option<(u64, u64)>,
    end: u64,
    fate: Fate,
}

struct World {
    disk: SimDisk,
    clock: Arc<SetClock>,
    random: fastrand::Rng,
    is_sync: bool,
    sent: Vec<Sent>,
    batches: usize,
}

impl World {
    fn new(seed: u64, is_sync: bool) -> World {
        World {
            disk: SimDisk::new(),
            clock: Arc::new(SetClock::at(1_000_000)),
            random: fastrand::Rng::with_seed(seed),
            is_sync,
            sent: Vec::new(),
            batches: 0,
        }
    }

    fn open(&self) -> Result<Arc<Store>, OpenError> {
        open_on(
            options(self.is_sync),
            Arc::new(self.disk.clone()),
            self.clock.clone(),
        )
    }

    /// One life of a store: opens it, checks it, works with it for some steps or until the disk dies. Returns whether it got
    /// as far as checking.
    async fn live(&mut self, steps: usize, power_cut: bool) -> bool {
        let Some(store) = self.open_alive() else {
            return false;
        };
        self.check(&store, power_cut).await;
        for _ in 0..steps {
            self.step(&store).await;
            self.learn(&store).await;
            if self.disk.is_dead() {
                return true;
            }
        }
        if self.random.bool() && store.close().is_ok() {
            self.learn(&store).await;
            drop(store);
            if let Some(store) = self.open_alive() {
                assert!(store.recovery().clean);
                assert_eq!(store.recovery().cut, None);
                self.check(&store, false).await;
            }
        }
        true
    }

    /// The opened store; `None` if the disk died meanwhile. Nothing else may keep it from opening.
    fn open_alive(&self) -> Option<Arc<Store>> {
        match self.open() {
            Ok(store) => Some(store).filter(|_| !self.disk.is_dead()),
            Err(error) => {
                assert!(self.disk.is_dead(), "a living disk opens: {error}");
                None
            }
        }
    }

    async fn step(&mut self, store: &Store) {
        self.clock.advance(self.random.i64(0..3));
        match self.random.u32(0..100) {
            0..50 => self.append(store, 1),
            50..62 => {
                let count = self.random.usize(2..6);
                self.append(store, count);
            }
            62..80 => drop(store.flush_step()),
            80..87 => drop(store.checkpoint_step()),
            87..92 => drop(store.index_step()),
            92..95 => store.allocate_step(),
            95..97 => self.clean(store),
            97..98 => self.delete(store),
            _ => self.read(store).await,
        }
    }

    fn append(&mut self, store: &Store, count: usize) {
        let first = self.sent.len();
        let batch = (count > 1).then(|| {
            self.batches += 1;
            self.batches
        });
        let single = self.random.bool();
        let queue = *self.random.choice(&QUEUES).unwrap();
        for index in 0..count {
            let queue = if single {
                queue
            } else {
                *self.random.choice(&QUEUES).unwrap()
            };
            let filler = "x".repeat(self.random.usize(0..200));
            let body = format!("{}-{filler}", first + index);
            self.sent.push(Sent {
                queue,
                body,
                batch,
                place: None,
                end: u64::MAX,
                fate: Fate::Unknown,
            });
        }
        let keys: Vec<String> = (first..first + count)
            .map(|number| format!("KEYS\u{1}k{number}\u{2}"))
            .collect();
        let messages: Vec<_> = self.sent[first..]
            .iter()
            .zip(&keys)
            .map(|(sent, keys)| to(sent.queue.0, sent.queue.1, sent.body.as_bytes(), keys))
            .collect();
        let Ok(appended) = store.append_all(&messages) else {
            return;
        };
        for (sent, appended) in self.sent[first..].iter_mut().zip(appended) {
            sent.place = Some((appended.queue_offset, appended.log_offset));
            sent.end = appended.end;
            sent.fate = if self.is_sync {
                Fate::Unknown
            } else {
                Fate::Written
            };
        }
    }

    fn clean(&mut self, store: &Store) {
        self.clock.advance(10);
        let _ = store.clean(CleanReason::Asked);
        let min = store.watermarks().min;
        for sent in &mut self.sent {
            if sent.place.is_some_and(|(_, log_offset)| log_offset < min) && sent.fate != Fate::Deleted {
                sent.fate = Fate::Removed;
            }
        }
    }

    fn delete(&mut self, store: &Store) {
        let topic = "C";
        let done = store.delete_topic(topic).is_ok();
        for sent in self
            .sent
            .iter_mut()
            .filter(|sent| sent.queue.0 == topic && sent.fate != Fate::Lost)
        {
            sent.fate = if done { Fate::Deleted } else { Fate::Removed };
        }
    }

    /// What a reader sees under SYNC_FLUSH was durable before.
    async fn read(&mut self, store: &Store) {
        for ((queue, _), (body, _)) in self.visible(store).await {
            let sent = self
                .sent
                .iter()
                .find(|sent| sent.body == body && sent.queue == queue)
                .expect("somebody sent it");
            let allowed = [Fate::Durable, Fate::Removed];
            assert!(
                !self.is_sync || allowed.contains(&sent.fate),
                "seen before it was on disk: {sent:?}"
            );
        }
    }

    /// Takes note of what has become durable.
    async fn learn(&mut self, store: &Store) {
        let flushed = store.watermarks().flushed;
        let written = store.watermarks().written;
        for sent in &mut self.sent {
            if matches!(sent.fate, Fate::Unknown | Fate::Written) && sent.end <= flushed {
                sent.fate = Fate::Durable;
            } else if sent.fate == Fate::Unknown && sent.end <= written {
                sent.fate = Fate::Written;
            }
        }
    }

    async fn visible(&self, store: &Store) -> BTreeMap<((&'static str, i32), u64), (String, u64)> {
        let mut visible = BTreeMap::new();
        for queue in QUEUES {
            let Some(bounds) = store.queue(queue.0, queue.1) else {
                continue;
            };
            let mut next = bounds.min;
            while next < bounds.end {
                let read = store
                    .read(queue.0, queue.1, next, &ReadLimits::default(), &Everything)
                    .await;
                assert!(read.next_offset > next);
                next = read.next_offset;
                for record in read.parts.iter().flat_map(|part| message::records(part)) {
                    let record = record.unwrap();
                    record.check_body().unwrap();
                    assert_eq!((record.topic, record.queue_id), queue);
                    let body = String::from_utf8(record.body.to_vec()).unwrap();
                    let before = visible.insert((queue, record.queue_offset), (body, record.physical_offset));
                    assert_eq!(before, None);
                }
            }
        }
        visible
    }

    /// After a crash: everything that must hold, holds.
    async fn check(&mut self, store: &Store, power_cut: bool) {
        let visible = self.visible(store).await;
        let mut found = BTreeMap::new();
        let mut last = BTreeMap::new();
        for ((queue, queue_offset), (body, log_offset)) in &visible {
            let number: usize = body.split('-').next().unwrap().parse().unwrap();
            let sent = &self.sent[number];
            assert_eq!((&sent.queue, &sent.body), (queue, body), "nobody sent this");
            assert!(
                !matches!(sent.fate, Fate::Lost | Fate::Deleted),
                "it has come back: {sent:?}"
            );
            if let Some(place) = sent.place {
                assert_eq!(place, (*queue_offset, *log_offset), "it has moved: {sent:?}");
            }
            assert_eq!(
                found.insert(number, (*queue_offset, *log_offset)),
                None,
                "it is there twice: {sent:?}"
            );
            let before = last.insert(*queue, number);
            assert!(before < Some(number), "the order of sending is kept");
        }
        let survives = |fate| fate == Fate::Durable || (fate == Fate::Written && !power_cut);
        let min = store.watermarks().min;
        for (number, sent) in self.sent.iter_mut().enumerate() {
            match found.get(&number) {
                Some(place) => {
                    sent.place = Some(*place);
                    sent.fate = Fate::Durable;
                }
                None if matches!(sent.fate, Fate::Removed | Fate::Deleted) => {}
                None => {
                    assert!(
                        !survives(sent.fate),
                        "it is gone: {number} {sent:?} {:?}",
                        store.recovery()
                    );
                    sent.fate = Fate::Lost;
                }
            }
        }
        for batch in 1..=self.batches {
            let members: Vec<&Sent> = self
                .sent
                .iter()
                .filter(|sent| sent.batch == Some(batch))
                .collect();
            let whole = members.iter().all(|sent| sent.fate == Fate::Durable);
            let none = members.iter().all(|sent| sent.fate != Fate::Durable);
            let touched = members
                .iter()
                .any(|sent| matches!(sent.fate, Fate::Removed | Fate::Deleted));
            assert!(whole || none || touched || power_cut, "one part of {members:?}");
            if !whole {
                // Judged once: a power cut may have torn it.
                self.sent
                    .iter_mut()
                    .filter(|sent| sent.batch == Some(batch))
                    .for_each(|sent| sent.batch = None);
            }
        }
        for (number, (_, log_offset)) in &found {
            let topic = self.sent[*number].queue.0;
            let keyed = store.query(topic, &format!("k{number}"), 9, 0, i64::MAX, KeyKind::Any);
            let places: Vec<u64> = keyed
                .iter()
                .map(|bytes| RecordView::decode(bytes).unwrap().physical_offset)
                .collect();
            let there = places == [*log_offset];
            // Looking for keys makes the index go on, which can be the disk's last operation.
            assert!(
                there || *log_offset < min || self.disk.is_dead(),
                "k{number}: {places:?}, not {log_offset}"
            );
        }
    }

    /// The machine comes back.
    fn restart(&mut self, power_cut: Option<Unsynced>) {
        self.disk = match power_cut {
            None => self.disk.after_kill(),
            Some(unsynced) => self.disk.after_power_cut(unsynced, &mut self.random),
        };
    }
}

/// A fixed piece of work, so that its operations can be counted and the disk made to die at each of them.
async fn fixed_work(world: &mut World) {
    let Ok(store) = world.open() else { return };
    for round in 0..14 {
        world.append(&store, 1 + round % 3);
        world.learn(&store).await;
        if round % 2 == 0 {
            store.flush_step();
            world.learn(&store).await;
        }
        if round % 4 == 3 {
            let _ = store.checkpoint_step();
            store.index_step();
        }
        if round == 9 {
            world.delete(&store);
        }
        if world.disk.is_dead() {
            return;
        }
    }
    let _ = store.close();
    world.learn(&store).await;
}

async fn every_operation(is_sync: bool) {
    let mut whole = World::new(7, is_sync);
    fixed_work(&mut whole).await;
    let operations = whole.disk.operations();
    assert!(operations > 100, "{operations}");
    let crashes = [
        None,
        Some(Unsynced::Lost),
        Some(Unsynced::Kept),
        Some(Unsynced::Torn),
        Some(Unsynced::Torn),
    ];
    for operation in 1..=operations {
        for (variant, crash) in crashes.into_iter().enumerate() {
            let mut world = World::new(7, is_sync);
            world.disk.die_at(operation);
            fixed_work(&mut world).await;
            world.random.seed(operation * 10 + variant as u64);
            eprintln!("operation {operation} of {operations}, {crash:?}, sync {is_sync}");
            world.restart(crash);
            world.live(6, crash.is_some()).await;
            world.restart(None);
            world.live(0, false).await;
        }
    }
}

#[tokio::test]
async fn a_crash_at_every_operation_keeps_what_was_acknowledged() {
    every_operation(false).await;
}

#[tokio::test]
async fn a_crash_at_every_operation_under_sync_flush_keeps_what_was_acknowledged() {
    every_operation(true).await;
}

/// Lives of random work, each ended by a crash at a random moment, often one that hits the recovery from the last.
#[tokio::test]
async fn crash_after_crash_keeps_what_was_acknowledged() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("RMQ_CRASH_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("RMQ_CRASH_RUNS").unwrap_or(60),
    };
    for seed in seeds {
        eprintln!("RMQ_CRASH_SEED={seed}");
        let mut world = World::new(seed, seed % 2 == 0);
        let mut power_cut = false;
        for _ in 0..8 {
            let lifetime = if world.random.bool() { 0..40 } else { 40..600 };
            world.disk.die_at(world.random.u64(lifetime));
            let steps = world.random.usize(0..120);
            let checked = world.live(steps, power_cut).await;
            let crash = match world.random.u32(0..4) {
                0 => None,
                1 => Some(Unsynced::Lost),
                2 => Some(Unsynced::Kept),
                _ => Some(Unsynced::Torn),
            };
            // Until somebody has looked, the next one finds what several crashes have left.
            power_cut = crash.is_some() || (power_cut && !checked);
            world.restart(crash);
        }
        world.live(0, power_cut).await;
    }
}
