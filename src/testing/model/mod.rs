//! What every command should come to: the state table, executable and slow.
//!
//! Written from the table, not from the kernel: money is one pool per account from which everything is derived anew at
//! every look, numbers are `i128`, a command that is refused is undone by keeping a copy, and nothing is shared with
//! the kernel but the words. It knows no rows, entries, keys' hashes or stores, and no lots and budgets: those have
//! models of their own in the tests of lots and of budgets.

mod account;
mod closing;
mod hold;
mod table;

use std::collections::BTreeMap;

pub use account::{AccountModel, Totals};
pub use hold::{HoldModel, Used};

use crate::kernel::{Action, Command, Outcome, Refusal};
use crate::model::{AccountId, Timestamp};

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
}
