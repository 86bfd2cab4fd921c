//! sqlx-ledger, as a program would bill with it.
//!
//! It has no limit of any kind, so nothing keeps a hold from overspending; nor does a settlement know its hold, or a hold
//! have a deadline. Callers queue here, before the database: of postings to one account at once it answers all but one with
//! a duplicate key, and trying again until it works is slower than one after another.

use std::sync::Arc;

use ::sqlx_ledger::account::NewAccount;
use ::sqlx_ledger::journal::NewJournal;
use ::sqlx_ledger::tx_template::{EntryInput, NewTxTemplate, ParamDataType, ParamDefinition, TxInput, TxParams};
use ::sqlx_ledger::{AccountId, JournalId, SqlxLedger, TransactionId};
use sqlx::Executor;
use sqlx::postgres::{PgConnectOptions, PgPool};
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::load::{Failure, Subject};
use crate::postings::{Account, DEPOSIT, HOLD, Leg, SETTLEMENT, TEMPLATES, Template, agree, dollars};
use crate::server::pool;

pub(crate) struct Queued {
    pool: PgPool,
    ledger: Mutex<SqlxLedger>,
    journal: JournalId,
    customer: AccountId,
}

impl Queued {
    pub(crate) async fn open(url: &PgConnectOptions, connections: u32) -> Result<Arc<Self>, Failure> {
        let pool = pool(url, connections).await?;
        pool.execute(sqlx::raw_sql(include_str!("sqlx_ledger.sql"))).await?;
        let ledger = SqlxLedger::new(&pool);
        let journal = ledger.journals().create(NewJournal::builder().name("main").build()?).await?;
        let [customer, house] = [AccountId::new(), AccountId::new()];
        for (id, name) in [(customer, "customer"), (house, "house")] {
            ledger.accounts().create(NewAccount::builder().id(id).code(name).name(name).build()?).await?;
        }
        for template in TEMPLATES {
            ledger.tx_templates().create(drawn(template, journal, customer, house)?).await?;
        }
        let queued = Self { pool, ledger: Mutex::new(ledger), journal, customer };
        queued.post(&DEPOSIT, "first").await?;
        Ok(Arc::new(queued))
    }

    pub(crate) async fn close(&self) -> Result<(), Failure> {
        let ledger = self.ledger.lock().await;
        let balance = ledger.balances().find(self.journal, self.customer, "USD".parse()?).await?.ok_or("no balance")?;
        self.pool.close().await;
        agree(balance.settled(), balance.pending())
    }

    async fn post(&self, template: &Template, name: &str) -> Result<(), Failure> {
        let mut params = TxParams::new();
        params.insert("name", format!("{name}:{}", template.code));
        for &(amount, minor) in template.amounts {
            params.insert(amount, dollars(minor));
        }
        let ledger = self.ledger.lock().await;
        ledger.post_transaction(TransactionId::new(), &code(template, self.journal), Some(params)).await?;
        Ok(())
    }
}

impl Subject for Queued {
    type Hold = String;

    fn accounts(&self) -> usize {
        1
    }

    async fn reserve(&self, _: usize, request: String) -> Result<String, Failure> {
        self.post(&HOLD, &request).await?;
        Ok(request)
    }

    async fn settle(&self, request: String) -> Result<(), Failure> {
        self.post(&SETTLEMENT, &request).await
    }
}

/// Templates are remembered by their code for as long as the process lives, whatever database they are of.
fn code(template: &Template, journal: JournalId) -> String {
    format!("{}:{journal}", template.code)
}

/// A template as sqlx-ledger has it.
fn drawn(
    template: &Template,
    journal: JournalId,
    customer: AccountId,
    house: AccountId,
) -> Result<NewTxTemplate, Failure> {
    let param = |name: &str, kind| ParamDefinition::builder().name(name).r#type(kind).build();
    let entry = |&Leg { account, direction, layer, units }: &Leg| {
        let id = match account {
            Account::Customer => customer,
            Account::House => house,
        };
        EntryInput::builder()
            .entry_type(format!("'{direction}'"))
            .account_id(format!("uuid('{id}')"))
            .layer(layer)
            .direction(direction)
            .units(units)
            .currency("'USD'")
            .build()
    };
    let mut params = vec![param("name", ParamDataType::STRING)?];
    for (amount, _) in template.amounts {
        params.push(param(amount, ParamDataType::DECIMAL)?);
    }
    let transaction = TxInput::builder()
        .effective("date()")
        .journal_id(format!("uuid('{journal}')"))
        .external_id("params.name")
        .build()?;
    Ok(NewTxTemplate::builder()
        .id(Uuid::new_v4())
        .code(code(template, journal))
        .params(params)
        .tx_input(transaction)
        .entries(template.legs.iter().map(entry).collect::<Result<_, _>>()?)
        .build()?)
}
