//! The lines of an archive, as JSON.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::{
    AccountId, Amount, ArgumentsHash, Asset, Body, Books, ChainHash, Checkpoint, Entry, EntryKind, HoldId, Label,
    LedgerId, Metadata, OperationKey, SignedAmount, Timestamp,
};

/// The name of the form, which says how the rest is read.
pub(super) const FORM: &str = "prepaid archive 1";

/// The first line: what follows.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct First {
    pub(super) form: String,
    #[serde(with = "hex")]
    ledger: [u8; 16],
    pub(super) account: AccountId,
    asset: String,
    /// The entry it follows.
    pub(super) after: u64,
    /// The link it follows.
    #[serde(with = "hex")]
    link: [u8; 32],
    /// Where it is not the account's first archive: the body of the checkpoint of the one before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    checkpoint: Option<String>,
}

impl First {
    pub(super) fn new(ledger: LedgerId, account: AccountId, asset: Asset, base: Option<&Arc<Checkpoint>>) -> Self {
        let genesis = ChainHash::genesis(ledger, &account, asset);
        Self {
            form: FORM.to_owned(),
            ledger: ledger.0,
            account,
            asset: asset.to_string(),
            after: base.map_or(0, |base| base.cut),
            link: base.map_or(genesis, |base| base.hash).0,
            checkpoint: base.map(|base| hex::encode(Body::Checkpoint(Arc::clone(base)).encode())),
        }
    }

    pub(super) fn ledger(&self) -> LedgerId {
        LedgerId(self.ledger)
    }

    pub(super) fn asset(&self) -> Option<Asset> {
        self.asset.parse().ok()
    }

    pub(super) fn link(&self) -> ChainHash {
        ChainHash(self.link)
    }

    /// The checkpoint it begins from; none: the account's beginning. An error is what is wrong.
    pub(super) fn base(&self) -> Result<Option<Arc<Checkpoint>>, String> {
        let Some(text) = &self.checkpoint else {
            return if self.after == 0 { Ok(None) } else { Err("checkpoint is missing".to_owned()) };
        };
        let bytes = hex::decode(text).map_err(|error| error.to_string())?;
        match Body::decode(&bytes) {
            Ok(Body::Checkpoint(base)) if base.cut == self.after && base.hash.0 == self.link => Ok(Some(base)),
            Ok(_) => Err("checkpoint is another".to_owned()),
            Err(malformed) => Err(malformed.to_string()),
        }
    }
}

/// An entry. Its place in the bucket is of interest to consumers of the feed alone.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Line {
    pub(super) seq: u64,
    position: u64,
    at: Timestamp,
    kind: EntryKind,
    changes: Books,
    available_after: SignedAmount,
    held_after: Amount,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hold: Option<HoldId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<OperationKey>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    arguments: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    label: Option<Label>,
    #[serde(with = "hex")]
    body: Vec<u8>,
    /// The caller's JSON as it came, where it is text, and its bytes where it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    metadata: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    metadata_bytes: Option<String>,
    #[serde(with = "hex")]
    hash: [u8; 32],
}

impl Line {
    pub(super) fn of(entry: &Entry) -> Self {
        let metadata = entry.metadata.as_ref().map(Metadata::as_bytes);
        let text = metadata.map(std::str::from_utf8);
        Self {
            seq: entry.seq,
            position: entry.position,
            at: entry.at,
            kind: entry.kind,
            changes: entry.changes,
            available_after: entry.available_after,
            held_after: entry.held_after,
            hold: entry.hold.clone(),
            key: entry.key.clone(),
            arguments: entry.arguments.map(|arguments| arguments.to_string()),
            label: entry.label.clone(),
            body: entry.body.to_vec(),
            metadata: text.and_then(Result::ok).map(str::to_owned),
            metadata_bytes: text.and_then(Result::err).and(metadata).map(hex::encode),
            hash: entry.hash.0,
        }
    }

    /// The entry; an error is what is wrong.
    pub(super) fn entry(self, account: &AccountId, previous: u64) -> Result<Entry, String> {
        let arguments = self.arguments.map(|text| {
            hex::decode(text).ok().and_then(|bytes| ArgumentsHash::from_slice(&bytes)).ok_or("arguments are no hash")
        });
        let metadata = match (self.metadata, self.metadata_bytes) {
            (Some(text), _) => Some(text.into_bytes()),
            (None, Some(text)) => Some(hex::decode(text).map_err(|error| error.to_string())?),
            (None, None) => None,
        };
        Ok(Entry {
            account: account.clone(),
            account_number: 0,
            seq: self.seq,
            position: self.position,
            previous,
            at: self.at,
            kind: self.kind,
            changes: self.changes,
            available_after: self.available_after,
            held_after: self.held_after,
            hold: self.hold,
            key: self.key,
            arguments: arguments.transpose()?,
            label: self.label,
            body: self.body.into(),
            metadata: metadata.map(|bytes| Metadata::from_stored(&bytes)),
            hash: ChainHash(self.hash),
        })
    }
}

/// The last line: what came before.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Last {
    pub(super) until: u64,
    pub(super) entries: u64,
    #[serde(with = "hex")]
    pub(super) link: [u8; 32],
    /// SHA-256 of every byte before this line.
    #[serde(with = "hex")]
    pub(super) sha256: [u8; 32],
}
