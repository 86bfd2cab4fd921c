//! The log moves into the database beside the writer.
//!
//! A checkpoint writes pages and waits for the disk; on the writer's thread every caller would wait with it. So a thread of
//! its own does most of it while commits go on. The writer's own automatic checkpoint still comes when the log is long:
//! it finds little left to do, and only it can begin the log anew, because nobody writes meanwhile.

use std::path::Path;
use std::sync::mpsc::{self, SyncSender};
use std::thread::{self, JoinHandle};

use rusqlite::Connection;

use super::fault::{no_thread, of_statement};
use super::{SqliteOptions, open, sql};
use crate::store::StoreError;

/// The thread, ended when this is dropped.
#[derive(Debug)]
pub(super) struct Checkpoints {
    wake: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
    /// With so many pages in the log that are not in the database, it begins.
    pages: i64,
}

impl Checkpoints {
    pub(super) fn start(path: &Path, options: &SqliteOptions) -> Result<Self, StoreError> {
        let connection = open::connect(path)?;
        connection.pragma_update(None, "synchronous", "full").map_err(of_statement)?;
        let (wake, woken) = mpsc::sync_channel::<()>(1);
        let work = move || {
            // What fails here, the writer's own checkpoint meets too, and says.
            woken.into_iter().for_each(|()| drop(connection.execute_batch(sql::CHECKPOINT)));
        };
        let thread = thread::Builder::new().name("prepaid-checkpoint".to_owned()).spawn(work).map_err(no_thread)?;
        let pages = i64::from(options.checkpoint_pages).div_euclid(8).max(1);
        Ok(Self { wake: Some(wake), thread: Some(thread), pages })
    }

    /// After a commit: wakes the thread when there is enough to do.
    pub(super) fn look(&self, writer: &Connection) {
        let state = writer
            .prepare_cached(sql::LOOK_AT_LOG)
            .and_then(|mut look| look.query_row([], |row| Ok((row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))));
        if let (Ok((log, moved)), Some(wake)) = (state, &self.wake)
            && log.saturating_sub(moved) >= self.pages
        {
            // Full: it is woken already.
            let _ = wake.try_send(());
        }
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        self.wake = None;
        // It does not panic, and if it did: the log is whole.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
