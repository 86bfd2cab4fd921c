//! Writing an archive, entry by entry, while judging it.

use std::io::Write;
use std::sync::Arc;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::Archive;
use super::line::{First, Last, Line};
use crate::error::{Error, ErrorKind, Result};
use crate::journal::audit::Audit;
use crate::journal::refold::Refolded;
use crate::model::{AccountId, ArchiveDigest, Asset, Checkpoint, Entry, LedgerId};

/// Writes the archive of one account.
pub(crate) struct Archivist<W> {
    out: W,
    digest: Sha256,
    audit: Audit,
    end: Refolded,
    archive: (LedgerId, AccountId, u64),
    entries: u64,
}

impl<W: Write> Archivist<W> {
    /// Begins an archive that follows a checkpoint, or the account's beginning.
    pub(crate) fn begin(
        ledger: LedgerId,
        account: &AccountId,
        asset: Asset,
        base: Option<&Arc<Checkpoint>>,
        out: W,
    ) -> Result<Self> {
        let after = base.map_or(0, |base| base.cut);
        let mut archivist = Self {
            out,
            digest: Sha256::new(),
            audit: Audit::default(),
            end: base.map_or_else(Refolded::default, |base| Refolded::of(account.as_str(), base)),
            archive: (ledger, account.clone(), after),
            entries: 0,
        };
        archivist.line(&First::new(ledger, account.clone(), asset, base))?;
        Ok(archivist)
    }

    /// Writes the next entry.
    pub(crate) fn write(&mut self, entry: &Entry) -> Result<()> {
        self.end.fold(self.archive.0, entry, &mut self.audit);
        self.entries = self.entries.saturating_add(1);
        self.line(&Line::of(entry))
    }

    /// Writes the last line.
    ///
    /// # Errors
    /// `Corrupt` when the entries are not what they should be: such a past must not be let go.
    pub(crate) fn finish(mut self) -> Result<Archive> {
        if !self.audit.is_clean() {
            let message = format!("journal is damaged, nothing of it may be pruned, audit: {}", self.audit);
            return Err(Error::new(ErrorKind::Corrupt, message));
        }
        let digest: [u8; 32] = self.digest.finalize_reset().into();
        let link = self.end.head.unwrap_or_default().0;
        self.line(&Last { until: self.end.seq, entries: self.entries, link, sha256: digest })?;
        self.out.flush().map_err(cannot_write)?;
        let (ledger, account, after) = self.archive;
        let digest = ArchiveDigest(digest);
        Ok(Archive { ledger, account, after, digest, entries: self.entries, end: self.end })
    }

    fn line(&mut self, line: &impl Serialize) -> Result<()> {
        let mut text = serde_json::to_vec(line).map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
        text.push(b'\n');
        self.digest.update(&text);
        self.out.write_all(&text).map_err(cannot_write)
    }
}

fn cannot_write(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, format!("archive cannot be written, nothing was changed: {error}"))
}
