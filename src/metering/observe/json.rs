//! Lenient JSON: what is missing, odd or new costs its own field and nothing else.

use std::borrow::Cow;
use std::fmt;
use std::iter;
use std::marker::PhantomData;

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
///
/// They are read when they are asked for, one after another, and never kept: an object of two bytes may be a thousand
/// times as large once it is read, and nothing limits how many of them an event has.
#[derive(Debug)]
pub(super) struct List<'a, T> {
    /// What is between the brackets, the closing one included; or the one alone.
    items: &'a str,
    read_as: PhantomData<fn() -> T>,
}

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

impl<T> Default for List<'_, T> {
    fn default() -> Self {
        Self { items: "", read_as: PhantomData }
    }
}

impl<'a, T: Deserialize<'a>> List<'a, T> {
    fn of_lexeme(lexeme: &'a str) -> Self {
        Self { items: lexeme.strip_prefix('[').unwrap_or(lexeme), read_as: PhantomData }
    }

    /// Reads the objects, from the first one on each time.
    pub(super) fn iter(&self) -> impl Iterator<Item = T> + use<'a, T> {
        values(self.items).filter_map(object)
    }
}

/// The values of a list, from its first one or the end of the list on.
fn values(mut rest: &str) -> impl Iterator<Item = &str> {
    iter::from_fn(move || {
        let mut reader = serde_json::Deserializer::from_str(rest).into_iter::<&RawValue>();
        let value = reader.next()?.ok()?;
        let behind = rest.get(reader.byte_offset()..).unwrap_or_default().trim_start();
        rest = behind.strip_prefix(',').unwrap_or_default();
        Some(value.get())
    })
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

impl<'de: 'a, 'a, T: Deserialize<'a>> Deserialize<'de> for List<'a, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        Ok(Self::of_lexeme(raw.get()))
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

/// Strings in a list; what is none is empty. They are read when they are asked for, as those of a [`List`] are.
#[derive(Debug, Default)]
pub(super) struct Texts<'a>(&'a str);

impl<'a> Texts<'a> {
    pub(super) fn iter(&self) -> impl Iterator<Item = Text<'a>> + use<'a> {
        values(self.0.strip_prefix('[').unwrap_or_default()).map(Text::of_lexeme)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Texts<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        Ok(Self(raw.get()))
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

/// Content that is a string, or a list of parts that are text or thinking; anything else is empty. It is read when it
/// is asked for, as a [`List`] is.
#[derive(Debug, Default)]
pub(super) struct Content<'a>(&'a str);

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
struct Thought<'a>(&'a str);

#[derive(Debug, Deserialize)]
struct ThoughtFields<'a> {
    #[serde(borrow, default)]
    text: Text<'a>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Thought<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        Ok(Self(raw.get()))
    }
}

impl<'a> Thought<'a> {
    fn texts(&self) -> impl Iterator<Item = Text<'a>> + use<'a> {
        let (text, list) = text_or_list::<ThoughtFields<'a>>(self.0);
        text.into_iter().chain(list.iter().map(|fields| fields.text))
    }
}

impl<'a> Content<'a> {
    /// Reads the parts, from the first one on each time.
    pub(super) fn iter(&self) -> impl Iterator<Item = Part<'a>> + use<'a> {
        let (text, list) = text_or_list::<PartFields<'a>>(self.0);
        let listed = list.iter().flat_map(|PartFields { text, thinking }| {
            let thoughts = thinking.texts().map(|text| Part { text, is_reasoning: true });
            iter::once(Part { text, is_reasoning: false }).chain(thoughts)
        });
        text.into_iter().map(|text| Part { text, is_reasoning: false }).chain(listed)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.iter().all(|part| part.text.is_empty())
    }
}

/// A text, or else a list.
fn text_or_list<'a, T: Deserialize<'a>>(lexeme: &'a str) -> (Option<Text<'a>>, List<'a, T>) {
    match lexeme.starts_with('[') {
        true => (None, List::of_lexeme(lexeme)),
        false => (Some(Text::of_lexeme(lexeme)), List::default()),
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Content<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        Ok(Self(raw.get()))
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
    use std::cell::Cell;

    use serde::Deserialize;
    use serde::de::IgnoredAny;

    use super::{Content, Count, List, Text, Texts};

    thread_local! {
        static READ: Cell<usize> = const { Cell::new(0) };
    }

    /// An object, and how many of its kind were read before it.
    #[derive(Debug)]
    struct Nth(usize);

    impl<'de> Deserialize<'de> for Nth {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            IgnoredAny::deserialize(deserializer).map(|_| Self(READ.replace(READ.get() + 1)))
        }
    }

    #[test]
    fn a_list_reads_no_item_before_it_is_asked_for() {
        let json = format!("[{}{{}}]", "{}, null , ".repeat(1_000));
        let list: List<'_, Nth> = serde_json::from_str(&json).unwrap();
        assert_eq!(READ.get(), 0);
        for (at, Nth(before)) in list.iter().enumerate() {
            assert_eq!((before, READ.get()), (at, at + 1));
        }
        assert_eq!(READ.get(), 1_001);
    }

    #[test]
    fn a_list_is_of_objects_or_one_alone() {
        #[derive(Deserialize)]
        struct Named<'a> {
            #[serde(borrow, default)]
            n: Text<'a>,
        }
        for (json, names) in [
            (r#"[{"n":"a"} , 7,"{}", [{"n":"b"}],null, {"n":"c,]"},{} ]"#, vec!["a", "c,]", ""]),
            (r#"[ {"n":"a"}]"#, vec!["a"]),
            (r#" {"n":"a"}"#, vec!["a"]),
            (r#"[{"n":"a","n":"b"},{"n":"c"}]"#, vec!["c"]),
            ("[]", vec![]),
            ("[ ]", vec![]),
            ("null", vec![]),
            ("7", vec![]),
            (r#""[{}]""#, vec![]),
        ] {
            let list: List<'_, Named<'_>> = serde_json::from_str(json).unwrap();
            let read: Vec<_> = list.iter().map(|named| named.n.as_str().to_owned()).collect();
            assert_eq!(read, names, "{json}");
        }
        assert_eq!(List::<'_, Named<'_>>::default().iter().count(), 0);
    }

    #[test]
    fn texts_and_contents_are_read_as_they_come() {
        let texts: Texts<'_> = serde_json::from_str(r#"["a", 7 ,null,"b"]"#).unwrap();
        assert_eq!(texts.iter().map(|text| text.as_str().to_owned()).collect::<Vec<_>>(), ["a", "", "", "b"]);
        assert_eq!(serde_json::from_str::<Texts<'_>>(r#""a""#).unwrap().iter().count(), 0);
        for (json, parts) in [
            (r#""a""#, vec![("a", false)]),
            (r#"[{"text":"a"},{"thinking":"b"}]"#, vec![("a", false), ("b", true)]),
            (r#"[{"thinking":[{"text":"a"},{"text":"b"}]}]"#, vec![("a", true), ("b", true)]),
            (r#"{"text":"a"}"#, vec![]),
            ("null", vec![]),
            ("[]", vec![]),
        ] {
            let content: Content<'_> = serde_json::from_str(json).unwrap();
            let read: Vec<_> = content.iter().map(|part| (part.text.as_str().to_owned(), part.is_reasoning)).collect();
            let read: Vec<_> =
                read.iter().map(|(text, is)| (text.as_str(), *is)).filter(|(text, _)| !text.is_empty()).collect();
            assert_eq!((content.is_empty(), read), (parts.is_empty(), parts), "{json}");
        }
    }

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
