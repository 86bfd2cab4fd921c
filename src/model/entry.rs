//! The journal's rows: one accepted change, one entry.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::body::{Body, codes};
use super::codec::{Malformed, Writer};
use super::{
    AccountId, Amount, ArgumentsHash, Books, ChainHash, HoldId, KeyHash, Label, Metadata, Moves, OperationKey,
    SignedAmount, Timestamp,
};

/// What an entry records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EntryKind {
    /// The account was opened.
    Open,
    /// Money came in.
    Deposit,
    /// Money went out.
    Withdrawal,
    /// Promotional or paid credit was given as a lot.
    Grant,
    /// An operator moved money, with a reason.
    Adjustment,
    /// Debt was forgiven.
    WriteOff,
    /// A hold was made.
    Reserve,
    /// A hold was raised.
    Extend,
    /// A hold was closed with its cost.
    Settle,
    /// A hold was closed unused.
    Release,
    /// A hold was closed provisionally by its owner.
    Abandon,
    /// A hold was closed provisionally by the sweeper.
    Lapse,
    /// A lapse became final.
    Seal,
    /// A final cost was replaced.
    Correction,
    /// A known cost was charged without a hold.
    Debit,
    /// Collected money was given back.
    Refund,
    /// A lot's unused rest expired.
    LotExpiry,
    /// The account's limits or policy changed.
    LimitChange,
    /// The account's status changed.
    StatusChange,
    /// A budget changed.
    BudgetChange,
    /// The past before this entry was archived.
    Checkpoint,
}

codes!(
    EntryKind,
    "entry kind",
    Open = 0,
    Deposit = 1,
    Withdrawal = 2,
    Grant = 3,
    Adjustment = 4,
    WriteOff = 5,
    Reserve = 6,
    Extend = 7,
    Settle = 8,
    Release = 9,
    Abandon = 10,
    Lapse = 11,
    Seal = 12,
    Correction = 13,
    Debit = 14,
    Refund = 15,
    LotExpiry = 16,
    LimitChange = 17,
    StatusChange = 18,
    BudgetChange = 19,
    Checkpoint = 20
);

impl EntryKind {
    /// The name it has in statements and exports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Deposit => "deposit",
            Self::Withdrawal => "withdrawal",
            Self::Grant => "grant",
            Self::Adjustment => "adjustment",
            Self::WriteOff => "write_off",
            Self::Reserve => "reserve",
            Self::Extend => "extend",
            Self::Settle => "settle",
            Self::Release => "release",
            Self::Abandon => "abandon",
            Self::Lapse => "lapse",
            Self::Seal => "seal",
            Self::Correction => "correction",
            Self::Debit => "debit",
            Self::Refund => "refund",
            Self::LotExpiry => "lot_expiry",
            Self::LimitChange => "limit_change",
            Self::StatusChange => "status_change",
            Self::BudgetChange => "budget_change",
            Self::Checkpoint => "checkpoint",
        }
    }
}

/// One row of an account's journal: one command that changed something. Never changed, and removed only where it was
/// archived.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// Whose journal.
    pub account: AccountId,
    /// The number of the account inside its bucket.
    pub account_number: i64,
    /// Its number in the account's journal: 1, 2, 3, without gaps.
    pub seq: u64,
    /// Its number in the bucket, in commit order: 1, 2, 3, without gaps.
    pub position: u64,
    /// Where the account's entry before it stands in the bucket; 0 for the first.
    pub previous: u64,
    /// When it was written, by the store's clock; never before the account's entry before it.
    pub at: Timestamp,
    /// What it records.
    pub kind: EntryKind,
    /// What it changed; sums to zero.
    pub changes: Books,
    /// `available` after it.
    pub available_after: SignedAmount,
    /// `held` after it.
    pub held_after: Amount,
    /// The hold it is about.
    pub hold: Option<HoldId>,
    /// The caller's key, for operations that have one.
    pub key: Option<OperationKey>,
    /// Hash of the arguments that came with the key.
    pub arguments: Option<ArgumentsHash>,
    /// What revenue is split by.
    pub label: Option<Label>,
    /// All else that deriving it again needs: [`Body`] in canonical bytes.
    pub body: Arc<[u8]>,
    /// The caller's own words.
    pub metadata: Option<Metadata>,
    /// SHA-256 of the link before and this entry's canonical bytes.
    pub hash: ChainHash,
}

impl Entry {
    /// The canonical bytes the chain is made over: everything but the account (it is in the chain's first link), the
    /// place in the bucket (which a restore may change) and the hash itself.
    pub fn canonical(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(256);
        writer.byte(1);
        writer.byte(self.kind.code());
        writer.unsigned(self.seq);
        writer.signed(self.at.as_micros());
        self.changes.columns().iter().for_each(|change| writer.signed(change.minor_units()));
        writer.signed(self.available_after.minor_units());
        writer.signed(self.held_after.minor_units());
        writer.option(self.hold.as_ref(), |writer, hold| {
            writer.bytes(hold.request().as_str().as_bytes());
            writer.unsigned(u64::from(hold.attempt()));
        });
        writer.option(self.key.as_ref(), |writer, key| writer.bytes(key.as_str().as_bytes()));
        writer.option(self.arguments, |writer, arguments| writer.bytes(arguments.as_bytes()));
        writer.option(self.label.as_ref(), |writer, label| writer.bytes(label.as_str().as_bytes()));
        writer.bytes(&self.body);
        writer.option(self.metadata.as_ref(), |writer, metadata| writer.bytes(metadata.as_bytes()));
        writer.finish()
    }

    /// Whether it says what became of a hold and nothing else, as nearly all do. Stores write such entries with fewer
    /// columns.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(crate) fn is_only_of_hold(&self) -> bool {
        let Self { key, arguments, metadata, .. } = self;
        self.changes.rest() == Books::default() && key.is_none() && arguments.is_none() && metadata.is_none()
    }

    /// What the operation it records is found by, where that has a key.
    pub fn operation(&self) -> Option<KeyHash> {
        let key = self.key.as_ref()?;
        Some(match &self.hold {
            None => KeyHash::money(&self.account, key),
            Some(hold) if self.kind == EntryKind::Refund => KeyHash::refund(&self.account, hold, key),
            Some(hold) => KeyHash::correct(&self.account, hold, key),
        })
    }

    /// What it says besides its postings.
    ///
    /// # Errors
    /// [`Malformed`] when another version wrote it or it was damaged.
    pub fn body(&self) -> Result<Body, Malformed> {
        Body::decode(&self.body)
    }

    /// What it says, and what it moved in lots and windows.
    ///
    /// # Errors
    /// As [`Entry::body`].
    pub fn body_and_moves(&self) -> Result<(Body, Moves), Malformed> {
        Body::decode_with(&self.body)
    }
}

#[cfg(all(test, any(feature = "sqlite", feature = "postgres")))]
mod tests {
    use super::*;

    const ONE: Amount = Amount::MAX;

    #[test]
    fn entry_that_says_more_than_what_became_of_a_hold_is_told_apart() {
        let spent = Books { available: ONE.signed(), held: ONE.signed(), revenue: ONE.signed(), ..Books::default() };
        let of_hold = Entry {
            account: AccountId::new("alice").unwrap(),
            account_number: 1,
            seq: 2,
            position: 3,
            previous: 1,
            at: Timestamp::from_micros(1),
            kind: EntryKind::Settle,
            changes: spent,
            available_after: ONE.signed(),
            held_after: ONE,
            hold: Some(HoldId::new("request", 1).unwrap()),
            key: None,
            arguments: None,
            label: Some(Label::new("chat").unwrap()),
            body: Arc::from([1]),
            metadata: None,
            hash: ChainHash([1; 32]),
        };
        assert!(of_hold.is_only_of_hold());
        let more: [fn(&mut Entry); 10] = [
            |entry| entry.changes.funding = ONE.signed(),
            |entry| entry.changes.promotion = ONE.signed(),
            |entry| entry.changes.breakage = ONE.signed(),
            |entry| entry.changes.write_off = ONE.signed(),
            |entry| entry.changes.available_promo = ONE.signed(),
            |entry| entry.changes.held_promo = ONE.signed(),
            |entry| entry.changes.revenue_promo = ONE.signed(),
            |entry| entry.key = OperationKey::new("first").ok(),
            |entry| entry.arguments = Some(ArgumentsHash([1; 16])),
            |entry| entry.metadata = Some(Metadata::from_stored(b"1")),
        ];
        for (case, change) in more.iter().enumerate() {
            let mut entry = of_hold.clone();
            change(&mut entry);
            assert!(!entry.is_only_of_hold(), "{case}");
        }
    }
}
