//! Texts of whatever tokenizers treat in a way of its own, and pieces of them.

use super::random::Random;

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

/// Draws texts and splits them.
pub struct Drawer(pub Random);

impl Drawer {
    pub fn text(&mut self) -> String {
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

    pub fn split<'a>(&mut self, text: &'a str) -> Vec<&'a str> {
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
