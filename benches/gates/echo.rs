//! The yardstick: a tokio server that answers every frame with the same bytes and does nothing else.
//!
//! It runs as a child process of the bench (`gates as-echo`), one thread, and takes its answer from standard input.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::process::Command;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::frames::RUN_MAX;
use super::machine::Cpus;
use super::server::Server;

/// Name of the hidden role of the bench binary.
pub const ROLE: &str = "as-echo";

/// Starts an echo that answers each request with `answer`.
pub fn start(cpus: &Cpus, answer: &[u8]) -> io::Result<Server> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(ROLE);
    Server::start("echo", cpus, &mut command, None, answer, |line| {
        line.trim().parse().ok()
    })
}

/// The child's side: serves until it is killed.
pub fn serve() -> io::Result<()> {
    let mut answer = Vec::new();
    io::stdin().read_to_end(&mut answer)?;
    tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?
        .block_on(listen(answer))
}

async fn listen(answer: Vec<u8>) -> io::Result<()> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    println!("{}", listener.local_addr()?);
    io::stdout().flush()?;
    let answers: &'static [u8] = answer.repeat(RUN_MAX).leak();
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(answer_all(stream, answers, answer.len()));
    }
}

/// Reads what is there, and answers all whole frames in it with one write.
async fn answer_all(mut stream: TcpStream, answers: &'static [u8], answer_bytes: usize) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut input = BytesMut::with_capacity(128 * 1024);
    loop {
        input.reserve(64 * 1024);
        if stream.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
        let mut frames = 0;
        while let Some(word) = input.first_chunk::<4>() {
            let whole = 4 + u32::from_be_bytes(*word) as usize;
            if input.len() < whole {
                break;
            }
            input.advance(whole);
            frames += 1;
        }
        while frames > 0 {
            let now = frames.min(RUN_MAX);
            stream.write_all(&answers[..now * answer_bytes]).await?;
            frames -= now;
        }
    }
}
