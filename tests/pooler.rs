//! Behind a pooler that hands every transaction another connection: pgbouncer, in transaction mode, with fewer connections
//! than the ledgers would like to have.

#![cfg(all(feature = "testing", feature = "postgres", unix))]

mod common;

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures_util::future::join_all;
use prepaid::journal::Cursor;
use prepaid::{AccountHandle, Error, Ledger};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Row};

use common::one::amount;
use common::postgres::{Server, owned_by_postgres};

/// Connections to the database, of all clients together.
const CONNECTIONS: u32 = 2;

struct Pooler {
    process: Child,
    folder: tempfile::TempDir,
}

impl Pooler {
    /// One in front of the server, on a socket in a folder of its own.
    async fn start(server: &Server) -> Self {
        let folder = tempfile::Builder::new().prefix("prepaid-pgbouncer-").tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let behind = server.connect();
        let behind = behind.get_socket().unwrap().display();
        let settings = format!(
            "[databases]\n* = host={behind} port=5432 user=postgres\n[pgbouncer]\nunix_socket_dir = {here}\n\
             listen_addr =\nlisten_port = 6432\nauth_type = trust\nauth_file = {users}\npool_mode = transaction\n\
             default_pool_size = {CONNECTIONS}\nmax_client_conn = 100\nlogfile = {log}\n",
            here = folder.path().display(),
            users = path("users"),
            log = path("log"),
        );
        fs::write(path("settings.ini"), settings).unwrap();
        fs::write(path("users"), "\"postgres\" \"\"\n").unwrap();
        let user = owned_by_postgres(folder.path());
        // Debian puts it where not every user looks.
        let program = Some("/usr/sbin/pgbouncer").filter(|path| fs::exists(path).unwrap());
        let mut command = Command::new(program.unwrap_or("pgbouncer"));
        command.arg("-q").args(user.iter().flat_map(|user| ["-u", user])).arg(path("settings.ini"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().unwrap_or_else(|error| {
            panic!("pgbouncer cannot be run: {error}: install it with `apt-get install pgbouncer`")
        });
        let mut pooler = Self { process, folder };
        for _ in 0..500 {
            let Err(error) = pooler.connect().connect().await else { return pooler };
            let ended = pooler.process.try_wait().unwrap();
            assert!(ended.is_none(), "pgbouncer ended: {ended:?}: {error}: {}", pooler.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("pgbouncer does not let us in: {}", pooler.log());
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn connect(&self) -> PgConnectOptions {
        let socket = PgConnectOptions::new_without_pgpass().socket(self.folder.path()).port(6432);
        // Poolers refuse the setting.
        socket.username("postgres").database("postgres").extra_float_digits(None)
    }

    fn url(&self, option: &str) -> String {
        let url = self.connect().statement_cache_capacity(0).to_url_lossy().to_string();
        format!("{url}{}{option}", if url.contains('?') { '&' } else { '?' })
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn requests(account: AccountHandle) -> Result<(), Error> {
    account.open().await?;
    account.deposit("opening", amount(1_000)).await?;
    for request in ["a", "b", "c", "d", "e"] {
        let mut hold = account.reserve(request, amount(10)).await?.created()?;
        hold.extend(amount(15), false).await?;
        hold.report(amount(3)).await?;
        hold.settle(amount(12)).await?;
        account.balance().await?;
    }
    account.refund("a", "r", amount(2)).await.map(drop)
}

#[tokio::test]
async fn ledgers_that_prepare_no_statements_work_behind_a_pooler_of_transactions() {
    const ACCOUNTS: usize = 40;
    let server = Server::start(&[], false);
    let pooler = Pooler::start(&server).await;
    let url = pooler.url("prepared=never");
    // Opening at once they get each other's connections.
    let ledgers = join_all((0..12).map(|_| Ledger::open(&url))).await;
    let ledgers: Vec<_> = ledgers.into_iter().map(Result::unwrap).collect();
    let accounts = (0..ACCOUNTS).map(|n| ledgers[n % 3].account(format!("account-{n}")).unwrap());
    for done in join_all(accounts.map(requests)).await {
        done.unwrap();
    }
    let page = ledgers[0].feed(&Cursor::default(), 10_000).await.unwrap();
    // The account, its money, three of each request, and the refund.
    assert_eq!(page.entries.len(), ACCOUNTS * (2 + 3 * 5 + 1));
    let audit = ledgers[1].audit().await.unwrap();
    assert!(audit.is_clean(), "{audit}");
    for n in 0..ACCOUNTS {
        let account = ledgers[2].account(format!("account-{n}")).unwrap();
        assert_eq!(account.balance().await.unwrap().available.minor_units(), 1_000 - 5 * 12 + 2);
    }
    let mut beside = server.connect().connect().await.unwrap();
    let sessions = "select count(*) from pg_stat_activity where backend_type = 'client backend' \
                    and pid <> pg_backend_pid()";
    let sessions: i64 = sqlx::query_scalar(sessions).fetch_one(&mut beside).await.unwrap();
    assert!((1..=i64::from(CONNECTIONS)).contains(&sessions), "{sessions} connections: nothing was pooled");
}

/// What was set for a transaction is gone after it: the next one on the connection may be another program's.
#[tokio::test]
async fn settings_of_a_transaction_do_not_stay_on_its_connection() {
    let server = Server::start(&[], false);
    let pooler = Pooler::start(&server).await;
    let settings = "select string_agg(name || '=' || setting, ' ' order by name) from pg_settings where name in \
                    ('lock_timeout', 'statement_timeout', 'enable_seqscan', 'plan_cache_mode', 'synchronous_commit')";
    let read = async |options: PgConnectOptions| -> String {
        let mut connection = options.connect().await.unwrap();
        sqlx::raw_sql(settings).fetch_one(&mut connection).await.unwrap().get(0)
    };
    let ledger = Ledger::open(&pooler.url("prepared=never")).await.unwrap();
    requests(ledger.account("alice").unwrap()).await.unwrap();
    assert_eq!(read(pooler.connect()).await, read(server.connect()).await);
}
