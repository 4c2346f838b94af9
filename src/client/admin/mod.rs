//! Administration: what `mqadmin` asks name servers and brokers, one method a request, named after what it does.
//!
//! Requests to a broker take its address, see [`Admin::brokers`]: what holds for several brokers is asked of each, and each
//! has its own answer or error. Nothing is remembered between calls.

mod broker;
mod groups;
mod messages;
mod names;
mod topics;

use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::connect::{Connections, accepted};
use super::error::ClientError;
use super::options::ClientOptions;
use crate::protocol::fastjson;
use crate::protocol::frame::Frame;

pub use messages::FoundMessages;
pub use names::BrokerAddress;

/// What errors call whichever name server answered.
const NAME_SERVER: &str = "the name server";

/// Asks and changes what name servers and brokers know.
///
/// ```no_run
/// # async fn example() -> Result<(), rmq::client::ClientError> {
/// use rmq::client::{Admin, ClientOptions};
/// let admin = Admin::new(ClientOptions::new("127.0.0.1:9876"));
/// for broker in admin.brokers(None).await? {
///     let info = admin.runtime_info(&broker.address).await?;
///     println!("{} {:?}", broker.name, info.get("brokerVersionDesc"));
/// }
/// # Ok(())
/// # }
/// ```
pub struct Admin {
    connections: Arc<Connections>,
}

impl Admin {
    /// Connects when it is first needed. Call it within a tokio runtime.
    pub fn new(options: ClientOptions) -> Admin {
        // Nobody asks an administrator: the receiver is dropped, and whoever tries is answered so.
        let (connections, _) = Connections::open(&options);
        Admin { connections }
    }

    /// The addresses of the name servers.
    pub fn name_servers(&self) -> Vec<String> {
        self.connections.name_servers()
    }

    /// Closes the connections.
    pub fn close(self) {
        self.connections.close();
    }

    /// Sends any request and takes success for an answer.
    pub async fn ask(&self, address: &str, frame: Frame) -> Result<Frame, ClientError> {
        let answer = self
            .connections
            .ask(address, frame, self.connections.request_timeout())
            .await?;
        accepted(address, answer)
    }

    async fn ask_for<T: DeserializeOwned>(&self, address: &str, frame: Frame) -> Result<T, ClientError> {
        read(address, &self.ask(address, frame).await?)
    }

    async fn ask_names(&self, frame: Frame) -> Result<Frame, ClientError> {
        accepted(NAME_SERVER, self.connections.ask_name_server(frame).await?)
    }

    async fn ask_names_for<T: DeserializeOwned>(&self, frame: Frame) -> Result<T, ClientError> {
        read(NAME_SERVER, &self.ask_names(frame).await?)
    }
}

/// The JSON body of an answer.
fn read<T: DeserializeOwned>(address: &str, answer: &Frame) -> Result<T, ClientError> {
    fastjson::read(&answer.body.contiguous()).map_err(|bad| ClientError::BadAnswer {
        address: address.to_owned(),
        cause: bad.to_string(),
    })
}

/// The text body of an answer.
fn text(address: &str, answer: &Frame) -> Result<String, ClientError> {
    String::from_utf8(answer.body.contiguous().to_vec()).map_err(|bad| ClientError::BadAnswer {
        address: address.to_owned(),
        cause: bad.to_string(),
    })
}
