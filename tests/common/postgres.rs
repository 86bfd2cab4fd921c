//! A PostgreSQL to test with, and databases in it that are dropped afterwards.
//!
//! The server is the one `PREPAID_POSTGRES` names (`postgres://USER@HOST:PORT/DATABASE`, a role that may create
//! databases), else one that listens on this machine, else one that is started here from the installed programs and
//! stopped when its test binary ends. Without any of them the test fails and says what to install.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Executor};
use tokio::sync::OnceCell;

/// A database of a test's own.
#[derive(Debug)]
pub struct Database {
    pub url: String,
    name: String,
    server: PgConnectOptions,
}

impl Database {
    pub async fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let server = server().await;
        let name = format!("prepaid_test_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let mut connection = server.connect().await.unwrap();
        sweep(&mut connection).await;
        execute(&mut connection, &format!("create database {name}")).await;
        let mut url = server.to_url_lossy();
        url.set_path(&name);
        Self { url: url.to_string(), name, server: server.clone() }
    }

    /// A connection to it beside the store's.
    pub async fn connect(&self) -> PgConnection {
        self.options().connect().await.unwrap()
    }

    pub fn options(&self) -> PgConnectOptions {
        self.server.clone().database(&self.name)
    }

    /// Runs statements beside the store.
    pub async fn run(&self, statements: &str) {
        execute(&mut self.connect().await, statements).await;
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        // A runtime of its own: the test's may be gone, and must not be blocked.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                if let Ok(mut connection) = server.connect().await {
                    let _ = connection
                        .execute(sqlx::raw_sql(AssertSqlSafe(format!("drop database if exists {name} with (force)"))))
                        .await;
                }
            });
        });
        let _ = dropped.join();
    }
}

async fn execute(connection: &mut PgConnection, statements: &str) {
    let run = connection.execute(sqlx::raw_sql(AssertSqlSafe(statements.to_owned()))).await;
    run.unwrap_or_else(|error| panic!("{error}: {statements}"));
}

/// Drops the databases that killed tests left behind.
async fn sweep(connection: &mut PgConnection) {
    static SWEPT: OnceCell<()> = OnceCell::const_new();
    SWEPT
        .get_or_init(|| async {
            let names = "select datname::text from pg_database where datname like 'prepaid\\_test\\_%'";
            let names: Vec<String> = sqlx::query_scalar(names).fetch_all(&mut *connection).await.unwrap();
            for name in names {
                let process = name.split('_').nth(2).unwrap_or_default();
                if !Path::new("/proc").join(process).exists() {
                    let drop = format!("drop database if exists {name} with (force)");
                    let _ = connection.execute(sqlx::raw_sql(AssertSqlSafe(drop))).await;
                }
            }
        })
        .await;
}

async fn server() -> &'static PgConnectOptions {
    static SERVER: OnceCell<PgConnectOptions> = OnceCell::const_new();
    SERVER
        .get_or_init(|| async {
            if let Ok(url) = std::env::var("PREPAID_POSTGRES") {
                let options: PgConnectOptions = url.parse().expect("PREPAID_POSTGRES is a url");
                options.connect().await.unwrap_or_else(|error| panic!("PREPAID_POSTGRES cannot be reached: {error}"));
                return options;
            }
            match local().await {
                Some(options) => options,
                None => private().await,
            }
        })
        .await
}

/// A server on the usual port that lets us create databases.
async fn local() -> Option<PgConnectOptions> {
    for user in ["root", "postgres"] {
        let options = PgConnectOptions::new_without_pgpass().host("127.0.0.1").username(user).database("postgres");
        if let Ok(mut connection) = options.connect().await {
            let may = sqlx::query_scalar("select rolcreatedb or rolsuper from pg_roles where rolname = current_user");
            if may.fetch_one(&mut connection).await.unwrap_or(false) {
                return Some(options);
            }
        }
    }
    None
}

/// A server of our own on a socket in a temporary folder. A guard stops it and removes its files when this process is
/// gone, however it goes.
#[expect(clippy::zombie_processes, reason = "the guard outlives us: that is its purpose")]
async fn private() -> PgConnectOptions {
    let programs = programs().unwrap_or_else(|| {
        panic!("no PostgreSQL is running and none is installed: `apt-get install postgresql`, or set PREPAID_POSTGRES")
    });
    let folder = tempfile::Builder::new().prefix("prepaid-postgres-").tempdir().unwrap().keep();
    let (data, log) = (folder.join("data"), folder.join("log"));
    let root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.starts_with(b"0\n"));
    if root {
        // PostgreSQL does not run as root.
        run(Command::new("chown").arg("postgres").arg(&folder));
    }
    let as_user = |program: &str| {
        let program = programs.join(program);
        if root {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        }
    };
    run(as_user("initdb").args(["--auth=trust", "--username=postgres", "--encoding=UTF8", "-D"]).arg(&data));
    let settings = format!("-c listen_addresses='' -c unix_socket_directories='{}'", folder.display());
    run(as_user("pg_ctl").args(["-w", "-o", &settings, "-l"]).arg(&log).arg("-D").arg(&data).arg("start"));
    let stop = as_user("pg_ctl");
    let stop: Vec<_> = std::iter::once(stop.get_program()).chain(stop.get_args()).map(|arg| arg.to_owned()).collect();
    let mut guard = Command::new("sh");
    guard.args([
        "-c",
        "while kill -0 $1 2>/dev/null; do sleep 1; done; d=$2; shift 2; \"$@\" -m immediate -D $d/data stop; rm -rf $d",
        "guard",
    ]);
    guard.arg(std::process::id().to_string()).arg(&folder).args(stop);
    guard.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0).spawn().unwrap();
    PgConnectOptions::new_without_pgpass().socket(&folder).username("postgres").database("postgres")
}

/// The newest installed programs.
fn programs() -> Option<PathBuf> {
    let mut found: Vec<_> =
        fs::read_dir("/usr/lib/postgresql").ok()?.flatten().map(|version| version.path().join("bin")).collect();
    found.retain(|bin| bin.join("initdb").exists() && bin.join("pg_ctl").exists());
    found.sort();
    found.pop()
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
