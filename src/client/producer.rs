//! Sending messages (Apache: `DefaultMQProducer`).
//!
//! A send takes its queues in turn. What fails is tried again on another broker while retries and time are left; each try
//! gets the remaining time divided by the tries left, so that one hanging broker never uses up the time of the others. Where
//! there is no other broker, pauses spread the tries over the time of the send: a broker that restarts is back by then.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::connect::refusal;
use super::error::{ClientError, FailedTry, SendFailure};
use super::faults::Faults;
use super::ids;
use super::options::ProducerOptions;
use super::outgoing::{OutgoingMessage, Prepared, prepare_batch};
use super::presence::Presence;
use super::routes::{DEFAULT_TOPIC, Route};
use crate::protocol::code::{request, response};
use crate::protocol::frame::Frame;
use crate::protocol::message::java_hash;
use crate::protocol::request::body::MessageQueue;
use crate::protocol::request::client::{HeartbeatData, ProducerData};
use crate::protocol::request::send::{SendReply, SendRequest};

/// A try needs at least this long for its answer; with less left, none starts.
const TRY_MIN: Duration = Duration::from_millis(10);
/// Longest pause before another try at the only broker there is.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Refusals that another broker may not repeat: what Apache's producers retry, and 204, 205, 1500 of old and leaving brokers.
const RETRIED: [i32; 8] = [
    response::TOPIC_NOT_EXIST,
    response::SERVICE_NOT_AVAILABLE,
    response::SYSTEM_ERROR,
    response::SYSTEM_BUSY,
    response::NO_PERMISSION,
    204,
    205,
    1500,
];

/// How safe an acknowledged message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendStatus {
    /// As safe as the broker's settings promise.
    Ok,
    /// Stored; not known to be on disk yet.
    FlushDiskTimeout,
    /// Stored; not known to be on the slave yet.
    FlushSlaveTimeout,
    /// Stored; there is no slave to copy it.
    SlaveNotAvailable,
}

/// Where an acknowledged message or batch lies.
#[derive(Clone, Debug, PartialEq)]
pub struct SendResult {
    pub status: SendStatus,
    /// One id a message, in the order they were given.
    pub message_ids: Vec<String>,
    /// One id a stored copy, in the same order.
    pub offset_message_ids: Vec<String>,
    pub queue: MessageQueue,
    /// Queue offset of the (first) message.
    pub queue_offset: u64,
}

/// Sends messages for one producer group. Dropping it stops its heartbeat; [`Producer::close`] says goodbye, too.
///
/// ```no_run
/// # async fn example() -> Result<(), rmq::client::ClientError> {
/// use rmq::client::{ClientOptions, OutgoingMessage, Producer, ProducerOptions};
/// let producer = Producer::start(ProducerOptions::new(ClientOptions::new("127.0.0.1:9876"), "shop"));
/// let result = producer.send(&OutgoingMessage::new("orders", "one book").tag("paid")).await?;
/// println!("stored at {}", result.queue_offset);
/// producer.close().await;
/// # Ok(())
/// # }
/// ```
pub struct Producer {
    sender: Arc<Sender>,
    /// One permit an asynchronous send under way.
    async_sends: Arc<Semaphore>,
}

/// What a send needs; shared with the asynchronous ones under way.
struct Sender {
    presence: Arc<Presence>,
    options: ProducerOptions,
    faults: Faults,
    /// Whose turn it is, by topic. Bounded by the topics the user names.
    turns: Mutex<HashMap<String, usize>>,
}

impl Producer {
    /// A producer that connects when it first sends. Call it within a tokio runtime.
    pub fn start(options: ProducerOptions) -> Producer {
        // A producer serves no request yet: the receiver is dropped, and brokers are answered so.
        let (presence, _) = Presence::new(options.client.clone());
        let async_sends = Arc::new(Semaphore::new(options.async_sends_max));
        let data = HeartbeatData {
            client_id: presence.client_id.clone(),
            producer_data_set: vec![ProducerData {
                group_name: options.group.clone(),
            }],
            ..HeartbeatData::default()
        };
        let (beating, refreshing) = (presence.clone(), presence.clone());
        tokio::spawn(async move { beating.keep_beating(|| data.clone(), true).await });
        tokio::spawn(async move { refreshing.keep_routes_fresh().await });
        let sender = Sender {
            presence,
            options,
            faults: Faults::default(),
            turns: Mutex::default(),
        };
        Producer {
            sender: Arc::new(sender),
            async_sends,
        }
    }

    /// Sends a message to the queue whose turn it is and waits for the acknowledgement.
    ///
    /// # Errors
    /// [`ClientError::Send`] names every try, and which of them may have stored the message although no answer came.
    pub async fn send(&self, message: &OutgoingMessage) -> Result<SendResult, ClientError> {
        self.sender.send(self.prepare(message)?).await
    }

    /// Sends messages of one topic as one: into one queue, all or none.
    pub async fn send_batch(&self, messages: &[OutgoingMessage]) -> Result<SendResult, ClientError> {
        self.sender
            .send(prepare_batch(messages, self.sender.options.body_bytes_max)?)
            .await
    }

    /// Sends a message in the background; `done` is called once, with its end. Waits while too many are under way.
    pub async fn send_async(
        &self,
        message: &OutgoingMessage,
        done: impl FnOnce(Result<SendResult, ClientError>) + Send + 'static,
    ) -> Result<(), ClientError> {
        let prepared = self.prepare(message)?;
        let permit = self
            .async_sends
            .clone()
            .acquire_owned()
            .await
            .map_err(|_| ClientError::Closed)?;
        let sender = self.sender.clone();
        tokio::spawn(async move {
            let result = sender.send(prepared).await;
            drop(permit);
            done(result);
        });
        Ok(())
    }

    /// Sends a message that nobody acknowledges: it may be lost without a trace.
    pub async fn send_oneway(&self, message: &OutgoingMessage) -> Result<(), ClientError> {
        let prepared = self.prepare(message)?;
        let sender = &self.sender;
        let (timeout, route) = (sender.options.send_timeout, sender.route(&prepared.topic).await?);
        let queue = sender.choose(&route, &prepared.topic, None)?;
        let address = route
            .master(&queue.broker_name)
            .expect("writable queues lie on brokers with a master");
        sender
            .presence
            .connections
            .tell(address, sender.frame(&prepared, queue), timeout)
            .await
    }

    /// Sends a message to this queue, in one try.
    pub async fn send_to(
        &self,
        message: &OutgoingMessage,
        queue: &MessageQueue,
    ) -> Result<SendResult, ClientError> {
        let prepared = self.prepare(message)?;
        let route = self.sender.route(&prepared.topic).await?;
        if !route.writable.contains(queue) {
            let name = format!("{}:{}", queue.broker_name, queue.queue_id);
            return Err(ClientError::NoSuchQueue {
                topic: prepared.topic,
                queue: name,
            });
        }
        self.sender.send_once(&prepared, &route, queue).await
    }

    /// Sends a message to the queue that `select` picks from all of the topic's: an index, taken modulo their number. The
    /// queues are in the same order in every process. One try: another queue would break the order.
    pub async fn send_by(
        &self,
        message: &OutgoingMessage,
        select: impl FnOnce(&[MessageQueue]) -> usize,
    ) -> Result<SendResult, ClientError> {
        let prepared = self.prepare(message)?;
        let route = self.sender.route(&prepared.topic).await?;
        if route.writable.is_empty() {
            return Err(ClientError::NoWritableQueue(prepared.topic));
        }
        let queue = &route.writable[select(&route.writable) % route.writable.len()];
        self.sender.send_once(&prepared, &route, queue).await
    }

    /// Sends a message to the queue of its key: messages of one key stay in order (Apache: `SelectMessageQueueByHash`).
    pub async fn send_in_order(
        &self,
        message: &OutgoingMessage,
        key: &str,
    ) -> Result<SendResult, ClientError> {
        let hash = java_hash(key);
        self.send_by(message, |queues| {
            (hash % queues.len() as i32).unsigned_abs() as usize
        })
        .await
    }

    /// The queues a message to this topic can go to, in the order that [`Producer::send_by`] sees.
    pub async fn queues(&self, topic: &str) -> Result<Vec<MessageQueue>, ClientError> {
        Ok(self.sender.route(topic).await?.writable.clone())
    }

    /// Replaces the name servers; the next question goes to one of these.
    pub fn set_name_servers(&self, addresses: Vec<String>) {
        self.sender.presence.connections.set_name_servers(addresses);
    }

    /// Waits for the asynchronous sends, tells the brokers goodbye, and closes the connections.
    pub async fn close(self) {
        let sender = &self.sender;
        let all = u32::try_from(sender.options.async_sends_max).unwrap_or(u32::MAX);
        // A send ends within its timeout, so this wait is bounded.
        drop(self.async_sends.acquire_many(all).await);
        sender
            .presence
            .leave(Some(sender.options.group.clone()), None)
            .await;
        sender.presence.stop();
        sender.presence.connections.close();
    }

    fn prepare(&self, message: &OutgoingMessage) -> Result<Prepared, ClientError> {
        let options = &self.sender.options;
        Ok(message.prepare(options.body_bytes_max, options.compress_from)?)
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.sender.presence.stop();
    }
}

impl Sender {
    async fn send(&self, prepared: Prepared) -> Result<SendResult, ClientError> {
        let start = Instant::now();
        let deadline = start + self.options.send_timeout;
        let route = self.route(&prepared.topic).await?;
        let mut tries: Vec<FailedTry> = Vec::new();
        let tries_max = self.options.retries + 1;
        for tried in 0..tries_max {
            if tries
                .last()
                .is_some_and(|failed| is_worth_waiting(failed, &route))
            {
                let left = deadline.saturating_duration_since(Instant::now());
                tokio::time::sleep((left / (tries_max - tried + 1)).min(PAUSE_MAX)).await;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left < TRY_MIN {
                break;
            }
            let failed_broker = tries.last().map(|one| one.broker_name.as_str());
            let queue = self.choose(&route, &prepared.topic, failed_broker)?;
            match self
                .try_queue(&prepared, &route, queue, left / (tries_max - tried))
                .await
            {
                Ok(result) => return Ok(result),
                Err(error) => {
                    let again = is_worth_another_try(&error);
                    tries.push(FailedTry {
                        broker_name: queue.broker_name.clone(),
                        error,
                    });
                    if !again {
                        break;
                    }
                }
            }
        }
        Err(SendFailure {
            topic: prepared.topic,
            elapsed: start.elapsed(),
            tries,
        }
        .into())
    }

    async fn send_once(
        &self,
        prepared: &Prepared,
        route: &Route,
        queue: &MessageQueue,
    ) -> Result<SendResult, ClientError> {
        let start = Instant::now();
        let sent = self
            .try_queue(prepared, route, queue, self.options.send_timeout)
            .await;
        sent.map_err(|error| {
            let tries = vec![FailedTry {
                broker_name: queue.broker_name.clone(),
                error,
            }];
            SendFailure {
                topic: prepared.topic.clone(),
                elapsed: start.elapsed(),
                tries,
            }
            .into()
        })
    }

    /// One try. Its latency, or its failure, counts for the choice of later queues.
    async fn try_queue(
        &self,
        prepared: &Prepared,
        route: &Route,
        queue: &MessageQueue,
        timeout: Duration,
    ) -> Result<SendResult, ClientError> {
        let address = route
            .master(&queue.broker_name)
            .expect("writable queues lie on brokers with a master");
        let start = Instant::now();
        let answer = self
            .presence
            .connections
            .ask(address, self.frame(prepared, queue), timeout)
            .await;
        let now = std::time::Instant::now();
        match answer {
            Ok(answer) => {
                self.faults.answered(&queue.broker_name, start.elapsed(), now);
                result_of(prepared, address, queue, &answer)
            }
            Err(error) => {
                self.faults.failed(&queue.broker_name, now);
                Err(error)
            }
        }
    }

    /// The route of a topic, within the time of a send.
    async fn route(&self, topic: &str) -> Result<Arc<Route>, ClientError> {
        let (timeout, queues) = (self.options.send_timeout, self.options.default_topic_queues);
        within(timeout, self.presence.routes.existing_or_template(topic, queues)).await
    }

    /// The queue whose turn it is, passing over the broker that just failed and those to be avoided, if there are others.
    fn choose<'a>(
        &self,
        route: &'a Route,
        topic: &str,
        failed_broker: Option<&str>,
    ) -> Result<&'a MessageQueue, ClientError> {
        let queues = &route.writable;
        if queues.is_empty() {
            return Err(ClientError::NoWritableQueue(topic.to_owned()));
        }
        let turn = self.next_turn(topic);
        let now = std::time::Instant::now();
        let in_turn = || (0..queues.len()).map(|step| &queues[turn.wrapping_add(step) % queues.len()]);
        let elsewhere = |queue: &&MessageQueue| failed_broker != Some(queue.broker_name.as_str());
        let avoided = |queue: &MessageQueue| {
            self.options.avoid_slow_brokers && self.faults.is_avoided(&queue.broker_name, now)
        };
        let best = in_turn().find(|queue| elsewhere(queue) && !avoided(queue));
        Ok(best
            .or_else(|| in_turn().find(elsewhere))
            .unwrap_or(&queues[turn % queues.len()]))
    }

    fn next_turn(&self, topic: &str) -> usize {
        let mut turns = self.turns.lock().expect("no panic under this lock");
        if let Some(turn) = turns.get_mut(topic) {
            *turn = turn.wrapping_add(1);
            return *turn;
        }
        // Producers begin at different queues.
        let turn = fastrand::usize(..1024);
        turns.insert(topic.to_owned(), turn);
        turn
    }

    fn frame(&self, prepared: &Prepared, queue: &MessageQueue) -> Frame {
        let header = SendRequest {
            producer_group: &self.options.group,
            topic: &prepared.topic,
            default_topic: DEFAULT_TOPIC,
            default_topic_queue_nums: self.options.default_topic_queues,
            queue_id: queue.queue_id,
            sys_flag: prepared.sys_flag,
            born_timestamp: ids::now_ms(),
            flag: prepared.flag,
            properties: &prepared.properties,
            reconsume_times: 0,
            unit_mode: false,
            max_reconsume_times: None,
            batch: prepared.batch,
            broker_name: Some(&queue.broker_name),
        };
        let code = if prepared.batch {
            request::SEND_BATCH_MESSAGE
        } else {
            request::SEND_MESSAGE_V2
        };
        header.frame(code).with_body(prepared.body.clone())
    }
}

/// Whether another broker may take what this one did not.
fn is_worth_another_try(error: &ClientError) -> bool {
    match error {
        ClientError::Refused { code, .. } => RETRIED.contains(code),
        error => error.is_unreachable() || matches!(error, ClientError::NotSent { .. }),
    }
}

/// Whether only time helps: the broker is not there, and it is the only one.
fn is_worth_waiting(failed: &FailedTry, route: &Route) -> bool {
    let absent = matches!(
        failed.error,
        ClientError::Unreachable { .. } | ClientError::Disconnected { .. }
    );
    let mut names = route.writable.iter().map(|queue| &queue.broker_name);
    absent && names.all(|name| *name == failed.broker_name)
}

async fn within<T>(
    timeout: Duration,
    answer: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    let late = |_| ClientError::Timeout {
        address: "the name server".to_owned(),
        timeout,
    };
    tokio::time::timeout(timeout, answer).await.map_err(late)?
}

fn result_of(
    prepared: &Prepared,
    address: &str,
    queue: &MessageQueue,
    answer: &Frame,
) -> Result<SendResult, ClientError> {
    let status = match answer.code {
        response::SUCCESS => SendStatus::Ok,
        response::FLUSH_DISK_TIMEOUT => SendStatus::FlushDiskTimeout,
        response::FLUSH_SLAVE_TIMEOUT => SendStatus::FlushSlaveTimeout,
        response::SLAVE_NOT_AVAILABLE => SendStatus::SlaveNotAvailable,
        _ => return Err(refusal(address, answer)),
    };
    let reply: SendReply<'_> = answer
        .header()
        .map_err(|bad| ClientError::bad_field(address, bad))?;
    Ok(SendResult {
        status,
        message_ids: prepared.message_ids.clone(),
        offset_message_ids: reply.msg_id.split(',').map(str::to_owned).collect(),
        queue: MessageQueue {
            queue_id: reply.queue_id,
            ..queue.clone()
        },
        queue_offset: u64::try_from(reply.queue_offset).unwrap_or(0),
    })
}
