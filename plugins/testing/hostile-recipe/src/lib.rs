//! A recipe for tests: a bigram model that misbehaves from a given forward on.

use std::cell::{Cell, RefCell};

use tenon_sdk::{
    Context, Error, Recipe, Result, function, host,
    recipe::{
        Generation, Init, Input, Losses, Pass, Piece, Scope, Signature, Tensors, cross_entropy,
    },
    tensor::Tensor,
};

/// How it misbehaves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Does {
    /// Not at all.
    #[default]
    Nothing,
    /// Computes for ever.
    Loop,
    /// Allocates memory without end.
    Allocate,
    /// Calls the host without end.
    HostCalls,
    /// Keeps every tensor that it makes.
    Leak,
    /// Hands the host a list that is larger than any call may be.
    GiantList,
    /// Panics.
    Panic,
    /// Multiplies shapes that do not fit.
    Shape,
    /// Returns a loss that is no number.
    Nan,
}

/// The configuration.
#[derive(Debug, Clone, Default, serde::Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct Config {
    /// How it misbehaves.
    pub does: Does,
    /// The forward at which it begins, from 0.
    pub from: u32,
}

struct Hostile {
    config: Config,
    vocabulary: u32,
    forwards: Cell<u32>,
    kept: RefCell<Vec<Tensor>>,
}

impl Recipe for Hostile {
    const NAME: &'static str = "testing/hostile-recipe";
    const SUMMARY: &'static str = "A model for tests that misbehaves when told to.";
    type Config = Config;

    fn open(config: Config, vocabulary: u32) -> Result<Self> {
        if vocabulary == 0 {
            return Err(Error::invalid("a bigram model needs a tokenizer"));
        }
        Ok(Self {
            config,
            vocabulary,
            forwards: Cell::new(0),
            kept: RefCell::default(),
        })
    }

    fn signature(&self) -> Signature {
        let pieces = vec![
            Piece::special("<bos>"),
            Piece::column("text").learnt(),
            Piece::special("<eos>").learnt(),
        ];
        Signature::new([
            Input::sequence("ids", pieces, Some(64)),
            Input::next_tokens("labels", "ids"),
        ])
        .generates(Generation {
            sequence: "ids".into(),
            logits: "logits".into(),
            stop: vec!["<eos>".into()],
            max_length: Some(64),
        })
    }

    fn forward(&self, scope: &Scope, pass: &Pass, inputs: &Tensors) -> Result<Tensors> {
        let number = self.forwards.get();
        self.forwards.set(number + 1);
        let ids = inputs.get("ids")?;
        let rows = scope.embedding(
            "table",
            ids,
            self.vocabulary,
            self.vocabulary,
            Init::Normal(0.1),
        )?;
        let mut logits = pass.wanted(&rows, "ids")?;
        if number >= self.config.from {
            logits = self.misbehave(logits).context(function!())?;
        }
        Ok(Tensors::new().with("logits", logits))
    }

    fn loss(&self, _pass: &Pass, outputs: &Tensors, inputs: &Tensors) -> Result<Losses> {
        cross_entropy(outputs.get("logits")?, inputs.get("labels")?, 0.0)
    }
}

impl Hostile {
    fn misbehave(&self, logits: Tensor) -> Result<Tensor> {
        match self.config.does {
            Does::Nothing => {}
            Does::Loop => loop {
                std::hint::black_box(());
            },
            Does::Allocate => {
                let mut held = Vec::new();
                loop {
                    held.push(vec![1_u8; 1 << 20]);
                    std::hint::black_box(&held);
                }
            }
            Does::HostCalls => loop {
                std::hint::black_box(logits.shape());
            },
            Does::Leak => loop {
                self.kept.borrow_mut().push(logits.add_scalar(1.0)?);
            },
            Does::GiantList => {
                host::info(&"x".repeat(512 << 20));
            }
            Does::Panic => panic!("the recipe gave up on purpose"),
            Does::Shape => {
                let wrong = Tensor::from_f32s(&[3, 5], &[0.0; 15])?;
                return Ok(logits.matmul(&wrong)?);
            }
            Does::Nan => return Ok(logits.mul_scalar(f64::NAN)?),
        }
        Ok(logits)
    }
}

tenon_sdk::export_recipe!(Hostile);
