//! The transforms, evaluators and processors that the project ships, as components.
#![allow(clippy::unwrap_used)]

#[path = "support/shipped.rs"]
mod shipped;

use std::{collections::HashMap, sync::Arc};

use serde_json::{Value as Json, json};
use shipped::component;
use tenon_plugin::{
    Batch, DatasetSource, Evaluation, Evaluator, GenerationOptions, Grants, Kind, ModelSource,
    PluginError, Processor, Recipe, Scored, TokenTable, TokenizerSource, Transform,
    batch::Column,
    processor::{Allowed, Candidate, Finish, Output, Sequence, Stages, Value},
    transform::Rows,
};
use tenon_tensor::rng;

// -- what they are granted

/// Characters, after five special tokens.
struct Characters(Vec<char>);

const SPECIAL: [&str; 5] = ["<pad>", "<unk>", "<bos>", "<sep>", "<eos>"];

impl TokenizerSource for Characters {
    fn vocabulary(&self) -> TokenTable {
        let mut table = TokenTable {
            offsets: vec![0],
            special: (0..5).collect(),
            ..TokenTable::default()
        };
        let characters = self.0.iter().map(char::to_string);
        for token in SPECIAL.map(str::to_owned).into_iter().chain(characters) {
            table.text.extend_from_slice(token.as_bytes());
            table.offsets.push(table.text.len() as u32);
        }
        table
    }

    fn encode(&self, text: &str) -> Result<Vec<u32>, String> {
        let id = |c| {
            self.0
                .iter()
                .position(|known| *known == c)
                .map_or(1, |at| at as u32 + 5)
        };
        Ok(text.chars().map(id).collect())
    }

    fn decode(&self, tokens: &[u32]) -> Result<String, String> {
        let character = |id: &u32| self.0.get((*id as usize).checked_sub(5)?).copied();
        Ok(tokens.iter().filter_map(character).collect())
    }

    fn token_id(&self, token: &str) -> Option<u32> {
        let special = SPECIAL.iter().position(|known| *known == token);
        special.map(|at| at as u32)
    }
}

/// Answers with the column `says`, and finds an answer likely that equals it.
struct Parrot;

fn texts(rows: &Batch, column: &str) -> Vec<String> {
    let column = rows.column(column).unwrap();
    (0..rows.rows as usize)
        .map(|row| column.utf8(row).unwrap().to_owned())
        .collect()
}

impl ModelSource for Parrot {
    fn score(&mut self, rows: &Batch) -> Result<Vec<Scored>, String> {
        let pairs = texts(rows, "says").into_iter().zip(texts(rows, "tgt_txt"));
        let scored = |(says, answer): (String, String)| Scored {
            log_likelihood: if says == answer { -1.0 } else { -9.0 },
            tokens: answer.chars().count() as u32,
            special_log_likelihood: -0.5,
            special_tokens: 1,
        };
        Ok(pairs.map(scored).collect())
    }

    fn generate(&mut self, rows: &Batch, _: &GenerationOptions) -> Result<Vec<String>, String> {
        Ok(texts(rows, "says"))
    }

    fn predict(&mut self, _: &Batch) -> Result<Batch, String> {
        Err("a parrot predicts nothing".into())
    }
}

/// Datasets of one batch each.
struct Tables(HashMap<&'static str, Batch>);

impl DatasetSource for Tables {
    fn is_granted(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    fn open(&self, name: &str) -> Result<tenon_plugin::BatchReader, String> {
        let batch = self.0.get(name).cloned().ok_or("there is none")?;
        Ok(Box::new(std::iter::once(Ok(batch))))
    }
}

fn batch(columns: &[(&str, &[&str])]) -> Batch {
    let rows = columns[0].1.len() as u32;
    let columns = columns
        .iter()
        .map(|(name, rows)| Column::from_utf8(*name, rows.iter().copied()));
    Batch::new(rows, columns.collect()).unwrap()
}

fn grants(tables: &[(&'static str, Batch)]) -> Grants {
    Grants {
        datasets: Some(Arc::new(Tables(tables.iter().cloned().collect()))),
        model: Some(Box::new(Parrot)),
        tokenizer: Some(Arc::new(Characters(han(300)))),
        ..Grants::default()
    }
}

/// `count` Chinese characters from 一 on.
fn han(count: u32) -> Vec<char> {
    (0..count)
        .map(|at| char::from_u32(0x4e00 + at).unwrap())
        .collect()
}

/// By turns level, oblique and both; every seventh has no tone.
fn tone(character: char) -> Option<&'static str> {
    let at = character as usize - 0x4e00;
    (at % 7 != 6).then(|| ["P", "Z", "PZ"][at % 3])
}

fn tones() -> Json {
    han(300)
        .into_iter()
        .filter_map(|c| Some((c.to_string(), tone(c)?)))
        .collect()
}

// -- all of them

/// Every component with a configuration as small as it can be.
fn shipped() -> Vec<(&'static str, Kind, Json)> {
    let column = json!({"columns": ["t"]});
    vec![
        ("transform-normalize", Kind::Transform, column.clone()),
        ("transform-filter", Kind::Transform, column.clone()),
        ("transform-dedup", Kind::Transform, column.clone()),
        ("transform-split", Kind::Transform, column),
        ("transform-continuation", Kind::Transform, json!({})),
        ("evaluator-perplexity", Kind::Evaluator, json!({})),
        (
            "evaluator-retrieval",
            Kind::Evaluator,
            json!({"answer": "tgt_txt"}),
        ),
        (
            "evaluator-couplet-rules",
            Kind::Evaluator,
            json!({"tones": {"P": "天"}}),
        ),
        ("evaluator-text-overlap", Kind::Evaluator, json!({})),
        ("evaluator-classification", Kind::Evaluator, json!({})),
        ("evaluator-regression", Kind::Evaluator, json!({})),
        (
            "processor-couplet",
            Kind::Processor,
            json!({"tones": {"P": "一"}}),
        ),
        ("recipe-gpt", Kind::Recipe, json!({})),
        ("recipe-palm", Kind::Recipe, json!({})),
        ("recipe-llama", Kind::Recipe, json!({})),
        ("recipe-bert", Kind::Recipe, json!({})),
        ("recipe-t5", Kind::Recipe, json!({})),
        ("recipe-resnet", Kind::Recipe, json!({})),
        ("recipe-mlp", Kind::Recipe, json!({"numeric": ["age"]})),
    ]
}

fn open(name: &str, kind: Kind, config: &Json) -> Result<(), PluginError> {
    let (component, grants) = (component(name), grants(&[]));
    match kind {
        Kind::Transform => Transform::open(&component, config, grants).map(drop),
        Kind::Evaluator => Evaluator::open(&component, config, grants).map(drop),
        Kind::Processor => Processor::open(&component, config, grants).map(drop),
        Kind::Recipe => Recipe::open(&component, config, 100, grants).map(drop),
    }
}

#[test]
fn each_describes_itself_and_opens() {
    for (name, kind, config) in shipped() {
        let component = component(name);
        let description = component.description();
        let (_, short) = name.split_once('-').unwrap();
        assert_eq!(description.name, format!("tenon/{short}"));
        assert_eq!((component.kind(), description.kind), (kind, kind), "{name}");
        assert!(
            description.summary.ends_with('.'),
            "{name}: {}",
            description.summary
        );
        let readme = component.readme().unwrap_or_default();
        assert!(
            readme.starts_with(&format!("# tenon/{short}\n")),
            "{name} carries no README"
        );
        // Every option is documented, in the schema and for people.
        let properties = &description.config_schema["properties"];
        for (option, schema) in properties.as_object().unwrap() {
            let documented = schema.get("description").is_some() || schema.get("$ref").is_some();
            assert!(documented, "{name}: `{option}` has no description");
            assert!(
                readme.contains(&format!("`{option}`")),
                "{name}: `{option}` is not in its README"
            );
        }
        open(name, kind, &config).unwrap();
    }
}

#[test]
fn options_that_do_not_exist_are_refused() {
    for (name, kind, mut config) in shipped() {
        config["no_such_option"] = json!(1);
        let component = component(name);
        let schema = &component.description().config_schema;
        if schema["additionalProperties"] == true {
            // The hub's own configuration: it has fields that say nothing to the recipe.
            assert!(schema["properties"]["architectures"].is_object(), "{name}");
            open(name, kind, &config).unwrap();
            continue;
        }
        let error = open(name, kind, &config).unwrap_err();
        assert!(matches!(error, PluginError::Config(_)), "{name}: {error}");
        assert!(
            error.to_string().contains("no_such_option"),
            "{name}: {error}"
        );
    }
}

// -- transforms

fn transform(name: &str, config: &Json, input: &Batch) -> Vec<tenon_plugin::transform::Output> {
    let mut transform = Transform::open(&component(name), config, Grants::default()).unwrap();
    let mut outputs = transform.process(input).unwrap();
    outputs.extend(transform.finish().unwrap());
    outputs
}

#[test]
fn transforms_transform() {
    let input = batch(&[("t", &["Ａ  b", "天地", "天地", "x"])]);
    let config = json!({"columns": ["t"], "form": "nfkc", "lowercase": true});
    let outputs = transform("transform-normalize", &config, &input);
    assert_eq!(texts(&outputs[0].batch, "t"), ["a b", "天地", "天地", "x"]);

    let outputs = transform("transform-dedup", &json!({"columns": ["t"]}), &input);
    assert_eq!(outputs[0].rows, Rows::Keep(vec![0, 1, 3]));

    let config = json!({"columns": ["t"], "classes": ["han"]});
    let outputs = transform("transform-filter", &config, &input);
    assert_eq!(outputs[0].rows, Rows::Keep(vec![1, 2]));

    let config = json!({"columns": ["t"], "parts": {"one": 1, "two": 1}});
    let outputs = transform("transform-split", &config, &input);
    let mut rows: Vec<u32> = Vec::new();
    for output in &outputs {
        let Rows::Keep(keep) = &output.rows else {
            panic!("{output:?}")
        };
        assert!(matches!(output.split.as_deref(), Some("one" | "two")));
        // Equal rows come into the same part.
        assert_eq!(keep.contains(&1), keep.contains(&2));
        rows.extend(keep);
    }
    rows.sort_unstable();
    assert_eq!(rows, [0, 1, 2, 3]);

    let input = batch(&[("text", &["床前明月光，疑是地上霜。举头望明月。", "天"])]);
    let outputs = transform("transform-continuation", &json!({}), &input);
    assert_eq!(outputs[0].rows, Rows::Origin(vec![0, 0]));
    assert_eq!(
        texts(&outputs[0].batch, "src_txt"),
        ["床前明月光", "疑是地上霜"]
    );
    assert_eq!(
        texts(&outputs[0].batch, "tgt_txt"),
        ["疑是地上霜", "举头望明月"]
    );
}

// -- evaluators

fn evaluate(
    name: &str,
    config: &Json,
    tables: &[(&'static str, Batch)],
    rows: &Batch,
) -> Evaluation {
    let mut evaluator = Evaluator::open(&component(name), config, grants(tables)).unwrap();
    evaluator.update(rows).unwrap();
    evaluator.finish().unwrap()
}

/// The model knows the answers of the first and third row.
fn answers() -> Batch {
    batch(&[
        ("src_txt", &["月上石照", "月上石照", "月上石照", "月上石照"]),
        ("says", &["泉松风清", "泉地风明", "风清泉松", "泉松风"]),
        ("tgt_txt", &["泉松风清", "松清泉风", "风清泉松", "清风松泉"]),
    ])
}

#[track_caller]
fn is(found: &Evaluation, name: &str, expected: f64) {
    let metric = found.metric(name).unwrap();
    assert!(
        (metric.value - expected).abs() < 1e-9,
        "{name}: {}, expected {expected}",
        metric.value
    );
    if let (Some(low), Some(high)) = (metric.low, metric.high) {
        assert!(
            low <= expected && expected <= high,
            "{name}: {low} to {high}"
        );
    }
}

#[test]
fn evaluators_judge_a_model() {
    let found = evaluate("evaluator-perplexity", &json!({}), &[], &answers());
    // (1 + 9 + 1 + 9) / 16 for each token.
    is(&found, "perplexity", (20.0_f64 / 16.0).exp());
    is(&found, "special_loss", 0.5);

    let config = json!({"answer": "tgt_txt", "candidates": 4});
    let found = evaluate("evaluator-retrieval", &config, &[], &answers());
    is(&found, "accuracy", 0.5);
    is(&found, "chance", 0.25);

    let tones = batch(&[
        (
            "character",
            &["清", "泉", "松", "风", "明", "月", "石", "上", "照", "地"],
        ),
        ("tone", &["P", "P", "P", "P", "Z", "Z", "Z", "Z", "Z", "Z"]),
    ]);
    let config = json!({"reference": "tgt_txt"});
    let found = evaluate(
        "evaluator-couplet-rules",
        &config,
        &[("tones", tones)],
        &answers(),
    );
    is(&found, "couplets", 4.0);
    is(&found, "equal_length", 0.75);
    is(&found, "opposed_tones", 0.75);
    is(&found, "endings", 0.75);
    is(&found, "no_repeats", 1.0);
    is(&found, "all_rules", 0.5);
    assert!(found.metric("all_rules").unwrap().low.is_some());
    let examples = &found.tables[0].rows;
    assert_eq!(texts(examples, "lower"), texts(&answers(), "says"));

    let train = batch(&[("line", &["泉松风清，月上石照。", "无"])]);
    let found = evaluate(
        "evaluator-text-overlap",
        &json!({}),
        &[("train", train)],
        &answers(),
    );
    // Of 15 characters 4 + 2 + 4 + 3 are right, of 11 pairs 3 + 0 + 3 + 0, of 7 triples 4, of 3 fours 2;
    // one character is missing of 16.
    let precisions: f64 = 13.0 / 15.0 * (6.0 / 11.0) * (4.0 / 7.0) * (2.0 / 3.0);
    is(
        &found,
        "bleu",
        100.0 * (1.0_f64 - 16.0 / 15.0).exp() * precisions.powf(0.25),
    );
    is(&found, "distinct_1", 6.0 / 15.0);
    is(&found, "duplicates", 0.0);
    is(&found, "copied", 0.25);
    is(&found, "copied_ngrams", 1.0 / 3.0);
    // Nothing is copied from where nothing was granted.
    let found = evaluate("evaluator-text-overlap", &json!({}), &[], &answers());
    assert!(found.metric("copied").is_none() && found.metric("bleu").is_some());
}

#[test]
fn tones_that_were_not_granted_are_asked_for() {
    let component = component("evaluator-couplet-rules");
    let error = Evaluator::open(&component, &json!({}), grants(&[])).unwrap_err();
    assert!(error.to_string().contains("tones"), "{error}");
}

// -- the processor

/// A stream of numbers.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 += 1;
        (rng::bits_at(17, self.0) % bound as u64) as usize
    }
}

fn tone_of(line: &[char], at: usize) -> &'static str {
    tone(line[at]).unwrap_or_default()
}

/// Whether the lower line keeps the rules, said once more and in another way than the plugin does.
fn keeps_the_rules(upper: &[char], lower: &[char]) -> bool {
    let last = upper.len() - 1;
    let opposed = [1, 3, 5].into_iter().filter(|at| *at < last).all(|at| {
        let pair = (tone_of(upper, at), tone_of(lower, at));
        !matches!(pair, ("P", "P") | ("Z", "Z") | ("P" | "Z", ""))
    });
    let alone = |at: usize| !upper.contains(&lower[at]) && !lower[..at].contains(&lower[at]);
    lower.len() == upper.len()
        && opposed
        && tone_of(lower, last).contains('P')
        && (0..lower.len()).all(alone)
}

#[test]
fn whatever_the_constraint_allows_is_a_couplet() {
    let config = json!({"tones": tones()});
    let component = component("processor-couplet");
    let mut processor = Processor::open(&component, &config, grants(&[])).unwrap();
    assert!(processor.stages().contains(Stages::CONSTRAIN));
    let mut dice = Dice(0);
    for round in 0..60 {
        // Eight requests of different lengths side by side, as in serving.
        let uppers: Vec<Vec<char>> = (0..8)
            .map(|row| {
                let length = 1 + (round + row) % 9;
                (0..length).map(|_| han(300)[dice.below(300)]).collect()
            })
            .collect();
        let mut sequences: Vec<Sequence> = uppers
            .iter()
            .map(|upper| {
                let upper: String = upper.iter().collect();
                let request = json!({"upper": upper}).to_string();
                let prepared = processor.preprocess(&request).unwrap();
                assert_eq!(
                    prepared.generation.max_tokens,
                    Some(upper.chars().count() as u32)
                );
                Sequence {
                    context: prepared.context,
                    tokens: Vec::new(),
                }
            })
            .collect();
        let mut done = vec![false; uppers.len()];
        while done.contains(&false) {
            for (row, allowed) in processor
                .constrain(&sequences)
                .unwrap()
                .into_iter()
                .enumerate()
            {
                match allowed {
                    Allowed::Only(tokens) => {
                        let token = tokens[dice.below(tokens.len())];
                        sequences[row].tokens.push(token);
                    }
                    Allowed::End => done[row] = true,
                    other => panic!("{other:?}"),
                }
            }
        }
        for (upper, sequence) in uppers.iter().zip(&sequences) {
            let lower = Characters(han(300)).decode(&sequence.tokens).unwrap();
            let lower: Vec<char> = lower.chars().collect();
            assert!(keeps_the_rules(upper, &lower), "{upper:?} / {lower:?}");
        }
    }
}

#[test]
fn a_request_becomes_fields_and_an_answer_json() {
    let config = json!({"tones": tones()});
    let component = component("processor-couplet");
    let mut processor = Processor::open(&component, &config, grants(&[])).unwrap();
    let prepared = processor
        .preprocess(r#"{"upper": "一丁一丁", "candidates": 2}"#)
        .unwrap();
    assert_eq!(prepared.fields[0].name, "src_txt");
    assert!(matches!(&prepared.fields[0].value, Value::Text(text) if text == "一丁一丁"));
    assert_eq!(
        (prepared.generation.count, prepared.generation.beams),
        (Some(2), Some(4))
    );
    let candidate = |text: &str, log_probability| Candidate {
        text: text.into(),
        tokens: Vec::new(),
        log_probability,
        finish: Finish::Length,
    };
    let output = Output::Generated(vec![candidate("万三丈七", -1.5), candidate("一", -2.0)]);
    let answer = processor.postprocess(&prepared.context, &output).unwrap();
    let answer: Json = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["lower"], "万三丈七");
    assert_eq!(answer["candidates"][0]["rules"]["all"], true);
    assert_eq!(answer["candidates"][1]["rules"]["equal_length"], false);

    let error = processor.preprocess(r#"{"upper": "一龙"}"#).unwrap_err();
    assert!(matches!(error, PluginError::Guest { .. }), "{error}");
    assert!(error.to_string().contains("龙"), "{error}");
    // A refused request is no harm to the next.
    processor.preprocess(r#"{"upper": "一丁"}"#).unwrap();
}
