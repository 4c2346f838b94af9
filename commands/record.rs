//! A message at the terminal: the shape that is printed and, line by line, read back (`--jsonl`).
//!
//! ```json
//! {"topic":"orders","broker":"broker-a","queue":2,"offset":17,"msgId":"7F…","offsetMsgId":"7F…","keys":["k1"],"tag":"paid",
//!  "properties":{"region":"eu"},"body":"text","bornTime":1763805600000,"storeTime":1763805600250,"attempt":1,"flag":0}
//! ```
//! A body that is not UTF-8 is `bodyBase64` instead. Times are epoch milliseconds, unknown is null. Reading ignores where a
//! message was, its ids and times, and what brokers add to it: `rmq consume A --jsonl | rmq send B --jsonl` sends the same
//! keys, tag, properties, flag and bytes.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rmq::client::ReceivedMessage;
use rmq::protocol::message::property;
use serde::de::IgnoredAny;
use serde::ser::{Error as _, SerializeStruct};
use serde::{Deserialize, Serialize, Serializer};

/// A stored message as it is printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub topic: String,
    /// Name of the broker that holds it, where known.
    pub broker: Option<String>,
    pub queue: i32,
    /// Queue offset.
    pub offset: u64,
    /// The id its producer gave it.
    pub msg_id: Option<String>,
    /// The id made of its broker's address and its place in the log.
    pub offset_msg_id: String,
    pub keys: Vec<String>,
    pub tag: Option<String>,
    /// All properties but those that have members of their own.
    pub properties: BTreeMap<String, String>,
    pub body: Vec<u8>,
    /// The producer's clock, epoch milliseconds.
    pub born_time: i64,
    /// The broker's clock, epoch milliseconds.
    pub store_time: i64,
    /// How often it was consumed in vain before: 0 at the first delivery.
    pub attempt: i32,
    pub flag: i32,
}

/// Properties that have members of their own in the record.
const SHOWN_APART: [&str; 3] = [property::KEYS, property::TAGS, property::UNIQ_KEY];

/// Properties that brokers and clients add on the way: a message sent again gets its own.
const ADDED_ON_THE_WAY: [&str; 22] = [
    property::WAIT,
    property::RETRY_TOPIC,
    property::REAL_TOPIC,
    property::REAL_QUEUE_ID,
    property::RECONSUME_TIME,
    property::MAX_RECONSUME_TIMES,
    property::ORIGIN_MESSAGE_ID,
    property::DLQ_ORIGIN_TOPIC,
    property::DLQ_ORIGIN_MESSAGE_ID,
    property::UNIQ_KEY,
    property::MSG_REGION,
    property::TRACE_ON,
    property::CLUSTER,
    property::TRAN_MSG,
    property::PRODUCER_GROUP,
    property::POP_CK,
    property::INNER_NUM,
    property::INNER_BASE,
    property::INSTANCE_ID,
    "MIN_OFFSET",
    "MAX_OFFSET",
    "CONSUME_START_TIME",
];

impl From<ReceivedMessage> for Record {
    fn from(message: ReceivedMessage) -> Record {
        let properties = message
            .properties
            .iter()
            .filter(|(name, _)| !SHOWN_APART.contains(&name.as_str()));
        Record {
            properties: properties.cloned().collect(),
            msg_id: message.property(property::UNIQ_KEY).map(str::to_owned),
            topic: message.topic,
            broker: Some(message.queue.broker_name),
            queue: message.queue.queue_id,
            offset: message.queue_offset,
            offset_msg_id: message.offset_message_id,
            keys: message.keys,
            tag: message.tag,
            body: message.body.to_vec(),
            born_time: message.born_time,
            store_time: message.store_time,
            attempt: message.attempt,
            flag: message.flag,
        }
    }
}

impl Record {
    /// Where it is: the form that `rmq msg show` takes.
    pub fn place(&self) -> String {
        place(
            &self.topic,
            self.broker.as_deref().unwrap_or("-"),
            self.queue,
            self.offset,
        )
    }
}

/// `TOPIC/BROKER/QUEUE@OFFSET`.
pub fn place(topic: &str, broker: &str, queue: i32, offset: u64) -> String {
    format!("{topic}/{broker}/{queue}@{offset}")
}

impl Serialize for Record {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Record", 14)?;
        object.serialize_field("topic", &self.topic)?;
        object.serialize_field("broker", &self.broker)?;
        object.serialize_field("queue", &self.queue)?;
        object.serialize_field("offset", &self.offset)?;
        object.serialize_field("msgId", &self.msg_id)?;
        object.serialize_field("offsetMsgId", &self.offset_msg_id)?;
        object.serialize_field("keys", &self.keys)?;
        object.serialize_field("tag", &self.tag)?;
        object.serialize_field("properties", &self.properties)?;
        match std::str::from_utf8(&self.body) {
            Ok(text) => object.serialize_field("body", text)?,
            Err(_) => object.serialize_field("bodyBase64", &BASE64.encode(&self.body))?,
        }
        object.serialize_field("bornTime", &self.born_time)?;
        object.serialize_field("storeTime", &self.store_time)?;
        object.serialize_field("attempt", &self.attempt)?;
        object.serialize_field("flag", &self.flag)?;
        object.end()
    }
}

/// A message to be sent, as one JSON line describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Draft {
    pub keys: Vec<String>,
    pub tag: Option<String>,
    pub properties: BTreeMap<String, String>,
    pub body: Vec<u8>,
    pub flag: i32,
}

/// The members of a JSON line. Those that are ignored are listed, so that a misspelt one is an error.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct JsonLine {
    #[serde(default, rename = "topic")]
    _topic: IgnoredAny,
    #[serde(default, rename = "broker")]
    _broker: IgnoredAny,
    #[serde(default, rename = "queue")]
    _queue: IgnoredAny,
    #[serde(default, rename = "offset")]
    _offset: IgnoredAny,
    #[serde(default, rename = "msgId")]
    _msg_id: IgnoredAny,
    #[serde(default, rename = "offsetMsgId")]
    _offset_msg_id: IgnoredAny,
    #[serde(default, rename = "bornTime")]
    _born_time: IgnoredAny,
    #[serde(default, rename = "storeTime")]
    _store_time: IgnoredAny,
    #[serde(default, rename = "attempt")]
    _attempt: IgnoredAny,
    #[serde(default)]
    keys: Option<Vec<String>>,
    #[serde(default)]
    tag: Option<String>,
    #[serde(default)]
    properties: Option<BTreeMap<String, String>>,
    #[serde(default)]
    body: Option<String>,
    #[serde(default)]
    body_base64: Option<String>,
    #[serde(default)]
    flag: Option<i32>,
}

/// A key that RocketMQ keeps as one: in the property it is kept in, white space separates keys.
pub fn parse_key(key: &str) -> Result<String, String> {
    if key.contains(char::is_whitespace) {
        return Err(format!("key {key:?}: a key holds no white space"));
    }
    Ok(key.to_owned())
}

/// What to do instead of giving a message a property of this name, where RocketMQ uses it itself.
pub fn reserved(name: &str) -> Option<&'static str> {
    match name {
        property::KEYS => Some("keys are given with --key"),
        property::TAGS => Some("the tag is given with --tag"),
        name if ADDED_ON_THE_WAY.contains(&name) => Some("RocketMQ sets it itself"),
        _ => None,
    }
}

impl Draft {
    /// Reads one JSON line.
    pub fn from_json(line: &[u8]) -> Result<Draft, serde_json::Error> {
        let line: JsonLine = serde_json::from_slice(line)?;
        let body = match (line.body, line.body_base64) {
            (Some(text), None) => text.into_bytes(),
            (None, Some(encoded)) => BASE64
                .decode(encoded)
                .map_err(|error| bad_line(format!("bodyBase64: {error}")))?,
            (Some(_), Some(_)) => return Err(bad_line("body and bodyBase64 are both there".to_owned())),
            (None, None) => return Err(bad_line("neither body nor bodyBase64".to_owned())),
        };
        let keys = line.keys.unwrap_or_default();
        keys.iter()
            .try_for_each(|key| parse_key(key).map(drop))
            .map_err(bad_line)?;
        let mut properties = line.properties.unwrap_or_default();
        properties.retain(|name, _| !ADDED_ON_THE_WAY.contains(&name.as_str()));
        Ok(Draft {
            keys,
            tag: line.tag,
            properties,
            body,
            flag: line.flag.unwrap_or(0),
        })
    }
}

fn bad_line(what: String) -> serde_json::Error {
    serde_json::Error::custom(what)
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A message with something in every member; its body is not UTF-8.
    pub fn order() -> Record {
        Record {
            topic: "orders".to_owned(),
            broker: Some("broker-a".to_owned()),
            queue: 2,
            offset: 17,
            msg_id: Some("7F000001".to_owned()),
            offset_msg_id: "7F00000100002A9F0000000000000000".to_owned(),
            keys: vec!["k1".to_owned(), "k2".to_owned()],
            tag: Some("paid".to_owned()),
            properties: BTreeMap::from([("region".to_owned(), "eu".to_owned())]),
            body: b"two\xff".to_vec(),
            born_time: 1_763_805_600_000,
            store_time: 1_763_805_600_250,
            attempt: 1,
            flag: 7,
        }
    }

    fn sent_again(record: &Record) -> Draft {
        let line = serde_json::to_vec(record).expect("a record is JSON");
        Draft::from_json(&line).expect("what is printed is read")
    }

    #[test]
    fn what_is_printed_reads_back_as_the_same_message() {
        for body in [&b"two\xff"[..], b"text \xc3\xa9\n\"quoted\"", b"\0"] {
            let record = Record {
                body: body.to_vec(),
                ..order()
            };
            let draft = sent_again(&record);
            assert_eq!(
                (draft.keys, draft.tag, draft.properties, draft.body, draft.flag),
                (
                    record.keys,
                    record.tag,
                    record.properties,
                    record.body,
                    record.flag
                )
            );
        }
    }

    #[test]
    fn text_is_body_and_other_bytes_are_base64() {
        let line = serde_json::to_string(&order()).expect("a record is JSON");
        assert!(line.contains(r#""bodyBase64":"dHdv/w==""#), "{line}");
        let text = Record {
            body: b"two".to_vec(),
            tag: None,
            ..order()
        };
        let line = serde_json::to_string(&text).expect("a record is JSON");
        assert!(
            line.contains(r#""body":"two""#) && line.contains(r#""tag":null"#),
            "{line}"
        );
    }

    #[test]
    fn what_brokers_add_is_not_sent_again() {
        let mut record = order();
        record
            .properties
            .insert(property::RETRY_TOPIC.to_owned(), "orders".to_owned());
        record
            .properties
            .insert(property::MSG_REGION.to_owned(), "DefaultRegion".to_owned());
        assert_eq!(sent_again(&record).properties, order().properties);
    }

    #[test]
    fn a_misspelt_member_is_an_error() {
        let error = Draft::from_json(br#"{"body":"x","tags":"A"}"#)
            .unwrap_err()
            .to_string();
        assert!(error.contains("unknown field `tags`"), "{error}");
        assert!(Draft::from_json(b"{}").is_err());
        assert!(Draft::from_json(b"x").is_err());
    }

    #[test]
    fn a_key_with_white_space_is_an_error_and_not_two_keys() {
        let error = Draft::from_json(br#"{"body":"x","keys":["a b"]}"#).unwrap_err();
        assert!(
            error.to_string().contains("a key holds no white space"),
            "{error}"
        );
    }

    #[test]
    fn only_a_body_is_needed() {
        let draft = Draft::from_json(br#"{"body":"x"}"#).expect("a body is enough");
        assert_eq!(
            draft,
            Draft {
                body: b"x".to_vec(),
                ..Draft::default()
            }
        );
    }
}
