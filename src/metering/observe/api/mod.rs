//! The built-in APIs, and a reader for each.

mod anthropic;
mod bedrock;
mod cohere;
mod gemini;
mod ollama;
mod openai_chat;
mod openai_responses;
mod tools;

use super::tally::Tally;

/// An API whose responses can be observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Api {
    /// OpenAI chat completions, and what calls itself compatible with them: Azure, Groq, DeepSeek, xAI, OpenRouter,
    /// Perplexity, Mistral, vLLM, llama.cpp and many more. Also the older text completions.
    OpenAiChat,
    /// OpenAI responses.
    OpenAiResponses,
    /// Anthropic messages, also as Amazon Bedrock's `InvokeModelWithResponseStream` wraps them.
    Anthropic,
    /// Google's `generateContent` and `streamGenerateContent`, of Gemini and Vertex AI.
    Gemini,
    /// Amazon Bedrock's `Converse` and `ConverseStream`, and `InvokeModelWithResponseStream` of models other than Claude:
    /// what Bedrock says of their usage, and the text of Nova, Llama, Titan, Mistral, Command and what imitates OpenAI.
    BedrockConverse,
    /// Cohere chat, version 2.
    Cohere,
    /// Ollama's own chat and generate.
    Ollama,
}

impl Api {
    /// Every API.
    pub const ALL: [Self; 7] = [
        Self::OpenAiChat,
        Self::OpenAiResponses,
        Self::Anthropic,
        Self::Gemini,
        Self::BedrockConverse,
        Self::Cohere,
        Self::Ollama,
    ];

    /// The name used in metrics and test data.
    pub fn name(self) -> &'static str {
        match self {
            Self::OpenAiChat => "openai_chat",
            Self::OpenAiResponses => "openai_responses",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
            Self::BedrockConverse => "bedrock_converse",
            Self::Cohere => "cohere_v2",
            Self::Ollama => "ollama",
        }
    }

    pub(super) fn reader(self) -> Box<dyn Reader> {
        match self {
            Self::OpenAiChat => Box::new(openai_chat::Chat::default()),
            Self::OpenAiResponses => Box::new(openai_responses::Responses::default()),
            Self::Anthropic => Box::new(anthropic::Messages::default()),
            Self::Gemini => Box::new(gemini::Contents::default()),
            Self::BedrockConverse => Box::new(bedrock::Converse::default()),
            Self::Cohere => Box::new(cohere::Chat),
            Self::Ollama => Box::new(ollama::Chat),
        }
    }
}

/// Reads the events of one API, and its whole bodies, which are events like any other here.
pub(super) trait Reader: Send {
    /// Reads one event's data into `tally`; says whether it was an event of this API.
    fn event(&mut self, json: &str, tally: &mut Tally) -> bool;
}
