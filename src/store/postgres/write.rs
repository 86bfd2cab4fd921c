//! Rows as they go: what a batch changed, a statement for each kind of row, all rows of a kind at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use sqlx::AssertSqlSafe;
use sqlx::postgres::{PgArguments, PgConnection};

use super::bind::{self, count, of_bucket, one};
use super::fault::of_statement;
use super::{found, sql};
use crate::kernel::{ChangeSet, Counters, KeyTarget, Snapshot};
use crate::model::{Account, Budget, BudgetWindow, Entry, Hold, KeyHash, Lot, Pinned, Timestamp};
use crate::store::StoreError;

/// The rows of one kind that a batch changed.
#[derive(Clone, Copy)]
pub(super) enum Piece<'a> {
    NewAccounts(&'a [Arc<Account>]),
    NewBalances(&'a [Arc<Account>]),
    Balances(&'a [Arc<Account>]),
    WholeBalances(&'a [Arc<Account>]),
    OpenHolds(&'a [Arc<Hold>]),
    NewHolds(&'a [Arc<Hold>]),
    ClosedHolds(&'a [Arc<Hold>]),
    Holds(&'a [Arc<Hold>]),
    NewLots(&'a [Arc<Lot>]),
    Lots(&'a [Arc<Lot>]),
    Budgets(&'a [Arc<Budget>]),
    Windows(&'a [BudgetWindow]),
    HoldEntries(&'a [Entry]),
    Entries(&'a [Entry]),
    Keys(&'a [(KeyHash, KeyTarget)]),
    Bucket(Counters, Option<Timestamp>, i64),
}

/// The pieces of a batch that have rows; the bucket's own comes last.
///
/// Most columns of most rows are as they were, or as their defaults: a batch of reserves and settlements alone, as nearly all
/// are, sends half of them.
pub(super) fn pieces<'a>(changes: &'a ChangeSet, before: &Snapshot, version: i64) -> Vec<Piece<'a>> {
    let ChangeSet { accounts, new_holds, holds, entries, .. } = changes;
    let spent =
        |account: &Arc<Account>| before.accounts.get(&account.id).is_some_and(|was| is_only_spent(account, was));
    let closed = |hold: &Arc<Hold>| before.holds.get(&hold.key).is_some_and(|was| is_only_closed(hold, was));
    let mut pieces = vec![
        Piece::NewAccounts(&changes.new_accounts),
        Piece::NewBalances(&changes.new_accounts),
        if accounts.iter().all(spent) { Piece::Balances(accounts) } else { Piece::WholeBalances(accounts) },
        if new_holds.iter().all(|hold| is_only_open(hold)) {
            Piece::OpenHolds(new_holds)
        } else {
            Piece::NewHolds(new_holds)
        },
        if holds.iter().all(closed) { Piece::ClosedHolds(holds) } else { Piece::Holds(holds) },
        Piece::NewLots(&changes.new_lots),
        Piece::Lots(&changes.lots),
        Piece::Budgets(&changes.budgets),
        Piece::Windows(&changes.windows),
        if entries.iter().all(Entry::is_only_of_hold) { Piece::HoldEntries(entries) } else { Piece::Entries(entries) },
        Piece::Keys(&changes.keys),
        Piece::Bucket(changes.counters, changes.pause, version),
    ];
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

/// Statements that write several kinds of rows at once: what is written is the main statement, the bucket's, and before
/// it the other pieces, each in a `with` of its own. One statement is planned once, and is one round trip.
#[derive(Default)]
pub(super) struct Joined(Mutex<HashMap<u32, Arc<str>>>);

impl Joined {
    fn text(&self, pieces: &[Piece<'_>]) -> Arc<str> {
        let kinds = pieces.iter().fold(0, |kinds, piece| kinds | piece.kind());
        let mut texts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(texts.entry(kinds).or_insert_with(|| join(pieces).into()))
    }
}

fn join(pieces: &[Piece<'_>]) -> String {
    let mut text = String::new();
    let mut offset = 0;
    for (number, piece) in pieces.iter().enumerate() {
        let is_last = number.saturating_add(1) == pieces.len();
        let before = match (number, is_last) {
            (0, true) => String::new(),
            (0, false) => format!("with w{number} as ("),
            (_, true) => ") ".to_owned(),
            (_, false) => format!("), w{number} as ("),
        };
        text.push_str(&before);
        offset = renumber(&in_step(piece.statement()), offset, &mut text);
    }
    text
}

/// A statement whose arrays are walked in step: named in FROM, each of them is copied into a table of its own first, and
/// that takes as long as writing the rows. Rows it changes are found where they are changed.
fn in_step(statement: &str) -> String {
    let arrays = statement.split_once("unnest(").and_then(|(before, rest)| Some((before, rest.split_once(')')?)));
    let Some((before, (arrays, after))) = arrays else {
        return statement.to_owned();
    };
    let arrays = arrays.replace(", ", "), unnest(");
    let found =
        found::ROWS.iter().find_map(|(place, row)| Some((after.strip_suffix(place)?.strip_prefix(" x(")?, row)));
    match found {
        Some((names, row)) => format!("{before}(select $1::smallint, unnest({arrays})) x(bucket, {names}{row}"),
        None => format!("{before}(select unnest({arrays})){after}"),
    }
}

/// Appends a statement whose parameters, but for the bucket, begin `offset` later. Answers the offset of the next one.
fn renumber(statement: &str, offset: u32, text: &mut String) -> u32 {
    let mut parts = statement.split('$');
    text.extend(parts.next());
    let mut last = 1;
    for part in parts {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = part.split_at(digits);
        let number: u32 = number.parse().unwrap_or_default();
        last = last.max(number);
        let shifted = if number == 1 { 1 } else { number.saturating_add(offset) };
        text.push('$');
        text.push_str(&shifted.to_string());
        text.push_str(rest);
    }
    offset.saturating_add(last).saturating_sub(1)
}

/// Writes a batch's rows, in one statement or in one per kind of row.
pub(super) async fn write(
    connection: &mut PgConnection,
    bucket: i16,
    pieces: &[Piece<'_>],
    joined: Option<&Joined>,
    prepared: bool,
) -> Result<(), StoreError> {
    match joined {
        Some(joined) => {
            let mut arguments = of_bucket(bucket)?;
            pieces.iter().try_for_each(|piece| piece.bind(&mut arguments))?;
            let text = AssertSqlSafe(joined.text(pieces));
            sqlx::query_with(text, arguments).persistent(prepared).execute(connection).await.map_err(of_statement)?;
        }
        None => {
            for piece in pieces {
                let mut arguments = of_bucket(bucket)?;
                piece.bind(&mut arguments)?;
                let query = sqlx::query_with(piece.statement(), arguments).persistent(prepared);
                query.execute(&mut *connection).await.map_err(of_statement)?;
            }
        }
    }
    Ok(())
}

/// Writes what accounts are held to, which few batches change.
pub(super) async fn write_terms(
    connection: &mut PgConnection,
    bucket: i16,
    accounts: &[&Account],
    prepared: bool,
) -> Result<(), StoreError> {
    let mut arguments = of_bucket(bucket)?;
    bind::terms(&mut arguments, accounts)?;
    let query = sqlx::query_with(sql::UPDATE_ACCOUNT_TERMS, arguments).persistent(prepared);
    query.execute(connection).await.map(drop).map_err(of_statement)
}

impl<'a> Piece<'a> {
    fn is_empty(&self) -> bool {
        match self {
            Self::NewAccounts(rows) | Self::NewBalances(rows) => rows.is_empty(),
            Self::Balances(rows) | Self::WholeBalances(rows) => rows.is_empty(),
            Self::OpenHolds(rows) | Self::NewHolds(rows) | Self::ClosedHolds(rows) | Self::Holds(rows) => {
                rows.is_empty()
            }
            Self::NewLots(rows) | Self::Lots(rows) => rows.is_empty(),
            Self::Budgets(rows) => rows.is_empty(),
            Self::Windows(rows) => rows.is_empty(),
            Self::HoldEntries(rows) | Self::Entries(rows) => rows.is_empty(),
            Self::Keys(rows) => rows.is_empty(),
            Self::Bucket(..) => false,
        }
    }

    fn kind(&self) -> u32 {
        match self {
            Self::NewAccounts(_) => 1,
            Self::WholeBalances(_) => 1 << 1,
            Self::NewHolds(_) => 1 << 2,
            Self::Holds(_) => 1 << 3,
            Self::NewLots(_) => 1 << 4,
            Self::Lots(_) => 1 << 5,
            Self::Budgets(_) => 1 << 6,
            Self::Windows(_) => 1 << 7,
            Self::Entries(_) => 1 << 8,
            Self::Keys(_) => 1 << 9,
            Self::Bucket(..) => 1 << 10,
            Self::Balances(_) => 1 << 11,
            Self::OpenHolds(_) => 1 << 12,
            Self::ClosedHolds(_) => 1 << 13,
            Self::HoldEntries(_) => 1 << 14,
            Self::NewBalances(_) => 1 << 15,
        }
    }

    fn statement(&self) -> &'static str {
        match self {
            Self::NewAccounts(_) => sql::INSERT_ACCOUNT,
            Self::NewBalances(_) => sql::INSERT_BALANCE,
            Self::Balances(_) => sql::UPDATE_BALANCE,
            Self::WholeBalances(_) => sql::UPDATE_WHOLE_BALANCE,
            Self::OpenHolds(_) => sql::INSERT_OPEN_HOLD,
            Self::NewHolds(_) => sql::INSERT_HOLD,
            Self::ClosedHolds(_) => sql::UPDATE_CLOSED_HOLD,
            Self::Holds(_) => sql::UPDATE_HOLD,
            Self::NewLots(_) => sql::INSERT_LOT,
            Self::Lots(_) => sql::UPDATE_LOT,
            Self::Budgets(_) => sql::UPSERT_BUDGET,
            Self::Windows(_) => sql::UPSERT_WINDOW,
            Self::HoldEntries(_) => sql::INSERT_HOLD_ENTRY,
            Self::Entries(_) => sql::INSERT_ENTRY,
            Self::Keys(_) => sql::INSERT_KEY,
            Self::Bucket(..) => sql::UPDATE_BUCKET,
        }
    }

    fn bind(&self, arguments: &mut PgArguments) -> Result<(), StoreError> {
        match self {
            Self::NewAccounts(rows) => bind::new_accounts(arguments, rows),
            Self::Balances(rows) => bind::balances(arguments, rows),
            Self::NewBalances(rows) | Self::WholeBalances(rows) => bind::whole_balances(arguments, rows),
            Self::OpenHolds(rows) => bind::open_holds(arguments, rows),
            Self::NewHolds(rows) => bind::new_holds(arguments, rows),
            Self::ClosedHolds(rows) => bind::closed_holds(arguments, rows),
            Self::Holds(rows) => bind::holds(arguments, rows),
            Self::NewLots(rows) => bind::new_lots(arguments, rows),
            Self::Lots(rows) => bind::lots(arguments, rows),
            Self::Budgets(rows) => bind::budgets(arguments, rows),
            Self::Windows(rows) => bind::windows(arguments, rows),
            Self::HoldEntries(rows) => bind::hold_entries(arguments, rows),
            Self::Entries(rows) => bind::entries(arguments, rows),
            Self::Keys(rows) => bind::keys(arguments, rows),
            Self::Bucket(Counters { position, hold, account }, pause, version) => {
                one(arguments, count(*position))?;
                one(arguments, *hold)?;
                one(arguments, *account)?;
                one(arguments, pause.map_or(i64::MIN, Timestamp::as_micros))?;
                one(arguments, *version)
            }
        }
    }
}

/// Whether a hold that was made is as [`sql::INSERT_OPEN_HOLD`] leaves it.
fn is_only_open(hold: &Hold) -> bool {
    let Hold { number, account_number, key, token, held, opened_at, deadline, due, seq, .. } = *hold;
    let new = Hold::new(hold.id.clone(), number, account_number, key, Pinned::of(hold), opened_at);
    *hold == Hold { token, held, deadline, due, seq, ..new }
}

/// Whether a hold differs from what it was only in what [`sql::UPDATE_CLOSED_HOLD`] changes.
fn is_only_closed(hold: &Hold, before: &Hold) -> bool {
    let Hold { state, held, held_at_close, settled_as, actual, captured, closed_at, due, seq, .. } = *hold;
    let before = before.clone();
    *hold == Hold { state, held, held_at_close, settled_as, actual, captured, closed_at, due, seq, ..before }
}

/// Whether an account differs from what it was only in what [`sql::UPDATE_BALANCE`] changes, terms aside.
fn is_only_spent(account: &Account, before: &Account) -> bool {
    account.books.rest() == before.books.rest()
        && (account.lots_free, account.lapsed_holds, account.past)
            == (before.lots_free, before.lapsed_holds, before.past)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        AccountId, Amount, Asset, Books, ChainHash, HoldId, HoldState, Limits, Policy, Quantity, RequestId, Take,
    };

    #[test]
    fn rows_are_found_where_they_are_changed() {
        for statement in [sql::UPDATE_BALANCE, sql::UPDATE_WHOLE_BALANCE, sql::UPDATE_CLOSED_HOLD, sql::UPDATE_HOLD] {
            let text = in_step(statement);
            assert!(statement.contains("ctid") && !text.contains("ctid"), "{text}");
            assert!(text.contains("from (select $1::smallint, unnest($2::bigint[]), unnest("), "{text}");
            assert!(text.contains(" where (t.bucket = $1) is true and t.bucket = x.bucket and t."), "{text}");
        }
    }

    const ONE: Amount = Amount::MAX;
    const MANY: Quantity = Quantity { cost: ONE, tokens: 1 };

    fn hold() -> Hold {
        let pinned =
            Pinned { terms: None, direct: false, policy: Policy::default(), ceiling: None, windows: Vec::new() };
        let id = HoldId::first(RequestId::new("request").unwrap());
        Hold::new(id, 1, 1, KeyHash([1; 16]), pinned, Timestamp::from_micros(1))
    }

    fn take() -> Vec<Take> {
        vec![Take { lot: 1, held: ONE, used: ONE, forfeited: ONE }]
    }

    #[test]
    fn hold_that_is_more_than_open_is_written_whole() {
        let open = Hold { held: ONE, due: None, seq: 7, deadline: Timestamp::from_micros(9), ..hold() };
        assert!(is_only_open(&open));
        let more: [fn(&mut Hold); 11] = [
            |hold| hold.state = HoldState::Settled,
            |hold| hold.takes = take(),
            |hold| hold.held_at_close = ONE,
            |hold| hold.reported = MANY,
            |hold| hold.provisional = MANY,
            |hold| hold.settled_as = Some(Quantity::ZERO),
            |hold| hold.actual = Some(Quantity::ZERO),
            |hold| hold.captured = ONE,
            |hold| hold.written_off = ONE,
            |hold| hold.refunded = ONE,
            |hold| hold.closed_at = Some(Timestamp::from_micros(0)),
        ];
        for (case, change) in more.iter().enumerate() {
            let mut hold = open.clone();
            change(&mut hold);
            assert!(!is_only_open(&hold), "{case}");
        }
    }

    #[test]
    fn hold_that_changed_by_more_than_its_close_is_written_whole() {
        let before = Hold { reported: MANY, takes: take(), ..hold() };
        let (state, closed_at) = (HoldState::Settled, Some(Timestamp::from_micros(2)));
        let quantity = Some(Quantity::ZERO);
        let closed = Hold { state, closed_at, settled_as: quantity, actual: quantity, ..before.clone() };
        let closed = Hold { held_at_close: ONE, captured: ONE, due: None, seq: 8, ..closed };
        assert!(is_only_closed(&closed, &before));
        let more: [fn(&mut Hold); 6] = [
            |hold| hold.takes = Vec::new(),
            |hold| hold.reported = Quantity::ZERO,
            |hold| hold.provisional = MANY,
            |hold| hold.written_off = ONE,
            |hold| hold.refunded = ONE,
            |hold| hold.deadline = Timestamp::from_micros(0),
        ];
        for (case, change) in more.iter().enumerate() {
            let mut hold = closed.clone();
            change(&mut hold);
            assert!(!is_only_closed(&hold, &before), "{case}");
        }
    }

    #[test]
    fn account_that_changed_by_more_than_holds_is_written_whole() {
        let (limits, policy) = (Limits::default(), Policy::default());
        let id = AccountId::new("alice").unwrap();
        let before = Account::new(id, 1, Asset::USD, limits, policy, ChainHash::default());
        let mut spent = before.clone();
        spent.books = Books { available: ONE.signed(), held: ONE.signed(), revenue: ONE.signed(), ..before.books };
        (spent.open_holds, spent.seq, spent.last_position) = (1, 2, 3);
        assert!(is_only_spent(&spent, &before));
        let more: [fn(&mut Account); 10] = [
            |account| account.books.funding = ONE.signed(),
            |account| account.books.promotion = ONE.signed(),
            |account| account.books.breakage = ONE.signed(),
            |account| account.books.write_off = ONE.signed(),
            |account| account.books.available_promo = ONE.signed(),
            |account| account.books.held_promo = ONE.signed(),
            |account| account.books.revenue_promo = ONE.signed(),
            |account| account.lots_free = ONE,
            |account| account.lapsed_holds = 1,
            |account| account.past.closed = 1,
        ];
        for (case, change) in more.iter().enumerate() {
            let mut account = spent.clone();
            change(&mut account);
            assert!(!is_only_spent(&account, &before), "{case}");
        }
    }
}
