//! Which answer comes when.

use std::sync::atomic::Ordering;

use rmq::protocol::frame::{Encoding, FLAG_RESPONSE, Frame};

use crate::harness::{ECHO, GATE, HOLD, PANIC, PANIC_LATER, SILENCE, Server, large_request, request};

#[tokio::test]
async fn pipelined_requests_are_served_and_answered_in_order() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let frames: Vec<Frame> = (0..500)
        .map(|opaque| request(ECHO, opaque).with_body(vec![7; opaque as usize]))
        .collect();
    client.send(&frames).await;
    for frame in &frames {
        let answer = client.receive().await;
        assert_eq!(
            (answer.opaque, answer.flag, answer.code),
            (frame.opaque, FLAG_RESPONSE, 0)
        );
        assert_eq!(answer.body.contiguous(), frame.body.contiguous());
    }
    assert_eq!(server.handler.served(), (0..500).collect::<Vec<_>>());
    server.stop().await;
}

#[tokio::test]
async fn a_request_that_waits_holds_up_no_other() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client
        .send(&[request(HOLD, 1), request(HOLD, 2), request(ECHO, 3)])
        .await;
    assert_eq!(client.receive().await.opaque, 3);
    server.handler.release(2);
    assert_eq!(client.receive().await.opaque, 2);
    client.send(&[request(ECHO, 4)]).await;
    assert_eq!(client.receive().await.opaque, 4);
    server.handler.release(1);
    let answer = client.receive().await;
    assert_eq!((answer.opaque, answer.remark.as_deref()), (1, Some("released")));
    server.stop().await;
}

#[tokio::test]
async fn frames_behind_a_gate_are_served_when_it_opens() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client
        .send(&[
            request(ECHO, 1),
            request(GATE, 2),
            request(ECHO, 3),
            request(ECHO, 4),
        ])
        .await;
    assert_eq!(client.receive().await.opaque, 1);
    server.handler.until_served(2).await;
    let mut other = server.client().await;
    other.send(&[request(ECHO, 9)]).await;
    assert_eq!(
        other.receive().await.opaque,
        9,
        "a gate concerns its own connection only"
    );
    assert_eq!(server.handler.served(), [1, 2, 9]);
    server.handler.release(2);
    assert_eq!(client.receive_opaques(3).await, [2, 3, 4]);
    server.stop().await;
}

#[tokio::test]
async fn hundreds_of_held_requests_are_answered_as_they_end() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let frames: Vec<Frame> = (0..300).map(|opaque| request(HOLD, opaque)).collect();
    client.send(&frames).await;
    server.handler.until_served(300).await;
    for round in [0, 1] {
        // The second round reuses what the first one left.
        (0..300).rev().for_each(|opaque| server.handler.release(opaque));
        let mut answered = client.receive_opaques(300).await;
        answered.sort_unstable();
        assert_eq!(answered, (0..300).collect::<Vec<_>>());
        if round == 0 {
            client.send(&frames).await;
            server.handler.until_served(600).await;
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn one_way_requests_are_never_answered() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let oneway = |code, opaque| request(code, opaque).oneway();
    client
        .send(&[
            oneway(ECHO, 1),
            oneway(HOLD, 2),
            oneway(PANIC, 3),
            oneway(99, 4),
            request(SILENCE, 5),
        ])
        .await;
    server.handler.until_served(5).await;
    server.handler.release(2);
    client.send(&[request(ECHO, 6)]).await;
    assert_eq!(client.receive().await.opaque, 6);
    server.stop().await;
}

#[tokio::test]
async fn a_panic_is_answered_and_the_connection_stays() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client
        .send(&[request(PANIC, 1), request(PANIC_LATER, 2), request(ECHO, 3)])
        .await;
    let answer = client.receive().await;
    assert_eq!((answer.opaque, answer.code), (1, 1));
    assert_eq!(client.receive().await.opaque, 3);
    server.handler.release(2);
    let answer = client.receive().await;
    assert_eq!((answer.opaque, answer.code), (2, 1));
    server.stop().await;
}

#[tokio::test]
async fn an_answer_is_written_as_its_request_was() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let binary = Frame {
        encoding: Encoding::Binary,
        ..request(ECHO, 1)
    };
    client
        .send(&[
            binary.clone(),
            request(ECHO, 2),
            Frame {
                opaque: 3,
                code: HOLD,
                ..binary
            },
        ])
        .await;
    assert_eq!(client.receive().await.encoding, Encoding::Binary);
    assert_eq!(client.receive().await.encoding, Encoding::Json);
    server.handler.release(3);
    assert_eq!(client.receive().await.encoding, Encoding::Binary);
    server.stop().await;
}

#[tokio::test]
async fn a_frame_that_comes_byte_by_byte_is_served() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let bytes: Vec<u8> = [request(ECHO, 1).with_body("ab".to_owned()), request(ECHO, 2)]
        .iter()
        .flat_map(Frame::encode)
        .collect();
    for byte in bytes {
        client.send_bytes(&[byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(client.receive_opaques(2).await, [1, 2]);
    server.stop().await;
}

#[tokio::test]
async fn bodies_of_many_parts_arrive_whole() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let sizes = [
        (10, 1),
        (4096, 1),
        (300_000, 100),
        (4_096_000, 1000),
        (8 << 20, 4),
    ];
    let requests: Vec<Frame> = sizes
        .iter()
        .zip(0..)
        .map(|(&(bytes, parts), opaque)| large_request(opaque, bytes, parts))
        .collect();
    client.send(&requests).await;
    for (opaque, (bytes, parts)) in sizes.into_iter().enumerate() {
        let answer = client.receive().await;
        assert_eq!(answer.opaque, opaque as i32);
        let expected: Vec<u8> = (0..parts)
            .flat_map(|index| vec![index as u8; bytes / parts])
            .collect();
        assert!(
            answer.body.contiguous() == expected,
            "{bytes} bytes in {parts} parts"
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn held_requests_end_with_their_connection() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.send(&[request(HOLD, 1), request(HOLD, 2)]).await;
    server.handler.until_served(2).await;
    drop(client);
    server.handler.until_closed(1).await;
    assert_eq!(server.handler.dropped.load(Ordering::SeqCst), 2);
    server.stop().await;
}

#[tokio::test]
async fn every_connection_is_reported_closed_once() {
    let server = Server::start().await;
    let handler = server.handler.clone();
    let mut left = server.client().await;
    left.send(&[request(ECHO, 1)]).await;
    left.receive().await;
    drop(left);
    handler.until_closed(1).await;
    let mut closed_by_server = server.client().await;
    closed_by_server.send(&[request(ECHO, 1)]).await;
    closed_by_server.receive().await;
    handler.peer().close();
    assert!(closed_by_server.receive_or_end().await.is_none());
    let mut open = server.client().await;
    open.send(&[request(HOLD, 1)]).await;
    handler.until_served(3).await;
    server.stop().await;
    assert!(
        open.receive_or_end().await.is_none(),
        "a stopped server keeps no connection"
    );
    assert_eq!(
        handler
            .closed
            .lock()
            .unwrap()
            .values()
            .copied()
            .collect::<Vec<_>>(),
        [1, 1, 1]
    );
}
