//! `rmq broker`: the broker process, and what a running broker says of itself.

mod advertise;
mod config;
mod show;
mod start;
mod stop;

use clap::Subcommand;

use crate::Common;
use crate::output::{Exit, Failure};

pub use advertise::Advertised;
pub use start::{Configured, Given, bad_setting, folders, parse_address, warn};

/// Run a broker, or ask one.
#[derive(Subcommand, Debug)]
pub enum Broker {
    Start(start::Start),
    Stop(stop::Stop),
    Show(show::Show),
    Config(config::Config),
}

impl Broker {
    pub async fn run(self, common: &Common) -> Result<Exit, Failure> {
        match self {
            Broker::Start(start) => start.run(common).await,
            Broker::Stop(stop) => stop.run(common).await,
            Broker::Show(show) => show.run(common).await,
            Broker::Config(config) => config.run(common).await,
        }
    }
}
