//! The server that everything is measured on.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions, Executor, PgConnection};

use crate::load::Failure;

pub(crate) struct Server {
    url: PgConnectOptions,
    admin: PgConnection,
}

const DATABASE: &str = "bench_peer";

impl Server {
    /// Refuses a server whose commits are not durable.
    pub(crate) async fn at(url: &str) -> Result<Self, Failure> {
        let url: PgConnectOptions = url.parse()?;
        let mut server = Self { admin: url.connect().await?, url };
        for setting in ["fsync", "synchronous_commit", "full_page_writes"] {
            if server.setting(setting).await? == "off" {
                return Err(format!("{setting} is off").into());
            }
        }
        Ok(server)
    }

    pub(crate) async fn setting(&mut self, name: &str) -> Result<String, Failure> {
        Ok(sqlx::query_scalar("select current_setting($1)").bind(name).fetch_one(&mut self.admin).await?)
    }

    /// An empty database, in place of the last one. What the last one left to be written is written first.
    pub(crate) async fn database(&mut self) -> Result<PgConnectOptions, Failure> {
        self.remove().await?;
        self.admin.execute(format!("create database {DATABASE}").as_str()).await?;
        self.admin.execute("checkpoint").await?;
        Ok(self.url.clone().database(DATABASE))
    }

    pub(crate) async fn remove(&mut self) -> Result<(), Failure> {
        self.admin.execute(format!("drop database if exists {DATABASE} with (force)").as_str()).await?;
        Ok(())
    }
}

/// Connections for a peer, all of them open.
pub(crate) async fn pool(url: &PgConnectOptions, connections: u32) -> Result<PgPool, Failure> {
    let options = PgPoolOptions::new()
        .max_connections(connections)
        .min_connections(connections)
        .acquire_timeout(Duration::from_secs(60))
        .test_before_acquire(false);
    Ok(options.connect_with(url.clone()).await?)
}
