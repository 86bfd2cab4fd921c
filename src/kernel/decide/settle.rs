//! Closing a hold with what was really used. Never refused for lack of money.

use std::sync::Arc;

use super::super::budgets::Asking;
use super::super::draft::{Draft, Stop};
use super::super::{Outcome, Refusal};
use super::close::{Closing, close};
use super::reserve::blank;
use super::room::{Wish, grantable};
use super::{Named, Used};
use crate::model::{Amount, EntryKind, Hold, HoldState, Quantity, Terms};

pub(super) fn settle(
    draft: &mut Draft<'_>,
    named: Named<'_>,
    used: Used<'_>,
    or_debit: Option<&Arc<Terms>>,
) -> Result<Outcome, Stop> {
    let Some(hold) = draft.named_hold(named.key, named.id)? else {
        let terms = or_debit.ok_or(Refusal::UnknownHold)?;
        used.believable(draft.account.limits.ceiling)?;
        return direct(draft, named, terms, EntryKind::Settle, used);
    };
    let outcome = match hold.state {
        HoldState::Open => Outcome::Ok,
        HoldState::Lapsed => Outcome::OkLate,
        HoldState::Settled | HoldState::Released | HoldState::Sealed => return Ok(repeated(&hold, used)?),
    };
    used.believable(hold.ceiling)?;
    let closing = Closing::new(EntryKind::Settle, HoldState::Settled, used.measured.quantity).used(used);
    let settled = close(draft, &hold, closing, false)?;
    draft.update_hold(settled);
    Ok(outcome)
}

/// Reserve and settle in one: for a known cost. Gated like a reserve.
pub(super) fn debit(
    draft: &mut Draft<'_>,
    named: Named<'_>,
    terms: &Arc<Terms>,
    used: Used<'_>,
) -> Result<Outcome, Stop> {
    if let Some(hold) = draft.named_hold(named.key, named.id)? {
        return match hold.state {
            // The name belongs to a request that runs: what it will cost is not known yet.
            HoldState::Open | HoldState::Lapsed => Err(Refusal::Conflict { recorded: hold.cost() }.into()),
            HoldState::Settled | HoldState::Released | HoldState::Sealed => Ok(repeated(&hold, used)?),
        };
    }
    // A cost nobody believes is told as that, not as one that is too dear.
    used.believable(draft.account.limits.ceiling)?;
    // Budgets count it and refuse nothing.
    let (model, asking) = (terms.model.as_ref(), Asking::Nothing);
    let wish = Wish { more: used.measured.quantity.cost, already: Amount::ZERO, own: None, model, asking };
    match grantable(draft, wish)? {
        Ok(_) if draft.account.base().is_negative() => Err(Refusal::InDebt.into()),
        Ok(_) => direct(draft, named, terms, EntryKind::Debit, used),
        Err(denial) => Err(Refusal::Denied(denial).into()),
    }
}

/// Charges a cost that is believed under a name no hold has.
fn direct(
    draft: &mut Draft<'_>,
    named: Named<'_>,
    terms: &Arc<Terms>,
    kind: EntryKind,
    used: Used<'_>,
) -> Result<Outcome, Stop> {
    let mut hold = blank(draft, named.id, named.key, Some(Arc::clone(terms)), None);
    hold.direct = true;
    hold.windows = draft.windows_of(&terms.scopes)?;
    let closing = Closing::new(kind, HoldState::Settled, used.measured.quantity).used(used);
    let settled = close(draft, &hold, closing, true)?;
    draft.insert_hold(settled);
    Ok(Outcome::OkDirect)
}

/// The answer to a settlement of a hold whose cost is final.
fn repeated(hold: &Hold, used: Used<'_>) -> Result<Outcome, Refusal> {
    let quantity = used.measured.quantity;
    let actual = hold.actual.unwrap_or(Quantity::ZERO);
    if quantity == actual || Some(quantity) == hold.settled_as {
        return Ok(Outcome::Replayed);
    }
    if hold.state == HoldState::Sealed {
        Err(Refusal::Sealed { actual })
    } else {
        Err(Refusal::Conflict { recorded: actual })
    }
}
