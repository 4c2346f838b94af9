//! R10: user-space instructions of one SEND, counted by valgrind and the same on every run.
//!
//! Under callgrind this binary is broker and client in one thread: `COUNT` messages travel over a loopback connection, 64 at a
//! time. What the thread executed for `COUNT` messages less what it executed for none, divided by `COUNT`, is a SEND with all
//! that belongs to it: read, frame, header, checks, append, answer, write. The client's own part is a few dozen instructions.

use std::fs;
use std::io;
use std::process::{Command, Stdio};
use std::sync::Arc;

use rmq::broker::config::Config;
use rmq::broker::config::keys::KEYS;
use rmq::broker::options::BrokerOptions;
use rmq::broker::{Broker, Listeners, Start};
use rmq::protocol::code::request;
use rmq::protocol::frame::Encoding;
use rmq::protocol::settings::{Defaults, Settings};
use rmq::store::{Clock, RealDisk, StoreOptions, SystemClock};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::broker::store_dir;
use super::frames::{QUEUES, Requests, encode, topic_fields};
use super::load::split_answer;
use super::ratios::Outcome;

/// Name of the hidden role of the bench binary.
pub const ROLE: &str = "as-driver";

const COUNT: usize = 2048;
/// Messages of one write.
const RUN: usize = 64;
const BODY_BYTES: usize = 128;

/// Instructions of one SEND.
pub fn per_send(encoding: Encoding) -> io::Result<Outcome> {
    let valgrind = Command::new("valgrind").arg("--version").output();
    if !valgrind.is_ok_and(|output| output.status.success()) {
        return Ok(Outcome::Skipped("valgrind is not there".to_owned()));
    }
    let (many, none) = (instructions(encoding, COUNT)?, instructions(encoding, 0)?);
    Ok(Outcome::Measured {
        value: (many - none) / COUNT as f64,
        figures: format!("{:.1} M for {COUNT}, {:.1} M for none", many / 1e6, none / 1e6),
        generator_share: None,
        foreign_share: 0.0,
        exact: true,
    })
}

/// What the main thread executes to start a broker and to take `count` messages.
fn instructions(encoding: Encoding, count: usize) -> io::Result<f64> {
    let folder = store_dir()?;
    let counts = folder.path().join("counts");
    let mut command = Command::new("valgrind");
    command.args(["-q", "--tool=callgrind", "--separate-threads=yes"]);
    command.arg(format!("--callgrind-out-file={}", counts.display()));
    command
        .arg(std::env::current_exe()?)
        .args([ROLE, spelled(encoding), &count.to_string()]);
    let output = command.stdin(Stdio::null()).stdout(Stdio::null()).output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(io::Error::other(format!(
            "valgrind ended with {}: {said}",
            output.status
        )));
    }
    let main_thread = fs::read_to_string(folder.path().join("counts-01"))?;
    let total = main_thread.lines().find_map(|line| line.strip_prefix("totals: "));
    total
        .and_then(|total| total.trim().parse().ok())
        .ok_or_else(|| io::Error::other("callgrind gave no totals"))
}

fn spelled(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Json => "json",
        Encoding::Binary => "binary",
    }
}

/// The child's side.
pub fn drive(encoding: &str, count: &str) -> io::Result<()> {
    let encoding = if encoding == spelled(Encoding::Binary) {
        Encoding::Binary
    } else {
        Encoding::Json
    };
    let count: usize = count.parse().map_err(io::Error::other)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(send(encoding, count))
}

async fn send(encoding: Encoding, count: usize) -> io::Result<()> {
    let folder = store_dir()?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let options = BrokerOptions {
        advertised: address.to_string(),
        store_host: address,
        ..BrokerOptions::default()
    };
    let store = StoreOptions {
        root: folder.path().to_owned(),
        segment_bytes: Some(64 << 20),
        ..StoreOptions::default()
    };
    let start = Start {
        config: Config::new(
            Settings::new(KEYS, Defaults::Own),
            &store.root,
            SystemClock.now_ms(),
        ),
        options,
        store,
        disk: Arc::new(RealDisk),
        clock: Arc::new(SystemClock),
    };
    let broker = Broker::start(
        start,
        Listeners {
            main: listener,
            fast: None,
        },
    )
    .await
    .map_err(io::Error::other)?;
    let mut stream = TcpStream::connect(address).await?;
    let mut input = vec![0; 64 * 1024];
    let create = encode(
        Encoding::Json,
        request::UPDATE_AND_CREATE_TOPIC,
        &topic_fields(),
        1,
        &[],
    );
    exchange(&mut stream, &create, 1, &mut input).await?;
    let requests = Requests::send(encoding, BODY_BYTES, QUEUES);
    for sent in (0..count).step_by(RUN) {
        exchange(&mut stream, requests.run(sent, RUN), RUN, &mut input).await?;
    }
    broker.stop().await.map_err(io::Error::other)
}

/// Writes requests and reads until all are answered.
async fn exchange(stream: &mut TcpStream, requests: &[u8], count: usize, input: &mut [u8]) -> io::Result<()> {
    stream.write_all(requests).await?;
    let (mut filled, mut answered) = (0, 0);
    while answered < count {
        filled += stream.read(&mut input[filled..]).await?;
        let mut at = 0;
        while let Some((head, body)) =
            split_answer(&input[at..filled]).filter(|(head, body)| head + body <= filled - at)
        {
            at += head + body;
            answered += 1;
        }
        input.copy_within(at..filled, 0);
        filled -= at;
    }
    Ok(())
}
