//! The host's own SQLite and the ledger's PostgreSQL, in one program.

use sqlx::Connection;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut own = sqlx::SqliteConnection::connect("sqlite::memory:").await?;
    let (version,): (String,) = sqlx::query_as("select sqlite_version()").fetch_one(&mut own).await?;
    let ledger = prepaid::Ledger::open("memory:").await?;
    println!("SQLite {version} and ledger {:?}", ledger.id());
    // Links the store; there is no server here.
    let refused = prepaid::Ledger::open("postgres://nobody@127.0.0.1:1/nothing").await;
    assert!(refused.is_err(), "nobody listens there");
    Ok(())
}
