//! The files of a corpus: poems to pre-train on, couplets to fine-tune on, and the tone table.

use std::{
    collections::{BTreeMap, HashSet},
    fs::{self, File},
    io::{BufWriter, Write},
    path::Path,
};

use anyhow::{Context, Result, ensure};

use crate::{
    grammar,
    lexicon::{Lexicon, Tone},
    rng::Rng,
};

/// How much is made.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Poems of four lines.
    pub poems: usize,
    /// Couplets to train on.
    pub train: usize,
    /// Couplets kept apart; none of their upper lines is in the training part.
    pub dev: usize,
}

/// A pair of lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Couplet {
    /// 上联
    pub upper: String,
    /// 下联
    pub lower: String,
}

/// A couplet of 5 or 7 characters a line.
pub fn couplet(lexicon: &Lexicon, rng: &mut Rng) -> Couplet {
    loop {
        let length = if rng.chance(0.5) { 5 } else { 7 };
        let second = if rng.chance(0.5) {
            Tone::Level
        } else {
            Tone::Oblique
        };
        let template = grammar::template(length, rng);
        let above = grammar::tones(length, second, Tone::Oblique);
        let below = grammar::tones(length, second.opposite(), Tone::Level);
        // A line that runs out of fitting characters is begun again.
        let Some(upper) = grammar::line(lexicon, template, &above, rng) else {
            continue;
        };
        let Some(lower) = grammar::answer(lexicon, &upper, &below, rng) else {
            continue;
        };
        return Couplet {
            upper: grammar::text(&upper),
            lower: grammar::text(&lower),
        };
    }
}

/// Four lines of one length that do not answer each other.
pub fn poem(lexicon: &Lexicon, rng: &mut Rng) -> String {
    let length = if rng.chance(0.5) { 5 } else { 7 };
    let mut text = String::new();
    for number in 0..4 {
        let line = loop {
            let second = if rng.chance(0.5) {
                Tone::Level
            } else {
                Tone::Oblique
            };
            let last = if number % 2 == 0 {
                Tone::Oblique
            } else {
                Tone::Level
            };
            let template = grammar::template(length, rng);
            let tones = grammar::tones(length, second, last);
            if let Some(line) = grammar::line(lexicon, template, &tones, rng) {
                break line;
            }
        };
        text.push_str(&grammar::text(&line));
        text.push(if number % 2 == 0 { '，' } else { '。' });
    }
    text
}

/// Writes `poems.jsonl`, `couplets-train.jsonl`, `couplets-dev.jsonl` and `tones.tsv`: the layout that
/// the demo reads real data in.
///
/// # Errors
/// If the folder cannot be written.
pub fn write(folder: &Path, size: Size, seed: u64) -> Result<()> {
    let lexicon = Lexicon::shipped()?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut rng = Rng::new(seed);
    lines(&folder.join("poems.jsonl"), |out| {
        for _ in 0..size.poems {
            writeln!(out, "{{\"text\": \"{}\"}}", poem(&lexicon, &mut rng))?;
        }
        Ok(())
    })?;
    let mut seen = HashSet::new();
    for (name, count) in [
        ("couplets-dev.jsonl", size.dev),
        ("couplets-train.jsonl", size.train),
    ] {
        let mut misses = 0;
        lines(&folder.join(name), |out| {
            let mut written = 0;
            while written < count {
                let Couplet { upper, lower } = couplet(&lexicon, &mut rng);
                if seen.insert(upper.clone()) {
                    writeln!(
                        out,
                        "{{\"src_txt\": \"{upper}\", \"tgt_txt\": \"{lower}\"}}"
                    )?;
                    written += 1;
                } else {
                    misses += 1;
                    ensure!(
                        misses < 100 * count,
                        "the lexicon has fewer than {count} different lines"
                    );
                }
            }
            Ok(())
        })?;
    }
    let mut tones: BTreeMap<char, &str> = BTreeMap::new();
    for word in lexicon.words() {
        let tone = if word.tone == Tone::Level { "P" } else { "Z" };
        let known = tones.entry(word.character).or_insert(tone);
        if *known != tone {
            *known = "PZ";
        }
    }
    lines(&folder.join("tones.tsv"), |out| {
        for (character, tone) in &tones {
            writeln!(out, "{character}\t{tone}")?;
        }
        Ok(())
    })
}

/// Writes a file as a whole: it appears under its name only when it is complete.
fn lines(path: &Path, fill: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let fresh = path.with_extension("new");
    let mut out = BufWriter::new(
        File::create(&fresh).with_context(|| format!("cannot write {}", fresh.display()))?,
    );
    fill(&mut out)?;
    out.into_inner()
        .map_err(std::io::IntoInnerError::into_error)?
        .sync_all()?;
    fs::rename(&fresh, path).with_context(|| format!("cannot write {}", path.display()))
}
