//! What a consumer can be told. The defaults are those of Apache's `DefaultMQPushConsumer`.

use std::path::PathBuf;
use std::time::Duration;

use crate::client::allocate::Allocation;
use crate::client::options::ClientOptions;
use crate::protocol::request::client::{ConsumeFromWhere, MessageModel};

/// Where a group begins in a queue it has no offset for. Retry topics always begin at their first message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StartFrom {
    /// The first message that is still there.
    First,
    /// What is sent from now on. Queues that did not exist when the consumer started begin at their first message: all of
    /// it was sent since.
    #[default]
    Last,
    /// The first message stored at or after this time, epoch milliseconds.
    Timestamp(i64),
}

impl StartFrom {
    pub(super) fn wire(self) -> ConsumeFromWhere {
        match self {
            StartFrom::First => ConsumeFromWhere::FirstOffset,
            StartFrom::Last => ConsumeFromWhere::LastOffset,
            StartFrom::Timestamp(_) => ConsumeFromWhere::Timestamp,
        }
    }
}

/// Settings of a push consumer.
#[derive(Clone, Debug)]
pub struct ConsumerOptions {
    pub client: ClientOptions,
    /// The consumer group: its members share the messages (or each get all, when broadcasting).
    pub group: String,
    pub model: MessageModel,
    pub start_from: StartFrom,
    pub allocation: Allocation,
    /// Most messages that one call of the handler gets.
    pub handler_messages_max: usize,
    /// Most handler calls at a time.
    pub handlers_max: usize,
    /// A concurrent handler that takes longer is stopped, and its messages count as failed.
    pub handler_timeout: Duration,
    /// Tries of a message after the first one. `None`: as the group is set at the broker; for an orderly consumer, without end.
    pub retries_max: Option<i32>,
    /// Most messages and bytes of one pull's answer.
    pub pull_messages_max: i32,
    pub pull_bytes_max: i32,
    /// How long the broker may hold a pull while there is nothing.
    pub pull_hold: Duration,
    /// How long an answer to a pull is waited for, held or not.
    pub pull_timeout: Duration,
    /// The pause after a pull that failed.
    pub pull_pause: Duration,
    /// A queue with this many unfinished messages, bytes, or offsets between its first and last is not pulled further.
    pub unfinished_messages_max: usize,
    pub unfinished_bytes_max: usize,
    pub unfinished_span_max: u64,
    /// How often queues are divided anew. It also happens when the group, a route or a subscription changes.
    pub rebalance_interval: Duration,
    /// The pause after a division that could not be finished.
    pub rebalance_pause: Duration,
    /// How often offsets that moved are saved.
    pub save_interval: Duration,
    /// The pause before an orderly handler gets a failed message again, and before a queue that is not locked is looked at again.
    pub orderly_pause: Duration,
    /// How long a queue's new owner waits for the old one to hand it over, when messages are handled one by one. A member
    /// that was killed hands nothing over.
    pub hand_over_wait: Duration,
    /// How often the locks of queues are renewed.
    pub lock_interval: Duration,
    /// How long a lock counts after the broker confirmed it: half of what the broker grants.
    pub lock_validity: Duration,
    /// The pause before a failed message is tried again here because the broker did not take it back.
    pub keep_pause: Duration,
    /// How long closing waits for the handlers that run.
    pub close_wait: Duration,
    /// Where broadcasting consumers keep their offsets. Two of one group on one host need an
    /// [`instance_name`](ClientOptions::instance_name) each, or the one that starts later goes on where the other is.
    pub local_offsets_dir: PathBuf,
}

impl ConsumerOptions {
    pub fn new(client: ClientOptions, group: impl Into<String>) -> ConsumerOptions {
        ConsumerOptions {
            client,
            group: group.into(),
            model: MessageModel::Clustering,
            start_from: StartFrom::Last,
            allocation: Allocation::Averagely,
            handler_messages_max: 1,
            handlers_max: 20,
            handler_timeout: Duration::from_secs(15 * 60),
            retries_max: None,
            pull_messages_max: 32,
            pull_bytes_max: 256 * 1024,
            pull_hold: Duration::from_secs(15),
            pull_timeout: Duration::from_secs(30),
            pull_pause: Duration::from_secs(1),
            unfinished_messages_max: 1000,
            unfinished_bytes_max: 100 * 1024 * 1024,
            unfinished_span_max: 2000,
            rebalance_interval: Duration::from_secs(20),
            rebalance_pause: Duration::from_secs(1),
            save_interval: Duration::from_secs(5),
            orderly_pause: Duration::from_secs(1),
            hand_over_wait: Duration::from_secs(10),
            lock_interval: Duration::from_secs(20),
            lock_validity: Duration::from_secs(30),
            keep_pause: Duration::from_secs(5),
            close_wait: Duration::from_secs(10),
            local_offsets_dir: home().join(".rocketmq_offsets"),
        }
    }
}

fn home() -> PathBuf {
    etcetera::home_dir().unwrap_or_default()
}
