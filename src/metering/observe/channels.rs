//! The text that was delivered, counted channel by channel.

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
    open: Vec<(Channel, TextCounter)>,
    closed: Delivered,
}

impl Channels {
    const OPEN_MAX: usize = 128;

    pub(super) fn new(vocabulary: Vocabulary) -> Self {
        Self { vocabulary, open: Vec::new(), closed: Delivered::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    pub(super) fn push(&mut self, channel: Channel, text: &str) {
        if text.is_empty() {
            return;
        }
        // The channel at hand is nearly always the last one.
        if let Some((_, counter)) = self.open.iter_mut().rev().find(|(open, _)| *open == channel) {
            counter.push(text);
            return;
        }
        if self.open.len() >= Self::OPEN_MAX {
            let (channel, counter) = self.open.remove(0);
            add(&mut self.closed, channel.kind, &counter);
        }
        let mut counter = TextCounter::new(self.vocabulary.clone());
        counter.push(text);
        self.open.push((channel, counter));
    }

    /// What was counted, all channels together.
    pub(super) fn delivered(&self) -> Delivered {
        let mut delivered = self.closed;
        delivered.is_exact = self.vocabulary.is_at_hand();
        for (channel, counter) in &self.open {
            add(&mut delivered, channel.kind, counter);
        }
        delivered
    }
}

fn add(delivered: &mut Delivered, kind: Kind, counter: &TextCounter) {
    let count = counter.count();
    delivered.slack = delivered.slack.saturating_add(counter.slack());
    match kind {
        Kind::Text | Kind::ToolArguments => delivered.output = delivered.output.saturating_add(count),
        Kind::ToolName => {
            delivered.output = delivered.output.saturating_add(count);
            delivered.calls = delivered.calls.saturating_add(1);
        }
        Kind::Reasoning => delivered.reasoning = delivered.reasoning.saturating_add(count),
    }
}
