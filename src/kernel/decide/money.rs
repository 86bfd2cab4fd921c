//! Money in and out, and operators' corrections of it.

use super::super::draft::{Details, Draft, Stop};
use super::super::{Action, Command, Outcome, Refusal};
use crate::model::{Against, Body, Books, EntryKind, MINOR_UNITS_MAX, Metadata, OperationKey, SignedAmount, Status};

/// The key of a money operation.
pub(super) fn key(action: &Action) -> Option<&OperationKey> {
    match action {
        Action::Deposit { key, .. }
        | Action::Withdraw { key, .. }
        | Action::Adjust { key, .. }
        | Action::WriteOff { key, .. }
        | Action::Grant { key, .. } => Some(key),
        _ => None,
    }
}

/// Decides a deposit, withdrawal, adjustment or write-off that was not done before.
pub(super) fn decide(draft: &mut Draft<'_>, command: &Command) -> Result<Outcome, Stop> {
    let status = draft.account.status;
    let (kind, amount, counter, reason, metadata) = match command.action() {
        Action::Deposit { amount, metadata, .. } => {
            if status == Status::Closed {
                return Err(Refusal::Status(status).into());
            }
            (EntryKind::Deposit, amount.signed(), Against::Funding, None, metadata)
        }
        Action::Withdraw { amount, metadata, .. } => {
            if status == Status::Frozen {
                return Err(Refusal::Status(status).into());
            }
            draft.expire_lots()?;
            let withdrawable = draft.withdrawable()?;
            if *amount > withdrawable {
                return Err(Refusal::InsufficientPaid { withdrawable }.into());
            }
            (EntryKind::Withdrawal, amount.negated(), Against::Funding, None, metadata)
        }
        Action::Adjust { amount, against, reason, metadata, .. } => {
            (EntryKind::Adjustment, *amount, *against, Some(reason), metadata)
        }
        Action::WriteOff { amount, reason, metadata, .. } => {
            let debt = draft.account.base().negative_part();
            if *amount > debt {
                return Err(Refusal::ExceedsDebt { debt }.into());
            }
            (EntryKind::WriteOff, amount.signed(), Against::WriteOff, Some(reason), metadata)
        }
        _ => return Ok(Outcome::NoOp),
    };
    if amount.is_zero() {
        return Err(Refusal::ZeroAmount.into());
    }
    let changes = moved(amount, counter);
    let books = &draft.account.books;
    within_half(books, &books.checked_add(&changes).map_err(|_| Refusal::TotalTooLarge)?)?;

    // From here on the command must succeed.
    let against = (kind == EntryKind::Adjustment).then_some(counter);
    let lots = if kind == EntryKind::Withdrawal { draft.take_paid(amount.negative_part())? } else { Vec::new() };
    let body = Body::Money { against, reason: reason.cloned(), lots };
    draft.record(kind, changes, &body, details(command, metadata.as_ref()))?;
    Ok(Outcome::Ok)
}

/// What the entry of a money operation says besides its postings.
pub(super) fn details<'a>(command: &'a Command, metadata: Option<&'a Metadata>) -> Details<'a> {
    let key = key(command.action()).zip(command.operation()).map(|(key, (hash, arguments))| (key, hash, arguments));
    Details { key, metadata, ..Details::default() }
}

/// `amount` into `available`, out of the ledger account it is against.
fn moved(amount: SignedAmount, against: Against) -> Books {
    let counter = amount.negated();
    let changes = Books { available: amount, ..Books::default() };
    match against {
        Against::Funding => Books { funding: counter, ..changes },
        Against::Promotion => Books { promotion: counter, ..changes },
        Against::Revenue => Books { revenue: counter, ..changes },
        Against::WriteOff => Books { write_off: counter, ..changes },
    }
}

/// Money from outside carries no total past half of its range, so that the settlements that follow fit. What leads
/// back towards zero, such as the repayment of a large debt, is always welcome.
pub(super) fn within_half(before: &Books, after: &Books) -> Result<(), Refusal> {
    let magnitude = |total: SignedAmount| total.minor_units().unsigned_abs();
    let half = MINOR_UNITS_MAX.unsigned_abs() / 2;
    let mut totals = before.columns().into_iter().zip(after.columns());
    let fits = totals.all(|(was, is)| magnitude(is) <= half.max(magnitude(was)));
    if fits { Ok(()) } else { Err(Refusal::TotalTooLarge) }
}
