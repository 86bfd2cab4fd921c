//! What a process does until it is told to stop: requests of its own, and requests that every process gets at once.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::join_all;
use prepaid::model::{Lease, Policy};
use prepaid::{AccountHandle, Ledger, LedgerBuilder};

use crate::history::{Answer, Ask, Client, now};

/// Requests served at once.
const CALLERS: u64 = 16;
/// How often a request comes to all processes.
const SHARED_EVERY: Duration = Duration::from_millis(150);

pub(crate) const ACCOUNTS: u64 = 8;
/// Half of all requests are of the first account. This one is short of money,
const POOR: u64 = 1;
/// and this one may not spend all it has.
const BUDGETED: u64 = 2;

/// A ledger whose holds soon lapse when their process is gone.
pub(crate) fn builder() -> LedgerBuilder {
    let half = Duration::from_millis(500);
    let lease = Lease { ttl: half * 3, grace: half, late: half * 7_200 };
    Ledger::builder().policy(Policy { lease, ..Policy::default() }).holiday(half * 2)
}

pub(crate) fn account(ledger: &Ledger, number: u64) -> AccountHandle {
    ledger.account(format!("account-{number}")).unwrap()
}

/// Opens the accounts and pays in.
pub(crate) async fn found(ledger: &Ledger, client: &mut Client) {
    for number in 0..ACCOUNTS {
        let account = account(ledger, number);
        let units = if number == POOR { 60 } else { 10_000_000 };
        client.ask(&account, Ask::Open).await;
        client.ask(&account, Ask::Deposit { key: "opening".to_owned(), units }).await;
        if number == BUDGETED {
            client.ask(&account, Ask::Budget(400)).await;
        }
    }
}

/// Where a process writes its history, and where it sees that it should stop.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn log(&self, number: usize) -> PathBuf {
        self.0.join(format!("history-{number}"))
    }

    pub(crate) fn spool(&self) -> PathBuf {
        self.0.join("spool")
    }

    pub(crate) fn stop(&self) -> PathBuf {
        self.0.join("stop")
    }
}

/// Serves requests until it is told to stop.
pub(crate) async fn serve(ledger: &Ledger, number: usize, folder: &Path) {
    let folder = Folder(folder.to_owned());
    let born = now();
    let callers = (0..CALLERS).map(|caller| {
        let (ledger, log, stop) = (ledger.clone(), folder.log(number), folder.stop());
        tokio::spawn(async move {
            let mut gateway = Gateway {
                client: Client::new(format!("{number}-{born}-{caller}"), &log),
                ledger,
                number: i64::try_from(number).unwrap(),
            };
            let mut last_shared = 0;
            for turn in 0_u64.. {
                if stop.exists() {
                    return;
                }
                let shared = now() / u64::try_from(SHARED_EVERY.as_nanos()).unwrap();
                if shared == last_shared {
                    gateway.request(&format!("own-{number}-{born}-{caller}-{turn}"), false).await;
                } else {
                    last_shared = shared;
                    gateway.request(&format!("shared-{shared}-{caller}"), true).await;
                }
                // The upstream takes its time.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
    });
    for caller in join_all(callers.collect::<Vec<_>>()).await {
        caller.unwrap();
    }
}

struct Gateway {
    client: Client,
    ledger: Ledger,
    number: i64,
}

impl Gateway {
    /// All that is asked about one request follows from its name, so that it is the same in every process. Some of those
    /// that all processes get are not the same on purpose.
    async fn request(&mut self, request: &str, shared: bool) {
        let mut hasher = DefaultHasher::new();
        request.hash(&mut hasher);
        let drawn = hasher.finish();
        let one_in = |many: u64, salt: u32| (drawn >> salt).is_multiple_of(many);
        let other = |many, salt| if shared && one_in(many, salt) { self.number % 2 } else { 0 };
        let (deposit, amount, late) = (20 + other(3, 9), 10 + other(5, 11), other(4, 13));
        let cost = i64::try_from(1 + (drawn >> 17) % 13).unwrap() + late;
        let number = if one_in(2, 3) { 0 } else { (drawn >> 5) % ACCOUNTS };
        let account = account(&self.ledger, number);
        let hold = request.to_owned();
        if one_in(6, 23) {
            self.client.ask(&account, Ask::Deposit { key: request.to_owned(), units: deposit }).await;
        }
        let reserved = self.client.ask(&account, Ask::Reserve { hold: hold.clone(), units: amount }).await;
        let is_mine = matches!(&reserved, Answer::Done { outcome, .. } if outcome == "Created");
        // Whoever gets it too goes on as if it were theirs.
        let is_shared = shared && matches!(reserved, Answer::Done { .. });
        if !(is_mine || is_shared) {
            return;
        }
        if one_in(5, 29) {
            self.client.ask(&account, Ask::Extend { hold: hold.clone(), target: 15 }).await;
        }
        let gives_up = one_in(9, 31) || (one_in(5, 37) && other(1, 0) == 1);
        let close =
            if gives_up { Ask::Release { hold: hold.clone() } } else { Ask::Settle { hold: hold.clone(), cost } };
        // What could not be reached may be there again soon. It is given up after a while, and the lease ends the hold.
        for _ in 0..40 {
            let closed = self.client.ask(&account, close.clone()).await;
            if !matches!(closed, Answer::NotDone | Answer::Unknown) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        if !gives_up && one_in(4, 41) {
            self.client.ask(&account, Ask::Refund { hold, key: "r".to_owned(), units: 1 }).await;
        }
        if one_in(3, 43) {
            self.client.ask(&account, Ask::Read).await;
        }
    }
}
