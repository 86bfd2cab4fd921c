//! Google's `generateContent`.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::Reader;
use crate::metering::observe::channels::Channel;
use crate::metering::observe::figures::{Figures, Includes};
use crate::metering::observe::json::{Count, List, Object, Present, Scalar, Text, Texts, object};
use crate::metering::observe::tally::{Standing, Tally};
use crate::tokens::Remark;

/// Reads `GenerateContentResponse`s, streamed or whole.
///
/// Usage comes with every event and is cumulative. When the provider's own tools run, it starts anew with each phase,
/// and the last event says the sum: so a counter that falls has begun a new phase, which is added to those before.
#[derive(Debug, Default)]
pub(super) struct Contents {
    output: Phases,
    thoughts: Phases,
    /// Calls come whole, in events of their own; or the first event names one, and others bring its arguments.
    calls: u64,
    /// The argument at hand.
    path: String,
    /// What the web was searched for.
    searches: u64,
    /// All searches of a prompt cost as much as one, as they do for models before Gemini 3.
    searches_once: bool,
}

/// A counter that may start anew.
#[derive(Debug, Default)]
struct Phases {
    /// The sum of the phases before this one.
    before: u64,
    /// This phase, so far.
    now: Option<u64>,
}

impl Phases {
    /// Reads the counter; what it says of the response so far.
    fn read(&mut self, count: Option<u64>, standing: Standing) -> Option<u64> {
        match (count, standing) {
            (Some(count), Standing::Last) => return Some(count.max(self.sum())),
            (Some(count), Standing::SoFar) => {
                if let Some(fallen) = self.now.filter(|now| count < *now) {
                    self.before = self.before.saturating_add(fallen);
                }
                self.now = Some(count);
            }
            (None, _) => {}
        }
        self.now.map(|_| self.sum())
    }

    fn sum(&self) -> u64 {
        self.before.saturating_add(self.now.unwrap_or(0))
    }
}

#[derive(Debug, Deserialize)]
struct Content<'a> {
    #[serde(borrow, default)]
    candidates: List<'a, Candidate<'a>>,
    #[serde(borrow, default, rename = "usageMetadata")]
    usage: Object<Usage<'a>>,
    #[serde(borrow, default, rename = "modelVersion")]
    model: Text<'a>,
    #[serde(default)]
    error: Present,
    #[serde(borrow, default, rename = "promptFeedback")]
    feedback: Object<Feedback<'a>>,
}

#[derive(Debug, Deserialize)]
struct Feedback<'a> {
    /// The prompt was refused: no candidate will come.
    #[serde(borrow, default, rename = "blockReason")]
    block_reason: Text<'a>,
}

#[derive(Debug, Deserialize)]
struct Candidate<'a> {
    #[serde(default)]
    index: Scalar<u64>,
    #[serde(borrow, default)]
    content: Object<Parts<'a>>,
    #[serde(borrow, default, rename = "finishReason")]
    finish_reason: Text<'a>,
    /// What a search found.
    #[serde(borrow, default, rename = "groundingMetadata")]
    grounding: Object<Grounding<'a>>,
}

#[derive(Debug, Deserialize)]
struct Grounding<'a> {
    #[serde(borrow, default, rename = "webSearchQueries")]
    queries: Texts<'a>,
}

#[derive(Debug, Deserialize)]
struct Parts<'a> {
    #[serde(borrow, default)]
    parts: List<'a, Part<'a>>,
}

#[derive(Debug, Deserialize)]
struct Part<'a> {
    #[serde(borrow, default)]
    text: Text<'a>,
    #[serde(default)]
    thought: Scalar<bool>,
    #[serde(borrow, default, rename = "functionCall")]
    call: Object<Call<'a>>,
    #[serde(borrow, default, rename = "executableCode")]
    code: Object<Code<'a>>,
    #[serde(default, rename = "inlineData")]
    media: Present,
}

#[derive(Debug, Deserialize)]
struct Call<'a> {
    #[serde(borrow, default)]
    name: Text<'a>,
    #[serde(borrow, default)]
    args: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "partialArgs")]
    partial: List<'a, Argument<'a>>,
}

/// A piece of an argument of a call that comes bit by bit.
#[derive(Debug, Deserialize)]
struct Argument<'a> {
    #[serde(borrow, default, rename = "jsonPath")]
    path: Text<'a>,
    #[serde(borrow, default, rename = "stringValue")]
    text: Text<'a>,
    #[serde(borrow, default, rename = "numberValue")]
    number: Option<&'a RawValue>,
}

#[derive(Debug, Deserialize)]
struct Code<'a> {
    #[serde(borrow, default)]
    code: Text<'a>,
}

#[derive(Debug, Deserialize)]
struct Usage<'a> {
    #[serde(default, rename = "promptTokenCount")]
    prompt: Count,
    #[serde(default, rename = "cachedContentTokenCount")]
    cached: Count,
    #[serde(default, rename = "toolUsePromptTokenCount")]
    tool_prompt: Count,
    #[serde(default, rename = "candidatesTokenCount")]
    candidates: Count,
    #[serde(default, rename = "thoughtsTokenCount")]
    thoughts: Count,
    #[serde(default, rename = "totalTokenCount")]
    total: Count,
    #[serde(borrow, default, rename = "serviceTier")]
    tier: Text<'a>,
    #[serde(borrow, default, rename = "promptTokensDetails")]
    prompt_details: List<'a, Modality<'a>>,
    #[serde(borrow, default, rename = "cacheTokensDetails")]
    cache_details: List<'a, Modality<'a>>,
    #[serde(borrow, default, rename = "candidatesTokensDetails")]
    candidates_details: List<'a, Modality<'a>>,
}

#[derive(Debug, Deserialize)]
struct Modality<'a> {
    #[serde(borrow, default)]
    modality: Text<'a>,
    #[serde(default, rename = "tokenCount")]
    count: Count,
}

impl Reader for Contents {
    fn event(&mut self, json: &str, tally: &mut Tally) -> bool {
        if json.trim() == "[DONE]" {
            return true;
        }
        let Some(content) = object::<Content<'_>>(json) else {
            return false;
        };
        if content.error.0 {
            tally.failed();
        }
        tally.model(content.model.as_str());
        self.searches_once |= ["gemini-1", "gemini-2"].iter().any(|model| content.model.as_str().contains(model));
        if content.feedback.0.is_some() || content.usage.0.is_some() {
            tally.recognised();
        }
        let mut is_last = content.feedback.0.is_some_and(|feedback| !feedback.block_reason.is_empty());
        for candidate in content.candidates.iter() {
            tally.recognised();
            self.candidate(&candidate, tally);
            tally.stopped(candidate.finish_reason.as_str());
            is_last |= !candidate.finish_reason.is_empty();
        }
        if let Some(usage) = &content.usage.0 {
            tally.tier(usage.tier.as_str());
            let standing = if is_last { Standing::Last } else { Standing::SoFar };
            let figures = self.figures(usage, standing, &mut |remark| tally.remark(remark));
            tally.usage(&figures, standing);
        }
        true
    }
}

impl Contents {
    fn candidate(&mut self, candidate: &Candidate<'_>, tally: &mut Tally) {
        let index = candidate.index.0.unwrap_or(0);
        if let Some(grounding) = &candidate.grounding.0 {
            tally.input_grows();
            let queries = grounding.queries.iter().filter(|query| !query.is_empty()).count() as u64;
            self.searches = self.searches.max(queries);
        }
        for part in candidate.content.0.iter().flat_map(|content| content.parts.iter()) {
            let is_thought = part.thought.0 == Some(true);
            let channel = if is_thought { Channel::reasoning(index) } else { Channel::text(index) };
            tally.text(channel, part.text.as_str());
            if part.media.0 {
                tally.media();
            }
            if let Some(call) = &part.call.0 {
                self.call(index, call, tally);
            }
            if let Some(code) = &part.code.0 {
                tally.text(Channel::tool_arguments(index, 0), code.code.as_str());
                tally.input_grows();
            }
        }
    }

    fn call(&mut self, index: u64, call: &Call<'_>, tally: &mut Tally) {
        if !call.name.is_empty() {
            self.calls += 1;
            self.path.clear();
        }
        tally.text(Channel::tool_name(index, self.calls), call.name.as_str());
        let arguments = call.args.map(RawValue::get).unwrap_or_default();
        tally.text(Channel::tool_arguments(index, self.calls), arguments);
        for piece in call.partial.iter() {
            // How a model writes these is not known: each is taken for a call of its own, the framing of which has a wide range.
            let path = piece.path.as_str();
            if path != self.path {
                self.calls += 1;
                path.clone_into(&mut self.path);
                tally.text(Channel::tool_name(index, self.calls), path.rsplit('.').next().unwrap_or_default());
            }
            let value = piece.number.map(RawValue::get).unwrap_or(piece.text.as_str());
            tally.text(Channel::tool_arguments(index, self.calls), value);
        }
    }

    fn figures(&mut self, usage: &Usage<'_>, standing: Standing, remark: &mut impl FnMut(Remark)) -> Figures {
        let thoughts = self.thoughts.read(usage.thoughts.read(remark), standing);
        let output = self.output.read(usage.candidates.read(remark), standing);
        // A phase has a total of its own; only the last one is of the whole.
        let total = if standing == Standing::Last { usage.total.read(remark) } else { None };
        let (cached, prompt, candidates) = (&usage.cache_details, &usage.prompt_details, &usage.candidates_details);
        // What was read from a cache is counted there.
        let mut beside_cache = |name| match (of(prompt, name, remark), of(cached, name, remark)) {
            (Some(all), cached) => Some(all.saturating_sub(cached.unwrap_or(0))),
            (None, _) => None,
        };
        let searches = if self.searches_once { self.searches.min(1) } else { self.searches };
        // While it only thinks, or when nothing came of it, candidates are not mentioned.
        let is_silent = thoughts.is_some() || standing == Standing::Last;
        let (audio_in, image_in) = (beside_cache("AUDIO"), beside_cache("IMAGE"));
        let (cache_read_audio, cache_read_image) = (of(cached, "AUDIO", remark), of(cached, "IMAGE", remark));
        Figures {
            input: usage.prompt.read(remark),
            cache_read: usage.cached.read(remark),
            cache_read_audio,
            cache_read_image,
            audio_in,
            image_in,
            tool_input: usage.tool_prompt.read(remark),
            output: output.or_else(|| is_silent.then_some(0)),
            reasoning: thoughts,
            searches: Some(searches).filter(|searches| *searches > 0),
            audio_out: of(candidates, "AUDIO", remark),
            image_out: of(candidates, "IMAGE", remark),
            total,
            includes: Includes { cache: true, audio: true, reasoning: false },
            ..Figures::default()
        }
    }
}

/// The count of one modality.
fn of<'a>(details: &List<'a, Modality<'a>>, name: &str, remark: &mut impl FnMut(Remark)) -> Option<u64> {
    details.iter().find(|detail| detail.modality.as_str() == name).and_then(|detail| detail.count.read(remark))
}
