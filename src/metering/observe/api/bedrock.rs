//! Amazon Bedrock's `Converse`, and what its `InvokeModel` wraps of other models than Claude.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Reader, openai_chat};
use crate::metering::observe::base64;
use crate::metering::observe::channels::Channel;
use crate::metering::observe::figures::{Figures, Includes};
use crate::metering::observe::json::{Count, List, Object, Present, Scalar, Text, object};
use crate::metering::observe::tally::{Standing, Tally};
use crate::tokens::Remark;

/// Reads Converse events, as frames name them or wrapped under their name, and whole answers.
///
/// Bedrock generates to the end even when nobody listens any more, and bills it: a stream that is cut is best
/// [drained](crate::metering::Cut::Drain).
///
/// An event of `InvokeModel` is wrapped in Base64 and has its model's own format: Nova's is that of Converse, of others
/// the text is read. What was used Bedrock itself says in the last one.
#[derive(Debug, Default)]
pub(super) struct Converse {
    /// Reads the text of models that imitate OpenAI.
    chat: openai_chat::Chat,
}

#[derive(Debug, Deserialize)]
struct Envelope<'a> {
    /// The event itself, in Base64.
    #[serde(borrow, default)]
    bytes: Text<'a>,
    /// A message begins. Others that say so say their event's `type` too.
    #[serde(default)]
    role: Present,
    #[serde(default, rename = "type")]
    kind: Present,
    #[serde(default, rename = "contentBlockIndex")]
    index: Scalar<u64>,
    #[serde(borrow, default)]
    start: Object<Block<'a>>,
    #[serde(borrow, default)]
    delta: Object<Block<'a>>,
    #[serde(borrow, default, rename = "stopReason")]
    stop_reason: Text<'a>,
    #[serde(borrow, default)]
    usage: Object<Usage<'a>>,
    #[serde(borrow, default, rename = "serviceTier")]
    tier: Object<Tier<'a>>,
    #[serde(borrow, default)]
    output: Object<Output<'a>>,
    #[serde(borrow, default, rename = "contentBlockStart")]
    wrapped_start: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "contentBlockDelta")]
    wrapped_delta: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "messageStop")]
    wrapped_stop: Option<&'a RawValue>,
    #[serde(borrow, default)]
    metadata: Option<&'a RawValue>,
    #[serde(default, rename = "amazon-bedrock-invocationMetrics")]
    metrics: Object<Metrics>,
}

#[derive(Debug, Deserialize)]
struct Tier<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Text<'a>,
}

#[derive(Debug, Deserialize)]
struct Block<'a> {
    #[serde(borrow, default)]
    text: Text<'a>,
    #[serde(borrow, default, rename = "toolUse")]
    tool: Object<Tool<'a>>,
    #[serde(borrow, default, rename = "reasoningContent")]
    reasoning: Object<Reasoning<'a>>,
    #[serde(default)]
    image: Present,
}

#[derive(Debug, Deserialize)]
struct Tool<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow, default)]
    name: Text<'a>,
    #[serde(borrow, default)]
    input: Option<&'a RawValue>,
}

#[derive(Debug, Deserialize)]
struct Reasoning<'a> {
    #[serde(borrow, default)]
    text: Text<'a>,
    /// In whole answers.
    #[serde(borrow, default, rename = "reasoningText")]
    whole: Object<ReasoningText<'a>>,
    #[serde(borrow, default, rename = "redactedContent")]
    redacted: Text<'a>,
    #[serde(borrow, default)]
    signature: Text<'a>,
}

#[derive(Debug, Deserialize)]
struct ReasoningText<'a> {
    #[serde(borrow, default)]
    text: Text<'a>,
}

#[derive(Debug, Deserialize)]
struct Output<'a> {
    #[serde(borrow, default)]
    message: Object<Message<'a>>,
}

#[derive(Debug, Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    content: List<'a, Block<'a>>,
}

#[derive(Debug, Default, Deserialize)]
struct Usage<'a> {
    #[serde(default, rename = "inputTokens")]
    input: Count,
    #[serde(default, rename = "outputTokens")]
    output: Count,
    #[serde(default, rename = "totalTokens")]
    total: Count,
    #[serde(default, rename = "cacheReadInputTokens")]
    cache_read: Count,
    #[serde(default, rename = "cacheWriteInputTokens")]
    cache_write: Count,
    /// What was written, by how long it lives.
    #[serde(borrow, default, rename = "cacheDetails")]
    written: List<'a, Written<'a>>,
}

#[derive(Debug, Deserialize)]
struct Written<'a> {
    #[serde(borrow, default)]
    ttl: Text<'a>,
    #[serde(default, rename = "inputTokens")]
    input: Count,
}

/// Events of `InvokeModel` in models' own formats: their text, and what else there is to tell them by.
#[derive(Debug, Deserialize)]
struct Native<'a> {
    #[serde(default, rename = "messageStart")]
    nova_start: Present,
    #[serde(default, rename = "contentBlockStop")]
    nova_block_end: Present,
    /// Llama.
    #[serde(borrow, default)]
    generation: Text<'a>,
    /// Titan.
    #[serde(borrow, default, rename = "outputText")]
    titan: Text<'a>,
    /// Mistral.
    #[serde(borrow, default)]
    outputs: List<'a, Block<'a>>,
    /// Command.
    #[serde(borrow, default)]
    event_type: Text<'a>,
    #[serde(borrow, default)]
    text: Text<'a>,
    /// What imitates OpenAI.
    #[serde(default)]
    choices: Present,
}

/// What Bedrock adds to the last event of an `InvokeModel` stream.
#[derive(Debug, Deserialize)]
struct Metrics {
    #[serde(default, rename = "inputTokenCount")]
    input: Count,
    #[serde(default, rename = "outputTokenCount")]
    output: Count,
    #[serde(default, rename = "cacheReadInputTokenCount")]
    cache_read: Count,
    #[serde(default, rename = "cacheWriteInputTokenCount")]
    cache_write: Count,
}

impl Reader for Converse {
    fn event(&mut self, json: &str, tally: &mut Tally) -> bool {
        let Some(event) = object::<Envelope<'_>>(json) else {
            return json.trim() == "[DONE]";
        };
        if !event.bytes.is_empty() {
            return base64::unwrapped(event.bytes.as_str()).is_some_and(|inner| self.invoked(&inner, tally));
        }
        named(&event, tally).is_some()
    }
}

impl Converse {
    /// An event out of its Base64, which is not wrapped again. Of one in a format that is not known the text is missed,
    /// which has to be said.
    fn invoked(&mut self, json: &str, tally: &mut Tally) -> bool {
        let (Some(event), Some(native)) = (object::<Envelope<'_>>(json), object::<Native<'_>>(json)) else {
            return false;
        };
        if native.choices.0 {
            self.chat.event(json, tally);
        }
        for text in [&native.generation, &native.titan, &native.text] {
            tally.text(Channel::text(0), text.as_str());
        }
        for piece in native.outputs.iter() {
            tally.text(Channel::text(0), piece.text.as_str());
        }
        // Last, for it may be what ends the response.
        let names = named(&event, tally);
        native.is_known() || event.metrics.0.is_some() || names.is_some_and(|names| names > 0)
    }
}

impl Native<'_> {
    fn is_known(&self) -> bool {
        let texts = [&self.generation, &self.titan, &self.event_type];
        let marks = [self.nova_start, self.nova_block_end, self.choices];
        texts.iter().any(|text| text.0.is_some())
            || marks.iter().any(|mark| mark.0)
            || self.outputs.iter().next().is_some()
    }
}

/// Reads an event, and what it has under events' names; how many such there were, if each was readable.
fn named(event: &Envelope<'_>, tally: &mut Tally) -> Option<usize> {
    read(event, tally);
    let wrapped = [event.wrapped_start, event.wrapped_delta, event.wrapped_stop, event.metadata];
    for wrapped in wrapped.into_iter().flatten() {
        read(&object::<Envelope<'_>>(wrapped.get())?, tally);
    }
    Some(wrapped.into_iter().flatten().count())
}

fn read(event: &Envelope<'_>, tally: &mut Tally) {
    let begins = event.role.0 && !event.kind.0;
    if begins || event.index.0.is_some() || event.output.0.is_some() {
        tally.recognised();
    }
    let index = event.index.0.unwrap_or(0);
    for block in [&event.start.0, &event.delta.0].into_iter().flatten() {
        said(index, block, tally);
    }
    let message = event.output.0.as_ref().and_then(|output| output.message.0.as_ref());
    for (index, block) in message.into_iter().flat_map(|message| message.content.iter()).enumerate() {
        said(index as u64, &block, tally);
    }
    tally.stopped(event.stop_reason.as_str());
    tally.tier(event.tier.0.as_ref().map(|tier| tier.kind.as_str()).unwrap_or_default());
    let usage = event.usage.0.as_ref().map(|usage| usage.figures(&mut |remark| tally.remark(remark)));
    let metrics = event.metrics.0.as_ref().map(|metrics| metrics.figures(&mut |remark| tally.remark(remark)));
    // Models that imitate OpenAI have a usage of their own, in which none of these names is.
    let usage = usage.filter(|figures| *figures != Figures { includes: INCLUDES, ..Figures::default() });
    if let Some(figures) = usage.or(metrics) {
        tally.usage(&figures, Standing::Last);
        tally.end();
    }
}

fn said(index: u64, block: &Block<'_>, tally: &mut Tally) {
    if block.image.0 {
        tally.media();
    }
    tally.text(Channel::text(index), block.text.as_str());
    if let Some(tool) = &block.tool.0 {
        if tool.kind.as_str() == "server_tool_use" {
            tally.remark(Remark::ToolsUncounted);
        }
        tally.text(Channel::tool_name(index, 0), tool.name.as_str());
        if let Some(input) = tool.input.map(RawValue::get) {
            // A stream has it as text, bit by bit; a whole answer as an object.
            let piece = serde_json::from_str::<Text<'_>>(input).unwrap_or_default();
            tally.text(Channel::tool_arguments(index, 0), piece.0.as_deref().unwrap_or(input));
        }
    }
    if let Some(reasoning) = &block.reasoning.0 {
        let whole = reasoning.whole.0.as_ref().map(|whole| whole.text.as_str());
        tally.text(Channel::reasoning(index), whole.unwrap_or(reasoning.text.as_str()));
        if !reasoning.redacted.is_empty() || !reasoning.signature.is_empty() {
            tally.hides_reasoning();
        }
    }
}

/// Bedrock counts caches beside the input.
const INCLUDES: Includes = Includes { cache: false, audio: true, reasoning: true };

impl Usage<'_> {
    fn figures(&self, remark: &mut impl FnMut(Remark)) -> Figures {
        let hour = self.written.iter().filter(|written| written.ttl.as_str() == "1h");
        let hour = hour.filter_map(|written| written.input.read(remark)).reduce(u64::saturating_add);
        let written = self.cache_write.read(remark);
        Figures {
            input: self.input.read(remark),
            cache_read: self.cache_read.read(remark),
            cache_write: written.map(|written| written.saturating_sub(hour.unwrap_or(0))),
            cache_write_1h: hour,
            output: self.output.read(remark),
            total: self.total.read(remark),
            includes: INCLUDES,
            ..Figures::default()
        }
    }
}

impl Metrics {
    fn figures(&self, remark: &mut impl FnMut(Remark)) -> Figures {
        Figures {
            input: self.input.read(remark),
            cache_read: self.cache_read.read(remark),
            cache_write: self.cache_write.read(remark),
            output: self.output.read(remark),
            includes: INCLUDES,
            ..Figures::default()
        }
    }
}
