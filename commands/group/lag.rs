//! `rmq group lag`.

use std::collections::BTreeMap;

use rmq::client::{Admin, BrokerAddress, ClientError};
use rmq::protocol::request::body::MessageQueue;
use rmq::protocol::request::group::OffsetWrapper;
use serde::Serialize;

use super::{is_system, not_found};
use crate::Common;
use crate::brokers::ask_each;
use crate::output::{self, Exit, Failure, Format, Row, or_dash};
use crate::positions::show_time;

/// Show how far a group is behind, queue by queue; without GROUP, all groups.
#[derive(clap::Args, Debug)]
pub struct Lag {
    /// Name of the group.
    group: Option<String>,
    /// Only in this topic.
    #[arg(long, short = 't', requires = "group")]
    topic: Option<String>,
}

/// One queue. What could not be read is null, and left out of every sum.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct QueueRow {
    group: String,
    topic: String,
    broker: String,
    queue: i32,
    min_offset: Option<i64>,
    broker_offset: Option<i64>,
    consumer_offset: Option<i64>,
    /// Messages that are still to be consumed.
    lag: Option<i64>,
    /// Messages that the group has not consumed and that are gone.
    lost: Option<i64>,
    /// Store time of the last consumed message.
    last_timestamp: Option<i64>,
}

impl Row for QueueRow {
    const COLUMNS: &'static [&'static str] = &[
        "TOPIC",
        "BROKER",
        ">QUEUE",
        ">COMMITTED",
        ">END",
        ">LAG",
        ">LOST",
        "LAST CONSUMED",
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.topic.clone(),
            self.broker.clone(),
            self.queue.to_string(),
            or_dash(self.consumer_offset),
            or_dash(self.broker_offset),
            or_dash(self.lag),
            or_dash(self.lost),
            or_dash(self.last_timestamp.map(show_time)),
        ]
    }
}

/// One group, when all are asked for.
#[derive(Serialize)]
struct GroupRow {
    group: String,
    members: usize,
    queues: usize,
    lag: i64,
    /// Queues whose lag is not known and not in the sum.
    unknown: usize,
}

impl Row for GroupRow {
    const COLUMNS: &'static [&'static str] = &["GROUP", ">MEMBERS", ">QUEUES", ">LAG", ">UNKNOWN"];

    fn cells(&self) -> Vec<String> {
        let numbers = [
            self.members.to_string(),
            self.queues.to_string(),
            self.lag.to_string(),
            self.unknown.to_string(),
        ];
        [vec![self.group.clone()], numbers.to_vec()].concat()
    }
}

impl Lag {
    pub async fn run(self, common: &Common) -> Result<Exit, Failure> {
        let admin = Admin::new(common.client());
        match &self.group {
            Some(group) => self.of_group(&admin, group, common.format()).await,
            None => of_all(&admin, common.format()).await,
        }
    }

    async fn of_group(&self, admin: &Admin, group: &str, format: Format) -> Result<Exit, Failure> {
        let masters = admin.masters(None).await?;
        let answers = ask_each(masters, async |broker| {
            rows(admin, broker, group, self.topic.as_deref()).await
        })
        .await;
        let mut rows: Vec<QueueRow> = Vec::new();
        let mut known = false;
        for (_, (is_known, of_broker)) in answers.good.iter().map(|(broker, answer)| (broker, answer)) {
            known |= is_known;
            rows.extend(of_broker.iter().map(QueueRow::clone_of));
        }
        if !known && rows.is_empty() {
            return if answers.failed.is_empty() {
                Err(not_found(group))
            } else {
                Ok(answers.tell_failures())
            };
        }
        rows.sort_by(|left, right| {
            (&left.topic, &left.broker, left.queue).cmp(&(&right.topic, &right.broker, right.queue))
        });
        format.list(&rows)?;
        let (total, unknown) = sum(&rows);
        if format == Format::Table {
            output::talk(format_args!("{total} to consume{}", left_out(unknown)));
        }
        Ok(answers.tell_failures())
    }
}

impl QueueRow {
    fn clone_of(row: &QueueRow) -> QueueRow {
        QueueRow {
            group: row.group.clone(),
            topic: row.topic.clone(),
            broker: row.broker.clone(),
            ..*row
        }
    }

    fn new(
        group: &str,
        queue: &MessageQueue,
        offsets: &OffsetWrapper,
        committed: Option<i64>,
        min: Option<i64>,
    ) -> QueueRow {
        let end = Some(offsets.broker_offset).filter(|offset| *offset >= 0);
        // What was consumed in vain or never is gone below the first offset: it is lost, and no longer to be consumed.
        let from = committed.map(|committed| committed.max(min.unwrap_or(0)));
        QueueRow {
            group: group.to_owned(),
            topic: queue.topic.clone(),
            broker: queue.broker_name.clone(),
            queue: queue.queue_id,
            min_offset: min,
            broker_offset: end,
            consumer_offset: committed,
            lag: end.zip(from).map(|(end, from)| (end - from).max(0)),
            lost: committed
                .zip(min)
                .map(|(committed, min)| (min - committed).max(0)),
            last_timestamp: Some(offsets.last_timestamp).filter(|time| *time > 0),
        }
    }
}

fn left_out(unknown: usize) -> String {
    match unknown {
        0 => String::new(),
        1 => "; 1 queue is unknown and left out".to_owned(),
        several => format!("; {several} queues are unknown and left out"),
    }
}

/// The lag of all queues where it is known, and of how many it is not.
fn sum(rows: &[QueueRow]) -> (i64, usize) {
    let unknown = rows.iter().filter(|row| row.lag.is_none()).count();
    (rows.iter().filter_map(|row| row.lag).sum(), unknown)
}

/// The queues of a group at one broker, and whether the broker knows the group at all.
async fn rows(
    admin: &Admin,
    broker: &BrokerAddress,
    group: &str,
    topic: Option<&str>,
) -> Result<(bool, Vec<QueueRow>), ClientError> {
    let known = admin
        .group_configs(&broker.address)
        .await?
        .subscription_group_table
        .contains_key(group);
    let stats = match admin.consume_stats(&broker.address, group, topic).await {
        // Apache's brokers say so of a group that is offline and has no offsets.
        Err(ClientError::Refused { .. }) if !known => return Ok((false, Vec::new())),
        stats => stats?,
    };
    let mut rows = Vec::new();
    for (queue, offsets) in stats.offset_table.iter() {
        // Brokers show a queue without an offset as 0: only asking for it tells it from a true 0.
        let committed = match offsets.consumer_offset {
            1.. => Some(offsets.consumer_offset),
            _ => admin
                .committed_offset(&broker.address, group, queue)
                .await
                .ok()
                .flatten()
                .filter(|offset| *offset >= 0),
        };
        let min = admin
            .min_offset(&broker.address, queue)
            .await
            .ok()
            .filter(|offset| *offset >= 0);
        rows.push(QueueRow::new(group, queue, offsets, committed, min));
    }
    Ok((known, rows))
}

async fn of_all(admin: &Admin, format: Format) -> Result<Exit, Failure> {
    let masters = admin.masters(None).await?;
    let answers = ask_each(masters, async |broker| {
        let groups = admin
            .group_configs(&broker.address)
            .await?
            .subscription_group_table;
        let mut found = Vec::new();
        for group in groups.into_keys().filter(|group| !is_system(group)) {
            let (_, rows) = rows(admin, broker, &group, None).await?;
            let members = admin.consumer_connection(&broker.address, &group).await?;
            let members = members.map_or_else(Vec::new, |members| members.connection_set);
            found.push((group, rows, members));
        }
        Ok(found)
    })
    .await;
    let mut groups: BTreeMap<String, GroupRow> = BTreeMap::new();
    for (group, rows, members) in answers.good.iter().flat_map(|(_, found)| found) {
        let row = groups.entry(group.clone()).or_insert_with(|| GroupRow {
            group: group.clone(),
            members: 0,
            queues: 0,
            lag: 0,
            unknown: 0,
        });
        let (lag, unknown) = sum(rows);
        row.lag += lag;
        row.unknown += unknown;
        row.queues += rows.len();
        // A member is connected to every broker of its topics.
        row.members = row.members.max(members.len());
    }
    format.list(&groups.into_values().collect::<Vec<_>>())?;
    Ok(answers.tell_failures())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(end: i64, committed: Option<i64>, min: i64) -> QueueRow {
        let offsets = OffsetWrapper {
            broker_offset: end,
            ..OffsetWrapper::default()
        };
        QueueRow::new(
            "g",
            &MessageQueue::new("t", "b", 0),
            &offsets,
            committed,
            Some(min),
        )
    }

    #[test]
    fn what_is_unknown_is_null_and_left_out_of_the_sum() {
        let rows = [row(10, Some(4), 0), row(10, None, 0)];
        assert_eq!(sum(&rows), (6, 1));
        assert_eq!(rows[1].cells()[3..6], ["-", "10", "-"]);
        assert_eq!(row(-1, Some(0), 0).lag, None);
    }

    #[test]
    fn messages_that_are_gone_are_lost_and_not_to_be_consumed() {
        let row = row(100, Some(10), 60);
        assert_eq!((row.lag, row.lost), (Some(40), Some(50)));
    }
}
