//! Reading an archive back, believing nothing.

use std::io::{BufRead, Read};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::line::{FORM, First, Last, Line};
use super::{InvalidArchive, Verified};
use crate::journal::audit::Audit;
use crate::journal::refold::Refolded;
use crate::model::{ArchiveDigest, Body, ChainHash, Checkpoint, Entry, LedgerId};

/// The longest line that is read. Entries take a few KiB; a checkpoint may name thousands of holds.
const LINE_BYTES_MAX: u64 = 64 << 20;

/// Verifies an archive alone: its form, its digest, the hash chain from the account's beginning or from the checkpoint it
/// follows, postings that sum to zero, balances after every entry, and every hold, lot and window.
///
/// That it is *this* account's past, and not another one that is true in itself, is for its digest and links to say:
/// compare them with the checkpoint in the ledger, or with the archive that follows.
///
/// # Errors
/// [`InvalidArchive`] with the first line that is wrong, and what is wrong with it.
pub fn verify(archive: impl BufRead) -> Result<Verified, InvalidArchive> {
    let mut lines = Lines { archive, digest: Sha256::new(), before: Sha256::new(), number: 0 };
    let first: First = lines.parse_next()?.ok_or_else(|| lines.wrong("is empty"))?;
    if first.form != FORM {
        return Err(lines.wrong(format!("form is {:.64?}, known is {FORM:?}", first.form)));
    }
    let asset = first.asset().ok_or_else(|| lines.wrong("asset is none"))?;
    let base = first.base().map_err(|reason| lines.wrong(reason))?;
    if base.is_none() && first.link() != ChainHash::genesis(first.ledger(), &first.account, asset) {
        return Err(lines.wrong("link is not the account's first"));
    }
    let mut reader = Reader::new(&first, base);
    loop {
        let text = lines.next()?.ok_or_else(|| lines.wrong("last line is missing"))?;
        if let Ok(last) = serde_json::from_str::<Last>(&text) {
            let digest: [u8; 32] = lines.before.clone().finalize().into();
            if lines.next()?.is_some() {
                return Err(lines.wrong("there is more after the last line"));
            }
            let end = reader.end;
            let said = (last.until, last.entries, last.link, last.sha256);
            let is = (end.seq, reader.entries, end.head.unwrap_or_default().0, digest);
            if said != is || reader.entries == 0 {
                return Err(lines.wrong("last line says otherwise"));
            }
            return Ok(Verified {
                ledger: first.ledger(),
                asset,
                after: first.after,
                until: end.seq,
                entries: reader.entries,
                links: (first.link(), ChainHash(last.link)),
                books: end.books,
                digest: ArchiveDigest(digest),
                account: first.account,
            });
        }
        let line: Line = lines.parse(&text)?;
        let entry = line.entry(&first.account, reader.previous).map_err(|reason| lines.wrong(reason))?;
        reader.take(&entry).map_err(|reason| lines.wrong(reason))?;
    }
}

/// What was read so far.
struct Reader {
    ledger: LedgerId,
    base: Option<Arc<Checkpoint>>,
    end: Refolded,
    audit: Audit,
    previous: u64,
    entries: u64,
}

impl Reader {
    fn new(first: &First, base: Option<Arc<Checkpoint>>) -> Self {
        let end = base.as_deref().map_or_else(Refolded::default, |base| Refolded::of(first.account.as_str(), base));
        Self { ledger: first.ledger(), base, end, audit: Audit::default(), previous: 0, entries: 0 }
    }

    /// Judges the next entry; an error is what is wrong.
    fn take(&mut self, entry: &Entry) -> Result<(), String> {
        self.end.fold(self.ledger, entry, &mut self.audit);
        if let Some(finding) = self.audit.findings.first() {
            return Err(format!("{}: {}", finding.rule, finding.detail));
        }
        // The checkpoint it begins from is among its own entries, unless its cut lies before it: then it is vouched for.
        if let (Some(base), Ok(Body::Checkpoint(found))) = (&self.base, entry.body())
            && found.cut == base.cut
            && found != *base
        {
            return Err("checkpoint is not the one it begins from".to_owned());
        }
        self.previous = entry.position;
        self.entries = self.entries.saturating_add(1);
        Ok(())
    }
}

/// The lines of an archive, with the digest of those before the current one.
struct Lines<R> {
    archive: R,
    digest: Sha256,
    before: Sha256,
    number: u64,
}

impl<R: BufRead> Lines<R> {
    fn next(&mut self) -> Result<Option<String>, InvalidArchive> {
        let mut bytes = Vec::new();
        let read = self.archive.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes);
        self.number = self.number.saturating_add(1);
        let read = read.map_err(|error| self.wrong(format!("cannot be read: {error}")))?;
        if read == 0 {
            return Ok(None);
        }
        self.before = self.digest.clone();
        self.digest.update(&bytes);
        if bytes.pop() != Some(b'\n') {
            return Err(self.wrong("does not end"));
        }
        String::from_utf8(bytes).map(Some).map_err(|error| self.wrong(error.to_string()))
    }

    fn parse<T: DeserializeOwned>(&self, text: &str) -> Result<T, InvalidArchive> {
        serde_json::from_str(text).map_err(|error| self.wrong(error.to_string()))
    }

    fn parse_next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, InvalidArchive> {
        self.next()?.map(|text| self.parse(&text)).transpose()
    }

    fn wrong(&self, reason: impl Into<String>) -> InvalidArchive {
        InvalidArchive { line: self.number, reason: reason.into() }
    }
}
