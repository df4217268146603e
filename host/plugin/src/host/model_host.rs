//! `tenon:recipe/model-host`: what a model is built from and the pass that it is computed in.
//!
//! The host lends a scope and a pass for the length of one call; scopes that the guest makes from
//! them (`child`) end with the call too.

use tenon_tensor::{
    Tensor,
    nn::{
        AttentionKind, AttentionOptions, ConvLayerOptions, Init, LinearOptions, NormKind, Pass,
        Scope, Stage, WeightLayout,
    },
};
use wasmtime::component::Resource;

use super::tensors::{
    Answer, Cost, dims,
    ops::{conv_from, optional},
    shielded,
};
use crate::{
    bindings::{model_host, types},
    call::Stop,
    error::bytes,
    host::tensors::H,
    slab::Slab,
    state::{PassHandle, ScopeHandle, State},
};

/// Bytes of a parameter's full name.
const MAX_NAME: usize = 512;
/// Attention calls in one pass: each may keep a mask in the pass.
const MAX_ATTENTIONS: u32 = 4096;

/// A scope and its place in the tree of names.
pub struct Place {
    scope: Scope,
    prefix: String,
}

/// The scopes and passes of the current call.
#[derive(Default)]
pub struct Lent {
    scopes: Slab<Place>,
    passes: Slab<Pass>,
    attentions: u32,
    /// How many parameters there were at the last look, and their bytes.
    known: (usize, u64),
}

impl Lent {
    /// Lends the root scope.
    pub(crate) fn scope(&mut self, scope: &Scope) -> Option<Resource<ScopeHandle>> {
        self.scopes
            .insert(Place {
                scope: scope.clone(),
                prefix: String::new(),
            })
            .map(Resource::new_borrow)
    }

    /// Lends the pass.
    pub(crate) fn pass(&mut self, pass: &Pass) -> Option<Resource<PassHandle>> {
        self.passes.insert(pass.clone()).map(Resource::new_borrow)
    }

    /// The host takes back what it lent.
    pub(crate) fn take_back(&mut self, scope: Option<u32>, pass: u32) {
        scope.and_then(|scope| self.scopes.remove(scope));
        self.passes.remove(pass);
    }

    /// Frees whatever is still here.
    pub(crate) fn end_call(&mut self) {
        self.scopes.free_all();
        self.passes.free_all();
        self.attentions = 0;
    }
}

/// Whether there is room for a parameter of these elements. Parameters outlive the call, so they are
/// measured against the limit as a whole. `known`: how many parameters there were at the last look,
/// and their bytes.
fn room(
    known: &mut (usize, u64),
    what: &str,
    place: &Place,
    name: &str,
    elements: u64,
    max: u64,
) -> Result<(), types::Error> {
    let params = place.scope.params();
    let count = params.count();
    if count != known.0 {
        *known = (count, (params.total_elements() as u64).saturating_mul(4));
    }
    let more = elements.saturating_mul(4);
    if known.1.saturating_add(more) <= max || params.kind(&joined(&place.prefix, name)).is_some() {
        return Ok(());
    }
    Err(types::Error::OutOfQuota(format!(
        "{what} `{}`: the parameter takes {}, the model has {} already and may have {}; raise the limit \
         `tensor_bytes`",
        joined(&place.prefix, name),
        bytes(more),
        bytes(known.1),
        bytes(max)
    )))
}

fn joined(prefix: &str, name: &str) -> String {
    match (prefix.is_empty(), name.is_empty()) {
        (true, _) => name.to_owned(),
        (_, true) => prefix.to_owned(),
        _ => format!("{prefix}.{name}"),
    }
}

type S = Resource<ScopeHandle>;
type P = Resource<PassHandle>;

fn gone(what: &str) -> types::Error {
    types::Error::InvalidArgument(format!(
        "{what}: this scope or pass belonged to an earlier call; keep neither between calls"
    ))
}

impl State {
    /// Computes with a scope and the table of tensors. `sizes` says which parameters may be made: the
    /// last part of their name and their elements.
    fn with_scope(
        &mut self,
        what: &'static str,
        scope: &S,
        name: &str,
        sizes: &[(&str, u64)],
        run: impl FnOnce(&Scope, &super::tensors::Tensors) -> Result<Tensor, types::Error>,
    ) -> Answer {
        let max = self.tensors.max_bytes();
        let Lent { scopes, known, .. } = &mut self.lent;
        let result = scopes
            .get(scope.rep())
            .ok_or_else(|| gone(what))
            .and_then(|place| {
                check_name(what, place, name)?;
                for (part, elements) in sizes {
                    room(known, what, place, &joined(name, part), *elements, max)?;
                }
                run(&place.scope, &self.tensors)
            });
        Ok(result.and_then(|tensor| self.tensors.push(what, tensor)))
    }

    fn with_pass(
        &mut self,
        what: &'static str,
        pass: &P,
        run: impl FnOnce(&Pass, &super::tensors::Tensors) -> Result<Tensor, types::Error>,
    ) -> Answer {
        let result = match self.lent.passes.get(pass.rep()) {
            Some(pass) => run(pass, &self.tensors),
            None => Err(gone(what)),
        };
        Ok(result.and_then(|tensor| self.tensors.push(what, tensor)))
    }
}

fn check_name(what: &str, place: &Place, name: &str) -> Result<(), types::Error> {
    if place.prefix.len() + name.len() > MAX_NAME {
        return Err(types::Error::InvalidArgument(format!(
            "{what}: a parameter's name may have {MAX_NAME} bytes, this one has more: {}…",
            joined(&place.prefix, name)
                .chars()
                .take(60)
                .collect::<String>()
        )));
    }
    Ok(())
}

fn product(shape: &[u32]) -> u64 {
    shape.iter().fold(1, |n, d| n.saturating_mul(u64::from(*d)))
}

impl model_host::Host for State {}

impl model_host::HostScope for State {
    fn child(&mut self, this: S, name: String) -> wasmtime::Result<S> {
        let max = self.limits.tensor_handles;
        let Some(place) = self.lent.scopes.get(this.rep()) else {
            return Err(Stop::Contract(
                "scope.child: this scope belonged to an earlier call".into(),
            )
            .into());
        };
        if let Err(error) = check_name("scope.child", place, &name) {
            return Err(Stop::Contract(super::tensors::sentence(error)).into());
        }
        let child = Place {
            prefix: joined(&place.prefix, &name),
            scope: place.scope.child(&name),
        };
        let handle = if self.lent.scopes.held() < max {
            self.lent.scopes.insert(child)
        } else {
            None
        };
        handle.map(Resource::new_own).ok_or_else(|| {
            Stop::Quota(
                format!("scope.child: the plugin holds {max} scopes, as many as it may"),
                "drop scopes that are no longer needed, or raise the limit `tensor_handles`",
            )
            .into()
        })
    }

    fn param(&mut self, this: S, name: String, shape: Vec<u32>, init: model_host::Init) -> Answer {
        self.with_scope(
            "param",
            &this,
            &name,
            &[("", product(&shape))],
            |scope, _| {
                shielded("param", || {
                    scope.param(&name, &dims(&shape), init_from(init))
                })
            },
        )
    }

    fn buffer(&mut self, this: S, name: String, shape: Vec<u32>, init: model_host::Init) -> Answer {
        self.with_scope(
            "buffer",
            &this,
            &name,
            &[("", product(&shape))],
            |scope, _| {
                shielded("buffer", || {
                    scope.buffer(&name, &dims(&shape), init_from(init))
                })
            },
        )
    }

    fn set_buffer(
        &mut self,
        this: S,
        name: String,
        value: H,
    ) -> wasmtime::Result<Result<(), types::Error>> {
        let Some(place) = self.lent.scopes.get(this.rep()) else {
            return Ok(Err(gone("set-buffer")));
        };
        Ok(self
            .tensors
            .get("set-buffer", &value)
            .and_then(|value| shielded("set-buffer", || place.scope.set_buffer(&name, value))))
    }

    fn linear(
        &mut self,
        this: S,
        name: String,
        x: H,
        out_features: u32,
        options: model_host::LinearOptions,
    ) -> Answer {
        let out = u64::from(out_features);
        let inputs = last_dim(self, &x);
        self.with_scope(
            "linear",
            &this,
            &name,
            &[("weight", inputs.saturating_mul(out))],
            |scope, table| {
                let x = table.get("linear", &x)?;
                table.admit("linear", Cost::dense(x, out))?;
                let options = LinearOptions {
                    bias: options.bias,
                    layout: match options.layout {
                        model_host::WeightLayout::OutIn => WeightLayout::OutIn,
                        model_host::WeightLayout::InOut => WeightLayout::InOut,
                    },
                    weight_init: init_from(options.weight_init),
                    bias_init: init_from(options.bias_init),
                };
                shielded("linear", || {
                    scope.linear(&name, x, out_features as usize, &options)
                })
            },
        )
    }

    fn embedding(
        &mut self,
        this: S,
        name: String,
        ids: H,
        count: u32,
        dim: u32,
        init: model_host::Init,
    ) -> Answer {
        let elements = u64::from(count).saturating_mul(u64::from(dim));
        self.with_scope(
            "embedding",
            &this,
            &name,
            &[("weight", elements)],
            |scope, table| {
                let ids = table.get("embedding", &ids)?;
                table.admit(
                    "embedding",
                    Cost::rows(u64::from(dim), ids, tenon_tensor::DType::F32),
                )?;
                shielded("embedding", || {
                    scope.embedding(&name, ids, count as usize, dim as usize, init_from(init))
                })
            },
        )
    }

    fn norm(
        &mut self,
        this: S,
        name: String,
        x: H,
        kind: model_host::NormKind,
        eps: f32,
        bias: bool,
    ) -> Answer {
        self.with_scope("norm", &this, &name, &[], |scope, table| {
            let x = table.get("norm", &x)?;
            table.admit("norm", Cost::same(x))?;
            let kind = match kind {
                model_host::NormKind::Layer => NormKind::Layer,
                model_host::NormKind::Rms => NormKind::Rms,
            };
            shielded("norm", || scope.norm(&name, x, kind, eps, bias))
        })
    }

    fn conv(
        &mut self,
        this: S,
        name: String,
        x: H,
        out_channels: u32,
        kernel: Vec<u32>,
        options: model_host::ConvLayerOptions,
    ) -> Answer {
        let out = u64::from(out_channels);
        let inputs = self
            .tensors
            .get("conv", &x)
            .ok()
            .and_then(|x| x.shape().get(1).copied())
            .unwrap_or(1) as u64;
        let groups = u64::from(options.conv.groups.max(1));
        let elements = product(&kernel)
            .saturating_mul(out)
            .saturating_mul(inputs / groups);
        self.with_scope(
            "conv",
            &this,
            &name,
            &[("weight", elements)],
            |scope, table| {
                let x = table.get("conv", &x)?;
                table.admit(
                    "conv",
                    Cost::conv(
                        x,
                        out,
                        product(&kernel),
                        groups,
                        &options.conv.stride,
                        &options.conv.padding,
                    ),
                )?;
                let options = ConvLayerOptions {
                    conv: conv_from(&options.conv),
                    bias: options.bias,
                    weight_init: init_from(options.weight_init),
                    bias_init: init_from(options.bias_init),
                };
                shielded("conv", || {
                    scope.conv(&name, x, out_channels as usize, &dims(&kernel), &options)
                })
            },
        )
    }

    fn batch_norm(&mut self, this: S, name: String, x: H, momentum: f32, eps: f32) -> Answer {
        self.with_scope("batch-norm", &this, &name, &[], |scope, table| {
            let x = table.get("batch-norm", &x)?;
            table.admit("batch-norm", Cost::same(x))?;
            shielded("batch-norm", || scope.batch_norm(&name, x, momentum, eps))
        })
    }

    fn drop(&mut self, this: S) -> wasmtime::Result<()> {
        self.lent.scopes.remove(this.rep());
        Ok(())
    }
}

fn last_dim(state: &State, x: &H) -> u64 {
    state
        .tensors
        .get("linear", x)
        .ok()
        .and_then(|x| x.shape().last().copied())
        .unwrap_or(1) as u64
}

impl model_host::HostPass for State {
    fn stage(&mut self, this: P) -> wasmtime::Result<model_host::Stage> {
        let pass = self.lent.passes.get(this.rep()).ok_or_else(|| {
            wasmtime::Error::from(Stop::Contract(
                "pass.stage: this pass belonged to an earlier call".into(),
            ))
        })?;
        Ok(match pass.stage() {
            Stage::Train => model_host::Stage::Train,
            Stage::Evaluate => model_host::Stage::Evaluate,
            Stage::Prefill => model_host::Stage::Prefill,
            Stage::Decode => model_host::Stage::Decode,
        })
    }

    fn positions(&mut self, this: P, input: String) -> Answer {
        self.with_pass("positions", &this, |pass, _| {
            shielded("positions", || pass.positions(&input))
        })
    }

    fn key_positions(&mut self, this: P, input: String) -> Answer {
        self.with_pass("key-positions", &this, |pass, _| {
            shielded("key-positions", || pass.key_positions(&input))
        })
    }

    fn mask(&mut self, this: P, input: String) -> Answer {
        self.with_pass("mask", &this, |pass, _| {
            shielded("mask", || pass.mask(&input))
        })
    }

    fn dropout(&mut self, this: P, x: H, p: f32) -> Answer {
        self.with_pass("dropout", &this, |pass, table| {
            let x = table.get("dropout", &x)?;
            table.admit("dropout", Cost::same(x))?;
            shielded("dropout", || pass.dropout(x, p))
        })
    }

    fn uniform(&mut self, this: P, shape: Vec<u32>) -> Answer {
        self.with_pass("uniform", &this, |pass, table| {
            let shape = dims(&shape);
            table.admit("uniform", Cost::shape(&shape, tenon_tensor::DType::F32))?;
            shielded("uniform", || pass.uniform(&shape))
        })
    }

    fn normal(&mut self, this: P, shape: Vec<u32>) -> Answer {
        self.with_pass("normal", &this, |pass, table| {
            let shape = dims(&shape);
            table.admit("normal", Cost::shape(&shape, tenon_tensor::DType::F32))?;
            shielded("normal", || pass.normal(&shape))
        })
    }

    fn attention(
        &mut self,
        this: P,
        q: H,
        k: Option<H>,
        v: Option<H>,
        bias: Option<H>,
        options: model_host::AttentionOptions,
    ) -> Answer {
        const WHAT: &str = "attention";
        self.lent.attentions += 1;
        if self.lent.attentions > MAX_ATTENTIONS {
            return Ok(Err(types::Error::OutOfQuota(format!(
                "attention: more than {MAX_ATTENTIONS} calls in one pass"
            ))));
        }
        self.with_pass(WHAT, &this, |pass, table| {
            let q = table.get(WHAT, &q)?;
            let (k, v) = (
                optional(table, WHAT, k.as_ref())?,
                optional(table, WHAT, v.as_ref())?,
            );
            let bias = optional(table, WHAT, bias.as_ref())?;
            table.admit(
                WHAT,
                k.map_or_else(|| Cost::same(q), |k| Cost::attention(q, k)),
            )?;
            let options = AttentionOptions {
                layer: options.layer,
                kind: match options.kind {
                    model_host::AttentionKind::Causal => AttentionKind::Causal,
                    model_host::AttentionKind::Bidirectional => AttentionKind::Bidirectional,
                    model_host::AttentionKind::Cross => AttentionKind::Cross,
                },
                queries: options.queries,
                keys: options.keys,
                scale: options.scale,
                window: options.window,
                dropout: options.dropout,
            };
            shielded(WHAT, || pass.attention(q, k, v, bias, &options))
        })
    }

    fn wanted(&mut self, this: P, x: H, input: String) -> Answer {
        self.with_pass("wanted", &this, |pass, table| {
            let x = table.get("wanted", &x)?;
            shielded("wanted", || pass.wanted(x, &input))
        })
    }

    fn drop(&mut self, this: P) -> wasmtime::Result<()> {
        self.lent.passes.remove(this.rep());
        Ok(())
    }
}

fn init_from(init: model_host::Init) -> Init {
    match init {
        model_host::Init::Zeros => Init::Zeros,
        model_host::Init::Ones => Init::Ones,
        model_host::Init::Normal(deviation) => Init::Normal(deviation),
        model_host::Init::Uniform(bound) => Init::Uniform(bound),
        model_host::Init::Xavier => Init::Xavier,
        model_host::Init::Kaiming => Init::Kaiming,
        model_host::Init::Constant(value) => Init::Constant(value),
    }
}
