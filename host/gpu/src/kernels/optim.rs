//! Steps of optimisers: parameters and their moments, in one walk over memory. The results are new tensors:
//! others may still read the old ones. One launch takes several parameters: most of a model's are so small
//! that launching a kernel takes longer than what it does.

use burn_cubecl::{CubeRuntime, kernel::into_contiguous, tensor::CubeTensor};
use cubecl::{calculate_cube_count_elemwise, prelude::*};

use super::{Kernel, row::packed, several};

/// Units of a cube.
const UNITS: usize = 256;

/// The numbers of an AdamW step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second.
    pub beta2: f32,
    /// 1 − beta1.
    pub rest1: f32,
    /// 1 − beta2.
    pub rest2: f32,
    /// Added to the root.
    pub eps: f32,
    /// What is left of the parameter after decay.
    pub keep: f32,
    /// The corrected learning rate.
    pub size: f32,
    /// What the root of the second moment is multiplied by.
    pub unroot: f32,
    /// What the gradient is multiplied by.
    pub gradient_scale: f32,
}

/// The numbers of an SGD step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    /// Learning rate.
    pub lr: f32,
    /// Added to the gradient: decay · p.
    pub weight_decay: f32,
    /// Decay of the velocity.
    pub momentum: f32,
    /// The gradient's share in the velocity.
    pub rest: f32,
    /// Nesterov: the velocity's share in the step besides the gradient.
    pub ahead: Option<f32>,
    /// What the gradient is multiplied by.
    pub gradient_scale: f32,
    /// Whether there is a velocity.
    pub has_velocity: bool,
}

/// The numbers of a Lion step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lion {
    /// The mean's share in the direction.
    pub beta1: f32,
    /// 1 − beta1.
    pub rest1: f32,
    /// Decay of the mean.
    pub beta2: f32,
    /// 1 − beta2.
    pub rest2: f32,
    /// What is left of the parameter after decay.
    pub keep: f32,
    /// Learning rate.
    pub lr: f32,
    /// What the gradient is multiplied by.
    pub gradient_scale: f32,
}

/// The step of an optimiser.
///
/// Takes a parameter, its gradient and its moments (AdamW: two; SGD: the velocity, where there is one; Lion:
/// the mean), then those of the next parameter, and so on; gives each parameter and its moments. None of them
/// is empty.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Step {
    AdamW(AdamW),
    Sgd(Sgd),
    Lion(Lion),
}

/// What a kernel is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Rule {
    AdamW,
    Sgd { velocity: bool, nesterov: bool },
    Lion,
}

impl Step {
    fn rule(&self) -> Rule {
        match self {
            Self::AdamW(_) => Rule::AdamW,
            Self::Sgd(step) => Rule::Sgd {
                velocity: step.has_velocity,
                nesterov: step.ahead.is_some(),
            },
            Self::Lion(_) => Rule::Lion,
        }
    }

    /// Tensors that are kept beside a parameter.
    fn moments(&self) -> usize {
        match self.rule() {
            Rule::AdamW => 2,
            Rule::Sgd { velocity, .. } => usize::from(velocity),
            Rule::Lion => 1,
        }
    }

    /// In the order in which the rule's function reads them.
    fn numbers(&self) -> Vec<f32> {
        match self {
            Self::AdamW(step) => vec![
                step.gradient_scale,
                step.beta1,
                step.beta2,
                step.rest1,
                step.rest2,
                step.eps,
                step.keep,
                step.size,
                step.unroot,
            ],
            Self::Sgd(step) => vec![
                step.gradient_scale,
                step.lr,
                step.weight_decay,
                step.momentum,
                step.rest,
                step.ahead.unwrap_or(0.0),
            ],
            Self::Lion(step) => vec![
                step.gradient_scale,
                step.beta1,
                step.beta2,
                step.rest1,
                step.rest2,
                step.keep,
                step.lr,
            ],
        }
    }
}

#[cube]
fn adamw(
    at: usize,
    p: &Array<f32>,
    g: &Array<f32>,
    m: &Array<f32>,
    v: &Array<f32>,
    new_p: &mut Array<f32>,
    new_m: &mut Array<f32>,
    new_v: &mut Array<f32>,
    numbers: &Sequence<f32>,
) {
    let (scale, beta1, beta2) = (
        *numbers.index(0usize),
        *numbers.index(1usize),
        *numbers.index(2usize),
    );
    let (rest1, rest2, eps) = (
        *numbers.index(3usize),
        *numbers.index(4usize),
        *numbers.index(5usize),
    );
    let (keep, size, unroot) = (
        *numbers.index(6usize),
        *numbers.index(7usize),
        *numbers.index(8usize),
    );
    let gradient = g[at] * scale;
    let first = beta1 * m[at] + rest1 * gradient;
    let second = beta2 * v[at] + rest2 * gradient * gradient;
    new_m[at] = first;
    new_v[at] = second;
    new_p[at] = keep * p[at] - size * first / (f32::sqrt(second) * unroot + eps);
}

#[cube]
fn sgd(at: usize, p: &Array<f32>, g: &Array<f32>, new_p: &mut Array<f32>, numbers: &Sequence<f32>) {
    let (scale, lr, weight_decay) = (
        *numbers.index(0usize),
        *numbers.index(1usize),
        *numbers.index(2usize),
    );
    let value = p[at];
    new_p[at] = value - lr * (g[at] * scale + weight_decay * value);
}

#[cube]
fn sgd_with_velocity(
    at: usize,
    p: &Array<f32>,
    g: &Array<f32>,
    m: &Array<f32>,
    new_p: &mut Array<f32>,
    new_m: &mut Array<f32>,
    numbers: &Sequence<f32>,
    #[comptime] nesterov: bool,
) {
    let (scale, lr, weight_decay) = (
        *numbers.index(0usize),
        *numbers.index(1usize),
        *numbers.index(2usize),
    );
    let (momentum, rest, ahead) = (
        *numbers.index(3usize),
        *numbers.index(4usize),
        *numbers.index(5usize),
    );
    let value = p[at];
    let gradient = g[at] * scale + weight_decay * value;
    let velocity = momentum * m[at] + rest * gradient;
    new_m[at] = velocity;
    if nesterov {
        new_p[at] = value - lr * (gradient + ahead * velocity);
    } else {
        new_p[at] = value - lr * velocity;
    }
}

#[cube]
fn lion(
    at: usize,
    p: &Array<f32>,
    g: &Array<f32>,
    m: &Array<f32>,
    new_p: &mut Array<f32>,
    new_m: &mut Array<f32>,
    numbers: &Sequence<f32>,
) {
    let (scale, beta1, beta2) = (
        *numbers.index(0usize),
        *numbers.index(1usize),
        *numbers.index(2usize),
    );
    let (rest1, rest2) = (*numbers.index(3usize), *numbers.index(4usize));
    let (keep, lr) = (*numbers.index(5usize), *numbers.index(6usize));
    let gradient = g[at] * scale;
    let mean = m[at];
    let direction = beta1 * mean + rest1 * gradient;
    let mut step = 0.0f32;
    if direction > 0.0 {
        step = lr;
    }
    if direction < 0.0 {
        step = -lr;
    }
    new_m[at] = beta2 * mean + rest2 * gradient;
    new_p[at] = keep * p[at] - step;
}

/// Each set has the cubes from the end of the last to its own.
#[cube(launch_unchecked, address_type = "dynamic")]
fn optimise(
    p: &Sequence<Array<f32>>,
    g: &Sequence<Array<f32>>,
    m: &Sequence<Array<f32>>,
    v: &Sequence<Array<f32>>,
    new_p: &mut Sequence<Array<f32>>,
    new_m: &mut Sequence<Array<f32>>,
    new_v: &mut Sequence<Array<f32>>,
    counts: &Sequence<usize>,
    ends: &Sequence<usize>,
    numbers: &Sequence<f32>,
    #[comptime] sets: usize,
    #[comptime] rule: Rule,
) {
    let mut first = 0usize;
    #[unroll]
    for set in 0..sets {
        let end = *ends.index(set);
        let at = (CUBE_POS - first) * comptime!(UNITS) + UNIT_POS as usize;
        // Before the first cube of a set the difference is a large number.
        if CUBE_POS >= first && CUBE_POS < end && at < *counts.index(set) {
            match rule {
                Rule::AdamW => adamw(
                    at,
                    p.index(set),
                    g.index(set),
                    m.index(set),
                    v.index(set),
                    new_p.index_mut(set),
                    new_m.index_mut(set),
                    new_v.index_mut(set),
                    numbers,
                ),
                Rule::Sgd { velocity, nesterov } => {
                    if comptime!(velocity) {
                        sgd_with_velocity(
                            at,
                            p.index(set),
                            g.index(set),
                            m.index(set),
                            new_p.index_mut(set),
                            new_m.index_mut(set),
                            numbers,
                            nesterov,
                        );
                    } else {
                        sgd(
                            at,
                            p.index(set),
                            g.index(set),
                            new_p.index_mut(set),
                            numbers,
                        );
                    }
                }
                Rule::Lion => lion(
                    at,
                    p.index(set),
                    g.index(set),
                    m.index(set),
                    new_p.index_mut(set),
                    new_m.index_mut(set),
                    numbers,
                ),
            }
        }
        first = end;
    }
}

impl Kernel for Step {
    fn launch<R: CubeRuntime>(self, inputs: Vec<CubeTensor<R>>) -> Vec<CubeTensor<R>> {
        let moments = self.moments();
        let mut inputs: Vec<_> = inputs.into_iter().map(into_contiguous).collect();
        let mut results = Vec::new();
        let Some(one) = inputs.first() else {
            return results;
        };
        let client = one.client.clone();
        let bindings = 2 + moments + 1 + moments;
        for sets in several(inputs.len() / (2 + moments), bindings, &client) {
            let rest = inputs.split_off(sets * (2 + moments));
            let news: Vec<_> = inputs
                .chunks(2 + moments)
                .flat_map(|set| {
                    let like = |x: &CubeTensor<R>| packed(x, x.meta.shape().clone());
                    (0..=moments).map(move |_| like(&set[0]))
                })
                .collect();
            // The n-th tensor of every set.
            let every = |all: &[CubeTensor<R>], each: usize, n: usize| {
                let chosen = all.chunks(each).filter_map(|set| set.get(n));
                chosen.map(|x| x.clone().into_array_arg()).collect()
            };
            let (mut counts, mut ends, mut cubes) = (Vec::new(), Vec::new(), 0);
            let mut address = AddressType::default();
            for set in inputs.chunks(2 + moments) {
                let count = set[0].meta.num_elements();
                cubes += count.div_ceil(UNITS);
                counts.push(count);
                ends.push(cubes);
                address = address.max(set[0].required_address_type());
            }
            let dim = CubeDim::new_1d(UNITS as u32);
            // SAFETY: every cube stays within its set, whose tensors have `count` elements each.
            unsafe {
                optimise::launch_unchecked::<R>(
                    &client,
                    calculate_cube_count_elemwise(&client, cubes * UNITS, dim),
                    dim,
                    address,
                    every(&inputs, 2 + moments, 0),
                    every(&inputs, 2 + moments, 1),
                    every(&inputs, 2 + moments, 2),
                    every(&inputs, 2 + moments, 3),
                    every(&news, 1 + moments, 0),
                    every(&news, 1 + moments, 1),
                    every(&news, 1 + moments, 2),
                    counts.into_iter().collect(),
                    ends.into_iter().collect(),
                    self.numbers().into_iter().collect(),
                    sets,
                    self.rule(),
                );
            }
            results.extend(news);
            inputs = rest;
        }
        results
    }
}
