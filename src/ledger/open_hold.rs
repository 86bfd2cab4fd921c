//! A hold that runs: the right, and the duty, to close it once.

use std::fmt;
use std::sync::Arc;

use super::account::AccountHandle;
use super::calls::Receipt;
use crate::engine::Kept;
use crate::error::Result;
use crate::model::{Amount, Asset, Balance, Hold, HoldId, Measured};
use crate::pricing::Tariff;
use crate::telemetry;

/// An open hold of this process. While it lives its lease is renewed; it is closed by [`settle`](OpenHold::settle),
/// [`release`](OpenHold::release) or a [meter](OpenHold::meter), and cannot be closed twice.
///
/// Dropped without a word it is released if the upstream never got the request, and abandoned (closed provisionally by
/// its policy) if it did; see [`dispatched`](OpenHold::dispatched). Dropping never blocks. If the process dies the
/// lease does the same.
#[must_use = "an open hold is settled, metered or released; dropped it is closed by policy"]
pub struct OpenHold {
    account: AccountHandle,
    hold: Arc<Hold>,
    tariff: Option<Arc<Tariff>>,
    input: Option<Measured>,
    asset: Asset,
    guard: Guard,
}

/// Closes a hold that is dropped without a word.
struct Guard {
    kept: Arc<Kept>,
    dispatched: bool,
    armed: bool,
}

impl OpenHold {
    pub(super) fn new(
        account: AccountHandle,
        hold: Arc<Hold>,
        balance: Balance,
        tariff: Option<Arc<Tariff>>,
        dispatched: bool,
    ) -> Result<Self> {
        let kept = account.ledger().engine().keep(account.id(), &hold, balance)?;
        let guard = Guard { kept, dispatched, armed: true };
        Ok(Self { account, hold, tariff, input: None, asset: balance.asset, guard })
    }

    pub(super) fn with_input(mut self, input: Option<Measured>) -> Self {
        self.input = input;
        self
    }

    /// Its name.
    pub fn id(&self) -> &HoldId {
        &self.hold.id
    }

    /// The account it is of.
    pub fn account(&self) -> &AccountHandle {
        &self.account
    }

    /// What it holds: less than was asked where a part was granted.
    pub fn amount(&self) -> Amount {
        self.hold.held
    }

    /// What its amounts are amounts of.
    pub fn asset(&self) -> Asset {
        self.asset
    }

    /// The prices it is charged at.
    pub fn tariff(&self) -> Option<&Arc<Tariff>> {
        self.tariff.as_ref()
    }

    /// The hold as it stood when this process last heard of it.
    pub fn view(&self) -> &Arc<Hold> {
        &self.hold
    }

    /// Whether the ledger said that the hold is not open any more: end the stream, then settle.
    pub fn is_lost(&self) -> bool {
        self.guard.kept.is_lost()
    }

    /// Says that the upstream has the request, so that something is used. Records the quoted input cost, without
    /// waiting. From here on the hold is never released by itself.
    pub fn dispatched(&mut self) {
        if !self.guard.dispatched {
            self.guard.dispatched = true;
            if let Some(input) = self.input.take() {
                self.guard.kept.record_now(input);
            }
        }
    }

    /// Notes usage so far, in total; it is recorded with the keeper's next round.
    pub fn note(&self, total: impl Into<Measured>) {
        self.guard.kept.note(total.into());
    }

    /// Records usage so far, in total, and waits until that is on disk.
    ///
    /// # Errors
    /// As [`AccountHandle::report`].
    pub async fn report(&self, total: impl Into<Measured>) -> Result<Receipt> {
        self.account.report(self.id(), total).await
    }

    /// Raises the hold to `target`; with `partial` as far as there is money.
    ///
    /// # Errors
    /// As [`AccountHandle::extend`]; the hold stays as it is.
    pub async fn extend(&mut self, target: Amount, partial: bool) -> Result<Receipt> {
        let receipt = self.account.extend(self.id(), target, partial).await?;
        self.guard.kept.heard(receipt.hold.as_deref(), Some(receipt.balance));
        if let Some(hold) = &receipt.hold {
            self.hold = Arc::clone(hold);
        }
        Ok(receipt)
    }

    /// Closes the hold with what was really used.
    ///
    /// # Errors
    /// As [`AccountHandle::settle`]. The hold is then closed by id: ask again with
    /// [`AccountHandle::settle`], or leave it to its lease.
    ///
    /// # Cancel safety
    /// Once polled, the settlement happens whether or not the future is dropped.
    pub async fn settle(self, used: impl Into<Measured>) -> Result<Receipt> {
        let (account, id) = self.detach_parts();
        account.settle(id, used).await
    }

    /// Closes the hold unused; with `waive` even if usage was reported.
    ///
    /// # Errors
    /// As [`AccountHandle::release`].
    pub async fn release(self, waive: bool) -> Result<Receipt> {
        let (account, id) = self.detach_parts();
        account.release(id, waive).await
    }

    /// Closes the hold provisionally: nobody can know what it used.
    ///
    /// # Errors
    /// As [`AccountHandle::abandon`].
    pub async fn abandon(self) -> Result<Receipt> {
        let (account, id) = self.detach_parts();
        account.abandon(id).await
    }

    /// Lets go of the hold without closing it: somebody else will, by its id, or its lease.
    pub fn detach(self) -> HoldId {
        self.detach_parts().1
    }

    fn detach_parts(self) -> (AccountHandle, HoldId) {
        let Self { account, hold, mut guard, .. } = self;
        guard.armed = false;
        guard.kept.end();
        (account, hold.id.clone())
    }

    pub(crate) fn kept(&self) -> &Arc<Kept> {
        &self.guard.kept
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        let dispatched = if self.dispatched { "yes" } else { "no" };
        metrics::counter!(telemetry::DROPPED, "dispatched" => dispatched).increment(1);
        self.kept.close_unawaited(self.dispatched);
    }
}

impl fmt::Debug for OpenHold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenHold")
            .field("account", self.account.id())
            .field("id", self.id())
            .field("amount", &self.amount())
            .field("dispatched", &self.guard.dispatched)
            .finish_non_exhaustive()
    }
}
