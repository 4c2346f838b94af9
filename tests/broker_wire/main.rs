//! The broker as its clients see it: raw frames over real sockets.

mod clients;
mod delay;
mod harness;
mod pull;
mod retry;
mod send;
mod topics;
