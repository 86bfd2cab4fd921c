//! Making, changing and removing budgets.

use std::sync::Arc;

use super::super::draft::{Details, Draft, Stop};
use super::super::{Outcome, Refusal};
use crate::model::{
    Body, Books, Budget, BudgetBody, BudgetKey, Cap, EntryKind, MINOR_UNITS_MAX, Metric, Scope, Window,
};

pub(super) fn set(draft: &mut Draft<'_>, scope: Option<&Scope>, window: &Window, cap: Cap) -> Result<Outcome, Stop> {
    if cap.limit() > MINOR_UNITS_MAX.unsigned_abs() / 2 {
        return Err(Refusal::TotalTooLarge.into());
    }
    let found = find(draft, scope, window, cap.metric())?;
    let was_active = found.as_ref().is_some_and(|budget| budget.active);
    let budget = match found {
        Some(budget) if budget.active && budget.cap == cap => return Ok(Outcome::Replayed),
        Some(budget) => Budget { cap, active: true, version: budget.version.saturating_add(1), ..(*budget).clone() },
        None => Budget {
            account_number: draft.account.number,
            number: draft.account.last_budget.checked_add(1).ok_or(Refusal::TotalTooLarge)?,
            scope: scope.cloned(),
            window: window.clone(),
            cap,
            active: true,
            version: 1,
        },
    };

    // From here on the command must succeed.
    draft.account.last_budget = draft.account.last_budget.max(budget.number);
    if !was_active {
        draft.account.budgets = draft.account.budgets.saturating_add(1);
    }
    record(draft, budget)
}

pub(super) fn remove(
    draft: &mut Draft<'_>,
    scope: Option<&Scope>,
    window: &Window,
    metric: Metric,
) -> Result<Outcome, Stop> {
    let budget = find(draft, scope, window, metric)?.ok_or(Refusal::UnknownBudget)?;
    if !budget.active {
        return Ok(Outcome::Replayed);
    }
    let version = budget.version.saturating_add(1);
    draft.account.budgets = draft.account.budgets.saturating_sub(1);
    record(draft, Budget { active: false, version, ..(*budget).clone() })
}

/// The budget of this scope, window and metric.
fn find(
    draft: &Draft<'_>,
    scope: Option<&Scope>,
    window: &Window,
    metric: Metric,
) -> Result<Option<Arc<Budget>>, Stop> {
    if draft.account.last_budget == 0 {
        return Ok(None);
    }
    let key = BudgetKey { account: draft.account.number, scope: scope.cloned() };
    let is_it = |budget: &&Arc<Budget>| budget.window == *window && budget.cap.metric() == metric;
    Ok(draft.budgets(key)?.iter().find(is_it).map(Arc::clone))
}

/// Writes a budget that is new or was changed.
fn record(draft: &mut Draft<'_>, budget: Budget) -> Result<Outcome, Stop> {
    let body = Body::Budget(BudgetBody {
        number: budget.number,
        scope: budget.scope.clone(),
        window: budget.window.clone(),
        cap: budget.cap,
        active: budget.active,
    });
    draft.record(EntryKind::BudgetChange, Books::default(), &body, Details::default())?;
    draft.budget = Some(Arc::new(budget));
    Ok(Outcome::Ok)
}
