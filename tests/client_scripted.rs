//! The client library against servers that hang, refuse, close or answer oddly, over real sockets.

#[path = "client_scripted/admin.rs"]
mod admin;
#[path = "client_scripted/consumer.rs"]
mod consumer;
#[path = "client_scripted/orderly.rs"]
mod orderly;
#[path = "client_scripted/producer.rs"]
mod producer;
#[path = "client_scripted/server.rs"]
mod server;
