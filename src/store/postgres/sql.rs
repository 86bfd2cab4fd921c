//! Every statement, with the index it uses.
//!
//! `$1` is always the bucket, and every table a command touches is pinned to it. What inserts takes the bucket from the
//! bucket's row and not from the parameter, so that a database spread over machines runs the statement where the rows are.
//!
//! While a table is young the planner takes all of a bucket for a row or two, and would look through the bucket for each
//! row that is wanted; and it keeps such a plan. So rows are found by a `lateral` of one row each, which leaves it no choice,
//! and updated where they were found. Accounts have two indexes that begin with the bucket: there the order asked for names the
//! one that is meant, and an account lies between itself and itself, because what is equal needs no order.

/// Makes everything since the transaction's begin durable. A COMMIT alone would say that all is well when it has taken
/// back a transaction in which a statement failed; the setting before it is refused then. And a time-out that strikes in
/// the middle of a COMMIT ends the wait for a standby as if it had answered, so there is none.
pub(super) const COMMIT: &str = "set local statement_timeout = 0; commit";
/// Takes everything since the transaction's begin back.
pub(super) const ROLLBACK: &str = "rollback";
/// One snapshot for several reads; settings follow.
pub(super) const BEGIN_READ: &str = "begin isolation level repeatable read read only";
/// For a scan, which takes as long as it takes.
pub(super) const UNHURRIED: &str = "set local statement_timeout = 0; set local idle_in_transaction_session_timeout = 0";
/// Each statement sees what was committed before it began; settings and the lock follow.
pub(super) const BEGIN: &str = "begin isolation level read committed";

/// The bucket's row, locked: primary key. It is sent together with BEGIN, and such a message has no parameters: the
/// bucket's number stands for `$1`.
pub(super) const LOCK_BUCKET: &str =
    "select position, hold_no, account_no, version from prepaid.buckets where bucket = $1 for update";
/// The database's time, in microseconds.
pub(super) const SELECT_TIME: &str = "select (extract(epoch from clock_timestamp()) * 1000000)::bigint";
/// The bucket's counters: primary key.
pub(super) const SELECT_BUCKET: &str =
    "select position, hold_no, account_no, pause from prepaid.buckets where bucket = $1";
/// Advances the bucket: primary key.
pub(super) const UPDATE_BUCKET: &str = "update prepaid.buckets set position = $2, hold_no = $3, account_no = $4, \
     pause = greatest(pause, $5), version = $6 where bucket = $1";

macro_rules! account_columns {
    () => {
        "account_no, id, asset, status, credit, debt, open_holds_max, hold_max, held_max, ceiling, on_lapse, overrun, ttl, \
         grace, late, last_lot, last_budget, budgets"
    };
}

macro_rules! balance_columns {
    () => {
        "available, held, revenue, open_holds, seq, head, last_position, last_at, funding, promotion, breakage, write_off, \
         available_promo, held_promo, revenue_promo, lots_free, lapsed_holds, closed, archived, pruned, checkpoint"
    };
}

/// The balance of each account `a`: primary key. One that is missing is found by its nulls.
macro_rules! balance_of_account {
    () => {
        concat!(
            " left join lateral (select ",
            balance_columns!(),
            " from prepaid.balances s where s.bucket = $1 and s.account_no = a.account_no limit 1) s on true"
        )
    };
}

/// What a hold has when it is opened, as nearly all are: the other columns have defaults.
macro_rules! open_hold_columns {
    () => {
        "hold_no, account_no, key, request, attempt, token, pinned, held, opened_at, deadline, due, seq"
    };
}

macro_rules! hold_columns {
    () => {
        concat!(
            open_hold_columns!(),
            ", state, takes, held_at_close, reported, reported_tokens, provisional, provisional_tokens, settled_as, \
             settled_as_tokens, actual, actual_tokens, captured, written_off, refunded, closed_at"
        )
    };
}

/// What an entry says of a hold and nothing else, as nearly all do: the other columns have defaults.
macro_rules! hold_entry_columns {
    () => {
        "position, account_no, seq, previous, at, kind, available, held, revenue, available_after, held_after, request, \
         attempt, label, body, hash"
    };
}

macro_rules! entry_columns {
    () => {
        concat!(
            hold_entry_columns!(),
            ", funding, promotion, breakage, write_off, available_promo, held_promo, revenue_promo, key, arguments, metadata"
        )
    };
}

macro_rules! lot_columns {
    () => {
        "account_no, lot_no, class, expiry, priority, models, amount, free, created_at"
    };
}

macro_rules! budget_columns {
    () => {
        "account_no, budget_no, scope, period, metric, cap, active, version"
    };
}

macro_rules! window_columns {
    () => {
        "account_no, budget_no, start, used, held"
    };
}

/// Accounts by their names: unique index on `bucket, id`.
pub(super) const SELECT_NAMED_ACCOUNTS: &str = concat!(
    "select ",
    account_columns!(),
    ", ",
    balance_columns!(),
    " from unnest($2::text[]) x(wanted) \
     cross join lateral (select * from prepaid.accounts a where a.bucket = $1 and a.id between x.wanted and x.wanted \
     order by a.id limit 1) a",
    balance_of_account!()
);
/// Accounts by number: primary key.
pub(super) const SELECT_ACCOUNTS: &str = concat!(
    "select ",
    account_columns!(),
    ", ",
    balance_columns!(),
    " from (select * from prepaid.accounts where bucket = $1 and account_no > $2 order by account_no limit $3) a",
    balance_of_account!(),
    " order by account_no"
);
/// New accounts.
pub(super) const INSERT_ACCOUNT: &str = concat!(
    "insert into prepaid.accounts as t (bucket, ",
    account_columns!(),
    ") select b.bucket, x.* from prepaid.buckets b cross join unnest($2::bigint[], $3::text[], $4::text[], \
     $5::smallint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], \
     $12::smallint[], $13::smallint[], $14::bigint[], $15::bigint[], $16::bigint[], $17::bigint[], $18::bigint[], \
     $19::bigint[]) x where b.bucket = $1"
);
/// Their balances.
pub(super) const INSERT_BALANCE: &str = concat!(
    "insert into prepaid.balances as t (bucket, account_no, ",
    balance_columns!(),
    ") select b.bucket, x.* from prepaid.buckets b cross join unnest($2::bigint[], $3::bigint[], $4::bigint[], \
     $5::bigint[], $6::bigint[], $7::bigint[], $8::bytea[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], \
     $13::bigint[], $14::bigint[], $15::bigint[], $16::bigint[], $17::bigint[], $18::bigint[], $19::bigint[], \
     $20::bigint[], $21::bigint[], $22::bigint[], $23::bigint[]) x where b.bucket = $1"
);

macro_rules! update_balance {
    ($set:literal, $arrays:literal, $names:literal) => {
        concat!(
            "update prepaid.balances t set available = x.available, held = x.held, revenue = x.revenue, \
             open_holds = x.open_holds, seq = x.seq, head = x.head, last_position = x.last_position, last_at = x.last_at",
            $set,
            " from unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bytea[], \
             $9::bigint[], $10::bigint[]",
            $arrays,
            ") x(account_no, available, held, revenue, open_holds, seq, head, last_position, last_at",
            $names,
            ")",
            place_of!("balances", "account_no")
        )
    };
}
/// What holds change in balances: primary key.
pub(super) const UPDATE_BALANCE: &str = update_balance!("", "", "");
/// Balances, and how much of accounts' past is archived: primary key.
pub(super) const UPDATE_WHOLE_BALANCE: &str = update_balance!(
    ", funding = x.funding, promotion = x.promotion, breakage = x.breakage, write_off = x.write_off, \
     available_promo = x.available_promo, held_promo = x.held_promo, revenue_promo = x.revenue_promo, \
     lots_free = x.lots_free, lapsed_holds = x.lapsed_holds, closed = x.closed, archived = x.archived, \
     pruned = x.pruned, checkpoint = x.checkpoint",
    ", $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[], $15::bigint[], $16::bigint[], $17::bigint[], \
     $18::bigint[], $19::bigint[], $20::bigint[], $21::bigint[], $22::bigint[], $23::bigint[]",
    ", funding, promotion, breakage, write_off, available_promo, held_promo, revenue_promo, lots_free, lapsed_holds, \
     closed, archived, pruned, checkpoint"
);
/// What accounts are held to, and how many lots and budgets they have: primary key.
pub(super) const UPDATE_ACCOUNT_TERMS: &str = "update prepaid.accounts t set status = x.status, credit = x.credit, \
     debt = x.debt, open_holds_max = x.open_holds_max, hold_max = x.hold_max, held_max = x.held_max, ceiling = x.ceiling, \
     on_lapse = x.on_lapse, overrun = x.overrun, ttl = x.ttl, grace = x.grace, late = x.late, last_lot = x.last_lot, \
     last_budget = x.last_budget, budgets = x.budgets from unnest($2::bigint[], $3::smallint[], $4::bigint[], \
     $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[], $10::smallint[], $11::smallint[], \
     $12::bigint[], $13::bigint[], $14::bigint[], $15::bigint[], $16::bigint[], $17::bigint[]) \
     x(account_no, status, credit, debt, open_holds_max, hold_max, held_max, ceiling, on_lapse, overrun, ttl, grace, late, \
     last_lot, last_budget, budgets) cross join lateral (select a.ctid place from prepaid.accounts a where a.bucket = $1 \
     and a.account_no between x.account_no and x.account_no order by a.account_no limit 1) f \
     where t.bucket = $1 and t.ctid = f.place";

/// What keys lead to: a hold, or the operation an entry records. Primary keys.
pub(super) const SELECT_KEYED: &str = concat!(
    "select hash, target, operation, operation_arguments, operation_seq, ",
    hold_columns!(),
    " from unnest($2::bytea[]) x(wanted) cross join lateral (select k.hash, k.target from prepaid.keys k \
     where k.bucket = $1 and k.hash = x.wanted limit 1) k left join lateral (select * from prepaid.holds h \
     where h.bucket = $1 and h.hold_no = k.target limit 1) h on true \
     left join lateral (select e.key operation, e.arguments operation_arguments, e.seq operation_seq \
     from prepaid.entries e where e.bucket = $1 and e.position = -k.target limit 1) e on true"
);
/// What a key leads to: primary key.
pub(super) const SELECT_KEY: &str = "select target from prepaid.keys where bucket = $1 and hash = $2";
/// New keys.
pub(super) const INSERT_KEY: &str = "insert into prepaid.keys as t (bucket, hash, target) select b.bucket, x.* \
     from prepaid.buckets b cross join unnest($2::bytea[], $3::bigint[]) x where b.bucket = $1";

/// A hold by its number: primary key.
pub(super) const SELECT_HOLD: &str =
    concat!("select ", hold_columns!(), " from prepaid.holds where bucket = $1 and hold_no = $2");
/// Accounts' open holds that may be overdue: holds_due.
pub(super) const SELECT_OVERDUE: &str = concat!(
    "select ",
    hold_columns!(),
    " from prepaid.holds where bucket = $1 and account_no = any($2) and due <= $3 and state = 0"
);
/// An account's holds that are not final: holds_due.
pub(super) const SELECT_PENDING: &str = concat!(
    "select ",
    hold_columns!(),
    " from prepaid.holds where bucket = $1 and account_no = $2 and due is not null and hold_no > $3 \
     order by hold_no limit $4"
);
/// Holds that are due: holds_due.
pub(super) const SELECT_DUE: &str = concat!(
    "select ",
    account_name!("h"),
    ", request, attempt, state from prepaid.holds h where h.bucket = $1 and h.due <= $2 order by h.due, h.hold_no limit $3"
);
macro_rules! insert_hold {
    ($columns:expr, $arrays:literal) => {
        concat!(
            "insert into prepaid.holds as t (bucket, ",
            $columns,
            ") select b.bucket, x.* from prepaid.buckets b cross join unnest($2::bigint[], $3::bigint[], $4::bytea[], \
             $5::text[], $6::bigint[], $7::bytea[], $8::bytea[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], \
             $13::bigint[]",
            $arrays,
            ") x where b.bucket = $1"
        )
    };
}
/// New holds that are open.
pub(super) const INSERT_OPEN_HOLD: &str = insert_hold!(open_hold_columns!(), "");
/// New holds.
pub(super) const INSERT_HOLD: &str = insert_hold!(
    hold_columns!(),
    ", $14::smallint[], $15::bytea[], $16::bigint[], $17::bigint[], $18::bigint[], $19::bigint[], $20::bigint[], \
     $21::bigint[], $22::bigint[], $23::bigint[], $24::bigint[], $25::bigint[], $26::bigint[], $27::bigint[], $28::bigint[]"
);

macro_rules! update_hold {
    ($set:literal, $arrays:literal, $names:literal) => {
        concat!(
            "update prepaid.holds t set state = x.state, held = x.held, held_at_close = x.held_at_close, \
             settled_as = x.settled_as, settled_as_tokens = x.settled_as_tokens, actual = x.actual, \
             actual_tokens = x.actual_tokens, captured = x.captured, closed_at = x.closed_at, due = x.due, seq = x.seq",
            $set,
            " from unnest($2::bigint[], $3::smallint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], \
             $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[]",
            $arrays,
            ") x(hold_no, state, held, held_at_close, settled_as, settled_as_tokens, actual, actual_tokens, captured, \
             closed_at, due, seq",
            $names,
            ")",
            place_of!("holds", "hold_no")
        )
    };
}
/// What closing changes in holds: primary key; the partial index because `due` changes.
pub(super) const UPDATE_CLOSED_HOLD: &str = update_hold!("", "", "");
/// What changes in holds: primary key; the partial index only when `due` changes.
pub(super) const UPDATE_HOLD: &str = update_hold!(
    ", takes = x.takes, reported = x.reported, reported_tokens = x.reported_tokens, provisional = x.provisional, \
     provisional_tokens = x.provisional_tokens, written_off = x.written_off, refunded = x.refunded, deadline = x.deadline",
    ", $14::bytea[], $15::bigint[], $16::bigint[], $17::bigint[], $18::bigint[], $19::bigint[], $20::bigint[], $21::bigint[]",
    ", takes, reported, reported_tokens, provisional, provisional_tokens, written_off, refunded, deadline"
);

/// Lots by their numbers: primary key.
pub(super) const SELECT_LOT: &str = concat!(
    "select ",
    lot_columns!(),
    " from unnest($2::bigint[], $3::bigint[]) x(of_account, number) cross join lateral (select * from prepaid.lots l \
     where l.bucket = $1 and l.account_no = x.of_account and l.lot_no = x.number limit 1) l"
);
/// Accounts' lots with free money: lots_live.
pub(super) const SELECT_LIVE_LOTS: &str = concat!(
    "select ",
    lot_columns!(),
    " from prepaid.lots where bucket = $1 and account_no = any($2) and live order by account_no, lot_no"
);
/// Lots that expired with money in them: lots_expiring.
pub(super) const SELECT_DUE_LOTS: &str = concat!(
    "select ",
    account_name!("l"),
    ", lot_no from prepaid.lots l where l.bucket = $1 and l.live and l.expiry is not null and l.expiry <= $2 \
     order by l.expiry, l.account_no, l.lot_no limit $3"
);
/// New lots.
pub(super) const INSERT_LOT: &str = concat!(
    "insert into prepaid.lots as t (bucket, ",
    lot_columns!(),
    ") select b.bucket, x.* from prepaid.buckets b cross join unnest($2::bigint[], $3::bigint[], $4::smallint[], \
     $5::bigint[], $6::bigint[], $7::text[], $8::bigint[], $9::bigint[], $10::bigint[]) x where b.bucket = $1"
);
/// What changes in lots: primary key; the partial indexes only when one becomes empty or is filled again.
pub(super) const UPDATE_LOT: &str = "update prepaid.lots t set free = x.free \
     from unnest($2::bigint[], $3::bigint[], $4::bigint[]) x(account_no, lot_no, free) \
     cross join lateral (select l.ctid place from prepaid.lots l where l.bucket = $1 and l.account_no = x.account_no \
     and l.lot_no = x.lot_no limit 1) f where t.bucket = $1 and t.ctid = f.place";

/// The budgets of scopes: unique index on `bucket, account_no, scope, metric, period`.
pub(super) const SELECT_SCOPE_BUDGETS: &str = concat!(
    "select ",
    budget_columns!(),
    " from unnest($2::bigint[], $3::text[]) x(of_account, of_scope) cross join lateral (select * from prepaid.budgets b \
     where b.bucket = $1 and b.account_no = x.of_account and b.scope = x.of_scope offset 0) b \
     order by account_no, budget_no"
);
/// An account's budgets by number: primary key.
pub(super) const SELECT_BUDGETS: &str = concat!(
    "select ",
    budget_columns!(),
    " from prepaid.budgets where bucket = $1 and account_no = $2 and budget_no > $3 order by budget_no limit $4"
);
/// Makes budgets or changes them: primary key.
pub(super) const UPSERT_BUDGET: &str = concat!(
    "insert into prepaid.budgets as t (bucket, ",
    budget_columns!(),
    ") select b.bucket, x.* from prepaid.buckets b cross join unnest($2::bigint[], $3::bigint[], $4::text[], $5::text[], \
     $6::smallint[], $7::bigint[], $8::boolean[], $9::bigint[]) x where b.bucket = $1 \
     on conflict (bucket, account_no, budget_no) \
     do update set cap = excluded.cap, active = excluded.active, version = excluded.version"
);

/// Windows of budgets: primary key.
pub(super) const SELECT_WINDOW: &str = concat!(
    "select ",
    window_columns!(),
    " from unnest($2::bigint[], $3::bigint[], $4::bigint[]) x(of_account, of_budget, begins) \
     cross join lateral (select * from prepaid.budget_windows w where w.bucket = $1 and w.account_no = x.of_account \
     and w.budget_no = x.of_budget and w.start = x.begins limit 1) w"
);
/// The windows of a budget, in order: primary key.
pub(super) const SELECT_WINDOWS: &str = concat!(
    "select ",
    window_columns!(),
    " from prepaid.budget_windows where bucket = $1 and account_no = $2 and budget_no = $3 and start >= $4 \
     order by start limit $5"
);
/// Begins windows or changes what they counted: primary key.
pub(super) const UPSERT_WINDOW: &str = concat!(
    "insert into prepaid.budget_windows as t (bucket, ",
    window_columns!(),
    ") select b.bucket, x.* from prepaid.buckets b cross join unnest($2::bigint[], $3::bigint[], $4::bigint[], \
     $5::bigint[], $6::bigint[]) x where b.bucket = $1 \
     on conflict (bucket, account_no, budget_no, start) do update set used = excluded.used, held = excluded.held"
);

macro_rules! insert_entry {
    ($columns:expr, $arrays:literal) => {
        concat!(
            "insert into prepaid.entries as t (bucket, ",
            $columns,
            ") select b.bucket, x.* from prepaid.buckets b cross join unnest($2::bigint[], $3::bigint[], $4::bigint[], \
             $5::bigint[], $6::bigint[], $7::smallint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], \
             $12::bigint[], $13::text[], $14::bigint[], $15::text[], $16::bytea[], $17::bytea[]",
            $arrays,
            ") x where b.bucket = $1"
        )
    };
}
/// New entries that say what became of holds.
pub(super) const INSERT_HOLD_ENTRY: &str = insert_entry!(hold_entry_columns!(), "");
/// New entries.
pub(super) const INSERT_ENTRY: &str = insert_entry!(
    entry_columns!(),
    ", $18::bigint[], $19::bigint[], $20::bigint[], $21::bigint[], $22::bigint[], $23::bigint[], $24::bigint[], $25::text[], \
     $26::bytea[], $27::bytea[]"
);
/// Entries in commit order: primary key.
pub(super) const SELECT_FEED: &str = concat!(
    "select ",
    entry_columns!(),
    ", ",
    account_name!("e"),
    " from prepaid.entries e where e.bucket = $1 and e.position > $2 order by e.position limit $3"
);
/// The first milestone of an account at or after an entry: entries_milestone.
pub(super) const SELECT_MILESTONE: &str = "select position from prepaid.entries where bucket = $1 and account_no = $2 \
     and seq >= $3 and seq & 63 = 0 order by seq limit 1";
/// From the entry at a position back to the one after number `$3`, without those after number `$4`: primary key.
pub(super) const SELECT_CHAIN: &str = concat!(
    "with recursive chain(link, before, number, owner) as (select e.position, e.previous, e.seq, e.account_no \
     from prepaid.entries e where e.bucket = $1 and e.position = $2 union all \
     select e.position, e.previous, e.seq, e.account_no from chain join prepaid.entries e \
     on e.bucket = $1 and e.position = chain.before and e.account_no = chain.owner where chain.number > $3 + 1) select ",
    entry_columns!(),
    " from chain join prepaid.entries e on e.bucket = $1 and e.position = link where number > $3 and number <= $4 \
     order by number"
);

/// All accounts: primary key.
pub(super) const SCAN_ACCOUNTS: &str = concat!(
    "select ",
    account_columns!(),
    ", ",
    balance_columns!(),
    " from prepaid.accounts a",
    balance_of_account!(),
    " where a.bucket = $1 order by account_no"
);
/// All holds: primary key.
pub(super) const SCAN_HOLDS: &str =
    concat!("select ", hold_columns!(), " from prepaid.holds where bucket = $1 order by hold_no");
/// All entries: primary key.
pub(super) const SCAN_ENTRIES: &str = concat!(
    "select ",
    entry_columns!(),
    ", ",
    account_name!("e"),
    " from prepaid.entries e where e.bucket = $1 order by e.position"
);
/// All lots: primary key.
pub(super) const SCAN_LOTS: &str =
    concat!("select ", lot_columns!(), " from prepaid.lots where bucket = $1 order by account_no, lot_no");
/// All budgets: primary key.
pub(super) const SCAN_BUDGETS: &str =
    concat!("select ", budget_columns!(), " from prepaid.budgets where bucket = $1 order by account_no, budget_no");
/// All windows: primary key.
pub(super) const SCAN_WINDOWS: &str = concat!(
    "select ",
    window_columns!(),
    " from prepaid.budget_windows where bucket = $1 order by account_no, budget_no, start"
);
/// All keys: primary key.
pub(super) const SCAN_KEYS: &str = "select hash, target from prepaid.keys where bucket = $1 order by hash";

/// The checkpoints that journals begin from: primary keys.
pub(super) const SCAN_CHECKPOINTS: &str = concat!(
    "select ",
    entry_columns!(),
    ", ",
    account_name!("e"),
    " from (select s.account_no owner, s.checkpoint place from prepaid.balances s where s.bucket = $1 \
     and s.checkpoint > 0) s cross join lateral (select * from prepaid.entries e where e.bucket = $1 \
     and e.position = s.place limit 1) e order by owner"
);

/// Up to which position entries may have been pruned: primary key.
pub(super) const SELECT_PRUNED: &str = "select pruned from prepaid.buckets where bucket = $1";
/// Says so: primary key.
pub(super) const UPDATE_PRUNED: &str = "update prepaid.buckets set pruned = greatest(pruned, $2) where bucket = $1";
/// Archived entries go: primary key.
pub(super) const DELETE_ENTRIES: &str = "delete from prepaid.entries where bucket = $1 and position = any($2)";
/// Holds go with their last entry: primary key.
pub(super) const DELETE_HOLDS: &str = "delete from prepaid.holds where bucket = $1 and hold_no = any($2)";
/// Lots that are over go: primary key.
pub(super) const DELETE_LOTS: &str = "delete from prepaid.lots l using unnest($2::bigint[], $3::bigint[]) \
     x(of_account, number) where l.bucket = $1 and l.account_no = x.of_account and l.lot_no = x.number";
/// Windows that are over go: primary key.
pub(super) const DELETE_WINDOWS: &str = "delete from prepaid.budget_windows w \
     using unnest($2::bigint[], $3::bigint[], $4::bigint[]) x(of_account, number, began) where w.bucket = $1 \
     and w.account_no = x.of_account and w.budget_no = x.number and w.start = x.began";
/// Keys lead nowhere any more: primary key.
pub(super) const CLEAR_KEYS: &str = "update prepaid.keys set target = 0 where bucket = $1 and hash = any($2)";

/// A tariff by the hash of its content: primary key.
pub(super) const SELECT_TARIFF: &str = "select content from prepaid.tariffs where hash = $1";
/// Keeps a tariff; keeping it again changes nothing.
pub(super) const INSERT_TARIFF: &str =
    "insert into prepaid.tariffs (hash, content) values ($1, $2) on conflict do nothing";

/// A value of the ledger's own: primary key.
pub(super) const SELECT_META: &str = "select value from prepaid.meta where name = $1";
/// A value of the ledger's own, new or changed: primary key.
pub(super) const UPSERT_META: &str =
    "insert into prepaid.meta (name, value) values ($1, $2) on conflict (name) do update set value = excluded.value";
/// A value of the ledger's own, which nobody else changes meanwhile: primary key.
pub(super) const LOCK_META: &str = "select value from prepaid.meta where name = $1 for update";
/// How many buckets there are.
pub(super) const COUNT_BUCKETS: &str = "select count(*) from prepaid.buckets";
/// The buckets, once.
pub(super) const INSERT_BUCKETS: &str = "insert into prepaid.buckets (bucket, position, hold_no, account_no, pause, version) \
     select bucket, 0, 0, 0, 0, 0 from generate_series(0, $1) bucket";

/// All accounts that are in another bucket than their names say.
pub(super) const SELECT_PLACEMENTS: &str = "select account, bucket from prepaid.placements";
/// Where accounts were placed: primary key.
pub(super) const SELECT_PLACED: &str = "select account, bucket from prepaid.placements where account = any($1)";
/// Places an account: primary key.
pub(super) const UPSERT_PLACEMENT: &str = "insert into prepaid.placements (account, bucket) values ($1, $2) \
     on conflict (account) do update set bucket = excluded.bucket";

#[cfg(test)]
mod tests {
    use super::*;

    macro_rules! statements {
        ($($name:ident)*) => { [$((stringify!($name), $name)),*] };
    }

    /// Every statement that runs inside a bucket, by name.
    const OF_A_BUCKET: &[(&str, &str)] = &statements! {
        LOCK_BUCKET SELECT_BUCKET UPDATE_BUCKET SELECT_NAMED_ACCOUNTS SELECT_ACCOUNTS INSERT_ACCOUNT
        INSERT_BALANCE UPDATE_BALANCE UPDATE_WHOLE_BALANCE UPDATE_ACCOUNT_TERMS SELECT_KEYED SELECT_KEY INSERT_KEY SELECT_HOLD SELECT_OVERDUE SELECT_PENDING
        SELECT_DUE INSERT_OPEN_HOLD INSERT_HOLD UPDATE_CLOSED_HOLD UPDATE_HOLD SELECT_LOT SELECT_LIVE_LOTS SELECT_DUE_LOTS INSERT_LOT UPDATE_LOT
        SELECT_SCOPE_BUDGETS SELECT_BUDGETS UPSERT_BUDGET SELECT_WINDOW SELECT_WINDOWS UPSERT_WINDOW
        INSERT_HOLD_ENTRY INSERT_ENTRY
        SELECT_FEED SELECT_MILESTONE SELECT_CHAIN SCAN_ACCOUNTS SCAN_HOLDS SCAN_ENTRIES SCAN_LOTS SCAN_BUDGETS
        SCAN_WINDOWS SCAN_KEYS SCAN_CHECKPOINTS SELECT_PRUNED UPDATE_PRUNED DELETE_ENTRIES DELETE_HOLDS DELETE_LOTS
        DELETE_WINDOWS CLEAR_KEYS
    };
    /// Statements about what is in no bucket, or about all of them.
    const OF_THE_LEDGER: &[(&str, &str)] = &statements! {
        COMMIT ROLLBACK BEGIN_READ UNHURRIED BEGIN SELECT_TIME SELECT_TARIFF INSERT_TARIFF SELECT_META UPSERT_META
        LOCK_META COUNT_BUCKETS INSERT_BUCKETS SELECT_PLACEMENTS SELECT_PLACED UPSERT_PLACEMENT
    };

    /// The tables a statement names that are not pinned to one bucket.
    fn unpinned(statement: &str) -> Vec<String> {
        let text = statement.replace(['(', ')', ','], " ");
        let words: Vec<_> = text.split_whitespace().collect();
        let mut unpinned = Vec::new();
        for (at, word) in words.iter().enumerate().filter(|(_, word)| word.starts_with("prepaid.")) {
            let mut next = words[at + 1..].iter().copied().filter(|word| *word != "as");
            let follows = next.next().unwrap_or_default();
            let is_alias = !["where", "set", "on", "cross", "join", "order", "values", "hash", "bucket", "using"]
                .contains(&follows);
            let inserted = at > 0 && words[at - 1] == "into";
            let column = if is_alias { format!("{follows}.bucket") } else { "bucket".to_owned() };
            let pinned = [format!(" {column} = $1"), format!(" {column} = $1 ")];
            // What is inserted carries the bucket of the bucket's row, which is pinned itself.
            let follows_the_row = inserted && text.contains("bucket") && text.contains("select b.bucket ");
            if !follows_the_row && !pinned.iter().any(|pin| text.contains(pin.as_str())) {
                unpinned.push((*word).to_owned());
            }
        }
        unpinned
    }

    #[test]
    fn every_table_of_a_statement_is_pinned_to_the_bucket() {
        for (name, statement) in OF_A_BUCKET {
            assert!(statement.contains("prepaid."), "{name} names no table");
            assert_eq!(unpinned(statement), [""; 0], "{name}");
        }
        for (name, statement) in OF_THE_LEDGER {
            let tables = statement.matches("prepaid.").count();
            let small = ["meta", "tariffs", "placements", "buckets"].map(|table| format!("prepaid.{table}"));
            let known: usize = small.iter().map(|table| statement.matches(table.as_str()).count()).sum();
            assert_eq!(tables, known, "{name} touches a table of buckets");
        }
    }

    #[test]
    fn table_that_is_not_pinned_is_noticed() {
        assert_eq!(unpinned("select 1 from prepaid.holds where hold_no = $2"), ["prepaid.holds"]);
        assert_eq!(unpinned("select 1 from prepaid.holds where bucket = any($1)"), ["prepaid.holds"]);
        let joined = "select 1 from prepaid.keys k join prepaid.holds h on h.hold_no = k.target where k.bucket = $1";
        assert_eq!(unpinned(joined), ["prepaid.holds"]);
        let inserted = "insert into prepaid.keys as t (bucket, hash) select $1, x.* from unnest($2::bytea[]) x";
        assert_eq!(unpinned(inserted), ["prepaid.keys"]);
    }

    #[test]
    fn every_statement_is_looked_at() {
        let declared = include_str!("sql.rs").lines().filter_map(|line| line.strip_prefix("pub(super) const "));
        let declared: Vec<_> = declared.filter_map(|line| line.split(':').next()).collect();
        let listed = || OF_A_BUCKET.iter().chain(OF_THE_LEDGER).map(|(name, _)| *name);
        let missing: Vec<_> = declared.iter().filter(|name| !listed().any(|listed| listed == **name)).collect();
        assert!(missing.is_empty(), "{missing:?}");
        assert_eq!(declared.len(), listed().count());
    }
}
