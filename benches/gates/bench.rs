//! What all measurements share: how long, how often, and one server's turn while the others stand still.

use std::io;

use super::broker::Brokers;
use super::frames::Requests;
use super::load::{self, Load, Shape, Window};
use super::machine::{FOREIGN_SHARE_MAX, Usage};
use super::ratios::{Outcome, median};
use super::server::Server;

/// The settings of one run of the bench.
pub struct Bench {
    pub brokers: Brokers,
    /// Pairs a ratio is the median of.
    pub pairs: usize,
    pub window: Window,
    /// A turn that others disturbed is taken again, up to so many times in all.
    pub tries: usize,
    /// Body size that replaces the measurement's own.
    pub body_bytes: Option<usize>,
}

impl Bench {
    /// One closed-loop turn of a paused server.
    pub fn turn(&self, server: &Server, requests: &Requests, shape: Shape) -> io::Result<Load> {
        self.quiet(
            server,
            |load: &Load| load.usage,
            || load::closed(server.address, server.pid(), requests, shape, self.window),
        )
    }

    /// Lets the server run for `measure` alone, again while others disturb it, and returns the quietest result.
    pub fn quiet<T>(
        &self,
        server: &Server,
        usage: impl Fn(&T) -> Usage,
        mut measure: impl FnMut() -> io::Result<T>,
    ) -> io::Result<T> {
        server.resume()?;
        let mut best = measure().map_err(|error| server.blamed(&error))?;
        for _ in 1..self.tries {
            if usage(&best).foreign_share <= FOREIGN_SHARE_MAX {
                break;
            }
            let again = measure().map_err(|error| server.blamed(&error))?;
            if usage(&again).foreign_share < usage(&best).foreign_share {
                best = again;
            }
        }
        server.pause()?;
        Ok(best)
    }
}

/// The median of the pairs' ratios with the noise of their runs.
pub fn ratio_of<'a, T: 'a>(
    pairs: &'a [(T, T)],
    ratio: impl Fn(&T, &T) -> f64,
    usage: impl Fn(&T) -> Usage,
    figures: String,
) -> Outcome {
    let usages = || {
        pairs
            .iter()
            .flat_map(|(ours, theirs)| [usage(ours), usage(theirs)])
    };
    Outcome::Measured {
        value: median(pairs.iter().map(|(ours, theirs)| ratio(ours, theirs))),
        figures,
        generator_share: Some(usages().map(|usage| usage.generator_share).fold(0.0, f64::max)),
        foreign_share: usages().map(|usage| usage.foreign_share).fold(0.0, f64::max),
        exact: false,
    }
}

/// Rates, CPU and refusals of both sides of the pairs, as medians.
pub fn rates_of(names: [&str; 2], pairs: &[(Load, Load)]) -> String {
    let side = |name: &str, loads: Vec<&Load>| {
        let rate = median(loads.iter().map(|load| load.rate()));
        let cpu = median(loads.iter().map(|load| load.server_cpu_us()));
        let refusals: u64 = loads.iter().map(|load| load.refusals).sum();
        let refused = if refusals == 0 {
            String::new()
        } else {
            format!(", {refusals} refused")
        };
        format!("{name} {:.1} k/s {cpu:.1} µs CPU{refused}", rate / 1000.0)
    };
    let ours = side(names[0], pairs.iter().map(|pair| &pair.0).collect());
    let theirs = side(names[1], pairs.iter().map(|pair| &pair.1).collect());
    format!("{ours} · {theirs}")
}
