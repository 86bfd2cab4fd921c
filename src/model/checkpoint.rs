//! Checkpoints: how an account stood at the cut below which its past was archived.

use std::collections::HashSet;
use std::sync::Arc;

use super::body::{read_limits, read_policy, write_limits, write_policy};
use super::budget::{read_window, write_window};
use super::codec::{Malformed, Reader, Writer, read_amount, read_number, read_quantity, write_amount, write_quantity};
use super::lot::{read_lot, read_take, write_take};
use super::{
    Amount, ArchiveDigest, Books, BudgetBody, ChainHash, Charged, Entry, HoldId, HoldState, Limits, LotTerms, Policy,
    Quantity, RequestId, SignedAmount, Status, Take, Tally, Terms, Timestamp,
};

/// How far an account's past is closed, archived and pruned: numbers of its entries, each at most the one before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Past {
    /// What was final by this entry is too old to be changed or asked for again.
    pub closed: u64,
    /// The cut of the account's last checkpoint: the entries up to here are archived.
    pub archived: u64,
    /// The entries up to here are gone.
    pub pruned: u64,
    /// Where that checkpoint stands in the bucket; 0: there is none.
    pub checkpoint: u64,
}

impl Past {
    /// How far it is closed, archived and pruned, and where the checkpoint stands.
    pub fn of(closed: u64, archived: u64, pruned: u64, checkpoint: u64) -> Self {
        Self { closed, archived, pruned, checkpoint }
    }
}

/// How an account stood after the entry at a cut, with all that judging the entries after it needs, and what its past is
/// archived as. The audit of a pruned journal starts from it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checkpoint {
    /// The last entry that is archived.
    pub cut: u64,
    /// When it was written.
    pub at: Timestamp,
    /// Its link of the hash chain.
    pub hash: ChainHash,
    /// What the archive is recognised by.
    pub archive: ArchiveDigest,
    /// The totals.
    pub books: Books,
    /// The status.
    pub status: Status,
    /// The limits.
    pub limits: Limits,
    /// The policy.
    pub policy: Policy,
    /// How many lots had been made.
    pub last_lot: u32,
    /// The lots that are still of interest, by number.
    pub lots: Vec<LotStanding>,
    /// The budgets, removed ones too, by number.
    pub budgets: Vec<BudgetStanding>,
    /// The windows that are still of interest, by budget and time.
    pub windows: Vec<WindowStanding>,
    /// The holds that have entries after the cut, by name.
    pub holds: Vec<HoldStanding>,
}

/// A lot at the cut.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of `Lot`")]
pub struct LotStanding {
    pub number: u32,
    pub terms: Arc<LotTerms>,
    pub amount: Amount,
    pub free: Amount,
    pub created_at: Timestamp,
}

/// A budget at the cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetStanding {
    /// What it was.
    pub body: BudgetBody,
    /// How often it had been changed since it was made.
    pub version: u32,
}

/// What a budget had counted in one window at the cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowStanding {
    /// The budget's number.
    pub budget: u32,
    /// When the window began.
    pub start: Timestamp,
    /// What was counted.
    pub tally: Tally,
}

/// A hold at the cut, as its entries up to there make it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of `Hold`")]
pub struct HoldStanding {
    pub id: HoldId,
    pub state: HoldState,
    pub held: Amount,
    pub cost: Quantity,
    pub captured: Amount,
    pub written_off: Amount,
    pub refunded: Amount,
    pub terms: Option<Arc<Terms>>,
    pub windows: Vec<Charged>,
    pub takes: Vec<Take>,
}

/// What was over at a checkpoint's cut, and is named by nothing after it.
#[derive(Debug)]
pub struct Over<'a> {
    at: Timestamp,
    budgets: &'a [BudgetStanding],
    /// Lots and windows that holds with entries after the cut have to do with.
    lots: HashSet<u32>,
    windows: HashSet<(u32, Timestamp)>,
}

impl Checkpoint {
    /// A checkpoint of which nothing is known yet but the entry at its cut and the archive's digest.
    pub fn at(entry: &Entry, archive: ArchiveDigest) -> Self {
        Self {
            cut: entry.seq,
            at: entry.at,
            hash: entry.hash,
            archive,
            books: Books::default(),
            status: Status::default(),
            limits: Limits::default(),
            policy: Policy::default(),
            last_lot: 0,
            lots: Vec::new(),
            budgets: Vec::new(),
            windows: Vec::new(),
            holds: Vec::new(),
        }
    }

    /// What was over at the cut.
    pub fn over(&self) -> Over<'_> {
        let lots = self.holds.iter().flat_map(|hold| &hold.takes).map(|take| take.lot);
        let windows = self.holds.iter().flat_map(|hold| &hold.windows).map(|charged| (charged.budget, charged.start));
        Over { at: self.at, budgets: &self.budgets, lots: lots.collect(), windows: windows.collect() }
    }

    /// Appends the canonical bytes.
    pub(super) fn write(&self, writer: &mut Writer) {
        writer.unsigned(self.cut);
        writer.signed(self.at.as_micros());
        writer.bytes(self.hash.as_bytes());
        writer.bytes(self.archive.as_bytes());
        self.books.columns().iter().for_each(|total| writer.signed(total.minor_units()));
        writer.byte(self.status.code());
        write_limits(writer, &self.limits);
        write_policy(writer, &self.policy);
        writer.unsigned(u64::from(self.last_lot));
        writer.list(&self.lots, |writer, lot| {
            writer.unsigned(u64::from(lot.number));
            lot.terms.write(writer);
            write_amount(writer, lot.amount);
            write_amount(writer, lot.free);
            writer.signed(lot.created_at.as_micros());
        });
        writer.list(&self.budgets, |writer, budget| {
            budget.body.write(writer);
            writer.unsigned(u64::from(budget.version));
        });
        writer.list(&self.windows, |writer, window| {
            writer.unsigned(u64::from(window.budget));
            writer.signed(window.start.as_micros());
            writer.unsigned(window.tally.used);
            writer.unsigned(window.tally.held);
        });
        writer.list(&self.holds, |writer, hold| hold.write(writer));
    }

    /// Reads what [`Checkpoint::write`] wrote.
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            cut: reader.unsigned()?,
            at: Timestamp::from_micros(reader.signed()?),
            hash: ChainHash::from_slice(reader.bytes()?).ok_or(Malformed("hash"))?,
            archive: ArchiveDigest::from_slice(reader.bytes()?).ok_or(Malformed("digest"))?,
            books: read_books(reader)?,
            status: Status::from_code(reader.byte()?)?,
            limits: read_limits(reader)?,
            policy: read_policy(reader)?,
            last_lot: read_number(reader)?,
            lots: reader.list(|reader| {
                Ok(LotStanding {
                    number: read_number(reader)?,
                    terms: read_lot(reader)?,
                    amount: read_amount(reader)?,
                    free: read_amount(reader)?,
                    created_at: Timestamp::from_micros(reader.signed()?),
                })
            })?,
            budgets: reader
                .list(|reader| Ok(BudgetStanding { body: BudgetBody::read(reader)?, version: read_number(reader)? }))?,
            windows: reader.list(|reader| {
                Ok(WindowStanding {
                    budget: read_number(reader)?,
                    start: Timestamp::from_micros(reader.signed()?),
                    tally: Tally { used: reader.unsigned()?, held: reader.unsigned()? },
                })
            })?,
            holds: reader.list(HoldStanding::read)?,
        })
    }
}

impl Over<'_> {
    /// Whether a lot with this expiry and so much free money is of no interest any more: it is empty, expired, and no
    /// hold with entries after the cut took something of it.
    pub fn has_lot(&self, number: u32, expiry: Option<Timestamp>, is_empty: bool) -> bool {
        is_empty && expiry.is_some_and(|expiry| expiry <= self.at) && !self.lots.contains(&number)
    }

    /// Whether a budget's window is of no interest any more: it ended, and no hold with entries after the cut is charged
    /// to it.
    pub fn has_window(&self, budget: u32, start: Timestamp) -> bool {
        let found = self.budgets.binary_search_by_key(&budget, |standing| standing.body.number).ok();
        let budget_standing = found.and_then(|at| self.budgets.get(at));
        let end = budget_standing.and_then(|standing| standing.body.window.at(start).end);
        end.is_some_and(|end| end <= self.at) && !self.windows.contains(&(budget, start))
    }
}

impl HoldStanding {
    fn write(&self, writer: &mut Writer) {
        writer.bytes(self.id.request().as_str().as_bytes());
        writer.unsigned(u64::from(self.id.attempt()));
        writer.byte(self.state.code());
        write_amount(writer, self.held);
        write_quantity(writer, self.cost);
        write_amount(writer, self.captured);
        write_amount(writer, self.written_off);
        write_amount(writer, self.refunded);
        writer.option(self.terms.as_deref(), |writer, terms| terms.write(writer));
        writer.list(&self.windows, write_window);
        writer.list(&self.takes, write_take);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let request = RequestId::new(reader.text()?).map_err(|_| Malformed("hold"))?;
        Ok(Self {
            id: HoldId::of(request, read_number(reader)?).map_err(|_| Malformed("hold"))?,
            state: HoldState::from_code(reader.byte()?)?,
            held: read_amount(reader)?,
            cost: read_quantity(reader)?,
            captured: read_amount(reader)?,
            written_off: read_amount(reader)?,
            refunded: read_amount(reader)?,
            terms: reader.option(Terms::read)?.map(Arc::new),
            windows: reader.list(read_window)?,
            takes: reader.list(read_take)?,
        })
    }
}

fn read_books(reader: &mut Reader<'_>) -> Result<Books, Malformed> {
    let mut columns = [SignedAmount::ZERO; 10];
    for column in &mut columns {
        *column = SignedAmount::new(reader.signed()?).map_err(|_| Malformed("books"))?;
    }
    Ok(Books::from_columns(columns))
}
