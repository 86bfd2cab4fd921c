//! Reading what was written: the audit.

mod audit;
mod refold;

pub(crate) use audit::audit;
pub use audit::{Audit, Finding};
