//! What one response was seen to use, whatever API it came from.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::channels::{Channel, Channels};
use super::expect::{Expected, Reasoning};
use super::figures::Figures;
use crate::tokens::{
    Beside, Bounds, Certainty, Delivered, Remark, Span, TokenClass, Usage, UsageReport, Vocabulary, Yardstick,
};

/// The most a model reasons in one response when nothing limits it: no provider sells more than this.
const REASONING_MAX: u64 = 131_072;

/// Steps that are kept apart; further ones are added to the last one of their model.
const STEPS_MAX: usize = 64;

/// Names that are longer are none.
const NAME_BYTES_MAX: usize = 256;

/// Whether a provider's usage is its last word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// So far: more text, and more usage, will follow.
    SoFar,
    /// For the whole response.
    Last,
}

/// Why an answer stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// The model was done, and is billed for saying so.
    Done,
    /// It had to.
    Limit,
}

/// What was seen so far. The readers of the APIs write here; [`Tally::report`] draws the sum.
#[derive(Debug)]
pub(super) struct Tally {
    expected: Expected,
    model: Option<Arc<str>>,
    tier: Option<Arc<str>>,
    figures: Figures,
    /// The standing of the output figures; none if there are none.
    output: Option<Standing>,
    /// Whether the input figures can still grow.
    input_grows: bool,
    /// Marked where the output figures were written.
    channels: Option<Channels>,
    hides_reasoning: bool,
    /// Audio or images came, whose tokens nobody can count.
    has_media: bool,
    failed: bool,
    /// Why the answer stopped, if it said so.
    stop: Option<Stop>,
    ended: bool,
    /// Whether anything came that is of the API that is read.
    recognised: bool,
    beside: Vec<Beside>,
    remarks: BTreeSet<Remark>,
}

impl Tally {
    pub(super) fn new(expected: Expected) -> Self {
        Self {
            expected,
            model: None,
            tier: None,
            figures: Figures::default(),
            output: None,
            input_grows: false,
            channels: None,
            hides_reasoning: false,
            has_media: false,
            failed: false,
            stop: None,
            ended: false,
            recognised: false,
            beside: Vec::new(),
            remarks: BTreeSet::new(),
        }
    }

    pub(super) fn expected(&mut self) -> &mut Expected {
        &mut self.expected
    }

    pub(super) fn remark(&mut self, remark: Remark) {
        self.remarks.insert(remark);
    }

    /// The response names its model.
    pub(super) fn model(&mut self, model: &str) {
        if model.is_empty() || model.len() > NAME_BYTES_MAX {
            return;
        }
        match &self.model {
            None => self.model = Some(Arc::from(model)),
            // Billed is what was begun with; that it changed is said.
            Some(first) if **first != *model => self.remark(Remark::ModelChanged),
            Some(_) => {}
        }
    }

    /// The response names the service tier that answers. What was asked for (`auto`) is repeated until that is known.
    pub(super) fn tier(&mut self, tier: &str) {
        let is_news = self.tier.as_deref() != Some(tier);
        if is_news && !tier.is_empty() && tier != "auto" && tier.len() <= NAME_BYTES_MAX {
            self.tier = Some(Arc::from(tier));
        }
    }

    /// Something came that no other API says: so what is nowhere to be found was not there, and not missed.
    pub(super) fn recognised(&mut self) {
        self.recognised = true;
    }

    pub(super) fn is_recognised(&self) -> bool {
        self.recognised
    }

    /// Text was delivered.
    pub(super) fn text(&mut self, channel: Channel, text: &str) {
        if text.is_empty() {
            return;
        }
        self.recognised();
        if self.channels.is_none() {
            self.channels = Some(Channels::new(self.vocabulary()));
        }
        if let Some(channels) = &mut self.channels {
            channels.push(channel, text);
        }
    }

    fn vocabulary(&self) -> Vocabulary {
        let Expected { vocabulary, vocabularies, model: asked, .. } = &self.expected;
        let of = |model: &Option<Arc<str>>| model.as_ref().map(|model| vocabularies.of_model(model));
        // A deployment may have any name, so what the response calls itself goes first.
        let answered = of(&self.model).filter(|vocabulary| *vocabulary != Vocabulary::Unknown);
        vocabulary.clone().or(answered).or_else(|| of(asked)).unwrap_or(Vocabulary::Unknown)
    }

    /// The provider said what was used.
    pub(super) fn usage(&mut self, figures: &Figures, standing: Standing) {
        let is_last_word = standing == Standing::Last && self.output != Some(Standing::Last);
        let Self { figures: have, remarks, .. } = self;
        have.raise(figures, is_last_word, &mut |remark| {
            remarks.insert(remark);
        });
        if figures.output.is_some() {
            self.recognised();
            self.output = Some(standing);
            if let Some(channels) = &mut self.channels {
                channels.mark();
            }
        }
    }

    /// The provider begins to say anew what steps used that its totals leave out.
    pub(super) fn restart_beside(&mut self) {
        self.beside.clear();
    }

    /// The provider said what the next such step used.
    pub(super) fn beside(&mut self, step: Beside) {
        let is_full = self.beside.len() >= STEPS_MAX;
        match self.beside.iter_mut().rev().find(|known| known.model == step.model) {
            Some(known) if is_full => known.usage.add(&step.usage),
            None if is_full => self.remark(Remark::SkippedEvent),
            Some(_) | None => self.beside.push(step),
        }
    }

    /// What the provider said last is its last word after all.
    pub(super) fn settle_usage(&mut self) {
        if self.output.is_some() {
            self.output = Some(Standing::Last);
        }
    }

    /// The input may grow while the provider's own tools run.
    pub(super) fn input_grows(&mut self) {
        self.input_grows = true;
    }

    /// The model reasons, and does not show all of it.
    pub(super) fn hides_reasoning(&mut self) {
        self.hides_reasoning = true;
    }

    /// Audio or an image was delivered.
    pub(super) fn media(&mut self) {
        self.recognised();
        self.has_media = true;
    }

    /// The answer stopped for this reason, in the provider's words; none, if it did not.
    pub(super) fn stopped(&mut self, reason: &str) {
        const LIMITS: [&str; 2] = ["length", "max"];
        if !reason.is_empty() {
            let reason = reason.to_ascii_lowercase();
            let is_limit = LIMITS.iter().any(|limit| reason.contains(limit));
            self.stop = Some(if is_limit { Stop::Limit } else { Stop::Done });
        }
    }

    /// The provider reported an error in place of (the rest of) the response.
    pub(super) fn failed(&mut self) {
        self.recognised();
        self.failed = true;
        self.remark(Remark::UpstreamError);
    }

    /// The response has ended as its protocol says it does.
    pub(super) fn end(&mut self) {
        self.ended = true;
    }

    /// Nothing more comes. A response whose last usage is in has ended, whether or not its protocol marks the end.
    pub(super) fn finish(&mut self) {
        self.ended |= self.output == Some(Standing::Last);
    }

    /// Whether the provider's last word on usage is in, and its response has ended.
    pub(super) fn is_final(&self) -> bool {
        self.ended && self.output == Some(Standing::Last)
    }

    /// What was counted of the response, whatever its provider says.
    pub(super) fn delivered(&self) -> Delivered {
        let mut delivered = self.channels.as_ref().map(Channels::delivered).unwrap_or_default();
        delivered.has_ended = match self.stop {
            Some(stop) => stop == Stop::Done,
            None => self.ended,
        };
        delivered
    }

    fn yardstick(&self) -> Yardstick {
        let model = self.model.as_ref().or(self.expected.model.as_ref());
        self.expected.yardstick.unwrap_or_else(|| Yardstick::of_model(model.map_or("", |model| model)))
    }

    pub(super) fn report(&self) -> UsageReport {
        let mut remarks = self.remarks.clone();
        let split = self.figures.split(&mut |remark| {
            remarks.insert(remark);
        });
        let mut drawn = Drawn::new(split.usage);
        if self.is_refusal() {
            // An error instead of an answer: nothing was generated, and no provider bills for it.
            drawn.set(TokenClass::Input, Span::exactly(0));
            drawn.set(TokenClass::Output, Span::exactly(0));
        } else {
            self.draw_input(&mut drawn, &mut remarks);
            self.draw_output(&mut drawn, &mut remarks);
            self.open_output(&mut drawn);
            if split.unnamed > 0 {
                drawn.set(TokenClass::Reasoning, Span { low: 0, point: split.unnamed, high: split.unnamed });
            }
        }
        let certainty = if drawn.low != drawn.high || drawn.is_open {
            Certainty::Estimated { bounds: Box::new(Bounds { low: drawn.low, high: drawn.high }) }
        } else if self.output.is_some() && !drawn.is_counted {
            Certainty::Reported
        } else {
            Certainty::Counted
        };
        let mut report = UsageReport::new(drawn.point, certainty);
        report.model = self.model.clone().or_else(|| self.expected.model.clone());
        report.tier = self.tier.clone();
        report.remarks = remarks;
        report.beside = self.beside.clone();
        report
    }

    fn is_refusal(&self) -> bool {
        self.failed && self.channels.as_ref().is_none_or(Channels::is_empty) && self.figures == Figures::default()
    }

    fn draw_input(&self, drawn: &mut Drawn, remarks: &mut BTreeSet<Remark>) {
        match (self.figures.input, self.expected.prompt) {
            (Some(_), _) => {
                // Tools that the provider runs put their results into the prompt; how much is only said at the end.
                drawn.is_open |= self.input_grows && self.output != Some(Standing::Last);
                if drawn.is_open {
                    remarks.insert(Remark::InputGrows);
                }
            }
            (None, Some(prompt)) => {
                drawn.set(TokenClass::Input, prompt);
                drawn.is_counted = true;
            }
            (None, None) => {
                remarks.insert(Remark::InputUnknown);
                drawn.is_open = true;
            }
        }
    }

    fn draw_output(&self, drawn: &mut Drawn, remarks: &mut BTreeSet<Remark>) {
        if self.output == Some(Standing::Last) {
            return;
        }
        if self.has_media {
            remarks.insert(Remark::MediaUncounted);
            drawn.is_open = true;
        }
        let yardstick = self.yardstick();
        let mut delivered = self.delivered();
        if self.output.is_some() {
            // What the provider said so far, and what was delivered since. It reports what it hides as it goes.
            remarks.insert(Remark::UsageSoFar);
            delivered = delivered.since(self.channels.as_ref().map(Channels::at_mark).unwrap_or_default());
            drawn.add(TokenClass::Output, yardstick.output(&delivered));
            if delivered.reasoning > 0 {
                drawn.add(TokenClass::Reasoning, yardstick.reasoning(&delivered));
            }
            return;
        }
        drawn.is_counted = true;
        let mut output = yardstick.output(&delivered);
        if self.input_grows {
            output = output.plus(yardstick.hosted);
        }
        drawn.set(TokenClass::Output, output);
        if self.figures.reasoning.is_some() {
            // Said, although the output was not, or not readably.
        } else if self.hides_reasoning || self.model_hides_reasoning() {
            remarks.insert(Remark::HiddenReasoning);
            drawn.set(TokenClass::Reasoning, self.hidden_reasoning(output, &yardstick, &delivered));
        } else if delivered.reasoning > 0 {
            drawn.set(TokenClass::Reasoning, yardstick.reasoning(&delivered));
        }
    }

    /// What could not be read may have been output: as much of it as the request allows.
    fn open_output(&self, drawn: &mut Drawn) {
        let is_unread =
            [Remark::UnreadableEvent, Remark::SkippedEvent].iter().any(|remark| self.remarks.contains(remark));
        if !is_unread || self.output == Some(Standing::Last) {
            return;
        }
        drawn.is_open = true;
        let left = self.expected.max_output.map_or(0, |max| max.saturating_sub(drawn.high.total_output()));
        drawn.add(TokenClass::Output, Span { low: 0, point: 0, high: left });
    }

    fn model_hides_reasoning(&self) -> bool {
        [&self.model, &self.expected.model]
            .into_iter()
            .flatten()
            .any(|model| Reasoning::of_model(model) == Reasoning::Hidden)
    }

    /// Reasoning that is billed and not shown: somewhere between nothing and what the request allows. A summary may
    /// even be longer than what it sums up.
    fn hidden_reasoning(&self, output: Span, yardstick: &Yardstick, delivered: &Delivered) -> Span {
        let shown = yardstick.reasoning(delivered);
        let left = self.expected.max_output.map(|max| max.saturating_sub(output.low));
        let limit = left.into_iter().chain(self.expected.max_reasoning).min().unwrap_or(REASONING_MAX);
        let high = limit.max(shown.high);
        let summed_up = shown.point.saturating_mul(yardstick.summary) / 1_000;
        let point = summed_up.max(yardstick.hidden).min(high);
        Span { low: 0, point, high }
    }
}

/// A usage with its bounds, being drawn.
struct Drawn {
    low: Usage,
    point: Usage,
    high: Usage,
    /// Something was counted here, not said by the provider.
    is_counted: bool,
    /// Something is not known at all.
    is_open: bool,
}

impl Drawn {
    fn new(usage: Usage) -> Self {
        Self { low: usage, point: usage, high: usage, is_counted: false, is_open: false }
    }

    fn set(&mut self, class: TokenClass, range: Span) {
        self.low.set(class, Some(range.low));
        self.point.set(class, Some(range.point));
        self.high.set(class, Some(range.high));
    }

    fn add(&mut self, class: TokenClass, range: Span) {
        let plus = |usage: &Usage, more: u64| usage.get(class).unwrap_or(0).saturating_add(more);
        let sum = Span {
            low: plus(&self.low, range.low),
            point: plus(&self.point, range.point),
            high: plus(&self.high, range.high),
        };
        self.set(class, sum);
    }
}
