//! Values that are more than a word: `NAME=VALUE`, and JSON given in place, in a file or on standard
//! input.

use std::convert::Infallible;
use std::path::PathBuf;
use std::str::FromStr;

/// `NAME=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// Before the first `=`.
    pub name: String,
    /// After it.
    pub value: String,
}

impl FromStr for Pair {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((name, value)) if !name.is_empty() && !value.is_empty() => Ok(Self {
                name: name.to_owned(),
                value: value.to_owned(),
            }),
            _ => Err("expected NAME=VALUE".to_owned()),
        }
    }
}

/// Where JSON comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Json {
    /// Given in place.
    Inline(String),
    /// `@FILE`.
    File(PathBuf),
    /// `-`.
    Stdin,
}

impl FromStr for Json {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.strip_prefix('@') {
            Some(path) => Self::File(path.into()),
            None if text == "-" => Self::Stdin,
            None => Self::Inline(text.to_owned()),
        })
    }
}

/// `PLUGIN` or `PLUGIN=CONFIG`, where the configuration is JSON or `@FILE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The plugin.
    pub plugin: String,
    /// Its configuration.
    pub config: Option<Json>,
}

impl FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (plugin, config) = match text.split_once('=') {
            Some((plugin, config)) => (plugin, Some(config)),
            None => (text, None),
        };
        if plugin.is_empty() || config.is_some_and(str::is_empty) {
            return Err("expected PLUGIN, PLUGIN=JSON or PLUGIN=@FILE".to_owned());
        }
        Ok(Self {
            plugin: plugin.to_owned(),
            config: config.map(|text| match text.parse() {
                Ok(json) => json,
                Err(never) => match never {},
            }),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn values_are_split_at_the_first_sign() {
        let pair: Pair = "dev=a=b.jsonl".parse().unwrap();
        assert_eq!(
            (pair.name.as_str(), pair.value.as_str()),
            ("dev", "a=b.jsonl")
        );
        for bad in ["dev", "=x", "dev="] {
            assert!(bad.parse::<Pair>().is_err(), "{bad}");
        }
        let step: Named = "tenon/filter@0.1.0={\"min\":1}".parse().unwrap();
        assert_eq!(step.plugin, "tenon/filter@0.1.0");
        assert_eq!(step.config, Some(Json::Inline("{\"min\":1}".into())));
        let step: Named = "tenon/filter=@steps/filter.json".parse().unwrap();
        assert_eq!(step.config, Some(Json::File("steps/filter.json".into())));
        assert!("tenon/filter=".parse::<Named>().is_err());
        assert_eq!("-".parse::<Json>(), Ok(Json::Stdin));
    }
}
