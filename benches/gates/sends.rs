//! R1–R4: SEND against the echo with the same bytes.

use std::io;

use rmq::protocol::frame::Encoding;

use super::bench::{Bench, rates_of, ratio_of};
use super::broker::Flush;
use super::echo;
use super::frames::{QUEUES, Requests};
use super::load::{Load, Shape};
use super::ratios::{Outcome, median, pairs};

/// The body the ratios are set for.
const BODY_BYTES: usize = 1024;

/// Messages a second, broker ÷ echo.
pub fn rate(bench: &Bench, encoding: Encoding, shape: Shape) -> io::Result<Outcome> {
    let pairs = measure(bench, encoding, shape)?;
    Ok(ratio_of(
        &pairs,
        |ours, echo| ours.rate() / echo.rate(),
        |load| load.usage,
        rates_of(["rmq", "echo"], &pairs),
    ))
}

/// Median round trip with one message in flight, broker ÷ echo.
pub fn round_trip(bench: &Bench) -> io::Result<Outcome> {
    let pairs = measure(
        bench,
        Encoding::Json,
        Shape {
            connections: 1,
            depth: 1,
        },
    )?;
    let p50 = |side: fn(&(Load, Load)) -> &Load| median(pairs.iter().map(|pair| side(pair).p50_us()));
    let figures = format!(
        "rmq p50 {:.1} µs · echo p50 {:.1} µs",
        p50(|pair| &pair.0),
        p50(|pair| &pair.1)
    );
    Ok(ratio_of(
        &pairs,
        |ours, echo| ours.p50_us() / echo.p50_us(),
        |load| load.usage,
        figures,
    ))
}

fn measure(bench: &Bench, encoding: Encoding, shape: Shape) -> io::Result<Vec<(Load, Load)>> {
    let requests = Requests::send(encoding, bench.body_bytes.unwrap_or(BODY_BYTES), QUEUES);
    let broker = bench.brokers.start(Flush::Async)?;
    let answer = broker.prepare(encoding)?;
    broker.pause()?;
    let echo = echo::start(&bench.brokers.cpus, &answer)?;
    echo.pause()?;
    pairs(
        bench.pairs,
        || bench.turn(&broker, &requests, shape),
        || bench.turn(&echo, &requests, shape),
    )
}
