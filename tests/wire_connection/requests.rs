//! Requests in both directions.

use std::sync::Arc;
use std::time::Duration;

use rmq::protocol::FRAME_BYTES_MAX;
use rmq::protocol::frame::{Encoding, FLAG_ONEWAY, Frame};
use rmq::remoting::{RequestError, connect};

use crate::harness::{ECHO, HOLD, Handler, PATIENCE, Server, request};

#[tokio::test]
async fn a_client_asks_and_is_answered_out_of_order() {
    let server = Server::start().await;
    let handler = Arc::new(Handler::default());
    let peer = connect(server.address, handler.clone(), PATIENCE).await.unwrap();
    let held = peer.request(Frame::command(HOLD), PATIENCE);
    let mut held = std::pin::pin!(held);
    let echo = async {
        let answer = peer
            .request(Frame::command(ECHO).with_body("x".to_owned()), PATIENCE)
            .await
            .unwrap();
        assert_eq!(answer.body.contiguous(), "x");
    };
    tokio::select! {
        biased;
        _ = &mut held => panic!("nobody released it"),
        () = echo => {}
    }
    let held_opaque = server.handler.served()[0];
    server.handler.release(held_opaque);
    assert_eq!(held.await.unwrap().remark.as_deref(), Some("released"));
    peer.close();
    handler.until_closed(1).await;
    server.stop().await;
}

#[tokio::test]
async fn many_tasks_share_a_connection() {
    let server = Server::start().await;
    let peer = connect(server.address, Arc::new(Handler::default()), PATIENCE)
        .await
        .unwrap();
    let tasks: Vec<_> = (0..3000)
        .map(|number: i32| {
            let peer = peer.clone();
            tokio::spawn(async move {
                let body = number.to_string();
                let answer = peer
                    .request(Frame::command(ECHO).with_body(body.clone()), PATIENCE)
                    .await
                    .unwrap();
                assert_eq!(answer.body.contiguous(), body);
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    peer.close();
    server.stop().await;
}

#[tokio::test]
async fn a_server_asks_its_client() {
    let server = Server::start().await;
    let handler = Arc::new(Handler::default());
    let peer = connect(server.address, handler.clone(), PATIENCE).await.unwrap();
    peer.request(Frame::command(ECHO), PATIENCE).await.unwrap();
    let back = server.handler.peer();
    let answer = back
        .request(Frame::command(ECHO).with_body("ask".to_owned()), PATIENCE)
        .await
        .unwrap();
    assert_eq!(answer.body.contiguous(), "ask");
    back.oneway(Frame::command(ECHO)).unwrap();
    handler.until_served(2).await;
    assert_eq!(back.address(), peer.local_address());
    peer.close();
    back.closed().await;
    server.stop().await;
}

/// C++ and Node clients read JSON only; a peer is spoken to as it speaks.
#[tokio::test]
async fn a_peer_is_asked_in_the_encoding_it_speaks() {
    let server = Server::start().await;
    let mut client = server.client().await;
    for encoding in [Encoding::Json, Encoding::Binary] {
        client
            .send(&[Frame {
                encoding,
                ..request(ECHO, 1)
            }])
            .await;
        client.receive().await;
        server.handler.peer().oneway(Frame::command(40)).unwrap();
        let asked = client.receive().await;
        assert_eq!(
            (asked.encoding, asked.code, asked.flag),
            (encoding, 40, FLAG_ONEWAY)
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn a_late_answer_is_nobodys() {
    let server = Server::start().await;
    let peer = connect(server.address, Arc::new(Handler::default()), PATIENCE)
        .await
        .unwrap();
    let late = peer.request(Frame::command(HOLD), Duration::from_millis(1)).await;
    assert_eq!(late.unwrap_err(), RequestError::Timeout);
    server.handler.until_served(1).await;
    server.handler.release(server.handler.served()[0]);
    let answer = peer
        .request(Frame::command(ECHO).with_body("next".to_owned()), PATIENCE)
        .await
        .unwrap();
    assert_eq!(answer.body.contiguous(), "next");
    peer.close();
    server.stop().await;
}

#[tokio::test]
async fn whoever_waits_is_told_that_the_connection_ended() {
    let server = Server::start().await;
    let peer = connect(server.address, Arc::new(Handler::default()), PATIENCE)
        .await
        .unwrap();
    let (waits, ()) = tokio::join!(peer.request(Frame::command(HOLD), PATIENCE), async {
        server.handler.until_served(1).await;
        server.handler.peer().close();
    });
    assert_eq!(waits.unwrap_err(), RequestError::Closed);
    peer.closed().await;
    assert!(peer.is_closed());
    assert_eq!(
        peer.request(Frame::command(ECHO), PATIENCE).await.unwrap_err(),
        RequestError::Closed
    );
    assert_eq!(peer.oneway(Frame::command(ECHO)), Err(RequestError::Closed));
    server.stop().await;
}

#[tokio::test]
async fn a_request_larger_than_a_frame_is_refused_here() {
    let server = Server::start().await;
    let peer = connect(server.address, Arc::new(Handler::default()), PATIENCE)
        .await
        .unwrap();
    let large = Frame::command(ECHO).with_body(vec![0; FRAME_BYTES_MAX]);
    assert_eq!(
        peer.request(large, PATIENCE).await.unwrap_err(),
        RequestError::TooLarge
    );
    assert!(peer.request(Frame::command(ECHO), PATIENCE).await.is_ok());
    peer.close();
    server.stop().await;
}

#[tokio::test]
async fn nobody_listening_is_an_error() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    assert!(
        connect(address, Arc::new(Handler::default()), PATIENCE)
            .await
            .is_err()
    );
}
