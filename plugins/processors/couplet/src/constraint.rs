//! Which tokens may come next.

use serde::{Deserialize, Serialize};
use tenon_sdk::Allowed;
use verse::{Need, Tones};

use crate::vocabulary::Characters;

/// What is decided once for a request; it travels with every sequence of every step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) upper: String,
    /// One letter for each place: `-` any tone, `P` level, `Z` oblique.
    needs: String,
    /// The tokens of the upper line's characters, ascending; nothing where repeats are allowed.
    barred: Option<Vec<u32>>,
}

impl Plan {
    /// For an upper line. `all`: every rule counts, not the length alone.
    pub(crate) fn new(upper: &str, all: bool, tones: &Tones, characters: &Characters) -> Self {
        let line: Vec<char> = upper.chars().collect();
        let needs = if all {
            verse::needs(&line, tones)
        } else {
            vec![Need::Any; line.len()]
        };
        let barred = all.then(|| {
            let mut tokens: Vec<u32> = line.iter().filter_map(|&c| characters.id(c)).collect();
            tokens.sort_unstable();
            tokens.dedup();
            tokens
        });
        Self {
            upper: upper.to_owned(),
            needs: needs.into_iter().map(letter).collect(),
            barred,
        }
    }

    /// The characters of the lower line.
    pub(crate) fn length(&self) -> usize {
        self.needs.len()
    }

    /// What may follow these tokens: see the README for the order in which rules give way.
    pub(crate) fn allowed(&self, tokens: &[u32], characters: &Characters) -> Allowed {
        let Some(&letter) = self.needs.as_bytes().get(tokens.len()) else {
            return Allowed::End;
        };
        let all = characters.admitted(Need::Any);
        let Some(upper) = &self.barred else {
            return Allowed::Only(all.to_vec());
        };
        let mut used = tokens.to_vec();
        used.sort_unstable();
        let mut both = [upper.as_slice(), &used].concat();
        both.sort_unstable();
        let fitting = characters.admitted(need(letter));
        for (list, barred) in [(fitting, &both), (all, &both), (all, &used)] {
            let left = without(list, barred);
            if !left.is_empty() {
                return Allowed::Only(left);
            }
        }
        Allowed::Only(all.to_vec())
    }
}

fn letter(need: Need) -> char {
    match need {
        Need::Any => '-',
        Need::Level => 'P',
        Need::Oblique => 'Z',
    }
}

fn need(letter: u8) -> Need {
    match letter {
        b'P' => Need::Level,
        b'Z' => Need::Oblique,
        _ => Need::Any,
    }
}

/// The list without some of its items; both ascend. The pieces between the few that go are copied
/// whole: the list has thousands of items.
fn without(list: &[u32], barred: &[u32]) -> Vec<u32> {
    let mut left = Vec::with_capacity(list.len());
    let mut rest = list;
    for token in barred {
        if let Ok(at) = rest.binary_search(token) {
            left.extend_from_slice(&rest[..at]);
            rest = &rest[at + 1..];
        }
    }
    left.extend_from_slice(rest);
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_taken_out() {
        let list = [1, 3, 5, 7, 9];
        assert_eq!(without(&list, &[]), list);
        assert_eq!(without(&list, &[0, 1, 1, 4, 5, 9, 10]), [3, 7]);
        assert_eq!(without(&list, &list), [0; 0]);
        assert_eq!(without(&[], &[1]), [0; 0]);
    }
}
