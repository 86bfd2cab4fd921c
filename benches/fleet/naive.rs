//! What the ledger is measured by: an interactive transaction per command, as it is written by hand.

use std::time::Duration;

use sqlx::Executor;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};

use super::load::{COST, Failure, HELD, Subject};

/// Accounts, holds and transfers, and nothing else: no chain, no limits, no keys beside the hold's.
pub(crate) struct Naive {
    accounts: usize,
    pool: PgPool,
}

const TABLES: &str = "create schema if not exists naive;
    create table naive.accounts (id bigint primary key, posted bigint not null, held bigint not null) with (fillfactor = 50);
    create table naive.holds (id text primary key, account bigint not null, amount bigint not null, settled bigint,
        state smallint not null, at timestamptz not null default now());
    create table naive.transfers (id bigint generated always as identity primary key, account bigint not null,
        amount bigint not null, kind smallint not null, hold text not null, at timestamptz not null default now())";

impl Naive {
    pub(crate) async fn open(options: &PgConnectOptions, accounts: usize, callers: usize) -> Result<Self, Failure> {
        let connections = u32::try_from(callers.min(64))?;
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .min_connections(connections)
            .acquire_timeout(Duration::from_secs(30))
            .test_before_acquire(false)
            .connect_with(options.clone())
            .await?;
        pool.execute(sqlx::raw_sql(TABLES)).await?;
        sqlx::query("insert into naive.accounts select n, 1000000000000000, 0 from generate_series(0, $1 - 1) n")
            .bind(i64::try_from(accounts)?)
            .execute(&pool)
            .await?;
        Ok(Self { accounts, pool })
    }

    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }
}

impl Subject for Naive {
    type Hold = (i64, String);

    fn accounts(&self) -> usize {
        self.accounts
    }

    async fn reserve(&self, account: usize, request: String) -> Result<Self::Hold, Failure> {
        let account = i64::try_from(account)?;
        let mut transaction = self.pool.begin().await?;
        let (posted, held): (i64, i64) =
            sqlx::query_as("select posted, held from naive.accounts where id = $1 for update")
                .bind(account)
                .fetch_one(&mut *transaction)
                .await?;
        if posted - held < HELD {
            return Err("out of money".into());
        }
        sqlx::query("insert into naive.holds (id, account, amount, state) values ($1, $2, $3, 0)")
            .bind(&request)
            .bind(account)
            .bind(HELD)
            .execute(&mut *transaction)
            .await?;
        sqlx::query("insert into naive.transfers (account, amount, kind, hold) values ($1, $2, 0, $3)")
            .bind(account)
            .bind(HELD)
            .bind(&request)
            .execute(&mut *transaction)
            .await?;
        sqlx::query("update naive.accounts set held = held + $2 where id = $1")
            .bind(account)
            .bind(HELD)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok((account, request))
    }

    async fn settle(&self, (account, request): Self::Hold) -> Result<(), Failure> {
        let mut transaction = self.pool.begin().await?;
        sqlx::query("select posted, held from naive.accounts where id = $1 for update")
            .bind(account)
            .execute(&mut *transaction)
            .await?;
        let held: i64 = sqlx::query_scalar("select amount from naive.holds where id = $1 and state = 0")
            .bind(&request)
            .fetch_one(&mut *transaction)
            .await?;
        sqlx::query("update naive.holds set state = 1, settled = $2 where id = $1")
            .bind(&request)
            .bind(COST)
            .execute(&mut *transaction)
            .await?;
        for (kind, amount) in [(1_i16, held), (2, COST)] {
            sqlx::query("insert into naive.transfers (account, amount, kind, hold) values ($1, $2, $3, $4)")
                .bind(account)
                .bind(amount)
                .bind(kind)
                .bind(&request)
                .execute(&mut *transaction)
                .await?;
        }
        sqlx::query("update naive.accounts set held = held - $2, posted = posted - $3 where id = $1")
            .bind(account)
            .bind(held)
            .bind(COST)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(())
    }
}
