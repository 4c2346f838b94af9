//! Servers as processes: `rmq dev`, `rmq broker`, `rmq namesrv` start, say where they are, refuse what would harm, and end.

mod terminal;

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;

use terminal::{Server, rmq};

fn path(folder: &Path) -> &str {
    folder.to_str().expect("temporary folders have plain names")
}

#[test]
fn dev_once_makes_the_round_trip_and_leaves_nothing() {
    let temp = tempfile::tempdir().expect("a folder");
    let ran = terminal::command(&["dev", "--once"])
        .env("TMPDIR", temp.path())
        .output()
        .expect("the binary runs");
    let stdout = String::from_utf8_lossy(&ran.stdout);
    assert_eq!(
        ran.status.code(),
        Some(0),
        "{stdout}{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    assert!(stdout.contains("sent") && stdout.contains("consumed"), "{stdout}");
    assert_eq!(fs::read_dir(temp.path()).expect("readable").count(), 0);
}

#[test]
fn dev_removes_what_a_killed_dev_left() {
    let temp = tempfile::tempdir().expect("a folder");
    let leftover = temp.path().join("rmq-dev-1-0");
    fs::create_dir(&leftover).expect("a folder");
    fs::write(leftover.join("owner"), "").expect("a file nobody locks");
    let ran = terminal::command(&["dev", "--once"])
        .env("TMPDIR", temp.path())
        .output()
        .expect("the binary runs");
    assert_eq!(ran.status.code(), Some(0));
    assert!(!leftover.exists());
}

#[test]
fn dev_with_a_store_keeps_it() {
    let store = tempfile::tempdir().expect("a folder");
    rmq(&["dev", "--once", "--store", path(store.path())]).ends_with(0);
    assert!(store.path().join("commitlog").is_dir());
    assert!(!store.path().join("abort").exists(), "the stop was clean");
    rmq(&["dev", "--once", "--store", path(store.path())]).ends_with(0);
}

#[test]
fn dev_takes_free_ports_when_its_own_are_taken_and_serves_until_sigterm() {
    // Whether these binds succeed or somebody else has the ports: they are taken.
    let _taken = [
        TcpListener::bind("127.0.0.1:9876"),
        TcpListener::bind("127.0.0.1:10911"),
    ];
    let server = Server::start(&["dev", "--json"]);
    assert_ne!(server.text("namesrv"), "127.0.0.1:9876");
    assert_ne!(server.text("broker"), "127.0.0.1:10911");
    assert_eq!(
        (server.text("name"), server.text("cluster")),
        ("broker-a", "DefaultCluster")
    );
    server.rmq(&["send", "orders", "hello"]).ends_with(0);
    let store = Path::new(server.text("store")).to_owned();
    let (status, stderr) = server.stop();
    assert_eq!(status.code(), Some(0), "{stderr}");
    assert!(!store.exists(), "the temporary store goes with the process");
}

#[test]
fn the_ready_object_says_where_everything_is() {
    let store = tempfile::tempdir().expect("a folder");
    let server = Server::broker(store.path(), &["--cluster", "c1", "--advertise", "localhost"]);
    let members: Vec<&str> = server
        .ready
        .as_object()
        .expect("an object")
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(
        members,
        [
            "pid",
            "name",
            "cluster",
            "id",
            "broker",
            "fast",
            "namesrv",
            "advertised",
            "store"
        ]
    );
    assert_eq!((server.text("name"), server.text("cluster")), ("broker-a", "c1"));
    assert!(server.ready["fast"].is_null(), "no fast port with port 0");
    let port = server
        .text("broker")
        .strip_prefix("127.0.0.1:")
        .expect("loopback")
        .to_owned();
    assert_eq!(server.text("advertised"), format!("localhost:{port}"));
    assert_eq!(server.text("store"), path(store.path()));
    let (status, stderr) = server.stop();
    assert_eq!(status.code(), Some(0));
    assert!(
        stderr.contains("advertises localhost:") && stderr.contains("given by --advertise"),
        "{stderr}"
    );
}

#[test]
fn a_taken_port_is_an_error_with_flag_and_holder() {
    let store = tempfile::tempdir().expect("a folder");
    let holder = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = holder.local_addr().expect("a bound socket").to_string();
    for flag in ["--listen", "--namesrv-listen"] {
        let other = if flag == "--listen" {
            "--namesrv-listen"
        } else {
            "--listen"
        };
        let ran = rmq(&[
            "broker",
            "start",
            "--store",
            path(store.path()),
            flag,
            &taken,
            other,
            "127.0.0.1:0",
        ])
        .ends_with(1);
        assert!(
            ran.stderr.contains(&format!("{flag} {taken}: the port is taken")),
            "{}",
            ran.stderr
        );
        if cfg!(target_os = "linux") {
            assert!(
                ran.stderr.contains(&format!("pid {}", std::process::id())),
                "{}",
                ran.stderr
            );
        }
    }
}

#[test]
fn a_second_broker_on_the_same_store_is_refused() {
    let store = tempfile::tempdir().expect("a folder");
    let first = Server::broker(store.path(), &[]);
    let ran = rmq(&[
        "broker",
        "start",
        "--store",
        path(store.path()),
        "--listen",
        "127.0.0.1:0",
    ])
    .ends_with(1);
    assert!(ran.stderr.contains(path(store.path())), "{}", ran.stderr);
    first.rmq(&["send", "orders", "still here"]).ends_with(0);
}

#[test]
fn broker_stop_ends_the_broker_of_a_store() {
    let store = tempfile::tempdir().expect("a folder");
    let server = Server::broker(store.path(), &[]);
    let ran = rmq(&["broker", "stop", "--json", "--store", path(store.path())]).ends_with(0);
    assert_eq!(ran.json()["pid"], server.ready["pid"]);
    let ran = rmq(&["broker", "stop", "--store", path(store.path())]).ends_with(4);
    assert!(ran.stderr.contains("no broker runs on"), "{}", ran.stderr);
    assert!(!store.path().join("abort").exists(), "the stop was clean");
}

#[test]
fn configuration_mistakes_name_file_line_and_nearest_key() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("broker.conf");
    let store = folder.path().join("store");
    fs::write(
        &file,
        format!("storePathRootDir={}\nlistenPort=many\n", store.display()),
    )
    .expect("a file");
    let ran = rmq(&["broker", "start", "-c", path(&file)]).ends_with(2);
    assert!(
        ran.stderr.contains(&format!("{}:2: listenPort", file.display())),
        "{}",
        ran.stderr
    );
    let ran = rmq(&[
        "broker",
        "start",
        "--store",
        path(&store),
        "--set",
        "aclEnable=true",
    ])
    .ends_with(2);
    assert!(ran.stderr.contains("aclEnable"), "{}", ran.stderr);
    let server = Server::broker(
        &store,
        &[
            "--set",
            "flushdisktype=SYNC_FLUSH",
            "--set",
            "serverWorkerThreads=4",
        ],
    );
    let (_, stderr) = server.stop();
    assert!(stderr.contains("did you mean flushDiskType?"), "{stderr}");
    assert!(stderr.contains("serverWorkerThreads"), "{stderr}");
}

#[test]
fn a_broker_registers_with_a_name_server_of_its_own_process() {
    let namesrv = Server::start(&["namesrv", "start", "--json", "--listen", "127.0.0.1:0"]);
    let address = namesrv.text("namesrv").to_owned();
    let store = tempfile::tempdir().expect("a folder");
    let broker = Server::broker(store.path(), &["--namesrv", &address]);
    assert!(broker.ready["namesrv"].is_null(), "none is embedded");
    rmq(&["-n", &address, "send", "orders", "hello"]).ends_with(0);
    let ran = rmq(&["-n", &address, "consume", "orders", "--until-end"]).ends_with(0);
    assert_eq!(ran.stdout, "hello\n");
    assert_eq!(namesrv.stop().0.code(), Some(0));
}

#[test]
fn a_store_that_cannot_be_made_is_named() {
    let start = ["broker", "start", "--listen", "127.0.0.1:0", "--store"];
    let ran = rmq(&[&start[..], &["/proc/nope"]].concat()).ends_with(1);
    assert!(ran.stderr.contains("/proc/nope"), "{}", ran.stderr);
}

#[test]
fn the_ready_object_names_a_relative_store_from_the_root() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut child = terminal::command(&[
        "broker",
        "start",
        "--json",
        "--listen",
        "127.0.0.1:0",
        "--store",
        "here",
    ])
    .current_dir(folder.path())
    .stdout(Stdio::piped())
    .stderr(Stdio::null())
    .spawn()
    .expect("the binary runs");
    let mut line = String::new();
    let stdout = child.stdout.take().expect("stdout is a pipe");
    BufReader::new(stdout)
        .read_line(&mut line)
        .expect("stdout is readable");
    terminal::signal(&child, rustix::process::Signal::TERM);
    terminal::wait(&mut child);
    let ready: serde_json::Value = serde_json::from_str(&line).expect("the ready object");
    let store = folder.path().canonicalize().expect("it is there").join("here");
    assert_eq!(ready["store"].as_str(), Some(path(&store)));
}

#[test]
fn names_that_no_topic_could_have_are_refused() {
    let store = tempfile::tempdir().expect("a folder");
    for name in ["a/b c", ""] {
        let ran = rmq(&["broker", "start", "--store", path(store.path()), "--name", name]).ends_with(2);
        assert!(ran.stderr.contains("--name"), "{}", ran.stderr);
    }
    let server = Server::broker(store.path(), &["--name", "host-1.example_a"]);
    assert_eq!(server.text("name"), "host-1.example_a");
}

#[test]
fn replication_that_is_not_built_is_said_or_refused_with_the_reason() {
    let store = tempfile::tempdir().expect("a folder");
    let slave = [
        "broker",
        "start",
        "--store",
        path(store.path()),
        "--set",
        "brokerId=1",
    ];
    let ran = rmq(&slave).ends_with(2);
    assert!(
        ran.stderr.contains("replication to slaves is not built yet"),
        "{}",
        ran.stderr
    );
    let server = Server::broker(store.path(), &["--set", "brokerRole=SYNC_MASTER"]);
    let (_, stderr) = server.stop();
    assert!(
        stderr.contains("brokerRole=SYNC_MASTER is without effect here"),
        "{stderr}"
    );
}
