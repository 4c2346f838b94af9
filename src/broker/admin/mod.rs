//! Administrative requests: topics, groups, offsets, clients, messages and the broker itself (Apache:
//! `AdminBrokerProcessor`, `QueryMessageProcessor`).

use std::sync::Arc;

use crate::broker::Broker;
use crate::broker::serve::not_supported;
use crate::protocol::frame::Frame;
use crate::remoting::{Answer, Peer};

/// What administrative requests may do.
#[derive(Debug, Clone, PartialEq)]
pub struct AdminOptions {
    /// `enableMixedMessageType`: whether a topic may have the message type MIXED.
    pub mixed_message_type: bool,
    /// `validateSystemTopicWhenUpdateTopic`: system topics cannot be changed or deleted.
    pub guard_system_topics: bool,
    /// `clearRetryTopicWhenDeleteTopic`: the pop retry topics of a topic are deleted with it.
    pub delete_retry_topics: bool,
    /// `useServerSideResetOffset`: the broker moves a group's offsets itself instead of asking its consumers.
    pub server_side_reset: bool,
    /// `maxMsgsNumBatch`: most messages a query by key is answered with.
    pub query_max: usize,
    /// `defaultQueryMaxNum`: most messages a query by unique key is answered with.
    pub query_unique_max: usize,
}

impl Default for AdminOptions {
    fn default() -> AdminOptions {
        AdminOptions {
            mixed_message_type: false,
            guard_system_topics: true,
            delete_retry_topics: true,
            server_side_reset: true,
            query_max: 64,
            query_unique_max: 32,
        }
    }
}

/// Answers an administrative request.
pub fn serve(_broker: &Arc<Broker>, frame: Frame, _peer: &Arc<Peer>) -> Answer {
    not_supported(frame.code)
}
