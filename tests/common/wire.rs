//! A wire format for tests of everything but wire formats: a dot is an output token, and `!` is the provider's last word.

use prepaid::metering::observe::Observer;
use prepaid::pricing::Tariff;
use prepaid::tokens::{Certainty, TokenClass, Usage, UsageReport};

/// Counts the dots that pass by.
#[derive(Debug, Default)]
pub struct Dots {
    seen: u64,
    last_word: bool,
}

impl Observer for Dots {
    fn feed(&mut self, bytes: &[u8]) {
        self.seen += bytes.iter().filter(|byte| **byte == b'.').count() as u64;
        self.last_word |= bytes.contains(&b'!');
    }

    fn body(&mut self, bytes: &[u8]) {
        self.feed(bytes);
    }

    fn finish(&mut self) {}

    fn is_final(&self) -> bool {
        self.last_word
    }

    fn report(&self) -> UsageReport {
        let certainty = if self.last_word { Certainty::Reported } else { Certainty::Counted };
        UsageReport::new(Usage::new().with(TokenClass::Output, self.seen), certainty)
    }
}

/// One dot costs one unit of `USD/9`.
pub fn tariff() -> std::sync::Arc<Tariff> {
    Tariff::per_million("dots").input("0").output("0.001").build().unwrap().into()
}
