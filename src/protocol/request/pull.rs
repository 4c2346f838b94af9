//! PULL (11, 361) and offsets: 14, 15, 29–32.

use crate::headers;
use crate::protocol::fields::{BadField, FieldValue, Fields};

/// Bits of a pull's `sysFlag` (`PullSysFlag`).
pub mod pull_flag {
    /// `commitOffset` is to be stored.
    pub const COMMIT_OFFSET: i32 = 0x1;
    /// The pull may be held until a message arrives.
    pub const SUSPEND: i32 = 0x2;
    /// The pull's own `subscription` counts, not the heartbeat's.
    pub const SUBSCRIPTION: i32 = 0x4;
    pub const CLASS_FILTER: i32 = 0x8;
    pub const LITE_PULL: i32 = 0x10;
}

headers! {
    /// PULL_MESSAGE (11) and LITE_PULL_MESSAGE (361).
    pub struct PullRequest {
        "consumerGroup" consumer_group: String,
        "topic" topic: String,
        "queueId" queue_id: i32,
        "queueOffset" queue_offset: i64,
        "maxMsgNums" max_msg_nums: i32,
        /// See [`pull_flag`].
        "sysFlag" sys_flag: i32 = 0,
        "commitOffset" commit_offset: i64 = 0,
        "suspendTimeoutMillis" suspend_timeout_ms: i64 = 0,
        "subscription" subscription: Option<String>,
        "subVersion" sub_version: i64 = 0,
        /// `TAG` when absent.
        "expressionType" expression_type: Option<String>,
        "maxMsgBytes" max_msg_bytes: Option<i32>,
        "requestSource" request_source: Option<i32>,
        /// Java's spelling.
        "proxyFrowardClientId" proxy_forward_client_id: Option<String>,
        "bname" broker_name: Option<String>,
    }

    /// Answer of a pull, with every code that a pull maps a result to (0, 19, 20, 21).
    pub struct PullReply {
        "suggestWhichBrokerId" suggest_which_broker_id: i64,
        "nextBeginOffset" next_begin_offset: i64,
        "minOffset" min_offset: i64,
        "maxOffset" max_offset: i64,
        "offsetDelta" offset_delta: Option<i64>,
        "topicSysFlag" topic_sys_flag: Option<i32>,
        "groupSysFlag" group_sys_flag: Option<i32>,
        /// Why a pull was refused with 16: 1 broker, 2 group, 3 topic, 4 broadcast disabled, 5 subscription.
        "forbiddenType" forbidden_type: Option<i32>,
    }

    /// The refusal of a pull with 16 says what forbids it.
    pub struct PullForbidden {
        "forbiddenType" forbidden_type: i32,
    }

    /// QUERY_CONSUMER_OFFSET (14).
    pub struct QueryOffsetRequest {
        "consumerGroup" consumer_group: String,
        "topic" topic: String,
        "queueId" queue_id: i32,
        "setZeroIfNotFound" set_zero_if_not_found: Option<bool>,
        "bname" broker_name: Option<String>,
    }

    /// UPDATE_CONSUMER_OFFSET (15).
    pub struct UpdateOffsetRequest {
        "consumerGroup" consumer_group: String,
        "topic" topic: String,
        "queueId" queue_id: Option<i32>,
        "commitOffset" commit_offset: Option<i64>,
        "bname" broker_name: Option<String>,
    }

    /// An offset: the answer of 14, 29, 30 and 31.
    pub struct OffsetReply {
        "offset" offset: i64,
    }

    /// SEARCH_OFFSET_BY_TIMESTAMP (29).
    pub struct SearchOffsetRequest {
        "topic" topic: String,
        "queueId" queue_id: i32,
        /// Epoch milliseconds of the store time.
        "timestamp" timestamp: i64,
        "boundaryType" boundary: Boundary = Boundary::Lower,
        "bname" broker_name: Option<String>,
    }

    /// GET_MAX_OFFSET (30), GET_MIN_OFFSET (31), GET_EARLIEST_MSG_STORETIME (32).
    pub struct QueueRequest {
        "topic" topic: String,
        "queueId" queue_id: i32,
        "bname" broker_name: Option<String>,
    }

    /// Answer of 32: epoch milliseconds, -1 for an empty queue.
    pub struct TimestampReply {
        "timestamp" timestamp: i64,
    }
}

/// Which of several messages of the same store time a search by time means (`BoundaryType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Boundary {
    /// The first of them; the first later one where none is equal.
    #[default]
    Lower,
    /// The last of them.
    Upper,
}

impl<'a> FieldValue<'a> for Boundary {
    /// Whatever is not `UPPER` in any case is `LOWER`, as in Java.
    fn parse(_: &'static str, text: Option<&'a str>) -> Result<Self, BadField> {
        let upper = text.is_some_and(|text| text.eq_ignore_ascii_case("upper"));
        Ok(if upper { Boundary::Upper } else { Boundary::Lower })
    }
    fn put(&self, name: &'static str, fields: &mut Fields) {
        fields.put(
            name,
            match self {
                Boundary::Lower => "LOWER",
                Boundary::Upper => "UPPER",
            },
        );
    }
}
