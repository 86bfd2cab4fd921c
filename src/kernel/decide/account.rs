//! Opening an account, and what it is held to.

use std::sync::Arc;

use super::super::draft::{Details, Draft, Stop};
use super::super::{Command, Counters, Outcome, Refusal};
use crate::model::{
    Account, Amount, Asset, Body, Books, ChainHash, EntryKind, LedgerId, Limits, MINOR_UNITS_MAX, OpenBody, Policy,
    Status,
};

/// The account a first `open` makes, before its first entry.
pub(in super::super) fn opened(
    ledger: LedgerId,
    counters: &Counters,
    command: &Command,
    asset: Asset,
    limits: Limits,
    policy: Policy,
) -> Account {
    let id = command.account().clone();
    let genesis = ChainHash::genesis(ledger, &id, asset);
    Account::new(id, counters.account.saturating_add(1), asset, limits, policy, genesis)
}

pub(super) fn open(draft: &mut Draft<'_>, asset: Asset, limits: Limits, policy: Policy) -> Result<Outcome, Stop> {
    if draft.account.asset != asset {
        return Err(Refusal::AccountExists.into());
    }
    if draft.account.seq > 0 {
        return Ok(Outcome::Replayed);
    }
    within_half(limits.credit)?;
    let body = Body::Open(OpenBody { asset, limits, policy });
    draft.record(EntryKind::Open, Books::default(), &body, Details::default())?;
    Ok(Outcome::Ok)
}

pub(super) fn set_limits(draft: &mut Draft<'_>, limits: Limits, policy: Policy) -> Result<Outcome, Stop> {
    if (draft.account.limits, draft.account.policy) == (limits, policy) {
        return Ok(Outcome::Replayed);
    }
    within_half(limits.credit)?;
    draft.account.limits = limits;
    draft.account.policy = policy;
    draft.record(EntryKind::LimitChange, Books::default(), &Body::Limits(limits, policy), Details::default())?;
    Ok(Outcome::Ok)
}

pub(super) fn set_status(draft: &mut Draft<'_>, status: Status, reason: &Arc<str>) -> Result<Outcome, Stop> {
    let account = &draft.account;
    if account.status == status {
        return Ok(Outcome::Replayed);
    }
    if status == Status::Closed && (account.open_holds > 0 || account.lapsed_holds > 0) {
        return Err(Refusal::HoldsPending { open: account.open_holds, lapsed: account.lapsed_holds }.into());
    }
    draft.account.status = status;
    let body = Body::Status(status, Arc::clone(reason));
    draft.record(EntryKind::StatusChange, Books::default(), &body, Details::default())?;
    Ok(Outcome::Ok)
}

/// Refuses limits that could carry a total past half of its range.
fn within_half(limit: Amount) -> Result<(), Refusal> {
    if limit.minor_units() > MINOR_UNITS_MAX / 2 { Err(Refusal::TotalTooLarge) } else { Ok(()) }
}
