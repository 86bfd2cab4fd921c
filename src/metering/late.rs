//! Usage that is learnt late: after a restart, from a provider's record of the generation, from an invoice.

use super::bill::Bill;
use super::settlement::{charged, measured, remark_tier};
use crate::error::{Error, ErrorKind, Result};
use crate::kernel::{Refusal, Reply};
use crate::ledger::{AccountHandle, ToHoldId};
use crate::model::{Amount, HoldId};
use crate::pricing::Charge;
use crate::tokens::UsageReport;

impl AccountHandle {
    /// Settles a hold by its id with usage, at the tariff pinned in it: for usage that arrives after the stream's process
    /// is gone. An open hold is settled, a lapsed one trued up. The rates are those of the tier that
    /// [`UsageReport::tier`] names, as for a metered stream: set it to what the provider said.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::sync::Arc;
    /// use prepaid::{Asset, Ledger, pricing::Tariff};
    /// use prepaid::tokens::{Certainty, TokenClass, Usage, UsageReport};
    ///
    /// let usd = Asset::USD;
    /// let ledger = Ledger::open("memory:").await?;
    /// let alice = ledger.account("alice")?;
    /// alice.open().await?;
    /// alice.deposit("payment-1", usd.parse("5")?).await?;
    /// let tariff = Arc::new(Tariff::per_million("some-model").input("2").output("10").build()?);
    /// let hold = alice.reserve("request-1", usd.parse("0.40")?).tariff(tariff).await?.created()?.detach();
    ///
    /// let said = |output| {
    ///     let usage = Usage::new().with(TokenClass::Input, 500).with(TokenClass::Output, output);
    ///     UsageReport::new(usage, Certainty::Reported)
    /// };
    /// let bill = alice.settle_usage(&hold, said(100)).await?;
    /// assert_eq!(bill.receipt.balance.available, usd.parse_signed("4.998")?);
    ///
    /// // The invoice says otherwise.
    /// let billed = usd.parse("0.002")?;
    /// let bill = alice.correct_usage(&hold, "invoice-2026-11", billed, said(90)).await?;
    /// assert_eq!(bill.receipt.balance.available, usd.parse_signed("4.9981")?);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Refusal::UnknownHold`]; `InvalidInput` when the hold has no tariff or the usage cannot be priced; as
    /// [`AccountHandle::settle`].
    ///
    /// # Cancel safety
    /// Once the settlement was handed over it happens whether or not the future is dropped; before, nothing was done.
    pub async fn settle_usage(&self, hold: impl ToHoldId, mut report: UsageReport) -> Result<Bill> {
        let id = hold.to_hold_id()?;
        let charge = self.price(&id, &mut report).await?;
        let receipt = self.settle(&id, measured(&charge, &report.usage, &report)).await?;
        Ok(Bill { receipt, report, charge: Some(charge) })
    }

    /// Replaces a final hold's cost, if it is `expected` now, with that of `report` at the tariff pinned in it, once per
    /// `key`.
    ///
    /// # Errors
    /// [`Refusal::UnknownHold`]; `InvalidInput` when the hold has no tariff or the usage cannot be priced; as
    /// [`AccountHandle::correct`].
    ///
    /// # Cancel safety
    /// As [`AccountHandle::settle_usage`].
    pub async fn correct_usage(
        &self,
        hold: impl ToHoldId,
        key: impl AsRef<str>,
        expected: Amount,
        mut report: UsageReport,
    ) -> Result<Bill> {
        let id = hold.to_hold_id()?;
        let charge = self.price(&id, &mut report).await?;
        let receipt = self.correct(&id, key, expected, measured(&charge, &report.usage, &report)).await?;
        Ok(Bill { receipt, report, charge: Some(charge) })
    }

    async fn price(&self, id: &HoldId, report: &mut UsageReport) -> Result<Charge> {
        let unknown = || Error::refused(Refusal::UnknownHold, Reply::refusing(Refusal::UnknownHold));
        let hold = self.hold(id).await?.ok_or_else(unknown)?;
        let asset = self.view().await?.asset;
        let tariff = match hold.tariff() {
            Some(hash) => self.ledger().tariff(hash).await?,
            None => None,
        };
        let bare = || Error::new(ErrorKind::InvalidInput, format!("hold has no tariff to price usage at: hold={id}"));
        let tariff = tariff.ok_or_else(bare)?;
        let charge = charged(&tariff, &report.usage, report, asset)?;
        remark_tier(report, &charge);
        Ok(charge)
    }
}
