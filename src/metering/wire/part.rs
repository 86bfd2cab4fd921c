//! The part of an event that came in earlier chunks.

/// Bytes kept until their event is whole, up to a limit.
#[derive(Debug)]
pub(super) struct Part {
    bytes: Vec<u8>,
    limit: usize,
    is_over: bool,
}

impl Part {
    /// What an idle stream may keep allocated.
    const IDLE_BYTES: usize = 16 << 10;

    pub(super) fn new(limit: usize) -> Self {
        Self { bytes: Vec::new(), limit, is_over: false }
    }

    /// Adds `more`. Once the limit is passed nothing is kept any more.
    pub(super) fn push(&mut self, more: &[u8]) {
        if self.is_over || more.len() > self.limit.saturating_sub(self.bytes.len()) {
            self.overflow();
        } else {
            self.bytes.extend_from_slice(more);
        }
    }

    /// Lets go of what was kept: the event is too large.
    pub(super) fn overflow(&mut self) {
        self.is_over = true;
        self.bytes = Vec::new();
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Whether more was pushed than is kept.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty() && !self.is_over
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    /// Takes the bytes out, so that they can be read while this is changed; [`Part::give_back`] keeps their room.
    pub(super) fn take(&mut self) -> Vec<u8> {
        self.is_over = false;
        std::mem::take(&mut self.bytes)
    }

    pub(super) fn give_back(&mut self, bytes: Vec<u8>) {
        if self.bytes.is_empty() && bytes.capacity() <= Self::IDLE_BYTES {
            self.bytes = bytes;
            self.bytes.clear();
        }
    }

    pub(super) fn clear(&mut self) {
        let bytes = self.take();
        self.give_back(bytes);
    }
}
