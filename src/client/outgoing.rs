//! A message on its way out: what the user wrote, and the bytes and flags a SEND carries for it. Pure but for the message
//! id. Called by the producer.

use bytes::Bytes;

use super::compression::{self, ZLIB_FLAG};
use super::ids;
use crate::protocol::message::{
    BatchItem, NAME_VALUE_SEPARATOR, PROPERTY_SEPARATOR, encode_batch_item, property, push_property,
};
use crate::protocol::{PROPERTIES_BYTES_MAX, RETRY_TOPIC_BYTES_MAX, TOPIC_BYTES_MAX};

/// Most messages of one batch: their ids are joined into one answer.
pub const BATCH_MESSAGES_MAX: usize = 4096;

/// A message to be sent.
///
/// ```
/// use rmq::client::OutgoingMessage;
/// let message = OutgoingMessage::new("orders", "one book").tag("paid").key("order-17").property("shop", "Berlin");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct OutgoingMessage {
    pub topic: String,
    pub body: Bytes,
    /// The user's own 32 bits; brokers only carry them.
    pub flag: i32,
    /// In the order they were set; names are unique.
    properties: Vec<(String, String)>,
}

/// Why a message was not sent: nothing left this client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadMessage {
    #[error("the topic {0:?} is not a topic name: use 1 to {TOPIC_BYTES_MAX} letters, digits and %|-_")]
    Topic(String),
    #[error("the message for {0} has no body: RocketMQ refuses empty bodies")]
    EmptyBody(String),
    #[error(
        "the body of {size} bytes is larger than {max}: raise maxMessageSize on broker and client, or split it"
    )]
    BodyTooLarge { size: usize, max: usize },
    #[error("the properties take {0} bytes, more than {PROPERTIES_BYTES_MAX}")]
    PropertiesTooLarge(usize),
    #[error("the property {0:?} is empty, or holds a byte 1 or 2, which separate properties")]
    Property(String),
    #[error("{0}")]
    Batch(&'static str),
}

/// What a SEND carries for a message or a batch.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    pub topic: String,
    /// One id a message, in order.
    pub message_ids: Vec<String>,
    pub body: Bytes,
    pub flag: i32,
    pub sys_flag: i32,
    pub properties: String,
    pub batch: bool,
}

impl OutgoingMessage {
    pub fn new(topic: impl Into<String>, body: impl Into<Bytes>) -> OutgoingMessage {
        OutgoingMessage {
            topic: topic.into(),
            body: body.into(),
            flag: 0,
            properties: Vec::new(),
        }
    }

    /// The one tag, by which consumers select.
    pub fn tag(self, tag: impl Into<String>) -> OutgoingMessage {
        self.property(property::TAGS, tag)
    }

    /// One more key, by which the message is found. A key holds no space: spaces separate keys.
    pub fn key(mut self, key: &str) -> OutgoingMessage {
        let keys = match self.property_of(property::KEYS) {
            Some(keys) => format!("{keys} {key}"),
            None => key.to_owned(),
        };
        self.set(property::KEYS, keys);
        self
    }

    /// Delivered later: levels 1 to 18, which the broker maps to 1 s … 2 h.
    pub fn delay_level(self, level: u8) -> OutgoingMessage {
        self.property(property::DELAY, level.to_string())
    }

    /// Sets a property; an older value goes.
    pub fn property(mut self, name: impl AsRef<str>, value: impl Into<String>) -> OutgoingMessage {
        self.set(name.as_ref(), value.into());
        self
    }

    /// The user's own 32 bits.
    pub fn flag(mut self, flag: i32) -> OutgoingMessage {
        self.flag = flag;
        self
    }

    fn set(&mut self, name: &str, value: String) {
        match self.properties.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = value,
            None => self.properties.push((name.to_owned(), value)),
        }
    }

    fn property_of(&self, name: &str) -> Option<&str> {
        self.properties
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// Id and encoded properties. A message that already has an id (one that is sent again) keeps it.
    fn encode_properties(&self) -> Result<(String, String), BadMessage> {
        let mut encoded = String::new();
        for (name, value) in &self.properties {
            let separators = [NAME_VALUE_SEPARATOR, PROPERTY_SEPARATOR];
            if name.is_empty() || value.is_empty() || name.contains(separators) || value.contains(separators)
            {
                return Err(BadMessage::Property(name.clone()));
            }
            push_property(&mut encoded, name, value);
        }
        let id = match self.property_of(property::UNIQ_KEY) {
            Some(id) => id.to_owned(),
            None => {
                let id = ids::message_id();
                push_property(&mut encoded, property::UNIQ_KEY, &id);
                id
            }
        };
        if self.property_of(property::WAIT).is_none() {
            push_property(&mut encoded, property::WAIT, "true");
        }
        if encoded.len() > PROPERTIES_BYTES_MAX {
            return Err(BadMessage::PropertiesTooLarge(encoded.len()));
        }
        Ok((id, encoded))
    }

    fn check(&self, body_bytes_max: usize) -> Result<(), BadMessage> {
        check_topic(&self.topic)?;
        if self.body.is_empty() {
            return Err(BadMessage::EmptyBody(self.topic.clone()));
        }
        if self.body.len() > body_bytes_max {
            return Err(BadMessage::BodyTooLarge {
                size: self.body.len(),
                max: body_bytes_max,
            });
        }
        Ok(())
    }

    /// Checks and encodes. Bodies of `compress_from` bytes and more are compressed where that makes them smaller.
    pub(super) fn prepare(
        &self,
        body_bytes_max: usize,
        compress_from: usize,
    ) -> Result<Prepared, BadMessage> {
        self.check(body_bytes_max)?;
        let (id, properties) = self.encode_properties()?;
        let small = (self.body.len() >= compress_from).then(|| compression::deflate(&self.body));
        let (body, sys_flag) = match small.filter(|small| small.len() < self.body.len()) {
            Some(small) => (small, ZLIB_FLAG),
            None => (self.body.clone(), 0),
        };
        Ok(Prepared {
            topic: self.topic.clone(),
            message_ids: vec![id],
            body,
            flag: self.flag,
            sys_flag,
            properties,
            batch: false,
        })
    }
}

/// Checks and encodes messages of one topic as one SEND, stored all or not at all, in one queue.
pub(super) fn prepare_batch(
    messages: &[OutgoingMessage],
    body_bytes_max: usize,
) -> Result<Prepared, BadMessage> {
    let first = messages
        .first()
        .ok_or(BadMessage::Batch("a batch holds at least one message"))?;
    if messages.len() > BATCH_MESSAGES_MAX {
        return Err(BadMessage::Batch("a batch holds at most 4096 messages"));
    }
    let mut body = Vec::new();
    let mut message_ids = Vec::with_capacity(messages.len());
    for message in messages {
        message.check(body_bytes_max)?;
        if message.topic != first.topic {
            return Err(BadMessage::Batch("the messages of a batch have one topic"));
        }
        if message.topic.starts_with("%RETRY%") || message.property_of(property::DELAY).is_some() {
            return Err(BadMessage::Batch(
                "a batch holds neither delayed messages nor retries",
            ));
        }
        let (id, properties) = message.encode_properties()?;
        message_ids.push(id);
        encode_batch_item(
            &BatchItem {
                flag: message.flag,
                body: &message.body,
                properties: &properties,
            },
            &mut body,
        );
    }
    if body.len() > body_bytes_max {
        return Err(BadMessage::BodyTooLarge {
            size: body.len(),
            max: body_bytes_max,
        });
    }
    let mut properties = String::new();
    push_property(&mut properties, property::WAIT, "true");
    Ok(Prepared {
        topic: first.topic.clone(),
        message_ids,
        body: body.into(),
        flag: 0,
        sys_flag: 0,
        properties,
        batch: true,
    })
}

/// Whether a text may name a topic; retry and dead letter topics may be longer.
fn check_topic(topic: &str) -> Result<(), BadMessage> {
    let retry = topic.starts_with("%RETRY%") || topic.starts_with("%DLQ%");
    let max = if retry {
        RETRY_TOPIC_BYTES_MAX
    } else {
        TOPIC_BYTES_MAX
    };
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"%|-_".contains(&byte);
    if topic.is_empty() || topic.len() > max || !topic.bytes().all(legal) {
        return Err(BadMessage::Topic(topic.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::message::{decode_batch, property_of};

    const MAX: usize = 4 * 1024 * 1024;

    #[test]
    fn a_message_carries_its_id_tag_and_keys() {
        let message = OutgoingMessage::new("T", "body").tag("A").key("k1").key("k2");
        let prepared = message.prepare(MAX, 4096).expect("a legal message");
        let text = |name| property_of(&prepared.properties, name);
        assert_eq!(text("TAGS"), Some("A"));
        assert_eq!(text("KEYS"), Some("k1 k2"));
        assert_eq!(text("WAIT"), Some("true"));
        assert_eq!(text("UNIQ_KEY"), Some(prepared.message_ids[0].as_str()));
        assert_eq!(prepared.sys_flag, 0);
    }

    #[test]
    fn large_bodies_are_compressed_when_that_helps() {
        let text = OutgoingMessage::new("T", "a".repeat(4096))
            .prepare(MAX, 4096)
            .expect("legal");
        assert_eq!(text.sys_flag, 0x301);
        assert!(text.body.len() < 100);
        let noise: Vec<u8> = (0..5000).map(|_| fastrand::u8(..)).collect();
        let noise = OutgoingMessage::new("T", noise)
            .prepare(MAX, 4096)
            .expect("legal");
        assert_eq!((noise.sys_flag, noise.body.len()), (0, 5000));
    }

    #[test]
    fn every_message_of_a_batch_has_its_own_id() {
        let messages = [
            OutgoingMessage::new("T", "one").tag("A"),
            OutgoingMessage::new("T", "two").flag(7),
        ];
        let prepared = prepare_batch(&messages, MAX).expect("legal");
        let items = decode_batch(&prepared.body).expect("whole items");
        let ids: Vec<_> = items
            .iter()
            .filter_map(|item| property_of(item.properties, "UNIQ_KEY"))
            .collect();
        assert_eq!(ids, prepared.message_ids);
        assert_ne!(ids[0], ids[1]);
        assert_eq!((items[1].body, items[1].flag), (&b"two"[..], 7));
    }

    #[test]
    fn what_a_broker_would_refuse_does_not_leave_the_client() {
        let refused = |message: OutgoingMessage| message.prepare(100, 4096).expect_err("refused");
        assert!(matches!(
            refused(OutgoingMessage::new("", "x")),
            BadMessage::Topic(_)
        ));
        assert!(matches!(
            refused(OutgoingMessage::new("a b", "x")),
            BadMessage::Topic(_)
        ));
        assert!(matches!(
            refused(OutgoingMessage::new("T", "")),
            BadMessage::EmptyBody(_)
        ));
        assert!(matches!(
            refused(OutgoingMessage::new("T", "x".repeat(101))),
            BadMessage::BodyTooLarge { .. }
        ));
        let glued = OutgoingMessage::new("T", "x").property("a", "b\u{2}c");
        assert_eq!(refused(glued), BadMessage::Property("a".into()));
        let long = OutgoingMessage::new("T", "x").property("a", "b".repeat(32768));
        assert!(matches!(refused(long), BadMessage::PropertiesTooLarge(_)));
        let two_topics = [OutgoingMessage::new("T", "x"), OutgoingMessage::new("U", "x")];
        assert!(matches!(
            prepare_batch(&two_topics, 100),
            Err(BadMessage::Batch(_))
        ));
    }
}
