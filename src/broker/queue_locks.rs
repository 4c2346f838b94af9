//! Which client of a group owns a queue for ordered consumption (Apache: `RebalanceLockManager`).
//!
//! A lock is a lease: it ends [`LEASE_MS`] after its last refresh, or when its holder gives it up or says goodbye. A
//! connection that merely breaks frees nothing, since its client may still be working.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use foldhash::fast::RandomState;

use crate::protocol::request::body::MessageQueue;

/// How long a lock lives without being refreshed; clients refresh every 20 s and trust it for 30 s.
pub const LEASE_MS: i64 = 60_000;
/// Most queues one group may have locked.
pub const QUEUES_PER_GROUP_MAX: usize = 65_536;

struct Lease {
    client_id: String,
    refreshed_ms: i64,
}

impl Lease {
    fn is_over(&self, now_ms: i64) -> bool {
        now_ms - self.refreshed_ms > LEASE_MS
    }
}

type Leases = HashMap<MessageQueue, Lease, RandomState>;

/// All queue locks of this broker.
#[derive(Default)]
pub struct QueueLocks {
    groups: Mutex<HashMap<String, Leases, RandomState>>,
}

impl QueueLocks {
    /// Locks each queue that nobody else holds, or refreshes it; returns those that are the client's now.
    pub fn lock(
        &self,
        group: &str,
        client_id: &str,
        queues: Vec<MessageQueue>,
        now_ms: i64,
    ) -> Vec<MessageQueue> {
        let mut groups = self.groups();
        let leases = groups.entry(group.to_string()).or_default();
        let mut owned = Vec::with_capacity(queues.len());
        for queue in queues {
            let full = leases.len() == QUEUES_PER_GROUP_MAX;
            match leases.get_mut(&queue) {
                Some(lease) if lease.client_id == client_id => lease.refreshed_ms = now_ms,
                Some(lease) if !lease.is_over(now_ms) => continue,
                None if full => continue,
                _ => {
                    let lease = Lease {
                        client_id: client_id.to_string(),
                        refreshed_ms: now_ms,
                    };
                    leases.insert(queue.clone(), lease);
                }
            }
            owned.push(queue);
        }
        owned
    }

    /// Gives up those of the queues that the client holds.
    pub fn unlock(&self, group: &str, client_id: &str, queues: &[MessageQueue]) {
        let mut groups = self.groups();
        let Some(leases) = groups.get_mut(group) else {
            return;
        };
        for queue in queues {
            if leases
                .get(queue)
                .is_some_and(|lease| lease.client_id == client_id)
            {
                leases.remove(queue);
            }
        }
        if leases.is_empty() {
            groups.remove(group);
        }
    }

    /// Gives up everything the client holds in the group: it has said goodbye.
    pub fn release(&self, group: &str, client_id: &str) {
        let mut groups = self.groups();
        let Some(leases) = groups.get_mut(group) else {
            return;
        };
        leases.retain(|_, lease| lease.client_id != client_id);
        if leases.is_empty() {
            groups.remove(group);
        }
    }

    /// Whether the client holds any queue of the group.
    pub fn holds_any(&self, group: &str, client_id: &str, now_ms: i64) -> bool {
        let groups = self.groups();
        let mut leases = groups.get(group).into_iter().flat_map(HashMap::values);
        leases.any(|lease| lease.client_id == client_id && !lease.is_over(now_ms))
    }

    /// Drops leases that are over.
    pub fn expire(&self, now_ms: i64) {
        let mut groups = self.groups();
        groups
            .values_mut()
            .for_each(|leases| leases.retain(|_, lease| !lease.is_over(now_ms)));
        groups.retain(|_, leases| !leases.is_empty());
    }

    fn groups(&self) -> MutexGuard<'_, HashMap<String, Leases, RandomState>> {
        self.groups
            .lock()
            .expect("no code panics while it holds the queue locks")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queues(count: i32) -> Vec<MessageQueue> {
        (0..count)
            .map(|id| MessageQueue::new("t", "broker-a", id))
            .collect()
    }

    #[test]
    fn a_queue_has_one_holder_until_the_lease_is_over() {
        let locks = QueueLocks::default();
        assert_eq!(locks.lock("g", "one", queues(2), 0).len(), 2);
        assert!(locks.lock("g", "two", queues(2), LEASE_MS).is_empty());
        assert_eq!(locks.lock("g", "one", queues(1), LEASE_MS).len(), 1, "a refresh");
        assert_eq!(locks.lock("g", "two", queues(2), LEASE_MS + 1), queues(2)[1..]);
        assert_eq!(
            locks.lock("other", "two", queues(2), 0).len(),
            2,
            "groups do not see each other's locks"
        );
    }

    #[test]
    fn only_the_holder_unlocks_and_a_goodbye_frees_everything() {
        let locks = QueueLocks::default();
        locks.lock("g", "one", queues(2), 0);
        locks.unlock("g", "two", &queues(2));
        assert!(locks.lock("g", "two", queues(2), 1).is_empty());
        locks.unlock("g", "one", &queues(1));
        assert_eq!(locks.lock("g", "two", queues(2), 1).len(), 1);
        locks.release("g", "one");
        assert!(!locks.holds_any("g", "one", 1));
        assert_eq!(locks.lock("g", "two", queues(2), 1).len(), 2);
    }

    #[test]
    fn expired_leases_leave_nothing_behind() {
        let locks = QueueLocks::default();
        locks.lock("g", "one", queues(3), 0);
        locks.expire(LEASE_MS + 1);
        assert!(locks.groups().is_empty());
    }
}
