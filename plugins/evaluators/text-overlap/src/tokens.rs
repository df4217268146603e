//! Texts to tokens, and tokens to numbers.

use std::collections::HashMap;

use schemars::JsonSchema;
use serde::Deserialize;

/// What a token is. The names and definitions are sacreBLEU's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
pub enum Tokenize {
    /// A character that is not white space.
    #[default]
    #[serde(rename = "char")]
    Char,
    /// A word or a mark of punctuation, as the `mteval-v13a` script parts English text.
    #[serde(rename = "13a")]
    V13a,
    /// Whatever stands between white space.
    #[serde(rename = "none")]
    None,
}

impl Tokenize {
    fn each(self, text: &str, mut token: impl FnMut(&str)) {
        match self {
            Self::Char => {
                let mut buffer = [0; 4];
                for character in text.chars().filter(|c| !c.is_whitespace()) {
                    token(character.encode_utf8(&mut buffer));
                }
            }
            Self::V13a => v13a(text).split_whitespace().for_each(token),
            Self::None => text.split_whitespace().for_each(token),
        }
    }
}

/// A token that no output has.
pub(crate) const UNKNOWN: u32 = u32::MAX;

/// Numbers for tokens.
#[derive(Debug, Default)]
pub(crate) struct Interner(HashMap<String, u32>);

impl Interner {
    /// The text's tokens; new ones get a number.
    pub(crate) fn add(&mut self, tokenize: Tokenize, text: &str) -> Vec<u32> {
        let mut tokens = Vec::new();
        tokenize.each(text, |token| {
            let next = self.0.len() as u32;
            tokens.push(match self.0.get(token) {
                Some(&known) => known,
                None => *self.0.entry(token.to_owned()).or_insert(next),
            });
        });
        tokens
    }

    /// The text's tokens; those that have no number are [`UNKNOWN`].
    pub(crate) fn find(&self, tokenize: Tokenize, text: &str, tokens: &mut Vec<u32>) {
        tokens.clear();
        tokenize.each(text, |token| {
            tokens.push(self.0.get(token).copied().unwrap_or(UNKNOWN));
        });
    }
}

/// Puts white space around what `mteval-v13a` takes for a token of its own.
fn v13a(text: &str) -> String {
    let text = text
        .replace("<skipped>", "")
        .replace("-\n", "")
        .replace('\n', " ");
    let text = text
        .replace("&quot;", "\"")
        .replace("&amp;", "&")
        .replace("&lt;", "<")
        .replace("&gt;", ">");
    let digit = |c: char| c.is_ascii_digit();
    let point = |c: char| matches!(c, '.' | ',');
    let mut spaced = String::with_capacity(2 * text.len());
    spaced.push(' ');
    for c in text.chars() {
        match c {
            '{'..='~' | '['..='`' | ' '..='&' | '('..='+' | ':'..='@' | '/' => {
                spaced.extend([' ', c, ' ']);
            }
            _ => spaced.push(c),
        }
    }
    spaced.push(' ');
    let spaced = pairs(
        &spaced,
        |a, b| !digit(a) && point(b),
        |a, b| [a, ' ', b, ' '],
    );
    let spaced = pairs(
        &spaced,
        |a, b| point(a) && !digit(b),
        |a, b| [' ', a, ' ', b],
    );
    pairs(
        &spaced,
        |a, b| digit(a) && b == '-',
        |a, b| [a, ' ', b, ' '],
    )
}

/// Rewrites the pairs of neighbours that match, from the left; a character is part of one pair.
fn pairs(
    text: &str,
    matches: impl Fn(char, char) -> bool,
    write: impl Fn(char, char) -> [char; 4],
) -> String {
    let mut out = String::with_capacity(2 * text.len());
    let mut rest = text.chars();
    while let Some(a) = rest.next() {
        match rest.clone().next() {
            Some(b) if matches(a, b) => {
                out.extend(write(a, b));
                rest.next();
            }
            _ => out.push(a),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(tokenize: Tokenize, text: &str) -> String {
        let mut tokens = Vec::new();
        tokenize.each(text, |token| tokens.push(token.to_owned()));
        tokens.join(" ")
    }

    #[test]
    fn words_are_parted_as_sacrebleu_parts_them() {
        // sacrebleu.tokenizers.tokenizer_13a.Tokenizer13a, 2.6
        for (text, expected) in [
            ("Hello,world.", "Hello , world ."),
            ("3.5 1,000 .5 5. a.b", "3.5 1,000 . 5 5 . a . b"),
            ("bird-cage 3-4 x-1", "bird-cage 3 - 4 x-1"),
            (
                "&quot;a&quot; &amp; <b>{c}[d]~`^_",
                "\" a \" & < b > { c } [ d ] ~ ` ^ _",
            ),
            (
                "It's (fine)/ok: yes; no?!",
                "It's ( fine ) / ok : yes ; no ? !",
            ),
            ("a,,b..c 1,,2", "a , , b . . c 1 , , 2"),
            ("end-\nline\nnext", "endline next"),
            ("5.,a 1.2.3 .,", "5 . , a 1.2.3 . ,"),
        ] {
            assert_eq!(tokens(Tokenize::V13a, text), expected);
        }
    }

    #[test]
    fn characters_and_words() {
        assert_eq!(tokens(Tokenize::Char, " 春眠 a\n"), "春 眠 a");
        assert_eq!(tokens(Tokenize::None, " 春眠  a.b\n"), "春眠 a.b");
        let mut interner = Interner::default();
        assert_eq!(interner.add(Tokenize::Char, "aba"), [0, 1, 0]);
        let mut found = vec![9];
        interner.find(Tokenize::Char, "cb", &mut found);
        assert_eq!(found, [UNKNOWN, 1]);
    }
}
