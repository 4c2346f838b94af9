//! Reading queues at the caller's pace (Apache: `DefaultLitePullConsumer` with assigned queues, `DefaultMQPullConsumer`).
//!
//! Either queue by queue with [`PullConsumer::pull`], or several at once: [`PullConsumer::assign`] queues,
//! [`PullConsumer::seek`], then [`PullConsumer::poll`]. Nothing is saved unless [`PullConsumer::commit`] is called, and no
//! broker hears of the group before that.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use super::consumer::offsets;
use super::consumer::pulling::read_reply;
use super::consumer::subscription::Subscription;
use super::error::ClientError;
use super::offsets_at;
use super::options::ClientOptions;
use super::presence::Presence;
use super::received::{ReceivedMessage, decode_all};
use crate::protocol::code::{request, response};
use crate::protocol::frame::Frame;
use crate::protocol::request::body::MessageQueue;
use crate::protocol::request::pull::{Boundary, PullRequest, pull_flag};

/// The group that readers without one use; every broker has it.
pub const TOOLS_GROUP: &str = "TOOLS_CONSUMER";
/// A held pull is waited for this much longer than the broker was asked to hold it.
const HOLD_GRACE: Duration = Duration::from_secs(10);
/// How long a broker may hold a pull of [`PullConsumer::poll`].
const POLL_HOLD: Duration = Duration::from_secs(15);
/// Most messages of one queue that a poll returns.
const POLL_MESSAGES_MAX: usize = 32;
/// The pause of a queue whose pull failed.
const POLL_PAUSE: Duration = Duration::from_millis(500);

/// What one pull brought.
#[derive(Clone, Debug)]
pub struct PulledMessages {
    /// The wanted ones among those that were read; may be none.
    pub messages: Vec<ReceivedMessage>,
    /// Where to go on.
    pub next: u64,
    /// The first and the next offset of the queue.
    pub min: u64,
    pub max: u64,
    /// The asked offset is not there: `next` is where the broker says to go on.
    pub moved: bool,
}

/// Reads queues on demand.
///
/// ```no_run
/// # async fn example() -> Result<(), rmq::client::ClientError> {
/// use std::time::Duration;
/// use rmq::client::{ClientOptions, PullConsumer};
/// let mut reader = PullConsumer::new(ClientOptions::new("127.0.0.1:9876"), None);
/// for queue in reader.queues("orders").await? {
///     let first = reader.min_offset(&queue).await?;
///     reader.assign(queue, first);
/// }
/// for message in reader.poll(Duration::from_secs(1)).await? {
///     println!("{} at {}", message.message_id, message.queue_offset);
/// }
/// # Ok(())
/// # }
/// ```
pub struct PullConsumer {
    reader: Arc<Reader>,
    assigned: BTreeMap<MessageQueue, Position>,
    /// The pulls under way: at most one a queue.
    pulls: JoinSet<(MessageQueue, u64, Result<PulledMessages, ClientError>)>,
    /// Counts the seeks; what was asked before the last one of a queue is not handed out.
    seeks: u64,
}

struct Reader {
    presence: Arc<Presence>,
    group: String,
    /// The tags that are wanted, by topic. Constant after the start.
    expressions: BTreeMap<String, String>,
}

struct Position {
    next: u64,
    seek: u64,
    /// The pull under way.
    pull: Option<AbortHandle>,
}

impl Drop for Position {
    /// A pull from a position that is no longer wanted would be held for nothing.
    fn drop(&mut self) {
        if let Some(pull) = &self.pull {
            pull.abort();
        }
    }
}

impl PullConsumer {
    /// A reader for a group, or for nobody in particular.
    pub fn new(options: ClientOptions, group: Option<&str>) -> PullConsumer {
        PullConsumer::with_tags(options, group, BTreeMap::new())
    }

    /// A reader that gets only messages with these tags (`a || b`) of a topic, by topic; everything of the others.
    pub fn with_tags(
        options: ClientOptions,
        group: Option<&str>,
        expressions: BTreeMap<String, String>,
    ) -> PullConsumer {
        let (presence, _) = Presence::new(options);
        let group = group.unwrap_or(TOOLS_GROUP).to_owned();
        let reader = Arc::new(Reader {
            presence,
            group,
            expressions,
        });
        PullConsumer {
            reader,
            assigned: BTreeMap::new(),
            pulls: JoinSet::new(),
            seeks: 0,
        }
    }

    /// The queues of a topic, asked anew.
    pub async fn queues(&self, topic: &str) -> Result<Vec<MessageQueue>, ClientError> {
        Ok(self.reader.presence.routes.ask(topic).await?.readable.clone())
    }

    /// Reads up to `max` messages of a queue from an offset. `hold`: how long the broker may wait for one to arrive.
    pub async fn pull(
        &self,
        queue: &MessageQueue,
        offset: u64,
        max: usize,
        hold: Option<Duration>,
    ) -> Result<PulledMessages, ClientError> {
        self.reader.pull(queue, offset, max, hold).await
    }

    /// Adds a queue to those that [`PullConsumer::poll`] reads, beginning at an offset; or moves it there.
    pub fn assign(&mut self, queue: MessageQueue, offset: u64) {
        self.seeks += 1;
        let position = Position {
            next: offset,
            seek: self.seeks,
            pull: None,
        };
        self.assigned.insert(queue, position);
    }

    /// Moves an assigned queue to another offset.
    pub fn seek(&mut self, queue: &MessageQueue, offset: u64) {
        if self.assigned.contains_key(queue) {
            self.assign(queue.clone(), offset);
        }
    }

    /// Takes a queue out of those that are read.
    pub fn unassign(&mut self, queue: &MessageQueue) {
        self.assigned.remove(queue);
    }

    /// The next offset of each assigned queue.
    pub fn positions(&self) -> BTreeMap<MessageQueue, u64> {
        self.assigned
            .iter()
            .map(|(queue, position)| (queue.clone(), position.next))
            .collect()
    }

    /// The next messages of any assigned queue; none if none arrives in time.
    ///
    /// # Errors
    /// When a queue could not be read; it is tried again by the next call.
    pub async fn poll(&mut self, wait: Duration) -> Result<Vec<ReceivedMessage>, ClientError> {
        let deadline = Instant::now() + wait;
        loop {
            self.start_pulls();
            let Ok(ended) = tokio::time::timeout_at(deadline, self.pulls.join_next()).await else {
                return Ok(Vec::new());
            };
            let Some(ended) = ended else {
                // Nothing is assigned, so nothing can arrive.
                tokio::time::sleep_until(deadline).await;
                return Ok(Vec::new());
            };
            // An aborted pull and one from before a seek are nobody's.
            let Ok((queue, seek, pulled)) = ended else {
                continue;
            };
            let Some(position) = self
                .assigned
                .get_mut(&queue)
                .filter(|position| position.seek == seek)
            else {
                continue;
            };
            position.pull = None;
            let pulled = pulled?;
            position.next = pulled.next;
            if !pulled.messages.is_empty() {
                return Ok(pulled.messages);
            }
        }
    }

    fn start_pulls(&mut self) {
        for (queue, position) in self
            .assigned
            .iter_mut()
            .filter(|(_, position)| position.pull.is_none())
        {
            let (reader, queue) = (self.reader.clone(), queue.clone());
            let (offset, seek) = (position.next, position.seek);
            let pull = self.pulls.spawn(async move {
                let pulled = reader
                    .pull(&queue, offset, POLL_MESSAGES_MAX, Some(POLL_HOLD))
                    .await;
                if pulled.is_err() {
                    tokio::time::sleep(POLL_PAUSE).await;
                }
                (queue, seek, pulled)
            });
            position.pull = Some(pull);
        }
    }

    /// The group's saved offset.
    pub async fn committed(&self, queue: &MessageQueue) -> Result<Option<u64>, ClientError> {
        self.reader.know(queue).await?;
        offsets::query(&self.reader.presence, &self.reader.group, queue).await
    }

    /// Saves the group's offset: everything below it is done.
    pub async fn commit(&self, queue: &MessageQueue, offset: u64) -> Result<(), ClientError> {
        self.reader.know(queue).await?;
        offsets::update(&self.reader.presence, &self.reader.group, queue, offset).await
    }

    /// The first offset that is still there.
    pub async fn min_offset(&self, queue: &MessageQueue) -> Result<u64, ClientError> {
        self.reader.know(queue).await?;
        offsets_at::min(&self.reader.presence, queue).await
    }

    /// The offset that the next message will get.
    pub async fn max_offset(&self, queue: &MessageQueue) -> Result<u64, ClientError> {
        self.reader.know(queue).await?;
        offsets_at::max(&self.reader.presence, queue).await
    }

    /// The offset of the first message stored at or after a time (epoch milliseconds); the end for a later time.
    pub async fn offset_at(&self, queue: &MessageQueue, time: i64) -> Result<u64, ClientError> {
        self.reader.know(queue).await?;
        offsets_at::time(&self.reader.presence, queue, time, Boundary::Lower).await
    }

    /// Closes the connections.
    pub fn close(self) {
        self.reader.presence.connections.close();
    }
}

impl Reader {
    /// Learns where the queue's broker is.
    async fn know(&self, queue: &MessageQueue) -> Result<(), ClientError> {
        self.presence.routes.existing(&queue.topic).await.map(|_| ())
    }

    async fn pull(
        &self,
        queue: &MessageQueue,
        offset: u64,
        max: usize,
        hold: Option<Duration>,
    ) -> Result<PulledMessages, ClientError> {
        self.know(queue).await?;
        let address = self.presence.routes.master(&queue.broker_name)?;
        let expression = self.expressions.get(&queue.topic).map_or("*", String::as_str);
        let subscription = Subscription::new(&queue.topic, expression, 0);
        let suspend = if hold.is_some() { pull_flag::SUSPEND } else { 0 };
        let header = PullRequest {
            consumer_group: self.group.clone(),
            topic: queue.topic.clone(),
            queue_id: queue.queue_id,
            queue_offset: offset as i64,
            max_msg_nums: max as i32,
            // The broker knows this reader by nothing but the pull itself.
            sys_flag: pull_flag::SUBSCRIPTION | suspend,
            commit_offset: 0,
            suspend_timeout_ms: hold.unwrap_or_default().as_millis() as i64,
            subscription: Some(subscription.expression.clone()),
            sub_version: 0,
            expression_type: Some("TAG".to_owned()),
            max_msg_bytes: None,
            request_source: None,
            proxy_forward_client_id: None,
            broker_name: Some(queue.broker_name.clone()),
        };
        let timeout = hold.map_or(self.presence.options.request_timeout, |hold| hold + HOLD_GRACE);
        let frame = Frame::request(request::PULL_MESSAGE, &header);
        let answer = self.presence.connections.ask(&address, frame, timeout).await?;
        let reply = read_reply(&address, &answer)?;
        let mut messages = match answer.code {
            response::SUCCESS => decode_all(&answer.body.contiguous(), &queue.broker_name)
                .map_err(|bad| ClientError::bad_record(&address, bad))?,
            _ => Vec::new(),
        };
        messages.retain(|message| subscription.wants(message.tag.as_deref()));
        Ok(PulledMessages {
            messages,
            next: u64::try_from(reply.next_begin_offset).unwrap_or(offset),
            min: u64::try_from(reply.min_offset).unwrap_or(0),
            max: u64::try_from(reply.max_offset).unwrap_or(0),
            moved: answer.code == response::PULL_OFFSET_MOVED,
        })
    }
}
