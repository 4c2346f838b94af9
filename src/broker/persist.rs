//! The tables' files in `<store>/config`, in Apache's format and with its protocol: the previous version stays beside each
//! file as `.bak` and is read when the file is missing or damaged (Apache: `ConfigManager`).

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::protocol::fastjson;

pub const TOPICS: &str = "topics.json";
pub const GROUPS: &str = "subscriptionGroup.json";
pub const OFFSETS: &str = "consumerOffset.json";
pub const DELAY_OFFSETS: &str = "delayOffset.json";

/// Why a table, or the folder of all, cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{path}: {error}", path = path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("{path} is damaged and so is its .bak: {reason}", path = path.display())]
    Damaged { path: PathBuf, reason: String },
}

/// The folder of the tables' files.
#[derive(Debug, Clone)]
pub struct ConfigFolder {
    path: PathBuf,
}

impl ConfigFolder {
    /// The folder, created if it is missing.
    pub fn open(path: PathBuf) -> Result<ConfigFolder, ConfigError> {
        match fs::create_dir_all(&path) {
            Ok(()) => Ok(ConfigFolder { path }),
            Err(error) => Err(ConfigError::Io { path, error }),
        }
    }

    /// Reads a table; `None` if neither the file nor its previous version exists. A damaged file is kept aside as
    /// `.damaged` and its previous version is read.
    pub fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, ConfigError> {
        let path = self.path.join(name);
        let backup = self.beside(name, "bak");
        let reason = match read_json(&path)? {
            Found::Table(table) => return Ok(Some(table)),
            Found::Nothing => None,
            Found::Damaged(reason) => Some(reason),
        };
        match (read_json(&backup)?, reason) {
            (Found::Table(table), reason) => {
                if let Some(reason) = reason {
                    tracing::warn!(file = %path.display(), reason, "damaged: its previous version is used");
                    set_aside(&path, &self.beside(name, "damaged"))?;
                }
                Ok(Some(table))
            }
            (Found::Nothing, None) => Ok(None),
            (Found::Nothing | Found::Damaged(_), Some(reason)) | (Found::Damaged(reason), None) => {
                Err(ConfigError::Damaged { path, reason })
            }
        }
    }

    /// Replaces a table's file: when this returns, the new version survives a power failure.
    pub fn write(&self, name: &str, table: &impl Serialize) -> io::Result<()> {
        let path = self.path.join(name);
        let fresh = self.beside(name, "tmp");
        let mut file = File::create(&fresh)?;
        file.write_all(&pretty(table))?;
        file.sync_all()?;
        match fs::rename(&path, self.beside(name, "bak")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::rename(&fresh, &path)?;
        File::open(&self.path)?.sync_all()
    }

    fn beside(&self, name: &str, suffix: &str) -> PathBuf {
        self.path.join(format!("{name}.{suffix}"))
    }
}

enum Found<T> {
    Table(T),
    Nothing,
    Damaged(String),
}

/// An empty file counts as none: Apache leaves one behind when it is killed at the wrong moment.
fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Found<T>, ConfigError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => {
            return Err(ConfigError::Io {
                path: path.to_path_buf(),
                error,
            });
        }
    };
    if text.trim_ascii().is_empty() {
        return Ok(Found::Nothing);
    }
    Ok(fastjson::read(&text).map_or_else(|error| Found::Damaged(error.to_string()), Found::Table))
}

fn set_aside(path: &Path, aside: &Path) -> Result<(), ConfigError> {
    fs::rename(path, aside).map_err(|error| ConfigError::Io {
        path: path.to_path_buf(),
        error,
    })
}

/// The table as people read it, indented by tabs as Apache does.
fn pretty(table: &impl Serialize) -> Vec<u8> {
    let mut text = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, formatter);
    table
        .serialize(&mut serializer)
        .expect("tables have string keys and a vector takes every write");
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    type Table = BTreeMap<String, BTreeMap<i32, i64>>;

    fn table(offset: i64) -> Table {
        BTreeMap::from([("t@g".to_string(), BTreeMap::from([(0, offset)]))])
    }

    fn folder() -> (tempfile::TempDir, ConfigFolder) {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let folder = ConfigFolder::open(dir.path().join("config")).expect("a writable folder");
        (dir, folder)
    }

    #[test]
    fn the_previous_version_is_read_when_the_file_is_damaged_or_gone() {
        let (_dir, folder) = folder();
        assert_eq!(folder.read::<Table>(OFFSETS).expect("readable"), None);
        folder.write(OFFSETS, &table(1)).expect("written");
        folder.write(OFFSETS, &table(2)).expect("written");
        assert_eq!(folder.read::<Table>(OFFSETS).expect("readable"), Some(table(2)));
        fs::write(folder.path.join(OFFSETS), "{\"t@g\":{").expect("written");
        assert_eq!(
            folder.read::<Table>(OFFSETS).expect("the previous version"),
            Some(table(1))
        );
        assert!(folder.beside(OFFSETS, "damaged").exists());
        assert_eq!(
            folder.read::<Table>(OFFSETS).expect("only .bak is there"),
            Some(table(1))
        );
    }

    #[test]
    fn a_table_that_is_lost_stops_the_start_instead_of_beginning_empty() {
        let (_dir, folder) = folder();
        fs::write(folder.path.join(OFFSETS), "nonsense").expect("written");
        assert!(matches!(
            folder.read::<Table>(OFFSETS),
            Err(ConfigError::Damaged { .. })
        ));
    }

    #[test]
    fn bare_numbers_as_keys_are_read() {
        let (_dir, folder) = folder();
        fs::write(folder.path.join(OFFSETS), "{\n\t\"t@g\":{0:7\n\t}\n}").expect("written");
        assert_eq!(
            folder.read::<Table>(OFFSETS).expect("Apache's own format"),
            Some(table(7))
        );
    }
}
