//! Saying what a model reads.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    FixedLayout, Generation, Input, LabelLayout, Layout, MaskedLayout, Piece, PiecesLayout,
    Segment, SequenceLayout, Signature,
};
use crate::{Error, Result, tensor::DType};

impl Signature {
    /// Reads these and does not generate.
    pub fn new(inputs: impl IntoIterator<Item = Input>) -> Self {
        Self {
            inputs: inputs.into_iter().collect(),
            generation: None,
        }
    }

    /// And generates.
    #[must_use]
    pub fn generates(mut self, generation: Generation) -> Self {
        self.generation = Some(generation);
        self
    }
}

impl Input {
    /// Token ids, int64 [batch, tokens], made of pieces. Longer ones are cut on the right.
    pub fn sequence(name: impl Into<String>, pieces: Vec<Piece>, max_length: Option<u32>) -> Self {
        Self {
            name: name.into(),
            layout: Layout::Sequence(SequenceLayout {
                pieces,
                max_length,
                packable: false,
            }),
        }
    }

    /// The host may put several documents into one row.
    ///
    /// # Panics
    /// If this is no sequence.
    #[must_use]
    #[track_caller]
    pub fn packable(mut self) -> Self {
        let Layout::Sequence(layout) = &mut self.layout else {
            panic!("{:?} is no sequence", self.name)
        };
        layout.packable = true;
        self
    }

    /// The next tokens of a sequence, int64 [batch, tokens].
    pub fn next_tokens(name: impl Into<String>, sequence: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            layout: Layout::NextTokens(LabelLayout {
                sequence: sequence.into(),
            }),
        }
    }

    /// A column of fixed shape, without the batch: [batch, shape...].
    pub fn fixed(
        name: impl Into<String>,
        column: impl Into<String>,
        shape: Vec<u32>,
        dtype: DType,
    ) -> Self {
        Self {
            name: name.into(),
            layout: Layout::Fixed(FixedLayout {
                column: column.into(),
                shape,
                dtype,
                learnt: false,
            }),
        }
    }

    /// A target: given in training and evaluation, absent when the model predicts or serves.
    ///
    /// # Panics
    /// If this is not of fixed shape.
    #[must_use]
    #[track_caller]
    pub fn learnt(mut self) -> Self {
        let Layout::Fixed(layout) = &mut self.layout else {
            panic!("{:?} is not of fixed shape", self.name)
        };
        layout.learnt = true;
        self
    }

    /// Which piece of a sequence each of its tokens comes from, int64 [batch, tokens].
    pub fn pieces(name: impl Into<String>, sequence: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            layout: Layout::Pieces(PiecesLayout {
                sequence: sequence.into(),
            }),
        }
    }

    /// The tokens of a sequence that the host hides, and where.
    pub fn masked(
        name: impl Into<String>,
        sequence: impl Into<String>,
        mask_token: impl Into<String>,
        probability: f32,
    ) -> Self {
        let layout = MaskedLayout {
            sequence: sequence.into(),
            mask_token: mask_token.into(),
            probability,
            replaced: 0.0,
            kept: 0.0,
        };
        Self {
            name: name.into(),
            layout: Layout::Masked(layout),
        }
    }

    /// Of the chosen tokens, this share becomes another token and that share stays as it is.
    ///
    /// # Panics
    /// If this is no masked sequence.
    #[must_use]
    #[track_caller]
    pub fn disguised(mut self, replaced: f32, kept: f32) -> Self {
        let Layout::Masked(layout) = &mut self.layout else {
            panic!("{:?} is no masked sequence", self.name)
        };
        (layout.replaced, layout.kept) = (replaced, kept);
        self
    }
}

impl Piece {
    /// A special token, by its text.
    pub fn special(token: impl Into<String>) -> Self {
        Self {
            segment: Segment::Special(token.into()),
            learnt: false,
        }
    }

    /// A column of the dataset.
    pub fn column(name: impl Into<String>) -> Self {
        Self {
            segment: Segment::Column(name.into()),
            learnt: false,
        }
    }

    /// Counts in the loss, is scored and is what serving generates.
    #[must_use]
    pub fn learnt(mut self) -> Self {
        self.learnt = true;
        self
    }
}

/// A piece of a sequence as configurations write it: `{"special": "<bos>"}` or
/// `{"column": "text", "learnt": true}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum PieceConfig {
    /// A special token.
    Special {
        /// Its text.
        special: String,
        /// Whether it counts in the loss, is scored and is generated.
        #[serde(default)]
        learnt: bool,
    },
    /// A column of the dataset: text is tokenised, lists of ids are taken as they are.
    Column {
        /// Its name.
        column: String,
        /// Whether it counts in the loss, is scored and is generated.
        #[serde(default)]
        learnt: bool,
    },
}

impl From<&PieceConfig> for Piece {
    fn from(config: &PieceConfig) -> Self {
        match config {
            PieceConfig::Special { special, learnt } => Self {
                learnt: *learnt,
                ..Self::special(special)
            },
            PieceConfig::Column { column, learnt } => Self {
                learnt: *learnt,
                ..Self::column(column)
            },
        }
    }
}

impl PieceConfig {
    /// A special token, by its text.
    pub fn special(token: impl Into<String>) -> Self {
        Self::Special {
            special: token.into(),
            learnt: false,
        }
    }

    /// A column of the dataset.
    pub fn column(name: impl Into<String>) -> Self {
        Self::Column {
            column: name.into(),
            learnt: false,
        }
    }

    /// Counts in the loss, is scored and is generated.
    #[must_use]
    pub fn learnt(mut self) -> Self {
        let (Self::Special { learnt, .. } | Self::Column { learnt, .. }) = &mut self;
        *learnt = true;
        self
    }

    /// Whether it counts in the loss, is scored and is generated.
    pub fn is_learnt(&self) -> bool {
        let (Self::Special { learnt, .. } | Self::Column { learnt, .. }) = self;
        *learnt
    }
}

/// What most language models learn: `<bos>`, the column `text`, `<eos>`.
pub fn text() -> Vec<PieceConfig> {
    vec![
        PieceConfig::special("<bos>"),
        PieceConfig::column("text").learnt(),
        PieceConfig::special("<eos>").learnt(),
    ]
}

/// The pieces of a sequence.
pub fn pieces(config: &[PieceConfig]) -> Vec<Piece> {
    config.iter().map(Piece::from).collect()
}

/// The special tokens that end a sequence: those that are learnt, each once.
pub fn stop_tokens(config: &[PieceConfig]) -> Vec<String> {
    let mut stop = Vec::new();
    for piece in config {
        if let PieceConfig::Special {
            special,
            learnt: true,
        } = piece
            && !stop.contains(special)
        {
            stop.push(special.clone());
        }
    }
    stop
}

/// Refuses a sequence, the configuration's `field`, of which nothing is learnt.
///
/// # Errors
/// No piece is learnt.
pub fn check_learnt(field: &str, config: &[PieceConfig]) -> Result<()> {
    if config.iter().any(PieceConfig::is_learnt) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "no piece of `{field}` is learnt: mark at least one with \"learnt\": true"
    )))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn pieces_are_written_as_documented() {
        let pieces: Vec<PieceConfig> =
            serde_json::from_str(r#"[{"special": "<bos>"}, {"column": "text", "learnt": true}]"#)
                .unwrap();
        let pieces: Vec<Piece> = pieces.iter().map(Piece::from).collect();
        assert!(
            matches!(&pieces[0], Piece { segment: Segment::Special(s), learnt: false } if s == "<bos>")
        );
        assert!(
            matches!(&pieces[1], Piece { segment: Segment::Column(c), learnt: true } if c == "text")
        );
    }

    #[test]
    fn what_is_learnt_ends_a_sequence() {
        assert_eq!(stop_tokens(&text()), ["<eos>"]);
        check_learnt("sequence", &text()).unwrap();
        let nothing = [PieceConfig::column("text")];
        let error = check_learnt("sequence", &nothing).unwrap_err().to_string();
        assert!(
            error.contains("no piece of `sequence` is learnt"),
            "{error}"
        );
    }
}
