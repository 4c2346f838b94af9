//! The disk as the store sees it: folders, and files that are mapped as a whole. [`RealDisk`] is the machine's; tests bring
//! one that forgets, tears and fills up.

use std::collections::HashSet;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::mapped::Mapping;

/// How [`DiskFile::write_at`] reaches the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// By a store into the mapping. Only for allocated ranges, never for a promise of durability: an I/O error would not
    /// be an error code.
    Mapped,
    /// By a `pwrite`, which reports errors.
    Written,
}

/// What allocated bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allocation {
    /// Blocks are reserved (`fallocate`).
    Reserved,
    /// Zeros are on the disk, so that a later `fdatasync` has no extents to convert.
    Zeroed,
}

/// One name in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub name: String,
    pub is_folder: bool,
    /// Length in bytes; 0 for a folder.
    pub bytes: u64,
}

/// How full the file system of a path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    pub total_bytes: u64,
    pub free_bytes: u64,
}

impl Space {
    /// Per cent in use, rounded down.
    pub fn used_percent(&self) -> u8 {
        if self.total_bytes == 0 {
            return 0;
        }
        let used = self.total_bytes.saturating_sub(self.free_bytes);
        (u128::from(used) * 100 / u128::from(self.total_bytes)) as u8
    }
}

/// Folders and names. A created, renamed or removed name is durable after [`Disk::sync_folder`].
pub trait Disk: Send + Sync {
    /// Creates a folder and what is missing above it.
    fn create_folder(&self, path: &Path) -> io::Result<()>;
    /// What a folder holds, in any order; nothing if there is no such folder.
    fn list(&self, path: &Path) -> io::Result<Vec<Entry>>;
    /// Creates a file of `bytes` zeros, none of them allocated. Fails if it exists.
    fn create(&self, path: &Path, bytes: u64, way: Way) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens an existing file that is not empty.
    fn open(&self, path: &Path, way: Way) -> io::Result<Arc<dyn DiskFile>>;
    /// A small file's content; `None` if there is no such file.
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>>;
    /// Replaces a small file as one step: a new file, synced, renamed over the old one, its folder synced.
    fn replace(&self, path: &Path, content: &[u8]) -> io::Result<()>;
    /// Gives a file another length; what is gained reads as zero. Never called for a file that is open.
    fn set_len(&self, path: &Path, bytes: u64) -> io::Result<()>;
    /// Removes a file; a missing one is no error.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty folder; a missing one is no error.
    fn remove_folder(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a folder durable.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;
    /// How full the disk is.
    fn space(&self, path: &Path) -> io::Result<Space>;
    /// Takes the store's lock, held until the guard is dropped or the process ends.
    fn lock(&self, path: &Path) -> Result<Box<dyn Send + Sync>, LockError>;
}

/// One file. Its length never changes while it is open.
pub trait DiskFile: Send + Sync + fmt::Debug {
    /// Length in bytes.
    fn bytes_len(&self) -> u64;
    /// Writes by the [`Way`] the file was opened with. Only into allocated bytes.
    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()>;
    /// Reads with a system call: a bad block is an error, not a signal. May wait for the disk.
    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<()>;
    /// Reads resident bytes through the mapping.
    fn load(&self, at: u64, into: &mut [u8]);
    /// Published resident bytes, without a copy where the disk can.
    fn bytes(&self, at: u64, len: usize) -> Bytes;
    /// Makes sure that a range can be written without needing room. Full disk: `StorageFull`.
    fn allocate(&self, from: u64, until: u64, allocation: Allocation) -> io::Result<()>;
    /// Brings a range's pages into memory ahead of the stores.
    fn populate(&self, from: u64, until: u64);
    /// No reading ahead: what is touched is small and far apart.
    fn expect_random_access(&self) {}
    /// Makes a range read as zero; what of it was allocated may be given back. Returns whether it held anything else.
    fn zero(&self, from: u64, until: u64) -> io::Result<bool>;
    /// What was written is durable when this returns (`fdatasync`).
    fn sync(&self) -> io::Result<()>;
}

/// Why the store's lock was not granted.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process, or this one, has the store open.
    #[error("held by process {0}")]
    Held(u32),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The machine's disk.
#[derive(Debug, Default)]
pub struct RealDisk;

impl RealDisk {
    fn map(path: &Path, file: File, way: Way) -> io::Result<Arc<dyn DiskFile>> {
        let mapping = Mapping::new(&file)?;
        // A mapping needs no descriptor; a store of many queues would run out of them.
        let file = (way == Way::Written).then_some(file);
        Ok(Arc::new(RealFile {
            path: path.to_owned(),
            mapping,
            file,
        }))
    }
}

impl Disk for RealDisk {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        std::fs::create_dir_all(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let entries = match std::fs::read_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry?;
            // A name that is not UTF-8 is none of ours.
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let metadata = entry.metadata()?;
            let is_folder = metadata.is_dir();
            found.push(Entry {
                name,
                is_folder,
                bytes: if is_folder { 0 } else { metadata.len() },
            });
        }
        Ok(found)
    }

    fn create(&self, path: &Path, bytes: u64, way: Way) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(path)?;
        file.set_len(bytes)?;
        RealDisk::map(path, file, way)
    }

    fn open(&self, path: &Path, way: Way) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        RealDisk::map(path, file, way)
    }

    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        match std::fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            content => content.map(Some),
        }
    }

    fn replace(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let fresh = path.with_extension("new");
        let mut file = File::create(&fresh)?;
        file.write_all(content)?;
        file.sync_data()?;
        std::fs::rename(&fresh, path)?;
        self.sync_folder(path.parent().expect("a file of the store lies in a folder"))
    }

    fn set_len(&self, path: &Path, bytes: u64) -> io::Result<()> {
        OpenOptions::new().write(true).open(path)?.set_len(bytes)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        absent_is_fine(std::fs::remove_file(path))
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        absent_is_fine(std::fs::remove_dir(path))
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let found = rustix::fs::statvfs(path)?;
        Ok(Space {
            total_bytes: found.f_blocks * found.f_frsize,
            free_bytes: found.f_bavail * found.f_frsize,
        })
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn Send + Sync>, LockError> {
        RecordLock::take(path).map(|lock| Box::new(lock) as Box<dyn Send + Sync>)
    }
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// A file of the machine's disk.
#[derive(Debug)]
struct RealFile {
    path: PathBuf,
    mapping: Mapping,
    /// Kept open only by the way of `pwrite`; otherwise opened where a system call needs it.
    file: Option<File>,
}

impl RealFile {
    fn with_file<T>(&self, action: impl FnOnce(&File) -> io::Result<T>) -> io::Result<T> {
        match &self.file {
            Some(file) => action(file),
            None => action(&OpenOptions::new().read(true).write(true).open(&self.path)?),
        }
    }
}

impl DiskFile for RealFile {
    fn bytes_len(&self) -> u64 {
        self.mapping.len() as u64
    }

    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        match &self.file {
            Some(file) => file.write_all_at(bytes, at),
            None => {
                self.mapping.store(at as usize, bytes);
                Ok(())
            }
        }
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        self.with_file(|file| file.read_exact_at(into, at))
    }

    fn load(&self, at: u64, into: &mut [u8]) {
        self.mapping.load(at as usize, into);
    }

    fn bytes(&self, at: u64, len: usize) -> Bytes {
        self.mapping.bytes(at as usize, len)
    }

    fn allocate(&self, from: u64, until: u64, allocation: Allocation) -> io::Result<()> {
        assert!(
            until <= self.bytes_len(),
            "allocation beyond the end of {}",
            self.path.display()
        );
        self.with_file(|file| match allocation {
            Allocation::Reserved => reserve(file, from, until),
            Allocation::Zeroed => write_zeros(file, from, until).and_then(|()| file.sync_data()),
        })
    }

    fn expect_random_access(&self) {
        self.mapping.expect_random_access();
    }

    fn populate(&self, from: u64, until: u64) {
        self.mapping.populate(from as usize, (until - from) as usize);
    }

    fn zero(&self, from: u64, until: u64) -> io::Result<bool> {
        self.with_file(|file| {
            if is_blank(file, from, until)? {
                return Ok(false);
            }
            discard(file, from, until).map(|()| true)
        })
    }

    fn sync(&self) -> io::Result<()> {
        match &self.file {
            Some(file) => file.sync_data(),
            None => self.mapping.sync(),
        }
    }
}

/// Reserves blocks without changing the file's length.
#[cfg(target_os = "linux")]
fn reserve(file: &File, from: u64, until: u64) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    match fallocate(file, FallocateFlags::KEEP_SIZE, from, until - from) {
        Err(rustix::io::Errno::OPNOTSUPP) => write_zeros(file, from, until),
        result => Ok(result?),
    }
}

#[cfg(not(target_os = "linux"))]
fn reserve(file: &File, from: u64, until: u64) -> io::Result<()> {
    write_zeros(file, from, until)
}

/// Makes a range read as zero, giving its blocks back where the system can.
#[cfg(target_os = "linux")]
fn discard(file: &File, from: u64, until: u64) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    match fallocate(file, punch, from, until - from) {
        Err(rustix::io::Errno::OPNOTSUPP) => write_zeros(file, from, until),
        result => Ok(result?),
    }
}

#[cfg(not(target_os = "linux"))]
fn discard(file: &File, from: u64, until: u64) -> io::Result<()> {
    write_zeros(file, from, until)
}

/// Whether a range reads as zero because nothing was ever written to it. May miss it, never invents it.
#[cfg(target_os = "linux")]
fn is_blank(file: &File, from: u64, until: u64) -> io::Result<bool> {
    let page_end = from.next_multiple_of(4096).min(until);
    let mut rest_of_page = vec![0; (page_end - from) as usize];
    file.read_exact_at(&mut rest_of_page, from)?;
    if rest_of_page.iter().any(|byte| *byte != 0) {
        return Ok(false);
    }
    match rustix::fs::seek(file, rustix::fs::SeekFrom::Data(page_end)) {
        Err(rustix::io::Errno::NXIO) => Ok(true),
        data => Ok(data? >= until),
    }
}

#[cfg(not(target_os = "linux"))]
fn is_blank(_: &File, from: u64, until: u64) -> io::Result<bool> {
    Ok(from >= until)
}

fn write_zeros(file: &File, from: u64, until: u64) -> io::Result<()> {
    const ZEROS: &[u8] = &[0; 64 << 10];
    let mut at = from;
    while at < until {
        let len = ZEROS.len().min((until - at) as usize);
        file.write_all_at(&ZEROS[..len], at)?;
        at += len as u64;
    }
    Ok(())
}

/// Lock files held by this process. A record lock belongs to the process: it does not keep the process itself out, and
/// is lost when any descriptor of its file is closed, so the file must not even be opened twice.
static HELD: Mutex<Option<HashSet<PathBuf>>> = Mutex::new(None);

/// An fcntl record lock on the lock file, as Java's `FileChannel.tryLock` takes it: it keeps Apache's broker out, and
/// Apache's keeps us out.
struct RecordLock {
    path: PathBuf,
    /// `Some` until dropped.
    file: Option<File>,
}

impl RecordLock {
    fn take(path: &Path) -> Result<RecordLock, LockError> {
        let folder = path
            .parent()
            .expect("the lock lies in the store's folder")
            .canonicalize()?;
        let path = folder.join(path.file_name().expect("the lock has a name"));
        let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
        let held = held.get_or_insert_default();
        if held.contains(&path) {
            return Err(LockError::Held(std::process::id()));
        }
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)?;
        match rustix::fs::fcntl_lock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS) => {
                return Err(LockError::Held(holder(&file)));
            }
            Err(error) => return Err(LockError::Io(error.into())),
        }
        if file.read(&mut [0; 1])? == 0 {
            file.write_all(b"lock")?;
        }
        held.insert(path.clone());
        Ok(RecordLock {
            path,
            file: Some(file),
        })
    }
}

impl Drop for RecordLock {
    fn drop(&mut self) {
        let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
        // Closed before the name is free again: a late close would release the next holder's lock.
        drop(self.file.take());
        if let Some(held) = held.as_mut() {
            held.remove(&self.path);
        }
    }
}

/// The process that holds the lock; 0 if the system does not say (it lives in another container).
fn holder(file: &File) -> u32 {
    let wanted = rustix::process::Flock::from(rustix::process::FlockType::WriteLock);
    let found = rustix::process::fcntl_getlk(file, &wanted).ok().flatten();
    found
        .and_then(|lock| lock.pid)
        .map_or(0, |pid| pid.as_raw_nonzero().get() as u32)
}
