//! Random histories of lots against a model written here: burn order, return order, forfeits, renewals, withdrawals.
//!
//! The model keeps every minor unit of a lot as a coin with its lot's number on it. `PREPAID_CASES` says how many
//! histories (10,000 by default), `PREPAID_SEED` where they begin; a failure prints both and the history.

#![cfg(feature = "testing")]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use common::one::{One, amount, hold, measured, operation, signed};
use prepaid::clock::Clock;
use prepaid::kernel::{Action, Reply};
use prepaid::model::{
    Against, CallToken, Hold, HoldState, Lease, Limits, LotClass, LotTerms, ModelName, Overrun, Policy, Take, Terms,
};
use prepaid::{Outcome, Refusal, Timestamp};

const MODELS: [&str; 2] = ["small", "large"];
const STEPS: usize = 40;
const SECOND: i64 = 1_000_000;
const RENEWAL: i64 = 30 * 24 * 3600 * SECOND;

/// Lot number of a coin; 0 is the base lot.
type Coin = u32;

#[derive(Clone, Debug)]
struct Lot {
    promotional: bool,
    expiry: Option<i64>,
    priority: i32,
    models: Vec<&'static str>,
    created: i64,
    free: i64,
}

#[derive(Clone, Debug, Default)]
struct Held {
    model: Option<&'static str>,
    open: bool,
    held: Vec<Coin>,
    used: Vec<Coin>,
    lost: Vec<Coin>,
    held_at_close: i64,
    cost: i64,
    refunded: i64,
}

impl Held {
    fn captured(&self) -> i64 {
        count(&self.used) + self.refunded
    }
}

/// An account as a heap of coins.
#[derive(Clone, Debug, Default)]
struct Coins {
    overrun: Overrun,
    credit: i64,
    debt: Option<i64>,
    base: i64,
    lots: BTreeMap<Coin, Lot>,
    holds: BTreeMap<String, Held>,
    breakage: i64,
    promotion: i64,
    funding: i64,
    revenue: i64,
    write_off: i64,
}

fn count(coins: &[Coin]) -> i64 {
    i64::try_from(coins.len()).unwrap()
}

impl Coins {
    fn order(&self, coin: Coin) -> (i32, bool, i64, i64, Coin) {
        match self.lots.get(&coin) {
            None => (0, true, i64::MAX, i64::MIN, 0),
            Some(lot) => (-lot.priority, lot.models.is_empty(), lot.expiry.unwrap_or(i64::MAX), lot.created, coin),
        }
    }

    fn expired(&self, coin: Coin, now: i64) -> bool {
        self.lots.get(&coin).and_then(|lot| lot.expiry).is_some_and(|expiry| expiry <= now)
    }

    fn usable(&self, coin: Coin, model: Option<&str>, now: i64) -> bool {
        let fits = |lot: &Lot| lot.models.is_empty() || model.is_some_and(|model| lot.models.contains(&model));
        !self.expired(coin, now) && self.lots.get(&coin).is_none_or(fits)
    }

    fn spendable(&self, model: Option<&str>, now: i64) -> i64 {
        let free = self.lots.iter().filter(|(coin, _)| self.usable(**coin, model, now)).map(|(_, lot)| lot.free);
        free.sum::<i64>() + self.base + self.credit
    }

    /// What a hold can be made to pay, in all: its own coins always, beyond them as the policy says.
    fn collectable(&self, hold: &Held, now: i64) -> i64 {
        let (held, own) = (count(&hold.held), hold.captured() + count(&hold.lost));
        let always = held.max(own);
        let room = |owed: i64| always.max(self.spendable(hold.model, now) + owed + held + own);
        match (self.overrun, self.debt) {
            (Overrun::Debt, None) => i64::MAX,
            (Overrun::Debt, Some(owed)) => room(owed),
            (Overrun::CapToAvailable, _) => room(0),
            (Overrun::CapToHold, _) => room(0).min(always.max(hold.held_at_close)),
        }
    }

    fn available(&self) -> i64 {
        self.base + self.lots.values().map(|lot| lot.free).sum::<i64>()
    }

    /// Money of expired lots is gone.
    fn sweep(&mut self, now: i64) {
        for coin in self.lots.keys().copied().collect::<Vec<_>>() {
            if self.expired(coin, now) {
                let free = std::mem::take(&mut self.lots.get_mut(&coin).unwrap().free);
                self.forfeit(coin, free);
            }
        }
    }

    fn forfeit(&mut self, coin: Coin, count: i64) {
        if self.lots[&coin].promotional { self.promotion += count } else { self.breakage += count }
    }

    /// One free coin after the other, the first in the order that may pay.
    fn burn(&mut self, count: i64, may: impl Fn(&Self, Coin) -> bool) -> Vec<Coin> {
        (0..count)
            .map(|_| {
                let lots = self.lots.iter().filter(|(_, lot)| lot.free > 0).map(|(coin, _)| *coin);
                let full: Vec<_> = lots.chain((self.base > 0).then_some(0)).filter(|coin| may(self, *coin)).collect();
                let coin = full.into_iter().min_by_key(|coin| self.order(*coin)).unwrap_or(0);
                self.free(coin, -1);
                coin
            })
            .collect()
    }

    fn free(&mut self, coin: Coin, change: i64) {
        *self.lots.get_mut(&coin).map_or(&mut self.base, |lot| &mut lot.free) += change;
    }

    fn sort(&self, coins: &mut [Coin]) {
        coins.sort_by_key(|coin| self.order(*coin));
    }

    fn give_back(&mut self, hold: &mut Held, coin: Coin, now: i64) {
        if self.expired(coin, now) {
            hold.lost.push(coin);
            self.forfeit(coin, 1);
        } else {
            self.free(coin, 1);
        }
    }

    /// The hold costs so much in all. Answers whether that is possible: not less than was given back.
    fn cost(&mut self, hold: &mut Held, cost: i64, now: i64) -> bool {
        self.sweep(now);
        let corrects_nothing = !hold.open && hold.cost == cost;
        let captured = if corrects_nothing { hold.captured() } else { cost.min(self.collectable(hold, now)) };
        let more = captured - hold.captured();
        if captured < hold.refunded {
            return false;
        }
        let written_off = hold.cost - hold.captured();
        self.revenue += cost - hold.cost;
        self.write_off += written_off - (cost - captured);
        hold.cost = cost;
        hold.held_at_close = hold.held_at_close.max(count(&hold.held));
        self.sort(&mut hold.held);
        self.sort(&mut hold.lost);
        self.sort(&mut hold.used);
        for _ in 0..-more {
            let coin = hold.used.pop().unwrap();
            self.give_back(hold, coin, now);
        }
        for _ in 0..more {
            if !hold.held.is_empty() {
                hold.used.push(hold.held.remove(0));
            } else if !hold.lost.is_empty() {
                let coin = hold.lost.remove(0);
                self.forfeit(coin, -1);
                hold.used.push(coin);
            } else {
                let model = hold.model;
                hold.used.extend(self.burn(1, |coins, coin| coins.usable(coin, model, now)));
            }
        }
        for coin in std::mem::take(&mut hold.held) {
            self.give_back(hold, coin, now);
        }
        hold.open = false;
        true
    }

    /// The last spent coins go back, into new lots where the old ones expired.
    fn refund(&mut self, hold: &mut Held, count: i64, now: i64) {
        hold.refunded += count;
        self.sort(&mut hold.used);
        self.revenue -= count;
        let mut renewed: Vec<(Coin, Coin)> = Vec::new();
        for _ in 0..count {
            let coin = hold.used.pop().unwrap();
            if !self.expired(coin, now) {
                self.free(coin, 1);
                continue;
            }
            let known = renewed.iter().find(|(from, _)| *from == coin).map(|(_, new)| *new);
            let new = known.unwrap_or_else(|| {
                let new = self.lots.last_key_value().unwrap().0 + 1;
                let lot = Lot { free: 0, created: now, expiry: Some(now + RENEWAL), ..self.lots[&coin].clone() };
                self.lots.insert(new, lot);
                renewed.push((coin, new));
                new
            });
            self.free(new, 1);
        }
    }

    fn withdrawable(&self, now: i64) -> i64 {
        let paid = self.lots.iter().filter(|(coin, lot)| !lot.promotional && !self.expired(**coin, now));
        if self.base < 0 { 0 } else { self.base + paid.map(|(_, lot)| lot.free).sum::<i64>() }
    }
}

/// A random number generator small enough to be read (splitmix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> i64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        i64::try_from((mixed ^ (mixed >> 31)) % sides).unwrap()
    }
}

struct Play {
    one: One,
    coins: Coins,
    dice: Dice,
    log: Vec<String>,
    keys: u32,
    /// What was met: without it the histories would prove little.
    met: BTreeMap<&'static str, u32>,
}

impl Play {
    fn now(&self) -> i64 {
        self.one.clock.now().as_micros()
    }

    fn key(&mut self) -> String {
        self.keys += 1;
        format!("k{}", self.keys)
    }

    fn run(&mut self, action: Action) -> Reply {
        let reply = self.one.run(action.clone());
        self.log.push(format!("{} {action:?} -> {:?}", self.now(), reply.answer));
        reply
    }

    fn pick(&mut self, wanted: impl Fn(&Held) -> bool) -> Option<(String, Held)> {
        let found: Vec<_> = self.coins.holds.iter().filter(|(_, hold)| wanted(hold)).collect();
        if found.is_empty() {
            return None;
        }
        let choice = usize::try_from(self.dice.roll(found.len() as u64)).unwrap();
        Some((found[choice].0.clone(), found[choice].1.clone()))
    }

    fn step(&mut self) {
        match self.dice.roll(20) {
            0..=2 => self.grant(),
            3 => self.deposit(),
            4..=7 => self.reserve(),
            8 => self.extend(),
            9..=11 => self.settle(),
            12 => self.abandon(),
            13 | 14 => self.refund(),
            15 => self.correct(),
            16 => self.withdraw(),
            17 => self.chargeback(),
            18 => self.expire_lot(),
            _ => {
                let seconds = [1, 5, 10, 20][usize::try_from(self.dice.roll(4)).unwrap()];
                self.one.pass(seconds);
            }
        }
    }

    fn grant(&mut self) {
        let (count, now) = (1 + self.dice.roll(9), self.now());
        let mut lot = Lot {
            promotional: self.dice.roll(2) == 0,
            expiry: (self.dice.roll(3) > 0).then_some(now + (self.dice.roll(30) - 1) * SECOND),
            priority: i32::try_from(self.dice.roll(3)).unwrap() - 1,
            models: Vec::new(),
            created: now,
            free: count,
        };
        lot.models.extend(MODELS.into_iter().filter(|_| self.dice.roll(4) == 0));
        let mut terms = LotTerms::default();
        terms.class = if lot.promotional { LotClass::Promotional } else { LotClass::Paid };
        (terms.expiry, terms.priority) = (lot.expiry.map(Timestamp::from_micros), lot.priority);
        terms.models = lot.models.iter().map(|name| ModelName::new(name).unwrap()).collect();
        let key = self.key();
        let answer = self.run(self.one.grant(&key, count, terms)).answer;
        if lot.expiry.is_some_and(|expiry| expiry <= now) {
            assert!(matches!(answer, Err(Refusal::ExpiryInPast { .. })));
            return;
        }
        assert_eq!(answer, Ok(Outcome::Ok));
        if lot.promotional {
            self.coins.promotion -= count
        } else {
            self.coins.funding -= count
        }
        let number = self.coins.lots.last_key_value().map_or(1, |(last, _)| last + 1);
        self.coins.lots.insert(number, lot);
    }

    fn deposit(&mut self) {
        let (count, key) = (1 + self.dice.roll(15), self.key());
        assert_eq!(self.run(self.one.deposit(&key, count)).answer, Ok(Outcome::Ok));
        self.coins.base += count;
        self.coins.funding -= count;
    }

    fn reserve(&mut self) {
        let model = [None, Some(MODELS[0]), Some(MODELS[1])][usize::try_from(self.dice.roll(3)).unwrap()];
        let (count, partial, now) = (self.dice.roll(14), self.dice.roll(3) == 0, self.now());
        let mut terms = Terms::default();
        terms.amount = amount(count);
        terms.min = partial.then(|| amount(count.min(1)));
        terms.model = model.map(|name| ModelName::new(name).unwrap());
        let name = format!("h{}", self.coins.holds.len());
        let action = Action::Reserve {
            hold: hold(&name),
            terms: Arc::new(terms),
            // Coins know nothing of leases: no hold may be overdue here, and lapse to make room.
            lease: Some(Lease { ttl: Duration::from_secs(24 * 60 * 60), ..Lease::default() }),
            token: CallToken::default(),
            metadata: None,
        };
        let answer = self.run(action).answer;
        let spendable = self.coins.spendable(model, now);
        let granted = if spendable >= count { count } else { spendable };
        if granted < count && !(partial && granted > 0) {
            let Err(Refusal::Denied(denial)) = answer else { panic!("should be denied: {answer:?}") };
            assert_eq!((denial.spendable.minor_units(), denial.grantable.minor_units()), (spendable, spendable.max(0)));
            *self.met.entry("denied").or_default() += 1;
            return;
        }
        assert_eq!(answer, Ok(if granted < count { Outcome::CreatedPartial } else { Outcome::Created }));
        self.coins.sweep(now);
        let held = self.coins.burn(granted, |coins, coin| coins.usable(coin, model, now));
        self.coins.holds.insert(name, Held { model, open: true, held, ..Held::default() });
    }

    fn extend(&mut self) {
        let Some((name, mut held)) = self.pick(|hold| hold.open) else { return };
        let (more, now) = (1 + self.dice.roll(6), self.now());
        let target = i64::try_from(held.held.len()).unwrap() + more;
        let answer = self.run(self.one.extend(&name, target, false)).answer;
        if self.coins.spendable(held.model, now) < more {
            assert!(matches!(answer, Err(Refusal::Denied(_))), "{answer:?}");
            return;
        }
        assert_eq!(answer, Ok(Outcome::Ok));
        self.coins.sweep(now);
        let model = held.model;
        held.held.extend(self.coins.burn(more, |coins, coin| coins.usable(coin, model, now)));
        self.coins.holds.insert(name, held);
    }

    /// Settles an open hold, or one that was abandoned.
    fn settle(&mut self) {
        let Some((name, mut held)) = self.pick(|_| true) else { return };
        let stored = self.one.hold(&name).unwrap();
        if !matches!(stored.state, HoldState::Open | HoldState::Lapsed) {
            return;
        }
        let cost = self.dice.roll(16);
        assert!(self.run(self.one.settle(&name, cost, false)).answer.is_ok());
        if !held.lost.is_empty() {
            *self.met.entry("true-up of a forfeit").or_default() += 1;
        }
        let now = self.now();
        // The owner's word replaces a lapse also where it says the same: more may be collected by now.
        held.open = true;
        assert!(self.coins.cost(&mut held, cost, now));
        self.coins.holds.insert(name, held);
    }

    /// Reports some and abandons: what was not reported goes back at once.
    fn abandon(&mut self) {
        let Some((name, mut held)) = self.pick(|hold| hold.open) else { return };
        let (cost, now) = (self.dice.roll(8), self.now());
        assert_eq!(self.run(self.one.report(&name, cost, 0)).answer, Ok(Outcome::Ok));
        assert_eq!(self.run(self.one.abandon(&name)).answer, Ok(Outcome::Abandoned));
        assert!(self.coins.cost(&mut held, cost, now));
        self.coins.holds.insert(name, held);
    }

    fn refund(&mut self) {
        let Some((name, mut held)) = self.pick(|hold| !hold.open && !hold.used.is_empty()) else { return };
        let count = 1 + self.dice.roll(held.used.len() as u64);
        let key = self.key();
        let answer = self.run(self.one.refund(&name, &key, count)).answer;
        if answer == Err(Refusal::NotFinal) {
            return;
        }
        assert_eq!(answer, Ok(Outcome::Ok));
        let (now, lots) = (self.now(), self.coins.lots.len());
        self.coins.refund(&mut held, count, now);
        *self.met.entry("renewed").or_default() += u32::from(self.coins.lots.len() > lots);
        self.coins.holds.insert(name, held);
    }

    fn correct(&mut self) {
        let Some((name, mut held)) = self.pick(|hold| !hold.open) else { return };
        let stored = self.one.hold(&name).unwrap();
        let (Some(actual), cost) = (stored.actual, self.dice.roll(16)) else { return };
        let key = self.key();
        let action = Action::Correct {
            hold: hold(&name),
            key: operation(&key),
            expected: actual.cost,
            measured: measured(cost, 0),
            above_ceiling: false,
            metadata: None,
        };
        let answer = self.run(action).answer;
        let (mut coins, now) = (self.coins.clone(), self.now());
        if !coins.cost(&mut held, cost, now) {
            assert!(matches!(answer, Err(Refusal::BelowRefunded { .. })), "{answer:?}");
            return;
        }
        assert_eq!(answer, Ok(Outcome::Ok));
        self.coins = coins;
        self.coins.holds.insert(name, held);
    }

    fn withdraw(&mut self) {
        let (count, key, now) = (1 + self.dice.roll(8), self.key(), self.now());
        let answer = self.run(self.one.withdraw(&key, count)).answer;
        let most = self.coins.withdrawable(now);
        if count > most {
            assert_eq!(answer, Err(Refusal::InsufficientPaid { withdrawable: amount(most) }));
            return;
        }
        assert_eq!(answer, Ok(Outcome::Ok));
        self.coins.sweep(now);
        self.coins.burn(count, |coins, coin| coins.lots.get(&coin).is_none_or(|lot| !lot.promotional));
        self.coins.funding += count;
    }

    /// The bank takes a payment back: the base lot may owe it.
    fn chargeback(&mut self) {
        let (count, key) = (1 + self.dice.roll(8), self.key());
        let action = Action::Adjust {
            key: operation(&key),
            amount: signed(-count),
            against: Against::Funding,
            reason: "chargeback".into(),
            metadata: None,
        };
        assert_eq!(self.run(action).answer, Ok(Outcome::Ok));
        self.coins.base -= count;
        self.coins.funding += count;
    }

    fn expire_lot(&mut self) {
        let last = self.coins.lots.last_key_value().map_or(0, |(last, _)| *last);
        let lot = u32::try_from(self.dice.roll(u64::from(last) + 2)).unwrap();
        let answer = self.run(Action::ExpireLot { lot }).answer;
        let (free, now) = (self.coins.lots.get(&lot).map_or(0, |lot| lot.free), self.now());
        let expected = match (free, self.coins.expired(lot, now)) {
            (0, _) => Outcome::NoOp,
            (_, false) => Outcome::NotDue,
            (_, true) => {
                self.coins.forfeit(lot, free);
                self.coins.free(lot, -free);
                Outcome::Expired
            }
        };
        assert_eq!(answer, Ok(expected));
    }

    fn compare_books(&self) {
        let (account, coins) = (self.one.view(), &self.coins);
        let books = account.books.columns().map(|total| total.minor_units());
        let promo = |coin: &&Coin| coins.lots.get(*coin).is_some_and(|lot| lot.promotional);
        let count = |part: fn(&Held) -> &Vec<Coin>| {
            let all = coins.holds.values().flat_map(|hold| part(hold).iter());
            i64::try_from(all.filter(promo).count()).unwrap()
        };
        let held: usize = coins.holds.values().map(|hold| hold.held.len()).sum();
        let free_promo: i64 = coins.lots.values().filter(|lot| lot.promotional).map(|lot| lot.free).sum();
        let expected = [
            coins.available(),
            i64::try_from(held).unwrap(),
            coins.revenue,
            coins.funding,
            coins.promotion,
            coins.breakage,
            coins.write_off,
            free_promo,
            count(|hold| &hold.held),
            count(|hold| &hold.used),
        ];
        assert_eq!(books, expected, "available held revenue funding promotion breakage write_off, and promotional");
        assert_eq!(account.base().minor_units(), coins.base);
    }

    fn compare_rows(&self) {
        let coins = &self.coins;
        let rows = self.one.rows();
        let stored = rows.lots.iter().map(|lot| {
            let expiry = lot.terms.expiry.map(Timestamp::as_micros);
            (lot.number, lot.free.minor_units(), expiry, lot.created_at.as_micros())
        });
        let expected = coins.lots.iter().map(|(coin, lot)| (*coin, lot.free, lot.expiry, lot.created));
        assert_eq!(stored.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
        for stored in &rows.holds {
            let expected = &coins.holds[stored.id.request().as_str()];
            assert_eq!(takes(stored), takes_of(expected), "{}", stored.id);
        }
        rows.check(prepaid::model::LedgerId([7; 16])).unwrap();
    }
}

fn takes(hold: &Hold) -> Vec<(Coin, i64, i64, i64)> {
    let units = |take: &Take| [take.held, take.used, take.forfeited].map(prepaid::Amount::minor_units);
    hold.takes.iter().map(|take| (take.lot, units(take))).map(|(lot, [h, u, f])| (lot, h, u, f)).collect()
}

fn takes_of(held: &Held) -> Vec<(Coin, i64, i64, i64)> {
    let mut coins: Vec<_> =
        [&held.held, &held.used, &held.lost].into_iter().flatten().filter(|coin| **coin > 0).collect();
    coins.sort_unstable();
    coins.dedup();
    let count = |coins: &[Coin], coin| i64::try_from(coins.iter().filter(|own| **own == coin).count()).unwrap();
    coins
        .into_iter()
        .map(|coin| (*coin, count(&held.held, *coin), count(&held.used, *coin), count(&held.lost, *coin)))
        .collect()
}

#[test]
fn lots_agree_with_coins() {
    let count = common::number("PREPAID_CASES", 10_000);
    let seed = common::number("PREPAID_SEED", u64::from(std::process::id()));
    println!("PREPAID_SEED={seed} PREPAID_CASES={count}");
    let met = thread::scope(|scope| {
        let threads = thread::available_parallelism().map_or(1, usize::from).min(8) as u64;
        let shards: Vec<_> = (0..threads)
            .map(|shard| scope.spawn(move || histories(seed, (shard..count).step_by(threads as usize))))
            .collect();
        let mut met = BTreeMap::<_, u32>::new();
        for (what, times) in shards.into_iter().flat_map(|shard| shard.join().unwrap()) {
            *met.entry(what).or_default() += times;
        }
        met
    });
    println!("{met:?}");
    for what in ["denied", "renewed", "true-up of a forfeit"] {
        assert!(count < 1_000 || met.contains_key(what), "no history met: {what}");
    }
}

fn histories(seed: u64, cases: impl Iterator<Item = u64>) -> BTreeMap<&'static str, u32> {
    let mut met = BTreeMap::new();
    for case in cases {
        let mut dice = Dice(seed.wrapping_add(case));
        let mut choose = |from: &[Option<i64>]| from[usize::try_from(dice.roll(from.len() as u64)).unwrap()];
        let (credit, debt) = (choose(&[None, None, Some(5)]).unwrap_or(0), choose(&[None, None, Some(0), Some(4)]));
        let overrun = match choose(&[None, None, Some(1), Some(2)]) {
            None => Overrun::Debt,
            Some(1) => Overrun::CapToAvailable,
            Some(_) => Overrun::CapToHold,
        };
        let limits = Limits { credit: amount(credit), debt: debt.map(amount), ..Limits::default() };
        let mut play = Play {
            one: One::with(0, limits, Policy { overrun, ..Policy::default() }),
            coins: Coins { overrun, credit, debt, ..Coins::default() },
            dice,
            log: Vec::new(),
            keys: 0,
            met: BTreeMap::new(),
        };
        let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for step in 1..=STEPS {
                play.step();
                play.compare_books();
                if step % 4 == 0 {
                    play.compare_rows();
                }
            }
            if case % 8 == 0 {
                let audit = play.one.audit();
                assert!(audit.is_clean(), "{audit}");
            }
        }));
        if let Err(panic) = played {
            eprintln!("PREPAID_SEED={} PREPAID_CASES=1\n{}", seed.wrapping_add(case), play.log.join("\n"));
            std::panic::resume_unwind(panic);
        }
        for (what, times) in play.met {
            *met.entry(what).or_insert(0) += times;
        }
    }
    met
}
