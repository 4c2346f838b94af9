//! `rmq send TOPIC [BODY|@FILE|-]`: sends one message, or one for each line of the input.

use std::sync::Arc;
use std::time::Duration;

use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use rmq::client::{Admin, ClientError, OutgoingMessage, Producer, ProducerOptions, SendResult, SendStatus};
use rmq::protocol::message::property;
use rmq::protocol::request::body::MessageQueue;
use serde::Serialize;
use tokio::sync::{OnceCell, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, Interval};

use crate::Common;
use crate::connect::exit_of;
use crate::input::{Input, Piece, Split};
use crate::output::{self, Exit, Failure, Format, count};
use crate::queue_name::{self, QueueName};
use crate::record::{self, Draft};
use crate::signals::Interrupts;

const EXAMPLES: &str = "\
Examples:
  rmq send orders 'hello'                            one message
  rmq send orders --tag paid -k 4711 @invoice.pdf    a file, with tag and key
  rmq send orders --lines @orders.txt                each line is a message
  rmq consume orders --jsonl | rmq send copy --jsonl
  rmq send orders --size 1k --count 10000 --async    made-up messages";

/// Most sends under way with `--async`.
const ASYNC_SENDS_MAX: usize = 256;
/// Pieces of the input read ahead of the sends.
const PIECES_MAX: usize = 256;
/// Pause after a send that found no broker, so that one that restarts finds the rest of the input waiting.
const UNREACHABLE_PAUSE: Duration = Duration::from_millis(250);

/// Send messages.
#[derive(clap::Args, Debug)]
#[command(before_help = EXAMPLES)]
pub struct Send {
    /// Topic to send to. One that does not exist is created, if the broker allows it.
    topic: String,
    /// The message: a text, `@FILE`, or `-` for stdin. `@@` is a literal @. Without BODY what is piped in is sent.
    body: Option<String>,
    /// Each line is a message. Bytes are kept; blank lines are skipped and counted.
    #[arg(long, conflicts_with = "jsonl")]
    lines: bool,
    /// Each line describes a message as `rmq consume --jsonl` prints it; its place, ids and times are ignored.
    #[arg(long)]
    jsonl: bool,
    /// Tag of every message.
    #[arg(long, short = 't')]
    tag: Option<String>,
    /// Key to find the message by; may be given several times.
    #[arg(long = "key", short = 'k', value_name = "KEY", value_parser = record::parse_key)]
    keys: Vec<String>,
    /// Property of every message; may be given several times.
    #[arg(long = "header", short = 'H', value_name = "NAME=VALUE", value_parser = parse_header)]
    headers: Vec<(String, String)>,
    /// Queue to send to, as ID or BROKER:ID, instead of one after the other.
    #[arg(long, value_name = "[BROKER:]ID", value_parser = queue_name::parse)]
    queue: Option<QueueName>,
    /// Do not wait for acknowledgements: nobody will know what arrived.
    #[arg(long, conflicts_with = "async_sends")]
    oneway: bool,
    /// Have many sends under way at once. Faster, and the order of messages is not kept.
    #[arg(long = "async")]
    async_sends: bool,
    /// Send BODY this many times; with --lines or --jsonl, stop after this many messages.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Messages a second, at most.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// Send made-up bodies of this many bytes (`100`, `4k`, `1m`) instead of BODY.
    #[arg(long, value_name = "BYTES", value_parser = parse_size, conflicts_with_all = ["body", "lines", "jsonl"])]
    size: Option<usize>,
    /// Producer group to send as.
    #[arg(long, value_name = "GROUP", default_value = "rmq-send")]
    group: String,
}

fn parse_header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    if let Some(instead) = record::reserved(name) {
        return Err(format!("{name} is a property of RocketMQ's own: {instead}"));
    }
    Ok((name.to_owned(), value.to_owned()))
}

fn parse_size(text: &str) -> Result<usize, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1024,
        "m" | "mb" | "mib" => 1024 * 1024,
        _ => return Err("expected a number of bytes, as in 100, 4k or 1m".to_owned()),
    };
    let size = digits
        .parse::<usize>()
        .ok()
        .and_then(|size| size.checked_mul(unit))
        .filter(|size| *size > 0);
    size.ok_or_else(|| "expected a number of bytes, as in 100, 4k or 1m".to_owned())
}

impl Send {
    /// Sends all of the input, or what of it was read when Ctrl-C came.
    pub async fn run(self, common: &Common) -> Result<Exit, Failure> {
        let mut interrupts = Interrupts::catch()?;
        let (total, mut pieces) = self.read()?;
        let target = Arc::new(self.target(common).await?);
        let mut report = Report::new(&self, common.format(), total);
        let mut pace = Pace {
            ticks: self.rate.map(ticks),
            resume_at: Instant::now(),
        };
        let mut under_way: JoinSet<Sent> = JoinSet::new();
        let mut input_ended = false;
        while !(input_ended && under_way.is_empty()) && report.stopped.is_none() {
            let room = under_way.len() < if self.async_sends { ASYNC_SENDS_MAX } else { 1 };
            tokio::select! {
                () = interrupts.next() => { report.stopped = Some(Stopped::Interrupted); }
                Some(sent) = under_way.join_next() => {
                    if report.add(sent.expect("a send does not panic"))? == Found::Nobody {
                        pace.resume_at = Instant::now() + UNREACHABLE_PAUSE;
                    }
                }
                piece = pace.next(&mut pieces), if room && !input_ended => match piece {
                    Some(Read::Piece(piece)) => { under_way.spawn(target.clone().send(piece)); }
                    Some(Read::End { blank, failure }) => { report.blank = blank; report.unread = failure; }
                    None => input_ended = true,
                },
            }
        }
        interrupts.second_ends_at_once();
        while let Some(sent) = under_way.join_next().await {
            report.add(sent.expect("a send does not panic"))?;
        }
        target.close().await;
        report.end()
    }

    /// Reads the input on a thread of its own, because reading stdin cannot be called off.
    fn read(&self) -> Result<(Total, mpsc::Receiver<Read>), Failure> {
        let split = match (self.lines, self.jsonl) {
            (true, _) => Split::Lines,
            (_, true) => Split::JsonLines,
            _ => Split::Whole,
        };
        let mut input = match self.size {
            Some(size) => Input::made_up(size),
            None => Input::open(self.body.as_deref(), split)?,
        };
        let (total, repeated, pieces_max) = match (split, self.count) {
            (Split::Whole, count) => (Total::Messages(count.unwrap_or(1)), count.unwrap_or(1), u64::MAX),
            (_, Some(count)) => (Total::Messages(count), 1, count),
            (_, None) => (
                input.bytes_total().map_or(Total::Unknown, Total::Bytes),
                1,
                u64::MAX,
            ),
        };
        let (sender, pieces) = mpsc::channel(PIECES_MAX);
        std::thread::spawn(move || {
            let mut failure = None;
            for _ in 0..pieces_max {
                match input.next() {
                    Ok(Some(piece)) => {
                        let copies = (0..repeated).map(|copy| Piece {
                            number: piece.number + copy,
                            ..piece.clone()
                        });
                        if copies
                            .map(Read::Piece)
                            .any(|piece| sender.blocking_send(piece).is_err())
                        {
                            return;
                        }
                    }
                    Ok(None) => break,
                    Err(error) => {
                        failure = Some(error);
                        break;
                    }
                }
            }
            let _nobody_waits = sender.blocking_send(Read::End {
                blank: input.blank(),
                failure,
            });
        });
        Ok((total, pieces))
    }

    async fn target(&self, common: &Common) -> Result<Target, Failure> {
        let producer = Producer::start(ProducerOptions::new(common.client(), &*self.group));
        let queue = match &self.queue {
            Some(name) => Some(find_queue(
                name,
                producer.queues(&self.topic).await?,
                &self.topic,
            )?),
            None => None,
        };
        Ok(Target {
            producer,
            admin: Admin::new(common.client()),
            was_missing: OnceCell::new(),
            topic: self.topic.clone(),
            tag: self.tag.clone(),
            keys: self.keys.clone(),
            headers: self.headers.clone(),
            queue,
            oneway: self.oneway,
        })
    }
}

/// The one queue of a topic that is meant.
fn find_queue(name: &QueueName, queues: Vec<MessageQueue>, topic: &str) -> Result<MessageQueue, Failure> {
    if queues.is_empty() {
        return Err(ClientError::NoWritableQueue(topic.to_owned()).into());
    }
    let mut found: Vec<MessageQueue> = queues.into_iter().filter(|queue| name.is(queue)).collect();
    match found.len() {
        0 => Err(Failure::new(
            Exit::NotFound,
            format!("topic {topic:?} has no queue {name} that may be written"),
        )
        .next_step(format!("rmq topic route {topic}"))),
        1 => Ok(found.remove(0)),
        _ => Err(
            Failure::usage(format!("several brokers have a queue {name} of {topic:?}"))
                .next_step(format!("name one: --queue {}:{}", found[0].broker_name, name.id)),
        ),
    }
}

/// What the reading thread has to say.
enum Read {
    Piece(Piece),
    /// The last word: how many lines were blank, and why reading stopped if it was not the end.
    End {
        blank: u64,
        failure: Option<Failure>,
    },
}

/// How much there is to send, as far as one can know.
#[derive(Clone, Copy, Debug)]
enum Total {
    Messages(u64),
    Bytes(u64),
    Unknown,
}

/// When the next message may leave.
struct Pace {
    /// Ticks as often as `--rate` allows.
    ticks: Option<Interval>,
    /// Not before this: the last send found no broker.
    resume_at: Instant,
}

fn ticks(rate: u32) -> Interval {
    tokio::time::interval(Duration::from_secs(1) / rate)
}

impl Pace {
    async fn next(&mut self, pieces: &mut mpsc::Receiver<Read>) -> Option<Read> {
        tokio::time::sleep_until(self.resume_at).await;
        if let Some(ticks) = &mut self.ticks {
            ticks.tick().await;
        }
        pieces.recv().await
    }
}

/// Where messages go and what every one of them gets.
struct Target {
    producer: Producer,
    admin: Admin,
    /// Whether the topic was missing before the first message. Asked once, by whoever sends first.
    was_missing: OnceCell<bool>,
    topic: String,
    tag: Option<String>,
    keys: Vec<String>,
    headers: Vec<(String, String)>,
    queue: Option<MessageQueue>,
    oneway: bool,
}

/// How one piece of the input ended.
struct Sent {
    number: u64,
    /// Bytes of the input up to its end.
    read_to: u64,
    outcome: Outcome,
}

enum Outcome {
    Acknowledged {
        result: SendResult,
        was_missing: bool,
    },
    /// Handed to the connection; nobody will say more.
    Oneway,
    Failed(ClientError),
    /// The line makes no message.
    Malformed(String),
}

impl Target {
    async fn send(self: Arc<Target>, piece: Piece) -> Sent {
        let outcome = match piece.draft {
            Err(bad) => Outcome::Malformed(bad),
            Ok(draft) => self
                .send_message(&self.message(draft))
                .await
                .unwrap_or_else(Outcome::Failed),
        };
        Sent {
            number: piece.number,
            read_to: piece.read_to,
            outcome,
        }
    }

    async fn send_message(&self, message: &OutgoingMessage) -> Result<Outcome, ClientError> {
        let was_missing = *self.was_missing.get_or_try_init(|| self.is_missing()).await?;
        if self.oneway {
            self.send_oneway(message).await?;
            return Ok(Outcome::Oneway);
        }
        let result = match &self.queue {
            Some(queue) => self.producer.send_to(message, queue).await?,
            None => self.producer.send(message).await?,
        };
        Ok(Outcome::Acknowledged { result, was_missing })
    }

    async fn is_missing(&self) -> Result<bool, ClientError> {
        match self.admin.route(&self.topic).await {
            Ok(_) => Ok(false),
            Err(ClientError::TopicNotFound(_)) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Waits for room in the connection's queue instead of losing what does not fit.
    async fn send_oneway(&self, message: &OutgoingMessage) -> Result<(), ClientError> {
        const ROOM_PAUSE: Duration = Duration::from_millis(1);
        loop {
            match self.producer.send_oneway(message).await {
                Err(ClientError::NotSent { .. }) => tokio::time::sleep(ROOM_PAUSE).await,
                sent => return sent,
            }
        }
    }

    /// Flags win over what a JSON line says; keys of both are kept.
    fn message(&self, draft: Draft) -> OutgoingMessage {
        let mut message = OutgoingMessage::new(self.topic.as_str(), draft.body).flag(draft.flag);
        for (name, value) in draft
            .properties
            .iter()
            .chain(self.headers.iter().map(|(name, value)| (name, value)))
        {
            message = message.property(name, value.as_str());
        }
        if let Some(tag) = self.tag.clone().or(draft.tag) {
            message = message.property(property::TAGS, tag);
        }
        draft
            .keys
            .iter()
            .chain(&self.keys)
            .fold(message, |message, key| message.key(key))
    }

    async fn close(self: Arc<Target>) {
        if let Some(target) = Arc::into_inner(self) {
            target.producer.close().await;
        }
    }
}

/// Why sending ended before the input did.
enum Stopped {
    Interrupted,
    /// The first message found nobody, or nothing: the others would not either.
    Hopeless(Failure),
}

/// Whether a message found somebody to send it to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Broker,
    Nobody,
}

/// What has become of the messages so far; prints each as it is known.
struct Report {
    format: Format,
    topic: String,
    /// More than one message is expected: a bar while sending and a summary at the end.
    many: bool,
    bar: ProgressBar,
    begin: Instant,
    total: Total,
    creation_told: bool,
    acknowledged: u64,
    oneway: u64,
    failed: u64,
    /// Acknowledged, but not as safely as the broker's settings promise.
    unsafe_yet: u64,
    blank: u64,
    first_failure: Option<Exit>,
    /// Why the input could not be read to its end.
    unread: Option<Failure>,
    stopped: Option<Stopped>,
}

/// One message on stdout, with `--json`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    /// Line of the input, or number of the copy, from 1.
    n: u64,
    topic: &'a str,
    #[serde(flatten)]
    place: Option<Place<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Place<'a> {
    broker: &'a str,
    queue: i32,
    offset: u64,
    msg_id: &'a str,
    /// Only where the acknowledgement is weaker than usual.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
}

impl Report {
    fn new(send: &Send, format: Format, total: Total) -> Report {
        let many = !matches!(total, Total::Messages(1));
        Report {
            format,
            topic: send.topic.clone(),
            many,
            bar: if many { bar(total) } else { ProgressBar::hidden() },
            begin: Instant::now(),
            total,
            creation_told: false,
            acknowledged: 0,
            oneway: 0,
            failed: 0,
            unsafe_yet: 0,
            blank: 0,
            first_failure: None,
            unread: None,
            stopped: None,
        }
    }

    fn add(&mut self, sent: Sent) -> Result<Found, Failure> {
        let mut found = Found::Broker;
        match &sent.outcome {
            Outcome::Acknowledged { result, was_missing } => {
                if *was_missing && !std::mem::replace(&mut self.creation_told, true) {
                    self.bar
                        .suspend(|| output::note(format!("topic {:?} did not exist: created", self.topic)));
                }
                self.acknowledged(sent.number, result)?;
            }
            Outcome::Oneway => self.oneway += 1,
            Outcome::Malformed(bad) => self.failed(sent.number, bad, Exit::Failed)?,
            Outcome::Failed(error) => {
                let exit = exit_of(error);
                if self.acknowledged == 0 && matches!(exit, Exit::Unreachable | Exit::NotFound | Exit::Denied)
                {
                    self.stopped
                        .get_or_insert(Stopped::Hopeless(error.clone().into()));
                    return Ok(Found::Nobody);
                }
                self.failed(sent.number, &error.to_string(), exit)?;
                if exit == Exit::Unreachable {
                    found = Found::Nobody;
                }
            }
        }
        let done = self.acknowledged + self.oneway + self.failed;
        self.bar.set_position(if matches!(self.total, Total::Bytes(_)) {
            sent.read_to
        } else {
            done
        });
        self.bar
            .set_message(format!("{} sent", HumanCount(self.acknowledged + self.oneway)));
        Ok(found)
    }

    fn acknowledged(&mut self, number: u64, result: &SendResult) -> Result<(), Failure> {
        self.acknowledged += 1;
        let status = match result.status {
            SendStatus::Ok => None,
            SendStatus::FlushDiskTimeout => Some("FLUSH_DISK_TIMEOUT"),
            SendStatus::FlushSlaveTimeout => Some("FLUSH_SLAVE_TIMEOUT"),
            SendStatus::SlaveNotAvailable => Some("SLAVE_NOT_AVAILABLE"),
        };
        self.unsafe_yet += u64::from(status.is_some());
        let (broker, queue, offset) = (
            result.queue.broker_name.as_str(),
            result.queue.queue_id,
            result.queue_offset,
        );
        let msg_id = result.message_ids.first().map_or("", String::as_str);
        if self.format == Format::Json {
            let place = Some(Place {
                broker,
                queue,
                offset,
                msg_id,
                status,
            });
            return output::json(&Line {
                n: number,
                topic: &self.topic,
                place,
                error: None,
            });
        }
        if !self.many {
            return output::line(format_args!(
                "{} {msg_id}",
                record::place(&self.topic, broker, queue, offset)
            ));
        }
        Ok(())
    }

    fn failed(&mut self, number: u64, why: &str, exit: Exit) -> Result<(), Failure> {
        /// Failures told one by one; after that they are only counted.
        const TOLD_MAX: u64 = 10;
        self.failed += 1;
        self.first_failure.get_or_insert(exit);
        if self.format == Format::Json {
            let error = Some(why.to_owned());
            output::json(&Line {
                n: number,
                topic: &self.topic,
                place: None,
                error,
            })?;
        }
        let what = if self.many {
            format!("message {number}: {why}")
        } else {
            why.to_owned()
        };
        match self.failed {
            1..=TOLD_MAX => self.bar.suspend(|| output::note(what)),
            failed if failed == TOLD_MAX + 1 => self
                .bar
                .suspend(|| output::note("further failures are only counted")),
            _ => {}
        }
        Ok(())
    }

    fn end(self) -> Result<Exit, Failure> {
        self.bar.finish_and_clear();
        let interrupted = matches!(self.stopped, Some(Stopped::Interrupted));
        if self.many && (self.acknowledged + self.oneway + self.failed > 0 || interrupted) || self.blank > 0 {
            output::talk(format_args!("{}", self.summary(interrupted)));
        }
        if self.unsafe_yet > 0 {
            output::note(format!(
                "{} of them were stored but not flushed or copied in time",
                self.unsafe_yet
            ));
        }
        let some = self.acknowledged + self.oneway > 0;
        let (hopeless, unread) = match self.stopped {
            Some(Stopped::Interrupted) => return Ok(Exit::Interrupted),
            Some(Stopped::Hopeless(failure)) => (Some(failure), self.unread),
            None => (None, self.unread),
        };
        if !some && self.failed + self.blank == 0 && hopeless.is_none() && unread.is_none() {
            output::note("nothing was sent: the input is empty");
        }
        match (hopeless.or(unread), self.failed, some) {
            (Some(failure), _, false) => Err(failure),
            (Some(failure), _, true) => {
                failure.report();
                Ok(Exit::Partial)
            }
            (None, 0, _) => Ok(Exit::Ok),
            (None, _, true) => Ok(Exit::Partial),
            (None, _, false) => Ok(self.first_failure.unwrap_or(Exit::Failed)),
        }
    }

    fn summary(&self, interrupted: bool) -> String {
        let seconds = self.begin.elapsed().as_secs_f64();
        let done = self.acknowledged + self.oneway;
        let verb = match self.oneway {
            0 => "acknowledged",
            _ => "sent without acknowledgement",
        };
        let mut summary = String::new();
        if interrupted {
            summary += "interrupted: ";
        }
        summary += &format!(
            "{} {verb} by {} in {seconds:.1} s",
            count(done, "message"),
            self.topic
        );
        if done > 0 {
            summary += &format!(" ({}/s)", HumanCount((done as f64 / seconds.max(0.001)) as u64));
        }
        if self.failed > 0 {
            summary += &format!(", {} failed", HumanCount(self.failed));
        }
        if self.blank > 0 {
            summary += &format!(", {} skipped", count(self.blank, "blank line"));
        }
        summary
    }
}

/// A bar on stderr; indicatif hides it where stderr is no terminal.
fn bar(total: Total) -> ProgressBar {
    let (bar, template) = match total {
        Total::Messages(count) => (
            ProgressBar::new(count),
            "{bar:30} {percent}% {msg} ({per_sec}), {eta} left",
        ),
        Total::Bytes(count) => (ProgressBar::new(count), "{bar:30} {percent}% {msg}, {eta} left"),
        Total::Unknown => (ProgressBar::no_length(), "{spinner} {msg} ({per_sec})"),
    };
    bar.with_style(ProgressStyle::with_template(template).expect("the template is written here"))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct CommandLine {
        #[command(flatten)]
        send: Send,
    }

    #[test]
    fn a_first_failure_with_later_acknowledgements_is_partial() {
        let line = CommandLine::parse_from(["send", "orders", "x", "--async"]);
        let mut report = Report::new(&line.send, Format::Table, Total::Messages(2));
        let failed = Outcome::Failed(ClientError::Unreachable {
            address: "127.0.0.1:1".to_owned(),
            cause: "refused".to_owned(),
        });
        let acknowledged = Outcome::Acknowledged {
            result: SendResult {
                status: SendStatus::Ok,
                message_ids: Vec::new(),
                offset_message_ids: Vec::new(),
                queue: MessageQueue::new("orders", "broker-a", 0),
                queue_offset: 0,
            },
            was_missing: false,
        };
        for outcome in [failed, acknowledged] {
            let sent = Sent {
                number: 1,
                read_to: 0,
                outcome,
            };
            report.add(sent).expect("nothing is printed");
        }
        assert_eq!(report.end().expect("some were acknowledged"), Exit::Partial);
    }
}
