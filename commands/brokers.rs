//! Asking several brokers the same: each has its own answer or error, one that is down hides nothing of the others.

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

/// Names each broker that could not be asked.
pub fn tell(failed: &[(BrokerAddress, ClientError)]) {
    for (broker, error) in failed {
        output::note(format!("{}: {error}", broker.name));
    }
}

/// The masters that a command is about.
///
/// # Errors
/// When several clusters share the name server and none was named: the others must not be touched by accident.
pub async fn masters_of_one_cluster(
    admin: &Admin,
    cluster: Option<&str>,
) -> Result<Vec<BrokerAddress>, Failure> {
    let masters = admin.masters(cluster).await?;
    let mut clusters: Vec<&str> = masters.iter().map(|broker| broker.cluster.as_str()).collect();
    clusters.sort_unstable();
    clusters.dedup();
    match clusters.as_slice() {
        [] => Err(Failure::new(
            Exit::NotFound,
            format!("no broker is registered with {}", admin.name_servers().join(";")),
        )
        .next_step("start one: rmq broker start")),
        [_] => Ok(masters),
        several => Err(
            Failure::usage(format!("there are several clusters: {}", several.join(", ")))
                .next_step(format!("name one: --cluster {}", several[0])),
        ),
    }
}

/// The brokers that hold a topic, of one cluster if it is named.
pub async fn holders(
    admin: &Admin,
    topic: &str,
    cluster: Option<&str>,
) -> Result<Vec<BrokerAddress>, Failure> {
    let mut brokers = admin.brokers_of_topic(topic).await?;
    if let Some(cluster) = cluster {
        brokers.retain(|broker| broker.cluster == cluster);
    }
    if brokers.is_empty() {
        let place = cluster.map_or_else(String::new, |cluster| format!(" in cluster {cluster}"));
        return Err(
            Failure::new(Exit::NotFound, format!("topic {topic:?} not found{place}"))
                .next_step(format!("where it is: rmq topic route {topic}")),
        );
    }
    Ok(brokers)
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
