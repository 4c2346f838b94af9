//! Consuming as a member of a group.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rmq::client::{
    Admin, ClientError, Consumed, ConsumerOptions, Order, PullConsumer, PushConsumer, ReceivedMessage,
    StartFrom,
};
use rmq::protocol::request::body::MessageQueue;
use rmq::protocol::request::client::MessageModel;
use rmq::protocol::request::group::SubscriptionGroupConfig;
use tokio::sync::watch;

use super::ends::{Count, Idle};
use super::sink::{Sink, Taken};
use super::{Consume, ends_of, offset_of};
use crate::Common;
use crate::output::{self, Exit, Failure};
use crate::positions::Position;
use crate::signals::Interrupts;

/// How often it is looked whether everything was consumed.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// How often a queue is asked for that its old owner has not handed over yet.
const HAND_OVER_PAUSE: Duration = Duration::from_millis(200);

/// What handlers share with the loop that ends them.
struct Consumption {
    sink: Sink,
    count: Count,
    count_max: Option<u64>,
    idle: Idle,
    done: AtomicU64,
    failed: AtomicU64,
    /// Set once: no message is taken any more.
    ended: watch::Sender<bool>,
    /// Why nothing can be printed any more.
    unprintable: std::sync::Mutex<Option<Failure>>,
}

/// Consumes until a rule ends it, or Ctrl-C; then commits and leaves the group.
pub async fn consume(
    args: &Consume,
    group: &str,
    common: &Common,
    mut interrupts: Interrupts,
) -> Result<Exit, Failure> {
    let reader = PullConsumer::new(common.client(), Some(group));
    let queues = args.queues(&reader).await?;
    let ends = if args.until_end {
        ends_of(&reader, &queues).await?
    } else {
        BTreeMap::new()
    };
    let start_from = start(args, group, common, &reader, &queues).await?;
    let consumption = Arc::new(Consumption::new(args, common));
    let mut options = ConsumerOptions::new(common.client(), group);
    options.start_from = start_from;
    options.rebalance_pause = HAND_OVER_PAUSE;
    options.model = if args.broadcast {
        MessageModel::Broadcasting
    } else {
        MessageModel::Clustering
    };
    let subscriptions: Vec<_> = args
        .topics
        .iter()
        .map(|topic| (topic.as_str(), args.expression()))
        .collect();
    let handled = consumption.clone();
    let handler = move |messages| handle(handled.clone(), messages);
    let consumer = PushConsumer::start(options, &subscriptions, Order::OneByOne, handler).await?;
    let mut ended = consumption.ended.subscribe();
    let interrupted = tokio::select! {
        () = interrupts.next() => true,
        _ = ended.wait_for(|ended| *ended) => false,
        () = idle(&consumption, &consumer, &reader, &queues) => false,
        () = everything(&consumer, &ends), if args.until_end => false,
    };
    interrupts.second_ends_at_once();
    consumption.ended.send_replace(true);
    let running = consumption.idle.busy();
    if interrupted && running > 0 {
        output::note(format!(
            "waiting for {}; Ctrl-C again ends at once",
            output::count(running as u64, "command")
        ));
    }
    consumer.close().await;
    consumption.report(interrupted)
}

/// Where queues without a committed offset begin. An offset of a queue's own has no name in the protocol: it is committed.
async fn start(
    args: &Consume,
    group: &str,
    common: &Common,
    reader: &PullConsumer,
    queues: &[MessageQueue],
) -> Result<StartFrom, Failure> {
    if args.broadcast {
        return match args.from.unwrap_or(Position::Last) {
            Position::First => Ok(StartFrom::First),
            Position::Last => Ok(StartFrom::Last),
            Position::Time(time_ms) => Ok(StartFrom::Timestamp(time_ms)),
            Position::Offset(_) => Err(Failure::usage(
                "--broadcast begins at first, last or a time, not at an offset",
            )),
        };
    }
    let mut fresh = Vec::new();
    for queue in queues {
        if reader.committed(queue).await?.is_none() {
            fresh.push(queue);
        }
    }
    if fresh.is_empty() && !queues.is_empty() && args.from.is_some() {
        let topic = &queues[0].topic;
        output::note(format!(
            "--from is ignored: group {group} has committed offsets (move them: rmq group reset {group} -t {topic} --to POSITION)"
        ));
    }
    match args.from.unwrap_or(Position::First) {
        Position::First => Ok(StartFrom::First),
        Position::Last => Ok(StartFrom::Last),
        Position::Time(time_ms) => Ok(StartFrom::Timestamp(time_ms)),
        position @ Position::Offset(_) => {
            create_group(&Admin::new(common.client()), group, &fresh).await?;
            for queue in fresh {
                let offset = offset_of(reader, queue, position).await?;
                reader.commit(queue, offset).await?;
            }
            Ok(StartFrom::First)
        }
    }
}

/// Creates the group at the brokers of these queues that do not know it: they keep no offsets of unknown groups.
async fn create_group(admin: &Admin, group: &str, queues: &[&MessageQueue]) -> Result<(), ClientError> {
    let topics: BTreeSet<&str> = queues.iter().map(|queue| queue.topic.as_str()).collect();
    let mut brokers = BTreeSet::new();
    for topic in topics {
        brokers.extend(admin.brokers_of_topic(topic).await?);
    }
    for broker in brokers {
        let groups = admin.group_configs(&broker.address).await?;
        if !groups.subscription_group_table.contains_key(group) {
            let config = SubscriptionGroupConfig::named(group);
            admin.put_group(&broker.address, &config).await?;
        }
    }
    Ok(())
}

/// Handles the messages of one call: one, as the options say.
async fn handle(consumption: Arc<Consumption>, messages: Vec<ReceivedMessage>) -> Consumed {
    for message in messages {
        let consumed = consumption.take(message).await;
        if consumed != Consumed::Success {
            return consumed;
        }
    }
    Consumed::Success
}

/// Ends when nothing came for as long as `--idle` says, while the servers could be reached.
async fn idle(
    consumption: &Consumption,
    consumer: &PushConsumer,
    reader: &PullConsumer,
    queues: &[MessageQueue],
) {
    consumer.assigned().await;
    consumption.idle.touch();
    loop {
        consumption.idle.reached().await;
        let reached = match queues.first() {
            Some(queue) => reader.max_offset(queue).await.is_ok(),
            None => true,
        };
        if reached {
            return;
        }
        consumption.idle.touch();
    }
}

/// Ends when every queue that fell to this member is done up to where it ended at the start.
async fn everything(consumer: &PushConsumer, ends: &BTreeMap<MessageQueue, u64>) {
    consumer.assigned().await;
    let is_done = || {
        let progress = consumer.progress();
        let passed = progress
            .iter()
            .all(|owned| ends.get(&owned.queue).is_none_or(|end| owned.done >= *end));
        passed && consumer.is_settled()
    };
    while !is_done() {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

impl Consumption {
    fn new(args: &Consume, common: &Common) -> Consumption {
        Consumption {
            sink: args.sink(common),
            count: Count::new(args.count),
            count_max: args.count,
            idle: Idle::new(args.idle),
            done: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            ended: watch::Sender::new(false),
            unprintable: std::sync::Mutex::default(),
        }
    }

    async fn take(&self, message: ReceivedMessage) -> Consumed {
        let mut ended = self.ended.subscribe();
        let claim = tokio::select! {
            biased;
            _ = ended.wait_for(|ended| *ended) => return Consumed::Untouched,
            claim = self.count.claim() => claim,
        };
        self.idle.begin();
        let taken = self.sink.take(message).await;
        self.idle.end();
        match taken {
            Taken::Done => {
                claim.use_up();
                let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
                if Some(done) == self.count_max {
                    self.ended.send_replace(true);
                }
                Consumed::Success
            }
            Taken::Failed => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                Consumed::Later
            }
            Taken::Unprintable(failure) => {
                self.unprintable
                    .lock()
                    .expect("nothing panics under this lock")
                    .get_or_insert(failure);
                self.ended.send_replace(true);
                Consumed::Untouched
            }
        }
    }

    fn report(&self, interrupted: bool) -> Result<Exit, Failure> {
        let (done, failed) = (
            self.done.load(Ordering::Relaxed),
            self.failed.load(Ordering::Relaxed),
        );
        if let Some(failure) = self
            .unprintable
            .lock()
            .expect("nothing panics under this lock")
            .take()
        {
            return Err(failure);
        }
        if interrupted || failed > 0 {
            output::talk(format_args!("{done} consumed, {failed} sent back"));
        }
        Ok(Exit::Ok)
    }
}
