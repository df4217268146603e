//! Names and references.

use crate::error::{DataError, Result};

/// Checks a name of a dataset, split or tokenizer: letters, digits, `.`, `_` and `-`, beginning with
/// a letter or digit, at most 100 characters.
pub(crate) fn check_name(what: &str, name: &str) -> Result<()> {
    let good = name.len() <= 100
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    if good {
        return Ok(());
    }
    Err(DataError::Invalid(format!(
        "`{name}` cannot be the name of a {what}: use letters, digits, `.`, `_` and `-`, beginning with a letter or digit"
    )))
}

/// Which version of something is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// The one made last.
    Latest,
    /// By its number.
    Number(u32),
    /// By the beginning of its digest, at least 8 digits.
    Digest(String),
}

/// A reference to a dataset: `name[@version][#split]`, where the version is a number or the
/// beginning of a digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The dataset's name.
    pub name: String,
    /// Which version.
    pub which: Which,
    /// One split of it; nothing: all of them.
    pub split: Option<String>,
}

impl Reference {
    /// Reads a reference to a `what` ("dataset", "tokenizer").
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(what: &str, text: &str) -> Result<Self> {
        let (rest, split) = match text.split_once('#') {
            Some((rest, split)) => (rest, Some(split.to_owned())),
            None => (text, None),
        };
        let (name, version) = match rest.split_once('@') {
            Some((name, version)) => (name, Some(version)),
            None => (rest, None),
        };
        check_name(what, name)?;
        let which = match version {
            None | Some("latest") => Which::Latest,
            Some(version) => match version.parse() {
                // A short number is a version; eight digits or more may be a digest.
                Ok(number) if version.len() < 8 => Which::Number(number),
                _ if digits(version).len() >= 8
                    && digits(version).chars().all(|c| c.is_ascii_hexdigit()) =>
                {
                    Which::Digest(digits(version).to_ascii_lowercase())
                }
                _ => {
                    return Err(DataError::Invalid(format!(
                        "`{text}`: after `@` comes a version number or at least 8 digits of a digest"
                    )));
                }
            },
        };
        Ok(Self {
            name: name.to_owned(),
            which,
            split,
        })
    }
}

fn digits(version: &str) -> &str {
    version.strip_prefix("blake3:").unwrap_or(version)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn references_are_read() {
        let reference = |text| Reference::parse("dataset", text).unwrap();
        assert_eq!(reference("poems").which, Which::Latest);
        assert_eq!(reference("poems@3").which, Which::Number(3));
        assert_eq!(reference("poems@latest").which, Which::Latest);
        assert_eq!(
            reference("poems@0123ABCD#dev").which,
            Which::Digest("0123abcd".into())
        );
        assert_eq!(reference("poems#dev").split.as_deref(), Some("dev"));
        for bad in ["", "a b", "-x", "a@", "a@x", "a@12345g78", "../etc", "a/b"] {
            assert!(Reference::parse("dataset", bad).is_err(), "{bad}");
        }
    }
}
