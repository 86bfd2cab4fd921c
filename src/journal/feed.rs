//! The journals of all accounts as one feed.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use futures_util::future::try_join_all;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::model::Entry;
use crate::store::Store;

/// A place in the feed: in which epoch, and behind which position of each bucket. Printed `epoch:bucket=position,…`,
/// such as `0:0=17,3=5`; buckets that are not named are at their beginning. Serialised as that text.
///
/// ```
/// use prepaid::journal::Cursor;
///
/// let cursor: Cursor = "0:0=17,3=5".parse()?;
/// assert_eq!(cursor.to_string(), "0:0=17,3=5");
/// assert_eq!(Cursor::default().to_string(), "0:");
/// # Ok::<(), prepaid::journal::InvalidCursor>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Cursor {
    epoch: u64,
    positions: BTreeMap<u16, u64>,
}

/// A text that is no cursor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor of the feed: {0:.64}")]
pub struct InvalidCursor(String);

/// A part of the feed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FeedPage {
    /// The entries; none when there is nothing new.
    pub entries: Vec<Entry>,
    /// Where the next page begins.
    pub cursor: Cursor,
}

impl Cursor {
    /// The beginning of an epoch.
    pub fn beginning(epoch: u64) -> Self {
        Self { epoch, positions: BTreeMap::new() }
    }

    /// How often the database had been restored.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The last position of a bucket that was read; 0: none.
    pub fn position(&self, bucket: u16) -> u64 {
        self.positions.get(&bucket).copied().unwrap_or(0)
    }

    fn advance(&mut self, bucket: u16, position: u64) {
        self.positions.insert(bucket, position);
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.epoch)?;
        for (index, (bucket, position)) in self.positions.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{bucket}={position}")?;
        }
        Ok(())
    }
}

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let read = |text: &str| {
            let (epoch, positions) = text.split_once(':')?;
            let mut cursor = Self::beginning(epoch.parse().ok()?);
            for place in positions.split_terminator(',') {
                let (bucket, position) = place.split_once('=')?;
                cursor.advance(bucket.parse().ok()?, position.parse().ok()?);
            }
            // One text for one place.
            (cursor.to_string() == text).then_some(cursor)
        };
        read(text).ok_or_else(|| InvalidCursor(text.escape_debug().to_string()))
    }
}

impl From<Cursor> for String {
    fn from(cursor: Cursor) -> Self {
        cursor.to_string()
    }
}

impl TryFrom<String> for Cursor {
    type Error = InvalidCursor;

    fn try_from(text: String) -> Result<Self, InvalidCursor> {
        text.parse()
    }
}

/// The next page after a cursor, merged over the buckets by time.
pub(crate) async fn feed(store: &Arc<dyn Store>, cursor: &Cursor, limit: u32) -> Result<FeedPage> {
    let epoch = store.epoch().await?;
    if epoch != cursor.epoch {
        let message = format!("database was restored since the cursor was made: epoch={epoch} cursor={cursor}");
        return Err(Error::new(ErrorKind::StaleCursor, message));
    }
    let share = limit.div_ceil(u32::from(store.buckets()).max(1)).max(limit.min(FULL_SHARE));
    let reads = (0..store.buckets()).map(|bucket| store.feed(bucket, cursor.position(bucket), share));
    let mut waiting: Vec<VecDeque<Entry>> = try_join_all(reads).await?.into_iter().map(VecDeque::from).collect();
    for (bucket, entries) in (0..).zip(&waiting) {
        check_dense(store, bucket, cursor.position(bucket), entries).await?;
    }
    let mut page = FeedPage { entries: Vec::new(), cursor: cursor.clone() };
    while page.entries.len() < limit as usize {
        let heads = (0_u16..).zip(&mut waiting).filter_map(|(bucket, entries)| Some((entries.front()?.at, bucket)));
        let Some((_, bucket)) = heads.min() else {
            break;
        };
        let Some(entry) = waiting.get_mut(usize::from(bucket)).and_then(VecDeque::pop_front) else {
            break;
        };
        page.cursor.advance(bucket, entry.position);
        page.entries.push(entry);
    }
    Ok(page)
}

/// Refuses a page in which entries are missing: they were pruned.
async fn check_dense(store: &Arc<dyn Store>, bucket: u16, after: u64, entries: &VecDeque<Entry>) -> Result<()> {
    if entries.iter().map(|entry| entry.position).eq((after.saturating_add(1)..).take(entries.len())) {
        return Ok(());
    }
    let first = store.pruned(bucket).await?.saturating_add(1);
    if first <= after.saturating_add(1) {
        return Err(Error::new(
            ErrorKind::Corrupt,
            format!("feed is torn, restore a backup: bucket={bucket} after={after}"),
        ));
    }
    let message =
        format!("entries after the cursor were pruned, what is left whole begins later: bucket={bucket} first={first}");
    Err(Error::new(ErrorKind::Pruned { first }, message))
}

/// The oldest place after which the feed is whole.
pub(crate) async fn oldest(store: &Arc<dyn Store>) -> Result<Cursor> {
    let mut cursor = Cursor::beginning(store.epoch().await?);
    for bucket in 0..store.buckets() {
        let pruned = store.pruned(bucket).await?;
        if pruned > 0 {
            cursor.advance(bucket, pruned);
        }
    }
    Ok(cursor)
}

/// So many entries are asked of every bucket, however many buckets share a page.
const FULL_SHARE: u32 = 64;
