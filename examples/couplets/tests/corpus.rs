//! The corpus keeps the rules that it is supposed to teach.
#![allow(clippy::unwrap_used)]

use std::collections::{HashMap, HashSet};

use couplets::{
    corpus::{Size, couplet, poem, write},
    lexicon::{Lexicon, Tone},
    rng::Rng,
};

/// Tones by character; a character with two roles must have one tone for the check to be fair.
fn tones(lexicon: &Lexicon) -> HashMap<char, HashSet<Tone>> {
    let mut tones: HashMap<char, HashSet<Tone>> = HashMap::new();
    for word in lexicon.words() {
        tones.entry(word.character).or_default().insert(word.tone);
    }
    tones
}

#[test]
fn couplets_keep_the_rules_of_regulated_verse() {
    let lexicon = Lexicon::shipped().unwrap();
    let tones = tones(&lexicon);
    let mut rng = Rng::new(3);
    let mut lengths = HashSet::new();
    for _ in 0..2_000 {
        let pair = couplet(&lexicon, &mut rng);
        let (upper, lower): (Vec<char>, Vec<char>) =
            (pair.upper.chars().collect(), pair.lower.chars().collect());
        assert_eq!(upper.len(), lower.len());
        lengths.insert(upper.len());
        let all: HashSet<char> = upper.iter().chain(&lower).copied().collect();
        assert_eq!(
            all.len(),
            2 * upper.len(),
            "a character is repeated in {pair:?}"
        );
        for at in [1, 3, 5].into_iter().filter(|&at| at + 1 < upper.len()) {
            assert!(
                tones[&upper[at]]
                    .iter()
                    .any(|tone| tones[&lower[at]].contains(&tone.opposite())),
                "position {} of {pair:?} is not opposed",
                at + 1
            );
        }
        assert!(
            tones[upper.last().unwrap()].contains(&Tone::Oblique),
            "{pair:?}"
        );
        assert!(
            tones[lower.last().unwrap()].contains(&Tone::Level),
            "{pair:?}"
        );
    }
    assert_eq!(lengths, HashSet::from([5, 7]));
}

#[test]
fn poems_have_four_lines_of_one_length() {
    let lexicon = Lexicon::shipped().unwrap();
    let mut rng = Rng::new(4);
    for _ in 0..500 {
        let poem = poem(&lexicon, &mut rng);
        let lines: Vec<usize> = poem
            .split(['，', '。'])
            .filter(|line| !line.is_empty())
            .map(|line| line.chars().count())
            .collect();
        assert_eq!(lines.len(), 4, "{poem}");
        assert!(lines.iter().all(|&length| length == lines[0]), "{poem}");
    }
}

#[test]
fn a_seed_gives_one_corpus_and_dev_is_apart_from_train() {
    let folder = std::env::temp_dir().join(format!("couplets-{}", std::process::id()));
    let size = Size {
        poems: 50,
        train: 400,
        dev: 100,
    };
    write(&folder.join("a"), size, 7).unwrap();
    write(&folder.join("b"), size, 7).unwrap();
    write(&folder.join("c"), size, 8).unwrap();
    let read =
        |sub: &str, name: &str| std::fs::read_to_string(folder.join(sub).join(name)).unwrap();
    for name in ["poems.jsonl", "couplets-train.jsonl", "couplets-dev.jsonl"] {
        assert_eq!(read("a", name), read("b", name));
        assert_ne!(read("a", name), read("c", name));
    }
    let uppers = |name: &str| -> HashSet<String> {
        read("a", name)
            .lines()
            .map(|line| line.split('"').nth(3).unwrap().to_owned())
            .collect()
    };
    let (train, dev) = (uppers("couplets-train.jsonl"), uppers("couplets-dev.jsonl"));
    assert_eq!((train.len(), dev.len()), (400, 100));
    assert!(train.is_disjoint(&dev));
    assert!(
        read("a", "tones.tsv")
            .lines()
            .all(|line| line.split('\t').count() == 2)
    );
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_damaged_lexicon_is_refused_with_its_line() {
    let error = Lexicon::parse("# head\n云\tP\tnoun\tsky\t0\n月\tX\tnoun\tsky\t0\n").unwrap_err();
    let text = format!("{error:#}");
    assert!(text.contains("line 3") && text.contains("P or Z"), "{text}");
}
