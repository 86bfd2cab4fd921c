//! Lots and budgets of an account: what money it has beside its deposits, and what its scopes may use.

use std::fmt;
use std::future::IntoFuture;
use std::sync::Arc;

use super::account::{AccountHandle, operation_key};
use super::calls::{Answer, Receipt};
use crate::error::{Error, Result};
use crate::kernel::Action;
use crate::model::{
    Account, Amount, Asset, Budget, BudgetWindow, Cap, Lot, LotClass, LotTerms, Metadata, Metric, ModelName, Period,
    Scope, SignedAmount, Status, Timestamp, Window, WindowKey,
};
use crate::pricing::Tariff;

/// A budget in force, and what its running window counted so far.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BudgetUse {
    /// The budget.
    pub budget: Arc<Budget>,
    /// From when until when the running window lasts.
    pub period: Period,
    /// What closed requests used of it: minor units, requests or tokens.
    pub used: u64,
    /// What open holds set aside of it.
    pub held: u64,
}

impl BudgetUse {
    /// What is left of it: zero where the limit was lowered below what is counted.
    pub fn left(&self) -> u64 {
        self.budget.cap.limit().saturating_sub(self.used.saturating_add(self.held))
    }
}

/// Budgets read together.
const PAGE: u32 = 256;

impl AccountHandle {
    /// Grants a lot of `amount`, once per `key`: money that is spent in its own order and may expire. Await the call, or
    /// set its expiry, priority and models first.
    ///
    /// A promotional lot is booked against `promotion`, a paid one (a package somebody bought) against `funding`. A grant
    /// does not repay a debt, and promotional money is never paid out.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use prepaid::{Asset, Ledger, model::LotClass};
    ///
    /// let usd = Asset::USD;
    /// let alice = Ledger::open("memory:").await?.account("alice")?;
    /// alice.open().await?;
    /// alice.deposit("payment-1", usd.parse("5")?).await?;
    /// alice.grant("welcome", LotClass::Promotional, usd.parse("1")?).priority(10).await?;
    ///
    /// let hold = alice.reserve("request-1", usd.parse("1.50")?).await?.created()?;
    /// hold.settle(usd.parse("1.20")?).await?;
    /// assert!(alice.lots().await?.is_empty(), "the gift was spent first");
    /// assert_eq!(alice.balance().await?.available, usd.parse_signed("4.80")?);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Refusal::ExpiryInPast`](crate::Refusal::ExpiryInPast), and as [`AccountHandle::deposit`].
    pub fn grant(&self, key: impl AsRef<str>, class: LotClass, amount: Amount) -> GrantCall<'_> {
        let terms = LotTerms { class, ..LotTerms::default() };
        GrantCall { account: self, key: operation_key(key), amount, terms, metadata: None, asset: None }
    }

    /// The account's lots with free money, by number; expired ones are there until they are swept. What is in none of
    /// them is in the base lot.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn lots(&self) -> Result<Vec<Arc<Lot>>> {
        Ok(self.ledger().engine().store().lots(self.id()).await?)
    }

    /// Writes off what is left of a lot that expired. The sweeper does the same by itself.
    /// [`Outcome::NotDue`](crate::Outcome::NotDue) and [`Outcome::NoOp`](crate::Outcome::NoOp) change nothing.
    ///
    /// # Errors
    /// None but the store's.
    pub async fn expire_lot(&self, lot: u32) -> Result<Receipt> {
        self.run(Action::ExpireLot { lot }).await
    }

    /// Limits what a scope may use in a window, or the whole account where `scope` is none. Scope, window and what the
    /// cap counts make the budget; setting it again changes its limit, at once and for the running window. A new one begins
    /// with nothing counted, also in the middle of its window; one that was removed goes on with what its window had counted.
    /// A scope that no request names is never limited: mind its spelling.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use prepaid::{Asset, Ledger, Reserved, model::{Cap, Scope, Window}};
    ///
    /// let usd = Asset::USD;
    /// let alice = Ledger::open("memory:").await?.account("alice")?;
    /// alice.open().await?;
    /// alice.deposit("payment-1", usd.parse("5")?).await?;
    /// let key = Scope::new("key:prod")?;
    /// alice.set_budget(key.clone(), Window::day("Europe/Berlin".parse()?), Cap::Spend(usd.parse("1")?)).await?;
    ///
    /// let hold = alice.reserve("request-1", usd.parse("0.80")?).scopes([key.clone()]).await?.created()?;
    /// let Reserved::Denied(denial) = alice.reserve("request-2", usd.parse("0.80")?).scopes([key]).await? else {
    ///     panic!("the budget has 0.20 left");
    /// };
    /// assert_eq!(denial.grantable, usd.parse("0.20")?);
    /// assert!(denial.retry_after.is_some(), "tomorrow is another day");
    /// hold.settle(usd.parse("0.30")?).await?;
    /// assert_eq!(alice.budgets().await?[0].left(), 700_000_000);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Refusal::TotalTooLarge`](crate::Refusal::TotalTooLarge) for a limit above 2^58.
    #[doc(alias = "quota")]
    pub async fn set_budget(&self, scope: impl Into<Option<Scope>>, window: Window, cap: Cap) -> Result<Receipt> {
        self.run(Action::SetBudget { scope: scope.into(), window, cap }).await
    }

    /// Removes a budget: from now on it limits nothing and counts no new hold. Holds that were charged to it stay so.
    ///
    /// # Errors
    /// [`Refusal::UnknownBudget`](crate::Refusal::UnknownBudget) when there never was one.
    pub async fn remove_budget(
        &self,
        scope: impl Into<Option<Scope>>,
        window: Window,
        metric: Metric,
    ) -> Result<Receipt> {
        self.run(Action::RemoveBudget { scope: scope.into(), window, metric }).await
    }

    /// The budgets in force with what their running windows counted, by number.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn budgets(&self) -> Result<Vec<BudgetUse>> {
        self.budgets_of(|_| true).await
    }

    /// What a budget counted, by window: at most `limit` windows that begin at `from` or later, in order. Windows in
    /// which nothing was counted are left out.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn budget_windows(&self, budget: u32, from: Timestamp, limit: u32) -> Result<Vec<BudgetWindow>> {
        Ok(self.ledger().engine().store().windows(self.id(), budget, from, limit).await?)
    }

    /// The largest amount a reserve for `model` that counts towards `scopes` would get now: bounded by money, by the
    /// account's limits and by budgets. By the time it is read it may be another: only a reserve is a promise.
    ///
    /// # Errors
    /// [`Refusal::UnknownAccount`](crate::Refusal::UnknownAccount).
    pub async fn affordable(&self, model: Option<&ModelName>, scopes: &[Scope]) -> Result<Amount> {
        let account = self.view().await?;
        let is_full = account.limits.open_holds.is_some_and(|max| account.open_holds >= max);
        if account.status != Status::Active || is_full {
            return Ok(Amount::ZERO);
        }
        let spendable = self.spendable(&account, model).await?.positive_part();
        let held = account.books.held.positive_part();
        let limits = [account.limits.hold, account.limits.held.map(|max| max.saturating_sub(held))];
        let mut affordable = limits.into_iter().flatten().fold(spendable, Amount::min);
        if account.budgets > 0 {
            for budget in self.budgets_of(|budget| budget.scope.as_ref().is_none_or(|own| scopes.contains(own))).await?
            {
                let left = match budget.budget.cap {
                    Cap::Spend(_) => i64::try_from(budget.left()).ok().and_then(|left| Amount::new(left).ok()),
                    Cap::Requests(_) | Cap::Tokens(_) if budget.left() == 0 => Some(Amount::ZERO),
                    Cap::Requests(_) | Cap::Tokens(_) => None,
                };
                affordable = left.map_or(affordable, |left| affordable.min(left));
            }
        }
        Ok(affordable)
    }

    /// The longest answer, in tokens, to `input` tokens that could be reserved for now at `tariff`: what a gateway sends as `max_tokens` instead of refusing. None where not even the input is affordable. Money, limits and budgets of
    /// spend and of tokens bound it; see [`AccountHandle::affordable`].
    ///
    /// # Errors
    /// [`Refusal::UnknownAccount`](crate::Refusal::UnknownAccount); `InvalidInput` when the tariff cannot price it.
    pub async fn max_affordable_output(
        &self,
        tariff: &Tariff,
        input: u64,
        model: Option<&ModelName>,
        scopes: &[Scope],
    ) -> Result<Option<u64>> {
        let affordable = self.affordable(model, scopes).await?;
        let asset = self.view().await?.asset;
        let Some(output) = tariff.max_affordable_output(affordable, input, asset).map_err(Error::invalid)? else {
            return Ok(None);
        };
        let counts = |budget: &Budget| {
            budget.cap.metric() == Metric::Tokens && budget.scope.as_ref().is_none_or(|own| scopes.contains(own))
        };
        let tokens = self.budgets_of(counts).await?.iter().map(BudgetUse::left).min();
        Ok(match tokens {
            Some(left) => left.checked_sub(input).map(|left| left.min(output)),
            None => Some(output),
        })
    }

    /// What a reserve for `model` could draw on if it were made now.
    pub(super) async fn spendable(&self, account: &Account, model: Option<&ModelName>) -> Result<SignedAmount> {
        if account.lots_free.is_zero() {
            return Ok(account.spendable());
        }
        let (lots, now) = (self.lots().await?, self.now().await?);
        Ok(account.spendable_of(lots.iter().map(|lot| &**lot), model, now.max(account.last_entry_at)))
    }

    /// The budgets in force that are wanted, with their running windows.
    async fn budgets_of(&self, wanted: impl Fn(&Budget) -> bool) -> Result<Vec<BudgetUse>> {
        let store = self.ledger().engine().store();
        let now = self.now().await?;
        let (mut found, mut after) = (Vec::new(), 0);
        loop {
            let page = store.budgets(self.id(), after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(found) };
            after = last.number;
            for budget in page.into_iter().filter(|budget| budget.active && wanted(budget)) {
                let period = budget.window.at(now);
                let key = WindowKey { account: budget.account_number, budget: budget.number, start: period.start };
                let windows = store.windows(self.id(), budget.number, period.start, 1).await?;
                let window = windows.into_iter().find(|window| window.key == key);
                let BudgetWindow { used, held, .. } = window.unwrap_or_else(|| BudgetWindow::new(key));
                found.push(BudgetUse { budget, period, used, held });
            }
        }
    }

    /// The store's time.
    async fn now(&self) -> Result<Timestamp> {
        let store = self.ledger().engine().store();
        Ok(store.due(store.bucket(self.id()), 0).await?.now)
    }
}

/// A grant on its way; set options, then await it.
#[must_use = "a call does nothing until it is awaited"]
pub struct GrantCall<'a> {
    account: &'a AccountHandle,
    key: Result<crate::model::OperationKey>,
    amount: Amount,
    terms: LotTerms,
    metadata: Option<Metadata>,
    asset: Option<Asset>,
}

impl GrantCall<'_> {
    /// As [`MoneyCall::asset`](super::MoneyCall::asset).
    pub fn asset(mut self, asset: Asset) -> Self {
        self.asset = Some(asset);
        self
    }

    /// From when on the lot can no longer be spent. What is left of it then is forfeited; so is what comes back to it
    /// later, but a refund makes a new lot of it.
    pub fn expires_at(mut self, expiry: Timestamp) -> Self {
        self.terms.expiry = Some(expiry);
        self
    }

    /// Lots of a higher priority are spent first; the base lot has 0, which is the default.
    pub fn priority(mut self, priority: i32) -> Self {
        self.terms.priority = priority;
        self
    }

    /// The models it may be spent on; all by default.
    pub fn models(mut self, models: impl IntoIterator<Item = ModelName>) -> Self {
        self.terms.models = models.into_iter().collect();
        self.terms.models.sort_unstable();
        self.terms.models.dedup();
        self
    }

    /// Keeps the caller's JSON with the entry, byte for byte; at most 4 KiB.
    pub fn metadata(mut self, json: Metadata) -> Self {
        self.metadata = Some(json);
        self
    }
}

impl<'a> IntoFuture for GrantCall<'a> {
    type Output = Result<Receipt>;
    type IntoFuture = Answer<'a, Receipt>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Self { account, key, amount, terms, metadata, asset } = self;
            account.run_in(Action::Grant { key: key?, amount, terms: Arc::new(terms), metadata }, asset).await
        })
    }
}

impl fmt::Debug for GrantCall<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrantCall").field("amount", &self.amount).field("terms", &self.terms).finish_non_exhaustive()
    }
}
