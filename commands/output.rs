//! What every command does with its result: exit codes, the one way to fail, tables and JSON.
//!
//! stdout carries data, stderr carries talk. A command returns `Result<Exit, Failure>` and `main` alone turns that into a
//! process exit. A reader of stdout that goes away (`| head`) is success.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use comfy_table::{Attribute, Cell, CellAlignment, ColumnConstraint, ContentArrangement, Table, presets};
use indicatif::HumanCount;
use serde::Serialize;

/// How the process ends. Part of the interface: scripts depend on the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Ok = 0,
    /// Could not do it; the message says why.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// Some of it was done, or some of the answer is missing.
    Partial = 3,
    /// The topic, group or message named does not exist.
    NotFound = 4,
    /// No server answered.
    Unreachable = 5,
    /// A server refused for lack of permission.
    Denied = 6,
    /// A destructive command was not confirmed.
    Refused = 7,
    /// Ctrl-C or SIGTERM with work unfinished.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// Why a command ended without success.
#[derive(Debug)]
pub enum Failure {
    /// Shown as `rmq: what (next)`.
    Said {
        exit: Exit,
        what: String,
        next: Option<String>,
    },
    /// Whoever read our stdout has gone: nothing is wrong and there is nobody to tell.
    ReaderGone,
}

impl Failure {
    /// A failure with its reason, which names the thing.
    pub fn new(exit: Exit, what: impl Into<String>) -> Failure {
        Failure::Said {
            exit,
            what: what.into(),
            next: None,
        }
    }

    /// [`Exit::Usage`] with the reason.
    pub fn usage(what: impl Into<String>) -> Failure {
        Failure::new(Exit::Usage, what)
    }

    /// Adds the step that helps: usually a command to copy.
    pub fn next_step(self, step: impl Into<String>) -> Failure {
        match self {
            Failure::Said { exit, what, .. } => Failure::Said {
                exit,
                what,
                next: Some(step.into()),
            },
            gone => gone,
        }
    }

    /// Says it on stderr, in one line, and gives the exit code.
    pub fn report(&self) -> Exit {
        match self {
            Failure::ReaderGone => Exit::Ok,
            Failure::Said { exit, .. } => {
                talk(format_args!("{RED}rmq:{RED:#} {self}"));
                *exit
            }
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Said { what, next: None, .. } => f.write_str(what),
            Failure::Said {
                what,
                next: Some(next),
                ..
            } => write!(f, "{what} ({next})"),
            Failure::ReaderGone => f.write_str("the reader of stdout has gone"),
        }
    }
}

/// Only for what is written to stdout: reading and files name their path and fail with [`Failure::new`].
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::ReaderGone,
            _ => Failure::new(Exit::Failed, format!("stdout: {error}")),
        }
    }
}

const RED: Style = AnsiColor::Red.on_default().bold();
/// For what the eye should find first.
pub const BOLD: Style = Style::new().bold();
/// For what may be skipped.
pub const DIM: Style = Style::new().dimmed();
/// For what is worth a look although the command goes on.
pub const YELLOW: Style = AnsiColor::Yellow.on_default().bold();

/// One line for the person at the terminal: stderr, coloured where that makes sense (NO_COLOR, TERM=dumb and pipes are
/// honoured). A closed stderr is no reason to stop.
pub fn talk(line: fmt::Arguments<'_>) {
    let _nobody_listens = writeln!(anstream::stderr(), "{line}");
}

/// A remark: something differs from what one might expect, and the command goes on.
pub fn note(line: impl fmt::Display) {
    talk(format_args!("{YELLOW}rmq:{YELLOW:#} {line}"));
}

/// How results are written to stdout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Columns for people.
    #[default]
    Table,
    /// JSON: lists are arrays, single things are objects, streams are one object a line.
    Json,
}

/// A row of a list, which is also one element of its JSON array.
pub trait Row: Serialize {
    /// Column titles; a title that starts with `>` is a column of numbers, aligned right.
    const COLUMNS: &'static [&'static str];
    /// As many cells as there are columns. Unknown is `-`, see [`or_dash`].
    fn cells(&self) -> Vec<String>;
}

/// The text of a value, or `-` where it is unknown: never 0, −1 or 1970.
pub fn or_dash<T: fmt::Display>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// The text with a dot for each control character but those kept: a terminal obeys them, and messages are written by others.
pub fn printable(text: &str, kept: &[char]) -> String {
    text.chars()
        .map(|letter| {
            if letter.is_control() && !kept.contains(&letter) {
                '·'
            } else {
                letter
            }
        })
        .collect()
}

/// A number of things: `1 queue`, `2 queues`.
pub fn count(number: u64, thing: &str) -> String {
    format!(
        "{} {thing}{}",
        HumanCount(number),
        if number == 1 { "" } else { "s" }
    )
}

impl Format {
    /// A list: a table, or a JSON array.
    pub fn list<R: Row>(self, rows: &[R]) -> Result<(), Failure> {
        match self {
            Format::Json => json(rows),
            Format::Table => {
                let mut out = anstream::stdout();
                Ok(writeln!(
                    out,
                    "{}",
                    table(R::COLUMNS, rows.iter().map(Row::cells))
                )?)
            }
        }
    }

    /// One thing: its facts as lines for people, or a JSON object.
    pub fn show<T: Serialize>(self, thing: &T, facts: &[(&str, String)]) -> Result<(), Failure> {
        match self {
            Format::Json => json(thing),
            Format::Table => {
                let width = facts
                    .iter()
                    .map(|(name, _)| name.chars().count())
                    .max()
                    .unwrap_or(0);
                let mut out = anstream::stdout();
                for (name, value) in facts {
                    let name = format!("{name}:");
                    writeln!(out, "{BOLD}{name:<padded$}{BOLD:#} {value}", padded = width + 1)?;
                }
                Ok(())
            }
        }
    }
}

/// One JSON value and a newline on stdout.
pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, value).map_err(io::Error::from)?;
    Ok(writeln!(out)?)
}

/// One line on stdout.
pub fn line(line: fmt::Arguments<'_>) -> Result<(), Failure> {
    Ok(writeln!(io::stdout(), "{line}")?)
}

/// One line on stdout whose styles go where colours are not wanted. For text of ours, not for data: it may hold escapes.
pub fn styled(line: fmt::Arguments<'_>) -> Result<(), Failure> {
    Ok(writeln!(anstream::stdout(), "{line}")?)
}

/// Columns without borders, as wide as the terminal allows; in a pipe every row is one line.
pub fn table(columns: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_header(columns.iter().map(|title| {
            let title = Cell::new(title.trim_start_matches('>'));
            if colour_wanted() {
                title.add_attribute(Attribute::Bold)
            } else {
                title
            }
        }));
    if io::stdout().is_terminal() {
        table.set_content_arrangement(arrangement(table.width()));
    }
    if colour_wanted() {
        table.enforce_styling();
    }
    for row in rows {
        assert_eq!(row.len(), columns.len(), "a row has a cell for each column");
        table.add_row(row);
    }
    for (column, title) in table.column_iter_mut().zip(columns) {
        column.set_padding((0, 2));
        if title.starts_with('>') {
            column.set_cell_alignment(CellAlignment::Right);
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    table
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect::<Vec<_>>()
        .join("\n")
}

/// Rows are broken to fit a terminal that says how wide it is; one that says 0 does not know.
fn arrangement(width: Option<u16>) -> ContentArrangement {
    match width {
        None | Some(0) => ContentArrangement::Disabled,
        Some(_) => ContentArrangement::Dynamic,
    }
}

fn colour_wanted() -> bool {
    anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never
}

/// What has been sent to stdout so far and may still be undone: nothing. Asks before something is destroyed.
///
/// The preview has been printed by the caller. On a terminal the person is asked; without one, `--yes` is needed.
pub fn confirmed(consent: Consent, question: &str) -> Result<(), Failure> {
    match consent {
        Consent::Given => Ok(()),
        Consent::Asked if io::stdin().is_terminal() && io::stderr().is_terminal() => {
            let mut err = anstream::stderr();
            let _nobody_listens = write!(err, "{BOLD}{question}{BOLD:#} [y/N] ").and_then(|()| err.flush());
            let mut answer = String::new();
            let read = io::stdin().read_line(&mut answer);
            let yes = read.is_ok() && matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes");
            if yes {
                Ok(())
            } else {
                Err(Failure::new(Exit::Refused, "nothing was changed"))
            }
        }
        Consent::Asked => {
            Err(Failure::new(Exit::Refused, "nothing was changed").next_step("add --yes to do what is shown"))
        }
    }
}

/// Whether the person agreed beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consent {
    /// `--yes`.
    Given,
    Asked,
}

/// Flags of every command that destroys something.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Guard {
    /// Do it without asking.
    #[arg(long, short = 'y')]
    pub yes: bool,
    /// Show what would be done, and do nothing.
    #[arg(long, conflicts_with = "yes")]
    pub dry_run: bool,
}

/// What a guarded command does after its preview.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    Act,
    /// `--dry-run`: the preview was all.
    Stop,
}

impl Guard {
    /// To be called after the preview was printed.
    pub fn pass(self, question: &str) -> Result<Next, Failure> {
        if self.dry_run {
            return Ok(Next::Stop);
        }
        confirmed(if self.yes { Consent::Given } else { Consent::Asked }, question)?;
        Ok(Next::Act)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_thing_and_the_next_step() {
        let failure = Failure::new(Exit::NotFound, "topic \"orders\" not found on broker-a")
            .next_step("create it: rmq topic create orders");
        assert_eq!(
            failure.to_string(),
            "topic \"orders\" not found on broker-a (create it: rmq topic create orders)"
        );
    }

    #[test]
    fn a_closed_pipe_is_success() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(failure.report(), Exit::Ok);
    }

    #[test]
    fn numbers_are_aligned_right_and_lines_have_no_trailing_space() {
        let rows = [
            vec!["orders".to_owned(), "8".to_owned()],
            vec!["a".to_owned(), "1024".to_owned()],
        ];
        let text = table(&["TOPIC", ">QUEUES"], rows.into_iter());
        assert_eq!(text, "TOPIC   QUEUES\norders       8\na         1024");
    }

    #[test]
    fn a_terminal_that_does_not_know_its_width_has_no_limit() {
        assert!(matches!(arrangement(Some(0)), ContentArrangement::Disabled));
        assert!(matches!(arrangement(Some(80)), ContentArrangement::Dynamic));
    }

    #[test]
    fn control_characters_are_shown_as_dots() {
        assert_eq!(printable("a\x1b[2J\u{9b}\n\té", &[]), "a·[2J···é");
        assert_eq!(printable("a\x1b\n\té", &['\n', '\t']), "a·\n\té");
    }

    #[test]
    fn unknown_is_a_dash() {
        assert_eq!(
            (or_dash(None::<u64>), or_dash(Some(0))),
            ("-".to_owned(), "0".to_owned())
        );
    }
}
