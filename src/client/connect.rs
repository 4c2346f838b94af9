//! Connections of one client: one to a name server, one to each broker it talks to, made when first needed and kept while
//! they live. Brokers ask on the same connections (a changed group, a reset offset); their requests come out of
//! [`Connections::open`]'s receiver.
//!
//! Addresses are texts (`host:port`) as routes carry them; names are resolved at each connect.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{OnceCell, mpsc, oneshot, watch};

use super::error::ClientError;
use super::options::ClientOptions;
use crate::protocol::code::response;
use crate::protocol::frame::Frame;
use crate::remoting::{self, Answer, Peer, RequestError, Serve};

/// Most requests of brokers that wait for this client to look at them; a further one is refused as busy.
const BROKER_REQUESTS_MAX: usize = 256;

/// A connection that left so many requests in a row unanswered is closed: its other end may be gone without a word, and
/// TCP would find out only after minutes.
const UNANSWERED_MAX: u32 = 2;

/// A request that a broker sent to this client.
#[derive(Debug)]
pub(super) struct BrokerRequest {
    pub frame: Frame,
    /// Takes the answer; dropping it answers that the request is not supported. One-way requests have none.
    pub answer: Option<oneshot::Sender<Frame>>,
}

/// All connections of a client.
pub struct Connections {
    connect_timeout: Duration,
    request_timeout: Duration,
    incoming: Arc<Incoming>,
    /// One cell an address: whoever comes first connects, others wait for the same connection. Bounded by the addresses of
    /// routes and name servers.
    pool: Mutex<HashMap<String, Arc<Cell>>>,
    /// Counts the connections that took the place of an ended one.
    replaced: watch::Sender<u64>,
    name_servers: Mutex<NameServers>,
    closed: AtomicBool,
}

/// The place of one connection.
#[derive(Default)]
struct Cell {
    link: OnceCell<Link>,
    /// An earlier connection to the same address has ended.
    replaces: bool,
}

/// A connection in use.
struct Link {
    peer: Arc<Peer>,
    /// Requests that timed out since the last answer.
    unanswered: AtomicU32,
}

impl Link {
    async fn ask(&self, frame: Frame, timeout: Duration) -> Result<Frame, RequestError> {
        let answer = self.peer.request(frame, timeout).await;
        match answer {
            Ok(_) => self.unanswered.store(0, Ordering::Relaxed),
            Err(RequestError::Timeout) => {
                if self.unanswered.fetch_add(1, Ordering::Relaxed) + 1 >= UNANSWERED_MAX {
                    self.peer.close();
                }
            }
            Err(_) => {}
        }
        answer
    }
}

/// Who may be asked for routes, and who is asked at present.
struct NameServers {
    addresses: Vec<String>,
    chosen: usize,
}

impl Connections {
    /// Connections for these options, none made yet, and the requests that brokers will send on them.
    pub(super) fn open(options: &ClientOptions) -> (Arc<Connections>, mpsc::Receiver<BrokerRequest>) {
        let (sender, requests) = mpsc::channel(BROKER_REQUESTS_MAX);
        let addresses = options.name_servers.clone();
        // Clients spread over the name servers by chance.
        let chosen = fastrand::usize(..addresses.len().max(1));
        let connections = Connections {
            connect_timeout: options.connect_timeout,
            request_timeout: options.request_timeout,
            incoming: Arc::new(Incoming { sender }),
            pool: Mutex::default(),
            replaced: watch::Sender::new(0),
            name_servers: Mutex::new(NameServers { addresses, chosen }),
            closed: AtomicBool::new(false),
        };
        (Arc::new(connections), requests)
    }

    /// The timeout for questions.
    pub fn request_timeout(&self) -> Duration {
        self.request_timeout
    }

    /// Changes whenever a connection took the place of an ended one: its other end may have forgotten this client.
    pub(super) fn replaced(&self) -> watch::Receiver<u64> {
        self.replaced.subscribe()
    }

    /// The addresses of the name servers.
    pub fn name_servers(&self) -> Vec<String> {
        self.name_servers
            .lock()
            .expect("no panic under this lock")
            .addresses
            .clone()
    }

    /// Replaces the name servers. The next question goes to a listed one, also if a removed one still answers.
    pub fn set_name_servers(&self, addresses: Vec<String>) {
        let removed = {
            let mut servers = self.name_servers.lock().expect("no panic under this lock");
            let kept = servers.addresses.get(servers.chosen).cloned();
            let chosen = addresses
                .iter()
                .position(|address| Some(address) == kept.as_ref());
            servers.chosen = chosen.unwrap_or(0);
            std::mem::replace(&mut servers.addresses, addresses.clone())
        };
        removed
            .iter()
            .filter(|address| !addresses.contains(address))
            .for_each(|address| self.drop_peer(address));
    }

    /// Asks the name servers, the one in use first, until one answers. An answer that says no is an answer.
    pub async fn ask_name_server(&self, frame: Frame) -> Result<Frame, ClientError> {
        let (addresses, chosen) = {
            let servers = self.name_servers.lock().expect("no panic under this lock");
            (servers.addresses.clone(), servers.chosen)
        };
        let mut failure = ClientError::NoNameServer;
        for index in (0..addresses.len()).map(|step| (chosen + step) % addresses.len()) {
            let address = &addresses[index];
            match self.ask(address, frame.clone(), self.request_timeout).await {
                Err(cause) if cause.is_unreachable() => {
                    let addresses = addresses.join(";");
                    failure = ClientError::NameServersUnreachable {
                        addresses,
                        cause: Box::new(cause),
                    };
                }
                answered => {
                    self.choose_name_server(address);
                    return answered;
                }
            }
        }
        Err(failure)
    }

    /// Stays with the name server that answered, if it is still listed.
    fn choose_name_server(&self, answered: &str) {
        let mut servers = self.name_servers.lock().expect("no panic under this lock");
        if let Some(index) = servers.addresses.iter().position(|address| address == answered) {
            servers.chosen = index;
        }
    }

    /// Sends a request and waits for its answer, connecting first if need be; `timeout` covers both. Refusals come back as
    /// frames: see [`accepted`].
    pub async fn ask(&self, address: &str, frame: Frame, timeout: Duration) -> Result<Frame, ClientError> {
        let deadline = tokio::time::Instant::now() + timeout;
        let cell = self.cell(address);
        let link = self.link(&cell, address, timeout).await?;
        let left = deadline.saturating_duration_since(tokio::time::Instant::now());
        link.ask(frame, left)
            .await
            .map_err(|cause| request_error(address, timeout, cause))
    }

    /// Sends a request that nobody answers. Returning means that it is queued, not that it arrived.
    pub async fn tell(&self, address: &str, frame: Frame, timeout: Duration) -> Result<(), ClientError> {
        let cell = self.cell(address);
        let link = self.link(&cell, address, timeout).await?;
        link.peer
            .oneway(frame.oneway())
            .map_err(|cause| request_error(address, timeout, cause))
    }

    /// The connection in a cell, made if there is none. Whoever waits for another's attempt waits no longer than for its own.
    async fn link<'a>(
        &self,
        cell: &'a Cell,
        address: &str,
        timeout: Duration,
    ) -> Result<&'a Link, ClientError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(ClientError::Closed);
        }
        let timeout = timeout.min(self.connect_timeout);
        let connecting = cell.link.get_or_try_init(|| async {
            let link = self.connect(address).await?;
            if cell.replaces {
                self.replaced.send_modify(|count| *count += 1);
            }
            Ok(link)
        });
        match tokio::time::timeout(timeout, connecting).await {
            Ok(connected) => connected,
            Err(_) => Err(ClientError::Unreachable {
                address: address.to_owned(),
                cause: format!("no connection within {timeout:?}"),
            }),
        }
    }

    /// The cell of an address; a fresh one if the connection in it has ended.
    fn cell(&self, address: &str) -> Arc<Cell> {
        let mut pool = self.pool.lock().expect("no panic under this lock");
        let ended = |cell: &Arc<Cell>| cell.link.get().is_some_and(|link| link.peer.is_closed());
        let before = pool.get(address);
        if let Some(cell) = before.filter(|cell| !ended(cell)) {
            return cell.clone();
        }
        let cell = Arc::new(Cell {
            replaces: before.is_some(),
            ..Cell::default()
        });
        pool.insert(address.to_owned(), cell.clone());
        cell
    }

    async fn connect(&self, address: &str) -> Result<Link, ClientError> {
        let unreachable = |cause: String| ClientError::Unreachable {
            address: address.to_owned(),
            cause,
        };
        let resolved = tokio::net::lookup_host(address)
            .await
            .map_err(|cause| unreachable(cause.to_string()))?;
        let mut failure = "the name has no address".to_owned();
        for target in resolved {
            match remoting::connect(target, self.incoming.clone(), self.connect_timeout).await {
                Ok(peer) => {
                    return Ok(Link {
                        peer,
                        unanswered: AtomicU32::new(0),
                    });
                }
                Err(cause) => failure = cause.to_string(),
            }
        }
        Err(unreachable(failure))
    }

    fn drop_peer(&self, address: &str) {
        let cell = self
            .pool
            .lock()
            .expect("no panic under this lock")
            .remove(address);
        if let Some(link) = cell.as_ref().and_then(|cell| cell.link.get()) {
            link.peer.close();
        }
    }

    /// Closes every connection; later calls fail.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        let pool = std::mem::take(&mut *self.pool.lock().expect("no panic under this lock"));
        pool.values()
            .filter_map(|cell| cell.link.get())
            .for_each(|link| link.peer.close());
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        self.close();
    }
}

/// The answer if it says success; its code and remark as an error otherwise.
pub(super) fn accepted(address: &str, answer: Frame) -> Result<Frame, ClientError> {
    match answer.code {
        response::SUCCESS => Ok(answer),
        _ => Err(refusal(address, &answer)),
    }
}

/// The error of an answer that says no.
pub(super) fn refusal(address: &str, answer: &Frame) -> ClientError {
    ClientError::Refused {
        address: address.to_owned(),
        code: answer.code,
        remark: answer
            .remark
            .clone()
            .unwrap_or_else(|| "without a reason".to_owned()),
    }
}

fn request_error(address: &str, timeout: Duration, cause: RequestError) -> ClientError {
    let address = address.to_owned();
    match cause {
        RequestError::Timeout => ClientError::Timeout { address, timeout },
        RequestError::Closed => ClientError::Disconnected { address },
        unsent => ClientError::NotSent {
            address,
            cause: unsent.to_string(),
        },
    }
}

/// Hands the requests of brokers to whoever this client is.
struct Incoming {
    sender: mpsc::Sender<BrokerRequest>,
}

impl Serve for Incoming {
    fn serve(self: &Arc<Self>, frame: Frame, _peer: &Arc<Peer>) -> Answer {
        let (answer, answered) = oneshot::channel();
        let (code, oneway) = (frame.code, frame.is_oneway());
        let request = BrokerRequest {
            frame,
            answer: (!oneway).then_some(answer),
        };
        match self.sender.try_send(request) {
            _ if oneway => Answer::None,
            Ok(()) => Answer::Later(Box::pin(async move {
                Some(answered.await.unwrap_or_else(|_| unsupported(code)))
            })),
            Err(mpsc::error::TrySendError::Closed(_)) => Answer::Now(unsupported(code)),
            Err(mpsc::error::TrySendError::Full(_)) => Answer::Now(Frame::refusal(
                response::SYSTEM_BUSY,
                "the client has too many requests to answer",
            )),
        }
    }

    fn closed(&self, _peer: &Arc<Peer>) {}
}

fn unsupported(code: i32) -> Frame {
    Frame::refusal(
        response::REQUEST_CODE_NOT_SUPPORTED,
        format!("request type {code} not supported by this client"),
    )
}
