//! The pull loop of one queue: at most one pull at the broker, which holds it while there is nothing (long polling), and
//! none while too much is unfinished here.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Membership;
use super::offsets::name;
use super::queue::{OwnedQueue, Stage, Taken};
use super::subscription::Subscription;
use crate::client::connect::refusal;
use crate::client::error::ClientError;
use crate::client::received::{ReceivedMessage, decode_all};
use crate::protocol::code::{request, response};
use crate::protocol::frame::Frame;
use crate::protocol::request::pull::{PullReply, PullRequest, pull_flag};
use crate::protocol::request::route::MASTER_ID;

/// What came of a pull.
enum Pulled {
    /// These messages (perhaps none), then go on at `next`.
    Messages(Vec<ReceivedMessage>, u64),
    /// The asked offset is not there (expired, or the group was reset): go on at this one.
    Moved(u64),
}

/// What the last pull leaves for the next one.
struct Last {
    /// The broker that its answer suggested: a slave where the master would have to read from disk.
    broker_id: i64,
    /// It failed.
    failed: bool,
}

/// Pulls until the queue stops. What is wanted goes to `taken`, whose end ends the delivery.
pub(super) async fn pull_loop(member: Arc<Membership>, owned: Arc<OwnedQueue>, taken: mpsc::Sender<Taken>) {
    let mut calls = owned.calls();
    let mut last = Last {
        broker_id: MASTER_ID,
        failed: false,
    };
    while owned.stage() == Stage::Active {
        calls.mark_unchanged();
        tokio::select! {
            () = owned.reached(Stage::Stopping) => {}
            _ = calls.changed() => {}
            () = step(&member, &owned, &taken, &mut last) => {}
        }
    }
}

/// One pull and what follows from it. Dropping it is safe: nothing is taken before the answer is here, and what was taken
/// when a reset interrupts is forgotten by the reset.
async fn step(member: &Membership, owned: &OwnedQueue, taken: &mpsc::Sender<Taken>, last: &mut Last) {
    while !has_room(member, owned) {
        owned.finished_some().await;
    }
    // The place for what comes is reserved before it is asked for: a message that is in the window is in the channel.
    let Ok(place) = taken.reserve().await else {
        return owned.reached(Stage::Stopping).await;
    };
    let (generation, offset) = owned.window(|window| (window.generation(), window.next()));
    let Some(subscription) = member.subscription(&owned.queue.topic) else {
        // The topic was unsubscribed: the rebalance takes the queue away.
        return owned.reached(Stage::Stopping).await;
    };
    owned.note_pull();
    let start = Instant::now();
    match pull(member, owned, &subscription, offset, last).await {
        Ok(Pulled::Messages(messages, next)) => {
            member
                .tallies
                .pulled(&owned.queue.topic, messages.len(), start.elapsed());
            let wanted: Vec<_> = messages
                .into_iter()
                .filter(|message| subscription.wants(message.tag.as_deref()))
                .collect();
            let sizes = wanted
                .iter()
                .map(|message| (message.queue_offset, message.stored_bytes));
            let counts = owned.window(|window| window.take(generation, sizes, next));
            if counts && !wanted.is_empty() {
                place.send(Taken {
                    generation,
                    messages: wanted,
                });
            }
        }
        Ok(Pulled::Moved(next)) => moved(member, owned, generation, offset, next).await,
        Err(error) => failed(member, owned, &error, last).await,
    }
}

fn has_room(member: &Membership, owned: &OwnedQueue) -> bool {
    let options = &member.options;
    owned.window(|window| {
        window.len() < options.unfinished_messages_max
            && window.bytes() < options.unfinished_bytes_max
            && (member.is_orderly() || window.span() <= options.unfinished_span_max)
    })
}

/// The broker sent the group elsewhere: the queue goes on there, and the next round of saving says so, although nothing
/// may arrive there for a long time.
async fn moved(member: &Membership, owned: &OwnedQueue, generation: u64, offset: u64, next: u64) {
    if !owned.counts(generation) {
        return;
    }
    tracing::info!(queue = %name(&owned.queue), offset, next, "the offset was moved by the broker");
    owned.window(|window| window.reset(next));
    if next == offset {
        // A broker that answers so would be asked without a pause for ever.
        tokio::time::sleep(member.options.pull_pause).await;
    }
}

async fn failed(member: &Membership, owned: &OwnedQueue, error: &ClientError, last: &mut Last) {
    let first = !last.failed;
    *last = Last {
        broker_id: MASTER_ID,
        failed: true,
    };
    match error.code() {
        // The broker has not heard this subscription yet, or has forgotten it.
        Some(response::SUBSCRIPTION_NOT_EXIST | response::SUBSCRIPTION_NOT_LATEST) => member.beat().await,
        // A broker that is down is tried every second: the log says so once.
        _ if first => tracing::warn!(queue = %name(&owned.queue), %error, "pull failed, trying on"),
        _ => tracing::debug!(queue = %name(&owned.queue), %error, "pull failed again"),
    }
    tokio::time::sleep(member.options.pull_pause).await;
}

async fn pull(
    member: &Membership,
    owned: &OwnedQueue,
    subscription: &Subscription,
    offset: u64,
    last: &mut Last,
) -> Result<Pulled, ClientError> {
    let (options, queue, presence) = (&member.options, &owned.queue, &member.presence);
    let header = PullRequest {
        consumer_group: options.group.clone(),
        topic: queue.topic.clone(),
        queue_id: queue.queue_id,
        queue_offset: offset as i64,
        max_msg_nums: options.pull_messages_max,
        sys_flag: pull_flag::SUSPEND,
        commit_offset: 0,
        suspend_timeout_ms: options.pull_hold.as_millis() as i64,
        subscription: None,
        sub_version: subscription.version,
        expression_type: None,
        max_msg_bytes: Some(options.pull_bytes_max),
        request_source: None,
        proxy_forward_client_id: None,
        broker_name: Some(queue.broker_name.clone()),
    };
    let suggested = presence.routes.address(&queue.broker_name, last.broker_id);
    let address = match suggested {
        Some(address) => address,
        None => presence.routes.master(&queue.broker_name)?,
    };
    let frame = Frame::request(request::PULL_MESSAGE, &header);
    let answer = presence
        .connections
        .ask(&address, frame, options.pull_timeout)
        .await?;
    let (pulled, reply) = read_answer(&address, &queue.broker_name, offset, &answer)?;
    *last = Last {
        broker_id: reply.suggest_which_broker_id,
        failed: false,
    };
    Ok(pulled)
}

/// Reads a PULL's answer; also for pulls without a group's loop.
pub(in crate::client) fn read_reply(address: &str, answer: &Frame) -> Result<PullReply, ClientError> {
    match answer.code {
        response::SUCCESS
        | response::PULL_NOT_FOUND
        | response::PULL_RETRY_IMMEDIATELY
        | response::PULL_OFFSET_MOVED => answer
            .header()
            .map_err(|bad| ClientError::bad_field(address, bad)),
        _ => Err(refusal(address, answer)),
    }
}

fn read_answer(
    address: &str,
    broker_name: &str,
    offset: u64,
    answer: &Frame,
) -> Result<(Pulled, PullReply), ClientError> {
    let reply = read_reply(address, answer)?;
    let next = u64::try_from(reply.next_begin_offset).unwrap_or(offset);
    let pulled = match answer.code {
        response::PULL_OFFSET_MOVED => Pulled::Moved(next),
        response::SUCCESS => {
            let messages = decode_all(&answer.body.contiguous(), broker_name);
            Pulled::Messages(
                messages.map_err(|bad| ClientError::bad_record(address, bad))?,
                next,
            )
        }
        _ => Pulled::Messages(Vec::new(), next),
    };
    Ok((pulled, reply))
}
