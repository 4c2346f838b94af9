//! `rmq broker start`: broker and, unless it is told of others, name server in one process.

use std::path::PathBuf;

use rmq::broker::config::{self, Machine};
use rmq::protocol::settings::{self, BadSetting, Folders, Settings};

use crate::Common;
use crate::output::{self, Exit, Failure};
use crate::ports;
use crate::server::{Server, WhenTaken};
use crate::signals::Interrupts;

const EXAMPLES: &str = "\
Examples:
  rmq broker start                               this machine, name server included
  rmq broker start -c broker.conf                as Apache's broker with this file
  rmq broker start -n 'ns1:9876;ns2:9876' --listen 0.0.0.0:10911
  rmq broker start --listen 127.0.0.1:0 --json   on free ports, named in JSON";

/// Run a broker until Ctrl-C or SIGTERM.
///
/// Without -n it has a name server of its own, without -c it listens on this machine only and keeps its store in the user's
/// data directory. A flag is stronger than --set, --set than what requests changed while it ran, and that than the file.
#[derive(clap::Args, Debug)]
#[command(before_help = EXAMPLES)]
pub struct Start {
    #[command(flatten)]
    given: Given,
}

/// What the command line says of a broker.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Given {
    /// Configuration: `.toml`, else Java properties as in Apache's broker.conf; then Apache's defaults hold too.
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// A configuration key; may be given several times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Address to listen on; port 0 is a free one [default: 127.0.0.1:10911].
    #[arg(long, value_name = "HOST:PORT", value_parser = parse_address)]
    pub listen: Option<String>,
    /// Address of the embedded name server [default: 127.0.0.1:9876, a free port if --listen has port 0].
    #[arg(long, value_name = "HOST:PORT", value_parser = parse_address)]
    pub namesrv_listen: Option<String>,
    /// Folder of the store [default: rmq/store in the user's data directory].
    #[arg(long, value_name = "DIR")]
    pub store: Option<PathBuf>,
    /// Its name, shared by a master and its slaves [default: the host name up to its first dot].
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub name: Option<String>,
    /// Cluster it belongs to [default: DefaultCluster].
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub cluster: Option<String>,
    /// Address clients are told, where it is not the one listened on (brokerIP1).
    #[arg(long, value_name = "HOST[:PORT]")]
    pub advertise: Option<String>,
}

/// A configuration with everything laid over everything.
#[derive(Debug)]
pub struct Configured {
    pub settings: Settings,
    pub folders: Folders,
    /// Folder of the store.
    pub store: PathBuf,
}

/// Takes `host:port`.
pub fn parse_address(text: &str) -> Result<String, String> {
    ports::host_and_port(text)
        .map(|_| text.to_owned())
        .ok_or_else(|| "expected HOST:PORT, as in 127.0.0.1:10911".to_owned())
}

impl Start {
    pub async fn run(self, common: &Common) -> Result<Exit, Failure> {
        let mut interrupts = Interrupts::catch()?;
        let configured = self.given.load(common.namesrv.as_deref())?;
        warn(&configured.settings);
        config::unkept(&configured.settings).iter().for_each(output::note);
        let server = Server::start(configured, WhenTaken::Fail).await?;
        server.announce(common.format())?;
        let failure = tokio::select! {
            () = interrupts.next() => None,
            failure = server.failed() => Some(failure),
        };
        interrupts.second_ends_at_once();
        server.stop().await?;
        failure.map_or(Ok(Exit::Ok), Err)
    }
}

impl Given {
    /// Lays all sources over each other; `namesrv` is the flag.
    pub fn load(&self, namesrv: Option<&str>) -> Result<Configured, Failure> {
        let folders = folders()?;
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let machine = Machine {
            folders: folders.clone(),
            host,
        };
        // Who says where the embedded name server listens wants one, whatever the environment names.
        let address = std::env::var("NAMESRV_ADDR")
            .ok()
            .filter(|_| self.namesrv_listen.is_none());
        let address = address.filter(|address| !address.trim().is_empty());
        let flags = self.flags(namesrv)?;
        let given = settings::Given {
            environment: address
                .as_deref()
                .map(|address| ("namesrvAddr", "NAMESRV_ADDR", address)),
            file: self.file.as_deref(),
            set: &self.set,
            flags: &flags,
        };
        let settings = config::load(&given, &machine).map_err(bad_setting)?;
        let store = config::store_root(&settings, &folders);
        Ok(Configured {
            settings,
            folders,
            store,
        })
    }

    /// The keys that flags stand for.
    fn flags(&self, namesrv: Option<&str>) -> Result<Vec<(&'static str, &'static str, String)>, Failure> {
        let mut flags = Vec::new();
        let mut put = |key, flag, value: Option<String>| flags.extend(value.map(|value| (key, flag, value)));
        let listen = self.listen.as_deref().and_then(ports::host_and_port);
        put("bindAddress", "--listen", listen.map(|(host, _)| host.to_owned()));
        put("listenPort", "--listen", listen.map(|(_, port)| port.to_string()));
        let any_port = listen.is_some_and(|(_, port)| port == 0) && namesrv.is_none();
        let namesrv_listen = self
            .namesrv_listen
            .clone()
            .or_else(|| any_port.then(|| "127.0.0.1:0".to_owned()));
        put("namesrvListen", "--namesrv-listen", namesrv_listen);
        put("namesrvAddr", "--namesrv", namesrv.map(str::to_owned));
        put(
            "storePathRootDir",
            "--store",
            self.store.as_ref().map(|store| store.display().to_string()),
        );
        put("brokerName", "--name", self.name.clone());
        put("brokerClusterName", "--cluster", self.cluster.clone());
        let advertise = self
            .advertise
            .as_deref()
            .map(|advertise| match ports::host_and_port(advertise) {
                Some((host, port)) => (host.to_owned(), Some(port.to_string())),
                None => (advertise.to_owned(), None),
            });
        let (host, port) = advertise.map_or((None, None), |(host, port)| (Some(host), port));
        put("brokerIP1", "--advertise", host);
        put("advertisedPort", "--advertise", port);
        Ok(flags)
    }
}

/// Says what was given and will not do what it says.
pub fn warn(settings: &Settings) {
    settings.unknown().iter().for_each(output::note);
    let idle = settings.without_effect();
    if !idle.is_empty() {
        output::note(format!("without effect here: {}", idle.join(", ")));
    }
}

/// The user's folders.
pub fn folders() -> Result<Folders, Failure> {
    use etcetera::BaseStrategy;
    let folders = etcetera::choose_base_strategy()
        .map_err(|error| Failure::new(Exit::Failed, format!("no home folder: {error}")))?;
    Ok(Folders {
        home: folders.home_dir().to_owned(),
        data: folders.data_dir(),
    })
}

/// A file that cannot be read is a failure, what stands in it or on the command line is usage.
pub fn bad_setting(error: BadSetting) -> Failure {
    match error {
        BadSetting::Unreadable { .. } => Failure::new(Exit::Failed, error.to_string()),
        bad => Failure::usage(bad.to_string()),
    }
}
