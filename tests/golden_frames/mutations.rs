//! Damaged frames: whatever bytes come, decoding says so or reads something; it never panics.

use bytes::Bytes;
use rmq::protocol::fastjson;
use rmq::protocol::frame::{Frame, Malformed};
use rmq::protocol::request::client::HeartbeatData;
use rmq::protocol::request::namesrv::RegisterBrokerBody;
use rmq::protocol::request::send::SendRequest;

use crate::recordings;

/// A generator whose whole state is its seed: a failure is repeated by the number that it prints.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..1 + random.below(4) {
        let at = random.below(bytes.len());
        match random.below(5) {
            0 => bytes[at] = random.next() as u8,
            1 => bytes[at] ^= 1 << random.below(8),
            2 => bytes.truncate(at.max(8)),
            3 => bytes.insert(at, b"\"\\{}[]:,\0\xff"[random.below(10)]),
            _ => {
                bytes.remove(at);
            }
        }
        if bytes.len() < 9 {
            return;
        }
    }
}

/// Everything that looks into a frame before a handler has checked it.
fn read_all(bytes: Vec<u8>) {
    let Ok(Some(_)) = Frame::check(&bytes) else { return };
    let Ok(frame) = Frame::decode(Bytes::from(bytes)) else {
        return;
    };
    frame.fields.iter().for_each(drop);
    let body = frame.body.contiguous();
    drop(SendRequest::read(&frame));
    drop(fastjson::read::<serde_json::Value>(&body));
    drop(fastjson::read::<HeartbeatData>(&body));
    drop(RegisterBrokerBody::read(&body, frame.version));
    Frame::decode(frame.encode()).expect("what was read can be written and read again");
}

#[test]
fn no_damage_panics() {
    let frames = recordings::all();
    let mut random = Random(0x5eed_0000_0000_0001);
    for _ in 0..20_000 {
        let seed = random.0;
        let mut bytes = frames[random.below(frames.len())].bytes().to_vec();
        damage(&mut bytes, &mut random);
        let result = std::panic::catch_unwind(|| read_all(bytes));
        assert!(result.is_ok(), "seed {seed:#x}");
    }
}

#[test]
fn strangers_are_named_and_refused_before_their_length_is_believed() {
    for (bytes, name) in [
        (&b"GET / HTTP/1.1\r\n"[..], "HTTP"),
        (b"PRI * HTTP/2.0\r\n", "HTTP/2"),
        (b"SSH-2.0-x", "SSH"),
        (b"\x16\x03\x01\x02\x00", "TLS"),
    ] {
        assert_eq!(Frame::check(bytes), Err(Malformed::Foreign(name)));
    }
    assert_eq!(
        Frame::check(&[0x7f, 0xff, 0xff, 0xff]),
        Err(Malformed::TooLarge(0x8000_0003))
    );
    assert_eq!(Frame::check(&[0, 0, 0, 3]), Err(Malformed::TooShort(3)));
    for header_word in [[7, 0, 0, 0], [0, 0, 0, 9]] {
        let whole = [&[0, 0, 0, 4][..], &header_word].concat();
        assert!(Frame::decode(Bytes::from(whole)).is_err());
    }
}
