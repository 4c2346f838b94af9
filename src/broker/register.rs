//! Registration with the name servers: one loop each, so that one which does not answer holds up nobody but those who wait
//! for it (Apache: `BrokerOuterAPI`).
//!
//! A loop registers at the start, at an interval, and whenever it is asked to; it unregisters when its name server is
//! removed from the options and when the broker stops.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::broker::options::BrokerOptions;
use crate::broker::rounds::{Rounds, Ticket};
use crate::broker::topics::Topics;
use crate::protocol::code::{request, response};
use crate::protocol::fastjson;
use crate::protocol::frame::Frame;
use crate::protocol::request::body::KvTable;
use crate::protocol::request::namesrv::{
    BrokerRequest, RegisterBrokerBody, RegisterBrokerRequest, body_crc32,
};
use crate::protocol::request::topic::{TopicTable, perm};
use crate::remoting::{self, Answer, Peer, RequestError, Serve};
use crate::store::Clock;

/// How long somebody who changed a topic waits for the name servers to know.
const WAIT: Duration = Duration::from_secs(1);
/// Pause before a registration that failed is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(2);
/// How long a goodbye may take.
const UNREGISTER_TIMEOUT: Duration = Duration::from_secs(1);
/// How long connecting to a name server may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// The loops' rounds, by name server.
#[derive(Default)]
pub struct Registrations {
    servers: Mutex<BTreeMap<String, Arc<Rounds>>>,
}

impl Registrations {
    /// Asks every loop to register, and waits for none.
    pub fn wake(&self) {
        self.servers().values().for_each(|rounds| rounds.wake());
    }

    /// Asks every loop to register. The future waits until all have, or failed, or a second has passed.
    pub fn ask(&self) -> impl Future<Output = ()> + Send + use<> {
        let tickets: Vec<(Arc<Rounds>, Ticket)> = self
            .servers()
            .values()
            .map(|rounds| (Arc::clone(rounds), rounds.ask()))
            .collect();
        async move {
            let all = async {
                for (rounds, ticket) in tickets {
                    rounds.wait(ticket).await;
                }
            };
            // Registration goes on; whoever waits goes on too.
            tokio::time::timeout(WAIT, all).await.unwrap_or_default()
        }
    }

    fn servers(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Rounds>>> {
        self.servers
            .lock()
            .expect("no code panics while it holds the name servers")
    }
}

/// What is registered, and where a name server's answer is taken to.
#[derive(Clone)]
pub struct Registered {
    pub topics: Arc<Topics>,
    /// Asked to save the topics that a name server says are ordered.
    pub saves: Arc<Rounds>,
    pub clock: Arc<dyn Clock>,
}

/// Keeps a loop for every name server of the options until `stop`; returns when all have said goodbye.
pub async fn run(
    registrations: Arc<Registrations>,
    registered: Registered,
    mut options: watch::Receiver<Arc<BrokerOptions>>,
    mut stop: watch::Receiver<bool>,
) {
    let mut loops = JoinSet::new();
    let mut stops: BTreeMap<String, watch::Sender<bool>> = BTreeMap::new();
    loop {
        let wanted = options.borrow_and_update().name_servers.clone();
        stops.retain(|server, _| wanted.contains(server));
        registrations
            .servers()
            .retain(|server, _| wanted.contains(server));
        for server in wanted {
            if stops.contains_key(&server) {
                continue;
            }
            let rounds = Arc::new(Rounds::default());
            rounds.wake();
            registrations
                .servers()
                .insert(server.clone(), Arc::clone(&rounds));
            let (stop, stopped) = watch::channel(false);
            stops.insert(server.clone(), stop);
            let registration = Registration::new(server, registered.clone(), options.clone());
            loops.spawn(registration.run(rounds, stopped));
        }
        tokio::select! {
            changed = options.changed() => if changed.is_err() { break },
            _ = stop.wait_for(|stop| *stop) => break,
        }
    }
    // Each loop ends when the sender of its stop is gone.
    stops.clear();
    while loops.join_next().await.is_some() {}
}

/// The registration with one name server.
struct Registration {
    /// `host:port`
    server: String,
    registered: Registered,
    options: watch::Receiver<Arc<BrokerOptions>>,
    peer: Option<Arc<Peer>>,
    /// Whether the last try failed: the log says so once.
    failing: bool,
}

/// Why a name server does not know this broker.
#[derive(Debug, thiserror::Error)]
enum RegisterError {
    #[error("cannot connect: {0}")]
    Connect(#[from] std::io::Error),
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error("refused with code {code}: {remark}")]
    Refused { code: i32, remark: String },
}

impl Registration {
    fn new(
        server: String,
        registered: Registered,
        options: watch::Receiver<Arc<BrokerOptions>>,
    ) -> Registration {
        Registration {
            server,
            registered,
            options,
            peer: None,
            failing: false,
        }
    }

    async fn run(mut self, rounds: Arc<Rounds>, mut stop: watch::Receiver<bool>) {
        loop {
            let interval = self.options.borrow().register_interval;
            let pause = if self.failing {
                RETRY_PAUSE.min(interval)
            } else {
                interval
            };
            let number = tokio::select! {
                number = rounds.next() => number,
                () = tokio::time::sleep(pause) => rounds.so_far(),
                _ = stop.wait_for(|stop| *stop) => break,
            };
            let registered = tokio::select! {
                registered = self.register() => registered,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            self.report(&registered);
            rounds.end(number, registered.is_ok());
        }
        if let Err(error) = self.unregister().await {
            tracing::debug!(server = self.server, %error, "not unregistered");
        }
    }

    fn report(&mut self, registered: &Result<(), RegisterError>) {
        match registered {
            Ok(()) if self.failing => tracing::info!(server = self.server, "registered again"),
            Err(error) if !self.failing => {
                tracing::warn!(server = self.server, %error, "not registered, trying on")
            }
            _ => {}
        }
        self.failing = registered.is_err();
    }

    async fn register(&mut self) -> Result<(), RegisterError> {
        let options = Arc::clone(&self.options.borrow());
        let body = fastjson::write(&RegisterBrokerBody {
            filter_server_list: Vec::new(),
            topic_config_serialize_wrapper: topic_table(&self.registered.topics, options.permission),
        });
        let header = RegisterBrokerRequest {
            broker_name: options.name.clone(),
            broker_addr: options.advertised.clone(),
            cluster_name: options.cluster.clone(),
            ha_server_addr: options.ha_address.clone(),
            broker_id: options.id,
            heartbeat_timeout_ms: None,
            enable_acting_master: None,
            compressed: false,
            body_crc32: body_crc32(&body),
            zone_name: None,
        };
        let frame = Frame::request(request::REGISTER_BROKER, &header).with_body(body);
        let answer = self.ask(frame, options.register_timeout).await?;
        self.registered.mark_ordered(&answer);
        Ok(())
    }

    async fn unregister(&mut self) -> Result<(), RegisterError> {
        let options = Arc::clone(&self.options.borrow());
        let header = BrokerRequest {
            broker_name: options.name.clone(),
            broker_addr: options.advertised.clone(),
            cluster_name: options.cluster.clone(),
            broker_id: options.id,
        };
        if self.peer.is_none() {
            return Ok(()); // It never heard of this broker.
        }
        let frame = Frame::request(request::UNREGISTER_BROKER, &header);
        self.ask(frame, UNREGISTER_TIMEOUT).await.map(drop)
    }

    async fn ask(&mut self, frame: Frame, timeout: Duration) -> Result<Frame, RegisterError> {
        let peer = self.connected().await?;
        let answered = peer.request(frame, timeout).await;
        if answered.is_err() {
            peer.close();
            self.peer = None;
        }
        let answer = answered?;
        if answer.code == response::SUCCESS {
            return Ok(answer);
        }
        Err(RegisterError::Refused {
            code: answer.code,
            remark: answer.remark.unwrap_or_default(),
        })
    }

    async fn connected(&mut self) -> Result<Arc<Peer>, RegisterError> {
        if let Some(peer) = self.peer.as_ref().filter(|peer| !peer.is_closed()) {
            return Ok(Arc::clone(peer));
        }
        let address = resolve(&self.server).await?;
        let peer = remoting::connect(address, Arc::new(NameServer), CONNECT_TIMEOUT).await?;
        self.peer = Some(Arc::clone(&peer));
        Ok(peer)
    }
}

impl Registered {
    /// The answer to a registration carries the settings of ordered topics, by topic.
    fn mark_ordered(&self, answer: &Frame) {
        let Ok(settings) = fastjson::read::<KvTable>(&answer.body.contiguous()) else {
            return;
        };
        let names = settings.table.keys().map(String::as_str);
        if self.topics.mark_ordered(names, self.clock.now_ms()) {
            self.saves.wake();
        }
    }
}

async fn resolve(server: &str) -> std::io::Result<SocketAddr> {
    let unknown = || std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address");
    tokio::net::lookup_host(server).await?.next().ok_or_else(unknown)
}

/// All topics as a name server learns them: each may do what it and the broker may.
fn topic_table(topics: &Topics, permission: i32) -> TopicTable {
    let mut snapshot = topics.snapshot();
    let mask = permission | !(perm::READ | perm::WRITE);
    snapshot
        .topic_config_table
        .values_mut()
        .for_each(|topic| topic.perm &= mask);
    TopicTable {
        data_version: snapshot.data_version,
        topic_config_table: snapshot.topic_config_table,
        ..TopicTable::default()
    }
}

/// What a name server may ask of a broker on the broker's connection: nothing that a lone master acts on.
struct NameServer;

impl Serve for NameServer {
    fn serve(self: &Arc<Self>, frame: Frame, _peer: &Arc<Peer>) -> Answer {
        let remark = format!(" request type {} not supported", frame.code);
        Answer::Now(Frame::refusal(response::REQUEST_CODE_NOT_SUPPORTED, remark))
    }

    fn closed(&self, _peer: &Arc<Peer>) {}
}
