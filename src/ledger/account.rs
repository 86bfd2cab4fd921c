//! Everything that can be done with one account.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;

use super::calls::{CostCall, MoneyCall, Receipt, in_another_asset};
use super::open_hold::OpenHold;
use super::reserve::ReserveCall;
use super::statement::Statement;
use super::{BadId, Ledger};
use crate::error::{Error, ErrorKind, Result};
use crate::kernel::{Action, Command, Outcome, Refusal, Reply};
use crate::model::{
    Account, AccountId, Against, Amount, Asset, Balance, Entry, Hold, HoldId, HoldState, KeyHash, Limits, Measured,
    OperationKey, Policy, RequestId, SignedAmount, Status,
};

/// One account of a [`Ledger`], and nothing of any other.
///
/// Commands on holds are here by [`HoldId`], for retries, queues and operators; a request that is being served has an
/// [`OpenHold`], which is simpler.
///
/// Every command may be repeated: what is so already is answered [`Outcome::Replayed`] (or another word for it) and
/// changes nothing. None is undone by dropping its future.
#[derive(Clone)]
pub struct AccountHandle {
    ledger: Ledger,
    id: AccountId,
}

/// The longest reason that is kept.
const REASON_BYTES_MAX: usize = 512;

impl AccountHandle {
    pub(super) fn new(ledger: Ledger, id: AccountId) -> Self {
        Self { ledger, id }
    }

    /// The account's name.
    pub fn id(&self) -> &AccountId {
        &self.id
    }

    /// The ledger it is in.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Opens the account with the ledger's defaults, if it is not open yet.
    ///
    /// # Errors
    /// [`Refusal::AccountExists`] with another asset.
    pub async fn open(&self) -> Result<Receipt> {
        let shared = &self.ledger.shared;
        self.open_with(shared.asset, shared.limits, shared.policy).await
    }

    /// Opens the account, if it is not open yet; then its limits and policy stay what they are. The asset never
    /// changes.
    ///
    /// # Errors
    /// [`Refusal::AccountExists`] with another asset, [`Refusal::TotalTooLarge`] for a credit limit above 2^58.
    pub async fn open_with(&self, asset: Asset, limits: Limits, policy: Policy) -> Result<Receipt> {
        self.run(Action::Open { asset, limits, policy }).await
    }

    /// Replaces the account's limits and its policy for holds made from now on.
    ///
    /// # Errors
    /// [`Refusal::UnknownAccount`], [`Refusal::TotalTooLarge`].
    pub async fn set_limits(&self, limits: Limits, policy: Policy) -> Result<Receipt> {
        self.run(Action::SetLimits { limits, policy }).await
    }

    /// Freezes, closes or reactivates the account, for a reason. What runs may always finish.
    ///
    /// # Errors
    /// [`Refusal::HoldsPending`] when it should be closed and has holds that are not final.
    pub async fn set_status(&self, status: Status, reason: &str) -> Result<Receipt> {
        self.run(Action::SetStatus { status, reason: checked_reason(reason)? }).await
    }

    /// Takes `amount` in, once per `key`.
    ///
    /// # Errors
    /// [`Refusal::ZeroAmount`], [`Refusal::KeyReused`], [`Refusal::Status`] when the account is closed,
    /// [`Refusal::TotalTooLarge`] when a total would pass 2^58.
    #[doc(alias = "top_up")]
    pub fn deposit(&self, key: impl AsRef<str>, amount: Amount) -> MoneyCall<'_> {
        let action = operation_key(key).map(|key| Action::Deposit { key, amount, metadata: None });
        MoneyCall::new(self, action)
    }

    /// Pays `amount` of free paid money out, once per `key`.
    ///
    /// # Errors
    /// [`Refusal::InsufficientPaid`], [`Refusal::Status`] when the account is frozen, and as
    /// [`AccountHandle::deposit`].
    pub fn withdraw(&self, key: impl AsRef<str>, amount: Amount) -> MoneyCall<'_> {
        let action = operation_key(key).map(|key| Action::Withdraw { key, amount, metadata: None });
        MoneyCall::new(self, action)
    }

    /// Adds `amount` (or takes it, below zero) against a named ledger account, for a reason, once per `key`: a
    /// chargeback, goodwill, a bank's correction. May leave a debt.
    ///
    /// It moves the base lot, which is paid money without expiry, whatever it is against: an amount added against
    /// [`Against::Promotion`] repays debt and can be withdrawn. For money that must not be withdrawn, use
    /// [`AccountHandle::grant`] with [`LotClass::Promotional`](crate::model::LotClass::Promotional).
    ///
    /// # Errors
    /// As [`AccountHandle::deposit`].
    pub fn adjust(&self, key: impl AsRef<str>, amount: SignedAmount, against: Against, reason: &str) -> MoneyCall<'_> {
        let action = operation_key(key).and_then(|key| {
            let reason = checked_reason(reason)?;
            Ok(Action::Adjust { key, amount, against, reason, metadata: None })
        });
        MoneyCall::new(self, action)
    }

    /// Forgives `amount` of the account's debt, for a reason, once per `key`.
    ///
    /// # Errors
    /// [`Refusal::ExceedsDebt`], [`Refusal::ZeroAmount`], [`Refusal::KeyReused`].
    pub fn write_off(&self, key: impl AsRef<str>, amount: Amount, reason: &str) -> MoneyCall<'_> {
        let action = operation_key(key).and_then(|key| {
            let reason = checked_reason(reason)?;
            Ok(Action::WriteOff { key, amount, reason, metadata: None })
        });
        MoneyCall::new(self, action)
    }

    /// Sets `amount` aside for a hold. `hold` is a [`HoldId`] or text: `request-1` is its first attempt, `request-1#2`
    /// the second.
    ///
    /// # Errors
    /// [`Refusal::OtherTerms`] when a hold of this name was made on other terms, [`Refusal::InvalidMin`]; `InvalidInput` when
    /// account, tariff and amount are not of one [asset](ReserveCall::asset); `Busy`, `Unavailable`. A denial is no error:
    /// see [`Reserved`](super::Reserved).
    #[doc(alias = "authorize")]
    pub fn reserve(&self, hold: impl ToHoldId, amount: Amount) -> ReserveCall<'_> {
        ReserveCall::new(self, hold.to_hold_id().map(super::reserve::Name::Exactly), amount)
    }

    /// Sets `amount` aside for the lowest attempt at `request` that no hold has: for the next provider after one
    /// failed, and for deliberate retries.
    ///
    /// # Errors
    /// As [`AccountHandle::reserve`].
    pub fn reserve_next(&self, request: impl AsRef<str>, amount: Amount) -> ReserveCall<'_> {
        let name = RequestId::new(request).map_err(Error::invalid).map(super::reserve::Name::NextOf);
        ReserveCall::new(self, name, amount)
    }

    /// Takes an open hold over, after a restart or in another process. It counts as dispatched.
    ///
    /// # Errors
    /// [`Refusal::UnknownHold`], [`Refusal::LeaseLost`], [`Refusal::Closed`].
    pub async fn attach(&self, hold: impl ToHoldId) -> Result<OpenHold> {
        let hold = hold.to_hold_id()?;
        let receipt = self.renew(hold.clone(), None).await?;
        let found = receipt.hold.ok_or_else(|| Error::new(ErrorKind::Internal, "a renewed hold has no row"))?;
        let tariff = match found.tariff() {
            Some(hash) => self.ledger.tariff(hash).await?,
            None => None,
        };
        OpenHold::new(self.clone(), found, receipt.balance, tariff, true)
    }

    /// Prolongs an open hold's lease to `ttl` from now (its own ttl by default); never shortens it.
    ///
    /// # Errors
    /// [`Refusal::UnknownHold`], [`Refusal::LeaseLost`], [`Refusal::Closed`].
    #[doc(alias = "heartbeat")]
    pub async fn renew(&self, hold: impl ToHoldId, ttl: Option<Duration>) -> Result<Receipt> {
        self.run(Action::Renew { hold: hold.to_hold_id()?, ttl }).await
    }

    /// Raises an open hold to `target`; with `partial` as far as there is money. A hold is never lowered.
    ///
    /// # Errors
    /// [`Refusal::Denied`], the hold stays as it is; [`Refusal::UnknownHold`], [`Refusal::LeaseLost`],
    /// [`Refusal::Closed`].
    #[doc(alias = "increment")]
    pub async fn extend(&self, hold: impl ToHoldId, target: Amount, partial: bool) -> Result<Receipt> {
        self.run(Action::Extend { hold: hold.to_hold_id()?, target, partial }).await
    }

    /// Records usage so far, in total: what a hold that nobody closes will cost. A lapsed hold records it too, and
    /// answers [`Outcome::LeaseLost`].
    ///
    /// # Errors
    /// [`Refusal::UnknownHold`], [`Refusal::Closed`], [`Refusal::AboveCeiling`].
    #[doc(alias = "checkpoint")]
    pub fn report(&self, hold: impl ToHoldId, total: impl Into<Measured>) -> CostCall<'_> {
        let measured = total.into();
        CostCall::new(self, hold.to_hold_id().map(|hold| Action::Report { hold, measured, above_ceiling: false }))
    }

    /// Closes a hold with what was really used. Never refused for lack of money; a lapsed hold's provisional cost is
    /// replaced.
    ///
    /// # Errors
    /// [`Refusal::Conflict`] when another cost is recorded, [`Refusal::Sealed`] when it is too late,
    /// [`Refusal::UnknownHold`] without [`CostCall::or_debit`], [`Refusal::AboveCeiling`].
    #[doc(alias = "capture")]
    pub fn settle(&self, hold: impl ToHoldId, used: impl Into<Measured>) -> CostCall<'_> {
        let measured = used.into();
        let action = hold.to_hold_id().map(|hold| Action::Settle {
            hold,
            measured,
            or_debit: None,
            above_ceiling: false,
            metadata: None,
        });
        CostCall::new(self, action)
    }

    /// Charges a known cost at once, without a stream: reserve and settle in one.
    ///
    /// # Errors
    /// [`Refusal::Denied`] and [`Refusal::InDebt`] as a reserve would be; [`Refusal::Conflict`] when another cost is
    /// recorded under this name; [`Refusal::AboveCeiling`].
    pub fn debit(&self, hold: impl ToHoldId, used: impl Into<Measured>) -> CostCall<'_> {
        let measured = used.into();
        let action = hold.to_hold_id().map(|hold| Action::Debit {
            hold,
            terms: Arc::default(),
            measured,
            above_ceiling: false,
            metadata: None,
        });
        CostCall::new(self, action)
    }

    /// Closes a hold unused. Before its reserve it takes the name away, so that a late reserve makes no hold. With
    /// `waive` even usage that was reported costs nothing.
    ///
    /// # Errors
    /// [`Refusal::UsageReported`] without `waive`, [`Refusal::Sealed`] when it cost something for good.
    #[doc(alias = "void")]
    pub async fn release(&self, hold: impl ToHoldId, waive: bool) -> Result<Receipt> {
        self.run(Action::Release { hold: hold.to_hold_id()?, waive }).await
    }

    /// Closes a hold whose usage nobody knows, provisionally and by its policy; a later settlement replaces that.
    ///
    /// # Errors
    /// None but the store's.
    pub async fn abandon(&self, hold: impl ToHoldId) -> Result<Receipt> {
        self.run(Action::Abandon { hold: hold.to_hold_id()? }).await
    }

    /// Lapses one hold if its deadline and grace are over. [`Outcome::NotDue`] and [`Outcome::NoOp`] change nothing.
    ///
    /// # Errors
    /// None but the store's.
    pub async fn lapse(&self, hold: impl ToHoldId) -> Result<Receipt> {
        self.run(Action::Lapse { hold: hold.to_hold_id()? }).await
    }

    /// Seals one lapsed hold if its late window is over. [`Outcome::NotDue`] and [`Outcome::NoOp`] change nothing.
    ///
    /// # Errors
    /// None but the store's.
    pub async fn seal(&self, hold: impl ToHoldId) -> Result<Receipt> {
        self.run(Action::Seal { hold: hold.to_hold_id()? }).await
    }

    /// Lapses or seals one hold, whichever is due.
    ///
    /// # Errors
    /// None but the store's.
    pub async fn sweep_hold(&self, hold: impl ToHoldId) -> Result<Receipt> {
        let hold = hold.to_hold_id()?;
        let receipt = self.lapse(hold.clone()).await?;
        match receipt.hold.as_ref().map(|hold| hold.state) {
            Some(HoldState::Lapsed) if receipt.outcome == Outcome::NoOp => self.seal(hold).await,
            _ => Ok(receipt),
        }
    }

    /// Gives `amount` of what a final hold collected back, once per `key`.
    ///
    /// # Errors
    /// [`Refusal::ExceedsRefundable`], [`Refusal::NotFinal`], [`Refusal::UnknownHold`], [`Refusal::ZeroAmount`],
    /// [`Refusal::KeyReused`].
    #[doc(alias = "reverse")]
    pub fn refund(&self, hold: impl ToHoldId, key: impl AsRef<str>, amount: Amount) -> MoneyCall<'_> {
        let action = hold
            .to_hold_id()
            .and_then(|hold| Ok(Action::Refund { hold, key: operation_key(key)?, amount, metadata: None }));
        MoneyCall::new(self, action)
    }

    /// Replaces a final hold's cost, if it is `expected` now, once per `key`: after an invoice or a provider's record
    /// said better.
    ///
    /// # Errors
    /// [`Refusal::Conflict`] when the cost is not `expected`, [`Refusal::BelowRefunded`], [`Refusal::NotFinal`],
    /// [`Refusal::UnknownHold`], [`Refusal::AboveCeiling`], [`Refusal::KeyReused`].
    pub fn correct(
        &self,
        hold: impl ToHoldId,
        key: impl AsRef<str>,
        expected: Amount,
        used: impl Into<Measured>,
    ) -> CostCall<'_> {
        let measured = used.into();
        let action = hold.to_hold_id().and_then(|hold| {
            let key = operation_key(key)?;
            Ok(Action::Correct { hold, key, expected, measured, above_ceiling: false, metadata: None })
        });
        CostCall::new(self, action)
    }

    /// The account as it stands.
    ///
    /// # Errors
    /// [`Refusal::UnknownAccount`].
    pub async fn view(&self) -> Result<Account> {
        let found = self.ledger.engine().store().account(&self.id).await?;
        found.ok_or_else(|| self.unknown())
    }

    /// The balance. By the time it is read it may be another: only a reserve is a promise.
    ///
    /// # Errors
    /// [`Refusal::UnknownAccount`].
    pub async fn balance(&self) -> Result<Balance> {
        let account = self.view().await?;
        let spendable = self.spendable(&account, None).await?;
        Ok(Balance { spendable, ..account.balance() })
    }

    /// A hold as it stands; none if there is none of this name.
    ///
    /// # Errors
    /// `InvalidInput` when it is not a hold's name.
    pub async fn hold(&self, hold: impl ToHoldId) -> Result<Option<Arc<Hold>>> {
        let hold = hold.to_hold_id()?;
        Ok(self.ledger.engine().store().hold(&self.id, KeyHash::hold(&self.id, &hold)).await?)
    }

    /// Holds that are not final, open and lapsed, by number: at most `limit` of those after number `after`.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn holds(&self, after: i64, limit: u32) -> Result<Vec<Arc<Hold>>> {
        Ok(self.ledger.engine().store().holds(&self.id, after, limit).await?)
    }

    /// The account's journal: at most `limit` entries after number `after`, in order. Numbers are dense from 1.
    ///
    /// # Errors
    /// `Pruned` when some of them were archived and pruned; `Unavailable`, `Corrupt`.
    pub async fn journal(&self, after: u64, limit: u32) -> Result<Vec<Entry>> {
        let entries = self.ledger.engine().store().journal(&self.id, after, limit).await?;
        match entries.first().map(|entry| entry.seq) {
            Some(first) if first > after.saturating_add(1) => {
                let message = format!("entries were pruned: account={} after={after} first={first}", self.id);
                Err(Error::new(ErrorKind::Pruned { first }, message))
            }
            _ => Ok(entries),
        }
    }

    /// The account's journal after entry `after`, added up by kind of entry.
    ///
    /// # Errors
    /// [`Refusal::UnknownAccount`].
    pub async fn statement(&self, after: u64) -> Result<Statement> {
        Statement::make(self, after).await
    }

    pub(super) fn run(&self, action: Action) -> impl Future<Output = Result<Receipt>> {
        self.submit(action, None).map(|reply| Receipt::of(reply?))
    }

    /// Runs an action whose amounts are of `asset`, if that is known.
    pub(super) fn run_in(&self, action: Action, asset: Option<Asset>) -> impl Future<Output = Result<Receipt>> {
        self.submit(action, asset).map(move |reply| match reply? {
            reply if reply.answer == Err(Refusal::AccountExists) => Err(in_another_asset(&reply, asset)),
            reply => Receipt::of(reply),
        })
    }

    /// Not an `async fn`, whose future would be as large as the action: the command is made here, and submitted once
    /// the future is polled.
    pub(super) fn submit(&self, action: Action, asset: Option<Asset>) -> impl Future<Output = Result<Reply>> {
        let command = Command::new(self.id.clone(), action).in_asset(asset);
        self.ledger.engine().submit(Arc::new(command))
    }

    fn unknown(&self) -> Error {
        let reply = Reply::refusing(Refusal::UnknownAccount);
        Error::refused(Refusal::UnknownAccount, reply)
    }
}

impl fmt::Debug for AccountHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AccountHandle").field(&self.id).finish()
    }
}

/// What can name a hold: a [`HoldId`], or text such as `request-1` (its first attempt) and `request-1#2`.
pub trait ToHoldId {
    /// The name.
    ///
    /// # Errors
    /// `InvalidInput` naming what is not one.
    fn to_hold_id(self) -> Result<HoldId>;
}

impl ToHoldId for HoldId {
    fn to_hold_id(self) -> Result<HoldId> {
        Ok(self)
    }
}

impl ToHoldId for &HoldId {
    fn to_hold_id(self) -> Result<HoldId> {
        Ok(self.clone())
    }
}

impl ToHoldId for &str {
    fn to_hold_id(self) -> Result<HoldId> {
        if self.contains('#') { self.parse() } else { RequestId::new(self).map(HoldId::first) }.map_err(Error::invalid)
    }
}

impl ToHoldId for &String {
    fn to_hold_id(self) -> Result<HoldId> {
        self.as_str().to_hold_id()
    }
}

impl ToHoldId for String {
    fn to_hold_id(self) -> Result<HoldId> {
        self.as_str().to_hold_id()
    }
}

pub(super) fn operation_key(key: impl AsRef<str>) -> Result<OperationKey> {
    OperationKey::new(key).map_err(|error| Error::from(BadId::from(error)))
}

fn checked_reason(reason: &str) -> Result<Arc<str>> {
    if reason.trim().is_empty() || reason.len() > REASON_BYTES_MAX {
        return Err(Error::invalid(format!("a reason has 1 to {REASON_BYTES_MAX} bytes: {} given", reason.len())));
    }
    Ok(Arc::from(reason))
}
