//! The files of one family in order: who finds a segment by offset, adds one at the end, drops some at the front.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use super::OpenError;
use super::disk::{Disk, Way};
use super::segment::{self, Segment};

/// What to do with the files that are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// Records, which need verification.
    Log,
    /// Entries derived from the log.
    Queue,
}

/// The segments of a family. One lock, a leaf.
#[derive(Debug)]
pub(super) struct Segments {
    pub folder: PathBuf,
    /// Length of each file.
    pub segment_bytes: u64,
    /// Ascending, never overlapping; a missing file leaves a gap.
    list: RwLock<Vec<Arc<Segment>>>,
}

impl Segments {
    /// A family without files.
    pub fn none(folder: PathBuf, segment_bytes: u64) -> Segments {
        Segments {
            folder,
            segment_bytes,
            list: RwLock::default(),
        }
    }

    /// Opens all files of a folder. Foreign names are ignored, as Apache ignores folders. A file that is too short is what a
    /// crash left of a creation: a last one without a byte goes, another last one gets its length; so does every queue
    /// file, because it can be filled again. Any other file of another length is an error.
    pub fn load(
        disk: &dyn Disk,
        folder: PathBuf,
        segment_bytes: u64,
        way: Way,
        family: Family,
    ) -> Result<Segments, OpenError> {
        let mut bases: Vec<(u64, u64)> = disk
            .list(&folder)
            .map_err(OpenError::io(&folder))?
            .into_iter()
            .filter(|entry| !entry.is_folder)
            .filter_map(|entry| segment::base_of(&entry.name).map(|base| (base, entry.bytes)))
            .collect();
        bases.sort_unstable();
        while let Some((base, 0)) = bases.last().copied() {
            let path = folder.join(segment::name(base));
            disk.remove(&path).map_err(OpenError::io(&path))?;
            bases.pop();
        }
        let mut list = Vec::with_capacity(bases.len());
        let last = bases.last().map(|(base, _)| *base);
        for (base, bytes) in bases {
            let path = folder.join(segment::name(base));
            if bytes < segment_bytes && (Some(base) == last || family == Family::Queue) {
                disk.set_len(&path, segment_bytes).map_err(OpenError::io(&path))?;
            } else if bytes != segment_bytes {
                let expected = segment_bytes;
                return Err(OpenError::Length {
                    path,
                    bytes,
                    expected,
                });
            }
            let file = disk.open(&path, way).map_err(OpenError::io(&path))?;
            list.push(Arc::new(match family {
                Family::Log => Segment::found(&folder, base, file),
                Family::Queue => Segment::derived(&folder, base, file),
            }));
        }
        Ok(Segments {
            folder,
            segment_bytes,
            list: RwLock::new(list),
        })
    }

    /// The length of the files in a folder, as its first one says.
    pub fn length_in(disk: &dyn Disk, folder: &Path) -> Result<Option<(PathBuf, u64)>, OpenError> {
        let entries = disk.list(folder).map_err(OpenError::io(folder))?;
        let first = entries
            .into_iter()
            .filter(|entry| !entry.is_folder && entry.bytes > 0 && segment::base_of(&entry.name).is_some())
            .min_by(|a, b| a.name.cmp(&b.name));
        Ok(first.map(|entry| (folder.join(entry.name), entry.bytes)))
    }

    /// The segment in which an offset lies.
    pub fn at(&self, offset: u64) -> Option<Arc<Segment>> {
        let list = self.read();
        let behind = list.partition_point(|segment| segment.base <= offset);
        list.get(behind.checked_sub(1)?)
            .filter(|segment| segment.holds(offset))
            .cloned()
    }

    /// The first segment that begins at or behind an offset.
    pub fn from(&self, offset: u64) -> Option<Arc<Segment>> {
        let list = self.read();
        list.get(list.partition_point(|segment| segment.base < offset))
            .cloned()
    }

    pub fn first(&self) -> Option<Arc<Segment>> {
        self.read().first().cloned()
    }

    pub fn last(&self) -> Option<Arc<Segment>> {
        self.read().last().cloned()
    }

    /// All segments, ascending.
    pub fn all(&self) -> Vec<Arc<Segment>> {
        self.read().clone()
    }

    /// Segments that hold a byte of `from..until`, ascending.
    pub fn between(&self, from: u64, until: u64) -> Vec<Arc<Segment>> {
        self.read()
            .iter()
            .filter(|segment| segment.base < until && segment.until() > from)
            .cloned()
            .collect()
    }

    /// Adds a segment behind the last one.
    pub fn push(&self, segment: Arc<Segment>) {
        let mut list = self.list.write().unwrap_or_else(PoisonError::into_inner);
        assert!(
            list.last().is_none_or(|last| last.until() <= segment.base),
            "segments come in order"
        );
        list.push(segment);
    }

    /// Takes out the segments that begin at or behind an offset; the caller removes their files.
    pub fn take_from(&self, offset: u64) -> Vec<Arc<Segment>> {
        let mut list = self.list.write().unwrap_or_else(PoisonError::into_inner);
        let kept = list.partition_point(|segment| segment.base < offset);
        list.split_off(kept)
    }

    /// Takes out the segments that end at or before an offset; the caller removes their files.
    pub fn take_until(&self, offset: u64) -> Vec<Arc<Segment>> {
        let mut list = self.list.write().unwrap_or_else(PoisonError::into_inner);
        let gone = list.partition_point(|segment| segment.until() <= offset);
        list.drain(..gone).collect()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Vec<Arc<Segment>>> {
        self.list.read().unwrap_or_else(PoisonError::into_inner)
    }
}
