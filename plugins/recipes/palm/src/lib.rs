//! PALM 2.0: a BERT encoder and a transformer decoder that answers one text with another.
//!
//! Structure and parameter names are those of ModelScope's `PalmForTextGeneration`: the encoder is
//! BERT's (normalised after each residual), the decoder OpenNMT's (normalised before), its positions
//! are sines, and its output layer is its embedding with a bias.

mod config;
mod decoder;
mod encoder;

use tenon_sdk::{
    Recipe, Result,
    recipe::{
        Generation, Init, Input, LinearOptions, Losses, ParameterGroup, Pass, PieceConfig, Scope,
        Signature, Tensors, classification, pieces, stop_tokens,
    },
};

pub use config::Config;

/// The standard deviation of new weights.
const DEVIATION: f32 = 0.02;
/// The sequence inputs.
const SOURCE: &str = "source";
const TARGET: &str = "target";

/// The model.
pub struct Palm {
    config: Config,
    vocabulary: u32,
}

impl Recipe for Palm {
    const NAME: &'static str = "tenon/palm";
    const SUMMARY: &'static str = "PALM 2.0: an encoder-decoder that answers one text with another, sized by its configuration.";
    type Config = Config;

    fn open(config: Config, vocabulary: u32) -> Result<Self> {
        config.check(vocabulary)?;
        Ok(Self { config, vocabulary })
    }

    fn signature(&self) -> Signature {
        let config = &self.config;
        let sequence = |name: &str, list: &[PieceConfig], longest: u32| {
            let input = Input::sequence(name, pieces(list), Some(longest));
            if config.packing {
                input.packable()
            } else {
                input
            }
        };
        Signature::new([
            sequence(SOURCE, &config.source, config.source_length),
            sequence(TARGET, &config.target, config.target_length),
            Input::next_tokens("labels", TARGET),
        ])
        .generates(Generation {
            sequence: TARGET.into(),
            logits: "logits".into(),
            stop: stop_tokens(&config.target),
            max_length: Some(config.target_length),
        })
    }

    fn parameter_groups(&self) -> Vec<ParameterGroup> {
        vec![ParameterGroup::without_decay(
            r"(\.bias|\.LayerNorm\.weight|\.layer_norm(_\d)?\.weight)$",
        )]
    }

    fn forward(&self, scope: &Scope, pass: &Pass, inputs: &Tensors) -> Result<Tensors> {
        let scope = scope.child("palm");
        // When one token after the other is decoded, what the encoder said is in the cache.
        let memory = match inputs.find(SOURCE) {
            Some(source) => Some(self.encode(&scope, pass, source)?),
            None => None,
        };
        let states = self.decode(&scope, pass, inputs.get(TARGET)?, memory.as_ref())?;
        let states = pass.wanted(&states, TARGET)?;
        let (embeddings, name) = self.target_embeddings(&scope);
        let options = LinearOptions::normal(DEVIATION).without_bias();
        let logits = embeddings.linear(name, &states, self.vocabulary, options)?;
        let generator = scope.child("generator.dense");
        let bias = generator.param("bias", &[self.vocabulary], Init::Zeros)?;
        Ok(Tensors::new().with("logits", logits + bias))
    }

    fn loss(&self, pass: &Pass, outputs: &Tensors, inputs: &Tensors) -> Result<Losses> {
        let (logits, labels) = (outputs.get("logits")?, inputs.get("labels")?);
        classification(pass, logits, labels, self.config.label_smoothing)
    }
}

impl Palm {
    /// Where the decoder's word embeddings are, which are its output layer too.
    fn target_embeddings(&self, scope: &Scope) -> (Scope, &'static str) {
        if self.config.share_embeddings {
            (scope.child("bert.embeddings"), "word_embeddings")
        } else {
            (scope.child("decoder"), "embeddings")
        }
    }
}

tenon_sdk::export_recipe!(Palm);
