//! BERT: an encoder that is normalised after each residual, for hidden words or for classes. Names are
//! those of the public checkpoints of `BertForMaskedLM` and `BertForSequenceClassification`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tenon_sdk::{
    Context, Error, Recipe, Result, function,
    recipe::{
        AttentionOptions, Init, Input, LinearOptions, Losses, ParameterGroup, Pass, Piece, Scope,
        Signature, Tensors, accuracy, cross_entropy,
    },
    tensor::{DType, Tensor},
};

const EPSILON: f32 = 1e-12;
/// The standard deviation of new weights.
const DEVIATION: f32 = 0.02;
/// The piece of `[CLS] first [SEP] second [SEP]` that the second type begins with.
const SECOND: f64 = 3.0;

/// Sizes of the model, and what it reads.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    /// Transformer blocks.
    #[schemars(range(min = 1, max = 1000))]
    pub layers: u32,
    /// Width of the model; a multiple of `heads`.
    #[schemars(range(min = 1, max = 65536))]
    pub width: u32,
    /// Width inside the feed-forward blocks.
    #[schemars(range(min = 1, max = 1_048_576))]
    pub hidden: u32,
    /// Attention heads.
    #[schemars(range(min = 1, max = 1024))]
    pub heads: u32,
    /// The longest sequence in tokens: as many positions are learnt.
    #[schemars(range(min = 4, max = 65536))]
    pub context: u32,
    /// Dropout in training.
    #[schemars(range(min = 0.0, max = 0.95))]
    pub dropout: f32,
    /// The column of the text, or of the first of two.
    pub first: String,
    /// The column of a second text.
    pub second: Option<String>,
    /// Learns classes of the texts. Without it: hidden words.
    pub classes: Option<Classes>,
}

/// What a text may be.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Classes {
    /// The column with the class's number, from 0.
    pub column: String,
    /// How many there are.
    #[schemars(range(min = 2, max = 1_000_000))]
    pub count: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            layers: 4,
            width: 256,
            hidden: 1024,
            heads: 4,
            context: 512,
            dropout: 0.1,
            first: "text".into(),
            second: None,
            classes: None,
        }
    }
}

/// The model.
pub struct Bert {
    config: Config,
    vocabulary: u32,
}

impl Recipe for Bert {
    const NAME: &'static str = "sketch/bert";
    const SUMMARY: &'static str = "BERT: an encoder that learns hidden words, or classes of texts.";
    type Config = Config;

    fn open(config: Config, vocabulary: u32) -> Result<Self> {
        if vocabulary == 0 {
            return Err(Error::invalid(
                "a language model needs a tokenizer: give the job one",
            ));
        }
        if !config.width.is_multiple_of(config.heads) {
            return Err(Error::invalid(format!(
                "`width` ({}) must be a multiple of `heads` ({})",
                config.width, config.heads
            )));
        }
        Ok(Self { config, vocabulary })
    }

    fn signature(&self) -> Signature {
        let config = &self.config;
        let mut pieces = vec![
            Piece::special("[CLS]"),
            Piece::column(&config.first).learnt(),
            Piece::special("[SEP]"),
        ];
        if let Some(second) = &config.second {
            pieces.extend([Piece::column(second).learnt(), Piece::special("[SEP]")]);
        }
        let mut inputs = vec![
            Input::sequence("ids", pieces, Some(config.context)),
            Input::pieces("pieces", "ids"),
        ];
        inputs.push(match &config.classes {
            Some(classes) => Input::fixed("class", &classes.column, vec![], DType::Int64).learnt(),
            None => Input::masked("targets", "ids", "[MASK]", 0.15).disguised(0.1, 0.1),
        });
        Signature::new(inputs)
    }

    fn parameter_groups(&self) -> Vec<ParameterGroup> {
        vec![ParameterGroup::without_decay(
            r"(\.bias|LayerNorm\.weight)$",
        )]
    }

    fn forward(&self, scope: &Scope, pass: &Pass, inputs: &Tensors) -> Result<Tensors> {
        let bert = scope.child("bert");
        let mut x = self.embed(&bert.child("embeddings"), pass, inputs)?;
        for layer in 0..self.config.layers {
            x = self
                .block(&bert.item("encoder.layer", layer), pass, &x, layer)
                .with_context(|| format!("layer {layer} of the model"))?;
        }
        let logits = match &self.config.classes {
            Some(classes) => self.classify(scope, pass, &x, classes.count)?,
            None => self.words(scope, &x)?,
        };
        Ok(Tensors::new().with("logits", logits))
    }

    fn loss(&self, pass: &Pass, outputs: &Tensors, inputs: &Tensors) -> Result<Losses> {
        let logits = outputs.get("logits")?;
        let targets = inputs.get(if self.config.classes.is_some() {
            "class"
        } else {
            "targets"
        })?;
        let losses = cross_entropy(logits, targets, 0.0)?;
        if pass.is_training() {
            return Ok(losses);
        }
        let accuracy = accuracy(logits, targets, &losses.weight)?;
        Ok(losses.metric("accuracy", accuracy))
    }
}

impl Bert {
    fn embed(&self, scope: &Scope, pass: &Pass, inputs: &Tensors) -> Result<Tensor> {
        let Config {
            width,
            context,
            dropout,
            ..
        } = self.config;
        let init = Init::Normal(DEVIATION);
        let types = inputs
            .get("pieces")?
            .cast(DType::Float32)?
            .gt_scalar(SECOND - 0.5)?
            .cast(DType::Int64)?;
        let words = scope.embedding(
            "word_embeddings",
            inputs.get("ids")?,
            self.vocabulary,
            width,
            init,
        )?;
        let places = scope.embedding(
            "position_embeddings",
            &pass.positions("ids")?,
            context,
            width,
            init,
        )?;
        let types = scope.embedding("token_type_embeddings", &types, 2, width, init)?;
        let x = scope.layer_norm("LayerNorm", &(words + places + types), EPSILON)?;
        Ok(pass.dropout(&x, dropout)?)
    }

    fn block(&self, scope: &Scope, pass: &Pass, x: &Tensor, layer: u32) -> Result<Tensor> {
        let Config {
            width,
            hidden,
            heads,
            dropout,
            ..
        } = self.config;
        let own = scope.child("attention.self");
        let part = |name: &str| own.linear(name, x, width, dense())?.split_heads(heads);
        let options = AttentionOptions::bidirectional(layer, "ids").dropout(dropout);
        let (q, k, v) = (part("query")?, part("key")?, part("value")?);
        let mixed = pass
            .attention(&q, Some(&k), Some(&v), None, &options)?
            .merge_heads()?;
        let x = self
            .add(&scope.child("attention.output"), pass, x, &mixed)
            .context(function!())?;
        let wide = scope
            .linear("intermediate.dense", &x, hidden, dense())?
            .gelu(false)?;
        self.add(&scope.child("output"), pass, &x, &wide)
            .context(function!())
    }

    /// Back into the model's width, added to where it came from, and normalised.
    fn add(&self, scope: &Scope, pass: &Pass, x: &Tensor, change: &Tensor) -> Result<Tensor> {
        let change = scope.linear("dense", change, self.config.width, dense())?;
        let change = pass.dropout(&change, self.config.dropout)?;
        scope.layer_norm("LayerNorm", &(x + change), EPSILON)
    }

    /// Which word is hidden: the output layer is the embedding.
    fn words(&self, scope: &Scope, x: &Tensor) -> Result<Tensor> {
        let head = scope.child("cls.predictions");
        let x = head
            .linear("transform.dense", x, self.config.width, dense())?
            .gelu(false)?;
        let x = head.layer_norm("transform.LayerNorm", &x, EPSILON)?;
        let embeddings = scope.child("bert.embeddings");
        let logits = embeddings.linear(
            "word_embeddings",
            &x,
            self.vocabulary,
            dense().without_bias(),
        )?;
        Ok(logits + head.param("bias", &[self.vocabulary], Init::Zeros)?)
    }

    /// The pooled first token, and what class it says.
    fn classify(&self, scope: &Scope, pass: &Pass, x: &Tensor, count: u32) -> Result<Tensor> {
        let first = x.narrow(1, 0, 1)?.squeeze(1)?;
        let pooled = scope
            .linear("bert.pooler.dense", &first, self.config.width, dense())?
            .tanh()?;
        let pooled = pass.dropout(&pooled, self.config.dropout)?;
        Ok(scope.linear("classifier", &pooled, count, dense())?)
    }
}

fn dense() -> LinearOptions {
    LinearOptions::normal(DEVIATION)
}

tenon_sdk::export_recipe!(Bert);
