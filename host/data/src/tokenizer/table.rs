//! The bytes that each token stands for.

use std::collections::HashMap;

use serde_json::Value;
use tenon_plugin::TokenTable;

/// How a tokenizer writes bytes in its tokens.
struct Spelling {
    /// GPT-2's alphabet: one printable character for each byte.
    byte_level: Option<HashMap<char, u8>>,
    /// `▁` for a space (SentencePiece).
    metaspace: bool,
    /// `<0x0A>` for a byte without a token of its own.
    byte_fallback: bool,
    /// `##` before what continues a word (BERT).
    continuing: Option<String>,
}

pub(super) fn table(
    library: &tokenizers::Tokenizer,
    description: &Value,
    vocabulary: u32,
    special: &[bool],
) -> TokenTable {
    let spelling = Spelling::of(description);
    let mut table = TokenTable {
        text: Vec::new(),
        offsets: vec![0],
        special: Vec::new(),
    };
    for id in 0..vocabulary {
        let token = library.id_to_token(id).unwrap_or_default();
        if special.get(id as usize).copied().unwrap_or(false) {
            table.special.push(id);
            table.text.extend_from_slice(token.as_bytes());
        } else {
            spelling.bytes(&token, &mut table.text);
        }
        table.offsets.push(table.text.len() as u32);
    }
    table
}

impl Spelling {
    fn of(description: &Value) -> Self {
        let decoders = decoders(&description["decoder"]);
        let has = |name: &str| decoders.iter().any(|decoder| decoder["type"] == name);
        let replaces = decoders
            .iter()
            .any(|decoder| decoder["type"] == "Replace" && decoder["pattern"]["String"] == "▁");
        Self {
            byte_level: has("ByteLevel").then(byte_alphabet),
            metaspace: has("Metaspace") || replaces,
            byte_fallback: has("ByteFallback"),
            continuing: has("WordPiece").then(|| {
                let prefix = description["model"]["continuing_subword_prefix"].as_str();
                prefix.unwrap_or("##").to_owned()
            }),
        }
    }

    fn bytes(&self, token: &str, out: &mut Vec<u8>) {
        if let Some(alphabet) = &self.byte_level {
            let start = out.len();
            for character in token.chars() {
                match alphabet.get(&character) {
                    Some(byte) => out.push(*byte),
                    None => {
                        // Not written in the alphabet after all (an added token): its own text.
                        out.truncate(start);
                        out.extend_from_slice(token.as_bytes());
                        return;
                    }
                }
            }
            return;
        }
        if self.byte_fallback
            && let Some(hex) = token
                .strip_prefix("<0x")
                .and_then(|rest| rest.strip_suffix('>'))
            && let Ok(byte) = u8::from_str_radix(hex, 16)
        {
            out.push(byte);
            return;
        }
        let token = match &self.continuing {
            Some(prefix) => token.strip_prefix(prefix.as_str()).unwrap_or(token),
            None => token,
        };
        if self.metaspace {
            out.extend_from_slice(token.replace('▁', " ").as_bytes());
        } else {
            out.extend_from_slice(token.as_bytes());
        }
    }
}

/// The decoder, or those that a sequence of decoders holds.
fn decoders(decoder: &Value) -> Vec<&Value> {
    match decoder["decoders"].as_array() {
        Some(inner) => inner.iter().flat_map(decoders).collect(),
        None => vec![decoder],
    }
}

/// GPT-2's `bytes_to_unicode`, the other way round: printable bytes stand for themselves, the others
/// for the characters from U+0100 on.
fn byte_alphabet() -> HashMap<char, u8> {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let mut next = 0x100;
    let mut alphabet = HashMap::with_capacity(256);
    for byte in 0..=u8::MAX {
        if printable(byte) {
            alphabet.insert(char::from(byte), byte);
        } else {
            if let Some(character) = char::from_u32(next) {
                alphabet.insert(character, byte);
            }
            next += 1;
        }
    }
    alphabet
}
