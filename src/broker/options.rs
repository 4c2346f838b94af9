//! What a broker is told at its start, as typed values. `config.rs` fills it from files, flags and requests; nothing below
//! it sees a key's name.

use std::net::SocketAddr;
use std::time::Duration;

use crate::broker::admin::AdminOptions;
use crate::broker::topics::READ_WRITE;
use crate::protocol::BODY_BYTES_MAX;

/// Options of one broker. Those under "changeable" may be replaced while it runs ([`super::Broker::set_options`]).
#[derive(Debug, Clone, PartialEq)]
pub struct BrokerOptions {
    // Constant after the start.
    /// `brokerName`: one master and its slaves share it.
    pub name: String,
    /// `brokerClusterName`.
    pub cluster: String,
    /// `brokerId`: 0 is the master.
    pub id: i64,
    /// `host:port` that name servers hand to clients (`brokerIP1`, `listenPort`).
    pub advertised: String,
    /// `host:port` of the replication listener, registered with the name servers.
    pub ha_address: String,
    /// The advertised address resolved: part of every record and of every offset message id.
    pub store_host: SocketAddr,
    /// `regionId`: told to clients in every answer to a SEND.
    pub region: String,
    /// `messageDelayLevel`, in milliseconds; level 1 is the first.
    pub delay_levels_ms: Vec<i64>,
    /// `traceTopicEnable`, `msgTraceTopicName`: the trace topic to create at the start, if any.
    pub trace_topic: Option<String>,

    // Changeable.
    /// `namesrvAddr`: `host:port` of every name server.
    pub name_servers: Vec<String>,
    /// `brokerPermission`: bits of [`crate::protocol::request::topic::perm`], narrows every topic's.
    pub permission: i32,
    /// `maxMessageSize`: largest body in bytes.
    pub message_bytes_max: usize,
    /// `autoCreateTopicEnable`.
    pub auto_create_topics: bool,
    /// `autoCreateSubscriptionGroup`.
    pub auto_create_groups: bool,
    /// `defaultTopicQueueNums`: queues of TBW102, hence the most a producer gets unasked.
    pub default_topic_queues: i32,
    /// `traceOn`: whether clients are told to trace.
    pub trace_on: bool,
    /// `longPollingEnable`; without it a pull waits at most `short_polling`.
    pub long_polling: bool,
    /// `shortPollingTimeMills`.
    pub short_polling: Duration,
    /// `litePullMessageEnable`: whether 361 is served, as 11 is.
    pub lite_pull: bool,
    /// `registerNameServerPeriod`.
    pub register_interval: Duration,
    /// `registerBrokerTimeoutMills`.
    pub register_timeout: Duration,
    /// `flushConsumerOffsetInterval`.
    pub offsets_interval: Duration,
    /// `flushDelayOffsetInterval`.
    pub delay_offsets_interval: Duration,
    /// `channelExpiredTimeout`: a group's member that sent no heartbeat for so long is gone.
    pub client_timeout: Duration,
    /// What administrative requests may do.
    pub admin: AdminOptions,
    /// `syncFlushTimeout`: how long a SEND waits to become durable before it is answered with 10.
    pub flush_timeout: Duration,
}

impl Default for BrokerOptions {
    fn default() -> BrokerOptions {
        BrokerOptions {
            name: "broker-a".into(),
            cluster: "DefaultCluster".into(),
            id: 0,
            advertised: "127.0.0.1:10911".into(),
            ha_address: "127.0.0.1:10912".into(),
            store_host: SocketAddr::from(([127, 0, 0, 1], 10911)),
            region: "DefaultRegion".into(),
            delay_levels_ms: super::delay::LEVELS_DEFAULT_MS.to_vec(),
            trace_topic: None,
            name_servers: Vec::new(),
            permission: READ_WRITE,
            message_bytes_max: BODY_BYTES_MAX,
            auto_create_topics: true,
            auto_create_groups: true,
            default_topic_queues: 8,
            trace_on: true,
            long_polling: true,
            short_polling: Duration::from_secs(1),
            lite_pull: true,
            register_interval: Duration::from_secs(30),
            register_timeout: Duration::from_secs(24),
            offsets_interval: Duration::from_secs(5),
            delay_offsets_interval: Duration::from_secs(10),
            client_timeout: Duration::from_secs(120),
            admin: AdminOptions::default(),
            flush_timeout: Duration::from_secs(5),
        }
    }
}
