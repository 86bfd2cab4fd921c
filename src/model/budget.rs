//! Budgets: limits on what a scope of an account may spend, ask or use in a window of time.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::body::codes;
use super::codec::{Malformed, Reader, Writer, read_number};
use super::{Amount, Scope, Timestamp, Window};

/// What a budget counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Money: what requests cost, less what was refunded.
    Spend,
    /// Requests: each attempt that is settled, or lapses above zero, once.
    Requests,
    /// Tokens.
    Tokens,
}

codes!(Metric, "metric", Spend = 0, Requests = 1, Tokens = 2);

/// What a budget counts, and how much of it there may be in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cap {
    /// So much money.
    Spend(Amount),
    /// So many requests.
    Requests(u64),
    /// So many tokens.
    Tokens(u64),
}

impl Cap {
    /// What is counted.
    pub fn metric(self) -> Metric {
        match self {
            Self::Spend(_) => Metric::Spend,
            Self::Requests(_) => Metric::Requests,
            Self::Tokens(_) => Metric::Tokens,
        }
    }

    /// How much there may be: minor units, requests or tokens.
    pub fn limit(self) -> u64 {
        match self {
            Self::Spend(amount) => amount.minor_units().unsigned_abs(),
            Self::Requests(count) | Self::Tokens(count) => count,
        }
    }

    /// From its two columns.
    ///
    /// # Errors
    /// [`Malformed`] when it is money beyond its range.
    pub fn from_parts(metric: Metric, limit: u64) -> Result<Self, Malformed> {
        match metric {
            Metric::Spend => {
                let units = i64::try_from(limit).map_err(|_| Malformed("limit"))?;
                Amount::new(units).map(Self::Spend).map_err(|_| Malformed("limit"))
            }
            Metric::Requests => Ok(Self::Requests(limit)),
            Metric::Tokens => Ok(Self::Tokens(limit)),
        }
    }
}

/// A budget as the ledger keeps it. Scope, metric and window make it what it is; its limit may change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Budget {
    /// The number of its account.
    pub account_number: i64,
    /// Its number inside the account, from 1.
    pub number: u32,
    /// What it limits; none: the whole account.
    pub scope: Option<Scope>,
    /// The time it is a limit for.
    pub window: Window,
    /// What it counts, and the limit.
    pub cap: Cap,
    /// Whether it limits anything; a budget that was removed does not.
    pub active: bool,
    /// How often it was changed since it was made.
    pub version: u32,
}

/// Names the budgets of one scope inside a bucket.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BudgetKey {
    /// The number of the account.
    pub account: i64,
    /// The scope; none: the whole account.
    pub scope: Option<Scope>,
}

/// Names one window of one budget inside a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WindowKey {
    /// The number of the account.
    pub account: i64,
    /// The budget's number inside the account.
    pub budget: u32,
    /// When the window began.
    pub start: Timestamp,
}

/// What a budget counted in one window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetWindow {
    /// Which.
    pub key: WindowKey,
    /// By what is closed.
    pub used: u64,
    /// By what is open.
    pub held: u64,
}

impl BudgetWindow {
    /// A window in which nothing was counted yet.
    pub fn new(key: WindowKey) -> Self {
        Self { key, used: 0, held: 0 }
    }

    /// Its counts.
    pub fn tally(&self) -> Tally {
        Tally { used: self.used, held: self.held }
    }
}

/// A window a hold is charged to, pinned when the hold is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Charged {
    /// The budget's number inside the account.
    pub budget: u32,
    /// What the budget counts.
    pub metric: Metric,
    /// When the window began.
    pub start: Timestamp,
}

/// What a hold counts for in a budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Once it is closed, provisionally or not.
    pub used: u64,
    /// While it is open.
    pub held: u64,
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Spend => "spend",
            Self::Requests => "requests",
            Self::Tokens => "tokens",
        })
    }
}

pub(super) fn write_window(writer: &mut Writer, window: &Charged) {
    writer.unsigned(u64::from(window.budget));
    writer.byte(window.metric.code());
    writer.signed(window.start.as_micros());
}

pub(super) fn read_window(reader: &mut Reader<'_>) -> Result<Charged, Malformed> {
    Ok(Charged {
        budget: read_number(reader)?,
        metric: Metric::from_code(reader.byte()?)?,
        start: Timestamp::from_micros(reader.signed()?),
    })
}
