//! Command histories of one account, one JSON object per line; the head of `tests/data/hold_model.py` explains the fields.

use std::sync::Arc;
use std::time::Duration;

use prepaid::kernel::Action;
use prepaid::model::{CallToken, Hold, Lease, Limits, OnLapse, Overrun, Policy, Terms};
use serde_json::{Value, json};

use super::one::{amount, hold, measured, operation};

/// One unit of a history's time.
pub const UNIT: Duration = Duration::from_secs(1);

/// A history.
#[derive(Debug)]
pub struct History {
    pub limits: Limits,
    pub policy: Policy,
    pub deposit: i64,
    pub steps: Vec<Step>,
    pub text: String,
}

/// A step of a history.
#[derive(Debug)]
pub enum Step {
    /// The clock moves by so many units.
    Tick(u32),
    /// A command, what it must be answered, and how things stand afterwards.
    Command { command: Value, outcome: String, after: Value },
}

/// The histories of a text, one per line.
pub fn histories(text: &str) -> Vec<History> {
    text.lines().filter(|line| !line.trim().is_empty()).map(history).collect()
}

fn history(line: &str) -> History {
    let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    let policy = &value["policy"];
    let on_lapse = match text(&policy["on_lapse"]) {
        "Release" => OnLapse::Release,
        "CaptureReported" => OnLapse::CaptureReported,
        "CaptureHeld" => OnLapse::CaptureHeld,
        other => panic!("{other}"),
    };
    let overrun = match text(&policy["overrun"]) {
        "Debt" => Overrun::Debt,
        "CapToAvailable" => Overrun::CapToAvailable,
        "CapToHold" => Overrun::CapToHold,
        other => panic!("{other}"),
    };
    let lease = Lease { ttl: UNIT, grace: UNIT, late: UNIT };
    let step = |step: &Value| match step["do"]["tick"].as_u64() {
        Some(units) => Step::Tick(u32::try_from(units).unwrap()),
        None => Step::Command {
            command: step["do"].clone(),
            outcome: text(&step["outcome"]).to_owned(),
            after: step["after"].clone(),
        },
    };
    History {
        limits: Limits { credit: amount(units(&policy["credit_limit"])), ..Limits::default() },
        policy: Policy { on_lapse, overrun, lease },
        deposit: units(&value["deposit"]),
        steps: value["steps"].as_array().unwrap().iter().map(step).collect(),
        text: line.to_owned(),
    }
}

/// The command as the kernel knows it. `call` tells it from every other call.
pub fn action(command: &Value, call: u8) -> Action {
    let named = |field: &str| hold(text(&command[field]));
    let units = |field: &str| amount(units(&command[field]));
    let flag = |field: &str| command[field].as_bool().unwrap();
    let key = || operation(text(&command["operation"]));
    let metadata = None;
    match text(&command["command"]) {
        "deposit" => Action::Deposit { key: key(), amount: units("amount"), metadata },
        "withdraw" => Action::Withdraw { key: key(), amount: units("amount"), metadata },
        "reserve" => {
            let mut terms = Terms::default();
            (terms.amount, terms.min) = (units("amount"), command["min"].as_i64().map(amount));
            let token = CallToken([call; 16]);
            Action::Reserve { hold: named("hold"), terms: Arc::new(terms), lease: None, token, metadata }
        }
        "renew" => Action::Renew { hold: named("hold"), ttl: None },
        "extend" => Action::Extend { hold: named("hold"), target: units("target"), partial: flag("partial") },
        "report" => Action::Report {
            hold: named("hold"),
            measured: measured(self::units(&command["total"]), 0),
            above_ceiling: false,
        },
        "settle" => Action::Settle {
            hold: named("hold"),
            measured: measured(self::units(&command["actual"]), 0),
            or_debit: flag("or_debit").then(Arc::default),
            above_ceiling: false,
            metadata,
        },
        "release" => Action::Release { hold: named("hold"), waive: flag("waive") },
        "abandon" => Action::Abandon { hold: named("hold") },
        "lapse" => Action::Lapse { hold: named("hold") },
        "seal" => Action::Seal { hold: named("hold") },
        "refund" => Action::Refund { hold: named("hold"), key: key(), amount: units("amount"), metadata },
        "correct" => Action::Correct {
            hold: named("hold"),
            key: key(),
            expected: units("expected"),
            measured: measured(self::units(&command["actual"]), 0),
            above_ceiling: false,
            metadata,
        },
        other => panic!("unknown command {other}"),
    }
}

/// A hold as histories write it down.
pub fn view(hold: Option<&Hold>) -> Value {
    let Some(hold) = hold else {
        return json!({ "state": "Absent", "held": 0, "reported": 0, "provisional": 0, "actual": null, "captured": 0,
            "written_off": 0, "refunded": 0 });
    };
    json!({
        "state": format!("{:?}", hold.state),
        "held": hold.held.minor_units(),
        "reported": hold.reported.cost.minor_units(),
        "provisional": hold.provisional.cost.minor_units(),
        "actual": hold.actual.map(|actual| actual.cost.minor_units()),
        "captured": hold.captured.minor_units(),
        "written_off": hold.written_off.minor_units(),
        "refunded": hold.refunded.minor_units(),
    })
}

pub fn units(value: &Value) -> i64 {
    value.as_i64().unwrap_or_else(|| panic!("not a number: {value}"))
}

pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("not a text: {value}"))
}
