//! The kernel decides. It is given what the store loaded, a command and the time, and says what changes or why not.
//!
//! Pure: no I/O, clock, randomness or async, so the same question always has the same answer. Stores ask
//! [`Batch::reads`] what to load, call [`Batch::decide`], write the [`ChangeSet`] and nothing else.
//!
//! One rule generates every answer: if what a command wants is so already, it succeeds and nothing changes; if it is a
//! legal step, it is taken; anything else is a typed [`Refusal`] that changes nothing.

mod batch;
mod budgets;
mod command;
mod decide;
mod draft;
pub(crate) mod invariant;
mod lots;
mod needs;
mod refusal;
mod reply;
mod snapshot;

pub use batch::{Batch, Decision};
pub use command::{Action, Command};
pub use refusal::{Denial, DenialReason, Exhausted, Refusal};
pub use reply::{Outcome, Reply};
pub use snapshot::{ChangeSet, Counters, KeyTarget, Map, Operation, Pruned, ReadSet, Set, Snapshot};
