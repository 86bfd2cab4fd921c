//! From an observer's report to a settled hold.

use std::fmt;
use std::future::IntoFuture;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::sleep;

use super::bill::Bill;
use super::cut::{EstimateAt, MeterOptions};
use super::observe::Observer;
use super::slice::{Need, Slicer};
use crate::engine::{Kept, Source};
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::{AccountHandle, OpenHold, Receipt};
use crate::model::{Amount, Asset, HoldId, Measured};
use crate::pricing::{Charge, ServiceTier, Tariff};
use crate::telemetry;
use crate::tokens::{Certainty, Remark, Usage, UsageReport};

/// An observer with the prices it is billed at, shared between the stream and the keeper.
pub(super) struct Counter {
    observer: Mutex<Box<dyn Observer>>,
    tariff: Option<Arc<Tariff>>,
    asset: Asset,
    estimate: EstimateAt,
    slicer: Option<Slicer>,
}

impl Counter {
    pub(super) fn new(hold: &OpenHold, observer: Box<dyn Observer>, options: &MeterOptions) -> Self {
        let (tariff, asset) = (hold.tariff().cloned(), hold.asset());
        let slicer = options.slicing.zip(tariff.as_deref()).and_then(|(it, tariff)| Slicer::new(it, tariff, asset));
        Self { observer: Mutex::new(observer), tariff, asset, estimate: options.estimate, slicer }
    }

    pub(super) fn observer(&self) -> MutexGuard<'_, Box<dyn Observer>> {
        // A host's observer may have panicked in the stream's poll; what it counted before still stands.
        self.observer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees to it that a sliced hold is ahead of its stream.
    pub(super) fn keep_ahead(&self, kept: &Arc<Kept>) {
        let Some(slicer) = &self.slicer else {
            return;
        };
        let holding = kept.holding();
        if holding.asking || holding.short {
            return;
        }
        if let Need::More(target) = slicer.need(self.spent(), holding.held, &holding.balance) {
            kept.ask(target);
        }
    }

    /// Whether a sliced stream has to be cut: the hold is nearly used up, and there is no more.
    pub(super) fn is_exhausted(&self, kept: &Kept) -> bool {
        let holding = kept.holding();
        let nearly = |slicer: &Slicer| slicer.is_exhausted(self.spent(), holding.held);
        holding.short && self.slicer.as_ref().is_some_and(nearly)
    }

    fn spent(&self) -> Amount {
        self.so_far().map_or(Amount::ZERO, |measured| measured.quantity.cost)
    }

    /// What a report costs, and what of it is billed.
    fn charge(&self, report: &UsageReport) -> Result<(Charge, Measured)> {
        let tariff = self
            .tariff
            .as_ref()
            .ok_or_else(|| Error::invalid("a metered hold needs a tariff: see ReserveCall::tariff"))?;
        let usage = self.estimate.of(report);
        let charge = charged(tariff, &usage, report, self.asset)?;
        let measured = measured(&charge, &usage, report);
        Ok((charge, measured))
    }
}

impl Source for Counter {
    fn so_far(&self) -> Option<Measured> {
        let report = self.observer().report();
        self.charge(&report).ok().map(|(_, measured)| measured)
    }
}

impl fmt::Debug for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counter").field("asset", &self.asset).finish_non_exhaustive()
    }
}

/// A stream's duty to settle, carried from the stream to whoever does it.
#[derive(Debug)]
pub(super) struct Duty {
    pub(super) hold: OpenHold,
    pub(super) counter: Arc<Counter>,
    pub(super) billed: oneshot::Sender<Result<Bill>>,
}

impl Duty {
    /// Tells the observer that nothing more comes; whether the usage is final then.
    pub(super) fn finish(&self) -> bool {
        let mut observer = self.counter.observer();
        observer.finish();
        observer.is_final()
    }

    /// Settles what was counted, on the engine's runtime; the receiver hears when that is done.
    pub(super) fn settle(self, ended: &'static str) -> oneshot::Receiver<()> {
        let report = self.counter.observer().report();
        let certainty = certainty_name(&report.certainty);
        metrics::counter!(telemetry::METERED, "ended" => ended, "certainty" => certainty).increment(1);
        let (done, hears) = oneshot::channel();
        let runtime = self.hold.account().ledger().engine().runtime().clone();
        runtime.spawn(async move {
            let Self { hold, counter, billed } = self;
            let bill = settle(hold, &counter, report).await;
            let _ = billed.send(bill);
            let _ = done.send(());
        });
        hears
    }

    /// Gives the hold back, whatever was used.
    pub(super) fn waive(self, ended: &'static str) {
        let runtime = self.hold.account().ledger().engine().runtime().clone();
        metrics::counter!(telemetry::METERED, "ended" => ended, "certainty" => "waived").increment(1);
        runtime.spawn(async move {
            let Self { hold, counter, billed } = self;
            let report = counter.observer().report();
            let (account, id, _running) = taken_over(hold);
            let receipt = until_answered(|| account.release(&id, true)).await;
            let _ = billed.send(receipt.map(|receipt| Bill { receipt, report, charge: None }));
        });
    }
}

/// Settles `hold` with what `report` costs.
async fn settle(hold: OpenHold, counter: &Counter, mut report: UsageReport) -> Result<Bill> {
    let (account, id, _running) = taken_over(hold);
    let (charge, measured) = match counter.charge(&report) {
        Ok(charged) => charged,
        Err(error) => {
            tracing::error!(account = %account.id(), hold = %id, %error, "stream cannot be priced");
            if let Err(error) = until_answered(|| account.abandon(&id)).await {
                tracing::error!(account = %account.id(), hold = %id, %error, "hold is left to its lease");
            }
            return Err(error);
        }
    };
    remark_tier(&mut report, &charge);
    match until_answered(|| account.settle(&id, measured.clone()).into_future()).await {
        Ok(receipt) => Ok(Bill { receipt, report, charge: Some(charge) }),
        Err(error) => {
            if error.kind() != ErrorKind::Spooled {
                refused(&error, &account, &id);
            }
            Err(error)
        }
    }
}

/// The hold's account and id: from here on it goes by them, which may be repeated. A ledger that closes waits for it as
/// long as the last part is kept.
fn taken_over(hold: OpenHold) -> (AccountHandle, HoldId, Arc<Kept>) {
    let (account, running) = (hold.account().clone(), Arc::clone(hold.kept()));
    (account, hold.detach(), running)
}

/// Asks again until the ledger answers.
async fn until_answered<F: Future<Output = Result<Receipt>>>(mut ask: impl FnMut() -> F) -> Result<Receipt> {
    const AGAIN_AFTER: Duration = Duration::from_millis(200);
    loop {
        match ask().await {
            Err(error) if error.is_retryable() => sleep(AGAIN_AFTER).await,
            answer => return answer,
        }
    }
}

fn refused(error: &Error, account: &AccountHandle, hold: &HoldId) {
    if error.kind() == ErrorKind::Refused {
        let refusal = error.name().unwrap_or_default();
        metrics::counter!(telemetry::SETTLEMENT_REFUSED, "refusal" => refusal).increment(1);
    }
    tracing::error!(account = %account.id(), %hold, %error, "settlement of a stream failed");
}

/// What a report's usage costs at the service tier that answered.
pub(super) fn charged(tariff: &Tariff, usage: &Usage, report: &UsageReport, asset: Asset) -> Result<Charge> {
    let tier = said_tier(report).unwrap_or_else(|| tariff.tier());
    tariff.charge_at(tier, usage, &report.beside, asset).map_err(Error::invalid)
}

/// Says so where another tier answered than was charged. A batch is one whatever its tier is called.
pub(super) fn remark_tier(report: &mut UsageReport, charge: &Charge) {
    let is_charged = report.tier.is_none() || said_tier(report) == Some(charge.tier());
    if !is_charged && charge.tier() != ServiceTier::Batch {
        report.remarks.insert(Remark::TierUnpriced);
    }
}

fn said_tier(report: &UsageReport) -> Option<ServiceTier> {
    report.tier.as_deref()?.to_ascii_lowercase().parse().ok()
}

pub(super) fn measured(charge: &Charge, usage: &Usage, report: &UsageReport) -> Measured {
    let beside = report.beside.iter().map(|step| step.usage.total());
    let tokens = beside.fold(usage.total(), u64::saturating_add);
    Measured::new(charge.amount(), tokens).with_evidence(charge.evidence())
}

fn certainty_name(certainty: &Certainty) -> &'static str {
    match certainty {
        Certainty::Reported => "reported",
        Certainty::Counted => "counted",
        Certainty::Estimated { .. } => "estimated",
    }
}

impl OpenHold {
    /// Settles a response that does not stream: what `observer` reads in `body`.
    ///
    /// # Errors
    /// As [`Billed`](super::Billed).
    ///
    /// # Cancel safety
    /// Once polled, the settlement happens whether or not the future is dropped.
    pub async fn settle_body(mut self, body: &[u8], observer: impl Observer) -> Result<Bill> {
        self.dispatched();
        let mut observer: Box<dyn Observer> = Box::new(observer);
        observer.body(body);
        let counter = Counter::new(&self, observer, &MeterOptions::default());
        let report = counter.observer().report();
        let runtime = self.account().ledger().engine().runtime().clone();
        let settled = runtime.spawn(async move { settle(self, &counter, report).await });
        settled.await.map_err(|_| Error::new(ErrorKind::Closed, "ledger was closed before the body was settled"))?
    }
}

impl Bill {
    /// Whether the ledger had this settlement already.
    pub fn is_replay(&self) -> bool {
        Receipt::is_replay(&self.receipt)
    }
}
