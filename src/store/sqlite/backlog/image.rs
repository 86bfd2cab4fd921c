//! The rows a batch changed, as bytes: only what can have changed.
//!
//! A blob is the CRC-32 of what follows: the bucket's counters, then records one after the other, each with its kind in
//! front.

use std::sync::Arc;

use rusqlite::{Connection, Row as Columns, params};

use super::super::commit::{find, prepare};
use super::super::fault::of_statement;
use super::super::{credit, rows as columns, sql};
use super::rows::{Row, Rows, changed};
use crate::kernel::{ChangeSet, Counters};
use crate::model::codec::{Reader, Writer, read_amount, read_number, read_quantity, write_amount, write_quantity};
use crate::model::{
    Account, AccountId, Books, BudgetWindow, CallToken, ChainHash, Hold, HoldId, HoldState, KeyHash, Lot, LotKey,
    Malformed, Pinned, RequestId, SignedAmount, Timestamp, WindowKey, decode_takes, encode_takes,
};
use crate::store::StoreError;

const ACCOUNT: u8 = 0;
const NEW_HOLD: u8 = 1;
const HOLD: u8 = 2;
const LOT: u8 = 3;
const WINDOW: u8 = 4;

/// The rows a batch changed; none: nothing that waits.
pub(super) fn encode(changes: &ChangeSet) -> Option<Vec<u8>> {
    let count = changed(changes);
    if count == 0 {
        return None;
    }
    let mut writer = Writer::with_capacity(count.saturating_mul(160));
    [0; 4].into_iter().for_each(|byte| writer.byte(byte));
    write_counters(&mut writer, changes.counters);
    changes.accounts.iter().for_each(|account| write_account(&mut writer, account));
    changes.new_holds.iter().for_each(|hold| write_new_hold(&mut writer, hold));
    changes.holds.iter().for_each(|hold| write_hold(&mut writer, hold));
    changes.lots.iter().for_each(|lot| write_lot(&mut writer, lot));
    changes.windows.iter().for_each(|window| write_window(&mut writer, window));
    let mut blob = writer.finish();
    if let Some((sum, rows)) = blob.split_first_chunk_mut::<4>() {
        *sum = crc32fast::hash(rows).to_be_bytes();
    }
    Some(blob)
}

/// A blob's number, the counters and the rows in it. What a record does not say is as it was before.
pub(super) fn decode(
    connection: &Connection,
    before: &Rows,
    blob: &Columns<'_>,
) -> Result<(i64, Counters, Vec<Row>), StoreError> {
    let batch: i64 = blob.get(0).map_err(of_statement)?;
    let bytes = blob.get_ref(1).map_err(of_statement)?.as_blob().map_err(|_| Malformed("blob"))?;
    let (sum, rows) = bytes.split_first_chunk::<4>().ok_or(Malformed("too short"))?;
    if crc32fast::hash(rows).to_be_bytes() != *sum {
        return Err(Malformed("checksum").into());
    }
    let was = Was { connection, before };
    let mut reader = Reader::new(rows);
    let counters = read_counters(&mut reader)?;
    let mut found = Vec::new();
    while !reader.is_empty() {
        found.push(match reader.byte()? {
            ACCOUNT => Row::Account(Arc::new(read_account(&mut reader, &was)?)),
            NEW_HOLD => Row::Hold(read_new_hold(&mut reader)?),
            HOLD => Row::Hold(read_hold(&mut reader, &was)?),
            LOT => Row::Lot(read_lot(&mut reader, &was)?),
            WINDOW => Row::Window(read_window(&mut reader)?),
            _ => return Err(Malformed("record").into()),
        });
    }
    Ok((batch, counters, found))
}

/// Rows as they were before a blob.
struct Was<'a> {
    connection: &'a Connection,
    before: &'a Rows,
}

impl Was<'_> {
    fn account(&self, id: &AccountId) -> Result<Account, StoreError> {
        if let Some(account) = self.before.account(id) {
            return Ok(Account::clone(account));
        }
        let found = find(&mut prepare(self.connection, sql::SELECT_ACCOUNT)?, [id.as_str()], columns::account)?;
        found.ok_or_else(|| Malformed("account without a row").into())
    }

    fn hold(&self, key: KeyHash, number: i64) -> Result<Arc<Hold>, StoreError> {
        if let Some(hold) = self.before.hold(key) {
            return Ok(Arc::clone(hold));
        }
        let found = find(&mut prepare(self.connection, sql::SELECT_HOLD)?, [number], columns::hold)?;
        found.ok_or_else(|| Malformed("hold without a row").into())
    }

    fn lot(&self, key: LotKey) -> Result<Arc<Lot>, StoreError> {
        if let Some(lot) = self.before.lot(key) {
            return Ok(Arc::clone(lot));
        }
        let params = params![key.account, key.lot];
        let found = find(&mut prepare(self.connection, sql::SELECT_LOT)?, params, credit::lot)?;
        found.ok_or_else(|| Malformed("lot without a row").into())
    }
}

fn write_counters(writer: &mut Writer, counters: Counters) {
    writer.unsigned(counters.position);
    writer.signed(counters.hold);
    writer.signed(counters.account);
}

fn read_counters(reader: &mut Reader<'_>) -> Result<Counters, Malformed> {
    Ok(Counters { position: reader.unsigned()?, hold: reader.signed()?, account: reader.signed()? })
}

fn write_account(writer: &mut Writer, account: &Account) {
    writer.byte(ACCOUNT);
    writer.bytes(account.id.as_str().as_bytes());
    account.books.columns().iter().for_each(|column| writer.signed(column.minor_units()));
    write_amount(writer, account.lots_free);
    writer.unsigned(u64::from(account.open_holds));
    writer.unsigned(u64::from(account.lapsed_holds));
    writer.unsigned(account.seq);
    writer.bytes(account.head.as_bytes());
    writer.unsigned(account.last_position);
    writer.signed(account.last_entry_at.as_micros());
}

fn read_account(reader: &mut Reader<'_>, was: &Was<'_>) -> Result<Account, StoreError> {
    let id = AccountId::new(reader.text()?).map_err(|_| Malformed("account"))?;
    let mut account = was.account(&id)?;
    let mut books = [SignedAmount::ZERO; 10];
    for column in &mut books {
        *column = SignedAmount::new(reader.signed()?).map_err(|_| Malformed("amount"))?;
    }
    account.books = Books::from_columns(books);
    account.lots_free = read_amount(reader)?;
    account.open_holds = read_number(reader)?;
    account.lapsed_holds = read_number(reader)?;
    account.seq = reader.unsigned()?;
    account.head = ChainHash(read_bytes(reader)?);
    account.last_position = reader.unsigned()?;
    account.last_entry_at = read_time(reader)?;
    Ok(account)
}

fn write_new_hold(writer: &mut Writer, hold: &Hold) {
    writer.byte(NEW_HOLD);
    writer.signed(hold.number);
    writer.signed(hold.account_number);
    writer.bytes(hold.key.as_bytes());
    writer.bytes(hold.id.request().as_str().as_bytes());
    writer.unsigned(u64::from(hold.id.attempt()));
    writer.bytes(hold.token.as_bytes());
    writer.bytes(&Pinned::of(hold).encode());
    writer.signed(hold.opened_at.as_micros());
    write_state(writer, hold);
}

fn read_new_hold(reader: &mut Reader<'_>) -> Result<Arc<Hold>, Malformed> {
    let number = reader.signed()?;
    let account_number = reader.signed()?;
    let key = KeyHash(read_bytes(reader)?);
    let request = RequestId::new(reader.text()?).map_err(|_| Malformed("request"))?;
    let id = HoldId::of(request, read_number(reader)?).map_err(|_| Malformed("attempt"))?;
    let token = CallToken(read_bytes(reader)?);
    let pinned = Pinned::decode(reader.bytes()?)?;
    let hold = Hold::new(id, number, account_number, key, pinned, read_time(reader)?);
    read_state(reader, Hold { token, ..hold }).map(Arc::new)
}

fn write_hold(writer: &mut Writer, hold: &Hold) {
    writer.byte(HOLD);
    writer.bytes(hold.key.as_bytes());
    writer.signed(hold.number);
    write_state(writer, hold);
}

fn read_hold(reader: &mut Reader<'_>, was: &Was<'_>) -> Result<Arc<Hold>, StoreError> {
    let key = KeyHash(read_bytes(reader)?);
    let hold = was.hold(key, reader.signed()?)?;
    Ok(Arc::new(read_state(reader, Arc::unwrap_or_clone(hold))?))
}

/// All of a hold that changes.
fn write_state(writer: &mut Writer, hold: &Hold) {
    writer.byte(hold.state.code());
    write_amount(writer, hold.held);
    write_amount(writer, hold.held_at_close);
    write_quantity(writer, hold.reported);
    write_quantity(writer, hold.provisional);
    writer.option(hold.settled_as, write_quantity);
    writer.option(hold.actual, write_quantity);
    write_amount(writer, hold.captured);
    write_amount(writer, hold.written_off);
    write_amount(writer, hold.refunded);
    writer.signed(hold.deadline.as_micros());
    writer.option(hold.closed_at, |writer, time| writer.signed(time.as_micros()));
    writer.option(hold.due, |writer, time| writer.signed(time.as_micros()));
    writer.option(encode_takes(&hold.takes), |writer, takes| writer.bytes(&takes));
    writer.unsigned(hold.seq);
}

fn read_state(reader: &mut Reader<'_>, hold: Hold) -> Result<Hold, Malformed> {
    Ok(Hold {
        state: HoldState::from_code(reader.byte()?)?,
        held: read_amount(reader)?,
        held_at_close: read_amount(reader)?,
        reported: read_quantity(reader)?,
        provisional: read_quantity(reader)?,
        settled_as: reader.option(read_quantity)?,
        actual: reader.option(read_quantity)?,
        captured: read_amount(reader)?,
        written_off: read_amount(reader)?,
        refunded: read_amount(reader)?,
        deadline: read_time(reader)?,
        closed_at: reader.option(read_time)?,
        due: reader.option(read_time)?,
        takes: reader.option(|reader| decode_takes(reader.bytes()?))?.unwrap_or_default(),
        seq: reader.unsigned()?,
        ..hold
    })
}

fn write_lot(writer: &mut Writer, lot: &Lot) {
    writer.byte(LOT);
    writer.signed(lot.account_number);
    writer.unsigned(u64::from(lot.number));
    write_amount(writer, lot.free);
}

fn read_lot(reader: &mut Reader<'_>, was: &Was<'_>) -> Result<Arc<Lot>, StoreError> {
    let key = LotKey { account: reader.signed()?, lot: read_number(reader)? };
    let lot = was.lot(key)?;
    Ok(Arc::new(Lot { free: read_amount(reader)?, ..Arc::unwrap_or_clone(lot) }))
}

fn write_window(writer: &mut Writer, window: &BudgetWindow) {
    writer.byte(WINDOW);
    writer.signed(window.key.account);
    writer.unsigned(u64::from(window.key.budget));
    writer.signed(window.key.start.as_micros());
    writer.unsigned(window.used);
    writer.unsigned(window.held);
}

fn read_window(reader: &mut Reader<'_>) -> Result<BudgetWindow, Malformed> {
    let key = WindowKey { account: reader.signed()?, budget: read_number(reader)?, start: read_time(reader)? };
    Ok(BudgetWindow { key, used: reader.unsigned()?, held: reader.unsigned()? })
}

fn read_bytes<const N: usize>(reader: &mut Reader<'_>) -> Result<[u8; N], Malformed> {
    reader.bytes()?.try_into().map_err(|_| Malformed("hash"))
}

fn read_time(reader: &mut Reader<'_>) -> Result<Timestamp, Malformed> {
    reader.signed().map(Timestamp::from_micros)
}
