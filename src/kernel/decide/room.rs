//! How much may be granted, and lapsing overdue holds when it is not enough.

use std::sync::Arc;

use super::super::draft::{Draft, Stop};
use super::super::{Denial, DenialReason};
use super::lapse;
use crate::model::{Account, Amount, EntryKind, Hold, HoldState, KeyHash, Status};

/// What a reserve or an extension asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    /// How much more should be held.
    pub(super) more: Amount,
    /// How much the hold holds already.
    pub(super) already: Amount,
    /// The hold that must not lapse on the way; none for a hold that is not made yet.
    pub(super) own: Option<KeyHash>,
}

/// What can be granted of a wish: all of it, or as much as the tightest bound lets through.
///
/// Where it is not all, overdue holds of the account are lapsed first, oldest deadline first, until it is or none is
/// left. Those lapses stay in the draft: they are dropped with it if the command is refused after all.
pub(super) fn grantable(draft: &mut Draft<'_>, wish: Wish) -> Result<Result<Amount, Denial>, Stop> {
    let first = bound(&draft.account, wish);
    if first.is_none() {
        return Ok(Ok(wish.more));
    }
    if let Some((DenialReason::Frozen | DenialReason::Closed, _)) = first {
        return Ok(Err(denial(&draft.account, wish, first)));
    }
    for hold in overdue(draft, wish.own)? {
        lapse::close_provisionally(draft, &hold, EntryKind::Lapse)?;
        if bound(&draft.account, wish).is_none() {
            return Ok(Ok(wish.more));
        }
    }
    let tightest = bound(&draft.account, wish);
    Ok(Err(denial(&draft.account, wish, tightest)))
}

/// The tightest bound a wish runs into, with what it leaves; none if the wish fits.
fn bound(account: &Account, wish: Wish) -> Option<(DenialReason, Amount)> {
    let limits = &account.limits;
    match account.status {
        Status::Active => {}
        Status::Frozen => return Some((DenialReason::Frozen, Amount::ZERO)),
        Status::Closed => return Some((DenialReason::Closed, Amount::ZERO)),
    }
    if wish.own.is_none() && limits.open_holds.is_some_and(|max| account.open_holds >= max) {
        return Some((DenialReason::OpenHolds, Amount::ZERO));
    }
    let held = account.books.held.positive_part();
    let bounds = [
        (DenialReason::Funds, Some(account.spendable())),
        (DenialReason::HoldTooLarge, limits.hold.map(|max| max.saturating_sub(wish.already).signed())),
        (DenialReason::HeldTooLarge, limits.held.map(|max| max.saturating_sub(held).signed())),
    ];
    let set = bounds.into_iter().filter_map(|(reason, left)| Some((reason, left?)));
    let (reason, left) = set.min_by_key(|(_, left)| *left)?;
    (wish.more.signed() > left).then_some((reason, left.positive_part()))
}

fn denial(account: &Account, wish: Wish, bound: Option<(DenialReason, Amount)>) -> Denial {
    let (reason, grantable) = bound.unwrap_or((DenialReason::Funds, Amount::ZERO));
    Denial { reason, asked: wish.more, grantable, spendable: account.spendable(), retry_after: None }
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
