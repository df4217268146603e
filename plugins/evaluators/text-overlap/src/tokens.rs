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
    /// As `13a`, and every Chinese character by itself.
    #[serde(rename = "zh")]
    Zh,
    /// Whatever stands between white space.
    #[serde(rename = "none")]
    None,
}

impl Tokenize {
    fn each(self, text: &str, mut token: impl FnMut(&str)) {
        match self {
            Self::Char => {
                let mut buffer = [0; 4];
                for character in text.chars().filter(|c| !is_space(*c)) {
                    token(character.encode_utf8(&mut buffer));
                }
            }
            Self::V13a => words(&v13a(text)).for_each(token),
            Self::Zh => words(&western(&apart(text))).for_each(token),
            Self::None => words(text).for_each(token),
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
        tokenize.each(text, |token| tokens.push(self.number(token)));
        tokens
    }

    /// The token's number; a new one gets the next.
    pub(crate) fn number(&mut self, token: &str) -> u32 {
        let next = self.0.len() as u32;
        match self.0.get(token) {
            Some(&known) => known,
            None => *self.0.entry(token.to_owned()).or_insert(next),
        }
    }

    /// The text's tokens; those that have no number are [`UNKNOWN`].
    pub(crate) fn find(&self, tokenize: Tokenize, text: &str, tokens: &mut Vec<u32>) {
        tokens.clear();
        tokenize.each(text, |token| {
            tokens.push(self.0.get(token).copied().unwrap_or(UNKNOWN));
        });
    }
}

/// What parts words. Beside what Unicode calls white space these are the four separators of ASCII, as
/// in the reference implementations.
pub(crate) fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{1c}'..='\u{1f}')
}

/// What stands between white space.
pub(crate) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_space).filter(|word| !word.is_empty())
}

/// What sacreBLEU takes for Chinese, as ranges of code points: ideographs, radicals, strokes, phonetic
/// signs, full-width forms, and with them much punctuation and many symbols (from U+2001 on), but no
/// ideographs beyond U+FFFF.
const CHINESE: [(u32, u32); 15] = [
    (0x2001, 0x2a6d),
    (0x2e80, 0x2fdf),
    (0x2ff0, 0x303f),
    (0x3100, 0x312f),
    (0x31a0, 0x31bf),
    (0x31c0, 0x31ef),
    (0x3200, 0x33ff),
    (0x3400, 0x4db5),
    (0x4e00, 0x9fbb),
    (0xf900, 0xfa2d),
    (0xfa30, 0xfa6a),
    (0xfa70, 0xfad9),
    (0xfe10, 0xfe1f),
    (0xfe30, 0xfe4f),
    (0xff00, 0xffef),
];

/// Puts white space around every Chinese character.
fn apart(text: &str) -> String {
    let mut out = String::with_capacity(2 * text.len());
    for c in text.trim_matches(is_space).chars() {
        let code = u32::from(c);
        if CHINESE
            .iter()
            .any(|(from, to)| (*from..=*to).contains(&code))
        {
            out.extend([' ', c, ' ']);
        } else {
            out.push(c);
        }
    }
    out
}

/// What `mteval-v13a` does before it parts words.
fn v13a(text: &str) -> String {
    let text = text
        .trim_end_matches(is_space)
        .replace("<skipped>", "")
        .replace("-\n", "")
        .replace('\n', " ");
    let text = text
        .replace("&quot;", "\"")
        .replace("&amp;", "&")
        .replace("&lt;", "<")
        .replace("&gt;", ">");
    western(&format!(" {text} "))
}

/// Puts white space around what `mteval-v13a` takes for a token of its own.
fn western(text: &str) -> String {
    let digit = |c: char| c.is_ascii_digit();
    let point = |c: char| matches!(c, '.' | ',');
    let mut spaced = String::with_capacity(2 * text.len());
    for c in text.chars() {
        match c {
            '{'..='~' | '['..='`' | ' '..='&' | '('..='+' | ':'..='@' | '/' => {
                spaced.extend([' ', c, ' ']);
            }
            _ => spaced.push(c),
        }
    }
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
    fn chinese_is_parted_character_by_character() {
        // sacrebleu.tokenizers.tokenizer_zh.TokenizerZh, 2.6
        for (text, expected) in [
            ("春眠 abc不觉3.5晓。", "春 眠 abc 不 觉 3.5 晓 。"),
            ("“引用”—a–b", "“ 引 用 ” — a – b"),
            ("ａ１", "ａ １"),
            ("\u{20000}\u{20001}", "\u{20000}\u{20001}"),
            (" .a. ", ". a ."),
        ] {
            assert_eq!(tokens(Tokenize::Zh, text), expected);
        }
        assert_eq!(tokens(Tokenize::None, "a\u{1c}b\u{1f}"), "a b");
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
