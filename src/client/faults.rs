//! Brokers that were slow or unreachable lately, so that the next messages go elsewhere for a while (Apache:
//! `MQFaultStrategy`). Time is passed in. Used by the producer's choice of a queue.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How long a broker is avoided after an answer that took at least this long, slowest first.
const AVOIDED: [(Duration, Duration); 5] = [
    (Duration::from_millis(15_000), Duration::from_secs(30)),
    (Duration::from_millis(5_000), Duration::from_secs(10)),
    (Duration::from_millis(3_000), Duration::from_secs(6)),
    (Duration::from_millis(1_800), Duration::from_secs(5)),
    (Duration::from_millis(550), Duration::from_secs(2)),
];
/// A broker that did not answer counts as one that took this long.
const UNANSWERED: Duration = Duration::from_secs(10);

/// Until when each broker, by name, is avoided. Bounded by the brokers of the routes.
#[derive(Debug, Default)]
pub struct Faults {
    avoided: Mutex<HashMap<String, Instant>>,
}

impl Faults {
    /// Notes how long a broker took to answer.
    pub fn answered(&self, broker_name: &str, latency: Duration, now: Instant) {
        let duration = AVOIDED
            .iter()
            .find(|(slow, _)| latency >= *slow)
            .map(|(_, duration)| *duration);
        let mut avoided = self.avoided.lock().expect("no panic under this lock");
        match duration {
            Some(duration) => drop(avoided.insert(broker_name.to_owned(), now + duration)),
            None => drop(avoided.remove(broker_name)),
        }
    }

    /// Notes that a broker could not be reached or did not answer in time.
    pub fn failed(&self, broker_name: &str, now: Instant) {
        self.answered(broker_name, UNANSWERED, now);
    }

    /// Whether messages should go elsewhere if they can.
    pub fn is_avoided(&self, broker_name: &str, now: Instant) -> bool {
        let avoided = self.avoided.lock().expect("no panic under this lock");
        avoided.get(broker_name).is_some_and(|until| now < *until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_broker_is_avoided_for_a_while_and_a_quick_answer_ends_it() {
        let (faults, now) = (Faults::default(), Instant::now());
        faults.answered("a", Duration::from_millis(600), now);
        assert!(faults.is_avoided("a", now + Duration::from_millis(1_999)));
        assert!(!faults.is_avoided("a", now + Duration::from_secs(2)));
        faults.failed("b", now);
        assert!(faults.is_avoided("b", now + Duration::from_secs(9)));
        faults.answered("b", Duration::from_millis(3), now);
        assert!(!faults.is_avoided("b", now));
    }
}
