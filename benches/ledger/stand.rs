//! A ledger to be measured.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use futures_util::future::try_join_all;
use prepaid::model::{Cap, LotClass, Scope, Window, Zone};
use prepaid::{AccountHandle, Amount, Ledger, OpenHold, Timestamp};

use super::common::{Figure, Goal, median};
use super::load::{COST, Failure, HELD, Run, Subject};

/// A ledger with funded accounts.
pub(crate) struct Stand {
    ledger: Ledger,
    accounts: Vec<AccountHandle>,
    scopes: Vec<Scope>,
}

/// What its accounts have besides money.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Credit {
    Plain,
    /// Three budgets, all of them met by every request, and two lots that pay for it.
    Limited,
}

impl Stand {
    pub(crate) async fn open(url: &str, accounts: usize, credit: Credit) -> Result<Arc<Self>, Failure> {
        Self::on(Ledger::builder().open(url).await?, accounts, credit).await
    }

    /// On a ledger that is open.
    pub(crate) async fn on(ledger: Ledger, accounts: usize, credit: Credit) -> Result<Arc<Self>, Failure> {
        let plenty = Amount::new(1_000_000_000_000_000)?;
        let mut stand = Self::beside(ledger, accounts)?;
        try_join_all(stand.accounts.iter().map(AccountHandle::open)).await?;
        try_join_all(stand.accounts.iter().map(|account| account.deposit("first", plenty).into_future())).await?;
        if credit == Credit::Limited {
            stand.scopes = vec![Scope::new("key:one")?, Scope::new("team:one")?];
            try_join_all(stand.accounts.iter().map(|account| limit(account, &stand.scopes, plenty))).await?;
        }
        Ok(Arc::new(stand))
    }

    /// On a ledger whose accounts another process has opened and filled.
    pub(crate) fn beside(ledger: Ledger, accounts: usize) -> Result<Self, Failure> {
        let accounts = (0..accounts).map(|number| ledger.account(format!("customer-{number}")));
        Ok(Self { accounts: accounts.collect::<Result<_, _>>()?, ledger, scopes: Vec::new() })
    }

    pub(crate) async fn close(self: Arc<Self>) -> Result<(), Failure> {
        Ok(self.ledger.close(Duration::from_secs(5)).await?)
    }
}

impl Subject for Stand {
    type Hold = OpenHold;

    fn accounts(&self) -> usize {
        self.accounts.len()
    }

    async fn reserve(&self, account: usize, request: String) -> Result<OpenHold, Failure> {
        let account = self.accounts.get(account).ok_or("no such account")?;
        let reserve = account.reserve(request, Amount::new(HELD)?).scopes(self.scopes.iter().cloned());
        Ok(reserve.await?.created()?)
    }

    async fn settle(&self, hold: OpenHold) -> Result<(), Failure> {
        hold.settle(Amount::new(COST)?).await?;
        Ok(())
    }
}

/// Every request meets all three budgets, and its money comes out of the first lot, which expires first.
async fn limit(account: &AccountHandle, scopes: &[Scope], plenty: Amount) -> Result<(), Failure> {
    let caps = [Cap::Spend(plenty), Cap::Tokens(1 << 50), Cap::Requests(1 << 50)];
    let zone: Zone = "Europe/Berlin".parse()?;
    let windows = [Window::TOTAL, Window::month(1, zone.clone())?, Window::day(zone.clone())];
    let named = std::iter::once(None).chain(scopes.iter().cloned().map(Some));
    for ((scope, window), cap) in named.zip(windows).zip(caps) {
        account.set_budget(scope, window, cap).await?;
    }
    let tomorrow = UNIX_EPOCH.elapsed()? + Duration::from_secs(86_400);
    let expiry = Timestamp::from_micros(i64::try_from(tomorrow.as_micros())?);
    account.grant("gift", LotClass::Promotional, plenty).priority(1).expires_at(expiry).await?;
    account.grant("paid", LotClass::Paid, plenty).priority(1).await?;
    Ok(())
}

/// What runs with limits made of runs without.
pub(crate) fn compared(accounts: usize, plain: &[Run], limited: &[Run]) -> [Figure; 4] {
    let name = |what: &str| format!("{accounts} accounts, 1024 callers: {what}");
    let middle = |runs: &[Run], of: fn(&Run) -> f64| median(runs.iter().map(of));
    let over = |of: fn(&Run) -> f64| median(limited.iter().zip(plain).map(|(limited, plain)| of(limited) / of(plain)));
    let goal = Some(Goal::AtLeast(0.6));
    [
        Figure::new(name("no budget, no lot"), middle(plain, Run::rate), "pairs/s"),
        Figure::new(name("three budgets, two lots"), middle(limited, Run::rate), "pairs/s").against(
            "no budget, no lot",
            over(Run::rate),
            goal,
        ),
        Figure::new(name("no budget, no lot, CPU"), middle(plain, Run::cpu), "µs/pair"),
        Figure::new(name("three budgets, two lots, CPU"), middle(limited, Run::cpu), "µs/pair").against(
            "no budget, no lot",
            over(Run::cpu),
            None,
        ),
    ]
}
