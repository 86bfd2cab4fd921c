//! One JSON value per line.

use memchr::memchr;

use super::part::Part;
use super::{EVENT_BYTES_MAX, Event, Framing};

/// Reads newline-delimited JSON (`application/x-ndjson`). Empty lines are passed over; a last line without its end is
/// handed on as not whole.
#[derive(Debug)]
pub struct JsonLines {
    line: Part,
    skipped: u64,
}

impl Default for JsonLines {
    fn default() -> Self {
        Self::with_limit(EVENT_BYTES_MAX)
    }
}

impl JsonLines {
    /// A parser at the start of a body.
    pub fn new() -> Self {
        Self::default()
    }

    /// A parser that skips lines of more than `limit` bytes.
    pub fn with_limit(limit: usize) -> Self {
        Self { line: Part::new(limit), skipped: 0 }
    }

    fn deliver(&mut self, line: &[u8], is_whole: bool, on: &mut dyn FnMut(Event<'_>)) {
        let data = line.trim_ascii();
        if line.len() > self.line.limit() {
            self.skipped += 1;
        } else if !data.is_empty() {
            on(Event { name: "", data, is_whole });
        }
    }

    fn deliver_kept(&mut self, is_whole: bool, on: &mut dyn FnMut(Event<'_>)) {
        if self.line.is_over() {
            self.skipped += 1;
            self.line.clear();
        } else {
            let line = self.line.take();
            self.deliver(&line, is_whole, on);
            self.line.give_back(line);
        }
    }
}

impl Framing for JsonLines {
    fn feed(&mut self, mut bytes: &[u8], on: &mut dyn FnMut(Event<'_>)) {
        while let Some(end) = memchr(b'\n', bytes) {
            let (line, rest) = bytes.split_at(end);
            if self.line.is_empty() {
                self.deliver(line, true, on);
            } else {
                self.line.push(line);
                self.deliver_kept(true, on);
            }
            bytes = rest.get(1..).unwrap_or_default();
        }
        self.line.push(bytes);
    }

    fn finish(&mut self, on: &mut dyn FnMut(Event<'_>)) {
        self.deliver_kept(false, on);
    }

    fn skipped(&self) -> u64 {
        self.skipped
    }
}
