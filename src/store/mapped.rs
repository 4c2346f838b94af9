//! A file's bytes as memory: the one module of the crate with `unsafe`.
//!
//! A mapping outlives its file's name: a reader that holds bytes of a deleted segment keeps reading them. What it never
//! does is resize. Three facts, kept by the callers, make the raw copies below sound:
//!
//! * **Length**: the store's lock keeps other programs away and the store itself never shortens a mapped file, so every
//!   address inside the mapping stays backed by the file.
//! * **One writer**: a byte range of a file is written by one thread at a time. Log and queue ranges are handed out under
//!   the append lock; index files belong to whoever holds the index lock.
//! * **Publication**: a reader learns of a range through an atomic watermark stored after the range was written (release
//!   and acquire), and a published range is never written again.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use memmap2::{MmapOptions, MmapRaw};

/// A whole file, mapped for reading and writing.
#[derive(Clone, Debug)]
pub(super) struct Mapping {
    memory: Arc<MmapRaw>,
}

impl Mapping {
    /// Maps all of `file`, which must not be empty.
    pub fn new(file: &File) -> io::Result<Mapping> {
        let memory = MmapOptions::new().map_raw(file)?;
        Ok(Mapping {
            memory: Arc::new(memory),
        })
    }

    /// Bytes mapped.
    pub fn len(&self) -> usize {
        self.memory.len()
    }

    /// Copies `bytes` to `at`.
    ///
    /// # Panics
    /// If the range does not lie inside the mapping.
    pub fn store(&self, at: usize, bytes: &[u8]) {
        self.assert_inside(at, bytes.len());
        // SAFETY: the target range lies inside the mapping (just asserted), which is writable and lives as long as
        // `self`; `bytes` is ordinary memory and cannot overlap it, because no `&mut [u8]` or longer-lived `&[u8]` of an
        // unpublished range exists. Nobody else touches the range meanwhile: see "one writer" and "publication" above.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.memory.as_mut_ptr().add(at), bytes.len());
        }
    }

    /// Copies the bytes at `at` into `into`.
    ///
    /// # Panics
    /// If the range does not lie inside the mapping.
    pub fn load(&self, at: usize, into: &mut [u8]) {
        self.assert_inside(at, into.len());
        // SAFETY: the source range lies inside the mapping (just asserted) and is not being written: see "publication".
        // `into` is exclusively ours and no part of the mapping.
        unsafe {
            std::ptr::copy_nonoverlapping(self.memory.as_ptr().add(at), into.as_mut_ptr(), into.len());
        }
    }

    /// The bytes at `at` without a copy. They keep the mapping alive.
    ///
    /// # Panics
    /// If the range does not lie inside the mapping.
    pub fn bytes(&self, at: usize, len: usize) -> Bytes {
        self.assert_inside(at, len);
        Bytes::from_owner(Range {
            memory: self.memory.clone(),
            at,
            len,
        })
    }

    /// Writes changed pages to the disk, as `fdatasync` does.
    pub fn sync(&self) -> io::Result<()> {
        self.memory.flush()
    }

    /// Tells the kernel not to read ahead: a sparse queue file would fill the page cache with zeros.
    pub fn expect_random_access(&self) {
        #[cfg(unix)]
        // Advice only; the mapping works without it.
        let _ = self.memory.advise(memmap2::Advice::Random);
    }

    /// Makes the pages of a range present and writable, so that the first store does not fault.
    pub fn populate(&self, at: usize, len: usize) {
        self.assert_inside(at, len);
        #[cfg(target_os = "linux")]
        // Kernels before 5.14 do not know it; then the stores fault one by one.
        let _ = self.memory.advise_range(memmap2::Advice::PopulateWrite, at, len);
    }

    fn assert_inside(&self, at: usize, len: usize) {
        assert!(
            at.checked_add(len).is_some_and(|until| until <= self.len()),
            "{at}+{len} is outside of the mapping"
        );
    }
}

/// A published range of a mapping.
struct Range {
    memory: Arc<MmapRaw>,
    at: usize,
    len: usize,
}

impl AsRef<[u8]> for Range {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the range was checked against the mapping's length in `Mapping::bytes`, the mapping lives as long as
        // `self.memory`, and published ranges are never written again, so the shared reference stays valid.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr().add(self.at), self.len) }
    }
}
