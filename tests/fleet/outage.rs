//! The database goes away under load and comes back, and a process is killed and started again meanwhile: what was
//! promised lands, once; everything else was turned away at once.
//!
//! `PREPAID_OUTAGE_SECONDS` says for how long it is away (30 by default).

use std::collections::VecDeque;
use std::process::{Child, Stdio};
use std::time::Duration;

use futures_util::future::join_all;
use prepaid::{Ledger, LedgerBuilder};

use crate::common::{self, postgres::Server};
use crate::gateway::{Folder, account, found};
use crate::history::{Answer, Ask, Client, Op, now, read};
use crate::nemesis::{TRIES, end, judge, open, resolve};
use crate::{process, role};

const NAME: &str = "outage::what_was_promised_in_an_outage_lands_once_and_the_rest_was_turned_away_at_once";
const CALLERS: u64 = 12;
/// Streams of one caller that run at once.
const STREAMS: usize = 25;

#[tokio::test]
async fn what_was_promised_in_an_outage_lands_once_and_the_rest_was_turned_away_at_once() {
    if let Some((url, number)) = role(NAME) {
        let folder = Folder(std::env::var_os("PREPAID_ROLE_FOLDER").unwrap().into());
        return serve(&open(builder(&folder), &url).await, number, &folder).await;
    }
    let seconds = common::number("PREPAID_OUTAGE_SECONDS", 30).max(10);
    println!("PREPAID_OUTAGE_SECONDS={seconds}");
    let server = Server::start(&["max_connections=60"], false);
    let scratch = tempfile::tempdir().unwrap();
    let folder = Folder(scratch.path().to_owned());
    let parent = folder.log(2);
    let ledger = open(Ledger::builder(), &server.url()).await;
    found(&ledger, &mut Client::new("founder".to_owned(), &parent)).await;
    ledger.close(Duration::ZERO).await.unwrap();

    let start = |number| {
        let mut process = process(NAME, &server.url(), number, &folder.0);
        process.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let mut processes: Vec<Child> = (0..2).map(start).collect();
    busy(&folder).await;
    let half = Duration::from_secs(seconds) / 2;
    let stopped = now();
    server.stop();
    tokio::time::sleep(half).await;
    processes[0].kill().unwrap();
    processes[0].wait().unwrap();
    let killed = now();
    processes[0] = start(0);
    tokio::time::sleep(half).await;
    let started = now();
    server.run();
    all_landed(&folder).await;
    end(&folder, processes).await;

    let ledger = open(Ledger::builder(), &server.url()).await;
    let logs = [folder.log(0), folder.log(1), parent.clone()];
    let history = || read(logs.iter().map(std::path::PathBuf::as_path));
    turned_away_at_once(&history(), stopped, killed, started);
    resolve(&ledger, &history(), &mut Client::new("resolver".to_owned(), &parent)).await;
    assert!(!folder.spool().join("dead-letters.jsonl").exists(), "a promise was refused");
    judge(&ledger, &history()).await;
}

/// Nobody gives up waiting by himself: who is answered while the database is away is turned away.
fn builder(folder: &Folder) -> LedgerBuilder {
    Ledger::builder().patience(Duration::from_secs(3_600)).spool(folder.spool())
}

/// Every process has answered settlements.
async fn busy(folder: &Folder) {
    for number in 0..2 {
        let settled = |op: &Op| matches!((&op.ask, &op.told), (Ask::Settle { .. }, Some(_)));
        while read([folder.log(number).as_path()]).iter().filter(|op| settled(op)).count() < 100 {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

/// Waits until no promise is left to be kept.
async fn all_landed(folder: &Folder) {
    let left = || {
        let files = std::fs::read_dir(folder.spool()).unwrap().map(Result::unwrap);
        files.filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum::<u64>()
    };
    for _ in 0..TRIES {
        if left() == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{} bytes of promises are left", left());
}

/// Who asked while the database was known to be away did not wait for it to come back.
fn turned_away_at_once(history: &[Op], stopped: u64, killed: u64, started: u64) {
    let seconds = |count: u64| 1_000_000_000 * count;
    let away: Vec<_> =
        history.iter().filter(|op| (stopped + seconds(4)..started - seconds(2)).contains(&op.asked)).collect();
    let is_killed = |op: &Op| op.client.starts_with("0-") && op.told.is_none() && op.asked < killed;
    let late = |op: &&&Op| op.told.as_ref().is_none_or(|(told, _)| *told > started) && !is_killed(op);
    let waited: Vec<_> = away.iter().filter(late).collect();
    assert!(waited.is_empty(), "they waited: {waited:?}");
    let told =
        |answer: &Answer| away.iter().filter(|op| op.told.as_ref().is_some_and(|(_, told)| told == answer)).count();
    let turned_away = told(&Answer::NotDone);
    let of = |process: &str| {
        let promised = |op: &&Op| op.client.starts_with(process) && matches!(op.told, Some((_, Answer::Promised)));
        history.iter().filter(promised).count()
    };
    println!("{turned_away} turned away, {} and {} promised, of {}", of("0-"), of("1-"), history.len());
    assert!(turned_away > 100 && of("0-") > 0 && of("1-") > 0, "hardly anybody asked");
    let is_close = |op: &&&Op| matches!(op.ask, Ask::Settle { .. } | Ask::Release { .. });
    let closes: Vec<_> = away.iter().filter(is_close).filter(|op| op.told.is_some()).collect();
    assert!(closes.iter().all(|op| matches!(op.told, Some((_, Answer::Promised)))), "{closes:?}");
    assert_eq!(turned_away + told(&Answer::Promised) + away.iter().filter(|op| is_killed(op)).count(), away.len());
}

/// Keeps streams running, begins new ones and closes the oldest, until told to stop.
async fn serve(ledger: &Ledger, number: usize, folder: &Folder) {
    let born = now();
    let callers = (0..CALLERS).map(|caller| {
        let (ledger, log, stop) = (ledger.clone(), folder.log(number), folder.stop());
        tokio::spawn(async move {
            let mut client = Client::new(format!("{number}-{born}-{caller}"), &log);
            let account = account(&ledger, if caller % 2 == 0 { 0 } else { 3 + caller % 5 });
            let mut running: VecDeque<(String, u64)> = VecDeque::new();
            for turn in 0_u64.. {
                if stop.exists() {
                    return;
                }
                let hold = format!("{number}-{born}-{caller}-{turn}");
                let reserved = client.ask(&account, Ask::Reserve { hold: hold.clone(), units: 10 }).await;
                if matches!(reserved, Answer::Done { .. }) {
                    running.push_back((hold, turn));
                }
                let is_away = reserved == Answer::NotDone;
                while running.len() > if is_away { 0 } else { STREAMS } {
                    let (hold, turn) = running.pop_front().unwrap();
                    let cost = i64::try_from(1 + turn % 12).unwrap();
                    let close = if turn % 5 == 0 { Ask::Release { hold } } else { Ask::Settle { hold, cost } };
                    client.ask(&account, close).await;
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
    });
    for caller in join_all(callers.collect::<Vec<_>>()).await {
        caller.unwrap();
    }
}
