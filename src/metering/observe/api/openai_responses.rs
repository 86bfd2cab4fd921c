//! OpenAI responses.

use serde::Deserialize;

use super::Reader;
use crate::metering::observe::channels::Channel;
use crate::metering::observe::figures::Figures;
use crate::metering::observe::json::{Count, List, Object, Present, Scalar, Text, object};
use crate::metering::observe::tally::{Standing, Tally};
use crate::tokens::Remark;

/// Reads response events and whole responses.
#[derive(Debug)]
pub(super) struct Responses;

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
    #[serde(default)]
    usage: Object<Usage>,
    #[serde(borrow, default)]
    output: List<Item<'a>>,
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
    content: List<Piece<'a>>,
    #[serde(borrow, default)]
    summary: List<Piece<'a>>,
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
            return bare(&event, json, tally);
        }
        if let Some(response) = &event.response.0 {
            tally.model(response.model.as_str());
        }
        if let Some(response) = event.response.0.as_ref().filter(|_| is_last(event.kind.as_str())) {
            last(response, tally);
        } else if event.kind.as_str() == "error" {
            tally.failed();
        } else {
            delta(&event, tally);
        }
        true
    }
}

/// A body that is no event: a whole response, or an error in its place.
fn bare(event: &Envelope<'_>, json: &str, tally: &mut Tally) -> bool {
    if event.object.as_str() == "response"
        && let Some(response) = object::<Response<'_>>(json)
    {
        whole(&response, tally);
        return true;
    }
    if event.error.0 {
        tally.failed();
    }
    event.error.0
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

fn last(response: &Response<'_>, tally: &mut Tally) {
    if response.status.as_str() == "incomplete" {
        tally.stopped("length");
    }
    if response.status.as_str() == "failed" {
        tally.failed();
    }
    if let Some(usage) = &response.usage.0 {
        let figures = usage.figures(&mut |remark| tally.remark(remark));
        tally.usage(&figures, Standing::Last);
    }
    tally.end();
}

fn whole(response: &Response<'_>, tally: &mut Tally) {
    tally.model(response.model.as_str());
    for (index, item) in response.output.0.iter().enumerate() {
        let index = index as u64;
        tally.text(Channel::tool_name(index, 0), item.name.as_str());
        tally.text(Channel::tool_arguments(index, 0), item.arguments.as_str());
        for piece in item.content.0.iter() {
            let is_reasoning = piece.kind.as_str() == "reasoning_text";
            let channel = if is_reasoning { Channel::reasoning(index) } else { Channel::text(index) };
            tally.text(channel, piece.text.as_str());
            tally.text(Channel::text(index), piece.refusal.as_str());
        }
        for piece in item.summary.0.iter() {
            tally.hides_reasoning();
            tally.text(Channel::reasoning(index), piece.text.as_str());
        }
    }
    last(response, tally);
}

impl Usage {
    fn figures(&self, remark: &mut impl FnMut(Remark)) -> Figures {
        let none = InputDetails::default();
        let input = self.input_tokens_details.0.as_ref().unwrap_or(&none);
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
            ..Figures::default()
        }
    }
}
