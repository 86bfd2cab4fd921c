//! From what was seen of a number to what the next one lies between.

use serde::{Deserialize, Serialize};

use super::span::Span;

/// What was seen of a number that differs from stream to stream, such as what a provider bills for a counted token.
///
/// Bounds are for one more stream, not for those that were seen: the fewer there were, the further they go, for neither
/// the middle nor how far streams scatter around it is known from a few. They are Student's for one more observation,
/// in which 99 of 100 lie if the number scatters normally.
///
/// ```
/// use prepaid::tokens::{Scatter, Span};
///
/// let few: Scatter = [1_100, 1_200, 1_300].into_iter().collect();
/// let many: Scatter = [1_100, 1_200, 1_300].into_iter().cycle().take(30).collect();
/// let [few, many] = [few.next().unwrap(), many.next().unwrap()];
/// assert_eq!((few.point, many.point), (1_200, 1_200));
/// assert!(few.high > 2 * many.high - many.point, "three streams say little");
///
/// // What is known of others stands in for what is not yet seen.
/// let guess = Span::between(900, 1_150, 1_400);
/// assert_eq!(Scatter::default().next_after(guess), guess);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scatter {
    count: u64,
    sum: u64,
    squares: u64,
}

/// Half the width of Student's distribution, two-sided, in which 99 % lie, in thousandths: for one degree of freedom and
/// up. Beyond the last it hardly shrinks.
const STUDENT: [u64; 30] = [
    63_657, 9_925, 5_841, 4_604, 4_032, 3_707, 3_499, 3_355, 3_250, 3_169, 3_106, 3_055, 3_012, 2_977, 2_947, 2_921,
    2_898, 2_878, 2_861, 2_845, 2_831, 2_819, 2_807, 2_797, 2_787, 2_779, 2_771, 2_763, 2_756, 2_750,
];

/// How many streams a guess is worth in how wide it is: as many as were recorded of most families, so that a family's own
/// scatter soon counts for more. In where it lies it is worth one, for no model is quite where its relatives are.
const GUESS_FREEDOM: u64 = 4;

impl Scatter {
    /// Adds what was seen of one stream.
    pub fn add(&mut self, number: u64) {
        self.count = self.count.saturating_add(1);
        self.sum = self.sum.saturating_add(number);
        self.squares = self.squares.saturating_add(number.saturating_mul(number));
    }

    /// Halves the weight of what was seen, once that is so many streams.
    pub(super) fn fade(&mut self, at: u64) {
        if self.count >= at {
            *self = Self { count: self.count / 2, sum: self.sum / 2, squares: self.squares / 2 };
        }
    }

    /// The middle, and what one more lies between; nothing, if fewer than two were seen.
    pub fn next(&self) -> Option<Span> {
        let freedom = self.count.checked_sub(1).filter(|freedom| *freedom > 0)?;
        Some(self.around(freedom, 0))
    }

    /// The same from a guess that is worth a few streams: if none was seen, the guess.
    #[must_use]
    pub fn next_after(&self, guess: Span) -> Span {
        if self.count == 0 {
            return guess;
        }
        let mut both = *self;
        both.add(guess.point);
        // The squares within the guess: those that make it as wide as it is, if nothing else was seen.
        let half = u128::from(guess.point.abs_diff(guess.low).max(guess.high.abs_diff(guess.point)));
        let [freedom, student] = [GUESS_FREEDOM, student(GUESS_FREEDOM)].map(u128::from);
        let within = half.saturating_mul(half).saturating_mul(1_000_000 * freedom) / (2 * student * student);
        both.around(GUESS_FREEDOM.saturating_add(self.count), within)
    }

    /// The mean, and around it `t * s * sqrt(1 + 1/n)`; squares `within` a guess add to those that `s` is made of.
    fn around(&self, freedom: u64, within: u128) -> Span {
        let [count, sum, squares] = [self.count.max(1), self.sum, self.squares].map(u128::from);
        let student = u128::from(student(freedom));
        // `count` times the squares around the mean, then `count` squared times the square of the bound.
        let square = count.saturating_mul(squares.saturating_add(within)).saturating_sub(sum.saturating_mul(sum));
        let square = square.saturating_mul(count.saturating_add(1)).saturating_mul(student.saturating_mul(student));
        let scale = count.saturating_mul(count).saturating_mul(u128::from(freedom.max(1)).saturating_mul(1_000_000));
        let half = u64::try_from((square / scale.max(1)).isqrt()).unwrap_or(u64::MAX);
        let point = self.sum.saturating_add(self.count / 2) / self.count.max(1);
        Span::between(point.saturating_sub(half), point, point.saturating_add(half))
    }
}

fn student(freedom: u64) -> u64 {
    let at = usize::try_from(freedom.saturating_sub(1)).unwrap_or(usize::MAX);
    STUDENT.get(at).or(STUDENT.last()).copied().unwrap_or(u64::MAX)
}

impl FromIterator<u64> for Scatter {
    fn from_iter<T: IntoIterator<Item = u64>>(numbers: T) -> Self {
        let mut scatter = Self::default();
        numbers.into_iter().for_each(|number| scatter.add(number));
        scatter
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn width(span: Span) -> u64 {
        span.high - span.low
    }

    #[test]
    fn a_guess_narrows_with_every_stream_that_agrees_and_widens_with_one_that_does_not() {
        let guess = Span::between(800, 1_000, 1_200);
        let after = |numbers: &[u64]| numbers.iter().copied().collect::<Scatter>().next_after(guess);
        let agreeing: Vec<u64> = (0..10).map(|count| width(after(&[1_000].repeat(count)))).collect();
        assert_eq!(agreeing[0], 400);
        assert!(agreeing.windows(2).all(|pair| pair[1] < pair[0]), "{agreeing:?}");
        assert!(agreeing[1] > 200, "one stream says little: {agreeing:?}");
        let other = after(&[1_500]);
        assert_eq!(other.point, 1_250);
        assert!(width(other) > 800, "{other:?}");
    }

    #[test]
    fn three_streams_have_the_bounds_of_the_textbook() {
        // s = 10, and 9.925 * 10 * sqrt(1 + 1/3) = 114.6.
        let scatter: Scatter = [190, 200, 210].into_iter().collect();
        assert_eq!(scatter.next(), Some(Span::between(86, 200, 314)));
        assert_eq!(Scatter::from_iter([5]).next(), None);
    }

    #[test]
    fn huge_numbers_do_not_overflow() {
        let scatter: Scatter = [u64::MAX, 0, u64::MAX].into_iter().collect();
        assert!(scatter.next().is_some());
        assert!(scatter.next_after(Span::between(0, 1, u64::MAX)).high > 0);
    }

    #[test]
    fn what_fades_keeps_its_middle_and_its_width() {
        let mut scatter: Scatter = [1_100, 1_300].into_iter().cycle().take(1_000).collect();
        let before = scatter.next().unwrap();
        scatter.fade(1_000);
        let after = scatter.next().unwrap();
        assert_eq!((after.point, scatter.count), (before.point, 500));
        assert!(width(after).abs_diff(width(before)) <= 4, "{before:?} {after:?}");
    }
}
