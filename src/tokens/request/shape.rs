//! Where each API keeps its messages, tools and limits.

use std::sync::Arc;

use serde_json::Value;

use super::super::accounting::{Beyond, RequestEstimate, UnreadableRequest};
use super::super::text::Vocabularies;
use super::prompt::Prompt;
use super::template::Template;

/// How an API writes its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum RequestShape {
    /// OpenAI chat completions, text completions, and whatever is compatible with them.
    OpenAiChat,
    /// OpenAI responses.
    OpenAiResponses,
    /// Anthropic messages, also within Bedrock and Vertex AI.
    Anthropic,
    /// Gemini's `generateContent`.
    Gemini,
    /// Bedrock's `Converse`.
    BedrockConverse,
    /// Cohere chat, version 2.
    Cohere,
    /// Ollama's chat and generate.
    Ollama,
}

impl RequestShape {
    /// What a request can use, from its body and the name of its model, for APIs that have it in the URL (Gemini,
    /// Bedrock): the request's own goes first.
    ///
    /// Text is counted as the model's tokenizer does, where its vocabulary is built in. Around it the model's framing
    /// is added as it was found in recorded requests: exact for text to OpenAI's models, a range for tools and for
    /// models with a hidden preamble. `input` is an upper bound unless `beyond` says what may lie beyond it.
    ///
    /// ```
    /// use prepaid::tokens::RequestShape;
    ///
    /// let request = br#"{"model": "gpt-4o", "max_tokens": 50, "messages": [{"role": "user", "content": "Say hi"}]}"#;
    /// let estimate = RequestShape::OpenAiChat.estimate(request, None)?;
    /// assert_eq!(estimate.output_cap, Some(50));
    /// # #[cfg(feature = "o200k")]
    /// assert_eq!((estimate.input_likely, estimate.input), (9, 10));
    /// # Ok::<(), prepaid::tokens::UnreadableRequest>(())
    /// ```
    ///
    /// Time and memory are linear in the size of the request, but tokenizers are slow: 32 MiB take a second or two, and
    /// some ten where they are one endless word. Where bodies may be large, call it within `spawn_blocking`: nothing else
    /// runs on an async worker meanwhile.
    ///
    /// # Errors
    /// [`UnreadableRequest`] for what is no JSON object, or is nested deeper than 128 levels.
    pub fn estimate(self, request: &[u8], model: Option<&str>) -> Result<RequestEstimate, UnreadableRequest> {
        self.estimate_with(request, model, &Vocabularies::new())
    }

    /// The same, with the host's own choice of vocabularies.
    ///
    /// # Errors
    /// As [`RequestShape::estimate`].
    pub fn estimate_with(
        self,
        request: &[u8],
        model: Option<&str>,
        vocabularies: &Vocabularies,
    ) -> Result<RequestEstimate, UnreadableRequest> {
        let request: Value = serde_json::from_slice(request).map_err(|error| UnreadableRequest(error.to_string()))?;
        if !request.is_object() {
            return Err(UnreadableRequest("it is no JSON object".to_owned()));
        }
        let model = request.get("model").and_then(Value::as_str).or(model);
        let name = model.unwrap_or_default().to_ascii_lowercase();
        let mut prompt = Prompt::new(&name, vocabularies.of_model(&name));
        self.read(&request, &mut prompt);
        if SEARCHING.iter().any(|word| name.contains(word)) || name.ends_with(":online") {
            prompt.beyond.insert(Beyond::HostedTool);
        }
        let input = Template::of(&name).map(|template| template.input(&prompt)).unwrap_or_default();
        Ok(RequestEstimate {
            model: model.map(Arc::from),
            input: input.high,
            input_likely: input.point,
            input_least: input.low,
            output_cap: first(&request, self.caps()),
            reasoning_cap: first(&request, REASONING_CAPS),
            choices: first(&request, CHOICES).unwrap_or(1).max(1),
            beyond: prompt.beyond,
            others: prompt.others,
        })
    }

    fn read(self, request: &Value, prompt: &mut Prompt<'_>) {
        let at = |path: &str| request.pointer(path).filter(|value| !value.is_null());
        let says = |path: &&str| at(path).is_some_and(|value| value.as_array().is_none_or(|values| !values.is_empty()));
        for path in ["/system", "/instructions", "/systemInstruction", "/system_instruction"] {
            match at(path) {
                // Bedrock and Anthropic give the system's text in parts, which make one message.
                Some(Value::Array(parts)) if parts.is_empty() => {}
                Some(Value::Array(parts)) => {
                    prompt.messages = prompt.messages.saturating_add(1);
                    parts.iter().for_each(|part| prompt.content(part));
                }
                Some(system) => prompt.message(system),
                None => {}
            }
        }
        for path in ["/messages", "/input", "/contents", "/prompt", "/suffix"] {
            at(path).into_iter().for_each(|messages| prompt.messages(messages));
        }
        for path in ["/tools", "/functions", "/toolConfig/tools"] {
            at(path).into_iter().for_each(|tools| prompt.tools(tools));
        }
        for path in SCHEMAS {
            at(path)
                .filter(|schema| !schema.is_string() || path.ends_with("schema"))
                .into_iter()
                .for_each(|schema| prompt.format(schema));
        }
        for document in at("/documents").and_then(Value::as_array).into_iter().flatten() {
            prompt.content(document.get("data").unwrap_or(document));
        }
        prompt.thinks = THINKING.iter().any(|path| at(path).is_some());
        if at("/models").is_some() {
            prompt.beyond.insert(Beyond::OtherModel);
        }
        if HOSTED.iter().any(says) {
            prompt.beyond.insert(Beyond::HostedTool);
        }
        if STORED.iter().any(says) {
            prompt.beyond.insert(Beyond::StoredContext);
        }
    }

    fn caps(self) -> &'static [&'static str] {
        match self {
            Self::OpenAiChat => &["/max_completion_tokens", "/max_tokens"],
            Self::OpenAiResponses => &["/max_output_tokens"],
            Self::Anthropic | Self::Cohere => &["/max_tokens"],
            Self::Gemini => &["/generationConfig/maxOutputTokens", "/generation_config/max_output_tokens"],
            Self::BedrockConverse => &["/inferenceConfig/maxTokens"],
            Self::Ollama => &["/options/num_predict"],
        }
    }
}

/// Schemas that the answer must fit, which the model is shown.
const SCHEMAS: [&str; 7] = [
    "/response_format/json_schema",
    "/text/format/schema",
    "/output_config/format/schema",
    "/outputConfig/textFormat/structure/jsonSchema/schema",
    "/generationConfig/responseSchema",
    "/generationConfig/responseJsonSchema",
    "/format",
];

/// Models that search, compute and think in rounds of their own before they answer.
const SEARCHING: [&str; 3] = ["compound", "sonar", "deep-research"];

const REASONING_CAPS: &[&str] = &[
    "/thinking/budget_tokens",
    "/thinking/token_budget",
    "/reasoning/max_tokens",
    "/generationConfig/thinkingConfig/thinkingBudget",
    "/additionalModelRequestFields/thinking/budget_tokens",
    "/additionalModelRequestFields/reasoning_config/budget_tokens",
];

/// What tells a model to think.
const THINKING: [&str; 5] = [
    "/thinking",
    "/reasoning",
    "/reasoning_effort",
    "/additionalModelRequestFields/thinking",
    "/additionalModelRequestFields/reasoning_config",
];

const CHOICES: &[&str] = &["/n", "/generationConfig/candidateCount"];

/// What has the provider search or call tools before the model reads the prompt, beside `tools`: OpenAI's search models,
/// xAI's live search, OpenRouter's plugins, Anthropic's MCP servers.
const HOSTED: [&str; 4] = ["/web_search_options", "/search_parameters", "/plugins", "/mcp_servers"];

/// What stands for a past, or a template, that only the provider knows.
const STORED: [&str; 6] =
    ["/previous_response_id", "/conversation", "/cachedContent", "/cached_content", "/container", "/prompt/id"];

fn first(request: &Value, paths: &[&str]) -> Option<u64> {
    paths.iter().find_map(|path| request.pointer(path)?.as_u64())
}
