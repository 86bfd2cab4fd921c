//! What every scene needs: the ledger, the prices, the recordings, and how to sell one.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use prepaid::ledger::ReserveCall;
use prepaid::metering::ApiAccounting;
use prepaid::metering::observe::Api;
use prepaid::model::{EntryKind, Label, Measured};
use prepaid::pricing::{PriceBook, Tariff};
use prepaid::tokens::{Observer, RequestEstimate, TokenAccounting, TokenClass, Usage};
use prepaid::{AccountHandle, Amount, Asset, Ledger, Timestamp};

use crate::recordings::{self, Recording};

pub(crate) type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

/// When prices are looked up: in the week the lists are of.
const LISTED: Timestamp = Timestamp::from_micros(1_788_220_800_000_000);

/// Events of a recording arrive this far apart.
pub(crate) const PACE: Duration = Duration::from_millis(2);

pub(crate) struct Stage {
    pub(crate) ledger: Ledger,
    pub(crate) asset: Asset,
    pub(crate) recordings: Vec<Recording>,
    prices: PriceBook,
}

/// A recorded request as a gateway sees it before it is sent, and what was true in the end.
#[derive(Clone)]
pub(crate) struct Offer {
    pub(crate) recording: Recording,
    pub(crate) tariff: Arc<Tariff>,
    asset: Asset,
    accounting: Arc<dyn TokenAccounting>,
    /// None where the request was not recorded.
    estimate: Option<RequestEstimate>,
    /// Tokens, at most.
    input: u64,
    output: u64,
}

impl Stage {
    /// Takes prices from two lists in `prices`: LiteLLM's goes before that of genai-prices.
    pub(crate) fn new(ledger: Ledger, streams: &Path, prices: &Path) -> Result<Self> {
        let read = |name: &str| {
            let path = prices.join(name);
            fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
        };
        let mut book = PriceBook::from_genai_prices(&read("genai_prices_v2.json")?, LISTED)?;
        book.merge(PriceBook::from_litellm(&read("litellm_model_prices.json")?)?);
        Ok(Self { asset: ledger.asset(), ledger, recordings: recordings::load(streams)?, prices: book })
    }

    /// An account that has paid `amount` in.
    pub(crate) async fn account(&self, name: &str, amount: &str) -> Result<AccountHandle> {
        let account = self.ledger.account(name)?;
        account.open().await?;
        account.deposit("payment-1", self.asset.parse(amount)?).await?;
        Ok(account)
    }

    /// What is recorded under a name, on sale.
    pub(crate) fn offer(&self, name: &str) -> Result<Offer> {
        let found = self.recordings.iter().find(|recording| recording.name == name);
        let recording = found.ok_or_else(|| format!("not recorded: {name}"))?;
        self.sell(recording)?.ok_or_else(|| format!("no price: {name}").into())
    }

    /// A recording on sale, if the list has a price for it.
    pub(crate) fn sell(&self, recording: &Recording) -> Result<Option<Offer>> {
        let names = [&recording.requested, &recording.model];
        let prices = names
            .into_iter()
            .flat_map(|model| [self.prices.tariff_of(&recording.provider, model), self.prices.tariff(model)]);
        let Some(tariff) = prices.flatten().next() else {
            return Ok(None);
        };
        // Text completions and Bedrock's InvokeModel are variants of an API that has a name of its own.
        let api = match recording.api.as_str() {
            "openai_completions" => Api::OpenAiChat,
            "bedrock_invoke_anthropic" => Api::Anthropic,
            name => {
                Api::ALL.into_iter().find(|api| api.name() == name).ok_or_else(|| format!("unknown API: {name}"))?
            }
        };
        let accounting = Arc::new(ApiAccounting::new(api).model(&recording.requested));
        // Where the request was not recorded, a gateway's estimate is not either: twice the truth stands for it.
        let estimate = accounting.estimate(&recording.request).ok();
        let (input, output) = match &estimate {
            Some(estimate) => (estimate.input, estimate.output_cap.map(|cap| cap * estimate.choices)),
            None => (recording.truth.total_input() * 2, None),
        };
        let output = output.unwrap_or(OUTPUT_MAX).max(recording.truth.total_output());
        let (recording, tariff) = (recording.clone(), Arc::new(tariff));
        Ok(Some(Offer { recording, tariff, asset: self.asset, accounting, estimate, input, output }))
    }
}

/// The cap where a request sets none.
const OUTPUT_MAX: u64 = 4096;

impl Offer {
    /// The most it can cost.
    pub(crate) fn worst(&self) -> Result<Amount> {
        Ok(self.tariff.quote_text(self.input, self.output, self.asset)?.amount())
    }

    pub(crate) fn cost(&self, usage: &Usage) -> Result<Amount> {
        Ok(self.tariff.charge(usage, self.asset)?.amount())
    }

    /// What the provider charged for all of it.
    pub(crate) fn truth(&self) -> Result<Amount> {
        self.cost(&self.recording.truth)
    }

    /// What the provider charges if it stops after so many events; known where it sends one token per delta.
    pub(crate) fn truth_after(&self, events: usize) -> Result<Amount> {
        let tokens = self.recording.tokens_delivered(events);
        let tokens = tokens.ok_or_else(|| format!("{} has no token per delta", self.recording.name))?;
        self.cost(&self.recording.truth.with(TokenClass::Output, tokens))
    }

    /// Sets the worst case aside for the attempt that `hold` names, with everything a gateway knows.
    pub(crate) fn reserve<'a>(
        &self,
        account: &'a AccountHandle,
        hold: &str,
        amount: Amount,
    ) -> Result<ReserveCall<'a>> {
        self.terms(account.reserve(hold, amount))
    }

    /// The same for the next attempt at a request.
    pub(crate) fn reserve_next<'a>(&self, account: &'a AccountHandle, request: &str) -> Result<ReserveCall<'a>> {
        self.terms(account.reserve_next(request, self.worst()?))
    }

    fn terms<'a>(&self, reserve: ReserveCall<'a>) -> Result<ReserveCall<'a>> {
        let input = self.cost(&Usage::new().with(TokenClass::Input, self.input))?;
        let label = format!("{}/{}", self.recording.provider, self.tariff.model());
        Ok(reserve
            .tariff(Arc::clone(&self.tariff))
            .input(Measured::new(input, self.input))
            .tokens(self.input.saturating_add(self.output))
            .label(Label::new(label)?))
    }

    pub(crate) fn observer(&self) -> Box<dyn Observer> {
        self.accounting.observer(self.estimate.as_ref())
    }
}

impl Stage {
    /// Every account of the ledger.
    pub(crate) async fn accounts(&self) -> Result<Vec<AccountHandle>> {
        let accounts = self.ledger.accounts(0, 0, 1_000).await?;
        accounts.into_iter().map(|account| Ok(self.ledger.account(account.id)?)).collect()
    }

    /// Whether the journal charges each hold of an account once, and nothing is left open.
    pub(crate) async fn billed_once(&self, account: &AccountHandle) -> Result<Vec<String>> {
        let mut settlements: BTreeMap<String, u32> = BTreeMap::new();
        let mut after = 0;
        loop {
            let page = account.journal(after, 1_000).await?;
            let Some(last) = page.last() else { break };
            after = last.seq;
            for entry in page.iter().filter(|entry| entry.kind == EntryKind::Settle) {
                let hold = entry.hold.as_ref().map(ToString::to_string).unwrap_or_default();
                *settlements.entry(hold).or_default() += 1;
            }
        }
        let twice = settlements.iter().filter(|(_, times)| **times > 1);
        let mut broken: Vec<_> =
            twice.map(|(hold, times)| format!("{} settled {hold} {times} times", account.id())).collect();
        let balance = account.balance().await?;
        if !balance.held.is_zero() {
            broken.push(format!("{} still holds {}", account.id(), self.asset.format(balance.held)));
        }
        Ok(broken)
    }
}
