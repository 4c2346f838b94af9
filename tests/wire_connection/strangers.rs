//! Bytes that are no frames.

use std::sync::atomic::Ordering;

use bytes::{BufMut, BytesMut};
use rmq::protocol::FRAME_BYTES_MAX;

use crate::harness::{ECHO, Server, request};

fn with_header_word(word: u32, header: &[u8]) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    bytes.put_u32(4 + header.len() as u32);
    bytes.put_u32(word);
    bytes.put_slice(header);
    bytes.to_vec()
}

/// Each closes its own connection at once; what came before it is answered, and other connections notice nothing.
#[tokio::test]
async fn whatever_is_no_frame_closes_its_connection_alone() {
    let server = Server::start().await;
    let mut bystander = server.client().await;
    let damages: [(&str, Vec<u8>); 10] = [
        ("HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        ("an HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
        (
            "a TLS hello",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        ),
        ("a frame of 3 bytes", vec![0, 0, 0, 3, 0, 0, 0]),
        ("a frame of no bytes", vec![0, 0, 0, 0]),
        ("header type 7", with_header_word(7 << 24 | 2, b"{}")),
        ("a header longer than its frame", with_header_word(100, b"{}")),
        ("a header that is no JSON", with_header_word(4, b"\xff\xfe{}")),
        (
            "a binary header that is cut",
            with_header_word(1 << 24 | 5, b"\0\x0a\0\0\0"),
        ),
        (
            "a frame beyond the bound",
            ((FRAME_BYTES_MAX - 3) as u32).to_be_bytes().to_vec(),
        ),
    ];
    let count = damages.len();
    for (name, damage) in damages {
        let mut stranger = server.client().await;
        let mut bytes = request(ECHO, 1).encode().to_vec();
        bytes.extend_from_slice(&damage);
        stranger.send_bytes(&bytes).await;
        assert_eq!(stranger.receive().await.opaque, 1, "{name}");
        assert!(stranger.receive_or_end().await.is_none(), "{name}");
        bystander.send(&[request(ECHO, 2)]).await;
        assert_eq!(bystander.receive().await.opaque, 2, "{name}");
    }
    assert_eq!(server.handler.malformed.load(Ordering::SeqCst), count);
    server.stop().await;
}

/// The largest frame that is allowed says so in its length; the connection takes it as its bytes come.
#[tokio::test]
async fn the_largest_frame_is_served() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let head = request(ECHO, 1).encode().len();
    let body = FRAME_BYTES_MAX - head;
    client.send(&[request(ECHO, 1).with_body(vec![5; body])]).await;
    let answer = client.receive().await;
    assert_eq!(
        (answer.opaque, answer.code),
        (1, 1),
        "an echo of it has no room for a header and is refused"
    );
    client
        .send(&[request(ECHO, 2).with_body(vec![5; body / 2])])
        .await;
    assert_eq!(client.receive().await.body.len(), body / 2);
    server.stop().await;
}

#[tokio::test]
async fn a_connection_that_ends_within_a_frame_ends_quietly() {
    let server = Server::start().await;
    let whole = request(ECHO, 1).encode();
    for end in [1, 3, 4, 9, whole.len() - 1] {
        let mut client = server.client().await;
        client.send_bytes(&whole[..end]).await;
    }
    server.handler.until_closed(5).await;
    assert_eq!(server.handler.malformed.load(Ordering::SeqCst), 0);
    server.stop().await;
}
