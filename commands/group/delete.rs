//! `rmq group delete`.

use rmq::client::Admin;
use serde::Serialize;

use super::not_found;
use crate::Common;
use crate::brokers::ask_each;
use crate::output::{self, Exit, Failure, Guard, Next, Row};

/// Delete a group at every broker that knows it. Its retry and dead letter topics stay.
#[derive(clap::Args, Debug)]
pub struct Delete {
    /// Name of the group.
    group: String,
    /// Its offsets too: a group of the same name then begins anew.
    #[arg(long)]
    offsets: bool,
    /// Only in this cluster.
    #[arg(long)]
    cluster: Option<String>,
    #[command(flatten)]
    guard: Guard,
}

#[derive(Clone, Serialize)]
struct DeleteRow {
    group: String,
    cluster: String,
    broker: String,
    /// Members that are connected now.
    members: usize,
    deleted: bool,
}

impl Row for DeleteRow {
    const COLUMNS: &'static [&'static str] = &["CLUSTER", "BROKER", ">MEMBERS", "DELETED"];

    fn cells(&self) -> Vec<String> {
        let deleted = if self.deleted { "yes" } else { "no" };
        vec![
            self.cluster.clone(),
            self.broker.clone(),
            self.members.to_string(),
            deleted.to_owned(),
        ]
    }
}

impl Delete {
    pub async fn run(self, common: &Common) -> Result<Exit, Failure> {
        let admin = Admin::new(common.client());
        let masters = admin.masters(self.cluster.as_deref()).await?;
        let known = ask_each(masters, async |broker| {
            let configs = admin.group_configs(&broker.address).await?;
            let connection = admin.consumer_connection(&broker.address, &self.group).await?;
            let members = connection.map_or(0, |connection| connection.connection_set.len());
            Ok(configs
                .subscription_group_table
                .contains_key(&self.group)
                .then_some(members))
        })
        .await;
        let row = |broker: &rmq::client::BrokerAddress, members| DeleteRow {
            group: self.group.clone(),
            cluster: broker.cluster.clone(),
            broker: broker.name.clone(),
            members,
            deleted: false,
        };
        let (brokers, mut rows): (Vec<_>, Vec<_>) = known
            .good
            .iter()
            .filter_map(|(broker, members)| Some((broker.clone(), row(broker, (*members)?))))
            .unzip();
        if rows.is_empty() {
            return if known.failed.is_empty() {
                Err(not_found(&self.group))
            } else {
                Ok(known.tell_failures())
            };
        }
        if !self.guard.yes {
            common.format().list(&rows)?;
        }
        let with = if self.offsets { " and its offsets" } else { "" };
        if self
            .guard
            .pass(&format!("Delete group {}{with} on these brokers?", self.group))?
            == Next::Stop
        {
            return Ok(known.tell_failures());
        }
        let answers = ask_each(brokers, async |broker| {
            admin
                .delete_group(&broker.address, &self.group, self.offsets)
                .await
        })
        .await;
        for (broker, ()) in &answers.good {
            rows.iter_mut()
                .filter(|row| row.broker == broker.name)
                .for_each(|row| row.deleted = true);
        }
        common.format().list(&rows)?;
        if rows.iter().any(|row| row.members > 0) {
            output::note(
                "members are connected: brokers that create groups by themselves will have it again",
            );
        }
        let unasked = known.tell_failures();
        let ended = answers.tell_failures();
        Ok(if ended == Exit::Ok { unasked } else { ended })
    }
}
