-- The tables that the statements of sqlx-ledger 0.11 name: the crate ships none. What is not here is its event log, which
-- is filled by triggers that notify at every commit: without them it has less to do than with them.
create type status as enum ('active');
create type debitorcredit as enum ('debit', 'credit');
create type layer as enum ('settled', 'pending', 'encumbered');

create table sqlx_ledger_accounts (
    id uuid not null,
    version int not null default 1,
    code varchar not null,
    name varchar not null,
    normal_balance_type debitorcredit not null,
    description varchar,
    status status not null,
    metadata jsonb,
    modified_at timestamptz not null default now(),
    created_at timestamptz not null default now(),
    unique (id, version),
    unique (code, version)
);

create table sqlx_ledger_journals (
    id uuid not null,
    version int not null default 1,
    name varchar not null,
    description varchar,
    status status not null,
    modified_at timestamptz not null default now(),
    created_at timestamptz not null default now(),
    unique (id, version)
);

create table sqlx_ledger_tx_templates (
    id uuid not null,
    version int not null default 1,
    code varchar not null,
    description varchar,
    params jsonb,
    tx_input jsonb not null,
    entries jsonb not null,
    metadata jsonb,
    modified_at timestamptz not null default now(),
    created_at timestamptz not null default now(),
    unique (id, version),
    unique (code, version)
);

create table sqlx_ledger_transactions (
    id uuid not null,
    version int not null default 1,
    journal_id uuid not null,
    tx_template_id uuid not null,
    effective date not null,
    correlation_id uuid not null,
    external_id varchar not null,
    description varchar,
    metadata jsonb,
    modified_at timestamptz not null default now(),
    created_at timestamptz not null default now(),
    unique (id, version),
    unique (external_id, version)
);

create table sqlx_ledger_entries (
    id uuid not null,
    version int not null default 1,
    transaction_id uuid not null,
    journal_id uuid not null,
    account_id uuid not null,
    entry_type varchar not null,
    layer layer not null,
    units numeric not null,
    currency varchar not null,
    direction debitorcredit not null,
    sequence int not null,
    description varchar,
    modified_at timestamptz not null default now(),
    created_at timestamptz not null default now(),
    unique (id, version)
);

create table sqlx_ledger_balances (
    journal_id uuid not null,
    account_id uuid not null,
    entry_id uuid not null,
    currency varchar not null,
    settled_dr_balance numeric not null,
    settled_cr_balance numeric not null,
    settled_entry_id uuid not null,
    settled_modified_at timestamptz not null,
    pending_dr_balance numeric not null,
    pending_cr_balance numeric not null,
    pending_entry_id uuid not null,
    pending_modified_at timestamptz not null,
    encumbered_dr_balance numeric not null,
    encumbered_cr_balance numeric not null,
    encumbered_entry_id uuid not null,
    encumbered_modified_at timestamptz not null,
    version int not null,
    modified_at timestamptz not null,
    created_at timestamptz not null,
    unique (journal_id, account_id, currency, version)
);

create table sqlx_ledger_current_balances (
    journal_id uuid not null,
    account_id uuid not null,
    currency varchar not null,
    version int not null,
    unique (journal_id, account_id, currency)
);
