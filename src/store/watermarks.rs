//! Offsets into the log that one owner each moves and others wait for.
//!
//! `flushed ≤ written ≤ appended`, and consumers see nothing above `confirmed`: under ASYNC_FLUSH that is `appended`, under
//! SYNC_FLUSH `flushed`.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use tokio::sync::Notify;

/// The store's watermarks at one moment, all log offsets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watermarks {
    /// First byte that retention has not removed.
    pub min: u64,
    /// Behind the last record that got a place.
    pub appended: u64,
    /// What a killed process leaves behind.
    pub written: u64,
    /// What is on disk.
    pub flushed: u64,
    /// What consumers may see.
    pub confirmed: u64,
    /// Up to where messages can be found by key.
    pub indexed: u64,
}

/// Why a wait for durability ended without it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurableError {
    /// The time given has passed; the record is stored and may become durable yet (FLUSH_DISK_TIMEOUT).
    #[error("not flushed in time")]
    Timeout,
    /// The store has failed; the record may be lost.
    #[error("the store has failed: {0}")]
    Poisoned(String),
}

/// An offset that only rises, and those who wait for it. Moved by one owner.
#[derive(Debug, Default)]
pub(super) struct Watermark {
    value: AtomicU64,
    broken: AtomicBool,
    /// By the offset waited for and a number, so that a rise wakes only those it satisfies. Bounded by the requests in
    /// flight. A leaf lock.
    waiting: Mutex<BTreeMap<(u64, u64), Waker>>,
    numbers: AtomicU64,
}

impl Watermark {
    pub fn at(value: u64) -> Watermark {
        Watermark {
            value: AtomicU64::new(value),
            ..Watermark::default()
        }
    }

    pub fn get(&self) -> u64 {
        self.value.load(Ordering::Acquire)
    }

    /// Moves up to `value` without waking anybody: for marks nobody waits for.
    pub fn set(&self, value: u64) {
        debug_assert!(value >= self.value.load(Ordering::Relaxed));
        self.value.store(value, Ordering::Release);
    }

    /// Moves up to `value` and wakes those who waited for no more.
    pub fn raise(&self, value: u64) {
        assert!(value >= self.get(), "a watermark never falls");
        self.value.store(value, Ordering::SeqCst);
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let late = waiting.split_off(&(value + 1, 0));
        let satisfied = std::mem::replace(&mut *waiting, late);
        drop(waiting);
        satisfied.into_values().for_each(Waker::wake);
    }

    /// Ends all waiting, now and later: the watermark will not move any more.
    pub fn break_off(&self) {
        self.broken.store(true, Ordering::SeqCst);
        let waiting = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        waiting.into_values().for_each(Waker::wake);
    }

    /// Waits until the watermark has reached `target`. False: it was broken off before. May be dropped at any time.
    pub async fn reached(&self, target: u64) -> bool {
        if self.get() >= target {
            return true;
        }
        let mut place = Place {
            mark: self,
            key: (target, self.numbers.fetch_add(1, Ordering::Relaxed)),
        };
        poll_fn(|context| place.poll(context.waker())).await
    }

    /// [`Watermark::reached`] with an end to patience.
    pub async fn reached_within(&self, target: u64, patience: Duration) -> Option<bool> {
        if self.get() >= target {
            return Some(true);
        }
        tokio::time::timeout(patience, self.reached(target)).await.ok()
    }
}

/// A place among the waiting, given up when dropped.
struct Place<'a> {
    mark: &'a Watermark,
    key: (u64, u64),
}

impl Place<'_> {
    fn poll(&mut self, waker: &Waker) -> Poll<bool> {
        // Registered before looking, so that no rise is missed.
        let mut waiting = self.mark.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if self.mark.value.load(Ordering::SeqCst) >= self.key.0 {
            return Poll::Ready(true);
        }
        if self.mark.broken.load(Ordering::SeqCst) {
            return Poll::Ready(false);
        }
        waiting.insert(self.key, waker.clone());
        Poll::Pending
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.mark
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.key);
    }
}

/// Counts what happened to a queue, for those who wait for the next time. Counting costs a store and a load while nobody
/// waits.
#[derive(Debug, Default)]
pub(super) struct Arrival {
    count: AtomicU64,
    waiting: AtomicUsize,
    notify: Notify,
}

impl Arrival {
    /// Counts one more. Returns whether somebody must be [woken](Arrival::wake): outside of every lock.
    pub fn count(&self) -> bool {
        self.count.fetch_add(1, Ordering::SeqCst);
        self.waiting.load(Ordering::SeqCst) > 0
    }

    pub fn wake(&self) {
        self.notify.notify_waiters();
    }

    /// Counts one more and wakes.
    pub fn announce(&self) {
        if self.count() {
            self.wake();
        }
    }
}

/// What becomes visible in one queue from the moment of subscribing on: subscribe, read, then wait.
#[derive(Debug)]
pub struct Arrivals {
    arrival: Arc<Arrival>,
    seen: u64,
}

impl Arrivals {
    pub(super) fn subscribe(arrival: Arc<Arrival>) -> Arrivals {
        let seen = arrival.count.load(Ordering::SeqCst);
        Arrivals { arrival, seen }
    }

    /// Waits until something may have become visible since the subscription or the last return. It can return once too
    /// often, never too late: read again. After that, subscribe anew if the queue did not exist before. May be dropped at
    /// any time.
    pub async fn changed(&mut self) {
        let _waiting = Waiting::enter(&self.arrival.waiting);
        loop {
            let notified = self.arrival.notify.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            let count = self.arrival.count.load(Ordering::SeqCst);
            if count != self.seen {
                self.seen = count;
                return;
            }
            notified.await;
        }
    }
}

/// One more who waits, until dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl Waiting<'_> {
    fn enter(waiting: &AtomicUsize) -> Waiting<'_> {
        waiting.fetch_add(1, Ordering::SeqCst);
        Waiting(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_rise_wakes_those_it_satisfies_and_no_others() {
        let mark = Arc::new(Watermark::at(10));
        assert!(mark.reached(10).await);
        let waiting: Vec<_> = [11, 20, 30]
            .map(|target| {
                let mark = mark.clone();
                tokio::spawn(async move { mark.reached(target).await })
            })
            .into();
        while mark.waiting.lock().unwrap().len() < 3 {
            tokio::task::yield_now().await;
        }
        mark.raise(20);
        let keys: Vec<u64> = mark
            .waiting
            .lock()
            .unwrap()
            .keys()
            .map(|(target, _)| *target)
            .collect();
        assert_eq!(keys, [30]);
        mark.break_off();
        let reached: Vec<bool> = futures(waiting).await;
        assert_eq!(reached, [true, true, false]);
        assert!(!mark.reached(31).await);
        assert!(mark.reached(20).await, "what was reached before stays reached");
    }

    async fn futures(handles: Vec<tokio::task::JoinHandle<bool>>) -> Vec<bool> {
        let mut results = Vec::new();
        for handle in handles {
            results.push(handle.await.unwrap());
        }
        results
    }

    #[tokio::test]
    async fn who_gives_up_waiting_leaves_nothing_behind() {
        let mark = Watermark::at(0);
        assert_eq!(mark.reached_within(5, Duration::from_millis(1)).await, None);
        assert!(mark.waiting.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn an_arrival_between_subscribing_and_waiting_is_not_missed() {
        let arrival = Arc::new(Arrival::default());
        let mut arrivals = Arrivals::subscribe(arrival.clone());
        assert!(!arrival.count(), "nobody waits yet");
        arrivals.changed().await;
        let waiting = tokio::spawn(async move { arrivals.changed().await });
        while arrival.waiting.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        arrival.announce();
        waiting.await.unwrap();
        assert_eq!(arrival.waiting.load(Ordering::SeqCst), 0);
    }
}
