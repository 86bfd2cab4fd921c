//! The state table: every command to a hold.

use std::time::Duration;

use super::account::{AccountModel, Moment, Said, Step, amount_of, quantity, units};
use super::closing::Wish;
use super::hold::{HoldModel, Used, larger, span_after};
use super::lots::put;
use crate::kernel::{Outcome, Refusal};
use crate::model::{CallToken, HoldId, HoldState, Lease, OnLapse, Status, Terms};

impl AccountModel {
    pub(super) fn reserve(
        &mut self,
        at: Moment,
        id: &HoldId,
        terms: &Terms,
        lease: Option<Lease>,
        token: CallToken,
    ) -> Step {
        if terms.min > Some(terms.amount) {
            return Err(Refusal::InvalidMin);
        }
        if let Some(hold) = self.holds.get(id) {
            let open = hold.state == HoldState::Open;
            return match &hold.terms {
                Some(recorded) if !hold.direct && recorded != terms => {
                    Err(Refusal::OtherTerms { differing: recorded.differing(terms) })
                }
                Some(_) if open && hold.token == token => Ok(created(hold.held < units(terms.amount))),
                Some(_) if open => Ok(Outcome::Replayed),
                _ => Ok(Outcome::AlreadyClosed),
            };
        }
        let more = units(terms.amount);
        let wish = Wish { more, already: 0, own: None, terms: Some(terms), is_gated: true };
        let held = match self.room(at, wish)? {
            Ok(()) => more,
            Err(denial) => match terms.min {
                Some(min) if denial.grantable >= min && !denial.grantable.is_zero() => units(denial.grantable),
                _ => return Err(Refusal::Denied(denial)),
            },
        };
        let mut hold = HoldModel { held, token, ..self.fresh(at.now, Some(terms.clone()), lease) };
        hold.windows = self.windows_of(at.now, &terms.scopes);
        hold.coins.held = self.take_for(at.now, terms.model.as_ref(), held);
        self.holds.insert(id.clone(), hold);
        self.entry(at.now)?;
        Ok(created(held < more))
    }

    pub(super) fn renew(&mut self, now: i128, id: &HoldId, ttl: Option<Duration>) -> Step {
        let mut hold = self.open_hold(id)?;
        hold.deadline = hold.deadline.max(span_after(now, ttl.unwrap_or(hold.policy.lease.ttl)));
        self.holds.insert(id.clone(), hold);
        Ok(Outcome::Ok)
    }

    pub(super) fn extend(&mut self, at: Moment, id: &HoldId, target: i128, partial: bool) -> Step {
        let mut hold = self.open_hold(id)?;
        if target <= hold.held {
            return Ok(Outcome::Ok);
        }
        let terms = hold.terms.clone();
        let wish =
            Wish { more: target - hold.held, already: hold.held, own: Some(id), terms: terms.as_ref(), is_gated: true };
        let (granted, outcome) = match self.room(at, wish)? {
            Ok(()) => (wish.more, Outcome::Ok),
            Err(denial) if partial && self.status == Status::Active => (units(denial.grantable), Outcome::OkPartial),
            Err(denial) => return Err(Refusal::Denied(denial)),
        };
        if granted > 0 {
            hold.held += granted;
            for (coin, count) in self.take_for(at.now, hold.model(), granted) {
                put(&mut hold.coins.held, coin, count);
            }
            self.holds.insert(id.clone(), hold);
            self.entry(at.now)?;
        }
        Ok(outcome)
    }

    pub(super) fn report(&mut self, id: &HoldId, said: Said) -> Step {
        let mut hold = self.holds.get(id).cloned().ok_or(Refusal::UnknownHold)?;
        if hold.is_final() {
            return Err(Refusal::Closed);
        }
        believe(said, hold.ceiling)?;
        hold.reported = larger(hold.reported, said.used);
        let outcome = if hold.state == HoldState::Open { Outcome::Ok } else { Outcome::LeaseLost };
        self.holds.insert(id.clone(), hold);
        Ok(outcome)
    }

    pub(super) fn settle(&mut self, now: i128, id: &HoldId, said: Said, or_debit: Option<&Terms>) -> Step {
        let Some(hold) = self.holds.get(id).cloned() else {
            let terms = or_debit.ok_or(Refusal::UnknownHold)?;
            return self.direct(now, id, terms, said);
        };
        if hold.is_final() {
            return repeated(&hold, said.used);
        }
        believe(said, hold.ceiling)?;
        let outcome = if hold.state == HoldState::Open { Outcome::Ok } else { Outcome::OkLate };
        let settled = HoldModel { settled_as: Some(said.used), ..hold };
        self.close(now, id, settled, HoldState::Settled, said.used)?;
        Ok(outcome)
    }

    pub(super) fn debit(&mut self, at: Moment, id: &HoldId, terms: &Terms, said: Said) -> Step {
        if let Some(hold) = self.holds.get(id) {
            return repeated(hold, said.used);
        }
        // The ceiling asks whether it can be true, which comes before whether it can be paid.
        believe(said, self.limits.ceiling.map(units))?;
        // Budgets count it and refuse nothing.
        let wish = Wish { more: said.used.0, already: 0, own: None, terms: Some(terms), is_gated: false };
        if let Err(denial) = self.room(at, wish)? {
            return Err(Refusal::Denied(denial));
        }
        if self.base() < 0 {
            return Err(Refusal::InDebt);
        }
        self.direct(at.now, id, terms, said)
    }

    pub(super) fn direct(&mut self, now: i128, id: &HoldId, terms: &Terms, said: Said) -> Step {
        let hold = HoldModel { direct: true, ..self.fresh(now, Some(terms.clone()), None) };
        believe(said, hold.ceiling)?;
        let windows = self.windows_of(now, &terms.scopes);
        let hold = HoldModel { settled_as: Some(said.used), windows, ..hold };
        self.close(now, id, hold, HoldState::Settled, said.used)?;
        Ok(Outcome::OkDirect)
    }

    pub(super) fn release(&mut self, now: i128, id: &HoldId, waive: bool) -> Step {
        let Some(hold) = self.holds.get(id).cloned() else {
            return Ok(self.tombstone(now, id));
        };
        let outcome = match hold.state {
            HoldState::Open => Outcome::Ok,
            HoldState::Lapsed => Outcome::OkLate,
            HoldState::Released => return Ok(Outcome::Replayed),
            HoldState::Settled => return Ok(Outcome::AlreadySettled),
            HoldState::Sealed if hold.cost() == (0, 0) => return Ok(Outcome::Replayed),
            HoldState::Sealed => return Err(Refusal::Sealed { actual: quantity(hold.cost()) }),
        };
        if hold.reported != (0, 0) && !waive {
            return Err(Refusal::UsageReported { reported: quantity(hold.reported) });
        }
        self.close(now, id, hold, HoldState::Released, (0, 0))?;
        Ok(outcome)
    }

    pub(super) fn abandon(&mut self, now: i128, id: &HoldId) -> Step {
        match self.holds.get(id).cloned() {
            None => Ok(self.tombstone(now, id)),
            Some(hold) if hold.state == HoldState::Open => {
                self.close_by_policy(now, id, hold)?;
                Ok(Outcome::Abandoned)
            }
            Some(_) => Ok(Outcome::NoOp),
        }
    }

    pub(super) fn lapse(&mut self, now: i128, id: &HoldId) -> Step {
        let Some(hold) = self.holds.get(id).filter(|hold| hold.state == HoldState::Open).cloned() else {
            return Ok(Outcome::NoOp);
        };
        let closable = hold.closable_at();
        if now < closable {
            self.holds.insert(id.clone(), HoldModel { due: Some(closable), ..hold });
            return Ok(Outcome::NotDue);
        }
        self.close_by_policy(now, id, hold)?;
        Ok(Outcome::Lapsed)
    }

    pub(super) fn seal(&mut self, now: i128, id: &HoldId) -> Step {
        let Some(hold) = self.holds.get(id).filter(|hold| hold.state == HoldState::Lapsed).cloned() else {
            return Ok(Outcome::NoOp);
        };
        if now < span_after(hold.closed_at.unwrap_or(0), hold.policy.lease.late) {
            return Ok(Outcome::NotDue);
        }
        let cost = match hold.policy.on_lapse {
            OnLapse::CaptureReported => larger(hold.provisional, hold.reported),
            OnLapse::Release | OnLapse::CaptureHeld => hold.provisional,
        };
        self.close(now, id, hold, HoldState::Sealed, cost)?;
        Ok(Outcome::Sealed)
    }

    pub(super) fn refund(&mut self, now: i128, id: &HoldId, amount: i128) -> Step {
        let mut hold = self.holds.get(id).cloned().ok_or(Refusal::UnknownHold)?;
        if amount == 0 {
            return Err(Refusal::ZeroAmount);
        }
        if hold.refunded + amount > hold.captured {
            return Err(Refusal::ExceedsRefundable { left: amount_of(hold.captured - hold.refunded) });
        }
        self.expire_lots(now)?;
        hold.refunded += amount;
        self.give_refund(now, &mut hold, amount);
        self.holds.insert(id.clone(), hold);
        self.entry(now)?;
        Ok(Outcome::Ok)
    }

    pub(super) fn correct(&mut self, now: i128, id: &HoldId, expected: i128, said: Said) -> Step {
        let hold = self.holds.get(id).cloned().ok_or(Refusal::UnknownHold)?;
        if hold.cost().0 != expected {
            return Err(Refusal::Conflict { recorded: quantity(hold.cost()) });
        }
        believe(said, hold.ceiling)?;
        let state = if hold.state == HoldState::Sealed { HoldState::Sealed } else { HoldState::Settled };
        self.close(now, id, hold, state, said.used)?;
        Ok(Outcome::Ok)
    }

    pub(super) fn open_hold(&self, id: &HoldId) -> Result<HoldModel, Refusal> {
        let hold = self.holds.get(id).ok_or(Refusal::UnknownHold)?;
        match hold.state {
            HoldState::Open => Ok(hold.clone()),
            HoldState::Lapsed => Err(Refusal::LeaseLost),
            HoldState::Settled | HoldState::Released | HoldState::Sealed => Err(Refusal::Closed),
        }
    }

    /// Whether a refund or a correction was made before, once its hold is final.
    pub(super) fn operation(&mut self, id: &HoldId, key: &str, arguments: String) -> Result<bool, Refusal> {
        let hold = self.holds.get(id).ok_or(Refusal::UnknownHold)?;
        if hold.is_final() { self.seen(key, arguments) } else { Err(Refusal::NotFinal) }
    }
}

/// The answer to a settlement of a hold whose cost is final.
fn repeated(hold: &HoldModel, said: Used) -> Step {
    let recorded = hold.cost();
    match hold.state {
        _ if hold.is_final() && (said == recorded || Some(said) == hold.settled_as) => Ok(Outcome::Replayed),
        HoldState::Sealed => Err(Refusal::Sealed { actual: quantity(recorded) }),
        _ => Err(Refusal::Conflict { recorded: quantity(recorded) }),
    }
}

fn created(partial: bool) -> Outcome {
    if partial { Outcome::CreatedPartial } else { Outcome::Created }
}

fn believe(said: Said, ceiling: Option<i128>) -> Result<(), Refusal> {
    if said.used.1 > 1 << 59 {
        return Err(Refusal::TotalTooLarge);
    }
    match ceiling {
        Some(ceiling) if said.used.0 > ceiling && !said.above_ceiling => {
            Err(Refusal::AboveCeiling { cost: amount_of(said.used.0), ceiling: amount_of(ceiling) })
        }
        _ => Ok(()),
    }
}
