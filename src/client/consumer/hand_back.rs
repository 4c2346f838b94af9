//! The two ways a failed message goes back to its broker: by its place in the log (CONSUMER_SEND_MSG_BACK), or as a message
//! to the group's retry topic, which also moves it to the dead letters when its tries are used up.

use super::Membership;
use crate::client::connect::accepted;
use crate::client::error::ClientError;
use crate::client::ids;
use crate::client::received::ReceivedMessage;
use crate::client::routes::DEFAULT_TOPIC;
use crate::protocol::code::request;
use crate::protocol::frame::Frame;
use crate::protocol::message::{property, push_property};
use crate::protocol::request::send::{SendBackRequest, SendRequest};

/// Tries of a concurrent consumer where the group's setting is not overridden: the broker's default.
const RETRIES_MAX: i32 = 16;

/// The topic that a group's failed messages come back in.
pub(super) fn retry_topic(group: &str) -> String {
    format!("%RETRY%{group}")
}

/// Has the broker store the message once more, for later; the delay grows with each attempt.
pub(super) async fn to_broker(member: &Membership, message: &ReceivedMessage) -> Result<(), ClientError> {
    let header = SendBackRequest {
        offset: message.log_offset as i64,
        group: member.options.group.clone(),
        delay_level: 0,
        origin_msg_id: Some(message.offset_message_id.clone()),
        origin_topic: Some(message.topic.clone()),
        unit_mode: false,
        max_reconsume_times: member.options.retries_max,
    };
    let frame = Frame::request(request::CONSUMER_SEND_MSG_BACK, &header);
    member
        .presence
        .ask_master(&message.queue.broker_name, frame)
        .await?;
    Ok(())
}

/// Sends the message to the group's retry topic with the attempts it has behind it.
pub(super) async fn as_retry(member: &Membership, message: &ReceivedMessage) -> Result<(), ClientError> {
    let topic = retry_topic(&member.options.group);
    let properties = retry_properties(message);
    let header = SendRequest {
        producer_group: &member.options.group,
        topic: &topic,
        default_topic: DEFAULT_TOPIC,
        default_topic_queue_nums: 1,
        queue_id: 0,
        sys_flag: 0, // The body goes as the handler saw it.
        born_timestamp: ids::now_ms(),
        flag: message.flag,
        properties: &properties,
        reconsume_times: message.attempt,
        unit_mode: false,
        max_reconsume_times: Some(member.options.retries_max.unwrap_or(RETRIES_MAX)),
        batch: false,
        broker_name: Some(&message.queue.broker_name),
    };
    let frame = header
        .frame(request::SEND_MESSAGE_V2)
        .with_body(message.body.clone());
    let presence = &member.presence;
    let address = presence.routes.master(&message.queue.broker_name)?;
    let answer = presence
        .connections
        .ask(&address, frame, presence.options.request_timeout)
        .await?;
    accepted(&address, answer)?;
    Ok(())
}

/// The message's own properties, and where it comes from.
fn retry_properties(message: &ReceivedMessage) -> String {
    let origin = message
        .property(property::ORIGIN_MESSAGE_ID)
        .unwrap_or(&message.offset_message_id);
    let said_anew = [
        (property::RETRY_TOPIC, message.topic.as_str()),
        (property::ORIGIN_MESSAGE_ID, origin),
    ];
    let mut encoded = String::new();
    let is_said_anew = |name: &str| said_anew.iter().any(|(new, _)| *new == name) || name == property::DELAY;
    for (name, value) in message.properties.iter().filter(|(name, _)| !is_said_anew(name)) {
        push_property(&mut encoded, name, value);
    }
    for (name, value) in said_anew {
        push_property(&mut encoded, name, value);
    }
    encoded
}
