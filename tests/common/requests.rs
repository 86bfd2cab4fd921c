//! Recorded requests with the input tokens their providers billed. Each line of `tests/data/requests.jsonl` names the
//! open-source project it was recorded by, and that project's licence.

use std::path::Path;
use std::{env, fs};

use prepaid::tokens::RequestShape;
use serde::Deserialize;
use serde_json::value::RawValue;

/// A recorded request.
#[derive(Deserialize)]
pub struct Recorded {
    pub file: String,
    pub api: String,
    pub model: String,
    pub input_total: u64,
    request: Box<RawValue>,
}

/// The shipped ones, and those of the folder that `PREPAID_STREAMS` names.
pub fn all() -> Vec<Recorded> {
    let shipped = include_str!("../data/requests.jsonl");
    let mut requests: Vec<Recorded> = shipped.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    if let Some(folder) = env::var_os("PREPAID_STREAMS") {
        requests.extend(of_folder(Path::new(&folder)));
    }
    requests
}

fn of_folder(folder: &Path) -> Vec<Recorded> {
    #[derive(Deserialize)]
    struct Entry {
        file: String,
        api: String,
        model: String,
        request_file: Option<String>,
        #[serde(rename = "true")]
        truth: Option<Truth>,
    }
    #[derive(Deserialize)]
    struct Truth {
        input_total: Option<u64>,
    }
    let index: Vec<Entry> = serde_json::from_slice(&fs::read(folder.join("index.json")).unwrap()).unwrap();
    let known = |entry: Entry| {
        let request = fs::read_to_string(folder.join(entry.request_file?)).unwrap();
        Some(Recorded {
            file: entry.file,
            api: entry.api,
            model: entry.model,
            input_total: entry.truth?.input_total?,
            request: RawValue::from_string(request.trim().to_owned()).unwrap(),
        })
    };
    index.into_iter().filter_map(known).collect()
}

impl Recorded {
    /// How its API writes requests.
    pub fn shape(&self) -> RequestShape {
        match self.api.as_str() {
            "openai_chat" | "openai_completions" => RequestShape::OpenAiChat,
            "openai_responses" => RequestShape::OpenAiResponses,
            "anthropic" | "bedrock_invoke_anthropic" => RequestShape::Anthropic,
            "gemini" => RequestShape::Gemini,
            "bedrock_converse" => RequestShape::BedrockConverse,
            "cohere_v2" => RequestShape::Cohere,
            "ollama" => RequestShape::Ollama,
            other => panic!("{}: no such api: {other}", self.file),
        }
    }

    /// Its body, with stand-ins for the binary data that the recordings leave out (`[binary 3846 chars removed]`).
    pub fn body(&self) -> String {
        let mut body = String::new();
        let mut rest = self.request.get();
        while let Some((before, after)) = rest.split_once("[binary ") {
            let (count, after) = after.split_once(" chars removed]").unwrap();
            body.push_str(before);
            body.push_str(&"A".repeat(count.parse().unwrap()));
            rest = after;
        }
        body + rest
    }
}
