//! Why the ledger says no. A refusal changes nothing and is not remembered: the same command may succeed later.

use std::sync::Arc;
use std::time::Duration;

use crate::model::{Amount, Cap, Quantity, Scope, SignedAmount, Status, Timestamp, Window};

/// Why a command was refused, with what the caller needs to go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The account was never opened: open it.
    #[error("unknown account")]
    UnknownAccount,
    /// The account was opened with another asset: an asset never changes.
    #[error("account exists with another asset")]
    AccountExists,
    /// No hold of this name: reserve first, or settle with `or_debit`.
    #[error("unknown hold")]
    UnknownHold,
    /// The reserve, extension or debit does not fit: answer 402, or wait for [`Denial::retry_after`].
    #[error("denied: {0}")]
    Denied(Denial),
    /// A hold of this name was made on other terms: answer by how it stands ([`Error::hold`](crate::Error::hold)). A
    /// worst case that was quoted anew differs as soon as a price or the balance has changed; where what the caller
    /// itself asked for differs, the name was used for another request.
    #[error("hold was made on other terms: {}", differing.join(", "))]
    OtherTerms {
        /// The terms that differ, by the names of their fields in [`Terms`](crate::model::Terms).
        differing: Vec<&'static str>,
    },
    /// Another cost is recorded under this name: a bug of the caller's.
    #[error("conflict with what is recorded: cost={} tokens={}", .recorded.cost, .recorded.tokens)]
    Conflict {
        /// The cost that is recorded.
        recorded: Quantity,
    },
    /// The hold lapsed: stop the stream, then settle late.
    #[error("lease lost")]
    LeaseLost,
    /// The hold is closed: stop.
    #[error("hold is closed")]
    Closed,
    /// Usage was reported, so the hold is not unused: settle it, or release it with `waive`.
    #[error("usage was reported: cost={} tokens={}", .reported.cost, .reported.tokens)]
    UsageReported {
        /// What was reported.
        reported: Quantity,
    },
    /// The lapse became final: correct it.
    #[error("hold is sealed: cost={}", .actual.cost)]
    Sealed {
        /// What the hold cost.
        actual: Quantity,
    },
    /// The hold's cost is not final yet: settle or release it first.
    #[error("hold is not final")]
    NotFinal,
    /// The key was used with other arguments: a bug of the caller's.
    #[error("key was used with other arguments")]
    KeyReused,
    /// More than was collected and not refunded yet.
    #[error("refund exceeds what is left: left={left}")]
    ExceedsRefundable {
        /// What may still be refunded.
        left: Amount,
    },
    /// The correction would collect less than was already refunded.
    #[error("correction is below what was refunded: refunded={refunded}")]
    BelowRefunded {
        /// What was refunded.
        refunded: Amount,
    },
    /// An operation with money moves some.
    #[error("amount is zero")]
    ZeroAmount,
    /// The least amount is above the amount.
    #[error("min is above the amount")]
    InvalidMin,
    /// The cost is beyond belief: look at it, then override if it is true.
    #[error("cost is above the ceiling: cost={cost} ceiling={ceiling}")]
    AboveCeiling {
        /// The cost.
        cost: Amount,
        /// The ceiling.
        ceiling: Amount,
    },
    /// Less paid money is free than should be withdrawn.
    #[error("not enough paid money: withdrawable={withdrawable}")]
    InsufficientPaid {
        /// What may be withdrawn.
        withdrawable: Amount,
    },
    /// More than the debt would be forgiven.
    #[error("write-off exceeds the debt: debt={debt}")]
    ExceedsDebt {
        /// What is owed.
        debt: Amount,
    },
    /// A total would come too near to 2^59 minor units.
    #[error("a total would leave its range")]
    TotalTooLarge,
    /// The account's status does not allow it.
    #[error("account is {0:?}")]
    Status(Status),
    /// The account owes money: it has to be repaid first.
    #[error("account is in debt")]
    InDebt,
    /// The account still has holds that are not final: close them first.
    #[error("account has holds: open={open} lapsed={lapsed}")]
    HoldsPending {
        /// Open ones.
        open: u32,
        /// Lapsed ones.
        lapsed: u32,
    },
    /// The lot would have expired already: give it a later expiry.
    #[error("lot would be expired: expiry={expiry} now={now}")]
    ExpiryInPast {
        /// When it would expire.
        expiry: Timestamp,
        /// The store's time.
        now: Timestamp,
    },
    /// The account never had such a budget: list them.
    #[error("unknown budget")]
    UnknownBudget,
    /// It is final since before the account's books were closed: it can neither be changed nor asked for again. What became
    /// of it is in the archive.
    #[error("too old: the account's books are closed over it")]
    TooOld,
    /// The books cannot be closed, or a checkpoint made, like this: read the account and archive anew.
    #[error("archive does not fit the account: {0}")]
    ArchiveMismatch(&'static str),
    /// A stored key has this key's hash but is another one.
    #[error("another key has the same hash")]
    KeyCollision,
}

/// Why a reserve or an extension does not fit, and what would.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: asked={asked} grantable={grantable}")]
#[non_exhaustive]
pub struct Denial {
    /// The tightest bound.
    pub reason: DenialReason,
    /// What was asked for.
    pub asked: Amount,
    /// What would have been granted.
    pub grantable: Amount,
    /// What the account can spend on the request's model.
    pub spendable: SignedAmount,
    /// When it is worth trying again without a deposit; none: money has to come in first, or a limit has to be raised.
    pub retry_after: Option<Duration>,
    /// The budget, where one is the tightest bound.
    pub budget: Option<Arc<Exhausted>>,
}

/// A budget that let less through than was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exhausted {
    /// Its number inside the account.
    pub number: u32,
    /// What it limits; none: the whole account.
    pub scope: Option<Scope>,
    /// The time it is a limit for.
    pub window: Window,
    /// What it counts, and the limit.
    pub cap: Cap,
    /// What is left of it in its window: minor units, requests or tokens.
    pub left: u64,
    /// When its next window begins; none: never, or not for this hold.
    pub resets_at: Option<Timestamp>,
}

/// The bound a reserve or an extension ran into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DenialReason {
    /// Not enough money.
    #[error("insufficient funds")]
    Funds,
    /// The account is frozen.
    #[error("account is frozen")]
    Frozen,
    /// The account is closed.
    #[error("account is closed")]
    Closed,
    /// The account has as many open holds as it may.
    #[error("too many open holds")]
    OpenHolds,
    /// The hold would be larger than the account's holds may be.
    #[error("hold too large")]
    HoldTooLarge,
    /// The open holds together would be larger than they may be.
    #[error("too much held")]
    HeldTooLarge,
    /// A budget of one of the request's scopes does not admit it: see [`Denial::budget`]. A gateway answers 429 where
    /// there is a [`Denial::retry_after`].
    #[error("budget exhausted")]
    Budget,
}

impl Refusal {
    /// The name it has in the state table, in metrics and in machine-readable answers.
    pub fn name(&self) -> &'static str {
        match self {
            Self::UnknownAccount => "UnknownAccount",
            Self::AccountExists => "AccountExists",
            Self::UnknownHold => "UnknownHold",
            Self::Denied(_) => "Denied",
            Self::OtherTerms { .. } | Self::Conflict { .. } => "Conflict",
            Self::LeaseLost => "LeaseLost",
            Self::Closed => "Closed",
            Self::UsageReported { .. } => "UsageReported",
            Self::Sealed { .. } => "Sealed",
            Self::NotFinal => "NotFinal",
            Self::KeyReused => "KeyReused",
            Self::ExceedsRefundable { .. } => "ExceedsRefundable",
            Self::BelowRefunded { .. } => "BelowRefunded",
            Self::ZeroAmount => "ZeroAmount",
            Self::InvalidMin => "InvalidMin",
            Self::AboveCeiling { .. } => "AboveCeiling",
            Self::InsufficientPaid { .. } => "InsufficientPaid",
            Self::ExceedsDebt { .. } => "ExceedsDebt",
            Self::TotalTooLarge => "TotalTooLarge",
            Self::Status(_) => "Status",
            Self::InDebt => "InDebt",
            Self::HoldsPending { .. } => "HoldsPending",
            Self::ExpiryInPast { .. } => "ExpiryInPast",
            Self::UnknownBudget => "UnknownBudget",
            Self::TooOld => "TooOld",
            Self::ArchiveMismatch(_) => "ArchiveMismatch",
            Self::KeyCollision => "KeyCollision",
        }
    }
}
