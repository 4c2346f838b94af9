//! `rmq msg find`.

use jiff::Timestamp;
use rmq::client::Admin;

use super::end;
use crate::Common;
use crate::output::{self, Exit, Failure};
use crate::positions::{parse_time, show_time};
use crate::record::Record;

/// Find messages by the key their producer gave them.
#[derive(clap::Args, Debug)]
pub struct Find {
    /// The topic to look in.
    topic: String,
    /// The key.
    #[arg(long, short = 'k')]
    key: String,
    /// Stored at this time or later: a time ago (-10m), a time (2026-11-22T10:00, @EPOCHMS).
    #[arg(long, value_name = "TIME", value_parser = parse_time, allow_hyphen_values = true)]
    from: Option<i64>,
    /// Stored at this time or before.
    #[arg(long, value_name = "TIME", value_parser = parse_time, allow_hyphen_values = true)]
    to: Option<i64>,
    /// At most so many from each broker.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    max: u16,
}

impl Find {
    pub async fn run(self, common: &Common) -> Result<Exit, Failure> {
        let (from, to) = (self.from.unwrap_or(0), self.to.unwrap_or(i64::MAX));
        if from >= to {
            return Err(Failure::usage(
                "--from is not before --to: there is nothing between them",
            ));
        }
        if from > Timestamp::now().as_millisecond() {
            output::note(format!(
                "--from {} has not come yet: nothing stored now is that late",
                show_time(from)
            ));
        }
        let admin = Admin::new(common.client());
        let mut found = admin
            .find_by_key(&self.topic, &self.key, usize::from(self.max), from, to)
            .await?;
        // Brokers compare whole seconds.
        found
            .messages
            .retain(|message| (from..=to).contains(&message.store_time));
        let records: Vec<Record> = found.messages.iter().cloned().map(Record::from).collect();
        common.format().list(&records)?;
        end(&found, || {
            Failure::new(
                Exit::NotFound,
                format!("no message with key {:?} in {}", self.key, self.topic),
            )
        })
    }
}
