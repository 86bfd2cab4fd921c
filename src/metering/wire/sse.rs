//! Server-sent events, as the HTML standard has them.

use memchr::{memchr, memchr2};

use super::part::Part;
use super::{EVENT_BYTES_MAX, Event, Framing};

/// Reads `text/event-stream`.
///
/// Lines end in CR, LF or CRLF, mixed at will; a byte order mark at the start and comments are passed over; repeated
/// `data:` lines are joined by a line feed. An event whose blank line never came is handed on at the end as not
/// whole: it may hold text, or the usage.
///
/// ```
/// use prepaid::metering::wire::{Framing, Sse};
///
/// let mut seen = Vec::new();
/// let mut sse = Sse::new();
/// for chunk in [b"data: {\"a\"".as_slice(), b":1}\r\n\r\n: idle\n\ndata: [DONE]"] {
///     sse.feed(chunk, &mut |event| seen.push((event.data.to_vec(), event.is_whole)));
/// }
/// sse.finish(&mut |event| seen.push((event.data.to_vec(), event.is_whole)));
/// assert_eq!(seen, [(b"{\"a\":1}".to_vec(), true), (b"[DONE]".to_vec(), false)]);
/// ```
#[derive(Debug)]
pub struct Sse {
    /// The line that has not ended.
    line: Part,
    /// The data lines of the event that has not ended, joined.
    data: Part,
    has_data: bool,
    name: Part,
    /// How much of a byte order mark was read; none once anything else came.
    mark: Option<usize>,
    /// The last byte was a CR: an LF now belongs to it.
    after_cr: bool,
    skipped: u64,
}

const MARK: [u8; 3] = [0xEF, 0xBB, 0xBF];
const NAME_BYTES_MAX: usize = 256;

impl Default for Sse {
    fn default() -> Self {
        Self::with_limit(EVENT_BYTES_MAX)
    }
}

impl Sse {
    /// A parser at the start of a body.
    pub fn new() -> Self {
        Self::default()
    }

    /// A parser that skips events of more than `limit` bytes.
    pub fn with_limit(limit: usize) -> Self {
        Self {
            line: Part::new(limit),
            data: Part::new(limit),
            has_data: false,
            name: Part::new(NAME_BYTES_MAX),
            mark: Some(0),
            after_cr: false,
            skipped: 0,
        }
    }

    /// Passes over a byte order mark, however it is split.
    fn unmarked<'a>(&mut self, mut bytes: &'a [u8]) -> &'a [u8] {
        while let Some(read) = self.mark {
            match (bytes.split_first(), MARK.get(read)) {
                (_, None) => self.mark = None,
                (None, Some(_)) => break,
                (Some((first, rest)), Some(expected)) if first == expected => {
                    self.mark = Some(read + 1);
                    bytes = rest;
                }
                (Some(_), Some(_)) => {
                    // It only looked like one; what was taken for it starts the first line.
                    self.line.push(MARK.get(..read).unwrap_or_default());
                    self.mark = None;
                }
            }
        }
        bytes
    }

    /// Reads one whole line. `lent` is the event's only data line so far, if it lies in the chunk at hand.
    fn read_line<'a>(&mut self, line: &'a [u8], lent: &mut Option<&'a [u8]>, on: &mut dyn FnMut(Event<'_>)) {
        if line.is_empty() {
            self.dispatch(lent.take(), true, on);
            return;
        }
        if line.len() > self.line.limit() {
            self.give_up(lent);
            return;
        }
        let (field, value) = match memchr(b':', line) {
            Some(colon) => {
                let (field, value) = line.split_at(colon);
                let value = value.get(1..).unwrap_or_default();
                (field, value.strip_prefix(b" ").unwrap_or(value))
            }
            None => (line, [].as_slice()),
        };
        match field {
            b"data" if self.has_data => {
                self.keep(lent);
                self.data.push(b"\n");
                self.data.push(value);
            }
            b"data" => {
                self.has_data = true;
                *lent = Some(value);
            }
            b"event" => {
                self.name.clear();
                self.name.push(value);
            }
            // Comments (an empty field), `id`, `retry` and fields nobody knows.
            _ => {}
        }
    }

    /// As [`Sse::read_line`], of a line that was put together and will be gone.
    fn read_kept_line(&mut self, lent: &mut Option<&[u8]>, on: &mut dyn FnMut(Event<'_>)) {
        if self.line.is_over() {
            self.line.clear();
            self.give_up(lent);
            return;
        }
        self.keep(lent);
        let line = self.line.take();
        let mut own = None;
        self.read_line(&line, &mut own, on);
        self.keep(&mut own);
        self.line.give_back(line);
    }

    /// Gives up an event with a line too long to keep: it was data, or nothing anybody needs.
    fn give_up(&mut self, lent: &mut Option<&[u8]>) {
        *lent = None;
        self.has_data = true;
        self.data.overflow();
    }

    /// Copies lent data, which must outlive its chunk.
    fn keep(&mut self, lent: &mut Option<&[u8]>) {
        if let Some(data) = lent.take() {
            self.data.push(data);
        }
    }

    fn dispatch(&mut self, lent: Option<&[u8]>, is_whole: bool, on: &mut dyn FnMut(Event<'_>)) {
        if self.has_data {
            if self.data.is_over() {
                self.skipped += 1;
            } else {
                let name = std::str::from_utf8(self.name.as_slice()).unwrap_or_default();
                on(Event { name, data: lent.unwrap_or(self.data.as_slice()), is_whole });
            }
        }
        self.has_data = false;
        self.data.clear();
        self.name.clear();
    }
}

impl Framing for Sse {
    fn feed(&mut self, bytes: &[u8], on: &mut dyn FnMut(Event<'_>)) {
        let mut rest = self.unmarked(bytes);
        let mut lent = None;
        while !rest.is_empty() {
            if std::mem::take(&mut self.after_cr)
                && let Some(behind) = rest.strip_prefix(b"\n")
            {
                rest = behind;
                continue;
            }
            let Some(end) = memchr2(b'\n', b'\r', rest) else {
                self.line.push(rest);
                break;
            };
            let (head, tail) = rest.split_at(end);
            self.after_cr = tail.starts_with(b"\r");
            rest = tail.get(1..).unwrap_or_default();
            if self.line.is_empty() {
                self.read_line(head, &mut lent, on);
            } else {
                self.line.push(head);
                self.read_kept_line(&mut lent, on);
            }
        }
        self.keep(&mut lent);
    }

    fn finish(&mut self, on: &mut dyn FnMut(Event<'_>)) {
        if !self.line.is_empty() {
            self.read_kept_line(&mut None, on);
        }
        self.dispatch(None, false, on);
    }

    fn skipped(&self) -> u64 {
        self.skipped
    }
}
