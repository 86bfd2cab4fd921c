//! What several tests share: one account on the kernel, random command lists and the players that run them.

#![allow(dead_code, unreachable_pub, reason = "every test uses its part")]

pub mod checked;
pub mod child;
pub mod draw;
pub mod fitting;
pub mod forgetful;
pub mod history;
pub mod one;
pub mod places;
pub mod player;
#[cfg(feature = "postgres")]
pub mod postgres;
pub mod random;
pub mod requests;
pub mod streams;
pub mod texts;
pub mod wire;

/// A number from the environment, or else the given one.
pub fn number(name: &str, or: u64) -> u64 {
    std::env::var(name).map_or(or, |text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}
