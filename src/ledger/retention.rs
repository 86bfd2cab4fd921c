//! Retention: archiving an account's past, and letting go of it.

use std::collections::HashSet;
use std::io::Write;
use std::sync::Arc;

use super::{AccountHandle, Receipt};
use crate::error::{Error, ErrorKind, Result};
use crate::journal::archive::{Archive, Archivist};
use crate::kernel::Action;
use crate::model::{Account, Body, Checkpoint, Entry, HoldId, LotKey, Timestamp, WindowKey};

/// Entries read, or pruned, at once.
const PAGE: u32 = 500;

impl AccountHandle {
    /// Writes the account's past before `before` to `out` as an [archive](crate::journal::archive), and changes nothing.
    /// It begins where the last archive that has a [checkpoint](Self::checkpoint) ended, and ends before the first entry
    /// of any hold that is not final, so it may end earlier than was asked, or there may be nothing to archive.
    ///
    /// `out` is written page by page on the calling task and flushed, not synced: make the archive durable, and better
    /// [verify](crate::journal::archive::verify) it where it is kept, before its checkpoint is made. A future that is
    /// dropped leaves a part of an archive, which does not verify.
    ///
    /// # Errors
    /// [`Refusal::UnknownAccount`](crate::Refusal::UnknownAccount); `Unavailable`, also when `out` cannot be written;
    /// `Corrupt` when the journal does not agree with itself: run an [audit](crate::Ledger::audit).
    pub async fn archive(&self, before: Timestamp, out: impl Write + Send) -> Result<Option<Archive>> {
        let account = self.view().await?;
        let end = self.oldest_live().await?.map_or(before, |live| live.min(before));
        let base = self.last_checkpoint(&account).await?;
        let mut after = account.past.archived;
        let mut out = Some(out);
        let mut archivist = None;
        while after < account.seq {
            let page = self.journal(after, PAGE).await?;
            let old = page.iter().take_while(|entry| entry.at < end && entry.seq <= account.seq);
            let before = after;
            for entry in old {
                if let Some(out) = out.take() {
                    let begun = Archivist::begin(self.ledger().id(), &account.id, account.asset, base.as_ref(), out)?;
                    archivist = Some(begun);
                }
                archivist.as_mut().map_or(Ok(()), |archivist| archivist.write(entry))?;
                after = entry.seq;
            }
            if page.last().is_none_or(|last| last.seq != after) || after == before {
                break;
            }
        }
        archivist.map(Archivist::finish).transpose()
    }

    /// Closes the account's books over what an archive has, then writes a `checkpoint` entry: how the account stood at the
    /// end of the archive, and the archive's digest. No entry goes yet; budgets' windows that ended before, and lots that
    /// were used up and expired before, do.
    ///
    /// From then on whatever was final at the end of the archive is [`TooOld`](crate::Refusal::TooOld): it is not
    /// refunded, corrected or answered again, and its names and keys are never taken for new. Repeated with the same
    /// archive it changes nothing. Make the archive durable first.
    ///
    /// # Errors
    /// `InvalidInput` when the archive is another account's or ledger's;
    /// [`Refusal::ArchiveMismatch`](crate::Refusal::ArchiveMismatch) when it does not fit what the ledger has (any more):
    /// archive anew.
    pub async fn checkpoint(&self, archive: &Archive) -> Result<Receipt> {
        if (archive.account(), archive.ledger()) != (self.id(), self.ledger().id()) {
            let message = format!("archive is another account's or ledger's: account={}", archive.account());
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        // Closed books first: then no hold that is final at the cut gets another entry, and those that have one after it
        // can be found at leisure.
        let until = archive.until();
        self.run(Action::CloseBooks { until }).await?;
        let later = self.named_after(until).await?;
        let account = self.view().await?;
        let (checkpoint, (lots, windows)) = archive.checkpoint(&later);
        let number = account.number;
        let lots = lots.into_iter().map(|lot| LotKey { account: number, lot }).collect();
        let key = |(budget, start)| WindowKey { account: number, budget, start };
        let windows = windows.into_iter().map(key).collect();
        let (after, checkpoint) = (archive.after(), Arc::new(checkpoint));
        self.run(Action::Checkpoint { after, checkpoint, lots, windows }).await
    }

    /// Lets go of the entries up to the account's last [checkpoint](Self::checkpoint)'s cut, and of the holds that have no
    /// later ones, in small transactions. Answers how many entries went. It may be interrupted and called again.
    ///
    /// The journal is read from the first entry that is left on; below it reading answers
    /// [`Pruned`](crate::ErrorKind::Pruned), and so does the feed below the last entry of its bucket that went.
    ///
    /// # Errors
    /// `Internal` where the database's role may not remove rows (see [the manual](crate::manual::retention));
    /// `Unavailable`, `OutcomeUnknown`: call it again.
    pub async fn prune(&self) -> Result<u64> {
        let mut gone = 0_u64;
        loop {
            let past = self.view().await?.past;
            if past.pruned >= past.archived {
                return Ok(gone);
            }
            // Another process may prune it too: then the next ones are further on.
            let mut entries = self.ledger().engine().store().journal(self.id(), past.pruned, PAGE).await?;
            entries.retain(|entry| entry.seq <= past.archived);
            if entries.is_empty() {
                continue;
            }
            let count = u64::try_from(entries.len()).unwrap_or(u64::MAX);
            self.run(Action::Prune { entries: entries.into() }).await?;
            gone = gone.saturating_add(count);
        }
    }

    /// When the oldest hold that is not final was made.
    async fn oldest_live(&self) -> Result<Option<Timestamp>> {
        let (mut oldest, mut after) = (None, 0);
        loop {
            let page = self.holds(after, PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(oldest);
            };
            after = last.number;
            oldest = page.iter().map(|hold| hold.opened_at).chain(oldest).min();
        }
    }

    /// The checkpoint the account's next archive follows.
    async fn last_checkpoint(&self, account: &Account) -> Result<Option<Arc<Checkpoint>>> {
        let Some(before) = account.past.checkpoint.checked_sub(1) else {
            return Ok(None);
        };
        let store = self.ledger().engine().store();
        let found = store.feed(store.bucket(self.id()), before, 1).await?;
        match found.first().map(Entry::body) {
            Some(Ok(Body::Checkpoint(checkpoint))) if checkpoint.cut == account.past.archived => Ok(Some(checkpoint)),
            _ => Err(Error::new(ErrorKind::Corrupt, format!("checkpoint is missing, audit: account={}", account.id))),
        }
    }

    /// The holds that have entries after number `after`.
    async fn named_after(&self, mut after: u64) -> Result<HashSet<HoldId>> {
        let mut named = HashSet::new();
        loop {
            let page = self.journal(after, PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(named);
            };
            after = last.seq;
            named.extend(page.into_iter().filter_map(|entry| entry.hold));
        }
    }
}
