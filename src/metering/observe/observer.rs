//! The built-in observer: framing, reader and tally put together.

use std::sync::Arc;
use std::{fmt, mem};

use super::api::{Api, Reader};
use super::expect::Expected;
use super::tally::Tally;
use crate::metering::wire::{EVENT_BYTES_MAX, Event, EventStream, Framing, JsonLines, JsonValues, Sse};
use crate::tokens::{Delivered, Observer, Remark, Span, UsageReport, Vocabularies, Vocabulary, Yardstick};

/// Observes responses of one of the built-in APIs.
///
/// It may be told what is known of the request; the more it knows, the closer it counts a response that breaks off.
/// The provider's own usage, once it is in, stands above all of it.
///
/// It keeps one unfinished event, at most [`EVENT_BYTES_MAX`] of it, and the uncounted end of each run of text: a few
/// kilobytes in ordinary streams, and a bounded amount in any.
///
/// ```
/// use prepaid::metering::observe::{Api, ApiObserver, Observer};
/// use prepaid::tokens::{Certainty, TokenClass};
///
/// let mut observer = ApiObserver::new(Api::OpenAiChat).model("gpt-4o").prompt_tokens(9).max_output(500);
/// observer.feed(b"data: {\"model\":\"gpt-4o\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hi\"}}]}\n\n");
/// observer.feed(b"data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":1,\"total_tokens\":10}}\n\n");
/// observer.feed(b"data: [DONE]\n\n");
///
/// assert!(observer.is_final());
/// let report = observer.report();
/// assert_eq!(report.certainty, Certainty::Reported);
/// assert_eq!(report.usage.get(TokenClass::Input), Some(9));
/// assert_eq!(report.usage.get(TokenClass::Output), Some(1));
/// ```
pub struct ApiObserver {
    api: Api,
    wire: Wire,
    event_bytes_max: usize,
    reader: Box<dyn Reader>,
    tally: Tally,
}

/// How the body is read.
enum Wire {
    /// No byte of it was seen.
    Unknown,
    /// As events.
    Events(Events),
    /// Not at all: it is compressed.
    Closed,
}

struct Events {
    framing: Box<dyn Framing>,
    half: Half,
    /// Whether there was one yet, and one that could be read.
    has_any: bool,
    has_read: bool,
}

/// What may be missing where an event breaks off.
#[derive(Clone, Copy)]
enum Half {
    /// A token or two: a stream's event holds no more.
    Little,
    /// All of the answer with the first one, which may be a whole body; a token or two with others.
    AllOfFirst,
    /// Much: a value holds a part of the answer, or all of it.
    Much,
}

impl Events {
    fn new(framing: impl Framing + 'static, half: Half) -> Self {
        Self { framing: Box::new(framing), half, has_any: false, has_read: false }
    }
}

impl ApiObserver {
    /// An observer of a response of `api` that knows nothing of the request.
    pub fn new(api: Api) -> Self {
        Self {
            api,
            wire: Wire::Unknown,
            event_bytes_max: EVENT_BYTES_MAX,
            reader: api.reader(),
            tally: Tally::new(Expected::default()),
        }
    }

    /// The model that was asked. It chooses the vocabulary where the response names none that is known.
    #[must_use]
    pub fn model(mut self, model: impl AsRef<str>) -> Self {
        self.tally.expected().model = Some(Arc::from(model.as_ref()));
        self
    }

    /// How many tokens the prompt has, as the host counted it. Used until the provider says it.
    #[must_use]
    pub fn prompt_tokens(mut self, count: u64) -> Self {
        self.tally.expected().prompt = Some(Span::exactly(count));
        self
    }

    /// What the prompt's tokens lie between. A response that never says it is billed at `point`.
    #[must_use]
    pub fn prompt_between(mut self, low: u64, point: u64, high: u64) -> Self {
        self.tally.expected().prompt = Some(Span { low, point, high });
        self
    }

    /// The most output tokens the request allows, reasoning included, all answers together. It bounds hidden
    /// reasoning.
    #[must_use]
    pub fn max_output(mut self, count: u64) -> Self {
        self.tally.expected().max_output = Some(count);
        self
    }

    /// The most reasoning tokens the request allows (a thinking budget).
    #[must_use]
    pub fn max_reasoning(mut self, count: u64) -> Self {
        self.tally.expected().max_reasoning = Some(count);
        self
    }

    /// The vocabulary to count with, whatever the model is called.
    #[must_use]
    pub fn vocabulary(mut self, vocabulary: Vocabulary) -> Self {
        self.tally.expected().vocabulary = Some(vocabulary);
        self
    }

    /// The vocabularies to choose from by the model's name.
    #[must_use]
    pub fn vocabularies(mut self, vocabularies: Arc<Vocabularies>) -> Self {
        self.tally.expected().vocabularies = vocabularies;
        self
    }

    /// How the provider measures what is delivered, where more is known of it than its model's name tells.
    #[must_use]
    pub fn yardstick(mut self, yardstick: Yardstick) -> Self {
        self.tally.expected().yardstick = Some(yardstick);
        self
    }

    /// Skips events of more than this many bytes instead of
    /// [`EVENT_BYTES_MAX`](crate::metering::wire::EVENT_BYTES_MAX).
    #[must_use]
    pub fn event_bytes_max(mut self, limit: usize) -> Self {
        self.event_bytes_max = limit;
        self
    }

    /// What was counted of the response so far, whatever its provider says.
    pub fn delivered(&self) -> Delivered {
        self.tally.delivered()
    }

    /// The API it reads.
    pub fn api(&self) -> Api {
        self.api
    }

    /// The framing that a body's first byte shows. Providers answer in another one than was asked for: errors come as
    /// plain JSON, and gateways turn AWS event streams into server-sent events.
    fn wire_of(&mut self, first: u8) -> Wire {
        let limit = self.event_bytes_max;
        match first {
            0x00 => Wire::Events(Events::new(EventStream::with_limit(limit), Half::Little)),
            // gzip and zstd: whoever asked for a compressed body has to open it.
            0x1F | 0x28 => {
                self.tally.remark(Remark::UnreadableEvent);
                Wire::Closed
            }
            b'{' if self.api == Api::Ollama => {
                Wire::Events(Events::new(JsonLines::with_limit(limit), Half::AllOfFirst))
            }
            b'{' | b'[' => Wire::Events(Events::new(JsonValues::with_limit(limit), Half::Much)),
            _ => Wire::Events(Events::new(Sse::with_limit(limit), Half::Little)),
        }
    }

    fn drive(&mut self, step: impl FnOnce(&mut dyn Framing, &mut dyn FnMut(Event<'_>))) {
        let Self { wire: Wire::Events(events), reader, tally, .. } = self else {
            return;
        };
        let Events { framing, half, has_any, has_read } = events;
        step(&mut **framing, &mut |event| {
            let is_first = !mem::replace(has_any, true);
            let unread = match half {
                _ if event.is_whole => Some(Remark::UnreadableEvent),
                Half::Much => Some(Remark::SkippedEvent),
                Half::AllOfFirst => is_first.then_some(Remark::SkippedEvent),
                Half::Little => None,
            };
            *has_read |= read_event(&mut **reader, tally, event, unread);
        });
        if framing.skipped() > 0 {
            *has_any = true;
            tally.remark(Remark::SkippedEvent);
        }
    }
}

/// Reads an event; if it cannot be read, that is remarked as `unread`. Answers whether it was.
fn read_event(reader: &mut dyn Reader, tally: &mut Tally, event: Event<'_>, unread: Option<Remark>) -> bool {
    // What follows a finished response is not of this response.
    if tally.is_final() {
        return false;
    }
    if event.name == "error" || event.name.ends_with("Exception") {
        tally.failed();
    }
    let text = String::from_utf8_lossy(event.data);
    if matches!(text, std::borrow::Cow::Owned(_)) && event.is_whole {
        tally.remark(Remark::InvalidText);
    }
    let was_read = reader.event(&text, tally);
    if let Some(remark) = unread.filter(|_| !was_read) {
        tally.remark(remark);
    }
    was_read
}

impl Observer for ApiObserver {
    fn feed(&mut self, mut bytes: &[u8]) {
        if matches!(self.wire, Wire::Unknown) {
            // Whitespace ahead of everything belongs to nothing, in one chunk with what follows or not.
            bytes = bytes.trim_ascii_start();
            let Some(first) = bytes.first() else {
                return;
            };
            self.wire = self.wire_of(*first);
        }
        self.drive(|framing, on| framing.feed(bytes, on));
    }

    fn body(&mut self, bytes: &[u8]) {
        if bytes.trim_ascii_start().first() == Some(&b'{') {
            // It is in memory already: no limit on its size helps anybody.
            self.wire = Wire::Events(Events::new(JsonValues::with_limit(usize::MAX), Half::Much));
        }
        self.feed(bytes);
        if matches!(self.wire, Wire::Unknown) {
            // A stream may break off ahead of its first byte; an answer of none is not one.
            self.tally.remark(Remark::UnreadableEvent);
        }
        self.tally.settle_usage();
        self.finish();
    }

    fn finish(&mut self) {
        self.drive(|framing, on| framing.finish(on));
        if let Wire::Events(Events { has_any, has_read, .. }) = self.wire {
            // Events none of which is of this API: what they said is not known.
            let is_foreign = has_read && !self.tally.is_recognised();
            if is_foreign || !has_any {
                self.tally.remark(Remark::UnreadableEvent);
            }
        }
        self.tally.finish();
    }

    fn is_final(&self) -> bool {
        self.tally.is_final()
    }

    fn report(&self) -> UsageReport {
        self.tally.report()
    }
}

impl fmt::Debug for ApiObserver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiObserver").field("api", &self.api).field("tally", &self.tally).finish_non_exhaustive()
    }
}
