//! Who is connected: the members of producer and consumer groups (Apache: `ProducerManager`, `ConsumerManager`).
//!
//! A member is a connection in a group. Each membership has its own time of the last heartbeat, so that a client which
//! stops naming one of its groups leaves that one only, and its own subscriptions, so that members who disagree can be
//! named. Time is passed in; nothing is sent from here: callers learn which groups changed and whom to tell.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

use foldhash::fast::RandomState;

use crate::broker::filter::Subscription;
use crate::broker::refusal::Refusal;
use crate::broker::topics::FAQ;
use crate::protocol::code::response;
use crate::protocol::request::client::{
    ConsumeFromWhere, ConsumeType, ConsumerData, MessageModel, SubscriptionData,
};
use crate::remoting::Peer;

/// Most groups, of either kind, that one connection can be a member of.
pub const GROUPS_PER_PEER_MAX: usize = 1024;
/// Most topics one member can subscribe to in one group.
pub const SUBSCRIPTIONS_MAX: usize = 4096;

/// A connection in a group.
#[derive(Clone)]
pub struct Member {
    pub peer: Arc<Peer>,
    /// The client's own name; two connections may share it.
    pub client_id: String,
    /// Of the last heartbeat, epoch milliseconds.
    pub seen_ms: i64,
}

/// A consumer's membership.
#[derive(Clone)]
pub struct Consumer {
    pub member: Member,
    /// By topic, as its last heartbeat said.
    pub subscriptions: BTreeMap<String, Arc<Subscription>>,
    /// Of a version 2 heartbeat; 0 for version 1.
    pub fingerprint: i32,
}

/// A consumer group as its members describe it.
#[derive(Clone)]
pub struct ConsumerGroup {
    pub consume_type: ConsumeType,
    pub message_model: MessageModel,
    pub consume_from_where: ConsumeFromWhere,
    /// By connection.
    pub members: BTreeMap<u64, Consumer>,
}

impl ConsumerGroup {
    /// What the members subscribe to, by topic; where they differ, the newest subscription.
    pub fn subscriptions(&self) -> BTreeMap<&str, &Arc<Subscription>> {
        let mut newest: BTreeMap<&str, &Arc<Subscription>> = BTreeMap::new();
        for (topic, subscription) in self.members.values().flat_map(|member| &member.subscriptions) {
            let shown = newest.entry(topic).or_insert(subscription);
            if subscription.data.sub_version > shown.data.sub_version {
                *shown = subscription;
            }
        }
        newest
    }
}

/// What a consumer's heartbeat changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Beat {
    /// The group has a new member or another set of subscriptions: its members have to share queues anew.
    pub group_changed: bool,
    /// Version 2: the fingerprint is not the one last seen; the client sends its subscriptions again.
    pub fingerprint_changed: bool,
}

/// The groups of one connection, to leave them without a search.
#[derive(Default)]
struct Memberships {
    producers: BTreeSet<String>,
    consumers: BTreeSet<String>,
}

#[derive(Default)]
struct Table {
    producers: HashMap<String, BTreeMap<u64, Member>, RandomState>,
    consumers: HashMap<String, ConsumerGroup, RandomState>,
    peers: HashMap<u64, Memberships, RandomState>,
}

/// All clients of this broker.
#[derive(Default)]
pub struct Clients {
    table: Mutex<Table>,
}

impl Clients {
    /// A heartbeat names a producer group. False if the connection is in too many groups already.
    pub fn beat_producer(&self, group: &str, client_id: &str, peer: &Arc<Peer>, now_ms: i64) -> bool {
        let mut table = self.lock();
        if let Some(member) = table
            .producers
            .get_mut(group)
            .and_then(|members| members.get_mut(&peer.id()))
        {
            member.seen_ms = now_ms;
            return true;
        }
        let memberships = table.peers.entry(peer.id()).or_default();
        if memberships.producers.len() == GROUPS_PER_PEER_MAX {
            return false;
        }
        memberships.producers.insert(group.to_string());
        let member = Member {
            peer: Arc::clone(peer),
            client_id: client_id.to_string(),
            seen_ms: now_ms,
        };
        table
            .producers
            .entry(group.to_string())
            .or_default()
            .insert(peer.id(), member);
        true
    }

    /// A heartbeat names a consumer group and what it subscribes to. `None` if the connection is in too many groups.
    ///
    /// The member's own latest word counts, whatever version its subscriptions carry: a client whose clock was set back
    /// would otherwise never be heard again.
    pub fn beat_consumer(
        &self,
        data: &ConsumerData,
        client_id: &str,
        beat: Fingerprint,
        peer: &Arc<Peer>,
        now_ms: i64,
    ) -> Option<Beat> {
        let mut table = self.lock();
        let memberships = table.peers.entry(peer.id()).or_default();
        if !memberships.consumers.contains(&data.group_name) {
            if memberships.consumers.len() == GROUPS_PER_PEER_MAX {
                return None;
            }
            memberships.consumers.insert(data.group_name.clone());
        }
        let group = table
            .consumers
            .entry(data.group_name.clone())
            .or_insert_with(|| ConsumerGroup {
                consume_type: data.consume_type,
                message_model: data.message_model,
                consume_from_where: data.consume_from_where,
                members: BTreeMap::new(),
            });
        group.consume_type = data.consume_type;
        group.message_model = data.message_model;
        group.consume_from_where = data.consume_from_where;
        let mut changed = false;
        let consumer = group.members.entry(peer.id()).or_insert_with(|| {
            changed = true;
            let member = Member {
                peer: Arc::clone(peer),
                client_id: client_id.to_string(),
                seen_ms: now_ms,
            };
            Consumer {
                member,
                subscriptions: BTreeMap::new(),
                fingerprint: 0,
            }
        });
        consumer.member.seen_ms = now_ms;
        let fingerprint_changed = consumer.fingerprint != beat.value;
        if beat.subscriptions == Sent::Yes {
            consumer.fingerprint = beat.value;
            changed |= consumer.subscribe(data);
        }
        Some(Beat {
            group_changed: changed,
            fingerprint_changed,
        })
    }

    /// A client leaves groups on its own connection. Returns true if the consumer group changed.
    pub fn leave(&self, peer_id: u64, producer_group: Option<&str>, consumer_group: Option<&str>) -> bool {
        let mut table = self.lock();
        if let Some(group) = producer_group {
            table.leave_producer(peer_id, group);
        }
        consumer_group.is_some_and(|group| table.leave_consumer(peer_id, group))
    }

    /// A connection has ended: it leaves all its groups. Returns the consumer groups that changed.
    pub fn closed(&self, peer_id: u64) -> Vec<String> {
        let mut table = self.lock();
        let Some(memberships) = table.peers.remove(&peer_id) else {
            return Vec::new();
        };
        for group in &memberships.producers {
            table.leave_producer(peer_id, group);
        }
        let left = memberships.consumers.into_iter();
        left.filter(|group| table.leave_consumer(peer_id, group))
            .collect()
    }

    /// Ends memberships whose last heartbeat is older than `timeout_ms`. Returns the consumer groups that changed.
    pub fn expire(&self, timeout_ms: i64, now_ms: i64) -> Vec<String> {
        let mut table = self.lock();
        let is_over = |member: &Member| now_ms - member.seen_ms > timeout_ms;
        let mut over = Vec::new();
        for (group, members) in &table.producers {
            over.extend(
                members
                    .iter()
                    .filter(|(_, member)| is_over(member))
                    .map(|(id, _)| (*id, group.clone())),
            );
        }
        over.iter()
            .for_each(|(id, group)| table.leave_producer(*id, group));
        let mut over = Vec::new();
        for (group, consumers) in &table.consumers {
            let members = consumers
                .members
                .iter()
                .filter(|(_, consumer)| is_over(&consumer.member));
            over.extend(members.map(|(id, _)| (*id, group.clone())));
        }
        let changed: BTreeSet<String> = over
            .into_iter()
            .filter(|(id, group)| table.leave_consumer(*id, group))
            .map(|(_, group)| group)
            .collect();
        changed.into_iter().collect()
    }

    /// The client ids of a consumer group, each once, sorted; empty if nobody is there.
    pub fn consumer_ids(&self, group: &str) -> Vec<String> {
        let table = self.lock();
        let members = table
            .consumers
            .get(group)
            .into_iter()
            .flat_map(|group| group.members.values());
        let ids: BTreeSet<&str> = members
            .map(|consumer| consumer.member.client_id.as_str())
            .collect();
        ids.into_iter().map(str::to_string).collect()
    }

    /// The connections that have to hear of a change in the group: none of a broadcasting one, for these share nothing.
    pub fn to_notify(&self, group: &str) -> Vec<Arc<Peer>> {
        let table = self.lock();
        let Some(group) = table.consumers.get(group) else {
            return Vec::new();
        };
        if group.message_model == MessageModel::Broadcasting {
            return Vec::new();
        }
        group
            .members
            .values()
            .map(|consumer| Arc::clone(&consumer.member.peer))
            .collect()
    }

    /// The group and its members at one moment; `None` if nobody is there.
    pub fn consumer_group(&self, group: &str) -> Option<ConsumerGroup> {
        self.lock().consumers.get(group).cloned()
    }

    /// The consumer groups with a member that subscribes to the topic, sorted.
    pub fn groups_subscribing(&self, topic: &str) -> Vec<String> {
        let table = self.lock();
        let subscribes = |group: &ConsumerGroup| {
            group
                .members
                .values()
                .any(|consumer| consumer.subscriptions.contains_key(topic))
        };
        let mut names: Vec<String> = table
            .consumers
            .iter()
            .filter(|(_, group)| subscribes(group))
            .map(|(name, _)| name.clone())
            .collect();
        names.sort_unstable();
        names
    }

    /// What the group wants of the topic: the puller's own word if it gave one, else that of any other member.
    ///
    /// # Errors
    /// 24 if nobody of the group is known here, or nobody subscribes to the topic.
    pub fn subscription(&self, group: &str, topic: &str, peer_id: u64) -> Result<Arc<Subscription>, Refusal> {
        let table = self.lock();
        let missing = |what| {
            Err(Refusal::new(
                response::SUBSCRIPTION_NOT_EXIST,
                format!("the consumer's {what}{FAQ}"),
            ))
        };
        let Some(group) = table.consumers.get(group) else {
            return missing("group info not exist");
        };
        if let Some(own) = group
            .members
            .get(&peer_id)
            .and_then(|consumer| consumer.subscriptions.get(topic))
        {
            return Ok(Arc::clone(own));
        }
        match group.subscriptions().get(topic) {
            Some(subscription) => Ok(Arc::clone(subscription)),
            None => missing("subscription not exist"),
        }
    }

    /// Whether the group's members each get every message.
    pub fn is_broadcasting(&self, group: &str) -> bool {
        let table = self.lock();
        table
            .consumers
            .get(group)
            .is_some_and(|group| group.message_model == MessageModel::Broadcasting)
    }

    /// The client id under which the connection is a member of the consumer group.
    pub fn consumer_id(&self, group: &str, peer_id: u64) -> Option<String> {
        let table = self.lock();
        Some(
            table
                .consumers
                .get(group)?
                .members
                .get(&peer_id)?
                .member
                .client_id
                .clone(),
        )
    }

    /// A member of the consumer group by its client id.
    pub fn consumer(&self, group: &str, client_id: &str) -> Option<Arc<Peer>> {
        let table = self.lock();
        let mut members = table
            .consumers
            .get(group)?
            .members
            .values()
            .map(|consumer| &consumer.member);
        members
            .find(|member| member.client_id == client_id)
            .map(|member| Arc::clone(&member.peer))
    }

    /// The members of a producer group; empty if nobody is there.
    pub fn producers(&self, group: &str) -> Vec<Member> {
        self.lock()
            .producers
            .get(group)
            .into_iter()
            .flat_map(BTreeMap::values)
            .cloned()
            .collect()
    }

    /// Every producer group and its members.
    pub fn all_producers(&self) -> BTreeMap<String, Vec<Member>> {
        let table = self.lock();
        let groups = table.producers.iter();
        groups
            .map(|(group, members)| (group.clone(), members.values().cloned().collect()))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table
            .lock()
            .expect("no code panics while it holds the clients")
    }
}

/// Whether a heartbeat carries subscriptions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    Yes,
    /// Version 2: they are those of the last beat with the same fingerprint.
    No,
}

/// The part of a heartbeat that tells whether subscriptions have to be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint {
    /// 0 for version 1.
    pub value: i32,
    pub subscriptions: Sent,
}

impl Consumer {
    /// Takes over the subscriptions of a heartbeat; true if they are to other topics than before. Another expression for
    /// the same topic concerns nobody else.
    fn subscribe(&mut self, data: &ConsumerData) -> bool {
        let wanted = || data.subscription_data_set.iter().take(SUBSCRIPTIONS_MAX);
        let known = |wanted: &SubscriptionData| self.subscriptions.get(&wanted.topic);
        let same_topics =
            wanted().count() == self.subscriptions.len() && wanted().all(|wanted| known(wanted).is_some());
        if same_topics && wanted().all(|wanted| known(wanted).is_some_and(|own| own.data == *wanted)) {
            return false;
        }
        self.subscriptions = wanted()
            .map(|data| (data.topic.clone(), Arc::new(Subscription::new(data.clone()))))
            .collect();
        !same_topics
    }
}

impl Table {
    fn leave_producer(&mut self, peer_id: u64, group: &str) {
        if let Some(members) = self.producers.get_mut(group) {
            members.remove(&peer_id);
            if members.is_empty() {
                self.producers.remove(group);
            }
        }
        if let Some(memberships) = self.peers.get_mut(&peer_id) {
            memberships.producers.remove(group);
        }
        self.forget_if_idle(peer_id);
    }

    fn leave_consumer(&mut self, peer_id: u64, name: &str) -> bool {
        let Some(group) = self.consumers.get_mut(name) else {
            return false;
        };
        let left = group.members.remove(&peer_id).is_some();
        if group.members.is_empty() {
            self.consumers.remove(name);
        }
        if let Some(memberships) = self.peers.get_mut(&peer_id) {
            memberships.consumers.remove(name);
        }
        self.forget_if_idle(peer_id);
        left
    }

    fn forget_if_idle(&mut self, peer_id: u64) {
        let is_idle =
            |memberships: &Memberships| memberships.producers.is_empty() && memberships.consumers.is_empty();
        if self.peers.get(&peer_id).is_some_and(is_idle) {
            self.peers.remove(&peer_id);
        }
    }
}
