//! Every statement, with the index it uses.

/// Locks the database for writing: the bucket's row is the database.
pub(super) const BEGIN: &str = "begin immediate";
/// Makes everything since `BEGIN` durable.
pub(super) const COMMIT: &str = "commit";
/// Takes everything since `BEGIN` back.
pub(super) const ROLLBACK: &str = "rollback";
/// How long the log is, and how much of it is in the database.
pub(super) const LOOK_AT_LOG: &str = "pragma wal_checkpoint(noop)";
/// Moves what it can of the log into the database, while others write.
pub(super) const CHECKPOINT: &str = "pragma wal_checkpoint(passive)";
/// Moves all of it, and empties the log.
pub(super) const CHECKPOINT_AT_END: &str = "pragma wal_checkpoint(truncate)";
/// One snapshot for several reads.
pub(super) const BEGIN_READ: &str = "begin deferred";
/// Whether pages and indexes are in order: "ok", or the first thing that is not. Reads everything.
pub(super) const CHECK: &str = "pragma integrity_check(1)";

/// The bucket's counters, but for what blobs in the backlog say; one row.
pub(super) const SELECT_BUCKET: &str = "select position, hold_no, account_no, pause from buckets where bucket = 0";
/// Advances the bucket; one row.
pub(super) const UPDATE_BUCKET: &str = "update buckets set position = max(position, ?1), hold_no = max(hold_no, ?2), \
     account_no = max(account_no, ?3), pause = max(pause, ?4), indexed = max(indexed, ?5) where bucket = 0";

macro_rules! account_columns {
    () => {
        "account_no, id, asset, status, credit, debt, open_holds_max, hold_max, held_max, ceiling, on_lapse, overrun, ttl, \
         grace, late, available, held, revenue, funding, promotion, breakage, write_off, available_promo, held_promo, \
         revenue_promo, lots_free, last_lot, last_budget, budgets, open_holds, lapsed_holds, seq, head, last_position, last_at, \
         closed, archived, pruned, checkpoint"
    };
}

macro_rules! hold_columns {
    () => {
        "hold_no, account_no, key, request, attempt, token, state, pinned, takes, held, held_at_close, reported, reported_tokens, \
         provisional, provisional_tokens, settled_as, settled_as_tokens, actual, actual_tokens, captured, written_off, \
         refunded, opened_at, deadline, closed_at, due, seq"
    };
}

macro_rules! entry_columns {
    ($prefix:literal) => {
        concat!(
            $prefix,
            "position, ",
            $prefix,
            "account_no, ",
            $prefix,
            "seq, ",
            $prefix,
            "previous, ",
            $prefix,
            "at, ",
            $prefix,
            "kind, ",
            $prefix,
            "available, ",
            $prefix,
            "held, ",
            $prefix,
            "revenue, ",
            $prefix,
            "funding, ",
            $prefix,
            "promotion, ",
            $prefix,
            "breakage, ",
            $prefix,
            "write_off, ",
            $prefix,
            "available_promo, ",
            $prefix,
            "held_promo, ",
            $prefix,
            "revenue_promo, ",
            $prefix,
            "available_after, ",
            $prefix,
            "held_after, ",
            $prefix,
            "request, ",
            $prefix,
            "attempt, ",
            $prefix,
            "key, ",
            $prefix,
            "arguments, ",
            $prefix,
            "label, ",
            $prefix,
            "body, ",
            $prefix,
            "metadata, ",
            $prefix,
            "hash"
        )
    };
}

/// An account by its name: unique index on `id`.
pub(super) const SELECT_ACCOUNT: &str = concat!("select ", account_columns!(), " from accounts where id = ?1");
/// An account's name by its number: primary key.
pub(super) const SELECT_NAME: &str = "select id from accounts where account_no = ?1";
/// Accounts by number: primary key.
pub(super) const SELECT_ACCOUNTS: &str =
    concat!("select ", account_columns!(), " from accounts where account_no > ?1 order by account_no limit ?2");
/// A new account.
pub(super) const INSERT_ACCOUNT: &str = concat!(
    "insert into accounts (",
    account_columns!(),
    ") values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, \
     ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31, ?32, ?33, ?34, ?35, ?36, ?37, ?38, ?39)"
);
/// An account's money and the end of its journal: primary key.
pub(super) const UPDATE_ACCOUNT: &str = "update accounts set available = ?2, held = ?3, revenue = ?4, funding = ?5, \
     promotion = ?6, breakage = ?7, write_off = ?8, available_promo = ?9, held_promo = ?10, revenue_promo = ?11, \
     lots_free = ?12, open_holds = ?13, lapsed_holds = ?14, seq = ?15, head = ?16, last_position = ?17, last_at = ?18 where account_no = ?1";
/// What an account is held to, how many lots and budgets it has, and how much of its past is archived: primary key.
pub(super) const UPDATE_ACCOUNT_TERMS: &str = "update accounts set status = ?2, credit = ?3, debt = ?4, open_holds_max = ?5, \
     hold_max = ?6, held_max = ?7, ceiling = ?8, on_lapse = ?9, overrun = ?10, ttl = ?11, grace = ?12, late = ?13, \
     last_lot = ?14, last_budget = ?15, budgets = ?16, closed = ?17, archived = ?18, pruned = ?19, checkpoint = ?20 where account_no = ?1";

/// What a key leads to: primary key.
pub(super) const SELECT_KEY: &str = "select target from keys where hash = ?1";
/// A new key.
pub(super) const INSERT_KEY: &str = "insert into keys (hash, target) values (?1, ?2)";
/// Keys of holds that are not in the index yet: primary keys.
pub(super) const SELECT_UNINDEXED: &str = "select hold_no, key from holds \
     where hold_no > (select indexed from buckets where bucket = 0) and not exists (select 1 from keys where hash = key) \
     order by hold_no";

/// A hold by its number: primary key.
pub(super) const SELECT_HOLD: &str = concat!("select ", hold_columns!(), " from holds where hold_no = ?1");
/// An account's open holds that may be overdue: holds_pending.
pub(super) const SELECT_OVERDUE: &str =
    concat!("select ", hold_columns!(), " from holds where account_no = ?1 and due <= ?2 and state = 0");
/// An account's holds that are not final: holds_pending.
pub(super) const SELECT_PENDING: &str = concat!(
    "select ",
    hold_columns!(),
    " from holds where account_no = ?1 and due is not null and hold_no > ?2 order by hold_no"
);
/// Holds that are due: holds_due.
pub(super) const SELECT_DUE: &str = concat!("select ", hold_columns!(), " from holds where due <= ?1 order by due");
/// Makes a hold or changes it: primary key; the partial indexes only when `due` changes.
pub(super) const UPSERT_HOLD: &str = concat!(
    "insert into holds (",
    hold_columns!(),
    ") values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, \
     ?24, ?25, ?26, ?27) on conflict (hold_no) do update set state = excluded.state, takes = excluded.takes, held = excluded.held, \
     held_at_close = excluded.held_at_close, reported = excluded.reported, reported_tokens = excluded.reported_tokens, \
     provisional = excluded.provisional, provisional_tokens = excluded.provisional_tokens, settled_as = excluded.settled_as, \
     settled_as_tokens = excluded.settled_as_tokens, actual = excluded.actual, actual_tokens = excluded.actual_tokens, \
     captured = excluded.captured, written_off = excluded.written_off, refunded = excluded.refunded, \
     deadline = excluded.deadline, closed_at = excluded.closed_at, due = excluded.due, \
     seq = excluded.seq"
);

/// The blobs of rows that wait, oldest first: primary key.
pub(super) const SELECT_BACKLOG: &str = "select batch, rows from backlog order by batch";
/// What a batch changed.
pub(super) const INSERT_BACKLOG: &str = "insert into backlog (batch, rows) values (?1, ?2)";
/// Blobs in which nothing waits any more: primary key.
pub(super) const DELETE_BACKLOG: &str = "delete from backlog where batch < ?1";

macro_rules! lot_columns {
    () => {
        "account_no, lot_no, class, expiry, priority, models, amount, free, created_at"
    };
}

macro_rules! budget_columns {
    () => {
        "account_no, budget_no, scope, window, metric, cap, active, version"
    };
}

/// A lot by its number: primary key.
pub(super) const SELECT_LOT: &str =
    concat!("select ", lot_columns!(), " from lots where account_no = ?1 and lot_no = ?2");
/// An account's lots with free money: lots_live, or an account's past would be read for its order.
pub(super) const SELECT_LIVE_LOTS: &str = concat!(
    "select ",
    lot_columns!(),
    " from lots indexed by lots_live where account_no = ?1 and free > 0 order by lot_no"
);
/// Lots that expired with money in them: lots_expiring.
pub(super) const SELECT_DUE_LOTS: &str = concat!(
    "select ",
    lot_columns!(),
    " from lots where free > 0 and expiry is not null and expiry <= ?1 order by expiry, account_no, lot_no"
);
/// A new lot.
pub(super) const INSERT_LOT: &str =
    concat!("insert into lots (", lot_columns!(), ") values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)");
/// What changes in a lot: primary key; the partial indexes only when it becomes empty or is filled again.
pub(super) const UPDATE_LOT: &str = "update lots set free = ?3 where account_no = ?1 and lot_no = ?2";

/// The budgets of a scope: budgets_scope, or all of an account's would be read for their order.
pub(super) const SELECT_SCOPE_BUDGETS: &str = concat!(
    "select ",
    budget_columns!(),
    " from budgets indexed by budgets_scope where account_no = ?1 and scope = ?2 order by budget_no"
);
/// An account's budgets by number: primary key.
pub(super) const SELECT_BUDGETS: &str = concat!(
    "select ",
    budget_columns!(),
    " from budgets where account_no = ?1 and budget_no > ?2 order by budget_no limit ?3"
);
/// Makes a budget or changes it: primary key.
pub(super) const UPSERT_BUDGET: &str = concat!(
    "insert into budgets (",
    budget_columns!(),
    ") values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) on conflict (account_no, budget_no) \
     do update set cap = excluded.cap, active = excluded.active, version = excluded.version"
);

/// A window of a budget: primary key.
pub(super) const SELECT_WINDOW: &str =
    "select used, held from budget_windows where account_no = ?1 and budget_no = ?2 and start = ?3";
/// The windows of a budget, in order: primary key.
pub(super) const SELECT_WINDOWS: &str = "select account_no, budget_no, start, used, held from budget_windows \
     where account_no = ?1 and budget_no = ?2 and start >= ?3 order by start";
/// Begins a window or changes what it counted: primary key.
pub(super) const UPSERT_WINDOW: &str = "insert into budget_windows (account_no, budget_no, start, used, held) \
     values (?1, ?2, ?3, ?4, ?5) on conflict (account_no, budget_no, start) \
     do update set used = excluded.used, held = excluded.held";

/// The operation an entry records: primary key.
pub(super) const SELECT_OPERATION: &str = "select key, arguments, seq from entries where position = ?1";
/// A new entry.
pub(super) const INSERT_ENTRY: &str = concat!(
    "insert into entries (",
    entry_columns!(""),
    ") values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?10, ?11, ?12, ?13, ?24, ?25, ?14, \
     ?15, ?26, ?16)"
);
/// A new entry that says what became of a hold and nothing else, as nearly all do: a parameter that is always the same
/// costs as much as any other.
pub(super) const INSERT_HOLD_ENTRY: &str = concat!(
    "insert into entries (",
    entry_columns!(""),
    ") values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 0, 0, 0, 0, 0, 0, 0, ?10, ?11, ?12, ?13, null, null, ?14, ?15, null, ?16)"
);
/// Entries in commit order: primary key.
pub(super) const SELECT_FEED: &str = concat!(
    "select ",
    entry_columns!("e."),
    ", a.id from entries e join accounts a using (account_no) where e.position > ?1 order by e.position limit ?2"
);
/// The first milestone of an account at or after an entry: entries_milestone.
pub(super) const SELECT_MILESTONE: &str =
    "select position from entries where account_no = ?1 and seq >= ?2 and seq & 63 = 0 order by seq limit 1";
/// An entry by its position: primary key.
pub(super) const SELECT_ENTRY: &str = concat!("select ", entry_columns!(""), " from entries where position = ?1");

/// All accounts: primary key.
pub(super) const SCAN_ACCOUNTS: &str = concat!("select ", account_columns!(), " from accounts order by account_no");
/// All holds: primary key.
pub(super) const SCAN_HOLDS: &str = concat!("select ", hold_columns!(), " from holds order by hold_no");
/// All lots: primary key.
pub(super) const SCAN_LOTS: &str = concat!("select ", lot_columns!(), " from lots order by account_no, lot_no");
/// All budgets: primary key.
pub(super) const SCAN_BUDGETS: &str =
    concat!("select ", budget_columns!(), " from budgets order by account_no, budget_no");
/// All windows: primary key.
pub(super) const SCAN_WINDOWS: &str =
    "select account_no, budget_no, start, used, held from budget_windows order by account_no, budget_no, start";
/// All entries: primary key.
pub(super) const SCAN_ENTRIES: &str = concat!(
    "select ",
    entry_columns!("e."),
    ", a.id from entries e left join accounts a using (account_no) order by e.position"
);
/// All keys: primary key.
pub(super) const SCAN_KEYS: &str = "select hash, target from keys order by hash";

/// The checkpoints that journals begin from: primary keys.
pub(super) const SCAN_CHECKPOINTS: &str = concat!(
    "select ",
    entry_columns!("e."),
    ", a.id from accounts a join entries e on e.position = a.checkpoint where a.checkpoint > 0 order by a.account_no"
);

/// Up to which position entries may have been pruned; one row.
pub(super) const SELECT_PRUNED: &str = "select pruned from buckets where bucket = 0";
/// Says so; one row.
pub(super) const UPDATE_PRUNED: &str = "update buckets set pruned = max(pruned, ?1) where bucket = 0";
/// An archived entry goes: primary key.
pub(super) const DELETE_ENTRY: &str = "delete from entries where position = ?1";
/// A hold goes with its last entry: primary key.
pub(super) const DELETE_HOLD: &str = "delete from holds where hold_no = ?1";
/// A lot that is over goes: primary key.
pub(super) const DELETE_LOT: &str = "delete from lots where account_no = ?1 and lot_no = ?2";
/// A window that is over goes: primary key.
pub(super) const DELETE_WINDOW: &str =
    "delete from budget_windows where account_no = ?1 and budget_no = ?2 and start = ?3";
/// A key leads nowhere any more, whether it was in the index before or not: primary key.
pub(super) const CLEAR_KEY: &str =
    "insert into keys (hash, target) values (?1, 0) on conflict (hash) do update set target = 0";

/// A tariff by the hash of its content: primary key.
pub(super) const SELECT_TARIFF: &str = "select content from tariffs where hash = ?1";
/// Keeps a tariff; keeping it again changes nothing.
pub(super) const INSERT_TARIFF: &str = "insert into tariffs (hash, content) values (?1, ?2) on conflict do nothing";

/// A value of the ledger's own: primary key.
pub(super) const SELECT_META: &str = "select value from meta where name = ?1";
/// A value of the ledger's own, new or changed: primary key.
pub(super) const UPSERT_META: &str =
    "insert into meta (name, value) values (?1, ?2) on conflict (name) do update set value = excluded.value";
/// A new value of the ledger's own.
pub(super) const INSERT_META: &str = "insert into meta (name, value) values (?1, ?2)";
