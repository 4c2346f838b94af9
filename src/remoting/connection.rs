//! One connection: the task that owns a socket.
//!
//! The task is one poll function. It is woken by bytes, by room to write, and by a signal (a pending handler woke, a
//! request was queued, the connection is to end). Each round answers what ended, serves every complete frame of the read
//! buffer, writes once, and reads once; it sleeps when a round moves nothing. Where the outbox, the pending set or a gate
//! is at its bound the round neither serves nor reads, and TCP holds the peer back.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::outbox::Outbox;
use super::peer::{Peer, State};
use super::pending::{Asked, Outcome, Pending};
use super::{Answer, Serve, Waiting};
use crate::protocol::FRAME_BYTES_MAX;
use crate::protocol::code::response;
use crate::protocol::frame::{FLAG_RESPONSE, Frame, Malformed};

/// What one read asks for. A frame that is larger grows the buffer as its bytes arrive, never by its stated length.
const READ_BYTES: usize = 32 * 1024;
/// A read buffer that a frame has grown beyond this is given back once the frame is served.
const READ_BYTES_KEPT: usize = 256 * 1024;
/// Unwritten bytes at which a connection stops serving: a peer that does not read its answers gets no more of them.
const UNWRITTEN_BYTES_MAX: usize = 1024 * 1024;
/// Requests of one connection whose handlers wait.
const PENDING_MAX: usize = 16_384;

/// How a connection ended.
pub(super) enum End {
    /// By either side, or by a limit.
    Closed,
    Broken(io::Error),
    Malformed(Malformed),
}

pub(super) struct Connection<S: Serve> {
    stream: TcpStream,
    service: Arc<S>,
    peer: Arc<Peer>,
    input: BytesMut,
    outbox: Outbox,
    pending: Pending,
    /// Slot of the pending handler that holds back all later frames.
    gate: Option<usize>,
    /// Requests taken from the peer's queue, not yet in the outbox.
    requests: VecDeque<Frame>,
    /// The signal was raised, and what it was raised for is not all done.
    signalled: bool,
    /// The waker that the signal has.
    waker: Option<Waker>,
}

impl<S: Serve> Connection<S> {
    pub(super) fn new(stream: TcpStream, service: Arc<S>) -> io::Result<Connection<S>> {
        stream.set_nodelay(true)?;
        let peer = Peer::new(stream.peer_addr()?, stream.local_addr()?);
        let pending = Pending::new(peer.signal.clone());
        Ok(Connection {
            stream,
            service,
            peer,
            input: BytesMut::new(),
            outbox: Outbox::default(),
            pending,
            gate: None,
            requests: VecDeque::new(),
            signalled: false,
            waker: None,
        })
    }

    pub(super) fn peer(&self) -> &Arc<Peer> {
        &self.peer
    }

    /// Runs until the connection ends; dropping the future ends it too. Both tell the service.
    pub(super) async fn run(mut self) -> End {
        let end = poll_fn(|cx| self.poll(cx)).await;
        if let End::Malformed(reason) = &end {
            self.service.malformed(&self.peer, reason);
        }
        end
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        if !self
            .waker
            .as_ref()
            .is_some_and(|known| known.will_wake(cx.waker()))
        {
            self.peer.signal.register(cx.waker());
            self.waker = Some(cx.waker().clone());
        }
        loop {
            self.signalled |= self.peer.signal.take();
            match self.peer.state() {
                State::Open => {}
                State::Closing => return self.poll_close(cx),
                State::Aborted => return Poll::Ready(End::Closed),
            }
            if self.signalled {
                self.answer_signal();
            }
            if let Err(reason) = self.serve_input() {
                // What came before the bad frame was served, and its answers are owed.
                let _ = self.outbox.poll_write(&mut self.stream, cx);
                return Poll::Ready(End::Malformed(reason));
            }
            let wrote = match self.outbox.poll_write(&mut self.stream, cx) {
                Poll::Ready(Ok(wrote)) => wrote,
                Poll::Ready(Err(error)) => return Poll::Ready(End::Broken(error)),
                Poll::Pending => false,
            };
            let read = match self.poll_read(cx) {
                Poll::Ready(Ok(0)) => return Poll::Ready(End::Closed),
                Poll::Ready(Ok(_)) => true,
                Poll::Ready(Err(error)) => return Poll::Ready(End::Broken(error)),
                Poll::Pending => false,
            };
            if wrote || read {
                self.peer.moved();
            }
            // A write may have made room for what the bounds held back.
            let room = wrote && self.has_backlog() && self.has_room();
            if !(read || room) {
                return Poll::Pending;
            }
        }
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        match self.outbox.poll_write(&mut self.stream, cx) {
            Poll::Ready(Err(error)) => Poll::Ready(End::Broken(error)),
            Poll::Ready(Ok(_)) if self.outbox.is_empty() => Poll::Ready(End::Closed),
            Poll::Ready(Ok(_)) | Poll::Pending => Poll::Pending,
        }
    }

    fn has_room(&self) -> bool {
        self.outbox.len() < UNWRITTEN_BYTES_MAX
    }

    fn may_serve(&self) -> bool {
        self.gate.is_none() && self.has_room() && self.pending.len() < PENDING_MAX
    }

    fn has_backlog(&self) -> bool {
        self.signalled || !self.input.is_empty()
    }

    /// Answers handlers that ended and takes queued requests, as far as there is room.
    fn answer_signal(&mut self) {
        while self.has_room() {
            if let Some(slot) = self.pending.next_woken() {
                if let Some((asked, outcome)) = self.pending.poll(slot) {
                    self.gate = self.gate.filter(|gate| *gate != slot);
                    self.finish(asked, outcome);
                }
                continue;
            }
            if self.requests.is_empty() {
                self.peer.take_queued(&mut self.requests);
            }
            match self.requests.pop_front() {
                Some(request) => self.outbox.push(&request),
                None => {
                    self.signalled = false;
                    break;
                }
            }
        }
        if self.peer.is_quiet() {
            self.shrink();
        }
    }

    /// A quiet connection keeps no buffers.
    fn shrink(&mut self) {
        if self.input.is_empty() {
            self.input = BytesMut::new();
        }
        self.requests.shrink_to_fit();
        self.outbox.shrink();
        self.pending.shrink();
    }

    /// Serves the complete frames of the read buffer.
    fn serve_input(&mut self) -> Result<(), Malformed> {
        let mut largest = 0;
        while self.may_serve() {
            match Frame::check(&self.input)? {
                Some(len) if len <= self.input.len() => {
                    let whole = self.input.split_to(len).freeze();
                    self.serve(Frame::decode(whole)?);
                    largest = largest.max(len);
                }
                _ => {
                    self.peer.partial(!self.input.is_empty(), largest > 0);
                    break;
                }
            }
        }
        if largest > READ_BYTES_KEPT && self.input.is_empty() {
            self.input = BytesMut::new();
        }
        Ok(())
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if !self.may_serve() {
            return Poll::Pending;
        }
        // Doubling: what is reserved stays in proportion to what has arrived.
        self.input.reserve(READ_BYTES.max(self.input.len()));
        pin!(self.stream.read_buf(&mut self.input)).poll(cx)
    }

    fn serve(&mut self, frame: Frame) {
        if frame.is_response() {
            return self.peer.answered(frame);
        }
        self.peer.heard(&frame);
        let asked = Asked {
            code: frame.code,
            opaque: frame.opaque,
            encoding: frame.encoding,
            oneway: frame.is_oneway(),
        };
        let (service, peer) = (&self.service, &self.peer);
        match catch_unwind(AssertUnwindSafe(|| service.serve(frame, peer))) {
            Ok(Answer::Now(answer)) => self.answer(asked, answer),
            Ok(Answer::None) => {}
            Ok(Answer::Later(future)) => drop(self.hold(asked, future)),
            Ok(Answer::Gate(future)) => self.gate = self.hold(asked, future),
            Err(_) => self.finish(asked, Outcome::Panicked),
        }
    }

    /// Polls a handler's future for the first time; its slot when it waits.
    fn hold(&mut self, asked: Asked, future: Waiting) -> Option<usize> {
        match self.pending.begin(future, asked) {
            Ok(outcome) => {
                self.finish(asked, outcome);
                None
            }
            Err(slot) => Some(slot),
        }
    }

    fn finish(&mut self, asked: Asked, outcome: Outcome) {
        match outcome {
            Outcome::Answer(Some(answer)) => self.answer(asked, answer),
            Outcome::Answer(None) => {}
            Outcome::Panicked => {
                tracing::error!(code = asked.code, peer = %self.peer.address(), "a request handler panicked");
                let remark = format!("the handler of request code {} failed", asked.code);
                self.answer(asked, Frame::refusal(response::SYSTEM_ERROR, remark));
            }
        }
    }

    fn answer(&mut self, asked: Asked, mut answer: Frame) {
        if asked.oneway {
            return;
        }
        if answer.body.len() > FRAME_BYTES_MAX - READ_BYTES {
            let remark = format!(
                "the answer of {} bytes is larger than a frame may be",
                answer.body.len()
            );
            answer = Frame::refusal(response::SYSTEM_ERROR, remark);
        }
        answer.opaque = asked.opaque;
        answer.flag = FLAG_RESPONSE;
        answer.encoding = asked.encoding;
        self.outbox.push(&answer);
    }
}

impl<S: Serve> Drop for Connection<S> {
    fn drop(&mut self) {
        self.peer.ended();
        self.service.closed(&self.peer);
    }
}
