//! The name server over its socket: what Apache's brokers say to it, what clients and tools ask it.

#[path = "../golden_frames/recordings.rs"]
mod recordings;

mod apache_brokers;
mod brokers;
mod harness;
mod tools;
