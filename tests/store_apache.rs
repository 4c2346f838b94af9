//! Stores that Apache's brokers wrote, 4.9.7 and 5.3.3, stopped in order and killed: rmq opens them, and every message is
//! found by offset, id and key. The `.json.gz` beside each store is what the same broker showed of it.

mod store_support;

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use flate2::read::GzDecoder;
use rmq::protocol::message::{self, RecordView};
use rmq::store::{
    Everything, KeyKind, QueueEntry, ReadLimits, ReadStatus, RealDisk, Store, StoreOptions, SystemClock,
};
use serde_json::Value;
use store_support::{bodies, stepped, to};

fn fixture(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/store")
        .join(name);
    let mut bytes = Vec::new();
    GzDecoder::new(std::fs::File::open(path).unwrap())
        .read_to_end(&mut bytes)
        .unwrap();
    bytes
}

/// Unpacks a ustar archive of plain files.
fn unpack(mut archive: &[u8], root: &Path) {
    let text = |field: &[u8]| {
        let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
        String::from_utf8(field[..end].to_vec()).unwrap()
    };
    while archive.len() >= 512 && archive[0] != 0 {
        let (name, prefix) = (text(&archive[..100]), text(&archive[345..500]));
        let size = usize::from_str_radix(text(&archive[124..136]).trim(), 8).unwrap();
        let path = root.join(prefix).join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, &archive[512..512 + size]).unwrap();
        archive = &archive[512 + size.next_multiple_of(512)..];
    }
}

/// The files' lengths come from the files, as for a user who points rmq at a store; those of the index do not say themselves.
fn open(root: &Path) -> Arc<Store> {
    let options = StoreOptions {
        segment_bytes: None,
        queue_segment_bytes: None,
        index_slots: 500,
        index_entries: 1000,
        ..stepped(root)
    };
    let entry_of = |record: &RecordView<'_>| match record.sys_flag & message::sys_flag::TRANSACTION_ROLLBACK {
        // A queue of the batch kind: its entries are other ones.
        _ if record.topic == "InnerBatch" => QueueEntry::None,
        message::sys_flag::TRANSACTION_PREPARED | message::sys_flag::TRANSACTION_ROLLBACK => QueueEntry::None,
        _ => QueueEntry::Simple {
            tags_code: message::tags_code(record.properties),
        },
    };
    Store::open(
        options,
        Arc::new(RealDisk),
        Arc::new(SystemClock),
        Arc::new(entry_of),
    )
    .unwrap()
}

fn assert_same(record: &RecordView<'_>, expected: &Value) {
    record.check_body().unwrap();
    let number = |name: &str| expected[name].as_i64().unwrap();
    assert_eq!(record.physical_offset as i64, number("physicalOffset"));
    assert_eq!(record.len() as i64, number("size"));
    assert_eq!(record.body.len() as i64, number("bodySize"));
    assert_eq!(i64::from(record.body_crc), number("bodyCrc"));
    assert_eq!(i64::from(record.sys_flag), number("sysFlag"));
    assert_eq!(record.store_timestamp, number("storeTimestamp"));
    assert_eq!(
        record.offset_message_id(),
        expected["offsetMsgId"].as_str().unwrap()
    );
    for (name, value) in expected["properties"].as_object().unwrap() {
        assert_eq!(record.property(name), value.as_str(), "{name}");
    }
}

/// Everything of the manifest that was in the store when it was packed: by queue offset, by id, by unique key.
async fn assert_holds(store: &Store, manifest: &Value, log_end: u64) {
    let mut messages = 0;
    for queue in manifest["queues"].as_array().unwrap() {
        let topic = queue["topic"].as_str().unwrap();
        let queue_id = queue["queueId"].as_i64().unwrap() as i32;
        for expected in queue["messages"].as_array().unwrap() {
            let log_offset = expected["physicalOffset"].as_u64().unwrap();
            if log_offset >= log_end {
                // The broker that was asked had gone on.
                continue;
            }
            messages += 1;
            let record = store.message_at(log_offset).unwrap().unwrap();
            let record = RecordView::decode(&record).unwrap();
            assert_eq!((record.topic, record.queue_id), (topic, queue_id));
            assert_same(&record, expected);
            if let Some(key) = expected["msgId"].as_str() {
                let found = store.query(topic, key, 64, 0, i64::MAX, KeyKind::Unique);
                let places: Vec<u64> = found
                    .iter()
                    .map(|bytes| RecordView::decode(bytes).unwrap().physical_offset)
                    .collect();
                assert!(
                    places.contains(&log_offset),
                    "{topic} {key} is found at {places:?}, not at {log_offset}"
                );
            }
            if topic == "InnerBatch" {
                continue;
            }
            let offset = expected["offset"].as_u64().unwrap();
            let limits = ReadLimits {
                messages_max: 1,
                ..ReadLimits::default()
            };
            let read = store.read(topic, queue_id, offset, &limits, &Everything).await;
            assert_eq!(
                (read.status, read.count, read.next_offset),
                (ReadStatus::Found, 1, offset + 1)
            );
            assert_same(&RecordView::decode(&read.parts[0]).unwrap(), expected);
        }
    }
    assert!(messages > 900, "{messages} messages were looked at");
    for query in manifest["keyQueries"].as_array().unwrap() {
        let (topic, key) = (query["topic"].as_str().unwrap(), query["key"].as_str().unwrap());
        let found = store.query(topic, key, 64, 0, i64::MAX, KeyKind::Any);
        let found: Vec<u64> = found
            .iter()
            .map(|bytes| RecordView::decode(bytes).unwrap().physical_offset)
            .collect();
        for expected in query["physicalOffsets"].as_array().into_iter().flatten() {
            assert!(found.contains(&expected.as_u64().unwrap()), "{topic} {key}");
        }
    }
}

async fn opens(name: &str, clean: bool) {
    let root = tempfile::tempdir().unwrap();
    unpack(&fixture(&format!("{name}.tar.gz")), root.path());
    let manifest: Value = serde_json::from_slice(&fixture(&format!("{name}.json.gz"))).unwrap();
    let store = open(root.path());
    assert_eq!(store.recovery().clean, clean);
    assert_eq!(store.recovery().cut, None);
    assert_eq!(store.recovery().holes, []);
    let log_end = store.recovery().end;
    assert_holds(&store, &manifest, log_end).await;
    for acked in manifest["acked"].as_array().into_iter().flatten() {
        let (topic, queue_id) = (
            acked["topic"].as_str().unwrap(),
            acked["queueId"].as_i64().unwrap() as i32,
        );
        let entry = store
            .entry(topic, queue_id, acked["offset"].as_u64().unwrap())
            .expect("what was acknowledged is there");
        let id = message::offset_message_id(([127, 0, 0, 1], 10911).into(), entry.log_offset);
        assert_eq!(id, acked["offsetMsgId"].as_str().unwrap());
    }

    // It goes on where Apache stopped, and still holds all of it after a kill and after a stop.
    let before = store.queue("Plain", 0).unwrap().end;
    let appended = store.append(&to("Plain", 0, b"by rmq", "")).unwrap();
    assert_eq!(appended.queue_offset, before);
    drop(store);
    let store = open(root.path());
    assert!(!store.recovery().clean);
    assert_holds(&store, &manifest, log_end).await;
    assert_eq!(bodies(&store, "Plain", 0, before).await, ["by rmq"]);
    store.close().unwrap();
    let store = open(root.path());
    assert!(store.recovery().clean);
    assert_holds(&store, &manifest, log_end).await;
    store.close().unwrap();
}

#[tokio::test]
async fn a_store_that_apache_4_9_stopped_in_order_opens() {
    opens("apache-4.9-clean", true).await;
}

#[tokio::test]
async fn a_store_under_which_apache_4_9_was_killed_opens() {
    opens("apache-4.9-killed", false).await;
}

#[tokio::test]
async fn a_store_that_apache_5_3_stopped_in_order_opens() {
    opens("apache-5.3-clean", true).await;
}

#[tokio::test]
async fn a_store_under_which_apache_5_3_was_killed_opens() {
    opens("apache-5.3-killed", false).await;
}
