//! Generation with a small GPT: what the cache, the batch and the order of arrival must not change.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::collections::BTreeMap;

use serde_json::json;
use support::{Place, characters, gpt, place, prompt};
use tenon_data::collate::{EncodeOptions, EncodedRows, Prompt};
use tenon_model::{Candidate, Engine, Event, Finish, Model, ModelError, Settings};
use tenon_plugin::batch::{Batch, Column, ColumnType};
use tenon_tensor::DType;

const TEXT: &str = "床前明月光疑是地上霜举头望低思故乡";
const PROMPTS: [&str; 5] = ["床", "举头望明月", "霜上地", "明月光疑是地上霜举头", "思"];

fn model(place: &Place) -> Model {
    place.model("recipe-gpt", &gpt(24), Some(characters(TEXT)), 8.0)
}

fn greedy(most: usize) -> Settings {
    Settings {
        max_tokens: Some(most),
        ..Settings::default()
    }
}

/// All prompts' results together.
fn together(model: &mut Model, settings: &[Settings]) -> BTreeMap<u64, Vec<Candidate>> {
    let prompts: Vec<Prompt> = PROMPTS
        .iter()
        .map(|text| prompt(model, "text", text))
        .collect();
    let mut engine = Engine::new(model).unwrap();
    for ((id, prompt), settings) in (0..).zip(prompts).zip(settings) {
        engine
            .admit(id, prompt, settings.clone(), Vec::new())
            .unwrap();
    }
    engine.run(None).unwrap().into_iter().collect()
}

fn alone(model: &mut Model, text: &str, settings: &Settings) -> Vec<Candidate> {
    let prompt = prompt(model, "text", text);
    let mut engine = Engine::new(model).unwrap();
    engine
        .admit(0, prompt, settings.clone(), Vec::new())
        .unwrap();
    engine.run(None).unwrap().remove(0).1
}

fn same(found: &[Candidate], expected: &[Candidate]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found.tokens, expected.tokens);
        assert_eq!(
            (&found.text, found.finish),
            (&expected.text, expected.finish)
        );
        assert!((found.log_probability - expected.log_probability).abs() < 1e-3);
    }
}

fn texts(column: &str, rows: &[&str]) -> Batch {
    let mut offsets = vec![0_u32];
    let mut values = Vec::new();
    for row in rows {
        values.extend_from_slice(row.as_bytes());
        offsets.push(values.len() as u32);
    }
    Batch {
        rows: rows.len() as u32,
        columns: vec![Column {
            name: column.into(),
            kind: ColumnType::Utf8,
            values,
            offsets: offsets
                .iter()
                .flat_map(|offset| offset.to_le_bytes())
                .collect(),
            validity: Vec::new(),
        }],
    }
}

/// The logits of every place of one row, by a pass over the whole sequence without a cache.
fn logits(model: &mut Model, text: &str) -> (Vec<Vec<f32>>, Vec<u32>) {
    let rows = EncodedRows::from_batch(
        model.signature(),
        model.tokenizer().cloned().as_deref(),
        texts("text", &[text]),
        EncodeOptions::default(),
    )
    .unwrap();
    let batch = rows.collate(&[&[0]], 1, 0).unwrap();
    let outputs = model.evaluate(&batch).unwrap();
    let logits = &outputs.iter().find(|(name, _)| name == "logits").unwrap().1;
    let vocabulary = *logits.shape().last().unwrap();
    let values = logits.cast(DType::F32).unwrap().to_f32_vec().unwrap();
    let tokens = rows
        .row("ids", 0)
        .unwrap()
        .iter()
        .map(|token| token.id())
        .collect();
    (
        values.chunks(vocabulary).map(<[f32]>::to_vec).collect(),
        tokens,
    )
}

fn log_softmax(row: &[f32]) -> Vec<f64> {
    let max = f64::from(row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let sum: f64 = row.iter().map(|x| (f64::from(*x) - max).exp()).sum();
    row.iter().map(|x| f64::from(*x) - max - sum.ln()).collect()
}

fn argmax(row: &[f64]) -> usize {
    (0..row.len())
        .max_by(|&a, &b| row[a].total_cmp(&row[b]))
        .unwrap()
}

#[test]
fn greedy_generation_is_the_likeliest_token_of_a_whole_pass_each_time() {
    let place = place();
    let mut model = model(&place);
    let tokenizer = model.tokenizer().unwrap().clone();
    for text in PROMPTS {
        let found = alone(&mut model, text, &greedy(8)).remove(0);
        let mut so_far = text.to_owned();
        let mut sum = 0.0;
        let mut expected = Vec::new();
        loop {
            // The place of the last token of the text: `<bos>` stands before it.
            let (rows, _) = logits(&mut model, &so_far);
            let row = log_softmax(&rows[so_far.chars().count()]);
            let token = argmax(&row);
            sum += row[token];
            if token == tokenizer.special_id("<eos>").unwrap() as usize {
                assert_eq!(found.finish, Finish::Stop);
                break;
            }
            expected.push(token as u32);
            // Special tokens cannot be written in a text: the comparison ends there.
            if expected.len() == 8 || tokenizer.is_special(token as u32) {
                break;
            }
            so_far.push_str(&tokenizer.decode(&[token as u32]).unwrap());
        }
        assert_eq!(found.tokens[..expected.len()], expected, "{text}");
        if found.tokens.len() == expected.len() {
            assert!((found.log_probability - sum).abs() < 1e-3, "{text}");
        }
    }
}

#[test]
fn a_batch_of_prompts_is_each_of_them_alone() {
    let place = place();
    let mut model = model(&place);
    let all = [
        greedy(9),
        Settings {
            beams: 4,
            count: 3,
            ..greedy(6)
        },
        Settings {
            temperature: 1.0,
            seed: 5,
            count: 3,
            ..greedy(7)
        },
        Settings {
            temperature: 0.7,
            top_k: Some(5),
            top_p: Some(0.9),
            seed: 9,
            ..greedy(12)
        },
        greedy(1),
    ];
    let found = together(&mut model, &all);
    for ((id, text), settings) in (0..).zip(PROMPTS).zip(&all) {
        same(&found[&id], &alone(&mut model, text, settings));
    }
    // What they are compared with says something.
    let different: std::collections::BTreeSet<_> = found
        .values()
        .map(|candidates| &candidates[0].tokens)
        .collect();
    assert!(different.len() > 2, "{different:?}");
}

#[test]
fn whoever_comes_later_changes_nothing() {
    let place = place();
    let mut model = model(&place);
    let settings = Settings {
        temperature: 1.0,
        min_tokens: 10,
        seed: 3,
        ..greedy(10)
    };
    let expected: Vec<_> = PROMPTS
        .iter()
        .map(|text| alone(&mut model, text, &settings))
        .collect();
    let prompts: Vec<Prompt> = PROMPTS
        .iter()
        .map(|text| prompt(&model, "text", text))
        .collect();
    let mut engine = Engine::new(&mut model).unwrap();
    let mut found = BTreeMap::new();
    let mut announced: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
    let mut waiting = (0..).zip(prompts);
    let mut step = 0;
    loop {
        if step % 3 == 0
            && let Some((id, prompt)) = waiting.next()
        {
            engine
                .admit(id, prompt, settings.clone(), Vec::new())
                .unwrap();
        }
        step += 1;
        for event in engine.step(None) {
            match event {
                Event::Token {
                    id, token, sample, ..
                } => {
                    assert_eq!(sample, 0);
                    announced.entry(id).or_default().push(token);
                }
                Event::Ended { finish, .. } => assert_eq!(finish, Finish::Length),
                Event::Done { id, candidates } => {
                    found.insert(id, candidates);
                }
                Event::Failed { error, .. } => panic!("{error}"),
            }
        }
        if engine.is_empty() && step > 3 * PROMPTS.len() {
            break;
        }
    }
    for (id, expected) in (0..).zip(&expected) {
        same(&found[&id], expected);
        assert_eq!(announced[&id], expected[0].tokens);
    }
}

#[test]
fn a_cancelled_request_is_gone_and_an_ended_sample_is_a_result() {
    let place = place();
    let mut model = model(&place);
    let settings = Settings {
        temperature: 1.0,
        min_tokens: 10,
        count: 2,
        ..greedy(10)
    };
    let expected = alone(&mut model, PROMPTS[0], &settings);
    let prompts: Vec<Prompt> = PROMPTS
        .iter()
        .map(|text| prompt(&model, "text", text))
        .collect();
    let mut engine = Engine::new(&mut model).unwrap();
    engine
        .admit(0, prompts[0].clone(), settings.clone(), Vec::new())
        .unwrap();
    engine
        .admit(1, prompts[1].clone(), settings.clone(), Vec::new())
        .unwrap();
    let twice = engine
        .admit(1, prompts[1].clone(), settings, Vec::new())
        .unwrap_err();
    assert!(
        twice.to_string().contains("request 1 is running already"),
        "{twice}"
    );
    assert_eq!((engine.len(), engine.width()), (2, 4));
    for _ in 0..3 {
        engine.step(None);
    }
    assert!(engine.cancel(1) && !engine.cancel(1));
    assert!(engine.end(0, 1) && !engine.end(0, 1) && !engine.end(7, 0));
    let mut done = engine.run(None).unwrap();
    let (id, candidates) = done.remove(0);
    assert_eq!((id, candidates.len(), done.len()), (0, 2, 0));
    let ended = candidates
        .iter()
        .find(|c| c.finish == Finish::Stop)
        .unwrap();
    let whole = candidates
        .iter()
        .find(|c| c.finish == Finish::Length)
        .unwrap();
    assert_eq!((ended.tokens.len(), whole.tokens.len()), (3, 10));
    assert!(expected.iter().any(|c| c.tokens == whole.tokens));
    assert!(expected.iter().any(|c| c.tokens[..3] == ended.tokens));
}

#[test]
fn scores_are_sums_of_log_probabilities() {
    let place = place();
    let mut model = model(&place);
    let rows = texts("text", &PROMPTS);
    let scores = model.score(&rows).unwrap();
    for (text, score) in PROMPTS.iter().zip(scores) {
        let (rows, tokens) = logits(&mut model, text);
        let mut sum = 0.0;
        for at in 1..tokens.len() - 1 {
            sum += log_softmax(&rows[at - 1])[tokens[at] as usize];
        }
        let end = tokens.len() - 1;
        let special = log_softmax(&rows[end - 1])[tokens[end] as usize];
        assert!(
            (score.log_likelihood - sum).abs() < 1e-3,
            "{text}: {score:?} for {sum}"
        );
        assert!((score.special_log_likelihood - special).abs() < 1e-3);
        assert_eq!(
            (score.tokens as usize, score.special_tokens),
            (text.chars().count(), 1)
        );
        // The same numbers, told token by token.
        let prompt = prompt(&model, "text", text);
        let told = model.score_prompt(&prompt, 3).unwrap();
        assert_eq!(told.len(), tokens.len() - 1);
        assert_eq!(told[0].log_probability, None);
        let total: f64 = told[1..]
            .iter()
            .map(|t| f64::from(t.log_probability.unwrap()))
            .sum();
        assert!((total - sum).abs() < 1e-3);
        for (token, row) in told[1..].iter().zip(&rows) {
            let row = log_softmax(row);
            assert_eq!(token.alternatives.len(), 3);
            assert_eq!(token.alternatives[0].0 as usize, argmax(&row));
            assert!(token.alternatives.is_sorted_by(|a, b| a.1 >= b.1));
        }
    }
}

#[test]
fn rows_are_generated_side_by_side_as_alone() {
    let place = place();
    let mut model = model(&place);
    // More rows than run side by side; what is learnt is not read.
    let rows: Vec<&str> = PROMPTS.iter().copied().cycle().take(150).collect();
    let options = tenon_plugin::GenerationOptions {
        max_tokens: Some(5),
        ..Default::default()
    };
    let found = model
        .generate_rows(&texts("text", &rows), &options)
        .unwrap();
    let expected = alone(&mut model, "", &greedy(5)).remove(0).text;
    assert_eq!(found, vec![expected; 150]);
}

#[test]
fn a_prompt_that_does_not_fit_is_refused() {
    let place = place();
    let mut model = model(&place);
    let long = TEXT.repeat(2);
    let cut = prompt(&model, "text", &long);
    assert_eq!(cut.sequences[0].tokens.len(), 23);
    assert_eq!(cut.cut, long.chars().count() + 1 - 23);
    let mut too_long = prompt(&model, "text", "床前");
    too_long.sequences[0].tokens = vec![6; 25];
    too_long.sequences[0].pieces = vec![0; 25];
    let mut empty = prompt(&model, "text", "床");
    empty.sequences[0].tokens.clear();
    let mut engine = Engine::new(&mut model).unwrap();
    let refused = |engine: &mut Engine, prompt: Prompt, settings: Settings| {
        let error = engine.admit(0, prompt, settings, Vec::new()).unwrap_err();
        assert!(matches!(error, ModelError::Invalid(_)));
        error.to_string()
    };
    let error = refused(&mut engine, too_long, greedy(1));
    assert!(
        error.contains("25 tokens") && error.contains("hold 24"),
        "{error}"
    );
    let error = refused(&mut engine, empty, greedy(1));
    assert!(error.contains("empty"), "{error}");
    for (settings, word) in [
        (
            Settings {
                temperature: f32::NAN,
                ..greedy(1)
            },
            "temperature is NaN",
        ),
        (
            Settings {
                top_p: Some(0.0),
                ..greedy(1)
            },
            "top_p is 0",
        ),
        (
            Settings {
                beams: 2,
                count: 3,
                ..greedy(1)
            },
            "count is 3",
        ),
        (
            Settings {
                beams: 2,
                temperature: 1.0,
                ..greedy(1)
            },
            "exclude each other",
        ),
        (greedy(0), "max_tokens is 0"),
    ] {
        let error = refused(&mut engine, cut.clone(), settings);
        assert!(error.contains(word), "{error}");
    }
    // One token fits after a prompt that was cut, and the last token need not be fed back.
    engine
        .admit(
            0,
            cut,
            Settings {
                min_tokens: 5,
                ..greedy(5)
            },
            Vec::new(),
        )
        .unwrap();
    let found = engine.run(None).unwrap().remove(0).1.remove(0);
    assert_eq!((found.tokens.len(), found.finish), (2, Finish::Length));
}

#[test]
fn a_registered_model_is_the_one_that_was_made() {
    let place = place();
    let reference = place.register("poems", "recipe-gpt", &gpt(24), Some(characters(TEXT)), 8.0);
    let (name, manifest) = place.platform.manifest("poems").unwrap();
    assert_eq!(name, reference);
    let mut loaded = place.platform.load(&manifest, Default::default()).unwrap();
    let mut made = model(&place);
    for text in PROMPTS {
        same(
            &alone(&mut loaded, text, &greedy(6)),
            &alone(&mut made, text, &greedy(6)),
        );
    }
    let mut wrong = manifest.clone();
    wrong.vocabulary = 3;
    let error = place.platform.load(&wrong, Default::default()).unwrap_err();
    assert!(error.to_string().contains("vocabulary of 3"), "{error}");
    let mut wrong = manifest.clone();
    wrong.recipe_config = json!({"n_layer": 3, "n_embd": 32, "n_head": 4, "n_positions": 24});
    let error = place.platform.load(&wrong, Default::default()).unwrap_err();
    assert!(error.to_string().contains("h.2."), "{error}");
    let error = place.platform.manifest("nothing").unwrap_err();
    assert!(error.to_string().contains("there are: poems"), "{error}");
}

#[test]
fn rows_that_are_no_token_are_never_chosen() {
    let place = place();
    let mut config = gpt(24);
    // Twenty times as many rows as the tokenizer has tokens: nearly all choices would be of those.
    config["vocab_size"] = json!(20 * characters(TEXT).vocabulary());
    let mut model = place.model("recipe-gpt", &config, Some(characters(TEXT)), 8.0);
    let known = characters(TEXT).vocabulary();
    let settings = Settings {
        temperature: 2.0,
        min_tokens: 12,
        ..greedy(12)
    };
    for settings in [greedy(12), settings] {
        let found = alone(&mut model, "举头", &settings);
        assert!(!found[0].tokens.is_empty());
        assert!(
            found[0].tokens.iter().all(|token| *token < known),
            "{found:?}"
        );
        assert!(found[0].log_probability.is_finite());
    }
}
