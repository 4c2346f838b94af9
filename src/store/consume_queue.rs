//! Consume queues: per topic and queue id the places of its messages in the log, 20 bytes each. Derived data: whatever is
//! lost here is made again from the log.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use foldhash::fast::RandomState;

use super::OpenError;
use super::disk::{Allocation, Disk, Way};
use super::segment::Segment;
use super::segments::{Family, Segments};
use super::watermarks::Arrival;

/// Size of an entry.
pub(super) const ENTRY_BYTES: u64 = 20;
/// Size of a filler entry: it stands where a queue has no message (Apache's pre-blank).
const FILLER_SIZE: u32 = i32::MAX as u32;
/// Entries loaded at once while scanning.
const SCAN_ENTRIES: u64 = 64;

/// One message of a queue: where its record lies, and what a filter can see without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub log_offset: u64,
    /// Size of the whole record.
    pub size: u32,
    /// Java's hash of the tag, or what the topic's kind puts there.
    pub tags_code: i64,
}

impl Entry {
    const FILLER: Entry = Entry {
        log_offset: 0,
        size: FILLER_SIZE,
        tags_code: 0,
    };

    pub(super) fn encode(&self) -> [u8; ENTRY_BYTES as usize] {
        let mut bytes = [0; ENTRY_BYTES as usize];
        bytes[..8].copy_from_slice(&self.log_offset.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.size.to_be_bytes());
        bytes[12..].copy_from_slice(&self.tags_code.to_be_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Entry {
        Entry {
            log_offset: u64::from_be_bytes(bytes[..8].try_into().expect("eight bytes")),
            size: u32::from_be_bytes(bytes[8..12].try_into().expect("four bytes")),
            tags_code: i64::from_be_bytes(bytes[12..20].try_into().expect("eight bytes")),
        }
    }

    /// Whether no message stands here: it was lost, or the queue begins behind it.
    pub fn is_filler(&self) -> bool {
        self.size == FILLER_SIZE
    }

    fn is_written(&self) -> bool {
        self.size > 0 && self.size <= FILLER_SIZE && self.log_offset <= i64::MAX as u64
    }
}

/// One queue of a topic.
#[derive(Debug)]
pub(super) struct Queue {
    // Constant after creation.
    pub topic: Arc<str>,
    pub id: i32,
    /// Where the append section keeps this queue's tail.
    pub slot: usize,
    pub arrival: Arc<Arrival>,

    // Own synchronization.
    pub segments: Segments,
    /// First message that retention has left. Moved by retention and recovery.
    min: AtomicU64,
    /// Behind the last message that consumers may see. Moved by `publish` alone.
    end: AtomicU64,
    /// Behind the last message that has a number. Moved in the append section alone.
    next: AtomicU64,
    /// Entries that are on disk. Moved by the checkpoint's owner.
    synced: AtomicU64,
    /// Whether the names of the queue's folders and files are durable.
    names_synced: AtomicBool,
    /// Set when the topic is deleted: nothing may be appended through this handle any more.
    deleted: AtomicBool,
    /// Whether the allocator has been asked for more room and has not answered yet.
    pub growing: AtomicBool,
}

impl Queue {
    fn new(topic: Arc<str>, id: i32, slot: usize, segments: Segments) -> Queue {
        Queue {
            topic,
            id,
            slot,
            arrival: Arc::default(),
            segments,
            min: AtomicU64::new(0),
            end: AtomicU64::new(0),
            next: AtomicU64::new(0),
            synced: AtomicU64::new(0),
            names_synced: AtomicBool::new(false),
            deleted: AtomicBool::new(false),
            growing: AtomicBool::new(false),
        }
    }

    pub fn min(&self) -> u64 {
        self.min.load(Ordering::Acquire)
    }

    pub fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    pub fn next(&self) -> u64 {
        self.next.load(Ordering::Acquire)
    }

    /// Called in the append section alone.
    pub fn set_next(&self, next: u64) {
        self.next.store(next, Ordering::Release);
    }

    /// Makes all messages below `end` visible. Returns whether somebody waits for them.
    pub fn publish(&self, end: u64) -> bool {
        debug_assert!(end >= self.end.load(Ordering::Relaxed));
        self.end.store(end, Ordering::Release);
        self.arrival.count()
    }

    pub fn is_deleted(&self) -> bool {
        self.deleted.load(Ordering::Acquire)
    }

    pub fn mark_deleted(&self) {
        self.deleted.store(true, Ordering::Release);
    }

    /// Whether the queue has ever had a file: a queue whose first append was refused is none.
    pub fn exists(&self) -> bool {
        self.segments.first().is_some()
    }

    /// The entry of a message.
    pub fn entry(&self, queue_offset: u64) -> Option<Entry> {
        if queue_offset < self.min() || queue_offset >= self.end() {
            return None;
        }
        self.raw_entry(queue_offset)
    }

    /// The entry at a place, whatever stands there.
    fn raw_entry(&self, queue_offset: u64) -> Option<Entry> {
        let at = queue_offset.checked_mul(ENTRY_BYTES)?;
        let segment = self.segments.at(at)?;
        let mut bytes = [0; ENTRY_BYTES as usize];
        segment.file.load(segment.position(at), &mut bytes);
        Some(Entry::decode(&bytes))
    }

    /// Shows the entries of `from..until` to `visit` until it returns false. A missing file ends it. Returns the queue
    /// offset of the first entry that was not shown.
    pub fn scan(&self, from: u64, until: u64, mut visit: impl FnMut(u64, Entry) -> bool) -> u64 {
        let mut index = from;
        let mut buffer = [0; (SCAN_ENTRIES * ENTRY_BYTES) as usize];
        let mut current: Option<Arc<Segment>> = None;
        while index < until {
            let at = index * ENTRY_BYTES;
            let segment = match current
                .take()
                .filter(|segment| segment.holds(at))
                .or_else(|| self.segments.at(at))
            {
                Some(segment) => segment,
                None => break,
            };
            let here = ((segment.until() - at) / ENTRY_BYTES)
                .min(until - index)
                .min(SCAN_ENTRIES);
            let bytes = &mut buffer[..(here * ENTRY_BYTES) as usize];
            segment.file.load(segment.position(at), bytes);
            for entry in bytes.chunks_exact(ENTRY_BYTES as usize) {
                if !visit(index, Entry::decode(entry)) {
                    return index;
                }
                index += 1;
            }
            current = Some(segment);
        }
        index
    }

    /// First queue offset in `from..until` whose entry does not fulfil `before`, which must hold for a leading run of the
    /// entries alone. Fillers are passed over.
    pub fn partition(&self, from: u64, until: u64, before: impl Fn(u64, Entry) -> bool) -> u64 {
        let (mut low, mut high) = (from, until);
        while low < high {
            let middle = low + (high - low) / 2;
            let mut probe = None;
            let seen = self.scan(middle, high, |index, entry| {
                probe = (!entry.is_filler()).then_some((index, entry));
                probe.is_none()
            });
            match probe {
                Some((index, entry)) if before(index, entry) => low = index + 1,
                Some(_) => high = middle,
                // Only fillers up to `seen`; a missing file counts as old.
                None if seen < high => low = seen + 1,
                None => high = middle,
            }
        }
        low
    }

    /// First message whose record begins at or behind a log offset.
    pub fn first_from(&self, log_offset: u64) -> u64 {
        self.partition(self.min(), self.end(), |_, entry| entry.log_offset < log_offset)
    }

    /// Looks at the files after a start: behind the last entry whose record begins below `limit`. `trusted` judges the
    /// last ones, which a power cut may have torn. What the last process left need not be on disk, unless that is known.
    pub fn recover(&self, limit: u64, known_synced: bool, trusted: impl Fn(&Queue, u64, Entry) -> bool) {
        let counts = |entry: Option<Entry>| {
            entry.is_some_and(|entry| entry.is_written() && (entry.is_filler() || entry.log_offset < limit))
        };
        let segments = self.segments.all();
        let begin = segments.first().map_or(0, |segment| segment.base / ENTRY_BYTES);
        let used = segments
            .iter()
            .rev()
            .find(|segment| counts(self.raw_entry(segment.base / ENTRY_BYTES)));
        let mut end = used.map_or(begin, |segment| {
            let (mut low, mut high) = (segment.base / ENTRY_BYTES + 1, segment.until() / ENTRY_BYTES);
            while low < high {
                let middle = low + (high - low) / 2;
                if counts(self.raw_entry(middle)) {
                    low = middle + 1;
                } else {
                    high = middle;
                }
            }
            low
        });
        while end > begin
            && !self
                .raw_entry(end - 1)
                .is_some_and(|entry| trusted(self, end - 1, entry))
        {
            end -= 1;
        }
        // Files without a single entry were made ahead; where the queue was is not theirs to say.
        let (begin, end) = if end > begin { (begin, end) } else { (0, 0) };
        self.set_bounds(begin, end);
        let synced = if known_synced { end } else { begin };
        self.synced.store(synced, Ordering::Relaxed);
        self.names_synced.store(known_synced, Ordering::Relaxed);
    }

    fn set_bounds(&self, min: u64, end: u64) {
        self.min.store(min, Ordering::Release);
        self.end.store(end, Ordering::Release);
        self.next.store(end, Ordering::Release);
    }

    /// Zeroes what stands behind the last entry, so that no reader of the files takes it for entries.
    pub fn erase_end(&self) -> io::Result<()> {
        let at = self.end() * ENTRY_BYTES;
        let Some(segment) = self.segments.at(at) else {
            return Ok(());
        };
        if segment
            .file
            .zero(segment.position(at), segment.file.bytes_len())?
        {
            segment.file.sync()?;
        }
        Ok(())
    }

    /// Removes files that hold no entry: they were created ahead.
    pub fn remove_unused(&self, disk: &dyn Disk) -> io::Result<()> {
        self.segments
            .take_from(self.end() * ENTRY_BYTES)
            .iter()
            .try_for_each(|unused| disk.remove(&unused.path))
    }

    /// Adds the entry of a record found in the log, at the place its queue offset says. Entries that are there already
    /// stay; a gap, whose messages the log has lost, is filled. For recovery alone.
    pub fn restore(&self, disk: &dyn Disk, queue_offset: u64, entry: Entry) -> io::Result<bool> {
        let end = self.end();
        if queue_offset < end {
            return Ok(false);
        }
        let first = if end == 0 && !self.exists() {
            // The queue begins in the middle: its file begins with fillers, up to the first message.
            self.min.store(queue_offset, Ordering::Release);
            queue_offset / (self.segments.segment_bytes / ENTRY_BYTES)
                * (self.segments.segment_bytes / ENTRY_BYTES)
        } else if queue_offset - end > GAP_ENTRIES_MAX {
            return Ok(false);
        } else {
            end
        };
        for index in first..=queue_offset {
            let entry = if index == queue_offset {
                entry
            } else {
                Entry::FILLER
            };
            self.write_restored(disk, index, entry)?;
        }
        self.end.store(queue_offset + 1, Ordering::Release);
        self.next.store(queue_offset + 1, Ordering::Release);
        Ok(true)
    }

    fn write_restored(&self, disk: &dyn Disk, queue_offset: u64, entry: Entry) -> io::Result<()> {
        let at = queue_offset * ENTRY_BYTES;
        let segment = match self.segments.at(at) {
            Some(segment) => segment,
            None => self.create_segment(disk, at)?,
        };
        let position = segment.position(at);
        if position % RESTORE_STEP_BYTES < ENTRY_BYTES {
            let until = (position + RESTORE_STEP_BYTES + ENTRY_BYTES).min(segment.file.bytes_len());
            segment.file.allocate(position, until, Allocation::Reserved)?;
        }
        segment.write_at(at, &entry.encode())
    }

    /// Creates the file that holds byte `at` of the queue. Its names are not durable yet.
    pub fn create_segment(&self, disk: &dyn Disk, at: u64) -> io::Result<Arc<Segment>> {
        let bytes = self.segments.segment_bytes;
        let base = at / bytes * bytes;
        disk.create_folder(&self.segments.folder)?;
        self.names_synced.store(false, Ordering::Release);
        let path = self.segments.folder.join(super::segment::name(base));
        let file = disk.create(&path, bytes, Way::Mapped)?;
        let segment = Arc::new(Segment::derived(&self.segments.folder, base, file));
        self.segments.push(segment.clone());
        Ok(segment)
    }

    /// Makes the entries below the published end durable. Returns whether there was something to do.
    pub fn sync(&self, disk: &dyn Disk) -> io::Result<bool> {
        let (synced, end) = (self.synced.load(Ordering::Relaxed), self.end());
        let names_synced = self.names_synced.load(Ordering::Acquire) || !self.exists();
        if (synced >= end && names_synced) || self.is_deleted() {
            return Ok(false);
        }
        if !names_synced {
            // Before the sync: a file created meanwhile asks for another one.
            self.names_synced.store(true, Ordering::Release);
            let topic = self
                .segments
                .folder
                .parent()
                .expect("a queue lies in its topic's folder");
            let all = topic.parent().expect("a topic lies in the folder of all queues");
            for folder in [&self.segments.folder, topic, all] {
                disk.sync_folder(folder)?;
            }
        }
        for segment in self.segments.between(synced * ENTRY_BYTES, end * ENTRY_BYTES) {
            segment.file.sync()?;
        }
        self.synced.store(end, Ordering::Relaxed);
        Ok(true)
    }

    /// Removes the queue's files and its folder, so that they do not come back.
    pub fn remove_files(&self, disk: &dyn Disk) -> io::Result<()> {
        let gone = self.segments.take_from(0);
        if gone.is_empty() {
            return Ok(());
        }
        gone.iter().try_for_each(|segment| disk.remove(&segment.path))?;
        disk.remove_folder(&self.segments.folder)?;
        disk.sync_folder(
            self.segments
                .folder
                .parent()
                .expect("a queue lies in its topic's folder"),
        )
    }

    /// Moves the first message to where the log begins now, and removes files that lie wholly before it.
    pub fn retain(&self, disk: &dyn Disk, log_min: u64) -> io::Result<()> {
        let min = self.first_from(log_min);
        self.min.fetch_max(min, Ordering::AcqRel);
        // The file with the last entry stays: it says where the queue is.
        let last = self.end().saturating_sub(1) * ENTRY_BYTES;
        for gone in self.segments.take_until((min * ENTRY_BYTES).min(last)) {
            disk.remove(&gone.path)?;
        }
        Ok(())
    }
}

/// Longest gap that recovery fills in a queue.
const GAP_ENTRIES_MAX: u64 = 1 << 20;
/// Allocation step while entries are made again.
const RESTORE_STEP_BYTES: u64 = 4096;

/// The end of a queue, as the append section needs it. Part of what the append lock protects.
#[derive(Debug, Default)]
pub(super) struct Tail {
    /// Files that can take entries, the current one first.
    pub segments: VecDeque<Arc<Segment>>,
    /// Byte of the queue up to which entries can be stored.
    pub room: u64,
}

impl Tail {
    /// The file and offset at which the entry of a message goes.
    pub fn place(&mut self, queue_offset: u64) -> (&Arc<Segment>, u64) {
        let at = queue_offset * ENTRY_BYTES;
        debug_assert!(at + ENTRY_BYTES <= self.room);
        while self.segments.front().is_some_and(|segment| segment.until() <= at) {
            self.segments.pop_front();
        }
        (
            self.segments.front().expect("the room lies in these segments"),
            at,
        )
    }
}

/// All queues, by topic and id. One lock, a leaf. Bounded by the topics that the broker creates.
#[derive(Debug)]
pub(super) struct Queues {
    folder: PathBuf,
    segment_bytes: u64,
    table: RwLock<HashMap<Arc<str>, Vec<Arc<Queue>>, RandomState>>,
    /// Tail slots without a queue, and the number of slots. A leaf lock.
    slots: Mutex<(Vec<usize>, usize)>,
    /// Counts queues coming into being: for those who wait for one that does not exist.
    pub births: Arc<Arrival>,
}

impl Queues {
    /// Finds the queues that lie in a folder. Their bounds are set by [`Queue::recover`].
    pub fn load(disk: &dyn Disk, folder: PathBuf, segment_bytes: Option<u64>) -> Result<Queues, OpenError> {
        let mut found = Vec::new();
        for topic in disk
            .list(&folder)
            .map_err(OpenError::io(&folder))?
            .into_iter()
            .filter(|entry| entry.is_folder)
        {
            let topic_folder = folder.join(&topic.name);
            for queue in disk.list(&topic_folder).map_err(OpenError::io(&topic_folder))? {
                if let (true, Ok(id)) = (queue.is_folder, queue.name.parse::<i32>()) {
                    found.push((topic.name.clone(), id, topic_folder.join(&queue.name)));
                }
            }
        }
        let segment_bytes = Queues::length(disk, &found, segment_bytes)?;
        let queues = Queues {
            folder,
            segment_bytes,
            table: RwLock::default(),
            slots: Mutex::default(),
            births: Arc::default(),
        };
        for (topic, id, folder) in found {
            let segments = Segments::load(disk, folder, segment_bytes, Way::Mapped, Family::Queue)?;
            if segments.first().is_some() {
                queues.insert(&topic, id, segments);
            }
        }
        Ok(queues)
    }

    /// The length of queue files: an existing store's own, which must not contradict the one asked for.
    fn length(
        disk: &dyn Disk,
        found: &[(String, i32, PathBuf)],
        asked: Option<u64>,
    ) -> Result<u64, OpenError> {
        for (_, _, folder) in found {
            let Some((path, bytes)) = Segments::length_in(disk, folder)? else {
                continue;
            };
            return match asked {
                Some(expected) if expected != bytes => Err(OpenError::Length {
                    path,
                    bytes,
                    expected,
                }),
                _ if bytes % ENTRY_BYTES != 0 => Err(OpenError::Length {
                    path,
                    bytes,
                    expected: bytes / 20 * 20,
                }),
                _ => Ok(bytes),
            };
        }
        Ok(asked.unwrap_or(super::options::QUEUE_SEGMENT_BYTES))
    }

    /// A queue that has, or has had, messages.
    pub fn get(&self, topic: &str, id: i32) -> Option<Arc<Queue>> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.get(topic)?.iter().find(|queue| queue.id == id).cloned()
    }

    /// A queue to append to. It gets files with its first message.
    pub fn get_or_create(&self, topic: &str, id: i32) -> Arc<Queue> {
        if let Some(queue) = self.get(topic, id) {
            return queue;
        }
        let folder = self.folder.join(topic).join(id.to_string());
        self.insert(topic, id, Segments::none(folder, self.segment_bytes))
    }

    fn insert(&self, topic: &str, id: i32, segments: Segments) -> Arc<Queue> {
        let slot = self.take_slot();
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let found = table
            .get(topic)
            .and_then(|queues| queues.iter().find(|queue| queue.id == id))
            .cloned();
        if let Some(queue) = found {
            drop(table);
            self.give_slot(slot);
            return queue;
        }
        let name = table
            .get_key_value(topic)
            .map_or_else(|| Arc::from(topic), |(name, _)| name.clone());
        let queue = Arc::new(Queue::new(name.clone(), id, slot, segments));
        table.entry(name).or_default().push(queue.clone());
        drop(table);
        self.births.announce();
        queue
    }

    /// A topic's queues.
    pub fn of(&self, topic: &str) -> Vec<Arc<Queue>> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.get(topic).cloned().unwrap_or_default()
    }

    /// Takes a topic's queues out of the table, and gives their slots to others.
    pub fn remove(&self, topic: &str) {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let removed = table.remove(topic).unwrap_or_default();
        drop(table);
        for queue in removed {
            self.give_slot(queue.slot);
            queue.arrival.announce();
        }
    }

    /// All queues, in no order.
    pub fn all(&self) -> Vec<Arc<Queue>> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.values().flatten().cloned().collect()
    }

    /// The folder of a topic's queues.
    pub fn topic_folder(&self, topic: &str) -> PathBuf {
        self.folder.join(topic)
    }

    fn take_slot(&self) -> usize {
        let (free, count) = &mut *self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        free.pop().unwrap_or_else(|| {
            *count += 1;
            *count - 1
        })
    }

    fn give_slot(&self, slot: usize) {
        self.slots
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .0
            .push(slot);
    }
}
