//! Rows as they come: columns in the order of the statements in `sql`.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgRow, Postgres};
use sqlx::{Decode, Row, Type};

use super::fault::corrupt;
use crate::kernel::{KeyTarget, Operation};
use crate::model::{
    Account, AccountId, Amount, ArgumentsHash, Asset, Books, Budget, BudgetWindow, CallToken, Cap, ChainHash, Entry,
    EntryKind, Hold, HoldId, HoldState, KeyHash, Label, Lease, Limits, Lot, LotClass, LotKey, LotTerms, Metadata,
    Metric, OnLapse, OperationKey, Overrun, Past, Pinned, Policy, Quantity, RequestId, Scope, SignedAmount, Status,
    Timestamp, Window, WindowKey, decode_takes,
};
use crate::store::StoreError;

/// Reads the columns of a row one after the other; what cannot be is reported with the table's name.
pub(super) struct Columns<'r> {
    row: &'r PgRow,
    table: &'static str,
    next: usize,
}

impl<'r> Columns<'r> {
    pub(super) fn new(row: &'r PgRow, table: &'static str) -> Self {
        Self { row, table, next: 0 }
    }

    pub(super) fn get<T: Decode<'r, Postgres> + Type<Postgres>>(&mut self) -> Result<T, StoreError> {
        let column = self.next;
        self.next = column.saturating_add(1);
        // Whether the type is right is seen when the value is read.
        self.row.try_get_unchecked(column).map_err(|error| self.damaged(error))
    }

    /// A column that is made into something else.
    pub(super) fn map<T: Decode<'r, Postgres> + Type<Postgres>, U, E: Display>(
        &mut self,
        make: impl FnOnce(T) -> Result<U, E>,
    ) -> Result<U, StoreError> {
        let value = self.get()?;
        make(value).map_err(|error| self.damaged(error))
    }

    /// A column that may be null, made into something else.
    fn optional<T: Decode<'r, Postgres> + Type<Postgres>, U, E: Display>(
        &mut self,
        make: impl FnOnce(T) -> Result<U, E>,
    ) -> Result<Option<U>, StoreError> {
        let value: Option<T> = self.get()?;
        value.map(make).transpose().map_err(|error| self.damaged(error))
    }

    fn text(&mut self) -> Result<&'r str, StoreError> {
        self.get()
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], StoreError> {
        self.map(array)
    }

    fn code<T, E: Display>(&mut self, make: impl FnOnce(u8) -> Result<T, E>) -> Result<T, StoreError> {
        let code: i16 = self.get()?;
        let code = u8::try_from(code).map_err(|error| self.damaged(error))?;
        make(code).map_err(|error| self.damaged(error))
    }

    fn amount(&mut self) -> Result<Amount, StoreError> {
        self.map(Amount::new)
    }

    pub(super) fn unsigned(&mut self) -> Result<u64, StoreError> {
        self.map(|value: i64| u64::try_from(value))
    }

    pub(super) fn number(&mut self) -> Result<u32, StoreError> {
        self.map(|value: i64| u32::try_from(value))
    }

    fn quantity(&mut self) -> Result<Quantity, StoreError> {
        Ok(Quantity { cost: self.amount()?, tokens: self.unsigned()? })
    }

    /// A quantity in two columns that are null together.
    fn optional_quantity(&mut self) -> Result<Option<Quantity>, StoreError> {
        let cost = self.optional(Amount::new)?;
        let tokens = self.optional(|value: i64| u64::try_from(value))?;
        Ok(cost.map(|cost| Quantity { cost, tokens: tokens.unwrap_or(0) }))
    }

    pub(super) fn time(&mut self) -> Result<Timestamp, StoreError> {
        self.get().map(Timestamp::from_micros)
    }

    fn optional_time(&mut self) -> Result<Option<Timestamp>, StoreError> {
        let micros: Option<i64> = self.get()?;
        Ok(micros.map(Timestamp::from_micros))
    }

    fn span(&mut self) -> Result<Duration, StoreError> {
        self.unsigned().map(Duration::from_micros)
    }

    /// What holds change in an account's books.
    fn spent(&mut self) -> Result<Books, StoreError> {
        let mut next = || self.map(SignedAmount::new);
        Ok(Books { available: next()?, held: next()?, revenue: next()?, ..Books::default() })
    }

    fn read_rest(&mut self, books: &mut Books) -> Result<(), StoreError> {
        let Books { funding, promotion, breakage, write_off, available_promo, held_promo, revenue_promo, .. } = books;
        for column in [funding, promotion, breakage, write_off, available_promo, held_promo, revenue_promo] {
            *column = self.map(SignedAmount::new)?;
        }
        Ok(())
    }

    pub(super) fn account_id(&mut self) -> Result<AccountId, StoreError> {
        self.map(|id: &str| AccountId::new(id))
    }

    /// An account, and the bucket it was placed in.
    pub(super) fn placement(&mut self) -> Result<(AccountId, i16), StoreError> {
        Ok((self.account_id()?, self.get()?))
    }

    pub(super) fn hold_id(&mut self) -> Result<HoldId, StoreError> {
        let request = self.map(|id: &str| RequestId::new(id))?;
        let attempt = self.number()?;
        HoldId::of(request, attempt).map_err(|error| self.damaged(error))
    }

    pub(super) fn hold_state(&mut self) -> Result<HoldState, StoreError> {
        self.code(HoldState::from_code)
    }

    /// What a key leads to: its hash, its target, and the operation if it is one. The hold's columns follow.
    pub(super) fn keyed(&mut self) -> Result<(KeyHash, KeyTarget, Option<Operation>), StoreError> {
        let (key, target) = self.key()?;
        let name = self.optional(|key: &str| OperationKey::new(key))?;
        let arguments = self.optional(|bytes: &[u8]| array(bytes).map(ArgumentsHash))?;
        let seq = self.optional(|seq: i64| u64::try_from(seq))?;
        let operation = name.zip(arguments).zip(seq);
        Ok((key, target, operation.map(|((key, arguments), seq)| Operation { key, arguments, seq })))
    }

    pub(super) fn key(&mut self) -> Result<(KeyHash, KeyTarget), StoreError> {
        Ok((KeyHash(self.bytes()?), key_target(self.get()?)))
    }

    pub(super) fn account(&mut self) -> Result<Account, StoreError> {
        let number = self.get()?;
        let id = self.account_id()?;
        let asset: Asset = self.map(|asset: &str| asset.parse::<Asset>())?;
        let status = self.code(Status::from_code)?;
        let limits = Limits {
            credit: self.amount()?,
            debt: self.optional(Amount::new)?,
            open_holds: self.optional(|count: i64| u32::try_from(count))?,
            hold: self.optional(Amount::new)?,
            held: self.optional(Amount::new)?,
            ceiling: self.optional(Amount::new)?,
        };
        let policy = Policy {
            on_lapse: self.code(OnLapse::from_code)?,
            overrun: self.code(Overrun::from_code)?,
            lease: Lease { ttl: self.span()?, grace: self.span()?, late: self.span()? },
        };
        let mut account = Account::new(id, number, asset, limits, policy, ChainHash::default());
        account.status = status;
        account.last_lot = self.number()?;
        account.last_budget = self.number()?;
        account.budgets = self.number()?;
        account.books = self.spent()?;
        account.open_holds = self.number()?;
        account.seq = self.unsigned()?;
        account.head = ChainHash(self.bytes()?);
        account.last_position = self.unsigned()?;
        account.last_entry_at = self.time()?;
        self.read_rest(&mut account.books)?;
        account.lots_free = self.amount()?;
        account.lapsed_holds = self.number()?;
        account.past = Past::of(self.unsigned()?, self.unsigned()?, self.unsigned()?, self.unsigned()?);
        Ok(account)
    }

    pub(super) fn hold(&mut self) -> Result<Arc<Hold>, StoreError> {
        let number = self.get()?;
        let account_number = self.get()?;
        let key = KeyHash(self.bytes()?);
        let id = self.hold_id()?;
        let token = CallToken(self.bytes()?);
        let pinned = self.map(Pinned::decode)?;
        Ok(Arc::new(Hold {
            id,
            number,
            account_number,
            key,
            token,
            terms: pinned.terms,
            direct: pinned.direct,
            policy: pinned.policy,
            ceiling: pinned.ceiling,
            windows: pinned.windows,
            held: self.amount()?,
            opened_at: self.time()?,
            deadline: self.time()?,
            due: self.optional_time()?,
            seq: self.unsigned()?,
            state: self.hold_state()?,
            takes: self.optional(decode_takes)?.unwrap_or_default(),
            held_at_close: self.amount()?,
            reported: self.quantity()?,
            provisional: self.quantity()?,
            settled_as: self.optional_quantity()?,
            actual: self.optional_quantity()?,
            captured: self.amount()?,
            written_off: self.amount()?,
            refunded: self.amount()?,
            closed_at: self.optional_time()?,
        }))
    }

    /// An entry whose account's name comes from elsewhere, or from the column after its own.
    pub(super) fn entry(&mut self, account: Option<&AccountId>) -> Result<Entry, StoreError> {
        let mut entry = Entry {
            position: self.unsigned()?,
            account_number: self.get()?,
            seq: self.unsigned()?,
            previous: self.unsigned()?,
            at: self.time()?,
            kind: self.code(EntryKind::from_code)?,
            changes: self.spent()?,
            available_after: self.map(SignedAmount::new)?,
            held_after: self.amount()?,
            hold: self.optional_hold_id()?,
            label: self.optional(|label: &str| Label::new(label))?,
            body: Arc::from(self.get::<&[u8]>()?),
            hash: ChainHash(self.bytes()?),
            key: None,
            arguments: None,
            metadata: None,
            account: account.cloned().map_or_else(placeholder, Ok)?,
        };
        self.read_rest(&mut entry.changes)?;
        entry.key = self.optional(|key: &str| OperationKey::new(key))?;
        entry.arguments = self.optional(|bytes: &[u8]| array(bytes).map(ArgumentsHash))?;
        entry.metadata = self.get::<Option<&[u8]>>()?.map(Metadata::from_stored);
        if account.is_none() {
            entry.account = self.account_id()?;
        }
        Ok(entry)
    }

    fn optional_hold_id(&mut self) -> Result<Option<HoldId>, StoreError> {
        let request = self.optional(|id: &str| RequestId::new(id))?;
        let attempt = self.optional(|attempt: i64| u32::try_from(attempt))?;
        let id = request.map(|request| HoldId::of(request, attempt.unwrap_or_default()));
        id.transpose().map_err(|error| self.damaged(error))
    }

    pub(super) fn lot(&mut self) -> Result<Arc<Lot>, StoreError> {
        let key = LotKey { account: self.get()?, lot: self.number()? };
        let terms = LotTerms {
            class: self.code(LotClass::from_code)?,
            expiry: self.optional_time()?,
            priority: self.map(|priority: i64| i32::try_from(priority))?,
            models: self.optional(LotTerms::models_from_text)?.unwrap_or_default(),
        };
        let amount = self.amount()?;
        let free = self.amount()?;
        let mut lot = Lot::new(key, Arc::new(terms), amount, self.time()?);
        lot.free = free;
        Ok(Arc::new(lot))
    }

    pub(super) fn budget(&mut self) -> Result<Arc<Budget>, StoreError> {
        let account_number = self.get()?;
        let number = self.number()?;
        let scope = match self.text()? {
            "" => None,
            scope => Some(Scope::new(scope).map_err(|error| self.damaged(error))?),
        };
        let window: Window = self.map(|window: &str| window.parse::<Window>())?;
        let metric = self.code(Metric::from_code)?;
        let cap = self.unsigned()?;
        let cap = Cap::from_parts(metric, cap).map_err(|error| self.damaged(error))?;
        let active = self.get()?;
        Ok(Arc::new(Budget { account_number, number, scope, window, cap, active, version: self.number()? }))
    }

    pub(super) fn window(&mut self) -> Result<BudgetWindow, StoreError> {
        let key = WindowKey { account: self.get()?, budget: self.number()?, start: self.time()? };
        Ok(BudgetWindow { key, used: self.unsigned()?, held: self.unsigned()? })
    }

    fn damaged(&self, cause: impl Display) -> StoreError {
        let column = self.next;
        corrupt(format!("row cannot be read, restore a backup: {cause}: table={} column={column}", self.table))
    }
}

pub(super) fn account(row: &PgRow) -> Result<Account, StoreError> {
    Columns::new(row, "accounts").account()
}

pub(super) fn hold(row: &PgRow) -> Result<Arc<Hold>, StoreError> {
    Columns::new(row, "holds").hold()
}

pub(super) fn entry(row: &PgRow, account: Option<&AccountId>) -> Result<Entry, StoreError> {
    Columns::new(row, "entries").entry(account)
}

pub(super) fn lot(row: &PgRow) -> Result<Arc<Lot>, StoreError> {
    Columns::new(row, "lots").lot()
}

pub(super) fn budget(row: &PgRow) -> Result<Arc<Budget>, StoreError> {
    Columns::new(row, "budgets").budget()
}

pub(super) fn window(row: &PgRow) -> Result<BudgetWindow, StoreError> {
    Columns::new(row, "budget_windows").window()
}

pub(super) fn key_target(target: i64) -> KeyTarget {
    match target {
        0 => KeyTarget::Gone,
        1.. => KeyTarget::Hold(target),
        _ => KeyTarget::Entry(target.unsigned_abs()),
    }
}

/// Exactly as many bytes as are wanted.
fn array<const N: usize>(bytes: &[u8]) -> Result<[u8; N], String> {
    bytes.try_into().map_err(|_| format!("{} bytes", bytes.len()))
}

/// Stands for a name that is read a moment later.
fn placeholder() -> Result<AccountId, StoreError> {
    AccountId::new("-").map_err(|error| corrupt(error.to_string()))
}
