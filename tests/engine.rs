//! What the engine promises its callers, one test each.

#![cfg(feature = "testing")]

mod common;

use std::convert::Infallible;
use std::future::Future;
use std::iter::repeat_n;
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use prepaid::clock::Clock;
use prepaid::metering::observe::Observer;
use prepaid::model::{HoldState, Lease, LedgerId, Policy};
use prepaid::store::{MemoryStore, StoreErrorKind};
use prepaid::testing::{CommitFault, FaultRates, FaultyStore, ManualClock};
use prepaid::tokens::UsageReport;
use prepaid::{
    AccountHandle, ErrorKind, HoldId, Ledger, LedgerBuilder, OpenHold, Outcome, Refusal, Reserved, Timestamp,
};
use tokio::task::JoinHandle;

use common::one::{amount, signed};
use common::wire::{Dots, tariff};

/// A ledger whose store can be kept shut, in a runtime whose time passes only while everybody waits.
struct Scene {
    store: Arc<FaultyStore>,
    clock: Arc<ManualClock>,
    ledger: Ledger,
    alice: AccountHandle,
}

impl Scene {
    async fn new() -> Self {
        Self::with(|builder| builder).await
    }

    async fn with(settings: impl FnOnce(LedgerBuilder) -> LedgerBuilder) -> Self {
        tokio::time::pause();
        let clock = Arc::new(ManualClock::default());
        let memory = MemoryStore::new(LedgerId([7; 16]), clock.clone());
        let store = Arc::new(FaultyStore::new(Arc::new(memory)));
        let ledger = settings(Ledger::builder().sweep_every(None)).open_store(store.clone()).unwrap();
        let alice = ledger.account("alice").unwrap();
        alice.open().await.unwrap();
        alice.deposit("opening", amount(1_000_000)).await.unwrap();
        Self { store, clock, ledger, alice }
    }

    async fn open_hold(&self, request: &str) -> OpenHold {
        self.alice.reserve(request, amount(10)).tariff(tariff()).await.unwrap().created().unwrap()
    }

    /// Shuts the door with one batch already waiting in front of it, so that what comes now stays in the queue.
    async fn stall(&self) -> JoinHandle<()> {
        self.store.keep_out();
        let alice = self.alice.clone();
        let first = tokio::spawn(async move { drop(alice.deposit("in-front-of-the-door", amount(1)).await.unwrap()) });
        let before = self.store.commits();
        while self.store.commits() == before {
            tokio::task::yield_now().await;
        }
        first
    }

    /// Runs what `ask` asks for each number until all of it waits in the queue.
    async fn queued<F>(
        &self,
        numbers: std::ops::Range<u64>,
        ask: impl Fn(AccountHandle, u64) -> F,
    ) -> Vec<JoinHandle<F::Output>>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let waiting = numbers.end - numbers.start;
        let tasks = numbers.map(|number| tokio::spawn(ask(self.alice.clone(), number))).collect();
        // The scheduler comes back here now and then: at least after every task.
        for _ in 0..10 + waiting {
            tokio::task::yield_now().await;
        }
        tasks
    }

    /// Both clocks go on together: a jump would be a reason to stay away.
    async fn minutes(&self, count: u32) {
        for _ in 0..count {
            self.clock.advance(Duration::from_secs(60));
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
    }

    async fn audited(&self) {
        let audit = self.ledger.audit().await.unwrap();
        assert!(audit.is_clean(), "{audit}");
    }
}

const SOON: Duration = Duration::from_millis(100);

async fn state(alice: &AccountHandle, request: &str) -> Option<HoldState> {
    alice.hold(request).await.unwrap().map(|hold| hold.state)
}

#[tokio::test]
async fn full_queue_is_busy_at_once_for_what_opens_or_increases() {
    let scene = Scene::with(|builder| builder.queue(3)).await;
    let mut hold = scene.open_hold("open").await;
    let first = scene.stall().await;
    let waiting = scene
        .queued(0..3, async |alice, number| {
            drop(alice.reserve(format!("r{number}").as_str(), amount(1)).await.unwrap().created().unwrap().detach())
        })
        .await;
    let began = tokio::time::Instant::now();
    let reserve = scene.alice.reserve("late", amount(1)).await.unwrap_err();
    let extend = hold.extend(amount(20), false).await.unwrap_err();
    for error in [reserve, extend] {
        assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Busy, true), "{error}");
    }
    assert_eq!(began.elapsed(), Duration::ZERO, "busy is said at once");
    scene.store.let_in();
    join_all(waiting.into_iter().chain([first])).await;
    assert_eq!(state(&scene.alice, "late").await, None, "nothing was done");
    hold.release(false).await.unwrap();
    scene.audited().await;
}

#[tokio::test]
async fn full_queue_keeps_nobody_from_closing() {
    let scene = Scene::with(|builder| builder.queue(1)).await;
    let (settled, released) = (scene.open_hold("settled").await, scene.open_hold("released").await);
    let first = scene.stall().await;
    let waiting = scene.queued(0..1, async |alice, _| drop(alice.reserve("fills", amount(1)).await)).await;
    assert_eq!(scene.alice.reserve("late", amount(1)).await.unwrap_err().kind(), ErrorKind::Busy);
    let closing =
        tokio::spawn(async move { (settled.settle(amount(4)).await.unwrap(), released.release(false).await.unwrap()) });
    tokio::task::yield_now().await;
    scene.store.let_in();
    let (settled, released) = closing.await.unwrap();
    assert_eq!((settled.outcome, released.outcome), (Outcome::Ok, Outcome::Ok));
    join_all(waiting.into_iter().chain([first])).await;
    scene.audited().await;
}

#[tokio::test]
async fn thousand_meters_dropped_while_the_queue_is_full_close_all_their_holds() {
    let scene = Scene::with(|builder| builder.queue(1_000)).await;
    let endless = || stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"..."))]).chain(stream::pending());
    let mut meters = Vec::new();
    for number in 0..1_000 {
        let hold = scene.open_hold(&format!("r{number}")).await;
        let (mut metered, billed) = hold.meter(endless(), Dots::default());
        metered.next().await.unwrap().unwrap();
        meters.push((metered, billed));
    }
    let first = scene.stall().await;
    let waiting = scene
        .queued(0..1_000, async |alice, number| drop(alice.deposit(format!("d{number}"), amount(1)).await.unwrap()))
        .await;
    assert_eq!(scene.alice.deposit("late", amount(1)).await.unwrap_err().kind(), ErrorKind::Busy);
    let bills: Vec<_> = meters.into_iter().map(|(_, billed)| billed).collect();
    tokio::task::yield_now().await;
    scene.store.let_in();
    for bill in join_all(bills).await {
        assert_eq!(bill.unwrap().charge.unwrap().amount(), amount(3));
    }
    join_all(waiting.into_iter().chain([first])).await;
    let view = scene.alice.view().await.unwrap();
    assert_eq!((view.open_holds, view.books.available), (0, signed(1_000_000 + 1 + 1_000 - 3_000)));
    scene.audited().await;
}

#[tokio::test]
async fn what_waits_goes_into_one_commit_and_a_refusal_in_it_is_its_own() {
    let scene = Scene::new().await;
    let first = scene.stall().await;
    let before = scene.store.commits();
    let ask = async |alice: AccountHandle, number| match number {
        50 => alice.withdraw("w50", amount(2_000_000)).await,
        _ => alice.deposit(format!("d{number}"), amount(1)).await,
    };
    let waiting = scene.queued(0..100, ask).await;
    scene.store.let_in();
    for (number, answer) in join_all(waiting).await.into_iter().enumerate() {
        match (number, answer.unwrap()) {
            (50, Err(error)) => assert!(matches!(error.refusal(), Some(Refusal::InsufficientPaid { .. })), "{error:?}"),
            (_, answer) => drop(answer.unwrap()),
        }
    }
    first.await.unwrap();
    assert_eq!(scene.store.commits() - before, 1);
    assert_eq!(scene.alice.balance().await.unwrap().available, signed(1_000_000 + 1 + 99));
    scene.audited().await;
}

#[tokio::test]
async fn whoever_asks_again_once_answered_shares_a_commit_with_those_who_wait() {
    let scene = Scene::new().await;
    let first = scene.stall().await;
    let alice = scene.alice.clone();
    let again = tokio::spawn(async move {
        first.await.unwrap();
        alice.deposit("again", amount(1)).await.unwrap();
    });
    let before = scene.store.commits();
    let ask = async |alice: AccountHandle, number| alice.deposit(format!("d{number}"), amount(1)).await.unwrap();
    let waiting = scene.queued(0..4, ask).await;
    scene.store.let_in();
    join_all(waiting).await;
    again.await.unwrap();
    assert_eq!(scene.store.commits() - before, 1);
}

#[tokio::test]
async fn poisonous_command_is_found_by_halving_and_the_others_land() {
    let scene = Scene::new().await;
    scene.store.poison(HoldId::new("r63", 1).unwrap());
    let first = scene.stall().await;
    let before = scene.store.commits();
    let waiting = scene.queued(0..100, async |alice, number| alice.debit(format!("r{number}"), amount(1)).await).await;
    scene.store.let_in();
    for (number, answer) in join_all(waiting).await.into_iter().enumerate() {
        match (number, answer.unwrap()) {
            (63, Err(error)) => {
                assert_eq!(error.kind(), ErrorKind::Internal);
                assert!(error.to_string().contains("hold=r63#1"), "the message names it: {error}");
            }
            (_, answer) => assert_eq!(answer.unwrap().outcome, Outcome::OkDirect),
        }
    }
    first.await.unwrap();
    // Twice for the whole, then a half each time: 100, 50, 25, 13, 7, 4, 2, 1. Beside the last, whether others are taken.
    let commits = scene.store.commits() - before;
    assert!(commits <= 2 * 8 + 8 + 2, "{commits} commits");
    assert_eq!(state(&scene.alice, "r63").await, None);
    scene.audited().await;
}

/// A row that cannot be read is one account's trouble: not that of those who happen to be in the same batch.
#[tokio::test]
async fn command_on_a_damaged_row_is_found_by_halving_and_the_others_land() {
    let scene = Scene::new().await;
    scene.store.damage(HoldId::new("r63", 1).unwrap());
    let first = scene.stall().await;
    let waiting = scene.queued(0..100, async |alice, number| alice.debit(format!("r{number}"), amount(1)).await).await;
    scene.store.let_in();
    for (number, answer) in join_all(waiting).await.into_iter().enumerate() {
        match (number, answer.unwrap()) {
            (63, Err(error)) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt);
                assert!(error.to_string().contains("hold=r63#1"), "the message names it: {error}");
            }
            (_, answer) => assert_eq!(answer.unwrap().outcome, Outcome::OkDirect),
        }
    }
    first.await.unwrap();
    scene.audited().await;
}

#[tokio::test]
async fn database_that_takes_nothing_is_not_searched_for_the_culprit() {
    let scene = Scene::new().await;
    let first = scene.stall().await;
    let waiting = scene.queued(0..100, async |alice, number| alice.debit(format!("r{number}"), amount(1)).await).await;
    let corrupt = || CommitFault::Before(StoreErrorKind::Corrupt);
    scene.store.script([CommitFault::None, corrupt(), corrupt()]);
    let before = scene.store.commits();
    scene.store.let_in();
    for answer in join_all(waiting).await {
        assert_eq!(answer.unwrap().unwrap_err().kind(), ErrorKind::Corrupt);
    }
    first.await.unwrap();
    assert_eq!(scene.store.commits() - before, 2, "the batch, and one about nothing");
    scene.audited().await;
}

/// A database that goes away may say anything, and a pooler in front of it more.
#[tokio::test]
async fn refusal_that_meets_everybody_is_no_commands_fault_and_is_waited_out() {
    let scene = Scene::new().await;
    let hold = scene.open_hold("r").await;
    let before = scene.store.commits();
    scene.store.script(repeat_n(CommitFault::Before(StoreErrorKind::Refused), 12));
    assert_eq!(hold.settle(amount(1)).await.unwrap().outcome, Outcome::Ok);
    assert_eq!(scene.store.commits() - before, 12 + 1, "each time the settlement, then a batch about nothing");
    scene.audited().await;
}

#[tokio::test]
async fn lost_answer_is_asked_for_again_and_happens_once() {
    let scene = Scene::new().await;
    scene.store.script([CommitFault::After, CommitFault::Before(StoreErrorKind::OutcomeUnknown), CommitFault::After]);
    let hold = scene.open_hold("r").await;
    assert_eq!(scene.alice.journal(0, 100).await.unwrap().len(), 3);
    assert_eq!(scene.alice.view().await.unwrap().open_holds, 1);
    hold.settle(amount(1)).await.unwrap();
    scene.audited().await;
}

#[tokio::test]
async fn unknown_outcome_surfaces_at_the_deadline_and_its_token_tells() {
    let scene = Scene::new().await;
    for (request, fault) in [("written", CommitFault::After), ("not-written", CommitFault::None)] {
        if fault != CommitFault::None {
            scene.store.script([fault]);
        }
        scene.store.seeded(1, FaultRates { unknown: 1_000, ..FaultRates::default() });
        let began = tokio::time::Instant::now();
        let error = scene.alice.reserve(request, amount(10)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutcomeUnknown);
        assert!(began.elapsed() >= Duration::from_secs(5), "only a passed deadline surfaces: {:?}", began.elapsed());
        scene.store.heal();
        let token = error.call_token().unwrap();
        // The engine sees within a second that the store is back; until then nobody waits.
        let hold = loop {
            match scene.alice.reserve(request, amount(10)).again(token).await {
                Err(error) if error.kind() == ErrorKind::Unavailable => tokio::time::sleep(SOON).await,
                answer => break answer.unwrap(),
            }
        };
        let Reserved::Created(hold) = hold else { panic!("the caller's own hold: {hold:?}") };
        let other = scene.alice.reserve(request, amount(10)).await.unwrap();
        assert!(matches!(other, Reserved::Replayed { .. }), "somebody else's: {other:?}");
        hold.release(false).await.unwrap();
    }
    scene.audited().await;
}

#[tokio::test]
async fn contention_is_waited_out() {
    let scene = Scene::new().await;
    scene.store.contended(10);
    assert_eq!(scene.alice.deposit("d", amount(1)).await.unwrap().outcome, Outcome::Ok);
    assert_eq!(scene.store.faults(), 10);
}

#[tokio::test]
async fn reserve_nobody_receives_is_released() {
    let scene = Scene::new().await;
    let first = scene.stall().await;
    let waiting = scene.queued(0..1, async |alice, _| drop(alice.reserve("r", amount(10)).await)).await;
    waiting.iter().for_each(JoinHandle::abort);
    scene.store.let_in();
    first.await.unwrap();
    while state(&scene.alice, "r").await != Some(HoldState::Released) {
        tokio::task::yield_now().await;
    }
    assert_eq!(scene.alice.balance().await.unwrap().available, signed(1_000_001));
    scene.audited().await;
}

#[tokio::test]
async fn dropped_deposit_is_made_all_the_same() {
    let scene = Scene::new().await;
    let first = scene.stall().await;
    let waiting = scene.queued(0..1, async |alice, _| drop(alice.deposit("d", amount(10)).await)).await;
    waiting.iter().for_each(JoinHandle::abort);
    scene.store.let_in();
    first.await.unwrap();
    assert_eq!(scene.alice.deposit("d", amount(10)).await.unwrap().outcome, Outcome::Replayed);
}

#[tokio::test]
async fn close_answers_what_waits_and_waits_for_what_runs() {
    let scene = Scene::new().await;
    let hold = scene.open_hold("r").await;
    let first = scene.stall().await;
    let waiting = scene.queued(0..10, async |alice, number| alice.deposit(format!("d{number}"), amount(1)).await).await;
    let closing = {
        let ledger = scene.ledger.clone();
        tokio::spawn(async move { ledger.close(Duration::from_secs(60)).await })
    };
    tokio::task::yield_now().await;
    assert_eq!(scene.alice.reserve("late", amount(1)).await.unwrap_err().kind(), ErrorKind::Closed);
    scene.store.let_in();
    first.await.unwrap();
    for answer in join_all(waiting).await {
        assert_eq!(answer.unwrap().unwrap().outcome, Outcome::Ok);
    }
    assert!(!closing.is_finished(), "a hold runs");
    hold.settle(amount(3)).await.unwrap();
    closing.await.unwrap().unwrap();
    assert_eq!(scene.alice.settle("r", amount(3)).await.unwrap_err().kind(), ErrorKind::Closed);
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn close_records_what_streams_past_the_deadline_have_used() {
    let folder = tempfile::tempdir().unwrap();
    let open = async || {
        let ledger = Ledger::open(&format!("sqlite:{}", folder.path().join("ledger.db").display())).await.unwrap();
        (ledger.account("alice").unwrap(), ledger)
    };
    let (alice, ledger) = open().await;
    alice.open().await.unwrap();
    alice.deposit("opening", amount(100)).await.unwrap();
    let hold = alice.reserve("r", amount(10)).tariff(tariff()).await.unwrap().created().unwrap();
    let dots = stream::iter([Ok::<_, Infallible>(Bytes::from("....."))]).chain(stream::pending());
    let (mut metered, _billed) = hold.meter(dots, Dots::default());
    metered.next().await.unwrap().unwrap();
    ledger.close(Duration::from_millis(1)).await.unwrap();

    let (alice, ledger) = open().await;
    let hold = alice.hold("r").await.unwrap().unwrap();
    assert_eq!((hold.state, hold.reported.tokens), (HoldState::Open, 5));
    ledger.close(Duration::ZERO).await.unwrap();
}

#[tokio::test]
async fn sweeper_ends_with_the_ledger_whoever_keeps_a_handle() {
    let scene = Scene::with(|builder| builder.sweep_every(Some(Duration::from_secs(1)))).await;
    scene.store.fail_reads(u64::MAX, StoreErrorKind::Unavailable);
    scene.minutes(1).await;
    let before = scene.store.faults();
    assert!(before > 0, "it looked for what is due");
    scene.ledger.close(Duration::ZERO).await.unwrap();
    scene.minutes(1).await;
    assert_eq!(scene.store.faults(), before);
}

#[tokio::test]
async fn bucket_that_is_not_there_has_no_accounts() {
    let ledger = Scene::new().await.ledger;
    let named = async |bucket| ledger.accounts(bucket, 0, 10).await.unwrap().into_iter().map(|found| found.id);
    assert_eq!((ledger.buckets(), named(0).await.count(), named(1).await.count()), (1, 1, 0));
}

#[tokio::test]
async fn close_leaves_what_runs_past_the_deadline_to_its_lease() {
    let scene = Scene::new().await;
    let hold = scene.open_hold("r").await;
    let began = tokio::time::Instant::now();
    scene.ledger.close(Duration::from_secs(7)).await.unwrap();
    assert_eq!(began.elapsed().as_secs(), 7);
    drop(hold);
}

/// Whoever drops a hold after the upstream has its request does not know what it used: that is no release.
#[tokio::test]
async fn dispatched_hold_that_is_dropped_is_abandoned_and_never_released() {
    let scene = Scene::new().await;
    let mut hold = scene.open_hold("dispatched").await;
    hold.report(amount(4)).await.unwrap();
    hold.dispatched();
    drop(hold);
    drop(scene.open_hold("not-dispatched").await);
    while state(&scene.alice, "not-dispatched").await == Some(HoldState::Open) {
        tokio::task::yield_now().await;
    }
    assert_eq!(state(&scene.alice, "not-dispatched").await, Some(HoldState::Released));
    assert_eq!(state(&scene.alice, "dispatched").await, Some(HoldState::Lapsed));
    assert_eq!(scene.alice.balance().await.unwrap().available, signed(1_000_000 - 4));
    scene.audited().await;
}

/// Neither blocks nor panics; the lease gives the money back.
#[test]
fn holds_and_meters_dropped_after_their_runtime_do_nothing() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let lease = Lease { ttl: Duration::from_secs(60), grace: Duration::from_secs(10), late: Duration::from_secs(100) };
    let first = runtime();
    let scene = first.block_on(Scene::with(|builder| builder.policy(Policy { lease, ..Policy::default() })));
    let (hold, metered) = first.block_on(async {
        let hold = scene.open_hold("held").await;
        let (mut metered, _) = scene.open_hold("metered").await.meter(
            stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b".."))]).chain(stream::pending()),
            Dots::default(),
        );
        metered.next().await.unwrap().unwrap();
        (hold, metered)
    });
    drop(first);
    drop((hold, metered));

    let Scene { store, clock, .. } = scene;
    runtime().block_on(async {
        let ledger = Ledger::builder().sweep_every(None).open_store(store).unwrap();
        let alice = ledger.account("alice").unwrap();
        assert_eq!(alice.view().await.unwrap().open_holds, 2);
        clock.advance(Duration::from_secs(70));
        assert_eq!(ledger.sweep().await.unwrap(), 2);
        let view = alice.view().await.unwrap();
        assert_eq!((view.open_holds, view.books.available), (0, signed(1_000_000)));
    });
}

/// A stream's reports have no deadline: an outage must not wait for them.
#[tokio::test]
async fn outage_with_reports_in_the_batch_is_over_for_everybody_in_time() {
    let scene = Scene::with(|builder| builder.report_every(Duration::from_millis(10))).await;
    let hold = scene.open_hold("r").await;
    hold.note(amount(3));
    scene.store.script([CommitFault::Before(StoreErrorKind::OutcomeUnknown)]);
    scene.store.seeded(1, FaultRates { before: 500, contended: 500, ..FaultRates::default() });
    tokio::time::sleep(Duration::from_secs(30)).await;
    let began = tokio::time::Instant::now();
    let error = scene.alice.deposit("d", amount(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(began.elapsed() <= Duration::from_secs(6), "{:?}", began.elapsed());
    // What was noted meanwhile is told when the store is back.
    scene.store.heal();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(scene.alice.hold("r").await.unwrap().unwrap().reported.cost, amount(3));
    scene.store.seeded(1, FaultRates { contended: 1_000, ..FaultRates::default() });
    hold.note(amount(4));
    scene.ledger.close(Duration::from_secs(1)).await.unwrap();
}

#[tokio::test]
async fn nobody_s_lease_is_judged_after_an_outage_before_its_owner_could_renew() {
    let scene = Scene::with(|builder| builder.sweep_every(Some(Duration::from_secs(1)))).await;
    let id = scene.open_hold("r").await.detach();
    scene.store.seeded(1, FaultRates { before: 1_000, ..FaultRates::default() });
    assert_eq!(scene.alice.deposit("d", amount(1)).await.unwrap_err().kind(), ErrorKind::Unavailable);
    // Its lease is over by the time the store is back.
    scene.clock.advance(Duration::from_secs(20 * 60));
    tokio::time::sleep(Duration::from_secs(5)).await;
    scene.store.heal();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(state(&scene.alice, "r").await, Some(HoldState::Open), "the sweeper stays away");
    scene.alice.renew(&id, None).await.unwrap();
    // Minute by minute: a jump would be one more reason to stay away.
    scene.minutes(17).await;
    assert_eq!(state(&scene.alice, "r").await, Some(HoldState::Lapsed), "and comes back");
    scene.audited().await;
}

/// An observer of a host's own that has a bug.
struct Broken;

impl Observer for Broken {
    fn feed(&mut self, _: &[u8]) {}

    fn body(&mut self, _: &[u8]) {}

    fn finish(&mut self) {}

    fn is_final(&self) -> bool {
        false
    }

    fn report(&self) -> UsageReport {
        panic!("observer's bug");
    }
}

#[tokio::test]
async fn observer_that_panics_costs_no_hold_its_lease() {
    let scene = Scene::new().await;
    let endless = || stream::pending::<Result<Bytes, Infallible>>();
    // Its end would ask the observer once more.
    let _broken = ManuallyDrop::new(scene.open_hold("broken").await.meter(endless(), Broken));
    let (_sound, _) = scene.open_hold("sound").await.meter(endless(), Dots::default());
    let deadlines = async || {
        let holds = [scene.alice.hold("broken").await, scene.alice.hold("sound").await];
        holds.map(|hold| hold.unwrap().unwrap().deadline)
    };
    let before = deadlines().await;
    scene.minutes(20).await;
    let after = deadlines().await;
    assert!(before[0] < after[0] && before[1] < after[1], "both were renewed: {before:?} {after:?}");
}

/// The clock of the store's machine is put forward by more than any lease: the owner is still there and renews.
#[tokio::test]
async fn running_hold_outlives_a_jump_of_the_clock_and_a_forsaken_one_lapses_after_it() {
    let scene = Scene::with(|builder| builder.sweep_every(Some(Duration::from_secs(1)))).await;
    let running = scene.open_hold("running").await;
    let _ = scene.open_hold("forsaken").await.detach();
    // Somebody sweeps: both clocks go on together.
    scene.minutes(2).await;
    scene.clock.advance(Duration::from_secs(60 * 60));
    scene.minutes(14).await;
    for request in ["running", "forsaken"] {
        assert_eq!(
            state(&scene.alice, request).await,
            Some(HoldState::Open),
            "nobody is judged for a while: {request}"
        );
    }
    scene.minutes(30).await;
    assert_eq!(state(&scene.alice, "running").await, Some(HoldState::Open), "it was renewed meanwhile");
    assert_eq!(state(&scene.alice, "forsaken").await, Some(HoldState::Lapsed));

    // Put back again, nothing is overdue, and time goes on where it was.
    scene.clock.set(Timestamp::from_micros(scene.clock.now().as_micros() - 3_600_000_000));
    scene.minutes(30).await;
    assert_eq!(state(&scene.alice, "running").await, Some(HoldState::Open));
    running.settle(amount(3)).await.unwrap();
    let journal = scene.alice.journal(0, 100).await.unwrap();
    assert!(journal.is_sorted_by_key(|entry| entry.at), "an account's time never goes back");
    scene.audited().await;
}

/// The jump is seen while somebody else's lock keeps everything from being written. Processes that start afterwards do not
/// know of it but by the bucket's row.
#[tokio::test]
async fn jump_of_the_clock_in_an_outage_is_written_down_after_it() {
    let scene = Scene::with(|builder| builder.sweep_every(Some(Duration::from_secs(1)))).await;
    let _ = scene.open_hold("r").await.detach();
    tokio::time::sleep(Duration::from_secs(2)).await;
    scene.store.seeded(1, FaultRates { contended: 1_000, ..FaultRates::default() });
    assert_eq!(scene.alice.deposit("d", amount(1)).await.unwrap_err().kind(), ErrorKind::Unavailable);
    scene.clock.advance(Duration::from_secs(60 * 60));
    tokio::time::sleep(Duration::from_secs(5)).await;
    scene.store.heal();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let other = Ledger::builder().sweep_every(None).open_store(scene.store.clone()).unwrap();
    assert_eq!(other.sweep().await.unwrap(), 0);
    assert_eq!(state(&scene.alice, "r").await, Some(HoldState::Open), "it is judged later");
    scene.minutes(17).await;
    assert_eq!(state(&scene.alice, "r").await, Some(HoldState::Lapsed));
    scene.audited().await;
}

/// With short leases a small jump is one too, and the time away is as short.
#[tokio::test]
async fn time_away_after_a_jump_follows_the_lease() {
    let lease = Lease { ttl: Duration::from_secs(120), ..Lease::default() };
    let policy = Policy { lease, ..Policy::default() };
    let scene = Scene::with(|builder| builder.policy(policy).sweep_every(Some(Duration::from_secs(1)))).await;
    let running = scene.open_hold("running").await;
    let _ = scene.open_hold("forsaken").await.detach();
    tokio::time::sleep(Duration::from_secs(2)).await;
    scene.clock.advance(Duration::from_secs(5 * 60));
    tokio::time::sleep(Duration::from_secs(61)).await;
    for request in ["running", "forsaken"] {
        assert_eq!(state(&scene.alice, request).await, Some(HoldState::Open), "it is judged later: {request}");
    }
    scene.minutes(3).await;
    assert_eq!(state(&scene.alice, "forsaken").await, Some(HoldState::Lapsed));
    running.settle(amount(3)).await.unwrap();
    scene.audited().await;
}

/// A bug in a store ends its lane, and leaves nobody waiting.
#[tokio::test]
async fn store_that_panics_answers_everybody_and_close_returns() {
    let scene = Scene::new().await;
    let hold = scene.open_hold("r").await;
    scene.store.script([CommitFault::Panic]);
    let first = {
        scene.store.keep_out();
        let (alice, before) = (scene.alice.clone(), scene.store.commits());
        let first = tokio::spawn(async move { alice.deposit("panics", amount(1)).await });
        while scene.store.commits() == before {
            tokio::task::yield_now().await;
        }
        first
    };
    let mut waiting =
        scene.queued(0..10, async |alice, number| alice.deposit(format!("d{number}"), amount(1)).await).await;
    waiting.push(first);
    let began = tokio::time::Instant::now();
    scene.store.let_in();
    // Time stands still while anything can happen: whoever waits for a minute waits for ever.
    let answers = tokio::time::timeout(Duration::from_secs(60), join_all(waiting)).await.unwrap();
    for answer in answers {
        assert_eq!(answer.unwrap().unwrap_err().kind(), ErrorKind::Closed);
    }
    assert_eq!(scene.alice.deposit("later", amount(1)).await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(hold.settle(amount(1)).await.unwrap_err().kind(), ErrorKind::Closed);
    // Another process finds everything as it was.
    let other = Ledger::builder().sweep_every(None).open_store(scene.store.clone()).unwrap();
    let alice = other.account("alice").unwrap();
    assert_eq!(alice.settle("r", amount(1)).await.unwrap().outcome, Outcome::Ok);
    assert_eq!(alice.balance().await.unwrap().available, signed(1_000_000 - 1));
    assert!(other.audit().await.unwrap().is_clean());
    scene.ledger.close(Duration::from_secs(60)).await.unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO, "all of it at once");
}
