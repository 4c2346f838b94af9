//! R6 and R7: SYNC_FLUSH against a bare loop of write and sync, and how many messages share a sync.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use rmq::protocol::code::request;
use rmq::protocol::frame::Encoding;

use super::bench::{Bench, ratio_of};
use super::broker::{Flush, store_dir};
use super::frames::{QUEUES, Requests, encode};
use super::load::Shape;
use super::machine::{Usage, Watch};
use super::ratios::{Outcome, median, pairs};
use super::server::{Server, decode};

const BODY_BYTES: usize = 1024;
/// A record of such a message, roughly.
const RECORD_BYTES: usize = 1300;

/// Messages a second with one in flight ÷ records a second that a loop of pwrite and fdatasync brings to the same disk.
pub fn single(bench: &Bench) -> io::Result<Outcome> {
    let broker = start(bench)?;
    let requests = Requests::send(Encoding::Json, BODY_BYTES, QUEUES);
    let shape = Shape {
        connections: 1,
        depth: 1,
    };
    let ours = || {
        bench
            .turn(&broker, &requests, shape)
            .map(|load| (load.rate(), load.usage))
    };
    let pairs = pairs(bench.pairs, ours, || raw_syncs(bench.window.measure))?;
    let figures = format!(
        "rmq {:.0}/s · pwrite+fdatasync {:.0}/s",
        median(pairs.iter().map(|(ours, _)| ours.0)),
        median(pairs.iter().map(|(_, raw)| raw.0))
    );
    Ok(ratio_of(
        &pairs,
        |ours, raw| ours.0 / raw.0,
        |(_, usage)| *usage,
        figures,
    ))
}

/// Messages for one sync with one in flight on each of 64 connections.
pub fn shared(bench: &Bench) -> io::Result<Outcome> {
    let broker = start(bench)?;
    let requests = Requests::send(Encoding::Json, BODY_BYTES, QUEUES);
    let shape = Shape {
        connections: 64,
        depth: 1,
    };
    let mut runs = Vec::new();
    for _ in 0..bench.pairs {
        broker.resume()?;
        let before = flushed(&broker)?;
        let load = bench.turn(&broker, &requests, shape)?;
        broker.resume()?;
        let after = flushed(&broker)?;
        runs.push((after.messages - before.messages, after.syncs - before.syncs, load));
    }
    let per_sync = runs
        .iter()
        .map(|(messages, syncs, _)| *messages as f64 / (*syncs).max(1) as f64);
    let rate = median(runs.iter().map(|(_, _, load)| load.rate()));
    Ok(Outcome::Measured {
        value: median(per_sync),
        figures: format!("{:.1} k messages/s", rate / 1000.0),
        generator_share: Some(
            runs.iter()
                .map(|(_, _, load)| load.usage.generator_share)
                .fold(0.0, f64::max),
        ),
        foreign_share: runs
            .iter()
            .map(|(_, _, load)| load.usage.foreign_share)
            .fold(0.0, f64::max),
        exact: false,
    })
}

fn start(bench: &Bench) -> io::Result<Server> {
    let broker = bench.brokers.start(Flush::Sync)?;
    broker.prepare(Encoding::Json)?;
    broker.pause()?;
    Ok(broker)
}

/// The bare loop on a file that was zeroed before: syncs a second.
fn raw_syncs(measure: Duration) -> io::Result<(f64, Usage)> {
    const FILE_BYTES: usize = 64 * 1024 * 1024;
    let folder = store_dir()?;
    let file = File::create(folder.path().join("raw"))?;
    file.write_all_at(&vec![0; FILE_BYTES], 0)?;
    file.sync_all()?;
    let record = [b'x'; RECORD_BYTES];
    let watch = Watch::begin(std::process::id())?;
    let begun = Instant::now();
    let mut count = 0;
    while begun.elapsed() < measure {
        file.write_all_at(
            &record,
            (count * RECORD_BYTES % (FILE_BYTES - RECORD_BYTES)) as u64,
        )?;
        file.sync_data()?;
        count += 1;
    }
    let usage = watch.end()?;
    Ok((count as f64 / usage.seconds, usage))
}

/// What the broker has made durable so far.
struct Flushed {
    messages: u64,
    syncs: u64,
}

/// Asks the broker for its counters.
fn flushed(broker: &Server) -> io::Result<Flushed> {
    let answer = decode(&broker.call(&encode(
        Encoding::Json,
        request::GET_BROKER_RUNTIME_INFO,
        &[],
        1,
        &[],
    ))?)?;
    let info: serde_json::Value = serde_json::from_slice(&answer.body.contiguous())?;
    let counter = |key: &str| {
        let text = info["table"][key]
            .as_str()
            .and_then(|text| text.trim().parse().ok());
        text.ok_or_else(|| io::Error::other(format!("the broker's runtime info has no number {key:?}")))
    };
    Ok(Flushed {
        messages: counter("putMessageTimesTotal")?,
        syncs: counter("commitLogSyncs")?,
    })
}
