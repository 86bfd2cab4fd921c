//! Observers: what each provider's API says about usage, and how its text is counted where it says nothing.

pub use crate::tokens::Observer;
