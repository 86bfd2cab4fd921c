//! An OpenAI-compatible proxy that sells what is behind it, prepaid.
//!
//! | request | answer |
//! |---|---|
//! | `POST /v1/chat/completions` | the upstream's answer, streamed or whole, unchanged; or why not (see `answer.rs`) |
//! | `GET /v1/balance` | what the caller's account has |
//! | `GET /healthz` | whether the ledger can be read |

mod answer;
mod chat;
pub(crate) mod upstream;

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, header};
use axum::routing::{get, post};
use axum::{Json, Router};
use prepaid::metering::Cut;
use prepaid::pricing::PriceBook;
use prepaid::tokens::TokenAccounting;
use prepaid::{AccountHandle, Ledger};
use serde_json::{Value, json};

pub(crate) use answer::Refused;
use upstream::Upstream;

/// Everything a request needs.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) ledger: Ledger,
    /// API keys, and the accounts that pay for what they ask for.
    pub(crate) keys: HashMap<String, AccountHandle>,
    pub(crate) prices: PriceBook,
    /// Whose API this is: before the slash in the names of revenue, such as `openai/gpt-4o`.
    pub(crate) provider: String,
    pub(crate) accounting: Arc<dyn TokenAccounting>,
    pub(crate) upstream: Upstream,
    /// The cap on output where the caller sets none.
    pub(crate) output_max: u64,
    /// What a client that goes away in mid-stream pays for.
    pub(crate) cut: Cut,
}

/// The service's routes.
pub(crate) fn router(service: Arc<Service>) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(chat::completions))
        .route("/v1/balance", get(balance))
        .route("/healthz", get(health))
        // Prompts carry images.
        .layer(DefaultBodyLimit::max(32 << 20))
        .with_state(service)
}

impl Service {
    /// The account that a request's API key belongs to.
    fn account(&self, headers: &HeaderMap) -> Result<AccountHandle, Refused> {
        let key = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        key.and_then(|key| self.keys.get(key)).cloned().ok_or(Refused::UnknownKey)
    }
}

async fn balance(State(service): State<Arc<Service>>, headers: HeaderMap) -> Result<Json<Value>, Refused> {
    let account = service.account(&headers)?;
    let balance = account.balance().await?;
    Ok(Json(json!({
        "account": account.id().as_str(),
        "asset": balance.asset.to_string(),
        "available": balance.asset.format(balance.available),
        "held": balance.asset.format(balance.held),
        "spendable": balance.asset.format(balance.spendable),
        "entry": balance.seq,
    })))
}

async fn health(State(service): State<Arc<Service>>) -> Result<&'static str, Refused> {
    service.ledger.accounts(0, 0, 1).await?;
    Ok("ok\n")
}
