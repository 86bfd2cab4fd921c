//! Framings: how a body of bytes falls into events.
//!
//! The parsers are pushed: bytes go in as they arrive, split anywhere, and events come out. They look at bytes that
//! somebody else passes on; they change none. Each keeps at most one unfinished event, and no more of it than its
//! limit; a larger event is skipped whole and counted in [`Framing::skipped`], and reading goes on behind it.
//!
//! Server-sent events ([`Sse`]), a JSON value per line ([`JsonLines`]), JSON values in an array or one after another
//! ([`JsonValues`]) and AWS event-stream messages ([`EventStream`]).

mod event_stream;
mod json_lines;
mod json_values;
mod part;
mod sse;

pub use event_stream::EventStream;
pub use json_lines::JsonLines;
pub use json_values::JsonValues;
pub use sse::Sse;

/// The largest event that is read unless told otherwise: 8 MiB.
///
/// Usage may stand at the end of an event that repeats the whole answer, images included, so this is generous; an
/// ordinary stream never holds more than a few kilobytes.
pub const EVENT_BYTES_MAX: usize = 8 << 20;

/// One event of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// Its name, where the framing has names; empty if it has none, or one that is no text.
    pub name: &'a str,
    /// Its data, most often one JSON value.
    pub data: &'a [u8],
    /// Whether it was delivered whole. The stream may have ended in the middle of the last one.
    pub is_whole: bool,
}

/// A push parser: bytes in, events out.
pub trait Framing: Send {
    /// Reads the next bytes, and hands each event that they finish to `on`.
    fn feed(&mut self, bytes: &[u8], on: &mut dyn FnMut(Event<'_>));

    /// Hears that nothing more comes; hands what is half read to `on`, marked as not whole.
    fn finish(&mut self, on: &mut dyn FnMut(Event<'_>));

    /// How many events were skipped because they were too large or damaged.
    fn skipped(&self) -> u64;
}

impl Framing for Box<dyn Framing> {
    fn feed(&mut self, bytes: &[u8], on: &mut dyn FnMut(Event<'_>)) {
        (**self).feed(bytes, on);
    }

    fn finish(&mut self, on: &mut dyn FnMut(Event<'_>)) {
        (**self).finish(on);
    }

    fn skipped(&self) -> u64 {
        (**self).skipped()
    }
}
