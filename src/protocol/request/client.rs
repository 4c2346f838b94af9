//! What clients say about themselves: heartbeats 34, goodbyes 35, the members of a group 38 and 40, queue locks 41 and 42,
//! the check of a subscription 46, and what the broker asks them: 220, 221, 307, 309.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::body::MessageQueue;
use crate::protocol::fastjson::QueueTable;
use crate::{headers, named};

named! {
    /// How a consumer gets its messages.
    pub enum ConsumeType = Passively {
        /// By its own pulls.
        Actively = "CONSUME_ACTIVELY",
        /// Pushed, that is pulled by the library.
        Passively = "CONSUME_PASSIVELY",
        Pop = "CONSUME_POP",
    }

    /// Whether the members of a group share messages.
    pub enum MessageModel = Clustering {
        /// Every member gets every message.
        Broadcasting = "BROADCASTING",
        /// The members share the queues.
        Clustering = "CLUSTERING",
    }

    /// Where a new group begins.
    pub enum ConsumeFromWhere = LastOffset {
        LastOffset = "CONSUME_FROM_LAST_OFFSET",
        LastOffsetAndFromMinWhenBootFirst = "CONSUME_FROM_LAST_OFFSET_AND_FROM_MIN_WHEN_BOOT_FIRST",
        MinOffset = "CONSUME_FROM_MIN_OFFSET",
        MaxOffset = "CONSUME_FROM_MAX_OFFSET",
        FirstOffset = "CONSUME_FROM_FIRST_OFFSET",
        Timestamp = "CONSUME_FROM_TIMESTAMP",
    }

    /// How a consumer's listener ended (309).
    pub enum ConsumeResult = Success {
        Success = "CR_SUCCESS",
        Later = "CR_LATER",
        Rollback = "CR_ROLLBACK",
        Commit = "CR_COMMIT",
        ThrowException = "CR_THROW_EXCEPTION",
        ReturnNull = "CR_RETURN_NULL",
    }
}

/// Body of HEART_BEAT (34).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HeartbeatData {
    #[serde(rename = "clientID")]
    pub client_id: String,
    pub consumer_data_set: Vec<ConsumerData>,
    /// Not 0: version 2 of the heartbeat, and the hash of its subscriptions.
    pub heartbeat_fingerprint: i32,
    pub producer_data_set: Vec<ProducerData>,
    /// Version 2: the subscriptions are those of the last beat with this fingerprint.
    pub without_sub: bool,
}

/// One group that the client consumes in.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerData {
    pub consume_from_where: ConsumeFromWhere,
    pub consume_type: ConsumeType,
    pub group_name: String,
    pub message_model: MessageModel,
    pub subscription_data_set: Vec<SubscriptionData>,
    pub unit_mode: bool,
}

/// One group that the client produces in.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProducerData {
    pub group_name: String,
}

/// What a group wants of a topic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionData {
    pub class_filter_mode: bool,
    /// Java hash codes of the tags; Go leaves them out.
    pub code_set: Vec<i32>,
    /// `TAG` or `SQL92`.
    pub expression_type: String,
    /// The expression as the user wrote it; `*` is everything.
    pub sub_string: String,
    /// The client's clock at the subscription: milliseconds, or nanoseconds from Go.
    pub sub_version: i64,
    pub tags_set: Vec<String>,
    pub topic: String,
}

impl Default for SubscriptionData {
    /// Everything, by tags, as Java reads what a client leaves out.
    fn default() -> Self {
        SubscriptionData {
            class_filter_mode: false,
            code_set: Vec::new(),
            expression_type: "TAG".into(),
            sub_string: String::new(),
            sub_version: 0,
            tags_set: Vec::new(),
            topic: String::new(),
        }
    }
}

headers! {
    /// Answer of 34.
    pub struct HeartbeatReply {
        "IS_SUPPORT_HEART_BEAT_V2" supports_v2: bool = false,
        /// Version 2 only: another member beats with other subscriptions.
        "IS_SUB_CHANGE" subscriptions_changed: bool = true,
    }

    /// UNREGISTER_CLIENT (35).
    pub struct UnregisterClientRequest {
        "clientID" client_id: String,
        "producerGroup" producer_group: Option<String>,
        "consumerGroup" consumer_group: Option<String>,
    }

    /// GET_CONSUMER_LIST_BY_GROUP (38), NOTIFY_CONSUMER_IDS_CHANGED (40), GET_CONSUMER_CONNECTION_LIST (203).
    pub struct ConsumerGroupRequest {
        "consumerGroup" consumer_group: String,
    }

    /// GET_PRODUCER_CONNECTION_LIST (204).
    pub struct ProducerGroupRequest {
        "producerGroup" producer_group: String,
    }

    /// RESET_CONSUMER_CLIENT_OFFSET (220), broker to client; the body is a [`ResetOffsetBody`].
    pub struct ResetClientOffsetRequest {
        "topic" topic: String,
        "group" group: String,
        "timestamp" timestamp: i64,
        "isForce" is_force: bool = true,
        "queueId" queue_id: Option<i32>,
    }

    /// GET_CONSUMER_STATUS_FROM_CLIENT (221), broker to client.
    pub struct ClientStatusRequest {
        "topic" topic: String,
        "group" group: String,
    }

    /// GET_CONSUMER_RUNNING_INFO (307).
    pub struct RunningInfoRequest {
        "consumerGroup" consumer_group: String,
        "clientId" client_id: String,
        "jstackEnable" jstack_enable: bool = false,
    }

    /// CONSUME_MESSAGE_DIRECTLY (309).
    pub struct ConsumeDirectlyRequest {
        "consumerGroup" consumer_group: String,
        "clientId" client_id: Option<String>,
        /// Offset id of the message.
        "msgId" msg_id: Option<String>,
        "brokerName" broker_name: Option<String>,
        "topic" topic: Option<String>,
        "topicSysFlag" topic_sys_flag: Option<i32>,
        "groupSysFlag" group_sys_flag: Option<i32>,
    }
}

/// Answer of 38.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerIdList {
    pub consumer_id_list: Vec<String>,
}

/// Body of LOCK_BATCH_MQ (41) and UNLOCK_BATCH_MQ (42).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LockRequestBody {
    pub client_id: String,
    pub consumer_group: String,
    pub mq_set: Vec<MessageQueue>,
    pub only_this_broker: bool,
}

/// Answer of 41: the queues that are the client's now.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LockReplyBody {
    #[serde(rename = "lockOKMQSet")]
    pub locked: Vec<MessageQueue>,
}

/// Body of CHECK_CLIENT_CONFIG (46).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CheckClientBody {
    pub client_id: String,
    pub group: String,
    pub namespace: Option<String>,
    pub subscription_data: SubscriptionData,
}

/// Answer of 203.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerConnection {
    pub connection_set: Vec<Connection>,
    pub consume_from_where: ConsumeFromWhere,
    pub consume_type: ConsumeType,
    pub message_model: MessageModel,
    /// By topic.
    pub subscription_table: BTreeMap<String, SubscriptionData>,
}

/// Answer of 204.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProducerConnection {
    pub connection_set: Vec<Connection>,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Connection {
    /// `ip:port`
    pub client_addr: String,
    pub client_id: String,
    /// A name of [`crate::protocol::frame::LANGUAGES`].
    pub language: String,
    pub version: i32,
}

/// Answer of GET_ALL_PRODUCER_INFO (328): the members of each producer group.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ProducerTable {
    pub data: BTreeMap<String, Vec<ProducerInfo>>,
}

/// A producer, as 328 shows it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProducerInfo {
    pub client_id: String,
    pub language: String,
    /// Epoch milliseconds of the last heartbeat.
    pub last_update_timestamp: i64,
    /// `/ip:port`
    #[serde(rename = "remoteIP")]
    pub remote_ip: String,
    pub version: i32,
}

/// Body of 220, answer of 222: the offset that each queue was reset to.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResetOffsetBody {
    pub offset_table: QueueTable<i64>,
}

/// Body of 220 for clients in C++ (`ResetOffsetBodyForC`).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResetOffsetBodyForC {
    pub offset_table: Vec<QueueOffsetForC>,
}

/// One queue of a [`ResetOffsetBodyForC`].
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueueOffsetForC {
    pub broker_name: String,
    pub offset: i64,
    pub queue_id: i32,
    pub topic: String,
}

/// Answer of 221 (the queues) and 223 (the queues of each client).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerStatusBody {
    /// Offsets by client id.
    pub consumer_table: BTreeMap<String, QueueTable<i64>>,
    pub message_queue_table: QueueTable<i64>,
}

/// Answer of 307; the broker relays it unread.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerRunningInfo {
    pub jstack: Option<String>,
    pub mq_pop_table: QueueTable<PopQueueInfo>,
    pub mq_table: QueueTable<ProcessQueueInfo>,
    /// `PROP_…` names and their texts.
    pub properties: BTreeMap<String, String>,
    /// By topic.
    pub status_table: BTreeMap<String, ConsumeStatus>,
    pub subscription_set: Vec<SubscriptionData>,
    pub user_consumer_info: Option<BTreeMap<String, String>>,
}

/// What a consumer holds of one queue.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProcessQueueInfo {
    pub cached_msg_count: i32,
    pub cached_msg_max_offset: i64,
    pub cached_msg_min_offset: i64,
    #[serde(rename = "cachedMsgSizeInMiB")]
    pub cached_msg_size_mib: i32,
    pub commit_offset: i64,
    /// Java's spelling.
    pub droped: bool,
    pub last_consume_timestamp: i64,
    pub last_lock_timestamp: i64,
    pub last_pull_timestamp: i64,
    pub locked: bool,
    pub transaction_msg_count: i32,
    pub transaction_msg_max_offset: i64,
    pub transaction_msg_min_offset: i64,
    pub try_unlock_times: i64,
}

/// What a pop consumer holds of one queue.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PopQueueInfo {
    pub droped: bool,
    pub last_pop_timestamp: i64,
    pub wait_ack_count: i32,
}

/// Rates of one topic in one consumer.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumeStatus {
    pub consume_failed_msgs: i64,
    #[serde(rename = "consumeFailedTPS")]
    pub consume_failed_tps: f64,
    #[serde(rename = "consumeOKTPS")]
    pub consume_ok_tps: f64,
    #[serde(rename = "consumeRT")]
    pub consume_rt: f64,
    #[serde(rename = "pullRT")]
    pub pull_rt: f64,
    #[serde(rename = "pullTPS")]
    pub pull_tps: f64,
}

/// Answer of 309.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumeDirectlyReply {
    pub auto_commit: bool,
    pub consume_result: ConsumeResult,
    pub order: bool,
    pub remark: Option<String>,
    /// Milliseconds.
    pub spent_time_mills: i64,
}
