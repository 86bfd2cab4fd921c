//! The test room: what tests of this crate, of its hosts and of other stores are made of (feature `testing`).
//!
//! - [`ManualClock`] stands still until it is told to move.
//! - [`FaultyStore`] is any store with faults on purpose: before, during and after a commit.
//! - [`Model`] says what every command should come to. It is written from the state table, not from the kernel.
//! - [`Rows`] is everything a store keeps, with the rules it must obey: what a test compares and checks.
//!
//! The suite every store has to pass is beside the stores.

mod clock;
mod faults;
mod model;
mod rows;

pub use clock::ManualClock;
pub use faults::{CommitFault, FaultRates, FaultyStore};
pub use model::{AccountModel, Coins, HoldModel, Model, Piles, Totals, Used};
pub use rows::Rows;
