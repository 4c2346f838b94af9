//! What every client can be told: where the name servers are, and how long things may take. The times exist so that a test
//! (or an impatient user) can change them; the defaults are those of Apache's clients.

use std::time::Duration;

use crate::protocol::BODY_BYTES_MAX;

/// Settings shared by producers, consumers and admin calls.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Addresses (`host:port`) of the name servers. One is asked; the others stand in for it.
    pub name_servers: Vec<String>,
    /// Name of this instance in its client id (`ip@name`). `None`: a name nobody else has. Two clients of one group must
    /// not share a name.
    pub instance_name: Option<String>,
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
    /// Longest wait for the answer to a question (route, offset, member list, admin calls).
    pub request_timeout: Duration,
    /// How often routes are asked for again.
    pub route_interval: Duration,
    /// How often brokers are told that this client lives.
    pub heartbeat_interval: Duration,
}

impl Default for ClientOptions {
    fn default() -> ClientOptions {
        ClientOptions {
            name_servers: Vec::new(),
            instance_name: None,
            connect_timeout: Duration::from_secs(3),
            request_timeout: Duration::from_secs(5),
            route_interval: Duration::from_secs(30),
            heartbeat_interval: Duration::from_secs(30),
        }
    }
}

impl ClientOptions {
    /// Default settings for these name servers, separated by `;` or `,`.
    pub fn new(name_servers: &str) -> ClientOptions {
        ClientOptions {
            name_servers: split_addresses(name_servers),
            ..ClientOptions::default()
        }
    }
}

/// The addresses of a list written with `;` or `,`.
pub fn split_addresses(list: &str) -> Vec<String> {
    list.split([';', ','])
        .map(str::trim)
        .filter(|address| !address.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Settings of a producer.
#[derive(Clone, Debug)]
pub struct ProducerOptions {
    pub client: ClientOptions,
    /// The producer group: who it is to the broker.
    pub group: String,
    /// Time for one send, all its tries together.
    pub send_timeout: Duration,
    /// Further tries after the first one.
    pub retries: u32,
    /// Largest body, before compression.
    pub body_bytes_max: usize,
    /// Bodies of this many bytes and more are compressed.
    pub compress_from: usize,
    /// Most asynchronous sends under way; a further one waits for its turn.
    pub async_sends_max: usize,
    /// Whether brokers that were slow or unreachable lately are avoided.
    pub avoid_slow_brokers: bool,
    /// Queues of a topic that a send creates.
    pub default_topic_queues: i32,
}

impl ProducerOptions {
    pub fn new(client: ClientOptions, group: impl Into<String>) -> ProducerOptions {
        ProducerOptions {
            client,
            group: group.into(),
            send_timeout: Duration::from_secs(3),
            retries: 2,
            body_bytes_max: BODY_BYTES_MAX,
            compress_from: 4096,
            async_sends_max: 1024,
            avoid_slow_brokers: true,
            default_topic_queues: 4,
        }
    }
}
