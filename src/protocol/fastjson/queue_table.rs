//! A map whose keys are queues. On the wire a key is the whole queue as a raw object, which is not JSON and is what Java
//! and Go read: `{{"brokerName":"b","queueId":0,"topic":"t"}:7}`.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::OBJECT_KEY_MARK;
use crate::protocol::request::body::MessageQueue;

/// Values by queue, in the order of topic, broker and queue id.
#[derive(Debug, Clone, PartialEq)]
pub struct QueueTable<V>(pub BTreeMap<MessageQueue, V>);

impl<V> Default for QueueTable<V> {
    fn default() -> Self {
        QueueTable(BTreeMap::new())
    }
}

impl<V> Deref for QueueTable<V> {
    type Target = BTreeMap<MessageQueue, V>;
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}
impl<V> DerefMut for QueueTable<V> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}
impl<V> FromIterator<(MessageQueue, V)> for QueueTable<V> {
    fn from_iter<I: IntoIterator<Item = (MessageQueue, V)>>(entries: I) -> Self {
        QueueTable(entries.into_iter().collect())
    }
}

impl<V: Serialize> Serialize for QueueTable<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.len()))?;
        for (queue, value) in self.iter() {
            let object = String::from_utf8(super::write(queue)).expect("JSON is UTF-8");
            map.serialize_entry(&format!("{OBJECT_KEY_MARK}{object}"), value)?;
        }
        map.end()
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for QueueTable<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(TableVisitor(PhantomData))
    }
}

struct TableVisitor<V>(PhantomData<V>);

impl<'de, V: Deserialize<'de>> Visitor<'de> for TableVisitor<V> {
    type Value = QueueTable<V>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a map with queues as keys, or a list of pairs")
    }

    /// Keys are raw objects, or strings that hold the object's text.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut table = QueueTable::default();
        while let Some((key, value)) = map.next_entry::<String, V>()? {
            let object = key.strip_prefix(OBJECT_KEY_MARK).unwrap_or(&key);
            table.insert(super::read(object.as_bytes()).map_err(A::Error::custom)?, value);
        }
        Ok(table)
    }

    /// What a client writes that keeps to strict JSON: `[[{queue},value],…]`.
    fn visit_seq<A: SeqAccess<'de>>(self, mut pairs: A) -> Result<Self::Value, A::Error> {
        let mut table = QueueTable::default();
        while let Some((queue, value)) = pairs.next_element()? {
            table.insert(queue, value);
        }
        Ok(table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(queue_id: i32) -> MessageQueue {
        MessageQueue {
            broker_name: "b".into(),
            queue_id,
            topic: "%RETRY%\"t".into(),
        }
    }

    #[test]
    fn keys_are_raw_objects() {
        let table: QueueTable<i64> = [(queue(0), 7), (queue(1), 8)].into_iter().collect();
        let text = String::from_utf8(crate::protocol::fastjson::write(&table)).unwrap();
        let topic = r#""topic":"%RETRY%\"t""#;
        assert_eq!(
            text,
            format!(
                r#"{{{{"brokerName":"b","queueId":0,{topic}}}:7,{{"brokerName":"b","queueId":1,{topic}}}:8}}"#
            )
        );
        assert_eq!(
            crate::protocol::fastjson::read::<QueueTable<i64>>(text.as_bytes()).unwrap(),
            table
        );
    }

    #[test]
    fn quoted_keys_and_pairs_are_read() {
        let quoted = br#"{"{\"brokerName\":\"b\",\"queueId\":0,\"topic\":\"t\"}":"5"}"#;
        let pairs = br#"[[{"brokerName":"b","queueId":0,"topic":"t"},5]]"#;
        for text in [&quoted[..], pairs] {
            let table: QueueTable<i64> = crate::protocol::fastjson::read(text).unwrap();
            assert_eq!(table.0.into_values().collect::<Vec<_>>(), [5]);
        }
    }
}
