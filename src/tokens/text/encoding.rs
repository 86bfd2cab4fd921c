//! The vocabularies that are built in, each behind its feature.

use super::Vocabulary;

/// A vocabulary that is built in and loaded.
#[derive(Clone, Copy)]
pub(super) struct Encoding {
    #[cfg(feature = "bpe")]
    bpe: &'static tiktoken::CoreBpe,
    #[cfg(not(feature = "bpe"))]
    none: std::convert::Infallible,
}

#[cfg(feature = "bpe")]
impl Encoding {
    /// Loads it if nobody did yet.
    pub(super) fn of(vocabulary: Vocabulary) -> Option<Self> {
        let name = match vocabulary {
            Vocabulary::O200k => "o200k_base",
            Vocabulary::Cl100k => "cl100k_base",
            Vocabulary::Llama3 => "llama3",
            Vocabulary::DeepSeek => "deepseek_v3",
            Vocabulary::Qwen => "qwen2",
            Vocabulary::Mistral => "mistral_v3",
            Vocabulary::Kimi => "kimi_k2",
            Vocabulary::Glm4 => "glm4",
            Vocabulary::Glm5 => "glm5",
            Vocabulary::MiniMax => "minimax_m2",
            Vocabulary::Unknown => return None,
        };
        // The crate knows the names of the vocabularies that its features built in, and no others.
        tiktoken::get_encoding(name).map(|bpe| Self { bpe })
    }

    /// Special tokens in the text are text.
    pub(super) fn count(self, text: &str) -> u64 {
        u64::try_from(self.bpe.count(text)).unwrap_or(u64::MAX)
    }
}

#[cfg(not(feature = "bpe"))]
impl Encoding {
    pub(super) fn of(_vocabulary: Vocabulary) -> Option<Self> {
        None
    }

    pub(super) fn count(self, _text: &str) -> u64 {
        match self.none {}
    }
}
