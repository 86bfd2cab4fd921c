//! JSON objects one after another, or in an array.

use memchr::{memchr2, memchr3};

use super::part::Part;
use super::{EVENT_BYTES_MAX, Event, Framing};

/// Reads JSON objects that stand one after another or in one array, however they are laid out: what Gemini streams
/// without `alt=sse`, and any body that is one JSON object.
///
/// Only brackets and strings are looked at; whether an object is valid is for its reader to say. An object that does
/// not end is handed on at the end as not whole.
#[derive(Debug)]
pub struct JsonValues {
    object: Part,
    /// Open brackets of the object at hand; zero between objects.
    depth: u64,
    in_string: bool,
    /// The last byte was a backslash inside a string.
    is_escaped: bool,
    skipped: u64,
}

impl Default for JsonValues {
    fn default() -> Self {
        Self::with_limit(EVENT_BYTES_MAX)
    }
}

impl JsonValues {
    /// A parser at the start of a body.
    pub fn new() -> Self {
        Self::default()
    }

    /// A parser that skips objects of more than `limit` bytes.
    pub fn with_limit(limit: usize) -> Self {
        Self { object: Part::new(limit), depth: 0, in_string: false, is_escaped: false, skipped: 0 }
    }

    /// How many of `bytes` belong to the object at hand, and whether it ends with them.
    fn scan(&mut self, bytes: &[u8]) -> (usize, bool) {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..) {
            if self.is_escaped {
                if rest.is_empty() {
                    break;
                }
                self.is_escaped = false;
                at += 1;
                continue;
            }
            if self.in_string {
                let Some(found) = memchr2(b'"', b'\\', rest) else { break };
                at += found + 1;
                if rest.get(found) == Some(&b'"') {
                    self.in_string = false;
                } else {
                    self.is_escaped = true;
                }
                continue;
            }
            // Square brackets need no counting: an object ends where its braces do.
            let Some(found) = memchr3(b'"', b'{', b'}', rest) else { break };
            at += found + 1;
            match rest.get(found) {
                Some(b'"') => self.in_string = true,
                Some(b'{') => self.depth += 1,
                Some(_) => self.depth = self.depth.saturating_sub(1),
                None => {}
            }
            if self.depth == 0 {
                return (at, true);
            }
        }
        (bytes.len(), false)
    }

    fn deliver(&mut self, object: &[u8], is_whole: bool, on: &mut dyn FnMut(Event<'_>)) {
        if object.len() > self.object.limit() {
            self.skipped += 1;
        } else {
            on(Event { name: "", data: object, is_whole });
        }
    }

    fn deliver_kept(&mut self, is_whole: bool, on: &mut dyn FnMut(Event<'_>)) {
        if self.object.is_over() {
            self.skipped += 1;
            self.object.clear();
        } else {
            let object = self.object.take();
            self.deliver(&object, is_whole, on);
            self.object.give_back(object);
        }
    }
}

impl Framing for JsonValues {
    fn feed(&mut self, mut bytes: &[u8], on: &mut dyn FnMut(Event<'_>)) {
        while !bytes.is_empty() {
            if self.depth == 0 {
                // Between objects: brackets of the array, commas, space.
                let Some(start) = memchr::memchr(b'{', bytes) else { return };
                bytes = bytes.get(start..).unwrap_or_default();
            }
            let (length, ends) = self.scan(bytes);
            let (head, rest) = bytes.split_at_checked(length).unwrap_or((bytes, &[]));
            bytes = rest;
            match (ends, self.object.is_empty()) {
                (true, true) => self.deliver(head, true, on),
                (true, false) => {
                    self.object.push(head);
                    self.deliver_kept(true, on);
                }
                (false, _) => self.object.push(head),
            }
        }
    }

    fn finish(&mut self, on: &mut dyn FnMut(Event<'_>)) {
        if self.depth > 0 {
            self.deliver_kept(false, on);
        }
        self.depth = 0;
        self.in_string = false;
        self.is_escaped = false;
    }

    fn skipped(&self) -> u64 {
        self.skipped
    }
}
