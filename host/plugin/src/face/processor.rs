//! Processors: what a request means, which tokens are allowed, what an answer looks like.

use serde::de::IgnoredAny;
use serde_json::Value as Json;
use wasmtime::component::ResourceAny;

use crate::{
    Component, GenerationOptions, Grants, PluginError,
    bindings::processor::{ProcessorPlugin, face},
    instance::Instance,
};

mod pool;

pub use face::{
    Allowed, Array, Candidate, Field, Finish, Generation, Output, Prepared, Sequence, Stages, Value,
};
pub use pool::ProcessorPool;

/// Fields of one request.
const MOST_FIELDS: usize = 256;
/// Bytes of a field's name.
const LONGEST_NAME: usize = 1024;
/// Bytes, tokens or numbers of one field's value.
const LONGEST_VALUE: usize = 16 << 20;
/// Bytes of a request's context: it travels with every sequence of every step.
const LONGEST_CONTEXT: usize = 1 << 20;
/// Candidates that a request may ask for.
const MOST_CANDIDATES: u32 = 64;
/// Tokens that one answer of `constrain` names: more than any vocabulary has.
const MOST_TOKENS: usize = 4 << 20;
/// Bytes that `filter` may add to a piece of text.
const LONGEST_PIECE: usize = 1 << 20;
/// Bytes of an answer.
const LONGEST_ANSWER: usize = 64 << 20;

/// A processor, ready to serve requests. It keeps no state between calls, so any instance can serve
/// any request; see [`ProcessorPool`].
///
/// After a failure that is not the guest's own answer ([`PluginError::Guest`]) the instance is lost.
pub struct Processor {
    instance: Instance<ProcessorPlugin>,
    session: ResourceAny,
    stages: Stages,
}

impl Processor {
    /// Opens a processor with a configuration, which its schema checks and completes.
    ///
    /// # Errors
    /// [`PluginError::WrongWorld`] if the component is no processor, [`PluginError::Config`] if the
    /// configuration violates the schema, [`PluginError::Guest`] if the processor refuses it.
    pub fn open(component: &Component, config: &Json, grants: Grants) -> Result<Self, PluginError> {
        component.loaded().linked::<ProcessorPlugin>()?;
        Self::open_checked(
            component,
            &component.complete_config(config)?.to_string(),
            grants,
        )
    }

    /// With a configuration that has passed the schema.
    fn open_checked(
        component: &Component,
        config: &str,
        grants: Grants,
    ) -> Result<Self, PluginError> {
        let mut instance = Instance::<ProcessorPlugin>::open(component, grants)?;
        let session = instance.call_result("open", |store, world| {
            world
                .tenon_processor_processor()
                .session()
                .call_open(store, config)
        })?;
        let stages = instance.call("stages", |store, world| {
            world
                .tenon_processor_processor()
                .session()
                .call_stages(store, session)
        })?;
        Ok(Self {
            instance,
            session,
            stages,
        })
    }

    /// The stages that it takes part in: the others refuse to be called.
    pub fn stages(&self) -> Stages {
        self.stages
    }

    /// A request's JSON body as the model's fields and the generation's options.
    ///
    /// # Errors
    /// [`PluginError::Guest`] if it refuses the request; [`PluginError::Contract`] if a field or option
    /// is out of bounds; limits and traps.
    pub fn preprocess(&mut self, request: &str) -> Result<Prepared, PluginError> {
        self.takes_part(Stages::PREPROCESS, "preprocess")?;
        let session = self.session;
        let prepared = self.instance.call_result("preprocess", |store, world| {
            world
                .tenon_processor_processor()
                .session()
                .call_preprocess(store, session, request)
        })?;
        check_prepared(&prepared).map_err(|reason| self.broken("preprocess", reason))?;
        Ok(prepared)
    }

    /// Which tokens may come next: one answer for each sequence, in order. Whether they lie within
    /// the vocabulary is for the caller to check, who has it.
    ///
    /// # Errors
    /// [`PluginError::Guest`]; [`PluginError::Contract`] if there is not one answer for each sequence,
    /// or a bias is not a number; limits and traps.
    pub fn constrain(&mut self, sequences: &[Sequence]) -> Result<Vec<Allowed>, PluginError> {
        self.takes_part(Stages::CONSTRAIN, "constrain")?;
        let session = self.session;
        let answers = self.instance.call_result("constrain", |store, world| {
            world
                .tenon_processor_processor()
                .session()
                .call_constrain(store, session, sequences)
        })?;
        check_allowed(&answers, sequences.len())
            .map_err(|reason| self.broken("constrain", reason))?;
        Ok(answers)
    }

    /// What is sent instead of a piece of generated text.
    ///
    /// # Errors
    /// [`PluginError::Guest`]; [`PluginError::Contract`] if the piece grows without measure; limits
    /// and traps.
    pub fn filter(&mut self, context: &[u8], text: &str) -> Result<String, PluginError> {
        self.takes_part(Stages::FILTER, "filter")?;
        let session = self.session;
        let filtered = self.instance.call_result("filter", |store, world| {
            world
                .tenon_processor_processor()
                .session()
                .call_filter(store, session, context, text)
        })?;
        if filtered.len() > text.len().saturating_add(LONGEST_PIECE) {
            return Err(self.broken(
                "filter",
                format!(
                    "it made {} bytes of {}; it may add {LONGEST_PIECE}",
                    filtered.len(),
                    text.len()
                ),
            ));
        }
        Ok(filtered)
    }

    /// The JSON body of the answer.
    ///
    /// # Errors
    /// [`PluginError::Guest`]; [`PluginError::Contract`] if it is no JSON; limits and traps.
    pub fn postprocess(&mut self, context: &[u8], output: &Output) -> Result<String, PluginError> {
        self.takes_part(Stages::POSTPROCESS, "postprocess")?;
        let session = self.session;
        let answer = self.instance.call_result("postprocess", |store, world| {
            world
                .tenon_processor_processor()
                .session()
                .call_postprocess(store, session, context, output)
        })?;
        if answer.len() > LONGEST_ANSWER {
            return Err(self.broken(
                "postprocess",
                format!(
                    "its answer is {} bytes long; at most {LONGEST_ANSWER} are sent",
                    answer.len()
                ),
            ));
        }
        serde_json::from_str::<IgnoredAny>(&answer).map_err(|error| {
            self.broken("postprocess", format!("its answer is no JSON: {error}"))
        })?;
        Ok(answer)
    }

    /// The plugin's name.
    pub fn plugin(&self) -> &str {
        self.instance.plugin()
    }

    /// Whether an earlier failure has lost this instance.
    pub fn is_poisoned(&self) -> bool {
        self.instance.is_poisoned()
    }

    fn takes_part(&self, stage: Stages, phase: &str) -> Result<(), PluginError> {
        if self.stages.contains(stage) {
            return Ok(());
        }
        Err(PluginError::host(
            self.plugin(),
            phase,
            format!(
                "this processor does not take part in `{phase}`; look at its stages before calling it"
            ),
        ))
    }

    fn broken(&self, phase: &str, reason: String) -> PluginError {
        PluginError::contract(self.plugin(), phase, reason)
    }
}

impl std::fmt::Debug for Processor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Processor")
            .field("plugin", &self.plugin())
            .field("stages", &self.stages)
            .finish_non_exhaustive()
    }
}

/// What a processor asks of the model is asked by a plugin.
fn check_prepared(prepared: &Prepared) -> Result<(), String> {
    if prepared.fields.len() > MOST_FIELDS {
        return Err(format!(
            "it prepared {} fields; at most {MOST_FIELDS} are accepted",
            prepared.fields.len()
        ));
    }
    for (index, field) in prepared.fields.iter().enumerate() {
        let name = &field.name;
        if name.is_empty() || name.len() > LONGEST_NAME {
            return Err(format!(
                "field {index} has a name of {} bytes; it needs 1 to {LONGEST_NAME}",
                name.len()
            ));
        }
        if prepared.fields[..index]
            .iter()
            .any(|other| other.name == *name)
        {
            return Err(format!("it prepared the field `{name}` twice"));
        }
        let length = match &field.value {
            Value::Text(text) => text.len(),
            Value::Tokens(tokens) => tokens.len(),
            Value::Numbers(numbers) => {
                if let Some(at) = numbers.iter().position(|n| !n.is_finite()) {
                    return Err(format!(
                        "number {at} of the field `{name}` is {}",
                        numbers[at]
                    ));
                }
                numbers.len()
            }
        };
        if length > LONGEST_VALUE {
            return Err(format!(
                "the field `{name}` has {length} elements; at most {LONGEST_VALUE} are accepted"
            ));
        }
    }
    if prepared.context.len() > LONGEST_CONTEXT {
        return Err(format!(
            "its context is {} bytes long; at most {LONGEST_CONTEXT} travel with a request",
            prepared.context.len()
        ));
    }
    check_generation(&prepared.generation)
}

fn check_generation(generation: &Generation) -> Result<(), String> {
    GenerationOptions {
        max_tokens: generation.max_tokens,
        temperature: generation.temperature,
        top_k: generation.top_k,
        top_p: generation.top_p,
        beams: generation.beams,
        seed: generation.seed,
    }
    .check()?;
    let count = generation.count.unwrap_or(1);
    if !(1..=MOST_CANDIDATES).contains(&count) {
        return Err(format!(
            "count is {count}; it lies between 1 and {MOST_CANDIDATES}"
        ));
    }
    if let (Some(min), Some(max)) = (generation.min_tokens, generation.max_tokens)
        && min > max
    {
        return Err(format!("min-tokens is {min}, more than max-tokens ({max})"));
    }
    Ok(())
}

fn check_allowed(answers: &[Allowed], sequences: usize) -> Result<(), String> {
    if answers.len() != sequences {
        return Err(format!(
            "it answered for {} sequences of {sequences}",
            answers.len()
        ));
    }
    for (index, answer) in answers.iter().enumerate() {
        let length = match answer {
            Allowed::Any | Allowed::End => 0,
            Allowed::Only(tokens) | Allowed::Except(tokens) => tokens.len(),
            Allowed::Bias(biases) => {
                // -∞ forbids a token; NaN and +∞ would spoil all of them.
                if let Some((token, bias)) = biases
                    .iter()
                    .find(|(_, bias)| bias.is_nan() || *bias == f32::INFINITY)
                {
                    return Err(format!(
                        "sequence {index}: the bias of token {token} is {bias}"
                    ));
                }
                biases.len()
            }
        };
        if length > MOST_TOKENS {
            return Err(format!(
                "sequence {index}: it names {length} tokens; at most {MOST_TOKENS} are accepted"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn free() -> Generation {
        Generation {
            max_tokens: None,
            min_tokens: None,
            temperature: None,
            top_k: None,
            top_p: None,
            beams: None,
            count: None,
            seed: None,
        }
    }

    fn prepared(fields: Vec<(&str, Value)>) -> Prepared {
        Prepared {
            fields: fields
                .into_iter()
                .map(|(name, value)| Field {
                    name: name.into(),
                    value,
                })
                .collect(),
            generation: free(),
            context: vec![],
        }
    }

    #[test]
    fn what_is_prepared_is_bounded() {
        check_prepared(&prepared(vec![
            ("text", Value::Text("天".into())),
            ("x", Value::Numbers(vec![1.0])),
        ]))
        .unwrap();
        let refused = |p: &Prepared| check_prepared(p).unwrap_err();
        let text = || Value::Text("x".into());
        assert!(refused(&prepared(vec![("a", text()), ("a", text())])).contains("`a` twice"));
        assert!(refused(&prepared(vec![("", text())])).contains("name of 0 bytes"));
        assert!(
            refused(&prepared(vec![("x", Value::Numbers(vec![0.0, f32::NAN]))]))
                .contains("number 1 of the field `x`")
        );
        assert!(
            refused(&Prepared {
                context: vec![0; LONGEST_CONTEXT + 1],
                ..prepared(vec![])
            })
            .contains("context")
        );
        let asks = |generation| {
            refused(&Prepared {
                generation,
                ..prepared(vec![])
            })
        };
        assert!(
            asks(Generation {
                temperature: Some(-1.0),
                ..free()
            })
            .contains("temperature is -1")
        );
        assert!(
            asks(Generation {
                temperature: Some(f32::NAN),
                ..free()
            })
            .contains("temperature is NaN")
        );
        assert!(
            asks(Generation {
                top_p: Some(0.0),
                ..free()
            })
            .contains("top-p is 0")
        );
        assert!(
            asks(Generation {
                beams: Some(1_000_000),
                ..free()
            })
            .contains("beams is 1000000")
        );
        assert!(
            asks(Generation {
                count: Some(0),
                ..free()
            })
            .contains("count is 0")
        );
        assert!(
            asks(Generation {
                min_tokens: Some(5),
                max_tokens: Some(4),
                ..free()
            })
            .contains("min-tokens")
        );
    }

    #[test]
    fn one_answer_for_each_sequence() {
        check_allowed(
            &[Allowed::Any, Allowed::Bias(vec![(7, f32::NEG_INFINITY)])],
            2,
        )
        .unwrap();
        assert!(
            check_allowed(&[Allowed::Any], 2)
                .unwrap_err()
                .contains("1 sequences of 2")
        );
        for bias in [f32::NAN, f32::INFINITY] {
            assert!(
                check_allowed(&[Allowed::Bias(vec![(7, bias)])], 1)
                    .unwrap_err()
                    .contains("bias of token 7")
            );
        }
    }
}
