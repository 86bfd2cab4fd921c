//! Recorded provider streams, as `tests/data/streams` ships them: bodies, requests, and what the provider billed.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, stream};
use prepaid::tokens::{TokenClass, Usage};
use serde::Deserialize;
use serde_json::Value;

/// One recorded answer, event by event.
#[derive(Clone, Debug)]
pub(crate) struct Recording {
    pub(crate) name: String,
    pub(crate) api: String,
    pub(crate) provider: String,
    /// The model that was asked for; price lists know it by this name or by the next.
    pub(crate) requested: String,
    /// The model that answered.
    pub(crate) model: String,
    /// The request's body; empty where it was not recorded.
    pub(crate) request: Bytes,
    /// The body, cut behind every event.
    pub(crate) events: Arc<[Bytes]>,
    /// What the provider says was used.
    pub(crate) truth: Usage,
}

#[derive(Deserialize)]
struct Listed {
    file: String,
    api: String,
    provider: String,
    model: Option<String>,
    requested_model: Option<String>,
    request_file: Option<String>,
    r#true: Counts,
}

/// The index's normal form of a provider's usage.
#[derive(Deserialize)]
struct Counts {
    input_total: Option<u64>,
    cache_read: Option<u64>,
    cache_write: Option<u64>,
    cache_write_1h: Option<u64>,
    output_total: Option<u64>,
    reasoning: Option<u64>,
    audio_in: Option<u64>,
    audio_out: Option<u64>,
    web_search_requests: Option<u64>,
    /// Cohere bills less than it counts.
    billed_input: Option<u64>,
    billed_output: Option<u64>,
}

/// Where the repository keeps them.
pub(crate) fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/streams")
}

/// Reads the recordings that a folder's `index.json` lists.
pub(crate) fn load(folder: &Path) -> io::Result<Vec<Recording>> {
    let index = folder.join("index.json");
    let named = |path: &Path, error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let read = |path: &Path| fs::read(path).map_err(|error| named(path, error));
    let listed: Vec<Listed> =
        serde_json::from_slice(&read(&index)?).map_err(|error| named(&index, io::Error::other(error)))?;
    let recording = |listed: Listed| {
        let body = read(&folder.join(&listed.file))?;
        let request = match &listed.request_file {
            Some(file) => read(&folder.join(file))?,
            None => Vec::new(),
        };
        let model = listed.model.unwrap_or_default();
        Ok(Recording {
            requested: listed.requested_model.unwrap_or_else(|| model.clone()),
            model,
            name: listed.file.rsplit_once('.').map_or(listed.file.as_str(), |(name, _)| name).to_owned(),
            api: listed.api,
            provider: listed.provider,
            request: request.into(),
            events: events(body.into()),
            truth: listed.r#true.usage(),
        })
    };
    listed.into_iter().map(recording).collect()
}

impl Recording {
    /// The first `events` of it as a body that arrives, one event every `pace`.
    pub(crate) fn arrive(
        &self,
        events: usize,
        pace: Duration,
    ) -> impl Stream<Item = Result<Bytes, Infallible>> + Send + use<> {
        let events: Vec<Bytes> = self.events.iter().take(events).cloned().collect();
        stream::unfold(events.into_iter(), move |mut rest| async move {
            let event = rest.next()?;
            tokio::time::sleep(pace).await;
            Some((Ok(event), rest))
        })
    }

    /// The output tokens in the first `events`, where the provider sends one token per delta (as OpenAI does for text):
    /// that is so if all its deltas are as many as the tokens it billed.
    pub(crate) fn tokens_delivered(&self, events: usize) -> Option<u64> {
        let count = |events: usize| {
            self.events.iter().take(events).fold(0_u64, |sum, event| sum.saturating_add(u64::from(has_text(event))))
        };
        (count(self.events.len()) == self.truth.total_output()).then(|| count(events))
    }
}

impl Counts {
    fn usage(&self) -> Usage {
        if let (Some(input), Some(output)) = (self.billed_input, self.billed_output) {
            return Usage::new().with(TokenClass::Input, input).with(TokenClass::Output, output);
        }
        let known = |count: Option<u64>| count.unwrap_or(0);
        let (read, write, hour) = (known(self.cache_read), known(self.cache_write), known(self.cache_write_1h));
        let cached = read.saturating_add(write).saturating_add(known(self.audio_in));
        let thought = known(self.reasoning).min(known(self.output_total));
        Usage::new()
            .with(TokenClass::Input, known(self.input_total).saturating_sub(cached))
            .with(TokenClass::CacheRead, read)
            .with(TokenClass::CacheWrite5m, write.saturating_sub(hour))
            .with(TokenClass::CacheWrite1h, hour)
            .with(TokenClass::AudioInput, known(self.audio_in))
            .with(TokenClass::Reasoning, thought)
            .with(TokenClass::AudioOutput, known(self.audio_out))
            .with(TokenClass::WebSearch, known(self.web_search_requests))
            .with(
                TokenClass::Output,
                known(self.output_total).saturating_sub(thought).saturating_sub(known(self.audio_out)),
            )
    }
}

/// Cuts a body behind every blank line; where there is none, behind every line.
fn events(body: Bytes) -> Arc<[Bytes]> {
    let blank = [&b"\n\n"[..], b"\r\n\r\n"].into_iter().find(|blank| body.windows(blank.len()).any(|at| at == *blank));
    let end = blank.unwrap_or(b"\n");
    let mut rest = body;
    let mut events = Vec::new();
    while let Some(at) = rest.windows(end.len()).position(|window| window == end) {
        events.push(rest.split_to(at + end.len()));
    }
    if !rest.is_empty() {
        events.push(rest);
    }
    events.into()
}

/// Whether a chat event carries visible text.
fn has_text(event: &Bytes) -> bool {
    let text = String::from_utf8_lossy(event);
    let data = text.strip_prefix("data:").unwrap_or_default();
    let Ok(chunk) = serde_json::from_str::<Value>(data) else {
        return false;
    };
    chunk.pointer("/choices/0/delta/content").and_then(Value::as_str).is_some_and(|text| !text.is_empty())
}
