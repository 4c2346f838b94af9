//! Connections over real sockets: order, held answers, gates, bounds, damage, both directions.

mod bounds;
mod harness;
mod order;
mod requests;
mod strangers;
