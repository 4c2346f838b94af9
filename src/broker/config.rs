//! The broker's configuration: which files, flags and requests give its keys their values.
//!
//! [`load`] is called once, before anything else starts; [`Config`] then answers requests 25 and 26. The keys themselves
//! stand in [`keys`]; no other code sees a key's name, it sees the typed options made here.

pub mod keys;

use std::io;
use std::path::{Path, PathBuf};

use crate::protocol::settings::{self, BadSetting, Change, Defaults, Settings, Source};
use keys::KEYS;

/// What the caller was given on its command line and found in its environment.
#[derive(Clone, Debug, Default)]
pub struct Given<'a> {
    /// `-c FILE`.
    pub file: Option<&'a Path>,
    /// Each `--set key=value`.
    pub set: &'a [String],
    /// Flags that stand for a key: the key, the flag, the value.
    pub flags: &'a [(&'static str, &'static str, String)],
    /// The variable `NAMESRV_ADDR`.
    pub namesrv_addr: Option<&'a str>,
}

/// What only this machine knows.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The user's home folder, `$HOME` in the value of a path.
    pub home: PathBuf,
    /// The user's folder for data (XDG), `$DATA` in the value of a path.
    pub data: PathBuf,
    /// The host name.
    pub host: String,
}

/// Why the broker does not start.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{path}: {error}", path = path.display())]
    Read { path: PathBuf, error: io::Error },
    #[error(transparent)]
    Bad(#[from] BadSetting),
}

/// Lays all sources over each other: default, `NAMESRV_ADDR`, file, what requests saved in the store, `--set`, flags.
pub fn load(given: &Given<'_>, machine: &Machine) -> Result<Settings, ConfigError> {
    let apache = given.file.is_some_and(|file| !settings::is_toml(file));
    let mut settings = Settings::new(KEYS, if apache { Defaults::Apache } else { Defaults::Own });
    if let Some(address) = given.namesrv_addr.filter(|address| !address.trim().is_empty()) {
        settings.set("namesrvAddr", address, &Source::Environment("NAMESRV_ADDR"))?;
    }
    if let Some(file) = given.file {
        settings.layer(
            &settings::read_file_text(file, &read(file)?)?,
            &Source::File(file.into()),
        )?;
    }
    let mut decided = settings.clone();
    lay_command_line(&mut decided, given)?;
    lay_saved(&mut settings, &saved_file(&store_root(&decided, machine)))?;
    lay_command_line(&mut settings, given)?;
    let name = machine
        .host
        .split('.')
        .next()
        .filter(|name| !name.is_empty())
        .unwrap_or("broker")
        .to_owned();
    settings.derive("brokerName", name);
    Ok(settings)
}

/// Where the store lies, with `$HOME`, `$DATA` and `~` at the front of the path filled in.
pub fn store_root(settings: &Settings, machine: &Machine) -> PathBuf {
    expand(settings.get("storePathRootDir"), machine)
}

/// Where the broker of this store keeps what request 25 changed.
pub fn saved_file(root: &Path) -> PathBuf {
    root.join("rmq").join("broker.properties")
}

fn lay_command_line(settings: &mut Settings, given: &Given<'_>) -> Result<(), BadSetting> {
    for text in given.set {
        settings.set_text(text)?;
    }
    for (key, flag, value) in given.flags {
        settings.set(key, value, &Source::Flag(flag))?;
    }
    Ok(())
}

/// Requests may not change every key, so neither may a file that only requests write.
fn lay_saved(settings: &mut Settings, file: &Path) -> Result<(), ConfigError> {
    if !file.exists() {
        return Ok(());
    }
    let mut saved = settings::read_file_text(file, &read(file)?)?;
    saved.retain(|assignment| {
        settings
            .key(&assignment.key)
            .is_none_or(|key| key.change != Change::Never)
    });
    Ok(settings.layer(&saved, &Source::Saved(file.into()))?)
}

fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|error| ConfigError::Read {
        path: path.to_owned(),
        error,
    })
}

fn expand(path: &str, machine: &Machine) -> PathBuf {
    let folders = [
        ("$HOME", &machine.home),
        ("~", &machine.home),
        ("$DATA", &machine.data),
    ];
    let mut below = folders
        .iter()
        .filter_map(|(prefix, folder)| Some((path.strip_prefix(prefix)?, folder)));
    match below.find(|(rest, _)| rest.is_empty() || rest.starts_with('/')) {
        Some((rest, folder)) => folder.join(rest.trim_start_matches('/')),
        None => PathBuf::from(path),
    }
}
