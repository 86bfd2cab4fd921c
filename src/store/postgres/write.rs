//! Rows as they go: what a batch changed, a statement for each kind of row, all rows of a kind at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use sqlx::postgres::{PgArguments, PgConnection, Postgres};
use sqlx::{Arguments, AssertSqlSafe, Encode, Type};

use super::fault::of_statement;
use super::sql;
use crate::kernel::{ChangeSet, Counters, KeyTarget};
use crate::model::{
    Account, Amount, ArgumentsHash, Books, Budget, BudgetWindow, Entry, Hold, HoldId, KeyHash, Label, Lot, Metadata,
    OperationKey, Pinned, Quantity, Scope, SignedAmount, Timestamp, encode_takes,
};
use crate::store::StoreError;

/// The rows of one kind that a batch changed.
#[derive(Clone, Copy)]
pub(super) enum Piece<'a> {
    NewAccounts(&'a [Arc<Account>]),
    Accounts(&'a [Arc<Account>]),
    NewHolds(&'a [Arc<Hold>]),
    Holds(&'a [Arc<Hold>]),
    NewLots(&'a [Arc<Lot>]),
    Lots(&'a [Arc<Lot>]),
    Budgets(&'a [Arc<Budget>]),
    Windows(&'a [BudgetWindow]),
    Entries(&'a [Entry]),
    Keys(&'a [(KeyHash, KeyTarget)]),
    Bucket(Counters, Option<Timestamp>, i64),
}

/// The pieces of a batch that have rows; the bucket's own comes last.
pub(super) fn pieces(changes: &ChangeSet, version: i64) -> Vec<Piece<'_>> {
    let mut pieces = vec![
        Piece::NewAccounts(&changes.new_accounts),
        Piece::Accounts(&changes.accounts),
        Piece::NewHolds(&changes.new_holds),
        Piece::Holds(&changes.holds),
        Piece::NewLots(&changes.new_lots),
        Piece::Lots(&changes.lots),
        Piece::Budgets(&changes.budgets),
        Piece::Windows(&changes.windows),
        Piece::Entries(&changes.entries),
        Piece::Keys(&changes.keys),
        Piece::Bucket(changes.counters, changes.pause, version),
    ];
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

/// Statements that write several kinds of rows at once: what is written is the main statement, the bucket's, and before
/// it the other pieces, each in a `with` of its own. One statement is planned once, and is one round trip.
#[derive(Default)]
pub(super) struct Joined(Mutex<HashMap<u32, Arc<str>>>);

impl Joined {
    fn text(&self, pieces: &[Piece<'_>]) -> Arc<str> {
        let kinds = pieces.iter().fold(0, |kinds, piece| kinds | piece.kind());
        let mut texts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(texts.entry(kinds).or_insert_with(|| join(pieces).into()))
    }
}

fn join(pieces: &[Piece<'_>]) -> String {
    let mut text = String::new();
    let mut offset = 0;
    for (number, piece) in pieces.iter().enumerate() {
        let is_last = number.saturating_add(1) == pieces.len();
        let before = match (number, is_last) {
            (0, true) => String::new(),
            (0, false) => format!("with w{number} as ("),
            (_, true) => ") ".to_owned(),
            (_, false) => format!("), w{number} as ("),
        };
        text.push_str(&before);
        offset = renumber(&in_step(piece.statement()), offset, &mut text);
    }
    text
}

/// A statement whose arrays are walked in step: named in FROM, each of them is copied into a table of its own first, and
/// that takes as long as writing the rows.
fn in_step(statement: &str) -> String {
    let arrays = statement.split_once("unnest(").and_then(|(before, rest)| Some((before, rest.split_once(')')?)));
    match arrays {
        Some((before, (arrays, after))) => {
            format!("{before}(select unnest({})){after}", arrays.replace(", ", "), unnest("))
        }
        None => statement.to_owned(),
    }
}

/// Appends a statement whose parameters, but for the bucket, begin `offset` later. Answers the offset of the next one.
fn renumber(statement: &str, offset: u32, text: &mut String) -> u32 {
    let mut parts = statement.split('$');
    text.extend(parts.next());
    let mut last = 1;
    for part in parts {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = part.split_at(digits);
        let number: u32 = number.parse().unwrap_or_default();
        last = last.max(number);
        let shifted = if number == 1 { 1 } else { number.saturating_add(offset) };
        text.push('$');
        text.push_str(&shifted.to_string());
        text.push_str(rest);
    }
    offset.saturating_add(last).saturating_sub(1)
}

/// Writes a batch's rows, in one statement or in one per kind of row.
pub(super) async fn write(
    connection: &mut PgConnection,
    bucket: i16,
    pieces: &[Piece<'_>],
    joined: Option<&Joined>,
    prepared: bool,
) -> Result<(), StoreError> {
    match joined {
        Some(joined) => {
            let mut arguments = of_bucket(bucket)?;
            pieces.iter().try_for_each(|piece| piece.bind(&mut arguments))?;
            let text = AssertSqlSafe(joined.text(pieces));
            sqlx::query_with(text, arguments).persistent(prepared).execute(connection).await.map_err(of_statement)?;
        }
        None => {
            for piece in pieces {
                let mut arguments = of_bucket(bucket)?;
                piece.bind(&mut arguments)?;
                let query = sqlx::query_with(piece.statement(), arguments).persistent(prepared);
                query.execute(&mut *connection).await.map_err(of_statement)?;
            }
        }
    }
    Ok(())
}

/// Writes what accounts are held to, which few batches change.
pub(super) async fn write_terms(
    connection: &mut PgConnection,
    bucket: i16,
    accounts: &[&Account],
    prepared: bool,
) -> Result<(), StoreError> {
    let mut arguments = of_bucket(bucket)?;
    bind_terms(&mut arguments, accounts)?;
    let query = sqlx::query_with(sql::UPDATE_ACCOUNT_TERMS, arguments).persistent(prepared);
    query.execute(connection).await.map(drop).map_err(of_statement)
}

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

impl<'a> Piece<'a> {
    fn is_empty(&self) -> bool {
        match self {
            Self::NewAccounts(rows) | Self::Accounts(rows) => rows.is_empty(),
            Self::NewHolds(rows) | Self::Holds(rows) => rows.is_empty(),
            Self::NewLots(rows) | Self::Lots(rows) => rows.is_empty(),
            Self::Budgets(rows) => rows.is_empty(),
            Self::Windows(rows) => rows.is_empty(),
            Self::Entries(rows) => rows.is_empty(),
            Self::Keys(rows) => rows.is_empty(),
            Self::Bucket(..) => false,
        }
    }

    fn kind(&self) -> u32 {
        match self {
            Self::NewAccounts(_) => 1,
            Self::Accounts(_) => 1 << 1,
            Self::NewHolds(_) => 1 << 2,
            Self::Holds(_) => 1 << 3,
            Self::NewLots(_) => 1 << 4,
            Self::Lots(_) => 1 << 5,
            Self::Budgets(_) => 1 << 6,
            Self::Windows(_) => 1 << 7,
            Self::Entries(_) => 1 << 8,
            Self::Keys(_) => 1 << 9,
            Self::Bucket(..) => 1 << 10,
        }
    }

    fn statement(&self) -> &'static str {
        match self {
            Self::NewAccounts(_) => sql::INSERT_ACCOUNT,
            Self::Accounts(_) => sql::UPDATE_ACCOUNT,
            Self::NewHolds(_) => sql::INSERT_HOLD,
            Self::Holds(_) => sql::UPDATE_HOLD,
            Self::NewLots(_) => sql::INSERT_LOT,
            Self::Lots(_) => sql::UPDATE_LOT,
            Self::Budgets(_) => sql::UPSERT_BUDGET,
            Self::Windows(_) => sql::UPSERT_WINDOW,
            Self::Entries(_) => sql::INSERT_ENTRY,
            Self::Keys(_) => sql::INSERT_KEY,
            Self::Bucket(..) => sql::UPDATE_BUCKET,
        }
    }

    fn bind(&self, arguments: &mut PgArguments) -> Result<(), StoreError> {
        match self {
            Self::NewAccounts(rows) => bind_new_accounts(arguments, rows),
            Self::Accounts(rows) => bind_accounts(arguments, rows),
            Self::NewHolds(rows) => bind_new_holds(arguments, rows),
            Self::Holds(rows) => bind_holds(arguments, rows),
            Self::NewLots(rows) => bind_new_lots(arguments, rows),
            Self::Lots(rows) => {
                column(arguments, rows, |lot| lot.account_number)?;
                column(arguments, rows, |lot| i64::from(lot.number))?;
                column(arguments, rows, |lot| lot.free.minor_units())
            }
            Self::Budgets(rows) => bind_budgets(arguments, rows),
            Self::Windows(rows) => {
                column(arguments, rows, |window| window.key.account)?;
                column(arguments, rows, |window| i64::from(window.key.budget))?;
                column(arguments, rows, |window| window.key.start.as_micros())?;
                column(arguments, rows, |window| count(window.used))?;
                column(arguments, rows, |window| count(window.held))
            }
            Self::Entries(rows) => bind_entries(arguments, rows),
            Self::Keys(rows) => {
                column(arguments, rows, |(key, _)| key.as_bytes())?;
                column(arguments, rows, |(_, target)| match target {
                    KeyTarget::Hold(number) => *number,
                    KeyTarget::Entry(position) => count(*position).saturating_neg(),
                    KeyTarget::Gone => 0,
                })
            }
            Self::Bucket(Counters { position, hold, account }, pause, version) => {
                one(arguments, count(*position))?;
                one(arguments, *hold)?;
                one(arguments, *account)?;
                one(arguments, pause.map_or(i64::MIN, Timestamp::as_micros))?;
                one(arguments, *version)
            }
        }
    }
}

fn bind_new_accounts(arguments: &mut PgArguments, rows: &[Arc<Account>]) -> Result<(), StoreError> {
    column(arguments, rows, |account| account.number)?;
    column(arguments, rows, |account| account.id.as_str())?;
    column(arguments, rows, |account| account.asset.to_string())?;
    bind_limits(arguments, rows, |account| account)?;
    bind_books(arguments, rows, |account| &account.books)?;
    column(arguments, rows, |account| account.lots_free.minor_units())?;
    bind_counts(arguments, rows, |account| account)?;
    bind_end(arguments, rows)?;
    bind_past(arguments, rows, |account| account)
}

fn bind_accounts(arguments: &mut PgArguments, rows: &[Arc<Account>]) -> Result<(), StoreError> {
    column(arguments, rows, |account| account.number)?;
    bind_books(arguments, rows, |account| &account.books)?;
    column(arguments, rows, |account| account.lots_free.minor_units())?;
    bind_end(arguments, rows)
}

fn bind_terms(arguments: &mut PgArguments, rows: &[&Account]) -> Result<(), StoreError> {
    column(arguments, rows, |account| account.number)?;
    bind_limits(arguments, rows, |account| *account)?;
    bind_counts(arguments, rows, |account| *account)?;
    bind_past(arguments, rows, |account| *account)
}

fn bind_limits<'a, R>(
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
    column(arguments, rows, |row| micros(of(row).policy.lease.late))
}

fn bind_counts<'a, R>(
    arguments: &mut PgArguments,
    rows: &'a [R],
    of: impl Fn(&'a R) -> &'a Account,
) -> Result<(), StoreError> {
    column(arguments, rows, |row| i64::from(of(row).last_lot))?;
    column(arguments, rows, |row| i64::from(of(row).last_budget))?;
    column(arguments, rows, |row| i64::from(of(row).budgets))
}

fn bind_past<'a, R>(
    arguments: &mut PgArguments,
    rows: &'a [R],
    of: impl Fn(&'a R) -> &'a Account,
) -> Result<(), StoreError> {
    column(arguments, rows, |row| count(of(row).past.closed))?;
    column(arguments, rows, |row| count(of(row).past.archived))?;
    column(arguments, rows, |row| count(of(row).past.pruned))?;
    column(arguments, rows, |row| count(of(row).past.checkpoint))
}

fn bind_end(arguments: &mut PgArguments, rows: &[Arc<Account>]) -> Result<(), StoreError> {
    column(arguments, rows, |account| i64::from(account.open_holds))?;
    column(arguments, rows, |account| i64::from(account.lapsed_holds))?;
    column(arguments, rows, |account| count(account.seq))?;
    column(arguments, rows, |account| account.head.as_bytes())?;
    column(arguments, rows, |account| count(account.last_position))?;
    column(arguments, rows, |account| account.last_entry_at.as_micros())
}

fn bind_books<'a, R>(
    arguments: &mut PgArguments,
    rows: &'a [R],
    of: impl Fn(&'a R) -> &'a Books,
) -> Result<(), StoreError> {
    let columns: [fn(&Books) -> SignedAmount; 10] = [
        |books| books.available,
        |books| books.held,
        |books| books.revenue,
        |books| books.funding,
        |books| books.promotion,
        |books| books.breakage,
        |books| books.write_off,
        |books| books.available_promo,
        |books| books.held_promo,
        |books| books.revenue_promo,
    ];
    columns.iter().try_for_each(|value| column(arguments, rows, |row| value(of(row)).minor_units()))
}

fn bind_new_holds(arguments: &mut PgArguments, rows: &[Arc<Hold>]) -> Result<(), StoreError> {
    column(arguments, rows, |hold| hold.number)?;
    column(arguments, rows, |hold| hold.account_number)?;
    column(arguments, rows, |hold| hold.key.as_bytes())?;
    column(arguments, rows, |hold| hold.id.request().as_str())?;
    column(arguments, rows, |hold| i64::from(hold.id.attempt()))?;
    column(arguments, rows, |hold| hold.token.as_bytes())?;
    column(arguments, rows, |hold| i16::from(hold.state.code()))?;
    column(arguments, rows, |hold| Pinned::of(hold).encode())?;
    column(arguments, rows, |hold| encode_takes(&hold.takes))?;
    bind_money(arguments, rows)?;
    column(arguments, rows, |hold| hold.opened_at.as_micros())?;
    bind_times(arguments, rows)
}

fn bind_holds(arguments: &mut PgArguments, rows: &[Arc<Hold>]) -> Result<(), StoreError> {
    column(arguments, rows, |hold| hold.number)?;
    column(arguments, rows, |hold| i16::from(hold.state.code()))?;
    column(arguments, rows, |hold| encode_takes(&hold.takes))?;
    bind_money(arguments, rows)?;
    bind_times(arguments, rows)
}

fn bind_money(arguments: &mut PgArguments, rows: &[Arc<Hold>]) -> Result<(), StoreError> {
    let cost = |quantity: Quantity| quantity.cost.minor_units();
    let tokens = |quantity: Quantity| count(quantity.tokens);
    column(arguments, rows, |hold| hold.held.minor_units())?;
    column(arguments, rows, |hold| hold.held_at_close.minor_units())?;
    column(arguments, rows, |hold| cost(hold.reported))?;
    column(arguments, rows, |hold| tokens(hold.reported))?;
    column(arguments, rows, |hold| cost(hold.provisional))?;
    column(arguments, rows, |hold| tokens(hold.provisional))?;
    column(arguments, rows, |hold| hold.settled_as.map(cost))?;
    column(arguments, rows, |hold| hold.settled_as.map(tokens))?;
    column(arguments, rows, |hold| hold.actual.map(cost))?;
    column(arguments, rows, |hold| hold.actual.map(tokens))?;
    column(arguments, rows, |hold| hold.captured.minor_units())?;
    column(arguments, rows, |hold| hold.written_off.minor_units())?;
    column(arguments, rows, |hold| hold.refunded.minor_units())
}

fn bind_times(arguments: &mut PgArguments, rows: &[Arc<Hold>]) -> Result<(), StoreError> {
    column(arguments, rows, |hold| hold.deadline.as_micros())?;
    column(arguments, rows, |hold| hold.closed_at.map(Timestamp::as_micros))?;
    column(arguments, rows, |hold| hold.due.map(Timestamp::as_micros))?;
    column(arguments, rows, |hold| count(hold.seq))
}

fn bind_new_lots(arguments: &mut PgArguments, rows: &[Arc<Lot>]) -> Result<(), StoreError> {
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

fn bind_budgets(arguments: &mut PgArguments, rows: &[Arc<Budget>]) -> Result<(), StoreError> {
    column(arguments, rows, |budget| budget.account_number)?;
    column(arguments, rows, |budget| i64::from(budget.number))?;
    column(arguments, rows, |budget| scope_column(budget.scope.as_ref()))?;
    column(arguments, rows, |budget| budget.window.to_string())?;
    column(arguments, rows, |budget| i16::from(budget.cap.metric().code()))?;
    column(arguments, rows, |budget| count(budget.cap.limit()))?;
    column(arguments, rows, |budget| budget.active)?;
    column(arguments, rows, |budget| i64::from(budget.version))
}

fn bind_entries(arguments: &mut PgArguments, rows: &[Entry]) -> Result<(), StoreError> {
    column(arguments, rows, |entry| count(entry.position))?;
    column(arguments, rows, |entry| entry.account_number)?;
    column(arguments, rows, |entry| count(entry.seq))?;
    column(arguments, rows, |entry| count(entry.previous))?;
    column(arguments, rows, |entry| entry.at.as_micros())?;
    column(arguments, rows, |entry| i16::from(entry.kind.code()))?;
    bind_books(arguments, rows, |entry| &entry.changes)?;
    column(arguments, rows, |entry| entry.available_after.minor_units())?;
    column(arguments, rows, |entry| entry.held_after.minor_units())?;
    column(arguments, rows, |entry| entry.hold.as_ref().map(|hold| hold.request().as_str()))?;
    column(arguments, rows, |entry| entry.hold.as_ref().map(|hold: &HoldId| i64::from(hold.attempt())))?;
    column(arguments, rows, |entry| entry.key.as_ref().map(OperationKey::as_str))?;
    column(arguments, rows, |entry| entry.arguments.as_ref().map(ArgumentsHash::as_bytes))?;
    column(arguments, rows, |entry| entry.label.as_ref().map(Label::as_str))?;
    column(arguments, rows, |entry| &*entry.body)?;
    column(arguments, rows, |entry| entry.metadata.as_ref().map(Metadata::as_bytes))?;
    column(arguments, rows, |entry| entry.hash.as_bytes())
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
