//! Every name of a metric and a span, in one place. Ids and sizes are recorded; prompts and secrets never.

/// Counter: commands answered, by `command` and `answer` (the state table's word).
pub(crate) const COMMANDS: &str = "prepaid_commands_total";
/// Counter: commands refused at the door because too much was waiting, by `command`.
pub(crate) const BUSY: &str = "prepaid_busy_total";
/// Histogram: commands in a batch.
pub(crate) const BATCH_COMMANDS: &str = "prepaid_batch_commands";
/// Histogram: seconds from handing a batch to the store to its durable commit.
pub(crate) const COMMIT_SECONDS: &str = "prepaid_commit_seconds";
/// Counter: commits that failed, by `kind`.
pub(crate) const COMMIT_FAILURES: &str = "prepaid_commit_failures_total";
/// Counter: commands answered alone, `Internal` because the database refused them, or `Corrupt` because it could not read
/// what they are about.
pub(crate) const POISONED: &str = "prepaid_poisoned_commands_total";
/// Counter: holds released because nobody was left to receive them.
pub(crate) const UNCLAIMED: &str = "prepaid_unclaimed_reserves_total";
/// Counter: holds whose guard was dropped without a word, by `dispatched`.
pub(crate) const DROPPED: &str = "prepaid_dropped_holds_total";
/// Counter: holds the sweeper closed, and lots it wrote off, by `what` (lapse, seal, lot).
pub(crate) const SWEPT: &str = "prepaid_swept_total";
/// Counter: costs refused because they were above the ceiling.
pub(crate) const ABOVE_CEILING: &str = "prepaid_above_ceiling_total";
/// Counter: settlements of a meter that the ledger refused, by `refusal`.
pub(crate) const SETTLEMENT_REFUSED: &str = "prepaid_meter_settlement_refused_total";
/// Counter: streams metered, by `ended` (final, end, error, dropped, drained) and `certainty` (reported, counted,
/// estimated, waived).
pub(crate) const METERED: &str = "prepaid_metered_streams_total";
/// Counter: settlements and releases written to the spool because the store could not be reached.
pub(crate) const SPOOLED: &str = "prepaid_spooled_total";
/// Counter: spooled commands that the ledger refused when they were played.
pub(crate) const SPOOL_DEAD: &str = "prepaid_spool_dead_letters_total";
/// Gauge: commands in the spool.
pub(crate) const SPOOL_DEPTH: &str = "prepaid_spool_commands";
/// Gauge: seconds since the oldest command in the spool was written to it.
pub(crate) const SPOOL_AGE: &str = "prepaid_spool_oldest_seconds";
/// Gauge: upstreams read on after their client went away.
pub(crate) const DRAINING: &str = "prepaid_draining_streams";

/// Span of one commit; fields `bucket`, `commands`.
pub(crate) const SPAN_COMMIT: &str = "prepaid.commit";
/// Span of one sweep; field `bucket`.
pub(crate) const SPAN_SWEEP: &str = "prepaid.sweep";
