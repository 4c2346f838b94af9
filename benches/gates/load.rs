//! The generator: one thread, one epoll, prebuilt requests, no allocation while it measures.
//!
//! [`closed`] keeps `depth` requests in flight on each connection and counts answers. Latency is measured where one request
//! is in flight on one connection: there it is the round trip. Latency at a fixed rate is [`super::arrivals`].

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};

use super::frames::{RUN_MAX, Requests, is_success};
use super::machine::{Usage, Watch};

/// How many connections, and how many requests in flight on each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub connections: usize,
    pub depth: usize,
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}×{}", self.connections, self.depth)
    }
}

/// How long to run before counting, and how long to count.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    pub warm_up: Duration,
    pub measure: Duration,
}

/// What one run of the generator saw in its window.
pub struct Load {
    /// Answers that said SUCCESS.
    pub successes: u64,
    /// Answers that said anything else: part of no rate.
    pub refusals: u64,
    /// Bytes of all answers.
    pub bytes: u64,
    pub usage: Usage,
    /// Round trips in nanoseconds; empty unless the shape is 1×1.
    pub round_trips: Histogram<u64>,
}

impl Load {
    /// Successes a second.
    pub fn rate(&self) -> f64 {
        self.successes as f64 / self.usage.seconds
    }

    /// CPU microseconds of the server for one success.
    pub fn server_cpu_us(&self) -> f64 {
        self.usage.server_cpu * 1e6 / self.successes.max(1) as f64
    }

    /// Median round trip in microseconds.
    pub fn p50_us(&self) -> f64 {
        self.round_trips.value_at_quantile(0.5) as f64 / 1000.0
    }
}

/// Nanoseconds up to a minute with three digits.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(100, 60_000_000_000, 3).expect("constant bounds are valid")
}

/// Closed loop against the server at `address`, whose process is `server`.
pub fn closed(
    address: SocketAddr,
    server: u32,
    requests: &Requests,
    shape: Shape,
    window: Window,
) -> io::Result<Load> {
    assert!(shape.depth <= RUN_MAX);
    let mut generator = Generator::connect(address, requests, shape)?;
    generator.run(Instant::now() + window.warm_up)?;
    generator.tally = Tally::default();
    generator.round_trips.reset();
    let watch = Watch::begin(server)?;
    generator.run(Instant::now() + window.measure)?;
    let usage = watch.end()?;
    let Tally {
        successes,
        refusals,
        bytes,
    } = generator.tally;
    Ok(Load {
        successes,
        refusals,
        bytes,
        usage,
        round_trips: generator.round_trips,
    })
}

#[derive(Default)]
struct Tally {
    successes: u64,
    refusals: u64,
    bytes: u64,
}

struct Generator<'a> {
    epoll: rustix::fd::OwnedFd,
    lines: Vec<Line<'a>>,
    events: Vec<epoll::Event>,
    tally: Tally,
    timed: bool,
    round_trips: Histogram<u64>,
}

impl<'a> Generator<'a> {
    fn connect(address: SocketAddr, requests: &'a Requests, shape: Shape) -> io::Result<Generator<'a>> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut lines = Vec::with_capacity(shape.connections);
        for index in 0..shape.connections {
            let line = Line::connect(address, requests, index)?;
            epoll::add(&epoll, &line.stream, line.token, EventFlags::IN)?;
            lines.push(line);
        }
        for line in &mut lines {
            line.send(shape.depth, &epoll)?;
        }
        let timed = shape
            == Shape {
                connections: 1,
                depth: 1,
            };
        let events = Vec::with_capacity(shape.connections);
        Ok(Generator {
            epoll,
            lines,
            events,
            tally: Tally::default(),
            timed,
            round_trips: histogram(),
        })
    }

    fn run(&mut self, until: Instant) -> io::Result<()> {
        let patience = rustix::event::Timespec {
            tv_sec: 10,
            tv_nsec: 0,
        };
        loop {
            if Instant::now() >= until {
                return Ok(());
            }
            self.events.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&patience)) {
                Ok(0) => return Err(io::Error::new(ErrorKind::TimedOut, "no answer within 10 s")),
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in &self.events {
                let line = &mut self.lines[event.data.u64() as usize];
                let flags = event.flags; // copied: the struct is packed
                if flags.contains(EventFlags::OUT) {
                    line.send(0, &self.epoll)?;
                }
                let answered = line.receive(&mut self.tally)?;
                if answered > 0 {
                    if self.timed {
                        self.round_trips
                            .saturating_record(line.sent_at.elapsed().as_nanos() as u64);
                        line.sent_at = Instant::now();
                    }
                    line.send(answered, &self.epoll)?;
                }
            }
        }
    }
}

/// Room for the answers of one read. An answer's body may be larger: it is counted, not kept.
const READ_BYTES: usize = 256 * 1024;

/// One connection of the generator.
struct Line<'a> {
    stream: TcpStream,
    token: EventData,
    requests: &'a Requests,
    /// Next request to send.
    cursor: usize,
    /// Requests to send as soon as `unsent` is written.
    owed: usize,
    unsent: &'a [u8],
    sent_at: Instant,
    input: Vec<u8>,
    filled: usize,
    /// Bytes of the current answer that are still to come and not looked at.
    skip: usize,
    /// Whether `skip` belongs to an answer that has not been counted as ended.
    in_answer: bool,
}

impl<'a> Line<'a> {
    fn connect(address: SocketAddr, requests: &'a Requests, index: usize) -> io::Result<Line<'a>> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Line {
            stream,
            token: EventData::new_u64(index as u64),
            requests,
            cursor: index,
            owed: 0,
            unsent: &[],
            sent_at: Instant::now(),
            input: vec![0; READ_BYTES],
            filled: 0,
            skip: 0,
            in_answer: false,
        })
    }

    /// Sends `count` more requests, as far as the socket takes them; epoll reports when it takes the rest.
    fn send(&mut self, count: usize, epoll: &rustix::fd::OwnedFd) -> io::Result<()> {
        self.owed += count;
        let waited = !self.unsent.is_empty();
        loop {
            if self.unsent.is_empty() {
                let now = self.owed.min(RUN_MAX);
                self.unsent = self.requests.run(self.cursor, now);
                self.cursor += now;
                self.owed -= now;
                if now == 0 {
                    break;
                }
            }
            match self.stream.write(self.unsent) {
                Ok(sent) => self.unsent = &self.unsent[sent..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        let waits = !self.unsent.is_empty();
        if waits != waited {
            let flags = if waits {
                EventFlags::IN | EventFlags::OUT
            } else {
                EventFlags::IN
            };
            epoll::modify(epoll, &self.stream, self.token, flags)?;
        }
        Ok(())
    }

    /// Reads once and returns how many answers have ended.
    fn receive(&mut self, tally: &mut Tally) -> io::Result<usize> {
        let read = match self.stream.read(&mut self.input[self.filled..]) {
            Ok(0) => {
                return Err(io::Error::new(
                    ErrorKind::UnexpectedEof,
                    "the server closed the connection",
                ));
            }
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(0),
            Err(error) => return Err(error),
        };
        self.filled += read;
        tally.bytes += read as u64;
        Ok(self.count(tally))
    }

    /// Passes over the answers in `input`: heads are looked at, bodies skipped.
    fn count(&mut self, tally: &mut Tally) -> usize {
        let (mut at, mut ended) = (0, 0);
        loop {
            let skipped = self.skip.min(self.filled - at);
            at += skipped;
            self.skip -= skipped;
            if self.skip > 0 {
                break;
            }
            if std::mem::take(&mut self.in_answer) {
                ended += 1;
            }
            let rest = &self.input[at..self.filled];
            let Some((head, body)) = split_answer(rest) else {
                break;
            };
            if is_success(&rest[..head]) {
                tally.successes += 1;
            } else {
                tally.refusals += 1;
            }
            at += head;
            self.skip = body;
            self.in_answer = true;
        }
        self.input.copy_within(at..self.filled, 0);
        self.filled -= at;
        ended
    }
}

/// Bytes of the first answer up to the end of its header, and behind it; `None` while the header is incomplete.
pub fn split_answer(bytes: &[u8]) -> Option<(usize, usize)> {
    let word = |at: usize| {
        bytes
            .get(at..at + 4)
            .map(|word| u32::from_be_bytes(word.try_into().expect("four bytes")) as usize)
    };
    let whole = 4 + word(0)?;
    let head = 8 + (word(4)? & 0x00ff_ffff);
    (bytes.len() >= head).then(|| (head, whole - head))
}
