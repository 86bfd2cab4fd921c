//! The part of an entry that is not money: all that deriving it again needs, in versioned canonical bytes.

use std::sync::Arc;
use std::time::Duration;

use super::codec::{Malformed, Reader, Writer};
use super::{
    Amount, Asset, Hold, HoldState, Label, Lease, Limits, OnLapse, Overrun, Policy, Quantity, Scope, Status,
    TariffHash, Terms,
};

/// What an entry says besides its postings.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Body {
    /// The account was opened like this.
    Open(OpenBody),
    /// Money moved for this reason.
    Money {
        /// Which ledger account an adjustment is against; none for the other operations.
        against: Option<Against>,
        /// The operator's words.
        reason: Option<Arc<str>>,
    },
    /// A hold was made on these terms.
    Reserve(Pinned),
    /// A hold was raised.
    Extend,
    /// A hold was closed, or its cost replaced.
    Close(CloseBody),
    /// Money was given back.
    Refund,
    /// The account's limits and policy became these.
    Limits(Limits, Policy),
    /// The account's status became this, for this reason.
    Status(Status, Arc<str>),
}

/// How an account was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenBody {
    /// What its amounts are amounts of.
    pub asset: Asset,
    /// Bounds it is held to.
    pub limits: Limits,
    /// What its holds are made with.
    pub policy: Policy,
}

/// The ledger account an adjustment is made against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Against {
    /// Money that came in or went out after all: a chargeback, a bank's correction.
    Funding,
    /// Goodwill.
    Promotion,
    /// Revenue.
    Revenue,
    /// Cost that was not collected.
    WriteOff,
}

/// What is pinned in a hold when it is made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pinned {
    /// What the reserve, or the charge without one, asked for; none for a tombstone.
    pub terms: Option<Arc<Terms>>,
    /// Whether it was charged without a reserve.
    pub direct: bool,
    /// The choices it is judged by.
    pub policy: Policy,
    /// The largest believable cost.
    pub ceiling: Option<Amount>,
}

/// How a hold stands after it was closed or corrected.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CloseBody {
    /// Its state.
    pub state: HoldState,
    /// Its cost, provisional while it is lapsed.
    pub cost: Quantity,
    /// What of the cost is collected.
    pub captured: Amount,
    /// What of it is not.
    pub written_off: Amount,
    /// What was reported while it was open.
    pub reported: Quantity,
    /// Whether an operator let a cost above the ceiling pass.
    pub above_ceiling: bool,
    /// What is pinned in a hold that no reserve made.
    pub pinned: Option<Pinned>,
    /// How the cost was arrived at.
    pub evidence: Option<Arc<[u8]>>,
}

const VERSION: u8 = 1;

impl Body {
    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(96);
        writer.byte(VERSION);
        match self {
            Self::Open(open) => {
                writer.byte(1);
                writer.bytes(open.asset.to_string().as_bytes());
                write_limits(&mut writer, &open.limits);
                write_policy(&mut writer, &open.policy);
            }
            Self::Money { against, reason } => {
                writer.byte(2);
                writer.option(*against, |writer, against| writer.byte(against.code()));
                writer.option(reason.as_deref(), |writer, reason| writer.bytes(reason.as_bytes()));
            }
            Self::Reserve(pinned) => {
                writer.byte(3);
                pinned.write(&mut writer);
            }
            Self::Extend => writer.byte(4),
            Self::Close(close) => {
                writer.byte(5);
                close.write(&mut writer);
            }
            Self::Refund => writer.byte(6),
            Self::Limits(limits, policy) => {
                writer.byte(7);
                write_limits(&mut writer, limits);
                write_policy(&mut writer, policy);
            }
            Self::Status(status, reason) => {
                writer.byte(8);
                writer.byte(status.code());
                writer.bytes(reason.as_bytes());
            }
        }
        writer.finish()
    }

    /// Reads canonical bytes back.
    ///
    /// # Errors
    /// [`Malformed`] for anything [`Body::encode`] of this version did not write.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        if reader.byte()? != VERSION {
            return Err(Malformed("version"));
        }
        let body = match reader.byte()? {
            1 => Self::Open(OpenBody {
                asset: reader.text()?.parse().map_err(|_| Malformed("asset"))?,
                limits: read_limits(&mut reader)?,
                policy: read_policy(&mut reader)?,
            }),
            2 => Self::Money {
                against: reader.option(|reader| Against::from_code(reader.byte()?))?,
                reason: reader.option(|reader| reader.text().map(Arc::from))?,
            },
            3 => Self::Reserve(Pinned::read(&mut reader)?),
            4 => Self::Extend,
            5 => Self::Close(CloseBody::read(&mut reader)?),
            6 => Self::Refund,
            7 => Self::Limits(read_limits(&mut reader)?, read_policy(&mut reader)?),
            8 => Self::Status(Status::from_code(reader.byte()?)?, reader.text()?.into()),
            _ => return Err(Malformed("kind of body")),
        };
        reader.finish()?;
        Ok(body)
    }
}

impl Pinned {
    /// What is pinned in `hold`.
    pub fn of(hold: &Hold) -> Self {
        Self { terms: hold.terms.clone(), direct: hold.direct, policy: hold.policy, ceiling: hold.ceiling }
    }

    /// The canonical bytes, as a store keeps them with the hold.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(64);
        self.write(&mut writer);
        writer.finish()
    }

    /// Reads canonical bytes back.
    ///
    /// # Errors
    /// [`Malformed`] for anything [`Pinned::encode`] of this version did not write.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let pinned = Self::read(&mut reader)?;
        reader.finish()?;
        Ok(pinned)
    }

    fn write(&self, writer: &mut Writer) {
        writer.option(self.terms.as_deref(), |writer, terms| terms.write(writer));
        writer.byte(u8::from(self.direct));
        write_policy(writer, &self.policy);
        writer.option(self.ceiling, write_amount);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            terms: reader.option(Terms::read)?.map(Arc::new),
            direct: reader.byte()? == 1,
            policy: read_policy(reader)?,
            ceiling: reader.option(read_amount)?,
        })
    }
}

impl Terms {
    fn write(&self, writer: &mut Writer) {
        write_amount(writer, self.amount);
        writer.option(self.min, write_amount);
        writer.option(self.label.as_ref(), |writer, label| writer.bytes(label.as_str().as_bytes()));
        writer.unsigned(u64::try_from(self.scopes.len()).unwrap_or(u64::MAX));
        self.scopes.iter().for_each(|scope| writer.bytes(scope.as_str().as_bytes()));
        writer.unsigned(self.tokens);
        writer.option(self.tariff, |writer, tariff| writer.bytes(tariff.as_bytes()));
        writer.option(self.on_lapse, |writer, choice| writer.byte(choice.code()));
        writer.option(self.overrun, |writer, choice| writer.byte(choice.code()));
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let amount = read_amount(reader)?;
        let min = reader.option(read_amount)?;
        let label = reader.option(|reader| Label::new(reader.text()?).map_err(|_| Malformed("label")))?;
        let mut scopes = Vec::new();
        for _ in 0..reader.unsigned()? {
            scopes.push(Scope::new(reader.text()?).map_err(|_| Malformed("scope"))?);
        }
        let tokens = reader.unsigned()?;
        let tariff = |reader: &mut Reader<'_>| TariffHash::from_slice(reader.bytes()?).ok_or(Malformed("tariff"));
        Ok(Self {
            amount,
            min,
            label,
            scopes,
            tokens,
            tariff: reader.option(tariff)?,
            on_lapse: reader.option(|reader| OnLapse::from_code(reader.byte()?))?,
            overrun: reader.option(|reader| Overrun::from_code(reader.byte()?))?,
        })
    }
}

impl CloseBody {
    fn write(&self, writer: &mut Writer) {
        writer.byte(self.state.code());
        write_quantity(writer, self.cost);
        write_amount(writer, self.captured);
        write_amount(writer, self.written_off);
        write_quantity(writer, self.reported);
        writer.byte(u8::from(self.above_ceiling));
        writer.option(self.pinned.as_ref(), |writer, pinned| pinned.write(writer));
        writer.option(self.evidence.as_deref(), Writer::bytes);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            state: HoldState::from_code(reader.byte()?)?,
            cost: read_quantity(reader)?,
            captured: read_amount(reader)?,
            written_off: read_amount(reader)?,
            reported: read_quantity(reader)?,
            above_ceiling: reader.byte()? == 1,
            pinned: reader.option(Pinned::read)?,
            evidence: reader.option(|reader| reader.bytes().map(Arc::from))?,
        })
    }
}

macro_rules! codes {
    ($name:ty, $what:literal, $($variant:ident = $code:literal),+) => {
        impl $name {
            /// The number it is stored as.
            pub fn code(self) -> u8 {
                match self { $(Self::$variant => $code),+ }
            }

            /// From the number it is stored as.
            ///
            /// # Errors
            /// [`Malformed`] for a number that stands for nothing.
            pub fn from_code(code: u8) -> Result<Self, Malformed> {
                match code { $($code => Ok(Self::$variant),)+ _ => Err(Malformed($what)) }
            }
        }
    };
}
pub(super) use codes;

codes!(Status, "status", Active = 0, Frozen = 1, Closed = 2);
codes!(HoldState, "hold state", Open = 0, Lapsed = 1, Settled = 2, Released = 3, Sealed = 4);
codes!(OnLapse, "on_lapse", Release = 0, CaptureReported = 1, CaptureHeld = 2);
codes!(Overrun, "overrun", Debt = 0, CapToAvailable = 1, CapToHold = 2);
codes!(Against, "ledger account", Funding = 0, Promotion = 1, Revenue = 2, WriteOff = 3);

fn write_amount(writer: &mut Writer, amount: Amount) {
    writer.unsigned(amount.minor_units().unsigned_abs());
}

fn read_amount(reader: &mut Reader<'_>) -> Result<Amount, Malformed> {
    let units = i64::try_from(reader.unsigned()?).map_err(|_| Malformed("amount"))?;
    Amount::new(units).map_err(|_| Malformed("amount"))
}

fn write_quantity(writer: &mut Writer, quantity: Quantity) {
    write_amount(writer, quantity.cost);
    writer.unsigned(quantity.tokens);
}

fn read_quantity(reader: &mut Reader<'_>) -> Result<Quantity, Malformed> {
    Ok(Quantity { cost: read_amount(reader)?, tokens: reader.unsigned()? })
}

fn write_limits(writer: &mut Writer, limits: &Limits) {
    write_amount(writer, limits.credit);
    writer.option(limits.debt, write_amount);
    writer.option(limits.open_holds, |writer, holds| writer.unsigned(u64::from(holds)));
    writer.option(limits.hold, write_amount);
    writer.option(limits.held, write_amount);
    writer.option(limits.ceiling, write_amount);
}

fn read_limits(reader: &mut Reader<'_>) -> Result<Limits, Malformed> {
    let holds = |reader: &mut Reader<'_>| u32::try_from(reader.unsigned()?).map_err(|_| Malformed("open holds"));
    Ok(Limits {
        credit: read_amount(reader)?,
        debt: reader.option(read_amount)?,
        open_holds: reader.option(holds)?,
        hold: reader.option(read_amount)?,
        held: reader.option(read_amount)?,
        ceiling: reader.option(read_amount)?,
    })
}

fn write_policy(writer: &mut Writer, policy: &Policy) {
    writer.byte(policy.on_lapse.code());
    writer.byte(policy.overrun.code());
    for span in [policy.lease.ttl, policy.lease.grace, policy.lease.late] {
        writer.unsigned(u64::try_from(span.as_micros()).unwrap_or(u64::MAX));
    }
}

fn read_policy(reader: &mut Reader<'_>) -> Result<Policy, Malformed> {
    let on_lapse = OnLapse::from_code(reader.byte()?)?;
    let overrun = Overrun::from_code(reader.byte()?)?;
    let mut span = || reader.unsigned().map(Duration::from_micros);
    Ok(Policy { on_lapse, overrun, lease: Lease { ttl: span()?, grace: span()?, late: span()? } })
}
