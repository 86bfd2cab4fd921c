//! One account with the independent model beside it: every answer is compared, rows when asked for.

use prepaid::Timestamp;
use prepaid::clock::Clock;
use prepaid::kernel::{Action, Command, Reply};
use prepaid::model::LedgerId;
use prepaid::testing::{AccountModel, HoldModel, Model};

use super::one::One;
use super::random::Random;

/// A random history of one account.
pub struct Checked {
    pub one: One,
    pub dice: Random,
    model: Model,
    log: Vec<String>,
    keys: u32,
}

impl Checked {
    /// Goes on with an account that has no past but its opening and first deposit.
    pub fn new(one: One, dice: Random) -> Self {
        let mut checked = Self { one, dice, model: Model::default(), log: Vec::new(), keys: 0 };
        let account = checked.one.view();
        let open = Action::Open { asset: account.asset, limits: account.limits, policy: account.policy };
        let deposit = account.books.available.minor_units();
        let first = (deposit > 0).then(|| checked.one.deposit("first", deposit));
        for action in [open].into_iter().chain(first) {
            checked.model.run(&Command::new(account.id.clone(), action), checked.one.clock.now()).unwrap();
        }
        checked
    }

    /// Runs a command: it has to come to what the model says, and leave the balance the model has.
    pub fn run(&mut self, action: Action) -> Reply {
        let now = self.one.clock.now();
        let expected = self.model.run(&Command::new(self.one.account.clone(), action.clone()), now);
        let reply = self.one.run(action.clone());
        self.log.push(format!("{} {action:?} -> {:?}", now.as_micros(), reply.answer));
        assert_eq!(reply.answer, expected);
        let balance = reply.balance.unwrap();
        let found = [balance.available, balance.held.signed(), balance.spendable].map(|part| part.minor_units());
        let totals = self.account().totals();
        assert_eq!(found.map(i128::from), [totals.available, totals.held, self.account().spendable(None, now)]);
        reply
    }

    /// The account as the model has it.
    pub fn account(&self) -> &AccountModel {
        self.model.account(&self.one.account).unwrap()
    }

    /// One of the holds that are wanted, by chance, with its name.
    pub fn pick(&mut self, wanted: impl Fn(&HoldModel) -> bool) -> Option<(String, HoldModel)> {
        let mut found: Vec<_> = self.account().holds().filter(|(_, hold)| wanted(hold)).collect();
        found.sort_by_key(|(_, hold)| hold.number);
        let found: Vec<_> = found.into_iter().map(|(id, hold)| (id.to_string(), hold.clone())).collect();
        if found.is_empty() { None } else { Some(found[self.dice.below(found.len())].clone()) }
    }

    /// A key nobody used.
    pub fn key(&mut self) -> String {
        self.keys += 1;
        format!("k{}", self.keys)
    }

    /// A name for a new hold.
    pub fn name(&self) -> String {
        format!("h{}", self.account().holds().count())
    }

    pub fn now(&self) -> i64 {
        self.one.clock.now().as_micros()
    }

    pub fn pass_micros(&self, micros: i64) {
        self.one.clock.set(Timestamp::from_micros(self.now() + micros));
    }

    /// All rows obey their rules and are as the model has them.
    pub fn compare_rows(&self) {
        let rows = self.one.rows();
        rows.check(LedgerId([7; 16])).unwrap();
        self.model.compare(&rows).unwrap();
    }

    pub fn compare_audit(&self) {
        let audit = self.one.audit();
        assert!(audit.is_clean(), "{audit}");
    }

    /// Prints the history, with the seed it was drawn from.
    pub fn tell(&self, seed: u64) {
        eprintln!("PREPAID_SEED={seed} PREPAID_CASES=1\n{}", self.log.join("\n"));
    }
}
