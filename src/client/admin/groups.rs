//! Groups, their members and their offsets at one broker.

use std::collections::BTreeMap;

use super::Admin;
use crate::client::error::ClientError;
use crate::protocol::code::{request, response};
use crate::protocol::fastjson::{self, QueueTable};
use crate::protocol::frame::Frame;
use crate::protocol::request::body::{MessageQueue, TopicList};
use crate::protocol::request::client::{
    ConsumeDirectlyReply, ConsumeDirectlyRequest, ConsumerConnection, ConsumerGroupRequest,
    ConsumerRunningInfo, ConsumerStatusBody, ProducerConnection, ProducerGroupRequest, ProducerInfo,
    ProducerTable, ResetOffsetBody, RunningInfoRequest,
};
use crate::protocol::request::group::{
    BrokerConsumeStats, BrokerConsumeStatsRequest, CloneOffsetRequest, ConsumeStats, ConsumeStatsRequest,
    ConsumerStatusRequest, DeleteGroupRequest, GroupRequest, GroupSubscription, GroupTable,
    ResetOffsetRequest, SubscriptionGroupConfig,
};
use crate::protocol::request::pull::{
    Boundary, OffsetReply, QueryOffsetRequest, QueueRequest, SearchOffsetRequest, UpdateOffsetRequest,
};
use crate::protocol::request::topic::TopicAndGroupRequest;

impl Admin {
    /// A group's settings (352).
    pub async fn group_config(
        &self,
        broker: &str,
        group: &str,
    ) -> Result<SubscriptionGroupConfig, ClientError> {
        self.ask_for(
            broker,
            Frame::request(request::GET_SUBSCRIPTIONGROUP_CONFIG, &named(group)),
        )
        .await
    }

    /// The settings of all groups (201).
    pub async fn group_configs(&self, broker: &str) -> Result<GroupTable, ClientError> {
        self.ask_for(broker, Frame::command(request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG))
            .await
    }

    /// Creates a group or replaces its settings (200).
    pub async fn put_group(&self, broker: &str, config: &SubscriptionGroupConfig) -> Result<(), ClientError> {
        let frame = Frame::command(request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP);
        self.ask(broker, frame.with_body(fastjson::write(config)))
            .await
            .map(|_| ())
    }

    /// Deletes a group (207), its offsets too if asked to. Its retry and dead letter topics stay.
    pub async fn delete_group(
        &self,
        broker: &str,
        group: &str,
        with_offsets: bool,
    ) -> Result<(), ClientError> {
        let header = DeleteGroupRequest {
            group_name: group.to_owned(),
            clean_offset: Some(with_offsets),
            remove_offset: Some(with_offsets),
        };
        self.ask(broker, Frame::request(request::DELETE_SUBSCRIPTIONGROUP, &header))
            .await
            .map(|_| ())
    }

    /// Offsets and lag of a group, queue by queue, in one topic or in all (208).
    pub async fn consume_stats(
        &self,
        broker: &str,
        group: &str,
        topic: Option<&str>,
    ) -> Result<ConsumeStats, ClientError> {
        let header = ConsumeStatsRequest {
            consumer_group: group.to_owned(),
            topic: topic.map(str::to_owned),
            topic_list: None,
        };
        self.ask_for(broker, Frame::request(request::GET_CONSUME_STATS, &header))
            .await
    }

    /// Offsets and lag of all groups (317).
    pub async fn all_consume_stats(&self, broker: &str) -> Result<BrokerConsumeStats, ClientError> {
        let header = BrokerConsumeStatsRequest { is_order: false };
        self.ask_for(broker, Frame::request(request::GET_BROKER_CONSUME_STATS, &header))
            .await
    }

    /// The members of a consumer group (203); `None` when nobody is online.
    pub async fn consumer_connection(
        &self,
        broker: &str,
        group: &str,
    ) -> Result<Option<ConsumerConnection>, ClientError> {
        let header = ConsumerGroupRequest {
            consumer_group: group.to_owned(),
        };
        let frame = Frame::request(request::GET_CONSUMER_CONNECTION_LIST, &header);
        match self.ask_for::<ConsumerConnection>(broker, frame).await {
            Err(error) if error.code() == Some(response::CONSUMER_NOT_ONLINE) => Ok(None),
            answered => Ok(Some(answered?).filter(|found| !found.connection_set.is_empty())),
        }
    }

    /// The members of a producer group (204).
    pub async fn producer_connection(
        &self,
        broker: &str,
        group: &str,
    ) -> Result<ProducerConnection, ClientError> {
        let header = ProducerGroupRequest {
            producer_group: group.to_owned(),
        };
        self.ask_for(
            broker,
            Frame::request(request::GET_PRODUCER_CONNECTION_LIST, &header),
        )
        .await
    }

    /// The members of all producer groups (328).
    pub async fn producers(&self, broker: &str) -> Result<BTreeMap<String, Vec<ProducerInfo>>, ClientError> {
        let frame = Frame::command(request::GET_ALL_PRODUCER_INFO);
        Ok(self.ask_for::<ProducerTable>(broker, frame).await?.data)
    }

    /// The topics a group has offsets in or is subscribed to (343).
    pub async fn topics_of_group(&self, broker: &str, group: &str) -> Result<Vec<String>, ClientError> {
        let frame = Frame::request(request::QUERY_TOPICS_BY_CONSUMER, &named(group));
        Ok(self.ask_for::<TopicList>(broker, frame).await?.topic_list)
    }

    /// What a group wants of a topic (345).
    pub async fn subscription_of_group(
        &self,
        broker: &str,
        group: &str,
        topic: &str,
    ) -> Result<GroupSubscription, ClientError> {
        let header = TopicAndGroupRequest {
            topic: topic.to_owned(),
            group: group.to_owned(),
        };
        self.ask_for(
            broker,
            Frame::request(request::QUERY_SUBSCRIPTION_BY_CONSUMER, &header),
        )
        .await
    }

    /// Moves a group to a time (epoch milliseconds; negative: the end) in a topic's queues at this broker, running members
    /// included (222); the new offsets. `queue_id`: only this one; `offset`: there, whatever the time.
    pub async fn reset_offsets(
        &self,
        broker: &str,
        group: &str,
        topic: &str,
        timestamp: i64,
        queue_id: Option<i32>,
        offset: Option<i64>,
    ) -> Result<QueueTable<i64>, ClientError> {
        let header = ResetOffsetRequest {
            topic: topic.to_owned(),
            group: group.to_owned(),
            timestamp,
            is_force: true,
            queue_id: Some(queue_id.unwrap_or(-1)),
            offset,
        };
        let answer = self
            .ask(
                broker,
                Frame::request(request::INVOKE_BROKER_TO_RESET_OFFSET, &header),
            )
            .await?;
        if answer.body.is_empty() {
            return Ok(QueueTable::default());
        }
        Ok(super::read::<ResetOffsetBody>(broker, &answer)?.offset_table)
    }

    /// Gives one group the offsets of another (314), in one topic or in all.
    pub async fn clone_offsets(
        &self,
        broker: &str,
        source: &str,
        target: &str,
        topic: Option<&str>,
    ) -> Result<(), ClientError> {
        let header = CloneOffsetRequest {
            src_group: source.to_owned(),
            dest_group: target.to_owned(),
            topic: topic.map(str::to_owned),
            offline: false,
        };
        self.ask(broker, Frame::request(request::CLONE_GROUP_OFFSET, &header))
            .await
            .map(|_| ())
    }

    /// The offsets that the members themselves say they are at (223), by client id.
    pub async fn offsets_of_members(
        &self,
        broker: &str,
        group: &str,
        topic: &str,
    ) -> Result<BTreeMap<String, QueueTable<i64>>, ClientError> {
        let header = ConsumerStatusRequest {
            topic: topic.to_owned(),
            group: group.to_owned(),
            client_addr: None,
        };
        let frame = Frame::request(request::INVOKE_BROKER_TO_GET_CONSUMER_STATUS, &header);
        Ok(self
            .ask_for::<ConsumerStatusBody>(broker, frame)
            .await?
            .consumer_table)
    }

    /// What a consumer says about itself (307); the broker passes the question on.
    pub async fn running_info(
        &self,
        broker: &str,
        group: &str,
        client_id: &str,
        with_stacks: bool,
    ) -> Result<ConsumerRunningInfo, ClientError> {
        let header = RunningInfoRequest {
            consumer_group: group.to_owned(),
            client_id: client_id.to_owned(),
            jstack_enable: with_stacks,
        };
        self.ask_for(
            broker,
            Frame::request(request::GET_CONSUMER_RUNNING_INFO, &header),
        )
        .await
    }

    /// Has a consumer handle one stored message now (309).
    pub async fn consume_directly(
        &self,
        broker: &str,
        group: &str,
        client_id: &str,
        offset_message_id: &str,
    ) -> Result<ConsumeDirectlyReply, ClientError> {
        let header = ConsumeDirectlyRequest {
            consumer_group: group.to_owned(),
            client_id: Some(client_id.to_owned()),
            msg_id: Some(offset_message_id.to_owned()),
            broker_name: None,
            topic: None,
            topic_sys_flag: None,
            group_sys_flag: None,
        };
        self.ask_for(broker, Frame::request(request::CONSUME_MESSAGE_DIRECTLY, &header))
            .await
    }

    /// A group's saved offset in a queue (14); `None` if it has none.
    pub async fn committed_offset(
        &self,
        broker: &str,
        group: &str,
        queue: &MessageQueue,
    ) -> Result<Option<i64>, ClientError> {
        let header = QueryOffsetRequest {
            consumer_group: group.to_owned(),
            topic: queue.topic.clone(),
            queue_id: queue.queue_id,
            set_zero_if_not_found: Some(false),
            broker_name: Some(queue.broker_name.clone()),
        };
        match self
            .ask_offset(broker, Frame::request(request::QUERY_CONSUMER_OFFSET, &header))
            .await
        {
            Err(error) if error.code() == Some(response::QUERY_NOT_FOUND) => Ok(None),
            answered => answered.map(Some),
        }
    }

    /// Saves a group's offset in a queue (15).
    pub async fn commit_offset(
        &self,
        broker: &str,
        group: &str,
        queue: &MessageQueue,
        offset: i64,
    ) -> Result<(), ClientError> {
        let header = UpdateOffsetRequest {
            consumer_group: group.to_owned(),
            topic: queue.topic.clone(),
            queue_id: Some(queue.queue_id),
            commit_offset: Some(offset),
            broker_name: Some(queue.broker_name.clone()),
        };
        self.ask(broker, Frame::request(request::UPDATE_CONSUMER_OFFSET, &header))
            .await
            .map(|_| ())
    }

    /// The first offset of a queue that is still there (31).
    pub async fn min_offset(&self, broker: &str, queue: &MessageQueue) -> Result<i64, ClientError> {
        self.ask_offset(broker, Frame::request(request::GET_MIN_OFFSET, &of_queue(queue)))
            .await
    }

    /// The offset that a queue's next message will get (30).
    pub async fn max_offset(&self, broker: &str, queue: &MessageQueue) -> Result<i64, ClientError> {
        self.ask_offset(broker, Frame::request(request::GET_MAX_OFFSET, &of_queue(queue)))
            .await
    }

    /// The offset that a time (epoch milliseconds) means in a queue (29).
    pub async fn offset_at(
        &self,
        broker: &str,
        queue: &MessageQueue,
        timestamp: i64,
        boundary: Boundary,
    ) -> Result<i64, ClientError> {
        let header = SearchOffsetRequest {
            topic: queue.topic.clone(),
            queue_id: queue.queue_id,
            timestamp,
            boundary,
            broker_name: Some(queue.broker_name.clone()),
        };
        self.ask_offset(
            broker,
            Frame::request(request::SEARCH_OFFSET_BY_TIMESTAMP, &header),
        )
        .await
    }

    async fn ask_offset(&self, broker: &str, frame: Frame) -> Result<i64, ClientError> {
        let answer = self.ask(broker, frame).await?;
        let reply: OffsetReply = answer
            .header()
            .map_err(|bad| ClientError::bad_field(broker, bad))?;
        Ok(reply.offset)
    }
}

fn named(group: &str) -> GroupRequest {
    GroupRequest {
        group: group.to_owned(),
    }
}

fn of_queue(queue: &MessageQueue) -> QueueRequest {
    QueueRequest {
        topic: queue.topic.clone(),
        queue_id: queue.queue_id,
        broker_name: Some(queue.broker_name.clone()),
    }
}
