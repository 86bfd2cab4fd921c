//! Where a text may be cut so that the tokens of its parts add up to those of the whole.
//!
//! Tokenizers first split text into pieces (a word with the space before it, a few digits, a run of punctuation), then
//! merge bytes inside each piece. A cut is safe where no piece can reach across it, whatever stands before and after.
//! The pairs below are safe for every vocabulary that is built in and cuts words; `tests/counting.rs` holds them against
//! all of them. "The last piece" is no safe cut: what follows can re-split arbitrarily much of a word before it.
//!
//! Tokenizers of the other kind take a text as one piece and merge its characters. Whatever merges is in the vocabulary,
//! so a cut is safe between two characters that no token has side by side.

/// Where the texts of a vocabulary may be cut.
#[derive(Debug)]
pub(super) enum Seams {
    /// Between words: it splits a text into pieces as the built-in vocabularies do.
    Words,
    /// Between characters that no token has side by side: it takes a text as one piece.
    #[cfg_attr(not(feature = "pieces"), allow(dead_code))]
    Strangers(Neighbours),
    /// Nobody knows.
    #[cfg_attr(not(feature = "pieces"), allow(dead_code))]
    Unknown,
}

/// Pairs of characters that are side by side in a token, in order.
#[derive(Debug, Default)]
pub(super) struct Neighbours(Vec<(char, char)>);

impl Neighbours {
    /// Those of a vocabulary, from the texts of its tokens.
    #[cfg(feature = "pieces")]
    pub(super) fn of(tokens: impl IntoIterator<Item = String>) -> Self {
        let mut pairs = Vec::new();
        for token in tokens {
            let seconds = token.chars().skip(1);
            pairs.extend(token.chars().zip(seconds).map(|(left, right)| (as_seen(left), as_seen(right))));
            // Most of them come many times.
            if pairs.len() >= PAIRS_AT_ONCE {
                pairs.sort_unstable();
                pairs.dedup();
            }
        }
        pairs.sort_unstable();
        pairs.dedup();
        pairs.shrink_to_fit();
        Self(pairs)
    }

    fn are(&self, left: char, right: char) -> bool {
        self.0.binary_search(&(as_seen(left), as_seen(right))).is_ok()
    }
}

/// Sorted out when so many have gathered, so that they never take much more room than in the end.
#[cfg(feature = "pieces")]
const PAIRS_AT_ONCE: usize = 1 << 20;

/// Such vocabularies write a space as `▁`.
fn as_seen(character: char) -> char {
    if character == ' ' { '▁' } else { character }
}

/// The last place after the `from`th byte where `text` may be cut, if there is one.
pub(super) fn last_safe(text: &str, from: usize, seams: &Seams) -> Option<usize> {
    match seams {
        Seams::Words => last(text, from, is_between_words),
        Seams::Strangers(neighbours) => last(text, from, |left, right| !neighbours.are(left, right)),
        Seams::Unknown => None,
    }
}

/// The last place after the `from`th byte where a word of `text` ends: where nothing is known to be safe, it most
/// likely is.
pub(super) fn last_likely(text: &str, from: usize) -> Option<usize> {
    last(text, from, is_between_words)
}

fn last(text: &str, from: usize, is_safe: impl Fn(char, char) -> bool) -> Option<usize> {
    let mut right = None;
    for (at, left) in text.char_indices().rev() {
        if let Some((cut, right)) = right
            && is_safe(left, right)
        {
            return Some(cut);
        }
        if at < from {
            return None;
        }
        right = Some((at, left));
    }
    None
}

fn is_between_words(left: char, right: char) -> bool {
    // White space but for line ends only ever opens a piece, or goes on with a run of white space.
    let opens = |space: char| space.is_whitespace() && space != '\n' && space != '\r';
    match left {
        _ if opens(right) => !left.is_whitespace(),
        '0'..='9' => !right.is_numeric(),
        _ if is_letter(left) => right.is_ascii_digit() || right == '\n' || right == '\r' || is_punctuation(right),
        _ => false,
    }
}

/// A letter for sure. (The standard library's `is_alphabetic` holds for some marks and symbols, too.) Letters missed
/// here only make the uncounted tail a little longer.
fn is_letter(character: char) -> bool {
    matches!(character,
        'a'..='z' | 'A'..='Z'
        | '\u{c0}'..='\u{d6}' | '\u{d8}'..='\u{f6}' | '\u{f8}'..='\u{24f}' // Latin
        | '\u{391}'..='\u{3a1}' | '\u{3a3}'..='\u{3e1}' // Greek
        | '\u{400}'..='\u{481}' | '\u{48a}'..='\u{52f}' // Cyrillic
        | '\u{5d0}'..='\u{5ea}' // Hebrew
        | '\u{620}'..='\u{64a}' // Arabic
        | '\u{904}'..='\u{939}' // Devanagari
        | '\u{e01}'..='\u{e30}' // Thai
        | '\u{3041}'..='\u{3096}' | '\u{30a1}'..='\u{30fa}' | '\u{30fc}' // Japanese
        | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' // Chinese
        | '\u{ac00}'..='\u{d7a3}') // Korean
}

/// Punctuation or a symbol for sure, and nothing that a contraction begins with.
fn is_punctuation(character: char) -> bool {
    match character {
        '\'' => false,
        '\u{2010}'..='\u{2018}' | '\u{201c}' | '\u{201d}' | '\u{2026}' => true,
        '\u{3001}' | '\u{3002}' | '\u{3008}'..='\u{3011}' => true,
        '\u{ff01}'..='\u{ff0f}' | '\u{ff1a}'..='\u{ff20}' => character != '\u{ff07}',
        _ => character.is_ascii_punctuation(),
    }
}
