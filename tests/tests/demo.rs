//! The reference demo, small: its steps are those of a user, its couplets keep the rules.
#![allow(clippy::unwrap_used)]

use std::{path::PathBuf, process::Command};

use tenon_tests::{Room, binary, component};

#[test]
fn the_demo_ends_with_a_table_and_couplets() {
    let room = Room::new();
    let plugins = PathBuf::from(component("recipe-palm"));
    let out = Command::new(binary().with_file_name("couplets"))
        .args([
            "demo",
            "--exit",
            "--port",
            "0",
            "--minutes",
            "0.4",
            "--tenon",
        ])
        .arg(binary())
        .arg("--plugins")
        .arg(plugins.parent().unwrap())
        .arg("--home")
        .arg(room.data())
        .output()
        .unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(
        out.status.success(),
        "{text}\n{}",
        String::from_utf8_lossy(&out.stderr)
    );
    let row = |label: &str| -> Vec<f64> {
        let line = text
            .lines()
            .find(|line| line.trim_start().starts_with(label))
            .unwrap();
        let numbers = line
            .trim_start()
            .trim_start_matches(label)
            .split_whitespace();
        numbers.filter_map(|word| word.parse().ok()).collect()
    };
    // Before and after, by the figure itself: intervals are in brackets.
    let perplexity = row("perplexity");
    assert!(perplexity[1] < perplexity[0], "fine-tuning helps: {text}");
    let couplets: Vec<Vec<char>> = text
        .lines()
        .filter_map(|line| line.strip_prefix("  "))
        .filter(|line| line.starts_with(|c: char| ('\u{4e00}'..='\u{9fff}').contains(&c)))
        .map(|line| line.chars().collect())
        .collect();
    assert_eq!(couplets.len(), 3, "{text}");
    for couplet in couplets {
        let space = couplet.iter().position(|c| *c == ' ').unwrap();
        let (upper, lower) = (&couplet[..space], &couplet[space + 2..]);
        assert_eq!(upper.len(), lower.len(), "{couplet:?}");
        let mut seen = lower.to_vec();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), lower.len(), "no repeats: {couplet:?}");
        assert!(lower.iter().all(|c| !upper.contains(c)), "{couplet:?}");
    }
    assert!(text.contains("curl http://127.0.0.1:"), "{text}");
}
