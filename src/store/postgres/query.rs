//! Reading: what was committed, each call in one snapshot.

use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use sqlx::postgres::{PgArguments, PgRow};
use tokio::time::timeout;

use super::bind::{count, of_bucket, one};
use super::commit::time;
use super::fault::{corrupt, of_statement};
use super::pool::{Session, no_answer};
use super::rows::{self, Columns};
use super::{Place, PostgresStore, sql};
use crate::kernel::{Counters, KeyTarget};
use crate::model::{Account, AccountId, Budget, BudgetWindow, Entry, Hold, KeyHash, Lot, TariffHash, Timestamp};
use crate::store::{Due, DueHold, DueLot, Record, StoreError, Visitor};

/// A read-only transaction, and the bucket it looks at.
pub(super) struct Reading<'a> {
    store: &'a PostgresStore,
    session: Session<'a>,
    prepared: bool,
    /// How long an answer may take: a network that swallows messages says nothing.
    patience: Duration,
    bucket: i16,
    opened: Vec<PgRow>,
}

impl<'a> Reading<'a> {
    /// Begins to read a bucket.
    pub(super) async fn begin(store: &'a PostgresStore, place: &Place) -> Result<Self, StoreError> {
        let (session, opened) = store.readers.begin(&store.reading).await?;
        let (prepared, patience) = (store.options.prepared, store.options.statement_timeout);
        Ok(Self { store, session, prepared, patience, bucket: place.number, opened })
    }

    /// Ends the transaction and passes on what was read in it.
    pub(super) async fn end<T>(self, value: T) -> Result<T, StoreError> {
        timeout(self.patience, self.session.end(sql::ROLLBACK))
            .await
            .map_err(|_| no_answer())?
            .map_err(of_statement)?;
        Ok(value)
    }

    pub(super) async fn fetch(
        &mut self,
        statement: &'static str,
        arguments: PgArguments,
    ) -> Result<Vec<PgRow>, StoreError> {
        let query = sqlx::query_with(statement, arguments).persistent(self.prepared);
        let rows = timeout(self.patience, query.fetch_all(&mut self.session.connection));
        rows.await.map_err(|_| no_answer())?.map_err(of_statement)
    }

    async fn collect<T>(
        &mut self,
        statement: &'static str,
        arguments: PgArguments,
        read: impl Fn(&PgRow) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        self.fetch(statement, arguments).await?.iter().map(read).collect()
    }

    fn arguments(&self) -> Result<PgArguments, StoreError> {
        of_bucket(self.bucket)
    }

    /// An account; one that another process placed elsewhere is looked for there, and so is all else from then on.
    pub(super) async fn account(&mut self, id: &AccountId) -> Result<Option<Account>, StoreError> {
        if let Some(account) = self.account_here(id).await? {
            return Ok(Some(account));
        }
        let mut arguments = PgArguments::default();
        one(&mut arguments, vec![id.as_str()])?;
        let read = |row: &PgRow| Columns::new(row, "placements").placement();
        match self.collect(sql::SELECT_PLACED, arguments, read).await?.pop() {
            Some((account, bucket)) if bucket != self.bucket => {
                self.store.learn_placement(account, bucket)?;
                self.bucket = bucket;
                self.account_here(id).await
            }
            _ => Ok(None),
        }
    }

    async fn account_here(&mut self, id: &AccountId) -> Result<Option<Account>, StoreError> {
        let mut arguments = self.arguments()?;
        one(&mut arguments, vec![id.as_str()])?;
        Ok(self.collect(sql::SELECT_NAMED_ACCOUNTS, arguments, rows::account).await?.pop())
    }

    pub(super) async fn accounts(&mut self, after: i64, limit: u32) -> Result<Vec<Account>, StoreError> {
        let mut arguments = self.arguments()?;
        one(&mut arguments, after)?;
        one(&mut arguments, i64::from(limit))?;
        self.collect(sql::SELECT_ACCOUNTS, arguments, rows::account).await
    }

    pub(super) async fn hold(&mut self, id: &AccountId, key: KeyHash) -> Result<Option<Arc<Hold>>, StoreError> {
        let Some(account) = self.account(id).await? else {
            return Ok(None);
        };
        let mut arguments = self.arguments()?;
        one(&mut arguments, key.as_bytes())?;
        let read = |row: &PgRow| Columns::new(row, "keys").get().map(rows::key_target);
        let Some(KeyTarget::Hold(number)) = self.collect(sql::SELECT_KEY, arguments, read).await?.pop() else {
            return Ok(None);
        };
        let mut arguments = self.arguments()?;
        one(&mut arguments, number)?;
        let hold = self.collect(sql::SELECT_HOLD, arguments, rows::hold).await?.pop();
        Ok(hold.filter(|hold| hold.account_number == account.number))
    }

    pub(super) async fn holds(&mut self, id: &AccountId, after: i64, limit: u32) -> Result<Vec<Arc<Hold>>, StoreError> {
        let Some(mut arguments) = self.of_account(id).await? else {
            return Ok(Vec::new());
        };
        one(&mut arguments, after)?;
        one(&mut arguments, i64::from(limit))?;
        self.collect(sql::SELECT_PENDING, arguments, rows::hold).await
    }

    pub(super) async fn lots(&mut self, id: &AccountId) -> Result<Vec<Arc<Lot>>, StoreError> {
        let Some(account) = self.account(id).await? else {
            return Ok(Vec::new());
        };
        let mut arguments = self.arguments()?;
        one(&mut arguments, vec![account.number])?;
        self.collect(sql::SELECT_LIVE_LOTS, arguments, rows::lot).await
    }

    pub(super) async fn budgets(
        &mut self,
        id: &AccountId,
        after: u32,
        limit: u32,
    ) -> Result<Vec<Arc<Budget>>, StoreError> {
        let Some(mut arguments) = self.of_account(id).await? else {
            return Ok(Vec::new());
        };
        one(&mut arguments, i64::from(after))?;
        one(&mut arguments, i64::from(limit))?;
        self.collect(sql::SELECT_BUDGETS, arguments, rows::budget).await
    }

    pub(super) async fn windows(
        &mut self,
        id: &AccountId,
        budget: u32,
        from: Timestamp,
        limit: u32,
    ) -> Result<Vec<BudgetWindow>, StoreError> {
        let Some(mut arguments) = self.of_account(id).await? else {
            return Ok(Vec::new());
        };
        one(&mut arguments, i64::from(budget))?;
        one(&mut arguments, from.as_micros())?;
        one(&mut arguments, i64::from(limit))?;
        self.collect(sql::SELECT_WINDOWS, arguments, rows::window).await
    }

    /// Arguments that begin with the bucket and the account's number; none if there is no such account.
    async fn of_account(&mut self, id: &AccountId) -> Result<Option<PgArguments>, StoreError> {
        let Some(account) = self.account(id).await? else {
            return Ok(None);
        };
        let mut arguments = self.arguments()?;
        one(&mut arguments, account.number)?;
        Ok(Some(arguments))
    }

    /// The entries after number `after`. They lie scattered among the other accounts' entries; each knows where the one
    /// before it is. So: from the first milestone at or beyond the wanted end (or the account's last entry) back to the
    /// wanted beginning.
    pub(super) async fn journal(&mut self, id: &AccountId, after: u64, limit: u32) -> Result<Vec<Entry>, StoreError> {
        let account = self.account(id).await?.filter(|account| account.seq > after && limit > 0);
        let Some(account) = account else {
            return Ok(Vec::new());
        };
        let after = after.max(account.past.pruned);
        let last_wanted = after.saturating_add(u64::from(limit)).min(account.seq);
        let mut arguments = self.arguments()?;
        one(&mut arguments, account.number)?;
        one(&mut arguments, count(last_wanted))?;
        let read = |row: &PgRow| Columns::new(row, "entries").unsigned();
        let milestone = self.collect(sql::SELECT_MILESTONE, arguments, read).await?.pop();
        let mut arguments = self.arguments()?;
        one(&mut arguments, count(milestone.unwrap_or(account.last_position)))?;
        one(&mut arguments, count(after))?;
        one(&mut arguments, count(last_wanted))?;
        let entries = self.collect(sql::SELECT_CHAIN, arguments, |row| rows::entry(row, Some(id))).await?;
        let whole = entries.iter().map(|entry| entry.seq).eq(after.saturating_add(1)..=last_wanted);
        let is_ours = |entry: &Entry| entry.account_number == account.number;
        if whole && entries.iter().all(is_ours) {
            Ok(entries)
        } else {
            Err(corrupt(format!("journal is torn, restore a backup: account={id} after={after}")))
        }
    }

    pub(super) async fn feed(&mut self, after: u64, limit: u32) -> Result<Vec<Entry>, StoreError> {
        let mut arguments = self.arguments()?;
        one(&mut arguments, i64::try_from(after).unwrap_or(i64::MAX))?;
        one(&mut arguments, i64::from(limit))?;
        self.collect(sql::SELECT_FEED, arguments, |row| rows::entry(row, None)).await
    }

    pub(super) async fn due(&mut self, now: Option<Timestamp>, limit: u32) -> Result<Due, StoreError> {
        let now = now.map_or_else(|| time(&self.opened), Ok)?;
        if limit == 0 || now < self.bucket_row().await?.1 {
            return Ok(Due::nothing(now));
        }
        let mut arguments = self.arguments()?;
        one(&mut arguments, now.as_micros())?;
        one(&mut arguments, i64::from(limit))?;
        let read = |row: &PgRow| {
            let mut columns = Columns::new(row, "holds");
            let account = columns.account_id()?;
            Ok(DueHold { account, hold: columns.hold_id()?, state: columns.hold_state()? })
        };
        let holds = self.collect(sql::SELECT_DUE, arguments.clone(), read).await?;
        let read = |row: &PgRow| {
            let mut columns = Columns::new(row, "lots");
            Ok(DueLot { account: columns.account_id()?, lot: columns.number()? })
        };
        let lots = self.collect(sql::SELECT_DUE_LOTS, arguments, read).await?;
        Ok(Due::new(now, holds, lots))
    }

    /// The bucket's counters, and until when the sweeper stays away.
    async fn bucket_row(&mut self) -> Result<(Counters, Timestamp), StoreError> {
        let read = |row: &PgRow| {
            let mut columns = Columns::new(row, "buckets");
            let counters = Counters { position: columns.unsigned()?, hold: columns.get()?, account: columns.get()? };
            Ok((counters, columns.time()?))
        };
        let found = self.collect(sql::SELECT_BUCKET, self.arguments()?, read).await?.pop();
        found.ok_or_else(|| corrupt("bucket has no row, restore a backup"))
    }

    /// Up to which position entries may have been pruned.
    pub(super) async fn pruned(&mut self) -> Result<u64, StoreError> {
        let read = |row: &PgRow| Columns::new(row, "buckets").unsigned();
        let found = self.collect(sql::SELECT_PRUNED, self.arguments()?, read).await?.pop();
        found.ok_or_else(|| corrupt("bucket has no row, restore a backup"))
    }

    pub(super) async fn meta(&mut self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let mut arguments = PgArguments::default();
        one(&mut arguments, name)?;
        Ok(self.collect(sql::SELECT_META, arguments, |row| Columns::new(row, "meta").get()).await?.pop())
    }

    pub(super) async fn tariff(&mut self, hash: TariffHash) -> Result<Option<Arc<[u8]>>, StoreError> {
        let mut arguments = PgArguments::default();
        one(&mut arguments, hash.as_bytes())?;
        let read = |row: &PgRow| Columns::new(row, "tariffs").get().map(|bytes: &[u8]| Arc::from(bytes));
        Ok(self.collect(sql::SELECT_TARIFF, arguments, read).await?.pop())
    }

    /// Shows every row. Ends the transaction by closing the connection when it is told to stop.
    pub(super) async fn scan(mut self, mut visitor: Visitor) -> Result<(), StoreError> {
        let counters = self.bucket_row().await?.0;
        let pruned = self.pruned().await?;
        type Read = fn(&PgRow) -> Result<Record, StoreError>;
        let tables: [(&'static str, Read); 8] = [
            (sql::SCAN_CHECKPOINTS, |row| rows::entry(row, None).map(Record::Checkpoint)),
            (sql::SCAN_ENTRIES, |row| rows::entry(row, None).map(Record::Entry)),
            (sql::SCAN_ACCOUNTS, |row| rows::account(row).map(Record::Account)),
            (sql::SCAN_LOTS, |row| rows::lot(row).map(Record::Lot)),
            (sql::SCAN_HOLDS, |row| rows::hold(row).map(Record::Hold)),
            (sql::SCAN_BUDGETS, |row| rows::budget(row).map(Record::Budget)),
            (sql::SCAN_WINDOWS, |row| rows::window(row).map(Record::Window)),
            (sql::SCAN_KEYS, |row| Columns::new(row, "keys").key().map(|(key, target)| Record::Key(key, target))),
        ];
        if !visitor(Record::Counters(counters)) || (pruned > 0 && !visitor(Record::Pruned(pruned))) {
            return self.end(()).await;
        }
        let unhurried = sqlx::raw_sql(sql::UNHURRIED).execute(&mut self.session.connection);
        timeout(self.patience, unhurried).await.map_err(|_| no_answer())?.map_err(of_statement)?;
        for (statement, read) in tables {
            let query = sqlx::query_with(statement, self.arguments()?).persistent(self.prepared);
            let mut found = query.fetch(&mut self.session.connection);
            // Rows are in an index's order: they may be many, but none lets itself be waited for.
            let mut next = async || timeout(self.patience, found.try_next()).await.map_err(|_| no_answer());
            while let Some(row) = next().await?.map_err(of_statement)? {
                if !visitor(read(&row)?) {
                    return Ok(());
                }
            }
        }
        self.end(()).await
    }
}
