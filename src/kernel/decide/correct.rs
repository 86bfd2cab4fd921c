//! After the settlement: giving back, and replacing a cost that turned out wrong.

use super::super::draft::{Details, Draft, Stop};
use super::super::{Action, Command, Outcome, Refusal};
use super::close::{Closing, close};
use super::{Used, named};
use crate::model::{Amount, Body, Books, EntryKind, Hold, HoldState};

/// Decides a refund or a correction.
pub(super) fn decide(draft: &mut Draft<'_>, command: &Command) -> Result<Outcome, Stop> {
    let (Action::Refund { hold, key, .. } | Action::Correct { hold, key, .. }) = command.action() else {
        return Ok(Outcome::NoOp);
    };
    let named = named(command, hold)?;
    let found = draft.named_hold(named.key, named.id)?.ok_or(Refusal::UnknownHold)?;
    match found.state {
        HoldState::Open | HoldState::Lapsed => return Err(Refusal::NotFinal.into()),
        HoldState::Settled | HoldState::Released | HoldState::Sealed => {}
    }
    let Some((hash, arguments)) = command.operation() else {
        return Ok(Outcome::NoOp);
    };
    if draft.repeated(key, hash, arguments)? {
        return Ok(Outcome::Replayed);
    }
    let details = Details { hold: Some(hold), key: Some((key, hash, arguments)), label: found.label(), metadata: None };
    match command.action() {
        Action::Refund { amount, metadata, .. } => {
            refund(draft, &found, *amount, Details { metadata: metadata.as_ref(), ..details })
        }
        Action::Correct { expected, measured, above_ceiling, metadata, .. } => {
            let used = Used { measured, above_ceiling: *above_ceiling, metadata: metadata.as_ref() };
            correct(draft, &found, *expected, used, &details)
        }
        _ => Ok(Outcome::NoOp),
    }
}

fn refund(draft: &mut Draft<'_>, hold: &Hold, amount: Amount, details: Details<'_>) -> Result<Outcome, Stop> {
    if amount.is_zero() {
        return Err(Refusal::ZeroAmount.into());
    }
    let left = hold.refundable();
    if amount > left {
        return Err(Refusal::ExceedsRefundable { left }.into());
    }
    // Before money goes back to them: what nobody swept ended before this.
    draft.expire_lots()?;

    // From here on the command must succeed.
    let refunded = hold.refunded.checked_add(amount).map_err(|_| Refusal::TotalTooLarge)?;
    let (takes, renewed) = draft.refund(hold, amount)?;
    let parts = draft.parts(&hold.takes, &takes)?;
    let changes = Books { available: amount.signed(), revenue: amount.negated(), ..parts };
    let mut after = Hold { refunded, takes: takes.clone(), ..hold.clone() };
    draft.count(Some(hold), &after)?;
    draft.record(EntryKind::Refund, changes, &Body::Refund { takes, renewed }, details)?;
    after.seq = draft.account.seq;
    draft.update_hold(after);
    Ok(Outcome::Ok)
}

fn correct(
    draft: &mut Draft<'_>,
    hold: &Hold,
    expected: Amount,
    used: Used<'_>,
    details: &Details<'_>,
) -> Result<Outcome, Stop> {
    let actual = hold.actual.unwrap_or_default();
    if actual.cost != expected {
        return Err(Refusal::Conflict { recorded: actual }.into());
    }
    used.believable(hold.ceiling)?;
    let state = if hold.state == HoldState::Sealed { HoldState::Sealed } else { HoldState::Settled };
    let closing =
        Closing { key: details.key, ..Closing::new(EntryKind::Correction, state, used.measured.quantity).used(used) };
    let corrected = close(draft, hold, closing, false)?;
    draft.update_hold(corrected);
    Ok(Outcome::Ok)
}
