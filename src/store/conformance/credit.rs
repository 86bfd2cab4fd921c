//! Lots, budgets and their windows.

use std::sync::Arc;
use std::time::Duration;

use super::StoreFactory;
use super::scene::{OVERDUE, Scene, amount, command, hold_id, id, key, lapse, money, refund, reserve, settle};
use crate::kernel::{Action, Batch, Outcome, Refusal};
use crate::model::{
    CallToken, Cap, LotClass, LotTerms, MINOR_UNITS_MAX, Metric, ModelName, Scope, Terms, Timestamp, Weekday, Window,
    Zone,
};

fn grant(name: &str, units: i64, terms: LotTerms) -> Action {
    Action::Grant { key: key(name), amount: amount(units), terms: Arc::new(terms), metadata: None }
}

fn promotional(expiry: Option<Timestamp>) -> LotTerms {
    LotTerms { class: LotClass::Promotional, expiry, ..LotTerms::default() }
}

fn scope(name: &str) -> Scope {
    Scope::new(name).expect("a scope")
}

fn zone(name: &str) -> Zone {
    name.parse().expect("a zone")
}

fn set(scope: Option<Scope>, window: Window, cap: Cap) -> Action {
    Action::SetBudget { scope, window, cap }
}

/// A reserve that counts towards scopes.
fn reserve_in(name: &str, units: i64, scopes: &[&str]) -> Action {
    let scopes = scopes.iter().map(|name| scope(name)).collect();
    let terms = Terms { amount: amount(units), tokens: 7, scopes, ..Terms::default() };
    let token = CallToken::default();
    Action::Reserve { hold: hold_id(name), terms: Arc::new(terms), lease: None, token, metadata: None }
}

/// Everything a lot is made of reads back, and spent lots are no longer shown.
pub async fn lot_row_is_kept_whole(factory: &mut dyn StoreFactory) {
    let mut scene = Scene::with(factory, 0).await;
    let terms = LotTerms {
        class: LotClass::Promotional,
        expiry: Some(Timestamp::from_micros(i64::MAX)),
        priority: i32::MIN,
        models: ["a", "openai/gpt-4o"].map(|name| ModelName::new(name).expect("a model")).to_vec(),
    };
    scene.ok("alice", grant("g", MINOR_UNITS_MAX / 4, terms.clone())).await;
    scene.ok("alice", grant("h", 5, LotTerms { priority: i32::MAX, ..LotTerms::default() })).await;
    let lots = scene.store.lots(&id("alice")).await.expect("lots are read");
    assert_eq!(
        lots.first().map(|lot| (&*lot.terms, lot.amount, lot.number)),
        Some((&terms, amount(MINOR_UNITS_MAX / 4), 1))
    );
    scene.ok("alice", reserve("spent", 5)).await;
    scene.ok("alice", settle("spent", 5)).await;
    let numbers = async |account: &str| {
        let lots = scene.store.lots(&id(account)).await.expect("lots are read");
        lots.iter().map(|lot| lot.number).collect::<Vec<_>>()
    };
    assert_eq!(numbers("alice").await, [1]);
    assert_eq!(numbers("bob").await, [0; 0]);
    scene.finish().await;
}

/// Granted, held, spent, returned, forfeited, renewed, paid out and expired: every row is what the reference's is.
pub async fn every_way_of_a_lot_is_kept(factory: &mut dyn StoreFactory) {
    let mut scene = Scene::with(factory, 100).await;
    let now = scene.run("alice", money("now", 1)).await.at;
    let soon = Some(now.saturating_add(Duration::from_secs(2)));
    let paid = LotTerms { priority: 1, ..LotTerms::default() };
    scene.ok("alice", grant("promo", 20, promotional(soon))).await;
    scene.ok("alice", grant("paid", 20, LotTerms { expiry: soon, ..paid.clone() })).await;
    scene.ok("alice", grant("kept", 20, paid)).await;
    for name in ["spent", "half", "open", "lapsed"] {
        scene.ok("alice", reserve(name, 12)).await;
    }
    scene.ok("alice", settle("spent", 12)).await;
    scene.ok("alice", settle("half", 5)).await;
    scene.pass(OVERDUE).await;
    scene.ok("alice", Action::Extend { hold: hold_id("open"), target: amount(30), partial: false }).await;
    scene.ok("alice", lapse("lapsed")).await;
    scene.ok("alice", settle("lapsed", 9)).await;
    scene.ok("alice", refund("spent", "r", 12)).await;
    scene.ok("alice", settle("open", 3)).await;
    scene.ok("alice", Action::Withdraw { key: key("w"), amount: amount(50), metadata: None }).await;
    let account = scene.account("alice").await.expect("the account is there");
    assert!(!account.books.promotion.is_zero() && !account.books.breakage.is_zero(), "something of each was forfeited");
    assert!(account.last_lot > 3, "something was renewed");
    scene.finish().await;
}

/// Expired lots with money in them are due, the first to expire first, and no longer once they are written off.
pub async fn expired_lots_are_due(factory: &mut dyn StoreFactory) {
    let mut scene = Scene::with(factory, 10).await;
    let now = scene.run("alice", money("now", 1)).await.at;
    let at = |millis| Some(now.saturating_add(Duration::from_millis(millis)));
    for (name, expiry) in [("later", at(1_900)), ("sooner", at(1_500)), ("never", None), ("far", at(3_600_000))] {
        scene.ok("alice", grant(name, 5, promotional(expiry))).await;
    }
    let bucket = scene.store.bucket(&id("alice"));
    let due = async |scene: &Scene<'_>, limit| {
        let due = scene.store.due(bucket, limit).await.expect("what is due is read");
        due.lots.iter().map(|due| (due.account.as_str().to_owned(), due.lot)).collect::<Vec<_>>()
    };
    assert_eq!(due(&scene, 10).await, []);
    assert_eq!(scene.ok("alice", Action::ExpireLot { lot: 1 }).await, Outcome::NotDue);
    scene.pass(Duration::from_secs(2)).await;
    let alices = |lot| ("alice".to_owned(), lot);
    assert_eq!(due(&scene, 10).await, [alices(2), alices(1)]);
    assert_eq!(due(&scene, 1).await, [alices(2)]);
    assert_eq!(scene.ok("alice", Action::ExpireLot { lot: 2 }).await, Outcome::Expired);
    assert_eq!(scene.ok("alice", Action::ExpireLot { lot: 2 }).await, Outcome::NoOp);
    assert_eq!(due(&scene, 10).await, [alices(1)]);
    scene.ok("alice", reserve("h", 20)).await;
    assert_eq!(due(&scene, 10).await, [], "a reserve runs into it and writes it off");
    scene.finish().await;
}

/// Budgets of every window and every cap read back, by number, in pages; changed and removed ones too.
pub async fn budget_rows_are_kept_whole(factory: &mut dyn StoreFactory) {
    let mut scene = Scene::with(factory, 10).await;
    let month = Window::month(31, zone("Pacific/Apia")).expect("a window");
    let every = Window::every(Duration::from_micros(1_000_001)).expect("a window");
    let budgets = [
        (None, Window::TOTAL, Cap::Spend(amount(MINOR_UNITS_MAX / 2))),
        (Some(scope("key:prod")), Window::day(zone("America/Argentina/ComodRivadavia")), Cap::Requests(0)),
        (Some(scope("key:prod")), Window::week(Weekday::Sunday, zone("UTC")), Cap::Tokens(1)),
        (Some(scope("key:prod")), month, Cap::Spend(amount(0))),
        (Some(scope(&"x".repeat(128))), every, Cap::Tokens(u64::MAX >> 6)),
    ];
    for (scoped, window, cap) in budgets.clone() {
        scene.ok("alice", set(scoped, window, cap)).await;
    }
    let read = async |scene: &Scene<'_>, after, limit| {
        let page = scene.store.budgets(&id("alice"), after, limit).await.expect("budgets are read");
        page.iter().map(|budget| (budget.scope.clone(), budget.window.clone(), budget.cap)).collect::<Vec<_>>()
    };
    assert_eq!(read(&scene, 0, 10).await, budgets);
    assert_eq!([read(&scene, 0, 2).await, read(&scene, 2, 9).await].concat(), budgets);
    assert_eq!(read(&scene, 5, 10).await, []);
    assert_eq!(scene.store.budgets(&id("bob"), 0, 10).await.expect("budgets are read"), []);
    scene.ok("alice", set(None, Window::TOTAL, Cap::Spend(amount(3)))).await;
    assert_eq!(scene.ok("alice", set(None, Window::TOTAL, Cap::Spend(amount(3)))).await, Outcome::Replayed);
    let remove = Action::RemoveBudget { scope: None, window: Window::TOTAL, metric: Metric::Spend };
    scene.ok("alice", remove).await;
    let first = scene.store.budgets(&id("alice"), 0, 1).await.expect("budgets are read");
    assert_eq!(first.first().map(|budget| (budget.active, budget.version)), Some((false, 3)));
    scene.finish().await;
}

/// A budget binds the requests of its scope alone, and the account's binds all.
pub async fn budgets_of_other_scopes_and_accounts_are_left_alone(factory: &mut dyn StoreFactory) {
    let mut scene = Scene::with(factory, 1_000).await;
    scene.open("bob", 1_000).await;
    scene.ok("alice", set(Some(scope("key:a")), Window::TOTAL, Cap::Spend(amount(10)))).await;
    scene.ok("alice", set(None, Window::TOTAL, Cap::Requests(3))).await;
    scene.ok("alice", reserve_in("a1", 10, &["key:a"])).await;
    let denied = scene.refused("alice", reserve_in("a2", 1, &["key:a", "key:b"])).await;
    assert!(matches!(&denied, Refusal::Denied(denial) if denial.budget.as_ref().is_some_and(|own| own.number == 1)));
    scene.ok("alice", reserve_in("b1", 100, &["key:b"])).await;
    scene.ok("alice", reserve_in("n1", 100, &[])).await;
    let denied = scene.refused("alice", reserve_in("n2", 1, &[])).await;
    assert!(matches!(&denied, Refusal::Denied(denial) if denial.budget.as_ref().is_some_and(|own| own.number == 2)));
    for name in ["1", "2", "3", "4"] {
        scene.ok("bob", reserve_in(name, 20, &["key:a"])).await;
    }
    scene.finish().await;
}

/// What a budget counts is kept by window, in order, in pages, and goes on after the window is over.
pub async fn windows_are_counted_apart(factory: &mut dyn StoreFactory) {
    let mut scene = Scene::with(factory, 1_000).await;
    let second = Window::every(Duration::from_secs(1)).expect("a window");
    scene.ok("alice", set(None, second, Cap::Spend(amount(1_000)))).await;
    scene.ok("alice", set(None, Window::TOTAL, Cap::Tokens(1_000))).await;
    for name in ["a", "b", "c"] {
        scene.ok("alice", reserve_in(name, 10, &[])).await;
        scene.pass(Duration::from_millis(1_100)).await;
    }
    scene.ok("alice", settle("a", 4)).await;
    scene.ok("alice", refund("a", "r", 1)).await;
    let windows = async |budget, from, limit| {
        scene.store.windows(&id("alice"), budget, from, limit).await.expect("windows are read")
    };
    let all = windows(1, Timestamp::from_micros(i64::MIN), 10).await;
    assert_eq!(all.iter().map(|window| (window.used, window.held)).collect::<Vec<_>>(), [(3, 0), (0, 10), (0, 10)]);
    assert!(all.is_sorted_by_key(|window| window.key.start), "in order");
    let later = all.get(1).map_or_else(Timestamp::default, |window| window.key.start);
    assert_eq!(windows(1, later, 1).await.as_slice(), all.get(1..2).unwrap_or_default());
    let total = windows(2, Timestamp::from_micros(i64::MIN), 10).await;
    assert_eq!(total.iter().map(|window| (window.used, window.held)).collect::<Vec<_>>(), [(7, 14)]);
    assert_eq!(windows(3, Timestamp::from_micros(i64::MIN), 10).await, []);
    scene.finish().await;
}

/// Lots and budgets that a batch makes are known to the rest of it, for several accounts.
pub async fn lots_and_budgets_of_a_batch_are_known_to_the_rest_of_it(factory: &mut dyn StoreFactory) {
    let mut scene = Scene::with(factory, 10).await;
    let bucket = scene.store.bucket(&id("alice"));
    let other = (0..200).map(|n| format!("n{n}")).find(|n| scene.store.bucket(&id(n)) == bucket).expect("an account");
    scene.open(&other, 10).await;
    for (name, budget) in [("alice", 25), (other.as_str(), 15)] {
        scene.ok(name, grant("before", 10, promotional(None))).await;
        scene.ok(name, set(Some(scope("key:a")), Window::TOTAL, Cap::Spend(amount(budget)))).await;
    }
    let mut commands = Vec::new();
    for name in ["alice", other.as_str()] {
        commands.extend([
            command(name, grant("g", 10, promotional(None))),
            command(name, reserve_in("h", 15, &["key:a"])),
            command(name, settle("h", 12)),
            command(name, set(None, Window::TOTAL, Cap::Requests(2))),
            command(name, reserve_in("i", 10, &["key:a"])),
            command(name, reserve_in("j", 0, &[])),
            command(name, reserve_in("k", 0, &[])),
        ]);
    }
    let replies = scene.batch(Batch::new(commands)).await;
    let accepted: Vec<_> = replies.iter().map(|reply| reply.answer.is_ok()).collect();
    let expected = [true, true, true, true, true, true, false, true, true, true, true, false, true, true];
    assert_eq!(accepted, expected);
    scene.finish().await;
}

/// Lots, takes, budgets and windows are what they were after closing and opening again.
pub async fn lots_and_budgets_outlive_the_store(factory: &mut dyn StoreFactory) {
    let mut scene = Scene::with(factory, 10).await;
    scene.ok("alice", grant("g", 10, promotional(None))).await;
    scene.ok("alice", set(None, Window::TOTAL, Cap::Spend(amount(15)))).await;
    scene.ok("alice", reserve("h", 12)).await;
    scene.store.close().await.expect("the store is closed");
    let Some(store) = scene.factory.reopen().await.expect("the store is opened again") else {
        return;
    };
    scene.store = store;
    assert!(matches!(scene.refused("alice", reserve("i", 4)).await, Refusal::Denied(_)));
    scene.ok("alice", settle("h", 11)).await;
    scene.ok("alice", refund("h", "r", 5)).await;
    scene.ok("alice", reserve("i", 9)).await;
    let lots = scene.store.lots(&id("alice")).await.expect("lots are read");
    assert_eq!(lots.iter().map(|lot| lot.free).collect::<Vec<_>>(), [amount(5)]);
    scene.finish().await;
}
