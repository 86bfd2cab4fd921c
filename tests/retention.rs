//! Archives, checkpoints, pruning: an account lets go of its past, and everything still adds up.

#![cfg(feature = "testing")]

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use prepaid::clock::Clock;
use prepaid::journal::Cursor;
use prepaid::journal::archive::{Archive, Verified, verify};
use prepaid::kernel::{Action, Batch, Command};
use prepaid::model::{
    ArchiveDigest, Cap, Checkpoint, HoldStanding, HoldState, Lease, LotClass, LotKey, Metadata, Policy, Quantity,
    Scope, Status, Window, WindowKey, Zone,
};
use prepaid::store::Store;
use prepaid::testing::{ManualClock, Rows};
use prepaid::{AccountHandle, Asset, ErrorKind, HoldId, Ledger, Refusal, Timestamp};
use sha2::Digest;

use common::one::{amount, measured};
use common::places::Place;

on_every_store! {
    past_is_archived_and_pruned_and_the_books_still_close,
    what_was_pruned_is_too_old_and_never_new,
    journal_and_feed_say_what_is_gone,
    hold_that_is_not_final_keeps_its_entries,
    hold_with_later_entries_is_carried_over_the_cut,
    refund_between_archive_and_checkpoint_is_carried,
    lots_and_windows_that_are_over_go_and_no_others,
    window_that_counted_nothing_is_archived,
    lot_that_was_archived_expires_no_more,
    interrupted_pruning_is_taken_up_again,
    archives_follow_one_another,
    archive_that_does_not_fit_is_refused,
    checkpoint_over_what_lives_is_refused,
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn utc() -> Zone {
    "UTC".parse().unwrap()
}

/// A ledger by a clock of its own, and two accounts that write in turns.
struct Scene {
    place: Place,
    clock: Arc<ManualClock>,
    store: Arc<dyn Store>,
    ledger: Ledger,
    alice: AccountHandle,
    bob: AccountHandle,
}

impl Scene {
    async fn new(place: Place) -> Self {
        let clock = Arc::new(ManualClock::default());
        let store = place.store(Arc::clone(&clock) as Arc<dyn Clock>).await;
        let ledger = Ledger::builder().sweep_every(None).open_store(Arc::clone(&store)).unwrap();
        // Of names in the same bucket: what goes of one account lies between what stays of the other.
        let bucket = store.bucket(&"alice".parse().unwrap());
        let bob =
            (0..).map(|n| format!("bob-{n}")).find(|name| store.bucket(&name.parse().unwrap()) == bucket).unwrap();
        let (alice, bob) = (ledger.account("alice").unwrap(), ledger.account(bob).unwrap());
        let lease =
            Lease { ttl: Duration::from_secs(60), grace: Duration::from_secs(1), late: Duration::from_secs(3600) };
        for account in [&alice, &bob] {
            let policy = Policy { lease, ..Policy::default() };
            account.open_with(Asset::USD, Default::default(), policy).await.unwrap();
            account.deposit("opening", amount(1_000_000)).await.unwrap();
        }
        Self { place, clock, store, ledger, alice, bob }
    }

    /// A day on which everything happens that writes an entry. Names begin with the day's.
    async fn day(&self, day: &str) {
        let (alice, scope) = (&self.alice, || Scope::new("key:prod").unwrap());
        let name = |what: &str| format!("{day}-{what}");
        let now = self.clock.now();
        let soon = now.saturating_add(Duration::from_secs(600));
        for window in [Window::day(utc()), Window::TOTAL, Window::every(Duration::from_secs(300)).unwrap()] {
            alice.set_budget(scope(), window, Cap::Requests(10_000)).await.unwrap();
        }
        alice.grant(name("promo"), LotClass::Promotional, amount(500)).expires_at(soon).priority(2).await.unwrap();
        alice.grant(name("paid"), LotClass::Paid, amount(40)).expires_at(soon).priority(1).await.unwrap();
        alice.grant(name("kept"), LotClass::Paid, amount(5)).priority(-1).await.unwrap();
        let metadata = Metadata::from_json("{\n \"why\": \"süß\"}").unwrap();
        alice.deposit(name("d"), amount(50)).metadata(metadata).await.unwrap();
        alice.withdraw(name("w"), amount(7)).await.unwrap();
        for n in 0..8 {
            let call = alice.reserve(name(&format!("h{n}")), amount(100)).scopes([scope()]).tokens(9);
            let mut hold = call.await.unwrap().created().unwrap();
            self.bob.deposit(name(&n.to_string()), amount(1)).await.unwrap();
            match n {
                0 => drop(hold.release(false).await.unwrap()),
                1 => drop(hold.abandon().await.unwrap()),
                2 => {
                    hold.report(measured(30, 3)).await.unwrap();
                    hold.detach();
                }
                3 => {
                    hold.extend(amount(150), false).await.unwrap();
                    hold.settle(measured(170, 11)).await.unwrap();
                }
                _ => drop(hold.settle(measured(60 + n, 7)).await.unwrap()),
            }
            self.clock.advance(Duration::from_secs(1));
        }
        alice.refund(name("h4"), "r", amount(9)).await.unwrap();
        alice.correct(name("h5"), "c", amount(65), measured(60, 7)).await.unwrap();
        alice.debit(name("direct"), measured(3, 1)).await.unwrap();
        alice.release(name("never"), false).await.unwrap();
        // Leases end, lots expire, late windows end.
        self.clock.advance(Duration::from_secs(1_000));
        self.ledger.sweep().await.unwrap();
        self.clock.advance(Duration::from_secs(7_200));
        self.ledger.sweep().await.unwrap();
        alice.set_status(Status::Frozen, "a look").await.unwrap();
        alice.set_status(Status::Active, "looked").await.unwrap();
        assert!(alice.holds(0, 10).await.unwrap().iter().all(|hold| hold.id.request().as_str() == "long"));
        self.clock.advance(DAY);
    }

    async fn archive(&self, before: Timestamp) -> (Archive, Verified, Vec<u8>) {
        let mut file = Vec::new();
        let archive = self.alice.archive(before, &mut file).await.unwrap().unwrap();
        let verified = verify(&file[..]).unwrap();
        assert_eq!(
            (verified.digest, verified.until, verified.after),
            (archive.digest(), archive.until(), archive.after())
        );
        assert_eq!(verified.entries, archive.until() - archive.after());
        (archive, verified, file)
    }

    async fn retire(&self, before: Timestamp) -> Verified {
        let (archive, verified, _) = self.archive(before).await;
        self.alice.checkpoint(&archive).await.unwrap();
        self.audited().await;
        assert_eq!(self.alice.prune().await.unwrap(), verified.entries);
        self.audited().await;
        verified
    }

    /// Everything adds up.
    async fn audited(&self) {
        let audit = self.ledger.audit().await.unwrap();
        assert!(audit.is_clean(), "{audit}");
    }

    async fn rows(&self) -> Rows {
        Rows::of_bucket(&*self.store, self.store.bucket(self.alice.id())).await.unwrap()
    }

    /// Closes everything and opens it again, where it is kept.
    async fn reopened(self) -> Self {
        if !self.place.outlives_its_store() {
            return self;
        }
        self.ledger.close(Duration::ZERO).await.unwrap();
        let store = self.place.store(Arc::clone(&self.clock) as Arc<dyn Clock>).await;
        let ledger = Ledger::builder().sweep_every(None).open_store(Arc::clone(&store)).unwrap();
        let (alice, bob) = [self.alice.id(), self.bob.id()].map(|id| ledger.account(id.clone()).unwrap()).into();
        Self { store, ledger, alice, bob, ..self }
    }
}

async fn past_is_archived_and_pruned_and_the_books_still_close(place: Place) {
    let scene = Scene::new(place).await;
    scene.day("mon").await;
    let cut = scene.clock.now();
    scene.day("tue").await;
    scene.audited().await;
    let (before, journal) = (scene.alice.view().await.unwrap(), scene.alice.journal(0, 1_000).await.unwrap());

    let verified = scene.retire(cut).await;
    let scene = scene.reopened().await;
    scene.audited().await;
    let after = scene.alice.view().await.unwrap();
    assert_eq!((after.books, after.lots_free, after.seq), (before.books, before.lots_free, before.seq + 1));
    let last_old = journal.iter().rfind(|entry| entry.at < cut).unwrap();
    assert_eq!((verified.until, verified.links.1), (last_old.seq, last_old.hash));
    assert_eq!(verified.books.available, last_old.available_after);
    assert_eq!((after.past.pruned, after.past.archived), (last_old.seq, last_old.seq));
    assert_eq!(scene.ledger.audit().await.unwrap().pruned, last_old.seq);

    // What is left is what was there, also from the middle; and life goes on.
    let left = scene.alice.journal(last_old.seq, 1_000).await.unwrap();
    assert_eq!(left[..left.len() - 1], journal[usize::try_from(last_old.seq).unwrap()..]);
    for entry in &left {
        let rest = scene.alice.journal(entry.seq, 20).await.unwrap();
        assert_eq!(rest.first().map_or(entry.seq, |next| next.seq - 1), entry.seq);
        assert!(left.iter().skip_while(|other| other.seq <= entry.seq).take(20).eq(&rest));
    }
    assert_eq!(scene.bob.journal(0, 1_000).await.unwrap().len(), 18, "others keep what is theirs");
    scene.day("wed").await;
    scene.audited().await;
}

async fn what_was_pruned_is_too_old_and_never_new(place: Place) {
    let scene = Scene::new(place).await;
    scene.day("mon").await;
    let cut = scene.clock.now();
    let (archive, ..) = scene.archive(cut).await;
    scene.alice.checkpoint(&archive).await.unwrap();
    let balance = scene.alice.balance().await.unwrap();
    // The same before the rows go, after they went, and after a restart.
    too_old(&scene.alice).await;
    scene.alice.prune().await.unwrap();
    too_old(&scene.alice).await;
    assert_eq!(scene.alice.hold("mon-h4").await.unwrap(), None);
    let scene = scene.reopened().await;
    too_old(&scene.alice).await;
    assert_eq!(scene.alice.balance().await.unwrap(), balance);
    // A tombstone is in no entry and stays what it is; other names are new.
    let late = scene.alice.reserve("mon-never", amount(1)).await.unwrap();
    assert!(matches!(late, prepaid::Reserved::Closed { .. }), "{late:?}");
    let next = scene.alice.reserve_next("mon-h4", amount(1)).await.unwrap().created().unwrap();
    assert_eq!(next.id().attempt(), 2);
    next.settle(amount(1)).await.unwrap();
    scene.audited().await;
}

/// Everything that names what was final before the cut.
async fn too_old(alice: &AccountHandle) {
    let refusals = [
        alice.reserve("mon-h4", amount(100)).await.unwrap_err(),
        alice.settle("mon-h4", measured(64, 7)).await.unwrap_err(),
        alice.settle("mon-h4", measured(64, 7)).or_debit().await.unwrap_err(),
        alice.settle("mon-direct", measured(3, 1)).or_debit().await.unwrap_err(),
        alice.release("mon-h0", true).await.unwrap_err(),
        alice.abandon("mon-h1").await.unwrap_err(),
        alice.refund("mon-h4", "r", amount(9)).await.unwrap_err(),
        alice.refund("mon-h6", "new", amount(1)).await.unwrap_err(),
        alice.correct("mon-h5", "c", amount(65), measured(60, 7)).await.unwrap_err(),
        alice.deposit("mon-d", amount(50)).await.unwrap_err(),
        alice.withdraw("mon-w", amount(7)).await.unwrap_err(),
        alice.grant("mon-kept", LotClass::Paid, amount(5)).priority(-1).await.unwrap_err(),
    ];
    for error in refusals {
        assert_eq!(error.refusal(), Some(&Refusal::TooOld), "{error:?}");
    }
}

async fn journal_and_feed_say_what_is_gone(place: Place) {
    let scene = Scene::new(place).await;
    scene.day("mon").await;
    let cut = scene.clock.now();
    scene.day("tue").await;
    assert_eq!(scene.ledger.oldest_cursor().await.unwrap(), Cursor::default());
    let whole = scene.ledger.feed(&Cursor::default(), 10_000).await.unwrap();
    let verified = scene.retire(cut).await;

    let first = verified.until + 1;
    for after in [0, 1, verified.until - 1] {
        let error = scene.alice.journal(after, 10).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Pruned { first }, "{error}");
    }
    assert_eq!(scene.alice.journal(verified.until, 1).await.unwrap()[0].seq, first);
    assert_eq!(scene.alice.statement(0).await.unwrap_err().kind(), ErrorKind::Pruned { first });
    assert_eq!(scene.alice.statement(verified.until).await.unwrap().after, verified.until);
    // Of a time in which nothing happened.
    let account = scene.alice.view().await.unwrap();
    for after in [account.seq, account.seq + 7] {
        let quiet = scene.alice.statement(after).await.unwrap();
        assert_eq!((quiet.after, quiet.until, quiet.lines.len()), (account.seq, account.seq, 0));
        let available = account.books.available;
        assert!(!available.is_zero());
        assert_eq!((quiet.opening, quiet.closing, quiet.held.signed()), (available, available, account.books.held));
    }

    let last_gone =
        whole.entries.iter().rfind(|entry| entry.account == *scene.alice.id() && entry.seq == verified.until);
    let whole_from = last_gone.unwrap().position + 1;
    let error = scene.ledger.feed(&Cursor::default(), 100).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Pruned { first: whole_from }, "{error}");
    // From the oldest cursor on it is the feed it was.
    let oldest = scene.ledger.oldest_cursor().await.unwrap();
    let rest = scene.ledger.feed(&oldest, 10_000).await.unwrap().entries;
    let bucket = scene.store.bucket(scene.alice.id());
    assert_eq!(oldest.position(bucket), whole_from - 1);
    let expected = whole.entries.iter().filter(|entry| entry.position >= whole_from);
    assert!(expected.eq(&rest[..rest.len() - 1]), "the checkpoint is new, the rest is as it was");
    // So it is from every later cursor, and from none before.
    for position in 0..whole_from + 3 {
        let text = format!("0:{bucket}={position}");
        let page = scene.ledger.feed(&text.parse().unwrap(), 5).await;
        let gone = whole.entries.iter().any(|entry| {
            entry.account == *scene.alice.id() && entry.seq <= verified.until && entry.position > position
        });
        match page {
            Ok(page) => assert!(page.entries.iter().map(|entry| entry.position).eq(position + 1..position + 6)),
            Err(error) => {
                assert!(gone && error.kind() == ErrorKind::Pruned { first: whole_from }, "{position}: {error}")
            }
        }
    }
}

async fn hold_that_is_not_final_keeps_its_entries(place: Place) {
    let scene = Scene::new(place).await;
    let far = Lease { ttl: 10 * DAY, ..Lease::default() };
    for n in 0..3 {
        scene.alice.deposit(format!("early-{n}"), amount(1)).await.unwrap();
        scene.clock.advance(Duration::from_secs(1));
    }
    let hold = scene.alice.reserve("long", amount(5)).lease(far).await.unwrap().created().unwrap();
    scene.clock.advance(Duration::from_secs(1));
    scene.day("mon").await;
    let (archive, ..) = scene.archive(scene.clock.now()).await;
    assert_eq!(archive.until(), 5, "the cut lies below the open hold's first entry");
    scene.alice.checkpoint(&archive).await.unwrap();
    assert_eq!(scene.alice.prune().await.unwrap(), 5);
    scene.audited().await;
    // Nothing more can be archived as long as it runs.
    assert!(scene.alice.archive(scene.clock.now(), &mut Vec::new()).await.unwrap().is_none());
    hold.settle(amount(4)).await.unwrap();
    scene.clock.advance(Duration::from_secs(1));
    let verified = scene.retire(scene.clock.now()).await;
    assert_eq!(verified.after, 5);
    assert_eq!(scene.alice.settle("long", amount(4)).await.unwrap_err().refusal(), Some(&Refusal::TooOld));
}

async fn hold_with_later_entries_is_carried_over_the_cut(place: Place) {
    let scene = Scene::new(place).await;
    let second = Window::every(Duration::from_secs(1)).unwrap();
    scene.alice.set_budget(None, second, Cap::Spend(amount(10_000))).await.unwrap();
    let soon = scene.clock.now().saturating_add(Duration::from_secs(60));
    scene.alice.grant("g", LotClass::Promotional, amount(30)).expires_at(soon).await.unwrap();
    let reserve = async |name: &str| scene.alice.reserve(name, amount(20)).await.unwrap().created().unwrap();
    let (settled, open) = (reserve("settled-before").await, reserve("settled-after").await);
    settled.settle(amount(18)).await.unwrap();
    scene.alice.grant("unspent", LotClass::Paid, amount(7)).expires_at(soon).priority(-1).await.unwrap();
    // Window and lots are over before the cut. Nobody swept the second lot by then.
    scene.clock.advance(DAY);
    scene.alice.deposit("later", amount(1)).await.unwrap();
    scene.clock.advance(DAY);
    let cut = scene.clock.now();
    open.settle(amount(19)).await.unwrap();
    scene.alice.refund("settled-before", "r1", amount(3)).await.unwrap();

    let verified = scene.retire(cut).await;
    assert!(verified.until < scene.alice.view().await.unwrap().seq);
    // Both have entries that are left, so both are still there, with the lot and the window they have to do with.
    for hold in ["settled-before", "settled-after"] {
        assert_eq!(scene.alice.hold(hold).await.unwrap().unwrap().state, HoldState::Settled);
        scene.alice.refund(hold, "r2", amount(2)).await.unwrap();
    }
    scene.audited().await;
    assert_eq!(scene.rows().await.windows.len(), 1);
    // They go with their last entries.
    scene.clock.advance(Duration::from_secs(1));
    scene.retire(scene.clock.now()).await;
    assert!(scene.rows().await.holds.is_empty());
    let scene = scene.reopened().await;
    scene.audited().await;
}

async fn refund_between_archive_and_checkpoint_is_carried(place: Place) {
    let scene = Scene::new(place).await;
    scene.day("mon").await;
    let (archive, ..) = scene.archive(scene.clock.now()).await;
    scene.alice.refund("mon-h6", "late", amount(2)).await.unwrap();
    scene.alice.checkpoint(&archive).await.unwrap();
    scene.audited().await;
    scene.alice.prune().await.unwrap();
    scene.audited().await;
    assert_eq!(scene.alice.refund("mon-h6", "late", amount(2)).await.unwrap().outcome, prepaid::Outcome::Replayed);
    assert_eq!(scene.alice.refund("mon-h7", "late", amount(2)).await.unwrap_err().refusal(), Some(&Refusal::TooOld));
    // Asked for again it changes nothing.
    let seq = scene.alice.view().await.unwrap().seq;
    assert_eq!(scene.alice.checkpoint(&archive).await.unwrap().outcome, prepaid::Outcome::Replayed);
    assert_eq!(scene.alice.prune().await.unwrap(), 0);
    assert_eq!(scene.alice.view().await.unwrap().seq, seq);
}

async fn lots_and_windows_that_are_over_go_and_no_others(place: Place) {
    let scene = Scene::new(place).await;
    scene.day("mon").await;
    let cut = scene.clock.now();
    scene.day("tue").await;
    let before = scene.rows().await;
    scene.retire(cut).await;
    let after = scene.rows().await;
    let lots = |rows: &Rows| rows.lots.iter().map(|lot| lot.number).collect::<BTreeSet<_>>();
    let (had, has) = (lots(&before), lots(&after));
    // Of each day's lots the first two expire; the third never does.
    assert_eq!(had.difference(&has).copied().collect::<Vec<_>>(), [1, 2]);
    assert_eq!(had.len(), 6);
    let windows = |rows: &Rows| rows.windows.iter().map(|window| window.key).collect::<BTreeSet<_>>();
    let gone: Vec<_> = windows(&before).difference(&windows(&after)).copied().collect();
    assert!(!gone.is_empty() && gone.iter().all(|window| window.start < cut), "{gone:?}");
    for window in &after.windows {
        let budget = after.budgets.iter().find(|budget| budget.number == window.key.budget).unwrap();
        let end = budget.window.at(window.key.start).end;
        assert!(end.is_none_or(|end| end.saturating_add(DAY) > cut), "{window:?} is over");
    }
    assert_eq!(after.budgets, before.budgets);
    assert_eq!(scene.alice.view().await.unwrap().last_lot, 6);
}

async fn window_that_counted_nothing_is_archived(place: Place) {
    let scene = Scene::new(place).await;
    scene.alice.set_budget(None, Window::day(utc()), Cap::Spend(amount(10_000))).await.unwrap();
    let free = scene.alice.reserve("free", amount(0)).await.unwrap().created().unwrap();
    free.settle(amount(0)).await.unwrap();
    assert_eq!(scene.rows().await.windows, []);
    // The window is over at the cut.
    scene.clock.advance(3 * DAY);
    scene.alice.deposit("later", amount(1)).await.unwrap();
    scene.clock.advance(Duration::from_secs(1));
    scene.retire(scene.clock.now()).await;
}

async fn lot_that_was_archived_expires_no_more(place: Place) {
    let scene = Scene::new(place).await;
    scene.day("mon").await;
    scene.retire(scene.clock.now()).await;
    assert!(!scene.rows().await.lots.iter().any(|lot| lot.number == 1));
    let seq = scene.alice.view().await.unwrap().seq;
    for lot in [0, 1, 4, u32::MAX] {
        assert_eq!(scene.alice.expire_lot(lot).await.unwrap().outcome, prepaid::Outcome::NoOp);
    }
    assert_eq!(scene.alice.expire_lot(3).await.unwrap().outcome, prepaid::Outcome::NotDue);
    assert_eq!(scene.alice.view().await.unwrap().seq, seq);
}

async fn interrupted_pruning_is_taken_up_again(place: Place) {
    let scene = Scene::new(place).await;
    scene.day("mon").await;
    let (archive, ..) = scene.archive(scene.clock.now()).await;
    // Before the checkpoint nothing goes.
    assert_eq!(scene.alice.prune().await.unwrap(), 0);
    scene.alice.checkpoint(&archive).await.unwrap();
    let mut scene = scene.reopened().await;
    // A few entries at a time, with everything closed in between.
    let mut left = archive.until();
    while left > 0 {
        let after = archive.until() - left;
        let some = u32::try_from(left.min(7)).unwrap();
        let entries = scene.alice.journal(after, some).await.unwrap();
        let action = Action::Prune { entries: entries.into() };
        let command = || Arc::new(Command::new(scene.alice.id().clone(), action.clone()));
        let (bucket, batch) = (scene.store.bucket(scene.alice.id()), Batch::new(vec![command(), command()]));
        let replies = scene.store.commit(bucket, Arc::new(batch)).await.unwrap();
        let outcomes = replies.iter().map(|reply| reply.answer.clone().unwrap()).collect::<Vec<_>>();
        assert_eq!(outcomes, [prepaid::Outcome::Ok, prepaid::Outcome::Replayed]);
        left -= u64::from(some);
        scene = scene.reopened().await;
        scene.audited().await;
        if archive.until() - left > 20 {
            break;
        }
    }
    assert!(left > 0, "the rest goes at once");
    assert_eq!(scene.alice.prune().await.unwrap(), left);
    scene.audited().await;
    // Entries above the cut, or out of turn, are refused.
    let kept = scene.alice.journal(archive.until(), 5).await.unwrap();
    let action = Action::Prune { entries: kept.into() };
    let batch = Batch::new(vec![Arc::new(Command::new(scene.alice.id().clone(), action))]);
    let replies = scene.store.commit(scene.store.bucket(scene.alice.id()), Arc::new(batch)).await.unwrap();
    assert!(matches!(replies[0].answer, Err(Refusal::ArchiveMismatch(_))), "{:?}", replies[0].answer);
    scene.audited().await;
}

async fn archives_follow_one_another(place: Place) {
    let mut scene = Scene::new(place).await;
    let mut last: Option<Verified> = None;
    for day in ["mon", "tue", "wed", "thu"] {
        scene.day(day).await;
        let verified = scene.retire(scene.clock.now()).await;
        if let Some(last) = &last {
            assert_eq!((verified.after, verified.links.0), (last.until, last.links.1));
        }
        assert_eq!(verified.asset, Asset::USD);
        last = Some(verified);
        scene = scene.reopened().await;
        scene.audited().await;
    }
    let account = scene.alice.view().await.unwrap();
    assert_eq!(account.seq, last.unwrap().until + 1, "the last checkpoint is left alone");
    assert!(scene.alice.archive(Timestamp::from_micros(0), &mut Vec::new()).await.unwrap().is_none());
}

async fn archive_that_does_not_fit_is_refused(place: Place) {
    let scene = Scene::new(place).await;
    scene.day("mon").await;
    let early = scene.clock.now();
    scene.day("tue").await;
    let (first, ..) = scene.archive(early).await;
    let (second, ..) = scene.archive(scene.clock.now()).await;
    assert_eq!(scene.bob.checkpoint(&first).await.unwrap_err().kind(), ErrorKind::InvalidInput);
    scene.alice.checkpoint(&second).await.unwrap();
    let error = scene.alice.checkpoint(&first).await.unwrap_err();
    assert!(matches!(error.refusal(), Some(Refusal::ArchiveMismatch(_))), "{error}");
    assert!(scene.bob.archive(Timestamp::from_micros(1), &mut Vec::new()).await.unwrap().is_none());
    scene.audited().await;
}

/// Whoever makes it up: a checkpoint takes nothing away that lives, and lies below no hold that is not final.
async fn checkpoint_over_what_lives_is_refused(place: Place) {
    let scene = Scene::new(place).await;
    let alice = &scene.alice;
    let soon = scene.clock.now().saturating_add(Duration::from_secs(60));
    alice.set_budget(None, Window::day(utc()), Cap::Requests(5)).await.unwrap();
    for (name, spent) in [("empty", true), ("full", false)] {
        alice.grant(name, LotClass::Paid, amount(5)).expires_at(soon).priority(i32::from(spent)).await.unwrap();
    }
    alice.debit("direct", amount(5)).await.unwrap();
    let open = alice.reserve("open", amount(3)).await.unwrap().created().unwrap();
    let journal = alice.journal(0, 100).await.unwrap();
    let (last, account) = (journal.last().unwrap(), alice.view().await.unwrap());
    let key = |lot| LotKey { account: account.number, lot };
    let window = scene.rows().await.windows[0].key;
    let standing = |id: &HoldId| HoldStanding {
        id: id.clone(),
        state: HoldState::Open,
        held: amount(3),
        cost: Quantity::ZERO,
        captured: amount(0),
        written_off: amount(0),
        refunded: amount(0),
        terms: None,
        windows: Vec::new(),
        takes: Vec::new(),
    };
    let plain = || Checkpoint::at(last, ArchiveDigest::default());
    let make = |after, checkpoint, lots: &[LotKey], windows: &[WindowKey]| Action::Checkpoint {
        after,
        checkpoint: Arc::new(checkpoint),
        lots: lots.to_vec(),
        windows: windows.to_vec(),
    };
    let mut carrying = plain();
    carrying.holds.push(standing(open.id()));
    let refused = async |action: Action, why: &str| {
        let batch = Batch::new(vec![Arc::new(Command::new(alice.id().clone(), action))]);
        let replies = scene.store.commit(scene.store.bucket(alice.id()), Arc::new(batch)).await.unwrap();
        match &replies[0].answer {
            Err(Refusal::ArchiveMismatch(said)) => assert!(said.contains(why), "{said}"),
            other => panic!("{why}: {other:?}"),
        }
    };
    refused(make(0, plain(), &[], &[]), "not closed").await;
    refused(Action::CloseBooks { until: last.seq + 1 }, "no such entry").await;
    let closing = Action::CloseBooks { until: last.seq };
    let batch = Batch::new(vec![Arc::new(Command::new(alice.id().clone(), closing))]);
    scene.store.commit(scene.store.bucket(alice.id()), Arc::new(batch)).await.unwrap();
    refused(make(1, plain(), &[], &[]), "does not follow").await;
    refused(make(0, carrying, &[], &[]), "not final").await;
    // Empty but not expired, and neither.
    refused(make(0, plain(), &[key(1)], &[]), "a lot").await;
    refused(make(0, plain(), &[key(2)], &[]), "a lot").await;
    refused(make(0, plain(), &[], &[window]), "a window").await;
    open.settle(amount(1)).await.unwrap();
    scene.audited().await;
}

#[tokio::test]
async fn every_change_of_an_archive_is_noticed() {
    let scene = Scene::new(Place::memory()).await;
    scene.day("mon").await;
    let first = scene.archive(scene.clock.now()).await;
    scene.alice.checkpoint(&first.0).await.unwrap();
    let first_digest = first.0.digest().to_string();
    scene.day("tue").await;
    for (_, _, file) in [first, scene.archive(scene.clock.now()).await] {
        let lines: Vec<&[u8]> = file.split_inclusive(|byte| *byte == b'\n').collect();
        let refused = |text: Vec<u8>, what: String| assert!(verify(&text[..]).is_err(), "{what}");
        for number in 0..lines.len() {
            let without = lines.iter().enumerate().filter(|(at, _)| *at != number).flat_map(|(_, line)| line.to_vec());
            refused(without.collect(), format!("without line {number}"));
            let twice = lines.iter().enumerate().flat_map(|(at, line)| line.repeat(1 + usize::from(at == number)));
            refused(twice.collect(), format!("line {number} twice"));
            let mut swapped = lines.clone();
            swapped.swap(number, (number + 1) % lines.len());
            refused(swapped.concat(), format!("line {number} swapped"));
            refused(lines[..number].concat(), format!("only {number} lines"));
        }
        for at in (0..file.len()).step_by(41) {
            let mut changed = file.clone();
            changed[at] = if changed[at] == b'1' { b'2' } else { b'1' };
            refused(changed, format!("byte {at} changed"));
        }
        assert!(verify(&file[..]).is_ok());
    }
    // Whoever writes another checkpoint into the first line, and all digests anew, is found out by the entries.
    let (first, second) = (first_digest, scene.archive(scene.clock.now()).await.2);
    let text = String::from_utf8(second).unwrap();
    let forged = text.replacen(&first, &"00".repeat(32), 1);
    let (lines, last) = forged.trim_end().rsplit_once('\n').unwrap();
    let lines = format!("{lines}\n");
    let sum = |text: &str| hex::encode(sha2::Sha256::digest(text));
    let honest = &text[..text.trim_end().rfind('\n').unwrap() + 1];
    let forged = format!("{lines}{}\n", last.replacen(&sum(honest), &sum(&lines), 1));
    let error = verify(forged.as_bytes()).unwrap_err();
    assert!(error.reason.contains("checkpoint is not the one"), "{error}");
    let error = verify(&b"{\"form\":\"something else\"}\n"[..]).unwrap_err();
    assert_eq!(error.line, 1);
}

#[tokio::test]
async fn archive_that_is_not_written_to_the_end_leaves_the_ledger_as_it_was() {
    struct Full(usize);
    impl std::io::Write for Full {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(std::io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let scene = Scene::new(Place::memory()).await;
    scene.day("mon").await;
    let before = scene.rows().await;
    let error = scene.alice.archive(scene.clock.now(), Full(2_000)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert_eq!(scene.rows().await, before);
}

/// The trigger lets archived entries go and no others, whoever asks.
#[cfg(feature = "sqlite")]
#[tokio::test]
async fn sqlite_keeps_what_is_not_archived() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let ledger = Ledger::open(&format!("sqlite:{}", path.display())).await.unwrap();
    let alice = ledger.account("alice").unwrap();
    alice.open().await.unwrap();
    alice.deposit("d", amount(5)).await.unwrap();
    let archive = alice.archive(Timestamp::from_micros(i64::MAX), &mut Vec::new()).await.unwrap().unwrap();
    alice.checkpoint(&archive).await.unwrap();
    alice.deposit("e", amount(5)).await.unwrap();
    ledger.close(Duration::ZERO).await.unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    for seq in [3, 4] {
        let refused = other.execute("delete from entries where seq = ?1", [seq]).unwrap_err();
        assert!(refused.to_string().contains("append-only"), "{refused}");
    }
    assert_eq!(other.execute("delete from entries where seq <= 2", []).unwrap(), 2);
}
