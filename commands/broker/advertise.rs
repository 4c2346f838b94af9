//! Which address a broker tells its clients, and why: the first thing that goes wrong with RocketMQ in a container is a broker
//! that advertises an address nobody can reach, so the start line says what was chosen.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::path::Path;

use rmq::protocol::settings::Settings;

use crate::output::{Exit, Failure};

/// The address that goes to name servers and into records.
#[derive(Debug, PartialEq, Eq)]
pub struct Advertised {
    /// `host:port`, the host as it was given.
    pub address: String,
    /// The same resolved: part of every record and message id.
    pub store_host: SocketAddr,
    /// Where it comes from, for the start line.
    pub why: String,
    /// What is likely to go wrong with it.
    pub warning: Option<String>,
}

impl Advertised {
    /// Chooses for a broker that listens on `bound`: `brokerIP1` where it is set (`--advertise`), else the address listened on,
    /// else, when it listens on all, the one this machine reaches others from.
    pub fn choose(settings: &Settings, bound: SocketAddr) -> Result<Advertised, Failure> {
        let port = match settings.number::<u16>("advertisedPort") {
            0 => bound.port(),
            port => port,
        };
        match settings.get("brokerIP1") {
            "" if bound.ip().is_unspecified() => Ok(Advertised::found(port)),
            "" => Ok(Advertised::new(
                bound.ip(),
                port,
                "the address it listens on".to_owned(),
            )),
            name => {
                let source = settings.source("brokerIP1").to_string();
                Advertised::named(name, port, format!("given by {source}")).map_err(|error| {
                    Failure::new(Exit::Failed, format!("{source}: {name} has no address: {error}"))
                })
            }
        }
    }

    fn new(ip: IpAddr, port: u16, why: String) -> Advertised {
        let store_host = SocketAddr::new(ip, port);
        Advertised {
            address: store_host.to_string(),
            store_host,
            why,
            warning: None,
        }
    }

    fn named(name: &str, port: u16, why: String) -> io::Result<Advertised> {
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        let addresses: Vec<SocketAddr> = (bare, port).to_socket_addrs()?.collect();
        // Message ids and records hold IPv4 addresses in Apache's clients.
        let best = addresses
            .iter()
            .find(|address| address.is_ipv4())
            .or(addresses.first());
        let store_host = *best.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let host = if bare.contains(':') {
            format!("[{bare}]")
        } else {
            bare.to_owned()
        };
        Ok(Advertised {
            address: format!("{host}:{port}"),
            store_host,
            why,
            warning: None,
        })
    }

    fn found(port: u16) -> Advertised {
        let mut found = match route_address() {
            Some(ip) => Advertised::new(
                ip,
                port,
                "it listens on all addresses, and this is the one of the default route".to_owned(),
            ),
            None => Advertised::new(
                Ipv4Addr::LOCALHOST.into(),
                port,
                "it listens on all addresses, and this machine has no route to others".to_owned(),
            ),
        };
        if in_container(Path::new("/")) {
            found.warning = Some(format!(
                "in a container, clients outside of it can rarely reach {}: name the address they use with --advertise HOST[:PORT]",
                found.address
            ));
        }
        found
    }
}

/// The address of this machine on its default route. Nothing is sent: connecting a UDP socket only looks the route up.
fn route_address() -> Option<IpAddr> {
    /// In a block reserved for documentation: nobody's.
    const NOBODY: (Ipv4Addr, u16) = (Ipv4Addr::new(192, 0, 2, 1), 9);
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect(NOBODY).ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_loopback() && !ip.is_unspecified()).then_some(ip)
}

/// Whether this process runs in a container, by the marks that Docker, Podman and Kubernetes leave.
fn in_container(root: &Path) -> bool {
    [".dockerenv", "run/.containerenv", "var/run/secrets/kubernetes.io"]
        .iter()
        .any(|mark| root.join(mark).exists())
}

#[cfg(test)]
mod tests {
    use rmq::broker::config::keys::KEYS;
    use rmq::protocol::settings::{Defaults, Source};

    use super::*;

    fn settings(values: &[(&str, &str)]) -> Settings {
        let mut settings = Settings::new(KEYS, Defaults::Own);
        for (key, value) in values {
            settings
                .set(key, value, &Source::Flag("--advertise"))
                .expect("a good value");
        }
        settings
    }

    fn chosen(values: &[(&str, &str)], bound: &str) -> Advertised {
        Advertised::choose(&settings(values), bound.parse().expect("an address")).expect("it resolves")
    }

    #[test]
    fn what_was_given_is_advertised_as_given_and_resolved_for_records() {
        let advertised = chosen(
            &[("brokerIP1", "localhost"), ("advertisedPort", "20911")],
            "0.0.0.0:10911",
        );
        assert_eq!(advertised.address, "localhost:20911");
        assert_eq!(
            advertised.store_host,
            "127.0.0.1:20911".parse().expect("an address")
        );
        assert_eq!(advertised.why, "given by --advertise");
    }

    #[test]
    fn a_broker_on_one_address_advertises_it_with_the_port_it_got() {
        let advertised = chosen(&[], "127.0.0.1:34567");
        assert_eq!(
            (advertised.address.as_str(), advertised.why.as_str()),
            ("127.0.0.1:34567", "the address it listens on")
        );
    }

    #[test]
    fn a_broker_on_all_addresses_never_advertises_zero() {
        assert!(!chosen(&[], "0.0.0.0:10911").store_host.ip().is_unspecified());
    }

    #[test]
    fn a_name_without_an_address_is_an_error_that_names_the_flag() {
        let settings = settings(&[("brokerIP1", "no.such.host.invalid")]);
        let failure = Advertised::choose(&settings, "127.0.0.1:1".parse().expect("an address"))
            .expect_err("no address");
        assert!(
            failure
                .to_string()
                .starts_with("--advertise: no.such.host.invalid has no address"),
            "{failure}"
        );
    }
}
