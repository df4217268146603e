//! What is compared, and how.

use schemars::JsonSchema;
use serde::Deserialize;
use tenon_sdk::{Error, Result, model::GenerationConfig};

use crate::{
    bleu::Smoothing,
    rouge::{Rouge, RougeTokens},
    tokens::Tokenize,
};

/// What is compared, and how.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    /// The column with the texts to judge. Nothing: the model under evaluation writes them.
    pub output: Option<String>,
    /// The columns with the references; several give a text several references. Empty: no BLEU, chrF and
    /// ROUGE.
    pub references: Vec<String>,
    /// What a token is.
    pub tokenize: Tokenize,
    /// Whether texts and references are compared in lower case.
    pub lowercase: bool,
    /// The longest n-grams of BLEU.
    #[schemars(range(min = 1, max = 8))]
    pub max_order: usize,
    /// What BLEU does about n-grams without a match.
    pub smoothing: Smoothing,
    /// What `floor` and `add-k` add. Nothing: 0.1 and 1.
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub smooth_value: Option<f64>,
    /// Characters of the longest n-grams of chrF.
    #[schemars(range(min = 1, max = 16))]
    pub chrf_order: usize,
    /// How many times as much as precision recall counts in chrF.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub chrf_beta: f64,
    /// What ROUGE counts.
    pub rouge: Vec<Rouge>,
    /// What a token of ROUGE is.
    pub rouge_tokens: RougeTokens,
    /// The n-grams whose variety is measured (distinct-n).
    #[schemars(inner(range(min = 1, max = 8)))]
    pub distinct: Vec<usize>,
    /// The n-grams that count as repeated when a text has them again.
    #[schemars(range(min = 1, max = 8))]
    pub repetition_order: usize,
    /// The columns of the granted dataset `train` that texts may be copied from. Empty: all columns of
    /// text.
    pub training_columns: Vec<String>,
    /// The n-grams that are looked for in the training data.
    #[schemars(range(min = 1, max = 32))]
    pub training_order: usize,
    /// The characters between the lines of a training text: a text that equals one of its lines is
    /// copied too.
    pub separators: String,
    /// How the model writes.
    pub generation: GenerationConfig,
    /// Rows that are judged; the rest is left out.
    #[schemars(range(min = 1))]
    pub max_rows: usize,
    /// Rows of the table of examples.
    #[schemars(range(max = 1000))]
    pub examples: usize,
    /// Resamples of the bootstrap; 0: no intervals.
    #[schemars(range(max = 100_000))]
    pub resamples: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            output: None,
            references: vec!["tgt_txt".into()],
            tokenize: Tokenize::default(),
            lowercase: false,
            max_order: 4,
            smoothing: Smoothing::default(),
            smooth_value: None,
            chrf_order: 6,
            chrf_beta: 2.0,
            rouge: vec![Rouge::One, Rouge::Two, Rouge::Longest],
            rouge_tokens: RougeTokens::default(),
            distinct: vec![1, 2, 3],
            repetition_order: 2,
            training_columns: Vec::new(),
            training_order: 4,
            separators: "\n\r，。！？；：、".into(),
            // A model that has not learnt to end must not write for ever.
            generation: GenerationConfig {
                max_tokens: Some(256),
                ..GenerationConfig::default()
            },
            max_rows: 500,
            examples: 20,
            resamples: 1000,
        }
    }
}

impl Config {
    /// Refuses what the schema cannot.
    pub(crate) fn check(&self) -> Result<()> {
        let value = self.smooth_value;
        if value.is_some() && !matches!(self.smoothing, Smoothing::Floor | Smoothing::AddK) {
            return Err(Error::invalid(
                "`smooth_value` is for the smoothings `floor` and `add-k`; leave it out, or choose one of them",
            ));
        }
        Ok(())
    }
}
