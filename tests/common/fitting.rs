//! What a yardstick would be if a stream had never been seen: fitted anew to all others.
//!
//! The rules are fixed and the same for every family: points are medians, bounds the extremes with a tenth beyond them.
//! At least three others of a family make its own numbers; where there are fewer, all families' others do.

use prepaid::metering::observe::Observer;
use prepaid::tokens::{Delivered, Remark, Span, TokenClass, Yardstick};

use super::streams::{self, Recording};

/// What a recorded stream teaches.
pub struct Lesson {
    file: String,
    family: String,
    delivered: Delivered,
    /// Billed output, reasoning apart where the provider tells it apart.
    output: u64,
    reasoning: Option<u64>,
    /// Billed reasoning was not shown, or not all of it.
    hides: bool,
    /// The provider ran tools of its own.
    hosted: bool,
}

const OTHERS_MIN: usize = 3;
/// Shorter answers teach how answers are framed, longer ones how text is counted.
const TEXT_MIN: u64 = 60;

/// Models that share a vocabulary, as far as their makers say. A gateway has enough streams to learn each model apart.
pub fn family(model: &str) -> String {
    let since_opus_4_7 = ["opus-4-7", "opus-4-8", "sonnet-5", "fable-5"].iter().find(|word| model.contains(**word));
    let family = ["claude", "grok", "nova", "command", "gemini", "qwen3.5"].iter().find(|word| model.contains(**word));
    since_opus_4_7.map(|_| "opus-4-7").or_else(|| family.copied()).unwrap_or(model).to_owned()
}

pub fn has_hosted_tool(event: &str) -> bool {
    [
        "web_search_call",
        "server_tool_use",
        "code_interpreter_call",
        "mcp_call",
        "compaction",
        "executableCode",
        "groundingMetadata",
    ]
    .iter()
    .any(|word| event.contains(word))
}

impl Lesson {
    pub fn of(recording: &Recording) -> Self {
        let mut observer = recording.observer();
        recording.events.iter().for_each(|event| observer.feed(event.as_bytes()));
        observer.finish();
        let mut blind = recording.observer();
        recording.events.iter().for_each(|event| blind.feed(streams::without_usage(event).as_bytes()));
        blind.finish();
        let (usage, remarks) = (observer.report().usage, blind.report().remarks);
        Self {
            file: recording.file.clone(),
            family: family(&recording.model),
            delivered: observer.delivered(),
            output: usage.get(TokenClass::Output).unwrap_or(0),
            reasoning: usage.get(TokenClass::Reasoning),
            hides: remarks.contains(&Remark::HiddenReasoning),
            hosted: remarks.contains(&Remark::InputGrows) || recording.events.iter().any(|it| has_hosted_tool(it)),
        }
    }

    /// Whether the billed output is the delivered text and no more than its framing.
    fn is_plain(&self) -> bool {
        !(self.hosted || self.hides && self.reasoning.is_none())
    }

    fn is_text(&self) -> bool {
        self.is_plain() && self.delivered.calls == 0
    }
}

/// The yardstick of a recording's model, with every number that was read off recordings fitted to the others.
pub fn without(recording: &Recording, lessons: &[Lesson]) -> Yardstick {
    let others = Others { family: family(&recording.model), lessons, file: &recording.file };
    let mut fitted = Yardstick::of_model(&recording.model);
    let is_exact = others.lessons.iter().any(|it| it.file == recording.file && it.delivered.is_exact);
    // What is counted with the model's own vocabulary follows its public template but for calls.
    if !is_exact {
        let ratio = |lesson: &Lesson| lesson.output * 1_000 / lesson.delivered.output.max(1);
        let is_long = |it: &Lesson| it.is_text() && !it.delivered.is_exact && it.delivered.output >= TEXT_MIN;
        fitted.text = others.spread(is_long, ratio);
        let shown = |it: &Lesson| !it.hides && !it.delivered.is_exact && it.delivered.reasoning >= TEXT_MIN;
        let thought = |it: &Lesson| it.reasoning.unwrap_or(0) * 1_000 / it.delivered.reasoning.max(1);
        let has_thought = |it: &Lesson| shown(it) && it.reasoning.is_some();
        fitted.thought =
            if others.own(has_thought).is_some() { others.spread(has_thought, thought) } else { fitted.text };
        fitted.begin = Span::default();
        let text = fitted.text;
        let beyond = move |it: &Lesson| it.output.saturating_sub(it.delivered.output * text.point / 1_000);
        let is_short = |it: &Lesson| it.is_text() && it.delivered.output < TEXT_MIN && it.delivered.output > 0;
        fitted.end = others.up_to(is_short, beyond);
        let thinks = |it: &Lesson| it.is_plain() && !it.hides && it.delivered.reasoning > 0;
        let around =
            move |it: &Lesson| it.reasoning.unwrap_or(0).saturating_sub(it.delivered.reasoning * text.point / 1_000);
        fitted.think = others.up_to(thinks, around);
    }
    let (text, end) = (fitted.text, fitted.end);
    let counted = move |it: &Lesson| match it.delivered.is_exact {
        true => it.delivered.output,
        false => it.delivered.output * text.point / 1_000 + end.point,
    };
    let calls = |it: &Lesson| it.is_plain() && it.delivered.calls > 0;
    fitted.call = others.spread(calls, |it| it.output.saturating_sub(counted(it)) / it.delivered.calls);
    fitted.hosted = others.up_to(|it| it.hosted && !it.hides, |it| it.output.saturating_sub(counted(it)));
    let is_silent = |it: &Lesson| it.hides && it.reasoning.is_some() && it.delivered.reasoning == 0;
    fitted.hidden = others.spread(is_silent, |it| it.reasoning.unwrap_or(0)).point;
    let sums_up = |it: &Lesson| it.hides && it.reasoning.is_some() && it.delivered.reasoning > 0;
    fitted.summary = others.spread(sums_up, |it| it.reasoning.unwrap_or(0) * 1_000 / it.delivered.reasoning).point;
    fitted
}

/// All streams but one.
struct Others<'a> {
    family: String,
    lessons: &'a [Lesson],
    file: &'a str,
}

impl<'a> Others<'a> {
    fn all(&self, teaches: impl Fn(&Lesson) -> bool) -> Vec<&'a Lesson> {
        self.lessons.iter().filter(|it| it.file != self.file && teaches(it)).collect()
    }

    /// Those of the family, if they are enough.
    fn own(&self, teaches: impl Fn(&Lesson) -> bool) -> Option<Vec<&'a Lesson>> {
        let own = self.all(|it| it.family == self.family && teaches(it));
        (own.len() >= OTHERS_MIN).then_some(own)
    }

    fn numbers(&self, teaches: impl Fn(&Lesson) -> bool, number: impl Fn(&Lesson) -> u64) -> Vec<u64> {
        let lessons = self.own(&teaches).unwrap_or_else(|| self.all(&teaches));
        let mut numbers: Vec<u64> = lessons.into_iter().map(number).collect();
        numbers.sort_unstable();
        numbers
    }

    /// The median, and the extremes with a tenth beyond them.
    fn spread(&self, teaches: impl Fn(&Lesson) -> bool, number: impl Fn(&Lesson) -> u64) -> Span {
        match self.numbers(teaches, number).as_slice() {
            [] => Span::default(),
            numbers @ [least, .., most] => {
                Span::between(least * 9 / 10, numbers[numbers.len() / 2], most * 11 / 10 + 1)
            }
            [only] => Span::between(only * 9 / 10, *only, only * 11 / 10 + 1),
        }
    }

    /// The same, where there may also be nothing.
    fn up_to(&self, teaches: impl Fn(&Lesson) -> bool, number: impl Fn(&Lesson) -> u64) -> Span {
        Span { low: 0, ..self.spread(teaches, number) }
    }
}
