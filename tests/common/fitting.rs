//! What a yardstick would be if a stream had never been seen: fitted anew to all others.
//!
//! The rule is the same for every family, and the one that a calibration learns by ([`Scatter`]): all other families'
//! streams make a guess, the family's own streams learn from there.

use std::collections::BTreeMap;

use prepaid::metering::observe::Observer;
use prepaid::tokens::{Remark, Scatter, Span, TokenClass, Yardstick};
use serde::{Deserialize, Serialize};

use super::streams::{self, Recording};

/// What a recorded stream teaches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lesson {
    pub file: String,
    family: String,
    /// Tokens of the output and of the reasoning that were delivered, and whether they were counted exactly.
    output: u64,
    shown: u64,
    calls: u64,
    is_exact: bool,
    /// Billed output, reasoning apart where the provider tells it apart.
    pub billed: u64,
    reasoning: Option<u64>,
    /// Shown reasoning and the rest are told apart by who counted them: gateways count on their own.
    is_apart: bool,
    /// Billed reasoning was not shown, or not all of it.
    hides: bool,
    /// The provider ran tools of its own.
    hosted: bool,
}

/// Hidden reasoning has no middle to speak of: its point is the median, of so many at least.
const OWN_MIN: usize = 3;
/// Shorter answers teach how answers are framed, longer ones how text is counted.
const TEXT_MIN: u64 = 60;

/// Models that share a vocabulary, as far as their makers say. A gateway has enough streams to learn each model apart.
pub fn family(model: &str) -> String {
    let model = model.to_ascii_lowercase().replace("qwen3-5", "qwen3.5");
    let since_opus_4_7 = ["opus-4-7", "opus-4-8", "sonnet-5", "fable-5"].iter().find(|word| model.contains(**word));
    let family = ["claude", "grok", "nova", "command", "gemini", "qwen3.5"].iter().find(|word| model.contains(**word));
    since_opus_4_7.map(|_| "opus-4-7").or_else(|| family.copied()).unwrap_or(&model).to_owned()
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
        let (delivered, reasoning) = (observer.delivered(), usage.get(TokenClass::Reasoning));
        let is_gateway = ["openrouter", "vercel-gateway"].contains(&recording.provider.as_str());
        Self {
            file: recording.file.clone(),
            family: family(&recording.model),
            output: delivered.output,
            shown: delivered.reasoning,
            calls: delivered.calls,
            is_exact: delivered.is_exact,
            billed: usage.get(TokenClass::Output).unwrap_or(0),
            reasoning,
            is_apart: delivered.reasoning == 0 || reasoning.is_some_and(|reasoning| reasoning > 0) && !is_gateway,
            hides: remarks.contains(&Remark::HiddenReasoning),
            hosted: remarks.contains(&Remark::InputGrows) || recording.events.iter().any(|it| has_hosted_tool(it)),
        }
    }

    pub fn family(&self) -> &str {
        &self.family
    }

    /// Makes it teach something else.
    pub fn double(&mut self) {
        self.billed *= 2;
        self.reasoning = self.reasoning.map(|reasoning| reasoning * 2);
    }

    /// Whether the billed output is the delivered text and no more than its framing.
    fn is_plain(&self) -> bool {
        self.is_apart && !(self.hosted || self.hides && self.reasoning.is_none())
    }

    fn is_text(&self) -> bool {
        self.is_plain() && self.calls == 0
    }

    /// Tokens of text that was counted with another vocabulary, if there is enough of it and nothing else.
    pub fn strange_text(&self) -> Option<u64> {
        (self.is_text() && !self.is_exact && ratio(self.billed, self.output).is_some()).then_some(self.output)
    }
}

/// Billed for a thousand of counted, where it is a text that was counted: as [`Calibration`](prepaid::tokens::Calibration).
fn ratio(billed: u64, counted: u64) -> Option<u64> {
    (counted >= TEXT_MIN && billed <= counted * 3 && counted <= billed * 3).then(|| billed * 1_000 / counted)
}

/// The yardstick of a recording's model, with every number that was read off recordings fitted to the others.
pub fn without(recording: &Recording, lessons: &[Lesson]) -> Yardstick {
    let is_exact = lessons.iter().any(|it| it.file == recording.file && it.is_exact);
    let others = lessons.iter().filter(|it| it.file != recording.file).collect();
    fitted(&recording.model, is_exact, others)
}

/// The yardstick of a model without a public vocabulary, fitted to all recordings.
pub fn to_all(model: &str, lessons: &[Lesson]) -> Yardstick {
    fitted(model, false, lessons.iter().collect())
}

fn fitted(model: &str, is_exact: bool, lessons: Vec<&Lesson>) -> Yardstick {
    let (own, lessons) = (&*family(model), Lessons(lessons));
    let mut fitted = Yardstick::of_model(model);
    let is_strange = |it: &Lesson| it.is_text() && !it.is_exact;
    let text = |it: &Lesson| is_strange(it).then(|| ratio(it.billed, it.output))?;
    let texts: BTreeMap<&str, u64> =
        lessons.0.iter().map(|it| &*it.family).map(|of| (of, lessons.next(of, text).point)).collect();
    let beyond = |it: &Lesson, billed: u64, counted: u64| {
        let counted = if it.is_exact { counted } else { counted * texts[&*it.family] / 1_000 };
        billed.saturating_sub(counted)
    };
    // What is counted with the model's own vocabulary follows its public template but for calls.
    if !is_exact {
        fitted.text = lessons.next(own, text);
        // A thought is text of the same vocabulary.
        let is_shown = |it: &Lesson| it.is_apart && !it.hides && !it.is_exact && it.shown > 0;
        let thought = |it: &Lesson| is_shown(it).then(|| ratio(it.reasoning?, it.shown))?;
        fitted.thought = lessons.of::<Scatter>(own, thought).next_after(fitted.text);
        fitted.begin = Span::default();
        let is_short = |it: &Lesson| is_strange(it) && (1..TEXT_MIN).contains(&it.output);
        fitted.end = lessons.up_to(own, |it| is_short(it).then(|| beyond(it, it.billed, it.output)));
        fitted.think = lessons.up_to(own, |it| is_shown(it).then(|| Some(beyond(it, it.reasoning?, it.shown)))?);
    }
    let end = fitted.end.point;
    let more = |it: &Lesson| beyond(it, it.billed, it.output).saturating_sub(if it.is_exact { 0 } else { end });
    fitted.call = lessons.next(own, |it| it.is_plain().then(|| more(it).checked_div(it.calls))?);
    fitted.hosted = lessons.up_to(own, |it| (it.hosted && !it.hides).then(|| more(it)));
    fitted.hidden = lessons.median(own, |it| it.reasoning.filter(|_| it.hides && it.shown == 0));
    let summed_up = |it: &Lesson| (it.reasoning? * 1_000).checked_div(it.shown);
    fitted.summary = lessons.median(own, |it| it.hides.then(|| summed_up(it))?);
    fitted
}

/// What numbers are fitted to.
struct Lessons<'a>(Vec<&'a Lesson>);

impl Lessons<'_> {
    /// What a family's streams show.
    fn of<T: FromIterator<u64>>(&self, family: &str, number: impl Fn(&Lesson) -> Option<u64>) -> T {
        self.0.iter().filter(|it| it.family == family).filter_map(|it| number(it)).collect()
    }

    /// What a family's next stream has: a guess from all other families, and what its own show.
    fn next(&self, family: &str, number: impl Fn(&Lesson) -> Option<u64>) -> Span {
        let others = self.0.iter().filter(|it| it.family != family).filter_map(|it| number(it));
        let guess = others.collect::<Scatter>().next();
        let own: Scatter = self.of(family, number);
        guess.map_or_else(|| own.next().unwrap_or_default(), |guess| own.next_after(guess))
    }

    /// The same, where there may also be nothing.
    fn up_to(&self, family: &str, number: impl Fn(&Lesson) -> Option<u64>) -> Span {
        Span { low: 0, ..self.next(family, number) }
    }

    /// The middle one of a family's, if they are enough, or of all.
    fn median(&self, family: &str, number: impl Fn(&Lesson) -> Option<u64>) -> u64 {
        let mut numbers: Vec<u64> = self.of(family, &number);
        if numbers.len() < OWN_MIN {
            numbers = self.0.iter().filter_map(|it| number(it)).collect();
        }
        numbers.sort_unstable();
        numbers.get(numbers.len() / 2).copied().unwrap_or(0)
    }
}
