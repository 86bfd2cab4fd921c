//! How a cost gets into the books, and how room is made for a hold.

use std::sync::Arc;
use std::time::Duration;

use super::account::{AccountModel, MAX, Moment, amount_of, units};
use super::hold::{HoldModel, Used, span_after};
use super::lots::Coins;
use crate::kernel::{Denial, DenialReason, Exhausted, Outcome, Refusal};
use crate::model::{CallToken, HoldId, HoldState, Lease, OnLapse, Overrun, Policy, SignedAmount, Status, Terms};

/// What a reserve, an extension or a debit would like to have.
#[derive(Clone, Copy)]
pub(super) struct Wish<'a> {
    pub(super) more: i128,
    pub(super) already: i128,
    /// The hold that is extended; none where a new one is wanted.
    pub(super) own: Option<&'a HoldId>,
    pub(super) terms: Option<&'a Terms>,
    /// Whether budgets may refuse it.
    pub(super) is_gated: bool,
}

/// What is in the way of a wish, and how much it lets through; less than nothing where it is overdrawn already.
pub(super) struct Obstacle {
    pub(super) reason: DenialReason,
    pub(super) left: i128,
    pub(super) retry_after: Option<Duration>,
    pub(super) budget: Option<Arc<Exhausted>>,
}

impl Obstacle {
    fn new(reason: DenialReason, left: i128) -> Self {
        Self { reason, left, retry_after: None, budget: None }
    }
}

impl AccountModel {
    /// The one way a cost gets into the books: what was collected before goes back, then as much as may be is taken.
    pub(super) fn close(
        &mut self,
        now: i128,
        id: &HoldId,
        hold: HoldModel,
        state: HoldState,
        cost: Used,
    ) -> Result<(), Refusal> {
        self.expire_lots(now)?;
        // An unchanged cost moves no money, in a seal and in a correction alike.
        let unchanged = hold.is_final() || state == HoldState::Sealed;
        let captured =
            if unchanged && hold.cost().0 == cost.0 { hold.captured } else { self.payable(now, id, &hold, cost.0) };
        if captured < hold.refunded {
            return Err(Refusal::BelowRefunded { refunded: amount_of(hold.refunded) });
        }
        let mut hold = hold;
        self.spend(now, &mut hold, captured);
        let lapsed = state == HoldState::Lapsed;
        let closed = HoldModel {
            state,
            held: 0,
            held_at_close: hold.held.max(hold.held_at_close),
            provisional: if lapsed { cost } else { (0, 0) },
            actual: (!lapsed).then_some(cost),
            captured,
            written_off: cost.0 - captured,
            closed_at: Some(now),
            due: lapsed.then(|| span_after(now, hold.policy.lease.late)),
            ..hold
        };
        self.holds.insert(id.clone(), closed);
        self.entry(now)
    }

    /// What of a cost can be collected from a hold.
    pub(super) fn payable(&self, now: i128, id: &HoldId, hold: &HoldModel, cost: i128) -> i128 {
        let exists = self.holds.contains_key(id);
        // What came back too late is its own as well.
        let captured = hold.captured + hold.coins.lost.values().sum::<i128>();
        let own = hold.held.max(captured);
        let free = self.spendable_at(now, hold.model()) + hold.held + captured;
        let room = |cap: i128| (free + cap).max(own).max(0);
        let most = match (hold.policy.overrun, self.limits.debt) {
            (Overrun::Debt, None) => cost,
            (Overrun::Debt, Some(cap)) => room(units(cap)),
            (Overrun::CapToHold, _) if exists => room(0).min(own.max(hold.held_at_close)),
            (Overrun::CapToAvailable | Overrun::CapToHold, _) => room(0),
        };
        cost.min(most)
    }

    pub(super) fn close_by_policy(&mut self, now: i128, id: &HoldId, hold: HoldModel) -> Result<(), Refusal> {
        let cost = match hold.policy.on_lapse {
            OnLapse::Release => (0, 0),
            OnLapse::CaptureReported => hold.reported,
            OnLapse::CaptureHeld => (hold.held.max(hold.reported.0), hold.reported.1),
        };
        self.close(now, id, hold, HoldState::Lapsed, cost)
    }

    /// Makes room for a wish by lapsing overdue holds, oldest deadline first; says what is in the way if it cannot. How
    /// large one hold may be does not depend on others: none lapses for that.
    pub(super) fn room(&mut self, at: Moment, wish: Wish<'_>) -> Result<Result<(), Denial>, Refusal> {
        self.expire_lots(at.now)?;
        if self.status == Status::Active {
            let overdue = |hold: &HoldModel| {
                hold.state == HoldState::Open && hold.due <= Some(at.store) && hold.closable_at() <= at.now
            };
            let found = self.holds.iter().filter(|(id, hold)| overdue(hold) && Some(*id) != wish.own);
            let mut order: Vec<_> = found.map(|(id, hold)| (hold.deadline, hold.number, id.clone())).collect();
            order.sort();
            for (_, _, id) in order {
                if self.obstacle(at.now, wish).is_none_or(|found| found.reason == DenialReason::HoldTooLarge) {
                    break;
                }
                if let Some(hold) = self.holds.get(&id).cloned() {
                    self.close_by_policy(at.now, &id, hold)?;
                }
            }
        }
        let spendable = self.spendable_at(at.now, wish.terms.and_then(|terms| terms.model.as_ref())).clamp(-MAX, MAX);
        Ok(self.obstacle(at.now, wish).map_or(Ok(()), |Obstacle { reason, left, retry_after, budget }| {
            let spendable = SignedAmount::new(i64::try_from(spendable).unwrap_or(0)).unwrap_or_default();
            let (asked, grantable) = (amount_of(wish.more), amount_of(left.max(0)));
            Err(Denial { reason, asked, grantable, spendable, retry_after, budget })
        }))
    }

    /// The tightest bound a wish runs into and what it leaves.
    pub(super) fn obstacle(&self, now: i128, wish: Wish<'_>) -> Option<Obstacle> {
        match self.status {
            Status::Active => {}
            Status::Frozen => return Some(Obstacle::new(DenialReason::Frozen, 0)),
            Status::Closed => return Some(Obstacle::new(DenialReason::Closed, 0)),
        }
        let open = u32::try_from(self.count(HoldState::Open)).unwrap_or(u32::MAX);
        if wish.own.is_none() && self.limits.open_holds.is_some_and(|most| open >= most) {
            return Some(Obstacle::new(DenialReason::OpenHolds, 0));
        }
        let model = wish.terms.and_then(|terms| terms.model.as_ref());
        let mut tightest = Obstacle::new(DenialReason::Funds, self.spendable_at(now, model));
        let hold = self.limits.hold.map(|most| (units(most) - wish.already).max(0));
        let held = self.limits.held.map(|most| (units(most) - self.totals().held).max(0));
        // Enough money would not help where the hold may not be larger.
        if let Some(left) = hold.filter(|left| *left <= tightest.left) {
            tightest = Obstacle::new(DenialReason::HoldTooLarge, left);
        }
        if let Some(left) = held.filter(|left| *left < tightest.left) {
            tightest = Obstacle::new(DenialReason::HeldTooLarge, left);
        }
        let money = Some(tightest).filter(|money| wish.more > money.left);
        // Where both leave the same it is the money.
        match (money, self.exhausted(now, wish)) {
            (Some(money), Some(budget)) if budget.left < money.left => Some(budget),
            (money, budget) => money.or(budget),
        }
    }

    /// A hold with nothing in it yet.
    pub(super) fn fresh(&self, now: i128, terms: Option<Terms>, lease: Option<Lease>) -> HoldModel {
        let asked = terms.as_ref();
        let policy = Policy {
            on_lapse: asked.and_then(|terms| terms.on_lapse).unwrap_or(self.policy.on_lapse),
            overrun: asked.and_then(|terms| terms.overrun).unwrap_or(self.policy.overrun),
            lease: lease.unwrap_or(self.policy.lease),
        };
        let deadline = span_after(now, policy.lease.ttl);
        HoldModel {
            state: HoldState::Open,
            number: self.holds.len(),
            terms,
            direct: false,
            token: CallToken::default(),
            policy,
            ceiling: self.limits.ceiling.map(units),
            windows: Vec::new(),
            coins: Coins::default(),
            held: 0,
            held_at_close: 0,
            reported: (0, 0),
            provisional: (0, 0),
            settled_as: None,
            actual: None,
            captured: 0,
            written_off: 0,
            refunded: 0,
            deadline,
            due: Some(span_after(deadline, policy.lease.grace)),
            closed_at: None,
        }
    }

    /// Takes a name away, so that a late reserve makes no hold. No money, no entry.
    pub(super) fn tombstone(&mut self, now: i128, id: &HoldId) -> Outcome {
        let blank = self.fresh(now, None, None);
        let stone =
            HoldModel { state: HoldState::Released, actual: Some((0, 0)), closed_at: Some(now), due: None, ..blank };
        self.holds.insert(id.clone(), stone);
        Outcome::Tombstoned
    }
}
