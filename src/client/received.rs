//! A message as a consumer or an admin call hands it to the user: decoded, decompressed, under its original topic.

use std::net::SocketAddr;

use bytes::Bytes;

use super::compression::{self, BadBody};
use crate::protocol::message::{BadRecord, RecordView, properties, property, records};
use crate::protocol::request::body::MessageQueue;

/// A message that was read from a broker.
#[derive(Clone, Debug)]
pub struct ReceivedMessage {
    /// The topic it was sent to. A retry shows the topic of its first delivery where it is known.
    pub topic: String,
    /// Where it lies now: for a retry, a queue of the group's retry topic.
    pub queue: MessageQueue,
    /// Its number in that queue.
    pub queue_offset: u64,
    /// Its place in the broker's log.
    pub log_offset: u64,
    /// The id its producer gave it; the same for all copies. Without one, [`ReceivedMessage::offset_message_id`].
    pub message_id: String,
    /// The id that names this copy: broker address and log offset.
    pub offset_message_id: String,
    pub tag: Option<String>,
    pub keys: Vec<String>,
    /// All properties, tag, keys and ids included, in the order they are stored.
    pub properties: Vec<(String, String)>,
    /// The body as its producer passed it; the stored bytes where [`ReceivedMessage::bad_body`] says why.
    pub body: Bytes,
    /// Why the body could not be decompressed.
    pub bad_body: Option<BadBody>,
    /// The producer's clock, epoch milliseconds.
    pub born_time: i64,
    pub born_host: SocketAddr,
    /// The broker's clock, epoch milliseconds.
    pub store_time: i64,
    pub store_host: SocketAddr,
    /// How often it was consumed in vain before: 0 at the first delivery.
    pub attempt: i32,
    /// The user's own 32 bits.
    pub flag: i32,
    /// Bits of `sysFlag`, see [`crate::protocol::message::sys_flag`].
    pub sys_flag: i32,
    /// Size of the stored record in bytes.
    pub stored_bytes: usize,
}

impl ReceivedMessage {
    /// The value of one property.
    pub fn property(&self, name: &str) -> Option<&str> {
        self.properties
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// The message in a record that `broker_name` sent.
    pub(super) fn from_record(record: &RecordView<'_>, broker_name: &str) -> ReceivedMessage {
        let stored = Bytes::copy_from_slice(record.body);
        let (body, bad_body) = match compression::inflate(stored.clone(), record.sys_flag) {
            Ok(body) => (body, None),
            Err(bad) => (stored, Some(bad)),
        };
        let offset_message_id = record.offset_message_id();
        ReceivedMessage {
            topic: original_topic(record).to_owned(),
            queue: MessageQueue {
                topic: record.topic.to_owned(),
                broker_name: broker_name.to_owned(),
                queue_id: record.queue_id,
            },
            queue_offset: record.queue_offset,
            log_offset: record.physical_offset,
            message_id: record
                .property(property::UNIQ_KEY)
                .unwrap_or(&offset_message_id)
                .to_owned(),
            offset_message_id,
            tag: record.property(property::TAGS).map(str::to_owned),
            keys: record.property(property::KEYS).map_or_else(Vec::new, split_keys),
            properties: properties(record.properties)
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            body,
            bad_body,
            born_time: record.born_timestamp,
            born_host: record.born_host,
            store_time: record.store_timestamp,
            store_host: record.store_host,
            attempt: record.reconsume_times,
            flag: record.flag,
            sys_flag: record.sys_flag,
            stored_bytes: record.len(),
        }
    }
}

/// The messages of a PULL's or a query's answer. Bytes that are no record end it with an error: what follows them
/// cannot be found.
pub(super) fn decode_all(body: &[u8], broker_name: &str) -> Result<Vec<ReceivedMessage>, BadRecord> {
    records(body)
        .map(|record| Ok(ReceivedMessage::from_record(&record?, broker_name)))
        .collect()
}

fn split_keys(keys: &str) -> Vec<String> {
    keys.split(' ')
        .filter(|key| !key.is_empty())
        .map(str::to_owned)
        .collect()
}

fn original_topic<'a>(record: &RecordView<'a>) -> &'a str {
    match record.property(property::RETRY_TOPIC) {
        Some(original) if record.topic.starts_with("%RETRY%") => original,
        _ => record.topic,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::message::Message;

    fn received(topic: &str, properties: &str) -> ReceivedMessage {
        let host: SocketAddr = "127.0.0.1:10911".parse().expect("an address");
        let message = Message {
            topic,
            queue_id: 0,
            flag: 0,
            sys_flag: 0,
            born_timestamp: 1,
            born_host: host,
            reconsume_times: 2,
            prepared_transaction_offset: 0,
            body: b"body",
            properties,
        };
        let mut bytes = Vec::new();
        message.encode(host, &mut bytes);
        decode_all(&bytes, "broker-a").expect("one record").remove(0)
    }

    #[test]
    fn a_retry_shows_its_original_topic_where_known_and_never_an_empty_one() {
        let known = received("%RETRY%group", "RETRY_TOPIC\u{1}orders\u{2}");
        assert_eq!(
            (known.topic.as_str(), known.queue.topic.as_str()),
            ("orders", "%RETRY%group")
        );
        assert_eq!(received("%RETRY%group", "").topic, "%RETRY%group");
        assert_eq!(received("plain", "RETRY_TOPIC\u{1}orders\u{2}").topic, "plain");
    }

    #[test]
    fn keys_tag_and_ids_are_taken_from_the_properties() {
        let message = received("T", "KEYS\u{1}a  b\u{2}TAGS\u{1}t\u{2}UNIQ_KEY\u{1}ID");
        assert_eq!(message.keys, ["a", "b"]);
        assert_eq!(
            (message.tag.as_deref(), message.message_id.as_str()),
            (Some("t"), "ID")
        );
        assert_eq!(message.attempt, 2);
        let without = received("T", "");
        assert_eq!(without.message_id, without.offset_message_id);
    }
}
