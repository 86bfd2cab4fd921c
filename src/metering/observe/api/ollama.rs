//! Ollama's own API.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::Reader;
use crate::metering::observe::channels::Channel;
use crate::metering::observe::figures::Figures;
use crate::metering::observe::json::{Count, List, Object, Present, Scalar, Text, object};
use crate::metering::observe::tally::{Standing, Tally};

/// Reads the lines of `/api/chat` and `/api/generate`; the last one says what was used.
#[derive(Debug)]
pub(super) struct Chat;

#[derive(Debug, Deserialize)]
struct Line<'a> {
    #[serde(borrow, default)]
    model: Text<'a>,
    #[serde(borrow, default)]
    message: Object<Message<'a>>,
    /// `/api/generate`.
    #[serde(borrow, default)]
    response: Text<'a>,
    #[serde(borrow, default)]
    thinking: Text<'a>,
    #[serde(default)]
    done: Scalar<bool>,
    #[serde(borrow, default)]
    done_reason: Text<'a>,
    #[serde(default)]
    prompt_eval_count: Count,
    #[serde(default)]
    eval_count: Count,
    #[serde(default)]
    error: Present,
}

#[derive(Debug, Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    content: Text<'a>,
    #[serde(borrow, default)]
    thinking: Text<'a>,
    #[serde(borrow, default)]
    tool_calls: List<'a, Call<'a>>,
}

#[derive(Debug, Deserialize)]
struct Call<'a> {
    #[serde(borrow, default)]
    function: Object<Function<'a>>,
}

#[derive(Debug, Deserialize)]
struct Function<'a> {
    #[serde(default)]
    index: Scalar<u64>,
    #[serde(borrow, default)]
    name: Text<'a>,
    #[serde(borrow, default)]
    arguments: Option<&'a RawValue>,
}

impl Reader for Chat {
    fn event(&mut self, json: &str, tally: &mut Tally) -> bool {
        let Some(line) = object::<Line<'_>>(json) else {
            return false;
        };
        if line.error.0 {
            tally.failed();
        }
        if line.done.0.is_some() {
            tally.recognised();
        }
        tally.model(line.model.as_str());
        tally.text(Channel::text(0), line.response.as_str());
        tally.text(Channel::reasoning(0), line.thinking.as_str());
        if let Some(message) = &line.message.0 {
            said(message, tally);
        }
        if line.done.0 == Some(true) {
            tally.stopped(line.done_reason.as_str());
            let mut remark = |remark| tally.remark(remark);
            let figures = Figures {
                // Not said of a prompt that was cached whole.
                input: line.prompt_eval_count.read(&mut remark),
                output: line.eval_count.read(&mut remark),
                ..Figures::default()
            };
            tally.usage(&figures, Standing::Last);
            tally.end();
        }
        true
    }
}

fn said(message: &Message<'_>, tally: &mut Tally) {
    tally.text(Channel::text(0), message.content.as_str());
    tally.text(Channel::reasoning(0), message.thinking.as_str());
    for (at, call) in message.tool_calls.iter().enumerate() {
        if let Some(function) = &call.function.0 {
            let index = function.index.0.unwrap_or(at as u64);
            tally.text(Channel::tool_name(0, index), function.name.as_str());
            tally.text(Channel::tool_arguments(0, index), function.arguments.map(RawValue::get).unwrap_or_default());
        }
    }
}
