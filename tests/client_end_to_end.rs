//! The client library against a real broker.

#[path = "client_end_to_end/administration.rs"]
mod administration;
#[path = "client_end_to_end/cluster.rs"]
mod cluster;
#[path = "client_end_to_end/messages.rs"]
mod messages;
