//! One file of a family (commit log or consume queue): a run of the family's bytes, named by the offset of its first.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

use super::disk::DiskFile;

/// Granularity in which a log segment remembers what of it was verified.
const CHUNK_BYTES: u64 = 1 << 20;
/// Nothing of the chunk is known to be good.
const UNVERIFIED: u32 = u32::MAX;
/// The store time of a segment's last record is not known.
const UNKNOWN_TIME: i64 = i64::MIN;

/// One file of a family.
#[derive(Debug)]
pub(super) struct Segment {
    /// Offset of the first byte; also the file's name, in 20 digits.
    pub base: u64,
    pub path: PathBuf,
    pub file: Arc<dyn DiskFile>,
    /// Per chunk the lowest position from which on all records up to the chunk's end are good. Empty for a queue.
    verified_from: Box<[AtomicU32]>,
    /// Store time of the last record, once it is known.
    last_store_time: AtomicI64,
}

impl Segment {
    /// A segment of a consume queue: its content is derived and needs no verification.
    pub fn derived(folder: &Path, base: u64, file: Arc<dyn DiskFile>) -> Segment {
        file.expect_random_access();
        Segment::unverified(folder, base, file)
    }

    fn unverified(folder: &Path, base: u64, file: Arc<dyn DiskFile>) -> Segment {
        Segment {
            base,
            path: folder.join(name(base)),
            file,
            verified_from: Box::default(),
            last_store_time: AtomicI64::new(UNKNOWN_TIME),
        }
    }

    /// A log segment of which nothing has been verified yet.
    pub fn found(folder: &Path, base: u64, file: Arc<dyn DiskFile>) -> Segment {
        let chunks = file.bytes_len().div_ceil(CHUNK_BYTES);
        let verified_from = (0..chunks).map(|_| AtomicU32::new(UNVERIFIED)).collect();
        Segment {
            verified_from,
            ..Segment::unverified(folder, base, file)
        }
    }

    /// A new log segment: all that will be in it, this process writes.
    pub fn fresh(folder: &Path, base: u64, file: Arc<dyn DiskFile>) -> Segment {
        let segment = Segment::found(folder, base, file);
        segment.verified(base, segment.until());
        segment
    }

    /// Offset behind the last byte.
    pub fn until(&self) -> u64 {
        self.base + self.file.bytes_len()
    }

    /// Whether the family's offset lies in this segment.
    pub fn holds(&self, offset: u64) -> bool {
        (self.base..self.until()).contains(&offset)
    }

    /// Position in the file of an offset of the family.
    pub fn position(&self, offset: u64) -> u64 {
        debug_assert!(offset >= self.base);
        offset - self.base
    }

    /// Notes that all records which begin in `from..until` are good, and that `until` ends a chunk's records or the log.
    pub fn verified(&self, from: u64, until: u64) {
        let (from, until) = (self.position(from), self.position(until.min(self.until())));
        if from >= until {
            return;
        }
        for chunk in from / CHUNK_BYTES..until.div_ceil(CHUNK_BYTES) {
            let start = from.saturating_sub(chunk * CHUNK_BYTES) as u32;
            self.verified_from[chunk as usize].fetch_min(start, Ordering::Relaxed);
        }
    }

    /// Whether the record that begins at `offset` was written or verified since the start.
    pub fn is_verified(&self, offset: u64) -> bool {
        let position = self.position(offset);
        let from = self.verified_from[(position / CHUNK_BYTES) as usize].load(Ordering::Relaxed);
        from != UNVERIFIED && position % CHUNK_BYTES >= u64::from(from)
    }

    /// Offset behind the chunk in which `offset` lies.
    pub fn chunk_end(&self, offset: u64) -> u64 {
        let position = self.position(offset);
        self.base + ((position / CHUNK_BYTES + 1) * CHUNK_BYTES).min(self.file.bytes_len())
    }

    /// Store time of the segment's last record, if it was learnt.
    pub fn last_store_time(&self) -> Option<i64> {
        Some(self.last_store_time.load(Ordering::Relaxed)).filter(|time| *time != UNKNOWN_TIME)
    }

    /// Remembers the store time of the last record of a full segment.
    pub fn set_last_store_time(&self, store_time: i64) {
        self.last_store_time.store(store_time, Ordering::Relaxed);
    }

    /// Writes at an offset of the family.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(self.position(offset), bytes)
    }
}

/// A segment's file name.
pub(super) fn name(base: u64) -> String {
    format!("{base:020}")
}

/// The base offset a file name says; `None` for a foreign file.
pub(super) fn base_of(name: &str) -> Option<u64> {
    (name.len() == 20 && name.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| name.parse().ok())
        .flatten()
}
