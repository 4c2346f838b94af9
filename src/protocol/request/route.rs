//! Where topics and brokers are: what the name server answers to 105, 106 and 901.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Broker id of a master.
pub const MASTER_ID: i64 = 0;

/// Answer of GET_ROUTEINFO_BY_TOPIC (105), and body of 217.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicRouteData {
    pub broker_datas: Vec<BrokerData>,
    /// Unused; clients expect it.
    pub filter_server_table: BTreeMap<String, Vec<String>>,
    /// `broker:queues;…` of an order topic.
    pub order_topic_conf: Option<String>,
    pub queue_datas: Vec<QueueData>,
}

/// A broker name and its addresses.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerData {
    /// Address by broker id; 0 is the master.
    pub broker_addrs: BTreeMap<i64, String>,
    pub broker_name: String,
    pub cluster: String,
    pub enable_acting_master: bool,
    pub zone_name: Option<String>,
}

impl BrokerData {
    /// The master's address; a slave's where there is no master.
    pub fn address(&self) -> Option<&str> {
        let master = self.broker_addrs.get(&MASTER_ID);
        master
            .or_else(|| self.broker_addrs.values().next())
            .map(String::as_str)
    }
}

/// A topic's queues on one broker.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueueData {
    pub broker_name: String,
    /// See [`super::topic::perm`].
    pub perm: i32,
    pub read_queue_nums: i32,
    pub topic_sys_flag: i32,
    pub write_queue_nums: i32,
}

/// Answer of GET_BROKER_CLUSTER_INFO (106).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterInfo {
    /// By broker name.
    pub broker_addr_table: BTreeMap<String, BrokerData>,
    /// Broker names by cluster.
    pub cluster_addr_table: BTreeMap<String, Vec<String>>,
}

/// Answer of GET_BROKER_MEMBER_GROUP (901).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerMemberGroupBody {
    pub broker_member_group: Option<BrokerMemberGroup>,
}

/// The addresses of one broker name, by id.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerMemberGroup {
    pub broker_addrs: BTreeMap<i64, String>,
    pub broker_name: String,
    pub cluster: String,
}
