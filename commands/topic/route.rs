//! `rmq topic route`.

use rmq::client::Admin;
use serde::Serialize;

use super::Perm;
use crate::Common;
use crate::output::{self, Exit, Failure, Format, Row, or_dash};

/// Show what name servers tell clients: which brokers hold a topic, where, with how many queues.
#[derive(clap::Args, Debug)]
pub struct Route {
    /// Name of the topic.
    topic: String,
}

#[derive(Serialize)]
struct RouteRow {
    cluster: String,
    broker: String,
    id: i64,
    address: String,
    read: Option<i32>,
    write: Option<i32>,
    perm: Option<i32>,
}

impl Row for RouteRow {
    const COLUMNS: &'static [&'static str] = &[
        "BROKER",
        ">ID",
        "ADDRESS",
        ">READ QUEUES",
        ">WRITE QUEUES",
        "PERM",
        "CLUSTER",
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.broker.clone(),
            self.id.to_string(),
            self.address.clone(),
            or_dash(self.read),
            or_dash(self.write),
            or_dash(self.perm.map(Perm)),
            self.cluster.clone(),
        ]
    }
}

impl Route {
    pub async fn run(self, common: &Common) -> Result<Exit, Failure> {
        let route = Admin::new(common.client()).route(&self.topic).await?;
        if common.format() == Format::Json {
            output::json(&route)?;
            return Ok(Exit::Ok);
        }
        let rows: Vec<RouteRow> = route
            .broker_datas
            .iter()
            .flat_map(|broker| {
                broker
                    .broker_addrs
                    .iter()
                    .map(move |(id, address)| (broker, *id, address))
            })
            .map(|(broker, id, address)| {
                let queues = route
                    .queue_datas
                    .iter()
                    .find(|queues| queues.broker_name == broker.broker_name);
                RouteRow {
                    cluster: broker.cluster.clone(),
                    broker: broker.broker_name.clone(),
                    id,
                    address: address.clone(),
                    read: queues.map(|queues| queues.read_queue_nums),
                    write: queues.map(|queues| queues.write_queue_nums),
                    perm: queues.map(|queues| queues.perm),
                }
            })
            .collect();
        Format::Table.list(&rows)?;
        Ok(Exit::Ok)
    }
}
