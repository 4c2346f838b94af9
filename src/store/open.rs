//! A store's life: opening and recovering it, the threads behind it, the checkpoint, the clean stop.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::Notify;

use super::allocator::Allocator;
use super::bell::Bell;
use super::checkpoint::{ApacheTimes, Checkpoint, Marks};
use super::commit_log::{CommitLog, Staging};
use super::consume_queue::Queues;
use super::disk::{Disk, LockError, Way};
use super::error::{OpenError, StoreError};
use super::flusher::Flusher;
use super::holes;
use super::index::KeyIndex;
use super::options::{Background, FlushMode, SEGMENT_BYTES, StoreOptions};
use super::recovery::{self, Cut, Deleted, Flushed, RecoveryReport};
use super::retention::{self, CleanReason};
use super::segment::{self, Segment};
use super::segments::{Family, Segments};
use super::{Clock, EntryOf, Store};

/// How often the disk is looked at, and the checkpoint written while there is something new.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often new records are given to the key index; a query does not wait for it.
const INDEX_EVERY: Duration = Duration::from_millis(200);
/// Rounds of the checkpoint's loop between two rounds of retention.
const CLEAN_ROUNDS: u32 = 10;
/// Log bytes after which the queues are synced whatever the time: bounds what a start has to walk.
const DISPATCH_BYTES_MAX: u64 = 64 << 20;
/// Checkpoints between two syncs of the queues.
const QUEUE_SYNC_ROUNDS: u32 = 5;

/// The store's loops, and what they share.
pub(super) struct Threads {
    /// The loops end.
    stopping: AtomicBool,
    /// Wakes the loop that keeps the checkpoint.
    pub keep_bell: Arc<Bell>,
    index_bell: Arc<Bell>,
    handles: Mutex<Vec<JoinHandle<()>>>,
    keep_rounds: AtomicU32,
    keeping: Mutex<Keeping>,
}

/// What the checkpoint's owner keeps between its steps.
struct Keeping {
    checkpoint: Checkpoint,
    marks: Marks,
    times: ApacheTimes,
    rounds: u32,
    /// Held until the store is dropped.
    lock: Option<Box<dyn Send + Sync>>,
}

/// What opening the files came to.
struct Recovered {
    log: Segments,
    queues: Queues,
    index: KeyIndex,
    deleted: Deleted,
    report: RecoveryReport,
    last_store_time: i64,
    times: ApacheTimes,
    marks: Marks,
}

impl Store {
    /// Opens a store, creating what is missing and recovering what a crash left, and starts its threads.
    ///
    /// # Errors
    /// [`OpenError`]: another process has the store open, a file contradicts the configuration, or the disk refuses.
    pub fn open(
        options: StoreOptions,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        entry_of: EntryOf,
    ) -> Result<Arc<Store>, OpenError> {
        options.check()?;
        let root = &options.root;
        for folder in [
            root.clone(),
            root.join("rmq"),
            root.join("consumequeue"),
            options.commit_log_folder(),
        ] {
            disk.create_folder(&folder).map_err(OpenError::io(&folder))?;
        }
        let lock = disk.lock(&root.join("lock")).map_err(|error| match error {
            LockError::Held(pid) => OpenError::InUse {
                root: root.clone(),
                pid: holder(&*disk, root, pid),
            },
            LockError::Io(source) => OpenError::Io {
                path: root.join("lock"),
                source,
            },
        })?;
        let (checkpoint, times, marks) = Checkpoint::open(&*disk, root)?;
        let recovered = recover(&*disk, &options, &entry_of, times, marks)?;
        let keeping = Keeping {
            checkpoint,
            marks: recovered.marks,
            times: recovered.times,
            rounds: 0,
            lock: Some(lock),
        };
        let store = Store {
            resident_bytes: options.resident_bytes.unwrap_or_else(default_resident_bytes),
            log: CommitLog::new(
                recovered.log,
                recovered.report.end,
                recovered.last_store_time,
                &options,
                entry_of.clone(),
            ),
            queues: recovered.queues,
            index: recovered.index,
            deleted: RwLock::new(recovered.deleted),
            allocator: Allocator::new(options.log_step_bytes),
            flusher: Flusher::default(),
            flushing: Mutex::new(Staging::default()),
            staging_room: Notify::new(),
            background: Threads {
                stopping: AtomicBool::new(false),
                keep_bell: Arc::default(),
                index_bell: Arc::default(),
                handles: Mutex::default(),
                keep_rounds: AtomicU32::new(0),
                keeping: Mutex::new(keeping),
            },
            holes: recovered.report.holes.clone(),
            report: recovered.report,
            options,
            disk,
            clock,
            entry_of,
        };
        store
            .flusher
            .flushed_time
            .store(recovered.last_store_time, Ordering::Release);
        store.begin()?;
        let store = Arc::new(store);
        if store.options.background == Background::Threads {
            store.start_threads();
        }
        Ok(store)
    }

    /// Marks the store as in use, makes the first room, and writes the first checkpoint.
    fn begin(&self) -> Result<(), OpenError> {
        let abort = self.options.root.join("abort");
        self.disk
            .replace(&abort, std::process::id().to_string().as_bytes())
            .map_err(OpenError::io(&abort))?;
        self.allocate_step();
        self.write_checkpoint(false)
            .map(drop)
            .map_err(OpenError::io(&self.options.root.join("rmq/checkpoint")))
    }

    fn start_threads(self: &Arc<Store>) {
        let interval = match self.options.flush {
            FlushMode::Async { interval } => interval,
            FlushMode::Sync => Duration::from_secs(1),
        };
        let loops: [(&str, &Arc<Bell>, Duration, Step); 4] = [
            ("rmq-flush", &self.flusher.bell, interval, |store| {
                store.flush_step();
            }),
            (
                "rmq-allocate",
                &self.allocator.bell,
                LOOK_EVERY,
                Store::allocate_step,
            ),
            ("rmq-index", &self.background.index_bell, INDEX_EVERY, |store| {
                while store.index_step() {}
            }),
            (
                "rmq-keep",
                &self.background.keep_bell,
                LOOK_EVERY,
                Store::keep_step,
            ),
        ];
        let mut handles = self
            .background
            .handles
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for (name, bell, interval, step) in loops {
            // Between its steps a loop holds no store, so that a store can be dropped.
            let (store, bell) = (Arc::downgrade(self), bell.clone());
            let body = move || {
                loop {
                    bell.wait(interval);
                    match store.upgrade() {
                        Some(store) if !store.background.stopping.load(Ordering::Acquire) => step(&store),
                        _ => return,
                    }
                }
            };
            let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(body);
            handles.push(spawned.expect("the system can start a thread"));
        }
    }

    /// One round of the checkpoint's loop.
    fn keep_step(&self) {
        if let Err(error) = self.checkpoint_step() {
            tracing::error!(%error, "the checkpoint was not written; the next start has more to check");
        }
        if self.background.keep_rounds.fetch_add(1, Ordering::Relaxed) % CLEAN_ROUNDS == CLEAN_ROUNDS - 1
            && let Err(error) = self.clean(CleanReason::Routine)
        {
            tracing::error!(%error, "expired segments were not removed");
        }
    }

    /// Writes down what has reached the disk since the last time; now and then syncs the queues first.
    ///
    /// # Errors
    /// What the disk said. Nothing is lost by it but time at the next start.
    pub fn checkpoint_step(&self) -> io::Result<()> {
        if self.log.failure().is_some() {
            return Ok(());
        }
        let due = {
            let mut keeping = self.keeping();
            keeping.rounds += 1;
            keeping.rounds >= QUEUE_SYNC_ROUNDS
                || self.log.flushed.get() - keeping.marks.dispatched >= DISPATCH_BYTES_MAX
        };
        self.write_checkpoint(due).map(drop)
    }

    /// Returns the log offset below which all queue entries are on disk.
    pub(super) fn write_checkpoint(&self, sync_queues: bool) -> io::Result<u64> {
        let mut keeping = self.keeping();
        // The time first: it may be older than the offset, never younger.
        let flushed_time = self.flusher.flushed_time.load(Ordering::Acquire);
        let flushed = self.log.flushed.get();
        if sync_queues {
            // Whatever has a place below `flushed` is published once the section has been left.
            drop(self.log.head());
            for queue in self.queues.all() {
                queue.sync(&*self.disk)?;
            }
            let index = self.index.unsynced();
            index.sync(&*self.disk, &self.options.root.join("index"))?;
            keeping.marks.index = index.mark;
            keeping.times.index = index.end_time;
            keeping.marks.dispatched = flushed;
            keeping.times.queues = flushed_time;
            keeping.rounds = 0;
        }
        keeping.marks.flushed = flushed;
        keeping.times.log = flushed_time;
        let recheck_below = flushed.saturating_sub(self.options.recheck_bytes);
        if let Some(begin) = self.log.head().begin_before(recheck_below) {
            keeping.marks.recheck_from = begin;
        }
        keeping.marks.recheck_from = keeping.marks.recheck_from.max(self.log.min());
        let (times, marks) = (keeping.times, keeping.marks);
        keeping.checkpoint.write(times, marks)?;
        Ok(marks.dispatched)
    }

    fn keeping(&self) -> std::sync::MutexGuard<'_, Keeping> {
        self.background
            .keeping
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops in order: all that was appended is on disk, and the next start has nothing to repair. Blocks until then.
    ///
    /// # Errors
    /// If the store has failed, or the disk refuses: then the next start recovers as after a crash.
    pub fn close(&self) -> Result<(), StoreError> {
        self.log.close();
        self.stop_threads();
        while self.flush_step() {}
        while self.index_step() {}
        if let Some(reason) = self.failure() {
            self.keeping().lock = None;
            return Err(StoreError::Poisoned(reason));
        }
        let root = self.options.root.clone();
        let closed = self
            .write_checkpoint(true)
            .and_then(|_| self.remove_unused_files());
        closed.map_err(StoreError::io(&root))?;
        let mut keeping = self.keeping();
        keeping.marks.clean = true;
        let (times, marks) = (keeping.times, keeping.marks);
        keeping
            .checkpoint
            .write(times, marks)
            .map_err(StoreError::io(&root))?;
        let abort = root.join("abort");
        self.disk
            .remove(&abort)
            .and_then(|()| self.disk.sync_folder(&root))
            .map_err(StoreError::io(&abort))?;
        keeping.lock = None;
        Ok(())
    }

    fn bells(&self) -> [&Bell; 4] {
        [
            &self.flusher.bell,
            &self.allocator.bell,
            &self.background.keep_bell,
            &self.background.index_bell,
        ]
    }

    /// Ends the threads and waits for them.
    fn stop_threads(&self) {
        self.background.stopping.store(true, Ordering::Release);
        self.bells().iter().for_each(|bell| bell.ring());
        let handles = std::mem::take(
            &mut *self
                .background
                .handles
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        for handle in handles {
            // A loop that panicked has said so; there is nothing left to stop.
            let _ = handle.join();
        }
    }

    /// Removes files that were created ahead and hold nothing.
    fn remove_unused_files(&self) -> io::Result<()> {
        let upcoming = self.log.head().take_upcoming();
        if let Some(first) = upcoming.first() {
            for unused in self.log.segments.take_from(first.base) {
                self.disk.remove(&unused.path)?;
            }
        }
        self.queues
            .all()
            .iter()
            .try_for_each(|queue| queue.remove_unused(&*self.disk))
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // The loops end at their next look; this may be one of their threads.
        self.bells().iter().for_each(|bell| bell.ring());
    }
}

type Step = fn(&Store);

/// The process that holds the lock: as the system says, else as the `abort` file says.
fn holder(disk: &dyn Disk, root: &Path, pid: u32) -> u32 {
    if pid != 0 {
        return pid;
    }
    let abort = disk.read(&root.join("abort")).ok().flatten().unwrap_or_default();
    String::from_utf8_lossy(&abort).trim().parse().unwrap_or(0)
}

/// Finds the log's end, makes the queues agree, and reports.
fn recover(
    disk: &dyn Disk,
    options: &StoreOptions,
    entry_of: &EntryOf,
    times: ApacheTimes,
    own: Option<Marks>,
) -> Result<Recovered, OpenError> {
    let abort = options.root.join("abort");
    let aborted = disk.read(&abort).map_err(OpenError::io(&abort))?.is_some();
    let clean = !aborted && own.is_none_or(|marks| marks.clean);
    let log = load_log(disk, options)?;
    let queues = Queues::load(
        disk,
        options.root.join("consumequeue"),
        options.queue_segment_bytes,
    )?;

    let first = log.first().map_or(0, |segment| segment.base);
    let (start, flushed) = match own {
        Some(marks) => (marks.walk_from().max(first), Flushed::Below(marks.flushed)),
        None => (
            recovery::apache_start(&log, &times),
            Flushed::Until {
                store_time: times.log,
            },
        ),
    };
    let mut holes = recovery::missing_files(&log, start);
    let mut walk = recovery::walk(&log, start, flushed);
    holes.append(&mut walk.holes);
    let cut = describe_cut(&log, &walk, own, &options.commit_log_folder());
    recovery::cut_log(disk, &log, walk.end)?;
    let end = ensure_end(disk, options, &log, walk.end)?;

    // What our checkpoint does not vouch for is made again from the log.
    let trusted_below = own
        .filter(|_| !clean)
        .map_or(walk.end, |marks| marks.dispatched.min(walk.end));
    recovery::recover_queues(&queues, &log, &holes, trusted_below, clean && own.is_some());
    for queue in queues.all() {
        let erased = if clean && cut.is_none() {
            Ok(())
        } else {
            queue.erase_end()
        };
        erased
            .and_then(|()| queue.remove_unused(disk))
            .map_err(OpenError::io(&queue.segments.folder))?;
    }
    let dispatch_from = own.map_or(start, |marks| marks.dispatched.max(first));
    let deleted = retention::load_deleted(disk, &options.root, end)?;
    retention::finish_deletions(disk, &queues, &deleted)?;
    recovery::dispatch(disk, &log, &queues, dispatch_from..walk.end, &deleted, entry_of)?;
    for queue in queues.all() {
        let folder = queue.segments.folder.clone();
        queue
            .retain(disk, first)
            .and_then(|()| queue.sync(disk))
            .map_err(OpenError::io(&folder))?;
    }
    // Also one that was created and never written to: its length must be durable before a file follows it.
    for segment in log.between(start, end + 1) {
        segment.file.sync().map_err(OpenError::io(&segment.path))?;
    }

    let index = KeyIndex::open(disk, options)?;
    let recovered = match own {
        Some(marks) => index.recover(disk, marks.index, clean),
        None => index.adopt(disk, times.index, clean),
    };
    recovered
        .and_then(|()| index.fit(disk, first, walk.end))
        .map_err(OpenError::io(&options.root.join("index")))?;
    let indexed = index.unsynced();
    let index_folder = options.root.join("index");
    indexed
        .sync(disk, &index_folder)
        .map_err(OpenError::io(&index_folder))?;
    let holes = holes::remember(disk, &options.root, holes, first..end)?;

    let last_store_time = walk.last_store_time.unwrap_or(0).max(times.log);
    let marks = Marks {
        flushed: end,
        dispatched: end,
        recheck_from: start.min(end),
        index: indexed.mark,
        clean: false,
    };
    let times = ApacheTimes {
        log: last_store_time,
        queues: last_store_time,
        confirmed: 0,
        ..times
    };
    let report = RecoveryReport {
        clean,
        end,
        records: walk.records,
        cut,
        holes,
    };
    Ok(Recovered {
        log,
        queues,
        index,
        deleted,
        report,
        last_store_time,
        times,
        marks,
    })
}

fn load_log(disk: &dyn Disk, options: &StoreOptions) -> Result<Segments, OpenError> {
    let folder = options.commit_log_folder();
    let segment_bytes = match (Segments::length_in(disk, &folder)?, options.segment_bytes) {
        (Some((path, bytes)), Some(expected)) if bytes != expected => {
            return Err(OpenError::Length {
                path,
                bytes,
                expected,
            });
        }
        (Some((_, bytes)), _) => bytes,
        (None, asked) => asked.unwrap_or(SEGMENT_BYTES),
    };
    let way = if options.is_sync() {
        Way::Written
    } else {
        Way::Mapped
    };
    Segments::load(disk, folder, segment_bytes, way, Family::Log)
}

/// Makes sure that the log's end lies in a segment: a new store has none, and the last one can be full.
fn ensure_end(disk: &dyn Disk, options: &StoreOptions, log: &Segments, end: u64) -> Result<u64, OpenError> {
    if log.at(end).is_some() {
        return Ok(end);
    }
    let base = end.next_multiple_of(log.segment_bytes);
    let path = log.folder.join(segment::name(base));
    let way = if options.is_sync() {
        Way::Written
    } else {
        Way::Mapped
    };
    let file = disk
        .create(&path, log.segment_bytes, way)
        .map_err(OpenError::io(&path))?;
    disk.sync_folder(&log.folder)
        .map_err(OpenError::io(&log.folder))?;
    log.push(Arc::new(Segment::fresh(&log.folder, base, file)));
    Ok(base)
}

/// What is lost at the log's end, if anything: told to the log of the program as well.
fn describe_cut(log: &Segments, walk: &recovery::Walk, own: Option<Marks>, folder: &Path) -> Option<Cut> {
    let flushed = own
        .map(|marks| marks.flushed)
        .filter(|flushed| *flushed > walk.end);
    let reason = match (&walk.reason, flushed) {
        (Some(reason), _) => reason.clone(),
        (None, Some(_)) => "nothing is there".to_owned(),
        (None, None) => return None,
    };
    let segment = log.at(walk.end);
    let position = segment.as_ref().map_or(0, |segment| segment.position(walk.end));
    let path = segment.map_or_else(|| folder.to_owned(), |segment| segment.path.clone());
    tracing::warn!(path = %path.display(), position, log_offset = walk.end, flushed, reason, "the log ends here now");
    Some(Cut {
        path,
        log_offset: walk.end,
        position,
        flushed,
        reason,
    })
}

/// 40 % of the machine's memory, as Apache reckons (`accessMessageInMemoryMaxRatio`).
fn default_resident_bytes() -> u64 {
    const ASSUMED_BYTES: u64 = 4 << 30;
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total_kib = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    total_kib.map_or(ASSUMED_BYTES, |kib| kib * 1024) / 100 * 40
}
