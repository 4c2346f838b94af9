//! Recorded frames of Apache's brokers, sent to our name server.

use rmq::protocol::fastjson;
use rmq::protocol::frame::{Encoding, Frame};
use serde_json::Value;

use crate::harness::{Client, start};
use crate::recordings::{self, Recorded};

const TO_A_NAME_SERVER: &[&str] = &[
    "REGISTER_BROKER",
    "UNREGISTER_BROKER",
    "QUERY_DATA_VERSION",
    "GET_BROKER_CLUSTER_INFO",
    "GET_BROKER_MEMBER_GROUP",
    "BROKER_HEARTBEAT",
    "REGISTER_TOPIC_IN_NAMESRV",
];

fn recorded_in(file: &str) -> Vec<Recorded> {
    recordings::all()
        .into_iter()
        .filter(|recorded| recorded.file.starts_with(file))
        .collect()
}

/// Sends a recorded request as it is; `None` for one that nobody answers.
async fn replay(client: &Client, frame: Frame) -> Option<Frame> {
    if frame.is_oneway() {
        client.0.oneway(frame).expect("room in the queue");
        return None;
    }
    Some(client.send(frame).await)
}

/// 4.9.7 compresses and says so, 5.5.0 compresses and says that it does not, and one speaks the binary header.
#[tokio::test]
async fn every_recorded_broker_is_served() {
    for file in [
        "broker-4.9.7",
        "broker-5.5.0.",
        "broker-5.5.0-binary",
        "broker-5.5.0-compressed",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let namesrv = start(folder.path()).await;
        let client = Client::to(&namesrv).await;
        let mut registered = 0;
        for recorded in recorded_in(file) {
            if !TO_A_NAME_SERVER.contains(&recorded.name.as_str()) {
                continue;
            }
            let answer = replay(&client, recorded.frame()).await;
            if let Some(answer) = answer {
                assert_eq!(answer.code, 0, "{:?}: {recorded}", answer.remark);
            }
            if recorded.name == "REGISTER_BROKER" {
                let route = client
                    .route("SELF_TEST_TOPIC")
                    .await
                    .expect("every broker has this topic");
                assert_eq!(route.broker_datas[0].broker_name, "broker-a", "{recorded}");
                registered += 1;
            }
        }
        assert!(registered > 2, "{file} registers {registered} times");
        namesrv.stop().await;
    }
}

#[tokio::test]
async fn a_broker_with_binary_headers_is_answered_in_them() {
    let folder = tempfile::tempdir().unwrap();
    let namesrv = start(folder.path()).await;
    let mut stream = tokio::net::TcpStream::connect(namesrv.address).await.unwrap();
    let registration = recorded_in("broker-5.5.0-binary")
        .into_iter()
        .find(|recorded| recorded.name == "REGISTER_BROKER" && recorded.frame().encoding == Encoding::Binary)
        .expect("a binary registration");
    tokio::io::AsyncWriteExt::write_all(&mut stream, &registration.bytes())
        .await
        .unwrap();
    let mut answer = vec![0; 4];
    tokio::io::AsyncReadExt::read_exact(&mut stream, &mut answer)
        .await
        .unwrap();
    let len = Frame::check(&answer).unwrap().expect("a length");
    answer.resize(len, 0);
    tokio::io::AsyncReadExt::read_exact(&mut stream, &mut answer[4..])
        .await
        .unwrap();
    let answer = Frame::decode(answer.into()).unwrap();
    assert_eq!((answer.encoding, answer.code), (Encoding::Binary, 0));
    assert_eq!(answer.opaque, registration.frame().opaque);
    namesrv.stop().await;
}

/// The first connection of the recording up to its goodbye: a broker registers, a client asks for the cluster.
#[tokio::test]
async fn the_cluster_is_shown_as_apache_shows_it() {
    let folder = tempfile::tempdir().unwrap();
    let namesrv = start(folder.path()).await;
    let client = Client::to(&namesrv).await;
    let mut asked = None;
    let mut compared = 0;
    for recorded in recorded_in("broker-5.5.0.") {
        match recorded.name.as_str() {
            "REGISTER_BROKER" => drop(replay(&client, recorded.frame()).await),
            "GET_BROKER_CLUSTER_INFO" => asked = replay(&client, recorded.frame()).await,
            "GET_BROKER_CLUSTER_INFO_RESPONSE" => {
                let ours = asked.take().expect("an answer follows its request");
                let [ours, theirs] = [ours, recorded.frame()]
                    .map(|frame| fastjson::read::<Value>(&frame.body.contiguous()).unwrap());
                assert_eq!(ours, theirs);
                compared += 1;
            }
            "UNREGISTER_BROKER" => break,
            _ => {}
        }
    }
    assert_eq!(compared, 3);
    namesrv.stop().await;
}

#[tokio::test]
async fn a_body_that_arrived_damaged_is_not_taken() {
    let folder = tempfile::tempdir().unwrap();
    let namesrv = start(folder.path()).await;
    let client = Client::to(&namesrv).await;
    let registrations = recorded_in("broker-4.9.7")
        .into_iter()
        .filter(|recorded| recorded.name == "REGISTER_BROKER");
    let frame = registrations
        .map(|recorded| recorded.frame())
        .find(|frame| !frame.is_oneway())
        .unwrap();
    let mut body = frame.body.contiguous().to_vec();
    *body.last_mut().unwrap() ^= 1;
    let answer = client.send(frame.with_body(body)).await;
    assert_eq!(
        (answer.code, answer.remark.as_deref()),
        (1, Some("crc32 not match"))
    );
    assert_eq!(client.route("SELF_TEST_TOPIC").await, None);
    namesrv.stop().await;
}
