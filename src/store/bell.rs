//! How a loop of the store sleeps: until it is rung, or for a while.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Remembers one ring until somebody waits.
#[derive(Debug, Default)]
pub(super) struct Bell {
    rung: Mutex<bool>,
    condvar: Condvar,
}

impl Bell {
    pub fn ring(&self) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.condvar.notify_one();
    }

    /// Returns when the bell has been rung, at the latest after `patience`.
    pub fn wait(&self, patience: Duration) {
        let rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut rung, _) = self
            .condvar
            .wait_timeout_while(rung, patience, |rung| !*rung)
            .unwrap_or_else(PoisonError::into_inner);
        *rung = false;
    }
}
