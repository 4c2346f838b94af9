//! The temporary store of `rmq dev`: a folder that goes with the process, or with the next `rmq dev`.
//!
//! A living owner holds a lock on the file `owner` in its folder. A folder without that file is still being made and is left
//! alone; one whose lock can be taken was left behind by a process that was killed.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

const PREFIX: &str = "rmq-dev-";
const OWNER: &str = "owner";

/// A temporary folder, removed when this is dropped.
pub struct Scratch {
    path: PathBuf,
    /// Holds the lock.
    _owner: File,
}

impl Scratch {
    /// Makes a folder below `parent` that only this user can enter.
    pub fn create(parent: &Path) -> io::Result<Scratch> {
        let path = create_folder(parent)?;
        let unlocked = path.join("owner.new");
        let owner = File::create(&unlocked)?;
        flock(&owner, FlockOperation::NonBlockingLockExclusive)?;
        fs::rename(&unlocked, path.join(OWNER))?;
        Ok(Scratch { path, _owner: owner })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _left_for_the_next_dev = fs::remove_dir_all(&self.path);
    }
}

/// Removes the folders of this user below `parent` whose owners are gone. Returns how many; those that cannot be removed stay.
pub fn remove_leftovers(parent: &Path) -> usize {
    let Ok(entries) = fs::read_dir(parent) else {
        return 0;
    };
    let leftovers = entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX))
        .map(|entry| entry.path())
        .filter(|path| is_left_behind(path));
    leftovers.filter(|path| fs::remove_dir_all(path).is_ok()).count()
}

fn is_left_behind(folder: &Path) -> bool {
    let own = fs::symlink_metadata(folder)
        .is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == rustix::process::geteuid().as_raw());
    own && File::open(folder.join(OWNER))
        .is_ok_and(|owner| flock(&owner, FlockOperation::NonBlockingLockExclusive).is_ok())
}

fn create_folder(parent: &Path) -> io::Result<PathBuf> {
    const TRIES_MAX: u32 = 100;
    let pid = std::process::id();
    for attempt in 0..TRIES_MAX {
        let path = parent.join(format!("{PREFIX}{pid}-{attempt}"));
        match DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            created => return created.map(|()| path),
        }
    }
    Err(io::Error::new(
        io::ErrorKind::AlreadyExists,
        format!("no free name {PREFIX}{pid}-N"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scratch_folder_goes_with_its_owner() {
        let parent = tempfile::tempdir().expect("a folder");
        let scratch = Scratch::create(parent.path()).expect("a scratch folder");
        fs::write(scratch.path().join("file"), "x").expect("a file in it");
        let path = scratch.path().to_owned();
        drop(scratch);
        assert!(!path.exists());
    }

    #[test]
    fn only_folders_without_a_living_owner_are_left_behind() {
        let parent = tempfile::tempdir().expect("a folder");
        let alive = Scratch::create(parent.path()).expect("a scratch folder");
        let dead = parent.path().join("rmq-dev-1-0");
        fs::create_dir_all(dead.join("commitlog")).expect("a folder");
        fs::write(dead.join(OWNER), "").expect("a file nobody locks");
        fs::create_dir(parent.path().join("rmq-dev-2-0")).expect("one that is being made");
        fs::create_dir(parent.path().join("other")).expect("somebody else's");
        assert_eq!(remove_leftovers(parent.path()), 1);
        assert!(alive.path().exists() && !dead.exists());
        assert_eq!(fs::read_dir(parent.path()).expect("readable").count(), 3);
    }
}
