//! BERT: an encoder that is normalised after each residual, for hidden words, classes of texts or of
//! tokens, or sentence embeddings. Configuration and names are those of the public checkpoints of
//! `BertForMaskedLM`, `BertForSequenceClassification`, `BertForTokenClassification` and `BertModel`.

mod config;
mod encoder;
mod head;
mod objective;

use tenon_sdk::{
    Recipe, Result,
    recipe::{
        Input, LinearOptions, Losses, ParameterGroup, Pass, Piece, Scope, Signature, Tensors,
    },
    tensor::DType,
};

pub use config::Config;
use config::{Shape, Task};
use head::mean;

/// The sequence that is read, and the pieces that its tokens come from.
const IDS: &str = "ids";
const PIECES: &str = "pieces";
/// What the model learns: a class, numbers, hidden words, or a sequence of classes.
const LABELS: &str = "labels";
/// A text that means the same.
const POSITIVE: &str = "positive";

/// The model.
pub struct Bert {
    config: Config,
    shape: Shape,
}

impl Recipe for Bert {
    const NAME: &'static str = "tenon/bert";
    const SUMMARY: &'static str =
        "BERT: an encoder for hidden words, classes of texts and tokens, and sentence embeddings.";
    type Config = Config;

    fn open(config: Config, vocabulary: u32) -> Result<Self> {
        let shape = config.shape(vocabulary)?;
        Ok(Self { config, shape })
    }

    fn signature(&self) -> Signature {
        let config = &self.config;
        let longest = config.max_position_embeddings;
        // Learnt are the tokens that may be hidden.
        let mut pieces = vec![
            Piece::special(&config.cls_token),
            Piece::column(&config.text).learnt(),
            Piece::special(&config.sep_token),
        ];
        if let Some(pair) = &config.text_pair {
            pieces.extend([
                Piece::column(pair).learnt(),
                Piece::special(&config.sep_token),
            ]);
        }
        let mut inputs = vec![
            Input::sequence(IDS, pieces, Some(longest)),
            Input::pieces(PIECES, IDS),
        ];
        let fixed =
            |shape: Vec<u32>, dtype| Input::fixed(LABELS, &config.label, shape, dtype).learnt();
        match self.shape.task {
            Task::Words => inputs.push(
                Input::masked(LABELS, IDS, &config.mask_token, config.masked).disguised(0.1, 0.1),
            ),
            Task::Class(_) => inputs.push(fixed(vec![], DType::Int64)),
            Task::Classes(count) => inputs.push(fixed(vec![count], DType::Float32)),
            Task::Numbers(count) => inputs.push(fixed(vec![count], DType::Float32)),
            // One for each token of the text, which has the first and the last special token around it.
            Task::Tags(_) => inputs.push(Input::sequence(
                LABELS,
                vec![Piece::column(&config.label).learnt()],
                Some(longest - 2),
            )),
            Task::Embedding => {
                // Learnt as a whole: a target, which is not there when the model predicts.
                if let Some(positive) = &config.positive {
                    let pieces = vec![
                        Piece::special(&config.cls_token).learnt(),
                        Piece::column(positive).learnt(),
                        Piece::special(&config.sep_token).learnt(),
                    ];
                    inputs.push(Input::sequence(POSITIVE, pieces, Some(longest)));
                }
            }
        }
        Signature::new(inputs)
    }

    fn parameter_groups(&self) -> Vec<ParameterGroup> {
        vec![ParameterGroup::without_decay(
            r"(\.bias|LayerNorm\.weight)$",
        )]
    }

    fn forward(&self, scope: &Scope, pass: &Pass, inputs: &Tensors) -> Result<Tensors> {
        // The bare encoder's checkpoints have no prefix.
        let bert = match self.shape.task {
            Task::Embedding => scope.child(""),
            _ => scope.child("bert"),
        };
        let ids = inputs.get(IDS)?;
        let x = self.encode(&bert, pass, IDS, ids, inputs.find(PIECES))?;
        let logits = match self.shape.task {
            Task::Words => self.words(scope, &x)?,
            Task::Class(count) | Task::Classes(count) | Task::Numbers(count) => {
                self.texts(scope, pass, &x, count)?
            }
            Task::Tags(count) => self.tokens(scope, pass, &x, count)?,
            Task::Embedding => {
                let outputs = Tensors::new().with("embedding", mean(pass, IDS, &x)?);
                let Some(ids) = inputs.find(POSITIVE) else {
                    return Ok(outputs);
                };
                let x = self.encode(&bert, pass, POSITIVE, ids, None)?;
                return Ok(outputs.with(POSITIVE, mean(pass, POSITIVE, &x)?));
            }
        };
        Ok(Tensors::new().with("logits", logits))
    }

    fn loss(&self, pass: &Pass, outputs: &Tensors, inputs: &Tensors) -> Result<Losses> {
        self.objective(pass, outputs, inputs)
    }
}

impl Bert {
    fn dense(&self) -> LinearOptions {
        LinearOptions::normal(self.config.initializer_range)
    }
}

tenon_sdk::export_recipe!(Bert);
