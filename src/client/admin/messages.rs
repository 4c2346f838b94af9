//! Finding messages: by key, by the id their producer gave them, by the id of one stored copy.

use super::{Admin, NAME_SERVER, names::BrokerAddress};
use crate::client::error::ClientError;
use crate::client::received::{ReceivedMessage, decode_all};
use crate::protocol::code::{request, response};
use crate::protocol::frame::Frame;
use crate::protocol::message::parse_offset_message_id;
use crate::protocol::request::message::{QueryMessageRequest, ViewMessageRequest};
use crate::protocol::request::route::ClusterInfo;

/// Most copies that a broker returns of one id.
const COPIES_MAX: usize = 32;

/// What several brokers had, and which of them could not say.
#[derive(Debug, Default)]
pub struct FoundMessages {
    /// In the order of their store time.
    pub messages: Vec<ReceivedMessage>,
    /// Brokers that could not be asked: there may be more there.
    pub failures: Vec<(BrokerAddress, ClientError)>,
    /// A broker returned as many as were asked for: there may be more.
    pub capped: bool,
}

/// What a query compares.
#[derive(Clone, Copy, PartialEq, Eq)]
enum KeyKind {
    Key,
    UniqueKey,
}

impl Admin {
    /// Messages of a topic with a key, stored between two times (epoch milliseconds), at most `max` from each broker (12).
    pub async fn find_by_key(
        &self,
        topic: &str,
        key: &str,
        max: usize,
        begin: i64,
        end: i64,
    ) -> Result<FoundMessages, ClientError> {
        let mut found = self.query(topic, key, KeyKind::Key, max, (begin, end)).await?;
        found
            .messages
            .retain(|message| message.keys.iter().any(|known| known == key));
        Ok(found)
    }

    /// All copies of a message in a topic, by the id its producer gave it (12). Whatever clock made the id, the whole index is
    /// searched.
    pub async fn find_by_unique_key(
        &self,
        topic: &str,
        message_id: &str,
    ) -> Result<FoundMessages, ClientError> {
        let mut found = self
            .query(topic, message_id, KeyKind::UniqueKey, COPIES_MAX, (0, i64::MAX))
            .await?;
        found.messages.retain(|message| message.message_id == message_id);
        Ok(found)
    }

    /// The stored copy that an offset id names, asked of the broker whose address is in it (33).
    pub async fn find_by_offset_id(&self, offset_message_id: &str) -> Result<ReceivedMessage, ClientError> {
        let Some((address, log_offset)) = parse_offset_message_id(offset_message_id) else {
            return Err(ClientError::Setting(format!(
                "{offset_message_id:?} is not an offset message id: those are 32 or 56 hex digits"
            )));
        };
        let address = address.to_string();
        let header = ViewMessageRequest {
            topic: None,
            offset: log_offset as i64,
        };
        let asked = self
            .ask(&address, Frame::request(request::VIEW_MESSAGE_BY_ID, &header))
            .await;
        let answer = match asked {
            Err(ClientError::Refused {
                code: response::SYSTEM_ERROR,
                ..
            }) => {
                return Err(ClientError::MessageNotFound(offset_message_id.to_owned()));
            }
            asked => asked?,
        };
        let broker_name = self.name_of(&address).await;
        let messages = decode_all(&answer.body.contiguous(), &broker_name);
        let first = messages
            .map_err(|bad| ClientError::bad_record(&address, bad))?
            .into_iter()
            .next();
        first.ok_or_else(|| ClientError::MessageNotFound(offset_message_id.to_owned()))
    }

    /// The name of the broker at an address; the address itself where no name server knows it.
    async fn name_of(&self, address: &str) -> String {
        let info: ClusterInfo = self.cluster_info().await.unwrap_or_default();
        let at_address = info
            .broker_addr_table
            .into_values()
            .find(|broker| broker.broker_addrs.values().any(|known| known == address));
        at_address.map_or_else(|| address.to_owned(), |broker| broker.broker_name)
    }

    async fn query(
        &self,
        topic: &str,
        key: &str,
        kind: KeyKind,
        max: usize,
        (begin, end): (i64, i64),
    ) -> Result<FoundMessages, ClientError> {
        let brokers = self.brokers_of_topic(topic).await?;
        if brokers.is_empty() {
            return Err(ClientError::BadAnswer {
                address: NAME_SERVER.to_owned(),
                cause: format!("{topic} has no broker"),
            });
        }
        let header = QueryMessageRequest {
            topic: topic.to_owned(),
            key: key.to_owned(),
            max_num: max as i32,
            begin_timestamp: begin,
            end_timestamp: end,
            unique_key: kind == KeyKind::UniqueKey,
            index_type: Some(if kind == KeyKind::UniqueKey { "U" } else { "K" }.to_owned()),
            last_key: None,
        };
        let mut found = FoundMessages::default();
        for broker in brokers {
            match self.query_one(&broker, &header).await {
                Ok(messages) => {
                    found.capped |= messages.len() >= max;
                    found.messages.extend(messages);
                }
                Err(error) => found.failures.push((broker, error)),
            }
        }
        found
            .messages
            .sort_by_key(|message| (message.store_time, message.log_offset));
        Ok(found)
    }

    async fn query_one(
        &self,
        broker: &BrokerAddress,
        header: &QueryMessageRequest,
    ) -> Result<Vec<ReceivedMessage>, ClientError> {
        match self
            .ask(&broker.address, Frame::request(request::QUERY_MESSAGE, header))
            .await
        {
            Ok(answer) => decode_all(&answer.body.contiguous(), &broker.name)
                .map_err(|bad| ClientError::bad_record(&broker.address, bad)),
            Err(error) if error.code() == Some(response::QUERY_NOT_FOUND) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}
