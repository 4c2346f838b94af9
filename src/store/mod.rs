//! The store: Apache RocketMQ's files, byte for byte, written so that what was acknowledged is there after a kill.
//!
//! # Reading order
//!
//! [`Store::append`] below → `commit_log.rs` (the append section) → `flusher.rs` (group commit) → `read.rs` →
//! `recovery.rs`. `disk.rs` is the only way to the disk, `mapped.rs` the only `unsafe`.
//!
//! # Files
//!
//! All integers are big-endian; a file's name is the offset of its first byte in 20 digits.
//!
//! ```text
//! commitlog/<20 digits>               records one behind the other (crate::protocol::message), 1 GiB a file; the last of a
//!                                     file is a blank: left 4 | magic 0xCBD43194
//! consumequeue/<topic>/<id>/<20 d.>   entries of 20 bytes: logOffset 8 | size 4 | tagsCode 8, 300,000 a file; fillers
//!                                     (0 | 0x7FFFFFFF | 0) stand where a queue has no message
//! index/<yyyyMMddHHmmssSSS>           see index.rs
//! checkpoint                          five times and offsets of 8 bytes, see checkpoint.rs
//! abort                               there while a broker runs, and after a crash; our process id as text
//! lock                                locked by an fcntl record lock while a broker runs
//! rmq/checkpoint                      our own marks, see checkpoint.rs
//! rmq/deleted.json                    topic → log offset below which its records are nobody's
//! rmq/holes.json                      byte ranges of the log that were lost
//! ```
//! A foreign file in `commitlog/` or in a queue's folder would stop Apache, so rmq's own files lie in `rmq/` only.
//!
//! # Who moves what
//!
//! The append section moves `appended`, each queue's `next` and, under ASYNC_FLUSH, its `end`; the flusher moves `written`,
//! `flushed` and, under SYNC_FLUSH, `end`; the indexer `indexed`; retention each `min`. No one reads what lies above a
//! queue's `end`, or above `confirmed` in the log.

mod allocator;
mod bell;
mod by_time;
mod checkpoint;
mod clock;
mod commit_log;
mod consume_queue;
mod disk;
mod error;
mod flusher;
mod holes;
mod index;
mod log_reader;
mod mapped;
mod open;
mod options;
mod read;
mod recovery;
mod retention;
mod segment;
mod segments;
mod watermarks;

use std::cell::RefCell;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

pub use by_time::Boundary;
pub use clock::{Clock, SetClock, SystemClock};
pub use consume_queue::Entry;
pub use disk::{Allocation, Disk, DiskFile, Entry as FolderEntry, LockError, RealDisk, Space, Way};
pub use error::{AppendError, NoRoom, OpenError, ReadError, StoreError};
pub use index::KeyKind;
pub use options::{
    Background, BadOption, DiskRatios, FlushMode, QUEUE_SEGMENT_BYTES, SEGMENT_BYTES, StoreOptions,
};
pub use read::{Everything, Filter, QueueBounds, Read, ReadLimits, ReadStatus};
pub use recovery::{Cut, RecoveryReport};
pub use retention::CleanReason;
pub use watermarks::{Arrivals, DurableError, Watermarks};

use commit_log::{CommitLog, Record, Refused, Staging};
use consume_queue::{Queue, Queues};

use crate::protocol::message::{Message, RecordView};
use crate::protocol::{PROPERTIES_BYTES_MAX, RETRY_TOPIC_BYTES_MAX};

/// How a record enters its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueEntry {
    /// Not at all: its queue offset is 0.
    None,
    Simple {
        tags_code: i64,
    },
    /// A record of several messages, for a queue of 46-byte units; such a queue does not exist yet, the record is in none.
    Batch {
        base: u64,
        count: u16,
    },
}

/// Decides how a record enters its queue; the broker makes it from delay levels and topic attributes. Append, recovery and
/// rebuild share it. Called in the append section now and then: it must be quick and take no lock that is held elsewhere
/// across an append.
pub type EntryOf = Arc<dyn Fn(&RecordView<'_>) -> QueueEntry + Send + Sync>;

/// Where a message was stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Appended {
    pub log_offset: u64,
    /// Log offset behind the record: what [`Store::durable`] waits for.
    pub end: u64,
    pub queue_offset: u64,
    /// Epoch milliseconds; never decreases from record to record.
    pub store_timestamp: i64,
}

/// A message store in a folder of its own. Shared by all; every method may be called from any thread. A store that is
/// dropped without [`Store::close`] is left as by a kill.
pub struct Store {
    // Constant after open.
    options: StoreOptions,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    entry_of: EntryOf,
    report: RecoveryReport,
    /// Lost ranges of the log, ascending.
    holes: Vec<Range<u64>>,
    resident_bytes: u64,

    // Own synchronization, each a leaf.
    log: CommitLog,
    queues: Queues,
    index: index::KeyIndex,
    deleted: RwLock<recovery::Deleted>,
    allocator: allocator::Allocator,
    flusher: flusher::Flusher,
    /// The staging buffer that is not in use; held while a flush is under way.
    flushing: Mutex<Staging>,
    /// Told whenever the flusher has taken what was staged.
    staging_room: Notify,
    background: open::Threads,
}

impl Store {
    /// What recovery found and did when the store was opened.
    pub fn recovery(&self) -> &RecoveryReport {
        &self.report
    }

    /// Stores a message. The section inside is short; only a queue's first message, or a head that outruns the allocator,
    /// waits for the file system.
    ///
    /// # Errors
    /// [`AppendError`]; then nothing of the message is stored.
    pub fn append(&self, message: &Message<'_>) -> Result<Appended, AppendError> {
        with_buffer(|buffer| {
            let now_ms = self.clock.now_ms();
            let mut record = self.encode(message, buffer, now_ms)?;
            self.place(std::slice::from_mut(&mut record), buffer, now_ms)?;
            Ok(record.appended)
        })
    }

    /// Stores several messages, to one topic or to several: all of them or none, also after a kill.
    ///
    /// # Errors
    /// [`AppendError`]; then nothing of them is stored. Together they must fit into one log segment.
    pub fn append_all(&self, messages: &[Message<'_>]) -> Result<Vec<Appended>, AppendError> {
        if messages.is_empty() {
            return Ok(Vec::new());
        }
        with_buffer(|buffer| {
            let now_ms = self.clock.now_ms();
            let mut records = Vec::with_capacity(messages.len());
            for message in messages {
                records.push(self.encode(message, buffer, now_ms)?);
            }
            self.place(&mut records, buffer, now_ms)?;
            Ok(records.iter().map(|record| record.appended).collect())
        })
    }

    /// Encodes a message behind what `buffer` holds, and finds its queue.
    fn encode(
        &self,
        message: &Message<'_>,
        buffer: &mut Vec<u8>,
        now_ms: i64,
    ) -> Result<Record, AppendError> {
        check_lengths(message)?;
        let start = buffer.len();
        let store_host = self.options.store_host;
        message.encode(store_host, buffer);
        let range = start..buffer.len();
        let view = view(message, &buffer[range.clone()], store_host, now_ms);
        let (queue, tags_code) = match (self.entry_of)(&view) {
            QueueEntry::Simple { tags_code } => (Some(self.queue_to_append(message)?), tags_code),
            QueueEntry::None | QueueEntry::Batch { .. } => (None, 0),
        };
        Ok(Record {
            queue,
            tags_code,
            range,
            appended: Appended::default(),
            wake: false,
            grow: false,
        })
    }

    fn queue_to_append(&self, message: &Message<'_>) -> Result<Arc<Queue>, AppendError> {
        if let Some(queue) = self.queues.get(message.topic, message.queue_id) {
            return Ok(queue);
        }
        if message.topic.is_empty() || message.topic.starts_with('.') || message.topic.contains(['/', '\0']) {
            return Err(AppendError::BadTopic(message.topic.to_owned()));
        }
        Ok(self.queues.get_or_create(message.topic, message.queue_id))
    }

    /// Runs the append section until it has what it needs, then does what must happen outside of it.
    fn place(&self, records: &mut [Record], bytes: &mut [u8], now_ms: i64) -> Result<(), AppendError> {
        let since = Instant::now();
        let mut lacking = None;
        let placed = loop {
            match (self.log.place(records, bytes, now_ms), lacking) {
                (Ok(room), _) => break Ok(room),
                (Err(Refused::Error(error)), _) | (Err(Refused::Missing(_)), Some(error)) => {
                    break Err(error);
                }
                // Once more even if somebody lacks room: it need not be us.
                (Err(Refused::Missing(missing)), None) => lacking = self.obtain(missing, since).err(),
            }
        };
        for record in records {
            let Some(queue) = &record.queue else { continue };
            if record.wake {
                queue.arrival.wake();
            }
            if record.grow {
                let until = queue.next() * consume_queue::ENTRY_BYTES + self.options.grow_at_bytes() + 1;
                self.allocator.grow_queue(queue, until);
            }
        }
        self.allocator.watch_log(placed?);
        if self.options.is_sync() {
            self.flusher.bell.ring();
        }
        Ok(())
    }

    /// Whether the record that ends at `end` is as durable as the flush mode promises.
    pub fn is_durable(&self, end: u64) -> bool {
        self.log.confirmed().get() >= end
    }

    /// Waits until the record that ends at `end` is as durable as the flush mode promises: ready at once under
    /// ASYNC_FLUSH. May be dropped at any time.
    ///
    /// # Errors
    /// If `patience` has passed, or the store has failed.
    pub async fn durable(&self, end: u64, patience: Duration) -> Result<(), DurableError> {
        self.reached(self.log.confirmed(), end, patience).await
    }

    /// Waits until a killed process would leave the record that ends at `end`: what every acknowledgement needs, also one
    /// that does not wait for the disk. Ready at once under ASYNC_FLUSH.
    ///
    /// # Errors
    /// If `patience` has passed, or the store has failed.
    pub async fn written(&self, end: u64, patience: Duration) -> Result<(), DurableError> {
        self.reached(self.log.written(), end, patience).await
    }

    async fn reached(
        &self,
        watermark: &watermarks::Watermark,
        end: u64,
        patience: Duration,
    ) -> Result<(), DurableError> {
        match watermark.reached_within(end, patience).await {
            Some(true) => Ok(()),
            Some(false) => Err(DurableError::Poisoned(self.failure().unwrap_or_default())),
            None => Err(DurableError::Timeout),
        }
    }

    /// Waits until the flusher has taken what was staged: after [`AppendError::Busy`]. May be dropped at any time.
    pub async fn staging_room(&self) {
        let notified = self.staging_room.notified();
        tokio::pin!(notified);
        notified.as_mut().enable();
        if self.log.head().staged_bytes() > 0 && self.failure().is_none() {
            notified.await;
        }
    }

    /// What the store was opened with.
    pub fn options(&self) -> &StoreOptions {
        &self.options
    }

    /// The bounds of a queue; `None` if it has never had a message, or its topic was deleted.
    pub fn queue(&self, topic: &str, queue_id: i32) -> Option<QueueBounds> {
        let queue = self.existing(topic, queue_id)?;
        Some(QueueBounds {
            min: queue.min(),
            end: queue.end(),
            next: queue.next(),
        })
    }

    /// Watches a queue, which need not exist yet. Subscribe, read, then wait: nothing is missed. Leaves no trace.
    pub fn arrivals(&self, topic: &str, queue_id: i32) -> Arrivals {
        let unborn = Arrivals::subscribe(self.queues.births.clone());
        match self.queues.get(topic, queue_id) {
            Some(queue) => Arrivals::subscribe(queue.arrival.clone()),
            None => unborn,
        }
    }

    /// The queue entry of a message.
    pub fn entry(&self, topic: &str, queue_id: i32, queue_offset: u64) -> Option<Entry> {
        self.existing(topic, queue_id)?.entry(queue_offset)
    }

    fn existing(&self, topic: &str, queue_id: i32) -> Option<Arc<Queue>> {
        self.queues
            .get(topic, queue_id)
            .filter(|queue| queue.exists() && !queue.is_deleted())
    }

    /// All topics with the ids of their queues, in order.
    pub fn topics(&self) -> Vec<(String, Vec<i32>)> {
        let mut topics = std::collections::BTreeMap::<String, Vec<i32>>::new();
        for queue in self.queues.all() {
            if queue.exists() && !queue.is_deleted() {
                topics.entry(queue.topic.to_string()).or_default().push(queue.id);
            }
        }
        topics.values_mut().for_each(|ids| ids.sort_unstable());
        topics.into_iter().collect()
    }

    /// All watermarks at about this moment.
    pub fn watermarks(&self) -> Watermarks {
        // Read from behind, so that what must not be larger is not.
        let (min, flushed) = (self.log.min(), self.log.flushed.get());
        let indexed = self.index.indexed();
        let confirmed = self.log.confirmed().get();
        let written = self.log.written().get();
        Watermarks {
            min,
            flushed,
            confirmed,
            written,
            indexed,
            appended: self.log.appended.get(),
        }
    }

    /// How often the log was synced since the store was opened: with the number of messages, how many shared a sync.
    pub fn log_syncs(&self) -> u64 {
        self.flusher.syncs.load(Ordering::Relaxed)
    }

    /// Why the store has failed; nothing is acknowledged after that.
    pub fn failure(&self) -> Option<String> {
        self.log.failure().cloned()
    }

    /// What the disk lacks, while it lacks it: writes that need it are refused.
    pub fn no_room(&self) -> Option<NoRoom> {
        self.allocator.failure()
    }
}

/// Bytes an encode buffer keeps between messages.
const BUFFER_BYTES_KEPT: usize = 256 << 10;

/// Lends this thread's encode buffer, empty.
fn with_buffer<T>(action: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    thread_local! {
        static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    BUFFER.with_borrow_mut(|buffer| {
        buffer.clear();
        let result = action(buffer);
        buffer.clear();
        buffer.shrink_to(BUFFER_BYTES_KEPT);
        result
    })
}

fn check_lengths(message: &Message<'_>) -> Result<(), AppendError> {
    let limits = [
        ("the topic", message.topic.len(), RETRY_TOPIC_BYTES_MAX),
        ("the properties", message.properties.len(), PROPERTIES_BYTES_MAX),
        ("the body", message.body.len(), i32::MAX as usize / 2),
    ];
    for (what, bytes, bytes_max) in limits {
        if bytes > bytes_max {
            return Err(AppendError::TooLarge {
                what,
                bytes,
                bytes_max,
            });
        }
    }
    Ok(())
}

/// The record of a message that is about to be stored, without decoding what was just encoded.
fn view<'a>(
    message: &Message<'a>,
    bytes: &'a [u8],
    store_host: std::net::SocketAddr,
    now_ms: i64,
) -> RecordView<'a> {
    let word = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    RecordView {
        bytes,
        body_crc: word(8),
        queue_id: message.queue_id,
        flag: message.flag,
        queue_offset: 0,
        physical_offset: 0,
        sys_flag: word(36) as i32,
        born_timestamp: message.born_timestamp,
        born_host: message.born_host,
        store_timestamp: now_ms,
        store_host,
        reconsume_times: message.reconsume_times,
        prepared_transaction_offset: message.prepared_transaction_offset,
        body: message.body,
        topic: message.topic,
        properties: message.properties,
    }
}
