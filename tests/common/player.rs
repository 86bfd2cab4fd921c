//! Plays a case on a store and on the model, and compares after every step.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use prepaid::kernel::{Batch, Command, Reply};
use prepaid::model::EntryKind;
use prepaid::store::Store;
use prepaid::testing::{HoldModel, ManualClock, Model, Rows};
use prepaid::{DenialReason, Ledger, Outcome, Refusal, Timestamp};

use super::draw::{Case, Drawer, Drawn};
use prepaid::clock::Clock;

/// State of the named hold before, command, outcome: a cell of the state table that was met.
pub type Cell = (String, &'static str, &'static str);

/// A store, its clock, and the model beside it.
pub struct Player {
    pub store: Arc<dyn Store>,
    /// Another store that is told the same, if there is one: it has to answer and to keep the same.
    pub twin: Option<Arc<dyn Store>>,
    pub clock: Arc<ManualClock>,
    pub model: Model,
    pub rows: Rows,
    pub cells: BTreeSet<Cell>,
    /// How often lots and budgets met what they are there for.
    pub marks: BTreeMap<&'static str, u64>,
    /// What was done so far, to be read when it goes wrong.
    pub log: Vec<String>,
}

/// What the model says of a command.
pub struct Expected {
    command: Arc<Command>,
    answer: Result<Outcome, Refusal>,
    hold: Option<HoldModel>,
    balance: Option<(i128, i128, i128)>,
}

impl Player {
    pub fn new(store: Arc<dyn Store>, clock: Arc<ManualClock>) -> Self {
        Self {
            store,
            twin: None,
            clock,
            model: Model::default(),
            rows: Rows::default(),
            cells: BTreeSet::new(),
            marks: BTreeMap::new(),
            log: Vec::new(),
        }
    }

    /// Plays a whole case. Commands whose steps say so go into one batch with the one before.
    pub async fn play(&mut self, case: &Case, prefix: &str) -> Result<(), String> {
        let mut drawer = Drawer::new(case, prefix);
        for step in drawer.beginning(self.clock.now()) {
            match step {
                Drawn::Tick(micros) => self.tick(micros),
                Drawn::Command(command) => {
                    let expected = self.expect(&command);
                    self.commit(vec![expected]).await?;
                }
            }
        }
        let mut batch = Vec::new();
        for raw in &case.steps {
            match drawer.draw(*raw, &self.model, self.clock.now()) {
                Drawn::Tick(micros) => {
                    self.commit(std::mem::take(&mut batch)).await?;
                    self.tick(micros);
                }
                Drawn::Command(command) => {
                    if raw.flags & 0b11 != 0b11 {
                        self.commit(std::mem::take(&mut batch)).await?;
                    }
                    batch.push(self.expect(&command));
                }
            }
        }
        self.commit(batch).await
    }

    fn tick(&mut self, micros: i64) {
        self.log.push(format!("clock: {micros:+} us"));
        self.clock.set(Timestamp::from_micros(self.clock.now().as_micros() + micros));
    }

    /// Asks the model.
    fn expect(&mut self, command: &Arc<Command>) -> Expected {
        let before =
            named(&self.model, command).map_or_else(|| "Absent".to_owned(), |hold| format!("{:?}", hold.state));
        let expected = Expected::by(&mut self.model, command, self.clock.now());
        let name = expected.answer.as_ref().map_or_else(Refusal::name, |outcome| outcome.name());
        self.cells.insert((before, command.action().name(), name));
        expected
    }

    /// Commits a batch and compares everything.
    async fn commit(&mut self, expected: Vec<Expected>) -> Result<(), String> {
        if expected.is_empty() {
            return Ok(());
        }
        for Expected { command, answer, .. } in &expected {
            self.log.push(format!("{} {:?} -> {answer:?}", command.account(), command.action()));
        }
        let commands: Vec<_> = expected.iter().map(|expected| Arc::clone(&expected.command)).collect();
        let replies = self.submit(commands).await?;
        for (expected, reply) in expected.iter().zip(&replies) {
            expected.compare(reply)?;
        }
        let rows = self.dump().await?;
        rows.check_since(&self.rows, self.store.ledger())?;
        self.model.compare(&rows)?;
        self.mark(&expected, &rows);
        let lapsed = rows.entries.iter().skip(self.rows.entries.len()).any(|entry| entry.kind == EntryKind::Lapse);
        if let ([Expected { command, answer: Ok(outcome), .. }], true) = (&expected[..], lapsed) {
            self.cells.insert(("Overdue".to_owned(), command.action().name(), outcome.name()));
        }
        let changes = |answer: &Result<Outcome, Refusal>| match answer {
            Ok(Outcome::Replayed | Outcome::AlreadyClosed | Outcome::AlreadySettled | Outcome::NoOp) | Err(_) => false,
            Ok(_) => true,
        };
        if !expected.iter().any(|expected| changes(&expected.answer)) && rows != self.rows {
            return Err("a refusal or a replay changed rows".to_owned());
        }
        self.rows = rows;
        self.again(&expected).await
    }

    /// The last command once more: what was accepted is accepted again, and nothing changes.
    async fn again(&mut self, expected: &[Expected]) -> Result<(), String> {
        let Some(last) = expected.last().filter(|last| last.answer.is_ok()) else {
            return Ok(());
        };
        let replies = self.submit(vec![Arc::clone(&last.command)]).await?;
        if let Some(refusal) = replies.iter().find_map(|reply| reply.answer.as_ref().err()) {
            return Err(format!("the accepted command was refused when it came again: {refusal:?}"));
        }
        if replies.iter().any(|reply| reply.entry.is_some()) || self.dump().await? != self.rows {
            return Err("the accepted command changed rows when it came again".to_owned());
        }
        Ok(())
    }

    /// What an audit of everything finds: nothing.
    pub async fn audit(&self) -> Result<(), String> {
        let ledger = Ledger::builder().sweep_every(None).open_store(Arc::clone(&self.store));
        let audit = ledger.map_err(|error| error.to_string())?.audit().await.map_err(|error| error.to_string())?;
        if audit.is_clean() { Ok(()) } else { Err(format!("audit: {audit}")) }
    }

    /// Counts what the list has met so far of lots and budgets.
    fn mark(&mut self, expected: &[Expected], rows: &Rows) {
        let new_entries = || rows.entries.iter().skip(self.rows.entries.len());
        let wrote = |kind| new_entries().any(|entry| entry.kind == kind);
        let more = |part: fn(&Rows) -> usize| part(rows) > part(&self.rows);
        let lost = |rows: &Rows| {
            rows.holds.iter().flat_map(|hold| &hold.takes).filter(|take| !take.forfeited.is_zero()).count()
        };
        let denied = expected.iter().filter_map(|expected| match &expected.answer {
            Err(Refusal::Denied(denial)) => Some(denial),
            Ok(_) | Err(_) => None,
        });
        let denied: Vec<_> = denied.filter(|denial| denial.reason == DenialReason::Budget).collect();
        let created =
            expected.iter().filter(|own| matches!(own.answer, Ok(Outcome::Created | Outcome::CreatedPartial)));
        let created: Vec<_> = created.filter_map(|own| own.hold.as_ref()).collect();
        let met = [
            ("denied by a budget", !denied.is_empty()),
            ("budget that resets", denied.iter().any(|denial| denial.retry_after.is_some())),
            ("part of a budget", denied.iter().any(|denial| !denial.grantable.is_zero())),
            ("hold in several windows", created.iter().any(|hold| hold.windows.len() > 1)),
            ("hold from several lots", created.iter().any(|hold| hold.coins.held.len() > 1)),
            ("lapse before a hold with budgets", {
                wrote(EntryKind::Lapse) && created.iter().any(|hold| !hold.windows.is_empty())
            }),
            ("lot expired", wrote(EntryKind::LotExpiry)),
            ("money came back too late", lost(rows) > lost(&self.rows)),
            ("late money was used after all", lost(rows) < lost(&self.rows)),
            ("refund into a new lot", more(|rows| rows.lots.len()) && !wrote(EntryKind::Grant)),
            ("budget was set again", rows.budgets.iter().any(|budget| budget.active && budget.version > 2)),
        ];
        for (what, _) in met.into_iter().filter(|(_, met)| *met) {
            *self.marks.entry(what).or_default() += 1;
        }
    }

    pub async fn submit(&self, commands: Vec<Arc<Command>>) -> Result<Vec<Reply>, String> {
        let count = commands.len();
        let batch = Arc::new(Batch::new(commands));
        let replies = self.store.commit(0, Arc::clone(&batch)).await.map_err(|error| error.to_string())?;
        if let Some(twin) = &self.twin {
            let others = twin.commit(0, batch).await.map_err(|error| error.to_string())?;
            if others != replies {
                return Err(format!("the stores answer differently: {replies:?} and {others:?}"));
            }
        }
        if replies.len() == count { Ok(replies) } else { Err(format!("{} replies to {count}", replies.len())) }
    }

    pub async fn dump(&self) -> Result<Rows, String> {
        let rows = Rows::of_bucket(&*self.store, 0).await.map_err(|error| error.to_string())?;
        if let Some(twin) = &self.twin {
            let others = Rows::of_bucket(&**twin, 0).await.map_err(|error| error.to_string())?;
            if others != rows {
                return Err(format!("the stores keep different rows: {rows:?} and {others:?}"));
            }
        }
        Ok(rows)
    }
}

/// The hold a command names.
fn named(model: &Model, command: &Command) -> Option<HoldModel> {
    model.account(command.account())?.hold(command.action().hold()?).cloned()
}

impl Expected {
    /// Asks the model, which goes on from there.
    pub fn by(model: &mut Model, command: &Arc<Command>, now: Timestamp) -> Self {
        let answer = model.run(command, now);
        let balance = model.account(command.account()).map(|account| {
            let totals = account.totals();
            (totals.available, totals.held, account.spendable(None, now).clamp(-(1 << 59), 1 << 59))
        });
        Self { command: Arc::clone(command), answer, hold: named(model, command), balance }
    }

    pub fn compare(&self, reply: &Reply) -> Result<(), String> {
        if reply.answer != self.answer {
            return Err(format!("{:?}: expected {:?}, got {:?}", self.command, self.answer, reply.answer));
        }
        let balance = reply.balance.map(|balance| {
            let units = |units: i64| i128::from(units);
            (
                units(balance.available.minor_units()),
                units(balance.held.minor_units()),
                units(balance.spendable.minor_units()),
            )
        });
        if balance != self.balance {
            return Err(format!("{:?}: expected balance {:?}, got {balance:?}", self.command, self.balance));
        }
        match (&self.hold, &reply.hold) {
            (None, None) => Ok(()),
            (Some(expected), Some(hold)) => expected.compare(hold),
            (expected, got) => Err(format!("{:?}: expected hold {expected:?}, got {got:?}", self.command)),
        }
    }
}
