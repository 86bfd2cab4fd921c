//! From what was counted of a response to what its provider bills for it.
//!
//! A model says more than is delivered: the tokens that end an answer, begin and end its thinking, and wrap a tool call.
//! For models with a public chat template these follow from the template. For the others the ranges are what recorded
//! responses show, with some room. Text whose vocabulary is not public, and calls in it, lie where the next stream does by
//! the rule of [`Scatter`](super::Scatter), which a [`Calibration`](super::Calibration) goes on with.

use super::span::Span;
use super::text::begins_a_word;

/// What was counted of a response, before anything is added for what is billed and not delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delivered {
    /// Tokens of text, and of the names and arguments of tool calls.
    pub output: u64,
    /// Tokens of reasoning that was shown.
    pub reasoning: u64,
    /// Tool calls.
    pub calls: u64,
    /// Whether the answer came to its end, for models that are billed for saying so.
    pub has_ended: bool,
    /// Whether the counts are those of the model's own vocabulary.
    pub is_exact: bool,
    /// By how many tokens such counts may be off all the same, because a text had to be cut: see
    /// [`TextCounter::slack`](super::TextCounter::slack).
    pub slack: u64,
}

impl Delivered {
    /// What was delivered after `earlier`.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            output: self.output.saturating_sub(earlier.output),
            reasoning: self.reasoning.saturating_sub(earlier.reasoning),
            calls: self.calls.saturating_sub(earlier.calls),
            ..self
        }
    }
}

/// How a model's provider measures what the model delivers.
///
/// ```
/// use prepaid::tokens::{Delivered, Span, Yardstick};
///
/// let mut delivered = Delivered::default();
/// (delivered.output, delivered.has_ended, delivered.is_exact) = (50, true, true);
/// // Llama says once that it is done; what was counted exactly stays as it is.
/// assert_eq!(Yardstick::of_model("llama-3.3-70b").output(&delivered), Span::exactly(51));
/// // Claude's vocabulary is not public: what another one counts is scaled, and lies between bounds.
/// delivered.is_exact = false;
/// let span = Yardstick::of_model("claude-sonnet-4-5").output(&delivered);
/// assert!(span.low < 55 && span.high > 65);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Yardstick {
    /// Tokens of text in thousandths of what a stand-in for the model's vocabulary counts.
    pub text: Span,
    /// The same for reasoning that is shown.
    pub thought: Span,
    /// Tokens that begin an answer.
    pub begin: Span,
    /// Tokens that end it.
    pub end: Span,
    /// Tokens around reasoning that is shown.
    pub think: Span,
    /// Tokens around a tool call.
    pub call: Span,
    /// What a model writes to the tools that its provider runs, which is billed and not always shown.
    pub hosted: Span,
    /// What hidden reasoning is taken for when nothing of it is seen, in tokens.
    pub hidden: u64,
    /// What it is taken for when a summary of it is seen, in thousandths of the summary's tokens.
    pub summary: u64,
}

const HOSTED: Span = Span::between(0, 0, 256);
/// About the median of recorded responses.
const HIDDEN: u64 = 400;
/// A summary is about half as long as what it sums up, in recorded responses.
const SUMMARY: u64 = 2_000;

type Row = (&'static [&'static str], [[u64; 3]; 5]);

/// Words in a model's name, and its yardstick. The first row that fits is taken; the last one fits all.
#[rustfmt::skip]
const ROWS: &[Row] = &[
    // words,                   text per mille,      begin,     end,       think,       call
    // Harmony: `<|channel|>final<|message|>` … `<|return|>`; thoughts add `<|end|><|start|>assistant` and their channel.
    (&["gpt-oss"],              [[800, 1000, 1250],  [3, 3, 3], [1, 1, 1], [6, 6, 6],   [5, 8, 16]]),
    (&["gpt-5", "gpt-6"],       [[800, 1000, 1250],  [3, 3, 3], [1, 1, 1], [2, 2, 8],   [5, 13, 30]]),
    (&["o1", "o3", "o4", "codex"],
                                [[800, 1000, 1250],  [0, 3, 3], [1, 1, 1], [0, 2, 10],  [5, 13, 30]]),
    (&["gpt"],                  [[800, 1000, 1250],  [0, 0, 0], [0, 0, 0], [0, 0, 0],   [7, 7, 16]]),
    (&["opus-4-7", "opus-4.7", "opus-4-8", "opus-4.8", "opus-5", "sonnet-5", "fable-5"],
                                [[599, 1450, 2301],  [0, 0, 0], [3, 3, 3], [5, 10, 60], [0, 11, 43]]),
    (&["claude"],               [[859, 1179, 1499],  [0, 0, 0], [3, 3, 3], [5, 10, 16], [0, 30, 88]]),
    (&["gemini", "gemma"],      [[700, 1060, 1300],  [0, 0, 0], [0, 0, 1], [0, 0, 0],   [0, 7, 100]]),
    (&["grok"],                 [[678, 1008, 1338],  [0, 0, 0], [0, 0, 1], [0, 0, 0],   [0, 24, 51]]),
    // `<|eot_id|>`; a distillation's `<think>`, `</think>` and the line ends around them.
    (&["llama"],                [[800, 1000, 1250],  [0, 0, 0], [1, 1, 1], [4, 4, 4],   [8, 15, 24]]),
    // `</think>`. Its end-of-sentence token is not billed.
    (&["deepseek"],             [[800, 1000, 1250],  [0, 0, 0], [0, 0, 0], [1, 1, 1],   [10, 30, 75]]),
    // `</s>`, `[THINK]`, `[/THINK]`, and `[TOOL_CALLS]` with `[ARGS]`.
    (&["mistral", "ministral", "magistral", "devstral", "codestral", "voxtral", "pixtral"],
                                [[750, 1000, 1350],  [0, 0, 0], [1, 1, 1], [2, 2, 2],   [2, 2, 9]]),
    // `<|im_end|>`, and `<think>\n` … `\n</think>\n\n`.
    (&["qwen", "qwq"],          [[800, 1000, 1250],  [0, 0, 4], [1, 1, 1], [3, 3, 4],   [8, 13, 40]]),
    (&["kimi"],                 [[800, 1000, 1250],  [0, 0, 0], [0, 0, 1], [0, 0, 1],   [7, 10, 16]]),
    // `<|user|>` (or another role) ends an answer; `</think>`.
    (&["glm"],                  [[800, 1000, 1250],  [0, 0, 0], [1, 1, 1], [1, 1, 1],   [0, 13, 20]]),
    (&["nova"],                 [[708, 1043, 1378],  [0, 0, 0], [0, 2, 6], [0, 5, 10],  [0, 33, 99]]),
    (&["command", "cohere"],    [[791, 1075, 1359],  [0, 0, 0], [0, 3, 4], [0, 4, 12],  [0, 5, 34]]),
    (&[""],                     [[586, 1143, 1700],  [0, 0, 4], [0, 1, 4], [0, 3, 12],  [0, 16, 56]]),
];

impl Yardstick {
    /// The yardstick of a model, from its name.
    pub fn of_model(model: &str) -> Self {
        let name = model.to_ascii_lowercase();
        let row = ROWS.iter().find(|(words, _)| words.iter().any(|word| begins_a_word(&name, word)));
        let spans = row.map(|(_, spans)| *spans).unwrap_or_default();
        let [text, begin, end, think, call] = spans.map(|[low, point, high]| Span::between(low, point, high));
        Self { text, thought: text, begin, end, think, call, hosted: HOSTED, hidden: HIDDEN, summary: SUMMARY }
    }

    /// Output tokens of what was delivered, reasoning apart.
    pub fn output(&self, delivered: &Delivered) -> Span {
        let mut span = scaled(self.text, delivered.output, delivered).plus(self.call.times(delivered.calls));
        if delivered.output > 0 {
            span = span.plus(self.begin);
        }
        if delivered.has_ended {
            span = span.plus(self.end);
        }
        span
    }

    /// Reasoning tokens of what was delivered, if all of it was shown.
    pub fn reasoning(&self, delivered: &Delivered) -> Span {
        match delivered.reasoning {
            0 => Span::default(),
            // What ends a thought is billed once it has ended.
            count if delivered.output > 0 || delivered.has_ended => {
                scaled(self.thought, count, delivered).plus(self.think)
            }
            count => scaled(self.thought, count, delivered),
        }
    }
}

fn scaled(thousandths: Span, count: u64, delivered: &Delivered) -> Span {
    if delivered.is_exact { Span::around(count, delivered.slack) } else { thousandths.thousandths_of(count) }
}
