//! Entries on their way into their table.

use rusqlite::{CachedStatement, Connection, Statement, params};

use super::rows::{Count, Signed, Units};
use super::sql;
use crate::model::{ArgumentsHash, Books, Entry, HoldId, Label, Metadata, OperationKey};

/// Writes entries.
pub(super) struct Entries<'c> {
    any: CachedStatement<'c>,
    plain: CachedStatement<'c>,
}

impl<'c> Entries<'c> {
    pub(super) fn prepare(connection: &'c Connection) -> rusqlite::Result<Self> {
        let plain = connection.prepare_cached(sql::INSERT_PLAIN_ENTRY)?;
        Ok(Self { any: connection.prepare_cached(sql::INSERT_ENTRY)?, plain })
    }

    pub(super) fn insert(&mut self, entry: &Entry) -> rusqlite::Result<usize> {
        match &entry.hold {
            Some(hold) if is_plain(entry) => insert_plain_entry(&mut self.plain, entry, hold),
            _ => insert_any_entry(&mut self.any, entry),
        }
    }
}

fn is_plain(Entry { changes, key, arguments, label, metadata, .. }: &Entry) -> bool {
    let plain =
        Books { available: changes.available, held: changes.held, revenue: changes.revenue, ..Books::default() };
    *changes == plain && key.is_none() && arguments.is_none() && label.is_none() && metadata.is_none()
}

fn insert_plain_entry(statement: &mut Statement<'_>, entry: &Entry, hold: &HoldId) -> rusqlite::Result<usize> {
    statement.execute(params![
        Count(entry.position),
        entry.account_number,
        Count(entry.seq),
        Count(entry.previous),
        entry.at.as_micros(),
        entry.kind.code(),
        Signed(entry.changes.available),
        Signed(entry.changes.held),
        Signed(entry.changes.revenue),
        Signed(entry.available_after),
        Units(entry.held_after),
        hold.request().as_str(),
        hold.attempt(),
        &*entry.body,
        entry.hash.as_bytes(),
    ])
}

fn insert_any_entry(statement: &mut Statement<'_>, entry: &Entry) -> rusqlite::Result<usize> {
    let changes = &entry.changes;
    statement.execute(params![
        Count(entry.position),
        entry.account_number,
        Count(entry.seq),
        Count(entry.previous),
        entry.at.as_micros(),
        entry.kind.code(),
        Signed(changes.available),
        Signed(changes.held),
        Signed(changes.revenue),
        Signed(changes.funding),
        Signed(changes.promotion),
        Signed(changes.breakage),
        Signed(changes.write_off),
        Signed(changes.available_promo),
        Signed(changes.held_promo),
        Signed(changes.revenue_promo),
        Signed(entry.available_after),
        Units(entry.held_after),
        entry.hold.as_ref().map(|hold| hold.request().as_str()),
        entry.hold.as_ref().map(HoldId::attempt),
        entry.key.as_ref().map(OperationKey::as_str),
        entry.arguments.as_ref().map(ArgumentsHash::as_bytes),
        entry.label.as_ref().map(Label::as_str),
        &*entry.body,
        entry.metadata.as_ref().map(Metadata::as_bytes),
        entry.hash.as_bytes(),
    ])
}
