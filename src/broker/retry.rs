//! Messages that their consumer could not process: sent back by request 36, or sent by the consumer itself to its
//! `%RETRY%` topic (Apache: `AbstractSendMessageProcessor`).
//!
//! A message comes back after a growing delay until its attempts are used up; then it lies in `%DLQ%` at once, whatever
//! delay it was sent back with.

use crate::broker::delay::DelayLevels;
use crate::broker::groups::{self, EnsuredGroup, Groups};
use crate::broker::options::BrokerOptions;
use crate::broker::refusal::Refusal;
use crate::broker::send::{Target, any_queue};
use crate::broker::topics::{Ensured, RETRY_PREFIX, Topics, dead_letter_topic, retry_topic};
use crate::protocol::PROPERTIES_BYTES_MAX;
use crate::protocol::code::response;
use crate::protocol::message::{Message, RecordView, property, push_property, without_properties};
use crate::protocol::request::group::SubscriptionGroupConfig;
use crate::protocol::request::send::{SendBackRequest, SendRequest};
use crate::protocol::request::topic::perm;
use crate::remoting::Peer;
use crate::store::{Appended, Store};

/// Clients since 3.4.9 say how often a message may be tried.
const VERSION_WITH_MAXIMUM: i32 = 121;
/// The delay level of the first retry; each further one is a level higher.
const FIRST_LEVEL: i32 = 3;

/// Whether a SEND goes to a retry topic.
pub fn is_retry(request: &SendRequest<'_>) -> bool {
    request.topic.starts_with(RETRY_PREFIX)
}

/// The group whose retry topic a SEND goes to.
///
/// # Errors
/// 26 if it is unknown and may not be created.
pub fn group_of(
    request: &SendRequest<'_>,
    groups: &Groups,
    options: &BrokerOptions,
    now_ms: i64,
) -> Result<EnsuredGroup, Refusal> {
    let name = request.topic.strip_prefix(RETRY_PREFIX).unwrap_or(request.topic);
    groups
        .ensure(name, options, now_ms)
        .ok_or_else(|| groups::not_exist(name))
}

/// Sends a retry whose attempts are used up to the dead letters.
///
/// An orderly consumer gives up a message while it holds its queue, so a sender that holds one means the dead letters too.
/// Locks of others say nothing: the retry of one member must not be lost to it because another one consumes in order.
pub fn divert(
    request: &SendRequest<'_>,
    target: Target,
    group: &SubscriptionGroupConfig,
    sender_holds_queue: bool,
    topics: &Topics,
    peer: &Peer,
    now_ms: i64,
) -> Target {
    let used_up = request.reconsume_times > attempts_max(group, request.max_reconsume_times, peer);
    if !used_up && !sender_holds_queue {
        return target;
    }
    let dead = topics.ensure(&dead_letter_topic(&group.group_name), 1, None, now_ms);
    Target {
        topic: dead.topic,
        queue_id: 0,
        created: target.created || dead.changed,
        dead: true,
    }
}

/// How often a message may come back: what the client says counts more than the group's setting.
fn attempts_max(group: &SubscriptionGroupConfig, asked: Option<i32>, peer: &Peer) -> i32 {
    let asked = asked.filter(|times| *times >= 0 && peer.version() >= VERSION_WITH_MAXIMUM);
    asked.unwrap_or(group.retry_max_times)
}

/// The topic of the group's retries, with as many queues as the group is set to have. Called whenever a group appears or
/// its setting changes.
pub fn ensure_topic(
    group: &SubscriptionGroupConfig,
    order: Option<bool>,
    topics: &Topics,
    now_ms: i64,
) -> Ensured {
    topics.ensure(
        &retry_topic(&group.group_name),
        group.retry_queue_nums.max(1),
        order,
        now_ms,
    )
}

/// Where a message that was sent back goes.
pub struct Return {
    pub target: Target,
    /// Level of the delay; 0 for the dead letters.
    level: i32,
}

/// Decides where a sent-back message goes. `None` if the group keeps no retries: it is dropped.
///
/// # Errors
/// 26 unknown group, 16 read-only broker.
pub fn place(
    request: &SendBackRequest,
    record: &RecordView<'_>,
    groups: &Groups,
    topics: &Topics,
    options: &BrokerOptions,
    peer: &Peer,
    now_ms: i64,
) -> Result<Option<Return>, Refusal> {
    let name = request.group.as_str();
    let EnsuredGroup { group, changed } = groups
        .ensure(name, options, now_ms)
        .ok_or_else(|| groups::not_exist(name))?;
    if options.permission & perm::WRITE == 0 {
        return Err(Refusal::new(
            response::NO_PERMISSION,
            format!("the broker[{}] sending message is forbidden", options.advertised),
        ));
    }
    if group.retry_queue_nums <= 0 {
        return Ok(None);
    }
    let attempts = record.reconsume_times;
    let dead = request.delay_level < 0 || attempts >= attempts_max(&group, request.max_reconsume_times, peer);
    let ensured = match dead {
        true => topics.ensure(&dead_letter_topic(name), 1, None, now_ms),
        false => ensure_topic(&group, None, topics, now_ms),
    };
    let queue_id = if dead {
        0
    } else {
        any_queue(group.retry_queue_nums)
    };
    let level = match (dead, request.delay_level) {
        (true, _) => 0,
        (false, 0) => FIRST_LEVEL + attempts,
        (false, level) => level,
    };
    let target = Target {
        topic: ensured.topic,
        queue_id,
        created: changed || ensured.changed,
        dead,
    };
    Ok(Some(Return { target, level }))
}

impl Return {
    /// Stores the copy that comes back: same body, flags and birth, one attempt more, and the origin in its properties.
    ///
    /// # Errors
    /// 1 with what the store or the record says.
    pub fn store(
        &self,
        record: &RecordView<'_>,
        store: &Store,
        levels: &DelayLevels,
    ) -> Result<Appended, Refusal> {
        let mut properties = self.properties(record);
        let (topic, queue_id) = (self.target.topic.topic_name.as_str(), self.target.queue_id);
        let (topic, queue_id) = levels
            .park(self.level, topic, queue_id, &mut properties)
            .unwrap_or((topic, queue_id));
        let failed = |reason: String| Refusal::new(response::SYSTEM_ERROR, reason);
        if properties.len() > PROPERTIES_BYTES_MAX {
            return Err(failed("PROPERTIES_SIZE_EXCEEDED".into()));
        }
        let message = Message {
            topic,
            queue_id,
            reconsume_times: record.reconsume_times + 1,
            prepared_transaction_offset: 0,
            properties: &properties,
            ..record.message()
        };
        store.append(&message).map_err(|error| failed(error.to_string()))
    }

    fn properties(&self, record: &RecordView<'_>) -> String {
        let mut properties = without_properties(
            record.properties,
            &[
                property::DELAY,
                property::WAIT,
                property::REAL_TOPIC,
                property::REAL_QUEUE_ID,
                property::POP_CK,
            ],
        );
        if record.property(property::RETRY_TOPIC).is_none() {
            push_property(&mut properties, property::RETRY_TOPIC, record.topic);
        }
        if record.property(property::ORIGIN_MESSAGE_ID).is_none() {
            push_property(
                &mut properties,
                property::ORIGIN_MESSAGE_ID,
                &record.offset_message_id(),
            );
        }
        push_property(&mut properties, property::WAIT, "false");
        push_property(
            &mut properties,
            property::DELAY,
            itoa::Buffer::new().format(self.level),
        );
        if self.target.dead && record.property(property::DLQ_ORIGIN_TOPIC).is_none() {
            let origin = record.property(property::RETRY_TOPIC).unwrap_or(record.topic);
            push_property(&mut properties, property::DLQ_ORIGIN_TOPIC, origin);
            let id = record
                .property(property::ORIGIN_MESSAGE_ID)
                .map_or_else(|| record.offset_message_id(), str::to_string);
            push_property(&mut properties, property::DLQ_ORIGIN_MESSAGE_ID, &id);
        }
        properties
    }
}
