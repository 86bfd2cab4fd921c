//! Writing: one transaction per batch, decided on nothing that was read before the bucket's row was locked.
//!
//! What is reserved is nearly always new, so it is not looked up: a key that is there already cannot be written, and then the
//! batch is decided once more, on what is there.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use sqlx::Row;
use sqlx::postgres::{PgArguments, PgConnection, PgRow};
use tokio::time::timeout;

use super::bind::{of_bucket, one, scope_column};
use super::fault::{corrupt, is_duplicate, of_statement};
use super::pool::{Session, no_answer};
use super::rows::{self, Columns};
use super::write::{self, pieces};
use super::{Place, PostgresStore, prune, sql};
use crate::kernel::{Batch, ChangeSet, Counters, KeyTarget, Map, ReadSet, Reply, Set, Snapshot};
use crate::model::{Account, AccountId, BudgetKey, BudgetWindow, Hold, HoldState, KeyHash, Timestamp, WindowKey};
use crate::random;
use crate::store::known::KnownCredit;
use crate::store::{StoreError, StoreErrorKind};

/// Rows of a bucket this process wrote or read, and the version of the bucket they are of. Another process's batch
/// changes the version, and it is read under the lock: then these are forgotten. Each batch draws its version, so that
/// a database that lost commits, by a failover or a restore, never comes back to one that is known.
#[derive(Default)]
pub(super) struct Known {
    version: i64,
    accounts: Map<AccountId, Arc<Account>>,
    open_holds: Map<KeyHash, Arc<Hold>>,
    credit: KnownCredit,
    /// How many batches look up what they reserve, before it is taken for new again.
    wary: u32,
}

/// Rows remembered of each kind and bucket, at most: about 100 MB of accounts and holds together.
const KNOWN_MAX: usize = 100_000;

/// How many batches look up what they reserve after one that did not and was wrong: requests that are repeated cost one batch
/// in so many a second transaction, and no more.
const WARY: u32 = 100;

/// What a decided batch has to do yet.
struct Decided {
    changes: ChangeSet,
    replies: Vec<Reply>,
    /// The bucket's version once it is written.
    version: i64,
}

/// Decides and writes a batch. Dropped or failed, it has closed its connection, and the database takes back what was not
/// committed.
pub(super) async fn commit(store: &PostgresStore, bucket: u16, batch: &Batch) -> Result<Vec<Reply>, StoreError> {
    let place = store.place_of(bucket)?;
    let mut known = place.known().take().unwrap_or_default();
    let replies = match attempt(store, place, batch, &mut known).await {
        Err(error) if known.wary == 0 && is_duplicate(&error) => {
            known.wary = WARY;
            attempt(store, place, batch, &mut known).await?
        }
        replies => replies?,
    };
    *place.known() = Some(known);
    Ok(replies)
}

/// One transaction.
async fn attempt(
    store: &PostgresStore,
    place: &Place,
    batch: &Batch,
    known: &mut Known,
) -> Result<Vec<Reply>, StoreError> {
    let (mut session, opened) = store.writers.begin(&place.opening).await?;
    let before_commit = decide_and_write(store, place.number, batch, known, &mut session, &opened);
    let decided = timeout(store.options.statement_timeout, before_commit).await.map_err(|_| no_answer())??;
    let Decided { changes, replies, version } = decided;
    if is_nothing(&changes, &opened)? {
        // Whether this arrives or not, nothing was written.
        let _ = timeout(store.options.statement_timeout, session.end(sql::ROLLBACK)).await;
    } else {
        store.end(session).await?;
        known.learn(changes, version);
    }
    Ok(replies)
}

async fn decide_and_write(
    store: &PostgresStore,
    bucket: i16,
    batch: &Batch,
    known: &mut Known,
    session: &mut Session<'_>,
    opened: &[PgRow],
) -> Result<Decided, StoreError> {
    let connection = &mut session.connection;
    let (counters, found) = locked(opened)?;
    let now = match &store.options.clock {
        Some(clock) => clock.now(),
        None => time(opened)?,
    };
    if known.version != found {
        known.forget(found);
    }
    let mut snapshot = Snapshot { ledger: store.ledger, counters, ..Snapshot::default() };
    let new = if known.wary == 0 { batch.likely_new() } else { Set::default() };
    let mut loader = Loader { store, bucket, connection, known, new, now };
    loader.load(&batch.reads(), &mut snapshot).await?;
    loader.check_placements(batch, &snapshot).await?;
    let decision = loop {
        match batch.decide(&snapshot, now) {
            Ok(decision) => match loader.unproven(&decision.changes) {
                doubts if doubts.holds.is_empty() => break decision,
                doubts => loader.load(&doubts, &mut snapshot).await?,
            },
            Err(missing) => loader.load(&missing, &mut snapshot).await?,
        }
    };
    let changes = decision.changes;
    let version = draw_version()?;
    if !changes.is_empty() || changes.counters != counters {
        let terms = changed_terms(&changes, &snapshot);
        if !terms.is_empty() {
            write::write_terms(connection, bucket, &terms, store.options.prepared).await?;
        }
        let joined = store.one_statement.then_some(&store.joined);
        write::write(connection, bucket, &pieces(&changes, &snapshot, version), joined, store.options.prepared).await?;
        prune::remove(connection, bucket, &changes.pruned, store.options.prepared).await?;
    }
    Ok(Decided { changes, replies: decision.replies, version })
}

fn draw_version() -> Result<i64, StoreError> {
    let no_randomness = |error: std::io::Error| StoreError::new(StoreErrorKind::Unavailable, error.to_string());
    let bytes = random::bytes().map_err(no_randomness)?;
    Ok(bytes.first_chunk().copied().map_or(0, i64::from_be_bytes))
}

/// Accounts whose terms are not what they were.
fn changed_terms<'a>(changes: &'a ChangeSet, before: &Snapshot) -> Vec<&'a Account> {
    let counts = |account: &Account| (account.last_lot, account.last_budget, account.budgets);
    let terms = |account: &Account| (account.status, account.limits, account.policy, counts(account));
    let before = |account: &Account| before.accounts.get(&account.id).map(|before| terms(before));
    changes.accounts.iter().map(Arc::as_ref).filter(|account| before(account) != Some(terms(account))).collect()
}

fn is_nothing(changes: &ChangeSet, opened: &[PgRow]) -> Result<bool, StoreError> {
    Ok(changes.is_empty() && changes.counters == locked(opened)?.0)
}

/// The bucket's counters and version, from the rows of the opening message.
fn locked(opened: &[PgRow]) -> Result<(Counters, i64), StoreError> {
    let row = opened.first().ok_or_else(|| corrupt("bucket has no row, restore a backup"))?;
    let mut columns = Columns::new(row, "buckets");
    let counters = Counters { position: columns.unsigned()?, hold: columns.get()?, account: columns.get()? };
    Ok((counters, columns.get()?))
}

/// The database's time, from the last row of the opening message.
pub(super) fn time(opened: &[PgRow]) -> Result<Timestamp, StoreError> {
    let row = opened.last().ok_or_else(|| corrupt("database does not say what time it is"))?;
    row.try_get(0).map(Timestamp::from_micros).map_err(of_statement)
}

/// Loads what a batch has to know into its snapshot, a statement for each kind of row.
struct Loader<'a> {
    store: &'a PostgresStore,
    bucket: i16,
    connection: &'a mut PgConnection,
    known: &'a mut Known,
    /// Keys that are taken for new without a look: the database refuses to write one that is not.
    new: Set<KeyHash>,
    now: Timestamp,
}

impl Loader<'_> {
    async fn load(&mut self, reads: &ReadSet, snapshot: &mut Snapshot) -> Result<(), StoreError> {
        self.load_accounts(&reads.accounts, snapshot).await?;
        self.load_keyed(reads, snapshot).await?;
        self.load_overdue(&reads.overdue, snapshot).await?;
        self.load_lots(reads, snapshot).await?;
        self.load_budgets(reads, snapshot).await
    }

    /// Keys that were taken for new and are not written, because their reserves are refused: if they were made long ago, the
    /// answer is another.
    fn unproven(&mut self, changes: &ChangeSet) -> ReadSet {
        let written: HashSet<_> = changes.keys.iter().map(|(key, _)| *key).collect();
        let holds = self.new.extract_if(|key| !written.contains(key)).collect();
        ReadSet { holds, ..ReadSet::default() }
    }

    async fn load_accounts(&mut self, ids: &[AccountId], snapshot: &mut Snapshot) -> Result<(), StoreError> {
        let mut wanted: Vec<&str> = Vec::new();
        for id in ids {
            if snapshot.accounts.contains_key(id) {
                continue;
            }
            match self.known.accounts.get(id) {
                Some(account) => {
                    snapshot.accounts.insert(id.clone(), Arc::clone(account));
                }
                None => wanted.push(id.as_str()),
            }
        }
        if wanted.is_empty() {
            return Ok(());
        }
        wanted.sort_unstable();
        wanted.dedup();
        let mut arguments = of_bucket(self.bucket)?;
        one(&mut arguments, wanted)?;
        for row in self.fetch(sql::SELECT_NAMED_ACCOUNTS, arguments).await? {
            let account = rows::account(&row)?;
            snapshot.accounts.insert(account.id.clone(), Arc::new(account));
        }
        Ok(())
    }

    async fn load_keyed(&mut self, reads: &ReadSet, snapshot: &mut Snapshot) -> Result<(), StoreError> {
        let mut wanted: Vec<KeyHash> = Vec::new();
        for key in &reads.holds {
            if snapshot.holds.contains_key(key) {
                continue;
            }
            match self.known.open_holds.get(key) {
                Some(hold) => {
                    self.new.remove(key);
                    snapshot.holds.insert(*key, Arc::clone(hold));
                }
                None if self.new.contains(key) => {}
                None => wanted.push(*key),
            }
        }
        wanted.extend(&reads.operations);
        if wanted.is_empty() {
            return Ok(());
        }
        wanted.sort_unstable();
        wanted.dedup();
        let mut arguments = of_bucket(self.bucket)?;
        one(&mut arguments, wanted.iter().map(KeyHash::as_bytes).collect::<Vec<_>>())?;
        for row in self.fetch(sql::SELECT_KEYED, arguments).await? {
            let mut columns = Columns::new(&row, "keys");
            let (key, target, operation) = columns.keyed()?;
            match target {
                KeyTarget::Gone => {
                    snapshot.gone.insert(key);
                }
                KeyTarget::Hold(_) => {
                    let hold = columns.hold()?;
                    snapshot.holds.insert(key, hold);
                }
                KeyTarget::Entry(position) => {
                    let operation = operation.ok_or_else(|| {
                        corrupt(format!("key leads to no operation, restore a backup: table=entries row={position}"))
                    })?;
                    snapshot.operations.insert(key, operation);
                }
            }
        }
        Ok(())
    }

    async fn load_overdue(&mut self, ids: &[AccountId], snapshot: &mut Snapshot) -> Result<(), StoreError> {
        if ids.is_empty() {
            return Ok(());
        }
        // An account's number leads back to its name; two commands of a batch may ask for the same account.
        let mut names = HashMap::new();
        for id in ids {
            names.extend(snapshot.accounts.get(id).map(|account| (account.number, id.clone())));
            snapshot.overdue.insert(id.clone(), Vec::new());
        }
        let mut arguments = of_bucket(self.bucket)?;
        one(&mut arguments, names.keys().copied().collect::<Vec<i64>>())?;
        one(&mut arguments, self.now.as_micros())?;
        for row in self.fetch(sql::SELECT_OVERDUE, arguments).await? {
            let hold = rows::hold(&row)?;
            let due = names.get(&hold.account_number).and_then(|id| snapshot.overdue.get_mut(id));
            due.into_iter().for_each(|due| due.push(hold.key));
            snapshot.holds.entry(hold.key).or_insert(hold);
        }
        Ok(())
    }

    async fn load_lots(&mut self, reads: &ReadSet, snapshot: &mut Snapshot) -> Result<(), StoreError> {
        let asked = reads.live_lots.iter().copied();
        let asked: Vec<i64> = asked.filter(|account| snapshot.live_lots.insert(*account)).collect();
        self.know_live_lots(&asked).await?;
        for account in asked {
            let lots = self.known.credit.live_lots.get(&account);
            lots.into_iter().for_each(|lots| snapshot.add_lots(account, lots));
        }
        let mut wanted: Vec<_> = reads.lots.iter().copied().filter(|key| !snapshot.has_lot(*key)).collect();
        wanted.sort_unstable();
        wanted.dedup();
        if wanted.is_empty() {
            return Ok(());
        }
        let mut arguments = of_bucket(self.bucket)?;
        one(&mut arguments, wanted.iter().map(|key| key.account).collect::<Vec<_>>())?;
        one(&mut arguments, wanted.iter().map(|key| i64::from(key.lot)).collect::<Vec<_>>())?;
        for row in self.fetch(sql::SELECT_LOT, arguments).await? {
            snapshot.add_lot(rows::lot(&row)?);
        }
        match wanted.iter().find(|key| !snapshot.has_lot(**key)) {
            Some(key) => Err(corrupt(format!("lot is missing, restore a backup: {key:?}"))),
            None => Ok(()),
        }
    }

    async fn know_live_lots(&mut self, accounts: &[i64]) -> Result<(), StoreError> {
        let unknown = accounts.iter().copied().filter(|account| !self.known.credit.live_lots.contains_key(account));
        let wanted: Vec<i64> = unknown.collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let mut found: HashMap<i64, BTreeMap<_, _>> =
            wanted.iter().map(|account| (*account, BTreeMap::new())).collect();
        let mut arguments = of_bucket(self.bucket)?;
        one(&mut arguments, wanted)?;
        for row in self.fetch(sql::SELECT_LIVE_LOTS, arguments).await? {
            let lot = rows::lot(&row)?;
            found.entry(lot.account_number).or_default().insert(lot.number, lot);
        }
        self.known.credit.live_lots.extend(found.into_iter().map(|(account, lots)| (account, Arc::new(lots))));
        Ok(())
    }

    async fn load_budgets(&mut self, reads: &ReadSet, snapshot: &mut Snapshot) -> Result<(), StoreError> {
        self.know_budgets(&reads.budgets).await?;
        for key in &reads.budgets {
            let budgets = self.known.credit.budgets.get(key);
            snapshot.budgets.extend(budgets.map(|budgets| (key.clone(), Arc::clone(budgets))));
        }
        self.know_windows(&reads.windows).await?;
        for key in &reads.windows {
            snapshot.windows.extend(self.known.credit.windows.get(key).map(|window| (*key, *window)));
        }
        Ok(())
    }

    async fn know_budgets(&mut self, keys: &[BudgetKey]) -> Result<(), StoreError> {
        let known = &mut self.known.credit.budgets;
        let mut wanted: Vec<_> = keys.iter().filter(|key| !known.contains_key(*key)).cloned().collect();
        wanted.sort_unstable_by(|a, b| (a.account, &a.scope).cmp(&(b.account, &b.scope)));
        wanted.dedup();
        if wanted.is_empty() {
            return Ok(());
        }
        let mut arguments = of_bucket(self.bucket)?;
        one(&mut arguments, wanted.iter().map(|key| key.account).collect::<Vec<_>>())?;
        let scopes: Vec<_> = wanted.iter().map(|key| scope_column(key.scope.as_ref())).collect();
        one(&mut arguments, scopes)?;
        let found = self.fetch(sql::SELECT_SCOPE_BUDGETS, arguments).await?;
        let mut budgets: HashMap<_, Vec<_>> = wanted.into_iter().map(|key| (key, Vec::new())).collect();
        for row in found {
            let budget = rows::budget(&row)?;
            let key = BudgetKey { account: budget.account_number, scope: budget.scope.clone() };
            budgets.entry(key).or_default().push(budget);
        }
        self.known.credit.budgets.extend(budgets.into_iter().map(|(key, budgets)| (key, Arc::new(budgets))));
        Ok(())
    }

    async fn know_windows(&mut self, keys: &[WindowKey]) -> Result<(), StoreError> {
        let known = &mut self.known.credit.windows;
        let mut wanted: Vec<_> = keys.iter().copied().filter(|key| !known.contains_key(key)).collect();
        wanted.sort_unstable();
        wanted.dedup();
        if wanted.is_empty() {
            return Ok(());
        }
        let mut arguments = of_bucket(self.bucket)?;
        one(&mut arguments, wanted.iter().map(|key| key.account).collect::<Vec<_>>())?;
        one(&mut arguments, wanted.iter().map(|key| i64::from(key.budget)).collect::<Vec<_>>())?;
        one(&mut arguments, wanted.iter().map(|key| key.start.as_micros()).collect::<Vec<_>>())?;
        let found = self.fetch(sql::SELECT_WINDOW, arguments).await?;
        let known = &mut self.known.credit.windows;
        known.extend(wanted.into_iter().map(|key| (key, BudgetWindow::new(key))));
        for row in found {
            let window = rows::window(&row)?;
            known.insert(window.key, window);
        }
        Ok(())
    }

    /// Whether an account that is not here was placed elsewhere by another process: then it is not ours to open, and
    /// whoever asks again finds it.
    async fn check_placements(&mut self, batch: &Batch, snapshot: &Snapshot) -> Result<(), StoreError> {
        let ids = batch.commands().iter().map(|command| command.account());
        let mut missing: Vec<_> =
            ids.filter(|id| !snapshot.accounts.contains_key(*id)).map(AccountId::as_str).collect();
        if missing.is_empty() {
            return Ok(());
        }
        missing.sort_unstable();
        missing.dedup();
        let mut arguments = PgArguments::default();
        one(&mut arguments, missing)?;
        let mut elsewhere = false;
        for row in self.fetch(sql::SELECT_PLACED, arguments).await? {
            let (account, bucket) = Columns::new(&row, "placements").placement()?;
            elsewhere |= bucket != self.bucket;
            self.store.learn_placement(account, bucket)?;
        }
        if elsewhere {
            Err(StoreError::new(StoreErrorKind::Contended, "account was placed in another bucket, ask again"))
        } else {
            Ok(())
        }
    }

    async fn fetch(&mut self, statement: &'static str, arguments: PgArguments) -> Result<Vec<PgRow>, StoreError> {
        let query = sqlx::query_with(statement, arguments).persistent(self.store.options.prepared);
        query.fetch_all(&mut *self.connection).await.map_err(of_statement)
    }
}

impl Known {
    /// Forgets the rows: they may have changed.
    fn forget(&mut self, version: i64) {
        *self = Self { version, wary: self.wary, ..Self::default() };
    }

    /// Takes over what was just made durable.
    fn learn(&mut self, changes: ChangeSet, version: i64) {
        self.version = version;
        self.wary = self.wary.saturating_sub(1);
        if self.accounts.len().max(self.open_holds.len()).max(self.credit.len()) > KNOWN_MAX {
            self.forget(version);
        }
        self.credit.learn(&changes);
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
