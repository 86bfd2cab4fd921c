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
