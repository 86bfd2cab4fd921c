//! The writer: one connection, one transaction per batch.

use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::{CachedStatement, Connection, OptionalExtension};
use tokio::sync::oneshot;

use super::backlog::{self, Backlog, Moves, Row};
use super::checkpoint::Checkpoints;
use super::entries::Entries;
use super::fault::{corrupt, of_commit, of_statement};
use super::load::Load;
use super::{SqliteOptions, credit, open, prune, query, rows, sql};
use crate::clock::Clock;
use crate::kernel::{Batch, ChangeSet, Counters, Decision, KeyTarget, Map, Operation, ReadSet, Reply, Snapshot};
use crate::model::{
    Account, AccountId, ArgumentsHash, Hold, HoldState, KeyHash, LedgerId, OperationKey, TariffHash, Timestamp,
};
use crate::store::StoreError;
use crate::store::known::KnownCredit;

/// What the writer's thread owns.
pub(super) struct Writer {
    path: PathBuf,
    options: SqliteOptions,
    clock: Arc<dyn Clock>,
    ledger: LedgerId,
    connection: Option<Connection>,
    known: Known,
    backlog: Backlog,
    checkpoints: Option<Checkpoints>,
    end: Option<oneshot::Sender<()>>,
}

/// Rows of their tables that this process wrote or read. Nobody else writes, so they are the tables' rows until they
/// change, and then they are in the backlog, which is asked first; after a failure they are forgotten.
#[derive(Default)]
pub(super) struct Known {
    pub(super) accounts: Map<AccountId, Arc<Account>>,
    pub(super) open_holds: Map<KeyHash, Arc<Hold>>,
    /// This is as it stands, in its table or in the backlog.
    pub(super) credit: KnownCredit,
}

/// Rows that are moved together when the ledger is idle: a few milliseconds that somebody may have to wait.
const TIDIED_AT_ONCE: usize = 1_024;

/// Rows remembered of each kind, at most: about 100 MB of accounts and holds together.
const KNOWN_MAX: usize = 100_000;

impl Writer {
    pub(super) fn open(
        path: PathBuf,
        options: SqliteOptions,
        clock: Arc<dyn Clock>,
        backlog: Backlog,
    ) -> Result<Self, StoreError> {
        let connection = open::writer(&path, &options)?;
        let ledger = open::ledger_id(&connection)?;
        let checkpoints = Some(Checkpoints::start(&path, &options)?);
        Ok(Self {
            path,
            options,
            clock,
            ledger,
            connection: Some(connection),
            known: Known::default(),
            backlog,
            checkpoints,
            end: None,
        })
    }

    pub(super) fn ledger(&self) -> LedgerId {
        self.ledger
    }

    /// Decides and writes a batch.
    pub(super) fn commit(&mut self, batch: &Batch) -> Result<Vec<Reply>, StoreError> {
        // What a batch removes is in its table, and nowhere else.
        while prune::removes(batch) && self.tidy()? {}
        let connection = self.connect()?;
        match self.transact(&connection, batch) {
            Ok((Decision { changes, replies }, moves)) => {
                self.known.learn(&changes);
                self.known.keep(self.backlog.learn(changes, moves));
                self.connection = Some(connection);
                Ok(replies)
            }
            Err(error) => Err(self.failed(connection, error)),
        }
    }

    /// What is left to do once callers have their answers.
    pub(super) fn after(&self) {
        if let (Some(checkpoints), Some(connection)) = (&self.checkpoints, &self.connection) {
            checkpoints.look(connection);
        }
    }

    /// Moves rows that wait into their tables, in a transaction of their own. Answers whether there were any.
    pub(super) fn tidy(&mut self) -> Result<bool, StoreError> {
        let connection = self.connect()?;
        let write = || {
            let Some(moves) = self.backlog.rest(&connection, TIDIED_AT_ONCE)? else { return Ok(None) };
            run(&connection, sql::BEGIN).map_err(of_statement)?;
            backlog::settle(&connection, &moves)?;
            run(&connection, sql::COMMIT).map_err(of_commit)?;
            Ok(Some(moves))
        };
        match write() {
            Ok(moves) => {
                let more = moves.is_some();
                let moved = moves.map(|moves| self.backlog.learn(ChangeSet::default(), moves));
                self.known.keep(moved.unwrap_or_default());
                self.connection = Some(connection);
                Ok(more)
            }
            Err(error) => Err(self.failed(connection, error)),
        }
    }

    /// After a failed statement SQLite may have taken the whole transaction back by itself, and would run the next one
    /// alone. So this connection runs none: it is closed, which takes back what is left.
    fn failed(&mut self, connection: Connection, error: StoreError) -> StoreError {
        let _ = connection.execute_batch(sql::ROLLBACK);
        drop(connection);
        self.known = Known::default();
        self.backlog.forget();
        error
    }

    /// Runs one batch in one transaction. On an error the transaction is left as it is, for the caller to take back.
    fn transact(&mut self, connection: &Connection, batch: &Batch) -> Result<(Decision, Moves), StoreError> {
        run(connection, sql::BEGIN).map_err(of_statement)?;
        let counters = self.backlog.with(connection, |waiting| waiting.rows.counters())?.latest(counters(connection)?);
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
            run(connection, sql::ROLLBACK).map_err(of_statement)?;
            return Ok((decision, Moves::default()));
        }
        let moves = self.backlog.moves(&decision.changes);
        write(connection, &snapshot, &decision.changes, &moves)?;
        prune::remove(connection, &decision.changes.pruned)?;
        run(connection, sql::COMMIT).map_err(of_commit)?;
        Ok((decision, moves))
    }

    /// Loads what a batch has to know into its snapshot.
    fn load(
        &mut self,
        connection: &Connection,
        reads: &ReadSet,
        now: Timestamp,
        snapshot: &mut Snapshot,
    ) -> Result<(), StoreError> {
        self.backlog.with(connection, |waiting| {
            let mut load = Load { connection, known: &mut self.known, waiting, now };
            load.accounts(reads, snapshot)?;
            load.holds(reads, snapshot)?;
            load.overdue(reads, snapshot)?;
            load.lots(reads, snapshot)?;
            load.budgets(reads, snapshot)
        })?
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
        // What cannot be moved now is read and moved after the next opening.
        while self.tidy().unwrap_or(false) {}
        self.checkpoints = None;
        let Some(connection) = self.connection.take() else {
            return Ok(());
        };
        // A reader may still hold the log; then it is moved at the next opening.
        let _ = connection.execute_batch(sql::CHECKPOINT_AT_END);
        connection.close().map_err(|(_, error)| of_statement(error))
    }
}

/// The bucket's counters, but for what blobs in the backlog say.
pub(super) fn counters(connection: &Connection) -> Result<Counters, StoreError> {
    let row = connection
        .prepare_cached(sql::SELECT_BUCKET)
        .and_then(|mut statement| statement.query_row([], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?, row.get(2)?))));
    let (position, hold, account) = row.map_err(of_statement)?;
    let position = u64::try_from(position).map_err(|_| corrupt("bucket row is damaged, restore a backup"))?;
    Ok(Counters { position, hold, account })
}

/// Writes what is not left to the backlog, and what is.
fn write(connection: &Connection, before: &Snapshot, changes: &ChangeSet, moves: &Moves) -> Result<(), StoreError> {
    let mut statement = prepare(connection, sql::INSERT_ACCOUNT)?;
    for account in &changes.new_accounts {
        rows::insert_account(&mut statement, account).map_err(of_statement)?;
    }
    let mut statement = prepare(connection, sql::UPDATE_ACCOUNT_TERMS)?;
    for account in &changes.accounts {
        let counts = |account: &Account| (account.last_lot, account.last_budget, account.budgets);
        let terms = |account: &Account| (account.status, account.limits, account.policy, counts(account), account.past);
        if before.accounts.get(&account.id).map(|before| terms(before)) != Some(terms(account)) {
            rows::update_account_terms(&mut statement, account).map_err(of_statement)?;
        }
    }
    for lot in &changes.new_lots {
        credit::insert_lot(&mut *prepare(connection, sql::INSERT_LOT)?, lot).map_err(of_statement)?;
    }
    for budget in &changes.budgets {
        credit::upsert_budget(&mut *prepare(connection, sql::UPSERT_BUDGET)?, budget).map_err(of_statement)?;
    }
    let mut entries = Entries::prepare(connection).map_err(of_statement)?;
    for entry in &changes.entries {
        entries.insert(entry).map_err(of_statement)?;
    }
    backlog::write(connection, changes, moves)
}

impl Known {
    /// Takes over what a batch wrote past the backlog.
    fn learn(&mut self, changes: &ChangeSet) {
        let most = self.accounts.len().max(self.open_holds.len()).max(self.credit.len());
        if most > KNOWN_MAX {
            *self = Self::default();
        }
        self.accounts.extend(changes.new_accounts.iter().map(|account| (account.id.clone(), Arc::clone(account))));
        self.credit.learn(changes);
    }

    /// Takes over rows that left the backlog.
    fn keep(&mut self, moved: Vec<Row>) {
        for row in moved {
            match row {
                Row::Account(account) => drop(self.accounts.insert(account.id.clone(), account)),
                Row::Hold(hold) if hold.state == HoldState::Open => drop(self.open_holds.insert(hold.key, hold)),
                Row::Hold(hold) => drop(self.open_holds.remove(&hold.key)),
                // What can be spent is known already.
                Row::Window(_) | Row::Lot(_) => {}
            }
        }
    }
}

pub(super) fn prepare<'c>(connection: &'c Connection, statement: &str) -> Result<CachedStatement<'c>, StoreError> {
    connection.prepare_cached(statement).map_err(of_statement)
}

/// Begins or ends a transaction, with a statement that is not parsed anew.
fn run(connection: &Connection, statement: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(statement)?.execute([]).map(drop)
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

pub(super) fn operation(connection: &Connection, position: u64) -> Result<Operation, StoreError> {
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
