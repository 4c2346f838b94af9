//! Messages that are delivered later (Apache: `ScheduleMessageService`): the pattern of every feature of the broker, a pure
//! rewrite before the append and a pump behind it.
//!
//! [`DelayLevels::park`] sends a message to the queue of its level in `SCHEDULE_TOPIC_XXXX`, where the queue entry's tags
//! code is the time of its delivery ([`DelayLevels::queue_entry`]). [`Pump`] reads such a queue through the ordinary store
//! interface and appends what is due to the topic it was meant for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::broker::topics::{Topics, system};
use crate::broker::{blocking, loops::stopped};
use crate::protocol::message::{Message, RecordView, property, push_property, sys_flag, tags_code};
use crate::protocol::request::body::DataVersion;
use crate::store::{Clock, DurableError, EntryOf, QueueEntry, ReadError, Store};
use tokio::sync::watch;

/// `messageDelayLevel` unless configured, in milliseconds: 1s 5s 10s 30s, 1m to 10m, 20m 30m 1h 2h.
pub const LEVELS_DEFAULT_MS: [i64; 18] = [
    1_000, 5_000, 10_000, 30_000, 60_000, 120_000, 180_000, 240_000, 300_000, 360_000, 420_000, 480_000,
    540_000, 600_000, 1_200_000, 1_800_000, 3_600_000, 7_200_000,
];
/// Queues of `SCHEDULE_TOPIC_XXXX`, hence the most levels there can be.
pub const LEVELS_MAX: usize = 18;
/// Longest sleep of a pump that has something to deliver: so soon it notices that the clock was set.
const TICK: Duration = Duration::from_millis(100);
/// Pause after a hand-over that failed.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// Most messages delivered before others get their turn.
const BATCH_MAX: u64 = 32;
/// How long a pump waits for what it appended to become durable before it looks again.
const DURABLE_TIMEOUT: Duration = Duration::from_secs(5);

/// The delays that a level stands for. Level 1 is the first; 0 is no delay.
#[derive(Debug, Clone, PartialEq)]
pub struct DelayLevels(Vec<i64>);

impl DelayLevels {
    /// The levels' delays in milliseconds; what exceeds [`LEVELS_MAX`] has no queue and is left out.
    pub fn new(levels_ms: &[i64]) -> DelayLevels {
        DelayLevels(levels_ms.iter().copied().take(LEVELS_MAX).collect())
    }

    /// Number of levels.
    pub fn count(&self) -> i32 {
        self.0.len() as i32
    }

    /// The delay of a level; a level beyond the last counts as the last, as in Apache. `None` for no delay.
    pub fn delay_ms(&self, level: i32) -> Option<i64> {
        let index = usize::try_from(level.min(self.count()) - 1).ok()?;
        self.0.get(index).copied()
    }

    /// Parks a message for its level: names its real place in the properties and returns the place to store it at.
    /// `None` if the level is no delay; the properties are then untouched.
    pub fn park(
        &self,
        level: i32,
        topic: &str,
        queue_id: i32,
        properties: &mut String,
    ) -> Option<(&'static str, i32)> {
        self.delay_ms(level)?;
        push_property(properties, property::REAL_TOPIC, topic);
        push_property(
            properties,
            property::REAL_QUEUE_ID,
            itoa::Buffer::new().format(queue_id),
        );
        Some((system::SCHEDULE, level.min(self.count()) - 1))
    }

    /// The queue entry of a record: what the store asks at every append and again when it rebuilds its queues.
    pub fn queue_entry(&self, record: &RecordView<'_>) -> QueueEntry {
        match record.sys_flag & sys_flag::TRANSACTION_ROLLBACK {
            sys_flag::TRANSACTION_PREPARED | sys_flag::TRANSACTION_ROLLBACK => return QueueEntry::None,
            _ => {}
        }
        if record.topic == system::SCHEDULE {
            let level = record
                .property(property::DELAY)
                .and_then(|level| level.parse().ok())
                .unwrap_or(0);
            if let Some(delay_ms) = self.delay_ms(level) {
                return QueueEntry::Simple {
                    tags_code: record.store_timestamp + delay_ms,
                };
            }
        }
        QueueEntry::Simple {
            tags_code: tags_code(record.properties),
        }
    }

    /// [`DelayLevels::queue_entry`] as the store takes it.
    pub fn entry_of(&self) -> EntryOf {
        let levels = self.clone();
        Arc::new(move |record| levels.queue_entry(record))
    }
}

/// `config/delayOffset.json`: for each level, the queue offset of the next message to deliver.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DelayOffsetTable {
    pub data_version: DataVersion,
    pub offset_table: BTreeMap<i32, i64>,
}

/// How far each level's pump has come.
#[derive(Default)]
pub struct DelayOffsets {
    table: Mutex<DelayOffsetTable>,
}

impl DelayOffsets {
    /// What was saved.
    pub fn open(saved: Option<DelayOffsetTable>) -> DelayOffsets {
        DelayOffsets {
            table: Mutex::new(saved.unwrap_or_default()),
        }
    }

    /// Queue offset of the level's next message.
    pub fn get(&self, level: i32) -> u64 {
        self.lock()
            .offset_table
            .get(&level)
            .map_or(0, |offset| (*offset).max(0) as u64)
    }

    fn set(&self, level: i32, offset: u64, now_ms: i64) {
        let mut table = self.lock();
        if table.offset_table.insert(level, offset as i64) != Some(offset as i64) {
            table.data_version.advance(now_ms);
        }
    }

    /// The table at one moment, as it is saved and as GET_ALL_DELAY_OFFSET answers it.
    pub fn snapshot(&self) -> DelayOffsetTable {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, DelayOffsetTable> {
        self.table
            .lock()
            .expect("no code panics while it holds the delay offsets")
    }
}

/// What a pump's step leaves to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Nothing is parked: wait for an arrival.
    Empty,
    /// Step again after so long.
    After(Duration),
}

/// What a step has done.
struct Delivered {
    /// Queue offset of the next message; `None` without a queue.
    offset: Option<u64>,
    /// Log offset behind the last record stored.
    stored_end: Option<u64>,
    next: Next,
}

/// Delivers the messages of one level.
pub struct Pump {
    pub level: i32,
    pub store: Arc<Store>,
    pub topics: Arc<Topics>,
    pub offsets: Arc<DelayOffsets>,
    pub clock: Arc<dyn Clock>,
}

impl Pump {
    /// Runs until the broker stops, and ends between two steps: what was delivered is counted as delivered. Dropped
    /// within a step, as a kill would, it delivers at most one batch again.
    pub async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        loop {
            let mut arrivals = self.store.arrivals(system::SCHEDULE, self.level - 1);
            let next = self.step().await;
            let wait = async {
                match next {
                    Next::Empty => arrivals.changed().await,
                    Next::After(pause) => tokio::time::sleep(pause).await,
                }
            };
            tokio::select! {
                biased;
                () = stopped(&mut stop) => return,
                () = wait => {}
            }
        }
    }

    /// Delivers what is due, in order. The offset moves when what was stored is as durable as any acknowledged message.
    async fn step(self: &Arc<Self>) -> Next {
        let pump = Arc::clone(self);
        let delivered = blocking(move || pump.deliver_due()).await;
        if let Some(end) = delivered.stored_end {
            while let Err(DurableError::Timeout) = self.store.durable(end, DURABLE_TIMEOUT).await {}
        }
        if let Some(offset) = delivered.offset {
            self.offsets.set(self.level, offset, self.clock.now_ms());
        }
        delivered.next
    }

    /// Stores what is due at its real place. One message that cannot be stored holds back those behind it, and it alone is
    /// tried again.
    fn deliver_due(&self) -> Delivered {
        let Some(bounds) = self.store.queue(system::SCHEDULE, self.level - 1) else {
            return Delivered {
                offset: None,
                stored_end: None,
                next: Next::Empty,
            };
        };
        // A log that was cut or cleaned may lie before or behind the saved offset.
        let mut offset = self.offsets.get(self.level).clamp(bounds.min, bounds.end);
        let batch_end = bounds.end.min(offset + BATCH_MAX);
        let mut stored_end = None;
        while offset < batch_end {
            match self.deliver(offset) {
                Ok(end) => stored_end = end.or(stored_end),
                Err(pause) => {
                    return Delivered {
                        offset: Some(offset),
                        stored_end,
                        next: Next::After(pause),
                    };
                }
            }
            offset += 1;
        }
        let next = if offset == bounds.end {
            Next::Empty
        } else {
            Next::After(Duration::ZERO)
        };
        Delivered {
            offset: Some(offset),
            stored_end,
            next,
        }
    }

    /// Stores the parked message at its real place if it is due, and returns the end of its record; `None` if there is
    /// nothing to store. `Err` is the time to wait before this message is looked at again.
    fn deliver(&self, offset: u64) -> Result<Option<u64>, Duration> {
        let entry = self
            .store
            .entry(system::SCHEDULE, self.level - 1, offset)
            .ok_or(RETRY_PAUSE)?;
        // Never early: a clock that is set back delays what is parked.
        let wait_ms = entry.tags_code - self.clock.now_ms();
        if wait_ms > 0 {
            return Err(TICK.min(Duration::from_millis(wait_ms as u64)));
        }
        let bytes = match self.store.message_at(entry.log_offset) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => {
                tracing::warn!(
                    entry.log_offset,
                    self.level,
                    "a delayed message is no longer in the log: skipped"
                );
                return Ok(None);
            }
            Err(error @ ReadError::Damaged { .. }) => {
                tracing::error!(entry.log_offset, self.level, %error, "a delayed message is damaged: skipped");
                return Ok(None);
            }
            Err(error @ ReadError::Io { .. }) => {
                tracing::error!(entry.log_offset, self.level, %error, "a delayed message cannot be read yet");
                return Err(RETRY_PAUSE);
            }
        };
        let Some(message) = RecordView::decode(&bytes).ok().and_then(release) else {
            tracing::error!(
                entry.log_offset,
                self.level,
                "a delayed message names no real topic: skipped"
            );
            return Ok(None);
        };
        if self.topics.get(message.topic).is_none() {
            tracing::warn!(
                message.topic,
                "the topic of a delayed message was deleted: dropped"
            );
            return Ok(None);
        }
        match self.store.append(&message) {
            Ok(appended) => Ok(Some(appended.end)),
            Err(error) => {
                tracing::warn!(message.topic, %error, "a delayed message cannot be stored yet");
                Err(RETRY_PAUSE)
            }
        }
    }
}

/// The reverse of [`DelayLevels::park`]: the message at its real place. Its properties still name level and place, as
/// consumers of Apache's brokers see them. `None` if there is no such place.
fn release(record: RecordView<'_>) -> Option<Message<'_>> {
    let topic = record.property(property::REAL_TOPIC)?;
    let queue_id = record.property(property::REAL_QUEUE_ID)?.parse().ok()?;
    Some(Message {
        topic,
        queue_id,
        ..record.message()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_beyond_the_last_is_the_last_and_none_is_no_delay() {
        let levels = DelayLevels::new(&LEVELS_DEFAULT_MS);
        assert_eq!(levels.delay_ms(1), Some(1_000));
        assert_eq!(levels.delay_ms(99), Some(7_200_000));
        assert_eq!((levels.delay_ms(0), levels.delay_ms(-1)), (None, None));
    }

    #[test]
    fn parking_names_the_real_place_even_behind_an_open_last_property() {
        let levels = DelayLevels::new(&LEVELS_DEFAULT_MS);
        let mut properties = "DELAY\u{1}3\u{2}TAGS\u{1}A".to_string();
        assert_eq!(
            levels.park(3, "orders", 5, &mut properties),
            Some((system::SCHEDULE, 2))
        );
        let value = |name| crate::protocol::message::property_of(&properties, name);
        assert_eq!(
            (value("TAGS"), value("REAL_TOPIC"), value("REAL_QID")),
            (Some("A"), Some("orders"), Some("5"))
        );
    }

    #[test]
    fn delays_are_saved_under_their_level() {
        let offsets = DelayOffsets::default();
        offsets.set(3, 7, 1);
        let again = DelayOffsets::open(Some(offsets.snapshot()));
        assert_eq!((again.get(3), again.get(4)), (7, 0));
    }
}
