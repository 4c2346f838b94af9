//! `rmq topic`: what topics there are, and changing them.

mod create;
mod delete;
mod ls;
mod route;
mod set;
mod show;

use std::fmt;

use clap::Subcommand;
use rmq::protocol::request::topic::perm;

use crate::Common;
use crate::output::{Exit, Failure};

/// List, show, create, change and delete topics.
#[derive(Subcommand, Debug)]
pub enum Topic {
    Ls(ls::Ls),
    Show(show::Show),
    Route(route::Route),
    Create(create::Create),
    Set(set::Set),
    Delete(delete::Delete),
}

impl Topic {
    pub async fn run(self, common: &Common) -> Result<Exit, Failure> {
        match self {
            Topic::Ls(ls) => ls.run(common).await,
            Topic::Show(show) => show.run(common).await,
            Topic::Route(route) => route.run(common).await,
            Topic::Create(create) => create.run(common).await,
            Topic::Set(set) => set.run(common).await,
            Topic::Delete(delete) => delete.run(common).await,
        }
    }
}

/// A topic's permission as people write it: `r`, `w`, `rw`, `none`. In JSON it is RocketMQ's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Perm(pub i32);

impl Perm {
    fn parse(text: &str) -> Result<Perm, String> {
        match text {
            "r" | "4" => Ok(Perm(perm::READ)),
            "w" | "2" => Ok(Perm(perm::WRITE)),
            "rw" | "wr" | "6" => Ok(Perm(perm::READ | perm::WRITE)),
            "none" | "0" => Ok(Perm(0)),
            _ => Err("expected r, w, rw or none".to_owned()),
        }
    }
}

impl fmt::Display for Perm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.0 & perm::READ != 0, self.0 & perm::WRITE != 0) {
            (true, true) => "rw",
            (true, false) => "r",
            (false, true) => "w",
            (false, false) => "none",
        })
    }
}

/// What kind of messages a topic takes (attribute `message.type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum MessageType {
    Normal,
    Fifo,
    Delay,
    Transaction,
    Mixed,
}

/// The attribute that holds the [`MessageType`].
const MESSAGE_TYPE: &str = "message.type";

impl MessageType {
    fn attribute(self) -> &'static str {
        match self {
            MessageType::Normal => "NORMAL",
            MessageType::Fifo => "FIFO",
            MessageType::Delay => "DELAY",
            MessageType::Transaction => "TRANSACTION",
            MessageType::Mixed => "MIXED",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_read_as_they_are_shown() {
        for text in ["r", "w", "rw", "none"] {
            assert_eq!(Perm::parse(text).expect("a permission").to_string(), text);
        }
        assert!(Perm::parse("x").is_err());
    }
}
