//! `rmq topic set`.

use rmq::client::Admin;
use rmq::protocol::request::topic::TopicConfig;
use serde::Serialize;

use super::{MESSAGE_TYPE, MessageType, Perm};
use crate::Common;
use crate::brokers::{ask_each, holders_in_one_cluster};
use crate::output::{Exit, Failure, Row};

/// Change settings of a topic. What is not named stays as it is, at each broker by itself.
#[derive(clap::Args, Debug)]
#[group(required = true, multiple = true)]
pub struct Settings {
    /// Queues on each broker, for reading and writing.
    #[arg(long, short = 'q', value_name = "N", value_parser = clap::value_parser!(i32).range(1..=16384))]
    queues: Option<i32>,
    /// Queues that may be read on each broker.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=16384), conflicts_with = "queues")]
    read_queues: Option<i32>,
    /// Queues that may be written on each broker.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=16384), conflicts_with = "queues")]
    write_queues: Option<i32>,
    /// What it allows: r, w, rw or none.
    #[arg(long, value_parser = Perm::parse)]
    perm: Option<Perm>,
    /// Kind of messages it takes.
    #[arg(long = "type", value_enum)]
    message_type: Option<MessageType>,
}

/// Change settings of a topic. What is not named stays as it is, at each broker by itself.
#[derive(clap::Args, Debug)]
pub struct Set {
    /// Name of the topic.
    topic: String,
    #[command(flatten)]
    settings: Settings,
    /// Only on brokers of this cluster.
    #[arg(long)]
    cluster: Option<String>,
}

#[derive(Serialize)]
struct SetRow {
    topic: String,
    broker: String,
    before: TopicConfig,
    after: TopicConfig,
}

impl Row for SetRow {
    const COLUMNS: &'static [&'static str] = &["BROKER", "BEFORE", "NOW"];

    fn cells(&self) -> Vec<String> {
        vec![self.broker.clone(), short(&self.before), short(&self.after)]
    }
}

fn short(config: &TopicConfig) -> String {
    let kind = config
        .attributes
        .get(MESSAGE_TYPE)
        .map_or_else(String::new, |kind| format!(" {}", kind.to_lowercase()));
    format!(
        "{} read, {} write, {}{kind}",
        config.read_queue_nums,
        config.write_queue_nums,
        Perm(config.perm)
    )
}

impl Set {
    pub async fn run(self, common: &Common) -> Result<Exit, Failure> {
        let admin = Admin::new(common.client());
        let brokers = holders_in_one_cluster(&admin, &self.topic, self.cluster.as_deref()).await?;
        let answers = ask_each(brokers, async |broker| {
            let before = admin.topic_config(&broker.address, &self.topic).await?;
            let after = self.settings.lay_over(&before);
            if after != before {
                admin.put_topic(&broker.address, &after).await?;
            }
            Ok((before, after))
        })
        .await;
        let row =
            |(broker, (before, after)): &(rmq::client::BrokerAddress, (TopicConfig, TopicConfig))| SetRow {
                topic: self.topic.clone(),
                broker: broker.name.clone(),
                before: before.clone(),
                after: after.clone(),
            };
        common
            .format()
            .list(&answers.good.iter().map(row).collect::<Vec<_>>())?;
        Ok(answers.tell_failures())
    }
}

impl Settings {
    fn lay_over(&self, before: &TopicConfig) -> TopicConfig {
        let mut after = before.clone();
        after.read_queue_nums = self.read_queues.or(self.queues).unwrap_or(before.read_queue_nums);
        after.write_queue_nums = self
            .write_queues
            .or(self.queues)
            .unwrap_or(before.write_queue_nums);
        after.perm = self.perm.map_or(before.perm, |perm| perm.0);
        if let Some(kind) = self.message_type {
            after
                .attributes
                .insert(MESSAGE_TYPE.to_owned(), kind.attribute().to_owned());
        }
        after
    }
}
