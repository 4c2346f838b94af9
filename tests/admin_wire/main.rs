//! Administrative requests over sockets, as mqadmin and the dashboard make them.

mod clients;
mod config;
mod groups;
#[allow(dead_code)] // Shared with the tests of the data path, which use other parts of it.
#[path = "../broker_wire/harness.rs"]
mod harness;
mod messages;
mod offsets;
mod shapes;
mod topics;

use harness::{Client, PATIENCE};
use rmq::protocol::code::{request, response};
use rmq::protocol::fastjson;
use rmq::protocol::fields::Fields;
use rmq::protocol::frame::Frame;
use rmq::protocol::request::client::{ConsumerData, HeartbeatData, SubscriptionData};
use rmq::protocol::request::topic::{CreateTopicRequest, TopicFilterType};
use serde::de::DeserializeOwned;

/// A request whose fields are written out, as a foreign tool would.
pub fn asked(code: i32, fields: &[(&str, &str)]) -> Frame {
    let mut frame = Frame::command(code);
    let mut written = Fields::default();
    fields.iter().for_each(|(name, value)| written.put(name, *value));
    frame.fields = written;
    frame
}

/// The body of an answer, which has to be a success.
pub fn body<T: DeserializeOwned>(answer: &Frame) -> T {
    assert_eq!(answer.code, response::SUCCESS, "{:?}", answer.remark);
    fastjson::read(&answer.body.contiguous()).expect("a readable body")
}

/// Code and remark of an answer.
pub fn refused(answer: &Frame) -> (i32, &str) {
    (answer.code, answer.remark.as_deref().unwrap_or_default())
}

impl Client {
    /// Asks, and reads the body of a success.
    pub async fn look<T: DeserializeOwned>(&self, code: i32, fields: &[(&str, &str)]) -> T {
        body(&self.ask(asked(code, fields)).await)
    }

    /// Asks for something that has to succeed.
    pub async fn change(&self, code: i32, fields: &[(&str, &str)]) {
        let answer = self.ask(asked(code, fields)).await;
        assert_eq!(answer.code, response::SUCCESS, "{:?}", answer.remark);
    }

    /// Creates a topic.
    pub async fn create(&self, topic: &str, queues: i32) {
        let answer = self.peer.request(
            Frame::request(request::UPDATE_AND_CREATE_TOPIC, &new_topic(topic, queues)),
            PATIENCE,
        );
        assert_eq!(answer.await.expect("an answer").code, response::SUCCESS);
    }
}

/// The request that creates a topic as mqadmin does.
pub fn new_topic(topic: &str, queues: i32) -> CreateTopicRequest {
    CreateTopicRequest {
        topic: topic.to_owned(),
        default_topic: Some("TBW102".to_owned()),
        read_queue_nums: queues,
        write_queue_nums: queues,
        perm: 6,
        topic_filter_type: TopicFilterType::SingleTag,
        topic_sys_flag: Some(0),
        order: false,
        attributes: None,
        force: None,
    }
}

/// The heartbeat of a consumer with a tag expression.
pub fn subscriber(group: &str, topic: &str, expression: &str) -> HeartbeatData {
    let subscription = SubscriptionData {
        topic: topic.to_owned(),
        sub_string: expression.to_owned(),
        sub_version: 1,
        ..SubscriptionData::default()
    };
    HeartbeatData {
        client_id: format!("{group}@one"),
        consumer_data_set: vec![ConsumerData {
            group_name: group.to_owned(),
            subscription_data_set: vec![subscription],
            ..ConsumerData::default()
        }],
        ..HeartbeatData::default()
    }
}
