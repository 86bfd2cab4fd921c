//! Holds, their settlement, and keys.

use std::sync::Arc;
use std::time::Duration;

use super::StoreFactory;
use super::scene::{
    LEASE, OVERDUE, Scene, amount, command, correct, hold_id, id, key, lapse, money, refund, report, reserve, seal,
    settle,
};
use crate::kernel::{Action, Batch, Outcome, Refusal};
use crate::model::{
    CallToken, HoldState, KeyHash, Label, Lease, Limits, MINOR_UNITS_MAX, Measured, ModelName, OnLapse, Overrun,
    Policy, Scope, TariffHash, Terms,
};

/// A hold is found by its key, and only through its own account.
pub async fn hold_is_found_by_its_key_in_its_account_alone(factory: &mut dyn StoreFactory) {
    let mut scene = Scene::with(factory, 10).await;
    scene.open("bob", 10).await;
    scene.ok("alice", reserve("h", 5)).await;
    let hold = scene.hold("alice", "h").await.expect("the hold is there");
    assert_eq!((hold.id.to_string().as_str(), hold.held), ("h#1", amount(5)));
    assert_eq!(scene.hold("alice", "h#2").await, None);
    assert_eq!(scene.hold("bob", "h").await, None);
    let key = KeyHash::hold(&id("alice"), &hold_id("h"));
    assert_eq!(scene.store.hold(&id("bob"), key).await.expect("a hold is read"), None, "a key opens no other account");
    scene.finish().await;
}

/// Everything that is pinned in a hold reads back.
pub async fn hold_row_is_kept_whole(factory: &mut dyn StoreFactory) {
    let mut scene = Scene::with(factory, 10).await;
    let limits = Limits { ceiling: Some(amount(MINOR_UNITS_MAX)), ..Limits::default() };
    scene.ok("alice", Action::SetLimits { limits, policy: Policy::default() }).await;
    let terms = Terms {
        amount: amount(20),
        min: Some(amount(1)),
        label: Some(Label::new("openai/gpt-4o").expect("a label")),
        model: Some(ModelName::new("gpt-4o").expect("a model")),
        scopes: ["key:prod", "team:red"].map(|scope| Scope::new(scope).expect("a scope")).to_vec(),
        tokens: u64::MAX,
        tariff: Some(TariffHash([9; 16])),
        on_lapse: Some(OnLapse::Release),
        overrun: Some(Overrun::CapToAvailable),
    };
    let lease =
        Lease { ttl: Duration::from_micros(1_000_001), grace: Duration::ZERO, late: Duration::from_secs(1 << 33) };
    let hold = hold_id("h#4294967295");
    let terms = Arc::new(terms);
    let token = CallToken([0xff; 16]);
    let action = Action::Reserve { hold, terms: Arc::clone(&terms), lease: Some(lease), token, metadata: None };
    let reply = scene.run("alice", action).await;
    assert_eq!(reply.answer, Ok(Outcome::CreatedPartial));
    let hold = scene.hold("alice", "h#4294967295").await;
    assert_eq!(hold, reply.hold);
    let hold = hold.expect("the hold is there");
    assert_eq!((hold.terms.as_ref(), hold.policy.lease, hold.token), (Some(&terms), lease, token));
    scene.finish().await;
}

/// Open, reported, extended, lapsed, sealed, settled late, released, refunded, corrected: every row reads back.
pub async fn every_state_of_a_hold_is_kept(factory: &mut dyn StoreFactory) {
    let mut scene = Scene::with(factory, 100).await;
    for name in ["open", "lapsed", "sealed", "late", "released"] {
        scene.ok("alice", reserve(name, 5)).await;
        scene.ok("alice", report(name, 3)).await;
    }
    scene.ok("alice", Action::Extend { hold: hold_id("sealed"), target: amount(9), partial: false }).await;
    scene.pass(OVERDUE).await;
    for name in ["lapsed", "sealed", "late"] {
        assert_eq!(scene.ok("alice", lapse(name)).await, Outcome::Lapsed);
    }
    scene.ok("alice", report("sealed", 8)).await;
    scene.ok("alice", settle("late", 4)).await;
    scene.ok("alice", Action::Release { hold: hold_id("released"), waive: true }).await;
    scene.pass(LEASE.late).await;
    assert_eq!(scene.ok("alice", seal("sealed")).await, Outcome::Sealed);
    scene.ok("alice", refund("sealed", "r", 2)).await;
    scene.ok("alice", correct("late", "c", 4, 1)).await;
    let expected = [
        ("open", HoldState::Open),
        ("lapsed", HoldState::Lapsed),
        ("sealed", HoldState::Sealed),
        ("late", HoldState::Settled),
        ("released", HoldState::Released),
    ];
    for (name, state) in expected {
        assert_eq!(scene.hold("alice", name).await.map(|hold| hold.state), Some(state), "{name}");
    }
    scene.finish().await;
}

/// Holds without a reserve read back: the tombstone of a release, and a direct debit.
pub async fn tombstones_and_direct_debits_are_kept(factory: &mut dyn StoreFactory) {
    let mut scene = Scene::with(factory, 10).await;
    assert_eq!(scene.ok("alice", Action::Release { hold: hold_id("t"), waive: false }).await, Outcome::Tombstoned);
    let debit = Action::Debit {
        hold: hold_id("d"),
        terms: Arc::default(),
        measured: Measured::new(amount(4), 3).with_evidence(*b"evidence"),
        above_ceiling: false,
        metadata: None,
    };
    assert_eq!(scene.ok("alice", debit.clone()).await, Outcome::OkDirect);
    assert_eq!(scene.hold("alice", "t").await.map(|hold| hold.terms.is_none()), Some(true));
    assert_eq!(scene.hold("alice", "d").await.map(|hold| hold.direct), Some(true));
    assert_eq!(scene.ok("alice", reserve("t", 5)).await, Outcome::AlreadyClosed);
    assert_eq!(scene.ok("alice", debit).await, Outcome::Replayed);
    scene.finish().await;
}

/// What is not final is listed by number, in pages, for its account alone.
pub async fn pending_holds_are_listed_by_number_in_pages(factory: &mut dyn StoreFactory) {
    let mut scene = Scene::with(factory, 100).await;
    scene.open("bob", 100).await;
    for name in ["a", "b", "c", "d", "e"] {
        scene.ok("alice", reserve(name, 5)).await;
        scene.ok("bob", reserve(name, 5)).await;
    }
    scene.ok("alice", settle("b", 5)).await;
    scene.ok("alice", Action::Abandon { hold: hold_id("d") }).await;
    let names = async |after, limit| {
        let page = scene.store.holds(&id("alice"), after, limit).await.expect("holds are read");
        page.iter().map(|hold| (hold.number, hold.id.request().as_str().to_owned())).collect::<Vec<_>>()
    };
    let all = names(0, 10).await;
    assert_eq!(all.iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>(), ["a", "c", "d", "e"]);
    let mut paged = names(0, 3).await;
    let last = paged.last().map_or(0, |(number, _)| *number);
    paged.extend(names(last, 3).await);
    assert_eq!(paged, all);
    assert_eq!(names(0, 0).await, []);
    scene.finish().await;
}

/// Below, at and above the hold, late, up and down: what is booked is what the reference books.
pub async fn every_way_to_settle_is_booked(factory: &mut dyn StoreFactory) {
    let mut scene = Scene::new(factory).await;
    for overrun in [Overrun::Debt, Overrun::CapToAvailable, Overrun::CapToHold] {
        let name = format!("{overrun:?}");
        scene.open(&name, 20).await;
        let policy = Policy { overrun, lease: LEASE, on_lapse: OnLapse::CaptureHeld };
        scene.ok(&name, Action::SetLimits { limits: Limits::default(), policy }).await;
        for (hold, cost) in [("below", 3), ("at", 5), ("above", 15)] {
            scene.ok(&name, reserve(hold, 5)).await;
            scene.ok(&name, settle(hold, cost)).await;
        }
        scene.ok(&name, money("more", 30)).await;
        scene.ok(&name, correct("above", "down", 15, 2)).await;
        scene.ok(&name, correct("above", "up", 2, 40)).await;
        let balance = scene.account(&name).await.map(|account| account.balance());
        assert!(balance.is_some_and(|balance| balance.held.is_zero()), "{name}");
    }
    scene.finish().await;
}

/// A key done before is a replay with the same arguments and refused with others, for every kind of operation.
pub async fn operation_is_done_once_under_its_key(factory: &mut dyn StoreFactory) {
    let mut scene = Scene::with(factory, 100).await;
    scene.ok("alice", reserve("h", 5)).await;
    scene.ok("alice", settle("h", 5)).await;
    let withdraw = |units| Action::Withdraw { key: key("k"), amount: amount(units), metadata: None };
    let pairs = [
        (money("d", 1), money("d", 2)),
        (withdraw(1), withdraw(2)),
        (refund("h", "r", 1), refund("h", "r", 2)),
        (correct("h", "c", 5, 4), correct("h", "c", 5, 3)),
    ];
    for (once, otherwise) in pairs {
        assert_eq!(scene.ok("alice", once.clone()).await, Outcome::Ok);
        assert_eq!(scene.ok("alice", once).await, Outcome::Replayed);
        assert_eq!(scene.refused("alice", otherwise).await, Refusal::KeyReused);
    }
    scene.finish().await;
}

/// Within one batch the second use of a key is a replay too.
pub async fn operation_key_of_a_batch_is_known_to_the_rest_of_it(factory: &mut dyn StoreFactory) {
    let mut scene = Scene::with(factory, 0).await;
    let commands = [money("d", 3), money("d", 3), money("d", 4)].map(|action| command("alice", action));
    let answers: Vec<_> =
        scene.batch(Batch::new(commands.to_vec())).await.into_iter().map(|reply| reply.answer).collect();
    assert_eq!(answers, [Ok(Outcome::Ok), Ok(Outcome::Replayed), Err(Refusal::KeyReused)]);
    assert_eq!(scene.account("alice").await.map(|account| account.books.available.minor_units()), Some(3));
    scene.finish().await;
}

/// The same key and the same hold name mean something else in another account.
pub async fn keys_of_one_account_mean_nothing_in_another(factory: &mut dyn StoreFactory) {
    let mut scene = Scene::with(factory, 10).await;
    scene.open("bob", 10).await;
    for account in ["alice", "bob"] {
        assert_eq!(scene.ok(account, money("d", 1)).await, Outcome::Ok);
        assert_eq!(scene.ok(account, reserve("h", 2)).await, Outcome::Created);
        assert_eq!(scene.ok(account, settle("h", 2)).await, Outcome::Ok);
    }
    scene.finish().await;
}

/// The same text as a hold's name, a money key, a refund's and a correction's, of two holds: six different keys.
pub async fn classes_of_keys_are_apart(factory: &mut dyn StoreFactory) {
    let mut scene = Scene::with(factory, 10).await;
    for hold in ["k", "l"] {
        scene.ok("alice", reserve(hold, 2)).await;
        scene.ok("alice", settle(hold, 2)).await;
    }
    let all =
        [money("k", 1), refund("k", "k", 1), refund("l", "k", 1), correct("k", "k", 2, 1), correct("l", "k", 2, 1)];
    for action in all {
        assert_eq!(scene.ok("alice", action).await, Outcome::Ok);
    }
    scene.finish().await;
}
