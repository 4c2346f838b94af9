//! What a consumer wants of a topic: a tag expression `A || B`, matched by hash at the broker and by text here, since
//! different tags can share a hash (Apache: `FilterAPI`). Pure.

use crate::protocol::message::java_hash;
use crate::protocol::request::client::SubscriptionData;

/// The expression for everything.
pub const EVERYTHING: &str = "*";

/// One topic's subscription. Its version grows with every change: brokers keep the newest they have seen.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::client) struct Subscription {
    pub topic: String,
    /// The expression with single separators and no spare spaces; `*` for everything.
    pub expression: String,
    /// The wanted tags, sorted; none for everything.
    pub tags: Vec<String>,
    /// Epoch milliseconds, at least one more than the version before.
    pub version: i64,
}

impl Subscription {
    /// Reads an expression: tags between `||`; spaces and doubled separators do not matter; `*` or nothing is everything.
    pub fn new(topic: &str, expression: &str, version: i64) -> Subscription {
        let mut tags: Vec<String> = expression
            .split("||")
            .map(str::trim)
            .filter(|tag| !tag.is_empty())
            .map(str::to_owned)
            .collect();
        tags.sort();
        tags.dedup();
        if tags.iter().any(|tag| tag == EVERYTHING) {
            tags.clear();
        }
        let expression = if tags.is_empty() {
            EVERYTHING.to_owned()
        } else {
            tags.join(" || ")
        };
        Subscription {
            topic: topic.to_owned(),
            expression,
            tags,
            version,
        }
    }

    /// Whether a message with this tag is wanted.
    pub fn wants(&self, tag: Option<&str>) -> bool {
        self.tags.is_empty() || tag.is_some_and(|tag| self.tags.iter().any(|wanted| wanted == tag))
    }

    /// The subscription as a heartbeat says it.
    pub fn data(&self) -> SubscriptionData {
        SubscriptionData {
            code_set: self.tags.iter().map(|tag| java_hash(tag)).collect(),
            sub_string: self.expression.clone(),
            sub_version: self.version,
            tags_set: self.tags.clone(),
            topic: self.topic.clone(),
            ..SubscriptionData::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spaces_and_doubled_separators_do_not_matter() {
        for text in ["a||b", " b || a ", "|| a || || b ||", "a||b||a"] {
            let subscription = Subscription::new("T", text, 1);
            assert_eq!(
                (subscription.expression.as_str(), subscription.tags.len()),
                ("a || b", 2),
                "{text:?}"
            );
        }
        for text in ["", "  ", "*", "||", "a || *"] {
            assert_eq!(Subscription::new("T", text, 1).expression, EVERYTHING, "{text:?}");
        }
    }

    #[test]
    fn tags_of_one_hash_are_told_apart() {
        let subscription = Subscription::new("T", "BB", 1);
        assert_eq!(subscription.data().code_set, [java_hash("Aa")]);
        assert!(subscription.wants(Some("BB")));
        assert!(!subscription.wants(Some("Aa")));
        assert!(!subscription.wants(None));
        assert!(Subscription::new("T", "*", 1).wants(None));
    }
}
