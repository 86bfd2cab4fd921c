//! Scaling: several processes on one PostgreSQL, several buckets, and what comes after one machine.
//!
//! # Several processes
//!
//! Open the same url in each: `postgres://USER:PASSWORD@HOST:PORT/DATABASE`. The first one creates the ledger, in a schema
//! named `prepaid`; a database may hold other schemas, and one ledger. Any process may reserve, settle and sweep for any
//! account. The database's clock decides what is overdue, so the machines' clocks need not agree.
//!
//! A batch locks its bucket's row, decides, writes and commits. While one process has the lock, the others' commands for
//! that bucket gather into their next batches. A process that is killed in the middle leaves nothing behind; one that is
//! frozen is cut off by the database after [`idle_timeout`], and its batch is taken back. A network that falls silent in the
//! middle of a message is only noticed by the server's keep-alives, after two hours by default: set `tcp_keepalives_idle`,
//! `tcp_keepalives_interval` and `tcp_keepalives_count` there to find out in seconds.
//!
//! [`idle_timeout`]: crate::store::postgres::PostgresOptions::idle_timeout
//!
//! A ledger in SQLite cannot be moved here: begin with PostgreSQL where a second process is to be expected. Money can be
//! carried over, names cannot: deposit what is left under a key such as `moved-2026`, let holds of the old ledger end in the old
//! one, keep it for refunds, and look a payment's key up there before its deposit is repeated here.
//!
//! # Buckets
//!
//! Accounts are spread over buckets by a hash of their names. The number of buckets is chosen when the ledger is created
//! (`?buckets=8`) and fixed for ever: the hash depends on it. A bucket is written by one connection at a time, so the
//! number of buckets bounds how many batches are written side by side. Too few leave cores idle; too many make batches
//! small, and small batches cost more per command. The default, 2, is for one server of a few cores; choose as many as the
//! server will ever have cores, or, to be spread over machines, as many as all of them together.
//!
//! What `cargo bench --bench fleet --features postgres -- --study` says on a machine of two cores that it shares with the
//! server: 1,024 callers in all and 10,000 accounts, medians of 3 rounds, with 0 and 1 ms added to each round trip.
//!
//! | buckets | 16 processes: p99, ms | pairs/s | commands a batch | 4 processes: p99, ms | pairs/s | 1 process: p99, ms | pairs/s |
//! |---|---|---|---|---|---|---|---|
//! | 1 | 134, 504 | 10,768, 3,968 | 62 | 84, 101 | 14,752, 7,129 | 29, 36 | 29,184, 18,688 |
//! | 2 | 152, 304 | 9,946, 3,759 | 27 | 63, 101 | 20,204, 9,759 | 23, 32 | 36,616, 22,076 |
//! | 4 | 325, 632 | 5,677, 3,045 | 12 | 65, 110 | 18,687, 10,340 | 25, 28 | 36,632, 26,294 |
//! | 8 | 288, 682 | 4,252, 2,636 | 6 | 66, 101 | 14,598, 9,219 | 28, 40 | 32,809, 20,984 |
//! | 32 | 652, 2,292 | 1,620, 917 | 2 | 134, 228 | 6,707, 3,718 | 41, 111 | 20,737, 7,587 |
//! | 128 | 1,100, 2,415 | 980, 276 | 1 | 360, 670 | 2,542, 1,292 | 100, 372 | 8,219, 2,168 |
//!
//! Of a server of half the speed the numbers are half as good, and with 16 processes 1 bucket does as well as 2.
//!
//! An account as large as all others together slows its neighbours down. Place it, before it is opened, into a bucket of
//! its own with [`PostgresStore::place`](crate::store::postgres::PostgresStore::place), and keep that bucket free of others by placing no one else there; the
//! hash still leads some accounts to it, so create a bucket more than the cores need.
//!
//! # The role
//!
//! The journal is append-only by grants. Create the ledger as its owner, and run as a role that may not change it:
//!
//! ```sql
//! create role prepaid_writer login password '…';
//! grant usage on schema prepaid to prepaid_writer;
//! grant select, insert, update on all tables in schema prepaid to prepaid_writer;
//! revoke update on prepaid.entries, prepaid.keys from prepaid_writer;
//! ```
//!
//! With `?append_only=required` a ledger refuses to open as a role that may do more; without it, it warns.
//!
//! # The server
//!
//! PostgreSQL 14 or newer, `fsync` and `full_page_writes` on: a server that would lose commits is refused. Every
//! transaction sets `synchronous_commit` to `on` at least. With a synchronous standby an answer means that the standby has
//! it too; a COMMIT is never cut short by a time-out of ours.
//!
//! Each process keeps up to [`writers`] connections that write, no more than there are buckets, and [`readers`] more: with
//! the defaults 6, so that 16 processes fit into a server of default settings, and 8 with 4 buckets or more. Everything the
//! ledger relies on is set for the transaction, so a pooler in transaction mode does no harm; where it does not know
//! prepared statements, open with `?prepared=never`.
//!
//! Over TLS a large batch leaves in several pieces, and the driver lets each wait for the acknowledgement of the one before:
//! on Linux that costs up to 40 ms a batch. On the same machine use a Unix socket (`postgres://USER@%2Fvar%2Frun%2Fpostgresql/DATABASE`),
//! on a network that is trusted `?sslmode=disable`; the default is TLS where the server offers it.
//!
//! [`writers`]: crate::store::postgres::PostgresOptions::writers
//! [`readers`]: crate::store::postgres::PostgresOptions::readers
//!
//! # More than one machine
//!
//! Every table that a command touches begins with the bucket, every key and index too, and every statement is pinned to
//! one bucket; a test reads them all. So the tables can be spread over machines by bucket, as the extension Citus does:
//! install it in the database before the ledger is created, and its tables are distributed as they are made. An older ledger
//! is spread by running `migrations/postgres/0002_distribution.sql` while no process has it open. All processes connect
//! to the coordinator, whose clock they share. A batch is written table by table, because that is what Citus runs without a
//! detour, all of it on the machine of its bucket, and is committed there in one phase. What is in no bucket (placements,
//! tariffs) is on every machine, and is written in two.
//!
//! Settings do not follow a statement to another machine, so each batch makes those that matter there: it waits for the disk
//! whatever the machine's `synchronous_commit` is. A machine with `fsync` or `full_page_writes` off is refused at opening, like
//! the coordinator. Statements are planned anew at each use; that costs time per batch and not per command, so large
//! batches suffer little.
//!
//! Citus places buckets by a hash of its own, and few of them may all be on one machine. To see where they are (here 8;
//! `citus_move_shard_placement` moves one):
//!
//! ```sql
//! select bucket, nodename, nodeport, shardid from generate_series(0, 7) bucket
//! join citus_shards on shardid = get_shard_id_for_distribution_column('prepaid.buckets', bucket);
//! ```
//!
//! This was verified with Citus 13.2 on PostgreSQL 15, a coordinator and two workers on one computer: the suite of all
//! stores, acceptance, histories, retention, connections cut at every message, processes that die and freeze while workers
//! crash, and `tests/citus.rs`, which says how to run it on yours. How it scales over real machines nobody has measured.
//!
//! CockroachDB and YugabyteDB speak the same protocol, and conflicts (SQLSTATE 40001) are retried; nobody has run the
//! crate on them, and the advisory lock around migrations is PostgreSQL's.
