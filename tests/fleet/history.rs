//! What processes asked of the ledger and were told, as they wrote it down: one JSON line before each call, one after it.
//!
//! Whoever is killed in the middle leaves a question without an answer: nobody knows what came of it. Times are those of
//! the machine's monotonic clock, which all its processes share.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

use prepaid::{AccountHandle, Error, ErrorKind, Outcome, Receipt, Refusal, Reserved};
use serde::{Deserialize, Serialize};

use crate::common::one::amount;

/// Something asked of one account. The same words mean the same for ever, whoever says them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Ask {
    Open,
    /// A limit to what the account spends in all.
    Budget(i64),
    Deposit {
        key: String,
        units: i64,
    },
    Reserve {
        hold: String,
        units: i64,
    },
    Extend {
        hold: String,
        target: i64,
    },
    Settle {
        hold: String,
        cost: i64,
    },
    Release {
        hold: String,
    },
    Refund {
        hold: String,
        key: String,
        units: i64,
    },
    Read,
}

/// What came of it, as far as the asker knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// Accepted. What it told of things that stay as they are is in `kept`: every later answer must tell the same.
    Done { outcome: String, entry: Option<u64>, balance: Option<Balance>, kept: Option<String> },
    /// The account as it stands.
    Read(Balance),
    /// Refused. Nothing is remembered of it.
    Refused { name: String, balance: Option<Balance> },
    /// Refused for want of money, or of budget.
    Denied { asked: i64, by_budget: bool },
    /// Not done, for certain: the ledger was busy or away.
    NotDone,
    /// Written down by the ledger's process, to be done later.
    Promised,
    /// It may or may not have been done.
    Unknown,
    /// An error that no fault excuses.
    Broken(String),
}

/// What is free and what is set aside after so many entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Balance {
    pub(crate) seq: u64,
    pub(crate) available: i64,
    pub(crate) held: i64,
}

/// A question and its answer.
#[derive(Clone, Debug)]
pub(crate) struct Op {
    /// Who asked: one question after the other.
    pub(crate) client: String,
    pub(crate) account: String,
    pub(crate) ask: Ask,
    pub(crate) asked: u64,
    /// When it was answered, and what; none where the asker died first.
    pub(crate) told: Option<(u64, Answer)>,
}

#[derive(Debug, Serialize, Deserialize)]
enum Line {
    Asked { number: u64, client: String, account: String, ask: Ask, at: u64 },
    Told { number: u64, client: String, answer: Answer, at: u64 },
}

/// Now, in nanoseconds.
pub(crate) fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(time.tv_sec).unwrap() * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap()
}

/// Asks on behalf of one client, and writes down what it asks and is told.
#[derive(Debug)]
pub(crate) struct Client {
    name: String,
    asked: u64,
    log: File,
}

impl Client {
    /// Appends to the file `log`. No two clients have the same name.
    pub(crate) fn new(name: String, log: &Path) -> Self {
        Self { name, asked: 0, log: OpenOptions::new().create(true).append(true).open(log).unwrap() }
    }

    pub(crate) async fn ask(&mut self, account: &AccountHandle, ask: Ask) -> Answer {
        self.asked += 1;
        let (number, client, name) = (self.asked, self.name.clone(), account.id().to_string());
        self.write(&Line::Asked { number, client, account: name, ask: ask.clone(), at: now() });
        let answer = put(account, &ask).await;
        self.write(&Line::Told { number, client: self.name.clone(), answer: answer.clone(), at: now() });
        answer
    }

    /// In one write: a kill leaves a line or none of it.
    fn write(&mut self, line: &Line) {
        self.log.write_all((serde_json::to_string(line).unwrap() + "\n").as_bytes()).unwrap();
    }
}

/// Puts the question and sorts the answer.
async fn put(account: &AccountHandle, ask: &Ask) -> Answer {
    let receipt = match ask {
        Ask::Open => account.open().await,
        Ask::Budget(cap) => {
            let cap = prepaid::model::Cap::Spend(amount(*cap));
            account.set_budget(None, prepaid::model::Window::TOTAL, cap).await
        }
        Ask::Deposit { key, units } => account.deposit(key, amount(*units)).await,
        Ask::Reserve { hold, units } => return reserved(account.reserve(hold, amount(*units)).await),
        Ask::Extend { hold, target } => account.extend(hold, amount(*target), false).await,
        Ask::Settle { hold, cost } => account.settle(hold, amount(*cost)).await,
        Ask::Release { hold } => account.release(hold, false).await,
        Ask::Refund { hold, key, units } => account.refund(hold, key, amount(*units)).await,
        Ask::Read => match account.view().await {
            Ok(view) => return Answer::Read(balance(view.balance())),
            Err(error) => return refused(&error),
        },
    };
    match receipt {
        Ok(receipt) => done(ask, &receipt),
        Err(error) => refused(&error),
    }
}

fn done(ask: &Ask, receipt: &Receipt) -> Answer {
    let hold = receipt.hold.as_ref();
    let kept = match ask {
        // Nothing changes a hold that is closed by its owner.
        Ask::Settle { .. } => hold.map(|hold| format!("{:?} {:?}", hold.actual, hold.closed_at)),
        Ask::Release { .. } if receipt.outcome != Outcome::AlreadySettled => hold.map(|h| format!("{:?}", h.closed_at)),
        _ => None,
    };
    let balance = Some(balance(receipt.balance));
    Answer::Done { outcome: receipt.outcome.name().to_owned(), entry: receipt.entry, balance, kept }
}

fn reserved(answer: Result<Reserved, Error>) -> Answer {
    let done = |outcome: Outcome, opened_at: prepaid::Timestamp, now: Option<prepaid::Balance>| Answer::Done {
        outcome: outcome.name().to_owned(),
        entry: None,
        balance: now.map(balance),
        kept: Some(format!("{opened_at:?}")),
    };
    match answer {
        Ok(Reserved::Created(hold)) => {
            let opened_at = hold.view().opened_at;
            // It is closed by its name, and lapses where its process dies.
            let _ = hold.detach();
            done(Outcome::Created, opened_at, None)
        }
        Ok(Reserved::Replayed { hold, balance }) => done(Outcome::Replayed, hold.opened_at, Some(balance)),
        Ok(Reserved::Closed { hold, balance, .. }) => done(Outcome::AlreadyClosed, hold.opened_at, Some(balance)),
        Ok(Reserved::Denied(denial)) => denied(&denial),
        Err(error) => refused(&error),
    }
}

fn denied(denial: &prepaid::Denial) -> Answer {
    Answer::Denied { asked: denial.asked.minor_units(), by_budget: denial.reason == prepaid::DenialReason::Budget }
}

fn refused(error: &Error) -> Answer {
    match (error.kind(), error.refusal()) {
        (ErrorKind::Refused, Some(Refusal::Denied(denial))) => denied(denial),
        (ErrorKind::Refused, Some(refusal)) => {
            Answer::Refused { name: refusal.name().to_owned(), balance: error.balance().map(balance) }
        }
        (ErrorKind::Unavailable | ErrorKind::Busy, _) => Answer::NotDone,
        (ErrorKind::Spooled, _) => Answer::Promised,
        (ErrorKind::OutcomeUnknown, _) => Answer::Unknown,
        (kind, _) => Answer::Broken(format!("{kind:?}: {error}")),
    }
}

fn balance(balance: prepaid::Balance) -> Balance {
    Balance { seq: balance.seq, available: balance.available.minor_units(), held: balance.held.minor_units() }
}

/// Reads what clients wrote.
pub(crate) fn read<'a>(logs: impl IntoIterator<Item = &'a Path>) -> Vec<Op> {
    let mut ops: Vec<Op> = Vec::new();
    let mut places = HashMap::new();
    for log in logs {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        for line in text.lines() {
            match serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")) {
                Line::Asked { number, client, account, ask, at } => {
                    assert!(places.insert((client.clone(), number), ops.len()).is_none(), "{client} {number}");
                    ops.push(Op { client, account, ask, asked: at, told: None });
                }
                Line::Told { number, client, answer, at } => ops[places[&(client, number)]].told = Some((at, answer)),
            }
        }
    }
    ops
}
