//! Topics: 17, 18, 21, 202, 215, 300, 303, 308, 321, 351.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::body::{DataVersion, MessageQueue};
use super::client::SubscriptionData;
use crate::protocol::fastjson::QueueTable;
use crate::protocol::fields::{BadField, FieldValue, Fields};
use crate::{headers, named};

/// Bits of a topic's `perm` (`PermName`).
pub mod perm {
    /// Topics created from this one inherit its settings.
    pub const INHERIT: i32 = 1;
    pub const WRITE: i32 = 2;
    pub const READ: i32 = 4;
    pub const PRIORITY: i32 = 8;
}

named! {
    /// How many tags a message of the topic carries.
    pub enum TopicFilterType = SingleTag {
        SingleTag = "SINGLE_TAG",
        MultiTag = "MULTI_TAG",
    }
}

impl<'a> FieldValue<'a> for TopicFilterType {
    fn parse(name: &'static str, text: Option<&'a str>) -> Result<Self, BadField> {
        Ok(TopicFilterType::named(<&str>::parse(name, text)?).unwrap_or_default())
    }
    fn put(&self, name: &'static str, fields: &mut Fields) {
        fields.put(name, self.name());
    }
}

/// A topic's settings on one broker (`TopicConfig`), also in `config/topics.json` and the answer of 351.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicConfig {
    /// For example `message.type`, `queue.type`, `cleanup.policy`.
    pub attributes: BTreeMap<String, String>,
    pub order: bool,
    /// See [`perm`].
    pub perm: i32,
    pub read_queue_nums: i32,
    pub topic_filter_type: TopicFilterType,
    pub topic_name: String,
    /// 1 unit, 2 has a unit subscription.
    pub topic_sys_flag: i32,
    pub write_queue_nums: i32,
}

impl Default for TopicConfig {
    fn default() -> Self {
        TopicConfig::new("", 16, 16, perm::READ | perm::WRITE)
    }
}

impl TopicConfig {
    pub fn new(name: impl Into<String>, read_queues: i32, write_queues: i32, perm: i32) -> TopicConfig {
        TopicConfig {
            attributes: BTreeMap::new(),
            order: false,
            perm,
            read_queue_nums: read_queues,
            topic_filter_type: TopicFilterType::SingleTag,
            topic_name: name.into(),
            topic_sys_flag: 0,
            write_queue_nums: write_queues,
        }
    }
}

headers! {
    /// UPDATE_AND_CREATE_TOPIC (17).
    pub struct CreateTopicRequest {
        "topic" topic: String,
        "defaultTopic" default_topic: Option<String>,
        "readQueueNums" read_queue_nums: i32,
        "writeQueueNums" write_queue_nums: i32,
        "perm" perm: i32,
        "topicFilterType" topic_filter_type: TopicFilterType = TopicFilterType::SingleTag,
        "topicSysFlag" topic_sys_flag: Option<i32>,
        "order" order: bool = false,
        /// `+name=value` sets, `-name` removes, joined by commas.
        "attributes" attributes: Option<String>,
        "force" force: Option<bool>,
    }

    /// GET_ALL_TOPIC_CONFIG (21): a page of the topics sorted by name; without these fields, all of them.
    pub struct AllTopicsRequest {
        "topicSeq" topic_seq: Option<i32>,
        /// JSON of the [`DataVersion`] that the pages before came with.
        "dataVersion" data_version: Option<String>,
        "maxTopicNum" max_topic_num: Option<i32>,
    }

    /// Answer of 21.
    pub struct AllTopicsReply {
        "totalTopicNum" total_topic_num: Option<i32>,
    }

    /// Requests that name a topic: 105, 202, 215, 300, 351, 217.
    pub struct TopicRequest {
        "topic" topic: String,
    }

    /// QUERY_CONSUME_TIME_SPAN (303), QUERY_SUBSCRIPTION_BY_CONSUMER (345).
    pub struct TopicAndGroupRequest {
        "topic" topic: String,
        "group" group: String,
    }

    /// QUERY_CONSUME_QUEUE (321).
    pub struct QueryConsumeQueueRequest {
        "topic" topic: String,
        "queueId" queue_id: i32,
        "index" index: i64,
        "count" count: i32,
        "consumerGroup" consumer_group: Option<String>,
    }

    /// QUERY_CORRECTION_OFFSET (308).
    pub struct CorrectionOffsetRequest {
        /// Joined by commas.
        "filterGroups" filter_groups: Option<String>,
        "compareGroup" compare_group: String,
        "topic" topic: String,
    }
}

/// Body of UPDATE_AND_CREATE_TOPIC_LIST (18).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicConfigList {
    pub topic_config_list: Vec<TopicConfig>,
}

/// All topics of a broker: the answer of 21 and the main part of a registration (`TopicConfigSerializeWrapper`).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicTable {
    pub data_version: DataVersion,
    pub mapping_data_version: Option<DataVersion>,
    pub topic_config_table: BTreeMap<String, TopicConfig>,
    /// Static topics: not read, written empty as Java does.
    pub topic_queue_mapping_detail_map: BTreeMap<String, serde_json::Value>,
    pub topic_queue_mapping_info_map: BTreeMap<String, serde_json::Value>,
}

/// Answer of 202.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicStatsTable {
    pub offset_table: QueueTable<TopicOffset>,
    pub topic_put_tps: f64,
}

/// One queue of a [`TopicStatsTable`].
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicOffset {
    /// Store time of the last message, epoch milliseconds; 0 for an empty queue.
    pub last_update_timestamp: i64,
    pub max_offset: i64,
    pub min_offset: i64,
}

/// Answer of 303.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumeTimeSpanBody {
    pub consume_time_span_set: Vec<QueueTimeSpan>,
}

/// How far a group is behind in one queue; times are epoch milliseconds, the texts are for people.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueueTimeSpan {
    pub consume_time_stamp: i64,
    pub consume_time_stamp_str: Option<String>,
    pub delay_time: i64,
    pub max_time_stamp: i64,
    pub max_time_stamp_str: Option<String>,
    pub message_queue: MessageQueue,
    pub min_time_stamp: i64,
    pub min_time_stamp_str: Option<String>,
}

/// Answer of 321.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumeQueueBody {
    pub filter_data: Option<String>,
    pub max_queue_index: i64,
    pub min_queue_index: i64,
    pub queue_data: Vec<ConsumeQueueEntry>,
    pub subscription_data: Option<SubscriptionData>,
}

/// One entry of a consume queue.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumeQueueEntry {
    pub bit_map: Option<String>,
    pub eval: bool,
    pub extend_data_json: Option<String>,
    pub msg: Option<String>,
    pub physic_offset: i64,
    pub physic_size: i32,
    pub tags_code: i64,
}

/// Answer of 308: the offset of each queue id.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CorrectionOffsetBody {
    pub correction_offsets: BTreeMap<i32, i64>,
}
