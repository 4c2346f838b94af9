//! The broker's configuration: which files, flags and requests give its keys their values.
//!
//! [`load`] is called once, before anything else starts; [`Config`] then answers requests 25 and 26. The keys themselves
//! stand in [`keys`]; no other code sees a key's name, it sees the typed options made here.

pub mod keys;

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use crate::broker::admin::AdminOptions;
use crate::broker::options::BrokerOptions;
use crate::broker::refusal::Refusal;
use crate::broker::topics::has_name_characters;
use crate::protocol::request::body::DataVersion;
use crate::protocol::settings::{self, BadSetting, Changed, Folders, Given, Settings};
use crate::store::{DiskRatios, FlushMode, StoreOptions};
use keys::KEYS;

/// What only this machine knows.
#[derive(Clone, Debug)]
pub struct Machine {
    pub folders: Folders,
    /// The host name.
    pub host: String,
}

/// Reads the configuration of a broker.
///
/// # Errors
/// The first value that cannot be taken, and where it stands.
pub fn load(given: &Given<'_>, machine: &Machine) -> Result<Settings, BadSetting> {
    let saved = |settings: &Settings| saved_file(&store_root(settings, &machine.folders));
    let mut settings = settings::load(KEYS, given, saved, |path| fs::read_to_string(path))?;
    let name = machine
        .host
        .split('.')
        .next()
        .filter(|name| !name.is_empty())
        .unwrap_or("broker");
    settings.derive("brokerName", name.to_owned());
    Ok(settings)
}

/// Where the store lies, as an absolute path: it is shown to people in other folders.
pub fn store_root(settings: &Settings, folders: &Folders) -> PathBuf {
    let root = folders.expand(settings.get("storePathRootDir"));
    // Without a working folder the path as it was given is all there is.
    std::path::absolute(&root).unwrap_or(root)
}

/// What was asked for and is not kept here, to be said at the start.
pub fn unkept(settings: &Settings) -> Option<&'static str> {
    (settings.get("brokerRole") == "SYNC_MASTER").then_some(
        "brokerRole=SYNC_MASTER is without effect here: there are no replicas yet, a send waits for none",
    )
}

/// Where the broker of this store keeps what request 25 changed.
pub fn saved_file(root: &Path) -> PathBuf {
    root.join("rmq").join("broker.properties")
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

/// The typed options of the store.
pub fn store_options(settings: &Settings, folders: &Folders, store_host: SocketAddr) -> StoreOptions {
    let commit_log = Some(settings.get("storePathCommitLog")).filter(|path| !path.is_empty());
    let percent = |key| settings.given(key).map(|_| settings.number(key));
    let queue_bytes = settings.given("mappedFileSizeConsumeQueue");
    let flush = match settings.get("flushDiskType") {
        "SYNC_FLUSH" => FlushMode::Sync,
        _ => FlushMode::Async {
            interval: Duration::from_millis(settings.number("flushIntervalCommitLog")),
        },
    };
    StoreOptions {
        root: store_root(settings, folders),
        commit_log: commit_log.map(|path| folders.expand(path)),
        // A store keeps the lengths it has; asking for others is an error, so only what somebody set is asked for.
        segment_bytes: settings
            .given("mappedFileSizeCommitLog")
            .map(|_| settings.number("mappedFileSizeCommitLog")),
        queue_segment_bytes: queue_bytes.map(|bytes| bytes.parse().expect("checked when it was set")),
        key_index: settings.flag("messageIndexEnable"),
        index_slots: settings.number("maxHashSlotNum"),
        index_entries: settings.number("maxIndexNum"),
        flush,
        store_host,
        retention: Duration::from_secs(3600 * settings.number::<u64>("fileReservedTime")),
        delete_hours: delete_hours(settings.get("deleteWhen")).expect("checked when it was set"),
        disk_ratios: DiskRatios {
            clean: Some(settings.number("diskMaxUsedSpaceRatio")),
            // Apache has defaults for these; rmq deletes what has not expired, and refuses while there is room, only
            // where somebody asked for it.
            clean_forcibly: percent("diskSpaceCleanForciblyRatio")
                .filter(|_| settings.flag("cleanFileForciblyEnable")),
            refuse: percent("diskSpaceWarningLevelRatio"),
        },
        ..StoreOptions::default()
    }
}

/// A broker and its cluster give their names to topics; host names have dots.
fn check_name(name: &str) -> Result<(), String> {
    if has_name_characters(&name.replace('.', "")) {
        return Ok(());
    }
    Err("expected letters, digits and any of _-|%.".to_owned())
}

fn check_single_folder(path: &str) -> Result<(), String> {
    if path.contains(',') {
        return Err(
            "refused: a commit log in several folders is not built, and messages would be missing".to_owned(),
        );
    }
    Ok(())
}

fn check_queue_file(bytes: &str) -> Result<(), String> {
    let good = bytes
        .parse::<u64>()
        .is_ok_and(|bytes| bytes > 0 && bytes <= i32::MAX as u64 && bytes % 20 == 0);
    if good {
        Ok(())
    } else {
        Err("expected a multiple of 20".to_owned())
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

    /// Moves with every change.
    pub fn version(&self) -> DataVersion {
        self.lock().version
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
        let mut state = self.lock();
        let changed = state.settings.change(text, &ALWAYS_BLACK, &self.saved);
        let changed = changed.map_err(|bad| Refusal::new(bad.code(), bad.to_string()))?;
        state.version.advance(now_ms);
        Ok(changed)
    }

    /// Writes what requests changed beside the store; when this returns, the new version survives a power failure.
    /// Called by one loop only.
    pub fn save(&self) -> io::Result<()> {
        let text = self.lock().settings.saved_text();
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

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no code panics while it holds the configuration")
    }
}

/// Keys that Apache lets nobody change, whatever `configBlackList` says.
const ALWAYS_BLACK: [&str; 3] = ["brokerConfigPath", "rocketmqHome", "configBlackList"];
