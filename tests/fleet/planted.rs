//! The checker sees what it is for: a history that is in order passes, and with one thing wrong in it, it breaks the rule
//! that says so.

use prepaid::model::{Entry, EntryKind, LedgerId};
use prepaid::{Ledger, SignedAmount};

use crate::checker::{Journals, violations};
use crate::history::{Answer, Ask, Client, Op, read};
use crate::replay;

/// A small history with everything in it, and the journal it left.
struct Scene {
    ops: Vec<Op>,
    journals: Journals,
    ledger: LedgerId,
}

impl Scene {
    async fn new() -> Self {
        let log = tempfile::NamedTempFile::new().unwrap();
        let ledger = Ledger::builder().sweep_every(None).open("memory:").await.unwrap();
        let alice = ledger.account("alice").unwrap();
        let mut client = Client::new("one".to_owned(), log.path());
        for words in [
            "open",
            "deposit d 100",
            "reserve a 10",
            "extend a 15",
            "read",
            "settle a 12",
            "reserve b 100",
            "reserve b 60",
            "deposit d 100",
            "deposit d 50",
            "settle a 12",
            "settle a 3",
            "refund a r 2",
            "release b",
            "read",
            "read",
            "reserve c 5",
            "settle c 5",
            "deposit e 7",
            "reserve f 9",
        ] {
            client.ask(&alice, ask(words)).await;
        }
        let journal = alice.journal(0, u32::MAX).await.unwrap();
        let journals = Journals::from([("alice".to_owned(), journal)]);
        Self { ops: read([log.path()]), journals, ledger: ledger.id() }
    }

    fn journal(&mut self) -> &mut Vec<Entry> {
        self.journals.get_mut("alice").unwrap()
    }

    /// The first asking of this.
    fn op(&mut self, words: &str) -> &mut Op {
        let wanted = ask(words);
        self.ops.iter_mut().find(|op| op.ask == wanted).unwrap()
    }

    fn told(&mut self, words: &str) -> &mut Answer {
        &mut self.op(words).told.as_mut().unwrap().1
    }

    /// One more question with its answer, after all others.
    fn add(&mut self, words: &str, answer: Answer) {
        let mut op = self.ops.last().unwrap().clone();
        let (last, _) = op.told.unwrap();
        (op.ask, op.asked, op.told) = (ask(words), last + 1, Some((last + 2, answer)));
        self.ops.push(op);
    }

    async fn broken(&self) -> Vec<&'static str> {
        let mut found = violations(&self.ops, &self.journals);
        found.extend(replay::violations(self.ledger, &self.journals).await);
        found.iter().for_each(|violation| println!("{violation}"));
        let mut rules: Vec<_> = found.into_iter().map(|violation| violation.rule).collect();
        rules.sort_unstable();
        rules.dedup();
        rules
    }
}

/// `reserve a 10` and the like.
fn ask(words: &str) -> Ask {
    let words: Vec<_> = words.split(' ').collect();
    let text = |at: usize| words[at].to_owned();
    let units = || words[words.len() - 1].parse().unwrap();
    match words[0] {
        "open" => Ask::Open,
        "deposit" => Ask::Deposit { key: text(1), units: units() },
        "reserve" => Ask::Reserve { hold: text(1), units: units() },
        "extend" => Ask::Extend { hold: text(1), target: units() },
        "settle" => Ask::Settle { hold: text(1), cost: units() },
        "release" => Ask::Release { hold: text(1) },
        "refund" => Ask::Refund { hold: text(1), key: text(2), units: units() },
        "read" => Ask::Read,
        other => panic!("{other}"),
    }
}

fn done(outcome: &str) -> Answer {
    Answer::Done { outcome: outcome.to_owned(), entry: None, balance: None, kept: None }
}

fn refused(name: &str) -> Answer {
    Answer::Refused { name: name.to_owned(), balance: None }
}

#[tokio::test]
async fn history_in_order_breaks_no_rule() {
    let mut scene = Scene::new().await;
    assert_eq!(scene.broken().await, [""; 0]);
    // What nobody was told may have been done, and may not.
    scene.op("settle c 5").told = None;
    scene.add("settle c 5", done("Replayed"));
    scene.add("settle f 4", Answer::Unknown);
    scene.add("settle f 4", refused("Sealed"));
    assert_eq!(scene.broken().await, [""; 0]);
}

#[tokio::test]
async fn h1_accepted_and_lost() {
    let mut scene = Scene::new().await;
    scene.add("deposit lost 5", done("Ok"));
    assert_eq!(scene.broken().await, ["H1"]);
}

#[tokio::test]
async fn h1_accepted_with_other_arguments() {
    let mut scene = Scene::new().await;
    scene.add("deposit e 8", done("Replayed"));
    assert_eq!(scene.broken().await, ["H1"]);
}

#[tokio::test]
async fn h1_promised_and_forgotten() {
    let mut scene = Scene::new().await;
    scene.add("settle f 4", Answer::Promised);
    assert_eq!(scene.broken().await, ["H1"]);
}

#[tokio::test]
async fn h2_nobody_asked_for_it() {
    let mut scene = Scene::new().await;
    scene.ops.retain(|op| op.ask != ask("deposit e 7"));
    assert_eq!(scene.broken().await, ["H2"]);
}

#[tokio::test]
async fn h3_refused_and_done() {
    let mut scene = Scene::new().await;
    *scene.told("deposit e 7") = Answer::NotDone;
    assert_eq!(scene.broken().await, ["H3"]);
}

#[tokio::test]
async fn h3_error_that_no_fault_excuses() {
    let mut scene = Scene::new().await;
    scene.add("deposit new 7", Answer::Broken("Internal".to_owned()));
    assert_eq!(scene.broken().await, ["H3"]);
}

#[tokio::test]
async fn h4_done_twice() {
    let mut scene = Scene::new().await;
    scene.ops.pop();
    scene.journal().pop();
    let mut again = scene.journal().last().unwrap().clone();
    again.seq += 1;
    scene.journal().push(again);
    // A kernel would not have written it either.
    assert_eq!(scene.broken().await, ["H4", "H6"]);
}

#[tokio::test]
async fn h4_two_were_told_that_they_made_it() {
    let mut scene = Scene::new().await;
    let answer = scene.told("reserve a 10").clone();
    scene.add("reserve a 10", answer);
    assert_eq!(scene.broken().await, ["H4"]);
}

#[tokio::test]
async fn h4_unknown_for_ever() {
    let mut scene = Scene::new().await;
    scene.op("deposit e 7").told = None;
    assert_eq!(scene.broken().await, ["H4"]);
}

#[tokio::test]
async fn h4_unknown_then_refused_and_done_all_the_same() {
    let mut scene = Scene::new().await;
    scene.op("deposit e 7").told = None;
    scene.add("deposit e 7", refused("Status"));
    assert_eq!(scene.broken().await, ["H4"]);
}

#[tokio::test]
async fn h5_another_answer_the_second_time() {
    let mut scene = Scene::new().await;
    let Answer::Done { kept, .. } = scene.told("settle a 12") else { panic!() };
    *kept = Some("another time".to_owned());
    assert_eq!(scene.broken().await, ["H5"]);
}

#[tokio::test]
async fn h5_the_same_is_called_another() {
    let mut scene = Scene::new().await;
    scene.add("deposit e 7", refused("KeyReused"));
    assert_eq!(scene.broken().await, ["H5"]);
}

#[tokio::test]
async fn h5_what_was_done_is_refused_later() {
    let mut scene = Scene::new().await;
    scene.add("settle a 12", refused("UnknownHold"));
    assert_eq!(scene.broken().await, ["H5"]);
}

#[tokio::test]
async fn h6_balance_of_an_answer_is_another() {
    let mut scene = Scene::new().await;
    let Answer::Done { balance: Some(balance), .. } = scene.told("deposit e 7") else { panic!() };
    balance.available += 1;
    assert_eq!(scene.broken().await, ["H6"]);
}

#[tokio::test]
async fn h6_journal_is_not_what_the_commands_come_to() {
    let mut scene = Scene::new().await;
    let last = scene.journal().last_mut().unwrap();
    assert_eq!(last.kind, EntryKind::Reserve);
    last.available_after = last.available_after.checked_add(SignedAmount::new(1).unwrap()).unwrap();
    assert_eq!(scene.broken().await, ["H6"]);
}

#[tokio::test]
async fn h7_answered_first_and_written_last() {
    let mut scene = Scene::new().await;
    let early = scene.op("deposit e 7").asked;
    let op = scene.op("reserve f 9");
    (op.asked, op.told) = (early - 2, op.told.clone().map(|(_, answer)| (early - 1, answer)));
    assert_eq!(scene.broken().await, ["H7"]);
}

#[tokio::test]
async fn h8_denied_with_enough_money() {
    let mut scene = Scene::new().await;
    scene.add("reserve new 4", Answer::Denied { asked: 4, by_budget: false });
    assert_eq!(scene.broken().await, ["H8"]);
}

#[tokio::test]
async fn h9_fractured_read() {
    let mut scene = Scene::new().await;
    let Answer::Read(balance) = scene.told("read") else { panic!() };
    balance.held = 10;
    assert_eq!(scene.broken().await, ["H9"]);
}

#[tokio::test]
async fn h9_read_of_the_past() {
    let mut scene = Scene::new().await;
    let past = scene.told("read").clone();
    scene.add("read", past);
    assert_eq!(scene.broken().await, ["H9"]);
}
