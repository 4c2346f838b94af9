//! How far groups are, and moving them: progress 208, 303, 308 and 317, reset 222, copies 43 and 314.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::broker::admin::topic::existing;
use crate::broker::clients::Clients;
use crate::broker::groups::Groups;
use crate::broker::offsets::Offsets;
use crate::broker::refusal::Refusal;
use crate::broker::stats::Stats;
use crate::broker::topics::Topics;
use crate::protocol::code::{request, response};
use crate::protocol::fastjson;
use crate::protocol::frame::{Frame, Language};
use crate::protocol::request::body::MessageQueue;
use crate::protocol::request::client::{
    QueueOffsetForC, ResetClientOffsetRequest, ResetOffsetBody, ResetOffsetBodyForC,
};
use crate::protocol::request::group::{
    BrokerConsumeStats, CloneOffsetRequest, ConsumeStats, ConsumeStatsRequest, ConsumerOffsetTable,
    OffsetWrapper, ResetOffsetRequest,
};
use crate::protocol::request::topic::{
    ConsumeTimeSpanBody, CorrectionOffsetBody, CorrectionOffsetRequest, QueueTimeSpan, TopicConfig,
};
use crate::remoting::Peer;
use crate::store::{Boundary, Store};

/// What requests about progress look at.
#[derive(Clone, Copy)]
pub struct Progress<'a> {
    /// `brokerName`, part of every queue's name.
    pub broker_name: &'a str,
    pub topics: &'a Topics,
    pub offsets: &'a Offsets,
    pub clients: &'a Clients,
    pub stats: &'a Stats,
    pub store: &'a Store,
}

impl Progress<'_> {
    /// How far a group is in the topics it is asked for, or in all that it committed offsets for (208). Topics that an
    /// online group no longer subscribes to are left out, unless they are asked for as a list.
    pub fn of_group(&self, request: &ConsumeStatsRequest) -> ConsumeStats {
        let group = request.consumer_group.as_str();
        let listed: Vec<&str> = names(request.topic_list.as_deref().unwrap_or_default()).collect();
        let topic = request.topic.as_deref().filter(|topic| !topic.trim().is_empty());
        let topics: Vec<String> = match (listed.is_empty(), topic) {
            (false, _) => listed.into_iter().map(str::to_owned).collect(),
            (true, Some(topic)) => self.subscribed(group, vec![topic.to_owned()]),
            (true, None) => self.subscribed(group, self.offsets.topics_of(group)),
        };
        let mut stats = ConsumeStats::default();
        for topic in topics.iter().filter_map(|topic| self.topics.get(topic)) {
            self.add_topic(group, &topic, topic.read_queue_nums, &mut stats);
        }
        stats
    }

    /// How far every group is in every topic it committed offsets for (317), and the sums.
    pub fn of_all(&self, groups: &Groups, only_ordered: bool, broker_address: &str) -> BrokerConsumeStats {
        let mut all = BrokerConsumeStats {
            broker_addr: broker_address.to_owned(),
            ..BrokerConsumeStats::default()
        };
        for group in groups.all() {
            let name = &group.group_name;
            let topics = self.subscribed(name, self.offsets.topics_of(name));
            let topics = topics.iter().filter_map(|topic| self.topics.get(topic));
            let mut of_group = Vec::new();
            for topic in topics.filter(|topic| topic.order || !only_ordered) {
                let mut stats = ConsumeStats::default();
                self.add_topic(name, &topic, topic.write_queue_nums, &mut stats);
                for queue in stats.offset_table.0.values() {
                    all.total_diff += queue.broker_offset - queue.consumer_offset;
                    all.total_inflight_diff += queue.pull_offset - queue.consumer_offset;
                }
                of_group.push(stats);
            }
            all.consume_stats_list
                .push(BTreeMap::from([(name.clone(), of_group)]));
        }
        all
    }

    /// Drops topics that an online group no longer subscribes to.
    fn subscribed(&self, group: &str, mut topics: Vec<String>) -> Vec<String> {
        if let Some(online) = self.clients.consumer_group(group) {
            let subscriptions = online.subscriptions();
            topics.retain(|topic| subscriptions.is_empty() || subscriptions.contains_key(topic.as_str()));
        }
        topics
    }

    fn add_topic(&self, group: &str, topic: &TopicConfig, queues: i32, stats: &mut ConsumeStats) {
        let name = topic.topic_name.as_str();
        stats.consume_tps += self.stats.group_rate(name, group);
        for queue_id in 0..queues {
            let committed = self.offsets.committed(group, name, queue_id).unwrap_or(0);
            let wrapper = OffsetWrapper {
                broker_offset: self.end(name, queue_id),
                consumer_offset: committed,
                last_timestamp: self.store_time_before(name, queue_id, committed).unwrap_or(0),
                pull_offset: self
                    .offsets
                    .pulled(group, name, queue_id)
                    .unwrap_or(0)
                    .max(committed),
            };
            stats
                .offset_table
                .0
                .insert(MessageQueue::new(name, self.broker_name, queue_id), wrapper);
        }
    }

    /// How far behind a group is in time, in each queue of a topic (303).
    ///
    /// # Errors
    /// 17 if there is no such topic.
    pub fn in_time(&self, group: &str, topic: &str, now_ms: i64) -> Result<ConsumeTimeSpanBody, Refusal> {
        let config = existing(self.topics, topic)?;
        let queues =
            (0..config.write_queue_nums).map(|queue_id| self.queue_in_time(group, topic, queue_id, now_ms));
        Ok(ConsumeTimeSpanBody {
            consume_time_span_set: queues.collect(),
        })
    }

    fn queue_in_time(&self, group: &str, topic: &str, queue_id: i32, now_ms: i64) -> QueueTimeSpan {
        let (min, end) = self
            .store
            .queue(topic, queue_id)
            .map_or((0, 0), |queue| (queue.min as i64, queue.end as i64));
        let committed = self.offsets.committed(group, topic, queue_id).unwrap_or(0);
        let first = self.store_time_before(topic, queue_id, min + 1).unwrap_or(-1);
        let last = self.store_time_before(topic, queue_id, end).unwrap_or(-1);
        let consumed = self
            .store_time_before(topic, queue_id, committed)
            .unwrap_or(first);
        let next = if committed < end {
            self.store_time_before(topic, queue_id, committed.max(min) + 1)
        } else {
            None
        };
        QueueTimeSpan {
            consume_time_stamp: consumed,
            consume_time_stamp_str: time_text(consumed),
            delay_time: next.map_or(0, |next| (now_ms - next).max(0)),
            max_time_stamp: last,
            max_time_stamp_str: time_text(last),
            message_queue: MessageQueue::new(topic, self.broker_name, queue_id),
            min_time_stamp: first,
            min_time_stamp_str: time_text(first),
        }
    }

    /// The store time of the message before this offset.
    fn store_time_before(&self, topic: &str, queue_id: i32, queue_offset: i64) -> Option<i64> {
        let last = u64::try_from(queue_offset.checked_sub(1)?).ok()?;
        self.store.store_time_of(topic, queue_id, last)
    }

    fn end(&self, topic: &str, queue_id: i32) -> i64 {
        self.store
            .queue(topic, queue_id)
            .map_or(0, |queue| queue.end as i64)
    }

    /// The smallest committed offset of all groups but those filtered out, for each queue of a topic; the largest number
    /// there is where the compared group is behind all of them (308).
    pub fn correction(&self, request: &CorrectionOffsetRequest) -> CorrectionOffsetBody {
        let left_out: Vec<&str> = request
            .filter_groups
            .as_deref()
            .unwrap_or_default()
            .split(',')
            .collect();
        let mut smallest: BTreeMap<i32, i64> = BTreeMap::new();
        let groups = self.offsets.groups_of(&request.topic);
        for group in groups.iter().filter(|group| !left_out.contains(&group.as_str())) {
            for (queue_id, offset) in self.offsets.of_topic(group, &request.topic) {
                let min = self
                    .store
                    .queue(&request.topic, queue_id)
                    .map_or(0, |queue| queue.min as i64);
                if offset >= min {
                    smallest
                        .entry(queue_id)
                        .and_modify(|known| *known = offset.min(*known))
                        .or_insert(offset);
                }
            }
        }
        for (queue_id, compared) in self.offsets.of_topic(&request.compare_group, &request.topic) {
            let offset = smallest.entry(queue_id).or_insert(i64::MAX);
            if *offset > compared {
                *offset = i64::MAX;
            }
        }
        CorrectionOffsetBody {
            correction_offsets: smallest,
        }
    }

    /// Where each queue of a reset goes: to an offset, to a time, or to the end.
    ///
    /// # Errors
    /// 17 unknown topic, 26 unknown group, 1 an offset outside of its queue or a topic without queues.
    pub fn reset_targets(
        &self,
        groups: &Groups,
        request: &ResetOffsetRequest,
    ) -> Result<ResetOffsetBody, Refusal> {
        let ResetOffsetRequest { topic, group, .. } = request;
        let config = self.topics.get(topic);
        let config = config.ok_or_else(|| {
            Refusal::new(response::TOPIC_NOT_EXIST, format!("Topic {topic} does not exist"))
        })?;
        if groups.get(group).is_none() {
            let remark = format!("Group {group} does not exist");
            return Err(Refusal::new(response::SUBSCRIPTION_GROUP_NOT_EXIST, remark));
        }
        let mut targets = ResetOffsetBody::default();
        for queue_id in asked_queues(request, &config)? {
            let offset = match request
                .offset
                .filter(|offset| *offset != -1 && request.queue_id.is_some_and(|id| id >= 0))
            {
                Some(offset) => self.checked_target(topic, queue_id, offset)?,
                None => self.offset_at(topic, queue_id, request.timestamp),
            };
            targets
                .offset_table
                .0
                .insert(MessageQueue::new(topic, self.broker_name, queue_id), offset);
        }
        Ok(targets)
    }

    fn checked_target(&self, topic: &str, queue_id: i32, offset: i64) -> Result<i64, Refusal> {
        let (min, end) = self
            .store
            .queue(topic, queue_id)
            .map_or((0, 0), |queue| (queue.min as i64, queue.end as i64));
        if (min..=end).contains(&offset) {
            return Ok(offset);
        }
        let remark = format!("Target offset {offset} not in consume queue range [{min}-{end}]");
        Err(Refusal::new(response::SYSTEM_ERROR, remark))
    }

    /// The first offset at or after a time; a negative time, and one after the last message, is the end of the queue.
    fn offset_at(&self, topic: &str, queue_id: i32, timestamp: i64) -> i64 {
        match timestamp {
            ..0 => self.end(topic, queue_id),
            _ => self
                .store
                .offset_by_time(topic, queue_id, timestamp, Boundary::Lower) as i64,
        }
    }

    /// Where the consumers of a group are told to go when they do the reset themselves: each queue of the topic that the
    /// group committed an offset for; never forward, unless forced.
    ///
    /// # Errors
    /// 17 unknown topic, 1 a queue without a committed offset.
    pub fn reset_targets_of_consumers(
        &self,
        request: &ResetOffsetRequest,
    ) -> Result<ResetOffsetBody, Refusal> {
        let ResetOffsetRequest {
            topic,
            group,
            timestamp,
            ..
        } = request;
        let config = existing(self.topics, topic)?;
        let mut targets = ResetOffsetBody::default();
        for queue_id in 0..config.write_queue_nums {
            let unknown = || {
                Refusal::new(
                    response::SYSTEM_ERROR,
                    format!("THe consumer group <{group}> not exist"),
                )
            };
            let committed = self
                .offsets
                .committed(group, topic, queue_id)
                .ok_or_else(unknown)?;
            let wanted = self.offset_at(topic, queue_id, *timestamp);
            let offset = if request.is_force {
                wanted
            } else {
                wanted.min(committed)
            };
            targets
                .offset_table
                .0
                .insert(MessageQueue::new(topic, self.broker_name, queue_id), offset);
        }
        Ok(targets)
    }

    /// Copies the committed offsets of a group to another (314): of one topic or of all.
    pub fn copy(&self, request: &CloneOffsetRequest) {
        let CloneOffsetRequest {
            src_group,
            dest_group,
            topic,
            offline,
        } = request;
        let topics = match topic.as_deref().filter(|topic| !topic.trim().is_empty()) {
            Some(topic) => vec![topic.to_owned()],
            None => self.offsets.topics_of(src_group),
        };
        let topics = if *offline {
            topics
        } else {
            self.subscribed(src_group, topics)
        };
        for topic in topics.iter().filter(|topic| self.topics.get(topic).is_some()) {
            self.offsets.copy(src_group, dest_group, topic);
        }
    }
}

fn names(list: &str) -> impl Iterator<Item = &str> {
    list.split(';').map(str::trim).filter(|name| !name.is_empty())
}

/// `2026-11-23#09:14:53:038`, the local time; absent where there is no time.
fn time_text(time_ms: i64) -> Option<String> {
    let time = jiff::Timestamp::from_millisecond(time_ms)
        .ok()
        .filter(|_| time_ms >= 0)?;
    Some(
        time.to_zoned(jiff::tz::TimeZone::system())
            .strftime("%Y-%m-%d#%H:%M:%S:%3N")
            .to_string(),
    )
}

fn asked_queues(request: &ResetOffsetRequest, topic: &TopicConfig) -> Result<Vec<i32>, Refusal> {
    let queues = topic.read_queue_nums.max(topic.write_queue_nums);
    let refuse = |remark: String| Err(Refusal::new(response::SYSTEM_ERROR, remark));
    match request.queue_id.filter(|queue_id| *queue_id >= 0) {
        Some(queue_id) if queue_id >= queues => refuse(format!(
            "Queue {queue_id} does not exist in topic {} of {queues} queues",
            topic.topic_name
        )),
        Some(queue_id) => Ok(vec![queue_id]),
        None if topic.read_queue_nums == 0 => refuse("No queues to reset.".to_owned()),
        None => Ok((0..topic.read_queue_nums).collect()),
    }
}

/// Moves a group to the targets: what it committed at once, its running consumers with their next pull.
pub fn reset(offsets: &Offsets, group: &str, targets: &ResetOffsetBody) {
    for (queue, offset) in &targets.offset_table.0 {
        offsets.reset(group, &queue.topic, queue.queue_id, *offset);
    }
}

/// Tells all consumers of a group to move to the targets (220).
///
/// # Errors
/// 206 if nobody is online.
pub fn tell_consumers(
    clients: &Clients,
    request: &ResetOffsetRequest,
    targets: &ResetOffsetBody,
) -> Result<(), Refusal> {
    let ResetOffsetRequest {
        topic,
        group,
        timestamp,
        is_force,
        ..
    } = request;
    let online = clients.consumer_group(group);
    let members: Vec<Arc<Peer>> = online
        .iter()
        .flat_map(|group| group.members.values())
        .map(|c| c.member.peer.clone())
        .collect();
    if members.is_empty() {
        let remark = format!(
            "Consumer not online, so can not reset offset, Group: {group} Topic: {topic} Timestamp: {timestamp}"
        );
        return Err(Refusal::new(response::CONSUMER_NOT_ONLINE, remark));
    }
    for member in members {
        let header = ResetClientOffsetRequest {
            topic: topic.clone(),
            group: group.clone(),
            timestamp: *timestamp,
            is_force: *is_force,
            queue_id: Some(-1),
        };
        let body = match member.language() {
            Language::CPP => fastjson::write(&for_c(targets)),
            _ => fastjson::write(targets),
        };
        let frame = Frame::request(request::RESET_CONSUMER_CLIENT_OFFSET, &header)
            .with_body(body)
            .oneway();
        if let Err(error) = member.oneway(frame) {
            tracing::warn!(peer = %member.address(), group, topic, %error, "a consumer was not told of an offset reset");
        }
    }
    Ok(())
}

/// The form that clients in C++ read.
fn for_c(targets: &ResetOffsetBody) -> ResetOffsetBodyForC {
    let queues = targets
        .offset_table
        .0
        .iter()
        .map(|(queue, offset)| QueueOffsetForC {
            broker_name: queue.broker_name.clone(),
            offset: *offset,
            queue_id: queue.queue_id,
            topic: queue.topic.clone(),
        });
    ResetOffsetBodyForC {
        offset_table: queues.collect(),
    }
}

/// All committed offsets, as a slave copies them (43).
pub fn all(offsets: &Offsets) -> ConsumerOffsetTable {
    let saved = offsets.snapshot();
    let mut topics_by_group: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (topic, group) in saved.offset_table.keys().filter_map(|key| key.split_once('@')) {
        topics_by_group
            .entry(group.to_owned())
            .or_default()
            .push(topic.to_owned());
    }
    ConsumerOffsetTable {
        data_version: saved.data_version,
        group_topic_map: Some(topics_by_group),
        offset_table: saved.offset_table,
        pull_offset_table: None,
    }
}
