//! A request answered with a code and a remark. It travels by `?` from wherever the reason is found to `serve.rs`, which
//! writes it as a frame.

use std::borrow::Cow;

use crate::protocol::code::response;
use crate::protocol::fastjson::BadBody;
use crate::protocol::fields::BadField;
use crate::protocol::frame::Frame;

/// Why a request is answered with no.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{remark} (code {code})")]
pub struct Refusal {
    /// One of [`response`].
    pub code: i32,
    /// What a person reads; Apache's words where clients or tools show or compare them.
    pub remark: Cow<'static, str>,
}

impl Refusal {
    pub fn new(code: i32, remark: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal {
            code,
            remark: remark.into(),
        }
    }
}

impl From<BadField> for Refusal {
    fn from(error: BadField) -> Refusal {
        Refusal::new(response::INVALID_PARAMETER, error.to_string())
    }
}

impl From<BadBody> for Refusal {
    fn from(error: BadBody) -> Refusal {
        Refusal::new(response::SYSTEM_ERROR, error.to_string())
    }
}

impl From<Refusal> for Frame {
    fn from(refusal: Refusal) -> Frame {
        Frame::refusal(refusal.code, refusal.remark)
    }
}
