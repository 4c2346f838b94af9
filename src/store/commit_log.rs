//! The commit log and the one place where records get into it: the append section.
//!
//! Inside the section, under one small lock: position, queue offset and store time are taken, patched into the encoded
//! record, and the record is copied to its place; under ASYNC_FLUSH it is published there too. Nothing in the section
//! reads a file, allocates room, or waits. What it finds missing it names ([`Refused::Missing`]), and the caller comes
//! back when that is there.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::consume_queue::{ENTRY_BYTES, Entry, Queue, Tail};
use super::error::AppendError;
use super::options::StoreOptions;
use super::segment::Segment;
use super::segments::Segments;
use super::watermarks::Watermark;
use super::{Appended, EntryOf, QueueEntry};
use crate::protocol::message::{self, RecordView};

/// The filler at a segment's end: its size, and a magic. Every segment ends with at least these.
pub(super) const BLANK_BYTES: u64 = 8;
/// Most bytes that wait for the flusher under SYNC_FLUSH.
pub(super) const STAGED_BYTES_MAX: usize = 32 << 20;

/// Begins of records remembered: eight times what a start checks.
const BEGINS_MAX: usize = 64;

/// The log's files and its head.
pub(super) struct CommitLog {
    // Constant after open.
    /// Whether records are staged for the flusher instead of stored into the mapping.
    staged: bool,
    /// Room left in a queue at which more is asked for.
    grow_at_bytes: u64,
    /// Least distance of the begins remembered.
    begins_apart_bytes: u64,
    entry_of: EntryOf,

    // Own synchronization.
    pub segments: Segments,
    /// Behind the last record that got a place. Moved in the section.
    pub appended: Watermark,
    /// What a killed process leaves. Moved by the flusher; under ASYNC_FLUSH it is `appended`.
    written: Watermark,
    /// What is on disk. Moved by the flusher.
    pub flushed: Watermark,
    /// Why the store has failed, once it has.
    failure: OnceLock<String>,
    closed: AtomicBool,

    head: Mutex<Head>,
}

/// Where the next record goes. All under the append lock.
pub(super) struct Head {
    segment: Arc<Segment>,
    /// Segments created ahead, in order.
    upcoming: VecDeque<Arc<Segment>>,
    /// Log offset of the next record.
    pub end: u64,
    /// Log offset below which bytes are allocated, in `segment` and `upcoming`.
    pub room: u64,
    /// Store time of the last record; the next one's is never smaller.
    pub last_store_time: i64,
    /// Places where records begin, ascending, some distance apart: where the check at the next start can begin.
    begins: VecDeque<u64>,
    /// The queues' ends, by [`Queue::slot`].
    tails: Vec<Tail>,
    staging: Staging,
}

/// One record on its way into the log.
pub(super) struct Record {
    /// None: the record is in no queue.
    pub queue: Option<Arc<Queue>>,
    pub tags_code: i64,
    /// Its bytes in the encode buffer.
    pub range: Range<usize>,
    /// Set by the section.
    pub appended: Appended,
    /// Set by the section: somebody waits for this queue.
    pub wake: bool,
    /// Set by the section: the queue's room is nearly used up.
    pub grow: bool,
}

/// Why the section did nothing.
pub(super) enum Refused {
    Missing(Missing),
    Error(AppendError),
}

/// What the section needs before it can store the records.
pub(super) enum Missing {
    Log { until: u64 },
    Queue { queue: Arc<Queue>, until: u64 },
}

/// What waits for the flusher under SYNC_FLUSH.
#[derive(Default)]
pub(super) struct Staging {
    pub bytes: Vec<u8>,
    pub pieces: Vec<Piece>,
    /// First words of appends of several records: written after everything else, so that a kill leaves all or none.
    pub first_words: Vec<(Arc<Segment>, u64, [u8; 8])>,
    pub entries: Vec<Pending>,
    /// Behind the last record staged.
    pub end: u64,
    pub last_store_time: i64,
}

/// A run of staged bytes and the place it goes to.
pub(super) struct Piece {
    pub segment: Arc<Segment>,
    pub offset: u64,
    pub range: Range<usize>,
}

/// A queue entry that becomes visible when its record is on disk.
pub(super) struct Pending {
    pub queue: Arc<Queue>,
    pub queue_offset: u64,
    pub segment: Arc<Segment>,
    pub at: u64,
    pub entry: Entry,
}

impl CommitLog {
    /// A log whose next record goes to `end`, which lies in the last of `segments`.
    pub fn new(
        segments: Segments,
        end: u64,
        last_store_time: i64,
        options: &StoreOptions,
        entry_of: EntryOf,
    ) -> CommitLog {
        let segment = segments.at(end).expect("the log's end lies in a segment");
        let head = Head {
            segment,
            upcoming: VecDeque::new(),
            end,
            room: end,
            last_store_time,
            begins: VecDeque::new(),
            tails: Vec::new(),
            staging: Staging::default(),
        };
        CommitLog {
            staged: options.is_sync(),
            grow_at_bytes: options.grow_at_bytes(),
            begins_apart_bytes: (options.recheck_bytes / 8).max(1),
            entry_of,
            segments,
            appended: Watermark::at(end),
            written: Watermark::at(end),
            flushed: Watermark::at(end),
            failure: OnceLock::new(),
            closed: AtomicBool::new(false),
            head: Mutex::new(head),
        }
    }

    /// Stores `records`, whose encoded bytes stand one behind the other in `bytes`: all of them or none. Returns the bytes
    /// of log that are left allocated.
    pub fn place(&self, records: &mut [Record], bytes: &mut [u8], now_ms: i64) -> Result<u64, Refused> {
        let mut head = self.head();
        self.check_open()?;
        let start = head.find_place(bytes.len() as u64, self.segments.segment_bytes)?;
        head.check_queues(records, self.grow_at_bytes)?;
        if self.staged
            && !head.staging.bytes.is_empty()
            && head.staging.bytes.len() + bytes.len() > STAGED_BYTES_MAX
        {
            return Err(Refused::Error(AppendError::Busy {
                staged_bytes: head.staging.bytes.len(),
            }));
        }

        // Nothing below can say no, unless the store fails.
        if start != head.end {
            self.roll(&mut head);
        }
        head.note_begin(start, self.begins_apart_bytes);
        let store_time = now_ms.max(head.last_store_time);
        head.last_store_time = store_time;
        for record in records.iter_mut() {
            let log_offset = start + record.range.start as u64;
            let queue_offset = record.queue.as_ref().map_or(0, |queue| queue.next());
            if let Some(queue) = &record.queue {
                queue.set_next(queue_offset + 1);
            }
            let encoded = &mut bytes[record.range.clone()];
            message::patch(encoded, queue_offset, log_offset, store_time);
            if store_time != now_ms && record.queue.is_some() {
                record.tags_code = self.tags_code(encoded);
            }
            let end = log_offset + encoded.len() as u64;
            record.appended = Appended {
                log_offset,
                end,
                queue_offset,
                store_timestamp: store_time,
            };
        }
        self.copy(&mut head, start, bytes, records.len() > 1);
        head.end = start + bytes.len() as u64;
        self.check_open()?;
        self.appended.set(head.end);
        if self.staged {
            head.stage_entries(records);
        } else {
            head.publish(records);
        }
        Ok(head.room - head.end)
    }

    /// The tag code of a record whose store time is not the one it was first computed with.
    fn tags_code(&self, encoded: &[u8]) -> i64 {
        let view = RecordView::decode(encoded).expect("the record was encoded by us");
        match (self.entry_of)(&view) {
            QueueEntry::Simple { tags_code } => tags_code,
            QueueEntry::None | QueueEntry::Batch { .. } => 0,
        }
    }

    /// Fills the rest of the current segment and goes on to the next one.
    fn roll(&self, head: &mut Head) {
        let left = head.segment.until() - head.end;
        let mut blank = [0; BLANK_BYTES as usize];
        blank[..4].copy_from_slice(&(left as u32).to_be_bytes());
        blank[4..].copy_from_slice(&message::MAGIC_BLANK.to_be_bytes());
        self.copy(head, head.end, &blank, false);
        head.segment.set_last_store_time(head.last_store_time);
        head.segment = head
            .upcoming
            .pop_front()
            .expect("room behind a segment means a next segment");
        head.end = head.segment.base;
    }

    /// Brings bytes to their place: into the mapping, or into the staging buffer. The first word of several records goes
    /// last.
    fn copy(&self, head: &mut Head, offset: u64, bytes: &[u8], several: bool) {
        let word: [u8; 8] = bytes[..8].try_into().expect("a record has more than eight bytes");
        if self.staged {
            let (segment, staging) = (head.segment.clone(), &mut head.staging);
            let from = staging.bytes.len();
            staging.bytes.extend_from_slice(bytes);
            if several {
                staging.bytes[from..from + 8].fill(0);
                staging.first_words.push((segment.clone(), offset, word));
            }
            staging.add_piece(segment, offset, from);
            return;
        }
        let stored = if several {
            let rest = head.segment.write_at(offset + 8, &bytes[8..]);
            // The compiler must not move the first word up; the processor's order does not matter to a killed process.
            std::sync::atomic::compiler_fence(Ordering::SeqCst);
            rest.and_then(|()| head.segment.write_at(offset, &word))
        } else {
            head.segment.write_at(offset, bytes)
        };
        if let Err(error) = stored {
            self.poison(format!("storing into {}: {error}", head.segment.path.display()));
        }
    }

    fn check_open(&self) -> Result<(), Refused> {
        if let Some(reason) = self.failure.get() {
            return Err(Refused::Error(AppendError::Poisoned(reason.clone())));
        }
        if self.closed.load(Ordering::Relaxed) {
            return Err(Refused::Error(AppendError::Closed));
        }
        Ok(())
    }

    /// The append lock.
    pub fn head(&self) -> MutexGuard<'_, Head> {
        self.head.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// No append after this.
    pub fn close(&self) {
        // Under the lock, so that no append is between its check and its copy when this returns.
        let _head = self.head();
        self.closed.store(true, Ordering::Relaxed);
    }

    /// The store has failed: no acknowledgement after this, reads go on.
    pub fn poison(&self, reason: String) {
        tracing::error!(reason, "the store has failed; nothing is acknowledged any more");
        let _first_reason_stays = self.failure.set(reason);
        self.written.break_off();
        self.flushed.break_off();
    }

    /// Why the store has failed.
    pub fn failure(&self) -> Option<&String> {
        self.failure.get()
    }

    /// Up to where a killed process leaves the log.
    pub fn written(&self) -> &Watermark {
        if self.staged {
            &self.written
        } else {
            &self.appended
        }
    }

    /// Up to where consumers may see the log.
    pub fn confirmed(&self) -> &Watermark {
        if self.staged {
            &self.flushed
        } else {
            &self.appended
        }
    }

    /// First byte of the log that retention has left.
    pub fn min(&self) -> u64 {
        self.segments.first().map_or(0, |segment| segment.base)
    }
}

impl Head {
    /// Where `len` bytes go: at the end, or at the begin of the next segment.
    fn find_place(&self, len: u64, segment_bytes: u64) -> Result<u64, Refused> {
        if len + BLANK_BYTES > segment_bytes {
            let (bytes, bytes_max) = (len as usize, (segment_bytes - BLANK_BYTES) as usize);
            return Err(Refused::Error(AppendError::TooLarge {
                what: "the record",
                bytes,
                bytes_max,
            }));
        }
        let fits = self.end + len + BLANK_BYTES <= self.segment.until();
        let start = if fits { self.end } else { self.segment.until() };
        let until = start + len + BLANK_BYTES;
        if until > self.room {
            return Err(Refused::Missing(Missing::Log { until }));
        }
        Ok(start)
    }

    /// Whether every queue exists and has room for its entries.
    fn check_queues(&self, records: &mut [Record], grow_at_bytes: u64) -> Result<(), Refused> {
        let count = records.len() as u64;
        for record in records {
            let Some(queue) = &record.queue else { continue };
            if queue.is_deleted() {
                return Err(Refused::Error(AppendError::TopicDeleting(
                    queue.topic.to_string(),
                )));
            }
            let until = (queue.next() + count) * ENTRY_BYTES;
            let room = self.tails.get(queue.slot).map_or(0, |tail| tail.room);
            if until > room {
                return Err(Refused::Missing(Missing::Queue {
                    queue: queue.clone(),
                    until,
                }));
            }
            record.grow |= room - until < grow_at_bytes && !queue.growing.swap(true, Ordering::Relaxed);
        }
        Ok(())
    }

    fn note_begin(&mut self, begin: u64, apart_bytes: u64) {
        if self.begins.back().is_some_and(|last| begin < last + apart_bytes) {
            return;
        }
        if self.begins.len() == BEGINS_MAX {
            self.begins.pop_front();
        }
        self.begins.push_back(begin);
    }

    /// A place at or before an offset where a record begins: the nearest one remembered.
    pub fn begin_before(&self, offset: u64) -> Option<u64> {
        let behind = self.begins.partition_point(|begin| *begin <= offset);
        self.begins.get(behind.checked_sub(1)?).copied()
    }

    /// Makes records visible at once.
    fn publish(&mut self, records: &mut [Record]) {
        for record in records {
            let Some(queue) = &record.queue else { continue };
            let (segment, at) = self.tails[queue.slot].place(record.appended.queue_offset);
            record.wake = publish(queue, segment, at, record.appended.queue_offset, &record.entry());
        }
    }

    /// Leaves it to the flusher to make records visible.
    fn stage_entries(&mut self, records: &[Record]) {
        self.staging.end = self.end;
        self.staging.last_store_time = self.last_store_time;
        for record in records {
            let Some(queue) = &record.queue else { continue };
            let queue_offset = record.appended.queue_offset;
            let (segment, at) = self.tails[queue.slot].place(queue_offset);
            let segment = segment.clone();
            self.staging.entries.push(Pending {
                queue: queue.clone(),
                queue_offset,
                segment,
                at,
                entry: record.entry(),
            });
        }
    }

    /// Takes what is staged, leaving an empty buffer of the same kind.
    pub fn take_staging(&mut self, spare: Staging) -> Staging {
        std::mem::replace(&mut self.staging, spare)
    }

    pub fn staged_bytes(&self) -> usize {
        self.staging.bytes.len()
    }

    /// More of the log can be stored.
    pub fn grow(&mut self, room: u64) {
        assert!(room >= self.room, "room is never taken away");
        self.room = room;
    }

    /// A segment behind the last one.
    pub fn add_segment(&mut self, segment: Arc<Segment>) {
        self.upcoming.push_back(segment);
    }

    /// Segments without a record, to be removed at a clean stop; the head keeps its own.
    pub fn take_upcoming(&mut self) -> Vec<Arc<Segment>> {
        self.room = self.room.min(self.segment.until());
        self.upcoming.drain(..).collect()
    }

    /// The segment the next record goes to.
    pub fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }

    /// The last segment there is.
    pub fn last_segment(&self) -> &Arc<Segment> {
        self.upcoming.back().unwrap_or(&self.segment)
    }

    /// A queue's end is nobody's any more.
    pub fn forget_tail(&mut self, slot: usize) {
        if let Some(tail) = self.tails.get_mut(slot) {
            *tail = Tail::default();
        }
    }

    /// A queue's end, made on demand.
    pub fn tail(&mut self, slot: usize) -> &mut Tail {
        if self.tails.len() <= slot {
            self.tails.resize_with(slot + 1, Tail::default);
        }
        &mut self.tails[slot]
    }
}

/// Makes one message visible: its queue entry, then the queue's end. Returns whether somebody waits for it. Called inside
/// the section where nothing is waited for, else by the flusher for every record that has become durable.
pub(super) fn publish(queue: &Queue, segment: &Segment, at: u64, queue_offset: u64, entry: &Entry) -> bool {
    // A mapped store into allocated bytes: it cannot fail, and the entry could be made again if it did.
    if let Err(error) = segment.write_at(at, &entry.encode()) {
        tracing::error!(%error, path = %segment.path.display(), "a queue entry was not stored");
    }
    queue.publish(queue_offset + 1)
}

impl Record {
    fn entry(&self) -> Entry {
        Entry {
            log_offset: self.appended.log_offset,
            size: self.range.len() as u32,
            tags_code: self.tags_code,
        }
    }
}

impl Staging {
    fn add_piece(&mut self, segment: Arc<Segment>, offset: u64, from: usize) {
        let until = self.bytes.len();
        match self.pieces.last_mut() {
            Some(last)
                if last.segment.base == segment.base && last.offset + last.range.len() as u64 == offset =>
            {
                last.range.end = until;
            }
            _ => self.pieces.push(Piece {
                segment,
                offset,
                range: from..until,
            }),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Empties the buffers for the next round; a large one is given back.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(STAGED_BYTES_KEPT);
        self.pieces.clear();
        self.first_words.clear();
        self.entries.clear();
        self.entries.shrink_to(STAGED_BYTES_KEPT / 1024);
    }
}

/// Capacity a staging buffer keeps between rounds.
const STAGED_BYTES_KEPT: usize = 1 << 20;
