//! `rmq`: one binary for RocketMQ's name server, broker, clients and administration.
//!
//! This file is the table of contents: the command enum and the one `match`. Each command stands in the file of its name; a
//! noun with several verbs is a folder. What they share: [`output`] (exit codes, tables, JSON, failures), [`connect`] and
//! [`brokers`] (the way to one server, and to several), [`server`] (a broker in this process), [`positions`], [`format`],
//! [`record`], [`input`], [`queue_name`], [`ports`], [`scratch`], [`signals`].

mod broker;
mod brokers;
mod completion;
mod connect;
mod consume;
mod dev;
mod format;
mod group;
mod input;
mod msg;
mod namesrv;
mod output;
mod ports;
mod positions;
mod queue_name;
mod record;
mod scratch;
mod send;
mod server;
mod signals;
mod topic;

use std::process::ExitCode;

use clap::builder::styling::{AnsiColor, Style, Styles};
use clap::{Args, CommandFactory, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use output::{Exit, Failure, Format};

const STYLES: Styles = Styles::styled()
    .header(Style::new().bold())
    .usage(Style::new().bold())
    .literal(AnsiColor::Cyan.on_default())
    .placeholder(Style::new().dimmed());

/// Apache RocketMQ in one binary: name server, broker, clients and administration.
#[derive(Parser)]
#[command(name = "rmq", version, styles = STYLES, max_term_width = 110, before_help = EXAMPLES, after_help = EXIT_CODES)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  rmq dev                                  name server and broker, until Ctrl-C
  rmq send orders 'hello' --tag paid       one message
  rmq send orders --lines @orders.txt      one message a line
  rmq consume orders -g billing            as a member of a group
  rmq consume orders --until-end --jsonl   all there is, leaving no trace
  rmq group lag billing                    how far a group is behind";

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failed, 2 wrong usage, 3 partly done, 4 not found,
5 no server reached, 6 denied, 7 not confirmed, 130 interrupted.";

/// Flags of every command.
#[derive(Args, Clone, Debug)]
pub struct Common {
    /// Name servers, separated by `;` or `,` [default: $NAMESRV_ADDR, else 127.0.0.1:9876].
    #[arg(
        id = "namesrv",
        short = 'n',
        long = "namesrv",
        value_name = "HOST:PORT",
        global = true,
        help_heading = "Global options"
    )]
    pub namesrv: Option<String>,
    /// How results are printed.
    #[arg(
        id = "output",
        short = 'o',
        long = "output",
        value_name = "FORMAT",
        global = true,
        help_heading = "Global options"
    )]
    pub output: Option<Format>,
    /// Print results as JSON: the same as `-o json`.
    #[arg(
        id = "json",
        long = "json",
        global = true,
        conflicts_with = "output",
        help_heading = "Global options"
    )]
    pub json: bool,
}

impl Common {
    /// The format asked for.
    pub fn format(&self) -> Format {
        if self.json {
            Format::Json
        } else {
            self.output.unwrap_or_default()
        }
    }
}

#[derive(Subcommand)]
enum Command {
    Dev(dev::Dev),
    Send(send::Send),
    Consume(consume::Consume),
    #[command(subcommand)]
    Topic(topic::Topic),
    #[command(subcommand)]
    Group(group::Group),
    #[command(subcommand)]
    Msg(msg::Msg),
    #[command(subcommand)]
    Broker(broker::Broker),
    #[command(subcommand)]
    Namesrv(namesrv::NamesrvCommand),
    Completion(completion::Completion),
}

impl Command {
    async fn run(self, common: &Common) -> Result<Exit, Failure> {
        match self {
            Command::Dev(dev) => dev.run(common).await,
            Command::Send(send) => send.run(common).await,
            Command::Consume(consume) => consume.run(common).await,
            Command::Topic(topic) => topic.run(common).await,
            Command::Group(group) => group.run(common).await,
            Command::Msg(msg) => msg.run(common).await,
            Command::Broker(broker) => broker.run(common).await,
            Command::Namesrv(namesrv) => namesrv.run(common).await,
            Command::Completion(completion) => completion.run(Cli::command()),
        }
    }

    /// The least severe log line that is worth a look: servers say what they do, commands only what goes wrong.
    fn log_level(&self) -> &'static str {
        match self {
            Command::Broker(broker::Broker::Start(_)) | Command::Namesrv(_) => "info",
            Command::Dev(_) => "warn",
            _ => "error",
        }
    }
}

/// Log lines on stderr; the variable RMQ_LOG sets the level, also for parts (`warn,rmq::store=debug`).
fn start_logging(level: &str) {
    let filter = EnvFilter::builder()
        .with_env_var("RMQ_LOG")
        .try_from_env()
        .unwrap_or_else(|_| EnvFilter::new(level));
    let coloured = anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(coloured)
        .with_writer(std::io::stderr)
        .init();
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    start_logging(cli.command.log_level());
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            return Failure::new(Exit::Failed, format!("cannot start: {error}"))
                .report()
                .into();
        }
    };
    let ended = runtime.block_on(cli.command.run(&cli.common));
    // A thread that still waits for stdin must not keep the process.
    runtime.shutdown_background();
    ended.unwrap_or_else(|failure| failure.report()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
