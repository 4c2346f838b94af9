//! Rewrites the JSON dialect of fastjson as strict JSON. Objects used as keys become strings that hold the object's text.

use super::{DEPTH_MAX, OBJECT_KEY_MARK};

/// The same document as strict JSON. Only what fastjson and JavaScript clients write is understood; the strict parser
/// behind it refuses the rest.
pub(super) fn rewrite(text: &[u8]) -> Result<String, &'static str> {
    let text = std::str::from_utf8(text).map_err(|_| "it is not UTF-8")?;
    let mut rewriter = Rewriter {
        text,
        at: 0,
        out: String::with_capacity(text.len() + 64),
    };
    rewriter.value(0)?;
    match rewriter.peek() {
        None => Ok(rewriter.out),
        Some(_) => Err("text behind the document"),
    }
}

struct Rewriter<'a> {
    text: &'a str,
    at: usize,
    out: String,
}

impl<'a> Rewriter<'a> {
    fn peek(&mut self) -> Option<u8> {
        let rest = &self.text.as_bytes()[self.at..];
        self.at += rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        self.text.as_bytes().get(self.at).copied()
    }

    /// Steps over `byte` if it is next.
    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn value(&mut self, depth: usize) -> Result<(), &'static str> {
        if depth > DEPTH_MAX {
            return Err("nested too deeply");
        }
        match self.peek().ok_or("it ends within a value")? {
            b'{' => self.list(b'}', |rewriter| rewriter.member(depth + 1)),
            b'[' => self.list(b']', |rewriter| rewriter.value(depth + 1)),
            b'"' | b'\'' => self.string(),
            _ => {
                let word = self.word()?;
                self.out.push_str(word);
                Ok(())
            }
        }
    }

    /// Items between brackets; a comma may follow the last one.
    fn list(
        &mut self,
        close: u8,
        mut item: impl FnMut(&mut Self) -> Result<(), &'static str>,
    ) -> Result<(), &'static str> {
        self.out.push(char::from(self.text.as_bytes()[self.at]));
        self.at += 1;
        let mut first = true;
        while !self.take(close) {
            if !first {
                self.out.push(',');
            }
            first = false;
            item(self)?;
            if !self.take(b',') && self.peek() != Some(close) {
                return Err("expected a comma or the end of a list");
            }
        }
        self.out.push(char::from(close));
        Ok(())
    }

    fn member(&mut self, depth: usize) -> Result<(), &'static str> {
        match self.peek().ok_or("it ends within an object")? {
            b'"' | b'\'' => self.string()?,
            b'{' => self.object_key(depth)?,
            _ => {
                let word = self.word()?;
                self.out.push('"');
                self.out.push_str(word);
                self.out.push('"');
            }
        }
        if !self.take(b':') {
            return Err("expected a colon");
        }
        self.out.push(':');
        self.value(depth)
    }

    fn object_key(&mut self, depth: usize) -> Result<(), &'static str> {
        let outer = std::mem::take(&mut self.out);
        self.out.push(OBJECT_KEY_MARK);
        self.value(depth)?;
        let key = std::mem::replace(&mut self.out, outer);
        let quoted = serde_json::to_string(&key).expect("a string is written to memory");
        self.out.push_str(&quoted);
        Ok(())
    }

    fn string(&mut self) -> Result<(), &'static str> {
        let quote = self.text.as_bytes()[self.at];
        self.at += 1;
        self.out.push('"');
        loop {
            let rest = &self.text[self.at..];
            let end =
                memchr::memchr3(quote, b'\\', b'"', rest.as_bytes()).ok_or("it ends within a string")?;
            self.out.push_str(&rest[..end]);
            self.at += end + 1;
            match rest.as_bytes()[end] {
                b'\\' => {
                    let escaped = rest[end + 1..].chars().next().ok_or("it ends within a string")?;
                    if escaped != '\'' {
                        self.out.push('\\');
                    }
                    self.out.push(escaped);
                    self.at += escaped.len_utf8();
                }
                byte if byte == quote => {
                    self.out.push('"');
                    return Ok(());
                }
                _ => self.out.push_str("\\\""),
            }
        }
    }

    /// A number, `true`, `false`, `null`, or a bare name.
    fn word(&mut self) -> Result<&'a str, &'static str> {
        let start = self.at;
        let ends = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-._$%@#".contains(byte);
        self.at += self.text.as_bytes()[start..]
            .iter()
            .take_while(|byte| ends(byte))
            .count();
        if self.at == start {
            return Err("an unexpected character");
        }
        Ok(&self.text[start..self.at])
    }
}
