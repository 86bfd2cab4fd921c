//! Counting the tokens of text.

mod count;
mod cut;
mod encoding;
mod thumb;
mod vocabulary;

pub use count::TextCounter;
pub use vocabulary::Vocabulary;
pub(super) use vocabulary::begins_a_word;
