//! The broker: tables, data path and administration behind one `Serve`.

pub mod admin;
pub mod config;
pub mod delay;
pub mod groups;
pub mod offsets;
pub mod options;
pub mod persist;
pub mod queue_locks;
pub mod refusal;
pub mod rounds;
pub mod stats;
pub mod topics;
