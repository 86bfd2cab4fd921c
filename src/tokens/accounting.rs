//! The traits a host may implement to count tokens its own way.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;

use super::UsageReport;

/// Reads a provider's response as it passes by, and says what it used.
///
/// It sees every byte in order, split anywhere, and changes none. It must not panic on anything it is fed, and keeps a
/// bounded amount of it.
pub trait Observer: Send + 'static {
    /// Reads the next bytes of a streamed body.
    fn feed(&mut self, bytes: &[u8]);

    /// Reads a whole body that was not streamed.
    fn body(&mut self, bytes: &[u8]);

    /// Hears that nothing more comes: what is half read counts now.
    fn finish(&mut self);

    /// Whether the usage is the provider's final word.
    fn is_final(&self) -> bool;

    /// What was used so far.
    fn report(&self) -> UsageReport;
}

impl Observer for Box<dyn Observer> {
    fn feed(&mut self, bytes: &[u8]) {
        (**self).feed(bytes);
    }

    fn body(&mut self, bytes: &[u8]) {
        (**self).body(bytes);
    }

    fn finish(&mut self) {
        (**self).finish();
    }

    fn is_final(&self) -> bool {
        (**self).is_final()
    }

    fn report(&self) -> UsageReport {
        (**self).report()
    }
}

/// Estimates requests and observes responses of one API.
pub trait TokenAccounting: Debug + Send + Sync {
    /// What a request can use at most, from its body. Once for each request: it counts the whole prompt.
    ///
    /// # Errors
    /// [`UnreadableRequest`], naming what is wrong with it.
    fn estimate(&self, request: &[u8]) -> Result<RequestEstimate, UnreadableRequest>;

    /// An observer for the response to the request of this estimate. Without one nothing is known of the request, and the
    /// response is observed all the same.
    fn observer(&self, estimate: Option<&RequestEstimate>) -> Box<dyn Observer>;
}

/// The worst case of a request, in tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RequestEstimate {
    /// The model it asks for.
    pub model: Option<Arc<str>>,
    /// Input tokens, at most; `beyond` says what can make them more.
    pub input: u64,
    /// Input tokens, most likely.
    pub input_likely: u64,
    /// Input tokens, at least.
    pub input_least: u64,
    /// Output tokens of one answer, at most, reasoning included; none if the request sets no cap.
    pub output_cap: Option<u64>,
    /// Reasoning tokens of one answer, at most; none if the request sets no cap.
    pub reasoning_cap: Option<u64>,
    /// How many answers it asks for.
    pub choices: u64,
    /// What can make the input larger than `input`, none of it visible in the request.
    pub beyond: BTreeSet<Beyond>,
    /// Other models that tools of the request name, such as an adviser's: what they use is billed beside the totals, at
    /// prices that the tariff has to have ([`Tariff::with_other`](crate::pricing::Tariff::with_other)).
    pub others: BTreeSet<Arc<str>>,
}

/// What a request's body does not show and its provider bills as input all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Beyond {
    /// A tool that the provider runs itself (web search, code, files, MCP): its results become input.
    HostedTool,
    /// A conversation, response, item, prompt or cache that the provider keeps.
    StoredContext,
    /// Another model may answer in its place, with a prompt of its own.
    OtherModel,
    /// A file, named by its address or id.
    RemoteFile,
}

/// A request that cannot be estimated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("request cannot be read: {0}")]
pub struct UnreadableRequest(pub String);
