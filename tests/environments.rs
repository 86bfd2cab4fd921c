//! Bad surroundings: full disks, failing disks, files that may not be written, files of others, damaged files. Each is a
//! clear error that says what to do, nothing is half written, and no answer is wrong without the audit saying so.

#![cfg(all(feature = "testing", feature = "sqlite", target_os = "linux"))]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use prepaid::store::sqlite::{SqliteOptions, SqliteStore};
use prepaid::testing::ManualClock;
use prepaid::{AccountHandle, Error, ErrorKind, Ledger};
use tempfile::TempDir;

use common::child::{self, needs_strace, tell, told};
use common::one::{amount, signed};

/// A folder with a ledger of a few entries in it, closed.
async fn kept() -> (TempDir, PathBuf) {
    let folder = child::scratch();
    let path = folder.path().join("ledger.db");
    let ledger = open(&path).await.unwrap();
    for name in ["alice", "bob"] {
        let account = ledger.account(name).unwrap();
        account.open().await.unwrap();
        for number in 0..COMMANDS {
            command(&account, number).await.unwrap();
        }
    }
    ledger.close(Duration::ZERO).await.unwrap();
    (folder, path)
}

async fn open(path: &Path) -> Result<Ledger, Error> {
    Ledger::builder()
        .sweep_every(None)
        .patience(Duration::from_millis(200))
        .open(&format!("sqlite:{}", path.display()))
        .await
}

const COMMANDS: usize = 12;

/// A short life: each command writes one entry.
async fn command(account: &AccountHandle, number: usize) -> Result<(), Error> {
    let round = format!("round-{}", number / 4);
    match number % 4 {
        0 => account.deposit(&round, amount(100)).await.map(drop),
        1 => account.reserve(&round, amount(50)).await?.created().map(|hold| drop(hold.detach())),
        2 => account.settle(&round, amount(30)).await.map(drop),
        _ => account.refund(&round, &round, amount(10)).await.map(drop),
    }
}

/// What opening answers; the message has to contain each of `says`.
async fn refused(path: &Path, kind: ErrorKind, says: &[&str]) {
    let error = open(path).await.unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    for part in says {
        assert!(error.to_string().contains(part), "{part:?} is not in: {error}");
    }
}

fn content(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.is_file()).map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

#[tokio::test]
async fn second_owner_is_refused_until_the_first_has_closed() {
    let (_folder, path) = kept().await;
    let first = open(&path).await.unwrap();
    refused(&path, ErrorKind::AlreadyOwned, &["close it there first", "ledger.db.lock"]).await;
    first.account("alice").unwrap().deposit("still-ours", amount(1)).await.unwrap();
    first.close(Duration::ZERO).await.unwrap();
    open(&path).await.unwrap();
}

#[tokio::test]
async fn file_of_another_program_is_refused_and_not_touched() {
    let folder = child::scratch();
    let path = folder.path().join("other.db");
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("create table mine (a); insert into mine values (1)").unwrap();
    drop(other);
    let before = fs::read(&path).unwrap();
    refused(&path, ErrorKind::Unsuitable, &["another program's", "other.db"]).await;
    let other = rusqlite::Connection::open(&path).unwrap();
    other.pragma_update(None, "application_id", 7).unwrap();
    drop(other);
    refused(&path, ErrorKind::Unsuitable, &["another program's", "0x00000007"]).await;
    let other = rusqlite::Connection::open(&path).unwrap();
    other.pragma_update(None, "application_id", 0).unwrap();
    assert_eq!(other.query_row("select a from mine", [], |row| row.get::<_, i64>(0)).unwrap(), 1);
    drop(other);
    assert_eq!(fs::read(&path).unwrap().len(), before.len());

    let text = folder.path().join("notes.txt");
    fs::write(&text, "Dear diary").unwrap();
    refused(&text, ErrorKind::Unsuitable, &["not an SQLite database", "notes.txt"]).await;
    assert_eq!(fs::read(&text).unwrap(), b"Dear diary");
}

#[tokio::test]
async fn new_database_has_pages_of_8_kib_and_one_with_others_keeps_them() {
    let (_folder, path) = kept().await;
    let page_size = |connection: &rusqlite::Connection| {
        connection.pragma_query_value(None, "page_size", |row| row.get::<_, i64>(0)).unwrap()
    };
    let database = rusqlite::Connection::open(&path).unwrap();
    assert_eq!(page_size(&database), 8_192);
    database.execute_batch("pragma journal_mode = delete; pragma page_size = 4096; vacuum").unwrap();
    drop(database);
    let ledger = open(&path).await.unwrap();
    command(&ledger.account("alice").unwrap(), 1_000).await.unwrap();
    ledger.close(Duration::from_secs(5)).await.unwrap();
    assert_eq!(page_size(&rusqlite::Connection::open(&path).unwrap()), 4_096);
}

#[tokio::test]
async fn newer_schema_is_refused_and_both_versions_are_named() {
    let (folder, path) = kept().await;
    let newer = rusqlite::Connection::open(&path).unwrap();
    newer
        .execute("insert into prepaid_migrations (version, name, readable_by) values (999, 'future', 998)", [])
        .unwrap();
    newer.pragma_update(None, "journal_mode", "delete").unwrap();
    drop(newer);
    let before = content(folder.path());
    refused(&path, ErrorKind::Unsuitable, &["newer", "999"]).await;
    let rows = |path: &Path| {
        let connection = rusqlite::Connection::open(path).unwrap();
        connection.query_row("select count(*) from entries", [], |row| row.get::<_, i64>(0)).unwrap()
    };
    assert_eq!(rows(&path), 26);
    assert_eq!(before.len(), 2, "{:?}", before.keys());
}

#[tokio::test]
async fn missing_folder_and_folder_in_place_of_a_file_are_named() {
    let folder = child::scratch();
    refused(&folder.path().join("not/there/ledger.db"), ErrorKind::Unavailable, &["not/there", "check its path"]).await;
    refused(folder.path(), ErrorKind::Unsuitable, &["folder"]).await;
}

/// Nobody but root may write what is read-only, so as root the file system is made to say no by strace instead.
#[tokio::test]
async fn file_and_folder_that_may_not_be_written_are_refused() {
    for (calls, error) in [("openat", "EACCES"), ("openat", "EROFS")] {
        let (folder, path) = kept().await;
        let before = fs::read(&path).unwrap();
        let fault = format!("inject={calls}:error={error}:when=1+");
        let lines = traced(folder.path(), "open", &["-P", path.to_str().unwrap()], &fault);
        assert_eq!(lines, ["refused Unavailable", "injected"], "{error}");
        assert_eq!(fs::read(&path).unwrap(), before);
        open(&path).await.unwrap();
    }
}

/// The child's work: what it was answered, a line each.
#[tokio::test]
async fn work() {
    let Some((folder, plan)) = child::task() else {
        return;
    };
    let ledger = match open(&folder.join("ledger.db")).await {
        Ok(ledger) => ledger,
        Err(error) => return tell(&format!("refused {:?}", error.kind())),
    };
    if plan == "open" {
        return tell("opened");
    }
    let carol = ledger.account("carol").unwrap();
    if let Err(error) = carol.open().await {
        return tell(&format!("refused {:?}", error.kind()));
    }
    for number in 0..COMMANDS {
        match command(&carol, number).await {
            Ok(()) => tell(&format!("{number} done")),
            Err(error) => {
                tell(&format!("{number} {:?}", error.kind()));
                break;
            }
        }
    }
    // The next one finds a store that works again, or an honest answer.
    if let Err(error) = carol.deposit("afterwards", amount(1)).await {
        tell(&format!("afterwards {:?}", error.kind()));
    }
    let _ = ledger.close(Duration::ZERO).await;
}

/// Runs the child with a fault and returns what it told.
fn traced(folder: &Path, plan: &str, only: &[&str], fault: &str) -> Vec<String> {
    needs_strace();
    let elsewhere = tempfile::tempdir().unwrap();
    let record = elsewhere.path().join("record");
    let mut tracer = vec!["-f", "-qq", "-e", fault, "-o", record.to_str().unwrap()];
    tracer.extend(only);
    let output = child::command("work", folder, plan, Some(&tracer)).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !errors.contains("panicked"), "{fault}: {errors}");
    let mut lines: Vec<_> =
        String::from_utf8_lossy(&output.stdout).lines().filter_map(told).map(str::to_owned).collect();
    if fs::read_to_string(&record).unwrap().contains("INJECTED") {
        lines.push("injected".to_owned());
    }
    lines
}

/// Fails the n-th call, for every n there is, and holds the child to its word: what was done is there, and what was
/// refused for certain is not. Says how many calls there are.
async fn every_call_fails_once(call: &str, error: &str, from: usize) -> usize {
    let (before, _) = kept().await;
    let mut outcomes = BTreeMap::<String, usize>::new();
    let mut count = 0;
    for number in from.. {
        let folder = child::scratch();
        for (file, bytes) in content(before.path()) {
            fs::write(folder.path().join(file.file_name().unwrap()), bytes).unwrap();
        }
        let mut lines = traced(folder.path(), "live", &[], &format!("inject={call}:error={error}:when={number}"));
        if lines.pop_if(|line| line == "injected").is_none() {
            break;
        }
        count += 1;
        let ledger = open(&folder.path().join("ledger.db")).await.unwrap();
        let audit = ledger.audit().await.unwrap();
        assert!(audit.is_clean(), "{call} {number}: {audit}");
        let journal = ledger.account("carol").unwrap().journal(1, u32::MAX).await.unwrap();
        for line in &lines {
            let (number, said) = line.split_once(' ').unwrap();
            *outcomes.entry(said.to_owned()).or_default() += 1;
            let Ok(number) = number.parse::<usize>() else {
                continue;
            };
            let there = journal
                .iter()
                .filter(|entry| entry.key.as_ref().is_none_or(|key| key.as_str() != "afterwards"))
                .count()
                > number;
            match said {
                "done" => assert!(there, "{call} {number}: answered and gone"),
                "OutcomeUnknown" => {}
                _ => assert!(!there, "{call} {number}: refused as {said}, and there all the same"),
            }
        }
        ledger.close(Duration::ZERO).await.unwrap();
    }
    println!("{call} fails with {error}, {count} times: {outcomes:?}");
    count
}

#[tokio::test]
async fn disk_that_is_full_at_any_write_leaves_nothing_half_written() {
    assert!(every_call_fails_once("pwrite64", "ENOSPC", 1).await > 20);
}

#[tokio::test]
async fn disk_that_fails_at_any_sync_leaves_nothing_half_written() {
    assert!(every_call_fails_once("fsync,fdatasync", "EIO", 1).await > 10);
}

#[tokio::test]
async fn full_database_refuses_what_opens_and_works_again_when_there_is_room() {
    let folder = child::scratch();
    let path = folder.path().join("ledger.db");
    let mut options = SqliteOptions::default();
    options.pages_max = Some(80);
    let clock = Arc::new(ManualClock::default());
    let store = SqliteStore::open_with(&path, clock.clone(), options).await.unwrap();
    let ledger = Ledger::builder().sweep_every(None).open_store(Arc::new(store)).unwrap();
    let alice = ledger.account("alice").unwrap();
    alice.open().await.unwrap();
    let mut done = 0;
    let error = loop {
        match alice.deposit(format!("deposit-{done}"), amount(1)).await {
            Ok(_) => done += 1,
            Err(error) => break error,
        }
        assert!(done < 20_000, "the limit was never met");
    };
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("make room"), "{error}");
    assert_eq!(alice.balance().await.unwrap().available, signed(done));
    ledger.close(Duration::ZERO).await.unwrap();
    println!("{done} deposits fit");

    let ledger = open(&path).await.unwrap();
    let alice = ledger.account("alice").unwrap();
    alice.deposit(format!("deposit-{done}"), amount(1)).await.unwrap();
    assert_eq!(alice.balance().await.unwrap().available, signed(done + 1));
    let audit = ledger.audit().await.unwrap();
    assert!(audit.is_clean(), "{audit}");
}

#[tokio::test]
async fn file_replaced_under_a_running_ledger_gets_nothing_written() {
    let (_folder, path) = kept().await;
    let (_other_folder, other) = kept().await;
    let ledger = open(&path).await.unwrap();
    let alice = ledger.account("alice").unwrap();
    alice.deposit("before", amount(1)).await.unwrap();
    fs::rename(&other, &path).unwrap();
    let there = fs::read(&path).unwrap();
    // Either it goes to the file that was opened, or it is refused; the stranger's file stays as it is.
    let _ = alice.deposit("after", amount(1)).await;
    assert!(fs::read(&path).unwrap() == there, "another ledger's file was written");
}

/// Flips bits all over the file. Whatever is still answered is right, or the audit says what is wrong.
#[tokio::test]
async fn damaged_file_never_gives_a_wrong_answer_that_the_audit_takes_for_right() {
    let seed = common::number("PREPAID_SEED", RandomState::new().build_hasher().finish());
    let flips = common::number("PREPAID_FLIPS", 400);
    println!("PREPAID_SEED={seed} PREPAID_FLIPS={flips}");
    let (_folder, path) = kept().await;
    let right = answers(&open(&path).await.unwrap()).await.unwrap();
    let whole = fs::read(&path).unwrap();
    let mut outcomes = BTreeMap::<&str, u64>::new();
    for flip in 0..flips {
        let drawn = (seed ^ flip.wrapping_mul(0xd134_2543_de82_ef95)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut bytes = whole.clone();
        let kind = match flip % 8 {
            // Behind the last whole page, and in the middle of one.
            0 => {
                bytes.truncate(usize::try_from(drawn >> 16).unwrap() % whole.len());
                "truncated"
            }
            1 => {
                let page = usize::try_from(drawn >> 16).unwrap() % (whole.len() / 8192);
                bytes[page * 8192..(page + 1) * 8192].fill(0);
                "zeroed page"
            }
            _ => {
                bytes[usize::try_from(drawn >> 16).unwrap() % whole.len()] ^= 1 << (drawn % 8);
                "flipped bit"
            }
        };
        let folder = child::scratch();
        let path = folder.path().join("ledger.db");
        fs::write(&path, &bytes).unwrap();
        let outcome = match open(&path).await {
            Err(_) => "not opened",
            Ok(ledger) => match (answers(&ledger).await, ledger.audit().await) {
                (Ok(found), Ok(audit)) if audit.is_clean() && found == right => "right",
                // A file of no bytes is a new ledger.
                (Err(_), Ok(audit)) if audit.is_clean() && !bytes.is_empty() => "an error",
                (found, Ok(audit)) if audit.is_clean() && !bytes.is_empty() => {
                    let wrong: Vec<_> =
                        found.iter().flatten().zip(&right).filter(|(found, right)| found != right).collect();
                    panic!("PREPAID_SEED={seed}: {kind}, number {flip}: a clean audit of {wrong:?}")
                }
                (_, Ok(audit)) if audit.is_clean() => "empty",
                _ => "found by the audit",
            },
        };
        *outcomes.entry(outcome).or_default() += 1;
    }
    println!("{outcomes:?}");
    assert!(outcomes.get("found by the audit").is_some_and(|found| *found > flips / 20), "{outcomes:?}");
}

async fn answers(ledger: &Ledger) -> Result<Vec<String>, Error> {
    let mut answers = Vec::new();
    for name in ["alice", "bob"] {
        let account = ledger.account(name).unwrap();
        answers.push(format!("{:?}", account.view().await?.books));
        answers.extend(account.journal(0, u32::MAX).await?.iter().map(|entry| entry.hash.to_string()));
        answers.push(format!("{:?}", account.hold("round-1").await?.map(|hold| (hold.state, hold.captured))));
    }
    Ok(answers)
}

#[tokio::test]
async fn journal_whose_links_lead_round_in_circles_is_an_error() {
    let (_folder, path) = kept().await;
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("pragma ignore_check_constraints = on; drop trigger entries_are_not_changed").unwrap();
    let changed = "update entries set previous = position where account_no = 1 and seq = 5";
    assert_eq!(other.execute(changed, []).unwrap(), 1);
    drop(other);
    let ledger = open(&path).await.unwrap();
    let error = ledger.account("alice").unwrap().journal(0, 100).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("journal is torn"), "{error}");
    assert!(!ledger.audit().await.is_ok_and(|audit| audit.is_clean()));
}

/// The log of one database beside another: SQLite knows by its salt, or the audit does.
#[tokio::test]
async fn stale_log_beside_a_restored_file_is_never_mixed_in_unseen() {
    let (folder, path) = kept().await;
    let backup = fs::read(&path).unwrap();
    let ledger = open(&path).await.unwrap();
    let right = answers(&ledger).await.unwrap();
    ledger.account("alice").unwrap().deposit("in-the-log", amount(1)).await.unwrap();
    let log = fs::read(folder.path().join("ledger.db-wal")).unwrap();
    assert!(!log.is_empty());
    ledger.close(Duration::ZERO).await.unwrap();

    let (_other, other) = kept().await;
    for (file, name) in [(backup, "its own backup"), (fs::read(&other).unwrap(), "another ledger")] {
        let folder = child::scratch();
        fs::write(folder.path().join("ledger.db"), file).unwrap();
        fs::write(folder.path().join("ledger.db-wal"), &log).unwrap();
        let Ok(ledger) = open(&folder.path().join("ledger.db")).await else {
            continue;
        };
        let (found, audit) = (answers(&ledger).await, ledger.audit().await);
        if audit.is_ok_and(|audit| audit.is_clean()) {
            let found = found.unwrap();
            let longer = found.len() == right.len() + 1;
            assert!(found.len() == right.len() || (longer && name == "its own backup"), "{name}: {found:?}");
        }
    }
}
