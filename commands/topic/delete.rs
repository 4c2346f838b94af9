//! `rmq topic delete`.

use rmq::client::Admin;
use serde::Serialize;

use crate::Common;
use crate::brokers::{ask_each, holders_in_one_cluster};
use crate::output::{Exit, Failure, Guard, Next, Row, or_dash};

/// Delete a topic with its messages and the offsets of its groups.
#[derive(clap::Args, Debug)]
pub struct Delete {
    /// Name of the topic.
    topic: String,
    /// Only in this cluster.
    #[arg(long)]
    cluster: Option<String>,
    #[command(flatten)]
    guard: Guard,
}

/// One broker that holds the topic, and how much.
#[derive(Clone, Serialize)]
struct DeleteRow {
    topic: String,
    cluster: String,
    broker: String,
    queues: Option<usize>,
    messages: Option<i64>,
    deleted: bool,
}

impl Row for DeleteRow {
    const COLUMNS: &'static [&'static str] = &["CLUSTER", "BROKER", ">QUEUES", ">MESSAGES", "DELETED"];

    fn cells(&self) -> Vec<String> {
        let deleted = if self.deleted { "yes" } else { "no" };
        vec![
            self.cluster.clone(),
            self.broker.clone(),
            or_dash(self.queues),
            or_dash(self.messages),
            deleted.to_owned(),
        ]
    }
}

impl Delete {
    pub async fn run(self, common: &Common) -> Result<Exit, Failure> {
        let admin = Admin::new(common.client());
        let brokers = holders_in_one_cluster(&admin, &self.topic, self.cluster.as_deref()).await?;
        let mut rows = Vec::new();
        for broker in &brokers {
            let stats = admin.topic_stats(&broker.address, &self.topic).await.ok();
            let count = |stats: &rmq::protocol::request::topic::TopicStatsTable| {
                stats
                    .offset_table
                    .values()
                    .map(|offsets| offsets.max_offset - offsets.min_offset)
                    .sum()
            };
            rows.push(DeleteRow {
                topic: self.topic.clone(),
                cluster: broker.cluster.clone(),
                broker: broker.name.clone(),
                queues: stats.as_ref().map(|stats| stats.offset_table.len()),
                messages: stats.as_ref().map(count),
                deleted: false,
            });
        }
        if !self.guard.yes {
            common.format().list(&rows)?;
        }
        let question = format!(
            "Delete topic {} on these brokers, with all its messages?",
            self.topic
        );
        if self.guard.pass(&question)? == Next::Stop {
            return Ok(Exit::Ok);
        }
        let answers = ask_each(brokers, async |broker| {
            admin.delete_topic(&broker.address, &self.topic).await
        })
        .await;
        for (broker, ()) in &answers.good {
            rows.iter_mut()
                .filter(|row| row.broker == broker.name)
                .for_each(|row| row.deleted = true);
        }
        if answers.failed.is_empty() {
            let mut clusters: Vec<&str> = rows.iter().map(|row| row.cluster.as_str()).collect();
            clusters.dedup();
            for cluster in clusters {
                admin.delete_topic_in_names(&self.topic, Some(cluster)).await?;
            }
        }
        common.format().list(&rows)?;
        Ok(answers.tell_failures())
    }
}
