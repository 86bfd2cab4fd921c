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
    /// The service tier that answered, in the provider's own word.
    pub tier: Option<Arc<str>>,
    /// What was odd, and what was done about it.
    pub remarks: BTreeSet<Remark>,
    /// What the provider says that steps of the response used beside all that.
    pub beside: Vec<Beside>,
}

/// What a step of a response used that the response's totals leave out: another model's advice, a compaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beside {
    /// The model whose step it was; none: the same as the response's.
    pub model: Option<Arc<str>>,
    /// What the step used.
    pub usage: Usage,
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
    /// A number was larger than anything can have used: it was taken as missing.
    HugeNumber,
    /// A cumulative number fell: its highest value was kept, unless the provider's last word takes back what it said on
    /// the way, and not to zero.
    FallingNumber,
    /// A part was larger than what includes it (cached above prompt, reasoning above output): it was cut to fit.
    PartAboveWhole,
    /// The total is not the sum of its parts, however they are read: the parts were taken. Where no reasoning is named
    /// and the total is larger, the difference is taken for reasoning, as an estimate.
    TotalDiffers,
    /// The closing usage came twice, with other numbers: the higher ones were taken.
    UsageRestated,
    /// The response has steps that its totals leave out (another model's advice, a compaction): they are billed apart,
    /// at their model's prices, where the tariff has those; see [`UsageReport::beside`].
    UsageBeside,
    /// The response ended before the provider's last word: its usage so far was taken, and what came after it counted.
    UsageSoFar,
    /// The response changed the model's name on its way: the first was kept.
    ModelChanged,
    /// Another service tier answered than the tariff was taken for, and the tariff has no rates for it: those it was taken
    /// for were charged.
    TierUnpriced,
    /// Nobody said how large the prompt is: no input was billed.
    InputUnknown,
    /// The provider's tools were putting more into the prompt when the response broke off: its size is the least it
    /// can have been.
    InputGrows,
    /// The model reasons without showing it, and the provider did not say how much: it was estimated.
    HiddenReasoning,
    /// Audio or images were delivered whose tokens nobody counted: they are not billed.
    MediaUncounted,
    /// The provider ran tools of its own that it may charge for by the call and that no class counts (code, files,
    /// images, sources): they are not billed.
    ToolsUncounted,
    /// The provider reported an error in place of (the rest of) the response.
    UpstreamError,
    /// An event was too large or damaged, and was skipped, or a body that is one JSON value broke off. Unless the provider
    /// has the last word, the output may be as much as the request allows.
    SkippedEvent,
    /// An event was not what the API sends and was passed over, or the body had no event at all: it is compressed, or not
    /// an answer. Unless the provider has the last word, the output may be as much as the request allows.
    UnreadableEvent,
    /// Text was not valid UTF-8: what was not was replaced before counting.
    InvalidText,
}

impl UsageReport {
    /// Usage known in this way, with nothing odd about it.
    pub fn new(usage: Usage, certainty: Certainty) -> Self {
        Self { usage, certainty, model: None, tier: None, remarks: BTreeSet::new(), beside: Vec::new() }
    }
}
