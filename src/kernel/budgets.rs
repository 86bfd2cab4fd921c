//! What budgets admit, and what is counted in their windows.
//!
//! A hold is charged to the windows it was made in: they are pinned in it. Whatever changes a hold changes them, by the
//! difference of what it counts for before and after.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use super::draft::{Draft, Stop};
use super::{Exhausted, Refusal};
use crate::model::{
    Amount, Budget, BudgetKey, Charged, Hold, MINOR_UNITS_MAX, Metric, Period, Scope, SignedAmount, Tally, WindowKey,
};

/// What is asked of budgets.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asking<'a> {
    /// A new hold, in the windows of now.
    New {
        /// What it counts towards.
        scopes: &'a [Scope],
        /// The tokens it may use.
        tokens: u64,
    },
    /// More money for a hold, in the windows it was made in.
    More(&'a Hold),
    /// Nothing: what is charged whatever they say.
    Nothing,
}

/// The budget that lets the least through, and how much money that is.
#[derive(Debug)]
pub(super) struct Tightest {
    pub(super) left: SignedAmount,
    pub(super) budget: Arc<Exhausted>,
    pub(super) retry_after: Option<Duration>,
}

impl<'a> Draft<'a> {
    /// The budget that lets the least of `more` money through; none if every one lets all through.
    pub(super) fn tightest(&self, more: Amount, asking: Asking<'_>) -> Result<Option<Tightest>, Stop> {
        let asked = |metric| match (metric, asking) {
            (Metric::Spend, _) => units(more),
            (Metric::Requests, Asking::New { .. }) => 1,
            (Metric::Tokens, Asking::New { tokens, .. }) => tokens,
            (Metric::Requests | Metric::Tokens, Asking::More(_) | Asking::Nothing) => 0,
        };
        let account = self.account.number;
        let mut tightest: Option<(_, &Budget, _, Period)> = None;
        for (budget, period) in self.asked(asking)? {
            let window = self.window(WindowKey { account, budget: budget.number, start: period.start })?;
            let counted = u128::from(window.used).saturating_add(u128::from(window.held));
            let limit = budget.cap.limit();
            if counted.saturating_add(u128::from(asked(budget.cap.metric()))) <= u128::from(limit) {
                continue;
            }
            let left = i128::from(limit).saturating_sub(i128::try_from(counted).unwrap_or(i128::MAX));
            // Less of a request, or fewer of its tokens, is no request: nothing gets through.
            let money = if budget.cap.metric() == Metric::Spend { left } else { left.min(0) };
            let rank = (money, Reverse(period.end.is_none()), Reverse(period.end), budget.number);
            if tightest.as_ref().is_none_or(|(best, ..)| rank < *best) {
                tightest = Some((rank, budget, left, period));
            }
        }
        Ok(tightest.map(|((money, ..), budget, left, period)| Tightest {
            left: signed(money),
            retry_after: period.left(self.now),
            budget: Arc::new(Exhausted {
                number: budget.number,
                scope: budget.scope.clone(),
                window: budget.window.clone(),
                cap: budget.cap,
                left: u64::try_from(left).unwrap_or(0),
                resets_at: period.end,
            }),
        }))
    }

    /// The windows a new hold of these scopes is charged to.
    pub(super) fn windows_of(&self, scopes: &[Scope]) -> Result<Vec<Charged>, Stop> {
        let budgets = self.asked(Asking::New { scopes, tokens: 0 })?;
        let charged = |(budget, period): (&Budget, Period)| Charged {
            budget: budget.number,
            metric: budget.cap.metric(),
            start: period.start,
        };
        let mut windows: Vec<_> = budgets.into_iter().map(charged).collect();
        windows.sort_unstable_by_key(|window| window.budget);
        Ok(windows)
    }

    /// Counts in the windows of a hold what its change makes of it.
    pub(super) fn count(&mut self, before: Option<&Hold>, after: &Hold) -> Result<(), Stop> {
        for charged in &after.windows {
            let was = before.map_or_else(Tally::default, |hold| hold.tally(charged.metric));
            let is = after.tally(charged.metric);
            if was == is {
                continue;
            }
            let account = after.account_number;
            let counted = self.window(WindowKey { account, budget: charged.budget, start: charged.start })?;
            let mut window = counted;
            window.used = moved(window.used, was.used, is.used)?;
            window.held = moved(window.held, was.held, is.held)?;
            self.put_window(counted, window);
        }
        Ok(())
    }

    /// The budgets that are asked, and in which window.
    fn asked(&self, asking: Asking<'_>) -> Result<Vec<(&'a Budget, Period)>, Stop> {
        let mut asked = Vec::new();
        if self.account.budgets == 0 {
            return Ok(asked);
        }
        let (scopes, pinned) = match asking {
            Asking::New { scopes, .. } => (scopes, None),
            Asking::More(hold) => {
                (hold.terms.as_deref().map_or(&[][..], |terms| terms.scopes.as_slice()), Some(&hold.windows))
            }
            Asking::Nothing => return Ok(asked),
        };
        let account = self.account.number;
        for scope in std::iter::once(None).chain(scopes.iter().cloned().map(Some)) {
            for budget in self.budgets(BudgetKey { account, scope })? {
                let period = match pinned {
                    None => budget.window.at(self.now),
                    Some(windows) => match windows.iter().find(|charged| charged.budget == budget.number) {
                        // To this hold its window never ends.
                        Some(charged) => Period { start: charged.start, end: None },
                        None => continue,
                    },
                };
                if budget.active && (pinned.is_none() || budget.cap.metric() == Metric::Spend) {
                    asked.push((&**budget, period));
                }
            }
        }
        Ok(asked)
    }
}

fn units(amount: Amount) -> u64 {
    amount.minor_units().unsigned_abs()
}

fn signed(units: i128) -> SignedAmount {
    let max = i128::from(MINOR_UNITS_MAX);
    let clamped = i64::try_from(units.clamp(max.saturating_neg(), max)).unwrap_or(0);
    SignedAmount::new(clamped).unwrap_or_default()
}

fn moved(sum: u64, was: u64, is: u64) -> Result<u64, Refusal> {
    let sum = sum.checked_add(is).and_then(|sum| sum.checked_sub(was));
    sum.filter(|sum| i64::try_from(*sum).is_ok()).ok_or(Refusal::TotalTooLarge)
}
