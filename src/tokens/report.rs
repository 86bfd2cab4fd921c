//! What an observer reports: usage, how it is known, and what was odd about it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Usage;

/// What was used, how that is known, and what was odd about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct UsageReport {
    /// What was used; of an estimate, what it most likely was.
    pub usage: Usage,
    /// How that is known.
    pub certainty: Certainty,
    /// The model that answered, where the response names it.
    pub model: Option<Arc<str>>,
    /// What was odd, and what was done about it.
    pub remarks: BTreeSet<Remark>,
}

/// How usage is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Certainty {
    /// The provider said so.
    Reported,
    /// All of it was delivered, and counted with the model's own vocabulary.
    #[default]
    Counted,
    /// Some of it could not be seen or counted exactly; the truth lies between the bounds, class by class.
    Estimated {
        /// The least and the most it can have been.
        bounds: Box<Bounds>,
    },
}

/// What an estimate lies between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// The least it can have been.
    pub low: Usage,
    /// The most it can have been.
    pub high: Usage,
}

/// Something odd about a response's usage. None of them is silent: what was done is said here and in the bill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Remark {
    /// A number was negative, fractional or not a number at all: it was taken as missing.
    UnreadableNumber,
}

impl UsageReport {
    /// Usage known in this way, with nothing odd about it.
    pub fn new(usage: Usage, certainty: Certainty) -> Self {
        Self { usage, certainty, model: None, remarks: BTreeSet::new() }
    }
}
