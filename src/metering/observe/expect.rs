//! What an observer is told up front.

use std::sync::Arc;

use crate::tokens::{Span, Vocabularies, Vocabulary, Yardstick};

/// What is known of a request before its response: all of it optional.
#[derive(Clone, Debug, Default)]
pub(super) struct Expected {
    pub(super) model: Option<Arc<str>>,
    pub(super) prompt: Option<Span>,
    pub(super) max_output: Option<u64>,
    pub(super) max_reasoning: Option<u64>,
    pub(super) vocabulary: Option<Vocabulary>,
    pub(super) vocabularies: Arc<Vocabularies>,
    pub(super) yardstick: Option<Yardstick>,
}

/// How much of its reasoning a model shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reasoning {
    /// All of it, or it does not reason: what is seen is what is billed.
    Shown,
    /// A summary at most, on APIs that say nothing of it before the end.
    Hidden,
}

impl Reasoning {
    /// What is known of a model by its name: OpenAI's, xAI's and Google's reasoning models hide what they think.
    /// Claude does so only where a response shows a thinking block, which its observer sees.
    pub(super) fn of_model(model: &str) -> Self {
        let name = model.rsplit('/').next().unwrap_or(model).to_ascii_lowercase();
        let name = name.strip_prefix("openai.").unwrap_or(&name);
        let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
        let holds = |parts: &[&str]| parts.iter().any(|part| name.contains(part));
        let chats_only = holds(&["chat", "non-reasoning"]);
        let hides = starts(&["o1", "o3", "o4", "gpt-5", "gpt-6", "codex", "computer-use"])
            || starts(&["grok-3-mini", "grok-4", "grok-5", "grok-code"])
            || starts(&["gemini-2.5", "gemini-3", "gemini-4"]);
        if hides && !chats_only { Self::Hidden } else { Self::Shown }
    }
}
