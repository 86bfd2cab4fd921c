//! Prepaid billing of LLM streams: an embeddable double-entry ledger that **reserves** the worst-case cost when a
//! stream starts, **settles** to what was really used when it ends, and **refunds** or tops up the difference.
//!
//! A gateway links it. SQLite is inside, so that there is nothing to run; a fleet of gateways shares one PostgreSQL.
//! Holds, balances, limits and the journal change in one durable transaction, decided under one lock, so that concurrent
//! requests never spend the same money twice, a reconnect never bills twice, and a stream that breaks is billed by what
//! was delivered.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use prepaid::{Asset, Ledger, Outcome, Reserved};
//!
//! let usd = Asset::USD;
//! let ledger = Ledger::open("memory:").await?; // or "sqlite:ledger.db"
//! let alice = ledger.account("alice")?;
//! alice.open().await?;
//! alice.deposit("payment-17", usd.parse("5")?).await?;
//!
//! // Before the upstream is called: set the worst case aside.
//! match alice.reserve("request-1", usd.parse("0.40")?).await? {
//!     Reserved::Created(hold) => {
//!         // ... the answer streams ...
//!         let receipt = hold.settle(usd.parse("0.0125")?).await?;
//!         assert_eq!(receipt.balance.available, usd.parse_signed("4.9875")?);
//!     }
//!     Reserved::Replayed { .. } => println!("409: this attempt is running"),
//!     Reserved::Closed { next_attempt, .. } => println!("this attempt is over, the next is #{next_attempt}"),
//!     Reserved::Denied(denial) => println!("402: {}", denial.reason),
//! }
//!
//! // Again, after a lost answer: the same name, the same result.
//! assert_eq!(alice.settle("request-1", usd.parse("0.0125")?).await?.outcome, Outcome::Replayed);
//! assert!(ledger.audit().await?.is_clean());
//! # Ok(()) }
//! ```
//!
//! # Where things are
//!
//! | To | look at |
//! |---|---|
//! | sell a stream, step by step | [`manual::gateway`] |
//! | run a ledger: files, backups, what to watch | [`manual::operations`] |
//! | open a ledger, reach an account | [`Ledger`], [`LedgerBuilder`], [`AccountHandle`] |
//! | reserve, and run a hold | [`AccountHandle::reserve`], [`Reserved`], [`OpenHold`] |
//! | bill a stream by what passes through it | [`OpenHold::meter`], [`metering`] |
//! | turn tokens into money | [`pricing::PriceBook`], [`pricing::Tariff`] |
//! | give credit that expires, limit what a key may use in a day | [`AccountHandle::grant`], [`AccountHandle::set_budget`] |
//! | count tokens your own way | [`tokens::TokenAccounting`], [`metering::observe::Observer`] |
//! | know why it said no | [`Refusal`], [`ErrorKind`] |
//! | be told of low balances, debts, budgets, expiring credit | [`journal::Alerts`] |
//! | read what happened | [`AccountHandle::journal`], [`AccountHandle::statement`], [`Ledger::feed`], [`Ledger::audit`] |
//! | move an account's past out of the database | [`manual::retention`] |
//! | bring another database | [`store::Store`] and its contract |
//!
//! # What it promises
//!
//! - **Durable.** A call that returned `Ok` is on disk, also through a power cut (SQLite: WAL and `synchronous=FULL`,
//!   read back when the file is opened).
//! - **Repeatable.** Every command names what it is about and may be repeated: what is so already succeeds and changes
//!   nothing. A key is a row, changed in the same transaction as the money, and lives as long.
//! - **Never short.** A settlement is never refused for lack of money: what exceeds the hold is collected, owed or
//!   written off, by policy, and always in the books.
//! - **Nothing leaks.** A hold has a lease. If its owner disappears it lapses by policy, and the owner's late word still
//!   replaces that until it is sealed.
//! - **In balance.** Every change is one entry whose postings sum to zero; entries are numbered without gaps and chained
//!   by hash; [`Ledger::audit`] recomputes everything.
//!
//! # What a gateway answers
//!
//! | The ledger says | answer |
//! |---|---|
//! | [`Reserved::Created`] | start the upstream |
//! | [`Reserved::Replayed`] | 409 with `Retry-After`: this attempt is running |
//! | [`Reserved::Closed`] | the stored answer, or reserve the next attempt |
//! | [`Reserved::Denied`] | 402, with what is grantable; 429 with `Retry-After` where a budget says when its window ends, or too much is in flight; 403 where the account is frozen or closed |
//! | [`Refusal::OtherTerms`] | as `Replayed` or `Closed`, by the state of the [hold](Error::hold); another request: 409 |
//! | [`ErrorKind::Busy`], [`ErrorKind::Unavailable`], [`ErrorKind::Closed`] | 503 with `Retry-After`; nothing was done |
//! | [`ErrorKind::OutcomeUnknown`] | ask again with the same ids and the error's call token |
//!
//! # Features
//!
//! - `sqlite` (default): the embedded store. Links a bundled SQLite; a host that links another one turns it off.
//! - `o200k` (default): exact counts with the o200k vocabulary (OpenAI), which also stands in for what is not built in.
//! - `cl100k`, `deepseek`, `glm`, `kimi`, `llama3`, `minimax`, `mistral`, `qwen`: exact counts with those vocabularies.
//! - `gemma`: exact counts for Gemini and Gemma 3 and 4, with the vocabulary of Gemma 4 (Apache-2.0).
//! - `tokenizer-file`: exact counts with any other vocabulary, from a `tokenizer.json`
//!   ([`Vocabulary::from_file`](crate::tokens::Vocabulary::from_file)).
//! - `postgres`: several processes on one PostgreSQL, 14 or newer.
//! - `testing`: a manual clock, a store that fails on purpose, and the suite every store has to pass.

#![warn(missing_docs, missing_debug_implementations)]
#![warn(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::float_arithmetic,
    clippy::print_stdout,
    clippy::clone_on_ref_ptr
)]

pub mod clock;
mod engine;
mod error;
pub mod journal;
pub mod kernel;
pub mod ledger;
pub mod manual;
pub mod metering;
pub mod model;
pub mod pricing;
mod random;
pub mod store;
mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;
pub mod tokens;

pub use error::{Error, ErrorKind, Result};
pub use kernel::{Denial, DenialReason, Outcome, Refusal};
pub use ledger::{AccountHandle, Ledger, LedgerBuilder, OpenHold, Receipt, Reserved};
pub use model::{AccountId, Amount, Asset, Balance, HoldId, Measured, SignedAmount, Timestamp};
