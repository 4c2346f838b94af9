//! The broker itself by request: runtime information 28, statistics 315, replication 907, request modes 401 and 402.
//! Requests 25 and 26 are answered by [`crate::broker::config::Config`].

use std::collections::BTreeMap;
use std::path::Path;

use crate::broker::groups::Groups;
use crate::broker::refusal::Refusal;
use crate::broker::stats::Stats;
use crate::broker::topics::{RETRY_PREFIX, Topics};
use crate::protocol::code::response;
use crate::protocol::message::RecordView;
use crate::protocol::request::body::KvTable;
use crate::protocol::request::broker::{HaStatusBody, RequestMode, RequestModeBody, StatsBody, StatsRequest};
use crate::store::Store;

/// The release that tools are told this broker behaves like.
const VERSION_NAME: &str = "V5_5_0";

/// Members of 28 that Apache fills from its thread pools, its timer and its buffers, and that mean nothing here. The
/// exporter drops a broker that leaves one out.
const MEANINGLESS: [(&str, &str); 27] = [
    ("EndTransactionQueueSize", "0"),
    ("EndTransactionThreadPoolQueueCapacity", "100000"),
    ("ackThreadPoolQueueCapacity", "100000"),
    ("ackThreadPoolQueueHeadWaitTimeMills", "0"),
    ("ackThreadPoolQueueSize", "0"),
    ("dispatchMaxBuffer", "0"),
    ("litePullThreadPoolQueueCapacity", "100000"),
    ("litePullThreadPoolQueueHeadWaitTimeMills", "0"),
    ("litePullThreadPoolQueueSize", "0"),
    ("pageCacheLockTimeMills", "0"),
    ("pullThreadPoolQueueCapacity", "100000"),
    ("pullThreadPoolQueueHeadWaitTimeMills", "0"),
    ("pullThreadPoolQueueSize", "0"),
    ("queryThreadPoolQueueCapacity", "20000"),
    ("queryThreadPoolQueueHeadWaitTimeMills", "0"),
    ("queryThreadPoolQueueSize", "0"),
    ("remainHowManyDataToCommit", "0 B"),
    ("remainTransientStoreBufferNumbs", "2147483647"),
    ("sendThreadPoolQueueCapacity", "10000"),
    ("sendThreadPoolQueueHeadWaitTimeMills", "0"),
    ("sendThreadPoolQueueSize", "0"),
    ("startAcceptSendRequestTimeStamp", "0"),
    ("timerCongestNum", "0"),
    ("timerDequeueTps", "0.0"),
    ("timerEnqueueTps", "0.0"),
    ("timerOffsetBehind", "0"),
    ("timerReadBehind", "0"),
];

/// How far a delay level's messages have been delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DelayProgress {
    /// From 1.
    pub level: i32,
    /// The queue offset of the next one.
    pub next: i64,
    /// The end of its queue.
    pub end: i64,
}

/// Everything there is to know about the running broker, by Apache's names (28).
pub fn runtime(
    stats: &Stats,
    store: &Store,
    log_folder: &Path,
    delays: &[DelayProgress],
    now_ms: i64,
) -> KvTable {
    let marks = store.watermarks();
    let mut table: BTreeMap<String, String> = MEANINGLESS
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let mut put = |name: &str, value: String| drop(table.insert(name.to_owned(), value));
    stats
        .runtime(now_ms)
        .into_iter()
        .for_each(|(name, value)| put(name, value));
    put("brokerActive", "true".to_owned());
    put("brokerVersion", crate::protocol::VERSION.to_string());
    put("brokerVersionDesc", VERSION_NAME.to_owned());
    put("commitLogMinOffset", marks.min.to_string());
    put("commitLogMaxOffset", marks.appended.to_string());
    put(
        "dispatchBehindBytes",
        marks.appended.saturating_sub(marks.confirmed).to_string(),
    );
    put(
        "remainHowManyDataToFlush",
        size_text(marks.appended.saturating_sub(marks.flushed)),
    );
    put("commitLogSyncs", store.log_syncs().to_string()); // Ours: messages per sync show how well group commit works.
    put("earliestMessageTimeStamp", earliest(store, marks.min).to_string());
    let disk = Disk::of(log_folder);
    let ratio = format!("{:.2}", disk.used_ratio());
    put("commitLogDiskRatio", ratio.clone());
    put(
        &format!("commitLogDiskRatio_{}", log_folder.display()),
        ratio.clone(),
    );
    put("consumeQueueDiskRatio", ratio);
    put(
        "commitLogDirCapacity",
        format!(
            "Total : {}, Free : {}.",
            size_text(disk.total),
            size_text(disk.free)
        ),
    );
    for delay in delays {
        put(
            &format!("scheduleMessageOffset_{}", delay.level),
            format!("{},{}", delay.next, delay.end),
        );
    }
    KvTable { table }
}

/// Store time of the oldest message, -1 if there is none.
fn earliest(store: &Store, log_min: u64) -> i64 {
    let record = store.message_at(log_min).ok().flatten();
    record
        .and_then(|record| {
            RecordView::decode(&record)
                .ok()
                .map(|record| record.store_timestamp)
        })
        .unwrap_or(-1)
}

/// Space of the disk that a folder lies on, in bytes; zeros where the system does not say.
#[derive(Clone, Copy, Default)]
struct Disk {
    total: u64,
    free: u64,
}

impl Disk {
    fn of(folder: &Path) -> Disk {
        rustix::fs::statvfs(folder).map_or(Disk::default(), |disk| Disk {
            total: disk.f_blocks * disk.f_frsize,
            free: disk.f_bfree * disk.f_frsize,
        })
    }

    fn used_ratio(self) -> f64 {
        if self.total == 0 {
            0.0
        } else {
            (self.total - self.free.min(self.total)) as f64 / self.total as f64
        }
    }
}

/// `0 B`, `1.1 KiB`: exporters read the number in front of the space.
fn size_text(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let exponent = (bytes.ilog2() / 10) as usize;
    format!(
        "{:.1} {}",
        bytes as f64 / 1024f64.powi(exponent as i32),
        UNITS[exponent - 1]
    )
}

/// One statistic (315).
///
/// # Errors
/// 1 if nothing was counted under that name and key.
pub fn statistic(stats: &Stats, cluster: &str, request: &StatsRequest) -> Result<StatsBody, Refusal> {
    let StatsRequest {
        stats_name,
        stats_key,
    } = request;
    let missing = || {
        Refusal::new(
            response::SYSTEM_ERROR,
            format!("The stats <{stats_name}> <{stats_key}> not exist"),
        )
    };
    stats.view(stats_name, stats_key, cluster).ok_or_else(missing)
}

/// The state of replication of a master without slaves (907).
pub fn replication(store: &Store) -> HaStatusBody {
    HaStatusBody {
        master: true,
        master_commit_log_max_offset: store.watermarks().appended as i64,
        ..HaStatusBody::default()
    }
}

/// Who is to move the offsets of a group in a topic (401). Its consumers always do, so only that is accepted.
///
/// # Errors
/// 16 for retry topics, 17 and 26 for unknown topics and groups, 1 for POP.
pub fn set_request_mode(topics: &Topics, groups: &Groups, request: &RequestModeBody) -> Result<(), Refusal> {
    let RequestModeBody {
        topic,
        consumer_group,
        mode,
        ..
    } = request;
    if topic.starts_with(RETRY_PREFIX) {
        return Err(Refusal::new(
            response::NO_PERMISSION,
            "retry topic is not allowed to set mode",
        ));
    }
    if topics.get(topic).is_none() {
        return Err(Refusal::new(
            response::TOPIC_NOT_EXIST,
            format!("topic[{topic}] not exist"),
        ));
    }
    if groups.get(consumer_group).is_none() {
        let remark = format!("Group {consumer_group} does not exist");
        return Err(Refusal::new(response::SUBSCRIPTION_GROUP_NOT_EXIST, remark));
    }
    match mode {
        RequestMode::Pull => Ok(()),
        RequestMode::Pop => Err(Refusal::new(
            response::SYSTEM_ERROR,
            "POP consumption is not built yet",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_written_as_java_writes_them() {
        let texts = [0, 1023, 1126, 1 << 20, 270_582_939_648, u64::MAX].map(size_text);
        assert_eq!(
            texts,
            ["0 B", "1023 B", "1.1 KiB", "1.0 MiB", "252.0 GiB", "16.0 EiB"]
        );
    }
}
