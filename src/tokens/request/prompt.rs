//! What a prompt is made of: its texts, tools and media, found by walking the request.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::super::accounting::Beyond;
use super::super::span::Span;
use super::super::text::{TextCounter, Vocabulary};
use super::media;

/// What a prompt's texts are counted with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counted {
    /// What it was for the templates: the model's own vocabulary, or o200k if that is not public.
    AsMeasured,
    /// The model's own vocabulary, wherever the host has it from.
    ByItsOwn,
    /// A stand-in.
    ByAnother,
}

/// What a prompt is made of, counted with its vocabulary, before the provider's own framing is added.
#[derive(Debug)]
pub(super) struct Prompt<'a> {
    vocabulary: Vocabulary,
    pub(super) model: &'a str,
    pub(super) counted: Counted,
    /// Text that the model reads for sure.
    pub(super) text: Span,
    /// Text that providers differ about: earlier thoughts, ids, fields nobody told us about.
    pub(super) maybe: Span,
    /// Messages, whoever speaks.
    pub(super) messages: u64,
    /// Tool calls and their results in the messages.
    pub(super) calls: u64,
    /// Definitions of tools, as JSON text.
    pub(super) schemas: Span,
    /// How many tools are defined.
    pub(super) tools: u64,
    /// Whether the answer must fit a schema.
    pub(super) has_format: bool,
    /// Whether the model is told to think.
    pub(super) thinks: bool,
    /// Images, audio, documents.
    pub(super) media: Span,
    pub(super) beyond: BTreeSet<Beyond>,
    /// Other models that tools name.
    pub(super) others: BTreeSet<Arc<str>>,
}

impl<'a> Prompt<'a> {
    pub(super) fn new(model: &'a str, vocabulary: Vocabulary) -> Self {
        Self {
            counted: match &vocabulary {
                Vocabulary::File(_) => Counted::ByItsOwn,
                Vocabulary::Unknown if !Vocabulary::O200k.is_at_hand() => Counted::ByAnother,
                Vocabulary::Unknown => Counted::AsMeasured,
                known if known.is_at_hand() => Counted::AsMeasured,
                _ => Counted::ByAnother,
            },
            vocabulary,
            model,
            text: Span::default(),
            maybe: Span::default(),
            messages: 0,
            calls: 0,
            schemas: Span::default(),
            tools: 0,
            has_format: false,
            thinks: false,
            media: Span::default(),
            beyond: BTreeSet::new(),
            others: BTreeSet::new(),
        }
    }

    /// The tokens of a text. An endless word is one piece to a tokenizer, and takes 25 times its size in memory; a counter
    /// takes it in parts.
    fn count(&self, text: &str) -> Span {
        let mut counter = TextCounter::new(self.vocabulary.clone());
        counter.push(text);
        counter.span()
    }

    fn add_text(&mut self, text: &str) {
        self.text = self.text.plus(self.count(text));
    }

    /// A message's text. Earlier thoughts in it are left out by most templates.
    fn said(&mut self, text: &str) {
        match text.split_once("</think>") {
            Some((thoughts, said)) => {
                self.add_maybe(thoughts);
                self.add_text(said);
            }
            None => self.add_text(text),
        }
    }

    fn add_maybe(&mut self, text: &str) {
        self.maybe = self.maybe.plus(self.count(text));
    }

    /// A list of messages, or a single text that stands for one.
    pub(super) fn messages(&mut self, messages: &Value) {
        match messages {
            Value::Array(messages) => messages.iter().for_each(|message| self.message(message)),
            Value::Null => {}
            other => self.message(other),
        }
    }

    /// A message with its own framing: the system's, too, where an API has it apart from the others.
    pub(super) fn message(&mut self, message: &Value) {
        let fields = message.as_object();
        if let Some(item) = fields.filter(|fields| is_item(fields)) {
            return self.part(item);
        }
        self.messages = self.messages.saturating_add(1);
        let Some(fields) = fields else {
            return self.content(message);
        };
        for (key, value) in fields {
            match key.as_str() {
                "role" | "type" | "id" | "status" | "cache_control" | "tool_call_id" => {}
                "content" | "parts" | "name" => self.content(value),
                "tool_calls" | "toolCalls" => {
                    value
                        .as_array()
                        .into_iter()
                        .flatten()
                        .filter_map(Value::as_object)
                        .for_each(|call| self.part(call));
                }
                "function_call" => value.as_object().into_iter().for_each(|call| self.call(call)),
                "images" => value.as_array().into_iter().flatten().for_each(|_| self.media(media::image(self.model))),
                _ => self.maybe(value),
            }
        }
    }

    /// What a message says: a text, or parts.
    pub(super) fn content(&mut self, content: &Value) {
        match content {
            Value::String(text) => self.said(text),
            Value::Array(parts) => parts.iter().for_each(|part| self.content(part)),
            Value::Object(part) => self.part(part),
            Value::Null => {}
            Value::Bool(_) | Value::Number(_) => self.add_text(&content.to_string()),
        }
    }

    fn part(&mut self, part: &Map<String, Value>) {
        let kind = part.get("type").and_then(Value::as_str).unwrap_or_default();
        if let Some(span) = media::of_part(self.model, kind, part) {
            if media::is_remote(part) {
                self.beyond.insert(Beyond::RemoteFile);
            }
            return self.media(span);
        }
        if matches!(kind, "thinking" | "redacted_thinking" | "reasoning") || part.contains_key("reasoningContent") {
            return part.iter().filter(|(key, _)| *key != "signature").for_each(|(_, value)| self.maybe(value));
        }
        if is_reference(kind, part) {
            self.beyond.insert(Beyond::StoredContext);
            return;
        }
        let said = ["text", "thought", "refusal"].iter().filter_map(|key| part.get(*key)).collect::<Vec<_>>();
        if !said.is_empty() {
            return said.into_iter().filter(|value| !value.is_boolean()).for_each(|value| self.content(value));
        }
        let called = ["function", "toolUse", "functionCall"].iter().find_map(|key| part.get(*key)?.as_object());
        if let Some(call) = called {
            return self.call(call);
        }
        if part.contains_key("arguments") || part.contains_key("input") {
            return self.call(part);
        }
        let answered = ["toolResult", "functionResponse"].iter().find_map(|key| part.get(*key)?.as_object());
        self.result(answered.unwrap_or(part));
    }

    /// A tool call: its name and its arguments.
    fn call(&mut self, call: &Map<String, Value>) {
        self.calls = self.calls.saturating_add(1);
        for (key, value) in call {
            match (key.as_str(), value) {
                ("name" | "arguments", Value::String(text)) => self.add_text(text),
                ("arguments" | "input" | "args" | "parameters", value) => self.add_text(&value.to_string()),
                _ => {}
            }
        }
    }

    /// What a tool answered, and any part nobody told us about.
    fn result(&mut self, result: &Map<String, Value>) {
        self.calls = self.calls.saturating_add(1);
        for (key, value) in result {
            match key.as_str() {
                "content" | "output" => self.content(value),
                "response" | "json" => self.add_text(&value.to_string()),
                "type" | "id" | "call_id" | "tool_use_id" | "toolUseId" | "status" | "cache_control" | "cachePoint" => {
                }
                _ => self.maybe(value),
            }
        }
    }

    /// Whatever it is, no more than its JSON text.
    fn maybe(&mut self, value: &Value) {
        match value {
            Value::String(text) => self.add_maybe(text),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
            Value::Array(_) | Value::Object(_) => self.add_maybe(&value.to_string()),
        }
    }

    fn media(&mut self, span: Span) {
        self.media = self.media.plus(span);
    }

    /// A list of tools, or of groups of them.
    pub(super) fn tools(&mut self, tools: &Value) {
        for tool in tools.as_array().into_iter().flatten() {
            let group = ["functionDeclarations", "function_declarations"].iter().find_map(|key| tool.get(*key));
            match group {
                Some(Value::Array(functions)) => functions.iter().for_each(|function| self.tool(function)),
                _ if is_hosted(tool) => {
                    self.tool(tool);
                    self.beyond.insert(Beyond::HostedTool);
                    self.others.extend(tool.get("model").and_then(Value::as_str).map(Arc::from));
                }
                _ => self.tool(tool),
            }
        }
    }

    fn tool(&mut self, tool: &Value) {
        self.tools = self.tools.saturating_add(1);
        let definition = ["function", "toolSpec"].iter().find_map(|key| tool.get(*key)).unwrap_or(tool);
        self.schema(definition);
    }

    /// A schema that the answer must fit.
    pub(super) fn format(&mut self, schema: &Value) {
        self.has_format = true;
        self.schema(schema);
    }

    /// A JSON schema that the model is shown.
    fn schema(&mut self, schema: &Value) {
        self.schemas = self.schemas.plus(self.count(&schema.to_string()));
    }
}

/// An item of a conversation that is no message: a call, a result, a thought.
fn is_item(fields: &Map<String, Value>) -> bool {
    !fields.contains_key("role") && !fields.contains_key("content") && !fields.contains_key("parts")
}

/// An item that only the provider has, by its id. Its type may be left out.
fn is_reference(kind: &str, part: &Map<String, Value>) -> bool {
    kind == "item_reference" || (part.len() == 1 && part.contains_key("id"))
}

/// A tool that the provider describes to the model itself, and mostly runs itself: it is named, not described.
fn is_hosted(tool: &Value) -> bool {
    let described = ["function", "toolSpec", "input_schema", "parameters", "parameter_definitions"];
    match tool.get("type").and_then(Value::as_str) {
        Some(kind) => !matches!(kind, "function" | "custom"),
        None => described.iter().all(|key| tool.get(*key).is_none()),
    }
}
