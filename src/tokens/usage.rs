//! What a provider (or a count of our own) says was used: disjoint classes, each a number or unknown.

use serde::{Deserialize, Serialize};

/// A class of priced units. The classes are disjoint: no unit is counted in two of them, whatever the provider's
/// own fields include in one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TokenClass {
    /// Input text tokens that were neither read from nor written to a cache.
    Input,
    /// Input tokens read from the provider's prompt cache, of whatever kind where it does not say.
    CacheRead,
    /// Input audio tokens read from a cache, where the provider tells them apart from text.
    CacheReadAudio,
    /// Input image tokens read from a cache, where the provider tells them apart from text.
    CacheReadImage,
    /// Input tokens written to a cache that lives five minutes (or has no stated life).
    CacheWrite5m,
    /// Input tokens written to a cache that lives one hour.
    CacheWrite1h,
    /// Input audio tokens.
    AudioInput,
    /// Input image tokens, where the provider counts them apart from text.
    ImageInput,
    /// Visible text output tokens, reasoning excluded.
    Output,
    /// Reasoning tokens, visible or hidden.
    Reasoning,
    /// Output audio tokens.
    AudioOutput,
    /// Output image tokens.
    ImageOutput,
    /// Tokens of cited sources, where they are sold apart; they are neither input nor output.
    Citation,
    /// Web searches the provider ran for the request.
    WebSearch,
    /// Queries of a search or rerank service.
    Query,
    /// Images made, where they are sold by the piece.
    Image,
    /// Characters to be spoken.
    Character,
    /// Milliseconds of audio, video or reserved time.
    Millisecond,
}

impl TokenClass {
    /// Every class: input tokens, output tokens, then what is neither.
    pub const ALL: [Self; 18] = [
        Self::Input,
        Self::CacheRead,
        Self::CacheReadAudio,
        Self::CacheReadImage,
        Self::CacheWrite5m,
        Self::CacheWrite1h,
        Self::AudioInput,
        Self::ImageInput,
        Self::Output,
        Self::Reasoning,
        Self::AudioOutput,
        Self::ImageOutput,
        Self::Citation,
        Self::WebSearch,
        Self::Query,
        Self::Image,
        Self::Character,
        Self::Millisecond,
    ];

    /// Whether it counts tokens that are sent to the model.
    pub fn is_input(self) -> bool {
        match self {
            Self::Input
            | Self::CacheRead
            | Self::CacheReadAudio
            | Self::CacheReadImage
            | Self::CacheWrite5m
            | Self::CacheWrite1h
            | Self::AudioInput
            | Self::ImageInput => true,
            Self::Output | Self::Reasoning | Self::AudioOutput | Self::ImageOutput => false,
            Self::Citation | Self::WebSearch | Self::Query | Self::Image | Self::Character | Self::Millisecond => false,
        }
    }

    /// Whether it counts tokens that come from the model.
    pub fn is_output(self) -> bool {
        match self {
            Self::Output | Self::Reasoning | Self::AudioOutput | Self::ImageOutput => true,
            Self::Input
            | Self::CacheRead
            | Self::CacheReadAudio
            | Self::CacheReadImage
            | Self::CacheWrite5m
            | Self::CacheWrite1h
            | Self::AudioInput
            | Self::ImageInput => false,
            Self::Citation | Self::WebSearch | Self::Query | Self::Image | Self::Character | Self::Millisecond => false,
        }
    }

    /// Whether it counts tokens of the request or of the answer.
    pub fn is_token(self) -> bool {
        self.is_input() || self.is_output()
    }

    /// The name used in explanations, exports and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::CacheRead => "cache_read",
            Self::CacheReadAudio => "cache_read_audio",
            Self::CacheReadImage => "cache_read_image",
            Self::CacheWrite5m => "cache_write_5m",
            Self::CacheWrite1h => "cache_write_1h",
            Self::AudioInput => "audio_input",
            Self::ImageInput => "image_input",
            Self::Output => "output",
            Self::Reasoning => "reasoning",
            Self::AudioOutput => "audio_output",
            Self::ImageOutput => "image_output",
            Self::Citation => "citation",
            Self::WebSearch => "web_search",
            Self::Query => "query",
            Self::Image => "image",
            Self::Character => "character",
            Self::Millisecond => "millisecond",
        }
    }
}

/// Used units by class. A class that is `None` is unknown; `Some(0)` is a known zero.
///
/// ```
/// use prepaid::tokens::{TokenClass, Usage};
///
/// let usage = Usage::new().with(TokenClass::Input, 12).with(TokenClass::Output, 0);
/// assert_eq!(usage.get(TokenClass::Output), Some(0));
/// assert_eq!(usage.get(TokenClass::Reasoning), None);
/// assert_eq!(usage.total(), 12);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    counts: [Option<u64>; TokenClass::ALL.len()],
}

impl Usage {
    /// Nothing known.
    pub fn new() -> Self {
        Self::default()
    }

    /// This usage with `count` units of `class`.
    #[must_use]
    pub fn with(mut self, class: TokenClass, count: u64) -> Self {
        self.set(class, Some(count));
        self
    }

    /// Sets or forgets the count of `class`.
    pub fn set(&mut self, class: TokenClass, count: Option<u64>) {
        if let Some(slot) = self.counts.get_mut(class as usize) {
            *slot = count;
        }
    }

    /// The count of `class`, if known.
    pub fn get(&self, class: TokenClass) -> Option<u64> {
        self.counts.get(class as usize).copied().flatten()
    }

    /// Adds another usage, class by class.
    pub fn add(&mut self, other: &Self) {
        for (class, count) in other.iter() {
            self.set(class, Some(self.get(class).unwrap_or(0).saturating_add(count)));
        }
    }

    /// The known classes with their counts, input first.
    pub fn iter(&self) -> impl Iterator<Item = (TokenClass, u64)> + '_ {
        TokenClass::ALL.into_iter().filter_map(|class| Some((class, self.get(class)?)))
    }

    /// Sum of the known input classes.
    pub fn total_input(&self) -> u64 {
        self.sum(TokenClass::is_input)
    }

    /// Sum of the known output classes, reasoning included.
    pub fn total_output(&self) -> u64 {
        self.sum(TokenClass::is_output)
    }

    /// Sum of all known tokens; searches, images and the like are none.
    pub fn total(&self) -> u64 {
        self.sum(TokenClass::is_token)
    }

    fn sum(&self, wanted: impl Fn(TokenClass) -> bool) -> u64 {
        self.iter().filter(|(class, _)| wanted(*class)).fold(0, |sum, (_, count)| sum.saturating_add(count))
    }
}
