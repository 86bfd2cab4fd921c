//! The one formula that closes a hold: early or late, up or down, provisionally or for good.

use super::super::Refusal;
use super::super::draft::{Details, Draft, Stop};
use std::sync::Arc;

use crate::model::{
    Account, Amount, ArgumentsHash, Body, Books, CloseBody, EntryKind, Hold, HoldState, KeyHash, MINOR_UNITS_MAX,
    Metadata, OperationKey, Overrun, Pinned, Quantity, SignedAmount, Timestamp,
};

/// A hold's cost and what becomes of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Closing<'a> {
    pub(super) kind: EntryKind,
    /// The state afterwards.
    pub(super) state: HoldState,
    pub(super) cost: Quantity,
    pub(super) above_ceiling: bool,
    pub(super) evidence: Option<&'a Arc<[u8]>>,
    pub(super) metadata: Option<&'a Metadata>,
    pub(super) key: Option<(&'a OperationKey, KeyHash, ArgumentsHash)>,
}

impl<'a> Closing<'a> {
    /// `kind` leads to `state` at `cost`, with nothing else to say.
    pub(super) fn new(kind: EntryKind, state: HoldState, cost: Quantity) -> Self {
        Self { kind, state, cost, above_ceiling: false, evidence: None, metadata: None, key: None }
    }

    pub(super) fn used(self, used: super::Used<'a>) -> Self {
        Self {
            above_ceiling: used.above_ceiling,
            evidence: used.measured.evidence.as_ref(),
            metadata: used.metadata,
            ..self
        }
    }
}

/// Closes a hold, or replaces the cost of one that is closed, and writes the entry. `direct` is a hold that this very
/// command makes: its entry then says what is pinned in it.
pub(super) fn close(draft: &mut Draft<'_>, before: &Hold, closing: Closing<'_>, direct: bool) -> Result<Hold, Stop> {
    draft.expire_lots()?;
    let captured = match closing.kind {
        // An unchanged cost moves no money, even where more could be collected by now.
        EntryKind::Seal | EntryKind::Correction if closing.cost.cost == before.cost().cost => before.captured,
        _ => collected(draft, before, closing.cost.cost, direct)?,
    };
    if captured < before.refunded {
        return Err(Refusal::BelowRefunded { refunded: before.refunded }.into());
    }
    let takes = draft.spend(before, captured)?;
    let parts = draft.parts(&before.takes, &takes)?;
    let mut hold = Hold { takes, ..closed(before, &closing, captured, draft.now) };
    let changes = postings(before, &hold, &parts).ok_or(Refusal::TotalTooLarge)?;
    let body = Body::Close(CloseBody {
        state: hold.state,
        cost: closing.cost,
        captured: hold.captured,
        written_off: hold.written_off,
        reported: hold.reported,
        above_ceiling: closing.above_ceiling,
        takes: hold.takes.clone(),
        pinned: direct.then(|| Pinned::of(before)),
        evidence: closing.evidence.cloned(),
    });
    let details =
        Details { hold: Some(&before.id), key: closing.key, label: before.label(), metadata: closing.metadata };
    count(&mut draft.account, before.state, closing.state, direct);
    draft.count((!direct).then_some(before), &hold)?;
    draft.record(closing.kind, changes, &body, details)?;
    hold.seq = draft.account.seq;
    Ok(hold)
}

/// What of `cost` is collected. The hold's own money and its own earlier capture are always payable; beyond them there
/// is what the account can spend, or may owe. What it forfeited is its own too.
fn collected(draft: &mut Draft<'_>, hold: &Hold, cost: Amount, direct: bool) -> Result<Amount, Stop> {
    let forfeited = hold.forfeited();
    let captured = hold.captured.checked_add(forfeited).map_err(|_| Refusal::TotalTooLarge)?;
    let own = hold.held.max(captured);
    let spendable = draft.spendable(hold.model())?;
    let room = |owed: Amount| {
        let parts = [spendable, owed.signed(), hold.held.signed(), captured.signed()];
        let sum = parts.iter().fold(0, |sum: i64, part| sum.saturating_add(part.minor_units()));
        Amount::new(sum.clamp(0, MINOR_UNITS_MAX)).unwrap_or_default().max(own)
    };
    let collectable = match hold.policy.overrun {
        Overrun::Debt => draft.account.limits.debt.map_or(Amount::MAX, room),
        Overrun::CapToAvailable => room(Amount::ZERO),
        Overrun::CapToHold if direct => room(Amount::ZERO),
        Overrun::CapToHold => room(Amount::ZERO).min(own.max(hold.held_at_close)),
    };
    Ok(cost.min(collectable))
}

fn closed(before: &Hold, closing: &Closing<'_>, captured: Amount, now: Timestamp) -> Hold {
    let lapsed = closing.state == HoldState::Lapsed;
    Hold {
        state: closing.state,
        held: Amount::ZERO,
        held_at_close: before.held.max(before.held_at_close),
        provisional: if lapsed { closing.cost } else { Quantity::ZERO },
        settled_as: if is_settlement(closing.kind) { Some(closing.cost) } else { before.settled_as },
        actual: (!lapsed).then_some(closing.cost),
        captured,
        written_off: closing.cost.cost.saturating_sub(captured),
        closed_at: Some(now),
        due: lapsed.then(|| now.saturating_add(before.policy.lease.late)),
        ..before.clone()
    }
}

/// Whether an entry's cost is the owner's own word: said again, it is a repetition, whatever was corrected since.
fn is_settlement(kind: EntryKind) -> bool {
    matches!(kind, EntryKind::Settle | EntryKind::Debit)
}

/// Available h + pc + px - c - x, held -h, revenue b - pc - pw, write-off pw - (b - c), breakage and promotion x - px;
/// see the books in the manual. `parts` is what lots have to do with it.
fn postings(before: &Hold, after: &Hold, parts: &Books) -> Option<Books> {
    let units = Amount::minor_units;
    let change = |plus: [Amount; 2], minus: [Amount; 2]| {
        let [p, q] = plus.map(units);
        let [m, n] = minus.map(units);
        SignedAmount::new(p.saturating_add(q).saturating_sub(m).saturating_sub(n)).ok()
    };
    Some(Books {
        available: change([before.held, before.captured], [after.captured, Amount::ZERO])?
            .checked_add(parts.available)
            .ok()?,
        held: before.held.negated(),
        revenue: change([after.captured, after.written_off], [before.captured, before.written_off])?,
        write_off: change([before.written_off, Amount::ZERO], [after.written_off, Amount::ZERO])?,
        ..*parts
    })
}

/// Keeps the account's numbers of open and lapsed holds.
fn count(account: &mut Account, before: HoldState, after: HoldState, direct: bool) {
    match before {
        HoldState::Open if !direct => account.open_holds = account.open_holds.saturating_sub(1),
        HoldState::Lapsed => account.lapsed_holds = account.lapsed_holds.saturating_sub(1),
        HoldState::Open | HoldState::Settled | HoldState::Released | HoldState::Sealed => {}
    }
    if after == HoldState::Lapsed {
        account.lapsed_holds = account.lapsed_holds.saturating_add(1);
    }
}
