//! What a request can use at most, and most likely will, from its body.

mod media;
mod prompt;
mod shape;
mod template;

pub use shape::RequestShape;
