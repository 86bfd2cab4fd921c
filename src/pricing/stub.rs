//! Prices; the rest of this room follows.

use crate::model::{Amount, Asset, TariffHash};
use crate::tokens::Usage;

/// The prices of one model.
#[derive(Debug)]
pub struct Tariff;

/// What usage costs.
#[derive(Clone, Debug)]
pub struct Charge;

impl Tariff {
    /// The name of its content.
    pub fn hash(&self) -> TariffHash {
        TariffHash::default()
    }

    /// Its content.
    pub fn to_bytes(&self) -> Vec<u8> {
        Vec::new()
    }

    /// Reads its content.
    ///
    /// # Errors
    /// None yet.
    pub fn from_bytes(_: &[u8]) -> Result<Self, String> {
        Ok(Self)
    }

    /// Prices usage.
    ///
    /// # Errors
    /// None yet.
    pub fn charge(&self, _: &Usage, _: Asset) -> Result<Charge, String> {
        Ok(Charge)
    }
}

impl Charge {
    /// What is charged.
    pub fn amount(&self) -> Amount {
        Amount::ZERO
    }

    /// Bytes that explain it.
    pub fn evidence(&self) -> Vec<u8> {
        Vec::new()
    }
}
