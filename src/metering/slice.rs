//! Slicing: holding a stream's money bit by bit, where the worst case would tie up too much of it.
//!
//! Prefer a clamp: a smaller `max_tokens` sent upstream cannot be overrun. Slices are for huge caps and small balances,
//! and only where the output is visible: what a model thinks in secret cannot be watched.
//!
//! The thresholds are those of telecom charging (3GPP's quota thresholds, credit pre-reservation): ask for the next
//! slice while what is left still covers the time the answer takes, and cut while it still covers the time the upstream
//! takes to stop.

use std::collections::VecDeque;
use std::time::Duration;

use crate::model::{Amount, Asset, Balance};
use crate::pricing::Tariff;
use crate::tokens::{TokenClass, Usage};

/// How a hold grows with its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Slicing {
    /// The worst case: the hold never grows beyond it, and a hold that reached it is never exhausted.
    pub worst: Amount,
    /// The fastest the model writes. Default 200 tokens per second.
    pub tokens_per_second: u32,
    /// How long an extension takes at the most. Default 250 ms.
    pub ask: Duration,
    /// How long the upstream takes to stop after it is cut. Default 1 s.
    pub stop: Duration,
    /// The most tokens that arrive at once. Default 64.
    pub burst: u32,
    /// The smallest slice that is worth asking for, in output tokens. Default 256.
    pub least: u32,
}

impl Slicing {
    /// Slices up to the worst case, with the defaults.
    pub fn up_to(worst: Amount) -> Self {
        Self {
            worst,
            tokens_per_second: 200,
            ask: Duration::from_millis(250),
            stop: Duration::from_secs(1),
            burst: 64,
            least: 256,
        }
    }
}

/// What recent streams of one model cost: how large a first slice should be.
///
/// ```
/// use prepaid::Amount;
/// use prepaid::metering::CostHistory;
///
/// let amount = |units| Amount::new(units).unwrap();
/// let mut history = CostHistory::default();
/// assert_eq!(history.first_slice(amount(9_000)), amount(9_000)); // nothing known: all of it
/// (1..=100).for_each(|units| history.record(amount(units)));
/// assert_eq!(history.first_slice(amount(9_000)), amount(90)); // nine of ten streams need no second slice
/// assert_eq!(history.first_slice(amount(300)), amount(300)); // not worth slicing
/// ```
#[derive(Clone, Debug, Default)]
pub struct CostHistory {
    recent: VecDeque<Amount>,
}

impl CostHistory {
    const KEPT: usize = 256;
    /// Fewer streams than this say nothing.
    const ENOUGH: usize = 20;
    /// A worst case of up to so many 90th percentiles is held whole.
    const WORTH: i64 = 4;

    /// Takes what a finished stream cost; the last 256 count.
    pub fn record(&mut self, cost: Amount) {
        if self.recent.len() == Self::KEPT {
            self.recent.pop_front();
        }
        self.recent.push_back(cost);
    }

    /// What to reserve first: the 90th percentile of recent costs, or the worst case where too little is known or
    /// slicing would not pay.
    pub fn first_slice(&self, worst: Amount) -> Amount {
        let mut sorted: Vec<_> = self.recent.iter().copied().collect();
        sorted.sort_unstable();
        let rank = sorted.len().saturating_mul(9).div_ceil(10).saturating_sub(1);
        let percentile = sorted.get(rank).copied().unwrap_or_default();
        let worth = percentile.minor_units().saturating_mul(Self::WORTH);
        let slices = sorted.len() >= Self::ENOUGH && !percentile.is_zero() && worst.minor_units() > worth;
        if slices { percentile } else { worst }
    }
}

/// A sliced stream's thresholds, in money.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slicer {
    worst: Amount,
    /// Left of the hold when the next slice is asked for.
    ask_at: Amount,
    /// Left of the hold when the stream has to be cut.
    cut_at: Amount,
    least: Amount,
}

/// Where a sliced stream stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// The hold will do for now.
    Nothing,
    /// The hold should grow to this much.
    More(Amount),
}

impl Slicer {
    /// The thresholds at a tariff; none where output has no price that could be watched.
    pub(super) fn new(slicing: Slicing, tariff: &Tariff, asset: Asset) -> Option<Self> {
        let price = |tokens: u64| {
            let of = |class| tariff.charge(&Usage::new().with(class, tokens), asset).ok().map(|charge| charge.amount());
            of(TokenClass::Output).max(of(TokenClass::Reasoning))
        };
        let written = |span: Duration| {
            let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
            u64::from(slicing.tokens_per_second).saturating_mul(millis).div_ceil(1_000)
        };
        let cut = written(slicing.stop).saturating_add(u64::from(slicing.burst));
        Some(Self {
            worst: slicing.worst,
            cut_at: price(cut)?,
            ask_at: price(cut.saturating_add(written(slicing.ask)))?,
            least: price(u64::from(slicing.least))?,
        })
    }

    /// What a stream that cost `spent` so far needs of a hold of `held`. Slices double; near the end of the account's
    /// money they taper, so that its streams reach the end together.
    pub(super) fn need(&self, spent: Amount, held: Amount, balance: &Balance) -> Need {
        if held >= self.worst || held.saturating_sub(spent) > self.ask_at {
            return Need::Nothing;
        }
        let streams = i64::from(balance.open_holds.max(1)).saturating_mul(2);
        let share = balance.spendable.positive_part().minor_units().checked_div(streams).unwrap_or(0);
        let share = Amount::new(share).unwrap_or_default().max(self.least);
        let slice = held.max(self.least).min(share);
        // However small the slice: what was spent is covered, and the threshold too.
        let least = sum(spent, self.ask_at);
        Need::More(sum(held, slice).max(least).min(self.worst))
    }

    /// Whether the stream has to be cut, if the hold cannot grow any more.
    pub(super) fn is_exhausted(&self, spent: Amount, held: Amount) -> bool {
        held < self.worst && held.saturating_sub(spent) <= self.cut_at
    }
}

fn sum(one: Amount, other: Amount) -> Amount {
    one.checked_add(other).unwrap_or(Amount::MAX)
}
