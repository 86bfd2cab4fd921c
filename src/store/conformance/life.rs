//! Tariffs, reopening, closing, and many at once.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::StoreFactory;
use super::scene::{OVERDUE, Scene, command, id, money, reserve, settle};
use crate::kernel::{Batch, Outcome};
use crate::model::{KeyHash, TariffHash};
use crate::store::{StoreError, StoreErrorKind};
use crate::testing::Rows;

/// A tariff is found under its hash, whatever bytes it is made of; keeping it again changes nothing.
pub async fn tariff_is_kept_under_its_hash(factory: &mut dyn StoreFactory) {
    let scene = Scene::new(factory).await;
    let store = &scene.store;
    let (one, other) = (TariffHash([1; 16]), TariffHash([2; 16]));
    let content: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    assert_eq!(store.tariff(one).await.expect("a tariff is read"), None);
    store.put_tariff(one, &content).await.expect("a tariff is kept");
    store.put_tariff(one, &content).await.expect("a tariff is kept again");
    store.put_tariff(other, b"").await.expect("an empty tariff is kept");
    assert_eq!(store.tariff(one).await.expect("a tariff is read").as_deref(), Some(&content[..]));
    assert_eq!(store.tariff(other).await.expect("a tariff is read").as_deref(), Some(&b""[..]));
}

/// After closing and opening again every row, the ledger's name, the tariffs and the pause are what they were, and the
/// numbers go on.
pub async fn everything_outlives_the_store(factory: &mut dyn StoreFactory) {
    let mut scene = Scene::with(factory, 50).await;
    scene.open("bob", 3).await;
    for name in ["open", "settled"] {
        scene.ok("alice", reserve(name, 5)).await;
    }
    scene.ok("alice", settle("settled", 4)).await;
    scene.pass(OVERDUE).await;
    let bucket = scene.store.bucket(&id("alice"));
    let pause = Some(Duration::from_secs(3_600));
    scene.batch(Batch::new(vec![command("alice", money("d", 1))]).with_pause(pause)).await;
    scene.store.put_tariff(TariffHash([1; 16]), b"prices").await.expect("a tariff is kept");
    let (ledger, rows) = (scene.store.ledger(), scene.rows(bucket).await);
    scene.store.close().await.expect("the store is closed");
    let Some(store) = scene.factory.reopen().await.expect("the store is opened again") else {
        return;
    };
    scene.store = store;
    assert_eq!(scene.store.ledger(), ledger, "the ledger keeps its name");
    assert_eq!(scene.rows(bucket).await, rows);
    let tariff = scene.store.tariff(TariffHash([1; 16])).await.expect("a tariff is read");
    assert_eq!(tariff.as_deref(), Some(&b"prices"[..]));
    assert_eq!(scene.store.due(bucket, 10).await.expect("what is due is read").holds, [], "the pause goes on");
    assert_eq!(scene.ok("alice", money("d", 1)).await, Outcome::Replayed);
    assert_eq!(scene.ok("alice", settle("open", 5)).await, Outcome::Ok);
    scene.finish().await;
}

/// Every later call of a closed store is answered `Closed`.
pub async fn closed_store_says_so(factory: &mut dyn StoreFactory) {
    let scene = Scene::with(factory, 5).await;
    let (store, alice) = (&scene.store, id("alice"));
    store.close().await.expect("the store is closed");
    let batch = Arc::new(Batch::new(vec![command("alice", money("d", 1))]));
    let key = KeyHash::default();
    let kinds = [
        ("commit", kind(store.commit(0, batch).await)),
        ("due", kind(store.due(0, 1).await)),
        ("account", kind(store.account(&alice).await)),
        ("accounts", kind(store.accounts(0, 0, 1).await)),
        ("hold", kind(store.hold(&alice, key).await)),
        ("holds", kind(store.holds(&alice, 0, 1).await)),
        ("journal", kind(store.journal(&alice, 0, 1).await)),
        ("epoch", kind(store.epoch().await)),
        ("raise_epoch", kind(store.raise_epoch().await)),
        ("feed", kind(store.feed(0, 0, 1).await)),
        ("scan", kind(store.scan(0, Box::new(|_| true)).await)),
        ("put_tariff", kind(store.put_tariff(TariffHash::default(), b"").await)),
        ("tariff", kind(store.tariff(TariffHash::default()).await)),
        ("close", kind(store.close().await)),
    ];
    for (call, kind) in kinds {
        assert_eq!(kind, Some(StoreErrorKind::Closed), "{call} of a closed store");
    }
}

fn kind<T>(result: Result<T, StoreError>) -> Option<StoreErrorKind> {
    result.err().map(|error| error.kind())
}

/// Many tasks want more than there is: exactly as many get it as there is money for.
pub async fn concurrent_commits_are_decided_one_after_the_other(factory: &mut dyn StoreFactory) {
    let scene = Scene::with(factory, 40).await;
    let bucket = scene.store.bucket(&id("alice"));
    let tasks: Vec<_> = (0..100)
        .map(|n| {
            let store = Arc::clone(&scene.store);
            let batch = Arc::new(Batch::new(vec![command("alice", reserve(&format!("h{n}"), 1))]));
            tokio::spawn(async move { store.commit(bucket, batch).await })
        })
        .collect();
    let mut created = 0;
    for task in tasks {
        let replies = task.await.expect("the task ends").expect("the batch is committed");
        created += replies.iter().filter(|reply| reply.answer == Ok(Outcome::Created)).count();
    }
    assert_eq!(created, 40);
    let account = scene.account("alice").await.expect("the account is there");
    assert_eq!((account.books.available.minor_units(), account.books.held.minor_units()), (0, 40));
    check(&scene, bucket).await;
}

/// One settlement sent a hundred times at once is booked once.
pub async fn same_command_from_many_tasks_is_done_once(factory: &mut dyn StoreFactory) {
    let mut scene = Scene::with(factory, 40).await;
    scene.ok("alice", reserve("h", 10)).await;
    let bucket = scene.store.bucket(&id("alice"));
    let batch = Arc::new(Batch::new(vec![command("alice", settle("h", 7)), command("alice", money("d", 1))]));
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let (store, batch) = (Arc::clone(&scene.store), Arc::clone(&batch));
            tokio::spawn(async move { store.commit(bucket, batch).await })
        })
        .collect();
    let mut done = 0;
    for task in tasks {
        let replies = task.await.expect("the task ends").expect("the batch is committed");
        assert!(replies.iter().all(|reply| reply.answer.is_ok()), "a repetition is accepted");
        done += replies.iter().filter(|reply| reply.answer == Ok(Outcome::Ok)).count();
    }
    assert_eq!(done, 2);
    assert_eq!(scene.account("alice").await.map(|account| account.books.available.minor_units()), Some(34));
    check(&scene, bucket).await;
}

/// A scan while others write shows one moment: rows that add up.
pub async fn scan_during_commits_shows_one_moment(factory: &mut dyn StoreFactory) {
    let scene = Scene::with(factory, 1_000).await;
    let bucket = scene.store.bucket(&id("alice"));
    let store = Arc::clone(&scene.store);
    let writer = tokio::spawn(async move {
        for n in 0..60 {
            let hold = format!("h{n}");
            let commands = vec![command("alice", reserve(&hold, 5)), command("alice", settle(&hold, 3))];
            store.commit(bucket, Arc::new(Batch::new(commands))).await.expect("the batch is committed");
            tokio::task::yield_now().await;
        }
    });
    for _ in 0..30 {
        check(&scene, bucket).await;
        tokio::task::yield_now().await;
    }
    writer.await.expect("the writer ends");
    check(&scene, bucket).await;
}

/// A commit whose future is dropped after its first poll happened or did not; either way the store works, and asking
/// again gives the one answer.
pub async fn dropped_commit_happens_whole_or_not_at_all(factory: &mut dyn StoreFactory) {
    let scene = Scene::with(factory, 1_000).await;
    let bucket = scene.store.bucket(&id("alice"));
    for n in 0..20 {
        let hold = format!("h{n}");
        let commands = vec![command("alice", reserve(&hold, 5)), command("alice", settle(&hold, 3))];
        let batch = Arc::new(Batch::new(commands));
        {
            let mut commit = pin!(scene.store.commit(bucket, Arc::clone(&batch)));
            let polled = commit.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert!(!matches!(polled, Poll::Ready(Err(_))), "nothing is wrong with the batch");
        }
        scene.store.commit(bucket, batch).await.expect("the batch is committed, again or for the first time");
        check(&scene, bucket).await;
    }
    assert_eq!(scene.account("alice").await.map(|account| account.books.available.minor_units()), Some(940));
}

async fn check(scene: &Scene<'_>, bucket: u16) {
    let rows: Rows = scene.rows(bucket).await;
    rows.check(scene.store.ledger()).expect("the rows obey their rules");
}
