//! Holds: money set aside for one attempt of one request.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::account::display;
use super::{
    Amount, CallToken, Charged, HoldId, KeyHash, Label, Metric, ModelName, OnLapse, Overrun, Pinned, Policy, Scope,
    Take, Tally, TariffHash, Timestamp,
};

/// Where a hold stands. A hold that was never made is `Absent` and has no row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HoldState {
    /// Money is set aside; an overdue hold that nobody swept is still open.
    Open,
    /// Closed provisionally: the sweeper's or `abandon`'s doing. The owner's word still replaces it.
    Lapsed,
    /// Closed by its owner with a cost.
    Settled,
    /// Closed unused; also the tombstone of a release that came before its reserve.
    Released,
    /// A lapse that became final.
    Sealed,
}

/// A cost and the tokens it stands for: what `max` and equality look at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Quantity {
    /// What it costs.
    pub cost: Amount,
    /// How many tokens it is, for budgets that count tokens.
    pub tokens: u64,
}

impl Quantity {
    /// Nothing.
    pub const ZERO: Self = Self { cost: Amount::ZERO, tokens: 0 };
    /// The most tokens that are believed: 2^59, as for amounts. A command that says more is refused.
    pub const TOKENS_MAX: u64 = 1 << 59;

    /// The larger cost and the larger number of tokens.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self { cost: self.cost.max(other.cost), tokens: self.tokens.max(other.tokens) }
    }
}

/// What a request used: a cost, its tokens, and how they were arrived at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Measured {
    /// The cost and the tokens.
    pub quantity: Quantity,
    /// Bytes kept in the journal beside the cost, such as [`Charge`](crate::pricing::Charge) makes; at most 4 KiB.
    pub evidence: Option<Arc<[u8]>>,
}

impl Measured {
    /// The longest evidence that is kept.
    pub const EVIDENCE_BYTES_MAX: usize = 4096;

    /// A cost of so many tokens.
    pub fn new(cost: Amount, tokens: u64) -> Self {
        Self { quantity: Quantity { cost, tokens }, evidence: None }
    }

    /// The same with its evidence.
    #[must_use]
    pub fn with_evidence(mut self, evidence: impl Into<Arc<[u8]>>) -> Self {
        self.evidence = Some(evidence.into());
        self
    }
}

impl From<Amount> for Measured {
    fn from(cost: Amount) -> Self {
        Self::new(cost, 0)
    }
}

/// What a reserve asks for and a repetition of it must ask for again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Terms {
    /// The worst-case cost.
    pub amount: Amount,
    /// The least that is still worth having, where a part may be granted.
    pub min: Option<Amount>,
    /// What revenue is split by, such as `openai/gpt-4o`.
    pub label: Option<Label>,
    /// The model it asks: lots that are restricted to models may pay for theirs.
    pub model: Option<ModelName>,
    /// What the request counts towards, in order, each once.
    pub scopes: Vec<Scope>,
    /// The tokens expected at most, for budgets that count tokens.
    pub tokens: u64,
    /// The prices it is charged at.
    pub tariff: Option<TariffHash>,
    /// Another choice than the account's.
    pub on_lapse: Option<OnLapse>,
    /// Another choice than the account's.
    pub overrun: Option<Overrun>,
}

impl Terms {
    /// The names of the fields in which other terms differ.
    pub(crate) fn differing(&self, other: &Self) -> Vec<&'static str> {
        let Self { amount, min, label, model, scopes, tokens, tariff, on_lapse, overrun } = self;
        let fields = [
            ("amount", *amount != other.amount),
            ("min", *min != other.min),
            ("label", *label != other.label),
            ("model", *model != other.model),
            ("scopes", *scopes != other.scopes),
            ("tokens", *tokens != other.tokens),
            ("tariff", *tariff != other.tariff),
            ("on_lapse", *on_lapse != other.on_lapse),
            ("overrun", *overrun != other.overrun),
        ];
        fields.into_iter().filter_map(|(name, differs)| differs.then_some(name)).collect()
    }
}

/// A hold as the ledger keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Hold {
    /// Its name inside the account.
    pub id: HoldId,
    /// Its number inside the bucket, in order of creation.
    pub number: i64,
    /// The number of its account.
    pub account_number: i64,
    /// What it is found by.
    #[serde(skip)]
    pub key: KeyHash,
    /// The call that made it.
    #[serde(skip)]
    pub token: CallToken,
    /// Where it stands.
    pub state: HoldState,
    /// What the reserve, or the charge without one, asked for; none for a tombstone.
    pub terms: Option<Arc<Terms>>,
    /// Whether it was charged without a reserve.
    pub direct: bool,
    /// The choices pinned in it.
    pub policy: Policy,
    /// The largest believable cost, pinned in it.
    pub ceiling: Option<Amount>,
    /// The windows of budgets it is charged to, pinned in it.
    pub windows: Vec<Charged>,
    /// The last entry of its account that names it; 0: none does, it is a tombstone.
    pub seq: u64,
    /// What it took of lots, by their numbers; the rest is the base lot's.
    pub takes: Vec<Take>,
    /// Money set aside now.
    pub held: Amount,
    /// What it held when it was closed.
    pub held_at_close: Amount,
    /// Usage reported so far.
    pub reported: Quantity,
    /// What it costs until somebody says better; only while it is lapsed.
    pub provisional: Quantity,
    /// The owner's first settlement, or the debit that made it.
    pub settled_as: Option<Quantity>,
    /// What it cost, once that is final.
    pub actual: Option<Quantity>,
    /// What of the cost was collected.
    pub captured: Amount,
    /// What of the cost was not.
    pub written_off: Amount,
    /// What was given back of what was collected.
    pub refunded: Amount,
    /// When it was made.
    pub opened_at: Timestamp,
    /// When its lease is over.
    pub deadline: Timestamp,
    /// When it was closed, provisionally or not.
    pub closed_at: Option<Timestamp>,
    /// From when the sweeper looks at it again; none once it is final.
    #[serde(skip)]
    pub due: Option<Timestamp>,
}

impl Hold {
    /// An open hold with no money in it yet, made by nobody's call.
    pub fn new(
        id: HoldId,
        number: i64,
        account_number: i64,
        key: KeyHash,
        pinned: Pinned,
        opened_at: Timestamp,
    ) -> Self {
        let Pinned { terms, direct, policy, ceiling, windows } = pinned;
        let deadline = opened_at.saturating_add(policy.lease.ttl);
        Self {
            id,
            number,
            account_number,
            key,
            token: CallToken::default(),
            state: HoldState::Open,
            terms,
            direct,
            policy,
            ceiling,
            windows,
            takes: Vec::new(),
            held: Amount::ZERO,
            held_at_close: Amount::ZERO,
            reported: Quantity::ZERO,
            provisional: Quantity::ZERO,
            settled_as: None,
            actual: None,
            captured: Amount::ZERO,
            written_off: Amount::ZERO,
            refunded: Amount::ZERO,
            opened_at,
            deadline,
            closed_at: None,
            due: Some(deadline.saturating_add(policy.lease.grace)),
            seq: 0,
        }
    }

    /// What the hold costs as far as is known: final, provisional, or reported so far.
    pub fn cost(&self) -> Quantity {
        match self.state {
            HoldState::Open => self.reported,
            HoldState::Lapsed => self.provisional,
            HoldState::Settled | HoldState::Released | HoldState::Sealed => self.actual.unwrap_or_default(),
        }
    }

    /// Whether its cost is final.
    pub fn is_final(&self) -> bool {
        match self.state {
            HoldState::Open | HoldState::Lapsed => false,
            HoldState::Settled | HoldState::Released | HoldState::Sealed => true,
        }
    }

    /// Whether it is final and none of its entries comes after number `closed`: then its account's books are closed over
    /// it. A tombstone is in no entry, and is never too old.
    pub fn is_closed_over(&self, closed: u64) -> bool {
        self.is_final() && (1..=closed).contains(&self.seq)
    }

    /// What may still be refunded.
    pub fn refundable(&self) -> Amount {
        self.captured.saturating_sub(self.refunded)
    }

    /// What would have gone back to lots but for their expiry.
    pub fn forfeited(&self) -> Amount {
        self.takes.iter().fold(Amount::ZERO, |sum, take| sum.checked_add(take.forfeited).unwrap_or(Amount::MAX))
    }

    /// What it counts for in a budget of `metric`: while it is open what it sets aside, then what it used. An attempt
    /// that was released, or lapsed at nothing, counts for nothing.
    pub fn tally(&self, metric: Metric) -> Tally {
        let units = |amount: Amount| amount.minor_units().unsigned_abs();
        let cost = self.cost();
        let asked = self.terms.as_deref().map_or(0, |terms| terms.tokens);
        let counts = match self.state {
            HoldState::Open | HoldState::Settled => true,
            HoldState::Released => false,
            HoldState::Lapsed | HoldState::Sealed => cost != Quantity::ZERO,
        };
        let (held, used) = match metric {
            Metric::Spend => (units(self.held), units(cost.cost.saturating_sub(self.refunded))),
            Metric::Requests => (1, u64::from(counts)),
            Metric::Tokens => (asked, cost.tokens),
        };
        if self.state == HoldState::Open { Tally { used: 0, held } } else { Tally { used, held: 0 } }
    }

    /// The model it asks.
    pub fn model(&self) -> Option<&ModelName> {
        self.terms.as_deref()?.model.as_ref()
    }

    /// What revenue of it is split by.
    pub fn label(&self) -> Option<&Label> {
        self.terms.as_deref()?.label.as_ref()
    }

    /// The prices it is charged at.
    pub fn tariff(&self) -> Option<TariffHash> {
        self.terms.as_deref()?.tariff
    }
}

impl Serialize for TariffHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        display(self, serializer)
    }
}

impl<'de> Deserialize<'de> for TariffHash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digit = |at: usize| u8::from_str_radix(text.get(at..at.saturating_add(2))?, 16).ok();
        let bytes: Option<Vec<u8>> = (0..text.len()).step_by(2).map(digit).collect();
        let read = bytes.as_deref().and_then(Self::from_slice);
        read.ok_or_else(|| serde::de::Error::custom(format!("not a tariff's hash: {text:.64}")))
    }
}
