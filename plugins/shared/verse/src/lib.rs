//! Tones and the rules of couplets (对联): what the evaluator judges and the processor guarantees.
//!
//! The rules are those of regulated verse: the lines are of one length; at the 2nd, 4th and 6th
//! character (before the last) the tones are opposed; the upper line ends oblique (仄) and the lower
//! level (平); no character of the lower line is repeated or taken from the upper.

mod tones;

use std::collections::HashSet;

pub use tones::{DATASET, Tone, ToneColumns, Tones, TonesConfig};

/// Positions (from 0) whose tones must be opposed in a line of that length: the 2nd, 4th and 6th
/// character, the last aside.
pub fn key_positions(length: usize) -> impl Iterator<Item = usize> {
    [1, 3, 5].into_iter().filter(move |at| at + 1 < length)
}

/// Whether this is a Chinese character: CJK unified ideographs, their extensions and 〇.
pub fn is_han(c: char) -> bool {
    matches!(
        c,
        '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{323af}' | '〇'
    )
}

/// The tone that a place of the lower line asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Either.
    Any,
    /// 平
    Level,
    /// 仄
    Oblique,
}

impl Need {
    /// Whether a character may stand there. One of unknown tone may only where either does.
    pub fn admits(self, tone: Option<Tone>) -> bool {
        match self {
            Self::Any => true,
            Self::Level => tone.is_some_and(|tone| tone.level),
            Self::Oblique => tone.is_some_and(|tone| tone.oblique),
        }
    }
}

/// What the places of the lower line ask for: the opposite tone at the key positions, level at the
/// end. A character of the upper line that is of both tones, or of none that is known, asks for
/// nothing.
pub fn needs(upper: &[char], tones: &Tones) -> Vec<Need> {
    let mut needs = vec![Need::Any; upper.len()];
    for at in key_positions(upper.len()) {
        needs[at] = match tones.get(upper[at]) {
            Some(Tone {
                level: true,
                oblique: false,
            }) => Need::Oblique,
            Some(Tone {
                level: false,
                oblique: true,
            }) => Need::Level,
            _ => Need::Any,
        };
    }
    if let Some(last) = needs.last_mut() {
        *last = Need::Level;
    }
    needs
}

/// How a couplet keeps the rules.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judgement {
    /// Both lines have the same number of characters, and there are some.
    pub equal_length: bool,
    /// Key positions whose tones are opposed, of `judged`. A character of unknown tone is not judged.
    pub opposed: u32,
    /// Key positions at which both tones are known.
    pub judged: u32,
    /// The upper line ends oblique and the lower level; nothing if one of the tones is unknown.
    pub endings: Option<bool>,
    /// No character stands twice in the lower line.
    pub distinct: bool,
    /// No character of the lower line stands in the upper line too.
    pub fresh: bool,
}

impl Judgement {
    /// Of a couplet.
    pub fn of(upper: &str, lower: &str, tones: &Tones) -> Self {
        let (a, b): (Vec<char>, Vec<char>) = (upper.chars().collect(), lower.chars().collect());
        let (mut opposed, mut judged) = (0, 0);
        for at in key_positions(a.len().min(b.len())) {
            if let (Some(x), Some(y)) = (tones.get(a[at]), tones.get(b[at])) {
                judged += 1;
                opposed += u32::from(x.opposes(y));
            }
        }
        let ending = |line: &[char]| line.last().and_then(|&c| tones.get(c));
        let endings = match (ending(&a), ending(&b)) {
            (Some(x), Some(y)) => Some(x.oblique && y.level),
            _ => None,
        };
        let seen: HashSet<char> = b.iter().copied().collect();
        Self {
            equal_length: a.len() == b.len() && !a.is_empty(),
            opposed,
            judged,
            endings,
            distinct: seen.len() == b.len(),
            fresh: !a.iter().any(|c| seen.contains(c)),
        }
    }

    /// Whether no character is repeated, neither within the lower line nor from the upper.
    pub fn no_repeats(&self) -> bool {
        self.distinct && self.fresh
    }

    /// Whether every key position that could be judged is opposed.
    pub fn tones(&self) -> bool {
        self.opposed == self.judged
    }

    /// Whether every rule that could be judged is kept.
    pub fn all(&self) -> bool {
        self.equal_length && self.tones() && self.endings != Some(false) && self.no_repeats()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn tones() -> Tones {
        let of = |text: &str, tone: &str| {
            text.chars()
                .map(|c| (c, Tone::parse(tone).unwrap()))
                .collect::<Vec<_>>()
        };
        Tones::new(
            of("清泉松风流", "P")
                .into_iter()
                .chain(of("明月石上照", "Z"))
                .chain(of("看", "PZ")),
        )
    }

    #[test]
    fn couplets_are_judged_by_each_rule() {
        let good = Judgement::of("月上石照", "泉松风清", &tones());
        assert_eq!((good.equal_length, good.opposed, good.judged), (true, 1, 1));
        assert_eq!(
            (good.endings, good.no_repeats(), good.all()),
            (Some(true), true, true)
        );
        // The ending is wrong, the second characters are alike.
        let bad = Judgement::of("月上石清", "泉照风明", &tones());
        assert_eq!(
            (bad.opposed, bad.judged, bad.endings, bad.all()),
            (0, 1, Some(false), false)
        );
        let twice = Judgement::of("月上", "泉泉", &tones());
        assert_eq!((twice.distinct, twice.fresh), (false, true));
        let both = Judgement::of("月上", "泉泉上", &tones());
        assert_eq!((both.distinct, both.fresh), (false, false));
        let taken = Judgement::of("月上", "上泉", &tones());
        assert_eq!((taken.distinct, taken.fresh), (true, false));
        assert!(!Judgement::of("月上", "泉", &tones()).equal_length);
        assert!(!Judgement::of("", "", &tones()).equal_length);
        // A character of both tones opposes both.
        assert_eq!(Judgement::of("月看石照", "泉松风清", &tones()).opposed, 1);
        // An unknown one is not judged.
        assert_eq!(Judgement::of("月某石照", "泉松风清", &tones()).judged, 0);
    }

    #[test]
    fn key_positions_leave_the_last_character_out() {
        assert_eq!(key_positions(7).collect::<Vec<_>>(), [1, 3, 5]);
        assert_eq!(key_positions(6).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(key_positions(5).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(key_positions(4).collect::<Vec<_>>(), [1]);
        assert_eq!(key_positions(0).count(), 0);
    }

    #[test]
    fn what_the_places_need_is_what_is_judged() {
        let upper: Vec<char> = "月上石风照泉看".chars().collect();
        let needs = needs(&upper, &tones());
        use Need::{Any, Level, Oblique};
        assert_eq!(needs, [Any, Level, Any, Oblique, Any, Oblique, Level]);
        let unknown = super::needs(&['月', '某', '照', '看'], &tones());
        assert_eq!(unknown, [Any, Any, Any, Level]);
        assert!(Level.admits(Tone::parse("PZ")) && Oblique.admits(Tone::parse("PZ")));
        assert!(!Level.admits(Tone::parse("Z")) && !Level.admits(None) && Any.admits(None));
    }

    #[test]
    fn chinese_characters_are_told_from_others() {
        assert!("春㐀〇𠀀".chars().all(is_han));
        assert!(!"，a1 、あ".chars().any(is_han));
    }
}
