//! Bills that nobody waits for, and bills while the store is away: made all the same, and once.

#![cfg(feature = "testing")]

mod common;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use prepaid::metering::{Cut, MeterOptions};
use prepaid::model::{Hold, HoldState, LedgerId};
use prepaid::store::MemoryStore;
use prepaid::testing::{CommitFault, FaultRates, FaultyStore, ManualClock};
use prepaid::{AccountHandle, ErrorKind, Ledger, OpenHold};

use common::one::{amount, signed};
use common::wire::{Dots, tariff};

struct Scene {
    store: Arc<FaultyStore>,
    ledger: Ledger,
    alice: AccountHandle,
}

impl Scene {
    async fn new() -> Self {
        let memory = MemoryStore::new(LedgerId([7; 16]), Arc::new(ManualClock::default()));
        let store = Arc::new(FaultyStore::new(Arc::new(memory)));
        let ledger = Ledger::builder().sweep_every(None).open_store(store.clone()).unwrap();
        let alice = ledger.account("alice").unwrap();
        alice.open().await.unwrap();
        alice.deposit("opening", amount(100)).await.unwrap();
        Self { store, ledger, alice }
    }

    async fn hold(&self) -> OpenHold {
        self.alice.reserve("r", amount(10)).tariff(tariff()).await.unwrap().created().unwrap()
    }

    /// No commit reaches the store, for longer than anybody should wait.
    async fn outage(&self) {
        self.store.seeded(1, FaultRates { before: 1_000, ..FaultRates::default() });
        let error = self.alice.deposit("as-it-goes-down", amount(1)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }

    /// The hold once it is closed, on paused time.
    async fn closed(&self) -> Hold {
        for _ in 0..1_000 {
            let hold = self.alice.hold("r").await.unwrap().unwrap();
            if hold.state != HoldState::Open {
                return Hold::clone(&hold);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the hold is still open");
    }

    async fn ends_with(&self, available: i64) {
        let balance = self.alice.balance().await.unwrap();
        assert_eq!((balance.available, balance.held), (signed(available), amount(0)));
        let audit = self.ledger.audit().await.unwrap();
        assert!(audit.is_clean(), "{audit}");
        self.ledger.close(Duration::from_secs(1)).await.unwrap();
    }
}

/// Polls once, then goes away.
fn leave(future: impl Future) {
    let polled = pin!(future).poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(polled, Poll::Pending), "it has to wait for the store");
}

#[tokio::test(start_paused = true)]
async fn body_is_settled_once_the_store_is_back() {
    let scene = Scene::new().await;
    let hold = scene.hold().await;
    scene.outage().await;
    let settling = tokio::spawn(hold.settle_body(b"......", Dots::default()));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!settling.is_finished(), "it goes on asking");
    // The first answer is lost as well.
    scene.store.heal();
    scene.store.script([CommitFault::None, CommitFault::After]);
    let bill = settling.await.unwrap().unwrap();
    assert_eq!((bill.receipt.hold.unwrap().captured, bill.charge.unwrap().amount()), (amount(6), amount(6)));
    scene.ends_with(94).await;
}

#[tokio::test(start_paused = true)]
async fn body_is_settled_for_a_caller_who_left() {
    let scene = Scene::new().await;
    leave(scene.hold().await.settle_body(b"....", Dots::default()));
    assert_eq!(scene.closed().await.captured, amount(4));
    scene.ends_with(96).await;
}

#[tokio::test(start_paused = true)]
async fn body_is_settled_for_a_caller_who_left_while_the_store_was_away() {
    let scene = Scene::new().await;
    let hold = scene.hold().await;
    scene.outage().await;
    leave(hold.settle_body(b"....", Dots::default()));
    tokio::time::sleep(Duration::from_secs(60)).await;
    scene.store.heal();
    assert_eq!(scene.closed().await.captured, amount(4));
    scene.ends_with(96).await;
}

/// A stream that breaks off at the operator's cost: with its bill awaited or not, the store there or not.
#[tokio::test(start_paused = true)]
async fn free_cut_gives_everything_back_whoever_is_there() {
    for (is_away, is_awaited) in [(false, false), (false, true), (true, false), (true, true)] {
        let scene = Scene::new().await;
        let upstream = stream::iter([Ok::<_, std::io::Error>("...".into())]).chain(stream::pending());
        let (mut metered, billed) =
            scene.hold().await.meter_with(upstream, Dots::default(), MeterOptions::cut(Cut::Free));
        metered.next().await.unwrap().unwrap();
        // What was delivered so far is reported by then.
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(scene.alice.hold("r").await.unwrap().unwrap().reported.cost, amount(3));
        let billed = is_awaited.then_some(billed);
        if is_away {
            scene.outage().await;
        }
        drop(metered);
        if is_away {
            tokio::time::sleep(Duration::from_secs(60)).await;
            scene.store.heal();
        }
        if let Some(billed) = billed {
            let bill = billed.await.unwrap();
            assert!(bill.charge.is_none(), "nothing is charged");
            assert_eq!(bill.receipt.hold.unwrap().state, HoldState::Released);
        }
        let hold = scene.closed().await;
        assert_eq!((hold.state, hold.captured), (HoldState::Released, amount(0)), "{is_away} {is_awaited}");
        scene.ends_with(100).await;
    }
}
