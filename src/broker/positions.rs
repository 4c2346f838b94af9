//! Where queues begin and end, and where a group is in them: requests 14, 15 and 29 to 32 (Apache:
//! `ConsumerManageProcessor`, `AdminBrokerProcessor`).

use crate::broker::groups::Groups;
use crate::broker::offsets::{Commit, Offsets};
use crate::broker::refusal::Refusal;
use crate::broker::topics::Topics;
use crate::protocol::code::response;
use crate::protocol::frame::Frame;
use crate::protocol::request::pull::{
    self, OffsetReply, QueryOffsetRequest, QueueRequest, SearchOffsetRequest, TimestampReply,
    UpdateOffsetRequest,
};
use crate::store::{self, Store};

/// QUERY_CONSUMER_OFFSET (14): the group's offset.
///
/// A group without one begins at 0 while the queue still has its first message: nothing can be skipped then. Else the
/// client decides, on 22.
pub fn query(
    request: &QueryOffsetRequest,
    offsets: &Offsets,
    topics: &Topics,
    store: &Store,
) -> Result<Frame, Refusal> {
    let (topic, queue_id) = (request.topic.as_str(), request.queue_id);
    if let Some(offset) = offsets.committed(&request.consumer_group, topic, queue_id) {
        return Ok(offset_reply(offset));
    }
    if request.set_zero_if_not_found == Some(false) {
        return Err(not_found(
            "Not found, do not set to zero, maybe this group boot first",
        ));
    }
    let is_whole = store.queue(topic, queue_id).is_none_or(|bounds| bounds.min == 0);
    if is_whole && topics.get(topic).is_some() {
        return Ok(offset_reply(0));
    }
    Err(not_found(
        "Not found, V3_0_6_SNAPSHOT maybe this group consumer boot first",
    ))
}

fn not_found(remark: &'static str) -> Refusal {
    Refusal::new(response::QUERY_NOT_FOUND, remark)
}

/// UPDATE_CONSUMER_OFFSET (15). A negative offset is how some clients say that they have none.
///
/// # Errors
/// 26 unknown group, 17 unknown topic, 29 without queue or offset, or beyond the end of the queue.
pub fn update(
    request: &UpdateOffsetRequest,
    offsets: &Offsets,
    groups: &Groups,
    topics: &Topics,
    store: &Store,
) -> Result<Frame, Refusal> {
    let (group, topic) = (request.consumer_group.as_str(), request.topic.as_str());
    if groups.get(group).is_none() {
        return Err(Refusal::new(
            response::SUBSCRIPTION_GROUP_NOT_EXIST,
            format!("Group {group} not exist!"),
        ));
    }
    if topics.get(topic).is_none() {
        return Err(Refusal::new(
            response::TOPIC_NOT_EXIST,
            format!("Topic {topic} not exist!"),
        ));
    }
    let invalid = |remark| Refusal::new(response::INVALID_PARAMETER, remark);
    let queue_id = request
        .queue_id
        .ok_or_else(|| invalid(format!("QueueId is null, topic is {topic}")))?;
    let offset = request
        .commit_offset
        .ok_or_else(|| invalid(format!("Offset is null, topic is {topic}")))?;
    if offset < 0 {
        return Ok(Frame::answer(response::SUCCESS));
    }
    let end = store.queue(topic, queue_id).map_or(0, |bounds| bounds.end as i64);
    match offsets.commit(group, topic, queue_id, offset, end) {
        Commit::Done => Ok(Frame::answer(response::SUCCESS)),
        Commit::ResetPending => {
            Ok(Frame::answer(response::SUCCESS).with_remark("Offset has been previously reset"))
        }
        Commit::OutOfRange => Err(invalid(format!(
            "offset {offset} is beyond the end {end} of queue {queue_id} of topic {topic}"
        ))),
    }
}

/// SEARCH_OFFSET_BY_TIMESTAMP (29): the first or last message of a time; a time behind the last message is the end.
pub fn search(request: &SearchOffsetRequest, store: &Store) -> Frame {
    let boundary = match request.boundary {
        pull::Boundary::Lower => store::Boundary::Lower,
        pull::Boundary::Upper => store::Boundary::Upper,
    };
    let offset = store.offset_by_time(&request.topic, request.queue_id, request.timestamp, boundary);
    offset_reply(offset as i64)
}

/// GET_MAX_OFFSET (30): the offset the next message gets.
pub fn end(request: &QueueRequest, store: &Store) -> Frame {
    offset_reply(
        store
            .queue(&request.topic, request.queue_id)
            .map_or(0, |bounds| bounds.end as i64),
    )
}

/// GET_MIN_OFFSET (31): the first offset that is still there.
pub fn begin(request: &QueueRequest, store: &Store) -> Frame {
    offset_reply(
        store
            .queue(&request.topic, request.queue_id)
            .map_or(0, |bounds| bounds.min as i64),
    )
}

/// GET_EARLIEST_MSG_STORETIME (32): -1 for an empty queue.
pub fn earliest_time(request: &QueueRequest, store: &Store) -> Frame {
    let bounds = store.queue(&request.topic, request.queue_id);
    let time = bounds.and_then(|bounds| store.store_time_of(&request.topic, request.queue_id, bounds.min));
    Frame::answer_with(
        response::SUCCESS,
        &TimestampReply {
            timestamp: time.unwrap_or(-1),
        },
    )
}

fn offset_reply(offset: i64) -> Frame {
    Frame::answer_with(response::SUCCESS, &OffsetReply { offset })
}
