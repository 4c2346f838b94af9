//! Which brokers there are, and which topics they hold: a pure table, the time is passed in (Apache: `RouteInfoManager`).
//!
//! A broker is here because it registered, and goes when it says so, when its connection ends, or when it was silent for too
//! long. A topic is here while one of its brokers is.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use crate::protocol::request::body::DataVersion;
use crate::protocol::request::route::{
    BrokerData, BrokerMemberGroup, ClusterInfo, MASTER_ID, QueueData, TopicRouteData,
};
use crate::protocol::request::topic::{TopicConfig, perm};

/// Most brokers (names and ids together) that are remembered; one more is refused.
pub const BROKERS_MAX: usize = 10_000;
/// Most topics that are remembered; the registration that brings one more is refused.
pub const TOPICS_MAX: usize = 1_000_000;
/// A broker that does not say otherwise is gone after so much silence.
pub const SILENCE_MAX: Duration = Duration::from_secs(120);

/// One broker process as it names itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub cluster: String,
    pub name: String,
    pub id: i64,
    /// `host:port`
    pub address: String,
}

/// What a broker says when it registers.
#[derive(Clone, Debug)]
pub struct Registration {
    pub identity: Identity,
    pub ha_address: String,
    /// How long it may be silent.
    pub silence_max: Duration,
    /// A slave of it may take the master's place for reading.
    pub acting_master: bool,
    pub zone: Option<String>,
    pub version: DataVersion,
    pub topics: BTreeMap<String, TopicConfig>,
    /// The connection it registered on.
    pub connection: u64,
}

/// What a slave learns of its master.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Master {
    pub address: Option<String>,
    pub ha_address: Option<String>,
}

/// Why a registration changed nothing. Both are answered with "register broker failed".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotRegistered {
    #[error("a broker registers all of its topics before it registers a single one")]
    SingleTopicFirst,
    #[error("{BROKERS_MAX} brokers or {TOPICS_MAX} topics are known already")]
    Full,
}

/// A broker that is alive.
#[derive(Debug)]
struct Live {
    identity: Identity,
    ha_address: String,
    silence_max: Duration,
    seen: Instant,
    version: DataVersion,
    connection: u64,
}

/// The brokers of one name.
#[derive(Debug, Default)]
struct Named {
    cluster: String,
    /// Address by broker id.
    addresses: BTreeMap<i64, String>,
    acting_master: bool,
    zone: Option<String>,
}

/// All brokers and topics.
#[derive(Debug, Default)]
pub struct Routes {
    /// By address: one address is one broker.
    live: HashMap<String, Live>,
    /// By broker name.
    brokers: BTreeMap<String, Named>,
    /// Queues by topic and broker name.
    topics: BTreeMap<String, BTreeMap<String, QueueData>>,
}

impl Routes {
    /// Takes a broker in, or renews it.
    ///
    /// # Errors
    /// See [`NotRegistered`]; then nothing has changed.
    pub fn register(&mut self, registration: Registration, now: Instant) -> Result<Master, NotRegistered> {
        let Registration {
            identity,
            topics,
            version,
            ..
        } = &registration;
        let known = self
            .brokers
            .get(&identity.name)
            .is_some_and(|named| named.addresses.contains_key(&identity.id));
        if !known && topics.len() == 1 {
            return Err(NotRegistered::SingleTopicFirst);
        }
        let fresh_topics = topics
            .keys()
            .filter(|topic| !self.topics.contains_key(*topic))
            .count();
        if self.topics.len() + fresh_topics > TOPICS_MAX || (!known && self.live.len() >= BROKERS_MAX) {
            return Err(NotRegistered::Full);
        }
        if self.is_held_by_a_newer(identity, version) {
            return Ok(Master::default());
        }
        self.remove_other_identities(identity);
        let changed = self
            .live
            .get(&identity.address)
            .is_none_or(|live| live.version != *version);
        let named = self.brokers.entry(identity.name.clone()).or_default();
        named.cluster.clone_from(&identity.cluster);
        named.acting_master = registration.acting_master;
        named.zone.clone_from(&registration.zone);
        if let Some(before) = named.addresses.insert(identity.id, identity.address.clone())
            && before != identity.address
        {
            self.live.remove(&before);
        }
        self.take_topics(&registration, changed);
        let master = self.master_of(identity);
        let Registration {
            identity,
            ha_address,
            silence_max,
            version,
            connection,
            ..
        } = registration;
        let live = Live {
            ha_address,
            silence_max,
            seen: now,
            version,
            connection,
            identity: identity.clone(),
        };
        self.live.insert(identity.address, live);
        Ok(master)
    }

    /// Whether another process has this name and id and is of a later term: then the newcomer is the old master that does
    /// not know yet that it was replaced.
    fn is_held_by_a_newer(&self, identity: &Identity, version: &DataVersion) -> bool {
        let holder = self
            .brokers
            .get(&identity.name)
            .and_then(|named| named.addresses.get(&identity.id));
        let other = holder.filter(|address| **address != identity.address);
        other
            .and_then(|address| self.live.get(address))
            .is_some_and(|live| live.version.state_version > version.state_version)
    }

    /// One address is one broker: whoever was here under this address with another name, id or cluster is gone.
    fn remove_other_identities(&mut self, identity: &Identity) {
        let other = self
            .live
            .get(&identity.address)
            .filter(|live| live.identity != *identity);
        if let Some(other) = other.map(|live| live.identity.clone()) {
            self.unregister(&other);
        }
    }

    /// Topics come from the master; where a slave may act as one and there is none, from the first slave, for reading.
    fn take_topics(&mut self, registration: &Registration, changed: bool) {
        let identity = &registration.identity;
        let named = &self.brokers[&identity.name];
        let is_first = named.addresses.keys().next() == Some(&identity.id);
        if identity.id != MASTER_ID && !(registration.acting_master && is_first) {
            return;
        }
        let mask = if identity.id == MASTER_ID {
            !0
        } else {
            !perm::WRITE
        };
        for config in registration.topics.values() {
            let brokers = self.topics.entry(config.topic_name.clone()).or_default();
            if changed || !brokers.contains_key(&identity.name) {
                brokers.insert(identity.name.clone(), queues_of(&identity.name, config, mask));
            }
        }
    }

    fn master_of(&self, identity: &Identity) -> Master {
        if identity.id == MASTER_ID {
            return Master::default();
        }
        let address = self.brokers[&identity.name].addresses.get(&MASTER_ID).cloned();
        let ha_address = address
            .as_ref()
            .and_then(|address| self.live.get(address))
            .map(|live| live.ha_address.clone());
        Master { address, ha_address }
    }

    /// Removes a broker, if name, id and address are those that are known: a late goodbye removes only its sender.
    pub fn unregister(&mut self, identity: &Identity) {
        if self
            .live
            .get(&identity.address)
            .is_some_and(|live| live.identity == *identity)
        {
            self.live.remove(&identity.address);
        }
        let Some(named) = self.brokers.get_mut(&identity.name) else {
            return;
        };
        if named.addresses.get(&identity.id) != Some(&identity.address) {
            return;
        }
        named.addresses.remove(&identity.id);
        if named.addresses.is_empty() {
            self.brokers.remove(&identity.name);
            self.topics.retain(|_, brokers| {
                brokers.remove(&identity.name);
                !brokers.is_empty()
            });
        } else if named.acting_master && !named.addresses.contains_key(&MASTER_ID) {
            let queues = self
                .topics
                .values_mut()
                .filter_map(|brokers| brokers.get_mut(&identity.name));
            queues.for_each(|queues| queues.perm &= !perm::WRITE);
        }
    }

    /// A connection has ended: the brokers that registered on it are gone.
    pub fn closed(&mut self, connection: u64) -> Vec<Identity> {
        self.remove_where(|live| live.connection == connection)
    }

    /// Removes brokers that were silent for too long.
    pub fn expire(&mut self, now: Instant) -> Vec<Identity> {
        self.remove_where(|live| now.saturating_duration_since(live.seen) > live.silence_max)
    }

    fn remove_where(&mut self, is_gone: impl Fn(&Live) -> bool) -> Vec<Identity> {
        let gone: Vec<Identity> = self
            .live
            .values()
            .filter(|live| is_gone(live))
            .map(|live| live.identity.clone())
            .collect();
        gone.iter().for_each(|identity| self.unregister(identity));
        gone
    }

    /// A broker has been heard of.
    pub fn heard(&mut self, address: &str, now: Instant) {
        if let Some(live) = self.live.get_mut(address) {
            live.seen = now;
        }
    }

    /// The version of a broker's topics as they are known here.
    pub fn version(&self, address: &str) -> Option<DataVersion> {
        self.live.get(address).map(|live| live.version)
    }

    /// Where a topic is; `None` if no living broker holds it. Brokers come in the order of their names.
    pub fn route(&self, topic: &str) -> Option<TopicRouteData> {
        let queues = self.topics.get(topic)?;
        let brokers: Vec<BrokerData> = queues.keys().filter_map(|name| self.broker_data(name)).collect();
        (!brokers.is_empty()).then(|| TopicRouteData {
            broker_datas: brokers,
            queue_datas: queues.values().cloned().collect(),
            ..TopicRouteData::default()
        })
    }

    fn broker_data(&self, name: &str) -> Option<BrokerData> {
        self.brokers.get(name).map(|named| BrokerData {
            broker_addrs: named.addresses.clone(),
            broker_name: name.to_owned(),
            cluster: named.cluster.clone(),
            enable_acting_master: named.acting_master,
            zone_name: named.zone.clone(),
        })
    }

    /// All clusters and brokers.
    pub fn clusters(&self) -> ClusterInfo {
        let mut info = ClusterInfo::default();
        for (name, named) in &self.brokers {
            info.cluster_addr_table
                .entry(named.cluster.clone())
                .or_default()
                .push(name.clone());
            info.broker_addr_table
                .extend(self.broker_data(name).map(|data| (name.clone(), data)));
        }
        info
    }

    /// The processes of one broker name in a cluster.
    pub fn members(&self, cluster: &str, name: &str) -> BrokerMemberGroup {
        let named = self.brokers.get(name).filter(|named| named.cluster == cluster);
        BrokerMemberGroup {
            broker_addrs: named.map(|named| named.addresses.clone()).unwrap_or_default(),
            broker_name: name.to_owned(),
            cluster: cluster.to_owned(),
        }
    }

    /// Names of all topics, sorted.
    pub fn topics(&self) -> Vec<String> {
        self.topics.keys().cloned().collect()
    }

    /// Names of a cluster's topics, sorted.
    pub fn topics_of_cluster(&self, cluster: &str) -> Vec<String> {
        let held =
            |brokers: &BTreeMap<String, QueueData>| brokers.keys().any(|name| self.is_in(name, cluster));
        self.topics
            .iter()
            .filter(|(_, brokers)| held(brokers))
            .map(|(topic, _)| topic.clone())
            .collect()
    }

    /// Names of topics one of whose brokers has it with such flags, sorted.
    pub fn topics_with_flag(&self, has: impl Fn(i32) -> bool) -> Vec<String> {
        let found = self
            .topics
            .iter()
            .filter(|(_, brokers)| brokers.values().any(|queues| has(queues.topic_sys_flag)));
        found.map(|(topic, _)| topic.clone()).collect()
    }

    /// Names of clusters and brokers, which are topics too, and the address of some broker.
    pub fn system_topics(&self) -> (Vec<String>, Option<String>) {
        let clusters: BTreeSet<String> = self.brokers.values().map(|named| named.cluster.clone()).collect();
        let address = self
            .brokers
            .values()
            .find_map(|named| named.addresses.values().next().cloned());
        (
            clusters.into_iter().chain(self.brokers.keys().cloned()).collect(),
            address,
        )
    }

    /// Changes the permission of every topic on a broker; how many those are.
    pub fn set_permission(&mut self, broker: &str, change: impl Fn(i32) -> i32) -> i32 {
        let mut count = 0;
        for queues in self
            .topics
            .values_mut()
            .filter_map(|brokers| brokers.get_mut(broker))
        {
            queues.perm = change(queues.perm);
            count += 1;
        }
        count
    }

    /// Forgets a topic, on the brokers of one cluster if it is named.
    pub fn delete_topic(&mut self, topic: &str, cluster: Option<&str>) {
        let Some(mut brokers) = self.topics.remove(topic) else {
            return;
        };
        brokers.retain(|name, _| cluster.is_some_and(|cluster| !self.is_in(name, cluster)));
        if !brokers.is_empty() {
            self.topics.insert(topic.to_owned(), brokers);
        }
    }

    /// Takes the queues of one topic on known brokers; nothing if a broker is unknown.
    pub fn put_topic(&mut self, topic: &str, queues: Vec<QueueData>) {
        let all_known = queues
            .iter()
            .all(|queues| self.brokers.contains_key(&queues.broker_name));
        if !all_known
            || queues.is_empty()
            || (!self.topics.contains_key(topic) && self.topics.len() >= TOPICS_MAX)
        {
            return;
        }
        let brokers = self.topics.entry(topic.to_owned()).or_default();
        brokers.extend(
            queues
                .into_iter()
                .map(|queues| (queues.broker_name.clone(), queues)),
        );
    }

    fn is_in(&self, broker: &str, cluster: &str) -> bool {
        self.brokers
            .get(broker)
            .is_some_and(|named| named.cluster == cluster)
    }
}

fn queues_of(broker: &str, config: &TopicConfig, mask: i32) -> QueueData {
    QueueData {
        broker_name: broker.to_owned(),
        perm: config.perm & mask,
        read_queue_nums: config.read_queue_nums,
        topic_sys_flag: config.topic_sys_flag,
        write_queue_nums: config.write_queue_nums,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(name: &str, id: i64, address: &str) -> Identity {
        Identity {
            cluster: "c".to_owned(),
            name: name.to_owned(),
            id,
            address: address.to_owned(),
        }
    }

    fn registration(identity: Identity, topics: &[&str]) -> Registration {
        let config = |topic: &&str| ((*topic).to_owned(), TopicConfig::new(*topic, 4, 4, 6));
        Registration {
            identity,
            ha_address: "ha".to_owned(),
            silence_max: SILENCE_MAX,
            acting_master: false,
            zone: None,
            version: DataVersion {
                counter: 1,
                ..DataVersion::default()
            },
            topics: topics.iter().map(config).collect(),
            connection: 1,
        }
    }

    fn with(brokers: &[(&str, i64, &str)]) -> Routes {
        let mut routes = Routes::default();
        for (name, id, address) in brokers {
            let taken = routes.register(
                registration(identity(name, *id, address), &["t", "u"]),
                Instant::now(),
            );
            taken.expect("there is room");
        }
        routes
    }

    fn names(routes: &Routes, topic: &str) -> Vec<String> {
        let route = routes.route(topic).unwrap_or_default();
        route
            .broker_datas
            .into_iter()
            .map(|broker| broker.broker_name)
            .collect()
    }

    #[test]
    fn a_topic_leads_to_every_broker_in_a_stable_order() {
        assert_eq!(names(&with(&[("b", 0, "2:1"), ("a", 0, "1:1")]), "t"), ["a", "b"]);
        assert_eq!(names(&with(&[("a", 0, "1:1"), ("b", 0, "2:1")]), "t"), ["a", "b"]);
        assert_eq!(with(&[("a", 0, "1:1")]).route("none"), None);
    }

    /// A broker that comes back under another name from the same address takes its old entry's place.
    #[test]
    fn one_address_is_one_broker() {
        let mut routes = with(&[("old", 0, "1:1")]);
        routes
            .register(
                registration(identity("new", 0, "1:1"), &["t", "u"]),
                Instant::now(),
            )
            .expect("there is room");
        assert_eq!(names(&routes, "t"), ["new"]);
        assert_eq!(routes.clusters().broker_addr_table.len(), 1);
    }

    #[test]
    fn a_late_goodbye_removes_only_its_sender() {
        let mut routes = with(&[("a", 0, "1:1"), ("a", 0, "2:1")]);
        routes.unregister(&identity("a", 0, "1:1"));
        let route = routes.route("t").expect("the new master is there");
        assert_eq!(route.broker_datas[0].broker_addrs[&0], "2:1");
        routes.unregister(&identity("a", 0, "2:1"));
        assert_eq!(routes.route("t"), None);
        assert!(routes.topics().is_empty(), "a topic goes with its last broker");
    }

    #[test]
    fn a_silent_broker_goes_and_one_that_is_heard_stays() {
        let mut routes = with(&[("a", 0, "1:1"), ("b", 0, "2:1")]);
        let later = Instant::now() + SILENCE_MAX + Duration::from_secs(1);
        routes.heard("2:1", later);
        assert_eq!(routes.expire(later), [identity("a", 0, "1:1")]);
        assert_eq!(names(&routes, "t"), ["b"]);
    }

    #[test]
    fn brokers_go_with_the_connection_they_registered_on_last() {
        let mut routes = with(&[("a", 0, "1:1")]);
        let again = Registration {
            connection: 2,
            ..registration(identity("a", 0, "1:1"), &["t", "u"])
        };
        routes.register(again, Instant::now()).expect("there is room");
        assert!(routes.closed(1).is_empty());
        assert_eq!(routes.closed(2).len(), 1);
    }

    #[test]
    fn a_single_topic_needs_a_full_registration_before_it() {
        let mut routes = Routes::default();
        let single = || registration(identity("a", 0, "1:1"), &["t"]);
        assert_eq!(
            routes.register(single(), Instant::now()),
            Err(NotRegistered::SingleTopicFirst)
        );
        let mut routes = with(&[("a", 0, "1:1")]);
        assert!(routes.register(single(), Instant::now()).is_ok());
        assert_eq!(
            routes.topics(),
            ["t", "u"],
            "topics are not forgotten by registering fewer"
        );
    }

    #[test]
    fn a_slave_is_told_its_master() {
        let mut routes = with(&[("a", 0, "1:1")]);
        let master = routes.register(registration(identity("a", 1, "2:1"), &["t", "u"]), Instant::now());
        let expected = Master {
            address: Some("1:1".to_owned()),
            ha_address: Some("ha".to_owned()),
        };
        assert_eq!(master, Ok(expected));
    }

    #[test]
    fn an_old_master_does_not_push_out_its_successor() {
        let mut routes = Routes::default();
        let of_term = |address, term| Registration {
            version: DataVersion {
                state_version: term,
                ..DataVersion::default()
            },
            ..registration(identity("a", 0, address), &["t", "u"])
        };
        routes
            .register(of_term("2:1", 2), Instant::now())
            .expect("there is room");
        routes
            .register(of_term("1:1", 1), Instant::now())
            .expect("ignored, not refused");
        assert_eq!(
            routes.route("t").expect("a route").broker_datas[0].broker_addrs[&0],
            "2:1"
        );
    }

    #[test]
    fn deleting_a_topic_touches_only_the_named_cluster() {
        let mut routes = with(&[("a", 0, "1:1")]);
        let other = Identity {
            cluster: "other".to_owned(),
            ..identity("b", 0, "2:1")
        };
        routes
            .register(registration(other, &["t", "u"]), Instant::now())
            .expect("there is room");
        routes.delete_topic("t", Some("c"));
        assert_eq!(names(&routes, "t"), ["b"]);
        routes.delete_topic("t", None);
        assert_eq!(routes.topics(), ["u"]);
    }

    #[test]
    fn permissions_change_for_every_topic_of_a_broker() {
        let mut routes = with(&[("a", 0, "1:1"), ("b", 0, "2:1")]);
        assert_eq!(routes.set_permission("a", |bits| bits & !perm::WRITE), 2);
        let route = routes.route("t").expect("a route");
        assert_eq!(
            route
                .queue_datas
                .iter()
                .map(|queues| queues.perm)
                .collect::<Vec<_>>(),
            [4, 6]
        );
    }
}
