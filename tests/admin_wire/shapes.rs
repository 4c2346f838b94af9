//! Answers have the members that Apache's have: compared with recordings of a 5.5.0 broker (`tests/golden`).

use std::collections::BTreeSet;
use std::sync::Arc;

use rmq::protocol::code::{request, response};
use rmq::protocol::fastjson;
use rmq::protocol::frame::Frame;
use rmq::protocol::properties;
use rmq::protocol::request::topic::CreateTopicRequest;
use serde::Deserialize;
use serde_json::Value;

use crate::harness::{BEGIN_MS, TestBroker, producer};
use crate::{asked, new_topic, subscriber};

const RECORDED: &str = include_str!("../golden/admin-5.5.0.ndjson");

/// Members whose own members are names of things.
const TABLES: [&str; 15] = [
    "attributes",
    "consumerTable",
    "correctionOffsets",
    "data",
    "forbiddenTable",
    "groupTopicMap",
    "messageQueueTable",
    "messageRequestModeMap",
    "offsetTable",
    "pullOffsetTable",
    "statusTable",
    "subscriptionGroupTable",
    "subscriptionTable",
    "topicConfigTable",
    "topicQueueMappingInfoMap",
];

/// What a master alone, without timers and POP, has nothing to say about; and what clients answer, not the broker.
const LEFT_OUT: [i32; 7] = [
    request::GET_TIMER_CHECK_POINT,
    request::GET_TIMER_METRICS,
    request::GET_ALL_MESSAGE_REQUEST_MODE,
    request::GET_CONSUMER_RUNNING_INFO,
    request::CONSUME_MESSAGE_DIRECTLY,
    request::INVOKE_BROKER_TO_GET_CONSUMER_STATUS,
    request::GET_BROKER_CONFIG,
];

/// Members of a recording that are not written here.
const NOT_HERE: [&str; 1] = ["/pullOffsetTable"];

#[derive(Deserialize)]
struct Recorded {
    code: i32,
    name: String,
    #[serde(default)]
    request: std::collections::BTreeMap<String, String>,
    answer: i32,
    #[serde(default)]
    fields: Vec<String>,
    body: Option<String>,
}

fn recorded() -> Vec<Recorded> {
    RECORDED
        .lines()
        .map(|line| serde_json::from_str(line).expect("a recorded answer"))
        .collect()
}

/// The members of a body as paths.
fn paths(value: &Value, path: &str, is_table: bool, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let step = if is_table { "*" } else { name };
                let is_nested = is_table
                    && member
                        .as_object()
                        .is_some_and(|queues| queues.keys().all(|key| key.parse::<i32>().is_ok()));
                paths(
                    member,
                    &format!("{path}/{step}"),
                    TABLES.contains(&name.as_str()) || is_nested,
                    found,
                );
            }
        }
        Value::Array(items) => {
            // The list of 317 has one table a group.
            let is_table = path.ends_with("/consumeStatsList");
            found.insert(path.to_owned());
            items.iter().for_each(|item| paths(item, path, is_table, found));
        }
        _ => drop(found.insert(path.to_owned())),
    }
}

fn members(body: &[u8]) -> BTreeSet<String> {
    let value: Value = fastjson::read(body).expect("a JSON body");
    let mut found = BTreeSet::new();
    paths(&value, "", false, &mut found);
    found
}

/// The recorded request, about what the broker under test has.
fn as_ours(recorded: &Recorded) -> Frame {
    let ours = |name: &str, value: &str| {
        let known = match name {
            "topic" | "statsKey" => "Orders",
            "group" | "consumerGroup" | "compareGroup" => "billing",
            "producerGroup" => "shop",
            "dataVersion" | "topicSeq" | "groupSeq" | "filterGroups" => "",
            _ => value,
        };
        (name.to_owned(), known.to_owned())
    };
    let fields: Vec<(String, String)> = recorded
        .request
        .iter()
        .map(|(name, value)| ours(name, value))
        .collect();
    let fields: Vec<(&str, &str)> = fields
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    asked(recorded.code, &fields)
}

#[tokio::test]
async fn bodies_have_the_members_that_apaches_have() {
    let broker = TestBroker::start().await;
    let client = broker.connect().await;
    let fifo = CreateTopicRequest {
        attributes: Some("+message.type=FIFO".to_owned()),
        ..new_topic("Orders", 1)
    };
    assert_eq!(
        client.request(request::UPDATE_AND_CREATE_TOPIC, &fifo).await.code,
        response::SUCCESS
    );
    client.send_tagged("Orders", "one", "KEYS\u{1}k\u{2}").await;
    client.send_tagged("Orders", "late", "DELAY\u{1}1\u{2}").await;
    broker.clock.set(BEGIN_MS + 2000);
    client.await_messages("Orders", 1).await;
    client.beat(&subscriber("billing", "Orders", "red")).await;
    client.beat(&producer("one", "shop")).await;
    let commit = [
        ("consumerGroup", "billing"),
        ("topic", "Orders"),
        ("queueId", "0"),
        ("commitOffset", "1"),
    ];
    client.change(request::UPDATE_CONSUMER_OFFSET, &commit).await;
    let forbid = [("group", "billing"), ("topic", "Other"), ("readable", "false")];
    client
        .change(request::UPDATE_AND_GET_GROUP_FORBIDDEN, &forbid)
        .await;
    let mut compared = 0;
    for recorded in recorded()
        .iter()
        .filter(|recorded| recorded.answer == response::SUCCESS)
    {
        let Some(body) = recorded
            .body
            .as_deref()
            .filter(|_| !LEFT_OUT.contains(&recorded.code))
        else {
            continue;
        };
        let answer = client.ask(as_ours(recorded)).await;
        assert_eq!(
            answer.code,
            response::SUCCESS,
            "{}: {:?}",
            recorded.name,
            answer.remark
        );
        for field in &recorded.fields {
            assert!(answer.fields.get(field).is_some(), "{}: {field}", recorded.name);
        }
        let (mut theirs, ours) = (members(body.as_bytes()), members(&answer.body.contiguous()));
        theirs.retain(|path| !NOT_HERE.iter().any(|not_here| path.starts_with(not_here)));
        theirs.retain(|path| !path.starts_with("/table/commitLogDiskRatio_")); // Named after a folder.
        let missing: Vec<&String> = theirs.difference(&ours).collect();
        assert!(
            missing.is_empty(),
            "{}: {missing:?} of {theirs:?}, here {ours:?}",
            recorded.name
        );
        compared += 1;
    }
    assert!(compared >= 15, "{compared}");
}

#[tokio::test]
async fn every_key_of_apaches_configuration_is_shown() {
    let broker = TestBroker::start().await;
    let client = broker.connect().await;
    let answer = client.ask(Frame::command(request::GET_BROKER_CONFIG)).await;
    let keys = |text: &str| -> BTreeSet<String> {
        properties::parse(text)
            .expect("properties")
            .into_iter()
            .map(|assignment| assignment.key)
            .collect()
    };
    let ours = keys(std::str::from_utf8(&answer.body.contiguous()).expect("UTF-8"));
    let theirs = recorded()
        .into_iter()
        .find(|recorded| recorded.code == request::GET_BROKER_CONFIG);
    let theirs = keys(&theirs.and_then(|recorded| recorded.body).expect("recorded"));
    let missing: Vec<&String> = theirs.difference(&ours).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// mqadmin reads these texts with a parser of its own.
#[tokio::test]
async fn tables_of_queues_have_whole_objects_as_keys() {
    let broker = TestBroker::start().await;
    let client = Arc::new(broker.connect().await);
    client.create("Orders", 1).await;
    let answer = client
        .ask(asked(request::GET_TOPIC_STATS_INFO, &[("topic", "Orders")]))
        .await;
    let text = String::from_utf8(answer.body.contiguous().to_vec()).expect("UTF-8");
    let expected =
        r#"{"offsetTable":{{"brokerName":"broker-a","queueId":0,"topic":"Orders"}:{"lastUpdateTimestamp":0,"#;
    assert!(text.starts_with(expected), "{text}");
}
