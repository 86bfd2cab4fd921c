//! OpenAI responses.

use serde::Deserialize;

use super::Reader;
use super::tools::{ServerSideTools, uncounted};
use crate::metering::observe::channels::Channel;
use crate::metering::observe::figures::Figures;
use crate::metering::observe::json::{Count, List, Object, Present, Scalar, Text, object};
use crate::metering::observe::tally::{Standing, Tally};
use crate::tokens::Remark;

/// Reads response events and whole responses.
#[derive(Debug, Default)]
pub(super) struct Responses {
    /// Calls of the web search that searched, as far as the response has come.
    searches: u64,
}

#[derive(Debug, Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow, default)]
    response: Object<Response<'a>>,
    #[serde(borrow, default)]
    delta: Text<'a>,
    #[serde(default)]
    output_index: Scalar<u64>,
    #[serde(default)]
    content_index: Scalar<u64>,
    #[serde(default)]
    summary_index: Scalar<u64>,
    #[serde(borrow, default)]
    item: Object<Item<'a>>,
    #[serde(default)]
    error: Present,
    /// A whole response says what it is here.
    #[serde(borrow, default)]
    object: Text<'a>,
}

#[derive(Debug, Deserialize)]
struct Response<'a> {
    #[serde(borrow, default)]
    model: Text<'a>,
    #[serde(borrow, default)]
    service_tier: Text<'a>,
    #[serde(default)]
    usage: Object<Usage>,
    #[serde(borrow, default)]
    output: List<'a, Item<'a>>,
    #[serde(borrow, default)]
    status: Text<'a>,
}

#[derive(Debug, Deserialize)]
struct Item<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow, default)]
    name: Text<'a>,
    #[serde(borrow, default)]
    arguments: Text<'a>,
    #[serde(borrow, default)]
    content: List<'a, Piece<'a>>,
    #[serde(borrow, default)]
    summary: List<'a, Piece<'a>>,
    /// What a web search did.
    #[serde(borrow, default)]
    action: Object<Action<'a>>,
}

#[derive(Debug, Deserialize)]
struct Action<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Text<'a>,
}

#[derive(Debug, Deserialize)]
struct Piece<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow, default)]
    text: Text<'a>,
    #[serde(borrow, default)]
    refusal: Text<'a>,
}

#[derive(Debug, Deserialize)]
struct Usage {
    #[serde(default)]
    input_tokens: Count,
    #[serde(default)]
    input_tokens_details: Object<InputDetails>,
    #[serde(default)]
    output_tokens: Count,
    #[serde(default)]
    output_tokens_details: Object<OutputDetails>,
    #[serde(default)]
    total_tokens: Count,
    /// xAI.
    #[serde(default)]
    server_side_tool_usage_details: Object<ServerSideTools>,
    #[serde(default)]
    num_sources_used: Count,
}

#[derive(Debug, Default, Deserialize)]
struct InputDetails {
    #[serde(default)]
    cached_tokens: Count,
    #[serde(default)]
    cache_write_tokens: Count,
    #[serde(default)]
    audio_tokens: Count,
    #[serde(default)]
    image_tokens: Count,
}

#[derive(Debug, Default, Deserialize)]
struct OutputDetails {
    #[serde(default)]
    reasoning_tokens: Count,
    #[serde(default)]
    audio_tokens: Count,
    #[serde(default)]
    image_tokens: Count,
}

impl Reader for Responses {
    fn event(&mut self, json: &str, tally: &mut Tally) -> bool {
        if json.trim() == "[DONE]" {
            return true;
        }
        let Some(event) = object::<Envelope<'_>>(json) else {
            return false;
        };
        if event.kind.is_empty() {
            return self.bare(&event, json, tally);
        }
        if event.kind.as_str().starts_with("response.") {
            tally.recognised();
        }
        if let Some(response) = &event.response.0 {
            tally.model(response.model.as_str());
            tally.tier(response.service_tier.as_str());
        }
        if let Some(response) = event.response.0.as_ref().filter(|_| is_last(event.kind.as_str())) {
            self.last(response, tally);
        } else if event.kind.as_str() == "error" {
            tally.failed();
        } else {
            delta(&event, tally);
            if let Some(item) = event.item.0.as_ref().filter(|_| event.kind.as_str() == "response.output_item.done") {
                self.ran(item, tally);
                self.searched(tally);
            }
        }
        true
    }
}

impl Responses {
    /// A body that is no event: a whole response, or an error in its place.
    fn bare(&mut self, event: &Envelope<'_>, json: &str, tally: &mut Tally) -> bool {
        if event.object.as_str() == "response"
            && let Some(response) = object::<Response<'_>>(json)
        {
            tally.recognised();
            whole(&response, tally);
            self.last(&response, tally);
            return true;
        }
        if event.error.0 {
            tally.failed();
        }
        event.error.0
    }

    fn last(&mut self, response: &Response<'_>, tally: &mut Tally) {
        if response.status.as_str() == "incomplete" {
            tally.stopped("length");
        }
        if response.status.as_str() == "failed" {
            tally.failed();
        }
        // The items once more, all of them; some leave them out, and what was seen before stands.
        self.searches = 0;
        for item in response.output.iter() {
            self.ran(&item, tally);
        }
        self.searched(tally);
        if let Some(usage) = &response.usage.0 {
            let figures = usage.figures(&mut |remark| tally.remark(remark));
            tally.usage(&figures, Standing::Last);
        }
        tally.end();
    }

    /// An item that is done: what ran on the provider's side.
    fn ran(&mut self, item: &Item<'_>, tally: &mut Tally) {
        match item.kind.as_str() {
            // What opens a page, or looks for something in it, costs nothing.
            "web_search_call" => {
                let action = item.action.0.as_ref().map(|action| action.kind.as_str());
                self.searches += u64::from(action.is_none_or(|action| action == "search"));
            }
            "file_search_call" | "code_interpreter_call" | "image_generation_call" => {
                tally.remark(Remark::ToolsUncounted);
            }
            _ => {}
        }
    }

    /// States the searches up to here.
    fn searched(&self, tally: &mut Tally) {
        let searches = Some(self.searches).filter(|searches| *searches > 0);
        tally.usage(&Figures { searches, ..Figures::default() }, Standing::SoFar);
    }
}

/// Whether an event of this kind closes the response.
fn is_last(kind: &str) -> bool {
    matches!(kind, "response.completed" | "response.incomplete" | "response.failed" | "response.cancelled")
}

fn delta(event: &Envelope<'_>, tally: &mut Tally) {
    let index = event.output_index.0.unwrap_or(0);
    let part = event.content_index.0.or(event.summary_index.0).unwrap_or(0);
    let text = event.delta.as_str();
    match event.kind.as_str() {
        "response.output_text.delta" | "response.refusal.delta" => {
            tally.text(Channel { part, ..Channel::text(index) }, text);
        }
        "response.audio.delta" => tally.media(),
        "response.reasoning_text.delta" => tally.text(Channel { part, ..Channel::reasoning(index) }, text),
        "response.reasoning_summary_text.delta" => {
            tally.hides_reasoning();
            tally.text(Channel { part, ..Channel::reasoning(index) }, text);
        }
        "response.function_call_arguments.delta"
        | "response.custom_tool_call_input.delta"
        | "response.mcp_call_arguments.delta"
        | "response.code_interpreter_call_code.delta" => tally.text(Channel::tool_arguments(index, 0), text),
        "response.output_item.added" => {
            if let Some(item) = &event.item.0 {
                tally.text(Channel::tool_name(index, 0), item.name.as_str());
                if item.kind.as_str() == "image_generation_call" {
                    tally.media();
                }
                if item.kind.as_str().ends_with("_call") && item.kind.as_str() != "function_call" {
                    tally.input_grows();
                }
            }
        }
        _ => {}
    }
}

fn whole(response: &Response<'_>, tally: &mut Tally) {
    tally.model(response.model.as_str());
    tally.tier(response.service_tier.as_str());
    for (index, item) in response.output.iter().enumerate() {
        let index = index as u64;
        tally.text(Channel::tool_name(index, 0), item.name.as_str());
        tally.text(Channel::tool_arguments(index, 0), item.arguments.as_str());
        for piece in item.content.iter() {
            let is_reasoning = piece.kind.as_str() == "reasoning_text";
            let channel = if is_reasoning { Channel::reasoning(index) } else { Channel::text(index) };
            tally.text(channel, piece.text.as_str());
            tally.text(Channel::text(index), piece.refusal.as_str());
        }
        for piece in item.summary.iter() {
            tally.hides_reasoning();
            tally.text(Channel::reasoning(index), piece.text.as_str());
        }
    }
}

impl Usage {
    fn figures(&self, remark: &mut impl FnMut(Remark)) -> Figures {
        let none = InputDetails::default();
        let input = self.input_tokens_details.0.as_ref().unwrap_or(&none);
        uncounted([self.num_sources_used], remark);
        let none = OutputDetails::default();
        let output = self.output_tokens_details.0.as_ref().unwrap_or(&none);
        Figures {
            input: self.input_tokens.read(remark),
            cache_read: input.cached_tokens.read(remark),
            cache_write: input.cache_write_tokens.read(remark),
            audio_in: input.audio_tokens.read(remark),
            image_in: input.image_tokens.read(remark),
            output: self.output_tokens.read(remark),
            reasoning: output.reasoning_tokens.read(remark),
            audio_out: output.audio_tokens.read(remark),
            image_out: output.image_tokens.read(remark),
            total: self.total_tokens.read(remark),
            searches: self.server_side_tool_usage_details.0.as_ref().and_then(|tools| tools.searches(remark)),
            ..Figures::default()
        }
    }
}
