//! What an entry moved in lots and windows: so that whoever follows the journal need not know any hold.

use super::codec::{Malformed, Reader, Writer, read_amount, read_number, write_amount};
use super::{Amount, Tally, Timestamp};

/// Lots whose free money an entry changed, and windows it counted in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Moves {
    /// The lots, by number.
    pub lots: Vec<LotMove>,
    /// The windows, by budget and time.
    pub windows: Vec<WindowMove>,
}

/// What became of a lot's free money.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LotMove {
    /// The lot's number.
    pub lot: u32,
    /// What was free before the entry; nothing of a lot it made.
    pub was: Amount,
    /// What is free after it.
    pub is: Amount,
}

/// What became of a window's counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowMove {
    /// The budget's number.
    pub budget: u32,
    /// When the window began.
    pub start: Timestamp,
    /// What was counted before the entry.
    pub was: Tally,
    /// What is counted after it.
    pub is: Tally,
}

impl Moves {
    /// Whether nothing moved.
    pub fn is_empty(&self) -> bool {
        self.lots.is_empty() && self.windows.is_empty()
    }

    /// Appends the canonical bytes; nothing where nothing moved.
    pub(crate) fn write(&self, writer: &mut Writer) {
        if self.is_empty() {
            return;
        }
        writer.list(&self.lots, |writer, moved| {
            writer.unsigned(u64::from(moved.lot));
            write_amount(writer, moved.was);
            write_amount(writer, moved.is);
        });
        writer.list(&self.windows, |writer, moved| {
            writer.unsigned(u64::from(moved.budget));
            writer.signed(moved.start.as_micros());
            [moved.was, moved.is].iter().for_each(|tally| {
                writer.unsigned(tally.used);
                writer.unsigned(tally.held);
            });
        });
    }

    /// Reads what [`Moves::write`] wrote behind a body.
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        if reader.is_empty() {
            return Ok(Self::default());
        }
        let lots = reader.list(|reader| {
            Ok(LotMove { lot: read_number(reader)?, was: read_amount(reader)?, is: read_amount(reader)? })
        })?;
        let windows = reader.list(|reader| {
            let budget = read_number(reader)?;
            let start = Timestamp::from_micros(reader.signed()?);
            let mut tally = || Ok(Tally { used: reader.unsigned()?, held: reader.unsigned()? });
            Ok(WindowMove { budget, start, was: tally()?, is: tally()? })
        })?;
        let moves = Self { lots, windows };
        if moves.is_empty() { Err(Malformed("moves")) } else { Ok(moves) }
    }
}
