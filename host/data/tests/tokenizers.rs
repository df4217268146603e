//! Tokenizers kept in the store, and read by Hugging Face's own library.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{place, python, run};
use serde_json::Value;
use tenon_data::{Control, TokenizerKind, Tokenizers, TrainOptions};

const ROWS: &str = "{\"a\": \"春眠不觉晓\", \"b\": \"hello world\", \"n\": 1}\n{\"a\": null, \"b\": \"hello there\", \"n\": 2}\n";

#[test]
fn tokenizers_are_trained_from_columns_and_kept_by_version() {
    let place = place();
    place.import("d", "x.jsonl", ROWS);
    let tokenizers = Tokenizers::new(&place.store);
    let train = |columns: &[&str], options: &TrainOptions| {
        let columns: Vec<String> = columns.iter().map(|c| (*c).to_owned()).collect();
        tokenizers.train("t", "d", &columns, options, &Control::new())
    };
    let options = TrainOptions::default();
    let (tokenizer, record) = train(&["a"], &options).unwrap();
    assert_eq!((record.version, record.vocabulary), (1, 10));
    assert_eq!(record.digest, tokenizer.digest());
    assert_eq!(record.trained_on.as_ref().unwrap().dataset, "d@1");
    let (_, again) = train(&["a"], &options).unwrap();
    assert_eq!(again.version, 1, "the same tokenizer is the same version");
    let (_, both) = train(&["a", "b"], &options).unwrap();
    assert_eq!(both.version, 2);
    assert_eq!(tokenizers.get("t").unwrap(), both);
    assert_eq!(tokenizers.load("t@1").unwrap().json(), tokenizer.json());
    assert_eq!(
        tokenizers
            .load(&format!("t@{}", &record.digest[7..19]))
            .unwrap()
            .digest(),
        record.digest
    );
    assert_eq!(
        tokenizers.load_blob(&record.digest).unwrap().vocabulary(),
        10
    );
    let (_, imported) = tokenizers.import("u", tokenizer.json()).unwrap();
    assert_eq!((imported.kind, imported.digest), (None, record.digest));
    assert_eq!(tokenizers.list().unwrap().len(), 3);
    assert_eq!(tokenizers.live_blobs().unwrap().len(), 2);
    tokenizers.delete("u").unwrap();
    assert!(tokenizers.get("u").unwrap_err().is_not_found());
    for (columns, message) in [
        (&["z"][..], "d@1 has no column `z`; it has `a`, `b`, `n`"),
        (
            &["n"],
            "column `n` of d@1 is int64; a tokenizer is trained on utf8",
        ),
        (&[], "name at least one column"),
    ] {
        let error = train(columns, &options).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn hugging_face_reads_what_we_write() {
    let Some(python) = python("tokenizers") else {
        return;
    };
    let place = place();
    place.import("d", "x.jsonl", ROWS);
    let tokenizers = Tokenizers::new(&place.store);
    for (kind, vocabulary) in [(TokenizerKind::Char, 100), (TokenizerKind::Bpe, 280)] {
        let options = TrainOptions {
            kind,
            vocabulary,
            ..TrainOptions::default()
        };
        let columns = ["a".to_owned(), "b".to_owned()];
        let (tokenizer, _) = tokenizers
            .train("t", "d", &columns, &options, &Control::new())
            .unwrap();
        let path = place.folder.path().join("tokenizer.json");
        std::fs::write(&path, tokenizer.json()).unwrap();
        let text = "hello 春眠 Z world";
        let script = r#"
import tokenizers, sys, json
t = tokenizers.Tokenizer.from_file(sys.argv[1])
ids = t.encode(sys.argv[2]).ids
print(json.dumps([ids, t.decode(ids), t.get_vocab_size(), t.token_to_id("<sep>")]))
"#;
        let found: Value =
            serde_json::from_str(&run(&python, script, &[path.to_str().unwrap(), text])).unwrap();
        let ids = tokenizer.encode(text).unwrap();
        assert_eq!(found[0], Value::from(ids.clone()));
        assert_eq!(found[1], tokenizer.decode(&ids).unwrap());
        assert_eq!(found[2], tokenizer.vocabulary());
        assert_eq!(found[3], 3);
    }
}
