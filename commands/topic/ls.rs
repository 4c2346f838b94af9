//! `rmq topic ls`.

use std::collections::{BTreeMap, BTreeSet};

use rmq::client::Admin;
use serde::Serialize;

use super::{MESSAGE_TYPE, Perm};
use crate::Common;
use crate::brokers::{ask_each, matches};
use crate::output::{Exit, Failure, Row, or_dash};

/// List topics.
#[derive(clap::Args, Debug)]
pub struct Ls {
    /// Only names like this; `*` stands for any letters.
    pattern: Option<String>,
    /// Also retry and dead letter topics, and those that brokers use themselves.
    #[arg(long)]
    system: bool,
    /// Only topics of this cluster.
    #[arg(long)]
    cluster: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TopicRow {
    topic: String,
    brokers: BTreeSet<String>,
    /// Of all brokers together.
    read_queue_nums: i64,
    write_queue_nums: i64,
    /// Null where brokers differ.
    perm: Option<i32>,
    message_type: Option<String>,
}

impl Row for TopicRow {
    const COLUMNS: &'static [&'static str] = &[
        "TOPIC",
        ">READ QUEUES",
        ">WRITE QUEUES",
        "PERM",
        "TYPE",
        "BROKERS",
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.topic.clone(),
            self.read_queue_nums.to_string(),
            self.write_queue_nums.to_string(),
            or_dash(self.perm.map(Perm)),
            or_dash(self.message_type.as_deref().map(str::to_lowercase)),
            self.brokers.iter().cloned().collect::<Vec<_>>().join(","),
        ]
    }
}

impl Ls {
    pub async fn run(self, common: &Common) -> Result<Exit, Failure> {
        let admin = Admin::new(common.client());
        let masters = admin.masters(self.cluster.as_deref()).await?;
        let answers = ask_each(masters, async |broker| {
            let topics = admin.topic_configs(&broker.address).await?.topic_config_table;
            let system = if self.system {
                Vec::new()
            } else {
                admin.system_topics(&broker.address).await?
            };
            Ok((topics, system))
        })
        .await;
        let mut rows: BTreeMap<String, TopicRow> = BTreeMap::new();
        for (broker, (topics, system)) in &answers.good {
            let shown = topics.iter().filter(|(topic, _)| self.shows(topic, system));
            for (topic, config) in shown {
                let row = rows.entry(topic.clone()).or_insert_with(|| TopicRow {
                    topic: topic.clone(),
                    brokers: BTreeSet::new(),
                    read_queue_nums: 0,
                    write_queue_nums: 0,
                    perm: Some(config.perm),
                    message_type: config.attributes.get(MESSAGE_TYPE).cloned(),
                });
                row.brokers.insert(broker.name.clone());
                row.read_queue_nums += i64::from(config.read_queue_nums);
                row.write_queue_nums += i64::from(config.write_queue_nums);
                row.perm = row.perm.filter(|perm| *perm == config.perm);
            }
        }
        common.format().list(&rows.into_values().collect::<Vec<_>>())?;
        Ok(answers.tell_failures())
    }

    fn shows(&self, topic: &str, system: &[String]) -> bool {
        let is_system = ["%RETRY%", "%DLQ%", "rmq_sys_"]
            .iter()
            .any(|prefix| topic.starts_with(prefix))
            || system.iter().any(|name| name == topic);
        (self.system || !is_system)
            && self
                .pattern
                .as_deref()
                .is_none_or(|pattern| matches(pattern, topic))
    }
}
