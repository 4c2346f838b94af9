//! The way of a SEND (codes 10, 310, 320; Apache: `SendMessageProcessor`).
//!
//! [`admit`] finds the topic or makes it, [`super::retry::divert`] sends used-up retries to the dead letters,
//! [`Envelope::store`] completes the properties, parks delayed messages and appends. Only what a client could be told is checked; the store
//! checks itself.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use crate::broker::delay::DelayLevels;
use crate::broker::options::BrokerOptions;
use crate::broker::refusal::Refusal;
use crate::broker::stats::Stats;
use crate::broker::topics::{FAQ, RETRY_PREFIX, Topics, show_perm};
use crate::protocol::PROPERTIES_BYTES_MAX;
use crate::protocol::code::response;
use crate::protocol::frame::Frame;
use crate::protocol::message::{
    self, BatchItem, Message, decode_batch, offset_message_id, property, property_of, push_property,
    sys_flag, without_properties,
};
use crate::protocol::request::send::{SendReply, SendRequest};
use crate::protocol::request::topic::{TopicConfig, TopicFilterType, perm};
use crate::remoting::Peer;
use crate::store::{AppendError, Store};

/// Bits of `sysFlag` that producers decide; the broker sets the others itself.
const CLIENT_FLAGS: i32 = sys_flag::COMPRESSED | sys_flag::MULTI_TAGS | 0b111 << sys_flag::COMPRESSION_SHIFT;
/// Unit bits of a topic's own flags: made by a unit, subscribed to by a unit.
const TOPIC_UNIT: i32 = 1;
const TOPIC_UNIT_SUBSCRIPTION: i32 = 2;
/// Longest topic that takes batches.
const BATCH_TOPIC_BYTES_MAX: usize = 127;

/// Where a message is going.
#[derive(Debug, Clone)]
pub struct Target {
    pub topic: Arc<TopicConfig>,
    /// Never negative.
    pub queue_id: i32,
    /// Its topic or group was made for this message: to be saved and registered before the append.
    pub created: bool,
    /// To the dead letters: at once, whatever delay the message asks for.
    pub dead: bool,
}

/// Finds the topic of a SEND, or makes it after its template, and checks the queue.
///
/// # Errors
/// In Apache's order: 16 order topic on a read-only broker, 29 bad name, 16 topic of the broker's own or read-only, 17
/// unknown and not to be made, 29 no such queue.
pub fn admit(
    request: &SendRequest<'_>,
    topics: &Topics,
    options: &BrokerOptions,
    peer: &Peer,
    now_ms: i64,
) -> Result<Target, Refusal> {
    if options.permission & perm::WRITE == 0 && topics.get(request.topic).is_some_and(|topic| topic.order) {
        return Err(Refusal::new(
            response::NO_PERMISSION,
            format!("the broker[{}] sending message is forbidden", options.advertised),
        ));
    }
    let (topic, created) = match topics.writable(request.topic)? {
        Some(topic) => (topic, false),
        None => create(request, topics, now_ms)?,
    };
    let queues = topic.read_queue_nums.max(topic.write_queue_nums);
    if request.queue_id >= queues {
        return Err(Refusal::new(
            response::INVALID_PARAMETER,
            format!(
                "request queueId[{}] is illegal, {} Producer: {}",
                request.queue_id,
                show_topic(&topic),
                peer.address()
            ),
        ));
    }
    let queue_id = if request.queue_id < 0 {
        any_queue(topic.write_queue_nums)
    } else {
        request.queue_id
    };
    Ok(Target {
        topic,
        queue_id,
        created,
        dead: false,
    })
}

/// One of so many queues, by chance.
pub(super) fn any_queue(queues: i32) -> i32 {
    fastrand::i32(0..queues.max(1))
}

fn create(
    request: &SendRequest<'_>,
    topics: &Topics,
    now_ms: i64,
) -> Result<(Arc<TopicConfig>, bool), Refusal> {
    let is_retry = request.topic.starts_with(RETRY_PREFIX);
    let sys_flag = match (request.unit_mode, is_retry) {
        (false, _) => 0,
        (true, false) => TOPIC_UNIT,
        (true, true) => TOPIC_UNIT_SUBSCRIPTION,
    };
    let wished = request.default_topic_queue_nums;
    let made = topics.create_from(request.default_topic, request.topic, wished, sys_flag, now_ms);
    let made = made.or_else(|| is_retry.then(|| topics.ensure(request.topic, 1, None, now_ms)));
    let made = made.ok_or_else(|| {
        Refusal::new(
            response::TOPIC_NOT_EXIST,
            format!("topic[{}] not exist, apply first please!{FAQ}", request.topic),
        )
    })?;
    Ok((made.topic, made.changed))
}

/// A topic as Java prints it: the remark of a refusal shows what the client's idea of the topic differs from.
fn show_topic(topic: &TopicConfig) -> String {
    format!(
        "TopicConfig [topicName={}, readQueueNums={}, writeQueueNums={}, perm={}, topicFilterType={}, topicSysFlag={}, order={}, attributes={:?}]",
        topic.topic_name,
        topic.read_queue_nums,
        topic.write_queue_nums,
        show_perm(topic.perm),
        topic.topic_filter_type,
        topic.topic_sys_flag,
        topic.order,
        topic.attributes
    )
}

/// Why a message was not stored.
#[derive(Debug)]
pub enum NotStored {
    Refused(Refusal),
    /// Too much waits for the disk: the same message can be stored in a moment.
    Busy,
}

impl From<Refusal> for NotStored {
    fn from(refusal: Refusal) -> NotStored {
        NotStored::Refused(refusal)
    }
}

/// A stored message or batch, not yet acknowledged.
pub struct Stored {
    /// The answer, valid once the log is durable up to `end`.
    pub reply: Frame,
    /// End of its last record in the log.
    pub end: u64,
    /// Whether the producer waits for the disk where the broker promises it (property WAIT).
    pub wait: bool,
    /// Messages in it.
    count: u64,
}

/// What all messages of one request have in common, and where they go.
pub struct Envelope<'a> {
    pub request: &'a SendRequest<'a>,
    pub target: &'a Target,
    pub options: &'a BrokerOptions,
    pub peer: &'a Peer,
}

impl Envelope<'_> {
    /// Appends the message or batch.
    ///
    /// # Errors
    /// 13 for what cannot be stored, 16 and 1 for kinds of message that are not served, 14 if the store takes nothing.
    pub fn store(
        &self,
        body: &[u8],
        store: &Store,
        levels: &DelayLevels,
        stats: &Stats,
    ) -> Result<Stored, NotStored> {
        let begin = Instant::now();
        let properties_len = self.request.properties.len();
        if body.is_empty()
            || body.len() > self.options.message_bytes_max
            || properties_len > PROPERTIES_BYTES_MAX
        {
            return Err(illegal(self.options).into());
        }
        let stored = match self.request.batch {
            true => self.store_batch(body, store)?,
            false => self.store_one(body, store, levels)?,
        };
        stats.put(
            &self.target.topic.topic_name,
            stored.count,
            body.len() as u64,
            begin.elapsed(),
        );
        Ok(stored)
    }

    fn store_one(&self, body: &[u8], store: &Store, levels: &DelayLevels) -> Result<Stored, NotStored> {
        let asked = Asked::read(self.request.properties);
        asked.check(&self.target.topic)?;
        let (unique_key, mut properties) = self.complete(&asked);
        let level = if self.target.dead { 0 } else { asked.delay_level };
        let (topic, queue_id) = (self.target.topic.topic_name.as_str(), self.target.queue_id);
        let (topic, queue_id) = levels
            .park(level, topic, queue_id, &mut properties)
            .unwrap_or((topic, queue_id));
        if properties.len() > PROPERTIES_BYTES_MAX {
            return Err(illegal(self.options).into());
        }
        let message = self.message(topic, queue_id, self.request.flag, body, &properties);
        let appended = store.append(&message).map_err(|error| not_stored(&error))?;
        let id = offset_message_id(self.options.store_host, appended.log_offset);
        let reply = self.reply(&id, appended.queue_offset, Some(&unique_key));
        Ok(Stored {
            reply,
            end: appended.end,
            wait: asked.wait,
            count: 1,
        })
    }

    /// Stores all messages of the batch or none.
    fn store_batch(&self, body: &[u8], store: &Store) -> Result<Stored, NotStored> {
        let topic = self.target.topic.topic_name.as_str();
        if topic.starts_with(RETRY_PREFIX) || topic.len() > BATCH_TOPIC_BYTES_MAX {
            return Err(Refusal::new(
                response::MESSAGE_ILLEGAL,
                format!("batch request does not support the topic {topic}: it is a retry topic or longer than 127 bytes"),
            )
            .into());
        }
        let items = decode_batch(body)
            .filter(|items| !items.is_empty())
            .ok_or_else(|| illegal(self.options))?;
        let properties: Vec<Cow<'_, str>> = items.iter().map(batch_properties).collect();
        if properties
            .iter()
            .any(|properties| properties.len() > PROPERTIES_BYTES_MAX)
        {
            return Err(illegal(self.options).into());
        }
        let pairs = items.iter().zip(&properties);
        let messages: Vec<Message<'_>> = pairs
            .map(|(item, properties)| {
                self.message(topic, self.target.queue_id, item.flag, item.body, properties)
            })
            .collect();
        let appended = store.append_all(&messages).map_err(|error| not_stored(&error))?;
        let (first, last) = (appended[0], appended[appended.len() - 1]);
        let ids: Vec<String> = appended
            .iter()
            .map(|one| offset_message_id(self.options.store_host, one.log_offset))
            .collect();
        let asked = Asked::read(self.request.properties);
        let reply = self.reply(&ids.join(","), first.queue_offset, asked.unique_key);
        Ok(Stored {
            reply,
            end: last.end,
            wait: asked.wait,
            count: appended.len() as u64,
        })
    }

    fn message<'m>(
        &self,
        topic: &'m str,
        queue_id: i32,
        flag: i32,
        body: &'m [u8],
        properties: &'m str,
    ) -> Message<'m> {
        let mut sys_flag = self.request.sys_flag & CLIENT_FLAGS;
        if self.target.topic.topic_filter_type == TopicFilterType::MultiTag {
            sys_flag |= sys_flag::MULTI_TAGS;
        }
        Message {
            topic,
            queue_id,
            flag,
            sys_flag,
            born_timestamp: self.request.born_timestamp,
            born_host: self.peer.address(),
            reconsume_times: self.request.reconsume_times,
            prepared_transaction_offset: 0,
            body,
            properties,
        }
    }

    /// The properties to store, and the message's unique key: what the client sent, then what the broker adds. Only a
    /// message that names one of the broker's own properties is rewritten.
    fn complete<'p>(&self, asked: &Asked<'p>) -> (Cow<'p, str>, String) {
        let sent = self.request.properties;
        let mut properties = String::with_capacity(sent.len() + 192);
        if asked.names_ours || self.target.dead && asked.delay_level != 0 {
            let dropped = if self.target.dead { &OURS[..] } else { &OURS[1..] };
            properties.push_str(&without_properties(sent, dropped));
        } else {
            properties.push_str(sent);
        }
        let unique_key = match asked.unique_key {
            Some(key) => Cow::Borrowed(key),
            None => {
                let key = unique_key(self.options.store_host);
                push_property(&mut properties, property::UNIQ_KEY, &key);
                Cow::Owned(key)
            }
        };
        push_property(&mut properties, property::MSG_REGION, &self.options.region);
        push_property(
            &mut properties,
            property::TRACE_ON,
            if self.options.trace_on { "true" } else { "false" },
        );
        push_property(&mut properties, property::CLUSTER, &self.options.cluster);
        (unique_key, properties)
    }

    /// The queue id of the answer is that of the real topic, also for a message that was parked elsewhere.
    fn reply(&self, message_ids: &str, queue_offset: u64, unique_key: Option<&str>) -> Frame {
        Frame::answer_with(
            response::SUCCESS,
            &SendReply {
                msg_id: message_ids,
                queue_id: self.target.queue_id,
                queue_offset: queue_offset as i64,
                transaction_id: unique_key,
                batch_uniq_id: None,
                recall_handle: None,
                region: Some(&self.options.region),
                trace_on: Some(self.options.trace_on),
            },
        )
    }
}

/// Properties that the broker writes itself. The level of a delay comes first: only dead letters lose it.
const OURS: [&str; 10] = [
    property::DELAY,
    property::POP_CK,
    property::MSG_REGION,
    property::TRACE_ON,
    property::CLUSTER,
    property::REAL_TOPIC,
    property::REAL_QUEUE_ID,
    property::TIMER_DELAY_SEC,
    property::TIMER_DELAY_MS,
    property::TIMER_DELIVER_MS,
];

/// What the properties of a message ask the broker for, found in one pass.
struct Asked<'a> {
    unique_key: Option<&'a str>,
    delay_level: i32,
    wait: bool,
    has_keys: bool,
    is_half: bool,
    is_timed: bool,
    /// It names a property of [`OURS`] other than the delay level, so the text cannot be stored as it is.
    names_ours: bool,
}

impl<'a> Asked<'a> {
    fn read(properties: &'a str) -> Asked<'a> {
        let mut asked = Asked {
            unique_key: None,
            delay_level: 0,
            wait: true,
            has_keys: false,
            is_half: false,
            is_timed: false,
            names_ours: false,
        };
        for (name, value) in message::properties(properties) {
            match name {
                property::UNIQ_KEY => asked.unique_key = Some(value),
                property::DELAY => asked.delay_level = value.parse().unwrap_or(0),
                property::WAIT => asked.wait = !value.eq_ignore_ascii_case("false"),
                property::KEYS => asked.has_keys = true,
                property::TRAN_MSG => asked.is_half = value.eq_ignore_ascii_case("true"),
                property::TIMER_DELAY_SEC | property::TIMER_DELAY_MS | property::TIMER_DELIVER_MS => {
                    asked.is_timed = true;
                    asked.names_ours = true;
                }
                name => asked.names_ours |= OURS[1..].contains(&name),
            }
        }
        asked
    }

    fn check(&self, topic: &TopicConfig) -> Result<(), Refusal> {
        if self.is_half {
            return Err(Refusal::new(
                response::NO_PERMISSION,
                "this broker does not take transactional messages yet",
            ));
        }
        // A delay level wins over an exact time.
        if self.is_timed && self.delay_level <= 0 {
            return Err(Refusal::new(
                response::SYSTEM_ERROR,
                "accurate timer message is not enabled, timerWheelEnable is false",
            ));
        }
        let has = |name: &str, value: &str| topic.attributes.get(name).is_some_and(|set| set == value);
        if has("cleanup.policy", "COMPACTION") && !self.has_keys {
            return Err(Refusal::new(
                response::MESSAGE_ILLEGAL,
                "the message of a compaction topic needs a key",
            ));
        }
        Ok(())
    }
}

/// The properties of a message in a batch: as sent, with a unique key of its own.
fn batch_properties<'a>(item: &BatchItem<'a>) -> Cow<'a, str> {
    if property_of(item.properties, property::UNIQ_KEY).is_some() {
        return Cow::Borrowed(item.properties);
    }
    let mut properties = item.properties.to_string();
    push_property(
        &mut properties,
        property::UNIQ_KEY,
        &unique_key(([0, 0, 0, 0], 0).into()),
    );
    Cow::Owned(properties)
}

fn illegal(options: &BrokerOptions) -> Refusal {
    Refusal::new(
        response::MESSAGE_ILLEGAL,
        format!(
            "the message is illegal, maybe msg body or properties length not matched. msg body length limit {}B, msg properties length limit 32KB.",
            options.message_bytes_max
        ),
    )
}

/// Why the store did not take a message, as producers have to hear it: with 14 they try another broker.
fn not_stored(error: &AppendError) -> NotStored {
    let code = match error {
        AppendError::Busy { .. } => return NotStored::Busy,
        AppendError::TooLarge { .. } | AppendError::BadTopic(_) => response::MESSAGE_ILLEGAL,
        AppendError::TopicDeleting(_) => response::TOPIC_NOT_EXIST,
        AppendError::NoRoom(_) | AppendError::Poisoned(_) | AppendError::Closed => {
            response::SERVICE_NOT_AVAILABLE
        }
    };
    NotStored::Refused(Refusal::new(code, format!("service not available now. {error}")))
}

/// A unique message id as Java clients make them: address, process, a number for this run, milliseconds, a counter; 32
/// hex digits. For messages whose producer gave none.
fn unique_key(host: std::net::SocketAddr) -> String {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let address = match host.ip().to_canonical() {
        std::net::IpAddr::V4(ip) => u32::from(ip),
        std::net::IpAddr::V6(ip) => u128::from(ip) as u32,
    };
    let process = std::process::id() as u16;
    let run = fastrand::u32(..);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    format!(
        "{address:08X}{process:04X}{run:08X}{:08X}{:04X}",
        count >> 16,
        count & 0xffff
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_message_asks_for_is_found_also_without_a_last_separator() {
        let asked = Asked::read("UNIQ_KEY\u{1}abc\u{2}WAIT\u{1}false\u{2}DELAY\u{1}3");
        assert_eq!(
            (asked.unique_key, asked.wait, asked.delay_level),
            (Some("abc"), false, 3)
        );
        assert!(!asked.names_ours && !asked.is_half);
        assert!(Asked::read("CLUSTER\u{1}forged\u{2}").names_ours);
        assert!(Asked::read("").wait);
    }

    #[test]
    fn keys_made_here_are_of_javas_form_and_differ() {
        let host = ([10, 9, 0, 1], 10911).into();
        let (one, other) = (unique_key(host), unique_key(host));
        assert_ne!(one, other);
        assert!(one.len() == 32 && one.starts_with("0A090001"));
    }
}
