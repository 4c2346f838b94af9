//! `rmq group ls`.

use std::collections::{BTreeMap, BTreeSet};

use rmq::client::Admin;
use serde::Serialize;

use super::is_system;
use crate::Common;
use crate::brokers::{ask_each, matches};
use crate::output::{Exit, Failure, Row, or_dash};

/// List consumer groups.
#[derive(clap::Args, Debug)]
pub struct Ls {
    /// Only names like this; `*` stands for any letters.
    pattern: Option<String>,
    /// Also those that brokers and tools use themselves.
    #[arg(long)]
    system: bool,
    /// Only groups of this cluster.
    #[arg(long)]
    cluster: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GroupRow {
    group: String,
    brokers: BTreeSet<String>,
    /// Null where brokers differ.
    consume_enable: Option<bool>,
    retry_max_times: Option<i32>,
}

impl Row for GroupRow {
    const COLUMNS: &'static [&'static str] = &["GROUP", ">RETRIES", "ENABLED", "BROKERS"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.group.clone(),
            or_dash(self.retry_max_times),
            or_dash(
                self.consume_enable
                    .map(|enabled| if enabled { "yes" } else { "no" }),
            ),
            self.brokers.iter().cloned().collect::<Vec<_>>().join(","),
        ]
    }
}

impl Ls {
    pub async fn run(self, common: &Common) -> Result<Exit, Failure> {
        let admin = Admin::new(common.client());
        let masters = admin.masters(self.cluster.as_deref()).await?;
        let answers = ask_each(masters, async |broker| admin.group_configs(&broker.address).await).await;
        let mut rows: BTreeMap<String, GroupRow> = BTreeMap::new();
        for (broker, table) in &answers.good {
            let shown = table
                .subscription_group_table
                .iter()
                .filter(|(group, _)| self.shows(group));
            for (group, config) in shown {
                let row = rows.entry(group.clone()).or_insert_with(|| GroupRow {
                    group: group.clone(),
                    brokers: BTreeSet::new(),
                    consume_enable: Some(config.consume_enable),
                    retry_max_times: Some(config.retry_max_times),
                });
                row.brokers.insert(broker.name.clone());
                row.consume_enable = row
                    .consume_enable
                    .filter(|enabled| *enabled == config.consume_enable);
                row.retry_max_times = row
                    .retry_max_times
                    .filter(|times| *times == config.retry_max_times);
            }
        }
        common.format().list(&rows.into_values().collect::<Vec<_>>())?;
        Ok(answers.tell_failures())
    }

    fn shows(&self, group: &str) -> bool {
        (self.system || !is_system(group))
            && self
                .pattern
                .as_deref()
                .is_none_or(|pattern| matches(pattern, group))
    }
}
