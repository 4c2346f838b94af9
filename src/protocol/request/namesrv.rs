//! What brokers and tools ask a name server: 100–106, 205, 206, 216, 217, 219, 224, 304, 311–313, 318, 319, 322, 327, 901,
//! 904, and the body of a registration in its two forms.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use serde::{Deserialize, Serialize};

use super::topic::{TopicConfig, TopicFilterType, TopicTable};
use crate::headers;
use crate::protocol::FRAME_BYTES_MAX;
use crate::protocol::fastjson::{self, BadBody};

/// Namespace of the settings of order topics.
pub const NAMESPACE_ORDER_TOPIC_CONFIG: &str = "ORDER_TOPIC_CONFIG";

/// Since this version (5.0.0) a compressed registration ends with the static topics.
const VERSION_WITH_MAPPINGS: i32 = 413;
/// Largest compressed registration once it is unpacked.
const REGISTRATION_BYTES_MAX: usize = 4 * FRAME_BYTES_MAX;

headers! {
    /// PUT_KV_CONFIG (100).
    pub struct PutKvRequest {
        "namespace" namespace: String,
        "key" key: String,
        "value" value: String,
    }

    /// GET_KV_CONFIG (101), DELETE_KV_CONFIG (102).
    pub struct KvRequest {
        "namespace" namespace: String,
        "key" key: String,
    }

    /// Answer of 101.
    pub struct KvReply {
        "value" value: Option<String>,
    }

    /// GET_KVLIST_BY_NAMESPACE (219).
    pub struct NamespaceRequest {
        "namespace" namespace: String,
    }

    /// REGISTER_BROKER (103).
    pub struct RegisterBrokerRequest {
        "brokerName" broker_name: String,
        "brokerAddr" broker_addr: String,
        "clusterName" cluster_name: String,
        "haServerAddr" ha_server_addr: String = "",
        "brokerId" broker_id: i64,
        /// After this many milliseconds of silence the broker is gone.
        "heartbeatTimeoutMillis" heartbeat_timeout_ms: Option<i64>,
        "enableActingMaster" enable_acting_master: Option<bool>,
        /// Not to be trusted: 5.5.0 says false and compresses.
        "compressed" compressed: bool = false,
        /// CRC-32 of the body without its sign bit; 0: not to be checked.
        "bodyCrc32" body_crc32: i32 = 0,
        "zoneName" zone_name: Option<String>,
    }

    /// Answer of 103: for a slave, its master.
    pub struct RegisterBrokerReply {
        "haServerAddr" ha_server_addr: Option<String>,
        "masterAddr" master_addr: Option<String>,
    }

    /// UNREGISTER_BROKER (104), QUERY_DATA_VERSION (322).
    pub struct BrokerRequest {
        "brokerName" broker_name: String,
        "brokerAddr" broker_addr: String,
        "clusterName" cluster_name: String,
        "brokerId" broker_id: i64,
    }

    /// Answer of 322.
    pub struct DataVersionReply {
        "changed" changed: bool,
    }

    /// GET_ROUTEINFO_BY_TOPIC (105).
    pub struct RouteRequest {
        "topic" topic: String,
        "acceptStandardJsonOnly" accept_standard_json_only: bool = false,
    }

    /// WIPE_WRITE_PERM_OF_BROKER (205), ADD_WRITE_PERM_OF_BROKER (327).
    pub struct BrokerNameRequest {
        "brokerName" broker_name: String,
    }

    /// Answer of 205.
    pub struct WipeWritePermReply {
        "wipeTopicCount" wipe_topic_count: i32,
    }

    /// Answer of 327.
    pub struct AddWritePermReply {
        "addTopicCount" add_topic_count: i32,
    }

    /// DELETE_TOPIC_IN_NAMESRV (216).
    pub struct DeleteTopicRequest {
        "topic" topic: String,
        "clusterName" cluster_name: Option<String>,
    }

    /// GET_TOPICS_BY_CLUSTER (224).
    pub struct ClusterRequest {
        "cluster" cluster: String,
    }

    /// GET_BROKER_MEMBER_GROUP (901).
    pub struct MemberGroupRequest {
        "clusterName" cluster_name: String,
        "brokerName" broker_name: String,
    }

    /// BROKER_HEARTBEAT (904).
    pub struct BrokerHeartbeatRequest {
        "clusterName" cluster_name: String,
        "brokerAddr" broker_addr: String,
        "brokerName" broker_name: String,
        "brokerId" broker_id: Option<i64>,
        "epoch" epoch: Option<i32>,
        "maxOffset" max_offset: Option<i64>,
        "confirmOffset" confirm_offset: Option<i64>,
        /// Java's spelling.
        "heartbeatTimeoutMills" heartbeat_timeout_ms: Option<i64>,
        "electionPriority" election_priority: Option<i32>,
    }

    /// NOTIFY_MIN_BROKER_ID_CHANGE (905), name server to broker.
    pub struct MinBrokerIdRequest {
        "minBrokerId" min_broker_id: Option<i64>,
        "brokerName" broker_name: Option<String>,
        "minBrokerAddr" min_broker_addr: Option<String>,
        "offlineBrokerAddr" offline_broker_addr: Option<String>,
        "haBrokerAddr" ha_broker_addr: Option<String>,
    }
}

/// Body of 103.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RegisterBrokerBody {
    pub filter_server_list: Vec<String>,
    pub topic_config_serialize_wrapper: TopicTable,
}

impl RegisterBrokerBody {
    /// Reads a body in either form; the first byte of a zlib stream tells the compressed one.
    pub fn read(body: &[u8], version: i32) -> Result<RegisterBrokerBody, BadBody> {
        match body.first() {
            Some(0x78) => Self::read_compressed(body, version),
            _ => fastjson::read(body),
        }
    }

    fn read_compressed(body: &[u8], version: i32) -> Result<RegisterBrokerBody, BadBody> {
        let mut plain = Vec::new();
        let bound = REGISTRATION_BYTES_MAX as u64 + 1;
        ZlibDecoder::new(body)
            .take(bound)
            .read_to_end(&mut plain)
            .map_err(|error| BadBody(error.to_string()))?;
        if plain.len() > REGISTRATION_BYTES_MAX {
            return Err(BadBody("it unpacks to more than a registration may hold".into()));
        }
        let mut parts = Parts { rest: &plain };
        let mut table = TopicTable {
            data_version: fastjson::read(parts.part()?)?,
            ..TopicTable::default()
        };
        for _ in 0..parts.count()? {
            let topic = topic_from_line(parts.part()?)?;
            table.topic_config_table.insert(topic.topic_name.clone(), topic);
        }
        let filter_server_list = fastjson::read(parts.part()?)?;
        if version >= VERSION_WITH_MAPPINGS {
            for _ in 0..parts.count()? {
                let mapping: serde_json::Value = fastjson::read(parts.part()?)?;
                let topic = mapping["topic"].as_str().unwrap_or_default().to_owned();
                table.topic_queue_mapping_info_map.insert(topic, mapping);
            }
        }
        Ok(RegisterBrokerBody {
            filter_server_list,
            topic_config_serialize_wrapper: table,
        })
    }

    /// The compressed form, for a name server that is known to read it.
    pub fn compressed(&self, version: i32) -> Vec<u8> {
        let mut plain = Vec::new();
        let table = &self.topic_config_serialize_wrapper;
        put_part(&mut plain, &fastjson::write(&table.data_version));
        plain.extend_from_slice(&(table.topic_config_table.len() as u32).to_be_bytes());
        for topic in table.topic_config_table.values() {
            put_part(&mut plain, line_of_topic(topic).as_bytes());
        }
        put_part(&mut plain, &fastjson::write(&self.filter_server_list));
        if version >= VERSION_WITH_MAPPINGS {
            plain.extend_from_slice(&(table.topic_queue_mapping_info_map.len() as u32).to_be_bytes());
            for mapping in table.topic_queue_mapping_info_map.values() {
                put_part(&mut plain, &fastjson::write(mapping));
            }
        }
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&plain).expect("a vector takes every write");
        encoder.finish().expect("a vector takes every write")
    }
}

fn put_part(out: &mut Vec<u8>, part: &[u8]) {
    out.extend_from_slice(&(part.len() as u32).to_be_bytes());
    out.extend_from_slice(part);
}

/// Counted parts of an unpacked registration.
struct Parts<'a> {
    rest: &'a [u8],
}

impl<'a> Parts<'a> {
    fn count(&mut self) -> Result<usize, BadBody> {
        let (count, rest) = self.rest.split_first_chunk::<4>().ok_or_else(cut)?;
        self.rest = rest;
        Ok(u32::from_be_bytes(*count) as usize)
    }

    fn part(&mut self) -> Result<&'a [u8], BadBody> {
        let len = self.count()?;
        let (part, rest) = self.rest.split_at_checked(len).ok_or_else(cut)?;
        self.rest = rest;
        Ok(part)
    }
}

fn cut() -> BadBody {
    BadBody("it ends within a part".into())
}

/// `name readQueueNums writeQueueNums perm filterType [attributes as JSON]` (`TopicConfig.encode`).
fn topic_from_line(line: &[u8]) -> Result<TopicConfig, BadBody> {
    let bad = || BadBody("a topic's line is not readable".into());
    let line = std::str::from_utf8(line).map_err(|_| bad())?;
    let mut words = line.splitn(6, ' ');
    let mut word = || words.next().ok_or_else(bad);
    let number = |text: &str| text.parse().map_err(|_| bad());
    let mut topic = TopicConfig {
        topic_name: word()?.to_owned(),
        ..TopicConfig::default()
    };
    topic.read_queue_nums = number(word()?)?;
    topic.write_queue_nums = number(word()?)?;
    topic.perm = number(word()?)?;
    topic.topic_filter_type = TopicFilterType::named(word()?).unwrap_or_default();
    if let Some(attributes) = words.next().filter(|text| !text.trim().is_empty()) {
        topic.attributes = fastjson::read(attributes.as_bytes())?;
    }
    Ok(topic)
}

fn line_of_topic(topic: &TopicConfig) -> String {
    let attributes = String::from_utf8(fastjson::write(&topic.attributes)).expect("JSON is UTF-8");
    format!(
        "{} {} {} {} {} {attributes}",
        topic.topic_name, topic.read_queue_nums, topic.write_queue_nums, topic.perm, topic.topic_filter_type
    )
}

/// CRC-32 of a registration's body as Java writes it: without the sign bit.
pub fn body_crc32(body: &[u8]) -> i32 {
    (crc32fast::hash(body) & 0x7fff_ffff) as i32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::request::body::DataVersion;

    #[test]
    fn both_forms_carry_the_same() {
        let mut body = RegisterBrokerBody::default();
        let table = &mut body.topic_config_serialize_wrapper;
        table.data_version = DataVersion {
            counter: 3,
            state_version: 0,
            timestamp: 9,
        };
        let mut topic = TopicConfig::new("orders", 4, 8, 6);
        topic.attributes.insert("message.type".into(), "FIFO".into());
        table.topic_config_table.insert("orders".into(), topic);
        for version in [407, 513] {
            assert_eq!(
                RegisterBrokerBody::read(&body.compressed(version), version).unwrap(),
                body
            );
        }
        assert_eq!(
            RegisterBrokerBody::read(&fastjson::write(&body), 513).unwrap(),
            body
        );
    }

    #[test]
    fn a_cut_body_is_refused() {
        let mut body = RegisterBrokerBody::default();
        body.topic_config_serialize_wrapper
            .topic_config_table
            .insert("t".into(), TopicConfig::new("t", 1, 1, 6));
        let whole = body.compressed(513);
        for end in 0..whole.len() - 4 {
            assert!(
                RegisterBrokerBody::read(&whole[..end], 513).is_err(),
                "{end} bytes were accepted"
            );
        }
    }
}
