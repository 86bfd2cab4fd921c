//! Learning from finished streams how a provider counts text whose vocabulary is not public.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::scatter::Scatter;
use super::span::Span;
use super::usage::{TokenClass, Usage};
use super::yardstick::{Delivered, Yardstick};

/// What was learnt of each provider, model and class of tokens.
///
/// Every finished stream that says what it used teaches how many tokens its provider bills for one that is counted here.
/// A guess worth a few streams ([`Yardstick::of_model`]) stands at the beginning, the bounds are those of [`Scatter`], and
/// old streams fade. It holds a few numbers per model and serialises to a list, so that a host can keep it across
/// restarts.
///
/// ```
/// use prepaid::tokens::{Calibration, Delivered, TokenClass, Usage, Yardstick};
///
/// let mut calibration = Calibration::default();
/// let mut delivered = Delivered::default();
/// delivered.output = 1_000;
/// for _ in 0..20 {
///     calibration.learn("anthropic", "claude-x", &delivered, &Usage::new().with(TokenClass::Output, 1_250));
/// }
/// let guess = Yardstick::of_model("claude-x").output(&delivered);
/// let learnt = calibration.yardstick("anthropic", "claude-x").output(&delivered);
/// assert!(learnt.point.abs_diff(1_250) < 10);
/// assert!(learnt.high - learnt.low < guess.high - guess.low, "the bounds are closer");
///
/// let kept = serde_json::to_string(&calibration).unwrap();
/// assert_eq!(serde_json::from_str::<Calibration>(&kept).unwrap(), calibration);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<Row>", into = "Vec<Row>")]
pub struct Calibration {
    learnt: BTreeMap<Key, Scatter>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Key {
    provider: Arc<str>,
    model: Arc<str>,
    class: TokenClass,
}

#[derive(Clone, Serialize, Deserialize)]
struct Row {
    #[serde(flatten)]
    key: Key,
    /// Thousandths of a counted token that are billed, stream by stream.
    #[serde(flatten)]
    learnt: Scatter,
}

/// At so many streams the past is halved, so that a new vocabulary is learnt within a day's traffic.
const MEMORY: u64 = 1_000;
/// Streams that deliver less say more about framing than about text.
const COUNTED_MIN: u64 = 20;

impl Calibration {
    /// Learns from a stream that delivered so much and was billed so much, each class from its own figure.
    ///
    /// What teaches nothing is passed over: exact counts, a few tokens only, tool calls (their markup is not text), and
    /// figures that must hold something hidden.
    pub fn learn(&mut self, provider: &str, model: &str, delivered: &Delivered, billed: &Usage) {
        let hides = delivered.reasoning > 0 && billed.get(TokenClass::Reasoning).is_none();
        if delivered.is_exact || delivered.calls > 0 || hides {
            return;
        }
        let yardstick = self.yardstick(provider, model);
        let framing = yardstick.output(&Delivered { output: 0, reasoning: 0, ..*delivered }).point;
        let counts = [(TokenClass::Output, delivered.output, framing), (TokenClass::Reasoning, delivered.reasoning, 0)];
        for (class, counted, framing) in counts {
            let Some(billed) = billed.get(class).map(|billed| billed.saturating_sub(framing)) else {
                continue;
            };
            if counted >= COUNTED_MIN && billed <= counted.saturating_mul(3) && counted <= billed.saturating_mul(3) {
                let key = Key { provider: Arc::from(provider), model: Arc::from(model), class };
                let learnt = self.learnt.entry(key).or_default();
                learnt.add(billed.saturating_mul(1_000) / counted);
                learnt.fade(MEMORY);
            }
        }
    }

    /// The yardstick of a model, with what was learnt about it.
    pub fn yardstick(&self, provider: &str, model: &str) -> Yardstick {
        let mut yardstick = Yardstick::of_model(model);
        let key = |class| Key { provider: Arc::from(provider), model: Arc::from(model), class };
        yardstick.text = self.ratio(&key(TokenClass::Output), yardstick.text);
        yardstick.thought = self.ratio(&key(TokenClass::Reasoning), yardstick.thought);
        yardstick
    }

    fn ratio(&self, key: &Key, guess: Span) -> Span {
        match self.learnt.get(key) {
            Some(learnt) => learnt.next_after(guess),
            None => guess,
        }
    }
}

impl From<Vec<Row>> for Calibration {
    fn from(rows: Vec<Row>) -> Self {
        Self { learnt: rows.into_iter().map(|row| (row.key, row.learnt)).collect() }
    }
}

impl From<Calibration> for Vec<Row> {
    fn from(calibration: Calibration) -> Self {
        calibration.learnt.into_iter().map(|(key, learnt)| Row { key, learnt }).collect()
    }
}
