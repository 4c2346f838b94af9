//! J1–J6: the same load against Apache RocketMQ, both brokers on the same CPUs in turns, each alone.

use std::io;
use std::time::Duration;

use rmq::protocol::frame::Encoding;

use super::apache;
use super::arrivals::{self, Latencies};
use super::bench::{Bench, rates_of, ratio_of};
use super::broker::Flush;
use super::footprint;
use super::frames::{QUEUES, Requests};
use super::load::{self, Load, Shape, Window};
use super::machine::{Memory, memory};
use super::ratios::Limit::{AtLeast, AtMost};
use super::ratios::{Limit, Outcome, Row, median, pairs};
use super::server::Server;

const BODY_BYTES: usize = 128;
/// How long the Java broker is loaded before it counts: its code is compiled while it runs.
const JAVA_WARM_UP: Duration = Duration::from_secs(10);

/// A measured shape with the limits of its rate and of its CPU seconds.
struct Throughput {
    shape: Shape,
    rate: (&'static str, Limit, Limit),
    cpu: (&'static str, Limit, Limit),
}

const THROUGHPUTS: [Throughput; 3] = [
    Throughput {
        shape: Shape {
            connections: 64,
            depth: 1,
        },
        rate: ("J1", AtLeast(3.0), AtLeast(3.6)),
        cpu: ("J3", AtMost(1.0 / 4.0), AtMost(1.0 / 7.0)),
    },
    Throughput {
        shape: Shape {
            connections: 1,
            depth: 64,
        },
        rate: ("J2", AtLeast(5.0), AtLeast(10.0)),
        cpu: ("J3", AtMost(1.0 / 4.0), AtMost(1.0 / 20.0)),
    },
    Throughput {
        shape: Shape {
            connections: 64,
            depth: 16,
        },
        rate: ("J2", AtLeast(5.0), AtLeast(10.0)),
        cpu: ("J3", AtMost(1.0 / 4.0), AtMost(1.0 / 20.0)),
    },
];

/// Ids of this module's rows.
pub const IDS: [&str; 6] = ["J1", "J2", "J3", "J4", "J5", "J6"];

/// Measures the wanted rows. Without Java, or when Apache's broker fails, one row says so.
pub fn rows(bench: &Bench, wanted: impl Fn(&str) -> bool) -> Vec<Row> {
    let outcome = match apache::missing() {
        Some(reason) => Outcome::Skipped(reason),
        None => match measure(bench, wanted) {
            Ok(rows) => return rows,
            Err(error) => Outcome::Failed(error.to_string()),
        },
    };
    vec![Row {
        id: IDS[0],
        what: "against Apache RocketMQ".to_owned(),
        gate: AtLeast(1.0),
        goal: AtLeast(1.0),
        outcome,
    }]
}

fn measure(bench: &Bench, wanted: impl Fn(&str) -> bool) -> io::Result<Vec<Row>> {
    let opponents = Opponents::start(bench)?;
    let mut rows = Vec::new();
    if wanted("J6") {
        rows.push(opponents.start_row(bench)?);
    }
    if wanted("J5") {
        rows.push(opponents.memory_row());
    }
    if ["J1", "J2", "J3", "J4"].iter().any(|id| wanted(id)) {
        opponents.warm_up(bench)?;
    }
    for throughput in THROUGHPUTS {
        if wanted(throughput.rate.0) || wanted(throughput.cpu.0) {
            rows.extend(opponents.throughput_rows(bench, &throughput)?);
        }
    }
    if wanted("J4") {
        rows.extend(opponents.arrival_rows(bench)?);
    }
    rows.retain(|row| wanted(row.id));
    rows.sort_by_key(|row| row.id);
    Ok(rows)
}

/// Both brokers, paused.
struct Opponents {
    ours: Server,
    ours_idle: Memory,
    apache: Server,
    apache_idle: Memory,
    apache_start: Duration,
}

impl Opponents {
    fn start(bench: &Bench) -> io::Result<Opponents> {
        let (apache, apache_start) = apache::start(&bench.brokers.cpus, &apache::fetch()?)?;
        let apache_idle = memory(apache.pid())?;
        apache.pause()?;
        let ours = bench.brokers.start(Flush::Async)?;
        ours.prepare(Encoding::Json)?;
        let ours_idle = memory(ours.pid())?;
        ours.pause()?;
        Ok(Opponents {
            ours,
            ours_idle,
            apache,
            apache_idle,
            apache_start,
        })
    }

    fn warm_up(&self, bench: &Bench) -> io::Result<()> {
        let requests = Requests::send(Encoding::Json, BODY_BYTES, QUEUES);
        let window = Window {
            warm_up: Duration::ZERO,
            measure: JAVA_WARM_UP.max(bench.window.warm_up) / 2,
        };
        self.apache.resume()?;
        for shape in [THROUGHPUTS[0].shape, THROUGHPUTS[1].shape] {
            load::closed(self.apache.address, self.apache.pid(), &requests, shape, window)?;
        }
        self.apache.pause()
    }

    fn throughput_rows(&self, bench: &Bench, throughput: &Throughput) -> io::Result<[Row; 2]> {
        let Throughput { shape, rate, cpu } = throughput;
        let requests = Requests::send(Encoding::Json, bench.body_bytes.unwrap_or(BODY_BYTES), QUEUES);
        let pairs = pairs(
            bench.pairs,
            || bench.turn(&self.ours, &requests, *shape),
            || bench.turn(&self.apache, &requests, *shape),
        )?;
        let row = |(id, gate, goal): (&'static str, Limit, Limit),
                   what: &str,
                   ratio: fn(&Load, &Load) -> f64| Row {
            id,
            what: format!("{what} {shape} ÷ Apache"),
            gate,
            goal,
            outcome: ratio_of(
                &pairs,
                ratio,
                |load| load.usage,
                rates_of(["rmq", "Apache"], &pairs),
            ),
        };
        Ok([
            row(*rate, "SEND", |ours, apache| ours.rate() / apache.rate()),
            row(*cpu, "CPU a SEND", |ours, apache| {
                ours.server_cpu_us() / apache.server_cpu_us()
            }),
        ])
    }

    fn arrival_rows(&self, bench: &Bench) -> io::Result<[Row; 2]> {
        let run = |server: &Server| {
            bench.quiet(
                server,
                |run: &Latencies| run.usage,
                || arrivals::measure(server, true, bench.window),
            )
        };
        let pairs = pairs(bench.pairs, || run(&self.ours), || run(&self.apache))?;
        let row = |name: &str, quantile: f64| {
            let us = |run: &Latencies| run.received.value_at_quantile(quantile) as f64 / 1000.0;
            let figures = format!(
                "rmq {:.0} µs · Apache {:.0} µs",
                median(pairs.iter().map(|(ours, _)| us(ours))),
                median(pairs.iter().map(|(_, apache)| us(apache)))
            );
            Row {
                id: "J4",
                what: format!("send to receive {name} ÷ Apache"),
                gate: AtMost(1.0 / 5.0),
                goal: AtMost(1.0 / 10.0),
                outcome: ratio_of(
                    &pairs,
                    |ours, apache| us(ours) / us(apache),
                    |run| run.usage,
                    figures,
                ),
            }
        };
        Ok([row("p50", 0.5), row("p99", 0.99)])
    }

    fn memory_row(&self) -> Row {
        let (ours, apache) = (
            self.ours_idle.anon as f64 / 1e6,
            self.apache_idle.anon as f64 / 1e6,
        );
        Row {
            id: "J5",
            what: "RssAnon after the first SEND ÷ Apache, -Xms1g".to_owned(),
            gate: AtMost(1.0 / 20.0),
            goal: AtMost(1.0 / 50.0),
            outcome: single(ours / apache, format!("rmq {ours:.1} MB · Apache {apache:.0} MB")),
        }
    }

    fn start_row(&self, bench: &Bench) -> io::Result<Row> {
        let ours = median(footprint::start_times(bench)?);
        let apache = self.apache_start.as_secs_f64() * 1000.0;
        Ok(Row {
            id: "J6",
            what: "start to first SEND ÷ Apache".to_owned(),
            gate: AtMost(1.0 / 10.0),
            goal: AtMost(1.0 / 50.0),
            outcome: single(ours / apache, format!("rmq {ours:.0} ms · Apache {apache:.0} ms")),
        })
    }
}

/// A ratio of two single measurements without load.
fn single(value: f64, figures: String) -> Outcome {
    Outcome::Measured {
        value,
        figures,
        generator_share: None,
        foreign_share: 0.0,
        exact: false,
    }
}
