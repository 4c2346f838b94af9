//! The name server's key-value pairs, by namespace, and their file (Apache: `KVConfigManager`, `kvConfig.json`).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use serde::{Deserialize, Serialize};

use crate::protocol::fastjson;

/// Most pairs; one more is refused.
pub const PAIRS_MAX: usize = 100_000;

/// Values by namespace and key.
type Table = BTreeMap<String, BTreeMap<String, String>>;

/// The file's content.
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct KvFile {
    config_table: Table,
}

/// All pairs.
pub struct Kv {
    /// Constant after opening.
    path: PathBuf,
    table: Mutex<Table>,
    /// One writer of the file at a time, so that the last change is what stays.
    writing: tokio::sync::Mutex<()>,
}

/// There are [`PAIRS_MAX`] pairs already.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("there are {PAIRS_MAX} key-value pairs already")]
pub struct Full;

impl Kv {
    /// Reads the file, if there is one.
    ///
    /// # Errors
    /// If it is there and cannot be read: starting without it would lose it at the next change.
    pub fn open(path: PathBuf) -> io::Result<Kv> {
        let table = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Table::new(),
            Ok(text) if text.trim_ascii().is_empty() => Table::new(),
            read => {
                fastjson::read::<KvFile>(&read?)
                    .map_err(io::Error::other)?
                    .config_table
            }
        };
        Ok(Kv {
            path,
            table: Mutex::new(table),
            writing: tokio::sync::Mutex::new(()),
        })
    }

    /// Sets a value; see [`Kv::save`].
    ///
    /// # Errors
    /// [`Full`] for one pair too many.
    pub fn put(&self, namespace: &str, key: &str, value: &str) -> Result<(), Full> {
        let mut table = self.lock();
        let is_new = table.get(namespace).is_none_or(|pairs| !pairs.contains_key(key));
        if is_new && table.values().map(BTreeMap::len).sum::<usize>() >= PAIRS_MAX {
            return Err(Full);
        }
        table
            .entry(namespace.to_owned())
            .or_default()
            .insert(key.to_owned(), value.to_owned());
        Ok(())
    }

    /// The value of a key.
    pub fn get(&self, namespace: &str, key: &str) -> Option<String> {
        self.lock().get(namespace)?.get(key).cloned()
    }

    /// Removes a key; see [`Kv::save`].
    pub fn delete(&self, namespace: &str, key: &str) {
        if let Some(pairs) = self.lock().get_mut(namespace) {
            pairs.remove(key);
        }
    }

    /// The pairs of a namespace.
    pub fn namespace(&self, namespace: &str) -> Option<BTreeMap<String, String>> {
        self.lock().get(namespace).cloned()
    }

    /// Writes the file; when this returns, what was put or deleted before survives a power failure.
    pub async fn save(&self) -> io::Result<()> {
        let _writer = self.writing.lock().await;
        let file = KvFile {
            config_table: self.lock().clone(),
        };
        let path = self.path.clone();
        let written = tokio::task::spawn_blocking(move || replace_file(&path, &fastjson::write(&file))).await;
        written.unwrap_or_else(|ended| Err(io::Error::other(ended)))
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table
            .lock()
            .expect("no code panics while it holds the pairs")
    }
}

/// Replaces a file as a whole and for good; its folder is made if it is missing.
pub(super) fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let fresh = path.with_extension("tmp");
    let mut file = File::create(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pairs_survive_a_restart() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("namesrv").join("kvConfig.json");
        let kv = Kv::open(path.clone()).expect("no file is no error");
        kv.put("ns", "a", "1").expect("there is room");
        kv.put("ns", "b", "2").expect("there is room");
        kv.delete("ns", "a");
        kv.save().await.expect("the folder is writable");
        let again = Kv::open(path).expect("it was just written");
        assert_eq!(
            (again.get("ns", "a"), again.get("ns", "b")),
            (None, Some("2".to_owned()))
        );
        assert_eq!(again.namespace("other"), None);
    }

    #[test]
    fn a_damaged_file_is_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("kvConfig.json");
        fs::write(&path, "{\"configTable\":").expect("writable");
        assert!(Kv::open(path).is_err());
    }
}
