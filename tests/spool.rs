//! The spool: what was consumed is never lost because the store cannot be reached, and nothing else waits for it.

#![cfg(feature = "testing")]

mod common;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use prepaid::model::{HoldState, LedgerId};
use prepaid::store::{MemoryStore, StoreErrorKind};
use prepaid::testing::{CommitFault, FaultRates, FaultyStore, ManualClock};
use prepaid::{AccountHandle, Amount, ErrorKind, Ledger, LedgerBuilder, Outcome};

use common::one::{amount, signed};

struct Scene {
    store: Arc<FaultyStore>,
    folder: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        tokio::time::pause();
        Self { store: store(LedgerId([7; 16])), folder: tempfile::tempdir().unwrap() }
    }

    fn builder(&self) -> LedgerBuilder {
        Ledger::builder().sweep_every(None).spool(self.folder.path())
    }

    fn open(&self) -> Ledger {
        self.builder().open_store(self.store.clone()).unwrap()
    }

    /// From now on no commit reaches the store, for longer than anybody should wait.
    async fn outage(&self, alice: &AccountHandle) {
        self.store.seeded(1, FaultRates { before: 1_000, ..FaultRates::default() });
        let error = alice.deposit("as-it-goes-down", amount(1)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }

    fn recovery(&self) {
        self.store.seeded(1, FaultRates::default());
    }

    fn spooled_lines(&self) -> usize {
        let files = fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().path());
        let spools = files.filter(|path| path.extension().is_some_and(|ending| ending == "spool"));
        spools.map(|path| fs::read_to_string(path).unwrap().lines().count()).sum()
    }
}

fn store(ledger: LedgerId) -> Arc<FaultyStore> {
    Arc::new(FaultyStore::new(Arc::new(MemoryStore::new(ledger, Arc::new(ManualClock::default())))))
}

async fn funded(ledger: &Ledger, requests: &[&str]) -> AccountHandle {
    let alice = ledger.account("alice").unwrap();
    alice.open().await.unwrap();
    alice.deposit("opening", amount(100)).await.unwrap();
    for request in requests {
        let _ = alice.reserve(*request, amount(10)).await.unwrap().created().unwrap().detach();
    }
    alice
}

/// Waits until the spool is empty, on paused time.
async fn landed(scene: &Scene) {
    for _ in 0..1_000 {
        if scene.spooled_lines() == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{} lines are left in the spool", scene.spooled_lines());
}

#[tokio::test]
async fn settlements_and_releases_are_spooled_and_everything_else_fails_at_once() {
    let scene = Scene::new();
    let ledger = scene.open();
    let alice = funded(&ledger, &["a", "b", "c"]).await;
    scene.outage(&alice).await;
    let began = tokio::time::Instant::now();
    assert_eq!(alice.settle("a", amount(7)).await.unwrap_err().kind(), ErrorKind::Spooled);
    assert_eq!(alice.release("b", false).await.unwrap_err().kind(), ErrorKind::Spooled);
    assert_eq!(alice.reserve("d", amount(1)).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(alice.report("c", amount(1)).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(alice.deposit("x", amount(1)).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(began.elapsed() < Duration::from_millis(100), "nobody is kept waiting in an outage: {:?}", began.elapsed());
    assert_eq!(scene.spooled_lines(), 2);

    scene.recovery();
    landed(&scene).await;
    assert_eq!(alice.settle("a", amount(7)).await.unwrap().outcome, Outcome::Replayed);
    assert_eq!(alice.hold("b").await.unwrap().unwrap().state, HoldState::Released);
    assert_eq!(alice.balance().await.unwrap().available, signed(100 - 7 - 10));
    let audit = ledger.audit().await.unwrap();
    assert!(audit.is_clean(), "{audit}");
}

#[tokio::test]
async fn what_was_spooled_lands_after_a_restart() {
    let scene = Scene::new();
    let ledger = scene.open();
    let alice = funded(&ledger, &["a"]).await;
    scene.outage(&alice).await;
    let settle = alice.settle("a", amount(7)).metadata(prepaid::model::Metadata::from_json("{\"n\":1}").unwrap());
    assert_eq!(settle.await.unwrap_err().kind(), ErrorKind::Spooled);
    drop((alice, ledger));
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(scene.spooled_lines(), 1);

    let ledger = scene.open();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(scene.spooled_lines(), 1, "the store is still out");
    scene.recovery();
    landed(&scene).await;
    let alice = ledger.account("alice").unwrap();
    let entry = alice.journal(0, 100).await.unwrap().pop().unwrap();
    assert_eq!((entry.kind.name(), entry.metadata.unwrap().as_bytes()), ("settle", b"{\"n\":1}".as_slice()));
    assert_eq!(alice.hold("a").await.unwrap().unwrap().captured, amount(7));
}

/// Tenants with a ledger each have customers of the same name.
#[tokio::test]
async fn ledgers_that_share_a_folder_leave_each_other_alone() {
    let scene = Scene::new();
    let other = store(LedgerId([8; 16]));
    let open_other = || scene.builder().open_store(other.clone()).unwrap();
    let stranger = open_other();
    funded(&stranger, &[]).await;
    let ledger = scene.open();
    let alice = funded(&ledger, &["a", "b"]).await;
    scene.outage(&alice).await;
    assert_eq!(alice.settle("a", amount(7)).await.unwrap_err().kind(), ErrorKind::Spooled);
    assert_eq!(alice.settle("b", amount(7)).or_debit().await.unwrap_err().kind(), ErrorKind::Spooled);
    drop((alice, ledger, stranger));
    tokio::time::sleep(Duration::from_secs(5)).await;
    scene.recovery();

    let stranger = open_other();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let ledger = scene.open();
    landed(&scene).await;
    assert!(!scene.folder.path().join("dead-letters.jsonl").exists(), "nobody was refused");
    let balance = async |ledger: &Ledger| ledger.account("alice").unwrap().balance().await.unwrap().available;
    assert_eq!((balance(&stranger).await, balance(&ledger).await), (signed(100), signed(100 - 7 - 7)));
}

#[tokio::test]
async fn file_that_is_nobodys_stays_where_it_is() {
    let scene = Scene::new();
    let path = scene.folder.path().join(format!("{}.spool", "07".repeat(16)));
    fs::write(&path, "what some other program left").unwrap();
    drop(scene.open());
    assert_eq!(fs::read_to_string(&path).unwrap(), "what some other program left");
}

#[tokio::test]
async fn later_commands_of_a_hold_queue_behind_its_spooled_settlement() {
    let scene = Scene::new();
    let ledger = scene.open();
    let alice = funded(&ledger, &["a"]).await;
    scene.outage(&alice).await;
    assert_eq!(alice.settle("a", amount(7)).await.unwrap_err().kind(), ErrorKind::Spooled);
    scene.recovery();
    let refund = loop {
        match alice.refund("a", "r", amount(3)).await {
            Err(error) if error.kind() == ErrorKind::Unavailable => tokio::time::sleep(Duration::from_millis(1)).await,
            answer => break answer,
        }
    };
    assert_eq!(refund.unwrap().hold.unwrap().refunded, amount(3), "the settlement came first");
}

#[tokio::test]
async fn refusal_of_a_spooled_command_is_a_dead_letter_and_blocks_nothing() {
    let scene = Scene::new();
    let ledger = scene.open();
    let alice = funded(&ledger, &["a", "b"]).await;
    alice.settle("a", amount(5)).await.unwrap();
    scene.outage(&alice).await;
    assert_eq!(alice.settle("a", amount(7)).await.unwrap_err().kind(), ErrorKind::Spooled);
    assert_eq!(alice.settle("b", amount(2)).await.unwrap_err().kind(), ErrorKind::Spooled);
    scene.recovery();
    landed(&scene).await;
    assert_eq!(alice.hold("b").await.unwrap().unwrap().captured, amount(2));
    let letters = fs::read_to_string(scene.folder.path().join("dead-letters.jsonl")).unwrap();
    let letter: serde_json::Value = serde_json::from_str(letters.trim()).unwrap();
    assert_eq!(letter["ledger"], "07".repeat(16));
    assert_eq!(letter["command"]["settle"]["hold"], "a#1");
    let refused = letter["refused"].as_str().unwrap();
    assert!(refused.contains("recorded"), "it says what is recorded: {refused}");
}

/// The power went while the one before was written.
#[tokio::test]
async fn dead_letter_begins_on_a_line_of_its_own() {
    let scene = Scene::new();
    let letters = scene.folder.path().join("dead-letters.jsonl");
    fs::write(&letters, "{\"command\":{\"set").unwrap();
    let ledger = scene.open();
    let alice = funded(&ledger, &["a"]).await;
    alice.settle("a", amount(5)).await.unwrap();
    scene.outage(&alice).await;
    for units in [7, 8] {
        assert_eq!(alice.settle("a", amount(units)).await.unwrap_err().kind(), ErrorKind::Spooled);
    }
    scene.recovery();
    landed(&scene).await;
    let letters = fs::read_to_string(&letters).unwrap();
    let costs = letters.lines().skip(1).map(|letter| {
        let letter: serde_json::Value = serde_json::from_str(letter).unwrap();
        letter["command"]["settle"]["cost"].as_str().unwrap().to_owned()
    });
    assert_eq!(costs.collect::<Vec<_>>(), ["7", "8"], "{letters}");
}

/// What waits for a row that cannot be read is put aside: it must not keep everybody from their work.
#[tokio::test]
async fn spooled_command_on_a_damaged_row_is_a_dead_letter_and_blocks_nothing() {
    let scene = Scene::new();
    let ledger = scene.open();
    let alice = funded(&ledger, &["a", "b"]).await;
    scene.outage(&alice).await;
    assert_eq!(alice.settle("a", amount(7)).await.unwrap_err().kind(), ErrorKind::Spooled);
    assert_eq!(alice.settle("b", amount(2)).await.unwrap_err().kind(), ErrorKind::Spooled);
    scene.store.damage(prepaid::HoldId::new("a", 1).unwrap());
    scene.recovery();
    landed(&scene).await;
    assert_eq!(alice.hold("b").await.unwrap().unwrap().captured, amount(2));
    alice.deposit("as-before", amount(1)).await.unwrap();
    let letters = fs::read_to_string(scene.folder.path().join("dead-letters.jsonl")).unwrap();
    let letter: serde_json::Value = serde_json::from_str(letters.trim()).unwrap();
    assert_eq!(letter["command"]["settle"]["hold"], "a#1");
}

/// As some poolers do when they are out of connections.
#[tokio::test]
async fn settlement_is_spooled_also_where_the_store_refuses_everything() {
    let scene = Scene::new();
    let ledger = scene.open();
    let alice = funded(&ledger, &["a"]).await;
    let refused = CommitFault::Before(StoreErrorKind::Refused);
    scene.store.script(std::iter::repeat_n(refused, 1_000));
    assert_eq!(alice.settle("a", amount(7)).await.unwrap_err().kind(), ErrorKind::Spooled);
    assert_eq!(alice.deposit("x", amount(1)).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(scene.spooled_lines(), 1);
    scene.store.heal();
    landed(&scene).await;
    assert_eq!(alice.hold("a").await.unwrap().unwrap().captured, amount(7));
}

/// They wait in memory, and go out in batches like any others.
#[tokio::test]
async fn closes_that_waited_out_an_outage_are_written_in_batches() {
    const MANY: usize = 300;
    let scene = Scene::new();
    let ledger = scene.builder().batch(100).open_store(scene.store.clone()).unwrap();
    let alice = funded(&ledger, &[]).await;
    let mut holds = Vec::new();
    for number in 0..MANY {
        let mut hold = alice.reserve(format!("r{number}").as_str(), Amount::ZERO).await.unwrap().created().unwrap();
        hold.dispatched();
        holds.push(hold);
    }
    scene.outage(&alice).await;
    drop(holds);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let before = scene.store.commits();
    scene.recovery();
    while alice.view().await.unwrap().open_holds > 0 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let commits = scene.store.commits() - before;
    assert!(commits > 3, "{commits} commits for {MANY} closes");
}

#[tokio::test]
async fn full_spool_refuses_and_keeps_what_it_has() {
    let scene = Scene::new();
    let ledger = scene.builder().spool_bytes(250).open_store(scene.store.clone()).unwrap();
    let alice = funded(&ledger, &["a", "b"]).await;
    scene.outage(&alice).await;
    assert_eq!(alice.settle("a", amount(7)).await.unwrap_err().kind(), ErrorKind::Spooled);
    assert_eq!(alice.settle("b", amount(7)).await.unwrap_err().kind(), ErrorKind::Unavailable);
    scene.recovery();
    landed(&scene).await;
    assert_eq!(alice.hold("a").await.unwrap().unwrap().captured, amount(7));
    assert_eq!(alice.hold("b").await.unwrap().unwrap().state, HoldState::Open);
}

#[tokio::test]
async fn torn_last_line_was_answered_to_nobody_and_a_damaged_line_is_named() {
    let scene = Scene::new();
    let ledger = scene.open();
    let alice = funded(&ledger, &["a", "b"]).await;
    scene.outage(&alice).await;
    for hold in ["a", "b"] {
        assert_eq!(alice.settle(hold, amount(7)).await.unwrap_err().kind(), ErrorKind::Spooled);
    }
    drop((alice, ledger));
    tokio::time::sleep(Duration::from_secs(5)).await;
    let path = spool_file(scene.folder.path());
    let whole = fs::read(&path).unwrap();

    let mut damaged = whole.clone();
    damaged[30] ^= 1;
    fs::write(&path, &damaged).unwrap();
    let error = scene.builder().open_store(scene.store.clone()).unwrap_err();
    assert!(error.to_string().contains("spool file is damaged"), "{error}");

    fs::write(&path, &whole[..whole.len() - 3]).unwrap();
    scene.recovery();
    let ledger = scene.open();
    landed(&scene).await;
    let alice = ledger.account("alice").unwrap();
    assert_eq!(alice.hold("a").await.unwrap().unwrap().captured, amount(7));
    assert_eq!(alice.hold("b").await.unwrap().unwrap().state, HoldState::Open);
}

#[tokio::test]
async fn living_process_keeps_its_spool_file_to_itself() {
    let scene = Scene::new();
    let ledger = scene.open();
    let alice = funded(&ledger, &["a"]).await;
    scene.outage(&alice).await;
    assert_eq!(alice.settle("a", amount(7)).await.unwrap_err().kind(), ErrorKind::Spooled);
    let second = scene.open();
    assert_eq!(fs::read_dir(scene.folder.path()).unwrap().count(), 2);
    drop(second);
    scene.recovery();
    landed(&scene).await;
    assert_eq!(alice.hold("a").await.unwrap().unwrap().captured, amount(7));
}

/// A settlement whose caller gave up goes to the spool; what came after it and still waits must not be first.
#[tokio::test]
async fn later_command_of_the_same_batch_does_not_overtake_a_spooled_settlement() {
    let scene = Scene::new();
    let ledger = scene.open();
    let alice = funded(&ledger, &["a"]).await;
    let refund = {
        scene.store.keep_out();
        let (alice, before) = (alice.clone(), scene.store.commits());
        let first = tokio::spawn({
            let alice = alice.clone();
            async move { alice.report("a", amount(1)).await }
        });
        while scene.store.commits() == before {
            tokio::task::yield_now().await;
        }
        let settle = tokio::spawn({
            let alice = alice.clone();
            async move { alice.settle("a", amount(7)).await.unwrap_err().kind() }
        });
        tokio::time::sleep(Duration::from_secs(3)).await;
        let refund = tokio::spawn(async move { alice.refund("a", "r", amount(3)).await });
        tokio::time::sleep(Duration::from_millis(1)).await;
        scene.store.script([CommitFault::None]);
        // Somebody else has the lock: that is no outage, and everybody is patient.
        scene.store.seeded(1, FaultRates { contended: 1_000, ..FaultRates::default() });
        scene.store.let_in();
        first.await.unwrap().unwrap();
        assert_eq!(settle.await.unwrap(), ErrorKind::Spooled);
        refund
    };
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!refund.is_finished(), "its caller has patience left");
    scene.recovery();
    assert_eq!(refund.await.unwrap().unwrap().hold.unwrap().refunded, amount(3), "the settlement came first");
    landed(&scene).await;
    assert!(ledger.audit().await.unwrap().is_clean());
}

/// No letter, no loss: what was refused waits for the next start, and nothing waits for it.
#[tokio::test]
async fn dead_letter_that_cannot_be_written_stays_in_the_spool_and_blocks_nothing() {
    let scene = Scene::new();
    let letters = scene.folder.path().join("dead-letters.jsonl");
    fs::create_dir(&letters).unwrap();
    let ledger = scene.open();
    let alice = funded(&ledger, &["a", "b", "c"]).await;
    alice.settle("a", amount(5)).await.unwrap();
    scene.outage(&alice).await;
    for (hold, units) in [("a", 7), ("b", 2)] {
        assert_eq!(alice.settle(hold, amount(units)).await.unwrap_err().kind(), ErrorKind::Spooled);
    }
    scene.recovery();
    while alice.hold("b").await.unwrap().unwrap().captured != amount(2) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let before = scene.store.commits();
    alice.settle("c", amount(1)).await.unwrap();
    assert_eq!(scene.store.commits() - before, 1, "what is stuck is not sent again and again");
    drop((alice, ledger));
    tokio::time::sleep(Duration::from_secs(5)).await;
    let kept = fs::read_to_string(spool_file(scene.folder.path())).unwrap();
    assert!(kept.contains("\"hold\":\"a#1\""), "it is still there: {kept}");

    fs::remove_dir(&letters).unwrap();
    let ledger = scene.open();
    ledger.account("alice").unwrap().balance().await.unwrap();
    landed(&scene).await;
    let letter: serde_json::Value = serde_json::from_str(fs::read_to_string(&letters).unwrap().trim()).unwrap();
    assert_eq!(letter["command"]["settle"]["hold"], "a#1");
    assert!(ledger.audit().await.unwrap().is_clean());
}

/// How large a file may grow in the child, in blocks of 512 bytes: a full disk of its own.
const BLOCKS: u32 = 4;

/// The child of the next test: its files cannot grow beyond a few blocks.
#[tokio::test]
async fn work_on_a_full_disk() {
    let Some((folder, _)) = common::child::task() else { return };
    tokio::time::pause();
    let scene = Scene { store: store(LedgerId([7; 16])), folder: tempfile::tempdir_in(&folder).unwrap() };
    let ledger = scene.open();
    let names: Vec<_> = (0..40).map(|number| format!("h{number}")).collect();
    let alice = ledger.account("alice").unwrap();
    alice.open().await.unwrap();
    alice.deposit("opening", amount(100)).await.unwrap();
    for name in &names {
        let _ = alice.reserve(name.as_str(), amount(1)).await.unwrap().created().unwrap().detach();
    }
    scene.outage(&alice).await;
    let mut spooled = Vec::new();
    for name in &names {
        match alice.settle(name.as_str(), amount(1)).await.unwrap_err().kind() {
            ErrorKind::Spooled => spooled.push(name),
            kind => assert_eq!(kind, ErrorKind::Unavailable, "it was answered that nothing was done"),
        }
    }
    let file = spool_file(scene.folder.path());
    let text = fs::read_to_string(&file).unwrap();
    assert!(spooled.len() > 4 && spooled.len() < 40, "{}", spooled.len());
    assert!(text.ends_with('\n'), "half of a line was taken back");
    assert_eq!(text.lines().count(), spooled.len());
    assert!(text.len() as u64 > u64::from(BLOCKS) * 512 - 400, "the disk was full: {}", text.len());

    // One after the other lands, and no note of it fits: the file stays whole.
    scene.recovery();
    landed(&scene).await;
    for name in &names {
        let state = alice.hold(name.as_str()).await.unwrap().unwrap().state;
        let expected = if spooled.contains(&name) { HoldState::Settled } else { HoldState::Open };
        assert_eq!(state, expected, "{name}");
    }

    // Nor does a letter: half of it is taken back.
    let letters = scene.folder.path().join("dead-letters.jsonl");
    let earlier = u64::from(BLOCKS) * 512 - 9;
    fs::write(&letters, "\n".repeat(earlier as usize)).unwrap();
    scene.outage(&alice).await;
    assert_eq!(alice.settle(spooled[0].as_str(), amount(2)).await.unwrap_err().kind(), ErrorKind::Spooled);
    scene.recovery();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(fs::metadata(&letters).unwrap().len(), earlier);
    assert_eq!(scene.spooled_lines(), 1);
    assert!(ledger.audit().await.unwrap().is_clean());
    common::child::tell("done");
}

#[test]
fn full_disk_leaves_whole_lines_behind_and_loses_nothing() {
    let folder = common::child::scratch();
    let child = common::child::command("work_on_a_full_disk", folder.path(), "", None);
    let mut limited = std::process::Command::new("sh");
    // A write beyond the limit fails instead of ending the program.
    limited.args(["-c", &format!("trap '' XFSZ; ulimit -f {BLOCKS}; exec \"$@\""), "sh"]);
    limited.arg(child.get_program()).args(child.get_args());
    limited.envs(child.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = limited.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.lines().any(|line| common::child::told(line) == Some("done")), "{output:?}");
}

/// Whoever starts while others do has a file of its own that stays where it is, and takes over each line once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_start_at_once_share_a_folder() {
    const STARTING: usize = 8;
    const ROUNDS: usize = 300;
    let memory = Arc::new(MemoryStore::new(LedgerId([7; 16]), Arc::new(ManualClock::default())));
    let ledger = Ledger::builder().sweep_every(None).open_store(memory.clone()).unwrap();
    let alice = funded(&ledger, &["a", "b", "c"]).await;
    let out = || {
        let store = Arc::new(FaultyStore::new(memory.clone()));
        store.script(std::iter::repeat_n(CommitFault::Before(StoreErrorKind::ReadOnly), 1_000));
        store
    };
    let folder = common::child::scratch();
    let start = || Ledger::builder().sweep_every(None).spool(folder.path()).open_store(out());
    let left = start().unwrap();
    for hold in ["a", "b", "c"] {
        let spooled = left.account("alice").unwrap().settle(hold, amount(7)).await;
        assert_eq!(spooled.unwrap_err().kind(), ErrorKind::Spooled);
    }
    let files = || {
        let paths = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
        paths.filter(|path| path.extension().is_some_and(|ending| ending == "spool")).collect::<Vec<_>>()
    };
    // The lanes of a ledger that is dropped hold its file until they have ended.
    let gone = async |living: &mut Vec<Ledger>| {
        living.clear();
        while files().iter().any(|path| fs::File::open(path).unwrap().try_lock().is_err()) {
            tokio::task::yield_now().await;
        }
    };
    let mut living = vec![left];
    for round in 0..ROUNDS {
        gone(&mut living).await;
        let runtime = tokio::runtime::Handle::current();
        let barrier = std::sync::Barrier::new(STARTING);
        living = std::thread::scope(|scope| {
            let start = || {
                let _inside = runtime.enter();
                barrier.wait();
                start().unwrap()
            };
            let threads: Vec<_> = (0..STARTING).map(|_| scope.spawn(start)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let files = files();
        assert_eq!(files.len(), STARTING, "round {round}: every one has a file of its own");
        let lines: usize = files.iter().map(|path| fs::read_to_string(path).unwrap().lines().count()).sum();
        assert_eq!(lines, 3, "round {round}: each line was taken over once");
    }
    gone(&mut living).await;
    let last = Ledger::builder().sweep_every(None).spool(folder.path()).open_store(memory).unwrap();
    for hold in ["a", "b", "c"] {
        while alice.hold(hold).await.unwrap().unwrap().captured != amount(7) {
            tokio::task::yield_now().await;
        }
    }
    assert!(last.audit().await.unwrap().is_clean());
}

fn spool_file(folder: &Path) -> std::path::PathBuf {
    let mut files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.find(|path| path.extension().is_some_and(|ending| ending == "spool")).unwrap()
}
