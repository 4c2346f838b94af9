//! Who owns which queue: the members of a group divide the queues of each topic by the same rule, whenever the group, a
//! route or a subscription changes, and every 20 s in case a notification was lost.
//!
//! What could not be asked changes nothing: a topic whose members are unknown keeps its queues, and a queue whose offset is
//! unknown is not started.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::delivery::deliver;
use super::hand_back::retry_topic;
use super::offsets::name;
use super::pulling::pull_loop;
use super::queue::{OwnedQueue, Stage};
use super::{Membership, Order, StartFrom, hand_back, locks};
use crate::client::connect::accepted;
use crate::client::error::ClientError;
use crate::client::offsets_at;
use crate::client::routes::Route;
use crate::protocol::code::request;
use crate::protocol::fastjson;
use crate::protocol::frame::Frame;
use crate::protocol::request::body::MessageQueue;
use crate::protocol::request::client::{ConsumerGroupRequest, ConsumerIdList, MessageModel};
use crate::protocol::request::pull::Boundary;

/// Divides the queues again and again, until the client stops. A round is never broken off: a lock that was granted would be
/// forgotten.
pub(super) async fn keep_balanced(member: Arc<Membership>) {
    let mut routes = member.presence.routes.changes();
    while !member.presence.is_stopped() {
        routes.mark_unchanged();
        let round = member.balancing.acquire().await;
        let whole = balance(&member).await;
        member.settled.store(whole, Ordering::Release);
        drop(round);
        member.balanced.send_modify(|rounds| *rounds += 1);
        let pause = if whole {
            member.options.rebalance_interval
        } else {
            member.options.rebalance_pause
        };
        member
            .presence
            .until_stopped(async {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = member.rebalance.notified() => {}
                    _ = routes.changed() => {}
                }
            })
            .await;
    }
}

/// One division of all topics. `false`: something could not be asked or was not free yet.
async fn balance(member: &Arc<Membership>) -> bool {
    let topics = member.topics();
    let mut whole = true;
    for topic in &topics {
        if member.presence.is_stopped() {
            return false;
        }
        match wanted_queues(member, topic).await {
            Ok(wanted) => whole &= move_to(member, topic, wanted).await,
            Err(error) => {
                tracing::debug!(topic, %error, "the queues of a topic were not divided");
                // Nobody has failed yet: the retry topic comes with the first heartbeat that the broker handles.
                whole &= *topic == retry_topic(&member.options.group);
            }
        }
    }
    let abandoned: Vec<_> = member
        .owned()
        .into_iter()
        .filter(|owned| !topics.contains(&owned.queue.topic))
        .collect();
    abandoned.into_iter().for_each(|owned| give_away(member, owned));
    whole
}

/// The queues of a topic that fall to this client.
async fn wanted_queues(member: &Membership, topic: &str) -> Result<Vec<MessageQueue>, ClientError> {
    let route = member.presence.routes.existing(topic).await?;
    if member.options.model == MessageModel::Broadcasting {
        return Ok(route.readable.clone());
    }
    let members = members(member, &route).await?;
    Ok(member
        .options
        .allocation
        .allocate(&member.presence.client_id, &route.readable, &members))
}

/// The ids of the group's members, sorted, as a broker of the topic knows them.
async fn members(member: &Membership, route: &Route) -> Result<Vec<String>, ClientError> {
    let header = ConsumerGroupRequest {
        consumer_group: member.options.group.clone(),
    };
    let connections = &member.presence.connections;
    let mut failure = ClientError::BrokerNotFound("any".to_owned());
    for (_, address) in route.one_address_each() {
        let frame = Frame::request(request::GET_CONSUMER_LIST_BY_GROUP, &header);
        let asked = connections
            .ask(address, frame, connections.request_timeout())
            .await;
        match asked.and_then(|answer| accepted(address, answer)) {
            Ok(answer) => {
                let list: ConsumerIdList =
                    fastjson::read(&answer.body.contiguous()).map_err(|bad| ClientError::BadAnswer {
                        address: address.to_owned(),
                        cause: bad.to_string(),
                    })?;
                return Ok(BTreeSet::from_iter(list.consumer_id_list).into_iter().collect());
            }
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// Gives up queues of a topic that are no longer wanted and starts those that are new. `false` if one could not be started.
async fn move_to(member: &Arc<Membership>, topic: &str, wanted: Vec<MessageQueue>) -> bool {
    let owned = member.owned();
    let of_topic = || owned.iter().filter(|owned| owned.queue.topic == topic);
    of_topic()
        .filter(|owned| !wanted.contains(&owned.queue))
        .for_each(|owned| give_away(member, owned.clone()));
    let mut new: Vec<_> = wanted
        .into_iter()
        .filter(|queue| !of_topic().any(|owned| owned.queue == *queue))
        .collect();
    let mut whole = true;
    if member.needs_lock() && !new.is_empty() {
        let wanted_count = new.len();
        let locked = locks::lock(member, &new).await;
        new = startable(member, topic, new, &locked);
        whole &= new.len() == wanted_count;
    }
    for queue in new {
        match start_offset(member, &queue).await {
            Ok(offset) => start(member, queue, offset),
            Err(error) => {
                tracing::warn!(queue = %name(&queue), %error, "a queue is not started before its offset is known");
                whole = false;
            }
        }
    }
    whole
}

/// The queues that may be started: those whose lock was granted and, where the lock only serves to hand queues over, those
/// that nobody has handed over for too long.
fn startable(
    member: &Membership,
    topic: &str,
    wanted: Vec<MessageQueue>,
    locked: &[MessageQueue],
) -> Vec<MessageQueue> {
    let mut since = member.wanted_since.lock().expect("no panic under this lock");
    let now = Instant::now();
    let mut may_start = |queue: &MessageQueue| {
        let waited = now - *since.entry(queue.clone()).or_insert(now);
        member.order == Order::OneByOne && waited >= member.options.hand_over_wait
    };
    let (starting, waiting): (Vec<_>, Vec<_>) = wanted
        .into_iter()
        .partition(|queue| locked.contains(queue) || may_start(queue));
    since.retain(|queue, _| queue.topic != topic || waiting.contains(queue));
    starting
}

/// Where to begin: the group's saved offset, or what the start policy says if there is none.
async fn start_offset(member: &Membership, queue: &MessageQueue) -> Result<u64, ClientError> {
    if let Some(offset) = member.offsets.committed(queue).await? {
        return Ok(offset);
    }
    let presence = &member.presence;
    match member.options.start_from {
        _ if queue.topic == retry_topic(&member.options.group) => Ok(0),
        StartFrom::First => Ok(0),
        StartFrom::Last if !member.existed_at_start(queue) => Ok(0),
        StartFrom::Last => offsets_at::max(presence, queue).await,
        StartFrom::Timestamp(time) => offsets_at::time(presence, queue, time, Boundary::Lower).await,
    }
}

fn start(member: &Arc<Membership>, queue: MessageQueue, offset: u64) {
    let owned = Arc::new(OwnedQueue::new(queue.clone(), offset));
    // A queue that needs a lock is started only after the broker granted it.
    owned.set_locked(member.needs_lock());
    tracing::debug!(queue = %name(&queue), offset, "queue taken over");
    let (sender, taken) = mpsc::channel(member.options.unfinished_messages_max.max(1));
    member
        .queues
        .lock()
        .expect("no panic under this lock")
        .insert(queue, owned.clone());
    tokio::spawn(pull_loop(member.clone(), owned.clone(), sender));
    tokio::spawn(deliver(member.clone(), owned, taken));
}

/// Ends the ownership of a queue in the background. Until it has ended, this client does not take the queue again.
fn give_away(member: &Arc<Membership>, owned: Arc<OwnedQueue>) {
    if owned.stage() != Stage::Active {
        return;
    }
    owned.advance(Stage::Stopping);
    let member = member.clone();
    tokio::spawn(async move {
        // Without a lock the next owner does not wait for the handlers that run here, so waiting helps nobody.
        let wait = if member.needs_lock() {
            member.options.lock_validity
        } else {
            Duration::ZERO
        };
        release(&member, &owned, wait).await;
        if member.needs_lock() {
            locks::unlock(&member, std::slice::from_ref(&owned.queue)).await;
        }
        member
            .queues
            .lock()
            .expect("no panic under this lock")
            .remove(&owned.queue);
        member.rebalance.notify_one();
    });
}

/// Waits a while for the handlers of a stopping queue, hands failed messages back, saves what is done, and lets go.
pub(super) async fn release(member: &Membership, owned: &OwnedQueue, wait: Duration) {
    let _ = tokio::time::timeout(wait, owned.idle()).await;
    let generation = owned.window(|window| window.generation());
    while let Some(failed) = owned.take_lowest_failed() {
        if hand_back::to_broker(member, &failed).await.is_err() {
            break; // Not handed back and not passed: the next owner pulls it again.
        }
        owned.finish(generation, std::iter::once(failed.queue_offset));
    }
    member
        .offsets
        .save(vec![(
            owned.queue.clone(),
            owned.window(|window| window.committable()),
        )])
        .await;
    owned.advance(Stage::Released);
}
