//! Budgets: what they admit, what they count, in which window, over days and time zones.
//!
//! `PREPAID_CASES` says how many random histories (3,000 by default), `PREPAID_SEED` where they begin; a failure prints
//! both and the history.

#![cfg(feature = "testing")]

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use common::checked::Checked;
use common::one::{One, amount, hold, measured};
use common::random::Random;
use prepaid::clock::Clock;
use prepaid::kernel::{Action, Denial, Reply};
use prepaid::ledger::Reserved;
use prepaid::model::{CallToken, Cap, HoldState, LedgerId, LotClass, Metric, ModelName, Scope, Terms, Window, Zone};
use prepaid::pricing::Tariff;
use prepaid::testing::{HoldModel, ManualClock};
use prepaid::{Asset, DenialReason, Ledger, Refusal, Timestamp};

const HOUR: i64 = 3_600_000_000;

fn scope(name: &str) -> Scope {
    Scope::new(name).unwrap()
}

fn day(zone: &str) -> Window {
    Window::day(zone.parse().unwrap())
}

fn set(scoped: Option<&str>, window: Window, cap: Cap) -> Action {
    Action::SetBudget { scope: scoped.map(scope), window, cap }
}

fn reserve(name: &str, units: i64, min: Option<i64>, scopes: &[&str], tokens: u64) -> Action {
    let mut terms = Terms::default();
    (terms.amount, terms.min, terms.tokens) = (amount(units), min.map(amount), tokens);
    terms.scopes = scopes.iter().map(|name| scope(name)).collect();
    let token = CallToken::default();
    Action::Reserve { hold: hold(name), terms: Arc::new(terms), lease: None, token, metadata: None }
}

fn denial(reply: Reply) -> Denial {
    match reply.answer {
        Err(Refusal::Denied(denial)) => denial,
        other => panic!("should be denied: {other:?}"),
    }
}

impl One {
    /// What the first windows of the budgets counted, by number: used and held.
    fn counted(&self) -> Vec<(u32, u64, u64)> {
        let rows = self.rows();
        rows.check(LedgerId([7; 16])).unwrap();
        rows.windows.iter().map(|window| (window.key.budget, window.used, window.held)).collect()
    }
}

#[test]
fn budget_admits_up_to_its_limit_and_no_further() {
    let one = One::new(1_000);
    one.name(set(Some("key:a"), Window::TOTAL, Cap::Spend(amount(10))));
    assert_eq!(one.name(reserve("h", 7, None, &["key:a"], 0)), "Created");
    let denied = denial(one.run(reserve("i", 4, None, &["key:a"], 0)));
    assert_eq!((denied.reason, denied.grantable, denied.retry_after), (DenialReason::Budget, amount(3), None));
    let budget = denied.budget.unwrap();
    assert_eq!((budget.scope.clone(), budget.left, budget.cap), (Some(scope("key:a")), 3, Cap::Spend(amount(10))));
    assert_eq!(one.name(reserve("i", 4, Some(1), &["key:a"], 0)), "CreatedPartial", "a part is granted");
    assert_eq!(one.counted(), [(1, 0, 10)]);
    assert_eq!(one.name(reserve("j", 4, None, &["key:b"], 0)), "Created", "another scope is not its business");
}

#[test]
fn budgets_admit_together_or_not_at_all() {
    let one = One::new(1_000);
    one.name(set(None, Window::TOTAL, Cap::Spend(amount(100))));
    one.name(set(Some("key:a"), Window::TOTAL, Cap::Requests(1)));
    one.name(set(Some("team:red"), day("UTC"), Cap::Tokens(50)));
    let both = ["key:a", "team:red"];
    let denied = denial(one.run(reserve("h", 5, None, &both, 51)));
    assert_eq!(denied.budget.as_ref().map(|budget| (budget.number, budget.left)), Some((3, 50)));
    assert!(denied.retry_after.is_some(), "tomorrow is another day");
    assert_eq!(one.counted(), [], "a denied request is counted nowhere");
    assert_eq!(one.name(reserve("h", 5, None, &both, 50)), "Created");
    assert_eq!(one.counted(), [(1, 0, 5), (2, 0, 1), (3, 0, 50)]);
    let denied = denial(one.run(reserve("i", 0, None, &both, 0)));
    assert_eq!(denied.budget.map(|budget| budget.number), Some(2), "a request that costs nothing is one too");
}

#[test]
fn what_is_closed_moves_from_held_to_used() {
    let one = One::new(1_000);
    for cap in [Cap::Spend(amount(100)), Cap::Requests(10), Cap::Tokens(100)] {
        one.name(set(None, Window::TOTAL, cap));
    }
    for name in ["settled", "free", "released", "lapsed", "forgotten"] {
        one.name(reserve(name, 10, None, &[], 10));
    }
    assert_eq!(one.counted(), [(1, 0, 50), (2, 0, 5), (3, 0, 50)]);
    let settle = |name: &str, units, tokens| Action::Settle {
        hold: hold(name),
        measured: measured(units, tokens),
        or_debit: None,
        above_ceiling: false,
        metadata: None,
    };
    one.name(settle("settled", 25, 60));
    assert_eq!(one.counted(), [(1, 25, 40), (2, 1, 4), (3, 60, 40)], "more than was held is counted and not refused");
    one.name(settle("free", 0, 0));
    one.name(one.release("released", false));
    assert_eq!(one.counted(), [(1, 25, 20), (2, 2, 2), (3, 60, 20)], "a released attempt gives its count back");
    one.name(one.report("lapsed", 4, 3));
    one.pass(100);
    one.name(one.lapse("lapsed"));
    one.name(one.lapse("forgotten"));
    assert_eq!(one.counted(), [(1, 29, 0), (2, 3, 0), (3, 63, 0)], "a lapse at nothing gives its count back");
    one.name(settle("forgotten", 1, 1));
    assert_eq!(one.counted(), [(1, 30, 0), (2, 4, 0), (3, 64, 0)], "the owner's late word counts");
    one.name(one.refund("settled", "r", 20));
    one.name(one.correct("free", "c", 0, 2));
    assert_eq!(one.counted(), [(1, 12, 0), (2, 4, 0), (3, 64, 0)]);
    assert!(one.audit().is_clean(), "{}", one.audit());
}

#[test]
fn direct_debit_is_charged_and_never_refused_by_a_budget() {
    let one = One::new(1_000);
    one.name(set(None, Window::TOTAL, Cap::Spend(amount(10))));
    assert_eq!(one.name(one.debit("d", 25)), "OkDirect");
    assert_eq!(one.name(one.settle("e", 5, true)), "OkDirect");
    assert_eq!(one.counted(), [(1, 30, 0)]);
    assert_eq!(one.name(reserve("h", 1, None, &[], 0)), "Denied");
    assert!(one.audit().is_clean(), "{}", one.audit());
}

#[test]
fn extension_is_admitted_by_the_windows_of_its_hold() {
    let one = One::new(1_000);
    one.name(set(None, Window::every(Duration::from_secs(10)).unwrap(), Cap::Spend(amount(10))));
    one.name(reserve("h", 4, None, &[], 0));
    one.pass(20);
    one.name(reserve("i", 9, None, &[], 0));
    let denied = denial(one.run(one.extend("h", 11, false)));
    assert_eq!((denied.grantable, denied.retry_after), (amount(6), None), "to this hold its window never ends");
    assert_eq!(one.name(one.extend("h", 10, false)), "Ok");
    assert_eq!(one.counted(), [(1, 0, 10), (1, 0, 9)]);
    assert_eq!(one.name(one.extend("i", 20, true)), "OkPartial");
    assert_eq!(one.counted(), [(1, 0, 10), (1, 0, 10)]);
}

#[test]
fn changed_limit_counts_at_the_next_admission_and_breaks_no_hold() {
    let one = One::new(1_000);
    let budget = |limit| set(Some("key:a"), day("Asia/Tokyo"), Cap::Spend(amount(limit)));
    one.name(budget(10));
    one.name(reserve("h", 8, None, &["key:a"], 0));
    assert_eq!(one.name(budget(10)), "Replayed");
    assert_eq!(one.name(budget(5)), "Ok");
    assert_eq!(denial(one.run(reserve("i", 1, None, &["key:a"], 0))).grantable, amount(0));
    assert_eq!(one.name(one.settle("h", 8, false)), "Ok");
    assert_eq!(one.name(budget(9)), "Ok");
    assert_eq!(one.name(reserve("i", 1, None, &["key:a"], 0)), "Created");
    let remove =
        || Action::RemoveBudget { scope: Some(scope("key:a")), window: day("Asia/Tokyo"), metric: Metric::Spend };
    assert_eq!(one.name(remove()), "Ok");
    assert_eq!(one.name(remove()), "Replayed");
    assert_eq!(one.name(reserve("j", 100, None, &["key:a"], 0)), "Created", "a removed budget limits nothing");
    assert_eq!(one.name(budget(20)), "Ok");
    assert_eq!(one.counted(), [(1, 8, 1)], "set again it goes on with what it had counted");
    let unknown = Action::RemoveBudget { scope: None, window: Window::TOTAL, metric: Metric::Tokens };
    assert_eq!(one.name(unknown), "UnknownBudget");
    assert!(one.audit().is_clean(), "{}", one.audit());
}

#[test]
fn overdue_holds_make_room_in_a_budget() {
    let one = One::new(1_000);
    one.name(set(None, Window::TOTAL, Cap::Requests(1)));
    one.name(reserve("h", 5, None, &[], 0));
    one.pass(70);
    assert_eq!(one.name(reserve("i", 5, None, &[], 0)), "Created");
    assert_eq!(one.hold("h").unwrap().state, HoldState::Lapsed);
    assert_eq!(one.counted(), [(1, 0, 1)]);
}

#[test]
fn budget_made_in_a_batch_binds_the_rest_of_it() {
    let one = One::new(1_000);
    let replies = one.batch([
        reserve("g", 5, None, &[], 0),
        set(None, Window::TOTAL, Cap::Spend(amount(10))),
        reserve("h", 7, None, &[], 0),
        reserve("i", 7, None, &[], 0),
        set(None, Window::TOTAL, Cap::Spend(amount(20))),
        reserve("j", 13, None, &[], 0),
    ]);
    let answers: Vec<_> = replies.iter().map(|reply| reply.answer.is_ok()).collect();
    assert_eq!(answers, [true, true, true, false, true, true]);
    assert_eq!(one.counted(), [(1, 0, 20)]);
    assert!(one.audit().is_clean(), "{}", one.audit());
}

/// A hold reserved a minute before midnight of its zone and settled after it, around the days that are hardest.
#[test]
fn hold_is_charged_to_the_day_it_was_made_in() {
    let midnights = [
        ("Europe/Berlin", "2026-03-29T22:00:00Z"),
        ("Europe/Berlin", "2026-10-25T23:00:00Z"),
        ("America/Sao_Paulo", "2018-11-04T03:00:00Z"),
        ("Asia/Kathmandu", "2024-02-28T18:15:00Z"),
        ("Pacific/Apia", "2011-12-30T10:00:00Z"),
        ("Asia/Tokyo", "2025-12-31T15:00:00Z"),
    ];
    for (zone, midnight) in midnights {
        let midnight = midnight.parse::<jiff::Timestamp>().unwrap().as_microsecond();
        let one = One::at(Timestamp::from_micros(midnight - 60_000_000), 1_000);
        one.name(set(None, day(zone), Cap::Spend(amount(10))));
        one.name(reserve("before", 10, None, &[], 0));
        assert_eq!(
            denial(one.run(reserve("no", 1, None, &[], 0))).retry_after,
            Some(Duration::from_secs(60)),
            "{zone}"
        );
        one.clock.set(Timestamp::from_micros(midnight));
        assert_eq!(one.name(reserve("after", 10, None, &[], 0)), "Created", "{zone}");
        one.name(one.settle("before", 3, false));
        assert_eq!(one.counted(), [(1, 3, 0), (1, 0, 10)], "{zone}");
        assert!(one.audit().is_clean(), "{}", one.audit());
    }
}

#[test]
fn bad_input_is_named() {
    assert!("Europe/Atlantis".parse::<Zone>().unwrap_err().to_string().contains("Europe/Atlantis"));
    assert!(Window::every(Duration::ZERO).unwrap_err().to_string().contains("0ns"));
    assert!(Window::every(Duration::from_nanos(1_000_000_001)).is_err());
    assert!(Window::month(0, "UTC".parse().unwrap()).is_err());
    assert!(Asset::USD.parse("-1").unwrap_err().to_string().contains("-1"), "a limit below zero is no amount");
    assert!(Scope::new("x".repeat(1 << 20)).unwrap_err().to_string().len() < 400);
    assert!(Scope::new("key prod").is_err());
    let one = One::new(10);
    assert_eq!(one.name(set(None, Window::TOTAL, Cap::Tokens(u64::MAX))), "TotalTooLarge");
    let mut terms = prepaid::model::LotTerms::default();
    terms.expiry = Some(Timestamp::from_micros(-1));
    let answer = one.run(one.grant("g", 1, terms)).answer;
    assert!(answer.unwrap_err().to_string().contains("expiry=-1us"));
    assert_eq!(one.name(one.grant("z", 0, prepaid::model::LotTerms::default())), "ZeroAmount");
}

/// 1,000 concurrent reserves of 0.10 against a budget of 5.00: 50 are admitted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_reserves_are_admitted_exactly() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("ledger.db").display());
    let usd = Asset::USD;
    let ledger = Ledger::builder().sweep_every(None).open(&url).await.unwrap();
    let alice = ledger.account("alice").unwrap();
    alice.open().await.unwrap();
    alice.deposit("d", usd.parse("1000").unwrap()).await.unwrap();
    let key = scope("key:prod");
    let zone: Zone = "Europe/Berlin".parse().unwrap();
    let cap = Cap::Spend(usd.parse("5").unwrap());
    alice.set_budget(key.clone(), Window::month(1, zone).unwrap(), cap).await.unwrap();
    let tasks: Vec<_> = (0..1_000)
        .map(|number| {
            let (alice, key) = (alice.clone(), key.clone());
            tokio::spawn(async move {
                let call = alice.reserve(format!("r{number}"), usd.parse("0.10").unwrap()).scopes([key]);
                match call.await.unwrap() {
                    Reserved::Created(hold) => {
                        hold.settle(usd.parse("0.10").unwrap()).await.unwrap();
                        true
                    }
                    Reserved::Denied(denial) => {
                        assert_eq!(denial.reason, DenialReason::Budget);
                        false
                    }
                    other => panic!("{other:?}"),
                }
            })
        })
        .collect();
    let mut admitted = 0;
    for task in tasks {
        admitted += u32::from(task.await.unwrap());
    }
    assert_eq!(admitted, 50);
    let used = alice.budgets().await.unwrap();
    assert_eq!(used.iter().map(|budget| (budget.used, budget.left())).collect::<Vec<_>>(), [(5_000_000_000, 0)]);
    assert!(ledger.audit().await.unwrap().is_clean());
    ledger.close(Duration::from_secs(5)).await.unwrap();
    // A spend budget survives a restart.
    let ledger = Ledger::open(&url).await.unwrap();
    let alice = ledger.account("alice").unwrap();
    let denied = alice.reserve("again", usd.parse("0.10").unwrap()).scopes([key]).await.unwrap();
    assert!(matches!(denied, Reserved::Denied(denial) if denial.reason == DenialReason::Budget));
    ledger.close(Duration::from_secs(5)).await.unwrap();
}

/// A lot that is restricted to a model pays for a tariff of that model; the sweeper writes off what is left of it.
#[tokio::test]
async fn restricted_lot_pays_for_its_tariff_and_is_swept() {
    let usd = Asset::USD;
    let clock = Arc::new(ManualClock::default());
    let builder = Ledger::builder().sweep_every(None).clock(clock.clone());
    let ledger = builder.open("memory:").await.unwrap();
    let alice = ledger.account("alice").unwrap();
    alice.open().await.unwrap();
    let expiry = clock.now().saturating_add(Duration::from_secs(60));
    let gift = alice.grant("gift", LotClass::Promotional, usd.parse("1").unwrap()).expires_at(expiry);
    gift.models([ModelName::new("gpt-4o").unwrap()]).await.unwrap();
    let tariff = |model: &str| Arc::new(Tariff::per_million(model).input("2.50").output("10").build().unwrap());
    let denied = alice.reserve("r1", usd.parse("0.60").unwrap()).tariff(tariff("other")).await.unwrap();
    assert!(matches!(denied, Reserved::Denied(_)), "{denied:?}");
    let call = alice.reserve("r2", usd.parse("0.60").unwrap()).tariff(tariff("gpt-4o"));
    let hold = call.await.unwrap().created().unwrap();
    assert_eq!(ledger.sweep().await.unwrap(), 0);
    clock.advance(Duration::from_secs(60));
    assert_eq!(ledger.sweep().await.unwrap(), 1, "the free part is gone");
    hold.settle(usd.parse("0.50").unwrap()).await.unwrap();
    let books = alice.view().await.unwrap().books;
    assert_eq!(
        (books.promotion, books.available),
        (usd.parse_signed("-0.50").unwrap(), usd.parse_signed("0").unwrap())
    );
    assert_eq!(books.revenue_promo, usd.parse_signed("0.50").unwrap());
    assert!(ledger.audit().await.unwrap().is_clean());
}

#[tokio::test]
async fn scopes_of_a_direct_settlement_count_whatever_is_said_first() {
    let alice = Ledger::open("memory:").await.unwrap().account("alice").unwrap();
    alice.open().await.unwrap();
    alice.deposit("opening", amount(100)).await.unwrap();
    alice.set_budget(scope("team"), Window::TOTAL, Cap::Spend(amount(50))).await.unwrap();
    alice.settle("a", amount(3)).scopes([scope("team")]).or_debit().await.unwrap();
    alice.settle("b", amount(4)).or_debit().scopes([scope("team")]).await.unwrap();
    assert_eq!(alice.budgets().await.unwrap()[0].left(), 50 - 3 - 4);
}

#[tokio::test]
async fn affordable_output_heeds_budgets_and_restricted_lots() {
    let usd = Asset::USD;
    let alice = Ledger::open("memory:").await.unwrap().account("alice").unwrap();
    alice.open().await.unwrap();
    alice.deposit("d", usd.parse("0.01").unwrap()).await.unwrap();
    let model = ModelName::new("gpt-4o").unwrap();
    alice.grant("g", LotClass::Promotional, usd.parse("0.01").unwrap()).models([model.clone()]).await.unwrap();
    let tariff = Tariff::per_million("gpt-4o").input("2.50").output("10").build().unwrap();
    let output =
        async |model, scopes: &[Scope]| alice.max_affordable_output(&tariff, 1_000, model, scopes).await.unwrap();
    assert_eq!(output(None, &[]).await, Some(750));
    assert_eq!(output(Some(&model), &[]).await, Some(1_750));
    assert_eq!(alice.balance().await.unwrap().spendable, usd.parse_signed("0.01").unwrap());
    alice.set_budget(scope("key:a"), Window::TOTAL, Cap::Spend(usd.parse("0.005").unwrap())).await.unwrap();
    alice.set_budget(scope("key:b"), Window::TOTAL, Cap::Tokens(1_300)).await.unwrap();
    assert_eq!(output(Some(&model), &[scope("key:a")]).await, Some(250));
    assert_eq!(output(Some(&model), &[scope("key:b")]).await, Some(300));
    assert_eq!(alice.affordable(None, &[scope("key:a"), scope("key:b")]).await.unwrap(), usd.parse("0.005").unwrap());
    alice.set_budget(None, Window::TOTAL, Cap::Requests(0)).await.unwrap();
    assert_eq!(output(None, &[]).await, None);
}

struct Play {
    checked: Checked,
    /// What was set: scope, window, metric.
    budgets: Vec<(Option<Scope>, Window, Metric)>,
}

const SCOPES: [&str; 2] = ["key:a", "team:b"];

impl Play {
    fn new(seed: u64) -> Self {
        let mut dice = Random(seed);
        let zones =
            ["UTC", "Europe/Berlin", "America/Sao_Paulo", "Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Apia"];
        // Days on which clocks change, days that do not exist, ends of months and years.
        let times = [
            "2026-03-28T12:00:00Z",
            "2026-10-24T12:00:00Z",
            "2018-11-03T12:00:00Z",
            "2011-12-29T12:00:00Z",
            "2024-02-28T12:00:00Z",
            "2025-12-31T12:00:00Z",
            "2026-04-04T00:00:00Z",
            // Clocks that go back over midnight.
            "2010-11-06T12:00:00Z",
        ];
        let start: jiff::Timestamp = times[dice.below(times.len())].parse().unwrap();
        let one = One::at(Timestamp::from_micros(start.as_microsecond()), 1 << 40);
        let mut play = Self { checked: Checked::new(one, dice), budgets: Vec::new() };
        for _ in 0..3 {
            let zone = if start.as_second() < 1_300_000_000 { "America/St_Johns" } else { zones[play.roll(6)] };
            let zone: Zone = zone.parse().unwrap();
            let window = match play.roll(6) {
                0 => Window::TOTAL,
                1 => Window::every(Duration::from_secs(3_600 * (1 + play.roll(30) as u64))).unwrap(),
                2 => Window::week(prepaid::model::Weekday::Sunday, zone),
                3 => Window::month(u8::try_from(1 + play.roll(31)).unwrap(), zone).unwrap(),
                _ => Window::day(zone),
            };
            let scoped = [None, Some(SCOPES[0]), Some(SCOPES[1])][play.roll(3)].map(scope);
            let metric = [Metric::Spend, Metric::Requests, Metric::Tokens][play.roll(3)];
            play.budgets.push((scoped, window, metric));
            play.set(play.budgets.len() - 1);
        }
        play
    }

    fn roll(&mut self, sides: usize) -> usize {
        self.checked.dice.below(sides)
    }

    /// Gives a budget some limit.
    fn set(&mut self, number: usize) {
        let (scope, window, metric) = self.budgets[number].clone();
        let limit = if metric == Metric::Requests { 1 + self.roll(6) } else { 10 + self.roll(60) };
        let cap = Cap::from_parts(metric, limit as u64).unwrap();
        self.checked.run(Action::SetBudget { scope, window, cap }).answer.unwrap();
    }

    fn step(&mut self) {
        match self.roll(24) {
            0..=9 => self.reserve(),
            10..=15 => self.close(),
            16 | 17 => self.refund(),
            18 => {
                let number = self.roll(self.budgets.len());
                self.set(number);
            }
            19 => {
                let number = self.roll(self.budgets.len());
                let (scope, window, metric) = self.budgets[number].clone();
                self.checked.run(Action::RemoveBudget { scope, window, metric }).answer.unwrap();
            }
            _ => {
                let hours = [0, 1, 6, 12, 23, 24 * 7][self.roll(6)];
                let seconds = [1, 30, 75, 1_800][self.roll(4)] * 1_000_000;
                self.checked.pass_micros(hours * HOUR + seconds);
            }
        }
    }

    fn reserve(&mut self) {
        let (units, tokens) = (self.roll(20), self.roll(20) as u64);
        let scopes: Vec<_> = SCOPES.into_iter().filter(|_| self.roll(2) == 0).collect();
        let min = (self.roll(4) == 0).then_some(1.min(units as i64));
        let action = reserve(&self.checked.name(), units as i64, min, &scopes, tokens);
        if let Err(Refusal::Denied(denial)) = self.checked.run(action).answer {
            assert_eq!(denial.reason, DenialReason::Budget);
        }
    }

    fn close(&mut self) {
        let unfinished = |hold: &HoldModel| matches!(hold.state, HoldState::Open | HoldState::Lapsed);
        let Some((name, held)) = self.checked.pick(unfinished) else { return };
        let action = match self.roll(5) {
            0 => self.checked.one.release(&name, false),
            1 => self.checked.one.extend(&name, i64::try_from(held.held).unwrap() + 5, true),
            _ => Action::Settle {
                hold: hold(&name),
                measured: measured(self.roll(25) as i64, self.roll(25) as u64),
                or_debit: None,
                above_ceiling: false,
                metadata: None,
            },
        };
        let _ = self.checked.run(action);
    }

    fn refund(&mut self) {
        let settled = |hold: &HoldModel| hold.state == HoldState::Settled && hold.captured > hold.refunded;
        let Some((name, held)) = self.checked.pick(settled) else { return };
        let units = 1 + self.roll(usize::try_from(held.captured - held.refunded).unwrap());
        let key = self.checked.key();
        let action = self.checked.one.refund(&name, &key, units as i64);
        self.checked.run(action).answer.unwrap();
    }
}

#[test]
fn windows_agree_with_the_calendar_and_the_requests() {
    let count = common::number("PREPAID_CASES", 3_000);
    let seed = common::number("PREPAID_SEED", u64::from(std::process::id()));
    println!("PREPAID_SEED={seed} PREPAID_CASES={count}");
    for case in seed..seed.wrapping_add(count) {
        let mut play = Play::new(case);
        let played = catch_unwind(AssertUnwindSafe(|| {
            for _ in 0..30 {
                play.step();
            }
            play.checked.compare_rows();
            play.checked.compare_audit();
        }));
        if let Err(panic) = played {
            play.checked.tell(case);
            resume_unwind(panic);
        }
    }
}
