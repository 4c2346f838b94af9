//! What a store is opened with. The broker fills this from its configuration keys; below here no key's name is known.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use super::consume_queue::ENTRY_BYTES;

/// Length of a commit log file in a new store (`mappedFileSizeCommitLog`).
pub const SEGMENT_BYTES: u64 = 1 << 30;
/// Length of a consume queue file in a new store (`mappedFileSizeConsumeQueue`).
pub const QUEUE_SEGMENT_BYTES: u64 = 300_000 * ENTRY_BYTES;

/// What an acknowledgement promises about the disk (`flushDiskType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushMode {
    /// Records are in the page cache when they are acknowledged, so a killed process loses nothing; they are on disk
    /// at most `interval` later.
    Async { interval: Duration },
    /// Records are on disk before they are acknowledged and before anybody can read them.
    Sync,
}

/// Who runs the store's loops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Background {
    /// Threads of the store: flush, allocate, index, keep.
    Threads,
    /// Nobody: the caller runs [`Store::flush_step`](super::Store::flush_step) and its siblings, so that a test decides
    /// what happens when.
    Stepped,
}

/// Shares of the disk, in percent used, at which retention acts before messages have expired. Unset means never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskRatios {
    /// Expired segments are deleted outside of the hours of deletion (`diskMaxUsedSpaceRatio`).
    pub clean: Option<u8>,
    /// The oldest segments are deleted although they have not expired (`diskSpaceCleanForciblyRatio`, and only with
    /// `cleanFileForciblyEnable` in the configuration).
    pub clean_forcibly: Option<u8>,
    /// Writes are refused (`diskSpaceWarningLevelRatio`).
    pub refuse: Option<u8>,
}

/// How a store is opened. `StoreOptions { root, ..StoreOptions::default() }` is a durable store with Apache's defaults.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Folder of everything (`storePathRootDir`).
    pub root: PathBuf,
    /// Folder of the commit log if it is not `<root>/commitlog` (`storePathCommitLog`).
    pub commit_log: Option<PathBuf>,
    /// Length of a commit log file. An existing store keeps its length; asking for another one is an error.
    pub segment_bytes: Option<u64>,
    /// Length of a consume queue file, a multiple of 20; the same rule.
    pub queue_segment_bytes: Option<u64>,
    /// Whether messages can be found by key (`messageIndexEnable`).
    pub key_index: bool,
    /// Hash slots of an index file (`maxHashSlotNum`).
    pub index_slots: u32,
    /// Entries of an index file (`maxIndexNum`).
    pub index_entries: u32,
    pub flush: FlushMode,
    /// The address written into every record, part of its message id.
    pub store_host: SocketAddr,
    /// Age at which a log segment may be deleted, counted from its last record's store time (`fileReservedTime`).
    pub retention: Duration,
    /// Local hours of the day in which expired segments are deleted (`deleteWhen`); empty means at any time.
    pub delete_hours: Vec<u8>,
    pub disk_ratios: DiskRatios,
    /// Log bytes allocated ahead of the head at first; doubles with use up to `log_ahead_bytes`.
    pub log_step_bytes: u64,
    /// Most log bytes allocated ahead of the head.
    pub log_ahead_bytes: u64,
    /// Bytes by which a consume queue's allocation grows.
    pub queue_step_bytes: u64,
    /// Bytes by which an index file's allocation grows.
    pub index_step_bytes: u64,
    /// Distance behind the head within which log bytes count as resident in memory. Unset: 40 % of the machine's memory
    /// (`accessMessageInMemoryMaxRatio`).
    pub resident_bytes: Option<u64>,
    /// How much of the log's end is checked at every start, even after a clean stop.
    pub recheck_bytes: u64,
    pub background: Background,
}

impl Default for StoreOptions {
    fn default() -> StoreOptions {
        StoreOptions {
            root: PathBuf::from("store"),
            commit_log: None,
            segment_bytes: None,
            queue_segment_bytes: None,
            key_index: true,
            index_slots: 5_000_000,
            index_entries: 20_000_000,
            flush: FlushMode::Async {
                interval: Duration::from_millis(200),
            },
            store_host: SocketAddr::from(([127, 0, 0, 1], 10911)),
            retention: Duration::from_secs(72 * 3600),
            delete_hours: vec![4],
            disk_ratios: DiskRatios::default(),
            log_step_bytes: 8 << 20,
            log_ahead_bytes: 64 << 20,
            queue_step_bytes: 64 << 10,
            index_step_bytes: 1 << 20,
            resident_bytes: None,
            recheck_bytes: 8 << 20,
            background: Background::Threads,
        }
    }
}

impl StoreOptions {
    /// Folder of the commit log's files.
    pub fn commit_log_folder(&self) -> PathBuf {
        self.commit_log
            .clone()
            .unwrap_or_else(|| self.root.join("commitlog"))
    }

    /// Whether records wait for the disk before they are acknowledged.
    pub fn is_sync(&self) -> bool {
        self.flush == FlushMode::Sync
    }

    /// Room left in a queue at which more is asked for.
    pub(super) fn grow_at_bytes(&self) -> u64 {
        self.queue_step_bytes / 8
    }

    pub(super) fn check(&self) -> Result<(), BadOption> {
        if self
            .queue_segment_bytes
            .is_some_and(|bytes| bytes == 0 || bytes % ENTRY_BYTES != 0)
        {
            return Err(BadOption(
                "the length of a consume queue file must be a multiple of 20",
            ));
        }
        if self
            .segment_bytes
            .is_some_and(|bytes| !(4096..=1 << 40).contains(&bytes))
        {
            return Err(BadOption(
                "the length of a commit log file must lie between 4 KiB and 1 TiB",
            ));
        }
        if self.index_slots == 0 || self.index_entries < 2 || self.index_entries > i32::MAX as u32 {
            return Err(BadOption("an index file needs slots and entries"));
        }
        if self.log_step_bytes == 0 || self.queue_step_bytes == 0 || self.index_step_bytes == 0 {
            return Err(BadOption("allocation steps must not be zero"));
        }
        Ok(())
    }
}

/// Options that cannot work together.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct BadOption(pub &'static str);
