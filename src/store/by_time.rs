//! From a time to a place in a queue. Equal and missing times have one answer: the lower bound is the first message stored at
//! or after the time, the upper bound the last one stored at or before it.

use super::Store;
use super::consume_queue::{Entry, Queue};

/// Which message of those around a time is meant (`BoundaryType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boundary {
    /// The first message not older than the time; after the last message: the queue's end.
    Lower,
    /// The last message not younger than the time; before the first message: the queue's begin.
    Upper,
}

impl Store {
    /// The queue offset that belongs to a store time; 0 if there is no such queue. Reads a few records, which may wait for
    /// the disk.
    pub fn offset_by_time(&self, topic: &str, queue_id: i32, timestamp: i64, boundary: Boundary) -> u64 {
        let Some(queue) = self.existing(topic, queue_id) else {
            return 0;
        };
        let (min, end) = (queue.min(), queue.end());
        match boundary {
            Boundary::Lower => self.first_not_before(&queue, min, end, |time| time < timestamp),
            Boundary::Upper => {
                let behind = self.first_not_before(&queue, min, end, |time| time <= timestamp);
                behind.saturating_sub(1).max(min)
            }
        }
    }

    fn first_not_before(&self, queue: &Queue, min: u64, end: u64, before: impl Fn(i64) -> bool) -> u64 {
        // A lost record has no time; it counts as old, so that the search ends at one that can be read.
        let is_before = |_: u64, entry: Entry| self.store_time_at(&entry).is_none_or(&before);
        queue.partition(min, end, is_before)
    }
}
