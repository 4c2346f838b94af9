//! What `rmq send` reads: a text, a file or stdin, whole or split into messages.
//!
//! Bytes are kept: only a newline ends a line, a carriage return belongs to it, and nothing needs to be UTF-8. Blank lines are
//! skipped and counted, because RocketMQ refuses empty bodies.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, IsTerminal, Read};

use rmq::protocol::FRAME_BYTES_MAX;

use crate::output::{Exit, Failure};
use crate::record::Draft;

/// Bytes read from a file at once.
const FILE_BUFFER_BYTES: usize = 64 * 1024;

/// How the input becomes messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// All of it is one message.
    Whole,
    /// Each line is one.
    Lines,
    /// Each line describes one, see [`Draft`].
    JsonLines,
}

/// One piece of the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Line number from 1; 1 for the whole input.
    pub number: u64,
    /// Bytes of the input up to the end of this piece.
    pub read_to: u64,
    /// The message, or what is wrong with the line.
    pub draft: Result<Draft, String>,
}

/// The input, read piece by piece.
pub struct Input {
    reader: Box<dyn BufRead + Send>,
    /// Shown in errors.
    name: String,
    split: Split,
    /// Bytes there are, where that is known beforehand.
    bytes_total: Option<u64>,
    /// Bytes read so far.
    read_to: u64,
    /// Lines read so far.
    lines: u64,
    blank: u64,
}

impl Input {
    /// Opens what the BODY argument names: `@FILE`, `-`, a text (`@@` is a literal `@`), or piped stdin when there is none.
    pub fn open(body: Option<&str>, split: Split) -> Result<Input, Failure> {
        match body {
            None if io::stdin().is_terminal() => Err(Failure::usage("what should be sent?")
                .next_step("rmq send TOPIC BODY, or @FILE, or - to type it and end with Ctrl-D")),
            None | Some("-") => Ok(Input::new(Box::new(BufReader::new(io::stdin())), "stdin", split)),
            Some(text) => match text.strip_prefix('@') {
                Some(literal) if literal.starts_with('@') => Ok(Input::text(literal, split)),
                Some(path) => Input::file(path, split),
                None => Ok(Input::text(text, split)),
            },
        }
    }

    fn file(path: &str, split: Split) -> Result<Input, Failure> {
        let file =
            File::open(path).map_err(|error| Failure::new(Exit::Failed, format!("{path}: {error}")))?;
        let regular = file.metadata().ok().filter(|metadata| metadata.is_file());
        let input = Input::new(
            Box::new(BufReader::with_capacity(FILE_BUFFER_BYTES, file)),
            path,
            split,
        );
        Ok(Input {
            bytes_total: regular.map(|metadata| metadata.len()),
            ..input
        })
    }

    /// One message of `size` letters.
    pub fn made_up(size: usize) -> Input {
        let letters = (b'a'..=b'z').cycle().take(size).collect();
        Input::new(Box::new(Cursor::<Vec<u8>>::new(letters)), "--size", Split::Whole)
    }

    fn text(text: &str, split: Split) -> Input {
        Input::new(Box::new(Cursor::new(text.to_owned().into_bytes())), "BODY", split)
    }

    fn new(reader: Box<dyn BufRead + Send>, name: &str, split: Split) -> Input {
        Input {
            reader,
            name: name.to_owned(),
            split,
            bytes_total: None,
            read_to: 0,
            lines: 0,
            blank: 0,
        }
    }

    /// Bytes there are to read, where that is known beforehand.
    pub fn bytes_total(&self) -> Option<u64> {
        self.bytes_total
    }

    /// Blank lines skipped so far.
    pub fn blank(&self) -> u64 {
        self.blank
    }

    /// The next message, or `None` at the end. An error is one of reading; a line that makes no message is a [`Piece`].
    pub fn next(&mut self) -> Result<Option<Piece>, Failure> {
        let piece = match self.split {
            Split::Whole => self.whole(),
            Split::Lines => self.line().map(|line| {
                line.map(|body| {
                    Ok(Draft {
                        body,
                        ..Draft::default()
                    })
                })
            }),
            Split::JsonLines => self
                .line()
                .map(|line| line.map(|line| Draft::from_json(&line).map_err(|bad| bad.to_string()))),
        };
        let piece = piece.map_err(|error| Failure::new(Exit::Failed, format!("{}: {error}", self.name)))?;
        Ok(piece.map(|draft| Piece {
            number: self.lines,
            read_to: self.read_to,
            draft,
        }))
    }

    fn whole(&mut self) -> io::Result<Option<Result<Draft, String>>> {
        if self.lines > 0 {
            return Ok(None);
        }
        self.lines = 1;
        let mut body = Vec::new();
        self.reader
            .by_ref()
            .take(FRAME_BYTES_MAX as u64 + 1)
            .read_to_end(&mut body)?;
        Ok(Some(match body.len() {
            0 => Err("the body is empty, and RocketMQ refuses empty messages".to_owned()),
            len if len > FRAME_BYTES_MAX => {
                Err("too large for one message; --lines sends each line as one".to_owned())
            }
            _ => Ok(Draft {
                body,
                ..Draft::default()
            }),
        }))
    }

    /// The next line that is not blank, without its newline. A line that no broker would take ends the input.
    fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let mut line = Vec::new();
            let read = self
                .reader
                .by_ref()
                .take(FRAME_BYTES_MAX as u64)
                .read_until(b'\n', &mut line)?;
            if read == 0 {
                return Ok(None);
            }
            self.lines += 1;
            self.read_to += read as u64;
            if line.last() == Some(&b'\n') {
                line.pop();
            } else if read == FRAME_BYTES_MAX {
                return Err(io::Error::other(format!(
                    "line {} is longer than {FRAME_BYTES_MAX} bytes",
                    self.lines
                )));
            }
            if line.is_empty() {
                self.blank += 1;
                continue;
            }
            return Ok(Some(line));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bodies(bytes: &[u8], split: Split) -> (Vec<(u64, Vec<u8>)>, u64) {
        let mut input = Input::new(Box::new(Cursor::new(bytes.to_vec())), "test", split);
        let mut bodies = Vec::new();
        while let Some(piece) = input.next().expect("memory is readable") {
            bodies.push((piece.number, piece.draft.expect("a good line").body));
        }
        (bodies, input.blank())
    }

    #[test]
    fn only_a_newline_ends_a_line_and_blank_lines_are_counted() {
        let (lines, blank) = bodies(b"one\r\n\n two \n\r\n\xff\0\n\nlast", Split::Lines);
        let expected: Vec<(u64, Vec<u8>)> = vec![
            (1, b"one\r".to_vec()),
            (3, b" two ".to_vec()),
            (4, b"\r".to_vec()),
            (5, b"\xff\0".to_vec()),
            (7, b"last".to_vec()),
        ];
        assert_eq!((lines, blank), (expected, 2));
    }

    #[test]
    fn unsplit_input_is_one_message_with_its_newlines() {
        assert_eq!(bodies(b"a\n\nb\n", Split::Whole).0, [(1, b"a\n\nb\n".to_vec())]);
    }

    #[test]
    fn an_empty_body_is_said_to_be_one() {
        let mut input = Input::text("", Split::Whole);
        let piece = input.next().expect("memory is readable").expect("one piece");
        assert!(piece.draft.is_err());
        assert_eq!(input.next().expect("memory is readable"), None);
    }

    #[test]
    fn a_bad_json_line_is_reported_and_the_rest_goes_on() {
        let mut input = Input::text("{\"body\":\"a\"}\nnonsense\n{\"body\":\"b\"}", Split::JsonLines);
        let mut good = Vec::new();
        while let Some(piece) = input.next().expect("memory is readable") {
            good.push((piece.number, piece.draft.is_ok()));
        }
        assert_eq!(good, [(1, true), (2, false), (3, true)]);
    }

    #[test]
    fn two_at_signs_are_a_literal_one() {
        let mut input = Input::open(Some("@@home"), Split::Whole).expect("a text needs no file");
        let piece = input.next().expect("memory is readable").expect("one piece");
        assert_eq!(piece.draft.expect("a body").body, b"@home");
    }

    #[test]
    fn a_missing_file_is_named() {
        let Err(failure) = Input::open(Some("@/no/such/file"), Split::Whole) else {
            panic!("there is no such file")
        };
        assert!(failure.to_string().starts_with("/no/such/file: "), "{failure}");
    }
}
