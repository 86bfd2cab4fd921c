//! Plays a case on a store whose accounts let go of their past now and then, and compares every answer with the model's, which
//! forgets nothing.

use std::collections::HashSet;
use std::sync::Arc;

use prepaid::clock::Clock;
use prepaid::journal::archive::verify;
use prepaid::kernel::{Batch, Command};
use prepaid::model::KeyHash;
use prepaid::store::Store;
use prepaid::testing::{ManualClock, Model, Rows};
use prepaid::{AccountId, Ledger, Refusal, Timestamp};

use super::draw::{Case, Drawer, Drawn, Raw};
use super::player::Expected;

/// Why a case failed.
pub type Failure = Box<dyn std::error::Error>;

/// A store, its clock, and the model beside it.
pub struct Forgetful {
    store: Arc<dyn Store>,
    clock: Arc<ManualClock>,
    ledger: Ledger,
    model: Model,
    /// What holds and operations that are too old are found by.
    gone: HashSet<KeyHash>,
    /// How many entries went, and how often something that was too old was asked for.
    pub met: [u64; 2],
    /// What was done so far, to be read when it goes wrong.
    pub log: Vec<String>,
}

impl Forgetful {
    pub fn new(store: Arc<dyn Store>, clock: Arc<ManualClock>) -> Self {
        let ledger = Ledger::builder().sweep_every(None).open_store(Arc::clone(&store)).unwrap();
        let (model, gone) = (Model::default(), HashSet::new());
        Self { store, clock, ledger, model, gone, met: [0; 2], log: Vec::new() }
    }

    /// Plays a whole case.
    pub async fn play(&mut self, case: &Case) -> Result<(), Failure> {
        let mut drawer = Drawer::new(case, "a");
        for step in drawer.beginning(self.clock.now()) {
            self.take(step).await?;
        }
        for raw in &case.steps {
            let step = drawer.draw(*raw, &self.model, self.clock.now());
            self.take(step).await?;
            if raw.more % 4 == 0 {
                self.let_go(drawer.account(raw.account), *raw).await?;
            }
        }
        let audit = self.ledger.audit().await?;
        if audit.is_clean() { Ok(()) } else { Err(format!("audit: {audit}").into()) }
    }

    async fn take(&mut self, step: Drawn) -> Result<(), Failure> {
        match step {
            // Forward only: a checkpoint is an entry too, and behind its time an account does not go back.
            Drawn::Tick(micros) => {
                let micros = micros.max(0);
                self.log.push(format!("clock: {micros:+} us"));
                self.clock.set(Timestamp::from_micros(self.clock.now().as_micros() + micros));
                Ok(())
            }
            Drawn::Command(command) => self.run(&command).await,
        }
    }

    async fn run(&mut self, command: &Arc<Command>) -> Result<(), Failure> {
        let batch = Arc::new(Batch::new(vec![Arc::clone(command)]));
        let reply = self.store.commit(0, batch).await?.remove(0);
        self.log.push(format!("{} {:?} -> {:?}", command.account(), command.action(), reply.answer));
        let operation = command.operation().map(|(key, _)| key);
        if command.hold_key().into_iter().chain(operation).any(|key| self.gone.contains(&key)) {
            self.met[1] += 1;
            return match &reply.answer {
                Err(Refusal::TooOld) => Ok(()),
                // Another reason may come first; the model, which has it all, must not have heard of it.
                answer if answer.is_err() && self.model.clone().run(command, self.clock.now()) == *answer => Ok(()),
                answer => Err(format!("{command:?}: expected to be too old, got {answer:?}").into()),
            };
        }
        Ok(Expected::by(&mut self.model, command, self.clock.now()).compare(&reply)?)
    }

    /// Archives what an account did until some time ago, and half of the time lets go of the entries at once.
    async fn let_go(&mut self, account: &AccountId, raw: Raw) -> Result<(), Failure> {
        if self.model.account(account).is_none() {
            return Ok(());
        }
        let account = self.ledger.account(account.clone())?;
        let ago = [-1, 0, 70, 170][usize::from(raw.other % 4)] * 1_000_000;
        let mut file = Vec::new();
        let before = Timestamp::from_micros(self.clock.now().as_micros() - ago);
        let archive = account.archive(before, &mut file).await?;
        let Some(archive) = archive else { return Ok(()) };
        verify(&file[..])?;
        let rows = Rows::of_bucket(&*self.store, 0).await?;
        let number = account.view().await?.number;
        let old = rows.entries.iter().filter(|entry| entry.account_number == number && entry.seq <= archive.until());
        self.gone.extend(old.filter_map(|entry| entry.operation()));
        let closed =
            rows.holds.iter().filter(|hold| hold.account_number == number && hold.is_closed_over(archive.until()));
        self.gone.extend(closed.map(|hold| hold.key));
        account.checkpoint(&archive).await?;
        let pruned = if raw.flags & 4 == 0 { account.prune().await? } else { 0 };
        self.met[0] += pruned;
        self.log.push(format!("{} archived until {}, {pruned} pruned", account.id(), archive.until()));
        Ok(())
    }
}
