//! The manual: what does not belong to one type.
//!
//! - [`gateway`]: selling a stream, step by step, and what to answer.
//! - [`operations`]: running a ledger: files, backups, what to watch, what to do when it says no.

pub mod gateway;
pub mod operations;
