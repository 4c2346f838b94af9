//! What can go wrong for a client. Each error names the thing and, where there is one, the next step.

use std::fmt;
use std::time::Duration;

use super::outgoing::BadMessage;
use crate::protocol::fields::BadField;
use crate::protocol::message::BadRecord;

/// Why a call failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClientError {
    #[error("no name server is configured: name one (-n HOST:PORT or NAMESRV_ADDR)")]
    NoNameServer,
    #[error("no name server at {addresses} ({cause}): start one with `rmq dev`, or name another one with -n")]
    NameServersUnreachable {
        addresses: String,
        cause: Box<ClientError>,
    },
    #[error("cannot connect to {address}: {cause}")]
    Unreachable { address: String, cause: String },
    #[error("{address} did not answer within {timeout:?}")]
    Timeout { address: String, timeout: Duration },
    #[error("{address} closed the connection before it answered")]
    Disconnected { address: String },
    /// The request never left: the connection's queue of outgoing requests is full, or the request is larger than a frame.
    #[error("the request to {address} was not sent: {cause}")]
    NotSent { address: String, cause: String },
    /// The other side said no.
    #[error("{address} refused ({code}): {remark}")]
    Refused {
        address: String,
        code: i32,
        remark: String,
    },
    #[error("topic {0:?} not found (create it: rmq topic create {0})")]
    TopicNotFound(String),
    #[error("topic {0:?} has no queue that may be written")]
    NoWritableQueue(String),
    #[error("topic {topic:?} has no queue {queue}")]
    NoSuchQueue { topic: String, queue: String },
    #[error("broker {0:?} is unknown to the name server")]
    BrokerNotFound(String),
    #[error("cluster {0:?} is unknown to the name server")]
    ClusterNotFound(String),
    #[error("group {0:?} not found: nobody consumes with it, and it has no offsets")]
    GroupNotFound(String),
    #[error("no message {0}")]
    MessageNotFound(String),
    #[error("{address} sent an answer that cannot be read: {cause}")]
    BadAnswer { address: String, cause: String },
    #[error(transparent)]
    Message(#[from] BadMessage),
    #[error(transparent)]
    Send(#[from] SendFailure),
    #[error("{0}")]
    Setting(String),
    #[error("this client is closed")]
    Closed,
}

impl ClientError {
    /// The code of a refusal.
    pub fn code(&self) -> Option<i32> {
        match self {
            ClientError::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Whether the request may have been carried out although no answer came.
    pub fn may_have_happened(&self) -> bool {
        matches!(
            self,
            ClientError::Timeout { .. } | ClientError::Disconnected { .. }
        )
    }

    /// Whether the other side could not be reached or did not answer, as opposed to saying no.
    pub fn is_unreachable(&self) -> bool {
        match self {
            ClientError::NameServersUnreachable { .. }
            | ClientError::Unreachable { .. }
            | ClientError::Timeout { .. }
            | ClientError::Disconnected { .. } => true,
            ClientError::Send(failure) => {
                !failure.tries.is_empty() && failure.tries.iter().all(|one| one.error.is_unreachable())
            }
            _ => false,
        }
    }

    pub(super) fn bad_field(address: &str, bad: BadField) -> ClientError {
        ClientError::BadAnswer {
            address: address.to_owned(),
            cause: bad.to_string(),
        }
    }

    pub(super) fn bad_record(address: &str, bad: BadRecord) -> ClientError {
        ClientError::BadAnswer {
            address: address.to_owned(),
            cause: bad.to_string(),
        }
    }
}

/// One try of a send that failed.
#[derive(Debug, Clone)]
pub struct FailedTry {
    pub broker_name: String,
    pub error: ClientError,
}

/// A send that no broker acknowledged in time.
#[derive(Debug, Clone)]
pub struct SendFailure {
    pub topic: String,
    pub elapsed: Duration,
    pub tries: Vec<FailedTry>,
}

impl SendFailure {
    /// Whether the message may be stored all the same, by a broker whose answer did not arrive.
    pub fn may_be_stored(&self) -> bool {
        self.tries.iter().any(|one| one.error.may_have_happened())
    }
}

impl fmt::Display for SendFailure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "could not send to {} ({} ms)",
            self.topic,
            self.elapsed.as_millis()
        )?;
        if self.tries.is_empty() {
            write!(out, "; finding its route took all the time")?;
        }
        for one in &self.tries {
            let stored = if one.error.may_have_happened() {
                " (may be stored)"
            } else {
                ""
            };
            write!(out, "; {}: {}{stored}", one.broker_name, one.error)?;
        }
        Ok(())
    }
}

impl std::error::Error for SendFailure {}
