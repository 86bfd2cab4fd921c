//! A price list of one's own, in TOML.

use toml::{Table, Value};

use crate::pricing::book::PriceBook;
use crate::pricing::builder::TariffBuilder;
use crate::pricing::exact::Flaw;
use crate::pricing::hours::Hours;
use crate::pricing::tariff::Tariff;
use crate::pricing::{PriceError, clip};
use crate::tokens::TokenClass;

impl PriceBook {
    /// Reads a price list in TOML. Rates are strings with plain decimals: of tokens per million, of a `second` and of all
    /// else per one; a number with a point is refused, because TOML would round it. Every key is a class
    /// ([`TokenClass::name`]) or shown here; any other is an error, so that no price is lost to a slip of the pen.
    ///
    /// ```
    /// use prepaid::pricing::{PriceBook, ServiceTier};
    /// use prepaid::tokens::TokenClass;
    ///
    /// let book = PriceBook::from_toml(r#"
    ///     currency = "USD"                      # of all models; this is the default
    ///
    ///     [models."house/large"]
    ///     provider = "house"
    ///     aliases = ["large", "large-2026-08"]
    ///     input = "2.50"
    ///     cache_read = "0.25"
    ///     output = "10"
    ///     web_search = "0.01"
    ///     request = "0.001"
    ///     above = [{ tokens = 200_000, input = "5", output = "15" }]
    ///     uplift = { geo_us = "1.1" }
    ///
    ///     [models."house/large".tier.batch]
    ///     input = "1.25"
    ///     output = "5"
    ///
    ///     [[models."house/large".off_peak]]
    ///     hours = ["16:30-00:30"]               # UTC
    ///     weekdays = [1, 2, 3, 4, 5]            # in the zone, else UTC; Monday is 1
    ///     zone = "Asia/Shanghai"
    ///     input = "1.25"
    ///
    ///     [[markup]]                            # the first that matches holds
    ///     models = "house/*"
    ///     percent = "20"
    /// "#)?;
    /// let tariff = book.tariff("large")?;
    /// assert_eq!(tariff.rate(TokenClass::Output, 200_001).unwrap().to_string(), "0.000015");
    /// assert_eq!(tariff.at_tier(ServiceTier::Batch).rate(TokenClass::Input, 1).unwrap().to_string(), "0.00000125");
    /// assert_eq!(tariff.adjustments()[0].name, "markup 20 %");
    /// # Ok::<(), prepaid::pricing::PriceError>(())
    /// ```
    ///
    /// # Errors
    /// [`PriceError::MalformedList`] if the text is not TOML; [`PriceError::MalformedPrice`] and its siblings, naming
    /// model, key and input.
    pub fn from_toml(text: &str) -> Result<Self, PriceError> {
        let list: Table =
            text.parse().map_err(|error: toml::de::Error| PriceError::MalformedList(clip(error.message())))?;
        let mut book = Self::new();
        let keys = Keys("list", &list);
        let currency = keys.text("currency")?;
        if let Some((key, value)) =
            list.iter().find(|(key, _)| !["currency", "models", "markup"].contains(&key.as_str()))
        {
            return Err(keys.malformed(key, value));
        }
        for (model, value) in keys.table("models")?.into_iter().flatten() {
            let table = value.as_table().ok_or_else(|| keys.malformed(model, value))?;
            book.read_model(Keys(model, table), currency)?;
        }
        for rule in keys.tables("markup")? {
            match (rule.text("models")?, rule.1.get("percent"), rule.1.len()) {
                (Some(models), Some(percent), 2) => book.markup(models, &rule.decimal("percent", percent)?)?,
                _ => return Err(keys.malformed("markup", &Value::Table(rule.1.clone()))),
            }
        }
        Ok(book)
    }

    fn read_model(&mut self, keys: Keys<'_>, currency: Option<&str>) -> Result<(), PriceError> {
        let model = keys.0;
        let mut builder = Tariff::per_million(model).currency(currency.unwrap_or("USD"));
        builder = keys.rates(builder, &["provider", "aliases", "request", "above", "uplift", "tier", "off_peak"])?;
        if let Some(fee) = keys.1.get("request") {
            builder = builder.request(&keys.decimal("request", fee)?);
        }
        for (name, factor) in keys.table("uplift")?.into_iter().flatten() {
            builder = builder.uplift(name, &keys.decimal(name, factor)?);
        }
        builder = keys.branches(builder)?;
        for (name, rates) in keys.table("tier")?.into_iter().flatten() {
            let keys = Keys(model, rates.as_table().ok_or_else(|| keys.malformed(name, rates))?);
            builder = keys.branches(keys.rates(builder.tier(name.parse()?), &["above"])?)?;
        }
        for keys in keys.tables("off_peak")? {
            builder = builder.off_peak(keys.hours()?);
            builder = keys.branches(keys.rates(builder, &["above", "hours", "weekdays", "zone"])?)?;
        }
        for alias in keys.array("aliases")?.into_iter().flatten() {
            self.alias(alias.as_str().ok_or_else(|| keys.malformed("aliases", alias))?, model);
        }
        self.list(model, keys.text("provider")?, Ok(builder.build()?));
        Ok(())
    }
}

/// A table of the list, with the model it belongs to.
#[derive(Clone, Copy)]
struct Keys<'a>(&'a str, &'a Table);

impl<'a> Keys<'a> {
    /// Sets every rate there is; `others` are keys that are none.
    fn rates(self, builder: TariffBuilder, others: &[&str]) -> Result<TariffBuilder, PriceError> {
        let mut rates = self.1.iter().filter(|(key, _)| !others.contains(&key.as_str()));
        rates.try_fold(builder, |builder, (key, value)| {
            let class = match key.as_str() {
                "second" => Some(TokenClass::Millisecond),
                key => TokenClass::ALL
                    .into_iter()
                    .filter(|class| *class != TokenClass::Millisecond)
                    .find(|class| class.name() == key),
            };
            let class = class.ok_or_else(|| self.malformed(key, value))?;
            Ok(builder.rate(class, &self.decimal(key, value)?))
        })
    }

    /// `above`: the rates of long prompts.
    fn branches(self, builder: TariffBuilder) -> Result<TariffBuilder, PriceError> {
        self.tables("above")?.into_iter().try_fold(builder, |builder, branch| {
            let tokens =
                branch.1.get("tokens").and_then(Value::as_integer).and_then(|tokens| u64::try_from(tokens).ok());
            let tokens = tokens.ok_or_else(|| self.malformed("above", &Value::Table(branch.1.clone())))?;
            branch.rates(builder.above(tokens), &["tokens"])
        })
    }

    fn hours(self) -> Result<Hours, PriceError> {
        let malformed = |value: &Value| PriceError::MalformedHours(clip(&format!("{}: {}", self.0, shown(value))));
        let spans = self.array("hours")?.into_iter().flatten();
        let spans = spans.map(|span| span.as_str().ok_or_else(|| malformed(span))).collect::<Result<Vec<_>, _>>()?;
        if spans.is_empty() {
            return Err(PriceError::MalformedHours(clip(&format!("{}: no hours", self.0))));
        }
        let mut hours = Hours::utc(&spans)?;
        let day = |day: &Value| day.as_integer().and_then(|day| i8::try_from(day).ok()).ok_or_else(|| malformed(day));
        if let Some(days) = self.array("weekdays")? {
            hours = hours.on(&days.iter().map(day).collect::<Result<Vec<_>, _>>()?)?;
        }
        match self.text("zone")? {
            Some(zone) => hours.in_zone(zone),
            None => Ok(hours),
        }
    }

    /// Text or a whole number. A float has lost what was written.
    fn decimal(self, key: &str, value: &Value) -> Result<String, PriceError> {
        match value {
            Value::String(text) => Ok(text.clone()),
            Value::Integer(number) => Ok(number.to_string()),
            Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) | Value::Array(_) | Value::Table(_) => {
                Err(self.malformed(key, value))
            }
        }
    }

    fn text(self, key: &str) -> Result<Option<&'a str>, PriceError> {
        self.read(key, Value::as_str)
    }

    fn table(self, key: &str) -> Result<Option<&'a Table>, PriceError> {
        self.read(key, Value::as_table)
    }

    fn array(self, key: &str) -> Result<Option<&'a Vec<Value>>, PriceError> {
        self.read(key, Value::as_array)
    }

    fn tables(self, key: &str) -> Result<Vec<Self>, PriceError> {
        let table = |value: &'a Value| {
            value.as_table().map(|table| Self(self.0, table)).ok_or_else(|| self.malformed(key, value))
        };
        self.array(key)?.into_iter().flatten().map(table).collect()
    }

    fn read<T>(self, key: &str, read: impl Fn(&'a Value) -> Option<T>) -> Result<Option<T>, PriceError> {
        self.1.get(key).map(|value| read(value).ok_or_else(|| self.malformed(key, value))).transpose()
    }

    fn malformed(self, key: &str, value: &Value) -> PriceError {
        PriceError::flaw(Flaw::Malformed, self.0, key, &shown(value))
    }
}

/// A value for a message.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => format!("{number}, which must be a string"),
        Value::Boolean(flag) => flag.to_string(),
        Value::Datetime(time) => time.to_string(),
        Value::Array(_) | Value::Table(_) => format!("an unexpected {}", value.type_str()),
    }
}
