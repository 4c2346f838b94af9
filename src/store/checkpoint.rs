//! What is known to be on disk, written down every second: in Apache's `checkpoint`, and with more detail in
//! `rmq/checkpoint`. Ours counts only while Apache's holds the very bytes that ours recorded: else Apache has run in between.
//!
//! `rmq/checkpoint` has two slots of 512 bytes, written in turn, ours before Apache's: whatever a power cut tears, one slot
//! and Apache's file still agree.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::OpenError;
use super::disk::{Disk, DiskFile, Way};
use super::index::IndexMark;

/// Length of Apache's file.
const APACHE_BYTES: u64 = 4096;
const SLOT_BYTES: usize = 512;
const MAGIC: &[u8; 8] = b"RMQCKPT1";
/// Magic, sequence, Apache's 40 bytes, the fields, CRC.
const USED_BYTES: usize = 8 + 8 + 40 + 8 * 7 + 4;

/// Apache's five values (`StoreCheckpoint`); never ahead of what is on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ApacheTimes {
    /// Store time of the last log record on disk.
    pub log: i64,
    /// Store time of the last record whose queue entry is on disk.
    pub queues: i64,
    /// End time of the last index file on disk.
    pub index: i64,
    pub master_flushed: i64,
    pub confirmed: i64,
}

impl ApacheTimes {
    /// Where recovery begins by Apache's rule: three seconds before the older of log and queues.
    pub fn safe_time(&self) -> i64 {
        (self.log.min(self.queues) - 3000).max(0)
    }

    fn encode(&self) -> [u8; 40] {
        let values = [
            self.log,
            self.queues,
            self.index,
            self.master_flushed,
            self.confirmed,
        ];
        let mut bytes = [0; 40];
        for (slot, value) in bytes.chunks_exact_mut(8).zip(values) {
            slot.copy_from_slice(&value.to_be_bytes());
        }
        bytes
    }

    fn decode(bytes: &[u8; 40]) -> ApacheTimes {
        let value = |at: usize| i64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        ApacheTimes {
            log: value(0),
            queues: value(8),
            index: value(16),
            master_flushed: value(24),
            confirmed: value(32),
        }
    }
}

/// What is on disk, by log offset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Marks {
    /// The log up to here.
    pub flushed: u64,
    /// The queue entries of all records below.
    pub dispatched: u64,
    /// A record's begin at or before which the check of the log's end starts.
    pub recheck_from: u64,
    pub index: IndexMark,
    /// Whether the store was stopped in order after this.
    pub clean: bool,
}

/// Both files, open.
pub(super) struct Checkpoint {
    apache: Arc<dyn DiskFile>,
    own: Arc<dyn DiskFile>,
    sequence: u64,
    /// What was last written.
    last: Option<(ApacheTimes, Marks)>,
}

impl Checkpoint {
    /// Opens or creates the files. Returns what they say: Apache's times, and our marks if they count.
    pub fn open(disk: &dyn Disk, root: &Path) -> Result<(Checkpoint, ApacheTimes, Option<Marks>), OpenError> {
        let apache = open_or_create(disk, &root.join("checkpoint"), APACHE_BYTES)?;
        let own = open_or_create(disk, &root.join("rmq/checkpoint"), 2 * SLOT_BYTES as u64)?;
        for folder in [root.to_owned(), root.join("rmq")] {
            disk.sync_folder(&folder).map_err(OpenError::io(&folder))?;
        }
        let mut times = [0; 40];
        apache
            .read_at(0, &mut times)
            .map_err(OpenError::io(&root.join("checkpoint")))?;
        let mut slots = [0; 2 * SLOT_BYTES];
        own.read_at(0, &mut slots)
            .map_err(OpenError::io(&root.join("rmq/checkpoint")))?;
        let slots: Vec<(u64, [u8; 40], Marks)> = slots.chunks_exact(SLOT_BYTES).filter_map(decode).collect();
        let sequence = slots.iter().map(|slot| slot.0).max().unwrap_or(0);
        let counting = slots
            .iter()
            .filter(|slot| slot.1 == times)
            .max_by_key(|slot| slot.0);
        let marks = counting.map(|slot| slot.2);
        let times = ApacheTimes::decode(&times);
        Ok((
            Checkpoint {
                apache,
                own,
                sequence,
                last: None,
            },
            times,
            marks,
        ))
    }

    /// Writes both files and syncs them, unless they hold this already.
    pub fn write(&mut self, times: ApacheTimes, marks: Marks) -> io::Result<()> {
        if self.last == Some((times, marks)) {
            return Ok(());
        }
        self.sequence += 1;
        let slot = self.sequence % 2 * SLOT_BYTES as u64;
        self.own
            .write_at(slot, &encode(self.sequence, &times.encode(), &marks))?;
        self.own.sync()?;
        self.apache.write_at(0, &times.encode())?;
        self.apache.sync()?;
        self.last = Some((times, marks));
        Ok(())
    }
}

fn open_or_create(disk: &dyn Disk, path: &Path, bytes: u64) -> Result<Arc<dyn DiskFile>, OpenError> {
    let folder = path.parent().expect("a checkpoint lies in a folder");
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .expect("a checkpoint has a name");
    let entries = disk.list(folder).map_err(OpenError::io(folder))?;
    let found = entries
        .iter()
        .find(|entry| entry.name == name)
        .map(|entry| entry.bytes);
    if found.is_some_and(|length| length < bytes) {
        disk.set_len(path, bytes).map_err(OpenError::io(path))?;
    }
    let file = match found {
        Some(_) => disk.open(path, Way::Written),
        None => disk.create(path, bytes, Way::Written),
    };
    file.map_err(OpenError::io(path))
}

fn encode(sequence: u64, times: &[u8; 40], marks: &Marks) -> [u8; SLOT_BYTES] {
    let mut slot = [0; SLOT_BYTES];
    slot[..8].copy_from_slice(MAGIC);
    slot[8..16].copy_from_slice(&sequence.to_be_bytes());
    slot[16..56].copy_from_slice(times);
    let (index, flags) = (marks.index, u64::from(marks.clean));
    let fields = [
        marks.flushed,
        marks.dispatched,
        marks.recheck_from,
        index.indexed,
        index.file,
        u64::from(index.count),
        flags,
    ];
    for (place, field) in slot[56..].chunks_exact_mut(8).zip(fields) {
        place.copy_from_slice(&field.to_be_bytes());
    }
    let crc = crc32fast::hash(&slot[..USED_BYTES - 4]);
    slot[USED_BYTES - 4..USED_BYTES].copy_from_slice(&crc.to_be_bytes());
    slot
}

fn decode(slot: &[u8]) -> Option<(u64, [u8; 40], Marks)> {
    let field = |at: usize| u64::from_be_bytes(slot[at..at + 8].try_into().expect("eight bytes"));
    let stated = u32::from_be_bytes(slot[USED_BYTES - 4..USED_BYTES].try_into().expect("four bytes"));
    if &slot[..8] != MAGIC || crc32fast::hash(&slot[..USED_BYTES - 4]) != stated {
        return None;
    }
    let marks = Marks {
        flushed: field(56),
        dispatched: field(64),
        recheck_from: field(72),
        index: IndexMark {
            indexed: field(80),
            file: field(88),
            count: field(96) as u32,
        },
        clean: field(104) != 0,
    };
    Some((field(8), slot[16..56].try_into().expect("forty bytes"), marks))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_says_what_was_written_and_a_torn_one_says_nothing() {
        let marks = Marks {
            flushed: 7,
            dispatched: 6,
            recheck_from: 5,
            index: IndexMark {
                indexed: 4,
                file: 2,
                count: 3,
            },
            clean: true,
        };
        let times = ApacheTimes {
            log: 1,
            queues: 2,
            index: 3,
            master_flushed: 0,
            confirmed: 9,
        }
        .encode();
        let mut slot = encode(11, &times, &marks);
        assert_eq!(decode(&slot), Some((11, times, marks)));
        slot[60] ^= 1;
        assert_eq!(decode(&slot), None);
    }
}
