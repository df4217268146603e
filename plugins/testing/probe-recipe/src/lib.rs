//! A recipe for tests.
//!
//! `bigram`: the next token's logits are a row of one table, so everything that generation must do can
//! be computed by hand. `linear`: numbers in, numbers out, nothing generated. Either panics when its
//! input holds what the configuration says, in the middle of a forward.

use tenon_sdk::{
    Error, Recipe, Result,
    recipe::{
        Generation, Init, Input, LinearOptions, Losses, Pass, Piece, Scope, Signature, Tensors,
        cross_entropy,
    },
    tensor::{DType, Reduction, Tensor},
};

/// What the model is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The next token depends on the last one alone.
    #[default]
    Bigram,
    /// `x` of four numbers becomes `y` of three.
    Linear,
}

/// The configuration.
#[derive(Debug, Clone, serde::Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct Config {
    /// What the model is.
    pub kind: Kind,
    /// The longest sequence; 0: any.
    pub context: u32,
    /// How sharp the distributions are.
    pub deviation: f32,
    /// A token (or number) that makes forward panic.
    pub poison: Option<i64>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            kind: Kind::Bigram,
            context: 32,
            deviation: 1.0,
            poison: None,
        }
    }
}

struct Probe {
    config: Config,
    vocabulary: u32,
}

impl Recipe for Probe {
    const NAME: &'static str = "testing/probe-recipe";
    const SUMMARY: &'static str = "A model for tests: its answers can be computed by hand.";
    type Config = Config;

    fn open(config: Config, vocabulary: u32) -> Result<Self> {
        if config.kind == Kind::Bigram && vocabulary == 0 {
            return Err(Error::invalid("a bigram model needs a tokenizer"));
        }
        Ok(Self { config, vocabulary })
    }

    fn signature(&self) -> Signature {
        if self.config.kind == Kind::Linear {
            return Signature::new([
                Input::fixed("x", "x", vec![4], DType::Float32),
                Input::fixed("y", "y", vec![3], DType::Float32).learnt(),
            ]);
        }
        let longest = (self.config.context > 0).then_some(self.config.context);
        let pieces = vec![
            Piece::special("<bos>"),
            Piece::column("text").learnt(),
            Piece::special("<eos>").learnt(),
        ];
        Signature::new([
            Input::sequence("ids", pieces, longest),
            Input::next_tokens("labels", "ids"),
        ])
        .generates(Generation {
            sequence: "ids".into(),
            logits: "logits".into(),
            stop: vec!["<eos>".into()],
            max_length: longest,
        })
    }

    fn forward(&self, scope: &Scope, pass: &Pass, inputs: &Tensors) -> Result<Tensors> {
        if self.config.kind == Kind::Linear {
            let x = inputs.get("x")?;
            if let Some(poison) = self.config.poison {
                assert!(
                    !x.to_f32s()?.contains(&(poison as f32)),
                    "the number {poison} came"
                );
            }
            let y = scope.linear("head", x, 3, LinearOptions::normal(1.0))?;
            return Ok(Tensors::new().with("y", y));
        }
        let ids = inputs.get("ids")?;
        if let Some(poison) = self.config.poison {
            let bytes = ids.to_bytes()?;
            let mut tokens = bytes.as_chunks::<8>().0.iter();
            assert!(
                !tokens.any(|token| i64::from_le_bytes(*token) == poison),
                "the token {poison} came"
            );
        }
        let rows = scope.embedding(
            "table",
            ids,
            self.vocabulary,
            self.vocabulary,
            Init::Normal(self.config.deviation),
        )?;
        let logits = pass.wanted(&rows, "ids")?;
        Ok(Tensors::new().with("logits", logits))
    }

    fn loss(&self, _pass: &Pass, outputs: &Tensors, inputs: &Tensors) -> Result<Losses> {
        if self.config.kind == Kind::Linear {
            let (found, wanted) = (outputs.get("y")?, inputs.get("y")?);
            let loss = found.mse_loss(wanted, Reduction::Mean)?;
            let rows = wanted.size(0) as f32;
            let weight = Tensor::from_f32s(&[], &[rows])?;
            return Ok(Losses::new(loss, weight));
        }
        cross_entropy(outputs.get("logits")?, inputs.get("labels")?, 0.0)
    }
}

tenon_sdk::export_recipe!(Probe);
