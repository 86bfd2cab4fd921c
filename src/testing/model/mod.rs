//! What every command should come to: the state table, executable and slow.
//!
//! Written from the table, not from the kernel: money is one pool per account from which everything is derived anew at
//! every look, numbers are `i128`, a command that is refused is undone by keeping a copy, and nothing is shared with
//! the kernel but the words. It knows no entries, keys' hashes or stores. Money in lots lies on piles of coins; what a
//! budget counted is added up from the holds, in windows that are found day by day.

mod account;
mod budgets;
mod calendar;
mod closing;
mod hold;
mod lots;
mod table;

use std::collections::{BTreeMap, HashMap};

pub use account::{AccountModel, Totals};
pub use hold::{HoldModel, Used};
pub use lots::{Coins, Piles};

use super::Rows;
use crate::kernel::{Action, Command, Outcome, Refusal};
use crate::model::{AccountId, KeyHash, Timestamp};

/// Accounts and their holds as they should be after the commands it was told.
///
/// ```
/// use prepaid::{Asset, Outcome, Timestamp, kernel::{Action, Command}, model::{Limits, Policy}, testing::Model};
///
/// let mut model = Model::default();
/// let open = Action::Open { asset: Asset::USD, limits: Limits::default(), policy: Policy::default() };
/// let command = Command::new("alice".parse()?, open);
/// assert_eq!(model.run(&command, Timestamp::default()), Ok(Outcome::Ok));
/// assert_eq!(model.run(&command, Timestamp::default()), Ok(Outcome::Replayed));
/// # Ok::<(), prepaid::model::InvalidId>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Model {
    accounts: BTreeMap<AccountId, AccountModel>,
}

impl Model {
    /// Runs one command at the store's time `now` and says what it must come to.
    ///
    /// # Errors
    /// The refusal it must meet; nothing changes then.
    pub fn run(&mut self, command: &Command, now: Timestamp) -> Result<Outcome, Refusal> {
        let id = command.account();
        let mut account = match (self.accounts.get(id), command.action()) {
            (Some(account), _) => account.clone(),
            (None, Action::Open { asset, limits, policy }) => AccountModel::new(*asset, *limits, *policy),
            (None, _) => return Err(Refusal::UnknownAccount),
        };
        let outcome = account.step(command.action(), now)?;
        self.accounts.insert(id.clone(), account);
        Ok(outcome)
    }

    /// An account.
    pub fn account(&self, id: &AccountId) -> Option<&AccountModel> {
        self.accounts.get(id)
    }

    /// All accounts.
    pub fn accounts(&self) -> impl Iterator<Item = (&AccountId, &AccountModel)> {
        self.accounts.iter()
    }

    /// What the stored rows of all accounts have otherwise: totals, holds, lots, budgets, windows.
    ///
    /// # Errors
    /// The first difference.
    pub fn compare(&self, rows: &Rows) -> Result<(), String> {
        let mut holds: HashMap<_, _> = rows.holds.iter().map(|hold| (hold.key, hold)).collect();
        if self.accounts.len() != rows.accounts.len() {
            return Err(format!("{} accounts expected, {} stored", self.accounts.len(), rows.accounts.len()));
        }
        for (id, account) in &self.accounts {
            let stored = rows.accounts.iter().find(|stored| stored.id == *id).ok_or("account is missing")?;
            account.compare(stored)?;
            for (hold, expected) in account.holds() {
                let stored = holds.remove(&KeyHash::hold(id, hold)).ok_or_else(|| format!("hold {hold} is missing"))?;
                expected.compare(stored)?;
            }
            let number = stored.number;
            let lots: Vec<_> = rows.lots.iter().filter(|lot| lot.account_number == number).map(|lot| &**lot).collect();
            account.compare_lots(&lots)?;
            let budgets = rows.budgets.iter().filter(|budget| budget.account_number == number).map(|budget| &**budget);
            let windows = rows.windows.iter().filter(|window| window.key.account == number);
            account.compare_budgets(&budgets.collect::<Vec<_>>(), &windows.collect::<Vec<_>>())?;
        }
        if holds.is_empty() { Ok(()) } else { Err(format!("holds that should not be: {holds:?}")) }
    }
}
