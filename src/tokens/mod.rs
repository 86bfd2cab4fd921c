//! What a request used, and how that is known.

mod accounting;
mod calibration;
mod report;
mod request;
mod scatter;
mod span;
mod text;
mod usage;
mod yardstick;

pub use accounting::{Beyond, Observer, RequestEstimate, TokenAccounting, UnreadableRequest};
pub use calibration::Calibration;
pub use report::{Beside, Bounds, Certainty, Remark, UsageReport};
pub use request::RequestShape;
pub use scatter::Scatter;
pub use span::Span;
#[cfg(test)]
pub(crate) use text::COUNTED_BYTES;
pub use text::{TextCounter, UnreadableVocabulary, Vocabularies, Vocabulary, VocabularyFile};
pub use usage::{TokenClass, Usage};
pub use yardstick::{Delivered, Yardstick};
