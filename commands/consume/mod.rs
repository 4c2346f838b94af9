//! `rmq consume TOPIC…`: prints messages, or hands each to a command.
//!
//! With `-g` it is a member of a group ([`group`]): offsets are committed for what was printed or whose command succeeded.
//! Without, it only reads ([`read`]): nothing is committed and no broker remembers it.

mod ends;
mod group;
mod read;
mod sink;

use std::collections::BTreeMap;
use std::time::Duration;

use rmq::client::{ClientError, PullConsumer};
use rmq::protocol::request::body::MessageQueue;

use crate::Common;
use crate::format::Format as TextFormat;
use crate::output::{self, Exit, Failure, Format};
use crate::positions::{self, Position};
use crate::signals::Interrupts;
use sink::{Sink, Style};

const EXAMPLES: &str = "\
Examples:
  rmq consume orders                               read and go on, leaving no trace
  rmq consume orders --until-end --jsonl           all there is, as JSON lines
  rmq consume orders --from -10m -f '%T %k %s\\n'   the last ten minutes and on
  rmq consume orders -g billing                    as a member of group billing
  rmq consume orders -g billing --exec ./bill.sh   a command for each message;
                                                   a failed one comes again";

const FORMAT_VERBS: &str = "\
Verbs of -f: %t topic, %b broker, %q queue, %o offset, %k keys, %g tag, %s body,
%S body size, %T store time, %B born time, %i message id, %r failed attempts,
%h properties as JSON, %%, \\n \\t \\0 \\\\ \\xHH. Times are epoch milliseconds.

Positions: first, last, a time ago (-10m), a time (2026-11-22T10:00, @EPOCHMS),
or a queue offset (1024).";

/// Print messages, or run a command on each.
#[derive(clap::Args, Debug)]
#[command(before_help = EXAMPLES, after_help = FORMAT_VERBS)]
pub struct Consume {
    /// Topics to consume.
    #[arg(required = true, value_name = "TOPIC")]
    topics: Vec<String>,
    /// Consume as a member of this group: its members share the messages, and its offsets are committed.
    #[arg(long, short = 'g')]
    group: Option<String>,
    /// Every member gets every message; offsets are kept in a file of this user, beginning at the latest message.
    #[arg(long, requires = "group")]
    broadcast: bool,
    /// Only messages with this tag, or one of these: `A || B`.
    #[arg(long, short = 't', value_name = "EXPRESSION")]
    tag: Option<String>,
    /// Where to begin; in a group, only queues without a committed offset [default: first, with --broadcast last].
    #[arg(long, value_name = "POSITION", value_parser = positions::parse, allow_hyphen_values = true)]
    from: Option<Position>,
    /// End behind what was stored at this time.
    #[arg(long, value_name = "TIME", value_parser = positions::parse_time, allow_hyphen_values = true, conflicts_with = "group")]
    to: Option<i64>,
    /// End when everything that is there now was consumed.
    #[arg(long)]
    until_end: bool,
    /// End after this many messages.
    #[arg(long, short = 'n', value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End when nothing came for so long (`5s`).
    #[arg(long, value_name = "TIME", value_parser = positions::parse_duration)]
    idle: Option<Duration>,
    /// Print each message as a JSON object on a line of its own, as `rmq send --jsonl` reads it.
    #[arg(long, conflicts_with_all = ["format", "exec"])]
    jsonl: bool,
    /// Print each message like this, instead of its body and a newline.
    #[arg(long, short = 'f', value_name = "FORMAT", value_parser = TextFormat::parse, conflicts_with = "exec")]
    format: Option<TextFormat>,
    /// Run this with `sh -c`, the body on stdin and RMQ_TOPIC, RMQ_QUEUE, RMQ_OFFSET, RMQ_KEYS, RMQ_TAG and RMQ_MSG_ID set; one
    /// at a time a queue.
    #[arg(long, value_name = "COMMAND")]
    exec: Option<String>,
    /// Name servers, separated by `;` or `,`. No -n here: that is the count.
    #[arg(
        id = "namesrv",
        long = "namesrv",
        value_name = "HOST:PORT",
        help_heading = "Global options"
    )]
    namesrv: Option<String>,
}

impl Consume {
    /// Consumes until a rule ends it, or Ctrl-C.
    pub async fn run(self, common: &Common) -> Result<Exit, Failure> {
        if let (Some(Position::Time(from)), Some(to)) = (self.from, self.to)
            && from >= to
        {
            return Err(Failure::usage(
                "--from is not before --to: there is nothing between them",
            ));
        }
        self.hint_at_the_future();
        let interrupts = Interrupts::catch()?;
        let common = Common {
            namesrv: self.namesrv.clone().or(common.namesrv.clone()),
            ..common.clone()
        };
        match self.group.clone() {
            Some(group) => group::consume(&self, &group, &common, interrupts).await,
            None => read::read(&self, &common, interrupts).await,
        }
    }

    fn sink(&self, common: &Common) -> Sink {
        match (&self.exec, &self.format) {
            (Some(command), _) => Sink::Exec(command.clone()),
            (None, Some(format)) => Sink::print(Style::Text(format.clone())),
            (None, None) if self.jsonl || common.format() == Format::Json => Sink::print(Style::JsonLines),
            (None, None) => Sink::print(Style::Text(TextFormat::body_line())),
        }
    }

    fn expression(&self) -> &str {
        self.tag.as_deref().unwrap_or(rmq::client::EVERYTHING)
    }

    fn hint_at_the_future(&self) {
        let now_ms = jiff::Timestamp::now().as_millisecond();
        if let Some(Position::Time(from)) = self.from
            && from > now_ms
        {
            output::note(format!(
                "--from {} has not come yet: nothing stored now is that late",
                positions::show_time(from)
            ));
        }
    }

    /// The queues of every topic that exists; of the others it is said that they are waited for.
    ///
    /// # Errors
    /// With --until-end a topic that does not exist is one: it has no end.
    async fn queues(&self, reader: &PullConsumer) -> Result<Vec<MessageQueue>, Failure> {
        let mut queues = Vec::new();
        for topic in &self.topics {
            match reader.queues(topic).await {
                Ok(found) => queues.extend(found),
                Err(ClientError::TopicNotFound(_)) if !self.until_end && self.to.is_none() => {
                    output::note(format!("topic {topic:?} does not exist yet: waiting for it"));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(queues)
    }
}

/// Where every queue ends now.
async fn ends_of(
    reader: &PullConsumer,
    queues: &[MessageQueue],
) -> Result<BTreeMap<MessageQueue, u64>, ClientError> {
    let mut ends = BTreeMap::new();
    for queue in queues {
        ends.insert(queue.clone(), reader.max_offset(queue).await?);
    }
    Ok(ends)
}

/// The offset that a position means in a queue; one outside of the queue means its nearer end.
async fn offset_of(
    reader: &PullConsumer,
    queue: &MessageQueue,
    position: Position,
) -> Result<u64, ClientError> {
    match position {
        Position::First => reader.min_offset(queue).await,
        Position::Last => reader.max_offset(queue).await,
        Position::Time(time_ms) => reader.offset_at(queue, time_ms).await,
        Position::Offset(offset) => {
            let (min, max) = (reader.min_offset(queue).await?, reader.max_offset(queue).await?);
            Ok(offset.clamp(min, max.max(min)))
        }
    }
}
