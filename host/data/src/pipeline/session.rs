//! A transform as a pipeline sees it. Plugins are one implementation; the tests have others.

use tenon_plugin::batch::Batch;
use tenon_plugin::transform::{Columns, Output};
use tenon_plugin::{Grants, PluginError, TokenizerSource, Transform};

use super::{Opened, PipelineStep};
use crate::error::{DataError, Result};

/// An opened transform.
pub(crate) trait Session: Send {
    fn columns(&self) -> Columns;
    fn process(&mut self, input: &Batch) -> Result<Vec<Output>, PluginError>;
    fn finish(&mut self) -> Result<Vec<Output>, PluginError>;
}

impl Session for Transform {
    fn columns(&self) -> Columns {
        Self::columns(self).clone()
    }

    fn process(&mut self, input: &Batch) -> Result<Vec<Output>, PluginError> {
        Self::process(self, input)
    }

    fn finish(&mut self) -> Result<Vec<Output>, PluginError> {
        Self::finish(self)
    }
}

/// Opens the plugin of a step, with what it is granted.
pub(super) fn open(index: usize, step: &PipelineStep) -> Result<Opened<'static>> {
    let plugin = step.component.description().name.clone();
    let mut grants = Grants {
        seed: step.seed,
        limits: step.limits.clone(),
        datasets: step.datasets.clone().map(|granted| granted.shared()),
        tokenizer: step
            .tokenizer
            .clone()
            .map(|tokenizer| tokenizer as std::sync::Arc<dyn TokenizerSource>),
        ..Grants::default()
    };
    if let Some(log) = &step.log {
        grants.log = std::sync::Arc::clone(log);
    }
    let session = Transform::open(&step.component, &step.config, grants).map_err(|source| {
        DataError::Plugin {
            context: format!("step {} ({plugin})", index + 1),
            source: Box::new(source),
        }
    })?;
    Ok(Opened {
        plugin,
        session: Box::new(session),
    })
}
