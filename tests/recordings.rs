//! What the observers read in recorded responses is what the providers say was used.
//!
//! Any other folder of recordings with an index of the same form is checked too, if `PREPAID_STREAMS` names it.

use std::collections::BTreeMap;
use std::path::Path;
use std::{env, fs};

use prepaid::metering::observe::{Api, ApiObserver, Observer};
use prepaid::tokens::{Certainty, Remark, TokenClass, Usage};
use serde::Deserialize;

/// One recording in an index.
#[derive(Deserialize)]
struct Recording {
    file: String,
    api: String,
    #[serde(default, rename = "true")]
    truth: Option<Truth>,
}

/// What was truly used. Classes that the provider does not tell apart are null.
#[derive(Deserialize)]
struct Truth {
    input_total: u64,
    cache_read: u64,
    cache_write: u64,
    cache_write_1h: Option<u64>,
    output_total: u64,
    reasoning: Option<u64>,
    audio_in: Option<u64>,
    audio_out: Option<u64>,
    /// Cohere bills less than it counts.
    billed_input: Option<u64>,
    billed_output: Option<u64>,
}

const SHIPPED: &str = "tests/data/streams";

#[test]
fn usage_of_every_recording_is_the_truth_class_by_class() {
    check(Path::new(SHIPPED), 120);
    if let Some(folder) = env::var_os("PREPAID_STREAMS") {
        check(Path::new(&folder), 1);
    }
}

fn check(folder: &Path, at_least: usize) {
    let recordings = index(folder);
    assert!(recordings.len() >= at_least, "{} recordings in {}", recordings.len(), folder.display());
    let mut equal: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    let mut wrong = Vec::new();
    for recording in &recordings {
        let (equals, of) = equal.entry(&recording.api).or_default();
        *of += 1;
        match differences(folder, recording) {
            differences if differences.is_empty() => *equals += 1,
            differences => wrong.push(format!("{}: {}", recording.file, differences.join(", "))),
        }
    }
    println!("{}", folder.display());
    for (api, (equals, of)) in &equal {
        println!("  {api:<26} {equals:>4} of {of:>4} equal");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Where what was observed differs from the truth.
fn differences(folder: &Path, recording: &Recording) -> Vec<String> {
    let bytes = fs::read(folder.join(&recording.file)).unwrap();
    let mut observer = ApiObserver::new(api(&recording.api));
    // Chunks as a network might cut them.
    bytes.chunks(1_400).for_each(|chunk| observer.feed(chunk));
    observer.finish();
    let report = observer.report();
    let truth = recording.truth.as_ref().expect("a recording without its truth");
    let usage = &report.usage;
    let written = class(usage, TokenClass::CacheWrite5m) + class(usage, TokenClass::CacheWrite1h);
    let (input, output, cache_read) = match (truth.billed_input, truth.billed_output) {
        (Some(input), Some(output)) => (input, output, 0),
        _ => (truth.input_total, truth.output_total, truth.cache_read),
    };
    // Some providers say that more was reasoned than was written at all.
    let reasoning = truth.reasoning.map(|reasoning| reasoning.min(output));
    let mut found = Vec::new();
    let mut compare = |name: &str, observed: u64, expected: Option<u64>| {
        if expected.is_some_and(|expected| observed != expected) {
            found.push(format!("{name} {observed} instead of {}", expected.unwrap_or_default()));
        }
    };
    compare("input", usage.total_input(), Some(input));
    compare("cache read", class(usage, TokenClass::CacheRead), Some(cache_read));
    compare("cache write", written, Some(truth.cache_write));
    compare("cache write 1h", class(usage, TokenClass::CacheWrite1h), truth.cache_write_1h);
    compare("output", usage.total_output(), Some(output));
    compare("reasoning", class(usage, TokenClass::Reasoning), reasoning);
    compare("audio in", class(usage, TokenClass::AudioInput), truth.audio_in);
    compare("audio out", class(usage, TokenClass::AudioOutput), truth.audio_out);
    if report.certainty != Certainty::Reported || !observer.is_final() {
        found.push(format!("{:?}, final: {}", report.certainty, observer.is_final()));
    }
    let clamped = truth.reasoning.is_some_and(|reasoning| reasoning > output);
    // What recorded responses do have: steps beside the totals, a prompt said smaller at the end, an error at the end.
    let known = [Remark::UsageBeside, Remark::FallingNumber, Remark::UpstreamError];
    let odd: Vec<_> = report.remarks.iter().filter(|remark| !known.contains(remark)).collect();
    if odd != if clamped { vec![&Remark::PartAboveWhole] } else { Vec::new() } {
        found.push(format!("remarks {odd:?}"));
    }
    found
}

fn class(usage: &Usage, class: TokenClass) -> u64 {
    usage.get(class).unwrap_or(0)
}

fn index(folder: &Path) -> Vec<Recording> {
    let path = folder.join("index.json");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap()
}

fn api(name: &str) -> Api {
    match name {
        "openai_completions" => Api::OpenAiChat,
        "bedrock_invoke_anthropic" => Api::Anthropic,
        _ => Api::ALL.into_iter().find(|api| api.name() == name).unwrap_or_else(|| panic!("unknown API {name}")),
    }
}
