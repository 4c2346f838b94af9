//! Limits of time and of memory.

use std::time::Duration;

use rmq::protocol::frame::Frame;
use rmq::remoting::{Limits, RequestError};

use crate::harness::{ECHO, HOLD, Server, large_request, request};

fn quick() -> Limits {
    Limits {
        sweep: Duration::from_millis(5),
        ..Limits::default()
    }
}

#[tokio::test]
async fn a_silent_connection_is_closed() {
    let server = Server::with(Limits {
        idle_sweeps: 4,
        ..quick()
    })
    .await;
    let mut client = server.client().await;
    client.send(&[request(ECHO, 1)]).await;
    assert_eq!(client.receive().await.opaque, 1);
    assert!(client.receive_or_end().await.is_none());
    server.handler.until_closed(1).await;
    server.stop().await;
}

/// A peer that feeds single bytes is not silent, but its frame has to come to an end.
#[tokio::test]
async fn a_frame_that_never_ends_closes_its_connection() {
    let server = Server::with(Limits {
        partial_frame_sweeps: 4,
        ..quick()
    })
    .await;
    let mut client = server.client().await;
    client.send(&[request(ECHO, 1)]).await;
    let bytes = request(ECHO, 2).with_body(vec![0; 1 << 20]).encode();
    let (mut reader, mut writer) = client.stream.split();
    let feed = async {
        for byte in bytes {
            if tokio::io::AsyncWriteExt::write_all(&mut writer, &[byte])
                .await
                .is_err()
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let mut answers = Vec::new();
    let end = tokio::io::AsyncReadExt::read_to_end(&mut reader, &mut answers);
    tokio::select! {
        () = feed => {}
        _ = end => {}
    }
    server.handler.until_closed(1).await;
    assert_eq!(server.handler.served(), [1]);
    server.stop().await;
}

/// Buffers of a quiet connection are given back; it serves on as before.
#[tokio::test]
async fn a_connection_works_after_a_quiet_time() {
    let server = Server::with(quick()).await;
    let mut client = server.client().await;
    for opaque in 1..4 {
        client
            .send(&[request(HOLD, 100 + opaque), large_request(opaque, 300_000, 3)])
            .await;
        assert_eq!(client.receive().await.body.len(), 300_000);
        tokio::time::sleep(Duration::from_millis(40)).await;
        server.handler.release(100 + opaque);
        assert_eq!(client.receive().await.opaque, 100 + opaque);
    }
    server.stop().await;
}

/// A peer that does not read its answers is not served on: what it may pile up is bounded. When it reads, it gets all.
#[tokio::test]
async fn a_peer_that_does_not_read_is_not_served_on() {
    let server = Server::start().await;
    let mut lazy = server.client().await;
    let requests: Vec<Frame> = (0..200).map(|opaque| large_request(opaque, 1 << 20, 1)).collect();
    lazy.send(&requests).await;
    let mut other = server.client().await;
    // The system's socket buffers take some megabytes as well.
    let mut served = 0;
    for opaque in 1000..1200 {
        other.send(&[request(ECHO, opaque)]).await;
        other.receive().await;
        served = server
            .handler
            .served()
            .iter()
            .filter(|opaque| **opaque < 1000)
            .count();
    }
    assert!(
        served < 100,
        "{served} answers of a megabyte were made for a peer that reads none"
    );
    for opaque in 0..200 {
        let answer = lazy.receive().await;
        assert_eq!((answer.opaque, answer.body.len()), (opaque, 1 << 20));
    }
    server.stop().await;
}

#[tokio::test]
async fn an_answer_beyond_the_bound_is_a_refusal() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client
        .send(&[large_request(1, 17 << 20, 17), request(ECHO, 2)])
        .await;
    let answer = client.receive().await;
    assert_eq!((answer.opaque, answer.code), (1, 1));
    assert_eq!(client.receive().await.opaque, 2);
    server.stop().await;
}

#[tokio::test]
async fn more_connections_than_allowed_are_closed_at_once() {
    let server = Server::with(Limits {
        connections_max: 2,
        ..Limits::default()
    })
    .await;
    let mut clients = [server.client().await, server.client().await];
    for client in &mut clients {
        client.send(&[request(ECHO, 1)]).await;
        client.receive().await;
    }
    assert!(server.client().await.receive_or_end().await.is_none());
    clients[0].send(&[request(ECHO, 2)]).await;
    assert_eq!(clients[0].receive().await.opaque, 2);
    server.stop().await;
}

#[tokio::test]
async fn requests_to_a_peer_that_does_not_read_are_refused_when_its_queue_is_full() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.send(&[request(ECHO, 1)]).await;
    client.receive().await;
    let peer = server.handler.peer();
    let mut refused = None;
    for sent in 0..100 {
        match peer.oneway(Frame::command(40).with_body(vec![0; 1 << 20])) {
            Ok(()) => tokio::task::yield_now().await,
            Err(error) => {
                refused = Some((sent, error));
                break;
            }
        }
    }
    let (sent, error) = refused.expect("a queue has an end");
    assert_eq!(error, RequestError::Full);
    for _ in 0..sent {
        assert_eq!(client.receive().await.body.len(), 1 << 20);
    }
    assert_eq!(peer.oneway(Frame::command(40)), Ok(()), "there is room again");
    assert_eq!(client.receive().await.code, 40);
    server.stop().await;
}
