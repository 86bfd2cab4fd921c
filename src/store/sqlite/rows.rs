//! Rows in and out: columns in the order of the statements in `sql`.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::types::{FromSql, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Row, Statement, params};

use super::fault::corrupt;
use crate::kernel::KeyTarget;
use crate::model::{
    Account, AccountId, Amount, ArgumentsHash, Asset, Books, CallToken, ChainHash, Entry, EntryKind, Hold, HoldId,
    HoldState, KeyHash, Label, Lease, Limits, Metadata, OnLapse, OperationKey, Overrun, Past, Pinned, Policy, Quantity,
    RequestId, SignedAmount, Status, Timestamp, decode_takes, encode_takes,
};
use crate::store::StoreError;

/// Reads the columns of a row one after the other; what cannot be is reported with the table's name.
pub(super) struct Columns<'a, 'r> {
    row: &'a Row<'r>,
    table: &'static str,
    next: usize,
}

impl<'a, 'r> Columns<'a, 'r> {
    pub(super) fn new(row: &'a Row<'r>, table: &'static str) -> Self {
        Self { row, table, next: 0 }
    }

    fn raw(&mut self) -> Result<ValueRef<'a>, StoreError> {
        let column = self.next;
        self.next = column.saturating_add(1);
        self.row.get_ref(column).map_err(|error| self.damaged(error))
    }

    pub(super) fn get<T: FromSql>(&mut self) -> Result<T, StoreError> {
        let value = self.raw()?;
        T::column_result(value).map_err(|error| self.damaged(error))
    }

    /// A column that is made into something else.
    pub(super) fn map<T: FromSql, U, E: std::fmt::Display>(
        &mut self,
        make: impl FnOnce(T) -> Result<U, E>,
    ) -> Result<U, StoreError> {
        let value = self.get()?;
        make(value).map_err(|error| self.damaged(error))
    }

    pub(super) fn text(&mut self) -> Result<&'a str, StoreError> {
        self.raw()?.as_str().map_err(|error| self.damaged(error))
    }

    fn blob(&mut self) -> Result<&'a [u8], StoreError> {
        self.raw()?.as_blob().map_err(|error| self.damaged(error))
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], StoreError> {
        let blob = self.blob()?;
        blob.try_into().map_err(|_| self.damaged(format!("{} bytes", blob.len())))
    }

    pub(super) fn optional<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        match self.row.get_ref(self.next) {
            Ok(ValueRef::Null) => {
                self.next = self.next.saturating_add(1);
                Ok(None)
            }
            _ => read(self).map(Some),
        }
    }

    pub(super) fn amount(&mut self) -> Result<Amount, StoreError> {
        self.map(Amount::new)
    }

    pub(super) fn unsigned(&mut self) -> Result<u64, StoreError> {
        self.map(|value: i64| u64::try_from(value))
    }

    fn quantity(&mut self) -> Result<Quantity, StoreError> {
        Ok(Quantity { cost: self.amount()?, tokens: self.unsigned()? })
    }

    /// A quantity in two columns that are null together.
    fn optional_quantity(&mut self) -> Result<Option<Quantity>, StoreError> {
        let cost = self.optional(Self::amount)?;
        let tokens = self.optional(Self::unsigned)?;
        Ok(cost.map(|cost| Quantity { cost, tokens: tokens.unwrap_or(0) }))
    }

    pub(super) fn time(&mut self) -> Result<Timestamp, StoreError> {
        self.get().map(Timestamp::from_micros)
    }

    fn span(&mut self) -> Result<Duration, StoreError> {
        self.unsigned().map(Duration::from_micros)
    }

    fn books(&mut self) -> Result<Books, StoreError> {
        let mut columns = [SignedAmount::ZERO; 10];
        for column in &mut columns {
            *column = self.map(SignedAmount::new)?;
        }
        Ok(Books::from_columns(columns))
    }

    pub(super) fn damaged(&self, cause: impl std::fmt::Display) -> StoreError {
        let number = self.row.get_ref(0).ok().and_then(|value| value.as_i64().ok()).unwrap_or(0);
        corrupt(format!("row cannot be read, restore a backup: {cause}: table={} row={number}", self.table))
    }
}

pub(super) fn account(row: &Row<'_>) -> Result<Account, StoreError> {
    let mut columns = Columns::new(row, "accounts");
    let number = columns.get()?;
    let id = AccountId::new(columns.text()?).map_err(|error| columns.damaged(error))?;
    let asset: Asset = columns.text()?.parse().map_err(|error| columns.damaged(error))?;
    let status = columns.map(Status::from_code)?;
    let limits = Limits {
        credit: columns.amount()?,
        debt: columns.optional(Columns::amount)?,
        open_holds: columns.optional(Columns::get)?,
        hold: columns.optional(Columns::amount)?,
        held: columns.optional(Columns::amount)?,
        ceiling: columns.optional(Columns::amount)?,
    };
    let policy = Policy {
        on_lapse: columns.map(OnLapse::from_code)?,
        overrun: columns.map(Overrun::from_code)?,
        lease: Lease { ttl: columns.span()?, grace: columns.span()?, late: columns.span()? },
    };
    let mut account = Account::new(id, number, asset, limits, policy, ChainHash::default());
    account.status = status;
    account.books = columns.books()?;
    account.lots_free = columns.amount()?;
    account.last_lot = columns.get()?;
    account.last_budget = columns.get()?;
    account.budgets = columns.get()?;
    account.open_holds = columns.get()?;
    account.lapsed_holds = columns.get()?;
    account.seq = columns.unsigned()?;
    account.head = ChainHash(columns.bytes()?);
    account.last_position = columns.unsigned()?;
    account.last_entry_at = columns.time()?;
    account.past = Past::of(columns.unsigned()?, columns.unsigned()?, columns.unsigned()?, columns.unsigned()?);
    Ok(account)
}

pub(super) fn hold(row: &Row<'_>) -> Result<Arc<Hold>, StoreError> {
    let mut columns = Columns::new(row, "holds");
    let number = columns.get()?;
    let account_number = columns.get()?;
    let key = KeyHash(columns.bytes()?);
    let id = hold_id(&mut columns)?;
    let token = CallToken(columns.bytes()?);
    let state = columns.map(HoldState::from_code)?;
    let pinned = Pinned::decode(columns.blob()?).map_err(|error| columns.damaged(error))?;
    let takes = columns.optional(|columns| decode_takes(columns.blob()?).map_err(|error| columns.damaged(error)))?;
    Ok(Arc::new(Hold {
        id,
        number,
        account_number,
        key,
        token,
        state,
        terms: pinned.terms,
        direct: pinned.direct,
        policy: pinned.policy,
        ceiling: pinned.ceiling,
        windows: pinned.windows,
        takes: takes.unwrap_or_default(),
        held: columns.amount()?,
        held_at_close: columns.amount()?,
        reported: columns.quantity()?,
        provisional: columns.quantity()?,
        settled_as: columns.optional_quantity()?,
        actual: columns.optional_quantity()?,
        captured: columns.amount()?,
        written_off: columns.amount()?,
        refunded: columns.amount()?,
        opened_at: columns.time()?,
        deadline: columns.time()?,
        closed_at: columns.optional(Columns::time)?,
        due: columns.optional(Columns::time)?,
        seq: columns.unsigned()?,
    }))
}

/// An entry whose account's name comes from elsewhere, or from the column after its own.
pub(super) fn entry(row: &Row<'_>, account: Option<&AccountId>) -> Result<Entry, StoreError> {
    let mut columns = Columns::new(row, "entries");
    let position = columns.unsigned()?;
    let account_number = columns.get()?;
    let mut entry = Entry {
        position,
        account_number,
        seq: columns.unsigned()?,
        previous: columns.unsigned()?,
        at: columns.time()?,
        kind: columns.map(EntryKind::from_code)?,
        changes: columns.books()?,
        available_after: columns.map(SignedAmount::new)?,
        held_after: columns.amount()?,
        hold: optional_hold_id(&mut columns)?,
        key: columns.optional(|columns| OperationKey::new(columns.text()?).map_err(|error| columns.damaged(error)))?,
        arguments: columns.optional(|columns| columns.bytes().map(ArgumentsHash))?,
        label: columns.optional(|columns| Label::new(columns.text()?).map_err(|error| columns.damaged(error)))?,
        body: Arc::from(columns.blob()?),
        metadata: columns.optional(|columns| columns.blob().map(Metadata::from_stored))?,
        hash: ChainHash(columns.bytes()?),
        account: account.cloned().map_or_else(placeholder, Ok)?,
    };
    if account.is_none() {
        entry.account = AccountId::new(columns.text()?).map_err(|error| columns.damaged(error))?;
    }
    Ok(entry)
}

/// Stands for a name that is read a moment later.
fn placeholder() -> Result<AccountId, StoreError> {
    AccountId::new("-").map_err(|error| corrupt(error.to_string()))
}

fn hold_id(columns: &mut Columns<'_, '_>) -> Result<HoldId, StoreError> {
    let request = RequestId::new(columns.text()?).map_err(|error| columns.damaged(error))?;
    let attempt = columns.get()?;
    HoldId::of(request, attempt).map_err(|error| columns.damaged(error))
}

fn optional_hold_id(columns: &mut Columns<'_, '_>) -> Result<Option<HoldId>, StoreError> {
    let found = columns.optional(hold_id)?;
    if found.is_none() {
        columns.next = columns.next.saturating_add(1);
    }
    Ok(found)
}

pub(super) fn key_target(target: i64) -> KeyTarget {
    match target {
        0 => KeyTarget::Gone,
        1.. => KeyTarget::Hold(target),
        _ => KeyTarget::Entry(target.unsigned_abs()),
    }
}

pub(super) fn insert_account(statement: &mut Statement<'_>, account: &Account) -> rusqlite::Result<usize> {
    let Account { limits, policy, books, .. } = account;
    statement.execute(params![
        account.number,
        account.id.as_str(),
        account.asset.to_string(),
        account.status.code(),
        Units(limits.credit),
        limits.debt.map(Units),
        limits.open_holds,
        limits.hold.map(Units),
        limits.held.map(Units),
        limits.ceiling.map(Units),
        policy.on_lapse.code(),
        policy.overrun.code(),
        Span(policy.lease.ttl),
        Span(policy.lease.grace),
        Span(policy.lease.late),
        Signed(books.available),
        Signed(books.held),
        Signed(books.revenue),
        Signed(books.funding),
        Signed(books.promotion),
        Signed(books.breakage),
        Signed(books.write_off),
        Signed(books.available_promo),
        Signed(books.held_promo),
        Signed(books.revenue_promo),
        Units(account.lots_free),
        account.last_lot,
        account.last_budget,
        account.budgets,
        account.open_holds,
        account.lapsed_holds,
        Count(account.seq),
        account.head.as_bytes(),
        Count(account.last_position),
        account.last_entry_at.as_micros(),
        Count(account.past.closed),
        Count(account.past.archived),
        Count(account.past.pruned),
        Count(account.past.checkpoint),
    ])
}

pub(super) fn update_account(statement: &mut Statement<'_>, account: &Account) -> rusqlite::Result<usize> {
    let books = &account.books;
    statement.execute(params![
        account.number,
        Signed(books.available),
        Signed(books.held),
        Signed(books.revenue),
        Signed(books.funding),
        Signed(books.promotion),
        Signed(books.breakage),
        Signed(books.write_off),
        Signed(books.available_promo),
        Signed(books.held_promo),
        Signed(books.revenue_promo),
        Units(account.lots_free),
        account.open_holds,
        account.lapsed_holds,
        Count(account.seq),
        account.head.as_bytes(),
        Count(account.last_position),
        account.last_entry_at.as_micros(),
    ])
}

pub(super) fn update_account_terms(statement: &mut Statement<'_>, account: &Account) -> rusqlite::Result<usize> {
    let Account { limits, policy, .. } = account;
    statement.execute(params![
        account.number,
        account.status.code(),
        Units(limits.credit),
        limits.debt.map(Units),
        limits.open_holds,
        limits.hold.map(Units),
        limits.held.map(Units),
        limits.ceiling.map(Units),
        policy.on_lapse.code(),
        policy.overrun.code(),
        Span(policy.lease.ttl),
        Span(policy.lease.grace),
        Span(policy.lease.late),
        account.last_lot,
        account.last_budget,
        account.budgets,
        Count(account.past.closed),
        Count(account.past.archived),
        Count(account.past.pruned),
        Count(account.past.checkpoint),
    ])
}

pub(super) fn upsert_hold(statement: &mut Statement<'_>, hold: &Hold) -> rusqlite::Result<usize> {
    statement.execute(params![
        hold.number,
        hold.account_number,
        hold.key.as_bytes(),
        hold.id.request().as_str(),
        hold.id.attempt(),
        hold.token.as_bytes(),
        hold.state.code(),
        Pinned::of(hold).encode(),
        encode_takes(&hold.takes),
        Units(hold.held),
        Units(hold.held_at_close),
        Units(hold.reported.cost),
        Count(hold.reported.tokens),
        Units(hold.provisional.cost),
        Count(hold.provisional.tokens),
        hold.settled_as.map(|quantity| Units(quantity.cost)),
        hold.settled_as.map(|quantity| Count(quantity.tokens)),
        hold.actual.map(|quantity| Units(quantity.cost)),
        hold.actual.map(|quantity| Count(quantity.tokens)),
        Units(hold.captured),
        Units(hold.written_off),
        Units(hold.refunded),
        hold.opened_at.as_micros(),
        hold.deadline.as_micros(),
        hold.closed_at.map(Timestamp::as_micros),
        hold.due.map(Timestamp::as_micros),
        Count(hold.seq),
    ])
}

pub(super) fn insert_key(statement: &mut Statement<'_>, key: KeyHash, target: KeyTarget) -> rusqlite::Result<usize> {
    let target = match target {
        KeyTarget::Hold(number) => number,
        KeyTarget::Entry(position) => Count(position).value().saturating_neg(),
        KeyTarget::Gone => 0,
    };
    statement.execute(params![key.as_bytes(), target])
}

/// An amount as a column.
pub(super) struct Units(pub(super) Amount);
/// A signed amount as a column.
pub(super) struct Signed(pub(super) SignedAmount);
/// A number as a column.
pub(super) struct Count(pub(super) u64);
/// A span of time as a column, in microseconds.
struct Span(Duration);

impl Count {
    /// Numbers that a column cannot hold do not occur; if one did, a check would refuse it.
    fn value(&self) -> i64 {
        i64::try_from(self.0).unwrap_or(i64::MIN)
    }
}

impl ToSql for Units {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.0.minor_units().into())
    }
}

impl ToSql for Signed {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.0.minor_units().into())
    }
}

impl ToSql for Count {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.value().into())
    }
}

impl ToSql for Span {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        match i64::try_from(self.0.as_micros()) {
            Ok(micros) => Ok(micros.into()),
            // Longer than the calendar lasts.
            Err(_) => Ok(i64::MAX.into()),
        }
    }
}
