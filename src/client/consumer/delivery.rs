//! Calling the handler, and what follows from its answer: messages are finished, handed back to the broker for a later
//! try, or kept and tried again here when the broker cannot take them. A message has one fate.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::offsets::name;
use super::queue::{OwnedQueue, Running, Stage, Taken};
use super::{Consumed, Membership, Order, hand_back};
use crate::client::received::ReceivedMessage;
use crate::protocol::request::client::MessageModel;

/// Hands the messages of one queue to the handler until the pull loop has ended and all are through.
pub(super) async fn deliver(
    member: Arc<Membership>,
    owned: Arc<OwnedQueue>,
    mut taken: mpsc::Receiver<Taken>,
) {
    while let Some(taken) = taken.recv().await {
        for messages in chunks(taken.messages, member.options.handler_messages_max) {
            if owned.stage() != Stage::Active || !owned.counts(taken.generation) {
                break; // Not started: whoever owns the queue next pulls them again.
            }
            let batch = Batch {
                owned: owned.clone(),
                generation: taken.generation,
                messages,
                _running: owned.begin(),
            };
            match member.order {
                Order::Orderly => in_order(&member, batch).await,
                Order::OneByOne => hand_over(&member, batch).await,
                Order::Concurrent => {
                    let Some(permit) = member.free_handler(&owned).await else {
                        break;
                    };
                    let member = member.clone();
                    tokio::spawn(async move { settle(&member, batch, permit).await });
                }
            }
        }
    }
}

/// Messages of one handler call.
struct Batch {
    owned: Arc<OwnedQueue>,
    generation: u64,
    messages: Vec<ReceivedMessage>,
    /// The queue is not idle before this is dropped.
    _running: Running,
}

impl Batch {
    fn counts(&self) -> bool {
        self.owned.counts(self.generation)
    }

    fn finish(&self, messages: &[ReceivedMessage]) {
        self.owned.finish(
            self.generation,
            messages.iter().map(|message| message.queue_offset),
        );
    }
}

fn chunks(messages: Vec<ReceivedMessage>, max: usize) -> impl Iterator<Item = Vec<ReceivedMessage>> {
    let mut messages = messages.into_iter();
    std::iter::from_fn(move || {
        Some(messages.by_ref().take(max.max(1)).collect()).filter(|chunk: &Vec<_>| !chunk.is_empty())
    })
}

/// Waits for one of the handlers to be free and for what becomes of the messages.
async fn hand_over(member: &Membership, batch: Batch) {
    if let Some(permit) = member.free_handler(&batch.owned).await {
        settle(member, batch, permit).await;
    }
}

/// Runs the handler until its messages have found their fate: done, handed back, or left to the queue's next owner.
async fn settle(member: &Membership, mut batch: Batch, permit: OwnedSemaphorePermit) {
    let mut permit = Some(permit);
    loop {
        let limit = Some(member.options.handler_timeout);
        let Some(consumed) = handle(member, &batch, limit).await else {
            return;
        };
        drop(permit.take());
        if !batch.counts() {
            return;
        }
        match consumed {
            Consumed::Success => return batch.finish(&batch.messages),
            Consumed::Untouched => return batch.owned.reached(Stage::Stopping).await,
            Consumed::Later => {}
        }
        if member.options.model == MessageModel::Broadcasting {
            // There is no one to hand them back to: each member of the group has its own offset.
            tracing::warn!(queue = %name(&batch.owned.queue), "a broadcast message failed and is skipped");
            return batch.finish(&batch.messages);
        }
        if batch.owned.stage() == Stage::Stopping {
            return batch.owned.keep_failed(batch.messages);
        }
        batch = hand_back_all(member, batch).await;
        if batch.messages.is_empty() {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(member.options.keep_pause) => {}
            () = batch.owned.reached(Stage::Stopping) => return,
        }
        permit = member.free_handler(&batch.owned).await;
        if permit.is_none() {
            return;
        }
    }
}

/// Hands each message back to the broker. What it does not take stays in the batch, one attempt older.
async fn hand_back_all(member: &Membership, mut batch: Batch) -> Batch {
    let mut kept = Vec::new();
    for mut message in std::mem::take(&mut batch.messages) {
        match hand_back::to_broker(member, &message).await {
            Ok(()) => batch.finish(std::slice::from_ref(&message)),
            Err(error) => {
                let queue = name(&message.queue);
                tracing::warn!(queue, offset = message.queue_offset, %error, "a failed message was not taken back, it is tried again here");
                message.attempt += 1;
                kept.push(message);
            }
        }
    }
    Batch {
        messages: kept,
        ..batch
    }
}

/// Runs the handler on one batch until it succeeds; nothing behind it starts before.
async fn in_order(member: &Membership, mut batch: Batch) {
    while !batch.messages.is_empty() && batch.owned.stage() == Stage::Active && batch.counts() {
        if member.needs_lock() && !batch.owned.is_locked(member.options.lock_validity) {
            pause(member, &batch.owned).await;
            continue;
        }
        let Some(permit) = member.free_handler(&batch.owned).await else {
            return;
        };
        let Some(consumed) = handle(member, &batch, None).await else {
            return;
        };
        drop(permit);
        if !batch.counts() {
            return;
        }
        match consumed {
            Consumed::Success => return batch.finish(&batch.messages),
            Consumed::Untouched => return batch.owned.reached(Stage::Stopping).await,
            Consumed::Later => {}
        }
        batch = give_up_exhausted(member, batch).await;
        pause(member, &batch.owned).await;
    }
}

/// Counts the failed attempt; messages that have used up their tries go the way of the dead letters.
async fn give_up_exhausted(member: &Membership, mut batch: Batch) -> Batch {
    let mut kept = Vec::new();
    for mut message in std::mem::take(&mut batch.messages) {
        message.attempt += 1;
        let exhausted = member
            .options
            .retries_max
            .is_some_and(|max| message.attempt > max);
        if exhausted {
            match give_up(member, &message).await {
                Ok(()) => {
                    batch.finish(std::slice::from_ref(&message));
                    continue;
                }
                Err(error) => {
                    tracing::warn!(queue = %name(&message.queue), %error, "a message without tries left was not taken back")
                }
            }
        }
        kept.push(message);
    }
    Batch {
        messages: kept,
        ..batch
    }
}

async fn give_up(member: &Membership, message: &ReceivedMessage) -> Result<(), crate::client::ClientError> {
    match member.options.model {
        MessageModel::Clustering => hand_back::as_retry(member, message).await,
        MessageModel::Broadcasting => Ok(()),
    }
}

async fn pause(member: &Membership, owned: &OwnedQueue) {
    tokio::select! {
        () = tokio::time::sleep(member.options.orderly_pause) => {}
        () = owned.reached(Stage::Stopping) => {}
    }
}

/// One call of the handler. `None`: the queue was released meanwhile, the handler was stopped and nothing counts.
async fn handle(member: &Membership, batch: &Batch, limit: Option<Duration>) -> Option<Consumed> {
    let start = Instant::now();
    let consumed = tokio::select! {
        consumed = member.call_handler(batch.messages.clone(), limit) => consumed,
        () = batch.owned.reached(Stage::Released) => return None,
    };
    member.tallies.consumed(
        &batch.owned.queue.topic,
        consumed,
        batch.messages.len(),
        start.elapsed(),
    );
    Some(consumed)
}

impl Membership {
    /// Waits for one of the handlers to be free; nothing is started on a queue that stops.
    async fn free_handler(&self, owned: &OwnedQueue) -> Option<OwnedSemaphorePermit> {
        tokio::select! {
            permit = self.handlers.clone().acquire_owned() => permit.ok(),
            () = owned.reached(Stage::Stopping) => None,
        }
    }

    /// Calls the user's handler in a task of its own: its panic is a failure of these messages only, and it is stopped
    /// when it takes longer than `limit` or when the caller is dropped.
    pub(super) async fn call_handler(
        &self,
        messages: Vec<ReceivedMessage>,
        limit: Option<Duration>,
    ) -> Consumed {
        if let Some(bad) = messages.iter().find_map(|message| message.bad_body.as_ref()) {
            tracing::warn!(%bad, "a message whose body cannot be read was not handed to the handler");
            return Consumed::Later;
        }
        let mut call = StoppedOnDrop(tokio::spawn((self.handler)(messages)));
        let ended = match limit {
            Some(limit) => tokio::time::timeout(limit, &mut call.0).await,
            None => Ok((&mut call.0).await),
        };
        match ended {
            Ok(Ok(consumed)) => consumed,
            Ok(Err(panic)) => {
                tracing::warn!(%panic, "the handler did not end well");
                Consumed::Later
            }
            Err(_) => {
                tracing::warn!(?limit, "the handler took too long and was stopped");
                Consumed::Later
            }
        }
    }
}

struct StoppedOnDrop(JoinHandle<Consumed>);

impl Drop for StoppedOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
