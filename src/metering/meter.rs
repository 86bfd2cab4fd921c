//! The stream that comes back: the same bytes, and a bill.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_core::Stream;
use futures_util::StreamExt;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::{Sleep, sleep, timeout};

use super::bill::Billed;
use super::cut::{Cut, MeterOptions};
use super::observe::Observer;
use super::settlement::{Counter, Duty};
use crate::ledger::OpenHold;
use crate::telemetry;

impl OpenHold {
    /// Meters an upstream's body: what comes back yields the same items, unchanged, and settles this hold with what
    /// `observer` reads in them, at the hold's tariff.
    ///
    /// The settlement is queued as soon as the usage is final; the end of the stream is handed on after its answer, at
    /// most 2 s later. When the stream breaks, or is dropped, what was delivered is settled ([`Cut::Estimate`]). While
    /// it runs, progress is recorded and the lease renewed, whoever polls.
    ///
    /// This calls [`OpenHold::dispatched`].
    pub fn meter<S, E>(self, stream: S, observer: impl Observer) -> (Metered<E>, Billed)
    where
        S: Stream<Item = Result<Bytes, E>> + Send + 'static,
        E: 'static,
    {
        self.meter_with(stream, observer, MeterOptions::default())
    }

    /// As [`OpenHold::meter`], with other choices for streams that break.
    pub fn meter_with<S, E>(mut self, stream: S, observer: impl Observer, options: MeterOptions) -> (Metered<E>, Billed)
    where
        S: Stream<Item = Result<Bytes, E>> + Send + 'static,
        E: 'static,
    {
        self.dispatched();
        let counter = Arc::new(Counter::new(&self, Box::new(observer), &options));
        let source = Arc::downgrade(&counter);
        self.kept().follow(source);
        let (billed, bill) = oneshot::channel();
        let runtime = self.account().ledger().engine().runtime().clone();
        let phase = Phase::Running(Box::new(Duty { hold: self, counter, billed }));
        (Metered { stream: Some(Box::pin(stream)), phase, options, runtime }, Billed(bill))
    }
}

/// A metered stream. Dropping it settles it by its [cut policy](Cut), without blocking.
pub struct Metered<E: 'static> {
    stream: Option<Upstream<E>>,
    phase: Phase,
    options: MeterOptions,
    /// The engine's.
    runtime: Handle,
}

type Upstream<E> = Pin<Box<dyn Stream<Item = Result<Bytes, E>> + Send>>;

enum Phase {
    /// The usage is not final yet.
    Running(Box<Duty>),
    /// The settlement is on its way.
    Settling(oneshot::Receiver<()>, Option<Pin<Box<Sleep>>>),
    /// Settled, or as good as.
    Settled,
}

impl<E: 'static> Metered<E> {
    /// Whether a [sliced](super::Slicing) hold is nearly used up and the account has no more: the host should end the
    /// stream, by dropping it, while what is left still covers what the upstream writes until it stops.
    pub fn exhausted(&self) -> bool {
        match &self.phase {
            Phase::Running(duty) => duty.counter.is_exhausted(duty.hold.kept()),
            Phase::Settling(..) | Phase::Settled => false,
        }
    }

    /// Whether the ledger said that the hold is not open any more: the host should end the stream.
    pub fn is_lost(&self) -> bool {
        match &self.phase {
            Phase::Running(duty) => duty.hold.is_lost(),
            Phase::Settling(..) | Phase::Settled => false,
        }
    }

    /// Looks at an item on its way through.
    fn observe(&mut self, item: &Result<Bytes, E>) {
        let Phase::Running(duty) = &self.phase else {
            return;
        };
        match item {
            Ok(bytes) => {
                let is_final = {
                    let mut observer = duty.counter.observer();
                    observer.feed(bytes);
                    observer.is_final()
                };
                if is_final {
                    self.settle("final");
                } else {
                    duty.counter.keep_ahead(duty.hold.kept());
                }
            }
            // What comes after an error, if anything does, is passed on and not billed.
            Err(_) => self.cut("error", None),
        }
    }

    fn settle(&mut self, ended: &'static str) {
        if let Some(duty) = self.take_duty() {
            self.phase = Phase::Settling(duty.settle(ended), None);
        }
    }

    /// The duty to settle, if nobody has it yet. A settlement that is on its way is left alone: the end waits for it.
    fn take_duty(&mut self) -> Option<Duty> {
        match std::mem::replace(&mut self.phase, Phase::Settled) {
            Phase::Running(duty) => Some(*duty),
            other @ (Phase::Settling(..) | Phase::Settled) => {
                self.phase = other;
                None
            }
        }
    }

    /// The stream ended before its usage was final; `rest` is what may still be read of it.
    fn cut(&mut self, ended: &'static str, rest: Option<Upstream<E>>) {
        match (self.options.cut, rest) {
            (Cut::Drain { max }, Some(rest)) => self.drain(ended, rest, max),
            (Cut::Estimate | Cut::Drain { .. } | Cut::Free, _) => self.finish(ended),
        }
    }

    /// Nothing more is read. The end may be what makes the usage final, for not every protocol marks it; if it is not
    /// final even so, the policy decides.
    fn finish(&mut self, ended: &'static str) {
        let Some(duty) = self.take_duty() else {
            return;
        };
        let is_final = duty.finish();
        let ended = if is_final && ended == "end" { "final" } else { ended };
        match self.options.cut {
            Cut::Free if !is_final => duty.waive(ended),
            Cut::Estimate | Cut::Drain { .. } | Cut::Free => self.phase = Phase::Settling(duty.settle(ended), None),
        }
    }

    /// Has the rest read by a task, if not too many do so already.
    fn drain(&mut self, ended: &'static str, rest: Upstream<E>, max: Duration) {
        let Phase::Running(duty) = &self.phase else {
            return;
        };
        let ledger = duty.hold.account().ledger().clone();
        let Ok(place) = Arc::clone(ledger.drains()).try_acquire_owned() else {
            return self.finish(ended);
        };
        if let Some(duty) = self.take_duty() {
            ledger.engine().runtime().spawn(drain(duty, rest, max, place));
        }
    }

    /// Waits for the settlement's answer, but not for ever.
    fn poll_settled(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Phase::Settling(answer, patience) = &mut self.phase {
            let wait = self.options.wait;
            // Whoever polls may do so outside of a runtime.
            let patience = patience.get_or_insert_with(|| {
                let _runtime = self.runtime.enter();
                Box::pin(sleep(wait))
            });
            if Pin::new(answer).poll(context).is_pending() {
                ready!(patience.as_mut().poll(context));
            }
            self.phase = Phase::Settled;
        }
        Poll::Ready(())
    }
}

impl<E: 'static> Stream for Metered<E> {
    type Item = Result<Bytes, E>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if let Some(stream) = &mut this.stream {
            match ready!(stream.as_mut().poll_next(context)) {
                Some(item) => {
                    this.observe(&item);
                    return Poll::Ready(Some(item));
                }
                None => {
                    this.stream = None;
                    this.cut("end", None);
                }
            }
        }
        ready!(this.poll_settled(context));
        Poll::Ready(None)
    }
}

impl<E: 'static> Drop for Metered<E> {
    fn drop(&mut self) {
        let rest = self.stream.take();
        self.cut("dropped", rest);
    }
}

impl<E: 'static> fmt::Debug for Metered<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phase = match &self.phase {
            Phase::Running(duty) => return f.debug_tuple("Metered").field(&duty.hold).finish(),
            Phase::Settling(..) => "settling",
            Phase::Settled => "settled",
        };
        f.debug_tuple("Metered").field(&phase).finish()
    }
}

/// Reads on after the client went away, to the usage event or as long as that may take.
async fn drain<E>(duty: Duty, mut rest: Upstream<E>, max: Duration, place: OwnedSemaphorePermit) {
    metrics::gauge!(telemetry::DRAINING).increment(1);
    let read_on = async {
        while let Some(Ok(bytes)) = rest.next().await {
            let mut observer = duty.counter.observer();
            observer.feed(&bytes);
            if observer.is_final() {
                return true;
            }
        }
        false
    };
    let is_final = timeout(max, read_on).await.unwrap_or(false) || duty.finish();
    let ended = if is_final { "drained" } else { "dropped" };
    metrics::gauge!(telemetry::DRAINING).decrement(1);
    drop((rest, place));
    let _ = duty.settle(ended).await;
}
