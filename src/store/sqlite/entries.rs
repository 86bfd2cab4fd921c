//! Entries on their way into their table.

use rusqlite::{CachedStatement, Connection, params, params_from_iter};

use super::rows::{Count, Signed, Units};
use super::sql;
use crate::model::{ArgumentsHash, Entry, HoldId, Label, Metadata, OperationKey};

/// Writes entries.
pub(super) struct Entries<'c> {
    of_holds: CachedStatement<'c>,
    any: CachedStatement<'c>,
}

impl<'c> Entries<'c> {
    pub(super) fn prepare(connection: &'c Connection) -> rusqlite::Result<Self> {
        let of_holds = connection.prepare_cached(sql::INSERT_HOLD_ENTRY)?;
        Ok(Self { of_holds, any: connection.prepare_cached(sql::INSERT_ENTRY)? })
    }

    pub(super) fn insert(&mut self, entry: &Entry) -> rusqlite::Result<usize> {
        let changes = &entry.changes;
        let of_hold = params![
            Count(entry.position),
            entry.account_number,
            Count(entry.seq),
            Count(entry.previous),
            entry.at.as_micros(),
            entry.kind.code(),
            Signed(changes.available),
            Signed(changes.held),
            Signed(changes.revenue),
            Signed(entry.available_after),
            Units(entry.held_after),
            entry.hold.as_ref().map(|hold| hold.request().as_str()),
            entry.hold.as_ref().map(HoldId::attempt),
            entry.label.as_ref().map(Label::as_str),
            &*entry.body,
            entry.hash.as_bytes(),
        ];
        if entry.is_only_of_hold() {
            return self.of_holds.execute(of_hold);
        }
        let rest = params![
            Signed(changes.funding),
            Signed(changes.promotion),
            Signed(changes.breakage),
            Signed(changes.write_off),
            Signed(changes.available_promo),
            Signed(changes.held_promo),
            Signed(changes.revenue_promo),
            entry.key.as_ref().map(OperationKey::as_str),
            entry.arguments.as_ref().map(ArgumentsHash::as_bytes),
            entry.metadata.as_ref().map(Metadata::as_bytes),
        ];
        self.any.execute(params_from_iter(of_hold.iter().chain(rest)))
    }
}
