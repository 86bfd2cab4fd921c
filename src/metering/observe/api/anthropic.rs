//! Anthropic messages, plain and as Bedrock's `InvokeModel` wraps them.

use std::sync::Arc;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::Reader;
use super::tools::ServerTools;
use crate::metering::observe::base64;
use crate::metering::observe::channels::Channel;
use crate::metering::observe::figures::{Figures, Includes};
use crate::metering::observe::json::{Content, Count, List, Object, Scalar, Text, object};
use crate::metering::observe::tally::{Standing, Tally};
use crate::tokens::{Beside, Remark};

/// Reads message events and whole messages.
///
/// Usage is cumulative: later numbers replace earlier ones. The output of `message_start` is a placeholder and is
/// passed over; so is an input of zero there, which is what those say who do not know it yet.
#[derive(Debug, Default)]
pub(super) struct Messages {
    /// The model shows all that it thinks, as only 3.7 does.
    shows_thinking: bool,
    /// The part of what was written to caches that lives an hour; only the first usage says.
    long_lived: Option<u64>,
    /// What the message calls its model.
    model: String,
}

#[derive(Debug, Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow, default)]
    message: Object<Message<'a>>,
    #[serde(default)]
    index: Scalar<u64>,
    #[serde(borrow, default)]
    content_block: Object<Block<'a>>,
    #[serde(borrow, default)]
    delta: Object<Delta<'a>>,
    #[serde(borrow, default)]
    usage: Object<Totals<'a>>,
    /// Bedrock: the event itself, in Base64.
    #[serde(borrow, default)]
    bytes: Text<'a>,
}

#[derive(Debug, Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    model: Text<'a>,
    #[serde(borrow, default)]
    content: List<'a, Block<'a>>,
    #[serde(borrow, default)]
    usage: Object<Totals<'a>>,
    #[serde(borrow, default)]
    stop_reason: Text<'a>,
}

#[derive(Debug, Deserialize)]
struct Block<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow, default)]
    text: Text<'a>,
    #[serde(borrow, default)]
    thinking: Text<'a>,
    #[serde(borrow, default)]
    name: Text<'a>,
    #[serde(borrow, default)]
    input: Option<&'a serde_json::value::RawValue>,
    #[serde(borrow, default)]
    content: Content<'a>,
}

#[derive(Debug, Deserialize)]
struct Delta<'a> {
    #[serde(borrow, default)]
    text: Text<'a>,
    #[serde(borrow, default)]
    thinking: Text<'a>,
    #[serde(borrow, default)]
    partial_json: Text<'a>,
    #[serde(borrow, default)]
    stop_reason: Text<'a>,
    #[serde(borrow, default)]
    content: Content<'a>,
}

/// The usage of a message, or of one of its [`Step`]s.
#[derive(Debug, Default, Deserialize)]
struct Usage<Steps> {
    /// Of a step: what kind it is, and whose it is if not the message's own model's.
    #[serde(default, rename = "type")]
    kind: Scalar<String>,
    #[serde(default)]
    model: Scalar<String>,
    #[serde(default)]
    input_tokens: Count,
    #[serde(default)]
    cache_read_input_tokens: Count,
    #[serde(default)]
    cache_creation_input_tokens: Count,
    #[serde(default)]
    cache_creation: Object<CacheCreation>,
    #[serde(default)]
    output_tokens: Count,
    #[serde(default)]
    output_tokens_details: Object<OutputDetails>,
    #[serde(default)]
    service_tier: Scalar<String>,
    #[serde(default)]
    server_tool_use: Object<ServerTools>,
    /// The steps. What others than messages use is not in the totals.
    #[serde(default)]
    iterations: Steps,
}

/// The usage of a message, with its steps.
type Totals<'a> = Usage<List<'a, Step>>;

/// The usage of a step, which has no steps: a type that held itself would be read past the parser's limit of depth.
type Step = Usage<IgnoredAny>;

#[derive(Debug, Deserialize)]
struct CacheCreation {
    #[serde(default)]
    ephemeral_1h_input_tokens: Count,
}

#[derive(Debug, Deserialize)]
struct OutputDetails {
    #[serde(default)]
    thinking_tokens: Count,
}

impl Reader for Messages {
    fn event(&mut self, json: &str, tally: &mut Tally) -> bool {
        if json.trim() == "[DONE]" {
            return true;
        }
        let Some(event) = object::<Envelope<'_>>(json) else {
            return false;
        };
        if !event.bytes.is_empty() {
            return base64::unwrapped(event.bytes.as_str()).is_some_and(|inner| self.unwrapped(&inner, tally));
        }
        self.read(event, json, tally)
    }
}

/// What nothing but this API says.
const KINDS: [&str; 8] = [
    "message",
    "message_start",
    "message_delta",
    "message_stop",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "ping",
];

impl Messages {
    /// An event out of its wrapping, which is not wrapped again.
    fn unwrapped(&mut self, json: &str, tally: &mut Tally) -> bool {
        object::<Envelope<'_>>(json).is_some_and(|event| self.read(event, json, tally))
    }

    fn read(&mut self, event: Envelope<'_>, json: &str, tally: &mut Tally) -> bool {
        let index = event.index.0.unwrap_or(0);
        if KINDS.contains(&event.kind.as_str()) {
            tally.recognised();
        }
        match event.kind.as_str() {
            "message_start" => {
                if let Some(message) = &event.message.0 {
                    self.start(message, tally);
                }
            }
            "content_block_start" => {
                if let Some(block) = &event.content_block.0 {
                    self.block(index, block, false, tally);
                }
            }
            "content_block_delta" => {
                if let Some(delta) = &event.delta.0 {
                    tally.text(Channel::text(index), delta.text.as_str());
                    tally.text(Channel::reasoning(index), delta.thinking.as_str());
                    tally.text(Channel::tool_arguments(index, 0), delta.partial_json.as_str());
                    for part in delta.content.iter() {
                        tally.text(Channel::text(index), part.text.as_str());
                    }
                }
            }
            "message_delta" => {
                // More may follow until the message has a reason to stop.
                let reason = event.delta.0.as_ref().map(|delta| delta.stop_reason.as_str()).unwrap_or_default();
                tally.stopped(reason);
                if let Some(usage) = &event.usage.0 {
                    self.said(usage, if reason.is_empty() { Standing::SoFar } else { Standing::Last }, tally);
                }
            }
            "message_stop" => {
                tally.settle_usage();
                tally.end();
            }
            "message" => match object::<Message<'_>>(json) {
                Some(message) => self.whole(&message, tally),
                None => return false,
            },
            "error" => tally.failed(),
            // Pings, block ends, and whatever is added next.
            _ => {}
        }
        true
    }

    fn start(&mut self, message: &Message<'_>, tally: &mut Tally) {
        self.model(message, tally);
        if let Some(usage) = &message.usage.0 {
            tally.tier(usage.service_tier.0.as_deref().unwrap_or_default());
            let said = self.figures(usage, tally);
            let cached = [said.cache_read, said.cache_write, said.cache_write_1h];
            // A prompt that was read from a cache, or written to one, may have nothing else.
            let is_known = said.input != Some(0) || cached.into_iter().flatten().any(|count| count > 0);
            let input = said.input.filter(|_| is_known);
            tally.usage(&Figures { input, output: None, reasoning: None, ..said }, Standing::SoFar);
        }
    }

    fn whole(&mut self, message: &Message<'_>, tally: &mut Tally) {
        self.model(message, tally);
        for (index, block) in message.content.iter().enumerate() {
            self.block(index as u64, &block, true, tally);
        }
        tally.stopped(message.stop_reason.as_str());
        if let Some(usage) = &message.usage.0 {
            self.said(usage, Standing::Last, tally);
        }
    }

    fn model(&mut self, message: &Message<'_>, tally: &mut Tally) {
        self.shows_thinking |= message.model.as_str().contains("claude-3");
        clip(message.model.as_str()).as_ref().clone_into(&mut self.model);
        tally.model(message.model.as_str());
    }

    fn block(&mut self, index: u64, block: &Block<'_>, is_whole: bool, tally: &mut Tally) {
        tally.text(Channel::text(index), block.text.as_str());
        tally.text(Channel::reasoning(index), block.thinking.as_str());
        match block.kind.as_str() {
            "thinking" | "redacted_thinking" if !self.shows_thinking => tally.hides_reasoning(),
            "redacted_thinking" => tally.hides_reasoning(),
            "tool_use" => {
                tally.text(Channel::tool_name(index, 0), block.name.as_str());
                if let Some(input) = block.input.filter(|_| is_whole) {
                    tally.text(Channel::tool_arguments(index, 0), input.get());
                }
            }
            "server_tool_use" | "mcp_tool_use" => {
                tally.text(Channel::tool_name(index, 0), block.name.as_str());
                if block.name.as_str().contains("code_execution") {
                    tally.remark(Remark::ToolsUncounted);
                }
                tally.input_grows();
            }
            "compaction" => {
                for part in block.content.iter() {
                    tally.text(Channel::text(index), part.text.as_str());
                }
            }
            _ => {}
        }
    }

    fn said(&mut self, usage: &Totals<'_>, standing: Standing, tally: &mut Tally) {
        let is_beside = |step: &Step| step.kind.0.as_ref().is_some_and(|kind| kind != "message");
        for (at, step) in usage.iterations.iter().filter(is_beside).enumerate() {
            if at == 0 {
                // All of them up to now.
                tally.remark(Remark::UsageBeside);
                tally.restart_beside();
            }
            let beside = self.step(&step, tally);
            tally.beside(beside);
        }
        tally.tier(usage.service_tier.0.as_deref().unwrap_or_default());
        let figures = self.figures(usage, tally);
        tally.usage(&figures, standing);
    }

    fn step(&self, step: &Step, tally: &mut Tally) -> Beside {
        let figures = Self::default().figures(step, tally);
        let usage = figures.split(&mut |remark| tally.remark(remark)).usage;
        let other = step.model.0.as_deref().filter(|model| !model.is_empty() && **model != *self.model);
        Beside { model: other.map(clip), usage }
    }

    fn figures<Steps>(&mut self, usage: &Usage<Steps>, tally: &mut Tally) -> Figures {
        let mut remark = |remark| tally.remark(remark);
        let written = usage.cache_creation_input_tokens.read(&mut remark);
        if let Some(split) = &usage.cache_creation.0 {
            self.long_lived = self.long_lived.max(split.ephemeral_1h_input_tokens.read(&mut remark));
        }
        let searches = usage.server_tool_use.0.as_ref().and_then(|tools| tools.searches(&mut remark));
        let thinking = usage.output_tokens_details.0.as_ref().map(|details| details.thinking_tokens);
        Figures {
            input: usage.input_tokens.read(&mut remark),
            cache_read: usage.cache_read_input_tokens.read(&mut remark),
            cache_write: written.map(|written| written.saturating_sub(self.long_lived.unwrap_or(0))),
            cache_write_1h: self.long_lived,
            output: usage.output_tokens.read(&mut remark),
            reasoning: thinking.unwrap_or_default().read(&mut remark),
            searches,
            includes: Includes { cache: false, audio: true, reasoning: true },
            ..Figures::default()
        }
    }
}

/// A model's name, cut where no model's is so long.
fn clip(model: &str) -> Arc<str> {
    const NAME_BYTES_MAX: usize = 256;
    Arc::from(model.get(..model.floor_char_boundary(NAME_BYTES_MAX)).unwrap_or_default())
}
