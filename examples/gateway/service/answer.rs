//! Every way to say no, with what the caller can do about it.
//!
//! Bodies have the shape of OpenAI's errors, so that its clients read them, and carry the ledger's data beside it.

use axum::Json;
use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use prepaid::model::{Asset, Hold, Scope};
use prepaid::{Balance, Denial, DenialReason, Error, ErrorKind, Refusal};
use serde_json::{Value, json};

use super::upstream::Answer;

/// Why a request is not served.
pub(crate) enum Refused {
    UnknownKey,
    /// The request makes no sense; the text says which part.
    BadRequest(String),
    /// There is no price for this model, so it is not sold.
    NotSold(String),
    /// The worst case does not fit the account.
    Unaffordable(Denial, Balance),
    /// This attempt runs already.
    Running(Box<Hold>, Asset),
    /// This attempt is over, and was paid.
    Over {
        hold: Box<Hold>,
        asset: Asset,
        next_attempt: u32,
    },
    /// The upstream's own refusal, passed on.
    Passed(Answer),
    /// The upstream cannot be reached, or broke off before it answered.
    Upstream(String),
    /// The ledger.
    Ledger(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Ledger(error)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        match self {
            Self::UnknownKey => plain(StatusCode::UNAUTHORIZED, "unknown_api_key", "no account has this API key"),
            Self::BadRequest(reason) => plain(StatusCode::BAD_REQUEST, "invalid_request", &reason),
            Self::NotSold(model) => {
                plain(StatusCode::NOT_FOUND, "model_not_found", &format!("there is no price for the model: {model}"))
            }
            Self::Unaffordable(denial, balance) => unaffordable(&denial, &balance),
            Self::Running(hold, asset) => {
                let fields = json!({ "hold": hold.id.to_string(), "held": asset.format(hold.held) });
                let message = "this attempt is running: wait for it, or name another attempt";
                after(1, respond(StatusCode::CONFLICT, "already_running", message, fields))
            }
            Self::Over { hold, asset, next_attempt } => {
                let fields = json!({
                    "hold": hold.id.to_string(),
                    "state": hold.state,
                    "cost": asset.format(hold.cost().cost),
                    "next_attempt": format!("{}#{next_attempt}", hold.id.request()),
                });
                let message = "this attempt is over and paid: to pay for another, name it as the idempotency key";
                respond(StatusCode::CONFLICT, "already_billed", message, fields)
            }
            Self::Passed(answer) => {
                let mut response = Response::new(Body::from_stream(answer.body));
                *response.status_mut() = answer.status;
                response.headers_mut().insert(header::CONTENT_TYPE, answer.content_type);
                response
            }
            Self::Upstream(reason) => plain(StatusCode::BAD_GATEWAY, "upstream_failed", &reason),
            Self::Ledger(error) => of_ledger(&error),
        }
    }
}

/// 402 where money is missing, 429 where waiting is enough.
fn unaffordable(denial: &Denial, balance: &Balance) -> Response {
    let asset = balance.asset;
    let (status, kind) = match denial.reason {
        DenialReason::Funds => (StatusCode::PAYMENT_REQUIRED, "insufficient_funds"),
        DenialReason::Frozen | DenialReason::Closed => (StatusCode::FORBIDDEN, "account_not_active"),
        DenialReason::Budget if denial.retry_after.is_some() => (StatusCode::TOO_MANY_REQUESTS, "budget_exhausted"),
        DenialReason::OpenHolds | DenialReason::HeldTooLarge => (StatusCode::TOO_MANY_REQUESTS, "too_much_in_flight"),
        _ => (StatusCode::PAYMENT_REQUIRED, "over_a_limit"),
    };
    let fields = json!({
        "reason": denial.reason.to_string(),
        "budget": denial.budget.as_ref().map(|budget| json!({
            "scope": budget.scope.as_ref().map(Scope::as_str),
            "limit": budget.cap,
            "left": budget.left,
        })),
        "asked": asset.format(denial.asked),
        "grantable": asset.format(denial.grantable),
        "spendable": asset.format(denial.spendable),
        "held": asset.format(balance.held),
    });
    let message = format!("the request may cost {}: {}", asset.format(denial.asked), denial.reason);
    let response = respond(status, kind, &message, fields);
    // Without a word from the ledger waiting helps only while something is held: it may come back.
    match denial.retry_after {
        Some(wait) => after(wait.as_secs().max(1), response),
        None if !balance.held.is_zero() => after(5, response),
        None => response,
    }
}

fn of_ledger(error: &Error) -> Response {
    let message = error.to_string();
    match error.kind() {
        ErrorKind::Busy | ErrorKind::Unavailable => after(1, plain(StatusCode::SERVICE_UNAVAILABLE, "busy", &message)),
        ErrorKind::OutcomeUnknown => after(
            1,
            plain(StatusCode::SERVICE_UNAVAILABLE, "outcome_unknown", "ask again with the same idempotency key"),
        ),
        ErrorKind::Closed => after(5, plain(StatusCode::SERVICE_UNAVAILABLE, "shutting_down", &message)),
        ErrorKind::InvalidInput => plain(StatusCode::BAD_REQUEST, "invalid_request", &message),
        ErrorKind::Refused => match error.refusal() {
            Some(Refusal::OtherTerms { .. }) => {
                let message = "the idempotency key was used for another request";
                plain(StatusCode::CONFLICT, "key_reused", message)
            }
            Some(Refusal::InDebt) => plain(StatusCode::PAYMENT_REQUIRED, "in_debt", &message),
            _ => plain(StatusCode::CONFLICT, error.name().unwrap_or("refused"), &message),
        },
        // What is wrong with the database is for the log, not for the caller.
        _ => {
            eprintln!("ledger: {error:?}");
            plain(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the ledger failed")
        }
    }
}

fn plain(status: StatusCode, kind: &str, message: &str) -> Response {
    respond(status, kind, message, json!({}))
}

fn respond(status: StatusCode, kind: &str, message: &str, mut fields: Value) -> Response {
    fields["type"] = kind.into();
    fields["message"] = message.into();
    (status, Json(json!({ "error": fields }))).into_response()
}

fn after(seconds: u64, mut response: Response) -> Response {
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    response
}
