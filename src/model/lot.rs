//! Lots: parts of an account's money that have their own class, expiry and priority.
//!
//! Money without a lot of its own is in the base lot, number 0: paid, without expiry, priority 0, fed by deposits. It has
//! no row, and it alone may be negative: a debt is its negative balance.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::body::{codes, read_model};
use super::codec::{Malformed, Reader, Writer, read_amount, read_number, write_amount};
use super::{Amount, ModelName, Timestamp};

/// Whether a lot is the customer's money or the operator's gift.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LotClass {
    /// Paid for: may be withdrawn, and is breakage if it expires.
    #[default]
    Paid,
    /// Given: never becomes paid money, and ceases to be a cost if it expires.
    Promotional,
}

codes!(LotClass, "lot class", Paid = 0, Promotional = 1);

/// What a lot is: never changed once it is granted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LotTerms {
    /// Whose money it was.
    pub class: LotClass,
    /// From when it can no longer be spent; none: never.
    pub expiry: Option<Timestamp>,
    /// Lots of a higher priority are spent first. The base lot has 0.
    pub priority: i32,
    /// The models it may be spent on, in order, each once; none: all.
    pub models: Vec<ModelName>,
}

/// A lot as the ledger keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Lot {
    /// The number of its account.
    pub account_number: i64,
    /// Its number inside the account, from 1.
    pub number: u32,
    /// What it is.
    pub terms: Arc<LotTerms>,
    /// What it was granted with.
    pub amount: Amount,
    /// What of it is neither set aside nor spent nor expired.
    pub free: Amount,
    /// When it was granted.
    pub created_at: Timestamp,
}

/// Names a lot inside a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LotKey {
    /// The number of its account.
    pub account: i64,
    /// Its number inside the account.
    pub lot: u32,
}

/// A place in the order in which lots are spent, first to last: total, so that the same money always pays.
///
/// Higher priority; then those restricted to models; then the soonest to expire; then the oldest; then the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BurnOrder(Reverse<i32>, bool, bool, Timestamp, Timestamp, u32);

impl Lot {
    /// How long the lot lives that is made for a refund into an expired one.
    pub const RENEWAL: Duration = Duration::from_secs(30 * 24 * 60 * 60);

    /// A lot with all its money free.
    pub fn new(key: LotKey, terms: Arc<LotTerms>, amount: Amount, created_at: Timestamp) -> Self {
        Self { account_number: key.account, number: key.lot, terms, amount, free: amount, created_at }
    }

    /// Its name.
    pub fn key(&self) -> LotKey {
        LotKey { account: self.account_number, lot: self.number }
    }

    /// Whether it can no longer be spent at `now`.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.terms.expiry.is_some_and(|expiry| now >= expiry)
    }

    /// Whether it can be spent on `model` at `now`.
    pub fn is_usable(&self, model: Option<&ModelName>, now: Timestamp) -> bool {
        let models = &self.terms.models;
        !self.is_expired(now) && (models.is_empty() || model.is_some_and(|model| models.contains(model)))
    }

    /// Its place in the order in which lots are spent.
    pub fn burn_order(&self) -> BurnOrder {
        let LotTerms { expiry, priority, models, .. } = &*self.terms;
        let expires = expiry.unwrap_or_default();
        BurnOrder(Reverse(*priority), models.is_empty(), expiry.is_none(), expires, self.created_at, self.number)
    }
}

impl BurnOrder {
    /// The place of the base lot.
    pub const BASE: Self = Self(Reverse(0), true, true, Timestamp::from_micros(0), Timestamp::from_micros(i64::MIN), 0);
}

/// What a hold has to do with one lot. The base lot has none: its part is the rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Take {
    /// The lot's number.
    pub lot: u32,
    /// What the hold sets aside of it.
    pub held: Amount,
    /// What the hold spent of it, less what was given back.
    pub used: Amount,
    /// What would have gone back to it but for its expiry.
    pub forfeited: Amount,
}

impl Take {
    /// Nothing of a lot yet.
    pub fn of(lot: u32) -> Self {
        Self { lot, ..Self::default() }
    }

    /// Whether there is nothing between the hold and the lot any more.
    pub fn is_nothing(&self) -> bool {
        self.held.is_zero() && self.used.is_zero() && self.forfeited.is_zero()
    }

    /// All that the hold took and the lot has not got back.
    pub fn total(&self) -> Result<Amount, super::AmountOverflow> {
        self.held.checked_add(self.used)?.checked_add(self.forfeited)
    }
}

/// A part of a lot that an operation without a hold took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LotPart {
    /// The lot's number.
    pub lot: u32,
    /// How much of it.
    pub amount: Amount,
}

/// A lot made for a refund into an expired one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renewed {
    /// The expired lot.
    pub from: u32,
    /// The new one's number.
    pub lot: u32,
    /// What the new one is.
    pub terms: Arc<LotTerms>,
    /// What was refunded into it.
    pub amount: Amount,
}

impl LotTerms {
    /// The models as a store keeps them: names with a space between them; none if all models may.
    pub fn models_text(&self) -> Option<String> {
        let names: Vec<_> = self.models.iter().map(ModelName::as_str).collect();
        (!names.is_empty()).then(|| names.join(" "))
    }

    /// Appends the canonical bytes.
    pub(crate) fn write(&self, writer: &mut Writer) {
        writer.byte(self.class.code());
        writer.option(self.expiry, |writer, expiry| writer.signed(expiry.as_micros()));
        writer.signed(i64::from(self.priority));
        writer.list(&self.models, |writer, model| writer.bytes(model.as_str().as_bytes()));
    }

    /// Reads what [`LotTerms::models_text`] wrote.
    ///
    /// # Errors
    /// [`Malformed`] when it is something else.
    pub fn models_from_text(text: &str) -> Result<Vec<ModelName>, Malformed> {
        text.split(' ').map(|name| ModelName::new(name).map_err(|_| Malformed("models"))).collect()
    }
}

/// Takes in canonical bytes, as a store keeps them with the hold; none where there are none.
pub fn encode_takes(takes: &[Take]) -> Option<Vec<u8>> {
    let mut writer = Writer::default();
    writer.list(takes, write_take);
    (!takes.is_empty()).then(|| writer.finish())
}

/// Reads canonical bytes back.
///
/// # Errors
/// [`Malformed`] for anything [`encode_takes`] did not write.
pub fn decode_takes(bytes: &[u8]) -> Result<Vec<Take>, Malformed> {
    let mut reader = Reader::new(bytes);
    let takes = reader.list(read_take)?;
    reader.finish()?;
    Ok(takes)
}

pub(super) fn write_take(writer: &mut Writer, take: &Take) {
    writer.unsigned(u64::from(take.lot));
    [take.held, take.used, take.forfeited].into_iter().for_each(|part| write_amount(writer, part));
}

pub(super) fn read_take(reader: &mut Reader<'_>) -> Result<Take, Malformed> {
    Ok(Take {
        lot: read_number(reader)?,
        held: read_amount(reader)?,
        used: read_amount(reader)?,
        forfeited: read_amount(reader)?,
    })
}

pub(super) fn read_lot(reader: &mut Reader<'_>) -> Result<Arc<LotTerms>, Malformed> {
    Ok(Arc::new(LotTerms {
        class: LotClass::from_code(reader.byte()?)?,
        expiry: reader.option(|reader| reader.signed().map(Timestamp::from_micros))?,
        priority: i32::try_from(reader.signed()?).map_err(|_| Malformed("priority"))?,
        models: reader.list(read_model)?,
    }))
}

pub(super) fn write_renewed(writer: &mut Writer, renewed: &Renewed) {
    writer.unsigned(u64::from(renewed.from));
    writer.unsigned(u64::from(renewed.lot));
    renewed.terms.write(writer);
    write_amount(writer, renewed.amount);
}

pub(super) fn read_renewed(reader: &mut Reader<'_>) -> Result<Renewed, Malformed> {
    Ok(Renewed {
        from: read_number(reader)?,
        lot: read_number(reader)?,
        terms: read_lot(reader)?,
        amount: read_amount(reader)?,
    })
}
