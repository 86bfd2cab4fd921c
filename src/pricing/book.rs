//! The prices of many models.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::content::AdjustmentKind;
use super::exact::Exact;
use super::names::{self, Names};
use super::tariff::{Tariff, markup_factor};
use super::{PriceError, clip};
use crate::model::BookHash;

/// The prices of many models, by name. It is data: built or loaded by the host, replaced as a whole, never fetched.
///
/// - A model that is not listed has no price: [`PriceError::UnknownModel`]. Nothing is free because it is unknown.
/// - Providers drop models from their lists. [`PriceBook::merge`] takes over a newer list and keeps what it lacks, and
///   the former prices of what it has.
/// - A hold pins its [`Tariff`]; a newer book does not change what it settles at.
/// - What a model is sold at above or below its list price is said by rules: [`PriceBook::markup`].
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
    names: Names,
    rules: Vec<Rule>,
}

/// Models whose names match are sold with this factor.
#[derive(Clone, Debug)]
struct Rule {
    models: String,
    name: String,
    factor: Exact,
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

    /// Lets `name` stand for a model of the book, now or when it is listed.
    pub fn alias(&mut self, name: &str, model: &str) {
        self.names.alias(name, model);
    }

    /// Sells models with a markup of `percent`, below zero a discount, on everything, fees included. `models` is a name in
    /// which `*` stands for any text, as in `openai/*`. Of several rules that match a model the first one holds.
    ///
    /// ```
    /// use prepaid::Asset;
    /// use prepaid::pricing::{PriceBook, PriceError, Tariff};
    /// use prepaid::tokens::{TokenClass, Usage};
    ///
    /// let mut book = PriceBook::new();
    /// book.insert(Tariff::per_million("gpt-4o").input("2.50").output("10").build()?);
    /// book.markup("gpt-*", "20")?;
    /// let usage = Usage::new().with(TokenClass::Output, 1_000);
    /// let charge = book.tariff("gpt-4o")?.charge(&usage, Asset::USD)?;
    /// assert_eq!((charge.cost().to_string(), charge.exact().to_string()), ("0.01".to_owned(), "0.012".to_owned()));
    /// assert_eq!(Asset::USD.format(charge.margin()), "0.002000000");
    /// # Ok::<(), PriceError>(())
    /// ```
    ///
    /// # Errors
    /// As [`Tariff::with_markup`].
    pub fn markup(&mut self, models: &str, percent: &str) -> Result<(), PriceError> {
        let (name, factor) = markup_factor(models, percent)?;
        self.rules.push(Rule { models: models.to_owned(), name, factor });
        Ok(())
    }

    /// The prices of the model with exactly this name, or [alias](Self::alias), in the book.
    ///
    /// # Errors
    /// [`PriceError::UnknownModel`]; or what was wrong with its prices when they were loaded.
    pub fn tariff(&self, model: &str) -> Result<Tariff, PriceError> {
        let (listed, entry) = self.entry(model).ok_or_else(|| PriceError::UnknownModel { model: clip(model) })?;
        let tariff = entry.versions.first().ok_or_else(|| PriceError::UnknownModel { model: clip(model) })?.clone()?;
        match self.rules.iter().find(|rule| names::matches(&rule.models, listed)) {
            Some(rule) => tariff.adjusted(AdjustmentKind::Markup, rule.name.clone(), rule.factor),
            None => Ok(tariff),
        }
    }

    /// The prices of a provider's model: listed as `provider/model`; or as `model` and said to be of this provider; or
    /// under another name which, the list says, this one means.
    ///
    /// # Errors
    /// As [`PriceBook::tariff`].
    pub fn tariff_of(&self, provider: &str, model: &str) -> Result<Tariff, PriceError> {
        let qualified = format!("{provider}/{model}");
        if self.entry(&qualified).is_some() {
            return self.tariff(&qualified);
        }
        let own = |entry: &Entry| entry.provider.as_deref().is_some_and(|listed| is_of(listed, provider));
        if self.entry(model).is_some_and(|(_, entry)| own(entry)) {
            return self.tariff(model);
        }
        match self.names.meant(provider, model) {
            Some(listed) => self.tariff(listed),
            None => Err(PriceError::UnknownModel { model: clip(&qualified) }),
        }
    }

    /// Takes over the prices, names and rules of a newer book. Models that it lacks stay, and former prices stay as
    /// versions; the rules stay, if it has none. Prices that cannot be read take the place of good ones, too, because
    /// those no longer hold: look at [`unusable`](Self::unusable) models before putting a merged book to use.
    pub fn merge(&mut self, newer: Self) -> Merge {
        let mut merge = Merge {
            kept: self.models.keys().filter(|model| !newer.models.contains_key(*model)).cloned().collect(),
            ..Merge::default()
        };
        self.names.merge(newer.names);
        if !newer.rules.is_empty() {
            self.rules = newer.rules;
        }
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

    /// The list prices a model has and had, newest first, without markup.
    pub fn versions(&self, model: &str) -> impl Iterator<Item = &Tariff> + '_ {
        self.entry(model).into_iter().flat_map(|(_, entry)| &entry.versions).flatten()
    }

    /// The models with prices, by name.
    pub fn models(&self) -> impl Iterator<Item = &str> + '_ {
        self.models.iter().filter(|(_, entry)| entry.is_usable()).map(|(model, _)| &**model)
    }

    /// The models that are listed and cannot be priced, with the reason.
    pub fn unusable(&self) -> impl Iterator<Item = (&str, &PriceError)> + '_ {
        self.models.iter().filter_map(|(model, entry)| Some((&**model, entry.versions.first()?.as_ref().err()?)))
    }

    /// The name of this content: equal for books that sell the same models at the same prices.
    pub fn hash(&self) -> BookHash {
        BookHash::of(self.models().filter_map(|model| Some((model, self.tariff(model).ok()?.hash()))))
    }

    pub(super) fn names(&mut self) -> &mut Names {
        &mut self.names
    }

    pub(super) fn list(&mut self, model: &str, provider: Option<&str>, listing: Result<Tariff, PriceError>) {
        let empty = || Entry { provider: None, versions: Vec::new() };
        let entry = self.models.entry(model.into()).or_insert_with(empty);
        entry.provider = provider.map(Arc::from);
        entry.versions.insert(0, listing);
    }

    fn entry(&self, name: &str) -> Option<(&str, &Entry)> {
        let listed = |name: &str| self.models.get_key_value(name).map(|(model, entry)| (&**model, entry));
        listed(name).or_else(|| listed(self.names.aliased(name)?))
    }
}

impl Entry {
    fn is_usable(&self) -> bool {
        self.versions.first().is_some_and(Result::is_ok)
    }
}

/// Whether a listed provider is this one; lists divide some, as in `bedrock_converse`, `vertex_ai-language-models` and
/// `text-completion-openai`.
fn is_of(listed: &str, provider: &str) -> bool {
    let is_part = |part: &str| part.is_empty() || part.starts_with('-') || part == "_converse" || part == "_chat";
    listed.strip_prefix(provider).is_some_and(is_part) || listed.strip_prefix("text-completion-") == Some(provider)
}
