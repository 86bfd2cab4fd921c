//! Granting lots, and writing off what is left of them.

use std::sync::Arc;

use super::super::draft::{Details, Draft, Stop};
use super::super::{Outcome, Refusal};
use super::money::within_half;
use crate::model::{Amount, Body, Books, EntryKind, LotClass, LotTerms, Status};

/// Money for a lot: paid money comes from outside, promotional money is the operator's.
pub(super) fn grant(
    draft: &mut Draft<'_>,
    amount: Amount,
    terms: &Arc<LotTerms>,
    details: Details<'_>,
) -> Result<Outcome, Stop> {
    if draft.account.status == Status::Closed {
        return Err(Refusal::Status(draft.account.status).into());
    }
    if amount.is_zero() {
        return Err(Refusal::ZeroAmount.into());
    }
    if let Some(expiry) = terms.expiry.filter(|expiry| *expiry <= draft.now) {
        return Err(Refusal::ExpiryInPast { expiry, now: draft.now }.into());
    }
    let (more, counter) = (amount.signed(), amount.negated());
    let changes = match terms.class {
        LotClass::Paid => Books { available: more, funding: counter, ..Books::default() },
        LotClass::Promotional => {
            Books { available: more, promotion: counter, available_promo: more, ..Books::default() }
        }
    };
    let books = &draft.account.books;
    within_half(books, &books.checked_add(&changes).map_err(|_| Refusal::TotalTooLarge)?)?;

    // From here on the command must succeed.
    let lot = draft.make_lot(terms, amount)?;
    draft.record(EntryKind::Grant, changes, &Body::Grant { lot, terms: Arc::clone(terms) }, details)?;
    Ok(Outcome::Ok)
}

/// The sweeper looks at a lot that may have expired.
pub(super) fn expire(draft: &mut Draft<'_>, number: u32) -> Result<Outcome, Stop> {
    let Some(lot) = draft.live_lot(number)? else {
        return Ok(Outcome::NoOp);
    };
    if !lot.is_expired(draft.now) {
        return Ok(Outcome::NotDue);
    }
    draft.expire(&lot)?;
    Ok(Outcome::Expired)
}
