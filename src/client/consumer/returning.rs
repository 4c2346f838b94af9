//! What a consumer does when a broker is back: one that crashed has forgotten its members, their locks and their last
//! commits. Each member tells it again before it divides queues, and gives the others the time to do the same; else the first
//! one back would be alone in the group, take everything, and begin where the others have been long ago.

use std::sync::Arc;

use super::{Membership, locks};

/// Makes brokers know this consumer again whenever a connection was replaced, until the client stops.
pub(super) async fn keep_known(member: Arc<Membership>) {
    let mut replaced = member.presence.connections.replaced();
    member
        .presence
        .until_stopped(async {
            while replaced.changed().await.is_ok() {
                come_back(&member).await;
            }
        })
        .await;
}

async fn come_back(member: &Membership) {
    let Ok(_no_round) = member.balancing.acquire().await else {
        return; // The semaphore is never closed.
    };
    member.beat().await;
    if member.needs_lock() {
        locks::renew(member).await;
    }
    member.offsets.save_again(member.done()).await;
    tokio::time::sleep(member.options.rebalance_pause).await;
    member.rebalance.notify_one();
}
