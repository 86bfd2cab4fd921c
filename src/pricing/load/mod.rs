//! Price lists of others, read into a book.

mod json;
mod litellm;
