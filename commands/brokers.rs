//! Asking several brokers the same: each has its own answer or error, one that is down hides nothing of the others.

use std::collections::BTreeSet;

use rmq::client::{Admin, BrokerAddress, ClientError};

use crate::connect::exit_of;
use crate::output::{self, Exit, Failure};

/// What several brokers answered.
pub struct Answers<T> {
    pub good: Vec<(BrokerAddress, T)>,
    pub failed: Vec<(BrokerAddress, ClientError)>,
}

/// Asks each broker in turn.
pub async fn ask_each<T>(
    brokers: Vec<BrokerAddress>,
    ask: impl AsyncFn(&BrokerAddress) -> Result<T, ClientError>,
) -> Answers<T> {
    let mut answers = Answers {
        good: Vec::new(),
        failed: Vec::new(),
    };
    for broker in brokers {
        match ask(&broker).await {
            Ok(answer) => answers.good.push((broker, answer)),
            Err(error) => answers.failed.push((broker, error)),
        }
    }
    answers
}

impl<T> Answers<T> {
    /// Names each broker that could not be asked, and gives the exit code: partial if others answered.
    pub fn tell_failures(&self) -> Exit {
        tell(&self.failed);
        match self.failed.first() {
            None => Exit::Ok,
            Some(_) if !self.good.is_empty() => Exit::Partial,
            Some((_, error)) => exit_of(error),
        }
    }
}

/// Names each broker that could not be asked; what one broker says of each of its queues is told once.
pub fn tell(failed: &[(BrokerAddress, ClientError)]) {
    let mut told = BTreeSet::new();
    for (broker, error) in failed {
        let line = format!("{}: {error}", broker.name);
        if told.insert(line.clone()) {
            output::note(line);
        }
    }
}

/// The masters that a command is about, all of one cluster.
///
/// # Errors
/// See [`of_one_cluster`].
pub async fn masters_of_one_cluster(
    admin: &Admin,
    cluster: Option<&str>,
) -> Result<Vec<BrokerAddress>, Failure> {
    let masters = admin.masters(cluster).await?;
    if masters.is_empty() {
        return Err(Failure::new(
            Exit::NotFound,
            format!("no broker is registered with {}", admin.name_servers().join(";")),
        )
        .next_step("start one: rmq broker start"));
    }
    of_one_cluster(masters)
}

/// The brokers that hold a topic, all of one cluster, for a command that changes it.
///
/// # Errors
/// If there are none, or see [`of_one_cluster`].
pub async fn holders_in_one_cluster(
    admin: &Admin,
    topic: &str,
    cluster: Option<&str>,
) -> Result<Vec<BrokerAddress>, Failure> {
    let mut brokers = holders(admin, topic).await?;
    if let Some(cluster) = cluster {
        brokers.retain(|broker| broker.cluster == cluster);
        if brokers.is_empty() {
            return Err(Failure::new(
                Exit::NotFound,
                format!("topic {topic:?} not found in cluster {cluster}"),
            )
            .next_step(format!("where it is: rmq topic route {topic}")));
        }
    }
    of_one_cluster(brokers)
}

/// The brokers that hold a topic.
pub async fn holders(admin: &Admin, topic: &str) -> Result<Vec<BrokerAddress>, Failure> {
    let brokers = admin.brokers_of_topic(topic).await?;
    if brokers.is_empty() {
        return Err(Failure::new(
            Exit::NotFound,
            format!("topic {topic:?} has no broker"),
        ));
    }
    Ok(brokers)
}

/// # Errors
/// When the brokers are of several clusters: one that nobody named must not be touched by accident.
fn of_one_cluster(brokers: Vec<BrokerAddress>) -> Result<Vec<BrokerAddress>, Failure> {
    let clusters: BTreeSet<&str> = brokers.iter().map(|broker| broker.cluster.as_str()).collect();
    match clusters.first() {
        Some(first) if clusters.len() > 1 => {
            let all: Vec<&str> = clusters.iter().copied().collect();
            Err(
                Failure::usage(format!("there are several clusters: {}", all.join(", ")))
                    .next_step(format!("name one: --cluster {first}")),
            )
        }
        _ => Ok(brokers),
    }
}

/// `*` and `?` in a pattern stand for any letters and any one letter.
pub fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut at, mut of, mut star) = (0, 0, None);
    while of < name.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, of));
                at += 1;
            }
            Some(letter) if *letter == '?' || *letter == name[of] => {
                at += 1;
                of += 1;
            }
            _ => match star {
                Some((star_at, star_of)) => {
                    at = star_at + 1;
                    of = star_of + 1;
                    star = Some((star_at, star_of + 1));
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|letter| *letter == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks_stand_for_letters() {
        for (pattern, name) in [
            ("*", ""),
            ("ord*", "orders"),
            ("*ers", "orders"),
            ("o*d*s", "orders"),
            ("order?", "orders"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("", "a"),
            ("ord", "orders"),
            ("order?", "order"),
            ("*x", "orders"),
        ] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }
}
