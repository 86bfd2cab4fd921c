//! An account and its holds, folded again from the journal.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::Audit;
use super::credit::Credit;
use crate::kernel::invariant;
use crate::model::{
    Account, Amount, ArchiveDigest, Body, Books, ChainHash, Charged, Checkpoint, CloseBody, Entry, EntryKind, HoldId,
    HoldStanding, HoldState, LedgerId, Limits, Pinned, Policy, Quantity, Renewed, SignedAmount, Status, Take, Terms,
    Timestamp,
};

/// Lots, and windows by budget and time, that were over at a cut.
pub(super) type GoneCredit = (Vec<u32>, Vec<(u32, Timestamp)>);

/// An account as its entries so far make it.
#[derive(Debug, Default)]
pub(super) struct Refolded {
    name: String,
    pub(super) seq: u64,
    last_position: u64,
    /// The entry before the next one is gone, and with it where it stood.
    unlinked: bool,
    pub(super) at: Timestamp,
    pub(super) head: Option<ChainHash>,
    pub(super) books: Books,
    status: Status,
    limits: Limits,
    policy: Policy,
    holds: HashMap<HoldId, RefoldedHold>,
    pub(super) credit: Credit,
    open: u32,
    lapsed: u32,
    compared: bool,
}

/// A hold as its entries so far make it.
#[derive(Clone, Debug, Default)]
pub(super) struct RefoldedHold {
    pub(super) state: Option<HoldState>,
    pub(super) held: Amount,
    pub(super) cost: Quantity,
    pub(super) captured: Amount,
    pub(super) written_off: Amount,
    pub(super) refunded: Amount,
    /// The last entry that names it.
    pub(super) seq: u64,
    pub(super) terms: Option<Arc<Terms>>,
    pub(super) windows: Vec<Charged>,
    pub(super) takes: Vec<Take>,
}

impl Refolded {
    /// The account as it stood at a checkpoint's cut.
    pub(super) fn of(account: &str, checkpoint: &Checkpoint) -> Self {
        let holds = checkpoint.holds.iter().map(|hold| (hold.id.clone(), RefoldedHold::of(hold)));
        let count = |state| checkpoint.holds.iter().filter(|hold| hold.state == state).count();
        Self {
            name: account.to_owned(),
            seq: checkpoint.cut,
            unlinked: true,
            at: checkpoint.at,
            head: Some(checkpoint.hash),
            books: checkpoint.books,
            status: checkpoint.status,
            limits: checkpoint.limits,
            policy: checkpoint.policy,
            holds: holds.collect(),
            credit: Credit::of(checkpoint),
            open: u32::try_from(count(HoldState::Open)).unwrap_or(u32::MAX),
            lapsed: u32::try_from(count(HoldState::Lapsed)).unwrap_or(u32::MAX),
            ..Self::default()
        }
    }

    /// The account as it stands, as the checkpoint of an archive that ends here: with the holds that are not final and
    /// those among `later`, which have entries after this one. Answers also the lots and windows that are over.
    pub(super) fn stand(&self, later: &HashSet<HoldId>, archive: ArchiveDigest) -> (Checkpoint, GoneCredit) {
        let is_final = |hold: &RefoldedHold| !matches!(hold.state, Some(HoldState::Open | HoldState::Lapsed));
        let carried = self.holds.iter().filter(|(id, hold)| !is_final(hold) || later.contains(*id));
        let mut holds: Vec<_> = carried.filter_map(|(id, hold)| hold.stand(id)).collect();
        holds.sort_unstable_by(|one, next| one.id.cmp(&next.id));
        let mut checkpoint = Checkpoint {
            cut: self.seq,
            at: self.at,
            hash: self.head.unwrap_or_default(),
            archive,
            books: self.books,
            status: self.status,
            limits: self.limits,
            policy: self.policy,
            last_lot: 0,
            lots: Vec::new(),
            budgets: Vec::new(),
            windows: Vec::new(),
            holds,
        };
        let gone = self.credit.stand(&mut checkpoint);
        (checkpoint, gone)
    }

    /// Compares how the account stands at a checkpoint's cut with what the checkpoint says, and lets go of what it does.
    pub(super) fn pass(&mut self, checkpoint: &Checkpoint, place: &str, audit: &mut Audit) {
        let later = checkpoint.holds.iter().map(|hold| hold.id.clone()).collect();
        let (stands, gone) = self.stand(&later, checkpoint.archive);
        if stands != *checkpoint {
            audit.find("checkpoint_matches_journal", place, format!("should be {stands:?}, is {checkpoint:?}"));
        }
        self.credit.forget(&gone);
    }

    /// Takes the account's next entry in.
    pub(super) fn fold(&mut self, ledger: LedgerId, entry: &Entry, audit: &mut Audit) {
        let place = format!("{}/{}", entry.account, entry.seq);
        let follows = self.unlinked || entry.previous == self.last_position;
        if entry.seq != self.seq.saturating_add(1) || !follows {
            audit.find("dense_seq", &place, format!("follows {} at {}", self.seq, self.last_position));
        }
        if entry.at < self.at {
            audit.find("time", &place, format!("{} after {}", entry.at, self.at));
        }
        if !invariant::balanced(&entry.changes) {
            audit.find("transaction_whole", &place, format!("postings do not sum to zero: {:?}", entry.changes));
        }
        match self.books.checked_add(&entry.changes) {
            Ok(books) => self.books = books,
            Err(overflow) => audit.find("posted_matches_journal", &place, overflow.to_string()),
        }
        if (self.books.available, self.books.held) != (entry.available_after, entry.held_after.signed()) {
            let detail = format!("sums to {}/{}", self.books.available, self.books.held);
            audit.find("posted_matches_journal", &place, detail);
        }
        match entry.body_and_moves() {
            Ok((body, moves)) => {
                self.fold_body(ledger, entry, &body, &place, audit);
                self.credit.moved(&moves, &place, audit);
            }
            Err(malformed) => audit.find("readable", &place, malformed.to_string()),
        }
        let head = self.head.unwrap_or_default().next(&entry.canonical());
        if head != entry.hash {
            audit.find("hash_chain", &place, format!("hash is {}, should be {head}", entry.hash));
        }
        self.name = entry.account.to_string();
        self.head = Some(entry.hash);
        self.seq = entry.seq;
        self.last_position = entry.position;
        self.unlinked = false;
        self.at = entry.at;
    }

    fn fold_body(&mut self, ledger: LedgerId, entry: &Entry, body: &Body, place: &str, audit: &mut Audit) {
        match (entry.kind, body) {
            (EntryKind::Open, Body::Open(open)) => {
                self.head = Some(ChainHash::genesis(ledger, &entry.account, open.asset));
                self.limits = open.limits;
                self.policy = open.policy;
            }
            (EntryKind::LimitChange, Body::Limits(limits, policy)) => (self.limits, self.policy) = (*limits, *policy),
            (EntryKind::StatusChange, Body::Status(status, _)) => self.status = *status,
            (EntryKind::Reserve, Body::Reserve { pinned, takes }) => {
                self.raise(entry, Some(pinned), takes, place, audit)
            }
            (EntryKind::Extend, Body::Extend { takes }) => self.raise(entry, None, takes, place, audit),
            (EntryKind::Refund, Body::Refund { takes, renewed }) => self.refund(entry, takes, renewed, place, audit),
            (EntryKind::Grant, Body::Grant { lot, terms }) => self.credit.grant(entry, *lot, terms, place, audit),
            (EntryKind::LotExpiry, Body::LotExpiry(lot)) => self.credit.expire(entry, *lot, place, audit),
            (EntryKind::BudgetChange, Body::Budget(budget)) => self.credit.budget(budget, place, audit),
            (
                EntryKind::Settle
                | EntryKind::Release
                | EntryKind::Abandon
                | EntryKind::Lapse
                | EntryKind::Seal
                | EntryKind::Correction
                | EntryKind::Debit,
                Body::Close(close),
            ) => self.close(entry, close, place, audit),
            (
                EntryKind::Deposit | EntryKind::Withdrawal | EntryKind::Adjustment | EntryKind::WriteOff,
                Body::Money { lots, .. },
            ) => self.credit.take(lots, place, audit),
            (EntryKind::Checkpoint, Body::Checkpoint(checkpoint)) => {
                if checkpoint.cut >= entry.seq || !entry.changes.is_zero() {
                    audit.find("checkpoint_matches_journal", place, format!("its cut is {}", checkpoint.cut));
                }
            }
            (kind, _) => audit.find("readable", place, format!("body does not belong to {}", kind.name())),
        }
    }

    /// A reserve or an extension: as much as was moved is held more, and the account could afford it.
    fn raise(&mut self, entry: &Entry, pinned: Option<&Pinned>, takes: &[Take], place: &str, audit: &mut Audit) {
        let Some(id) = &entry.hold else {
            return audit.find("resolved_once", place, "names no hold");
        };
        let hold = self.holds.entry(id.clone()).or_default();
        let opens = entry.kind == EntryKind::Reserve;
        if opens != hold.state.is_none() || (!opens && hold.state != Some(HoldState::Open)) {
            audit.find("resolved_once", place, format!("{} of a hold that is {:?}", entry.kind.name(), hold.state));
        }
        self.open = self.open.saturating_add(u32::from(opens));
        let before = hold.clone();
        hold.state = Some(HoldState::Open);
        hold.seq = entry.seq;
        hold.held = hold.held.checked_add(entry.changes.held.positive_part()).unwrap_or(Amount::MAX);
        hold.takes = takes.to_vec();
        if let Some(pinned) = pinned {
            hold.terms.clone_from(&pinned.terms);
            hold.windows.clone_from(&pinned.windows);
        }
        self.credit.hold(entry, &before, hold, &[], audit);
        let spendable = self.credit.spendable(entry.available_after, &self.limits, hold, entry.at);
        if spendable < 0 && !entry.changes.held.is_zero() {
            audit.find("available_not_negative", place, format!("spendable is {spendable} after it"));
        }
    }

    fn refund(&mut self, entry: &Entry, takes: &[Take], renewed: &[Renewed], place: &str, audit: &mut Audit) {
        let hold = entry.hold.as_ref().and_then(|id| self.holds.get_mut(id));
        let Some(hold) = hold else {
            return audit.find("refund_bound", place, "refund of a hold the journal does not know");
        };
        let before = hold.clone();
        hold.seq = entry.seq;
        hold.refunded = hold.refunded.checked_add(entry.changes.available.positive_part()).unwrap_or(Amount::MAX);
        hold.takes = takes.to_vec();
        self.credit.hold(entry, &before, hold, renewed, audit);
        if hold.refunded > hold.captured {
            audit.find("refund_bound", place, format!("refunded {} of {}", hold.refunded, hold.captured));
        }
    }

    /// A close or a correction: a legal step, and exactly the postings of the one formula.
    fn close(&mut self, entry: &Entry, close: &CloseBody, place: &str, audit: &mut Audit) {
        let Some(id) = &entry.hold else {
            return audit.find("resolved_once", place, "names no hold");
        };
        let hold = self.holds.entry(id.clone()).or_default();
        if !is_legal(entry.kind, hold.state, close.state) {
            let detail = format!("{} from {:?} to {:?}", entry.kind.name(), hold.state, close.state);
            audit.find("resolved_once", place, detail);
        }
        if close.captured.checked_add(close.written_off) != Ok(close.cost.cost) {
            audit.find("resolved_once", place, "cost is not what was collected and written off");
        }
        let expected = postings(hold, close, &entry.changes);
        if entry.changes != expected {
            audit.find("resolved_once", place, format!("postings should be {expected:?}"));
        }
        match hold.state {
            Some(HoldState::Open) => self.open = self.open.saturating_sub(1),
            Some(HoldState::Lapsed) => self.lapsed = self.lapsed.saturating_sub(1),
            _ => {}
        }
        self.lapsed = self.lapsed.saturating_add(u32::from(close.state == HoldState::Lapsed));
        let before = hold.clone();
        if let Some(pinned) = &close.pinned {
            hold.terms.clone_from(&pinned.terms);
            hold.windows.clone_from(&pinned.windows);
        }
        *hold = RefoldedHold {
            state: Some(close.state),
            held: Amount::ZERO,
            cost: close.cost,
            captured: close.captured,
            written_off: close.written_off,
            refunded: hold.refunded,
            seq: entry.seq,
            terms: hold.terms.take(),
            windows: std::mem::take(&mut hold.windows),
            takes: close.takes.clone(),
        };
        self.credit.hold(entry, &before, hold, &[], audit);
    }

    /// Compares the account's row with what its entries say.
    pub(super) fn compare(&mut self, account: &Account, audit: &mut Audit) {
        self.compared = true;
        self.credit.compare(account, audit);
        let said = (self.seq, self.last_position, self.at, self.head, self.books);
        let row = (account.seq, account.last_position, account.last_entry_at, Some(account.head), account.books);
        if said != row {
            audit.find("posted_matches_journal", &account.id, format!("journal says {said:?}, row is {row:?}"));
        }
        let said = (self.status, self.limits, self.policy);
        let row = (account.status, account.limits, account.policy);
        if said != row {
            audit.find("limits_match_journal", &account.id, format!("journal says {said:?}, row is {row:?}"));
        }
        if (self.open, self.lapsed) != (account.open_holds, account.lapsed_holds) {
            let detail = format!(
                "journal says {}/{}, row is {}/{}",
                self.open, self.lapsed, account.open_holds, account.lapsed_holds
            );
            audit.find("held_matches_holds", &account.id, detail);
        }
        let held = self.holds.values().fold(0, |sum: i64, hold| sum.saturating_add(hold.held.minor_units()));
        if held != account.books.held.minor_units() {
            audit.find(
                "held_matches_holds",
                &account.id,
                format!("open holds hold {held}, row says {}", account.books.held),
            );
        }
    }

    /// Whether an entry named this hold.
    pub(super) fn knows(&self, id: &HoldId) -> bool {
        self.holds.contains_key(id)
    }

    /// The hold, to be compared with its row; each once.
    pub(super) fn take(&mut self, id: &HoldId) -> Option<RefoldedHold> {
        self.holds.remove(id)
    }

    /// What is left once every row was compared.
    pub(super) fn finish(&self, audit: &mut Audit) {
        if !self.compared {
            audit.find("posted_matches_journal", &self.name, "entries without an account");
        }
        self.credit.finish(&self.name, audit);
        for id in self.holds.keys() {
            audit.find("held_matches_holds", format!("{} of {}", id, self.name), "entries without a hold");
        }
    }
}

impl RefoldedHold {
    fn of(standing: &HoldStanding) -> Self {
        let HoldStanding { state, held, cost, captured, written_off, refunded, terms, windows, takes, .. } =
            standing.clone();
        let state = Some(state);
        Self { state, held, cost, captured, written_off, refunded, seq: 0, terms, windows, takes }
    }

    fn stand(&self, id: &HoldId) -> Option<HoldStanding> {
        let Self { state, held, cost, captured, written_off, refunded, seq: _, terms, windows, takes } = self.clone();
        let id = id.clone();
        Some(HoldStanding { id, state: state?, held, cost, captured, written_off, refunded, terms, windows, takes })
    }
}

fn is_legal(kind: EntryKind, from: Option<HoldState>, to: HoldState) -> bool {
    use HoldState::{Lapsed, Open, Released, Sealed, Settled};
    match (kind, from, to) {
        (EntryKind::Settle, None | Some(Open | Lapsed), Settled)
        | (EntryKind::Debit, None, Settled)
        | (EntryKind::Release, Some(Open | Lapsed), Released)
        | (EntryKind::Abandon | EntryKind::Lapse, Some(Open), Lapsed)
        | (EntryKind::Seal, Some(Lapsed), Sealed)
        // A tombstone has no entry, so its correction is the first.
        | (EntryKind::Correction, None | Some(Settled | Released), Settled)
        | (EntryKind::Correction, Some(Sealed), Sealed) => true,
        _ => false,
    }
}

/// Available h + pc + px - c - x, held -h, revenue b - pc - pw, write-off pw - (b - c), breakage and promotion x - px by
/// class. How much of it is promotional is looked at with the lots.
fn postings(before: &RefoldedHold, close: &CloseBody, changes: &Books) -> Books {
    let signed = |amount: i64| SignedAmount::new(amount).unwrap_or_default();
    let forfeited =
        |takes: &[Take]| takes.iter().fold(0, |sum: i64, take| sum.saturating_add(take.forfeited.minor_units()));
    let units = Amount::minor_units;
    let (h, pc, pw) = (units(before.held), units(before.captured), units(before.written_off));
    let (b, c) = (units(close.cost.cost), units(close.captured));
    Books {
        available: signed(
            h.saturating_add(pc)
                .saturating_add(forfeited(&before.takes))
                .saturating_sub(c)
                .saturating_sub(forfeited(&close.takes)),
        ),
        held: signed(h.saturating_neg()),
        revenue: signed(b.saturating_sub(pc).saturating_sub(pw)),
        write_off: signed(pw.saturating_sub(b.saturating_sub(c))),
        funding: SignedAmount::ZERO,
        ..*changes
    }
}
