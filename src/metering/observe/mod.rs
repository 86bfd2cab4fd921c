//! Observers: what each provider's API says about usage, and how its text is counted where it says nothing.
//!
//! [`ApiObserver`] reads the responses of one [`Api`], streamed or whole. It finds out by itself how the body is framed:
//! server-sent events, JSON lines, a JSON array, one JSON object, or AWS event-stream messages. A host with an API of
//! its own implements [`Observer`].
//!
//! # What is reported
//!
//! The provider's last word, if it comes, split into disjoint classes. Its `total` decides what includes what: whether
//! the output includes reasoning, and the input audio and cache. Without a total the API's own convention holds. Perplexity's
//! deep research reasons beside its output, and outside of its total.
//!
//! | API | Usage comes | Input includes caches | Output includes reasoning | Final when |
//! |---|---|---|---|---|
//! | OpenAI chat | in the last chunks, or in every one (cumulative) | yes | by the total | `[DONE]` |
//! | OpenAI responses | in the closing event | yes | yes | that event |
//! | Anthropic | input at the start, all of it at the end (cumulative) | no | yes | `message_stop` |
//! | Gemini | in every event (cumulative, anew in each phase of its tools) | yes | no | the stream ends |
//! | Bedrock Converse | in `metadata` | no | yes | that event |
//! | Cohere | in `message-end`; the bill is `billed_units` | yes | yes | that event |
//! | Ollama | in the last line | yes | yes | that line |
//!
//! Until then, and when a response breaks off: what the provider said so far, what was delivered since, counted with the
//! model's vocabulary, and reasoning that is billed but not shown, as an estimate between bounds. What follows a final
//! usage belongs to another response and is not read. An error in place of an answer has used nothing; a host that
//! sees an HTTP status other than success should release its hold and not meter at all.
//!
//! # What is not believed
//!
//! Each of these leaves a [`Remark`](crate::tokens::Remark) in the report and in the bill.
//!
//! | The provider says | What is reported | Remark |
//! |---|---|---|
//! | a negative or fractional number, a string, a list | as if it said nothing: the class is counted, or the host's own count stands | `UnreadableNumber` |
//! | more than 10⁹ | the same | `HugeNumber` |
//! | a smaller number than before | the larger one; but the last word stands against what was said on the way, unless it is zero | `FallingNumber` |
//! | more cached than prompt, more reasoning than output | the part is cut to fit its whole | `PartAboveWhole` |
//! | a total that is no sum of its parts | the parts; if no reasoning is named, what the total has more may be reasoning, as an estimate | `TotalDiffers` |
//! | its closing usage twice, differently | the larger numbers | `UsageRestated` |
//! | usage of steps that its totals leave out | the totals | `UsageBeside` |
//! | another model's name on the way | the first name | `ModelChanged` |
//! | that another service tier answered, one without rates in the tariff | that tier; charged is the tariff's own | `TierUnpriced` |
//! | an error | what was delivered before it | `UpstreamError` |
//! | an event that is too large, or damaged, or half of a JSON value that is all of the answer or a part of it | nothing of that event: the output may be all that the request allows | `SkippedEvent` |
//! | something that is not of this API, or compressed, or no event at all | nothing of it: the same | `UnreadableEvent` |
//! | text that is not UTF-8 | the text with replacement characters | `InvalidText` |
//! | nothing more, in the middle of its answer | usage so far, and what was counted since | `UsageSoFar` |
//! | nothing of the prompt, and the host neither | no input | `InputUnknown` |
//! | nothing of what its tools put into the prompt | the input it began with, as the least | `InputGrows` |
//! | nothing of the audio or images it sent | none of it | `MediaUncounted` |
//! | that it ran tools of its own other than web searches | their tokens, not their fees | `ToolsUncounted` |
//! | nothing of its hidden reasoning | an estimate between zero and what the request allows | `HiddenReasoning` |
//!
//! A number that is missing (or null) is not zero, and zero is not missing.
//!
//! # What is no token
//!
//! Fees for what a provider runs itself are counted where it reports them, outside of all totals. A tariff without a rate
//! for one names it as [unpriced](crate::pricing::Charge::unpriced).
//!
//! | Class | Counted |
//! |---|---|
//! | `WebSearch` | Anthropic's and OpenRouter's `web_search_requests`; in OpenAI responses, calls that search (opening a page is free); xAI's `web_search_calls`; Perplexity's `num_search_queries`, else one for each answer with a `search_context_size`; Gemini's `webSearchQueries`, of models before 3 one at the most |
//! | `Query` | Cohere's `search_units` |
//! | `Citation` | Perplexity's `citation_tokens` |
//! | `Millisecond` | Mistral's `prompt_audio_seconds` |

mod api;
mod base64;
mod channels;
mod expect;
mod figures;
mod json;
mod observer;
mod tally;

pub use crate::tokens::Observer;
pub use api::Api;
pub use observer::ApiObserver;
