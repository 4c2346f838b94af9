//! The JSON header of a frame, read by hand: the needed members only, fields as slices of the header. It takes what real
//! clients send and serde refuses: numbers and booleans among `extFields`, trailing white space, missing members.
//!
//! Bodies are read and written elsewhere (`protocol::request`, serde).

use bytes::{BufMut, Bytes, BytesMut};

use super::fields::{FIELDS_MAX, Fields, Span};
use super::frame::{Frame, Language, Malformed};

/// Deepest nesting that is skipped among members we do not know.
const DEPTH_MAX: usize = 16;

/// Room for what is usually unescaped in a header.
const UNESCAPED_BYTES: usize = 256;

/// Reads the header of a frame; the body is added by the caller.
pub(super) fn decode_header(header: Bytes) -> Result<Frame, Malformed> {
    let text = std::str::from_utf8(&header).map_err(|_| Malformed::Header("not UTF-8"))?;
    let bytes = text.as_bytes();
    let mut reader = Reader { text, bytes, at: 0 };
    let mut frame = super::frame::empty();
    // What is unescaped goes behind the header: usually the properties of one message.
    frame.fields.text.reserve(text.len() + UNESCAPED_BYTES);
    frame.fields.text.push_str(text);
    reader.object(|reader, key| {
        match reader.plain(key) {
            b"code" => frame.code = reader.number()?,
            b"flag" => frame.flag = reader.number()?,
            b"opaque" => frame.opaque = reader.number()?,
            b"version" => frame.version = reader.number()?,
            b"language" => frame.language = reader.language()?,
            b"remark" => frame.remark = reader.text()?.filter(|remark| !remark.is_empty()),
            b"extFields" => reader.fields(&mut frame.fields)?,
            _ => reader.skip(0)?,
        }
        Ok(())
    })?;
    reader.space();
    if reader.at != bytes.len() {
        return Err(Malformed::Header("text behind the JSON object"));
    }
    Ok(frame)
}

struct Reader<'a> {
    text: &'a str,
    /// The same text: every byte that matters to JSON is ASCII.
    bytes: &'a [u8],
    at: usize,
}

/// A string as it stands between its quotes.
#[derive(Clone, Copy)]
struct Quoted {
    start: usize,
    end: usize,
    escaped: bool,
}

impl<'a> Reader<'a> {
    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.bytes.get(self.at) {
            self.at += 1;
        }
    }

    /// The next byte that is not white space, not consumed.
    fn peek(&mut self) -> Result<u8, Malformed> {
        self.space();
        self.bytes
            .get(self.at)
            .copied()
            .ok_or(Malformed::Header("JSON ends early"))
    }

    fn expect(&mut self, byte: u8, what: &'static str) -> Result<(), Malformed> {
        if self.peek()? != byte {
            return Err(Malformed::Header(what));
        }
        self.at += 1;
        Ok(())
    }

    /// Calls `member` at the value of every member of an object.
    fn object(
        &mut self,
        mut member: impl FnMut(&mut Self, Quoted) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        self.expect(b'{', "expected {")?;
        if self.peek()? == b'}' {
            self.at += 1;
            return Ok(());
        }
        loop {
            let key = self.quoted()?;
            self.expect(b':', "expected :")?;
            member(self, key)?;
            match self.peek()? {
                b',' => self.at += 1,
                b'}' => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(Malformed::Header("expected , or }")),
            }
        }
    }

    fn quoted(&mut self) -> Result<Quoted, Malformed> {
        self.expect(b'"', "expected a string")?;
        let start = self.at;
        let mut escaped = false;
        loop {
            let ahead = &self.bytes[self.at..];
            let found =
                memchr::memchr2(b'"', b'\\', ahead).ok_or(Malformed::Header("a string without end"))?;
            self.at += found;
            if ahead[found] == b'"' {
                self.at += 1;
                return Ok(Quoted {
                    start,
                    end: self.at - 1,
                    escaped,
                });
            }
            escaped = true;
            self.at += 2; // The escaped byte cannot end the string.
            if self.at > self.bytes.len() {
                return Err(Malformed::Header("a string without end"));
            }
        }
    }

    /// The bytes of a key; keys that matter have no escapes.
    fn plain(&self, key: Quoted) -> &'a [u8] {
        &self.bytes[key.start..key.end]
    }

    /// A number, a boolean or null: everything up to the next separator.
    fn scalar(&mut self) -> Result<(usize, usize), Malformed> {
        self.peek()?;
        let start = self.at;
        while let Some(byte) = self.bytes.get(self.at) {
            match byte {
                b'0'..=b'9' | b'+' | b'-' | b'.' | b'a'..=b'z' | b'A'..=b'Z' => self.at += 1,
                _ => break,
            }
        }
        if start == self.at {
            return Err(Malformed::Header("expected a value"));
        }
        Ok((start, self.at))
    }

    /// An integer, also inside quotes; null and nonsense read as 0, as fastjson leaves the member at its default.
    fn number(&mut self) -> Result<i32, Malformed> {
        let (start, end) = match self.peek()? {
            b'"' => {
                let quoted = self.quoted()?;
                (quoted.start, quoted.end)
            }
            _ => self.scalar()?,
        };
        let text = &self.text[start..end];
        if text == "null" || text.is_empty() {
            return Ok(0);
        }
        text.trim()
            .parse()
            .map_err(|_| Malformed::Header("a number out of range"))
    }

    fn text(&mut self) -> Result<Option<String>, Malformed> {
        if self.peek()? != b'"' {
            let (start, end) = self.scalar()?;
            let text = &self.text[start..end];
            return Ok((text != "null").then(|| text.to_owned()));
        }
        let quoted = self.quoted()?;
        let mut text = String::new();
        self.unescape(quoted, &mut text)?;
        Ok(Some(text))
    }

    fn language(&mut self) -> Result<Language, Malformed> {
        if self.peek()? != b'"' {
            return Ok(u8::try_from(self.number()?).map_or(Language::OTHER, Language));
        }
        let name = self.quoted()?;
        Ok(super::frame::language_named(&self.text[name.start..name.end]))
    }

    /// `extFields`: any scalar is taken as its text, null as absent, a nested value as its JSON text.
    fn fields(&mut self, fields: &mut Fields) -> Result<(), Malformed> {
        if self.peek()? == b'n' {
            self.scalar()?;
            return Ok(());
        }
        self.object(|reader, key| {
            if fields.entries.len() == FIELDS_MAX {
                return Err(Malformed::Header("too many fields"));
            }
            let key = reader.field_span(key, fields)?;
            let value = match reader.peek()? {
                b'"' => {
                    let quoted = reader.quoted()?;
                    reader.field_span(quoted, fields)?
                }
                b'{' | b'[' => {
                    let start = reader.at;
                    reader.skip(0)?;
                    Span::from(start..reader.at)
                }
                _ => {
                    let (start, end) = reader.scalar()?;
                    if &reader.bytes[start..end] == b"null" {
                        return Ok(());
                    }
                    Span::from(start..end)
                }
            };
            fields.entries.push((key, value));
            Ok(())
        })
    }

    fn field_span(&self, quoted: Quoted, fields: &mut Fields) -> Result<Span, Malformed> {
        if !quoted.escaped {
            return Ok(Span::from(quoted.start..quoted.end));
        }
        let start = fields.text.len();
        self.unescape(quoted, &mut fields.text)?;
        Ok(Span::from(start..fields.text.len()))
    }

    fn unescape(&self, quoted: Quoted, out: &mut String) -> Result<(), Malformed> {
        let mut rest = &self.text[quoted.start..quoted.end];
        while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
            out.push_str(&rest[..at]);
            let escape = rest
                .as_bytes()
                .get(at + 1)
                .ok_or(Malformed::Header("a lone backslash"))?;
            let mut used = at + 2;
            match escape {
                b'u' => {
                    let high = hex4(rest, used)?;
                    used += 4;
                    let unit = if (0xd800..0xdc00).contains(&high) && rest[used..].starts_with("\\u") {
                        let low = hex4(rest, used + 2)?;
                        if (0xdc00..0xe000).contains(&low) {
                            used += 6;
                            0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)
                        } else {
                            high
                        }
                    } else {
                        high
                    };
                    // Half of a surrogate pair has no UTF-8 form.
                    out.push(char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER));
                }
                b'n' => out.push('\n'),
                b't' => out.push('\t'),
                b'r' => out.push('\r'),
                b'b' => out.push('\u{8}'),
                b'f' => out.push('\u{c}'),
                b'"' | b'\\' | b'/' | b'\'' => out.push(char::from(*escape)),
                _ => return Err(Malformed::Header("an unknown escape")),
            }
            rest = &rest[used..];
        }
        out.push_str(rest);
        Ok(())
    }

    /// Steps over any value.
    fn skip(&mut self, depth: usize) -> Result<(), Malformed> {
        if depth > DEPTH_MAX {
            return Err(Malformed::Header("nested too deeply"));
        }
        match self.peek()? {
            b'"' => self.quoted().map(drop),
            b'{' => self.object(|reader, _| reader.skip(depth + 1)),
            b'[' => {
                self.at += 1;
                if self.peek()? == b']' {
                    self.at += 1;
                    return Ok(());
                }
                loop {
                    self.skip(depth + 1)?;
                    match self.peek()? {
                        b',' => self.at += 1,
                        b']' => {
                            self.at += 1;
                            return Ok(());
                        }
                        _ => return Err(Malformed::Header("expected , or ]")),
                    }
                }
            }
            _ => self.scalar().map(drop),
        }
    }
}

fn hex4(text: &str, at: usize) -> Result<u32, Malformed> {
    let digits = text.as_bytes().get(at..at + 4);
    let digits = digits.ok_or(Malformed::Header("a short \\u escape"))?;
    digits.iter().try_fold(0, |unit, digit| {
        let value = char::from(*digit).to_digit(16);
        Ok(unit << 4 | value.ok_or(Malformed::Header("a bad \\u escape"))?)
    })
}

/// Writes the header of a frame: members in the order Java writes them, every field a string.
pub(super) fn encode_header(frame: &Frame, out: &mut BytesMut) {
    let mut digits = itoa::Buffer::new();
    out.extend_from_slice(b"{\"code\":");
    out.extend_from_slice(digits.format(frame.code).as_bytes());
    if !frame.fields.is_empty() {
        out.extend_from_slice(b",\"extFields\":{");
        for (index, (key, value)) in frame.fields.iter().enumerate() {
            if index > 0 {
                out.put_u8(b',');
            }
            write_string(key, out);
            out.put_u8(b':');
            write_string(value, out);
        }
        out.put_u8(b'}');
    }
    out.extend_from_slice(b",\"flag\":");
    out.extend_from_slice(digits.format(frame.flag).as_bytes());
    out.extend_from_slice(b",\"language\":\"");
    out.extend_from_slice(frame.language.name().as_bytes());
    out.extend_from_slice(b"\",\"opaque\":");
    out.extend_from_slice(digits.format(frame.opaque).as_bytes());
    if let Some(remark) = &frame.remark {
        out.extend_from_slice(b",\"remark\":");
        write_string(remark, out);
    }
    out.extend_from_slice(b",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":");
    out.extend_from_slice(digits.format(frame.version).as_bytes());
    out.put_u8(b'}');
}

/// A JSON string in strict form: quotes, backslashes and control characters escaped.
fn write_string(text: &str, out: &mut BytesMut) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.put_u8(b'"');
    if !needs_escape(text) {
        out.extend_from_slice(text.as_bytes());
        out.put_u8(b'"');
        return;
    }
    let mut plain = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&text.as_bytes()[plain..at]);
        plain = at + 1;
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\r' => out.extend_from_slice(b"\\r"),
            _ => {
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
        }
    }
    out.extend_from_slice(&text.as_bytes()[plain..]);
    out.put_u8(b'"');
}

/// Whether a text has a byte that JSON escapes. Looks at all bytes without branches, many at a time.
fn needs_escape(text: &str) -> bool {
    text.bytes().fold(false, |found, byte| {
        found | (byte < 0x20) | (byte == b'"') | (byte == b'\\')
    })
}
