//! The wire is cut at every message of every kind of batch: before the message, after it, and in the middle. Whatever the
//! store then says must be true, and asking again must have every effect once. Or it falls silent: then nobody waits for
//! ever.

#![cfg(all(feature = "testing", feature = "postgres"))]

mod common;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use prepaid::kernel::{Action, Batch, Command};
use prepaid::model::{CallToken, TariffHash, Terms};
use prepaid::store::postgres::{PostgresOptions, PostgresStore};
use prepaid::store::{Store, StoreError, StoreErrorKind};
use prepaid::testing::Rows;
use prepaid::{Asset, Measured};
use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};

use common::one::{amount, hold, operation};
use common::postgres::Database;

const MODES: [&str; 3] = ["before", "after", "within"];
/// Nothing passes any more, and nothing is closed.
const SILENCE: usize = MODES.len();

/// Stands between a store and its database, and cuts the wire at a message.
#[derive(Debug, Default)]
struct Wire {
    /// Messages until the cut, of both directions.
    left: AtomicI64,
    mode: AtomicU8,
}

impl Wire {
    async fn lay(to: PgConnectOptions) -> (Arc<Self>, u16) {
        let wire = Arc::new(Self { left: AtomicI64::new(i64::MAX), mode: AtomicU8::new(0) });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let laid = Arc::clone(&wire);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                client.set_nodelay(true).unwrap();
                let (wire, to) = (Arc::clone(&laid), to.clone());
                tokio::spawn(async move {
                    let _ = match to.get_socket() {
                        Some(folder) => {
                            let path = folder.join(format!(".s.PGSQL.{}", to.get_port()));
                            wire.join(client, UnixStream::connect(path).await?).await
                        }
                        None => {
                            let server = TcpStream::connect((to.get_host(), to.get_port())).await?;
                            // Messages are passed on one by one, and must not wait for each other.
                            server.set_nodelay(true)?;
                            wire.join(client, server).await
                        }
                    };
                    io::Result::Ok(())
                });
            }
        });
        (wire, port)
    }

    /// Cuts at the message of this number from now on.
    fn cut_at(&self, message: i64, mode: usize) {
        self.mode.store(u8::try_from(mode).unwrap(), Ordering::SeqCst);
        self.left.store(message, Ordering::SeqCst);
    }

    /// Cuts no more. Answers how many messages passed if it was whole for `of` messages.
    fn heal(&self, of: i64) -> i64 {
        of - self.left.swap(i64::MAX, Ordering::SeqCst)
    }

    /// Carries messages until one side is done or the wire is cut; then both ends fall.
    async fn join(&self, client: TcpStream, server: impl AsyncRead + AsyncWrite) -> io::Result<()> {
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = tokio::io::split(server);
        tokio::select! {
            done = self.carry(from_client, to_server, true) => done,
            done = self.carry(from_server, to_client, false) => done,
        }
    }

    async fn carry(
        &self,
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
        from_client: bool,
    ) -> io::Result<()> {
        let mut is_startup = from_client;
        let mut between_pieces = true;
        loop {
            // The first message of a client has no type.
            let starts = std::mem::take(&mut is_startup);
            let head = if starts { 4 } else { 5 };
            let mut message = vec![0; head];
            from.read_exact(&mut message).await?;
            let length = u32::from_be_bytes(message[head - 4..].try_into().unwrap());
            message.resize(head - 4 + usize::try_from(length).unwrap(), 0);
            from.read_exact(&mut message[head..]).await?;
            let left = self.left.fetch_sub(1, Ordering::SeqCst);
            let (cut, mode) = (left == 1, usize::from(self.mode.load(Ordering::SeqCst)));
            if mode == SILENCE && left <= 1 && between_pieces {
                return std::future::pending().await;
            }
            // A driver sends a statement, its arguments and the `Sync` behind them in one piece, and so do networks. A
            // server that gets the half of it waits for the rest: no time-out of PostgreSQL's is about that before 17.
            between_pieces = !from_client || starts || matches!(message.first(), Some(b'S' | b'Q' | b'p'));
            let passes = match (cut, MODES.get(mode)) {
                (false, _) | (true, Some(&"after")) => message.len(),
                (true, Some(&"within")) => message.len() / 2,
                (true, _) => 0,
            };
            to.write_all(&message[..passes]).await?;
            to.flush().await?;
            if cut {
                return Ok(());
            }
        }
    }
}

/// The batches, each with a number so that they are new every time.
fn batch(kind: usize, number: usize) -> Vec<Arc<Command>> {
    let command = |action| Arc::new(Command::new("alice".parse().unwrap(), action));
    let named = |name: &str| hold(&format!("{name}-{kind}-{number}"));
    let reserve = |name: &str| {
        let mut terms = Terms::default();
        terms.amount = amount(10);
        let token = CallToken(u128::try_from(number * 10 + kind).unwrap().to_be_bytes());
        command(Action::Reserve { hold: named(name), terms: Arc::new(terms), lease: None, token, metadata: None })
    };
    let settle = |name: &str| {
        let measured = Measured::new(amount(7), 3);
        let hold = named(name);
        command(Action::Settle { hold, measured, or_debit: None, above_ceiling: false, metadata: None })
    };
    let key = |name: &str| operation(&format!("{name}-{kind}-{number}"));
    let deposit = |name: &str| command(Action::Deposit { key: key(name), amount: amount(7), metadata: None });
    let refund =
        |name: &str| command(Action::Refund { hold: named(name), key: key("r"), amount: amount(7), metadata: None });
    match kind {
        0 => vec![deposit("one")],
        1 => vec![reserve("h"), settle("h"), refund("h")],
        2 => (0..8).map(|n| deposit(&n.to_string())).collect(),
        _ => vec![reserve("a"), reserve("b"), settle("b"), deposit("d"), settle("a"), settle("nobody")],
    }
}

/// A wire to a database, and the address of its near end.
async fn wired(database: &Database) -> (Arc<Wire>, String) {
    let options = database.options();
    let (wire, port) = Wire::lay(options.clone()).await;
    let (user, name) = (options.get_username(), options.get_database().unwrap());
    (wire, format!("postgres://{user}@127.0.0.1:{port}/{name}?sslmode=disable"))
}

#[tokio::test]
async fn wire_that_is_cut_at_any_message_loses_and_doubles_nothing() {
    const WHOLE: i64 = 1 << 40;
    let database = Database::new().await;
    let (wire, url) = wired(&database).await;
    let mut settings = PostgresOptions::default();
    settings.buckets = Some(1);
    settings.statement_timeout = Duration::from_secs(5);
    let store = PostgresStore::open_with(&url, settings).await.unwrap();
    let beside = PostgresStore::open(&database.url).await.unwrap();
    let open = Action::Open { asset: Asset::USD, limits: Default::default(), policy: Default::default() };
    let money = Action::Deposit { key: operation("opening"), amount: amount(1_000_000), metadata: None };
    for action in [open, money] {
        let command = Arc::new(Command::new("alice".parse().unwrap(), action));
        store.commit(0, Arc::new(Batch::new(vec![command]))).await.unwrap();
    }
    let (mut cuts, mut answers, mut number, mut sent) = (0, BTreeMap::new(), 0, [0; 4]);
    for (kind, sent) in sent.iter_mut().enumerate() {
        // What the whole conversation is, once its statements are prepared.
        let mut messages = 0;
        for _ in 0..2 {
            number += 1;
            wire.cut_at(WHOLE, 0);
            store.commit(0, Arc::new(Batch::new(batch(kind, number)))).await.unwrap();
            messages = wire.heal(WHOLE);
            *sent += 1;
        }
        for (mode, message) in (0..MODES.len()).flat_map(|mode| (1..=messages).map(move |message| (mode, message))) {
            number += 1;
            let place = format!("batch {kind}, cut {} message {message} of {messages}", MODES[mode]);
            let batch = Arc::new(Batch::new(batch(kind, number)));
            // A connection whose statements are prepared, as the one that was counted.
            number += 1;
            store.commit(0, Arc::new(Batch::new(self::batch(kind, number)))).await.unwrap();
            *sent += 2;
            let before = beside.account(&"alice".parse().unwrap()).await.unwrap().unwrap();
            wire.cut_at(message, mode);
            let first = store.commit(0, Arc::clone(&batch)).await;
            wire.heal(0);
            cuts += 1;
            let after = beside.account(&"alice".parse().unwrap()).await.unwrap().unwrap();
            let said = first.as_ref().err().map(StoreError::kind);
            *answers.entry(said.map_or_else(|| "Ok".to_owned(), |kind| format!("{kind:?}"))).or_insert(0) += 1;
            match said {
                None => assert!(after.seq > before.seq, "{place}: nothing was written after all"),
                Some(StoreErrorKind::OutcomeUnknown) => {}
                Some(StoreErrorKind::Unavailable) => assert_eq!(after, before, "{place}: it was written after all"),
                Some(_) => panic!("{place}: {first:?}"),
            }
            let again = store.commit(0, batch).await.unwrap_or_else(|error| panic!("{place}: {error}"));
            let refused = again.iter().filter(|reply| reply.answer.is_err()).count();
            assert!(refused <= 1, "{place}: {again:?}");
        }
    }
    println!("{cuts} cuts: {answers:?}");
    assert!(cuts >= 300, "{cuts} cuts");
    assert!(answers.get("OutcomeUnknown").is_some_and(|count| *count > 0), "{answers:?}");
    let rows = Rows::of_bucket(&beside, 0).await.unwrap();
    rows.check(store.ledger()).unwrap();
    // Every batch once: deposits of 7, and holds that cost 7, some of them refunded.
    let [single, refunded, eightfold, mixed] = sent;
    let entries = 2 + single + 3 * refunded + 8 * eightfold + 5 * mixed;
    let (deposits, unpaid) = (single + 8 * eightfold + mixed, 2 * mixed);
    let account = &rows.accounts[0];
    assert_eq!((rows.entries.len(), rows.holds.len()), (entries, refunded + 2 * mixed));
    let expected = 1_000_000 + 7 * (i64::try_from(deposits).unwrap() - i64::try_from(unpaid).unwrap());
    assert_eq!((account.books.available.minor_units(), account.books.held.minor_units()), (expected, 0));
}

/// Something that is asked of a store, again and again.
type Call = for<'a> fn(&'a PostgresStore, &'a str, usize) -> BoxFuture<'a, Result<(), StoreError>>;

const CALLS: [(&str, Call); 8] = [
    ("open", |_, url, _| async move { PostgresStore::open_with(url, impatient()).await.map(drop) }.boxed()),
    ("account", |store, _, _| async move { store.account(&"alice".parse().unwrap()).await.map(drop) }.boxed()),
    ("feed", |store, _, _| async move { store.feed(0, 0, 10).await.map(drop) }.boxed()),
    ("due", |store, _, _| async move { store.due(0, 10).await.map(drop) }.boxed()),
    ("scan", |store, _, _| async move { store.scan(0, Box::new(|_| true)).await }.boxed()),
    ("batch", |store, _, n| async move { store.commit(0, Arc::new(Batch::new(batch(0, n)))).await.map(drop) }.boxed()),
    ("tariff", |store, _, n| async move { store.put_tariff(TariffHash([0; 16]), &n.to_be_bytes()).await }.boxed()),
    ("epoch", |store, _, _| async move { store.raise_epoch().await.map(drop) }.boxed()),
];

fn impatient() -> PostgresOptions {
    let mut options = PostgresOptions::default();
    (options.statement_timeout, options.lock_timeout) = (Duration::from_millis(500), Duration::from_millis(500));
    options
}

#[tokio::test]
async fn network_that_falls_silent_is_given_up_in_time() {
    const WHOLE: i64 = 1 << 40;
    let database = Database::new().await;
    let (wire, url) = wired(&database).await;
    let beside = PostgresStore::open(&database.url_with("buckets=1")).await.unwrap();
    let open = Action::Open { asset: Asset::USD, limits: Default::default(), policy: Default::default() };
    let open = Arc::new(Command::new("alice".parse().unwrap(), open));
    beside.commit(0, Arc::new(Batch::new(vec![open]))).await.unwrap();
    let store = PostgresStore::open_with(&url, impatient()).await.unwrap();
    let mut number = 0;
    for (name, call) in CALLS {
        // How many messages it is, with a connection at hand and its statements prepared.
        let mut messages = 0;
        for _ in 0..2 {
            messages = loop {
                number += 1;
                wire.cut_at(WHOLE, 0);
                // A busy machine may be too slow for us once.
                if call(&store, &url, number).await.is_ok() {
                    break wire.heal(WHOLE);
                }
            };
        }
        let mut given_up = 0;
        for part in 0..6 {
            let message = 1 + (messages - 1) * part / 5;
            number += 1;
            wire.cut_at(message, SILENCE);
            let answer = tokio::time::timeout(Duration::from_secs(60), call(&store, &url, number)).await;
            wire.heal(0);
            let place = format!("{name}, silent from message {message} of {messages}");
            match answer.unwrap_or_else(|_| panic!("{place}: it waits for ever")).map_err(|error| error.kind()) {
                Err(StoreErrorKind::Unavailable | StoreErrorKind::OutcomeUnknown) => given_up += 1,
                // The last words are a farewell.
                Ok(()) => assert!(message + 2 >= messages, "{place}: nothing came of it"),
                Err(other) => panic!("{place}: {other:?}"),
            }
            let mut again = call(&store, &url, number).await;
            for _ in 0..20 {
                if again.is_err() {
                    again = call(&store, &url, number).await;
                }
            }
            again.unwrap_or_else(|error| panic!("{place}: it is over, and still: {error}"));
        }
        println!("{name}: {messages} messages, given up {given_up} times");
        assert!(given_up >= 4, "{name} was given up {given_up} times");
    }
    Rows::of_bucket(&beside, 0).await.unwrap().check(beside.ledger()).unwrap();
}
