//! What the store's tests share: opening one, messages, reading all of a queue.
#![allow(dead_code, reason = "every test file takes what it needs")]

pub mod sim_disk;

use std::path::Path;
use std::sync::Arc;

use rmq::protocol::message::{self, Message, RecordView};
use rmq::store::{
    Background, Clock, Disk, EntryOf, Everything, FlushMode, OpenError, QueueEntry, ReadLimits, ReadStatus,
    RealDisk, Store, StoreOptions, SystemClock,
};

/// Small files, no threads: the test decides what happens when.
pub fn stepped(root: &Path) -> StoreOptions {
    StoreOptions {
        root: root.to_owned(),
        segment_bytes: Some(64 << 10),
        queue_segment_bytes: Some(4000),
        index_slots: 100,
        index_entries: 200,
        log_step_bytes: 32 << 10,
        log_ahead_bytes: 32 << 10,
        queue_step_bytes: 2000,
        index_step_bytes: 1000,
        recheck_bytes: 16 << 10,
        background: Background::Stepped,
        ..StoreOptions::default()
    }
}

pub fn threaded(root: &Path) -> StoreOptions {
    StoreOptions {
        background: Background::Threads,
        ..stepped(root)
    }
}

pub fn sync(options: StoreOptions) -> StoreOptions {
    StoreOptions {
        flush: FlushMode::Sync,
        ..options
    }
}

/// Every message is in its queue by its tag, except prepared and rolled back ones.
pub fn entry_of() -> EntryOf {
    Arc::new(
        |record: &RecordView<'_>| match record.sys_flag & message::sys_flag::TRANSACTION_ROLLBACK {
            message::sys_flag::TRANSACTION_PREPARED | message::sys_flag::TRANSACTION_ROLLBACK => {
                QueueEntry::None
            }
            _ => QueueEntry::Simple {
                tags_code: message::tags_code(record.properties),
            },
        },
    )
}

pub fn open(options: StoreOptions) -> Arc<Store> {
    try_open(options).expect("the store opens")
}

pub fn try_open(options: StoreOptions) -> Result<Arc<Store>, OpenError> {
    open_on(options, Arc::new(RealDisk), Arc::new(SystemClock))
}

pub fn open_on(
    options: StoreOptions,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
) -> Result<Arc<Store>, OpenError> {
    Store::open(options, disk, clock, entry_of())
}

pub fn to<'a>(topic: &'a str, queue_id: i32, body: &'a [u8], properties: &'a str) -> Message<'a> {
    Message {
        topic,
        queue_id,
        flag: 0,
        sys_flag: 0,
        born_timestamp: 1,
        born_host: ([127, 0, 0, 1], 4000).into(),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body,
        properties,
    }
}

/// Bodies of a queue from an offset to its end.
pub async fn bodies(store: &Store, topic: &str, queue_id: i32, from: u64) -> Vec<String> {
    let mut found = Vec::new();
    let mut next = from;
    loop {
        let read = store
            .read(topic, queue_id, next, &ReadLimits::default(), &Everything)
            .await;
        for part in &read.parts {
            for record in message::records(part) {
                let record = record.expect("only whole records are given");
                record.check_body().expect("only good records are given");
                found.push(String::from_utf8_lossy(record.body).into_owned());
            }
        }
        match read.status {
            ReadStatus::Found | ReadStatus::NoMatched | ReadStatus::Removing | ReadStatus::OffsetNull => {
                assert!(read.next_offset > next, "a read makes progress");
                next = read.next_offset;
            }
            _ => return found,
        }
    }
}
