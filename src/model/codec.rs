//! Canonical bytes: one way to write each value, so that equal content has equal bytes.
//!
//! Unsigned numbers are base-128 varints, lowest group first, in as few bytes as they need; signed ones are zigzag
//! coded first; byte strings and lists have their length before them; an option is one byte, 0 or 1, and then the value.

use super::{Amount, Quantity};

/// Stored canonical bytes that this version cannot read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stored bytes are not in the canonical form of this version: {0}")]
pub struct Malformed(pub &'static str);

/// Appends canonical bytes.
#[derive(Debug, Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0
    }

    pub(crate) fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    pub(crate) fn unsigned(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(low_bits(value) | 0x80);
            value >>= 7;
        }
        self.0.push(low_bits(value));
    }

    pub(crate) fn signed(&mut self, value: i64) {
        self.unsigned(((value << 1) ^ (value >> 63)).cast_unsigned());
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.unsigned(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn list<T>(&mut self, values: &[T], mut write: impl FnMut(&mut Self, &T)) {
        self.unsigned(u64::try_from(values.len()).unwrap_or(u64::MAX));
        values.iter().for_each(|value| write(self, value));
    }

    pub(crate) fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        match value {
            None => self.byte(0),
            Some(value) => {
                self.byte(1);
                write(self, value);
            }
        }
    }
}

/// Reads canonical bytes back.
#[derive(Debug)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Refuses bytes that nobody read.
    pub(crate) fn finish(self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed("trailing bytes")) }
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Malformed> {
        let (first, rest) = self.0.split_first().ok_or(Malformed("too short"))?;
        self.0 = rest;
        Ok(*first)
    }

    pub(crate) fn unsigned(&mut self) -> Result<u64, Malformed> {
        let mut value: u64 = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            let shifted = bits << shift;
            if shifted >> shift != bits {
                break;
            }
            value |= shifted;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed("number too long"))
    }

    pub(crate) fn signed(&mut self) -> Result<i64, Malformed> {
        let coded = self.unsigned()?;
        let magnitude = (coded >> 1).cast_signed();
        Ok(if coded & 1 == 0 { magnitude } else { !magnitude })
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = usize::try_from(self.unsigned()?).map_err(|_| Malformed("too short"))?;
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(Malformed("too short"))?;
        self.0 = rest;
        Ok(bytes)
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed("not UTF-8"))
    }

    pub(crate) fn list<T>(
        &mut self,
        mut read: impl FnMut(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        (0..self.unsigned()?).map(|_| read(self)).collect()
    }

    pub(crate) fn option<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Option<T>, Malformed> {
        match self.byte()? {
            0 => Ok(None),
            1 => read(self).map(Some),
            _ => Err(Malformed("option")),
        }
    }
}

fn low_bits(value: u64) -> u8 {
    u8::try_from(value & 0x7f).unwrap_or(0)
}

pub(crate) fn write_amount(writer: &mut Writer, amount: Amount) {
    writer.unsigned(amount.minor_units().unsigned_abs());
}

pub(crate) fn read_amount(reader: &mut Reader<'_>) -> Result<Amount, Malformed> {
    let units = i64::try_from(reader.unsigned()?).map_err(|_| Malformed("amount"))?;
    Amount::new(units).map_err(|_| Malformed("amount"))
}

pub(crate) fn read_number(reader: &mut Reader<'_>) -> Result<u32, Malformed> {
    u32::try_from(reader.unsigned()?).map_err(|_| Malformed("number"))
}

pub(crate) fn write_quantity(writer: &mut Writer, quantity: Quantity) {
    write_amount(writer, quantity.cost);
    writer.unsigned(quantity.tokens);
}

pub(crate) fn read_quantity(reader: &mut Reader<'_>) -> Result<Quantity, Malformed> {
    Ok(Quantity { cost: read_amount(reader)?, tokens: reader.unsigned()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_back() {
        for value in [0, 1, -1, 63, 64, -64, -65, 1 << 59, -(1 << 59), i64::MAX, i64::MIN] {
            let mut writer = Writer::default();
            writer.signed(value);
            writer.unsigned(value.cast_unsigned());
            let bytes = writer.finish();
            let mut reader = Reader::new(&bytes);
            assert_eq!(reader.signed(), Ok(value));
            assert_eq!(reader.unsigned(), Ok(value.cast_unsigned()));
            reader.finish().unwrap();
        }
    }

    #[test]
    fn damaged_bytes_are_errors() {
        for bytes in [&[][..], &[0x80], &[0xff; 11], &[5, 1, 2]] {
            assert!(Reader::new(bytes).bytes().is_err(), "{bytes:?}");
        }
    }
}
