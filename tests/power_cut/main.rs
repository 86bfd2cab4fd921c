//! A power cut at any moment: what was answered is on the disk, and the books are in order.
//!
//! A child works on a SQLite file under strace, which records every write, every sync and every answer. From the record
//! the disk is rebuilt as a power cut at a random moment may leave it, many times over; each image is opened by the
//! store and audited, and everything answered before the cut must be there. A kill cannot show this: after a kill the
//! system still has what was never synced.
//!
//! `PREPAID_IMAGES` says how many (2,400 by default), `PREPAID_SEED` which. Not covered: drives that lie about syncs.

#![cfg(all(feature = "testing", feature = "sqlite", target_os = "linux"))]

#[path = "../common/mod.rs"]
mod common;
mod disk;
mod record;

use std::fs::OpenOptions;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use prepaid::clock::SystemClock;
use prepaid::model::EntryKind;
use prepaid::store::sqlite::{SqliteOptions, SqliteStore};
use prepaid::{AccountHandle, Ledger};

use common::child::{self, needs_strace};
use common::one::amount;
use disk::{Disk, LOSSES, Op, Random};

/// The commands of the workloads, in order: each writes one entry.
async fn command(account: &AccountHandle, number: usize) -> Result<(), prepaid::Error> {
    let round = format!("round-{}", number / 4);
    match number % 4 {
        0 => account.deposit(&round, amount(100)).await.map(drop),
        1 => account.reserve(&round, amount(50)).await?.created().map(|hold| drop(hold.detach())),
        2 => account.settle(&round, amount(30)).await.map(drop),
        _ => account.refund(&round, &round, amount(10)).await.map(drop),
    }
}

const KINDS: [EntryKind; 4] = [EntryKind::Deposit, EntryKind::Reserve, EntryKind::Settle, EntryKind::Refund];
/// Accounts that are told the same at once, so that one transaction writes for all of them.
const ACCOUNTS: usize = 3;

fn account(ledger: &Ledger, number: usize) -> AccountHandle {
    ledger.account(format!("account-{number}")).unwrap()
}

/// The child's work: so many commands for every account, acknowledged one after the other, then the end of the world.
#[tokio::test]
async fn work() {
    let Some((folder, plan)) = child::task() else {
        return;
    };
    let numbers: Vec<usize> = plan.split(' ').map(|number| number.parse().unwrap()).collect();
    let [from, to, checkpoint_pages] = numbers[..] else { panic!("{plan}") };
    let ledger = open(&folder, checkpoint_pages).await;
    let mut acknowledged =
        OpenOptions::new().create(true).append(true).open(folder.join(record::ACKNOWLEDGED)).unwrap();
    for number in 0..ACCOUNTS {
        account(&ledger, number).open().await.unwrap();
    }
    for number in from..to {
        let accounts: Vec<_> = (0..ACCOUNTS).map(|number| account(&ledger, number)).collect();
        try_join_all(accounts.iter().map(|account| command(account, number))).await.unwrap();
        acknowledged.write_all(format!("{}\n", number + 1).as_bytes()).unwrap();
    }
    if checkpoint_pages == 0 {
        ledger.close(Duration::ZERO).await.unwrap();
    }
    std::process::abort();
}

/// Opens the ledger; no checkpoint pages: those of the default.
async fn open(folder: &Path, checkpoint_pages: usize) -> Ledger {
    let mut options = SqliteOptions::default();
    if checkpoint_pages > 0 {
        options.checkpoint_pages = u32::try_from(checkpoint_pages).unwrap();
    }
    let store = SqliteStore::open_with(folder.join("ledger.db"), Arc::new(SystemClock), options).await.unwrap();
    Ledger::builder().sweep_every(None).open_store(Arc::new(store)).unwrap()
}

/// Runs the child under strace in `folder` and returns what it did there. `faults` are injected.
fn recorded(folder: &Path, plan: &str, faults: &[&str]) -> Vec<Op> {
    needs_strace();
    let elsewhere = tempfile::tempdir().unwrap();
    let path = elsewhere.path().join("record");
    let trace = format!("trace={}", record::CALLS);
    let mut tracer = vec!["-f", "-y", "-xx", "-s", "2000000", "-e", &trace];
    faults.iter().for_each(|fault| tracer.extend(["-e", fault]));
    tracer.extend(["-o", path.to_str().unwrap()]);
    let output = child::command("work", folder, plan, Some(&tracer)).output().unwrap();
    let ops = record::read(&path, folder);
    if faults.is_empty() {
        let syncs = ops.iter().filter(|op| matches!(op, Op::Sync(_))).count();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(syncs > 2, "strace recorded {} operations and {syncs} syncs: {errors}", ops.len());
        assert!(!errors.contains("panicked"), "{errors}");
    }
    ops
}

/// What happened in a workload: files that were there before, and the record.
struct Recording {
    name: &'static str,
    before: Vec<Op>,
    ops: Vec<Op>,
}

impl Recording {
    /// From nothing: creation, and the first commands.
    fn creation() -> Self {
        let folder = child::scratch();
        let ops = recorded(folder.path(), "0 8 1000", &[]);
        Self { name: "creation", before: Vec::new(), ops }
    }

    /// More work on a file that is there and closed.
    fn load(name: &'static str, commands: usize, checkpoint_pages: usize) -> Self {
        let folder = child::scratch();
        let mut command = child::command("work", folder.path(), "0 8 0", None);
        command.output().unwrap();
        std::fs::remove_file(folder.path().join(record::ACKNOWLEDGED)).unwrap();
        let mut before = vec![Op::Acknowledged(8)];
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            let (file, bytes) = (entry.as_ref().unwrap().file_name(), std::fs::read(entry.unwrap().path()).unwrap());
            let file = file.to_str().unwrap().to_owned();
            before.extend([Op::Create(file.clone()), Op::Write { file: file.clone(), at: 0, bytes }, Op::Sync(file)]);
        }
        before.push(Op::SyncFolder);
        let ops = recorded(folder.path(), &format!("8 {} {checkpoint_pages}", 8 + commands), &[]);
        Self { name, before, ops }
    }

    /// Cuts the power so many times, and looks at what is there.
    async fn cut(&self, images: usize, random: &mut Random) {
        let began = Instant::now();
        let (mut furthest, mut empty) = (0, 0);
        for number in 0..images {
            let (moment, loss) = (random.below(self.ops.len() + 1), LOSSES[number % LOSSES.len()]);
            let seed = random.0;
            let mut disk = Disk::default();
            self.before.iter().chain(&self.ops[..moment]).for_each(|op| disk.replay(op));
            let folder = child::scratch();
            disk.cut(loss, random, folder.path());
            if let Err(wrong) = sound(folder.path(), disk.acknowledged).await {
                panic!("{}: power cut after operation {moment}, {loss:?}, state {seed}: {wrong}", self.name);
            }
            furthest = furthest.max(disk.acknowledged);
            empty += usize::from(disk.acknowledged == 0);
        }
        let ops = self.ops.len();
        println!(
            "{}: {images} images of {ops} operations in {:?}: 0 of up to {furthest} acknowledged commands lost; {empty} \
             images before the first",
            self.name,
            began.elapsed()
        );
        assert!(furthest > 0, "nothing was ever acknowledged");
    }
}

/// Opens what a power cut left: the books are in order, and the first `acknowledged` commands of every account are there.
async fn sound(folder: &Path, acknowledged: usize) -> Result<(), String> {
    let failed = |error: prepaid::Error| format!("{error:?}");
    let store = SqliteStore::open(folder.join("ledger.db"), Arc::new(SystemClock))
        .await
        .map_err(|error| format!("{error:?}"))?;
    let ledger = Ledger::builder().sweep_every(None).open_store(Arc::new(store)).map_err(failed)?;
    let audit = ledger.audit().await.map_err(failed)?;
    if !audit.is_clean() {
        return Err(audit.to_string());
    }
    for number in 0..ACCOUNTS {
        let journal = account(&ledger, number).journal(1, u32::MAX).await.map_err(failed)?;
        if journal.len() < acknowledged {
            return Err(format!("{acknowledged} commands acknowledged, {} there", journal.len()));
        }
        for (place, entry) in journal.iter().enumerate() {
            let round = format!("round-{}", place / 4);
            let named = entry
                .hold
                .as_ref()
                .map(|hold| hold.request().as_str())
                .or_else(|| entry.key.as_ref().map(|key| key.as_str()));
            if entry.kind != KINDS[place % 4] || named != Some(&round) {
                return Err(format!("entry {place} is another: {entry:?}"));
            }
        }
    }
    ledger.close(Duration::ZERO).await.map_err(failed)
}

fn seeded() -> Random {
    let seed = common::number("PREPAID_SEED", RandomState::new().build_hasher().finish());
    println!("PREPAID_SEED={seed}");
    Random(seed)
}

#[tokio::test]
async fn power_cut_loses_nothing_acknowledged() {
    let images = usize::try_from(common::number("PREPAID_IMAGES", 2_400)).unwrap();
    let mut random = seeded();
    let recordings =
        [Recording::creation(), Recording::load("steady load", 60, 1_000), Recording::load("checkpoints", 60, 8)];
    for recording in &recordings {
        recording.cut(images / recordings.len(), &mut random).await;
    }
}

/// The model itself: it must be able to lose what was not synced, or the test above proves nothing.
#[tokio::test]
async fn model_loses_commits_that_were_never_synced() {
    let mut recording = Recording::creation();
    let begun = recording.ops.iter().position(|op| matches!(op, Op::Acknowledged(1))).unwrap();
    let unsynced =
        |(place, op): &(usize, &Op)| *place < begun || !matches!(op, Op::Sync(file) if file.ends_with("-wal"));
    recording.ops = recording.ops.iter().enumerate().filter(unsynced).map(|(_, op)| op.clone()).collect();
    let mut disk = Disk::default();
    recording.ops.iter().for_each(|op| disk.replay(op));
    let folder = child::scratch();
    disk.cut(disk::Loss::Everything, &mut Random(1), folder.path());
    let wrong = sound(folder.path(), disk.acknowledged).await.unwrap_err();
    assert!(wrong.contains("acknowledged"), "{wrong}");
}

/// A sync that failed once is not made good by another: what it did not write is forgotten by the system, although it is
/// still read back. So nothing that was found in the log afterwards may be acknowledged before it is written anew.
#[tokio::test]
async fn failed_sync_is_never_taken_for_a_good_one() {
    let mut failed = 0;
    for number in 1.. {
        let folder = child::scratch();
        let fault = format!("inject=fsync,fdatasync:error=EIO:when={number}");
        let ops = recorded(folder.path(), "0 8 1000", &[&fault]);
        // SQLite does not look at what a folder's sync answers: nothing can be promised there.
        if ops.iter().any(|op| matches!(op, Op::SyncFolderFailed)) {
            continue;
        }
        if !ops.iter().any(|op| matches!(op, Op::SyncFailed(_))) {
            break;
        }
        failed += 1;
        let mut disk = Disk::default();
        for (place, op) in ops.iter().enumerate() {
            disk.replay(op);
            if matches!(op, Op::Acknowledged(_)) {
                let folder = child::scratch();
                disk.cut(disk::Loss::Everything, &mut Random(0), folder.path());
                if let Err(wrong) = sound(folder.path(), disk.acknowledged).await {
                    panic!("sync {number} fails, power cut after operation {place}: {wrong}");
                }
            }
        }
    }
    println!("{failed} syncs failed, one at a time");
    assert!(failed > 10, "{failed} syncs failed");
}
