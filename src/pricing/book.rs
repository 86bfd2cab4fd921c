//! The prices of many models.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::tariff::Tariff;
use super::{PriceError, clip};
use crate::model::BookHash;

/// The prices of many models, by name. It is data: built or loaded by the host, replaced as a whole, never fetched.
///
/// - A model that is not listed has no price: [`PriceError::UnknownModel`]. Nothing is free because it is unknown.
/// - Providers drop models from their lists. [`PriceBook::merge`] takes over a newer list and keeps what it lacks, and
///   the former prices of what it has.
/// - A hold pins its [`Tariff`]; a newer book does not change what it settles at.
///
/// ```
/// use prepaid::pricing::{PriceBook, PriceError};
///
/// let list = r#"{"gpt-4o": {"litellm_provider": "openai", "mode": "chat",
///     "input_cost_per_token": 2.5e-06, "output_cost_per_token": 1e-05}}"#;
/// let book = PriceBook::from_litellm(list)?;
/// assert_eq!(book.tariff("gpt-4o")?, book.tariff_of("openai", "gpt-4o")?);
/// assert!(matches!(book.tariff_of("azure", "gpt-4o"), Err(PriceError::UnknownModel { .. })));
/// # Ok::<(), PriceError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct PriceBook {
    models: BTreeMap<Arc<str>, Entry>,
}

/// What [`PriceBook::merge`] did, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Merge {
    /// Models that were not in the book before.
    pub added: Vec<Arc<str>>,
    /// Models that have other prices now.
    pub changed: Vec<Arc<str>>,
    /// Models that the newer book lacks; their prices stay.
    pub kept: Vec<Arc<str>>,
}

#[derive(Clone, Debug)]
struct Entry {
    provider: Option<Arc<str>>,
    /// Newest first; never empty.
    versions: Vec<Result<Tariff, PriceError>>,
}

impl PriceBook {
    /// A book of no models.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a tariff under its model's name; what was there before becomes a former [version](Self::versions).
    pub fn insert(&mut self, tariff: Tariff) {
        let model = tariff.model().to_owned();
        self.list(&model, None, Ok(tariff));
    }

    /// The prices of the model with exactly this name in the book.
    ///
    /// # Errors
    /// [`PriceError::UnknownModel`]; or what was wrong with its prices when they were loaded.
    pub fn tariff(&self, model: &str) -> Result<Tariff, PriceError> {
        let unknown = || PriceError::UnknownModel { model: clip(model) };
        self.models.get(model).and_then(|entry| entry.versions.first()).ok_or_else(unknown)?.clone()
    }

    /// The prices of a provider's model: listed as `provider/model`, or as `model` and said to be of this provider.
    ///
    /// # Errors
    /// As [`PriceBook::tariff`].
    pub fn tariff_of(&self, provider: &str, model: &str) -> Result<Tariff, PriceError> {
        let qualified = format!("{provider}/{model}");
        if self.models.contains_key(qualified.as_str()) {
            return self.tariff(&qualified);
        }
        let own = |entry: &&Entry| entry.provider.as_deref().is_some_and(|listed| is_of(listed, provider));
        match self.models.get(model).filter(own) {
            Some(_) => self.tariff(model),
            None => Err(PriceError::UnknownModel { model: clip(&qualified) }),
        }
    }

    /// Takes over the prices of a newer book. Models that it lacks stay, and former prices stay as versions.
    pub fn merge(&mut self, newer: Self) -> Merge {
        let mut merge = Merge {
            kept: self.models.keys().filter(|model| !newer.models.contains_key(*model)).cloned().collect(),
            ..Merge::default()
        };
        for (model, entry) in newer.models {
            match self.models.get(&model).map(|known| known.versions.first() == entry.versions.first()) {
                Some(true) => continue,
                Some(false) => merge.changed.push(Arc::clone(&model)),
                None => merge.added.push(Arc::clone(&model)),
            }
            for version in entry.versions.into_iter().rev() {
                self.list(&model, entry.provider.as_deref(), version);
            }
        }
        merge
    }

    /// The prices a model has and had, newest first.
    pub fn versions(&self, model: &str) -> impl Iterator<Item = &Tariff> + '_ {
        self.models.get(model).into_iter().flat_map(|entry| &entry.versions).flatten()
    }

    /// The models with prices, by name.
    pub fn models(&self) -> impl Iterator<Item = &str> + '_ {
        self.models.iter().filter(|(_, entry)| entry.is_usable()).map(|(model, _)| &**model)
    }

    /// The models that are listed and cannot be priced, with the reason.
    pub fn unusable(&self) -> impl Iterator<Item = (&str, &PriceError)> + '_ {
        self.models.iter().filter_map(|(model, entry)| Some((&**model, entry.versions.first()?.as_ref().err()?)))
    }

    /// The name of this content: equal for books with the same models at the same prices.
    pub fn hash(&self) -> BookHash {
        let current = |entry: &Entry| Some(entry.versions.first()?.as_ref().ok()?.hash());
        BookHash::of(self.models.iter().filter_map(|(model, entry)| Some((&**model, current(entry)?))))
    }

    pub(super) fn list(&mut self, model: &str, provider: Option<&str>, listing: Result<Tariff, PriceError>) {
        let empty = || Entry { provider: None, versions: Vec::new() };
        let entry = self.models.entry(model.into()).or_insert_with(empty);
        entry.provider = provider.map(Arc::from);
        entry.versions.insert(0, listing);
    }
}

impl Entry {
    fn is_usable(&self) -> bool {
        self.versions.first().is_some_and(Result::is_ok)
    }
}

/// Whether a listed provider is this one; lists divide some, as in `bedrock_converse` and `vertex_ai-language-models`.
fn is_of(listed: &str, provider: &str) -> bool {
    let part = listed.strip_prefix(provider);
    part.is_some_and(|part| part.is_empty() || part.starts_with('-') || part == "_converse")
}
