//! The name server: routes to brokers, kept in memory.

pub mod config;
