//! Random command lists: few names, so that they collide, and amounts at the edges of what the model holds just then.

use std::sync::Arc;
use std::time::Duration;

use prepaid::kernel::{Action, Command};
use prepaid::model::{
    Against, CallToken, Cap, Lease, Limits, LotClass, LotTerms, ModelName, OnLapse, OperationKey, Overrun, Policy,
    Quantity, Scope, SignedAmount, Status, Terms, Window,
};
use prepaid::testing::Model;
use prepaid::{AccountId, Amount, Asset, HoldId, Measured, Timestamp};
use proptest::prelude::*;

/// One random step before it is known what it is about: numbers, so that it shrinks towards zeros.
#[derive(Clone, Copy, Debug)]
pub struct Raw {
    pub kind: u8,
    pub account: u8,
    pub hold: u8,
    pub amount: u8,
    pub other: u8,
    pub flags: u8,
    /// What has to do with lots and budgets.
    pub more: u8,
}

/// A random case: how the accounts are set up, then what happens.
#[derive(Clone, Debug)]
pub struct Case {
    pub setup: [u8; SETUP],
    pub steps: Vec<Raw>,
}

/// What a step turned out to be.
#[derive(Clone, Debug)]
pub enum Drawn {
    /// The clock moves by so many microseconds.
    Tick(i64),
    /// A command.
    Command(Arc<Command>),
}

pub const LEASE: Lease =
    Lease { ttl: Duration::from_secs(60), grace: Duration::from_secs(10), late: Duration::from_secs(100) };
const SECOND: i64 = 1_000_000;
const MODELS: [&str; 2] = ["small", "large"];
const SCOPES: [&str; 2] = ["key:a", "team:b"];
const SETUP: usize = 12;
/// Kinds of steps.
const KINDS: u8 = 148;

pub fn cases(steps: usize) -> impl Strategy<Value = Case> {
    let raw = (0..KINDS, 0..8u8, 0..16u8, 0..26u8, 0..26u8, any::<u8>(), any::<u8>()).prop_map(
        |(kind, account, hold, amount, other, flags, more)| Raw { kind, account, hold, amount, other, flags, more },
    );
    (any::<[u8; SETUP]>(), prop::collection::vec(raw, 1..=steps)).prop_map(|(setup, steps)| Case { setup, steps })
}

/// The accounts of a case, its first commands, and what was drawn so far.
#[derive(Debug)]
pub struct Drawer {
    accounts: [AccountId; 3],
    setup: [u8; SETUP],
    sent: Vec<Arc<Command>>,
}

impl Drawer {
    /// Accounts with names of their own, so that many cases fit in one ledger.
    pub fn new(case: &Case, prefix: &str) -> Self {
        let accounts = [0, 1, 2].map(|number| AccountId::new(format!("{prefix}{number}")).unwrap());
        Self { accounts, setup: case.setup, sent: Vec::new() }
    }

    /// The first two accounts are opened and have money; the third is not open. Half of the accounts have lots, half of
    /// them budgets. Most cases first lead a hold into a state that chance alone seldom reaches.
    pub fn beginning(&mut self, now: Timestamp) -> Vec<Drawn> {
        let mut steps = Vec::new();
        for (account, turn) in self.accounts.clone().iter().zip([0, 1]) {
            let [_, _, deposit, .., road] = self.setup.map(|byte| byte.rotate_left(turn * 3));
            let (limits, policy) = (self.limits(turn), self.policy(turn));
            let mut command = |action| steps.push(Drawn::Command(Arc::new(Command::new(account.clone(), action))));
            command(Action::Open { asset: Asset::USD, limits, policy });
            let amount = amount([0, 10, 10, 25, 100, 1000][usize::from(deposit % 6)]);
            if !amount.is_zero() {
                command(Action::Deposit { key: operation("m0"), amount, metadata: None });
            }
            for action in self.lots_and_budgets(turn, now) {
                steps.push(Drawn::Command(Arc::new(Command::new(account.clone(), action))));
            }
            if turn == 0 {
                self.road(road, &mut steps);
            }
        }
        self.sent.extend(steps.iter().filter_map(|step| match step {
            Drawn::Command(command) => Some(Arc::clone(command)),
            Drawn::Tick(_) => None,
        }));
        steps
    }

    fn lots_and_budgets(&self, turn: u32, now: Timestamp) -> Vec<Action> {
        let [.., lots, budgets, _, _, _] = self.setup.map(|byte| byte.rotate_left(turn * 3));
        let raw = |byte: u8, number: u8| {
            let turned = byte.rotate_left(u32::from(number) * 2 + 1);
            Raw { kind: 0, account: 0, hold: 0, amount: turned % 7, other: turned / 3, flags: turned, more: byte }
        };
        let units = |raw: Raw| amount([3, 5, 8, 10, 13, 20, 21][usize::from(raw.amount)]);
        let grants = (0..[0, 0, 1, 3][usize::from(lots % 4)]).map(|number| {
            let (raw, key) = (raw(lots, number), operation(["g0", "g1", "g2"][usize::from(number)]));
            Self::grant(raw, key, units(raw), now)
        });
        let budgets = (0..[0, 0, 1, 2][usize::from(budgets % 4)]).map(|number| {
            let raw = raw(budgets, number);
            Self::budget(raw, units(raw))
        });
        grants.chain(budgets).collect()
    }

    /// A lot that expires at an edge of a hold's life, or never.
    fn grant(raw: Raw, key: OperationKey, amount: Amount, now: Timestamp) -> Action {
        let mut terms = LotTerms::default();
        terms.class = if raw.flags & 1 == 0 { LotClass::Promotional } else { LotClass::Paid };
        terms.priority = [0, 1, -1][usize::from(raw.other % 3)];
        let seconds = [None, Some(60), Some(70), Some(75), Some(100), Some(171), Some(365 * 24 * 3_600), Some(0)];
        let micros = |seconds| Timestamp::from_micros(now.as_micros() + seconds * SECOND);
        terms.expiry = seconds[usize::from(raw.more % 8)].map(micros);
        let is_named = |number: usize| raw.more & (0b11 << (3 + 2 * number)) == 0;
        terms.models = (0..2).filter(|number| is_named(*number)).map(model).collect();
        terms.models.sort_by(|one, other| one.as_str().cmp(other.as_str()));
        Action::Grant { key, amount, terms: Arc::new(terms), metadata: None }
    }

    fn budget(raw: Raw, amount: Amount) -> Action {
        let scope = [None, Some(scope(0)), Some(scope(1))][usize::from(raw.other % 3)].clone();
        let berlin = || "Europe/Berlin".parse().unwrap();
        let window = match raw.more % 8 {
            0..=3 => Window::TOTAL,
            4 => Window::day(berlin()),
            5 => Window::month(31, berlin()).unwrap(),
            _ => Window::every(Duration::from_secs(100)).unwrap(),
        };
        let cap = match raw.more >> 5 {
            0..=3 => Cap::Spend(amount),
            4 | 5 => Cap::Requests(u64::from(raw.amount % 4)),
            _ => Cap::Tokens(u64::from(raw.amount) * 4),
        };
        Action::SetBudget { scope, window, cap }
    }

    /// A budget that was made before, if there is one, with another limit.
    fn changed_budget(&self, raw: Raw, amount: Amount, account: &AccountId) -> Action {
        let earlier = self.sent.iter().filter(|command| command.account() == account);
        let made: Vec<_> =
            earlier.map(|command| command.action()).filter(|action| action.name() == "set_budget").collect();
        let Some(Action::SetBudget { scope, window, cap }) = made.get(usize::from(raw.hold) % made.len().max(1)) else {
            return Self::budget(raw, amount);
        };
        let cap = Cap::from_parts(cap.metric(), amount.minor_units().unsigned_abs()).unwrap();
        Action::SetBudget { scope: scope.clone(), window: window.clone(), cap }
    }

    /// Leads the first hold to where it lapsed, was sealed, or was settled; or makes way for the extension of another.
    fn road(&self, choice: u8, steps: &mut Vec<Drawn>) {
        let hold = hold(0);
        let command = |action| Drawn::Command(Arc::new(Command::new(self.accounts[0].clone(), action)));
        let raw = Raw { kind: 25, account: 0, hold: 0, amount: 3, other: choice, flags: 0, more: choice };
        let reserve = command(self.reserve(raw, hold.clone(), amount(i64::from(choice % 9)), amount(1)));
        let report = || Action::Report {
            hold: hold.clone(),
            measured: Measured::new(amount(i64::from(choice / 16)), 0),
            above_ceiling: false,
        };
        let lapse = || [Drawn::Tick(70 * SECOND), command(Action::Lapse { hold: hold.clone() })];
        match choice % 8 {
            0 => steps.extend([reserve].into_iter().chain(lapse())),
            1 => steps.extend([reserve, command(report())].into_iter().chain(lapse())),
            2 | 3 | 5 => {
                steps.extend([reserve].into_iter().chain((choice % 8 != 2).then(|| command(report()))).chain(lapse()));
                steps.extend([Drawn::Tick(100 * SECOND), command(Action::Seal { hold })]);
            }
            4 => {
                let (measured, metadata) = (Measured::new(amount(i64::from(choice / 16)), 0), None);
                let settle =
                    Action::Settle { hold: hold.clone(), measured, or_debit: None, above_ceiling: false, metadata };
                let refund = Action::Refund {
                    hold,
                    key: operation("k1"),
                    amount: amount(i64::from(choice / 32)),
                    metadata: None,
                };
                steps.extend([reserve, command(settle), command(refund)]);
            }
            6 if choice < 128 => {
                let other = || self::hold(7);
                let overdue = command(self.reserve(raw, hold, amount(5), amount(1)));
                let small = command(self.reserve(raw, other(), amount(1), amount(1)));
                let extend = command(Action::Extend { hold: other(), target: amount(8), partial: false });
                steps.extend([overdue, Drawn::Tick(70 * SECOND), small, extend]);
            }
            _ => {}
        }
    }

    /// What a step is about, given how things stand.
    pub fn draw(&mut self, raw: Raw, model: &Model, now: Timestamp) -> Drawn {
        if raw.kind < 12 {
            return Drawn::Tick(tick(raw));
        }
        let command = match raw.kind {
            12..=17 => Arc::clone(self.earlier(raw)),
            18..=21 => Arc::new(self.mutated(raw)),
            22..=24 => {
                let earlier = self.earlier(raw);
                Arc::new(Command::new(self.account(raw.other).clone(), earlier.action().clone()))
            }
            _ => Arc::new(Command::new(self.account(raw.account).clone(), self.action(raw, model, now))),
        };
        self.sent.push(Arc::clone(&command));
        Drawn::Command(command)
    }

    /// One of the accounts, the first ones more often.
    pub fn account(&self, choice: u8) -> &AccountId {
        match choice % 8 {
            0..=4 => &self.accounts[0],
            5 | 6 => &self.accounts[1],
            _ => &self.accounts[2],
        }
    }

    fn earlier(&self, raw: Raw) -> &Arc<Command> {
        // Half of the time one of the last three: what a retry would send.
        let far = usize::from(raw.hold) * 26 + usize::from(raw.amount);
        let back = if raw.flags & 1 == 0 { usize::from(raw.amount % 3) } else { far };
        &self.sent[self.sent.len() - 1 - back % self.sent.len()]
    }

    /// An earlier command with one thing changed.
    fn mutated(&self, raw: Raw) -> Command {
        let earlier = self.earlier(raw);
        let mut action = earlier.action().clone();
        match &mut action {
            Action::Open { limits, policy, .. } | Action::SetLimits { limits, policy } => {
                *limits = self.limits(u32::from(raw.other));
                *policy = self.policy(u32::from(raw.other));
            }
            Action::Deposit { amount, .. }
            | Action::Withdraw { amount, .. }
            | Action::WriteOff { amount, .. }
            | Action::Refund { amount, .. } => *amount = plus(*amount, 1),
            Action::Adjust { reason, .. } | Action::SetStatus { reason, .. } => *reason = "another".into(),
            Action::Reserve { terms, token, .. } => match raw.flags % 4 {
                0 => *token = CallToken([raw.flags; 16]),
                1 => Arc::make_mut(terms).min = Some(amount(1)),
                2 => Arc::make_mut(terms).tokens += 1,
                _ => Arc::make_mut(terms).amount = plus(terms.amount, 1),
            },
            Action::Renew { ttl, .. } => *ttl = Some(Duration::from_secs(u64::from(raw.other) * 10)),
            Action::Extend { target, .. } => *target = plus(*target, 1),
            Action::Report { measured, .. }
            | Action::Settle { measured, .. }
            | Action::Debit { measured, .. }
            | Action::Correct { measured, .. } => {
                let Quantity { cost, tokens } = measured.quantity;
                *measured = match raw.flags % 3 {
                    0 => measured.clone().with_evidence(*b"other evidence"),
                    1 => Measured::new(cost, tokens + 1),
                    _ => Measured::new(plus(cost, 1), tokens),
                };
            }
            Action::Release { waive, .. } => *waive = !*waive,
            Action::Grant { amount, .. } => *amount = plus(*amount, 1),
            Action::SetBudget { cap, .. } => *cap = Cap::from_parts(cap.metric(), u64::from(raw.other)).unwrap(),
            Action::RemoveBudget { .. }
            | Action::ExpireLot { .. }
            | Action::Abandon { .. }
            | Action::Lapse { .. }
            | Action::Seal { .. }
            | Action::CloseBooks { .. }
            | Action::Checkpoint { .. }
            | Action::Prune { .. } => {}
        }
        Command::new(earlier.account().clone(), action)
    }

    fn action(&self, raw: Raw, model: &Model, now: Timestamp) -> Action {
        let account = self.account(raw.account);
        let hold = hold(raw.hold);
        let named = hold.clone();
        let pick = |choice| Self::amount(choice, raw, account, &named, (model, now));
        let key = operation(["k1", "k2", "k3"][usize::from(raw.other % 3)]);
        let flag = |bit: u8| raw.flags & (1 << bit) != 0;
        // The override of the ceiling is rare.
        let above_ceiling = flag(6) && flag(7);
        let measured = |choice| Measured::new(pick(choice), if flag(5) { u64::from(raw.other) } else { 0 });
        let metadata = None;
        match raw.kind {
            25..=44 => self.reserve(raw, hold, pick(raw.amount), pick(raw.other)),
            45..=48 => Action::Renew { hold, ttl: flag(3).then(|| Duration::from_secs(u64::from(raw.other) * 20)) },
            49..=56 => Action::Extend { hold, target: pick(raw.amount), partial: flag(2) },
            57..=66 => Action::Report { hold, measured: measured(raw.amount), above_ceiling },
            67..=78 => {
                let or_debit = flag(4).then(|| Arc::new(terms(raw)));
                Action::Settle { hold, measured: measured(raw.amount), or_debit, above_ceiling, metadata }
            }
            79..=83 => Action::Release { hold, waive: flag(3) },
            84..=86 => Action::Abandon { hold },
            87..=91 => Action::Lapse { hold },
            92..=96 => Action::Seal { hold },
            97..=102 => Action::Refund { hold, key, amount: pick(raw.amount), metadata },
            103..=108 => Action::Correct {
                expected: if flag(3) { pick(raw.other) } else { pick(18) },
                measured: measured(raw.amount),
                hold,
                key,
                above_ceiling,
                metadata,
            },
            109..=112 => {
                let terms = Arc::new(terms(raw));
                Action::Debit { hold, terms, measured: measured(raw.amount), above_ceiling, metadata }
            }
            113..=116 => Action::Deposit { key, amount: pick(raw.amount), metadata },
            117..=118 => Action::Withdraw { key, amount: pick(raw.amount), metadata },
            119..=120 => self.adjust(raw, key, pick(raw.amount)),
            121 => Action::WriteOff { key, amount: pick(raw.amount), reason: "forgiven".into(), metadata },
            122..=123 => {
                let turn = u32::from(raw.other);
                Action::SetLimits { limits: self.limits(turn), policy: self.policy(turn) }
            }
            124..=126 => {
                let status = [Status::Active, Status::Active, Status::Frozen, Status::Closed];
                Action::SetStatus { status: status[usize::from(raw.other % 4)], reason: "because".into() }
            }
            128..=135 => Self::grant(raw, key, pick(raw.amount), now),
            136..=138 => Action::ExpireLot { lot: u32::from(raw.amount % 5) },
            139..=141 => Self::budget(raw, pick(raw.amount)),
            142..=144 => self.changed_budget(raw, pick(raw.amount), account),
            145..=147 => match self.changed_budget(raw, pick(raw.amount), account) {
                Action::SetBudget { scope, window, cap } => {
                    Action::RemoveBudget { scope, window, metric: cap.metric() }
                }
                other => other,
            },
            _ => {
                let asset = if flag(3) { Asset::USD } else { Asset::new("EUR", 2).unwrap() };
                Action::Open { asset, limits: self.limits(0), policy: self.policy(0) }
            }
        }
    }

    fn reserve(&self, raw: Raw, hold: HoldId, amount: Amount, min: Amount) -> Action {
        let mut terms = terms(raw);
        terms.amount = amount;
        terms.min = (raw.flags & 0b1100 == 0b1100).then_some(min);
        if raw.flags & 0b1111_0000 == 0b1111_0000 {
            terms.overrun = Some(overrun(raw.other));
            terms.on_lapse = Some(on_lapse(raw.amount));
        }
        let lease = (raw.flags & 0b1111_0000 == 0b1110_0000).then_some(Lease { ttl: Duration::ZERO, ..LEASE });
        Action::Reserve { hold, terms: Arc::new(terms), lease, token: CallToken([raw.flags & 1; 16]), metadata: None }
    }

    fn adjust(&self, raw: Raw, key: OperationKey, amount: Amount) -> Action {
        let against = [Against::Funding, Against::Promotion, Against::Revenue, Against::WriteOff];
        let against = against[usize::from(raw.other % 4)];
        let amount: SignedAmount = if raw.flags & 1 == 0 { amount.signed() } else { amount.negated() };
        Action::Adjust { key, amount, against, reason: "a reason".into(), metadata: None }
    }

    /// An amount at an edge of what the account and the hold have just now.
    fn amount(choice: u8, raw: Raw, account: &AccountId, hold: &HoldId, (model, now): (&Model, Timestamp)) -> Amount {
        let account = model.account(account);
        let spendable = account.map_or(0, |account| account.spendable(terms(raw).model.as_ref(), now));
        let found = account.and_then(|account| account.hold(hold));
        let of = |part: fn(&prepaid::testing::HoldModel) -> i128| found.map_or(0, part);
        let left = of(|hold| hold.captured - hold.refunded);
        let huge = i128::from(prepaid::model::MINOR_UNITS_MAX);
        let units = match choice {
            0 => 0,
            1 => 1,
            2 => 3,
            3 => 5,
            4 => 8,
            5 => 10,
            6 => 13,
            7 => of(|hold| hold.held),
            8 => of(|hold| hold.held) + 1,
            9 => of(|hold| hold.held) - 1,
            10 => spendable,
            11 => spendable + 1,
            12 => spendable - 1,
            13 => of(|hold| hold.reported.0),
            14 => of(|hold| hold.reported.0) + 1,
            15 => of(|hold| hold.captured),
            16 => left,
            17 => left + 1,
            18 => of(|hold| hold.actual.map_or(hold.provisional.0, |actual| actual.0)),
            19 => of(|hold| hold.settled_as.map_or(0, |settled| settled.0)),
            20 => of(|hold| hold.held) * 10,
            21 => 20,
            22 => 21,
            23 => i128::from(raw.flags),
            24 if raw.flags >= 0xf0 => huge / 2 + i128::from(raw.flags & 3) - 1,
            25 if raw.flags >= 0xf0 => huge - i128::from(raw.flags & 3),
            _ => 7,
        };
        amount(i64::try_from(units.clamp(0, huge)).unwrap())
    }

    fn limits(&self, turn: u32) -> Limits {
        let [credit, debt, _, open_holds, hold, held, ceiling, ..] = self.setup.map(|byte| byte.rotate_left(turn));
        Limits {
            credit: amount([0, 0, 0, 3, 10][usize::from(credit % 5)]),
            debt: [None, None, None, Some(0), Some(4)][usize::from(debt % 5)].map(amount),
            open_holds: [None, None, None, Some(1), Some(2)][usize::from(open_holds % 5)],
            hold: [None, None, None, None, Some(9)][usize::from(hold % 5)].map(amount),
            held: [None, None, None, None, Some(12)][usize::from(held % 5)].map(amount),
            ceiling: [None, None, None, None, Some(20)][usize::from(ceiling % 5)].map(amount),
        }
    }

    fn policy(&self, turn: u32) -> Policy {
        let [.., first, second, _] = self.setup.map(|byte| byte.rotate_left(turn));
        Policy { on_lapse: on_lapse(first), overrun: overrun(second), lease: LEASE }
    }
}

/// What a request says of lots and budgets.
fn terms(raw: Raw) -> Terms {
    let mut terms = Terms::default();
    terms.model = [None, None, Some(model(0)), Some(model(1))][usize::from(raw.more % 4)].clone();
    terms.scopes = (0..2).filter(|number| raw.more & (4 << number) != 0).map(scope).collect();
    terms.tokens = [0, 0, 5, 50][usize::from(raw.more >> 4) % 4];
    terms
}

fn model(number: usize) -> ModelName {
    ModelName::new(MODELS[number]).unwrap()
}

fn scope(number: usize) -> Scope {
    Scope::new(SCOPES[number]).unwrap()
}

/// Clock steps at the edges of lease, grace and late window, back, and far.
fn tick(raw: Raw) -> i64 {
    match raw.amount % 13 {
        0 => 0,
        1 => 1,
        2 => 60 * SECOND - 1,
        3 => 60 * SECOND,
        4 => 10 * SECOND,
        5 => 70 * SECOND - 1,
        6 => 70 * SECOND,
        7 => 70 * SECOND + 1,
        8 => 100 * SECOND - 1,
        9 => 100 * SECOND,
        10 => 170 * SECOND,
        11 if raw.flags & 3 == 0 => -3_600 * SECOND,
        11 => -5 * SECOND,
        _ => 365 * 24 * 3_600 * SECOND,
    }
}

/// One of six holds, the first ones far more often.
fn hold(choice: u8) -> HoldId {
    let name = match choice {
        0..=6 => "h0#1",
        7..=10 => "h1#1",
        11 | 12 => "h2#1",
        13 => "h0#2",
        14 => "h3#1",
        _ => "h4#4294967295",
    };
    name.parse().unwrap()
}

fn on_lapse(choice: u8) -> OnLapse {
    [OnLapse::CaptureReported, OnLapse::Release, OnLapse::CaptureHeld][usize::from(choice % 3)]
}

fn overrun(choice: u8) -> Overrun {
    [Overrun::Debt, Overrun::CapToAvailable, Overrun::CapToHold][usize::from(choice % 3)]
}

fn operation(key: &str) -> OperationKey {
    key.parse().unwrap()
}

fn amount(units: i64) -> Amount {
    Amount::new(units).unwrap()
}

fn plus(amount: Amount, units: i64) -> Amount {
    Amount::new(amount.minor_units() + units).unwrap_or(Amount::ZERO)
}
