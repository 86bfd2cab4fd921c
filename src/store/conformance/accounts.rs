//! Accounts.

use std::time::Duration;

use super::StoreFactory;
use super::scene::{LEASE, Scene, amount, command, id, key, money, settle};
use crate::kernel::{Action, Batch, Outcome, Refusal};
use crate::model::{
    Against, Asset, Lease, Limits, MINOR_UNITS_MAX, OnLapse, Overrun, Policy, SignedAmount, Status, Terms,
};

/// What was never opened is nowhere, and a command to it is refused without a trace.
pub async fn unknown_account_has_nothing(factory: &mut dyn StoreFactory) {
    let mut scene = Scene::new(factory).await;
    let nobody = id("nobody");
    assert_eq!(scene.refused("nobody", money("d", 1)).await, Refusal::UnknownAccount);
    assert_eq!(scene.account("nobody").await, None);
    assert_eq!(scene.hold("nobody", "h").await, None);
    assert_eq!(scene.store.holds(&nobody, 0, 10).await.expect("holds are read"), []);
    assert_eq!(scene.store.journal(&nobody, 0, 10).await.expect("a journal is read"), []);
    assert!(scene.rows(scene.store.bucket(&nobody)).await.accounts.is_empty());
    scene.finish().await;
}

/// An account reads back as it was opened, under its name alone.
pub async fn opened_account_is_found_by_its_name(factory: &mut dyn StoreFactory) {
    let mut scene = Scene::new(factory).await;
    let asset = Asset::new("POINTS", 0).expect("an asset");
    let name = format!("{}.:@/+=-_", "Aa0".repeat(39));
    let policy = Policy::default();
    scene.ok(&name, Action::Open { asset, limits: Limits::default(), policy }).await;
    let account = scene.account(&name).await.expect("the account is there");
    assert_eq!((account.id.as_str(), account.asset, account.seq), (name.as_str(), asset, 1));
    assert_eq!(scene.account(&name.to_lowercase()).await, None, "names are not folded");
    scene.finish().await;
}

/// A refused `open` leaves no account, no number and no entry.
pub async fn refused_open_leaves_nothing(factory: &mut dyn StoreFactory) {
    let mut scene = Scene::new(factory).await;
    let limits = Limits { credit: amount(MINOR_UNITS_MAX), ..Limits::default() };
    let open = Action::Open { asset: Asset::USD, limits, policy: Policy::default() };
    assert_eq!(scene.refused("alice", open).await, Refusal::TotalTooLarge);
    assert_eq!(scene.account("alice").await, None);
    scene.open("alice", 0).await;
    assert_eq!(scene.account("alice").await.map(|account| account.number), Some(1));
    scene.finish().await;
}

/// Every limit, the policy and the status read back.
pub async fn account_row_is_kept_whole(factory: &mut dyn StoreFactory) {
    let mut scene = Scene::with(factory, 5).await;
    let limits = Limits {
        credit: amount(1),
        debt: Some(amount(2)),
        open_holds: Some(u32::MAX),
        hold: Some(amount(4)),
        held: Some(amount(5)),
        ceiling: Some(amount(MINOR_UNITS_MAX)),
    };
    let lease = Lease {
        ttl: Duration::from_micros(1),
        grace: Duration::ZERO,
        late: Duration::from_secs(10 * 365 * 24 * 60 * 60),
    };
    let policy = Policy { on_lapse: OnLapse::CaptureHeld, overrun: Overrun::CapToHold, lease };
    scene.ok("alice", Action::SetLimits { limits, policy }).await;
    scene.ok("alice", Action::SetStatus { status: Status::Frozen, reason: "why not".into() }).await;
    let account = scene.account("alice").await.expect("the account is there");
    assert_eq!((account.limits, account.policy, account.status), (limits, policy, Status::Frozen));
    assert_eq!(scene.ok("alice", Action::SetLimits { limits, policy }).await, Outcome::Replayed);
    scene.finish().await;
}

/// Totals of ±2^59 minor units are kept, and one more is refused and leaves no trace.
pub async fn account_keeps_totals_at_the_ends_of_their_range(factory: &mut dyn StoreFactory) {
    let mut scene = Scene::with(factory, MINOR_UNITS_MAX / 2).await;
    scene.open("bob", 0).await;
    let direct = |units| match settle("h", units) {
        Action::Settle { hold, measured, .. } => Action::Settle {
            hold,
            measured,
            or_debit: Some(Terms::default().into()),
            above_ceiling: false,
            metadata: None,
        },
        other => other,
    };
    scene.ok("bob", direct(MINOR_UNITS_MAX)).await;
    let bob = scene.account("bob").await.expect("the account is there");
    assert_eq!(bob.books.available.minor_units(), -MINOR_UNITS_MAX);
    assert_eq!(bob.books.revenue.minor_units(), MINOR_UNITS_MAX);
    let chargeback = |units| Action::Adjust {
        key: key("chargeback"),
        amount: SignedAmount::new(units).expect("within the range"),
        against: Against::Funding,
        reason: "chargeback".into(),
        metadata: None,
    };
    assert_eq!(scene.refused("bob", chargeback(-1)).await, Refusal::TotalTooLarge);
    scene.finish().await;
}

/// Accounts are listed by number, in pages that begin after any number.
pub async fn accounts_are_listed_by_number_in_pages(factory: &mut dyn StoreFactory) {
    let mut scene = Scene::new(factory).await;
    let bucket = scene.store.bucket(&id("n0"));
    let names: Vec<_> =
        (0..200).map(|n| format!("n{n}")).filter(|n| scene.store.bucket(&id(n)) == bucket).take(7).collect();
    for name in &names {
        scene.open(name, 1).await;
    }
    let mut seen = Vec::new();
    let mut after = 0;
    loop {
        let page = scene.store.accounts(bucket, after, 3).await.expect("accounts are read");
        assert!(page.len() <= 3, "a page is not longer than asked");
        let Some(last) = page.last() else { break };
        after = last.number;
        seen.extend(page.into_iter().map(|account| account.id.as_str().to_owned()));
    }
    assert_eq!(seen, names);
    assert_eq!(scene.store.accounts(bucket, 0, 0).await.expect("accounts are read"), []);
    assert_eq!(scene.store.accounts(bucket, i64::MAX, 3).await.expect("accounts are read"), []);
    scene.finish().await;
}

/// An account's bucket exists and stays the same once the account is opened.
pub async fn bucket_of_an_account_never_changes(factory: &mut dyn StoreFactory) {
    let mut scene = Scene::new(factory).await;
    for name in ["a", "b", "c"] {
        let before = scene.store.bucket(&id(name));
        assert!(before < scene.store.buckets(), "bucket {before} of {}", scene.store.buckets());
        let policy = Policy { lease: LEASE, ..Policy::default() };
        let open = Action::Open { asset: Asset::USD, limits: Limits::default(), policy };
        scene.batch(Batch::new(vec![command(name, open)])).await;
        assert_eq!(scene.store.bucket(&id(name)), before);
    }
    scene.finish().await;
}
