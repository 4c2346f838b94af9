//! A disk in memory that forgets. Every file has the bytes a process sees (`live`) and those that are on the disk
//! (`durable`); what was written in between is remembered write by write. The disk dies at a chosen operation, in the middle
//! of it; then [`SimDisk::after_kill`] or [`SimDisk::after_power_cut`] says what is found.
#![allow(dead_code, reason = "every test file takes what it needs")]

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use rmq::store::{Allocation, Disk, DiskFile, FolderEntry, LockError, Space, Way};

/// What survives a power cut of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsynced {
    Lost,
    Kept,
    /// Any subset, each write torn at any 512 bytes.
    Torn,
}

/// Unit in which a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;
/// Unit in which a file system allocates.
const BLOCK_BYTES: u64 = 4096;

type FileId = usize;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    Folder,
    File(FileId),
}

#[derive(Clone, Debug, Default)]
struct Names(BTreeMap<PathBuf, Node>);

#[derive(Clone, Debug, Default)]
struct Content {
    live: Vec<u8>,
    durable: Vec<u8>,
    /// Whether the length is on the disk.
    has_length: bool,
    /// Ranges written since the last sync, with what was written.
    unsynced: Vec<(usize, Vec<u8>)>,
    /// By block.
    allocated: Vec<bool>,
}

#[derive(Debug, Default)]
struct State {
    names: Names,
    durable_names: Names,
    files: Vec<Content>,
    operations: u64,
    dies_at: Option<u64>,
    free_bytes: u64,
    fails_sync: bool,
}

#[derive(Clone, Debug)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

impl SimDisk {
    pub fn new() -> SimDisk {
        let state = State {
            free_bytes: u64::MAX / 2,
            ..State::default()
        };
        SimDisk {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// Operations so far.
    pub fn operations(&self) -> u64 {
        self.state.lock().unwrap().operations
    }

    /// From the `operation`th on nothing works; that one is done by half.
    pub fn die_at(&self, operation: u64) {
        self.state.lock().unwrap().dies_at = Some(operation);
    }

    pub fn is_dead(&self) -> bool {
        self.state.lock().unwrap().is_dead()
    }

    /// How much can be allocated from now on.
    pub fn set_free_bytes(&self, free_bytes: u64) {
        self.state.lock().unwrap().free_bytes = free_bytes;
    }

    /// Every sync fails from now on.
    pub fn fail_syncs(&self) {
        self.state.lock().unwrap().fails_sync = true;
    }

    /// Flips a bit of what everybody sees and what is on the disk.
    pub fn damage(&self, path: &Path, at: usize) {
        let mut state = self.state.lock().unwrap();
        let Some(Node::File(id)) = state.names.0.get(path).copied() else {
            panic!("no file {}", path.display())
        };
        state.files[id].live[at] ^= 0x10;
        state.files[id].durable[at] ^= 0x10;
    }

    /// The disk as the next process finds it when this one was killed.
    pub fn after_kill(&self) -> SimDisk {
        let state = self.state.lock().unwrap();
        let state = State {
            names: state.names.clone(),
            durable_names: state.durable_names.clone(),
            files: state.files.clone(),
            free_bytes: state.free_bytes,
            ..State::default()
        };
        SimDisk {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// The disk as it is found when the power was cut.
    pub fn after_power_cut(&self, unsynced: Unsynced, random: &mut fastrand::Rng) -> SimDisk {
        let state = self.state.lock().unwrap();
        let keeps = |random: &mut fastrand::Rng| match unsynced {
            Unsynced::Lost => false,
            Unsynced::Kept => true,
            Unsynced::Torn => random.bool(),
        };
        let mut names = state.durable_names.clone();
        let paths: Vec<PathBuf> = state
            .names
            .0
            .keys()
            .chain(state.durable_names.0.keys())
            .cloned()
            .collect();
        for path in paths {
            let (live, durable) = (state.names.0.get(&path), state.durable_names.0.get(&path));
            if live != durable && keeps(random) {
                match live {
                    Some(node) => names.0.insert(path, *node),
                    None => names.0.remove(&path),
                };
            }
        }
        names.drop_orphans();
        let files = state
            .files
            .iter()
            .map(|content| content.after_power_cut(|| keeps(random)))
            .collect();
        let state = State {
            durable_names: names.clone(),
            names,
            files,
            free_bytes: state.free_bytes,
            ..State::default()
        };
        SimDisk {
            state: Arc::new(Mutex::new(state)),
        }
    }
}

impl Names {
    /// A name is nothing without the folder it stands in.
    fn drop_orphans(&mut self) {
        let folders: Vec<PathBuf> = self
            .0
            .iter()
            .filter(|(_, node)| **node == Node::Folder)
            .map(|(path, _)| path.clone())
            .collect();
        let reachable = |path: &Path| {
            path.ancestors()
                .skip(1)
                .all(|above| is_above(above) || folders.iter().any(|f| f == above))
        };
        self.0.retain(|path, _| reachable(path));
    }
}

/// Whether a folder was there before the store.
fn is_above(path: &Path) -> bool {
    path == Path::new("/") || path == Path::new("")
}

impl Content {
    fn after_power_cut(&self, mut keeps: impl FnMut() -> bool) -> Content {
        let mut found = self.durable.clone();
        if !self.has_length && !keeps() {
            found.clear();
        }
        for (at, bytes) in &self.unsynced {
            let mut from = 0;
            while from < bytes.len() {
                let sector_end = ((at + from) / SECTOR_BYTES + 1) * SECTOR_BYTES - at;
                let until = sector_end.min(bytes.len());
                if keeps() && at + until <= found.len() {
                    found[at + from..at + until].copy_from_slice(&bytes[from..until]);
                }
                from = until;
            }
        }
        Content {
            live: found.clone(),
            durable: found,
            has_length: true,
            unsynced: Vec::new(),
            allocated: self.allocated.clone(),
        }
    }

    fn write(&mut self, at: usize, bytes: &[u8]) {
        self.live[at..at + bytes.len()].copy_from_slice(bytes);
        self.unsynced.push((at, bytes.to_vec()));
    }

    fn sync(&mut self) {
        self.durable.clone_from(&self.live);
        self.unsynced.clear();
        self.has_length = true;
    }

    fn blocks(from: u64, until: u64) -> Range<usize> {
        (from / BLOCK_BYTES) as usize..until.div_ceil(BLOCK_BYTES) as usize
    }
}

fn dead() -> io::Error {
    io::Error::other("the disk is dead")
}

impl State {
    fn is_dead(&self) -> bool {
        self.dies_at.is_some_and(|at| self.operations >= at)
    }

    /// Counts an operation that changes something and happens as a whole or, being the last, not at all.
    fn operate(&mut self) -> io::Result<()> {
        if self.is_dead() {
            return Err(dead());
        }
        self.operations += 1;
        if self.is_dead() { Err(dead()) } else { Ok(()) }
    }

    fn add_file(&mut self, path: &Path, bytes: usize) -> FileId {
        let id = self.files.len();
        self.files.push(Content {
            live: vec![0; bytes],
            durable: vec![0; bytes],
            allocated: vec![false; bytes.div_ceil(BLOCK_BYTES as usize)],
            ..Content::default()
        });
        self.names.0.insert(path.to_owned(), Node::File(id));
        id
    }

    fn file(&self, path: &Path) -> Option<FileId> {
        match self.names.0.get(path) {
            Some(Node::File(id)) => Some(*id),
            _ => None,
        }
    }
}

impl Disk for SimDisk {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        for folder in path.ancestors().filter(|folder| !is_above(folder)) {
            if !state.names.0.contains_key(folder) {
                state.operate()?;
                state.names.0.insert(folder.to_owned(), Node::Folder);
            }
        }
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<FolderEntry>> {
        let state = self.state.lock().unwrap();
        let inside = state
            .names
            .0
            .iter()
            .filter(|(name, _)| name.parent() == Some(path));
        Ok(inside
            .map(|(name, node)| FolderEntry {
                name: name.file_name().unwrap().to_str().unwrap().to_owned(),
                is_folder: *node == Node::Folder,
                bytes: match node {
                    Node::Folder => 0,
                    Node::File(id) => state.files[*id].live.len() as u64,
                },
            })
            .collect())
    }

    fn create(&self, path: &Path, bytes: u64, way: Way) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state.lock().unwrap();
        if state.names.0.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        assert_eq!(
            state.names.0.get(path.parent().unwrap()),
            Some(&Node::Folder),
            "{}",
            path.display()
        );
        state.operate()?;
        let id = state.add_file(path, bytes as usize);
        Ok(Arc::new(SimFile {
            disk: self.clone(),
            id,
            way,
            bytes,
        }))
    }

    fn open(&self, path: &Path, way: Way) -> io::Result<Arc<dyn DiskFile>> {
        let state = self.state.lock().unwrap();
        let id = state.file(path).ok_or(io::ErrorKind::NotFound)?;
        let bytes = state.files[id].live.len() as u64;
        assert!(bytes > 0, "an empty file cannot be mapped");
        Ok(Arc::new(SimFile {
            disk: self.clone(),
            id,
            way,
            bytes,
        }))
    }

    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        let state = self.state.lock().unwrap();
        Ok(state.file(path).map(|id| state.files[id].live.clone()))
    }

    fn replace(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        let fresh = path.with_extension("new");
        state.operate()?;
        let id = state.add_file(&fresh, content.len());
        state.files[id].live.copy_from_slice(content);
        state.operate()?;
        state.files[id].sync();
        state.operate()?;
        state.names.0.remove(&fresh);
        state.names.0.insert(path.to_owned(), Node::File(id));
        drop(state);
        self.sync_folder(path.parent().unwrap())
    }

    fn set_len(&self, path: &Path, bytes: u64) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        state.operate()?;
        let id = state.file(path).ok_or(io::ErrorKind::NotFound)?;
        let content = &mut state.files[id];
        content.live.resize(bytes as usize, 0);
        content.durable.resize(bytes as usize, 0);
        content
            .allocated
            .resize((bytes.div_ceil(BLOCK_BYTES)) as usize, false);
        content.has_length = false;
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        if state.names.0.contains_key(path) {
            state.operate()?;
            state.names.0.remove(path);
        }
        Ok(())
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        if self.list(path)?.is_empty() {
            return self.remove(path);
        }
        Err(io::ErrorKind::DirectoryNotEmpty.into())
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        state.operate()?;
        let inside = |name: &PathBuf| name.parent() == Some(path);
        state.durable_names.0.retain(|name, _| !inside(name));
        let synced: Vec<_> = state
            .names
            .0
            .iter()
            .filter(|(name, _)| inside(name))
            .map(|(n, node)| (n.clone(), *node))
            .collect();
        state.durable_names.0.extend(synced);
        // A folder that has gone has gone with all that was in it, whatever comes by its name.
        let names = state.names.clone();
        let gone = |name: &PathBuf| {
            name.ancestors()
                .any(|above| inside(&above.to_owned()) && !names.0.contains_key(above))
        };
        state.durable_names.0.retain(|name, _| !gone(name));
        // A folder that is synced is there.
        for folder in path.ancestors().filter(|folder| !is_above(folder)) {
            if folder.components().count() <= 2 {
                state.durable_names.0.insert(folder.to_owned(), Node::Folder);
            }
        }
        Ok(())
    }

    fn space(&self, _: &Path) -> io::Result<Space> {
        let free_bytes = self.state.lock().unwrap().free_bytes;
        Ok(Space {
            total_bytes: u64::MAX / 2,
            free_bytes,
        })
    }

    fn lock(&self, _: &Path) -> Result<Box<dyn Send + Sync>, LockError> {
        Ok(Box::new(()))
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    id: FileId,
    way: Way,
    bytes: u64,
}

impl DiskFile for SimFile {
    fn bytes_len(&self) -> u64 {
        self.bytes
    }

    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.state.lock().unwrap();
        if state.is_dead() {
            return Err(dead());
        }
        let survives = state.operate().is_ok();
        let (at, operations) = (at as usize, state.operations as usize);
        let content = &mut state.files[self.id];
        if self.way == Way::Mapped {
            let blocks = Content::blocks(at as u64, (at + bytes.len()) as u64);
            assert!(
                content.allocated[blocks].iter().all(|allocated| *allocated),
                "a store into bytes without room"
            );
        }
        // The last write is done by half, and nobody learns how much of it.
        let done = if survives {
            bytes.len()
        } else {
            operations % (bytes.len() + 1)
        };
        content.write(at, &bytes[..done]);
        if survives { Ok(()) } else { Err(dead()) }
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        self.load(at, into);
        Ok(())
    }

    fn load(&self, at: u64, into: &mut [u8]) {
        let state = self.disk.state.lock().unwrap();
        into.copy_from_slice(&state.files[self.id].live[at as usize..at as usize + into.len()]);
    }

    fn bytes(&self, at: u64, len: usize) -> Bytes {
        let state = self.disk.state.lock().unwrap();
        Bytes::copy_from_slice(&state.files[self.id].live[at as usize..at as usize + len])
    }

    fn allocate(&self, from: u64, until: u64, allocation: Allocation) -> io::Result<()> {
        let mut state = self.disk.state.lock().unwrap();
        state.operate()?;
        for block in Content::blocks(from, until) {
            if state.files[self.id].allocated[block] {
                continue;
            }
            let left = state
                .free_bytes
                .checked_sub(BLOCK_BYTES)
                .ok_or(io::ErrorKind::StorageFull)?;
            state.free_bytes = left;
            state.files[self.id].allocated[block] = true;
        }
        if allocation == Allocation::Zeroed {
            let content = &mut state.files[self.id];
            content.write(from as usize, &vec![0; (until - from) as usize]);
            content.sync();
        }
        Ok(())
    }

    fn populate(&self, _: u64, _: u64) {}

    fn zero(&self, from: u64, until: u64) -> io::Result<bool> {
        let mut state = self.disk.state.lock().unwrap();
        let zeros = vec![0; (until - from) as usize];
        if state.files[self.id].live[from as usize..until as usize] == zeros[..] {
            return Ok(false);
        }
        state.operate()?;
        state.files[self.id].write(from as usize, &zeros);
        for block in from.div_ceil(BLOCK_BYTES)..until / BLOCK_BYTES {
            state.files[self.id].allocated[block as usize] = false;
        }
        Ok(true)
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state.lock().unwrap();
        if state.fails_sync {
            return Err(io::Error::other("the disk says no"));
        }
        state.operate()?;
        state.files[self.id].sync();
        Ok(())
    }
}
