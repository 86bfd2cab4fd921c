//! Reserving: what can be asked for, and what may be started upon the answer.

use std::fmt;
use std::future::IntoFuture;
use std::sync::Arc;

use super::account::{AccountHandle, ToHoldId};
use super::calls::{Answer, in_another_asset};
use super::open_hold::OpenHold;
use crate::error::{Error, ErrorKind, Result};
use crate::kernel::{Action, Denial, Outcome, Refusal};
use crate::model::{
    Amount, Asset, Balance, CallToken, Hold, HoldId, KeyHash, Label, Lease, Measured, Metadata, ModelName, OnLapse,
    Overrun, RequestId, Scope, Terms,
};
use crate::pricing::Tariff;

/// The answer to a reserve. Only [`Reserved::Created`] may start the upstream.
#[derive(Debug)]
#[must_use = "only a created hold may start the upstream"]
pub enum Reserved {
    /// The money is set aside: start the upstream. A partial grant holds less than was asked: see
    /// [`OpenHold::amount`].
    Created(OpenHold),
    /// This attempt is running already, here or elsewhere: start nothing. A gateway answers 409 with `Retry-After`.
    Replayed {
        /// The hold as it stands.
        hold: Arc<Hold>,
        /// The account's balance now.
        balance: Balance,
    },
    /// This attempt is over: a gateway answers with what it stored, or reserves the next attempt.
    Closed {
        /// The hold as it stands.
        hold: Arc<Hold>,
        /// The account's balance now.
        balance: Balance,
        /// The lowest attempt after this one that no hold has.
        next_attempt: u32,
    },
    /// It does not fit: a gateway answers 402.
    Denied(Denial),
}

impl Reserved {
    /// The open hold, or the answer itself as an error with what else it was.
    ///
    /// # Errors
    /// `Refused` for everything but [`Reserved::Created`]; the message says which.
    pub fn created(self) -> Result<OpenHold> {
        match self {
            Self::Created(hold) => Ok(hold),
            Self::Replayed { hold, .. } => {
                Err(Error::new(ErrorKind::Refused, format!("hold is running already: hold={}", hold.id)))
            }
            Self::Closed { hold, .. } => {
                Err(Error::new(ErrorKind::Refused, format!("hold is closed: hold={}", hold.id)))
            }
            Self::Denied(denial) => {
                let refusal = Refusal::Denied(denial);
                Err(Error::refused(refusal.clone(), crate::kernel::Reply::refusing(refusal)))
            }
        }
    }
}

/// Which hold a reserve is about.
#[derive(Clone, Debug)]
pub(super) enum Name {
    Exactly(HoldId),
    NextOf(RequestId),
}

/// A reserve on its way; set options, then await it.
#[must_use = "a call does nothing until it is awaited"]
pub struct ReserveCall<'a> {
    account: &'a AccountHandle,
    name: Result<Name>,
    terms: Arc<Terms>,
    tariff: Option<Arc<Tariff>>,
    asset: Option<Asset>,
    input: Option<Measured>,
    lease: Option<Lease>,
    metadata: Option<Metadata>,
    token: Option<CallToken>,
}

impl<'a> ReserveCall<'a> {
    pub(super) fn new(account: &'a AccountHandle, name: Result<Name>, amount: Amount) -> Self {
        let terms = Arc::new(Terms { amount, ..Terms::default() });
        Self { account, name, terms, tariff: None, asset: None, input: None, lease: None, metadata: None, token: None }
    }

    /// Takes as little as `min`, and as much as there is, where the whole amount does not fit.
    pub fn min(mut self, min: Amount) -> Self {
        self.terms().min = Some(min);
        self
    }

    /// The prices the hold will be charged at, pinned in it. They have to be prices in the currency of the amount's
    /// [asset](ReserveCall::asset).
    pub fn tariff(mut self, tariff: Arc<Tariff>) -> Self {
        self.tariff = Some(tariff);
        self
    }

    /// What the amount is an amount of. By default nothing is assumed without a tariff, and the
    /// [ledger's asset](super::Ledger::asset) with one. `InvalidInput` where the account's asset is another, or the tariff's
    /// currency: no hold is made.
    pub fn asset(mut self, asset: Asset) -> Self {
        self.asset = Some(asset);
        self
    }

    /// What the input alone will cost: recorded as soon as the upstream has the request
    /// ([`OpenHold::dispatched`]).
    pub fn input(mut self, quoted: impl Into<Measured>) -> Self {
        self.input = Some(quoted.into());
        self
    }

    /// What revenue is split by, such as `openai/gpt-4o`.
    pub fn label(mut self, label: Label) -> Self {
        self.terms().label = Some(label);
        self
    }

    /// The model it asks: lots that are restricted to models pay for theirs. By default the tariff's.
    pub fn model(mut self, model: ModelName) -> Self {
        self.terms().model = Some(model);
        self
    }

    /// What the request counts towards: budgets of these scopes, and of the whole account, have to admit it.
    pub fn scopes(mut self, scopes: impl IntoIterator<Item = Scope>) -> Self {
        self.terms().scopes = in_order(scopes);
        self
    }

    /// The tokens it will use at most, for budgets that count tokens.
    pub fn tokens(mut self, tokens: u64) -> Self {
        self.terms().tokens = tokens;
        self
    }

    /// What the hold costs if nobody closes it; the account's choice by default.
    pub fn on_lapse(mut self, choice: OnLapse) -> Self {
        self.terms().on_lapse = Some(choice);
        self
    }

    /// What is collected above the hold; the account's choice by default.
    pub fn overrun(mut self, choice: Overrun) -> Self {
        self.terms().overrun = Some(choice);
        self
    }

    /// How long the hold lives without word from its owner; the account's choice by default.
    pub fn lease(mut self, lease: Lease) -> Self {
        self.lease = Some(lease);
        self
    }

    /// Keeps the caller's JSON with the entry, byte for byte; at most 4 KiB.
    pub fn metadata(mut self, json: Metadata) -> Self {
        self.metadata = Some(json);
        self
    }

    /// Asks again after `OutcomeUnknown`, with the token of that error: if that call made the hold, this one is told
    /// that it is its own.
    pub fn again(mut self, token: CallToken) -> Self {
        self.token = Some(token);
        self
    }

    fn terms(&mut self) -> &mut Terms {
        Arc::make_mut(&mut self.terms)
    }

    async fn run(&mut self) -> Result<Reserved> {
        if let Some(tariff) = self.tariff.clone() {
            let asset = *self.asset.get_or_insert_with(|| self.account.ledger().asset());
            tariff.check_currency(asset).map_err(Error::invalid)?;
            let hash = self.account.ledger().keep_tariff(&tariff).await?;
            let terms = self.terms();
            terms.tariff = Some(hash);
            terms.model = terms.model.take().or_else(|| ModelName::new(tariff.model()).ok());
        }
        let token = self.token.map_or_else(|| self.account.ledger().token(), Ok)?;
        match self.name.clone()? {
            Name::Exactly(hold) => self.attempt(hold, token).await,
            Name::NextOf(request) => self.next(request, token).await,
        }
    }

    /// Tries attempt after attempt until one is new.
    async fn next(&self, request: RequestId, token: CallToken) -> Result<Reserved> {
        let mut attempt = 1;
        loop {
            let hold = HoldId::of(request.clone(), attempt).map_err(Error::invalid)?;
            match self.attempt(hold, token).await {
                Ok(Reserved::Closed { next_attempt, .. }) => attempt = next_attempt,
                Ok(Reserved::Replayed { .. }) => attempt = next_number(attempt)?,
                Err(error) if matches!(error.refusal(), Some(Refusal::OtherTerms { .. } | Refusal::TooOld)) => {
                    attempt = next_number(attempt)?
                }
                other => return other,
            }
        }
    }

    async fn attempt(&self, hold: HoldId, token: CallToken) -> Result<Reserved> {
        let action = Action::Reserve {
            hold,
            terms: Arc::clone(&self.terms),
            lease: self.lease,
            token,
            metadata: self.metadata.clone(),
        };
        let unknown =
            |error: Error| if error.kind() == ErrorKind::OutcomeUnknown { error.with_token(token) } else { error };
        let reply = self.account.submit(action, self.asset).await.map_err(unknown)?;
        let outcome = match &reply.answer {
            Ok(outcome) => *outcome,
            Err(Refusal::AccountExists) => return Err(in_another_asset(&reply, self.asset)),
            Err(Refusal::Denied(denial)) => return Ok(Reserved::Denied(denial.clone())),
            Err(refusal) => return Err(Error::refused(refusal.clone(), reply)),
        };
        let balance = reply.balance.unwrap_or_default();
        let found =
            reply.hold.ok_or_else(|| Error::new(ErrorKind::Internal, "a reserve was accepted without a hold"))?;
        match outcome {
            Outcome::Created | Outcome::CreatedPartial => {
                let open = OpenHold::new(self.account.clone(), found, balance, self.tariff.clone(), false)?;
                Ok(Reserved::Created(open.with_input(self.input.clone())))
            }
            Outcome::Replayed => Ok(Reserved::Replayed { hold: found, balance }),
            _ => {
                let next_attempt = self.account.next_attempt(&found.id).await?;
                Ok(Reserved::Closed { hold: found, balance, next_attempt })
            }
        }
    }
}

impl AccountHandle {
    /// The lowest attempt after this one that no hold has.
    ///
    /// # Errors
    /// `InvalidInput` when it is not a hold's name, or no number is left; `Unavailable`, `Corrupt`.
    pub async fn next_attempt(&self, hold: impl ToHoldId) -> Result<u32> {
        let hold = hold.to_hold_id()?;
        let mut attempt = next_number(hold.attempt())?;
        loop {
            let next = HoldId::of(hold.request().clone(), attempt).map_err(Error::invalid)?;
            let key = KeyHash::hold(self.id(), &next);
            if self.ledger().engine().store().hold(self.id(), key).await?.is_none() {
                return Ok(attempt);
            }
            attempt = next_number(attempt)?;
        }
    }
}

impl<'a> IntoFuture for ReserveCall<'a> {
    type Output = Result<Reserved>;
    type IntoFuture = Answer<'a, Reserved>;

    fn into_future(mut self) -> Self::IntoFuture {
        Box::pin(async move { self.run().await })
    }
}

impl fmt::Debug for ReserveCall<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReserveCall").field("name", &self.name).field("terms", &self.terms).finish_non_exhaustive()
    }
}

/// Scopes in order, each once: the canonical form of the terms.
pub(super) fn in_order(scopes: impl IntoIterator<Item = Scope>) -> Vec<Scope> {
    let mut scopes: Vec<_> = scopes.into_iter().collect();
    scopes.sort_unstable();
    scopes.dedup();
    scopes
}

fn next_number(attempt: u32) -> Result<u32> {
    attempt.checked_add(1).ok_or_else(|| Error::invalid("no attempt is left"))
}
