//! What a user sees of configuration: which source wins, what is refused, and that Apache's own files are understood.

use std::path::{Path, PathBuf};

use rmq::broker::config::keys::KEYS;
use rmq::broker::config::{
    Addresses, Config, Machine, broker_options, load, saved_file, store_options, store_root,
};
use rmq::broker::options::BrokerOptions;
use rmq::namesrv;
use rmq::protocol::code::response;
use rmq::protocol::settings::{
    Defaults, Effect, Folders, Format, Given, Key, Kind, Settings, Source, sample,
};
use rmq::store::DiskRatios;

fn machine(folder: &Path) -> Machine {
    let folders = Folders {
        home: folder.join("home"),
        data: folder.join("data"),
    };
    Machine {
        folders,
        host: "quokka.example.org".to_owned(),
    }
}

fn write(path: &Path, text: &str) -> PathBuf {
    std::fs::create_dir_all(path.parent().expect("a file has a folder")).expect("the folder can be made");
    std::fs::write(path, text).expect("the file can be written");
    path.to_owned()
}

/// Loads a file of that name and text, and nothing else; the error without the temporary folder's path.
fn load_file(name: &str, text: &str) -> Result<Settings, String> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = write(&folder.path().join(name), text);
    let result = load(
        &Given {
            file: Some(&file),
            ..Given::default()
        },
        &machine(folder.path()),
    );
    result.map_err(|error| {
        error
            .to_string()
            .replace(&format!("{}/", folder.path().display()), "")
    })
}

#[test]
fn each_source_beats_the_weaker_ones() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let machine = machine(folder.path());
    let root = folder.path().join("store");
    let text = "namesrvAddr = 'file:1'\ntraceOn = false\nmaxMsgsNumBatch = 1\ndeleteWhen = '01'\n";
    let file = write(&folder.path().join("b.toml"), text);
    write(
        &saved_file(&root),
        "maxMsgsNumBatch=2\ndeleteWhen=02\nstorePathRootDir=/elsewhere\n",
    );
    let set = [
        format!("storePathRootDir={}", root.display()),
        "deleteWhen=03".into(),
        "listenPort=1".into(),
    ];
    let flags = [("listenPort", "--listen", "2".to_owned())];
    let given = Given {
        file: Some(&file),
        set: &set,
        flags: &flags,
        environment: Some(("namesrvAddr", "NAMESRV_ADDR", "env:1")),
    };
    let settings = load(&given, &machine).expect("a good configuration");
    let seen = [
        "namesrvAddr",
        "maxMsgsNumBatch",
        "deleteWhen",
        "listenPort",
        "brokerName",
    ]
    .map(|key| (settings.get(key), settings.source(key).to_string()));
    let path = |path: &Path| path.display().to_string();
    let expected = [
        ("file:1", path(&file)),
        ("2", path(&saved_file(&root))),
        ("03", "--set".to_owned()),
        ("2", "--listen".to_owned()),
        ("quokka", "default".to_owned()),
    ];
    assert_eq!(seen, expected);
    assert_eq!(
        store_root(&settings, &machine.folders),
        root,
        "a saved path moves no store"
    );
}

#[test]
fn the_environment_names_the_name_servers_only_where_nothing_else_does() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let given = Given {
        environment: Some(("namesrvAddr", "NAMESRV_ADDR", "a:9876;b:9876")),
        ..Given::default()
    };
    let settings = load(&given, &machine(folder.path())).expect("a good configuration");
    assert_eq!(settings.get("namesrvAddr"), "a:9876;b:9876");
    assert_eq!(
        settings.source("namesrvAddr").to_string(),
        "environment variable NAMESRV_ADDR"
    );
}

/// The file that comes with Apache RocketMQ, its spacing included.
#[test]
fn apaches_own_broker_conf_finds_its_store_and_its_clients() {
    let text = "brokerClusterName = DefaultCluster\nbrokerName = broker-a\nbrokerId = 0\ndeleteWhen = 04\n\
                fileReservedTime = 48\nbrokerRole = ASYNC_MASTER\nflushDiskType = ASYNC_FLUSH\n";
    let settings = load_file("broker.conf", text).expect("a good configuration");
    let values = [
        "brokerName",
        "fileReservedTime",
        "bindAddress",
        "listenPort",
        "flushIntervalCommitLog",
    ]
    .map(|key| settings.get(key));
    assert_eq!(values, ["broker-a", "48", "0.0.0.0", "10911", "500"]);
    assert_eq!(
        store_root(&settings, &machine(Path::new("/m")).folders),
        Path::new("/m/home/store")
    );
    assert!(settings.unknown().is_empty());
}

#[test]
fn without_a_properties_file_rmqs_own_defaults_hold() {
    let settings = load_file("broker.toml", "").expect("a good configuration");
    let values = ["bindAddress", "flushIntervalCommitLog"].map(|key| settings.get(key));
    assert_eq!(values, ["127.0.0.1", "200"]);
    assert_eq!(
        store_root(&settings, &machine(Path::new("/m")).folders),
        Path::new("/m/data/rmq/store")
    );
}

#[test]
fn what_would_start_open_or_elsewhere_is_refused_with_the_reason() {
    for (text, reason) in [
        ("aclEnable=true", "access control is not built yet"),
        ("authenticationEnabled=true", "access control is not built yet"),
        ("authorizationEnabled=true", "access control is not built yet"),
        ("storeType=defaultRocksDB", "this kind of store is not built"),
        ("enableDLegerCommitLog=true", "this kind of store is not built"),
        (
            "enableControllerMode=true",
            "replication to slaves is not built yet",
        ),
        ("brokerRole=SLAVE", "replication to slaves is not built yet"),
        ("inSyncReplicas=2", "replication to slaves is not built yet"),
        ("messageStorePlugIn=a.b.C", "rmq loads no Java classes"),
    ] {
        let error = load_file("broker.conf", &format!("# first\n{text}\n")).expect_err(text);
        assert!(error.starts_with("broker.conf:2: "), "{error}");
        assert!(error.contains(&format!("refused: {reason}")), "{error}");
    }
}

#[test]
fn a_misspelled_key_is_a_warning_that_names_the_right_one() {
    let text = "\nmapedFileSizeCommitLog=1073741824\nnosuchthing=1\n";
    let settings = load_file("broker.conf", text).expect("a good configuration");
    let warnings: Vec<String> = settings.unknown().iter().map(ToString::to_string).collect();
    let expected =
        "broker.conf:2: unknown key mapedFileSizeCommitLog (did you mean mappedFileSizeCommitLog?)";
    assert!(warnings[0].ends_with(expected), "{warnings:?}");
    assert!(
        warnings[1].ends_with("broker.conf:3: unknown key nosuchthing"),
        "{warnings:?}"
    );
}

#[test]
fn a_bad_value_is_an_error_with_file_and_line() {
    let error = load_file("broker.conf", "# one\n\nfileReservedTime = long\n").expect_err("a bad value");
    assert_eq!(
        error,
        "broker.conf:3: fileReservedTime = \"long\": expected a whole number from 1 to 876000"
    );
}

#[test]
fn a_missing_file_is_named() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("absent.conf");
    let given = Given {
        file: Some(&file),
        ..Given::default()
    };
    let error = load(&given, &machine(folder.path())).expect_err("no such file");
    assert!(
        error.to_string().starts_with(&format!("{}: ", file.display())),
        "{error}"
    );
}

fn options_of(settings: &Settings) -> BrokerOptions {
    let store_host = ([127, 0, 0, 1], 10911).into();
    let ha = "127.0.0.1:10912".to_owned();
    broker_options(
        settings,
        Addresses {
            advertised: "127.0.0.1:10911".to_owned(),
            ha,
            store_host,
        },
    )
}

#[test]
fn lists_and_durations_become_typed_options() {
    let text =
        "namesrvAddr=a:9876;b:9876, c:1\nmessageDelayLevel=1s 2m 3h 4d\nbrokerPermission=4\nbrokerName=b\n";
    let options = options_of(&load_file("broker.conf", text).expect("a good configuration"));
    assert_eq!(options.name_servers, ["a:9876", "b:9876", "c:1"]);
    assert_eq!(options.delay_levels_ms, [1000, 120_000, 10_800_000, 345_600_000]);
    assert_eq!((options.permission, options.name.as_str()), (4, "b"));
    for bad in [
        "namesrvAddr=a",
        "messageDelayLevel=1s 2x",
        "deleteWhen=24",
        "messageDelayLevel=é",
    ] {
        let error = load_file("broker.conf", bad).expect_err(bad);
        assert!(error.starts_with("broker.conf:1: "), "{error}");
    }
}

#[test]
fn unset_keys_give_the_options_a_broker_has_by_default() {
    let settings = load_file("broker.conf", "brokerName=broker-a").expect("a good configuration");
    assert_eq!(options_of(&settings), BrokerOptions::default());
}

/// A configuration at its defaults, with an empty store.
fn running() -> (tempfile::TempDir, Config) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let settings = load(&Given::default(), &machine(folder.path())).expect("a good configuration");
    let config = Config::new(settings, &folder.path().join("data/rmq/store"), 1);
    (folder, config)
}

#[test]
fn what_a_request_changes_holds_at_once_and_after_a_restart() {
    let (folder, config) = running();
    let changed = config
        .change("traceOn=false\nflushDelayOffsetInterval = 9000\n", 2)
        .expect("allowed");
    assert_eq!(changed.live, ["traceOn", "flushDelayOffsetInterval"]);
    let changed = config
        .change("fileReservedTime=48\ntimerWheelEnable=false", 3)
        .expect("allowed");
    let remark = "from the next start: fileReservedTime; without effect: timerWheelEnable";
    assert_eq!(changed.remark().as_deref(), Some(remark));
    assert!(!config.options(BrokerOptions::default()).trace_on);
    let (text, version) = config.text();
    assert!(text.contains("\ntraceOn=false\n"), "{text}");
    assert_eq!((version.counter, version.timestamp), (2, 3));
    config.save().expect("the store's folder is writable");
    let again = load(&Given::default(), &machine(folder.path())).expect("a good configuration");
    let values = ["traceOn", "flushDelayOffsetInterval", "fileReservedTime"].map(|key| again.get(key));
    assert_eq!(values, ["false", "9000", "48"]);
    assert!(
        again
            .source("traceOn")
            .to_string()
            .ends_with("/rmq/broker.properties")
    );
}

/// The shapes of CVE-2023-33246 and CVE-2023-37582, and their kind: paths, addresses, classes, guards.
#[test]
fn no_request_changes_a_path_an_address_a_class_or_a_guard() {
    let (_folder, config) = running();
    let before = config.text();
    for key in ["brokerConfigPath", "rocketmqHome", "configBlackList"] {
        let refusal = config.change(&format!("{key}=x"), 2).expect_err(key);
        assert_eq!(
            (refusal.code, &*refusal.remark),
            (response::NO_PERMISSION, "Can not update config in black list.")
        );
    }
    for key in [
        "storePathRootDir",
        "storePathCommitLog",
        "messageStorePlugIn",
        "bindAddress",
        "listenPort",
        "brokerIP1",
    ] {
        assert_eq!(
            config.change(&format!("{key}=1"), 2).expect_err(key).code,
            response::NO_PERMISSION
        );
    }
    for key in ["filterServerNums", "kvConfigPath", "configStorePath"] {
        assert_eq!(
            config.change(&format!("{key}=1"), 2).expect_err(key).code,
            response::INVALID_PARAMETER
        );
    }
    assert_eq!(config.text(), before);
}

#[test]
fn a_request_is_taken_whole_or_not_at_all() {
    let (_folder, config) = running();
    let before = config.text();
    let refusal = config
        .change("traceOn=false\nmaxMessageSize=huge", 2)
        .expect_err("a bad value");
    assert_eq!(refusal.code, response::INVALID_PARAMETER);
    assert_eq!(
        config.change("traceOn=\\u12", 2).expect_err("no text").code,
        response::SYSTEM_ERROR
    );
    assert_eq!(config.text(), before);
}

#[test]
fn secrets_are_in_no_answer() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let set = ["innerClientAuthenticationCredentials=canary-4711".to_owned()];
    let settings = load(
        &Given {
            set: &set,
            ..Given::default()
        },
        &machine(folder.path()),
    )
    .expect("allowed");
    assert!(!format!("{settings:?}").contains("canary"));
    assert!(
        !Config::new(settings, folder.path(), 1)
            .text()
            .0
            .contains("canary")
    );
}

/// Keys that the commands read where they bind sockets and find folders, or that only guard.
const READ_ELSEWHERE: [&str; 11] = [
    "brokerId",
    "brokerRole",
    "bindAddress",
    "listenPort",
    "brokerIP1",
    "brokerIP2",
    "advertisedPort",
    "namesrvListen",
    "configBlackList",
    "msgTraceTopicName",
    "cleanFileForciblyEnable",
];

/// A key that the table calls applied and nobody reads is a lie to whoever sets it.
#[test]
fn every_key_that_is_said_to_be_applied_changes_an_option() {
    let folders = machine(Path::new("/m")).folders;
    let shown = |settings: &Settings| {
        let store = store_options(settings, &folders, ([127, 0, 0, 1], 1).into());
        format!("{:?}{store:?}", options_of(settings))
    };
    let before = Settings::new(KEYS, Defaults::Own);
    for key in KEYS
        .iter()
        .filter(|key| key.effect == Effect::Applied && key.refuse.is_none())
    {
        let other = match key.kind {
            Kind::Flag if before.flag(key.name) => "false".to_owned(),
            Kind::Flag => "true".to_owned(),
            Kind::Number { min, .. } if before.number::<i64>(key.name) != min => min.to_string(),
            Kind::Number { max, .. } => max.to_string(),
            Kind::Choice(words) => words[if before.get(key.name) == words[0] { 1 } else { 0 }].to_owned(),
            Kind::Checked(check) => {
                let values = ["host:1", "20", "3s"].into_iter();
                values
                    .chain(["/folder"])
                    .find(|value| check(value).is_ok())
                    .expect("one of them fits")
                    .to_owned()
            }
            _ => "other".to_owned(),
        };
        let mut after = before.clone();
        after.set(key.name, &other, &Source::Set).expect("a good value");
        let changed = shown(&before) != shown(&after);
        assert_eq!(
            changed,
            !READ_ELSEWHERE.contains(&key.name),
            "{} = {other}",
            key.name
        );
    }
}

#[test]
fn nothing_unexpired_is_deleted_unless_somebody_asked() {
    let folders = machine(Path::new("/m")).folders;
    let ratios = |text: &str| {
        let settings = load_file("broker.conf", text).expect("a good configuration");
        store_options(&settings, &folders, ([127, 0, 0, 1], 1).into()).disk_ratios
    };
    assert_eq!(
        ratios(""),
        DiskRatios {
            clean: Some(75),
            clean_forcibly: None,
            refuse: None
        }
    );
    let asked = "diskSpaceCleanForciblyRatio=80\ndiskSpaceWarningLevelRatio=95\n";
    assert_eq!(
        ratios(asked),
        DiskRatios {
            clean: Some(75),
            clean_forcibly: Some(80),
            refuse: Some(95)
        }
    );
    let switched_off = format!("{asked}cleanFileForciblyEnable=false\n");
    assert_eq!(ratios(&switched_off).clean_forcibly, None);
}

#[test]
fn no_key_stands_twice_in_a_table_and_every_default_is_a_good_value() {
    for keys in [KEYS, namesrv::config::KEYS] {
        let mut names: Vec<&str> = keys.iter().map(|key| key.name).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
        for key in keys {
            for default in [Some(key.default), key.own].into_iter().flatten() {
                assert_eq!(key.check(default), Ok(default.to_owned()), "{}", key.name);
            }
        }
    }
}

#[test]
fn a_name_server_reads_its_own_keys_and_what_requests_saved() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let machine = machine(folder.path());
    write(
        &machine.folders.data.join("rmq/namesrv/namesrv.properties"),
        "waitSecondsForService=9\nlistenPort=1\n",
    );
    let set = ["listenPort=19876".to_owned()];
    let settings = namesrv::config::load(
        &Given {
            set: &set,
            ..Given::default()
        },
        &machine.folders,
    )
    .expect("good");
    let values = ["listenPort", "waitSecondsForService", "bindAddress"].map(|key| settings.get(key));
    assert_eq!(values, ["19876", "9", "127.0.0.1"]);
    let error = load_file("namesrv.conf", "enableControllerInNamesrv=true").expect("unknown to a broker");
    assert_eq!(error.unknown().len(), 1);
}

const BROKER: &str = "Configuration of an rmq broker: every key that does something, at its default.\n\
                      Take away the # in front of a key to change it. `rmq broker config` shows what holds and why.";
const NAMESRV: &str = "Configuration of an rmq name server: every key that does something, at its default.\n\
                       Take away the # in front of a key to change it.";

/// `RMQ_UPDATE=1 cargo test --test config` writes the files anew.
#[test]
fn the_sample_files_are_current() {
    let servers: [(&str, &'static [Key], &str); 2] = [
        ("broker", KEYS, BROKER),
        ("namesrv", namesrv::config::KEYS, NAMESRV),
    ];
    for (server, keys, heading) in servers {
        for (extension, format) in [("conf", Format::Properties), ("toml", Format::Toml)] {
            let name = format!("conf/{server}.{extension}");
            let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(&name);
            let expected = sample(keys, format, heading);
            if std::env::var_os("RMQ_UPDATE").is_some() {
                write(&file, &expected);
            }
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            assert!(
                text == expected,
                "{name} is out of date: RMQ_UPDATE=1 cargo test --test config"
            );
        }
    }
}
