//! Counting the tokens of a text that arrives bit by bit.

use super::cut;
use super::vocabulary::Vocabulary;

/// Counts the tokens of one text that arrives in pieces, exactly as if it had been counted whole.
///
/// Tokens of the pieces do not add up to the tokens of the text: with one counter per delta a bill would be up to
/// twice too high. So a counter keeps the end of the text until it is sure which tokens it makes. Use one counter per
/// text: per content block, per choice, per channel, and for a tool's name and its arguments.
///
/// Each byte is counted once, apart from those of the short tail. Memory is bounded: a tail without a safe cut in 64
/// KiB (a text of one endless word) is cut anywhere, which costs a token or two of accuracy.
///
/// ```
/// # #[cfg(feature = "o200k")] {
/// use prepaid::tokens::{TextCounter, Vocabulary};
///
/// let mut counter = TextCounter::new(Vocabulary::O200k);
/// for delta in ["Hel", "lo, wo", "rld"] {
///     counter.push(delta);
/// }
/// assert_eq!(counter.count(), Vocabulary::O200k.count("Hello, world"));
/// assert!(counter.is_exact());
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct TextCounter {
    vocabulary: Vocabulary,
    counted: u64,
    tail: String,
    forced: bool,
}

const TAIL_BYTES_MAX: usize = 64 * 1024;

impl TextCounter {
    /// A counter of an empty text.
    pub fn new(vocabulary: Vocabulary) -> Self {
        Self { vocabulary, counted: 0, tail: String::new(), forced: false }
    }

    /// Hears the next piece of the text.
    pub fn push(&mut self, text: &str) {
        let mut rest = text;
        while !rest.is_empty() {
            let room = TAIL_BYTES_MAX.saturating_sub(self.tail.len());
            let (now, later) = split_within(rest, room);
            if now.is_empty() {
                self.count_tail(self.tail.len());
                self.forced = true;
                continue;
            }
            let old = self.tail.len();
            self.tail.push_str(now);
            if let Some(cut) = cut::last_safe(&self.tail, old) {
                self.count_tail(cut);
            }
            rest = later;
        }
    }

    /// Tokens so far. Counts the tail anew, so ask when the number is needed, not at every delta of a long word.
    pub fn count(&self) -> u64 {
        self.counted.saturating_add(self.vocabulary.count(&self.tail))
    }

    /// No fewer tokens than [`count`](Self::count) says, without counting: a token is at least one byte.
    pub fn ceiling(&self) -> u64 {
        self.counted.saturating_add(u64::try_from(self.tail.len()).unwrap_or(u64::MAX))
    }

    /// Whether the count is what the model's own tokenizer says: its vocabulary is built in, and the tail was never cut
    /// by force.
    pub fn is_exact(&self) -> bool {
        self.vocabulary.is_built_in() && !self.forced
    }

    /// Whether nothing was pushed.
    pub fn is_empty(&self) -> bool {
        self.counted == 0 && self.tail.is_empty()
    }

    fn count_tail(&mut self, to: usize) {
        if let Some(head) = self.tail.get(..to) {
            self.counted = self.counted.saturating_add(self.vocabulary.count(head));
            self.tail.drain(..to);
        }
    }
}

/// Splits off as much as fits in `room` bytes.
fn split_within(text: &str, room: usize) -> (&str, &str) {
    text.split_at_checked(text.floor_char_boundary(room)).unwrap_or((text, ""))
}
