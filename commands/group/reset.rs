//! `rmq group reset`.

use rmq::client::{Admin, BrokerAddress, ClientError};
use rmq::protocol::code::response;
use rmq::protocol::request::body::MessageQueue;
use rmq::protocol::request::pull::Boundary;
use rmq::protocol::request::topic::TopicOffset;
use serde::Serialize;

use super::not_found;
use crate::Common;
use crate::brokers::{Answers, ask_each, holders_in_one_cluster, tell};
use crate::connect::exit_of;
use crate::output::{Exit, Failure, Guard, Next, Row, or_dash};
use crate::positions::{self, Position};

const EXAMPLES: &str = "\
Examples:
  rmq group reset billing -t orders --to -1h          shows what would move, then asks
  rmq group reset billing -t orders --to last --yes   skip all that is there
  rmq group reset billing -t orders --to 1024 --queue broker-a:0";

/// Move a group in a topic: each queue gets a new offset, running members go on from there.
#[derive(clap::Args, Debug)]
#[command(before_help = EXAMPLES)]
pub struct Reset {
    /// The group to move.
    group: String,
    /// The topic to move in.
    #[arg(long, short = 't')]
    topic: String,
    /// Where to: first, last, a time ago (-10m), a time (2026-11-22T10:00, @EPOCHMS), or a queue offset.
    #[arg(long, value_name = "POSITION", value_parser = positions::parse, allow_hyphen_values = true)]
    to: Position,
    /// Only this queue, as ID or BROKER:ID.
    #[arg(long, value_name = "[BROKER:]ID", value_parser = crate::queue_name::parse)]
    queue: Option<crate::queue_name::QueueName>,
    /// Only in this cluster.
    #[arg(long)]
    cluster: Option<String>,
    #[command(flatten)]
    guard: Guard,
}

/// One queue, before and after.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ResetRow {
    topic: String,
    broker: String,
    queue: i32,
    /// Null where nothing was committed.
    old_offset: Option<i64>,
    new_offset: i64,
    done: bool,
}

impl Row for ResetRow {
    const COLUMNS: &'static [&'static str] = &["BROKER", ">QUEUE", ">OLD", ">NEW", ">MOVE", "DONE"];

    fn cells(&self) -> Vec<String> {
        let moved = self.old_offset.map(|old| format!("{:+}", self.new_offset - old));
        vec![
            self.broker.clone(),
            self.queue.to_string(),
            or_dash(self.old_offset),
            self.new_offset.to_string(),
            or_dash(moved),
            if self.done { "yes" } else { "no" }.to_owned(),
        ]
    }
}

impl Reset {
    pub async fn run(self, common: &Common) -> Result<Exit, Failure> {
        let admin = Admin::new(common.client());
        let brokers = holders_in_one_cluster(&admin, &self.topic, self.cluster.as_deref()).await?;
        let known = ask_each(brokers.clone(), async |broker| {
            let groups = admin.group_configs(&broker.address).await?;
            Ok(groups.subscription_group_table.contains_key(&self.group))
        })
        .await;
        if !known.good.iter().any(|(_, knows)| *knows) {
            return if known.failed.is_empty() {
                Err(not_found(&self.group))
            } else {
                Ok(known.tell_failures())
            };
        }
        let planned = ask_each(brokers, async |broker| self.plan(&admin, broker).await).await;
        if planned.good.iter().all(|(_, rows)| rows.is_empty()) {
            return match &self.queue {
                _ if !planned.failed.is_empty() => Ok(planned.tell_failures()),
                Some(queue) => Err(Failure::new(
                    Exit::NotFound,
                    format!("topic {:?} has no queue {queue}", self.topic),
                )),
                None => Err(Failure::new(
                    Exit::NotFound,
                    format!("topic {:?} has no queues", self.topic),
                )),
            };
        }
        if !self.guard.yes {
            let rows: Vec<ResetRow> = planned.good.iter().flat_map(|(_, rows)| rows.clone()).collect();
            common.format().list(&rows)?;
        }
        let question = format!(
            "Move group {} in topic {} to these offsets?",
            self.group, self.topic
        );
        if self.guard.pass(&question)? == Next::Stop {
            return Ok(planned.tell_failures());
        }
        self.act(&admin, planned, common).await
    }

    /// The rows of one broker: each of its own queues.
    async fn plan(&self, admin: &Admin, broker: &BrokerAddress) -> Result<Vec<ResetRow>, ClientError> {
        let stats = admin.topic_stats(&broker.address, &self.topic).await?;
        let mut rows = Vec::new();
        for (queue, ends) in stats.offset_table.iter() {
            if self.queue.as_ref().is_some_and(|wanted| !wanted.is(queue)) {
                continue;
            }
            rows.push(ResetRow {
                topic: self.topic.clone(),
                broker: broker.name.clone(),
                queue: queue.queue_id,
                old_offset: admin
                    .committed_offset(&broker.address, &self.group, queue)
                    .await?,
                new_offset: self.new_offset(admin, broker, queue, ends).await?,
                done: false,
            });
        }
        Ok(rows)
    }

    async fn new_offset(
        &self,
        admin: &Admin,
        broker: &BrokerAddress,
        queue: &MessageQueue,
        ends: &TopicOffset,
    ) -> Result<i64, ClientError> {
        match self.to {
            Position::First => Ok(ends.min_offset),
            Position::Last => Ok(ends.max_offset),
            // Brokers differ in what a time behind the last message means; it means the end.
            Position::Time(time_ms) if time_ms > ends.last_update_timestamp => Ok(ends.max_offset),
            Position::Time(time_ms) => {
                admin
                    .offset_at(&broker.address, queue, time_ms, Boundary::Lower)
                    .await
            }
            Position::Offset(offset) => {
                let offset = i64::try_from(offset).unwrap_or(i64::MAX);
                Ok(offset.clamp(ends.min_offset, ends.max_offset.max(ends.min_offset)))
            }
        }
    }

    async fn act(
        &self,
        admin: &Admin,
        planned: Answers<Vec<ResetRow>>,
        common: &Common,
    ) -> Result<Exit, Failure> {
        let Answers { good, mut failed } = planned;
        let mut rows = Vec::new();
        for (broker, planned) in good {
            for mut row in planned {
                match self.move_queue(admin, &broker, &row).await {
                    Ok(()) => row.done = true,
                    Err(error) => failed.push((broker.clone(), error)),
                }
                rows.push(row);
            }
        }
        common.format().list(&rows)?;
        tell(&failed);
        Ok(match failed.first() {
            None => Exit::Ok,
            Some(_) if rows.iter().any(|row| row.done) => Exit::Partial,
            Some((_, error)) => exit_of(error),
        })
    }

    async fn move_queue(
        &self,
        admin: &Admin,
        broker: &BrokerAddress,
        row: &ResetRow,
    ) -> Result<(), ClientError> {
        let queue = MessageQueue::new(&self.topic, &broker.name, row.queue);
        let (address, group) = (&broker.address, &self.group);
        let reset = admin
            .reset_offsets(
                address,
                group,
                &self.topic,
                -1,
                Some(row.queue),
                Some(row.new_offset),
            )
            .await;
        match reset {
            // Older brokers reset only through running members. Without one the offset itself is all there is.
            Err(error) if error.code() == Some(response::CONSUMER_NOT_ONLINE) => {
                admin.commit_offset(address, group, &queue, row.new_offset).await
            }
            reset => reset.map(|_| ()),
        }
    }
}
