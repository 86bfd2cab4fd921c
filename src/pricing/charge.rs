//! A charge: what usage costs at a tariff, line by line.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::content::{Adjustment, AdjustmentKind};
use super::exact::Exact;
use super::rates::{Band, ServiceTier};
use super::tariff::Tariff;
use super::{PriceError, clip};
use crate::model::{Amount, Asset, SignedAmount, TariffHash};
use crate::tokens::{Beside, TokenClass, Usage};

/// What usage costs at a tariff: an exact sum of exact products, rounded up once, and all that explains it.
///
/// [`Charge::evidence`] is kept in the journal beside the amount; [`Charge::from_evidence`] reads it again.
#[derive(Clone, PartialEq, Eq)]
pub struct Charge {
    bill: Bill,
    asset: Asset,
    exact: Exact,
    cost: Exact,
    amount: Amount,
}

/// One product of a charge: a count at a rate.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Line {
    /// What is counted.
    pub item: Item,
    /// Whose it is, if not the tariff's model's: another one's that made a step of the response.
    pub model: Option<Arc<str>>,
    /// How many there are.
    pub count: u64,
    /// What one costs.
    pub rate: Exact,
    /// What all cost, before adjustments.
    pub product: Exact,
}

/// What a line of a charge counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Item {
    /// Units of a class.
    Class(TokenClass),
    /// The request itself.
    Request,
}

/// What a charge is made of; everything else follows from it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Bill {
    pub(super) model: Arc<str>,
    pub(super) tariff: TariffHash,
    pub(super) tier: ServiceTier,
    pub(super) off_peak: bool,
    pub(super) lines: Vec<Line>,
    pub(super) adjustments: Arc<[Adjustment]>,
    /// What was used comes before what the list has, so that it is the last to be cut.
    pub(super) unpriced: Vec<String>,
}

/// The form of the evidence.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Evidence {
    v: u8,
    model: Arc<str>,
    tariff: String,
    tier: ServiceTier,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    off_peak: bool,
    asset: String,
    /// Name, count, rate.
    lines: Vec<(String, u64, Exact)>,
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    adjustments: Arc<[Adjustment]>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    unpriced: Vec<String>,
    exact: String,
}

impl Tariff {
    /// What `usage` costs, in units of `asset`: the branch is chosen by all its input, every class is priced at its own
    /// rate, fees and adjustments follow, and the exact sum is rounded up once. Classes that are unknown are not
    /// charged; whether that is right, the certainty of a [`UsageReport`](crate::tokens::UsageReport) says. What is no
    /// token and has no rate is not charged either, and named by [`Charge::unpriced`].
    ///
    /// # Errors
    /// [`PriceError::WrongCurrency`] if the asset is another currency; [`PriceError::NoRate`] if tokens were used that
    /// have no price, or nothing that was used has one; [`PriceError::OutOfRange`] if the sum does not fit an amount.
    pub fn charge(&self, usage: &Usage, asset: Asset) -> Result<Charge, PriceError> {
        self.charge_with(usage, &[], asset)
    }

    /// The same, with what steps of the response used beside that: each at the rates of its own model
    /// ([`Tariff::with_other`]), in the branch that its own prompt chooses, without another fee. Steps of a model whose rates
    /// the tariff lacks are not charged, and named by [`Charge::unpriced`]; so are those of more lines than there is room
    /// for, which are eight.
    ///
    /// # Errors
    /// As [`Tariff::charge`].
    pub fn charge_with(&self, usage: &Usage, beside: &[Beside], asset: Asset) -> Result<Charge, PriceError> {
        let tokens = usage.iter().filter(|(class, count)| class.is_token() && *count > 0);
        let band = self.band(usage.total_input());
        let line = |(class, count)| self.line(class, count, band.and_then(|band| band.rates.charged(class)));
        let mut lines = tokens.map(line).collect::<Result<Vec<_>, _>>()?;
        let unpriced = self.add_units(&mut lines, usage, band)?;
        if let (Some((class, _)), true) = (unpriced.first(), lines.is_empty()) {
            return Err(PriceError::NoRate { model: clip(self.model()), class: *class });
        }
        let mut unpriced = named(&unpriced);
        self.add_steps(&mut lines, &mut unpriced, beside)?;
        self.sum(lines, unpriced, asset)
    }

    /// The same at the rates of the tier that answered, where the tariff has those, else at its own: what
    /// [`Charge::tier`] then says is what is charged. A tariff for batches charges as one whatever is said, for that is
    /// where the request was sent; providers call the tier of their batches `default`, too.
    ///
    /// Steps of other models stay at the tier that [`Tariff::with_other`] took.
    ///
    /// A dearer tier than the one that was quoted can cost more than the quote. Where the provider chooses (`auto`), select
    /// the dearest it may choose: the answer then makes it cheaper, never dearer.
    ///
    /// ```
    /// use prepaid::Asset;
    /// use prepaid::pricing::{ServiceTier, Tariff};
    /// use prepaid::tokens::{TokenClass, Usage};
    ///
    /// let tariff = Tariff::per_million("model").output("10").tier(ServiceTier::Priority).output("20").build()?;
    /// let quoted = tariff.at_tier(ServiceTier::Priority);
    /// let usage = Usage::new().with(TokenClass::Output, 1_000_000);
    /// let charge = quoted.charge_at(ServiceTier::Standard, &usage, &[], Asset::USD)?;
    /// assert_eq!((charge.exact().to_string(), charge.tariff()), ("10".to_owned(), quoted.hash()));
    /// # Ok::<(), prepaid::pricing::PriceError>(())
    /// ```
    ///
    /// # Errors
    /// As [`Tariff::charge`].
    pub fn charge_at(
        &self,
        tier: ServiceTier,
        usage: &Usage,
        beside: &[Beside],
        asset: Asset,
    ) -> Result<Charge, PriceError> {
        let is_priced = tier != self.tier() && self.tiers().any(|known| known == tier);
        if !is_priced || self.tier() == ServiceTier::Batch {
            return self.charge_with(usage, beside, asset);
        }
        self.answered_in(tier).charge_with(usage, beside, asset)
    }

    /// Adds lines of steps; names what has no rate.
    fn add_steps(
        &self,
        lines: &mut Vec<Line>,
        unpriced: &mut Vec<String>,
        beside: &[Beside],
    ) -> Result<(), PriceError> {
        const LINES_MAX: usize = 8;
        let own = lines.len();
        for Beside { model, usage } in beside {
            let band = self.band_of(model.as_deref(), usage.total_input());
            for (class, count) in usage.iter().filter(|(_, count)| *count > 0) {
                let has_room = lines.len() < own.saturating_add(LINES_MAX);
                let rate = band.and_then(|band| band.rates.charged(class));
                let is_same = |line: &&mut Line| {
                    line.item == Item::Class(class) && line.model == *model && Some(line.rate) == rate
                };
                match (lines.iter_mut().find(is_same), rate) {
                    (Some(line), Some(rate)) => {
                        let sum = line.count.checked_add(count).and_then(|sum| Line::new(line.item, sum, rate));
                        let model = line.model.take();
                        *line = Line { model, ..sum.ok_or_else(|| self.out_of_range())? };
                    }
                    (None, Some(rate)) if has_room => {
                        let line = Line::new(Item::Class(class), count, rate).ok_or_else(|| self.out_of_range())?;
                        lines.push(Line { model: model.clone(), ..line });
                    }
                    _ => unpriced.push(format!("{count} x {}", label(Item::Class(class), model.as_deref()))),
                }
            }
        }
        Ok(())
    }

    /// A line of a class, which must have a rate.
    pub(super) fn line(&self, class: TokenClass, count: u64, rate: Option<Exact>) -> Result<Line, PriceError> {
        let rate = rate.ok_or_else(|| PriceError::NoRate { model: clip(self.model()), class })?;
        Line::new(Item::Class(class), count, rate).ok_or_else(|| self.out_of_range())
    }

    /// Adds lines of what is no token; returns what has no rate.
    pub(super) fn add_units(
        &self,
        lines: &mut Vec<Line>,
        usage: &Usage,
        band: Option<&Band>,
    ) -> Result<Vec<(TokenClass, u64)>, PriceError> {
        let mut unpriced = Vec::new();
        for (class, count) in usage.iter().filter(|(class, count)| !class.is_token() && *count > 0) {
            match band.and_then(|band| band.rates.get(class)) {
                Some(rate) => lines.push(self.line(class, count, Some(rate))?),
                None => unpriced.push((class, count)),
            }
        }
        Ok(unpriced)
    }

    /// The sum of lines with fees and adjustments, rounded up.
    pub(super) fn sum(&self, mut lines: Vec<Line>, unpriced: Vec<String>, asset: Asset) -> Result<Charge, PriceError> {
        self.check_currency(asset)?;
        let content = self.content();
        let fee = Some(self.request_fee()).filter(|fee| !fee.is_zero());
        lines.extend(fee.and_then(|fee| Line::new(Item::Request, 1, fee)));
        let bill = Bill {
            model: Arc::clone(&content.model),
            tariff: self.hash(),
            tier: self.tier(),
            off_peak: self.is_off_peak(),
            lines,
            adjustments: Arc::clone(&content.adjustments),
            unpriced: unpriced.into_iter().chain(content.unpriced.iter().cloned()).collect(),
        };
        bill.charge(asset).ok_or_else(|| self.out_of_range())
    }

    fn out_of_range(&self) -> PriceError {
        PriceError::OutOfRange { model: clip(self.model()) }
    }
}

impl Charge {
    /// What is charged.
    pub fn amount(&self) -> Amount {
        self.amount
    }

    /// The same before it was rounded up.
    pub fn exact(&self) -> Exact {
        self.exact
    }

    /// What the provider takes, not rounded: everything but markups and discounts.
    pub fn cost(&self) -> Exact {
        self.cost
    }

    /// What is charged above the provider's cost, which counts as rounded up; below zero, if a discount gives it away.
    pub fn margin(&self) -> SignedAmount {
        self.above(self.cost, self.asset).unwrap_or_default()
    }

    /// What is charged above another charge for the same usage, such as that at the provider's own tariff; `None` if
    /// that is in another asset.
    pub fn margin_over(&self, provider: &Self) -> Option<SignedAmount> {
        self.above(provider.exact, provider.asset)
    }

    /// The asset it is charged in.
    pub fn asset(&self) -> Asset {
        self.asset
    }

    /// The model the prices are of.
    pub fn model(&self) -> &str {
        &self.bill.model
    }

    /// The tariff.
    pub fn tariff(&self) -> TariffHash {
        self.bill.tariff
    }

    /// The service tier that was charged.
    pub fn tier(&self) -> ServiceTier {
        self.bill.tier
    }

    /// Whether it was charged at off-peak rates.
    pub fn is_off_peak(&self) -> bool {
        self.bill.off_peak
    }

    /// What was counted, at which rates; input first, fees last.
    pub fn lines(&self) -> &[Line] {
        &self.bill.lines
    }

    /// The factors that were applied to the sum of the lines.
    pub fn adjustments(&self) -> &[Adjustment] {
        &self.bill.adjustments
    }

    /// What this charge does not contain: what was used and has no rate, with its count, such as `3 x web_search`; then
    /// what the price list has prices for that the tariff cannot express.
    pub fn unpriced(&self) -> impl Iterator<Item = &str> + '_ {
        self.bill.unpriced.iter().map(String::as_str)
    }

    /// Bytes that [`Charge::from_evidence`] reads again: compact JSON, at most
    /// [4096](crate::model::Measured::EVIDENCE_BYTES_MAX) of them. The list of what is unpriced is cut where it would not fit.
    pub fn evidence(&self) -> Vec<u8> {
        const UNPRICED_BYTES_MAX: usize = 600;
        let mut bytes = 0_usize;
        let short = self.bill.unpriced.iter().take_while(|name| {
            // Escaped, a character has at most six bytes for each of its own.
            let plain = name.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
            bytes = bytes.saturating_add(name.len().saturating_mul(if plain { 2 } else { 6 })).saturating_add(3);
            bytes <= UNPRICED_BYTES_MAX
        });
        let unpriced = short.cloned().collect();
        let evidence = Evidence {
            v: 1,
            model: Arc::clone(&self.bill.model),
            tariff: self.bill.tariff.to_string(),
            tier: self.bill.tier,
            off_peak: self.bill.off_peak,
            asset: self.asset.to_string(),
            lines: self.bill.lines.iter().map(|line| (line.label(), line.count, line.rate)).collect(),
            adjustments: Arc::clone(&self.bill.adjustments),
            unpriced,
            exact: self.exact.to_string(),
        };
        // Strings and numbers: there is nothing here that JSON could refuse.
        serde_json::to_vec(&evidence).unwrap_or_default()
    }

    /// The charge that wrote this evidence, computed anew from its counts and rates.
    ///
    /// # Errors
    /// [`PriceError::MalformedEvidence`], also when the sum is not the one that was written.
    pub fn from_evidence(bytes: &[u8]) -> Result<Self, PriceError> {
        let malformed = |reason: &str| PriceError::MalformedEvidence(clip(reason));
        let evidence: Evidence = serde_json::from_slice(bytes).map_err(|error| malformed(&error.to_string()))?;
        if evidence.v != 1 {
            return Err(malformed(&format!("unknown version {}", evidence.v)));
        }
        let asset: Asset = evidence.asset.parse().map_err(|_| malformed(&evidence.asset))?;
        let line = |(label, count, rate): &(String, u64, Exact)| {
            let (name, model) = match label.split_once(OF) {
                Some((name, model)) => (name, Some(Arc::from(model))),
                None => (label.as_str(), None),
            };
            Some(Line { model, ..Line::new(Item::named(name)?, *count, *rate)? })
        };
        let lines = evidence.lines.iter().map(line).collect::<Option<Vec<_>>>();
        let bill = Bill {
            model: evidence.model,
            tariff: read_hash(&evidence.tariff).ok_or_else(|| malformed(&evidence.tariff))?,
            tier: evidence.tier,
            off_peak: evidence.off_peak,
            lines: lines.ok_or_else(|| malformed("a line"))?,
            adjustments: evidence.adjustments,
            unpriced: evidence.unpriced,
        };
        let charge = bill.charge(asset).ok_or_else(|| malformed("out of range"))?;
        if charge.exact.to_string() != evidence.exact {
            return Err(malformed(&format!("sum is {}, not {}", charge.exact, evidence.exact)));
        }
        Ok(charge)
    }

    fn above(&self, cost: Exact, asset: Asset) -> Option<SignedAmount> {
        let cost = rounded_up(cost, asset).filter(|_| asset == self.asset)?;
        self.amount.signed().checked_add(cost.negated()).ok()
    }
}

impl fmt::Debug for Charge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Charge({} {} of {})", self.asset.format(self.amount), self.asset, self.bill.model)
    }
}

impl Line {
    pub(super) fn new(item: Item, count: u64, rate: Exact) -> Option<Self> {
        Some(Self { item, model: None, count, rate, product: rate.checked_times(count)? })
    }

    /// What is counted, and whose it is, if that is another model's: `output of claude-opus-4-7`.
    pub fn label(&self) -> String {
        label(self.item, self.model.as_deref())
    }
}

impl Item {
    /// The name used in explanations and evidence.
    pub fn name(self) -> &'static str {
        match self {
            Self::Class(class) => class.name(),
            Self::Request => "request",
        }
    }

    fn named(name: &str) -> Option<Self> {
        let class = TokenClass::ALL.into_iter().find(|class| class.name() == name).map(Self::Class);
        class.or_else(|| (name == Self::Request.name()).then_some(Self::Request))
    }

    /// Whether the provider's uplifts apply to it.
    fn is_uplifted(self) -> bool {
        match self {
            Self::Class(class) => class.is_token(),
            Self::Request => false,
        }
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Bill {
    /// Sums and rounds; `None` if a number does not fit.
    fn charge(self, asset: Asset) -> Option<Charge> {
        let sum = |uplifted: bool| {
            let lines = self.lines.iter().filter(|line| line.item.is_uplifted() == uplifted);
            lines.map(|line| line.product).try_fold(Exact::ZERO, Exact::checked_add)
        };
        let factor = |kind| {
            let factors = self.adjustments.iter().filter(move |adjustment| adjustment.kind == kind);
            factors.map(|adjustment| adjustment.factor).try_fold(Exact::ONE, Exact::checked_mul)
        };
        let tokens = sum(true)?.checked_mul(factor(AdjustmentKind::Uplift)?)?;
        let cost = tokens.checked_add(sum(false)?)?.checked_mul(factor(AdjustmentKind::Conversion)?)?;
        let exact = cost.checked_mul(factor(AdjustmentKind::Markup)?)?;
        let amount = rounded_up(exact, asset)?;
        Some(Charge { bill: self, asset, exact, cost, amount })
    }
}

/// The smallest amount of the asset that is not below `exact`.
fn rounded_up(exact: Exact, asset: Asset) -> Option<Amount> {
    let units = exact.ceil_units(u32::from(asset.scale()))?;
    Amount::new(i64::try_from(units).ok()?).ok()
}

/// Between what is counted and the model whose it is.
const OF: &str = " of ";

fn label(item: Item, model: Option<&str>) -> String {
    match model {
        Some(model) => format!("{item}{OF}{model}"),
        None => item.to_string(),
    }
}

/// What was used and has no rate.
pub(super) fn named(unpriced: &[(TokenClass, u64)]) -> Vec<String> {
    unpriced.iter().map(|(class, count)| format!("{count} x {}", class.name())).collect()
}

fn read_hash(text: &str) -> Option<TariffHash> {
    let hash = TariffHash(u128::from_str_radix(text, 16).ok()?.to_be_bytes());
    // Only what is printed: no sign, capitals or other length.
    (hash.to_string() == text).then_some(hash)
}
