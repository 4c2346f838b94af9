//! Messages and records: what is sent, and its encoded form, which is the same in the commit log and in the body of a
//! PULL's answer (Apache: `MessageDecoder`, `MessageExtEncoder`).
//!
//! ```text
//! totalSize 4 | magic 4 | bodyCrc 4 | queueId 4 | flag 4 | queueOffset 8 | physicalOffset 8 | sysFlag 4
//! | bornTimestamp 8 | bornHost 8 or 20 | storeTimestamp 8 | storeHost 8 or 20 | reconsumeTimes 4
//! | preparedTransactionOffset 8 | bodyLength 4, body | topicLength 1 (V1) or 2 (V2), topic | propertiesLength 2, properties
//! ```
//! All integers are big-endian. The host fields are 20 bytes (an IPv6 address) where `sysFlag` says so.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Magic of a record whose topic length is one byte.
pub const MAGIC_V1: u32 = 0xDAA3_20A7;
/// Magic of a record whose topic length is two bytes: topics longer than 127 bytes.
pub const MAGIC_V2: u32 = 0xDAA3_20AB;
/// Magic of the filler behind the last record of a segment; never sent.
pub const MAGIC_BLANK: u32 = 0xCBD4_3194;

/// Where the fields that the append section patches lie in a record.
pub const QUEUE_OFFSET_AT: usize = 20;
pub const PHYSICAL_OFFSET_AT: usize = 28;

/// Bits of `sysFlag` (`MessageSysFlag`).
pub mod sys_flag {
    pub const COMPRESSED: i32 = 0x1;
    pub const MULTI_TAGS: i32 = 0x2;
    pub const TRANSACTION_PREPARED: i32 = 0x4;
    pub const TRANSACTION_COMMIT: i32 = 0x8;
    /// Both transaction bits: rollback; also the mask of the two.
    pub const TRANSACTION_ROLLBACK: i32 = 0xC;
    pub const BORN_HOST_V6: i32 = 0x10;
    pub const STORE_HOST_V6: i32 = 0x20;
    pub const NEED_UNWRAP: i32 = 0x40;
    pub const INNER_BATCH: i32 = 0x80;
    /// Three bits: 0 and 3 zlib, 1 lz4, 2 zstd.
    pub const COMPRESSION_SHIFT: i32 = 8;
}

/// Names of properties (`MessageConst`).
pub mod property {
    pub const KEYS: &str = "KEYS";
    pub const TAGS: &str = "TAGS";
    pub const WAIT: &str = "WAIT";
    pub const DELAY: &str = "DELAY";
    pub const RETRY_TOPIC: &str = "RETRY_TOPIC";
    pub const REAL_TOPIC: &str = "REAL_TOPIC";
    pub const REAL_QUEUE_ID: &str = "REAL_QID";
    pub const RECONSUME_TIME: &str = "RECONSUME_TIME";
    pub const MAX_RECONSUME_TIMES: &str = "MAX_RECONSUME_TIMES";
    pub const ORIGIN_MESSAGE_ID: &str = "ORIGIN_MESSAGE_ID";
    pub const DLQ_ORIGIN_TOPIC: &str = "DLQ_ORIGIN_TOPIC";
    pub const DLQ_ORIGIN_MESSAGE_ID: &str = "DLQ_ORIGIN_MESSAGE_ID";
    pub const UNIQ_KEY: &str = "UNIQ_KEY";
    pub const MSG_REGION: &str = "MSG_REGION";
    pub const TRACE_ON: &str = "TRACE_ON";
    pub const CLUSTER: &str = "CLUSTER";
    pub const TRAN_MSG: &str = "TRAN_MSG";
    pub const PRODUCER_GROUP: &str = "PGROUP";
    pub const POP_CK: &str = "POP_CK";
    pub const TIMER_DELAY_SEC: &str = "TIMER_DELAY_SEC";
    pub const TIMER_DELAY_MS: &str = "TIMER_DELAY_MS";
    pub const TIMER_DELIVER_MS: &str = "TIMER_DELIVER_MS";
    pub const INNER_NUM: &str = "INNER_NUM";
    pub const INNER_BASE: &str = "INNER_BASE";
    pub const INSTANCE_ID: &str = "INSTANCE_ID";
}

/// Separates a property's name from its value.
pub const NAME_VALUE_SEPARATOR: char = '\u{1}';
/// Ends a property; the last one may lack it (clients since 4.9.1).
pub const PROPERTY_SEPARATOR: char = '\u{2}';

/// A message to be stored: everything of its record but the position, the queue offset and the store time.
#[derive(Clone, Debug)]
pub struct Message<'a> {
    pub topic: &'a str,
    pub queue_id: i32,
    /// The user's own 32 bits.
    pub flag: i32,
    pub sys_flag: i32,
    /// The producer's clock, epoch milliseconds.
    pub born_timestamp: i64,
    pub born_host: SocketAddr,
    pub reconsume_times: i32,
    /// Log offset of the half message that this record commits; 0 otherwise.
    pub prepared_transaction_offset: i64,
    pub body: &'a [u8],
    /// Encoded properties, see [`properties`].
    pub properties: &'a str,
}

impl Message<'_> {
    /// Size of the record in bytes.
    pub fn record_len(&self, store_host: SocketAddr) -> usize {
        let topic_len_width = if self.topic.len() > 127 { 2 } else { 1 };
        75 + host_len(self.born_host.ip()) - 8 + host_len(store_host.ip()) - 8
            + 13
            + self.body.len()
            + topic_len_width
            + self.topic.len()
            + 2
            + self.properties.len()
    }

    /// Appends the record to `out` with queue offset, physical offset and store time zero, to be patched by
    /// [`patch`]. The body's CRC is taken here, outside of every lock. Returns the record's size.
    ///
    /// # Panics
    /// If topic or properties are longer than the format allows: callers refuse such messages before.
    pub fn encode(&self, store_host: SocketAddr, out: &mut Vec<u8>) -> usize {
        assert!(self.properties.len() <= super::PROPERTIES_BYTES_MAX);
        assert!(self.topic.len() <= super::RETRY_TOPIC_BYTES_MAX);
        let start = out.len();
        let len = self.record_len(store_host);
        out.reserve(len);
        let mut flags = self.sys_flag & !(sys_flag::BORN_HOST_V6 | sys_flag::STORE_HOST_V6);
        if host_len(self.born_host.ip()) == 20 {
            flags |= sys_flag::BORN_HOST_V6;
        }
        if host_len(store_host.ip()) == 20 {
            flags |= sys_flag::STORE_HOST_V6;
        }
        let long_topic = self.topic.len() > 127;
        let magic = if long_topic { MAGIC_V2 } else { MAGIC_V1 };
        out.extend_from_slice(&(len as u32).to_be_bytes());
        out.extend_from_slice(&magic.to_be_bytes());
        out.extend_from_slice(&body_crc(self.body).to_be_bytes());
        out.extend_from_slice(&self.queue_id.to_be_bytes());
        out.extend_from_slice(&self.flag.to_be_bytes());
        out.extend_from_slice(&[0; 16]); // queueOffset, physicalOffset
        out.extend_from_slice(&flags.to_be_bytes());
        out.extend_from_slice(&self.born_timestamp.to_be_bytes());
        put_host(self.born_host, out);
        out.extend_from_slice(&[0; 8]); // storeTimestamp
        put_host(store_host, out);
        out.extend_from_slice(&self.reconsume_times.to_be_bytes());
        out.extend_from_slice(&self.prepared_transaction_offset.to_be_bytes());
        out.extend_from_slice(&(self.body.len() as u32).to_be_bytes());
        out.extend_from_slice(self.body);
        if long_topic {
            out.extend_from_slice(&(self.topic.len() as u16).to_be_bytes());
        } else {
            out.push(self.topic.len() as u8);
        }
        out.extend_from_slice(self.topic.as_bytes());
        out.extend_from_slice(&(self.properties.len() as u16).to_be_bytes());
        out.extend_from_slice(self.properties.as_bytes());
        assert_eq!(out.len() - start, len);
        len
    }
}

/// Sets the three fields of an encoded record that are known only at its place in the log.
pub fn patch(record: &mut [u8], queue_offset: u64, physical_offset: u64, store_timestamp: i64) {
    let flags = i32::from_be_bytes(record[36..40].try_into().expect("four bytes"));
    let store_time_at = if flags & sys_flag::BORN_HOST_V6 != 0 {
        68
    } else {
        56
    };
    record[QUEUE_OFFSET_AT..QUEUE_OFFSET_AT + 8].copy_from_slice(&queue_offset.to_be_bytes());
    record[PHYSICAL_OFFSET_AT..PHYSICAL_OFFSET_AT + 8].copy_from_slice(&physical_offset.to_be_bytes());
    record[store_time_at..store_time_at + 8].copy_from_slice(&store_timestamp.to_be_bytes());
}

/// CRC-32 (IEEE) of a stored body without its sign bit, as Java keeps it.
pub fn body_crc(body: &[u8]) -> u32 {
    crc32fast::hash(body) & 0x7fff_ffff
}

/// Why bytes are not a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadRecord {
    #[error("{0} bytes are too few for a record")]
    TooShort(usize),
    #[error("unknown magic {0:#010x}")]
    Magic(u32),
    #[error("stated size {stated} in {available} bytes")]
    Size { stated: u32, available: usize },
    #[error("the lengths inside do not add up to the size")]
    Lengths,
    #[error("topic or properties are not UTF-8")]
    Text,
    #[error("body CRC is {actual:#010x}, the record says {stated:#010x}")]
    BodyCrc { stated: u32, actual: u32 },
}

/// A decoded record, borrowed from its bytes.
#[derive(Clone, Copy, Debug)]
pub struct RecordView<'a> {
    /// The whole record.
    pub bytes: &'a [u8],
    pub body_crc: u32,
    pub queue_id: i32,
    pub flag: i32,
    pub queue_offset: u64,
    pub physical_offset: u64,
    pub sys_flag: i32,
    pub born_timestamp: i64,
    pub born_host: SocketAddr,
    pub store_timestamp: i64,
    pub store_host: SocketAddr,
    pub reconsume_times: i32,
    pub prepared_transaction_offset: i64,
    pub body: &'a [u8],
    pub topic: &'a str,
    pub properties: &'a str,
}

impl<'a> RecordView<'a> {
    /// Decodes the record at the front of `bytes`; what follows it is left alone. The body's CRC is not checked,
    /// see [`RecordView::check_body`].
    pub fn decode(bytes: &'a [u8]) -> Result<RecordView<'a>, BadRecord> {
        if bytes.len() < 8 {
            return Err(BadRecord::TooShort(bytes.len()));
        }
        let stated = u32_at(bytes, 0);
        let magic = u32_at(bytes, 4);
        if magic != MAGIC_V1 && magic != MAGIC_V2 {
            return Err(BadRecord::Magic(magic));
        }
        if stated as usize > bytes.len() || stated < 91 {
            return Err(BadRecord::Size {
                stated,
                available: bytes.len(),
            });
        }
        let bytes = &bytes[..stated as usize];
        let sys_flag = u32_at(bytes, 36) as i32;
        let mut at = 48;
        let born_host =
            take_host(bytes, &mut at, sys_flag & sys_flag::BORN_HOST_V6 != 0).ok_or(BadRecord::Lengths)?;
        let store_timestamp = take(bytes, &mut at, 8)
            .map(|field| u64_at(field, 0) as i64)
            .ok_or(BadRecord::Lengths)?;
        let store_host =
            take_host(bytes, &mut at, sys_flag & sys_flag::STORE_HOST_V6 != 0).ok_or(BadRecord::Lengths)?;
        let fixed = take(bytes, &mut at, 16).ok_or(BadRecord::Lengths)?;
        let body_len = u32_at(fixed, 12) as usize;
        let body = take(bytes, &mut at, body_len).ok_or(BadRecord::Lengths)?;
        let topic_len = match magic {
            MAGIC_V1 => take(bytes, &mut at, 1).map(|field| usize::from(field[0])),
            _ => take(bytes, &mut at, 2).map(|field| usize::from(u16_at(field, 0))),
        };
        let topic = take(bytes, &mut at, topic_len.ok_or(BadRecord::Lengths)?).ok_or(BadRecord::Lengths)?;
        let properties_len = take(bytes, &mut at, 2)
            .map(|field| usize::from(u16_at(field, 0)))
            .ok_or(BadRecord::Lengths)?;
        let properties = take(bytes, &mut at, properties_len).ok_or(BadRecord::Lengths)?;
        if at != bytes.len() {
            return Err(BadRecord::Lengths);
        }
        Ok(RecordView {
            bytes,
            body_crc: u32_at(bytes, 8),
            queue_id: u32_at(bytes, 12) as i32,
            flag: u32_at(bytes, 16) as i32,
            queue_offset: u64_at(bytes, QUEUE_OFFSET_AT),
            physical_offset: u64_at(bytes, PHYSICAL_OFFSET_AT),
            sys_flag,
            born_timestamp: u64_at(bytes, 40) as i64,
            born_host,
            store_timestamp,
            store_host,
            reconsume_times: u32_at(fixed, 0) as i32,
            prepared_transaction_offset: u64_at(fixed, 4) as i64,
            body,
            topic: std::str::from_utf8(topic).map_err(|_| BadRecord::Text)?,
            properties: std::str::from_utf8(properties).map_err(|_| BadRecord::Text)?,
        })
    }

    /// Compares the body with the CRC the record carries.
    pub fn check_body(&self) -> Result<(), BadRecord> {
        let actual = body_crc(self.body);
        if self.body.is_empty() || actual == self.body_crc {
            return Ok(());
        }
        Err(BadRecord::BodyCrc {
            stated: self.body_crc,
            actual,
        })
    }

    /// Size in bytes.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// A record is never empty.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The value of one property.
    pub fn property(&self, name: &str) -> Option<&'a str> {
        property_of(self.properties, name)
    }

    /// The id made of this broker's address and the record's place (`offsetMsgId`).
    pub fn offset_message_id(&self) -> String {
        offset_message_id(self.store_host, self.physical_offset)
    }

    /// The record as a message, to be stored again elsewhere.
    pub fn message(&self) -> Message<'a> {
        Message {
            topic: self.topic,
            queue_id: self.queue_id,
            flag: self.flag,
            sys_flag: self.sys_flag,
            born_timestamp: self.born_timestamp,
            born_host: self.born_host,
            reconsume_times: self.reconsume_times,
            prepared_transaction_offset: self.prepared_transaction_offset,
            body: self.body,
            properties: self.properties,
        }
    }
}

/// Records laid one behind the other, as a PULL's answer carries them. Stops at the first bytes that are no record.
pub fn records(mut bytes: &[u8]) -> impl Iterator<Item = Result<RecordView<'_>, BadRecord>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let decoded = RecordView::decode(bytes);
        bytes = decoded.as_ref().map_or(&[], |record| &bytes[record.len()..]);
        Some(decoded)
    })
}

/// The pairs of encoded properties. Pairs without a name, a separator or a value are skipped, as Java skips them.
pub fn properties(encoded: &str) -> impl Iterator<Item = (&str, &str)> {
    // Both separators are one byte in UTF-8, so that a search over bytes cuts between characters.
    let mut rest = encoded;
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let end = memchr::memchr(PROPERTY_SEPARATOR as u8, rest.as_bytes()).unwrap_or(rest.len());
            let pair = &rest[..end];
            rest = rest.get(end + 1..).unwrap_or("");
            let Some(middle) = memchr::memchr(NAME_VALUE_SEPARATOR as u8, pair.as_bytes()) else {
                continue;
            };
            let (name, value) = (&pair[..middle], &pair[middle + 1..]);
            if !name.is_empty() && !value.is_empty() {
                return Some((name, value));
            }
        }
        None
    })
}

/// The value of one property in encoded properties. A name that occurs twice, as in the records of a batch, has its last
/// value, as in Java's map.
pub fn property_of<'a>(encoded: &'a str, name: &str) -> Option<&'a str> {
    properties(encoded)
        .filter(|(key, _)| *key == name)
        .last()
        .map(|(_, value)| value)
}

/// Appends a property, closing an open last one first (its separator is optional on the wire).
pub fn push_property(encoded: &mut String, name: &str, value: &str) {
    if !encoded.is_empty() && !encoded.ends_with(PROPERTY_SEPARATOR) {
        encoded.push(PROPERTY_SEPARATOR);
    }
    encoded.push_str(name);
    encoded.push(NAME_VALUE_SEPARATOR);
    encoded.push_str(value);
    encoded.push(PROPERTY_SEPARATOR);
}

/// Encoded properties without the named ones.
pub fn without_properties(encoded: &str, names: &[&str]) -> String {
    let mut kept = String::with_capacity(encoded.len());
    for (name, value) in properties(encoded).filter(|(name, _)| !names.contains(name)) {
        push_property(&mut kept, name, value);
    }
    kept
}

/// Encoded properties with `name` set to `value`, whatever it was.
pub fn with_property(encoded: &str, name: &str, value: &str) -> String {
    let mut changed = without_properties(encoded, &[name]);
    push_property(&mut changed, name, value);
    changed
}

/// `String.hashCode` of Java: over UTF-16 units, wrapping.
pub fn java_hash(text: &str) -> i32 {
    if text.is_ascii() {
        return text.bytes().fold(0i32, |hash, byte| {
            hash.wrapping_mul(31).wrapping_add(i32::from(byte))
        });
    }
    text.encode_utf16().fold(0i32, |hash, unit| {
        hash.wrapping_mul(31).wrapping_add(i32::from(unit))
    })
}

/// The tag hash of a consume queue entry: 0 without a tag.
pub fn tags_code(properties: &str) -> i64 {
    property_of(properties, property::TAGS).map_or(0, |tag| i64::from(java_hash(tag)))
}

/// The id a broker gives a stored message: upper-case hex of store address, port and log offset.
pub fn offset_message_id(store_host: SocketAddr, log_offset: u64) -> String {
    let mut id = String::with_capacity(56);
    match plain_ip(store_host.ip()) {
        IpAddr::V4(ip) => ip.octets().iter().for_each(|byte| push_hex(&mut id, *byte)),
        IpAddr::V6(ip) => ip.octets().iter().for_each(|byte| push_hex(&mut id, *byte)),
    }
    u32::from(store_host.port())
        .to_be_bytes()
        .iter()
        .for_each(|byte| push_hex(&mut id, *byte));
    log_offset
        .to_be_bytes()
        .iter()
        .for_each(|byte| push_hex(&mut id, *byte));
    id
}

/// The address and log offset inside an `offsetMsgId`; `None` if the text is not one.
pub fn parse_offset_message_id(id: &str) -> Option<(SocketAddr, u64)> {
    if !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let number = |text: &str| u64::from_str_radix(text, 16).ok();
    let (ip, rest) = match id.len() {
        32 => (IpAddr::V4(Ipv4Addr::from(number(&id[..8])? as u32)), &id[8..]),
        56 => (
            IpAddr::V6(Ipv6Addr::from(u128::from_str_radix(&id[..32], 16).ok()?)),
            &id[32..],
        ),
        _ => return None,
    };
    let port = u16::try_from(number(&rest[..8])?).ok()?;
    Some((SocketAddr::new(ip, port), number(&rest[8..])?))
}

fn push_hex(out: &mut String, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    out.push(char::from(HEX[usize::from(byte >> 4)]));
    out.push(char::from(HEX[usize::from(byte & 15)]));
}

/// An IPv4 address in IPv6 clothing counts as IPv4: clients read only such hosts.
fn plain_ip(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

fn host_len(ip: IpAddr) -> usize {
    if plain_ip(ip).is_ipv4() { 8 } else { 20 }
}

fn put_host(host: SocketAddr, out: &mut Vec<u8>) {
    match plain_ip(host.ip()) {
        IpAddr::V4(ip) => out.extend_from_slice(&ip.octets()),
        IpAddr::V6(ip) => out.extend_from_slice(&ip.octets()),
    }
    out.extend_from_slice(&u32::from(host.port()).to_be_bytes());
}

fn take<'a>(bytes: &'a [u8], at: &mut usize, len: usize) -> Option<&'a [u8]> {
    let taken = bytes.get(*at..at.checked_add(len)?)?;
    *at += len;
    Some(taken)
}

fn take_host(bytes: &[u8], at: &mut usize, v6: bool) -> Option<SocketAddr> {
    let ip = if v6 {
        IpAddr::from(<[u8; 16]>::try_from(take(bytes, at, 16)?).ok()?)
    } else {
        IpAddr::from(<[u8; 4]>::try_from(take(bytes, at, 4)?).ok()?)
    };
    let port = u32_at(take(bytes, at, 4)?, 0);
    // The port field is four bytes wide; its upper half is not used.
    Some(SocketAddr::new(ip, port as u16))
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(bytes[at..at + 2].try_into().expect("two bytes"))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// One message of a batch body (`SEND_BATCH_MESSAGE`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchItem<'a> {
    pub flag: i32,
    pub body: &'a [u8],
    pub properties: &'a str,
}

/// Splits a batch body: `totalSize 4 | magic 4 | crc 4 | flag 4 | bodyLen 4, body | propertiesLen 2, properties`, repeated.
/// `None` if the lengths do not add up.
pub fn decode_batch(mut bytes: &[u8]) -> Option<Vec<BatchItem<'_>>> {
    let mut items = Vec::new();
    while !bytes.is_empty() {
        let mut at = 0;
        let head = take(bytes, &mut at, 20)?;
        let (total, flag, body_len) = (
            u32_at(head, 0) as usize,
            u32_at(head, 12) as i32,
            u32_at(head, 16) as usize,
        );
        let body = take(bytes, &mut at, body_len)?;
        let properties_len = usize::from(u16_at(take(bytes, &mut at, 2)?, 0));
        let properties = std::str::from_utf8(take(bytes, &mut at, properties_len)?).ok()?;
        if at != total {
            return None;
        }
        items.push(BatchItem {
            flag,
            body,
            properties,
        });
        bytes = &bytes[at..];
    }
    Some(items)
}

/// Appends one message to a batch body.
pub fn encode_batch_item(item: &BatchItem<'_>, out: &mut Vec<u8>) {
    assert!(item.properties.len() <= super::PROPERTIES_BYTES_MAX);
    let total = 22 + item.body.len() + item.properties.len();
    out.extend_from_slice(&(total as u32).to_be_bytes());
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&item.flag.to_be_bytes());
    out.extend_from_slice(&(item.body.len() as u32).to_be_bytes());
    out.extend_from_slice(item.body);
    out.extend_from_slice(&(item.properties.len() as u16).to_be_bytes());
    out.extend_from_slice(item.properties.as_bytes());
}

/// Shows properties as people read them: `NAME=value` separated by spaces.
pub fn show_properties(encoded: &str) -> String {
    let mut shown = String::new();
    for (name, value) in properties(encoded) {
        let separator = if shown.is_empty() { "" } else { " " };
        write!(shown, "{separator}{name}={value}").expect("writing to a String cannot fail");
    }
    shown
}
