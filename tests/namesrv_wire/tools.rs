//! What clients and administrators ask.

use rmq::protocol::code::request;
use rmq::protocol::frame::Frame;
use rmq::protocol::request::body::{KvTable, TopicList};
use rmq::protocol::request::namesrv::{
    ClusterRequest, DeleteTopicRequest, KvReply, KvRequest, MemberGroupRequest, NAMESPACE_ORDER_TOPIC_CONFIG,
    NamespaceRequest, PutKvRequest,
};
use rmq::protocol::request::route::BrokerMemberGroupBody;

use crate::harness::{Broker, Client, start};

const BROKER: Broker = Broker {
    name: "a",
    id: 0,
    address: "10.0.0.1:10911",
};

fn kv(namespace: &str, key: &str) -> KvRequest {
    KvRequest {
        namespace: namespace.to_owned(),
        key: key.to_owned(),
    }
}

fn put(namespace: &str, key: &str, value: &str) -> PutKvRequest {
    PutKvRequest {
        namespace: namespace.to_owned(),
        key: key.to_owned(),
        value: value.to_owned(),
    }
}

async fn topics(client: &Client, frame: Frame) -> Vec<String> {
    let answer = client.send(frame).await;
    assert_eq!(answer.code, 0);
    answer.json::<TopicList>().unwrap().topic_list
}

/// Go reads the route's text by hand: quoted ids, no blanks.
#[tokio::test]
async fn a_route_is_compact_and_strict_json() {
    let folder = tempfile::tempdir().unwrap();
    let namesrv = start(folder.path()).await;
    let client = Client::to(&namesrv).await;
    client.register(&BROKER, &["t", "u"], 1).await;
    let mut frame = Frame::command(request::GET_ROUTEINFO_BY_TOPIC);
    frame.fields.put("topic", "t");
    let text = String::from_utf8(client.send(frame).await.body.contiguous().to_vec()).unwrap();
    assert_eq!(
        text,
        concat!(
            r#"{"brokerDatas":[{"brokerAddrs":{"0":"10.0.0.1:10911"},"brokerName":"a","cluster":"DefaultCluster","#,
            r#""enableActingMaster":false}],"filterServerTable":{},"#,
            r#""queueDatas":[{"brokerName":"a","perm":6,"readQueueNums":4,"topicSysFlag":0,"writeQueueNums":4}]}"#
        )
    );
    namesrv.stop().await;
}

#[tokio::test]
async fn a_topic_without_a_broker_is_refused_with_the_words_that_clients_look_for() {
    let folder = tempfile::tempdir().unwrap();
    let namesrv = start(folder.path()).await;
    let client = Client::to(&namesrv).await;
    let mut frame = Frame::command(request::GET_ROUTEINFO_BY_TOPIC);
    frame.fields.put("topic", "none");
    let answer = client.send(frame).await;
    assert_eq!(answer.code, 17);
    assert!(
        answer
            .remark
            .unwrap()
            .starts_with("No topic route info in name server for the topic: none")
    );
    namesrv.stop().await;
}

#[tokio::test]
async fn an_unknown_request_is_refused_and_the_connection_stays() {
    let folder = tempfile::tempdir().unwrap();
    let namesrv = start(folder.path()).await;
    let client = Client::to(&namesrv).await;
    for code in [218, 301, 9999, -1] {
        let answer = client.send(Frame::command(code)).await;
        assert_eq!(
            (answer.code, answer.remark),
            (3, Some(format!(" request type {code} not supported")))
        );
    }
    assert_eq!(
        client
            .send(Frame::command(request::GET_BROKER_CLUSTER_INFO))
            .await
            .code,
        0
    );
    namesrv.stop().await;
}

#[tokio::test]
async fn a_request_that_lacks_a_field_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let namesrv = start(folder.path()).await;
    let client = Client::to(&namesrv).await;
    for code in [
        100, 101, 102, 103, 104, 105, 205, 216, 217, 219, 224, 322, 327, 901, 904,
    ] {
        let answer = client.send(Frame::command(code)).await;
        assert_ne!(answer.code, 0, "code {code}");
        assert!(answer.remark.is_some(), "code {code}");
    }
    namesrv.stop().await;
}

#[tokio::test]
async fn topics_are_listed_in_every_way() {
    let folder = tempfile::tempdir().unwrap();
    let namesrv = start(folder.path()).await;
    let client = Client::to(&namesrv).await;
    client.register(&BROKER, &["t", "u"], 1).await;
    assert_eq!(
        topics(
            &client,
            Frame::command(request::GET_ALL_TOPIC_LIST_FROM_NAMESERVER)
        )
        .await,
        ["t", "u"]
    );
    let cluster = |name: &str| {
        Frame::request(
            request::GET_TOPICS_BY_CLUSTER,
            &ClusterRequest {
                cluster: name.to_owned(),
            },
        )
    };
    assert_eq!(topics(&client, cluster("DefaultCluster")).await, ["t", "u"]);
    assert!(topics(&client, cluster("other")).await.is_empty());
    let mut system = topics(&client, Frame::command(request::GET_SYSTEM_TOPIC_LIST_FROM_NS)).await;
    system.sort();
    assert_eq!(system, ["DefaultCluster", "a"]);
    for code in [311, 312, 313] {
        assert!(topics(&client, Frame::command(code)).await.is_empty());
    }
    let members = MemberGroupRequest {
        cluster_name: "DefaultCluster".to_owned(),
        broker_name: "a".to_owned(),
    };
    let group: BrokerMemberGroupBody = client
        .ask(request::GET_BROKER_MEMBER_GROUP, &members)
        .await
        .json()
        .unwrap();
    assert_eq!(
        group.broker_member_group.unwrap().broker_addrs[&0],
        BROKER.address
    );
    namesrv.stop().await;
}

#[tokio::test]
async fn a_deleted_topic_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let namesrv = start(folder.path()).await;
    let client = Client::to(&namesrv).await;
    client.register(&BROKER, &["t", "u"], 1).await;
    let delete = |cluster: Option<&str>| DeleteTopicRequest {
        topic: "t".to_owned(),
        cluster_name: cluster.map(str::to_owned),
    };
    assert_eq!(
        client
            .ask(request::DELETE_TOPIC_IN_NAMESRV, &delete(Some("other")))
            .await
            .code,
        0
    );
    assert!(client.route("t").await.is_some());
    assert_eq!(
        client
            .ask(request::DELETE_TOPIC_IN_NAMESRV, &delete(None))
            .await
            .code,
        0
    );
    assert_eq!(client.route("t").await, None);
    namesrv.stop().await;
}

#[tokio::test]
async fn values_survive_a_restart_and_order_topics_go_to_brokers() {
    let folder = tempfile::tempdir().unwrap();
    let namesrv = start(folder.path()).await;
    let client = Client::to(&namesrv).await;
    let order = NAMESPACE_ORDER_TOPIC_CONFIG;
    assert_eq!(client.ask(request::GET_KV_CONFIG, &kv("ns", "k")).await.code, 22);
    for header in [
        put("ns", "k", "v"),
        put("ns", "gone", "v"),
        put(order, "t", "a:4"),
    ] {
        assert_eq!(client.ask(request::PUT_KV_CONFIG, &header).await.code, 0);
    }
    assert_eq!(
        client
            .ask(request::DELETE_KV_CONFIG, &kv("ns", "gone"))
            .await
            .code,
        0
    );
    namesrv.stop().await;

    let namesrv = start(folder.path()).await;
    let client = Client::to(&namesrv).await;
    let reply: KvReply = client
        .ask(request::GET_KV_CONFIG, &kv("ns", "k"))
        .await
        .header()
        .unwrap();
    assert_eq!(reply.value.as_deref(), Some("v"));
    assert_eq!(
        client.ask(request::GET_KV_CONFIG, &kv("ns", "gone")).await.code,
        22
    );
    let list = NamespaceRequest {
        namespace: "ns".to_owned(),
    };
    let table: KvTable = client
        .ask(request::GET_KVLIST_BY_NAMESPACE, &list)
        .await
        .json()
        .unwrap();
    assert_eq!(
        table.table.into_iter().collect::<Vec<_>>(),
        [("k".to_owned(), "v".to_owned())]
    );
    let table: KvTable = client.register(&BROKER, &["t", "u"], 1).await.json().unwrap();
    assert_eq!(table.table["t"], "a:4");
    namesrv.stop().await;
}

/// Where files lie is nobody's to change over the network; what does nothing here may be set and is kept.
#[tokio::test]
async fn only_allowed_settings_can_be_changed() {
    let folder = tempfile::tempdir().unwrap();
    let namesrv = start(folder.path()).await;
    let client = Client::to(&namesrv).await;
    let change = |text: &str| Frame::command(request::UPDATE_NAMESRV_CONFIG).with_body(text.to_owned());
    for key in [
        "kvConfigPath",
        "configStorePath",
        "configBlackList",
        "rocketmqHome",
        "listenPort",
    ] {
        let answer = client
            .send(change(&format!("enableTopicList=false\n{key}=/tmp/x")))
            .await;
        assert_ne!(answer.code, 0, "{key}");
    }
    let text = async |client: &Client| {
        let body = client
            .send(Frame::command(request::GET_NAMESRV_CONFIG))
            .await
            .body
            .contiguous();
        String::from_utf8(body.to_vec()).unwrap()
    };
    assert!(
        text(&client).await.contains("enableTopicList=true"),
        "all of a change or nothing of it"
    );
    assert_eq!(client.send(change("serverWorkerThreads=3\n")).await.code, 0);
    assert!(text(&client).await.contains("serverWorkerThreads=3"));
    namesrv.stop().await;
}
