//! Streams that are split, broken, flooded or lying: nothing panics, nothing is kept without bound, no byte that passes
//! through changes, and every lie is remarked.
//!
//! `PREPAID_CASES` says how many random inputs each framing and observer gets (400 by default), `PREPAID_SEED` draws the
//! same again.

mod common;
#[path = "fuzz/src/lib.rs"]
mod fuzz;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::Path;
use std::sync::Arc;
use std::{fs, io};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use prepaid::metering::observe::{Api, ApiObserver, Observer};
use prepaid::metering::wire::EVENT_BYTES_MAX;
use prepaid::model::HoldState;
use prepaid::pricing::Tariff;
use prepaid::tokens::{Certainty, Remark, TokenClass, UsageReport};
use prepaid::{AccountHandle, Amount, Ledger};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use fuzz::{Kept, Wire, events};

/// One short recording of every shape, with its API.
const SHAPES: &[(Api, &str)] = &[
    (Api::OpenAiChat, "openai-chat__openai__gpt-4-0613__1.sse"),
    (Api::OpenAiChat, "openai-chat__openrouter__google-gemini-2.5-flash__1.sse"),
    (Api::OpenAiChat, "quirks/q04__openai-chat__groq__openai-gpt-oss-120b.sse"),
    (Api::OpenAiChat, "quirks/q20__openai-chat__perplexity__sonar.sse"),
    (Api::OpenAiChat, "openai-chat__vercel-gateway__google-gemini-3-pro-preview__1.sse"),
    (Api::OpenAiChat, "openai-completions__openai__gpt-3.5-turbo-instruct-20230824-v2__1.sse"),
    (Api::OpenAiResponses, "openai-responses__azure__gpt-5.1__1.sse"),
    (Api::Anthropic, "anthropic__anthropic__claude-fable-5__1.sse"),
    (Api::Anthropic, "quirks/raw07__bedrock-invoke-anthropic__claude-haiku-4-5-20251001.eventstream"),
    (Api::Gemini, "gemini__gemini__gemini-2.5-flash__3.sse"),
    (Api::Gemini, "gemini__gemini__gemini-3.6-flash__2.json"),
    (Api::Gemini, "quirks/q16__gemini__gemini__gemini-3-flash-preview.sse"),
    (Api::BedrockConverse, "bedrock-converse__bedrock__us.anthropic.claude-sonnet-4-5-20250929-v1-3a0__1.sse"),
    (
        Api::BedrockConverse,
        "quirks/raw01__bedrock-converse__us.anthropic.claude-sonnet-4-5-20250929-v1-3a0.eventstream",
    ),
    (Api::Cohere, "cohere-v2__cohere__command-a-03-2025__1.sse"),
    (Api::Ollama, "ollama__ollama__llama3__1.ndjson"),
];

fn recording(file: &str) -> Vec<u8> {
    let path = Path::new("tests/data/streams").join(file);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Beginning and end of a long recording: what is cut through is as good as any other odd event.
fn shortened(bytes: Vec<u8>) -> Vec<u8> {
    const HALF: usize = 1_200;
    if bytes.len() <= 2 * HALF { bytes } else { [&bytes[..HALF], &bytes[bytes.len() - HALF..]].concat() }
}

fn observed(api: Api, bytes: &[u8]) -> UsageReport {
    fuzz::report(api, [bytes]).0
}

/// A chat stream of these events.
fn chat(events: &[&str]) -> UsageReport {
    let stream: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
    observed(Api::OpenAiChat, stream.as_bytes())
}

const HELLO: &str =
    r#"{"model":"gpt-4o","choices":[{"index":0,"delta":{"content":"Hello there"},"finish_reason":"stop"}]}"#;
const DONE: &str = "[DONE]";

fn closing(usage: &str) -> String {
    format!(r#"{{"model":"gpt-4o","choices":[],"usage":{usage}}}"#)
}

fn count(report: &UsageReport, class: TokenClass) -> Option<u64> {
    report.usage.get(class)
}

#[test]
fn stream_that_breaks_off_ahead_of_its_text_has_delivered_none() {
    let begun = [
        (Api::OpenAiChat, r#"{"object":"chat.completion.chunk","choices":[],"prompt_filter_results":[]}"#),
        (Api::OpenAiChat, r#"{"choices":[{"index":0,"delta":{"role":"assistant"}}]}"#),
        (Api::OpenAiResponses, r#"{"type":"response.created","response":{"object":"response"}}"#),
        (Api::Anthropic, r#"{"type":"message_start","message":{"content":[]}}"#),
        (Api::Gemini, r#"{"candidates":[{"content":{"parts":[],"role":"model"}}]}"#),
        (Api::BedrockConverse, r#"{"p":"abc","role":"assistant"}"#),
        (Api::Cohere, r#"{"type":"message-start","delta":{"message":{"role":"assistant","content":[]}}}"#),
        (Api::Ollama, r#"{"message":{"role":"assistant","content":""},"done":false}"#),
    ];
    for (api, event) in begun {
        let line = if api == Api::Ollama { format!("{event}\n") } else { format!("data: {event}\n\n") };
        let halves = [&line[..line.len() / 2], &line].map(|stream| observed(api, stream.as_bytes()));
        let whole = &halves[1];
        assert!(!whole.remarks.contains(&Remark::UnreadableEvent), "{event}: {whole:?}");
        assert!(!halves[0].remarks.contains(&Remark::UnreadableEvent), "half of {event}: {:?}", halves[0]);
    }
}

/// A route that is wired to the wrong observer must not sell its output for nothing.
#[test]
fn response_of_another_api_is_never_taken_for_an_empty_one() {
    let apis = [
        Api::OpenAiChat,
        Api::OpenAiResponses,
        Api::Anthropic,
        Api::Gemini,
        Api::BedrockConverse,
        Api::Cohere,
        Api::Ollama,
    ];
    let nothing_of = |api, bytes: &[u8], what: &str| {
        let report = observed(api, bytes);
        let is_said = [Remark::UnreadableEvent, Remark::UpstreamError].iter().any(|said| report.remarks.contains(said));
        assert!(is_said || report.usage.total_output() > 0, "{api:?} {what}: {report:?}");
        is_said
    };
    let mut unread = 0;
    for (own, file) in SHAPES {
        let bytes = recording(file);
        assert!(!observed(*own, &bytes).remarks.contains(&Remark::UnreadableEvent), "{file}");
        for api in apis.iter().filter(|api| *api != own) {
            unread += u32::from(nothing_of(*api, &bytes, file));
        }
    }
    assert!(unread > 80, "{unread}: most observers find nothing in what is not theirs");
    for api in apis {
        for body in ["{\"detail\":\"x\"}", "data: {\"detail\":\"x\"}\n\ndata: [DONE]\n\n"] {
            assert!(nothing_of(api, body.as_bytes(), body));
        }
    }
}

#[test]
fn a_stream_split_at_any_byte_is_the_same_stream() {
    for (api, file) in SHAPES {
        let bytes = shortened(recording(file));
        let bytes = bytes.as_slice();
        let whole = fuzz::report(*api, [bytes]);
        for at in 0..=bytes.len() {
            let (head, tail) = bytes.split_at(at);
            assert_eq!(fuzz::report(*api, [head, tail]), whole, "{file} split at {at}");
        }
        assert_eq!(fuzz::report(*api, bytes.chunks(1)), whole, "{file} byte by byte");
        let late = [b" \n ".as_slice(), bytes].concat();
        assert_eq!(fuzz::report(*api, [late.as_slice()]), whole, "{file} behind whitespace");
        assert_eq!(fuzz::report(*api, late.chunks(1)), whole, "{file} behind whitespace, byte by byte");
    }
}

#[test]
fn every_line_ending_and_a_byte_order_mark_make_the_same_events() {
    let lines = ["event: e", ": c", "data: {\"a\":", "data:\"€\"}", "", "", "id: 1", "data", "", "data: cut"];
    let expected = [
        Kept { name: "e".to_owned(), data: "{\"a\":\n\"€\"}".into(), is_whole: true },
        Kept { name: String::new(), data: Vec::new(), is_whole: true },
        Kept { name: String::new(), data: "cut".into(), is_whole: false },
    ];
    let endings: [&[&str]; 4] = [&["\n"], &["\r"], &["\r\n"], &["\r\n", "\n", "\r", "\r\n", "\r"]];
    for mark in ["", "\u{feff}"] {
        for endings in endings {
            let ends = endings.iter().cycle();
            let body: String = lines.iter().zip(ends).flat_map(|(line, end)| [*line, *end]).collect();
            let body = format!("{mark}{}", body.trim_end_matches(['\r', '\n']));
            for at in 0..=body.len() {
                let (head, tail) = body.as_bytes().split_at(at);
                let (events, skipped) = events(Wire::Sse, [head, tail], 1 << 20);
                assert_eq!((events.as_slice(), skipped), (expected.as_slice(), 0), "{body:?} at {at}");
            }
        }
    }
}

#[test]
fn half_a_byte_order_mark_is_no_mark() {
    assert_eq!(events(Wire::Sse, [b"\xef\xbbdata: x\n\n".as_slice()], 99), (Vec::new(), 0));
    assert_eq!(events(Wire::Sse, [b"\xef\xbb\xbfdata: x\n\n".as_slice()], 99).0.len(), 1);
}

#[test]
fn events_above_the_limit_are_skipped_and_what_follows_is_read() {
    let long = "x".repeat(10 << 20);
    let stream = format!("data: {long}\n\n: {long}\ndata: {HELLO}\n\ndata: {HELLO}\n\ndata: [DONE]\n\n");
    for size in [1 << 10, 1 << 20, stream.len()] {
        let mut observer = ApiObserver::new(Api::OpenAiChat).prompt_tokens(5);
        stream.as_bytes().chunks(size).for_each(|chunk| observer.feed(chunk));
        observer.finish();
        let report = observer.report();
        assert_eq!(report.remarks.iter().copied().collect::<Vec<_>>(), [Remark::SkippedEvent], "chunks of {size}");
        assert_eq!(report.model.as_deref(), Some("gpt-4o"), "the event behind the long ones was read");
    }
}

/// The least and the most output that a report leaves open.
fn output_between(report: &UsageReport) -> (u64, u64) {
    match &report.certainty {
        Certainty::Estimated { bounds } => (bounds.low.total_output(), bounds.high.total_output()),
        Certainty::Reported | Certainty::Counted => (report.usage.total_output(), report.usage.total_output()),
    }
}

#[test]
fn output_of_what_cannot_be_read_is_open_up_to_its_cap() {
    let long = format!("data: {{\"choices\":[],\"padding\":\"{}\"}}\n\n", "x".repeat(EVENT_BYTES_MAX));
    let bodies: [(&str, Vec<u8>); 6] = [
        ("gzip", b"\x1f\x8b\x08\0 and so on".to_vec()),
        ("zstd", b"\x28\xb5\x2f\xfd and so on".to_vec()),
        ("brotli", b"\x8b\x02\x80 and so on".to_vec()),
        ("a page", b"<html>busy</html>".to_vec()),
        ("another API", b"data: [1, 2]\n\n".to_vec()),
        ("an event that is too large", format!("data: {HELLO}\n\n{long}data: [DONE]\n\n").into_bytes()),
    ];
    for (name, body) in bodies {
        for model in ["gpt-4o", "gpt-5"] {
            let mut observer = ApiObserver::new(Api::OpenAiChat).model(model).prompt_tokens(2).max_output(1_000);
            body.chunks(1 << 20).for_each(|chunk| observer.feed(chunk));
            observer.finish();
            let (low, high) = output_between(&observer.report());
            assert!(low < 10, "{name}, {model}: at least {low}");
            assert_eq!(high, 1_000, "{name}, {model}");
        }
        let mut unlimited = ApiObserver::new(Api::OpenAiChat).prompt_tokens(2);
        body.chunks(1 << 20).for_each(|chunk| unlimited.feed(chunk));
        unlimited.finish();
        assert!(matches!(unlimited.report().certainty, Certainty::Estimated { .. }), "{name}: nobody knows");
    }
    // What the provider says last stands, whatever else could not be read.
    let usage = closing(r#"{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}"#);
    let report = chat(&[HELLO, "[1, 2]", &usage, DONE]);
    assert!(report.remarks.iter().eq(&[Remark::UnreadableEvent]));
    assert_eq!((report.certainty, report.usage.total_output()), (Certainty::Reported, 2));
    // An error in place of an answer is an answer.
    let report = chat(&[r#"{"error":{"message":"busy"}}"#]);
    assert_eq!(output_between(&report), (0, 0));
}

/// A whole answer is one JSON value: half of it holds no text that could be counted, and its usage is last.
#[test]
fn an_answer_that_breaks_off_is_open_up_to_its_cap() {
    let text = "It was said before, and it is said again. ".repeat(200);
    let answers = [
        (
            Api::OpenAiChat,
            format!(r#"{{"choices":[{{"message":{{"content":"{text}"}}}}],"usage":{{"completion_tokens":2001}}}}"#),
        ),
        (Api::Gemini, format!(r#"[{{"candidates":[{{"content":{{"parts":[{{"text":"{text}"}}]}}}}]}}]"#)),
        (Api::Ollama, format!(r#"{{"message":{{"content":"{text}"}},"done":true,"eval_count":2001}}"#)),
    ];
    for (api, answer) in answers {
        let observer = || ApiObserver::new(api).model("m").prompt_tokens(9).max_output(4_000);
        let last = answer.trim_end_matches(']').len();
        for at in (1..last).step_by(97).chain([last - 1]) {
            let half = &answer.as_bytes()[..at];
            let (mut streamed, mut whole) = (observer(), observer());
            streamed.feed(half);
            streamed.finish();
            whole.body(half);
            for report in [streamed.report(), whole.report()] {
                let (low, high) = output_between(&report);
                assert!((low..=high).contains(&2_001), "{api:?} at {at}: {low} to {high}");
                let has_one = |remarks: &[Remark]| remarks.iter().any(|remark| report.remarks.contains(remark));
                assert!(has_one(&[Remark::SkippedEvent, Remark::UnreadableEvent]), "{api:?} at {at}");
            }
        }
    }
    // Of a stream a part is missing, or next to nothing.
    let value = r#"{"candidates":[{"content":{"parts":[{"text":"Hello there"}]}}]}"#;
    let line = r#"{"message":{"content":"Hello there"}}"#;
    let streams = [
        (Api::Gemini, format!("[{value},\n{}", &value[..60]), true),
        (Api::Ollama, format!("{line}\n{}", &line[..30]), false),
        (Api::OpenAiChat, format!("data: {HELLO}\n\ndata: {}", &HELLO[..60]), false),
    ];
    for (api, stream, is_open) in streams {
        let report = observed(api, stream.as_bytes());
        assert_eq!(report.remarks.contains(&Remark::SkippedEvent), is_open, "{api:?}");
        assert_eq!(output_between(&report).1 == 1_000, is_open, "{api:?}");
    }
    let mut empty = ApiObserver::new(Api::OpenAiChat).prompt_tokens(9).max_output(4_000);
    empty.body(b"");
    assert_eq!(output_between(&empty.report()), (0, 4_000), "nothing came of an answer");
}

#[test]
fn a_line_of_a_limits_length_is_read_whole() {
    let text = "word ".repeat(1_600_000);
    let event = HELLO.replace("Hello there", &text);
    let stream = format!("data: {event}\n\n");
    let mut observer = ApiObserver::new(Api::OpenAiChat).prompt_tokens(5);
    stream.as_bytes().chunks(16 << 10).for_each(|chunk| observer.feed(chunk));
    assert!(observer.report().remarks.is_empty());
    assert!(count(&observer.report(), TokenClass::Output) > Some(1_000_000));
}

/// Peak memory of this process, in KiB, where the system says.
fn peak_memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[test]
fn streams_that_never_end_are_not_kept() {
    let megabyte = vec![b'x'; 1 << 20];
    let comments = ": keep-alive\n".repeat(80_000);
    let nested = "[{".repeat(1 << 19);
    let before = peak_memory();
    for (api, start, flood) in [
        (Api::OpenAiChat, "data: ", megabyte.as_slice()),
        (Api::OpenAiChat, ":\n", comments.as_bytes()),
        (Api::OpenAiChat, "data: x\ndata: ", b"x\ndata: ".repeat(1 << 17).as_slice()),
        (Api::Ollama, "{", megabyte.as_slice()),
        (Api::Gemini, "[{\"", megabyte.as_slice()),
        (Api::Gemini, "[", nested.as_bytes()),
        (Api::BedrockConverse, "\0\0", megabyte.as_slice()),
    ] {
        let mut observer = ApiObserver::new(api);
        observer.feed(start.as_bytes());
        (0..64).for_each(|_| observer.feed(flood));
        observer.finish();
        assert!(!observer.is_final());
    }
    if let (Some(before), Some(after)) = (before, peak_memory()) {
        // 64 MiB went through each; tests that run beside it hold a few tens.
        assert!(after.saturating_sub(before) < 60 << 10, "{before} KiB before, {after} KiB after");
    }
}

/// Events of next to nothing, as often as a list has room for it: what is made of one is gone before the next is read.
#[test]
fn lists_of_an_event_are_not_kept() {
    let lists = [
        (Api::OpenAiChat, r#"{"choices":["#, "{},", "{}]}"),
        (Api::OpenAiChat, r#"{"choices":[{"delta":{"tool_calls":["#, "{},", "{}]}}]}"),
        (Api::OpenAiChat, r#"{"choices":[{"delta":{"content":["#, "{},", "{}]}}]}"),
        (Api::OpenAiResponses, r#"{"type":"response.completed","response":{"output":["#, "{},", "{}]}}"),
        (Api::Anthropic, r#"{"type":"message","content":["#, "{},", "{}]}"),
        (Api::Anthropic, r#"{"type":"message_delta","usage":{"iterations":["#, r#"{"type":"x"},"#, "{}]}}"),
        (Api::Gemini, r#"{"candidates":["#, "{},", "{}]}"),
        (Api::Gemini, r#"{"candidates":[{"content":{"parts":["#, "{},", "{}]}}]}"),
        (Api::Gemini, r#"{"candidates":[{"groundingMetadata":{"webSearchQueries":["#, "0,", "0]}}]}"),
        (Api::BedrockConverse, r#"{"output":{"message":{"content":["#, "{},", "{}]}}}"),
        (Api::Cohere, r#"{"type":"message-start","message":{"content":["#, "{},", "{}]}}"),
    ];
    let before = peak_memory();
    for (api, head, item, tail) in lists {
        let event = format!("data: {head}{}{tail}\n\n", item.repeat((2 << 20) / item.len()));
        let mut observer = ApiObserver::new(api);
        observer.feed(event.as_bytes());
        observer.finish();
        assert!(!observer.report().remarks.contains(&Remark::UnreadableEvent), "{api:?} {head}: it was read");
    }
    if let (Some(before), Some(after)) = (before, peak_memory()) {
        // An event of 2 MiB, a few times over, and what tests beside it hold: kept, its items would be 600 MiB.
        assert!(after.saturating_sub(before) < 200 << 10, "{before} KiB before, {after} KiB after");
    }
}

#[test]
fn json_nested_ten_thousand_deep_is_passed_over() {
    let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
    for field in ["usage", "choices", "new_field", "error_details"] {
        let event = format!(r#"{{"{field}":{deep}}}"#);
        let usage = closing(r#"{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}"#);
        let report = chat(&[&event, HELLO, &usage, DONE]);
        assert_eq!((count(&report, TokenClass::Output), report.certainty), (Some(2), Certainty::Reported), "{field}");
    }
    for (api, file) in SHAPES {
        let mut bytes = deep.clone().into_bytes();
        bytes.extend(recording(file));
        fuzz::report(*api, [bytes.as_slice()]);
    }
}

/// Whatever holds something of its own kind, twenty thousand deep and within an event's limit: a reader that starts
/// anew at each level is stopped by no limit of the parser's.
#[test]
fn fields_nested_in_their_own_kind_are_passed_over() {
    const DEPTH: usize = 20_000;
    let nested = [
        (Api::OpenAiChat, r#"{"choices":[{"delta":{"content":["#, r#"{"thinking":["#, "]}", "]}}]}"),
        (Api::OpenAiChat, r#"{"choices":[{"message":{"reasoning":["#, r#"{"text":["#, "]}", "]}}]}"),
        (Api::OpenAiChat, r#"{"choices":["#, r#"{"message":{"choices":["#, "]}}", "]}"),
        (Api::OpenAiResponses, "", r#"{"type":"response.completed","response":{"output":["#, "]}}", ""),
        (Api::OpenAiResponses, r#"{"object":"response","output":["#, r#"{"content":[{"summary":["#, "]}]}", "]}"),
        (Api::Anthropic, r#"{"type":"message_delta","usage":{"iterations":["#, r#"{"iterations":["#, "]}", "]}}"),
        (Api::Anthropic, r#"{"type":"message","content":["#, r#"{"content":["#, "]}", "]}"),
        (Api::Anthropic, r#"{"type":"content_block_delta","delta":"#, r#"{"content":[{"thinking":"#, "}]}", "}"),
        (Api::Gemini, r#"{"candidates":["#, r#"{"content":{"parts":["#, "]}}", "]}"),
        (Api::BedrockConverse, "", r#"{"contentBlockDelta":{"metadata":"#, "}}", ""),
        (Api::BedrockConverse, r#"{"delta":{"toolUse":{"input":"#, r#"{"input":"#, "}", "}}}"),
        (Api::Cohere, r#"{"delta":{"message":"#, r#"{"content":[{"message":"#, "}]}", "}}"),
        (Api::Ollama, r#"{"message":"#, r#"{"tool_calls":[{"function":{"arguments":"#, "}}]}", "}"),
    ];
    for (api, head, open, close, tail) in nested {
        let event = format!("{head}{}1{}{tail}", open.repeat(DEPTH), close.repeat(DEPTH));
        assert!(event.len() < EVENT_BYTES_MAX, "{api:?} {open}");
        serde_json::from_str::<&serde_json::value::RawValue>(&event).unwrap_or_else(|error| panic!("{open}: {error}"));
        let mut observer = ApiObserver::new(api);
        match api {
            Api::Ollama => observer.feed(format!("{event}\n").as_bytes()),
            _ => observer.feed(format!("data: {event}\n\n").as_bytes()),
        }
        observer.finish();
        assert!(!observer.report().remarks.contains(&Remark::SkippedEvent), "{api:?} {open}: it was looked at");
        ApiObserver::new(api).body(event.as_bytes());
    }
}

#[test]
fn done_missing_early_or_twice_changes_no_usage() {
    let usage = closing(r#"{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}"#);
    let usual = chat(&[HELLO, &usage, DONE]);
    assert_eq!(usual.certainty, Certainty::Reported);
    assert_eq!(chat(&[HELLO, &usage]), usual, "missing");
    assert_eq!(chat(&[DONE, HELLO, &usage]), usual, "early");
    assert_eq!(chat(&[HELLO, &usage, DONE, DONE]), usual, "twice");
    let other = closing(r#"{"prompt_tokens":900,"completion_tokens":900,"total_tokens":1800}"#);
    assert_eq!(chat(&[HELLO, &usage, DONE, &other]), usual, "what follows the end is not of this response");
}

#[test]
fn invalid_utf8_is_replaced_and_remarked() {
    let mut stream =
        b"data: {\"model\":\"gpt-4o\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\xe2\x82\"}}]}\n\n".to_vec();
    let report = observed(Api::OpenAiChat, &stream);
    assert!(report.remarks.contains(&Remark::InvalidText));
    assert!(count(&report, TokenClass::Output) >= Some(1));
    // Cut in the middle of a code point by the network, not by the provider: nothing is wrong.
    stream = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"€\"}}]}\n\n".into();
    for at in 0..stream.len() {
        let (head, tail) = stream.split_at(at);
        assert!(fuzz::report(Api::OpenAiChat, [head, tail]).0.remarks.is_empty());
    }
}

#[test]
fn compressed_bodies_are_refused_not_guessed() {
    let mut observer = ApiObserver::new(Api::OpenAiChat);
    observer.feed(b"\x1f\x8b\x08\0");
    observer.feed(format!("data: {HELLO}\n\n").as_bytes());
    observer.finish();
    let report = observer.report();
    assert!(report.remarks.contains(&Remark::UnreadableEvent));
    assert_eq!(count(&report, TokenClass::Output), Some(0));
    assert!(!observer.is_final());
}

#[test]
fn a_damaged_frame_is_skipped_and_remarked() {
    let frames =
        recording("quirks/raw01__bedrock-converse__us.anthropic.claude-sonnet-4-5-20250929-v1-3a0.eventstream");
    let usual = observed(Api::BedrockConverse, &frames);
    assert_eq!((count(&usual, TokenClass::Output), usual.remarks.len()), (Some(18), 0));
    for at in 0..frames.len() {
        let mut damaged = frames.clone();
        damaged[at] ^= 1;
        let report = observed(Api::BedrockConverse, &damaged);
        let is_remarked =
            [Remark::SkippedEvent, Remark::UnreadableEvent].iter().any(|remark| report.remarks.contains(remark));
        assert!(is_remarked, "byte {at}: {report:?}");
    }
}

#[test]
fn a_body_without_any_event_is_remarked() {
    for body in ["<html>502 Bad Gateway</html>", "busy", "[]"] {
        assert!(observed(Api::OpenAiChat, body.as_bytes()).remarks.contains(&Remark::UnreadableEvent), "{body}");
    }
}

#[test]
fn images_and_audio_that_nobody_counted_are_remarked() {
    let image = HELLO.replace(r#""content""#, r#""images":[{"type":"image_url"}],"content""#);
    let report = chat(&[&image]);
    assert!(report.remarks.contains(&Remark::MediaUncounted));
    assert!(matches!(report.certainty, Certainty::Estimated { .. }));
    let usage = closing(r#"{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}"#);
    assert!(chat(&[&image, &usage, DONE]).remarks.is_empty(), "the provider counted them");
}

/// A lie in the closing usage: what is made of it.
struct Lie {
    usage: &'static str,
    input: u64,
    cached: Option<u64>,
    output: Option<u64>,
    reasoning: Option<u64>,
    remarks: &'static [Remark],
}

#[test]
fn lying_usage_is_clamped_or_counted_and_always_remarked() {
    use Remark::*;
    // Nothing believable was said of the output: "Hello there" is counted. Of the input: the host's 2 stand.
    let counted = if cfg!(feature = "o200k") { Some(2) } else { None };
    let lies = [
        Lie {
            usage: r#"{"prompt_tokens":5,"completion_tokens":-7}"#,
            input: 5,
            cached: None,
            output: counted,
            reasoning: None,
            remarks: &[UnreadableNumber],
        },
        Lie {
            usage: r#"{"prompt_tokens":5,"completion_tokens":7.5}"#,
            input: 5,
            cached: None,
            output: counted,
            reasoning: None,
            remarks: &[UnreadableNumber],
        },
        Lie {
            usage: r#"{"prompt_tokens":5,"completion_tokens":"7"}"#,
            input: 5,
            cached: None,
            output: counted,
            reasoning: None,
            remarks: &[UnreadableNumber],
        },
        Lie {
            usage: r#"{"prompt_tokens":5,"completion_tokens":{}}"#,
            input: 5,
            cached: None,
            output: counted,
            reasoning: None,
            remarks: &[UnreadableNumber],
        },
        Lie {
            usage: r#"{"prompt_tokens":5,"completion_tokens":18446744073709551615}"#,
            input: 5,
            cached: None,
            output: counted,
            reasoning: None,
            remarks: &[HugeNumber],
        },
        Lie {
            usage: r#"{"prompt_tokens":5,"completion_tokens":1e400}"#,
            input: 5,
            cached: None,
            output: counted,
            reasoning: None,
            remarks: &[UnreadableNumber],
        },
        Lie {
            usage: r#"{"prompt_tokens":-5,"completion_tokens":7}"#,
            input: 2,
            cached: None,
            output: Some(7),
            reasoning: None,
            remarks: &[UnreadableNumber],
        },
        Lie {
            usage: r#"{"prompt_tokens":null,"completion_tokens":7}"#,
            input: 2,
            cached: None,
            output: Some(7),
            reasoning: None,
            remarks: &[],
        },
        Lie {
            usage: r#"{"prompt_tokens":5,"completion_tokens":null}"#,
            input: 5,
            cached: None,
            output: counted,
            reasoning: None,
            remarks: &[],
        },
        Lie {
            usage: r#"{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}"#,
            input: 0,
            cached: None,
            output: Some(0),
            reasoning: None,
            remarks: &[],
        },
        Lie {
            usage: r#"{"prompt_tokens":5,"completion_tokens":7.0}"#,
            input: 5,
            cached: None,
            output: Some(7),
            reasoning: None,
            remarks: &[],
        },
        Lie {
            usage: r#"{"prompt_tokens":5,"completion_tokens":7,"prompt_tokens_details":{"cached_tokens":99}}"#,
            input: 0,
            cached: Some(5),
            output: Some(7),
            reasoning: None,
            remarks: &[PartAboveWhole],
        },
        Lie {
            usage: r#"{"prompt_tokens":5,"completion_tokens":7,"completion_tokens_details":{"reasoning_tokens":70}}"#,
            input: 5,
            cached: None,
            output: Some(0),
            reasoning: Some(7),
            remarks: &[PartAboveWhole],
        },
        Lie {
            usage: r#"{"prompt_tokens":5,"completion_tokens":7,"total_tokens":3,"completion_tokens_details":{"reasoning_tokens":1}}"#,
            input: 5,
            cached: None,
            output: Some(6),
            reasoning: Some(1),
            remarks: &[TotalDiffers],
        },
        Lie {
            usage: r#"{"prompt_tokens":5,"completion_tokens":7,"total_tokens":30}"#,
            input: 5,
            cached: None,
            output: Some(7),
            reasoning: Some(18),
            remarks: &[TotalDiffers],
        },
        Lie { usage: r#"[1,2,3]"#, input: 2, cached: None, output: counted, reasoning: None, remarks: &[] },
        Lie { usage: r#""none""#, input: 2, cached: None, output: counted, reasoning: None, remarks: &[] },
    ];
    for lie in lies {
        let report = chat(&[HELLO, &closing(lie.usage), DONE]);
        assert_eq!(count(&report, TokenClass::Input), Some(lie.input), "{}", lie.usage);
        assert_eq!(count(&report, TokenClass::CacheRead), lie.cached, "{}", lie.usage);
        if lie.output.is_some() {
            assert_eq!(count(&report, TokenClass::Output), lie.output, "{}", lie.usage);
        }
        assert_eq!(count(&report, TokenClass::Reasoning), lie.reasoning, "{}", lie.usage);
        assert!(report.remarks.iter().eq(lie.remarks), "{}: {:?}", lie.usage, report.remarks);
    }
}

#[test]
fn usage_that_falls_or_is_said_twice_is_remarked() {
    let so_far = |prompt: u64, completion: u64| {
        format!(
            r#"{{"choices":[{{"index":0,"delta":{{"content":""}}}}],"usage":{{"prompt_tokens":{prompt},"completion_tokens":{completion}}}}}"#
        )
    };
    let falls = chat(&[&so_far(5, 40), &so_far(5, 10)]);
    assert_eq!(count(&falls, TokenClass::Output), Some(40), "the highest is kept");
    assert_eq!(falls.remarks.iter().copied().collect::<Vec<_>>(), [Remark::FallingNumber, Remark::UsageSoFar]);

    let first = closing(r#"{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}"#);
    let second = closing(r#"{"prompt_tokens":5,"completion_tokens":9,"total_tokens":14}"#);
    let restated = chat(&[HELLO, &first, &second, DONE]);
    assert_eq!(count(&restated, TokenClass::Output), Some(9));
    assert!(restated.remarks.contains(&Remark::UsageRestated));
    assert!(chat(&[HELLO, &first, &first, DONE]).remarks.is_empty(), "the same twice is nothing odd");
}

#[test]
fn usage_is_not_the_last_while_another_answer_goes_on() {
    let choice = |index: u32, finish: &str| {
        format!(
            r#"{{"choices":[{{"index":{index},"delta":{{"content":"Hello there"}},"finish_reason":{finish}}}],"usage":{{"prompt_tokens":5,"completion_tokens":4}}}}"#
        )
    };
    let report = chat(&[&choice(0, "null"), &choice(1, "null"), &choice(0, "\"stop\"")]);
    assert!(report.remarks.contains(&Remark::UsageSoFar), "{report:?}");
    let report = chat(&[&choice(0, "null"), &choice(1, "\"stop\""), &choice(0, "\"stop\"")]);
    assert_eq!((report.certainty, report.remarks.len()), (Certainty::Reported, 0));
}

#[test]
fn a_model_that_changes_midway_keeps_its_first_name() {
    let report = chat(&[HELLO, &HELLO.replace("gpt-4o", "gpt-4o-mini"), DONE]);
    assert_eq!(report.model.as_deref(), Some("gpt-4o"));
    assert!(report.remarks.contains(&Remark::ModelChanged));
}

#[test]
fn lies_of_every_api_are_remarked() {
    let bodies = [
        (Api::OpenAiResponses, r#"{"object":"response","usage":{"input_tokens":-1,"output_tokens":7}}"#),
        (Api::Anthropic, r#"{"type":"message","usage":{"input_tokens":-1,"output_tokens":7}}"#),
        (
            Api::Gemini,
            r#"{"usageMetadata":{"promptTokenCount":-1,"candidatesTokenCount":7},"candidates":[{"finishReason":"STOP"}]}"#,
        ),
        (Api::BedrockConverse, r#"{"usage":{"inputTokens":-1,"outputTokens":7}}"#),
        (Api::Cohere, r#"{"usage":{"billed_units":{"input_tokens":-1,"output_tokens":7}}}"#),
        (Api::Ollama, r#"{"done":true,"prompt_eval_count":-1,"eval_count":7}"#),
    ];
    for (api, body) in bodies {
        let report = observed(api, body.as_bytes());
        assert_eq!(count(&report, TokenClass::Output), Some(7), "{api:?}");
        assert_eq!(count(&report, TokenClass::Input), Some(2), "{api:?}: the host's own count stands");
        assert!(report.remarks.iter().eq(&[Remark::UnreadableNumber]), "{api:?}: {:?}", report.remarks);
        let mut whole = ApiObserver::new(api).prompt_between(1, 2, 3).max_output(1_000);
        whole.body(body.as_bytes());
        assert_eq!(whole.report(), report, "{api:?}: a whole body is read like a stream of one event");
    }
}

/// Runs `test` on random bytes, and on `seeds` with some of them changed, cut out, doubled or put elsewhere.
fn randomly(name: &str, seeds: &[Vec<u8>], test: impl Fn(&[u8])) {
    let cases = common::number("PREPAID_CASES", 400);
    let seed = common::number("PREPAID_SEED", RandomState::new().build_hasher().finish());
    println!("{name}: PREPAID_SEED={seed} PREPAID_CASES={cases}");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config { cases: u32::try_from(cases).unwrap(), failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let outcome = runner.run(&input(seeds.to_vec()), |bytes| {
        test(&bytes);
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{name}: PREPAID_SEED={seed}: {failure}"));
}

fn input(seeds: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    // Bytes that mean something to some framing are drawn more often.
    let telling = prop::sample::select(b"\r\n:{}[]\",\\ \0\xef\xbb\xbf-0129.edat".to_vec());
    let byte = prop_oneof![3 => telling, 1 => any::<u8>()];
    let random = prop::collection::vec(byte.clone(), 0..300);
    let change =
        (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..5_u8, prop::collection::vec(byte, 0..6));
    let mutated =
        (prop::sample::select(seeds), prop::collection::vec(change, 1..8)).prop_map(|(mut bytes, changes)| {
            for (from, to, kind, new) in changes {
                let (from, to) = (from.index(bytes.len() + 1), to.index(bytes.len() + 1));
                let (from, to) = (from.min(to), from.max(to));
                match kind {
                    0 => drop(bytes.splice(from..(from + new.len()).min(bytes.len()), new)),
                    1 => drop(bytes.splice(from..from, new)),
                    2 => drop(bytes.drain(from..to)),
                    3 => {
                        let copy = bytes[from..to.min(from + 400)].to_vec();
                        drop(bytes.splice(from..from, copy));
                    }
                    _ => bytes.truncate(to),
                }
            }
            bytes
        });
    prop_oneof![1 => random, 2 => mutated]
}

/// The fuzzer's seeds of a target.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new("tests/fuzz/corpus").join(target);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| fs::read(path).unwrap()).collect()
}

#[test]
fn framings_find_the_same_events_however_random_bytes_are_split() {
    let targets = ["wire_sse", "wire_json_lines", "wire_json_values", "wire_event_stream"];
    for (wire, target) in Wire::ALL.into_iter().zip(targets) {
        let seeds = corpus(target);
        seeds.iter().for_each(|seed| fuzz::framing(wire, seed));
        randomly(target, &seeds, |bytes| fuzz::framing(wire, bytes));
    }
}

#[test]
fn observers_report_the_same_however_random_bytes_are_split() {
    for api in Api::ALL {
        let target = format!("observe_{}", api.name().trim_end_matches("_v2"));
        let seeds = corpus(&target);
        seeds.iter().for_each(|seed| fuzz::observer(api, seed));
        randomly(&target, &seeds, |bytes| fuzz::observer(api, bytes));
    }
}

/// How a stream goes through the meter.
#[derive(Clone, Copy, Debug)]
enum Ending {
    Read,
    Error,
    Dropped,
}

/// Meters `body`; the bytes that came out of the meter.
async fn metered(account: &AccountHandle, request: &str, api: Api, body: &[u8], ending: Ending) -> Vec<u8> {
    let tariff = Tariff::per_million("m").input("1").output("2").build().unwrap();
    let hold = account.reserve(request, Amount::new(1_000_000).unwrap()).tariff(Arc::new(tariff));
    let hold = hold.await.unwrap().created().unwrap();
    let observer = ApiObserver::new(api).prompt_tokens(3).max_output(1_000);
    let mut items: Vec<io::Result<Bytes>> =
        body.chunks(body.len() / 7 + 1).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
    if matches!(ending, Ending::Error) {
        items.insert(items.len() / 2, Err(io::Error::other("reset")));
    }
    let (mut metered, billed) = hold.meter(stream::iter(items), observer);
    let mut passed = Vec::new();
    let mut items = 0;
    while let Some(item) = metered.next().await {
        passed.extend(item.ok().into_iter().flatten());
        items += 1;
        if matches!(ending, Ending::Dropped) && items == 3 {
            break;
        }
    }
    drop(metered);
    let bill = billed.await.unwrap();
    let closed = bill.receipt.hold.unwrap();
    assert!(closed.state != HoldState::Open, "{api:?} {request}: {closed:?}");
    passed
}

#[tokio::test]
async fn hostile_bodies_pass_through_unchanged_and_each_closes_one_hold() {
    let ledger = Ledger::open("memory:").await.unwrap();
    let account = ledger.account("a").unwrap();
    account.open().await.unwrap();
    account.deposit("d", Amount::new(1_000_000_000_000_000).unwrap()).await.unwrap();
    let mut bodies: Vec<(Api, Vec<u8>)> = SHAPES.iter().map(|(api, file)| (*api, recording(file))).collect();
    for api in Api::ALL {
        let target = format!("observe_{}", api.name().trim_end_matches("_v2"));
        bodies.extend(corpus(&target).into_iter().map(|body| (api, body)));
        bodies.extend(
            ["wire_sse", "wire_json_values", "wire_event_stream"]
                .iter()
                .flat_map(|wire| corpus(wire))
                .map(|body| (api, body)),
        );
        bodies.extend(
            [
                Vec::new(),
                vec![0xFF; 999],
                b"\x1f\x8b gzip".to_vec(),
                b"data: ".repeat(9_000),
                b"<html>502</html>".to_vec(),
            ]
            .map(|body| (api, body)),
        );
    }
    let mut number = 0;
    for (api, body) in &bodies {
        for ending in [Ending::Read, Ending::Error, Ending::Dropped] {
            let passed = metered(&account, &format!("r{number}"), *api, body, ending).await;
            match ending {
                Ending::Read | Ending::Error => assert_eq!(&passed, body, "{api:?} {ending:?}"),
                Ending::Dropped => assert!(body.starts_with(&passed), "{api:?} {ending:?}"),
            }
            number += 1;
        }
    }
    let audit = ledger.audit().await.unwrap();
    assert!(audit.findings.is_empty(), "{:?}", audit.findings);
    assert_eq!((audit.holds, audit.open_holds), (number, 0), "one closed hold for each body");
}

#[test]
fn usage_of_a_message_that_goes_on_is_not_its_last() {
    let start =
        r#"{"type":"message_start","message":{"model":"claude-3-haiku","usage":{"input_tokens":9,"output_tokens":1}}}"#;
    let text = r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hello there"}}"#;
    let so_far = r#"{"type":"message_delta","delta":{"stop_reason":null},"usage":{"output_tokens":5}}"#;
    let last = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":12}}"#;
    let stop = r#"{"type":"message_stop"}"#;
    let anthropic = |events: &[&str]| {
        let stream: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
        fuzz::report(Api::Anthropic, [stream.as_bytes()])
    };
    let (report, is_final) = anthropic(&[start, text, so_far, text]);
    assert!(!is_final && count(&report, TokenClass::Output) > Some(5), "{report:?}");
    assert!(report.remarks.contains(&Remark::UsageSoFar));
    let (report, is_final) = anthropic(&[start, text, so_far, text, last, stop]);
    assert_eq!((count(&report, TokenClass::Output), is_final), (Some(12), true));
    assert_eq!((report.certainty, report.remarks.len()), (Certainty::Reported, 0));
    let (report, _) = anthropic(&[start, text, so_far]);
    assert_eq!(count(&report, TokenClass::Output), Some(5), "what was delivered before it is in it");
    let other = start.replace(r#""output_tokens":1"#, r#""output_tokens":88"#);
    assert_eq!(anthropic(&[start, text]), anthropic(&[&other, text]), "a placeholder is no count");
}

#[test]
fn a_character_split_over_two_events_loses_no_text() {
    let half = |escape: &str| {
        format!(r#"{{"model":"gpt-4o","choices":[{{"index":0,"delta":{{"content":"many words here {escape}"}}}}]}}"#)
    };
    let report = chat(&[&half(r"\ud83d"), &half(r"\ude00")]);
    assert!(count(&report, TokenClass::Output) >= Some(6), "{report:?}");
}

#[test]
fn only_a_blocked_prompt_ends_a_gemini_stream_before_its_answer() {
    let event = |feedback: &str| {
        let event = format!(
            r#"{{"promptFeedback":{{{feedback}}},"usageMetadata":{{"promptTokenCount":4,"totalTokenCount":4}}}}"#
        );
        fuzz::report(Api::Gemini, [format!("data: {event}\n\n").as_bytes()])
    };
    let (report, is_final) = event(r#""blockReason":"SAFETY""#);
    assert!(is_final);
    assert_eq!((count(&report, TokenClass::Input), count(&report, TokenClass::Output)), (Some(4), Some(0)));
    assert!(!event(r#""safetyRatings":[]"#).1);
}

/// Bodies as the providers' references show them, with a word, a thought and a call where the API has them.
#[test]
fn whole_bodies_are_read_and_counted_where_they_have_no_usage() {
    let bodies = [
        (
            Api::OpenAiChat,
            r#"{"model":"m","choices":[{"message":{"content":"Hello","reasoning_content":"Think","tool_calls":[{"function":{"name":"f","arguments":"{}"}}]},"finish_reason":"stop"}],USAGE}"#,
            r#""usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12}"#,
        ),
        (
            Api::OpenAiResponses,
            r#"{"object":"response","model":"m","output":[{"type":"reasoning","content":[{"type":"reasoning_text","text":"Think"}]},{"type":"message","content":[{"type":"output_text","text":"Hello"}]},{"type":"function_call","name":"f","arguments":"{}"}],USAGE}"#,
            r#""usage":{"input_tokens":5,"output_tokens":7,"total_tokens":12}"#,
        ),
        (
            Api::Anthropic,
            r#"{"type":"message","model":"claude-3","content":[{"type":"thinking","thinking":"Think"},{"type":"text","text":"Hello"},{"type":"tool_use","name":"f","input":{}}],"stop_reason":"end_turn",USAGE}"#,
            r#""usage":{"input_tokens":5,"output_tokens":7}"#,
        ),
        (
            Api::Gemini,
            r#"{"modelVersion":"m","candidates":[{"content":{"parts":[{"text":"Think","thought":true},{"text":"Hello"},{"functionCall":{"name":"f","args":{}}}]},"finishReason":"STOP"}],USAGE}"#,
            r#""usageMetadata":{"promptTokenCount":5,"candidatesTokenCount":7,"totalTokenCount":12}"#,
        ),
        (
            Api::BedrockConverse,
            r#"{"output":{"message":{"content":[{"reasoningContent":{"reasoningText":{"text":"Think"}}},{"text":"Hello"},{"toolUse":{"name":"f","input":{}}}]}},"stopReason":"end_turn",USAGE}"#,
            r#""usage":{"inputTokens":5,"outputTokens":7,"totalTokens":12}"#,
        ),
        (
            Api::Cohere,
            r#"{"message":{"content":[{"type":"thinking","thinking":"Think"},{"type":"text","text":"Hello"}],"tool_calls":[{"function":{"name":"f","arguments":"{}"}}]},USAGE}"#,
            r#""usage":{"billed_units":{"input_tokens":5,"output_tokens":7}}"#,
        ),
        (
            Api::Ollama,
            r#"{"model":"m","message":{"content":"Hello","thinking":"Think","tool_calls":[{"function":{"name":"f","arguments":{}}}]},"done":true,USAGE}"#,
            r#""prompt_eval_count":5,"eval_count":7"#,
        ),
    ];
    for (api, body, usage) in bodies {
        let read = |usage: &str| {
            let mut observer = ApiObserver::new(api).prompt_tokens(9);
            let body: serde_json::Value = serde_json::from_str(&body.replace("USAGE", usage)).unwrap();
            observer.body(serde_json::to_string_pretty(&body).unwrap().as_bytes());
            observer
        };
        let whole = read(usage);
        let report = whole.report();
        assert_eq!(count(&report, TokenClass::Input), Some(5), "{api:?}");
        assert_eq!(report.usage.total_output(), 7, "{api:?}");
        assert_eq!((&report.certainty, whole.is_final()), (&Certainty::Reported, true), "{api:?}");
        let delivered = whole.delivered();
        assert_eq!((delivered.output > 0, delivered.reasoning > 0, delivered.calls), (true, true, 1), "{api:?}");
        let bare = read(r#""usage":null"#).report();
        assert_eq!(count(&bare, TokenClass::Input), Some(9), "{api:?}");
        assert!(bare.usage.total_output() > 1 && bare.certainty != Certainty::Reported, "{api:?}: {bare:?}");
    }
}

#[test]
fn reasoning_that_was_said_is_not_estimated_because_the_output_was_not() {
    let usage = r#"{"prompt_tokens":5,"completion_tokens":-7,"completion_tokens_details":{"reasoning_tokens":3}}"#;
    let report = chat(&[&HELLO.replace("gpt-4o", "gpt-5"), &closing(usage).replace("gpt-4o", "gpt-5"), DONE]);
    assert_eq!(count(&report, TokenClass::Reasoning), Some(3));
    assert!(report.remarks.iter().eq(&[Remark::UnreadableNumber]), "{:?}", report.remarks);
}
