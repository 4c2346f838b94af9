//! Locks of queues at their brokers. An orderly consumer may consume only what it has locked; one that handles messages one
//! by one locks for a clean hand-over alone. The broker grants a lock for a minute; it is renewed every 20 s and trusted for
//! half a minute after each confirmation.
//!
//! Requests about locks take turns: a renewal under way would otherwise take back what was just given away.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::task::JoinSet;

use super::Membership;
use super::queue::Stage;
use crate::client::error::ClientError;
use crate::protocol::code::request;
use crate::protocol::fastjson;
use crate::protocol::frame::Frame;
use crate::protocol::request::body::MessageQueue;
use crate::protocol::request::client::{LockReplyBody, LockRequestBody};

/// Locks queues; those that were granted come back. A broker that cannot be asked grants nothing.
pub(super) async fn lock(member: &Membership, queues: &[MessageQueue]) -> Vec<MessageQueue> {
    let _turn = member.lock_turn.acquire().await;
    let mut granted = Vec::new();
    for (broker_name, queues) in by_broker(queues) {
        match ask(member, request::LOCK_BATCH_MQ, &broker_name, queues).await {
            Ok(answer) => match fastjson::read::<LockReplyBody>(&answer.body.contiguous()) {
                Ok(reply) => granted.extend(reply.locked),
                Err(error) => tracing::warn!(broker_name, %error, "queues not locked"),
            },
            Err(error) => tracing::warn!(broker_name, %error, "queues not locked"),
        }
    }
    granted.retain(|queue| queues.contains(queue));
    granted
}

/// Gives locks back, at all brokers at once; one that cannot be told frees them when they expire.
pub(super) async fn unlock(member: &Arc<Membership>, queues: &[MessageQueue]) {
    let _turn = member.lock_turn.acquire().await;
    let mut told = JoinSet::new();
    for (broker_name, queues) in by_broker(queues) {
        let member = member.clone();
        told.spawn(async move {
            if let Err(error) = ask(&member, request::UNLOCK_BATCH_MQ, &broker_name, queues).await {
                tracing::debug!(broker_name, %error, "queues not unlocked, their locks will expire");
            }
        });
    }
    told.join_all().await;
}

/// Renews the locks of the owned queues until the client stops.
pub(super) async fn keep_locked(member: Arc<Membership>) {
    member
        .presence
        .until_stopped(async {
            loop {
                tokio::time::sleep(member.options.lock_interval).await;
                renew(&member).await;
            }
        })
        .await;
}

/// Asks again for the locks of the owned queues.
pub(super) async fn renew(member: &Membership) {
    let _turn = member.lock_turn.acquire().await;
    let mut owned = member.owned();
    owned.retain(|owned| owned.stage() == Stage::Active);
    for (broker_name, queues) in by_broker(owned.iter().map(|owned| &owned.queue)) {
        // A broker that cannot be asked has not taken the locks away: they count until they expire.
        let Ok(answer) = ask(member, request::LOCK_BATCH_MQ, &broker_name, queues).await else {
            continue;
        };
        let Ok(reply) = fastjson::read::<LockReplyBody>(&answer.body.contiguous()) else {
            continue;
        };
        for owned in owned
            .iter()
            .filter(|owned| owned.queue.broker_name == broker_name)
        {
            owned.set_locked(reply.locked.contains(&owned.queue));
        }
    }
}

fn by_broker<'a>(queues: impl IntoIterator<Item = &'a MessageQueue>) -> BTreeMap<String, Vec<MessageQueue>> {
    let mut brokers: BTreeMap<String, Vec<MessageQueue>> = BTreeMap::new();
    for queue in queues {
        brokers
            .entry(queue.broker_name.clone())
            .or_default()
            .push(queue.clone());
    }
    brokers
}

async fn ask(
    member: &Membership,
    code: i32,
    broker_name: &str,
    mq_set: Vec<MessageQueue>,
) -> Result<Frame, ClientError> {
    let body = LockRequestBody {
        client_id: member.presence.client_id.clone(),
        consumer_group: member.options.group.clone(),
        mq_set,
        only_this_broker: false,
    };
    let frame = Frame::command(code).with_body(fastjson::write(&body));
    let (_, answer) = member.presence.ask_master(broker_name, frame).await?;
    Ok(answer)
}
