//! How far each group has come in each queue (Apache: `ConsumerOffsetManager`): committed offsets, which are saved; the
//! offsets of the last pulls and pending resets, which are not.
//!
//! A queue offset here is the next one to be consumed. The table never learns of an offset beyond its queue's end: the
//! caller of [`Offsets::commit`] says where that is.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard};

use crate::protocol::request::body::DataVersion;
use crate::protocol::request::group::ConsumerOffsetTable;
use foldhash::fast::RandomState;
use tokio::sync::{Notify, watch};

/// The version of the table moves once in so many commits (`consumerOffsetUpdateVersionStep`).
const COMMITS_PER_VERSION: u64 = 500;

/// What a commit did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commit {
    Done,
    /// A reset of this queue waits for the group: the commit is dropped, as the reset decides.
    ResetPending,
    /// Negative, or beyond the end of the queue: refused.
    OutOfRange,
}

#[derive(Default)]
struct QueueProgress {
    committed: Option<i64>,
    pulled: Option<i64>,
    reset: Option<i64>,
}

type Queues = BTreeMap<i32, QueueProgress>;

#[derive(Default)]
struct Table {
    /// Group → topic → queue id.
    groups: HashMap<String, HashMap<String, Queues, RandomState>, RandomState>,
    version: DataVersion,
    commits: u64,
    /// Counts changes of what is saved.
    changes: u64,
    /// The ends that queues had when the broker started: topic → queue id.
    first_ends: HashMap<String, BTreeMap<i32, i64>, RandomState>,
}

/// All groups' progress.
#[derive(Default)]
pub struct Offsets {
    table: Mutex<Table>,
    /// Moves with every reset, for held pulls.
    resets: watch::Sender<()>,
    /// Rung by the first commit of a group in a queue.
    first_commit: Notify,
}

/// Tells of resets, of any group.
pub struct Resets(watch::Receiver<()>);

impl Resets {
    /// Waits for a reset since this was made or last returned; for ever if there is none. Dropping it loses nothing.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

impl Offsets {
    /// What was saved. Entries without a group or a topic are dropped.
    pub fn open(saved: Option<ConsumerOffsetTable>) -> Offsets {
        let saved = saved.unwrap_or_default();
        let mut table = Table {
            version: saved.data_version.unwrap_or_default(),
            ..Table::default()
        };
        for (key, queues) in saved.offset_table {
            // Neither name can contain the separator.
            let Some((topic, group)) = key.split_once('@') else {
                continue;
            };
            for (queue_id, offset) in queues.into_iter().filter(|(_, offset)| *offset >= 0) {
                table.queue_mut(group, topic, queue_id).committed = Some(offset);
            }
        }
        Offsets {
            table: Mutex::new(table),
            ..Offsets::default()
        }
    }

    /// The committed offset, `None` if the group never committed one for this queue.
    pub fn committed(&self, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
        self.lock().queue(group, topic, queue_id)?.committed
    }

    /// The larger of the committed offset and the end of the last pull: what is in flight lies between the two.
    pub fn pulled(&self, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
        let table = self.lock();
        let queue = table.queue(group, topic, queue_id)?;
        queue.pulled.max(queue.committed)
    }

    /// Commits an offset of a consumer. `end` is the queue's end: no group can have consumed more. Going back is allowed.
    pub fn commit(&self, group: &str, topic: &str, queue_id: i32, offset: i64, end: i64) -> Commit {
        if offset < 0 || offset > end {
            return Commit::OutOfRange;
        }
        let mut table = self.lock();
        if table
            .queue(group, topic, queue_id)
            .is_some_and(|queue| queue.reset.is_some())
        {
            return Commit::ResetPending;
        }
        let before = table.set_committed(group, topic, queue_id, offset);
        drop(table);
        if before.is_none() {
            self.first_commit.notify_one();
        }
        Commit::Done
    }

    /// Waits for a first commit of a group in a queue since this last returned. Until it is saved, a crash takes the group
    /// back to where it once began, not just a little.
    pub async fn first_commit(&self) {
        self.first_commit.notified().await;
    }

    /// Remembers where a pull ended.
    pub fn note_pulled(&self, group: &str, topic: &str, queue_id: i32, next: i64) {
        let mut table = self.lock();
        match table.existing_mut(group, topic, queue_id) {
            Some(queue) => queue.pulled = Some(next),
            None => table.queue_mut(group, topic, queue_id).pulled = Some(next),
        }
    }

    /// Moves the group in this queue: the committed offset at once, a running consumer with its next pull.
    pub fn reset(&self, group: &str, topic: &str, queue_id: i32, offset: i64) {
        let mut table = self.lock();
        table.set_committed(group, topic, queue_id, offset);
        let queue = table.queue_mut(group, topic, queue_id);
        queue.reset = Some(offset);
        queue.pulled = Some(offset);
        drop(table);
        self.resets.send_replace(());
    }

    /// Tells of resets from now on.
    pub fn resets(&self) -> Resets {
        Resets(self.resets.subscribe())
    }

    /// Notes the ends that queues have when the broker starts.
    pub fn note_first_ends(&self, ends: impl Iterator<Item = (String, i32, i64)>) {
        let mut table = self.lock();
        for (topic, queue_id, end) in ends {
            table.first_ends.entry(topic).or_default().insert(queue_id, end);
        }
    }

    /// Where a group goes that asks for more than its queue has: what it committed, else the end the queue had when the
    /// broker started, 0 if it was created since. So nothing is skipped after a topic was created anew, and not
    /// everything is repeated after the end of the log was lost.
    pub fn before_loss(&self, group: &str, topic: &str, queue_id: i32) -> i64 {
        let table = self.lock();
        let committed = table
            .queue(group, topic, queue_id)
            .and_then(|queue| queue.committed);
        let first_end = || {
            table
                .first_ends
                .get(topic)
                .and_then(|queues| queues.get(&queue_id))
                .copied()
        };
        committed.or_else(first_end).unwrap_or(0)
    }

    /// The offset a consumer has to go to, given out once.
    pub fn take_reset(&self, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
        self.lock().existing_mut(group, topic, queue_id)?.reset.take()
    }

    /// The group's committed offsets of a topic, by queue id.
    pub fn of_topic(&self, group: &str, topic: &str) -> BTreeMap<i32, i64> {
        let table = self.lock();
        let queues = table.groups.get(group).and_then(|topics| topics.get(topic));
        queues.map(committed_queues).unwrap_or_default()
    }

    /// The topics the group has committed offsets for, sorted.
    pub fn topics_of(&self, group: &str) -> Vec<String> {
        let table = self.lock();
        let topics = table.groups.get(group).into_iter().flatten();
        let mut names: Vec<String> = topics
            .filter(|(_, queues)| has_committed(queues))
            .map(|(topic, _)| topic.clone())
            .collect();
        names.sort_unstable();
        names
    }

    /// The groups that have committed offsets for the topic, sorted.
    pub fn groups_of(&self, topic: &str) -> Vec<String> {
        let table = self.lock();
        let mut names: Vec<String> = table
            .groups
            .iter()
            .filter(|(_, topics)| topics.get(topic).is_some_and(has_committed))
            .map(|(group, _)| group.clone())
            .collect();
        names.sort_unstable();
        names
    }

    /// Forgets everything about a topic: also pending resets and pull offsets.
    pub fn remove_topic(&self, topic: &str) {
        let mut table = self.lock();
        table
            .groups
            .values_mut()
            .for_each(|topics| drop(topics.remove(topic)));
        table.groups.retain(|_, topics| !topics.is_empty());
        table.first_ends.remove(topic);
        table.changes += 1;
    }

    /// Forgets everything about a group.
    pub fn remove_group(&self, group: &str) {
        let mut table = self.lock();
        table.groups.remove(group);
        table.changes += 1;
    }

    /// Copies the committed offsets of a topic from one group to another.
    pub fn copy(&self, source: &str, target: &str, topic: &str) {
        let offsets = self.of_topic(source, topic);
        let mut table = self.lock();
        for (queue_id, offset) in offsets {
            table.set_committed(target, topic, queue_id, offset);
        }
    }

    /// Lowers every committed offset that lies beyond the end of its queue, as a shortened log leaves them behind.
    /// `end_of` tells the end of a queue, 0 for one that does not exist. Returns what was moved.
    pub fn clamp(&self, end_of: impl Fn(&str, i32) -> i64) -> Vec<Clamped> {
        let mut moved = Vec::new();
        for (group, topic, queue_id, offset) in self.all() {
            let end = end_of(&topic, queue_id);
            if offset > end {
                self.lock().set_committed(&group, &topic, queue_id, end);
                moved.push(Clamped {
                    group,
                    topic,
                    queue_id,
                    offset,
                    end,
                });
            }
        }
        moved
    }

    /// Every committed offset: group, topic, queue id, offset.
    fn all(&self) -> Vec<(String, String, i32, i64)> {
        let table = self.lock();
        let mut all = Vec::new();
        for (group, topics) in &table.groups {
            for (topic, queues) in topics {
                all.extend(
                    queues.iter().filter_map(|(id, queue)| {
                        Some((group.clone(), topic.clone(), *id, queue.committed?))
                    }),
                );
            }
        }
        all
    }

    /// The committed offsets at one moment, as `config/consumerOffset.json` holds them.
    pub fn snapshot(&self) -> ConsumerOffsetTable {
        let table = self.lock();
        let mut offset_table = BTreeMap::new();
        for (group, topics) in &table.groups {
            for (topic, queues) in topics.iter().filter(|(_, queues)| has_committed(queues)) {
                offset_table.insert(format!("{topic}@{group}"), committed_queues(queues));
            }
        }
        ConsumerOffsetTable {
            data_version: Some(table.version),
            offset_table,
            ..ConsumerOffsetTable::default()
        }
    }

    /// Moves whenever something that is saved changed.
    pub fn changes(&self) -> u64 {
        self.lock().changes
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table
            .lock()
            .expect("no code panics while it holds the offsets")
    }
}

/// A committed offset that pointed behind its queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clamped {
    pub group: String,
    pub topic: String,
    pub queue_id: i32,
    pub offset: i64,
    pub end: i64,
}

fn has_committed(queues: &Queues) -> bool {
    queues.values().any(|queue| queue.committed.is_some())
}

fn committed_queues(queues: &Queues) -> BTreeMap<i32, i64> {
    queues
        .iter()
        .filter_map(|(id, queue)| Some((*id, queue.committed?)))
        .collect()
}

impl Table {
    fn queue(&self, group: &str, topic: &str, queue_id: i32) -> Option<&QueueProgress> {
        self.groups.get(group)?.get(topic)?.get(&queue_id)
    }

    /// The entry if it exists: without copies of the names, for commits and pulls come by the thousand.
    fn existing_mut(&mut self, group: &str, topic: &str, queue_id: i32) -> Option<&mut QueueProgress> {
        self.groups.get_mut(group)?.get_mut(topic)?.get_mut(&queue_id)
    }

    fn queue_mut(&mut self, group: &str, topic: &str, queue_id: i32) -> &mut QueueProgress {
        let topics = self.groups.entry(group.to_string()).or_default();
        topics
            .entry(topic.to_string())
            .or_default()
            .entry(queue_id)
            .or_default()
    }

    /// Returns what was committed before.
    fn set_committed(&mut self, group: &str, topic: &str, queue_id: i32, offset: i64) -> Option<i64> {
        let before = match self.existing_mut(group, topic, queue_id) {
            Some(queue) => queue.committed.replace(offset),
            None => self.queue_mut(group, topic, queue_id).committed.replace(offset),
        };
        if before == Some(offset) {
            return before;
        }
        self.changes += 1;
        self.commits += 1;
        if self.commits.is_multiple_of(COMMITS_PER_VERSION) {
            self.version.counter += 1;
        }
        before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_beyond_the_end_or_below_zero_changes_nothing() {
        let offsets = Offsets::default();
        assert_eq!(offsets.commit("g", "t", 0, 5, 5), Commit::Done);
        assert_eq!(offsets.commit("g", "t", 0, 6, 5), Commit::OutOfRange);
        assert_eq!(offsets.commit("g", "t", 0, -1, 5), Commit::OutOfRange);
        assert_eq!(offsets.committed("g", "t", 0), Some(5));
        assert_eq!(offsets.commit("g", "t", 0, 2, 5), Commit::Done);
        assert_eq!(offsets.committed("g", "t", 0), Some(2));
    }

    #[test]
    fn a_reset_is_taken_once_and_outlives_commits_until_then() {
        let offsets = Offsets::default();
        offsets.commit("g", "t", 0, 90, 100);
        offsets.reset("g", "t", 0, 50);
        assert_eq!(offsets.commit("g", "t", 0, 91, 100), Commit::ResetPending);
        assert_eq!(offsets.committed("g", "t", 0), Some(50));
        assert_eq!(offsets.take_reset("g", "t", 0), Some(50));
        assert_eq!(offsets.take_reset("g", "t", 0), None);
        assert_eq!(offsets.commit("g", "t", 0, 51, 100), Commit::Done);
    }

    #[test]
    fn deleting_a_topic_takes_its_pending_reset_and_pull_offsets_along() {
        let offsets = Offsets::default();
        offsets.reset("g", "t", 0, 50);
        offsets.note_pulled("g", "t", 1, 7);
        offsets.commit("g", "other", 0, 1, 1);
        offsets.remove_topic("t");
        assert_eq!(offsets.take_reset("g", "t", 0), None);
        assert_eq!(offsets.pulled("g", "t", 1), None);
        assert_eq!(offsets.topics_of("g"), ["other"]);
    }

    #[test]
    fn offsets_beyond_a_shortened_queue_are_moved_to_its_end() {
        let offsets = Offsets::default();
        offsets.commit("g", "t", 0, 10, 10);
        offsets.commit("g", "gone", 0, 3, 3);
        let moved = offsets.clamp(|topic, _| if topic == "t" { 8 } else { 0 });
        assert_eq!(moved.len(), 2);
        assert_eq!(offsets.committed("g", "t", 0), Some(8));
        assert_eq!(offsets.committed("g", "gone", 0), Some(0));
    }

    #[test]
    fn what_was_saved_is_there_after_a_restart_and_the_rest_is_not() {
        let offsets = Offsets::default();
        offsets.commit("g", "t", 3, 4, 4);
        offsets.note_pulled("g", "u", 0, 9);
        let again = Offsets::open(Some(offsets.snapshot()));
        assert_eq!(again.committed("g", "t", 3), Some(4));
        assert_eq!(again.pulled("g", "u", 0), None);
        assert_eq!(again.groups_of("t"), ["g"]);
    }
}
