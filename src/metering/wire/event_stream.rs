//! AWS event-stream messages (`application/vnd.amazon.eventstream`).

use super::part::Part;
use super::{EVENT_BYTES_MAX, Event, Framing};

/// Reads AWS event-stream messages. An event's name is the message's `:event-type` or `:exception-type` header, its
/// data the payload.
///
/// Both checksums are checked. A message whose own checksum is wrong is skipped; when a prelude's is wrong nothing
/// tells where the next message starts, so nothing more is read.
#[derive(Debug)]
pub struct EventStream {
    message: Part,
    /// The prelude of the message at hand, once it is whole.
    prelude: Option<Prelude>,
    /// How many bytes of a message too large to keep are still to come.
    passing: u64,
    is_lost: bool,
    skipped: u64,
}

/// Lengths and checksum, in front of each message.
const PRELUDE: usize = 12;
/// A message's checksum, at its end.
const CHECKSUM: usize = 4;

#[derive(Clone, Copy, Debug)]
struct Prelude {
    total: usize,
    headers: usize,
}

impl Default for EventStream {
    fn default() -> Self {
        Self::with_limit(EVENT_BYTES_MAX)
    }
}

impl EventStream {
    /// A parser at the start of a body.
    pub fn new() -> Self {
        Self::default()
    }

    /// A parser that skips messages of more than `limit` bytes.
    pub fn with_limit(limit: usize) -> Self {
        let message = Part::new(limit.max(PRELUDE));
        Self { message, prelude: None, passing: 0, is_lost: false, skipped: 0 }
    }

    /// Moves up to `wanted - kept` bytes over; says whether `wanted` are kept now.
    fn gather<'a>(&mut self, bytes: &'a [u8], wanted: usize) -> (&'a [u8], bool) {
        let missing = wanted.saturating_sub(self.message.as_slice().len());
        let (head, rest) = bytes.split_at_checked(missing).unwrap_or((bytes, &[]));
        self.message.push(head);
        (rest, head.len() == missing)
    }

    /// The prelude that is kept, if its lengths and checksum hold.
    fn read_prelude(&self) -> Option<Prelude> {
        let bytes = self.message.as_slice();
        let checksum = number(bytes.get(8..PRELUDE)?)?;
        if crc32fast::hash(bytes.get(..8)?) != checksum {
            return None;
        }
        let total = usize::try_from(number(bytes.get(..4)?)?).ok()?;
        let headers = usize::try_from(number(bytes.get(4..8)?)?).ok()?;
        let least = headers.checked_add(PRELUDE + CHECKSUM)?;
        (least <= total).then_some(Prelude { total, headers })
    }

    fn deliver(&mut self, message: &[u8], prelude: Prelude, on: &mut dyn FnMut(Event<'_>)) {
        match read_message(message, prelude) {
            Some((name, data)) => on(Event { name, data, is_whole: true }),
            None => self.skipped += 1,
        }
    }
}

impl Framing for EventStream {
    fn feed(&mut self, mut bytes: &[u8], on: &mut dyn FnMut(Event<'_>)) {
        while !bytes.is_empty() && !self.is_lost {
            if self.passing > 0 {
                let passed = bytes.len().min(usize::try_from(self.passing).unwrap_or(usize::MAX));
                bytes = bytes.get(passed..).unwrap_or_default();
                self.passing -= passed as u64;
                continue;
            }
            let Some(prelude) = self.prelude else {
                let (rest, is_whole) = self.gather(bytes, PRELUDE);
                bytes = rest;
                if is_whole {
                    self.prelude = self.read_prelude();
                    self.is_lost = self.prelude.is_none();
                    self.skipped += u64::from(self.is_lost);
                }
                continue;
            };
            if prelude.total > self.message.limit() {
                self.skipped += 1;
                self.passing = prelude.total.saturating_sub(PRELUDE) as u64;
                self.prelude = None;
                self.message.clear();
                continue;
            }
            let (rest, is_whole) = self.gather(bytes, prelude.total);
            bytes = rest;
            if is_whole {
                self.prelude = None;
                let message = self.message.take();
                self.deliver(&message, prelude, on);
                self.message.give_back(message);
            }
        }
    }

    fn finish(&mut self, _: &mut dyn FnMut(Event<'_>)) {
        // Half a message has no checksum, and its payload no end: nothing in it can be trusted.
        let is_cut = self.passing == 0 && !self.is_lost && !self.message.is_empty();
        self.skipped += u64::from(is_cut);
        self.message.clear();
        self.prelude = None;
    }

    fn skipped(&self) -> u64 {
        self.skipped
    }
}

/// Name and payload of a message, if its checksum holds.
fn read_message(message: &[u8], prelude: Prelude) -> Option<(&str, &[u8])> {
    let (body, checksum) = message.split_at_checked(prelude.total.checked_sub(CHECKSUM)?)?;
    if number(checksum)? != crc32fast::hash(body) {
        return None;
    }
    let (headers, payload) = body.get(PRELUDE..)?.split_at_checked(prelude.headers)?;
    Some((event_name(headers).unwrap_or_default(), payload))
}

/// The value of `:event-type`, or of `:exception-type`.
fn event_name(mut headers: &[u8]) -> Option<&str> {
    let mut found = None;
    while !headers.is_empty() {
        let (name, rest) = short(headers)?;
        let (kind, rest) = rest.split_first()?;
        let length = match kind {
            0 | 1 => 0,
            2 => 1,
            3 => 2,
            4 => 4,
            5 | 8 => 8,
            9 => 16,
            6 | 7 => {
                let (length, value) = rest.split_at_checked(2)?;
                let length = usize::try_from(number(length)?).ok()?;
                let value = value.get(..length)?;
                if *kind == 7 && matches!(name, b":event-type" | b":exception-type") {
                    found = std::str::from_utf8(value).ok();
                }
                2 + length
            }
            _ => return found,
        };
        headers = rest.get(length..)?;
    }
    found
}

/// A string behind its length in one byte, and what follows.
fn short(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first()?;
    rest.split_at_checked(usize::from(*length))
}

/// A big-endian number of up to four bytes.
fn number(bytes: &[u8]) -> Option<u32> {
    (bytes.len() <= 4).then(|| bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
}
