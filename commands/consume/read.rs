//! Plain reading: from a position on, committing nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use rmq::client::{ClientError, PullConsumer, ReceivedMessage};
use rmq::protocol::request::body::MessageQueue;
use tokio::time::Instant;

use super::ends::Idle;
use super::sink::Taken;
use super::{Consume, ends_of, offset_of};
use crate::Common;
use crate::output::{self, Exit, Failure};
use crate::positions::Position;
use crate::signals::Interrupts;

/// How long one poll may wait before the end rules are looked at again.
const POLL_WAIT: Duration = Duration::from_millis(100);
/// How often a topic that does not exist yet is asked for.
const TOPIC_PAUSE: Duration = Duration::from_secs(1);

/// Reads until a rule ends it, or Ctrl-C.
pub async fn read(args: &Consume, common: &Common, mut interrupts: Interrupts) -> Result<Exit, Failure> {
    let tags = args
        .topics
        .iter()
        .map(|topic| (topic.clone(), args.expression().to_owned()))
        .collect();
    let mut reader = PullConsumer::with_tags(common.client(), None, tags);
    let mut tally = Tally::default();
    let ended = tokio::select! {
        () = interrupts.next() => Ok(()),
        ended = read_to_end(args, common, &mut reader, &mut tally) => ended,
    };
    reader.close();
    ended.map(|()| tally.tell())
}

/// How the messages ended so far.
#[derive(Default)]
struct Tally {
    /// Printed, or their commands succeeded.
    done: u64,
    /// Their commands failed.
    failed: u64,
}

impl Tally {
    fn add(&mut self, taken: Taken) -> Result<(), Failure> {
        match taken {
            Taken::Done => self.done += 1,
            Taken::Failed => self.failed += 1,
            Taken::Unprintable(failure) => return Err(failure),
        }
        Ok(())
    }

    /// Says how many failed: without a group nothing tries them again.
    fn tell(&self) -> Exit {
        if self.failed == 0 {
            return Exit::Ok;
        }
        output::note(format!("{} done, {} failed", self.done, self.failed));
        if self.done > 0 {
            Exit::Partial
        } else {
            Exit::Failed
        }
    }
}

async fn read_to_end(
    args: &Consume,
    common: &Common,
    reader: &mut PullConsumer,
    tally: &mut Tally,
) -> Result<(), Failure> {
    let (sink, idle) = (args.sink(common), Idle::new(args.idle));
    let queues = args.queues(reader).await?;
    begin(args, reader, &queues).await?;
    let mut missing = Missing::of(args, &queues);
    let mut ends = None;
    let mut unreachable_told = false;
    idle.touch();
    loop {
        if ends.is_none() {
            ends = ends_known(args, reader, &queues).await?;
        }
        if let Some(ends) = &ends
            && drop_finished(reader, ends)
        {
            return Ok(());
        }
        let polled = tokio::select! {
            polled = next(args, reader, &mut missing) => polled,
            () = idle.reached() => return Ok(()),
        };
        match polled {
            Ok(messages) => {
                for message in messages
                    .into_iter()
                    .filter(|message| is_before_end(ends.as_ref(), message))
                {
                    idle.begin();
                    let taken = sink.take(message).await;
                    idle.end();
                    tally.add(taken)?;
                    if args.count == Some(tally.done) {
                        return Ok(());
                    }
                }
            }
            Err(error) if error.is_unreachable() => {
                idle.touch();
                if !std::mem::replace(&mut unreachable_told, true) {
                    output::note(format!("{error}; trying again"));
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Topics that do not exist yet: looked for while the others are read.
struct Missing {
    topics: Vec<String>,
    look_at: Instant,
}

impl Missing {
    /// Those of the command line that have no queue among these.
    fn of(args: &Consume, queues: &[MessageQueue]) -> Missing {
        let is_missing = |topic: &&String| !queues.iter().any(|queue| queue.topic == **topic);
        Missing {
            topics: args.topics.iter().filter(is_missing).cloned().collect(),
            look_at: Instant::now() + TOPIC_PAUSE,
        }
    }

    /// Looks for them, every [`TOPIC_PAUSE`], and begins to read those that are there.
    async fn look(&mut self, args: &Consume, reader: &mut PullConsumer) -> Result<(), ClientError> {
        if self.topics.is_empty() || Instant::now() < self.look_at {
            return Ok(());
        }
        self.look_at = Instant::now() + TOPIC_PAUSE;
        let mut unreachable = None;
        for topic in std::mem::take(&mut self.topics) {
            let begun = match reader.queues(&topic).await {
                Ok(queues) => begin(args, reader, &queues).await.map(|()| !queues.is_empty()),
                Err(ClientError::TopicNotFound(_)) => Ok(false),
                Err(error) => Err(error),
            };
            match begun {
                Ok(true) => {}
                Ok(false) => self.topics.push(topic),
                Err(error) if error.is_unreachable() => {
                    self.topics.push(topic);
                    unreachable.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        unreachable.map_or(Ok(()), Err)
    }
}

/// Reads these queues too, each from where `--from` says. All or none: nothing is begun twice.
async fn begin(
    args: &Consume,
    reader: &mut PullConsumer,
    queues: &[MessageQueue],
) -> Result<(), ClientError> {
    let mut begins = Vec::with_capacity(queues.len());
    for queue in queues {
        begins.push(offset_of(reader, queue, args.from.unwrap_or(Position::First)).await?);
    }
    for (queue, offset) in queues.iter().zip(begins) {
        reader.assign(queue.clone(), offset);
    }
    Ok(())
}

/// The next messages, of topics that have come to be too.
async fn next(
    args: &Consume,
    reader: &mut PullConsumer,
    missing: &mut Missing,
) -> Result<Vec<ReceivedMessage>, ClientError> {
    missing.look(args, reader).await?;
    reader.poll(POLL_WAIT).await
}

/// Where reading ends, if it does and once that is known: at the end of now, or behind the last message of `--to`.
async fn ends_known(
    args: &Consume,
    reader: &PullConsumer,
    queues: &[MessageQueue],
) -> Result<Option<BTreeMap<MessageQueue, u64>>, ClientError> {
    let Some(to_ms) = args.to else {
        return if args.until_end {
            ends_of(reader, queues).await.map(Some)
        } else {
            Ok(None)
        };
    };
    if to_ms >= jiff::Timestamp::now().as_millisecond() {
        return if args.until_end {
            ends_of(reader, queues).await.map(Some)
        } else {
            Ok(None)
        };
    }
    let mut ends = BTreeMap::new();
    for queue in queues {
        ends.insert(queue.clone(), reader.offset_at(queue, to_ms + 1).await?);
    }
    Ok(Some(ends))
}

/// Takes queues that were read to their end out of the reader; true when none is left.
fn drop_finished(reader: &mut PullConsumer, ends: &BTreeMap<MessageQueue, u64>) -> bool {
    let positions = reader.positions();
    let finished = positions
        .iter()
        .filter(|(queue, next)| ends.get(queue).is_none_or(|end| *next >= end));
    let finished: Vec<_> = finished.map(|(queue, _)| queue.clone()).collect();
    finished.iter().for_each(|queue| reader.unassign(queue));
    finished.len() == positions.len()
}

/// What is stored behind the end is not printed, even if it came in the same answer.
fn is_before_end(ends: Option<&BTreeMap<MessageQueue, u64>>, message: &ReceivedMessage) -> bool {
    ends.and_then(|ends| ends.get(&message.queue))
        .is_none_or(|end| message.queue_offset < *end)
}
