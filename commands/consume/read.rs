//! Plain reading: from a position on, committing nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use rmq::client::{ClientError, PullConsumer, ReceivedMessage};
use rmq::protocol::request::body::MessageQueue;

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
    let ended = tokio::select! {
        () = interrupts.next() => Ok(()),
        ended = read_to_end(args, common, &mut reader) => ended,
    };
    reader.close();
    ended.map(|()| Exit::Ok)
}

async fn read_to_end(args: &Consume, common: &Common, reader: &mut PullConsumer) -> Result<(), Failure> {
    let (sink, idle) = (args.sink(common), Idle::new(args.idle));
    let mut left = args.count.unwrap_or(u64::MAX);
    let queues = existing_queues(args, reader).await?;
    for queue in &queues {
        let offset = offset_of(reader, queue, args.from.unwrap_or(Position::First)).await?;
        reader.assign(queue.clone(), offset);
    }
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
            polled = reader.poll(POLL_WAIT) => polled,
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
                    if let Taken::Unprintable(failure) = taken {
                        return Err(failure);
                    }
                    left -= u64::from(matches!(taken, Taken::Done));
                    if left == 0 {
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

/// Waits for every topic to exist, unless there is nothing to wait for.
async fn existing_queues(args: &Consume, reader: &PullConsumer) -> Result<Vec<MessageQueue>, Failure> {
    let mut queues = args.queues(reader).await?;
    let has_queues = |queues: &[MessageQueue], topic: &str| queues.iter().any(|queue| queue.topic == topic);
    for topic in &args.topics {
        while !has_queues(&queues, topic) {
            tokio::time::sleep(TOPIC_PAUSE).await;
            match reader.queues(topic).await {
                Ok(found) => queues.extend(found),
                Err(ClientError::TopicNotFound(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(queues)
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
