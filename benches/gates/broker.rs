//! Starts the broker that is measured: the `rmq` binary of the same build, a fresh store, free ports.

use std::io;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rmq::protocol::frame::Encoding;
use tempfile::TempDir;

use super::frames::{BROKER_NAME, Requests};
use super::machine::Cpus;
use super::server::{Server, decode};

/// When an acknowledged message is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    Async,
    Sync,
}

impl Flush {
    /// The value of `flushDiskType`.
    pub fn key(self) -> &'static str {
        match self {
            Flush::Async => "ASYNC_FLUSH",
            Flush::Sync => "SYNC_FLUSH",
        }
    }
}

/// What every broker of a run is started with.
#[derive(Clone, Debug)]
pub struct Brokers {
    pub cpus: Cpus,
    /// Reactor threads; `None` leaves the broker's own choice.
    pub reactors: Option<usize>,
}

impl Brokers {
    /// A broker on an empty store.
    pub fn start(&self, flush: Flush) -> io::Result<Server> {
        let store = store_dir()?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_rmq"));
        command
            .args([
                "--json",
                "broker",
                "start",
                "--listen",
                "127.0.0.1:0",
                "--name",
                BROKER_NAME,
                "--store",
            ])
            .arg(store.path());
        command.args(["--set", &format!("flushDiskType={}", flush.key())]);
        if let Some(reactors) = self.reactors {
            command.env("TOKIO_WORKER_THREADS", reactors.to_string());
        }
        command.stderr(Stdio::null());
        Server::start("rmq", &self.cpus, &mut command, Some(store), &[], ready_address)
    }

    /// Time from starting the process to the first acknowledged message on an empty store.
    pub fn time_to_first_send(&self) -> io::Result<Duration> {
        let begun = Instant::now();
        let server = self.start(Flush::Async)?;
        decode(&server.call(Requests::send(Encoding::Json, 128, 1).run(0, 1))?)?;
        Ok(begun.elapsed())
    }
}

/// The broker's address in its ready line.
fn ready_address(line: &str) -> Option<std::net::SocketAddr> {
    let ready: serde_json::Value = serde_json::from_str(line).ok()?;
    ready.get("broker")?.as_str()?.parse().ok()
}

/// A folder for a store on the disk of the build folder, not in memory.
pub fn store_dir() -> io::Result<TempDir> {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))
}
