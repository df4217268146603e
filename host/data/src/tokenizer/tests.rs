#![allow(clippy::unwrap_used)]

use super::*;

fn trained(kind: TokenizerKind, vocabulary: u32, texts: &[&str]) -> Tokenizer {
    let options = TrainOptions {
        kind,
        vocabulary,
        ..TrainOptions::default()
    };
    Tokenizer::train(texts.iter().map(|text| Ok((*text).to_owned())), &options).unwrap()
}

const TEXTS: [&str; 4] = [
    "春眠不觉晓",
    "处处闻啼鸟",
    "hello  world, hello\n",
    "a 𠀀 e\u{301} 🙂<eos>",
];

#[test]
fn characters_are_exact_and_unknown_ones_become_unk() {
    let tokenizer = trained(TokenizerKind::Char, 1000, &TEXTS);
    assert_eq!(
        ["<pad>", "<unk>", "<bos>", "<sep>", "<eos>"]
            .map(|token| tokenizer.special_id(token).unwrap()),
        [0, 1, 2, 3, 4]
    );
    assert_eq!(
        tokenizer.special_tokens(),
        ["<pad>", "<unk>", "<bos>", "<sep>", "<eos>"]
    );
    for text in TEXTS {
        let ids = tokenizer.encode(text).unwrap();
        assert_eq!(ids.len(), text.chars().count());
        assert_eq!(tokenizer.decode(&ids).unwrap(), text);
        // Text never becomes a control token.
        assert!(ids.iter().all(|id| *id > 4));
        // The quick way does what the library does.
        let library = tokenizer.inner.library.encode_fast(text, false).unwrap();
        assert_eq!(library.get_ids(), ids);
    }
    assert!(tokenizer.inner.characters.is_some());
    assert_eq!(tokenizer.encode("春x").unwrap()[1], 1);
    assert_eq!(
        tokenizer
            .inner
            .library
            .encode_fast("春x", false)
            .unwrap()
            .get_ids()[1],
        1
    );
    assert_eq!(
        tokenizer
            .decode(&[2, tokenizer.token_to_id("春").unwrap(), 4])
            .unwrap(),
        "春"
    );
    assert_eq!(
        tokenizer.decode_with_special(&[2, 4]).unwrap(),
        "<bos><eos>"
    );
    assert!(
        tokenizer
            .decode(&[99_999])
            .unwrap_err()
            .to_string()
            .contains("there is no token 99999")
    );
    assert!(
        tokenizer
            .special_id("<mask>")
            .unwrap_err()
            .to_string()
            .contains("has no token `<mask>`")
    );
}

#[test]
fn the_most_frequent_characters_are_kept() {
    // b thrice, a and c twice, d once.
    let tokenizer = trained(TokenizerKind::Char, 8, &["bbb", "caac", "d"]);
    assert_eq!(tokenizer.vocabulary(), 8);
    let ids = ["b", "a", "c", "d"].map(|text| tokenizer.encode(text).unwrap()[0]);
    assert_eq!(ids, [5, 6, 7, 1]);
}

#[test]
fn bytes_are_exact_whatever_the_text() {
    let tokenizer = trained(
        TokenizerKind::Bpe,
        300,
        &["hello world", "hello there", "春眠"],
    );
    assert_eq!(tokenizer.special_id("<eos>").unwrap(), 4);
    assert!(tokenizer.vocabulary() <= 300);
    for text in TEXTS.iter().copied().chain(["\u{0}\u{7f}ÿ", ""]) {
        let ids = tokenizer.encode(text).unwrap();
        assert_eq!(tokenizer.decode(&ids).unwrap(), text);
        let bytes: Vec<u8> = ids
            .iter()
            .flat_map(|id| tokenizer.token_bytes(*id).to_vec())
            .collect();
        assert_eq!(bytes, text.as_bytes(), "the table spells the text");
    }
    assert!(
        tokenizer.encode("hello").unwrap().len() < 5,
        "something was merged"
    );
}

#[test]
fn training_is_deterministic() {
    let texts: Vec<String> = (0..2000)
        .map(|n| format!("row {} of {}", n * 7919 % 1000, n % 13))
        .collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    for kind in [TokenizerKind::Char, TokenizerKind::Bpe] {
        let digests: std::collections::HashSet<_> = (0..4)
            .map(|_| trained(kind, 400, &texts).digest())
            .collect();
        assert_eq!(digests.len(), 1, "{kind:?}");
    }
}

#[test]
fn the_table_spells_every_token() {
    let tokenizer = trained(TokenizerKind::Char, 1000, &TEXTS);
    let table = TokenizerSource::vocabulary(&tokenizer);
    assert_eq!(table.offsets.len() as u32, tokenizer.vocabulary() + 1);
    assert_eq!(table.special, [0, 1, 2, 3, 4]);
    for id in 0..tokenizer.vocabulary() {
        let token = tokenizer.inner.library.id_to_token(id).unwrap();
        assert_eq!(tokenizer.token_bytes(id), token.as_bytes());
    }
    assert_eq!(tokenizer.token_bytes(99_999), b"");
}

#[test]
fn foreign_spellings_become_bytes() {
    let json = |decoder: serde_json::Value, vocab: serde_json::Value| {
        let description = serde_json::json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
            "normalizer": null, "pre_tokenizer": null, "post_processor": null, "decoder": decoder,
            "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "x"},
        });
        Tokenizer::from_json(description.to_string().as_bytes()).unwrap()
    };
    let sentence = json(
        serde_json::json!({"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"},
        ]}),
        serde_json::json!({"x": 0, "▁the": 1, "<0x0A>": 2}),
    );
    assert_eq!(sentence.token_bytes(1), b" the");
    assert_eq!(sentence.token_bytes(2), b"\n");
    let pieces = json(
        serde_json::json!({"type": "WordPiece", "prefix": "##", "cleanup": true}),
        serde_json::json!({"x": 0, "##ing": 1, "do": 2}),
    );
    assert_eq!(
        (pieces.token_bytes(1), pieces.token_bytes(2)),
        (&b"ing"[..], &b"do"[..])
    );
}

#[test]
fn mistakes_are_named() {
    let bad = |change: fn(&mut TrainOptions)| {
        let mut options = TrainOptions::default();
        change(&mut options);
        Tokenizer::train(std::iter::once(Ok("a".to_owned())), &options)
            .unwrap_err()
            .to_string()
    };
    assert!(bad(|o| o.vocabulary = 5).contains("too small"));
    assert!(bad(|o| o.special_tokens[0] = "x".into()).contains("at least two characters"));
    assert!(bad(|o| o.special_tokens[0] = "<eos>".into()).contains("is given twice"));
    assert!(
        bad(|o| o.unknown_token = "[UNK]".into()).contains("must be one of the special tokens")
    );
    assert!(
        Tokenizer::from_json(b"{}")
            .unwrap_err()
            .to_string()
            .contains("no tokenizer.json")
    );
    let broken = [Ok("a".to_owned()), Err(()), Ok("b".to_owned())];
    for kind in [TokenizerKind::Char, TokenizerKind::Bpe] {
        let options = TrainOptions {
            kind,
            ..TrainOptions::default()
        };
        let texts = broken
            .iter()
            .map(|text| text.clone().map_err(|()| DataError::Cancelled));
        assert!(matches!(
            Tokenizer::train(texts, &options),
            Err(DataError::Cancelled)
        ));
    }
}
