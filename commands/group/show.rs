//! `rmq group show`.

use std::collections::{BTreeMap, BTreeSet};

use rmq::client::Admin;
use rmq::protocol::request::client::Connection;
use rmq::protocol::request::group::SubscriptionGroupConfig;
use serde::Serialize;

use super::not_found;
use crate::Common;
use crate::brokers::ask_each;
use crate::output::{self, Exit, Failure, Format, Row, or_dash};

/// Show a group: its settings at each broker, its members, and what they subscribe to.
#[derive(clap::Args, Debug)]
pub struct Show {
    /// Name of the group.
    group: String,
}

#[derive(Serialize)]
struct Shown {
    group: String,
    /// Settings by broker.
    brokers: BTreeMap<String, SubscriptionGroupConfig>,
    members: Vec<Member>,
    /// Tag expressions by topic, as members told them.
    subscriptions: BTreeMap<String, String>,
    /// Topics it has offsets in.
    topics: BTreeSet<String>,
}

#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Member {
    client_id: String,
    client_addr: String,
    language: String,
    version: i32,
}

impl Row for Member {
    const COLUMNS: &'static [&'static str] = &["CLIENT", "ADDRESS", "LANGUAGE", ">VERSION"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.client_id.clone(),
            self.client_addr.clone(),
            self.language.clone(),
            self.version.to_string(),
        ]
    }
}

impl From<&Connection> for Member {
    fn from(connection: &Connection) -> Member {
        Member {
            client_id: connection.client_id.clone(),
            client_addr: connection.client_addr.clone(),
            language: connection.language.clone(),
            version: connection.version,
        }
    }
}

impl Show {
    pub async fn run(self, common: &Common) -> Result<Exit, Failure> {
        let admin = Admin::new(common.client());
        let masters = admin.masters(None).await?;
        let answers = ask_each(masters, async |broker| {
            let known = admin
                .group_configs(&broker.address)
                .await?
                .subscription_group_table
                .remove(&self.group);
            let connection = admin.consumer_connection(&broker.address, &self.group).await?;
            let topics = if known.is_some() {
                admin.topics_of_group(&broker.address, &self.group).await?
            } else {
                Vec::new()
            };
            Ok((known, connection, topics))
        })
        .await;
        let mut shown = Shown {
            group: self.group.clone(),
            brokers: BTreeMap::new(),
            members: Vec::new(),
            subscriptions: BTreeMap::new(),
            topics: BTreeSet::new(),
        };
        let mut members = BTreeMap::new();
        for (broker, (config, connection, topics)) in &answers.good {
            shown
                .brokers
                .extend(config.clone().map(|config| (broker.name.clone(), config)));
            shown.topics.extend(topics.iter().cloned());
            if let Some(connection) = connection {
                members.extend(
                    connection
                        .connection_set
                        .iter()
                        .map(|one| (one.client_id.clone(), Member::from(one))),
                );
                let expressions = connection.subscription_table.iter();
                shown
                    .subscriptions
                    .extend(expressions.map(|(topic, data)| (topic.clone(), data.sub_string.clone())));
            }
        }
        shown.members = members.into_values().collect();
        if shown.brokers.is_empty() && shown.members.is_empty() {
            return if answers.failed.is_empty() {
                Err(not_found(&self.group))
            } else {
                Ok(answers.tell_failures())
            };
        }
        shown.print(common.format())?;
        Ok(answers.tell_failures())
    }
}

impl Shown {
    fn print(&self, format: Format) -> Result<(), Failure> {
        let joined = |names: Vec<String>| or_dash(Some(names.join(", ")).filter(|names| !names.is_empty()));
        let mut facts = vec![("group", self.group.clone())];
        for (broker, config) in &self.brokers {
            let enabled = if config.consume_enable {
                "enabled"
            } else {
                "disabled"
            };
            let order = if config.consume_message_orderly {
                ", orderly"
            } else {
                ""
            };
            let queues = output::count(u64::from(config.retry_queue_nums.unsigned_abs()), "queue");
            let retries = config.retry_max_times;
            facts.push((broker, format!("{enabled}{order}, {retries} retries in {queues}")));
        }
        let expressions = self
            .subscriptions
            .iter()
            .map(|(topic, expression)| format!("{topic}: {expression}"));
        facts.push(("subscriptions", joined(expressions.collect())));
        facts.push(("topics", joined(self.topics.iter().cloned().collect())));
        facts.push(("members", self.members.len().to_string()));
        format.show(self, &facts)?;
        if format == Format::Table && !self.members.is_empty() {
            output::line(format_args!(""))?;
            format.list(&self.members)?;
        }
        Ok(())
    }
}
