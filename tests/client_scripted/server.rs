//! A name server and broker in one, over real sockets, that does what a test tells it: a few messages in memory, every
//! request kept, any answer replaced.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use rmq::protocol::code::{request, response};
use rmq::protocol::fastjson;
use rmq::protocol::frame::Frame;
use rmq::protocol::message::{Message, RecordView, patch};
use rmq::protocol::request::body::MessageQueue;
use rmq::protocol::request::client::{
    ConsumerGroupRequest, ConsumerIdList, HeartbeatData, LockReplyBody, LockRequestBody,
    UnregisterClientRequest,
};
use rmq::protocol::request::namesrv::RouteRequest;
use rmq::protocol::request::pull::{
    OffsetReply, PullReply, PullRequest, QueryOffsetRequest, QueueRequest, UpdateOffsetRequest,
};
use rmq::protocol::request::route::{BrokerData, QueueData, TopicRouteData};
use rmq::protocol::request::send::{SendReply, SendRequest};
use rmq::remoting::{Answer, Limits, Peer, Serve, listen};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// Longest wait for something that must happen; a test that reaches it has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What a script says about a request.
pub enum Reply {
    Answer(Box<Frame>),
    /// Never answered.
    Silence,
    /// The connection is closed instead.
    Close,
}

impl Reply {
    pub fn answer(frame: Frame) -> Reply {
        Reply::Answer(Box::new(frame))
    }
}

type Script = Box<dyn Fn(&Frame) -> Option<Reply> + Send + Sync>;

/// The scripted server. It ends when it is dropped.
pub struct Server {
    pub address: String,
    world: Arc<World>,
    _stop: watch::Sender<bool>,
}

struct World {
    state: Mutex<State>,
    script: Mutex<Option<Arc<Script>>>,
    /// Counts requests and new messages.
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    /// Name and address of the brokers of every topic.
    brokers: Vec<(String, String)>,
    /// Queues a broker, by topic.
    topics: BTreeMap<String, i32>,
    records: HashMap<(String, i32), Vec<Bytes>>,
    committed: HashMap<(String, String, i32), i64>,
    members: BTreeMap<String, BTreeSet<String>>,
    locks: HashMap<MessageQueue, String>,
    requests: Vec<Frame>,
    peers: Vec<Arc<Peer>>,
}

impl Server {
    /// A server with one broker, `broker-a`, that is itself.
    pub async fn start() -> Server {
        Server::start_at("127.0.0.1:0").await
    }

    /// The same at an address that somebody may have used before.
    pub async fn start_at(address: &str) -> Server {
        let listener = TcpListener::bind(address).await.expect("a free port");
        let address = listener.local_addr().expect("a bound address").to_string();
        let state = State {
            brokers: vec![("broker-a".to_owned(), address.clone())],
            ..State::default()
        };
        let world = Arc::new(World {
            state: Mutex::new(state),
            script: Mutex::default(),
            changed: watch::Sender::new(0),
        });
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(listen(listener, world.clone(), Limits::default(), stopped));
        Server {
            address,
            world,
            _stop: stop,
        }
    }

    /// Adds a topic with so many queues.
    pub fn topic(self, name: &str, queues: i32) -> Server {
        self.state(|state| state.topics.insert(name.to_owned(), queues));
        self
    }

    /// Replaces the brokers of every route.
    pub fn set_brokers(&self, brokers: &[(&str, &str)]) {
        let brokers = brokers
            .iter()
            .map(|(name, address)| ((*name).to_owned(), (*address).to_owned()));
        self.state(|state| state.brokers = brokers.collect());
    }

    /// Answers requests as the script says, and as usual where it says nothing.
    pub fn script(&self, script: impl Fn(&Frame) -> Option<Reply> + Send + Sync + 'static) {
        let script: Script = Box::new(script);
        *self.world.script.lock().expect("not poisoned") = Some(Arc::new(script));
    }

    /// Puts a message into a queue.
    pub fn put(&self, topic: &str, queue_id: i32, properties: &[(&str, &str)], body: &str) {
        self.state(|state| {
            let queue = state.records.entry((topic.to_owned(), queue_id)).or_default();
            let record = record(topic, queue_id, queue.len() as u64, properties, body);
            queue.push(record);
        });
        self.world.notify();
    }

    /// The requests of a code so far, in the order they came.
    pub fn requests(&self, code: i32) -> Vec<Frame> {
        self.state(|state| {
            state
                .requests
                .iter()
                .filter(|frame| frame.code == code)
                .cloned()
                .collect()
        })
    }

    /// All requests so far, in the order they came.
    pub fn all_requests(&self) -> Vec<Frame> {
        self.state(|state| state.requests.clone())
    }

    /// The codes of all requests so far.
    pub fn codes(&self) -> Vec<i32> {
        self.state(|state| state.requests.iter().map(|frame| frame.code).collect())
    }

    /// The saved offset of a group.
    pub fn committed(&self, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
        self.state(|state| {
            state
                .committed
                .get(&(group.to_owned(), topic.to_owned(), queue_id))
                .copied()
        })
    }

    /// The ids in a group, by its heartbeats.
    pub fn members(&self, group: &str) -> BTreeSet<String> {
        self.state(|state| state.members.get(group).cloned().unwrap_or_default())
    }

    /// How many connections were made so far.
    pub fn connections(&self) -> usize {
        self.state(|state| state.peers.len())
    }

    /// The clients' ends of the connections.
    pub fn peers(&self) -> Vec<Arc<Peer>> {
        self.state(|state| {
            state
                .peers
                .iter()
                .filter(|peer| !peer.is_closed())
                .cloned()
                .collect()
        })
    }

    /// Forgets members, locks and commits and ends all connections, as a broker that crashed.
    pub fn crash(&self) {
        self.state(|state| {
            state.members.clear();
            state.locks.clear();
            state.committed.clear();
        });
        self.peers().iter().for_each(|peer| peer.close());
    }

    /// Waits until the server has seen what makes this true.
    pub async fn until(&self, what: &str, mut holds: impl FnMut(&Server) -> bool) {
        let mut changed = self.world.changed.subscribe();
        let wait = async {
            while !holds(self) {
                changed.changed().await.expect("the server lives");
            }
        };
        tokio::time::timeout(PATIENCE, wait)
            .await
            .unwrap_or_else(|_| panic!("waited in vain until {what}"));
    }

    fn state<T>(&self, use_it: impl FnOnce(&mut State) -> T) -> T {
        use_it(&mut self.world.state.lock().expect("not poisoned"))
    }
}

/// A stored record.
pub fn record(
    topic: &str,
    queue_id: i32,
    queue_offset: u64,
    properties: &[(&str, &str)],
    body: &str,
) -> Bytes {
    let host = "127.0.0.1:10911".parse().expect("an address");
    let properties: String = properties
        .iter()
        .map(|(name, value)| format!("{name}\u{1}{value}\u{2}"))
        .collect();
    let message = Message {
        topic,
        queue_id,
        flag: 0,
        sys_flag: 0,
        born_timestamp: 1,
        born_host: host,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: body.as_bytes(),
        properties: &properties,
    };
    let mut bytes = Vec::new();
    message.encode(host, &mut bytes);
    patch(&mut bytes, queue_offset, queue_offset * 1000, 2);
    assert!(RecordView::decode(&bytes).is_ok());
    bytes.into()
}

/// A pull's answer without messages.
pub fn pulled_nothing(code: i32, next: i64, max: i64) -> Frame {
    Frame::answer_with(code, &pull_reply(next, max))
}

fn pull_reply(next: i64, max: i64) -> PullReply {
    PullReply {
        suggest_which_broker_id: 0,
        next_begin_offset: next,
        min_offset: 0,
        max_offset: max,
        offset_delta: None,
        topic_sys_flag: None,
        group_sys_flag: None,
        forbidden_type: None,
    }
}

/// A request to a client, as a frame.
pub fn header_of<H>(frame: &Frame) -> H
where
    H: for<'a> rmq::protocol::fields::Header<'a>,
{
    frame.header().expect("a readable header")
}

impl Serve for World {
    fn serve(self: &Arc<Self>, frame: Frame, peer: &Arc<Peer>) -> Answer {
        {
            let mut state = self.state.lock().expect("not poisoned");
            state.requests.push(frame.clone());
            if !state.peers.iter().any(|known| known.id() == peer.id()) {
                state.peers.push(peer.clone());
            }
        }
        let script = self.script.lock().expect("not poisoned").clone();
        let answer = match script.and_then(|script| script(&frame)) {
            Some(Reply::Answer(answer)) => Answer::Now(*answer),
            Some(Reply::Silence) => Answer::Later(Box::pin(std::future::pending())),
            Some(Reply::Close) => {
                peer.close();
                Answer::None
            }
            None if frame.code == request::PULL_MESSAGE => self.clone().pull(frame),
            None => Answer::Now(self.answer(&frame)),
        };
        self.notify();
        answer
    }

    fn closed(&self, _peer: &Arc<Peer>) {
        self.notify();
    }
}

impl World {
    fn notify(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// Held until there is a message at the asked offset.
    fn pull(self: Arc<Self>, frame: Frame) -> Answer {
        let header: PullRequest = header_of(&frame);
        let mut changed = self.changed.subscribe();
        Answer::Later(Box::pin(async move {
            loop {
                changed.mark_unchanged();
                if let Some(answer) = self.found(&header) {
                    return Some(answer);
                }
                changed.changed().await.ok()?;
            }
        }))
    }

    fn found(&self, header: &PullRequest) -> Option<Frame> {
        let state = self.state.lock().expect("not poisoned");
        let queue = state.records.get(&(header.topic.clone(), header.queue_id))?;
        let from = header.queue_offset as usize;
        let until = queue.len().min(from + header.max_msg_nums as usize);
        let parts = queue.get(from..until).filter(|parts| !parts.is_empty())?.to_vec();
        let reply = pull_reply(until as i64, queue.len() as i64);
        Some(Frame::answer_with(response::SUCCESS, &reply).with_body(parts))
    }

    fn answer(&self, frame: &Frame) -> Frame {
        let mut state = self.state.lock().expect("not poisoned");
        let body = frame.body.contiguous();
        match frame.code {
            request::GET_ROUTEINFO_BY_TOPIC => state.route(&header_of::<RouteRequest>(frame).topic),
            request::HEART_BEAT => {
                let beat: HeartbeatData = fastjson::read(&body).expect("a heartbeat");
                for group in beat.consumer_data_set {
                    state
                        .members
                        .entry(group.group_name)
                        .or_default()
                        .insert(beat.client_id.clone());
                }
                Frame::answer(response::SUCCESS)
            }
            request::UNREGISTER_CLIENT => {
                let header: UnregisterClientRequest = header_of(frame);
                if let Some(members) = header
                    .consumer_group
                    .and_then(|group| state.members.get_mut(&group))
                {
                    members.remove(&header.client_id);
                }
                Frame::answer(response::SUCCESS)
            }
            request::GET_CONSUMER_LIST_BY_GROUP => {
                let group = header_of::<ConsumerGroupRequest>(frame).consumer_group;
                let members = state.members.get(&group).cloned().unwrap_or_default();
                let list = ConsumerIdList {
                    consumer_id_list: members.into_iter().collect(),
                };
                Frame::answer(response::SUCCESS).with_body(fastjson::write(&list))
            }
            request::QUERY_CONSUMER_OFFSET => {
                let header: QueryOffsetRequest = header_of(frame);
                match state
                    .committed
                    .get(&(header.consumer_group, header.topic, header.queue_id))
                {
                    Some(offset) => offset_reply(*offset),
                    // As Apache answers for a queue that still holds its first message.
                    None if header.set_zero_if_not_found != Some(false) => offset_reply(0),
                    None => Frame::refusal(response::QUERY_NOT_FOUND, "no offset"),
                }
            }
            request::UPDATE_CONSUMER_OFFSET => {
                let header: UpdateOffsetRequest = header_of(frame);
                let key = (
                    header.consumer_group,
                    header.topic,
                    header.queue_id.expect("a queue"),
                );
                state
                    .committed
                    .insert(key, header.commit_offset.expect("an offset"));
                Frame::answer(response::SUCCESS)
            }
            request::GET_MAX_OFFSET => {
                let header: QueueRequest = header_of(frame);
                let end = state
                    .records
                    .get(&(header.topic, header.queue_id))
                    .map_or(0, Vec::len);
                offset_reply(end as i64)
            }
            request::LOCK_BATCH_MQ => {
                let asked: LockRequestBody = fastjson::read(&body).expect("a lock request");
                let free = |queue: &MessageQueue, locks: &HashMap<MessageQueue, String>| {
                    locks.get(queue).is_none_or(|owner| *owner == asked.client_id)
                };
                let locked: Vec<_> = asked
                    .mq_set
                    .iter()
                    .filter(|queue| free(queue, &state.locks))
                    .cloned()
                    .collect();
                for queue in &locked {
                    state.locks.insert(queue.clone(), asked.client_id.clone());
                }
                Frame::answer(response::SUCCESS).with_body(fastjson::write(&LockReplyBody { locked }))
            }
            request::UNLOCK_BATCH_MQ => {
                let asked: LockRequestBody = fastjson::read(&body).expect("an unlock request");
                state
                    .locks
                    .retain(|queue, owner| *owner != asked.client_id || !asked.mq_set.contains(queue));
                Frame::answer(response::SUCCESS)
            }
            request::SEND_MESSAGE_V2 | request::SEND_BATCH_MESSAGE => stored(frame),
            _ => Frame::answer(response::SUCCESS),
        }
    }
}

impl State {
    fn route(&self, topic: &str) -> Frame {
        let Some(queues) = self.topics.get(topic) else {
            return Frame::refusal(
                response::TOPIC_NOT_EXIST,
                "No topic route info in name server for the topic",
            );
        };
        let brokers = self.brokers.iter().map(|(name, address)| BrokerData {
            broker_addrs: BTreeMap::from([(0, address.clone())]),
            broker_name: name.clone(),
            cluster: "cluster".to_owned(),
            ..BrokerData::default()
        });
        let queues = self.brokers.iter().map(|(name, _)| QueueData {
            broker_name: name.clone(),
            perm: 6,
            read_queue_nums: *queues,
            write_queue_nums: *queues,
            ..QueueData::default()
        });
        let data = TopicRouteData {
            broker_datas: brokers.collect(),
            queue_datas: queues.collect(),
            ..TopicRouteData::default()
        };
        Frame::answer(response::SUCCESS).with_body(fastjson::write(&data))
    }
}

/// The acknowledgement of a SEND.
pub fn stored(frame: &Frame) -> Frame {
    let send = SendRequest::read(frame).expect("a send");
    let reply = SendReply {
        msg_id: "7F00000100002A9F0000000000000000",
        queue_id: send.queue_id,
        queue_offset: 7,
        transaction_id: None,
        batch_uniq_id: None,
        recall_handle: None,
        region: Some("DefaultRegion"),
        trace_on: Some(true),
    };
    Frame::answer_with(response::SUCCESS, &reply)
}

fn offset_reply(offset: i64) -> Frame {
    Frame::answer_with(response::SUCCESS, &OffsetReply { offset })
}
