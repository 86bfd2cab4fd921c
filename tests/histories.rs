//! Histories that the executable form of the state table (`tests/data/hold_model.py`) wrote, played through the public
//! interface: the same outcomes and the same balances, step by step, on every store.
//!
//! `PREPAID_HISTORIES` names a file with more of them. A fresh sample is drawn at every run; `PREPAID_SEED` draws the
//! same again.

#![cfg(feature = "testing")]

mod common;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::process::Command;
use std::sync::Arc;

use prepaid::testing::{ManualClock, Model};
use prepaid::{AccountHandle, Asset, Ledger, Receipt, Reserved, Result};
use serde_json::Value;

use common::history::{History, Step, UNIT, action, histories, text, units, view};
use common::one::amount;
use common::places::Place;

const KEPT: &str = include_str!("data/hold_histories.jsonl");
const SAMPLE: u64 = 300;

#[tokio::test]
async fn memory_gives_the_outcomes_and_balances_of_the_histories() {
    play_all(Place::memory(), &histories(KEPT)).await;
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn sqlite_gives_the_outcomes_and_balances_of_the_histories() {
    play_all(Place::sqlite(), &histories(KEPT)).await;
}

#[cfg(feature = "postgres")]
#[tokio::test]
async fn postgres_gives_the_outcomes_and_balances_of_the_histories() {
    play_all(Place::postgres().await, &histories(KEPT)).await;
}

#[tokio::test]
async fn fresh_sample_is_played_alike_on_every_store() {
    let sample = histories(&fresh_sample());
    assert_eq!(sample.len() as u64, SAMPLE);
    play_everywhere(&sample).await;
}

#[tokio::test]
async fn file_of_histories_is_played_alike_on_every_store() {
    let Some(path) = std::env::var_os("PREPAID_HISTORIES") else {
        println!("PREPAID_HISTORIES names no file: nothing to play");
        return;
    };
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let histories = histories(&text);
    println!("{}: {} histories", path.display(), histories.len());
    assert!(!histories.is_empty(), "{} holds no history", path.display());
    play_everywhere(&histories).await;
}

/// The model the random tests compare with is itself compared with the other one.
#[test]
fn model_of_the_test_room_agrees_with_the_histories() {
    let fresh = fresh_sample();
    for history in histories(KEPT).iter().chain(&histories(&fresh)) {
        play_on_the_model(history);
    }
}

async fn play_everywhere(histories: &[History]) {
    play_all(Place::memory(), histories).await;
    #[cfg(feature = "sqlite")]
    play_all(Place::sqlite(), histories).await;
    #[cfg(feature = "postgres")]
    play_all(Place::postgres().await, histories).await;
}

/// Plays every history on an account of its own, then audits the ledger.
async fn play_all(place: Place, histories: &[History]) {
    let clock = Arc::new(ManualClock::default());
    let ledger = place.open_by(Ledger::builder().sweep_every(None), clock.clone()).await;
    for (number, history) in histories.iter().enumerate() {
        let account = ledger.account(format!("account-{number}")).unwrap();
        play(&account, &clock, history).await;
    }
    let audit = ledger.audit().await.unwrap();
    assert!(audit.is_clean(), "{audit}");
    ledger.close(UNIT).await.unwrap();
}

async fn play(account: &AccountHandle, clock: &ManualClock, history: &History) {
    account.open_with(Asset::USD, history.limits, history.policy).await.unwrap();
    if history.deposit > 0 {
        account.deposit("opening", amount(history.deposit)).await.unwrap();
    }
    for (number, step) in history.steps.iter().enumerate() {
        match step {
            Step::Tick(units) => clock.advance(UNIT * *units),
            Step::Command { command, outcome, after } => {
                let answer = run(account, command).await;
                let balance = account.balance().await.unwrap();
                let hold = match command["hold"].as_str() {
                    Some(id) => Some(view(account.hold(id).await.unwrap().as_deref())),
                    None => None,
                };
                let expected = (outcome.as_str(), units(&after["available"]), units(&after["held"]), after.get("hold"));
                let found =
                    (answer.as_str(), balance.available.minor_units(), balance.held.minor_units(), hold.as_ref());
                assert_eq!(found, expected, "step {number}, {command}, of {}", history.text);
            }
        }
    }
}

/// A command through the public interface; the name its outcome has in the state table.
async fn run(account: &AccountHandle, command: &Value) -> String {
    let hold = command["hold"].as_str().unwrap_or_default();
    let key = command["operation"].as_str().unwrap_or_default();
    let number = |field: &str| amount(units(&command[field]));
    let flag = |field: &str| command[field].as_bool().unwrap();
    match text(&command["command"]) {
        "reserve" => return reserve(account, hold, command).await,
        "deposit" => name(account.deposit(key, number("amount")).await),
        "withdraw" => name(account.withdraw(key, number("amount")).await),
        "renew" => name(account.renew(hold, None).await),
        "extend" => name(account.extend(hold, number("target"), flag("partial")).await),
        "report" => name(account.report(hold, number("total")).await),
        "settle" if flag("or_debit") => name(account.settle(hold, number("actual")).or_debit().await),
        "settle" => name(account.settle(hold, number("actual")).await),
        "release" => name(account.release(hold, flag("waive")).await),
        "abandon" => name(account.abandon(hold).await),
        "lapse" => name(account.lapse(hold).await),
        "seal" => name(account.seal(hold).await),
        "refund" => name(account.refund(hold, key, number("amount")).await),
        "correct" => name(account.correct(hold, key, number("expected"), number("actual")).await),
        other => panic!("unknown command {other}"),
    }
}

async fn reserve(account: &AccountHandle, hold: &str, command: &Value) -> String {
    let asked = amount(units(&command["amount"]));
    let mut call = account.reserve(hold, asked);
    if let Some(min) = command["min"].as_i64() {
        call = call.min(amount(min));
    }
    match call.await {
        Ok(Reserved::Created(hold)) => {
            let whole = hold.amount() == asked;
            // The history closes it, or its lease does.
            hold.detach();
            if whole { "Created" } else { "CreatedPartial" }.to_owned()
        }
        Ok(Reserved::Replayed { .. }) => "Replayed".to_owned(),
        Ok(Reserved::Closed { .. }) => "AlreadyClosed".to_owned(),
        Ok(Reserved::Denied(_)) => "Denied".to_owned(),
        Err(error) => error.refusal().map_or_else(|| panic!("{error:?}"), |refusal| refusal.name()).to_owned(),
    }
}

fn name(answer: Result<Receipt>) -> String {
    match answer {
        Ok(receipt) => receipt.outcome.name(),
        Err(error) => error.refusal().map_or_else(|| panic!("{error:?}"), |refusal| refusal.name()),
    }
    .to_owned()
}

fn play_on_the_model(history: &History) {
    use prepaid::clock::Clock;
    use prepaid::kernel::{Action, Command};
    let clock = ManualClock::default();
    let account: prepaid::AccountId = "alice".parse().unwrap();
    let mut model = Model::default();
    let mut run = |action: Action, clock: &ManualClock| {
        let command = Command::new(account.clone(), action);
        let name = model.run(&command, clock.now()).map_or_else(|refusal| refusal.name(), |outcome| outcome.name());
        let account = model.account(command.account()).unwrap();
        let hold = command.action().hold().and_then(|hold| account.hold(hold)).cloned();
        (name, account.totals(), hold)
    };
    let open = Action::Open { asset: Asset::USD, limits: history.limits, policy: history.policy };
    run(open, &clock);
    if history.deposit > 0 {
        let deposit = serde_json::json!({ "command": "deposit", "operation": "opening", "amount": history.deposit });
        run(action(&deposit, 0), &clock);
    }
    for (number, step) in (1..).zip(&history.steps) {
        match step {
            Step::Tick(units) => clock.advance(UNIT * *units),
            Step::Command { command, outcome, after } => {
                let (name, totals, hold) = run(action(command, number), &clock);
                let whole = |field: &str| i128::from(units(&after[field]));
                let place = format!("step {number}, {command}, of {}", history.text);
                assert_eq!(
                    (name, totals.available, totals.held),
                    (&**outcome, whole("available"), whole("held")),
                    "{place}"
                );
                let Some(hold) = hold else { continue };
                let of = |field: &str| i128::from(after["hold"][field].as_i64().unwrap_or(-1));
                let found =
                    (hold.held, hold.reported.0, hold.provisional.0, hold.captured, hold.written_off, hold.refunded);
                let expected =
                    (of("held"), of("reported"), of("provisional"), of("captured"), of("written_off"), of("refunded"));
                assert_eq!(found, expected, "{place}");
                assert_eq!(hold.actual.map_or(-1, |actual| actual.0), of("actual"), "{place}");
                assert_eq!(format!("{:?}", hold.state), text(&after["hold"]["state"]), "{place}");
            }
        }
    }
}

/// Histories nobody has seen before.
fn fresh_sample() -> String {
    let seed = common::number("PREPAID_SEED", RandomState::new().build_hasher().finish() >> 32);
    println!("PREPAID_SEED={seed}");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/hold_model.py");
    let drawn = Command::new("python3")
        .args([script, "--seed", &seed.to_string(), "--histories", &SAMPLE.to_string()])
        .output()
        .unwrap_or_else(|error| {
            panic!("python3 cannot be run ({error}); it draws the histories: install it with `apt-get install python3`")
        });
    assert!(drawn.status.success(), "PREPAID_SEED={seed}: {}", String::from_utf8_lossy(&drawn.stderr));
    String::from_utf8(drawn.stdout).unwrap()
}
