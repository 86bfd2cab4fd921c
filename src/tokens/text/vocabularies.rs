//! Which vocabulary a host counts which models with.

use super::vocabulary::{Vocabulary, begins_a_word};

/// The vocabularies of models: the host's own choices, then [what is known](Vocabulary::of_model) by the model's name.
///
/// ```
/// use prepaid::tokens::{Vocabularies, Vocabulary};
///
/// let vocabularies = Vocabularies::new().with("our-coder", Vocabulary::Qwen);
/// assert_eq!(vocabularies.of_model("acme/our-coder-2"), Vocabulary::Qwen);
/// assert_eq!(vocabularies.of_model("gpt-4o"), Vocabulary::O200k);
/// ```
///
/// A vocabulary that nobody may ship is read from its makers' file:
///
/// ```no_run
/// # #[cfg(feature = "tokenizer-file")] {
/// use std::sync::Arc;
/// use prepaid::metering::{ApiAccounting, observe::Api};
/// use prepaid::tokens::{Vocabularies, Vocabulary};
///
/// let llama2 = Vocabulary::from_file("llama-2/tokenizer.json")?;
/// let vocabularies = Arc::new(Vocabularies::new().with("llama-2", llama2));
/// let accounting = ApiAccounting::new(Api::OpenAiChat).vocabularies(vocabularies);
/// # }
/// # Ok::<(), prepaid::tokens::UnreadableVocabulary>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Vocabularies {
    chosen: Vec<(String, Vocabulary)>,
}

impl Vocabularies {
    /// No choices: every model is counted with what is known of it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts models with `vocabulary` if `word` is in their name, in whatever case, with no letter or digit before it:
    /// `gemini` is in `google/gemini-2.5-pro`. Of several words that are in a name, the one that was given first decides.
    #[must_use]
    pub fn with(mut self, word: &str, vocabulary: Vocabulary) -> Self {
        self.chosen.push((word.to_ascii_lowercase(), vocabulary));
        self
    }

    /// The vocabulary of a model, from the name a request or a response gives it.
    pub fn of_model(&self, model: &str) -> Vocabulary {
        let name = model.to_ascii_lowercase();
        let chosen = self.chosen.iter().find(|(word, _)| begins_a_word(&name, word));
        chosen.map_or_else(|| Vocabulary::of_model(model), |(_, vocabulary)| vocabulary.clone())
    }
}
