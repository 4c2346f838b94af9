//! Room ahead of the head: bytes of the log and of the queues are allocated, and log pages brought into memory, before the
//! append section needs them and outside of every lock it takes. A full disk shows here, as a refusal that ends by itself,
//! never as a failed store.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Store;
use super::bell::Bell;
use super::commit_log::Missing;
use super::consume_queue::{ENTRY_BYTES, Queue};
use super::disk::{Allocation, Way};
use super::error::{AppendError, NoRoom};
use super::options::Background;
use super::segment::{self, Segment};

/// Pages are brought into memory in steps of this size, so that a sender in need waits for one step only.
const POPULATE_BYTES: u64 = 1 << 20;
/// Most bytes of log allocated in one step.
const ALLOCATE_BYTES: u64 = 8 << 20;
/// Longest wait of a sender for room that the disk has.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// What the allocator keeps between its steps.
pub(super) struct Allocator {
    pub bell: Arc<Bell>,
    /// What senders are missing. Bounded by the senders that wait and by the queues. A leaf lock.
    wants: Mutex<Wants>,
    rounds: Mutex<Rounds>,
    round_ended: Condvar,
    /// Log bytes kept allocated ahead of the head.
    ahead: AtomicU64,
    /// Whether the log's room has been asked for and not grown yet.
    log_growing: AtomicBool,
    /// One step at a time. Its value: the log offset up to which the disk has given room.
    stepping: Mutex<u64>,
}

#[derive(Default)]
struct Wants {
    log_until: u64,
    queues: Vec<(Arc<Queue>, u64)>,
}

#[derive(Default)]
struct Rounds {
    ended: u64,
    /// Times that room was made, within rounds too.
    grown: u64,
    /// What the last round lacked.
    failure: Option<NoRoom>,
}

/// Where room is lacking, and what the system says.
type Lacking = (PathBuf, io::Error);

impl Allocator {
    pub fn new(first_step_bytes: u64) -> Allocator {
        Allocator {
            bell: Arc::default(),
            wants: Mutex::default(),
            rounds: Mutex::default(),
            round_ended: Condvar::new(),
            ahead: AtomicU64::new(first_step_bytes),
            log_growing: AtomicBool::new(false),
            stepping: Mutex::default(),
        }
    }

    /// Asks for more room for a queue, without waiting.
    pub fn grow_queue(&self, queue: &Arc<Queue>, until: u64) {
        self.wants().queues.push((queue.clone(), until));
        self.bell.ring();
    }

    /// Called after an append that left `room` bytes of log allocated: asks for more in time.
    pub fn watch_log(&self, room: u64) {
        if room < self.ahead.load(Ordering::Relaxed) / 2 && !self.log_growing.swap(true, Ordering::Relaxed) {
            self.bell.ring();
        }
    }

    /// Nothing is allocated while the guard is held.
    pub fn pause(&self) -> MutexGuard<'_, u64> {
        self.stepping.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the disk lacked in the last round.
    pub fn failure(&self) -> Option<NoRoom> {
        self.rounds
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .failure
            .clone()
    }

    fn wants(&self) -> MutexGuard<'_, Wants> {
        self.wants.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody gets what was asked for.
    fn forget_wants(&self) {
        let forgotten = std::mem::take(&mut *self.wants());
        forgotten
            .queues
            .iter()
            .for_each(|(queue, _)| queue.growing.store(false, Ordering::Relaxed));
    }

    fn want(&self, missing: Missing) {
        let mut wants = self.wants();
        match missing {
            Missing::Log { until } => wants.log_until = wants.log_until.max(until),
            Missing::Queue { queue, until } => wants.queues.push((queue, until)),
        }
    }

    /// Room was made: who waits may find enough.
    fn note_growth(&self) {
        self.rounds.lock().unwrap_or_else(PoisonError::into_inner).grown += 1;
        self.round_ended.notify_all();
    }

    /// How far the allocator is.
    fn progress(&self) -> (u64, u64) {
        let rounds = self.rounds.lock().unwrap_or_else(PoisonError::into_inner);
        (rounds.ended, rounds.grown)
    }

    /// Waits for progress. A round that ended since says what it lacked.
    fn progress_since(&self, (ended, grown): (u64, u64), patience: Duration) -> Option<NoRoom> {
        let rounds = self.rounds.lock().unwrap_or_else(PoisonError::into_inner);
        let (rounds, _) = self
            .round_ended
            .wait_timeout_while(rounds, patience, |rounds| {
                rounds.ended == ended && rounds.grown == grown
            })
            .unwrap_or_else(PoisonError::into_inner);
        rounds.failure.clone().filter(|_| rounds.ended > ended)
    }
}

impl Store {
    /// Gets what an append was missing. Blocks the caller for the length of an allocation: rare, because room is made
    /// ahead.
    pub(super) fn obtain(&self, missing: Missing, since: Instant) -> Result<(), AppendError> {
        let progress = self.allocator.progress();
        self.allocator.want(missing);
        let failure = match self.options.background {
            Background::Stepped => {
                self.allocate_step();
                self.allocator.failure()
            }
            Background::Threads => {
                self.allocator.bell.ring();
                self.allocator.progress_since(progress, WAIT_MAX)
            }
        };
        match failure {
            Some(no_room) => Err(AppendError::NoRoom(no_room)),
            None if since.elapsed() > WAIT_MAX => Err(AppendError::NoRoom(self.lack_of_room(
                &self.log.segments.folder,
                &io::Error::new(io::ErrorKind::TimedOut, "allocation takes too long"),
            ))),
            None => Ok(()),
        }
    }

    /// One round of the allocator: makes the room that was asked for, and the log's room ahead. What the disk refuses is
    /// tried again in the next round.
    pub fn allocate_step(&self) {
        let mut allocated = self.allocator.pause();
        let failure = match self.refused_by_ratio() {
            Some(refused) => {
                self.allocator.forget_wants();
                Some(refused)
            }
            None => {
                let log_until = std::mem::take(&mut self.allocator.wants().log_until);
                let made = self
                    .allocate_queues()
                    .and_then(|()| self.allocate_log(log_until, &mut allocated));
                made.err().map(|(path, error)| self.lack_of_room(&path, &error))
            }
        };
        drop(allocated);
        let mut rounds = self
            .allocator
            .rounds
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match (&rounds.failure, &failure) {
            (None, Some(no_room)) => tracing::warn!(%no_room, "writes are refused until there is room"),
            (Some(_), None) => tracing::info!("there is room again"),
            _ => {}
        }
        rounds.failure = failure;
        rounds.ended += 1;
        drop(rounds);
        self.allocator.round_ended.notify_all();
    }

    fn lack_of_room(&self, path: &Path, cause: &io::Error) -> NoRoom {
        let free_bytes = self
            .disk
            .space(&self.options.root)
            .map_or(0, |space| space.free_bytes);
        NoRoom {
            path: path.to_owned(),
            free_bytes,
            cause: cause.to_string(),
        }
    }

    /// The configured share of the disk is in use.
    fn refused_by_ratio(&self) -> Option<NoRoom> {
        let refuse = self.options.disk_ratios.refuse?;
        let space = self.disk.space(&self.options.root).ok()?;
        (space.used_percent() >= refuse).then(|| NoRoom {
            path: self.options.root.clone(),
            free_bytes: space.free_bytes,
            cause: format!(
                "{} % of the disk are used, writes end at {refuse} %",
                space.used_percent()
            ),
        })
    }

    /// Keeps the log allocated ahead of its end, at least up to `until`.
    fn allocate_log(&self, until: u64, allocated: &mut u64) -> Result<(), Lacking> {
        let lacking = |error| (self.log.segments.folder.clone(), error);
        let ahead = self.allocator.ahead.load(Ordering::Relaxed);
        let busy = self.allocator.log_growing.swap(false, Ordering::Relaxed) || until > 0;
        loop {
            let (end, room, last) = {
                let head = self.log.head();
                (head.end, head.room, head.last_segment().clone())
            };
            let target = until.max(end + ahead / if busy { 1 } else { 2 });
            if room >= target {
                break;
            }
            if room == last.until() {
                let segment = self.create_log_segment(room).map_err(lacking)?;
                self.log.segments.push(segment.clone());
                self.log.head().add_segment(segment);
                continue;
            }
            let until = (room + POPULATE_BYTES).min(last.until());
            self.make_log_room(&last, room..until, allocated)
                .map_err(lacking)?;
            self.log.head().grow(until);
            self.allocator.note_growth();
            // A queue's first sender does not wait for the whole of the log's room.
            self.allocate_queues()?;
        }
        if busy {
            let more = (ahead * 2).min(self.options.log_ahead_bytes).max(ahead);
            self.allocator.ahead.store(more, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Allocates a range of the log, and as much behind it as goes in one step, and brings the range into memory.
    fn make_log_room(&self, segment: &Segment, range: Range<u64>, allocated: &mut u64) -> io::Result<()> {
        let allocation = if self.options.is_sync() {
            Allocation::Zeroed
        } else {
            Allocation::Reserved
        };
        if range.end > *allocated {
            let from = range.start.max(*allocated);
            let allocate = |until: u64| {
                let until = until.min(segment.until());
                let (from, until_position) = (segment.position(from), segment.position(until));
                segment
                    .file
                    .allocate(from, until_position, allocation)
                    .map(|()| until)
            };
            // On a disk that is nearly full a small step may still do.
            let step_bytes = self.options.log_step_bytes.clamp(POPULATE_BYTES, ALLOCATE_BYTES);
            *allocated = allocate(from + step_bytes).or_else(|_| allocate(range.end))?;
        }
        if allocation == Allocation::Reserved {
            segment
                .file
                .populate(segment.position(range.start), segment.position(range.end));
        }
        Ok(())
    }

    /// Creates an empty log segment with a durable name.
    pub(super) fn create_log_segment(&self, base: u64) -> io::Result<Arc<Segment>> {
        let segments = &self.log.segments;
        let way = if self.options.is_sync() {
            Way::Written
        } else {
            Way::Mapped
        };
        let file = self.disk.create(
            &segments.folder.join(segment::name(base)),
            segments.segment_bytes,
            way,
        )?;
        // The length first: a file that has a durable name has its length.
        file.sync()?;
        self.disk.sync_folder(&segments.folder)?;
        Ok(Arc::new(Segment::fresh(&segments.folder, base, file)))
    }

    /// Makes the room that queues lack. All are tried; the first failure is told.
    fn allocate_queues(&self) -> Result<(), Lacking> {
        let queues = std::mem::take(&mut self.allocator.wants().queues);
        if queues.is_empty() {
            return Ok(());
        }
        let mut result = Ok(());
        for (queue, until) in queues {
            if let Err(error) = self.allocate_queue(&queue, until) {
                result = result.and(Err((queue.segments.folder.clone(), error)));
            }
            queue.growing.store(false, Ordering::Relaxed);
        }
        self.allocator.note_growth();
        result
    }

    /// Makes room for a queue's entries up to byte `until`, and a step more.
    fn allocate_queue(&self, queue: &Queue, until: u64) -> io::Result<()> {
        if queue.is_deleted() {
            return Ok(());
        }
        let mut room = {
            let mut head = self.log.head();
            let tail = head.tail(queue.slot);
            tail.room = tail.room.max(queue.next() * ENTRY_BYTES);
            tail.room
        };
        while room < until {
            let segment = match queue.segments.at(room) {
                Some(segment) => segment,
                None => queue.create_segment(&*self.disk, room)?,
            };
            let step_end = (room + self.options.queue_step_bytes).min(segment.until());
            segment.file.allocate(
                segment.position(room),
                segment.position(step_end),
                Allocation::Reserved,
            )?;
            room = step_end;
            let mut head = self.log.head();
            let tail = head.tail(queue.slot);
            if tail.segments.back().is_none_or(|last| last.base != segment.base) {
                tail.segments.push_back(segment);
            }
            tail.room = room;
        }
        Ok(())
    }
}
