//! A broker and its name server in this process, as `rmq broker start` and `rmq dev` run them: sockets first, so that every
//! address is known, then the store, then the line that says it is ready.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rmq::broker::config::{self, Config};
use rmq::broker::{Broker, Listeners, RunningBroker, Start};
use rmq::client::{Admin, BrokerAddress, ClientOptions};
use rmq::namesrv::{self, Namesrv, RunningNamesrv};
use rmq::protocol::settings::{Defaults, Folders, Settings};
use rmq::store::{Clock, RealDisk, SystemClock};
use serde::Serialize;
use tokio::net::TcpListener;

use crate::broker::{Advertised, Configured};
use crate::output::{self, Exit, Failure, Format};
use crate::ports;

/// How often it is looked whether the store still takes messages.
const HEALTH_INTERVAL: Duration = Duration::from_millis(500);

/// How long the broker waits to be registered before it says that it is ready, and how often it asks.
const REGISTERED_WAIT: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// What to do about a port that somebody else has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenTaken {
    Fail,
    TakeFree,
}

/// A running broker with what belongs to it.
pub struct Server {
    broker: RunningBroker,
    namesrv: Option<RunningNamesrv>,
    pub ready: Ready,
    advertised: Advertised,
}

/// Where everything is: the object that `--json` prints when a server is ready. Absent is null.
#[derive(Clone, Debug, Serialize)]
pub struct Ready {
    pub pid: u32,
    pub name: String,
    pub cluster: String,
    pub id: i64,
    pub broker: String,
    pub fast: Option<String>,
    pub namesrv: Option<String>,
    pub advertised: String,
    pub store: PathBuf,
}

struct Sockets {
    broker: TcpListener,
    fast: Option<TcpListener>,
    namesrv: Option<TcpListener>,
}

impl Server {
    /// Starts all of it. Nothing is left running if that fails.
    pub async fn start(configured: Configured, when_taken: WhenTaken) -> Result<Server, Failure> {
        let Configured {
            mut settings,
            folders,
            store,
        } = configured;
        let sockets = Sockets::bind(&settings, when_taken).await?;
        let address = local(&sockets.broker)?;
        let advertised = Advertised::choose(&settings, address)?;
        let namesrv = match sockets.namesrv {
            Some(socket) => Some(start_namesrv(socket, &store, &folders).await?),
            None => None,
        };
        let own_name_server = namesrv.as_ref().map(|namesrv| namesrv.address.to_string());
        if let Some(own) = &own_name_server {
            settings.derive("namesrvAddr", own.clone());
        }
        let fast = sockets.fast.as_ref().map(local).transpose()?;
        let start = start_of(&settings, &folders, &store, &advertised, address);
        let listeners = Listeners {
            main: sockets.broker,
            fast: sockets.fast,
        };
        let broker = Broker::start(start, listeners)
            .await
            .map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
        registered(settings.get("namesrvAddr"), &advertised.address).await;
        let ready = Ready {
            pid: std::process::id(),
            name: settings.get("brokerName").to_owned(),
            cluster: settings.get("brokerClusterName").to_owned(),
            id: settings.number("brokerId"),
            broker: address.to_string(),
            fast: fast.map(|fast| fast.to_string()),
            namesrv: own_name_server,
            advertised: advertised.address.clone(),
            store,
        };
        Ok(Server {
            broker,
            namesrv,
            ready,
            advertised,
        })
    }

    /// Says where it is: talk on stderr, and one line or object on stdout.
    pub fn announce(&self, format: Format) -> Result<(), Failure> {
        let Advertised {
            address,
            why,
            warning,
            ..
        } = &self.advertised;
        output::talk(format_args!("{} advertises {address}: {why}", self.ready.name));
        if let Some(warning) = warning {
            output::note(warning);
        }
        match format {
            Format::Json => output::json(&self.ready),
            Format::Table => {
                let namesrv = match &self.ready.namesrv {
                    Some(namesrv) => format!("name server {namesrv}, "),
                    None => String::new(),
                };
                let Ready {
                    name, broker, store, ..
                } = &self.ready;
                output::line(format_args!(
                    "broker {name} ready on {broker} ({namesrv}store {})",
                    store.display()
                ))
            }
        }
    }

    /// Waits until the store takes nothing any more; the reason.
    pub async fn failed(&self) -> Failure {
        loop {
            if let Some(reason) = self.broker.failure() {
                return Failure::new(
                    Exit::Failed,
                    format!("the store takes no messages any more: {reason}"),
                );
            }
            tokio::time::sleep(HEALTH_INTERVAL).await;
        }
    }

    /// Ends it cleanly: the broker says goodbye to its name servers before its own one ends.
    pub async fn stop(self) -> Result<(), Failure> {
        let stopped = self.broker.stop().await;
        if let Some(namesrv) = self.namesrv {
            namesrv.stop().await;
        }
        stopped.map_err(|error| Failure::new(Exit::Failed, error.to_string()))
    }
}

impl Sockets {
    async fn bind(settings: &Settings, when_taken: WhenTaken) -> Result<Sockets, Failure> {
        let host = settings.get("bindAddress");
        let port = settings.number::<u16>("listenPort");
        let broker = listen("--listen", &format!("{host}:{port}"), when_taken).await?;
        let fast = if local(&broker)?.port() == port && port > 2 {
            fast(host, port - 2).await
        } else {
            None
        };
        // An existing broker.conf is of a broker that registers elsewhere or nowhere.
        let embeds = settings.get("namesrvAddr").is_empty() && settings.defaults() == Defaults::Own;
        let namesrv = match settings.get("namesrvListen") {
            address if embeds => Some(listen("--namesrv-listen", address, when_taken).await?),
            _ => None,
        };
        if namesrv.is_none() && settings.get("namesrvAddr").is_empty() {
            output::note("no name server: clients will not find this broker (name one: --namesrv HOST:PORT)");
        }
        Ok(Sockets {
            broker,
            fast,
            namesrv,
        })
    }
}

/// Waits until a name server hands this broker out, so that whoever reads "ready" finds it. Not for ever: a name server that
/// is away will hear of the broker when it is back.
async fn registered(name_servers: &str, advertised: &str) {
    if name_servers.is_empty() {
        return;
    }
    let admin = Admin::new(ClientOptions::new(name_servers));
    let known = async {
        let is_this = |broker: &BrokerAddress| broker.address == advertised;
        while !admin
            .brokers(None)
            .await
            .is_ok_and(|brokers| brokers.iter().any(is_this))
        {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    if tokio::time::timeout(REGISTERED_WAIT, known).await.is_err() {
        output::note(format!("not registered with {name_servers} yet, trying on"));
    }
}

async fn listen(flag: &str, address: &str, when_taken: WhenTaken) -> Result<TcpListener, Failure> {
    match when_taken {
        WhenTaken::Fail => ports::listen(flag, address).await,
        WhenTaken::TakeFree => ports::listen_here_or_free(flag, address).await,
    }
}

/// The port that clients with a "VIP channel" use; they fall back on the main one.
async fn fast(host: &str, port: u16) -> Option<TcpListener> {
    match TcpListener::bind((host, port)).await {
        Ok(listener) => Some(listener),
        Err(error) => {
            output::note(format!("no fast port {host}:{port}: {error}"));
            None
        }
    }
}

fn local(socket: &TcpListener) -> Result<SocketAddr, Failure> {
    socket
        .local_addr()
        .map_err(|error| Failure::new(Exit::Failed, format!("a socket without an address: {error}")))
}

/// The name server inside of this process keeps its files beside the store.
async fn start_namesrv(
    socket: TcpListener,
    store: &Path,
    folders: &Folders,
) -> Result<RunningNamesrv, Failure> {
    let mut settings = Settings::new(namesrv::config::KEYS, Defaults::Own);
    for (key, file) in [
        ("kvConfigPath", "kvConfig.json"),
        ("configStorePath", "namesrv.properties"),
    ] {
        settings.derive(key, store.join("rmq").join(file).display().to_string());
    }
    Namesrv::start(socket, settings, folders)
        .await
        .map_err(|error| Failure::new(Exit::Failed, error.to_string()))
}

fn start_of(
    settings: &Settings,
    folders: &Folders,
    store: &Path,
    advertised: &Advertised,
    address: SocketAddr,
) -> Start {
    let host = advertised
        .address
        .rsplit_once(':')
        .map_or(advertised.address.as_str(), |(host, _)| host);
    let addresses = config::Addresses {
        advertised: advertised.address.clone(),
        ha: format!("{host}:{}", address.port().wrapping_add(1)),
        store_host: advertised.store_host,
    };
    let clock = Arc::new(SystemClock);
    Start {
        options: config::broker_options(settings, addresses),
        config: Config::new(settings.clone(), store, clock.now_ms()),
        store: config::store_options(settings, folders, advertised.store_host),
        disk: Arc::new(RealDisk),
        clock,
    }
}
