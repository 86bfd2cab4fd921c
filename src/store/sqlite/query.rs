//! Reading: what was committed, beside the writer.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row};

use super::backlog::{Backlog, Waiting};
use super::commit::{counters, find, prepare, target};
use super::fault::{corrupt, of_statement};
use super::{credit, prune, rows, sql};
use crate::kernel::KeyTarget;
use crate::model::{Account, AccountId, Budget, BudgetWindow, Entry, Hold, KeyHash, Lot, TariffHash, Timestamp};
use crate::store::{Due, DueHold, DueLot, Record, StoreError, Visitor};

pub(super) fn account(
    connection: &Connection,
    backlog: &Backlog,
    id: &AccountId,
) -> Result<Option<Account>, StoreError> {
    match backlog.with(connection, |waiting| waiting.rows.account(id).cloned())? {
        Some(account) => Ok(Some(Arc::unwrap_or_clone(account))),
        None => stored_account(connection, id),
    }
}

fn stored_account(connection: &Connection, id: &AccountId) -> Result<Option<Account>, StoreError> {
    find(&mut prepare(connection, sql::SELECT_ACCOUNT)?, [id.as_str()], rows::account)
}

/// The number of an account never changes, so its row has it right.
fn number(connection: &Connection, id: &AccountId) -> Result<Option<i64>, StoreError> {
    Ok(stored_account(connection, id)?.map(|account| account.number))
}

pub(super) fn accounts(
    connection: &Connection,
    backlog: &Backlog,
    after: i64,
    limit: u32,
) -> Result<Vec<Account>, StoreError> {
    backlog.with(connection, |waiting| {
        let read = |row: &Row<'_>| {
            let account = rows::account(row)?;
            Ok(waiting.rows.account(&account.id).cloned().map_or(account, Arc::unwrap_or_clone))
        };
        collect(connection, sql::SELECT_ACCOUNTS, rusqlite::params![after, limit], read)
    })?
}

pub(super) fn hold(
    connection: &Connection,
    backlog: &Backlog,
    id: &AccountId,
    key: KeyHash,
) -> Result<Option<Arc<Hold>>, StoreError> {
    let (waiting, recent) = backlog.with(connection, |waiting| (waiting.rows.hold(key).cloned(), waiting.key(key)))?;
    snapshot(connection, || {
        let stored = || {
            let indexed = || target(&mut prepare(connection, sql::SELECT_KEY)?, key);
            match recent.map_or_else(indexed, |target| Ok(Some(target)))? {
                Some(KeyTarget::Hold(number)) => {
                    find(&mut prepare(connection, sql::SELECT_HOLD)?, [number], rows::hold)
                }
                Some(KeyTarget::Entry(_) | KeyTarget::Gone) | None => Ok(None),
            }
        };
        let account = number(connection, id)?;
        let hold = waiting.map_or_else(stored, |hold| Ok(Some(hold)))?;
        Ok(hold.filter(|hold| Some(hold.account_number) == account))
    })
}

/// Of each hold that waits its last state, of the others their rows.
pub(super) fn holds(
    connection: &Connection,
    backlog: &Backlog,
    id: &AccountId,
    after: i64,
    limit: u32,
) -> Result<Vec<Arc<Hold>>, StoreError> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    backlog.with(connection, |Waiting { rows: waiting, .. }| {
        let Some(account) = number(connection, id)? else { return Ok(Vec::new()) };
        let mut found: Vec<_> = waiting.pending(account, after).take(limit).cloned().collect();
        let mut stored: usize = 0;
        each(connection, sql::SELECT_PENDING, rusqlite::params![account, after], |row| {
            let hold = rows::hold(row)?;
            if waiting.hold(hold.key).is_none() && stored < limit {
                found.push(hold);
                stored = stored.saturating_add(1);
            }
            Ok(stored < limit)
        })?;
        found.sort_unstable_by_key(|hold| hold.number);
        found.truncate(limit);
        Ok(found)
    })?
}

pub(super) fn lots(connection: &Connection, backlog: &Backlog, id: &AccountId) -> Result<Vec<Arc<Lot>>, StoreError> {
    backlog.with(connection, |Waiting { rows: waiting, .. }| {
        let Some(account) = number(connection, id)? else { return Ok(Vec::new()) };
        let mut found: Vec<_> = waiting.lots_of(account).filter(|lot| !lot.free.is_zero()).cloned().collect();
        each(connection, sql::SELECT_LIVE_LOTS, [account], |row| {
            let lot = credit::lot(row)?;
            found.extend(waiting.lot(lot.key()).is_none().then_some(lot));
            Ok(true)
        })?;
        found.sort_unstable_by_key(|lot| lot.number);
        Ok(found)
    })?
}

pub(super) fn budgets(
    connection: &Connection,
    id: &AccountId,
    after: u32,
    limit: u32,
) -> Result<Vec<Arc<Budget>>, StoreError> {
    snapshot(connection, || match number(connection, id)? {
        None => Ok(Vec::new()),
        Some(account) => {
            collect(connection, sql::SELECT_BUDGETS, rusqlite::params![account, after, limit], credit::budget)
        }
    })
}

pub(super) fn windows(
    connection: &Connection,
    backlog: &Backlog,
    id: &AccountId,
    budget: u32,
    from: Timestamp,
    limit: u32,
) -> Result<Vec<BudgetWindow>, StoreError> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    backlog.with(connection, |Waiting { rows: waiting, .. }| {
        let Some(account) = number(connection, id)? else { return Ok(Vec::new()) };
        let mut found = BTreeMap::new();
        let params = rusqlite::params![account, budget, from.as_micros()];
        each(connection, sql::SELECT_WINDOWS, params, |row| {
            let window = credit::window(row)?;
            found.insert(window.key, window);
            Ok(found.len() < limit)
        })?;
        found.extend(waiting.windows_of(account, budget, from).map(|window| (window.key, *window)));
        Ok(found.into_values().take(limit).collect())
    })?
}

pub(super) fn due(connection: &Connection, backlog: &Backlog, now: Timestamp, limit: u32) -> Result<Due, StoreError> {
    let pause: i64 = prepare(connection, sql::SELECT_BUCKET)?.query_row([], |row| row.get(3)).map_err(of_statement)?;
    if now.as_micros() < pause {
        return Ok(Due::nothing(now));
    }
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    backlog.with(connection, |Waiting { rows: waiting, .. }| {
        let mut holds: Vec<_> = waiting.due(now).cloned().collect();
        let most = holds.len().saturating_add(limit);
        each(connection, sql::SELECT_DUE, [now.as_micros()], |row| {
            let hold = rows::hold(row)?;
            holds.extend(waiting.hold(hold.key).is_none().then_some(hold));
            Ok(holds.len() < most)
        })?;
        holds.sort_by_key(|hold| hold.due);
        let mut lots: Vec<_> =
            waiting.lots().filter(|lot| lot.is_expired(now) && !lot.free.is_zero()).cloned().collect();
        let most = lots.len().saturating_add(limit);
        each(connection, sql::SELECT_DUE_LOTS, [now.as_micros()], |row| {
            let lot = credit::lot(row)?;
            lots.extend(waiting.lot(lot.key()).is_none().then_some(lot));
            Ok(lots.len() < most)
        })?;
        lots.sort_by_key(|lot| (lot.terms.expiry, lot.key()));
        let holds = holds.into_iter().take(limit).map(|hold| {
            let account = name(connection, hold.account_number)?;
            Ok(DueHold { account, hold: hold.id.clone(), state: hold.state })
        });
        let lots = lots.into_iter().take(limit).map(|lot| {
            let account = name(connection, lot.account_number)?;
            Ok(DueLot { account, lot: lot.number })
        });
        Ok(Due::new(now, holds.collect::<Result<_, StoreError>>()?, lots.collect::<Result<_, StoreError>>()?))
    })?
}

fn name(connection: &Connection, account: i64) -> Result<AccountId, StoreError> {
    let damaged = || corrupt(format!("account cannot be read, restore a backup: table=accounts row={account}"));
    let name: String =
        prepare(connection, sql::SELECT_NAME)?.query_row([account], |row| row.get(0)).map_err(|_| damaged())?;
    AccountId::new(name).map_err(|_| damaged())
}

/// The entries after number `after`. They lie scattered among the other accounts' entries; each knows where the one
/// before it is. So: from the first milestone at or beyond the wanted end (or the account's last entry) back to the
/// wanted beginning, keeping the first `limit`.
pub(super) fn journal(
    connection: &Connection,
    backlog: &Backlog,
    id: &AccountId,
    after: u64,
    limit: u32,
) -> Result<Vec<Entry>, StoreError> {
    let account = account(connection, backlog, id)?;
    snapshot(connection, || {
        let Some(account) = account.filter(|account| account.seq > after && limit > 0) else {
            return Ok(Vec::new());
        };
        // How much is gone is in the account's row at once, whatever waits; the account may be of a moment before.
        let stored = stored_account(connection, id)?;
        let after = after.max(stored.map_or(0, |stored| stored.past.pruned));
        if account.seq <= after {
            return Ok(Vec::new());
        }
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

/// The tables, with what waits laid over them, in one snapshot.
pub(super) fn scan(connection: &Connection, visitor: &mut Visitor) -> Result<(), StoreError> {
    snapshot(connection, || {
        intact(connection)?;
        let behind = Waiting::load(connection)?;
        let waiting = &behind.rows;
        let read = |row: &Row<'_>| {
            let account = rows::account(row)?;
            Ok(Record::Account(waiting.account(&account.id).cloned().map_or(account, Arc::unwrap_or_clone)))
        };
        let pruned = prune::pruned(connection)?;
        let go_on = visitor(Record::Counters(waiting.counters().latest(counters(connection)?)))
            && (pruned == 0 || visitor(Record::Pruned(pruned)))
            && visit(connection, sql::SCAN_CHECKPOINTS, visitor, |row| rows::entry(row, None).map(Record::Checkpoint))?
            && visit(connection, sql::SCAN_ENTRIES, visitor, |row| rows::entry(row, None).map(Record::Entry))?
            && visit(connection, sql::SCAN_ACCOUNTS, visitor, read)?
            && visit(connection, sql::SCAN_LOTS, visitor, |row| {
                let lot = credit::lot(row)?;
                Ok(Record::Lot(waiting.lot(lot.key()).cloned().unwrap_or(lot)))
            })?
            && overlaid(
                connection,
                sql::SCAN_HOLDS,
                waiting.holds().map(|hold| (hold.number, Arc::clone(hold))).collect(),
                |row| rows::hold(row).map(|hold| (hold.number, hold)),
                |hold| visitor(Record::Hold(hold)),
            )?
            && visit(connection, sql::SCAN_BUDGETS, visitor, |row| credit::budget(row).map(Record::Budget))?
            && overlaid(
                connection,
                sql::SCAN_WINDOWS,
                waiting.windows().map(|window| (window.key, *window)).collect(),
                |row| credit::window(row).map(|window| (window.key, window)),
                |window| visitor(Record::Window(window)),
            )?
            && behind.keys().all(|(key, target)| visitor(Record::Key(key, target)));
        if go_on {
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

/// Shows the rows of a table in its order, and in the place of some, or between them, those that wait.
fn overlaid<K: Ord, T>(
    connection: &Connection,
    statement: &str,
    mut waiting: BTreeMap<K, T>,
    read: impl Fn(&Row<'_>) -> Result<(K, T), StoreError>,
    mut visit: impl FnMut(T) -> bool,
) -> Result<bool, StoreError> {
    let in_table = each(connection, statement, [], |row| {
        let (key, stored) = read(row)?;
        while let Some(first) = waiting.first_entry().filter(|first| *first.key() < key) {
            if !visit(first.remove()) {
                return Ok(false);
            }
        }
        Ok(visit(waiting.remove(&key).unwrap_or(stored)))
    })?;
    Ok(in_table && waiting.into_values().all(visit))
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
    each(connection, statement, [], |row| Ok(visitor(read(row)?)))
}

/// Shows every row, until `take` has enough. Answers whether it had not.
pub(super) fn each(
    connection: &Connection,
    statement: &str,
    params: impl rusqlite::Params,
    mut take: impl FnMut(&Row<'_>) -> Result<bool, StoreError>,
) -> Result<bool, StoreError> {
    let mut statement = prepare(connection, statement)?;
    let mut found = statement.query(params).map_err(of_statement)?;
    while let Some(row) = found.next().map_err(of_statement)? {
        if !take(row)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Several reads of the same state.
pub(super) fn snapshot<T>(
    connection: &Connection,
    read: impl FnOnce() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
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
    let mut values = Vec::new();
    each(connection, statement, params, |row| {
        values.push(read(row)?);
        Ok(true)
    })?;
    Ok(values)
}
