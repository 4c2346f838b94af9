//! Why the store says no.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::options::BadOption;

/// Why a store was not opened.
#[derive(Debug, Error)]
pub enum OpenError {
    #[error(transparent)]
    Option(#[from] BadOption),
    #[error("the store {} is in use by process {pid}", root.display())]
    InUse { root: PathBuf, pid: u32 },
    /// A file's length contradicts the configuration or the files beside it.
    #[error("{} has {bytes} bytes, expected are {expected}", path.display())]
    Length {
        path: PathBuf,
        bytes: u64,
        expected: u64,
    },
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl OpenError {
    pub(super) fn io(path: &Path) -> impl Fn(io::Error) -> OpenError {
        let path = path.to_owned();
        move |source| OpenError::Io {
            path: path.clone(),
            source,
        }
    }
}

/// The disk has no room for what was to be stored. Goes away by itself when there is room again.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("no room in {}: {free_bytes} bytes free ({cause})", path.display())]
pub struct NoRoom {
    pub path: PathBuf,
    pub free_bytes: u64,
    /// What the system said.
    pub cause: String,
}

/// Why a message was not stored. Nothing of it is in the store.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AppendError {
    /// Retry later; answered with SERVICE_NOT_AVAILABLE (14).
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    /// SYNC_FLUSH: too much waits for the disk. Wait with [`Store::staging_room`](super::Store::staging_room) and retry.
    #[error("{staged_bytes} bytes wait for the disk")]
    Busy { staged_bytes: usize },
    /// A record must fit into a log segment with 8 bytes to spare, a topic into 255 bytes, properties into 32,767.
    #[error("{what} has {bytes} bytes, allowed are {bytes_max}")]
    TooLarge {
        what: &'static str,
        bytes: usize,
        bytes_max: usize,
    },
    /// The name cannot be a folder's name.
    #[error("{0:?} cannot be a topic's name")]
    BadTopic(String),
    #[error("topic {0:?} is being deleted")]
    TopicDeleting(String),
    /// A write or a sync has failed: nothing is acknowledged any more until the broker is restarted.
    #[error("the store has failed: {0}")]
    Poisoned(String),
    #[error("the store is closed")]
    Closed,
}

/// Why a stored record was not served.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ReadError {
    /// The bytes are not the record that was stored there.
    #[error("damaged record at log offset {log_offset}: {reason}")]
    Damaged { log_offset: u64, reason: String },
    #[error("reading log offset {log_offset}: {cause}")]
    Io { log_offset: u64, cause: String },
}

/// Why the store could not finish an administrative step.
#[derive(Debug, Error)]
pub enum StoreError {
    #[error("the store has failed: {0}")]
    Poisoned(String),
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl StoreError {
    pub(super) fn io(path: &Path) -> impl Fn(io::Error) -> StoreError {
        let path = path.to_owned();
        move |source| StoreError::Io {
            path: path.clone(),
            source,
        }
    }
}
