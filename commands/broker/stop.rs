//! `rmq broker stop`: ends the broker that holds a store on this machine, cleanly.

use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Flock, FlockType, Pid, Signal, fcntl_getlk, kill_process};
use serde::Serialize;

use super::start::Given;
use crate::Common;
use crate::output::{self, Exit, Failure, Format};

/// A broker ends within five seconds; a little more for a slow disk.
const STOP_WAIT: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Stop the broker of a store on this machine: it finishes what it has begun, and leaves a store that needs no recovery.
#[derive(clap::Args, Debug)]
pub struct Stop {
    /// The store of the broker to stop [default: that of `rmq broker start`].
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    /// Find the store as `rmq broker start -c FILE` does.
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    file: Option<PathBuf>,
}

#[derive(Serialize)]
struct Stopped<'a> {
    pid: i32,
    store: &'a Path,
}

impl Stop {
    pub async fn run(self, common: &Common) -> Result<Exit, Failure> {
        let given = Given {
            file: self.file.clone(),
            store: self.store.clone(),
            ..Given::default()
        };
        let store = given.load(None)?.store;
        let Some(holder) = holder(&store)? else {
            return Err(Failure::new(
                Exit::NotFound,
                format!("no broker runs on {}", store.display()),
            ));
        };
        kill_process(holder, Signal::TERM).map_err(|error| {
            let exit = if error == rustix::io::Errno::PERM {
                Exit::Denied
            } else {
                Exit::Failed
            };
            Failure::new(exit, format!("cannot stop pid {}: {error}", holder.as_raw_pid()))
        })?;
        let begin = Instant::now();
        while self::holder(&store)? == Some(holder) {
            if begin.elapsed() > STOP_WAIT {
                return Err(Failure::new(
                    Exit::Failed,
                    format!("pid {} still runs after {STOP_WAIT:?}", holder.as_raw_pid()),
                ));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        let stopped = Stopped {
            pid: holder.as_raw_pid(),
            store: &store,
        };
        match common.format() {
            Format::Json => output::json(&stopped)?,
            Format::Table => {
                output::line(format_args!("stopped pid {} on {}", stopped.pid, store.display()))?
            }
        }
        Ok(Exit::Ok)
    }
}

/// The process that holds the lock of a store.
fn holder(store: &Path) -> Result<Option<Pid>, Failure> {
    let lock = store.join("lock");
    let file = match OpenOptions::new().read(true).write(true).open(&lock) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Failure::new(Exit::Failed, format!("{}: {error}", lock.display()))),
    };
    let asked = Flock {
        length: 1,
        ..Flock::from(FlockType::WriteLock)
    };
    let held = fcntl_getlk(&file, &asked);
    let held = held.map_err(|error| Failure::new(Exit::Failed, format!("{}: {error}", lock.display())))?;
    Ok(held.and_then(|held| held.pid))
}
