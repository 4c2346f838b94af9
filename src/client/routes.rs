//! Where topics are: what the name server says, remembered, and asked again every half minute.
//!
//! Queues are always in the order of broker name and queue id, whatever order the name server's answer has, so that one key
//! is one queue and one allocation is one result in every process.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use super::connect::{Connections, refusal};
use super::error::ClientError;
use crate::protocol::code::{request, response};
use crate::protocol::fastjson;
use crate::protocol::frame::Frame;
use crate::protocol::request::body::MessageQueue;
use crate::protocol::request::namesrv::RouteRequest;
use crate::protocol::request::route::{MASTER_ID, TopicRouteData};
use crate::protocol::request::topic::perm;

/// The topic whose settings a topic gets that is created by its first message.
pub const DEFAULT_TOPIC: &str = "TBW102";

/// What the name server says of one topic.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Queues to send to: writable, on a broker that has a master.
    pub writable: Vec<MessageQueue>,
    /// Queues to consume from.
    pub readable: Vec<MessageQueue>,
    /// Addresses by broker name and broker id; 0 is the master.
    pub brokers: BTreeMap<String, BTreeMap<i64, String>>,
    /// The topic does not exist yet: this is how its first message will create it.
    pub is_template: bool,
}

impl Route {
    fn of(topic: &str, data: TopicRouteData) -> Route {
        let brokers: BTreeMap<_, _> = data
            .broker_datas
            .into_iter()
            .map(|broker| (broker.broker_name, broker.broker_addrs))
            .collect();
        let has_master = |name: &str| {
            brokers
                .get(name)
                .is_some_and(|addresses| addresses.contains_key(&MASTER_ID))
        };
        let (mut writable, mut readable) = (Vec::new(), Vec::new());
        for queues in data
            .queue_datas
            .iter()
            .filter(|queues| brokers.contains_key(&queues.broker_name))
        {
            let name = &queues.broker_name;
            if queues.perm & perm::WRITE != 0 && has_master(name) {
                writable.extend((0..queues.write_queue_nums).map(|id| MessageQueue::new(topic, name, id)));
            }
            if queues.perm & perm::READ != 0 {
                readable.extend((0..queues.read_queue_nums).map(|id| MessageQueue::new(topic, name, id)));
            }
        }
        writable.sort();
        readable.sort();
        Route {
            writable,
            readable,
            brokers,
            is_template: false,
        }
    }

    /// The route that `topic` will have once it is created after the default topic's pattern.
    fn from_template(topic: &str, mut template: TopicRouteData, queues_max: i32) -> Route {
        for queues in &mut template.queue_datas {
            let count = queues.read_queue_nums.min(queues_max);
            (queues.read_queue_nums, queues.write_queue_nums) = (count, count);
        }
        Route {
            is_template: true,
            ..Route::of(topic, template)
        }
    }

    /// The master's address of a broker.
    pub fn master(&self, broker_name: &str) -> Option<&str> {
        self.brokers.get(broker_name)?.get(&MASTER_ID).map(String::as_str)
    }

    /// One address a broker name: the master, or a slave where there is no master.
    pub fn one_address_each(&self) -> impl Iterator<Item = (&str, &str)> {
        self.brokers
            .iter()
            .filter_map(|(name, addresses)| Some((name.as_str(), addresses.values().next()?.as_str())))
    }
}

/// The routes of the topics that this client has to do with.
pub struct Routes {
    connections: Arc<Connections>,
    /// Bounded by the topics the user names.
    table: Mutex<HashMap<String, Arc<Route>>>,
    /// Counts the changes, for whoever must act on one.
    changes: watch::Sender<u64>,
}

impl Routes {
    pub(super) fn new(connections: Arc<Connections>) -> Routes {
        Routes {
            connections,
            table: Mutex::default(),
            changes: watch::Sender::new(0),
        }
    }

    /// The route of an existing topic, remembered or asked for.
    pub async fn existing(&self, topic: &str) -> Result<Arc<Route>, ClientError> {
        match self.remembered(topic).filter(|route| !route.is_template) {
            Some(route) => Ok(route),
            None => self.ask(topic).await,
        }
    }

    /// The route of a topic that a message goes to: its own, or the one it gets when the message creates it with at most
    /// `queues_max` queues a broker.
    pub async fn existing_or_template(
        &self,
        topic: &str,
        queues_max: i32,
    ) -> Result<Arc<Route>, ClientError> {
        if let Some(route) = self.remembered(topic) {
            return Ok(route);
        }
        match self.ask(topic).await {
            Err(ClientError::TopicNotFound(_)) => {}
            answered => return answered,
        }
        match fetch(&self.connections, DEFAULT_TOPIC).await {
            Ok(template) => Ok(self.remember(topic, Route::from_template(topic, template, queues_max))),
            Err(ClientError::TopicNotFound(_)) => Err(ClientError::TopicNotFound(topic.to_owned())),
            Err(other) => Err(other),
        }
    }

    /// Asks for one topic and remembers the answer. A topic that is gone is forgotten, unless it is still to be created.
    pub async fn ask(&self, topic: &str) -> Result<Arc<Route>, ClientError> {
        match fetch(&self.connections, topic).await {
            Ok(data) => Ok(self.remember(topic, Route::of(topic, data))),
            Err(error) => {
                if matches!(error, ClientError::TopicNotFound(_)) {
                    self.forget_unless_template(topic);
                }
                Err(error)
            }
        }
    }

    /// Asks again for every remembered topic. What cannot be asked stays as it was.
    pub async fn refresh(&self) {
        let topics: Vec<String> = {
            let table = self.table.lock().expect("no panic under this lock");
            table.keys().cloned().collect()
        };
        for topic in topics {
            if let Err(error) = self.ask(&topic).await {
                tracing::debug!(topic, %error, "route not refreshed");
            }
        }
    }

    /// The address of a broker known from any route; id 0 is the master.
    pub fn address(&self, broker_name: &str, broker_id: i64) -> Option<String> {
        let table = self.table.lock().expect("no panic under this lock");
        table
            .values()
            .find_map(|route| route.brokers.get(broker_name)?.get(&broker_id).cloned())
    }

    /// The master's address of a broker, or an error that names it.
    pub fn master(&self, broker_name: &str) -> Result<String, ClientError> {
        let address = self.address(broker_name, MASTER_ID);
        address.ok_or_else(|| ClientError::BrokerNotFound(broker_name.to_owned()))
    }

    /// Every address of every known broker; only masters for `masters_only`.
    pub fn broker_addresses(&self, masters_only: bool) -> BTreeSet<String> {
        let table = self.table.lock().expect("no panic under this lock");
        let addresses = table.values().flat_map(|route| route.brokers.values()).flatten();
        addresses
            .filter(|(id, _)| !masters_only || **id == MASTER_ID)
            .map(|(_, address)| address.clone())
            .collect()
    }

    /// Changes whenever a route does.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn remembered(&self, topic: &str) -> Option<Arc<Route>> {
        self.table
            .lock()
            .expect("no panic under this lock")
            .get(topic)
            .cloned()
    }

    fn remember(&self, topic: &str, route: Route) -> Arc<Route> {
        let route = Arc::new(route);
        let old = self
            .table
            .lock()
            .expect("no panic under this lock")
            .insert(topic.to_owned(), route.clone());
        if old.as_deref() != Some(&route) {
            self.changes.send_modify(|count| *count += 1);
        }
        route
    }

    fn forget_unless_template(&self, topic: &str) {
        let mut table = self.table.lock().expect("no panic under this lock");
        if table.get(topic).is_some_and(|route| !route.is_template) {
            table.remove(topic);
        }
    }
}

/// Asks a name server for a topic's route.
pub(super) async fn fetch(connections: &Connections, topic: &str) -> Result<TopicRouteData, ClientError> {
    let header = RouteRequest {
        topic: topic.to_owned(),
        accept_standard_json_only: true,
    };
    let answer = connections
        .ask_name_server(Frame::request(request::GET_ROUTEINFO_BY_TOPIC, &header))
        .await?;
    match answer.code {
        response::SUCCESS => {
            fastjson::read(&answer.body.contiguous()).map_err(|bad| ClientError::BadAnswer {
                address: "the name server".to_owned(),
                cause: bad.to_string(),
            })
        }
        response::TOPIC_NOT_EXIST => Err(ClientError::TopicNotFound(topic.to_owned())),
        _ => Err(refusal("the name server", &answer)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::request::route::{BrokerData, QueueData};

    fn data(brokers: &[(&str, i64, i32)]) -> TopicRouteData {
        TopicRouteData {
            broker_datas: brokers
                .iter()
                .map(|(name, id, _)| BrokerData {
                    broker_addrs: BTreeMap::from([(*id, format!("{name}:10911"))]),
                    broker_name: (*name).to_owned(),
                    ..BrokerData::default()
                })
                .collect(),
            queue_datas: brokers
                .iter()
                .map(|(name, _, perm)| QueueData {
                    broker_name: (*name).to_owned(),
                    perm: *perm,
                    read_queue_nums: 8,
                    write_queue_nums: 2,
                    ..QueueData::default()
                })
                .collect(),
            ..TopicRouteData::default()
        }
    }

    /// Two processes whose name servers list the brokers differently see the same queue behind an index.
    #[test]
    fn queues_are_in_one_order_whatever_the_answer_has() {
        let (one, other) = (
            data(&[("a", 0, 6), ("b", 0, 6)]),
            data(&[("b", 0, 6), ("a", 0, 6)]),
        );
        assert_eq!(
            Route::of("T", one.clone()).writable,
            Route::of("T", other).writable
        );
        let places: Vec<_> = Route::of("T", one)
            .writable
            .iter()
            .map(|queue| (queue.broker_name.clone(), queue.queue_id))
            .collect();
        assert_eq!(
            places,
            [
                ("a".to_owned(), 0),
                ("a".to_owned(), 1),
                ("b".to_owned(), 0),
                ("b".to_owned(), 1)
            ]
        );
    }

    #[test]
    fn only_masters_with_write_permission_are_sent_to() {
        let route = Route::of(
            "T",
            data(&[("readonly", 0, 4), ("slave", 1, 6), ("writeonly", 0, 2)]),
        );
        assert!(
            route
                .writable
                .iter()
                .all(|queue| queue.broker_name == "writeonly")
        );
        assert!(
            route
                .readable
                .iter()
                .all(|queue| queue.broker_name != "writeonly")
        );
        assert_eq!((route.writable.len(), route.readable.len()), (2, 16));
    }

    #[test]
    fn a_topic_to_be_created_has_at_most_the_asked_queues() {
        let route = Route::from_template("new", data(&[("a", 0, 7)]), 4);
        assert_eq!(
            (route.writable.len(), route.readable.len(), route.is_template),
            (4, 4, true)
        );
        assert_eq!(route.writable[0].topic, "new");
    }
}
