//! Reading what was written: the feed and the audit.

mod audit;
mod credit;
mod feed;
mod refold;

pub(crate) use audit::audit;
pub use audit::{Audit, Finding};
pub(crate) use feed::feed;
pub use feed::{Cursor, FeedPage, InvalidCursor};
