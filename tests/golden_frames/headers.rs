//! Header structs against recorded headers: nothing that a peer says is lost, nothing is misread.

use std::collections::BTreeMap;

use rmq::protocol::code::request as code;
use rmq::protocol::fields::{BadField, Fields, Header};
use rmq::protocol::frame::Frame;
use rmq::protocol::request::{broker, client, group, message, namesrv, pull, send, topic};

use crate::recordings::{self, Recorded};

/// Fields that clients add to any request, and that no handler needs.
const EXTRA: &[&str] = &[
    "bname",
    "ns",
    "nsd",
    "lo",
    "ReqT",
    "AccessKey",
    "Signature",
    "OnsChannel",
    "queueId",
];

type Texts = BTreeMap<String, String>;

fn texts(fields: &Fields) -> Texts {
    fields
        .iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// Reads the header as a struct and writes the struct again.
fn through<H: for<'a> Header<'a>>(frame: &Frame) -> Result<Texts, BadField> {
    let mut fields = Fields::default();
    frame.header::<H>()?.write(&mut fields);
    Ok(texts(&fields))
}

fn through_send(frame: &Frame) -> Result<Texts, BadField> {
    Ok(texts(&send::SendRequest::read(frame)?.frame(frame.code).fields))
}

fn through_send_reply(frame: &Frame) -> Result<Texts, BadField> {
    let mut fields = Fields::default();
    frame.header::<send::SendReply<'_>>()?.write(&mut fields);
    Ok(texts(&fields))
}

fn request(frame: &Frame) -> Option<Result<Texts, BadField>> {
    Some(match frame.code {
        code::SEND_MESSAGE
        | code::SEND_MESSAGE_V2
        | code::SEND_BATCH_MESSAGE
        | code::SEND_REPLY_MESSAGE
        | code::SEND_REPLY_MESSAGE_V2 => through_send(frame),
        code::CONSUMER_SEND_MSG_BACK => through::<send::SendBackRequest>(frame),
        code::END_TRANSACTION => through::<send::EndTransactionRequest>(frame),
        code::CHECK_TRANSACTION_STATE => through::<send::CheckTransactionRequest>(frame),
        code::PUSH_REPLY_MESSAGE_TO_CLIENT => through::<send::PushReplyRequest>(frame),
        code::RECALL_MESSAGE => through::<send::RecallRequest>(frame),
        code::PULL_MESSAGE | code::LITE_PULL_MESSAGE => through::<pull::PullRequest>(frame),
        code::QUERY_CONSUMER_OFFSET => through::<pull::QueryOffsetRequest>(frame),
        code::UPDATE_CONSUMER_OFFSET => through::<pull::UpdateOffsetRequest>(frame),
        code::SEARCH_OFFSET_BY_TIMESTAMP => through::<pull::SearchOffsetRequest>(frame),
        code::GET_MIN_OFFSET | code::GET_EARLIEST_MSG_STORETIME => through::<pull::QueueRequest>(frame),
        code::UNREGISTER_CLIENT => through::<client::UnregisterClientRequest>(frame),
        code::GET_CONSUMER_LIST_BY_GROUP
        | code::NOTIFY_CONSUMER_IDS_CHANGED
        | code::GET_CONSUMER_CONNECTION_LIST => through::<client::ConsumerGroupRequest>(frame),
        code::GET_PRODUCER_CONNECTION_LIST => through::<client::ProducerGroupRequest>(frame),
        code::RESET_CONSUMER_CLIENT_OFFSET => through::<client::ResetClientOffsetRequest>(frame),
        code::GET_CONSUMER_STATUS_FROM_CLIENT => through::<client::ClientStatusRequest>(frame),
        code::GET_CONSUMER_RUNNING_INFO => through::<client::RunningInfoRequest>(frame),
        code::CONSUME_MESSAGE_DIRECTLY => through::<client::ConsumeDirectlyRequest>(frame),
        code::QUERY_MESSAGE => through::<message::QueryMessageRequest>(frame),
        code::VIEW_MESSAGE_BY_ID => through::<message::ViewMessageRequest>(frame),
        code::UPDATE_AND_CREATE_TOPIC => through::<topic::CreateTopicRequest>(frame),
        code::GET_ALL_TOPIC_CONFIG => through::<topic::AllTopicsRequest>(frame),
        code::GET_TOPIC_STATS_INFO
        | code::DELETE_TOPIC_IN_BROKER
        | code::QUERY_TOPIC_CONSUME_BY_WHO
        | code::GET_TOPIC_CONFIG
        | code::REGISTER_TOPIC_IN_NAMESRV => through::<topic::TopicRequest>(frame),
        code::QUERY_CONSUME_TIME_SPAN | code::QUERY_SUBSCRIPTION_BY_CONSUMER => {
            through::<topic::TopicAndGroupRequest>(frame)
        }
        code::QUERY_CONSUME_QUEUE => through::<topic::QueryConsumeQueueRequest>(frame),
        code::QUERY_CORRECTION_OFFSET => through::<topic::CorrectionOffsetRequest>(frame),
        code::GET_ALL_SUBSCRIPTIONGROUP_CONFIG => through::<group::AllGroupsRequest>(frame),
        code::DELETE_SUBSCRIPTIONGROUP => through::<group::DeleteGroupRequest>(frame),
        code::GET_CONSUME_STATS => through::<group::ConsumeStatsRequest>(frame),
        code::INVOKE_BROKER_TO_RESET_OFFSET => through::<group::ResetOffsetRequest>(frame),
        code::INVOKE_BROKER_TO_GET_CONSUMER_STATUS => through::<group::ConsumerStatusRequest>(frame),
        code::CLONE_GROUP_OFFSET => through::<group::CloneOffsetRequest>(frame),
        code::GET_BROKER_CONSUME_STATS => through::<group::BrokerConsumeStatsRequest>(frame),
        code::QUERY_TOPICS_BY_CONSUMER | code::GET_SUBSCRIPTIONGROUP_CONFIG => {
            through::<group::GroupRequest>(frame)
        }
        code::UPDATE_AND_GET_GROUP_FORBIDDEN => through::<group::GroupForbiddenRequest>(frame),
        code::VIEW_BROKER_STATS_DATA => through::<broker::StatsRequest>(frame),
        code::RESUME_CHECK_HALF_MESSAGE => through::<broker::ResumeCheckRequest>(frame),
        code::RESET_MASTER_FLUSH_OFFSET => through::<broker::ResetMasterFlushOffsetRequest>(frame),
        code::PUT_KV_CONFIG => through::<namesrv::PutKvRequest>(frame),
        code::GET_KV_CONFIG | code::DELETE_KV_CONFIG => through::<namesrv::KvRequest>(frame),
        code::GET_KVLIST_BY_NAMESPACE => through::<namesrv::NamespaceRequest>(frame),
        code::REGISTER_BROKER => through::<namesrv::RegisterBrokerRequest>(frame),
        code::UNREGISTER_BROKER | code::QUERY_DATA_VERSION => through::<namesrv::BrokerRequest>(frame),
        code::GET_ROUTEINFO_BY_TOPIC => through::<namesrv::RouteRequest>(frame),
        code::WIPE_WRITE_PERM_OF_BROKER | code::ADD_WRITE_PERM_OF_BROKER => {
            through::<namesrv::BrokerNameRequest>(frame)
        }
        code::DELETE_TOPIC_IN_NAMESRV => through::<namesrv::DeleteTopicRequest>(frame),
        code::GET_TOPICS_BY_CLUSTER => through::<namesrv::ClusterRequest>(frame),
        code::GET_BROKER_MEMBER_GROUP => through::<namesrv::MemberGroupRequest>(frame),
        code::BROKER_HEARTBEAT => through::<namesrv::BrokerHeartbeatRequest>(frame),
        code::NOTIFY_MIN_BROKER_ID_CHANGE => through::<namesrv::MinBrokerIdRequest>(frame),
        _ => return None,
    })
}

fn answer(name: &str, frame: &Frame) -> Option<Result<Texts, BadField>> {
    Some(match name {
        "SEND_MESSAGE_RESPONSE"
        | "SEND_MESSAGE_V2_RESPONSE"
        | "SEND_BATCH_MESSAGE_RESPONSE"
        | "SEND_REPLY_MESSAGE_RESPONSE"
        | "SEND_REPLY_MESSAGE_V2_RESPONSE" => through_send_reply(frame),
        "PULL_MESSAGE_RESPONSE" | "LITE_PULL_MESSAGE_RESPONSE" => through::<pull::PullReply>(frame),
        "QUERY_CONSUMER_OFFSET_RESPONSE"
        | "SEARCH_OFFSET_BY_TIMESTAMP_RESPONSE"
        | "GET_MAX_OFFSET_RESPONSE"
        | "GET_MIN_OFFSET_RESPONSE" => through::<pull::OffsetReply>(frame),
        "GET_EARLIEST_MSG_STORETIME_RESPONSE" => through::<pull::TimestampReply>(frame),
        "HEART_BEAT_RESPONSE" => through::<client::HeartbeatReply>(frame),
        "QUERY_MESSAGE_RESPONSE" => through::<message::QueryMessageReply>(frame),
        "GET_ALL_TOPIC_CONFIG_RESPONSE" => through::<topic::AllTopicsReply>(frame),
        "GET_ALL_SUBSCRIPTIONGROUP_CONFIG_RESPONSE" => through::<group::AllGroupsReply>(frame),
        "GET_BROKER_CONFIG_RESPONSE" => through::<broker::BrokerConfigReply>(frame),
        "REGISTER_BROKER_RESPONSE" => through::<namesrv::RegisterBrokerReply>(frame),
        "GET_KV_CONFIG_RESPONSE" => through::<namesrv::KvReply>(frame),
        "QUERY_DATA_VERSION_RESPONSE" => through::<namesrv::DataVersionReply>(frame),
        "WIPE_WRITE_PERM_OF_BROKER_RESPONSE" => through::<namesrv::WipeWritePermReply>(frame),
        "ADD_WRITE_PERM_OF_BROKER_RESPONSE" => through::<namesrv::AddWritePermReply>(frame),
        _ => return None,
    })
}

/// Two recordings hold hand-made requests that servers refuse.
fn may_be_refused(recorded: &Recorded) -> bool {
    recorded.file.contains("-pop")
}

/// What the struct wrote holds everything that was recorded.
fn assert_kept(recorded: &Recorded, frame: &Frame, written: &Texts) {
    for (name, value) in frame.fields.iter() {
        match written.get(name) {
            Some(kept) => assert!(same(kept, value), "{name} was {value}, is {kept}: {recorded}"),
            None => assert!(EXTRA.contains(&name), "{name} is lost: {recorded}"),
        }
    }
}

/// The C++ client writes booleans as numbers.
fn same(kept: &str, value: &str) -> bool {
    kept == value || (kept == "true" && value == "1") || (kept == "false" && value == "0")
}

#[test]
fn every_recorded_request_header_is_kept_by_its_struct() {
    let mut read = 0;
    for recorded in recordings::all() {
        let frame = recorded.frame();
        if frame.is_response() {
            continue;
        }
        match request(&frame) {
            Some(Ok(written)) => assert_kept(&recorded, &frame, &written),
            Some(Err(_)) if may_be_refused(&recorded) => {}
            Some(Err(error)) => panic!("{error}: {recorded}"),
            None => continue,
        }
        read += 1;
    }
    assert!(read > 1000, "only {read} requests have a struct");
}

#[test]
fn every_recorded_answer_header_is_kept_by_its_struct() {
    let mut read = 0;
    for recorded in recordings::all() {
        let frame = recorded.frame();
        if frame.fields.is_empty() || frame.code != 0 {
            continue;
        }
        match answer(&recorded.name, &frame) {
            Some(Ok(written)) => assert_kept(&recorded, &frame, &written),
            Some(Err(error)) => panic!("{error}: {recorded}"),
            None => continue,
        }
        read += 1;
    }
    assert!(read > 450, "only {read} answers have a struct");
}
