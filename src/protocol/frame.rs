//! One remoting command: its length word, header (JSON or ROCKETMQ binary) and body (Apache: `RemotingCommand`,
//! `RocketMQSerializable`).
//!
//! ```text
//! 0      4    totalLen    = 4 + headerLen + bodyLen (does not count itself)
//! 4      4    headerWord  : bits 31..24 encoding (0 JSON, 1 binary), bits 23..0 headerLen
//! 8      n    header
//! 8+n    m    body
//! ```
//!
//! Decoding keeps the read buffer: header fields and the body are slices of it. Nothing here trusts a stated length before
//! it is compared with the bounds in [`crate::protocol`].

use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;
use smallvec::SmallVec;

use super::fastjson::{self, BadBody};
use super::fields::{BadField, FIELDS_MAX, Fields, Header};
use super::{FRAME_BYTES_MAX, VERSION};

/// How a header is written. Each side reads both; an answer uses the encoding of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Encoding {
    #[default]
    Json,
    /// `ROCKETMQ`: big-endian binary; codes are cut to 16 bits.
    Binary,
}

/// Bit of `flag`: the frame answers a request.
pub const FLAG_RESPONSE: i32 = 1;
/// Bit of `flag`: nobody waits for an answer.
pub const FLAG_ONEWAY: i32 = 2;

/// The language names of `LanguageCode`, at their codes.
pub const LANGUAGES: [&str; 14] = [
    "JAVA", "CPP", "DOTNET", "PYTHON", "DELPHI", "ERLANG", "RUBY", "OTHER", "HTTP", "GO", "PHP", "OMS",
    "RUST", "NODE_JS",
];

/// Language of a peer: an index into [`LANGUAGES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Language(pub u8);

impl Language {
    pub const JAVA: Language = Language(0);
    pub const CPP: Language = Language(1);
    pub const OTHER: Language = Language(7);
    pub const RUST: Language = Language(12);

    pub fn name(self) -> &'static str {
        LANGUAGES.get(usize::from(self.0)).copied().unwrap_or("OTHER")
    }

    fn named(name: &str) -> Language {
        LANGUAGES
            .iter()
            .position(|known| *known == name)
            .map_or(Language::OTHER, |code| Language(code as u8))
    }
}

/// The body of a frame: usually one slice; a PULL's answer has one per run of the log.
#[derive(Clone, Debug, Default)]
pub struct Body {
    parts: SmallVec<[Bytes; 1]>,
}

impl Body {
    pub fn len(&self) -> usize {
        self.parts.iter().map(Bytes::len).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.parts.iter().all(Bytes::is_empty)
    }

    pub fn parts(&self) -> &[Bytes] {
        &self.parts
    }

    /// The body as one slice; copies only when it has several parts.
    pub fn contiguous(&self) -> Bytes {
        match self.parts.as_slice() {
            [] => Bytes::new(),
            [one] => one.clone(),
            many => {
                let mut whole = BytesMut::with_capacity(self.len());
                many.iter().for_each(|part| whole.extend_from_slice(part));
                whole.freeze()
            }
        }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Body {
        let mut parts = SmallVec::new();
        if !bytes.is_empty() {
            parts.push(bytes);
        }
        Body { parts }
    }
}
impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Body {
        Bytes::from(bytes).into()
    }
}
impl From<String> for Body {
    fn from(text: String) -> Body {
        text.into_bytes().into()
    }
}
impl From<Vec<Bytes>> for Body {
    fn from(parts: Vec<Bytes>) -> Body {
        Body {
            parts: SmallVec::from_vec(parts),
        }
    }
}

/// One remoting command, in or out.
#[derive(Clone, Debug)]
pub struct Frame {
    pub code: i32,
    pub language: Language,
    pub version: i32,
    /// Chosen by the requester, echoed in the answer.
    pub opaque: i32,
    pub flag: i32,
    pub remark: Option<String>,
    pub fields: Fields,
    pub body: Body,
    pub encoding: Encoding,
}

/// Why bytes are not a frame. The connection they came on is closed; nothing is answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("{0} spoken to a RocketMQ port")]
    Foreign(&'static str),
    #[error("frame of {0} bytes, more than {FRAME_BYTES_MAX}")]
    TooLarge(u64),
    #[error("frame of {0} bytes, too short for a header")]
    TooShort(usize),
    #[error("header of {header} bytes in a frame of {frame}")]
    HeaderBeyondFrame { header: usize, frame: usize },
    #[error("unknown header encoding {0}")]
    Encoding(u8),
    #[error("header: {0}")]
    Header(&'static str),
}

impl Frame {
    /// A two-way request; `opaque` is set by the connection that sends it.
    pub fn request<'h>(code: i32, header: &impl Header<'h>) -> Frame {
        let mut frame = Frame::bare(code, 0);
        header.write(&mut frame.fields);
        frame
    }

    /// A request without header fields.
    pub fn command(code: i32) -> Frame {
        Frame::bare(code, 0)
    }

    /// An answer; `opaque` and encoding are set from the request by the connection.
    pub fn answer(code: i32) -> Frame {
        Frame::bare(code, FLAG_RESPONSE)
    }

    /// An answer with header fields.
    pub fn answer_with<'h>(code: i32, header: &impl Header<'h>) -> Frame {
        let mut frame = Frame::bare(code, FLAG_RESPONSE);
        header.write(&mut frame.fields);
        frame
    }

    /// An answer that says no, and why.
    pub fn refusal(code: i32, remark: impl Into<String>) -> Frame {
        Frame {
            remark: Some(remark.into()),
            ..Frame::bare(code, FLAG_RESPONSE)
        }
    }

    fn bare(code: i32, flag: i32) -> Frame {
        Frame {
            code,
            language: Language::RUST,
            version: VERSION,
            opaque: 0,
            flag,
            remark: None,
            fields: Fields::default(),
            body: Body::default(),
            encoding: Encoding::Json,
        }
    }

    pub fn with_body(mut self, body: impl Into<Body>) -> Frame {
        self.body = body.into();
        self
    }

    /// Sets a JSON body.
    pub fn with_json(self, body: &impl Serialize) -> Frame {
        self.with_body(fastjson::write(body))
    }

    /// The body as the JSON struct of this request or answer.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, BadBody> {
        fastjson::read(&self.body.contiguous())
    }

    pub fn with_remark(mut self, remark: impl Into<String>) -> Frame {
        self.remark = Some(remark.into());
        self
    }

    /// Marks a request as one that nobody answers.
    pub fn oneway(mut self) -> Frame {
        self.flag |= FLAG_ONEWAY;
        self
    }

    pub fn is_response(&self) -> bool {
        self.flag & FLAG_RESPONSE != 0
    }

    pub fn is_oneway(&self) -> bool {
        self.flag & FLAG_ONEWAY != 0
    }

    /// The header fields as the struct of this request or answer.
    pub fn header<'a, H: Header<'a>>(&'a self) -> Result<H, BadField> {
        H::read(&self.fields)
    }

    /// Length of the first frame in `buffer`, its length word included; `None` while the length word is incomplete.
    /// Call it before more is read: a stated length beyond the bound is refused at once, without allocation.
    pub fn check(buffer: &[u8]) -> Result<Option<usize>, Malformed> {
        let Some(word) = buffer.first_chunk::<4>() else {
            return Ok(None);
        };
        let stated = u32::from_be_bytes(*word);
        let whole = u64::from(stated) + 4;
        if whole > FRAME_BYTES_MAX as u64 {
            return Err(foreign_protocol(word).map_or(Malformed::TooLarge(whole), Malformed::Foreign));
        }
        if stated < 4 {
            return Err(Malformed::TooShort(stated as usize));
        }
        Ok(Some(whole as usize))
    }

    /// Decodes one whole frame, its length word included.
    pub fn decode(whole: Bytes) -> Result<Frame, Malformed> {
        if whole.len() < 8 {
            return Err(Malformed::TooShort(whole.len()));
        }
        let word = u32::from_be_bytes(whole[4..8].try_into().expect("four bytes"));
        let header_len = (word & 0x00ff_ffff) as usize;
        if header_len > whole.len() - 8 {
            return Err(Malformed::HeaderBeyondFrame {
                header: header_len,
                frame: whole.len(),
            });
        }
        let header = whole.slice(8..8 + header_len);
        let body = Body::from(whole.slice(8 + header_len..));
        let mut frame = match (word >> 24) as u8 {
            0 => super::json::decode_header(header)?,
            1 => decode_binary(header)?,
            other => return Err(Malformed::Encoding(other)),
        };
        frame.body = body;
        Ok(frame)
    }

    /// Writes length word and header; the caller sends [`Frame::body`] behind them.
    pub fn encode_head(&self, out: &mut BytesMut) {
        let start = out.len();
        out.put_u64(0); // totalLen and headerWord, known below
        match self.encoding {
            Encoding::Json => super::json::encode_header(self, out),
            Encoding::Binary => encode_binary(self, out),
        }
        let header_len = out.len() - start - 8;
        assert!(
            header_len < 1 << 24,
            "a header is bounded by the frame it answers"
        );
        let total = (4 + header_len + self.body.len()) as u32;
        let kind = match self.encoding {
            Encoding::Json => 0u32,
            Encoding::Binary => 1,
        };
        out[start..start + 4].copy_from_slice(&total.to_be_bytes());
        out[start + 4..start + 8].copy_from_slice(&(kind << 24 | header_len as u32).to_be_bytes());
    }

    /// The whole frame as bytes: for tests, tools and benches.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(256 + self.body.len());
        self.encode_head(&mut out);
        self.body
            .parts()
            .iter()
            .for_each(|part| out.extend_from_slice(part));
        out.freeze()
    }
}

/// Names the protocol whose first bytes these are, for the log line of a stranger at the port.
fn foreign_protocol(word: &[u8; 4]) -> Option<&'static str> {
    match word {
        b"GET " | b"POST" | b"PUT " | b"HEAD" | b"OPTI" | b"DELE" | b"PATC" | b"CONN" => Some("HTTP"),
        b"PRI " => Some("HTTP/2"),
        b"SSH-" => Some("SSH"),
        [0x16, 3, ..] => Some("TLS"),
        _ => None,
    }
}

/// A bounded reader of big-endian values.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, len: usize) -> Result<usize, Malformed> {
        let start = self.at;
        if len > self.bytes.len() - start {
            return Err(Malformed::Header("a length points behind the header"));
        }
        self.at += len;
        Ok(start)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let start = self.take(N)?;
        Ok(self.bytes[start..start + N]
            .try_into()
            .expect("N bytes were taken"))
    }

    fn i16(&mut self) -> Result<i16, Malformed> {
        self.array().map(i16::from_be_bytes)
    }

    fn length(&mut self) -> Result<usize, Malformed> {
        let stated = self.array().map(i32::from_be_bytes)?;
        usize::try_from(stated).map_err(|_| Malformed::Header("a negative length"))
    }

    fn text(&mut self, len: usize) -> Result<&'a str, Malformed> {
        let start = self.take(len)?;
        std::str::from_utf8(&self.bytes[start..start + len])
            .map_err(|_| Malformed::Header("text is not UTF-8"))
    }
}

fn decode_binary(header: Bytes) -> Result<Frame, Malformed> {
    let mut cursor = Cursor {
        bytes: &header,
        at: 0,
    };
    let mut frame = Frame::bare(i32::from(cursor.i16()?), 0);
    frame.language = Language(cursor.array::<1>()?[0]);
    frame.version = i32::from(cursor.i16()?);
    frame.opaque = i32::from_be_bytes(cursor.array()?);
    frame.flag = i32::from_be_bytes(cursor.array()?);
    let remark_len = cursor.length()?;
    if remark_len > 0 {
        let start = cursor.take(remark_len)?;
        frame.remark = Some(String::from_utf8_lossy(&header[start..start + remark_len]).into_owned());
    }
    let map_len = cursor.length()?;
    let map_end = cursor.at + map_len;
    if map_end > header.len() {
        return Err(Malformed::Header("a length points behind the header"));
    }
    frame.fields.text.reserve(map_len);
    while cursor.at < map_end {
        let key_len = usize::try_from(cursor.i16()?).map_err(|_| Malformed::Header("a negative length"))?;
        let key = cursor.text(key_len)?;
        let value_len = cursor.length()?;
        let value = cursor.text(value_len)?;
        if cursor.at > map_end {
            return Err(Malformed::Header("a field reaches over the end of the map"));
        }
        if frame.fields.entries.len() == FIELDS_MAX {
            return Err(Malformed::Header("too many fields"));
        }
        // Java reads an empty value as absent on this path.
        if value_len > 0 {
            frame.fields.put(key, value);
        }
    }
    frame.encoding = Encoding::Binary;
    Ok(frame)
}

fn encode_binary(frame: &Frame, out: &mut BytesMut) {
    out.put_i16(frame.code as i16); // Codes above 32767 are cut: the format has no room for them.
    out.put_u8(frame.language.0);
    out.put_i16(frame.version as i16);
    out.put_i32(frame.opaque);
    out.put_i32(frame.flag);
    let remark = frame.remark.as_deref().unwrap_or("");
    out.put_i32(remark.len() as i32);
    out.extend_from_slice(remark.as_bytes());
    let map_start = out.len();
    out.put_i32(0);
    for (key, value) in frame.fields.iter() {
        out.put_i16(key.len() as i16);
        out.extend_from_slice(key.as_bytes());
        out.put_i32(value.len() as i32);
        out.extend_from_slice(value.as_bytes());
    }
    let map_len = (out.len() - map_start - 4) as i32;
    out[map_start..map_start + 4].copy_from_slice(&map_len.to_be_bytes());
}

/// Makes a frame for a decoder to fill.
pub(super) fn empty() -> Frame {
    Frame::bare(0, 0)
}

/// The language a JSON header names.
pub(super) fn language_named(name: &str) -> Language {
    Language::named(name)
}
