//! A stream whose usage was reported is billed by it, however it ends: the cut policy is for streams whose usage is not
//! known.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use metrics::{Counter, CounterFn, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use prepaid::metering::observe::{Api, ApiObserver, Observer};
use prepaid::metering::{Cut, MeterOptions};
use prepaid::model::HoldState;
use prepaid::pricing::{Charge, ServiceTier, Tariff};
use prepaid::tokens::Remark;
use prepaid::{AccountHandle, Amount, Ledger, OpenHold};

/// Answers that say what was used, 5 tokens and 7, and no end: that is the end of the body.
const WITHOUT_AN_END: &[(Api, &[&str])] = &[
    (
        Api::Gemini,
        &[
            "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"Hello\"}]}}],\"usageMetadata\":{\"promptTokenCount\":5,\"candidatesTokenCount\":2}}\n\n",
            "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\" there\"}]},\"finishReason\":\"STOP\"}],\"usageMetadata\":{\"promptTokenCount\":5,\"candidatesTokenCount\":7,\"totalTokenCount\":12}}\n\n",
        ],
    ),
    (
        Api::OpenAiChat,
        &[
            "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hello there\"},\"finish_reason\":\"stop\"}]}\n\n",
            "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":7,\"total_tokens\":12}}\n\n",
        ],
    ),
    (
        Api::OpenAiChat,
        &[
            "{\"choices\":[{\"index\":0,\"message\":{\"content\":\"Hello there\"},",
            "\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":7,\"total_tokens\":12}}",
        ],
    ),
    (
        Api::Anthropic,
        &[
            "{\"type\":\"message\",\"content\":[{\"type\":\"text\",\"text\":\"Hello there\"}],\"stop_reason\":\"end_turn\",",
            "\"usage\":{\"input_tokens\":5,\"output_tokens\":7}}",
        ],
    ),
];

/// What 5 tokens of input and 7 of output cost.
const COST: i64 = 19_000;

async fn account(ledger: &Ledger) -> AccountHandle {
    let alice = ledger.account("alice").unwrap();
    alice.open().await.unwrap();
    alice.deposit("opening", Amount::new(1_000_000_000).unwrap()).await.unwrap();
    alice
}

async fn hold(account: &AccountHandle, request: &str) -> OpenHold {
    let tariff = Tariff::per_million("m").input("1").output("2").build().unwrap();
    let reserved = account.reserve(request, Amount::new(1_000_000).unwrap()).tariff(Arc::new(tariff)).await;
    reserved.unwrap().created().unwrap()
}

fn upstream(chunks: &'static [&'static str]) -> impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static {
    stream::iter(chunks.iter().map(|chunk| Ok(Bytes::from_static(chunk.as_bytes()))))
}

#[tokio::test]
async fn usage_that_was_reported_is_billed_where_streams_that_break_off_are_free() {
    let ledger = Ledger::open("memory:").await.unwrap();
    let alice = account(&ledger).await;
    let free = MeterOptions::cut(Cut::Free);
    for (number, (api, chunks)) in WITHOUT_AN_END.iter().enumerate() {
        let observer = || ApiObserver::new(*api).prompt_tokens(5).max_output(100);
        let whole = hold(&alice, &format!("whole-{number}")).await;
        let (metered, billed) = whole.meter_with(upstream(chunks), observer(), free);
        assert_eq!(metered.count().await, chunks.len());
        let bill = billed.await.unwrap();
        assert_eq!(bill.charge.map(|charge| charge.amount().minor_units()), Some(COST), "{api:?}: {:?}", bill.report);
        assert_eq!(bill.receipt.hold.unwrap().state, HoldState::Settled, "{api:?}");

        // The client has read all there is, and does not ask whether there is more.
        let left = hold(&alice, &format!("left-{number}")).await;
        let (mut metered, billed) = left.meter_with(upstream(chunks), observer(), free);
        for _ in chunks.iter() {
            metered.next().await.unwrap().unwrap();
        }
        drop(metered);
        assert_eq!(billed.await.unwrap().receipt.hold.unwrap().captured.minor_units(), COST, "{api:?}");

        let broken = hold(&alice, &format!("broken-{number}")).await;
        let (metered, billed) = broken.meter_with(upstream(&chunks[..1]), observer(), free);
        assert_eq!(metered.count().await, 1);
        let bill = billed.await.unwrap();
        assert!(bill.charge.is_none(), "{api:?}");
        assert_eq!(bill.receipt.hold.unwrap().state, HoldState::Released, "{api:?}");
    }
}

#[tokio::test]
async fn stream_counts_as_ended_by_what_came_of_it() {
    let ended = Ended::default();
    let _recorder = metrics::set_default_local_recorder(&ended);
    let ledger = Ledger::open("memory:").await.unwrap();
    let alice = account(&ledger).await;
    for cut in [Cut::Free, Cut::Estimate] {
        for (request, chunks, label) in [("all", 2, "final"), ("half", 1, "end")] {
            let (api, body) = WITHOUT_AN_END[0];
            let (observer, request) = (ApiObserver::new(api).prompt_tokens(5), format!("{request}-{cut:?}"));
            let hold = hold(&alice, &request).await;
            let (metered, billed) = hold.meter_with(upstream(&body[..chunks]), observer, MeterOptions::cut(cut));
            assert_eq!(metered.count().await, chunks);
            billed.await.unwrap();
            assert_eq!(ended.0.lock().unwrap().drain(..).collect::<Vec<_>>(), [label], "{cut:?}");
        }
    }
}

#[tokio::test]
async fn stream_that_is_read_to_its_end_for_nobody_counts_as_drained() {
    let ended = Ended::default();
    let _recorder = metrics::set_default_local_recorder(&ended);
    let ledger = Ledger::open("memory:").await.unwrap();
    let alice = account(&ledger).await;
    let drain = MeterOptions::cut(Cut::Drain { max: Duration::from_secs(60) });
    for (request, chunks, label) in [("all", 2, "drained"), ("half", 1, "dropped")] {
        let (api, body) = WITHOUT_AN_END[0];
        let observer = ApiObserver::new(api).prompt_tokens(5);
        let (metered, billed) = hold(&alice, request).await.meter_with(upstream(&body[..chunks]), observer, drain);
        drop(metered);
        let captured = billed.await.unwrap().receipt.hold.unwrap().captured.minor_units();
        assert_eq!(captured == COST, label == "drained", "{captured}");
        assert_eq!(ended.0.lock().unwrap().drain(..).collect::<Vec<_>>(), [label]);
    }
}

/// Which service tier answers is the provider's choice where the request leaves it to it, and is billed by it.
#[tokio::test]
async fn service_tier_that_answered_is_charged_where_the_tariff_has_its_rates() {
    let ledger = Ledger::open("memory:").await.unwrap();
    let alice = account(&ledger).await;
    let tariff = Tariff::per_million("m").input("1").output("2");
    let tariff = tariff.tier(ServiceTier::Priority).input("10").output("20").build().unwrap();
    let standard = Arc::new(tariff.clone());
    let priority = Arc::new(tariff.at_tier(ServiceTier::Priority));
    let cases = [
        (&standard, "priority", 10 * COST, ServiceTier::Priority, false),
        (&standard, "default", COST, ServiceTier::Standard, false),
        (&standard, "auto", COST, ServiceTier::Standard, false),
        (&priority, "default", COST, ServiceTier::Standard, false),
        (&priority, "auto", 10 * COST, ServiceTier::Priority, false),
        (&standard, "flex", COST, ServiceTier::Standard, true),
        (&standard, "provisioned", COST, ServiceTier::Standard, true),
    ];
    for (number, (tariff, tier, cost, charged, is_remarked)) in cases.into_iter().enumerate() {
        let reserve = async |request: String| {
            let hold = alice.reserve(request, Amount::new(1_000_000).unwrap()).tariff(Arc::clone(tariff)).await;
            hold.unwrap().created().unwrap()
        };
        let body = format!(
            "{{\"choices\":[{{\"message\":{{\"content\":\"Hello\"}},\"finish_reason\":\"stop\"}}],\"service_tier\":\"{tier}\",\
             \"usage\":{{\"prompt_tokens\":5,\"completion_tokens\":7}}}}"
        );
        let settled = reserve(format!("now-{number}")).await;
        let now = settled.settle_body(body.as_bytes(), ApiObserver::new(Api::OpenAiChat)).await.unwrap();
        let detached = reserve(format!("late-{number}")).await.detach();
        let mut report = now.report.clone();
        report.remarks.clear();
        let late = alice.settle_usage(&detached, report).await.unwrap();
        for bill in [now, late] {
            let charge = bill.charge.unwrap();
            assert_eq!((charge.amount().minor_units(), charge.tier()), (cost, charged), "{tier}");
            assert_eq!(bill.report.remarks.contains(&Remark::TierUnpriced), is_remarked, "{tier}");
            // What the journal keeps names the tariff that was agreed on, and the tier that answered.
            let kept = Charge::from_evidence(&charge.evidence()).unwrap();
            assert_eq!((kept.tariff(), kept.tier()), (tariff.hash(), charged), "{tier}");
        }
    }
}

#[test]
fn every_api_says_which_service_tier_answered() {
    let bodies = [
        (Api::OpenAiChat, r#"{"choices":[],"service_tier":"flex"}"#),
        (Api::OpenAiResponses, r#"{"object":"response","service_tier":"flex"}"#),
        (
            Api::OpenAiResponses,
            r#"{"type":"response.completed","response":{"service_tier":"flex","usage":{"output_tokens":1}}}"#,
        ),
        (Api::Anthropic, r#"{"type":"message","usage":{"output_tokens":1,"service_tier":"flex"}}"#),
        (Api::Anthropic, r#"{"type":"message_start","message":{"usage":{"input_tokens":1,"service_tier":"flex"}}}"#),
        (Api::Gemini, r#"{"usageMetadata":{"promptTokenCount":1,"serviceTier":"flex"}}"#),
        (Api::BedrockConverse, r#"{"usage":{"outputTokens":1},"serviceTier":{"type":"flex"}}"#),
    ];
    for (api, body) in bodies {
        let mut observer = ApiObserver::new(api);
        observer.body(body.as_bytes());
        assert_eq!(observer.report().tier.as_deref(), Some("flex"), "{body}");
    }
}

/// How metered streams ended, by the metric's label.
#[derive(Default)]
struct Ended(Arc<Mutex<Vec<String>>>);

struct Label(Arc<Mutex<Vec<String>>>, String);

impl CounterFn for Label {
    fn increment(&self, _: u64) {
        self.0.lock().unwrap().push(self.1.clone());
    }

    fn absolute(&self, _: u64) {}
}

impl Recorder for Ended {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        match key.labels().find(|label| label.key() == "ended") {
            Some(label) => Counter::from_arc(Arc::new(Label(Arc::clone(&self.0), label.value().to_owned()))),
            None => Counter::noop(),
        }
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}
