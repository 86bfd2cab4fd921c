//! OpenAI chat completions, with the deviations of those who are compatible with them.

use serde::Deserialize;

use super::Reader;
use super::tools::{ServerSideTools, ServerTools, uncounted};
use crate::metering::observe::channels::Channel;
use crate::metering::observe::figures::{Figures, Includes};
use crate::metering::observe::json::{Content, Count, List, Object, Present, Scalar, Text, object};
use crate::metering::observe::tally::{Standing, Tally};
use crate::tokens::Remark;

/// Reads chat completion chunks, whole chat completions, and the older text completions.
#[derive(Debug, Default)]
pub(super) struct Chat {
    /// How many choices there are, as far as was seen, and how many of them have finished: when all have, usage is
    /// for the whole response.
    choices: u64,
    finished: u64,
    /// Usage came in a chunk of its own.
    closing: Option<Figures>,
}

#[derive(Debug, Default, Deserialize)]
struct Chunk<'a> {
    #[serde(borrow, default)]
    object: Text<'a>,
    #[serde(borrow, default)]
    model: Text<'a>,
    #[serde(borrow, default)]
    choices: List<'a, Choice<'a>>,
    #[serde(borrow, default)]
    service_tier: Text<'a>,
    #[serde(default)]
    usage: Object<Usage>,
    /// Groq says usage here too.
    #[serde(default)]
    x_groq: Object<Groq>,
    #[serde(default)]
    error: Present,
}

#[derive(Debug, Deserialize)]
struct Groq {
    #[serde(default)]
    usage: Object<Usage>,
}

#[derive(Debug, Deserialize)]
struct Choice<'a> {
    #[serde(default)]
    index: Scalar<u64>,
    #[serde(borrow)]
    delta: Option<Message<'a>>,
    /// Whole bodies, and some streams: there it repeats what the deltas said.
    #[serde(borrow, default)]
    message: Object<Message<'a>>,
    /// Text completions.
    #[serde(borrow, default)]
    text: Text<'a>,
    #[serde(borrow, default)]
    finish_reason: Text<'a>,
    /// Moonshot says usage here.
    #[serde(default)]
    usage: Object<Usage>,
}

#[derive(Debug, Default, Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    content: Content<'a>,
    #[serde(borrow, default)]
    reasoning_content: Content<'a>,
    #[serde(borrow, default)]
    reasoning: Content<'a>,
    #[serde(borrow, default)]
    refusal: Content<'a>,
    #[serde(borrow, default)]
    tool_calls: List<'a, Call<'a>>,
    #[serde(borrow, default)]
    function_call: Object<Function<'a>>,
    #[serde(default)]
    audio: Present,
    #[serde(default)]
    images: Present,
}

#[derive(Debug, Deserialize)]
struct Call<'a> {
    #[serde(default)]
    index: Scalar<u64>,
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

#[derive(Debug, Default, Deserialize)]
struct Usage {
    #[serde(default)]
    prompt_tokens: Count,
    #[serde(default)]
    completion_tokens: Count,
    #[serde(default)]
    total_tokens: Count,
    #[serde(default)]
    prompt_tokens_details: Object<PromptDetails>,
    #[serde(default)]
    completion_tokens_details: Object<CompletionDetails>,
    /// Copilot.
    #[serde(default)]
    reasoning_tokens: Count,
    /// Moonshot.
    #[serde(default)]
    cached_tokens: Count,
    /// DeepSeek.
    #[serde(default)]
    prompt_cache_hit_tokens: Count,
    #[serde(default)]
    cache_read_input_tokens: Count,
    #[serde(default)]
    cache_creation_input_tokens: Count,
    /// OpenRouter.
    #[serde(default)]
    server_tool_use: Object<ServerTools>,
    /// xAI.
    #[serde(default)]
    server_side_tool_usage_details: Object<ServerSideTools>,
    #[serde(default)]
    num_sources_used: Count,
    /// Perplexity. It searches for every answer, and for some several times.
    #[serde(default)]
    search_context_size: Present,
    #[serde(default)]
    num_search_queries: Count,
    #[serde(default)]
    citation_tokens: Count,
    /// Mistral.
    #[serde(default)]
    prompt_audio_seconds: Count,
}

#[derive(Debug, Default, Deserialize)]
struct PromptDetails {
    #[serde(default)]
    cached_tokens: Count,
    #[serde(default)]
    cache_write_tokens: Count,
    #[serde(default)]
    cache_creation_tokens: Count,
    /// Alibaba.
    #[serde(default)]
    cache_creation_input_tokens: Count,
    #[serde(default)]
    audio_tokens: Count,
    #[serde(default)]
    image_tokens: Count,
}

#[derive(Debug, Default, Deserialize)]
struct CompletionDetails {
    #[serde(default)]
    reasoning_tokens: Count,
    #[serde(default)]
    audio_tokens: Count,
    #[serde(default)]
    image_tokens: Count,
}

impl Reader for Chat {
    fn event(&mut self, json: &str, tally: &mut Tally) -> bool {
        if json.trim() == "[DONE]" {
            tally.settle_usage();
            tally.end();
            return true;
        }
        let Some(chunk) = object::<Chunk<'_>>(json) else {
            return false;
        };
        if chunk.error.0 {
            tally.failed();
        }
        if chunk.object.as_str().starts_with("chat.completion") {
            // Some begin with a chunk without choices.
            tally.recognised();
        }
        tally.model(chunk.model.as_str());
        tally.tier(chunk.service_tier.as_str());
        let mut has_choices = false;
        let mut usage = chunk.usage.0.or_else(|| chunk.x_groq.0.and_then(|groq| groq.usage.0));
        for choice in chunk.choices.iter() {
            has_choices = true;
            tally.recognised();
            self.choice(&choice, tally);
            usage = usage.or(choice.usage.0);
        }
        if let Some(usage) = usage {
            self.usage(&usage, has_choices, tally);
        }
        true
    }
}

impl Chat {
    fn choice(&mut self, choice: &Choice<'_>, tally: &mut Tally) {
        let index = choice.index.0.unwrap_or(0);
        match (&choice.delta, &choice.message.0) {
            (Some(message), _) | (None, Some(message)) => said(index, message, tally),
            // Text completions. Some send it beside a delta that says the same.
            (None, None) => tally.text(Channel::text(index), choice.text.as_str()),
        }
        tally.stopped(choice.finish_reason.as_str());
        self.choices = self.choices.max(index.saturating_add(1));
        self.finished += u64::from(!choice.finish_reason.is_empty());
    }

    fn usage(&mut self, usage: &Usage, has_choices: bool, tally: &mut Tally) {
        let figures = usage.figures(&mut |remark| tally.remark(remark));
        if figures == Figures::default() {
            return;
        }
        let goes_on = has_choices && self.finished < self.choices;
        let standing = if goes_on { Standing::SoFar } else { Standing::Last };
        if !has_choices && self.closing.replace(figures).is_some_and(|before| before != figures) {
            tally.remark(Remark::UsageRestated);
        }
        tally.usage(&figures, standing);
    }
}

fn said(index: u64, message: &Message<'_>, tally: &mut Tally) {
    if message.audio.0 || message.images.0 {
        tally.media();
    }
    for part in message.content.iter() {
        let channel = if part.is_reasoning { Channel::reasoning(index) } else { Channel::text(index) };
        tally.text(channel, part.text.as_str());
    }
    // Some send the same reasoning under both names.
    let reasoning = [&message.reasoning_content, &message.reasoning].into_iter().find(|content| !content.is_empty());
    for part in reasoning.into_iter().flat_map(Content::iter) {
        tally.text(Channel::reasoning(index), part.text.as_str());
    }
    for part in message.refusal.iter() {
        tally.text(Channel::text(index), part.text.as_str());
    }
    for (at, call) in message.tool_calls.iter().enumerate() {
        if let Some(function) = &call.function.0 {
            called(index, call.index.0.unwrap_or(at as u64), function, tally);
        }
    }
    if let Some(function) = &message.function_call.0 {
        called(index, 0, function, tally);
    }
}

fn called(index: u64, call: u64, function: &Function<'_>, tally: &mut Tally) {
    tally.text(Channel::tool_name(index, call), function.name.as_str());
    tally.text(Channel::tool_arguments(index, call), function.arguments.as_str());
}

impl Usage {
    fn figures(&self, remark: &mut impl FnMut(Remark)) -> Figures {
        let none = PromptDetails::default();
        let prompt = self.prompt_tokens_details.0.as_ref().unwrap_or(&none);
        let none = CompletionDetails::default();
        let completion = self.completion_tokens_details.0.as_ref().unwrap_or(&none);
        let cached = prompt
            .cached_tokens
            .or(self.cached_tokens)
            .or(self.prompt_cache_hit_tokens)
            .or(self.cache_read_input_tokens);
        uncounted([self.num_sources_used], remark);
        let written = prompt
            .cache_write_tokens
            .or(prompt.cache_creation_tokens)
            .or(prompt.cache_creation_input_tokens)
            .or(self.cache_creation_input_tokens);
        let output = self.completion_tokens.read(remark);
        let reasoning = completion.reasoning_tokens.or(self.reasoning_tokens).read(remark);
        let citations = self.citation_tokens.read(remark);
        // Perplexity's deep research reasons beside its answer, and outside of its total.
        let includes = Includes { reasoning: citations.is_none() || reasoning <= output, ..Includes::default() };
        Figures {
            input: self.prompt_tokens.read(remark),
            cache_read: cached.read(remark),
            cache_write: written.read(remark),
            audio_in: prompt.audio_tokens.read(remark),
            image_in: prompt.image_tokens.read(remark),
            output,
            reasoning,
            audio_out: completion.audio_tokens.read(remark),
            image_out: completion.image_tokens.read(remark),
            total: self.total_tokens.read(remark),
            searches: self.searches(remark),
            citations,
            includes,
            millis: self.prompt_audio_seconds.read(remark).map(|seconds| seconds.saturating_mul(1_000)),
            ..Figures::default()
        }
    }

    fn searches(&self, remark: &mut impl FnMut(Remark)) -> Option<u64> {
        let anthropic = self.server_tool_use.0.as_ref().and_then(|tools| tools.searches(remark));
        let xai = self.server_side_tool_usage_details.0.as_ref().and_then(|tools| tools.searches(remark));
        let perplexity = self.num_search_queries.read(remark).or_else(|| self.search_context_size.0.then_some(1));
        anthropic.or(xai).or(perplexity)
    }
}
