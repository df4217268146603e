//! Tokens to text, one at a time.

use tenon_data::Tokenizer;

/// What a decoder writes for bytes that are no character (yet).
const UNKNOWN: char = char::REPLACEMENT_CHARACTER;
/// Unfinished characters that are waited for. A decoder shows the bytes of one unfinished character as
/// one to four of [`UNKNOWN`]: what is further back stays what it is.
const WAITED_FOR: usize = 4;
/// Tokens that are decoded again and again at most, while none of them has a text.
const LONGEST_WINDOW: usize = 16;

/// Decodes a growing sequence. A character may be spread over several tokens, and how a token reads may
/// depend on the one before it (a space between words): so the last tokens are decoded together with
/// what stands before them, and what is new is passed on as soon as it ends with a whole character.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    /// The tokens that are still needed: context, then new ones.
    window: Vec<u32>,
    /// How many of them are context.
    context: usize,
    /// Bytes of the window's text that are passed on already.
    sent: usize,
}

impl Decoder {
    /// Takes the next token and returns the text that is certain now.
    pub(super) fn push(&mut self, tokenizer: &Tokenizer, token: u32) -> tenon_data::Result<String> {
        self.window.push(token);
        let text = tokenizer.decode(&self.window)?;
        let waiting = text.chars().rev().take_while(|&c| c == UNKNOWN).count();
        let end = text.len() - waiting.min(WAITED_FOR) * UNKNOWN.len_utf8();
        let new = self.pass_on(&text, end);
        // A token without a text (a special one) leaves the one before it as the context.
        if waiting == 0 && (!new.is_empty() || self.window.len() > LONGEST_WINDOW) {
            self.window.drain(..self.context);
            self.context = self.window.len();
            self.sent = tokenizer.decode(&self.window)?.len();
        }
        Ok(new)
    }

    /// What was waited for in vain.
    pub(super) fn finish(&mut self, tokenizer: &Tokenizer) -> tenon_data::Result<String> {
        let text = tokenizer.decode(&self.window)?;
        Ok(self.pass_on(&text, text.len()))
    }

    fn pass_on(&mut self, text: &str, end: usize) -> String {
        let new = text.get(self.sent..end).unwrap_or_default().to_owned();
        self.sent = self.sent.max(end);
        new
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tenon_data::{TokenizerKind, TrainOptions};

    use super::*;

    fn tokenizer(kind: TokenizerKind) -> Tokenizer {
        let options = TrainOptions {
            kind,
            vocabulary: 300,
            ..TrainOptions::default()
        };
        let texts = ["春眠不觉晓，处处闻啼鸟。", "hello world"];
        Tokenizer::train(texts.into_iter().map(|text| Ok(text.to_owned())), &options).unwrap()
    }

    fn pieces(tokenizer: &Tokenizer, tokens: &[u32]) -> Vec<String> {
        let mut decoder = Decoder::default();
        let mut pieces: Vec<String> = tokens
            .iter()
            .map(|&token| decoder.push(tokenizer, token).unwrap())
            .collect();
        pieces.push(decoder.finish(tokenizer).unwrap());
        pieces
    }

    #[test]
    fn characters_come_at_once() {
        let tokenizer = tokenizer(TokenizerKind::Char);
        let tokens = tokenizer.encode("春眠hello").unwrap();
        assert_eq!(pieces(&tokenizer, &tokens)[..3], ["春", "眠", "h"]);
    }

    #[test]
    fn a_character_in_several_tokens_comes_when_it_is_whole() {
        let tokenizer = tokenizer(TokenizerKind::Bpe);
        // Not in the training text: three bytes, a token each.
        let tokens = tokenizer.encode("龘x🦀").unwrap();
        assert_eq!(tokens.len(), 8);
        assert_eq!(
            pieces(&tokenizer, &tokens),
            ["", "", "龘", "x", "", "", "", "🦀", ""]
        );
        // Cut in the middle of a character.
        assert_eq!(pieces(&tokenizer, &tokens[..2]), ["", "", "\u{FFFD}"]);
    }

    #[test]
    fn whatever_the_tokens_the_pieces_are_the_whole() {
        for kind in [TokenizerKind::Char, TokenizerKind::Bpe] {
            let tokenizer = tokenizer(kind);
            let vocabulary = u64::from(tokenizer.vocabulary());
            let mut state = 7_u64;
            for length in 0..200 {
                let tokens: Vec<u32> = (0..length)
                    .map(|_| {
                        state = state
                            .wrapping_mul(6_364_136_223_846_793_005)
                            .wrapping_add(1);
                        ((state >> 33) % vocabulary) as u32
                    })
                    .collect();
                assert_eq!(
                    pieces(&tokenizer, &tokens).concat(),
                    tokenizer.decode(&tokens).unwrap(),
                    "{tokens:?}"
                );
            }
        }
    }
}
