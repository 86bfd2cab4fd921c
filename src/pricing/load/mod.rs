//! Price lists, read into a book.

mod genai;
mod json;
mod litellm;
mod toml;
