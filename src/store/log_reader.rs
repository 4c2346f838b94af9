//! Walks the log record by record with plain reads, for whoever reads much of it in order: recovery, the key index,
//! retention. A bad block is an error here, never a signal.

use std::sync::Arc;

use super::commit_log::BLANK_BYTES;
use super::segment::Segment;
use crate::protocol::message::{self, BadRecord, RecordView};

/// Window of a walk.
const WALK_BYTES: usize = 256 << 10;
/// Window of a look at one record.
const SINGLE_BYTES: usize = 4 << 10;

/// A window onto one segment at a time.
pub(super) struct LogReader {
    /// Bytes read at once, unless a record is larger.
    window_bytes: usize,
    segment: Option<Arc<Segment>>,
    /// Bytes of the segment from `from` on.
    window: Vec<u8>,
    from: u64,
}

/// What stands at a log offset.
pub(super) enum Found<'a> {
    Record(RecordView<'a>),
    /// The segment holds no more records.
    Blank,
    Bad(String),
}

impl LogReader {
    /// For reading on and on.
    pub fn walking() -> LogReader {
        LogReader {
            window_bytes: WALK_BYTES,
            segment: None,
            window: Vec::new(),
            from: 0,
        }
    }

    /// For one record.
    pub fn single() -> LogReader {
        LogReader {
            window_bytes: SINGLE_BYTES,
            ..LogReader::walking()
        }
    }

    /// What stands at `offset` of `segment`. A record counts only if its size, magic, lengths and position are right.
    /// The body's checksum is left to the caller.
    pub fn find(&mut self, segment: &Arc<Segment>, offset: u64) -> Found<'_> {
        let left = segment.until() - offset;
        if left < BLANK_BYTES {
            return Found::Bad("too few bytes are left in the file".to_owned());
        }
        if let Err(error) = self.provide(segment, offset, BLANK_BYTES as usize) {
            return Found::Bad(error.to_string());
        }
        let start = (offset - self.from) as usize;
        let word = |at: usize| {
            u32::from_be_bytes(
                self.window[start + at..start + at + 4]
                    .try_into()
                    .expect("four bytes"),
            )
        };
        let (size, magic) = (word(0), word(4));
        if magic == message::MAGIC_BLANK && u64::from(size) == left {
            return Found::Blank;
        }
        if magic != message::MAGIC_V1 && magic != message::MAGIC_V2 {
            return Found::Bad(BadRecord::Magic(magic).to_string());
        }
        if u64::from(size) > left {
            return Found::Bad(
                BadRecord::Size {
                    stated: size,
                    available: left as usize,
                }
                .to_string(),
            );
        }
        if let Err(error) = self.provide(segment, offset, size as usize) {
            return Found::Bad(error.to_string());
        }
        let start = (offset - self.from) as usize;
        match RecordView::decode(&self.window[start..]) {
            Ok(record) if record.physical_offset == offset => Found::Record(record),
            Ok(record) => Found::Bad(format!(
                "the record says it belongs to offset {}",
                record.physical_offset
            )),
            Err(bad) => Found::Bad(bad.to_string()),
        }
    }

    /// First offset in `from..until` of the segment at which a whole, undamaged record begins.
    pub fn search(&mut self, segment: &Arc<Segment>, from: u64, until: u64) -> Option<u64> {
        let mut at = from;
        while at < until {
            let len = (until.min(at + WALK_BYTES as u64) - at) as usize;
            if self.provide(segment, at, len).is_err() {
                // A block that cannot be read hides at most one window.
                at += WALK_BYTES as u64;
                continue;
            }
            let start = (at - self.from) as usize;
            let magics: Vec<u64> = magics_in(&self.window[start..start + len])
                .map(|found| at + found as u64)
                .collect();
            for magic_at in magics {
                let Some(begin) = magic_at.checked_sub(4).filter(|begin| *begin >= from) else {
                    continue;
                };
                if matches!(self.find(segment, begin), Found::Record(record) if record.check_body().is_ok()) {
                    return Some(begin);
                }
            }
            // Overlap, so that a magic on the border is seen.
            at += (len as u64).saturating_sub(3).max(1);
        }
        None
    }

    /// Makes `len` bytes from `offset` on available in the window.
    fn provide(&mut self, segment: &Arc<Segment>, offset: u64, len: usize) -> std::io::Result<()> {
        let same = self
            .segment
            .as_ref()
            .is_some_and(|held| Arc::ptr_eq(held, segment));
        let held_until = self.from + self.window.len() as u64;
        if same && offset >= self.from && offset + len as u64 <= held_until {
            return Ok(());
        }
        let len = len
            .max(self.window_bytes)
            .min((segment.until() - offset) as usize);
        self.segment = None;
        self.window.resize(len, 0);
        self.window.shrink_to(self.window_bytes);
        segment.file.read_at(segment.position(offset), &mut self.window)?;
        self.segment = Some(segment.clone());
        self.from = offset;
        Ok(())
    }

    /// Forgets what was read: bytes that were not written yet when they were read may be there now.
    pub fn forget(&mut self) {
        self.segment = None;
    }
}

/// Positions of record magics.
fn magics_in(bytes: &[u8]) -> impl Iterator<Item = usize> + '_ {
    const PREFIX: [u8; 3] = [0xDA, 0xA3, 0x20];
    memchr::memmem::find_iter(bytes, &PREFIX).filter(|at| matches!(bytes.get(at + 3), Some(0xA7 | 0xAB)))
}
