//! The built-in token accounting: estimates of requests and observers of responses, put together.

use std::sync::{Arc, Mutex, PoisonError};

use super::observe::{Api, ApiObserver};
use super::wire::EVENT_BYTES_MAX;
use crate::tokens::{
    Calibration, Certainty, Observer, RequestEstimate, RequestShape, TokenAccounting, UnreadableRequest, UsageReport,
    Vocabularies,
};

/// Accounting of one of the built-in APIs.
///
/// Its observers are told what the request's estimate shows: the model, what the prompt has, how much the answer and its
/// reasoning may be. With a [`Calibration`] they also learn from every stream that ends, for models without a public vocabulary.
///
/// ```
/// use prepaid::metering::ApiAccounting;
/// use prepaid::metering::observe::Api;
/// use prepaid::tokens::{TokenAccounting, TokenClass};
///
/// let accounting = ApiAccounting::new(Api::OpenAiChat);
/// let request = br#"{"model": "gpt-4o", "max_tokens": 50, "messages": [{"role": "user", "content": "Say hi"}]}"#;
/// let estimate = accounting.estimate(request)?;
/// assert_eq!(estimate.output_cap, Some(50));
///
/// let mut observer = accounting.observer(Some(&estimate));
/// observer.feed(b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hi\"}}]}\n\n");
/// observer.finish(); // it broke off
/// # #[cfg(feature = "o200k")]
/// assert_eq!(observer.report().usage.get(TokenClass::Input), Some(9));
/// # Ok::<(), prepaid::tokens::UnreadableRequest>(())
/// ```
#[derive(Clone, Debug)]
pub struct ApiAccounting {
    api: Api,
    model: Option<Arc<str>>,
    vocabularies: Arc<Vocabularies>,
    event_bytes_max: usize,
    calibrated: Option<Calibrated>,
}

#[derive(Clone, Debug)]
struct Calibrated {
    provider: Arc<str>,
    calibration: Arc<Mutex<Calibration>>,
}

impl ApiAccounting {
    /// Accounting of `api`.
    pub fn new(api: Api) -> Self {
        Self { api, model: None, vocabularies: Arc::default(), event_bytes_max: EVENT_BYTES_MAX, calibrated: None }
    }

    /// The model, where requests do not name it because the URL does (Gemini, Bedrock).
    #[must_use]
    pub fn model(mut self, model: impl AsRef<str>) -> Self {
        self.model = Some(Arc::from(model.as_ref()));
        self
    }

    /// The vocabularies that the models' texts are counted with: the host's choices before the built-in ones.
    #[must_use]
    pub fn vocabularies(mut self, vocabularies: Arc<Vocabularies>) -> Self {
        self.vocabularies = vocabularies;
        self
    }

    /// The largest event its observers read, instead of [`EVENT_BYTES_MAX`]: see [`ApiObserver::event_bytes_max`]. It
    /// bounds what a stream may hold in memory, and so what streams that carry whole images or files need.
    #[must_use]
    pub fn event_bytes_max(mut self, limit: usize) -> Self {
        self.event_bytes_max = limit;
        self
    }

    /// Uses and extends what was learnt of the models of `provider`, a name of the host's own. The calibration may be
    /// shared by all accountings of a process; a host that keeps it across restarts serialises it now and then.
    #[must_use]
    pub fn calibrated(mut self, provider: impl AsRef<str>, calibration: Arc<Mutex<Calibration>>) -> Self {
        self.calibrated = Some(Calibrated { provider: Arc::from(provider.as_ref()), calibration });
        self
    }

    fn shape(&self) -> RequestShape {
        match self.api {
            Api::OpenAiChat => RequestShape::OpenAiChat,
            Api::OpenAiResponses => RequestShape::OpenAiResponses,
            Api::Anthropic => RequestShape::Anthropic,
            Api::Gemini => RequestShape::Gemini,
            Api::BedrockConverse => RequestShape::BedrockConverse,
            Api::Cohere => RequestShape::Cohere,
            Api::Ollama => RequestShape::Ollama,
        }
    }
}

impl TokenAccounting for ApiAccounting {
    fn estimate(&self, request: &[u8]) -> Result<RequestEstimate, UnreadableRequest> {
        self.shape().estimate_with(request, self.model.as_deref(), &self.vocabularies)
    }

    fn observer(&self, estimate: Option<&RequestEstimate>) -> Box<dyn Observer> {
        let mut observer = ApiObserver::new(self.api)
            .vocabularies(Arc::clone(&self.vocabularies))
            .event_bytes_max(self.event_bytes_max);
        if let Some(estimate) = estimate {
            observer = observer.prompt_between(estimate.input_least, estimate.input_likely, estimate.input);
            if let Some(cap) = estimate.output_cap {
                observer = observer.max_output(cap.saturating_mul(estimate.choices));
            }
            if let Some(cap) = estimate.reasoning_cap {
                observer = observer.max_reasoning(cap.saturating_mul(estimate.choices));
            }
        }
        let model = estimate.and_then(|estimate| estimate.model.clone());
        let Some(model) = model.or_else(|| self.model.clone()) else {
            return Box::new(observer);
        };
        observer = observer.model(&model);
        match self.calibrated.clone() {
            Some(calibrated) => Box::new(Learning::new(observer, calibrated, model)),
            None => Box::new(observer),
        }
    }
}

/// An observer that uses what was learnt, and teaches what its own response says in the end.
struct Learning {
    observer: ApiObserver,
    calibrated: Calibrated,
    model: Arc<str>,
    has_taught: bool,
}

impl Learning {
    fn new(observer: ApiObserver, calibrated: Calibrated, model: Arc<str>) -> Self {
        let yardstick = calibrated.with(|learnt| learnt.yardstick(&calibrated.provider, &model));
        Self { observer: observer.yardstick(yardstick), calibrated, model, has_taught: false }
    }

    fn teach(&mut self) {
        if self.has_taught || !self.observer.is_final() {
            return;
        }
        self.has_taught = true;
        let report = self.observer.report();
        // What has something odd about it teaches nothing.
        if report.certainty == Certainty::Reported && report.remarks.is_empty() {
            let delivered = self.observer.delivered();
            let Self { calibrated, model, .. } = self;
            calibrated.with(|learnt| learnt.learn(&calibrated.provider, model, &delivered, &report.usage));
        }
    }
}

impl Calibrated {
    fn with<T>(&self, use_it: impl FnOnce(&mut Calibration) -> T) -> T {
        // A panic elsewhere leaves sums that are as good as before.
        use_it(&mut self.calibration.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Observer for Learning {
    fn feed(&mut self, bytes: &[u8]) {
        self.observer.feed(bytes);
        self.teach();
    }

    fn body(&mut self, bytes: &[u8]) {
        self.observer.body(bytes);
        self.teach();
    }

    fn finish(&mut self) {
        self.observer.finish();
        self.teach();
    }

    fn is_final(&self) -> bool {
        self.observer.is_final()
    }

    fn report(&self) -> UsageReport {
        self.observer.report()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokens::{Remark, TokenClass};

    const REQUEST: &[u8] = br#"{"model": "claude-x", "max_tokens": 900, "messages": []}"#;

    fn stream(usage: &str) -> String {
        let text = "one two three four five six seven eight nine ten ".repeat(20);
        format!(
            "data: {{\"type\":\"message_start\",\"message\":{{\"model\":\"claude-x\",\"usage\":{{\"input_tokens\":5}}}}}}\n\n\
             data: {{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{{\"type\":\"text_delta\",\"text\":\"{text}\"}}}}\n\n\
             {usage}"
        )
    }

    #[test]
    fn events_larger_than_the_host_allows_are_skipped() {
        let remarks = |accounting: ApiAccounting| {
            let mut observer = accounting.observer(None);
            observer.feed(stream("").as_bytes());
            observer.finish();
            observer.report().remarks
        };
        let accounting = ApiAccounting::new(Api::Anthropic);
        assert!(!remarks(accounting.clone()).contains(&Remark::SkippedEvent));
        assert!(remarks(accounting.event_bytes_max(500)).contains(&Remark::SkippedEvent));
    }

    #[test]
    fn streams_that_end_teach_those_that_break_off() {
        let calibration = Arc::new(Mutex::new(Calibration::default()));
        let accounting = ApiAccounting::new(Api::Anthropic).calibrated("anthropic", Arc::clone(&calibration));
        let estimate = accounting.estimate(REQUEST).unwrap();
        let cut = || {
            let mut observer = accounting.observer(Some(&estimate));
            observer.feed(stream("").as_bytes());
            observer.finish();
            observer.report().usage.get(TokenClass::Output).unwrap()
        };
        let before = cut();
        let truth = before * 6 / 5;
        let end = format!(
            "data: {{\"type\":\"message_delta\",\"delta\":{{\"stop_reason\":\"end_turn\"}},\"usage\":{{\"output_tokens\":{truth}}}}}\n\n\
             data: {{\"type\":\"message_stop\"}}\n\n"
        );
        for _ in 0..30 {
            let mut observer = accounting.observer(Some(&estimate));
            observer.feed(stream(&end).as_bytes());
            observer.finish();
            assert!(observer.is_final());
        }
        let after = cut();
        assert!(truth.abs_diff(after) * 30 < truth, "{before} before, {after} after, {truth} in truth");
        // A stream that broke off taught nothing.
        let learnt = calibration.lock().unwrap().clone();
        cut();
        assert_eq!(*calibration.lock().unwrap(), learnt);
    }
}
