//! An account's journal in an audit: from its first entry, or from the checkpoint that stands for what is gone.

use super::Audit;
use super::refold::Refolded;
use crate::model::{Account, Body, Checkpoint, Entry, Hold, LedgerId, Past};

/// One account, as far as its journal was read.
#[derive(Debug, Default)]
pub(super) struct Chronicle {
    pub(super) folded: Refolded,
    /// The last checkpoint, if there is one.
    checkpoint: Option<Box<Checkpoint>>,
    /// The first and the last entry that were read.
    first: u64,
    last: u64,
    past: Past,
}

impl Chronicle {
    /// Takes the account's last checkpoint in, before any entry.
    pub(super) fn expect(&mut self, entry: &Entry, audit: &mut Audit) {
        match entry.body() {
            Ok(Body::Checkpoint(checkpoint)) => self.checkpoint = Some(Box::new((*checkpoint).clone())),
            _ => audit.find("readable", format!("{}/{}", entry.account, entry.seq), "is no checkpoint"),
        }
    }

    /// Takes the account's next entry in. Where entries are gone, those that are left below the cut are waiting to go, and
    /// the archive alone can judge them: folding begins after them. Where all are there the checkpoint is judged by them.
    pub(super) fn fold(&mut self, ledger: LedgerId, entry: &Entry, audit: &mut Audit) {
        let place = format!("{}/{}", entry.account, entry.seq);
        if self.first == 0 {
            self.first = entry.seq;
            if let Some(checkpoint) = self.checkpoint.as_deref().filter(|_| self.is_pruned()) {
                self.folded = Refolded::of(entry.account.as_str(), checkpoint);
            }
        } else if entry.seq != self.last.saturating_add(1) {
            audit.find("dense_seq", &place, format!("follows {}", self.last));
        }
        self.last = entry.seq;
        let cut = self.checkpoint.as_deref().filter(|checkpoint| entry.seq <= checkpoint.cut);
        match cut {
            Some(checkpoint) if self.is_pruned() => {
                if entry.seq == checkpoint.cut && (entry.hash, entry.at) != (checkpoint.hash, checkpoint.at) {
                    audit.find("checkpoint_matches_journal", &place, format!("hash is {}", entry.hash));
                }
            }
            Some(checkpoint) => {
                self.folded.fold(ledger, entry, audit);
                if entry.seq == checkpoint.cut {
                    self.folded.pass(checkpoint, &place, audit);
                }
            }
            None => self.folded.fold(ledger, entry, audit),
        }
    }

    /// Compares the account's row with what its journal says. Answers how many of its entries are gone.
    pub(super) fn compare(&mut self, account: &Account, audit: &mut Audit) -> u64 {
        self.past = account.past;
        let Past { closed, archived, pruned, checkpoint } = self.past;
        let cut = self.checkpoint.as_deref().map_or(0, |checkpoint| checkpoint.cut);
        let in_order = pruned <= archived && archived <= closed && closed <= account.seq;
        if !in_order || cut != archived || (archived > 0) != (checkpoint > 0) || self.first != pruned.saturating_add(1)
        {
            let detail = format!("{:?}, but the cut is {cut} and the first entry is {}", self.past, self.first);
            audit.find("past_matches_journal", &account.id, detail);
        }
        self.folded.compare(account, audit);
        pruned
    }

    /// Whether a hold's entries are gone, or wait to go: only the archive can judge it.
    pub(super) fn waits(&self, hold: &Hold) -> bool {
        self.is_pruned() && hold.is_closed_over(self.past.archived) && hold.seq > self.past.pruned
    }

    fn is_pruned(&self) -> bool {
        self.first > 1
    }
}
