//! What a recipe wants to be fed.

use tenon_tensor::DType;

use crate::{bindings::recipe::face, host::tensors::dtype_from};

/// The inputs of a recipe, and how it generates.
#[derive(Debug, Clone, PartialEq)]
pub struct Signature {
    /// In the recipe's order; every sequence before what is made from it.
    pub inputs: Vec<Input>,
    /// Absent for models that do not generate.
    pub generation: Option<Generation>,
}

/// One input.
#[derive(Debug, Clone, PartialEq)]
pub struct Input {
    /// Its name in `forward` and `loss`.
    pub name: String,
    /// What it is made from.
    pub layout: Layout,
}

/// What an input is made from.
#[derive(Debug, Clone, PartialEq)]
pub enum Layout {
    /// int64 [batch, tokens].
    Sequence(SequenceLayout),
    /// int64 [batch, tokens]: label t is token t + 1 of that sequence input, `-100` where that token
    /// is not learnt, is padding or starts another document.
    NextTokens {
        /// The sequence input.
        sequence: String,
    },
    /// [batch, shape…].
    Fixed {
        /// The dataset's column.
        column: String,
        /// Without the batch; empty for one number a row.
        shape: Vec<usize>,
        /// Of the tensor.
        dtype: DType,
        /// A target: given in training and evaluation, absent when the model predicts or serves.
        learnt: bool,
    },
    /// int64 [batch, tokens], beside a sequence: the number of the piece that each token comes from.
    Pieces {
        /// The sequence input.
        sequence: String,
    },
    /// int64 [batch, tokens], the hidden tokens of a sequence (`-100` elsewhere), and beside it
    /// float32 `NAME.mask`. Absent, and nothing hidden, when the model predicts or serves.
    Masked {
        /// The sequence input that is hidden in place.
        sequence: String,
        /// What stands in place of a hidden token.
        mask_token: String,
        /// Of being chosen: hidden, as a rule.
        probability: f32,
        /// The share of the chosen tokens that another token replaces.
        replaced: f32,
        /// The share of the chosen tokens that stays as it is.
        kept: f32,
    },
}

/// A sequence of tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct SequenceLayout {
    /// In order.
    pub pieces: Vec<Piece>,
    /// Longer sequences are cut on the right.
    pub max_length: Option<u32>,
    /// Whether several documents may share a row.
    pub packable: bool,
}

/// Part of a sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Where its tokens come from.
    pub segment: Segment,
    /// Learnt pieces count in the loss, are scored and are generated.
    pub learnt: bool,
}

/// Where tokens come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// A special token, by its text.
    Special(String),
    /// A column of the dataset.
    Column(String),
}

/// What the host needs to generate with the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    /// The sequence input that grows.
    pub sequence: String,
    /// The output with the next token's logits, [batch, tokens, vocabulary].
    pub logits: String,
    /// Special tokens that end a sequence.
    pub stop: Vec<String>,
    /// The longest sequence that the model can hold.
    pub max_length: Option<u32>,
}

impl Signature {
    /// The input of that name.
    pub fn input(&self, name: &str) -> Option<&Input> {
        self.inputs.iter().find(|input| input.name == name)
    }

    /// The names of the sequence inputs, in order.
    pub fn sequences(&self) -> impl Iterator<Item = (&str, &SequenceLayout)> {
        self.inputs.iter().filter_map(|input| match &input.layout {
            Layout::Sequence(layout) => Some((input.name.as_str(), layout)),
            _ => None,
        })
    }

    /// The same without targets: what the model is given when it predicts or serves. Nothing is hidden
    /// in its sequences.
    #[must_use]
    pub fn without_targets(&self) -> Self {
        let mut given = self.clone();
        given.inputs.retain(|input| !self.is_target(input));
        given
    }

    /// Whether an input is there in training and evaluation only: labels, hidden tokens, learnt numbers,
    /// and a sequence of nothing but learnt pieces that does not grow and that no other input is made
    /// from.
    pub fn is_target(&self, input: &Input) -> bool {
        match &input.layout {
            Layout::NextTokens { .. } | Layout::Masked { .. } => true,
            Layout::Fixed { learnt, .. } => *learnt,
            Layout::Pieces { .. } => false,
            Layout::Sequence(layout) => {
                let grows = self.generation.as_ref().map(|g| &g.sequence);
                layout.pieces.iter().all(|piece| piece.learnt)
                    && grows != Some(&input.name)
                    && !self.inputs.iter().any(|other| match &other.layout {
                        Layout::NextTokens { sequence }
                        | Layout::Masked { sequence, .. }
                        | Layout::Pieces { sequence } => *sequence == input.name,
                        Layout::Sequence(_) | Layout::Fixed { .. } => false,
                    })
            }
        }
    }

    /// The dataset's columns that the inputs are made from, each once, in order.
    pub fn columns(&self) -> Vec<&str> {
        let mut columns = Vec::new();
        for input in &self.inputs {
            match &input.layout {
                Layout::Sequence(layout) => columns.extend(layout.pieces.iter().filter_map(
                    |piece| match &piece.segment {
                        Segment::Column(column) => Some(column.as_str()),
                        Segment::Special(_) => None,
                    },
                )),
                Layout::Fixed { column, .. } => columns.push(column),
                Layout::NextTokens { .. } | Layout::Masked { .. } | Layout::Pieces { .. } => {}
            }
        }
        let mut seen = std::collections::HashSet::new();
        columns.retain(|column| seen.insert(*column));
        columns
    }

    pub(super) fn from_wit(signature: face::Signature) -> Result<Self, String> {
        let inputs = signature.inputs.into_iter().map(input).collect();
        let generation = signature.generation.map(|g| Generation {
            sequence: g.sequence,
            logits: g.logits,
            stop: g.stop,
            max_length: g.max_length,
        });
        let signature = Self { inputs, generation };
        signature.check()?;
        Ok(signature)
    }

    /// Whether every name that is referred to exists.
    fn check(&self) -> Result<(), String> {
        let is_sequence = |name: &str| self.sequences().any(|(sequence, _)| sequence == name);
        for (at, input) in self.inputs.iter().enumerate() {
            let name = &input.name;
            if self.inputs[..at].iter().any(|other| other.name == *name) {
                return Err(format!("two inputs are named `{name}`"));
            }
            match &input.layout {
                Layout::NextTokens { sequence }
                | Layout::Masked { sequence, .. }
                | Layout::Pieces { sequence }
                    if !is_sequence(sequence) =>
                {
                    return Err(format!(
                        "input `{name}` is made from `{sequence}`, which is no sequence input"
                    ));
                }
                Layout::Masked { probability, .. } if !(0.0..=1.0).contains(probability) => {
                    return Err(format!(
                        "input `{name}` hides tokens with probability {probability}, not in 0 to 1"
                    ));
                }
                Layout::Masked { replaced, kept, .. }
                    if !(*replaced >= 0.0 && *kept >= 0.0 && replaced + kept <= 1.0) =>
                {
                    return Err(format!(
                        "input `{name}` replaces {replaced} of the chosen tokens and keeps {kept}; both are shares, \
                         together at most 1"
                    ));
                }
                Layout::Sequence(layout) if layout.pieces.is_empty() => {
                    return Err(format!("the sequence `{name}` has no pieces"));
                }
                _ => {}
            }
        }
        match &self.generation {
            Some(g) if !is_sequence(&g.sequence) => Err(format!(
                "generation grows `{}`, which is no sequence input",
                g.sequence
            )),
            _ => Ok(()),
        }
    }
}

fn input(input: face::Input) -> Input {
    let layout = match input.layout {
        face::Layout::Sequence(s) => Layout::Sequence(SequenceLayout {
            pieces: s
                .pieces
                .into_iter()
                .map(|piece| Piece {
                    segment: match piece.segment {
                        face::Segment::Special(token) => Segment::Special(token),
                        face::Segment::Column(column) => Segment::Column(column),
                    },
                    learnt: piece.learnt,
                })
                .collect(),
            max_length: s.max_length,
            packable: s.packable,
        }),
        face::Layout::NextTokens(l) => Layout::NextTokens {
            sequence: l.sequence,
        },
        face::Layout::Fixed(f) => Layout::Fixed {
            column: f.column,
            shape: f.shape.iter().map(|d| *d as usize).collect(),
            dtype: dtype_from(f.dtype),
            learnt: f.learnt,
        },
        face::Layout::Pieces(p) => Layout::Pieces {
            sequence: p.sequence,
        },
        face::Layout::Masked(m) => Layout::Masked {
            sequence: m.sequence,
            mask_token: m.mask_token,
            probability: m.probability,
            replaced: m.replaced,
            kept: m.kept,
        },
    };
    Input {
        name: input.name,
        layout,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(name: &str, column: &str) -> Input {
        let piece = |segment| Piece {
            segment,
            learnt: true,
        };
        Input {
            name: name.into(),
            layout: Layout::Sequence(SequenceLayout {
                pieces: vec![
                    piece(Segment::Special("<s>".into())),
                    piece(Segment::Column(column.into())),
                ],
                max_length: None,
                packable: false,
            }),
        }
    }

    #[test]
    fn a_signature_that_refers_to_nothing_is_refused() {
        let labels = Input {
            name: "labels".into(),
            layout: Layout::NextTokens {
                sequence: "tokens".into(),
            },
        };
        let mut signature = Signature {
            inputs: vec![labels],
            generation: None,
        };
        assert!(
            signature
                .check()
                .is_err_and(|m| m.contains("`labels`") && m.contains("`tokens`"))
        );
        signature.inputs.insert(0, sequence("tokens", "text"));
        assert_eq!(signature.check(), Ok(()));
        signature.inputs.push(sequence("tokens", "text"));
        assert!(signature.check().is_err_and(|m| m.contains("two inputs")));
    }

    #[test]
    fn shares_of_hidden_tokens_are_shares() {
        let masked = |replaced, kept| Signature {
            inputs: vec![
                sequence("tokens", "text"),
                Input {
                    name: "targets".into(),
                    layout: Layout::Masked {
                        sequence: "tokens".into(),
                        mask_token: "<mask>".into(),
                        probability: 0.15,
                        replaced,
                        kept,
                    },
                },
            ],
            generation: None,
        };
        assert_eq!(masked(0.1, 0.1).check(), Ok(()));
        for (replaced, kept) in [(0.6, 0.6), (-0.1, 0.0), (f32::NAN, 0.0)] {
            let refused = masked(replaced, kept).check();
            assert!(refused.is_err_and(|m| m.contains("`targets`") && m.contains("at most 1")));
        }
    }

    #[test]
    fn targets_are_not_given() {
        let input = |name: &str, layout| Input {
            name: name.into(),
            layout,
        };
        let fixed = |learnt| Layout::Fixed {
            column: "x".into(),
            shape: vec![],
            dtype: DType::I64,
            learnt,
        };
        let of = |name: &str| name.to_owned();
        let signature = Signature {
            inputs: vec![
                sequence("tokens", "text"),
                input(
                    "types",
                    Layout::Pieces {
                        sequence: of("tokens"),
                    },
                ),
                input(
                    "labels",
                    Layout::NextTokens {
                        sequence: of("tokens"),
                    },
                ),
                input("age", fixed(false)),
                input("class", fixed(true)),
                // Learnt as a whole, and nothing is made from it.
                sequence("tags", "tag"),
            ],
            generation: None,
        };
        let given = signature.without_targets();
        let names: Vec<&str> = given
            .inputs
            .iter()
            .map(|input| input.name.as_str())
            .collect();
        assert_eq!(names, ["tokens", "types", "age"]);
    }

    #[test]
    fn columns_are_listed_once() {
        let signature = Signature {
            inputs: vec![sequence("a", "x"), sequence("b", "y"), sequence("c", "x")],
            generation: None,
        };
        assert_eq!(signature.columns(), ["x", "y"]);
    }
}
