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
//! The same attempt again is a replay, if it is on the same [terms](crate::model::Terms): amount, tariff, tokens, model,
//! scopes, label and policies. Another attempt is another consumption: a fallback to the next provider, a retry that the
//! client asked for. [`reserve_next`](crate::AccountHandle::reserve_next) takes the lowest unused one.
//!
//! A worst case that is quoted anew is on other terms as soon as the price list, a markup or the balance that bounds it
//! has changed, though the client asks for the same. The reserve is then refused as
//! [`OtherTerms`](crate::Refusal::OtherTerms); answer by the state of the hold that the error
//! [carries](crate::Error::hold), as if it had been a replay. To tell another request under the same name from that, pin
//! a short digest of the request as a scope that no budget has (`request:9f2c…`) and compare it with the hold's.
//!
//! # 2. Know the worst case
//!
//! A [tariff](crate::pricing::Tariff) of a [price book](crate::pricing::PriceBook) turns tokens into money. The input is
//! estimated from above ([`TokenAccounting::estimate`](crate::tokens::TokenAccounting::estimate)), the output is what the
//! request allows; send that cap upstream even where the client set none, or there is no worst case, and send one: some
//! APIs have two names for it. A model without a price is not sold. Nor is a tier of service (`service_tier`) without
//! prices: select those it has with [`Tariff::at_tier`](crate::pricing::Tariff::at_tier), or ask for `default`: where nothing
//! is said, OpenAI goes by the settings of the project.
//!
//! # 3. Reserve, ask, meter
//!
//! This is a handler of streams for axum, whole. Amounts are of the account's asset, which need not be the ledger's default.
//! Without [`input`](crate::ledger::ReserveCall::input) nothing is recorded when the upstream has the request, and without
//! [`tokens`](crate::ledger::ReserveCall::tokens) budgets of tokens hold nothing.
//!
//! ```
//! use std::sync::Arc;
//!
//! use axum::body::{Body, Bytes};
//! use axum::http::{HeaderMap, StatusCode, header};
//! use axum::response::{IntoResponse, Response};
//! use prepaid::metering::{ApiAccounting, Cut, MeterOptions};
//! use prepaid::model::{HoldState, Measured, Scope};
//! use prepaid::pricing::PriceBook;
//! use prepaid::tokens::{Beyond, TokenAccounting, TokenClass, Usage};
//! use prepaid::{AccountHandle, Denial, DenialReason, Error, ErrorKind, Reserved};
//! use serde_json::{Map, Value, json};
//!
//! struct Gateway {
//!     prices: PriceBook,
//!     accounting: ApiAccounting, // of Api::OpenAiChat
//!     upstream: reqwest::Client,
//!     url: String,
//! }
//!
//! const OUTPUT_MAX: u64 = 4_096;
//!
//! async fn chat(
//!     gateway: &Gateway,
//!     account: &AccountHandle, // whose API key it is
//!     headers: &HeaderMap,
//!     request: Bytes,
//! ) -> Result<Response, Response> {
//!     let bad = || no(StatusCode::BAD_REQUEST, None);
//!     let name = headers.get("idempotency-key").and_then(|name| name.to_str().ok()).ok_or_else(bad)?;
//!     // Where bodies may be larger than 100 KB or so, within `spawn_blocking`: tokenizers are slow.
//!     let estimate = gateway.accounting.estimate(&request).map_err(|_| bad())?;
//!     if estimate.beyond.contains(&Beyond::HostedTool) {
//!         return Err(bad()); // the provider's own tools: what they cost at most nobody knows
//!     }
//!     let mut body: Map<String, Value> = serde_json::from_slice(&request).map_err(|_| bad())?;
//!     let model = estimate.model.clone().ok_or_else(bad)?;
//!     let scope = Scope::new(format!("model:{model}")).map_err(|_| bad())?;
//!
//!     // A stream with its usage at the end, one cap, the standard tier by its name: no word leaves it to settings upstream.
//!     let output = estimate.output_cap.unwrap_or(OUTPUT_MAX).min(OUTPUT_MAX);
//!     body.remove("max_tokens");
//!     body.insert("max_completion_tokens".to_owned(), json!(output));
//!     body.insert("stream".to_owned(), json!(true));
//!     body.insert("stream_options".to_owned(), json!({ "include_usage": true }));
//!     body.insert("service_tier".to_owned(), json!("default"));
//!
//!     let unpriced = |_| no(StatusCode::NOT_FOUND, None);
//!     let tariff = Arc::new(gateway.prices.tariff(&model).map_err(unpriced)?);
//!     let asset = account.view().await.map_err(failed)?.asset; // it never changes: keep it beside the API key
//!     let output = output.saturating_mul(estimate.choices);
//!     let worst = tariff.quote_request(estimate.input, output, asset).map_err(unpriced)?;
//!     let input = tariff.charge(&Usage::new().with(TokenClass::Input, estimate.input), asset).map_err(unpriced)?;
//!     let reserve = account
//!         .reserve(name, worst.amount())
//!         .asset(asset)
//!         .tariff(tariff)
//!         .input(Measured::new(input.amount(), estimate.input))
//!         .tokens(estimate.input.saturating_add(output))
//!         .scopes([scope]);
//!     let mut hold = match reserve.await.map_err(failed)? {
//!         Reserved::Created(hold) => hold,
//!         Reserved::Replayed { .. } => return Err(no(StatusCode::CONFLICT, Some(1))), // it is running
//!         Reserved::Closed { .. } => return Err(no(StatusCode::CONFLICT, None)), // what was stored, or the next attempt
//!         Reserved::Denied(denial) => return Err(denied(&denial)),
//!     };
//!
//!     hold.dispatched();
//!     let sent = gateway.upstream.post(&gateway.url).body(Value::Object(body).to_string()).send().await;
//!     let answer = match sent {
//!         Ok(answer) if answer.status().is_success() => answer,
//!         Err(error) if !error.is_connect() => {
//!             let _ = hold.abandon().await; // it broke off: nobody knows
//!             return Err(no(StatusCode::BAD_GATEWAY, None));
//!         }
//!         Ok(_) | Err(_) => {
//!             let _ = hold.release(true).await; // it has refused, or was never asked
//!             return Err(no(StatusCode::BAD_GATEWAY, None));
//!         }
//!     };
//!     let observer = gateway.accounting.observer(Some(&estimate));
//!     let options = MeterOptions::cut(Cut::of_provider("openai"));
//!     let (metered, _bill) = hold.meter_with(answer.bytes_stream(), observer, options);
//!     Ok(([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(metered)).into_response())
//! }
//!
//! fn denied(denial: &Denial) -> Response {
//!     let wait = denial.retry_after.map(|wait| wait.as_secs().max(1));
//!     match denial.reason {
//!         DenialReason::Frozen | DenialReason::Closed => no(StatusCode::FORBIDDEN, wait),
//!         DenialReason::Budget if wait.is_some() => no(StatusCode::TOO_MANY_REQUESTS, wait),
//!         DenialReason::OpenHolds | DenialReason::HeldTooLarge => no(StatusCode::TOO_MANY_REQUESTS, wait.or(Some(5))),
//!         _ => no(StatusCode::PAYMENT_REQUIRED, wait), // or a shorter answer, see below
//!     }
//! }
//!
//! fn failed(error: Error) -> Response {
//!     let is_running = error.hold().is_some_and(|hold| hold.state == HoldState::Open);
//!     match error.kind() {
//!         ErrorKind::Busy | ErrorKind::Unavailable | ErrorKind::OutcomeUnknown | ErrorKind::Closed => {
//!             no(StatusCode::SERVICE_UNAVAILABLE, Some(1))
//!         }
//!         ErrorKind::InvalidInput => no(StatusCode::BAD_REQUEST, None),
//!         // On other terms: it is running, or over.
//!         ErrorKind::Refused if error.hold().is_some() => no(StatusCode::CONFLICT, is_running.then_some(1)),
//!         _ => no(StatusCode::INTERNAL_SERVER_ERROR, None),
//!     }
//! }
//!
//! /// No, and after how many seconds it is worth asking again.
//! fn no(status: StatusCode, wait: Option<u64>) -> Response {
//!     (status, wait.map(|seconds| [(header::RETRY_AFTER, seconds.to_string())]), ()).into_response()
//! }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # use axum::{Router, routing::post};
//! # use prepaid::model::{Limits, Policy, Status};
//! # use prepaid::{Asset, Ledger, metering::observe::Api, pricing::Tariff};
//! # const ANSWER: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hi\"}}]}\n\n\
//! #     data: {\"choices\":[],\"usage\":{\"prompt_tokens\":8,\"completion_tokens\":1}}\n\ndata: [DONE]\n\n";
//! # let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! # let url = format!("http://{}/", listener.local_addr()?);
//! # let answering = Router::new().route("/", post(|asked: String| async move {
//! #     assert!(asked.contains("\"max_completion_tokens\":16") && !asked.contains("\"max_tokens\""), "{asked}");
//! #     ANSWER
//! # }));
//! # tokio::spawn(async move { axum::serve(listener, answering).await });
//! # let mut prices = PriceBook::new();
//! # prices.insert(Tariff::per_million("gpt-4o").input("2.50").output("10").build()?);
//! # let accounting = ApiAccounting::new(Api::OpenAiChat);
//! # let mut gateway = Gateway { prices, accounting, upstream: reqwest::Client::new(), url };
//! # let (ledger, micro) = (Ledger::open("memory:").await?, "USD/6".parse::<Asset>()?);
//! # let alice = ledger.account("alice")?;
//! # alice.open_with(micro, Limits::default(), Policy::default()).await?;
//! # let headers = HeaderMap::from_iter([(header::HeaderName::from_static("idempotency-key"), "chat-7".parse()?)]);
//! # let ask = r#"{"model": "gpt-4o", "stream": true, "max_completion_tokens": 16, "max_tokens": 99999, "messages": []}"#;
//! # let ask = Bytes::from_static(ask.as_bytes());
//! # assert_eq!(chat(&gateway, &alice, &headers, ask.clone()).await.unwrap_err().status(), 402);
//! # alice.deposit("payment-1", micro.parse("1")?).await?;
//! # alice.set_status(Status::Frozen, "a look at it").await?;
//! # assert_eq!(chat(&gateway, &alice, &headers, ask.clone()).await.unwrap_err().status(), 403);
//! # alice.set_status(Status::Active, "it is well").await?;
//! # let answer = chat(&gateway, &alice, &headers, ask.clone()).await.unwrap();
//! # assert_eq!(axum::body::to_bytes(answer.into_body(), 1 << 20).await?, ANSWER);
//! # let hold = alice.hold("chat-7").await?.unwrap();
//! # assert_eq!((hold.state, hold.cost().cost), (HoldState::Settled, micro.parse("0.000030")?));
//! # assert!(hold.reported.tokens > 0, "the input was recorded when the request left");
//! # assert_eq!(chat(&gateway, &alice, &headers, ask.clone()).await.unwrap_err().status(), 409);
//! # gateway.prices.markup("*", "20")?;
//! # assert_eq!(chat(&gateway, &alice, &headers, ask.clone()).await.unwrap_err().status(), 409);
//! # assert!(ledger.audit().await?.is_clean());
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
