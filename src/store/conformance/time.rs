//! What becomes due, pauses, and overdue holds that make room.

use std::time::Duration;

use super::StoreFactory;
use super::scene::{LEASE, OVERDUE, Scene, command, hold_id, id, lapse, report, reserve, seal, settle};
use crate::kernel::{Action, Batch, Outcome, Refusal};
use crate::model::{Asset, HoldState, Limits, OnLapse, Policy};

/// Which holds are due, by name.
async fn due(scene: &Scene<'_>, limit: u32) -> Vec<String> {
    let bucket = scene.store.bucket(&id("alice"));
    let due = scene.store.due(bucket, limit).await.expect("what is due is read");
    due.holds.iter().map(|due| format!("{} {} {:?}", due.account, due.hold, due.state)).collect()
}

/// Open holds are due when lease and grace are over, the oldest first, as many as asked for; closed ones never are.
pub async fn due_holds_are_shown_oldest_first(factory: &mut dyn StoreFactory) {
    let mut scene = Scene::with(factory, 100).await;
    for name in ["first", "second", "closed", "third"] {
        scene.ok("alice", reserve(name, 5)).await;
        scene.pass(Duration::from_millis(10)).await;
    }
    scene.ok("alice", settle("closed", 5)).await;
    assert_eq!(due(&scene, 10).await, [""; 0]);
    scene.pass(OVERDUE).await;
    let all = ["alice first#1 Open", "alice second#1 Open", "alice third#1 Open"];
    assert_eq!(due(&scene, 10).await, all);
    assert_eq!(due(&scene, 2).await, all[..2]);
    scene.finish().await;
}

/// A renewal leaves the due time alone; the sweeper comes by too early and moves it.
pub async fn hold_that_was_renewed_is_looked_at_again_later(factory: &mut dyn StoreFactory) {
    let mut scene = Scene::with(factory, 100).await;
    scene.ok("alice", reserve("h", 5)).await;
    scene.ok("alice", Action::Renew { hold: hold_id("h"), ttl: Some(Duration::from_secs(3_600)) }).await;
    scene.pass(OVERDUE).await;
    assert_eq!(due(&scene, 10).await, ["alice h#1 Open"]);
    assert_eq!(scene.ok("alice", lapse("h")).await, Outcome::NotDue);
    assert_eq!(due(&scene, 10).await, [""; 0]);
    assert_eq!(scene.hold("alice", "h").await.map(|hold| hold.state), Some(HoldState::Open));
    scene.finish().await;
}

/// A lapse is due again when its late window is over, and never after it was sealed.
pub async fn lapsed_hold_is_due_when_its_late_window_is_over(factory: &mut dyn StoreFactory) {
    let mut scene = Scene::with(factory, 100).await;
    scene.ok("alice", reserve("h", 5)).await;
    scene.pass(OVERDUE).await;
    assert_eq!(scene.ok("alice", lapse("h")).await, Outcome::Lapsed);
    assert_eq!(due(&scene, 10).await, [""; 0]);
    scene.pass(LEASE.late).await;
    assert_eq!(due(&scene, 10).await, ["alice h#1 Lapsed"]);
    assert_eq!(scene.ok("alice", seal("h")).await, Outcome::Sealed);
    scene.pass(LEASE.late).await;
    assert_eq!(due(&scene, 10).await, [""; 0]);
    scene.finish().await;
}

/// A pause comes with a batch, also with an empty one; it ends by itself, and a shorter one does not end it early.
pub async fn nothing_is_due_while_the_bucket_is_paused(factory: &mut dyn StoreFactory) {
    let mut scene = Scene::with(factory, 100).await;
    scene.ok("alice", reserve("h", 5)).await;
    scene.pass(OVERDUE).await;
    assert_eq!(due(&scene, 10).await.len(), 1);
    scene.batch(Batch::new(Vec::new()).with_pause(Some(Duration::from_secs(2)))).await;
    let bucket = scene.store.bucket(&id("alice"));
    if bucket == 0 {
        assert_eq!(due(&scene, 10).await, [""; 0], "an empty batch pauses");
    }
    let pause = Some(Duration::from_secs(3));
    scene.batch(Batch::new(vec![command("alice", report("h", 1))]).with_pause(pause)).await;
    let shorter = Some(Duration::from_millis(1));
    scene.batch(Batch::new(vec![command("alice", report("h", 2))]).with_pause(shorter)).await;
    assert_eq!(due(&scene, 10).await, [""; 0], "a shorter pause does not end a longer one");
    assert_eq!(scene.ok("alice", lapse("h")).await, Outcome::Lapsed, "a command that is sent is decided all the same");
    scene.ok("alice", reserve("i", 5)).await;
    scene.pass(OVERDUE + Duration::from_secs(1)).await;
    assert!(due(&scene, 10).await.contains(&"alice i#1 Open".to_owned()), "the pause ends by itself");
    scene.finish().await;
}

/// A reserve that falls short lapses overdue holds of its account, as many as it takes, in its own transaction.
pub async fn overdue_holds_make_room_for_a_reserve(factory: &mut dyn StoreFactory) {
    let mut scene = Scene::new(factory).await;
    let policy = Policy { on_lapse: OnLapse::Release, lease: LEASE, ..Policy::default() };
    scene.ok("alice", Action::Open { asset: Asset::USD, limits: Limits::default(), policy }).await;
    scene.ok("alice", super::scene::money("d", 300)).await;
    let many = (0..300).map(|n| command("alice", reserve(&format!("h{n}"), 1)));
    scene.batch(Batch::new(many.collect())).await;
    assert!(matches!(scene.refused("alice", reserve("early", 1)).await, Refusal::Denied(_)));
    scene.pass(OVERDUE).await;
    assert_eq!(scene.ok("alice", reserve("some", 7)).await, Outcome::Created);
    assert_eq!(scene.account("alice").await.map(|account| account.lapsed_holds), Some(7));
    assert!(matches!(scene.refused("alice", reserve("denied", 400)).await, Refusal::Denied(_)));
    assert_eq!(scene.account("alice").await.map(|account| account.lapsed_holds), Some(7), "a denial keeps nothing");
    // Two that fall short in one batch.
    let both = vec![command("alice", reserve("b1", 100)), command("alice", reserve("b2", 193))];
    let replies = scene.batch(Batch::new(both)).await;
    assert!(replies.iter().all(|reply| reply.answer == Ok(Outcome::Created)), "{replies:?}");
    scene.finish().await;
}

/// What one account is short of does not lapse another's holds.
pub async fn overdue_holds_of_another_account_are_left_alone(factory: &mut dyn StoreFactory) {
    let mut scene = Scene::with(factory, 5).await;
    scene.open("bob", 5).await;
    scene.ok("alice", reserve("h", 5)).await;
    scene.ok("bob", reserve("h", 5)).await;
    scene.pass(OVERDUE).await;
    assert_eq!(scene.ok("bob", reserve("i", 5)).await, Outcome::Created);
    assert_eq!(scene.hold("alice", "h").await.map(|hold| hold.state), Some(HoldState::Open));
    assert_eq!(scene.hold("bob", "h").await.map(|hold| hold.state), Some(HoldState::Lapsed));
    scene.finish().await;
}
