//! What the observers read in recorded responses is what the providers say was used.
//!
//! Any other folder of recordings with an index of the same form is checked too, if `PREPAID_STREAMS` names it.

use std::collections::BTreeMap;
use std::path::Path;
use std::{env, fs};

use prepaid::Asset;
use prepaid::metering::observe::{Api, ApiObserver, Observer};
use prepaid::pricing::Tariff;
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

/// One odd recording, and what is to be made of it: the classes as the bill names them, how they are known (`R`
/// reported, `C` counted, `E` estimated) and the remarks.
type Quirk = (&'static str, &'static str, char, &'static [Remark]);

use Remark::{InputUnknown, ToolsUncounted, UpstreamError, UsageBeside};

const QUIRKS: &[Quirk] = &[
    // An error in place of an answer: nothing was used.
    ("q01", "input=0 output=0", 'C', &[UpstreamError]),
    // An error in the middle, no usage: what was delivered is counted.
    ("q02", "output=0 reasoning=93", 'E', &[InputUnknown, UpstreamError]),
    ("q03", "input=304 output=26 reasoning=23", 'R', &[]),
    ("q04", "output=4 reasoning=89", 'E', &[InputUnknown, UpstreamError]),
    ("q05", "input=343 output=27 reasoning=153", 'R', &[]),
    // Never any usage.
    ("q06", "output=228 reasoning=1770", 'E', &[InputUnknown]),
    ("q07", "output=22", 'E', &[InputUnknown]),
    ("q08", "output=35", 'E', &[InputUnknown]),
    ("q09", "output=21", 'E', &[InputUnknown]),
    // Usage, but no finish reason.
    ("q10", "input=45 cache_read=0 audio_input=0 output=73 reasoning=0 audio_output=0", 'R', &[]),
    ("q11", "input=22 cache_read=0 audio_input=0 output=5 reasoning=0 audio_output=0", 'R', &[]),
    // `message_start` twice, once in the middle: usage is cumulative, placeholders do not count.
    ("q12", "input=17 output=227", 'R', &[]),
    ("q13", "input=17 output=65", 'R', &[]),
    ("q14", "input=57 cache_read=0 output=17 reasoning=0", 'R', &[]),
    ("q15", "input=107 cache_read=0 output=15 reasoning=0", 'R', &[]),
    // Gemini's phases, and what its tools put into the prompt.
    ("q16", "input=507 output=108 reasoning=168", 'R', &[]),
    ("q17", "input=1198 output=122 reasoning=447", 'R', &[]),
    ("q18", "input=895 output=157 reasoning=174", 'R', &[]),
    // Cumulative usage in every chunk.
    ("q19", "input=12 output=8", 'R', &[]),
    ("q20", "input=8 output=5 web_search=1", 'R', &[]),
    // The prompt excludes its audio, and the total does not.
    ("q21", "input=2 cache_read=9 audio_input=375 output=15 millisecond=5000", 'R', &[]),
    // Another model's advice, outside the totals.
    ("q22", "input=4727 cache_read=0 cache_write_5m=0 cache_write_1h=0 output=3391 web_search=0", 'R', &[UsageBeside]),
    // The output excludes its reasoning, and the total does not.
    ("q23", "input=1 cache_read=11 audio_input=0 image_input=0 output=2 reasoning=340 audio_output=0", 'R', &[]),
    ("q24", "input=1 cache_read=11 audio_input=0 image_input=0 output=1 reasoning=290 audio_output=0", 'R', &[]),
    // Several responses behind one another: only the first is this one, in which code ran.
    (
        "q25",
        "input=3369 cache_read=0 cache_write_5m=0 cache_write_1h=0 output=725 web_search=0",
        'R',
        &[ToolsUncounted],
    ),
    ("q26", "input=137 cache_read=0 output=28 reasoning=0", 'R', &[]),
    // AWS event streams as they come.
    ("raw01", "input=210 output=18", 'R', &[]),
    ("raw02", "input=1002 output=59", 'R', &[ToolsUncounted]),
    ("raw03", "input=471 output=91", 'R', &[]),
    ("raw04", "input=70 output=43", 'R', &[]),
    ("raw05", "input=92 output=253", 'R', &[]),
    ("raw06", "input=36 output=73", 'R', &[]),
    ("raw07", "input=16 cache_read=0 cache_write_5m=0 cache_write_1h=0 output=18", 'R', &[]),
    ("raw08", "input=17 cache_read=0 cache_write_5m=0 cache_write_1h=0 output=106", 'R', &[]),
];

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
    // What recorded responses do have: steps beside the totals, a prompt said smaller at the end, an error at the end,
    // code that ran at the provider's.
    let known = [UsageBeside, Remark::FallingNumber, UpstreamError, ToolsUncounted];
    let odd: Vec<_> = report.remarks.iter().filter(|remark| !known.contains(remark)).collect();
    if odd != if clamped { vec![&Remark::PartAboveWhole] } else { Vec::new() } {
        found.push(format!("remarks {odd:?}"));
    }
    found
}

/// Counts need the o200k vocabulary; the other quirks are the same without it.
#[test]
fn every_quirk_is_read_or_refused_as_documented() {
    let folder = Path::new(SHIPPED).join("quirks");
    let recordings = index(&folder);
    assert_eq!(recordings.len(), QUIRKS.len());
    let mut wrong = Vec::new();
    for recording in &recordings {
        let name = recording.file.trim_start_matches("quirks/");
        let (_, usage, certainty, remarks) = QUIRKS.iter().find(|(quirk, ..)| name.starts_with(quirk)).unwrap();
        let mut observer = ApiObserver::new(api(&recording.api));
        observer.feed(&fs::read(folder.join(name)).unwrap());
        observer.finish();
        let report = observer.report();
        let said = report.usage.iter().map(|(class, count)| format!("{}={count}", class.name()));
        let said = said.collect::<Vec<_>>().join(" ");
        let known = match report.certainty {
            Certainty::Reported => 'R',
            Certainty::Counted => 'C',
            Certainty::Estimated { .. } => 'E',
        };
        let same_usage = said == *usage || (*certainty == 'E' && cfg!(not(feature = "o200k")));
        if !same_usage || known != *certainty || !report.remarks.iter().eq(*remarks) {
            wrong.push(format!("{name}: {said} {known} {:?}", report.remarks));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The advice in `q22` is another model's; a compaction is the model's own work.
#[test]
fn steps_beside_the_totals_are_reported_with_their_models() {
    let mut observer = ApiObserver::new(Api::Anthropic);
    let file = "quirks/q22__anthropic__anthropic__claude-sonnet-4-6.sse";
    observer.feed(&fs::read(Path::new(SHIPPED).join(file)).unwrap());
    observer.finish();
    let [advice] = observer.report().beside.try_into().unwrap();
    assert_eq!(advice.model.as_deref(), Some("claude-opus-4-7"));
    assert_eq!((advice.usage.total_input(), advice.usage.total_output()), (2_728, 3_880));

    let mut observer = ApiObserver::new(Api::Anthropic);
    let body = r#"{"type": "message", "model": "claude-opus-4-6", "content": [], "stop_reason": "end_turn", "usage": {
        "input_tokens": 612, "output_tokens": 2819, "iterations": [
            {"type": "compaction", "input_tokens": 60385, "output_tokens": 522, "cache_read_input_tokens": 9},
            {"type": "message", "input_tokens": 612, "output_tokens": 2819}]}}"#;
    observer.body(body.as_bytes());
    let report = observer.report();
    let [compaction] = report.beside.as_slice() else { panic!("{report:?}") };
    assert_eq!(compaction.model, None);
    assert_eq!((compaction.usage.total_input(), compaction.usage.total_output()), (60_394, 522));
    assert_eq!(report.usage.total_output(), 2_819);
    assert!(report.remarks.contains(&UsageBeside));
}

#[test]
fn cached_audio_is_told_apart_where_the_provider_does() {
    let mut observer = ApiObserver::new(Api::Gemini);
    let body = r#"{"candidates": [{"content": {"parts": [{"text": "Hi"}]}, "finishReason": "STOP"}], "usageMetadata": {
        "promptTokenCount": 1000, "candidatesTokenCount": 1, "totalTokenCount": 1001, "cachedContentTokenCount": 700,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 400}, {"modality": "AUDIO", "tokenCount": 600}],
        "cacheTokensDetails": [{"modality": "TEXT", "tokenCount": 200}, {"modality": "AUDIO", "tokenCount": 500}]}}"#;
    observer.body(body.as_bytes());
    let report = observer.report();
    let said = |class| report.usage.get(class);
    assert_eq!((said(TokenClass::CacheRead), said(TokenClass::CacheReadAudio)), (Some(200), Some(500)));
    assert_eq!((said(TokenClass::Input), said(TokenClass::AudioInput)), (Some(200), Some(100)));
    assert!(report.remarks.is_empty(), "{report:?}");
}

/// What the recorded provider ran for a fee, and how it is billed: the units by class, and whether other tools ran.
#[test]
fn fees_for_the_providers_own_tools_are_metered() {
    let recorded = [
        (Api::Anthropic, "anthropic__anthropic__claude-opus-4-1-20250805__1.sse", "web_search=1"),
        (Api::OpenAiChat, "quirks/q20__openai-chat__perplexity__sonar.sse", "web_search=1"),
        (Api::OpenAiChat, "openai-chat__mistral__voxtral-small-latest__1.sse", "millisecond=5000"),
    ];
    for (api, file, units) in recorded {
        let mut observer = ApiObserver::new(api);
        observer.feed(&fs::read(Path::new(SHIPPED).join(file)).unwrap());
        observer.finish();
        assert_eq!(units_of(&observer.report().usage), units, "{file}");
    }
    let bodies = [
        (
            Api::OpenAiResponses,
            r#"{"object":"response","output":[{"type":"web_search_call","action":{"type":"search"}},
                {"type":"web_search_call","action":{"type":"open_page"}},{"type":"web_search_call"}],
                "usage":{"input_tokens":5,"output_tokens":7}}"#,
            "web_search=2",
            false,
        ),
        (
            Api::OpenAiResponses,
            r#"{"object":"response","output":[{"type":"code_interpreter_call"}],"usage":{"input_tokens":5,"output_tokens":7}}"#,
            "",
            true,
        ),
        (
            Api::OpenAiResponses,
            r#"{"object":"response","usage":{"input_tokens":5,"output_tokens":7,"server_side_tool_usage_details":
                {"web_search_calls":3,"x_search_calls":1}}}"#,
            "web_search=3",
            true,
        ),
        (
            Api::OpenAiChat,
            r#"{"choices":[{"message":{"content":"Hi"},"finish_reason":"stop"}],
                "usage":{"prompt_tokens":5,"completion_tokens":7,"num_sources_used":4}}"#,
            "",
            true,
        ),
        (
            Api::OpenAiChat,
            r#"{"choices":[{"message":{"content":"Hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":5,
                "completion_tokens":7,"citation_tokens":90,"num_search_queries":6,"search_context_size":"low"}}"#,
            "citation=90 web_search=6",
            false,
        ),
        (
            Api::Gemini,
            r#"{"modelVersion":"gemini-3-pro","candidates":[{"groundingMetadata":{"webSearchQueries":["a","b",""]},
                "finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":5,"candidatesTokenCount":7}}"#,
            "web_search=2",
            false,
        ),
        (
            Api::Gemini,
            r#"{"modelVersion":"gemini-2.5-pro","candidates":[{"groundingMetadata":{"webSearchQueries":["a","b"]},
                "finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":5,"candidatesTokenCount":7}}"#,
            "web_search=1",
            false,
        ),
        (
            Api::Cohere,
            r#"{"message":{"content":[{"text":"Hi"}]},
                "usage":{"billed_units":{"input_tokens":5,"output_tokens":7,"search_units":2}}}"#,
            "query=2",
            false,
        ),
    ];
    for (api, body, units, others) in bodies {
        let mut observer = ApiObserver::new(api);
        observer.body(body.as_bytes());
        let report = observer.report();
        assert_eq!(units_of(&report.usage), units, "{body}");
        assert_eq!((report.usage.total_input(), report.usage.total_output()), (5, 7), "{body}");
        assert_eq!(report.remarks.contains(&ToolsUncounted), others, "{body}: {:?}", report.remarks);
    }
}

/// As reported of `sonar-deep-research`: its reasoning is billed beside the answer, and in no total.
#[test]
fn reasoning_of_deep_research_is_beside_its_answer() {
    let mut observer = ApiObserver::new(Api::OpenAiChat);
    observer.body(
        br#"{"choices":[{"message":{"content":"Hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":108,
            "completion_tokens":3256,"total_tokens":3364,"citation_tokens":7299,"num_search_queries":74,
            "reasoning_tokens":73248}}"#,
    );
    let usage = observer.report().usage;
    let said = |class| usage.get(class);
    assert_eq!((said(TokenClass::Output), said(TokenClass::Reasoning)), (Some(3256), Some(73_248)));
}

/// Alibaba's explicit caches are written at a price of their own.
#[test]
fn cache_that_alibaba_writes_is_part_of_the_prompt() {
    let mut observer = ApiObserver::new(Api::OpenAiChat);
    observer.body(
        br#"{"choices":[{"message":{"content":"Hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3019,
            "completion_tokens":1,"total_tokens":3020,
            "prompt_tokens_details":{"cache_creation_input_tokens":1500,"cached_tokens":0}}}"#,
    );
    let usage = observer.report().usage;
    let said = |class| usage.get(class);
    assert_eq!((said(TokenClass::Input), said(TokenClass::CacheWrite5m)), (Some(1519), Some(1500)));
}

/// A stream of calls that breaks off has those that were done.
#[test]
fn searches_are_counted_as_they_are_done() {
    let mut observer = ApiObserver::new(Api::OpenAiResponses).prompt_tokens(5);
    for state in ["added", "done", "added"] {
        let item = r#"{"type":"web_search_call","action":{"type":"search"}}"#;
        observer.feed(format!("data: {{\"type\":\"response.output_item.{state}\",\"item\":{item}}}\n\n").as_bytes());
    }
    observer.finish();
    assert_eq!(units_of(&observer.report().usage), "web_search=1");
}

/// Perplexity's fee is most of what its short answers cost: this one, it says, 0.00522.
#[test]
fn answer_of_perplexity_costs_its_fee_too() {
    let mut observer = ApiObserver::new(Api::OpenAiChat);
    let usage = r#"{"prompt_tokens":8,"completion_tokens":213,"total_tokens":221,"search_context_size":"low",
        "cost":{"input_tokens_cost":0.00001,"output_tokens_cost":0.00021,"request_cost":0.005,"total_cost":0.00522}}"#;
    observer.body(
        format!(r#"{{"choices":[{{"message":{{"content":"Hi"}},"finish_reason":"stop"}}],"usage":{usage}}}"#)
            .as_bytes(),
    );
    let usage = observer.report().usage;
    let tariff = Tariff::per_million("sonar").input("1").output("1");
    let charge = |tariff: Tariff| tariff.charge(&usage, Asset::USD).unwrap();
    let priced = charge(tariff.clone().rate(TokenClass::WebSearch, "0.005").build().unwrap());
    assert_eq!(priced.exact().to_string(), "0.005221");
    let unpriced = charge(tariff.build().unwrap());
    assert_eq!(unpriced.unpriced().collect::<Vec<_>>(), ["1 x web_search"]);
}

fn units_of(usage: &Usage) -> String {
    let units = usage.iter().filter(|(class, count)| !class.is_token() && *count > 0);
    units.map(|(class, count)| format!("{}={count}", class.name())).collect::<Vec<_>>().join(" ")
}

/// What AWS puts around every event of an `InvokeModel` stream; the bytes are Base64.
fn invoked(events: &[&str]) -> ApiObserver {
    let mut observer = ApiObserver::new(Api::BedrockConverse).prompt_tokens(9).max_output(500);
    for event in events {
        observer.feed(format!("data: {{\"bytes\":\"{}\",\"p\":\"abc\"}}\n\n", base64(event.as_bytes())).as_bytes());
    }
    observer.finish();
    observer
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |group: &[u8]| {
        let bits = group.iter().chain(&[0; 2]).take(3).fold(0, |bits, byte| bits << 8 | usize::from(*byte));
        let digit = |at: usize| if at > group.len() { '=' } else { char::from(DIGITS[bits >> (18 - 6 * at) & 63]) };
        [digit(0), digit(1), digit(2), digit(3)]
    };
    bytes.chunks(3).flat_map(group).collect()
}

/// A stream of responses says its items as they are done, and mostly once more at its end.
#[test]
fn searches_that_a_stream_says_twice_are_counted_once() {
    let item = r#"{"type":"web_search_call","action":{"type":"search"}}"#;
    let done = format!("data: {{\"type\":\"response.output_item.done\",\"item\":{item}}}\n\n");
    for output in [format!(r#""output":[{item},{item}],"#), String::new()] {
        let usage = r#""usage":{"input_tokens":5,"output_tokens":7}"#;
        let mut observer = ApiObserver::new(Api::OpenAiResponses);
        observer.feed(done.repeat(2).as_bytes());
        let last = format!("data: {{\"type\":\"response.completed\",\"response\":{{{output}{usage}}}}}\n\n");
        observer.feed(last.as_bytes());
        assert!(observer.is_final());
        assert_eq!(units_of(&observer.report().usage), "web_search=2", "{last}");
    }
}

#[test]
fn invoked_model_that_counts_caches_as_openai_does_pays_for_them_once() {
    const USAGE: &str =
        r#""usage":{"prompt_tokens":100,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":80}}"#;
    let last = format!(r#"{{"choices":[{{"index":0,"delta":{{}},"finish_reason":"stop"}}],{USAGE}}}"#);
    let report = invoked(&[&last]).report();
    assert_eq!((report.usage.total_input(), report.usage.total_output()), (100, 5), "{report:?}");
}

#[test]
fn invoked_models_of_bedrock_are_read_in_their_own_formats() {
    const METRICS: &str = r#""amazon-bedrock-invocationMetrics":{"inputTokenCount":5,"outputTokenCount":7,"invocationLatency":900,"firstByteLatency":100}"#;
    let text = "a few words that anybody would count";
    let formats: [(&str, &[&str], &str); 6] = [
        (
            "Nova",
            &[
                r#"{"messageStart":{"role":"assistant"}}"#,
                r#"{"contentBlockDelta":{"delta":{"text":"TEXT"},"contentBlockIndex":0}}"#,
                r#"{"contentBlockStop":{"contentBlockIndex":0}}"#,
                r#"{"messageStop":{"stopReason":"end_turn"}}"#,
            ],
            r#"{"metadata":{"usage":{"inputTokens":5,"outputTokens":7},"metrics":{},"trace":{}},METRICS}"#,
        ),
        (
            "Llama",
            &[
                r#"{"generation":"","prompt_token_count":5,"generation_token_count":1,"stop_reason":null}"#,
                r#"{"generation":"TEXT","prompt_token_count":null,"generation_token_count":2,"stop_reason":null}"#,
            ],
            r#"{"generation":"","prompt_token_count":null,"generation_token_count":7,"stop_reason":"stop",METRICS}"#,
        ),
        (
            "Titan",
            &[
                r#"{"outputText":"TEXT","index":0,"totalOutputTextTokenCount":null,"completionReason":null,"inputTextTokenCount":5}"#,
            ],
            r#"{"outputText":"","index":0,"totalOutputTextTokenCount":7,"completionReason":"FINISH","inputTextTokenCount":5,METRICS}"#,
        ),
        (
            "Mistral",
            &[r#"{"outputs":[{"text":"TEXT","stop_reason":null}]}"#],
            r#"{"outputs":[{"text":"","stop_reason":"stop"}],METRICS}"#,
        ),
        (
            "Command",
            &[r#"{"is_finished":false,"event_type":"text-generation","text":"TEXT"}"#],
            r#"{"is_finished":true,"event_type":"stream-end","finish_reason":"COMPLETE",METRICS}"#,
        ),
        (
            "what imitates OpenAI",
            &[
                r#"{"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"TEXT"},"finish_reason":null}]}"#,
            ],
            r#"{"object":"chat.completion.chunk","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],METRICS}"#,
        ),
    ];
    for (model, events, last) in formats {
        let events: Vec<String> = events.iter().map(|event| event.replace("TEXT", text)).collect();
        let mut events: Vec<&str> = events.iter().map(String::as_str).collect();
        let broken = invoked(&events);
        assert!((5..15).contains(&broken.delivered().output), "{model}: {:?}", broken.delivered());
        assert!(broken.report().remarks.is_empty(), "{model}: {:?}", broken.report());
        let last = last.replace("METRICS", METRICS);
        events.push(&last);
        let whole = invoked(&events);
        let report = whole.report();
        assert_eq!((report.usage.total_input(), report.usage.total_output()), (5, 7), "{model}: {report:?}");
        assert!(whole.is_final() && report.remarks.is_empty(), "{model}: {report:?}");
    }
    // The text of another format cannot be seen: how much there is of it nobody knows before the metrics say it.
    let other = invoked(&[r#"{"novel":"TEXT"}"#]).report();
    assert!(other.remarks.iter().eq(&[Remark::UnreadableEvent]), "{other:?}");
    assert!(
        matches!(&other.certainty, Certainty::Estimated { bounds } if bounds.high.total_output() == 500),
        "{other:?}"
    );
}

#[test]
fn cache_writes_of_bedrock_are_told_apart_by_how_long_they_live() {
    let mut observer = ApiObserver::new(Api::BedrockConverse);
    let body = r#"{"output": {"message": {"content": [{"text": "Hi"}]}}, "stopReason": "end_turn", "usage": {
        "inputTokens": 11, "outputTokens": 2, "totalTokens": 1513, "cacheReadInputTokens": 0,
        "cacheWriteInputTokens": 1500, "cacheDetails": [
            {"ttl": "1h", "inputTokens": 1000}, {"ttl": "5m", "inputTokens": 300}, {"ttl": "1h", "inputTokens": 200}]}}"#;
    observer.body(body.as_bytes());
    let report = observer.report();
    let said = |class| report.usage.get(class);
    assert_eq!((said(TokenClass::CacheWrite5m), said(TokenClass::CacheWrite1h)), (Some(300), Some(1_200)));
    assert_eq!(said(TokenClass::Input), Some(11));
    assert!(report.remarks.is_empty(), "{report:?}");
}

/// Vertex AI may send a call's arguments bit by bit.
#[test]
fn arguments_that_come_bit_by_bit_are_counted() {
    let mut observer = ApiObserver::new(Api::Gemini).model("gemini-3.1-pro").prompt_tokens(1);
    let event = |call: &str| {
        format!("data: {{\"candidates\": [{{\"content\": {{\"parts\": [{{\"functionCall\": {call}}}]}}}}]}}\n\n")
    };
    observer.feed(event(r#"{"name": "cook", "willContinue": true}"#).as_bytes());
    for step in 0..20 {
        let piece = |text: &str| {
            format!(
                r#"{{"partialArgs": [{{"jsonPath": "$.steps[{step}]", "stringValue": "{text}"}}], "willContinue": true}}"#
            )
        };
        observer.feed(event(&piece("Stir the soup")).as_bytes());
        observer.feed(event(&piece(" and wait.")).as_bytes());
    }
    observer.feed(event("{}").as_bytes());
    let delivered = observer.delivered();
    // One call, and one for each argument, whose framing is not known.
    assert_eq!(delivered.calls, 21);
    assert!((100..260).contains(&delivered.output), "{delivered:?}");
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
