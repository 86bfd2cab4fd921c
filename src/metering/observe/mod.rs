//! Observers: what each provider's API says about usage, and how its text is counted where it says nothing.

mod api;
mod base64;
mod channels;
mod expect;
mod figures;
mod json;
mod observer;
mod tally;

pub use crate::tokens::Observer;
pub use api::Api;
pub use observer::ApiObserver;
