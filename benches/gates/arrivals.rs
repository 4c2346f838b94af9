//! Latency at a fixed rate: from the instant a message was due to its acknowledgement, and to its arrival at a long-polling
//! consumer (R9, J4).
//!
//! Producer, consumer and clock are this one thread. Send times are fixed beforehand and latency counts from them: a server
//! that stalls is charged for every message that became due meanwhile.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rmq::protocol::code::{request, response};
use rmq::protocol::frame::{Encoding, Frame};
use rmq::protocol::message::records;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use super::bench::{Bench, ratio_of};
use super::broker::Flush;
use super::echo;
use super::frames::{Requests, encode, pull_fields};
use super::load::{Window, histogram};
use super::machine::{Usage, Watch};
use super::ratios::{Outcome, median, pairs};
use super::server::Server;

/// Messages a second: low enough that each finds an idle server.
const RATE: u32 = 500;
const BODY_BYTES: usize = 128;

/// Latencies of one run, in nanoseconds.
pub struct Latencies {
    /// Due → acknowledged.
    pub acknowledged: Histogram<u64>,
    /// Due → received; empty without a consumer.
    pub received: Histogram<u64>,
    pub usage: Usage,
}

/// Sends at [`RATE`] to queue 0, with a consumer on the same queue if `consume`.
pub fn measure(server: &Server, consume: bool, window: Window) -> io::Result<Latencies> {
    let mut run = Run::start(server.address, consume, window)?;
    let mut watch = None;
    while run.step()? {
        if watch.is_none() && run.due_count > run.warm_up_count {
            watch = Some(Watch::begin(server.pid())?);
        }
    }
    let usage = watch
        .ok_or_else(|| io::Error::other("the window is shorter than one message"))?
        .end()?;
    Ok(Latencies {
        acknowledged: run.acknowledged,
        received: run.received,
        usage,
    })
}

/// Who an event is for.
const TIMER: u64 = 0;
const PRODUCER: u64 = 1;
const CONSUMER: u64 = 2;

struct Run {
    epoll: rustix::fd::OwnedFd,
    timer: rustix::fd::OwnedFd,
    producer: Line,
    consumer: Option<Line>,
    /// The request, its body at the end.
    request: Vec<u8>,
    begun: Instant,
    /// Messages that were due so far.
    due_count: u32,
    warm_up_count: u32,
    count: u32,
    /// Indices of the messages that are sent and not acknowledged, in order.
    in_flight: VecDeque<u32>,
    acknowledged: Histogram<u64>,
    received: Histogram<u64>,
}

impl Run {
    fn start(address: SocketAddr, consume: bool, window: Window) -> io::Result<Run> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let timer = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK,
        )?;
        let producer = Line::connect(address)?;
        let mut consumer = if consume {
            Some(Line::connect(address)?)
        } else {
            None
        };
        if let Some(line) = &mut consumer {
            line.pull(0)?;
            epoll::add(&epoll, &line.stream, EventData::new_u64(CONSUMER), EventFlags::IN)?;
        }
        epoll::add(&epoll, &timer, EventData::new_u64(TIMER), EventFlags::IN)?;
        epoll::add(
            &epoll,
            &producer.stream,
            EventData::new_u64(PRODUCER),
            EventFlags::IN,
        )?;
        let messages = |time: Duration| (time.as_secs_f64() * f64::from(RATE)) as u32;
        let request = Requests::send(Encoding::Json, BODY_BYTES, 1).run(0, 1).to_vec();
        // The clock is read before the timer is set: no message is sent before it is due.
        let begun = Instant::now();
        let period = Timespec {
            tv_sec: 0,
            tv_nsec: i64::from(1_000_000_000 / RATE),
        };
        timerfd_settime(
            &timer,
            TimerfdTimerFlags::empty(),
            &Itimerspec {
                it_interval: period,
                it_value: period,
            },
        )?;
        Ok(Run {
            epoll,
            timer,
            producer,
            consumer,
            request,
            begun,
            due_count: 0,
            warm_up_count: messages(window.warm_up),
            count: messages(window.warm_up + window.measure),
            in_flight: VecDeque::new(),
            acknowledged: histogram(),
            received: histogram(),
        })
    }

    /// Waits for one round of events; false when the last message has been acknowledged and received.
    fn step(&mut self) -> io::Result<bool> {
        let mut events = Vec::with_capacity(4);
        let patience = Timespec {
            tv_sec: 10,
            tv_nsec: 0,
        };
        match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&patience)) {
            Ok(0) => return Err(io::Error::new(ErrorKind::TimedOut, "nothing happened for 10 s")),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            match event.data.u64() {
                TIMER => self.send_due()?,
                PRODUCER => self.acknowledge()?,
                _ => self.receive()?,
            }
        }
        let measured = u64::from(self.count - self.warm_up_count);
        Ok(self.acknowledged.len() < measured || self.consumer.is_some() && self.received.len() < measured)
    }

    fn send_due(&mut self) -> io::Result<()> {
        let mut expirations = [0; 8];
        rustix::io::read(&self.timer, &mut expirations)?;
        for _ in 0..u64::from_ne_bytes(expirations) {
            if self.due_count == self.count {
                return Ok(());
            }
            let body_at = self.request.len() - BODY_BYTES;
            self.request[body_at..body_at + 4].copy_from_slice(&self.due_count.to_be_bytes());
            self.producer.stream.write_all(&self.request)?;
            self.in_flight.push_back(self.due_count);
            self.due_count += 1;
        }
        Ok(())
    }

    fn acknowledge(&mut self) -> io::Result<()> {
        self.producer.fill()?;
        while let Some(answer) = self.producer.next_frame()? {
            if answer.code != response::SUCCESS {
                return Err(io::Error::other(format!(
                    "a message was refused with code {}",
                    answer.code
                )));
            }
            let index = self
                .in_flight
                .pop_front()
                .ok_or_else(|| io::Error::other("more answers than requests"))?;
            if index >= self.warm_up_count {
                self.acknowledged
                    .saturating_record(due_at(self.begun, index).elapsed().as_nanos() as u64);
            }
        }
        Ok(())
    }

    fn receive(&mut self) -> io::Result<()> {
        let line = self
            .consumer
            .as_mut()
            .expect("only a consumer's socket reports this event");
        line.fill()?;
        while let Some(answer) = line.next_frame()? {
            let arrived = Instant::now();
            let next = answer
                .fields
                .get("nextBeginOffset")
                .and_then(|offset| offset.parse().ok());
            line.pull(next.ok_or_else(|| io::Error::other("a PULL's answer without nextBeginOffset"))?)?;
            for record in records(&answer.body.contiguous()) {
                let body = record.map_err(io::Error::other)?.body;
                let index = u32::from_be_bytes(body[..4].try_into().expect("all bodies have BODY_BYTES"));
                // The message that tried out the topic has no index of this run.
                if (self.warm_up_count..self.count).contains(&index) {
                    self.received.saturating_record(
                        arrived
                            .saturating_duration_since(due_at(self.begun, index))
                            .as_nanos() as u64,
                    );
                }
            }
        }
        Ok(())
    }
}

/// When the message with this index is to be sent.
fn due_at(begun: Instant, index: u32) -> Instant {
    begun + Duration::from_secs(1) * (index + 1) / RATE
}

/// A connection whose answers are kept whole. Requests are small enough for a socket's buffer, so writes do not wait.
struct Line {
    stream: TcpStream,
    input: Vec<u8>,
}

impl Line {
    fn connect(address: SocketAddr) -> io::Result<Line> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Line {
            stream,
            input: Vec::with_capacity(64 * 1024),
        })
    }

    fn pull(&mut self, queue_offset: u64) -> io::Result<()> {
        let frame = encode(
            Encoding::Json,
            request::PULL_MESSAGE,
            &pull_fields(&queue_offset.to_string(), 32),
            7,
            &[],
        );
        self.stream.write_all(&frame)
    }

    /// Reads once what is there.
    fn fill(&mut self) -> io::Result<()> {
        let filled = self.input.len();
        self.input.resize(filled + 64 * 1024, 0);
        let read = self.stream.read(&mut self.input[filled..]);
        self.input.truncate(filled + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => Err(io::Error::new(
                ErrorKind::UnexpectedEof,
                "the server closed the connection",
            )),
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            _ => Ok(()),
        }
    }

    fn next_frame(&mut self) -> io::Result<Option<Frame>> {
        let Some(whole) = Frame::check(&self.input).map_err(io::Error::other)? else {
            return Ok(None);
        };
        if self.input.len() < whole {
            return Ok(None);
        }
        let frame: Vec<u8> = self.input.drain(..whole).collect();
        Frame::decode(frame.into()).map(Some).map_err(io::Error::other)
    }
}

/// R9: median send-to-receive ÷ (median acknowledgement + median echo), all at the same rate.
pub fn ratio(bench: &Bench) -> io::Result<Outcome> {
    let broker = bench.brokers.start(Flush::Async)?;
    let answer = broker.prepare(Encoding::Json)?;
    broker.pause()?;
    let echo = echo::start(&bench.brokers.cpus, &answer)?;
    echo.pause()?;
    let run = |server: &Server, consume: bool| {
        bench.quiet(
            server,
            |run: &Latencies| run.usage,
            || measure(server, consume, bench.window),
        )
    };
    let pairs = pairs(bench.pairs, || run(&broker, true), || run(&echo, false))?;
    let p50 = |latency: &Histogram<u64>| latency.value_at_quantile(0.5) as f64 / 1000.0;
    let figures = format!(
        "receive {:.0} µs · acknowledge {:.0} µs · echo {:.0} µs",
        median(pairs.iter().map(|(ours, _)| p50(&ours.received))),
        median(pairs.iter().map(|(ours, _)| p50(&ours.acknowledged))),
        median(pairs.iter().map(|(_, echo)| p50(&echo.acknowledged)))
    );
    let ratio = |ours: &Latencies, echo: &Latencies| {
        p50(&ours.received) / (p50(&ours.acknowledged) + p50(&echo.acknowledged))
    };
    Ok(ratio_of(&pairs, ratio, |run| run.usage, figures))
}
