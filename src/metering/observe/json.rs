//! Lenient JSON: what is missing, odd or new costs its own field and nothing else.

use std::borrow::Cow;
use std::fmt;

use memchr::memchr;
use serde::de::Visitor;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::tokens::Remark;

/// Reads `json` as `T` if it is an object. (A derived reader would take a list as well, field by field.)
pub(super) fn object<'a, T: Deserialize<'a>>(json: &'a str) -> Option<T> {
    let is_object = json.trim_start().starts_with('{');
    is_object.then(|| serde_json::from_str(json).ok()).flatten()
}

/// An object; anything else is as good as none.
#[derive(Debug)]
pub(super) struct Object<T>(pub(super) Option<T>);

/// A number or a truth value; anything else is as good as none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scalar<T>(pub(super) Option<T>);

/// Objects in a list, or one alone; anything else is left out.
#[derive(Debug)]
pub(super) struct List<T>(pub(super) Vec<T>);

/// Something that is there, whatever it is, and neither null nor an empty list.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Present(pub(super) bool);

impl<T> Default for Object<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Default for Scalar<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        Ok(Self(object(raw.get())))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Scalar<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        Ok(Self(serde_json::from_str(raw.get()).ok()))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        if !raw.get().starts_with('[') {
            return Ok(Self(object(raw.get()).into_iter().collect()));
        }
        let items: Vec<Object<T>> = serde_json::from_str(raw.get()).unwrap_or_default();
        Ok(Self(items.into_iter().filter_map(|item| item.0).collect()))
    }
}

impl<'de> Deserialize<'de> for Present {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        Ok(Self(!matches!(raw.get(), "null" | "[]")))
    }
}

/// A string; anything else is as good as none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Text<'a>(pub(super) Option<Cow<'a, str>>);

impl<'a> Text<'a> {
    fn of_lexeme(lexeme: &'a str) -> Self {
        let Some(inner) = lexeme.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
            return Self(None);
        };
        match memchr(b'\\', inner.as_bytes()) {
            None => Self(Some(Cow::Borrowed(inner))),
            Some(_) => {
                // Half a surrogate pair, where a provider split one over two events, is no UTF-8: it is replaced.
                let unescaped = serde_json::from_str::<Unescaped>(lexeme).ok();
                Self(unescaped.map(|Unescaped(bytes)| Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())))
            }
        }
    }

    pub(super) fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.as_str().is_empty()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        Ok(Self::of_lexeme(raw.get()))
    }
}

/// Strings in a list; what is none is empty.
#[derive(Debug, Default)]
pub(super) struct Texts<'a>(pub(super) Vec<Text<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for Texts<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        Ok(Self(serde_json::from_str(raw.get()).unwrap_or_default()))
    }
}

/// The bytes of a string; half surrogate pairs are allowed.
struct Unescaped(Vec<u8>);

impl<'de> Deserialize<'de> for Unescaped {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;

        impl Visitor<'_> for Bytes {
            type Value = Unescaped;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Unescaped, E> {
                Ok(Unescaped(bytes.to_vec()))
            }
        }

        deserializer.deserialize_bytes(Bytes)
    }
}

/// Content that is a string, or a list of parts that are text or thinking; anything else is empty.
#[derive(Debug, Default)]
pub(super) struct Content<'a>(pub(super) Vec<Part<'a>>);

/// A piece of content.
#[derive(Debug)]
pub(super) struct Part<'a> {
    pub(super) text: Text<'a>,
    pub(super) is_reasoning: bool,
}

#[derive(Debug, Deserialize)]
struct PartFields<'a> {
    #[serde(borrow, default)]
    text: Text<'a>,
    #[serde(borrow, default)]
    thinking: Thought<'a>,
}

/// A thought: a string, or a list of parts that are text. It is no [`Content`]: each reader starts a parser of its own,
/// so a type that held itself would be read as deep as it is nested, past the parser's limit and the end of the stack.
#[derive(Debug, Default)]
struct Thought<'a>(Vec<Text<'a>>);

#[derive(Debug, Deserialize)]
struct ThoughtFields<'a> {
    #[serde(borrow, default)]
    text: Text<'a>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Thought<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        let lexeme = raw.get();
        if !lexeme.starts_with('[') {
            return Ok(Self(vec![Text::of_lexeme(lexeme)]));
        }
        let list: List<ThoughtFields<'a>> = serde_json::from_str(lexeme).unwrap_or_default();
        Ok(Self(list.0.into_iter().map(|fields| fields.text).collect()))
    }
}

impl Content<'_> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|part| part.text.is_empty())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Content<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        let lexeme = raw.get();
        if !lexeme.starts_with('[') {
            return Ok(Self(vec![Part { text: Text::of_lexeme(lexeme), is_reasoning: false }]));
        }
        let list: List<PartFields<'a>> = serde_json::from_str(lexeme).unwrap_or_default();
        let mut parts = Vec::new();
        for fields in list.0 {
            parts.push(Part { text: fields.text, is_reasoning: false });
            parts.extend(fields.thinking.0.into_iter().map(|text| Part { text, is_reasoning: true }));
        }
        Ok(Self(parts))
    }
}

/// No response has used more tokens of a class than this; a larger number is no count of tokens.
const COUNT_MAX: u64 = 1_000_000_000;

/// A provider's number of tokens, whatever it wrote there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Count {
    /// Not there, or null.
    #[default]
    Missing,
    /// A count.
    Is(u64),
    /// Negative, fractional, or no number.
    Unreadable,
    /// More than anything can have used.
    Huge,
}

impl Count {
    /// The lexeme decides, so that no number passes through a float.
    fn of_lexeme(lexeme: &str) -> Self {
        // `12.0` is how some write 12.
        let whole = match lexeme.split_once('.') {
            Some((whole, fraction)) if fraction.bytes().all(|digit| digit == b'0') => whole,
            Some(_) => return Self::Unreadable,
            None => lexeme,
        };
        if whole == "null" {
            return Self::Missing;
        }
        if whole.is_empty() || !whole.bytes().all(|digit| digit.is_ascii_digit()) {
            return Self::Unreadable;
        }
        match whole.parse() {
            Ok(count) if count <= COUNT_MAX => Self::Is(count),
            Ok(_) | Err(_) => Self::Huge,
        }
    }

    /// The count, if it is one; what is odd about it goes to `remark`.
    pub(super) fn read(self, remark: &mut impl FnMut(Remark)) -> Option<u64> {
        match self {
            Self::Missing => None,
            Self::Is(count) => Some(count),
            Self::Unreadable => {
                remark(Remark::UnreadableNumber);
                None
            }
            Self::Huge => {
                remark(Remark::HugeNumber);
                None
            }
        }
    }

    /// This count, or the other where this one is missing.
    pub(super) fn or(self, other: Self) -> Self {
        match self {
            Self::Missing => other,
            Self::Is(_) | Self::Unreadable | Self::Huge => self,
        }
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        Ok(Self::of_lexeme(raw.get()))
    }
}

#[cfg(test)]
mod tests {
    use super::{Count, Text};

    #[test]
    fn a_text_is_a_string_whatever_is_escaped_in_it() {
        for (lexeme, text) in [
            (r#""plain €""#, Some("plain €")),
            (r#""a\nb\u20ac\ud83d\ude00""#, Some("a\nb€😀")),
            (r#""half \ud83d""#, Some("half \u{fffd}\u{fffd}\u{fffd}")),
            ("7", None),
            ("null", None),
            (r#"["a"]"#, None),
        ] {
            assert_eq!(Text::of_lexeme(lexeme).0.as_deref(), text, "{lexeme}");
        }
    }

    #[test]
    fn a_count_is_a_whole_number_that_can_be() {
        for (lexeme, count) in [
            ("null", Count::Missing),
            ("0", Count::Is(0)),
            ("12.0", Count::Is(12)),
            ("1000000000", Count::Is(1_000_000_000)),
            ("1000000001", Count::Huge),
            ("99999999999999999999999", Count::Huge),
            ("-1", Count::Unreadable),
            ("1.5", Count::Unreadable),
            ("1e3", Count::Unreadable),
            ("\"12\"", Count::Unreadable),
            ("[12]", Count::Unreadable),
            ("true", Count::Unreadable),
        ] {
            assert_eq!(serde_json::from_str::<Count>(lexeme).unwrap(), count, "{lexeme}");
        }
    }
}
