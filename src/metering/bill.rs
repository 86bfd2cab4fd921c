//! What a metered stream came to.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use crate::error::{Error, ErrorKind, Result};
use crate::ledger::Receipt;
use crate::pricing::Charge;
use crate::tokens::UsageReport;

/// A settled stream: what it used, what that costs, and the ledger's receipt.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Bill {
    /// The ledger's receipt: it is on disk.
    pub receipt: Receipt,
    /// What was used, how that is known, and what was odd about it.
    pub report: UsageReport,
    /// What it costs, line by line; none where the hold was released.
    pub charge: Option<Charge>,
}

/// The bill of a metered stream, once it is settled. Dropping it changes nothing.
///
/// # Errors
/// `Refused` when the ledger refused the settlement (somebody else settled it otherwise, or the cost is above the
/// account's ceiling), `Spooled` when the store cannot be reached and the settlement waits on disk, `InvalidInput` when the hold has no tariff or its usage cannot be priced, `Closed` when the
/// ledger was closed first; then the hold's lease decides.
#[derive(Debug)]
pub struct Billed(pub(super) oneshot::Receiver<Result<Bill>>);

impl Future for Billed {
    type Output = Result<Bill>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let closed = || Error::new(ErrorKind::Closed, "ledger was closed before the stream was settled");
        Pin::new(&mut self.0).poll(context).map(|sent| sent.unwrap_or_else(|_| Err(closed())))
    }
}
