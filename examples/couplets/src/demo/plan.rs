//! How large the model is and how long it learns: for the corpus that the project ships, and for real
//! text.

use serde_json::{Value, json};

/// The settings of one demo.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Configuration of the recipe `tenon/palm`.
    pub recipe_config: Value,
    /// Tokens at most.
    pub vocabulary: u32,
    /// Minutes of pre-training.
    pub pretrain_minutes: f64,
    /// Minutes of fine-tuning.
    pub finetune_minutes: f64,
    /// Rows of a batch.
    pub batch_rows: u32,
    /// Highest learning rate of pre-training.
    pub pretrain_rate: f64,
    /// Highest learning rate of fine-tuning.
    pub finetune_rate: f64,
    /// Rows that are evaluated.
    pub rows: u32,
}

impl Plan {
    /// For a vocabulary of some 280 characters and rules that a small model learns in a minute or two.
    #[must_use]
    pub fn synthetic() -> Self {
        Self {
            recipe_config: sizes(2, 2, 128, 4, 0.0),
            vocabulary: 1024,
            pretrain_minutes: 0.8,
            finetune_minutes: 1.5,
            batch_rows: 64,
            pretrain_rate: 1e-3,
            finetune_rate: 1e-3,
            rows: 400,
        }
    }

    /// For some eight thousand characters and less than half an hour on two cores. A wider or deeper
    /// model sees too few couplets in that time. At higher learning rates the encoder, which normalises
    /// after its residuals, soon gives the same for every text, and the decoder learns without it.
    #[must_use]
    pub fn real() -> Self {
        Self {
            recipe_config: sizes(2, 2, 192, 4, 0.0),
            vocabulary: 8192,
            pretrain_minutes: 3.0,
            finetune_minutes: 17.0,
            batch_rows: 64,
            pretrain_rate: 1e-3,
            finetune_rate: 1e-3,
            rows: 1000,
        }
    }

    /// The same, with this much training in all; pre-training and fine-tuning keep their shares.
    #[must_use]
    pub fn minutes(mut self, minutes: f64) -> Self {
        let factor = minutes / (self.pretrain_minutes + self.finetune_minutes);
        self.pretrain_minutes *= factor;
        self.finetune_minutes *= factor;
        self
    }

    /// The job that pre-trains on lines of poems and the lines that follow them.
    #[must_use]
    pub fn pretrain(&self, dataset: &str) -> Value {
        json!({
            "name": "pre-train",
            "experiment": "couplets",
            "recipe": "tenon/palm",
            "recipe_config": self.recipe_config,
            "tokenizer": "couplets",
            "dataset": dataset,
            "minutes": self.pretrain_minutes,
            "register": "couplets-pretrained",
            "learning_rate": self.pretrain_rate,
            "batch": {"rows": self.batch_rows, "seed": 1},
            "schedule": {"kind": "cosine", "warmup_steps": 100, "min_ratio": 0.05},
            "eval_rows": 500,
            "seed": 1,
        })
    }

    /// The job that goes on from the pre-trained model with couplets.
    #[must_use]
    pub fn finetune(&self, dataset: &str) -> Value {
        json!({
            "name": "fine-tune",
            "experiment": "couplets",
            "from": "couplets-pretrained",
            "dataset": dataset,
            "minutes": self.finetune_minutes,
            "register": "couplets",
            "learning_rate": self.finetune_rate,
            "batch": {"rows": self.batch_rows, "seed": 2},
            "schedule": {"kind": "cosine", "warmup_steps": 100, "min_ratio": 0.02},
            "eval_rows": 500,
            "seed": 2,
        })
    }
}

fn sizes(encoder: u32, decoder: u32, width: u32, heads: u32, dropout: f32) -> Value {
    json!({
        "encoder_layers": encoder,
        "decoder_layers": decoder,
        "width": width,
        "heads": heads,
        "source_length": 32,
        "target_length": 34,
        "dropout": dropout,
        "share_embeddings": true,
    })
}
