//! Where a text may be cut so that the tokens of its parts add up to those of the whole.
//!
//! Tokenizers first split text into pieces (a word with the space before it, a few digits, a run of punctuation), then
//! merge bytes inside each piece. A cut is safe where no piece can reach across it, whatever stands before and after.
//! The pairs below are safe for every vocabulary that is built in; `tests/counting.rs` holds them against all of them.
//! "The last piece" is no safe cut: what follows can re-split arbitrarily much of a word before it.

/// The last place after the `from`th byte where `text` may be cut, if there is one.
pub(super) fn last_safe(text: &str, from: usize) -> Option<usize> {
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

fn is_safe(left: char, right: char) -> bool {
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
