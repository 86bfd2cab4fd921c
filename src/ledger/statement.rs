//! An account's journal, added up.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::account::AccountHandle;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{AccountId, Amount, Asset, Books, EntryKind, SignedAmount, Turnover};

/// What happened to an account's money after some entry of its journal, by kind of entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Statement {
    /// Whose.
    pub account: AccountId,
    /// What its amounts are amounts of.
    #[serde(skip)]
    pub asset: Asset,
    /// The entry it begins after; 0: the beginning. Never beyond the account's last.
    pub after: u64,
    /// The last entry it covers.
    pub until: u64,
    /// `available` at the beginning.
    pub opening: SignedAmount,
    /// `available` at the end.
    pub closing: SignedAmount,
    /// `held` at the end.
    pub held: Amount,
    /// What happened in between, in the order of the kinds' codes.
    pub lines: Vec<StatementLine>,
}

/// All entries of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StatementLine {
    /// The kind.
    pub kind: EntryKind,
    /// How many.
    pub entries: u64,
    /// What they changed, added up. It has no bound: money held comes back and is held again.
    pub changes: Books<Turnover>,
}

const PAGE: u32 = 1_000;

impl Statement {
    pub(super) async fn make(handle: &AccountHandle, after: u64) -> Result<Self> {
        let account = handle.view().await?;
        let (after, available) = (after.min(account.seq), account.books.available);
        let mut statement = Self {
            account: account.id,
            asset: account.asset,
            after,
            until: after,
            opening: available,
            closing: available,
            held: account.books.held.positive_part(),
            lines: Vec::new(),
        };
        let mut lines: BTreeMap<u8, StatementLine> = BTreeMap::new();
        // The account may go on while its statement is drawn up: it ends where the account stood when it began.
        while statement.until < account.seq {
            let page = handle.journal(statement.until, PAGE).await?;
            let before = statement.until;
            for entry in page.iter().take_while(|entry| entry.seq <= account.seq) {
                if statement.until == after {
                    let opening = entry.available_after.checked_sub(entry.changes.available);
                    statement.opening = opening.map_err(|overflow| {
                        let message = format!("{overflow}: account={} seq={}", handle.id(), entry.seq);
                        Error::new(ErrorKind::Corrupt, message)
                    })?;
                }
                let line = lines.entry(entry.kind.code()).or_insert_with(|| StatementLine {
                    kind: entry.kind,
                    entries: 0,
                    changes: Books::default(),
                });
                line.entries = line.entries.saturating_add(1);
                line.changes = line.changes.plus(&entry.changes);
                statement.until = entry.seq;
                statement.closing = entry.available_after;
                statement.held = entry.held_after;
            }
            if statement.until == before {
                return Err(Error::new(
                    ErrorKind::Corrupt,
                    format!("journal ends early: account={} seq={before}", handle.id()),
                ));
            }
        }
        statement.lines = lines.into_values().collect();
        Ok(statement)
    }

    /// Cost of what was used in the time it covers, refunds taken off.
    pub fn revenue(&self) -> Turnover {
        self.lines.iter().fold(Turnover::ZERO, |sum, line| sum.plus(line.changes.revenue))
    }
}

impl fmt::Display for Statement {
    /// A small table, in decimals of the asset.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let asset = self.asset;
        writeln!(f, "{} ({asset}), entries {} to {}", self.account, self.after.saturating_add(1), self.until)?;
        writeln!(f, "  {:<14} {:>6} {:>18} {:>18} {:>18}", "", "", "available", "held", "revenue")?;
        writeln!(f, "  {:<14} {:>6} {:>18}", "opening", "", asset.format(self.opening))?;
        for line in &self.lines {
            writeln!(
                f,
                "  {:<14} {:>6} {:>18} {:>18} {:>18}",
                line.kind.name(),
                line.entries,
                asset.format(line.changes.available),
                asset.format(line.changes.held),
                asset.format(line.changes.revenue),
            )?;
        }
        write!(f, "  {:<14} {:>6} {:>18} {:>18}", "closing", "", asset.format(self.closing), asset.format(self.held))
    }
}
