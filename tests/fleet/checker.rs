//! Judges what processes asked and were told by the journals they left behind.
//!
//! | | |
//! |---|---|
//! | H1 durability | whatever was accepted, or promised, is in the journal, with the same arguments |
//! | H2 no phantom | whatever is in the journal was asked for, with the same arguments |
//! | H3 clean refusal | whatever was only ever refused is not in the journal |
//! | H4 at most once | no name stands for two entries, nobody is told twice that it is new, and nothing stays unknown |
//! | H5 same answer | a question asked again is answered the same; under a used name, other arguments are refused |
//! | H6 model | each journal is what the kernel, and a model that shares nothing with it, make of the commands ([`crate::replay`]) |
//! | H7 real time | what was answered before something else was asked comes before it in the journal |
//! | H8 honest denial | there was a moment during each denial when there was not enough |
//! | H9 reads | what is told of an account was so at one moment of the asking, and no client goes back in time |
//!
//! A moment is a prefix of an account's journal. Which prefixes an asking may have met follows from who was answered
//! before it began and who asked after it was over. All times are one clock's, so nobody is accused wrongly.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use prepaid::model::{Body, Cap, Entry, EntryKind};

use crate::history::{Answer, Ask, Balance, Op};

/// A rule that was broken, and how.
#[derive(Debug)]
pub(crate) struct Violation {
    pub(crate) rule: &'static str,
    pub(crate) what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.what)
    }
}

/// The journals of all accounts, whole and in order.
pub(crate) type Journals = BTreeMap<String, Vec<Entry>>;

/// What all askers of one effect have in common: its account, its name, its arguments.
type Name = (String, String);
type Group<'a> = BTreeMap<(Name, i64), Vec<&'a Op>>;

/// An entry of a journal as the askers see it.
#[derive(Debug)]
struct Effect {
    /// None for what nobody asks for: a lapse.
    name: Option<(Name, i64)>,
    seq: u64,
    /// It was done after this moment: somebody had asked for it.
    after: u64,
    /// It was done before this moment: somebody was told so.
    before: u64,
    /// How the account stood with it, and what it had spent.
    balance: Balance,
    spent: i64,
}

/// Every rule that the history breaks, the first rules first.
pub(crate) fn violations(ops: &[Op], journals: &Journals) -> Vec<Violation> {
    let mut group = Group::new();
    for op in ops {
        if let Some(name) = name_of(&op.ask) {
            group.entry(((op.account.clone(), name), arguments_of(&op.ask))).or_default().push(op);
        }
    }
    let effects: BTreeMap<&String, Vec<Effect>> =
        journals.iter().map(|(account, entries)| (account, effects(account, entries, &group))).collect();
    let checker = Checker { ops, group, effects, found: Vec::new() };
    checker.run()
}

struct Checker<'a> {
    ops: &'a [Op],
    group: Group<'a>,
    effects: BTreeMap<&'a String, Vec<Effect>>,
    found: Vec<Violation>,
}

impl Checker<'_> {
    fn run(mut self) -> Vec<Violation> {
        let mut done: HashMap<Name, Vec<(i64, u64, u64)>> = HashMap::new();
        for effect in self.effects.values().flatten() {
            if let Some((name, arguments)) = &effect.name {
                done.entry(name.clone()).or_default().push((*arguments, effect.seq, effect.before));
            }
        }
        self.durable(&done);
        self.asked_for();
        self.refused_or_known(&done);
        self.once(&done);
        self.same_answers(&done);
        self.in_order();
        self.moments();
        self.found.sort_by_key(|violation| violation.rule);
        self.found
    }

    fn broken(&mut self, rule: &'static str, what: String) {
        self.found.push(Violation { rule, what });
    }

    /// H1.
    fn durable(&mut self, done: &HashMap<Name, Vec<(i64, u64, u64)>>) {
        for op in self.ops {
            let Some(name) = name_of(&op.ask).filter(|_| claims(op) || is_promised(op)) else { continue };
            let there = done.get(&(op.account.clone(), name)).and_then(|effects| effects.first());
            let wrong_entry =
                |seq: u64| matches!(&op.told, Some((_, Answer::Done { entry: Some(told), .. })) if *told != seq);
            match there {
                Some((arguments, seq, _)) if *arguments == arguments_of(&op.ask) && !wrong_entry(*seq) => {}
                other => self.broken("H1", format!("{op:?}: there is {other:?}")),
            }
        }
    }

    /// H2.
    fn asked_for(&mut self) {
        let of_nobody = |effect: &&Effect| effect.name.as_ref().is_some_and(|name| !self.group.contains_key(name));
        let phantoms: Vec<_> = self.effects.values().flatten().filter(of_nobody).map(|e| format!("{e:?}")).collect();
        phantoms.into_iter().for_each(|phantom| self.broken("H2", phantom));
    }

    /// H3, and what H4 says of the unknown.
    fn refused_or_known(&mut self, done: &HashMap<Name, Vec<(i64, u64, u64)>>) {
        let mut found = Vec::new();
        for (((account, name), arguments), ops) in &self.group {
            let broken: Vec<_> = ops.iter().filter(|op| matches!(&op.told, Some((_, Answer::Broken(_))))).collect();
            if let Some(op) = broken.first() {
                found.push(("H3", format!("an error that no fault excuses: {op:?}")));
            }
            let is_there =
                done.get(&(account.clone(), name.clone())).is_some_and(|all| all.iter().any(|(a, ..)| a == arguments));
            if ops.iter().any(|op| claims(op) || is_promised(op)) {
                continue;
            }
            let unknown = ops.iter().filter(|op| is_unknown(op)).map(|op| op.asked).max();
            let resolved = ops.iter().filter(|op| unknown < Some(op.asked)).find_map(|op| refusal(op));
            match (unknown, resolved) {
                (None, _) if is_there => found.push(("H3", format!("only refused, and done: {ops:?}"))),
                (Some(_), None) => found.push(("H4", format!("nobody knows what came of it: {ops:?}"))),
                // A hold that is closed is raised no more, whether it was or not.
                (Some(_), Some("Closed" | "LeaseLost")) => {}
                (Some(_), Some(_)) if is_there => found.push(("H4", format!("refused at last, and done: {ops:?}"))),
                (None | Some(_), _) => {}
            }
        }
        found.into_iter().for_each(|(rule, what)| self.broken(rule, what));
    }

    /// H4.
    fn once(&mut self, done: &HashMap<Name, Vec<(i64, u64, u64)>>) {
        for (name, effects) in done.iter().filter(|(_, effects)| effects.len() > 1) {
            self.broken("H4", format!("{name:?} was done {} times: {effects:?}", effects.len()));
        }
        let mut told: BTreeMap<&Name, Vec<&Op>> = BTreeMap::new();
        for ((name, _), ops) in &self.group {
            told.entry(name).or_default().extend(ops.iter().filter(|op| is_new(op)));
        }
        let twice: Vec<_> = told.into_values().filter(|ops| ops.len() > 1).map(|ops| format!("{ops:?}")).collect();
        twice.into_iter().for_each(|ops| self.broken("H4", format!("several were told that they did it: {ops}")));
    }

    /// H5.
    fn same_answers(&mut self, done: &HashMap<Name, Vec<(i64, u64, u64)>>) {
        let mut found = Vec::new();
        for ((name, arguments), ops) in &self.group {
            let kept: BTreeSet<_> = ops.iter().filter_map(|op| kept(op)).collect();
            if kept.len() > 1 {
                found.push(format!("answers differ: {kept:?} {ops:?}"));
            }
            let Some((of, _, before)) = done.get(name).and_then(|effects| effects.first()) else { continue };
            for op in ops {
                let is_same = of == arguments;
                let is_late = op.asked > *before;
                let raises = matches!(op.ask, Ask::Extend { .. });
                match refusal(op) {
                    Some("KeyReused" | "Conflict") if is_same => found.push(format!("it is the same: {op:?}")),
                    Some("KeyReused" | "Conflict") | None => {}
                    // A hold that is closed is raised no more; that it was before, nobody says.
                    Some("Closed" | "LeaseLost") if raises => {}
                    Some(_) if is_late => found.push(format!("it was done before, as {of}: {op:?}")),
                    Some(_) => {}
                }
            }
        }
        found.into_iter().for_each(|what| self.broken("H5", what));
    }

    /// H7.
    fn in_order(&mut self) {
        let mut found = Vec::new();
        for effects in self.effects.values() {
            let mut latest: Option<&Effect> = None;
            for effect in effects {
                if let Some(latest) = latest.filter(|latest| effect.before < latest.after) {
                    found.push(format!("{effect:?} was answered before anybody asked for {latest:?}"));
                }
                if latest.is_none_or(|latest| latest.after < effect.after) {
                    latest = Some(effect);
                }
            }
        }
        found.into_iter().for_each(|what| self.broken("H7", what));
    }

    /// H8 and H9.
    fn moments(&mut self) {
        let moments: HashMap<&String, Moments<'_>> =
            self.effects.iter().map(|(account, effects)| (*account, Moments::new(effects))).collect();
        let caps: HashMap<&String, i64> = self
            .ops
            .iter()
            .filter_map(|op| if let Ask::Budget(cap) = op.ask { Some((&op.account, cap)) } else { None })
            .collect();
        let mut found = Vec::new();
        let mut last_read: HashMap<(&String, &String), u64> = HashMap::new();
        let mut in_time: Vec<_> = self.ops.iter().collect();
        in_time.sort_by_key(|op| op.asked);
        for op in in_time {
            let (Some((told, answer)), Some(moments)) = (&op.told, moments.get(&op.account)) else { continue };
            let met = moments.met(op.asked, *told);
            match answer {
                Answer::Denied { asked, by_budget } => {
                    let left = |effect: &&Effect| match caps.get(&op.account).filter(|_| *by_budget) {
                        Some(cap) => cap - effect.spent - effect.balance.held,
                        None => effect.balance.available,
                    };
                    if !met.iter().any(|effect| left(&effect) < *asked) {
                        found.push(("H8", format!("there was enough: {op:?}, {met:?}")));
                    }
                }
                Answer::Read(balance) => {
                    if !met.iter().any(|effect| effect.balance == *balance) {
                        found.push(("H9", format!("it never was so: {op:?}, {met:?}")));
                    }
                    let before = last_read.insert((&op.client, &op.account), balance.seq).unwrap_or(0);
                    if balance.seq < before {
                        found.push(("H9", format!("back in time from {before}: {op:?}")));
                    }
                }
                Answer::Done { entry: Some(entry), balance: Some(balance), .. } => {
                    let with = usize::try_from(*entry).ok().and_then(|seq| moments.effects.get(seq.checked_sub(1)?));
                    if with.is_none_or(|effect| effect.balance != *balance) {
                        found.push(("H6", format!("the balance is another: {op:?}, {with:?}")));
                    }
                }
                Answer::Done { balance: Some(balance), .. } | Answer::Refused { balance: Some(balance), .. }
                    if !met.iter().any(|effect| effect.balance == *balance) =>
                {
                    found.push(("H9", format!("the balance never was so: {op:?}, {met:?}")));
                }
                _ => {}
            }
        }
        found.into_iter().for_each(|(rule, what)| self.broken(rule, what));
    }
}

/// An account's effects, and which of them an asking may have found as the last.
struct Moments<'a> {
    effects: &'a [Effect],
    /// By when they were answered: the latest of all answered until then.
    answered: Vec<(u64, u64)>,
    /// By when they were asked for, from the end: the earliest of all asked for since then.
    asked: Vec<(u64, u64)>,
}

impl<'a> Moments<'a> {
    fn new(effects: &'a [Effect]) -> Self {
        let mut answered: Vec<_> = effects.iter().map(|effect| (effect.before, effect.seq)).collect();
        answered.sort_unstable();
        let mut latest = 0;
        for (_, seq) in &mut answered {
            latest = latest.max(*seq);
            *seq = latest;
        }
        let mut asked: Vec<_> = effects.iter().map(|effect| (effect.after, effect.seq)).collect();
        asked.sort_unstable();
        let mut earliest = u64::MAX;
        for (_, seq) in asked.iter_mut().rev() {
            earliest = earliest.min(*seq);
            *seq = earliest;
        }
        Self { effects, answered, asked }
    }

    /// Each effect that may have been the last one between `from` and `to`.
    fn met(&self, from: u64, to: u64) -> &'a [Effect] {
        let answered = self.answered.partition_point(|(before, _)| *before < from);
        let first = answered.checked_sub(1).map_or(1, |last| self.answered[last].1);
        let asked = self.asked.partition_point(|(after, _)| *after <= to);
        let beyond = self.asked.get(asked).map_or(u64::MAX, |(_, seq)| *seq);
        // Numbers are dense from 1.
        let end = usize::try_from(beyond - 1).unwrap_or(usize::MAX).min(self.effects.len());
        let start = usize::try_from(first - 1).unwrap().min(end);
        &self.effects[start..end]
    }
}

fn effects(account: &str, entries: &[Entry], group: &Group<'_>) -> Vec<Effect> {
    let mut held: HashMap<String, i64> = HashMap::new();
    let mut spent = 0;
    let mut effects = Vec::new();
    for entry in entries {
        spent += entry.changes.revenue.minor_units();
        let hold = entry.hold.as_ref().map(ToString::to_string).unwrap_or_default();
        let of_hold = held.entry(hold).or_default();
        *of_hold += entry.changes.held.minor_units();
        let name = name_of_entry(entry, *of_hold).map(|(name, arguments)| ((account.to_owned(), name), arguments));
        let askers = name.as_ref().and_then(|name| group.get(name)).map(Vec::as_slice).unwrap_or_default();
        let answers = askers.iter().filter(|op| claims(op)).filter_map(|op| op.told.as_ref().map(|(at, _)| *at));
        let (available, held) = (entry.available_after.minor_units(), entry.held_after.minor_units());
        effects.push(Effect {
            name,
            seq: entry.seq,
            after: askers.iter().map(|op| op.asked).min().unwrap_or(0),
            before: answers.min().unwrap_or(u64::MAX),
            balance: Balance { seq: entry.seq, available, held },
            spent,
        });
    }
    effects
}

/// What the question is recognised by in a journal.
fn name_of(ask: &Ask) -> Option<String> {
    match ask {
        Ask::Open => Some("open".to_owned()),
        Ask::Budget(_) => Some("budget".to_owned()),
        Ask::Deposit { key, .. } => Some(format!("deposit {key}")),
        Ask::Reserve { hold, .. } => Some(format!("reserve {hold}#1")),
        Ask::Extend { hold, .. } => Some(format!("extend {hold}#1")),
        Ask::Settle { hold, .. } => Some(format!("settle {hold}#1")),
        Ask::Release { hold } => Some(format!("release {hold}#1")),
        Ask::Refund { hold, key, .. } => Some(format!("refund {hold}#1 {key}")),
        Ask::Read => None,
    }
}

fn arguments_of(ask: &Ask) -> i64 {
    match ask {
        Ask::Open | Ask::Release { .. } | Ask::Read => 0,
        Ask::Budget(units)
        | Ask::Deposit { units, .. }
        | Ask::Reserve { units, .. }
        | Ask::Extend { target: units, .. }
        | Ask::Settle { cost: units, .. }
        | Ask::Refund { units, .. } => *units,
    }
}

/// As [`name_of`] and [`arguments_of`]; `held` is what the entry's hold has with it. None for what is done unasked.
pub(crate) fn name_of_entry(entry: &Entry, held: i64) -> Option<(String, i64)> {
    let hold = entry.hold.as_ref().map(ToString::to_string).unwrap_or_default();
    let key = entry.key.as_ref().map(ToString::to_string).unwrap_or_default();
    let available = entry.changes.available.minor_units();
    Some(match (entry.kind, entry.body().unwrap()) {
        (EntryKind::Lapse, _) => return None,
        (EntryKind::Open, _) => ("open".to_owned(), 0),
        (EntryKind::Deposit, _) => (format!("deposit {key}"), available),
        (EntryKind::Reserve, _) => (format!("reserve {hold}"), held),
        (EntryKind::Extend, _) => (format!("extend {hold}"), held),
        (EntryKind::Settle, Body::Close(close)) => (format!("settle {hold}"), close.cost.cost.minor_units()),
        (EntryKind::Release, _) => (format!("release {hold}"), 0),
        (EntryKind::Refund, _) => (format!("refund {hold} {key}"), available),
        (EntryKind::BudgetChange, Body::Budget(budget)) => match budget.cap {
            Cap::Spend(cap) => ("budget".to_owned(), cap.minor_units()),
            _ => ("budget of another kind".to_owned(), 0),
        },
        (kind, _) => (format!("{kind:?} {hold} {key}"), available),
    })
}

/// Whether the answer says that it was done, now or before.
fn claims(op: &Op) -> bool {
    matches!(&op.told, Some((_, Answer::Done { outcome, .. })) if outcome != "AlreadySettled")
}

/// Whether the answer says that it was done now. To raise a hold that is high enough is `Ok` each time.
fn is_new(op: &Op) -> bool {
    let new = ["Ok", "OkLate", "Created"];
    let is_raise = matches!(op.ask, Ask::Extend { .. });
    matches!(&op.told, Some((_, Answer::Done { outcome, .. })) if !is_raise && new.contains(&&**outcome))
}

fn is_promised(op: &Op) -> bool {
    matches!(op.told, Some((_, Answer::Promised)))
}

fn is_unknown(op: &Op) -> bool {
    matches!(op.told, None | Some((_, Answer::Unknown)))
}

/// Why the ledger said no, where it said something.
fn refusal(op: &Op) -> Option<&str> {
    match &op.told {
        Some((_, Answer::Refused { name, .. })) => Some(name),
        Some((_, Answer::Denied { .. })) => Some("Denied"),
        Some((_, Answer::Done { outcome, .. })) if outcome == "AlreadySettled" => Some("AlreadySettled"),
        _ => None,
    }
}

fn kept(op: &Op) -> Option<&str> {
    match &op.told {
        Some((_, Answer::Done { kept, .. })) => kept.as_deref(),
        _ => None,
    }
}
