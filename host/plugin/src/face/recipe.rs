//! Recipes: models as plugins.

use serde_json::Value;
use tenon_tensor::{
    Tensor,
    nn::{Pass, Scope},
    optim::ParameterGroup,
};
use wasmtime::{Store, component::ResourceAny};

use crate::{
    Component, Grants, PluginError,
    bindings::{
        recipe::{RecipePlugin, face},
        types,
    },
    call::Stop,
    instance::Instance,
    state::State,
};

mod signature;

pub use signature::{Generation, Input, Layout, Piece, Segment, SequenceLayout, Signature};

/// A model that a component computes: `forward` and `loss` over tensors of the host's device.
///
/// One recipe serves one thread. After a failure that is not the guest's own answer
/// ([`PluginError::Guest`]) the instance is lost: open another, parameters are not in it.
pub struct Recipe {
    instance: Instance<RecipePlugin>,
    /// The guest's `model`, for the life of the instance.
    model: ResourceAny,
}

/// What a recipe's `loss` answers.
#[derive(Clone)]
pub struct Losses {
    /// A scalar to minimise: a mean over `weight` items.
    pub loss: Tensor,
    /// What the mean was taken over (tokens, rows): batches are combined by it.
    pub weight: Tensor,
    /// Scalars to log.
    pub metrics: Vec<(String, Tensor)>,
}

type Named = Vec<(String, Tensor)>;

impl Recipe {
    /// Opens a recipe with a configuration, which its schema checks and completes. `vocabulary`: the
    /// tokenizer's size, 0 where there is none.
    ///
    /// # Errors
    /// [`PluginError::WrongWorld`] if the component is no recipe, [`PluginError::Config`] if the
    /// configuration violates the schema, [`PluginError::Guest`] if the recipe refuses it.
    pub fn open(
        component: &Component,
        config: &Value,
        vocabulary: u32,
        grants: Grants,
    ) -> Result<Self, PluginError> {
        let mut instance = Instance::<RecipePlugin>::open(component, grants)?;
        let config = component.complete_config(config)?.to_string();
        let model = instance.call_result("open", |store, world| {
            world
                .tenon_recipe_recipe()
                .model()
                .call_open(store, &config, vocabulary)
        })?;
        Ok(Self { instance, model })
    }

    /// The inputs that the recipe wants, and how it generates.
    ///
    /// # Errors
    /// As every call: [`PluginError`]'s limits and traps; [`PluginError::Contract`] if the signature
    /// contradicts itself.
    pub fn signature(&mut self) -> Result<Signature, PluginError> {
        let model = self.model;
        let signature = self.instance.call("signature", |store, world| {
            world
                .tenon_recipe_recipe()
                .model()
                .call_signature(store, model)
        })?;
        Signature::from_wit(signature)
            .map_err(|message| PluginError::contract(self.instance.plugin(), "signature", message))
    }

    /// Parameters with settings of their own; the first match wins.
    ///
    /// # Errors
    /// As every call.
    pub fn parameter_groups(&mut self) -> Result<Vec<ParameterGroup>, PluginError> {
        let model = self.model;
        let groups = self.instance.call("parameter-groups", |store, world| {
            world
                .tenon_recipe_recipe()
                .model()
                .call_parameter_groups(store, model)
        })?;
        Ok(groups
            .into_iter()
            .map(|group| ParameterGroup {
                pattern: group.pattern,
                learning_rate: group.learning_rate,
                weight_decay: group.weight_decay,
            })
            .collect())
    }

    /// Named tensors in, named tensors out. All other tensors that the recipe made are freed when
    /// this returns.
    ///
    /// # Errors
    /// [`PluginError::Guest`] with the operation's sentence if one failed and the recipe passed it on;
    /// limits and traps as every call.
    pub fn forward(
        &mut self,
        scope: &Scope,
        pass: &Pass,
        inputs: Named,
    ) -> Result<Named, PluginError> {
        let model = self.model;
        self.instance.call_result("forward", |store, world| {
            let Lending {
                scope,
                pass,
                mut lists,
            } = match lend(store, Some(scope), pass, [inputs])? {
                Ok(lending) => lending,
                Err(error) => return Ok(Err(error)),
            };
            let scope = scope.ok_or_else(|| wasmtime::Error::msg("the scope was not lent"))?;
            let (scope_rep, pass_rep) = (scope.rep(), pass.rep());
            let inputs = lists.pop().unwrap_or_default();
            let answer = world.tenon_recipe_recipe().model().call_forward(
                &mut *store,
                model,
                scope,
                pass,
                &inputs,
            )?;
            let state = store.data_mut();
            state.lent.take_back(Some(scope_rep), pass_rep);
            answer
                .map(|outputs| collect(state, outputs))
                .transpose_stop()
        })
    }

    /// The loss of a forward's outputs.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn loss(
        &mut self,
        pass: &Pass,
        outputs: Named,
        inputs: Named,
    ) -> Result<Losses, PluginError> {
        let model = self.model;
        self.instance.call_result("loss", |store, world| {
            let Lending {
                pass, mut lists, ..
            } = match lend(store, None, pass, [outputs, inputs])? {
                Ok(lending) => lending,
                Err(error) => return Ok(Err(error)),
            };
            let pass_rep = pass.rep();
            let (inputs, outputs) = (
                lists.pop().unwrap_or_default(),
                lists.pop().unwrap_or_default(),
            );
            let answer = world.tenon_recipe_recipe().model().call_loss(
                &mut *store,
                model,
                pass,
                &outputs,
                &inputs,
            )?;
            let state = store.data_mut();
            state.lent.take_back(None, pass_rep);
            answer
                .map(|losses| {
                    Ok(Losses {
                        loss: take(state, "loss", &losses.loss)?,
                        weight: take(state, "weight", &losses.weight)?,
                        metrics: collect(state, losses.metrics)?,
                    })
                })
                .transpose_stop()
        })
    }

    /// The plugin's name.
    pub fn plugin(&self) -> &str {
        self.instance.plugin()
    }

    /// Whether an earlier failure has lost this instance.
    pub fn is_poisoned(&self) -> bool {
        self.instance.is_poisoned()
    }
}

impl std::fmt::Debug for Recipe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recipe")
            .field("plugin", &self.plugin())
            .finish_non_exhaustive()
    }
}

/// What a call was lent.
struct Lending {
    scope: Option<wasmtime::component::Resource<crate::state::ScopeHandle>>,
    pass: wasmtime::component::Resource<crate::state::PassHandle>,
    lists: Vec<Vec<face::Named>>,
}

/// Puts the arguments of a call into the tables.
fn lend<const N: usize>(
    store: &mut Store<State>,
    scope: Option<&Scope>,
    pass: &Pass,
    lists: [Named; N],
) -> wasmtime::Result<Result<Lending, types::Error>> {
    let state = store.data_mut();
    state.tensors.begin_call(pass.device());
    let full = || {
        wasmtime::Error::from(Stop::Contract(
            "the table of scopes and passes is full".into(),
        ))
    };
    let scope = scope
        .map(|scope| state.lent.scope(scope).ok_or_else(full))
        .transpose()?;
    let pass = state.lent.pass(pass).ok_or_else(full)?;
    let mut lent = Vec::with_capacity(N);
    for list in lists {
        let mut named = Vec::with_capacity(list.len());
        for (name, tensor) in list {
            match state.tensors.push(&name, tensor) {
                Ok(value) => named.push(face::Named { name, value }),
                Err(error) => return Ok(Err(error)),
            }
        }
        lent.push(named);
    }
    Ok(Ok(Lending {
        scope,
        pass,
        lists: lent,
    }))
}

/// Takes a tensor that the guest has handed over.
fn take(
    state: &mut State,
    name: &str,
    handle: &wasmtime::component::Resource<crate::state::TensorHandle>,
) -> Result<Tensor, Stop> {
    state.tensors.take(handle).ok_or_else(|| {
        Stop::Contract(format!(
            "the tensor `{name}` that came back belonged to an earlier call; make it in this one"
        ))
    })
}

fn collect(state: &mut State, outputs: Vec<face::Named>) -> Result<Named, Stop> {
    outputs
        .into_iter()
        .map(|face::Named { name, value }| {
            let tensor = take(state, &name, &value)?;
            Ok((name, tensor))
        })
        .collect()
}

/// The guest's error stays an answer, ours ends the call.
trait TransposeStop<T> {
    fn transpose_stop(self) -> wasmtime::Result<Result<T, types::Error>>;
}

impl<T> TransposeStop<T> for Result<Result<T, Stop>, types::Error> {
    fn transpose_stop(self) -> wasmtime::Result<Result<T, types::Error>> {
        match self {
            Ok(Ok(value)) => Ok(Ok(value)),
            Ok(Err(stop)) => Err(stop.into()),
            Err(error) => Ok(Err(error)),
        }
    }
}
