//! The broker: tables, data path and administration behind one `Serve`.

pub mod config;
pub mod stats;
