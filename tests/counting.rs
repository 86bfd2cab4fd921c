//! Text that arrives in pieces is counted as if it had come whole, whatever it says and however it is split.
//!
//! `PREPAID_CASES` says how many texts (2,000 by default), `PREPAID_SEED` draws the same again.

#![cfg(feature = "testing")]

mod common;

use prepaid::tokens::{TextCounter, Vocabulary};

use common::random::{self, Random};
use common::texts::Drawer;

const VOCABULARIES: [Vocabulary; 11] = [
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
    Vocabulary::Gemma,
];

#[test]
fn any_text_split_anywhere_counts_as_one() {
    let (seed, cases) = (common::number("PREPAID_SEED", random::fresh_seed()), common::number("PREPAID_CASES", 2_000));
    println!("PREPAID_SEED={seed} PREPAID_CASES={cases}");
    let mut drawer = Drawer(Random(seed));
    for case in 0..cases {
        let text = drawer.text();
        let pieces = drawer.split(&text);
        for vocabulary in VOCABULARIES.into_iter().filter(|vocabulary| vocabulary.is_at_hand()) {
            let mut counter = TextCounter::new(vocabulary.clone());
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
        ("gemini-2.5-flash", Vocabulary::Gemma),
        ("google/gemma-3-27b-it", Vocabulary::Gemma),
        ("google/gemma-2-9b-it", Vocabulary::Unknown),
        ("claude-sonnet-4-5", Vocabulary::Unknown),
        ("solo3", Vocabulary::Unknown),
        ("", Vocabulary::Unknown),
    ] {
        assert_eq!(Vocabulary::of_model(name), vocabulary, "{name}");
    }
}
