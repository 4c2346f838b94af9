//! Brings the log to the disk: every so often under ASYNC_FLUSH, as fast as the disk allows under SYNC_FLUSH, where one
//! sync serves all who wait (group commit) and makes their records visible.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use super::Store;
use super::bell::Bell;
use super::commit_log::{Staging, publish};
use super::segment::Segment;

/// What the flusher keeps between its steps.
#[derive(Default)]
pub(super) struct Flusher {
    pub bell: Arc<Bell>,
    /// Store time of the last record that is on disk.
    pub flushed_time: AtomicI64,
    /// Syncs of log segments since the store was opened.
    pub syncs: AtomicU64,
}

impl Store {
    /// One round of the flusher. Returns whether it brought anything to the disk. A failed write or sync poisons the
    /// store: we no longer know what is on disk, so nothing is retried and nothing acknowledged.
    pub fn flush_step(&self) -> bool {
        if self.log.failure().is_some() {
            return false;
        }
        if self.options.is_sync() {
            self.flush_staged()
        } else {
            self.flush_mapped()
        }
    }

    fn flush_mapped(&self) -> bool {
        let (end, store_time) = {
            let head = self.log.head();
            (head.end, head.last_store_time)
        };
        let flushed = self.log.flushed.get();
        if end == flushed {
            return false;
        }
        for segment in self.log.segments.between(flushed, end) {
            if let Err(error) = segment.file.sync() {
                self.log
                    .poison(format!("syncing {}: {error}", segment.path.display()));
                return false;
            }
            self.flusher.syncs.fetch_add(1, Ordering::Relaxed);
        }
        self.flusher.flushed_time.store(store_time, Ordering::Release);
        self.log.flushed.raise(end);
        true
    }

    fn flush_staged(&self) -> bool {
        let mut flushing = self
            .flushing
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let spare = std::mem::take(&mut *flushing);
        let mut staging = self.log.head().take_staging(spare);
        self.staging_room.notify_waiters();
        if staging.is_empty() {
            *flushing = staging;
            return false;
        }
        if let Err(reason) = self.write_staged(&staging) {
            self.log.poison(reason);
            return false;
        }
        self.flusher
            .flushed_time
            .store(staging.last_store_time, Ordering::Release);
        for pending in &staging.entries {
            if publish(
                &pending.queue,
                &pending.segment,
                pending.at,
                pending.queue_offset,
                &pending.entry,
            ) {
                pending.queue.arrival.wake();
            }
        }
        self.log.flushed.raise(staging.end);
        staging.clear();
        *flushing = staging;
        true
    }

    /// One `pwrite` per segment, then one sync per segment. Returns what failed.
    fn write_staged(&self, staging: &Staging) -> Result<(), String> {
        let failed = |segment: &Arc<Segment>, doing: &str, error| {
            format!("{doing} {}: {error}", segment.path.display())
        };
        for piece in &staging.pieces {
            let bytes = &staging.bytes[piece.range.clone()];
            piece
                .segment
                .write_at(piece.offset, bytes)
                .map_err(|error| failed(&piece.segment, "writing", error))?;
        }
        for (segment, offset, word) in &staging.first_words {
            segment
                .write_at(*offset, word)
                .map_err(|error| failed(segment, "writing", error))?;
        }
        self.log.written().raise(staging.end);
        let mut synced = None;
        for piece in &staging.pieces {
            if synced != Some(piece.segment.base) {
                piece
                    .segment
                    .file
                    .sync()
                    .map_err(|error| failed(&piece.segment, "syncing", error))?;
                self.flusher.syncs.fetch_add(1, Ordering::Relaxed);
                synced = Some(piece.segment.base);
            }
        }
        Ok(())
    }
}
