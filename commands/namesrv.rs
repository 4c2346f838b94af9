//! `rmq namesrv`: a name server alone.

use std::path::PathBuf;

use clap::Subcommand;
use rmq::namesrv::{self, Namesrv};
use rmq::protocol::settings;
use serde::Serialize;

use crate::Common;
use crate::broker::{bad_setting, folders, parse_address, warn};
use crate::output::{self, Exit, Failure, Format};
use crate::ports;
use crate::signals::Interrupts;

/// Run a name server.
#[derive(Subcommand, Debug)]
pub enum NamesrvCommand {
    Start(Start),
}

impl NamesrvCommand {
    pub async fn run(self, common: &Common) -> Result<Exit, Failure> {
        match self {
            NamesrvCommand::Start(start) => start.run(common).await,
        }
    }
}

const EXAMPLES: &str = "\
Examples:
  rmq namesrv start                            on 127.0.0.1:9876
  rmq namesrv start -c namesrv.conf            as Apache's with this file
  rmq namesrv start --listen 0.0.0.0:9876";

/// Run a name server until Ctrl-C or SIGTERM. Several know nothing of each other: brokers register with all.
#[derive(clap::Args, Debug)]
#[command(before_help = EXAMPLES)]
pub struct Start {
    /// Configuration: `.toml`, else Java properties; then Apache's defaults hold too.
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    file: Option<PathBuf>,
    /// A configuration key; may be given several times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Address to listen on; port 0 is a free one [default: 127.0.0.1:9876].
    #[arg(long, visible_alias = "namesrv-listen", value_name = "HOST:PORT", value_parser = parse_address)]
    listen: Option<String>,
}

/// The object that `--json` prints when the name server is ready.
#[derive(Serialize)]
struct Ready {
    pid: u32,
    namesrv: String,
}

impl Start {
    async fn run(self, common: &Common) -> Result<Exit, Failure> {
        let mut interrupts = Interrupts::catch()?;
        let folders = folders()?;
        let listen = self.listen.as_deref().and_then(ports::host_and_port);
        let mut flags = Vec::new();
        if let Some((host, port)) = listen {
            flags.push(("bindAddress", "--listen", host.to_owned()));
            flags.push(("listenPort", "--listen", port.to_string()));
        }
        let given = settings::Given {
            environment: None,
            file: self.file.as_deref(),
            set: &self.set,
            flags: &flags,
        };
        let settings = namesrv::config::load(&given, &folders).map_err(bad_setting)?;
        warn(&settings);
        let address = format!("{}:{}", settings.get("bindAddress"), settings.get("listenPort"));
        let socket = ports::listen("--listen", &address).await?;
        let namesrv = Namesrv::start(socket, settings, &folders)
            .await
            .map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
        let ready = Ready {
            pid: std::process::id(),
            namesrv: namesrv.address.to_string(),
        };
        match common.format() {
            Format::Json => output::json(&ready)?,
            Format::Table => output::line(format_args!("name server ready on {}", ready.namesrv))?,
        }
        interrupts.next().await;
        interrupts.second_ends_at_once();
        namesrv.stop().await;
        Ok(Exit::Ok)
    }
}
