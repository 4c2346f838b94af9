//! The way of a client command to the servers: which name servers, and what their errors mean for the exit code.

use rmq::client::{ClientError, ClientOptions};
use rmq::protocol::code::response;

use crate::Common;
use crate::output::{Exit, Failure};

/// Where a name server is looked for when nobody says where.
pub const NAMESRV_DEFAULT: &str = "127.0.0.1:9876";

impl Common {
    /// The name servers to ask: `--namesrv`, the variable `NAMESRV_ADDR`, or the one on this machine.
    pub fn name_servers(&self) -> String {
        let given = self
            .namesrv
            .clone()
            .or_else(|| std::env::var("NAMESRV_ADDR").ok());
        given
            .filter(|addresses| !addresses.trim().is_empty())
            .unwrap_or_else(|| NAMESRV_DEFAULT.to_owned())
    }

    /// Options of a client of these name servers.
    pub fn client(&self) -> ClientOptions {
        ClientOptions::new(&self.name_servers())
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        let exit = exit_of(&error);
        match &error {
            // The next step comes before the technical cause.
            ClientError::NameServersUnreachable { addresses, cause } => Failure::new(
                exit,
                format!(
                    "no name server at {addresses}: start one with `rmq dev`, or name another with --namesrv ({cause})"
                ),
            ),
            _ => Failure::new(exit, error.to_string()),
        }
    }
}

/// The exit code of an error.
pub fn exit_of(error: &ClientError) -> Exit {
    match error {
        ClientError::NoNameServer | ClientError::Setting(_) => Exit::Usage,
        ClientError::TopicNotFound(_)
        | ClientError::GroupNotFound(_)
        | ClientError::MessageNotFound(_)
        | ClientError::BrokerNotFound(_)
        | ClientError::ClusterNotFound(_)
        | ClientError::NoSuchQueue { .. } => Exit::NotFound,
        ClientError::Refused {
            code: response::NO_PERMISSION,
            ..
        }
        | ClientError::NoWritableQueue(_) => Exit::Denied,
        ClientError::Send(failure)
            if !failure.tries.is_empty()
                && (failure.tries.iter()).all(|one| exit_of(&one.error) == Exit::Denied) =>
        {
            Exit::Denied
        }
        ClientError::Refused {
            code: response::TOPIC_NOT_EXIST | response::SUBSCRIPTION_GROUP_NOT_EXIST,
            ..
        } => Exit::NotFound,
        error if error.is_unreachable() => Exit::Unreachable,
        _ => Exit::Failed,
    }
}
