//! Looking for messages: by key or unique key 12, by offset id 33.

use crate::headers;

headers! {
    /// QUERY_MESSAGE (12).
    pub struct QueryMessageRequest {
        "topic" topic: String,
        "key" key: String,
        "maxNum" max_num: i32,
        /// Store time, epoch milliseconds, inclusive.
        "beginTimestamp" begin_timestamp: i64,
        "endTimestamp" end_timestamp: i64,
        /// `key` is a unique key; clients before 5.5.0 say it here.
        "_UNIQUE_KEY_QUERY" unique_key: bool = false,
        /// `K` key, `U` unique key, `T` tag; since 5.5.0.
        "indexType" index_type: Option<String>,
        "lastKey" last_key: Option<String>,
    }

    /// Answer of 12.
    pub struct QueryMessageReply {
        "indexLastUpdateTimestamp" index_last_update_timestamp: i64,
        "indexLastUpdatePhyoffset" index_last_update_phyoffset: i64,
    }

    /// VIEW_MESSAGE_BY_ID (33).
    pub struct ViewMessageRequest {
        "topic" topic: Option<String>,
        /// Log offset.
        "offset" offset: i64,
    }
}
