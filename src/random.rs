//! The one home of randomness.

use std::io;

/// 16 random bytes of the operating system's.
#[expect(clippy::disallowed_methods, reason = "the one home of randomness")]
pub(crate) fn bytes() -> io::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(format!("no random bytes to be had: {error}")))?;
    Ok(bytes)
}
