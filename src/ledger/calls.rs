//! Calls with options: set them, then await the call.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;

use super::AccountHandle;
use crate::error::{Error, Result};
use crate::kernel::{Action, Outcome, Reply};
use crate::model::{Asset, Balance, Hold, Label, Measured, Metadata, ModelName, Scope, Terms, Timestamp};

pub(super) type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// What an accepted command came to. It is on disk.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Receipt {
    /// How it went.
    pub outcome: Outcome,
    /// The hold it named, as it stands now.
    pub hold: Option<Arc<Hold>>,
    /// The account's balance now.
    pub balance: Balance,
    /// The number of the journal entry it wrote; none when it changed nothing that is money.
    pub entry: Option<u64>,
    /// When, by the store's clock.
    pub at: Timestamp,
}

impl Receipt {
    /// Makes a receipt of an accepted reply and an error of a refused one.
    pub(super) fn of(reply: Reply) -> Result<Self> {
        match reply.answer.clone() {
            Ok(outcome) => Ok(Self {
                outcome,
                balance: reply.balance.unwrap_or_default(),
                entry: reply.entry,
                at: reply.at,
                hold: reply.hold,
            }),
            Err(refusal) => Err(Error::refused(refusal, reply)),
        }
    }

    /// Whether it had been done before.
    pub fn is_replay(&self) -> bool {
        self.outcome == Outcome::Replayed
    }
}

/// A money operation on its way; await it.
#[must_use = "a call does nothing until it is awaited"]
pub struct MoneyCall<'a> {
    account: &'a AccountHandle,
    action: Result<Action>,
    asset: Option<Asset>,
}

impl<'a> MoneyCall<'a> {
    pub(super) fn new(account: &'a AccountHandle, action: Result<Action>) -> Self {
        Self { account, action, asset: None }
    }

    /// What the amount is an amount of; by default nothing is assumed. `InvalidInput` where the account's asset is another:
    /// nothing is done. An amount that was read in the ledger's asset is a thousandfold in an account of three decimals less.
    pub fn asset(mut self, asset: Asset) -> Self {
        self.asset = Some(asset);
        self
    }

    /// Keeps the caller's JSON with the entry, byte for byte; at most 4 KiB.
    pub fn metadata(mut self, json: Metadata) -> Self {
        if let Ok(
            Action::Deposit { metadata, .. }
            | Action::Withdraw { metadata, .. }
            | Action::Adjust { metadata, .. }
            | Action::WriteOff { metadata, .. }
            | Action::Refund { metadata, .. },
        ) = &mut self.action
        {
            *metadata = Some(json);
        }
        self
    }
}

impl<'a> IntoFuture for MoneyCall<'a> {
    type Output = Result<Receipt>;
    type IntoFuture = Answer<'a, Receipt>;

    fn into_future(self) -> Self::IntoFuture {
        let receipt = self.action.map(|action| self.account.run_in(action, self.asset));
        Box::pin(async move { receipt?.await })
    }
}

/// The error of a call whose amounts are of another asset than its account.
pub(super) fn in_another_asset(reply: &Reply, asked: Option<Asset>) -> Error {
    let (own, asked) = (reply.balance.unwrap_or_default().asset, asked.unwrap_or_default());
    Error::invalid(format!("account is in another asset than the amount: account={own} amount={asked}"))
}

/// A cost on its way into the books; await it.
#[must_use = "a call does nothing until it is awaited"]
pub struct CostCall<'a> {
    account: &'a AccountHandle,
    action: Result<Action>,
    asset: Option<Asset>,
    /// Of a cost without a hold.
    terms: Arc<Terms>,
}

impl<'a> CostCall<'a> {
    pub(super) fn new(account: &'a AccountHandle, action: Result<Action>) -> Self {
        let checked = action.and_then(|action| {
            let (Action::Report { measured, .. }
            | Action::Settle { measured, .. }
            | Action::Debit { measured, .. }
            | Action::Correct { measured, .. }) = &action
            else {
                return Ok(action);
            };
            let bytes = measured.evidence.as_ref().map_or(0, |evidence| evidence.len());
            if bytes > Measured::EVIDENCE_BYTES_MAX {
                return Err(Error::invalid(format!("evidence of {bytes} bytes, at most 4096 are kept")));
            }
            Ok(action)
        });
        Self { account, action: checked, asset: None, terms: Arc::default() }
    }

    /// As [`MoneyCall::asset`].
    pub fn asset(mut self, asset: Asset) -> Self {
        self.asset = Some(asset);
        self
    }

    /// Keeps the caller's JSON with the entry, byte for byte; at most 4 KiB.
    pub fn metadata(mut self, json: Metadata) -> Self {
        if let Ok(Action::Settle { metadata, .. } | Action::Debit { metadata, .. } | Action::Correct { metadata, .. }) =
            &mut self.action
        {
            *metadata = Some(json);
        }
        self
    }

    /// An operator's word that a cost above the account's ceiling is true. Recorded with the entry.
    pub fn above_ceiling(mut self) -> Self {
        if let Ok(
            Action::Report { above_ceiling, .. }
            | Action::Settle { above_ceiling, .. }
            | Action::Debit { above_ceiling, .. }
            | Action::Correct { above_ceiling, .. },
        ) = &mut self.action
        {
            *above_ceiling = true;
        }
        self
    }

    /// Charges the cost directly if there is no hold of this name: after a restore that lost it, say. For `settle`.
    pub fn or_debit(mut self) -> Self {
        if let Ok(Action::Settle { or_debit, .. }) = &mut self.action {
            or_debit.get_or_insert_default();
        }
        self
    }

    /// What revenue of a cost without a hold is split by. For `debit`, and `settle` with [`CostCall::or_debit`].
    pub fn label(mut self, label: Label) -> Self {
        Arc::make_mut(&mut self.terms).label = Some(label);
        self
    }

    /// What a cost without a hold counts towards. For `debit`, and `settle` with [`CostCall::or_debit`].
    pub fn scopes(mut self, scopes: impl IntoIterator<Item = Scope>) -> Self {
        Arc::make_mut(&mut self.terms).scopes = super::reserve::in_order(scopes);
        self
    }

    /// The model of a cost without a hold. For `debit`, and `settle` with [`CostCall::or_debit`].
    pub fn model(mut self, model: ModelName) -> Self {
        Arc::make_mut(&mut self.terms).model = Some(model);
        self
    }
}

impl<'a> IntoFuture for CostCall<'a> {
    type Output = Result<Receipt>;
    type IntoFuture = Answer<'a, Receipt>;

    fn into_future(mut self) -> Self::IntoFuture {
        if let Ok(Action::Settle { or_debit: Some(terms), .. } | Action::Debit { terms, .. }) = &mut self.action {
            *terms = self.terms;
        }
        let receipt = self.action.map(|action| self.account.run_in(action, self.asset));
        Box::pin(async move { receipt?.await })
    }
}

impl fmt::Debug for MoneyCall<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MoneyCall").field(&self.action).finish()
    }
}

impl fmt::Debug for CostCall<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CostCall").field(&self.action).finish()
    }
}
