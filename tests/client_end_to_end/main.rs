//! The client library against a real broker.

mod administration;
mod cluster;
mod messages;
