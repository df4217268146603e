//! Inputs that tell the pieces of a sequence, disguised tokens, and targets that requests do not have.

use super::*;

/// `<bos> src <sep> tgt <eos>` with the pieces beside it; `tgt` is learnt.
fn typed(max_length: Option<u32>, packable: bool) -> Signature {
    let mut signature = decoder(max_length, packable);
    signature.inputs.push(Input {
        name: "types".into(),
        layout: Layout::Pieces {
            sequence: "tokens".into(),
        },
    });
    signature
}

fn types(collated: &CollatedBatch) -> Vec<Vec<i64>> {
    let array = collated.array("types").unwrap();
    array
        .to_i64()
        .unwrap()
        .chunks(array.shape[1])
        .map(<[i64]>::to_vec)
        .collect()
}

#[test]
fn every_token_knows_its_piece() {
    let texts = |list: &[&str]| {
        list.iter()
            .map(|text| (*text).to_owned())
            .collect::<Vec<_>>()
    };
    let rows = batch(&texts(&["abc", "d"]), &texts(&["ef", "ghij"]));
    let encoded = encode(&typed(None, true), rows.clone()).unwrap();
    let padded = encoded.collate(&[&[0], &[1]], 1, 0).unwrap();
    assert_eq!(
        types(&padded),
        [[0, 1, 1, 1, 2, 3, 3, 4], [0, 1, 2, 3, 3, 3, 3, 4]]
    );
    let packed = encoded.collate(&[&[1, 0]], 4, 0).unwrap();
    assert_eq!(
        types(&packed),
        [[0, 1, 2, 3, 3, 3, 3, 4, 0, 1, 1, 1, 2, 3, 3, 4]]
    );
    let cut = encode(&typed(Some(5), false), rows).unwrap();
    assert_eq!(
        types(&cut.collate(&[&[0], &[1]], 6, 0).unwrap()),
        [[0, 1, 1, 1, 2, 0], [0, 1, 2, 3, 3, 0]]
    );
}

#[test]
fn prompts_know_the_piece_that_is_generated() {
    let signature = typed(None, false);
    let plain = prompt(&signature, &[("src", "abc")]).unwrap();
    assert_eq!(plain.generated_piece, 3);
    let begun = prompt(&signature, &[("src", "a"), ("tgt", "de")]).unwrap();
    assert_eq!(begun.generated_piece, 3);
    let collated = collate_prompts(&[plain, begun], 0, 1).unwrap();
    assert_eq!(types(&collated), [[0, 1, 1, 1, 2], [0, 1, 2, 3, 3]]);
    // What is cut away takes its pieces along.
    let long = prompt(&signature, &[("src", &"abcdefghij".repeat(10))]).unwrap();
    let sequence = &long.sequences[0];
    assert_eq!(sequence.tokens.len(), sequence.pieces.len());
    assert_eq!((sequence.pieces[0], sequence.pieces[62]), (0, 2));
}

#[test]
fn chosen_tokens_are_hidden_replaced_or_kept_in_these_shares() {
    let signature = Signature {
        inputs: vec![
            sequence("tokens", vec![column("src", true)], None, false),
            Input {
                name: "targets".into(),
                layout: Layout::Masked {
                    sequence: "tokens".into(),
                    mask_token: "<mask>".into(),
                    probability: 0.5,
                    replaced: 0.2,
                    kept: 0.3,
                },
            },
        ],
        generation: None,
    };
    let src = texts(3, 3000);
    let encoded = encode(&signature, batch(&src, &src)).unwrap();
    let mask = i64::from(tokenizer().token_to_id("<mask>").unwrap());
    let (mut hidden, mut same, mut other) = (0.0_f64, 0.0_f64, 0.0_f64);
    for row in 0..encoded.len() as u32 {
        let collated = encoded.collate(&[&[row]], 1, 7).unwrap();
        let ids = collated.array("tokens").unwrap().to_i64().unwrap();
        let targets = collated.array("targets").unwrap().to_i64().unwrap();
        for (id, target) in ids.iter().zip(&targets).filter(|(_, t)| **t != IGNORED) {
            match *id {
                id if id == mask => hidden += 1.0,
                id if id == *target => same += 1.0,
                _ => other += 1.0,
            }
        }
    }
    let all = hidden + same + other;
    // A random token is the mask or the token itself now and then.
    let vocabulary = f64::from(tokenizer().vocabulary());
    let shares = [hidden / all, same / all, other / all];
    let expected = [
        0.5 + 0.2 / vocabulary,
        0.3 + 0.2 / vocabulary,
        0.2 * (1.0 - 2.0 / vocabulary),
    ];
    for (share, expected) in shares.into_iter().zip(expected) {
        assert!((share - expected).abs() < 0.015, "{shares:?}");
    }
}

#[test]
fn a_request_is_not_asked_for_targets() {
    let fixed = |column: &str, learnt| Input {
        name: column.into(),
        layout: Layout::Fixed {
            column: column.into(),
            shape: vec![2],
            dtype: DType::F32,
            learnt,
        },
    };
    let signature = Signature {
        inputs: vec![fixed("pixels", false), fixed("classes", true)],
        generation: None,
    };
    let given = BTreeMap::from([("pixels".to_owned(), Given::Numbers(vec![1.0, 2.0]))]);
    let prompt = Prompt::new(&signature, None, &given).unwrap();
    let names: Vec<&str> = prompt.fixed.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(names, ["pixels"]);
    assert!(
        Prompt::new(&signature, None, &BTreeMap::new())
            .unwrap_err()
            .to_string()
            .contains("pixels")
    );
}

#[test]
fn a_sequence_that_is_learnt_as_a_whole_is_a_target() {
    let sequence = |name: &str, learnt| Input {
        name: name.into(),
        layout: Layout::Sequence(SequenceLayout {
            pieces: vec![Piece {
                segment: Segment::Column(name.into()),
                learnt,
            }],
            max_length: None,
            packable: false,
        }),
    };
    let mut signature = Signature {
        inputs: vec![sequence("words", false), sequence("tags", true)],
        generation: None,
    };
    let given = BTreeMap::from([("words".to_owned(), Given::Tokens(vec![7, 8]))]);
    let prompt = Prompt::new(&signature, None, &given).unwrap();
    let names: Vec<&str> = prompt.sequences.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["words"]);
    // Words that may be hidden are learnt too, and read.
    signature.inputs[1] = Input {
        name: "kinds".into(),
        layout: Layout::Pieces {
            sequence: "words".into(),
        },
    };
    signature.inputs[0] = sequence("words", true);
    assert_eq!(
        Prompt::new(&signature, None, &given)
            .unwrap()
            .sequences
            .len(),
        1
    );
}
