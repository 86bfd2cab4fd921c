//! What is behind the proxy: a provider, or recordings of one.

use std::error::Error;
use std::pin::Pin;
use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use bytes::Bytes;
use futures_util::{Stream, TryStreamExt, stream};
use serde_json::{Value, json};

use crate::recordings::Recording;

pub(crate) type BoxError = Box<dyn Error + Send + Sync>;
pub(crate) type Body = Pin<Box<dyn Stream<Item = Result<Bytes, BoxError>> + Send>>;

/// Who answers.
#[derive(Debug)]
pub(crate) enum Upstream {
    /// A provider's API, such as `https://api.openai.com`, and the key it wants.
    Provider { client: reqwest::Client, url: String, key: Option<String> },
    /// The first recording of the model that is asked for, one event every `pace`.
    Recorded { recordings: Vec<Recording>, pace: Duration },
}

/// An upstream's answer, whose body is still to come.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) content_type: HeaderValue,
    pub(crate) body: Body,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The request never got there: nothing was used.
    NotSent(String),
    /// Nobody can know what the upstream made of it.
    Unknown(String),
}

impl Upstream {
    /// Sends a request and waits for the head of the answer.
    pub(crate) async fn send(&self, request: &Value) -> Result<Answer, Failure> {
        match self {
            Self::Provider { client, url, key } => {
                let mut call = client.post(format!("{url}/v1/chat/completions"));
                call = call.header(header::CONTENT_TYPE, "application/json").body(request.to_string());
                if let Some(key) = key {
                    call = call.bearer_auth(key);
                }
                let response = call.send().await.map_err(|error| {
                    if error.is_connect() || error.is_builder() {
                        Failure::NotSent("upstream cannot be reached".to_owned())
                    } else {
                        Failure::Unknown("upstream broke off before it answered".to_owned())
                    }
                })?;
                let json = HeaderValue::from_static("application/json");
                Ok(Answer {
                    status: response.status(),
                    content_type: response.headers().get(header::CONTENT_TYPE).cloned().unwrap_or(json),
                    body: Box::pin(response.bytes_stream().map_err(BoxError::from)),
                })
            }
            Self::Recorded { recordings, pace } => {
                let model = request["model"].as_str().unwrap_or_default();
                let found = recordings.iter().find(|recording| recording.requested == model);
                let recording = found.ok_or_else(|| Failure::NotSent(format!("nothing is recorded of {model}")))?;
                Ok(if request["stream"] == true { streamed(recording, *pace) } else { whole(recording) })
            }
        }
    }
}

fn streamed(recording: &Recording, pace: Duration) -> Answer {
    Answer {
        status: StatusCode::OK,
        content_type: HeaderValue::from_static("text/event-stream"),
        body: Box::pin(recording.arrive(usize::MAX, pace).map_err(|never| match never {})),
    }
}

/// The same answer as if it had not been streamed.
fn whole(recording: &Recording) -> Answer {
    let (mut text, mut last) = (String::new(), Value::Null);
    for event in recording.events.iter() {
        let event = String::from_utf8_lossy(event);
        let Ok(chunk) = serde_json::from_str::<Value>(event.trim_start_matches("data:")) else {
            continue;
        };
        text += chunk.pointer("/choices/0/delta/content").and_then(Value::as_str).unwrap_or_default();
        last = chunk;
    }
    let body = json!({
        "object": "chat.completion",
        "id": last["id"],
        "model": last["model"],
        "choices": [{ "index": 0, "finish_reason": "stop", "message": { "role": "assistant", "content": text } }],
        "usage": last["usage"],
    });
    Answer {
        status: StatusCode::OK,
        content_type: HeaderValue::from_static("application/json"),
        body: Box::pin(stream::once(async move { Ok(Bytes::from(body.to_string())) })),
    }
}
