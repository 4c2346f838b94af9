//! The name server: who the brokers are and which topics they hold, for everybody who asks.
//!
//! It keeps nothing but key-value pairs ([`kv`]) and what requests changed of its configuration ([`config`]) on disk; routes
//! ([`routes`]) come from the brokers, which register with every name server. Name servers know nothing of each other.

pub mod config;
pub mod kv;
pub mod routes;
mod serve;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::protocol::settings::{Folders, Settings};
use crate::remoting::{Limits, listen};
use kv::Kv;
use routes::Routes;

/// How often brokers are looked at for those that were silent for too long.
const EXPIRE_INTERVAL: Duration = Duration::from_secs(5);

/// One name server.
pub struct Namesrv {
    // Constant after the start.
    /// What requests changed of the settings.
    config_path: PathBuf,

    // Each with its own lock; none is held while another is taken.
    routes: Mutex<Routes>,
    settings: Mutex<Settings>,
    kv: Kv,
    /// One writer of the file at a time.
    saving_config: tokio::sync::Mutex<()>,
}

/// Why a name server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{path}: {error}", path = path.display())]
    Kv { path: PathBuf, error: io::Error },
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl Namesrv {
    /// Starts to serve a socket. `settings` say where its files are; which address it has says the socket.
    ///
    /// # Errors
    /// If the key-value pairs cannot be read.
    pub async fn start(
        socket: TcpListener,
        settings: Settings,
        folders: &Folders,
    ) -> Result<RunningNamesrv, StartError> {
        let address = socket.local_addr()?;
        let path = folders.expand(settings.get("kvConfigPath"));
        let namesrv = Arc::new(Namesrv {
            config_path: folders.expand(settings.get("configStorePath")),
            routes: Mutex::default(),
            kv: Kv::open(path.clone()).map_err(|error| StartError::Kv { path, error })?,
            settings: Mutex::new(settings),
            saving_config: tokio::sync::Mutex::new(()),
        });
        let stop = watch::Sender::new(false);
        let mut loops = JoinSet::new();
        loops.spawn(listen(
            socket,
            Arc::clone(&namesrv),
            Limits::default(),
            stop.subscribe(),
        ));
        loops.spawn(expire(namesrv, stop.subscribe()));
        Ok(RunningNamesrv { address, stop, loops })
    }

    async fn save_config(&self) -> io::Result<()> {
        let _writer = self.saving_config.lock().await;
        let (path, text) = (self.config_path.clone(), self.settings().saved_text());
        let written = tokio::task::spawn_blocking(move || kv::replace_file(&path, text.as_bytes())).await;
        written.unwrap_or_else(|ended| Err(io::Error::other(ended)))
    }

    fn routes(&self) -> MutexGuard<'_, Routes> {
        self.routes
            .lock()
            .expect("no code panics while it holds the routes")
    }

    fn settings(&self) -> MutexGuard<'_, Settings> {
        self.settings
            .lock()
            .expect("no code panics while it holds the settings")
    }
}

/// Removes silent brokers until `stop`.
async fn expire(namesrv: Arc<Namesrv>, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(EXPIRE_INTERVAL) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        for gone in namesrv.routes().expire(Instant::now()) {
            tracing::warn!(
                broker = gone.name,
                id = gone.id,
                address = gone.address,
                "silent for too long, it is gone"
            );
        }
    }
}

/// A name server that answers. Dropping it ends it at once; [`RunningNamesrv::stop`] writes what is ready first.
pub struct RunningNamesrv {
    /// Where it listens.
    pub address: SocketAddr,
    stop: watch::Sender<bool>,
    loops: JoinSet<()>,
}

impl RunningNamesrv {
    /// Answers what is ready and closes every connection.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        while self.loops.join_next().await.is_some() {}
    }
}
