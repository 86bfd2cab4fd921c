//! Making a hold.

use std::sync::Arc;

use super::super::budgets::Asking;
use super::super::draft::{Details, Draft, Stop};
use super::super::{Outcome, Refusal};
use super::room::{Wish, grantable};
use crate::model::{
    Amount, Body, Books, CallToken, EntryKind, Hold, HoldId, HoldState, KeyHash, Lease, Metadata, Pinned, Policy, Terms,
};

/// What a call of reserve asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub(super) id: &'a HoldId,
    pub(super) key: KeyHash,
    pub(super) terms: &'a Arc<Terms>,
    pub(super) lease: Option<Lease>,
    pub(super) token: CallToken,
}

pub(super) fn reserve(draft: &mut Draft<'_>, asked: &Asked<'_>, metadata: Option<&Metadata>) -> Result<Outcome, Stop> {
    if asked.terms.min.is_some_and(|min| min > asked.terms.amount) {
        return Err(Refusal::InvalidMin.into());
    }
    if let Some(hold) = draft.named_hold(asked.key, asked.id)? {
        return repeated(&hold, asked).map_err(Stop::from);
    }
    let model = asked.terms.model.as_ref();
    let asking = Asking::New { scopes: &asked.terms.scopes, tokens: asked.terms.tokens };
    let wish = Wish { more: asked.terms.amount, already: Amount::ZERO, own: None, model, asking };
    let held = match (grantable(draft, wish)?, asked.terms.min) {
        (Ok(all), _) => all,
        (Err(denial), Some(min)) if denial.grantable >= min && !denial.grantable.is_zero() => denial.grantable,
        (Err(denial), _) => return Err(Refusal::Denied(denial).into()),
    };

    // From here on the command must succeed.
    let mut hold = blank(draft, asked.id, asked.key, Some(Arc::clone(asked.terms)), asked.lease);
    hold.held = held;
    hold.token = asked.token;
    hold.windows = draft.windows_of(&asked.terms.scopes)?;
    hold.takes = draft.take(&[], held, model, |take| &mut take.held)?;
    draft.account.open_holds = draft.account.open_holds.saturating_add(1);
    let changes = Books { available: held.negated(), held: held.signed(), ..draft.parts(&[], &hold.takes)? };
    draft.count(None, &hold)?;
    let body = Body::Reserve { pinned: Pinned::of(&hold), takes: hold.takes.clone() };
    let details = Details { hold: Some(asked.id), label: hold.label(), metadata, ..Details::default() };
    draft.record(EntryKind::Reserve, changes, &body, details)?;
    hold.seq = draft.account.seq;
    draft.insert_hold(hold);
    Ok(if held == asked.terms.amount { Outcome::Created } else { Outcome::CreatedPartial })
}

/// An open hold with nothing in it yet, and what is pinned in every hold however it comes about.
pub(super) fn blank(
    draft: &mut Draft<'_>,
    id: &HoldId,
    key: KeyHash,
    terms: Option<Arc<Terms>>,
    lease: Option<Lease>,
) -> Hold {
    let chosen = draft.account.policy;
    let policy = Policy {
        on_lapse: terms.as_ref().and_then(|terms| terms.on_lapse).unwrap_or(chosen.on_lapse),
        overrun: terms.as_ref().and_then(|terms| terms.overrun).unwrap_or(chosen.overrun),
        lease: lease.unwrap_or(chosen.lease),
    };
    let pinned = Pinned { terms, direct: false, policy, ceiling: draft.account.limits.ceiling, windows: Vec::new() };
    let account = draft.account.number;
    Hold::new(id.clone(), draft.next_hold_number(), account, key, pinned, draft.now)
}

/// The answer to a reserve of a hold that exists.
fn repeated(hold: &Hold, asked: &Asked<'_>) -> Result<Outcome, Refusal> {
    let Some(terms) = hold.terms.as_ref().filter(|_| !hold.direct) else {
        // A tombstone or a direct debit took the name, whatever was asked for.
        return Ok(Outcome::AlreadyClosed);
    };
    let differing = terms.differing(asked.terms);
    if !differing.is_empty() {
        return Err(Refusal::OtherTerms { differing });
    }
    match hold.state {
        // The engine asked again for a caller whose answer was lost: to that caller the hold is new.
        HoldState::Open if hold.token == asked.token => {
            Ok(if hold.held < terms.amount { Outcome::CreatedPartial } else { Outcome::Created })
        }
        HoldState::Open => Ok(Outcome::Replayed),
        HoldState::Lapsed | HoldState::Settled | HoldState::Released | HoldState::Sealed => Ok(Outcome::AlreadyClosed),
    }
}
