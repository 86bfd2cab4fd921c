//! What a request used, and how that is known.

mod accounting;
mod count;
mod cut;
mod encoding;
mod report;
mod thumb;
mod usage;
mod vocabulary;

pub use accounting::{Observer, RequestEstimate, TokenAccounting, UnreadableRequest};
pub use count::TextCounter;
pub use report::{Bounds, Certainty, Remark, UsageReport};
pub use usage::{TokenClass, Usage};
pub use vocabulary::Vocabulary;
