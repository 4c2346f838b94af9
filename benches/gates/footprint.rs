//! START and IDLE: how soon a broker acknowledges its first message, and what it costs while nothing happens.

use std::io;
use std::time::Duration;

use super::bench::Bench;
use super::broker::Flush;
use super::machine::memory;
use super::ratios::{Outcome, median};

/// Milliseconds from the start of the process to the first acknowledged message, empty store.
pub fn start(bench: &Bench) -> io::Result<Outcome> {
    let times = start_times(bench)?;
    let figures = times
        .iter()
        .map(|ms| format!("{ms:.0}"))
        .collect::<Vec<_>>()
        .join(" ")
        + " ms";
    Ok(Outcome::Measured {
        value: median(times),
        figures,
        generator_share: None,
        foreign_share: 0.0,
        exact: false,
    })
}

/// The single times behind [`start`].
pub fn start_times(bench: &Bench) -> io::Result<Vec<f64>> {
    (0..bench.pairs)
        .map(|_| Ok(bench.brokers.time_to_first_send()?.as_secs_f64() * 1000.0))
        .collect()
}

/// MB of anonymous memory a second after the start, and with it the idle CPU.
pub fn idle(bench: &Bench) -> io::Result<Outcome> {
    let broker = bench.brokers.start(Flush::Async)?;
    std::thread::sleep(Duration::from_secs(1)); // the state measured is the one after nothing happened for a while
    let cpu = super::machine::cpu_seconds(broker.pid())?;
    std::thread::sleep(IDLE);
    let idle_cpu = (super::machine::cpu_seconds(broker.pid())? - cpu) / IDLE.as_secs_f64();
    let memory = memory(broker.pid())?;
    let megabytes = memory.anon as f64 / 1e6;
    let figures = format!(
        "RssFile {:.1} MB, {:.1} % of a CPU",
        memory.file as f64 / 1e6,
        idle_cpu * 100.0
    );
    Ok(Outcome::Measured {
        value: megabytes,
        figures,
        generator_share: None,
        foreign_share: 0.0,
        exact: false,
    })
}

/// How long idle CPU is counted.
const IDLE: Duration = Duration::from_secs(2);
