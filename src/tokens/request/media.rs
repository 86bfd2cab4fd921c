//! Images, audio and documents in a prompt: what providers say they count as.

use serde_json::{Map, Value};

use super::super::span::Span;

/// What a part that is not text counts as; none if it is no such part.
pub(super) fn of_part(model: &str, kind: &str, part: &Map<String, Value>) -> Option<Span> {
    let inline = ["inlineData", "inline_data", "fileData", "file_data"].iter().find_map(|key| part.get(*key));
    let mime = inline.and_then(|data| data.get("mimeType").or_else(|| data.get("mime_type"))).and_then(Value::as_str);
    let is = |words: &[&str]| {
        words
            .iter()
            .any(|word| kind == *word || part.contains_key(*word) || mime.is_some_and(|mime| mime.starts_with(word)))
    };
    if is(&["image", "image_url", "input_image"]) {
        return Some(if is_low_detail(part) { Span::between(60, 85, 85.max(image(model).low)) } else { image(model) });
    }
    if is(&["audio", "input_audio", "audio_url"]) {
        return Some(audio(bytes_of(part)));
    }
    if is(&["video", "video_url"]) {
        return Some(Span::between(0, bytes_of(part) / 1_000, bytes_of(part) / 30 + 100_000));
    }
    if inline.is_some() || is(&["document", "file", "input_file"]) {
        return Some(document(bytes_of(part)));
    }
    None
}

/// Whether the provider fetches it from somewhere, so that its size cannot be seen here.
pub(super) fn is_remote(part: &Map<String, Value>) -> bool {
    let is_image = ["image_url", "image"].iter().any(|key| part.contains_key(*key));
    !is_image && bytes_of(part) < 256
}

/// Any image, at full detail, of whatever size.
///
/// OpenAI: 85 + 170 for each of at most 8 tiles (GPT-4o mini 2,833 + 5,667 for each), or at most 1,536 patches times 1.62
/// to 2.46. Anthropic: pixels / 750, at most 1,600, three times that since Opus 4.7. Google: 258 a tile of 768 pixels,
/// 1,120 at the default resolution of Gemini 3. Sources: the providers' guides to images.
pub(super) fn image(model: &str) -> Span {
    let is = |words: &[&str]| words.iter().any(|word| model.contains(word));
    if is(&["4o-mini"]) {
        Span::between(2_833, 25_501, 48_169)
    } else if is(&["4.1-mini", "4.1-nano", "o4-mini", "5-mini", "5-nano"]) {
        Span::between(2, 1_500, 3_779)
    } else if is(&["opus-4-7", "opus-4.7", "opus-4-8", "opus-4.8", "sonnet-5", "opus-5", "fable-5"]) {
        Span::between(1, 1_600, 4_784)
    } else {
        Span::between(60, 765, 1_640)
    }
}

/// Audio of so many bytes: 10 to 32 tokens a second, at a kilobyte to 48 kilobytes a second.
fn audio(bytes: u64) -> Span {
    Span::between(bytes / 5_000, bytes / 500, bytes / 30 + 100)
}

/// A document of so many bytes: text where it is text; a page of a PDF is at most 3,000 tokens and seldom less than
/// two kilobytes.
fn document(bytes: u64) -> Span {
    Span::between(0, bytes / 8, bytes.saturating_add(3_000))
}

fn is_low_detail(part: &Map<String, Value>) -> bool {
    let detail = part.get("detail").or_else(|| part.get("image_url")?.get("detail"));
    detail.and_then(Value::as_str) == Some("low")
}

/// How many bytes a part's data has, decoded: three for four characters of it.
fn bytes_of(part: &Map<String, Value>) -> u64 {
    let longest = part.values().map(longest_text).max().unwrap_or(0);
    u64::try_from(longest).unwrap_or(u64::MAX) / 4 * 3
}

fn longest_text(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(values) => values.iter().map(longest_text).max().unwrap_or(0),
        Value::Object(fields) => fields.values().map(longest_text).max().unwrap_or(0),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}
