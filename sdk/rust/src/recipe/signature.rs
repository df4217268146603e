//! Saying what a model reads.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    FixedLayout, Generation, Input, LabelLayout, Layout, MaskedLayout, Piece, PiecesLayout,
    Segment, SequenceLayout, Signature,
};
use crate::tensor::DType;

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
}
