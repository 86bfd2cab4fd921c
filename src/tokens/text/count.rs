//! Counting the tokens of a text that arrives bit by bit.

use super::super::span::Span;
use super::cut::{self, Seams};
use super::vocabulary::Vocabulary;

/// Counts the tokens of one text that arrives in pieces, exactly as if it had been counted whole.
///
/// Tokens of the pieces do not add up to the tokens of the text: with one counter per delta a bill would be up to
/// twice too high. So a counter keeps the end of the text until it is sure which tokens it makes. Use one counter per
/// text: per content block, per choice, per channel, and for a tool's name and its arguments.
///
/// Each byte is counted once, apart from those of the short tail. Memory is bounded: a tail without a safe cut in 64
/// KiB (a text of one endless word) is cut anywhere, and one in 4 KiB if nobody knows where the vocabulary's texts may be
/// cut; [`TextCounter::slack`] says what that may cost.
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
    /// What is not counted yet. Before it the last character that is, if the vocabulary minds how a text begins: behind
    /// a safe cut the tail's tokens are then those of both less those of the character.
    tail: String,
    /// The bytes of that character, and its tokens.
    seen: (usize, u64),
    /// How often a text was cut where that is not known to be safe.
    forced: u64,
    /// Where the text ended when it was marked.
    mark: Mark,
}

/// Where a text ended, and how many tokens it had there.
#[derive(Clone, Copy, Debug)]
enum Mark {
    Nowhere,
    /// After so many bytes of the tail. They are counted when somebody asks, or when the tail is.
    InTail(usize),
    Counted(u64),
}

const TAIL_BYTES_MAX: usize = 64 * 1024;
/// It is counted at each look, so it is short where it is the rule.
const UNKNOWN_TAIL_BYTES_MAX: usize = 4 * 1024;
/// Much more than a cut ever cost in texts made to find out.
const SLACK_PER_CUT: u64 = 8;

impl TextCounter {
    /// A counter of an empty text.
    pub fn new(vocabulary: Vocabulary) -> Self {
        Self { vocabulary, counted: 0, tail: String::new(), seen: (0, 0), forced: 0, mark: Mark::Nowhere }
    }

    /// Hears the next piece of the text.
    pub fn push(&mut self, text: &str) {
        let mut rest = text;
        while !rest.is_empty() {
            let room = self.tail_bytes_max().saturating_sub(self.tail.len());
            let (now, later) = split_within(rest, room);
            if now.is_empty() {
                self.force();
                continue;
            }
            let old = self.tail.len();
            self.tail.push_str(now);
            if let Some(cut) = cut::last_safe(&self.tail, old, self.vocabulary.seams()) {
                self.count_tail(cut, self.vocabulary.minds_beginnings());
            }
            rest = later;
        }
    }

    /// Tokens so far. Counts the tail anew, so ask when the number is needed, not at every delta of a long word.
    pub fn count(&self) -> u64 {
        self.counted.saturating_add(self.count_of(&self.tail))
    }

    /// Marks where the text ends now, without counting it.
    pub(crate) fn mark(&mut self) {
        self.mark = Mark::InTail(self.tail.len());
    }

    /// What [`count`](Self::count) said where the text was marked last, if it was. May count a tail, as that does.
    pub(crate) fn count_at_mark(&self) -> Option<u64> {
        match self.mark {
            Mark::Nowhere => None,
            Mark::InTail(to) => Some(self.counted.saturating_add(self.count_of(self.tail.get(..to)?))),
            Mark::Counted(count) => Some(count),
        }
    }

    /// No fewer tokens than [`count`](Self::count) says, without counting: a token is at least one byte, and what some
    /// vocabularies put before a text is one more.
    pub fn ceiling(&self) -> u64 {
        self.counted.saturating_add(u64::try_from(self.tail.len()).unwrap_or(u64::MAX)).saturating_add(1)
    }

    /// Whether the count is what the model's own tokenizer says: its vocabulary is at hand, and the text was never cut
    /// by force.
    pub fn is_exact(&self) -> bool {
        self.vocabulary.is_at_hand() && self.forced == 0
    }

    /// By how many tokens, more or fewer, the count may differ from the same vocabulary's count of the whole text: eight
    /// for each time it was cut by force. No cut in the tests costs more than two.
    pub fn slack(&self) -> u64 {
        self.forced.saturating_mul(SLACK_PER_CUT)
    }

    /// What the same vocabulary's count of the whole text lies between: the count and its slack.
    pub fn span(&self) -> Span {
        Span::around(self.count(), self.slack())
    }

    /// Whether nothing was pushed.
    pub fn is_empty(&self) -> bool {
        self.counted == 0 && self.tail.is_empty()
    }

    fn tail_bytes_max(&self) -> usize {
        match self.vocabulary.seams() {
            Seams::Words | Seams::Strangers(_) => TAIL_BYTES_MAX,
            Seams::Unknown => UNKNOWN_TAIL_BYTES_MAX,
        }
    }

    /// Cuts the tail where it most likely does not matter.
    fn force(&mut self) {
        let (seen, _) = self.seen;
        let cut = cut::last_likely(&self.tail, seen).filter(|cut| *cut > seen).unwrap_or(self.tail.len());
        self.count_tail(cut, false);
        self.forced = self.forced.saturating_add(1);
    }

    /// Counts the tail up to a cut, and keeps the character before that, if it is needed.
    fn count_tail(&mut self, to: usize, keeps_last: bool) {
        let Some(head) = self.tail.get(..to) else {
            return;
        };
        let marked = match self.mark {
            Mark::InTail(at) if at <= to => self.count_at_mark().map_or(self.mark, Mark::Counted),
            Mark::Nowhere | Mark::InTail(_) | Mark::Counted(_) => self.mark,
        };
        self.counted = self.counted.saturating_add(self.count_of(head));
        let last = head.chars().next_back().filter(|_| keeps_last).map_or(0, char::len_utf8);
        let gone = to.saturating_sub(last);
        self.tail.drain(..gone);
        self.mark = match marked {
            Mark::InTail(at) => Mark::InTail(at.saturating_sub(gone)),
            Mark::Nowhere | Mark::Counted(_) => marked,
        };
        let tokens = self.tail.get(..last).filter(|_| keeps_last).map_or(0, |last| self.vocabulary.count(last));
        self.seen = (last, tokens);
    }

    /// Tokens of text that begins with what was seen already.
    fn count_of(&self, text: &str) -> u64 {
        #[cfg(test)]
        tests::COUNTED_BYTES.set(tests::COUNTED_BYTES.get() + text.len());
        self.vocabulary.count(text).saturating_sub(self.seen.1)
    }
}

/// Splits off as much as fits in `room` bytes.
fn split_within(text: &str, room: usize) -> (&str, &str) {
    text.split_at_checked(text.floor_char_boundary(room)).unwrap_or((text, ""))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::Cell;

    use super::{TAIL_BYTES_MAX, TextCounter};
    use crate::tokens::Vocabulary;

    thread_local! {
        /// How much text was counted by this thread's counters: the work they did.
        pub(crate) static COUNTED_BYTES: Cell<usize> = const { Cell::new(0) };
    }

    #[test]
    fn a_mark_counts_what_was_there_wherever_the_text_is_cut_later() {
        let long = "w".repeat(TAIL_BYTES_MAX);
        let texts = ["", "one tw", "o, three", " ", &long, "w", ". And", " so on €", &long, &long, "w x"];
        for vocabulary in [Vocabulary::O200k, Vocabulary::Gemma, Vocabulary::Unknown] {
            for marked in 0..texts.len() {
                let mut counter = TextCounter::new(vocabulary.clone());
                assert_eq!(counter.count_at_mark(), None);
                let mut there = 0;
                for (at, text) in texts.iter().enumerate() {
                    counter.push(text);
                    if at == marked {
                        counter.mark();
                        there = counter.count();
                    }
                    let expected = (at >= marked).then_some(there);
                    assert_eq!(counter.count_at_mark(), expected, "{vocabulary:?}: marked at {marked}, asked at {at}");
                }
            }
        }
    }
}
