//! Rows of lots, budgets and their windows, in and out.

use std::sync::Arc;

use rusqlite::{Row, Statement, params};

use super::rows::{Columns, Count, Units};
use crate::model::{
    Budget, BudgetWindow, Cap, Lot, LotClass, LotKey, LotTerms, Metric, Scope, Timestamp, Window, WindowKey,
};
use crate::store::StoreError;

pub(super) fn lot(row: &Row<'_>) -> Result<Arc<Lot>, StoreError> {
    let mut columns = Columns::new(row, "lots");
    let key = LotKey { account: columns.get()?, lot: columns.get()? };
    let models = |columns: &mut Columns<'_, '_>| {
        LotTerms::models_from_text(columns.text()?).map_err(|error| columns.damaged(error))
    };
    let terms = LotTerms {
        class: columns.map(LotClass::from_code)?,
        expiry: columns.optional(Columns::time)?,
        priority: columns.get()?,
        models: columns.optional(models)?.unwrap_or_default(),
    };
    let amount = columns.amount()?;
    let free = columns.amount()?;
    let mut lot = Lot::new(key, Arc::new(terms), amount, columns.time()?);
    lot.free = free;
    Ok(Arc::new(lot))
}

pub(super) fn budget(row: &Row<'_>) -> Result<Arc<Budget>, StoreError> {
    let mut columns = Columns::new(row, "budgets");
    let account_number = columns.get()?;
    let number = columns.get()?;
    let scope = match columns.text()? {
        "" => None,
        scope => Some(Scope::new(scope).map_err(|error| columns.damaged(error))?),
    };
    let window: Window = columns.text()?.parse().map_err(|error| columns.damaged(error))?;
    let metric = columns.map(Metric::from_code)?;
    let cap = Cap::from_parts(metric, columns.unsigned()?).map_err(|error| columns.damaged(error))?;
    let active = columns.get()?;
    Ok(Arc::new(Budget { account_number, number, scope, window, cap, active, version: columns.get()? }))
}

pub(super) fn window(row: &Row<'_>) -> Result<BudgetWindow, StoreError> {
    let mut columns = Columns::new(row, "budget_windows");
    let key = WindowKey { account: columns.get()?, budget: columns.get()?, start: columns.time()? };
    Ok(BudgetWindow { key, used: columns.unsigned()?, held: columns.unsigned()? })
}

/// A window whose key is known.
pub(super) fn counted(row: &Row<'_>, key: WindowKey) -> Result<BudgetWindow, StoreError> {
    let mut columns = Columns::new(row, "budget_windows");
    Ok(BudgetWindow { key, used: columns.unsigned()?, held: columns.unsigned()? })
}

pub(super) fn insert_lot(statement: &mut Statement<'_>, lot: &Lot) -> rusqlite::Result<usize> {
    statement.execute(params![
        lot.account_number,
        lot.number,
        lot.terms.class.code(),
        lot.terms.expiry.map(Timestamp::as_micros),
        lot.terms.priority,
        lot.terms.models_text(),
        Units(lot.amount),
        Units(lot.free),
        lot.created_at.as_micros(),
    ])
}

pub(super) fn update_lot(statement: &mut Statement<'_>, lot: &Lot) -> rusqlite::Result<usize> {
    statement.execute(params![lot.account_number, lot.number, Units(lot.free)])
}

pub(super) fn upsert_budget(statement: &mut Statement<'_>, budget: &Budget) -> rusqlite::Result<usize> {
    statement.execute(params![
        budget.account_number,
        budget.number,
        scope_column(budget.scope.as_ref()),
        budget.window.to_string(),
        budget.cap.metric().code(),
        Count(budget.cap.limit()),
        budget.active,
        budget.version,
    ])
}

pub(super) fn upsert_window(statement: &mut Statement<'_>, window: &BudgetWindow) -> rusqlite::Result<usize> {
    let WindowKey { account, budget, start } = window.key;
    statement.execute(params![account, budget, start.as_micros(), Count(window.used), Count(window.held)])
}

/// A scope as a column; the empty text is the whole account.
pub(super) fn scope_column(scope: Option<&Scope>) -> &str {
    scope.map_or("", Scope::as_str)
}
