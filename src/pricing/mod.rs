//! Prices: how usage becomes an amount.
//!
//! A [`PriceBook`] holds the prices of many models; a [`Tariff`] those of one, pinned by a hold and named by the hash of
//! its content. A tariff gives a [`Quote`] before a request (the worst case) and a [`Charge`] after it. Both are exact
//! products of whole counts and decimal rates, summed exactly and rounded **up** once, at the end: whatever was used
//! within what was quoted never costs more than the quote. [`explain`] prints a charge line by line.
//!
//! What a price list says and a tariff cannot express is never dropped in silence: a model that is sold by something
//! that no usage counts has no tariff ([`PriceError::NotPerToken`]), and side prices (tools, video) are named by
//! [`Tariff::unpriced`] and in every explanation.
//!
//! A gateway looks a model up in its book ([`PriceBook::tariff_of`]), selects what the request asks for
//! ([`Tariff::at_tier`], [`Tariff::with_uplift`], [`Tariff::at`] its time), quotes, and reserves with that tariff.
//!
//! ```
//! use prepaid::Asset;
//! use prepaid::pricing::{Tariff, explain};
//! use prepaid::tokens::{TokenClass, Usage};
//!
//! let tariff = Tariff::per_million("gpt-4o").input("2.50").cache_read("1.25").output("10").build()?;
//! let quote = tariff.quote_request(1_000, 500, Asset::USD)?;
//! assert_eq!(Asset::USD.format(quote.amount()), "0.007500000");
//!
//! let usage = Usage::new().with(TokenClass::Input, 200).with(TokenClass::CacheRead, 800).with(TokenClass::Output, 99);
//! let charge = tariff.charge(&usage, Asset::USD)?;
//! assert_eq!(charge.exact().to_string(), "0.00249");
//! assert!(charge.amount() <= quote.amount());
//! println!("{}", explain(&charge));
//! # Ok::<(), prepaid::pricing::PriceError>(())
//! ```

mod book;
mod builder;
mod charge;
mod content;
mod exact;
mod explain;
mod hours;
mod load;
mod names;
mod quote;
mod rates;
mod tariff;

pub use book::{Merge, PriceBook};
pub use builder::TariffBuilder;
pub use charge::{Charge, Item, Line};
pub use content::{Adjustment, AdjustmentKind};
pub use exact::Exact;
pub use explain::{Explanation, explain};
pub use hours::Hours;
pub use quote::Quote;
pub use rates::ServiceTier;
pub use tariff::Tariff;

use crate::model::Asset;
pub use crate::model::{BookHash, TariffHash};
use crate::tokens::TokenClass;

/// Why there is no price, quote or charge. The message names the model and the input.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PriceError {
    /// The price list is not what it should be: JSON or TOML that cannot be read, or a model listed twice.
    #[error("price list cannot be read: {0}")]
    MalformedList(String),
    /// A price is no number, has a value or shape that makes no sense, or a model lacks a name.
    #[error("price cannot be read: {model}: {field}: {input}")]
    MalformedPrice {
        /// The model it belongs to.
        model: String,
        /// The field of the price list, or the name of the rate.
        field: String,
        /// What was read.
        input: String,
    },
    /// A price is below zero.
    #[error("price is below zero: {model}: {field}: {input}")]
    NegativePrice {
        /// The model it belongs to.
        model: String,
        /// The field of the price list, or the name of the rate.
        field: String,
        /// What was read.
        input: String,
    },
    /// A price needs more than 28 digits, before and behind the point together. It is refused, never rounded.
    #[error("price has more than 28 digits: {model}: {field}: {input}")]
    TooPrecise {
        /// The model it belongs to.
        model: String,
        /// The field of the price list, or the name of the rate.
        field: String,
        /// What was read.
        input: String,
    },
    /// No price is known for this model. Nothing may be charged as if it were free.
    #[error("no price for this model: {model}")]
    UnknownModel {
        /// What was asked for.
        model: String,
    },
    /// The price list knows the model, but no price of what can be counted.
    #[error("model has no price per token: {model}: {reason}")]
    NotPerToken {
        /// The model.
        model: String,
        /// What the list has instead.
        reason: String,
    },
    /// The tariff has no rate for a class that was used or asked for.
    #[error("no rate for {}: {model}", class.name())]
    NoRate {
        /// The model.
        model: String,
        /// The class without a rate.
        class: TokenClass,
    },
    /// The tariff has no such surcharge.
    #[error("no such uplift: {model}: {uplift}")]
    UnknownUplift {
        /// The model.
        model: String,
        /// What was asked for.
        uplift: String,
    },
    /// Hours of the day, a day of the week or a time zone that are none.
    #[error("hours cannot be read: {0}")]
    MalformedHours(String),
    /// No service tier has this name.
    #[error("unknown service tier: {0}")]
    UnknownTier(String),
    /// The account's asset is not in the currency of the tariff.
    #[error("tariff of {model} is in {currency}, asset is {asset}")]
    WrongCurrency {
        /// The model.
        model: String,
        /// The currency of the tariff.
        currency: String,
        /// The asset that was asked for.
        asset: Asset,
    },
    /// The cost does not fit an amount of the asset, or its exact value 128 bits.
    #[error("cost is out of range: {model}")]
    OutOfRange {
        /// The model.
        model: String,
    },
    /// Stored bytes are not a tariff in canonical form.
    #[error("not a tariff: {0}")]
    MalformedTariff(String),
    /// Stored bytes are not the evidence of a charge.
    #[error("not the evidence of a charge: {0}")]
    MalformedEvidence(String),
}

impl PriceError {
    fn flaw(flaw: exact::Flaw, model: &str, field: &str, input: &str) -> Self {
        let (model, field, input) = (clip(model), clip(field), clip(input));
        match flaw {
            exact::Flaw::Malformed => Self::MalformedPrice { model, field, input },
            exact::Flaw::Negative => Self::NegativePrice { model, field, input },
            exact::Flaw::TooPrecise => Self::TooPrecise { model, field, input },
        }
    }
}

/// The beginning of an input, short enough for a message.
fn clip(text: &str) -> String {
    const SHOWN_MAX: usize = 120;
    let shown: String = text.chars().take(SHOWN_MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN_MAX).is_some() { format!("{shown}… ({} bytes)", text.len()) } else { shown }
}
