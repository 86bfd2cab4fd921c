//! How much may be granted, and lapsing overdue holds when it is not enough.

use std::sync::Arc;

use super::super::budgets::{Asking, Tightest};
use super::super::draft::{Draft, Stop};
use super::super::{Denial, DenialReason};
use super::lapse;
use crate::model::{Amount, EntryKind, Hold, HoldState, KeyHash, ModelName, SignedAmount, Status};

/// What a reserve or an extension asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish<'a> {
    /// How much more should be held.
    pub(super) more: Amount,
    /// How much the hold holds already.
    pub(super) already: Amount,
    /// The hold that must not lapse on the way; none for a hold that is not made yet.
    pub(super) own: Option<KeyHash>,
    /// The model that is to be paid for.
    pub(super) model: Option<&'a ModelName>,
    /// What is asked of budgets.
    pub(super) asking: Asking<'a>,
}

/// The tightest bound a wish runs into, and what it leaves.
#[derive(Debug)]
struct Bound {
    reason: DenialReason,
    left: SignedAmount,
    budget: Option<Tightest>,
}

/// What can be granted of a wish: all of it, or as much as the tightest bound lets through.
///
/// Where it is not all, overdue holds of the account are lapsed first, oldest deadline first, until it is or none is
/// left. Those lapses stay in the draft: they are dropped with it if the command is refused after all. The same goes
/// for lots that expired: their end is written first. Nothing lapses for a bound that no lapse can move.
pub(super) fn grantable(draft: &mut Draft<'_>, wish: Wish<'_>) -> Result<Result<Amount, Denial>, Stop> {
    draft.expire_lots()?;
    let Some(mut tightest) = bound(draft, wish)? else {
        return Ok(Ok(wish.more));
    };
    if !gives_way(tightest.reason) {
        return denial(draft, wish, tightest).map(Err);
    }
    for hold in overdue(draft, wish.own)? {
        lapse::close_provisionally(draft, &hold, EntryKind::Lapse)?;
        match bound(draft, wish)? {
            Some(bound) => tightest = bound,
            None => return Ok(Ok(wish.more)),
        }
        if !gives_way(tightest.reason) {
            break;
        }
    }
    denial(draft, wish, tightest).map(Err)
}

/// Whether lapsing a hold may move a bound.
fn gives_way(reason: DenialReason) -> bool {
    match reason {
        DenialReason::Funds | DenialReason::Budget | DenialReason::OpenHolds | DenialReason::HeldTooLarge => true,
        DenialReason::HoldTooLarge | DenialReason::Frozen | DenialReason::Closed => false,
    }
}

/// The tightest bound a wish runs into; none if the wish fits.
fn bound(draft: &mut Draft<'_>, wish: Wish<'_>) -> Result<Option<Bound>, Stop> {
    let none_left = |reason| Ok(Some(Bound { reason, left: SignedAmount::ZERO, budget: None }));
    match draft.account.status {
        Status::Active => {}
        Status::Frozen => return none_left(DenialReason::Frozen),
        Status::Closed => return none_left(DenialReason::Closed),
    }
    let limits = draft.account.limits;
    if wish.own.is_none() && limits.open_holds.is_some_and(|max| draft.account.open_holds >= max) {
        return none_left(DenialReason::OpenHolds);
    }
    let held = draft.account.books.held.positive_part();
    // The first of those that leave the same is the tightest: the one that does not give way.
    let bounds = [
        (DenialReason::HoldTooLarge, limits.hold.map(|max| max.saturating_sub(wish.already).signed())),
        (DenialReason::Funds, Some(draft.spendable(wish.model)?)),
        (DenialReason::HeldTooLarge, limits.held.map(|max| max.saturating_sub(held).signed())),
    ];
    let set = bounds.into_iter().filter_map(|(reason, left)| Some((reason, left?)));
    let money = set.min_by_key(|(_, left)| *left).filter(|(_, left)| wish.more.signed() > *left);
    let money = money.map(|(reason, left)| Bound { reason, left, budget: None });
    let budget = draft.tightest(wish.more, wish.asking)?;
    let budget = budget.map(|found| Bound { reason: DenialReason::Budget, left: found.left, budget: Some(found) });
    // Where both leave the same it is the money.
    Ok(money.into_iter().chain(budget).min_by_key(|bound| bound.left))
}

fn denial(draft: &mut Draft<'_>, wish: Wish<'_>, bound: Bound) -> Result<Denial, Stop> {
    let Bound { reason, left, budget } = bound;
    Ok(Denial {
        reason,
        asked: wish.more,
        grantable: left.positive_part(),
        spendable: draft.spendable(wish.model)?,
        retry_after: budget.as_ref().and_then(|budget| budget.retry_after),
        budget: budget.map(|budget| budget.budget),
    })
}

/// The account's overdue open holds, oldest deadline first, then oldest hold first.
fn overdue(draft: &Draft<'_>, except: Option<KeyHash>) -> Result<Vec<Arc<Hold>>, Stop> {
    let keys = draft.overdue()?;
    let mut holds: Vec<_> = keys
        .iter()
        .filter(|key| Some(**key) != except)
        .filter_map(|key| draft.hold(*key))
        .filter(|hold| hold.state == HoldState::Open && lapse::is_due(hold, draft.now))
        .collect();
    holds.sort_unstable_by_key(|hold| (hold.deadline, hold.number));
    // Whatever a store loaded twice lapses once.
    holds.dedup_by_key(|hold| hold.number);
    Ok(holds)
}
