//! Clients by request: who is connected 203, 204 and 328, and questions that are passed on to a consumer 223, 307 and 309.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::broker::clients::{Clients, Member};
use crate::broker::refusal::Refusal;
use crate::protocol::code::{request, response};
use crate::protocol::fastjson;
use crate::protocol::frame::Frame;
use crate::protocol::request::client::{
    ClientStatusRequest, Connection, ConsumerConnection, ConsumerStatusBody, ProducerConnection,
    ProducerInfo, ProducerTable,
};
use crate::protocol::request::group::ConsumerStatusRequest;
use crate::remoting::{Peer, RequestError};

/// How long a consumer has to answer a question that is passed on to it.
const RELAY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long each consumer has to tell its offsets.
const STATUS_TIMEOUT: Duration = Duration::from_secs(5);

/// The members of a consumer group and what they subscribe to (203).
///
/// # Errors
/// 206 if nobody is online.
pub fn consumers(clients: &Clients, group: &str) -> Result<ConsumerConnection, Refusal> {
    let online = clients.consumer_group(group);
    let offline = || {
        Refusal::new(
            response::CONSUMER_NOT_ONLINE,
            format!("the consumer group[{group}] not online"),
        )
    };
    let online = online.ok_or_else(offline)?;
    let subscriptions = online.subscriptions().into_iter();
    Ok(ConsumerConnection {
        connection_set: online
            .members
            .values()
            .map(|consumer| connection(&consumer.member))
            .collect(),
        consume_from_where: online.consume_from_where,
        consume_type: online.consume_type,
        message_model: online.message_model,
        subscription_table: subscriptions
            .map(|(topic, wanted)| (topic.to_owned(), wanted.data.clone()))
            .collect(),
    })
}

/// The members of a producer group (204).
///
/// # Errors
/// 1 if nobody is online.
pub fn producers(clients: &Clients, group: &str) -> Result<ProducerConnection, Refusal> {
    let members = clients.producers(group);
    if members.is_empty() {
        let remark = format!("the producer group[{group}] not exist");
        return Err(Refusal::new(response::SYSTEM_ERROR, remark));
    }
    Ok(ProducerConnection {
        connection_set: members.iter().map(connection).collect(),
    })
}

fn connection(member: &Member) -> Connection {
    Connection {
        client_addr: member.peer.address().to_string(),
        client_id: member.client_id.clone(),
        language: member.peer.language().name().to_owned(),
        version: member.peer.version(),
    }
}

/// All producers of all groups (328).
pub fn all_producers(clients: &Clients) -> ProducerTable {
    let info = |member: &Member| ProducerInfo {
        client_id: member.client_id.clone(),
        language: member.peer.language().name().to_owned(),
        last_update_timestamp: member.seen_ms,
        remote_ip: format!("/{}", member.peer.address()),
        version: member.peer.version(),
    };
    let groups = clients.all_producers().into_iter();
    ProducerTable {
        data: groups
            .map(|(group, members)| (group, members.iter().map(info).collect()))
            .collect(),
    }
}

/// The consumer of a group that a question is for.
///
/// # Errors
/// 1 if it is not online.
pub fn online(clients: &Clients, group: &str, client_id: &str) -> Result<Arc<Peer>, Refusal> {
    let offline = || {
        Refusal::new(
            response::SYSTEM_ERROR,
            format!("The Consumer <{group}> <{client_id}> not online"),
        )
    };
    clients.consumer(group, client_id).ok_or_else(offline)
}

/// Passes a question on to a consumer; its answer comes back as it is (307, 309).
///
/// # Errors
/// 207 if it does not answer in time, 1 if it cannot be asked.
pub async fn relay(peer: &Peer, group: &str, client_id: &str, question: Frame) -> Result<Frame, Refusal> {
    peer.request(question, RELAY_TIMEOUT)
        .await
        .map_err(|error| match error {
            RequestError::Timeout => Refusal::new(
                response::CONSUME_MSG_TIMEOUT,
                format!(
                    "consumer <{group}> <{client_id}> Timeout: no answer within {} s",
                    RELAY_TIMEOUT.as_secs()
                ),
            ),
            other => Refusal::new(
                response::SYSTEM_ERROR,
                format!("invoke consumer <{group}> <{client_id}> Exception: {other}"),
            ),
        })
}

/// Asks the members of a group for their offsets in a topic (223, 221): one of them, or all at once. Those that do not
/// answer are left out.
///
/// # Errors
/// 1 if none of those asked for is online.
pub async fn status(
    clients: &Clients,
    request: &ConsumerStatusRequest,
) -> Result<ConsumerStatusBody, Refusal> {
    let ConsumerStatusRequest {
        topic,
        group,
        client_addr,
    } = request;
    let wanted = client_addr
        .as_deref()
        .filter(|client_id| !client_id.trim().is_empty());
    let online = clients.consumer_group(group);
    let members = online
        .iter()
        .flat_map(|group| group.members.values())
        .map(|consumer| &consumer.member);
    let mut questions = tokio::task::JoinSet::new();
    for member in members.filter(|member| wanted.is_none_or(|wanted| wanted == member.client_id)) {
        let header = ClientStatusRequest {
            topic: topic.clone(),
            group: group.clone(),
        };
        let question = Frame::request(request::GET_CONSUMER_STATUS_FROM_CLIENT, &header);
        let member = member.clone();
        questions.spawn(async move {
            (
                member.client_id,
                member.peer.request(question, STATUS_TIMEOUT).await,
            )
        });
    }
    if questions.is_empty() {
        let remark = format!("No Any Consumer online in the consumer group: [{group}]");
        return Err(Refusal::new(response::SYSTEM_ERROR, remark));
    }
    let mut consumer_table = BTreeMap::new();
    while let Some(answered) = questions.join_next().await {
        let Ok((client_id, Ok(answer))) = answered else {
            continue;
        };
        if answer.code != response::SUCCESS {
            continue;
        }
        if let Ok(body) = fastjson::read::<ConsumerStatusBody>(&answer.body.contiguous()) {
            consumer_table.insert(client_id, body.message_queue_table);
        }
    }
    Ok(ConsumerStatusBody {
        consumer_table,
        ..ConsumerStatusBody::default()
    })
}
