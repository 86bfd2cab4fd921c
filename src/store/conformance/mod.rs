//! What every store has to do, one rule per function (feature `testing`).
//!
//! A store's tests name a [`StoreFactory`] and call [`store_conformance!`](crate::store_conformance), which declares one
//! test per rule. Whatever a rule commits is also committed to the reference, a [`MemoryStore`](super::MemoryStore) whose
//! clock is set to the times the store answered with: replies and rows have to be equal, and the rows have to obey the
//! rules of [`Rows`](crate::testing::Rows).
//!
//! The functions panic where a store breaks a rule; their names say which.

#![expect(clippy::expect_used, reason = "a suite of tests panics where a store breaks a rule")]

mod accounts;
mod credit;
mod holds;
mod journal;
mod life;
mod scene;
mod time;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

pub use accounts::*;
pub use credit::*;
pub use holds::*;
pub use journal::*;
pub use life::*;
pub use time::*;

use super::{Store, StoreError};

/// Makes the stores a conformance suite looks at, one database per factory.
#[async_trait]
pub trait StoreFactory: Debug + Send {
    /// An empty store.
    ///
    /// # Errors
    /// The store's.
    async fn make(&mut self) -> Result<Arc<dyn Store>, StoreError>;

    /// The database [`StoreFactory::make`] made, opened once more after it was closed; none where nothing outlives it.
    ///
    /// # Errors
    /// The store's.
    async fn reopen(&mut self) -> Result<Option<Arc<dyn Store>>, StoreError>;

    /// Lets the store's time pass: the clock it was made with is advanced, or, where the database has a clock of its own,
    /// it is waited for.
    async fn pass(&mut self, span: Duration);
}

/// Declares a `#[tokio::test]` for every rule a store has to obey. The argument makes a
/// [`StoreFactory`](crate::store::conformance::StoreFactory), once per test.
///
/// ```text
/// prepaid::store_conformance!(MyFactory::default());
/// ```
#[macro_export]
macro_rules! store_conformance {
    ($factory:expr) => {
        $crate::store_conformance! { @declare $factory;
            // Accounts.
            unknown_account_has_nothing
            opened_account_is_found_by_its_name
            refused_open_leaves_nothing
            account_row_is_kept_whole
            account_keeps_totals_at_the_ends_of_their_range
            accounts_are_listed_by_number_in_pages
            bucket_of_an_account_never_changes
            // Holds and their settlement.
            hold_is_found_by_its_key_in_its_account_alone
            hold_row_is_kept_whole
            every_state_of_a_hold_is_kept
            tombstones_and_direct_debits_are_kept
            pending_holds_are_listed_by_number_in_pages
            every_way_to_settle_is_booked
            // Keys.
            operation_is_done_once_under_its_key
            operation_key_of_a_batch_is_known_to_the_rest_of_it
            keys_of_one_account_mean_nothing_in_another
            classes_of_keys_are_apart
            // Lots and budgets.
            lot_row_is_kept_whole
            every_way_of_a_lot_is_kept
            expired_lots_are_due
            budget_rows_are_kept_whole
            budgets_of_other_scopes_and_accounts_are_left_alone
            windows_are_counted_apart
            lots_and_budgets_of_a_batch_are_known_to_the_rest_of_it
            lots_and_budgets_outlive_the_store
            // The journal and the feed.
            journal_is_read_in_order_from_anywhere
            journal_shows_no_other_account
            long_journal_is_read_from_every_entry
            entries_are_kept_byte_for_byte
            feed_is_dense_in_commit_order
            epoch_is_raised_and_kept
            archived_rows_go_and_their_keys_stay
            // Scans.
            scan_shows_every_row_in_order
            scan_stops_when_it_is_told
            // Batches.
            batch_decides_each_command_on_what_the_ones_before_left
            refused_command_of_a_batch_changes_nothing
            batch_without_commands_changes_nothing
            large_batch_is_one_commit
            // Time.
            due_holds_are_shown_oldest_first
            hold_that_was_renewed_is_looked_at_again_later
            lapsed_hold_is_due_when_its_late_window_is_over
            nothing_is_due_while_the_bucket_is_paused
            overdue_holds_make_room_for_a_reserve
            overdue_holds_of_another_account_are_left_alone
            // Life and death.
            tariff_is_kept_under_its_hash
            everything_outlives_the_store
            closed_store_says_so
            concurrent_commits_are_decided_one_after_the_other
            same_command_from_many_tasks_is_done_once
            scan_during_commits_shows_one_moment
            dropped_commit_happens_whole_or_not_at_all
        }
    };
    (@declare $factory:expr; $($rule:ident)*) => {
        $(
            #[tokio::test]
            async fn $rule() {
                let mut factory = $factory;
                $crate::store::conformance::$rule(&mut factory).await;
            }
        )*
    };
}
