//! One broker itself: what it is doing, its settings, its statistics.

use std::collections::BTreeMap;

use super::{Admin, text};
use crate::client::error::ClientError;
use crate::protocol::code::request;
use crate::protocol::frame::Frame;
use crate::protocol::request::body::KvTable;
use crate::protocol::request::broker::{HaStatusBody, StatsBody, StatsRequest};

impl Admin {
    /// Rates, offsets, disk use, versions: texts by name (28).
    pub async fn runtime_info(&self, broker: &str) -> Result<BTreeMap<String, String>, ClientError> {
        Ok(self
            .ask_for::<KvTable>(broker, Frame::command(request::GET_BROKER_RUNTIME_INFO))
            .await?
            .table)
    }

    /// The settings as properties text (26).
    pub async fn broker_config(&self, broker: &str) -> Result<String, ClientError> {
        text(
            broker,
            &self
                .ask(broker, Frame::command(request::GET_BROKER_CONFIG))
                .await?,
        )
    }

    /// Changes settings, given as properties text (25).
    pub async fn update_broker_config(&self, broker: &str, properties: &str) -> Result<(), ClientError> {
        let frame = Frame::command(request::UPDATE_BROKER_CONFIG).with_body(properties.to_owned());
        self.ask(broker, frame).await.map(|_| ())
    }

    /// One statistic, such as `TOPIC_PUT_NUMS` of a topic (315).
    pub async fn stats(&self, broker: &str, name: &str, key: &str) -> Result<StatsBody, ClientError> {
        let header = StatsRequest {
            stats_name: name.to_owned(),
            stats_key: key.to_owned(),
        };
        self.ask_for(broker, Frame::request(request::VIEW_BROKER_STATS_DATA, &header))
            .await
    }

    /// Replication, from either side (907).
    pub async fn ha_status(&self, broker: &str) -> Result<HaStatusBody, ClientError> {
        self.ask_for(broker, Frame::command(request::GET_BROKER_HA_STATUS))
            .await
    }

    /// Removes queue files that point to nothing any more (306).
    pub async fn clean_expired_queues(&self, broker: &str) -> Result<(), ClientError> {
        self.ask(broker, Frame::command(request::CLEAN_EXPIRED_CONSUMEQUEUE))
            .await
            .map(|_| ())
    }

    /// Removes log files that are older than the retention (329).
    pub async fn delete_expired_log(&self, broker: &str) -> Result<(), ClientError> {
        self.ask(broker, Frame::command(request::DELETE_EXPIRED_COMMITLOG))
            .await
            .map(|_| ())
    }
}
