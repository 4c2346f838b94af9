//! The broker itself: configuration 26, statistics 315, half messages 323, request modes 400–402, replication 907 and 908.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::body::{DataVersion, MessageQueue};
use super::client::MessageModel;
use crate::{headers, named};

headers! {
    /// Answer of GET_BROKER_CONFIG (26); the body is properties text.
    pub struct BrokerConfigReply {
        /// JSON of a [`DataVersion`].
        "version" version: String,
    }

    /// VIEW_BROKER_STATS_DATA (315).
    pub struct StatsRequest {
        "statsName" stats_name: String,
        "statsKey" stats_key: String,
    }

    /// RESUME_CHECK_HALF_MESSAGE (323).
    pub struct ResumeCheckRequest {
        "topic" topic: Option<String>,
        /// Offset id.
        "msgId" msg_id: Option<String>,
    }

    /// RESET_MASTER_FLUSH_OFFSET (908).
    pub struct ResetMasterFlushOffsetRequest {
        "masterFlushOffset" master_flush_offset: i64,
    }
}

/// Answer of 315.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StatsBody {
    pub stats_day: StatsPeriod,
    pub stats_hour: StatsPeriod,
    pub stats_minute: StatsPeriod,
}

/// Sum and means of one period.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct StatsPeriod {
    /// Mean of one occurrence.
    pub avgpt: f64,
    pub sum: i64,
    /// Mean of one second.
    pub tps: f64,
}

named! {
    /// Who moves the offsets of a group in a topic.
    pub enum RequestMode = Pull {
        Pull = "PULL",
        Pop = "POP",
    }
}

/// Body of SET_MESSAGE_REQUEST_MODE (401).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RequestModeBody {
    pub consumer_group: String,
    pub mode: RequestMode,
    pub pop_share_queue_num: i32,
    pub topic: String,
}

/// Answer of GET_ALL_MESSAGE_REQUEST_MODE (402), and `config/messageRequestMode.json`: by topic and group.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RequestModeTable {
    pub message_request_mode_map: BTreeMap<String, BTreeMap<String, RequestModeBody>>,
}

/// Body of QUERY_ASSIGNMENT (400).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AssignmentRequestBody {
    pub client_id: String,
    pub consumer_group: String,
    pub message_model: MessageModel,
    /// For example `AVG`.
    pub strategy_name: String,
    pub topic: String,
}

/// Answer of 400; no list when the broker cannot tell.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AssignmentReplyBody {
    pub message_queue_assignments: Option<Vec<QueueAssignment>>,
}

/// A queue that a client is to consume.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueueAssignment {
    pub attachments: Option<BTreeMap<String, String>>,
    pub message_queue: MessageQueue,
    pub mode: RequestMode,
}

/// Answer of GET_TIMER_METRICS (61): pending timer messages by topic.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TimerMetricsBody {
    pub data_version: DataVersion,
    pub timing_count: BTreeMap<String, TimerMetric>,
}

/// One topic of a [`TimerMetricsBody`].
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TimerMetric {
    pub count: i64,
    /// Epoch milliseconds of the last change.
    pub time_stamp: i64,
}

/// Answer of GET_BROKER_HA_STATUS (907).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HaStatusBody {
    pub ha_client_runtime_info: HaClientStatus,
    pub ha_connection_info: Vec<HaConnectionStatus>,
    pub in_sync_slave_nums: i32,
    pub master: bool,
    pub master_commit_log_max_offset: i64,
}

/// The slave's side of a replication.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HaClientStatus {
    pub last_read_timestamp: i64,
    pub last_write_timestamp: i64,
    pub master_addr: Option<String>,
    pub master_flush_offset: i64,
    pub max_offset: i64,
    pub transferred_byte_in_second: i64,
}

/// The master's side of a replication.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HaConnectionStatus {
    pub addr: String,
    /// Bytes that the slave is behind.
    pub diff: i64,
    pub in_sync: bool,
    pub slave_ack_offset: i64,
    pub transfer_from_where: i64,
    pub transferred_byte_in_second: i64,
}
