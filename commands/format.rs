//! `-f FORMAT`: how one message is printed, in the manner of kcat.
//!
//! ```text
//! %t topic    %b broker      %q queue     %o queue offset   %k keys, separated by spaces   %g tag
//! %s body     %S body bytes  %T stored    %B born           (both in epoch milliseconds)
//! %i message id              %r attempt   %h properties as JSON     %% a percent sign
//! \n \t \0 \\ \xHH
//! ```
//! Nothing is added: a newline between messages is written as `\n`. What is unknown prints as nothing.

use std::io::{self, Write};

use crate::record::Record;

/// A format, ready to print messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(Vec<u8>),
    Verb(Verb),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Topic,
    Broker,
    Queue,
    Offset,
    Keys,
    Tag,
    Body,
    BodyBytes,
    StoreTime,
    BornTime,
    MessageId,
    Attempt,
    Properties,
}

/// Why a text is no format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFormat {
    #[error("unknown verb %{0}: there are %t %b %q %o %k %g %s %S %T %B %i %r %h and %%")]
    Verb(char),
    #[error("unknown escape \\{0}: there are \\n \\t \\0 \\\\ and \\xHH")]
    Escape(char),
    #[error("\\x needs two hexadecimal digits")]
    Hex,
    #[error("{0} at the end has nothing behind it")]
    Unfinished(char),
}

impl Format {
    /// Reads a format.
    pub fn parse(text: &str) -> Result<Format, BadFormat> {
        let mut pieces = Vec::new();
        let mut literal = Vec::new();
        let mut rest = text.chars();
        while let Some(character) = rest.next() {
            match character {
                '%' => match rest.next().ok_or(BadFormat::Unfinished('%'))? {
                    '%' => literal.push(b'%'),
                    letter => {
                        let verb = verb(letter).ok_or(BadFormat::Verb(letter))?;
                        if !literal.is_empty() {
                            pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                        }
                        pieces.push(Piece::Verb(verb));
                    }
                },
                '\\' => literal.push(escaped(&mut rest)?),
                plain => literal.extend_from_slice(plain.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        Ok(Format(pieces))
    }

    /// Body and a newline: what is printed without `-f`.
    pub fn body_line() -> Format {
        Format(vec![Piece::Verb(Verb::Body), Piece::Literal(b"\n".to_vec())])
    }

    /// Prints one message.
    pub fn write(&self, record: &Record, out: &mut impl Write) -> io::Result<()> {
        for piece in &self.0 {
            match piece {
                Piece::Literal(bytes) => out.write_all(bytes)?,
                Piece::Verb(verb) => write_verb(*verb, record, out)?,
            }
        }
        Ok(())
    }
}

fn verb(letter: char) -> Option<Verb> {
    Some(match letter {
        't' => Verb::Topic,
        'b' => Verb::Broker,
        'q' => Verb::Queue,
        'o' => Verb::Offset,
        'k' => Verb::Keys,
        'g' => Verb::Tag,
        's' => Verb::Body,
        'S' => Verb::BodyBytes,
        'T' => Verb::StoreTime,
        'B' => Verb::BornTime,
        'i' => Verb::MessageId,
        'r' => Verb::Attempt,
        'h' => Verb::Properties,
        _ => return None,
    })
}

/// The byte that an escape stands for; the backslash has been read.
fn escaped(rest: &mut std::str::Chars<'_>) -> Result<u8, BadFormat> {
    match rest.next().ok_or(BadFormat::Unfinished('\\'))? {
        'n' => Ok(b'\n'),
        't' => Ok(b'\t'),
        '0' => Ok(0),
        '\\' => Ok(b'\\'),
        'x' => {
            let mut digit = || {
                rest.next()
                    .and_then(|digit| digit.to_digit(16))
                    .ok_or(BadFormat::Hex)
            };
            let value = digit()? * 16 + digit()?;
            Ok(u8::try_from(value).expect("two hexadecimal digits are a byte"))
        }
        other => Err(BadFormat::Escape(other)),
    }
}

fn write_verb(verb: Verb, record: &Record, out: &mut impl Write) -> io::Result<()> {
    match verb {
        Verb::Topic => write!(out, "{}", record.topic),
        Verb::Broker => write!(out, "{}", record.broker.as_deref().unwrap_or_default()),
        Verb::Queue => write!(out, "{}", record.queue),
        Verb::Offset => write!(out, "{}", record.offset),
        Verb::Keys => write!(out, "{}", record.keys.join(" ")),
        Verb::Tag => write!(out, "{}", record.tag.as_deref().unwrap_or_default()),
        Verb::Body => out.write_all(&record.body),
        Verb::BodyBytes => write!(out, "{}", record.body.len()),
        Verb::StoreTime => write!(out, "{}", record.store_time),
        Verb::BornTime => write!(out, "{}", record.born_time),
        Verb::MessageId => write!(out, "{}", record.msg_id.as_deref().unwrap_or_default()),
        Verb::Attempt => write!(out, "{}", record.attempt),
        Verb::Properties => Ok(serde_json::to_writer(out, &record.properties)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::order;

    fn printed(format: &str) -> Vec<u8> {
        let mut out = Vec::new();
        Format::parse(format)
            .expect("a good format")
            .write(&order(), &mut out)
            .expect("a Vec takes everything");
        out
    }

    #[test]
    fn every_verb_prints_its_part() {
        assert_eq!(
            printed(r"%t [%b:%q] at %o: %k|%g|%s\n"),
            b"orders [broker-a:2] at 17: k1 k2|paid|two\xff\n"
        );
        assert_eq!(
            printed("%S %T %B %r %i"),
            b"4 1763805600250 1763805600000 1 7F000001"
        );
        assert_eq!(printed("%h"), br#"{"region":"eu"}"#);
    }

    #[test]
    fn escapes_and_percent_are_bytes() {
        assert_eq!(printed(r"100%%\t\0\x1f\xFF\\"), b"100%\t\0\x1f\xff\\");
        assert_eq!(printed("é"), "é".as_bytes());
    }

    #[test]
    fn what_is_unknown_is_named() {
        assert_eq!(Format::parse("%z"), Err(BadFormat::Verb('z')));
        assert_eq!(Format::parse(r"\q"), Err(BadFormat::Escape('q')));
        assert_eq!(Format::parse(r"\x1"), Err(BadFormat::Hex));
        assert_eq!(Format::parse("50%"), Err(BadFormat::Unfinished('%')));
    }

    #[test]
    fn without_a_format_a_message_is_its_body_and_a_newline() {
        let mut out = Vec::new();
        Format::body_line()
            .write(&order(), &mut out)
            .expect("a Vec takes everything");
        assert_eq!(out, b"two\xff\n");
    }
}
