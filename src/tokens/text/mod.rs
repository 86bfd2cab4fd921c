//! Counting the tokens of text.

mod count;
mod cut;
mod encoding;
#[cfg(feature = "tokenizer-file")]
mod file;
mod thumb;
#[cfg_attr(not(feature = "pieces"), path = "no_tokenizer.rs")]
mod tokenizer;
mod vocabularies;
mod vocabulary;

pub use count::TextCounter;
#[cfg(test)]
pub(crate) use count::tests::COUNTED_BYTES;
pub use vocabularies::Vocabularies;
pub(super) use vocabulary::begins_a_word;
pub use vocabulary::{UnreadableVocabulary, Vocabulary, VocabularyFile};
