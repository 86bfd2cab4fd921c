//! Archives: an account's past as a file of JSON Lines that proves itself.
//!
//! An archive begins with a line that says whose it is and what it follows: the account's first link of the hash chain, or
//! the checkpoint of the archive before. Then comes a line for each entry, in order, with everything its link covers. The
//! last line names the last entry, its link, and the SHA-256 of all bytes before that line, which is also in the
//! [checkpoint](crate::model::Checkpoint) in the ledger.
//!
//! [`verify`] reads one alone, without any ledger: it recomputes the chain, adds the postings up, and judges every entry
//! as an [audit](crate::Ledger::audit) does.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use prepaid::{Asset, Ledger, Timestamp, journal::archive};
//!
//! let usd = Asset::USD;
//! let alice = Ledger::open("memory:").await?.account("alice")?;
//! alice.open().await?;
//! alice.deposit("payment-1", usd.parse("5")?).await?;
//! # let (mut file, cut) = (Vec::new(), Timestamp::from_micros(i64::MAX));
//!
//! // Everything before `cut`, into a file that is then made durable and read back.
//! let archived = alice.archive(cut, &mut file).await?.expect("there is something to archive");
//! let verified = archive::verify(&file[..])?;
//! assert_eq!((verified.until, verified.digest), (archived.until(), archived.digest()));
//!
//! // Only then the ledger lets go of it.
//! alice.checkpoint(&archived).await?;
//! assert_eq!(alice.prune().await?, 2);
//! # Ok(()) }
//! ```

mod line;
mod read;
mod write;

use crate::model::{AccountId, ArchiveDigest, Asset, Books, ChainHash, Checkpoint, LedgerId};

pub use read::verify;
pub(crate) use write::Archivist;

use super::refold::Refolded;

/// An archive that was written, and how the account stands at its end.
#[derive(Debug)]
pub struct Archive {
    ledger: LedgerId,
    account: AccountId,
    after: u64,
    digest: ArchiveDigest,
    entries: u64,
    end: Refolded,
}

/// What an archive turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verified {
    /// Which ledger's.
    pub ledger: LedgerId,
    /// Whose.
    pub account: AccountId,
    /// What its amounts are amounts of.
    pub asset: Asset,
    /// The entry it follows; 0: it begins with the account's first.
    pub after: u64,
    /// The last entry it has.
    pub until: u64,
    /// How many it has.
    pub entries: u64,
    /// The link of the hash chain it follows, and the one it ends with.
    pub links: (ChainHash, ChainHash),
    /// The totals after its last entry.
    pub books: Books,
    /// What the checkpoint in the ledger names it by.
    pub digest: ArchiveDigest,
}

/// Why something is no archive, or not a whole and true one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("archive is damaged at line {line}: {reason}")]
#[non_exhaustive]
pub struct InvalidArchive {
    /// The line, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub reason: String,
}

impl Archive {
    /// Which ledger's.
    pub fn ledger(&self) -> LedgerId {
        self.ledger
    }

    /// Whose.
    pub fn account(&self) -> &AccountId {
        &self.account
    }

    /// The entry it follows; 0: it begins with the account's first.
    pub fn after(&self) -> u64 {
        self.after
    }

    /// The last entry it has: the cut.
    pub fn until(&self) -> u64 {
        self.end.seq
    }

    /// How many entries it has.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// SHA-256 of all of it but its last line.
    pub fn digest(&self) -> ArchiveDigest {
        self.digest
    }

    /// How the account stood at the cut, if these of its holds have entries after it; and the lots and windows that were
    /// over.
    pub(crate) fn checkpoint(
        &self,
        later: &std::collections::HashSet<crate::model::HoldId>,
    ) -> (Checkpoint, super::refold::GoneCredit) {
        self.end.stand(later, self.digest)
    }
}
