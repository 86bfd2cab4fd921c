//! A vocabulary at hand: built in, behind its feature, or loaded from a file.

use super::cut::Seams;
use super::tokenizer::Tokenizer;
use super::vocabulary::Vocabulary;

/// What a vocabulary's texts are counted with.
pub(super) enum Encoding<'a> {
    /// A built-in one that cuts words.
    #[cfg(feature = "bpe")]
    Words(&'static tiktoken::CoreBpe),
    /// A tokenizer as its model's makers publish it.
    Published(&'a Tokenizer),
}

impl<'a> Encoding<'a> {
    /// Unpacks it if nobody did yet.
    pub(super) fn of(vocabulary: &'a Vocabulary) -> Option<Self> {
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
            Vocabulary::Gemma => return Tokenizer::gemma().map(Self::Published),
            Vocabulary::File(file) => return Some(Self::Published(file.tokenizer())),
            Vocabulary::Unknown => return None,
        };
        Self::built_in(name)
    }

    /// Special tokens in the text are text.
    pub(super) fn count(&self, text: &str) -> u64 {
        match self {
            #[cfg(feature = "bpe")]
            Self::Words(bpe) => u64::try_from(bpe.count(text)).unwrap_or(u64::MAX),
            Self::Published(tokenizer) => tokenizer.count(text),
        }
    }

    /// Where its texts may be cut.
    pub(super) fn seams(&self) -> &'a Seams {
        match self {
            #[cfg(feature = "bpe")]
            Self::Words(_) => &Seams::Words,
            Self::Published(tokenizer) => tokenizer.seams(),
        }
    }

    /// Whether a text's first token may be another one than in the middle of a text.
    pub(super) fn minds_beginnings(&self) -> bool {
        match self {
            #[cfg(feature = "bpe")]
            Self::Words(_) => false,
            Self::Published(_) => true,
        }
    }

    #[cfg(feature = "bpe")]
    fn built_in(name: &str) -> Option<Self> {
        // The crate knows the names of the vocabularies that its features built in, and no others.
        tiktoken::get_encoding(name).map(Self::Words)
    }

    #[cfg(not(feature = "bpe"))]
    fn built_in(_name: &str) -> Option<Self> {
        None
    }
}
