//! `rmq send` and `rmq consume` against a real broker: what goes in comes out, once, and the exit codes say how it went.

mod terminal;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use serde_json::Value;
use terminal::{Server, command, wait};

fn server() -> (tempfile::TempDir, Server) {
    let store = tempfile::tempdir().expect("a folder");
    let server = Server::broker(store.path(), &[]);
    (store, server)
}

/// Real text: the sources of this project and its lock file, a few thousand lines.
fn real_text() -> Vec<u8> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = [
        "Cargo.lock",
        "Cargo.toml",
        "README.md",
        "src/protocol/message.rs",
        "src/protocol/frame.rs",
        "src/lib.rs",
    ];
    files
        .iter()
        .flat_map(|file| fs::read(root.join(file)).expect("a file of the project"))
        .collect()
}

fn multiset<'a>(texts: impl IntoIterator<Item = &'a [u8]>) -> BTreeMap<Vec<u8>, usize> {
    let lines = texts
        .into_iter()
        .flat_map(|text| text.split(|byte| *byte == b'\n'))
        .filter(|line| !line.is_empty());
    lines.fold(BTreeMap::new(), |mut counts, line| {
        *counts.entry(line.to_vec()).or_default() += 1;
        counts
    })
}

/// Lines that are not as often in both: the line, how often it was printed, and how often sent.
fn differences(
    printed: &BTreeMap<Vec<u8>, usize>,
    sent: &BTreeMap<Vec<u8>, usize>,
) -> Vec<(String, usize, usize)> {
    let lines: std::collections::BTreeSet<_> = printed.keys().chain(sent.keys()).collect();
    let counts = |line: &Vec<u8>| {
        (
            printed.get(line).copied().unwrap_or(0),
            sent.get(line).copied().unwrap_or(0),
        )
    };
    lines
        .into_iter()
        .map(|line| {
            (
                String::from_utf8_lossy(line).into_owned(),
                counts(line).0,
                counts(line).1,
            )
        })
        .filter(|(_, printed, sent)| printed != sent)
        .collect()
}

#[test]
fn two_members_of_a_group_share_every_line_once() {
    let (_store, server) = server();
    let text = real_text();
    server
        .rmq(&["topic", "create", "lines", "--queues", "4"])
        .ends_with(0);
    let member = || {
        command(&[
            "-n",
            server.namesrv(),
            "consume",
            "lines",
            "-g",
            "readers",
            "--idle",
            "5s",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary runs")
    };
    let mut members = [member(), member()];
    let outputs = members.each_mut().map(|member| {
        let mut stdout = member.stdout.take().expect("stdout is a pipe");
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            stdout.read_to_end(&mut bytes).expect("the pipe is readable");
            bytes
        })
    });
    let ran = server
        .rmq_reading(&["send", "lines", "--lines", "--async"], &text)
        .ends_with(0);
    assert!(ran.stderr.contains("blank lines skipped"), "{}", ran.stderr);
    for mut member in members {
        assert_eq!(wait(&mut member).code(), Some(0));
    }
    let outputs = outputs.map(|reader| reader.join().expect("the reader does not panic"));
    let differing = differences(
        &multiset(outputs.iter().map(Vec::as_slice)),
        &multiset([text.as_slice()]),
    );
    assert!(
        differing.is_empty(),
        "printed and sent: {:#?}",
        &differing[..differing.len().min(20)]
    );
}

#[test]
fn a_plain_reader_sees_everything_and_leaves_no_trace() {
    let (_store, server) = server();
    server
        .rmq(&["send", "orders", "one", "--queue", "0"])
        .ends_with(0);
    server
        .rmq(&["send", "orders", "two", "--queue", "0"])
        .ends_with(0);
    let before = server.rmq(&["group", "ls", "--json"]).ends_with(0).json();
    for _ in 0..2 {
        let ran = server.rmq(&["consume", "orders", "--until-end"]).ends_with(0);
        assert_eq!(ran.stdout, "one\ntwo\n");
    }
    assert_eq!(server.rmq(&["group", "ls", "--json"]).ends_with(0).json(), before);
}

#[test]
fn a_group_goes_on_where_it_was_and_from_is_ignored_with_a_hint() {
    let (_store, server) = server();
    for body in ["one", "two", "three"] {
        server.rmq(&["send", "orders", body, "--queue", "0"]).ends_with(0);
    }
    let ran = server
        .rmq(&["consume", "orders", "-g", "g", "-n", "2"])
        .ends_with(0);
    assert_eq!(ran.stdout, "one\ntwo\n");
    let ran = server
        .rmq(&["consume", "orders", "-g", "g", "--from", "first", "--until-end"])
        .ends_with(0);
    assert_eq!(ran.stdout, "three\n");
    assert!(
        ran.stderr.contains("ignored") && ran.stderr.contains("rmq group reset g"),
        "{}",
        ran.stderr
    );
    let ran = server
        .rmq(&["consume", "orders", "-g", "g", "--until-end"])
        .ends_with(0);
    assert_eq!(ran.stdout, "");
}

#[test]
fn jsonl_goes_round_with_every_part_of_a_message() {
    let (_store, server) = server();
    let line = r#"{"body":"text","keys":["k1","k2"],"tag":"paid","properties":{"region":"eu"},"flag":7}"#;
    let binary = r#"{"bodyBase64":"dHdv/w=="}"#;
    let ran = server.rmq_reading(
        &["send", "orders", "--jsonl", "--json"],
        format!("{line}\n\n{binary}\n").as_bytes(),
    );
    let acknowledged = ran.ends_with(0).json_lines();
    assert_eq!(
        acknowledged
            .iter()
            .map(|ack| ack["n"].as_u64())
            .collect::<Vec<_>>(),
        [Some(1), Some(3)]
    );
    for member in ["topic", "broker", "queue", "offset", "msgId"] {
        assert!(!acknowledged[0][member].is_null(), "{member}");
    }
    let first = server
        .rmq(&["consume", "orders", "--until-end", "--jsonl"])
        .ends_with(0);
    server
        .rmq_reading(&["send", "copy", "--jsonl"], first.stdout.as_bytes())
        .ends_with(0);
    let second = server
        .rmq(&["consume", "copy", "--until-end", "--jsonl"])
        .ends_with(0);
    let parts = |ran: &terminal::Ran| {
        let mut parts: Vec<String> = ran
            .json_lines()
            .iter()
            .map(|message| {
                let kept =
                    ["keys", "tag", "flag", "body", "bodyBase64"].map(|member| message[member].clone());
                format!(
                    "{} {}",
                    Value::from(kept.to_vec()),
                    message["properties"]["region"]
                )
            })
            .collect();
        parts.sort();
        parts
    };
    assert_eq!(parts(&first), parts(&second));
    let text = first
        .json_lines()
        .into_iter()
        .find(|message| message["body"] == "text")
        .expect("it was sent");
    assert_eq!(
        (&text["tag"], &text["flag"], &text["attempt"]),
        (&"paid".into(), &7.into(), &0.into())
    );
}

#[test]
fn tags_and_formats_choose_what_is_printed() {
    let (_store, server) = server();
    server
        .rmq(&[
            "send", "orders", "a", "--tag", "A", "-k", "k1", "-k", "k2", "--queue", "0",
        ])
        .ends_with(0);
    server
        .rmq(&["send", "orders", "b", "--tag", "B", "--queue", "0"])
        .ends_with(0);
    let ran = server.rmq(&[
        "consume",
        "orders",
        "--until-end",
        "--tag",
        "A || C",
        "-f",
        r"%t %q@%o %k %g %S %s\n",
    ]);
    assert_eq!(ran.ends_with(0).stdout, "orders 0@0 k1 k2 A 1 a\n");
}

#[test]
fn a_failed_command_sends_the_message_back_and_a_good_one_commits() {
    let (_store, server) = server();
    server
        .rmq(&["send", "orders", "good", "--tag", "T", "--queue", "0"])
        .ends_with(0);
    server
        .rmq(&["send", "orders", "bad", "--queue", "0"])
        .ends_with(0);
    let shown = r#"body=$(cat); echo "$RMQ_TOPIC $RMQ_QUEUE@$RMQ_OFFSET $RMQ_TAG $body"; [ "$body" != bad ]"#;
    let ran = server
        .rmq(&[
            "consume",
            "orders",
            "-g",
            "workers",
            "--exec",
            shown,
            "--until-end",
        ])
        .ends_with(0);
    assert_eq!(ran.stdout, "orders 0@0 T good\norders 0@1  bad\n");
    let lag = server
        .rmq(&["group", "lag", "workers", "--json"])
        .ends_with(0)
        .json();
    let topics: Vec<&str> = lag
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|row| row["topic"].as_str())
        .collect();
    assert!(
        topics.contains(&"%RETRY%workers"),
        "the failed one waits in the retry topic: {lag}"
    );
}

#[test]
fn an_unknown_topic_is_exit_4_with_until_end() {
    let (_store, server) = server();
    let ran = server.rmq(&["consume", "nothing", "--until-end"]).ends_with(4);
    assert!(
        ran.stderr.contains("nothing") && ran.stderr.contains("rmq topic create nothing"),
        "{}",
        ran.stderr
    );
    server
        .rmq(&["consume", "nothing", "-g", "g", "--until-end"])
        .ends_with(4);
}

#[test]
fn a_topic_that_is_made_by_sending_is_mentioned() {
    let (_store, server) = server();
    let ran = server.rmq(&["send", "fresh", "x"]).ends_with(0);
    assert!(
        ran.stderr.contains("fresh") && ran.stderr.contains("created"),
        "{}",
        ran.stderr
    );
    assert!(ran.stdout.starts_with("fresh/broker-a/"), "{}", ran.stdout);
    assert_eq!(server.rmq(&["send", "fresh", "y"]).ends_with(0).stderr, "");
}

#[test]
fn one_bad_line_is_partial_and_only_bad_lines_are_failure() {
    let (_store, server) = server();
    let ran = server
        .rmq_reading(&["send", "orders", "--jsonl"], b"{\"body\":\"x\"}\nnonsense\n")
        .ends_with(3);
    assert!(
        ran.stderr.contains("message 2") && ran.stderr.contains("1 failed"),
        "{}",
        ran.stderr
    );
    server
        .rmq_reading(&["send", "orders", "--jsonl"], b"nonsense\n")
        .ends_with(1);
}

#[test]
fn what_is_piped_in_is_one_message_unless_split() {
    let (_store, server) = server();
    server.rmq_reading(&["send", "whole"], b"a\nb\n").ends_with(0);
    let ran = server
        .rmq(&["consume", "whole", "--until-end", "-f", "%S:%s|"])
        .ends_with(0);
    assert_eq!(ran.stdout, "4:a\nb\n|");
}

#[test]
fn time_ranges_mean_what_they_say() {
    let (_store, server) = server();
    for body in ["one", "two"] {
        server.rmq(&["send", "orders", body, "--queue", "0"]).ends_with(0);
    }
    let times = server
        .rmq(&["consume", "orders", "--until-end", "-f", r"%T\n"])
        .ends_with(0)
        .stdout;
    let times: Vec<i64> = times
        .lines()
        .map(|time| time.parse().expect("epoch milliseconds"))
        .collect();
    let from = |position: String, more: &[&str]| {
        let words = [
            &["consume", "orders", "--until-end", "--from", position.as_str()],
            more,
        ]
        .concat();
        server.rmq(&words)
    };
    assert_eq!(
        from(format!("@{}", times[1]), &[]).ends_with(0).stdout,
        if times[0] == times[1] {
            "one\ntwo\n"
        } else {
            "two\n"
        }
    );
    assert_eq!(from(format!("@{}", times[1] + 1), &[]).ends_with(0).stdout, "");
    assert_eq!(from("1".to_owned(), &[]).ends_with(0).stdout, "two\n");
    assert_eq!(from("now".to_owned(), &[]).ends_with(0).stdout, "");
}

#[test]
fn broadcast_readers_each_get_everything_from_where_they_begin() {
    let (_store, server) = server();
    server.rmq(&["send", "news", "one", "--queue", "0"]).ends_with(0);
    let homes = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
    // The same reader again goes on where it was.
    for (home, printed) in [(&homes[0], "one\n"), (&homes[1], "one\n"), (&homes[0], "")] {
        let ran = command(&[
            "-n",
            server.namesrv(),
            "consume",
            "news",
            "-g",
            "all",
            "--broadcast",
            "--from",
            "first",
            "--until-end",
        ])
        .env("HOME", home.path())
        .output()
        .expect("the binary runs");
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        assert_eq!(String::from_utf8_lossy(&ran.stdout), printed);
    }
}

#[test]
fn ctrl_c_on_send_reports_what_was_acknowledged() {
    let (_store, server) = server();
    let mut child = command(&["-n", server.namesrv(), "send", "orders", "--lines", "--json", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut stdin = child.stdin.take().expect("stdin is a pipe");
    std::io::Write::write_all(&mut stdin, b"one\n").expect("the pipe is open");
    let mut first = [0; 1];
    child
        .stdout
        .as_mut()
        .expect("stdout is a pipe")
        .read_exact(&mut first)
        .expect("one acknowledgement");
    terminal::signal(&child, rustix::process::Signal::INT);
    let output = child.wait_with_output().expect("it ends although stdin is open");
    assert_eq!(output.status.code(), Some(130));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        stderr.contains("interrupted") && stderr.contains("1 message acknowledged"),
        "{stderr}"
    );
    drop(stdin);
}

#[test]
fn a_reader_that_goes_away_is_success_and_nothing_is_lost() {
    let (_store, server) = server();
    let text: String = (0..2000).map(|number| format!("line {number}\n")).collect();
    server
        .rmq_reading(&["send", "lines", "--lines", "--queue", "0"], text.as_bytes())
        .ends_with(0);
    let mut child = command(&["-n", server.namesrv(), "consume", "lines", "-g", "head"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut stdout = child.stdout.take().expect("stdout is a pipe");
    let mut some = [0; 7];
    stdout.read_exact(&mut some).expect("the first line");
    drop(stdout);
    // What was written into the pipe before it was closed counts as printed; the rest must come again.
    assert_eq!(wait(&mut child).code(), Some(0));
    let rest = server
        .rmq(&["consume", "lines", "-g", "head", "--until-end"])
        .ends_with(0)
        .stdout;
    let first = rest
        .lines()
        .next()
        .and_then(|line| line.strip_prefix("line "))
        .expect("the pipe holds fewer than all");
    let begin: usize = first.parse().expect("a number");
    assert_eq!(rest.lines().count(), 2000 - begin);
}

#[test]
fn a_new_group_begins_at_the_offset_that_from_names() {
    let (_store, server) = server();
    server
        .rmq_reading(&["send", "orders", "--lines", "--queue", "0"], b"a\nb\nc\n")
        .ends_with(0);
    let ran = server.rmq(&["consume", "orders", "-g", "fresh", "--from", "1", "--until-end"]);
    assert_eq!(ran.ends_with(0).stdout, "b\nc\n");
}

#[test]
fn topics_that_exist_are_read_while_others_are_waited_for() {
    let (_store, server) = server();
    server.rmq(&["send", "orders", "a"]).ends_with(0);
    let ran = server
        .rmq(&["consume", "orders", "missing", "--idle", "100ms"])
        .ends_with(0);
    assert_eq!(ran.stdout, "a\n");
    assert!(
        ran.stderr.contains("\"missing\" does not exist yet"),
        "{}",
        ran.stderr
    );
    server
        .rmq(&["consume", "missing", "--idle", "100ms"])
        .ends_with(0);
}

#[test]
fn a_topic_that_comes_to_be_is_read_too() {
    let (_store, server) = server();
    server.rmq(&["topic", "create", "orders"]).ends_with(0);
    let mut consumer = command(&["-n", server.namesrv(), "consume", "orders", "late", "-n", "1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut line = String::new();
    let mut stderr = BufReader::new(consumer.stderr.take().expect("stderr is a pipe"));
    stderr.read_line(&mut line).expect("stderr is readable");
    assert!(line.contains("waiting for it"), "{line}");
    server.rmq(&["send", "late", "x"]).ends_with(0);
    assert!(wait(&mut consumer).success());
    let mut printed = String::new();
    let mut stdout = consumer.stdout.take().expect("stdout is a pipe");
    stdout.read_to_string(&mut printed).expect("stdout is readable");
    assert_eq!(printed, "x\n");
}

#[test]
fn failed_commands_without_a_group_are_counted_and_told_by_the_exit_code() {
    let (_store, server) = server();
    server
        .rmq_reading(&["send", "orders", "--lines", "--queue", "0"], b"good\nbad\n")
        .ends_with(0);
    let some = [
        "consume",
        "orders",
        "--until-end",
        "--exec",
        "[ \"$(cat)\" != bad ]",
    ];
    let ran = server.rmq(&some).ends_with(3);
    assert!(ran.stderr.contains("1 done, 1 failed"), "{}", ran.stderr);
    server
        .rmq(&["consume", "orders", "--until-end", "--exec", "false"])
        .ends_with(1);
}

#[test]
fn the_first_interrupt_says_which_commands_are_waited_for_and_the_second_ends_at_once() {
    let (_store, server) = server();
    server.rmq(&["send", "orders", "a"]).ends_with(0);
    let exec = "echo started; exec sleep 5";
    let mut consumer = command(&[
        "-n",
        server.namesrv(),
        "consume",
        "orders",
        "-g",
        "g",
        "--exec",
        exec,
    ])
    .stdout(Stdio::piped())
    .stderr(Stdio::piped())
    .spawn()
    .expect("the binary runs");
    let mut line = String::new();
    let mut stdout = BufReader::new(consumer.stdout.take().expect("stdout is a pipe"));
    stdout.read_line(&mut line).expect("stdout is readable");
    assert_eq!(line, "started\n");
    terminal::signal(&consumer, rustix::process::Signal::INT);
    let mut said = String::new();
    let mut stderr = BufReader::new(consumer.stderr.take().expect("stderr is a pipe"));
    stderr.read_line(&mut said).expect("stderr is readable");
    assert!(
        said.contains("waiting for 1 command; Ctrl-C again ends at once"),
        "{said}"
    );
    terminal::signal(&consumer, rustix::process::Signal::INT);
    assert_eq!(wait(&mut consumer).code(), Some(130));
}

#[test]
fn keys_and_properties_that_would_become_others_are_refused() {
    let (_store, server) = server();
    for (words, hint) in [
        (["-k", "a b"], "a key holds no white space"),
        (["-H", "KEYS=a"], "--key"),
        (["-H", "TAGS=a"], "--tag"),
        (["-H", "UNIQ_KEY=a"], "RocketMQ sets it itself"),
        (["-H", "RETRY_TOPIC=a"], "RocketMQ sets it itself"),
    ] {
        let ran = server
            .rmq(&[&["send", "orders", "x"], &words[..]].concat())
            .ends_with(2);
        assert!(ran.stderr.contains(hint), "{words:?}: {}", ran.stderr);
    }
    let lines = b"{\"body\":\"x\",\"keys\":[\"a b\"]}\n{\"body\":\"y\",\"keys\":[\"a\"]}\n";
    let ran = server
        .rmq_reading(&["send", "orders", "--jsonl"], lines)
        .ends_with(3);
    assert!(ran.stderr.contains("1 failed"), "{}", ran.stderr);
}

#[test]
fn a_topic_that_may_not_be_written_is_exit_6() {
    let (_store, server) = server();
    server
        .rmq(&["topic", "create", "sealed", "--perm", "r"])
        .ends_with(0);
    server.rmq(&["send", "sealed", "x"]).ends_with(6);
    server.rmq(&["send", "sealed", "x", "--queue", "0"]).ends_with(6);
}

#[test]
fn nothing_to_send_is_said() {
    let (_store, server) = server();
    let ran = server
        .rmq_reading(&["send", "orders", "--lines"], b"")
        .ends_with(0);
    assert!(
        ran.stderr.contains("nothing was sent: the input is empty"),
        "{}",
        ran.stderr
    );
}
