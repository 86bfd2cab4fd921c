//! A store beside its reference.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::StoreFactory;
use crate::kernel::{Action, Batch, Command, Outcome, Refusal, Reply};
use crate::model::{
    Account, AccountId, Amount, Asset, CallToken, Hold, HoldId, KeyHash, Lease, Limits, Measured, OperationKey, Policy,
    Terms,
};
use crate::store::{MemoryStore, Store};
use crate::testing::{ManualClock, Rows};

/// The store under test, and one reference per bucket that is told the same.
#[derive(Debug)]
pub(super) struct Scene<'a> {
    pub(super) factory: &'a mut dyn StoreFactory,
    pub(super) store: Arc<dyn Store>,
    references: BTreeMap<u16, (Arc<ManualClock>, MemoryStore)>,
}

/// A lease short enough to be waited for.
pub(super) const LEASE: Lease =
    Lease { ttl: Duration::from_secs(2), grace: Duration::from_secs(1), late: Duration::from_secs(2) };
/// From a reserve until it may lapse.
pub(super) const OVERDUE: Duration = Duration::from_secs(3);

impl<'a> Scene<'a> {
    pub(super) async fn new(factory: &'a mut dyn StoreFactory) -> Self {
        let store = factory.make().await.expect("a store is made");
        Self { factory, store, references: BTreeMap::new() }
    }

    /// A scene with an open account and so much money in it.
    pub(super) async fn with(factory: &'a mut dyn StoreFactory, deposit: i64) -> Self {
        let mut scene = Self::new(factory).await;
        scene.open("alice", deposit).await;
        scene
    }

    /// Opens another account with so much money in it.
    pub(super) async fn open(&mut self, account: &str, deposit: i64) {
        let policy = Policy { lease: LEASE, ..Policy::default() };
        self.ok(account, Action::Open { asset: Asset::USD, limits: Limits::default(), policy }).await;
        if deposit > 0 {
            self.ok(account, money("opening", deposit)).await;
        }
    }

    /// Commits commands of one bucket, here and at the reference, and compares the replies.
    pub(super) async fn batch(&mut self, batch: Batch) -> Vec<Reply> {
        let bucket = batch.commands().first().map_or(0, |command| self.store.bucket(command.account()));
        let batch = Arc::new(batch);
        let replies = self.store.commit(bucket, Arc::clone(&batch)).await.expect("a batch is committed");
        let ledger = self.store.ledger();
        let (clock, reference) = self.references.entry(bucket).or_insert_with(|| {
            let clock = Arc::new(ManualClock::default());
            (Arc::clone(&clock), MemoryStore::new(ledger, clock))
        });
        match replies.first() {
            Some(reply) => clock.set(reply.at),
            None => clock.set(self.store.due(bucket, 0).await.expect("the time is read").now),
        }
        let expected = reference.commit(bucket, batch).await.expect("the reference commits");
        assert_eq!(replies, expected, "the reference replies otherwise");
        replies
    }

    /// One command, and its answer.
    pub(super) async fn run(&mut self, account: &str, action: Action) -> Reply {
        let replies = self.batch(Batch::new(vec![command(account, action)])).await;
        replies.into_iter().next().expect("one reply to one command")
    }

    /// One command that is accepted.
    pub(super) async fn ok(&mut self, account: &str, action: Action) -> Outcome {
        self.run(account, action).await.answer.expect("the command is accepted")
    }

    /// One command that is refused.
    pub(super) async fn refused(&mut self, account: &str, action: Action) -> Refusal {
        self.run(account, action).await.answer.expect_err("the command is refused")
    }

    /// Lets the store's time pass.
    pub(super) async fn pass(&mut self, span: Duration) {
        self.factory.pass(span).await;
    }

    pub(super) async fn rows(&self, bucket: u16) -> Rows {
        Rows::of_bucket(&*self.store, bucket).await.expect("rows are read")
    }

    pub(super) async fn account(&self, account: &str) -> Option<Account> {
        self.store.account(&id(account)).await.expect("an account is read")
    }

    pub(super) async fn hold(&self, account: &str, hold: &str) -> Option<Arc<Hold>> {
        let account = id(account);
        let key = KeyHash::hold(&account, &hold_id(hold));
        self.store.hold(&account, key).await.expect("a hold is read")
    }

    /// Compares all rows with the reference's, and checks their rules.
    pub(super) async fn finish(&self) {
        for (bucket, (_, reference)) in &self.references {
            let rows = self.rows(*bucket).await;
            let expected = Rows::of_bucket(reference, *bucket).await.expect("the reference is read");
            // The first row that differs says more than all of them.
            for (row, expected) in rows.entries.iter().zip(&expected.entries) {
                assert_eq!(row, expected, "the reference has another entry");
            }
            for (row, expected) in rows.holds.iter().zip(&expected.holds) {
                assert_eq!(row, expected, "the reference has another hold");
            }
            assert!(rows == expected, "the reference has other rows: {rows:?}, not {expected:?}");
            // They are rules of whole journals.
            if rows.pruned == 0 {
                rows.check(self.store.ledger()).expect("the rows obey their rules");
            }
        }
    }
}

pub(super) fn command(account: &str, action: Action) -> Arc<Command> {
    Arc::new(Command::new(id(account), action))
}

pub(super) fn id(account: &str) -> AccountId {
    AccountId::new(account).expect("a valid id")
}

/// `h` is the first attempt at `h`.
pub(super) fn hold_id(hold: &str) -> HoldId {
    if hold.contains('#') { hold.parse() } else { HoldId::new(hold, 1) }.expect("a valid id")
}

pub(super) fn key(key: &str) -> OperationKey {
    OperationKey::new(key).expect("a valid key")
}

pub(super) fn amount(units: i64) -> Amount {
    Amount::new(units).expect("an amount within its range")
}

pub(super) fn money(name: &str, units: i64) -> Action {
    Action::Deposit { key: key(name), amount: amount(units), metadata: None }
}

pub(super) fn reserve(hold: &str, units: i64) -> Action {
    let terms = Terms { amount: amount(units), ..Terms::default() };
    // Tokens tell calls apart; here every hold is asked for by a call of its own.
    let token = CallToken(KeyHash::hold(&id("token"), &hold_id(hold)).0);
    Action::Reserve { hold: hold_id(hold), terms: Arc::new(terms), lease: None, token, metadata: None }
}

pub(super) fn report(hold: &str, units: i64) -> Action {
    Action::Report { hold: hold_id(hold), measured: Measured::new(amount(units), 7), above_ceiling: false }
}

pub(super) fn settle(hold: &str, units: i64) -> Action {
    Action::Settle {
        hold: hold_id(hold),
        measured: Measured::new(amount(units), 7),
        or_debit: None,
        above_ceiling: false,
        metadata: None,
    }
}

pub(super) fn refund(hold: &str, name: &str, units: i64) -> Action {
    Action::Refund { hold: hold_id(hold), key: key(name), amount: amount(units), metadata: None }
}

pub(super) fn correct(hold: &str, name: &str, expected: i64, units: i64) -> Action {
    Action::Correct {
        hold: hold_id(hold),
        key: key(name),
        expected: amount(expected),
        measured: Measured::new(amount(units), 8),
        above_ceiling: false,
        metadata: None,
    }
}

pub(super) fn lapse(hold: &str) -> Action {
    Action::Lapse { hold: hold_id(hold) }
}

pub(super) fn seal(hold: &str) -> Action {
    Action::Seal { hold: hold_id(hold) }
}
