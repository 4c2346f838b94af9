//! When `--count` and `--idle` end consuming.

use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// A right to take one message, of `--count`'s many.
pub struct Claim<'a>(Option<SemaphorePermit<'a>>);

/// Hands out as many claims as messages may be taken. A claim that is dropped unused may be claimed again.
pub struct Count {
    claims: Option<Semaphore>,
}

impl Count {
    pub fn new(count: Option<u64>) -> Count {
        // More than fits a semaphore is as good as no limit.
        let permits = count
            .and_then(|count| usize::try_from(count).ok())
            .filter(|count| *count <= Semaphore::MAX_PERMITS);
        Count {
            claims: permits.map(Semaphore::new),
        }
    }

    /// Waits for a right to take one more message.
    pub async fn claim(&self) -> Claim<'_> {
        match &self.claims {
            Some(claims) => Claim(Some(
                claims.acquire().await.expect("the semaphore is never closed"),
            )),
            None => Claim(None),
        }
    }
}

impl Claim<'_> {
    /// The message counts.
    pub fn use_up(self) {
        if let Some(permit) = self.0 {
            permit.forget();
        }
    }
}

/// The time since something happened last.
pub struct Idle {
    limit: Option<Duration>,
    state: Mutex<IdleState>,
}

struct IdleState {
    since: Instant,
    /// Messages under way: nobody is idle.
    busy: usize,
}

impl Idle {
    pub fn new(limit: Option<Duration>) -> Idle {
        Idle {
            limit,
            state: Mutex::new(IdleState {
                since: Instant::now(),
                busy: 0,
            }),
        }
    }

    /// Counts anew from now.
    pub fn touch(&self) {
        self.lock().since = Instant::now();
    }

    /// A message is under way.
    pub fn begin(&self) {
        self.lock().busy += 1;
    }

    /// A message has ended.
    pub fn end(&self) {
        let mut state = self.lock();
        state.busy -= 1;
        state.since = Instant::now();
    }

    /// Messages under way now.
    pub fn busy(&self) -> usize {
        self.lock().busy
    }

    /// Waits until nothing happened for as long as `--idle` says; for ever without it.
    pub async fn reached(&self) {
        let Some(limit) = self.limit else {
            return std::future::pending().await;
        };
        loop {
            let end = {
                let state = self.lock();
                let since = if state.busy > 0 {
                    Instant::now()
                } else {
                    state.since
                };
                since + limit
            };
            if end <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(end).await;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, IdleState> {
        self.state.lock().expect("nothing panics under this lock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn idle_counts_from_the_last_message_and_never_while_one_is_under_way() {
        let begin = Instant::now();
        let idle = Idle::new(Some(Duration::from_secs(5)));
        tokio::time::sleep(Duration::from_secs(3)).await;
        idle.begin();
        let working = async {
            tokio::time::sleep(Duration::from_secs(60)).await;
            idle.end();
        };
        tokio::join!(working, idle.reached());
        assert_eq!(begin.elapsed().as_secs(), 68);
    }

    #[tokio::test]
    async fn a_claim_not_used_can_be_claimed_again() {
        let count = Count::new(Some(1));
        drop(count.claim().await);
        count.claim().await.use_up();
        let third = tokio::time::timeout(Duration::from_millis(1), count.claim()).await;
        assert!(third.is_err());
    }
}
