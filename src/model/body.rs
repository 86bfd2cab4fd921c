//! The part of an entry that is not money: all that deriving it again needs, in versioned canonical bytes.

use std::sync::Arc;
use std::time::Duration;

use super::budget::{read_window, write_window};
use super::codec::{Malformed, Reader, Writer, read_amount, read_number, read_quantity, write_amount, write_quantity};
use super::lot::{read_lot, read_renewed, read_take, write_renewed, write_take};
use super::{
    Amount, Asset, Cap, Charged, Checkpoint, Hold, HoldState, Label, Lease, Limits, LotPart, LotTerms, Metric,
    ModelName, Moves, OnLapse, Overrun, Policy, Quantity, Renewed, Scope, Status, Take, TariffHash, Terms, Window,
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
        /// What of it came out of lots other than the base lot.
        lots: Vec<LotPart>,
    },
    /// A hold was made on these terms.
    Reserve {
        /// What is pinned in it.
        pinned: Pinned,
        /// What it took of lots.
        takes: Vec<Take>,
    },
    /// A hold was raised.
    Extend {
        /// What it has of lots now.
        takes: Vec<Take>,
    },
    /// A hold was closed, or its cost replaced.
    Close(CloseBody),
    /// Money was given back.
    Refund {
        /// What the hold has to do with lots now.
        takes: Vec<Take>,
        /// Lots made for what would have gone back to expired ones.
        renewed: Vec<Renewed>,
    },
    /// A lot was granted, with as much as was moved.
    Grant {
        /// Its number.
        lot: u32,
        /// What it is.
        terms: Arc<LotTerms>,
    },
    /// The free rest of this lot expired.
    LotExpiry(u32),
    /// A budget was made, changed or removed.
    Budget(BudgetBody),
    /// The account's limits and policy became these.
    Limits(Limits, Policy),
    /// The account's status became this, for this reason.
    Status(Status, Arc<str>),
    /// The past up to a cut was archived, and the account stood like this there.
    Checkpoint(Arc<Checkpoint>),
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
    /// The windows of budgets it is charged to.
    pub windows: Vec<Charged>,
}

/// How a budget is from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BudgetBody {
    /// Its number inside the account.
    pub number: u32,
    /// What it limits; none: the whole account.
    pub scope: Option<Scope>,
    /// The time it is a limit for.
    pub window: Window,
    /// What it counts, and the limit.
    pub cap: Cap,
    /// Whether it limits anything.
    pub active: bool,
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
    /// What it has to do with lots now.
    pub takes: Vec<Take>,
    /// What is pinned in a hold that no reserve made.
    pub pinned: Option<Pinned>,
    /// How the cost was arrived at.
    pub evidence: Option<Arc<[u8]>>,
}

const VERSION: u8 = 1;

impl Body {
    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        self.encode_with(&Moves::default())
    }

    /// The canonical bytes of an entry that says this and moved that.
    pub(crate) fn encode_with(&self, moves: &Moves) -> Vec<u8> {
        let mut writer = Writer::with_capacity(96);
        writer.byte(VERSION);
        match self {
            Self::Open(open) => {
                writer.byte(1);
                writer.bytes(open.asset.to_string().as_bytes());
                write_limits(&mut writer, &open.limits);
                write_policy(&mut writer, &open.policy);
            }
            Self::Money { against, reason, lots } => {
                writer.byte(2);
                writer.option(*against, |writer, against| writer.byte(against.code()));
                writer.option(reason.as_deref(), |writer, reason| writer.bytes(reason.as_bytes()));
                writer.list(lots, |writer, part| {
                    writer.unsigned(u64::from(part.lot));
                    write_amount(writer, part.amount);
                });
            }
            Self::Reserve { pinned, takes } => {
                writer.byte(3);
                pinned.write(&mut writer);
                writer.list(takes, write_take);
            }
            Self::Extend { takes } => {
                writer.byte(4);
                writer.list(takes, write_take);
            }
            Self::Close(close) => {
                writer.byte(5);
                close.write(&mut writer);
            }
            Self::Refund { takes, renewed } => {
                writer.byte(6);
                writer.list(takes, write_take);
                writer.list(renewed, write_renewed);
            }
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
            Self::Grant { lot, terms } => {
                writer.byte(9);
                writer.unsigned(u64::from(*lot));
                terms.write(&mut writer);
            }
            Self::LotExpiry(lot) => {
                writer.byte(10);
                writer.unsigned(u64::from(*lot));
            }
            Self::Budget(budget) => {
                writer.byte(11);
                budget.write(&mut writer);
            }
            Self::Checkpoint(checkpoint) => {
                writer.byte(12);
                checkpoint.write(&mut writer);
            }
        }
        moves.write(&mut writer);
        writer.finish()
    }

    /// Reads canonical bytes back.
    ///
    /// # Errors
    /// [`Malformed`] for anything [`Body::encode`] of this version did not write.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        Self::decode_with(bytes).map(|(body, _)| body)
    }

    /// Reads the canonical bytes of an entry back: what it says and what it moved.
    pub(super) fn decode_with(bytes: &[u8]) -> Result<(Self, Moves), Malformed> {
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
                lots: reader.list(|reader| Ok(LotPart { lot: read_number(reader)?, amount: read_amount(reader)? }))?,
            },
            3 => Self::Reserve { pinned: Pinned::read(&mut reader)?, takes: reader.list(read_take)? },
            4 => Self::Extend { takes: reader.list(read_take)? },
            5 => Self::Close(CloseBody::read(&mut reader)?),
            6 => Self::Refund { takes: reader.list(read_take)?, renewed: reader.list(read_renewed)? },
            7 => Self::Limits(read_limits(&mut reader)?, read_policy(&mut reader)?),
            8 => Self::Status(Status::from_code(reader.byte()?)?, reader.text()?.into()),
            9 => Self::Grant { lot: read_number(&mut reader)?, terms: read_lot(&mut reader)? },
            10 => Self::LotExpiry(read_number(&mut reader)?),
            11 => Self::Budget(BudgetBody::read(&mut reader)?),
            12 => Self::Checkpoint(Arc::new(Checkpoint::read(&mut reader)?)),
            _ => return Err(Malformed("kind of body")),
        };
        let moves = Moves::read(&mut reader)?;
        reader.finish()?;
        Ok((body, moves))
    }
}

impl Pinned {
    /// What is pinned in `hold`.
    pub fn of(hold: &Hold) -> Self {
        Self {
            terms: hold.terms.clone(),
            direct: hold.direct,
            policy: hold.policy,
            ceiling: hold.ceiling,
            windows: hold.windows.clone(),
        }
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
        writer.list(&self.windows, write_window);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            terms: reader.option(Terms::read)?.map(Arc::new),
            direct: reader.byte()? == 1,
            policy: read_policy(reader)?,
            ceiling: reader.option(read_amount)?,
            windows: reader.list(read_window)?,
        })
    }
}

impl BudgetBody {
    pub(super) fn write(&self, writer: &mut Writer) {
        writer.unsigned(u64::from(self.number));
        writer.option(self.scope.as_ref(), |writer, scope| writer.bytes(scope.as_str().as_bytes()));
        writer.bytes(self.window.to_string().as_bytes());
        writer.byte(self.cap.metric().code());
        writer.unsigned(self.cap.limit());
        writer.byte(u8::from(self.active));
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            number: read_number(reader)?,
            scope: reader.option(|reader| Scope::new(reader.text()?).map_err(|_| Malformed("scope")))?,
            window: reader.text()?.parse().map_err(|_| Malformed("window"))?,
            cap: Cap::from_parts(Metric::from_code(reader.byte()?)?, reader.unsigned()?)?,
            active: reader.byte()? == 1,
        })
    }
}

impl Terms {
    pub(super) fn write(&self, writer: &mut Writer) {
        write_amount(writer, self.amount);
        writer.option(self.min, write_amount);
        writer.option(self.label.as_ref(), |writer, label| writer.bytes(label.as_str().as_bytes()));
        writer.option(self.model.as_ref(), |writer, model| writer.bytes(model.as_str().as_bytes()));
        writer.list(&self.scopes, |writer, scope| writer.bytes(scope.as_str().as_bytes()));
        writer.unsigned(self.tokens);
        writer.option(self.tariff, |writer, tariff| writer.bytes(tariff.as_bytes()));
        writer.option(self.on_lapse, |writer, choice| writer.byte(choice.code()));
        writer.option(self.overrun, |writer, choice| writer.byte(choice.code()));
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let amount = read_amount(reader)?;
        let min = reader.option(read_amount)?;
        let label = reader.option(|reader| Label::new(reader.text()?).map_err(|_| Malformed("label")))?;
        let model = reader.option(read_model)?;
        let scopes = reader.list(|reader| Scope::new(reader.text()?).map_err(|_| Malformed("scope")))?;
        let tokens = reader.unsigned()?;
        let tariff = |reader: &mut Reader<'_>| TariffHash::from_slice(reader.bytes()?).ok_or(Malformed("tariff"));
        Ok(Self {
            amount,
            min,
            label,
            model,
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
        writer.list(&self.takes, write_take);
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
            takes: reader.list(read_take)?,
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

pub(super) fn read_model(reader: &mut Reader<'_>) -> Result<ModelName, Malformed> {
    ModelName::new(reader.text()?).map_err(|_| Malformed("model"))
}

pub(super) fn write_limits(writer: &mut Writer, limits: &Limits) {
    write_amount(writer, limits.credit);
    writer.option(limits.debt, write_amount);
    writer.option(limits.open_holds, |writer, holds| writer.unsigned(u64::from(holds)));
    writer.option(limits.hold, write_amount);
    writer.option(limits.held, write_amount);
    writer.option(limits.ceiling, write_amount);
}

pub(super) fn read_limits(reader: &mut Reader<'_>) -> Result<Limits, Malformed> {
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

pub(super) fn write_policy(writer: &mut Writer, policy: &Policy) {
    writer.byte(policy.on_lapse.code());
    writer.byte(policy.overrun.code());
    for span in [policy.lease.ttl, policy.lease.grace, policy.lease.late] {
        writer.unsigned(u64::try_from(span.as_micros()).unwrap_or(u64::MAX));
    }
}

pub(super) fn read_policy(reader: &mut Reader<'_>) -> Result<Policy, Malformed> {
    let on_lapse = OnLapse::from_code(reader.byte()?)?;
    let overrun = Overrun::from_code(reader.byte()?)?;
    let mut span = || reader.unsigned().map(Duration::from_micros);
    Ok(Policy { on_lapse, overrun, lease: Lease { ttl: span()?, grace: span()?, late: span()? } })
}
