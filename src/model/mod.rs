//! The vocabulary: what the ledger's words name. Every other room uses these types and adds none of its own words.
//!
//! | Word | Meaning | Aliases |
//! |---|---|---|
//! | [account](Account) | one customer's prepaid money in one asset; the unit of ordering, hash chain and isolation | wallet |
//! | [asset](Asset) | code and scale, `USD/9`: amounts are integers in units of 10^-scale | currency, minor units |
//! | [hold](Hold) | money set aside for one attempt of one request | authorization, reservation |
//! | reserve, extend, renew, report | create a hold, raise it to a target, prolong its lease, record usage so far | authorize, increment, heartbeat, checkpoint |
//! | settle, release, abandon | close with the actual cost, close unused, close not knowing | capture, void, drop |
//! | lapse, seal | the sweeper closes an overdue hold provisionally; later makes it final | expire |
//! | refund, correct | give back after settlement; replace the settled amount, compare and set | reverse |
//! | [entry](Entry) | one row of the journal: one command that changed something | transaction |
//! | [posting](Books) | signed change of one ledger account inside an entry; an entry's postings sum to zero | leg |
//! | [turnover](Turnover) | what the postings of many entries come to: the one sum of money without a bound | |
//! | [lot](Lot) | a part of an account's money with its own expiry, priority and class (paid or promotional) | grant, credit |
//! | [budget](Budget) | a limit on spend, requests or tokens of a scope in a window | quota |
//! | [cut](Past), [checkpoint](Checkpoint) | the entry up to which an account's past is archived, and how the account stood there | |
//! | tariff, quote, charge | prices of one model pinned by a hold, worst case before, amount after | price |

mod account;
mod amount;
mod asset;
mod body;
mod budget;
mod checkpoint;
pub(crate) mod codec;
mod entry;
mod hash;
mod hold;
mod id;
mod lot;
mod metadata;
mod moves;
mod policy;
mod time;
mod window;

pub use account::{Account, Balance, Books, Limits, Status};
pub use amount::{Amount, AmountOverflow, MINOR_UNITS_MAX, SignedAmount, Turnover};
pub use asset::{Asset, ParseAmountError, ParseAssetError};
pub use body::{Against, Body, BudgetBody, CloseBody, OpenBody, Pinned};
pub use budget::{Budget, BudgetKey, BudgetWindow, Cap, Charged, Metric, Tally, WindowKey};
pub use checkpoint::{BudgetStanding, Checkpoint, HoldStanding, LotStanding, Over, Past, WindowStanding};
pub use codec::Malformed;
pub use entry::{Entry, EntryKind};
pub use hash::{ArchiveDigest, ArgumentsHash, BookHash, CallToken, ChainHash, KeyHash, LedgerId, TariffHash};
pub use hold::{Hold, HoldState, Measured, Quantity, Terms};
pub use id::{AccountId, HoldId, InvalidId, Label, ModelName, OperationKey, RequestId, Scope};
pub use lot::{BurnOrder, Lot, LotClass, LotKey, LotPart, LotTerms, Renewed, Take, decode_takes, encode_takes};
pub use metadata::{InvalidMetadata, Metadata};
pub use moves::{LotMove, Moves, WindowMove};
pub use policy::{Lease, OnLapse, Overrun, Policy};
pub use time::Timestamp;
pub use window::{InvalidWindow, Period, Weekday, Window, Zone};
