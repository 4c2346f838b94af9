//! What a consumer wants of a topic, ready to be asked once per queue entry (Apache: `FilterAPI`,
//! `ExpressionMessageFilter`).
//!
//! Tags are compared by hash here and by text in the client, so a few messages too many may be sent, never one too few.

use smallvec::SmallVec;

use crate::broker::refusal::Refusal;
use crate::protocol::code::response;
use crate::protocol::message::java_hash;
use crate::protocol::request::client::SubscriptionData;
use crate::store::Filter;

/// Everything, in a tag expression.
const ALL: &str = "*";
/// The expression type of tags; an empty one means the same.
const TAG: &str = "TAG";
/// The expression type of SQL over properties.
const SQL92: &str = "SQL92";

/// A subscription as a client sent it, and the tag hashes it stands for.
#[derive(Debug, Clone, PartialEq)]
pub struct Subscription {
    /// As clients and tools see it.
    pub data: SubscriptionData,
    tags: Tags,
}

#[derive(Debug, Clone, PartialEq)]
enum Tags {
    Any,
    Hashes(SmallVec<[i32; 4]>),
}

impl Subscription {
    /// The subscription of a heartbeat. Its expression decides: not every client sends the hashes.
    pub fn new(data: SubscriptionData) -> Subscription {
        let tags = match data.class_filter_mode || !is_tag_type(&data.expression_type) {
            true => Tags::Any,
            false => tags_of(&data.sub_string).unwrap_or(Tags::Any),
        };
        Subscription { data, tags }
    }

    /// The subscription that a pull carries itself.
    ///
    /// # Errors
    /// 23 for an unknown kind of expression or one without a tag, 1 for SQL, which is switched off.
    pub fn parse(topic: &str, expression: &str, kind: &str, version: i64) -> Result<Subscription, Refusal> {
        if !is_tag_type(kind) && !kind.eq_ignore_ascii_case(SQL92) {
            return Err(parse_failed());
        }
        let data = SubscriptionData {
            topic: topic.to_string(),
            sub_string: expression.to_string(),
            expression_type: if kind.is_empty() {
                TAG.to_string()
            } else {
                kind.to_string()
            },
            sub_version: version,
            ..SubscriptionData::default()
        };
        data.require_tag_type()?;
        let tags = tags_of(expression).ok_or_else(parse_failed)?;
        Ok(Subscription { data, tags })
    }

    /// The refusal of what this broker cannot filter by (1), in Apache's words for `enablePropertyFilter=false`.
    pub fn require_tags(&self) -> Result<(), Refusal> {
        self.data.require_tag_type()
    }
}

impl Filter for Subscription {
    fn entry(&self, tags_code: i64) -> bool {
        match &self.tags {
            Tags::Any => true,
            // The code is a Java int, sign-extended in the queue entry.
            Tags::Hashes(hashes) => hashes.contains(&(tags_code as i32)),
        }
    }
}

trait TagType {
    fn require_tag_type(&self) -> Result<(), Refusal>;
}

impl TagType for SubscriptionData {
    fn require_tag_type(&self) -> Result<(), Refusal> {
        if is_tag_type(&self.expression_type) {
            return Ok(());
        }
        Err(Refusal::new(
            response::SYSTEM_ERROR,
            format!(
                "The broker does not support consumer to filter message by {}",
                self.expression_type
            ),
        ))
    }
}

fn is_tag_type(kind: &str) -> bool {
    kind.is_empty() || kind == TAG
}

fn parse_failed() -> Refusal {
    Refusal::new(
        response::SUBSCRIPTION_PARSE_FAILED,
        "parse the consumer's subscription failed",
    )
}

/// `A || B`: blanks and doubled separators do not matter. `None` if nothing is named.
fn tags_of(expression: &str) -> Option<Tags> {
    let expression = expression.trim();
    if expression.is_empty() || expression == ALL {
        return Some(Tags::Any);
    }
    let hashes: SmallVec<[i32; 4]> = expression
        .split("||")
        .map(str::trim)
        .filter(|tag| !tag.is_empty())
        .map(java_hash)
        .collect();
    (!hashes.is_empty()).then_some(Tags::Hashes(hashes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(expression: &str) -> Subscription {
        Subscription::parse("t", expression, "TAG", 0).expect(expression)
    }

    #[test]
    fn a_tag_expression_matches_its_tags_however_it_is_spaced() {
        for expression in ["A||B", " A || B ", "A||||B", "||A||B||"] {
            let subscription = parsed(expression);
            assert!(
                subscription.entry(i64::from(java_hash("A")))
                    && subscription.entry(i64::from(java_hash("B")))
            );
            assert!(!subscription.entry(i64::from(java_hash("C"))) && !subscription.entry(0));
        }
        assert!(parsed("*").entry(0) && parsed("").entry(7));
    }

    #[test]
    fn tags_of_equal_hash_are_sent_for_the_client_to_tell_apart() {
        assert!(parsed("BB").entry(i64::from(java_hash("Aa"))));
    }

    #[test]
    fn what_cannot_be_filtered_by_is_refused_not_ignored() {
        assert_eq!(
            Subscription::parse("t", "a > 1", "SQL92", 0)
                .expect_err("no SQL")
                .code,
            response::SYSTEM_ERROR
        );
        for (expression, kind) in [("a", "XPATH"), ("||", "TAG")] {
            let refusal = Subscription::parse("t", expression, kind, 0).expect_err(expression);
            assert_eq!(refusal.code, response::SUBSCRIPTION_PARSE_FAILED);
        }
    }
}
