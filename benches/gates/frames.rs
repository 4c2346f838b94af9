//! Requests as a Java client writes them, built once and sent many times, and the reading of answers' codes.

use rmq::protocol::code::request;
use rmq::protocol::frame::Encoding;

/// Topic, group and broker name of every measurement.
pub const TOPIC: &str = "BenchTopic";
pub const PRODUCER_GROUP: &str = "bench-producer";
pub const CONSUMER_GROUP: &str = "bench-consumer";
pub const BROKER_NAME: &str = "broker-a";
/// Queues of the topic: one digit, so that all frames have one length.
pub const QUEUES: usize = 8;

/// Size of the JSON header of a SEND: what a Java client with keys, tags and an instance id writes.
const JSON_HEADER_BYTES: usize = 444;

/// Requests of one length that differ in opaque, queue and unique key, laid one behind the other.
pub struct Requests {
    bytes: Vec<u8>,
    frame_bytes: usize,
    distinct: usize,
}

/// Different requests before they repeat: enough that a broker's index sees many keys.
const DISTINCT: usize = 256;
/// Most requests that one write can hold.
pub const RUN_MAX: usize = 256;

impl Requests {
    /// SEND_MESSAGE_V2 with bodies of `body_bytes`; `queues` of the topic take turns.
    pub fn send(encoding: Encoding, body_bytes: usize, queues: usize) -> Requests {
        let body = vec![b'x'; body_bytes];
        Requests::of(DISTINCT, |n| {
            encode(
                encoding,
                request::SEND_MESSAGE_V2,
                &send_fields(n, n % queues),
                opaque(n),
                &body,
            )
        })
    }

    /// PULL of one queue range after the other: `ranges` of `step` messages each, then from the first again.
    pub fn pulls(ranges: usize, step: u64, messages_max: usize) -> Requests {
        // Leading zeros keep the length; every broker parses them.
        let fields = |n: usize| pull_fields(&format!("{:012}", n as u64 * step), messages_max);
        Requests::of(ranges, |n| {
            encode(Encoding::Json, request::PULL_MESSAGE, &fields(n), opaque(n), &[])
        })
    }

    fn of(distinct: usize, one: impl Fn(usize) -> Vec<u8>) -> Requests {
        let frame_bytes = one(0).len();
        let mut bytes = Vec::with_capacity((distinct + RUN_MAX) * frame_bytes);
        for n in 0..distinct + RUN_MAX {
            let frame = one(n % distinct);
            assert_eq!(frame.len(), frame_bytes, "all requests of a run have one length");
            bytes.extend_from_slice(&frame);
        }
        Requests {
            bytes,
            frame_bytes,
            distinct,
        }
    }

    /// `count` requests from the `cursor`th on, as one slice; the cursor wraps by itself.
    pub fn run(&self, cursor: usize, count: usize) -> &[u8] {
        assert!(count <= RUN_MAX);
        let start = cursor % self.distinct * self.frame_bytes;
        &self.bytes[start..start + count * self.frame_bytes]
    }
}

/// Ten digits, whatever `n`: all frames have one length.
fn opaque(n: usize) -> i32 {
    1_000_000_000 + n as i32
}

fn send_fields(n: usize, queue: usize) -> Vec<(&'static str, String)> {
    let fields = |padding: usize| {
        let properties = format!(
            "KEYS\u{1}order-{n:06}{}\u{2}UNIQ_KEY\u{1}7F000001A1B2251A69D7{n:012X}\u{2}WAIT\u{1}true\u{2}TAGS\u{1}TagA\u{2}INSTANCE_ID\u{1}bench\u{2}",
            "k".repeat(padding)
        );
        vec![
            ("a", PRODUCER_GROUP.to_owned()),
            ("b", TOPIC.to_owned()),
            ("c", "TBW102".to_owned()),
            ("d", QUEUES.to_string()),
            ("e", queue.to_string()),
            ("f", "0".to_owned()),
            ("g", "1795425275443".to_owned()),
            ("h", "0".to_owned()),
            ("i", properties),
            ("j", "0".to_owned()),
            ("k", "false".to_owned()),
            ("m", "false".to_owned()),
            ("n", BROKER_NAME.to_owned()),
        ]
    };
    let bare = json_header(request::SEND_MESSAGE_V2, &fields(0), opaque(n)).len();
    fields(JSON_HEADER_BYTES - bare)
}

/// Fields of CREATE_TOPIC (17) for [`TOPIC`].
pub fn topic_fields() -> Vec<(&'static str, String)> {
    [
        ("topic", TOPIC),
        ("defaultTopic", "TBW102"),
        ("readQueueNums", "8"),
        ("writeQueueNums", "8"),
        ("perm", "6"),
        ("topicFilterType", "SINGLE_TAG"),
        ("topicSysFlag", "0"),
        ("order", "false"),
    ]
    .map(|(name, value)| (name, value.to_owned()))
    .to_vec()
}

/// Fields of PULL_MESSAGE (11) of queue 0: the subscription comes with the request (sysFlag 4), and the broker holds it
/// where nothing is there yet (sysFlag 2).
pub fn pull_fields(queue_offset: &str, messages_max: usize) -> Vec<(&'static str, String)> {
    vec![
        ("consumerGroup", CONSUMER_GROUP.to_owned()),
        ("topic", TOPIC.to_owned()),
        ("queueId", "0".to_owned()),
        ("queueOffset", queue_offset.to_owned()),
        ("maxMsgNums", messages_max.to_string()),
        ("sysFlag", "6".to_owned()),
        ("commitOffset", "0".to_owned()),
        ("suspendTimeoutMillis", "15000".to_owned()),
        ("subscription", "*".to_owned()),
        ("subVersion", "1795425277415".to_owned()),
        ("expressionType", "TAG".to_owned()),
        ("maxMsgBytes", "262144".to_owned()),
        ("bname", BROKER_NAME.to_owned()),
    ]
}

/// A whole request frame.
pub fn encode(encoding: Encoding, code: i32, fields: &[(&str, String)], opaque: i32, body: &[u8]) -> Vec<u8> {
    let (kind, header) = match encoding {
        Encoding::Json => (0, json_header(code, fields, opaque)),
        Encoding::Binary => (1, binary_header(code, fields, opaque)),
    };
    let mut frame = Vec::with_capacity(8 + header.len() + body.len());
    frame.extend_from_slice(&((4 + header.len() + body.len()) as u32).to_be_bytes());
    frame.extend_from_slice(&(kind << 24 | header.len() as u32).to_be_bytes());
    frame.extend_from_slice(&header);
    frame.extend_from_slice(body);
    frame
}

/// The header in the order and the spelling of Java's JSON writer.
fn json_header(code: i32, fields: &[(&str, String)], opaque: i32) -> Vec<u8> {
    let pairs: Vec<String> = fields
        .iter()
        .map(|(name, value)| {
            format!(
                "\"{name}\":\"{}\"",
                value.replace('\u{1}', "\\u0001").replace('\u{2}', "\\u0002")
            )
        })
        .collect();
    let fields = pairs.join(",");
    format!(
        r#"{{"code":{code},"extFields":{{{fields}}},"flag":0,"language":"JAVA","opaque":{opaque},"serializeTypeCurrentRPC":"JSON","version":513}}"#
    )
    .into_bytes()
}

fn binary_header(code: i32, fields: &[(&str, String)], opaque: i32) -> Vec<u8> {
    let mut map = Vec::new();
    for (name, value) in fields {
        map.extend_from_slice(&(name.len() as u16).to_be_bytes());
        map.extend_from_slice(name.as_bytes());
        map.extend_from_slice(&(value.len() as u32).to_be_bytes());
        map.extend_from_slice(value.as_bytes());
    }
    let mut header = Vec::with_capacity(21 + map.len());
    header.extend_from_slice(&(code as u16).to_be_bytes());
    header.push(0); // language: JAVA
    header.extend_from_slice(&513u16.to_be_bytes()); // version: 5.5.0
    header.extend_from_slice(&opaque.to_be_bytes());
    header.extend_from_slice(&[0; 8]); // flag, and no remark
    header.extend_from_slice(&(map.len() as u32).to_be_bytes());
    header.extend_from_slice(&map);
    header
}

/// Whether the header of an answer says SUCCESS. `head` begins at the length word and holds the whole header.
pub fn is_success(head: &[u8]) -> bool {
    let header = &head[8..];
    if head[4] == 1 {
        return header.starts_with(&[0, 0]);
    }
    const CODE: &[u8] = b"\"code\":";
    let Some(at) = memchr::memmem::find(header, CODE) else {
        return false;
    };
    matches!(&header[at + CODE.len()..], [b'0', b',' | b'}', ..])
}
