//! `cargo bench`: what rmq has to reach, each measured in turns with its yardstick in the same run.
//!
//! ```text
//! cargo bench                         everything
//! cargo bench -- R1 J1                these two
//! cargo bench -- --gate               exit 1 when a gate is missed
//! cargo bench -- --quick R2           short and rough: does it run?
//! cargo bench -- --reactors 2 R1      the broker with two reactor threads
//! ```
//!
//! One generator thread with prebuilt requests loads all servers (`load.rs`). The yardstick of R1–R4 is an echo that
//! reads and writes the same bytes (`echo.rs`), of R6 a loop of write and sync, of R8 sendfile of the same ranges, of J1–J6
//! Apache RocketMQ, when Java and Maven are there. Servers run as processes on a CPU of their own and stand still while
//! it is not their turn. A ratio is the median over pairs; absolute figures are shown and mean little on another machine.

#[cfg(target_os = "linux")]
#[path = "gates.rs"]
mod gates;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    gates::main()
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("the gates read /proc and use epoll: they run on Linux only");
}
