//! Messages by request: by key 12, by offset id 33, queue entries 321, and one handed to a consumer 309.

use crate::broker::admin::AdminOptions;
use crate::broker::clients::Clients;
use crate::broker::groups::Groups;
use crate::broker::refusal::Refusal;
use crate::broker::topics::Topics;
use crate::protocol::code::{request, response};
use crate::protocol::frame::{Body, Frame};
use crate::protocol::message::{RecordView, parse_offset_message_id};
use crate::protocol::request::client::ConsumeDirectlyRequest;
use crate::protocol::request::message::{QueryMessageReply, QueryMessageRequest};
use crate::protocol::request::topic::{ConsumeQueueBody, ConsumeQueueEntry, QueryConsumeQueueRequest};
use crate::store::{KeyKind, Store};

/// Most entries of a queue that 321 shows.
const ENTRIES_MAX: i32 = 1000;

/// Messages with a key (12), in the order of the log; 22 if there is none in the range of times. `indexType` decides since
/// 5.5.0, before it a field of its own.
pub fn query(store: &Store, options: &AdminOptions, request: &QueryMessageRequest) -> Frame {
    let is_unique = request.unique_key || request.index_type.as_deref() == Some("U");
    let (kind, max) = match is_unique {
        true => (KeyKind::Unique, options.query_unique_max),
        false => (
            KeyKind::Any,
            usize::try_from(request.max_num)
                .unwrap_or(0)
                .min(options.query_max),
        ),
    };
    let records = store.query(
        &request.topic,
        &request.key,
        max,
        request.begin_timestamp,
        request.end_timestamp,
        kind,
    );
    let last = records
        .iter()
        .filter_map(|record| RecordView::decode(record).ok())
        .max_by_key(|r| r.physical_offset);
    let reply = QueryMessageReply {
        index_last_update_timestamp: last.map_or(0, |last| last.store_timestamp),
        index_last_update_phyoffset: last.map_or(0, |last| last.physical_offset as i64),
    };
    if last.is_none() {
        return Frame::answer_with(response::QUERY_NOT_FOUND, &reply)
            .with_remark("can not find message, maybe time range not correct");
    }
    Frame::answer_with(response::SUCCESS, &reply).with_body(Body::from(records))
}

/// One message by its place in the log (33).
///
/// # Errors
/// 1 if no message begins there, or it cannot be read.
pub fn view(store: &Store, log_offset: i64) -> Result<Frame, Refusal> {
    let missing = || {
        Refusal::new(
            response::SYSTEM_ERROR,
            format!("can not find message by the offset, {log_offset}"),
        )
    };
    let place = u64::try_from(log_offset).map_err(|_| missing())?;
    let record = store
        .message_at(place)
        .map_err(|error| Refusal::new(response::SYSTEM_ERROR, error.to_string()))?;
    Ok(Frame::answer(response::SUCCESS).with_body(record.ok_or_else(missing)?))
}

/// Entries of a consume queue (321), and what a group wants of the topic.
///
/// # Errors
/// 1 if there is no such queue.
pub fn entries(
    store: &Store,
    clients: &Clients,
    request: &QueryConsumeQueueRequest,
) -> Result<ConsumeQueueBody, Refusal> {
    let QueryConsumeQueueRequest { topic, queue_id, .. } = request;
    let missing = || {
        Refusal::new(
            response::SYSTEM_ERROR,
            format!("{queue_id}@{topic} is not exist!"),
        )
    };
    let bounds = store.queue(topic, *queue_id).ok_or_else(missing)?;
    let since = u64::try_from(request.index).unwrap_or(0).max(bounds.min);
    let until = since
        .saturating_add(request.count.clamp(0, ENTRIES_MAX) as u64)
        .min(bounds.end);
    let entries = (since..until).filter_map(|offset| store.entry(topic, *queue_id, offset));
    let queue_data = entries.map(|entry| ConsumeQueueEntry {
        physic_offset: entry.log_offset as i64,
        physic_size: entry.size as i32,
        tags_code: entry.tags_code,
        ..ConsumeQueueEntry::default()
    });
    let mut body = ConsumeQueueBody {
        max_queue_index: bounds.end as i64,
        min_queue_index: bounds.min as i64,
        queue_data: queue_data.collect(),
        ..ConsumeQueueBody::default()
    };
    if let Some(group) = &request.consumer_group {
        let online = clients.consumer_group(group);
        let wanted = online.and_then(|group| {
            group
                .subscriptions()
                .get(topic.as_str())
                .map(|wanted| wanted.data.clone())
        });
        // Java shows filters that it keeps apart; there are none here.
        body.filter_data = Some(if wanted.is_some() {
            "null".into()
        } else {
            format!("{group}@{topic} is not online!")
        });
        body.subscription_data = wanted;
    }
    Ok(body)
}

/// The question for a consumer to consume one message at once (309), as it is passed on: with the message, and with what
/// only the broker knows.
///
/// # Errors
/// 1 if the message does not exist.
pub fn consume_directly(
    store: &Store,
    topics: &Topics,
    groups: &Groups,
    broker_name: &str,
    asked: &ConsumeDirectlyRequest,
) -> Result<Frame, Refusal> {
    let message_id = asked.msg_id.as_deref().unwrap_or_default();
    let missing = || {
        Refusal::new(
            response::SYSTEM_ERROR,
            format!("can not find message by the id, {message_id}"),
        )
    };
    let (_, log_offset) = parse_offset_message_id(message_id).ok_or_else(missing)?;
    let record = store.message_at(log_offset).ok().flatten().ok_or_else(missing)?;
    let topic = asked.topic.as_deref().and_then(|topic| topics.get(topic));
    let header = ConsumeDirectlyRequest {
        broker_name: Some(broker_name.to_owned()),
        topic_sys_flag: topic.map(|topic| topic.topic_sys_flag),
        group_sys_flag: groups
            .get(&asked.consumer_group)
            .map(|group| group.group_sys_flag),
        ..asked.clone()
    };
    Ok(Frame::request(request::CONSUME_MESSAGE_DIRECTLY, &header).with_body(record))
}
