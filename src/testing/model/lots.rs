//! Lots: every minor unit is a coin with its lot's number on it, wherever it goes. Coins of one lot lie on one pile.
//!
//! Coins without a lot of their own have number 0, the base lot's. How many of them are free is nowhere written down: it
//! is what the account has besides its lots, and may be less than none.

use std::collections::BTreeMap;

use super::account::{AccountModel, MAX, Step, amount_of, units};
use super::hold::HoldModel;
use crate::kernel::{Outcome, Refusal};
use crate::model::{Amount, Lot, LotClass, LotTerms, ModelName, Status, Timestamp};

/// Coins by the number on them.
pub type Piles = BTreeMap<u32, i128>;

/// The coins of a hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coins {
    /// Set aside.
    pub held: Piles,
    /// Spent, and not refunded.
    pub used: Piles,
    /// Come back too late: their lot had expired.
    pub lost: Piles,
}

/// A lot of the model.
#[derive(Clone, Debug)]
pub(super) struct LotModel {
    terms: LotTerms,
    created: i128,
    granted: i128,
    free: i128,
    /// What expired while it was free.
    pub(super) gone: i128,
}

/// What of an account's money has to do with lots of one class.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Share {
    pub(super) free: i128,
    pub(super) held: i128,
    pub(super) used: i128,
    pub(super) gone: i128,
}

/// A place in the order in which coins are spent: priority, restricted ones first, expiry, age, number.
type Order = (i64, bool, i128, i128, u32);

/// How long a lot lives that is made for a refund into an expired one.
const RENEWAL: i128 = 30 * 24 * 3_600 * 1_000_000;

impl LotModel {
    fn new(terms: LotTerms, created: i128, granted: i128) -> Self {
        Self { terms, created, granted, free: granted, gone: 0 }
    }

    fn expiry(&self) -> Option<i128> {
        self.terms.expiry.map(|expiry| i128::from(expiry.as_micros()))
    }
}

impl AccountModel {
    /// What a reserve for a model can draw on at the store's time `at`.
    pub fn spendable(&self, model: Option<&ModelName>, at: Timestamp) -> i128 {
        self.spendable_at(i128::from(at.as_micros()).max(self.last_entry_at), model)
    }

    pub(super) fn spendable_at(&self, now: i128, model: Option<&ModelName>) -> i128 {
        let usable = self.lots.iter().filter(|(coin, _)| self.may_pay(**coin, model, now));
        usable.map(|(_, lot)| lot.free).sum::<i128>() + self.base() + units(self.limits.credit)
    }

    /// Free coins of the base lot, or how many are owed.
    pub(super) fn base(&self) -> i128 {
        self.available() - self.lots.values().map(|lot| lot.free).sum::<i128>()
    }

    /// What may be paid out: coins that were paid for, while none are owed.
    pub(super) fn withdrawable(&self, now: i128) -> i128 {
        let base = self.base();
        let paid = self.lots.iter().filter(|(coin, _)| self.is_paid(**coin) && !self.has_expired(**coin, now));
        if base < 0 { 0 } else { base + paid.map(|(_, lot)| lot.free).sum::<i128>() }
    }

    /// What has to do with lots of one class.
    pub(super) fn share(&self, class: LotClass) -> Share {
        let mut share = Share::default();
        for (coin, lot) in self.lots.iter().filter(|(_, lot)| lot.terms.class == class) {
            let of = |part: fn(&Coins) -> &Piles| {
                self.holds.values().filter_map(|hold| part(&hold.coins).get(coin)).sum::<i128>()
            };
            share.free += lot.free;
            share.held += of(|coins| &coins.held);
            share.used += of(|coins| &coins.used);
            share.gone += lot.gone + of(|coins| &coins.lost);
        }
        share
    }

    pub(super) fn grant(&mut self, now: i128, key: &str, amount: Amount, terms: &LotTerms) -> Step {
        if self.seen(&format!("money {key}"), format!("grant {amount} {terms:?}"))? {
            return Ok(Outcome::Replayed);
        }
        if self.status == Status::Closed {
            return Err(Refusal::Status(self.status));
        }
        if amount.is_zero() {
            return Err(Refusal::ZeroAmount);
        }
        let at = |micros: i128| Timestamp::from_micros(i64::try_from(micros).unwrap_or(i64::MAX));
        if let Some(expiry) = terms.expiry.filter(|expiry| i128::from(expiry.as_micros()) <= now) {
            return Err(Refusal::ExpiryInPast { expiry, now: at(now) });
        }
        let before = self.totals();
        let from = match terms.class {
            LotClass::Paid => "funding",
            LotClass::Promotional => "promotion",
        };
        self.flow(from, units(amount));
        self.make_lot(LotModel::new(terms.clone(), now, units(amount)));
        self.came_in(&before)?;
        self.entry(now)?;
        Ok(Outcome::Ok)
    }

    pub(super) fn expire_lot(&mut self, now: i128, number: u32) -> Step {
        let expired = self.has_expired(number, now);
        match self.lots.get_mut(&number) {
            Some(lot) if lot.free > 0 && expired => {
                lot.gone += std::mem::take(&mut lot.free);
                self.entry(now)?;
                Ok(Outcome::Expired)
            }
            Some(lot) if lot.free > 0 => Ok(Outcome::NotDue),
            Some(_) | None => Ok(Outcome::NoOp),
        }
    }

    /// Free coins of expired lots are gone, and an entry says so for each lot.
    pub(super) fn expire_lots(&mut self, now: i128) -> Result<(), Refusal> {
        for number in self.lots.keys().copied().collect::<Vec<_>>() {
            if self.has_expired(number, now) {
                self.expire_lot(now, number)?;
            }
        }
        Ok(())
    }

    /// Takes free coins that may pay for a model, in the order in which they are spent; what is short is owed.
    pub(super) fn take_for(&mut self, now: i128, model: Option<&ModelName>, count: i128) -> Piles {
        self.take(count, |account, coin| account.may_pay(coin, model, now))
    }

    /// Takes free coins that were paid for, in the order in which they are spent.
    pub(super) fn take_paid(&mut self, count: i128) -> Piles {
        self.take(count, Self::is_paid)
    }

    fn take(&mut self, count: i128, may: impl Fn(&Self, u32) -> bool) -> Piles {
        let mut free: Piles = self.lots.iter().map(|(coin, lot)| (*coin, lot.free)).collect();
        free.insert(0, self.base().max(0));
        free.retain(|coin, _| may(self, *coin));
        let (mut taken, mut left) = (Piles::new(), count);
        for (coin, count) in self.pick(&mut free, count, false) {
            left -= count;
            put(&mut taken, coin, count);
            if let Some(lot) = self.lots.get_mut(&coin) {
                lot.free -= count;
            }
        }
        put(&mut taken, 0, left);
        taken
    }

    /// Makes a hold pay `captured` in all: with what it holds, with what it lost, then with what is free. What it does
    /// not need goes back, and so does what it paid too much, the last spent first.
    pub(super) fn spend(&mut self, now: i128, hold: &mut HoldModel, captured: i128) {
        let mut more = captured - hold.captured;
        let model = hold.model().cloned();
        let Coins { held, used, lost } = &mut hold.coins;
        for (coin, count) in self.pick(used, -more, true) {
            self.give_back(now, coin, count, lost);
        }
        for source in [&mut *held, &mut *lost] {
            for (coin, count) in self.pick(source, more, false) {
                more -= count;
                put(used, coin, count);
            }
        }
        if more > 0 {
            for (coin, count) in self.take_for(now, model.as_ref(), more) {
                put(used, coin, count);
            }
        }
        for (coin, count) in std::mem::take(held) {
            self.give_back(now, coin, count, lost);
        }
    }

    /// The last spent coins of a hold are free again, in new lots where the old ones expired.
    pub(super) fn give_refund(&mut self, now: i128, hold: &mut HoldModel, count: i128) {
        for (coin, count) in self.pick(&mut hold.coins.used, count, true) {
            match self.lots.get(&coin).filter(|_| self.has_expired(coin, now)) {
                Some(old) => {
                    let expiry = i64::try_from(now + RENEWAL).unwrap_or(i64::MAX);
                    let terms = LotTerms { expiry: Some(Timestamp::from_micros(expiry)), ..old.terms.clone() };
                    self.make_lot(LotModel::new(terms, now, count));
                }
                None => self.give_back(now, coin, count, &mut Piles::new()),
            }
        }
    }

    fn give_back(&mut self, now: i128, coin: u32, count: i128, lost: &mut Piles) {
        if self.has_expired(coin, now) {
            put(lost, coin, count);
        } else if let Some(lot) = self.lots.get_mut(&coin) {
            lot.free += count;
        }
    }

    fn make_lot(&mut self, lot: LotModel) {
        let number = self.lots.keys().next_back().map_or(1, |last| last + 1);
        self.lots.insert(number, lot);
    }

    /// Takes `count` coins away from piles, as far as there are so many, in the order in which they are spent or in the
    /// reverse of it.
    fn pick(&self, piles: &mut Piles, count: i128, last_first: bool) -> Vec<(u32, i128)> {
        let mut order: Vec<u32> = piles.keys().copied().collect();
        order.sort_by_key(|coin| self.order(*coin));
        if last_first {
            order.reverse();
        }
        let (mut picked, mut left) = (Vec::new(), count.max(0));
        for coin in order {
            let some = piles.get(&coin).map_or(0, |pile| left.min(*pile));
            left -= some;
            put(piles, coin, -some);
            picked.push((coin, some));
        }
        picked.retain(|(_, count)| *count > 0);
        picked
    }

    fn order(&self, coin: u32) -> Order {
        match self.lots.get(&coin) {
            None => (0, true, i128::MAX, i128::MIN, 0),
            Some(lot) => {
                let LotTerms { priority, models, .. } = &lot.terms;
                (-i64::from(*priority), models.is_empty(), lot.expiry().unwrap_or(i128::MAX), lot.created, coin)
            }
        }
    }

    fn has_expired(&self, coin: u32, now: i128) -> bool {
        self.lots.get(&coin).and_then(LotModel::expiry).is_some_and(|expiry| expiry <= now)
    }

    fn may_pay(&self, coin: u32, model: Option<&ModelName>, now: i128) -> bool {
        let fits =
            |lot: &LotModel| lot.terms.models.is_empty() || model.is_some_and(|model| lot.terms.models.contains(model));
        self.lots.get(&coin).is_none_or(fits) && !self.has_expired(coin, now)
    }

    fn is_paid(&self, coin: u32) -> bool {
        self.lots.get(&coin).is_none_or(|lot| lot.terms.class == LotClass::Paid)
    }

    /// More free money in lots than any total may be.
    pub(super) fn lots_overflow(&self) -> bool {
        self.lots.values().map(|lot| lot.free).sum::<i128>() > MAX
    }

    /// What stored lots have otherwise.
    pub(super) fn compare_lots(&self, stored: &[&Lot]) -> Result<(), String> {
        let expected = self.lots.iter().map(|(number, lot)| {
            let LotModel { terms, created, granted, free, .. } = lot;
            (*number, terms, *created, amount_of(*granted), amount_of(*free))
        });
        let expected: Vec<_> = expected.collect();
        let stored = stored
            .iter()
            .map(|lot| (lot.number, &*lot.terms, i128::from(lot.created_at.as_micros()), lot.amount, lot.free));
        let stored: Vec<_> = stored.collect();
        if stored == expected { Ok(()) } else { Err(format!("lots: expected {expected:?}, stored {stored:?}")) }
    }
}

/// Puts coins on a pile, or takes them away.
pub(super) fn put(piles: &mut Piles, coin: u32, count: i128) {
    let pile = piles.entry(coin).or_default();
    *pile += count;
    if *pile == 0 {
        piles.remove(&coin);
    }
}
