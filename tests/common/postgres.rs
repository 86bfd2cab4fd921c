//! A PostgreSQL to test with, and databases in it that are dropped afterwards.
//!
//! The server is the one `PREPAID_POSTGRES` names (`postgres://USER@HOST:PORT/DATABASE`, a role that may create
//! databases), else one that listens on this machine, else one that is started here from the installed programs and
//! stopped when its test binary ends. Without any of them the test fails and says what to install. Where the named
//! database is a Citus coordinator's, each database is spread over the machines that it knows.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use prepaid::clock::Clock;
use prepaid::store::Store;
use prepaid::store::postgres::{PostgresOptions, PostgresStore};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Executor};
use tokio::sync::OnceCell;

/// A database of a test's own.
#[derive(Debug)]
pub struct Database {
    pub url: String,
    name: String,
    server: PgConnectOptions,
    workers: Vec<PgConnectOptions>,
}

impl Database {
    pub async fn new() -> Self {
        Self::on(server().await).await
    }

    /// One on another server than the tests' own.
    pub async fn on(server: &PgConnectOptions) -> Self {
        let mut database = Self::unspread(server).await;
        database.spread().await;
        database
    }

    /// One that stays on one machine until it is spread.
    pub async fn unspread(server: &PgConnectOptions) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("prepaid_test_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let mut connection = server.connect().await.unwrap();
        sweep(&mut connection).await;
        execute(&mut connection, &format!("create database {name}")).await;
        let mut url = server.to_url_lossy();
        url.set_path(&name);
        Self { url: url.to_string(), name, server: server.clone(), workers: Vec::new() }
    }

    /// Spreads it over the machines of the coordinator it is on. Elsewhere there are none.
    pub async fn spread(&mut self) {
        let mut connection = self.server.connect().await.unwrap();
        let is_citus = "select exists (select from pg_extension where extname = 'citus')";
        if !sqlx::query_scalar::<_, bool>(is_citus).fetch_one(&mut connection).await.unwrap() {
            return;
        }
        let nodes =
            "select groupid = 0, nodename, nodeport from pg_dist_node where noderole = 'primary' order by groupid";
        let nodes: Vec<(bool, String, i32)> = sqlx::query_as(nodes).fetch_all(&mut connection).await.unwrap();
        self.run("create extension citus").await;
        // A machine that is added to two databases at once does not know which of them made its roles.
        execute(&mut connection, "select pg_advisory_lock(7)").await;
        for (is_coordinator, host, port) in nodes {
            if is_coordinator {
                self.run(&format!("select citus_set_coordinator_host('{host}', {port})")).await;
                continue;
            }
            let worker = self.server.clone().host(&host).port(u16::try_from(port).unwrap());
            let mut connection = worker.connect().await.unwrap();
            sweep(&mut connection).await;
            execute(&mut connection, &format!("create database {}", self.name)).await;
            self.workers.push(worker.database(&self.name));
            execute(&mut self.workers.last().unwrap().connect().await.unwrap(), "create extension citus").await;
            self.run(&format!("select citus_add_node('{host}', {port})")).await;
        }
    }

    /// The same database on the machines that it is spread over.
    pub fn workers(&self) -> &[PgConnectOptions] {
        &self.workers
    }

    /// Its url with an option of the store's.
    pub fn url_with(&self, option: &str) -> String {
        let separator = if self.url.contains('?') { '&' } else { '?' };
        format!("{}{separator}{option}", self.url)
    }

    /// The ledger in it, by another clock than the database's.
    pub async fn store_by(&self, clock: Arc<dyn Clock>, buckets: Option<u16>) -> Arc<dyn Store> {
        let mut options = PostgresOptions::default();
        options.clock = Some(clock);
        options.buckets = buckets;
        Arc::new(PostgresStore::open_with(&self.url, options).await.unwrap())
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

/// Holds every transaction up that writes an operation under the key [`Gate::KEY`], after everything else in it is
/// written and before it is committed.
#[derive(Debug)]
pub struct Gate(PgConnection);

impl Gate {
    pub const KEY: &str = "gate";

    pub async fn shut(database: &Database) -> Self {
        database
            .run(
                "create function gate() returns trigger language plpgsql as $$ begin \
                     perform pg_advisory_xact_lock_shared(7); return null; end $$; \
                 create trigger gate after insert on prepaid.entries for each row when (new.key = 'gate') \
                     execute function gate()",
            )
            .await;
        let mut connection = database.connect().await;
        connection.execute("select pg_advisory_lock(7)").await.unwrap();
        Self(connection)
    }

    /// Waits until a transaction waits; which session it is of.
    pub async fn waiting(&mut self) -> i32 {
        self.until("advisory").await
    }

    /// Waits until another transaction waits for the bucket that the one at the gate has.
    pub async fn queueing(&mut self) {
        self.until("transactionid").await;
    }

    pub async fn open(&mut self) {
        self.0.execute("select pg_advisory_unlock_all()").await.unwrap();
    }

    pub async fn is_alive(&mut self, session: i32) -> bool {
        let there = sqlx::query_scalar("select exists (select from pg_stat_activity where pid = $1)").bind(session);
        there.fetch_one(&mut self.0).await.unwrap()
    }

    async fn until(&mut self, lock: &str) -> i32 {
        let waits = "select pid from pg_stat_activity where datname = current_database() and wait_event = $1";
        loop {
            match sqlx::query_scalar(waits).bind(lock).fetch_optional(&mut self.0).await.unwrap() {
                Some(session) => return session,
                None => tokio::task::yield_now().await,
            }
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let maintenance = self.server.get_database().unwrap_or("postgres").to_owned();
        let workers = self.workers.drain(..).map(|worker| worker.database(&maintenance));
        let servers: Vec<_> = std::iter::once(self.server.clone()).chain(workers).collect();
        let name = self.name.clone();
        // A runtime of its own: the test's may be gone, and must not be blocked.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                for server in servers {
                    if let Ok(mut connection) = server.connect().await {
                        drop_database(&mut connection, &name).await;
                    }
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

async fn drop_database(connection: &mut PgConnection, name: &str) {
    let drop = format!("drop database if exists {name} with (force)");
    let _ = connection.execute(sqlx::raw_sql(AssertSqlSafe(drop))).await;
}

/// Drops the databases that killed tests left behind.
async fn sweep(connection: &mut PgConnection) {
    let names = "select datname::text from pg_database where datname like 'prepaid\\_test\\_%'";
    let names: Vec<String> = sqlx::query_scalar(names).fetch_all(&mut *connection).await.unwrap();
    for name in names {
        let process = name.split('_').nth(2).unwrap_or_default();
        if !Path::new("/proc").join(process).exists() {
            drop_database(connection, &name).await;
        }
    }
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

/// A server of our own; see [`Server`].
async fn private() -> PgConnectOptions {
    Server::start(&[], false).connect()
}

/// A server of a test's own, on a socket in a temporary folder. A guard stops it and removes its files when this process
/// is gone, however it goes.
#[derive(Debug)]
pub struct Server {
    folder: PathBuf,
    settings: String,
}

impl Server {
    /// Starts one with these settings, as a standby that waits for a primary if it is told so.
    #[expect(clippy::zombie_processes, reason = "the guard outlives us: that is its purpose")]
    pub fn start(settings: &[&str], standby: bool) -> Self {
        let folder = tempfile::Builder::new().prefix("prepaid-postgres-").tempdir().unwrap().keep();
        let data = folder.join("data");
        owned_by_postgres(&folder);
        run(program("initdb").args(["--auth=trust", "--username=postgres", "--encoding=UTF8", "-D"]).arg(&data));
        if standby {
            run(as_owner("touch").arg(data.join("standby.signal")));
        }
        let socket = format!("-c listen_addresses='' -c unix_socket_directories='{}'", folder.display());
        let settings = settings.iter().fold(socket, |all, setting| format!("{all} -c {setting}"));
        let server = Self { folder: folder.clone(), settings };
        server.run();
        let stop = program("pg_ctl");
        let mut guard = Command::new("sh");
        let wait = "while kill -0 $0 2>/dev/null; do sleep 1; done; d=$1; shift; \"$@\" -m immediate -D $d/data stop; rm -rf $d";
        guard.args(["-c", wait]).arg(std::process::id().to_string()).arg(&folder);
        guard.arg(stop.get_program()).args(stop.get_args());
        guard.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0).spawn().unwrap();
        server
    }

    /// Ends it without a word, as a power cut would, and starts it again.
    pub fn crash(&self) {
        self.stop();
        self.run();
    }

    /// Ends it without a word, as a power cut would.
    pub fn stop(&self) {
        run(program("pg_ctl").args(["-m", "immediate", "-D"]).arg(self.folder.join("data")).arg("stop"));
    }

    /// What it has to say of itself, of all its lives.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap()
    }

    /// Starts it after a stop.
    pub fn run(&self) {
        let (data, log) = (self.folder.join("data"), self.folder.join("log"));
        let mut start = program("pg_ctl");
        start.args(["-w", "-o", &self.settings, "-l"]).arg(&log).arg("-D").arg(data).arg("start");
        // The server keeps what it inherits open.
        let started = start.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
        assert!(started.success(), "{}", fs::read_to_string(log).unwrap_or_default());
    }

    pub fn connect(&self) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass().socket(&self.folder).username("postgres").database("postgres")
    }

    pub fn url(&self) -> String {
        self.connect().to_url_lossy().to_string()
    }
}

/// Lets a program that does not run as root have a folder; whom to run it as, if not as ourselves.
pub fn owned_by_postgres(folder: &Path) -> Option<&'static str> {
    if !is_root() {
        return None;
    }
    run(Command::new("chown").args(["-R", "postgres"]).arg(folder));
    Some("postgres")
}

/// One of the newest installed programs, to be run by somebody who may.
fn program(name: &str) -> Command {
    let mut found: Vec<_> =
        fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|dir| dir.path().join("bin")).collect();
    found.retain(|bin| bin.join("initdb").exists() && bin.join("pg_ctl").exists());
    found.sort();
    let folder = found.pop().unwrap_or_else(|| {
        panic!("no PostgreSQL is running and none is installed: `apt-get install postgresql`, or set PREPAID_POSTGRES")
    });
    as_owner(folder.join(name))
}

fn as_owner(program: impl AsRef<std::ffi::OsStr>) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("runuser");
    command.args(["-u", "postgres", "--"]).arg(program);
    command
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.starts_with(b"0\n"))
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
