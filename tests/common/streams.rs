//! Recorded streams, event by event, with and without the usage their providers report.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use prepaid::metering::observe::{Api, ApiObserver};
use serde::Deserialize;
use serde_json::Value;

use super::requests;

/// One recording in an index.
#[derive(Deserialize)]
pub struct Recording {
    pub file: String,
    pub format: String,
    pub api: String,
    pub model: String,
    pub provider: String,
    #[serde(rename = "true")]
    pub truth: Truth,
    #[serde(skip)]
    pub events: Vec<String>,
    #[serde(skip)]
    pub output_cap: Option<u64>,
    #[serde(skip)]
    pub reasoning_cap: Option<u64>,
}

#[derive(Deserialize)]
pub struct Truth {
    pub input_total: u64,
    pub output_total: u64,
    pub reasoning: Option<u64>,
    /// Cohere bills less than it counts.
    billed_output: Option<u64>,
}

impl Truth {
    /// The output that is billed.
    pub fn billed(&self) -> u64 {
        self.billed_output.unwrap_or(self.output_total)
    }
}

/// Streams whose own usage contradicts what they delivered.
const CONTRADICTORY: &[(&str, &str)] = &[
    ("cerebras__zai-glm-4.7", "bills 108 reasoning tokens and delivers 202"),
    ("localhost__gpt-3.5-turbo", "a test server that makes its usage up"),
    ("groq__groq-compound", "delivers what its agents thought, bills what the last one said"),
    ("open-responses__zai-org-glm-4.7-flash", "bills one token less than its text has, and no call"),
];

/// Fields that say what was used.
const USAGE: [&str; 8] = [
    "usage",
    "usageMetadata",
    "billed_units",
    "prompt_eval_count",
    "eval_count",
    "amazon-bedrock-invocationMetrics",
    "x_groq",
    "cost",
];

/// The recordings of a folder with an `index.json`, and the limits of their requests where those are known.
pub fn of_folder(folder: &Path) -> Vec<Recording> {
    let mut recordings: Vec<Recording> = serde_json::from_slice(&fs::read(folder.join("index.json")).unwrap()).unwrap();
    let requests: BTreeMap<String, requests::Recorded> =
        requests::all().into_iter().map(|request| (request.file.clone(), request)).collect();
    for recording in &mut recordings {
        let body = fs::read_to_string(folder.join(&recording.file)).unwrap();
        recording.events = events(&recording.format, &body);
        if let Some(request) = requests.get(&recording.file) {
            let estimate = request.shape().estimate(request.body().as_bytes(), Some(&recording.model)).unwrap();
            recording.output_cap = estimate.output_cap.map(|cap| cap * estimate.choices);
            recording.reasoning_cap = estimate.reasoning_cap.map(|cap| cap * estimate.choices);
        }
    }
    recordings
}

impl Recording {
    /// Whether it is known to contradict itself: it says nothing of how its model is billed.
    pub fn is_contradictory(&self) -> bool {
        CONTRADICTORY.iter().any(|(part, _)| self.file.contains(part))
    }

    /// An observer that knows of the request what a gateway knows.
    pub fn observer(&self) -> ApiObserver {
        let api = match self.api.as_str() {
            "openai_chat" | "openai_completions" => Api::OpenAiChat,
            "openai_responses" => Api::OpenAiResponses,
            "anthropic" | "bedrock_invoke_anthropic" => Api::Anthropic,
            "gemini" => Api::Gemini,
            "bedrock_converse" => Api::BedrockConverse,
            "cohere_v2" => Api::Cohere,
            "ollama" => Api::Ollama,
            other => panic!("{}: no such api: {other}", self.file),
        };
        let mut observer = ApiObserver::new(api).model(&self.model).prompt_tokens(self.truth.input_total);
        if let Some(cap) = self.output_cap {
            observer = observer.max_output(cap);
        }
        if let Some(cap) = self.reasoning_cap {
            observer = observer.max_reasoning(cap);
        }
        observer
    }
}

fn events(format: &str, body: &str) -> Vec<String> {
    match format {
        "sse" => body.replace("\r\n", "\n").split_inclusive("\n\n").map(str::to_owned).collect(),
        "ndjson" => body.split_inclusive('\n').map(str::to_owned).collect(),
        // The same events as the API sends with `alt=sse`.
        "json-array" => {
            let values: Vec<Value> = serde_json::from_str(body).unwrap();
            values.into_iter().map(|value| format!("data: {value}\n\n")).collect()
        }
        other => panic!("no such format: {other}"),
    }
}

/// The JSON values in an event.
pub fn values(event: &str) -> Vec<Value> {
    event.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data:").unwrap_or(line)).ok()).collect()
}

/// The event without what it says of usage.
pub fn without_usage(event: &str) -> String {
    let line = |line: &str| {
        let (prefix, json) = line.split_at(if line.starts_with("data:") { 5 } else { 0 });
        match serde_json::from_str::<Value>(json) {
            Ok(mut value) if value.is_object() => {
                strip(&mut value);
                format!("{prefix}{value}")
            }
            Ok(_) | Err(_) => line.to_owned(),
        }
    };
    let ending = if event.ends_with("\n\n") { "\n\n" } else { "\n" };
    event.trim_end_matches('\n').lines().map(line).collect::<Vec<_>>().join("\n") + ending
}

/// Whether the event says anything of usage.
pub fn states_usage(event: &str) -> bool {
    values(event).into_iter().any(|mut value| {
        let before = value.clone();
        strip(&mut value);
        value != before
    })
}

fn strip(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|key, value| value.is_null() || !USAGE.contains(&key.as_str()));
            fields.values_mut().for_each(strip);
        }
        Value::Array(values) => values.iter_mut().for_each(strip),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
