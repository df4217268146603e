#![allow(clippy::unwrap_used)]

mod pieces;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use arrow_array::builder::{ListBuilder, UInt32Builder};
use arrow_array::{Array as _, ArrayRef, Int64Array, RecordBatch, StringArray};
use tenon_plugin::recipe::{Generation, Input, Layout, Piece, Segment, SequenceLayout, Signature};
use tenon_tensor::{DType, rng};

use super::*;
use crate::control::Control;
use crate::tokenizer::{Tokenizer, TrainOptions};

fn tokenizer() -> Tokenizer {
    let mut options = TrainOptions::default();
    options.special_tokens.push("<mask>".into());
    Tokenizer::train(std::iter::once(Ok("abcdefghij".to_owned())), &options).unwrap()
}

fn special(token: &str, learnt: bool) -> Piece {
    Piece {
        segment: Segment::Special(token.into()),
        learnt,
    }
}

fn column(name: &str, learnt: bool) -> Piece {
    Piece {
        segment: Segment::Column(name.into()),
        learnt,
    }
}

fn sequence(name: &str, pieces: Vec<Piece>, max_length: Option<u32>, packable: bool) -> Input {
    Input {
        name: name.into(),
        layout: Layout::Sequence(SequenceLayout {
            pieces,
            max_length,
            packable,
        }),
    }
}

fn labels(name: &str, sequence: &str) -> Input {
    Input {
        name: name.into(),
        layout: Layout::NextTokens {
            sequence: sequence.into(),
        },
    }
}

/// `<bos> src <sep> [tgt] [<eos>]`, learnt in brackets, and its labels.
fn decoder(max_length: Option<u32>, packable: bool) -> Signature {
    let pieces = vec![
        special("<bos>", false),
        column("src", false),
        special("<sep>", false),
        column("tgt", true),
        special("<eos>", true),
    ];
    Signature {
        inputs: vec![
            sequence("tokens", pieces, max_length, packable),
            labels("labels", "tokens"),
        ],
        generation: Some(Generation {
            sequence: "tokens".into(),
            logits: "logits".into(),
            stop: vec!["<eos>".into()],
            max_length: Some(64),
        }),
    }
}

/// Random texts of 0 to 12 letters, by a fixed key.
fn texts(key: u64, rows: usize) -> Vec<String> {
    (0..rows as u64)
        .map(|row| {
            let key = rng::derive(key, row);
            let length = rng::bits_at(key, 0) % 13;
            (0..length)
                .map(|at| char::from(b'a' + (rng::bits_at(key, at + 1) % 10) as u8))
                .collect()
        })
        .collect()
}

fn batch(src: &[String], tgt: &[String]) -> RecordBatch {
    let columns: [(&str, ArrayRef); 2] = [
        ("src", Arc::new(StringArray::from(src.to_vec()))),
        ("tgt", Arc::new(StringArray::from(tgt.to_vec()))),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

fn encode(signature: &Signature, batch: RecordBatch) -> crate::Result<EncodedRows> {
    let tokenizer = tokenizer();
    EncodedRows::encode(
        signature,
        Some(&tokenizer),
        std::iter::once(Ok(batch)),
        EncodeOptions::default(),
        &Control::new(),
    )
}

/// A row's tokens and whether they are learnt, written as plainly as can be.
fn naive(src: &str, tgt: &str, max_length: usize) -> Vec<(i64, bool)> {
    let tokenizer = tokenizer();
    let id = |text: &str| i64::from(tokenizer.token_to_id(text).unwrap());
    let mut tokens = vec![(id("<bos>"), false)];
    tokens.extend(src.chars().map(|c| (id(&c.to_string()), false)));
    tokens.push((id("<sep>"), false));
    tokens.extend(tgt.chars().map(|c| (id(&c.to_string()), true)));
    tokens.push((id("<eos>"), true));
    tokens.truncate(max_length);
    tokens
}

#[test]
fn sequences_and_labels_follow_the_contract_padded_and_packed() {
    let (src, tgt) = (texts(1, 500), texts(2, 500));
    for (max_length, packable, pack_tokens, pad_multiple) in [
        (None, false, None, 1),
        (Some(10), false, Some(40), 8),
        (None, true, Some(40), 1),
        (Some(12), true, Some(30), 16),
        (None, true, Some(5), 1),
    ] {
        let rows = Arc::new(encode(&decoder(max_length, packable), batch(&src, &tgt)).unwrap());
        let options = BatchOptions {
            rows: 7,
            pack_tokens,
            pad_multiple: Some(pad_multiple),
            seed: 3,
            ..BatchOptions::default()
        };
        let loader = Loader::new(rows, options).unwrap();
        let mut seen = Vec::new();
        let mut packed_rows = 0;
        for collated in loader.epoch(0) {
            let collated = collated.unwrap();
            let info = &collated.infos[0];
            assert_eq!(
                (info.name.as_str(), info.rows.len()),
                ("tokens", collated.rows)
            );
            assert_eq!(info.tokens % pad_multiple, 0);
            let ids = collated.array("tokens").unwrap();
            let labels = collated.array("labels").unwrap();
            assert_eq!(ids.shape, [collated.rows, info.tokens]);
            assert_eq!(labels.shape, ids.shape);
            let (ids, labels) = (ids.to_i64().unwrap(), labels.to_i64().unwrap());
            let (mut tokens, mut learnt, mut longest) = (0, 0, 1);
            let mut placements = collated.placements.iter();
            for (row, lengths) in info.rows.iter().enumerate() {
                let mut want_ids = Vec::new();
                let mut want_labels = Vec::new();
                for length in lengths {
                    let place = placements.next().unwrap();
                    assert_eq!((place.row, place.starts[0]), (row, want_ids.len()));
                    let document = place.document as usize;
                    seen.push(document);
                    let expected = naive(
                        &src[document],
                        &tgt[document],
                        max_length.map_or(usize::MAX, |m| m as usize),
                    );
                    assert_eq!(expected.len(), *length);
                    for (at, (id, _)) in expected.iter().enumerate() {
                        want_ids.push(*id);
                        want_labels.push(match expected.get(at + 1) {
                            Some((next, true)) => *next,
                            _ => -100,
                        });
                    }
                }
                packed_rows += usize::from(lengths.len() > 1);
                if lengths.len() > 1 {
                    assert!(want_ids.len() <= pack_tokens.unwrap());
                }
                tokens += want_ids.len();
                longest = longest.max(want_ids.len());
                learnt += want_labels.iter().filter(|label| **label != -100).count();
                want_ids.resize(info.tokens, 0);
                want_labels.resize(info.tokens, -100);
                assert_eq!(&ids[row * info.tokens..(row + 1) * info.tokens], want_ids);
                assert_eq!(
                    &labels[row * info.tokens..(row + 1) * info.tokens],
                    want_labels
                );
            }
            assert_eq!((collated.tokens, collated.learnt_tokens), (tokens, learnt));
            assert_eq!(info.tokens, longest.next_multiple_of(pad_multiple));
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..500).collect::<Vec<_>>(), "every row once");
        assert_eq!(packed_rows > 0, packable && pack_tokens > Some(10));
    }
}

#[test]
fn packing_wastes_little() {
    let rows = Arc::new(
        encode(
            &decoder(None, true),
            batch(&texts(5, 3000), &texts(6, 3000)),
        )
        .unwrap(),
    );
    let options = BatchOptions {
        rows: 8,
        pack_tokens: Some(128),
        ..BatchOptions::default()
    };
    let loader = Loader::new(rows, options).unwrap();
    let (mut real, mut padded) = (0, 0);
    for collated in loader.epoch(0) {
        let collated = collated.unwrap();
        real += collated.tokens;
        padded += collated.rows * collated.infos[0].tokens;
    }
    assert!(real as f64 / padded as f64 > 0.95, "{real} of {padded}");
}

#[test]
fn encoder_and_decoder_are_packed_together() {
    let signature = Signature {
        inputs: vec![
            sequence(
                "source",
                vec![column("src", false), special("<eos>", false)],
                None,
                true,
            ),
            sequence(
                "target",
                vec![
                    special("<bos>", false),
                    column("tgt", true),
                    special("<eos>", true),
                ],
                None,
                true,
            ),
            labels("labels", "target"),
        ],
        generation: None,
    };
    let (src, tgt) = (texts(7, 200), texts(8, 200));
    let rows = Arc::new(encode(&signature, batch(&src, &tgt)).unwrap());
    let options = BatchOptions {
        rows: 4,
        pack_tokens: Some(32),
        ..BatchOptions::default()
    };
    for collated in Loader::new(rows, options).unwrap().epoch(2) {
        let collated = collated.unwrap();
        let [source, target] = &collated.infos[..] else {
            panic!()
        };
        assert_eq!(source.rows.len(), target.rows.len());
        for place in &collated.placements {
            let index = collated
                .placements
                .iter()
                .filter(|p| p.row == place.row && p.starts < place.starts)
                .count();
            let document = place.document as usize;
            assert_eq!(source.rows[place.row][index], src[document].len() + 1);
            assert_eq!(target.rows[place.row][index], tgt[document].len() + 2);
        }
        assert!(
            source
                .rows
                .iter()
                .chain(&target.rows)
                .all(|row| row.iter().sum::<usize>() <= 32)
        );
    }
}

#[test]
fn masked_inputs_hide_learnt_tokens_at_the_rate_they_say() {
    let signature = Signature {
        inputs: vec![
            sequence(
                "tokens",
                vec![
                    special("<bos>", false),
                    column("src", true),
                    special("<eos>", false),
                ],
                None,
                false,
            ),
            Input {
                name: "targets".into(),
                layout: Layout::Masked {
                    sequence: "tokens".into(),
                    mask_token: "<mask>".into(),
                    probability: 0.15,
                    replaced: 0.0,
                    kept: 0.0,
                },
            },
        ],
        generation: None,
    };
    let src = texts(9, 4000);
    let rows = Arc::new(encode(&signature, batch(&src, &src)).unwrap());
    let options = BatchOptions {
        rows: 16,
        seed: 5,
        ..BatchOptions::default()
    };
    let loader = Loader::new(rows, options).unwrap();
    let tokenizer = tokenizer();
    let mask = i64::from(tokenizer.token_to_id("<mask>").unwrap());
    let (mut hidden, mut all) = (0, 0);
    for collated in loader.epoch(0) {
        let collated = collated.unwrap();
        let width = collated.infos[0].tokens;
        let ids = collated.array("tokens").unwrap().to_i64().unwrap();
        let targets = collated.array("targets").unwrap().to_i64().unwrap();
        let masked = collated.array("targets.mask").unwrap();
        assert_eq!(
            (masked.dtype, &masked.shape),
            (DType::F32, &collated.array("targets").unwrap().shape)
        );
        let masked = masked.to_f32().unwrap();
        let names: Vec<_> = collated
            .arrays
            .iter()
            .map(|array| array.name.as_str())
            .collect();
        assert_eq!(names, ["tokens", "targets", "targets.mask"]);
        for place in &collated.placements {
            let text = &src[place.document as usize];
            all += text.len();
            for at in 0..width {
                let index = place.row * width + at;
                let original = match at.checked_sub(1).and_then(|at| text.get(at..=at)) {
                    Some(letter) => i64::from(tokenizer.token_to_id(letter).unwrap()),
                    None if at == 0 => 2,
                    None if at == text.len() + 1 => 4,
                    None => 0,
                };
                let learnt = (1..=text.len()).contains(&at);
                if masked[index] == 1.0 {
                    assert!(learnt);
                    assert_eq!((ids[index], targets[index]), (mask, original));
                } else {
                    assert_eq!(
                        (ids[index], targets[index], masked[index]),
                        (original, -100, 0.0)
                    );
                }
            }
        }
        hidden += collated.learnt_tokens;
    }
    let rate = hidden as f64 / all as f64;
    assert!((rate - 0.15).abs() < 0.01, "{rate}");
    // The same epoch hides the same tokens, another epoch others.
    let first = |epoch| loader.epoch(epoch).next().unwrap().unwrap();
    assert_eq!(first(0), first(0));
    let by_document = |epoch| -> BTreeMap<u32, Vec<bool>> {
        let mut hidden = BTreeMap::new();
        for collated in loader.epoch(epoch) {
            let collated = collated.unwrap();
            let width = collated.infos[0].tokens;
            let masked = collated.array("targets.mask").unwrap().to_f32().unwrap();
            for place in &collated.placements {
                let row = &masked[place.row * width..(place.row + 1) * width];
                let length = collated.infos[0].rows[place.row][0];
                hidden.insert(
                    place.document,
                    row[..length].iter().map(|m| *m == 1.0).collect(),
                );
            }
        }
        hidden
    };
    assert_ne!(by_document(0), by_document(1));
}

#[test]
fn every_epoch_has_another_order_and_any_position_can_be_resumed() {
    let rows =
        Arc::new(encode(&decoder(None, true), batch(&texts(1, 100), &texts(2, 100))).unwrap());
    for (pack_tokens, bucket_batches) in [(None, 0), (None, 4), (Some(50), 0)] {
        let options = BatchOptions {
            rows: 8,
            seed: 11,
            pack_tokens,
            bucket_batches,
            ..BatchOptions::default()
        };
        let mut loader = Loader::new(Arc::clone(&rows), options.clone()).unwrap();
        let mut positions = Vec::new();
        let mut batches = Vec::new();
        while loader.position().epoch < 3 {
            positions.push(loader.position());
            batches.push(loader.next_batch().unwrap());
        }
        for at in [0, 1, batches.len() / 2, batches.len() - 1] {
            let mut resumed = Loader::new(Arc::clone(&rows), options.clone()).unwrap();
            // As it is kept in a checkpoint.
            let kept = serde_json::to_string(&positions[at]).unwrap();
            resumed.seek(serde_json::from_str(&kept).unwrap()).unwrap();
            for batch in &batches[at..] {
                assert_eq!(resumed.next_batch().unwrap(), *batch);
            }
        }
        let order = |epoch| -> Vec<u32> {
            loader
                .epoch(epoch)
                .flat_map(|batch| batch.unwrap().placements.into_iter().map(|p| p.document))
                .collect()
        };
        assert_ne!(order(0), order(1));
        assert_ne!(order(0), (0..100).collect::<Vec<_>>());
        let other = Loader::new(
            Arc::clone(&rows),
            BatchOptions {
                seed: 12,
                ..options
            },
        )
        .unwrap();
        assert_ne!(
            order(0),
            other
                .epoch(0)
                .flat_map(|b| b.unwrap().placements)
                .map(|p| p.document)
                .collect::<Vec<_>>()
        );
        assert!(
            loader
                .seek(Position {
                    epoch: 0,
                    batch: 1000
                })
                .unwrap_err()
                .to_string()
                .contains("other data or options")
        );
    }
}

#[test]
fn unshuffled_batches_keep_the_order_and_buckets_save_padding() {
    let rows = Arc::new(
        encode(
            &decoder(None, false),
            batch(&texts(1, 1000), &texts(2, 1000)),
        )
        .unwrap(),
    );
    let padded = |options: BatchOptions| -> (Vec<u32>, usize) {
        let loader = Loader::new(Arc::clone(&rows), options).unwrap();
        let batches: Vec<_> = loader.epoch(0).map(Result::unwrap).collect();
        let order = batches
            .iter()
            .flat_map(|batch| batch.placements.iter().map(|p| p.document))
            .collect();
        (
            order,
            batches
                .iter()
                .map(|batch| batch.rows * batch.infos[0].tokens)
                .sum(),
        )
    };
    let plain = BatchOptions {
        rows: 16,
        shuffle: false,
        ..BatchOptions::default()
    };
    let (order, whole) = padded(plain.clone());
    assert_eq!(order, (0..1000).collect::<Vec<_>>());
    let (mut order, bucketed) = padded(BatchOptions {
        bucket_batches: 16,
        ..plain.clone()
    });
    order.sort_unstable();
    assert_eq!(order, (0..1000).collect::<Vec<_>>());
    assert!(
        (bucketed as f64) < 0.85 * whole as f64,
        "{bucketed} of {whole}"
    );
    let (order, _) = padded(BatchOptions {
        rows: 300,
        drop_last: true,
        ..plain
    });
    assert_eq!(order.len(), 900);
}

#[test]
fn a_shuffle_is_fair() {
    // Where row 0 of 5 goes, over many epochs: each place a fifth of the time.
    let rows = Arc::new(encode(&decoder(None, false), batch(&texts(1, 5), &texts(2, 5))).unwrap());
    let loader = Loader::new(
        rows,
        BatchOptions {
            rows: 5,
            ..BatchOptions::default()
        },
    )
    .unwrap();
    let mut places = [0_u32; 5];
    for epoch in 0..5000 {
        let batch = loader.epoch(epoch).next().unwrap().unwrap();
        places[batch
            .placements
            .iter()
            .position(|p| p.document == 0)
            .unwrap()] += 1;
    }
    assert!(
        places.iter().all(|count| (850..1150).contains(count)),
        "{places:?}"
    );
}

fn list(rows: &[&[u32]]) -> ArrayRef {
    let mut builder = ListBuilder::new(UInt32Builder::new())
        .with_field(crate::schema::item(arrow_schema::DataType::UInt32));
    for row in rows {
        builder.values().append_slice(row);
        builder.append(true);
    }
    Arc::new(builder.finish()) as ArrayRef
}

#[test]
fn fixed_inputs_take_numbers_of_their_shape_and_type() {
    let fixed = |column: &str, shape: &[usize], dtype| Input {
        name: format!("{column}_in"),
        layout: Layout::Fixed {
            column: column.into(),
            shape: shape.to_vec(),
            dtype,
            learnt: false,
        },
    };
    let signature = Signature {
        inputs: vec![
            fixed("pixels", &[2, 2], DType::F32),
            fixed("label", &[], DType::I64),
        ],
        generation: None,
    };
    let make = |pixels: &[&[u32]]| {
        let labels: ArrayRef = Arc::new(Int64Array::from_iter_values(0..pixels.len() as i64));
        RecordBatch::try_from_iter([("pixels", list(pixels)), ("label", labels)]).unwrap()
    };
    let encode = |batch| {
        EncodedRows::encode(
            &signature,
            None,
            std::iter::once(Ok(batch)),
            EncodeOptions::default(),
            &Control::new(),
        )
    };
    let rows = encode(make(&[&[1, 2, 3, 4], &[5, 6, 7, 8], &[9, 10, 11, 12]])).unwrap();
    let collated = rows.collate(&[&[2], &[0]], 1, 0).unwrap();
    let pixels = collated.array("pixels_in").unwrap();
    assert_eq!(pixels.shape, [2, 2, 2]);
    assert_eq!(
        pixels.to_f32().unwrap(),
        [9.0, 10.0, 11.0, 12.0, 1.0, 2.0, 3.0, 4.0]
    );
    let label = collated.array("label_in").unwrap();
    assert_eq!(
        (label.shape.as_slice(), label.to_i64().unwrap()),
        (&[2][..], vec![2, 0])
    );
    assert!(!rows.is_packable());
    let error = encode(make(&[&[1, 2, 3, 4], &[1]]))
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "row 1: column `pixels` has 1 numbers, the recipe wants 4"
    );
}

#[test]
fn ids_are_taken_as_they_are() {
    let signature = Signature {
        inputs: vec![sequence(
            "tokens",
            vec![special("<bos>", false), column("ids", true)],
            Some(4),
            false,
        )],
        generation: None,
    };
    let batch = |rows: &[&[u32]]| RecordBatch::try_from_iter([("ids", list(rows))]).unwrap();
    let rows = encode(&signature, batch(&[&[7, 8], &[], &[6, 6, 6, 6]])).unwrap();
    let ids = |row| {
        rows.row("tokens", row)
            .unwrap()
            .iter()
            .map(|token| token.id())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        [ids(0), ids(1), ids(2)],
        [vec![2, 7, 8], vec![2], vec![2, 6, 6, 6]]
    );
    assert_eq!((rows.cut(), rows.tokens()), (1, 8));
    let first = rows.row("tokens", 0).unwrap();
    assert!(
        first[0].is_special()
            && !first[0].is_learnt()
            && first[1].is_learnt()
            && !first[1].is_special()
    );
    let error = encode(&signature, batch(&[&[7], &[500]]))
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "row 1: column `ids` holds token 500; the vocabulary has 16"
    );
}

#[test]
fn mistakes_are_named() {
    let signature = decoder(None, false);
    let only_src =
        RecordBatch::try_from_iter([("src", Arc::new(StringArray::from(vec!["a"])) as ArrayRef)])
            .unwrap();
    let error = encode(&signature, only_src).unwrap_err().to_string();
    assert!(error.contains("input `tokens` of the recipe is made from column `tgt`, which is not there; there are `src`"), "{error}");
    let columns: [(&str, ArrayRef); 2] = [
        ("src", Arc::new(StringArray::from(vec![Some("a"), None]))),
        ("tgt", Arc::new(StringArray::from(vec!["a", "b"]))),
    ];
    let error = encode(&signature, RecordBatch::try_from_iter(columns).unwrap())
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("row 1: column `src` has no value"),
        "{error}"
    );
    let error = EncodedRows::encode(
        &signature,
        None,
        std::iter::once(Ok(batch(&texts(1, 1), &texts(1, 1)))),
        EncodeOptions::default(),
        &Control::new(),
    );
    assert!(error.unwrap_err().to_string().contains("needs a tokenizer"));
    let rows = encode(&signature, batch(&texts(1, 3), &texts(2, 3))).unwrap();
    assert!(
        rows.collate(&[&[0, 1]], 1, 0)
            .unwrap_err()
            .to_string()
            .contains("exactly one row")
    );
    assert!(
        rows.collate(&[&[3]], 1, 0)
            .unwrap_err()
            .to_string()
            .contains("there is no row 3 of 3")
    );
    let none = encode(&signature, batch(&[], &[])).unwrap();
    assert!(Loader::new(Arc::new(none), BatchOptions::default()).is_err());
}

#[test]
fn lists_of_other_offsets_are_read_right() {
    // A slice of a list array: offsets do not begin at 0.
    let whole = list(&[&[1, 2], &[6, 7], &[8]]);
    let slice = whole.slice(1, 2);
    let batch = RecordBatch::try_from_iter([("ids", slice)]).unwrap();
    let signature = Signature {
        inputs: vec![sequence("tokens", vec![column("ids", true)], None, false)],
        generation: None,
    };
    let rows = encode(&signature, batch).unwrap();
    let ids: HashSet<u32> = rows
        .row("tokens", 0)
        .unwrap()
        .iter()
        .map(|token| token.id())
        .collect();
    assert_eq!(ids, HashSet::from([6, 7]));
}

fn prompt(signature: &Signature, given: &[(&str, &str)]) -> crate::Result<Prompt> {
    let given = given
        .iter()
        .map(|(name, text)| ((*name).to_owned(), Given::Text((*text).to_owned())))
        .collect();
    Prompt::new(signature, Some(&tokenizer()), &given)
}

#[test]
fn a_prompt_ends_where_generation_starts() {
    let signature = decoder(None, false);
    let tokenizer = tokenizer();
    let shown = |prompt: &Prompt| {
        tokenizer
            .decode_with_special(&prompt.sequences[0].tokens)
            .unwrap()
    };
    let plain = prompt(&signature, &[("src", "abc")]).unwrap();
    assert_eq!(
        (
            shown(&plain).as_str(),
            plain.grows,
            plain.max_length,
            plain.cut
        ),
        ("<bos>abc<sep>", Some(0), Some(64), 0)
    );
    let begun = prompt(&signature, &[("src", "abc"), ("tgt", "de")]).unwrap();
    assert_eq!(shown(&begun), "<bos>abc<sep>de");
    let error = prompt(&signature, &[("tgt", "de")])
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "input `tokens` of the recipe needs column `src`; given are `tgt`"
    );
    // Leading special tokens stay, the oldest others go; one place is left for a token.
    let long = prompt(&signature, &[("src", &"abcdefghij".repeat(10))]).unwrap();
    assert_eq!((long.sequences[0].tokens.len(), long.cut), (63, 102 - 63));
    assert!(shown(&long).starts_with("<bos>") && shown(&long).ends_with("hij<sep>"));

    let poems = Signature {
        inputs: vec![sequence(
            "tokens",
            vec![
                special("<bos>", false),
                column("text", true),
                special("<eos>", true),
            ],
            Some(8),
            true,
        )],
        generation: Some(Generation {
            sequence: "tokens".into(),
            logits: "logits".into(),
            stop: vec![],
            max_length: None,
        }),
    };
    assert_eq!(shown(&prompt(&poems, &[]).unwrap()), "<bos>");
    assert_eq!(
        shown(&prompt(&poems, &[("text", "ab")]).unwrap()),
        "<bos>ab"
    );

    let palm = Signature {
        inputs: vec![
            sequence(
                "source",
                vec![column("src", false), special("<eos>", false)],
                Some(4),
                false,
            ),
            sequence(
                "target",
                vec![
                    special("<bos>", false),
                    column("tgt", true),
                    special("<eos>", true),
                ],
                None,
                false,
            ),
        ],
        generation: Some(Generation {
            sequence: "target".into(),
            logits: "logits".into(),
            stop: vec![],
            max_length: None,
        }),
    };
    let both = prompt(&palm, &[("src", "abcdef")]).unwrap();
    assert_eq!(
        tokenizer
            .decode_with_special(&both.sequences[0].tokens)
            .unwrap(),
        "abcd"
    );
    assert_eq!(both.sequences[1].tokens, [2]);
    assert_eq!(both.grows, Some(1));
    let short = prompt(&palm, &[("src", "a"), ("tgt", "bc")]).unwrap();
    let collated = collate_prompts(&[both, short], 0, 1).unwrap();
    assert_eq!(collated.infos[0].rows, [vec![4], vec![2]]);
    assert_eq!(collated.infos[1].rows, [vec![1], vec![3]]);
    assert_eq!(
        collated.array("target").unwrap().to_i64().unwrap()[..4],
        [2, 0, 0, 2]
    );
}

#[test]
fn pairs_stand_in_one_batch_in_the_same_order() {
    let (src, better, worse) = (texts(1, 50), texts(2, 50), texts(3, 50));
    let read = |answers: &[String]| encode(&decoder(None, true), batch(&src, answers)).unwrap();
    let rows = read(&better).paired(read(&worse)).unwrap();
    assert!(rows.is_paired() && !rows.is_packable());
    assert_eq!((rows.len(), rows.units()), (100, 50));
    let all = Arc::new(rows);
    let options = BatchOptions {
        rows: 7,
        bucket_batches: 2,
        // Pairs share no row with others.
        pack_tokens: Some(64),
        ..BatchOptions::default()
    };
    let loader = Loader::new(all.clone(), options).unwrap();
    let mut seen = Vec::new();
    for collated in loader.epoch(3) {
        let collated = collated.unwrap();
        let documents: Vec<u32> = collated
            .placements
            .iter()
            .map(|place| place.document)
            .collect();
        let (first, second) = documents.split_at(collated.rows / 2);
        assert!(first.len() <= 7 && first.iter().zip(second).all(|(a, b)| a + 50 == *b));
        for (row, document) in documents.iter().enumerate() {
            let place = *document as usize;
            let (answers, at) = if place < 50 {
                (&better, place)
            } else {
                (&worse, place - 50)
            };
            let expected: Vec<i64> = naive(&src[at], &answers[at], usize::MAX)
                .iter()
                .map(|(id, _)| *id)
                .collect();
            let ids = collated.array("tokens").unwrap().to_i64().unwrap();
            let width = collated.infos[0].tokens;
            assert_eq!(ids[row * width..][..expected.len()], expected);
        }
        seen.extend_from_slice(first);
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..50).collect::<Vec<u32>>());
    let other = encode(&decoder(None, true), batch(&src[..9], &worse[..9])).unwrap();
    assert!(
        read(&better)
            .paired(other)
            .unwrap_err()
            .to_string()
            .contains("50 and 9 rows")
    );
}
