//! `rmq topic`, `rmq group`, `rmq msg` and `rmq broker` against real brokers: each broker is asked and changed by itself, what is
//! unknown is not a number, and what could not be asked does not hide the rest.

mod terminal;

use rustix::process::Signal;
use serde_json::{Value, json};
use terminal::{Server, rmq};

/// Two brokers of one cluster: `broker-a` with the name server, and `broker-b`.
struct Pair {
    a: Server,
    b: Server,
    _stores: [tempfile::TempDir; 2],
}

impl Pair {
    fn start() -> Pair {
        let stores = [
            tempfile::tempdir().expect("a folder"),
            tempfile::tempdir().expect("a folder"),
        ];
        let a = Server::broker(stores[0].path(), &[]);
        let b = Server::broker(
            stores[1].path(),
            &["--namesrv", a.namesrv(), "--name", "broker-b"],
        );
        while a
            .rmq(&["broker", "show", "--json"])
            .ends_with(0)
            .json()
            .as_array()
            .map(Vec::len)
            != Some(2)
        {}
        Pair {
            a,
            b,
            _stores: stores,
        }
    }
}

fn rows(value: &Value) -> &Vec<Value> {
    value.as_array().expect("a list")
}

#[test]
fn changing_one_setting_keeps_the_others_at_each_broker() {
    let pair = Pair::start();
    pair.a
        .rmq(&["topic", "create", "t", "-q", "16", "--broker", "broker-a"])
        .ends_with(0);
    pair.a
        .rmq(&["topic", "create", "t", "-q", "4", "--broker", "broker-b"])
        .ends_with(0);
    let changed = pair
        .a
        .rmq(&["topic", "set", "t", "--perm", "r", "--json"])
        .ends_with(0)
        .json();
    let after: Vec<_> = rows(&changed)
        .iter()
        .map(|row| (row["broker"].clone(), row["after"].clone()))
        .collect();
    for ((broker, after), (name, queues)) in after.iter().zip([("broker-a", 16), ("broker-b", 4)]) {
        assert_eq!(broker, name);
        assert_eq!(
            (&after["readQueueNums"], &after["writeQueueNums"], &after["perm"]),
            (&json!(queues), &json!(queues), &json!(4))
        );
    }
    let shown = pair.a.rmq(&["topic", "show", "t", "--json"]).ends_with(0).json();
    assert_eq!(shown["brokers"]["broker-a"]["perm"], 4);
    assert_eq!(rows(&shown["queues"]).len(), 20);
}

#[test]
fn only_the_named_cluster_is_touched() {
    let pair = Pair::start();
    let store = tempfile::tempdir().expect("a folder");
    let other = Server::broker(
        store.path(),
        &[
            "--namesrv",
            pair.a.namesrv(),
            "--name",
            "broker-c",
            "--cluster",
            "other",
        ],
    );
    for cluster in ["DefaultCluster", "other"] {
        while pair.a.rmq(&["topic", "create", "t", "--cluster", cluster]).code != 0 {}
    }
    let ran = pair.a.rmq(&["topic", "delete", "t", "--yes"]).ends_with(2);
    assert!(ran.stderr.contains("--cluster DefaultCluster"), "{}", ran.stderr);
    pair.a
        .rmq(&["topic", "delete", "t", "--cluster", "other", "--yes"])
        .ends_with(0);
    let left = pair.a.rmq(&["topic", "route", "t", "--json"]).ends_with(0).json();
    let mut names: Vec<_> = rows(&left["brokerDatas"])
        .iter()
        .filter_map(|broker| broker["brokerName"].as_str())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["broker-a", "broker-b"]);
    drop(other);
}

#[test]
fn destruction_is_shown_and_needs_consent() {
    let store = tempfile::tempdir().expect("a folder");
    let server = Server::broker(store.path(), &[]);
    server.rmq(&["send", "t", "x"]).ends_with(0);
    let ran = server.rmq(&["topic", "delete", "t", "--json"]).ends_with(7);
    assert_eq!(rows(&ran.json())[0]["messages"], 1);
    assert!(ran.stderr.contains("--yes"), "{}", ran.stderr);
    server.rmq(&["topic", "delete", "t", "--dry-run"]).ends_with(0);
    server.rmq(&["topic", "show", "t"]).ends_with(0);
    let ran = server
        .rmq(&["topic", "delete", "t", "--yes", "--json"])
        .ends_with(0);
    assert_eq!(rows(&ran.json())[0]["deleted"], true);
    server.rmq(&["topic", "show", "t"]).ends_with(4);
    server.rmq(&["topic", "delete", "t", "--yes"]).ends_with(4);
}

#[test]
fn a_reset_covers_each_brokers_own_queues() {
    let pair = Pair::start();
    pair.a
        .rmq(&["topic", "create", "t", "-q", "4", "--broker", "broker-a"])
        .ends_with(0);
    pair.a
        .rmq(&["topic", "create", "t", "-q", "8", "--broker", "broker-b"])
        .ends_with(0);
    pair.a
        .rmq_reading(&["send", "t", "--lines"], "line\n".repeat(48).as_bytes())
        .ends_with(0);
    pair.a
        .rmq(&["consume", "t", "-g", "g", "--until-end"])
        .ends_with(0);
    let preview = pair
        .a
        .rmq(&["group", "reset", "g", "-t", "t", "--to", "first", "--json"])
        .ends_with(7)
        .json();
    assert_eq!(rows(&preview).len(), 12);
    assert!(
        rows(&preview)
            .iter()
            .all(|row| row["newOffset"] == 0 && row["oldOffset"] != 0)
    );
    let lag = |pair: &Pair| {
        pair.a
            .rmq(&["group", "lag", "g", "-t", "t", "--json"])
            .ends_with(0)
            .json()
    };
    assert!(
        rows(&lag(&pair)).iter().all(|row| row["lag"] == 0),
        "a preview changes nothing"
    );
    let done = pair
        .a
        .rmq(&[
            "group", "reset", "g", "-t", "t", "--to", "first", "--yes", "--json",
        ])
        .ends_with(0)
        .json();
    assert!(rows(&done).iter().all(|row| row["done"] == true));
    let total: i64 = rows(&lag(&pair))
        .iter()
        .filter_map(|row| row["lag"].as_i64())
        .sum();
    assert_eq!(total, 48);
    // A time after the last message, and now, are the end.
    for end in ["now", "@9999999999999"] {
        pair.a
            .rmq(&["group", "reset", "g", "-t", "t", "--to", end, "--yes"])
            .ends_with(0);
        assert!(rows(&lag(&pair)).iter().all(|row| row["lag"] == 0), "{end}");
    }
    let one = [
        "group",
        "reset",
        "g",
        "-t",
        "t",
        "--to",
        "1",
        "--queue",
        "broker-b:3",
        "--yes",
        "--json",
    ];
    let one = pair.a.rmq(&one).ends_with(0).json();
    assert_eq!((rows(&one).len(), &rows(&one)[0]["newOffset"]), (1, &json!(1)));
}

#[test]
fn a_broker_that_does_not_answer_hides_nothing_of_the_others() {
    let pair = Pair::start();
    pair.a.rmq(&["topic", "create", "t", "-q", "2"]).ends_with(0);
    pair.a
        .rmq_reading(&["send", "t", "--lines", "-k", "key"], b"1\n2\n3\n4\n")
        .ends_with(0);
    pair.a
        .rmq(&["consume", "t", "-g", "g", "--until-end"])
        .ends_with(0);
    pair.b.signal(Signal::STOP);
    let ran = pair
        .a
        .rmq(&["group", "lag", "g", "-t", "t", "--json"])
        .ends_with(3);
    assert!(rows(&ran.json()).iter().all(|row| row["broker"] == "broker-a"));
    assert!(ran.stderr.contains("broker-b"), "{}", ran.stderr);
    let ran = pair
        .a
        .rmq(&[
            "group", "reset", "g", "-t", "t", "--to", "first", "--yes", "--json",
        ])
        .ends_with(3);
    assert!(
        rows(&ran.json())
            .iter()
            .all(|row| row["broker"] == "broker-a" && row["done"] == true)
    );
    let ran = pair
        .a
        .rmq(&["msg", "find", "t", "--key", "key", "--json"])
        .ends_with(3);
    assert!(
        !rows(&ran.json()).is_empty() && ran.stderr.contains("broker-b"),
        "{ran:?}"
    );
    let ran = pair
        .a
        .rmq(&["msg", "find", "t", "--key", "none", "--json"])
        .ends_with(5);
    assert!(ran.stderr.contains("broker-b"), "{}", ran.stderr);
    pair.b.signal(Signal::CONT);
}

#[test]
fn an_offset_that_is_not_there_is_null_and_in_no_sum() {
    let store = tempfile::tempdir().expect("a folder");
    let server = Server::broker(store.path(), &[]);
    server.rmq(&["topic", "create", "t", "-q", "1"]).ends_with(0);
    server.rmq(&["send", "t", "x"]).ends_with(0);
    server
        .rmq(&["consume", "t", "-g", "g", "--until-end"])
        .ends_with(0);
    server.rmq(&["send", "t", "y"]).ends_with(0);
    server.rmq(&["topic", "set", "t", "-q", "2"]).ends_with(0);
    server.rmq(&["send", "t", "z", "--queue", "1"]).ends_with(0);
    let lag = server
        .rmq(&["group", "lag", "g", "-t", "t", "--json"])
        .ends_with(0)
        .json();
    let [known, unknown] = rows(&lag).as_slice() else {
        panic!("two queues: {lag}")
    };
    assert_eq!((&known["consumerOffset"], &known["lag"]), (&json!(1), &json!(1)));
    assert!(
        unknown["consumerOffset"].is_null() && unknown["lag"].is_null(),
        "{unknown}"
    );
    let text = server.rmq(&["group", "lag", "g", "-t", "t"]).ends_with(0);
    assert!(
        text.stderr
            .contains("1 to consume; 1 queue is unknown and left out"),
        "{text:?}"
    );
    assert!(
        text.stdout
            .lines()
            .any(|line| line.split_whitespace().filter(|cell| *cell == "-").count() > 2)
    );
    server.rmq(&["group", "delete", "g", "--yes"]).ends_with(0);
    server.rmq(&["group", "show", "g"]).ends_with(4);
    server
        .rmq(&["group", "reset", "g", "-t", "t", "--to", "first", "--yes"])
        .ends_with(4);
}

#[test]
fn a_message_is_found_by_key_by_any_id_and_by_place() {
    let store = tempfile::tempdir().expect("a folder");
    let server = Server::broker(store.path(), &[]);
    let sent = server
        .rmq(&["send", "t", "body", "-k", "k1", "--tag", "A", "--json"])
        .ends_with(0)
        .json();
    let found = server
        .rmq(&["msg", "find", "t", "--key", "k1", "--json"])
        .ends_with(0)
        .json();
    let message = &rows(&found)[0];
    assert_eq!(
        (&message["body"], &message["msgId"]),
        (&json!("body"), &sent["msgId"])
    );
    let place = format!("t/broker-a/{}@{}", sent["queue"], sent["offset"]);
    let id = |member: &str| message[member].as_str().expect("an id").to_owned();
    let (producers, copy) = (id("msgId"), id("offsetMsgId"));
    for words in [
        &[producers.as_str(), "-t", "t"][..],
        &[&producers],
        &[&copy],
        &[&place],
    ] {
        let shown = server
            .rmq(&[&["msg", "show", "--json"], words].concat())
            .ends_with(0)
            .json();
        assert_eq!(shown, *message, "{words:?}");
    }
    for (words, code) in [
        (&["msg", "find", "t", "--key", "other"][..], 4),
        (&["msg", "show", "00000000000000000000000000000000"], 4),
        (&["msg", "show", "t/broker-a/0@77"], 4),
        (&["msg", "show", "t/broker-x/0@0"], 4),
        (&["msg", "find", "none", "--key", "k"], 4),
    ] {
        server.rmq(words).ends_with(code);
    }
}

#[test]
fn ranges_of_time_mean_what_they_say() {
    let store = tempfile::tempdir().expect("a folder");
    let server = Server::broker(store.path(), &[]);
    server
        .rmq_reading(&["send", "t", "--lines", "--queue", "0", "-k", "k"], b"1\n2\n3\n")
        .ends_with(0);
    let all = server
        .rmq(&["msg", "find", "t", "--key", "k", "--json"])
        .ends_with(0)
        .json();
    let times: Vec<i64> = rows(&all)
        .iter()
        .filter_map(|message| message["storeTime"].as_i64())
        .collect();
    let (first, last) = (format!("@{}", times[0]), format!("@{}", times[2]));
    // Both ends belong to the range.
    let range = [
        "msg", "find", "t", "--key", "k", "--json", "--from", &first, "--to", &last,
    ];
    if times[0] < times[2] {
        assert_eq!(rows(&server.rmq(&range).ends_with(0).json()).len(), 3);
        let read = server
            .rmq(&["consume", "t", "--from", &first, "--to", &last])
            .ends_with(0);
        assert_eq!(read.stdout, "1\n2\n3\n");
    }
    server
        .rmq(&["msg", "find", "t", "--key", "k", "--from", &last, "--to", &first])
        .ends_with(2);
    server
        .rmq(&["consume", "t", "--from", &last, "--to", &first])
        .ends_with(2);
    let future = server
        .rmq(&["msg", "find", "t", "--key", "k", "--from", "@9999999999999"])
        .ends_with(4);
    assert!(future.stderr.contains("has not come yet"), "{}", future.stderr);
    let future = server
        .rmq(&["consume", "t", "--from", "@9999999999999", "--until-end"])
        .ends_with(0);
    assert!(
        future.stdout.is_empty() && future.stderr.contains("has not come yet"),
        "{}",
        future.stderr
    );
}

#[test]
fn a_running_broker_shows_and_changes_its_configuration() {
    let store = tempfile::tempdir().expect("a folder");
    let server = Server::broker(store.path(), &[]);
    let config = |words: &[&str]| server.rmq(&[&["broker", "config", "--json"], words].concat());
    assert_eq!(
        config(&["fileReservedTime=48"]).ends_with(0).json(),
        json!({"fileReservedTime": "48"})
    );
    assert!(
        config(&[])
            .ends_with(0)
            .json()
            .as_object()
            .expect("an object")
            .len()
            > 100
    );
    config(&["noSuchKey"]).ends_with(4);
    config(&["aclEnable=true"]).ends_with(6);
    let refused = config(&["fileReservedTime=abc"]).ends_with(2);
    assert!(
        refused
            .stderr
            .contains("fileReservedTime=abc: expected a whole number")
            && !refused.stderr.contains("broker.properties"),
        "{}",
        refused.stderr
    );
    let shown = server
        .rmq(&["broker", "show", "broker-a", "--json"])
        .ends_with(0)
        .json();
    assert_eq!(shown["brokerVersionDesc"], "V5_5_0");
    server.stop();
    let server = Server::broker(store.path(), &[]);
    let kept = server.rmq(&["broker", "config", "fileReservedTime"]).ends_with(0);
    assert_eq!(kept.stdout, "fileReservedTime=48\n");
    assert_eq!(rmq(&["-n", server.namesrv(), "broker", "show", "nobody"]).code, 4);
}

#[test]
fn a_reset_of_an_unknown_group_is_exit_4_and_shows_no_preview() {
    let store = tempfile::tempdir().expect("a folder");
    let server = Server::broker(store.path(), &[]);
    server.rmq(&["topic", "create", "t"]).ends_with(0);
    for consent in ["--dry-run", "--yes"] {
        let ran = server
            .rmq(&["group", "reset", "nobody", "-t", "t", "--to", "first", consent])
            .ends_with(4);
        assert_eq!(ran.stdout, "");
        assert!(
            ran.stderr.contains("group \"nobody\" not found"),
            "{}",
            ran.stderr
        );
    }
}

#[test]
fn one_queue_is_not_several_and_the_last_offset_is_one_that_is_there() {
    let store = tempfile::tempdir().expect("a folder");
    let server = Server::broker(store.path(), &[]);
    let created = server.rmq(&["topic", "create", "t", "-q", "1"]).ends_with(0);
    assert_eq!(created.stdout, "created t with 1 queue on broker-a\n");
    let ran = server.rmq(&["msg", "show", "t/broker-a/0@9"]).ends_with(4);
    assert!(ran.stderr.contains("the queue is empty"), "{}", ran.stderr);
    for body in ["a", "b"] {
        server.rmq(&["send", "t", body]).ends_with(0);
    }
    let ran = server.rmq(&["msg", "show", "t/broker-a/0@9"]).ends_with(4);
    assert!(ran.stderr.contains("the queue holds 0 to 1"), "{}", ran.stderr);
}

#[test]
fn control_characters_of_messages_do_not_reach_the_terminal() {
    let store = tempfile::tempdir().expect("a folder");
    let server = Server::broker(store.path(), &[]);
    let esc = "x\u{1b}[2J";
    let header = format!("note={esc}");
    server
        .rmq(&[
            "send", "t", "body", "--tag", esc, "-k", "k", "-k", esc, "-H", &header,
        ])
        .ends_with(0);
    let found = server.rmq(&["msg", "find", "t", "-k", "k"]).ends_with(0).stdout;
    assert!(found.contains("k x·[2J") && !found.contains('\u{1b}'), "{found}");
    let id = server
        .rmq(&["msg", "find", "t", "-k", "k", "--json"])
        .ends_with(0)
        .json()[0]["offsetMsgId"]
        .clone();
    let shown = server
        .rmq(&["msg", "show", id.as_str().expect("an id")])
        .ends_with(0)
        .stdout;
    assert!(
        shown.contains("note=x·[2J") && !shown.contains('\u{1b}'),
        "{shown}"
    );
}
