//! Reading a queue, and single records. Bytes that this process wrote or verified, and that are likely to be in memory, go
//! out from the mapping without a copy. All others are read with a system call, on a blocking thread where the caller is a
//! future, and checked: damage is never served, and a cold consumer stalls no sender.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::Store;
use super::consume_queue::{ENTRY_BYTES, Entry, Queue};
use super::error::ReadError;
use super::log_reader::{Found, LogReader};
use super::segment::Segment;
use crate::protocol::message::{PHYSICAL_OFFSET_AT, QUEUE_OFFSET_AT, RecordView, sys_flag};

/// The part of a record that says which one it is.
const RECORD_HEAD_BYTES: usize = PHYSICAL_OFFSET_AT + 8;

/// What a reader wants to see.
pub trait Filter: Send + Sync {
    /// Judges by the queue entry.
    fn entry(&self, tags_code: i64) -> bool;

    /// Whether [`Filter::record`] must be asked too.
    fn reads_records(&self) -> bool {
        false
    }

    /// Judges by the record.
    fn record(&self, _record: &RecordView<'_>) -> bool {
        true
    }
}

/// Sees everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Everything;

impl Filter for Everything {
    fn entry(&self, _tags_code: i64) -> bool {
        true
    }
}

/// How much one read gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadLimits {
    pub messages_max: usize,
    /// The first message counts whatever its size.
    pub bytes_max: usize,
    /// Queue entries looked at, also those that do not match.
    pub entries_max: usize,
}

impl Default for ReadLimits {
    /// Apache's: 32 messages, 256 KiB, 800 entries.
    fn default() -> ReadLimits {
        ReadLimits {
            messages_max: 32,
            bytes_max: 256 << 10,
            entries_max: 800,
        }
    }
}

/// How a read ended (`GetMessageStatus`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadStatus {
    Found,
    /// There were messages, none of them wanted.
    NoMatched,
    /// What was asked for is lost: removed by retention meanwhile, or damaged. `next_offset` lies behind it.
    Removing,
    NoQueue,
    /// The queue has never had a message.
    NoMessageInQueue,
    /// The queue's file at this place is gone.
    OffsetNull,
    /// Exactly at the end: wait for an arrival.
    OverflowOne,
    OverflowBadly,
    TooSmall,
}

/// What a read gives.
#[derive(Clone, Debug)]
pub struct Read {
    pub status: ReadStatus,
    /// Where to read on.
    pub next_offset: u64,
    /// The queue's first message.
    pub min: u64,
    /// Behind the queue's last message.
    pub max: u64,
    /// Records, neighbours in the log joined.
    pub parts: Vec<Bytes>,
    /// Messages in `parts`.
    pub count: usize,
    /// Bytes in `parts`.
    pub bytes: usize,
    /// Log bytes between the last record given and the log's end; 0 if there is none.
    pub behind_bytes: u64,
}

impl Read {
    fn empty(status: ReadStatus, next_offset: u64, min: u64, max: u64) -> Read {
        Read {
            status,
            next_offset,
            min,
            max,
            parts: Vec::new(),
            count: 0,
            bytes: 0,
            behind_bytes: 0,
        }
    }
}

/// First and last of a queue, in messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueBounds {
    /// First message there is.
    pub min: u64,
    /// Behind the last message that can be seen.
    pub end: u64,
    /// Behind the last message that has a number.
    pub next: u64,
}

impl Store {
    /// Reads a queue from `offset` on. Completes when first polled unless it must wait for the disk. May be dropped at any
    /// time.
    pub async fn read(
        &self,
        topic: &str,
        queue_id: i32,
        offset: u64,
        limits: &ReadLimits,
        filter: &dyn Filter,
    ) -> Read {
        let Some(queue) = self.existing(topic, queue_id) else {
            return Read::empty(ReadStatus::NoQueue, 0, 0, 0);
        };
        let (min, max) = (queue.min(), queue.end());
        let outside = match offset {
            _ if max == 0 => Some((ReadStatus::NoMessageInQueue, 0)),
            _ if offset < min => Some((ReadStatus::TooSmall, min)),
            _ if offset == max => Some((ReadStatus::OverflowOne, offset)),
            _ if offset > max => Some((ReadStatus::OverflowBadly, max)),
            _ => None,
        };
        if let Some((status, next)) = outside {
            return Read::empty(status, next, min, max);
        }
        let mut gathered = Gathered::default();
        let mut entries = Vec::new();
        let mut next = offset;
        while next < max && !gathered.is_full(limits) {
            let scanned = self.wanted(&queue, next..max, limits, filter, &mut gathered, &mut entries);
            if let Some(unfit) = self.gather(&queue, &entries, limits, filter, &mut gathered).await {
                next = unfit;
                break;
            }
            next = scanned;
        }
        gathered.finish(self, next, offset, min, max)
    }

    /// Collects wanted entries of a range, as many as may still fit. Returns where to go on, behind `range.start`.
    fn wanted(
        &self,
        queue: &Queue,
        range: Range<u64>,
        limits: &ReadLimits,
        filter: &dyn Filter,
        gathered: &mut Gathered,
        entries: &mut Vec<(u64, Entry)>,
    ) -> u64 {
        entries.clear();
        let entries_left = limits.entries_max.saturating_sub(gathered.entries) as u64;
        let until = range.end.min(range.start + entries_left);
        let mut skip_to = None;
        let end = queue.scan(range.start, until, |index, entry| {
            gathered.entries += 1;
            if entry.is_filler() {
                gathered.lost = true;
                return true;
            }
            if let Some(hole_end) = self.hole_end(entry.log_offset) {
                gathered.lost = true;
                skip_to = Some(queue.partition(index, range.end, |_, entry| entry.log_offset < hole_end));
                return false;
            }
            if filter.entry(entry.tags_code) {
                entries.push((index, entry));
            }
            entries.len() + gathered.count < limits.messages_max
        });
        match skip_to {
            Some(behind) => behind,
            // The visit that said "enough" took its entry.
            None if end < until && entries.last().is_some_and(|(index, _)| *index == end) => end + 1,
            None if end < until => {
                gathered.null = true;
                next_file(queue, end).min(range.end)
            }
            None => end,
        }
    }

    /// Gets the entries' records. Returns the queue offset of the first one that did not fit.
    async fn gather(
        &self,
        queue: &Queue,
        entries: &[(u64, Entry)],
        limits: &ReadLimits,
        filter: &dyn Filter,
        gathered: &mut Gathered,
    ) -> Option<u64> {
        for (queue_offset, entry) in entries {
            if gathered.is_full_with(limits, entry.size as usize) {
                return Some(*queue_offset);
            }
            let Some(segment) = self.log.segments.at(entry.log_offset) else {
                gathered.lost = true;
                continue;
            };
            if self.is_hot(&segment, *queue_offset, entry) {
                if filter.reads_records() && !wanted_record(filter, &hot_bytes(&segment, entry)) {
                    continue;
                }
                gathered.join(segment, entry);
                continue;
            }
            match self.read_cold(queue, segment, *entry).await {
                Ok(bytes) if !filter.reads_records() || wanted_record(filter, &bytes) => {
                    gathered.push(bytes, entry)
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::error!(%error, "a record is passed over");
                    gathered.lost = true;
                }
            }
        }
        None
    }

    /// Reads and checks a record away from the reactor's threads.
    async fn read_cold(
        &self,
        queue: &Queue,
        segment: Arc<Segment>,
        entry: Entry,
    ) -> Result<Bytes, ReadError> {
        let log_end = self.log.confirmed().get();
        let log_offset = entry.log_offset;
        let reading = tokio::task::spawn_blocking(move || read_checked(&segment, log_offset, log_end));
        let bytes = match reading.await {
            Ok(result) => result?,
            Err(ended) => {
                return Err(ReadError::Io {
                    log_offset,
                    cause: ended.to_string(),
                });
            }
        };
        match RecordView::decode(&bytes) {
            Ok(record) if record.topic == &*queue.topic && record.queue_id == queue.id => Ok(bytes),
            _ => Err(damaged(
                log_offset,
                "the queue entry points to a record of another queue",
            )),
        }
    }

    /// One record, checked. `None`: nothing that consumers may see begins there, or retention has removed it.
    ///
    /// # Errors
    /// If bytes stand there that are no record, or cannot be read.
    pub fn message_at(&self, log_offset: u64) -> Result<Option<Bytes>, ReadError> {
        let log_end = self.log.confirmed().get();
        let Some(segment) = self.log.segments.at(log_offset).filter(|_| log_offset < log_end) else {
            return Ok(None);
        };
        // Any offset may be asked for, so that what stands there is never trusted.
        read_checked(&segment, log_offset, log_end).map(Some)
    }

    /// The store time of a queue's message.
    pub fn store_time_of(&self, topic: &str, queue_id: i32, queue_offset: u64) -> Option<i64> {
        let entry = self.entry(topic, queue_id, queue_offset)?;
        self.store_time_at(&entry)
    }

    /// The store time in an entry's record; `None` if that is lost.
    pub(super) fn store_time_at(&self, entry: &Entry) -> Option<i64> {
        if entry.is_filler() || self.hole_end(entry.log_offset).is_some() {
            return None;
        }
        let segment = self.log.segments.at(entry.log_offset)?;
        let mut head = [0; 76];
        segment
            .file
            .read_at(segment.position(entry.log_offset), &mut head)
            .ok()?;
        if u64::from_be_bytes(head[28..36].try_into().expect("eight bytes")) != entry.log_offset {
            return None;
        }
        let flags = i32::from_be_bytes(head[36..40].try_into().expect("four bytes"));
        let at = if flags & sys_flag::BORN_HOST_V6 != 0 {
            68
        } else {
            56
        };
        Some(i64::from_be_bytes(
            head[at..at + 8].try_into().expect("eight bytes"),
        ))
    }

    /// Whether a record can be served from the mapping: good, likely in memory, and the one that the entry means.
    fn is_hot(&self, segment: &Segment, queue_offset: u64, entry: &Entry) -> bool {
        let near = entry.log_offset + self.resident_bytes >= self.log.appended.get();
        let inside = entry.log_offset + u64::from(entry.size) <= segment.until()
            && entry.size >= RECORD_HEAD_BYTES as u32;
        if !near || !inside || !segment.is_verified(entry.log_offset) {
            return false;
        }
        let mut head = [0; RECORD_HEAD_BYTES];
        segment.file.load(segment.position(entry.log_offset), &mut head);
        head[..4] == entry.size.to_be_bytes()
            && head[QUEUE_OFFSET_AT..QUEUE_OFFSET_AT + 8] == queue_offset.to_be_bytes()
            && head[PHYSICAL_OFFSET_AT..PHYSICAL_OFFSET_AT + 8] == entry.log_offset.to_be_bytes()
    }

    /// The end of the hole in which a log offset lies.
    pub(super) fn hole_end(&self, log_offset: u64) -> Option<u64> {
        self.holes
            .iter()
            .find(|hole| hole.contains(&log_offset))
            .map(|hole| hole.end)
    }
}

/// First entry of the next file there is, behind a missing one.
fn next_file(queue: &Queue, queue_offset: u64) -> u64 {
    queue
        .segments
        .from(queue_offset * ENTRY_BYTES)
        .map_or(u64::MAX, |segment| segment.base / ENTRY_BYTES)
}

fn wanted_record(filter: &dyn Filter, bytes: &Bytes) -> bool {
    RecordView::decode(bytes).is_ok_and(|record| filter.record(&record))
}

fn hot_bytes(segment: &Segment, entry: &Entry) -> Bytes {
    segment
        .file
        .bytes(segment.position(entry.log_offset), entry.size as usize)
}

/// Reads the record at an offset with a system call and checks all that can be checked. On the way the rest of its chunk is
/// checked too, so that its neighbours are served from the mapping.
fn read_checked(segment: &Arc<Segment>, log_offset: u64, log_end: u64) -> Result<Bytes, ReadError> {
    let mut reader = LogReader::single();
    let record = match reader.find(segment, log_offset) {
        Found::Record(record) => record,
        Found::Blank => return Err(damaged(log_offset, "the file ends here")),
        Found::Bad(reason) => return Err(damaged(log_offset, reason)),
    };
    record.check_body().map_err(|bad| damaged(log_offset, bad))?;
    let bytes = Bytes::copy_from_slice(record.bytes);
    if !segment.is_verified(log_offset) {
        verify_chunk(segment, log_offset, log_end);
    }
    Ok(bytes)
}

fn damaged(log_offset: u64, reason: impl ToString) -> ReadError {
    ReadError::Damaged {
        log_offset,
        reason: reason.to_string(),
    }
}

/// Checks the records from `from` to the end of its chunk, and remembers if all are good.
fn verify_chunk(segment: &Arc<Segment>, from: u64, log_end: u64) {
    let mut reader = LogReader::walking();
    let chunk_end = segment.chunk_end(from);
    let mut at = from;
    while at < chunk_end.min(log_end) && !(at > from && segment.is_verified(at)) {
        match reader.find(segment, at) {
            Found::Record(record) if record.check_body().is_ok() => at += record.len() as u64,
            Found::Blank => break,
            _ => return,
        }
    }
    segment.verified(from, chunk_end);
}

/// What a read has put together so far.
#[derive(Default)]
struct Gathered {
    parts: Vec<Bytes>,
    count: usize,
    bytes: usize,
    entries: usize,
    /// Neighbouring records of one segment, not cut out of it yet.
    run: Option<(Arc<Segment>, Range<u64>)>,
    last_end: u64,
    lost: bool,
    null: bool,
}

impl Gathered {
    fn is_full(&self, limits: &ReadLimits) -> bool {
        self.count >= limits.messages_max
            || self.bytes >= limits.bytes_max
            || self.entries >= limits.entries_max
    }

    fn is_full_with(&self, limits: &ReadLimits, size: usize) -> bool {
        self.count > 0 && (self.count >= limits.messages_max || self.bytes + size > limits.bytes_max)
    }

    fn took(&mut self, entry: &Entry) {
        self.count += 1;
        self.bytes += entry.size as usize;
        self.last_end = entry.log_offset + u64::from(entry.size);
    }

    fn push(&mut self, bytes: Bytes, entry: &Entry) {
        self.end_run();
        self.parts.push(bytes);
        self.took(entry);
    }

    fn join(&mut self, segment: Arc<Segment>, entry: &Entry) {
        let end = entry.log_offset + u64::from(entry.size);
        match &mut self.run {
            Some((held, run)) if run.end == entry.log_offset && held.base == segment.base => run.end = end,
            _ => {
                self.end_run();
                self.run = Some((segment, entry.log_offset..end));
            }
        }
        self.took(entry);
    }

    fn end_run(&mut self) {
        if let Some((segment, run)) = self.run.take() {
            self.parts.push(
                segment
                    .file
                    .bytes(segment.position(run.start), (run.end - run.start) as usize),
            );
        }
    }

    fn finish(mut self, store: &Store, next_offset: u64, offset: u64, min: u64, max: u64) -> Read {
        self.end_run();
        let status = match () {
            () if self.count > 0 => ReadStatus::Found,
            () if self.null && next_offset > offset => ReadStatus::OffsetNull,
            () if self.lost => ReadStatus::Removing,
            () => ReadStatus::NoMatched,
        };
        let behind_bytes = if self.count > 0 {
            store.log.appended.get().saturating_sub(self.last_end)
        } else {
            0
        };
        Read {
            status,
            next_offset,
            min,
            max,
            parts: self.parts,
            count: self.count,
            bytes: self.bytes,
            behind_bytes,
        }
    }
}
