//! What requests are estimated to use, against what their providers billed.
//!
//! `PREPAID_STREAMS` names a folder with more recorded requests, and an `index.json`.

#![cfg(feature = "testing")]

mod common;

use std::collections::BTreeMap;

#[cfg(feature = "o200k")]
use prepaid::tokens::Vocabulary;
use prepaid::tokens::{Beyond, RequestEstimate, RequestShape};
use serde_json::json;

use common::requests::{self, Recorded};

/// Requests that cost more than the bound, and why nothing in them shows it.
const UNSEEN: &[(&str, &str)] = &[
    ("venice__", "the reseller adds a prompt of its own"),
    ("gpt-4o-2024-08-06__2", "the recording left the text of the system prompt out"),
    ("gpt-4o-2024-08-06__3", "the recording left the text of the system prompt out"),
];

#[test]
fn input_of_recorded_requests_stays_within_the_bound_and_the_bound_is_tight() {
    let mut families: BTreeMap<String, Vec<[u64; 3]>> = BTreeMap::new();
    let mut wrong = Vec::new();
    for request in requests::all() {
        let estimate = estimate(&request);
        let truth = request.input_total;
        let is_unseen = UNSEEN.iter().any(|(part, _)| request.file.contains(part));
        if truth > estimate.input && estimate.beyond.is_empty() && !is_unseen {
            wrong.push(format!("{}: {truth} above {estimate:?}", request.file));
        }
        if estimate.beyond.is_empty() && !is_unseen {
            families.entry(request.api).or_default().push([truth, estimate.input, estimate.input_likely]);
        }
    }
    println!("{:<26} {:>4} {:>13} {:>6} {:>18}", "api", "n", "bound / truth", "90 %", "likely: median off");
    let mut bounds = Vec::new();
    for (api, counts) in &families {
        let mut ratios: Vec<u64> = counts.iter().map(|[truth, bound, _]| bound * 1_000 / truth).collect();
        let mut off: Vec<u64> =
            counts.iter().map(|[truth, _, likely]| truth.abs_diff(*likely) * 1_000 / truth).collect();
        ratios.sort_unstable();
        off.sort_unstable();
        let [median, most] = [at(&ratios, 50), at(&ratios, 90)].map(thousandths);
        println!("{api:<26} {:>4} {median:>13} {most:>6} {:>16} %", counts.len(), at(&off, 50) / 10);
        bounds.extend(counts.iter().filter(|[truth, ..]| *truth >= 100).map(|[truth, bound, _]| bound * 1_000 / truth));
    }
    bounds.sort_unstable();
    println!(
        "{:<26} {:>4} {:>13} {:>6}",
        "all",
        bounds.len(),
        thousandths(at(&bounds, 50)),
        thousandths(at(&bounds, 90))
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(
        at(&bounds, 50) <= 1_800,
        "half of the bounds of prompts of 100 tokens and more are more than 1.8 times the truth"
    );
}

#[cfg(all(feature = "o200k", feature = "cl100k"))]
#[test]
fn text_for_openai_is_estimated_exactly() {
    let mut seen = 0;
    for request in requests::all() {
        let is_openai = request.file.contains("__openai__gpt-3.5") || request.file.contains("__openai__gpt-4");
        let body = request.body();
        let is_text = ["\"tools\"", "\"response_format\"", "removed]", "\"functions\"", "AAAA"]
            .iter()
            .all(|word| !body.contains(word));
        if is_openai && is_text && request.api == "openai_chat" {
            let estimate = estimate(&request);
            assert_eq!(estimate.input_likely, request.input_total, "{}", request.file);
            assert!(estimate.input - estimate.input_least <= 1);
            seen += 1;
        }
    }
    assert!(seen >= 5, "only {seen} such requests");
}

#[test]
fn every_api_says_its_limits() {
    let limits = |shape: RequestShape, request: serde_json::Value| {
        let estimate = shape.estimate(request.to_string().as_bytes(), Some("m")).unwrap();
        (estimate.output_cap, estimate.reasoning_cap, estimate.choices)
    };
    let chat = RequestShape::OpenAiChat;
    assert_eq!(limits(chat, json!({"messages": []})), (None, None, 1));
    assert_eq!(limits(chat, json!({"max_tokens": 5, "n": 3})), (Some(5), None, 3));
    assert_eq!(limits(chat, json!({"max_tokens": 5, "max_completion_tokens": 7, "n": 0})), (Some(7), None, 1));
    assert_eq!(limits(chat, json!({"max_tokens": -5})), (None, None, 1));
    assert_eq!(limits(RequestShape::OpenAiResponses, json!({"max_output_tokens": 9})), (Some(9), None, 1));
    let request = json!({"max_tokens": 2048, "thinking": {"type": "enabled", "budget_tokens": 1024}});
    assert_eq!(limits(RequestShape::Anthropic, request), (Some(2048), Some(1024), 1));
    let config = json!({"maxOutputTokens": 11, "candidateCount": 2, "thinkingConfig": {"thinkingBudget": 0}});
    assert_eq!(limits(RequestShape::Gemini, json!({"generationConfig": config})), (Some(11), Some(0), 2));
    let config = json!({"inferenceConfig": {"maxTokens": 12}});
    assert_eq!(limits(RequestShape::BedrockConverse, config), (Some(12), None, 1));
    assert_eq!(limits(RequestShape::Cohere, json!({"max_tokens": 13})), (Some(13), None, 1));
    assert_eq!(limits(RequestShape::Ollama, json!({"options": {"num_predict": 14}})), (Some(14), None, 1));
}

#[test]
fn what_a_request_does_not_show_is_named() {
    let beyond = |request: serde_json::Value| {
        let request = request.to_string();
        RequestShape::OpenAiResponses.estimate(request.as_bytes(), None).unwrap().beyond.into_iter().collect::<Vec<_>>()
    };
    assert_eq!(beyond(json!({"input": "hi", "tools": [{"type": "function", "name": "f", "parameters": {}}]})), []);
    assert_eq!(beyond(json!({"input": "hi", "tools": [{"type": "web_search"}]})), [Beyond::HostedTool]);
    assert_eq!(beyond(json!({"input": "hi", "model": "sonar-pro"})), [Beyond::HostedTool]);
    assert_eq!(beyond(json!({"input": "hi", "previous_response_id": "r"})), [Beyond::StoredContext]);
    let file = json!([{"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]}]);
    assert_eq!(beyond(json!({"input": file})), [Beyond::RemoteFile]);
    assert_eq!(beyond(json!({"prompt": {"id": "pmpt-1", "variables": {"city": "Rome"}}})), [Beyond::StoredContext]);
    assert_eq!(beyond(json!({"input": [{"type": "item_reference", "id": "msg-1"}]})), [Beyond::StoredContext]);
    assert_eq!(beyond(json!({"input": [{"id": "msg-1"}]})), [Beyond::StoredContext]);
}

#[test]
fn what_providers_add_when_asked_is_named() {
    let beyond = |shape: RequestShape, request: serde_json::Value| {
        let estimate = shape.estimate(request.to_string().as_bytes(), Some("m")).unwrap();
        estimate.beyond.into_iter().collect::<Vec<_>>()
    };
    let chat = |request| beyond(RequestShape::OpenAiChat, request);
    assert_eq!(chat(json!({"plugins": [{"id": "web"}]})), [Beyond::HostedTool]);
    assert_eq!(chat(json!({"plugins": [], "search_parameters": null, "prompt": "hi"})), []);
    assert_eq!(chat(json!({"model": "openai/gpt-4o:online"})), [Beyond::HostedTool]);
    assert_eq!(chat(json!({"model": "online/gpt-4o:free"})), []);
    assert_eq!(chat(json!({"search_parameters": {"mode": "auto"}})), [Beyond::HostedTool]);
    assert_eq!(chat(json!({"web_search_options": {}})), [Beyond::HostedTool]);
    let servers = json!([{"type": "url", "url": "https://example.com/mcp", "name": "m"}]);
    assert_eq!(beyond(RequestShape::Anthropic, json!({"mcp_servers": servers})), [Beyond::HostedTool]);
    for key in ["cachedContent", "cached_content"] {
        assert_eq!(beyond(RequestShape::Gemini, json!({key: "cachedContents/1"})), [Beyond::StoredContext]);
    }
}

#[test]
fn models_that_tools_name_are_named() {
    let tools = json!([{"type": "advisor_20260301", "name": "advisor", "model": "claude-opus-4-7"},
        {"name": "f", "input_schema": {"type": "object"}, "model": "no tool of the provider's"}]);
    let request = json!({"model": "claude-sonnet-4-6", "messages": [], "tools": tools}).to_string();
    let estimate = RequestShape::Anthropic.estimate(request.as_bytes(), None).unwrap();
    assert_eq!(estimate.others.iter().map(|model| &**model).collect::<Vec<_>>(), ["claude-opus-4-7"]);
}

#[test]
fn more_of_anything_never_lowers_the_bound() {
    let bound = |request: &serde_json::Value| {
        RequestShape::OpenAiChat.estimate(request.to_string().as_bytes(), Some("gpt-4o")).unwrap().input
    };
    let part = |part: serde_json::Value| json!({"role": "user", "content": [part]});
    let parts = [
        json!({"role": "user", "content": "hello"}),
        part(json!({"type": "text", "text": "hello"})),
        part(json!({"type": "image_url", "image_url": {"url": "https://example.com/a.png"}})),
        part(json!({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}})),
        part(json!({"type": "what is this", "value": {"deep": ["text"]}})),
        json!({"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{}"}}]}),
        json!({"role": "tool", "tool_call_id": "1", "content": "42"}),
        json!("a bare text"),
    ];
    let mut request = json!({"messages": []});
    let mut last = bound(&request);
    for part in parts {
        request["messages"].as_array_mut().unwrap().push(part.clone());
        let now = bound(&request);
        assert!(now > last, "{part}");
        last = now;
    }
    request["tools"] = json!([{"type": "function", "function": {"name": "f"}}]);
    assert!(bound(&request) > last);
}

#[cfg(feature = "o200k")]
#[test]
fn endless_word_is_counted_in_parts_and_the_bound_allows_for_the_cuts() {
    let word = "a".repeat(300 << 10);
    let truth = Vocabulary::O200k.count(&word);
    let estimate = |content: &str| {
        let request = json!({"messages": [{"role": "user", "content": content}]}).to_string();
        RequestShape::OpenAiChat.estimate(request.as_bytes(), Some("gpt-4o")).unwrap()
    };
    let (short, long) = (estimate("a"), estimate(&word));
    let width = |estimate: &RequestEstimate| estimate.input - estimate.input_least;
    // A text of 300 KiB without a place to cut is cut four times at 64 KiB, for eight tokens more or fewer each.
    assert_eq!(width(&long), width(&short) + 2 * 4 * 8);
    assert!((long.input_least..=long.input).contains(&(truth + short.input_likely - 1)), "{truth}: {long:?}");
    // Words are cut between them, which costs nothing.
    let words = "some words and 12 more, ".repeat(10 << 10);
    let text = estimate(&words);
    assert_eq!(width(&text), width(&short));
    assert_eq!(text.input_likely, Vocabulary::O200k.count(&words) + short.input_likely - 1);
}

#[test]
fn unreadable_requests_are_refused_by_name() {
    let refusal = |request: &[u8]| RequestShape::Anthropic.estimate(request, None).unwrap_err().to_string();
    assert_eq!(refusal(b"[]"), "request cannot be read: it is no JSON object");
    assert!(refusal(b"{\"model\": ").contains("EOF while parsing"));
    assert!(refusal(b"\xff").contains("expected value"));
    let deep = format!("{{\"messages\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    assert!(refusal(deep.as_bytes()).contains("recursion limit"));
}

fn estimate(request: &Recorded) -> RequestEstimate {
    request.shape().estimate(request.body().as_bytes(), Some(&request.model)).unwrap()
}

fn at(sorted: &[u64], percent: usize) -> u64 {
    sorted[(sorted.len() - 1) * percent / 100]
}

fn thousandths(number: u64) -> String {
    format!("{}.{:02}", number / 1_000, number % 1_000 / 10)
}
