//! R8: PULL of a hot log against sendfile of the same ranges of the same file.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rmq::protocol::code::request;
use rmq::protocol::frame::Encoding;

use super::bench::{Bench, ratio_of};
use super::broker::Flush;
use super::frames::{Requests, TOPIC, encode, pull_fields};
use super::load::{self, Load, Shape, Window};
use super::ratios::{Outcome, median, pairs};
use super::server::{Server, decode, read_frame};

/// Name of the hidden role of the bench binary.
pub const ROLE: &str = "as-sendfile";

/// One connection, two requests in flight: the server never waits for the next one.
const SHAPE: Shape = Shape {
    connections: 1,
    depth: 2,
};
/// Messages of one request: what brokers give at most unless told otherwise.
const MESSAGES: usize = 32;
/// Log to read: more than a processor's caches hold.
const LOG_BYTES: u64 = 256 * 1024 * 1024;

/// MB a second, broker ÷ sendfile, with 32 messages of `body_bytes` a request.
pub fn rate(bench: &Bench, body_bytes: usize) -> io::Result<Outcome> {
    let broker = bench.brokers.start(Flush::Async)?;
    fill(&broker, body_bytes)?;
    let head_and_body = broker.call(&encode(
        Encoding::Json,
        request::PULL_MESSAGE,
        &pull_fields("0", MESSAGES),
        1,
        &[],
    ))?;
    let first = decode(&head_and_body)?;
    let step: u64 = first
        .fields
        .get("nextBeginOffset")
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    if step == 0 {
        return Err(io::Error::other("the first PULL brought nothing"));
    }
    let range = first.body.len();
    let ranges = (queue_end(&broker)? / step).max(1) as usize;
    let requests = Requests::pulls(ranges, step, MESSAGES);
    broker.pause()?;
    let head = &head_and_body[..head_and_body.len() - range];
    let raw = start(
        bench,
        &broker.store().join("commitlog/00000000000000000000"),
        head,
        range,
    )?;
    raw.pause()?;
    let pairs = pairs(
        bench.pairs,
        || bench.turn(&broker, &requests, SHAPE),
        || bench.turn(&raw, &requests, SHAPE),
    )?;
    let speed = |load: &Load| load.bytes as f64 / load.usage.seconds / 1e6;
    let side = |side: fn(&(Load, Load)) -> &Load| median(pairs.iter().map(|pair| speed(side(pair))));
    let figures = format!(
        "rmq {:.0} MB/s · sendfile {:.0} MB/s, {:.0} KiB a request",
        side(|pair| &pair.0),
        side(|pair| &pair.1),
        range as f64 / 1024.0
    );
    Ok(ratio_of(
        &pairs,
        |ours, raw| speed(ours) / speed(raw),
        |load| load.usage,
        figures,
    ))
}

/// Sends to queue 0 until the log is long enough.
fn fill(broker: &Server, body_bytes: usize) -> io::Result<()> {
    broker.prepare(Encoding::Json)?;
    let requests = Requests::send(Encoding::Json, body_bytes, 1);
    let window = Window {
        warm_up: Duration::ZERO,
        measure: Duration::from_millis(200),
    };
    while queue_end(broker)? * (body_bytes as u64) < LOG_BYTES {
        let load = load::closed(
            broker.address,
            broker.pid(),
            &requests,
            Shape {
                connections: 1,
                depth: 64,
            },
            window,
        )?;
        if load.successes == 0 {
            return Err(io::Error::other("the broker refuses to be filled"));
        }
    }
    Ok(())
}

/// Messages in queue 0.
fn queue_end(broker: &Server) -> io::Result<u64> {
    let fields = [("topic", TOPIC.to_owned()), ("queueId", "0".to_owned())];
    let answer = decode(&broker.call(&encode(Encoding::Json, request::GET_MAX_OFFSET, &fields, 1, &[]))?)?;
    answer
        .fields
        .get("offset")
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| io::Error::other("no offset in the answer"))
}

fn start(bench: &Bench, log: &Path, head: &[u8], range: usize) -> io::Result<Server> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .arg(ROLE)
        .arg(log)
        .arg(range.to_string())
        .arg(LOG_BYTES.to_string());
    Server::start(
        "sendfile",
        &bench.brokers.cpus,
        &mut command,
        None,
        head,
        |line| line.trim().parse().ok(),
    )
}

/// The child's side: answers each request with the head from standard input and the next range of the file.
pub fn serve(log: &str, range: &str, log_bytes: &str) -> io::Result<()> {
    let number = |text: &str| text.parse::<u64>().map_err(io::Error::other);
    let (log, range, log_bytes) = (File::open(log)?, number(range)?, number(log_bytes)?);
    let mut head = Vec::new();
    io::stdin().read_to_end(&mut head)?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?);
    io::stdout().flush()?;
    for stream in listener.incoming() {
        let mut stream = stream?;
        stream.set_nodelay(true)?;
        // The generator closes its connection after each turn.
        let _ = answer_all(&mut stream, &log, &head, range, log_bytes);
    }
    Ok(())
}

fn answer_all(stream: &mut TcpStream, log: &File, head: &[u8], range: u64, log_bytes: u64) -> io::Result<()> {
    let mut start = 0;
    loop {
        read_frame(stream)?;
        rustix::net::send(&*stream, head, rustix::net::SendFlags::MORE)?;
        let mut offset = start;
        while offset < start + range {
            let rest = (start + range - offset) as usize;
            rustix::fs::sendfile(&*stream, log, Some(&mut offset), rest)?;
        }
        start = if start + 2 * range > log_bytes {
            0
        } else {
            start + range
        };
    }
}
