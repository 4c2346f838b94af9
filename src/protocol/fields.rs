//! The `extFields` of a header: reading them without copies, writing them as strings, and the `headers!` macro that
//! declares one struct per request or answer header.
//!
//! Real clients put numbers and booleans where Java writes strings (C++, Node); [`Fields`] holds the text of any scalar.

use std::ops::Range;

use smallvec::SmallVec;

/// Most fields a header may carry; more is a malformed frame.
pub const FIELDS_MAX: usize = 256;

/// Where a text lies in [`Fields::text`]. Eight bytes, because a frame holds many and is moved often.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    start: u32,
    end: u32,
}

impl From<Range<usize>> for Span {
    /// Headers are shorter than 16 MiB, so that 32 bits are enough.
    fn from(range: Range<usize>) -> Span {
        Span {
            start: range.start as u32,
            end: range.end as u32,
        }
    }
}

impl Span {
    fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// Room for the texts of a usual answer, so that they are put without a second allocation.
const PUT_BYTES: usize = 224;

/// Named texts of one header. Keys are looked up by a scan: headers have few fields and the scan touches one line of cache.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    /// All names and values: a decoded header as it came and what was unescaped behind it, or what this side put.
    pub(super) text: String,
    pub(super) entries: SmallVec<[(Span, Span); 16]>,
}

impl Fields {
    /// The text of the field, `None` when absent or null.
    pub fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.entries.iter().find(|(key, _)| self.is(*key, name))?;
        Some(self.at(*value))
    }

    /// Like [`Fields::get`], with the search beginning at `next`, which is moved behind the hit: reading fields in the
    /// order they were written looks at each once.
    pub fn get_from(&self, next: &mut usize, name: &str) -> Option<&str> {
        let (before, from) = self.entries.split_at((*next).min(self.entries.len()));
        let found = from
            .iter()
            .position(|(key, _)| self.is(*key, name))
            .map(|at| at + before.len());
        let at = found.or_else(|| before.iter().position(|(key, _)| self.is(*key, name)))?;
        *next = at + 1;
        Some(self.at(self.entries[at].1))
    }

    /// All fields in the order they came.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries
            .iter()
            .map(|(key, value)| (self.at(*key), self.at(*value)))
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Adds a field.
    pub fn put(&mut self, name: &str, value: impl FieldText) {
        if self.text.capacity() == 0 {
            self.text.reserve(PUT_BYTES);
        }
        let start = self.text.len();
        self.text.push_str(name);
        let middle = self.text.len();
        value.append_to(&mut self.text);
        let end = self.text.len();
        self.entries.push(((start..middle).into(), (middle..end).into()));
    }

    fn at(&self, span: Span) -> &str {
        &self.text[span.range()]
    }

    fn is(&self, key: Span, name: &str) -> bool {
        &self.text.as_bytes()[key.range()] == name.as_bytes()
    }
}

/// A value as the text of a field: decimal numbers, `true`/`false`, strings as they are.
pub trait FieldText {
    fn append_to(&self, out: &mut String);
}

impl FieldText for &str {
    fn append_to(&self, out: &mut String) {
        out.push_str(self);
    }
}
impl FieldText for String {
    fn append_to(&self, out: &mut String) {
        out.push_str(self);
    }
}
impl FieldText for bool {
    fn append_to(&self, out: &mut String) {
        out.push_str(if *self { "true" } else { "false" });
    }
}
macro_rules! decimal_text {
    ($($number:ty)*) => { $(impl FieldText for $number {
        fn append_to(&self, out: &mut String) {
            out.push_str(itoa::Buffer::new().format(*self));
        }
    })* };
}
decimal_text!(i32 i64 u32 u64 usize);

/// A header field that lacks or cannot be read: answered with INVALID_PARAMETER (29).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadField {
    #[error("the header field {0} is missing")]
    Missing(&'static str),
    #[error("the header field {name} is {value:?}, expected {expected}")]
    Unreadable {
        name: &'static str,
        value: String,
        expected: &'static str,
    },
}

/// A type that a header field can have.
pub trait FieldValue<'a>: Sized {
    /// `None` is an absent field.
    fn parse(name: &'static str, text: Option<&'a str>) -> Result<Self, BadField>;
    fn put(&self, name: &'static str, fields: &mut Fields);
}

impl<'a> FieldValue<'a> for &'a str {
    fn parse(name: &'static str, text: Option<&'a str>) -> Result<Self, BadField> {
        text.ok_or(BadField::Missing(name))
    }
    fn put(&self, name: &'static str, fields: &mut Fields) {
        fields.put(name, *self);
    }
}
impl<'a> FieldValue<'a> for String {
    fn parse(name: &'static str, text: Option<&'a str>) -> Result<Self, BadField> {
        text.map(str::to_owned).ok_or(BadField::Missing(name))
    }
    fn put(&self, name: &'static str, fields: &mut Fields) {
        fields.put(name, self.as_str());
    }
}
impl<'a> FieldValue<'a> for bool {
    /// Java reads `true` in any case and takes all else as false; the C++ client sends `1` for true.
    fn parse(name: &'static str, text: Option<&'a str>) -> Result<Self, BadField> {
        let text = text.ok_or(BadField::Missing(name))?;
        Ok(text.eq_ignore_ascii_case("true") || text == "1")
    }
    fn put(&self, name: &'static str, fields: &mut Fields) {
        fields.put(name, *self);
    }
}
macro_rules! decimal_field {
    ($($number:ty = $expected:literal)*) => { $(impl<'a> FieldValue<'a> for $number {
        fn parse(name: &'static str, text: Option<&'a str>) -> Result<Self, BadField> {
            let text = text.ok_or(BadField::Missing(name))?;
            text.parse().or_else(|_| text.trim().parse()).map_err(|_| BadField::Unreadable { name, value: text.chars().take(64).collect(), expected: $expected })
        }
        fn put(&self, name: &'static str, fields: &mut Fields) {
            fields.put(name, *self);
        }
    })* };
}
decimal_field!(i32 = "a 32-bit number" i64 = "a 64-bit number");

impl<'a, T: FieldValue<'a>> FieldValue<'a> for Option<T> {
    fn parse(name: &'static str, text: Option<&'a str>) -> Result<Self, BadField> {
        match text {
            None => Ok(None),
            some => T::parse(name, some).map(Some),
        }
    }
    fn put(&self, name: &'static str, fields: &mut Fields) {
        if let Some(value) = self {
            value.put(name, fields);
        }
    }
}

/// A header struct: what a family of requests or answers carries in `extFields`. Its texts may be borrowed from the frame.
pub trait Header<'a>: Sized {
    /// Reads the struct from a decoded frame's fields.
    fn read(fields: &'a Fields) -> Result<Self, BadField>;
    /// Writes every present member as a field.
    fn write(&self, fields: &mut Fields);
}

/// Declares header structs: `"wireName" member: Type,` or `"wireName" member: Type = default,` for a field that older or
/// foreign clients leave out. A struct with the lifetime `'a` borrows its texts from the frame.
#[macro_export]
macro_rules! headers {
    ($( $(#[$doc:meta])* pub struct $name:ident $(<$life:lifetime>)? { $( $(#[$member_doc:meta])* $wire:literal $member:ident : $kind:ty $(= $default:expr)? ),* $(,)? } )*) => { $(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name $(<$life>)? { $( $(#[$member_doc])* pub $member: $kind ),* }

        $crate::headers!(@header $name $(<$life>)? { $( $wire $member : $kind $(= $default)? ),* });
    )* };
    (@header $name:ident { $($body:tt)* }) => {
        impl<'a> $crate::protocol::fields::Header<'a> for $name { $crate::headers!(@methods 'a $name { $($body)* }); }
    };
    (@header $name:ident <$life:lifetime> { $($body:tt)* }) => {
        impl<$life> $crate::protocol::fields::Header<$life> for $name<$life> { $crate::headers!(@methods $life $name { $($body)* }); }
    };
    (@methods $life:lifetime $name:ident { $( $wire:literal $member:ident : $kind:ty $(= $default:expr)? ),* }) => {
        fn read(fields: &$life $crate::protocol::fields::Fields) -> Result<Self, $crate::protocol::fields::BadField> {
            Ok($name { $( $member: $crate::headers!(@member fields $wire $kind $(= $default)?) ),* })
        }
        fn write(&self, fields: &mut $crate::protocol::fields::Fields) {
            $( $crate::protocol::fields::FieldValue::put(&self.$member, $wire, fields); )*
        }
    };
    (@member $fields:ident $wire:literal $kind:ty) => {
        <$kind as $crate::protocol::fields::FieldValue>::parse($wire, $fields.get($wire))?
    };
    (@member $fields:ident $wire:literal $kind:ty = $default:expr) => {
        <Option<$kind> as $crate::protocol::fields::FieldValue>::parse($wire, $fields.get($wire))?.unwrap_or_else(|| $default.into())
    };
}
