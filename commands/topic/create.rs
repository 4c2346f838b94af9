//! `rmq topic create`.

use rmq::client::{Admin, ClientError};
use rmq::protocol::code::response;
use rmq::protocol::request::topic::{TopicConfig, perm};
use serde::Serialize;

use super::{MESSAGE_TYPE, MessageType, Perm};
use crate::Common;
use crate::brokers::{ask_each, masters_of_one_cluster};
use crate::output::{self, Exit, Failure, Format};

/// Create a topic on every master of a cluster.
#[derive(clap::Args, Debug)]
pub struct Create {
    /// Name of the topic.
    topic: String,
    /// Queues on each broker.
    #[arg(long, short = 'q', value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(i32).range(1..=16384))]
    queues: i32,
    /// What it allows: r, w, rw or none.
    #[arg(long, default_value = "rw", value_parser = Perm::parse)]
    perm: Perm,
    /// Kind of messages it takes.
    #[arg(long = "type", value_enum)]
    message_type: Option<MessageType>,
    /// The cluster, where several share the name server.
    #[arg(long)]
    cluster: Option<String>,
    /// Only on this broker.
    #[arg(long)]
    broker: Option<String>,
}

#[derive(Serialize)]
struct Created<'a> {
    topic: &'a str,
    brokers: Vec<&'a str>,
}

impl Create {
    pub async fn run(self, common: &Common) -> Result<Exit, Failure> {
        let admin = Admin::new(common.client());
        let mut brokers = masters_of_one_cluster(&admin, self.cluster.as_deref()).await?;
        if let Some(name) = &self.broker {
            brokers.retain(|broker| broker.name == *name);
            if brokers.is_empty() {
                return Err(Failure::new(Exit::NotFound, format!("broker {name:?} not found"))
                    .next_step("rmq broker show"));
            }
        }
        let mut config = TopicConfig::new(
            &*self.topic,
            self.queues,
            self.queues,
            self.perm.0 & (perm::READ | perm::WRITE),
        );
        if let Some(kind) = self.message_type {
            config
                .attributes
                .insert(MESSAGE_TYPE.to_owned(), kind.attribute().to_owned());
        }
        for broker in &brokers {
            match admin.topic_config(&broker.address, &self.topic).await {
                Ok(_) => {
                    return Err(Failure::new(
                        Exit::Failed,
                        format!("topic {:?} is there already, on {}", self.topic, broker.name),
                    )
                    .next_step(format!("change it: rmq topic set {}", self.topic)));
                }
                Err(ClientError::Refused {
                    code: response::TOPIC_NOT_EXIST,
                    ..
                }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let answers = ask_each(brokers, async |broker| {
            admin.put_topic(&broker.address, &config).await
        })
        .await;
        let created: Vec<&str> = answers
            .good
            .iter()
            .map(|(broker, ())| broker.name.as_str())
            .collect();
        match common.format() {
            _ if created.is_empty() => {}
            Format::Json => output::json(&Created {
                topic: &self.topic,
                brokers: created,
            })?,
            Format::Table => output::line(format_args!(
                "created {} with {} on {}",
                self.topic,
                output::count(u64::from(self.queues.unsigned_abs()), "queue"),
                created.join(", ")
            ))?,
        }
        Ok(answers.tell_failures())
    }
}
