//! What lots pay, and in which order.
//!
//! A hold remembers what it has of each lot but the base lot, whose part is the rest. Money moves between a lot's free
//! part and a hold's takes; the base lot moves by itself, being what the account's row has besides its lots.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::draft::{Details, Draft, Need, Stop};
use super::{Refusal, Snapshot};
use crate::model::{
    Account, Amount, Body, Books, BurnOrder, EntryKind, Hold, Lot, LotClass, LotKey, LotPart, LotTerms, ModelName,
    Renewed, SignedAmount, Take,
};

/// The lots of one account that are loaded, by number, as they stand.
#[derive(Clone, Debug, Default)]
pub(super) struct Lots(BTreeMap<u32, (Arc<Lot>, Mark)>);

/// What has to be written of a lot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    Kept,
    Changed,
    Made,
}

impl Lots {
    /// The lots of an account as the store loaded them.
    pub(super) fn loaded(snapshot: &Snapshot, account: i64) -> Self {
        let lots = snapshot.lots.get(&account).into_iter().flat_map(|lots| lots.iter());
        Self(lots.map(|(number, lot)| (*number, (Arc::clone(lot), Mark::Kept))).collect())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Lot>> {
        self.0.values().map(|(lot, _)| lot)
    }

    /// What was made and what was changed.
    pub(super) fn marked(self) -> impl Iterator<Item = (Arc<Lot>, Mark)> {
        self.0.into_values().filter(|(_, mark)| *mark != Mark::Kept)
    }

    fn get(&self, number: u32) -> Option<&Arc<Lot>> {
        self.0.get(&number).map(|(lot, _)| lot)
    }

    /// What is free of a lot.
    pub(super) fn free(&self, number: u32) -> Amount {
        self.get(number).map_or(Amount::ZERO, |lot| lot.free)
    }

    fn make(&mut self, lot: Lot) {
        self.0.insert(lot.number, (Arc::new(lot), Mark::Made));
    }

    fn set_free(&mut self, number: u32, free: Amount) {
        if let Some((lot, mark)) = self.0.get_mut(&number) {
            Arc::make_mut(lot).free = free;
            *mark = if *mark == Mark::Made { Mark::Made } else { Mark::Changed };
        }
    }
}

/// What a hold has of one lot; of the base lot where there is no other.
#[derive(Debug)]
struct Share {
    order: BurnOrder,
    lot: Option<Arc<Lot>>,
    take: Take,
}

impl Draft<'_> {
    /// What a hold for `model` can draw on now.
    pub(super) fn spendable(&mut self, model: Option<&ModelName>) -> Result<SignedAmount, Stop> {
        if self.account.lots_free.is_zero() {
            return Ok(self.account.spendable());
        }
        let now = self.now;
        let (account, lots) = self.with_live_lots()?;
        Ok(account.spendable_of(lots.iter().map(|lot| &**lot), model, now))
    }

    /// What may be paid out: paid money, unless the account owes some.
    pub(super) fn withdrawable(&mut self) -> Result<Amount, Stop> {
        let base = self.account.base();
        if base.is_negative() || self.account.lots_free.is_zero() {
            return Ok(base.positive_part());
        }
        let now = self.now;
        let (_, lots) = self.with_live_lots()?;
        let paid = lots.iter().filter(|lot| is_payable(lot, now)).map(|lot| lot.free);
        let sum = paid.chain([base.positive_part()]).try_fold(Amount::ZERO, Amount::checked_add);
        Ok(sum.map_err(|_| Refusal::TotalTooLarge)?)
    }

    /// Writes the expiry of every lot that expired with money in it: such money is never spent.
    pub(super) fn expire_lots(&mut self) -> Result<(), Stop> {
        if self.account.lots_free.is_zero() {
            return Ok(());
        }
        let now = self.now;
        let (_, lots) = self.with_live_lots()?;
        let expired = lots.iter().filter(|lot| !lot.free.is_zero() && lot.is_expired(now));
        let expired: Vec<_> = expired.map(Arc::clone).collect();
        expired.iter().try_for_each(|lot| self.expire(lot))
    }

    /// Writes the expiry of one lot: what is free of it is gone.
    pub(super) fn expire(&mut self, lot: &Lot) -> Result<(), Stop> {
        let (gone, counter) = (lot.free.negated(), lot.free.signed());
        let changes = match lot.terms.class {
            LotClass::Paid => Books { available: gone, breakage: counter, ..Books::default() },
            LotClass::Promotional => {
                Books { available: gone, promotion: counter, available_promo: gone, ..Books::default() }
            }
        };
        self.set_free(lot.number, Amount::ZERO)?;
        Ok(self.record(EntryKind::LotExpiry, changes, &Body::LotExpiry(lot.number), Details::default())?)
    }

    /// Makes a lot. Its money has to be booked besides.
    pub(super) fn make_lot(&mut self, terms: &Arc<LotTerms>, amount: Amount) -> Result<u32, Stop> {
        let number = self.account.last_lot.checked_add(1).ok_or(Refusal::TotalTooLarge)?;
        let key = LotKey { account: self.account.number, lot: number };
        self.account.last_lot = number;
        self.account.lots_free = added(self.account.lots_free, amount)?;
        let lot = Lot::new(key, Arc::clone(terms), amount, self.now);
        self.lots_before.insert(number, Amount::ZERO);
        self.lots().make(lot);
        Ok(number)
    }

    /// Takes free money for a hold, in the order in which lots are spent; a shortfall is the base lot's. Answers the
    /// hold's takes afterwards.
    pub(super) fn take(
        &mut self,
        takes: &[Take],
        amount: Amount,
        model: Option<&ModelName>,
        part: impl Fn(&mut Take) -> &mut Amount,
    ) -> Result<Vec<Take>, Stop> {
        let now = self.now;
        let mut takes = takes.to_vec();
        for LotPart { lot, amount } in self.burn(amount, |lot| lot.is_usable(model, now))? {
            let place = match takes.binary_search_by_key(&lot, |take| take.lot) {
                Ok(place) => place,
                Err(place) => {
                    takes.insert(place, Take::of(lot));
                    place
                }
            };
            if let Some(take) = takes.get_mut(place) {
                let part = part(take);
                *part = added(*part, amount)?;
            }
        }
        Ok(takes)
    }

    /// Takes paid money out, in the order in which lots are spent.
    pub(super) fn take_paid(&mut self, amount: Amount) -> Result<Vec<LotPart>, Stop> {
        let now = self.now;
        self.burn(amount, |lot| is_payable(lot, now))
    }

    /// Takes free money from the lots that may pay. Answers the parts of all but the base lot.
    fn burn(&mut self, amount: Amount, may_pay: impl Fn(&Lot) -> bool) -> Result<Vec<LotPart>, Stop> {
        if self.account.lots_free.is_zero() {
            return Ok(Vec::new());
        }
        let (account, lots) = self.with_live_lots()?;
        let paying = lots.iter().filter(|lot| !lot.free.is_zero() && may_pay(lot));
        let base = (BurnOrder::BASE, 0, account.base().positive_part());
        let mut sources: Vec<_> = paying.map(|lot| (lot.burn_order(), lot.number, lot.free)).chain([base]).collect();
        sources.sort_unstable();
        let mut parts = Vec::new();
        let mut left = amount;
        for (_, lot, free) in sources {
            let paid = free.min(left);
            left = left.saturating_sub(paid);
            if lot > 0 && !paid.is_zero() {
                self.set_free(lot, free.saturating_sub(paid))?;
                parts.push(LotPart { lot, amount: paid });
            }
        }
        Ok(parts)
    }

    /// Spends `captured` in all on a hold: first what it holds, then what it forfeited, then what is free; the rest goes
    /// back to where it came from, or is forfeited where that expired. Less than before is given back in the reverse
    /// order. Answers the hold's takes afterwards.
    pub(super) fn spend(&mut self, hold: &Hold, captured: Amount) -> Result<Vec<Take>, Stop> {
        if hold.takes.is_empty() && self.account.lots_free.is_zero() {
            return Ok(Vec::new());
        }
        let mut shares = self.shares(hold)?;
        let before = hold.refundable();
        let after = captured.saturating_sub(hold.refunded);
        if let Ok(less) = before.checked_sub(after)
            && !less.is_zero()
        {
            self.unspend(&mut shares, less, Self::return_or_forfeit)?;
            return Ok(takes_of(shares));
        }
        let mut more = after.saturating_sub(before);
        for share in &mut shares {
            move_part(&mut share.take, &mut more, |take| (&mut take.held, &mut take.used))?;
        }
        for share in &mut shares {
            move_part(&mut share.take, &mut more, |take| (&mut take.forfeited, &mut take.used))?;
        }
        for share in &mut shares {
            let rest = std::mem::take(&mut share.take.held);
            self.return_or_forfeit(share, rest)?;
        }
        let takes = takes_of(shares);
        if more.is_zero() { Ok(takes) } else { self.take(&takes, more, hold.model(), |take| &mut take.used) }
    }

    /// Gives `amount` of what a hold spent back, the last spent first; into a new lot where the old one expired. Answers
    /// the hold's takes afterwards and the lots that were made.
    pub(super) fn refund(&mut self, hold: &Hold, amount: Amount) -> Result<(Vec<Take>, Vec<Renewed>), Stop> {
        if hold.takes.is_empty() {
            return Ok((Vec::new(), Vec::new()));
        }
        let mut shares = self.shares(hold)?;
        let mut renewed = Vec::new();
        self.unspend(&mut shares, amount, |draft, share, amount| {
            let expired = share.lot.as_ref().filter(|lot| lot.is_expired(draft.now) && !amount.is_zero());
            let Some(old) = expired else {
                return draft.return_or_forfeit(share, amount);
            };
            let terms = LotTerms { expiry: Some(draft.now.saturating_add(Lot::RENEWAL)), ..(*old.terms).clone() };
            let terms = Arc::new(terms);
            let lot = draft.make_lot(&terms, amount)?;
            renewed.push(Renewed { from: old.number, lot, terms, amount });
            Ok(())
        })?;
        Ok((takes_of(shares), renewed))
    }

    /// Takes `less` of what was spent away from the shares, the last spent first.
    fn unspend(
        &mut self,
        shares: &mut [Share],
        less: Amount,
        mut give: impl FnMut(&mut Self, &mut Share, Amount) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        let mut left = less;
        for share in shares.iter_mut().rev() {
            let back = share.take.used.min(left);
            left = left.saturating_sub(back);
            share.take.used = share.take.used.saturating_sub(back);
            give(self, share, back)?;
        }
        Ok(())
    }

    /// Gives money back to the lot it came from; what comes back to an expired lot is forfeited.
    fn return_or_forfeit(&mut self, share: &mut Share, amount: Amount) -> Result<(), Stop> {
        match &share.lot {
            Some(lot) if lot.is_expired(self.now) => share.take.forfeited = added(share.take.forfeited, amount)?,
            Some(lot) if !amount.is_zero() => {
                let free = self.lot(lot.number)?.free;
                self.set_free(lot.number, added(free, amount)?)?;
            }
            // The base lot's is what is left over.
            Some(_) | None => {}
        }
        Ok(())
    }

    /// What the changes of a hold's takes mean for the promotional parts of the books, and what was forfeited of each
    /// class.
    pub(super) fn parts(&mut self, before: &[Take], after: &[Take]) -> Result<Books, Stop> {
        let mut books = Books::default();
        for (takes, sign) in [(before, -1), (after, 1)] {
            for take in takes {
                let signed = |amount: Amount| if sign > 0 { amount.signed() } else { amount.negated() };
                let class = self.lot(take.lot)?.terms.class;
                let total = take.total().map_err(|_| Refusal::TotalTooLarge)?;
                let add = |sum: &mut SignedAmount, change: SignedAmount| {
                    *sum = sum.checked_add(change).map_err(|_| Refusal::TotalTooLarge)?;
                    Ok::<(), Refusal>(())
                };
                add(&mut books.available, signed(take.forfeited).negated())?;
                match class {
                    LotClass::Paid => add(&mut books.breakage, signed(take.forfeited))?,
                    LotClass::Promotional => {
                        add(&mut books.promotion, signed(take.forfeited))?;
                        add(&mut books.available_promo, signed(total).negated())?;
                        add(&mut books.held_promo, signed(take.held))?;
                        add(&mut books.revenue_promo, signed(take.used))?;
                    }
                }
            }
        }
        Ok(books)
    }

    /// What a hold has of each lot, in the order in which lots are spent.
    fn shares(&mut self, hold: &Hold) -> Result<Vec<Share>, Stop> {
        let mut base = Take { held: hold.held, used: hold.refundable(), ..Take::default() };
        let mut shares = Vec::with_capacity(hold.takes.len().saturating_add(1));
        for take in &hold.takes {
            let lot = self.lot(take.lot)?;
            base.held = base.held.saturating_sub(take.held);
            base.used = base.used.saturating_sub(take.used);
            shares.push(Share { order: lot.burn_order(), lot: Some(lot), take: *take });
        }
        shares.push(Share { order: BurnOrder::BASE, lot: None, take: base });
        shares.sort_unstable_by_key(|share| share.order);
        Ok(shares)
    }

    /// The account, and its lots: all of those with free money, and maybe others.
    fn with_live_lots(&mut self) -> Result<(&Account, &Lots), Stop> {
        if !self.knows_live_lots() {
            return Err(Stop::Need(Need::LiveLots));
        }
        self.lots();
        self.lots.as_ref().map(|lots| (&self.account, lots)).ok_or(Stop::Need(Need::LiveLots))
    }

    /// A lot with free money; none: it is empty, was archived or never made.
    pub(super) fn live_lot(&mut self, number: u32) -> Result<Option<Arc<Lot>>, Stop> {
        if self.account.lots_free.is_zero() {
            return Ok(None);
        }
        let (_, lots) = self.with_live_lots()?;
        Ok(lots.get(number).filter(|lot| !lot.free.is_zero()).map(Arc::clone))
    }

    /// A lot that exists.
    pub(super) fn lot(&mut self, number: u32) -> Result<Arc<Lot>, Stop> {
        self.lots().get(number).map(Arc::clone).ok_or(Stop::Need(Need::Lot(number)))
    }

    fn set_free(&mut self, number: u32, free: Amount) -> Result<(), Stop> {
        let before = self.lot(number)?.free;
        let sum = added(self.account.lots_free, free)?;
        self.account.lots_free = sum.checked_sub(before).map_err(|_| Refusal::TotalTooLarge)?;
        self.lots_before.entry(number).or_insert(before);
        self.lots().set_free(number, free);
        Ok(())
    }
}

/// Whether a lot may be paid out.
fn is_payable(lot: &Lot, now: crate::model::Timestamp) -> bool {
    lot.terms.class == LotClass::Paid && !lot.is_expired(now)
}

/// Moves as much as is wanted, and there, from one part of a take to another.
fn move_part(
    take: &mut Take,
    wanted: &mut Amount,
    parts: impl Fn(&mut Take) -> (&mut Amount, &mut Amount),
) -> Result<(), Refusal> {
    let (from, to) = parts(take);
    let moved = (*from).min(*wanted);
    *wanted = wanted.saturating_sub(moved);
    *from = from.saturating_sub(moved);
    *to = added(*to, moved)?;
    Ok(())
}

/// The takes to keep: those of lots the hold still has something of, by number.
fn takes_of(shares: Vec<Share>) -> Vec<Take> {
    let kept = shares.into_iter().filter(|share| share.lot.is_some() && !share.take.is_nothing());
    let mut takes: Vec<_> = kept.map(|share| share.take).collect();
    takes.sort_unstable_by_key(|take| take.lot);
    takes
}

fn added(amount: Amount, more: Amount) -> Result<Amount, Refusal> {
    amount.checked_add(more).map_err(|_| Refusal::TotalTooLarge)
}
