//! A hold as the model sees it.

use super::lots::{Coins, Piles, put};
use crate::model::{Amount, CallToken, Hold, HoldState, ModelName, Policy, Quantity, Take, Terms};

/// A cost and its tokens.
pub type Used = (i128, i128);

/// A hold of the model.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of `Hold`, described there")]
#[non_exhaustive]
pub struct HoldModel {
    pub state: HoldState,
    /// Order of creation within the account.
    pub number: usize,
    pub terms: Option<Terms>,
    pub direct: bool,
    pub token: CallToken,
    pub policy: Policy,
    pub ceiling: Option<i128>,
    /// The budgets it is charged to, by number, with the beginning of the window.
    pub windows: Vec<(u32, i128)>,
    /// Where its money came from.
    pub coins: Coins,
    pub held: i128,
    pub held_at_close: i128,
    pub reported: Used,
    pub provisional: Used,
    pub settled_as: Option<Used>,
    pub actual: Option<Used>,
    pub captured: i128,
    pub written_off: i128,
    pub refunded: i128,
    pub deadline: i128,
    pub due: Option<i128>,
    pub closed_at: Option<i128>,
}

impl HoldModel {
    /// What its cost is, as far as it is in the books.
    pub(super) fn booked(&self) -> i128 {
        self.captured + self.written_off
    }

    /// What it costs, final or not.
    pub(super) fn cost(&self) -> Used {
        match self.state {
            HoldState::Open => self.reported,
            HoldState::Lapsed => self.provisional,
            HoldState::Settled | HoldState::Released | HoldState::Sealed => self.actual.unwrap_or((0, 0)),
        }
    }

    /// Whether nobody may change its cost any more without a correction.
    pub(super) fn is_final(&self) -> bool {
        !matches!(self.state, HoldState::Open | HoldState::Lapsed)
    }

    /// The model it asks.
    pub(super) fn model(&self) -> Option<&ModelName> {
        self.terms.as_ref()?.model.as_ref()
    }

    /// The earliest time at which the sweeper may close it.
    pub(super) fn closable_at(&self) -> i128 {
        span_after(self.deadline, self.policy.lease.grace)
    }

    /// What a stored hold has otherwise than this one.
    ///
    /// # Errors
    /// Both, when they differ.
    pub fn compare(&self, hold: &Hold) -> Result<(), String> {
        let stored = Self {
            state: hold.state,
            number: self.number,
            terms: hold.terms.as_deref().cloned(),
            direct: hold.direct,
            token: hold.token,
            policy: hold.policy,
            ceiling: hold.ceiling.map(|ceiling| i128::from(ceiling.minor_units())),
            windows: hold.windows.iter().map(|own| (own.budget, i128::from(own.start.as_micros()))).collect(),
            coins: coins(hold),
            held: i128::from(hold.held.minor_units()),
            held_at_close: i128::from(hold.held_at_close.minor_units()),
            reported: used(hold.reported),
            provisional: used(hold.provisional),
            settled_as: hold.settled_as.map(used),
            actual: hold.actual.map(used),
            captured: i128::from(hold.captured.minor_units()),
            written_off: i128::from(hold.written_off.minor_units()),
            refunded: i128::from(hold.refunded.minor_units()),
            deadline: i128::from(hold.deadline.as_micros()),
            due: hold.due.map(|due| i128::from(due.as_micros())),
            closed_at: hold.closed_at.map(|at| i128::from(at.as_micros())),
        };
        if stored == *self { Ok(()) } else { Err(format!("hold {}: expected {self:?}, stored {stored:?}", hold.id)) }
    }
}

/// A stored hold's coins: what it has of no lot is the base lot's.
fn coins(hold: &Hold) -> Coins {
    let units = |amount: Amount| i128::from(amount.minor_units());
    let piles = |part: fn(&Take) -> Amount| {
        let mut piles = Piles::new();
        hold.takes.iter().for_each(|take| put(&mut piles, take.lot, units(part(take))));
        piles
    };
    let with_base = |mut piles: Piles, all: Amount| {
        let rest = units(all) - piles.values().sum::<i128>();
        put(&mut piles, 0, rest);
        piles
    };
    Coins {
        held: with_base(piles(|take| take.held), hold.held),
        used: with_base(piles(|take| take.used), hold.refundable()),
        lost: piles(|take| take.forfeited),
    }
}

/// A quantity in the model's numbers.
pub(super) fn used(quantity: Quantity) -> Used {
    (i128::from(quantity.cost.minor_units()), i128::from(quantity.tokens))
}

/// A point in time after another; the end of time is the last.
pub(super) fn span_after(at: i128, span: std::time::Duration) -> i128 {
    let micros = i128::try_from(span.as_micros()).unwrap_or(i128::MAX);
    at.saturating_add(micros).min(i128::from(i64::MAX))
}

/// The larger cost and the larger number of tokens.
pub(super) fn larger(one: Used, other: Used) -> Used {
    (one.0.max(other.0), one.1.max(other.1))
}
