-- The books of one ledger. One process writes them; readers are welcome.
--
-- SQLite's cost is the number of pages a transaction dirties, so rows are kept in the order in which they are written:
-- entries by their position, holds by their number. What a page per row would cost, were they kept by account, is paid
-- only once in a while (entries_milestone).
--
-- The journal is written at once. What follows from it, the rows of accounts, holds, lots and windows, moves into its
-- tables a while later: until then the newest state of a row is in `backlog`, in the last blob that has it. A ledger that
-- was idle for a moment, or closed, has nothing there.
--
-- A ledger in SQLite has one bucket. Its number, 0, is a column nowhere.

create table meta (
    name text not null primary key,
    value blob not null
) strict, without rowid;

-- The last numbers given out, until when the sweeper stays away, and the last hold whose key, like the keys of all
-- before it, is in `keys`. The last blob in `backlog` may have given out more.
create table buckets (
    bucket integer not null primary key check (bucket = 0),
    position integer not null check (position >= 0),
    hold_no integer not null check (hold_no >= 0),
    account_no integer not null check (account_no >= 0),
    pause integer not null,
    indexed integer not null check (indexed between 0 and hold_no),
    -- Positions up to here are not dense any more: entries were archived and pruned.
    pruned integer not null check (pruned between 0 and position)
) strict;

insert into buckets values (0, 0, 0, 0, 0, 0, 0);

-- Running totals: always the sum of the account's entries.
create table accounts (
    account_no integer not null primary key,
    id text not null unique,
    asset text not null,
    status integer not null check (status between 0 and 2),
    -- Limits: credit, debt, open holds, one hold, all holds, ceiling.
    credit integer not null check (credit between 0 and 288230376151711744),
    debt integer check (debt between 0 and 576460752303423488),
    open_holds_max integer check (open_holds_max between 0 and 4294967295),
    hold_max integer check (hold_max between 0 and 576460752303423488),
    held_max integer check (held_max between 0 and 576460752303423488),
    ceiling integer check (ceiling between 0 and 576460752303423488),
    -- Policy of holds to come: microseconds and codes.
    on_lapse integer not null check (on_lapse between 0 and 2),
    overrun integer not null check (overrun between 0 and 2),
    ttl integer not null check (ttl >= 0),
    grace integer not null check (grace >= 0),
    late integer not null check (late >= 0),
    -- The seven ledger accounts and the promotional parts.
    available integer not null check (available between -576460752303423488 and 576460752303423488),
    held integer not null check (held between 0 and 576460752303423488),
    revenue integer not null check (revenue between -576460752303423488 and 576460752303423488),
    funding integer not null check (funding between -576460752303423488 and 576460752303423488),
    promotion integer not null check (promotion between -576460752303423488 and 576460752303423488),
    breakage integer not null check (breakage between -576460752303423488 and 576460752303423488),
    write_off integer not null check (write_off between -576460752303423488 and 576460752303423488),
    available_promo integer not null check (available_promo between 0 and 576460752303423488),
    held_promo integer not null check (held_promo between 0 and 576460752303423488),
    revenue_promo integer not null check (revenue_promo between -576460752303423488 and 576460752303423488),
    -- What of available is in lots, how many lots and budgets were ever made, and how many budgets are in force.
    lots_free integer not null check (lots_free between 0 and 576460752303423488),
    last_lot integer not null check (last_lot between 0 and 4294967295),
    last_budget integer not null check (last_budget between 0 and 4294967295),
    budgets integer not null check (budgets between 0 and last_budget),
    open_holds integer not null check (open_holds >= 0),
    lapsed_holds integer not null check (lapsed_holds >= 0),
    -- The end of its journal.
    seq integer not null check (seq >= 0),
    head blob not null check (length(head) = 32),
    last_position integer not null check (last_position >= 0),
    last_at integer not null,
    -- How far its past is closed, archived and pruned, and where its last checkpoint stands.
    closed integer not null check (closed >= 0),
    archived integer not null check (archived between 0 and closed),
    pruned integer not null check (pruned between 0 and archived),
    checkpoint integer not null check (checkpoint >= 0),
    check (available + held + revenue + funding + promotion + breakage + write_off = 0)
) strict;

-- One attempt of one request. Found by its key; only what can become due is in an index.
create table holds (
    hold_no integer not null primary key,
    account_no integer not null,
    key blob not null check (length(key) = 16),
    request text not null,
    attempt integer not null check (attempt between 1 and 4294967295),
    token blob not null check (length(token) = 16),
    state integer not null check (state between 0 and 4),
    -- What is pinned in it, in canonical bytes.
    pinned blob not null,
    -- What it took of lots, in canonical bytes; null: the base lot has it all.
    takes blob,
    held integer not null check (held between 0 and 576460752303423488),
    held_at_close integer not null check (held_at_close between 0 and 576460752303423488),
    reported integer not null check (reported between 0 and 576460752303423488),
    reported_tokens integer not null check (reported_tokens >= 0),
    provisional integer not null check (provisional between 0 and 576460752303423488),
    provisional_tokens integer not null check (provisional_tokens >= 0),
    settled_as integer check (settled_as between 0 and 576460752303423488),
    settled_as_tokens integer check (settled_as_tokens >= 0),
    actual integer check (actual between 0 and 576460752303423488),
    actual_tokens integer check (actual_tokens >= 0),
    captured integer not null check (captured between 0 and 576460752303423488),
    written_off integer not null check (written_off between 0 and 576460752303423488),
    refunded integer not null check (refunded between 0 and captured),
    opened_at integer not null,
    deadline integer not null,
    closed_at integer,
    due integer,
    -- The account's last entry that names it; 0: none.
    seq integer not null check (seq >= 0),
    check (held = 0 or state = 0)
) strict;

-- What the sweeper looks at. A renewal moves the deadline, not `due`.
create index holds_due on holds (due) where due is not null;
-- What an account that is short of money looks at, and what `holds` lists.
create index holds_pending on holds (account_no, due) where due is not null;

-- Parts of accounts' money with their own class, expiry and priority. The base lot is what the account row has besides.
create table lots (
    account_no integer not null,
    lot_no integer not null check (lot_no between 1 and 4294967295),
    class integer not null check (class between 0 and 1),
    expiry integer,
    priority integer not null check (priority between -2147483648 and 2147483647),
    -- Names with a space between them; null: all models.
    models text,
    amount integer not null check (amount between 1 and 576460752303423488),
    free integer not null check (free between 0 and 576460752303423488),
    created_at integer not null,
    primary key (account_no, lot_no)
) strict, without rowid;

-- What can be spent. A lot leaves it when it is empty.
create index lots_live on lots (account_no) where free > 0;
-- What the sweeper looks at.
create index lots_expiring on lots (expiry) where free > 0 and expiry is not null;

-- Limits on what a scope of an account may spend, ask or use in a window; '' is the whole account.
create table budgets (
    account_no integer not null,
    budget_no integer not null check (budget_no between 1 and 4294967295),
    scope text not null,
    window text not null,
    metric integer not null check (metric between 0 and 2),
    cap integer not null check (cap between 0 and 288230376151711744),
    active integer not null check (active between 0 and 1),
    version integer not null check (version between 1 and 4294967295),
    primary key (account_no, budget_no)
) strict, without rowid;

create unique index budgets_scope on budgets (account_no, scope, metric, window);

-- What a budget counted: by closed requests, and by open ones.
create table budget_windows (
    account_no integer not null,
    budget_no integer not null,
    start integer not null,
    used integer not null check (used >= 0),
    held integer not null check (held >= 0),
    primary key (account_no, budget_no, start)
) strict, without rowid;

-- The journal, in commit order.
create table entries (
    position integer not null primary key,
    account_no integer not null,
    seq integer not null check (seq >= 1),
    -- The position of the account's entry before this one; 0 for its first.
    previous integer not null check (previous between 0 and position - 1),
    at integer not null,
    kind integer not null check (kind between 0 and 20),
    available integer not null check (available between -576460752303423488 and 576460752303423488),
    held integer not null check (held between -576460752303423488 and 576460752303423488),
    revenue integer not null check (revenue between -576460752303423488 and 576460752303423488),
    funding integer not null check (funding between -576460752303423488 and 576460752303423488),
    promotion integer not null check (promotion between -576460752303423488 and 576460752303423488),
    breakage integer not null check (breakage between -576460752303423488 and 576460752303423488),
    write_off integer not null check (write_off between -576460752303423488 and 576460752303423488),
    available_promo integer not null check (available_promo between -576460752303423488 and 576460752303423488),
    held_promo integer not null check (held_promo between -576460752303423488 and 576460752303423488),
    revenue_promo integer not null check (revenue_promo between -576460752303423488 and 576460752303423488),
    available_after integer not null check (available_after between -576460752303423488 and 576460752303423488),
    held_after integer not null check (held_after between 0 and 576460752303423488),
    request text,
    attempt integer,
    key text,
    arguments blob check (length(arguments) = 16),
    label text,
    body blob not null,
    metadata blob,
    hash blob not null check (length(hash) = 32),
    check (available + held + revenue + funding + promotion + breakage + write_off = 0)
) strict;

-- Every 64th entry of an account: to read from the middle of a journal, start at the next milestone and follow
-- `previous` back.
create unique index entries_milestone on entries (account_no, seq) where seq & 63 = 0;

create trigger entries_are_not_changed before update on entries begin
    select raise(abort, 'the journal is append-only');
end;

-- What is archived may go, and nothing else: entries up to the cut of their account's last checkpoint.
create trigger entries_are_not_removed before delete on entries
when old.seq > coalesce((select archived from accounts where account_no = old.account_no), 0) begin
    select raise(abort, 'the journal is append-only');
end;

-- The one index of callers' ids: 16 bytes of hash, and the hold's number or minus the entry's position; 0 when that
-- was pruned. A hash begins with the time where a request's id says it (UUIDv7, ULID). The keys of the newest holds, those
-- above `buckets.indexed`, may still be missing: look for them in the holds.
create table keys (
    hash blob not null primary key check (length(hash) = 16),
    target integer not null
) strict, without rowid;

-- The bucket's counters after each of the newest batches and the rows it changed, as bytes.
create table backlog (
    batch integer not null primary key,
    rows blob not null
) strict;

create table tariffs (
    hash blob not null primary key check (length(hash) = 16),
    content blob not null
) strict;
