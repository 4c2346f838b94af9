//! One client as brokers see it: its id, its connections, the routes it knows, and the heartbeat that keeps it a member of
//! its groups. Producers and consumers each have one.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::connect::{BrokerRequest, Connections, accepted};
use super::error::ClientError;
use super::ids;
use super::options::ClientOptions;
use super::routes::Routes;
use crate::protocol::code::request;
use crate::protocol::fastjson;
use crate::protocol::frame::Frame;
use crate::protocol::request::client::{HeartbeatData, UnregisterClientRequest};

/// Identity, connections and routes of one client.
pub(super) struct Presence {
    pub client_id: String,
    pub connections: Arc<Connections>,
    pub routes: Routes,
    pub options: ClientOptions,
    /// True from the begin of the end: every loop of this client stops.
    stopped: watch::Sender<bool>,
}

impl Presence {
    /// A client that has said nothing yet, and what brokers will ask it.
    pub fn new(options: ClientOptions) -> (Arc<Presence>, mpsc::Receiver<BrokerRequest>) {
        let (connections, requests) = Connections::open(&options);
        let presence = Presence {
            client_id: ids::client_id(options.instance_name.as_deref()),
            routes: Routes::new(connections.clone()),
            connections,
            options,
            stopped: watch::Sender::new(false),
        };
        (Arc::new(presence), requests)
    }

    /// Tells brokers that this client lives, all at once: one that does not answer delays no other.
    pub async fn beat(&self, data: &HeartbeatData, masters_only: bool) {
        let body = fastjson::write(data);
        let frame = Frame::command(request::HEART_BEAT).with_body(body);
        self.tell_brokers(frame, masters_only).await;
    }

    /// Tells brokers that this client leaves a group.
    pub async fn leave(&self, producer_group: Option<String>, consumer_group: Option<String>) {
        let masters_only = consumer_group.is_none();
        let client_id = self.client_id.clone();
        let header = UnregisterClientRequest {
            client_id,
            producer_group,
            consumer_group,
        };
        self.tell_brokers(Frame::request(request::UNREGISTER_CLIENT, &header), masters_only)
            .await;
    }

    /// Asks every known broker the same; failures are logged, the next heartbeat makes up for them.
    async fn tell_brokers(&self, frame: Frame, masters_only: bool) {
        let mut asked = JoinSet::new();
        for address in self.routes.broker_addresses(masters_only) {
            let (connections, frame) = (self.connections.clone(), frame.clone());
            asked.spawn(async move {
                let answer = connections
                    .ask(&address, frame, connections.request_timeout())
                    .await;
                if let Err(error) = answer.and_then(|answer| accepted(&address, answer)) {
                    tracing::debug!(%error, "a broker was not told");
                }
            });
        }
        asked.join_all().await;
    }

    /// Beats every heartbeat interval and whenever a route changes, until the client stops.
    pub async fn keep_beating(&self, data: impl Fn() -> HeartbeatData, masters_only: bool) {
        let mut changes = self.routes.changes();
        changes.mark_changed();
        self.until_stopped(async {
            loop {
                let wait = tokio::time::timeout(self.options.heartbeat_interval, changes.changed());
                if let Ok(Err(_)) = wait.await {
                    return;
                }
                self.beat(&data(), masters_only).await;
            }
        })
        .await;
    }

    /// Asks for the known routes again every route interval, until the client stops.
    pub async fn keep_routes_fresh(&self) {
        let mut interval = tokio::time::interval(self.options.route_interval);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        interval.tick().await;
        self.until_stopped(async {
            loop {
                interval.tick().await;
                self.routes.refresh().await;
            }
        })
        .await;
    }

    /// Runs until the work is done or the client stops, whichever is first.
    pub async fn until_stopped(&self, work: impl Future<Output = ()>) {
        let mut stopped = self.stopped.subscribe();
        tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => {}
            () = work => {}
        }
    }

    /// Whether the loops are to end.
    pub fn is_stopped(&self) -> bool {
        *self.stopped.borrow()
    }

    /// Stops the loops.
    pub fn stop(&self) {
        self.stopped.send_replace(true);
    }

    /// Sends a request to a broker's master and takes only success for an answer.
    pub async fn ask_master(&self, broker_name: &str, frame: Frame) -> Result<(String, Frame), ClientError> {
        let address = self.routes.master(broker_name)?;
        let answer = self
            .connections
            .ask(&address, frame, self.connections.request_timeout())
            .await?;
        let answer = accepted(&address, answer)?;
        Ok((address, answer))
    }
}
