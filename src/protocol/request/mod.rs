//! Request and answer headers and bodies, one family a file. Header structs are declared by [`crate::headers!`]; bodies
//! are plain serde structs, their members in Java's (alphabetical) order, read and written by [`crate::protocol::fastjson`].
//!
//! Fields that newer clients add to every request (`bname`, `ns`, `nsd`, `oway`, `lo`) are ignored unless declared.

pub mod body;
pub mod broker;
pub mod client;
pub mod group;
pub mod message;
pub mod namesrv;
pub mod pull;
pub mod route;
pub mod send;
pub mod topic;
