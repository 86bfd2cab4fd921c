//! While a stream runs: renew, extend, report. All three state a target, so they may be repeated, delayed and reordered.

use std::time::Duration;

use super::super::budgets::Asking;
use super::super::draft::{Details, Draft, Stop};
use super::super::{DenialReason, Outcome, Refusal};
use super::room::{Wish, grantable};
use super::{Named, Used};
use crate::model::{Amount, Body, Books, EntryKind, Hold, HoldState, Measured};

pub(super) fn renew(draft: &mut Draft<'_>, named: Named<'_>, ttl: Option<Duration>) -> Result<Outcome, Stop> {
    let mut hold = open(draft, named)?;
    let deadline = draft.now.saturating_add(ttl.unwrap_or(hold.policy.lease.ttl));
    if deadline > hold.deadline {
        hold.deadline = deadline;
        draft.update_hold(hold);
    }
    Ok(Outcome::Ok)
}

pub(super) fn extend(draft: &mut Draft<'_>, named: Named<'_>, target: Amount, partial: bool) -> Result<Outcome, Stop> {
    let mut hold = open(draft, named)?;
    let Ok(more) = target.checked_sub(hold.held) else {
        return Ok(Outcome::Ok);
    };
    if more.is_zero() {
        return Ok(Outcome::Ok);
    }
    let model = hold.model();
    let wish = Wish { more, already: hold.held, own: Some(named.key), model, asking: Asking::More(&hold) };
    let (granted, outcome) = match grantable(draft, wish)? {
        Ok(all) => (all, Outcome::Ok),
        Err(denial) if partial && !matches!(denial.reason, DenialReason::Frozen | DenialReason::Closed) => {
            (denial.grantable, Outcome::OkPartial)
        }
        Err(denial) => return Err(Refusal::Denied(denial).into()),
    };
    if granted.is_zero() {
        return Ok(outcome);
    }

    // From here on the command must succeed.
    let before = hold.clone();
    hold.held = hold.held.checked_add(granted).map_err(|_| Refusal::TotalTooLarge)?;
    hold.takes = draft.take(&before.takes, granted, before.model(), |take| &mut take.held)?;
    let parts = draft.parts(&before.takes, &hold.takes)?;
    draft.count(Some(&before), &hold)?;
    let changes = Books { available: granted.negated(), held: granted.signed(), ..parts };
    let details = Details { hold: Some(named.id), label: hold.label(), ..Details::default() };
    draft.record(EntryKind::Extend, changes, &Body::Extend { takes: hold.takes.clone() }, details)?;
    hold.seq = draft.account.seq;
    draft.update_hold(hold);
    Ok(outcome)
}

pub(super) fn report(
    draft: &mut Draft<'_>,
    named: Named<'_>,
    measured: &Measured,
    above_ceiling: bool,
) -> Result<Outcome, Stop> {
    let hold = draft.named_hold(named.key, named.id)?.ok_or(Refusal::UnknownHold)?;
    let outcome = match hold.state {
        HoldState::Open => Outcome::Ok,
        HoldState::Lapsed => Outcome::LeaseLost,
        HoldState::Settled | HoldState::Released | HoldState::Sealed => return Err(Refusal::Closed.into()),
    };
    Used { measured, above_ceiling, metadata: None }.believable(hold.ceiling)?;
    let reported = hold.reported.max(measured.quantity);
    if reported != hold.reported {
        draft.update_hold(Hold { reported, ..(*hold).clone() });
    }
    Ok(outcome)
}

fn open(draft: &Draft<'_>, named: Named<'_>) -> Result<Hold, Stop> {
    let hold = draft.named_hold(named.key, named.id)?.ok_or(Refusal::UnknownHold)?;
    match hold.state {
        HoldState::Open => Ok((*hold).clone()),
        HoldState::Lapsed => Err(Refusal::LeaseLost.into()),
        HoldState::Settled | HoldState::Released | HoldState::Sealed => Err(Refusal::Closed.into()),
    }
}
