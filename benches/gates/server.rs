//! A server under measurement: a child process with an address, stopped while it is not its turn.

use std::cell::RefCell;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rmq::protocol::frame::{Encoding, Frame};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::frames::{encode, topic_fields};
use super::machine::Cpus;

/// A running server; killed when dropped, its store removed.
pub struct Server {
    pub name: &'static str,
    pub address: SocketAddr,
    /// In a cell because asking a child whether it has ended changes it.
    child: RefCell<Child>,
    /// Removed after the process has ended.
    store: Option<TempDir>,
    /// Held open: some servers end with their standard input or complain about a closed standard output.
    _stdout: Option<BufReader<std::process::ChildStdout>>,
}

impl Server {
    /// Starts a server that says its address in its first line on stdout; `address_in` finds it there.
    pub fn start(
        name: &'static str,
        cpus: &Cpus,
        command: &mut Command,
        store: Option<TempDir>,
        input: &[u8],
        address_in: impl Fn(&str) -> Option<SocketAddr>,
    ) -> io::Result<Server> {
        let mut child = cpus.spawn(command.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
        child.stdin.take().expect("stdin is piped").write_all(input)?;
        let mut stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let mut line = String::new();
        stdout.read_line(&mut line)?;
        let Some(address) = address_in(&line) else {
            let _ = child.kill();
            let _ = child.wait();
            return Err(io::Error::other(format!(
                "{name} did not say its address but {line:?}"
            )));
        };
        Ok(Server {
            name,
            address,
            child: RefCell::new(child),
            store,
            _stdout: Some(stdout),
        })
    }

    /// Takes a server that says nothing and is ready when it accepts connections at `address`.
    pub fn adopt(name: &'static str, child: Child, address: SocketAddr, store: TempDir) -> Server {
        Server {
            name,
            address,
            child: RefCell::new(child),
            store: Some(store),
            _stdout: None,
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.borrow().id()
    }

    /// Folder of the store, for servers that have one.
    pub fn store(&self) -> &std::path::Path {
        self.store.as_ref().expect("only asked of a broker").path()
    }

    /// Lets no thread of it run until [`Server::resume`]: the other side has the machine for itself.
    pub fn pause(&self) -> io::Result<()> {
        Ok(kill_process(self.process(), Signal::STOP)?)
    }

    pub fn resume(&self) -> io::Result<()> {
        Ok(kill_process(self.process(), Signal::CONT)?)
    }

    fn process(&self) -> Pid {
        Pid::from_child(&self.child.borrow())
    }

    /// The error with the server's name, and how its process ended if it did.
    pub fn blamed(&self, error: &io::Error) -> io::Error {
        let status = self.child.borrow_mut().try_wait().ok().flatten();
        let ended = status.map_or(String::new(), |status| {
            format!(" (the process has ended: {status})")
        });
        io::Error::new(error.kind(), format!("{}: {error}{ended}", self.name))
    }

    /// Sends one request and waits for its answer, on a connection of its own.
    pub fn call(&self, frame: &[u8]) -> io::Result<Vec<u8>> {
        call(self.address, frame)
    }

    /// Creates the topic of the measurements and waits until a message can be sent to it; returns that answer.
    pub fn prepare(&self, encoding: Encoding) -> io::Result<Vec<u8>> {
        let create = encode(
            Encoding::Json,
            rmq::protocol::code::request::UPDATE_AND_CREATE_TOPIC,
            &topic_fields(),
            1,
            &[],
        );
        decode(&self.call(&create)?)?;
        let send = super::frames::Requests::send(encoding, 128, 1);
        let answer = self.call(send.run(0, 1))?;
        decode(&answer)?;
        Ok(answer)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.get_mut().kill();
        let _ = self.child.get_mut().wait();
    }
}

/// One request and its whole answer, its length word included.
pub fn call(address: SocketAddr, frame: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(frame)?;
    read_frame(&mut stream)
}

/// Reads one whole frame from a blocking stream.
pub fn read_frame(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; 4];
    stream.read_exact(&mut frame)?;
    let rest = u32::from_be_bytes(frame[..4].try_into().expect("four bytes")) as usize;
    frame.resize(4 + rest, 0);
    stream.read_exact(&mut frame[4..])?;
    Ok(frame)
}

/// Decodes an answer; one that is not SUCCESS is an error with its remark.
pub fn decode(answer: &[u8]) -> io::Result<Frame> {
    let frame = Frame::decode(answer.to_vec().into()).map_err(io::Error::other)?;
    if frame.code != 0 {
        let remark = frame.remark.unwrap_or_default();
        return Err(io::Error::other(format!(
            "answered with code {}: {remark}",
            frame.code
        )));
    }
    Ok(frame)
}

/// Waits until something accepts connections at `address`.
pub fn await_listener(address: SocketAddr, patience: Duration, child: &mut Child) -> io::Result<()> {
    let deadline = Instant::now() + patience;
    while TcpStream::connect(address).is_err() {
        if let Some(status) = child.try_wait()? {
            return Err(io::Error::other(format!("the server ended with {status}")));
        }
        if Instant::now() > deadline {
            return Err(io::Error::new(
                ErrorKind::TimedOut,
                format!("nothing listens at {address}"),
            ));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}
