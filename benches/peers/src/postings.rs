//! What a pair is to the peers, the same for both: postings between a customer's account, whose balance is what may be
//! spent, and the account of the house. Their template languages share the words used here.

use rust_decimal::Decimal;

use crate::load::{COST, Failure, HELD};

/// A kind of transaction, and the amounts it is posted with. It is also given a `name`, which can be used only once.
#[derive(Clone, Copy)]
pub(crate) struct Template {
    pub(crate) code: &'static str,
    /// In minor units.
    pub(crate) amounts: &'static [(&'static str, i64)],
    pub(crate) legs: &'static [Leg],
}

pub(crate) struct Leg {
    pub(crate) account: Account,
    pub(crate) direction: &'static str,
    pub(crate) layer: &'static str,
    pub(crate) units: &'static str,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Account {
    Customer,
    House,
}

pub(crate) const DEPOSIT: Template = Template {
    code: "deposit",
    amounts: &[("paid", PAID)],
    legs: &[credit(Account::Customer, "SETTLED", "params.paid"), debit(Account::House, "SETTLED", "params.paid")],
};

/// The reserve.
pub(crate) const HOLD: Template = Template {
    code: "hold",
    amounts: &[("held", HELD)],
    legs: &[debit(Account::Customer, "PENDING", "params.held"), credit(Account::House, "PENDING", "params.held")],
};

/// The settlement: what was held comes back first, so that a limit on the balance has room for the cost.
pub(crate) const SETTLEMENT: Template = Template {
    code: "settlement",
    amounts: &[("held", HELD), ("cost", COST)],
    legs: &[
        credit(Account::Customer, "PENDING", "params.held"),
        debit(Account::House, "PENDING", "params.held"),
        debit(Account::Customer, "SETTLED", "params.cost"),
        credit(Account::House, "SETTLED", "params.cost"),
    ],
};

/// More than there is.
pub(crate) const OVERDRAFT: Template = Template { amounts: &[("held", PAID + 1)], ..HOLD };

pub(crate) const TEMPLATES: [&Template; 3] = [&DEPOSIT, &HOLD, &SETTLEMENT];

/// What the customer pays in before anything is measured.
const PAID: i64 = 1_000_000_000_000_000;

/// Minor units of `USD/9` as the peers count them.
pub(crate) fn dollars(minor: i64) -> Decimal {
    Decimal::new(minor, 9)
}

/// Whether the customer's balance is what pairs leave behind: nothing held, and whole pairs paid for.
pub(crate) fn agree(settled: Decimal, pending: Decimal) -> Result<(), Failure> {
    let spent = dollars(PAID) - settled;
    let agreed = pending.is_zero() && spent > Decimal::ZERO && (spent % dollars(COST)).is_zero();
    agreed.then_some(()).ok_or_else(|| format!("{spent} was spent and {pending} is held").into())
}

const fn debit(account: Account, layer: &'static str, units: &'static str) -> Leg {
    Leg { account, direction: "DEBIT", layer, units }
}

const fn credit(account: Account, layer: &'static str, units: &'static str) -> Leg {
    Leg { account, direction: "CREDIT", layer, units }
}
