//! cala-ledger, as a program would bill with it.
//!
//! The same job as a pair's, as far as it goes: a hold cannot overspend, a request is held once and settled once, and a
//! transaction is durable when its caller hears of it. What it does not do: a settlement does not know its hold (it may
//! take back more than was held, or what never was), a hold has no deadline, and nothing is chained.

use std::sync::Arc;

use cala_ledger::account::NewAccount;
use cala_ledger::job::{JobSvcConfig, Jobs};
use cala_ledger::journal::NewJournal;
use cala_ledger::posting::PostingInput;
use cala_ledger::tx_template::{
    NewParamDefinition, NewTxTemplate, NewTxTemplateEntry, NewTxTemplateTransaction, ParamDataType, Params,
};
use cala_ledger::velocity::{NewBalanceLimit, NewLimit, NewVelocityControl, NewVelocityLimit};
use cala_ledger::{
    AccountId, CalaLedger, CalaLedgerConfig, JournalId, TransactionId, TxTemplateId, VelocityControlId, VelocityLimitId,
};
use sqlx::postgres::PgConnectOptions;
use tokio::sync::{Mutex, mpsc, oneshot};

use crate::load::{Failure, Subject};
use crate::postings::{Account, DEPOSIT, HOLD, Leg, OVERDRAFT, SETTLEMENT, TEMPLATES, Template, agree, dollars};
use crate::server::pool;

/// One transaction of the database for each posting.
pub(crate) struct Cala {
    ledger: CalaLedger,
    journal: JournalId,
    customer: AccountId,
}

impl Cala {
    pub(crate) async fn open(url: &PgConnectOptions, connections: u32) -> Result<Arc<Self>, Failure> {
        let pool = pool(url, connections).await?;
        let mut jobs = Jobs::init(JobSvcConfig::builder().pool(pool.clone()).build()?).await?;
        let config = CalaLedgerConfig::builder().pool(pool).exec_migrations(true).build()?;
        let ledger = CalaLedger::init(config, &mut jobs).await?;
        let journal =
            ledger.journals().create(NewJournal::builder().id(JournalId::new()).name("main").build()).await?.id();
        let [customer, house] = [AccountId::new(), AccountId::new()];
        for (id, name) in [(customer, "customer"), (house, "house")] {
            ledger.accounts().create(NewAccount::builder().id(id).code(name).name(name).build()).await?;
        }
        for template in TEMPLATES {
            ledger.tx_templates().create(drawn(template, journal, customer, house)?).await?;
        }
        let cala = Self { ledger, journal, customer };
        cala.limit().await?;
        cala.post(&DEPOSIT, "first").await?;
        cala.refuses_what_it_lacks().await?;
        Ok(Arc::new(cala))
    }

    /// What is settled and held may not become a debt.
    async fn limit(&self) -> Result<(), Failure> {
        let floor = NewBalanceLimit::builder()
            .layer("PENDING")
            .amount("decimal('0')")
            .enforcement_direction("DEBIT")
            .always_active()
            .build()?;
        let limit = NewVelocityLimit::builder()
            .id(VelocityLimitId::new())
            .name("no debt")
            .description("no debt")
            .window(Vec::new())
            .limit(NewLimit::builder().balance(vec![floor]).build()?)
            .build()?;
        let control = NewVelocityControl::builder()
            .id(VelocityControlId::new())
            .name("no debt")
            .description("no debt")
            .build()?;
        let velocities = self.ledger.velocities();
        let limit = velocities.create_limit(limit).await?.id();
        let control = velocities.create_control(control).await?.id();
        velocities.add_limit_to_control(control, limit).await?;
        velocities.attach_control_to_account(control, self.customer, Params::new()).await?;
        Ok(())
    }

    /// The limit is in force.
    async fn refuses_what_it_lacks(&self) -> Result<(), Failure> {
        match self.post(&OVERDRAFT, "too much").await {
            Ok(()) => Err("cala-ledger overspends".into()),
            Err(refusal) if refusal.to_string().contains("limit exceeded") => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    pub(crate) async fn close(&self) -> Result<(), Failure> {
        let balance = self.ledger.balances().find(self.journal, self.customer, "USD".parse()?).await?;
        self.ledger.pool().close().await;
        agree(balance.settled(), balance.pending())
    }

    async fn post(&self, template: &Template, name: &str) -> Result<(), Failure> {
        let PostingInput { tx_id, tx_template_code, params } = posting(template, name);
        self.ledger.post_transaction(tx_id, &tx_template_code, params).await?;
        Ok(())
    }
}

impl Subject for Cala {
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

/// One transaction of the database for all the postings that wait: cala-ledger's own interface for it, driven as a
/// program would that gathers what its callers ask for. It is all or nothing: a posting that is refused would take the
/// rest of its batch with it, which the callers here never cause.
pub(crate) struct Batched {
    cala: Arc<Cala>,
    queue: mpsc::Sender<Waiting>,
}

struct Waiting {
    posting: PostingInput,
    answer: oneshot::Sender<Result<(), String>>,
}

impl Batched {
    /// At most `batch` postings in a transaction, and `batches` of these under way.
    pub(crate) async fn open(
        url: &PgConnectOptions,
        connections: u32,
        batch: usize,
        batches: usize,
    ) -> Result<Arc<Self>, Failure> {
        let cala = Cala::open(url, connections).await?;
        let (queue, waiting) = mpsc::channel(4_096);
        let waiting = Arc::new(Mutex::new(waiting));
        for _ in 0..batches {
            tokio::spawn(post_batches(Arc::clone(&cala), Arc::clone(&waiting), batch));
        }
        Ok(Arc::new(Self { cala, queue }))
    }

    pub(crate) async fn close(&self) -> Result<(), Failure> {
        self.cala.close().await
    }

    async fn post(&self, template: &Template, name: &str) -> Result<(), Failure> {
        let (answer, answered) = oneshot::channel();
        self.queue.send(Waiting { posting: posting(template, name), answer }).await?;
        Ok(answered.await??)
    }
}

impl Subject for Batched {
    type Hold = String;

    fn accounts(&self) -> usize {
        self.cala.accounts()
    }

    async fn reserve(&self, _: usize, request: String) -> Result<String, Failure> {
        self.post(&HOLD, &request).await?;
        Ok(request)
    }

    async fn settle(&self, request: String) -> Result<(), Failure> {
        self.post(&SETTLEMENT, &request).await
    }
}

/// One after another; ends with the queue.
async fn post_batches(cala: Arc<Cala>, queue: Arc<Mutex<mpsc::Receiver<Waiting>>>, batch: usize) {
    let mut waiting = Vec::with_capacity(batch);
    while queue.lock().await.recv_many(&mut waiting, batch).await > 0 {
        let (postings, answers): (Vec<_>, Vec<_>) =
            waiting.drain(..).map(|Waiting { posting, answer }| (posting, answer)).unzip();
        let posted = cala.ledger.post_transactions(postings).await.map(drop).map_err(|failure| failure.to_string());
        for answer in answers {
            // A caller that has gone does not want it.
            answer.send(posted.clone()).ok();
        }
    }
}

fn posting(template: &Template, name: &str) -> PostingInput {
    let mut params = Params::new();
    params.insert("name", format!("{name}:{}", template.code));
    for &(amount, minor) in template.amounts {
        params.insert(amount, dollars(minor));
    }
    PostingInput::new(TransactionId::new(), template.code, params)
}

/// A template as cala-ledger has it.
fn drawn(
    template: &Template,
    journal: JournalId,
    customer: AccountId,
    house: AccountId,
) -> Result<NewTxTemplate, Failure> {
    let param = |name: &str, kind| NewParamDefinition::builder().name(name).r#type(kind).build();
    let entry = |&Leg { account, direction, layer, units }: &Leg| {
        let id = match account {
            Account::Customer => customer,
            Account::House => house,
        };
        NewTxTemplateEntry::builder()
            .entry_type(format!("'{direction}'"))
            .account_id(format!("uuid('{id}')"))
            .layer(layer)
            .direction(direction)
            .units(units)
            .currency("'USD'")
            .build()
    };
    let mut params = vec![param("name", ParamDataType::String)?];
    for (amount, _) in template.amounts {
        params.push(param(amount, ParamDataType::Decimal)?);
    }
    let transaction = NewTxTemplateTransaction::builder()
        .effective("date()")
        .journal_id(format!("uuid('{journal}')"))
        .external_id("params.name")
        .build()?;
    Ok(NewTxTemplate::builder()
        .id(TxTemplateId::new())
        .code(template.code)
        .params(params)
        .transaction(transaction)
        .entries(template.legs.iter().map(entry).collect::<Result<_, _>>()?)
        .build())
}
