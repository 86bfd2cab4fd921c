//! Running a ledger.
//!
//! # SQLite
//!
//! `sqlite:ledger.db` is four files: the database, `-wal` and `-shm` beside it while it is open, and a `.lock` that keeps
//! a second process out ([`AlreadyOwned`](crate::ErrorKind::AlreadyOwned)). Reading it with other tools is welcome.
//! Keep it on a local disk: SQLite's locks do not work over most network file systems. Give a process one busy ledger:
//! as it is bundled, SQLite has one page cache for all connections of a process, and two of them take each other's pages.
//!
//! `entries` is complete at every moment. The rows of `accounts`, `holds`, `lots` and `budget_windows` follow from it and
//! are written in bulk a while later: while a ledger is busy they may be tens of thousands of changes behind, in an idle or
//! closed one they are not. What they lack is in `backlog`, in the same file and as durable; the ledger's own readers know
//! both. So SQL of your own sums `entries`, or waits for `select count(*) = 0 from backlog`.
//!
//! For a backup of a running ledger use `sqlite3 ledger.db ".backup copy.db"` or `VACUUM INTO`; copying the file alone
//! misses what is in the WAL. After a backup was restored call [`Ledger::restored`](crate::Ledger::restored) once, before
//! the ledger is used: consumers of the feed are told that what they saw may be gone, and settlements of holds that the
//! backup does not have are charged with [`or_debit`](crate::ledger::CostCall::or_debit).
//!
//! # PostgreSQL
//!
//! `postgres://USER:PASSWORD@HOST:PORT/DATABASE` creates its tables where there are none. Any number of processes may
//! share it; a stream's process need not be the one that settles it. At opening it is refused where it could lose what it
//! acknowledged: `fsync` or `full_page_writes` off, a standby, a version before 14.
//!
//! | In the url | Default | says |
//! |---|---|---|
//! | `buckets=8` | 2 | how many parts are written side by side; fixed when the ledger is created |
//! | `writers=8` | 4 | connections of this process that write, at most; never more than buckets |
//! | `prepared=never` | – | behind a pooler that hands every transaction another connection |
//! | `append_only=required` | – | refuse a role that may change the journal; else that is only warned of |
//!
//! Give the gateways a role of their own that may not update or delete in `prepaid.entries`, and let another one migrate. Time is
//! the server's: clocks of the processes do not matter.
//!
//! # What happens by itself
//!
//! | What | when | setting |
//! |---|---|---|
//! | progress of streams is recorded, leases are renewed | every 2 s | [`report_every`](crate::LedgerBuilder::report_every) |
//! | holds past their lease lapse, lapsed ones are sealed | every second | [`sweep_every`](crate::LedgerBuilder::sweep_every) |
//! | after an outage or a jump of the clock no hold lapses for a while, so that owners can renew | 15.5 minutes | [`holiday`](crate::LedgerBuilder::holiday) |
//! | settlements go to the spool while the store is away, and land when it is back | – | [`spool`](crate::LedgerBuilder::spool) |
//!
//! # When it says no
//!
//! | [`ErrorKind`](crate::ErrorKind) | what was done | what to do |
//! |---|---|---|
//! | `Refused`, `InvalidInput` | nothing | look at the refusal; the same call fails again |
//! | `Busy`, `Unavailable` | nothing | try again; answer 503 |
//! | `OutcomeUnknown` | it, or nothing | ask again with the same ids; the answer tells |
//! | `Spooled` | it will be | nothing: it lands when the store is back |
//! | `AlreadyOwned`, `Unsuitable` | nothing | it is another process's, another program's, or of a newer version |
//! | `Pruned` | nothing | read on from the number it names; what is older is in the archives |
//! | `Corrupt` | nothing | stop, restore a backup, audit |
//! | `Internal` | nothing | a bug: report it; the rest goes on |
//!
//! A full or read-only disk is `Unavailable`: make room, nothing else is needed.
//!
//! # What to watch
//!
//! Metrics go through the crate `metrics`, spans and errors through `tracing`; neither ever holds prompts or secrets.
//!
//! | Metric | says |
//! |---|---|
//! | `prepaid_commands_total` by `command`, `answer` | what is asked and how it goes |
//! | `prepaid_commit_seconds`, `prepaid_batch_commands` | how fast the disk is, and how well it is shared |
//! | `prepaid_busy_total` | too much is waiting: more than the disk takes |
//! | `prepaid_commit_failures_total` by `kind` | the store is in trouble |
//! | `prepaid_swept_total` by `what` | owners disappeared: after a crash it should be few, without one none |
//! | `prepaid_dropped_holds_total` by `dispatched` | code paths that forget to close a hold |
//! | `prepaid_metered_streams_total` by `ended`, `certainty` | how many bills rest on the provider's word, how many on a count |
//! | `prepaid_meter_settlement_refused_total` | somebody settled a stream otherwise, or its cost was beyond belief: look at each |
//! | `prepaid_above_ceiling_total` | costs above the account's ceiling |
//! | `prepaid_spool_commands`, `prepaid_spool_oldest_seconds`, `prepaid_spool_dead_letters_total` | settlements that did not land yet, or never will |
//! | `prepaid_poisoned_commands_total` | a bug |
//!
//! Run [`Ledger::audit`](crate::Ledger::audit) from time to time, and after every restore: it reads the whole ledger in
//! one snapshot and names what does not agree. Keep the [head](crate::model::Account::head) of each account's hash chain
//! somewhere else now and then: who can rewrite the whole database can rewrite a chain, but not what you wrote down.
