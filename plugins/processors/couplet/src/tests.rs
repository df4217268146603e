#![allow(clippy::unwrap_used)]
use super::*;
use serde_json::{Value as Json, json};
use tenon_sdk::{Array, Batch, Candidate, Column, Finish, Value, host::Random, testkit};
use verse::{Judgement, Tone};

/// `count` Chinese characters from 一 on.
fn characters(count: u32) -> Vec<char> {
    (0..count)
        .map(|i| char::from_u32(0x4e00 + i).unwrap())
        .collect()
}

/// Every third character is level, oblique, of both tones; every seventh has no tone.
fn tone(at: usize) -> Option<&'static str> {
    (at % 7 != 6).then(|| ["P", "Z", "PZ"][at % 3])
}

const SPECIAL: [&str; 5] = ["<pad>", "<unk>", "<bos>", "<sep>", "<eos>"];

/// A vocabulary of `count` characters and some tokens that are none.
fn grant(count: u32) -> Json {
    let all = characters(count);
    let alphabet: String = all.iter().chain(&['a', '，', '1']).collect();
    testkit::set_tokenizer(testkit::CharTokenizer::new(SPECIAL, &alphabet));
    let tones = all
        .iter()
        .enumerate()
        .filter_map(|(at, c)| Some((c.to_string(), tone(at)?)));
    tones.collect()
}

fn open(count: u32, change: &Json) -> Result<Couplet> {
    let mut config = json!({"tones": grant(count)});
    for (name, value) in change.as_object().unwrap() {
        config[name] = value.clone();
    }
    Couplet::open(serde_json::from_value(config).unwrap())
}

fn upper(random: &mut Random, count: u32, length: usize) -> String {
    let all = characters(count);
    (0..length).map(|_| all[random.below(all.len())]).collect()
}

fn prepare(couplet: &mut Couplet, upper: &str) -> Prepared {
    couplet
        .preprocess(&json!({"upper": upper}).to_string())
        .unwrap()
}

/// Picks allowed tokens at random until the constraint ends the line.
fn write(couplet: &mut Couplet, prepared: &Prepared, random: &mut Random) -> String {
    let mut tokens: Vec<u32> = Vec::new();
    loop {
        let sequence = Sequence {
            context: prepared.context.clone(),
            tokens: tokens.clone(),
        };
        match couplet.constrain(vec![sequence]).unwrap().remove(0) {
            Allowed::End => break,
            Allowed::Only(list) => {
                assert!(list.is_sorted_by(|a, b| a < b));
                tokens.push(list[random.below(list.len())]);
            }
            other => panic!("{other:?}"),
        }
        assert!(tokens.len() <= 32);
    }
    tenon_sdk::tokenizer::decode(&tokens).unwrap()
}

#[test]
fn whatever_is_picked_keeps_every_rule() {
    let mut couplet = open(300, &json!({})).unwrap();
    let mut random = Random::new(1);
    for round in 0..3000 {
        let upper = upper(&mut random, 300, 1 + round % 12);
        let prepared = prepare(&mut couplet, &upper);
        let lower = write(&mut couplet, &prepared, &mut random);
        let rules = Judgement::of(&upper, &lower, &couplet.tones);
        let place = || format!("{upper} / {lower}: {rules:?}");
        assert!(
            rules.equal_length && rules.distinct && rules.fresh,
            "{}",
            place()
        );
        assert!(rules.tones(), "{}", place());
        assert!(lower.chars().all(verse::is_han), "{}", place());
        let last = lower.chars().last().and_then(|c| couplet.tones.get(c));
        assert!(last.is_some_and(|tone| tone.level), "{}", place());
        let first = upper.chars().last().and_then(|c| couplet.tones.get(c));
        assert_eq!(rules.endings, first.map(|tone| tone.oblique), "{}", place());
    }
}

#[test]
fn rules_give_way_before_the_length_does() {
    // Two characters, 一 level and 丁 oblique, and an upper line of both.
    let mut couplet = open(2, &json!({})).unwrap();
    let (level, oblique) = (5, 6);
    let prepared = prepare(&mut couplet, "一丁一丁");
    let mut allowed = |tokens: &[u32]| {
        let sequence = Sequence {
            context: prepared.context.clone(),
            tokens: tokens.to_vec(),
        };
        couplet.constrain(vec![sequence]).unwrap().remove(0)
    };
    let only = |tokens: &[u32]| Allowed::Only(tokens.to_vec());
    let is = |a: Allowed, b: Allowed| assert_eq!(format!("{a:?}"), format!("{b:?}"));
    // Only characters of the upper line are left, …
    is(allowed(&[]), only(&[level, oblique]));
    // … the one that was not used, whatever its tone, …
    is(allowed(&[level]), only(&[oblique]));
    // … and then any.
    is(allowed(&[level, oblique]), only(&[level, oblique]));
    is(allowed(&[level, oblique, level, level]), Allowed::End);
    // The tone goes first.
    let mut couplet = open(4, &json!({})).unwrap();
    let prepared = prepare(&mut couplet, "一一丁丁");
    let sequence = Sequence {
        context: prepared.context,
        tokens: vec![7],
    };
    // The second place needs an oblique tone; 七 (level) is the only fresh character left.
    is(
        couplet.constrain(vec![sequence]).unwrap().remove(0),
        only(&[8]),
    );
    let mut random = Random::new(5);
    for length in 1..=32 {
        let upper = upper(&mut random, 4, length);
        let prepared = prepare(&mut couplet, &upper);
        let lower = write(&mut couplet, &prepared, &mut random);
        assert_eq!(lower.chars().count(), length);
    }
}

#[test]
fn the_length_alone_can_be_kept() {
    let mut couplet = open(20, &json!({"constrain": "length"})).unwrap();
    assert!(couplet.stages().contains(Stages::CONSTRAIN));
    let prepared = prepare(&mut couplet, "一一一");
    let sequence = Sequence {
        context: prepared.context,
        tokens: vec![5, 5],
    };
    let allowed = couplet.constrain(vec![sequence]).unwrap().remove(0);
    assert!(matches!(allowed, Allowed::Only(list) if list == (5..25).collect::<Vec<_>>()));

    // No tones are needed for it.
    grant(20);
    let config = |json: Json| serde_json::from_value(json).unwrap();
    Couplet::open(config(json!({"constrain": "length"}))).unwrap();
    let free = Couplet::open(config(json!({"constrain": "none"}))).unwrap();
    assert!(!free.stages().contains(Stages::CONSTRAIN));
    assert!(Couplet::open(config(json!({}))).is_err());
    let tones = [
        Column::from_utf8("character", ["一"]),
        Column::from_utf8("tone", ["P"]),
    ];
    testkit::set_dataset("tones", vec![Batch::from_columns(tones).unwrap()]);
    let granted = Couplet::open(config(json!({}))).unwrap();
    assert_eq!(granted.tones.get('一'), Tone::parse("P"));
}

#[test]
fn requests_become_fields_and_options() {
    let mut couplet = open(50, &json!({"column": "text", "suffix": "，"})).unwrap();
    let prepared = prepare(&mut couplet, " 一丁七 ");
    assert_eq!(prepared.fields.len(), 1);
    assert_eq!(prepared.fields[0].name, "text");
    assert!(matches!(&prepared.fields[0].value, Value::Text(text) if text == "一丁七，"));
    let generation = &prepared.generation;
    assert_eq!(
        (generation.max_tokens, generation.min_tokens),
        (Some(3), Some(3))
    );
    assert_eq!((generation.beams, generation.temperature), (None, None));

    let mut options = |change: Json| {
        let mut request = json!({"upper": "一丁七"});
        request
            .as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        let generation = couplet.preprocess(&request.to_string()).unwrap().generation;
        (generation.count, generation.beams, generation.temperature)
    };
    assert_eq!(options(json!({})), (Some(1), None, None));
    assert_eq!(
        options(json!({"candidates": 3})),
        (Some(3), Some(4), Some(0.0))
    );
    assert_eq!(
        options(json!({"candidates": 9})),
        (Some(9), Some(9), Some(0.0))
    );
    assert_eq!(options(json!({"beams": 2})), (Some(1), Some(2), Some(0.0)));
    assert_eq!(
        options(json!({"temperature": 0.0})),
        (Some(1), Some(1), Some(0.0))
    );
    let sampled = options(json!({"temperature": 0.8, "candidates": 3}));
    assert_eq!(sampled, (Some(3), Some(1), Some(0.8)));

    let mut couplet = open(50, &json!({"beams": 5, "constrain": "none"})).unwrap();
    let generation = prepare(&mut couplet, "一丁七").generation;
    assert_eq!((generation.beams, generation.max_tokens), (Some(5), None));
}

#[test]
fn requests_that_cannot_be_answered_are_refused_with_a_reason() {
    let mut couplet = open(50, &json!({"min_length": 2, "max_length": 5})).unwrap();
    let mut refused = |request: &str| couplet.preprocess(request).unwrap_err().to_string();
    assert!(refused("{").contains("\"upper\""));
    assert!(refused(r#"{"uper": "一丁"}"#).contains("unknown field `uper`"));
    assert!(refused(r#"{"candidates": 2}"#).contains("missing field `upper`"));
    assert!(refused(r#"{"upper": " 一 "}"#).contains("1 characters; it needs 2 to 5"));
    assert!(refused(r#"{"upper": "一丁一丁一丁"}"#).contains("6 characters"));
    assert!(refused(r#"{"upper": "一丁，七"}"#).contains("'，'"));
    assert!(refused(r#"{"upper": "一丁a"}"#).contains("no Chinese character"));
    let unknown = refused(r#"{"upper": "一龙马龙"}"#);
    assert!(unknown.ends_with("does not know: 龙马"), "{unknown}");
    assert!(refused(r#"{"upper": "一丁", "candidates": 11}"#).contains("between 1 and 10"));
    assert!(refused(r#"{"upper": "一丁", "beams": 65}"#).contains("between 1 and 64"));
    let both = refused(r#"{"upper": "一丁", "beams": 2, "temperature": 1.0}"#);
    assert!(both.contains("exclude each other"));
    assert!(open(50, &json!({"min_length": 3, "max_length": 2})).is_err());
    testkit::set_tokenizer(testkit::CharTokenizer::new(SPECIAL, "abc"));
    let config = json!({"tones": {"P": "天"}});
    let latin = Couplet::open(serde_json::from_value(config).unwrap());
    assert!(
        latin
            .err()
            .unwrap()
            .to_string()
            .contains("Chinese character")
    );
}

#[test]
fn answers_list_every_line_with_its_rules() {
    let mut couplet = open(50, &json!({})).unwrap();
    let context = prepare(&mut couplet, "一丁一丁").context;
    let candidate = |text: &str, log_probability: f64| Candidate {
        text: text.into(),
        tokens: vec![],
        log_probability,
        finish: Finish::Length,
    };
    // 三 and 七 are level, 万 and 丁 oblique.
    let lines = vec![
        candidate("万三丈七", -1.0),
        candidate("万三丈七", -1.0),
        candidate("丁丁", -2.5),
    ];
    let answer = couplet
        .postprocess(&context, ProcessorOutput::Generated(lines))
        .unwrap();
    let answer: Json = serde_json::from_str(&answer).unwrap();
    assert_eq!(
        answer,
        json!({
            "upper": "一丁一丁",
            "lower": "万三丈七",
            "candidates": [
                {"text": "万三丈七", "log_probability": -1.0, "rules": {
                    "all": true, "equal_length": true, "opposed_tones": 1, "judged_tones": 1,
                    "endings": true, "no_repeats": true}},
                {"text": "丁丁", "log_probability": -2.5, "rules": {
                    "all": false, "equal_length": false, "opposed_tones": 0, "judged_tones": 0,
                    "endings": false, "no_repeats": false}},
            ],
        })
    );
    let none = couplet.postprocess(&context, ProcessorOutput::Generated(vec![]));
    assert!(none.is_err());
    let array = Array {
        name: "logits".into(),
        shape: vec![1],
        values: vec![0.0],
    };
    let arrays = couplet.postprocess(&context, ProcessorOutput::Arrays(vec![array]));
    assert!(arrays.unwrap_err().to_string().contains("generates"));
    assert!(
        couplet
            .postprocess(b"[]", ProcessorOutput::Generated(vec![]))
            .is_err()
    );
}
