//! What a connection has to write: heads and small bodies in one buffer, large parts of bodies as the slices they are,
//! written with one vectored call.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use smallvec::SmallVec;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

use crate::protocol::frame::Frame;

/// Parts of a body from this size on are not copied.
const PART_BYTES_MIN: usize = 4096;
/// Slices of one vectored write.
const SLICES_MAX: usize = 64;
/// A larger buffer is given back once it is written.
const BUFFER_BYTES_KEPT: usize = 64 * 1024;

/// Frames that wait to be written, in order.
#[derive(Default)]
pub(super) struct Outbox {
    buffer: BytesMut,
    /// Bytes of `buffer` that are written.
    written: usize,
    /// Large parts, each with the place in `buffer` that it is written at.
    parts: VecDeque<(usize, Bytes)>,
    part_bytes: usize,
}

impl Outbox {
    /// Bytes that are not written yet.
    pub(super) fn len(&self) -> usize {
        self.buffer.len() - self.written + self.part_bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn push(&mut self, frame: &Frame) {
        frame.encode_head(&mut self.buffer);
        for part in frame.body.parts() {
            if part.len() < PART_BYTES_MIN {
                self.buffer.extend_from_slice(part);
            } else {
                self.parts.push_back((self.buffer.len(), part.clone()));
                self.part_bytes += part.len();
            }
        }
    }

    /// Writes until nothing is left or the socket takes no more, and then the task is woken when it does. Ready with true
    /// when some bytes were written, with false when there were none.
    pub(super) fn poll_write(
        &mut self,
        stream: &mut TcpStream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<bool>> {
        let mut moved = false;
        while !self.is_empty() {
            let written = if self.parts.is_empty() {
                Pin::new(&mut *stream).poll_write(cx, &self.buffer[self.written..])
            } else {
                Pin::new(&mut *stream).poll_write_vectored(cx, &self.slices())
            };
            match written {
                Poll::Pending if moved => return Poll::Ready(Ok(true)),
                other => self.advance(ready!(other)?),
            }
            moved = true;
        }
        Poll::Ready(Ok(moved))
    }

    fn slices(&self) -> SmallVec<[IoSlice<'_>; SLICES_MAX]> {
        let mut slices = SmallVec::new();
        let mut at = self.written;
        for (place, part) in self.parts.iter().take(SLICES_MAX / 2 - 1) {
            if at < *place {
                slices.push(IoSlice::new(&self.buffer[at..*place]));
            }
            slices.push(IoSlice::new(part));
            at = *place;
        }
        if self.parts.len() < SLICES_MAX / 2 && at < self.buffer.len() {
            slices.push(IoSlice::new(&self.buffer[at..]));
        }
        slices
    }

    /// Steps over `count` written bytes.
    fn advance(&mut self, mut count: usize) {
        while let Some((place, part)) = self.parts.front_mut() {
            let before = (*place - self.written).min(count);
            self.written += before;
            count -= before;
            if self.written < *place || count == 0 {
                return;
            }
            let of_part = part.len().min(count);
            part.advance(of_part);
            self.part_bytes -= of_part;
            count -= of_part;
            if !part.is_empty() {
                return;
            }
            self.parts.pop_front();
        }
        self.written += count;
        if self.written == self.buffer.len() {
            self.written = 0;
            self.buffer.clear();
            if self.buffer.capacity() > BUFFER_BYTES_KEPT {
                self.buffer = BytesMut::new();
            }
        }
    }

    /// Gives back the buffers of a connection that is quiet.
    pub(super) fn shrink(&mut self) {
        if self.is_empty() {
            *self = Outbox::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However the socket cuts the bytes, they come out whole and in order.
    #[test]
    fn cuts_lose_nothing() {
        let large = |byte: u8, len: usize| Bytes::from(vec![byte; len]);
        let frames = [
            Frame::answer(0).with_body(vec![Bytes::from_static(b"small")]),
            Frame::answer(0).with_body(vec![
                large(1, 5000),
                Bytes::from_static(b"between"),
                large(2, 4096),
            ]),
            Frame::answer(0).with_body(vec![large(3, 4097)]),
            Frame::refusal(1, "no"),
        ];
        let whole: Vec<u8> = frames.iter().flat_map(|frame| frame.encode()).collect();
        for cut in [1, 3, 7, 97, 4096, 5003, 100_000] {
            let mut outbox = Outbox::default();
            frames.iter().for_each(|frame| outbox.push(frame));
            assert_eq!(outbox.len(), whole.len());
            let mut out = Vec::new();
            while !outbox.is_empty() {
                let offered: Vec<u8> = outbox.slices().iter().flat_map(|slice| slice.to_vec()).collect();
                let taken = cut.min(offered.len());
                out.extend_from_slice(&offered[..taken]);
                outbox.advance(taken);
            }
            assert_eq!(out, whole, "cut every {cut} bytes");
        }
    }
}
