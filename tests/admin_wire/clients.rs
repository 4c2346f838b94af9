//! Who is connected, and questions passed on to consumers.

use std::sync::Arc;

use rmq::protocol::code::{request, response};
use rmq::protocol::fastjson;
use rmq::protocol::frame::Frame;
use rmq::protocol::message::RecordView;
use rmq::protocol::request::body::MessageQueue;
use rmq::protocol::request::client::{
    ConsumeDirectlyRequest, ConsumeType, ConsumerConnection, ConsumerStatusBody, MessageModel,
    ProducerConnection, ProducerTable,
};
use rmq::remoting::{self, Answer, Peer, Serve};

use crate::harness::{PATIENCE, TestBroker, producer};
use crate::{asked, body, refused, subscriber};

/// A consumer that answers what the broker asks it.
struct Answering;

impl Serve for Answering {
    fn serve(self: &Arc<Self>, frame: Frame, _peer: &Arc<Peer>) -> Answer {
        Answer::Now(match frame.code {
            request::GET_CONSUMER_RUNNING_INFO => Frame::answer(response::SUCCESS)
                .with_remark("as it is")
                .with_body(b"{\"mqTable\":{ }}".to_vec()),
            request::CONSUME_MESSAGE_DIRECTLY => {
                let asked: ConsumeDirectlyRequest = frame.header().expect("its fields");
                let message = frame.body.contiguous();
                let record = RecordView::decode(&message).expect("one message");
                let seen = format!(
                    "{} {} {:?}",
                    asked.broker_name.expect("a name"),
                    record.topic,
                    record.body
                );
                Frame::answer(response::SUCCESS).with_body(seen)
            }
            request::GET_CONSUMER_STATUS_FROM_CLIENT => {
                let mut status = ConsumerStatusBody::default();
                status
                    .message_queue_table
                    .0
                    .insert(MessageQueue::new("Orders", "broker-a", 0), 7);
                Frame::answer(response::SUCCESS).with_body(fastjson::write(&status))
            }
            _ => return Answer::None,
        })
    }
    fn closed(&self, _peer: &Arc<Peer>) {}
}

async fn answering(broker: &TestBroker) -> Arc<Peer> {
    let peer = remoting::connect(broker.running.address, Arc::new(Answering), PATIENCE)
        .await
        .expect("a connection");
    let beat = fastjson::write(&subscriber("billing", "Orders", "a || b"));
    let beaten = peer
        .request(Frame::command(request::HEART_BEAT).with_body(beat), PATIENCE)
        .await
        .expect("an answer");
    assert_eq!(beaten.code, response::SUCCESS);
    peer
}

#[tokio::test]
async fn members_of_a_consumer_group_are_shown_with_what_they_want() {
    let broker = TestBroker::start().await;
    let peer = answering(&broker).await;
    let client = broker.connect().await;
    let shown: ConsumerConnection = client
        .look(
            request::GET_CONSUMER_CONNECTION_LIST,
            &[("consumerGroup", "billing")],
        )
        .await;
    let connection = &shown.connection_set[0];
    assert_eq!(connection.client_addr, peer.local_address().to_string());
    assert_eq!(
        (connection.client_id.as_str(), connection.language.as_str()),
        ("billing@one", "RUST")
    );
    assert_eq!(
        (shown.consume_type, shown.message_model),
        (ConsumeType::Passively, MessageModel::Clustering)
    );
    assert_eq!(shown.subscription_table["Orders"].sub_string, "a || b");
    let missing = client
        .ask(asked(
            request::GET_CONSUMER_CONNECTION_LIST,
            &[("consumerGroup", "late-group")],
        ))
        .await;
    assert_eq!(
        refused(&missing),
        (
            response::CONSUMER_NOT_ONLINE,
            "the consumer group[late-group] not online"
        )
    );
}

#[tokio::test]
async fn producers_are_shown_by_group_and_all_at_once() {
    let broker = TestBroker::start().await;
    let client = broker.connect().await;
    client.beat(&producer("one", "shop")).await;
    let shown: ProducerConnection = client
        .look(
            request::GET_PRODUCER_CONNECTION_LIST,
            &[("producerGroup", "shop")],
        )
        .await;
    assert_eq!(shown.connection_set[0].client_id, "one");
    let all: ProducerTable = client.look(request::GET_ALL_PRODUCER_INFO, &[]).await;
    let info = &all.data["shop"][0];
    assert_eq!(info.remote_ip, format!("/{}", client.peer.local_address()));
    assert_eq!(info.last_update_timestamp, crate::harness::BEGIN_MS);
    let missing = client
        .ask(asked(
            request::GET_PRODUCER_CONNECTION_LIST,
            &[("producerGroup", "nobody")],
        ))
        .await;
    assert_eq!(
        refused(&missing),
        (response::SYSTEM_ERROR, "the producer group[nobody] not exist")
    );
}

#[tokio::test]
async fn a_consumers_running_information_comes_back_as_it_is() {
    let broker = TestBroker::start().await;
    let _peer = answering(&broker).await;
    let client = broker.connect().await;
    let fields = |client_id| {
        [
            ("consumerGroup", "billing"),
            ("clientId", client_id),
            ("jstackEnable", "false"),
        ]
    };
    let answer = client
        .ask(asked(request::GET_CONSUMER_RUNNING_INFO, &fields("billing@one")))
        .await;
    assert_eq!(refused(&answer), (response::SUCCESS, "as it is"));
    assert_eq!(&answer.body.contiguous()[..], b"{\"mqTable\":{ }}");
    let missing = client
        .ask(asked(request::GET_CONSUMER_RUNNING_INFO, &fields("nobody")))
        .await;
    assert_eq!(
        refused(&missing),
        (
            response::SYSTEM_ERROR,
            "The Consumer <billing> <nobody> not online"
        )
    );
}

#[tokio::test]
async fn a_message_is_handed_to_one_consumer() {
    let broker = TestBroker::start().await;
    let _peer = answering(&broker).await;
    let client = broker.connect().await;
    client.send("Orders", "one").await;
    let id = rmq::protocol::message::offset_message_id(broker.running.address, 0);
    let fields = [
        ("consumerGroup", "billing"),
        ("clientId", "billing@one"),
        ("msgId", id.as_str()),
        ("topic", "Orders"),
    ];
    let answer = client
        .ask(asked(request::CONSUME_MESSAGE_DIRECTLY, &fields))
        .await;
    assert_eq!(answer.code, response::SUCCESS, "{:?}", answer.remark);
    assert_eq!(
        &answer.body.contiguous()[..],
        format!("broker-a Orders {:?}", b"one").as_bytes()
    );
    let fields = [
        ("consumerGroup", "billing"),
        ("clientId", "billing@one"),
        ("msgId", "nonsense"),
    ];
    let missing = client
        .ask(asked(request::CONSUME_MESSAGE_DIRECTLY, &fields))
        .await;
    assert_eq!(
        refused(&missing),
        (response::SYSTEM_ERROR, "can not find message by the id, nonsense")
    );
}

#[tokio::test]
async fn consumers_are_asked_for_their_offsets() {
    let broker = TestBroker::start().await;
    let _peer = answering(&broker).await;
    let client = broker.connect().await;
    for client_addr in ["", "billing@one"] {
        let fields = [
            ("topic", "Orders"),
            ("group", "billing"),
            ("clientAddr", client_addr),
        ];
        let status: ConsumerStatusBody = body(
            &client
                .ask(asked(request::INVOKE_BROKER_TO_GET_CONSUMER_STATUS, &fields))
                .await,
        );
        assert_eq!(
            status.consumer_table["billing@one"].0[&MessageQueue::new("Orders", "broker-a", 0)],
            7
        );
    }
    let nobody = [("topic", "Orders"), ("group", "nobody")];
    let answer = client
        .ask(asked(request::INVOKE_BROKER_TO_GET_CONSUMER_STATUS, &nobody))
        .await;
    assert_eq!(
        refused(&answer),
        (
            response::SYSTEM_ERROR,
            "No Any Consumer online in the consumer group: [nobody]"
        )
    );
}
