//! A topic's attributes and the changes that requests make to them (Apache: `AttributeParser`, `AttributeUtil`,
//! `TopicAttributes`). A change is `+name=value` or `-name`; several are joined by commas.

use std::collections::BTreeMap;

use crate::broker::refusal::Refusal;
use crate::protocol::code::response;

/// The attribute that says what kind of messages a topic is for.
pub const MESSAGE_TYPE: &str = "message.type";
/// The value of [`MESSAGE_TYPE`] that allows every kind.
pub const MIXED: &str = "MIXED";

/// Attributes by name, as a topic has them.
pub type Attributes = BTreeMap<String, String>;

/// Values an attribute takes.
enum Values {
    OneOf(&'static [&'static str]),
    /// Hours, -1 for none.
    Time,
}

struct Attribute {
    name: &'static str,
    values: Values,
    /// False where it decides how messages are stored.
    changeable: bool,
}

const MESSAGE_TYPES: &[&str] = &["UNSPECIFIED", "NORMAL", "FIFO", "DELAY", "TRANSACTION", MIXED];

static KNOWN: [Attribute; 4] = [
    Attribute {
        name: "queue.type",
        values: Values::OneOf(&["SimpleCQ"]),
        changeable: false,
    },
    Attribute {
        name: "cleanup.policy",
        values: Values::OneOf(&["DELETE"]),
        changeable: false,
    },
    Attribute {
        name: MESSAGE_TYPE,
        values: Values::OneOf(MESSAGE_TYPES),
        changeable: true,
    },
    Attribute {
        name: "reserve.time",
        values: Values::Time,
        changeable: true,
    },
];

/// The attributes after the changes of `text`; `current` is `None` for a topic that does not exist yet.
///
/// # Errors
/// 1 for a change that is malformed, unknown, or not allowed: Apache's code and words.
pub fn change(current: Option<&Attributes>, text: &str) -> Result<Attributes, Refusal> {
    let mut changed = current.cloned().unwrap_or_default();
    let mut seen = Vec::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (sign, name, value) = split(part)?;
        if seen.contains(&name) {
            return refuse(format!("alter duplication key. key: {name}"));
        }
        seen.push(name);
        match (sign, current) {
            ('+', _) => {
                let attribute = known(name)?;
                check_changeable(attribute, current)?;
                check_value(attribute, value)?;
                changed.insert(name.to_owned(), value.to_owned());
            }
            ('-', Some(current)) if !current.contains_key(name) => {
                return refuse(format!("attempt to delete a nonexistent key: {name}"));
            }
            ('-', Some(_)) => {
                check_changeable(known(name)?, current)?;
                changed.remove(name);
            }
            _ => {
                return refuse(format!(
                    "only add attribute is supported while creating topic. key: {name}"
                ));
            }
        }
    }
    Ok(changed)
}

/// The changes that a table of attributes stands for, as 18 and 200 carry it: names with or without a sign.
pub fn as_text(attributes: &Attributes) -> String {
    let changes = attributes.iter().map(|(name, value)| match name.chars().next() {
        Some('-') => name.clone(),
        Some('+') => format!("{name}={value}"),
        _ => format!("+{name}={value}"),
    });
    changes.collect::<Vec<_>>().join(",")
}

fn split(part: &str) -> Result<(char, &str, &str), Refusal> {
    let (key, value) = part
        .split_once('=')
        .map_or((part, None), |(key, value)| (key, Some(value)));
    let sign = key.chars().next().filter(|sign| matches!(sign, '+' | '-'));
    let (sign, name) = match sign {
        Some(sign) if (sign == '+') == value.is_some() => (sign, &key[1..]),
        _ if value.is_some() => return refuse(format!("add/alter attribute format is wrong: {key}")),
        _ => return refuse(format!("delete attribute format is wrong: {key}")),
    };
    if name.is_empty() || name.contains(['+', '-']) {
        return refuse("kv string format wrong.");
    }
    Ok((sign, name, value.unwrap_or_default()))
}

fn known(name: &str) -> Result<&'static Attribute, Refusal> {
    let attribute = KNOWN.iter().find(|attribute| attribute.name == name);
    attribute.map_or_else(|| refuse(format!("unsupported key: {name}")), Ok)
}

fn check_changeable(attribute: &Attribute, current: Option<&Attributes>) -> Result<(), Refusal> {
    if current.is_some() && !attribute.changeable {
        return refuse(format!(
            "attempt to update an unchangeable attribute. key: {}",
            attribute.name
        ));
    }
    Ok(())
}

fn check_value(attribute: &Attribute, value: &str) -> Result<(), Refusal> {
    let good = match attribute.values {
        Values::OneOf(words) => words.contains(&value),
        Values::Time => value.parse::<i64>().is_ok_and(|time| time >= -1),
    };
    match attribute.values {
        _ if good => Ok(()),
        Values::OneOf(words) => refuse(format!("value is not in set: [{}]", words.join(", "))),
        Values::Time => refuse(format!("value is not in range(-1, {})", i64::MAX)),
    }
}

fn refuse<T>(remark: impl Into<std::borrow::Cow<'static, str>>) -> Result<T, Refusal> {
    Err(Refusal::new(response::SYSTEM_ERROR, remark))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(pairs: &[(&str, &str)]) -> Attributes {
        pairs
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect()
    }

    #[test]
    fn changes_leave_the_other_attributes_alone() {
        let current = attributes(&[("message.type", "FIFO"), ("reserve.time", "5")]);
        let changed = change(Some(&current), "+message.type=DELAY").expect("allowed");
        assert_eq!(
            changed,
            attributes(&[("message.type", "DELAY"), ("reserve.time", "5")])
        );
        let changed = change(Some(&current), "-reserve.time,+message.type=NORMAL").expect("allowed");
        assert_eq!(changed, attributes(&[("message.type", "NORMAL")]));
        assert_eq!(change(Some(&current), "").expect("no change"), current);
        assert_eq!(
            change(None, "+queue.type=SimpleCQ").expect("new"),
            attributes(&[("queue.type", "SimpleCQ")])
        );
        assert_eq!(
            as_text(&attributes(&[("+message.type", "FIFO"), ("-a", ""), ("b", "c")])),
            "+message.type=FIFO,-a,+b=c"
        );
    }

    #[test]
    fn bad_changes_are_refused_in_apaches_words() {
        let current = attributes(&[("queue.type", "SimpleCQ")]);
        for (current, text, remark) in [
            (None, "+nosuch=1", "unsupported key: nosuch"),
            (
                None,
                "-message.type",
                "only add attribute is supported while creating topic. key: message.type",
            ),
            (
                Some(&current),
                "-message.type",
                "attempt to delete a nonexistent key: message.type",
            ),
            (
                Some(&current),
                "+queue.type=SimpleCQ",
                "attempt to update an unchangeable attribute. key: queue.type",
            ),
            (
                None,
                "message.type=FIFO",
                "add/alter attribute format is wrong: message.type",
            ),
            (
                None,
                "message.type",
                "delete attribute format is wrong: message.type",
            ),
            (None, "+=1", "kv string format wrong."),
            (
                None,
                "+reserve.time=x",
                "value is not in range(-1, 9223372036854775807)",
            ),
            (
                None,
                "+reserve.time=1,+reserve.time=2",
                "alter duplication key. key: reserve.time",
            ),
        ] {
            let refusal = change(current, text).expect_err(text);
            assert_eq!((refusal.code, &*refusal.remark), (response::SYSTEM_ERROR, remark));
        }
    }

    /// Apache has batch queues and compacted topics; accepting the attribute would lose messages.
    #[test]
    fn kinds_of_queues_that_are_not_built_are_refused() {
        assert!(change(None, "+queue.type=BatchCQ").is_err());
        assert!(change(None, "+cleanup.policy=COMPACTION").is_err());
    }
}
