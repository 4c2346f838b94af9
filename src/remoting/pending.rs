//! The requests of one connection whose handlers wait: held pulls, group commits, topics being created.
//!
//! Each future has its own alarm, so that a wake-up costs one poll however many wait.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use super::Waiting;
use super::signal::Signal;
use crate::protocol::frame::{Encoding, Frame};

/// What an answer needs of its request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub code: i32,
    pub opaque: i32,
    pub encoding: Encoding,
    pub oneway: bool,
}

/// How a handler ended.
#[allow(
    clippy::large_enum_variant,
    reason = "a box would cost every answer an allocation"
)]
pub(super) enum Outcome {
    Answer(Option<Frame>),
    Panicked,
}

/// Futures by slot.
pub(super) struct Pending {
    slots: Vec<Option<Slot>>,
    free: Vec<usize>,
    ready: Arc<Ready>,
}

struct Slot {
    future: Waiting,
    asked: Asked,
    alarm: Arc<Alarm>,
    waker: Waker,
}

/// Slots whose futures were woken.
struct Ready {
    slots: Mutex<Vec<usize>>,
    signal: Arc<Signal>,
}

struct Alarm {
    slot: usize,
    queued: AtomicBool,
    ready: Arc<Ready>,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            self.ready
                .slots
                .lock()
                .expect("nothing panics under this lock")
                .push(self.slot);
            self.ready.signal.raise();
        }
    }
}

impl Pending {
    pub(super) fn new(signal: Arc<Signal>) -> Pending {
        Pending {
            slots: Vec::new(),
            free: Vec::new(),
            ready: Arc::new(Ready {
                slots: Mutex::default(),
                signal,
            }),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Polls a new future. `Err` is the slot where it waits from now on.
    pub(super) fn begin(&mut self, mut future: Waiting, asked: Asked) -> Result<Outcome, usize> {
        // Most futures that can end at once do; they get no alarm.
        if let Poll::Ready(outcome) = poll_caught(&mut future, Waker::noop()) {
            return Ok(outcome);
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        let alarm = Arc::new(Alarm {
            slot,
            queued: AtomicBool::new(false),
            ready: self.ready.clone(),
        });
        let waker = Waker::from(alarm.clone());
        self.slots[slot] = Some(Slot {
            future,
            asked,
            alarm,
            waker,
        });
        match self.poll(slot) {
            Some((_, outcome)) => Ok(outcome),
            None => Err(slot),
        }
    }

    /// A slot that was woken since it was polled last.
    pub(super) fn next_woken(&mut self) -> Option<usize> {
        self.ready
            .slots
            .lock()
            .expect("nothing panics under this lock")
            .pop()
    }

    /// Polls the future of a slot; an ended one leaves it.
    pub(super) fn poll(&mut self, slot: usize) -> Option<(Asked, Outcome)> {
        // An alarm that outlived its future may name an empty slot, or wake the next future in it: harmless both.
        let entry = self.slots[slot].as_mut()?;
        entry.alarm.queued.store(false, Ordering::Release);
        let Poll::Ready(outcome) = poll_caught(&mut entry.future, &entry.waker) else {
            return None;
        };
        let asked = entry.asked;
        self.slots[slot] = None;
        self.free.push(slot);
        Some((asked, outcome))
    }

    /// Gives back the memory of a burst.
    pub(super) fn shrink(&mut self) {
        if self.len() == 0 {
            self.slots = Vec::new();
            self.free = Vec::new();
            *self.ready.slots.lock().expect("nothing panics under this lock") = Vec::new();
        }
    }
}

fn poll_caught(future: &mut Waiting, waker: &Waker) -> Poll<Outcome> {
    let poll = || future.as_mut().poll(&mut Context::from_waker(waker));
    match catch_unwind(AssertUnwindSafe(poll)) {
        Ok(poll) => poll.map(Outcome::Answer),
        Err(_) => Poll::Ready(Outcome::Panicked),
    }
}
