//! `rmq msg`: finding and showing stored messages.

mod find;
mod show;

use clap::Subcommand;
use rmq::client::FoundMessages;

use crate::Common;
use crate::brokers;
use crate::output::{self, Exit, Failure, Row, or_dash, printable};
use crate::positions::show_time;
use crate::record::Record;

/// Find and show messages.
#[derive(Subcommand, Debug)]
pub enum Msg {
    Find(find::Find),
    Show(show::Show),
}

impl Msg {
    pub async fn run(self, common: &Common) -> Result<Exit, Failure> {
        match self {
            Msg::Find(find) => find.run(common).await,
            Msg::Show(show) => show.run(common).await,
        }
    }
}

impl Row for Record {
    const COLUMNS: &'static [&'static str] = &["STORED", "PLACE", ">ATTEMPT", "TAG", "KEYS", "ID", "BODY"];

    fn cells(&self) -> Vec<String> {
        vec![
            show_time(self.store_time),
            self.place(),
            self.attempt.to_string(),
            or_dash(self.tag.as_deref().map(cell)),
            or_dash(Some(cell(&self.keys.join(" "))).filter(|keys| !keys.is_empty())),
            or_dash(self.msg_id.as_deref().map(cell)),
            glimpse(&self.body),
        ]
    }
}

/// What a message says, as it may stand in a table.
fn cell(text: &str) -> String {
    printable(text, &[])
}

/// The begin of a body on one line.
fn glimpse(body: &[u8]) -> String {
    const CHARACTERS_MAX: usize = 40;
    let text = String::from_utf8_lossy(body);
    let begin: String = text.chars().take(CHARACTERS_MAX).collect();
    let mut glimpse = cell(&begin);
    if text.chars().nth(CHARACTERS_MAX).is_some() {
        glimpse.push('…');
    }
    glimpse
}

/// Tells which brokers could not be asked and whether there may be more, and gives the exit code: nothing found is "not found"
/// only if everybody was asked.
fn end(found: &FoundMessages, nothing: impl FnOnce() -> Failure) -> Result<Exit, Failure> {
    brokers::tell(&found.failures);
    if found.capped {
        output::note("a broker returned as many as were asked for: there may be more (--max, --from, --to)");
    }
    match (found.messages.is_empty(), found.failures.is_empty()) {
        (true, true) => Err(nothing()),
        (true, false) => Ok(Exit::Unreachable),
        (false, true) => Ok(Exit::Ok),
        (false, false) => Ok(Exit::Partial),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_shown_on_one_line() {
        assert_eq!(glimpse(b"two\nlines\0"), "two·lines·");
        assert_eq!(glimpse("é".repeat(41).as_bytes()), format!("{}…", "é".repeat(40)));
    }
}
