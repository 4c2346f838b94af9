//! The list of measurements with their gates and goals, and the command line.

mod apache;
mod arrivals;
mod bench;
mod broker;
mod echo;
mod footprint;
mod frames;
mod instructions;
mod load;
mod machine;
mod pulls;
mod ratios;
mod report;
mod sends;
mod server;
mod syncs;
mod versus;

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use rmq::protocol::frame::Encoding;

use bench::Bench;
use broker::Brokers;
use load::{Shape, Window};
use machine::{Cpus, Layout};
use ratios::Limit::{AtLeast, AtMost};
use ratios::{Limit, Outcome, Row, Verdict};

/// One measurement that makes one row.
struct Gate {
    id: &'static str,
    what: &'static str,
    gate: Limit,
    goal: Limit,
    measure: fn(&Bench) -> io::Result<Outcome>,
}

const ONE_AT_A_TIME: Shape = Shape {
    connections: 64,
    depth: 1,
};
const PIPELINED: Shape = Shape {
    connections: 1,
    depth: 64,
};

/// Instructions of one SEND when they were last recorded: 2 % more is a regression. Lower them when a SEND gets cheaper.
const RECORDED_JSON: f64 = 26_100.0;
const RECORDED_BINARY: f64 = 18_000.0;

const GATES: [Gate; 13] = [
    Gate {
        id: "R1",
        what: "SEND 64×1 ÷ echo",
        gate: AtLeast(0.70),
        goal: AtLeast(0.85),
        measure: |bench| sends::rate(bench, Encoding::Json, ONE_AT_A_TIME),
    },
    Gate {
        id: "R2",
        what: "SEND 1×64 JSON ÷ echo",
        gate: AtLeast(0.33),
        goal: AtLeast(0.45),
        measure: |bench| sends::rate(bench, Encoding::Json, PIPELINED),
    },
    Gate {
        id: "R3",
        what: "SEND 1×64 binary ÷ echo",
        gate: AtLeast(0.50),
        goal: AtLeast(0.65),
        measure: |bench| sends::rate(bench, Encoding::Binary, PIPELINED),
    },
    Gate {
        id: "R4",
        what: "SEND 1×1 p50 ÷ echo p50",
        gate: AtMost(1.25),
        goal: AtMost(1.10),
        measure: sends::round_trip,
    },
    Gate {
        id: "R6",
        what: "SYNC_FLUSH 1×1 ÷ pwrite+fdatasync",
        gate: AtLeast(0.35),
        goal: AtLeast(0.50),
        measure: syncs::single,
    },
    Gate {
        id: "R7",
        what: "SYNC_FLUSH 64×1, messages a sync",
        gate: AtLeast(24.0),
        goal: AtLeast(30.0),
        measure: syncs::shared,
    },
    Gate {
        id: "R8",
        what: "PULL of 32 messages ÷ sendfile",
        gate: AtLeast(0.50),
        goal: AtLeast(0.70),
        measure: |bench| pulls::rate(bench, 1024),
    },
    Gate {
        id: "R8",
        what: "PULL of 256 KiB ÷ sendfile",
        gate: AtLeast(0.50),
        goal: AtLeast(0.85),
        measure: |bench| pulls::rate(bench, 7700),
    },
    Gate {
        id: "R9",
        what: "send to receive p50 ÷ (SEND p50 + echo p50)",
        gate: AtMost(1.6),
        goal: AtMost(1.2),
        measure: arrivals::ratio,
    },
    Gate {
        id: "R10",
        what: "instructions a SEND, JSON",
        gate: AtMost(RECORDED_JSON * 1.02),
        goal: AtMost(6000.0),
        measure: |_| instructions::per_send(Encoding::Json),
    },
    Gate {
        id: "R10",
        what: "instructions a SEND, binary",
        gate: AtMost(RECORDED_BINARY * 1.02),
        goal: AtMost(2500.0),
        measure: |_| instructions::per_send(Encoding::Binary),
    },
    Gate {
        id: "START",
        what: "ms to the first SEND",
        gate: AtMost(50.0),
        goal: AtMost(50.0),
        measure: footprint::start,
    },
    Gate {
        id: "IDLE",
        what: "MB RssAnon",
        gate: AtMost(10.0),
        goal: AtMost(10.0),
        measure: footprint::idle,
    },
];

/// Measures rmq against its yardsticks.
#[derive(Parser)]
struct Options {
    /// What to measure: R1 to R10, J1 to J6, START, IDLE; everything if none is named.
    ids: Vec<String>,
    /// Exit 1 when a gate is missed or a measurement failed.
    #[arg(long)]
    gate: bool,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
    /// One short pair each: shows that everything runs, not how fast.
    #[arg(long)]
    quick: bool,
    /// Reactor threads of the broker instead of its own choice.
    #[arg(long, value_name = "N", env = "RMQ_BENCH_REACTORS")]
    reactors: Option<usize>,
    /// Where server and generator run.
    #[arg(long, value_enum, default_value = "pinned")]
    layout: Layout,
    /// Body size of every SEND, instead of the measurement's own.
    #[arg(long, value_name = "BYTES")]
    body: Option<usize>,
    /// Seconds of one turn.
    #[arg(long, value_name = "S")]
    seconds: Option<f64>,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Runs as one of the hidden servers, or measures.
pub fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let role: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match role.as_slice() {
        [echo::ROLE] => echo::serve().map(|()| ExitCode::SUCCESS),
        [instructions::ROLE, encoding, count] => {
            instructions::drive(encoding, count).map(|()| ExitCode::SUCCESS)
        }
        [pulls::ROLE, log, range, log_bytes] => {
            pulls::serve(log, range, log_bytes).map(|()| ExitCode::SUCCESS)
        }
        _ => run(&Options::parse()),
    };
    result.unwrap_or_else(|error| {
        eprintln!("bench: {error}");
        ExitCode::FAILURE
    })
}

fn run(options: &Options) -> io::Result<ExitCode> {
    let unknown = |id: &&String| !known_ids().any(|known| id.eq_ignore_ascii_case(known));
    if let Some(id) = options.ids.iter().find(unknown) {
        let known: Vec<&str> = known_ids().collect();
        return Err(io::Error::other(format!(
            "no measurement {id:?}; there are {}",
            known.join(" ")
        )));
    }
    let bench = options.bench()?;
    let machine = format!(
        "{}, load average {}",
        bench.brokers.cpus.describe(),
        machine::load_average()?
    );
    eprintln!("{machine}");
    let rows = measure(&bench, |id| {
        options.ids.is_empty() || options.ids.iter().any(|wanted| wanted.eq_ignore_ascii_case(id))
    });
    match options.json {
        true => report::print_json(&machine, &rows),
        false => report::print_table(&rows),
    }
    let missed = rows
        .iter()
        .any(|row| matches!(row.verdict(), Verdict::Missed | Verdict::Failed));
    Ok(if options.gate && missed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn known_ids() -> impl Iterator<Item = &'static str> {
    GATES.iter().map(|gate| gate.id).chain(versus::IDS)
}

impl Options {
    fn bench(&self) -> io::Result<Bench> {
        let (pairs, tries, warm_up, measure) = if self.quick {
            (1, 1, 0.2, 0.5)
        } else {
            (5, 3, 1.0, 3.0)
        };
        let measure = self.seconds.unwrap_or(measure);
        Ok(Bench {
            brokers: Brokers {
                cpus: Cpus::divide(self.layout)?,
                reactors: self.reactors,
            },
            pairs,
            window: Window {
                warm_up: Duration::from_secs_f64(warm_up),
                measure: Duration::from_secs_f64(measure),
            },
            tries,
            body_bytes: self.body,
        })
    }
}

/// Measures what is wanted, in order; a measurement that fails leaves a row that says why.
fn measure(bench: &Bench, wanted: impl Fn(&str) -> bool) -> Vec<Row> {
    let mut rows = Vec::new();
    for Gate {
        id,
        what,
        gate,
        goal,
        measure,
    } in GATES.iter().filter(|gate| wanted(gate.id))
    {
        eprintln!("{id} {what} ...");
        let outcome = measure(bench).unwrap_or_else(|error| Outcome::Failed(error.to_string()));
        rows.push(Row {
            id,
            what: (*what).to_owned(),
            gate: *gate,
            goal: *goal,
            outcome,
        });
    }
    if versus::IDS.into_iter().any(&wanted) {
        eprintln!("J1–J6 against Apache RocketMQ {} ...", apache::VERSION);
        rows.extend(versus::rows(bench, &wanted));
    }
    rows
}
