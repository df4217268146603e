//! What stands before the first token to generate.

use std::collections::BTreeMap;

use tenon_plugin::recipe::{Layout, Segment, SequenceLayout, Signature};
use tenon_tensor::nn::SequenceInfo;

use super::{Array, CollatedBatch, Placement, fixed};
use crate::error::{DataError, Result};
use crate::tokenizer::Tokenizer;

/// A value of one of the recipe's columns, given by a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Given {
    /// Text: tokenised.
    Text(String),
    /// Token ids: taken as they are.
    Tokens(Vec<u32>),
    /// Numbers, for inputs of a fixed shape.
    Numbers(Vec<f32>),
}

/// The tokens of a sequence input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PromptSequence {
    /// The input's name.
    pub name: String,
    /// Its tokens.
    pub tokens: Vec<u32>,
    /// The piece that each token comes from.
    pub pieces: Vec<u32>,
}

/// A request as a recipe takes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Prompt {
    /// The sequence inputs, in the signature's order.
    pub sequences: Vec<PromptSequence>,
    /// The inputs of a fixed shape, without the batch.
    pub fixed: Vec<Array>,
    /// The inputs that tell the pieces of a sequence: their names, and its place in `sequences`.
    pub described: Vec<(String, usize)>,
    /// The piece that what is generated belongs to.
    pub generated_piece: u32,
    /// The sequence that grows, by its place in `sequences`; nothing for models that do not
    /// generate.
    pub grows: Option<usize>,
    /// The longest that it may become.
    pub max_length: Option<usize>,
    /// Tokens that were cut because the model cannot hold them.
    pub cut: usize,
}

impl Prompt {
    /// Builds the prompt of a request.
    ///
    /// The sequence that grows ends before its first learnt column that is not given: that is what
    /// will be generated. If all of them are given, the last is a beginning that will be continued.
    /// Special tokens before that point are part of the prompt. Other sequences are complete.
    ///
    /// A prompt that leaves no room is cut: after its leading special tokens, oldest tokens first.
    /// Other sequences are cut on the right, as in training.
    ///
    /// # Errors
    /// [`DataError::Invalid`] naming the column that is missing or of the wrong type.
    pub fn new(
        signature: &Signature,
        tokenizer: Option<&Tokenizer>,
        given: &BTreeMap<String, Given>,
    ) -> Result<Self> {
        let mut prompt = Self {
            sequences: Vec::new(),
            fixed: Vec::new(),
            described: Vec::new(),
            generated_piece: 0,
            grows: None,
            max_length: None,
            cut: 0,
        };
        for input in &signature.inputs {
            match &input.layout {
                _ if signature.is_target(input) => {}
                Layout::Sequence(layout) => {
                    let generation = signature
                        .generation
                        .as_ref()
                        .filter(|g| g.sequence == input.name);
                    let end = match generation {
                        Some(_) => generation_starts(layout, given),
                        None => layout.pieces.len(),
                    };
                    let (mut tokens, mut pieces, leading) =
                        tokens(&input.name, layout, end, tokenizer, given)?;
                    let longest = [layout.max_length, generation.and_then(|g| g.max_length)];
                    let longest = longest
                        .into_iter()
                        .flatten()
                        .min()
                        .map(|length| length as usize);
                    if generation.is_some() {
                        prompt.grows = Some(prompt.sequences.len());
                        // A beginning that is continued is part of the piece that it begins.
                        prompt.generated_piece = if is_learnt_column(layout, end) {
                            end
                        } else {
                            end.saturating_sub(1)
                        } as u32;
                        prompt.max_length = longest;
                    }
                    if let Some(longest) = longest {
                        // Room for one token at least.
                        let room = if generation.is_some() {
                            longest.saturating_sub(1).max(1)
                        } else {
                            longest
                        };
                        let over = tokens.len().saturating_sub(room);
                        if over > 0 && generation.is_some() {
                            let from = leading.min(room);
                            tokens.drain(from..from + over);
                            pieces.drain(from..from + over);
                        } else {
                            tokens.truncate(room);
                            pieces.truncate(room);
                        }
                        prompt.cut += over;
                    }
                    prompt.sequences.push(PromptSequence {
                        name: input.name.clone(),
                        tokens,
                        pieces,
                    });
                }
                Layout::Fixed {
                    column,
                    shape,
                    dtype,
                    ..
                } => {
                    let numbers: usize = shape.iter().product();
                    let bytes = match given.get(column) {
                        Some(Given::Numbers(values)) if values.len() == numbers => {
                            fixed::from_numbers(values, *dtype).map_err(|reason| {
                                DataError::Invalid(format!("column `{column}` {reason}"))
                            })?
                        }
                        Some(Given::Numbers(values)) => {
                            return Err(DataError::Invalid(format!(
                                "column `{column}` has {} numbers, the recipe wants {numbers}",
                                values.len()
                            )));
                        }
                        Some(_) => {
                            return Err(DataError::Invalid(format!(
                                "column `{column}` must be numbers"
                            )));
                        }
                        None => return Err(missing(&input.name, column, given)),
                    };
                    prompt.fixed.push(Array {
                        name: input.name.clone(),
                        dtype: *dtype,
                        shape: shape.clone(),
                        bytes,
                    });
                }
                Layout::NextTokens { .. } | Layout::Masked { .. } | Layout::Pieces { .. } => {}
            }
        }
        for input in &signature.inputs {
            if let Layout::Pieces { sequence } = &input.layout
                && let Some(place) = prompt.sequences.iter().position(|s| s.name == *sequence)
            {
                prompt.described.push((input.name.clone(), place));
            }
        }
        Ok(prompt)
    }
}

/// The number of pieces before generation starts.
fn generation_starts(layout: &SequenceLayout, given: &BTreeMap<String, Given>) -> usize {
    let mut last_given = None;
    for (index, piece) in layout.pieces.iter().enumerate() {
        if let Segment::Column(column) = &piece.segment
            && piece.learnt
        {
            if !given.contains_key(column) {
                return index;
            }
            last_given = Some(index + 1);
        }
    }
    last_given.unwrap_or(layout.pieces.len())
}

/// Whether the piece at that place is a learnt column.
fn is_learnt_column(layout: &SequenceLayout, at: usize) -> bool {
    layout
        .pieces
        .get(at)
        .is_some_and(|piece| piece.learnt && matches!(piece.segment, Segment::Column(_)))
}

/// The tokens of the first `end` pieces, the piece of each, and how many special ones lead.
fn tokens(
    input: &str,
    layout: &SequenceLayout,
    end: usize,
    tokenizer: Option<&Tokenizer>,
    given: &BTreeMap<String, Given>,
) -> Result<(Vec<u32>, Vec<u32>, usize)> {
    let needed = || DataError::Invalid(format!("input `{input}` of the recipe needs a tokenizer"));
    let mut tokens = Vec::new();
    let mut numbers = Vec::new();
    let mut leading = None;
    for (number, piece) in layout.pieces[..end].iter().enumerate() {
        match &piece.segment {
            Segment::Special(token) => {
                tokens.push(tokenizer.ok_or_else(needed)?.special_id(token)?)
            }
            Segment::Column(column) => {
                leading.get_or_insert(tokens.len());
                match given.get(column) {
                    Some(Given::Text(text)) => tokenizer
                        .ok_or_else(needed)?
                        .encode_into(text, &mut tokens)?,
                    Some(Given::Tokens(ids)) => {
                        let vocabulary = tokenizer.map_or(u32::MAX, Tokenizer::vocabulary);
                        if let Some(outside) = ids.iter().find(|id| **id >= vocabulary) {
                            return Err(DataError::Invalid(format!(
                                "column `{column}` holds token {outside}; the vocabulary has {vocabulary}"
                            )));
                        }
                        tokens.extend_from_slice(ids);
                    }
                    Some(Given::Numbers(_)) => {
                        return Err(DataError::Invalid(format!(
                            "column `{column}` must be text or token ids"
                        )));
                    }
                    None => return Err(missing(input, column, given)),
                }
            }
        }
        numbers.resize(tokens.len(), number as u32);
    }
    let leading = leading.unwrap_or(tokens.len());
    Ok((tokens, numbers, leading))
}

fn missing(input: &str, column: &str, given: &BTreeMap<String, Given>) -> DataError {
    let names: Vec<_> = given.keys().map(|name| format!("`{name}`")).collect();
    DataError::Invalid(format!(
        "input `{input}` of the recipe needs column `{column}`; given are {}",
        if names.is_empty() {
            "none".into()
        } else {
            names.join(", ")
        }
    ))
}

/// Pads prompts to one batch. They must be of one signature.
///
/// # Errors
/// [`DataError::Invalid`] if there are none or they differ in their inputs.
pub fn collate_prompts(
    prompts: &[Prompt],
    pad_id: u32,
    pad_multiple: usize,
) -> Result<CollatedBatch> {
    let Some(first) = prompts.first() else {
        return Err(DataError::Invalid(
            "a batch needs at least one prompt".into(),
        ));
    };
    let alike = |prompt: &Prompt| {
        prompt.sequences.len() == first.sequences.len()
            && prompt.fixed.len() == first.fixed.len()
            && prompt.described == first.described
            && prompt
                .sequences
                .iter()
                .zip(&first.sequences)
                .all(|(a, b)| a.name == b.name)
            && prompt
                .fixed
                .iter()
                .zip(&first.fixed)
                .all(|(a, b)| a.name == b.name && a.shape == b.shape)
    };
    if !prompts.iter().all(alike) {
        return Err(DataError::Invalid(
            "prompts of one batch must have the same inputs".into(),
        ));
    }
    let mut arrays = Vec::new();
    let mut infos = Vec::new();
    for (place, sequence) in first.sequences.iter().enumerate() {
        let lengths: Vec<usize> = prompts
            .iter()
            .map(|prompt| prompt.sequences[place].tokens.len())
            .collect();
        let longest = lengths.iter().copied().max().unwrap_or(0);
        let width = longest.max(1).next_multiple_of(pad_multiple.max(1));
        let mut ids = vec![i64::from(pad_id); prompts.len() * width];
        for (row, prompt) in ids.chunks_mut(width).zip(prompts) {
            for (id, token) in row.iter_mut().zip(&prompt.sequences[place].tokens) {
                *id = i64::from(*token);
            }
        }
        arrays.push(Array::int64(&sequence.name, [prompts.len(), width], &ids));
        infos.push(SequenceInfo {
            name: sequence.name.clone(),
            tokens: width,
            rows: lengths.into_iter().map(|length| vec![length]).collect(),
        });
    }
    for (name, place) in &first.described {
        let width = infos[*place].tokens;
        let mut pieces = vec![0; prompts.len() * width];
        for (row, prompt) in pieces.chunks_mut(width).zip(prompts) {
            for (piece, number) in row.iter_mut().zip(&prompt.sequences[*place].pieces) {
                *piece = i64::from(*number);
            }
        }
        arrays.push(Array::int64(name, [prompts.len(), width], &pieces));
    }
    for (place, fixed) in first.fixed.iter().enumerate() {
        let mut shape = vec![prompts.len()];
        shape.extend_from_slice(&fixed.shape);
        arrays.push(Array {
            name: fixed.name.clone(),
            dtype: fixed.dtype,
            shape,
            bytes: prompts
                .iter()
                .flat_map(|prompt| &prompt.fixed[place].bytes)
                .copied()
                .collect(),
        });
    }
    Ok(CollatedBatch {
        arrays,
        placements: (0..prompts.len())
            .map(|row| Placement {
                document: row as u32,
                row,
                starts: vec![0; infos.len()],
            })
            .collect(),
        rows: prompts.len(),
        tokens: infos
            .iter()
            .map(|info| info.rows.iter().flatten().sum::<usize>())
            .sum(),
        infos,
        learnt_tokens: 0,
    })
}
