//! Answers.

use serde::Serialize;
use tenon_sdk::{Error, ProcessorOutput, Result};
use verse::{Judgement, Tones};

/// The JSON body of an answer.
#[derive(Serialize)]
struct Answer<'a> {
    upper: &'a str,
    /// The best lower line.
    lower: &'a str,
    /// Best first.
    candidates: Vec<Line<'a>>,
}

#[derive(Serialize)]
struct Line<'a> {
    text: &'a str,
    log_probability: f64,
    rules: Rules,
}

#[derive(Serialize)]
struct Rules {
    /// Every rule that could be judged.
    all: bool,
    equal_length: bool,
    /// Key positions with opposed tones, of those that could be judged.
    opposed_tones: u32,
    judged_tones: u32,
    /// Nothing where a tone is not known.
    endings: Option<bool>,
    no_repeats: bool,
}

impl Rules {
    fn of(upper: &str, lower: &str, tones: &Tones) -> Self {
        let judgement = Judgement::of(upper, lower, tones);
        Self {
            all: judgement.all(),
            equal_length: judgement.equal_length,
            opposed_tones: judgement.opposed,
            judged_tones: judgement.judged,
            endings: judgement.endings,
            no_repeats: judgement.no_repeats(),
        }
    }
}

/// Writes the answer: every line that was generated once.
pub(crate) fn write(upper: &str, output: ProcessorOutput, tones: &Tones) -> Result<String> {
    let ProcessorOutput::Generated(generated) = output else {
        return Err(Error::invalid(
            "the model gives arrays and no text: this processor needs one that generates",
        ));
    };
    let mut candidates: Vec<Line> = Vec::with_capacity(generated.len());
    for candidate in &generated {
        let text = candidate.text.trim();
        // Samples may be alike.
        if candidates.iter().all(|line| line.text != text) {
            candidates.push(Line {
                text,
                log_probability: candidate.log_probability,
                rules: Rules::of(upper, text, tones),
            });
        }
    }
    let Some(lower) = candidates.first().map(|line| line.text) else {
        return Err(Error::failed("the model wrote no line"));
    };
    Ok(serde_json::to_string(&Answer {
        upper,
        lower,
        candidates,
    })?)
}
