//! What goes: log segments that have expired, then the queue and index files that only spoke of them; and topics that are
//! deleted. Files are removed outside of every lock that a sender takes.

use std::io;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLockReadGuard};
use std::time::Duration;

use super::Store;
use super::consume_queue::Queues;
use super::disk::Disk;
use super::error::{OpenError, StoreError};
use super::log_reader::{Found, LogReader};
use super::recovery::Deleted;
use super::segment::Segment;

/// Most log segments removed in one round (`deleteFileBatchMax`).
const BATCH_MAX: usize = 10;

/// Why segments are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CleanReason {
    /// Now and then: expired segments go in the hours of deletion, or when the disk fills up.
    Routine,
    /// Somebody asked: expired segments go at once (request 306).
    Asked,
}

impl Store {
    /// One round of retention. Returns how many log segments went. The last one never goes; unexpired ones only where
    /// [`DiskRatios::clean_forcibly`](super::DiskRatios::clean_forcibly) is set and reached.
    ///
    /// # Errors
    /// If a file cannot be removed; the next round tries again.
    pub fn clean(&self, reason: CleanReason) -> Result<usize, StoreError> {
        let used = self
            .disk
            .space(&self.options.root)
            .map_or(0, |space| space.used_percent());
        let ratios = self.options.disk_ratios;
        let forced = ratios.clean_forcibly.is_some_and(|limit| used >= limit);
        let due = forced
            || reason == CleanReason::Asked
            || ratios.clean.is_some_and(|limit| used >= limit)
            || self.is_hour_of_deletion();
        if !due {
            return Ok(0);
        }
        let mut gone = self.expired(forced);
        if gone.is_empty() {
            return Ok(0);
        }
        // A queue's position must not depend on records that go: its entries are synced first.
        let dispatched = self
            .write_checkpoint(true)
            .map_err(StoreError::io(&self.options.root))?;
        gone.retain(|segment| segment.until() <= dispatched);
        let Some(last) = gone.last() else { return Ok(0) };
        let count = gone.len();
        tracing::info!(count, until = last.until(), "log segments are removed");
        self.remove_log_until(last.until())?;
        Ok(count)
    }

    /// The oldest segments that may go, at most a batch.
    fn expired(&self, forced: bool) -> Vec<Arc<Segment>> {
        let current = self.log.head().segment().base;
        let deadline = self.clock.now_ms() - duration_ms(self.options.retention);
        let mut gone = Vec::new();
        for segment in self.log.segments.all() {
            let candidate = segment.base < current && gone.len() < BATCH_MAX;
            if !candidate || !(forced || self.last_store_time(&segment).is_none_or(|time| time <= deadline)) {
                break;
            }
            gone.push(segment);
        }
        gone
    }

    /// Store time of a full segment's last record; `None` if it holds none that can be read. Walked once, and only once the
    /// segment's first record is old enough to matter.
    fn last_store_time(&self, segment: &Arc<Segment>) -> Option<i64> {
        if let Some(known) = segment.last_store_time() {
            return Some(known);
        }
        let mut reader = LogReader::walking();
        let (mut at, mut last) = (segment.base, None);
        let deadline = self.clock.now_ms() - duration_ms(self.options.retention);
        while at < segment.until() {
            match reader.find(segment, at) {
                Found::Record(record) => {
                    last = Some(record.store_timestamp);
                    if at == segment.base && record.store_timestamp > deadline {
                        return last;
                    }
                    at += record.len() as u64;
                }
                Found::Blank => break,
                Found::Bad(_) => match reader.search(segment, at + 1, segment.until()) {
                    Some(next) => at = next,
                    None => break,
                },
            }
        }
        if let Some(time) = last {
            segment.set_last_store_time(time);
        }
        last
    }

    fn is_hour_of_deletion(&self) -> bool {
        let hours = &self.options.delete_hours;
        let now = jiff::Timestamp::from_millisecond(self.clock.now_ms()).unwrap_or_default();
        let hour = now.to_zoned(jiff::tz::TimeZone::system()).hour();
        hours.is_empty() || hours.iter().any(|due| i8::try_from(*due) == Ok(hour))
    }

    /// Takes log segments away from the front: out of sight, then off the disk; queues and index follow, so that whatever a
    /// crash brings back of the log can still be found.
    fn remove_log_until(&self, until: u64) -> Result<(), StoreError> {
        for segment in self.log.segments.take_until(until) {
            self.disk
                .remove(&segment.path)
                .map_err(StoreError::io(&segment.path))?;
        }
        let folder = &self.log.segments.folder;
        self.disk.sync_folder(folder).map_err(StoreError::io(folder))?;
        let min = self.log.min();
        for queue in self.queues.all() {
            queue
                .retain(&*self.disk, min)
                .map_err(StoreError::io(&queue.segments.folder))?;
        }
        self.index
            .retain(&*self.disk, min)
            .map_err(StoreError::io(&self.options.root.join("index")))?;
        self.forget_deleted(min)
    }

    /// Deletes a topic: when this returns its queues are gone, also after a crash, and its records in the log are nobody's.
    /// A topic of the same name created later begins at offset 0.
    ///
    /// # Errors
    /// If the disk refuses; calling again finishes it.
    pub fn delete_topic(&self, topic: &str) -> Result<(), StoreError> {
        let queues = self.queues.of(topic);
        let below = {
            let head = self.log.head();
            queues.iter().for_each(|queue| queue.mark_deleted());
            head.end
        };
        let mut deleted = self.deleted().clone();
        deleted.insert(topic.to_owned(), below);
        self.set_deleted(deleted)?;
        self.write_checkpoint(true)
            .map_err(StoreError::io(&self.options.root))?;
        {
            // Not while room is being made for one of these queues.
            let _allocating = self.allocator.pause();
            for queue in &queues {
                queue
                    .remove_files(&*self.disk)
                    .map_err(StoreError::io(&queue.segments.folder))?;
                self.log.head().forget_tail(queue.slot);
            }
        }
        // A folder that is not empty holds something that is not ours.
        let _ = self.disk.remove_folder(&self.queues.topic_folder(topic));
        self.queues.remove(topic);
        Ok(())
    }

    /// Topics that were deleted while their records are still in the log.
    pub(super) fn deleted(&self) -> RwLockReadGuard<'_, Deleted> {
        self.deleted.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets deletions of which the log holds no record any more.
    fn forget_deleted(&self, log_min: u64) -> Result<(), StoreError> {
        let mut deleted = self.deleted().clone();
        let count = deleted.len();
        deleted.retain(|_, below| *below > log_min);
        if deleted.len() == count {
            Ok(())
        } else {
            self.set_deleted(deleted)
        }
    }

    fn set_deleted(&self, deleted: Deleted) -> Result<(), StoreError> {
        let root = &self.options.root;
        note_deleted(&*self.disk, root, &deleted).map_err(StoreError::io(&root.join(DELETED_FILE)))?;
        *self.deleted.write().unwrap_or_else(PoisonError::into_inner) = deleted;
        Ok(())
    }
}

const DELETED_FILE: &str = "rmq/deleted.json";

fn duration_ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 2)
}

/// The deletions noted in a store's folder. Where the log has lost its end, they count up to where it ends now: what is
/// stored there next is not older than they are.
pub(super) fn load_deleted(disk: &dyn Disk, root: &Path, log_end: u64) -> Result<Deleted, OpenError> {
    let path = root.join(DELETED_FILE);
    let Some(text) = disk.read(&path).map_err(OpenError::io(&path))? else {
        return Ok(Deleted::default());
    };
    let mut deleted: Deleted =
        serde_json::from_slice(&text).map_err(|error| OpenError::io(&path)(error.into()))?;
    let ahead = deleted.values_mut().filter(|below| **below > log_end);
    if ahead.map(|below| *below = log_end).count() > 0 {
        note_deleted(disk, root, &deleted).map_err(OpenError::io(&path))?;
    }
    Ok(deleted)
}

fn note_deleted(disk: &dyn Disk, root: &Path, deleted: &Deleted) -> io::Result<()> {
    let text = serde_json::to_vec(deleted).expect("a map of texts and numbers is JSON");
    disk.replace(&root.join(DELETED_FILE), &text)
}

/// Finishes deletions that a crash cut short: queues that still begin with a record from before.
pub(super) fn finish_deletions(disk: &dyn Disk, queues: &Queues, deleted: &Deleted) -> Result<(), OpenError> {
    for (topic, below) in deleted {
        let old = |entry: super::Entry| entry.log_offset < *below && !entry.is_filler();
        let found = queues.of(topic);
        let is_old = found.iter().any(|queue| {
            (queue.min()..queue.end())
                .find_map(|at| queue.entry(at))
                .is_some_and(old)
        });
        if !is_old {
            continue;
        }
        for queue in found {
            queue
                .remove_files(disk)
                .map_err(OpenError::io(&queue.segments.folder))?;
        }
        // As above: what is left there is not ours.
        let _ = disk.remove_folder(&queues.topic_folder(topic));
        queues.remove(topic);
    }
    Ok(())
}
