//! The writer: one connection, one transaction per batch.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::{CachedStatement, Connection, OptionalExtension};
use tokio::sync::oneshot;

use super::fault::{corrupt, of_commit, of_statement};
use super::keys::{self, Keys, Moves};
use super::{SqliteOptions, credit, open, query, rows, sql};
use crate::clock::Clock;
use crate::kernel::{Batch, ChangeSet, Counters, Decision, KeyTarget, Operation, ReadSet, Reply, Snapshot};
use crate::model::{
    Account, AccountId, ArgumentsHash, Budget, BudgetKey, BudgetWindow, Hold, HoldState, KeyHash, LedgerId,
    OperationKey, TariffHash, Timestamp, WindowKey,
};
use crate::store::StoreError;

/// What the writer's thread owns.
pub(super) struct Writer {
    path: PathBuf,
    options: SqliteOptions,
    clock: Arc<dyn Clock>,
    ledger: LedgerId,
    connection: Option<Connection>,
    known: Known,
    keys: Keys,
    end: Option<oneshot::Sender<()>>,
}

/// Rows this process wrote or read. Nobody else writes, so they are the database's rows after every commit; after a
/// failure they are forgotten.
#[derive(Default)]
struct Known {
    accounts: HashMap<AccountId, Account>,
    open_holds: HashMap<KeyHash, Arc<Hold>>,
    budgets: Budgets,
    windows: HashMap<WindowKey, BudgetWindow>,
}

/// Budgets by scope, as a snapshot has them.
type Budgets = HashMap<BudgetKey, Vec<Arc<Budget>>>;

/// Rows remembered of each kind, at most: about 100 MB of accounts and holds together.
const KNOWN_MAX: usize = 100_000;

impl Writer {
    pub(super) fn open(
        path: PathBuf,
        options: SqliteOptions,
        clock: Arc<dyn Clock>,
        keys: Keys,
    ) -> Result<Self, StoreError> {
        let connection = open::writer(&path, &options)?;
        let ledger = open::ledger_id(&connection)?;
        Ok(Self {
            path,
            options,
            clock,
            ledger,
            connection: Some(connection),
            known: Known::default(),
            keys,
            end: None,
        })
    }

    pub(super) fn ledger(&self) -> LedgerId {
        self.ledger
    }

    /// Decides and writes a batch.
    pub(super) fn commit(&mut self, batch: &Batch) -> Result<Vec<Reply>, StoreError> {
        let connection = self.connect()?;
        match self.transact(&connection, batch) {
            Ok((Decision { changes, replies }, moves, budgets)) => {
                self.keys.learn(&changes.keys, &moves);
                self.known.budgets.extend(budgets);
                self.known.learn(changes);
                self.connection = Some(connection);
                Ok(replies)
            }
            Err(error) => {
                // After a failed statement SQLite may have taken the whole transaction back by itself, and would run
                // the next one alone. So this connection runs none: it is closed, which takes back what is left.
                let _ = connection.execute_batch(sql::ROLLBACK);
                drop(connection);
                self.known = Known::default();
                self.keys.forget();
                Err(error)
            }
        }
    }

    /// Runs one batch in one transaction. On an error the transaction is left as it is, for the caller to take back.
    fn transact(&self, connection: &Connection, batch: &Batch) -> Result<(Decision, Moves, Budgets), StoreError> {
        connection.execute_batch(sql::BEGIN).map_err(of_statement)?;
        let counters = counters(connection)?;
        let now = self.clock.now();
        let mut snapshot = Snapshot { ledger: self.ledger, counters, ..Snapshot::default() };
        self.load(connection, &batch.reads(), now, &mut snapshot)?;
        let decision = loop {
            match batch.decide(&snapshot, now) {
                Ok(decision) => break decision,
                Err(missing) => self.load(connection, &missing, now, &mut snapshot)?,
            }
        };
        if decision.changes.is_empty() && decision.changes.counters == counters {
            connection.execute_batch(sql::ROLLBACK).map_err(of_statement)?;
            return Ok((decision, Moves::default(), snapshot.budgets));
        }
        let moves = self.keys.moves(decision.changes.new_holds.len());
        write(connection, &snapshot, &decision.changes, &moves)?;
        connection.execute_batch(sql::COMMIT).map_err(of_commit)?;
        Ok((decision, moves, snapshot.budgets))
    }

    /// Loads what a batch has to know into its snapshot.
    fn load(
        &self,
        connection: &Connection,
        reads: &ReadSet,
        now: Timestamp,
        snapshot: &mut Snapshot,
    ) -> Result<(), StoreError> {
        let mut accounts = prepare(connection, sql::SELECT_ACCOUNT)?;
        for id in &reads.accounts {
            if snapshot.accounts.contains_key(id) {
                continue;
            }
            let found = match self.known.accounts.get(id) {
                Some(account) => Some(account.clone()),
                None => find(&mut accounts, [id.as_str()], rows::account)?,
            };
            snapshot.accounts.extend(found.map(|account| (id.clone(), account)));
        }
        let mut keys = prepare(connection, sql::SELECT_KEY)?;
        let mut holds = prepare(connection, sql::SELECT_HOLD)?;
        for key in &reads.holds {
            if snapshot.holds.contains_key(key) {
                continue;
            }
            let found = match self.known.open_holds.get(key) {
                Some(hold) => Some(Arc::clone(hold)),
                None => {
                    let recent = self.keys.recent(connection, *key)?;
                    match recent.map_or_else(|| target(&mut keys, *key), |target| Ok(Some(target)))? {
                        Some(KeyTarget::Hold(number)) => find(&mut holds, [number], rows::hold)?,
                        Some(KeyTarget::Entry(_)) | None => None,
                    }
                }
            };
            snapshot.holds.extend(found.map(|hold| (*key, hold)));
        }
        for key in &reads.operations {
            if let Some(KeyTarget::Entry(position)) = target(&mut keys, *key)? {
                snapshot.operations.insert(*key, operation(connection, position)?);
            }
        }
        for id in &reads.overdue {
            let number = snapshot.accounts.get(id).map_or(0, |account| account.number);
            let mut overdue = prepare(connection, sql::SELECT_OVERDUE)?;
            let mut found = overdue.query([number, now.as_micros()]).map_err(of_statement)?;
            // Two commands of a batch may ask for the same account.
            let mut due = Vec::new();
            while let Some(row) = found.next().map_err(of_statement)? {
                let hold = rows::hold(row)?;
                due.push(hold.key);
                snapshot.holds.entry(hold.key).or_insert(hold);
            }
            snapshot.overdue.insert(id.clone(), due);
        }
        load_credit(connection, &self.known, reads, snapshot)
    }

    pub(super) fn put_tariff(&mut self, hash: TariffHash, content: &[u8]) -> Result<(), StoreError> {
        self.execute(sql::INSERT_TARIFF, rusqlite::params![hash.as_bytes(), content])
    }

    pub(super) fn raise_epoch(&mut self) -> Result<u64, StoreError> {
        let connection = self.connect()?;
        let epoch = query::epoch(&connection)?.saturating_add(1);
        self.connection = Some(connection);
        self.execute(sql::UPSERT_META, rusqlite::params!["epoch", epoch.to_be_bytes()])?;
        Ok(epoch)
    }

    /// Runs one statement in a transaction of its own. After an error the connection is not used again.
    fn execute(&mut self, statement: &str, params: impl rusqlite::Params) -> Result<(), StoreError> {
        let connection = self.connect()?;
        connection.execute(statement, params).map_err(of_statement)?;
        self.connection = Some(connection);
        Ok(())
    }

    fn connect(&mut self) -> Result<Connection, StoreError> {
        self.connection.take().map_or_else(|| open::writer_again(&self.path, &self.options, self.ledger), Ok)
    }

    /// Whom the thread tells as its last act.
    pub(super) fn on_end(&mut self, end: oneshot::Sender<()>) {
        self.end = Some(end);
    }

    pub(super) fn take_end(&mut self) -> Option<oneshot::Sender<()>> {
        self.end.take()
    }

    /// Moves the log into the database and closes it.
    pub(super) fn close(&mut self) -> Result<(), StoreError> {
        let Some(connection) = self.connection.take() else {
            return Ok(());
        };
        // A reader may still hold the log; then it is moved at the next opening.
        let _ = connection.execute_batch("pragma wal_checkpoint(truncate)");
        connection.close().map_err(|(_, error)| of_statement(error))
    }
}

pub(super) fn counters(connection: &Connection) -> Result<Counters, StoreError> {
    let row = connection
        .prepare_cached(sql::SELECT_BUCKET)
        .and_then(|mut statement| statement.query_row([], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?, row.get(2)?))));
    let (position, hold, account) = row.map_err(of_statement)?;
    let position = u64::try_from(position).map_err(|_| corrupt("bucket row is damaged, restore a backup"))?;
    Ok(Counters { position, hold, account })
}

/// Loads lots, budgets and windows: only of accounts that have any.
fn load_credit(
    connection: &Connection,
    known: &Known,
    reads: &ReadSet,
    snapshot: &mut Snapshot,
) -> Result<(), StoreError> {
    for account in &reads.live_lots {
        if snapshot.live_lots.insert(*account) {
            each(connection, sql::SELECT_LIVE_LOTS, [*account], |row| {
                snapshot.add_lot(credit::lot(row)?);
                Ok(())
            })?;
        }
    }
    for key in &reads.lots {
        if !snapshot.has_lot(*key) {
            let mut statement = prepare(connection, sql::SELECT_LOT)?;
            let found = find(&mut statement, rusqlite::params![key.account, key.lot], credit::lot)?;
            snapshot.add_lot(found.ok_or_else(|| corrupt(format!("lot is missing, restore a backup: {key:?}")))?);
        }
    }
    for key in &reads.budgets {
        if let Some(budgets) = known.budgets.get(key) {
            snapshot.budgets.entry(key.clone()).or_insert_with(|| budgets.clone());
        }
        if !snapshot.budgets.contains_key(key) {
            let params = rusqlite::params![key.account, credit::scope_column(key.scope.as_ref())];
            let mut budgets = Vec::new();
            each(connection, sql::SELECT_SCOPE_BUDGETS, params, |row| {
                budgets.push(credit::budget(row)?);
                Ok(())
            })?;
            snapshot.budgets.insert(key.clone(), budgets);
        }
    }
    for key in &reads.windows {
        snapshot.windows.extend(known.windows.get(key).map(|window| (*key, *window)));
        if !snapshot.windows.contains_key(key) {
            let params = rusqlite::params![key.account, key.budget, key.start.as_micros()];
            let mut statement = prepare(connection, sql::SELECT_WINDOW)?;
            let found = find(&mut statement, params, |row| credit::counted(row, *key))?;
            snapshot.windows.insert(*key, found.unwrap_or_else(|| BudgetWindow::new(*key)));
        }
    }
    Ok(())
}

/// Shows every row to `take`.
fn each(
    connection: &Connection,
    statement: &str,
    params: impl rusqlite::Params,
    mut take: impl FnMut(&rusqlite::Row<'_>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut statement = prepare(connection, statement)?;
    let mut found = statement.query(params).map_err(of_statement)?;
    while let Some(row) = found.next().map_err(of_statement)? {
        take(row)?;
    }
    Ok(())
}

/// Writes whole rows, each once.
fn write(connection: &Connection, before: &Snapshot, changes: &ChangeSet, moves: &Moves) -> Result<(), StoreError> {
    let mut statement = prepare(connection, sql::INSERT_ACCOUNT)?;
    for account in &changes.new_accounts {
        rows::insert_account(&mut statement, account).map_err(of_statement)?;
    }
    let mut statement = prepare(connection, sql::UPDATE_ACCOUNT)?;
    for account in &changes.accounts {
        rows::update_account(&mut statement, account).map_err(of_statement)?;
    }
    let mut statement = prepare(connection, sql::UPDATE_ACCOUNT_TERMS)?;
    for account in &changes.accounts {
        let counts = |account: &Account| (account.last_lot, account.last_budget, account.budgets);
        let terms = |account: &Account| (account.status, account.limits, account.policy, counts(account));
        if before.accounts.get(&account.id).map(terms) != Some(terms(account)) {
            rows::update_account_terms(&mut statement, account).map_err(of_statement)?;
        }
    }
    let mut statement = prepare(connection, sql::INSERT_HOLD)?;
    for hold in &changes.new_holds {
        rows::insert_hold(&mut statement, hold).map_err(of_statement)?;
    }
    let mut statement = prepare(connection, sql::UPDATE_HOLD)?;
    for hold in &changes.holds {
        rows::update_hold(&mut statement, hold).map_err(of_statement)?;
    }
    write_credit(connection, changes)?;
    let mut statement = prepare(connection, sql::INSERT_ENTRY)?;
    for entry in &changes.entries {
        rows::insert_entry(&mut statement, entry).map_err(of_statement)?;
    }
    keys::write(connection, &changes.keys, moves)?;
    let Counters { position, hold, account } = changes.counters;
    let pause = changes.pause.map_or(i64::MIN, Timestamp::as_micros);
    prepare(connection, sql::UPDATE_BUCKET)?
        .execute(rusqlite::params![rows::Count(position), hold, account, pause, moves.indexed])
        .map_err(of_statement)?;
    Ok(())
}

/// Writes lots, budgets and windows.
fn write_credit(connection: &Connection, changes: &ChangeSet) -> Result<(), StoreError> {
    if !changes.new_lots.is_empty() {
        let mut statement = prepare(connection, sql::INSERT_LOT)?;
        for lot in &changes.new_lots {
            credit::insert_lot(&mut statement, lot).map_err(of_statement)?;
        }
    }
    if !changes.lots.is_empty() {
        let mut statement = prepare(connection, sql::UPDATE_LOT)?;
        for lot in &changes.lots {
            credit::update_lot(&mut statement, lot).map_err(of_statement)?;
        }
    }
    if !changes.budgets.is_empty() {
        let mut statement = prepare(connection, sql::UPSERT_BUDGET)?;
        for budget in &changes.budgets {
            credit::upsert_budget(&mut statement, budget).map_err(of_statement)?;
        }
    }
    if !changes.windows.is_empty() {
        let mut statement = prepare(connection, sql::UPSERT_WINDOW)?;
        for window in &changes.windows {
            credit::upsert_window(&mut statement, window).map_err(of_statement)?;
        }
    }
    Ok(())
}

impl Known {
    /// Takes over what was just made durable.
    fn learn(&mut self, changes: ChangeSet) {
        let sizes = [self.accounts.len(), self.open_holds.len(), self.budgets.len(), self.windows.len()];
        if sizes.into_iter().any(|size| size > KNOWN_MAX) {
            *self = Self::default();
        }
        for budget in changes.budgets {
            self.budgets.remove(&BudgetKey { account: budget.account_number, scope: budget.scope.clone() });
        }
        self.windows.extend(changes.windows.into_iter().map(|window| (window.key, window)));
        for account in changes.new_accounts.into_iter().chain(changes.accounts) {
            self.accounts.insert(account.id.clone(), account);
        }
        for hold in changes.new_holds.into_iter().chain(changes.holds) {
            if hold.state == HoldState::Open {
                self.open_holds.insert(hold.key, hold);
            } else {
                self.open_holds.remove(&hold.key);
            }
        }
    }
}

pub(super) fn prepare<'c>(connection: &'c Connection, statement: &str) -> Result<CachedStatement<'c>, StoreError> {
    connection.prepare_cached(statement).map_err(of_statement)
}

/// The first row, read by `read`.
pub(super) fn find<T>(
    statement: &mut CachedStatement<'_>,
    params: impl rusqlite::Params,
    read: impl FnOnce(&rusqlite::Row<'_>) -> Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    let mut found = statement.query(params).map_err(of_statement)?;
    match found.next().map_err(of_statement)? {
        Some(row) => read(row).map(Some),
        None => Ok(None),
    }
}

pub(super) fn target(keys: &mut CachedStatement<'_>, key: KeyHash) -> Result<Option<KeyTarget>, StoreError> {
    let found = keys.query_row([key.as_bytes()], |row| row.get(0)).optional().map_err(of_statement)?;
    Ok(found.map(rows::key_target))
}

fn operation(connection: &Connection, position: u64) -> Result<Operation, StoreError> {
    let damaged = || corrupt(format!("key leads to no operation, restore a backup: table=entries row={position}"));
    let read =
        |row: &rusqlite::Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, Vec<u8>>(1)?, row.get::<_, i64>(2)?));
    let mut statement = prepare(connection, sql::SELECT_OPERATION)?;
    let found = statement.query_row([rows::Count(position)], read).optional().map_err(|_| damaged())?;
    let (key, arguments, seq) = found.ok_or_else(damaged)?;
    Ok(Operation {
        key: OperationKey::new(key).map_err(|_| damaged())?,
        arguments: ArgumentsHash::from_slice(&arguments).ok_or_else(damaged)?,
        seq: u64::try_from(seq).map_err(|_| damaged())?,
    })
}
