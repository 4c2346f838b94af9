//! The broker: tables, data path and administration behind one [`Serve`](crate::remoting::Serve).
//!
//! `serve.rs` leads from a request to its function: `send.rs` and `pull.rs` are the data path, `retry.rs` and `delay.rs`
//! bring messages back, `membership.rs` and `positions.rs` answer consumers, [`admin`] answers tools. The tables ([`topics`],
//! [`groups`], [`offsets`], [`clients`], [`queue_locks`]) are one struct with one lock each and perform no I/O; the loops
//! that save, register, expire and deliver are listed in one place, [`Broker::start`].

pub mod admin;
pub mod clients;
pub mod config;
pub mod delay;
pub mod filter;
pub mod groups;
mod loops;
mod membership;
pub mod offsets;
pub mod options;
pub mod persist;
mod positions;
mod pull;
pub mod queue_locks;
pub mod refusal;
pub mod register;
mod retry;
pub mod rounds;
mod send;
mod serve;
pub mod stats;
pub mod topics;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::remoting::{Limits, listen};
use crate::store::{Clock, Disk, OpenError, Store, StoreError, StoreOptions};
use clients::Clients;
use config::Config;
use delay::{DelayLevels, DelayOffsets, Pump};
use groups::Groups;
use offsets::Offsets;
use options::BrokerOptions;
use persist::{ConfigError, ConfigFolder};
use queue_locks::QueueLocks;
use register::{Registered, Registrations};
use rounds::Rounds;
use stats::Stats;
use topics::Topics;

/// How often memberships and queue locks are looked at for those that are over.
const EXPIRE_INTERVAL: Duration = Duration::from_secs(10);
/// How often the counts take their samples.
const STATS_INTERVAL: Duration = Duration::from_secs(1);

/// One broker.
pub struct Broker {
    // Constant after the start.
    levels: DelayLevels,
    clock: Arc<dyn Clock>,
    files: ConfigFolder,

    // Each with its own synchronization.
    store: Arc<Store>,
    stats: Stats,
    /// Replaced as a whole; loops that care subscribe.
    options: watch::Sender<Arc<BrokerOptions>>,
    /// Where options come from, for requests 25 and 26.
    config: Config,
    /// How many pulls wait for a message.
    held: pull::Held,

    // Tables: one lock each, none held while another is taken.
    topics: Arc<Topics>,
    groups: Groups,
    offsets: Offsets,
    clients: Clients,
    locks: QueueLocks,
    delays: Arc<DelayOffsets>,

    // Work for the loops.
    /// Saving topics and groups.
    saves: Arc<Rounds>,
    registrations: Arc<Registrations>,
}

/// Why a broker did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Store(#[from] OpenError),
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

/// What a broker is started with.
pub struct Start {
    pub options: BrokerOptions,
    pub config: Config,
    pub store: StoreOptions,
    pub disk: Arc<dyn Disk>,
    pub clock: Arc<dyn Clock>,
}

/// The sockets a broker serves.
pub struct Listeners {
    pub main: TcpListener,
    /// The port that clients with the "VIP channel" use; it serves the same.
    pub fast: Option<TcpListener>,
}

impl Broker {
    /// Reads the tables, opens the store, and starts every loop. The broker answers when this returns.
    ///
    /// # Errors
    /// If a table or the store cannot be read. Nothing is left running then.
    pub async fn start(start: Start, listeners: Listeners) -> Result<RunningBroker, StartError> {
        let broker = Arc::new(blocking(move || Broker::open(start)).await?);
        let address = listeners.main.local_addr()?;
        let fast_address = listeners.fast.as_ref().map(TcpListener::local_addr).transpose()?;
        let stop = watch::Sender::new(false);
        let mut until_ended = JoinSet::new();
        let listener = |socket| listen(socket, Arc::clone(&broker), Limits::default(), stop.subscribe());
        until_ended.spawn(listener(listeners.main));
        if let Some(fast) = listeners.fast {
            until_ended.spawn(listener(fast));
        }
        until_ended.spawn(register::run(
            Arc::clone(&broker.registrations),
            Registered {
                topics: Arc::clone(&broker.topics),
                saves: Arc::clone(&broker.saves),
                clock: Arc::clone(&broker.clock),
            },
            broker.options.subscribe(),
            stop.subscribe(),
        ));
        until_ended.spawn(loops::save_tables(Arc::clone(&broker), stop.subscribe()));
        until_ended.spawn(loops::save_offsets(Arc::clone(&broker), stop.subscribe()));
        until_ended.spawn(loops::save_delays(Arc::clone(&broker), stop.subscribe()));
        for pump in broker.pumps() {
            until_ended.spawn(Arc::new(pump).run(stop.subscribe()));
        }
        let mut until_stopped = JoinSet::new();
        until_stopped.spawn(loops::expire(Arc::clone(&broker)));
        until_stopped.spawn(loops::count(Arc::clone(&broker)));
        Ok(RunningBroker {
            broker,
            address,
            fast_address,
            stop,
            until_ended,
            until_stopped,
        })
    }

    /// Reads the tables and opens the store over them: it asks for delay levels already while it recovers.
    fn open(start: Start) -> Result<Broker, StartError> {
        let Start {
            options,
            config,
            store,
            disk,
            clock,
        } = start;
        let files = ConfigFolder::open(store.root.join("config"))?;
        let topics = Topics::open(files.read(persist::TOPICS)?, &options);
        let groups = Groups::open(files.read(persist::GROUPS)?);
        let offsets = Offsets::open(files.read(persist::OFFSETS)?);
        let delays = DelayOffsets::open(files.read(persist::DELAY_OFFSETS)?);
        let levels = DelayLevels::new(&options.delay_levels_ms);
        let store = Store::open(store, disk, Arc::clone(&clock), levels.entry_of())?;
        let broker = Broker {
            levels,
            files,
            stats: Stats::new(clock.now_ms()),
            clock,
            store,
            options: watch::Sender::new(Arc::new(options)),
            config,
            held: pull::Held::default(),
            topics: Arc::new(topics),
            groups,
            offsets,
            clients: Clients::default(),
            locks: QueueLocks::default(),
            delays: Arc::new(delays),
            saves: Arc::default(),
            registrations: Arc::default(),
        };
        broker.match_offsets_to_store()?;
        broker.saves.wake();
        Ok(broker)
    }

    /// A log that lost its end has shorter queues than some groups have consumed: they go back to the end, for good.
    fn match_offsets_to_store(&self) -> std::io::Result<()> {
        let end_of = |topic: &str, queue_id| {
            self.store
                .queue(topic, queue_id)
                .map_or(0, |bounds| bounds.end as i64)
        };
        let moved = self.offsets.clamp(end_of);
        for one in &moved {
            tracing::warn!(
                one.group,
                one.topic,
                one.queue_id,
                one.offset,
                one.end,
                "a committed offset lies behind the end of its queue: moved to the end"
            );
        }
        let queues = self.store.topics().into_iter();
        self.offsets.note_first_ends(queues.flat_map(|(topic, ids)| {
            ids.into_iter()
                .map(move |id| (topic.clone(), id, end_of(&topic, id)))
        }));
        if moved.is_empty() {
            return Ok(());
        }
        self.files.write(persist::OFFSETS, &self.offsets.snapshot())
    }

    fn pumps(&self) -> Vec<Pump> {
        let pump = |level| Pump {
            level,
            store: Arc::clone(&self.store),
            topics: Arc::clone(&self.topics),
            offsets: Arc::clone(&self.delays),
            clock: Arc::clone(&self.clock),
        };
        (1..=self.levels.count()).map(pump).collect()
    }

    /// The options that hold now.
    pub fn options(&self) -> Arc<BrokerOptions> {
        Arc::clone(&self.options.borrow())
    }

    /// Replaces the options; what stands under "constant" in them has no effect before the next start.
    pub fn set_options(&self, options: BrokerOptions) {
        self.options.send_replace(Arc::new(options));
    }

    /// How many pulls are held.
    pub fn held_pulls(&self) -> usize {
        self.held.count()
    }

    /// A topic or group was created or changed. When the future ends it is saved, and registered with every name server
    /// or a second has passed. False if saving failed; the loop goes on trying.
    fn topics_changed(&self) -> impl Future<Output = bool> + Send + use<'_> {
        let (saved, registered) = (self.saves.ask(), self.registrations.ask());
        async move { tokio::join!(self.saves.wait(saved), registered).0 }
    }

    /// A group was created or changed. When the future ends it is saved; false if that failed.
    fn groups_changed(&self) -> impl Future<Output = bool> + Send + use<'_> {
        let saved = self.saves.ask();
        self.saves.wait(saved)
    }

    /// Saves everything and closes the store, so that the next start finds a clean one.
    fn close(&self) -> Result<(), StopError> {
        self.files.write(persist::TOPICS, &self.topics.snapshot())?;
        self.files.write(persist::GROUPS, &self.groups.snapshot())?;
        self.files.write(persist::OFFSETS, &self.offsets.snapshot())?;
        self.files
            .write(persist::DELAY_OFFSETS, &self.delays.snapshot())?;
        Ok(self.store.close()?)
    }
}

/// Why a broker did not stop cleanly.
#[derive(Debug, thiserror::Error)]
pub enum StopError {
    #[error("a table was not saved: {0}")]
    Save(#[from] std::io::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A broker that answers. Dropping it ends it as a kill would; [`RunningBroker::stop`] ends it cleanly.
pub struct RunningBroker {
    broker: Arc<Broker>,
    /// Where the main listener is.
    pub address: SocketAddr,
    /// Where the fast one is.
    pub fast_address: Option<SocketAddr>,
    stop: watch::Sender<bool>,
    /// Loops that end by themselves after `stop`: listeners write what is ready, registrations say goodbye, files are
    /// complete, delayed messages are delivered once.
    until_ended: JoinSet<()>,
    /// Loops that may be dropped at any point.
    until_stopped: JoinSet<()>,
}

impl RunningBroker {
    pub fn broker(&self) -> &Arc<Broker> {
        &self.broker
    }

    /// Why the store takes nothing any more, if a write or a sync has failed.
    pub fn failure(&self) -> Option<String> {
        self.broker.store.failure()
    }

    /// Unregisters, answers what is ready, saves the tables and closes the store.
    ///
    /// # Errors
    /// If a table or the store could not be written; the next start recovers.
    pub async fn stop(mut self) -> Result<(), StopError> {
        self.stop.send_replace(true);
        while self.until_ended.join_next().await.is_some() {}
        self.until_stopped.shutdown().await;
        let broker = Arc::clone(&self.broker);
        blocking(move || broker.close()).await
    }
}

/// Runs what may wait for a disk on a thread that may.
async fn blocking<T: Send + 'static>(step: impl FnOnce() -> T + Send + 'static) -> T {
    let ended = tokio::task::spawn_blocking(step).await;
    ended.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))
}
