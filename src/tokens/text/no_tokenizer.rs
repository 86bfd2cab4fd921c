//! What stands for a tokenizer where no feature can load one: none can exist.

use std::convert::Infallible;

use super::cut::Seams;

#[derive(Debug)]
pub(super) struct Tokenizer {
    none: Infallible,
}

impl Tokenizer {
    pub(super) fn gemma() -> Option<&'static Self> {
        None
    }

    pub(super) fn count(&self, _text: &str) -> u64 {
        match self.none {}
    }

    pub(super) fn seams(&self) -> &Seams {
        match self.none {}
    }
}
