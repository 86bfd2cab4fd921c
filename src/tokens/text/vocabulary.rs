//! Which vocabulary a model's text is cut up with.

use super::encoding::Encoding;
use super::thumb;

/// A tokenizer's vocabulary, named by what it is, whether or not this build carries it.
///
/// A vocabulary that is not built in (its feature is off, or it is not public) is stood in for: by o200k where that is
/// there, else by a rule of thumb over the text's bytes. [`TextCounter::is_exact`](super::TextCounter::is_exact) tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
    /// No public vocabulary, or a model nobody told us about.
    Unknown,
}

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
        BY_NAME.iter().find(|(word, _)| begins_a_word(&name, word)).map_or(Self::Unknown, |(_, vocabulary)| *vocabulary)
    }

    /// Whether this build counts with the vocabulary itself, and not with a stand-in.
    pub fn is_built_in(self) -> bool {
        Encoding::of(self).is_some()
    }

    /// Unpacks the vocabulary, or what stands in for it, now. Otherwise the first count does it, which then takes a
    /// tenth of a second. It happens once in a process; everyone shares it.
    pub fn load(self) {
        self.count("");
    }

    /// How many tokens a whole text is. Counts in pieces never add up to it: see [`TextCounter`](super::TextCounter).
    pub fn count(self, text: &str) -> u64 {
        match Encoding::of(self).or_else(|| Encoding::of(Self::O200k)) {
            Some(encoding) => encoding.count(text),
            None => thumb::count(text),
        }
    }
}

/// Whether `word` is in `name` and no letter runs into it from the left: `o3` is in `openai/o3-mini`, not in `solo3`.
pub(in crate::tokens) fn begins_a_word(name: &str, word: &str) -> bool {
    name.match_indices(word).any(|(at, _)| {
        let before = name.get(..at).and_then(|text| text.chars().next_back());
        !before.is_some_and(|character| character.is_ascii_alphanumeric())
    })
}
