//! Wakes a connection's task from outside and says that there was a reason.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;

/// A flag with the task that waits for it. One reader, any number of writers.
#[derive(Default)]
pub(super) struct Signal {
    raised: AtomicBool,
    task: Mutex<Option<Waker>>,
}

impl Signal {
    /// Sets the flag and wakes the task; a flag that is set already has woken it.
    pub(super) fn raise(&self) {
        if !self.raised.swap(true, Ordering::AcqRel) {
            let task = self.task.lock().expect("nothing panics under this lock").clone();
            if let Some(task) = task {
                task.wake();
            }
        }
    }

    /// Clears the flag and says whether it was set. The reader registers before it takes.
    pub(super) fn take(&self) -> bool {
        self.raised.load(Ordering::Acquire) && self.raised.swap(false, Ordering::AcqRel)
    }

    pub(super) fn register(&self, task: &Waker) {
        *self.task.lock().expect("nothing panics under this lock") = Some(task.clone());
    }
}
