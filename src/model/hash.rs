//! Digests: of keys, of tariffs, of the journal's chain.

use std::fmt;
use std::hash::{Hash, Hasher};

use sha2::{Digest, Sha256};

use super::{AccountId, Asset, HoldId, OperationKey};

macro_rules! digest {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
        pub struct $name(pub [u8; $len]);

        impl Hash for $name {
            fn hash<H: Hasher>(&self, state: &mut H) {
                // As good as random already: its end tells two apart as well as all of it.
                let (_, end) = self.0.split_last_chunk().unwrap_or((&[], &[0; 8]));
                state.write_u64(u64::from_ne_bytes(*end));
            }
        }

        impl $name {
            /// The bytes.
            pub fn as_bytes(&self) -> &[u8] {
                &self.0
            }

            /// From exactly as many bytes as it has.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{self}")
            }
        }
    };
}

digest! {
    /// A link of an account's hash chain: SHA-256 over the previous link and an entry's canonical bytes.
    ChainHash, 32
}
digest! {
    /// What the ledger finds a caller's key by: the first 16 bytes of SHA-256 over account, class, scope and key, each
    /// with its length before it.
    KeyHash, 16
}
digest! {
    /// The first 16 bytes of SHA-256 over a command's arguments: the same key with other arguments is refused.
    ArgumentsHash, 16
}
digest! {
    /// Names the content of a tariff: the first 16 bytes of the SHA-256 of its canonical form.
    TariffHash, 16
}
digest! {
    /// Names the content of a price book: the first 16 bytes of SHA-256 over its models and their tariffs.
    BookHash, 16
}
digest! {
    /// Tells one call of reserve from another that names the same hold, so that only the caller whose call made the
    /// hold is told so.
    CallToken, 16
}
digest! {
    /// What an archive of entries is recognised by: SHA-256 over all of it but its last line.
    ArchiveDigest, 32
}
digest! {
    /// Names a ledger: drawn once, when its database is created.
    LedgerId, 16
}

impl KeyHash {
    /// The key of a hold. Of a request whose id says when it was made (a UUID of version 7, a ULID) the key begins with
    /// that time, in quarters of a second, so that the keys of a while lie together in an index.
    pub fn hold(account: &AccountId, hold: &HoldId) -> Self {
        let request = hold.request().as_str();
        let attempt = hold.attempt().to_be_bytes();
        let mut key = Self::of(account, b"hold", &[], &[request.as_bytes(), b"#", &attempt]);
        if let (Some(made), Some(beginning)) = (made_at(request), key.0.first_chunk_mut()) {
            *beginning = made;
        }
        key
    }

    /// The key of a deposit, grant, withdrawal, adjustment or write-off.
    pub fn money(account: &AccountId, key: &OperationKey) -> Self {
        Self::of(account, b"money", &[], &[key.as_str().as_bytes()])
    }

    /// The key of a refund of a hold.
    pub fn refund(account: &AccountId, hold: &HoldId, key: &OperationKey) -> Self {
        Self::of(account, b"refund", hold.to_string().as_bytes(), &[key.as_str().as_bytes()])
    }

    /// The key of a correction of a hold.
    pub fn correct(account: &AccountId, hold: &HoldId, key: &OperationKey) -> Self {
        Self::of(account, b"correct", hold.to_string().as_bytes(), &[key.as_str().as_bytes()])
    }

    fn of(account: &AccountId, class: &[u8], scope: &[u8], key: &[&[u8]]) -> Self {
        let mut hasher = Sha256::new();
        for part in [account.as_str().as_bytes(), class, scope] {
            hasher.update(length(part.len()));
            hasher.update(part);
        }
        hasher.update(length(key.iter().map(|part| part.len()).sum()));
        key.iter().for_each(|part| hasher.update(part));
        Self(first_half(hasher))
    }
}

impl ArgumentsHash {
    /// The hash of canonical argument bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(bytes);
        Self(first_half(hasher))
    }
}

impl TariffHash {
    /// The hash of a tariff's canonical bytes.
    pub fn of(canonical: &[u8]) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(canonical);
        Self(first_half(hasher))
    }
}

impl BookHash {
    /// The hash of a book with these models, in order.
    pub fn of<'a>(models: impl IntoIterator<Item = (&'a str, TariffHash)>) -> Self {
        let mut hasher = Sha256::new();
        for (model, tariff) in models {
            hasher.update(length(model.len()));
            hasher.update(model.as_bytes());
            hasher.update(tariff.0);
        }
        Self(first_half(hasher))
    }
}

impl ChainHash {
    /// What an account's first entry follows: a digest of the ledger, the account and its asset.
    pub fn genesis(ledger: LedgerId, account: &AccountId, asset: Asset) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(b"prepaid/1");
        hasher.update(ledger.0);
        for part in [account.as_str(), asset.code()] {
            hasher.update(length(part.len()));
            hasher.update(part.as_bytes());
        }
        hasher.update([asset.scale()]);
        Self(hasher.finalize().into())
    }

    /// The link after this one, over an entry's canonical bytes.
    #[must_use]
    pub fn next(&self, canonical: &[u8]) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(self.0);
        hasher.update(canonical);
        Self(hasher.finalize().into())
    }
}

/// When a request was made, if its id says so: bits 8 to 39 of the milliseconds since 1970. They turn over every 35
/// years, which costs nothing but order.
fn made_at(request: &str) -> Option<[u8; 4]> {
    let id = match request.len() {
        // RFC 9562, section 5.7, with hyphens or without.
        32 | 36 => uuid::Uuid::try_parse(request).ok().filter(|id| id.get_version_num() == 7)?.as_u128(),
        // github.com/ulid/spec: base 32 without I, L, O and U.
        26 => request.bytes().try_fold(0, |id, letter| Some(id << 5 | base32_digit(letter)?))?,
        _ => return None,
    };
    (id >> 88).to_be_bytes().last_chunk().copied()
}

fn base32_digit(letter: u8) -> Option<u128> {
    const DIGITS: &[u8] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let digit = DIGITS.iter().position(|digit| digit.eq_ignore_ascii_case(&letter))?;
    u128::try_from(digit).ok()
}

fn length(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).unwrap_or(u32::MAX).to_be_bytes()
}

fn first_half(hasher: Sha256) -> [u8; 16] {
    let digest: [u8; 32] = hasher.finalize().into();
    let mut half = [0; 16];
    half.iter_mut().zip(digest).for_each(|(slot, byte)| *slot = byte);
    half
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_begin_with_the_time_lead_to_keys_that_do() {
        // The examples of RFC 9562, appendix A.6, and of github.com/ulid/spec.
        let uuid = "017F22E2-79B0-7CC3-98C4-DC0C0C07398F";
        assert_eq!(made_at(uuid), Some([0x7f, 0x22, 0xe2, 0x79]));
        assert_eq!(made_at(&uuid.replace('-', "").to_lowercase()), Some([0x7f, 0x22, 0xe2, 0x79]));
        let ulid = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
        assert_eq!(made_at(ulid), Some([0x56, 0x3e, 0x3a, 0xb5]));
        assert_eq!(made_at(&ulid.to_lowercase()), Some([0x56, 0x3e, 0x3a, 0xb5]));

        let account = AccountId::new("alice").unwrap();
        let key = |request: &str, attempt| KeyHash::hold(&account, &HoldId::new(request, attempt).unwrap()).0;
        assert!(key(uuid, 1).starts_with(&[0x7f, 0x22, 0xe2, 0x79]));
        assert_ne!(key(uuid, 1), key(uuid, 2));
        assert_ne!(key(uuid, 1)[4..], key("017F22E2-79B0-7CC3-98C4-DC0C0C07398E", 1)[4..]);
    }

    #[test]
    fn other_ids_say_nothing_of_time() {
        let version_4 = "919108f7-52d1-4320-9bac-f847db4148a8";
        for id in [version_4, "", "request-1", "01ARZ3NDEKTSV4RRFFQ69G5FAU", "01ARZ3NDEKTSV4RRFFQ69G5FAÉ"] {
            assert_eq!(made_at(id), None, "{id}");
        }
    }
}
