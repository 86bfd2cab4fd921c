//! One decision per command: validate everything, then change the draft.

pub(super) mod account;
mod budget;
mod close;
mod correct;
mod grant;
mod lapse;
mod money;
mod progress;
mod release;
mod reserve;
mod retention;
mod room;
mod settle;

use super::draft::{Draft, Stop};
use super::{Action, Command, Outcome, Refusal};
use crate::model::{Amount, HoldId, KeyHash, Measured, Quantity};

/// Decides `command` on `draft`, whose account exists.
pub(super) fn decide(draft: &mut Draft<'_>, command: &Command) -> Result<Outcome, Stop> {
    if command.asset().is_some_and(|asset| asset != draft.account.asset) {
        return Err(Refusal::AccountExists.into());
    }
    if let Some(done) = done_before(draft, command)? {
        return Ok(done);
    }
    match command.action() {
        Action::Open { asset, limits, policy } => account::open(draft, *asset, *limits, *policy),
        Action::SetLimits { limits, policy } => account::set_limits(draft, *limits, *policy),
        Action::SetStatus { status, reason } => account::set_status(draft, *status, reason),
        Action::SetBudget { scope, window, cap } => budget::set(draft, scope.as_ref(), window, *cap),
        Action::RemoveBudget { scope, window, metric } => budget::remove(draft, scope.as_ref(), window, *metric),
        Action::Grant { amount, terms, metadata, .. } => {
            grant::grant(draft, *amount, terms, money::details(command, metadata.as_ref()))
        }
        Action::ExpireLot { lot } => grant::expire(draft, *lot),
        Action::Deposit { .. } | Action::Withdraw { .. } | Action::Adjust { .. } | Action::WriteOff { .. } => {
            money::decide(draft, command)
        }
        Action::Reserve { hold, terms, lease, token, metadata } => {
            let asked = reserve::Asked { id: hold, key: key(command)?, terms, lease: *lease, token: *token };
            reserve::reserve(draft, &asked, metadata.as_ref())
        }
        Action::Renew { hold, ttl } => progress::renew(draft, named(command, hold)?, *ttl),
        Action::Extend { hold, target, partial } => progress::extend(draft, named(command, hold)?, *target, *partial),
        Action::Report { hold, measured, above_ceiling } => {
            progress::report(draft, named(command, hold)?, measured, *above_ceiling)
        }
        Action::Settle { hold, measured, or_debit, above_ceiling, metadata } => {
            let used = Used { measured, above_ceiling: *above_ceiling, metadata: metadata.as_ref() };
            settle::settle(draft, named(command, hold)?, used, or_debit.as_ref())
        }
        Action::Debit { hold, terms, measured, above_ceiling, metadata } => {
            let used = Used { measured, above_ceiling: *above_ceiling, metadata: metadata.as_ref() };
            settle::debit(draft, named(command, hold)?, terms, used)
        }
        Action::Release { hold, waive } => release::release(draft, named(command, hold)?, *waive),
        Action::Abandon { hold } => lapse::abandon(draft, named(command, hold)?),
        Action::Lapse { hold } => lapse::lapse(draft, named(command, hold)?),
        Action::Seal { hold } => lapse::seal(draft, named(command, hold)?),
        Action::Refund { .. } | Action::Correct { .. } => correct::decide(draft, command),
        Action::CloseBooks { until } => retention::close_books(draft, *until),
        Action::Checkpoint { after, checkpoint, lots, windows } => {
            retention::checkpoint(draft, *after, checkpoint, lots, windows)
        }
        Action::Prune { entries } => retention::prune(draft, entries),
    }
}

/// A hold as a command names it.
#[derive(Clone, Copy, Debug)]
struct Named<'a> {
    id: &'a HoldId,
    key: KeyHash,
}

/// What a command says was used.
#[derive(Clone, Copy, Debug)]
struct Used<'a> {
    measured: &'a Measured,
    above_ceiling: bool,
    metadata: Option<&'a crate::model::Metadata>,
}

impl Used<'_> {
    /// Refuses a cost above `ceiling` unless an operator said that it is true, and more tokens than any store keeps.
    fn believable(&self, ceiling: Option<Amount>) -> Result<(), Refusal> {
        let Quantity { cost, tokens } = self.measured.quantity;
        if tokens > Quantity::TOKENS_MAX {
            return Err(Refusal::TotalTooLarge);
        }
        match ceiling {
            Some(ceiling) if cost > ceiling && !self.above_ceiling => Err(Refusal::AboveCeiling { cost, ceiling }),
            _ => Ok(()),
        }
    }
}

fn named<'a>(command: &Command, id: &'a HoldId) -> Result<Named<'a>, Stop> {
    Ok(Named { id, key: key(command)? })
}

fn key(command: &Command) -> Result<KeyHash, Stop> {
    // A command that names a hold was made with its key.
    command.hold_key().ok_or(Stop::Refuse(Refusal::KeyCollision))
}

/// Whether a money operation was done before under its key. Refunds and corrections look at their hold first.
fn done_before(draft: &Draft<'_>, command: &Command) -> Result<Option<Outcome>, Stop> {
    let (Some((hash, arguments)), Some(key)) = (command.operation(), money::key(command.action())) else {
        return Ok(None);
    };
    Ok(draft.repeated(key, hash, arguments)?.then_some(Outcome::Replayed))
}
