//! What happens between opening the files and serving: find the log's true end, step over holes, make the queues agree.
//!
//! The log is walked from a place that the checkpoint vouches for. At the first bytes that are no record:
//!
//! * below what the checkpoint says is on disk, with a good record somewhere behind: a **hole**, named with its byte range
//!   and stepped over; nothing is cut;
//! * anything else: the log **ends** there. The rest of the file is zeroed and synced, later files are removed, queues and
//!   index are cut, before anybody is served.
//!
//! In a store that Apache wrote last, "on disk" means: stored no later than the time in Apache's checkpoint.

use std::collections::HashMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use super::checkpoint::{ApacheTimes, Marks};
use super::consume_queue::{Entry, Queue, Queues};
use super::disk::Disk;
use super::error::OpenError;
use super::log_reader::{Found, LogReader};
use super::segment::Segment;
use super::segments::Segments;
use super::{EntryOf, QueueEntry};
use crate::protocol::message::RecordView;

/// What recovery found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// The store had been stopped in order.
    pub clean: bool,
    /// The log ends here.
    pub end: u64,
    /// Records looked at.
    pub records: u64,
    /// Where the log was cut, if bytes were lost.
    pub cut: Option<Cut>,
    /// Byte ranges of the log that hold no records although they should, old ones included.
    pub holes: Vec<Range<u64>>,
}

/// The log ends before what it once held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The file in which it ends now.
    pub path: PathBuf,
    pub log_offset: u64,
    /// Position in the file.
    pub position: u64,
    /// Where the log ended when the checkpoint was written, if that lies behind.
    pub flushed: Option<u64>,
    /// What stands there.
    pub reason: String,
}

/// What the walk over the log's end found.
pub(super) struct Walk {
    /// Behind the last good record.
    pub end: u64,
    pub records: u64,
    pub last_store_time: Option<i64>,
    pub holes: Vec<Range<u64>>,
    /// Why the walk ended, unless at bytes never written.
    pub reason: Option<String>,
}

/// Below which log offset bytes are known to have been on disk.
#[derive(Clone, Copy, Debug)]
pub(super) enum Flushed {
    /// Our checkpoint says so.
    Below(u64),
    /// Apache's checkpoint names a store time.
    Until { store_time: i64 },
}

impl Flushed {
    fn covers(self, offset: u64, last_store_time: Option<i64>, blank: bool) -> bool {
        match self {
            Flushed::Below(flushed) => offset < flushed,
            // Several records can share the last time: after it, only bytes never written end the log for sure.
            Flushed::Until { store_time } => match last_store_time {
                Some(last) => last < store_time || (last == store_time && !blank),
                None => !blank,
            },
        }
    }

    fn vouches_for(self, record: &RecordView<'_>) -> bool {
        match self {
            Flushed::Below(flushed) => record.physical_offset < flushed,
            Flushed::Until { store_time } => record.store_timestamp < store_time,
        }
    }

    fn admits(self, record: &RecordView<'_>) -> bool {
        match self {
            Flushed::Below(_) => true,
            Flushed::Until { store_time } => record.store_timestamp <= store_time,
        }
    }
}

/// Where the walk begins in a store that Apache wrote: the last segment whose first record is old enough to be on disk.
pub(super) fn apache_start(segments: &Segments, times: &ApacheTimes) -> u64 {
    let all = segments.all();
    let mut reader = LogReader::walking();
    let safe = all.iter().rev().find(|segment| {
        matches!(reader.find(segment, segment.base), Found::Record(record)
            if record.store_timestamp <= times.safe_time() && record.check_body().is_ok())
    });
    safe.or(all.first()).map_or(0, |segment| segment.base)
}

/// Gaps between the files that lie below `until`.
pub(super) fn missing_files(segments: &Segments, until: u64) -> Vec<Range<u64>> {
    let all = segments.all();
    let gaps = all.windows(2).map(|pair| pair[0].until()..pair[1].base);
    gaps.filter(|gap| !gap.is_empty() && gap.end <= until).collect()
}

/// Walks the log from `start`, checking everything, to its end.
pub(super) fn walk(segments: &Segments, start: u64, flushed: Flushed) -> Walk {
    let mut reader = LogReader::walking();
    let mut walk = Walk {
        end: start,
        records: 0,
        last_store_time: None,
        holes: Vec::new(),
        reason: None,
    };
    // What lies between here and `walk.end` is good.
    let mut good_from = start;
    loop {
        let (reason, blank) = match segments.at(walk.end) {
            None if segments.last().is_none_or(|last| last.until() <= walk.end) => (None, true),
            None => (Some("the file is missing".to_owned()), false),
            Some(segment) => match look(&mut reader, &segment, &mut walk, flushed) {
                Ok(()) => continue,
                Err(Bad { reason, blank }) => (Some(reason).filter(|_| !blank), blank),
            },
        };
        mark_verified(segments, good_from, walk.end);
        let behind = flushed
            .covers(walk.end, walk.last_store_time, blank)
            .then(|| next_record(segments, &mut reader, walk.end, flushed))
            .flatten();
        let Some(behind) = behind else {
            walk.reason = reason;
            return walk;
        };
        walk.holes.push(walk.end..behind);
        walk.end = behind;
        good_from = behind;
    }
}

/// Bytes that are no record.
struct Bad {
    reason: String,
    /// They were never written.
    blank: bool,
}

/// Steps over one good record, or to the next file.
fn look(
    reader: &mut LogReader,
    segment: &Arc<Segment>,
    walk: &mut Walk,
    flushed: Flushed,
) -> Result<(), Bad> {
    match reader.find(segment, walk.end) {
        Found::Record(record) => {
            if !flushed.vouches_for(&record) && is_torn(&record) {
                return Err(Bad {
                    reason: "a part of the record was never written".to_owned(),
                    blank: false,
                });
            }
            record.check_body().map_err(|bad| Bad {
                reason: bad.to_string(),
                blank: false,
            })?;
            walk.end += record.len() as u64;
            walk.records += 1;
            walk.last_store_time = walk.last_store_time.max(Some(record.store_timestamp));
            Ok(())
        }
        Found::Blank => {
            walk.end = segment.until();
            Ok(())
        }
        Found::Bad(reason) => {
            let mut word = [0; 8];
            let position = segment
                .position(walk.end)
                .min(segment.file.bytes_len().saturating_sub(8));
            let blank = segment.file.read_at(position, &mut word).is_ok() && word == [0; 8];
            Err(Bad { reason, blank })
        }
    }
}

/// Whether topic or properties show that a power cut has lost a part of them: no checksum covers them, but what was never
/// written reads as zero.
fn is_torn(record: &RecordView<'_>) -> bool {
    record.topic.contains('\0') || record.properties.contains('\0')
}

/// The first good record behind `from`.
fn next_record(segments: &Segments, reader: &mut LogReader, from: u64, flushed: Flushed) -> Option<u64> {
    for segment in segments.between(from, u64::MAX) {
        let begin = from.max(segment.base);
        let Some(found) = reader.search(&segment, begin, segment.until()) else {
            continue;
        };
        let admitted =
            matches!(reader.find(&segment, found), Found::Record(record) if flushed.admits(&record));
        return admitted.then_some(found);
    }
    None
}

fn mark_verified(segments: &Segments, from: u64, until: u64) {
    for segment in segments.between(from, until) {
        segment.verified(from.max(segment.base), until);
    }
}

/// Ends the log at `end`: nothing behind it can become valid again.
pub(super) fn cut_log(disk: &dyn Disk, segments: &Segments, end: u64) -> Result<(), OpenError> {
    if let Some(segment) = segments.at(end) {
        let zeroed = segment.file.zero(segment.position(end), segment.file.bytes_len());
        let synced = zeroed.and_then(|changed| if changed { segment.file.sync() } else { Ok(()) });
        synced.map_err(OpenError::io(&segment.path))?;
    }
    let gone = segments.take_from(end + 1);
    for segment in &gone {
        disk.remove(&segment.path).map_err(OpenError::io(&segment.path))?;
    }
    if !gone.is_empty() {
        disk.sync_folder(&segments.folder)
            .map_err(OpenError::io(&segments.folder))?;
    }
    Ok(())
}

/// Sets every queue's bounds from its files, trusting entries below `limit`.
pub(super) fn recover_queues(
    queues: &Queues,
    log: &Segments,
    holes: &[Range<u64>],
    limit: u64,
    known_synced: bool,
) {
    let trusted = |queue: &Queue, queue_offset: u64, entry: Entry| {
        if entry.is_filler() || holes.iter().any(|hole| hole.contains(&entry.log_offset)) {
            return true;
        }
        let Some(segment) = log.at(entry.log_offset) else {
            // Older than the log: retention has removed the record, the entry still says where the queue was.
            return log.first().is_some_and(|first| entry.log_offset < first.base);
        };
        matches!(LogReader::single().find(&segment, entry.log_offset), Found::Record(record)
            if record.topic == &*queue.topic && record.queue_id == queue.id && record.len() == entry.size as usize
            // Apache lets a queue fall behind its records' numbers after damage; an older record is a torn entry.
            && record.queue_offset >= queue_offset)
    };
    for queue in queues.all() {
        queue.recover(limit, known_synced, trusted);
    }
}

/// Topics that were deleted, and the log offset at which: older records of theirs are nobody's.
pub(super) type Deleted = HashMap<String, u64>;

/// Whether a record belongs to a topic that was deleted after it was stored.
pub(super) fn is_deleted(deleted: &Deleted, record: &RecordView<'_>) -> bool {
    deleted
        .get(record.topic)
        .is_some_and(|below| record.physical_offset < *below)
}

/// Adds the queue entries of the records in `from..until` that are missing.
pub(super) fn dispatch(
    disk: &dyn Disk,
    log: &Segments,
    queues: &Queues,
    range: Range<u64>,
    deleted: &Deleted,
    entry_of: &EntryOf,
) -> Result<(), OpenError> {
    let mut reader = LogReader::walking();
    let mut at = range.start;
    while at < range.end {
        let Some(segment) = log.at(at) else {
            at = log.from(at).map_or(range.end, |next| next.base);
            continue;
        };
        match reader.find(&segment, at) {
            Found::Record(record) => {
                at += record.len() as u64;
                dispatch_record(disk, queues, &record, deleted, entry_of)?;
            }
            Found::Blank => at = segment.until(),
            // A hole: the walk has named it.
            Found::Bad(_) => {
                at = reader
                    .search(&segment, at + 1, segment.until())
                    .unwrap_or(segment.until());
            }
        }
    }
    Ok(())
}

fn dispatch_record(
    disk: &dyn Disk,
    queues: &Queues,
    record: &RecordView<'_>,
    deleted: &Deleted,
    entry_of: &EntryOf,
) -> Result<(), OpenError> {
    if is_deleted(deleted, record) {
        return Ok(());
    }
    let QueueEntry::Simple { tags_code } = entry_of(record) else {
        return Ok(());
    };
    let queue = queues.get_or_create(record.topic, record.queue_id);
    let entry = Entry {
        log_offset: record.physical_offset,
        size: record.len() as u32,
        tags_code,
    };
    let restored = queue
        .restore(disk, record.queue_offset, entry)
        .map_err(OpenError::io(&queue.segments.folder))?;
    if !restored && record.queue_offset > queue.end() {
        tracing::warn!(
            topic = record.topic,
            queue_id = record.queue_id,
            queue_offset = record.queue_offset,
            log_offset = record.physical_offset,
            "a record is in no queue: its number is too far behind the queue's end"
        );
    }
    Ok(())
}

impl Marks {
    /// Where the walk over the log's end begins.
    pub fn walk_from(&self) -> u64 {
        self.recheck_from.min(self.dispatched)
    }
}
