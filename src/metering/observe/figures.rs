//! A provider's own figures, and how they fall into disjoint classes.

use crate::tokens::{Remark, TokenClass, Usage};

/// What a provider's usage object says, field by field, before anybody asks what includes what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Figures {
    pub(super) input: Option<u64>,
    pub(super) cache_read: Option<u64>,
    /// Audio and images in `cache_read`.
    pub(super) cache_read_audio: Option<u64>,
    pub(super) cache_read_image: Option<u64>,
    pub(super) cache_write: Option<u64>,
    pub(super) cache_write_1h: Option<u64>,
    pub(super) audio_in: Option<u64>,
    pub(super) image_in: Option<u64>,
    /// Input besides `input`, never included in it (what Gemini's tools put in).
    pub(super) tool_input: Option<u64>,
    pub(super) output: Option<u64>,
    pub(super) reasoning: Option<u64>,
    pub(super) audio_out: Option<u64>,
    pub(super) image_out: Option<u64>,
    pub(super) total: Option<u64>,
    // What is no token, and in no total.
    pub(super) searches: Option<u64>,
    pub(super) queries: Option<u64>,
    pub(super) citations: Option<u64>,
    pub(super) millis: Option<u64>,
    pub(super) includes: Includes,
}

/// What an API's totals include, unless its `total` says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Includes {
    /// `input` includes what was read from and written to caches.
    pub(super) cache: bool,
    /// `input` includes audio.
    pub(super) audio: bool,
    /// `output` includes reasoning.
    pub(super) reasoning: bool,
}

impl Default for Includes {
    fn default() -> Self {
        Self { cache: true, audio: true, reasoning: true }
    }
}

/// Figures as disjoint classes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Split {
    pub(super) usage: Usage,
    /// Tokens that only the provider's total knows of: they may be reasoning nobody named.
    pub(super) unnamed: u64,
}

impl Figures {
    /// Takes a later statement of the same counters. They only grow; one that falls keeps its highest value, unless
    /// `later` is the last word after provisional ones: then it stands, if it is not zero.
    pub(super) fn raise(&mut self, later: &Self, is_last_word: bool, remark: &mut impl FnMut(Remark)) {
        let mut falls = false;
        for (have, new) in self.counters().into_iter().zip(later.values()) {
            falls |= new < *have && new.is_some();
            let stands = is_last_word && new.is_some_and(|count| count > 0);
            *have = if stands { new } else { (*have).max(new) };
        }
        self.includes = later.includes;
        if falls {
            remark(Remark::FallingNumber);
        }
    }

    fn counters(&mut self) -> [&mut Option<u64>; 18] {
        [
            &mut self.input,
            &mut self.cache_read,
            &mut self.cache_read_audio,
            &mut self.cache_read_image,
            &mut self.cache_write,
            &mut self.cache_write_1h,
            &mut self.audio_in,
            &mut self.image_in,
            &mut self.tool_input,
            &mut self.output,
            &mut self.reasoning,
            &mut self.audio_out,
            &mut self.image_out,
            &mut self.total,
            &mut self.searches,
            &mut self.queries,
            &mut self.citations,
            &mut self.millis,
        ]
    }

    fn values(&self) -> [Option<u64>; 18] {
        let mut copy = *self;
        copy.counters().map(|value| *value)
    }

    /// Splits the figures into disjoint classes. What contradicts itself is clamped and remarked.
    pub(super) fn split(&self, remark: &mut impl FnMut(Remark)) -> Split {
        let (includes, unnamed) = self.decide(remark);
        let mut usage = Usage::new();
        self.split_input(includes, &mut usage, remark);
        self.split_output(includes, &mut usage, remark);
        usage.set(TokenClass::WebSearch, self.searches);
        usage.set(TokenClass::Query, self.queries);
        usage.set(TokenClass::Citation, self.citations);
        usage.set(TokenClass::Millisecond, self.millis);
        Split { usage, unnamed }
    }

    /// Which of the possible meanings agrees with the total.
    fn decide(&self, remark: &mut impl FnMut(Remark)) -> (Includes, u64) {
        let (Some(input), Some(output), Some(total)) = (self.input, self.output, self.total) else {
            return (self.includes, 0);
        };
        let sum = |includes: Includes| {
            let cache = self.cache_read.unwrap_or(0) + self.cache_write.unwrap_or(0) + self.cache_write_1h.unwrap_or(0);
            let beside = [
                (includes.cache, cache),
                (includes.audio, self.audio_in.unwrap_or(0)),
                (includes.reasoning, self.reasoning.unwrap_or(0)),
                (false, self.tool_input.unwrap_or(0)),
            ];
            input + output + beside.iter().filter(|(is_in, _)| !is_in).map(|(_, count)| count).sum::<u64>()
        };
        let usual = self.includes;
        let flips = [(false, false), (true, false), (false, true), (true, true)];
        let meanings = flips.iter().flat_map(|(cache, audio)| {
            [false, true].map(|reasoning| Includes {
                cache: usual.cache ^ cache,
                audio: usual.audio ^ audio,
                reasoning: usual.reasoning ^ reasoning,
            })
        });
        // What cannot be a part of the output is none, whatever the total is.
        let is_possible = |meaning: &Includes| usual.reasoning || !meaning.reasoning || self.reasoning <= self.output;
        if let Some(meaning) = meanings.filter(is_possible).find(|meaning| sum(*meaning) == total) {
            return (meaning, 0);
        }
        remark(Remark::TotalDiffers);
        // Where reasoning is named, it is named whole; where it is not, the total may hold it.
        let unnamed = if self.reasoning.is_none() { total.saturating_sub(sum(usual)) } else { 0 };
        (usual, unnamed)
    }

    fn split_input(&self, includes: Includes, usage: &mut Usage, remark: &mut impl FnMut(Remark)) {
        let Some(input) = self.input else {
            return;
        };
        let mut whole = Whole { left: input, usage, remark };
        whole.part(TokenClass::CacheRead, self.cache_read, includes.cache);
        whole.part(TokenClass::CacheWrite1h, self.cache_write_1h, includes.cache);
        whole.part(TokenClass::CacheWrite5m, self.cache_write, includes.cache);
        whole.part(TokenClass::AudioInput, self.audio_in, includes.audio);
        whole.part(TokenClass::ImageInput, self.image_in, true);
        let left = whole.left;
        usage.set(TokenClass::Input, Some(left + self.tool_input.unwrap_or(0)));
        if let Some(cached) = usage.get(TokenClass::CacheRead) {
            let mut whole = Whole { left: cached, usage, remark };
            whole.part(TokenClass::CacheReadAudio, self.cache_read_audio, true);
            whole.part(TokenClass::CacheReadImage, self.cache_read_image, true);
            let left = whole.left;
            usage.set(TokenClass::CacheRead, Some(left));
        }
    }

    fn split_output(&self, includes: Includes, usage: &mut Usage, remark: &mut impl FnMut(Remark)) {
        let Some(output) = self.output else {
            usage.set(TokenClass::Reasoning, self.reasoning);
            return;
        };
        let mut whole = Whole { left: output, usage, remark };
        whole.part(TokenClass::Reasoning, self.reasoning, includes.reasoning);
        whole.part(TokenClass::AudioOutput, self.audio_out, true);
        whole.part(TokenClass::ImageOutput, self.image_out, true);
        let left = whole.left;
        usage.set(TokenClass::Output, Some(left));
    }
}

/// A count that parts are taken from.
struct Whole<'a, R> {
    left: u64,
    usage: &'a mut Usage,
    remark: &'a mut R,
}

impl<R: FnMut(Remark)> Whole<'_, R> {
    /// Sets a part, which comes out of the whole if it is included in it; then it cannot be more than is left.
    fn part(&mut self, class: TokenClass, count: Option<u64>, is_included: bool) {
        let Some(count) = count else {
            return;
        };
        let taken = if is_included { count.min(self.left) } else { count };
        if is_included {
            self.left -= taken;
        }
        if taken < count {
            (self.remark)(Remark::PartAboveWhole);
        }
        self.usage.set(class, Some(taken));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(figures: Figures) -> (Split, Vec<Remark>) {
        let mut remarks = Vec::new();
        let split = figures.split(&mut |remark| remarks.push(remark));
        (split, remarks)
    }

    #[test]
    fn the_total_decides_what_includes_what() {
        let figures = |output, reasoning, total| Figures {
            input: Some(12),
            cache_read: Some(11),
            output: Some(output),
            reasoning: Some(reasoning),
            total: Some(total),
            ..Figures::default()
        };
        let expected = Usage::new()
            .with(TokenClass::Input, 1)
            .with(TokenClass::CacheRead, 11)
            .with(TokenClass::Reasoning, 340)
            .with(TokenClass::Output, 2);
        assert_eq!(split(figures(342, 340, 354)), (Split { usage: expected, unnamed: 0 }, Vec::new()));
        assert_eq!(split(figures(2, 340, 354)), (Split { usage: expected, unnamed: 0 }, Vec::new()));
    }

    #[test]
    fn parts_above_their_whole_are_clamped_and_remarked() {
        let lie = Figures { input: Some(10), cache_read: Some(99), output: Some(5), ..Figures::default() };
        let clamped =
            Usage::new().with(TokenClass::Input, 0).with(TokenClass::CacheRead, 10).with(TokenClass::Output, 5);
        assert_eq!(split(lie), (Split { usage: clamped, unnamed: 0 }, vec![Remark::PartAboveWhole]));
    }

    #[test]
    fn what_only_the_total_knows_is_unnamed() {
        let hidden = Figures { input: Some(57), output: Some(10), total: Some(104), ..Figures::default() };
        let (split, remarks) = split(hidden);
        assert_eq!((split.unnamed, remarks), (37, vec![Remark::TotalDiffers]));
    }

    #[test]
    fn counters_only_rise() {
        let mut remarks = Vec::new();
        let mut figures = Figures { input: Some(10), output: Some(7), ..Figures::default() };
        figures.raise(&Figures { output: Some(5), ..Figures::default() }, false, &mut |remark| remarks.push(remark));
        assert_eq!((figures.input, figures.output), (Some(10), Some(7)));
        assert_eq!(remarks, [Remark::FallingNumber]);
    }

    #[test]
    fn the_last_word_stands_unless_it_is_zero() {
        let mut remarks = Vec::new();
        let mut figures = Figures { input: Some(15), output: Some(7), ..Figures::default() };
        let last = Figures { input: Some(13), output: Some(0), ..Figures::default() };
        figures.raise(&last, true, &mut |remark| remarks.push(remark));
        assert_eq!((figures.input, figures.output), (Some(13), Some(7)));
        assert_eq!(remarks, [Remark::FallingNumber]);
    }
}
