//! Random histories of lots against the independent model: burn order, return order, forfeits, renewals, withdrawals.
//!
//! Many lots, small amounts and no leases, so that money comes from everywhere and comes back late. `PREPAID_CASES` says
//! how many histories (10,000 by default), `PREPAID_SEED` where they begin; a failure prints both and the history.

#![cfg(feature = "testing")]

mod common;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use common::checked::Checked;
use common::one::{One, amount, hold, measured, operation, signed};
use common::random::Random;
use prepaid::clock::Clock;
use prepaid::kernel::Action;
use prepaid::model::{
    Against, CallToken, EntryKind, HoldState, Lease, Limits, LotClass, LotTerms, ModelName, Overrun, Policy, Terms,
};
use prepaid::testing::HoldModel;
use prepaid::{Refusal, Timestamp};

const MODELS: [&str; 2] = ["small", "large"];
const STEPS: usize = 40;
const SECOND: i64 = 1_000_000;

struct Play {
    checked: Checked,
    /// What was met: without it the histories would prove little.
    met: BTreeMap<&'static str, u32>,
}

impl Play {
    fn roll(&mut self, sides: usize) -> i64 {
        i64::try_from(self.checked.dice.below(sides)).unwrap()
    }

    fn met(&mut self, what: &'static str, met: bool) {
        *self.met.entry(what).or_default() += u32::from(met);
    }

    fn step(&mut self) {
        match self.roll(20) {
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
                let seconds = [1, 5, 10, 20][self.checked.dice.below(4)];
                self.checked.one.pass(seconds);
            }
        }
    }

    fn grant(&mut self) {
        let count = 1 + self.roll(9);
        let mut terms = LotTerms::default();
        terms.class = if self.roll(2) == 0 { LotClass::Promotional } else { LotClass::Paid };
        if self.roll(3) > 0 {
            terms.expiry = Some(Timestamp::from_micros(self.checked.now() + (self.roll(30) - 1) * SECOND));
        }
        terms.priority = i32::try_from(self.roll(3)).unwrap() - 1;
        let named = MODELS.into_iter().filter(|_| self.roll(4) == 0);
        terms.models = named.map(|name| ModelName::new(name).unwrap()).collect();
        let key = self.checked.key();
        let action = self.checked.one.grant(&key, count, terms);
        let answer = self.checked.run(action).answer;
        self.met("granted too late", matches!(answer, Err(Refusal::ExpiryInPast { .. })));
    }

    fn deposit(&mut self) {
        let (count, key) = (1 + self.roll(15), self.checked.key());
        let action = self.checked.one.deposit(&key, count);
        self.checked.run(action).answer.unwrap();
    }

    fn reserve(&mut self) {
        let model = [None, Some(MODELS[0]), Some(MODELS[1])][self.checked.dice.below(3)];
        let (count, partial) = (self.roll(14), self.roll(3) == 0);
        let mut terms = Terms::default();
        terms.amount = amount(count);
        terms.min = partial.then(|| amount(count.min(1)));
        terms.model = model.map(|name| ModelName::new(name).unwrap());
        let action = Action::Reserve {
            hold: hold(&self.checked.name()),
            terms: Arc::new(terms),
            // No hold is overdue here, so that none lapses to make room.
            lease: Some(Lease { ttl: Duration::from_secs(24 * 60 * 60), ..Lease::default() }),
            token: CallToken::default(),
            metadata: None,
        };
        let answer = self.checked.run(action).answer;
        self.met("denied", matches!(answer, Err(Refusal::Denied(_))));
    }

    fn extend(&mut self) {
        let Some((name, held)) = self.checked.pick(|hold| hold.state == HoldState::Open) else { return };
        let target = i64::try_from(held.held).unwrap() + 1 + self.roll(6);
        let action = self.checked.one.extend(&name, target, false);
        let _ = self.checked.run(action);
    }

    /// Settles an open hold, or one that was abandoned.
    fn settle(&mut self) {
        let Some((name, before)) = self.checked.pick(|hold| !is_final(hold)) else { return };
        let cost = self.roll(16);
        let action = self.checked.one.settle(&name, cost, false);
        self.checked.run(action).answer.unwrap();
        self.met("true-up of a forfeit", !before.coins.lost.is_empty());
    }

    /// Reports some and abandons: what was not reported goes back at once.
    fn abandon(&mut self) {
        let Some((name, _)) = self.checked.pick(|hold| hold.state == HoldState::Open) else { return };
        let cost = self.roll(8);
        let report = self.checked.one.report(&name, cost, 0);
        let abandon = self.checked.one.abandon(&name);
        for action in [report, abandon] {
            self.checked.run(action).answer.unwrap();
        }
    }

    fn refund(&mut self) {
        let Some((name, before)) = self.checked.pick(|hold| is_final(hold) && hold.captured > hold.refunded) else {
            return;
        };
        let left = usize::try_from(before.captured - before.refunded).unwrap();
        let (count, key, lots) = (1 + self.roll(left), self.checked.key(), self.checked.one.view().last_lot);
        let action = self.checked.one.refund(&name, &key, count);
        self.checked.run(action).answer.unwrap();
        let renewed = self.checked.one.view().last_lot > lots;
        self.met("renewed", renewed);
    }

    fn correct(&mut self) {
        let Some((name, held)) = self.checked.pick(|hold| hold.actual.is_some()) else { return };
        let expected = held.actual.map_or(0, |(cost, _)| i64::try_from(cost).unwrap());
        let action = Action::Correct {
            hold: hold(&name),
            key: operation(&self.checked.key()),
            expected: amount(expected),
            measured: measured(self.roll(16), 0),
            above_ceiling: false,
            metadata: None,
        };
        let _ = self.checked.run(action);
    }

    fn withdraw(&mut self) {
        let (count, key) = (1 + self.roll(8), self.checked.key());
        let action = self.checked.one.withdraw(&key, count);
        let _ = self.checked.run(action);
    }

    /// The bank takes a payment back: the base lot may owe it.
    fn chargeback(&mut self) {
        let action = Action::Adjust {
            key: operation(&self.checked.key()),
            amount: signed(-1 - self.roll(8)),
            against: Against::Funding,
            reason: "chargeback".into(),
            metadata: None,
        };
        self.checked.run(action).answer.unwrap();
    }

    fn expire_lot(&mut self) {
        let last = usize::try_from(self.checked.one.view().last_lot).unwrap();
        let lot = u32::try_from(self.roll(last + 2)).unwrap();
        self.checked.run(Action::ExpireLot { lot }).answer.unwrap();
    }
}

fn is_final(hold: &HoldModel) -> bool {
    !matches!(hold.state, HoldState::Open | HoldState::Lapsed)
}

#[test]
fn lots_agree_with_the_model() {
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
    for what in ["denied", "granted too late", "renewed", "true-up of a forfeit"] {
        assert!(count < 1_000 || met[what] > 0, "no history met: {what}");
    }
}

fn histories(seed: u64, cases: impl Iterator<Item = u64>) -> BTreeMap<&'static str, u32> {
    let mut met = BTreeMap::new();
    for case in cases {
        let seed = seed.wrapping_add(case);
        let mut dice = Random(seed);
        let mut choose = |from: &[Option<i64>]| from[dice.below(from.len())];
        let (credit, debt) = (choose(&[None, None, Some(5)]).unwrap_or(0), choose(&[None, None, Some(0), Some(4)]));
        let overrun = match choose(&[None, None, Some(1), Some(2)]) {
            None => Overrun::Debt,
            Some(1) => Overrun::CapToAvailable,
            Some(_) => Overrun::CapToHold,
        };
        let limits = Limits { credit: amount(credit), debt: debt.map(amount), ..Limits::default() };
        let one = One::with(0, limits, Policy { overrun, ..Policy::default() });
        let mut play = Play { checked: Checked::new(one, dice), met: BTreeMap::new() };
        let played = catch_unwind(AssertUnwindSafe(|| {
            for step in 1..=STEPS {
                play.step();
                if step % 4 == 0 {
                    play.checked.compare_rows();
                }
            }
            if case % 8 == 0 {
                play.checked.compare_audit();
            }
        }));
        if let Err(panic) = played {
            play.checked.tell(seed);
            resume_unwind(panic);
        }
        for (what, times) in play.met {
            *met.entry(what).or_insert(0) += times;
        }
    }
    met
}

#[test]
fn refund_writes_the_end_of_an_expired_lot_first() {
    let one = One::new(100);
    let mut terms = LotTerms::default();
    terms.class = LotClass::Promotional;
    terms.expiry = Some(Timestamp::from_micros(one.clock.now().as_micros() + 50 * SECOND));
    terms.priority = 1;
    one.name(one.grant("g", 10, terms));
    one.name(one.settle("h", 6, true));
    one.pass(60);
    let before = one.journal().len();
    assert_eq!(one.name(one.refund("h", "r", 7)), "ExceedsRefundable");
    assert_eq!(one.journal().len(), before, "what is refused writes nothing");
    assert_eq!(one.name(one.refund("h", "r", 2)), "Ok");
    let kinds: Vec<_> = one.journal().iter().skip(before).map(|entry| entry.kind).collect();
    assert_eq!(kinds, [EntryKind::LotExpiry, EntryKind::Refund]);
    assert_eq!(one.available(), 102, "the four left over are gone, the two refunded are in a new lot");
    assert!(one.audit().is_clean());
}
