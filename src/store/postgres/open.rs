//! Opening: is it ours, may we, and is it as durable as we say?

use std::str::FromStr;

use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Connection, Row};
use tokio::time::timeout;

use super::bind::one;
use super::fault::{corrupt, of_commit, of_connect, of_statement, unsuitable};
use super::pool::no_answer;
use super::{PostgresOptions, sql};
use crate::model::LedgerId;
use crate::random;
use crate::store::{StoreError, StoreErrorKind};

/// The oldest PostgreSQL whose planner and types we rely on.
const POSTGRES_OLDEST: i32 = 140_000;
/// Buckets of a new ledger, unless it is told otherwise: [`PostgresOptions::buckets`] says why.
const BUCKETS: u16 = 2;
/// Buckets are counted in a smallint.
const BUCKETS_MAX: u16 = 32_767;
/// Whoever changes the schema holds this lock: "prepaid", in ASCII.
const SCHEMA_LOCK: &str = "select pg_advisory_xact_lock(31648197384430948)";

/// Every migration: its version, its name, the oldest version of the crate's schema that can still work with what it
/// makes, and its statements. A statement ends with a semicolon before an empty line.
const MIGRATIONS: &[(i64, &str, i64, &str)] = &[
    (1, "ledger", 1, include_str!("../../../migrations/postgres/0001_ledger.sql")),
    (2, "distribution", 1, include_str!("../../../migrations/postgres/0002_distribution.sql")),
];
/// The newest schema this version knows.
const SCHEMA: i64 = 2;

/// What was found out about the database.
pub(super) struct Found {
    pub(super) ledger: LedgerId,
    pub(super) buckets: u16,
    pub(super) placements: Vec<PgRow>,
    /// What transactions set: at least `on`.
    pub(super) synchronous_commit: &'static str,
    /// Whether the tables may be spread over machines.
    pub(super) is_distributed: bool,
}

/// Reads a url: how to connect, and the options of ours that it carries.
pub(super) fn parse(url: &str, options: &mut PostgresOptions) -> Result<PgConnectOptions, StoreError> {
    // The url may hold a password, so no error quotes it.
    let (address, query) = url.split_once('?').unwrap_or((url, ""));
    let mut theirs = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=').unwrap_or((pair, "")) {
            ("buckets", value) => options.buckets = Some(number("buckets", value)?),
            ("writers", value) => options.writers = number("writers", value)?,
            ("prepared", "never") => options.prepared = false,
            ("prepared", "always") => options.prepared = true,
            ("prepared", value) => {
                return Err(unsuitable(format!("prepared is always or never: prepared={value:.32}")));
            }
            ("append_only", "required") => options.require_append_only = true,
            ("append_only", value) => {
                return Err(unsuitable(format!("append_only can only be required: append_only={value:.32}")));
            }
            _ => theirs.push(pair),
        }
    }
    let address = if theirs.is_empty() { address.to_owned() } else { [address, "?", &theirs.join("&")].concat() };
    let connect = PgConnectOptions::from_str(&address)
        .map_err(|_| unsuitable("url is not understood, expected postgres://USER:PASSWORD@HOST:PORT/DATABASE"))?;
    // The setting is about printed floats, of which there are none, and poolers refuse it.
    let connect = connect.extra_float_digits(None).statement_cache_capacity(if options.prepared { 256 } else { 0 });
    let unnamed = connect.get_application_name().is_none();
    Ok(if unnamed { connect.application_name("prepaid") } else { connect })
}

fn number<T: FromStr>(name: &str, value: &str) -> Result<T, StoreError> {
    value.parse().map_err(|_| unsuitable(format!("{name} is not a number: {value:.32}")))
}

/// Looks the server over, brings the schema up to date, and reads what is fixed. Each step is answered in time or given
/// up, but for a migration, which takes as long as it takes.
///
/// Outside of a transaction everything is sent in one message, without parameters: between two messages a pooler may
/// change the connection.
pub(super) async fn prepare(connect: &PgConnectOptions, options: &PostgresOptions) -> Result<Found, StoreError> {
    let connected = async { PgConnection::connect_with(connect).await.map_err(of_connect) };
    let mut connection = in_time(options, connected).await?;
    let synchronous_commit = in_time(options, inspect(&mut connection)).await?;
    let is_distributed = in_time(options, value(&mut connection, HAS_CITUS)).await?;
    if is_distributed {
        in_time(options, inspect_machines(&mut connection)).await?;
    }
    migrate(&mut connection, options).await?;
    in_time(options, check_grants(&mut connection, options)).await?;
    let (ledger, buckets, placements) = in_time(options, read_fixed(&mut connection, options)).await?;
    // The server notices without the farewell, too.
    let _ = timeout(options.statement_timeout, connection.close()).await;
    Ok(Found { ledger, buckets, placements, synchronous_commit, is_distributed })
}

async fn in_time<T>(
    options: &PostgresOptions,
    step: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    timeout(options.statement_timeout, step).await.map_err(|_| no_answer())?
}

async fn read_fixed(
    connection: &mut PgConnection,
    options: &PostgresOptions,
) -> Result<(LedgerId, u16, Vec<PgRow>), StoreError> {
    let buckets: i64 = value(connection, sql::COUNT_BUCKETS).await?;
    let buckets = u16::try_from(buckets).ok().filter(|buckets| *buckets > 0);
    let buckets = buckets.ok_or_else(|| corrupt("database has no buckets, restore a backup"))?;
    if let Some(wanted) = options.buckets.filter(|wanted| *wanted != buckets) {
        return Err(unsuitable(format!(
            "ledger was created with another number of buckets, which is fixed: buckets={buckets} wanted={wanted}"
        )));
    }
    let ledger: Option<Vec<u8>> = match rows(connection, SELECT_LEDGER).await?.first() {
        Some(row) => row.try_get(0).map_err(of_statement)?,
        None => None,
    };
    let ledger = ledger.as_deref().and_then(LedgerId::from_slice);
    let ledger = ledger.ok_or_else(|| corrupt("database has no ledger id, restore a backup"))?;
    let placements = rows(connection, sql::SELECT_PLACEMENTS).await?;
    Ok((ledger, buckets, placements))
}

const SELECT_LEDGER: &str = "select value from prepaid.meta where name = 'ledger'";
const INSPECT: &str = "select current_setting('server_version_num')::int, current_setting('fsync')::boolean, \
     current_setting('full_page_writes')::boolean, pg_is_in_recovery(), current_setting('synchronous_commit'), \
     current_setting('server_version')";
const HAS_CITUS: &str = "select exists (select from pg_extension where extname = 'citus')";
/// The machines that do not say that they keep what they commit.
const UNSAFE_MACHINES: &str = "select nodename || ':' || nodeport, success from run_command_on_workers(\
     $$ select current_setting('fsync')::boolean and current_setting('full_page_writes')::boolean $$) \
     where not success or result <> 't'";

/// Refuses a server that would lose what it said was durable.
async fn inspect(connection: &mut PgConnection) -> Result<&'static str, StoreError> {
    let found = rows(connection, INSPECT).await?;
    let row = found.first().ok_or_else(|| corrupt("database does not tell its settings"))?;
    let setting = |column: usize| row.try_get::<bool, _>(column).map_err(of_statement);
    let version: i32 = row.try_get(0).map_err(of_statement)?;
    if version < POSTGRES_OLDEST {
        let version: String = row.try_get(5).map_err(of_statement)?;
        return Err(unsuitable(format!("PostgreSQL is too old, use 14 or newer: version={version}")));
    }
    if !setting(1)? {
        return Err(unsuitable("database loses commits in a power cut, turn fsync on: fsync=off"));
    }
    if !setting(2)? {
        return Err(unsuitable("database is torn by a power cut, turn full_page_writes on: full_page_writes=off"));
    }
    if setting(3)? {
        let message = "database is a standby and cannot be written, name its primary";
        return Err(StoreError::new(StoreErrorKind::ReadOnly, message));
    }
    let synchronous_commit: String = row.try_get(4).map_err(of_statement)?;
    Ok(if synchronous_commit == "remote_apply" { "remote_apply" } else { "on" })
}

/// The same for the machines that tables are spread over.
async fn inspect_machines(connection: &mut PgConnection) -> Result<(), StoreError> {
    let found = rows(connection, UNSAFE_MACHINES).await?;
    let Some(row) = found.first() else {
        return Ok(());
    };
    let machine: String = row.try_get(0).map_err(of_statement)?;
    if row.try_get(1).map_err(of_statement)? {
        return Err(unsuitable(format!(
            "machine of the database loses commits in a power cut, turn fsync and full_page_writes on: machine={machine}"
        )));
    }
    let message = format!("machine of the database cannot be reached: machine={machine}");
    Err(StoreError::new(StoreErrorKind::Unavailable, message))
}

const FIND_SCHEMA: &str = "select to_regclass('prepaid.migrations') is not null, \
     exists (select from pg_class where relnamespace = to_regnamespace('prepaid')::oid), \
     to_regnamespace('prepaid') is not null";
const READ_VERSION: &str = "select max(version), max(readable_by) from prepaid.migrations";
const CREATE_SCHEMA: &str = "create schema prepaid";
const CREATE_MIGRATIONS: &str = "create table prepaid.migrations (version bigint not null primary key, name text not null, \
     readable_by bigint not null)";
const INSERT_MIGRATION: &str = "insert into prepaid.migrations (version, name, readable_by) values ($1, $2, $3)";

/// What is in the schema `prepaid`.
enum Schema {
    /// Nothing; says whether the schema itself is there.
    Empty(bool),
    /// A ledger of this version.
    Ledger(i64),
}

async fn look(connection: &mut PgConnection) -> Result<Schema, StoreError> {
    let found = rows(connection, FIND_SCHEMA).await?;
    let row = found.first().ok_or_else(|| corrupt("database does not tell its tables"))?;
    let flag = |column: usize| row.try_get::<bool, _>(column).map_err(of_statement);
    if !flag(0)? {
        return if flag(1)? {
            Err(unsuitable("schema prepaid is another program's, it was not touched: it has tables of its own"))
        } else {
            Ok(Schema::Empty(flag(2)?))
        };
    }
    let found = rows(connection, READ_VERSION).await?;
    let row = found.first().ok_or_else(|| corrupt("database does not tell its version"))?;
    let version: Option<i64> = row.try_get(0).map_err(of_statement)?;
    let readable_by: Option<i64> = row.try_get(1).map_err(of_statement)?;
    let version = version.unwrap_or_default();
    if readable_by.is_some_and(|oldest| oldest > SCHEMA) {
        return Err(unsuitable(format!(
            "database has a newer schema, use a newer version of the program: schema={version} known={SCHEMA}"
        )));
    }
    Ok(Schema::Ledger(version))
}

/// Brings the schema up to date in one transaction: a process killed in the middle leaves it as it was, and of several
/// that start at once one does it.
async fn migrate(connection: &mut PgConnection, options: &PostgresOptions) -> Result<(), StoreError> {
    if matches!(in_time(options, look(connection)).await?, Schema::Ledger(version) if version >= SCHEMA) {
        return Ok(());
    }
    if !options.migrate {
        return Err(unsuitable(format!("database has no schema of this version, migrate it first: known={SCHEMA}")));
    }
    execute(connection, sql::BEGIN).await?;
    execute(connection, SCHEMA_LOCK).await?;
    let found = look(connection).await?;
    if let Schema::Empty(exists) = &found {
        if !exists {
            execute(connection, CREATE_SCHEMA).await?;
        }
        execute(connection, CREATE_MIGRATIONS).await?;
    }
    let version = match &found {
        Schema::Empty(_) => 0,
        Schema::Ledger(version) => *version,
    };
    for (number, name, readable_by, statements) in MIGRATIONS.iter().filter(|(number, ..)| *number > version) {
        for statement in statements.split(";\n\n").filter(|statement| !statement.trim().is_empty()) {
            execute(connection, statement).await?;
        }
        let mut arguments = PgArguments::default();
        one(&mut arguments, *number)?;
        one(&mut arguments, *name)?;
        one(&mut arguments, *readable_by)?;
        run(connection, INSERT_MIGRATION, arguments).await?;
    }
    if matches!(found, Schema::Empty(_)) {
        found_ledger(connection, options).await?;
    }
    sqlx::raw_sql(sql::COMMIT).execute(connection).await.map(drop).map_err(of_commit)
}

/// Draws the ledger's name and makes its buckets.
async fn found_ledger(connection: &mut PgConnection, options: &PostgresOptions) -> Result<(), StoreError> {
    let buckets = options.buckets.unwrap_or(BUCKETS);
    if !(1..=BUCKETS_MAX).contains(&buckets) {
        return Err(unsuitable(format!("there are 1 to {BUCKETS_MAX} buckets: buckets={buckets}")));
    }
    let mut arguments = PgArguments::default();
    one(&mut arguments, i32::from(buckets).saturating_sub(1))?;
    run(connection, sql::INSERT_BUCKETS, arguments).await?;
    let id = random::bytes().map_err(|error| StoreError::new(StoreErrorKind::Unavailable, error.to_string()))?;
    let values = [("ledger", id.to_vec()), ("epoch", 0_u64.to_be_bytes().to_vec())];
    for (name, value) in values {
        let mut arguments = PgArguments::default();
        one(&mut arguments, name)?;
        one(&mut arguments, value)?;
        run(connection, sql::UPSERT_META, arguments).await?;
    }
    Ok(())
}

const CAN_CHANGE_JOURNAL: &str = "select has_table_privilege('prepaid.entries', 'update, delete, truncate')";

/// Whether the journal is protected from this role.
async fn check_grants(connection: &mut PgConnection, options: &PostgresOptions) -> Result<(), StoreError> {
    if !value::<bool>(connection, CAN_CHANGE_JOURNAL).await? {
        return Ok(());
    }
    let message = "role may change the journal, grant it no update, delete or truncate of prepaid.entries";
    if options.require_append_only {
        return Err(unsuitable(message));
    }
    tracing::warn!("{message}");
    Ok(())
}

async fn value<T>(connection: &mut PgConnection, statement: &'static str) -> Result<T, StoreError>
where
    T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    let found = rows(connection, statement).await?;
    let row = found.first().ok_or_else(|| of_statement(sqlx::Error::RowNotFound))?;
    row.try_get(0).map_err(of_statement)
}

async fn rows(connection: &mut PgConnection, statement: &'static str) -> Result<Vec<PgRow>, StoreError> {
    sqlx::raw_sql(statement).fetch_all(connection).await.map_err(of_statement)
}

/// Sends one statement of ours in a message of its own.
async fn execute(connection: &mut PgConnection, statement: &str) -> Result<(), StoreError> {
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await.map(drop).map_err(of_statement)
}

async fn run(connection: &mut PgConnection, statement: &'static str, arguments: PgArguments) -> Result<(), StoreError> {
    let query = sqlx::query_with(statement, arguments).persistent(false);
    query.execute(connection).await.map(drop).map_err(of_statement)
}
