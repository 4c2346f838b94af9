//! The client library against servers that hang, refuse, close or answer oddly, over real sockets.

mod admin;
mod consumer;
mod orderly;
mod producer;
mod server;
