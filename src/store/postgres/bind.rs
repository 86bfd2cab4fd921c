//! Arguments: a column of all rows each, in the order of the statements in `sql`.
//!
//! What is bound first is what nearly all rows have; a statement that ends there leaves the other columns as they are.

use std::sync::Arc;

use sqlx::postgres::{PgArguments, Postgres};
use sqlx::{Arguments, Encode, Type};

use super::fault::of_statement;
use crate::kernel::KeyTarget;
use crate::model::{
    Account, Amount, ArgumentsHash, Books, Budget, BudgetWindow, Entry, Hold, HoldId, KeyHash, Label, Lot, Metadata,
    OperationKey, Pinned, Quantity, Scope, SignedAmount, Timestamp, encode_takes,
};
use crate::store::StoreError;

/// Arguments that begin with the bucket.
pub(super) fn of_bucket(bucket: i16) -> Result<PgArguments, StoreError> {
    let mut arguments = PgArguments::default();
    one(&mut arguments, bucket)?;
    Ok(arguments)
}

/// One more argument.
pub(super) fn one<'a, T: Encode<'a, Postgres> + Type<Postgres>>(
    arguments: &mut PgArguments,
    value: T,
) -> Result<(), StoreError> {
    arguments.add(value).map_err(|error| of_statement(sqlx::Error::Encode(error)))
}

/// One more argument: a column of all rows.
fn column<'a, R, T>(arguments: &mut PgArguments, rows: &'a [R], value: impl FnMut(&'a R) -> T) -> Result<(), StoreError>
where
    Vec<T>: Encode<'a, Postgres> + Type<Postgres>,
{
    one(arguments, rows.iter().map(value).collect::<Vec<T>>())
}

pub(super) fn new_accounts(arguments: &mut PgArguments, rows: &[Arc<Account>]) -> Result<(), StoreError> {
    column(arguments, rows, |account| account.number)?;
    column(arguments, rows, |account| account.id.as_str())?;
    column(arguments, rows, |account| account.asset.to_string())?;
    bind_terms(arguments, rows, |account| account)
}

pub(super) fn whole_balances(arguments: &mut PgArguments, rows: &[Arc<Account>]) -> Result<(), StoreError> {
    balances(arguments, rows)?;
    bind_books(arguments, rows, |account| &account.books, REST)?;
    column(arguments, rows, |account| account.lots_free.minor_units())?;
    column(arguments, rows, |account| i64::from(account.lapsed_holds))?;
    column(arguments, rows, |account| count(account.past.closed))?;
    column(arguments, rows, |account| count(account.past.archived))?;
    column(arguments, rows, |account| count(account.past.pruned))?;
    column(arguments, rows, |account| count(account.past.checkpoint))
}

pub(super) fn balances(arguments: &mut PgArguments, rows: &[Arc<Account>]) -> Result<(), StoreError> {
    column(arguments, rows, |account| account.number)?;
    bind_books(arguments, rows, |account| &account.books, SPENT)?;
    column(arguments, rows, |account| i64::from(account.open_holds))?;
    column(arguments, rows, |account| count(account.seq))?;
    column(arguments, rows, |account| account.head.as_bytes())?;
    column(arguments, rows, |account| count(account.last_position))?;
    column(arguments, rows, |account| account.last_entry_at.as_micros())
}

pub(super) fn terms(arguments: &mut PgArguments, rows: &[&Account]) -> Result<(), StoreError> {
    column(arguments, rows, |account| account.number)?;
    bind_terms(arguments, rows, |account| *account)
}

fn bind_terms<'a, R>(
    arguments: &mut PgArguments,
    rows: &'a [R],
    of: impl Fn(&'a R) -> &'a Account,
) -> Result<(), StoreError> {
    column(arguments, rows, |row| i16::from(of(row).status.code()))?;
    column(arguments, rows, |row| of(row).limits.credit.minor_units())?;
    column(arguments, rows, |row| of(row).limits.debt.map(Amount::minor_units))?;
    column(arguments, rows, |row| of(row).limits.open_holds.map(i64::from))?;
    column(arguments, rows, |row| of(row).limits.hold.map(Amount::minor_units))?;
    column(arguments, rows, |row| of(row).limits.held.map(Amount::minor_units))?;
    column(arguments, rows, |row| of(row).limits.ceiling.map(Amount::minor_units))?;
    column(arguments, rows, |row| i16::from(of(row).policy.on_lapse.code()))?;
    column(arguments, rows, |row| i16::from(of(row).policy.overrun.code()))?;
    column(arguments, rows, |row| micros(of(row).policy.lease.ttl))?;
    column(arguments, rows, |row| micros(of(row).policy.lease.grace))?;
    column(arguments, rows, |row| micros(of(row).policy.lease.late))?;
    column(arguments, rows, |row| i64::from(of(row).last_lot))?;
    column(arguments, rows, |row| i64::from(of(row).last_budget))?;
    column(arguments, rows, |row| i64::from(of(row).budgets))
}

/// What holds change in books, and the rest of them.
const SPENT: &[fn(&Books) -> SignedAmount] = &[|books| books.available, |books| books.held, |books| books.revenue];
const REST: &[fn(&Books) -> SignedAmount] = &[
    |books| books.funding,
    |books| books.promotion,
    |books| books.breakage,
    |books| books.write_off,
    |books| books.available_promo,
    |books| books.held_promo,
    |books| books.revenue_promo,
];

fn bind_books<'a, R>(
    arguments: &mut PgArguments,
    rows: &'a [R],
    of: impl Fn(&'a R) -> &'a Books,
    columns: &[fn(&Books) -> SignedAmount],
) -> Result<(), StoreError> {
    columns.iter().try_for_each(|value| column(arguments, rows, |row| value(of(row)).minor_units()))
}

pub(super) fn open_holds(arguments: &mut PgArguments, rows: &[Arc<Hold>]) -> Result<(), StoreError> {
    column(arguments, rows, |hold| hold.number)?;
    column(arguments, rows, |hold| hold.account_number)?;
    column(arguments, rows, |hold| hold.key.as_bytes())?;
    column(arguments, rows, |hold| hold.id.request().as_str())?;
    column(arguments, rows, |hold| i64::from(hold.id.attempt()))?;
    column(arguments, rows, |hold| hold.token.as_bytes())?;
    column(arguments, rows, |hold| Pinned::of(hold).encode())?;
    column(arguments, rows, |hold| hold.held.minor_units())?;
    column(arguments, rows, |hold| hold.opened_at.as_micros())?;
    column(arguments, rows, |hold| hold.deadline.as_micros())?;
    column(arguments, rows, |hold| hold.due.map(Timestamp::as_micros))?;
    column(arguments, rows, |hold| count(hold.seq))
}

pub(super) fn new_holds(arguments: &mut PgArguments, rows: &[Arc<Hold>]) -> Result<(), StoreError> {
    open_holds(arguments, rows)?;
    column(arguments, rows, |hold| i16::from(hold.state.code()))?;
    column(arguments, rows, |hold| encode_takes(&hold.takes))?;
    column(arguments, rows, |hold| hold.held_at_close.minor_units())?;
    bind_quantities(arguments, rows, |hold| hold.reported)?;
    bind_quantities(arguments, rows, |hold| hold.provisional)?;
    bind_optional_quantities(arguments, rows, |hold| hold.settled_as)?;
    bind_optional_quantities(arguments, rows, |hold| hold.actual)?;
    column(arguments, rows, |hold| hold.captured.minor_units())?;
    column(arguments, rows, |hold| hold.written_off.minor_units())?;
    column(arguments, rows, |hold| hold.refunded.minor_units())?;
    column(arguments, rows, |hold| hold.closed_at.map(Timestamp::as_micros))
}

pub(super) fn closed_holds(arguments: &mut PgArguments, rows: &[Arc<Hold>]) -> Result<(), StoreError> {
    column(arguments, rows, |hold| hold.number)?;
    column(arguments, rows, |hold| i16::from(hold.state.code()))?;
    column(arguments, rows, |hold| hold.held.minor_units())?;
    column(arguments, rows, |hold| hold.held_at_close.minor_units())?;
    bind_optional_quantities(arguments, rows, |hold| hold.settled_as)?;
    bind_optional_quantities(arguments, rows, |hold| hold.actual)?;
    column(arguments, rows, |hold| hold.captured.minor_units())?;
    column(arguments, rows, |hold| hold.closed_at.map(Timestamp::as_micros))?;
    column(arguments, rows, |hold| hold.due.map(Timestamp::as_micros))?;
    column(arguments, rows, |hold| count(hold.seq))
}

pub(super) fn holds(arguments: &mut PgArguments, rows: &[Arc<Hold>]) -> Result<(), StoreError> {
    closed_holds(arguments, rows)?;
    column(arguments, rows, |hold| encode_takes(&hold.takes))?;
    bind_quantities(arguments, rows, |hold| hold.reported)?;
    bind_quantities(arguments, rows, |hold| hold.provisional)?;
    column(arguments, rows, |hold| hold.written_off.minor_units())?;
    column(arguments, rows, |hold| hold.refunded.minor_units())?;
    column(arguments, rows, |hold| hold.deadline.as_micros())
}

fn bind_quantities(
    arguments: &mut PgArguments,
    rows: &[Arc<Hold>],
    of: impl Fn(&Hold) -> Quantity,
) -> Result<(), StoreError> {
    column(arguments, rows, |hold| of(hold).cost.minor_units())?;
    column(arguments, rows, |hold| count(of(hold).tokens))
}

fn bind_optional_quantities(
    arguments: &mut PgArguments,
    rows: &[Arc<Hold>],
    of: impl Fn(&Hold) -> Option<Quantity>,
) -> Result<(), StoreError> {
    column(arguments, rows, |hold| of(hold).map(|quantity| quantity.cost.minor_units()))?;
    column(arguments, rows, |hold| of(hold).map(|quantity| count(quantity.tokens)))
}

pub(super) fn new_lots(arguments: &mut PgArguments, rows: &[Arc<Lot>]) -> Result<(), StoreError> {
    column(arguments, rows, |lot| lot.account_number)?;
    column(arguments, rows, |lot| i64::from(lot.number))?;
    column(arguments, rows, |lot| i16::from(lot.terms.class.code()))?;
    column(arguments, rows, |lot| lot.terms.expiry.map(Timestamp::as_micros))?;
    column(arguments, rows, |lot| i64::from(lot.terms.priority))?;
    column(arguments, rows, |lot| lot.terms.models_text())?;
    column(arguments, rows, |lot| lot.amount.minor_units())?;
    column(arguments, rows, |lot| lot.free.minor_units())?;
    column(arguments, rows, |lot| lot.created_at.as_micros())
}

pub(super) fn lots(arguments: &mut PgArguments, rows: &[Arc<Lot>]) -> Result<(), StoreError> {
    column(arguments, rows, |lot| lot.account_number)?;
    column(arguments, rows, |lot| i64::from(lot.number))?;
    column(arguments, rows, |lot| lot.free.minor_units())
}

pub(super) fn budgets(arguments: &mut PgArguments, rows: &[Arc<Budget>]) -> Result<(), StoreError> {
    column(arguments, rows, |budget| budget.account_number)?;
    column(arguments, rows, |budget| i64::from(budget.number))?;
    column(arguments, rows, |budget| scope_column(budget.scope.as_ref()))?;
    column(arguments, rows, |budget| budget.window.to_string())?;
    column(arguments, rows, |budget| i16::from(budget.cap.metric().code()))?;
    column(arguments, rows, |budget| count(budget.cap.limit()))?;
    column(arguments, rows, |budget| budget.active)?;
    column(arguments, rows, |budget| i64::from(budget.version))
}

pub(super) fn windows(arguments: &mut PgArguments, rows: &[BudgetWindow]) -> Result<(), StoreError> {
    column(arguments, rows, |window| window.key.account)?;
    column(arguments, rows, |window| i64::from(window.key.budget))?;
    column(arguments, rows, |window| window.key.start.as_micros())?;
    column(arguments, rows, |window| count(window.used))?;
    column(arguments, rows, |window| count(window.held))
}

pub(super) fn hold_entries(arguments: &mut PgArguments, rows: &[Entry]) -> Result<(), StoreError> {
    column(arguments, rows, |entry| count(entry.position))?;
    column(arguments, rows, |entry| entry.account_number)?;
    column(arguments, rows, |entry| count(entry.seq))?;
    column(arguments, rows, |entry| count(entry.previous))?;
    column(arguments, rows, |entry| entry.at.as_micros())?;
    column(arguments, rows, |entry| i16::from(entry.kind.code()))?;
    bind_books(arguments, rows, |entry| &entry.changes, SPENT)?;
    column(arguments, rows, |entry| entry.available_after.minor_units())?;
    column(arguments, rows, |entry| entry.held_after.minor_units())?;
    column(arguments, rows, |entry| entry.hold.as_ref().map(|hold| hold.request().as_str()))?;
    column(arguments, rows, |entry| entry.hold.as_ref().map(|hold: &HoldId| i64::from(hold.attempt())))?;
    column(arguments, rows, |entry| entry.label.as_ref().map(Label::as_str))?;
    column(arguments, rows, |entry| &*entry.body)?;
    column(arguments, rows, |entry| entry.hash.as_bytes())
}

pub(super) fn entries(arguments: &mut PgArguments, rows: &[Entry]) -> Result<(), StoreError> {
    hold_entries(arguments, rows)?;
    bind_books(arguments, rows, |entry| &entry.changes, REST)?;
    column(arguments, rows, |entry| entry.key.as_ref().map(OperationKey::as_str))?;
    column(arguments, rows, |entry| entry.arguments.as_ref().map(ArgumentsHash::as_bytes))?;
    column(arguments, rows, |entry| entry.metadata.as_ref().map(Metadata::as_bytes))
}

pub(super) fn keys(arguments: &mut PgArguments, rows: &[(KeyHash, KeyTarget)]) -> Result<(), StoreError> {
    column(arguments, rows, |(key, _)| key.as_bytes())?;
    column(arguments, rows, |(_, target)| match target {
        KeyTarget::Hold(number) => *number,
        KeyTarget::Entry(position) => count(*position).saturating_neg(),
        KeyTarget::Gone => 0,
    })
}

/// A scope as a column; the empty text is the whole account.
pub(super) fn scope_column(scope: Option<&Scope>) -> &str {
    scope.map_or("", Scope::as_str)
}

/// Numbers that a column cannot hold do not occur; if one did, a check would refuse it.
pub(super) fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MIN)
}

/// A span of time in microseconds; at most longer than the calendar lasts.
fn micros(span: std::time::Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}
