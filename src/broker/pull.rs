//! The way of a PULL (codes 11 and 361; Apache: `PullMessageProcessor`, `PullRequestHoldService`).
//!
//! [`admit`] decides synchronously who may pull and what is filtered; [`Pull::answer`] reads, and awaits an arrival where
//! the client allows it: that await is long polling. It subscribes to arrivals before it reads, so that no message is
//! overslept, and is dropped with its connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::broker::clients::Clients;
use crate::broker::filter::Subscription;
use crate::broker::groups::{EnsuredGroup, Groups};
use crate::broker::offsets::Offsets;
use crate::broker::options::BrokerOptions;
use crate::broker::refusal::Refusal;
use crate::broker::stats::Stats;
use crate::broker::topics::Topics;
use crate::protocol::code::{request, response};
use crate::protocol::frame::{Body, Frame};
use crate::protocol::request::pull::{PullForbidden, PullReply, PullRequest, pull_flag};
use crate::protocol::request::route::MASTER_ID;
use crate::protocol::request::topic::perm;
use crate::remoting::Peer;
use crate::store::{QueueBounds, Read, ReadLimits, ReadStatus, Store};

/// Most messages of one answer (`maxTransferCountOnMessageInMemory`).
const MESSAGES_MAX: i32 = 32;
/// Most bytes of one answer (`maxTransferBytesOnMessageInMemory`); a larger message comes alone.
const BYTES_MAX: i32 = 256 * 1024;
/// Most queue entries looked at for one answer (`maxFilterMessageSize` / 20).
const ENTRIES_MAX: usize = 800;
/// Longest hold, whatever the client asks for: its network timeout is longer.
const HOLD_MAX: Duration = Duration::from_secs(60);
/// How long a held pull keeps to itself that it has passed messages which do not match. Then the client hears of it, so
/// that its committed offset follows.
const PROGRESS_PAUSE: Duration = Duration::from_secs(1);

/// What forbids a pull (`ForbiddenType`), told beside code 16.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Forbidden {
    Broker = 1,
    Group = 2,
    Topic = 3,
    Broadcast = 4,
    Subscription = 5,
}

/// The refusal of a pull.
#[derive(Debug)]
pub struct Refused {
    refusal: Refusal,
    forbidden: Option<Forbidden>,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Refused {
        Refused {
            refusal,
            forbidden: None,
        }
    }
}

impl From<Refused> for Frame {
    fn from(refused: Refused) -> Frame {
        match refused.forbidden {
            None => refused.refusal.into(),
            Some(kind) => Frame::answer_with(
                refused.refusal.code,
                &PullForbidden {
                    forbidden_type: kind as i32,
                },
            )
            .with_remark(refused.refusal.remark),
        }
    }
}

impl Forbidden {
    fn because(self, remark: impl Into<std::borrow::Cow<'static, str>>) -> Refused {
        Refused {
            refusal: Refusal::new(response::NO_PERMISSION, remark),
            forbidden: Some(self),
        }
    }

    /// Marks a refusal with 16 as this kind; others pass.
    fn mark(self, refusal: Refusal) -> Refused {
        let forbidden = (refusal.code == response::NO_PERMISSION).then_some(self);
        Refused { refusal, forbidden }
    }
}

/// A pull that may be answered.
pub struct Pull {
    request: PullRequest,
    subscription: Arc<Subscription>,
    topic_sys_flag: i32,
    group_sys_flag: i32,
    /// How long it may be held.
    hold: Option<Duration>,
    /// The group was created for it, so that it has to be saved.
    pub group_created: bool,
}

/// Whether the broker answers pulls of this code at all.
///
/// # Errors
/// 16 if it is not readable, or takes no 361.
pub fn permitted(code: i32, options: &BrokerOptions) -> Result<(), Refused> {
    if options.permission & perm::READ == 0 {
        return Err(Forbidden::Broker.because(format!(
            "the broker[{}] pulling message is forbidden",
            options.advertised
        )));
    }
    if code == request::LITE_PULL_MESSAGE && !options.lite_pull {
        return Err(Forbidden::Broker.because(format!(
            "the broker[{}] for lite pull consumer is forbidden",
            options.advertised
        )));
    }
    Ok(())
}

/// Decides whether the pull may be answered, in Apache's order.
///
/// # Errors
/// 26 unknown group, 16 group switched off, 17 unknown topic, 16 topic not readable, 29
/// no such queue, 23 bad expression, 24 unknown subscription, 16 broadcast or topic forbidden, 1 filter not supported.
pub fn admit(
    request: PullRequest,
    topics: &Topics,
    groups: &Groups,
    clients: &Clients,
    options: &BrokerOptions,
    peer: &Peer,
    now_ms: i64,
) -> Result<Pull, Refused> {
    let group = groups.consumable(&request.consumer_group, options, now_ms);
    let EnsuredGroup {
        group,
        changed: group_created,
    } = group.map_err(|refusal| Forbidden::Group.mark(refusal))?;
    let topic = topics.readable(&request.topic, request.queue_id, peer.address());
    let topic = topic.map_err(|refusal| Forbidden::Topic.mark(refusal))?;
    let carried = request.sys_flag & pull_flag::SUBSCRIPTION != 0;
    let subscription = match carried {
        true => Arc::new(carried_subscription(&request)?),
        false => known_subscription(&request, clients, peer)?,
    };
    if !carried {
        if !group.consume_broadcast_enable && clients.is_broadcasting(&request.consumer_group) {
            let remark = format!(
                "the consumer group[{}] can not consume by broadcast way",
                request.consumer_group
            );
            return Err(Forbidden::Broadcast.because(remark));
        }
        if !groups.may_read(&request.consumer_group, &request.topic) {
            let remark = format!(
                "the consumer group[{}] is forbidden for topic[{}]",
                request.consumer_group, request.topic
            );
            return Err(Forbidden::Subscription.because(remark));
        }
    }
    subscription.require_tags()?;
    let hold = hold(&request, options);
    let (topic_sys_flag, group_sys_flag) = (topic.topic_sys_flag, group.group_sys_flag);
    Ok(Pull {
        request,
        subscription,
        topic_sys_flag,
        group_sys_flag,
        hold,
        group_created,
    })
}

fn hold(request: &PullRequest, options: &BrokerOptions) -> Option<Duration> {
    if request.sys_flag & pull_flag::SUSPEND == 0 {
        return None;
    }
    let asked = Duration::from_millis(request.suspend_timeout_ms.max(0) as u64);
    Some(if options.long_polling {
        asked.min(HOLD_MAX)
    } else {
        options.short_polling
    })
}

fn carried_subscription(request: &PullRequest) -> Result<Subscription, Refusal> {
    Subscription::parse(
        &request.topic,
        request.subscription.as_deref().unwrap_or(""),
        request.expression_type.as_deref().unwrap_or(""),
        request.sub_version,
    )
}

/// The subscription of the client's heartbeats. A pull that knows a newer one than they told is not refused: what it
/// carries counts, and if it carries nothing it gets everything, for the client filters again.
fn known_subscription(
    request: &PullRequest,
    clients: &Clients,
    peer: &Peer,
) -> Result<Arc<Subscription>, Refusal> {
    let known = clients.subscription(&request.consumer_group, &request.topic, peer.id())?;
    if request.sub_version <= known.data.sub_version || known.require_tags().is_err() {
        return Ok(known);
    }
    carried_subscription(request).map(Arc::new)
}

/// Counts the pulls that are held.
#[derive(Default)]
pub struct Held(AtomicUsize);

impl Held {
    /// Pulls that wait for a message now.
    pub fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn hold(&self) -> Holding<'_> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Holding(self)
    }
}

struct Holding<'a>(&'a Held);

impl Drop for Holding<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pull {
    /// Commits the offset the pull carries, if it says so.
    pub fn commit(&self, offsets: &Offsets, store: &Store) {
        let request = &self.request;
        if request.sys_flag & pull_flag::COMMIT_OFFSET == 0 || request.commit_offset < 0 {
            return;
        }
        let end = store
            .queue(&request.topic, request.queue_id)
            .map_or(0, |bounds| bounds.end);
        let (group, topic) = (&request.consumer_group, &request.topic);
        offsets.commit(group, topic, request.queue_id, request.commit_offset, end as i64);
    }

    /// Reads, and waits for an arrival as long as the client allows. Dropping it anywhere is safe.
    pub async fn answer(mut self, offsets: &Offsets, store: &Store, stats: &Stats, held: &Held) -> Frame {
        let (topic, queue_id) = (self.request.topic.clone(), self.request.queue_id);
        let mut deadline = self.hold.map(|hold| Instant::now() + hold);
        let mut resets = offsets.resets();
        let mut holding = None;
        loop {
            let mut arrivals = store.arrivals(&topic, queue_id);
            if let Some(reset) = offsets.take_reset(&self.request.consumer_group, &topic, queue_id) {
                return self.moved_by_reset(reset, store);
            }
            let read = self.read(store, stats).await;
            let passed_none = read.status == ReadStatus::NoMatched && holding.is_some();
            let Some(mut until) = deadline.filter(|_| self.is_dry(&read) || passed_none) else {
                return self.reply(read, offsets, stats);
            };
            if passed_none {
                self.request.queue_offset = read.next_offset as i64;
                until = until.min(Instant::now() + PROGRESS_PAUSE);
                deadline = Some(until);
            }
            holding.get_or_insert_with(|| held.hold());
            tokio::select! {
                () = arrivals.changed() => {}
                () = resets.changed() => {}
                // Once more without holding, for the last word on what is there.
                () = tokio::time::sleep_until(until) => deadline = None,
            }
        }
    }

    async fn read(&self, store: &Store, stats: &Stats) -> Read {
        let request = &self.request;
        let limits = ReadLimits {
            messages_max: request.max_msg_nums.clamp(1, MESSAGES_MAX) as usize,
            bytes_max: request.max_msg_bytes.unwrap_or(BYTES_MAX).clamp(1, BYTES_MAX) as usize,
            entries_max: ENTRIES_MAX,
        };
        let Ok(offset) = u64::try_from(request.queue_offset) else {
            return below_zero(store.queue(&request.topic, request.queue_id));
        };
        let begin = std::time::Instant::now();
        let read = store
            .read(
                &request.topic,
                request.queue_id,
                offset,
                &limits,
                &*self.subscription,
            )
            .await;
        stats.got_in(begin.elapsed());
        read
    }

    /// Whether a message may still come that answers this pull.
    fn is_dry(&self, read: &Read) -> bool {
        self.code(read.status) == response::PULL_NOT_FOUND
            && read.next_offset as i64 == self.request.queue_offset
    }

    fn code(&self, status: ReadStatus) -> i32 {
        match status {
            ReadStatus::Found => response::SUCCESS,
            ReadStatus::NoMatched | ReadStatus::Removing => response::PULL_RETRY_IMMEDIATELY,
            ReadStatus::NoQueue | ReadStatus::NoMessageInQueue if self.request.queue_offset != 0 => {
                response::PULL_OFFSET_MOVED
            }
            ReadStatus::NoQueue | ReadStatus::NoMessageInQueue => response::PULL_NOT_FOUND,
            ReadStatus::OffsetNull | ReadStatus::OverflowOne => response::PULL_NOT_FOUND,
            ReadStatus::OverflowBadly | ReadStatus::TooSmall => response::PULL_OFFSET_MOVED,
        }
    }

    fn reply(&self, read: Read, offsets: &Offsets, stats: &Stats) -> Frame {
        let request = &self.request;
        let (group, topic) = (request.consumer_group.as_str(), request.topic.as_str());
        let next = match read.status {
            // Behind the end there is nothing to go by but what the group has done, and what was there at the start:
            // Apache's answer, the end, skips what came after a topic was created anew.
            ReadStatus::OverflowBadly | ReadStatus::NoQueue | ReadStatus::NoMessageInQueue => offsets
                .before_loss(group, topic, request.queue_id)
                .min(read.max as i64),
            _ => read.next_offset as i64,
        };
        match read.status {
            ReadStatus::Found => stats.got(topic, group, read.count as u64, read.bytes as u64),
            _ => stats.missed(),
        }
        offsets.note_pulled(group, topic, request.queue_id, next);
        let code = self.code(read.status);
        self.header(code, next, read.min, read.max)
            .with_remark(name(read.status))
            .with_body(Body::from(read.parts))
    }

    /// The answer that moves a running consumer to where its group was reset.
    fn moved_by_reset(&self, reset: i64, store: &Store) -> Frame {
        let bounds = store.queue(&self.request.topic, self.request.queue_id);
        let (min, max) = bounds.map_or((0, 0), |bounds| (bounds.min, bounds.end));
        self.header(response::PULL_OFFSET_MOVED, reset, min, max)
            .with_remark("OFFSET_RESET")
    }

    fn header(&self, code: i32, next: i64, min: u64, max: u64) -> Frame {
        let reply = PullReply {
            suggest_which_broker_id: MASTER_ID,
            next_begin_offset: next,
            min_offset: min as i64,
            max_offset: max as i64,
            offset_delta: None,
            topic_sys_flag: Some(self.topic_sys_flag),
            group_sys_flag: Some(self.group_sys_flag),
            forbidden_type: None,
        };
        Frame::answer_with(code, &reply)
    }
}

/// What there is at a negative offset: the first message, or nothing.
fn below_zero(bounds: Option<QueueBounds>) -> Read {
    let (min, max) = bounds.map_or((0, 0), |bounds| (bounds.min, bounds.end));
    let status = match (bounds, max) {
        (None, _) => ReadStatus::NoQueue,
        (Some(_), 0) => ReadStatus::NoMessageInQueue,
        _ => ReadStatus::TooSmall,
    };
    Read {
        status,
        next_offset: min,
        min,
        max,
        parts: Vec::new(),
        count: 0,
        bytes: 0,
        behind_bytes: 0,
    }
}

/// Apache's name of a status: the remark of the answer.
fn name(status: ReadStatus) -> &'static str {
    match status {
        ReadStatus::Found => "FOUND",
        ReadStatus::NoMatched => "NO_MATCHED_MESSAGE",
        ReadStatus::Removing => "MESSAGE_WAS_REMOVING",
        ReadStatus::NoQueue => "NO_MATCHED_LOGIC_QUEUE",
        ReadStatus::NoMessageInQueue => "NO_MESSAGE_IN_QUEUE",
        ReadStatus::OffsetNull => "OFFSET_FOUND_NULL",
        ReadStatus::OverflowOne => "OFFSET_OVERFLOW_ONE",
        ReadStatus::OverflowBadly => "OFFSET_OVERFLOW_BADLY",
        ReadStatus::TooSmall => "OFFSET_TOO_SMALL",
    }
}
