//! `rmq`: Apache RocketMQ's protocol, store and clients in one crate.
//!
//! ```text
//!                  commands/   binary: CLI and TUI; the only place that reads argv, prints, or exits
//!                ┌──────┬────┴─────┬────────┐
//!             broker  namesrv    client              siblings: none imports another
//!             │     │    │         │
//!           store   └─ remoting ───┘                 remoting: tokio sockets.  store: files, no sockets
//!             └──────── protocol                     pure: no I/O, no clock, no tokio
//! ```
//!
//! # Reading order
//!
//! [`protocol::frame`] (what is on the wire) → [`remoting`] (one task per connection, [`remoting::Serve`]) →
//! [`broker`] `serve.rs` (one `match` from request to function) → `broker/send.rs` (the way of a SEND) →
//! [`store`] (files, watermarks) → `store/commit_log.rs` → `broker/pull.rs` (the way of a PULL; the await *is* long polling) →
//! `broker/delay.rs` (the pattern of every feature: a pure rewrite and a pump).
//!
//! # Invariants of absence (held by `tests/tidy.rs`)
//!
//! * `protocol` performs no I/O, reads no clock and does not know tokio.
//! * `store` knows no sockets and no consumer groups.
//! * `broker`, `namesrv` and `client` share only `protocol` and `remoting`.
//! * Nothing below `commands/` prints or exits.
//! * `unsafe` stands in one module, `store::mapped`, each block with its proof.
//!
//! # Glossary (one word per thing: code, logs, help, docs)
//!
//! frame (one remoting command) · opaque (request id in a connection) · message / record (what was sent / its encoded
//! form) · topic, queue (topic + queue id), tag, key · queue offset / log offset (messages / bytes) · commit log, consume
//! queue, index · segment (one file of a family) · append / flush / dispatch · watermark · checkpoint (its persisted
//! copy) · park / release (to a system topic / back) · refusal (a request answered with a code and a remark) · name
//! server, route, broker name, broker id (0 = master) · master, slave.
#![deny(unsafe_code)]

pub mod broker;
pub mod client;
pub mod namesrv;
pub mod protocol;
pub mod remoting;
pub mod store;
