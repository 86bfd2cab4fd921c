//! What a request used, and how that is known.

mod accounting;
mod report;
mod usage;

pub use accounting::{Observer, RequestEstimate, TokenAccounting, UnreadableRequest};
pub use report::{Bounds, Certainty, Remark, UsageReport};
pub use usage::{TokenClass, Usage};
