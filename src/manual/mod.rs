//! The manual: what does not belong to one type.
//!
//! - [`gateway`]: selling a stream, step by step, and what to answer.
//! - [`operations`]: running a ledger: files, backups, what to watch, what to do when it says no.
//! - [`retention`]: archiving an account's past and letting go of it.
//! - [`scaling`]: several processes, several buckets, several machines.

pub mod gateway;
pub mod operations;
pub mod retention;
pub mod scaling;
