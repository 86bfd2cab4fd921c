//! The example gateway over real HTTP: what it answers, what it bills, and that its books are right at the end.

#[path = "../examples/support/recordings.rs"]
#[allow(dead_code, reason = "the replay uses the rest")]
mod recordings;
#[path = "../examples/gateway/service/mod.rs"]
mod service;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::routing::post;
use futures_util::StreamExt;
use prepaid::metering::observe::Api;
use prepaid::metering::{ApiAccounting, Cut};
use prepaid::model::{Cap, Hold, HoldState, Limits, Policy, Scope, Window};
use prepaid::pricing::{PriceBook, ServiceTier, Tariff};
use prepaid::tokens::TokenClass;
use prepaid::{AccountHandle, Amount, Asset, Ledger};
use recordings::Recording;
use serde_json::{Value, json};
use service::upstream::Upstream;
use service::{Service, router};
use tokio::sync::Notify;

const USD: Asset = Asset::USD;
const MODEL: &str = "gpt-4o";

/// A gateway on loopback, with one account.
struct Scene {
    ledger: Ledger,
    alice: AccountHandle,
    url: String,
    client: reqwest::Client,
    server: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Scene {
    async fn with(balance: &str, upstream: Upstream) -> Self {
        Self::of(account(balance).await, upstream, |_| {}).await
    }

    /// A gateway that is set up in another way.
    async fn of(alice: AccountHandle, upstream: Upstream, change: impl FnOnce(&mut Service)) -> Self {
        let ledger = alice.ledger().clone();
        let mut prices = PriceBook::new();
        prices.insert(tariff());
        let mut service = Service {
            ledger: ledger.clone(),
            keys: HashMap::from([("sk-alice".to_owned(), alice.clone())]),
            prices,
            provider: "openai".to_owned(),
            accounting: Arc::new(ApiAccounting::new(Api::OpenAiChat)),
            upstream,
            output_max: 4096,
            cut: Cut::Estimate,
        };
        change(&mut service);
        let (url, server) = serve(router(Arc::new(service))).await;
        Self { ledger, alice, url, client: reqwest::Client::new(), server }
    }

    async fn recorded(balance: &str, pace: Duration) -> Self {
        Self::with(balance, recorded(pace)).await
    }

    async fn ask(&self, name: &str, more: Value) -> reqwest::Response {
        let mut body =
            json!({ "model": MODEL, "max_tokens": 400, "messages": [{ "role": "user", "content": PROMPT }] });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let call = self.client.post(format!("{}/v1/chat/completions", self.url));
        let call = call.bearer_auth("sk-alice").header("idempotency-key", name).body(body.to_string());
        call.send().await.unwrap()
    }

    async fn balance(&self) -> Value {
        let call = self.client.get(format!("{}/v1/balance", self.url)).bearer_auth("sk-alice");
        read(call.send().await.unwrap()).await
    }

    /// The hold once it is closed.
    async fn closed(&self, name: &str) -> Arc<Hold> {
        let closed = async {
            loop {
                match self.alice.hold(name).await.unwrap() {
                    Some(hold) if hold.state != HoldState::Open => return hold,
                    _ => tokio::time::sleep(Duration::from_millis(2)).await,
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), closed).await.expect("the hold closes")
    }

    /// Nothing is held, the balance is what was paid in less what was billed, and the audit is clean.
    async fn end(self, paid_in: &str, billed: Amount) {
        let balance = self.balance().await;
        let left = USD.parse_signed(paid_in).unwrap().checked_sub(billed.signed()).unwrap();
        assert_eq!(
            (balance["available"].as_str(), balance["held"].as_str()),
            (Some(&*USD.format(left)), Some("0.000000000"))
        );
        let audit = self.ledger.audit().await.unwrap();
        assert!(audit.is_clean(), "{audit}");
        self.server.abort();
        self.ledger.close(Duration::from_secs(5)).await.unwrap();
    }
}

const PROMPT: &str = "Write a numbered list of exactly 12 one-line facts about rivers. Number them 1. through 12.";

async fn account(balance: &str) -> AccountHandle {
    let alice = Ledger::open("memory:").await.unwrap().account("alice").unwrap();
    alice.open().await.unwrap();
    alice.deposit("payment-1", USD.parse(balance).unwrap()).await.unwrap();
    alice
}

fn recorded(pace: Duration) -> Upstream {
    Upstream::Recorded { recordings: vec![RECORDING.clone()], pace }
}

async fn serve(router: Router) -> (String, tokio::task::JoinHandle<std::io::Result<()>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (url, tokio::spawn(async move { axum::serve(listener, router).await }))
}

/// 315 tokens, one per delta.
static RECORDING: LazyLock<Recording> = LazyLock::new(|| {
    let all = recordings::load(&recordings::shipped()).unwrap();
    all.into_iter().find(|recording| recording.name == "openai-chat__openai__gpt-4o-2024-08-06__1").unwrap()
});

fn tariff() -> Tariff {
    Tariff::per_million(MODEL).input("2.50").cache_read("1.25").output("10").build().unwrap()
}

/// What the recording costs in full.
fn truth() -> Amount {
    tariff().charge(&RECORDING.truth, USD).unwrap().amount()
}

async fn read(response: reqwest::Response) -> Value {
    serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
}

fn text<'a>(response: &'a reqwest::Response, name: &str) -> Option<&'a str> {
    response.headers().get(name).map(|value| value.to_str().unwrap())
}

#[tokio::test]
async fn a_whole_answer_is_billed_by_its_usage_and_says_what_it_cost() {
    let scene = Scene::recorded("1", Duration::ZERO).await;
    let response = scene.ask("whole-1", json!({})).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(text(&response, "x-prepaid-hold"), Some("whole-1#1"));
    assert_eq!(text(&response, "x-prepaid-cost"), Some(&*USD.format(truth())));
    let body = read(response).await;
    assert!(body["choices"][0]["message"]["content"].as_str().unwrap().starts_with("1. The Nile"));
    scene.end("1", truth()).await;
}

#[tokio::test]
async fn a_stream_is_passed_on_unchanged_and_billed_by_its_usage() {
    let scene = Scene::recorded("1", Duration::ZERO).await;
    let response = scene.ask("stream-1", json!({ "stream": true })).await;
    assert_eq!(text(&response, header::CONTENT_TYPE.as_str()), Some("text/event-stream"));
    let body = response.bytes().await.unwrap();
    assert!(body == RECORDING.events.concat(), "the bytes differ");
    assert_eq!(scene.closed("stream-1").await.state, HoldState::Settled);
    scene.end("1", truth()).await;
}

#[tokio::test]
async fn a_client_that_leaves_pays_for_what_was_delivered() {
    let scene = Scene::recorded("1", Duration::from_millis(3)).await;
    let mut body = scene.ask("left-1", json!({ "stream": true })).await.bytes_stream();
    let mut received = Vec::new();
    while received.windows(2).filter(|end| end == b"\n\n").count() < 60 {
        received.extend_from_slice(&body.next().await.unwrap().unwrap());
    }
    drop(body);
    let hold = scene.closed("left-1").await;
    assert_eq!(hold.state, HoldState::Settled);
    let cost = |events: usize| {
        let tokens = RECORDING.tokens_delivered(events).unwrap();
        tariff().charge(&RECORDING.truth.with(TokenClass::Output, tokens), USD).unwrap().amount()
    };
    let billed = hold.cost().cost;
    // What was on its way when the client left was delivered as well; how much that is, the sockets decide. The prompt
    // is counted, to within a twentieth of the bill.
    assert!(billed.minor_units() * 21 >= cost(60).minor_units() * 20, "{billed} for more than {}", cost(60));
    assert!(billed < truth(), "{billed} is the whole answer");
    scene.end("1", billed).await;
}

#[tokio::test]
async fn a_whole_answer_is_paid_for_though_its_client_left() {
    let (arrived, answer) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (told, wait) = (Arc::clone(&arrived), Arc::clone(&answer));
    let slow = post(|| async move {
        told.notify_one();
        wait.notified().await;
        r#"{"usage": {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30}}"#
    });
    let (url, _server) = serve(Router::new().route("/v1/chat/completions", slow)).await;
    let scene = Scene::with("1", Upstream::Provider { client: reqwest::Client::new(), url, key: None }).await;
    tokio::select! {
        _ = scene.ask("left-2", json!({})) => unreachable!("the upstream has not answered"),
        () = arrived.notified() => {}
    }
    answer.notify_one();
    assert_eq!(scene.closed("left-2").await.state, HoldState::Settled);
    scene.end("1", USD.parse("0.000225").unwrap()).await;
}

#[tokio::test]
async fn an_account_that_cannot_pay_is_told_what_is_missing() {
    let scene = Scene::recorded("0.0002", Duration::ZERO).await;
    let response = scene.ask("poor-1", json!({})).await;
    assert_eq!(response.status(), StatusCode::PAYMENT_REQUIRED);
    // Nothing is held: waiting does not help.
    assert_eq!(text(&response, "retry-after"), None);
    let error = read(response).await["error"].take();
    assert_eq!(error["type"], "insufficient_funds");
    assert_eq!(error["spendable"], "0.000200000");
    let asked = error["asked"].as_str().unwrap();
    assert!(USD.parse(asked).unwrap() > USD.parse("0.0002").unwrap());
    assert_eq!(error["message"], format!("the request may cost {asked}: insufficient funds"));
    assert!(scene.alice.hold("poor-1").await.unwrap().is_none());
    scene.end("0.0002", Amount::ZERO).await;
}

#[tokio::test]
async fn money_that_is_held_by_another_request_may_come_back_so_waiting_helps() {
    let scene = Scene::recorded("0.0045", Duration::from_millis(2)).await;
    let running = scene.ask("first", json!({ "stream": true })).await;
    let held = scene.balance().await;
    assert_ne!(held["held"], "0.000000000");
    let response = scene.ask("second", json!({ "n": 8 })).await;
    assert_eq!(response.status(), StatusCode::PAYMENT_REQUIRED);
    assert_eq!(text(&response, "retry-after"), Some("5"));
    running.bytes().await.unwrap();
    scene.closed("first").await;
    scene.end("0.0045", truth()).await;
}

#[tokio::test]
async fn a_budget_that_is_used_up_is_answered_429_until_it_resets() {
    let scene = Scene::recorded("1", Duration::ZERO).await;
    let scope = Scope::new(format!("model:{MODEL}")).unwrap();
    scene.alice.set_budget(scope, Window::day("UTC".parse().unwrap()), Cap::Requests(1)).await.unwrap();
    assert_eq!(scene.ask("one", json!({})).await.status(), StatusCode::OK);
    let response = scene.ask("two", json!({})).await;
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    let wait: u64 = text(&response, "retry-after").unwrap().parse().unwrap();
    assert!((1..=86_400).contains(&wait), "{wait}");
    let error = read(response).await["error"].take();
    assert_eq!(error["type"], "budget_exhausted");
    assert_eq!(error["budget"], json!({ "scope": "model:gpt-4o", "limit": { "requests": 1 }, "left": 0 }));
    scene.end("1", truth()).await;
}

#[tokio::test]
async fn a_cap_that_cannot_be_paid_is_lowered_and_the_caller_is_told() {
    let scene = Scene::recorded("0.003", Duration::ZERO).await;
    let response = scene.ask("long-1", json!({ "max_tokens": 4000 })).await;
    assert_eq!(response.status(), StatusCode::OK);
    let output: u64 = text(&response, "x-prepaid-max-tokens").unwrap().parse().unwrap();
    assert!((200..=300).contains(&output), "{output}");
    let hold = scene.closed("long-1").await;
    assert!(hold.held_at_close <= USD.parse("0.003").unwrap());
    // The recording does not know of the cap; what exceeds the hold is owed.
    scene.end("0.003", truth()).await;
}

#[tokio::test]
async fn the_same_request_again_is_answered_409_and_costs_nothing() {
    let scene = Scene::recorded("1", Duration::from_millis(1)).await;
    let running = scene.ask("again-1", json!({ "stream": true })).await;
    let again = scene.ask("again-1", json!({ "stream": true })).await;
    assert_eq!((again.status(), text(&again, "retry-after")), (StatusCode::CONFLICT, Some("1")));
    assert_eq!(read(again).await["error"]["type"], "already_running");
    running.bytes().await.unwrap();
    scene.closed("again-1").await;

    let again = scene.ask("again-1", json!({ "stream": true })).await;
    assert_eq!(again.status(), StatusCode::CONFLICT);
    let error = read(again).await["error"].take();
    assert_eq!((error["type"].as_str(), error["cost"].as_str()), (Some("already_billed"), Some(&*USD.format(truth()))));
    for other in [json!({ "stream": true, "max_tokens": 40 }), json!({ "stream": true, "temperature": 0.5 })] {
        let other = scene.ask("again-1", other).await;
        assert_eq!((other.status(), &read(other).await["error"]["type"]), (StatusCode::CONFLICT, &json!("key_reused")));
    }

    // Who wants it once more says so.
    let next = error["next_attempt"].as_str().unwrap();
    assert_eq!(next, "again-1#2");
    scene.ask(next, json!({ "stream": true })).await.bytes().await.unwrap();
    scene.closed(next).await;
    scene.end("1", truth().checked_add(truth()).unwrap()).await;
}

#[tokio::test]
async fn the_same_request_again_is_told_so_though_it_was_clamped() {
    let scene = Scene::recorded("0.003", Duration::from_millis(1)).await;
    let request = || json!({ "stream": true, "max_tokens": 4000 });
    let running = scene.ask("again-2", request()).await;
    assert!(text(&running, "x-prepaid-max-tokens").is_some());
    let again = scene.ask("again-2", request()).await;
    assert_eq!((again.status(), text(&again, "retry-after")), (StatusCode::CONFLICT, Some("1")));
    assert_eq!(read(again).await["error"]["type"], "already_running");
    running.bytes().await.unwrap();
    scene.closed("again-2").await;
    let error = read(scene.ask("again-2", request()).await).await["error"].take();
    assert_eq!((&error["type"], &error["next_attempt"]), (&json!("already_billed"), &json!("again-2#2")));
    scene.end("0.003", truth()).await;
}

#[tokio::test]
async fn the_same_request_again_is_told_so_though_prices_have_changed() {
    let old = Scene::recorded("1", Duration::ZERO).await;
    assert_eq!(old.ask("again-3", json!({})).await.status(), StatusCode::OK);
    let new = Scene::of(old.alice.clone(), recorded(Duration::ZERO), |service| {
        service.prices.markup("*", "20").unwrap();
    });
    let again = new.await.ask("again-3", json!({})).await;
    assert_eq!(again.status(), StatusCode::CONFLICT);
    assert_eq!(read(again).await["error"]["type"], "already_billed");
    old.end("1", truth()).await;
}

#[tokio::test]
async fn an_upstreams_refusal_is_passed_on_and_costs_nothing() {
    let refusing = Router::new().route(
        "/v1/chat/completions",
        post(|| async { (StatusCode::TOO_MANY_REQUESTS, [(header::CONTENT_TYPE, "application/json")], r#"{"no":1}"#) }),
    );
    let (url, _server) = serve(refusing).await;
    let scene = Scene::with("1", Upstream::Provider { client: reqwest::Client::new(), url, key: None }).await;
    for stream in [false, true] {
        let name = format!("refused-{stream}");
        let response = scene.ask(&name, json!({ "stream": stream })).await;
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(read(response).await, json!({ "no": 1 }));
        assert_eq!(scene.closed(&name).await.state, HoldState::Released);
    }
    scene.end("1", Amount::ZERO).await;
}

#[tokio::test]
async fn an_upstream_that_cannot_be_reached_costs_nothing() {
    // A port that nobody listens on: it was free a moment ago.
    let url = format!("http://{}", tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap());
    let scene = Scene::with("1", Upstream::Provider { client: reqwest::Client::new(), url, key: None }).await;
    let response = scene.ask("lost-1", json!({})).await;
    assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
    assert_eq!(scene.closed("lost-1").await.state, HoldState::Released);
    scene.end("1", Amount::ZERO).await;
}

/// What a provider's API was asked, and the hold that was made for it.
async fn sent(provider: &str, request: Value) -> (Value, Arc<Hold>) {
    let (seen, mut sent) = tokio::sync::mpsc::unbounded_channel();
    let listening = Router::new().route(
        "/v1/chat/completions",
        post(move |body: String| {
            seen.send(body).unwrap();
            async { (StatusCode::SERVICE_UNAVAILABLE, "later") }
        }),
    );
    let (url, _server) = serve(listening).await;
    let alice = account("1").await;
    let upstream = Upstream::Provider { client: reqwest::Client::new(), url, key: None };
    let scene = Scene::of(alice, upstream, |service| service.provider = provider.to_owned()).await;
    scene.ask("cap-1", request).await;
    let hold = scene.closed("cap-1").await;
    scene.end("1", Amount::ZERO).await;
    (serde_json::from_str(&sent.recv().await.unwrap()).unwrap(), hold)
}

#[tokio::test]
async fn a_request_sent_upstream_asks_for_usage_and_keeps_what_the_caller_said() {
    let (body, _) = sent("openai", json!({ "stream": true, "temperature": 0.5 })).await;
    assert_eq!(body["stream_options"]["include_usage"], true);
    assert_eq!(body["temperature"], 0.5);
    // No word about the tier would leave it to settings upstream.
    assert_eq!(body["service_tier"], "default");
    let (body, _) = sent("openai", json!({ "service_tier": "auto" })).await;
    assert_eq!(body["service_tier"], "default");
    let (body, _) = sent("mistral", json!({})).await;
    assert_eq!(body.get("service_tier"), None);
}

#[tokio::test]
async fn a_request_sent_upstream_carries_one_cap_under_the_name_that_is_known_there() {
    for (provider, name, other) in
        [("openai", "max_completion_tokens", "max_tokens"), ("mistral", "max_tokens", "max_completion_tokens")]
    {
        let (body, default) = sent(provider, json!({ "max_tokens": null })).await;
        assert_eq!((&body[name], body.get(other)), (&json!(4096), None), "{provider}");
        // What a second cap says is neither held nor sent.
        let (body, hold) = sent(provider, json!({ "max_completion_tokens": 16, "max_tokens": 100_000 })).await;
        assert_eq!((&body[name], body.get(other)), (&json!(16), None), "{provider}");
        assert!(hold.held_at_close < default.held_at_close, "{provider}");
    }
}

#[tokio::test]
async fn a_tier_of_service_is_sold_at_its_prices_or_not_at_all() {
    let answer = r#"{"service_tier": "priority", "usage": {"prompt_tokens": 10, "completion_tokens": 20}}"#;
    let (url, _server) = serve(Router::new().route("/v1/chat/completions", post(move || async move { answer }))).await;
    let upstream = Upstream::Provider { client: reqwest::Client::new(), url, key: None };
    let priority = Tariff::per_million(MODEL).input("2.50").output("10").tier(ServiceTier::Priority).output("17");
    let priority = priority.build().unwrap();
    let sold = priority.clone();
    let scene = Scene::of(account("1").await, upstream, |service| service.prices.insert(sold)).await;

    let response = scene.ask("tier-1", json!({ "service_tier": "priority" })).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(text(&response, "x-prepaid-cost"), Some("0.000365000"));
    let hold = scene.closed("tier-1").await;
    assert_eq!(hold.tariff(), Some(priority.at_tier(ServiceTier::Priority).hash()));

    for (name, tier) in [("tier-2", json!("flex")), ("tier-3", json!("scale")), ("tier-4", json!(7))] {
        let response = scene.ask(name, json!({ "service_tier": tier })).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{tier}");
        assert!(scene.alice.hold(name).await.unwrap().is_none());
    }
    scene.end("1", USD.parse("0.000365").unwrap()).await;
}

#[tokio::test]
async fn an_account_in_another_asset_than_the_ledgers_is_held_and_billed_in_its_own() {
    let coarse: Asset = "USD/6".parse().unwrap();
    let alice = Ledger::open("memory:").await.unwrap().account("alice").unwrap();
    alice.open_with(coarse, Limits::default(), Policy::default()).await.unwrap();
    alice.deposit("payment-1", coarse.parse("1").unwrap()).await.unwrap();
    let scene = Scene::of(alice, recorded(Duration::ZERO), |_| {}).await;
    let response = scene.ask("coarse-1", json!({})).await;
    assert_eq!(response.status(), StatusCode::OK);
    let cost = tariff().charge(&RECORDING.truth, coarse).unwrap().amount();
    assert_eq!(text(&response, "x-prepaid-cost"), Some(&*coarse.format(cost)));
    let hold = scene.closed("coarse-1").await;
    assert!(hold.held_at_close < coarse.parse("0.01").unwrap(), "{}", hold.held_at_close);
}

#[tokio::test]
async fn a_ledger_that_was_closed_is_answered_503() {
    let scene = Scene::recorded("1", Duration::ZERO).await;
    scene.ledger.close(Duration::ZERO).await.unwrap();
    let response = scene.ask("late-1", json!({})).await;
    assert_eq!((response.status(), text(&response, "retry-after")), (StatusCode::SERVICE_UNAVAILABLE, Some("5")));
    assert_eq!(read(response).await["error"]["type"], "shutting_down");
}

#[tokio::test]
async fn what_is_not_sold_or_makes_no_sense_is_refused_before_anything_is_held() {
    let scene = Scene::recorded("1", Duration::ZERO).await;
    let refused = [
        ("gratis-1", json!({ "model": "gpt-unknown" }), StatusCode::NOT_FOUND, "model_not_found"),
        ("a name with blanks", json!({}), StatusCode::BAD_REQUEST, "invalid_request"),
    ];
    for (name, more, status, kind) in refused {
        let response = scene.ask(name, more).await;
        assert_eq!(response.status(), status);
        assert_eq!(read(response).await["error"]["type"], kind);
    }
    for body in ["", "[]", "\"text\"", "{\"model\": 7}"] {
        let call = scene.client.post(format!("{}/v1/chat/completions", scene.url)).bearer_auth("sk-alice");
        assert_eq!(call.body(body).send().await.unwrap().status(), StatusCode::BAD_REQUEST, "{body}");
    }
    let stranger = scene.client.get(format!("{}/v1/balance", scene.url)).bearer_auth("sk-bob").send().await.unwrap();
    assert_eq!(stranger.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(scene.client.get(format!("{}/healthz", scene.url)).send().await.unwrap().status(), StatusCode::OK);
    scene.end("1", Amount::ZERO).await;
}
