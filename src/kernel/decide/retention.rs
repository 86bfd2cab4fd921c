//! Closing the books, and letting go of what was archived: first a checkpoint, then the rows.

use std::sync::Arc;

use super::super::draft::{Details, Draft, Stop};
use super::super::{Outcome, Refusal};
use crate::model::{Body, Books, Checkpoint, Entry, EntryKind, KeyHash, LotKey, WindowKey};

/// From now on nothing changes any more what is final by entry `until`.
pub(super) fn close_books(draft: &mut Draft<'_>, until: u64) -> Result<Outcome, Stop> {
    if until > draft.account.seq {
        return Err(Refusal::ArchiveMismatch("there is no such entry yet").into());
    }
    if until <= draft.account.past.closed {
        return Ok(Outcome::Replayed);
    }
    draft.account.past.closed = until;
    Ok(Outcome::Ok)
}

/// Writes how the account stood at the cut. Lots and windows that were over there, and that no hold with later entries
/// has to do with, go with it.
pub(super) fn checkpoint(
    draft: &mut Draft<'_>,
    after: u64,
    checkpoint: &Arc<Checkpoint>,
    lots: &[LotKey],
    windows: &[WindowKey],
) -> Result<Outcome, Stop> {
    let past = draft.account.past;
    if checkpoint.cut == past.archived {
        return Ok(Outcome::Replayed);
    }
    if after != past.archived {
        return Err(Refusal::ArchiveMismatch("it does not follow the last one that has a checkpoint").into());
    }
    if checkpoint.cut < after || checkpoint.cut > past.closed {
        return Err(Refusal::ArchiveMismatch("books are not closed at the cut").into());
    }
    for standing in &checkpoint.holds {
        let hold = draft.hold(KeyHash::hold(&draft.account.id, &standing.id));
        if hold.is_none_or(|hold| hold.account_number != draft.account.number || !hold.is_final()) {
            return Err(Refusal::ArchiveMismatch("a hold that is not final has entries below the cut").into());
        }
    }
    let over = checkpoint.over();
    for key in lots {
        let lot = draft.lot(key.lot)?;
        let is_over = over.has_lot(key.lot, lot.terms.expiry, lot.free.is_zero());
        if key.account != draft.account.number || !is_over {
            return Err(Refusal::ArchiveMismatch("a lot is not over").into());
        }
    }
    for WindowKey { account, budget, start } in windows.iter().copied() {
        if account != draft.account.number || !over.has_window(budget, start) {
            return Err(Refusal::ArchiveMismatch("a window is not over").into());
        }
    }

    // From here on the command must succeed.
    let body = Body::Checkpoint(Arc::clone(checkpoint));
    draft.record(EntryKind::Checkpoint, Books::default(), &body, Details::default())?;
    draft.account.past.archived = checkpoint.cut;
    draft.account.past.checkpoint = draft.account.last_position;
    draft.pruned.lots.extend_from_slice(lots);
    draft.pruned.windows.extend_from_slice(windows);
    Ok(Outcome::Ok)
}

/// Takes away the next entries that are archived. A hold goes with the last entry that names it; keys stay and lead
/// nowhere.
pub(super) fn prune(draft: &mut Draft<'_>, entries: &[Entry]) -> Result<Outcome, Stop> {
    let past = draft.account.past;
    let mut pruned = past.pruned;
    for entry in entries.iter().filter(|entry| entry.seq > past.pruned) {
        let is_next = entry.seq == pruned.saturating_add(1) && entry.seq <= past.archived;
        if !is_next || entry.account_number != draft.account.number {
            return Err(Refusal::ArchiveMismatch("entries are not the next ones that are archived").into());
        }
        pruned = entry.seq;
        draft.pruned.entries.push(entry.position);
        draft.pruned.keys.extend(entry.operation());
        let Some(id) = &entry.hold else { continue };
        let hold = draft.hold(KeyHash::hold(&draft.account.id, id));
        if let Some(hold) = hold.filter(|hold| hold.seq == entry.seq && hold.is_closed_over(past.archived)) {
            draft.pruned.holds.push(hold.number);
            draft.pruned.keys.push(hold.key);
        }
    }
    draft.account.past.pruned = pruned;
    Ok(if pruned == past.pruned { Outcome::Replayed } else { Outcome::Ok })
}
