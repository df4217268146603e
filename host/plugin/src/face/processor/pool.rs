//! Processors in stock: opening one costs more than most of their calls.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use serde_json::Value;

use super::{Processor, Stages};
use crate::{Component, Grants, PluginError, bindings::processor::ProcessorPlugin};

type GrantsFactory = Box<dyn Fn() -> Grants + Send + Sync>;

/// Up to `size` opened instances of one processor, for any number of threads. Cheap to clone.
///
/// An instance goes back when its call is over and is thrown away when it has failed; the next call
/// that needs one opens it.
#[derive(Clone)]
pub struct ProcessorPool {
    inner: Arc<Inner>,
}

struct Inner {
    component: Component,
    /// Checked and completed.
    config: String,
    grants: GrantsFactory,
    size: usize,
    stages: Stages,
    stock: Mutex<Stock>,
    returned: Condvar,
}

struct Stock {
    /// The one used last is used next: its memory is still in the cache.
    idle: Vec<Processor>,
    /// Idle ones included.
    opened: usize,
}

impl ProcessorPool {
    /// A pool of at most `size` instances (at least one), one of which is opened now.
    ///
    /// # Errors
    /// As [`Processor::open`].
    pub fn new(
        component: &Component,
        config: &Value,
        grants: impl Fn() -> Grants + Send + Sync + 'static,
        size: usize,
    ) -> Result<Self, PluginError> {
        component.loaded().linked::<ProcessorPlugin>()?;
        let config = component.complete_config(config)?.to_string();
        let first = Processor::open_checked(component, &config, grants())?;
        Ok(Self {
            inner: Arc::new(Inner {
                component: component.clone(),
                config,
                grants: Box::new(grants),
                size: size.max(1),
                stages: first.stages(),
                stock: Mutex::new(Stock {
                    idle: vec![first],
                    opened: 1,
                }),
                returned: Condvar::new(),
            }),
        })
    }

    /// The stages that the processor takes part in.
    pub fn stages(&self) -> Stages {
        self.inner.stages
    }

    /// The component that it opens.
    pub fn component(&self) -> &Component {
        &self.inner.component
    }

    /// Runs `work` with an instance that nobody else uses meanwhile; waits for one if all are in use.
    ///
    /// # Errors
    /// Those of `work`, and those of opening an instance.
    pub fn with<T>(
        &self,
        work: impl FnOnce(&mut Processor) -> Result<T, PluginError>,
    ) -> Result<T, PluginError> {
        let mut loan = self.borrow()?;
        match loan.processor.as_mut() {
            Some(processor) => work(processor),
            // A loan holds its processor until it is dropped.
            None => Err(PluginError::host(
                &self.inner.component.description().name,
                "call",
                "an empty loan",
            )),
        }
    }

    fn borrow(&self) -> Result<Loan<'_>, PluginError> {
        let inner = &*self.inner;
        let mut stock = inner.stock.lock();
        loop {
            if let Some(processor) = stock.idle.pop() {
                return Ok(Loan {
                    inner,
                    processor: Some(processor),
                });
            }
            if stock.opened < inner.size {
                stock.opened += 1;
                break;
            }
            inner.returned.wait(&mut stock);
        }
        drop(stock);
        // The place is taken: should opening fail (or panic), the loan gives it back.
        let mut loan = Loan {
            inner,
            processor: None,
        };
        loan.processor = Some(Processor::open_checked(
            &inner.component,
            &inner.config,
            (inner.grants)(),
        )?);
        Ok(loan)
    }
}

impl std::fmt::Debug for ProcessorPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProcessorPool")
            .field("component", &self.inner.component)
            .field("size", &self.inner.size)
            .finish_non_exhaustive()
    }
}

/// One instance on its way to work and back.
struct Loan<'a> {
    inner: &'a Inner,
    processor: Option<Processor>,
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        let whole = self
            .processor
            .take()
            .filter(|processor| !processor.is_poisoned() && !std::thread::panicking());
        let mut stock = self.inner.stock.lock();
        match whole {
            Some(processor) => stock.idle.push(processor),
            None => stock.opened -= 1,
        }
        drop(stock);
        self.inner.returned.notify_one();
    }
}
