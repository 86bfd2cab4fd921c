//! A batch: commands of one bucket, decided in order on what the store loaded.

use std::collections::BTreeMap;
use std::collections::hash_map::Entry as Slot;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;

use super::decide;
use super::draft::{Draft, Need, Stop};
use super::lots::{Lots, Mark};
use super::{
    Action, ChangeSet, Command, Counters, KeyTarget, Map, Operation, Pruned, ReadSet, Refusal, Reply, Set, Snapshot,
};
use crate::model::{
    Account, AccountId, Balance, Budget, BudgetKey, BudgetWindow, Entry, Hold, KeyHash, LotKey, Timestamp, WindowKey,
};

/// Commands that stand or fall together on disk, while each is answered on its own.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    commands: Vec<Arc<Command>>,
    pause: Option<Duration>,
}

/// What a batch comes to.
#[derive(Debug)]
pub struct Decision {
    /// What to write.
    pub changes: ChangeSet,
    /// The answers, in the order of the commands. They count only once the changes are durable.
    pub replies: Vec<Reply>,
}

impl Batch {
    /// A batch of commands, in order of arrival.
    pub fn new(commands: Vec<Arc<Command>>) -> Self {
        Self { commands, pause: None }
    }

    /// The same batch, which also keeps the sweeper away from its bucket for `pause`: after an outage or a jump of the
    /// clock, owners get the time to renew before their holds are judged.
    #[must_use]
    pub fn with_pause(self, pause: Option<Duration>) -> Self {
        Self { pause, ..self }
    }

    /// The commands.
    pub fn commands(&self) -> &[Arc<Command>] {
        &self.commands
    }

    /// What has to be loaded before it can be decided.
    pub fn reads(&self) -> ReadSet {
        let mut reads = ReadSet::default();
        for command in &self.commands {
            reads.accounts.push(command.account().clone());
            reads.holds.extend(command.hold_key());
            reads.holds.extend(command.further_holds());
            reads.operations.extend(command.operation().map(|(key, _)| key));
        }
        reads
    }

    /// The holds that nothing but reserves names. Most likely they are not there yet: a store whose index refuses a key that
    /// is there already need not look them up.
    pub fn likely_new(&self) -> Set<KeyHash> {
        let is_reserve = |command: &&Arc<Command>| matches!(command.action(), Action::Reserve { .. });
        let (reserves, others): (Vec<_>, Vec<_>) = self.commands.iter().partition(is_reserve);
        let mut keys: Set<_> = reserves.iter().filter_map(|command| command.hold_key()).collect();
        for command in others {
            for key in command.hold_key().into_iter().chain(command.further_holds()) {
                keys.remove(&key);
            }
        }
        keys
    }

    /// Decides command after command, each on what the ones before it left. Pure: the same snapshot and time give the
    /// same decision, so a store may throw one away and ask again.
    ///
    /// # Errors
    /// What has to be loaded besides [`Batch::reads`]; add it to the snapshot and decide again.
    pub fn decide(&self, snapshot: &Snapshot, now: Timestamp) -> Result<Decision, Box<ReadSet>> {
        let missing = super::needs::of(&self.commands, snapshot, now);
        if missing != ReadSet::default() {
            return Err(Box::new(missing));
        }
        let mut working = Working::new(snapshot, self.commands.len());
        let mut replies = Vec::with_capacity(self.commands.len());
        let mut missing = ReadSet::default();
        for command in &self.commands {
            match working.run(command, now) {
                Ok(reply) => replies.push(reply),
                Err(need) => working.note(need, command.account(), &mut missing),
            }
        }
        if missing != ReadSet::default() {
            return Err(Box::new(missing));
        }
        let pause = self.pause.map(|pause| now.saturating_add(pause));
        Ok(Decision { changes: ChangeSet { pause, ..working.into_changes() }, replies })
    }
}

/// The snapshot with the accepted commands' changes laid over it.
#[derive(Debug)]
pub(super) struct Working<'a> {
    snapshot: &'a Snapshot,
    counters: Counters,
    accounts: Map<AccountId, (Arc<Account>, bool)>,
    holds: Map<KeyHash, (Arc<Hold>, bool)>,
    operations: Map<KeyHash, Operation>,
    lots: Map<i64, Lots>,
    budgets: Map<BudgetKey, Arc<Vec<Arc<Budget>>>>,
    changed_budgets: BTreeMap<(i64, u32), Arc<Budget>>,
    windows: Map<WindowKey, BudgetWindow>,
    keys: Vec<(KeyHash, KeyTarget)>,
    entries: Vec<Entry>,
    pruned: Pruned,
}

/// The answer to one command, and the account if an entry was written.
type Decided = (Result<super::Outcome, Refusal>, Option<Arc<Account>>);

impl<'a> Working<'a> {
    fn new(snapshot: &'a Snapshot, commands: usize) -> Self {
        Self {
            snapshot,
            counters: snapshot.counters,
            accounts: Map::with_capacity_and_hasher(snapshot.accounts.len(), RandomState::default()),
            holds: Map::with_capacity_and_hasher(commands, RandomState::default()),
            operations: Map::default(),
            lots: Map::default(),
            budgets: Map::default(),
            changed_budgets: BTreeMap::new(),
            windows: Map::default(),
            keys: Vec::with_capacity(commands),
            entries: Vec::with_capacity(commands),
            pruned: Pruned::default(),
        }
    }

    pub(super) fn counters(&self) -> Counters {
        self.counters
    }

    pub(super) fn account(&self, id: &AccountId) -> Option<&Arc<Account>> {
        self.accounts.get(id).map(|(account, _)| account).or_else(|| self.snapshot.accounts.get(id))
    }

    pub(super) fn hold(&self, key: KeyHash) -> Option<Arc<Hold>> {
        self.holds.get(&key).map(|(hold, _)| hold).or_else(|| self.snapshot.holds.get(&key)).map(Arc::clone)
    }

    /// Whether a key leads to what was archived and is gone.
    pub(super) fn is_gone(&self, key: KeyHash) -> bool {
        self.snapshot.gone.contains(&key)
    }

    pub(super) fn operation(&self, key: KeyHash) -> Option<&Operation> {
        self.operations.get(&key).or_else(|| self.snapshot.operations.get(&key))
    }

    pub(super) fn overdue(&self, account: &AccountId) -> Option<&'a [KeyHash]> {
        self.snapshot.overdue.get(account).map(Vec::as_slice)
    }

    pub(super) fn lots(&self, account: i64) -> Lots {
        self.lots.get(&account).cloned().unwrap_or_else(|| Lots::loaded(self.snapshot, account))
    }

    /// Whether an account's lots with free money are all known: they were loaded, or there were none.
    pub(super) fn knows_live_lots(&self, id: &AccountId, number: i64) -> bool {
        let none = self.snapshot.accounts.get(id).is_none_or(|account| account.lots_free.is_zero());
        none || self.snapshot.live_lots.contains(&number)
    }

    pub(super) fn budgets(&self, key: &BudgetKey) -> Option<&[Arc<Budget>]> {
        let known = self.budgets.get(key).or_else(|| self.snapshot.budgets.get(key));
        known.map(|budgets| budgets.as_slice())
    }

    /// A window that is known; one of a budget that this batch made has nothing in it yet.
    pub(super) fn window(&self, id: &AccountId, key: WindowKey) -> Option<BudgetWindow> {
        let known = self.windows.get(&key).or_else(|| self.snapshot.windows.get(&key)).copied();
        let made = self.snapshot.accounts.get(id).is_none_or(|account| key.budget > account.last_budget);
        known.or_else(|| made.then(|| BudgetWindow::new(key)))
    }

    /// Adds what a command needs to what has to be loaded.
    fn note(&self, need: Need, id: &AccountId, missing: &mut ReadSet) {
        let account = self.account(id).map_or(0, |account| account.number);
        match need {
            Need::Overdue => missing.overdue.push(id.clone()),
            Need::LiveLots => missing.live_lots.push(account),
            Need::Lot(lot) => missing.lots.push(LotKey { account, lot }),
            Need::Budgets(key) => missing.budgets.push(key),
            Need::Window(key) => missing.windows.push(key),
        }
    }

    /// An account's balance, with what it can spend without naming a model.
    fn balance(&self, account: &Account, now: Timestamp) -> Balance {
        let balance = account.balance();
        if account.lots_free.is_zero() {
            return balance;
        }
        let lots = self.lots(account.number);
        let spendable = account.spendable_of(lots.iter().map(|lot| &**lot), None, now.max(account.last_entry_at));
        Balance { spendable, ..balance }
    }

    /// The answer to one command, or what has to be loaded first.
    fn run(&mut self, command: &Command, now: Timestamp) -> Result<Reply, Need> {
        let (answer, account) = match (self.account(command.account()), command.action()) {
            (None, Action::Open { asset, limits, policy }) => {
                let account =
                    decide::account::opened(self.snapshot.ledger, &self.counters, command, *asset, *limits, *policy);
                self.decide(command, account, now, true)?
            }
            (None, _) => (Err(Refusal::UnknownAccount), None),
            (Some(account), _) => {
                let account = Account::clone(account);
                self.decide(command, account, now, false)?
            }
        };
        let current = account.as_ref().or_else(|| self.account(command.account()));
        let balance = current.map(|account| self.balance(account, now));
        let written = account.filter(|_| answer.is_ok()).map(|account| account.seq);
        Ok(Reply {
            answer,
            hold: command
                .hold_key()
                .and_then(|key| self.hold(key))
                .filter(|hold| Some(&hold.id) == command.action().hold()),
            balance,
            entry: written,
            at: now,
        })
    }

    /// Runs one command on a draft and keeps the draft if it is accepted. The account is returned if an entry was
    /// written.
    fn decide(&mut self, command: &Command, account: Account, now: Timestamp, new: bool) -> Result<Decided, Need> {
        let past = account.past;
        let mut draft = Draft::new(self, account, now);
        match decide::decide(&mut draft, command) {
            Ok(outcome) => {
                let Draft {
                    account,
                    holds,
                    lots,
                    windows,
                    budget,
                    entries,
                    operation,
                    pruned,
                    position,
                    hold_number,
                    ..
                } = draft;
                super::invariant::check(&account, &holds, &entries);
                let wrote = !entries.is_empty();
                self.counters.position = position;
                self.counters.hold = hold_number;
                self.keep_holds(holds);
                self.lots.extend(lots.map(|lots| (account.number, lots)));
                self.windows.extend(windows.into_iter().map(|window| (window.key, window)));
                self.keep_budget(budget);
                if let (Some((key, operation)), Some(entry)) = (operation, entries.last()) {
                    self.keys.push((key, KeyTarget::Entry(entry.position)));
                    self.operations.insert(key, operation);
                }
                self.entries.extend(entries);
                self.pruned.extend(pruned);
                let account = Arc::new(account);
                if wrote || new || account.past != past {
                    self.keep_account(Arc::clone(&account), new);
                }
                Ok((Ok(outcome), wrote.then_some(account)))
            }
            Err(Stop::Refuse(refusal)) => Ok((Err(refusal), None)),
            Err(Stop::Need(need)) => Err(need),
        }
    }

    fn keep_account(&mut self, account: Arc<Account>, new: bool) {
        self.counters.account = self.counters.account.max(account.number);
        match self.accounts.entry(account.id.clone()) {
            Slot::Occupied(mut slot) => slot.get_mut().0 = account,
            Slot::Vacant(slot) => {
                slot.insert((account, new));
            }
        }
    }

    fn keep_budget(&mut self, budget: Option<Arc<Budget>>) {
        let Some(budget) = budget else { return };
        let key = BudgetKey { account: budget.account_number, scope: budget.scope.clone() };
        let others = self.budgets(&key).unwrap_or_default().iter().filter(|other| other.number != budget.number);
        let mut budgets: Vec<_> = others.chain([&budget]).map(Arc::clone).collect();
        budgets.sort_unstable_by_key(|budget| budget.number);
        self.budgets.insert(key, Arc::new(budgets));
        self.changed_budgets.insert((budget.account_number, budget.number), budget);
    }

    fn keep_holds(&mut self, holds: Vec<(Arc<Hold>, bool)>) {
        for (hold, new) in holds {
            if new {
                self.keys.push((hold.key, KeyTarget::Hold(hold.number)));
            }
            match self.holds.entry(hold.key) {
                Slot::Occupied(mut slot) => slot.get_mut().0 = hold,
                Slot::Vacant(slot) => {
                    slot.insert((hold, new));
                }
            }
        }
    }

    /// The changes folded to one row per key, in a fixed order.
    fn into_changes(self) -> ChangeSet {
        let mut changes = ChangeSet {
            counters: self.counters,
            keys: self.keys,
            entries: self.entries,
            pruned: self.pruned,
            ..ChangeSet::default()
        };
        for (account, new) in self.accounts.into_values() {
            if new { &mut changes.new_accounts } else { &mut changes.accounts }.push(account);
        }
        for (hold, new) in self.holds.into_values() {
            if new { &mut changes.new_holds } else { &mut changes.holds }.push(hold);
        }
        for (lot, mark) in self.lots.into_values().flat_map(Lots::marked) {
            if mark == Mark::Made { &mut changes.new_lots } else { &mut changes.lots }.push(lot);
        }
        changes.budgets = self.changed_budgets.into_values().collect();
        changes.windows = self.windows.into_values().collect();
        changes.windows.sort_unstable_by_key(|window| window.key);
        changes.new_lots.sort_unstable_by_key(|lot| lot.key());
        changes.lots.sort_unstable_by_key(|lot| lot.key());
        changes.new_accounts.sort_unstable_by_key(|account| account.number);
        changes.accounts.sort_unstable_by_key(|account| account.number);
        changes.new_holds.sort_unstable_by_key(|hold| hold.number);
        changes.holds.sort_unstable_by_key(|hold| hold.number);
        changes
    }
}
