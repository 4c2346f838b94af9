//! The broker's own configuration and counts.

use rmq::protocol::code::{request, response};
use rmq::protocol::frame::Frame;
use rmq::protocol::properties;
use rmq::protocol::request::body::KvTable;
use rmq::protocol::request::broker::StatsBody;

use crate::harness::{Client, TestBroker};
use crate::{asked, refused};

async fn update(client: &Client, text: &str) -> Frame {
    client
        .ask(Frame::command(request::UPDATE_BROKER_CONFIG).with_body(text.to_owned()))
        .await
}

async fn value(client: &Client, key: &str) -> String {
    let answer = client.ask(Frame::command(request::GET_BROKER_CONFIG)).await;
    assert!(
        answer
            .fields
            .get("version")
            .expect("a version")
            .starts_with("{\"counter\":")
    );
    let text = String::from_utf8(answer.body.contiguous().to_vec()).expect("UTF-8");
    let all = properties::parse(&text).expect("properties");
    all.into_iter()
        .find(|assignment| assignment.key == key)
        .expect("a known key")
        .value
}

#[tokio::test]
async fn a_changed_key_holds_at_once_and_is_saved_beside_the_store() {
    let broker = TestBroker::start().await;
    let client = broker.connect().await;
    assert_eq!(
        update(&client, "maxMessageSize=10\n\n").await.code,
        response::SUCCESS
    );
    assert_eq!(value(&client, "maxMessageSize").await, "10");
    let refused = client
        .send_frame(&crate::harness::message("Orders"), "eleven bytes")
        .await;
    assert_eq!(refused.code, response::MESSAGE_ILLEGAL);
    let saved = broker.folder.path().join("store/rmq/broker.properties");
    assert!(
        std::fs::read_to_string(saved)
            .expect("saved")
            .contains("\nmaxMessageSize=10\n")
    );
}

#[tokio::test]
async fn black_listed_unknown_and_bad_keys_are_refused() {
    let broker = TestBroker::start().await;
    let client = broker.connect().await;
    for text in [
        "brokerConfigPath=x",
        "rocketmqHome=-c $@|sh . echo id;",
        "configBlackList=x",
    ] {
        let answer = update(&client, text).await;
        assert_eq!(
            refused(&answer),
            (response::NO_PERMISSION, "Can not update config in black list."),
            "{text}"
        );
    }
    assert_eq!(
        update(&client, "storePathRootDir=/tmp").await.code,
        response::NO_PERMISSION
    );
    assert_eq!(
        update(&client, "filterServerNums=1").await.code,
        response::INVALID_PARAMETER
    );
    assert_eq!(
        update(&client, "traceOn=perhaps").await.code,
        response::INVALID_PARAMETER
    );
    assert!(!broker.folder.path().join("store/rmq/broker.properties").exists());
}

#[tokio::test]
async fn a_read_only_broker_narrows_what_topics_allow() {
    let broker = TestBroker::start().await;
    let client = broker.connect().await;
    client.send("Orders", "one").await;
    assert_eq!(
        update(&client, "brokerPermission=2").await.code,
        response::SUCCESS
    );
    let answer = client
        .request(request::PULL_MESSAGE, &crate::harness::pull("Orders", 0))
        .await;
    assert_eq!(answer.code, response::NO_PERMISSION);
}

#[tokio::test]
async fn runtime_information_counts_messages() {
    let broker = TestBroker::start().await;
    let client = broker.connect().await;
    client.send("Orders", "one").await;
    let info: KvTable = client.look(request::GET_BROKER_RUNTIME_INFO, &[]).await;
    assert_eq!(info.table["msgPutTotalTodayNow"], "1");
    assert_eq!(info.table["brokerVersionDesc"], "V5_5_0");
    assert!(
        info.table["commitLogDirCapacity"].starts_with("Total : "),
        "{}",
        info.table["commitLogDirCapacity"]
    );
    let stats = [("statsName", "TOPIC_PUT_NUMS"), ("statsKey", "Orders")];
    let _: StatsBody = client.look(request::VIEW_BROKER_STATS_DATA, &stats).await;
    let stats = [("statsName", "TOPIC_PUT_NUMS"), ("statsKey", "NoTopic")];
    let missing = client.ask(asked(request::VIEW_BROKER_STATS_DATA, &stats)).await;
    assert_eq!(
        refused(&missing),
        (
            response::SYSTEM_ERROR,
            "The stats <TOPIC_PUT_NUMS> <NoTopic> not exist"
        )
    );
}

#[tokio::test]
async fn a_master_without_slaves_says_so() {
    let broker = TestBroker::start().await;
    let client = broker.connect().await;
    client
        .change(request::RESET_MASTER_FLUSH_OFFSET, &[("masterFlushOffset", "0")])
        .await;
    let pop =
        br#"{"consumerGroup":"TOOLS_CONSUMER","mode":"POP","popShareQueueNum":4,"topic":"BenchmarkTest"}"#;
    let answer = client
        .ask(Frame::command(request::SET_MESSAGE_REQUEST_MODE).with_body(pop.to_vec()))
        .await;
    assert_eq!(answer.code, response::SYSTEM_ERROR);
    for code in [request::GET_TIMER_CHECK_POINT, request::GET_TIMER_METRICS] {
        assert_eq!(
            client.ask(Frame::command(code)).await.code,
            response::SYSTEM_ERROR
        );
    }
    let unknown = client.ask(Frame::command(9999)).await;
    assert_eq!(
        refused(&unknown),
        (
            response::REQUEST_CODE_NOT_SUPPORTED,
            " request type 9999 not supported"
        )
    );
}
