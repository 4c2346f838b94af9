//! Connections: frames in, frames out, over tokio sockets, the same for both ends. Knows no request codes.
//!
//! One task owns a socket ([`connection`]). It reads what is there, hands every complete frame to [`Serve::serve`] once, in
//! arrival order, and writes all answers that are ready at once. A handler that must wait returns [`Answer::Later`] and is
//! answered when its future ends; [`Answer::Gate`] also holds back the later frames of its connection. Nothing is spawned
//! for a request, so that a ready answer crosses no thread, takes no lock and costs no system call of its own.
//!
//! Requests flow both ways: [`Peer::request`] and [`Peer::oneway`] put frames into a bounded queue of the connection.
//! Every buffer, queue and table below has a named bound; at it the connection stops reading, or the caller is refused.

mod connection;
mod outbox;
mod peer;
mod pending;
mod server;
mod signal;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;

use crate::protocol::frame::{Frame, Malformed};
use connection::Connection;

pub use peer::{Peer, RequestError};
pub use server::listen;

/// Handles the requests of a connection. One value serves many connections.
pub trait Serve: Send + Sync + 'static {
    /// Called once for every incoming request, in arrival order. Must not block. Keep nothing of `frame` in a future that
    /// waits long: its slices hold the whole read buffer.
    fn serve(self: &Arc<Self>, frame: Frame, peer: &Arc<Peer>) -> Answer
    where
        Self: Sized;

    /// The connection has ended. Called exactly once.
    fn closed(&self, peer: &Arc<Peer>);

    /// The connection was closed for bytes that are no frame; called before [`Serve::closed`]. For counting: the listener
    /// logs it once for every address.
    fn malformed(&self, _peer: &Arc<Peer>, _reason: &Malformed) {}
}

/// A future that answers a request. `None`: no answer is owed.
pub type Waiting = Pin<Box<dyn Future<Output = Option<Frame>> + Send>>;

/// What becomes of a request. Opaque and encoding of the answer are set by the connection; a one-way request is never
/// answered, whatever its handler returns.
#[allow(
    clippy::large_enum_variant,
    reason = "a box would cost every ready answer an allocation"
)]
pub enum Answer {
    /// Nothing is owed.
    None,
    /// Written together with all other ready answers of this read.
    Now(Frame),
    /// Polled at once, then whenever it is woken; answered when it ends; dropped when the connection ends.
    Later(Waiting),
    /// Like [`Answer::Later`], and later frames of this connection wait until it has ended.
    Gate(Waiting),
}

/// What connections may take, and for how long.
#[derive(Debug, Clone)]
pub struct Limits {
    /// More connections than this are closed when they are accepted.
    pub connections_max: usize,
    /// How often connections are looked at for the limits below.
    pub sweep: Duration,
    /// A connection without a byte in or out for so many sweeps is closed.
    pub idle_sweeps: u32,
    /// A frame that is not complete after so many sweeps closes its connection.
    pub partial_frame_sweeps: u32,
}

impl Default for Limits {
    /// 120 s of silence, as Apache's `serverChannelMaxIdleTimeSeconds`, and 30 s for one frame.
    fn default() -> Self {
        Limits {
            connections_max: 65_536,
            sweep: Duration::from_secs(1),
            idle_sweeps: 120,
            partial_frame_sweeps: 30,
        }
    }
}

/// Connects to a server. Requests that it sends on this connection go to `service`.
///
/// # Errors
/// What the socket says; `TimedOut` after `timeout`.
pub async fn connect<S: Serve>(
    address: SocketAddr,
    service: Arc<S>,
    timeout: Duration,
) -> io::Result<Arc<Peer>> {
    let connecting = tokio::time::timeout(timeout, TcpStream::connect(address));
    let stream = connecting
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    let connection = Connection::new(stream, service)?;
    let peer = connection.peer().clone();
    let watched = peer.clone();
    tokio::spawn(async move {
        let limits = Limits::default();
        let mut running = std::pin::pin!(connection.run());
        let mut sweep = server::sweeps(&limits);
        loop {
            tokio::select! {
                _ = &mut running => return,
                _ = sweep.tick() => watched.sweep(&limits),
            }
        }
    });
    Ok(peer)
}
