//! Closing a hold without its owner's word: provisionally first, finally later.

use super::super::Outcome;
use super::super::draft::{Draft, Stop};
use super::Named;
use super::close::{Closing, close};
use super::release::tombstone;
use crate::model::{EntryKind, Hold, HoldState, OnLapse, Quantity, Timestamp};

/// The owner does not know what was used.
pub(super) fn abandon(draft: &mut Draft<'_>, named: Named<'_>) -> Result<Outcome, Stop> {
    let Some(hold) = draft.named_hold(named.key, named.id)? else {
        return Ok(tombstone(draft, named));
    };
    if hold.state != HoldState::Open {
        return Ok(Outcome::NoOp);
    }
    close_provisionally(draft, &hold, EntryKind::Abandon)?;
    Ok(Outcome::Abandoned)
}

/// The sweeper looks at a hold that may be overdue.
pub(super) fn lapse(draft: &mut Draft<'_>, named: Named<'_>) -> Result<Outcome, Stop> {
    let Some(hold) = draft.named_hold(named.key, named.id)?.filter(|hold| hold.state == HoldState::Open) else {
        return Ok(Outcome::NoOp);
    };
    if is_due(&hold, draft.now) {
        close_provisionally(draft, &hold, EntryKind::Lapse)?;
        return Ok(Outcome::Lapsed);
    }
    // Renewals leave `due` alone, so that they touch no index; the sweeper moves it when it comes by too early.
    let due = Some(closable_at(&hold));
    if hold.due != due {
        draft.update_hold(Hold { due, ..(*hold).clone() });
    }
    Ok(Outcome::NotDue)
}

/// The sweeper looks at a lapsed hold whose late window may be over.
pub(super) fn seal(draft: &mut Draft<'_>, named: Named<'_>) -> Result<Outcome, Stop> {
    let Some(hold) = draft.named_hold(named.key, named.id)?.filter(|hold| hold.state == HoldState::Lapsed) else {
        return Ok(Outcome::NoOp);
    };
    if hold.due.is_none_or(|due| draft.now < due) {
        return Ok(Outcome::NotDue);
    }
    let cost = match hold.policy.on_lapse {
        OnLapse::CaptureReported => hold.provisional.max(hold.reported),
        OnLapse::Release | OnLapse::CaptureHeld => hold.provisional,
    };
    let sealed = close(draft, &hold, unattended(&hold, EntryKind::Seal, HoldState::Sealed, cost), false)?;
    draft.update_hold(sealed);
    Ok(Outcome::Sealed)
}

/// Whether the sweeper may close an open hold.
pub(super) fn is_due(hold: &Hold, now: Timestamp) -> bool {
    now >= closable_at(hold)
}

/// Closes an open hold by its policy.
pub(super) fn close_provisionally(draft: &mut Draft<'_>, hold: &Hold, kind: EntryKind) -> Result<(), Stop> {
    let cost = match hold.policy.on_lapse {
        OnLapse::Release => Quantity::ZERO,
        OnLapse::CaptureReported => hold.reported,
        OnLapse::CaptureHeld => Quantity { cost: hold.held.max(hold.reported.cost), tokens: hold.reported.tokens },
    };
    let lapsed = close(draft, hold, unattended(hold, kind, HoldState::Lapsed, cost), false)?;
    draft.update_hold(lapsed);
    Ok(())
}

/// A closing that goes by what was reported, if by anything.
fn unattended(hold: &Hold, kind: EntryKind, state: HoldState, cost: Quantity) -> Closing<'static> {
    // A report writes no entry, and only an operator's override lets one past the ceiling: here it is recorded.
    let is_reported = cost.cost <= hold.reported.cost;
    let above_ceiling = is_reported && hold.ceiling.is_some_and(|ceiling| cost.cost > ceiling);
    Closing { above_ceiling, ..Closing::new(kind, state, cost) }
}

fn closable_at(hold: &Hold) -> Timestamp {
    hold.deadline.saturating_add(hold.policy.lease.grace)
}
