//! `rmq msg show`.

use std::io::{self, IsTerminal};

use rmq::client::{Admin, ClientError, FoundMessages, PullConsumer, ReceivedMessage};
use rmq::protocol::message::parse_offset_message_id;
use rmq::protocol::request::body::MessageQueue;

use super::{cell, end};
use crate::Common;
use crate::output::{self, Exit, Failure, Format, or_dash, printable};
use crate::positions::show_time;
use crate::record::Record;

const EXAMPLES: &str = "\
Examples:
  rmq msg show orders/broker-a/2@17                  by place
  rmq msg show 7F00000100002A9F0000000000000F3C      by the id of a stored copy
  rmq msg show AC11000200012F0EA7F41CD48B000000      by its producer's id: all copies";

/// Show a message by any of its ids, or by its place.
#[derive(clap::Args, Debug)]
#[command(before_help = EXAMPLES)]
pub struct Show {
    /// An id, or TOPIC/BROKER/QUEUE@OFFSET.
    id: String,
    /// The topic to look in; without it, all are searched for a producer's id.
    #[arg(long, short = 't')]
    topic: Option<String>,
}

impl Show {
    pub async fn run(self, common: &Common) -> Result<Exit, Failure> {
        let admin = Admin::new(common.client());
        let found = match parse_place(&self.id) {
            Some((queue, offset)) => at_place(common, &queue, offset).await?,
            None => self.by_id(&admin).await?,
        };
        for (index, message) in found.messages.iter().enumerate() {
            let record = Record::from(message.clone());
            match common.format() {
                Format::Json => output::json(&record)?,
                Format::Table => {
                    if index > 0 {
                        output::line(format_args!(""))?;
                    }
                    print(&record)?;
                }
            }
        }
        if found.messages.len() > 1 {
            output::talk(format_args!("{} copies", found.messages.len()));
        }
        end(&found, || {
            Failure::new(Exit::NotFound, format!("no message {}", self.id)).next_step(self.tried())
        })
    }

    fn tried(&self) -> String {
        match &self.topic {
            Some(topic) => format!("looked in topic {topic}; without -t all topics are searched"),
            None => "looked at the place in the id, and for the id in every topic".to_owned(),
        }
    }

    /// The id of a stored copy names its broker; one given by a producer is looked up in the index of topics. Both look alike.
    async fn by_id(&self, admin: &Admin) -> Result<FoundMessages, Failure> {
        if let Some((address, _)) = parse_offset_message_id(&self.id) {
            let known = admin
                .brokers(None)
                .await?
                .into_iter()
                .any(|broker| broker.address == address.to_string());
            if known {
                match admin.find_by_offset_id(&self.id).await {
                    Ok(message) => {
                        return Ok(FoundMessages {
                            messages: vec![message],
                            ..FoundMessages::default()
                        });
                    }
                    Err(ClientError::MessageNotFound(_)) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        let topics = match &self.topic {
            Some(topic) => vec![topic.clone()],
            None => admin.topics().await?,
        };
        let mut all = FoundMessages::default();
        for topic in &topics {
            match admin.find_by_unique_key(topic, &self.id).await {
                Ok(found) => {
                    all.messages.extend(found.messages);
                    all.capped |= found.capped;
                    all.failures.extend(found.failures);
                }
                // Name servers list topics that no broker holds.
                Err(ClientError::TopicNotFound(_) | ClientError::BadAnswer { .. })
                    if self.topic.is_none() => {}
                Err(error) => return Err(error.into()),
            }
        }
        all.failures.dedup_by(|left, right| left.0 == right.0);
        Ok(all)
    }
}

/// Reads `TOPIC/BROKER/QUEUE@OFFSET`.
fn parse_place(text: &str) -> Option<(MessageQueue, u64)> {
    let (queue, offset) = text.rsplit_once('@')?;
    let mut parts = queue.split('/');
    let (topic, broker, id) = (parts.next()?, parts.next()?, parts.next()?.parse().ok()?);
    parts
        .next()
        .is_none()
        .then_some((MessageQueue::new(topic, broker, id), offset.parse().ok()?))
}

async fn at_place(common: &Common, queue: &MessageQueue, offset: u64) -> Result<FoundMessages, Failure> {
    let reader = PullConsumer::new(common.client(), None);
    let queues = reader.queues(&queue.topic).await?;
    if !queues.contains(queue) {
        let what = format!(
            "topic {:?} has no queue {} on {}",
            queue.topic, queue.queue_id, queue.broker_name
        );
        return Err(Failure::new(Exit::NotFound, what).next_step(format!("rmq topic route {}", queue.topic)));
    }
    let pulled = reader.pull(queue, offset, 1, None).await?;
    let messages: Vec<ReceivedMessage> = pulled
        .messages
        .into_iter()
        .filter(|message| message.queue_offset == offset)
        .collect();
    if messages.is_empty() {
        let holds = match pulled.max.checked_sub(1) {
            Some(last) if last >= pulled.min => format!("holds {} to {last}", pulled.min),
            _ => "is empty".to_owned(),
        };
        let what = format!("nothing at offset {offset}: the queue {holds}");
        return Err(Failure::new(Exit::NotFound, what));
    }
    Ok(FoundMessages {
        messages,
        ..FoundMessages::default()
    })
}

fn print(record: &Record) -> Result<(), Failure> {
    let properties: Vec<_> = record
        .properties
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let filled = |text: String| or_dash(Some(text).filter(|text| !text.is_empty()));
    Format::Table.show(
        record,
        &[
            ("place", record.place()),
            ("id", or_dash(record.msg_id.as_deref().map(cell))),
            ("copy", record.offset_msg_id.clone()),
            ("stored", show_time(record.store_time)),
            ("born", show_time(record.born_time)),
            ("tag", or_dash(record.tag.as_deref().map(cell))),
            ("keys", filled(cell(&record.keys.join(" ")))),
            ("attempt", record.attempt.to_string()),
            ("flag", record.flag.to_string()),
            ("properties", filled(cell(&properties.join(" ")))),
            ("body", format!("{} bytes", record.body.len())),
        ],
    )?;
    let body = String::from_utf8_lossy(&record.body);
    if io::stdout().is_terminal() {
        return output::line(format_args!("{}", printable(&body, &['\n', '\t'])));
    }
    output::line(format_args!("{body}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_it_is_printed() {
        let record = crate::record::tests::order();
        let (queue, offset) = parse_place(&record.place()).expect("a place");
        assert_eq!((queue, offset), (MessageQueue::new("orders", "broker-a", 2), 17));
        for wrong in [
            "orders",
            "orders/broker-a@1",
            "orders/broker-a/x@1",
            "orders/broker-a/1@x",
            "a/b/1/2@3",
        ] {
            assert_eq!(parse_place(wrong), None, "{wrong}");
        }
    }
}
