//! An account as the model sees it, and every command to it.

use std::collections::BTreeMap;

use super::budgets::BudgetModel;
use super::hold::{HoldModel, Used, used};
use super::lots::LotModel;
use crate::kernel::{Action, Outcome, Refusal};
use crate::model::{
    Account, Against, Amount, Asset, HoldId, HoldState, Limits, LotClass, Measured, Policy, Quantity, Status, Timestamp,
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
    pub(super) lots: BTreeMap<u32, LotModel>,
    pub(super) budgets: Vec<BudgetModel>,
    /// Keys of operations with the arguments they came with.
    operations: BTreeMap<String, String>,
    entries: u64,
    pub(super) last_entry_at: i128,
}

/// The seven books, and the parts of them that are promotional.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of `Books`, described there")]
#[non_exhaustive]
pub struct Totals {
    pub available: i128,
    pub held: i128,
    pub revenue: i128,
    pub funding: i128,
    pub promotion: i128,
    pub breakage: i128,
    pub write_off: i128,
    pub available_promo: i128,
    pub held_promo: i128,
    pub revenue_promo: i128,
}

impl Totals {
    /// In the order of `Books::columns`.
    fn columns(&self) -> [i128; 10] {
        let Self { available, held, revenue, funding, promotion, breakage, write_off, .. } = *self;
        let Self { available_promo, held_promo, revenue_promo, .. } = *self;
        let books = [available, held, revenue, funding, promotion, breakage, write_off];
        let promotional = [available_promo, held_promo, revenue_promo];
        let mut columns = books.into_iter().chain(promotional);
        std::array::from_fn(|_| columns.next().unwrap_or(0))
    }
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
            lots: BTreeMap::new(),
            budgets: Vec::new(),
            operations: BTreeMap::new(),
            entries: 0,
            last_entry_at: 0,
        }
    }

    /// The books, from the flows, the holds and the lots.
    pub fn totals(&self) -> Totals {
        let flow = |name| self.flows.get(name).copied().unwrap_or(0);
        let sum = |part: fn(&HoldModel) -> i128| self.holds.values().map(part).sum::<i128>();
        let (held, refunded) = (sum(|h| h.held), sum(|h| h.refunded));
        let (paid, promo) = (self.share(LotClass::Paid), self.share(LotClass::Promotional));
        Totals {
            available: self.available(),
            held,
            revenue: sum(HoldModel::booked) - refunded - flow("revenue"),
            funding: -flow("funding"),
            promotion: promo.gone - flow("promotion"),
            breakage: paid.gone,
            write_off: -sum(|h| h.written_off) - flow("write_off"),
            available_promo: promo.free,
            held_promo: promo.held,
            revenue_promo: promo.used,
        }
    }

    /// What is not set aside: what came in, less what holds have of it and what expired.
    pub(super) fn available(&self) -> i128 {
        let of_hold =
            |hold: &HoldModel| hold.held + hold.captured - hold.refunded + hold.coins.lost.values().sum::<i128>();
        let gone = self.lots.values().map(|lot| lot.gone).sum::<i128>();
        self.flows.values().sum::<i128>() - self.holds.values().map(of_hold).sum::<i128>() - gone
    }

    /// A hold.
    pub fn hold(&self, id: &HoldId) -> Option<&HoldModel> {
        self.holds.get(id)
    }

    /// All holds.
    pub fn holds(&self) -> impl Iterator<Item = (&HoldId, &HoldModel)> {
        self.holds.iter()
    }

    /// What a stored account has otherwise than this one.
    ///
    /// # Errors
    /// Both, when they differ.
    pub fn compare(&self, account: &Account) -> Result<(), String> {
        let stored = account.books.columns().map(|total| i128::from(total.minor_units()));
        let active = usize::try_from(account.budgets).unwrap_or(usize::MAX);
        let facts = (account.status, account.limits, account.policy, account.seq, account.open_holds, active);
        let open = u32::try_from(self.count(HoldState::Open)).unwrap_or(u32::MAX);
        let expected = (self.status, self.limits, self.policy, self.entries, open, self.active_budgets());
        let totals = self.totals();
        if stored != totals.columns() || facts != expected {
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
            Action::Grant { key, amount, terms, .. } => self.grant(now, key.as_str(), *amount, terms),
            Action::ExpireLot { lot } => self.expire_lot(now, *lot),
            Action::SetBudget { scope, window, cap } => self.set_budget(now, scope.as_ref(), window, *cap),
            Action::RemoveBudget { scope, window, metric } => self.remove_budget(now, scope.as_ref(), window, *metric),
            // What becomes of an account's past is no business of this model's.
            Action::CloseBooks { .. } | Action::Checkpoint { .. } | Action::Prune { .. } => Ok(Outcome::NoOp),
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
        match action {
            Action::Deposit { .. } if self.status == Status::Closed => return Err(Refusal::Status(self.status)),
            Action::Withdraw { .. } if self.status == Status::Frozen => return Err(Refusal::Status(self.status)),
            Action::Withdraw { .. } => {
                self.expire_lots(now)?;
                let withdrawable = self.withdrawable(now);
                if -amount > withdrawable {
                    return Err(Refusal::InsufficientPaid { withdrawable: amount_of(withdrawable) });
                }
            }
            Action::WriteOff { .. } if amount > (-self.base()).max(0) => {
                return Err(Refusal::ExceedsDebt { debt: amount_of((-self.base()).max(0)) });
            }
            _ => {}
        }
        if amount == 0 {
            return Err(Refusal::ZeroAmount);
        }
        let before = self.totals();
        if matches!(action, Action::Withdraw { .. }) {
            self.take_paid(-amount);
        }
        self.flow(against, amount);
        self.came_in(&before)?;
        self.entry(now)?;
        Ok(Outcome::Ok)
    }

    /// Moves money in against a book, or out.
    pub(super) fn flow(&mut self, against: &'static str, amount: i128) {
        *self.flows.entry(against).or_default() += amount;
    }

    /// Money from outside carries no total past half of its range.
    pub(super) fn came_in(&self, before: &Totals) -> Result<(), Refusal> {
        let totals = before.columns().into_iter().zip(self.totals().columns());
        let grown = totals.filter(|(was, is)| is.abs() > was.abs());
        grown.map(|(_, is)| is.abs()).try_for_each(half)
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
        if self.lots_overflow() || self.totals().columns().iter().any(|total| total.abs() > MAX) {
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
