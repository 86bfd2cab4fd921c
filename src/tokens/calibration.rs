//! Learning from finished streams how a provider counts text whose vocabulary is not public.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::span::Span;
use super::usage::{TokenClass, Usage};
use super::yardstick::{Delivered, Yardstick};

/// What was learnt of each provider, model and class of tokens.
///
/// Every finished stream that says what it used teaches how many tokens its provider bills for one that is counted here.
/// A guess worth 500 tokens ([`Yardstick::of_model`]) stands at the beginning; old streams fade. It holds a few numbers
/// per model and serialises to a list, so that a host can keep it across restarts.
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
    learnt: BTreeMap<Key, Learnt>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Key {
    provider: Arc<str>,
    model: Arc<str>,
    class: TokenClass,
}

/// Sums over streams, in tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Learnt {
    counted: u64,
    billed: u64,
    /// By how much the streams were off what had been learnt before them.
    off: u64,
}

#[derive(Clone, Serialize, Deserialize)]
struct Row {
    #[serde(flatten)]
    key: Key,
    #[serde(flatten)]
    learnt: Learnt,
}

/// How many tokens the guess at the beginning is worth.
const PRIOR_TOKENS: u64 = 500;
/// How many tokens the guess at the bounds is worth: how far streams scatter takes longer to learn.
const PRIOR_BOUND_TOKENS: u64 = 2_000;
/// Beyond so many tokens the past is halved, so that a new vocabulary is learnt within a day's traffic.
const MEMORY_TOKENS: u64 = 1_000_000;
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
                let guess = self.ratio(&key, Yardstick::of_model(model).text);
                self.learnt.entry(key).or_default().add(counted, billed, guess.thousandths_of(counted).point);
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
            Some(learnt) => learnt.ratio(guess),
            None => guess,
        }
    }
}

impl Learnt {
    fn add(&mut self, counted: u64, billed: u64, guessed: u64) {
        if self.counted > MEMORY_TOKENS {
            *self = Self { counted: self.counted / 2, billed: self.billed / 2, off: self.off / 2 };
        }
        self.counted = self.counted.saturating_add(counted);
        self.billed = self.billed.saturating_add(billed);
        self.off = self.off.saturating_add(billed.abs_diff(guessed));
    }

    /// Thousandths of a counted token that are billed: the guess and the streams, each by its weight; and around it
    /// four times what streams were off on average.
    fn ratio(&self, guess: Span) -> Span {
        let weighted = |prior: u64, worth: u64, sum: u64| {
            let sum = prior.saturating_mul(worth).saturating_add(sum.saturating_mul(1_000));
            sum / worth.saturating_add(self.counted)
        };
        let point = weighted(guess.point, PRIOR_TOKENS, self.billed);
        let off = self.off.saturating_mul(4);
        let [below, above] = [guess.point.saturating_sub(guess.low), guess.high.saturating_sub(guess.point)]
            .map(|prior| weighted(prior, PRIOR_BOUND_TOKENS, off));
        Span::between(point.saturating_sub(below), point, point.saturating_add(above))
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
