//! Counts of what a consumer did, by topic, for its running info. Rates are means since the consumer started.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use super::Consumed;
use crate::protocol::request::client::ConsumeStatus;

/// Counts by topic. Bounded by the subscribed topics.
pub(super) struct Tallies {
    since: Instant,
    topics: Mutex<BTreeMap<String, Tally>>,
}

#[derive(Clone, Copy, Default)]
struct Tally {
    consumed: u64,
    failed: u64,
    handler_calls: u64,
    handler_time: Duration,
    pulled: u64,
    pulls: u64,
    pull_time: Duration,
}

impl Tallies {
    pub fn new() -> Tallies {
        Tallies {
            since: Instant::now(),
            topics: Mutex::default(),
        }
    }

    pub fn pulled(&self, topic: &str, messages: usize, time: Duration) {
        self.count(topic, |tally| {
            tally.pulled += messages as u64;
            tally.pulls += 1;
            tally.pull_time += time;
        });
    }

    pub fn consumed(&self, topic: &str, consumed: Consumed, messages: usize, time: Duration) {
        self.count(topic, |tally| {
            match consumed {
                Consumed::Success => tally.consumed += messages as u64,
                Consumed::Later => tally.failed += messages as u64,
                Consumed::Untouched => {}
            }
            tally.handler_calls += 1;
            tally.handler_time += time;
        });
    }

    fn count(&self, topic: &str, add: impl FnOnce(&mut Tally)) {
        let mut topics = self.topics.lock().expect("no panic under this lock");
        match topics.get_mut(topic) {
            Some(tally) => add(tally),
            None => add(topics.entry(topic.to_owned()).or_default()),
        }
    }

    /// What an administrator sees of each topic.
    pub fn status(&self) -> BTreeMap<String, ConsumeStatus> {
        let seconds = self.since.elapsed().as_secs_f64().max(1.0);
        let mean_ms = |time: Duration, count: u64| time.as_secs_f64() * 1000.0 / count.max(1) as f64;
        let topics = self.topics.lock().expect("no panic under this lock");
        let status = |tally: &Tally| ConsumeStatus {
            consume_failed_msgs: tally.failed as i64,
            consume_failed_tps: tally.failed as f64 / seconds,
            consume_ok_tps: tally.consumed as f64 / seconds,
            consume_rt: mean_ms(tally.handler_time, tally.handler_calls),
            pull_rt: mean_ms(tally.pull_time, tally.pulls),
            pull_tps: tally.pulled as f64 / seconds,
        };
        topics
            .iter()
            .map(|(topic, tally)| (topic.clone(), status(tally)))
            .collect()
    }
}
