//! What is billed when a stream ends before its usage is known.

use std::time::Duration;

use super::slice::Slicing;
use crate::tokens::{Certainty, Usage, UsageReport};

/// What to do when the client goes away, or the stream ends without its usage.
///
/// Which is right depends on the provider: some stop, and stop charging, when the connection closes; others go on and
/// charge for the whole answer. [`Cut::of_provider`] knows most of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cut {
    /// Settle at once what was delivered, counted. Right where the provider stops when the connection closes (OpenAI,
    /// Azure, Anthropic and most others, by OpenRouter's table of providers).
    #[default]
    Estimate,
    /// Read on to the usage event, at most so long, then settle; the hold stays open meanwhile. Right where the
    /// provider goes on and charges in full (AWS Bedrock, Google, Groq, Mistral, Perplexity). Where too many are read
    /// on already ([`LedgerBuilder::drains`](crate::LedgerBuilder::drains)), as [`Cut::Estimate`].
    Drain {
        /// How long at most; then what was delivered is settled.
        max: Duration,
    },
    /// Release: the operator pays. An answer whose usage was reported is billed all the same.
    Free,
}

/// Providers that go on, and charge for the whole answer, when the connection closes: OpenRouter's table of them
/// (its documentation of stream cancellation), as this crate spells providers and as price lists do.
const GO_ON: &[&str] = &[
    "ai21",
    "alibaba",
    "aws",
    "bedrock",
    "bedrock_converse",
    "dashscope",
    "featherless",
    "featherless_ai",
    "gemini",
    "google",
    "groq",
    "huggingface",
    "minimax",
    "mistral",
    "modal",
    "nebius",
    "perplexity",
    "replicate",
    "sambanova",
    "vertex_ai",
];

/// Long enough for nearly every answer; a hold's lease is renewed meanwhile.
const DRAIN_MAX: Duration = Duration::from_secs(10 * 60);

impl Cut {
    /// What is right for a provider, as far as is known: [`Cut::Drain`] for ten minutes at the most where it goes on and
    /// charges in full, [`Cut::Estimate`] elsewhere. A host that knows better says so.
    ///
    /// ```
    /// use prepaid::metering::Cut;
    ///
    /// assert_eq!(Cut::of_provider("openai"), Cut::Estimate);
    /// assert!(matches!(Cut::of_provider("Bedrock"), Cut::Drain { .. }));
    /// ```
    pub fn of_provider(provider: &str) -> Self {
        if GO_ON.iter().any(|known| known.eq_ignore_ascii_case(provider)) {
            Self::Drain { max: DRAIN_MAX }
        } else {
            Self::Estimate
        }
    }
}

/// Which of an estimate's bounds is billed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EstimateAt {
    /// The least it can have been.
    Low,
    /// What it most likely was.
    #[default]
    Point,
    /// The most it can have been.
    High,
}

impl EstimateAt {
    /// The usage a report is billed at.
    pub(super) fn of(self, report: &UsageReport) -> Usage {
        match (&report.certainty, self) {
            (Certainty::Estimated { bounds }, Self::Low) => bounds.low,
            (Certainty::Estimated { bounds }, Self::High) => bounds.high,
            (Certainty::Estimated { .. }, Self::Point) | (Certainty::Reported | Certainty::Counted, _) => report.usage,
        }
    }
}

/// How a stream is metered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MeterOptions {
    /// What to do when the stream ends before its usage is known. Default [`Cut::Estimate`].
    pub cut: Cut,
    /// Which of an estimate's bounds is billed. Default the point.
    pub estimate: EstimateAt,
    /// How long the end of the stream waits for the settlement's answer. Default 2 s. The settlement happens anyway.
    pub wait: Duration,
    /// How the hold grows with the stream; none: it holds the worst case already. See [`slice`](super::Slicing).
    pub slicing: Option<Slicing>,
}

impl Default for MeterOptions {
    fn default() -> Self {
        Self { cut: Cut::default(), estimate: EstimateAt::default(), wait: Duration::from_secs(2), slicing: None }
    }
}

impl MeterOptions {
    /// The defaults with another cut policy.
    pub fn cut(cut: Cut) -> Self {
        Self { cut, ..Self::default() }
    }

    /// The same for a hold that grows with its stream.
    #[must_use]
    pub fn sliced(self, slicing: Slicing) -> Self {
        Self { slicing: Some(slicing), ..self }
    }
}
