//! Cutting a text.

use std::ops::Range;

use crate::{By, Config};

/// The pairs of one text, before anything is left out.
pub(crate) fn pairs(text: &str, config: &Config) -> Vec<(String, String)> {
    let lines = lines(text, &config.separators);
    let piece = |lines: &[Range<usize>]| join(text, lines, config.keep_separators);
    match config.by {
        By::Lines => (0..lines.len())
            .step_by(config.step)
            .map_while(|from| {
                let middle = from.saturating_add(config.source_lines);
                let end = middle.saturating_add(config.target_lines);
                let source = lines.get(from..middle)?;
                Some((piece(source), piece(lines.get(middle..end)?)))
            })
            .collect(),
        By::Halves => match lines.as_slice() {
            [] => Vec::new(),
            [line] => halve(&text[line.clone()]).into_iter().collect(),
            several => {
                let at = nearest_to_middle(text, several);
                vec![(piece(&several[..at]), piece(&several[at..]))]
            }
        },
    }
}

/// The places of the lines that hold something beside white space.
fn lines(text: &str, separators: &str) -> Vec<Range<usize>> {
    let mut lines = Vec::new();
    let mut push = |from: usize, to: usize| {
        let line = &text[from..to];
        let trimmed = line.trim();
        if !trimmed.is_empty() {
            let from = from + (line.len() - line.trim_start().len());
            lines.push(from..from + trimmed.len());
        }
    };
    let mut start = 0;
    for (at, separator) in text.char_indices() {
        if separators.contains(separator) {
            push(start, at);
            start = at + separator.len_utf8();
        }
    }
    push(start, text.len());
    lines
}

fn join(text: &str, lines: &[Range<usize>], keep_separators: bool) -> String {
    match lines {
        [first, .., last] if keep_separators => text[first.start..last.end].to_owned(),
        _ => lines.iter().map(|line| &text[line.clone()]).collect(),
    }
}

/// The number of lines before the cut; both sides have one at least.
fn nearest_to_middle(text: &str, lines: &[Range<usize>]) -> usize {
    let lengths = lines.iter().map(|line| text[line.clone()].chars().count());
    let total: usize = lengths.clone().sum();
    let mut before = 0;
    let mut best = (usize::MAX, 1);
    for (at, length) in (1..lines.len()).zip(lengths) {
        before += length;
        best = best.min(((2 * before).abs_diff(total), at));
    }
    best.1
}

fn halve(line: &str) -> Option<(String, String)> {
    let count = line.chars().count();
    (count > 1).then(|| {
        let source: String = line.chars().take(count / 2).collect();
        let target = line[source.len()..].to_owned();
        (source, target)
    })
}
