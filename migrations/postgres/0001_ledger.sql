-- The books of one ledger, in a schema of their own. A statement ends with a semicolon before an empty line; each is sent
-- alone.
--
-- Every table that a command touches starts with its bucket, and so does every key and index: the same tables can be
-- spread over machines by bucket. Rows are kept in the order in which they are written, and found by numbers; callers'
-- ids, which may be random, are in one narrow index (keys). Columns that change are in no index but the partial ones, and
-- pages are filled so that a changed row finds room beside the old one.

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

-- The last numbers given out, until when the sweeper stays away, and how often the bucket was written. Whoever writes a
-- bucket locks its row first.
create table prepaid.buckets (
    bucket smallint not null primary key check (bucket >= 0),
    position bigint not null check (position >= 0),
    hold_no bigint not null check (hold_no >= 0),
    account_no bigint not null check (account_no >= 0),
    pause bigint not null,
    -- Positions up to here are not dense any more: entries were archived and pruned.
    pruned bigint not null default 0 check (pruned between 0 and position),
    -- Drawn anew by every batch: whoever finds the one it left has missed nothing.
    version bigint not null
) with (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

-- Running totals: always the sum of the account's entries.
create table prepaid.accounts (
    bucket smallint not null,
    account_no bigint not null,
    -- The seven ledger accounts and the promotional parts.
    available bigint not null check (available between -576460752303423488 and 576460752303423488),
    held bigint not null check (held between 0 and 576460752303423488),
    revenue bigint not null check (revenue between -576460752303423488 and 576460752303423488),
    funding bigint not null check (funding between -576460752303423488 and 576460752303423488),
    promotion bigint not null check (promotion between -576460752303423488 and 576460752303423488),
    breakage bigint not null check (breakage between -576460752303423488 and 576460752303423488),
    write_off bigint not null check (write_off between -576460752303423488 and 576460752303423488),
    available_promo bigint not null check (available_promo between 0 and 576460752303423488),
    held_promo bigint not null check (held_promo between 0 and 576460752303423488),
    revenue_promo bigint not null check (revenue_promo between -576460752303423488 and 576460752303423488),
    -- What of available is in lots, how many lots and budgets were ever made, and how many budgets are in force.
    lots_free bigint not null check (lots_free between 0 and 576460752303423488),
    last_lot bigint not null check (last_lot between 0 and 4294967295),
    last_budget bigint not null check (last_budget between 0 and 4294967295),
    budgets bigint not null check (budgets between 0 and last_budget),
    open_holds bigint not null check (open_holds between 0 and 4294967295),
    lapsed_holds bigint not null check (lapsed_holds between 0 and 4294967295),
    -- The end of its journal.
    seq bigint not null check (seq >= 0),
    last_position bigint not null check (last_position >= 0),
    last_at bigint not null,
    -- How far its past is closed, archived and pruned, and where its last checkpoint stands.
    closed bigint not null check (closed between 0 and seq),
    archived bigint not null check (archived between 0 and closed),
    pruned bigint not null check (pruned between 0 and archived),
    checkpoint bigint not null check (checkpoint >= 0),
    -- Limits: credit, debt, open holds, one hold, all holds, ceiling.
    credit bigint not null check (credit between 0 and 288230376151711744),
    debt bigint check (debt between 0 and 576460752303423488),
    open_holds_max bigint check (open_holds_max between 0 and 4294967295),
    hold_max bigint check (hold_max between 0 and 576460752303423488),
    held_max bigint check (held_max between 0 and 576460752303423488),
    ceiling bigint check (ceiling between 0 and 576460752303423488),
    -- Policy of holds to come: microseconds and codes.
    ttl bigint not null check (ttl >= 0),
    grace bigint not null check (grace >= 0),
    late bigint not null check (late >= 0),
    on_lapse smallint not null check (on_lapse between 0 and 2),
    overrun smallint not null check (overrun between 0 and 2),
    status smallint not null check (status between 0 and 2),
    id text collate "C" not null,
    asset text collate "C" not null,
    head bytea not null check (length(head) = 32),
    primary key (bucket, account_no),
    unique (bucket, id),
    check (available + held + revenue + funding + promotion + breakage + write_off = 0)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000);

-- One attempt of one request. Found by its key; only what can become due is in an index.
create table prepaid.holds (
    bucket smallint not null,
    state smallint not null check (state between 0 and 4),
    hold_no bigint not null,
    account_no bigint not null,
    attempt bigint not null check (attempt between 1 and 4294967295),
    held bigint not null check (held between 0 and 576460752303423488),
    held_at_close bigint not null check (held_at_close between 0 and 576460752303423488),
    reported bigint not null check (reported between 0 and 576460752303423488),
    reported_tokens bigint not null check (reported_tokens >= 0),
    provisional bigint not null check (provisional between 0 and 576460752303423488),
    provisional_tokens bigint not null check (provisional_tokens >= 0),
    captured bigint not null check (captured between 0 and 576460752303423488),
    written_off bigint not null check (written_off between 0 and 576460752303423488),
    refunded bigint not null check (refunded between 0 and captured),
    opened_at bigint not null,
    deadline bigint not null,
    -- The account's last entry that names it; 0: none.
    seq bigint not null check (seq >= 0),
    settled_as bigint check (settled_as between 0 and 576460752303423488),
    settled_as_tokens bigint check (settled_as_tokens >= 0),
    actual bigint check (actual between 0 and 576460752303423488),
    actual_tokens bigint check (actual_tokens >= 0),
    closed_at bigint,
    due bigint,
    key bytea not null check (length(key) = 16),
    token bytea not null check (length(token) = 16),
    request text collate "C" not null,
    -- What is pinned in it, in canonical bytes.
    pinned bytea not null,
    -- What it took of lots, in canonical bytes; null: the base lot has it all.
    takes bytea,
    primary key (bucket, hold_no),
    check (held = 0 or state = 0)
) with (fillfactor = 50);

-- What the sweeper looks at, and an account that is short of money. A renewal moves the deadline, not `due`.
create index holds_due on prepaid.holds (bucket, due, account_no) where due is not null;

-- Parts of accounts' money with their own class, expiry and priority. The base lot is what the account row has besides.
create table prepaid.lots (
    bucket smallint not null,
    class smallint not null check (class between 0 and 1),
    account_no bigint not null,
    lot_no bigint not null check (lot_no between 1 and 4294967295),
    expiry bigint,
    priority bigint not null check (priority between -2147483648 and 2147483647),
    amount bigint not null check (amount between 1 and 576460752303423488),
    free bigint not null check (free between 0 and 576460752303423488),
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
    metric smallint not null check (metric between 0 and 2),
    account_no bigint not null,
    budget_no bigint not null check (budget_no between 1 and 4294967295),
    cap bigint not null check (cap between 0 and 288230376151711744),
    version bigint not null check (version between 1 and 4294967295),
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
    used bigint not null check (used >= 0),
    held bigint not null check (held >= 0),
    primary key (bucket, account_no, budget_no, start)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000);

-- The journal, in commit order.
create table prepaid.entries (
    bucket smallint not null,
    kind smallint not null check (kind between 0 and 20),
    position bigint not null,
    account_no bigint not null,
    seq bigint not null check (seq >= 1),
    -- The position of the account's entry before this one; 0 for its first.
    previous bigint not null check (previous between 0 and position - 1),
    at bigint not null,
    available bigint not null check (available between -576460752303423488 and 576460752303423488),
    held bigint not null check (held between -576460752303423488 and 576460752303423488),
    revenue bigint not null check (revenue between -576460752303423488 and 576460752303423488),
    funding bigint not null check (funding between -576460752303423488 and 576460752303423488),
    promotion bigint not null check (promotion between -576460752303423488 and 576460752303423488),
    breakage bigint not null check (breakage between -576460752303423488 and 576460752303423488),
    write_off bigint not null check (write_off between -576460752303423488 and 576460752303423488),
    available_promo bigint not null check (available_promo between -576460752303423488 and 576460752303423488),
    held_promo bigint not null check (held_promo between -576460752303423488 and 576460752303423488),
    revenue_promo bigint not null check (revenue_promo between -576460752303423488 and 576460752303423488),
    available_after bigint not null check (available_after between -576460752303423488 and 576460752303423488),
    held_after bigint not null check (held_after between 0 and 576460752303423488),
    attempt bigint,
    hash bytea not null check (length(hash) = 32),
    arguments bytea check (length(arguments) = 16),
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
-- pruned.
create table prepaid.keys (
    bucket smallint not null,
    target bigint not null,
    hash bytea not null check (length(hash) = 16),
    primary key (bucket, hash)
);
