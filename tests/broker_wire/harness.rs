//! A broker on a free port over a temporary store, with a clock that tests set, and clients that speak raw frames.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use rmq::broker::config::Config;
use rmq::broker::config::keys::KEYS;
use rmq::broker::options::BrokerOptions;
use rmq::broker::{Broker, Listeners, RunningBroker, Start};
use rmq::protocol::code::{request, response};
use rmq::protocol::fastjson;
use rmq::protocol::fields::Header;
use rmq::protocol::frame::Frame;
use rmq::protocol::message::records;
use rmq::protocol::request::client::{ConsumerData, HeartbeatData, ProducerData, SubscriptionData};
use rmq::protocol::request::pull::{PullReply, PullRequest, pull_flag};
use rmq::protocol::request::send::SendRequest;
use rmq::protocol::settings::{Defaults, Settings};
use rmq::remoting::{self, Answer, Peer, Serve};
use rmq::store::{
    Clock, Disk, DiskFile, FolderEntry, LockError, RealDisk, SetClock, Space, StoreOptions, Way,
};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// When every test begins, epoch milliseconds.
pub const BEGIN_MS: i64 = 1_700_000_000_000;
/// How long a client waits for an answer before the test fails.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What a test may change before the start.
pub struct Setup {
    pub options: BrokerOptions,
    pub store: StoreOptions,
    pub disk: Arc<dyn Disk>,
}

type Change = Arc<dyn Fn(&mut Setup)>;

pub struct TestBroker {
    pub running: RunningBroker,
    pub clock: Arc<SetClock>,
    change: Change,
    pub folder: TempDir,
}

impl TestBroker {
    pub async fn start() -> TestBroker {
        TestBroker::start_with(|_| {}).await
    }

    pub async fn start_with(change: impl Fn(&mut Setup) + 'static) -> TestBroker {
        let folder = tempfile::tempdir().expect("a temporary folder");
        TestBroker::open(folder, Arc::new(SetClock::at(BEGIN_MS)), Arc::new(change)).await
    }

    /// Stops cleanly and starts again on the same store.
    pub async fn restart(self) -> TestBroker {
        self.restart_after(|| {}).await
    }

    /// Stops cleanly, changes something, and starts again.
    pub async fn restart_after(self, change: impl FnOnce()) -> TestBroker {
        self.running.stop().await.expect("a clean stop");
        change();
        TestBroker::open(self.folder, self.clock, self.change).await
    }

    async fn open(folder: TempDir, clock: Arc<SetClock>, change: Change) -> TestBroker {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener");
        let options = BrokerOptions {
            advertised: address.to_string(),
            store_host: address,
            ..BrokerOptions::default()
        };
        let store = StoreOptions {
            root: folder.path().join("store"),
            segment_bytes: Some(16 << 20),
            queue_segment_bytes: Some(20 * 2000),
            index_slots: 1000,
            index_entries: 4000,
            store_host: address,
            ..StoreOptions::default()
        };
        let mut setup = Setup {
            options,
            store,
            disk: Arc::new(RealDisk),
        };
        change(&mut setup);
        let start = Start {
            config: Config::new(
                Settings::new(KEYS, Defaults::Own),
                &setup.store.root,
                clock.now_ms(),
            ),
            options: setup.options,
            store: setup.store,
            disk: setup.disk,
            clock: clock.clone(),
        };
        let running = Broker::start(
            start,
            Listeners {
                main: listener,
                fast: None,
            },
        )
        .await
        .expect("a broker");
        TestBroker {
            running,
            clock,
            change,
            folder,
        }
    }

    pub fn broker(&self) -> &Arc<Broker> {
        self.running.broker()
    }

    pub async fn connect(&self) -> Client {
        let (sender, notices) = mpsc::unbounded_channel();
        let peer = remoting::connect(self.running.address, Arc::new(Notices(sender)), PATIENCE).await;
        Client {
            peer: peer.expect("a connection"),
            notices,
        }
    }
}

/// A client: one connection, and what the broker asked on it.
pub struct Client {
    pub peer: Arc<Peer>,
    pub notices: mpsc::UnboundedReceiver<Frame>,
}

struct Notices(mpsc::UnboundedSender<Frame>);

impl Serve for Notices {
    fn serve(self: &Arc<Self>, frame: Frame, _peer: &Arc<Peer>) -> Answer {
        drop(self.0.send(frame));
        Answer::None
    }
    fn closed(&self, _peer: &Arc<Peer>) {}
}

/// One message as a consumer sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    pub topic: String,
    pub queue_id: i32,
    pub queue_offset: u64,
    pub log_offset: u64,
    pub reconsume_times: i32,
    pub body: String,
    pub properties: String,
}

impl Seen {
    pub fn property(&self, name: &str) -> Option<&str> {
        rmq::protocol::message::property_of(&self.properties, name)
    }
}

/// The answer to a pull.
pub struct Pulled {
    pub code: i32,
    pub header: PullReply,
    pub messages: Vec<Seen>,
}

impl Pulled {
    pub fn bodies(&self) -> Vec<&str> {
        self.messages
            .iter()
            .map(|message| message.body.as_str())
            .collect()
    }
}

impl Client {
    pub async fn ask(&self, frame: Frame) -> Frame {
        self.peer.request(frame, PATIENCE).await.expect("an answer")
    }

    pub async fn request<'h>(&self, code: i32, header: &impl Header<'h>) -> Frame {
        self.ask(Frame::request(code, header)).await
    }

    /// Sends one message and returns the whole answer.
    pub async fn send_frame(&self, request: &SendRequest<'_>, body: impl Into<Vec<u8>>) -> Frame {
        self.ask(request.frame(request::SEND_MESSAGE_V2).with_body(body.into()))
            .await
    }

    /// Sends one message to queue 0 of a topic that exists or is made; returns its queue offset.
    pub async fn send(&self, topic: &str, body: &str) -> i64 {
        self.send_tagged(topic, body, "").await
    }

    pub async fn send_tagged(&self, topic: &str, body: &str, properties: &str) -> i64 {
        let reply = self
            .send_frame(
                &SendRequest {
                    properties,
                    ..message(topic)
                },
                body,
            )
            .await;
        assert_eq!(reply.code, response::SUCCESS, "{:?}", reply.remark);
        number(&reply, "queueOffset")
    }

    pub async fn pull_frame(&self, request: &PullRequest) -> Pulled {
        let reply = self.request(request::PULL_MESSAGE, request).await;
        let header = reply
            .header()
            .unwrap_or_else(|error| panic!("{error}: {} {:?}", reply.code, reply.remark));
        let body = reply.body.contiguous();
        let messages = records(&body).map(|record| {
            let record = record.expect("a record");
            record.check_body().expect("an undamaged body");
            Seen {
                topic: record.topic.to_string(),
                queue_id: record.queue_id,
                queue_offset: record.queue_offset,
                log_offset: record.physical_offset,
                reconsume_times: record.reconsume_times,
                body: String::from_utf8_lossy(record.body).into_owned(),
                properties: record.properties.to_string(),
            }
        });
        Pulled {
            code: reply.code,
            header,
            messages: messages.collect(),
        }
    }

    /// Pulls everything from queue 0, without waiting.
    pub async fn pull(&self, topic: &str, offset: i64) -> Pulled {
        self.pull_frame(&pull(topic, offset)).await
    }

    /// Pulls from queue 0 and waits for a message as long as the broker allows, again and again.
    pub async fn await_messages(&self, topic: &str, offset: i64) -> Pulled {
        loop {
            let request = PullRequest {
                sys_flag: pull_flag::SUBSCRIPTION | pull_flag::SUSPEND,
                suspend_timeout_ms: 15_000,
                ..pull(topic, offset)
            };
            let pulled = self.pull_frame(&request).await;
            if pulled.code != response::PULL_NOT_FOUND {
                return pulled;
            }
        }
    }

    pub async fn beat(&self, data: &HeartbeatData) -> Frame {
        self.ask(Frame::command(request::HEART_BEAT).with_body(fastjson::write(data)))
            .await
    }

    /// Takes the next request of the broker.
    pub async fn notice(&mut self) -> Frame {
        tokio::time::timeout(PATIENCE, self.notices.recv())
            .await
            .expect("in time")
            .expect("the connection lives")
    }
}

/// A message for queue 0 of a topic.
pub fn message(topic: &str) -> SendRequest<'_> {
    SendRequest {
        producer_group: "producers",
        topic,
        default_topic: "TBW102",
        default_topic_queue_nums: 4,
        queue_id: 0,
        sys_flag: 0,
        born_timestamp: BEGIN_MS,
        flag: 0,
        properties: "",
        reconsume_times: 0,
        unit_mode: false,
        max_reconsume_times: None,
        batch: false,
        broker_name: None,
    }
}

/// A pull of everything from queue 0 that does not wait.
pub fn pull(topic: &str, offset: i64) -> PullRequest {
    PullRequest {
        consumer_group: "readers".into(),
        topic: topic.into(),
        queue_id: 0,
        queue_offset: offset,
        max_msg_nums: 32,
        sys_flag: pull_flag::SUBSCRIPTION,
        commit_offset: 0,
        suspend_timeout_ms: 0,
        subscription: Some("*".into()),
        sub_version: 0,
        expression_type: Some("TAG".into()),
        max_msg_bytes: None,
        request_source: None,
        proxy_forward_client_id: None,
        broker_name: None,
    }
}

/// A heartbeat of a consumer of these topics.
pub fn consumer(client_id: &str, group: &str, topics: &[&str]) -> HeartbeatData {
    let subscription = |topic: &&str| SubscriptionData {
        topic: topic.to_string(),
        sub_string: "*".into(),
        sub_version: 1,
        ..SubscriptionData::default()
    };
    HeartbeatData {
        client_id: client_id.into(),
        consumer_data_set: vec![ConsumerData {
            group_name: group.into(),
            subscription_data_set: topics.iter().map(subscription).collect(),
            ..ConsumerData::default()
        }],
        ..HeartbeatData::default()
    }
}

/// A heartbeat of a producer.
pub fn producer(client_id: &str, group: &str) -> HeartbeatData {
    HeartbeatData {
        client_id: client_id.into(),
        producer_data_set: vec![ProducerData {
            group_name: group.into(),
        }],
        ..HeartbeatData::default()
    }
}

/// A number among the header fields of an answer.
pub fn number(frame: &Frame, name: &str) -> i64 {
    let text = frame
        .fields
        .get(name)
        .unwrap_or_else(|| panic!("{name} is missing: {:?}", frame.remark));
    text.parse().expect("a number")
}

/// A disk that is full for one moment: the creation of the n-th file below a folder fails, once.
pub struct FullOnce {
    folder: &'static str,
    left: AtomicI64,
}

impl FullOnce {
    /// Lets `passed` creations pass, then one fail.
    pub fn after(passed: i64, folder: &'static str) -> FullOnce {
        FullOnce {
            folder,
            left: AtomicI64::new(passed),
        }
    }

    /// Whether the failure is over.
    pub fn has_failed(&self) -> bool {
        self.left.load(Ordering::SeqCst) < 0
    }
}

impl Disk for FullOnce {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        RealDisk.create_folder(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<FolderEntry>> {
        RealDisk.list(path)
    }
    fn create(&self, path: &Path, bytes: u64, way: Way) -> io::Result<Arc<dyn DiskFile>> {
        let counts = path.to_string_lossy().contains(self.folder);
        if counts && self.left.fetch_sub(1, Ordering::SeqCst) == 0 {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        RealDisk.create(path, bytes, way)
    }
    fn open(&self, path: &Path, way: Way) -> io::Result<Arc<dyn DiskFile>> {
        RealDisk.open(path, way)
    }
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        RealDisk.read(path)
    }
    fn replace(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        RealDisk.replace(path, content)
    }
    fn set_len(&self, path: &Path, bytes: u64) -> io::Result<()> {
        RealDisk.set_len(path, bytes)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)
    }
    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove_folder(path)
    }
    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        RealDisk.sync_folder(path)
    }
    fn space(&self, path: &Path) -> io::Result<Space> {
        RealDisk.space(path)
    }
    fn lock(&self, path: &Path) -> Result<Box<dyn Send + Sync>, LockError> {
        RealDisk.lock(path)
    }
}
