//! `POST /v1/chat/completions`: reserve the worst case, ask the upstream, settle what it used.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::TryStreamExt;
use prepaid::metering::MeterOptions;
use prepaid::model::{Hold, HoldState, Label, Measured, ModelName, Scope};
use prepaid::pricing::{PriceError, ServiceTier, Tariff};
use prepaid::tokens::{RequestEstimate, TokenClass, Usage};
use prepaid::{AccountHandle, Amount, Asset, DenialReason, Error, OpenHold, Receipt, Refusal, Reserved};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::time::timeout;

use super::Service;
use super::answer::Refused;
use super::upstream::{Answer, Failure};

/// The hold's name: to ask about a bill, or to name the next attempt.
const HOLD: HeaderName = HeaderName::from_static("x-prepaid-hold");
/// The cap on output that was sent upstream, where it is below the one that was asked for.
const CLAMPED: HeaderName = HeaderName::from_static("x-prepaid-max-tokens");
/// What the answer cost, where that is known before its head is sent.
const COST: HeaderName = HeaderName::from_static("x-prepaid-cost");
/// How long a whole answer waits for what it cost.
const BILL_WAIT: Duration = Duration::from_secs(2);
/// Fewer output tokens than this are not worth a clamped request.
const OUTPUT_MIN: u64 = 16;
/// The names of the cap on output.
const CAPS: [&str; 2] = ["max_completion_tokens", "max_tokens"];
/// Providers that know its newer name; the others know only the older one, or both.
const NEWER_CAP: [&str; 3] = ["openai", "azure", "groq"];

pub(crate) async fn completions(
    State(service): State<Arc<Service>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refused> {
    let account = service.account(&headers)?;
    let mut request = Request::read(&service, &headers, body)?;
    let mut hold = request.reserve(&account).await?;
    hold.dispatched();
    let streamed = request.body["stream"] == true;
    let (name, clamped) = (hold.id().to_string(), request.clamped);
    let mut response = if streamed {
        stream(&service, &request, hold).await?
    } else {
        // A provider charges for the whole answer whether or not somebody waits for it: so the bill does not depend on
        // the client's patience.
        let work = tokio::spawn(async move { whole(&service, &request, hold).await });
        work.await.map_err(|_| Refused::Upstream("the request failed".to_owned()))??
    };
    response.headers_mut().insert(HOLD, value(&name));
    if let Some(output) = clamped {
        response.headers_mut().insert(CLAMPED, HeaderValue::from(output));
    }
    Ok(response)
}

/// Passes a stream on, metered. Whoever goes away pays by the cut policy.
async fn stream(service: &Service, request: &Request, hold: OpenHold) -> Result<Response, Refused> {
    let (answer, hold) = ask(service, request, hold).await?;
    let observer = service.accounting.observer(Some(&request.estimate));
    let (metered, _billed) = hold.meter_with(answer.body, observer, MeterOptions::cut(service.cut));
    let mut response = Response::new(Body::from_stream(metered));
    response.headers_mut().insert(header::CONTENT_TYPE, answer.content_type);
    Ok(response)
}

/// Reads a whole answer, settles it and says what it cost.
async fn whole(service: &Service, request: &Request, hold: OpenHold) -> Result<Response, Refused> {
    let (answer, hold) = ask(service, request, hold).await?;
    let read = answer.body.try_fold(Vec::new(), |mut sum, bytes| async move {
        sum.extend_from_slice(&bytes);
        Ok(sum)
    });
    // When it breaks in the middle the hold is dropped, and so abandoned: its input is billed until somebody knows more.
    let body = read.await.map_err(|error| Refused::Upstream(error.to_string()))?;
    let body = Bytes::from(body);
    let mut response = Response::new(Body::from(body.clone()));
    response.headers_mut().insert(header::CONTENT_TYPE, answer.content_type);
    let (asset, observer) = (hold.asset(), service.accounting.observer(Some(&request.estimate)));
    // The answer is here and was paid for upstream: it does not wait for a ledger that is away.
    let settling = tokio::spawn(async move { hold.settle_body(&body, observer).await });
    match timeout(BILL_WAIT, settling).await {
        Ok(Ok(Ok(bill))) => {
            let cost = bill.charge.map_or(Amount::ZERO, |charge| charge.amount());
            response.headers_mut().insert(COST, value(&asset.format(cost)));
        }
        Ok(Ok(Err(error))) => eprintln!("{} is not settled: {error}", request.name),
        Ok(Err(_)) | Err(_) => eprintln!("{} is not settled yet", request.name),
    }
    Ok(response)
}

/// Asks the upstream. What it refuses costs nothing; its refusal is the caller's answer.
async fn ask(service: &Service, request: &Request, hold: OpenHold) -> Result<(Answer, OpenHold), Refused> {
    match service.upstream.send(&request.body).await {
        Ok(answer) if answer.status.is_success() => Ok((answer, hold)),
        Ok(answer) => {
            noted(hold.release(true).await);
            Err(Refused::Passed(answer))
        }
        Err(Failure::NotSent(reason)) => {
            noted(hold.release(true).await);
            Err(Refused::Upstream(reason))
        }
        Err(Failure::Unknown(reason)) => {
            noted(hold.abandon().await);
            Err(Refused::Upstream(reason))
        }
    }
}

/// What goes wrong in closing a hold is the operator's business; its lease closes it in the end.
fn noted(closed: prepaid::Result<Receipt>) {
    if let Err(error) = closed {
        eprintln!("a hold is not closed yet: {error}");
    }
}

/// A request, and what it can cost.
struct Request {
    /// What the caller names it; a hold's name.
    name: String,
    /// What the caller's request can use.
    estimate: RequestEstimate,
    /// What is sent upstream.
    body: Value,
    tariff: Arc<Tariff>,
    model: ModelName,
    /// What it counts towards: `model:` and its name, which a budget may limit beside the whole account; and `request:` and
    /// a digest of its body, which none does: so a hold knows which request it is for.
    scopes: [Scope; 2],
    label: Label,
    /// Input tokens, at most.
    input: u64,
    /// Output tokens of each answer, at most.
    output: u64,
    /// What the upstream calls that.
    cap_name: &'static str,
    /// How many answers.
    choices: u64,
    /// The smaller cap, where the asked one is not served or cannot be paid.
    clamped: Option<u64>,
}

impl Request {
    fn read(service: &Service, headers: &HeaderMap, original: Bytes) -> Result<Self, Refused> {
        let bad = |error: &dyn std::fmt::Display| Refused::BadRequest(error.to_string());
        let estimate = service.accounting.estimate(&original).map_err(|error| bad(&error))?;
        let mut body: Value = serde_json::from_slice(&original).map_err(|error| bad(&error))?;
        if !body.is_object() {
            return Err(Refused::BadRequest("the request is no JSON object".to_owned()));
        }
        let digest = digest(&body);
        let model =
            estimate.model.clone().ok_or_else(|| Refused::BadRequest("the request names no model".to_owned()))?;
        let tariff = service.prices.tariff(&model).map_err(|_| Refused::NotSold(model.to_string()))?;
        let tariff = at_tier(&tariff, &body["service_tier"])?;
        if service.provider.as_str() == "openai" && matches!(body["service_tier"].as_str(), None | Some("auto")) {
            // Where nothing is said OpenAI goes by the settings of the project, which may be a dearer tier.
            body["service_tier"] = json!("default");
        }
        let asked = estimate.output_cap.unwrap_or(service.output_max);
        let output = asked.min(service.output_max);
        if body["stream"] == true {
            // Without it OpenAI streams no usage, and every bill would be a count.
            body["stream_options"] = json!({ "include_usage": true });
        }
        let mut request = Self {
            name: name(headers)?,
            body,
            tariff: Arc::new(tariff),
            model: ModelName::new(&model).map_err(|error| bad(&error))?,
            scopes: [
                Scope::new(format!("model:{model}")).map_err(|error| bad(&error))?,
                Scope::new(format!("request:{digest}")).map_err(|error| bad(&error))?,
            ],
            label: Label::new(format!("{}/{model}", service.provider)).map_err(|error| bad(&error))?,
            input: estimate.input,
            output,
            cap_name: if NEWER_CAP.contains(&&*service.provider) { CAPS[0] } else { CAPS[1] },
            choices: estimate.choices.max(1),
            estimate,
            clamped: (output < asked).then_some(output),
        };
        request.cap(output);
        Ok(request)
    }

    /// Sets the worst case aside; where that cannot be paid, what a shorter answer costs.
    async fn reserve(&mut self, account: &AccountHandle) -> Result<OpenHold, Refused> {
        // It never changes: a busy gateway keeps it beside the API key.
        let asset = account.view().await?.asset;
        let mut reserved = self.ask_for(account, asset).await?;
        if let Reserved::Denied(denial) = &reserved
            && matches!(denial.reason, DenialReason::Funds | DenialReason::Budget)
            && let Some(output) = self.affordable(account).await?
        {
            self.cap(output);
            self.clamped = Some(output);
            reserved = self.ask_for(account, asset).await?;
        }
        match reserved {
            Reserved::Created(hold) => Ok(hold),
            Reserved::Replayed { hold, balance } => {
                Err(Refused::Running(Box::new(Arc::unwrap_or_clone(hold)), balance.asset))
            }
            Reserved::Closed { hold, balance, next_attempt } => {
                let hold = Box::new(Arc::unwrap_or_clone(hold));
                Err(Refused::Over { hold, asset: balance.asset, next_attempt })
            }
            Reserved::Denied(denial) => Err(Refused::Unaffordable(denial, account.balance().await?)),
        }
    }

    async fn ask_for(&self, account: &AccountHandle, asset: Asset) -> Result<Reserved, Refused> {
        let output = self.output.saturating_mul(self.choices);
        let worst = self.tariff.quote_request(self.input, output, asset).map_err(unpriced)?;
        let input = Usage::new().with(TokenClass::Input, self.input);
        let input = self.tariff.charge(&input, asset).map_err(unpriced)?;
        let reserve = account
            .reserve(&self.name, worst.amount())
            .asset(asset)
            .tariff(Arc::clone(&self.tariff))
            .input(Measured::new(input.amount(), self.input))
            .tokens(self.input.saturating_add(output))
            .model(self.model.clone())
            .scopes(self.scopes.clone())
            .label(self.label.clone());
        match reserve.await {
            Err(error) if matches!(error.refusal(), Some(Refusal::OtherTerms { .. })) => {
                self.again(account, error).await
            }
            answer => Ok(answer?),
        }
    }

    /// The answer to a name that has a hold on other terms. When the request is the same, the worst case is another since:
    /// the balance allowed for less, or prices have changed. Then what counts is how the hold stands.
    async fn again(&self, account: &AccountHandle, error: Error) -> Result<Reserved, Refused> {
        let [_, request] = &self.scopes;
        let is_same = |hold: &&Arc<Hold>| hold.terms.as_ref().is_some_and(|terms| terms.scopes.contains(request));
        let (Some(hold), Some(balance)) = (error.hold().filter(is_same).cloned(), error.balance()) else {
            return Err(error.into());
        };
        Ok(match hold.state {
            HoldState::Open => Reserved::Replayed { hold, balance },
            HoldState::Lapsed | HoldState::Settled | HoldState::Released | HoldState::Sealed => {
                let next_attempt = account.next_attempt(&hold.id).await?;
                Reserved::Closed { hold, balance, next_attempt }
            }
        })
    }

    /// The longest answer that the account can pay for, if it is worth having.
    async fn affordable(&self, account: &AccountHandle) -> Result<Option<u64>, Refused> {
        let output = account.max_affordable_output(&self.tariff, self.input, Some(&self.model), &self.scopes).await?;
        let each = output.unwrap_or(0) / self.choices;
        Ok((OUTPUT_MIN..self.output).contains(&each).then_some(each))
    }

    /// Puts a cap on the output into the request, under the one name that the upstream is sure to obey: whatever name the
    /// caller used, a second cap must not reach it.
    fn cap(&mut self, output: u64) {
        if let Some(fields) = self.body.as_object_mut() {
            fields.retain(|name, _| !CAPS.contains(&name.as_str()));
            fields.insert(self.cap_name.to_owned(), json!(output));
        }
        self.output = output;
    }
}

/// The prices at the tier of service that a request asks for. One that has no prices of its own is not sold: upstream it
/// may cost more. `auto`, as no word, is the standard one.
fn at_tier(tariff: &Tariff, asked: &Value) -> Result<Tariff, Refused> {
    let tier = match asked.as_str() {
        None if asked.is_null() => ServiceTier::Standard,
        Some("auto" | "default") => ServiceTier::Standard,
        Some("flex") => ServiceTier::Flex,
        Some("priority") => ServiceTier::Priority,
        _ => return Err(Refused::BadRequest(format!("this service tier is not sold: {asked}"))),
    };
    let tariff = tariff.at_tier(tier);
    if tariff.tier() != tier {
        return Err(Refused::BadRequest(format!("there is no price for this service tier: {asked}")));
    }
    Ok(tariff)
}

/// What the caller names the request; drawn where it has no name, so that nothing is mistaken for a repetition.
fn name(headers: &HeaderMap) -> Result<String, Refused> {
    let named = ["idempotency-key", "x-request-id"].into_iter().find_map(|name| headers.get(name));
    match named {
        Some(value) => {
            let text = value.to_str().map_err(|_| Refused::BadRequest("the request's id is no text".to_owned()))?;
            Ok(text.to_owned())
        }
        None => {
            let mut bytes = [0; 16];
            #[allow(clippy::disallowed_methods)] // The rule keeps randomness out of the library's other rooms.
            getrandom::fill(&mut bytes).map_err(|error| Refused::Upstream(error.to_string()))?;
            Ok(format!("drawn-{:032x}", u128::from_ne_bytes(bytes)))
        }
    }
}

/// Tells requests apart that have one name by mistake; the order of their fields is no difference.
fn digest(body: &Value) -> String {
    let hash = Sha256::digest(body.to_string());
    hex::encode(hash.get(..8).unwrap_or_default())
}

/// Ids and amounts are plain ASCII.
fn value(text: &str) -> HeaderValue {
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

fn unpriced(error: PriceError) -> Refused {
    Refused::NotSold(error.to_string())
}
