//! What name servers know: clusters, brokers, routes, topics, key-value settings.

use std::collections::BTreeMap;

use super::{Admin, NAME_SERVER, text};
use crate::client::error::ClientError;
use crate::client::routes;
use crate::protocol::code::{request, response};
use crate::protocol::fields::BadField;
use crate::protocol::frame::Frame;
use crate::protocol::request::body::{KvTable, TopicList};
use crate::protocol::request::namesrv::{
    AddWritePermReply, BrokerNameRequest, ClusterRequest, DeleteTopicRequest, KvReply, KvRequest,
    NamespaceRequest, PutKvRequest, WipeWritePermReply,
};
use crate::protocol::request::route::{ClusterInfo, MASTER_ID, TopicRouteData};

/// One broker: a name, an id (0 is the master) and where it listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BrokerAddress {
    pub cluster: String,
    pub name: String,
    pub id: i64,
    pub address: String,
}

impl BrokerAddress {
    pub fn is_master(&self) -> bool {
        self.id == MASTER_ID
    }
}

impl Admin {
    /// Clusters and brokers (106).
    pub async fn cluster_info(&self) -> Result<ClusterInfo, ClientError> {
        self.ask_names_for(Frame::command(request::GET_BROKER_CLUSTER_INFO))
            .await
    }

    /// All brokers, of one cluster if it is named, sorted by cluster, name and id.
    pub async fn brokers(&self, cluster: Option<&str>) -> Result<Vec<BrokerAddress>, ClientError> {
        let info = self.cluster_info().await?;
        if let Some(cluster) = cluster.filter(|cluster| !info.cluster_addr_table.contains_key(*cluster)) {
            return Err(ClientError::ClusterNotFound(cluster.to_owned()));
        }
        let of_cluster = |named: &str| cluster.is_none_or(|cluster| cluster == named);
        let mut brokers: Vec<_> = info
            .broker_addr_table
            .into_values()
            .filter(|broker| of_cluster(&broker.cluster))
            .flat_map(|broker| {
                let (cluster, name) = (broker.cluster, broker.broker_name);
                broker
                    .broker_addrs
                    .into_iter()
                    .map(move |(id, address)| BrokerAddress {
                        cluster: cluster.clone(),
                        name: name.clone(),
                        id,
                        address,
                    })
            })
            .collect();
        brokers.sort();
        Ok(brokers)
    }

    /// The masters among [`Admin::brokers`].
    pub async fn masters(&self, cluster: Option<&str>) -> Result<Vec<BrokerAddress>, ClientError> {
        let mut brokers = self.brokers(cluster).await?;
        brokers.retain(BrokerAddress::is_master);
        Ok(brokers)
    }

    /// The brokers that hold a topic, as its route says.
    pub async fn brokers_of_topic(&self, topic: &str) -> Result<Vec<BrokerAddress>, ClientError> {
        let route = self.route(topic).await?;
        let mut brokers = Vec::new();
        for broker in route.broker_datas {
            let Some(address) = broker.address().map(str::to_owned) else {
                continue;
            };
            let id = broker
                .broker_addrs
                .iter()
                .find(|(_, known)| **known == address)
                .map_or(MASTER_ID, |(id, _)| *id);
            brokers.push(BrokerAddress {
                cluster: broker.cluster,
                name: broker.broker_name,
                id,
                address,
            });
        }
        brokers.sort();
        Ok(brokers)
    }

    /// A topic's route (105).
    pub async fn route(&self, topic: &str) -> Result<TopicRouteData, ClientError> {
        routes::fetch(&self.connections, topic).await
    }

    /// The names of all topics (206), sorted.
    pub async fn topics(&self) -> Result<Vec<String>, ClientError> {
        let frame = Frame::command(request::GET_ALL_TOPIC_LIST_FROM_NAMESERVER);
        Ok(sorted(self.ask_names_for::<TopicList>(frame).await?))
    }

    /// The names of a cluster's topics (224), sorted.
    pub async fn topics_of_cluster(&self, cluster: &str) -> Result<Vec<String>, ClientError> {
        let header = ClusterRequest {
            cluster: cluster.to_owned(),
        };
        let frame = Frame::request(request::GET_TOPICS_BY_CLUSTER, &header);
        Ok(sorted(self.ask_names_for::<TopicList>(frame).await?))
    }

    /// Makes every name server forget a topic (216), in one cluster if it is named: each keeps its own routes.
    pub async fn delete_topic_in_names(&self, topic: &str, cluster: Option<&str>) -> Result<(), ClientError> {
        let header = DeleteTopicRequest {
            topic: topic.to_owned(),
            cluster_name: cluster.map(str::to_owned),
        };
        self.ask_every_name_server(Frame::request(request::DELETE_TOPIC_IN_NAMESRV, &header))
            .await
    }

    /// Takes the write permission from all topics of a broker (205), at every name server; how many topics that were.
    pub async fn wipe_write_permission(&self, broker_name: &str) -> Result<i32, ClientError> {
        self.change_write_permission(request::WIPE_WRITE_PERM_OF_BROKER, broker_name, |answer| {
            answer
                .header::<WipeWritePermReply>()
                .map(|reply| reply.wipe_topic_count)
        })
        .await
    }

    /// Gives it back (327).
    pub async fn add_write_permission(&self, broker_name: &str) -> Result<i32, ClientError> {
        self.change_write_permission(request::ADD_WRITE_PERM_OF_BROKER, broker_name, |answer| {
            answer
                .header::<AddWritePermReply>()
                .map(|reply| reply.add_topic_count)
        })
        .await
    }

    /// Asks every name server; the largest number of topics that one of them changed.
    async fn change_write_permission(
        &self,
        code: i32,
        broker_name: &str,
        changed: fn(&Frame) -> Result<i32, BadField>,
    ) -> Result<i32, ClientError> {
        let header = BrokerNameRequest {
            broker_name: broker_name.to_owned(),
        };
        let mut count = 0;
        for address in self.name_servers() {
            let answer = self.ask(&address, Frame::request(code, &header)).await?;
            let topics = changed(&answer).map_err(|bad| ClientError::bad_field(&address, bad))?;
            count = count.max(topics);
        }
        Ok(count)
    }

    /// A key-value setting (101); `None` if there is none.
    pub async fn kv(&self, namespace: &str, key: &str) -> Result<Option<String>, ClientError> {
        let header = KvRequest {
            namespace: namespace.to_owned(),
            key: key.to_owned(),
        };
        match self
            .ask_names(Frame::request(request::GET_KV_CONFIG, &header))
            .await
        {
            Ok(answer) => {
                let reply: KvReply = answer
                    .header()
                    .map_err(|bad| ClientError::bad_field(NAME_SERVER, bad))?;
                Ok(reply.value)
            }
            Err(error) if error.code() == Some(response::QUERY_NOT_FOUND) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The settings of a namespace (219).
    pub async fn kv_list(&self, namespace: &str) -> Result<BTreeMap<String, String>, ClientError> {
        let header = NamespaceRequest {
            namespace: namespace.to_owned(),
        };
        match self
            .ask_names_for::<KvTable>(Frame::request(request::GET_KVLIST_BY_NAMESPACE, &header))
            .await
        {
            Err(error) if error.code() == Some(response::QUERY_NOT_FOUND) => Ok(BTreeMap::new()),
            answered => Ok(answered?.table),
        }
    }

    /// Changes a setting at every name server (100): they do not tell each other.
    pub async fn put_kv(&self, namespace: &str, key: &str, value: &str) -> Result<(), ClientError> {
        let header = PutKvRequest {
            namespace: namespace.to_owned(),
            key: key.to_owned(),
            value: value.to_owned(),
        };
        self.ask_every_name_server(Frame::request(request::PUT_KV_CONFIG, &header))
            .await
    }

    /// Removes a setting at every name server (102).
    pub async fn delete_kv(&self, namespace: &str, key: &str) -> Result<(), ClientError> {
        let header = KvRequest {
            namespace: namespace.to_owned(),
            key: key.to_owned(),
        };
        self.ask_every_name_server(Frame::request(request::DELETE_KV_CONFIG, &header))
            .await
    }

    /// A name server's own settings as properties text (319).
    pub async fn name_server_config(&self, address: &str) -> Result<String, ClientError> {
        text(
            address,
            &self
                .ask(address, Frame::command(request::GET_NAMESRV_CONFIG))
                .await?,
        )
    }

    /// Changes settings of a name server, given as properties text (318).
    pub async fn update_name_server_config(
        &self,
        address: &str,
        properties: &str,
    ) -> Result<(), ClientError> {
        let frame = Frame::command(request::UPDATE_NAMESRV_CONFIG).with_body(properties.to_owned());
        self.ask(address, frame).await.map(|_| ())
    }

    async fn ask_every_name_server(&self, frame: Frame) -> Result<(), ClientError> {
        let addresses = self.name_servers();
        if addresses.is_empty() {
            return Err(ClientError::NoNameServer);
        }
        for address in addresses {
            self.ask(&address, frame.clone()).await?;
        }
        Ok(())
    }
}

fn sorted(list: TopicList) -> Vec<String> {
    let mut topics = list.topic_list;
    topics.sort();
    topics.dedup();
    topics
}
