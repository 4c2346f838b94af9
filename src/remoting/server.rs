//! The accept loop: connections in, until it is stopped.

use std::collections::HashSet;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior};

use super::connection::{Connection, End};
use super::{Limits, Peer, Serve};

/// How long a stopping listener waits for its connections to write what is ready.
const STOP_WAIT: Duration = Duration::from_secs(2);
/// Pause after a failed accept: file descriptors do not come back faster for asking again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Time between two lines in the log about it: descriptors come back one by one, and are taken again at once.
const ACCEPT_LOG_INTERVAL: Duration = Duration::from_secs(60);
/// Addresses whose malformed frames were logged; more are counted, not logged.
const STRANGERS_MAX: usize = 1024;

/// Accepts connections and runs them, until `stop` turns true or its sender is gone. Returns when all have ended, at most
/// two seconds later.
pub async fn listen<S: Serve>(
    listener: TcpListener,
    service: Arc<S>,
    limits: Limits,
    mut stop: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    let mut peers: Vec<Weak<Peer>> = Vec::new();
    let strangers = Arc::new(Strangers::default());
    let mut sweep = sweeps(&limits);
    let mut logged = None;
    let mut stop = std::pin::pin!(stop.wait_for(|stop| *stop));
    loop {
        tokio::select! {
            _ = &mut stop => break,
            stream = accept(&listener, &mut logged) => {
                if connections.len() >= limits.connections_max {
                    tracing::warn!(max = limits.connections_max, "too many connections, one more is closed");
                    continue;
                }
                if let Ok(connection) = Connection::new(stream, service.clone()) {
                    peers.push(Arc::downgrade(connection.peer()));
                    connections.spawn(run(connection, strangers.clone()));
                }
            }
            Some(_) = connections.join_next() => {}
            _ = sweep.tick() => peers.retain(|peer| look_at(peer, &limits)),
        }
    }
    drop(listener);
    peers
        .iter()
        .filter_map(Weak::upgrade)
        .for_each(|peer| peer.close());
    let all_ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(STOP_WAIT, all_ended).await.is_err() {
        connections.shutdown().await;
    }
}

/// The ticks of [`Limits::sweep`]. After a pause of the whole process they do not come in a row, which would take every
/// connection for idle.
pub(super) fn sweeps(limits: &Limits) -> Interval {
    let mut sweep = tokio::time::interval(limits.sweep);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    sweep
}

/// Sweeps one peer; false when its connection has ended.
fn look_at(peer: &Weak<Peer>, limits: &Limits) -> bool {
    let Some(peer) = peer.upgrade() else { return false };
    peer.sweep(limits);
    !peer.has_ended()
}

async fn run<S: Serve>(connection: Connection<S>, strangers: Arc<Strangers>) {
    let peer = connection.peer().clone();
    match connection.run().await {
        End::Closed => {}
        End::Broken(error) => tracing::debug!(peer = %peer.address(), %error, "connection broken"),
        End::Malformed(reason) if strangers.is_new(peer.address().ip()) => {
            tracing::warn!(peer = %peer.address(), %reason, "not a RocketMQ frame, connection closed");
        }
        End::Malformed(reason) => {
            tracing::debug!(peer = %peer.address(), %reason, "not a RocketMQ frame again")
        }
    }
}

/// The next connection, however long it takes. Without file descriptors it waits for some instead of spinning or ending.
/// `logged`: when the log was told last.
async fn accept(listener: &TcpListener, logged: &mut Option<Instant>) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) if concerns_one_connection(&error) => {}
            Err(error) => {
                if logged.is_none_or(|told| told.elapsed() > ACCEPT_LOG_INTERVAL) {
                    tracing::error!(%error, "connections cannot be accepted, trying on");
                    *logged = Some(Instant::now());
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Errors of a connection that was gone before it was accepted.
fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}

/// Addresses that sent something else than frames.
#[derive(Default)]
struct Strangers {
    seen: Mutex<HashSet<IpAddr>>,
}

impl Strangers {
    /// True the first time an address is told.
    fn is_new(&self, address: IpAddr) -> bool {
        let mut seen = self.seen.lock().expect("nothing panics under this lock");
        seen.len() < STRANGERS_MAX && seen.insert(address)
    }
}
