//! The invariants of absence that `src/lib.rs` states: who may use whom, what stands nowhere.

use std::fs;
use std::path::{Path, PathBuf};

/// A line of source with its place.
struct Line {
    file: String,
    number: usize,
    text: String,
}

/// Lines of code under a folder, comments left out.
fn code(folder: &str) -> Vec<Line> {
    let mut lines = Vec::new();
    for path in rust_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)) {
        let text = fs::read_to_string(&path).expect("a readable source");
        let file = path.display().to_string();
        let kept = text
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim_start().starts_with("//"));
        lines.extend(kept.map(|(index, line)| Line {
            file: file.clone(),
            number: index + 1,
            text: line.to_owned(),
        }));
    }
    assert!(!lines.is_empty(), "{folder} has no code");
    lines
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// None of the words stands in the folder's code.
fn assert_absent(folder: &str, words: &[&str]) {
    for line in code(folder) {
        for word in words {
            assert!(
                !line.text.contains(word),
                "{}:{} has {word:?}: {}",
                line.file,
                line.number,
                line.text.trim()
            );
        }
    }
}

/// Macros at the root of the crate; they belong to the protocol.
const MACROS: [&str; 2] = ["headers", "named"];

/// The folder uses no other module of this crate but these.
fn assert_uses_only(folder: &str, allowed: &[&str]) {
    for line in code(folder) {
        for (at, word) in line.text.match_indices("crate::") {
            for module in used_modules(&line.text[at + word.len()..]) {
                let may = MACROS.contains(&module) || allowed.contains(&module);
                assert!(
                    may,
                    "{}:{} uses {module}: {}",
                    line.file,
                    line.number,
                    line.text.trim()
                );
            }
        }
    }
}

/// The modules that a path behind `crate::` begins with; several where it is a list in braces.
fn used_modules(path: &str) -> Vec<&str> {
    let is_end = |letter: char| !letter.is_ascii_alphanumeric() && letter != '_';
    match path.strip_prefix('{').and_then(|list| list.split('}').next()) {
        Some(list) => list
            .split(',')
            .filter_map(|path| path.trim().split(is_end).next())
            .filter(|name| !name.is_empty())
            .collect(),
        None => path.split(is_end).take(1).collect(),
    }
}

#[test]
fn the_protocol_is_pure() {
    assert_uses_only("src/protocol", &["protocol"]);
    assert_absent(
        "src/protocol",
        &[
            "tokio",
            "std::fs",
            "std::net::Tcp",
            "Instant",
            "SystemTime",
            "std::thread",
        ],
    );
}

#[test]
fn the_store_knows_no_sockets_and_no_groups() {
    assert_uses_only("src/store", &["store", "protocol"]);
    assert_absent(
        "src/store",
        &[
            "tokio::net",
            "std::net::Tcp",
            "remoting",
            "consumer_group",
            "request::",
        ],
    );
}

#[test]
fn remoting_knows_nothing_but_frames() {
    assert_uses_only("src/remoting", &["remoting", "protocol"]);
    assert_absent("src/remoting", &["protocol::request", "code::request"]);
}

#[test]
fn siblings_do_not_use_each_other() {
    assert_uses_only("src/namesrv", &["namesrv", "protocol", "remoting"]);
    assert_uses_only("src/client", &["client", "protocol", "remoting"]);
    assert_uses_only("src/broker", &["broker", "protocol", "remoting", "store"]);
}

#[test]
fn nothing_below_the_commands_prints_or_exits() {
    assert_absent(
        "src",
        &[
            "println!",
            "eprintln!",
            "print!",
            "eprint!",
            "dbg!",
            "process::exit",
            "env::args",
        ],
    );
}

#[test]
fn unsafe_stands_in_one_module() {
    for line in code("src").iter().chain(&code("commands")) {
        let is_unsafe = line.text.contains("unsafe ") || line.text.contains("unsafe{");
        let may = line.file.ends_with("src/store/mapped.rs") || line.text.contains("unsafe_code");
        assert!(
            !is_unsafe || may,
            "{}:{}: {}",
            line.file,
            line.number,
            line.text.trim()
        );
    }
}
