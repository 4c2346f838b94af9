//! The other end of a connection: what is known of it, and the requests that go to it.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI32, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use super::Limits;
use super::signal::Signal;
use crate::protocol::FRAME_BYTES_MAX;
use crate::protocol::frame::{Encoding, FLAG_ONEWAY, Frame, Language};

/// Requests that wait to be written.
const QUEUED_MAX: usize = 1024;
/// Their bytes; one request may exceed it alone.
const QUEUED_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Requests that wait for their answer.
const UNANSWERED_MAX: usize = 65_536;
/// Sweeps without a byte after which the buffers are given back.
const QUIET_SWEEPS: u32 = 2;
/// What the head of a frame takes beyond its texts, at most: the fixed members, quotes and commas.
const HEAD_BYTES: usize = 1024;

/// Why a request has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    #[error("no answer in time")]
    Timeout,
    #[error("the connection is closed")]
    Closed,
    #[error("too many requests wait for this connection")]
    Full,
    #[error("the request is larger than a frame may be")]
    TooLarge,
}

/// Handle to the other end of a connection. Lives as long as anyone holds it; the connection does not wait for that.
pub struct Peer {
    id: u64,
    address: SocketAddr,
    local_address: SocketAddr,
    // What the last request said.
    language: AtomicU8,
    version: AtomicI32,
    encoding: AtomicU8,
    next_opaque: AtomicI32,
    state: AtomicU8,
    /// Sweeps since the last byte in or out.
    quiet: AtomicU32,
    /// 0: no frame is incomplete; else sweeps since it began, plus one.
    partial: AtomicU32,
    pub(super) signal: Arc<Signal>,
    requests: Mutex<Requests>,
    /// Told when queued requests were taken, and when the connection ends.
    changed: Notify,
}

#[derive(Default)]
struct Requests {
    closed: bool,
    queued: VecDeque<Frame>,
    queued_bytes: usize,
    unanswered: HashMap<i32, oneshot::Sender<Frame>, foldhash::fast::RandomState>,
}

const OPEN: u8 = 0;
const CLOSING: u8 = 1;
const ABORTED: u8 = 2;
const CLOSED: u8 = 3;

/// What the owner of the socket is to do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Open,
    /// Write what is ready, then end.
    Closing,
    /// End at once.
    Aborted,
}

impl Peer {
    pub(super) fn new(address: SocketAddr, local_address: SocketAddr) -> Arc<Peer> {
        static NEXT_ID: AtomicU64 = AtomicU64::new(1);
        let canonical = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
        Arc::new(Peer {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            address: canonical(address),
            local_address: canonical(local_address),
            language: AtomicU8::new(Language::OTHER.0),
            version: AtomicI32::new(0),
            encoding: AtomicU8::new(0),
            next_opaque: AtomicI32::new(1),
            state: AtomicU8::new(OPEN),
            quiet: AtomicU32::new(0),
            partial: AtomicU32::new(0),
            signal: Arc::default(),
            requests: Mutex::default(),
            changed: Notify::new(),
        })
    }

    /// Unique in this process.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The remote address; an IPv4 address is one even on a dual-stack listener.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Our own address of this connection.
    pub fn local_address(&self) -> SocketAddr {
        self.local_address
    }

    /// Language of the last request; `OTHER` before the first.
    pub fn language(&self) -> Language {
        Language(self.language.load(Ordering::Relaxed))
    }

    /// Version of the last request (ordinal of `MQVersion`); 0 before the first.
    pub fn version(&self) -> i32 {
        self.version.load(Ordering::Relaxed)
    }

    /// How the last request was written, and so how requests to this peer are; JSON before the first.
    pub fn encoding(&self) -> Encoding {
        match self.encoding.load(Ordering::Relaxed) {
            0 => Encoding::Json,
            _ => Encoding::Binary,
        }
    }

    /// Sends a request and waits for its answer. Waits for room where many requests are queued.
    ///
    /// # Errors
    /// `Timeout` after `timeout` in all; `Full` when 65,536 requests wait for their answers; `Closed`, `TooLarge`.
    pub async fn request(&self, mut frame: Frame, timeout: Duration) -> Result<Frame, RequestError> {
        frame.opaque = self.next_opaque.fetch_add(1, Ordering::Relaxed);
        frame.flag = 0;
        let unanswered = Unanswered {
            peer: self,
            opaque: frame.opaque,
        };
        let answer = async {
            let answer = self.queue_with_room(frame).await?;
            answer.await.map_err(|_| RequestError::Closed)
        };
        let answer = tokio::time::timeout(timeout, answer)
            .await
            .unwrap_or(Err(RequestError::Timeout));
        drop(unanswered);
        answer
    }

    async fn queue_with_room(&self, frame: Frame) -> Result<oneshot::Receiver<Frame>, RequestError> {
        let (sender, receiver) = oneshot::channel();
        let mut request = Some((frame, sender));
        loop {
            let changed = self.changed.notified();
            let (frame, sender) = request.take().expect("put back whenever the queue was full");
            let opaque = frame.opaque;
            match self.queue(frame) {
                Ok(mut requests) => {
                    if requests.unanswered.len() >= UNANSWERED_MAX {
                        // Behind this lock nobody has taken it out of the queue yet.
                        requests.queued.pop_back();
                        return Err(RequestError::Full);
                    }
                    requests.unanswered.insert(opaque, sender);
                    drop(requests);
                    self.signal.raise();
                    return Ok(receiver);
                }
                Err((RequestError::Full, frame)) => request = Some((*frame, sender)),
                Err((error, _)) => return Err(error),
            }
            changed.await;
        }
    }

    /// Sends a request that nobody answers.
    ///
    /// # Errors
    /// `Full` when the queue of the connection is; `Closed`, `TooLarge`.
    pub fn oneway(&self, mut frame: Frame) -> Result<(), RequestError> {
        frame.opaque = self.next_opaque.fetch_add(1, Ordering::Relaxed);
        frame.flag = FLAG_ONEWAY;
        self.queue(frame).map(drop).map_err(|(error, _)| error)?;
        self.signal.raise();
        Ok(())
    }

    /// Puts a frame into the queue and keeps the lock; gives the frame back where there is no room.
    fn queue(&self, mut frame: Frame) -> Result<MutexGuard<'_, Requests>, (RequestError, Box<Frame>)> {
        frame.encoding = self.encoding();
        let bytes = bytes_at_most(&frame);
        let mut requests = self.requests();
        let room = requests.queued.is_empty() || requests.queued_bytes + bytes <= QUEUED_BYTES_MAX;
        let error = if requests.closed {
            RequestError::Closed
        } else if bytes > FRAME_BYTES_MAX {
            RequestError::TooLarge
        } else if requests.queued.len() == QUEUED_MAX || !room {
            RequestError::Full
        } else {
            requests.queued_bytes += bytes;
            requests.queued.push_back(frame);
            return Ok(requests);
        };
        Err((error, Box::new(frame)))
    }

    /// True once the connection has ended or is about to.
    pub fn is_closed(&self) -> bool {
        self.state.load(Ordering::Acquire) != OPEN
    }

    /// Waits until the connection has ended.
    pub async fn closed(&self) {
        loop {
            let changed = self.changed.notified();
            if self.has_ended() {
                return;
            }
            changed.await;
        }
    }

    /// Ends the connection after what is ready was written. Returns at once.
    pub fn close(&self) {
        self.end(CLOSING);
    }

    fn end(&self, state: u8) {
        self.state.fetch_max(state, Ordering::AcqRel);
        self.signal.raise();
    }

    fn requests(&self) -> MutexGuard<'_, Requests> {
        self.requests.lock().expect("nothing panics under this lock")
    }

    // For the task that owns the socket, and for the sweep.

    pub(super) fn state(&self) -> State {
        match self.state.load(Ordering::Acquire) {
            OPEN => State::Open,
            CLOSING => State::Closing,
            _ => State::Aborted,
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.state.load(Ordering::Acquire) == CLOSED
    }

    /// Notes how the peer speaks.
    pub(super) fn heard(&self, request: &Frame) {
        self.language.store(request.language.0, Ordering::Relaxed);
        self.version.store(request.version, Ordering::Relaxed);
        self.encoding
            .store(u8::from(request.encoding == Encoding::Binary), Ordering::Relaxed);
    }

    /// Hands an answer to whoever asked. A late one, or one that nobody asked for, is dropped.
    pub(super) fn answered(&self, answer: Frame) {
        let asker = self.requests().unanswered.remove(&answer.opaque);
        if let Some(asker) = asker {
            // The asker may have given up in this moment.
            drop(asker.send(answer));
        }
    }

    /// Takes all queued requests; `into` is empty and takes their place.
    pub(super) fn take_queued(&self, into: &mut VecDeque<Frame>) {
        let mut requests = self.requests();
        let was_full = requests.queued.len() == QUEUED_MAX || requests.queued_bytes > QUEUED_BYTES_MAX / 2;
        std::mem::swap(&mut requests.queued, into);
        requests.queued_bytes = 0;
        drop(requests);
        if was_full {
            self.changed.notify_waiters();
        }
    }

    /// Some bytes went in or out.
    pub(super) fn moved(&self) {
        self.quiet.store(0, Ordering::Relaxed);
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.quiet.load(Ordering::Relaxed) >= QUIET_SWEEPS
    }

    /// Notes whether the first bytes of a frame wait for the rest. `progress`: another frame was complete since.
    pub(super) fn partial(&self, partial: bool, progress: bool) {
        if !partial {
            self.partial.store(0, Ordering::Relaxed);
        } else if progress || self.partial.load(Ordering::Relaxed) == 0 {
            self.partial.store(1, Ordering::Relaxed);
        }
    }

    /// One look at the limits; see [`Limits::sweep`].
    pub(super) fn sweep(&self, limits: &Limits) {
        let quiet = self.quiet.fetch_add(1, Ordering::Relaxed) + 1;
        if quiet == QUIET_SWEEPS {
            self.signal.raise();
        }
        let partial = self.partial.load(Ordering::Relaxed);
        if partial > 0 {
            // Lost to a frame that completes in this moment.
            let counted =
                self.partial
                    .compare_exchange(partial, partial + 1, Ordering::Relaxed, Ordering::Relaxed);
            if counted.is_ok() && partial > limits.partial_frame_sweeps {
                return self.end(ABORTED);
            }
        }
        if quiet >= limits.idle_sweeps {
            self.end(ABORTED);
        }
    }

    /// The connection has ended: whoever waits is told.
    pub(super) fn ended(&self) {
        self.state.fetch_max(CLOSED, Ordering::AcqRel);
        let mut requests = self.requests();
        requests.closed = true;
        let rest = (
            std::mem::take(&mut requests.queued),
            std::mem::take(&mut requests.unanswered),
        );
        drop(requests);
        drop(rest);
        self.changed.notify_waiters();
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Peer({} {})", self.id, self.address)
    }
}

/// Forgets a request when its future ends or is dropped.
struct Unanswered<'a> {
    peer: &'a Peer,
    opaque: i32,
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        let forgotten = self.peer.requests().unanswered.remove(&self.opaque);
        drop(forgotten);
    }
}

/// Upper bound of a request's encoded size.
fn bytes_at_most(frame: &Frame) -> usize {
    // A character of a text takes six bytes at most: \u0000.
    let texts: usize = frame
        .fields
        .iter()
        .map(|(name, value)| name.len() + value.len() + 6)
        .sum();
    let remark = frame.remark.as_ref().map_or(0, String::len);
    HEAD_BYTES + 6 * (texts + remark) + frame.body.len()
}
