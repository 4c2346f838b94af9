//! Frames as a whole.

use std::collections::BTreeMap;

use rmq::protocol::frame::{Encoding, Frame};
use serde_json::Value;

use crate::recordings::{self, Recorded};

/// The fields of a recorded header: any scalar as its text, null as absent.
fn recorded_fields(recorded: &Recorded, encoding: Encoding) -> BTreeMap<String, String> {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let fields = recorded.header["extFields"].as_object().into_iter().flatten();
    fields
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| (name.clone(), text(value)))
        // The binary header has no empty value.
        .filter(|(_, value)| encoding == Encoding::Json || !value.is_empty())
        .collect()
}

fn fields(frame: &Frame) -> BTreeMap<String, String> {
    frame
        .fields
        .iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[test]
fn every_recorded_header_is_read_as_its_sender_meant_it() {
    for recorded in recordings::all() {
        let frame = recorded.frame();
        let header = &recorded.header;
        assert_eq!(
            i64::from(frame.code),
            header["code"].as_i64().unwrap(),
            "{recorded}"
        );
        assert_eq!(
            i64::from(frame.opaque),
            header["opaque"].as_i64().unwrap(),
            "{recorded}"
        );
        assert_eq!(
            i64::from(frame.flag),
            header["flag"].as_i64().unwrap(),
            "{recorded}"
        );
        assert_eq!(
            i64::from(frame.version),
            header["version"].as_i64().unwrap(),
            "{recorded}"
        );
        if let Some(language) = header["language"].as_str() {
            assert_eq!(frame.language.name(), language, "{recorded}");
        }
        let remark = header["remark"].as_str().unwrap_or_default();
        assert_eq!(frame.remark.as_deref().unwrap_or_default(), remark, "{recorded}");
        assert_eq!(
            fields(&frame),
            recorded_fields(&recorded, frame.encoding),
            "{recorded}"
        );
    }
}

#[test]
fn every_recorded_frame_is_written_back_with_the_same_meaning() {
    for recorded in recordings::all() {
        let frame = recorded.frame();
        let written = frame.encode();
        let again = Frame::decode(written.clone()).unwrap_or_else(|error| panic!("{recorded}: {error}"));
        assert_eq!(fields(&again), fields(&frame), "{recorded}");
        assert_eq!(again.body.contiguous(), frame.body.contiguous(), "{recorded}");
        let numbers = |frame: &Frame| {
            (
                frame.code,
                frame.opaque,
                frame.flag,
                frame.version,
                frame.language,
            )
        };
        assert_eq!(numbers(&again), numbers(&frame), "{recorded}");
        assert_eq!(again.remark, frame.remark, "{recorded}");
        match frame.encoding {
            // The binary header has one spelling, but for empty values, which are the same as absent ones.
            Encoding::Binary => {
                assert_eq!(
                    written.len() + empty_values_len(&recorded),
                    recorded.bytes().len(),
                    "{recorded}"
                );
            }
            Encoding::Json => assert_is_strict(&written, &recorded),
        }
    }
}

/// Bytes that a binary header spends on fields with empty values.
fn empty_values_len(recorded: &Recorded) -> usize {
    let fields = recorded.header["extFields"].as_object().into_iter().flatten();
    fields
        .filter(|(_, value)| value.as_str() == Some(""))
        .map(|(name, _)| 2 + name.len() + 4)
        .sum()
}

/// C++ and Go read text members only, and no header that is not strict JSON.
fn assert_is_strict(written: &[u8], recorded: &Recorded) {
    let word = u32::from_be_bytes(written[4..8].try_into().unwrap()) as usize;
    let header: Value =
        serde_json::from_slice(&written[8..8 + word]).unwrap_or_else(|error| panic!("{recorded}: {error}"));
    for (name, value) in header["extFields"].as_object().into_iter().flatten() {
        assert!(value.is_string(), "{name} is {value}: {recorded}");
    }
}

/// A stream of frames is cut anywhere: what is there says how much is missing, never anything else.
#[test]
fn no_prefix_of_a_frame_is_taken_for_one() {
    for recorded in recordings::all().iter().step_by(37) {
        let whole = recorded.bytes();
        for end in 0..whole.len().min(200) {
            match Frame::check(&whole[..end]) {
                Ok(None) => assert!(end < 4, "{recorded}"),
                Ok(Some(len)) => assert_eq!(len, whole.len(), "{recorded}"),
                Err(error) => panic!("{error}: {recorded}"),
            }
        }
    }
}
