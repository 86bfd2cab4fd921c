//! What a request can use, and what its response did: the crate's estimates and observers of one API put together.

use std::sync::Arc;

use prepaid::metering::observe::{Api, ApiObserver};
use prepaid::tokens::{Observer, RequestEstimate, RequestShape, TokenAccounting, UnreadableRequest};

/// The accounting of an API, by the name it has in an index of recordings. `model` is for APIs that have it in the URL.
pub(crate) fn accounting(api: &str, model: Option<&str>) -> Arc<dyn TokenAccounting> {
    let (shape, api) = match api {
        "openai_responses" => (RequestShape::OpenAiResponses, Api::OpenAiResponses),
        "anthropic" | "bedrock_invoke_anthropic" => (RequestShape::Anthropic, Api::Anthropic),
        "gemini" => (RequestShape::Gemini, Api::Gemini),
        "bedrock_converse" => (RequestShape::BedrockConverse, Api::BedrockConverse),
        "cohere_v2" => (RequestShape::Cohere, Api::Cohere),
        "ollama" => (RequestShape::Ollama, Api::Ollama),
        _ => (RequestShape::OpenAiChat, Api::OpenAiChat),
    };
    Arc::new(Accounting { shape, api, model: model.map(str::to_owned) })
}

#[derive(Debug)]
struct Accounting {
    shape: RequestShape,
    api: Api,
    model: Option<String>,
}

impl TokenAccounting for Accounting {
    fn estimate(&self, request: &[u8]) -> Result<RequestEstimate, UnreadableRequest> {
        self.shape.estimate(request, self.model.as_deref())
    }

    fn observer(&self, request: &[u8]) -> Box<dyn Observer> {
        let mut observer = ApiObserver::new(self.api);
        if let Ok(estimate) = self.estimate(request) {
            observer = observer.prompt_between(estimate.input_least, estimate.input_likely, estimate.input);
            if let Some(cap) = estimate.output_cap {
                observer = observer.max_output(cap.saturating_mul(estimate.choices));
            }
            if let Some(cap) = estimate.reasoning_cap {
                observer = observer.max_reasoning(cap.saturating_mul(estimate.choices));
            }
            if let Some(model) = estimate.model {
                observer = observer.model(model);
            }
        }
        Box::new(observer)
    }
}
