//! Prices: what a quote promises, what a charge says, and what price lists and other implementations agree on.
//!
//! `PREPAID_PRICES=<folder>` reads the price lists and reference costs there instead of the shipped part of them;
//! `PREPAID_COST_CASES=<file>` checks a further file of reference costs against the same list.

mod assets;
mod cases;
mod charges;
mod damage;
mod genai;
mod lists;
#[cfg(feature = "sqlite")]
mod pinned;
mod quotes;
mod usage;

use std::path::PathBuf;

/// The text of a price list or a file of reference costs.
fn text(name: &str) -> String {
    let folder = std::env::var_os("PREPAID_PRICES")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/prices"), PathBuf::from);
    let path = folder.join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
