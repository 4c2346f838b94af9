//! Room ahead of the head: bytes of the log and of the queues are allocated, and log pages brought into memory, before the
//! append section needs them and outside of every lock it takes. A full disk shows here, as a refusal that ends by itself,
//! never as a failed store.

use std::io;
use std::path::Path;
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
    /// One step at a time.
    stepping: Mutex<()>,
}

#[derive(Default)]
struct Wants {
    log_until: u64,
    queues: Vec<(Arc<Queue>, u64)>,
}

#[derive(Default)]
struct Rounds {
    ended: u64,
    /// What the last round lacked.
    failure: Option<NoRoom>,
}

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
        self.wants
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .queues
            .push((queue.clone(), until));
        self.bell.ring();
    }

    /// Called after an append that left `room` bytes of log allocated: asks for more in time.
    pub fn watch_log(&self, room: u64) {
        if room < self.ahead.load(Ordering::Relaxed) / 2 && !self.log_growing.swap(true, Ordering::Relaxed) {
            self.bell.ring();
        }
    }

    /// Nothing is allocated while the guard is held.
    pub fn pause(&self) -> MutexGuard<'_, ()> {
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

    fn want(&self, missing: Missing) {
        let mut wants = self.wants.lock().unwrap_or_else(PoisonError::into_inner);
        match missing {
            Missing::Log { until } => wants.log_until = wants.log_until.max(until),
            Missing::Queue { queue, until } => wants.queues.push((queue, until)),
        }
    }

    fn round(&self) -> u64 {
        self.rounds.lock().unwrap_or_else(PoisonError::into_inner).ended
    }

    /// Waits for the end of a round that began after `round` was read.
    fn round_after(&self, round: u64, patience: Duration) -> Option<NoRoom> {
        let rounds = self.rounds.lock().unwrap_or_else(PoisonError::into_inner);
        let (rounds, _) = self
            .round_ended
            .wait_timeout_while(rounds, patience, |rounds| rounds.ended <= round)
            .unwrap_or_else(PoisonError::into_inner);
        rounds.failure.clone()
    }
}

impl Store {
    /// Gets what an append was missing. Blocks the caller for the length of an allocation: rare, because room is made
    /// ahead.
    pub(super) fn obtain(&self, missing: Missing, since: Instant) -> Result<(), AppendError> {
        let round = self.allocator.round();
        self.allocator.want(missing);
        let failure = match self.options.background {
            Background::Stepped => {
                self.allocate_step();
                self.allocator.failure()
            }
            Background::Threads => {
                self.allocator.bell.ring();
                self.allocator.round_after(round, WAIT_MAX)
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
        let _one_at_a_time = self
            .allocator
            .stepping
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let wants = std::mem::take(
            &mut *self
                .allocator
                .wants
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        let mut failure = self.refused_by_ratio();
        if failure.is_none() {
            for (queue, until) in wants.queues {
                if let Err(error) = self.allocate_queue(&queue, until) {
                    failure = Some(self.lack_of_room(&queue.segments.folder, &error));
                }
                queue.growing.store(false, Ordering::Relaxed);
            }
            if let Err(error) = self.allocate_log(wants.log_until) {
                failure = Some(self.lack_of_room(&self.log.segments.folder, &error));
            }
        }
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
    fn allocate_log(&self, until: u64) -> io::Result<()> {
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
                let segment = self.create_log_segment(room)?;
                self.log.segments.push(segment.clone());
                self.log.head().add_segment(segment);
                continue;
            }
            let until = (room + POPULATE_BYTES).min(last.until());
            self.allocate_log_range(&last, room, until)?;
            self.log.head().grow(until);
        }
        if busy {
            self.allocator.ahead.store(
                (ahead * 2).min(self.options.log_ahead_bytes).max(ahead),
                Ordering::Relaxed,
            );
        }
        Ok(())
    }

    fn allocate_log_range(&self, segment: &Segment, from: u64, until: u64) -> io::Result<()> {
        let (from, until) = (segment.position(from), segment.position(until));
        if self.options.is_sync() {
            return segment.file.allocate(from, until, Allocation::Zeroed);
        }
        segment.file.allocate(from, until, Allocation::Reserved)?;
        segment.file.populate(from, until);
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
