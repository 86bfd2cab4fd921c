//! The feed: every entry once, in order, from wherever a consumer stopped.

mod common;

use std::collections::HashMap;

use prepaid::journal::Cursor;
use prepaid::model::Entry;
use prepaid::{AccountHandle, ErrorKind, Ledger};

use common::one::amount;

async fn work(account: AccountHandle, requests: u32) {
    account.open().await.unwrap();
    account.deposit("opening", amount(1_000_000)).await.unwrap();
    for n in 0..requests {
        let hold = account.reserve(format!("r{n}"), amount(10)).await.unwrap().created().unwrap();
        hold.settle(amount(n.into())).await.unwrap();
    }
}

/// Reads pages until there is nothing new; the consumer stops and starts again at every page.
async fn read(ledger: &Ledger, from: &Cursor, limit: u32) -> (Vec<Entry>, Cursor) {
    let (mut all, mut kept) = (Vec::new(), from.to_string());
    loop {
        let page = ledger.feed(&kept.parse().unwrap(), limit).await.unwrap();
        kept = page.cursor.to_string();
        if page.entries.is_empty() {
            return (all, page.cursor);
        }
        assert!(page.entries.len() <= limit as usize);
        all.extend(page.entries);
    }
}

fn in_order(entries: &[Entry]) {
    let mut last = HashMap::new();
    for entry in entries {
        let before = last.insert(entry.account.clone(), entry.seq).unwrap_or(0);
        assert_eq!(entry.seq, before + 1, "entries of {} are in order, none is skipped", entry.account);
    }
}

async fn consumer_sees_every_entry_once_while_others_write(url: &str) {
    let ledger = Ledger::open(url).await.unwrap();
    let writers: Vec<_> =
        (0..8).map(|n| tokio::spawn(work(ledger.account(format!("account-{n}")).unwrap(), 50))).collect();
    let (mut seen, mut cursor) = (Vec::new(), Cursor::default());
    while writers.iter().any(|writer| !writer.is_finished()) {
        let (entries, next) = read(&ledger, &cursor, 7).await;
        seen.extend(entries);
        cursor = next;
        tokio::task::yield_now().await;
    }
    for writer in writers {
        writer.await.unwrap();
    }
    seen.extend(read(&ledger, &cursor, 7).await.0);
    in_order(&seen);
    assert_eq!(seen.len(), 8 * (2 + 2 * 50));
    assert_eq!(read(&ledger, &Cursor::default(), 1_000).await.0, seen, "later it is the same feed");
}

#[tokio::test]
async fn memory_feed_shows_every_entry_once_while_others_write() {
    consumer_sees_every_entry_once_while_others_write("memory:").await;
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn sqlite_feed_shows_every_entry_once_while_others_write() {
    let folder = tempfile::tempdir().unwrap();
    consumer_sees_every_entry_once_while_others_write(&format!("sqlite:{}", folder.path().join("l.db").display()))
        .await;
}

#[tokio::test]
async fn cursor_of_before_a_restore_is_refused() {
    let ledger = Ledger::open("memory:").await.unwrap();
    work(ledger.account("alice").unwrap(), 3).await;
    let (_, cursor) = read(&ledger, &Cursor::default(), 100).await;
    assert_eq!(ledger.restored().await.unwrap(), 1);
    let error = ledger.feed(&cursor, 100).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StaleCursor);
    assert!(error.to_string().contains("restored") && error.to_string().contains(&cursor.to_string()), "{error}");
    assert_eq!(read(&ledger, &Cursor::beginning(1), 100).await.0.len(), 8);
}

#[test]
fn cursor_has_one_text() {
    for text in ["0:", "3:0=1", "0:0=17,3=5"] {
        assert_eq!(text.parse::<Cursor>().unwrap().to_string(), text);
    }
    for text in
        ["", "0", "0:0", "0:0=", "0:0=1,", "0:1=1,0=1", "0:0=1,0=2", "00:", "0:0=+1", "0:0=-1", "x:", "0:70000=1"]
    {
        let error = text.parse::<Cursor>().unwrap_err();
        assert!(error.to_string().contains("not a cursor"), "{text}: {error}");
    }
    assert_eq!(serde_json::to_string(&"1:0=2".parse::<Cursor>().unwrap()).unwrap(), "\"1:0=2\"");
}

/// Many write at once, their commits take a while, some are taken back and some of their connections cut: still no entry
/// is skipped. Beside it a program reads what the same transactions write, by a number that counts up in all buckets: it
/// shows that the feed would be wrong if it did the same.
#[cfg(all(feature = "postgres", feature = "testing"))]
mod under_fire {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use futures_util::future::join_all;
    use prepaid::store::Store;
    use prepaid::store::postgres::PostgresStore;
    use prepaid::{Error, Reserved};
    use sqlx::PgConnection;

    use super::*;
    use crate::common::postgres::Database;

    const WRITERS: usize = 16;
    const REQUESTS: usize = 25;
    /// Entries of each writer: the account, its money, and two of each request.
    const ENTRIES: usize = 2 + 2 * REQUESTS;

    const FIRE: &str = "
        create table probe (id bigint generated always as identity primary key);
        create function noted() returns trigger language plpgsql as $$ begin
            insert into public.probe default values;
            return null;
        end $$;
        create trigger noted after insert on prepaid.entries for each row execute function noted();
        create function slow() returns trigger language plpgsql as $$ begin
            if random() < 0.2 then perform pg_sleep(0.03 * random()); end if;
            if random() < 0.01 then raise exception 'taken back' using errcode = '40001'; end if;
            return null;
        end $$;
        create constraint trigger slow after insert on prepaid.entries deferrable initially deferred
            for each row execute function slow();";

    /// Asks until it is known that it was done.
    async fn done<T, F>(call: impl Fn() -> F) -> T
    where
        F: IntoFuture<Output = Result<T, Error>>,
    {
        loop {
            match call().await {
                Ok(done) => return done,
                Err(error) => assert!(error.is_retryable(), "{error}"),
            }
        }
    }

    async fn write(ledger: Ledger, writer: usize) {
        let account = ledger.account(format!("account-{writer}")).unwrap();
        done(|| account.open_with(prepaid::Asset::USD, Default::default(), Default::default())).await;
        done(|| account.deposit("opening", amount(1_000_000))).await;
        for request in 0..REQUESTS {
            let request = format!("r{request}");
            match done(|| account.reserve(&request, amount(10))).await {
                Reserved::Created(hold) => drop(hold.detach()),
                // It had been made when its answer was cut off.
                other => assert!(matches!(other, Reserved::Replayed { .. }), "{other:?}"),
            }
            done(|| account.settle(&request, amount(7))).await;
        }
    }

    /// Reads what is behind the last number; how many rows that were.
    async fn probe(connection: &mut PgConnection, last: &mut i64) -> usize {
        let rows = sqlx::query_scalar("select id from probe where id > $1 order by id").bind(*last);
        let rows: Vec<i64> = rows.fetch_all(connection).await.unwrap();
        *last = rows.last().copied().unwrap_or(*last);
        rows.len()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn entries_of_slow_and_broken_commits_are_neither_skipped_nor_out_of_order() {
        let database = Database::new().await;
        let buckets = PostgresStore::open(&database.url_with("buckets=2")).await.unwrap();
        database.run(FIRE).await;
        let mut ledgers = Vec::new();
        for _ in 0..4 {
            ledgers.push(Ledger::builder().sweep_every(None).open(&database.url).await.unwrap());
        }
        let writers = (0..WRITERS).map(|writer| tokio::spawn(write(ledgers[writer % 4].clone(), writer)));
        let mut writing = tokio::spawn(join_all(writers.collect::<Vec<_>>()));
        let mut killer = database.connect().await;
        let reader = Ledger::builder().sweep_every(None).open(&database.url).await.unwrap();
        let mut beside = database.connect().await;
        let (mut seen, mut cursor, mut last, mut probed, mut cut) = (Vec::new(), Cursor::default(), 0, 0, 0_i64);
        let mut is_over = false;
        while !is_over {
            is_over = tokio::time::timeout(Duration::from_millis(2), &mut writing).await.is_ok_and(|done| {
                done.unwrap().into_iter().for_each(|writer| writer.unwrap());
                true
            });
            probed += probe(&mut beside, &mut last).await;
            let page = done(|| reader.feed(&cursor, 50)).await;
            seen.extend(page.entries);
            cursor = page.cursor;
            let kill = "select count(pg_terminate_backend(pid)) from pg_stat_activity \
                        where datname = current_database() and application_name = 'prepaid' and random() < 0.01";
            cut += sqlx::query_scalar::<_, i64>(kill).fetch_one(&mut killer).await.unwrap();
        }
        seen.extend(read(&reader, &cursor, 1_000).await.0);
        probed += probe(&mut beside, &mut last).await;

        in_order(&seen);
        assert_eq!(seen.len(), WRITERS * ENTRIES);
        let mut positions: BTreeMap<u16, u64> = BTreeMap::new();
        for entry in &seen {
            let position = positions.entry(buckets.bucket(&entry.account)).or_default();
            *position += 1;
            assert_eq!(entry.position, *position, "positions of a bucket are dense and in the feed's order");
        }
        assert_eq!(positions.len(), 2, "both buckets were written");
        let written: i64 = sqlx::query_scalar("select count(*) from probe").fetch_one(&mut beside).await.unwrap();
        let drawn: i64 = sqlx::query_scalar("select max(id) from probe").fetch_one(&mut beside).await.unwrap();
        println!("{written} entries, {drawn} numbers drawn, {probed} found by number, {cut} connections cut");
        assert_eq!(written, i64::try_from(seen.len()).unwrap());
        assert!(drawn > written && cut > 0, "nothing was taken back or cut off");
        assert!(probed < seen.len(), "a reader by number would have missed nothing: this test shows nothing");
        let audit = reader.audit().await.unwrap();
        assert!(audit.is_clean(), "{audit}");
    }
}
