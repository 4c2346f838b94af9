//! Every byte of RocketMQ's remoting protocol: frames, headers, bodies, records. Pure: no I/O, no clock, no tokio.

pub mod code;
pub mod fastjson;
pub mod fields;
pub mod frame;
pub mod json;
pub mod message;
pub mod properties;
pub mod request;
pub mod settings;

/// The RocketMQ release whose behaviour rmq reports in every frame: V5_5_0 (`MQVersion` ordinal).
pub const VERSION: i32 = 513;

/// Largest frame in either direction, its length word included (Apache: `com.rocketmq.remoting.frameMaxLength`).
pub const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Largest message body unless configured (`maxMessageSize`).
pub const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Largest encoded properties: the length field is a signed 16-bit integer.
pub const PROPERTIES_BYTES_MAX: usize = i16::MAX as usize;
/// Longest topic name a client may create.
pub const TOPIC_BYTES_MAX: usize = 127;
/// Longest name of a `%RETRY%` or `%DLQ%` topic.
pub const RETRY_TOPIC_BYTES_MAX: usize = 255;
/// Longest group name.
pub const GROUP_BYTES_MAX: usize = 120;

const _: () = assert!(BODY_BYTES_MAX + PROPERTIES_BYTES_MAX + 64 * 1024 < FRAME_BYTES_MAX);
