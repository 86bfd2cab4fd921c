//! Selling a stream, step by step.
//!
//! `examples/gateway` is a whole proxy made in this way, and `tests/gateway.rs` what it promises.
//!
//! # 1. Name the request
//!
//! A hold is named by the caller's request id and an attempt: `chat-7#1`. Take the id from the client (`Idempotency-Key`,
//! `X-Request-Id`), so that a client that lost its connection can ask again without paying again; draw a UUID of
//! version 7 where it sends none (ids that say when they were made, ULIDs too, lie together in the index of ids, so that a
//! long past costs least). Never make one up from the content: two equal prompts are two requests.
//!
//! The same attempt again is a replay. Another attempt is another consumption: a fallback to the next provider, a retry
//! that the client asked for. [`reserve_next`](crate::AccountHandle::reserve_next) takes the lowest unused one.
//!
//! # 2. Know the worst case
//!
//! A [tariff](crate::pricing::Tariff) of a [price book](crate::pricing::PriceBook) turns tokens into money. The input is
//! estimated from above ([`TokenAccounting::estimate`](crate::tokens::TokenAccounting::estimate)), the output is what the
//! request allows; send that cap upstream even where the client set none, or there is no worst case. A model without a
//! price is not sold.
//!
//! # 3. Reserve
//!
//! ```
//! # use prepaid::{AccountHandle, DenialReason, ErrorKind, OpenHold, Reserved, Result};
//! # use prepaid::pricing::Tariff;
//! # use std::sync::Arc;
//! /// A hold, or the HTTP status that says why not.
//! async fn admit(account: &AccountHandle, name: &str, tariff: &Arc<Tariff>) -> Result<OpenHold, u16> {
//!     let asset = account.ledger().asset();
//!     let worst = tariff.quote_text(1_000, 4_000, asset).map_err(|_| 404_u16)?;
//!     let asked = account.reserve(name, worst.amount()).tariff(Arc::clone(tariff)).await;
//!     match asked {
//!         Ok(Reserved::Created(hold)) => Ok(hold),      // start the upstream
//!         Ok(Reserved::Replayed { .. }) => Err(409),    // it is running: Retry-After
//!         Ok(Reserved::Closed { .. }) => Err(409),      // it is over: what was stored, or the next attempt
//!         Ok(Reserved::Denied(denial)) => match denial.reason {
//!             DenialReason::Funds => Err(402),          // or a shorter answer, see below
//!             _ => Err(429),                            // Retry-After: denial.retry_after
//!         },
//!         Err(error) => match error.kind() {
//!             ErrorKind::Busy | ErrorKind::Unavailable | ErrorKind::OutcomeUnknown => Err(503),
//!             ErrorKind::InvalidInput => Err(400),
//!             _ => Err(500),
//!         },
//!     }
//! }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let ledger = prepaid::Ledger::open("memory:").await?;
//! # let alice = ledger.account("alice")?;
//! # alice.open().await?;
//! # let tariff = Arc::new(Tariff::per_million("model").input("2.50").output("10").build()?);
//! # assert_eq!(admit(&alice, "chat-7", &tariff).await.unwrap_err(), 402);
//! # alice.deposit("payment-1", ledger.asset().parse("1")?).await?;
//! # let hold = admit(&alice, "chat-7", &tariff).await.unwrap();
//! # assert_eq!(admit(&alice, "chat-7", &tariff).await.unwrap_err(), 409);
//! # hold.release(false).await?;
//! # Ok(()) }
//! ```
//!
//! Where the whole worst case cannot be paid, a shorter answer often can: take what
//! [`Denial::grantable`](crate::Denial::grantable) allows for from
//! [`Tariff::max_affordable_output`](crate::pricing::Tariff::max_affordable_output), send that as `max_tokens`, reserve
//! its quote and tell the client. It cannot be overrun. Where `max_tokens` is huge, or the balance small, a hold can
//! grow with its stream instead: see [`Slicing`](crate::metering::Slicing).
//!
//! # 4. Ask the upstream
//!
//! Call [`dispatched`](crate::OpenHold::dispatched) before the request leaves ([`meter`](crate::OpenHold::meter) does it
//! at the latest). Until then a hold that is dropped is released; from then on something may have been used, and a hold
//! that is dropped is abandoned: it costs what was recorded, until somebody knows better. Ask for the `identity` encoding,
//! or decode before the meter: of a compressed body nothing can be read.
//!
//! | The upstream | the hold |
//! |---|---|
//! | cannot be reached, or refuses the request | [`release`](crate::OpenHold::release) it, with `waive` |
//! | breaks off before it answers | [`abandon`](crate::OpenHold::abandon) it: nobody knows |
//! | answers whole | [`settle_body`](crate::OpenHold::settle_body), in a task of its own: the client may leave, the provider charges all the same |
//! | streams | [`meter`](crate::OpenHold::meter) it, and send on what the meter hands out |
//!
//! # 5. When the client goes away
//!
//! Drop the metered stream: that is all. What is billed is the [cut policy](crate::metering::Cut):
//! [`Cut::of_provider`](crate::metering::Cut::of_provider) knows which providers stop charging and which go on. Ask
//! OpenAI and what imitates it for `stream_options.include_usage`; without it every bill is a count.
//!
//! # 6. When the gateway stops
//!
//! Stop accepting, let the streams end, then [`Ledger::close`](crate::Ledger::close). What does not end in time keeps its
//! hold, which lapses by its lease; a process that takes it over calls [`attach`](crate::AccountHandle::attach).
//!
//! # 7. When usage is learnt later
//!
//! A provider's record or invoice that says better settles a lapsed hold by its name for as long as its late window lasts
//! ([`Lease::late`](crate::model::Lease::late)), and [corrects](crate::AccountHandle::correct) one that is final.
