//! What needs no server: help, completions, wrong usage, and what is said when nobody is there.

mod terminal;

use std::fs;
use std::path::{Path, PathBuf};

use terminal::{rmq, rmq_reading};

/// Compares with a file of the repository. `RMQ_UPDATE=1 cargo test` writes it anew.
#[track_caller]
fn assert_current(path: &Path, text: &str) {
    if std::env::var_os("RMQ_UPDATE").is_some() {
        fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("a folder");
        fs::write(path, text).expect("the repository is writable");
    }
    let stored = fs::read_to_string(path).unwrap_or_default();
    assert!(
        stored == text,
        "{} is not current: RMQ_UPDATE=1 cargo test --test cli_help\n{text}",
        path.display()
    );
}

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn completions_are_current() {
    for (shell, file) in [("bash", "rmq.bash"), ("zsh", "_rmq"), ("fish", "rmq.fish")] {
        let ran = rmq(&["completion", shell]).ends_with(0);
        assert_current(&repository().join("completions").join(file), &ran.stdout);
    }
}

#[test]
fn help_of_every_command_is_as_written() {
    let commands = [
        "",
        "dev",
        "broker",
        "broker start",
        "broker stop",
        "broker show",
        "broker config",
        "namesrv",
        "namesrv start",
        "topic",
        "topic ls",
        "topic show",
        "topic route",
        "topic create",
        "topic set",
        "topic delete",
        "group",
        "group ls",
        "group show",
        "group lag",
        "group reset",
        "group delete",
        "send",
        "consume",
        "msg",
        "msg find",
        "msg show",
        "completion",
    ];
    let mut all = String::new();
    for command in commands {
        let words: Vec<&str> = command.split_whitespace().chain(["--help"]).collect();
        let ran = rmq(&words).ends_with(0);
        all += &format!("$ rmq {}\n{}\n", words.join(" "), ran.stdout);
    }
    assert_current(&repository().join("tests/terminal/help.txt"), &all);
}

#[test]
fn wrong_usage_is_exit_2() {
    for words in [
        &["nonsense"][..],
        &["send"],
        &["consume"],
        &["consume", "orders", "-f", "%z"],
        &["consume", "orders", "--from", "soon"],
        &["send", "orders", "--lines", "--jsonl"],
        &["group", "reset", "g", "-t", "orders", "--to", "whenever"],
        &["send", "orders", "x", "-H", "no-equals-sign"],
    ] {
        let ran = rmq(words).ends_with(2);
        assert!(
            !ran.stderr.is_empty() && ran.stdout.is_empty(),
            "{words:?}: {ran:?}"
        );
    }
}

#[test]
fn an_unknown_verb_is_named() {
    let ran = rmq(&["consume", "orders", "-f", "%z"]).ends_with(2);
    assert!(ran.stderr.contains("unknown verb %z"), "{}", ran.stderr);
}

/// A port that nobody listens on: it was free a moment ago.
fn nobody() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("a bound socket").to_string()
}

#[test]
fn without_a_server_every_client_command_names_the_next_step() {
    let nobody = nobody();
    for words in [
        &["send", "orders", "x"][..],
        &["consume", "orders", "--until-end"],
        &["topic", "ls"],
        &["topic", "show", "orders"],
        &["group", "ls"],
        &["group", "lag", "billing"],
        &["broker", "show"],
        &["msg", "find", "orders", "--key", "k"],
    ] {
        let ran = rmq(&[&["-n", &nobody], words].concat()).ends_with(5);
        let expected = format!("no name server at {nobody}");
        assert!(ran.stderr.contains(&expected), "{words:?}: {}", ran.stderr);
        assert!(
            ran.stderr.contains("start one with `rmq dev`"),
            "{words:?}: {}",
            ran.stderr
        );
    }
}

#[test]
fn an_empty_message_is_refused_before_anyone_is_asked() {
    let ran = rmq_reading(&["-n", &nobody(), "send", "orders"], b"").ends_with(1);
    assert!(ran.stderr.contains("empty"), "{}", ran.stderr);
}
