//! Groups and their offsets: 200, 201, 207, 208, 222, 223, 225, 314, 317, 343, 345, 352, 353, and what a slave copies: 43, 45.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::body::DataVersion;
use super::client::SubscriptionData;
use crate::headers;
use crate::protocol::fastjson::QueueTable;

/// A group's settings on one broker, also in `config/subscriptionGroup.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionGroupConfig {
    pub attributes: BTreeMap<String, String>,
    pub broker_id: i64,
    pub consume_broadcast_enable: bool,
    pub consume_enable: bool,
    pub consume_from_min_enable: bool,
    pub consume_message_orderly: bool,
    pub consume_timeout_minute: i32,
    pub group_name: String,
    pub group_retry_policy: GroupRetryPolicy,
    pub group_sys_flag: i32,
    pub notify_consumer_ids_changed_enable: bool,
    pub retry_max_times: i32,
    pub retry_queue_nums: i32,
    pub subscription_data_set: Option<Vec<SimpleSubscription>>,
    pub which_broker_when_consume_slowly: i64,
}

impl Default for SubscriptionGroupConfig {
    fn default() -> Self {
        SubscriptionGroupConfig {
            attributes: BTreeMap::new(),
            broker_id: 0,
            consume_broadcast_enable: true,
            consume_enable: true,
            consume_from_min_enable: true,
            consume_message_orderly: false,
            consume_timeout_minute: 15,
            group_name: String::new(),
            group_retry_policy: GroupRetryPolicy::default(),
            group_sys_flag: 0,
            notify_consumer_ids_changed_enable: true,
            retry_max_times: 16,
            retry_queue_nums: 1,
            subscription_data_set: None,
            which_broker_when_consume_slowly: 1,
        }
    }
}

impl SubscriptionGroupConfig {
    /// The settings that a new group gets.
    pub fn named(group: impl Into<String>) -> SubscriptionGroupConfig {
        SubscriptionGroupConfig {
            group_name: group.into(),
            ..SubscriptionGroupConfig::default()
        }
    }
}

/// How the delay before a retry grows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GroupRetryPolicy {
    pub customized_retry_policy: Option<CustomizedRetryPolicy>,
    pub exponential_retry_policy: Option<ExponentialRetryPolicy>,
    /// `CUSTOMIZED` or `EXPONENTIAL`.
    #[serde(rename = "type")]
    pub kind: String,
}

impl Default for GroupRetryPolicy {
    fn default() -> Self {
        GroupRetryPolicy {
            customized_retry_policy: None,
            exponential_retry_policy: None,
            kind: "CUSTOMIZED".into(),
        }
    }
}

/// The delays of the first, second, … attempt in milliseconds.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CustomizedRetryPolicy {
    pub next: Vec<i64>,
}

/// Delays in milliseconds that multiply with each attempt.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ExponentialRetryPolicy {
    pub initial: i64,
    pub max: i64,
    pub multiplier: i64,
}

/// A subscription that an administrator fixed for a group.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SimpleSubscription {
    pub expression: String,
    pub expression_type: String,
    pub topic: String,
    pub version: i64,
}

headers! {
    /// GET_ALL_SUBSCRIPTIONGROUP_CONFIG (201): a page, or everything.
    pub struct AllGroupsRequest {
        "groupSeq" group_seq: Option<i32>,
        "dataVersion" data_version: Option<String>,
        "maxGroupNum" max_group_num: Option<i32>,
    }

    /// Answer of 201.
    pub struct AllGroupsReply {
        "totalGroupNum" total_group_num: Option<i32>,
    }

    /// DELETE_SUBSCRIPTIONGROUP (207). 4.9 calls the second field `removeOffset`.
    pub struct DeleteGroupRequest {
        "groupName" group_name: String,
        "cleanOffset" clean_offset: Option<bool>,
        "removeOffset" remove_offset: Option<bool>,
    }

    /// GET_CONSUME_STATS (208).
    pub struct ConsumeStatsRequest {
        "consumerGroup" consumer_group: String,
        "topic" topic: Option<String>,
        /// Joined by `;`.
        "topicList" topic_list: Option<String>,
    }

    /// INVOKE_BROKER_TO_RESET_OFFSET (222).
    pub struct ResetOffsetRequest {
        "topic" topic: String,
        "group" group: String,
        /// Epoch milliseconds; negative: the end.
        "timestamp" timestamp: i64,
        "isForce" is_force: bool = true,
        /// Absent or negative: all queues.
        "queueId" queue_id: Option<i32>,
        /// The offset itself, instead of the time.
        "offset" offset: Option<i64>,
    }

    /// INVOKE_BROKER_TO_GET_CONSUMER_STATUS (223).
    pub struct ConsumerStatusRequest {
        "topic" topic: String,
        "group" group: String,
        /// A client id; absent or blank: all members.
        "clientAddr" client_addr: Option<String>,
    }

    /// CLONE_GROUP_OFFSET (314).
    pub struct CloneOffsetRequest {
        "srcGroup" src_group: String,
        "destGroup" dest_group: String,
        "topic" topic: Option<String>,
        "offline" offline: bool = false,
    }

    /// GET_BROKER_CONSUME_STATS (317).
    pub struct BrokerConsumeStatsRequest {
        "isOrder" is_order: bool = false,
    }

    /// Requests that name a group: 343, 352.
    pub struct GroupRequest {
        "group" group: String,
    }

    /// UPDATE_AND_GET_GROUP_FORBIDDEN (353).
    pub struct GroupForbiddenRequest {
        "group" group: String,
        "topic" topic: String,
        "readable" readable: Option<bool>,
    }
}

/// Answer of 201.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GroupTable {
    pub data_version: DataVersion,
    /// Group, topic, and the bits that forbid.
    pub forbidden_table: BTreeMap<String, BTreeMap<String, i32>>,
    pub subscription_group_table: BTreeMap<String, SubscriptionGroupConfig>,
}

/// Body of 225.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GroupConfigList {
    pub group_config_list: Vec<SubscriptionGroupConfig>,
}

/// Answer of 353.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct GroupForbidden {
    pub group: String,
    pub readable: bool,
    pub topic: String,
}

/// Answer of 208.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumeStats {
    pub consume_tps: f64,
    pub offset_table: QueueTable<OffsetWrapper>,
}

/// One queue of a [`ConsumeStats`]: the lag is `broker_offset - consumer_offset`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OffsetWrapper {
    pub broker_offset: i64,
    pub consumer_offset: i64,
    /// Store time of the last consumed message, epoch milliseconds; 0 where there is none.
    pub last_timestamp: i64,
    pub pull_offset: i64,
}

/// Answer of 317.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerConsumeStats {
    pub broker_addr: String,
    /// One map of one group each.
    pub consume_stats_list: Vec<BTreeMap<String, Vec<ConsumeStats>>>,
    pub total_diff: i64,
    pub total_inflight_diff: i64,
}

/// Answer of 345.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GroupSubscription {
    pub group: String,
    pub subscription_data: Option<SubscriptionData>,
    pub topic: String,
}

/// Answer of 43: offsets by `topic@group` and queue id.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerOffsetTable {
    pub data_version: Option<DataVersion>,
    pub group_topic_map: Option<BTreeMap<String, Vec<String>>>,
    pub offset_table: BTreeMap<String, BTreeMap<i32, i64>>,
    pub pull_offset_table: Option<BTreeMap<String, BTreeMap<i32, i64>>>,
}

/// Answer of 45: queue offsets in the schedule topic by delay level.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DelayOffsetTable {
    pub data_version: Option<DataVersion>,
    pub offset_table: BTreeMap<i32, i64>,
}
