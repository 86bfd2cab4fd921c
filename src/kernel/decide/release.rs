//! Closing a hold unused.

use super::super::draft::{Draft, Stop};
use super::super::{Outcome, Refusal};
use super::Named;
use super::close::{Closing, close};
use super::reserve::blank;
use crate::model::{EntryKind, HoldState, Quantity};

pub(super) fn release(draft: &mut Draft<'_>, named: Named<'_>, waive: bool) -> Result<Outcome, Stop> {
    let Some(hold) = draft.named_hold(named.key, named.id)? else {
        return Ok(tombstone(draft, named));
    };
    let outcome = match hold.state {
        HoldState::Open => Outcome::Ok,
        HoldState::Lapsed => Outcome::OkLate,
        HoldState::Released => return Ok(Outcome::Replayed),
        HoldState::Settled => return Ok(Outcome::AlreadySettled),
        HoldState::Sealed => {
            let actual = hold.actual.unwrap_or(Quantity::ZERO);
            return if actual == Quantity::ZERO {
                Ok(Outcome::Replayed)
            } else {
                Err(Refusal::Sealed { actual }.into())
            };
        }
    };
    if hold.reported != Quantity::ZERO && !waive {
        return Err(Refusal::UsageReported { reported: hold.reported }.into());
    }
    let released = close(draft, &hold, Closing::new(EntryKind::Release, HoldState::Released, Quantity::ZERO), false)?;
    draft.update_hold(released);
    Ok(outcome)
}

/// Takes the name of a hold that was released or abandoned before it was made, so that a late reserve cannot make it.
/// No money is concerned, so no entry is written.
pub(super) fn tombstone(draft: &mut Draft<'_>, named: Named<'_>) -> Outcome {
    let mut hold = blank(draft, named.id, named.key, None, None);
    hold.state = HoldState::Released;
    hold.actual = Some(Quantity::ZERO);
    hold.closed_at = Some(draft.now);
    hold.due = None;
    draft.insert_hold(hold);
    Outcome::Tombstoned
}
