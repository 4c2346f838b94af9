//! A server whose handlers do what the request code says, and a client that writes bytes.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rmq::protocol::frame::{Frame, Malformed};
use rmq::remoting::{Answer, Limits, Peer, Serve, listen};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinHandle;

/// Longest wait for what must come.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Answered at once, with the request's body.
pub const ECHO: i32 = 1;
/// Answered when the test releases its opaque.
pub const HOLD: i32 = 2;
/// Like HOLD, and later frames wait.
pub const GATE: i32 = 3;
/// The handler panics.
pub const PANIC: i32 = 4;
/// The handler's future panics when it is released.
pub const PANIC_LATER: i32 = 5;
/// Answered with a body of as many bytes as the field `bytes` says, in the parts that `parts` says.
pub const LARGE: i32 = 6;
/// Nothing is answered.
pub const SILENCE: i32 = 7;

/// What the server saw.
#[derive(Default)]
pub struct Handler {
    pub served: Mutex<Vec<i32>>,
    pub served_changed: Notify,
    pub peers: Mutex<Vec<Arc<Peer>>>,
    pub closed: Mutex<HashMap<u64, usize>>,
    pub closed_changed: Notify,
    pub malformed: AtomicUsize,
    held: Mutex<HashMap<i32, oneshot::Sender<()>>>,
    /// Held futures that are gone.
    pub dropped: Arc<AtomicUsize>,
}

struct CountDrop(Arc<AtomicUsize>);

impl Drop for CountDrop {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Serve for Handler {
    fn serve(self: &Arc<Self>, frame: Frame, peer: &Arc<Peer>) -> Answer {
        let mut peers = self.peers.lock().unwrap();
        if peers.iter().all(|known| known.id() != peer.id()) {
            peers.push(peer.clone());
        }
        drop(peers);
        let opaque = frame.opaque;
        self.served.lock().unwrap().push(opaque);
        self.served_changed.notify_waiters();
        match frame.code {
            ECHO => Answer::Now(Frame::answer(0).with_body(frame.body.contiguous())),
            HOLD => Answer::Later(self.hold(opaque, false)),
            GATE => Answer::Gate(self.hold(opaque, false)),
            PANIC_LATER => Answer::Later(self.hold(opaque, true)),
            PANIC => panic!("as the test wants"),
            LARGE => Answer::Now(large(&frame)),
            SILENCE => Answer::None,
            code => Answer::Now(Frame::refusal(3, format!("code {code}"))),
        }
    }

    fn closed(&self, peer: &Arc<Peer>) {
        *self.closed.lock().unwrap().entry(peer.id()).or_default() += 1;
        self.closed_changed.notify_waiters();
    }

    fn malformed(&self, _: &Arc<Peer>, _: &Malformed) {
        self.malformed.fetch_add(1, Ordering::SeqCst);
    }
}

impl Handler {
    fn hold(&self, opaque: i32, panics: bool) -> rmq::remoting::Waiting {
        let (sender, receiver) = oneshot::channel();
        self.held.lock().unwrap().insert(opaque, sender);
        let counted = CountDrop(self.dropped.clone());
        Box::pin(async move {
            let _ = receiver.await;
            drop(counted);
            assert!(!panics, "as the test wants");
            Some(Frame::answer(0).with_remark("released"))
        })
    }

    /// Ends a held handler.
    pub fn release(&self, opaque: i32) {
        let held = self.held.lock().unwrap().remove(&opaque).expect("it is held");
        held.send(()).expect("its connection is there");
    }

    pub fn served(&self) -> Vec<i32> {
        self.served.lock().unwrap().clone()
    }

    /// Waits until so many requests were served.
    pub async fn until_served(&self, count: usize) {
        until(&self.served_changed, || {
            self.served.lock().unwrap().len() >= count
        })
        .await;
    }

    /// Waits until so many connections have ended.
    pub async fn until_closed(&self, count: usize) {
        until(&self.closed_changed, || {
            self.closed.lock().unwrap().len() >= count
        })
        .await;
    }

    /// The server's handle of the client that spoke last for the first time.
    pub fn peer(&self) -> Arc<Peer> {
        self.peers
            .lock()
            .unwrap()
            .last()
            .expect("a request was served")
            .clone()
    }
}

/// Waits for a condition that changes with a notification.
pub async fn until(changed: &Notify, is_met: impl Fn() -> bool) {
    let wait = async {
        loop {
            let notified = changed.notified();
            if is_met() {
                return;
            }
            notified.await;
        }
    };
    tokio::time::timeout(PATIENCE, wait)
        .await
        .expect("it comes in time");
}

fn large(frame: &Frame) -> Frame {
    let number = |name| frame.fields.get(name).unwrap().parse::<usize>().unwrap();
    let (bytes, parts) = (number("bytes"), number("parts"));
    let part = |index: usize| Bytes::from(vec![index as u8; bytes / parts]);
    Frame::answer(0).with_body((0..parts).map(part).collect::<Vec<_>>())
}

pub fn large_request(opaque: i32, bytes: usize, parts: usize) -> Frame {
    let mut frame = request(LARGE, opaque);
    frame.fields.put("bytes", bytes);
    frame.fields.put("parts", parts);
    frame
}

pub fn request(code: i32, opaque: i32) -> Frame {
    Frame {
        opaque,
        ..Frame::command(code)
    }
}

/// A listening server.
pub struct Server {
    pub address: SocketAddr,
    pub handler: Arc<Handler>,
    stop: watch::Sender<bool>,
    running: JoinHandle<()>,
}

impl Server {
    pub async fn start() -> Server {
        Server::with(Limits::default()).await
    }

    pub async fn with(limits: Limits) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let handler = Arc::new(Handler::default());
        let stop = watch::Sender::new(false);
        let running = tokio::spawn(listen(listener, handler.clone(), limits, stop.subscribe()));
        Server {
            address,
            handler,
            stop,
            running,
        }
    }

    pub async fn client(&self) -> Client {
        Client {
            stream: TcpStream::connect(self.address).await.unwrap(),
            input: BytesMut::new(),
        }
    }

    pub async fn stop(self) {
        self.stop.send_replace(true);
        tokio::time::timeout(PATIENCE, self.running)
            .await
            .expect("it stops in time")
            .unwrap();
    }
}

/// Writes and reads bytes; knows nothing but where a frame ends.
pub struct Client {
    pub stream: TcpStream,
    input: BytesMut,
}

impl Client {
    pub async fn send(&mut self, frames: &[Frame]) {
        let bytes: Vec<u8> = frames.iter().flat_map(Frame::encode).collect();
        self.send_bytes(&bytes).await;
    }

    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next frame.
    pub async fn receive(&mut self) -> Frame {
        self.receive_or_end().await.expect("the connection is open")
    }

    /// The next frame, or `None` when the server has closed the connection.
    pub async fn receive_or_end(&mut self) -> Option<Frame> {
        loop {
            if let Some(len) = Frame::check(&self.input)
                .unwrap()
                .filter(|len| *len <= self.input.len())
            {
                return Some(Frame::decode(self.input.split_to(len).freeze()).unwrap());
            }
            let read = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.input));
            // A connection that is closed with bytes unread is reset.
            if read.await.expect("bytes or an end come in time").unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    pub async fn receive_opaques(&mut self, count: usize) -> Vec<i32> {
        let mut opaques = Vec::new();
        for _ in 0..count {
            opaques.push(self.receive().await.opaque);
        }
        opaques
    }
}
