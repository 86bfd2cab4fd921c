//! Names given by callers: validated once at the door, opaque ever after.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::asset::clip;

/// A name that is not 1 to 128 of `A-Z a-z 0-9 . _ : @ / + = -`. Nothing is trimmed, folded or normalised.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a valid {kind} (1 to 128 of A-Z a-z 0-9 . _ : @ / + = -): {input:?}")]
pub struct InvalidId {
    kind: &'static str,
    input: String,
}

const ID_BYTES_MAX: usize = 128;

fn validate(kind: &'static str, text: &str) -> Result<Arc<str>, InvalidId> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._:@/+=-".contains(&byte);
    if text.is_empty() || text.len() > ID_BYTES_MAX || !text.bytes().all(allowed) {
        return Err(InvalidId { kind, input: clip(text) });
    }
    Ok(Arc::from(text))
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes `text` over as it is.
            ///
            /// # Errors
            /// [`InvalidId`] naming the input when it is not 1 to 128 of `A-Z a-z 0-9 . _ : @ / + = -`.
            pub fn new(text: impl AsRef<str>) -> Result<Self, InvalidId> {
                validate($kind, text.as_ref()).map(Self)
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        impl TryFrom<&str> for $name {
            type Error = InvalidId;
            fn try_from(text: &str) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.as_str().to_owned()
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
    };
}

id! {
    /// One customer's prepaid money in one asset; the unit of ordering, hash chain and isolation.
    #[doc(alias = "wallet")]
    AccountId, "account id"
}
id! {
    /// What the caller calls one request; with an attempt number it names a hold.
    #[doc(alias = "trace id")]
    RequestId, "request id"
}
id! {
    /// Names one money operation, refund or correction, so that it happens once.
    #[doc(alias = "idempotency key")]
    OperationKey, "operation key"
}
id! {
    /// What a request counts towards: `key:prod`, `team:red`, `model:gpt-4o`.
    Scope, "scope"
}
id! {
    /// What revenue is split by, such as `openai/gpt-4o`.
    Label, "label"
}
id! {
    /// Names a model, as lots that are restricted to models know it: `gpt-4o`.
    ModelName, "model name"
}

/// Names a hold inside an account: the request and which attempt at it. Printed `abc123#1`.
///
/// The same attempt again is a replay; another attempt is a hold of its own. Attempts count from 1.
///
/// ```
/// use prepaid::HoldId;
///
/// let hold: HoldId = "req-7#2".parse()?;
/// assert_eq!((hold.request().as_str(), hold.attempt()), ("req-7", 2));
/// assert_eq!(hold.to_string(), "req-7#2");
/// # Ok::<(), prepaid::model::InvalidId>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HoldId {
    request: RequestId,
    attempt: u32,
}

impl HoldId {
    /// The hold of `attempt` (from 1) at `request`.
    ///
    /// # Errors
    /// [`InvalidId`] when the request is not a valid id or the attempt is zero.
    pub fn new(request: impl AsRef<str>, attempt: u32) -> Result<Self, InvalidId> {
        Self::of(RequestId::new(request)?, attempt)
    }

    /// The hold of `attempt` (from 1) at a request whose id is already valid.
    ///
    /// # Errors
    /// [`InvalidId`] when the attempt is zero.
    pub fn of(request: RequestId, attempt: u32) -> Result<Self, InvalidId> {
        if attempt == 0 {
            return Err(InvalidId { kind: "hold id, attempts count from 1", input: format!("{request}#0") });
        }
        Ok(Self { request, attempt })
    }

    /// The first attempt at a request.
    pub fn first(request: RequestId) -> Self {
        Self { request, attempt: 1 }
    }

    /// The request.
    pub fn request(&self) -> &RequestId {
        &self.request
    }

    /// Which attempt, from 1.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }
}

impl FromStr for HoldId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let error = || InvalidId { kind: "hold id, such as abc123#1", input: clip(text) };
        let (request, attempt) = text.rsplit_once('#').ok_or_else(error)?;
        let plain = attempt.bytes().all(|byte| byte.is_ascii_digit()) && !attempt.starts_with('0');
        let attempt = attempt.parse().ok().filter(|_| plain).ok_or_else(error)?;
        // The whole of it is named, or an empty request would be nothing to look for.
        Self::new(request, attempt).map_err(|_| error())
    }
}

impl TryFrom<String> for HoldId {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<HoldId> for String {
    fn from(id: HoldId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for HoldId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.request, self.attempt)
    }
}

impl fmt::Debug for HoldId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_outside_the_grammar_are_refused_by_name() {
        let long = "a".repeat(129);
        let huge = "x".repeat(1 << 20);
        let bad = [
            "",
            " ",
            "a b",
            "' OR 1=1--",
            "\"; DROP",
            "%",
            "a\0b",
            "a\r\nb",
            "\u{202e}a",
            "a\u{200d}b",
            "р",
            "é",
            "e\u{301}",
            "İ",
            "a#b",
            "{}",
            "a;b",
            "a,b",
            &long,
            &huge,
        ];
        for text in bad {
            let error = AccountId::new(text).unwrap_err().to_string();
            assert!(error.contains("account id") && error.len() < 400, "{error}");
        }
        for good in ["a", ".", "..", "team:red@x/y+z=-_", &"a".repeat(128)] {
            assert_eq!(AccountId::new(good).unwrap().as_str(), good);
        }
    }

    #[test]
    fn hold_ids_read_back() {
        for text in ["a#1", "x/y#4294967295"] {
            assert_eq!(text.parse::<HoldId>().unwrap().to_string(), text);
        }
        for bad in ["a", "a#", "a#0", "a#01", "a#-1", "a#4294967296", "#1", "a b#1", "a#1#", "a#+1"] {
            assert!(bad.parse::<HoldId>().is_err(), "{bad}");
        }
    }
}
