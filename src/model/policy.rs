//! Choices pinned in a hold when it is made.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a hold that nobody closed costs when its lease is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum OnLapse {
    /// Nothing: the money comes back.
    Release,
    /// What was reported so far.
    #[default]
    CaptureReported,
    /// The whole hold, or what was reported where that is more.
    CaptureHeld,
}

/// What is collected when the cost exceeds the hold. The hold's own money, and what it captured before, is always
/// payable; what is not collected is written off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Overrun {
    /// Everything: the balance may go negative, and new reserves are denied until it is repaid. An account's debt cap
    /// bounds how far.
    #[default]
    Debt,
    /// As much as is spendable.
    CapToAvailable,
    /// As much as is spendable, at most what the hold held.
    CapToHold,
}

/// How long a hold lives without word from its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Lease {
    /// From a reserve or a renewal to the deadline. Default 15 minutes.
    pub ttl: Duration,
    /// From the deadline until the sweeper may close the hold. Default 30 seconds.
    pub grace: Duration,
    /// From the lapse until it is final: as long the owner's late word still counts. Default 7 days.
    pub late: Duration,
}

impl Default for Lease {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(15 * 60),
            grace: Duration::from_secs(30),
            late: Duration::from_secs(7 * 24 * 60 * 60),
        }
    }
}

/// What an account's holds are made with unless a reserve says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Policy {
    /// What a hold that nobody closed costs.
    pub on_lapse: OnLapse,
    /// What is collected above the hold.
    pub overrun: Overrun,
    /// How long a hold lives without word from its owner.
    pub lease: Lease,
}
