//! Makes pairs of a text and its continuation: what an encoder–decoder is pre-trained on.

mod cut;

use schemars::JsonSchema;
use serde::Deserialize;
use tenon_sdk::{Batch, Column, Columns, Error, Output, Result, Transform};

/// Where a text is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// Between lines: `source_lines` of them and the `target_lines` that follow, then again
    /// `step` lines later.
    #[default]
    Lines,
    /// Once, between the two lines that lie nearest to the middle; a text of one line is cut in its
    /// middle.
    Halves,
}

/// How texts become pairs.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    /// The column of text that is cut.
    pub column: String,
    /// The column that the beginnings are written to.
    pub source: String,
    /// The column that the continuations are written to.
    pub target: String,
    /// Where a text is cut.
    pub by: By,
    /// The characters that end a line.
    pub separators: String,
    /// Whether the characters between lines stay in the pairs; at the ends of a source and a target
    /// they do not.
    pub keep_separators: bool,
    /// Lines of a source (`by` lines).
    #[schemars(range(min = 1))]
    pub source_lines: usize,
    /// Lines of a target (`by` lines).
    #[schemars(range(min = 1))]
    pub target_lines: usize,
    /// Lines from one pair's beginning to the next one's (`by` lines).
    #[schemars(range(min = 1))]
    pub step: usize,
    /// Pairs with a shorter source or target are left out (characters).
    #[schemars(range(min = 1))]
    pub min_characters: usize,
    /// Longer sources lose their beginning, longer targets their end (characters).
    #[schemars(range(min = 1))]
    pub max_characters: Option<usize>,
    /// Whether only pairs whose source and target have the same number of characters are kept.
    pub equal_lengths: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            column: "text".into(),
            source: "src_txt".into(),
            target: "tgt_txt".into(),
            by: By::Lines,
            separators: "\n\r，。！？；：、".into(),
            keep_separators: false,
            source_lines: 1,
            target_lines: 1,
            step: 1,
            min_characters: 1,
            max_characters: None,
            equal_lengths: false,
        }
    }
}

/// The transform.
pub struct Continuation(Config);

impl Transform for Continuation {
    const NAME: &'static str = "tenon/continuation";
    const SUMMARY: &'static str = "Makes pairs of a text and its continuation, by lines or halves.";
    type Config = Config;

    fn open(config: Config) -> Result<Self> {
        if config.source == config.target {
            return Err(Error::invalid(format!(
                "`source` and `target` are both `{}`: give them different names",
                config.source
            )));
        }
        if let Some(max) = config.max_characters
            && max < config.min_characters
        {
            return Err(Error::invalid(format!(
                "max_characters ({max}) is less than min_characters ({}): no pair would be kept",
                config.min_characters
            )));
        }
        Ok(Self(config))
    }

    fn columns(&self) -> Columns {
        Columns::read([&self.0.column]).write([&self.0.source, &self.0.target])
    }

    fn process(&mut self, input: Batch) -> Result<Vec<Output>> {
        let config = &self.0;
        let texts = input.utf8(&config.column)?;
        let (mut origins, mut sources, mut targets) = (Vec::new(), Vec::new(), Vec::new());
        for (row, text) in (0..).zip(texts.iter()) {
            for (source, target) in cut::pairs(text.unwrap_or_default(), config) {
                if let Some((source, target)) = config.accepts(source, target) {
                    origins.push(row);
                    sources.push(source);
                    targets.push(target);
                }
            }
        }
        Ok(vec![Output::origin(
            origins,
            [
                Column::from_utf8(&config.source, sources),
                Column::from_utf8(&config.target, targets),
            ],
        )])
    }
}

impl Config {
    /// The pair as it is written, if it is.
    fn accepts(&self, source: String, target: String) -> Option<(String, String)> {
        let most = self.max_characters.unwrap_or(usize::MAX);
        let (before, after) = (source.chars().count(), target.chars().count());
        let fits = before >= self.min_characters
            && after >= self.min_characters
            && (!self.equal_lengths || before == after);
        fits.then(|| {
            let source = source.chars().skip(before.saturating_sub(most)).collect();
            (source, target.chars().take(most).collect())
        })
    }
}

tenon_sdk::export_transform!(Continuation);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tenon_sdk::Rows;

    fn run(json: &str, texts: &[Option<&str>]) -> Vec<(u32, String, String)> {
        let config: Config = serde_json::from_str(json).unwrap();
        let (source, target) = (config.source.clone(), config.target.clone());
        let column = Column::from_utf8_options(&config.column, texts.iter().copied());
        let mut transform = Continuation::open(config).unwrap();
        let output = transform
            .process(Batch::from_columns([column]).unwrap())
            .unwrap()
            .remove(0);
        let Rows::Origin(rows) = &output.rows else {
            panic!("{:?}", output.rows)
        };
        let (source, target) = (
            output.batch.utf8(&source).unwrap(),
            output.batch.utf8(&target).unwrap(),
        );
        let cell = |text: Option<&str>| text.unwrap().to_owned();
        (0..rows.len())
            .map(|at| (rows[at], cell(source.get(at)), cell(target.get(at))))
            .collect()
    }

    fn pairs(json: &str, text: &str) -> Vec<(String, String)> {
        let found = run(json, &[Some(text)]).into_iter();
        found.map(|(_, source, target)| (source, target)).collect()
    }

    fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let pair = |pair: &(&str, &str)| (pair.0.to_owned(), pair.1.to_owned());
        pairs.iter().map(pair).collect()
    }

    const POEM: &str = "床前明月光，疑是地上霜。\n举头望明月，低头思故乡。";

    #[test]
    fn a_line_is_followed_by_the_next() {
        let expected = [
            ("床前明月光", "疑是地上霜"),
            ("疑是地上霜", "举头望明月"),
            ("举头望明月", "低头思故乡"),
        ];
        assert_eq!(pairs("{}", POEM), owned(&expected));
        let twos = pairs(r#"{"step": 2}"#, POEM);
        assert_eq!(twos, owned(&[expected[0], expected[2]]));
        let long = r#"{"source_lines": 2, "target_lines": 2, "keep_separators": true}"#;
        let whole = ("床前明月光，疑是地上霜", "举头望明月，低头思故乡");
        assert_eq!(pairs(long, POEM), owned(&[whole]));
        let joined = pairs(r#"{"source_lines": 3}"#, POEM);
        assert_eq!(
            joined,
            owned(&[("床前明月光疑是地上霜举头望明月", "低头思故乡")])
        );
    }

    #[test]
    fn halves_are_cut_between_lines() {
        let by = r#"{"by": "halves", "keep_separators": true}"#;
        let whole = ("床前明月光，疑是地上霜", "举头望明月，低头思故乡");
        assert_eq!(pairs(by, POEM), owned(&[whole]));
        // The second cut is nearer to the middle than the first.
        let three = pairs(by, "天，地玄黄，宇宙");
        assert_eq!(three, owned(&[("天，地玄黄", "宇宙")]));
        assert_eq!(pairs(by, "天地玄黄"), owned(&[("天地", "玄黄")]));
        assert!(pairs(by, "天").is_empty() && pairs(by, "").is_empty());
        let bare = pairs(r#"{"by": "halves"}"#, POEM);
        assert_eq!(
            bare,
            owned(&[("床前明月光疑是地上霜", "举头望明月低头思故乡")])
        );
    }

    #[test]
    fn rows_know_their_origin_and_what_does_not_fit_is_left_out() {
        let texts = [Some("甲乙，丙丁"), None, Some("甲"), Some("一，二三，四五")];
        let found = run(r#"{"min_characters": 2}"#, &texts);
        let row = |n, a: &str, b: &str| (n, a.to_owned(), b.to_owned());
        assert_eq!(found, [row(0, "甲乙", "丙丁"), row(3, "二三", "四五")]);
        let equal = run(r#"{"equal_lengths": true}"#, &texts);
        assert_eq!(equal, found);
        let cut = pairs(r#"{"max_characters": 2}"#, "一二三，四五六");
        assert_eq!(cut, owned(&[("二三", "四五")]));
    }

    #[test]
    fn contradictions_are_refused() {
        let refused = |json: &str| {
            let config = serde_json::from_str(json).unwrap();
            Continuation::open(config).err().unwrap().to_string()
        };
        assert!(refused(r#"{"source": "a", "target": "a"}"#).contains("`a`"));
        assert!(refused(r#"{"min_characters": 3, "max_characters": 2}"#).contains("no pair"));
    }
}
