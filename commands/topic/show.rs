//! `rmq topic show`.

use std::collections::{BTreeMap, BTreeSet};

use rmq::client::Admin;
use rmq::protocol::request::topic::TopicConfig;
use serde::Serialize;

use super::Perm;
use crate::Common;
use crate::brokers::{ask_each, holders};
use crate::output::{self, Exit, Failure, Format, Row, or_dash};
use crate::positions::show_time;

/// Show a topic: its settings at each broker, its queues, and who consumes it.
#[derive(clap::Args, Debug)]
pub struct Show {
    /// Name of the topic.
    topic: String,
}

#[derive(Serialize)]
struct Shown {
    topic: String,
    /// Settings by broker.
    brokers: BTreeMap<String, TopicConfig>,
    queues: Vec<QueueRow>,
    /// Groups that consume it or have offsets in it.
    groups: BTreeSet<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct QueueRow {
    broker: String,
    queue: i32,
    min_offset: Option<i64>,
    max_offset: Option<i64>,
    /// Store time of the last message, null for an empty queue.
    last_update_timestamp: Option<i64>,
}

impl Row for QueueRow {
    const COLUMNS: &'static [&'static str] =
        &["BROKER", ">QUEUE", ">FIRST", ">END", ">MESSAGES", "LAST MESSAGE"];

    fn cells(&self) -> Vec<String> {
        let messages = self.max_offset.zip(self.min_offset).map(|(max, min)| max - min);
        vec![
            self.broker.clone(),
            self.queue.to_string(),
            or_dash(self.min_offset),
            or_dash(self.max_offset),
            or_dash(messages),
            or_dash(self.last_update_timestamp.map(show_time)),
        ]
    }
}

impl Show {
    pub async fn run(self, common: &Common) -> Result<Exit, Failure> {
        let admin = Admin::new(common.client());
        let brokers = holders(&admin, &self.topic).await?;
        let answers = ask_each(brokers, async |broker| {
            let config = admin.topic_config(&broker.address, &self.topic).await?;
            let stats = admin.topic_stats(&broker.address, &self.topic).await?;
            let groups = admin.groups_of_topic(&broker.address, &self.topic).await?;
            Ok((config, stats, groups))
        })
        .await;
        if answers.good.is_empty() {
            return Ok(answers.tell_failures());
        }
        let mut shown = Shown {
            topic: self.topic,
            brokers: BTreeMap::new(),
            queues: Vec::new(),
            groups: BTreeSet::new(),
        };
        for (broker, (config, stats, groups)) in &answers.good {
            shown.brokers.insert(broker.name.clone(), config.clone());
            shown.groups.extend(groups.iter().cloned());
            shown
                .queues
                .extend(stats.offset_table.iter().map(|(queue, offsets)| QueueRow {
                    broker: queue.broker_name.clone(),
                    queue: queue.queue_id,
                    min_offset: Some(offsets.min_offset).filter(|offset| *offset >= 0),
                    max_offset: Some(offsets.max_offset).filter(|offset| *offset >= 0),
                    last_update_timestamp: Some(offsets.last_update_timestamp).filter(|time| *time > 0),
                }));
        }
        shown.print(common.format())?;
        Ok(answers.tell_failures())
    }
}

impl Shown {
    fn print(&self, format: Format) -> Result<(), Failure> {
        let mut facts = vec![("topic", self.topic.clone())];
        for (broker, config) in &self.brokers {
            let attributes: Vec<_> = config
                .attributes
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            let order = if config.order { " ordered" } else { "" };
            let (read, write) = (config.read_queue_nums, config.write_queue_nums);
            let settings = format!(
                "{read} read and {write} write queues, {}{order} {}",
                Perm(config.perm),
                attributes.join(" ")
            );
            facts.push((broker, settings.trim_end().to_owned()));
        }
        facts.push((
            "groups",
            or_dash(
                Some(self.groups.iter().cloned().collect::<Vec<_>>().join(", "))
                    .filter(|groups| !groups.is_empty()),
            ),
        ));
        format.show(self, &facts)?;
        if format == Format::Table {
            output::line(format_args!(""))?;
            format.list(&self.queues)?;
        }
        Ok(())
    }
}
