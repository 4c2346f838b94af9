//! Apache RocketMQ as the other side: its artifacts from Maven, its broker with the same store settings.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rmq::protocol::frame::Encoding;

use super::broker::{Flush, store_dir};
use super::frames::BROKER_NAME;
use super::machine::Cpus;
use super::server::{Server, await_listener};

/// Version of the artifacts in `benches/apache/pom.xml`.
pub const VERSION: &str = "5.5.0";

/// What the broker's mapped files need of a JDK from 17 on.
const OPENS: [&str; 6] = [
    "--add-opens=java.base/java.nio=ALL-UNNAMED",
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
    "--add-opens=java.base/java.lang=ALL-UNNAMED",
    "--add-opens=java.base/java.util=ALL-UNNAMED",
    "--add-opens=java.base/jdk.internal.ref=ALL-UNNAMED",
    "--add-exports=java.base/jdk.internal.ref=ALL-UNNAMED",
];

/// Why there is nothing to compare with; `None` when Java and Maven are there.
pub fn missing() -> Option<String> {
    let absent = |tool: &&str| {
        !Command::new(tool)
            .arg("--version")
            .output()
            .is_ok_and(|output| output.status.success())
    };
    ["java", "mvn"]
        .iter()
        .find(|tool| absent(tool))
        .map(|tool| format!("{tool} is not there"))
}

/// Fetches the broker's artifacts once; returns their folder.
pub fn fetch() -> io::Result<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("apache-{VERSION}"));
    let done = folder.join("complete");
    if !done.exists() {
        eprintln!("fetching Apache RocketMQ {VERSION} ...");
        let pom = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/apache/pom.xml");
        let mut command = Command::new("mvn");
        command.args(["-q", "-B", "-f", pom, "dependency:copy-dependencies"]);
        command.arg(format!("-DoutputDirectory={}", folder.display()));
        let status = command.stdout(Stdio::null()).status()?;
        if !status.success() {
            return Err(io::Error::other(format!("mvn ended with {status}")));
        }
        fs::write(done, "")?;
    }
    Ok(folder)
}

/// Starts a broker on an empty store and waits for its first acknowledged message, whose time since the start it returns.
pub fn start(cpus: &Cpus, artifacts: &Path) -> io::Result<(Server, Duration)> {
    let store = store_dir()?;
    let address = free_ports()?;
    let settings = store.path().join("broker.conf");
    fs::write(&settings, configuration(address, store.path()))?;
    let mut command = Command::new("java");
    command.args(["-Xms1g", "-Xmx1g"]).args(OPENS);
    command
        .arg(format!("-Duser.home={}", store.path().display()))
        .env("ROCKETMQ_HOME", store.path());
    command
        .arg("-cp")
        .arg(artifacts.join("*"))
        .arg("org.apache.rocketmq.broker.BrokerStartup")
        .arg("-c")
        .arg(&settings);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let begun = Instant::now();
    let mut child = cpus.spawn(&mut command)?;
    let listening = await_listener(address, Duration::from_secs(60), &mut child);
    let server = Server::adopt("apache", child, address, store);
    listening?;
    server.prepare(Encoding::Json)?;
    Ok((server, begun.elapsed()))
}

/// The same settings as [`super::broker::Brokers::start`] leaves to their defaults, spelled out.
fn configuration(address: SocketAddr, store: &Path) -> String {
    let (port, ha_port, store) = (address.port(), address.port() + 1, store.display());
    format!(
        "brokerName={BROKER_NAME}\nbrokerIP1=127.0.0.1\nlistenPort={port}\nhaListenPort={ha_port}\n\
         storePathRootDir={store}\nstorePathCommitLog={store}/commitlog\nflushDiskType={}\n\
         diskMaxUsedSpaceRatio=95\n",
        Flush::Async.key()
    )
}

/// A port that is free together with the two that the broker takes beside it (fast: −2, HA: +1).
fn free_ports() -> io::Result<SocketAddr> {
    let bind = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    for _ in 0..100 {
        let candidate = bind(0)?;
        let port = candidate.local_addr()?.port();
        if port < u16::MAX && port > 1024 && bind(port - 2).is_ok() && bind(port + 1).is_ok() {
            return Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        }
    }
    Err(io::Error::other("no three free ports"))
}
