//! A queue as people name it: `ID`, or `BROKER:ID` where several brokers hold the topic.

use std::fmt;

use rmq::protocol::request::body::MessageQueue;

/// The name of a queue of some topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueName {
    pub broker: Option<String>,
    pub id: i32,
}

/// Reads a name.
pub fn parse(text: &str) -> Result<QueueName, String> {
    let (broker, id) = match text.rsplit_once(':') {
        Some((broker, id)) => (Some(broker.to_owned()), id),
        None => (None, text),
    };
    let id = id
        .parse()
        .ok()
        .filter(|id| *id >= 0)
        .ok_or("expected ID or BROKER:ID, as in 0 or broker-a:0")?;
    Ok(QueueName { broker, id })
}

impl QueueName {
    /// Whether this queue is meant, whatever its topic.
    pub fn is(&self, queue: &MessageQueue) -> bool {
        queue.queue_id == self.id
            && self
                .broker
                .as_ref()
                .is_none_or(|broker| *broker == queue.broker_name)
    }
}

impl fmt::Display for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.broker {
            Some(broker) => write!(f, "{broker}:{}", self.id),
            None => write!(f, "{}", self.id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_a_broker_means_that_queue_on_any() {
        let named = parse("3").expect("a name");
        assert!(named.is(&MessageQueue::new("t", "a", 3)) && named.is(&MessageQueue::new("t", "b", 3)));
        let named = parse("a:3").expect("a name");
        assert!(named.is(&MessageQueue::new("t", "a", 3)) && !named.is(&MessageQueue::new("t", "b", 3)));
        assert_eq!(named.to_string(), "a:3");
        assert!(parse("x").is_err() && parse("-1").is_err() && parse("a:").is_err());
    }
}
