//! The offsets of a broadcasting consumer in a file of its own (Apache: `LocalFileOffsetStore`, same path and format):
//! `<dir>/<ip@instance>/<group>/offsets.json`, the version before it beside it as `.bak`. Without an instance name it is
//! `ip@DEFAULT`, so that the next run goes on where this one ended.
//!
//! A new version is written aside, synced and renamed, so a crash leaves one whole file. A damaged file does not stop the
//! consumer: the previous version is used, or the file is kept aside and the start policy applies.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::protocol::fastjson::{self, QueueTable};
use crate::protocol::request::body::MessageQueue;

/// The place of one offsets file.
#[derive(Clone, Debug)]
pub(super) struct LocalOffsets {
    path: PathBuf,
}

/// What stands in the file.
#[derive(Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Content {
    offset_table: QueueTable<i64>,
}

impl LocalOffsets {
    /// The file of a client's group under `dir`; `client` is a name that the client has in every run.
    pub fn new(dir: &Path, client: &str, group: &str) -> LocalOffsets {
        LocalOffsets {
            path: dir.join(client).join(group).join("offsets.json"),
        }
    }

    /// Reads the file; an absent one holds nothing.
    pub fn load(&self) -> HashMap<MessageQueue, u64> {
        let table = match read(&self.path) {
            Ok(Some(table)) => table,
            Ok(None) => read_or_warn(&previous(&self.path)).unwrap_or_default(),
            Err(reason) => recover(&self.path, &reason),
        };
        let known = table
            .0
            .into_iter()
            .filter_map(|(queue, offset)| Some((queue, u64::try_from(offset).ok()?)));
        known.collect()
    }

    /// Writes the file. Blocks until it is on disk.
    pub fn save(&self, offsets: &HashMap<MessageQueue, u64>) -> io::Result<()> {
        let offset_table = offsets
            .iter()
            .map(|(queue, offset)| (queue.clone(), *offset as i64))
            .collect();
        let folder = self
            .path
            .parent()
            .expect("the path ends with a group's folder and a file name");
        fs::create_dir_all(folder)?;
        // Two consumers may share the file; each writes aside on its own.
        let aside = self
            .path
            .with_extension(format!("json.{:08x}.new", fastrand::u32(..)));
        let mut file = File::create(&aside)?;
        file.write_all(&fastjson::write(&Content { offset_table }))?;
        file.sync_all()?;
        if self.path.exists() {
            fs::rename(&self.path, previous(&self.path))?;
        }
        fs::rename(&aside, &self.path)?;
        File::open(folder)?.sync_all()
    }
}

fn previous(path: &Path) -> PathBuf {
    path.with_extension("json.bak")
}

/// `None`: there is no file. An error says why it cannot be read.
fn read(path: &Path) -> Result<Option<QueueTable<i64>>, String> {
    match fs::read(path) {
        Ok(text) if text.is_empty() => Err("it is empty".to_owned()),
        Ok(text) => {
            let content: Content = fastjson::read(&text).map_err(|bad| bad.to_string())?;
            Ok(Some(content.offset_table))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

fn read_or_warn(path: &Path) -> Option<QueueTable<i64>> {
    read(path).unwrap_or_else(|reason| {
        tracing::warn!(file = %path.display(), reason, "damaged offset file");
        None
    })
}

/// Keeps a damaged file aside and falls back to the version before it.
fn recover(path: &Path, reason: &str) -> QueueTable<i64> {
    let aside = path.with_extension("json.damaged");
    let kept = fs::rename(path, &aside);
    let table = read_or_warn(&previous(path));
    let then = if table.is_some() {
        "its previous version is used"
    } else {
        "the start policy applies"
    };
    tracing::warn!(
        file = %path.display(),
        reason,
        kept = kept.is_ok().then(|| aside.display().to_string()),
        "damaged offset file: {then}"
    );
    table.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(id: i32) -> MessageQueue {
        MessageQueue::new("T", "broker-a", id)
    }

    fn file(dir: &Path) -> PathBuf {
        dir.join("client").join("group").join("offsets.json")
    }

    fn offsets(entries: &[(i32, u64)]) -> HashMap<MessageQueue, u64> {
        entries.iter().map(|(id, offset)| (queue(*id), *offset)).collect()
    }

    #[test]
    fn offsets_survive_in_apaches_format() {
        let dir = tempfile::tempdir().expect("a folder");
        let local = LocalOffsets::new(dir.path(), "client", "group");
        assert!(local.load().is_empty());
        local.save(&offsets(&[(0, 9), (1, 8)])).expect("saved");
        assert_eq!(local.load(), offsets(&[(0, 9), (1, 8)]));
        let text = fs::read_to_string(file(dir.path())).expect("the file");
        assert_eq!(
            text,
            r#"{"offsetTable":{{"brokerName":"broker-a","queueId":0,"topic":"T"}:9,{"brokerName":"broker-a","queueId":1,"topic":"T"}:8}}"#
        );
    }

    #[test]
    fn a_damaged_file_gives_way_to_its_previous_version() {
        let dir = tempfile::tempdir().expect("a folder");
        let local = LocalOffsets::new(dir.path(), "client", "group");
        local.save(&offsets(&[(0, 7)])).expect("saved");
        local.save(&offsets(&[(0, 9)])).expect("saved");
        let text = fs::read(file(dir.path())).expect("the file");
        fs::write(file(dir.path()), &text[..text.len() / 2]).expect("cut");
        assert_eq!(local.load(), offsets(&[(0, 7)]));
        assert!(file(dir.path()).with_extension("json.damaged").exists());
    }

    #[test]
    fn a_damaged_file_alone_is_kept_aside_and_holds_nothing() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(file(dir.path()).parent().expect("a folder")).expect("created");
        fs::write(file(dir.path()), "{\"offsetTable\":{{\"brok").expect("written");
        let local = LocalOffsets::new(dir.path(), "client", "group");
        assert!(local.load().is_empty());
        local.save(&offsets(&[(0, 1)])).expect("a new file");
        assert_eq!(local.load(), offsets(&[(0, 1)]));
    }
}
