//! The broker's configuration: which files, flags and requests give its keys their values.
//!
//! [`load`] is called once, before anything else starts; [`Config`] then answers requests 25 and 26. The keys themselves
//! stand in [`keys`]; no other code sees a key's name, it sees the typed options made here.

pub mod keys;

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::broker::admin::AdminOptions;
use crate::broker::options::BrokerOptions;
use crate::broker::refusal::Refusal;
use crate::protocol::code::response;
use crate::protocol::properties;
use crate::protocol::request::body::DataVersion;
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

/// Where a broker is reached, known once its listener is bound.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// `host:port` that clients are told.
    pub advertised: String,
    /// `host:port` that slaves are told.
    pub ha: String,
    /// The advertised address resolved.
    pub store_host: SocketAddr,
}

/// The typed options of a broker at these addresses.
pub fn broker_options(settings: &Settings, addresses: Addresses) -> BrokerOptions {
    let trace_topic = settings.get("msgTraceTopicName").to_owned();
    let constant = BrokerOptions {
        name: settings.get("brokerName").to_owned(),
        cluster: settings.get("brokerClusterName").to_owned(),
        id: settings.number("brokerId"),
        advertised: addresses.advertised,
        ha_address: addresses.ha,
        store_host: addresses.store_host,
        region: settings.get("regionId").to_owned(),
        delay_levels_ms: delay_levels_ms(settings.get("messageDelayLevel")).expect("checked when it was set"),
        trace_topic: settings.flag("traceTopicEnable").then_some(trace_topic),
        ..BrokerOptions::default()
    };
    changed_options(settings, constant)
}

/// Options with everything that may change while the broker runs taken from the settings, and the rest as it is.
fn changed_options(settings: &Settings, constant: BrokerOptions) -> BrokerOptions {
    let millis = |key| Duration::from_millis(settings.number(key));
    BrokerOptions {
        name_servers: addresses(settings.get("namesrvAddr"))
            .map(str::to_owned)
            .collect(),
        permission: settings
            .get("brokerPermission")
            .parse()
            .expect("one of the words of its kind"),
        message_bytes_max: settings.number("maxMessageSize"),
        auto_create_topics: settings.flag("autoCreateTopicEnable"),
        auto_create_groups: settings.flag("autoCreateSubscriptionGroup"),
        default_topic_queues: settings.number("defaultTopicQueueNums"),
        trace_on: settings.flag("traceOn"),
        long_polling: settings.flag("longPollingEnable"),
        short_polling: millis("shortPollingTimeMills"),
        lite_pull: settings.flag("litePullMessageEnable"),
        register_interval: millis("registerNameServerPeriod"),
        register_timeout: millis("registerBrokerTimeoutMills"),
        offsets_interval: millis("flushConsumerOffsetInterval"),
        delay_offsets_interval: millis("flushDelayOffsetInterval"),
        client_timeout: millis("channelExpiredTimeout"),
        flush_timeout: millis("syncFlushTimeout"),
        admin: AdminOptions {
            mixed_message_type: settings.flag("enableMixedMessageType"),
            guard_system_topics: settings.flag("validateSystemTopicWhenUpdateTopic"),
            delete_retry_topics: settings.flag("clearRetryTopicWhenDeleteTopic"),
            server_side_reset: settings.flag("useServerSideResetOffset"),
            query_max: settings.number("maxMsgsNumBatch"),
            query_unique_max: settings.number("defaultQueryMaxNum"),
        },
        ..constant
    }
}

/// The addresses of a list separated by `;` or commas.
pub fn addresses(list: &str) -> impl Iterator<Item = &str> {
    list.split([';', ','])
        .map(str::trim)
        .filter(|address| !address.is_empty())
}

fn check_addresses(list: &str) -> Result<(), String> {
    let good = |address: &str| {
        let (host, port) = address.rsplit_once(':')?;
        (!host.is_empty()).then(|| port.parse::<u16>().ok()).flatten()
    };
    match addresses(list).find(|address| good(address).is_none()) {
        Some(bad) => Err(format!(
            "expected host:port, separated by ; or a comma, found {bad:?}"
        )),
        None => Ok(()),
    }
}

/// `1s 5s 1m 2h 1d` in milliseconds.
fn delay_levels_ms(text: &str) -> Result<Vec<i64>, String> {
    const LEVELS_MAX: usize = 64;
    let level = |level: &str| {
        let (number, unit) = level.split_at_checked(level.len() - 1)?;
        let unit_ms = match unit {
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        number
            .parse::<i64>()
            .ok()
            .filter(|number| *number >= 0)?
            .checked_mul(unit_ms)
    };
    let levels: Option<Vec<i64>> = text.split_whitespace().map(level).collect();
    let levels = levels.filter(|levels| (1..=LEVELS_MAX).contains(&levels.len()));
    levels.ok_or_else(|| format!("expected up to {LEVELS_MAX} delays such as 1s 10m 2h"))
}

/// `04;16` as hours of the day.
fn delete_hours(text: &str) -> Result<Vec<u8>, String> {
    let hour = |hour: &str| hour.trim().parse::<u8>().ok().filter(|hour| *hour < 24);
    let hours: Option<Vec<u8>> = text.split(';').map(hour).collect();
    hours.ok_or_else(|| "expected hours from 00 to 23, separated by ;".to_owned())
}

/// The configuration of a running broker: what request 26 shows and request 25 changes.
pub struct Config {
    /// What the broker keeps of request 25. Constant after the start.
    saved: PathBuf,
    state: Mutex<State>,
}

struct State {
    settings: Settings,
    version: DataVersion,
}

/// What a request changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// Names of the keys whose new value holds at once.
    pub live: Vec<&'static str>,
    /// Names of the keys whose new value holds from the next start.
    pub at_restart: Vec<&'static str>,
}

impl Config {
    /// The configuration of a broker whose store lies in `root`.
    pub fn new(settings: Settings, root: &Path, now_ms: i64) -> Config {
        let version = DataVersion {
            timestamp: now_ms,
            ..DataVersion::default()
        };
        Config {
            saved: saved_file(root),
            state: Mutex::new(State { settings, version }),
        }
    }

    /// All keys as properties text, and the version of the whole.
    pub fn text(&self) -> (String, DataVersion) {
        let state = self.lock();
        (state.settings.text(), state.version)
    }

    /// The options with what requests have changed.
    pub fn options(&self, constant: BrokerOptions) -> BrokerOptions {
        changed_options(&self.lock().settings, constant)
    }

    /// Takes the properties text of request 25: all of it or nothing. What is kept on disk has to be [`Config::save`]d.
    ///
    /// # Errors
    /// 16 for a key that no request may change, 29 for an unknown key or a bad value, 1 for a text that is none.
    pub fn change(&self, text: &str, now_ms: i64) -> Result<Changed, Refusal> {
        let bad_text = |bad| Refusal::new(response::SYSTEM_ERROR, format!("string2Properties error: {bad}"));
        let assignments = properties::parse(text).map_err(bad_text)?;
        let mut state = self.lock();
        let black_list = state.settings.get("configBlackList");
        let mut changed = Changed {
            live: Vec::new(),
            at_restart: Vec::new(),
        };
        for assignment in &assignments {
            let name = assignment.key.as_str();
            if ALWAYS_BLACK.contains(&name) || black_list.split(';').any(|black| black.trim() == name) {
                return Err(Refusal::new(
                    response::NO_PERMISSION,
                    "Can not update config in black list.",
                ));
            }
            let key = state.settings.key(name).ok_or_else(|| unknown_key(name))?;
            match key.change {
                Change::Live => changed.live.push(key.name),
                Change::Restart => changed.at_restart.push(key.name),
                Change::Never => {
                    let remark = format!("{name} can not be changed by a request.");
                    return Err(Refusal::new(response::NO_PERMISSION, remark));
                }
            }
        }
        let mut settings = state.settings.clone();
        let bad_value = |bad: BadSetting| Refusal::new(response::INVALID_PARAMETER, bad.to_string());
        settings
            .layer(&assignments, &Source::Saved(Arc::from(self.saved.as_path())))
            .map_err(bad_value)?;
        state.settings = settings;
        state.version.counter += 1;
        state.version.timestamp = now_ms;
        Ok(changed)
    }

    /// Writes what requests changed beside the store; when this returns, the new version survives a power failure.
    /// Called by one loop only.
    pub fn save(&self) -> io::Result<()> {
        let text = self.saved_text();
        let folder = self
            .saved
            .parent()
            .expect("the file lies in a folder of the store");
        fs::create_dir_all(folder)?;
        let fresh = self.saved.with_extension("tmp");
        let mut file = File::create(&fresh)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&fresh, &self.saved)?;
        File::open(folder)?.sync_all()
    }

    fn saved_text(&self) -> String {
        let state = self.lock();
        let mut text = String::from(
            "# Changed by requests while the broker ran; stronger than its configuration file.\n",
        );
        let saved = |name| matches!(state.settings.source(name), Source::Saved(_));
        for key in KEYS.iter().filter(|key| saved(key.name)) {
            properties::write(key.name, state.settings.get(key.name), &mut text);
        }
        text
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no code panics while it holds the configuration")
    }
}

/// Keys that Apache lets nobody change, whatever `configBlackList` says.
const ALWAYS_BLACK: [&str; 3] = ["brokerConfigPath", "rocketmqHome", "configBlackList"];

fn unknown_key(name: &str) -> Refusal {
    let hint = settings::nearest(KEYS, name).map_or(String::new(), |near| format!(" (did you mean {near}?)"));
    let name: String = name.chars().take(64).collect();
    Refusal::new(response::INVALID_PARAMETER, format!("unknown key {name}{hint}"))
}
