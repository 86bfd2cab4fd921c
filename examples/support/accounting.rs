//! What a request can use, and what its response did.

use std::sync::Arc;

use prepaid::metering::observe::{Api, ApiObserver};
use prepaid::tokens::{Observer, RequestEstimate, TextCounter, TokenAccounting, UnreadableRequest, Vocabulary};
use serde_json::Value;

/// The accounting of an API, by the name it has in an index of recordings.
pub(crate) fn accounting(api: &str) -> Arc<dyn TokenAccounting> {
    let api = match api {
        "openai_completions" => Api::OpenAiChat,
        "bedrock_invoke_anthropic" => Api::Anthropic,
        name => Api::ALL.into_iter().find(|api| api.name() == name).unwrap_or(Api::OpenAiChat),
    };
    Arc::new(Accounting(api))
}

#[derive(Debug)]
struct Accounting(Api);

impl TokenAccounting for Accounting {
    fn estimate(&self, request: &[u8]) -> Result<RequestEstimate, UnreadableRequest> {
        let unreadable = |error: serde_json::Error| UnreadableRequest(error.to_string());
        let request: Value = serde_json::from_slice(request).map_err(unreadable)?;
        let model = request["model"].as_str().ok_or_else(|| UnreadableRequest("it names no model".to_owned()))?;
        let mut estimate = RequestEstimate::default();
        estimate.model = Some(model.into());
        // A tenth more for what frames it.
        let text = text_tokens(&request, Vocabulary::of_model(model));
        estimate.input = text + text / 10 + 8;
        let cap = ["max_completion_tokens", "max_tokens"].into_iter().find_map(|cap| request[cap].as_u64());
        estimate.output_cap = cap;
        estimate.choices = request["n"].as_u64().unwrap_or(1);
        Ok(estimate)
    }

    fn observer(&self, request: &[u8]) -> Box<dyn Observer> {
        let mut observer = ApiObserver::new(self.0);
        if let Ok(estimate) = self.estimate(request) {
            observer = observer.prompt_tokens(estimate.input);
            if let Some(model) = estimate.model {
                observer = observer.model(model);
            }
            if let Some(cap) = estimate.output_cap {
                observer = observer.max_output(cap * estimate.choices);
            }
        }
        Box::new(observer)
    }
}

fn text_tokens(value: &Value, vocabulary: Vocabulary) -> u64 {
    match value {
        Value::String(text) => {
            let mut counter = TextCounter::new(vocabulary);
            counter.push(text);
            counter.count()
        }
        Value::Array(items) => items.iter().map(|item| text_tokens(item, vocabulary)).sum(),
        Value::Object(fields) => {
            fields.iter().filter(|(name, _)| *name != "model").map(|(_, value)| text_tokens(value, vocabulary)).sum()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}
