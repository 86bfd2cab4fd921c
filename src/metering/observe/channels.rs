//! The text that was delivered, counted channel by channel.

use std::cell::OnceCell;

use crate::tokens::{Delivered, TextCounter, Vocabulary};

/// A run of text that the model wrote as one: tokens never span two of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Channel {
    pub(super) kind: Kind,
    /// Which answer, block or item of the response.
    pub(super) index: u64,
    /// Which part of it, where it has parts (the calls of one answer).
    pub(super) part: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Reasoning,
    ToolName,
    ToolArguments,
}

impl Channel {
    pub(super) fn text(index: u64) -> Self {
        Self { kind: Kind::Text, index, part: 0 }
    }

    pub(super) fn reasoning(index: u64) -> Self {
        Self { kind: Kind::Reasoning, index, part: 0 }
    }

    pub(super) fn tool_name(index: u64, part: u64) -> Self {
        Self { kind: Kind::ToolName, index, part }
    }

    pub(super) fn tool_arguments(index: u64, part: u64) -> Self {
        Self { kind: Kind::ToolArguments, index, part }
    }
}

/// A counter for each channel. At most [`Channels::OPEN_MAX`] at a time: a response that interleaves more has the
/// oldest of them closed, which may cost a token each time.
#[derive(Debug)]
pub(super) struct Channels {
    vocabulary: Vocabulary,
    open: Vec<Open>,
    closed: Delivered,
    /// What of the closed ones was there when all were marked.
    closed_at_mark: Delivered,
}

/// A channel that may go on, with what was counted of it. Usage may come with every event, and a sliced stream is
/// looked at with every chunk: what did not grow is not counted anew.
#[derive(Debug)]
struct Open {
    channel: Channel,
    counter: TextCounter,
    count: OnceCell<u64>,
    count_at_mark: OnceCell<Option<u64>>,
}

impl Channels {
    const OPEN_MAX: usize = 128;

    pub(super) fn new(vocabulary: Vocabulary) -> Self {
        Self { vocabulary, open: Vec::new(), closed: Delivered::default(), closed_at_mark: Delivered::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    pub(super) fn push(&mut self, channel: Channel, text: &str) {
        if text.is_empty() {
            return;
        }
        // The channel at hand is nearly always the last one.
        if let Some(open) = self.open.iter_mut().rev().find(|open| open.channel == channel) {
            open.push(text);
            return;
        }
        if self.open.len() >= Self::OPEN_MAX {
            let oldest = self.open.remove(0);
            oldest.add_to(&mut self.closed);
            oldest.add_mark_to(&mut self.closed_at_mark);
        }
        let mut open = Open::new(channel, TextCounter::new(self.vocabulary.clone()));
        open.push(text);
        self.open.push(open);
    }

    /// Marks what is there now, for [`Channels::at_mark`]; counts nothing.
    pub(super) fn mark(&mut self) {
        self.closed_at_mark = self.closed;
        self.open.iter_mut().for_each(Open::mark);
    }

    /// What was counted, all channels together.
    pub(super) fn delivered(&self) -> Delivered {
        let mut delivered = self.closed;
        delivered.is_exact = self.vocabulary.is_at_hand();
        self.open.iter().for_each(|open| open.add_to(&mut delivered));
        delivered
    }

    /// What was counted of what was there at the last mark; nothing, if none was made.
    pub(super) fn at_mark(&self) -> Delivered {
        let mut delivered = self.closed_at_mark;
        self.open.iter().for_each(|open| open.add_mark_to(&mut delivered));
        delivered
    }
}

impl Open {
    fn new(channel: Channel, counter: TextCounter) -> Self {
        Self { channel, counter, count: OnceCell::new(), count_at_mark: OnceCell::new() }
    }

    fn push(&mut self, text: &str) {
        self.counter.push(text);
        self.count.take();
    }

    fn mark(&mut self) {
        self.counter.mark();
        self.count_at_mark = self.count.get().map_or_else(OnceCell::new, |count| OnceCell::from(Some(*count)));
    }

    fn add_to(&self, delivered: &mut Delivered) {
        delivered.slack = delivered.slack.saturating_add(self.counter.slack());
        add(delivered, self.channel.kind, *self.count.get_or_init(|| self.counter.count()));
    }

    fn add_mark_to(&self, delivered: &mut Delivered) {
        if let Some(count) = self.count_at_mark.get_or_init(|| self.counter.count_at_mark()) {
            add(delivered, self.channel.kind, *count);
        }
    }
}

fn add(delivered: &mut Delivered, kind: Kind, count: u64) {
    match kind {
        Kind::Text | Kind::ToolArguments => delivered.output = delivered.output.saturating_add(count),
        Kind::ToolName => {
            delivered.output = delivered.output.saturating_add(count);
            delivered.calls = delivered.calls.saturating_add(1);
        }
        Kind::Reasoning => delivered.reasoning = delivered.reasoning.saturating_add(count),
    }
}

#[cfg(test)]
mod tests {
    use super::{Channel, Channels};
    use crate::tokens::{COUNTED_BYTES, Vocabulary};

    /// Bytes that were counted for what `work` did.
    fn counted(work: impl FnOnce()) -> usize {
        let before = COUNTED_BYTES.get();
        work();
        COUNTED_BYTES.get() - before
    }

    #[test]
    fn what_did_not_grow_is_not_counted_anew() {
        let word = "w".repeat(60_000);
        let mut channels = Channels::new(Vocabulary::O200k);
        (0..128).for_each(|index| channels.push(Channel::text(index), &word));
        let mut sum = channels.delivered();
        for _ in 0..1_000 {
            let again = counted(|| {
                channels.mark();
                assert_eq!((channels.delivered(), channels.at_mark().output), (sum, sum.output));
            });
            assert_eq!(again, 0);
        }
        let again = counted(|| {
            channels.push(Channel::text(7), "w");
            sum = channels.delivered();
        });
        assert_eq!(again, word.len() + 1, "one channel grew");
    }

    #[test]
    fn marks_count_no_word_before_it_ends() {
        let mut channels = Channels::new(Vocabulary::O200k);
        let work = counted(|| {
            for _ in 0..3_000 {
                channels.push(Channel::text(0), "abcdefghijklmnopqrst");
                channels.mark();
            }
            assert_eq!(channels.at_mark().output, channels.delivered().output);
        });
        assert!(work <= 2 * 60_000, "{work} bytes were counted for 60,000");
    }

    #[test]
    fn channels_that_were_closed_are_in_their_mark() {
        let mut channels = Channels::new(Vocabulary::O200k);
        channels.push(Channel::tool_name(0, 0), "search");
        channels.push(Channel::reasoning(0), "so it is");
        channels.mark();
        let (there, output) = (channels.delivered(), channels.delivered().output);
        (1..200).for_each(|index| channels.push(Channel::text(index), "word"));
        let marked = channels.at_mark();
        assert_eq!((marked.output, marked.reasoning, marked.calls), (output, there.reasoning, 1));
        channels.mark();
        assert_eq!(channels.at_mark().output, channels.delivered().output);
    }
}
