//! The SEND family: 10, 310, 320, replies 324 and 325 with their push 326, send-back 36, end of a transaction 37, its
//! check 39, recall 370.

use crate::headers;
use crate::protocol::code::request;
use crate::protocol::fields::{BadField, FieldValue, Fields};
use crate::protocol::frame::Frame;

/// What a producer says about its message or batch (`SendMessageRequestHeader`, `…V2`), borrowed from the frame.
#[derive(Debug, Clone, PartialEq)]
pub struct SendRequest<'a> {
    pub producer_group: &'a str,
    pub topic: &'a str,
    /// The topic whose settings a created topic takes; `TBW102` by custom.
    pub default_topic: &'a str,
    pub default_topic_queue_nums: i32,
    /// Negative leaves the choice to the broker.
    pub queue_id: i32,
    pub sys_flag: i32,
    /// The producer's clock, epoch milliseconds.
    pub born_timestamp: i64,
    /// The user's own 32 bits.
    pub flag: i32,
    /// Encoded properties.
    pub properties: &'a str,
    pub reconsume_times: i32,
    pub unit_mode: bool,
    /// Only sends to a `%RETRY%` topic carry it.
    pub max_reconsume_times: Option<i32>,
    /// Whether the body is a batch: this field decides it, not the code.
    pub batch: bool,
    pub broker_name: Option<&'a str>,
}

/// The two spellings of the same fields: long names, and one letter for every field.
struct Names {
    producer_group: &'static str,
    topic: &'static str,
    default_topic: &'static str,
    default_topic_queue_nums: &'static str,
    queue_id: &'static str,
    sys_flag: &'static str,
    born_timestamp: &'static str,
    flag: &'static str,
    properties: &'static str,
    reconsume_times: &'static str,
    unit_mode: &'static str,
    max_reconsume_times: &'static str,
    batch: &'static str,
    broker_name: &'static str,
}

const V1: Names = Names {
    producer_group: "producerGroup",
    topic: "topic",
    default_topic: "defaultTopic",
    default_topic_queue_nums: "defaultTopicQueueNums",
    queue_id: "queueId",
    sys_flag: "sysFlag",
    born_timestamp: "bornTimestamp",
    flag: "flag",
    properties: "properties",
    reconsume_times: "reconsumeTimes",
    unit_mode: "unitMode",
    max_reconsume_times: "maxReconsumeTimes",
    batch: "batch",
    broker_name: "bname",
};

const V2: Names = Names {
    producer_group: "a",
    topic: "b",
    default_topic: "c",
    default_topic_queue_nums: "d",
    queue_id: "e",
    sys_flag: "f",
    born_timestamp: "g",
    flag: "h",
    properties: "i",
    reconsume_times: "j",
    unit_mode: "k",
    max_reconsume_times: "l",
    batch: "m",
    broker_name: "n",
};

/// Codes 10 and 324 spell the fields out, 310, 320 and 325 use one letter each.
fn names(code: i32) -> &'static Names {
    match code {
        request::SEND_MESSAGE | request::SEND_REPLY_MESSAGE => &V1,
        _ => &V2,
    }
}

impl<'a> SendRequest<'a> {
    /// Reads the request from a frame of code 10, 310, 320, 324 or 325.
    pub fn read(frame: &'a Frame) -> Result<SendRequest<'a>, BadField> {
        let names = names(frame.code);
        let mut read = Reading {
            fields: &frame.fields,
            next: 0,
        };
        // Clients write the fields in this order or close to it, so that each is found where the last one ended.
        Ok(SendRequest {
            producer_group: read.field(names.producer_group)?,
            topic: read.field(names.topic)?,
            default_topic: read.optional(names.default_topic)?.unwrap_or(""),
            default_topic_queue_nums: read.optional(names.default_topic_queue_nums)?.unwrap_or(0),
            queue_id: read.field(names.queue_id)?,
            sys_flag: read.optional(names.sys_flag)?.unwrap_or(0),
            born_timestamp: read.optional(names.born_timestamp)?.unwrap_or(0),
            flag: read.optional(names.flag)?.unwrap_or(0),
            properties: read.optional(names.properties)?.unwrap_or(""),
            reconsume_times: read.optional(names.reconsume_times)?.unwrap_or(0),
            unit_mode: read.optional(names.unit_mode)?.unwrap_or(false),
            batch: read.optional(names.batch)?.unwrap_or(false),
            broker_name: read.optional(names.broker_name)?,
            max_reconsume_times: read.optional(names.max_reconsume_times)?,
        })
    }

    /// The request as a frame of code 10, 310, 320, 324 or 325, without its body.
    pub fn frame(&self, code: i32) -> Frame {
        let names = names(code);
        let mut frame = Frame::command(code);
        let fields = &mut frame.fields;
        self.producer_group.put(names.producer_group, fields);
        self.topic.put(names.topic, fields);
        self.default_topic.put(names.default_topic, fields);
        self.default_topic_queue_nums
            .put(names.default_topic_queue_nums, fields);
        self.queue_id.put(names.queue_id, fields);
        self.sys_flag.put(names.sys_flag, fields);
        self.born_timestamp.put(names.born_timestamp, fields);
        self.flag.put(names.flag, fields);
        self.properties.put(names.properties, fields);
        self.reconsume_times.put(names.reconsume_times, fields);
        self.unit_mode.put(names.unit_mode, fields);
        self.max_reconsume_times.put(names.max_reconsume_times, fields);
        self.batch.put(names.batch, fields);
        self.broker_name.put(names.broker_name, fields);
        frame
    }
}

/// Reads fields one after another, beginning each search behind the last hit.
struct Reading<'a> {
    fields: &'a Fields,
    next: usize,
}

impl<'a> Reading<'a> {
    fn field<T: FieldValue<'a>>(&mut self, name: &'static str) -> Result<T, BadField> {
        T::parse(name, self.fields.get_from(&mut self.next, name))
    }

    fn optional<T: FieldValue<'a>>(&mut self, name: &'static str) -> Result<Option<T>, BadField> {
        self.field(name)
    }
}

headers! {
    /// Where a message was stored (`SendMessageResponseHeader`). Java clients need `MSG_REGION` and `TRACE_ON`.
    pub struct SendReply<'a> {
        /// Offset id of the message; of a batch, all of them joined by commas.
        "msgId" msg_id: &'a str,
        "queueId" queue_id: i32,
        /// Queue offset of the message; of a batch, of its first.
        "queueOffset" queue_offset: i64,
        /// The client's own id of the message.
        "transactionId" transaction_id: Option<&'a str>,
        "batchUniqId" batch_uniq_id: Option<&'a str>,
        /// Cancels a pending timer message (370).
        "recallHandle" recall_handle: Option<&'a str>,
        "MSG_REGION" region: Option<&'a str>,
        "TRACE_ON" trace_on: Option<bool>,
    }

    /// CONSUMER_SEND_MSG_BACK (36): a message that its consumer could not process.
    pub struct SendBackRequest {
        /// Log offset of the message.
        "offset" offset: i64,
        "group" group: String,
        /// Negative: straight to the dead letters; 0: grows with each attempt.
        "delayLevel" delay_level: i32,
        "originMsgId" origin_msg_id: Option<String>,
        "originTopic" origin_topic: Option<String>,
        "unitMode" unit_mode: bool = false,
        "maxReconsumeTimes" max_reconsume_times: Option<i32>,
    }

    /// END_TRANSACTION (37).
    pub struct EndTransactionRequest {
        "topic" topic: Option<String>,
        "producerGroup" producer_group: String,
        /// Queue offset of the half message.
        "tranStateTableOffset" tran_state_table_offset: i64,
        /// Log offset of the half message.
        "commitLogOffset" commit_log_offset: i64,
        /// A `sys_flag`: 8 commit, 12 rollback, 0 unknown.
        "commitOrRollback" commit_or_rollback: i32,
        "fromTransactionCheck" from_transaction_check: bool = false,
        "msgId" msg_id: String,
        "transactionId" transaction_id: Option<String>,
    }

    /// CHECK_TRANSACTION_STATE (39): the broker asks a producer how a transaction ended.
    pub struct CheckTransactionRequest {
        "topic" topic: Option<String>,
        "tranStateTableOffset" tran_state_table_offset: i64,
        "commitLogOffset" commit_log_offset: i64,
        "msgId" msg_id: Option<String>,
        "transactionId" transaction_id: Option<String>,
        "offsetMsgId" offset_msg_id: Option<String>,
        "bname" broker_name: Option<String>,
    }

    /// PUSH_REPLY_MESSAGE_TO_CLIENT (326): the answer of a request-reply on its way to the asker.
    pub struct PushReplyRequest {
        "producerGroup" producer_group: String,
        "topic" topic: String,
        "defaultTopic" default_topic: String,
        "defaultTopicQueueNums" default_topic_queue_nums: i32,
        "queueId" queue_id: i32,
        "sysFlag" sys_flag: i32,
        "bornTimestamp" born_timestamp: i64,
        "flag" flag: i32,
        "properties" properties: Option<String>,
        "reconsumeTimes" reconsume_times: Option<i32>,
        "unitMode" unit_mode: bool = false,
        /// `ip:port`
        "bornHost" born_host: String,
        "storeHost" store_host: String,
        "storeTimestamp" store_timestamp: i64,
    }

    /// RECALL_MESSAGE (370).
    pub struct RecallRequest {
        "producerGroup" producer_group: Option<String>,
        "topic" topic: String,
        "recallHandle" recall_handle: String,
    }

    /// Answer of 370.
    pub struct RecallReply {
        "msgId" msg_id: String,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> SendRequest<'static> {
        SendRequest {
            producer_group: "g",
            topic: "t",
            default_topic: "TBW102",
            default_topic_queue_nums: 4,
            queue_id: -1,
            sys_flag: 1,
            born_timestamp: 1_700_000_000_000,
            flag: 7,
            properties: "KEYS\u{1}k\u{2}",
            reconsume_times: 2,
            unit_mode: true,
            max_reconsume_times: Some(16),
            batch: true,
            broker_name: Some("b"),
        }
    }

    #[test]
    fn both_spellings_carry_the_same() {
        for code in [10, 310, 320, 324, 325] {
            let frame = Frame::decode(sample().frame(code).encode()).unwrap();
            assert_eq!(SendRequest::read(&frame).unwrap(), sample(), "code {code}");
        }
    }

    #[test]
    fn a_batch_flag_of_1_is_true() {
        let mut frame = SendRequest {
            batch: false,
            ..sample()
        }
        .frame(10);
        let text: Vec<_> = frame
            .fields
            .iter()
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .collect();
        frame.fields = Fields::default();
        for (name, value) in text {
            frame
                .fields
                .put(&name, if name == "batch" { "1" } else { &value });
        }
        assert!(SendRequest::read(&frame).unwrap().batch);
    }

    #[test]
    fn a_missing_topic_is_named() {
        let mut frame = Frame::command(310);
        frame.fields.put("a", "g");
        assert_eq!(SendRequest::read(&frame), Err(BadField::Missing("b")));
    }
}
