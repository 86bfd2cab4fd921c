//! What a model's template puts around a prompt.
//!
//! Nobody publishes this. The numbers are what 226 recorded requests of 36 providers leave, after their texts are
//! counted, between the providers' own input counts and ours; the least and the most of them, with some room. Resellers
//! may add prompts of their own, which nothing in a request shows.

use super::super::span::Span;
use super::super::text::begins_a_word;
use super::prompt::{Counted, Prompt};

/// What is added to the counted parts of a prompt.
#[derive(Clone, Copy, Debug)]
pub(super) struct Template {
    /// Tokens of text, in thousandths of what was counted.
    text: Span,
    /// Once for each prompt.
    once: Span,
    /// Once, if the model is told to think.
    think: Span,
    /// For each message.
    message: Span,
    /// For each tool call or result.
    call: Span,
    /// Once, if there are tools.
    tools: Span,
    /// For each tool.
    tool: Span,
    /// Once, if the answer must fit a schema.
    format: Span,
    /// Tokens of tool definitions and schemas, in thousandths of what their JSON text was counted.
    schema: Span,
}

type Row = (&'static [&'static str], [[u64; 3]; 9]);

/// Words in a model's name, and its template. The first row that fits is taken; the last one fits all.
#[rustfmt::skip]
const ROWS: &[Row] = &[
    // words,                        text per mille,       once,            think,        message,    call,         tools,            tool,         format,        schema per mille
    (&["gpt-oss"],                  [[1000, 1000, 1000], [55, 63, 75],    [0, 0, 0],    [3, 4, 5],  [0, 12, 30],  [10, 40, 90],     [0, 6, 20],   [0, 20, 60],   [300, 600, 1000]]),
    (&["gpt-3.5", "gpt-35", "gpt-4", "chatgpt"],
                                    [[1000, 1000, 1000], [3, 3, 4],       [0, 0, 0],    [4, 4, 4],  [0, 3, 12],   [0, 10, 20],      [0, 6, 12],   [0, 10, 30],   [300, 500, 1000]]),
    (&["gpt-5", "gpt-6", "o1", "o3", "o4", "codex"],
                                    [[1000, 1000, 1000], [0, 2, 4],       [0, 0, 0],    [3, 4, 4],  [0, 6, 14],   [0, 16, 90],      [0, 6, 12],   [0, 20, 60],   [300, 600, 1300]]),
    (&["opus-4-7", "opus-4.7", "opus-4-8", "opus-4.8", "opus-5", "sonnet-5", "fable-5"],
                                    [[1100, 1450, 2000], [0, 4, 16],      [0, 20, 60],  [0, 4, 8],  [0, 30, 80],  [200, 600, 1000], [0, 10, 40],  [0, 180, 400], [300, 1200, 2500]]),
    (&["claude"],                   [[880, 1150, 1450],  [0, 3, 8],       [0, 29, 40],  [0, 3, 5],  [0, 25, 60],  [150, 400, 560],  [0, 10, 30],  [0, 130, 250], [300, 800, 1700]]),
    (&["gemini", "gemma"],          [[1000, 1000, 1000], [0, 0, 2],       [0, 0, 0],    [0, 0, 2],  [0, 8, 30],   [0, 0, 40],       [0, 8, 30],   [0, 0, 40],    [0, 700, 1300]]),
    (&["grok"],                     [[800, 1000, 1300],  [0, 120, 700],   [0, 0, 0],    [0, 5, 8],  [0, 20, 60],  [0, 180, 300],    [0, 10, 40],  [0, 20, 60],   [300, 900, 1500]]),
    (&["llama"],                    [[1000, 1000, 1000], [1, 4, 32],      [0, 0, 0],    [3, 4, 6],  [0, 15, 60],  [0, 100, 200],    [0, 20, 40],  [0, 20, 60],   [300, 1000, 1800]]),
    (&["deepseek"],                 [[1000, 1000, 1000], [1, 2, 90],      [0, 0, 0],    [0, 1, 4],  [0, 20, 60],  [0, 230, 330],    [0, 10, 40],  [0, 20, 60],   [300, 1000, 1800]]),
    (&["mistral", "ministral", "magistral", "devstral", "codestral", "voxtral", "pixtral"],
                                    [[1000, 1000, 1000], [1, 3, 16],      [0, 0, 0],    [0, 1, 8],  [0, 10, 40],  [0, 10, 30],      [0, 8, 30],   [0, 20, 60],   [300, 1100, 1800]]),
    (&["qwen", "qwq"],              [[950, 1000, 1150],  [0, 3, 8],       [0, 0, 0],    [2, 5, 7],  [0, 20, 60],  [0, 120, 260],    [0, 20, 40],  [0, 20, 60],   [300, 1100, 1800]]),
    (&["kimi"],                     [[1000, 1000, 1000], [0, 2, 8],       [0, 0, 0],    [2, 5, 7],  [0, 20, 60],  [0, 10, 40],      [0, 10, 30],  [0, 20, 60],   [300, 1000, 1800]]),
    (&["glm"],                      [[1000, 1000, 1000], [0, 2, 8],       [0, 0, 0],    [1, 2, 6],  [0, 20, 60],  [0, 100, 170],    [0, 10, 30],  [0, 20, 60],   [300, 900, 1800]]),
    (&["nova"],                     [[700, 900, 1400],   [0, 2, 10],      [0, 0, 0],    [0, 2, 8],  [0, 20, 60],  [0, 400, 980],    [0, 20, 60],  [0, 20, 60],   [0, 800, 1800]]),
    (&["command", "cohere"],        [[700, 1100, 1500],  [0, 190, 1400],  [0, 0, 0],    [0, 5, 20], [0, 20, 60],  [0, 300, 700],    [0, 20, 60],  [0, 20, 60],   [300, 1000, 1800]]),
    (&[""],                         [[700, 1000, 1600],  [0, 5, 60],      [0, 0, 0],    [0, 4, 8],  [0, 15, 60],  [0, 150, 400],    [0, 15, 60],  [0, 50, 250],  [300, 1000, 2500]]),
];

impl Template {
    pub(super) fn of(model: &str) -> Option<Self> {
        let (_, spans) = ROWS.iter().find(|(words, _)| words.iter().any(|word| begins_a_word(model, word)))?;
        let [text, once, think, message, call, tools, tool, format, schema] =
            spans.map(|[low, point, high]| Span::between(low, point, high));
        Some(Self { text, once, think, message, call, tools, tool, format, schema })
    }

    pub(super) fn input(&self, prompt: &Prompt<'_>) -> Span {
        let text = match prompt.counted {
            Counted::AsMeasured => self.text,
            Counted::ByItsOwn => Span::exactly(1_000),
            // A stand-in may find fewer tokens.
            Counted::ByAnother => Span::between(self.text.low.min(750), self.text.point, self.text.high.max(1_350)),
        };
        let mut input = self.once.plus(text.thousandths_of(prompt.text)).plus(prompt.media);
        input = input.plus(self.message.times(prompt.messages)).plus(self.call.times(prompt.calls));
        if prompt.thinks {
            input = input.plus(self.think);
        }
        if prompt.tools > 0 {
            input = input.plus(self.tools).plus(self.tool.times(prompt.tools));
        }
        if prompt.has_format {
            input = input.plus(self.format);
        }
        let maybe = text.thousandths_of(prompt.maybe);
        input.plus(self.schema.thousandths_of(prompt.schemas)).plus(Span::between(0, 0, maybe.high))
    }
}
