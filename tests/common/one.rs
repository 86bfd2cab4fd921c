//! One account, straight on the kernel and the memory store: no engine, no waiting.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use prepaid::journal::Audit;
use prepaid::kernel::{Action, Batch, Command, Reply};
use prepaid::model::{
    Account, CallToken, Entry, Hold, KeyHash, LedgerId, Limits, LotTerms, OperationKey, Policy, SignedAmount, Status,
    Terms,
};
use prepaid::store::{MemoryStore, Store};
use prepaid::testing::{ManualClock, Rows};
use prepaid::{AccountId, Amount, Asset, HoldId, Ledger, Measured, Timestamp};
use tokio::runtime::Runtime;

use super::draw::LEASE;

/// An account with a lease of 60 s, a grace of 10 s and a late window of 100 s.
pub struct One {
    pub clock: Arc<ManualClock>,
    pub store: Arc<MemoryStore>,
    pub account: AccountId,
    calls: AtomicU8,
    runtime: Runtime,
}

impl One {
    /// An open account with so much money.
    pub fn with(deposit: i64, limits: Limits, policy: Policy) -> Self {
        Self::on(Arc::new(ManualClock::default()), deposit, limits, policy)
    }

    /// An account that is opened at a certain time.
    pub fn at(now: Timestamp, deposit: i64) -> Self {
        Self::on(Arc::new(ManualClock::new(now)), deposit, Limits::default(), Policy::default())
    }

    fn on(clock: Arc<ManualClock>, deposit: i64, limits: Limits, policy: Policy) -> Self {
        let store = Arc::new(MemoryStore::new(LedgerId([7; 16]), clock.clone()));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let one = Self { clock, store, account: "alice".parse().unwrap(), calls: AtomicU8::new(1), runtime };
        let policy = Policy { lease: LEASE, ..policy };
        one.name(Action::Open { asset: Asset::USD, limits, policy });
        if deposit > 0 {
            one.name(one.deposit("first", deposit));
        }
        one
    }

    /// An open account with so much money, no limits and the default policy.
    pub fn new(deposit: i64) -> Self {
        Self::with(deposit, Limits::default(), Policy::default())
    }

    pub fn run(&self, action: Action) -> Reply {
        self.batch([action]).remove(0)
    }

    /// Several commands in one batch.
    pub fn batch(&self, actions: impl IntoIterator<Item = Action>) -> Vec<Reply> {
        let commands = actions.into_iter().map(|action| Arc::new(Command::new(self.account.clone(), action))).collect();
        self.runtime.block_on(self.store.commit(0, Arc::new(Batch::new(commands)))).unwrap()
    }

    /// Runs a command and names its outcome or its refusal as the state table does.
    pub fn name(&self, action: Action) -> &'static str {
        self.run(action).answer.map_or_else(|refusal| refusal.name(), |outcome| outcome.name())
    }

    pub fn rows(&self) -> Rows {
        self.runtime.block_on(Rows::of_bucket(&*self.store, 0)).unwrap()
    }

    /// What an audit of everything finds.
    pub fn audit(&self) -> Audit {
        let store: Arc<dyn Store> = self.store.clone();
        self.runtime.block_on(async {
            let ledger = Ledger::builder().sweep_every(None).open_store(store).unwrap();
            ledger.audit().await.unwrap()
        })
    }

    pub fn grant(&self, key: &str, units: i64, terms: LotTerms) -> Action {
        Action::Grant { key: operation(key), amount: amount(units), terms: Arc::new(terms), metadata: None }
    }

    pub fn view(&self) -> Account {
        self.runtime.block_on(self.store.account(&self.account)).unwrap().unwrap()
    }

    pub fn available(&self) -> i64 {
        self.view().books.available.minor_units()
    }

    pub fn hold(&self, id: &str) -> Option<Arc<Hold>> {
        self.runtime.block_on(self.store.hold(&self.account, KeyHash::hold(&self.account, &hold(id)))).unwrap()
    }

    pub fn journal(&self) -> Vec<Entry> {
        self.runtime.block_on(self.store.journal(&self.account, 0, u32::MAX)).unwrap()
    }

    pub fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    pub fn deposit(&self, key: &str, units: i64) -> Action {
        Action::Deposit { key: operation(key), amount: amount(units), metadata: None }
    }

    pub fn withdraw(&self, key: &str, units: i64) -> Action {
        Action::Withdraw { key: operation(key), amount: amount(units), metadata: None }
    }

    pub fn reserve(&self, id: &str, units: i64, min: Option<i64>) -> Action {
        let mut terms = Terms::default();
        (terms.amount, terms.min) = (amount(units), min.map(amount));
        // A token of its own each time: a caller that asks once more, not the engine.
        let token = CallToken([self.calls.fetch_add(1, Ordering::Relaxed); 16]);
        Action::Reserve { hold: hold(id), terms: Arc::new(terms), lease: None, token, metadata: None }
    }

    pub fn extend(&self, id: &str, target: i64, partial: bool) -> Action {
        Action::Extend { hold: hold(id), target: amount(target), partial }
    }

    pub fn report(&self, id: &str, units: i64, tokens: u64) -> Action {
        Action::Report { hold: hold(id), measured: measured(units, tokens), above_ceiling: false }
    }

    pub fn settle(&self, id: &str, units: i64, or_debit: bool) -> Action {
        let or_debit = or_debit.then(Arc::default);
        Action::Settle { hold: hold(id), measured: measured(units, 0), or_debit, above_ceiling: false, metadata: None }
    }

    pub fn debit(&self, id: &str, units: i64) -> Action {
        Action::Debit {
            hold: hold(id),
            terms: Arc::default(),
            measured: measured(units, 0),
            above_ceiling: false,
            metadata: None,
        }
    }

    pub fn release(&self, id: &str, waive: bool) -> Action {
        Action::Release { hold: hold(id), waive }
    }

    pub fn renew(&self, id: &str) -> Action {
        Action::Renew { hold: hold(id), ttl: None }
    }

    pub fn abandon(&self, id: &str) -> Action {
        Action::Abandon { hold: hold(id) }
    }

    pub fn lapse(&self, id: &str) -> Action {
        Action::Lapse { hold: hold(id) }
    }

    pub fn seal(&self, id: &str) -> Action {
        Action::Seal { hold: hold(id) }
    }

    pub fn refund(&self, id: &str, key: &str, units: i64) -> Action {
        Action::Refund { hold: hold(id), key: operation(key), amount: amount(units), metadata: None }
    }

    pub fn correct(&self, id: &str, key: &str, expected: i64, units: i64) -> Action {
        Action::Correct {
            hold: hold(id),
            key: operation(key),
            expected: amount(expected),
            measured: measured(units, 0),
            above_ceiling: false,
            metadata: None,
        }
    }

    pub fn status(&self, status: Status) -> Action {
        Action::SetStatus { status, reason: "because".into() }
    }
}

pub fn amount(units: i64) -> Amount {
    Amount::new(units).unwrap()
}

pub fn signed(units: i64) -> SignedAmount {
    SignedAmount::new(units).unwrap()
}

pub fn measured(units: i64, tokens: u64) -> Measured {
    Measured::new(amount(units), tokens)
}

/// `h` is the first attempt at `h`.
pub fn hold(id: &str) -> HoldId {
    if id.contains('#') { id.parse().unwrap() } else { HoldId::new(id, 1).unwrap() }
}

pub fn operation(key: &str) -> OperationKey {
    key.parse().unwrap()
}
