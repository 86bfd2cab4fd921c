//! An account as the model sees it, and every command to it.

use std::collections::BTreeMap;

use super::hold::{HoldModel, Used, used};
use crate::kernel::{Action, Outcome, Refusal};
use crate::model::{
    Account, Against, Amount, Asset, HoldId, HoldState, Limits, Measured, Policy, Quantity, Status, Timestamp,
};

/// An account of the model.
#[derive(Clone, Debug)]
pub struct AccountModel {
    asset: Asset,
    opened: bool,
    pub(super) status: Status,
    pub(super) limits: Limits,
    pub(super) policy: Policy,
    /// Money in less money out, by what it was booked against.
    flows: BTreeMap<&'static str, i128>,
    pub(super) holds: BTreeMap<HoldId, HoldModel>,
    /// Keys of operations with the arguments they came with.
    operations: BTreeMap<String, String>,
    entries: u64,
    last_entry_at: i128,
}

/// The seven books without those that only lots use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of `Books`, described there")]
#[non_exhaustive]
pub struct Totals {
    pub available: i128,
    pub held: i128,
    pub revenue: i128,
    pub funding: i128,
    pub promotion: i128,
    pub write_off: i128,
}

/// A command's moment: the store's time, and the account's, which never goes back behind its last entry.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    pub(super) store: i128,
    pub(super) now: i128,
}

/// What a settlement, a report or a correction says.
#[derive(Clone, Copy)]
pub(super) struct Said {
    pub(super) used: Used,
    pub(super) above_ceiling: bool,
}

pub(super) type Step = Result<Outcome, Refusal>;

pub(super) const MAX: i128 = 1 << 59;

impl AccountModel {
    pub(super) fn new(asset: Asset, limits: Limits, policy: Policy) -> Self {
        Self {
            asset,
            opened: false,
            status: Status::Active,
            limits,
            policy,
            flows: BTreeMap::new(),
            holds: BTreeMap::new(),
            operations: BTreeMap::new(),
            entries: 0,
            last_entry_at: 0,
        }
    }

    /// The books, from the flows and the holds.
    pub fn totals(&self) -> Totals {
        let flow = |name| self.flows.get(name).copied().unwrap_or(0);
        let sum = |part: fn(&HoldModel) -> i128| self.holds.values().map(part).sum::<i128>();
        let (held, captured, refunded) = (sum(|h| h.held), sum(|h| h.captured), sum(|h| h.refunded));
        Totals {
            available: self.flows.values().sum::<i128>() - held - captured + refunded,
            held,
            revenue: sum(HoldModel::booked) - refunded - flow("revenue"),
            funding: -flow("funding"),
            promotion: -flow("promotion"),
            write_off: -sum(|h| h.written_off) - flow("write_off"),
        }
    }

    /// A hold.
    pub fn hold(&self, id: &HoldId) -> Option<&HoldModel> {
        self.holds.get(id)
    }

    /// All holds.
    pub fn holds(&self) -> impl Iterator<Item = (&HoldId, &HoldModel)> {
        self.holds.iter()
    }

    /// What a reserve can draw on.
    pub fn spendable(&self) -> i128 {
        self.totals().available + units(self.limits.credit)
    }

    /// What a stored account has otherwise than this one.
    ///
    /// # Errors
    /// Both, when they differ.
    pub fn compare(&self, account: &Account) -> Result<(), String> {
        let [available, held, revenue, funding, promotion, breakage, write_off, ..] =
            account.books.columns().map(|total| i128::from(total.minor_units()));
        let stored = (Totals { available, held, revenue, funding, promotion, write_off }, breakage);
        let facts = (account.status, account.limits, account.policy, account.seq, account.open_holds);
        let open = u32::try_from(self.count(HoldState::Open)).unwrap_or(u32::MAX);
        let expected = (self.status, self.limits, self.policy, self.entries, open);
        if stored != (self.totals(), 0) || facts != expected {
            let totals = self.totals();
            return Err(format!("{}: expected {totals:?} {expected:?}, stored {stored:?} {facts:?}", account.id));
        }
        Ok(())
    }

    pub(super) fn step(&mut self, action: &Action, at: Timestamp) -> Step {
        let store = i128::from(at.as_micros());
        let moment = Moment { store, now: store.max(self.last_entry_at) };
        let now = moment.now;
        match action {
            Action::Open { asset, limits, .. } => self.open(now, *asset, *limits),
            Action::SetLimits { limits, policy } => self.set_limits(now, *limits, *policy),
            Action::SetStatus { status, .. } => self.set_status(now, *status),
            Action::Deposit { .. } | Action::Withdraw { .. } | Action::Adjust { .. } | Action::WriteOff { .. } => {
                self.money(now, action)
            }
            Action::Grant { .. }
            | Action::ExpireLot { .. }
            | Action::SetBudget { .. }
            | Action::RemoveBudget { .. }
            | Action::CloseBooks { .. }
            | Action::Checkpoint { .. }
            | Action::Prune { .. } => Ok(Outcome::NoOp),
            Action::Reserve { hold, terms, lease, token, .. } => self.reserve(moment, hold, terms, *lease, *token),
            Action::Renew { hold, ttl } => self.renew(now, hold, *ttl),
            Action::Extend { hold, target, partial } => self.extend(moment, hold, units(*target), *partial),
            Action::Report { hold, measured, above_ceiling } => self.report(hold, said(measured, *above_ceiling)),
            Action::Settle { hold, measured, or_debit, above_ceiling, .. } => {
                self.settle(now, hold, said(measured, *above_ceiling), or_debit.as_deref())
            }
            Action::Debit { hold, terms, measured, above_ceiling, .. } => {
                self.debit(moment, hold, terms, said(measured, *above_ceiling))
            }
            Action::Release { hold, waive } => self.release(now, hold, *waive),
            Action::Abandon { hold } => self.abandon(now, hold),
            Action::Lapse { hold } => self.lapse(now, hold),
            Action::Seal { hold } => self.seal(now, hold),
            Action::Refund { hold, key, amount, .. } => {
                let done = self.operation(hold, &format!("refund {hold} {key}"), format!("{amount}"))?;
                if done { Ok(Outcome::Replayed) } else { self.refund(now, hold, units(*amount)) }
            }
            Action::Correct { hold, key, expected, measured, above_ceiling, .. } => {
                let arguments = format!("{expected} {:?}", measured.quantity);
                let done = self.operation(hold, &format!("correct {hold} {key}"), arguments)?;
                let said = said(measured, *above_ceiling);
                if done { Ok(Outcome::Replayed) } else { self.correct(now, hold, units(*expected), said) }
            }
        }
    }

    fn open(&mut self, now: i128, asset: Asset, limits: Limits) -> Step {
        if self.asset != asset {
            return Err(Refusal::AccountExists);
        }
        if self.opened {
            return Ok(Outcome::Replayed);
        }
        half(units(limits.credit))?;
        self.opened = true;
        self.entry(now)?;
        Ok(Outcome::Ok)
    }

    fn set_limits(&mut self, now: i128, limits: Limits, policy: Policy) -> Step {
        if self.limits == limits && self.policy == policy {
            return Ok(Outcome::Replayed);
        }
        half(units(limits.credit))?;
        (self.limits, self.policy) = (limits, policy);
        self.entry(now)?;
        Ok(Outcome::Ok)
    }

    fn set_status(&mut self, now: i128, status: Status) -> Step {
        if self.status == status {
            return Ok(Outcome::Replayed);
        }
        let count = |state| u32::try_from(self.count(state)).unwrap_or(u32::MAX);
        let (open, lapsed) = (count(HoldState::Open), count(HoldState::Lapsed));
        if status == Status::Closed && open + lapsed > 0 {
            return Err(Refusal::HoldsPending { open, lapsed });
        }
        self.status = status;
        self.entry(now)?;
        Ok(Outcome::Ok)
    }

    fn money(&mut self, now: i128, action: &Action) -> Step {
        let (key, amount, against, arguments) = match action {
            Action::Deposit { key, amount, .. } => (key, units(*amount), "funding", format!("deposit {amount}")),
            Action::Withdraw { key, amount, .. } => (key, -units(*amount), "funding", format!("withdraw {amount}")),
            Action::Adjust { key, amount, against, reason, .. } => {
                let book = match against {
                    Against::Funding => "funding",
                    Against::Promotion => "promotion",
                    Against::Revenue => "revenue",
                    Against::WriteOff => "write_off",
                };
                (key, i128::from(amount.minor_units()), book, format!("adjust {amount} {book} {reason}"))
            }
            Action::WriteOff { key, amount, reason, .. } => {
                (key, units(*amount), "write_off", format!("write off {amount} {reason}"))
            }
            _ => return Ok(Outcome::NoOp),
        };
        if self.seen(&format!("money {key}"), arguments)? {
            return Ok(Outcome::Replayed);
        }
        let available = self.totals().available;
        match action {
            Action::Deposit { .. } if self.status == Status::Closed => return Err(Refusal::Status(self.status)),
            Action::Withdraw { .. } if self.status == Status::Frozen => return Err(Refusal::Status(self.status)),
            Action::Withdraw { .. } if -amount > available.max(0) => {
                return Err(Refusal::InsufficientPaid { withdrawable: amount_of(available.max(0)) });
            }
            Action::WriteOff { .. } if amount > (-available).max(0) => {
                return Err(Refusal::ExceedsDebt { debt: amount_of((-available).max(0)) });
            }
            _ if amount == 0 => return Err(Refusal::ZeroAmount),
            _ => {}
        }
        let before = self.totals();
        *self.flows.entry(against).or_default() += amount;
        let after = self.totals();
        let pairs = [
            (before.available, after.available),
            (before.revenue, after.revenue),
            (before.funding, after.funding),
            (before.promotion, after.promotion),
            (before.write_off, after.write_off),
        ];
        for (was, is) in pairs {
            // Money from outside carries no total past half of its range.
            if is.abs() > was.abs() {
                half(is.abs())?;
            }
        }
        self.entry(now)?;
        Ok(Outcome::Ok)
    }

    pub(super) fn seen(&mut self, key: &str, arguments: String) -> Result<bool, Refusal> {
        match self.operations.get(key) {
            Some(before) if *before == arguments => Ok(true),
            Some(_) => Err(Refusal::KeyReused),
            None => {
                self.operations.insert(key.to_owned(), arguments);
                Ok(false)
            }
        }
    }

    /// An entry: every total has to be within its range.
    pub(super) fn entry(&mut self, now: i128) -> Result<(), Refusal> {
        let Totals { available, held, revenue, funding, promotion, write_off } = self.totals();
        if [available, held, revenue, funding, promotion, write_off].iter().any(|total| total.abs() > MAX) {
            return Err(Refusal::TotalTooLarge);
        }
        self.entries += 1;
        self.last_entry_at = now;
        Ok(())
    }

    pub(super) fn count(&self, state: HoldState) -> usize {
        self.holds.values().filter(|hold| hold.state == state).count()
    }
}

fn said(measured: &Measured, above_ceiling: bool) -> Said {
    Said { used: used(measured.quantity), above_ceiling }
}

fn half(total: i128) -> Result<(), Refusal> {
    if total > MAX / 2 { Err(Refusal::TotalTooLarge) } else { Ok(()) }
}

pub(super) fn units(amount: Amount) -> i128 {
    i128::from(amount.minor_units())
}

pub(super) fn amount_of(units: i128) -> Amount {
    i64::try_from(units).ok().and_then(|units| Amount::new(units).ok()).unwrap_or_default()
}

pub(super) fn quantity((cost, tokens): Used) -> Quantity {
    Quantity { cost: amount_of(cost), tokens: u64::try_from(tokens).unwrap_or(0) }
}
