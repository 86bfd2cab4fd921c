//! What happens to streams in the field, one scene each, all at the same time.

use std::convert::Infallible;
use std::future::IntoFuture;
use std::io;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use prepaid::metering::{Cut, MeterOptions, Metered, Slicing};
use prepaid::model::{Cap, LotClass, Scope, Window};
use prepaid::tokens::Certainty;
use prepaid::{AccountHandle, Amount, DenialReason, OpenHold, Reserved};

use crate::stage::{Offer, PACE, Result, Stage};
use crate::table::{Line, Truth};

/// One token per delta.
const GPT_4O: &str = "openai-chat__openai__gpt-4o-2024-08-06__1";
/// The same, two answers at once.
const GPT_4O_MINI: &str = "openai-chat__openai__gpt-4o-mini-2024-07-18__1";
/// Nearly all of it is reasoning that nobody sees.
const GPT_5_NANO: &str = "openai-chat__azure__gpt-5-nano-2025-08-07__1";
/// Reasons in secret, in a vocabulary that nobody published.
const OPUS: &str = "anthropic__anthropic__claude-opus-4-7__2";
/// Writes its prompt to a cache.
const SONNET: &str = "anthropic__anthropic__claude-sonnet-4-6__3";
const GEMINI: &str = "gemini__gemini__gemini-3-flash-preview__2";
/// Of a provider that goes on when its client leaves.
const MISTRAL: &str = "openai-chat__mistral__mistral-large-latest__1";

/// Plays every scene.
pub(crate) async fn play(stage: &Stage) -> Result<Vec<Line>> {
    let (finished, cut, repeated, short, limited) =
        tokio::try_join!(finished(stage), cut(stage), repeated(stage), short_of_money(stage), limited(stage))?;
    Ok([finished, cut, repeated, short, limited].concat())
}

/// Streams that end as they should: the bill is the provider's usage, to the last unit.
async fn finished(stage: &Stage) -> Result<Vec<Line>> {
    let alice = stage.account("alice", "5.00").await?;
    let plays = [("chat-1", GPT_4O), ("chat-2", GPT_5_NANO), ("chat-3", OPUS), ("chat-4", SONNET)];
    let plays = plays.map(|(hold, name)| finish(stage, &alice, hold, name, "finished"));
    futures_util::future::try_join_all(plays).await
}

/// Streams that break: what was delivered is billed, by the cut policy.
async fn cut(stage: &Stage) -> Result<Vec<Line>> {
    let bob = stage.account("bob", "5.00").await?;
    let (half, late, drained, broken, waived) = tokio::try_join!(
        client_leaves(stage, &bob, "cut-1", GPT_4O, 150),
        client_leaves(stage, &bob, "cut-2", GPT_4O_MINI, 80),
        drained(stage, &bob),
        usage_lost(stage, &bob),
        waived(stage, &bob),
    )?;
    Ok(vec![half, late, drained, broken, waived])
}

/// Requests that come again.
async fn repeated(stage: &Stage) -> Result<Vec<Line>> {
    let carol = stage.account("carol", "1.00").await?;
    let (reconnected, retried, fallback) =
        tokio::try_join!(reconnected(stage, &carol), retried(stage, &carol), fallback(stage, &carol))?;
    Ok([vec![reconnected], retried, fallback].concat())
}

/// A gift is spent before the customer's own money, and a key may ask twice a day.
async fn limited(stage: &Stage) -> Result<Vec<Line>> {
    let fay = stage.account("fay", "1.00").await?;
    fay.grant("welcome", LotClass::Promotional, stage.asset.parse("0.01")?).priority(1).await?;
    let key = Scope::new("key:trial")?;
    fay.set_budget(key.clone(), Window::day("UTC".parse()?), Cap::Requests(2)).await?;
    let offer = stage.offer(GPT_4O_MINI)?;
    let mut lines = Vec::new();
    for (name, ended) in [("trial-1", "first of 2 a day: finished"), ("trial-2", "second: finished")] {
        let hold = offer.reserve(&fay, name, offer.worst()?)?.scopes([key.clone()]).await?.created()?;
        lines.push(read_to_the_end(&offer, hold, ended).await?);
    }
    let Reserved::Denied(denial) = offer.reserve(&fay, "trial-3", offer.worst()?)?.scopes([key]).await? else {
        return Err("a used up budget admitted a request".into());
    };
    if denial.reason != DenialReason::Budget || denial.retry_after.is_none() {
        return Err(format!("a used up budget was answered {denial}").into());
    }
    lines.push(Line::denied(&fay, "trial-3#1", &offer, "third: 429 until tomorrow"));
    let books = fay.view().await?.books;
    if books.available.checked_sub(books.available_promo)? != stage.asset.parse_signed("1.00")? {
        return Err("the customer's own money was spent before the gift".into());
    }
    Ok(lines)
}

/// Sells one stream to its end.
async fn finish(stage: &Stage, account: &AccountHandle, hold: &str, name: &str, ended: &str) -> Result<Line> {
    let offer = stage.offer(name)?;
    let hold = offer.reserve(account, hold, offer.worst()?)?.await?.created()?;
    read_to_the_end(&offer, hold, ended).await
}

async fn read_to_the_end(offer: &Offer, hold: OpenHold, ended: &str) -> Result<Line> {
    let line = Line::begun(offer, &hold, ended);
    let (mut metered, billed) = hold.meter(offer.recording.arrive(usize::MAX, PACE), offer.observer());
    let mut passed_on = Vec::new();
    while let Some(Ok(event)) = metered.next().await {
        passed_on.push(event);
    }
    if passed_on != *offer.recording.events {
        return Err(format!("{}: the meter changed the stream", offer.recording.name).into());
    }
    Ok(line.billed(&billed.await?, Truth::Exactly(offer.truth()?)))
}

/// The client goes away after so many events, and the provider stops there.
async fn client_leaves(stage: &Stage, account: &AccountHandle, hold: &str, name: &str, after: usize) -> Result<Line> {
    let offer = stage.offer(name)?;
    let hold = offer.reserve(account, hold, offer.worst()?)?.await?.created()?;
    let line = Line::begun(&offer, &hold, &format!("client left after {after} events: counted"));
    let (mut metered, billed) = hold.meter(offer.recording.arrive(usize::MAX, PACE), offer.observer());
    read(&mut metered, after).await;
    drop(metered);
    Ok(line.billed(&billed.await?, Truth::Within5Percent(offer.truth_after(after)?)))
}

/// The client goes away, the provider does not stop: the rest is read for its usage.
async fn drained(stage: &Stage, account: &AccountHandle) -> Result<Line> {
    let offer = stage.offer(MISTRAL)?;
    let hold = offer.reserve(account, "cut-3", offer.worst()?)?.await?.created()?;
    let line = Line::begun(&offer, &hold, "client left after 10 events: drained");
    let options = MeterOptions::cut(Cut::of_provider(&offer.recording.provider));
    let (mut metered, billed) = hold.meter_with(offer.recording.arrive(usize::MAX, PACE), offer.observer(), options);
    read(&mut metered, 10).await;
    drop(metered);
    Ok(line.billed(&billed.await?, Truth::Exactly(offer.truth()?)))
}

/// The upstream's connection breaks just before the usage: all text is there, and no vocabulary is public.
async fn usage_lost(stage: &Stage, account: &AccountHandle) -> Result<Line> {
    let offer = stage.offer(OPUS)?;
    let hold = offer.reserve(account, "cut-4", offer.worst()?)?.await?.created()?;
    let line = Line::begun(&offer, &hold, "upstream broke before its usage: estimated");
    let usage =
        offer.recording.events.iter().rposition(|event| String::from_utf8_lossy(event).contains("message_delta"));
    let delivered = offer.recording.arrive(usage.unwrap_or(0), PACE).map(|item| item.map_err(|never| match never {}));
    let broken = delivered.chain(stream::iter([Err(io::Error::from(io::ErrorKind::ConnectionReset))]));
    let (mut metered, billed) = hold.meter(broken, offer.observer());
    while let Some(Ok(_)) = metered.next().await {}
    let bill = billed.await?;
    let truth = match &bill.report.certainty {
        Certainty::Estimated { bounds } => {
            Truth::Between { low: offer.cost(&bounds.low)?, truth: offer.truth()?, high: offer.cost(&bounds.high)? }
        }
        Certainty::Reported | Certainty::Counted => Truth::Exactly(offer.truth()?),
    };
    Ok(line.billed(&bill, truth))
}

/// The operator pays for what a client did not wait for.
async fn waived(stage: &Stage, account: &AccountHandle) -> Result<Line> {
    let offer = stage.offer(GPT_4O_MINI)?;
    let hold = offer.reserve(account, "cut-5", offer.worst()?)?.await?.created()?;
    let line = Line::begun(&offer, &hold, "client left after 20 events: waived");
    let stream = offer.recording.arrive(usize::MAX, PACE);
    let (mut metered, billed) = hold.meter_with(stream, offer.observer(), MeterOptions::cut(Cut::Free));
    read(&mut metered, 20).await;
    drop(metered);
    Ok(line.billed(&billed.await?, Truth::Nothing))
}

/// A client that lost its connection asks for the same attempt, while it runs and when it is over: nothing starts, and
/// nothing is billed again.
async fn reconnected(stage: &Stage, account: &AccountHandle) -> Result<Line> {
    let offer = stage.offer(GPT_4O)?;
    let hold = offer.reserve(account, "again-1", offer.worst()?)?.await?.created()?;
    let line = Line::begun(&offer, &hold, "finished; reconnected twice: 409, 409");
    let (mut metered, billed) = hold.meter(offer.recording.arrive(usize::MAX, PACE), offer.observer());
    read(&mut metered, 30).await;
    let Reserved::Replayed { .. } = offer.reserve(account, "again-1", offer.worst()?)?.await? else {
        return Err("a reconnect to a running attempt was not seen as one".into());
    };
    while metered.next().await.is_some() {}
    let bill = billed.await?;
    let Reserved::Closed { next_attempt: 2, .. } = offer.reserve(account, "again-1", offer.worst()?)?.await? else {
        return Err("a reconnect to a finished attempt was not seen as one".into());
    };
    Ok(line.billed(&bill, Truth::Exactly(offer.truth()?)))
}

/// A stream breaks and the client wants it all again: a second consumption, with a hold of its own.
async fn retried(stage: &Stage, account: &AccountHandle) -> Result<Vec<Line>> {
    let first = client_leaves(stage, account, "again-2", GPT_4O, 90).await?;
    let offer = stage.offer(GPT_4O)?;
    let second = offer.reserve_next(account, "again-2")?.await?.created()?;
    Ok(vec![first, read_to_the_end(&offer, second, "retried as a new attempt: finished").await?])
}

/// The first provider refuses the request, the second serves it.
async fn fallback(stage: &Stage, account: &AccountHandle) -> Result<Vec<Line>> {
    let offer = stage.offer(GPT_4O)?;
    let hold = offer.reserve(account, "again-3", offer.worst()?)?.await?.created()?;
    let line = Line::begun(&offer, &hold, "upstream refused it: released");
    hold.release(false).await?;
    let offer = stage.offer(GEMINI)?;
    let second = offer.reserve_next(account, "again-3")?.await?.created()?;
    Ok(vec![
        line.closed(Amount::ZERO, Truth::Nothing),
        read_to_the_end(&offer, second, "next provider: finished").await?,
    ])
}

/// Dora can pay for two worst cases. Four requests come at once: two are served, and when these have cost less than
/// was feared, there is money for a third.
async fn short_of_money(stage: &Stage) -> Result<Vec<Line>> {
    let offer = stage.offer(GPT_4O_MINI)?;
    let worst = offer.worst()?;
    let two = worst.checked_add(worst)?;
    let dora = stage.account("dora", &stage.asset.format(two)).await?;
    let names = ["rush-1", "rush-2", "rush-3", "rush-4"];
    let mut asked = Vec::new();
    for name in names {
        asked.push(offer.reserve(&dora, name, worst)?.into_future());
    }
    let mut lines = Vec::new();
    let (mut admitted, mut denied) = (Vec::new(), Vec::new());
    for (name, reserved) in names.iter().zip(futures_util::future::try_join_all(asked).await?) {
        match reserved {
            Reserved::Created(hold) => admitted.push(read_to_the_end(&offer, hold, "admitted: finished")),
            Reserved::Denied(denial) if denial.reason == DenialReason::Funds => {
                denied.push(Line::denied(&dora, &format!("{name}#1"), &offer, "no money for its worst case: 402"));
            }
            other => return Err(format!("{name}: {other:?}").into()),
        }
    }
    if (admitted.len(), denied.len()) != (2, 2) {
        return Err(format!("money for 2, {} were admitted", admitted.len()).into());
    }
    lines.extend(futures_util::future::try_join_all(admitted).await?);
    let again = denied[0].hold.clone();
    lines.extend(denied);
    lines.push(finish(stage, &dora, &again, GPT_4O_MINI, "asked again: finished").await?);
    lines.push(runs_dry(stage).await?);
    Ok(lines)
}

/// Evan has money for a part of the answer. The hold grows slice by slice, and the stream is cut while what is left
/// still pays for it.
async fn runs_dry(stage: &Stage) -> Result<Line> {
    let offer = stage.offer(GPT_4O)?;
    let evan = stage.account("evan", "0.0025").await?;
    let first = stage.asset.parse("0.0005")?;
    let hold = offer.reserve(&evan, "long-1", first)?.await?.created()?;
    let pace = Duration::from_millis(10);
    let mut slicing = Slicing::up_to(offer.worst()?);
    slicing.tokens_per_second = 100;
    slicing.stop = Duration::from_millis(100);
    (slicing.burst, slicing.least) = (8, 32);
    let line = Line::begun(&offer, &hold, "");
    let options = MeterOptions::default().sliced(slicing);
    let (mut metered, billed) = hold.meter_with(offer.recording.arrive(usize::MAX, pace), offer.observer(), options);
    let mut events = 0;
    while !metered.exhausted() && metered.next().await.is_some() {
        events += 1;
    }
    drop(metered);
    let line = line.ended(&format!("money ran out after {events} events: cut"));
    let bill = billed.await?;
    if bill.receipt.balance.available.is_negative() {
        return Err("a stream that was cut in time left a debt".into());
    }
    Ok(line.billed(&bill, Truth::Within5Percent(offer.truth_after(events)?)))
}

/// Reads so many events.
async fn read(metered: &mut Metered<Infallible>, events: usize) {
    for _ in 0..events {
        metered.next().await;
    }
}
