//! A multilayer perceptron for tables: numbers, and categories through embeddings, in; a class or a
//! number out.

mod config;

use tenon_sdk::{
    Recipe, Result,
    recipe::{
        Init, Input, LinearOptions, Losses, ParameterGroup, Pass, Scope, Signature, Tensors,
        classification,
    },
    tensor::{DType, Reduction, Tensor, cat, full},
};

pub use config::Config;
use config::{Shape, Task};

/// How fast running statistics follow, and what is added to the variance: PyTorch's.
const MOMENTUM: f32 = 0.1;
const EPSILON: f32 = 1e-5;
/// The standard deviation of a category's new numbers.
const DEVIATION: f32 = 0.1;

/// The model.
pub struct Mlp {
    config: Config,
    shape: Shape,
}

impl Recipe for Mlp {
    const NAME: &'static str = "tenon/mlp";
    const SUMMARY: &'static str =
        "A multilayer perceptron that predicts a class or a number from the columns of a table.";
    type Config = Config;

    fn open(config: Config, _vocabulary: u32) -> Result<Self> {
        let shape = config.shape()?;
        Ok(Self { config, shape })
    }

    fn signature(&self) -> Signature {
        let config = &self.config;
        let mut inputs = Vec::new();
        for (at, column) in config.numeric.iter().enumerate() {
            let (name, size) = (format!("numeric.{at}"), vec![column.size()]);
            inputs.push(Input::fixed(name, column.column(), size, DType::Float32));
        }
        for (at, column) in config.categorical.iter().enumerate() {
            let name = format!("categorical.{at}");
            inputs.push(Input::fixed(name, &column.column, vec![], DType::Int64));
        }
        let (shape, dtype) = match config.task {
            Task::Classification => (vec![], DType::Int64),
            Task::Regression => (vec![self.shape.outputs], DType::Float32),
        };
        inputs.push(Input::fixed("labels", &config.label, shape, dtype).learnt());
        Signature::new(inputs)
    }

    fn parameter_groups(&self) -> Vec<ParameterGroup> {
        vec![ParameterGroup::without_decay(
            r"(\.bias|normalise\.weight)$",
        )]
    }

    fn forward(&self, scope: &Scope, pass: &Pass, inputs: &Tensors) -> Result<Tensors> {
        let config = &self.config;
        let mut x = self.features(scope, inputs)?;
        for (layer, width) in (0..).zip(&config.hidden_sizes) {
            let wide = scope.linear(
                &format!("layers.{layer}"),
                &x,
                *width,
                LinearOptions::default(),
            )?;
            x = pass.dropout(&self.shape.activation.apply(&wide)?, config.dropout)?;
        }
        let out = scope.linear("head", &x, self.shape.outputs, LinearOptions::default())?;
        Ok(match config.task {
            Task::Classification => Tensors::new().with("logits", out),
            Task::Regression => {
                let value = out * f64::from(config.label_std) + f64::from(config.label_mean);
                Tensors::new().with("value", value)
            }
        })
    }

    fn loss(&self, pass: &Pass, outputs: &Tensors, inputs: &Tensors) -> Result<Losses> {
        let (config, labels) = (&self.config, inputs.get("labels")?);
        if config.task == Task::Classification {
            let logits = outputs.get("logits")?;
            return classification(pass, logits, labels, config.label_smoothing);
        }
        let value = outputs.get("value")?;
        let square = value.mse_loss(labels, Reduction::Mean)?;
        // In units of the standard deviation, so that learning rates do not depend on the label's unit.
        let loss = &square / f64::from(config.label_std).powi(2);
        let weight = full(&[], value.elements() as f64, DType::Float32)?;
        let losses = Losses::new(loss, weight);
        if pass.is_training() {
            return Ok(losses);
        }
        Ok(losses.metric("mean_squared_error", square))
    }
}

impl Mlp {
    /// Everything that a row says, [batch, features].
    fn features(&self, scope: &Scope, inputs: &Tensors) -> Result<Tensor> {
        let config = &self.config;
        let mut parts = Vec::new();
        if !config.numeric.is_empty() {
            let columns = (0..config.numeric.len())
                .map(|at| inputs.get(&format!("numeric.{at}")))
                .collect::<Result<Vec<_>>>()?;
            let numbers = cat(&columns, 1)?;
            parts.push(if config.normalise {
                scope.batch_norm("normalise", &numbers, MOMENTUM, EPSILON)?
            } else {
                numbers
            });
        }
        for (at, column) in config.categorical.iter().enumerate() {
            let ids = inputs.get(&format!("categorical.{at}"))?;
            let name = format!("embeddings.{at}");
            let init = Init::Normal(DEVIATION);
            parts.push(scope.embedding(&name, ids, column.count, column.width(), init)?);
        }
        Ok(cat(&parts.iter().collect::<Vec<_>>(), 1)?)
    }
}

tenon_sdk::export_recipe!(Mlp);
