//! One queue that this consumer owns: its window of unfinished messages, its lock, and the end of its ownership.
//!
//! A queue is *active*, then *stopping* (nothing is pulled or started any more; what runs still counts), then *released*
//! (what ends now changes nothing: the queue is somebody else's).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::window::Window;
use crate::client::ids;
use crate::client::received::ReceivedMessage;
use crate::protocol::request::body::MessageQueue;
use crate::protocol::request::client::ProcessQueueInfo;

/// How far the ownership of a queue has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    Active,
    Stopping,
    Released,
}

/// Messages of one pull, and the generation of the window they were taken in.
#[derive(Debug)]
pub(super) struct Taken {
    pub generation: u64,
    pub messages: Vec<ReceivedMessage>,
}

/// A queue that this consumer owns. Shared by its pull loop, its handlers and the rebalance.
pub(super) struct OwnedQueue {
    pub queue: MessageQueue,
    stage: watch::Sender<Stage>,
    /// Counts what makes a held pull worthless: a reset, a new subscription.
    calls: watch::Sender<u64>,
    window: Mutex<Window>,
    /// Rung when messages are finished: there may be room for a pull again.
    room: Notify,
    /// Handler calls under way.
    running: watch::Sender<usize>,
    /// Messages whose handler failed while the queue was stopping, by offset: handed back only if nothing unfinished lies
    /// below them, so that none is both handed back and pulled again.
    failed: Mutex<BTreeMap<u64, ReceivedMessage>>,
    /// When the broker last confirmed the lock.
    locked_at: Mutex<Option<Instant>>,
    /// Epoch milliseconds, for running info.
    last_pull: AtomicI64,
    last_consume: AtomicI64,
}

impl OwnedQueue {
    pub fn new(queue: MessageQueue, start: u64) -> OwnedQueue {
        OwnedQueue {
            queue,
            stage: watch::Sender::new(Stage::Active),
            calls: watch::Sender::new(0),
            window: Mutex::new(Window::new(start)),
            room: Notify::new(),
            running: watch::Sender::new(0),
            failed: Mutex::default(),
            locked_at: Mutex::default(),
            last_pull: AtomicI64::new(0),
            last_consume: AtomicI64::new(0),
        }
    }

    /// Reads or changes the window.
    pub fn window<T>(&self, use_it: impl FnOnce(&mut Window) -> T) -> T {
        use_it(&mut self.window.lock().expect("the window does not panic"))
    }

    pub fn stage(&self) -> Stage {
        *self.stage.borrow()
    }

    /// Waits until the queue is at this stage or behind it.
    pub async fn reached(&self, stage: Stage) {
        // The sender lives in self, so the wait ends only by reaching the stage.
        let _ = self.stage.subscribe().wait_for(|now| *now >= stage).await;
    }

    /// Moves on to a stage; there is no way back.
    pub fn advance(&self, stage: Stage) {
        self.stage.send_if_modified(|now| {
            let forward = *now < stage;
            *now = (*now).max(stage);
            forward
        });
    }

    /// Makes a held pull start again, with what is wanted now.
    pub fn call(&self) {
        self.calls.send_modify(|count| *count += 1);
    }

    pub fn calls(&self) -> watch::Receiver<u64> {
        self.calls.subscribe()
    }

    /// Goes on at another offset; what was taken before no longer counts.
    pub fn reset(&self, offset: u64) {
        self.window(|window| window.reset(offset));
        self.failed.lock().expect("no panic under this lock").clear();
        self.call();
    }

    /// Whether messages of this generation still count.
    pub fn counts(&self, generation: u64) -> bool {
        self.stage() < Stage::Released && self.window(|window| window.generation()) == generation
    }

    /// Marks messages as finished: consumed, or handed back.
    pub fn finish(&self, generation: u64, offsets: impl Iterator<Item = u64>) {
        if self.stage() == Stage::Released {
            return;
        }
        self.window(|window| window.finish(generation, offsets));
        self.last_consume.store(ids::now_ms(), Ordering::Relaxed);
        self.room.notify_one();
    }

    /// Rung after messages were finished; one waiter.
    pub async fn finished_some(&self) {
        self.room.notified().await;
    }

    /// A handler call begins; it ends when the answer is dropped.
    pub fn begin(self: &Arc<Self>) -> Running {
        self.running.send_modify(|count| *count += 1);
        Running { queue: self.clone() }
    }

    /// Waits until no handler runs.
    pub async fn idle(&self) {
        let _ = self.running.subscribe().wait_for(|count| *count == 0).await;
    }

    /// Keeps messages whose handler failed while the queue was stopping.
    pub fn keep_failed(&self, messages: Vec<ReceivedMessage>) {
        let mut failed = self.failed.lock().expect("no panic under this lock");
        failed.extend(
            messages
                .into_iter()
                .map(|message| (message.queue_offset, message)),
        );
    }

    /// The failed message that lies lowest of all unfinished ones.
    pub fn take_lowest_failed(&self) -> Option<ReceivedMessage> {
        let lowest = self.window(|window| window.lowest())?;
        self.failed
            .lock()
            .expect("no panic under this lock")
            .remove(&lowest)
    }

    /// Notes what the broker said about the lock.
    pub fn set_locked(&self, locked: bool) {
        *self.locked_at.lock().expect("no panic under this lock") = locked.then(Instant::now);
    }

    pub fn is_locked(&self, validity: Duration) -> bool {
        let locked_at = *self.locked_at.lock().expect("no panic under this lock");
        locked_at.is_some_and(|at| at.elapsed() < validity)
    }

    pub fn note_pull(&self) {
        self.last_pull.store(ids::now_ms(), Ordering::Relaxed);
    }

    /// What an administrator sees of this queue.
    pub fn info(&self, lock_validity: Duration) -> ProcessQueueInfo {
        let (count, bytes, (low, high), committable) = self.window(|window| {
            (
                window.len(),
                window.bytes(),
                window.bounds(),
                window.committable(),
            )
        });
        ProcessQueueInfo {
            cached_msg_count: count as i32,
            cached_msg_min_offset: low as i64,
            cached_msg_max_offset: high as i64,
            cached_msg_size_mib: (bytes >> 20) as i32,
            commit_offset: committable as i64,
            droped: self.stage() != Stage::Active,
            last_consume_timestamp: self.last_consume.load(Ordering::Relaxed),
            last_pull_timestamp: self.last_pull.load(Ordering::Relaxed),
            locked: self.is_locked(lock_validity),
            ..ProcessQueueInfo::default()
        }
    }
}

/// A handler call under way.
pub(super) struct Running {
    queue: Arc<OwnedQueue>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.queue.running.send_modify(|count| *count -= 1);
    }
}
