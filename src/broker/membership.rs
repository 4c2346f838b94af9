//! What clients say about themselves: heartbeats 34, goodbyes 35, who else is there 38, queue locks 41 and 42, the check of
//! a subscription 46; and what the broker tells the others, 40 (Apache: `ClientManageProcessor`).
//!
//! None of it waits: a heartbeat that creates a group's retry topic only wakes the loops that save and register it.

use std::sync::Arc;

use crate::broker::clients::{Clients, Fingerprint, Sent};
use crate::broker::filter::Subscription;
use crate::broker::groups::Groups;
use crate::broker::options::BrokerOptions;
use crate::broker::queue_locks::QueueLocks;
use crate::broker::refusal::Refusal;
use crate::broker::retry;
use crate::broker::topics::{self, Topics};
use crate::protocol::code::{request, response};
use crate::protocol::fastjson;
use crate::protocol::frame::Frame;
use crate::protocol::request::client::{
    CheckClientBody, ConsumerData, ConsumerGroupRequest, ConsumerIdList, HeartbeatData, HeartbeatReply,
    LockReplyBody, LockRequestBody, UnregisterClientRequest,
};
use crate::remoting::Peer;

/// What a heartbeat created: to be saved, and registered if it is a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Created {
    pub group: bool,
    pub topic: bool,
}

/// HEART_BEAT (34), of either version.
///
/// # Errors
/// 1 for a body that cannot be read.
pub fn heartbeat(
    frame: &Frame,
    clients: &Clients,
    groups: &Groups,
    topics: &Topics,
    options: &BrokerOptions,
    peer: &Arc<Peer>,
    now_ms: i64,
) -> Result<(Frame, Created), Refusal> {
    let data: HeartbeatData = fastjson::read(&frame.body.contiguous())?;
    let beat = Fingerprint {
        value: data.heartbeat_fingerprint,
        subscriptions: if data.without_sub { Sent::No } else { Sent::Yes },
    };
    let mut created = Created::default();
    // Whoever beats with version 1 is always told "changed", as Apache does.
    let mut subscriptions_changed = beat.value == 0;
    for consumer in &data.consumer_data_set {
        let Some(ensured) = groups.ensure(&consumer.group_name, options, now_ms) else {
            continue;
        };
        let order = orders(consumer, topics);
        created.group |= ensured.changed;
        created.topic |= retry::ensure_topic(&ensured.group, order, topics, now_ms).changed;
        let Some(change) = clients.beat_consumer(consumer, &data.client_id, beat, peer, now_ms) else {
            continue;
        };
        subscriptions_changed |= change.fingerprint_changed;
        if change.group_changed {
            notify(&consumer.group_name, clients, groups);
        }
    }
    for producer in &data.producer_data_set {
        // A name that no topic or group could have is not worth a place in the table.
        if topics::check_name(&producer.group_name).is_ok() {
            clients.beat_producer(&producer.group_name, &data.client_id, peer, now_ms);
        }
    }
    let reply = HeartbeatReply {
        supports_v2: true,
        subscriptions_changed,
    };
    Ok((Frame::answer_with(response::SUCCESS, &reply), created))
}

/// The retry topic of a group that consumes an order topic is one too. A heartbeat without subscriptions says nothing.
fn orders(consumer: &ConsumerData, topics: &Topics) -> Option<bool> {
    let mut subscribed = consumer.subscription_data_set.iter();
    let is_order = |topic: &str| topics.get(topic).is_some_and(|topic| topic.order);
    let own = topics::retry_topic(&consumer.group_name);
    (!consumer.subscription_data_set.is_empty())
        .then(|| subscribed.any(|wanted| wanted.topic != own && is_order(&wanted.topic)))
}

/// UNREGISTER_CLIENT (35): the client leaves its groups, and its queue locks are free at once.
pub fn unregister(
    request: &UnregisterClientRequest,
    clients: &Clients,
    groups: &Groups,
    locks: &QueueLocks,
    peer: &Peer,
) -> Frame {
    let changed = clients.leave(
        peer.id(),
        request.producer_group.as_deref(),
        request.consumer_group.as_deref(),
    );
    if let Some(group) = &request.consumer_group {
        locks.release(group, &request.client_id);
        if changed {
            notify(group, clients, groups);
        }
    }
    Frame::answer(response::SUCCESS)
}

/// Tells the members of a group that it has others now (40). A member whose connection takes no more requests learns it
/// from its next rebalance.
pub fn notify(group: &str, clients: &Clients, groups: &Groups) {
    if groups
        .get(group)
        .is_some_and(|group| !group.notify_consumer_ids_changed_enable)
    {
        return;
    }
    let header = ConsumerGroupRequest {
        consumer_group: group.to_string(),
    };
    for peer in clients.to_notify(group) {
        if let Err(error) = peer.oneway(Frame::request(request::NOTIFY_CONSUMER_IDS_CHANGED, &header)) {
            tracing::debug!(group, peer = %peer.address(), %error, "not told that the group changed");
        }
    }
}

/// GET_CONSUMER_LIST_BY_GROUP (38).
///
/// # Errors
/// 1 if nobody is there; the client then keeps the queues it has.
pub fn consumer_ids(group: &str, clients: &Clients) -> Result<Frame, Refusal> {
    let consumer_id_list = clients.consumer_ids(group);
    if consumer_id_list.is_empty() {
        return Err(Refusal::new(
            response::SYSTEM_ERROR,
            format!("no consumer for this group, {group}"),
        ));
    }
    Ok(Frame::answer(response::SUCCESS).with_body(fastjson::write(&ConsumerIdList { consumer_id_list })))
}

/// LOCK_BATCH_MQ (41).
///
/// # Errors
/// 1 for a body that cannot be read.
pub fn lock(frame: &Frame, locks: &QueueLocks, now_ms: i64) -> Result<Frame, Refusal> {
    let body: LockRequestBody = fastjson::read(&frame.body.contiguous())?;
    let locked = locks.lock(&body.consumer_group, &body.client_id, body.mq_set, now_ms);
    Ok(Frame::answer(response::SUCCESS).with_body(fastjson::write(&LockReplyBody { locked })))
}

/// UNLOCK_BATCH_MQ (42).
///
/// # Errors
/// 1 for a body that cannot be read.
pub fn unlock(frame: &Frame, locks: &QueueLocks) -> Result<Frame, Refusal> {
    let body: LockRequestBody = fastjson::read(&frame.body.contiguous())?;
    locks.unlock(&body.consumer_group, &body.client_id, &body.mq_set);
    Ok(Frame::answer(response::SUCCESS))
}

/// CHECK_CLIENT_CONFIG (46): whether this broker can filter as the consumer wants.
///
/// # Errors
/// 1 for a filter that is not supported or a body that cannot be read.
pub fn check_subscription(frame: &Frame) -> Result<Frame, Refusal> {
    let body: CheckClientBody = fastjson::read(&frame.body.contiguous())?;
    Subscription::new(body.subscription_data).require_tags()?;
    Ok(Frame::answer(response::SUCCESS))
}
