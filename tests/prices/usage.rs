//! Usage as LiteLLM passes it on, made disjoint by LiteLLM's own rules: who includes what in what.

use prepaid::tokens::{TokenClass, Usage};
use serde_json::Value;

/// The usage of a reference case.
pub(crate) fn of_litellm(usage: &Value, provider: &str) -> Usage {
    let mut disjoint = Usage::new();
    add_input(&mut disjoint, usage);
    add_output(&mut disjoint, usage, provider);
    disjoint
}

/// The web searches of a reference case.
pub(crate) fn searches(usage: &Value) -> u64 {
    count(&usage["server_tool_use"]["web_search_requests"])
        .max(count(&usage["prompt_tokens_details"]["web_search_requests"]))
}

fn add_input(disjoint: &mut Usage, usage: &Value) {
    let details = &usage["prompt_tokens_details"];
    let prompt = count(&usage["prompt_tokens"]);
    let read = count(&details["cached_tokens"]);
    let write = count(&details["cache_write_tokens"]).max(count(&details["cache_creation_tokens"]));
    let (mut audio, mut image) = (count(&details["audio_tokens"]), count(&details["image_tokens"]));
    let (mut video, mut text) = (count(&details["video_tokens"]), count(&details["text_tokens"]));
    if read + write > 0 && text + read + write + audio + image + video > prompt {
        // What is cached is counted in the others, too: it is taken from them.
        text = prompt.saturating_sub(read + write);
        for part in [&mut audio, &mut image, &mut video] {
            *part = text.min(*part);
            text -= *part;
        }
    } else if text == 0 {
        text = prompt.saturating_sub(read + write + audio + image + video);
    }
    let split = &details["cache_creation_token_details"];
    let (long, short) = match split.is_object() {
        true => (count(&split["ephemeral_1h_input_tokens"]), count(&split["ephemeral_5m_input_tokens"])),
        false => (0, write),
    };
    disjoint.set(TokenClass::Input, Some(text + video));
    disjoint.set(TokenClass::CacheRead, Some(read));
    disjoint.set(TokenClass::CacheWrite5m, Some(short));
    disjoint.set(TokenClass::CacheWrite1h, Some(long));
    disjoint.set(TokenClass::AudioInput, Some(audio));
    disjoint.set(TokenClass::ImageInput, Some(image));
}

fn add_output(disjoint: &mut Usage, usage: &Value, provider: &str) {
    let details = &usage["completion_tokens_details"];
    let mut completion = count(&usage["completion_tokens"]);
    let reasoning = count(&details["reasoning_tokens"]);
    let (audio, image) = (count(&details["audio_tokens"]), count(&details["image_tokens"]));
    if provider == "xai" && count(&usage["total_tokens"]) >= count(&usage["prompt_tokens"]) + completion + reasoning {
        completion += reasoning;
    }
    let text = match count(&details["text_tokens"]) {
        0 => completion.saturating_sub(reasoning + audio + image),
        text => text - reasoning.min(text).min((text + reasoning + audio + image).saturating_sub(completion)),
    };
    disjoint.set(TokenClass::Output, Some(text));
    disjoint.set(TokenClass::Reasoning, Some(reasoning));
    disjoint.set(TokenClass::AudioOutput, Some(audio));
    disjoint.set(TokenClass::ImageOutput, Some(image));
}

fn count(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}
