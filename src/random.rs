//! The one home of randomness.

use std::sync::{Mutex, PoisonError};
use std::{fmt, io};

/// 16 random bytes of the operating system's.
pub(crate) fn bytes() -> io::Result<[u8; 16]> {
    drawn()
}

/// Random bytes for somebody who needs many: the operating system is asked once for 256 times 16 of them. A ledger has
/// one of its own, and is of no use to a fork of its process: no two draw the same.
#[derive(Default)]
pub(crate) struct Supply(Mutex<Vec<[u8; 16]>>);

impl Supply {
    /// 16 of them, that nobody else gets.
    pub(crate) fn draw(&self) -> io::Result<[u8; 16]> {
        let mut left = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if left.is_empty() {
            left.extend_from_slice(drawn::<4096>()?.as_chunks().0);
        }
        left.pop().ok_or_else(|| io::Error::other("no random bytes were left"))
    }
}

impl fmt::Debug for Supply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supply").finish_non_exhaustive()
    }
}

#[expect(clippy::disallowed_methods, reason = "the one home of randomness")]
fn drawn<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(format!("no random bytes to be had: {error}")))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_bytes_are_drawn_twice() {
        let supply = Supply::default();
        let drawn = std::thread::scope(|scope| {
            let many = || (0..1_000).map(|_| supply.draw().unwrap()).collect::<Vec<_>>();
            let threads = [scope.spawn(many), scope.spawn(many), scope.spawn(many)];
            threads.map(|thread| thread.join().unwrap()).concat()
        });
        assert_eq!(drawn.len(), 3_000);
        assert!(!drawn.contains(&[0; 16]));
        assert_eq!(HashSet::<[u8; 16]>::from_iter(drawn).len(), 3_000);
    }
}
