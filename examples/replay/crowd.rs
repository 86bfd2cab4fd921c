//! Every recording there is, sold once, all at the same time.

use std::collections::BTreeMap;

use futures_util::StreamExt;
use futures_util::future::try_join_all;
use prepaid::{AccountHandle, Amount};

use crate::stage::{Offer, PACE, Result, Stage};

/// What the recordings of one API came to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Crowd {
    pub(crate) api: String,
    pub(crate) streams: usize,
    pub(crate) events: usize,
    pub(crate) tokens: u64,
    pub(crate) billed: Amount,
    pub(crate) truth: Amount,
    /// Where the bill is not the provider's.
    pub(crate) differ: Vec<String>,
}

/// Sells every recording that has a price.
pub(crate) async fn play(stage: &Stage) -> Result<Vec<Crowd>> {
    let account = stage.account("everybody", "1000").await?;
    let mut offers = Vec::new();
    for recording in &stage.recordings {
        offers.extend(stage.sell(recording)?);
    }
    let without_price = stage.recordings.len() - offers.len();
    println!("Every recording at once ({} streams; {without_price} have no price in the list):", offers.len());
    let billed = try_join_all(offers.iter().map(|offer| sell(&account, offer))).await?;
    let mut crowd: BTreeMap<&str, Crowd> = BTreeMap::new();
    for (offer, billed) in offers.iter().zip(billed) {
        let recording = &offer.recording;
        let each = crowd.entry(&recording.api).or_default();
        let truth = offer.truth()?;
        each.api.clone_from(&recording.api);
        each.streams += 1;
        each.events += recording.events.len();
        each.tokens += recording.truth.total();
        each.billed = each.billed.checked_add(billed)?;
        each.truth = each.truth.checked_add(truth)?;
        if billed != truth {
            each.differ.push(format!("{}: billed {billed}, true {truth}", recording.name));
        }
    }
    Ok(crowd.into_values().collect())
}

async fn sell(account: &AccountHandle, offer: &Offer) -> Result<Amount> {
    let hold = offer.reserve(account, &offer.recording.name, offer.worst()?)?.await?.created()?;
    let (mut metered, billed) = hold.meter(offer.recording.arrive(usize::MAX, PACE), offer.observer());
    while metered.next().await.is_some() {}
    Ok(billed.await?.receipt.hold.map_or(Amount::ZERO, |hold| hold.cost().cost))
}
