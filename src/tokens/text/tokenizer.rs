//! Tokenizers that are read from the form in which models are published.

use std::fmt;
#[cfg(feature = "gemma")]
use std::sync::LazyLock;

use splintr::{AnyTokenizer, Backend, SpecialMode};

use super::cut::{Neighbours, Seams};
use super::thumb;

/// A tokenizer with what is known of where its texts may be cut.
pub(super) struct Tokenizer {
    tokenizer: AnyTokenizer,
    /// Tokens that are put around each text.
    around: u64,
    seams: Seams,
}

impl Tokenizer {
    /// Gemma's, unpacked if nobody did yet.
    pub(super) fn gemma() -> Option<&'static Self> {
        #[cfg(feature = "gemma")]
        return GEMMA.as_ref();
        #[cfg(not(feature = "gemma"))]
        None
    }

    /// Special tokens in the text are text.
    pub(super) fn count(&self, text: &str) -> u64 {
        // Nothing is refused where nothing is special.
        let tokens = self.tokenizer.encode_with(text, &SpecialMode::Ordinary);
        tokens.map_or_else(|_| thumb::count(text), |tokens| length(tokens.len()).saturating_sub(self.around))
    }

    pub(super) fn seams(&self) -> &Seams {
        &self.seams
    }

    pub(super) fn new(tokenizer: AnyTokenizer, layout: Layout) -> Self {
        let seams = match (layout, tokenizer.backend()) {
            (Layout::Words, Backend::Bpe(_)) => Seams::Words,
            (Layout::Whole, Backend::Bpe(bpe)) => {
                let ids = 0..u32::try_from(bpe.vocab_size()).unwrap_or(u32::MAX);
                let surfaces = ids.filter_map(|id| bpe.token_surface(id));
                Seams::Strangers(Neighbours::of(surfaces.filter(|surface| !is_byte(surface))))
            }
            (Layout::Words | Layout::Whole | Layout::Other, _) => Seams::Unknown,
        };
        let around = length(tokenizer.policy().single_overhead());
        Self { tokenizer, around, seams }
    }
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer").field("family", &self.tokenizer.family()).finish_non_exhaustive()
    }
}

/// What a tokenizer does with a text before it merges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// Splits it into words, as the built-in vocabularies do, and merges bytes.
    #[cfg_attr(not(feature = "tokenizer-file"), allow(dead_code))]
    Words,
    /// Nothing that could be seen across a cut; it merges characters, and has a token for each byte of those it lacks.
    #[cfg_attr(not(any(feature = "gemma", feature = "tokenizer-file")), allow(dead_code))]
    Whole,
    /// Something else.
    #[cfg_attr(not(feature = "tokenizer-file"), allow(dead_code))]
    Other,
}

#[cfg(feature = "gemma")]
static GEMMA: LazyLock<Option<Tokenizer>> =
    LazyLock::new(|| splintr::from_pretrained("gemma4").ok().map(|gemma| Tokenizer::new(gemma, Layout::Whole)));

/// The token of a byte, for characters that the vocabulary lacks. It merges with nothing.
fn is_byte(surface: &str) -> bool {
    surface.len() == "<0x00>".len() && surface.starts_with("<0x") && surface.ends_with('>')
}

fn length(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
