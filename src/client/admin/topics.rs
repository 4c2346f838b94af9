//! Topics at one broker.

use super::{Admin, read};
use crate::client::error::ClientError;
use crate::client::routes::DEFAULT_TOPIC;
use crate::protocol::code::request;
use crate::protocol::frame::Frame;
use crate::protocol::request::body::{GroupList, TopicList};
use crate::protocol::request::topic::{
    ConsumeQueueBody, ConsumeTimeSpanBody, CreateTopicRequest, QueryConsumeQueueRequest, QueueTimeSpan,
    TopicAndGroupRequest, TopicConfig, TopicRequest, TopicStatsTable, TopicTable,
};

impl Admin {
    /// A topic's settings (351).
    pub async fn topic_config(&self, broker: &str, topic: &str) -> Result<TopicConfig, ClientError> {
        self.ask_for(broker, Frame::request(request::GET_TOPIC_CONFIG, &named(topic)))
            .await
    }

    /// The settings of all topics (21).
    pub async fn topic_configs(&self, broker: &str) -> Result<TopicTable, ClientError> {
        self.ask_for(broker, Frame::command(request::GET_ALL_TOPIC_CONFIG))
            .await
    }

    /// Creates a topic or replaces its settings (17). Attributes that are there are set, none is removed.
    pub async fn put_topic(&self, broker: &str, config: &TopicConfig) -> Result<(), ClientError> {
        let attributes: Vec<_> = config
            .attributes
            .iter()
            .map(|(name, value)| format!("+{name}={value}"))
            .collect();
        let header = CreateTopicRequest {
            topic: config.topic_name.clone(),
            default_topic: Some(DEFAULT_TOPIC.to_owned()),
            read_queue_nums: config.read_queue_nums,
            write_queue_nums: config.write_queue_nums,
            perm: config.perm,
            topic_filter_type: config.topic_filter_type,
            topic_sys_flag: Some(config.topic_sys_flag),
            order: config.order,
            attributes: (!attributes.is_empty()).then(|| attributes.join(",")),
            force: None,
        };
        self.ask(broker, Frame::request(request::UPDATE_AND_CREATE_TOPIC, &header))
            .await
            .map(|_| ())
    }

    /// Deletes a topic, its messages and its offsets at the broker (215). Name servers keep its route, see
    /// [`Admin::delete_topic_in_names`].
    pub async fn delete_topic(&self, broker: &str, topic: &str) -> Result<(), ClientError> {
        self.ask(
            broker,
            Frame::request(request::DELETE_TOPIC_IN_BROKER, &named(topic)),
        )
        .await
        .map(|_| ())
    }

    /// First and next offset of each queue, and the time of its last message (202).
    pub async fn topic_stats(&self, broker: &str, topic: &str) -> Result<TopicStatsTable, ClientError> {
        self.ask_for(
            broker,
            Frame::request(request::GET_TOPIC_STATS_INFO, &named(topic)),
        )
        .await
    }

    /// The groups that consume a topic or have offsets in it (300).
    pub async fn groups_of_topic(&self, broker: &str, topic: &str) -> Result<Vec<String>, ClientError> {
        let frame = Frame::request(request::QUERY_TOPIC_CONSUME_BY_WHO, &named(topic));
        Ok(self.ask_for::<GroupList>(broker, frame).await?.group_list)
    }

    /// The topics that brokers use themselves (305).
    pub async fn system_topics(&self, broker: &str) -> Result<Vec<String>, ClientError> {
        let frame = Frame::command(request::GET_SYSTEM_TOPIC_LIST_FROM_BROKER);
        Ok(self.ask_for::<TopicList>(broker, frame).await?.topic_list)
    }

    /// How far a group is behind in time, queue by queue (303).
    pub async fn consume_time_spans(
        &self,
        broker: &str,
        topic: &str,
        group: &str,
    ) -> Result<Vec<QueueTimeSpan>, ClientError> {
        let header = TopicAndGroupRequest {
            topic: topic.to_owned(),
            group: group.to_owned(),
        };
        let frame = Frame::request(request::QUERY_CONSUME_TIME_SPAN, &header);
        Ok(self
            .ask_for::<ConsumeTimeSpanBody>(broker, frame)
            .await?
            .consume_time_span_set)
    }

    /// Entries of a consume queue (321).
    pub async fn consume_queue(
        &self,
        broker: &str,
        topic: &str,
        queue_id: i32,
        index: i64,
        count: i32,
    ) -> Result<ConsumeQueueBody, ClientError> {
        let header = QueryConsumeQueueRequest {
            topic: topic.to_owned(),
            queue_id,
            index,
            count,
            consumer_group: None,
        };
        let answer = self
            .ask(broker, Frame::request(request::QUERY_CONSUME_QUEUE, &header))
            .await?;
        read(broker, &answer)
    }
}

fn named(topic: &str) -> TopicRequest {
    TopicRequest {
        topic: topic.to_owned(),
    }
}
