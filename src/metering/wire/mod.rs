//! Framings: how a body of bytes falls into events.
