//! Java's properties text (`java.util.Properties`), read as UTF-8: the format of Apache's `broker.conf` and `namesrv.conf`
//! and of the bodies of requests 25, 26, 318 and 319.
//!
//! ```text
//! # a comment, also with !
//! key=value
//! key = value
//! key: a long value, \
//!      continued
//! ```

/// One `key=value` of a text, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    pub key: String,
    pub value: String,
    /// Line of the text, from 1; of a continued assignment the first.
    pub line: usize,
}

/// Why a text is not properties.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct BadText {
    pub line: usize,
    pub what: String,
}

/// Reads every assignment in the order it stands in the text. A key without a value has the empty value, as in Java.
/// White space at the end of a value is dropped: Java keeps it, and then refuses the number in front of it.
pub fn parse(text: &str) -> Result<Vec<Assignment>, BadText> {
    let mut assignments = Vec::new();
    let mut lines = text.trim_start_matches('\u{feff}').lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let mut logical = line.trim_start().to_owned();
        if logical.is_empty() || logical.starts_with(['#', '!']) {
            continue;
        }
        while continues(&logical) {
            logical.pop();
            let Some((_, next)) = lines.next() else { break };
            logical.push_str(next.trim_start());
        }
        let line = index + 1;
        let (key, value) = split(&logical);
        let unescape = |part| unescape(part).map_err(|what| BadText { line, what });
        assignments.push(Assignment {
            key: unescape(key)?,
            value: unescape(value.trim_end())?,
            line,
        });
    }
    Ok(assignments)
}

/// A line whose last backslash is not itself escaped goes on in the next one.
fn continues(line: &str) -> bool {
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

/// Cuts a line at the first `=`, `:` or white space that is not escaped.
fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = line.find(|character: char| {
        let ends = !escaped && (matches!(character, '=' | ':') || character.is_whitespace());
        escaped = character == '\\' && !escaped;
        ends
    });
    let Some(end) = end else { return (line, "") };
    let rest = line[end..].trim_start();
    let value = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (&line[..end], value.trim_start())
}

fn unescape(text: &str) -> Result<String, String> {
    let mut plain = String::with_capacity(text.len());
    let mut units = Vec::new();
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        let escape = if character == '\\' { rest.next() } else { None };
        if escape != Some('u') && !units.is_empty() {
            push_units(&mut units, &mut plain);
        }
        match (character, escape) {
            (_, Some('u')) => units.push(hex_unit(&mut rest)?),
            (_, Some('n')) => plain.push('\n'),
            (_, Some('r')) => plain.push('\r'),
            (_, Some('t')) => plain.push('\t'),
            (_, Some('f')) => plain.push('\u{c}'),
            (_, Some(other)) => plain.push(other),
            ('\\', None) => {}
            (plain_character, None) => plain.push(plain_character),
        }
    }
    push_units(&mut units, &mut plain);
    Ok(plain)
}

fn hex_unit(rest: &mut std::str::Chars<'_>) -> Result<u16, String> {
    let digits = rest
        .as_str()
        .get(..4)
        .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
    let unit = digits.and_then(|digits| u16::from_str_radix(digits, 16).ok());
    let unit = unit.ok_or_else(|| "\\u needs four hexadecimal digits".to_owned())?;
    rest.nth(3);
    Ok(unit)
}

/// A run of `\u` escapes is UTF-16: characters beyond the basic plane come as two of them.
fn push_units(units: &mut Vec<u16>, plain: &mut String) {
    plain.extend(
        char::decode_utf16(units.drain(..)).map(|decoded| decoded.unwrap_or(char::REPLACEMENT_CHARACTER)),
    );
}

/// Writes one assignment, so that [`parse`] and `java.util.Properties` read it back.
pub fn write(key: &str, value: &str, out: &mut String) {
    write_part(key, true, out);
    out.push('=');
    write_part(value, false, out);
    out.push('\n');
}

fn write_part(part: &str, is_key: bool, out: &mut String) {
    for (at, character) in part.char_indices() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            ' ' if at == 0 || is_key => out.push_str("\\ "),
            '=' | ':' | '#' | '!' if is_key => out.extend(['\\', character]),
            _ => out.push(character),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String, usize)> {
        parse(text)
            .expect("a good text")
            .into_iter()
            .map(|a| (a.key, a.value, a.line))
            .collect()
    }

    fn pair(key: &str, value: &str, line: usize) -> (String, String, usize) {
        (key.to_owned(), value.to_owned(), line)
    }

    #[test]
    fn every_separator_and_comment_of_java_is_read() {
        let text = "# comment\n! comment\n\n  brokerName = broker-a  \nlistenPort:10911\nclusterName Default\nempty=\nlone\r\n";
        let expected = vec![
            pair("brokerName", "broker-a", 4),
            pair("listenPort", "10911", 5),
            pair("clusterName", "Default", 6),
            pair("empty", "", 7),
            pair("lone", "", 8),
        ];
        assert_eq!(pairs(text), expected);
    }

    #[test]
    fn escapes_and_continued_lines_are_joined() {
        let text = "path=C:\\\\data\nlist=a;\\\n   b;\\\n   c\nkey\\=x=\\u00e9\\ud83d\\ude00!\nnext=1";
        let expected = vec![
            pair("path", "C:\\data", 1),
            pair("list", "a;b;c", 2),
            pair("key=x", "\u{e9}\u{1f600}!", 5),
            pair("next", "1", 6),
        ];
        assert_eq!(pairs(text), expected);
    }

    #[test]
    fn a_bad_escape_is_named_with_its_line() {
        assert_eq!(
            parse("a=1\nb=\\u12").unwrap_err().to_string(),
            "line 2: \\u needs four hexadecimal digits"
        );
    }

    #[test]
    fn what_is_written_reads_back() {
        let values = [
            "plain",
            " leading",
            "back\\slash",
            "two\nlines",
            "{\"a\":1}",
            "1s 5s 10s",
            "",
            "é = :#!",
        ];
        for value in values {
            let mut text = String::new();
            write("a key:#", value, &mut text);
            assert_eq!(pairs(&text), vec![pair("a key:#", value, 1)]);
        }
    }
}
