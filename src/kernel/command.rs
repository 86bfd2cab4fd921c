//! What can be asked of the ledger.

use std::sync::Arc;
use std::time::Duration;

use crate::model::codec::Writer;
use crate::model::{
    AccountId, Against, Amount, ArgumentsHash, Asset, CallToken, Cap, Checkpoint, Entry, HoldId, KeyHash, Lease,
    Limits, LotKey, LotTerms, Measured, Metadata, Metric, OperationKey, Policy, Scope, SignedAmount, Status, Terms,
    Window, WindowKey,
};

/// One command to one account, with the keys it is found by worked out beforehand, off the writer's path.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    account: AccountId,
    action: Action,
    hold_key: Option<KeyHash>,
    operation: Option<(KeyHash, ArgumentsHash)>,
    asset: Option<Asset>,
}

/// What a command does.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the fields are the arguments of the methods of `AccountHandle`, described there")]
pub enum Action {
    /// Opens the account.
    Open { asset: Asset, limits: Limits, policy: Policy },
    /// Takes money in.
    Deposit { key: OperationKey, amount: Amount, metadata: Option<Metadata> },
    /// Pays money out.
    Withdraw { key: OperationKey, amount: Amount, metadata: Option<Metadata> },
    /// Moves money against a named ledger account.
    Adjust { key: OperationKey, amount: SignedAmount, against: Against, reason: Arc<str>, metadata: Option<Metadata> },
    /// Forgives debt.
    WriteOff { key: OperationKey, amount: Amount, reason: Arc<str>, metadata: Option<Metadata> },
    /// Replaces limits and policy.
    SetLimits { limits: Limits, policy: Policy },
    /// Grants a lot.
    Grant { key: OperationKey, amount: Amount, terms: Arc<LotTerms>, metadata: Option<Metadata> },
    /// Writes off what is left of a lot that expired.
    ExpireLot { lot: u32 },
    /// Makes a budget, or changes its limit.
    SetBudget { scope: Option<Scope>, window: Window, cap: Cap },
    /// Removes a budget.
    RemoveBudget { scope: Option<Scope>, window: Window, metric: Metric },
    /// Changes what the account may do.
    SetStatus { status: Status, reason: Arc<str> },
    /// Makes a hold.
    Reserve { hold: HoldId, terms: Arc<Terms>, lease: Option<Lease>, token: CallToken, metadata: Option<Metadata> },
    /// Prolongs a hold's lease.
    Renew { hold: HoldId, ttl: Option<Duration> },
    /// Raises a hold.
    Extend { hold: HoldId, target: Amount, partial: bool },
    /// Records usage so far.
    Report { hold: HoldId, measured: Measured, above_ceiling: bool },
    /// Closes a hold with its cost.
    Settle {
        hold: HoldId,
        measured: Measured,
        or_debit: Option<Arc<Terms>>,
        above_ceiling: bool,
        metadata: Option<Metadata>,
    },
    /// Charges a known cost without a hold.
    Debit { hold: HoldId, terms: Arc<Terms>, measured: Measured, above_ceiling: bool, metadata: Option<Metadata> },
    /// Closes a hold unused.
    Release { hold: HoldId, waive: bool },
    /// Closes a hold not knowing what it used.
    Abandon { hold: HoldId },
    /// Closes an overdue hold provisionally.
    Lapse { hold: HoldId },
    /// Makes a lapse final.
    Seal { hold: HoldId },
    /// Gives collected money back.
    Refund { hold: HoldId, key: OperationKey, amount: Amount, metadata: Option<Metadata> },
    /// Replaces a final cost, compare and set.
    Correct {
        hold: HoldId,
        key: OperationKey,
        expected: Amount,
        measured: Measured,
        above_ceiling: bool,
        metadata: Option<Metadata>,
    },
    /// Closes the books over what is final by an entry.
    CloseBooks { until: u64 },
    /// Writes down how the account stood at the cut of the archive that follows entry `after`, and takes lots and windows
    /// away that were over by then.
    Checkpoint { after: u64, checkpoint: Arc<Checkpoint>, lots: Vec<LotKey>, windows: Vec<WindowKey> },
    /// Takes archived entries away, the next ones in order, and the holds whose last entry is among them.
    Prune { entries: Arc<[Entry]> },
}

impl Command {
    /// `action` on `account`.
    pub fn new(account: AccountId, action: Action) -> Self {
        let hold_key = action.hold().map(|hold| KeyHash::hold(&account, hold));
        let operation = action.operation(&account);
        Self { account, action, hold_key, operation, asset: None }
    }

    /// The same with amounts of `asset`: an account of another one refuses it
    /// ([`AccountExists`](super::Refusal::AccountExists)).
    #[must_use]
    pub fn in_asset(mut self, asset: impl Into<Option<Asset>>) -> Self {
        self.asset = asset.into();
        self
    }

    /// The account.
    pub fn account(&self) -> &AccountId {
        &self.account
    }

    /// What it does.
    pub fn action(&self) -> &Action {
        &self.action
    }

    /// What its amounts are amounts of, where its caller said so.
    pub fn asset(&self) -> Option<Asset> {
        self.asset
    }

    /// What the hold it names is found by.
    pub fn hold_key(&self) -> Option<KeyHash> {
        self.hold_key
    }

    /// What further holds are found by that it has to know.
    pub fn further_holds(&self) -> Vec<KeyHash> {
        let key = |hold: &HoldId| KeyHash::hold(&self.account, hold);
        match &self.action {
            Action::Checkpoint { checkpoint, .. } => checkpoint.holds.iter().map(|hold| key(&hold.id)).collect(),
            Action::Prune { entries } => entries.iter().filter_map(|entry| entry.hold.as_ref()).map(key).collect(),
            _ => Vec::new(),
        }
    }

    /// What its operation key is found by, and the hash of its arguments.
    pub fn operation(&self) -> Option<(KeyHash, ArgumentsHash)> {
        self.operation
    }

    /// Whether it opens or increases something: what a full queue refuses.
    pub fn increases(&self) -> bool {
        match &self.action {
            Action::Open { .. }
            | Action::Deposit { .. }
            | Action::Withdraw { .. }
            | Action::Adjust { .. }
            | Action::WriteOff { .. }
            | Action::Grant { .. }
            | Action::SetBudget { .. }
            | Action::RemoveBudget { .. }
            | Action::SetLimits { .. }
            | Action::SetStatus { .. }
            | Action::Reserve { .. }
            | Action::Extend { .. }
            | Action::Debit { .. }
            | Action::Refund { .. }
            | Action::Correct { .. }
            | Action::CloseBooks { .. }
            | Action::Checkpoint { .. }
            | Action::Prune { .. } => true,
            Action::Renew { .. }
            | Action::Report { .. }
            | Action::Settle { .. }
            | Action::Release { .. }
            | Action::Abandon { .. }
            | Action::Lapse { .. }
            | Action::Seal { .. }
            | Action::ExpireLot { .. } => false,
        }
    }
}

impl Action {
    /// The hold it names.
    pub fn hold(&self) -> Option<&HoldId> {
        match self {
            Self::Open { .. }
            | Self::Deposit { .. }
            | Self::Withdraw { .. }
            | Self::Adjust { .. }
            | Self::WriteOff { .. }
            | Self::Grant { .. }
            | Self::ExpireLot { .. }
            | Self::SetBudget { .. }
            | Self::RemoveBudget { .. }
            | Self::SetLimits { .. }
            | Self::SetStatus { .. }
            | Self::CloseBooks { .. }
            | Self::Checkpoint { .. }
            | Self::Prune { .. } => None,
            Self::Reserve { hold, .. }
            | Self::Renew { hold, .. }
            | Self::Extend { hold, .. }
            | Self::Report { hold, .. }
            | Self::Settle { hold, .. }
            | Self::Debit { hold, .. }
            | Self::Release { hold, .. }
            | Self::Abandon { hold }
            | Self::Lapse { hold }
            | Self::Seal { hold }
            | Self::Refund { hold, .. }
            | Self::Correct { hold, .. } => Some(hold),
        }
    }

    /// The name it has in spans and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Open { .. } => "open",
            Self::Deposit { .. } => "deposit",
            Self::Withdraw { .. } => "withdraw",
            Self::Adjust { .. } => "adjust",
            Self::WriteOff { .. } => "write_off",
            Self::Grant { .. } => "grant",
            Self::ExpireLot { .. } => "expire_lot",
            Self::SetBudget { .. } => "set_budget",
            Self::RemoveBudget { .. } => "remove_budget",
            Self::SetLimits { .. } => "set_limits",
            Self::SetStatus { .. } => "set_status",
            Self::Reserve { .. } => "reserve",
            Self::Renew { .. } => "renew",
            Self::Extend { .. } => "extend",
            Self::Report { .. } => "report",
            Self::Settle { .. } => "settle",
            Self::Debit { .. } => "debit",
            Self::Release { .. } => "release",
            Self::Abandon { .. } => "abandon",
            Self::Lapse { .. } => "lapse",
            Self::Seal { .. } => "seal",
            Self::Refund { .. } => "refund",
            Self::Correct { .. } => "correct",
            Self::CloseBooks { .. } => "close_books",
            Self::Checkpoint { .. } => "checkpoint",
            Self::Prune { .. } => "prune",
        }
    }

    /// The operation key with the hash of the arguments: the operation itself, every money field, the reason.
    fn operation(&self, account: &AccountId) -> Option<(KeyHash, ArgumentsHash)> {
        match self {
            Self::Deposit { key, amount, .. } | Self::Withdraw { key, amount, .. } => {
                self.keyed(KeyHash::money(account, key), |arguments| arguments.signed(amount.minor_units()))
            }
            Self::Adjust { key, amount, against, reason, .. } => {
                self.keyed(KeyHash::money(account, key), |arguments| {
                    arguments.signed(amount.minor_units());
                    arguments.byte(against.code());
                    arguments.bytes(reason.as_bytes());
                })
            }
            Self::WriteOff { key, amount, reason, .. } => self.keyed(KeyHash::money(account, key), |arguments| {
                arguments.signed(amount.minor_units());
                arguments.bytes(reason.as_bytes());
            }),
            Self::Grant { key, amount, terms, .. } => self.keyed(KeyHash::money(account, key), |arguments| {
                arguments.signed(amount.minor_units());
                terms.write(arguments);
            }),
            Self::Refund { hold, key, amount, .. } => {
                self.keyed(KeyHash::refund(account, hold, key), |arguments| arguments.signed(amount.minor_units()))
            }
            Self::Correct { hold, key, expected, measured, .. } => {
                self.keyed(KeyHash::correct(account, hold, key), |arguments| {
                    arguments.signed(expected.minor_units());
                    arguments.signed(measured.quantity.cost.minor_units());
                    arguments.unsigned(measured.quantity.tokens);
                })
            }
            Self::Open { .. }
            | Self::ExpireLot { .. }
            | Self::SetBudget { .. }
            | Self::RemoveBudget { .. }
            | Self::SetLimits { .. }
            | Self::SetStatus { .. }
            | Self::Reserve { .. }
            | Self::Renew { .. }
            | Self::Extend { .. }
            | Self::Report { .. }
            | Self::Settle { .. }
            | Self::Debit { .. }
            | Self::Release { .. }
            | Self::Abandon { .. }
            | Self::Lapse { .. }
            | Self::Seal { .. }
            | Self::CloseBooks { .. }
            | Self::Checkpoint { .. }
            | Self::Prune { .. } => None,
        }
    }

    fn keyed(&self, key: KeyHash, write: impl FnOnce(&mut Writer)) -> Option<(KeyHash, ArgumentsHash)> {
        let mut arguments = Writer::with_capacity(32);
        arguments.bytes(self.name().as_bytes());
        write(&mut arguments);
        Some((key, ArgumentsHash::of(&arguments.finish())))
    }
}
