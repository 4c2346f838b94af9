//! Asking a broker about the offsets of a queue: its ends, and where a time begins.

use super::error::ClientError;
use super::presence::Presence;
use crate::protocol::code::request;
use crate::protocol::frame::Frame;
use crate::protocol::request::body::MessageQueue;
use crate::protocol::request::pull::{Boundary, OffsetReply, QueueRequest, SearchOffsetRequest};

/// The offset that the next message of the queue will get.
pub(super) async fn max(presence: &Presence, queue: &MessageQueue) -> Result<u64, ClientError> {
    ask(
        presence,
        queue,
        Frame::request(request::GET_MAX_OFFSET, &header(queue)),
    )
    .await
}

/// The offset of the first message that is still there.
pub(super) async fn min(presence: &Presence, queue: &MessageQueue) -> Result<u64, ClientError> {
    ask(
        presence,
        queue,
        Frame::request(request::GET_MIN_OFFSET, &header(queue)),
    )
    .await
}

/// The offset of the first message stored at or after a time (epoch milliseconds); the end of the queue for a later time.
pub(super) async fn time(
    presence: &Presence,
    queue: &MessageQueue,
    timestamp: i64,
    boundary: Boundary,
) -> Result<u64, ClientError> {
    let header = SearchOffsetRequest {
        topic: queue.topic.clone(),
        queue_id: queue.queue_id,
        timestamp,
        boundary,
        broker_name: Some(queue.broker_name.clone()),
    };
    ask(
        presence,
        queue,
        Frame::request(request::SEARCH_OFFSET_BY_TIMESTAMP, &header),
    )
    .await
}

fn header(queue: &MessageQueue) -> QueueRequest {
    QueueRequest {
        topic: queue.topic.clone(),
        queue_id: queue.queue_id,
        broker_name: Some(queue.broker_name.clone()),
    }
}

/// Brokers answer -1 for a queue that has no file yet: nothing was ever in it.
async fn ask(presence: &Presence, queue: &MessageQueue, frame: Frame) -> Result<u64, ClientError> {
    let (address, answer) = presence.ask_master(&queue.broker_name, frame).await?;
    let reply: OffsetReply = answer
        .header()
        .map_err(|bad| ClientError::bad_field(&address, bad))?;
    Ok(u64::try_from(reply.offset).unwrap_or(0))
}
