//! The journal, the feed, scans, and batches as a whole.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::StoreFactory;
use super::scene::{Scene, amount, command, correct, hold_id, id, key, money, refund, reserve, settle};
use crate::kernel::{Action, Batch, Outcome, Refusal};
use crate::model::{
    Against, ArchiveDigest, BudgetBody, BudgetStanding, Cap, Checkpoint, Entry, EntryKind, Label, LotClass, LotKey,
    LotTerms, Measured, Metadata, Quantity, SignedAmount, Terms, Window,
};
use crate::store::Record;
use crate::testing::Rows;

/// The journal is read in order, in pages, after any entry, and ends where it ends.
pub async fn journal_is_read_in_order_from_anywhere(factory: &mut dyn StoreFactory) {
    let mut scene = Scene::with(factory, 5).await;
    for n in 0..8 {
        scene.ok("alice", money(&format!("d{n}"), 1)).await;
    }
    let seqs = async |after, limit| {
        let page = scene.store.journal(&id("alice"), after, limit).await.expect("the journal is read");
        page.iter().map(|entry| entry.seq).collect::<Vec<_>>()
    };
    assert_eq!(seqs(0, 100).await, (1..=10).collect::<Vec<_>>());
    assert_eq!(seqs(0, 3).await, [1, 2, 3]);
    assert_eq!(seqs(3, 3).await, [4, 5, 6]);
    assert_eq!(seqs(9, 3).await, [10]);
    assert_eq!(seqs(10, 3).await, [0; 0]);
    assert_eq!(seqs(u64::MAX, 3).await, [0; 0]);
    assert_eq!(seqs(3, 0).await, [0; 0]);
    scene.finish().await;
}

/// Entries of accounts that were written in turns are told apart.
pub async fn journal_shows_no_other_account(factory: &mut dyn StoreFactory) {
    let mut scene = Scene::with(factory, 5).await;
    scene.open("bob", 7).await;
    for n in 0..3 {
        scene.ok("alice", money(&format!("d{n}"), 1)).await;
        scene.ok("bob", money(&format!("d{n}"), 1)).await;
    }
    for name in ["alice", "bob"] {
        let journal = scene.store.journal(&id(name), 0, 100).await.expect("the journal is read");
        assert!(journal.iter().all(|entry| entry.account == id(name)), "{name} sees another's entry");
        assert_eq!(journal.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    }
    scene.finish().await;
}

/// A journal of hundreds of entries is read from every one of them, also between those of another account.
pub async fn long_journal_is_read_from_every_entry(factory: &mut dyn StoreFactory) {
    const ENTRIES: u64 = 300;
    let mut scene = Scene::with(factory, 0).await;
    scene.open("bob", 0).await;
    for round in 0..ENTRIES / 10 {
        let deposit = |n| money(&format!("d{round}-{n}"), 1);
        let alice = (0..10).map(|n| command("alice", deposit(n))).collect();
        scene.batch(Batch::new(alice)).await;
        scene.ok("bob", deposit(0)).await;
    }
    for after in 0..=ENTRIES + 1 {
        let page = scene.store.journal(&id("alice"), after, 70).await.expect("the journal is read");
        let expected = (after + 1..=ENTRIES + 1).take(70).collect::<Vec<_>>();
        assert_eq!(page.iter().map(|entry| entry.seq).collect::<Vec<_>>(), expected, "after {after}");
    }
    scene.finish().await;
}

/// Keys, arguments, labels, metadata, evidence, reasons: what was given is what is read, and the chain verifies.
pub async fn entries_are_kept_byte_for_byte(factory: &mut dyn StoreFactory) {
    let mut scene = Scene::with(factory, 50).await;
    let json = "{ \"b\": 1.0,\t\"a\": \"\\u0000 \u{e9}\u{1f600}\" }\n";
    let metadata = Some(Metadata::from_json(json).expect("json"));
    let terms = Terms { amount: amount(9), label: Some(Label::new("a/b:c@d").expect("a label")), ..Terms::default() };
    let reserve = match reserve("h#7", 9) {
        Action::Reserve { hold, lease, token, .. } => {
            Action::Reserve { hold, terms: Arc::new(terms), lease, token, metadata: metadata.clone() }
        }
        other => other,
    };
    scene.ok("alice", reserve).await;
    let evidence: Vec<u8> = (0..4096).map(|n: u32| n.to_le_bytes()[0]).collect();
    let measured = Measured::new(amount(12), Quantity::TOKENS_MAX).with_evidence(evidence);
    let hold = hold_id("h#7");
    let settle = Action::Settle { hold, measured, or_debit: None, above_ceiling: true, metadata: metadata.clone() };
    scene.ok("alice", settle).await;
    scene.ok("alice", refund("h#7", "key/with:odd@marks=+-._", 1)).await;
    let adjust = Action::Adjust {
        key: key("a"),
        amount: SignedAmount::new(-3).expect("within the range"),
        against: Against::Revenue,
        reason: "'; drop table entries; -- \u{202e} \u{0}".into(),
        metadata: metadata.clone(),
    };
    scene.ok("alice", adjust).await;
    let journal = scene.store.journal(&id("alice"), 0, 100).await.expect("the journal is read");
    assert_eq!(journal.iter().filter(|entry| entry.metadata == metadata).count(), 3);
    // The reference keeps what it was given, so equal rows are equal bytes.
    scene.finish().await;
}

/// The feed numbers a bucket's entries in commit order, without gaps, in pages.
pub async fn feed_is_dense_in_commit_order(factory: &mut dyn StoreFactory) {
    let mut scene = Scene::with(factory, 10).await;
    let bucket = scene.store.bucket(&id("alice"));
    for n in 0..4 {
        scene.ok("alice", reserve(&format!("h{n}"), 2)).await;
        scene.refused("alice", reserve(&format!("no{n}"), 1_000)).await;
        scene.ok("alice", settle(&format!("h{n}"), 2)).await;
    }
    let feed = async |after, limit| scene.store.feed(bucket, after, limit).await.expect("the feed is read");
    let all = feed(0, 100).await;
    assert_eq!(all.iter().map(|entry| entry.position).collect::<Vec<_>>(), (1..=10).collect::<Vec<_>>());
    let mut paged = Vec::<Entry>::new();
    loop {
        let page = feed(paged.last().map_or(0, |entry| entry.position), 4).await;
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    assert_eq!(paged, all);
    assert_eq!(feed(10, 4).await, []);
    assert_eq!(feed(u64::MAX, 4).await, []);
    scene.finish().await;
}

/// The epoch counts restores, and outlives the store.
pub async fn epoch_is_raised_and_kept(factory: &mut dyn StoreFactory) {
    let store = factory.make().await.expect("a store is made");
    assert_eq!(store.epoch().await.expect("the epoch is read"), 0);
    for raised in 1..=2 {
        assert_eq!(store.raise_epoch().await.expect("the epoch is raised"), raised);
        assert_eq!(store.epoch().await.expect("the epoch is read"), raised);
    }
    store.close().await.expect("the store is closed");
    if let Some(store) = factory.reopen().await.expect("the store is opened again") {
        assert_eq!(store.epoch().await.expect("the epoch is read"), 2);
    }
}

/// A scan shows the counters, the entries by position, the accounts and the holds by number, and the keys.
pub async fn scan_shows_every_row_in_order(factory: &mut dyn StoreFactory) {
    let mut scene = Scene::with(factory, 100).await;
    for n in 0..5 {
        scene.ok("alice", reserve(&format!("h{n}"), 2)).await;
    }
    let kinds = kinds_of(&scene, usize::MAX).await;
    let count = |kind| kinds.iter().filter(|shown| **shown == kind).count();
    assert_eq!([0, 1, 2, 4, 7].map(count), [1, 7, 1, 5, 6], "counters, entries, accounts, holds, keys");
    assert!(kinds.is_sorted(), "counters, entries, accounts, holds, keys, in this order: {kinds:?}");
    let rows = scene.rows(scene.store.bucket(&id("alice"))).await;
    assert!(rows.entries.is_sorted_by_key(|entry| entry.position), "entries by position");
    assert!(rows.holds.is_sorted_by_key(|hold| hold.number), "holds by number");
    scene.finish().await;
}

/// A scan ends as soon as the visitor says so, and the store goes on.
pub async fn scan_stops_when_it_is_told(factory: &mut dyn StoreFactory) {
    let mut scene = Scene::with(factory, 100).await;
    for limit in 1..6 {
        assert_eq!(kinds_of(&scene, limit).await.len(), limit);
    }
    scene.ok("alice", money("d", 1)).await;
    scene.finish().await;
}

/// Which kinds of rows a scan shows, in order, when it is stopped after so many.
async fn kinds_of(scene: &Scene<'_>, limit: usize) -> Vec<u8> {
    let kinds = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&kinds);
    let visitor = move |record| {
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.push(match record {
            Record::Counters(_) => 0,
            Record::Entry(_) => 1,
            Record::Account(_) => 2,
            Record::Lot(_) => 3,
            Record::Hold(_) => 4,
            Record::Budget(_) => 5,
            Record::Window(_) => 6,
            Record::Key(..) => 7,
            Record::Pruned(_) | Record::Checkpoint(_) => 8,
        });
        seen.len() < limit
    };
    let bucket = scene.store.bucket(&id("alice"));
    scene.store.scan(bucket, Box::new(visitor)).await.expect("the rows are scanned");
    let kinds = kinds.lock().unwrap_or_else(PoisonError::into_inner);
    kinds.clone()
}

/// An account opened, a hold made, settled, refunded and corrected, all in one batch.
pub async fn batch_decides_each_command_on_what_the_ones_before_left(factory: &mut dyn StoreFactory) {
    let mut scene = Scene::with(factory, 0).await;
    let commands = [
        money("d", 10),
        reserve("h", 8),
        reserve("i", 8),
        settle("h", 3),
        reserve("i", 7),
        refund("h", "r", 1),
        correct("h", "c", 3, 2),
        settle("i", 1),
    ];
    let commands = commands.map(|action| command("alice", action)).to_vec();
    let replies = scene.batch(Batch::new(commands)).await;
    let accepted: Vec<_> = replies.iter().map(|reply| reply.answer.is_ok()).collect();
    assert_eq!(accepted, [true, true, false, true, true, true, true, true]);
    assert_eq!(scene.account("alice").await.map(|account| account.books.available.minor_units()), Some(8));
    scene.finish().await;
}

/// A refused command between others leaves no row, no number and no gap.
pub async fn refused_command_of_a_batch_changes_nothing(factory: &mut dyn StoreFactory) {
    let mut scene = Scene::with(factory, 10).await;
    let commands = [
        command("alice", settle("unknown", 1)),
        command("alice", reserve("h", 2)),
        command("alice", reserve("large", 100)),
        command("nobody", money("d", 1)),
        command("alice", settle("h", 2)),
    ];
    // All of them are in one bucket, or the batch is not allowed.
    let bucket = scene.store.bucket(&id("alice"));
    let commands = commands.into_iter().filter(|command| scene.store.bucket(command.account()) == bucket).collect();
    let replies = scene.batch(Batch::new(commands)).await;
    assert_eq!(replies.first().map(|reply| reply.answer.clone()), Some(Err(Refusal::UnknownHold)));
    assert_eq!(replies.last().map(|reply| reply.answer.clone()), Some(Ok(Outcome::Ok)));
    assert_eq!(scene.account("alice").await.map(|account| account.seq), Some(4));
    scene.finish().await;
}

/// A batch without commands is answered without replies.
pub async fn batch_without_commands_changes_nothing(factory: &mut dyn StoreFactory) {
    let mut scene = Scene::with(factory, 10).await;
    let bucket = scene.store.bucket(&id("alice"));
    let before = scene.rows(bucket).await;
    assert_eq!(scene.batch(Batch::new(Vec::new())).await, []);
    assert_eq!(scene.rows(bucket).await, before);
}

/// Thousands of commands are one transaction: whatever a statement or a packet may hold, the store splits it by itself.
pub async fn large_batch_is_one_commit(factory: &mut dyn StoreFactory) {
    let mut scene = Scene::with(factory, 1_000_000).await;
    let commands = (0..1_500).flat_map(|n| {
        let hold = format!("h{n}");
        [
            command("alice", reserve(&hold, 5)),
            command("alice", settle(&hold, 4)),
            command("alice", refund(&hold, "r", 1)),
        ]
    });
    let replies = scene.batch(Batch::new(commands.collect())).await;
    assert!(replies.iter().all(|reply| reply.answer.is_ok()), "every command is accepted");
    assert_eq!(scene.account("alice").await.map(|account| account.seq), Some(4_502));
    scene.finish().await;
}

/// A checkpoint takes what is over, pruning takes entries and holds in turns, and what was there is still known as gone.
pub async fn archived_rows_go_and_their_keys_stay(factory: &mut dyn StoreFactory) {
    let mut scene = Scene::with(factory, 100).await;
    let now = scene.run("alice", money("now", 1)).await.at;
    let expiry = Some(now.saturating_add(Duration::from_secs(3)));
    let terms = LotTerms { class: LotClass::Promotional, expiry, ..LotTerms::default() };
    let grant = |name, units| Action::Grant {
        key: key(name),
        amount: amount(units),
        terms: Arc::new(terms.clone()),
        metadata: None,
    };
    let window = Window::every(Duration::from_secs(1)).expect("a window");
    let set = Action::SetBudget { scope: None, window: window.clone(), cap: Cap::Requests(10) };
    scene.ok("alice", grant("spent", 2)).await;
    scene.ok("alice", set).await;
    scene.ok("alice", reserve("h", 2)).await;
    scene.ok("alice", settle("h", 2)).await;
    scene.ok("alice", refund("h", "r", 1)).await;
    scene.pass(Duration::from_secs(4)).await;
    scene.ok("alice", Action::ExpireLot { lot: 1 }).await;
    scene.ok("alice", reserve("kept", 3)).await;
    scene.ok("alice", settle("kept", 3)).await;

    let journal = scene.store.journal(&id("alice"), 0, 100).await.expect("the journal is read");
    let account = scene.account("alice").await.expect("the account is there");
    let cut = journal.iter().find(|entry| entry.kind == EntryKind::LotExpiry).expect("the lot expired").clone();
    let windows = scene.rows(scene.store.bucket(&id("alice"))).await.windows;
    let over = windows.first().expect("a window").key;
    let body = BudgetBody { number: 1, scope: None, window, cap: Cap::Requests(10), active: true };
    let mut checkpoint = Checkpoint::at(&cut, ArchiveDigest::default());
    checkpoint.budgets.push(BudgetStanding { body, version: 1 });
    let lots = vec![LotKey { account: account.number, lot: 1 }];
    let after = 0;
    let make = Action::Checkpoint { after, checkpoint: Arc::new(checkpoint), lots, windows: vec![over] };
    scene.refused("alice", make.clone()).await;
    scene.ok("alice", Action::CloseBooks { until: cut.seq }).await;
    scene.ok("alice", make.clone()).await;
    assert_eq!(scene.ok("alice", make).await, Outcome::Replayed);

    for entries in journal.iter().filter(|entry| entry.seq <= cut.seq).cloned().collect::<Vec<_>>().chunks(4) {
        scene.ok("alice", Action::Prune { entries: entries.into() }).await;
        scene.finish().await;
        let last = entries.last().map_or(0, |entry| entry.seq);
        let left = scene.store.journal(&id("alice"), 0, 100).await.expect("the journal is read");
        assert!(left.iter().map(|entry| entry.seq).eq(last + 1..=journal.len() as u64 + 1), "the rest is left");
    }
    assert_eq!(scene.store.pruned(scene.store.bucket(&id("alice"))).await.expect("it is read"), cut.position);
    for action in [reserve("h", 2), settle("h", 2), refund("h", "r", 1), money("now", 1), grant("spent", 2)] {
        assert_eq!(scene.refused("alice", action).await, Refusal::TooOld);
    }
    assert_eq!(scene.hold("alice", "h").await, None);
    scene.ok("alice", refund("kept", "r", 1)).await;
    scene.finish().await;
    let rows = scene.rows(scene.store.bucket(&id("alice"))).await;
    scene.store.close().await.expect("the store is closed");
    if let Some(store) = scene.factory.reopen().await.expect("the store is opened again") {
        let again = Rows::of_bucket(&*store, store.bucket(&id("alice"))).await.expect("rows are read");
        assert_eq!(again, rows, "what was pruned stays pruned");
    }
}
