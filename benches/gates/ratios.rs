//! Two sides measured in turns, the ratio of each pair, its median, and what gate and goal say to it.

use std::io;

/// The middle of the values.
///
/// # Panics
/// Without values.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        sorted[middle]
    } else {
        (sorted[middle - 1] + sorted[middle]) / 2.0
    }
}

/// Measures ours and theirs in turns, `count` times each: what drifts over minutes hits both.
pub fn pairs<O, T>(
    count: usize,
    mut ours: impl FnMut() -> io::Result<O>,
    mut theirs: impl FnMut() -> io::Result<T>,
) -> io::Result<Vec<(O, T)>> {
    (0..count)
        .map(|_| {
            let theirs = theirs()?;
            Ok((ours()?, theirs))
        })
        .collect()
}

/// A limit for a measured value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    AtLeast(f64),
    AtMost(f64),
}

/// Paired ratios repeat within this share; a gate missed by less is reported and fails nothing.
const SLACK: f64 = 0.15;

impl Limit {
    fn holds(self, value: f64) -> bool {
        match self {
            Limit::AtLeast(limit) => value >= limit,
            Limit::AtMost(limit) => value <= limit,
        }
    }

    fn holds_with_slack(self, value: f64) -> bool {
        match self {
            Limit::AtLeast(limit) => value >= limit * (1.0 - SLACK),
            Limit::AtMost(limit) => value <= limit * (1.0 + SLACK),
        }
    }
}

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Limit::AtLeast(limit) => write!(f, "≥ {}", number(*limit)),
            Limit::AtMost(limit) => write!(f, "≤ {}", number(*limit)),
        }
    }
}

/// Three significant digits, all digits of large numbers.
pub fn number(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        middle if middle >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// What a value is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Goal,
    Gate,
    /// Behind the gate by less than two runs differ.
    Near,
    Missed,
    /// Not measured: what it needs is not here.
    Skipped,
    /// Not measured: it ended with an error.
    Failed,
}

impl Verdict {
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Goal => "goal",
            Verdict::Gate => "gate",
            Verdict::Near => "near",
            Verdict::Missed => "MISSED",
            Verdict::Skipped => "skipped",
            Verdict::Failed => "FAILED",
        }
    }
}

/// One line of the report.
pub struct Row {
    /// Its name in performance goals and on the command line.
    pub id: &'static str,
    pub what: String,
    /// Where the measurement must and where it should be.
    pub gate: Limit,
    pub goal: Limit,
    pub outcome: Outcome,
}

/// What came of a measurement.
pub enum Outcome {
    Measured {
        value: f64,
        /// The absolute figures behind the value; they differ from machine to machine.
        figures: String,
        /// Largest share of its CPU that the generator used in any run.
        generator_share: Option<f64>,
        /// Largest share of the machine that others used in any run.
        foreign_share: f64,
        /// Deterministic: a gate allows no slack.
        exact: bool,
    },
    /// What a measurement needs and this machine has not.
    Skipped(String),
    /// Why it ended without a value.
    Failed(String),
}

impl Row {
    pub fn verdict(&self) -> Verdict {
        let (value, exact) = match self.outcome {
            Outcome::Measured { value, exact, .. } => (value, exact),
            Outcome::Skipped(_) => return Verdict::Skipped,
            Outcome::Failed(_) => return Verdict::Failed,
        };
        if self.goal.holds(value) {
            Verdict::Goal
        } else if self.gate.holds(value) {
            Verdict::Gate
        } else if !exact && self.gate.holds_with_slack(value) {
            Verdict::Near
        } else {
            Verdict::Missed
        }
    }

    /// What a reader has to know before trusting the value; empty when nothing.
    pub fn mark(&self) -> String {
        let Outcome::Measured {
            generator_share,
            foreign_share,
            ..
        } = &self.outcome
        else {
            return String::new();
        };
        let mut marks = Vec::new();
        if *foreign_share > super::machine::FOREIGN_SHARE_MAX {
            marks.push(format!("noisy: {:.0} % foreign CPU", foreign_share * 100.0));
        }
        if generator_share.is_some_and(|share| share > GENERATOR_SHARE_MAX) {
            marks.push("generator at its limit".to_owned());
        }
        marks.join(", ")
    }
}

/// Above this share of its CPU the generator, not the server, limits the rate.
const GENERATOR_SHARE_MAX: f64 = 0.90;
