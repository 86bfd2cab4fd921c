//! Opening: is it ours, may we, and is it as durable as we say?

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension};

use super::fault::{corrupt, of_file, of_statement};
use super::{SqliteOptions, sql};
use crate::model::LedgerId;
use crate::random;
use crate::store::{StoreError, StoreErrorKind};

/// "prpd": what `file` and other programs know our databases by.
const APPLICATION_ID: i32 = 0x7072_7064;
/// The oldest SQLite without the WAL-reset defect that corrupts databases.
const SQLITE_OLDEST: i32 = 3_051_003;

/// Every migration: its version, its name, the oldest version of the crate's schema that can still read what it makes,
/// and its statements.
const MIGRATIONS: &[(i64, &str, i64, &str)] =
    &[(1, "ledger", 1, include_str!("../../../migrations/sqlite/0001_ledger.sql"))];

/// The newest schema this version knows.
pub(super) const SCHEMA: i64 = 1;

/// Takes the file that says who owns the database. It is kept open for as long as the ledger is.
pub(super) fn own(path: &Path) -> Result<File, StoreError> {
    let lock_path = beside(path, ".lock");
    let lock = private(OpenOptions::new().create(true).truncate(false).write(true))
        .open(&lock_path)
        .map_err(|error| of_file(error, "lock file cannot be opened", &lock_path))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(StoreError::new(
            StoreErrorKind::AlreadyOwned,
            format!(
                "ledger is open already, here or in another process, close it there first: lock={}",
                lock_path.display()
            ),
        )),
        Err(TryLockError::Error(error)) => Err(of_file(error, "lock file cannot be locked", &lock_path)),
    }
}

/// Opens or creates the database for its one writer, and brings its schema up to date.
pub(super) fn writer(path: &Path, options: &SqliteOptions) -> Result<Connection, StoreError> {
    if rusqlite::version_number() < SQLITE_OLDEST {
        return Err(StoreError::new(
            StoreErrorKind::Unsuitable,
            format!("linked SQLite can corrupt databases, link 3.51.3 or newer: version={}", rusqlite::version()),
        ));
    }
    inspect(path)?;
    create(path)?;
    let mut connection = connect(path)?;
    let settings = settle_in(&connection, options).and_then(|()| migrate(&mut connection, path));
    settings.map(|()| connection)
}

/// Opens the database for its writer once more, after an error. It is not looked at from outside, because closing a file
/// gives up every lock the process has on it, and it is never created: it is the same ledger or none.
pub(super) fn writer_again(path: &Path, options: &SqliteOptions, ledger: LedgerId) -> Result<Connection, StoreError> {
    let connection = connect(path)?;
    settle_in(&connection, options)?;
    match ledger_id(&connection) {
        Ok(found) if found == ledger => Ok(connection),
        Err(error) if error.kind() != StoreErrorKind::Refused => Err(error),
        Ok(_) | Err(_) => Err(unsuitable(path, "database was replaced while it was open, open the ledger anew")),
    }
}

/// Opens the database for reading beside its writer.
pub(super) fn reader(path: &Path, options: &SqliteOptions) -> Result<Connection, StoreError> {
    let connection = connect(path)?;
    let pragmas = [("query_only", "on"), ("trusted_schema", "off"), ("cell_size_check", "on")];
    for (name, value) in pragmas {
        connection.pragma_update(None, name, value).map_err(of_statement)?;
    }
    connection.busy_timeout(options.busy_timeout).map_err(of_statement)?;
    Ok(connection)
}

/// The name drawn when the database was created.
pub(super) fn ledger_id(connection: &Connection) -> Result<LedgerId, StoreError> {
    let stored: Option<Vec<u8>> =
        connection.query_row(sql::SELECT_META, ["ledger"], |row| row.get(0)).optional().map_err(of_statement)?;
    stored
        .as_deref()
        .and_then(LedgerId::from_slice)
        .ok_or_else(|| corrupt("database has no ledger id, restore a backup"))
}

/// Refuses a file that is somebody else's before anything is written to it.
fn inspect(path: &Path) -> Result<(), StoreError> {
    const HEADER: usize = 100;
    if fs::metadata(path).is_ok_and(|found| found.is_dir()) {
        return Err(unsuitable(path, "path is a folder, name a file in it"));
    }
    let mut header = Vec::with_capacity(HEADER);
    match File::open(path) {
        Ok(file) => file
            .take(HEADER as u64)
            .read_to_end(&mut header)
            .map_err(|error| of_file(error, "database cannot be read", path))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(of_file(error, "database cannot be opened", path)),
    };
    // Empty: made and not written yet. Zeros: the power went while its first page was written. Its journal is beside it,
    // and takes that back; where there is none, SQLite refuses it too.
    if header.iter().all(|byte| *byte == 0) {
        return Ok(());
    }
    if !header.starts_with(b"SQLite format 3\0") {
        return Err(unsuitable(path, "file is not an SQLite database, it was not touched, name another"));
    }
    let id = header.get(68..72).and_then(|bytes| bytes.try_into().ok()).map(i32::from_be_bytes).unwrap_or_default();
    // A creation that was interrupted leaves a database without an id and without tables, or its first transaction in
    // the log; both are finished below.
    if id != APPLICATION_ID && id != 0 {
        let message =
            format!("database is another program's, it was not touched, name another: application_id={id:#010x}");
        return Err(unsuitable(path, &message));
    }
    Ok(())
}

fn unsuitable(path: &Path, message: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Unsuitable, format!("{message}: path={}", path.display()))
}

/// Makes the file, for its owner alone, and makes its name durable.
fn create(path: &Path) -> Result<(), StoreError> {
    let created = private(OpenOptions::new().create_new(true).write(true)).open(path);
    match created {
        Ok(file) => {
            let synced = file.sync_all().and_then(|()| File::open(folder(path))?.sync_all());
            synced.map_err(|error| of_file(error, "database cannot be created", path))
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(of_file(error, "database cannot be created", path)),
    }
}

pub(super) fn connect(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(of_statement)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// Of a new database. Twice SQLite's own default: rows come in crowds, and the log is written page by page.
const PAGE_BYTES: &str = "8192";

/// Sets what durability rests on, and reads it back: a setting that did not take is no setting.
fn settle_in(connection: &Connection, options: &SqliteOptions) -> Result<(), StoreError> {
    connection.busy_timeout(options.busy_timeout).map_err(of_statement)?;
    connection.execute_batch(&pragma("page_size", PAGE_BYTES)).map_err(of_statement)?;
    // The pragma answers "wal" before it has written that down, and may fail at it: so it is run to its end.
    let journal: Vec<String> = connection
        .prepare("pragma journal_mode = wal")
        .and_then(|mut statement| statement.query_map([], |row| row.get(0))?.collect())
        .map_err(of_statement)?;
    if journal != ["wal"] {
        let message =
            format!("database cannot use a write-ahead log, is it on a network file system? journal_mode={journal:?}");
        return Err(StoreError::new(StoreErrorKind::Unsuitable, message));
    }
    connection.pragma_update(None, "synchronous", "full").map_err(of_statement)?;
    let synchronous: i64 =
        connection.pragma_query_value(None, "synchronous", |row| row.get(0)).map_err(of_statement)?;
    if synchronous != 2 {
        let message = format!("database does not sync its log at every commit: synchronous={synchronous}");
        return Err(StoreError::new(StoreErrorKind::Unsuitable, message));
    }
    let pragmas = [("trusted_schema", "off".to_owned()), ("cell_size_check", "on".to_owned())]
        .into_iter()
        .chain([
            ("cache_size", format!("-{}", options.cache_kib)),
            ("wal_autocheckpoint", options.checkpoint_pages.to_string()),
        ])
        .chain(options.pages_max.map(|pages| ("max_page_count", pages.to_string())));
    for (name, value) in pragmas {
        connection.execute_batch(&pragma(name, &value)).map_err(of_statement)?;
    }
    Ok(())
}

fn pragma(name: &str, value: &str) -> String {
    ["pragma ", name, " = ", value].concat()
}

/// Brings the schema up to date, in one transaction: a process killed in the middle leaves it as it was.
fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let transaction =
        connection.transaction_with_behavior(rusqlite::TransactionBehavior::Exclusive).map_err(of_statement)?;
    let tables: Vec<String> = transaction
        .prepare("select name from sqlite_schema where type = 'table'")
        .and_then(|mut statement| statement.query_map([], |row| row.get(0))?.collect())
        .map_err(of_statement)?;
    if !tables.is_empty() && !tables.iter().any(|table| table == "prepaid_migrations") {
        return Err(unsuitable(
            path,
            "database is another program's, it was not touched, name another: it has tables of its own",
        ));
    }
    if tables.is_empty() {
        transaction.execute_batch(CREATE_MIGRATIONS).map_err(of_statement)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(of_statement)?;
    }
    let (found, readable_by): (Option<i64>, Option<i64>) = transaction
        .query_row("select max(version), max(readable_by) from prepaid_migrations", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .map_err(of_statement)?;
    if readable_by.is_some_and(|oldest| oldest > SCHEMA) {
        let found = found.unwrap_or_default();
        let message =
            format!("database has a newer schema, use a newer version of the program: schema={found} known={SCHEMA}");
        return Err(unsuitable(path, &message));
    }
    for (version, name, readable_by, statements) in MIGRATIONS {
        if found.is_some_and(|found| found >= *version) {
            continue;
        }
        transaction.execute_batch(statements).map_err(of_statement)?;
        transaction
            .execute(
                "insert into prepaid_migrations (version, name, readable_by) values (?1, ?2, ?3)",
                rusqlite::params![version, name, readable_by],
            )
            .map_err(of_statement)?;
    }
    if tables.is_empty() {
        let id = random::bytes().map_err(|error| StoreError::new(StoreErrorKind::Unavailable, error.to_string()))?;
        transaction.execute(sql::INSERT_META, rusqlite::params!["ledger", id.as_slice()]).map_err(of_statement)?;
    }
    transaction.commit().map_err(of_statement)
}

const CREATE_MIGRATIONS: &str = "create table prepaid_migrations (
    version integer not null primary key,
    name text not null,
    -- The oldest schema version whose programs can still work with the database after this migration.
    readable_by integer not null
) strict";

fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// How long somebody else's lock is waited for: a reader's at most.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
