//! What a command is answered: how it went, and how things stand now.

use std::sync::Arc;

use serde::Serialize;

use super::Refusal;
use crate::model::{Balance, Hold, Timestamp};

/// How an accepted command went. Repetitions of what is already so are accepted and change nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[non_exhaustive]
pub enum Outcome {
    /// Done.
    Ok,
    /// The hold was made.
    Created,
    /// The hold was made with less than was asked.
    CreatedPartial,
    /// It was done before, and is so still.
    Replayed,
    /// The hold was made before and is closed by now.
    AlreadyClosed,
    /// The hold was raised as far as there was money.
    OkPartial,
    /// The usage is recorded, but the hold lapsed: stop the stream, then settle.
    LeaseLost,
    /// The cost was charged without a hold.
    OkDirect,
    /// The provisional cost of a lapsed hold was replaced.
    OkLate,
    /// There was no hold; there never will be one.
    Tombstoned,
    /// The hold is settled: nothing is held.
    AlreadySettled,
    /// The hold was closed provisionally by its owner.
    Abandoned,
    /// There was nothing to do.
    NoOp,
    /// The hold was closed provisionally by the sweeper.
    Lapsed,
    /// It is too early.
    NotDue,
    /// The lapse became final.
    Sealed,
    /// The rest of the lot expired.
    Expired,
}

impl Outcome {
    /// The name it has in the state table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "Ok",
            Self::Created => "Created",
            Self::CreatedPartial => "CreatedPartial",
            Self::Replayed => "Replayed",
            Self::AlreadyClosed => "AlreadyClosed",
            Self::OkPartial => "OkPartial",
            Self::LeaseLost => "LeaseLost",
            Self::OkDirect => "OkDirect",
            Self::OkLate => "OkLate",
            Self::Tombstoned => "Tombstoned",
            Self::AlreadySettled => "AlreadySettled",
            Self::Abandoned => "Abandoned",
            Self::NoOp => "NoOp",
            Self::Lapsed => "Lapsed",
            Self::NotDue => "NotDue",
            Self::Sealed => "Sealed",
            Self::Expired => "Expired",
        }
    }
}

/// The answer to one command.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Reply {
    /// How it went.
    pub answer: Result<Outcome, Refusal>,
    /// The hold the command named, as it stands now; none where there is none.
    pub hold: Option<Arc<Hold>>,
    /// The account's balance now; none where the account is unknown.
    pub balance: Option<Balance>,
    /// The entry this command wrote.
    pub entry: Option<u64>,
    /// When it was decided, by the store's clock.
    pub at: Timestamp,
}

impl Reply {
    /// The outcome or the name of the refusal, as the state table calls it.
    pub(crate) fn name(&self) -> &'static str {
        match &self.answer {
            Ok(outcome) => outcome.name(),
            Err(refusal) => refusal.name(),
        }
    }

    /// A refusal about which nothing else is known.
    pub(crate) fn refusing(refusal: Refusal) -> Self {
        Self { answer: Err(refusal), hold: None, balance: None, entry: None, at: Timestamp::default() }
    }
}
