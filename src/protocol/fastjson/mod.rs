//! JSON bodies as Apache's fastjson writes and reads them: unquoted integer keys, whole objects as keys, numbers as
//! strings, nulls for what is left out.
//!
//! Reading takes three steps: text that is not strict JSON is rewritten by [`strict`]; members that are null are dropped,
//! for null means absent; [`lenient::Lenient`] lets a number stand for its text and the other way round. Writing drops
//! nulls, quotes every plain key, and writes a [`QueueTable`]'s keys as the raw objects that Java and Go expect.

mod lenient;
mod queue_table;
mod strict;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use queue_table::QueueTable;

/// Deepest nesting that is read.
const DEPTH_MAX: usize = 64;

/// Marks a key that is an object's text; no name contains it.
const OBJECT_KEY_MARK: char = '\u{0}';

/// A body that is not what its code says: answered with SYSTEM_ERROR (1), as Java answers a failed decode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the body cannot be read: {0}")]
pub struct BadBody(pub String);

/// Reads a JSON body.
pub fn read<T: DeserializeOwned>(text: &[u8]) -> Result<T, BadBody> {
    let mut value = match serde_json::from_slice::<Value>(text) {
        Ok(value) => value,
        Err(_) => {
            let text = strict::rewrite(text).map_err(|reason| BadBody(reason.to_string()))?;
            serde_json::from_str(&text).map_err(|error| BadBody(error.to_string()))?
        }
    };
    drop_nulls(&mut value);
    T::deserialize(lenient::Lenient(value)).map_err(|error| BadBody(error.to_string()))
}

/// Writes a JSON body: members in the order of the struct, nulls left out.
pub fn write(body: &impl Serialize) -> Vec<u8> {
    let mut value = serde_json::to_value(body).expect("bodies have string keys and no failing serializer");
    drop_nulls(&mut value);
    let mut out = Vec::with_capacity(256);
    write_value(&value, &mut out);
    out
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            members.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

fn write_value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Object(members) => write_list(b"{}", members.iter(), out, |(key, member), out| {
            match key.strip_prefix(OBJECT_KEY_MARK) {
                Some(object) if is_object(object) => out.extend_from_slice(object.as_bytes()),
                _ => write_scalar(key, out),
            }
            out.push(b':');
            write_value(member, out);
        }),
        Value::Array(items) => write_list(b"[]", items.iter(), out, write_value),
        scalar => write_scalar(scalar, out),
    }
}

/// A peer may have chosen a name that begins like a marked key: only a whole object goes out unquoted.
fn is_object(text: &str) -> bool {
    text.starts_with('{') && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

fn write_list<I: Iterator>(
    brackets: &[u8; 2],
    items: I,
    out: &mut Vec<u8>,
    mut write: impl FnMut(I::Item, &mut Vec<u8>),
) {
    out.push(brackets[0]);
    for (index, item) in items.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(item, out);
    }
    out.push(brackets[1]);
}

fn write_scalar(scalar: &(impl Serialize + ?Sized), out: &mut Vec<u8>) {
    serde_json::to_writer(out, scalar).expect("a scalar is written to memory");
}

/// Declares an enum that travels by its Java name. Unknown names, and all that is no name, read as the default, as
/// fastjson leaves a member it cannot read; ordinals are read too.
#[macro_export]
macro_rules! named {
    ($( $(#[$doc:meta])* pub enum $name:ident = $default:ident { $( $(#[$variant_doc:meta])* $variant:ident = $wire:literal ),* $(,)? } )*) => { $(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $( $(#[$variant_doc])* $variant ),* }

        impl $name {
            /// All values, at their ordinals.
            pub const ALL: &[$name] = &[ $( $name::$variant ),* ];

            /// The name on the wire.
            pub fn name(self) -> &'static str {
                match self { $( $name::$variant => $wire ),* }
            }

            /// The value with this name or ordinal.
            pub fn named(text: &str) -> Option<$name> {
                let by_name = $name::ALL.iter().find(|known| known.name().eq_ignore_ascii_case(text));
                by_name.or_else(|| $name::ALL.get(text.parse::<usize>().ok()?)).copied()
            }
        }

        impl Default for $name {
            fn default() -> $name {
                $name::$default
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str(self.name())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<$name, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(deserializer)?;
                Ok($name::named(&text).unwrap_or_default())
            }
        }
    )* };
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use std::collections::BTreeMap;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    #[derive(Default)]
    struct Sample {
        count: i64,
        flag: bool,
        ids: BTreeMap<i32, String>,
        maybe: Option<i32>,
        name: String,
        tags: Vec<String>,
    }

    #[test]
    fn what_fastjson_writes_is_read() {
        let text = br#"{"ids":{0:"a",'1':"b"},"name":'it',"count":"12","flag":1,"tags":null,"maybe":null,"other":[{}],}  "#;
        let sample: Sample = read(text).unwrap();
        assert_eq!(
            sample.ids,
            BTreeMap::from([(0, "a".to_owned()), (1, "b".to_owned())])
        );
        assert_eq!(
            (sample.count, sample.flag, sample.name.as_str(), sample.maybe),
            (12, true, "it", None)
        );
    }

    #[test]
    fn strings_take_numbers_and_booleans() {
        let sample: Sample = read(br#"{"name":7,"tags":[1,true,"x"],"flag":"TRUE"}"#).unwrap();
        assert_eq!(sample.name, "7");
        assert_eq!(sample.tags, ["1", "true", "x"]);
        assert!(sample.flag);
    }

    #[test]
    fn plain_keys_are_quoted_and_nulls_left_out() {
        let sample = Sample {
            ids: BTreeMap::from([(0, "a\"b".to_owned())]),
            ..Sample::default()
        };
        let text = String::from_utf8(write(&sample)).unwrap();
        assert_eq!(
            text,
            r#"{"count":0,"flag":false,"ids":{"0":"a\"b"},"name":"","tags":[]}"#
        );
    }

    #[test]
    fn deep_nesting_is_refused() {
        let deep = [b"{0:".repeat(100_000), b"[".repeat(100_000)].concat();
        assert!(read::<Sample>(&deep).is_err());
        assert!(read::<Sample>(&b"[".repeat(100_000)).is_err());
    }

    #[test]
    fn cut_text_is_refused() {
        let text = br#"{"ids":{0:"a",{"b":1}:"b"},"name":"it\u00e4"}"#;
        for end in 0..text.len() {
            assert!(read::<Sample>(&text[..end]).is_err(), "{end} bytes were accepted");
        }
    }
}
