//! The broker's own loops: saving tables, ending memberships, counting. Each waits, then takes a step. Those that save end
//! by themselves between two steps when the broker stops: a file has one writer at a time.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::broker::{Broker, EXPIRE_INTERVAL, STATS_INTERVAL, blocking, membership, persist};
use crate::protocol::request::body::DataVersion;

/// Pause before tables that could not be saved are tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// From a group's first commit in a queue to its saving: the commits of the other queues have come by then.
const FIRST_COMMITS_PAUSE: Duration = Duration::from_millis(500);

/// What of topics, groups and changes of the configuration is in the files.
#[derive(Clone, Copy, Default)]
struct Saved {
    topics: Option<DataVersion>,
    groups: Option<DataVersion>,
    /// How often requests have changed the configuration.
    config_changes: i64,
}

/// Saves topics and groups as soon as somebody asks; many who ask at once share one round.
pub(super) async fn save_tables(broker: Arc<Broker>, mut stop: watch::Receiver<bool>) {
    let mut saved = Saved::default();
    loop {
        let number = tokio::select! {
            number = broker.saves.next() => number,
            () = stopped(&mut stop) => return,
        };
        let step = Arc::clone(&broker);
        let result = blocking(move || save_changed(&step, saved)).await;
        let done = report("topics and groups", &result);
        saved = result.unwrap_or(saved);
        broker.saves.end(number, done);
        if !done {
            tokio::select! {
                () = tokio::time::sleep(RETRY_PAUSE) => broker.saves.wake(),
                () = stopped(&mut stop) => return,
            }
        }
    }
}

fn save_changed(broker: &Broker, saved: Saved) -> io::Result<Saved> {
    let mut now = saved;
    let topics = broker.topics.snapshot();
    if saved.topics != Some(topics.data_version) {
        broker.files.write(persist::TOPICS, &topics)?;
        now.topics = Some(topics.data_version);
    }
    let groups = broker.groups.snapshot();
    if saved.groups != Some(groups.data_version) {
        broker.files.write(persist::GROUPS, &groups)?;
        now.groups = Some(groups.data_version);
    }
    let config_changes = broker.config.version().counter;
    if saved.config_changes != config_changes {
        broker.config.save()?;
        now.config_changes = config_changes;
    }
    Ok(now)
}

/// Saves committed offsets at an interval, if any moved, and soon after a group's first commit in a queue.
pub(super) async fn save_offsets(broker: Arc<Broker>, mut stop: watch::Receiver<bool>) {
    let mut saved = None;
    loop {
        tokio::select! {
            () = tokio::time::sleep(broker.options().offsets_interval) => {}
            () = first_commits(&broker) => {}
            () = stopped(&mut stop) => return,
        }
        let changes = broker.offsets.changes();
        if saved == Some(changes) {
            continue;
        }
        let step = Arc::clone(&broker);
        let result = blocking(move || step.files.write(persist::OFFSETS, &step.offsets.snapshot())).await;
        if report("consumer offsets", &result) {
            saved = Some(changes);
        }
    }
}

/// Ends a little after a first commit, which seldom comes alone.
async fn first_commits(broker: &Broker) {
    broker.offsets.first_commit().await;
    tokio::time::sleep(FIRST_COMMITS_PAUSE).await;
}

/// Saves how far the delay levels have been delivered, if any moved.
pub(super) async fn save_delays(broker: Arc<Broker>, mut stop: watch::Receiver<bool>) {
    let mut saved = None;
    loop {
        tokio::select! {
            () = tokio::time::sleep(broker.options().delay_offsets_interval) => {}
            () = stopped(&mut stop) => return,
        }
        let table = broker.delays.snapshot();
        if saved.as_ref() == Some(&table) {
            continue;
        }
        let (step, copy) = (Arc::clone(&broker), table.clone());
        let result = blocking(move || step.files.write(persist::DELAY_OFFSETS, &copy)).await;
        if report("delay offsets", &result) {
            saved = Some(table);
        }
    }
}

/// Ends memberships without heartbeats and locks without refreshes.
pub(super) async fn expire(broker: Arc<Broker>) {
    let mut interval = tokio::time::interval(EXPIRE_INTERVAL);
    loop {
        interval.tick().await;
        broker.expire(broker.clock.now_ms());
    }
}

/// Takes the samples that rates are made of.
pub(super) async fn count(broker: Arc<Broker>) {
    let mut interval = tokio::time::interval(STATS_INTERVAL);
    loop {
        interval.tick().await;
        broker.stats.step(broker.clock.now_ms());
    }
}

impl Broker {
    /// Ends what is over at `now_ms`: memberships without a heartbeat for the client timeout, and queue locks. The other
    /// members are told. Called by a loop every ten seconds.
    pub fn expire(&self, now_ms: i64) {
        let timeout_ms = self.options().client_timeout.as_millis() as i64;
        for group in self.clients.expire(timeout_ms, now_ms) {
            membership::notify(&group, &self.clients, &self.groups);
        }
        self.locks.expire(now_ms);
    }
}

/// Ends when the broker stops, or is dropped.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    drop(stop.wait_for(|stop| *stop).await);
}

fn report<T>(what: &str, result: &io::Result<T>) -> bool {
    if let Err(error) = result {
        tracing::error!(%error, "{what} cannot be saved, trying on");
    }
    result.is_ok()
}
