//! Cohere chat, version 2.

use serde::Deserialize;

use super::Reader;
use crate::metering::observe::channels::Channel;
use crate::metering::observe::figures::Figures;
use crate::metering::observe::json::{Count, List, Object, Present, Scalar, Text, object};
use crate::metering::observe::tally::{Standing, Tally};
use crate::tokens::Remark;

/// Reads chat events and whole answers.
///
/// Cohere counts twice: `tokens` is what the model read and wrote, its own template included; `billed_units`, often
/// a tenth of it, is what the customer pays. The bill is what is reported here, `tokens` only where there is none.
#[derive(Debug)]
pub(super) struct Chat;

#[derive(Debug, Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Text<'a>,
    #[serde(default)]
    index: Scalar<u64>,
    #[serde(borrow, default)]
    delta: Object<Delta<'a>>,
    /// Whole answers.
    #[serde(borrow, default)]
    message: Object<Message<'a>>,
    #[serde(default)]
    usage: Object<Usage>,
}

#[derive(Debug, Deserialize)]
struct Delta<'a> {
    #[serde(borrow, default)]
    message: Object<Message<'a>>,
    #[serde(default)]
    usage: Object<Usage>,
    #[serde(borrow, default)]
    finish_reason: Text<'a>,
    #[serde(default)]
    error: Present,
}

#[derive(Debug, Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    content: List<'a, Piece<'a>>,
    #[serde(borrow, default)]
    tool_plan: Text<'a>,
    #[serde(borrow, default)]
    tool_calls: List<'a, Call<'a>>,
}

#[derive(Debug, Deserialize)]
struct Piece<'a> {
    #[serde(borrow, default)]
    text: Text<'a>,
    #[serde(borrow, default)]
    thinking: Text<'a>,
}

#[derive(Debug, Deserialize)]
struct Call<'a> {
    #[serde(borrow, default)]
    function: Object<Function<'a>>,
}

#[derive(Debug, Deserialize)]
struct Function<'a> {
    #[serde(borrow, default)]
    name: Text<'a>,
    #[serde(borrow, default)]
    arguments: Text<'a>,
}

#[derive(Debug, Deserialize)]
struct Usage {
    #[serde(default)]
    billed_units: Object<Counts>,
    #[serde(default)]
    tokens: Object<Counts>,
    #[serde(default)]
    cached_tokens: Count,
}

#[derive(Debug, Deserialize)]
struct Counts {
    #[serde(default)]
    input_tokens: Count,
    #[serde(default)]
    output_tokens: Count,
    #[serde(default)]
    reasoning_tokens: Count,
    #[serde(default)]
    search_units: Count,
}

/// What nothing but this API says.
const KINDS: [&str; 5] = ["message-start", "content-start", "content-delta", "content-end", "message-end"];

impl Reader for Chat {
    fn event(&mut self, json: &str, tally: &mut Tally) -> bool {
        let Some(event) = object::<Envelope<'_>>(json) else {
            return json.trim() == "[DONE]";
        };
        if KINDS.contains(&event.kind.as_str()) {
            tally.recognised();
        }
        let delta = event.delta.0.as_ref();
        if delta.is_some_and(|delta| delta.error.0) {
            tally.failed();
        }
        tally.stopped(delta.map(|delta| delta.finish_reason.as_str()).unwrap_or_default());
        let index = event.index.0.unwrap_or(0);
        for message in
            [delta.and_then(|delta| delta.message.0.as_ref()), event.message.0.as_ref()].into_iter().flatten()
        {
            said(index, message, tally);
        }
        let usage = delta.and_then(|delta| delta.usage.0.as_ref()).or(event.usage.0.as_ref());
        if let Some(usage) = usage {
            let figures = usage.figures(&mut |remark| tally.remark(remark));
            tally.usage(&figures, Standing::Last);
        }
        if event.kind.as_str() == "message-end" {
            tally.end();
        }
        true
    }
}

fn said(index: u64, message: &Message<'_>, tally: &mut Tally) {
    for (at, piece) in message.content.iter().enumerate() {
        let index = index.saturating_add(at as u64);
        tally.text(Channel::text(index), piece.text.as_str());
        tally.text(Channel::reasoning(index), piece.thinking.as_str());
    }
    tally.text(Channel { part: u64::MAX, ..Channel::text(index) }, message.tool_plan.as_str());
    for (at, call) in message.tool_calls.iter().enumerate() {
        if let Some(function) = &call.function.0 {
            let index = index.saturating_add(at as u64);
            tally.text(Channel::tool_name(index, 0), function.name.as_str());
            tally.text(Channel::tool_arguments(index, 0), function.arguments.as_str());
        }
    }
}

impl Usage {
    fn figures(&self, remark: &mut impl FnMut(Remark)) -> Figures {
        let reasoning = self.tokens.0.as_ref().map(|tokens| tokens.reasoning_tokens).unwrap_or_default();
        let (counts, cached) = match (&self.billed_units.0, &self.tokens.0) {
            (Some(billed), _) if billed.output_tokens != Count::Missing => (billed, Count::Missing),
            (_, Some(tokens)) => (tokens, self.cached_tokens),
            (_, None) => return Figures::default(),
        };
        Figures {
            input: counts.input_tokens.read(remark),
            cache_read: cached.read(remark),
            output: counts.output_tokens.read(remark),
            reasoning: reasoning.read(remark),
            queries: counts.search_units.read(remark),
            ..Figures::default()
        }
    }
}
