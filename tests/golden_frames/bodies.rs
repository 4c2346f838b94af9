//! JSON bodies against recorded ones: read as types, written again, and nothing that was there is missing or different.

use rmq::protocol::fastjson::{self, BadBody};
use rmq::protocol::frame::Frame;
use rmq::protocol::request::{body, broker, client, group, namesrv, route, topic};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::recordings;

fn through<T: DeserializeOwned + Serialize>(text: &[u8]) -> Result<Vec<u8>, BadBody> {
    fastjson::read::<T>(text).map(|body| fastjson::write(&body))
}

fn written(name: &str, text: &[u8]) -> Option<Result<Vec<u8>, BadBody>> {
    Some(match name {
        "HEART_BEAT" => through::<client::HeartbeatData>(text),
        "CHECK_CLIENT_CONFIG" => through::<client::CheckClientBody>(text),
        "LOCK_BATCH_MQ" | "UNLOCK_BATCH_MQ" => through::<client::LockRequestBody>(text),
        "LOCK_BATCH_MQ_RESPONSE" => through::<client::LockReplyBody>(text),
        "GET_CONSUMER_LIST_BY_GROUP_RESPONSE" => through::<client::ConsumerIdList>(text),
        "GET_CONSUMER_CONNECTION_LIST_RESPONSE" => through::<client::ConsumerConnection>(text),
        "GET_PRODUCER_CONNECTION_LIST_RESPONSE" => through::<client::ProducerConnection>(text),
        "GET_ALL_PRODUCER_INFO_RESPONSE" => through::<client::ProducerTable>(text),
        "GET_CONSUMER_RUNNING_INFO_RESPONSE" => through::<client::ConsumerRunningInfo>(text),
        "GET_CONSUMER_STATUS_FROM_CLIENT_RESPONSE" | "INVOKE_BROKER_TO_GET_CONSUMER_STATUS_RESPONSE" => {
            through::<client::ConsumerStatusBody>(text)
        }
        "RESET_CONSUMER_CLIENT_OFFSET" | "INVOKE_BROKER_TO_RESET_OFFSET_RESPONSE" => {
            through::<client::ResetOffsetBody>(text)
        }
        "CONSUME_MESSAGE_DIRECTLY_RESPONSE" => through::<client::ConsumeDirectlyReply>(text),
        "GET_ALL_TOPIC_CONFIG_RESPONSE" => through::<topic::TopicTable>(text),
        "GET_TOPIC_CONFIG_RESPONSE" => through::<topic::TopicConfig>(text),
        "GET_TOPIC_STATS_INFO_RESPONSE" => through::<topic::TopicStatsTable>(text),
        "UPDATE_AND_CREATE_TOPIC_LIST" => through::<topic::TopicConfigList>(text),
        "QUERY_CONSUME_TIME_SPAN_RESPONSE" => through::<topic::ConsumeTimeSpanBody>(text),
        "QUERY_CONSUME_QUEUE_RESPONSE" => through::<topic::ConsumeQueueBody>(text),
        "QUERY_CORRECTION_OFFSET_RESPONSE" => through::<topic::CorrectionOffsetBody>(text),
        "GET_ALL_SUBSCRIPTIONGROUP_CONFIG_RESPONSE" => through::<group::GroupTable>(text),
        "GET_SUBSCRIPTIONGROUP_CONFIG_RESPONSE" | "UPDATE_AND_CREATE_SUBSCRIPTIONGROUP" => {
            through::<group::SubscriptionGroupConfig>(text)
        }
        "UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST" => through::<group::GroupConfigList>(text),
        "UPDATE_AND_GET_GROUP_FORBIDDEN_RESPONSE" => through::<group::GroupForbidden>(text),
        "GET_CONSUME_STATS_RESPONSE" => through::<group::ConsumeStats>(text),
        "GET_BROKER_CONSUME_STATS_RESPONSE" => through::<group::BrokerConsumeStats>(text),
        "QUERY_SUBSCRIPTION_BY_CONSUMER_RESPONSE" => through::<group::GroupSubscription>(text),
        "GET_ALL_CONSUMER_OFFSET_RESPONSE" => through::<group::ConsumerOffsetTable>(text),
        "GET_ALL_DELAY_OFFSET_RESPONSE" => through::<group::DelayOffsetTable>(text),
        "QUERY_TOPIC_CONSUME_BY_WHO_RESPONSE" => through::<body::GroupList>(text),
        "GET_BROKER_RUNTIME_INFO_RESPONSE"
        | "GET_KVLIST_BY_NAMESPACE_RESPONSE"
        | "REGISTER_BROKER_RESPONSE" => through::<body::KvTable>(text),
        "GET_ALL_TOPIC_LIST_FROM_NAMESERVER_RESPONSE"
        | "GET_TOPICS_BY_CLUSTER_RESPONSE"
        | "GET_SYSTEM_TOPIC_LIST_FROM_NS_RESPONSE"
        | "GET_SYSTEM_TOPIC_LIST_FROM_BROKER_RESPONSE"
        | "GET_UNIT_TOPIC_LIST_RESPONSE"
        | "GET_HAS_UNIT_SUB_TOPIC_LIST_RESPONSE"
        | "GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST_RESPONSE"
        | "QUERY_TOPICS_BY_CONSUMER_RESPONSE" => through::<body::TopicList>(text),
        "QUERY_DATA_VERSION" | "QUERY_DATA_VERSION_RESPONSE" => through::<body::DataVersion>(text),
        "GET_BROKER_CLUSTER_INFO_RESPONSE" => through::<route::ClusterInfo>(text),
        "GET_ROUTEINFO_BY_TOPIC_RESPONSE" | "REGISTER_TOPIC_IN_NAMESRV" => {
            through::<route::TopicRouteData>(text)
        }
        "GET_BROKER_MEMBER_GROUP_RESPONSE" => through::<route::BrokerMemberGroupBody>(text),
        "VIEW_BROKER_STATS_DATA_RESPONSE" => through::<broker::StatsBody>(text),
        "SET_MESSAGE_REQUEST_MODE" => through::<broker::RequestModeBody>(text),
        "GET_ALL_MESSAGE_REQUEST_MODE_RESPONSE" => through::<broker::RequestModeTable>(text),
        "QUERY_ASSIGNMENT" => through::<broker::AssignmentRequestBody>(text),
        "QUERY_ASSIGNMENT_RESPONSE" => through::<broker::AssignmentReplyBody>(text),
        "GET_TIMER_METRICS_RESPONSE" => through::<broker::TimerMetricsBody>(text),
        "GET_BROKER_HA_STATUS_RESPONSE" => through::<broker::HaStatusBody>(text),
        _ => return None,
    })
}

fn is_json(frame: &Frame) -> bool {
    frame
        .body
        .contiguous()
        .first()
        .is_some_and(|first| b"{[".contains(first))
}

/// Every member of `before` is in `after` and equal; Go writes some numbers as texts.
fn assert_kept(before: &Value, after: &Value, place: &str) {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            for (name, value) in before {
                let kept = after
                    .get(name)
                    .unwrap_or_else(|| panic!("{place}: {name} is lost"));
                assert_kept(value, kept, place);
            }
        }
        (Value::Array(before), Value::Array(after)) => {
            assert_eq!(before.len(), after.len(), "{place}");
            before
                .iter()
                .zip(after)
                .for_each(|(before, after)| assert_kept(before, after, place));
        }
        (Value::String(text), Value::Number(number)) => assert_eq!(*text, number.to_string(), "{place}"),
        _ => assert_eq!(before, after, "{place}"),
    }
}

#[test]
fn every_recorded_json_body_is_kept_by_its_type() {
    let mut read = 0;
    for recorded in recordings::all() {
        let frame = recorded.frame();
        if !is_json(&frame) {
            continue;
        }
        let text = frame.body.contiguous();
        let Some(written) = written(&recorded.name, &text) else {
            continue;
        };
        let written = written.unwrap_or_else(|error| panic!("{error}: {recorded}"));
        let [before, after] =
            [&text[..], &written].map(|text| fastjson::read::<Value>(text).expect("JSON of a kind"));
        assert_kept(&before, &after, &recorded.to_string());
        read += 1;
    }
    assert!(read > 300, "only {read} bodies have a type");
}

/// What the compressed form has room for.
fn as_compressed(mut body: namesrv::RegisterBrokerBody) -> namesrv::RegisterBrokerBody {
    let table = &mut body.topic_config_serialize_wrapper;
    table.mapping_data_version = None;
    table
        .topic_config_table
        .values_mut()
        .for_each(|topic| topic.order = false);
    body
}

/// 5.5.0 compresses and says that it does not; 4.9.7 says so.
#[test]
fn every_recorded_registration_is_read() {
    let mut forms = [0, 0];
    for recorded in recordings::all()
        .iter()
        .filter(|recorded| recorded.name == "REGISTER_BROKER")
    {
        let frame = recorded.frame();
        let header: namesrv::RegisterBrokerRequest = frame.header().expect("a registration's header");
        let bytes = frame.body.contiguous();
        assert!(
            header.body_crc32 == 0 || header.body_crc32 == namesrv::body_crc32(&bytes),
            "{recorded}"
        );
        let body = namesrv::RegisterBrokerBody::read(&bytes, frame.version)
            .unwrap_or_else(|error| panic!("{error}: {recorded}"));
        let topics = &body.topic_config_serialize_wrapper.topic_config_table;
        assert!(
            !topics.is_empty() && topics.iter().all(|(name, topic)| *name == topic.topic_name),
            "{recorded}"
        );
        let again = namesrv::RegisterBrokerBody::read(&body.compressed(frame.version), frame.version);
        assert_eq!(
            again.expect("what was just written"),
            as_compressed(body),
            "{recorded}"
        );
        forms[usize::from(bytes[0] == 0x78)] += 1;
    }
    assert!(forms[0] > 10 && forms[1] > 5, "{forms:?}");
}
