//! What must hold of framings and observers, whatever they are fed.
//!
//! The fuzz targets call these functions with what the fuzzer makes up; `tests/hostile_streams.rs` includes this file
//! and calls them with random bytes and mutated recordings, where only a stable toolchain is at hand.

#![allow(unreachable_pub, dead_code, reason = "included by a test as well")]

use prepaid::metering::observe::{Api, ApiObserver, Observer};
use prepaid::metering::wire::{Event, EventStream, Framing, JsonLines, JsonValues, Sse};
use prepaid::tokens::{Certainty, TokenClass, UsageReport};

/// A framing, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    Sse,
    JsonLines,
    JsonValues,
    EventStream,
}

impl Wire {
    pub const ALL: [Self; 4] = [Self::Sse, Self::JsonLines, Self::JsonValues, Self::EventStream];

    fn open(self, limit: usize) -> Box<dyn Framing> {
        match self {
            Self::Sse => Box::new(Sse::with_limit(limit)),
            Self::JsonLines => Box::new(JsonLines::with_limit(limit)),
            Self::JsonValues => Box::new(JsonValues::with_limit(limit)),
            Self::EventStream => Box::new(EventStream::with_limit(limit)),
        }
    }
}

/// An event, kept.
#[derive(Debug, PartialEq, Eq)]
pub struct Kept {
    pub name: String,
    pub data: Vec<u8>,
    pub is_whole: bool,
}

/// The events of `bytes` fed in `chunks`, and how many were skipped.
pub fn events<'a>(wire: Wire, chunks: impl IntoIterator<Item = &'a [u8]>, limit: usize) -> (Vec<Kept>, u64) {
    let mut framing = wire.open(limit);
    let mut kept = Vec::new();
    let mut keep = |event: Event<'_>| {
        kept.push(Kept { name: event.name.to_owned(), data: event.data.to_vec(), is_whole: event.is_whole })
    };
    for chunk in chunks {
        framing.feed(chunk, &mut keep);
    }
    framing.finish(&mut keep);
    let skipped = framing.skipped();
    (kept, skipped)
}

/// However bytes are split, the same events come out of them, and none is larger than the limit.
pub fn framing(wire: Wire, bytes: &[u8]) {
    const LIMIT: usize = 64;
    for limit in [LIMIT, 1 << 20] {
        let whole = events(wire, [bytes], limit);
        assert!(whole.0.iter().all(|event| event.data.len() <= limit.max(16)), "{wire:?}: an event above its limit");
        assert_eq!(events(wire, bytes.chunks(1), limit), whole, "{wire:?}, byte by byte, limit {limit}");
        assert_eq!(events(wire, pieces(bytes), limit), whole, "{wire:?}, in pieces, limit {limit}");
    }
}

/// However bytes are split, an observer reports the same of them, and its report makes sense.
pub fn observer(api: Api, bytes: &[u8]) {
    let whole = report(api, [bytes]);
    assert_eq!(report(api, bytes.chunks(1)), whole, "{api:?}, byte by byte");
    assert_eq!(report(api, pieces(bytes)), whole, "{api:?}, in pieces");
    let mut body = ApiObserver::new(api);
    body.body(bytes);
    makes_sense(&body.report());
}

/// What is reported of `chunks` once they have ended, and whether that is final.
pub fn report<'a>(api: Api, chunks: impl IntoIterator<Item = &'a [u8]>) -> (UsageReport, bool) {
    let mut observer = ApiObserver::new(api).prompt_between(1, 2, 3).max_output(1_000);
    for chunk in chunks {
        let was_final = observer.is_final();
        observer.feed(chunk);
        assert!(observer.is_final() || !was_final, "{api:?}: what is final stays so");
    }
    observer.finish();
    let report = observer.report();
    makes_sense(&report);
    (report, observer.is_final())
}

/// Bounds hold what they bound.
pub fn makes_sense(report: &UsageReport) {
    if let Certainty::Estimated { bounds } = &report.certainty {
        for class in TokenClass::ALL {
            let (low, high) = (bounds.low.get(class), bounds.high.get(class));
            let point = report.usage.get(class);
            assert!(low <= point && point <= high, "{class:?}: {point:?} not within {low:?} and {high:?}");
        }
    }
}

/// Pieces of uneven length, drawn from the bytes themselves.
fn pieces(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut turn = bytes.len() as u64;
    std::iter::from_fn(move || {
        turn = turn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let length = (turn >> 33) as usize % 37;
        let (piece, rest) = bytes.split_at(length.min(bytes.len()));
        let ends = bytes.is_empty();
        bytes = rest;
        (!ends).then_some(piece)
    })
}
