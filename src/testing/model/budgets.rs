//! Budgets: what they admit, and what they counted, added up anew from the holds at every look.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::account::{AccountModel, MAX, Step};
use super::calendar;
use super::closing::{Obstacle, Wish};
use super::hold::HoldModel;
use crate::kernel::{DenialReason, Exhausted, Outcome, Refusal};
use crate::model::{Budget, BudgetWindow, Cap, HoldState, Metric, Scope, Timestamp, Window};

/// A budget of the model; its number is its place, from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BudgetModel {
    scope: Option<Scope>,
    window: Window,
    cap: Cap,
    active: bool,
    version: u32,
}

/// A budget's number with one of its windows: when it begins and, if that matters, when it ends.
type Asked = (u32, i128, Option<i128>);

impl HoldModel {
    /// What it counts for: used and held.
    fn counts(&self, metric: Metric) -> (i128, i128) {
        let (cost, tokens) = self.cost();
        let asked = self.terms.as_ref().map_or(0, |terms| i128::from(terms.tokens));
        let by_its_owner = self.state == HoldState::Settled;
        let once = by_its_owner || (self.state != HoldState::Released && (cost, tokens) != (0, 0));
        match (self.state == HoldState::Open, metric) {
            (true, Metric::Spend) => (0, self.held),
            (true, Metric::Requests) => (0, 1),
            (true, Metric::Tokens) => (0, asked),
            (false, Metric::Spend) => (cost - self.refunded, 0),
            (false, Metric::Requests) => (i128::from(once), 0),
            (false, Metric::Tokens) => (tokens, 0),
        }
    }
}

impl AccountModel {
    pub(super) fn set_budget(&mut self, now: i128, scope: Option<&Scope>, window: &Window, cap: Cap) -> Step {
        if i128::from(cap.limit()) > MAX / 2 {
            return Err(Refusal::TotalTooLarge);
        }
        match self.find_budget(scope, window, cap.metric()) {
            Some(budget) if budget.active && budget.cap == cap => return Ok(Outcome::Replayed),
            Some(budget) => (budget.cap, budget.active, budget.version) = (cap, true, budget.version + 1),
            None => {
                let (scope, window) = (scope.cloned(), window.clone());
                self.budgets.push(BudgetModel { scope, window, cap, active: true, version: 1 });
            }
        }
        self.entry(now)?;
        Ok(Outcome::Ok)
    }

    pub(super) fn remove_budget(&mut self, now: i128, scope: Option<&Scope>, window: &Window, metric: Metric) -> Step {
        let budget = self.find_budget(scope, window, metric).ok_or(Refusal::UnknownBudget)?;
        if !budget.active {
            return Ok(Outcome::Replayed);
        }
        (budget.active, budget.version) = (false, budget.version + 1);
        self.entry(now)?;
        Ok(Outcome::Ok)
    }

    fn find_budget(&mut self, scope: Option<&Scope>, window: &Window, metric: Metric) -> Option<&mut BudgetModel> {
        self.budgets
            .iter_mut()
            .find(|budget| budget.scope.as_ref() == scope && budget.window == *window && budget.cap.metric() == metric)
    }

    /// What is charged to a new hold of these scopes: numbers of budgets, with the beginning of their windows of now.
    pub(super) fn windows_of(&self, now: i128, scopes: &[Scope]) -> Vec<(u32, i128)> {
        self.in_force(now, scopes).into_iter().map(|(number, start, _)| (number, start)).collect()
    }

    fn in_force(&self, now: i128, scopes: &[Scope]) -> Vec<Asked> {
        let named = |budget: &BudgetModel| budget.scope.as_ref().is_none_or(|scope| scopes.contains(scope));
        let numbered = (1..).zip(&self.budgets).filter(|(_, budget)| budget.active && named(budget));
        let window = |(number, budget): (u32, &BudgetModel)| {
            let (start, end) = calendar::window(&budget.window, now);
            (number, start, end)
        };
        numbered.map(window).collect()
    }

    fn budget(&self, number: u32) -> Option<&BudgetModel> {
        self.budgets.get(usize::try_from(number).ok()?.checked_sub(1)?)
    }

    /// What a budget counted in a window: used and held.
    fn counted(&self, number: u32, start: i128) -> (i128, i128) {
        let metric = self.budget(number).map(|budget| budget.cap.metric());
        let charged = self.holds.values().filter(|hold| hold.windows.contains(&(number, start)));
        let counts = charged.filter_map(|hold| metric.map(|metric| hold.counts(metric)));
        counts.fold((0, 0), |sum, (used, held)| (sum.0 + used, sum.1 + held))
    }

    /// The budget that lets the least of a wish through; none if all let it through.
    pub(super) fn exhausted(&self, now: i128, wish: Wish<'_>) -> Option<Obstacle> {
        let asked: Vec<Asked> = match wish.own.and_then(|id| self.holds.get(id)) {
            _ if !wish.is_gated => Vec::new(),
            None => self.in_force(now, wish.terms.map_or(&[], |terms| &terms.scopes)),
            // A hold stays in the windows it was made in, which to it never end; only its money grows.
            Some(hold) => {
                let grows = |number| {
                    self.budget(number).is_some_and(|budget| budget.active && budget.cap.metric() == Metric::Spend)
                };
                hold.windows.iter().filter(|(number, _)| grows(*number)).map(|(n, start)| (*n, *start, None)).collect()
            }
        };
        let tokens = wish.terms.map_or(0, |terms| i128::from(terms.tokens));
        let mut tight = Vec::new();
        for (number, start, end) in asked {
            let Some(budget) = self.budget(number) else { continue };
            let (used, held) = self.counted(number, start);
            let left = i128::from(budget.cap.limit()) - used - held;
            // A part of a request is no request: only money may be granted in part.
            let (more, money) = match budget.cap.metric() {
                Metric::Spend => (wish.more, left),
                Metric::Requests => (1, left.min(0)),
                Metric::Tokens => (tokens, left.min(0)),
            };
            if more > left {
                tight.push(((money, end.is_some(), Reverse(end), number), budget, left, end));
            }
        }
        let ((money, _, _, number), budget, left, end) = tight.into_iter().min_by_key(|(rank, ..)| *rank)?;
        let micros = |micros: i128| i64::try_from(micros).unwrap_or(i64::MAX);
        let exhausted = Exhausted {
            number,
            scope: budget.scope.clone(),
            window: budget.window.clone(),
            cap: budget.cap,
            left: u64::try_from(left).unwrap_or(0),
            resets_at: end.map(|end| Timestamp::from_micros(micros(end))),
        };
        let wait = |end: i128| Duration::from_micros(u64::try_from(end - now).unwrap_or(0));
        Some(Obstacle {
            reason: DenialReason::Budget,
            left: money,
            retry_after: end.map(wait),
            budget: Some(Arc::new(exhausted)),
        })
    }

    /// Budgets that limit something.
    pub(super) fn active_budgets(&self) -> usize {
        self.budgets.iter().filter(|budget| budget.active).count()
    }

    /// What stored budgets and their windows have otherwise. A window in which nothing is counted may have a row or none.
    pub(super) fn compare_budgets(&self, stored: &[&Budget], windows: &[&BudgetWindow]) -> Result<(), String> {
        let facts = |budget: &Budget| {
            let Budget { scope, window, cap, active, version, .. } = budget.clone();
            (budget.number, BudgetModel { scope, window, cap, active, version })
        };
        let stored: Vec<_> = stored.iter().map(|budget| facts(budget)).collect();
        let expected: Vec<_> = (1..).zip(self.budgets.iter().cloned()).collect();
        if stored != expected {
            return Err(format!("budgets: expected {expected:?}, stored {stored:?}"));
        }
        let counts = |window: &BudgetWindow| (i128::from(window.used), i128::from(window.held));
        let mut stored: BTreeMap<_, _> = windows
            .iter()
            .map(|window| ((window.key.budget, i128::from(window.key.start.as_micros())), counts(window)))
            .collect();
        let charged = self.holds.values().flat_map(|hold| &hold.windows);
        let mut expected: BTreeMap<_, _> =
            charged.map(|(number, start)| ((*number, *start), self.counted(*number, *start))).collect();
        stored.retain(|_, counted| *counted != (0, 0));
        expected.retain(|_, counted| *counted != (0, 0));
        if stored == expected { Ok(()) } else { Err(format!("windows: expected {expected:?}, stored {stored:?}")) }
    }
}
