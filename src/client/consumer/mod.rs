//! Consuming messages as they arrive (Apache: `DefaultMQPushConsumer`).
//!
//! The members of a group divide the queues among themselves (`rebalance`). For each queue it owns, a member runs a pull
//! loop (`pulling`) and a delivery (`delivery`) that calls the user's handler; between them stands the queue's window of
//! unfinished messages (`window`), whose lower edge is the offset that is saved (`offsets`).
//!
//! A message is delivered at least once. It is done when the handler says so; a failed one goes back to the broker, which
//! delivers it later from the group's retry topic and in the end puts it among the dead letters.

mod delivery;
mod hand_back;
mod local_offsets;
mod locks;
pub(in crate::client) mod offsets;
mod options;
pub(in crate::client) mod pulling;
mod queue;
mod rebalance;
mod requests;
mod returning;
pub(in crate::client) mod subscription;
mod tallies;
mod window;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::Instant;

pub use options::{ConsumerOptions, StartFrom};
pub use subscription::EVERYTHING;

use super::error::ClientError;
use super::ids;
use super::presence::Presence;
use super::received::ReceivedMessage;
use crate::protocol::request::body::MessageQueue;
use crate::protocol::request::client::{
    ConsumeType, ConsumerData, ConsumerRunningInfo, HeartbeatData, MessageModel, SubscriptionData,
};
use hand_back::retry_topic;
use local_offsets::LocalOffsets;
use offsets::Offsets;
use queue::{OwnedQueue, Stage};
use subscription::Subscription;
use tallies::Tallies;

/// What a handler says of the messages it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consumed {
    /// They are done.
    Success,
    /// They failed and shall come again later. An orderly queue waits for it.
    Later,
    /// The handler did not touch them and takes no more of this queue: neither done nor failed, they come again to whoever
    /// owns the queue next. For a consumer that is about to close.
    Untouched,
}

/// How the messages of one queue reach the handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Several at a time, in any order.
    Concurrent,
    /// One after another in the order of the queue. A failed one goes back to the broker, and the next has its turn. A
    /// queue changes hands between such members without repeats: the new owner waits for the lock of the old one, for at
    /// most [`ConsumerOptions::hand_over_wait`].
    OneByOne,
    /// One after another in the order of the queue, under the queue's lock.
    Orderly,
}

type Handler =
    Box<dyn Fn(Vec<ReceivedMessage>) -> Pin<Box<dyn Future<Output = Consumed> + Send>> + Send + Sync>;

/// How far this consumer is in a queue it owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueProgress {
    pub queue: MessageQueue,
    /// Everything below is done; this is what is saved.
    pub done: u64,
    /// The next offset to be pulled.
    pub next: u64,
}

/// A running consumer of one group. Dropping it stops it at once; [`PushConsumer::close`] waits for its handlers, saves
/// what is done and hands its queues over.
///
/// ```no_run
/// # async fn example() -> Result<(), rmq::client::ClientError> {
/// use rmq::client::{ClientOptions, Consumed, ConsumerOptions, Order, PushConsumer};
/// let options = ConsumerOptions::new(ClientOptions::new("127.0.0.1:9876"), "billing");
/// let consumer = PushConsumer::start(options, &[("orders", "paid || refunded")], Order::Concurrent, |messages| async move {
///     for message in messages {
///         println!("{}: {} bytes", message.topic, message.body.len());
///     }
///     Consumed::Success
/// })
/// .await?;
/// tokio::signal::ctrl_c().await.ok();
/// consumer.close().await;
/// # Ok(())
/// # }
/// ```
pub struct PushConsumer {
    member: Arc<Membership>,
}

/// One client's membership in a consumer group. Shared by the loops that [`PushConsumer::start`] lists.
struct Membership {
    // Constant after the start.
    presence: Arc<Presence>,
    options: ConsumerOptions,
    order: Order,
    handler: Handler,
    /// Epoch milliseconds.
    started_at: i64,
    // With locks of their own.
    offsets: Offsets,
    tallies: Tallies,
    /// One permit a handler call.
    handlers: Arc<Semaphore>,
    /// One permit: requests about locks go out one after another.
    lock_turn: Semaphore,
    /// One permit: held while queues are divided, and for good by a close, which begins after the last division.
    balancing: Semaphore,
    /// Rung when queues must be divided anew.
    rebalance: Notify,
    /// Whether the last division was carried out in full.
    settled: AtomicBool,
    /// Counts the divisions.
    balanced: watch::Sender<u64>,
    // Each under its lock.
    /// By topic. Changed by the user only.
    subscriptions: Mutex<BTreeMap<String, Subscription>>,
    /// The owned queues, those on their way out included. Changed by the rebalance only.
    queues: Mutex<BTreeMap<MessageQueue, Arc<OwnedQueue>>>,
    /// Queues whose lock another member holds, and since when this one wants them. Changed by the rebalance only.
    wanted_since: Mutex<BTreeMap<MessageQueue, Instant>>,
    /// Queues that were there when their topic was subscribed.
    existed: Mutex<HashSet<MessageQueue>>,
}

impl PushConsumer {
    /// Starts to consume topics, each with its tag expression (`a || b`, or [`EVERYTHING`]). Call it within a tokio runtime.
    ///
    /// # Errors
    /// When no name server can be reached. A topic that does not exist yet is waited for.
    pub async fn start<F>(
        options: ConsumerOptions,
        subscriptions: &[(&str, &str)],
        order: Order,
        handler: impl Fn(Vec<ReceivedMessage>) -> F + Send + Sync + 'static,
    ) -> Result<PushConsumer, ClientError>
    where
        F: Future<Output = Consumed> + Send + 'static,
    {
        check_group(&options.group)?;
        let (presence, requests) = Presence::new(options.client.clone());
        let handler: Handler = Box::new(move |messages| Box::pin(handler(messages)));
        let member = Arc::new(Membership::new(presence.clone(), options, order, handler));
        let consumer = PushConsumer {
            member: member.clone(),
        };
        for (topic, expression) in subscriptions {
            member.put_subscription(topic, expression);
            member.look_at_topic(topic).await?;
        }
        if member.options.model == MessageModel::Clustering {
            let retry = retry_topic(&member.options.group);
            member.put_subscription(&retry, EVERYTHING);
            member.look_at_topic(&retry).await?;
        }
        // The members of the group are asked for only after the brokers know this one.
        member.beat().await;
        tokio::spawn(requests::answer_brokers(member.clone(), requests));
        tokio::spawn(rebalance::keep_balanced(member.clone()));
        tokio::spawn(keep_saved(member.clone()));
        tokio::spawn(returning::keep_known(member.clone()));
        if member.needs_lock() {
            tokio::spawn(locks::keep_locked(member.clone()));
        }
        let beating = member.clone();
        tokio::spawn(async move { beating.presence.keep_beating(|| beating.heartbeat(), false).await });
        tokio::spawn(async move { presence.keep_routes_fresh().await });
        Ok(consumer)
    }

    /// Subscribes to a topic, or replaces the tags of a subscription; it takes effect at once.
    pub async fn subscribe(&self, topic: &str, expression: &str) -> Result<(), ClientError> {
        let member = &self.member;
        member.put_subscription(topic, expression);
        member.look_at_topic(topic).await?;
        member.beat().await;
        // A held pull still waits for the tags before.
        member
            .owned()
            .iter()
            .filter(|owned| owned.queue.topic == topic)
            .for_each(|owned| owned.call());
        member.rebalance.notify_one();
        Ok(())
    }

    /// Gives a topic up; its queues go to the other members.
    pub async fn unsubscribe(&self, topic: &str) {
        self.member
            .subscriptions
            .lock()
            .expect("no panic under this lock")
            .remove(topic);
        self.member.beat().await;
        self.member.rebalance.notify_one();
    }

    /// The id by which brokers know this consumer.
    pub fn client_id(&self) -> &str {
        &self.member.presence.client_id
    }

    /// Waits until the queues were divided for the first time. What fell to this client: [`PushConsumer::progress`].
    pub async fn assigned(&self) {
        // The sender lives in self, so the wait ends only by a division.
        let _ = self
            .member
            .balanced
            .subscribe()
            .wait_for(|rounds| *rounds > 0)
            .await;
    }

    /// Whether every queue that the last division gave to this client is started. One may still have to be handed over by
    /// its old owner, or its offset may not be known.
    pub fn is_settled(&self) -> bool {
        self.member.settled.load(Ordering::Acquire)
    }

    /// How far it is in each queue it owns.
    pub fn progress(&self) -> Vec<QueueProgress> {
        let owned = self
            .member
            .owned()
            .into_iter()
            .filter(|owned| owned.stage() == Stage::Active);
        owned
            .map(|owned| {
                let (done, next) = owned.window(|window| (window.committable(), window.next()));
                QueueProgress {
                    queue: owned.queue.clone(),
                    done,
                    next,
                }
            })
            .collect()
    }

    /// What an administrator sees of this consumer (request 307).
    pub fn running_info(&self) -> ConsumerRunningInfo {
        requests::running_info(&self.member)
    }

    /// Saves the offsets that moved, without waiting for the next round.
    pub async fn save_offsets(&self) {
        self.member.save_offsets().await;
    }

    /// Replaces the name servers; the next question goes to one of these.
    pub fn set_name_servers(&self, addresses: Vec<String>) {
        self.member.presence.connections.set_name_servers(addresses);
    }

    /// Stops pulling, waits for the handlers that run (at most [`ConsumerOptions::close_wait`]), saves what is done, frees
    /// the locks, leaves the group and closes the connections. The other members own the queues at once.
    pub async fn close(self) {
        let member = &self.member;
        let deadline = Instant::now() + member.options.close_wait;
        member.presence.stop();
        let _last_round = tokio::time::timeout_at(deadline, member.balancing.acquire()).await;
        let owned = member.owned();
        owned.iter().for_each(|owned| owned.advance(Stage::Stopping));
        let mut released = tokio::task::JoinSet::new();
        for owned in owned.clone() {
            let member = member.clone();
            let wait = deadline.saturating_duration_since(Instant::now());
            released.spawn(async move { rebalance::release(&member, &owned, wait).await });
        }
        released.join_all().await;
        if member.needs_lock() {
            let queues: Vec<_> = owned.iter().map(|owned| owned.queue.clone()).collect();
            locks::unlock(member, &queues).await;
        }
        member
            .presence
            .leave(None, Some(member.options.group.clone()))
            .await;
        member.presence.connections.close();
    }
}

impl Drop for PushConsumer {
    fn drop(&mut self) {
        self.member.presence.stop();
        self.member
            .owned()
            .iter()
            .for_each(|owned| owned.advance(Stage::Released));
    }
}

/// Saves the offsets that moved, again and again, until the client stops.
async fn keep_saved(member: Arc<Membership>) {
    member
        .presence
        .until_stopped(async {
            loop {
                tokio::time::sleep(member.options.save_interval).await;
                member.save_offsets().await;
            }
        })
        .await;
}

fn check_group(group: &str) -> Result<(), ClientError> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"%|-_".contains(&byte);
    if group.is_empty() || group.len() > crate::protocol::GROUP_BYTES_MAX || !group.bytes().all(legal) {
        return Err(ClientError::Setting(format!(
            "{group:?} is not a group name: use 1 to {} letters, digits and %|-_",
            crate::protocol::GROUP_BYTES_MAX
        )));
    }
    Ok(())
}

impl Membership {
    fn new(presence: Arc<Presence>, options: ConsumerOptions, order: Order, handler: Handler) -> Membership {
        let offsets = match options.model {
            MessageModel::Clustering => Offsets::at_broker(presence.clone(), &options.group),
            MessageModel::Broadcasting => {
                let name = ids::lasting_name(options.client.instance_name.as_deref());
                let file = LocalOffsets::new(&options.local_offsets_dir, &name, &options.group);
                Offsets::in_file(file, &options.group)
            }
        };
        Membership {
            handlers: Arc::new(Semaphore::new(options.handlers_max)),
            presence,
            options,
            order,
            handler,
            started_at: ids::now_ms(),
            offsets,
            tallies: Tallies::new(),
            lock_turn: Semaphore::new(1),
            balancing: Semaphore::new(1),
            rebalance: Notify::new(),
            settled: AtomicBool::new(false),
            balanced: watch::Sender::new(0),
            subscriptions: Mutex::default(),
            queues: Mutex::default(),
            wanted_since: Mutex::default(),
            existed: Mutex::default(),
        }
    }

    fn is_orderly(&self) -> bool {
        self.order == Order::Orderly
    }

    /// Queues are locked where members share them in order.
    fn needs_lock(&self) -> bool {
        self.order != Order::Concurrent && self.options.model == MessageModel::Clustering
    }

    fn put_subscription(&self, topic: &str, expression: &str) {
        let mut subscriptions = self.subscriptions.lock().expect("no panic under this lock");
        let before = subscriptions
            .get(topic)
            .map_or(0, |subscription| subscription.version);
        // Brokers keep the newest version they have seen, so a quick second change needs a number of its own.
        let version = ids::now_ms().max(before + 1);
        subscriptions.insert(topic.to_owned(), Subscription::new(topic, expression, version));
    }

    /// Learns the route of a topic and which queues it has now; a topic that does not exist has none yet.
    async fn look_at_topic(&self, topic: &str) -> Result<(), ClientError> {
        match self.presence.routes.ask(topic).await {
            Ok(route) => {
                self.existed
                    .lock()
                    .expect("no panic under this lock")
                    .extend(route.readable.iter().cloned());
                Ok(())
            }
            Err(ClientError::TopicNotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn existed_at_start(&self, queue: &MessageQueue) -> bool {
        self.existed
            .lock()
            .expect("no panic under this lock")
            .contains(queue)
    }

    fn subscription(&self, topic: &str) -> Option<Subscription> {
        self.subscriptions
            .lock()
            .expect("no panic under this lock")
            .get(topic)
            .cloned()
    }

    fn topics(&self) -> BTreeSet<String> {
        self.subscriptions
            .lock()
            .expect("no panic under this lock")
            .keys()
            .cloned()
            .collect()
    }

    fn subscription_data(&self) -> Vec<SubscriptionData> {
        self.subscriptions
            .lock()
            .expect("no panic under this lock")
            .values()
            .map(Subscription::data)
            .collect()
    }

    fn owned(&self) -> Vec<Arc<OwnedQueue>> {
        self.queues
            .lock()
            .expect("no panic under this lock")
            .values()
            .cloned()
            .collect()
    }

    fn heartbeat(&self) -> HeartbeatData {
        let consumer = ConsumerData {
            consume_from_where: self.options.start_from.wire(),
            consume_type: ConsumeType::Passively,
            group_name: self.options.group.clone(),
            message_model: self.options.model,
            subscription_data_set: self.subscription_data(),
            unit_mode: false,
        };
        HeartbeatData {
            client_id: self.presence.client_id.clone(),
            consumer_data_set: vec![consumer],
            ..HeartbeatData::default()
        }
    }

    async fn beat(&self) {
        self.presence.beat(&self.heartbeat(), false).await;
    }

    async fn save_offsets(&self) {
        self.offsets.save(self.done()).await;
    }

    /// How far it is in each queue it owns.
    fn done(&self) -> Vec<(MessageQueue, u64)> {
        let owned = self.owned();
        let active = owned.iter().filter(|owned| owned.stage() == Stage::Active);
        let done = active.map(|owned| (owned.queue.clone(), owned.window(|window| window.committable())));
        done.collect()
    }
}
