//! Message bodies made smaller by the producer and whole again by the consumer. Brokers never look inside.
//! Written: zlib. Read: zlib, lz4 (frame format) and zstd, as other clients may have chosen them.

use std::io::{Read, Write};

use bytes::Bytes;
use flate2::{Compression, read::ZlibDecoder, write::ZlibEncoder};

use crate::protocol::BODY_BYTES_MAX;
use crate::protocol::message::sys_flag;

/// Largest body after decompression; a longer one is refused, whatever it claims to be. Bodies are limited before they are
/// compressed, so only a broker with a raised `maxMessageSize` can hold one near this bound.
pub const INFLATED_BYTES_MAX: usize = 16 * BODY_BYTES_MAX;
/// Bits a producer sets for a zlib body: compressed, of type 3.
pub const ZLIB_FLAG: i32 = sys_flag::COMPRESSED | 3 << sys_flag::COMPRESSION_SHIFT;
/// The level of Apache's clients: what a body shrinks to is comparable.
const LEVEL: u32 = 5;

/// Why a body could not be made whole. The stored bytes are kept with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadBody {
    #[error("the {kind} body is damaged: {cause}")]
    Damaged { kind: &'static str, cause: String },
    #[error("the {0} body is larger than {INFLATED_BYTES_MAX} bytes when decompressed")]
    TooLarge(&'static str),
    #[error("the body is compressed by an unknown method ({0})")]
    UnknownMethod(i32),
}

/// The body as a zlib stream.
pub fn deflate(body: &[u8]) -> Bytes {
    let mut encoder = ZlibEncoder::new(Vec::with_capacity(body.len() / 2), Compression::new(LEVEL));
    encoder
        .write_all(body)
        .and_then(|()| encoder.finish())
        .expect("writing to a Vec cannot fail")
        .into()
}

/// The body as its producer passed it, by the compression bits of `sys_flag`.
pub fn inflate(body: Bytes, flags: i32) -> Result<Bytes, BadBody> {
    if flags & sys_flag::COMPRESSED == 0 {
        return Ok(body);
    }
    match flags >> sys_flag::COMPRESSION_SHIFT & 7 {
        0 | 3 => read_bounded("zlib", ZlibDecoder::new(&body[..])),
        1 => read_bounded("lz4", lz4_flex::frame::FrameDecoder::new(&body[..])),
        2 => match ruzstd::decoding::StreamingDecoder::new(&body[..]) {
            Ok(decoder) => read_bounded("zstd", decoder),
            Err(cause) => Err(BadBody::Damaged {
                kind: "zstd",
                cause: cause.to_string(),
            }),
        },
        other => Err(BadBody::UnknownMethod(other)),
    }
}

fn read_bounded(kind: &'static str, decoder: impl Read) -> Result<Bytes, BadBody> {
    let mut whole = Vec::new();
    let read = decoder
        .take(INFLATED_BYTES_MAX as u64 + 1)
        .read_to_end(&mut whole);
    read.map_err(|cause| BadBody::Damaged {
        kind,
        cause: cause.to_string(),
    })?;
    if whole.len() > INFLATED_BYTES_MAX {
        return Err(BadBody::TooLarge(kind));
    }
    Ok(whole.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LZ4: i32 = sys_flag::COMPRESSED | 1 << sys_flag::COMPRESSION_SHIFT;
    const ZSTD: i32 = sys_flag::COMPRESSED | 2 << sys_flag::COMPRESSION_SHIFT;

    #[test]
    fn a_body_comes_back_as_it_was() {
        let body = Bytes::from("many words, ".repeat(1000));
        let small = deflate(&body);
        assert!(small.len() < body.len() / 10);
        assert_eq!(inflate(small.clone(), ZLIB_FLAG), Ok(body.clone()));
        assert_eq!(
            inflate(small, sys_flag::COMPRESSED),
            Ok(body.clone()),
            "older clients leave the type bits 0"
        );
        assert_eq!(inflate(body.clone(), 0), Ok(body));
    }

    #[test]
    fn lz4_and_zstd_bodies_of_other_clients_are_read() {
        let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
        encoder.write_all(b"hello hello hello").expect("a Vec");
        let lz4 = encoder.finish().expect("a Vec");
        assert_eq!(
            inflate(lz4.into(), LZ4),
            Ok(Bytes::from_static(b"hello hello hello"))
        );
        // A zstd frame of one raw block.
        let zstd = Bytes::from_static(b"\x28\xb5\x2f\xfd\x20\x05\x29\x00\x00hello");
        assert_eq!(inflate(zstd, ZSTD), Ok(Bytes::from_static(b"hello")));
    }

    #[test]
    fn a_body_that_grows_without_end_is_refused() {
        let bomb = deflate(&vec![0; INFLATED_BYTES_MAX + 1]);
        assert_eq!(inflate(bomb, ZLIB_FLAG), Err(BadBody::TooLarge("zlib")));
    }

    #[test]
    fn damage_is_an_error_of_its_kind() {
        for (flags, kind) in [(ZLIB_FLAG, "zlib"), (LZ4, "lz4"), (ZSTD, "zstd")] {
            let damaged = inflate(Bytes::from_static(b"not compressed"), flags);
            assert!(matches!(damaged, Err(BadBody::Damaged { kind: named, .. }) if named == kind));
        }
        let unknown = sys_flag::COMPRESSED | 5 << sys_flag::COMPRESSION_SHIFT;
        assert_eq!(
            inflate(Bytes::from_static(b"x"), unknown),
            Err(BadBody::UnknownMethod(5))
        );
    }
}
