//! The client library: producers, consumers and administration, of this crate's servers and of Apache's.
//!
//! * [`Producer`] sends messages.
//! * [`PushConsumer`] hands messages to a handler as they arrive, and shares queues with the other members of its group.
//! * [`PullConsumer`] reads queues at the caller's pace, from any offset, and leaves no trace unless it is told to.
//! * [`Admin`] asks and changes what name servers and brokers know.
//!
//! Each has its own connections (`connect`), routes (`routes`) and presence at the brokers (`presence`). All of it is
//! asynchronous and runs on tokio.

mod admin;
pub mod allocate;
mod compression;
mod connect;
mod consumer;
mod error;
mod faults;
mod ids;
mod offsets_at;
mod options;
mod outgoing;
mod presence;
mod producer;
mod pull;
mod received;
mod routes;

pub use admin::{Admin, BrokerAddress, FoundMessages};
pub use compression::{BadBody, INFLATED_BYTES_MAX};
pub use consumer::{Consumed, ConsumerOptions, EVERYTHING, Order, PushConsumer, QueueProgress, StartFrom};
pub use error::{ClientError, FailedTry, SendFailure};
pub use options::{ClientOptions, ProducerOptions, split_addresses};
pub use outgoing::{BATCH_MESSAGES_MAX, BadMessage, OutgoingMessage};
pub use producer::{Producer, SendResult, SendStatus};
pub use pull::{PullConsumer, PulledMessages, TOOLS_GROUP};
pub use received::ReceivedMessage;
pub use routes::{DEFAULT_TOPIC, Route};
