//! Reading: what was committed, beside the writer.

use std::collections::VecDeque;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row};

use super::commit::{counters, find, prepare, target};
use super::fault::of_statement;
use super::keys::{self, Keys};
use super::{credit, rows, sql};
use crate::kernel::KeyTarget;
use crate::model::{
    Account, AccountId, Budget, BudgetWindow, Entry, Hold, HoldId, HoldState, KeyHash, Lot, RequestId, TariffHash,
    Timestamp,
};
use crate::store::sqlite::fault::corrupt;
use crate::store::{Due, DueHold, DueLot, Record, StoreError, Visitor};

pub(super) fn account(connection: &Connection, id: &AccountId) -> Result<Option<Account>, StoreError> {
    find(&mut prepare(connection, sql::SELECT_ACCOUNT)?, [id.as_str()], rows::account)
}

pub(super) fn accounts(connection: &Connection, after: i64, limit: u32) -> Result<Vec<Account>, StoreError> {
    collect(connection, sql::SELECT_ACCOUNTS, rusqlite::params![after, limit], rows::account)
}

pub(super) fn hold(
    connection: &Connection,
    keys: &Keys,
    id: &AccountId,
    key: KeyHash,
) -> Result<Option<Arc<Hold>>, StoreError> {
    let recent = keys.recent(connection, key)?;
    snapshot(connection, || {
        let indexed = || target(&mut prepare(connection, sql::SELECT_KEY)?, key);
        let found = recent.map_or_else(indexed, |target| Ok(Some(target)))?;
        let Some(KeyTarget::Hold(number)) = found else {
            return Ok(None);
        };
        let account = account(connection, id)?.map(|account| account.number);
        let hold = find(&mut prepare(connection, sql::SELECT_HOLD)?, [number], rows::hold)?;
        Ok(hold.filter(|hold| Some(hold.account_number) == account))
    })
}

pub(super) fn holds(
    connection: &Connection,
    id: &AccountId,
    after: i64,
    limit: u32,
) -> Result<Vec<Arc<Hold>>, StoreError> {
    snapshot(connection, || match account(connection, id)? {
        None => Ok(Vec::new()),
        Some(account) => {
            collect(connection, sql::SELECT_PENDING, rusqlite::params![account.number, after, limit], rows::hold)
        }
    })
}

pub(super) fn lots(connection: &Connection, id: &AccountId) -> Result<Vec<Arc<Lot>>, StoreError> {
    snapshot(connection, || match account(connection, id)? {
        None => Ok(Vec::new()),
        Some(account) => collect(connection, sql::SELECT_LIVE_LOTS, [account.number], credit::lot),
    })
}

pub(super) fn budgets(
    connection: &Connection,
    id: &AccountId,
    after: u32,
    limit: u32,
) -> Result<Vec<Arc<Budget>>, StoreError> {
    snapshot(connection, || match account(connection, id)? {
        None => Ok(Vec::new()),
        Some(account) => {
            collect(connection, sql::SELECT_BUDGETS, rusqlite::params![account.number, after, limit], credit::budget)
        }
    })
}

pub(super) fn windows(
    connection: &Connection,
    id: &AccountId,
    budget: u32,
    from: Timestamp,
    limit: u32,
) -> Result<Vec<BudgetWindow>, StoreError> {
    snapshot(connection, || match account(connection, id)? {
        None => Ok(Vec::new()),
        Some(account) => {
            let params = rusqlite::params![account.number, budget, from.as_micros(), limit];
            collect(connection, sql::SELECT_WINDOWS, params, credit::window)
        }
    })
}

pub(super) fn due(connection: &Connection, now: Timestamp, limit: u32) -> Result<Due, StoreError> {
    let pause: i64 = prepare(connection, sql::SELECT_BUCKET)?.query_row([], |row| row.get(3)).map_err(of_statement)?;
    if now.as_micros() < pause {
        return Ok(Due::nothing(now));
    }
    let read = |row: &Row<'_>| {
        let damaged =
            |cause: &dyn std::fmt::Display| corrupt(format!("due hold cannot be read, restore a backup: {cause}"));
        let get = |column| row.get::<_, String>(column).map_err(|error| damaged(&error));
        let (account, request) = (get(0)?, get(1)?);
        let attempt = row.get(2).map_err(|error| damaged(&error))?;
        let state: u8 = row.get(3).map_err(|error| damaged(&error))?;
        let request = RequestId::new(request).map_err(|error| damaged(&error))?;
        Ok(DueHold {
            account: AccountId::new(account).map_err(|error| damaged(&error))?,
            hold: HoldId::of(request, attempt).map_err(|error| damaged(&error))?,
            state: HoldState::from_code(state).map_err(|error| damaged(&error))?,
        })
    };
    let holds = collect(connection, sql::SELECT_DUE, rusqlite::params![now.as_micros(), limit], read)?;
    let read = |row: &Row<'_>| {
        let account: String = row.get(0).map_err(of_statement)?;
        let account = AccountId::new(account)
            .map_err(|error| corrupt(format!("expired lot cannot be read, restore a backup: {error}")))?;
        Ok(DueLot { account, lot: row.get(1).map_err(of_statement)? })
    };
    let lots = collect(connection, sql::SELECT_DUE_LOTS, rusqlite::params![now.as_micros(), limit], read)?;
    Ok(Due::new(now, holds, lots))
}

/// The entries after number `after`. They lie scattered among the other accounts' entries; each knows where the one
/// before it is. So: from the first milestone at or beyond the wanted end (or the account's last entry) back to the
/// wanted beginning, keeping the first `limit`.
pub(super) fn journal(
    connection: &Connection,
    id: &AccountId,
    after: u64,
    limit: u32,
) -> Result<Vec<Entry>, StoreError> {
    snapshot(connection, || {
        let Some(account) = account(connection, id)?.filter(|account| account.seq > after && limit > 0) else {
            return Ok(Vec::new());
        };
        let last_wanted = after.saturating_add(u64::from(limit));
        let milestone: Option<i64> = prepare(connection, sql::SELECT_MILESTONE)?
            .query_row(rusqlite::params![account.number, rows::Count(last_wanted.min(account.seq))], |row| row.get(0))
            .optional()
            .map_err(of_statement)?;
        let mut position = milestone.and_then(|found| u64::try_from(found).ok()).unwrap_or(account.last_position);
        let mut entries = VecDeque::new();
        let mut statement = prepare(connection, sql::SELECT_ENTRY)?;
        let mut number = None;
        loop {
            let read = |row: &Row<'_>| rows::entry(row, Some(id));
            let entry = find(&mut statement, [rows::Count(position)], read)?
                .filter(|entry| entry.account_number == account.number)
                // One after the other down to the first: a damaged link must not lead round in circles.
                .filter(|entry| number.is_none_or(|number| number == entry.seq))
                .ok_or_else(|| {
                    corrupt(format!("journal is torn, restore a backup: account={id} position={position}"))
                })?;
            let (seq, previous) = (entry.seq, entry.previous);
            if seq > after && seq <= last_wanted {
                entries.push_front(entry);
            }
            if seq <= after.saturating_add(1) {
                return Ok(entries.into());
            }
            number = Some(seq.saturating_sub(1));
            position = previous;
        }
    })
}

pub(super) fn feed(connection: &Connection, after: u64, limit: u32) -> Result<Vec<Entry>, StoreError> {
    let read = |row: &Row<'_>| rows::entry(row, None);
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    collect(connection, sql::SELECT_FEED, rusqlite::params![after, limit], read)
}

pub(super) fn epoch(connection: &Connection) -> Result<u64, StoreError> {
    let mut statement = prepare(connection, sql::SELECT_META)?;
    let found: Option<Vec<u8>> = statement.query_row(["epoch"], |row| row.get(0)).optional().map_err(of_statement)?;
    let damaged = || corrupt("epoch is damaged, restore a backup");
    found.map_or(Ok(0), |bytes| bytes.try_into().map(u64::from_be_bytes).map_err(|_| damaged()))
}

pub(super) fn tariff(connection: &Connection, hash: TariffHash) -> Result<Option<Arc<[u8]>>, StoreError> {
    let mut statement = prepare(connection, sql::SELECT_TARIFF)?;
    let found: Option<Vec<u8>> =
        statement.query_row([hash.as_bytes()], |row| row.get(0)).optional().map_err(of_statement)?;
    Ok(found.map(Arc::from))
}

pub(super) fn scan(connection: &Connection, visitor: &mut Visitor) -> Result<(), StoreError> {
    snapshot(connection, || {
        intact(connection)?;
        let go_on = visitor(Record::Counters(counters(connection)?))
            && visit(connection, sql::SCAN_ENTRIES, visitor, |row| rows::entry(row, None).map(Record::Entry))?
            && visit(connection, sql::SCAN_ACCOUNTS, visitor, |row| rows::account(row).map(Record::Account))?
            && visit(connection, sql::SCAN_LOTS, visitor, |row| credit::lot(row).map(Record::Lot))?
            && visit(connection, sql::SCAN_HOLDS, visitor, |row| rows::hold(row).map(Record::Hold))?
            && visit(connection, sql::SCAN_BUDGETS, visitor, |row| credit::budget(row).map(Record::Budget))?
            && visit(connection, sql::SCAN_WINDOWS, visitor, |row| credit::window(row).map(Record::Window))?;
        if go_on && keys::each(connection, |key, number| visitor(Record::Key(key, KeyTarget::Hold(number))))? {
            visit(connection, sql::SCAN_KEYS, visitor, |row| {
                let key = row.get::<_, Vec<u8>>(0).map_err(of_statement)?;
                let key = KeyHash::from_slice(&key)
                    .ok_or_else(|| corrupt("key cannot be read, restore a backup: table=keys"))?;
                Ok(Record::Key(key, rows::key_target(row.get(1).map_err(of_statement)?)))
            })?;
        }
        Ok(())
    })
}

/// Every row may be right and an index over them wrong: then what is looked up is not found.
fn intact(connection: &Connection) -> Result<(), StoreError> {
    let verdict: String = prepare(connection, sql::CHECK)?.query_row([], |row| row.get(0)).map_err(of_statement)?;
    if verdict == "ok" {
        return Ok(());
    }
    Err(corrupt(format!("database is damaged, stop, restore a backup, then audit: {verdict}")))
}

fn visit(
    connection: &Connection,
    statement: &str,
    visitor: &mut Visitor,
    read: impl Fn(&Row<'_>) -> Result<Record, StoreError>,
) -> Result<bool, StoreError> {
    let mut statement = prepare(connection, statement)?;
    let mut found = statement.query([]).map_err(of_statement)?;
    while let Some(row) = found.next().map_err(of_statement)? {
        if !visitor(read(row)?) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Several reads of the same state.
fn snapshot<T>(connection: &Connection, read: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    connection.execute_batch(sql::BEGIN_READ).map_err(of_statement)?;
    let result = read();
    let ended = connection.execute_batch(sql::ROLLBACK).map_err(of_statement);
    result.and_then(|value| ended.map(|()| value))
}

fn collect<T>(
    connection: &Connection,
    statement: &str,
    params: impl rusqlite::Params,
    read: impl Fn(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let mut statement = prepare(connection, statement)?;
    let mut found = statement.query(params).map_err(of_statement)?;
    let mut values = Vec::new();
    while let Some(row) = found.next().map_err(of_statement)? {
        values.push(read(row)?);
    }
    Ok(values)
}
