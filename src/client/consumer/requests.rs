//! What brokers ask a consumer: that its group has changed (40), to go on elsewhere (220), where it is (221, 307), and to
//! consume one message now (309).

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::{Consumed, Membership};
use crate::client::connect::BrokerRequest;
use crate::client::received::ReceivedMessage;
use crate::protocol::code::{request, response};
use crate::protocol::fastjson::{self, QueueTable};
use crate::protocol::fields::BadField;
use crate::protocol::frame::Frame;
use crate::protocol::message::RecordView;
use crate::protocol::request::client::{
    ClientStatusRequest, ConsumeDirectlyReply, ConsumeDirectlyRequest, ConsumeResult, ConsumerGroupRequest,
    ConsumerRunningInfo, ConsumerStatusBody, ResetClientOffsetRequest, ResetOffsetBody, RunningInfoRequest,
};

/// Answers the requests of brokers until the client stops.
pub(super) async fn answer_brokers(member: Arc<Membership>, mut requests: mpsc::Receiver<BrokerRequest>) {
    let presence = member.presence.clone();
    presence
        .until_stopped(async {
            while let Some(request) = requests.recv().await {
                let answer = request.answer;
                match request.frame.code {
                    request::CONSUME_MESSAGE_DIRECTLY => {
                        // A handler may take its time; the others are answered meanwhile.
                        let member = member.clone();
                        tokio::spawn(
                            async move { send(answer, consume_directly(&member, &request.frame).await) },
                        );
                    }
                    code => {
                        if let Some(frame) = answer_one(&member, code, &request.frame).await {
                            send(answer, frame);
                        }
                    }
                }
            }
        })
        .await;
}

fn send(answer: Option<oneshot::Sender<Frame>>, frame: Frame) {
    if let Some(answer) = answer {
        // Whoever asked may be gone; then nobody misses the answer.
        let _ = answer.send(frame);
    }
}

/// `None`: not a request that consumers know; dropping it answers so.
async fn answer_one(member: &Membership, code: i32, frame: &Frame) -> Option<Frame> {
    match code {
        request::NOTIFY_CONSUMER_IDS_CHANGED => {
            let named = frame.header::<ConsumerGroupRequest>();
            if named.is_ok_and(|header| header.consumer_group == member.options.group) {
                member.rebalance.notify_one();
            }
            Some(Frame::answer(response::SUCCESS))
        }
        request::RESET_CONSUMER_CLIENT_OFFSET => Some(reset(member, frame).await),
        request::GET_CONSUMER_STATUS_FROM_CLIENT => {
            let named = frame
                .header::<ClientStatusRequest>()
                .map(|header| (header.group, header.topic));
            Some(of_group(member, named, |topic| {
                fastjson::write(&status(member, &topic))
            }))
        }
        request::GET_CONSUMER_RUNNING_INFO => {
            let named = frame
                .header::<RunningInfoRequest>()
                .map(|header| (header.consumer_group, ()));
            Some(of_group(member, named, |()| {
                fastjson::write(&running_info(member))
            }))
        }
        _ => None,
    }
}

/// The answer to a request for this group; another group's is refused.
fn of_group<T>(
    member: &Membership,
    named: Result<(String, T), BadField>,
    body: impl FnOnce(T) -> Vec<u8>,
) -> Frame {
    match named {
        Err(bad) => Frame::refusal(response::INVALID_PARAMETER, bad.to_string()),
        Ok((group, _)) if group != member.options.group => {
            Frame::refusal(response::SYSTEM_ERROR, format!("the group {group} is not here"))
        }
        Ok((_, asked)) => Frame::answer(response::SUCCESS).with_body(body(asked)),
    }
}

/// Moves the queues to the offsets in the body, forwards or backwards, and saves these at once.
async fn reset(member: &Membership, frame: &Frame) -> Frame {
    let body = match fastjson::read::<ResetOffsetBody>(&frame.body.contiguous()) {
        Ok(body) => body,
        Err(bad) => return Frame::refusal(response::SYSTEM_ERROR, bad.to_string()),
    };
    let named = frame.header::<ResetClientOffsetRequest>();
    if named.is_ok_and(|header| header.group == member.options.group) {
        let mut moved = Vec::new();
        for owned in member.owned() {
            let Some(offset) = body
                .offset_table
                .get(&owned.queue)
                .and_then(|offset| u64::try_from(*offset).ok())
            else {
                continue;
            };
            owned.reset(offset);
            moved.push((owned.queue.clone(), offset));
        }
        tracing::info!(queues = moved.len(), "offsets were reset by the broker");
        member.offsets.save(moved).await;
    }
    Frame::answer(response::SUCCESS)
}

fn status(member: &Membership, topic: &str) -> ConsumerStatusBody {
    let owned = member
        .owned()
        .into_iter()
        .filter(|owned| owned.queue.topic == topic);
    let offsets: QueueTable<i64> = owned
        .map(|owned| {
            (
                owned.queue.clone(),
                owned.window(|window| window.committable() as i64),
            )
        })
        .collect();
    ConsumerStatusBody {
        message_queue_table: offsets,
        ..ConsumerStatusBody::default()
    }
}

/// What an administrator sees of this consumer.
pub(super) fn running_info(member: &Membership) -> ConsumerRunningInfo {
    let options = &member.options;
    let properties = [
        (
            "PROP_NAMESERVER_ADDR",
            member.presence.connections.name_servers().join(";"),
        ),
        ("PROP_THREADPOOL_CORE_SIZE", options.handlers_max.to_string()),
        ("PROP_CONSUMEORDERLY", member.is_orderly().to_string()),
        ("PROP_CONSUME_TYPE", "CONSUME_PASSIVELY".to_owned()),
        ("PROP_CLIENT_VERSION", "V5_5_0".to_owned()),
        ("PROP_CONSUMER_START_TIMESTAMP", member.started_at.to_string()),
    ];
    ConsumerRunningInfo {
        mq_table: member
            .owned()
            .into_iter()
            .map(|owned| (owned.queue.clone(), owned.info(options.lock_validity)))
            .collect(),
        properties: properties
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect::<BTreeMap<_, _>>(),
        status_table: member.tallies.status(),
        subscription_set: member.subscription_data(),
        ..ConsumerRunningInfo::default()
    }
}

/// Hands the message in the body to the handler, whatever queue it lies in; its offset does not count.
async fn consume_directly(member: &Membership, frame: &Frame) -> Frame {
    let header = match frame.header::<ConsumeDirectlyRequest>() {
        Ok(header) => header,
        Err(bad) => return Frame::refusal(response::INVALID_PARAMETER, bad.to_string()),
    };
    let body = frame.body.contiguous();
    let record = match RecordView::decode(&body) {
        Ok(record) => record,
        Err(bad) => return Frame::refusal(response::SYSTEM_ERROR, bad.to_string()),
    };
    let broker_name = header.broker_name.unwrap_or_default();
    let message = ReceivedMessage::from_record(&record, &broker_name);
    let start = Instant::now();
    let consumed = member
        .call_handler(vec![message], Some(member.options.handler_timeout))
        .await;
    let reply = ConsumeDirectlyReply {
        auto_commit: true,
        consume_result: match consumed {
            Consumed::Success => ConsumeResult::Success,
            Consumed::Later | Consumed::Untouched => ConsumeResult::Later,
        },
        order: member.is_orderly(),
        remark: None,
        spent_time_mills: start.elapsed().as_millis() as i64,
    };
    Frame::answer(response::SUCCESS).with_body(fastjson::write(&reply))
}
