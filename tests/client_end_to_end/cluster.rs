//! A broker over a temporary store and a name server that knows it, in this process, on free ports.

use std::path::Path;
use std::sync::Arc;

use rmq::broker::config::Config;
use rmq::broker::config::keys::KEYS;
use rmq::broker::options::BrokerOptions;
use rmq::broker::{Broker, Listeners, RunningBroker, Start};
use rmq::client::ClientOptions;
use rmq::namesrv::{self, Namesrv, RunningNamesrv};
use rmq::protocol::settings::{Defaults, Folders, Settings};
use rmq::store::{Clock, RealDisk, StoreOptions, SystemClock};
use tempfile::TempDir;
use tokio::net::TcpListener;

/// Name server and broker. Both end when it is dropped.
pub struct Cluster {
    pub names: String,
    _broker: RunningBroker,
    _folder: TempDir,
    _namesrv: RunningNamesrv,
}

impl Cluster {
    /// A broker whose delay levels are this many milliseconds each.
    pub async fn start_with_delays(delay_ms: i64) -> Cluster {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let namesrv = start_namesrv(folder.path()).await;
        let names = namesrv.address.to_string();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener");
        let options = BrokerOptions {
            advertised: address.to_string(),
            store_host: address,
            name_servers: vec![names.clone()],
            delay_levels_ms: vec![delay_ms; 18],
            ..BrokerOptions::default()
        };
        let store = StoreOptions {
            root: folder.path().join("store"),
            segment_bytes: Some(64 << 20),
            store_host: address,
            ..StoreOptions::default()
        };
        let start = Start {
            config: Config::new(
                Settings::new(KEYS, Defaults::Own),
                &store.root,
                SystemClock.now_ms(),
            ),
            options,
            store,
            disk: Arc::new(RealDisk),
            clock: Arc::new(SystemClock),
        };
        let listeners = Listeners {
            main: listener,
            fast: None,
        };
        let broker = Broker::start(start, listeners).await.expect("a broker");
        let cluster = Cluster {
            names,
            _broker: broker,
            _folder: folder,
            _namesrv: namesrv,
        };
        cluster.registered().await;
        cluster
    }

    pub async fn start() -> Cluster {
        Cluster::start_with_delays(20).await
    }

    pub fn client(&self) -> ClientOptions {
        ClientOptions::new(&self.names)
    }

    /// A name for a topic or a group; each test has a cluster of its own.
    pub fn name(&self, kind: &str) -> String {
        kind.to_owned()
    }

    /// Waits until the name server has a route to the broker.
    async fn registered(&self) {
        let reader = rmq::client::PullConsumer::new(self.client(), None);
        while reader.queues("TBW102").await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
}

async fn start_namesrv(folder: &Path) -> RunningNamesrv {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let mut settings = Settings::new(namesrv::config::KEYS, Defaults::Own);
    for (key, file) in [
        ("kvConfigPath", "kv.json"),
        ("configStorePath", "namesrv.properties"),
    ] {
        settings.derive(key, folder.join(file).display().to_string());
    }
    let folders = Folders {
        home: folder.to_owned(),
        data: folder.to_owned(),
    };
    Namesrv::start(listener, settings, &folders)
        .await
        .expect("a name server")
}
