//! What a `tokenizer.json` says: its tokenizer, and where texts may be cut for it.

use serde::Deserialize;
use serde_json::Value;

use super::tokenizer::{Layout, Tokenizer};
use super::vocabulary::UnreadableVocabulary;

/// A vocabulary that leaves any of these out would count less than was used.
const PROBES: [char; 8] = ['é', 'Я', 'λ', 'م', '漢', 'か', '한', '🙂'];

/// Reads a tokenizer.
pub(super) fn read(json: &[u8]) -> Result<Tokenizer, UnreadableVocabulary> {
    let file: File = serde_json::from_slice(json).map_err(|error| UnreadableVocabulary(error.to_string()))?;
    if file.model.is_random() {
        return Err(UnreadableVocabulary("it merges at random: its dropout is not zero".to_owned()));
    }
    let tokenizer = splintr::from_json_bytes(json).map_err(|error| UnreadableVocabulary(error.to_string()))?;
    let tokenizer = Tokenizer::new(tokenizer, file.layout());
    // What it has no token for leaves nothing behind, or at most what is put before any text.
    let is_missing = |character: &char| tokenizer.count(&character.to_string().repeat(200)) < 2;
    match ('!'..='~').chain(PROBES).find(is_missing) {
        Some(missing) => Err(UnreadableVocabulary(format!("it has no token for {missing:?}"))),
        None => Ok(tokenizer),
    }
}

/// What decides where a text may be cut.
#[derive(Deserialize)]
struct File {
    #[serde(default)]
    normalizer: Option<Value>,
    #[serde(default)]
    pre_tokenizer: Option<Value>,
    model: Model,
}

#[derive(Deserialize)]
struct Model {
    #[serde(default)]
    dropout: Option<Value>,
    #[serde(default)]
    byte_fallback: Option<bool>,
    #[serde(default)]
    end_of_word_suffix: Option<String>,
}

impl Model {
    fn is_random(&self) -> bool {
        self.dropout.as_ref().is_some_and(|dropout| !matches!(dropout.to_string().as_str(), "null" | "0" | "0.0"))
    }
}

impl File {
    fn layout(&self) -> Layout {
        if self.model.end_of_word_suffix.as_ref().is_some_and(|suffix| !suffix.is_empty()) {
            return Layout::Other;
        }
        let (normalizers, stages) = (steps(self.normalizer.as_ref()), steps(self.pre_tokenizer.as_ref()));
        // Composing characters changes none of those that words are cut between.
        let composes = normalizers.iter().all(|step| kind(step) == "NFC");
        let is_known = stages.iter().all(|stage| cuts_words(stage) || is_local(stage));
        if composes && is_known && stages.iter().any(|stage| cuts_words(stage)) {
            return Layout::Words;
        }
        let has_no_space = normalizers.iter().any(|step| kind(step) == "Replace");
        let is_whole = normalizers.iter().all(|step| writes_spaces(step))
            && stages.iter().all(|stage| keeps_whole(stage, has_no_space));
        // Without a token for each byte, characters that it lacks could fuse across a cut.
        if is_whole && self.model.byte_fallback == Some(true) { Layout::Whole } else { Layout::Other }
    }
}

/// The steps of a sequence, or the one step there is.
fn steps(step: Option<&Value>) -> Vec<&Value> {
    match step {
        None | Some(Value::Null) => Vec::new(),
        Some(step) if kind(step) == "Sequence" => {
            let inner = ["normalizers", "pretokenizers"].iter().find_map(|key| step.get(*key)?.as_array());
            inner.into_iter().flatten().flat_map(|step| steps(Some(step))).collect()
        }
        Some(step) => vec![step],
    }
}

fn kind(step: &Value) -> &str {
    step.get("type").and_then(Value::as_str).unwrap_or_default()
}

/// A stage that splits between words, as those of the built-in vocabularies.
fn cuts_words(stage: &Value) -> bool {
    match kind(stage) {
        // Its own pattern is that of GPT-2.
        "ByteLevel" => stage.get("use_regex").and_then(Value::as_bool) != Some(false),
        "Split" => isolates(stage, WORDS),
        _ => false,
    }
}

/// A stage that splits nothing, or only what a cut between words never touches: runs of digits or of Chinese.
fn is_local(stage: &Value) -> bool {
    match kind(stage) {
        "ByteLevel" | "Digits" => true,
        "Split" => isolates(stage, RUNS),
        _ => false,
    }
}

/// Whether it makes a piece of each match of one of the patterns.
fn isolates(stage: &Value, patterns: &[&str]) -> bool {
    let text = |path| stage.pointer(path).and_then(Value::as_str);
    let is_inverted = stage.get("invert").and_then(Value::as_bool) == Some(true);
    let is_isolating = matches!((text("/behavior"), is_inverted), (Some("Isolated"), false) | (Some("Removed"), true));
    is_isolating && text("/pattern/Regex").is_some_and(|pattern| patterns.contains(&pattern))
}

const WORDS: &[&str] = &[
    splintr::CL100K_BASE_PATTERN,
    splintr::O200K_BASE_PATTERN,
    splintr::LLAMA3_PATTERN,
    splintr::QWEN2_PATTERN,
    splintr::MISTRAL_V3_PATTERN,
    splintr::KIMI_PATTERN,
    splintr::GPT2_PATTERN,
    DEEPSEEK_WORDS,
];

const DEEPSEEK_WORDS: &str = match splintr::DEEPSEEK_V3_PATTERNS {
    [_, _, words] => words,
    _ => "",
};

const RUNS: &[&str] = &[r"\p{N}{1,3}", r"\p{N}", "[\u{4E00}-\u{9FA5}\u{3040}-\u{309F}\u{30A0}-\u{30FF}]+"];

/// A step that writes `▁` for a space, or puts one at the beginning.
fn writes_spaces(step: &Value) -> bool {
    let is = |path: &str, text: &str| step.pointer(path).and_then(Value::as_str) == Some(text);
    match kind(step) {
        "Prepend" => is("/prepend", "▁"),
        "Replace" => is("/pattern/String", " ") && is("/content", "▁"),
        _ => false,
    }
}

/// A stage that splits at most where a space was.
fn keeps_whole(stage: &Value, has_no_space: bool) -> bool {
    match kind(stage) {
        "Metaspace" => stage.get("replacement").and_then(Value::as_str).is_none_or(|mark| mark == "▁"),
        "Split" => has_no_space && stage.pointer("/pattern/String").and_then(Value::as_str) == Some(" "),
        _ => false,
    }
}
