//! The key index: from `topic#key` to the log offsets of records with that key. Built behind the head, from the log alone.
//!
//! ```text
//! header 40:  beginTime 8 | endTime 8 | beginOffset 8 | endOffset 8 | usedSlots 4 | count 4
//! slots:      4 bytes each: number of the newest entry of this hash, 0 = none
//! entries:    20 bytes each, numbered from 1: hash 4 | logOffset 8 | seconds since beginTime 4 | previous entry 4
//! ```
//! A file is named by its creation's local time. The slots can be made again from the entries, so that after a crash only
//! the number of entries that are on disk need be known.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::Store;
use super::disk::{Allocation, Disk, DiskFile, Way};
use super::error::OpenError;
use super::log_reader::{Found, LogReader};
use super::recovery::is_deleted;
use crate::protocol::message::{RecordView, java_hash, property, sys_flag};

const HEADER_BYTES: u64 = 40;
const SLOT_BYTES: u64 = 4;
const ENTRY_BYTES: u64 = 20;
/// Log bytes indexed in one go while the index lock is held.
const STEP_BYTES: u64 = 1 << 20;
/// Longest time a query spends on indexing what it must not miss.
const CATCH_UP_MAX: Duration = Duration::from_secs(1);
/// Most entries of equal hash that one query looks at.
const CANDIDATES_MAX: usize = 1 << 16;

/// What kind of key is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// A key of the user's, or the unique id.
    Any,
    /// The id that the producer gave the message (`UNIQ_KEY`).
    Unique,
}

/// Files of the index, and how far it has come.
pub(super) struct KeyIndex {
    folder: PathBuf,
    slots: u32,
    entries: u32,
    step_bytes: u64,
    indexed: AtomicU64,
    files: Mutex<Files>,
}

/// Under the index lock.
struct Files {
    /// Oldest first.
    list: Vec<Arc<IndexFile>>,
    /// Byte of the newest file up to which it is allocated.
    allocated: u64,
    /// Log offset of the next record to index.
    position: u64,
    reader: LogReader,
    /// Files that were filled up since the last sync, and need one.
    filled: Vec<Arc<IndexFile>>,
}

/// What of the index a checkpoint vouches for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct IndexMark {
    /// Records below are indexed.
    pub indexed: u64,
    /// Name of the newest file, as a number; 0: there was none.
    pub file: u64,
    /// Its `count`.
    pub count: u32,
}

/// What must be synced for a mark to hold.
pub(super) struct Unsynced {
    files: Vec<Arc<IndexFile>>,
    pub mark: IndexMark,
    /// End time of the newest file.
    pub end_time: i64,
}

impl Unsynced {
    pub fn sync(&self, disk: &dyn Disk, folder: &Path) -> io::Result<()> {
        if !self.files.is_empty() {
            disk.sync_folder(folder)?;
        }
        self.files.iter().try_for_each(|file| file.file.sync())
    }
}

#[derive(Debug)]
struct IndexFile {
    /// The file's name as a number.
    name: u64,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    slots: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Header {
    begin_time: i64,
    end_time: i64,
    begin_offset: u64,
    end_offset: u64,
    used_slots: u32,
    /// One more than the number of entries.
    count: u32,
}

#[derive(Clone, Copy, Debug)]
struct IndexEntry {
    hash: u32,
    log_offset: u64,
    seconds: u32,
    previous: u32,
}

impl KeyIndex {
    /// Opens the index's files; of those that do not have the configured length none can be used.
    pub fn open(disk: &dyn Disk, options: &super::StoreOptions) -> Result<KeyIndex, OpenError> {
        let folder = options.root.join("index");
        disk.create_folder(&folder).map_err(OpenError::io(&folder))?;
        let expected = file_bytes(options.index_slots, options.index_entries);
        let mut list = Vec::new();
        for entry in disk.list(&folder).map_err(OpenError::io(&folder))? {
            let Some(name) = name_of(&entry.name).filter(|_| !entry.is_folder) else {
                continue;
            };
            let path = folder.join(&entry.name);
            if entry.bytes == 0 {
                disk.remove(&path).map_err(OpenError::io(&path))?;
                continue;
            }
            if entry.bytes != expected {
                return Err(OpenError::Length {
                    path,
                    bytes: entry.bytes,
                    expected,
                });
            }
            let file = disk.open(&path, Way::Mapped).map_err(OpenError::io(&path))?;
            file.expect_random_access();
            list.push(Arc::new(IndexFile {
                name,
                path,
                file,
                slots: options.index_slots,
            }));
        }
        list.sort_by_key(|file| file.name);
        let files = Files {
            list,
            allocated: 0,
            position: 0,
            reader: LogReader::walking(),
            filled: Vec::new(),
        };
        Ok(KeyIndex {
            folder,
            slots: options.index_slots,
            entries: options.index_entries,
            step_bytes: options.index_step_bytes,
            indexed: AtomicU64::new(0),
            files: Mutex::new(files),
        })
    }

    /// Goes on from what our checkpoint vouches for; after a crash the rest is forgotten and indexed again.
    pub fn recover(&self, disk: &dyn Disk, mark: IndexMark, clean: bool) -> io::Result<()> {
        let mut files = self.files();
        files.position = mark.indexed;
        if clean {
            return Ok(());
        }
        files.remove_where(disk, |file| file.name > mark.file)?;
        match files.list.last().filter(|last| last.name == mark.file) {
            Some(last) => last.rewind(mark.count),
            None => Ok(()),
        }
    }

    /// Goes on from what Apache has left. After a crash only files count whose last entry Apache knew to be on disk; what was
    /// in the others is indexed again.
    pub fn adopt(&self, disk: &dyn Disk, synced_time: i64, clean: bool) -> io::Result<()> {
        let mut files = self.files();
        files.remove_where(disk, |file| {
            let header = file.header();
            header.count <= 1 || header.count > self.entries || (!clean && header.end_time > synced_time)
        })?;
        files.position = files.list.last().map_or(0, |last| last.header().end_offset);
        Ok(())
    }

    /// Forgets what lies outside of the log.
    pub fn fit(&self, disk: &dyn Disk, log_min: u64, log_end: u64) -> io::Result<()> {
        let mut files = self.files();
        files.remove_where(disk, |file| {
            file.header().begin_offset >= log_end && file.header().count > 1
        })?;
        if let Some(last) = files
            .list
            .last()
            .filter(|last| last.header().end_offset >= log_end)
        {
            let kept = last.first_entry_from(log_end);
            last.rewind(kept)?;
        }
        files.position = files.position.clamp(log_min, log_end);
        self.indexed.store(files.position, Ordering::Release);
        Ok(())
    }

    pub fn indexed(&self) -> u64 {
        self.indexed.load(Ordering::Acquire)
    }

    /// What a checkpoint could vouch for once it is synced.
    pub fn unsynced(&self) -> Unsynced {
        let mut files = self.files();
        let mut dirty = std::mem::take(&mut files.filled);
        let newest = files.list.last().cloned();
        let header = newest.as_ref().map(|file| file.header()).unwrap_or_default();
        let mark = IndexMark {
            indexed: files.position,
            file: newest.as_ref().map_or(0, |file| file.name),
            count: header.count,
        };
        dirty.extend(newest);
        Unsynced {
            files: dirty,
            mark,
            end_time: header.end_time,
        }
    }

    /// Removes files whose records retention has removed; never the newest.
    pub fn retain(&self, disk: &dyn Disk, log_min: u64) -> io::Result<()> {
        let mut files = self.files();
        let newest = files.list.last().map_or(0, |file| file.name);
        files.remove_where(disk, |file| {
            file.name != newest && file.header().end_offset < log_min
        })
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the keys of one record.
    fn put(
        &self,
        disk: &dyn Disk,
        files: &mut Files,
        record: &RecordView<'_>,
        now_ms: i64,
    ) -> io::Result<()> {
        for key in keys_of(record) {
            let file = match files
                .list
                .last()
                .filter(|last| last.header().count < self.entries)
            {
                Some(last) => last.clone(),
                None => self.create(disk, files, record, now_ms)?,
            };
            let needed = file.entry_at(file.header().count) + ENTRY_BYTES;
            if needed > files.allocated {
                let until = (needed + self.step_bytes).min(file.file.bytes_len());
                file.file
                    .allocate(files.allocated.max(file.entry_at(0)), until, Allocation::Reserved)?;
                files.allocated = until;
            }
            file.put(
                hash_of(record.topic, key),
                record.physical_offset,
                record.store_timestamp,
            )?;
        }
        Ok(())
    }

    /// A new file. Until its first entry it says what the last one says at its end.
    fn create(
        &self,
        disk: &dyn Disk,
        files: &mut Files,
        record: &RecordView<'_>,
        now_ms: i64,
    ) -> io::Result<Arc<IndexFile>> {
        let last = files.list.last().cloned();
        let name = name_at(now_ms, last.as_ref().map_or(0, |last| last.name));
        let path = self.folder.join(format!("{name:017}"));
        let file = disk.create(&path, file_bytes(self.slots, self.entries), Way::Mapped)?;
        file.expect_random_access();
        let created = IndexFile {
            name,
            path,
            file,
            slots: self.slots,
        };
        if let Err(error) = created
            .file
            .allocate(0, created.entry_at(0), Allocation::Reserved)
        {
            disk.remove(&created.path)?;
            return Err(error);
        }
        let (time, offset) = last
            .as_ref()
            .map_or((record.store_timestamp, record.physical_offset), |last| {
                (last.header().end_time, last.header().end_offset)
            });
        created.set_header(&Header {
            begin_time: time,
            end_time: time,
            begin_offset: offset,
            end_offset: offset,
            used_slots: 0,
            count: 1,
        })?;
        let created = Arc::new(created);
        files.allocated = created.entry_at(0);
        files.filled.extend(last);
        files.list.push(created.clone());
        Ok(created)
    }
}

impl Files {
    fn remove_where(&mut self, disk: &dyn Disk, gone: impl Fn(&IndexFile) -> bool) -> io::Result<()> {
        for file in self.list.iter().filter(|file| gone(file)) {
            disk.remove(&file.path)?;
        }
        self.list.retain(|file| !gone(file));
        self.allocated = 0;
        Ok(())
    }
}

impl IndexFile {
    fn header(&self) -> Header {
        let mut bytes = [0; HEADER_BYTES as usize];
        self.file.load(0, &mut bytes);
        let long = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let word = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        Header {
            begin_time: long(0) as i64,
            end_time: long(8) as i64,
            begin_offset: long(16),
            end_offset: long(24),
            used_slots: word(32),
            // Apache writes 1 with the first entry; an untouched file says 0.
            count: word(36).max(1),
        }
    }

    fn set_header(&self, header: &Header) -> io::Result<()> {
        let mut bytes = [0; HEADER_BYTES as usize];
        bytes[..8].copy_from_slice(&header.begin_time.to_be_bytes());
        bytes[8..16].copy_from_slice(&header.end_time.to_be_bytes());
        bytes[16..24].copy_from_slice(&header.begin_offset.to_be_bytes());
        bytes[24..32].copy_from_slice(&header.end_offset.to_be_bytes());
        bytes[32..36].copy_from_slice(&header.used_slots.to_be_bytes());
        bytes[36..].copy_from_slice(&header.count.to_be_bytes());
        self.file.write_at(0, &bytes)
    }

    fn slot_at(&self, hash: u32) -> u64 {
        HEADER_BYTES + SLOT_BYTES * u64::from(hash % self.slots)
    }

    fn slot(&self, hash: u32) -> u32 {
        let mut bytes = [0; SLOT_BYTES as usize];
        self.file.load(self.slot_at(hash), &mut bytes);
        u32::from_be_bytes(bytes)
    }

    fn entry_at(&self, number: u32) -> u64 {
        HEADER_BYTES + SLOT_BYTES * u64::from(self.slots) + ENTRY_BYTES * u64::from(number)
    }

    fn entry(&self, number: u32) -> IndexEntry {
        let mut bytes = [0; ENTRY_BYTES as usize];
        self.file.load(self.entry_at(number), &mut bytes);
        let word = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        IndexEntry {
            hash: word(0),
            log_offset: u64::from_be_bytes(bytes[4..12].try_into().expect("eight bytes")),
            seconds: word(12),
            previous: word(16),
        }
    }

    /// Entry, slot, header: in this order, so that a kill in between leaves at most an entry that nothing points to.
    fn put(&self, hash: u32, log_offset: u64, store_time: i64) -> io::Result<()> {
        let mut header = self.header();
        if header.count == 1 {
            header.begin_time = store_time;
            header.begin_offset = log_offset;
        }
        let previous = Some(self.slot(hash))
            .filter(|number| *number < header.count)
            .unwrap_or(0);
        let seconds = ((store_time - header.begin_time) / 1000).clamp(0, i64::from(i32::MAX)) as u32;
        let mut bytes = [0; ENTRY_BYTES as usize];
        bytes[..4].copy_from_slice(&hash.to_be_bytes());
        bytes[4..12].copy_from_slice(&log_offset.to_be_bytes());
        bytes[12..16].copy_from_slice(&seconds.to_be_bytes());
        bytes[16..].copy_from_slice(&previous.to_be_bytes());
        self.file.write_at(self.entry_at(header.count), &bytes)?;
        self.file
            .write_at(self.slot_at(hash), &header.count.to_be_bytes())?;
        header.used_slots += u32::from(previous == 0);
        header.count += 1;
        header.end_time = store_time;
        header.end_offset = log_offset;
        self.set_header(&header)
    }

    /// Number of the first entry that points at or behind a log offset.
    fn first_entry_from(&self, log_offset: u64) -> u32 {
        let (mut low, mut high) = (1, self.header().count);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.entry(middle).log_offset < log_offset {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Forgets the entries from number `count` on, and makes the slots again from those before.
    fn rewind(&self, count: u32) -> io::Result<()> {
        let count = count.max(1);
        let mut slots = vec![0; (SLOT_BYTES * u64::from(self.slots)) as usize];
        let mut used_slots = 0;
        for number in 1..count {
            let at = (self.entry(number).hash % self.slots) as usize * SLOT_BYTES as usize;
            let slot = &mut slots[at..at + SLOT_BYTES as usize];
            used_slots += u32::from(*slot == [0; SLOT_BYTES as usize]);
            slot.copy_from_slice(&number.to_be_bytes());
        }
        self.file.allocate(0, self.entry_at(0), Allocation::Reserved)?;
        self.file.write_at(HEADER_BYTES, &slots)?;
        let header = self.header();
        let (end_offset, end_time) = match count {
            1 => (header.begin_offset, header.begin_time),
            _ => {
                let last = self.entry(count - 1);
                (
                    last.log_offset,
                    header.begin_time + i64::from(last.seconds) * 1000 + 999,
                )
            }
        };
        self.set_header(&Header {
            end_time,
            end_offset,
            used_slots,
            count,
            ..header
        })
    }

    /// Log offsets with a hash in a range of whole seconds, newest first, appended to `found`.
    fn find(&self, hash: u32, begin_ms: i64, end_ms: i64, found: &mut Vec<u64>) {
        let header = self.header();
        let mut number = self.slot(hash);
        while number > 0 && number < header.count && found.len() < CANDIDATES_MAX {
            let entry = self.entry(number);
            // The entry knows whole seconds; the record itself is looked at later.
            let time = header.begin_time + i64::from(entry.seconds) * 1000;
            if entry.hash == hash && time <= end_ms && time + 1000 > begin_ms {
                found.push(entry.log_offset);
            }
            if entry.previous >= number {
                return;
            }
            number = entry.previous;
        }
    }
}

impl Store {
    /// One round of the indexer: adds the keys of the next records. Returns whether there were any. A full disk only delays
    /// it.
    pub fn index_step(&self) -> bool {
        if !self.options.key_index {
            return false;
        }
        let until = self.log.confirmed().get();
        let mut files = self.index.files();
        let begin = files.position.max(self.log.min());
        files.position = begin;
        if begin >= until {
            return false;
        }
        let result = self.index_records(&mut files, until.min(begin + STEP_BYTES), until);
        self.index.indexed.store(files.position, Ordering::Release);
        if let Err(error) = result {
            tracing::warn!(%error, "keys are not indexed for now");
            return false;
        }
        files.position > begin
    }

    fn index_records(&self, files: &mut Files, step_end: u64, log_end: u64) -> io::Result<()> {
        let mut reader = std::mem::replace(&mut files.reader, LogReader::walking());
        // What was read at the head before may have been written since.
        reader.forget();
        while files.position < step_end {
            let at = files.position;
            let Some(segment) = self.log.segments.at(at) else {
                files.position = self
                    .log
                    .segments
                    .from(at)
                    .map_or(log_end, |next| next.base)
                    .min(log_end);
                continue;
            };
            let next = match reader.find(&segment, at) {
                Found::Record(record) => {
                    let next = at + record.len() as u64;
                    if !is_deleted(&self.deleted(), &record) {
                        self.index.put(&*self.disk, files, &record, self.clock.now_ms())?;
                    }
                    next
                }
                Found::Blank => segment.until(),
                Found::Bad(_) => {
                    let behind = self
                        .hole_end(at)
                        .or_else(|| reader.search(&segment, at + 1, segment.until()));
                    behind.unwrap_or(segment.until())
                }
            };
            files.position = next.min(log_end);
        }
        files.reader = reader;
        Ok(())
    }

    /// Messages of a topic with a key, stored between two times (inclusive, to the whole second): the newest `max`, oldest
    /// first. Topic and key are compared as text: messages that only share a hash neither show nor count. What was
    /// acknowledged before the call is found. Reads records, which may wait for the disk.
    pub fn query(
        &self,
        topic: &str,
        key: &str,
        max: usize,
        begin_ms: i64,
        end_ms: i64,
        kind: KeyKind,
    ) -> Vec<Bytes> {
        let target = self.log.confirmed().get();
        let since = Instant::now();
        while self.index.indexed() < target && since.elapsed() < CATCH_UP_MAX && self.index_step() {}
        let begin_ms = begin_ms.div_euclid(1000) * 1000;
        let end_ms = end_ms.div_euclid(1000).saturating_mul(1000).saturating_add(999);
        let mut candidates = Vec::new();
        let files = self.index.files().list.clone();
        let hash = hash_of(topic, key);
        for file in files.iter().rev() {
            file.find(hash, begin_ms, end_ms, &mut candidates);
        }
        let mut found: Vec<(u64, Bytes)> = Vec::new();
        for log_offset in candidates {
            if found.len() >= max {
                break;
            }
            if found.iter().any(|(seen, _)| *seen == log_offset) {
                continue;
            }
            let Ok(Some(bytes)) = self.message_at(log_offset) else {
                continue;
            };
            let wanted = RecordView::decode(&bytes).is_ok_and(|record| {
                record.topic == topic
                    && (begin_ms..=end_ms).contains(&record.store_timestamp)
                    && has_key(&record, key, kind)
                    && !is_deleted(&self.deleted(), &record)
            });
            if wanted {
                found.push((log_offset, bytes));
            }
        }
        found.sort_unstable_by_key(|(log_offset, _)| *log_offset);
        found.into_iter().map(|(_, bytes)| bytes).collect()
    }
}

/// The keys under which a record can be found: its unique id, then the user's. A rolled back one has none.
fn keys_of<'a>(record: &RecordView<'a>) -> impl Iterator<Item = &'a str> + use<'a> {
    let transaction = record.sys_flag & sys_flag::TRANSACTION_ROLLBACK;
    let properties = if transaction == sys_flag::TRANSACTION_ROLLBACK {
        ""
    } else {
        record.properties
    };
    let mut unique = None;
    let mut keys = "";
    for (name, value) in crate::protocol::message::properties(properties) {
        match name {
            property::UNIQ_KEY => unique = Some(value),
            property::KEYS => keys = value,
            _ => {}
        }
    }
    unique
        .into_iter()
        .chain(keys.split(' ').filter(|key| !key.is_empty()))
}

fn has_key(record: &RecordView<'_>, key: &str, kind: KeyKind) -> bool {
    match kind {
        KeyKind::Any => keys_of(record).any(|has| has == key),
        KeyKind::Unique => record.property(property::UNIQ_KEY) == Some(key),
    }
}

/// Java's hash of `topic#key`, never negative.
fn hash_of(topic: &str, key: &str) -> u32 {
    let mut hash = java_hash(topic);
    let rest = java_hash(key);
    hash = hash.wrapping_mul(31).wrapping_add(i32::from(b'#'));
    let units = if key.is_ascii() {
        key.len()
    } else {
        key.encode_utf16().count()
    };
    hash = hash
        .wrapping_mul(31i32.wrapping_pow(units as u32))
        .wrapping_add(rest);
    hash.checked_abs().unwrap_or(0) as u32
}

fn file_bytes(slots: u32, entries: u32) -> u64 {
    HEADER_BYTES + SLOT_BYTES * u64::from(slots) + ENTRY_BYTES * u64::from(entries)
}

/// A file name as a number; `None` for a foreign file.
fn name_of(name: &str) -> Option<u64> {
    (name.len() == 17 && name.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| name.parse().ok())
        .flatten()
}

/// The name of a file created now: local time, later than the last one's.
fn name_at(now_ms: i64, last: u64) -> u64 {
    let moment = jiff::Timestamp::from_millisecond(now_ms).unwrap_or_default();
    let local = moment.to_zoned(jiff::tz::TimeZone::system());
    let name = local.strftime("%Y%m%d%H%M%S%3f").to_string();
    name_of(&name).unwrap_or(0).max(last + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_topic_and_key_is_javas() {
        for (topic, key) in [
            ("TopicTest", "k1"),
            ("t", ""),
            ("Thema", "schlüssel-日本"),
            ("AaTopic", "BB"),
        ] {
            let whole = java_hash(&format!("{topic}#{key}"));
            assert_eq!(hash_of(topic, key), whole.checked_abs().unwrap_or(0) as u32);
        }
    }

    #[test]
    fn names_are_seventeen_digits_and_rise() {
        let first = name_at(1_700_000_000_000, 0);
        assert_eq!(format!("{first:017}").len(), 17);
        assert!(format!("{first}").starts_with("2023"));
        assert_eq!(name_at(1_700_000_000_000, first), first + 1);
    }
}
