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
//! both. So SQL of your own sums `entries`, or waits for `select count(*) = 0 from backlog`. Where an account was
//! [pruned](super::retention) its sums begin with the books of its last checkpoint.
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
//! Give the gateways a role of their own that may not update or delete in `prepaid.entries`
//! ([how](super::scaling#the-role)), and let another one migrate. Time is the server's: clocks of the processes do not
//! matter.
//!
//! For a backup of a running ledger use `pg_dump --schema=prepaid`, which is one snapshot, or a base backup with archived
//! WAL, which loses less. Roles are not in a dump: make them before it is restored. Then go on as with SQLite: call
//! [`Ledger::restored`](crate::Ledger::restored) once, from one process, before the gateways start; [audit](crate::Ledger::audit).
//! A recovery to a point in time is a restore, and so is a failover to a standby that is not synchronous: the last commits
//! may be gone.
//!
//! # Upgrading
//!
//! Make a backup first: there is no way back. An older version refuses a schema that is too new for it, as `Unsuitable`,
//! when it opens the ledger.
//!
//! SQLite: stop the process, start the new one. Opening brings the schema up to date in one transaction.
//!
//! PostgreSQL: one process migrates, the others only check.
//!
//! 1. Open the ledger once with the new version as the role that owns the schema, and close it. It migrates in one
//!    transaction; of several that do so at once one works and the others wait.
//! 2. Where tables were added, repeat the [grants](super::scaling#the-role): they are for tables that are there.
//! 3. Replace the gateways one by one. They open with [`migrate`](crate::store::postgres::PostgresOptions::migrate) off and say so where the first step was
//!    forgotten:
//!
#![cfg_attr(feature = "postgres", doc = "```no_run")]
#![cfg_attr(not(feature = "postgres"), doc = "```text")]
//! # async fn example(url: &str) -> Result<(), Box<dyn std::error::Error>> {
//! # use std::sync::Arc;
//! # use prepaid::{Ledger, store::postgres::{PostgresOptions, PostgresStore}};
//! let mut options = PostgresOptions::default();
//! (options.migrate, options.require_append_only) = (false, true);
//! let store = PostgresStore::open_with(url, options).await?;
//! let ledger = Ledger::builder().open_store(Arc::new(store))?;
//! # Ok(()) }
//! ```
//!
//! Where the changelog says that older versions cannot use the new schema, stop all gateways before the first step.
//!
//! # What happens by itself
//!
//! | What | when | setting |
//! |---|---|---|
//! | progress of streams is recorded, leases are renewed | every 2 s | [`report_every`](crate::LedgerBuilder::report_every) |
//! | holds past their lease lapse, lapsed ones are sealed | every second | [`sweep_every`](crate::LedgerBuilder::sweep_every) |
//! | after an outage or a jump of the clock no hold lapses for a while, so that owners can renew | a lease and its grace, 15.5 minutes | [`holiday`](crate::LedgerBuilder::holiday) |
//! | settlements go to the spool while the store is away, and land when it is back | – | [`spool`](crate::LedgerBuilder::spool) |
//!
//! # After a crash
//!
//! Holds of a process that died stay open until their leases end, 15.5 minutes by default, and lapse with what was recorded;
//! until then the same request is answered `Replayed`. A fleet cannot know better: the stream may run elsewhere. A host that
//! knows that nobody has them, as the only process of an SQLite ledger does before its first request, may
//! [`abandon`](crate::AccountHandle::abandon) each of an account's open [`holds`](crate::AccountHandle::holds) at once.
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
//! | `Pruned` | nothing | read on from the number it names; what is older is in the archives ([and journals](super::retention)) |
//! | `Corrupt` | nothing | stop, restore a backup, audit |
//! | `Internal` | nothing | a bug: report it; the rest goes on |
//!
//! A full or read-only disk is `Unavailable`: make room, nothing else is needed.
//!
//! # Tenants and currencies
//!
//! | Apart | by |
//! |---|---|
//! | who pays | an account each: money, limits, journal and hash chain are its own, and a handle reaches no other |
//! | who uses the same money: members, API keys, projects | scopes of one account (`key:prod`, `team:red`), each with its [budgets](crate::AccountHandle::set_budget) |
//! | whose data must not lie together | a ledger each: a file in SQLite, a database in PostgreSQL |
//!
//! No budget spans accounts. Ids are the host's own: `tenant-7:user-12` keeps the tenants' names apart in one ledger.
//! Ledgers may share the folder of a [spool](crate::LedgerBuilder::spool): each takes only what bears its id. That is
//! drawn when the database is created; copies of a database have the same, and need folders of their own.
//!
//! An account has one asset for ever; whoever pays in two currencies has two accounts. Quote and charge in the account's
//! asset ([`view`](crate::AccountHandle::view)), which need not be the ledger's default. Prices in another currency are
//! refused ([`WrongCurrency`](crate::pricing::PriceError::WrongCurrency)) until they are
//! [converted](crate::pricing::Tariff::converted_to) at a rate that the host names; a hold pins it with its tariff. No
//! money moves between assets.
//!
//! # Personal data
//!
//! Prompts and answers are never stored. What callers name is, and stays: names of accounts, holds and keys, scopes,
//! labels, reasons and metadata are in the journal, in its archives and in backups, under the hash chain. Nothing can be
//! taken out of it without breaking that. So name accounts by pseudonyms, a UUID say, and keep in a table of your own
//! whose they are: who is to be forgotten is deleted there. Put no address, person's name or prompt into ids, reasons or
//! metadata. [Pruning](super::retention) moves an account's past into an archive, which can be deleted as a whole when the
//! law no longer asks for it; hashes of its names stay.
//!
//! # What to watch
//!
//! Metrics go through the crate `metrics`, spans and errors through `tracing`; neither ever holds prompts or secrets.
//!
//! | Metric | says |
//! |---|---|
//! | `prepaid_commands_total` by `command`, `answer` | what is asked and how it goes |
//! | `prepaid_commit_seconds`, `prepaid_batch_commands` | how fast the disk is, and how well it is shared |
//! | `prepaid_busy_total` by `command` | too much is waiting: more than the disk takes |
//! | `prepaid_commit_failures_total` by `kind` | the store is in trouble |
//! | `prepaid_swept_total` by `what`: `lapse`, `seal`, `lot` | owners disappeared: after a crash it should be few, without one none; lots expire by themselves |
//! | `prepaid_dropped_holds_total` by `dispatched` | code paths that forget to close a hold |
//! | `prepaid_unclaimed_reserves_total` | callers that went away before their reserve was answered; its hold was released |
//! | `prepaid_metered_streams_total` by `ended`, `certainty` | how many bills rest on the provider's word (`reported`), how many on a count (`counted`, `estimated`), how many were `waived` |
//! | `prepaid_draining_streams` | upstreams that are read on after their client left; at [`drains`](crate::LedgerBuilder::drains) the next ones are counted instead |
//! | `prepaid_meter_settlement_refused_total` by `refusal` | somebody settled a stream otherwise, or its cost was beyond belief: look at each |
//! | `prepaid_above_ceiling_total` | costs above the account's ceiling |
//! | `prepaid_spooled_total` | settlements that went to the spool: the store was away |
//! | `prepaid_spool_commands`, `prepaid_spool_oldest_seconds`, `prepaid_spool_dead_letters_total` | settlements that did not land yet, or never will |
//! | `prepaid_poisoned_commands_total` | a bug, or a row that cannot be read |
//!
//! How a stream `ended`: `final`, its usage came; `end`, it ended without; `error`, the upstream broke; `dropped`, the client
//! left; `drained`, the client left and the usage came all the same. The spans are `prepaid.commit` and `prepaid.sweep`.
//!
//! Who should be told of a low balance, a debt, a budget at 80 % or credit that expires soon: feed
//! [`Alerts`](crate::journal::Alerts) with every entry of the [feed](crate::Ledger::feed), in one process; it names each
//! crossing once. It remembers nothing across a restart: read the feed again from its beginning, or from the
//! [oldest cursor](crate::Ledger::oldest_cursor) where the past was pruned, and pass on what is new to you. From there it
//! knows an account's older lots and budgets once it has seen the account's next checkpoint.
//!
//! Run [`Ledger::audit`](crate::Ledger::audit) from time to time, and after every restore: it reads the whole ledger in
//! one snapshot and names what does not agree. It keeps some 700 bytes a hold in memory meanwhile. Keep the [head](crate::model::Account::head) of each account's hash chain
//! somewhere else now and then: who can rewrite the whole database can rewrite a chain, but not what you wrote down.
