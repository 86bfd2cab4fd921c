//! Which vocabulary a model's text is cut up with.

use std::sync::Arc;

use super::cut::Seams;
use super::encoding::Encoding;
use super::thumb;
use super::tokenizer::Tokenizer;

/// A tokenizer's vocabulary, named by what it is, whether or not this build carries it; or one that was loaded from a
/// file.
///
/// A vocabulary that is not at hand (its feature is off, or it is not public) is stood in for: by o200k where that is
/// there, else by a rule of thumb over the text's bytes. [`TextCounter::is_exact`](super::TextCounter::is_exact) tells.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Vocabulary {
    /// OpenAI since GPT-4o: feature `o200k`.
    O200k,
    /// GPT-4 and GPT-3.5: feature `cl100k`.
    Cl100k,
    /// Llama 3 and 4: feature `llama3`.
    Llama3,
    /// DeepSeek V3, R1 and V4: feature `deepseek`.
    DeepSeek,
    /// Qwen 2 to 3: feature `qwen`.
    Qwen,
    /// Mistral since Nemo (Tekken): feature `mistral`.
    Mistral,
    /// Kimi K2 and K3: feature `kimi`.
    Kimi,
    /// GLM 4: feature `glm`.
    Glm4,
    /// GLM 5: feature `glm`.
    Glm5,
    /// MiniMax M2: feature `minimax`.
    MiniMax,
    /// Gemma 3 and 4, and Gemini, which counts as they do: feature `gemma`.
    Gemma,
    /// One that the host loaded: [`Vocabulary::from_file`].
    File(VocabularyFile),
    /// No public vocabulary, or a model nobody told us about.
    Unknown,
}

/// A vocabulary that was loaded from a file. Cheap to clone; equal to its clones and to no other.
#[derive(Clone, Debug)]
pub struct VocabularyFile(Arc<Tokenizer>);

/// A vocabulary that cannot be used, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("vocabulary cannot be read: {0}")]
pub struct UnreadableVocabulary(pub String);

/// Words in a model's name, lower case, and what they say. The first that is found wins, so that a distillation is
/// recognised by the model it was distilled into, and a rule for a family comes after those for its exceptions.
const BY_NAME: &[(&str, Vocabulary)] = &[
    // Distillations keep the vocabulary of the model they are made from.
    ("distill-llama", Vocabulary::Llama3),
    ("distill-qwen", Vocabulary::Qwen),
    // tiktoken's own table (openai/tiktoken, tiktoken/model.py).
    ("gpt-oss", Vocabulary::O200k),
    ("gpt-5", Vocabulary::O200k),
    ("gpt-4o", Vocabulary::O200k),
    ("chatgpt-4o", Vocabulary::O200k),
    ("gpt-4.", Vocabulary::O200k),
    ("gpt-4", Vocabulary::Cl100k),
    ("gpt-3.5", Vocabulary::Cl100k),
    ("gpt-35", Vocabulary::Cl100k),
    ("o1", Vocabulary::O200k),
    ("o3", Vocabulary::O200k),
    ("o4", Vocabulary::O200k),
    // tokenizer.json of the models' own repositories.
    ("llama-2", Vocabulary::Unknown),
    ("llama2", Vocabulary::Unknown),
    ("llama", Vocabulary::Llama3),
    ("deepseek", Vocabulary::DeepSeek),
    ("qwen3.5", Vocabulary::Unknown),
    ("qwen3-5", Vocabulary::Unknown),
    ("qwen", Vocabulary::Qwen),
    ("qwq", Vocabulary::Qwen),
    ("mistral-tiny", Vocabulary::Unknown),
    ("mistral-7b", Vocabulary::Unknown),
    ("mistral", Vocabulary::Mistral),
    ("ministral", Vocabulary::Mistral),
    ("magistral", Vocabulary::Mistral),
    ("devstral", Vocabulary::Mistral),
    ("codestral", Vocabulary::Mistral),
    ("voxtral", Vocabulary::Mistral),
    ("pixtral", Vocabulary::Mistral),
    ("kimi", Vocabulary::Kimi),
    // Google's own library counts for Gemini with the vocabulary of Gemma 3 (googleapis/python-genai,
    // _local_tokenizer_loader.py); that of Gemma 4 has the same pieces. The first ones had another.
    ("gemini-1", Vocabulary::Unknown),
    ("gemini", Vocabulary::Gemma),
    ("gemma-2", Vocabulary::Unknown),
    ("gemma2", Vocabulary::Unknown),
    ("gemma-7b", Vocabulary::Unknown),
    ("gemma", Vocabulary::Gemma),
    ("glm-5", Vocabulary::Glm5),
    ("glm-4", Vocabulary::Glm4),
    ("minimax-m2", Vocabulary::MiniMax),
];

impl Vocabulary {
    /// The vocabulary of a model, from the name a request or a response gives it.
    ///
    /// Routers' prefixes (`openai/`, `us.meta.`, `accounts/fireworks/models/`) and suffixes (dates, sizes, `:free`) do
    /// not matter, nor does case.
    ///
    /// ```
    /// use prepaid::tokens::Vocabulary;
    ///
    /// assert_eq!(Vocabulary::of_model("openai/gpt-4o-mini-2024-07-18"), Vocabulary::O200k);
    /// assert_eq!(Vocabulary::of_model("deepseek-r1-distill-llama-70b"), Vocabulary::Llama3);
    /// assert_eq!(Vocabulary::of_model("claude-sonnet-4-5"), Vocabulary::Unknown);
    /// ```
    pub fn of_model(model: &str) -> Self {
        let name = model.to_ascii_lowercase();
        BY_NAME
            .iter()
            .find(|(word, _)| begins_a_word(&name, word))
            .map_or(Self::Unknown, |(_, vocabulary)| vocabulary.clone())
    }

    /// Loads a tokenizer from a `tokenizer.json`, the form in which models are published at Hugging Face. Feature
    /// `tokenizer-file`.
    ///
    /// Load it once and share it: it takes up to a second, and some hundred bytes for each of its tokens.
    ///
    /// Two kinds count exactly at any cut of a text, in time that is linear in it: byte-level BPE that splits words as
    /// OpenAI's, Llama's, Qwen's, Mistral's, Kimi's, DeepSeek's or GPT-2's does; and BPE over whole texts with a token
    /// for each byte, as Gemma's, Llama 2's and the first Mistrals'. Any other is exact up to 4 KiB of a text; a longer
    /// one is counted in parts, each of which may add or hide some tokens: see
    /// [`TextCounter::slack`](super::TextCounter::slack).
    ///
    /// Special tokens in a text are text.
    ///
    /// # Errors
    /// [`UnreadableVocabulary`], naming what is wrong: it cannot be read, has more than 128 MiB, is no `tokenizer.json`,
    /// has something that would change its counts and is not known here, or has no token for an ordinary character.
    #[cfg(feature = "tokenizer-file")]
    pub fn from_file(path: impl AsRef<std::path::Path>) -> Result<Self, UnreadableVocabulary> {
        use std::io::Read;

        let path = path.as_ref();
        let named = |reason: String| UnreadableVocabulary(format!("{}: {reason}", path.display()));
        let mut json = Vec::new();
        let file = std::fs::File::open(path).map_err(|error| named(error.to_string()))?;
        let length = u64::try_from(FILE_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
        file.take(length).read_to_end(&mut json).map_err(|error| named(error.to_string()))?;
        Self::from_json(&json).map_err(|UnreadableVocabulary(reason)| named(reason))
    }

    /// The same from the content of such a file.
    ///
    /// # Errors
    /// As [`Vocabulary::from_file`].
    #[cfg(feature = "tokenizer-file")]
    pub fn from_json(json: &[u8]) -> Result<Self, UnreadableVocabulary> {
        if json.len() > FILE_BYTES_MAX {
            return Err(UnreadableVocabulary(format!("it has more than {FILE_BYTES_MAX} bytes")));
        }
        super::file::read(json).map(|tokenizer| Self::File(VocabularyFile(Arc::new(tokenizer))))
    }

    /// Whether texts are counted with the vocabulary itself, and not with a stand-in: it is built in or loaded.
    pub fn is_at_hand(&self) -> bool {
        Encoding::of(self).is_some()
    }

    /// Unpacks the vocabulary, or what stands in for it, now. Otherwise the first count does it, which then takes a
    /// tenth of a second. It happens once in a process; everyone shares it.
    pub fn load(&self) {
        self.count("");
    }

    /// How many tokens a whole text is. Counts in pieces never add up to it: see [`TextCounter`](super::TextCounter).
    pub fn count(&self, text: &str) -> u64 {
        match self.encoding() {
            Some(encoding) => encoding.count(text),
            None => thumb::count(text),
        }
    }

    /// Where its texts may be cut.
    pub(super) fn seams(&self) -> &Seams {
        self.encoding().map_or(&Seams::Words, |encoding| encoding.seams())
    }

    /// Whether a text's first token may be another one than in the middle of a text.
    pub(super) fn minds_beginnings(&self) -> bool {
        self.encoding().is_some_and(|encoding| encoding.minds_beginnings())
    }

    /// Its own encoding, or what stands in for it.
    fn encoding(&self) -> Option<Encoding<'_>> {
        Encoding::of(self).or_else(|| Encoding::of(&Self::O200k))
    }
}

impl VocabularyFile {
    pub(super) fn tokenizer(&self) -> &Tokenizer {
        &self.0
    }
}

impl PartialEq for VocabularyFile {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for VocabularyFile {}

/// Several times the largest that are published.
#[cfg(feature = "tokenizer-file")]
const FILE_BYTES_MAX: usize = 128 << 20;

/// Whether `word` is in `name` and no letter runs into it from the left: `o3` is in `openai/o3-mini`, not in `solo3`.
pub(in crate::tokens) fn begins_a_word(name: &str, word: &str) -> bool {
    name.match_indices(word).any(|(at, _)| {
        let before = name.get(..at).and_then(|text| text.chars().next_back());
        !before.is_some_and(|character| character.is_ascii_alphanumeric())
    })
}
