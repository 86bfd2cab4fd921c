//! A vocabulary that is loaded from a `tokenizer.json` counts as the reference implementation does, at any cut of a text,
//! in bounded memory; what cannot be counted with is refused with a reason.
//!
//! `PREPAID_CASES` says how many texts (1,000 by default), `PREPAID_SEED` draws the same again. `PREPAID_TOKENIZER` names
//! a further file to count with.

#![cfg(all(feature = "testing", feature = "tokenizer-file"))]

mod common;

use std::path::Path;
use std::sync::Arc;
use std::{env, fs};

use prepaid::metering::ApiAccounting;
use prepaid::metering::observe::Api;
use prepaid::tokens::{
    Certainty, RequestShape, TextCounter, TokenAccounting, TokenClass, UnreadableVocabulary, Vocabularies, Vocabulary,
};
use serde_json::{Value, json};

use common::random::{self, Random};
use common::texts::Drawer;

const FOLDER: &str = "tests/data/tokenizers";

/// A name, and whether it is known where its texts may be cut.
type Named = (&'static str, bool, Vocabulary);

/// The two vocabularies in every layout that is told apart.
fn vocabularies() -> Vec<Named> {
    let (words, pieces) = (read("words.json"), read("pieces.json"));
    let with = |file: &Value, fields: &[(&str, Value)]| {
        let mut file = file.clone();
        fields.iter().for_each(|(field, value)| file[field] = value.clone());
        Vocabulary::from_json(file.to_string().as_bytes()).unwrap()
    };
    let spaces = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
    let at_spaces =
        json!({"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": false});
    let metaspace = |scheme: &str, split: bool| json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": split});
    let gpt2 = json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true});
    let runs = json!({"type": "Split", "pattern": {"Regex": r"\p{L}+|\p{N}+|[^\p{L}\p{N}]+"}, "behavior": "Isolated", "invert": false});
    let bytes = words["pre_tokenizer"]["pretokenizers"][1].clone();
    let strange = json!({"type": "Sequence", "pretokenizers": [runs, bytes]});
    vec![
        ("words", true, with(&words, &[])),
        ("gpt2", true, with(&words, &[("pre_tokenizer", gpt2)])),
        ("other", false, with(&words, &[("pre_tokenizer", strange)])),
        ("llama2", true, with(&pieces, &[])),
        ("gemma", true, with(&pieces, &[("normalizer", spaces), ("pre_tokenizer", at_spaces)])),
        ("mistral", true, with(&pieces, &[("normalizer", Value::Null), ("pre_tokenizer", metaspace("first", false))])),
        (
            "metaspace",
            true,
            with(&pieces, &[("normalizer", Value::Null), ("pre_tokenizer", metaspace("always", true))]),
        ),
    ]
}

#[test]
fn counts_are_those_of_the_reference_implementation() {
    let rows = fs::read_to_string(Path::new(FOLDER).join("counts.jsonl")).unwrap();
    let rows: Vec<Value> = rows.lines().map(|row| serde_json::from_str(row).unwrap()).collect();
    let mut wrong = Vec::new();
    for (name, _, vocabulary) in vocabularies() {
        for row in &rows {
            let (counted, expected) = (vocabulary.count(row["text"].as_str().unwrap()), row[name].as_u64().unwrap());
            if counted != expected {
                wrong.push(format!("{name}: {counted} instead of {expected}: {}", row["text"]));
            }
        }
    }
    assert!(rows.len() >= 200 && wrong.is_empty(), "{} wrong: {}", wrong.len(), wrong.join("\n"));
}

#[test]
fn any_text_split_anywhere_counts_as_one() {
    let (seed, cases) = (common::number("PREPAID_SEED", random::fresh_seed()), common::number("PREPAID_CASES", 1_000));
    println!("PREPAID_SEED={seed} PREPAID_CASES={cases}");
    let mut drawer = Drawer(Random(seed));
    let mut vocabularies = vocabularies();
    if let Some(path) = env::var_os("PREPAID_TOKENIZER") {
        vocabularies.push(("PREPAID_TOKENIZER", true, Vocabulary::from_file(path).unwrap()));
    }
    for case in 0..cases {
        let text = drawer.text();
        let pieces = drawer.split(&text);
        for (name, _, vocabulary) in &vocabularies {
            let mut counter = TextCounter::new(vocabulary.clone());
            let mut end = 0;
            for piece in &pieces {
                counter.push(piece);
                end += piece.len();
                let (counted, whole) = (counter.count(), vocabulary.count(&text[..end]));
                let said = || format!("PREPAID_SEED={seed} case {case}: {name}, after {piece:?} of {:?}", &text[..end]);
                assert_eq!(counted, whole, "{}", said());
                assert!(counter.ceiling() >= whole, "{}", said());
            }
            assert!(counter.is_exact() && counter.slack() == 0);
        }
    }
}

/// Where nobody knows how to cut, long texts are counted in parts, and the counter says how far it may be off.
#[test]
fn long_text_is_exact_where_its_seams_are_known_and_within_its_slack_elsewhere() {
    let seed = common::number("PREPAID_SEED", random::fresh_seed());
    println!("PREPAID_SEED={seed}");
    let mut drawer = Drawer(Random(seed));
    let mut text = String::new();
    while text.len() < 60_000 {
        text.push_str(&drawer.text());
    }
    for (name, is_known, vocabulary) in vocabularies() {
        let mut counter = TextCounter::new(vocabulary.clone());
        drawer.split(&text).into_iter().for_each(|piece| counter.push(piece));
        let off = counter.count().abs_diff(vocabulary.count(&text));
        println!("{name}: off by {off}, slack {}", counter.slack());
        assert_eq!(counter.is_exact(), is_known, "PREPAID_SEED={seed} {name}");
        assert!(off <= counter.slack(), "PREPAID_SEED={seed} {name}: off by {off}, slack {}", counter.slack());
    }
}

/// One endless word has no seam at all.
#[test]
fn endless_word_is_cut_by_force_and_stays_within_its_slack() {
    for (name, is_known, vocabulary) in vocabularies() {
        let word: String = "counters ".replace(' ', "").chars().cycle().take(200_000).collect();
        let mut counter = TextCounter::new(vocabulary.clone());
        word.as_bytes().chunks(700).for_each(|piece| counter.push(std::str::from_utf8(piece).unwrap()));
        assert!(!counter.is_exact());
        let cuts = counter.slack() / 8;
        assert_eq!(cuts, if is_known { 200_000 / 65_536 } else { 200_000 / 4_096 }, "{name}");
        let off = counter.count().abs_diff(vocabulary.count(&word));
        println!("{name}: off by {off} after {cuts} cuts");
        assert!(off <= cuts * 2, "{name}: off by {off} after {cuts} cuts");
    }
}

#[test]
fn files_that_cannot_be_counted_with_are_refused_with_a_reason() {
    let pieces = read("pieces.json");
    let with = |path: &str, value: Value| {
        let mut file = pieces.clone();
        *file.pointer_mut(path).unwrap() = value;
        file.to_string()
    };
    let mut lacking = read("words.json");
    lacking["model"]["vocab"] = json!({"a": 0});
    lacking["model"]["merges"] = json!([]);
    for (file, reason) in [
        (String::new(), "EOF while parsing"),
        ("{}".to_owned(), "missing field `model`"),
        (pieces.to_string()[..9_000].to_owned(), "EOF while parsing"),
        (with("/model/dropout", json!(0.1)), "its dropout is not zero"),
        (with("/model/type", json!("Magic")), "Magic"),
        (with("/normalizer", json!({"type": "Magic"})), "Magic"),
        (with("/pre_tokenizer", json!({"type": "Magic"})), "Magic"),
        (lacking.to_string(), "no token for"),
    ] {
        let read = Vocabulary::from_json(file.as_bytes());
        let Err(UnreadableVocabulary(said)) = read else { panic!("read, although: {reason}: {:.200}", file) };
        assert!(said.contains(reason), "{said} does not say {reason}");
    }
    let huge = vec![b' '; (128 << 20) + 1];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    fs::write(&path, &huge).unwrap();
    for error in [Vocabulary::from_json(&huge).unwrap_err(), Vocabulary::from_file(&path).unwrap_err()] {
        assert!(error.to_string().contains("it has more than 134217728 bytes"), "{error}");
    }
    let missing = Vocabulary::from_file(folder.path().join("none.json")).unwrap_err().to_string();
    assert!(missing.starts_with("vocabulary cannot be read: ") && missing.contains("none.json"), "{missing}");
}

/// A model whose vocabulary is not built in is counted exactly with the file that the host names for it: its request, and
/// an answer that breaks off.
#[test]
fn named_file_counts_the_requests_and_answers_of_its_models() {
    let pieces = Vocabulary::from_file(Path::new(FOLDER).join("pieces.json")).unwrap();
    let said = "fn counted(text: &str) -> u64 is what is billed";
    let vocabularies = Arc::new(Vocabularies::new().with("nova", pieces.clone()));
    let accounting = ApiAccounting::new(Api::OpenAiChat).vocabularies(Arc::clone(&vocabularies));
    let request = json!({"model": "amazon.nova-7", "messages": [{"role": "user", "content": said}]}).to_string();

    let estimate = accounting.estimate(request.as_bytes()).unwrap();
    let own = RequestShape::OpenAiChat.estimate(request.as_bytes(), None).unwrap();
    // Its framing is about four tokens.
    assert_eq!(estimate.input_likely, pieces.count(said) + 4);
    assert!(estimate.input - estimate.input_least < own.input - own.input_least, "{estimate:?}, {own:?}");

    let mut observer = accounting.observer(Some(&estimate));
    for delta in ["fn counted(te", "xt: &str) -> u6", "4 is what is ", "billed"] {
        let event = json!({"model": "amazon.nova-7", "choices": [{"index": 0, "delta": {"content": delta}}]});
        observer.feed(format!("data: {event}\n\n").as_bytes());
    }
    observer.finish();
    let report = observer.report();
    assert_eq!(report.usage.get(TokenClass::Output), Some(pieces.count(said)));
    let Certainty::Estimated { bounds } = &report.certainty else { panic!("its input is an estimate") };
    assert_eq!(bounds.low.get(TokenClass::Output), bounds.high.get(TokenClass::Output), "its output is not");
}

fn read(name: &str) -> Value {
    serde_json::from_slice(&fs::read(Path::new(FOLDER).join(name)).unwrap()).unwrap()
}
