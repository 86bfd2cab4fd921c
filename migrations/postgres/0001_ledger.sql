-- The books of one ledger, in a schema of their own. A statement ends with a semicolon before an empty line; each is sent
-- alone.
--
-- Every table that a command touches starts with its bucket, and so does every key and index: the same tables can be
-- spread over machines by bucket. Rows are kept in the order in which they are written, and found by numbers; callers'
-- ids, which may be random, are in one narrow index (keys). Columns that change are in no index but the partial ones, and
-- pages are filled so that a changed row finds room beside the old one. Defaults are what most rows have.

-- What columns may hold. A domain's check is read once by a connection, one of a table by every statement that writes to the
-- table: with all of them in the tables they took a fifth of a small batch's time.

create domain prepaid.amount as bigint check (value between 0 and 576460752303423488);

create domain prepaid.signed_amount as bigint check (value between -576460752303423488 and 576460752303423488);

-- Limits: no total that is past one can overflow.
create domain prepaid.half_amount as bigint check (value between 0 and 288230376151711744);

create domain prepaid.count as bigint check (value >= 0);

create domain prepaid.count32 as bigint check (value between 0 and 4294967295);

create domain prepaid.ordinal32 as bigint check (value between 1 and 4294967295);

create domain prepaid.bytes16 as bytea check (length(value) = 16);

create domain prepaid.bytes32 as bytea check (length(value) = 32);

-- Codes: one of so many.
create domain prepaid.code2 as smallint check (value between 0 and 1);

create domain prepaid.code3 as smallint check (value between 0 and 2);

create domain prepaid.code5 as smallint check (value between 0 and 4);

create domain prepaid.code21 as smallint check (value between 0 and 20);

create table prepaid.meta (
    name text not null primary key,
    value bytea not null
);

create table prepaid.tariffs (
    hash bytea not null primary key check (length(hash) = 16),
    content bytea not null
);

-- Accounts that are in another bucket than their name's hash says.
create table prepaid.placements (
    account text collate "C" not null primary key,
    bucket smallint not null
);

-- The last numbers given out, and until when the sweeper stays away. Whoever writes a bucket locks its row first.
create table prepaid.buckets (
    bucket smallint not null primary key check (bucket >= 0),
    position prepaid.count not null,
    hold_no prepaid.count not null,
    account_no prepaid.count not null,
    pause bigint not null,
    -- Positions up to here are not dense any more: entries were archived and pruned.
    pruned bigint not null default 0 check (pruned between 0 and position),
    -- Drawn anew by every batch: whoever finds the one it left has missed nothing.
    version bigint not null
) with (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

-- Who has money here, and what they are held to. What every entry changes is in a narrow row of its own: balances.
create table prepaid.accounts (
    bucket smallint not null,
    status prepaid.code3 not null,
    -- Policy of holds to come: codes and microseconds.
    on_lapse prepaid.code3 not null,
    overrun prepaid.code3 not null,
    account_no bigint not null,
    ttl prepaid.count not null,
    grace prepaid.count not null,
    late prepaid.count not null,
    -- Limits: credit, debt, open holds, one hold, all holds, ceiling.
    credit prepaid.half_amount not null,
    debt prepaid.amount,
    open_holds_max prepaid.count32,
    hold_max prepaid.amount,
    held_max prepaid.amount,
    ceiling prepaid.amount,
    -- How many lots and budgets were ever made, and how many budgets are in force.
    last_lot prepaid.count32 not null,
    last_budget prepaid.count32 not null,
    budgets prepaid.count32 not null,
    id text collate "C" not null,
    asset text collate "C" not null,
    primary key (bucket, account_no),
    unique (bucket, id),
    check (budgets <= last_budget)
) with (fillfactor = 90);

-- Running totals of each account: always the sum of its entries. What holds change lies side by side: the log has the bytes
-- from the first that changed to the last.
create table prepaid.balances (
    bucket smallint not null,
    account_no bigint not null,
    -- How far its past is closed, archived and pruned, and where its last checkpoint stands.
    closed prepaid.count not null,
    archived prepaid.count not null,
    pruned prepaid.count not null,
    checkpoint prepaid.count not null,
    -- What of available is in lots.
    lots_free prepaid.amount not null,
    lapsed_holds prepaid.count32 not null,
    -- The seven ledger accounts and the promotional parts.
    funding prepaid.signed_amount not null,
    promotion prepaid.signed_amount not null,
    breakage prepaid.signed_amount not null,
    write_off prepaid.signed_amount not null,
    available_promo prepaid.amount not null,
    held_promo prepaid.amount not null,
    revenue_promo prepaid.signed_amount not null,
    available prepaid.signed_amount not null,
    held prepaid.amount not null,
    revenue prepaid.signed_amount not null,
    open_holds prepaid.count32 not null,
    -- The end of its journal.
    seq prepaid.count not null,
    last_position prepaid.count not null,
    last_at bigint not null,
    head prepaid.bytes32 not null,
    primary key (bucket, account_no),
    check (pruned <= archived and archived <= closed and closed <= seq),
    check (available + held + revenue + funding + promotion + breakage + write_off = 0)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000);

-- One attempt of one request. Found by its key; only what can become due is in an index.
create table prepaid.holds (
    bucket smallint not null,
    state prepaid.code5 not null default 0,
    hold_no bigint not null,
    account_no bigint not null,
    attempt prepaid.ordinal32 not null,
    held prepaid.amount not null,
    held_at_close prepaid.amount not null default 0,
    reported prepaid.amount not null default 0,
    reported_tokens prepaid.count not null default 0,
    provisional prepaid.amount not null default 0,
    provisional_tokens prepaid.count not null default 0,
    captured prepaid.amount not null default 0,
    written_off prepaid.amount not null default 0,
    refunded prepaid.amount not null default 0,
    opened_at bigint not null,
    deadline bigint not null,
    -- The account's last entry that names it; 0: none.
    seq prepaid.count not null,
    settled_as prepaid.amount,
    settled_as_tokens prepaid.count,
    actual prepaid.amount,
    actual_tokens prepaid.count,
    closed_at bigint,
    due bigint,
    key prepaid.bytes16 not null,
    token prepaid.bytes16 not null,
    request text collate "C" not null,
    -- What is pinned in it, in canonical bytes.
    pinned bytea not null,
    -- What it took of lots, in canonical bytes; null: the base lot has it all.
    takes bytea,
    primary key (bucket, hold_no),
    check (refunded <= captured and (held = 0 or state = 0))
) with (fillfactor = 50);

-- What the sweeper looks at, and an account that is short of money. A renewal moves the deadline, not `due`.
create index holds_due on prepaid.holds (bucket, due, account_no) where due is not null;

-- Parts of accounts' money with their own class, expiry and priority. The base lot is what the account row has besides.
create table prepaid.lots (
    bucket smallint not null,
    class prepaid.code2 not null,
    account_no bigint not null,
    lot_no bigint not null check (lot_no between 1 and 4294967295),
    expiry bigint,
    priority bigint not null check (priority between -2147483648 and 2147483647),
    amount bigint not null check (amount between 1 and 576460752303423488),
    free prepaid.amount not null,
    created_at bigint not null,
    -- In the indexes instead of `free`, so that spending a part of a lot touches none of them.
    live boolean not null generated always as (free > 0) stored,
    -- Names with a space between them; null: all models.
    models text collate "C",
    primary key (bucket, account_no, lot_no)
) with (fillfactor = 50);

-- What can be spent. A lot leaves it when it is empty.
create index lots_live on prepaid.lots (bucket, account_no) where live;

-- What the sweeper looks at.
create index lots_expiring on prepaid.lots (bucket, expiry) where live and expiry is not null;

-- Limits on what a scope of an account may spend, ask or use in a window; '' is the whole account.
create table prepaid.budgets (
    bucket smallint not null,
    metric prepaid.code3 not null,
    account_no bigint not null,
    budget_no bigint not null check (budget_no between 1 and 4294967295),
    cap prepaid.half_amount not null,
    version prepaid.ordinal32 not null,
    active boolean not null,
    scope text collate "C" not null,
    period text collate "C" not null,
    primary key (bucket, account_no, budget_no),
    unique (bucket, account_no, scope, metric, period)
);

-- What a budget counted: by closed requests, and by open ones.
create table prepaid.budget_windows (
    bucket smallint not null,
    account_no bigint not null,
    budget_no bigint not null,
    start bigint not null,
    used prepaid.count not null,
    held prepaid.count not null,
    primary key (bucket, account_no, budget_no, start)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000);

-- The journal, in commit order.
create table prepaid.entries (
    bucket smallint not null,
    kind prepaid.code21 not null,
    position bigint not null,
    account_no bigint not null,
    seq bigint not null check (seq >= 1),
    -- The position of the account's entry before this one; 0 for its first.
    previous bigint not null check (previous between 0 and position - 1),
    at bigint not null,
    available prepaid.signed_amount not null,
    held prepaid.signed_amount not null,
    revenue prepaid.signed_amount not null,
    funding prepaid.signed_amount not null default 0,
    promotion prepaid.signed_amount not null default 0,
    breakage prepaid.signed_amount not null default 0,
    write_off prepaid.signed_amount not null default 0,
    available_promo prepaid.signed_amount not null default 0,
    held_promo prepaid.signed_amount not null default 0,
    revenue_promo prepaid.signed_amount not null default 0,
    available_after prepaid.signed_amount not null,
    held_after prepaid.amount not null,
    attempt bigint,
    hash prepaid.bytes32 not null,
    arguments prepaid.bytes16,
    request text collate "C",
    key text collate "C",
    label text collate "C",
    body bytea not null,
    metadata bytea,
    primary key (bucket, position),
    check (available + held + revenue + funding + promotion + breakage + write_off = 0)
);

-- Every 64th entry of an account: to read from the middle of a journal, start at the next milestone and follow
-- `previous` back.
create unique index entries_milestone on prepaid.entries (bucket, account_no, seq) where seq & 63 = 0;

-- The one index of callers' ids: 16 bytes of hash, and the hold's number or minus the entry's position; 0 when that was
-- pruned. A hash begins with the time where a request's id says it (UUIDv7, ULID).
create table prepaid.keys (
    bucket smallint not null,
    target bigint not null,
    hash prepaid.bytes16 not null,
    primary key (bucket, hash)
);
