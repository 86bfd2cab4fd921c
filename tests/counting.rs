//! Text that arrives in pieces is counted as if it had come whole, whatever it says and however it is split.
//!
//! `PREPAID_CASES` says how many texts (2,000 by default), `PREPAID_SEED` draws the same again.

#![cfg(feature = "testing")]

mod common;

use prepaid::tokens::{TextCounter, Vocabulary};

use common::random::{self, Random};

const VOCABULARIES: [Vocabulary; 10] = [
    Vocabulary::O200k,
    Vocabulary::Cl100k,
    Vocabulary::Llama3,
    Vocabulary::DeepSeek,
    Vocabulary::Qwen,
    Vocabulary::Mistral,
    Vocabulary::Kimi,
    Vocabulary::Glm4,
    Vocabulary::Glm5,
    Vocabulary::MiniMax,
];

/// What texts are made of: whatever tokenizers treat in a way of its own.
const FRAGMENTS: &[&str] = &[
    "the",
    "The",
    "THE",
    "iPhone",
    "HTTPServer",
    "don't",
    "we’ll",
    "it'S",
    "'re",
    "'",
    "’s",
    "o'clock",
    "naïve",
    "Ünïcödé",
    "straße",
    "слово",
    "Слова",
    "λόγος",
    "שלום",
    "مرحبا",
    "हिन्दी",
    "ภาษาไทย",
    "漢字",
    "日本語です",
    "カタカナー",
    "한국어",
    "，",
    "。",
    "「",
    "」",
    "０１２",
    "１",
    "²",
    "½",
    "Ⅷ",
    "٣٤",
    "0",
    "12",
    "345",
    "6789",
    "3.14",
    "1e-7",
    "0x7f",
    "a1b2",
    "x_y",
    "snake_case",
    "camelCase",
    " ",
    "  ",
    "    ",
    "\t",
    "\n",
    "\n\n",
    "\r\n",
    "\r",
    " \n",
    "\u{a0}",
    "\u{3000}",
    "\u{2028}",
    "\u{85}",
    "\u{b}",
    "/",
    "//",
    "\\",
    "\"",
    "```",
    "===",
    "->",
    "::",
    "{",
    "}",
    "();",
    "[]",
    "<|endoftext|>",
    "<think>",
    "</think>",
    "…",
    "—",
    "–",
    "“",
    "”",
    "‘",
    "’",
    "!",
    "?!",
    ".",
    ",",
    ";",
    "#",
    "%",
    "🙂",
    "👨‍👩‍👧‍👦",
    "🇩🇪",
    "❤️",
    "👍🏽",
    "e\u{301}",
    "\u{301}",
    "\u{200d}",
    "\u{fe0f}",
    "\u{0}",
    "\u{7f}",
    "ª",
    "ⓐ",
    "𝒳",
    "𐍈",
    "ǅ",
    "ʰ",
    "々",
    "ー",
    "https://example.com/a?b=c&d=%20",
    "TWFuIGlzIGRpc3Rpbmd1aXNoZWQ",
    "aaaaaaaaaaaaaaaa",
    "fn main() {\n    println!(\"hi\");\n}",
    "SELECT * FROM t WHERE id = 7;",
    "{\"key\": [1, 2.5, null]}",
    "Lorem ipsum dolor sit amet",
    "const x = await f(y);",
];

#[test]
fn any_text_split_anywhere_counts_as_one() {
    let (seed, cases) = (common::number("PREPAID_SEED", random::fresh_seed()), common::number("PREPAID_CASES", 2_000));
    println!("PREPAID_SEED={seed} PREPAID_CASES={cases}");
    let mut drawer = Drawer(Random(seed));
    for case in 0..cases {
        let text = drawer.text();
        let pieces = drawer.split(&text);
        for vocabulary in VOCABULARIES.into_iter().filter(|vocabulary| vocabulary.is_built_in()) {
            let mut counter = TextCounter::new(vocabulary);
            let mut end = 0;
            for piece in &pieces {
                counter.push(piece);
                end += piece.len();
                let whole = vocabulary.count(&text[..end]);
                assert_eq!(
                    counter.count(),
                    whole,
                    "PREPAID_SEED={seed} case {case}: {vocabulary:?}, after {piece:?} of {:?}",
                    &text[..end]
                );
                assert!(counter.ceiling() >= whole);
            }
            assert!(counter.is_exact());
        }
    }
}

#[cfg(feature = "o200k")]
#[test]
fn tail_without_a_safe_cut_stays_bounded_and_nearly_exact() {
    let text = "x".repeat(300_000);
    let mut counter = TextCounter::new(Vocabulary::O200k);
    text.as_bytes().chunks(700).for_each(|piece| counter.push(std::str::from_utf8(piece).unwrap()));
    assert!(counter.ceiling() - counter.count() <= 64 * 1024);
    assert!(counter.count().abs_diff(Vocabulary::O200k.count(&text)) <= 10);
    assert!(!counter.is_exact());
}

#[test]
fn model_names_lead_to_their_vocabulary() {
    for (name, vocabulary) in [
        ("gpt-4o-2024-08-06", Vocabulary::O200k),
        ("openai/gpt-5.2", Vocabulary::O200k),
        ("ft:gpt-4.1-mini:org::id", Vocabulary::O200k),
        ("chatgpt-4o-latest", Vocabulary::O200k),
        ("o4-mini", Vocabulary::O200k),
        ("openai.gpt-oss-120b-1:0", Vocabulary::O200k),
        ("gpt-4-0613", Vocabulary::Cl100k),
        ("gpt-3.5-turbo", Vocabulary::Cl100k),
        ("us.meta.llama3-2-1b-instruct-v1:0", Vocabulary::Llama3),
        ("meta-llama/Llama-2-7b", Vocabulary::Unknown),
        ("deepseek-r1-distill-qwen-32b", Vocabulary::Qwen),
        ("accounts/fireworks/models/deepseek-v3", Vocabulary::DeepSeek),
        ("moonshotai/kimi-k2.5", Vocabulary::Kimi),
        ("zai-glm-4.7", Vocabulary::Glm4),
        ("z-ai/glm-5-turbo", Vocabulary::Glm5),
        ("claude-sonnet-4-5", Vocabulary::Unknown),
        ("solo3", Vocabulary::Unknown),
        ("", Vocabulary::Unknown),
    ] {
        assert_eq!(Vocabulary::of_model(name), vocabulary, "{name}");
    }
}

/// Draws texts and splits them.
struct Drawer(Random);

impl Drawer {
    fn text(&mut self) -> String {
        let mut text = String::new();
        let kinds = 1 + self.0.below(FRAGMENTS.len());
        let offset = self.0.below(FRAGMENTS.len());
        for _ in 0..1 + self.0.below(40) {
            match self.0.below(12) {
                0 => text.push(self.character()),
                1..=4 => text.push(' '),
                _ => text.push_str(FRAGMENTS[(offset + self.0.below(kinds)) % FRAGMENTS.len()]),
            }
        }
        text
    }

    fn character(&mut self) -> char {
        let most = [0x80, 0x800, 0x3100, 0x1_0000, 0x2_0000][self.0.below(5)];
        char::from_u32(u32::try_from(self.0.below(most)).unwrap()).unwrap_or('\u{fffd}')
    }

    fn split<'a>(&mut self, text: &'a str) -> Vec<&'a str> {
        let longest = 1 + self.0.below(12);
        let mut pieces = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let at = rest.char_indices().nth(1 + self.0.below(longest)).map_or(rest.len(), |(at, _)| at);
            let (piece, later) = rest.split_at(at);
            pieces.push(piece);
            rest = later;
        }
        pieces
    }
}
