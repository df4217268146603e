//! Processors: what a request means, what an answer looks like, which tokens are allowed.
//!
//! [`context`] reads in the later stages what [`Prepared::new`] kept.

use std::cell::RefCell;

use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};

pub use crate::bindings::processor::face::{
    Allowed, Array, Candidate, Finish, Generation, Output as ProcessorOutput, Prepared, Sequence,
    Stages, Value,
};
use crate::{
    Error, Result,
    bindings::{
        processor::face::{Field, GuestSession, Session},
        types,
    },
    plugin,
};

/// Stands between the clients of a deployment and its model. Export it with
/// [`export_processor!`](crate::export_processor).
///
/// What a processor has to remember about a request goes into the request's context
/// ([`Prepared::new`]), which the host hands back: any instance can serve any call.
pub trait Processor: Sized + 'static {
    /// `owner/name`, lower case.
    const NAME: &'static str;
    /// One sentence.
    const SUMMARY: &'static str;
    /// Capabilities asked for: `tokenizer`, `dataset:NAME`.
    const CAPABILITIES: &'static [&'static str] = &[];
    /// The configuration; its doc comments become the schema's descriptions.
    type Config: DeserializeOwned + JsonSchema;

    /// Makes it ready for requests. The configuration has passed the schema.
    ///
    /// # Errors
    /// What the schema cannot express: options that contradict each other, a missing capability.
    fn open(config: Self::Config) -> Result<Self>;

    /// The stages that it takes part in; the host calls no other.
    fn stages(&self) -> Stages {
        Stages::PREPROCESS | Stages::POSTPROCESS
    }

    /// From the JSON body of a request to the model's columns.
    ///
    /// # Errors
    /// A request that cannot be served, as [`Error::invalid`]: the client sees the sentence.
    fn preprocess(&mut self, request: &str) -> Result<Prepared>;

    /// Once a decoding step for the whole batch; one answer for each sequence, in order.
    ///
    /// # Errors
    /// Contexts that are not its own.
    fn constrain(&mut self, sequences: Vec<Sequence>) -> Result<Vec<Allowed>> {
        Ok(sequences.iter().map(|_| Allowed::Any).collect())
    }

    /// A piece of generated text on its way to the client; what comes back is sent instead.
    ///
    /// # Errors
    /// Contexts that are not its own.
    fn filter(&mut self, context: &[u8], text: String) -> Result<String> {
        let _ = context;
        Ok(text)
    }

    /// The JSON body of the answer.
    ///
    /// # Errors
    /// Outputs that it cannot put into words.
    fn postprocess(&mut self, context: &[u8], output: ProcessorOutput) -> Result<String>;
}

impl Prepared {
    /// Without columns; `context` is kept as JSON and read again by [`context`].
    ///
    /// # Errors
    /// A context that is no JSON.
    pub fn new(context: &impl Serialize) -> Result<Self> {
        let context = serde_json::to_vec(context)?;
        Ok(Self {
            fields: Vec::new(),
            generation: Generation::default(),
            context,
        })
    }

    /// Adds a column's value.
    #[must_use]
    pub fn field(mut self, name: impl Into<String>, value: Value) -> Self {
        self.fields.push(Field {
            name: name.into(),
            value,
        });
        self
    }

    /// Adds a column of text.
    #[must_use]
    pub fn text(self, name: impl Into<String>, text: impl Into<String>) -> Self {
        self.field(name, Value::Text(text.into()))
    }

    /// Says how to generate.
    #[must_use]
    pub fn generation(mut self, generation: Generation) -> Self {
        self.generation = generation;
        self
    }
}

/// Nothing said: the deployment's options hold.
impl Default for Generation {
    fn default() -> Self {
        Self {
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
}

impl Sequence {
    /// The context that [`Prepared::new`] kept.
    ///
    /// # Errors
    /// A context of another shape.
    pub fn context<C: DeserializeOwned>(&self) -> Result<C> {
        context(&self.context)
    }
}

/// The context that [`Prepared::new`] kept.
///
/// # Errors
/// A context of another shape.
pub fn context<C: DeserializeOwned>(bytes: &[u8]) -> Result<C> {
    serde_json::from_slice(bytes)
        .map_err(|error| Error::invalid(format!("this is no context of this processor's: {error}")))
}

/// What [`export_processor!`](crate::export_processor) exports.
#[doc(hidden)]
pub struct ProcessorSession<T>(RefCell<T>);

impl<T: Processor> GuestSession for ProcessorSession<T> {
    fn open(config: String) -> Result<Session, types::Error> {
        plugin::start();
        let processor = T::open(plugin::config(&config)?).map_err(Error::into_host)?;
        Ok(Session::new(Self(RefCell::new(processor))))
    }

    fn stages(&self) -> Stages {
        self.0.borrow().stages()
    }

    fn preprocess(&self, request: String) -> Result<Prepared, types::Error> {
        self.0
            .borrow_mut()
            .preprocess(&request)
            .map_err(Error::into_host)
    }

    fn constrain(&self, sequences: Vec<Sequence>) -> Result<Vec<Allowed>, types::Error> {
        self.0
            .borrow_mut()
            .constrain(sequences)
            .map_err(Error::into_host)
    }

    fn filter(&self, context: Vec<u8>, text: String) -> Result<String, types::Error> {
        self.0
            .borrow_mut()
            .filter(&context, text)
            .map_err(Error::into_host)
    }

    fn postprocess(
        &self,
        context: Vec<u8>,
        output: ProcessorOutput,
    ) -> Result<String, types::Error> {
        self.0
            .borrow_mut()
            .postprocess(&context, output)
            .map_err(Error::into_host)
    }
}

/// Makes the crate a processor: `export_processor!(MyType);`, once, where `MyType` is a
/// [`Processor`](crate::Processor).
#[macro_export]
macro_rules! export_processor {
    ($type:ty) => {
        $crate::__export_description!($type, $crate::Processor, Processor);
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            struct Export;
            impl $crate::bindings::processor::face::Guest for Export {
                type Session = $crate::__private::ProcessorSession<$type>;
            }
            $crate::bindings::processor::__export_processor!(Export with_types_in $crate::bindings::processor);
        };
    };
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_context_comes_back() {
        let prepared = Prepared::new(&("春", 7)).unwrap().text("src_txt", "春風");
        let sequence = Sequence {
            context: prepared.context,
            tokens: vec![],
        };
        assert_eq!(
            sequence.context::<(String, u32)>().unwrap(),
            ("春".to_owned(), 7)
        );
        assert!(
            sequence
                .context::<Vec<bool>>()
                .unwrap_err()
                .to_string()
                .contains("context")
        );
    }
}
