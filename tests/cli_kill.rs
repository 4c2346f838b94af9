//! `kill -9` of the broker under load: what was acknowledged is there after the restart, and in order.

mod terminal;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use terminal::{Server, command};

/// Kills in one run of the test; a night's worth: `RMQ_KILLS=200 cargo test --release --test cli_kill`.
fn kills() -> u64 {
    std::env::var("RMQ_KILLS")
        .ok()
        .and_then(|kills| kills.parse().ok())
        .unwrap_or(20)
}

/// A small generator of its own, so that a failed run can be replayed from the seed it printed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// Every acknowledged line by place: (queue, offset) to its text.
type Acknowledged = BTreeMap<(i64, i64), String>;

/// Sends numbered lines until the broker is gone, and returns what it acknowledged. The broker is killed after `kill_at`
/// acknowledgements, and a little later at random.
fn send_until_killed(server: Server, round: u64, kill_at: usize, pause: Duration) -> Acknowledged {
    let mut sender = command(&[
        "-n",
        server.namesrv(),
        "send",
        "lines",
        "--lines",
        "--json",
        "--async",
        "-",
    ])
    .stdin(Stdio::piped())
    .stdout(Stdio::piped())
    .stderr(Stdio::null())
    .spawn()
    .expect("the binary runs");
    let mut stdin = sender.stdin.take().expect("stdin is a pipe");
    let source = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock"))
        .expect("a file of the project");
    let lines: Vec<String> = source
        .lines()
        .cycle()
        .take(3000)
        .enumerate()
        .map(|(number, line)| format!("{round}.{number} {line}"))
        .collect();
    let input = lines.join("\n");
    let writer = std::thread::spawn(move || {
        let _killed_early = stdin.write_all(input.as_bytes());
    });
    let mut server = Some(server);
    let mut acknowledged = Acknowledged::new();
    for line in BufReader::new(sender.stdout.take().expect("stdout is a pipe")).lines() {
        let line: Value =
            serde_json::from_str(&line.expect("stdout is readable")).expect("each line is JSON");
        if let (Some(n), Some(queue), Some(offset)) = (
            line["n"].as_u64(),
            line["queue"].as_i64(),
            line["offset"].as_i64(),
        ) {
            acknowledged.insert((queue, offset), lines[n as usize - 1].clone());
        }
        if acknowledged.len() == kill_at
            && let Some(server) = server.take()
        {
            std::thread::sleep(pause);
            server.kill();
            terminal::signal(&sender, rustix::process::Signal::INT);
        }
    }
    sender.wait().expect("the sender ends");
    writer.join().expect("the writer does not panic");
    acknowledged
}

#[test]
fn every_acknowledged_line_survives_kill_9() {
    let seed = std::env::var("RMQ_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(u64::from(std::process::id()));
    println!("seed {seed}: replay with RMQ_SEED={seed}");
    let mut dice = Dice(seed);
    let store = tempfile::tempdir().expect("a folder");
    let mut acknowledged = Acknowledged::new();
    for round in 0..kills() {
        let server = Server::broker(store.path(), &[]);
        let pause = Duration::from_micros(dice.below(20_000));
        let fresh = send_until_killed(server, round, 1 + dice.below(2000) as usize, pause);
        for (place, line) in fresh {
            let other = acknowledged.insert(place, line);
            assert_eq!(
                other, None,
                "round {round}: the place {place:?} was acknowledged before"
            );
        }
    }
    let server = Server::broker(store.path(), &[]);
    let ran = server
        .rmq(&["consume", "lines", "--until-end", "--jsonl"])
        .ends_with(0);
    let stored: Acknowledged = ran
        .json_lines()
        .into_iter()
        .map(|message| {
            let place = (
                message["queue"].as_i64().expect("a queue"),
                message["offset"].as_i64().expect("an offset"),
            );
            (place, message["body"].as_str().expect("text").to_owned())
        })
        .collect();
    let missing: Vec<_> = acknowledged
        .iter()
        .filter(|(place, line)| stored.get(place) != Some(line))
        .collect();
    assert!(
        missing.is_empty(),
        "seed {seed}: {} of {} are missing: {missing:?}",
        missing.len(),
        acknowledged.len()
    );
}
