//! Listening sockets: an error that names the flag and the process that has the port.

use std::fs;
use std::io;
use std::path::Path;

use tokio::net::TcpListener;

use crate::output::{Exit, Failure};

/// Listens on `address` (`host:port`), which `flag` gave.
pub async fn listen(flag: &str, address: &str) -> Result<TcpListener, Failure> {
    TcpListener::bind(address)
        .await
        .map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => taken(flag, address),
            _ => Failure::new(Exit::Failed, format!("{flag} {address}: {error}")),
        })
}

/// Listens on `address`, or on a free port of the same host if it is taken.
pub async fn listen_here_or_free(flag: &str, address: &str) -> Result<TcpListener, Failure> {
    match TcpListener::bind(address).await {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => listen(flag, &with_port(address, 0)).await,
        Err(error) => Err(Failure::new(Exit::Failed, format!("{flag} {address}: {error}"))),
        Ok(listener) => Ok(listener),
    }
}

/// Splits `host:port`, `[v6]:port`.
pub fn host_and_port(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    if bare.is_empty() || (bare == host && host.contains(':')) {
        return None;
    }
    Some((host, port.parse().ok()?))
}

/// The same host with another port.
pub fn with_port(address: &str, port: u16) -> String {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    format!("{host}:{port}")
}

fn taken(flag: &str, address: &str) -> Failure {
    let holder = host_and_port(address).and_then(|(_, port)| holder(Path::new("/proc"), port));
    let by = holder.map_or_else(String::new, |holder| format!(" by {holder}"));
    Failure::new(Exit::Failed, format!("{flag} {address}: the port is taken{by}")).next_step(format!(
        "choose another with {flag}; {flag} {} takes a free one",
        with_port(address, 0)
    ))
}

/// The process that listens on a TCP port, as `pid 42 (java -jar broker.jar)`. Only where there is a Linux `/proc`, and only
/// if the process is ours or we are root.
fn holder(proc: &Path, port: u16) -> Option<String> {
    let sockets: Vec<String> = ["net/tcp", "net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(proc.join(table)).ok())
        .flat_map(|table| {
            listeners(&table, port)
                .map(|inode| format!("socket:[{inode}]"))
                .collect::<Vec<_>>()
        })
        .collect();
    let processes = fs::read_dir(proc).ok()?.flatten();
    let pid = processes
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .find(|pid| has_open(&proc.join(pid.to_string()).join("fd"), &sockets))?;
    let command = fs::read(proc.join(pid.to_string()).join("cmdline")).unwrap_or_default();
    Some(format!("pid {pid} ({})", shown_command(&command)))
}

/// Inodes of the sockets in a `/proc/net/tcp` table that listen on `port`.
fn listeners(table: &str, port: u16) -> impl Iterator<Item = &str> {
    const LISTEN: &str = "0A";
    table.lines().skip(1).filter_map(move |line| {
        let mut columns = line.split_ascii_whitespace();
        let local = columns.nth(1)?;
        let state = columns.nth(1)?;
        let local_port = u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()?;
        let inode = columns.nth(5)?;
        (local_port == port && state == LISTEN).then_some(inode)
    })
}

fn has_open(descriptors: &Path, sockets: &[String]) -> bool {
    let Ok(descriptors) = fs::read_dir(descriptors) else {
        return false;
    };
    descriptors
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .any(|target| sockets.iter().any(|socket| target.as_os_str() == socket.as_str()))
}

/// A command line for one line of text: its words, cut where it gets long.
fn shown_command(command: &[u8]) -> String {
    const CHARACTERS_MAX: usize = 60;
    let words = String::from_utf8_lossy(command).replace('\0', " ");
    let words = words.trim();
    match words.char_indices().nth(CHARACTERS_MAX) {
        Some((end, _)) => format!("{}…", &words[..end]),
        None => words.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_split_at_the_last_colon() {
        assert_eq!(host_and_port("127.0.0.1:9876"), Some(("127.0.0.1", 9876)));
        assert_eq!(host_and_port("[::1]:0"), Some(("[::1]", 0)));
        for wrong in ["9876", ":9876", "host:", "host:70000", "::1", "[]:1"] {
            assert_eq!(host_and_port(wrong), None, "{wrong}");
        }
        assert_eq!(with_port("[::1]:9876", 0), "[::1]:0");
    }

    #[tokio::test]
    async fn a_taken_port_names_the_flag_and_this_process() {
        let first = listen("--listen", "127.0.0.1:0").await.expect("a free port");
        let address = first.local_addr().expect("a bound socket").to_string();
        let failure = listen("--listen", &address)
            .await
            .expect_err("the port is taken")
            .to_string();
        assert!(
            failure.starts_with(&format!("--listen {address}: the port is taken")),
            "{failure}"
        );
        if cfg!(target_os = "linux") {
            assert!(
                failure.contains(&format!("by pid {} (", std::process::id())),
                "{failure}"
            );
        }
        let other = listen_here_or_free("--listen", &address)
            .await
            .expect("another port");
        assert_ne!(other.local_addr().expect("a bound socket").to_string(), address);
    }

    #[test]
    fn a_listening_socket_is_found_in_the_table() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             0: 0100007F:2694 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0 100 0 0 10 0\n\
             1: 0100007F:2694 0100007F:D431 01 00000000:00000000 00:00000000 00000000  1000        0 4712 1 0 20 4 30 10 -1\n";
        assert_eq!(listeners(table, 9876).collect::<Vec<_>>(), ["4711"]);
        assert_eq!(listeners(table, 9877).count(), 0);
    }
}
