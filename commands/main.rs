//! `rmq`: one binary for RocketMQ's name server, broker, clients and administration.
//!
//! This file is the table of contents: the command enum and the one `match`. Each command stands in the file of its name; a
//! noun with several verbs is a folder. What they share: [`output`] (exit codes, tables, JSON, failures), [`connect`] (the way
//! to the servers), [`positions`], [`format`], [`record`], [`input`], [`ports`], [`signals`].

mod completion;
mod format;
mod input;
mod output;
mod ports;
mod positions;
mod record;
mod signals;

use std::process::ExitCode;

use clap::builder::styling::{AnsiColor, Style, Styles};
use clap::{Args, CommandFactory, Parser, Subcommand};

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
  rmq dev                                  name server and broker on this machine, until Ctrl-C
  rmq send orders 'hello' --tag paid       one message
  rmq send orders --lines @orders.txt      one message a line
  rmq consume orders -g billing            as a member of a group, until Ctrl-C
  rmq consume orders --until-end --jsonl   everything there is, without a trace on the broker
  rmq group lag billing                    how far a group is behind";

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failed, 2 wrong usage, 3 partly done, 4 not found, 5 no server reached, 6 denied,
7 not confirmed, 130 interrupted with work unfinished.";

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
    /// Print the completion script of a shell.
    Completion(completion::Completion),
}

impl Command {
    async fn run(self, _common: &Common) -> Result<Exit, Failure> {
        match self {
            Command::Completion(completion) => completion.run(Cli::command()),
        }
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
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
