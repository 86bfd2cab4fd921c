//! Letting go of the past: archive, checkpoint, prune.
//!
//! A journal grows with every request. Its rows cost disk, not speed; when the disk is what matters, an account's past can
//! be moved into a file that proves itself, and removed from the database.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # use prepaid::{Asset, Ledger, Timestamp, journal::archive};
//! # use std::io::BufReader;
//! # let folder = tempfile::tempdir()?;
//! # let (path, before) = (folder.path().join("alice-1.jsonl"), Timestamp::from_micros(i64::MAX));
//! # let ledger = Ledger::open("memory:").await?;
//! # let alice = ledger.account("alice")?;
//! # alice.open().await?;
//! # alice.deposit("payment-1", Asset::USD.parse("5")?).await?;
//! // 1. Everything before a point in time, into a file. Nothing changes in the ledger.
//! let file = std::fs::File::create_new(&path)?;
//! let Some(archived) = alice.archive(before, std::io::BufWriter::new(&file)).await? else {
//!     return Ok(()); // There is nothing that old.
//! };
//! file.sync_all()?;
//! // ... and to wherever it is to be kept. What is kept is what counts, so read it back from there.
//! let kept = archive::verify(BufReader::new(std::fs::File::open(&path)?))?;
//! assert_eq!(kept.digest, archived.digest());
//!
//! // 2. The books are closed over it, and a checkpoint says how the account stood and what the archive is.
//! alice.checkpoint(&archived).await?;
//!
//! // 3. Only then rows go.
//! alice.prune().await?;
//! assert!(ledger.audit().await?.is_clean());
//! # Ok(()) }
//! ```
//!
//! An archive keeps some 500 bytes a hold in memory while it is made, and a checkpoint takes away all windows of budgets that
//! ended before it, in one transaction: with budgets by the minute go forward by a month or less at a time.
//!
//! Each step may be interrupted and done again: before the checkpoint an archive is a file like any other, after it
//! [`prune`](crate::AccountHandle::prune) takes up where it stopped.
//!
//! # What goes, what stays
//!
//! | Goes | stays |
//! |---|---|
//! | entries up to the cut | later entries, also those of the same hold |
//! | holds whose last entry is up to the cut | holds with later entries; tombstones, which are in no entry |
//! | lots that were used up and had expired by then | lots with money, lots without expiry, lots a remaining hold took of |
//! | windows of budgets that had ended by then | running windows, windows a remaining hold is charged to; the budgets |
//! | | every name of a hold and every key, without what it meant |
//!
//! A hold that is not final keeps all its entries: the cut is lowered below the oldest one's first. So a hold with a lease
//! of a month, or a lapse that waits for its late window, keeps the past from being archived that long.
//!
//! # What changes for callers
//!
//! What was final at the cut can no longer be refunded, corrected, or asked for again: the answer is
//! [`TooOld`](crate::Refusal::TooOld), whether its rows are gone yet or not, and never "unknown", so that no retry of an old
//! settlement or deposit is taken for a new one. Choose a cut that is older than every retry and every refund you allow.
//!
//! Reading the [journal](crate::AccountHandle::journal) or a [statement](crate::AccountHandle::statement) from below the
//! cut answers [`Pruned`](crate::ErrorKind::Pruned) with the first entry that is left. The [feed](crate::Ledger::feed) answers
//! it below the last entry of a bucket that went: let every consumer pass that point first. One that comes late reads each
//! account's archives, then its [journal](crate::AccountHandle::journal) from the first entry that is left up to the position
//! of [`Ledger::oldest_cursor`](crate::Ledger::oldest_cursor), and the feed from that cursor on: below it still lie entries of
//! accounts that were archived less far, or never.
//!
//! The [audit](crate::Ledger::audit) recomputes an account from its last checkpoint on. As long as the archived entries are
//! still there, all of them or none gone, it judges the checkpoint by them too.
//!
//! # The archive
//!
//! JSON Lines: a first line that says whose past it is and what it follows, a line for each entry with everything its link
//! of the hash chain covers, a last line with the SHA-256 of all before. [`verify`](crate::journal::archive::verify) needs
//! nothing else: it recomputes links and sums and judges every entry as the audit does. Archives of an account follow one
//! another, and each but the first begins with the checkpoint of the one before. The digest is in the ledger, in the
//! checkpoint's entry, under the hash chain: so an archive cannot be exchanged for another.
//!
//! # Who may
//!
//! SQLite: the process that owns the file. A trigger keeps everybody from removing entries that no checkpoint covers.
//!
//! PostgreSQL: a role that may remove rows, and only the tool that prunes uses it; the gateways' may not:
//!
//! ```sql
//! create role prepaid_archiver login password '…' in role prepaid_writer;
//! grant delete on prepaid.entries, prepaid.holds, prepaid.lots, prepaid.budget_windows to prepaid_archiver;
//! grant update on prepaid.keys to prepaid_archiver;
//! ```
//!
//! Asked as another role the ledger answers `Internal`, with the database's "permission denied" as its source, and changes
//! nothing; whatever else waits goes on.
