//! How a name that is not listed finds the model it means.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

/// The other names of a book's models.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    aliases: BTreeMap<Arc<str>, Arc<str>>,
    /// By provider, in the order of the list: the first that matches is meant.
    patterns: BTreeMap<Arc<str>, Vec<(Pattern, Arc<str>)>>,
    /// Providers whose models a provider resells under their names.
    resold: BTreeMap<Arc<str>, Vec<Arc<str>>>,
}

/// What the names of a model look like, in any case.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Pattern {
    Equals(String),
    StartsWith(String),
    EndsWith(String),
    Contains(String),
    Or(Vec<Self>),
    And(Vec<Self>),
    /// Text with digits; see [`is_written_as`].
    Regex(String),
}

impl Names {
    pub(super) fn alias(&mut self, name: &str, model: &str) {
        self.aliases.insert(name.into(), model.into());
    }

    /// The model that an alias stands for.
    pub(super) fn aliased(&self, name: &str) -> Option<&str> {
        self.aliases.get(name).map(|model| &**model)
    }

    pub(super) fn pattern(&mut self, provider: &str, pattern: Pattern, model: &str) {
        self.patterns.entry(provider.into()).or_default().push((pattern, model.into()));
    }

    pub(super) fn resells(&mut self, provider: &str, others: &[String]) {
        self.resold.insert(provider.into(), others.iter().map(|other| other.as_str().into()).collect());
    }

    /// The model that a provider's name for it means.
    pub(super) fn meant(&self, provider: &str, name: &str) -> Option<&str> {
        let name = name.to_lowercase();
        let others = self.resold.get(provider).into_iter().flatten().map(|other| &**other);
        std::iter::once(provider).chain(others).find_map(|provider| {
            let mut patterns = self.patterns.get(provider)?.iter();
            patterns.find(|(pattern, _)| pattern.matches(&name)).map(|(_, model)| &**model)
        })
    }

    /// Takes over newer names; a provider's patterns are replaced as a whole.
    pub(super) fn merge(&mut self, newer: Self) {
        self.aliases.extend(newer.aliases);
        self.patterns.extend(newer.patterns);
        self.resold.extend(newer.resold);
    }
}

impl Pattern {
    /// Whether a name in lower case is meant.
    fn matches(&self, name: &str) -> bool {
        match self {
            Self::Equals(text) => name == text.to_lowercase(),
            Self::StartsWith(text) => name.starts_with(&text.to_lowercase()),
            Self::EndsWith(text) => name.ends_with(&text.to_lowercase()),
            Self::Contains(text) => name.contains(&text.to_lowercase()),
            Self::Or(patterns) => patterns.iter().any(|pattern| pattern.matches(name)),
            Self::And(patterns) => patterns.iter().all(|pattern| pattern.matches(name)),
            Self::Regex(pattern) => is_written_as(pattern, name),
        }
    }
}

/// Whether a name begins with what an anchored regular expression of plain text, `\.`, `\d` and `\d{n}` says, and ends
/// where that has a `$`. Lists have no others; any other matches nothing, and the name stays unknown.
fn is_written_as(pattern: &str, mut name: &str) -> bool {
    let Some(mut pattern) = pattern.strip_prefix('^') else {
        return false;
    };
    while !pattern.is_empty() && pattern != "$" {
        let digits = pattern.strip_prefix(r"\d").map(repeated);
        let (next, rest) = match (digits, pattern.strip_prefix(r"\.")) {
            (Some((count, rest)), _) => (name.split_at_checked(count).filter(|(head, _)| is_number(head)), rest),
            (None, Some(rest)) => (name.split_at_checked(1).filter(|(head, _)| *head == "."), rest),
            (None, None) => {
                let plain = |character: &char| !r".*+?[](){}|^$\".contains(*character);
                let Some(character) = pattern.chars().next().filter(plain) else {
                    return false;
                };
                let rest = pattern.trim_start_matches(character);
                let count = pattern.len().saturating_sub(rest.len());
                let head = pattern.get(..count).unwrap_or_default();
                (name.strip_prefix(head).map(|after| (head, after)), rest)
            }
        };
        match next {
            Some((_, after)) => (name, pattern) = (after, rest),
            None => return false,
        }
    }
    pattern.is_empty() || name.is_empty()
}

/// How often what stands before is repeated, and what follows: once, or as `{n}` says.
fn repeated(rest: &str) -> (usize, &str) {
    let count = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
    count.and_then(|(count, rest)| Some((count.parse().ok()?, rest))).unwrap_or((1, rest))
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether a name is the pattern, in which `*` stands for any text.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(mut name) = name.strip_prefix(start) else {
        return false;
    };
    let Some((middle, end)) = rest.rsplit_once('*') else {
        return name.ends_with(rest);
    };
    // The earliest place of each part leaves the most to those after it.
    for part in middle.split('*') {
        match name.split_once(part) {
            Some((_, after)) => name = after,
            None => return false,
        }
    }
    name.ends_with(end)
}

#[cfg(test)]
mod tests {
    use super::{is_written_as, matches};

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, name) in [
            ("*", ""),
            ("*", "a"),
            ("gpt-*", "gpt-"),
            ("*/gpt-*-mini", "openai/gpt-4o-mini"),
            ("a*b*c", "aXbXbc"),
            ("a", "a"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in
            [("gpt-*", "gpt"), ("a*a", "a"), ("a*b*c", "acb"), ("a", "ab"), ("*a*", "b"), ("ab*ba", "aba")]
        {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn dated_names_are_recognised_and_unknown_expressions_match_nothing() {
        let dated = r"^gpt-5\.6-luna-\d{4}-\d{2}-\d{2}$";
        assert!(is_written_as(dated, "gpt-5.6-luna-2026-07-30"));
        assert!(is_written_as(r"^gemini-3\.5-flash-\d", "gemini-3.5-flash-8b"));
        for name in ["gpt-5.6-luna-2026-07-3", "gpt-5.6-luna-2026-07-30x", "gpt-5x6-luna-2026-07-30", "xgpt-5.6-luna"] {
            assert!(!is_written_as(dated, name), "{name}");
        }
        for pattern in ["gpt", "^gpt.*", "^gp?t", "^(gpt)", r"^\w", r"^gpt\", "^gpt-[0-9]"] {
            assert!(!is_written_as(pattern, "gpt-4"), "{pattern}");
        }
    }
}
