//! Generation with a model whose next token depends on the last alone: everything is computed by hand.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};
use support::{Place, characters, place, prompt};
use tenon_data::collate::{Given, Prompt};
use tenon_model::{Candidate, Constraint, Engine, Event, Finish, Model, ModelError, Settings};
use tenon_plugin::processor::{Allowed, Sequence};

fn model(place: &Place, text: &str, config: &Value) -> Model {
    place.model("testing-probe-recipe", config, Some(characters(text)), 1.0)
}

/// The table: for each token, the natural-log probabilities of the next.
fn table(model: &Model) -> Vec<Vec<f64>> {
    let weights = model.params().get("table.weight").unwrap();
    let width = weights.shape()[1];
    let values = weights.to_f32_vec().unwrap();
    values
        .chunks(width)
        .map(|row| normalise(row.iter().map(|&x| f64::from(x))))
        .collect()
}

fn normalise(row: impl Iterator<Item = f64>) -> Vec<f64> {
    let row: Vec<f64> = row.collect();
    let max = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = row.iter().map(|x| (x - max).exp()).sum();
    row.iter().map(|x| x - max - sum.ln()).collect()
}

fn id(model: &Model, token: &str) -> usize {
    model.tokenizer().unwrap().token_to_id(token).unwrap() as usize
}

fn run(
    model: &mut Model,
    text: &str,
    settings: &Settings,
    constraint: Option<&mut dyn Constraint>,
) -> Vec<Candidate> {
    let prompt = prompt(model, "text", text);
    let mut engine = Engine::new(model).unwrap();
    engine
        .admit(0, prompt, settings.clone(), b"context".to_vec())
        .unwrap();
    engine.run(constraint).unwrap().remove(0).1
}

fn settings(most: usize) -> Settings {
    Settings {
        max_tokens: Some(most),
        ..Settings::default()
    }
}

/// Exactly so many tokens.
fn steady(tokens: usize) -> Settings {
    Settings {
        min_tokens: tokens,
        ..settings(tokens)
    }
}

/// A constraint that is a function of the tokens so far.
struct Rule<F>(F);

impl<F: FnMut(&Sequence) -> Result<Allowed, ModelError>> Constraint for Rule<F> {
    fn allowed(&mut self, sequences: &[Sequence]) -> tenon_model::Result<Vec<Allowed>> {
        sequences.iter().map(&mut self.0).collect()
    }
}

/// Every sequence of at most `most` tokens: its tokens, log-probability, finish and score.
fn every(table: &[Vec<f64>], from: usize, eos: usize, most: usize) -> Vec<(Vec<u32>, f64, Finish)> {
    let mut all = Vec::new();
    let mut open: Vec<(Vec<u32>, f64)> = vec![(Vec::new(), 0.0)];
    for length in 0..most {
        let mut next = Vec::new();
        for (tokens, sum) in open {
            let last = tokens.last().map_or(from, |&token| token as usize);
            for (token, p) in table[last].iter().enumerate() {
                if token == eos {
                    all.push((tokens.clone(), sum + p, Finish::Stop));
                } else {
                    let mut longer = tokens.clone();
                    longer.push(token as u32);
                    if length + 1 == most {
                        all.push((longer, sum + p, Finish::Length));
                    } else {
                        next.push((longer, sum + p));
                    }
                }
            }
        }
        open = next;
    }
    all
}

fn score((tokens, sum, finish): &(Vec<u32>, f64, Finish)) -> f64 {
    sum / (tokens.len() + usize::from(*finish == Finish::Stop)) as f64
}

#[test]
fn a_wide_beam_search_finds_what_trying_everything_finds() {
    let place = place();
    let mut model = model(&place, "ab", &json!({"deviation": 1.5}));
    let table = table(&model);
    let (eos, a) = (id(&model, "<eos>"), id(&model, "a"));
    let mut all = every(&table, a, eos, 3);
    // 6 other tokens: 6³ of three, 1 + 6 + 36 that end.
    assert_eq!(all.len(), 216 + 43);
    all.sort_by(|x, y| score(y).total_cmp(&score(x)));
    let wide = Settings {
        beams: 64,
        count: 10,
        ..settings(3)
    };
    let found = run(&mut model, "a", &wide, None);
    assert_eq!(found.len(), 10);
    for (found, expected) in found.iter().zip(&all) {
        // By score, not by order: the same transitions in another order are as likely.
        let same = all
            .iter()
            .find(|one| (&one.0, one.2) == (&found.tokens, found.finish))
            .unwrap();
        assert!((found.log_probability - same.1).abs() < 1e-4);
        assert!((score(same) - score(expected)).abs() < 1e-4);
    }
    // A narrow search finds no better, and a wider one no worse.
    let best = |model: &mut Model, beams: usize| {
        let found = run(
            model,
            "a",
            &Settings {
                beams,
                ..settings(3)
            },
            None,
        )
        .remove(0);
        score(&(found.tokens, found.log_probability, found.finish))
    };
    let scores = [2, 4, 64].map(|beams| best(&mut model, beams));
    assert!(
        scores.is_sorted() && scores[2] <= score(&all[0]) + 1e-6,
        "{scores:?}"
    );
}

#[test]
fn samples_follow_the_closed_form() {
    let place = place();
    let mut model = model(&place, "abcdef", &json!({}));
    let a = id(&model, "a");
    let eos = id(&model, "<eos>");
    let row = table(&model)[a].clone();
    let mut order: Vec<usize> = (0..row.len()).collect();
    order.sort_by(|&x, &y| row[y].total_cmp(&row[x]));
    let power = |temperature: f64, kept: &[usize]| {
        let mut p = vec![0.0; row.len()];
        for &token in kept {
            p[token] = (row[token] / temperature).exp();
        }
        let sum: f64 = p.iter().sum();
        p.iter().map(|p| p / sum).collect::<Vec<f64>>()
    };
    // The likeliest that together reach `share`.
    let reaching = |share: f64| {
        let mut sum = 0.0;
        let kept = order.iter().take_while(|&&token| {
            let before = sum;
            sum += row[token].exp();
            before < share
        });
        kept.copied().collect::<Vec<usize>>()
    };
    let drawn = Settings {
        temperature: 1.0,
        count: 64,
        ..settings(1)
    };
    let cases = [
        (drawn.clone(), power(1.0, &order)),
        (
            Settings {
                temperature: 0.5,
                ..drawn.clone()
            },
            power(0.5, &order),
        ),
        (
            Settings {
                temperature: 2.0,
                ..drawn.clone()
            },
            power(2.0, &order),
        ),
        (
            Settings {
                top_k: Some(3),
                ..drawn.clone()
            },
            power(1.0, &order[..3]),
        ),
        (
            Settings {
                top_p: Some(0.6),
                ..drawn.clone()
            },
            power(1.0, &reaching(0.6)),
        ),
        (
            Settings {
                min_tokens: 1,
                ..drawn
            },
            {
                let kept: Vec<usize> = order
                    .iter()
                    .copied()
                    .filter(|&token| token != eos)
                    .collect();
                power(1.0, &kept)
            },
        ),
    ];
    for (settings, expected) in cases {
        let mut counts = vec![0_u32; expected.len()];
        let text = prompt(&model, "text", "a");
        let mut engine = Engine::new(&mut model).unwrap();
        for request in 0..300 {
            let settings = Settings {
                seed: request,
                ..settings.clone()
            };
            engine
                .admit(request, text.clone(), settings, Vec::new())
                .unwrap();
        }
        for (_, candidates) in engine.run(None).unwrap() {
            assert_eq!(candidates.len(), 64);
            for candidate in candidates {
                let token = candidate
                    .tokens
                    .first()
                    .map_or(eos, |&token| token as usize);
                counts[token] += 1;
            }
        }
        let total = 300.0 * 64.0;
        for (token, (&count, &p)) in counts.iter().zip(&expected).enumerate() {
            let found = f64::from(count) / total;
            let room = 4.5 * (p * (1.0 - p) / total).sqrt();
            assert!(
                (found - p).abs() <= room,
                "{settings:?}: token {token}: {found} for {p}"
            );
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_samples() {
    let place = place();
    let mut model = model(&place, "abcdef", &json!({}));
    let drawn = |seed| Settings {
        temperature: 1.0,
        count: 8,
        seed,
        min_tokens: 6,
        ..settings(6)
    };
    let first = run(&mut model, "a", &drawn(1), None);
    assert_eq!(run(&mut model, "a", &drawn(1), None), first);
    assert_ne!(run(&mut model, "a", &drawn(2), None), first);
    let different: std::collections::BTreeSet<_> = first.iter().map(|c| &c.tokens).collect();
    assert!(different.len() > 1, "samples of one request differ");
}

#[test]
fn a_constraint_is_kept() {
    let place = place();
    let mut model = model(&place, "abcdef", &json!({}));
    let table = table(&model);
    let [a, b, c] = ["a", "b", "c"].map(|token| id(&model, token));
    let eos = id(&model, "<eos>");
    for base in [
        settings(6),
        Settings {
            beams: 3,
            ..settings(6)
        },
        Settings {
            temperature: 1.0,
            ..settings(6)
        },
    ] {
        // Only: their own probabilities, renormalised; complete after four.
        let mut seen = Vec::new();
        let mut rule = Rule(|sequence: &Sequence| {
            seen.push(sequence.tokens.len());
            assert_eq!(sequence.context, b"context");
            Ok(match sequence.tokens.len() {
                4 => Allowed::End,
                _ => Allowed::Only(vec![b as u32, c as u32]),
            })
        });
        let found = run(&mut model, "a", &base, Some(&mut rule)).remove(0);
        assert_eq!((found.tokens.len(), found.finish), (4, Finish::Constraint));
        let mut last = a;
        let mut sum = 0.0;
        for &token in &found.tokens {
            let token = token as usize;
            assert!(token == b || token == c);
            let both = table[last][b].exp() + table[last][c].exp();
            sum += table[last][token] - both.ln();
            last = token;
        }
        assert!((found.log_probability - sum).abs() < 1e-4);
        assert!(seen.len() >= 5 && seen.is_sorted());
    }
    // Except: the likeliest of the others.
    let mut rule = Rule(|_: &Sequence| Ok(Allowed::Except((0..eos as u32 + 1).collect())));
    let found = run(&mut model, "a", &settings(3), Some(&mut rule)).remove(0);
    let mut last = a;
    for &token in &found.tokens {
        let best =
            (eos + 1..table.len()).max_by(|&x, &y| table[last][x].total_cmp(&table[last][y]));
        assert_eq!(Some(token as usize), best);
        last = token as usize;
    }
    // Bias: moves the logits.
    let mut rule = Rule(|_: &Sequence| Ok(Allowed::Bias(vec![(c as u32, 100.0)])));
    let found = run(&mut model, "a", &settings(3), Some(&mut rule)).remove(0);
    assert_eq!(found.tokens, vec![c as u32; 3]);
    assert!(found.log_probability.abs() < 1e-6);
    // Nothing may come: an end, with nothing.
    let mut rule = Rule(|_: &Sequence| Ok(Allowed::Only(Vec::new())));
    let found = run(&mut model, "a", &settings(3), Some(&mut rule)).remove(0);
    assert_eq!(
        (found.tokens.len(), found.finish, found.log_probability),
        (0, Finish::Constraint, 0.0)
    );
}

#[test]
fn special_tokens_end_a_sequence_but_not_too_early() {
    let place = place();
    let mut model = model(&place, "abcdef", &json!({}));
    let eos = id(&model, "<eos>") as u32;
    let ends = |_: &Sequence| Ok(Allowed::Bias(vec![(eos, 100.0)]));
    let found = run(&mut model, "a", &settings(5), Some(&mut Rule(ends))).remove(0);
    assert_eq!((found.tokens.len(), found.finish), (0, Finish::Stop));
    for base in [
        settings(5),
        Settings {
            beams: 2,
            ..settings(5)
        },
        Settings {
            temperature: 1.0,
            ..settings(5)
        },
    ] {
        let base = Settings {
            min_tokens: 3,
            ..base
        };
        let found = run(&mut model, "a", &base, Some(&mut Rule(ends))).remove(0);
        assert_eq!(
            (found.tokens.len(), found.finish),
            (3, Finish::Stop),
            "{base:?}"
        );
        assert!(!found.tokens.contains(&eos));
    }
}

#[test]
fn a_constraint_that_fails_on_one_fails_only_that_one() {
    let place = place();
    let mut model = model(&place, "abcdef", &json!({}));
    let expected = run(&mut model, "a", &steady(4), None);
    let text = prompt(&model, "text", "a");
    let mut engine = Engine::new(&mut model).unwrap();
    for (id, context) in [(0, "good"), (1, "bad"), (2, "token"), (3, "good")] {
        engine
            .admit(id, text.clone(), steady(4), context.into())
            .unwrap();
    }
    let mut asked = 0;
    let mut rule = Rule(|sequence: &Sequence| {
        asked += 1;
        match &sequence.context[..] {
            b"bad" if sequence.tokens.len() == 2 => Err(ModelError::Constraint("no idea".into())),
            b"token" => Ok(Allowed::Only(vec![999])),
            _ => Ok(Allowed::Any),
        }
    });
    let mut failed = BTreeMap::new();
    let mut done = BTreeMap::new();
    while !engine.is_empty() {
        for event in engine.step(Some(&mut rule)) {
            match event {
                Event::Failed { ids, error } => {
                    assert_eq!(ids.len(), 1);
                    failed.insert(ids[0], error.to_string());
                }
                Event::Done { id, candidates } => {
                    done.insert(id, candidates);
                }
                _ => {}
            }
        }
    }
    assert!(failed[&1].contains("no idea"), "{failed:?}");
    assert!(
        failed[&2].contains("token 999") && failed[&2].contains("vocabulary has"),
        "{failed:?}"
    );
    assert_eq!(failed.len(), 2);
    for id in [0, 3] {
        assert_eq!(done[&id][0].tokens, expected[0].tokens);
    }
}

#[test]
fn a_recipe_that_panics_is_opened_again_and_the_others_go_on() {
    let place = place();
    let tokenizer = characters("abcdef");
    let poison = tokenizer.token_to_id("f").unwrap();
    let config = json!({"poison": poison});
    let mut model = place.model("testing-probe-recipe", &config, Some(tokenizer), 1.0);
    let prompts: Vec<Prompt> = ["a", "f", "a"]
        .iter()
        .map(|text| prompt(&model, "text", text))
        .collect();
    let mut never = Rule(|_: &Sequence| Ok(Allowed::Except(vec![poison])));
    let expected = run(&mut model, "a", &steady(4), Some(&mut never));
    let mut engine = Engine::new(&mut model).unwrap();
    for (id, prompt) in (0..).zip(prompts) {
        engine.admit(id, prompt, steady(4), Vec::new()).unwrap();
    }
    let events = engine.step(Some(&mut never));
    let Some(Event::Failed { ids, error }) =
        events.iter().find(|e| matches!(e, Event::Failed { .. }))
    else {
        panic!("{events:?}");
    };
    assert_eq!(ids, &[1]);
    assert!(
        error.to_string().contains("the token") && error.to_string().contains("came"),
        "{error}"
    );
    let done = engine.run(Some(&mut never)).unwrap();
    assert_eq!(done.len(), 2);
    assert!(
        done.iter()
            .all(|(_, candidates)| candidates[0].tokens == expected[0].tokens)
    );
    // Decoding together, they fail together; the next request finds a working model.
    let text = prompt(engine.model(), "text", "a");
    engine
        .admit(7, text.clone(), steady(4), Vec::new())
        .unwrap();
    engine
        .admit(8, text.clone(), steady(4), Vec::new())
        .unwrap();
    let mut forced = Rule(|sequence: &Sequence| {
        Ok(if sequence.tokens.len() == 1 {
            Allowed::Only(vec![poison])
        } else {
            Allowed::Any
        })
    });
    let error = engine.run(Some(&mut forced)).unwrap_err();
    assert!(matches!(error, ModelError::Plugin(_)), "{error}");
    assert!(engine.is_empty());
    engine.admit(9, text, steady(4), Vec::new()).unwrap();
    let done = engine.run(Some(&mut never)).unwrap();
    assert_eq!(done[0].1[0].tokens, expected[0].tokens);
}

#[test]
fn without_a_bound_the_request_must_give_one() {
    let place = place();
    let mut model = model(&place, "ab", &json!({"context": 0}));
    let text = prompt(&model, "text", "a");
    let mut engine = Engine::new(&mut model).unwrap();
    let error = engine
        .admit(0, text.clone(), Settings::default(), Vec::new())
        .unwrap_err();
    assert!(error.to_string().contains("set max_tokens"), "{error}");
    engine
        .admit(
            0,
            text,
            Settings {
                min_tokens: 100,
                ..settings(100)
            },
            Vec::new(),
        )
        .unwrap();
    assert_eq!(engine.run(None).unwrap()[0].1[0].tokens.len(), 100);
}

#[test]
fn weights_that_are_no_numbers_are_found_out() {
    let place = place();
    let mut model = model(&place, "abcdef", &json!({}));
    let table = model.params().get("table.weight").unwrap();
    model
        .params()
        .set("table.weight", table.mul_scalar(f64::NAN).unwrap())
        .unwrap();
    let text = prompt(&model, "text", "a");
    let mut engine = Engine::new(&mut model).unwrap();
    engine.admit(0, text, settings(4), Vec::new()).unwrap();
    let error = engine.run(None).unwrap_err();
    assert!(error.to_string().contains("damaged"), "{error}");
}

#[test]
fn numbers_in_numbers_out() {
    let place = place();
    let mut model = place.model(
        "testing-probe-recipe",
        &json!({"kind": "linear"}),
        None,
        1.0,
    );
    let weights = model
        .params()
        .get("head.weight")
        .unwrap()
        .to_f32_vec()
        .unwrap();
    let bias = model
        .params()
        .get("head.bias")
        .unwrap()
        .to_f32_vec()
        .unwrap();
    let inputs: Vec<Vec<f32>> = (0..70)
        .map(|row| (0..4).map(|x| (row * 7 + x) as f32 / 50.0).collect())
        .collect();
    let prompts: Vec<Prompt> = inputs
        .iter()
        .map(|x| {
            let given = BTreeMap::from([("x".to_owned(), Given::Numbers(x.clone()))]);
            Prompt::new(
                model.signature(),
                model.tokenizer().map(Arc::as_ref),
                &given,
            )
            .unwrap()
        })
        .collect();
    let answers = model.predict_prompts(&prompts).unwrap();
    assert_eq!(answers.len(), 70);
    for (x, answer) in inputs.iter().zip(&answers) {
        assert_eq!(answer.len(), 1);
        assert_eq!(
            (answer[0].name.as_str(), &answer[0].shape[..]),
            ("y", &[3][..])
        );
        for (out, found) in answer[0].values.iter().enumerate() {
            let expected: f32 =
                bias[out] + (0..4).map(|at| weights[out * 4 + at] * x[at]).sum::<f32>();
            assert!((found - expected).abs() < 1e-4);
        }
    }
    assert!(
        Engine::new(&mut model)
            .err()
            .unwrap()
            .to_string()
            .contains("cannot be generated")
    );
    assert!(model.predict_prompts(&[]).unwrap().is_empty());
}
