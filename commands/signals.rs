//! Ctrl-C and SIGTERM: the first asks for a clean end, the second ends at once.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::output::{Exit, Failure};

/// Both signals, caught from the moment this exists.
pub struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupts {
    /// Catches them from now on.
    pub fn catch() -> Result<Interrupts, Failure> {
        let caught = || -> io::Result<Interrupts> {
            Ok(Interrupts {
                interrupt: signal(SignalKind::interrupt())?,
                terminate: signal(SignalKind::terminate())?,
            })
        };
        caught().map_err(|error| Failure::new(Exit::Failed, format!("cannot catch Ctrl-C: {error}")))
    }

    /// Waits for the next of them. Nothing is lost if the future is dropped.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// From now on one more signal ends the process at once: for the time in which it ends cleanly.
    pub fn second_ends_at_once(mut self) {
        tokio::spawn(async move {
            self.next().await;
            std::process::exit(Exit::Interrupted as i32);
        });
    }
}
